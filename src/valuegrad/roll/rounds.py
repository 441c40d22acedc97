"""A time loop whose iterations are loops over the units of a state.

Why: an iteration of a network with 64 units is thousands of operations.  Written one after the other, as a ``Sequence``
has them, they are code that takes minutes to compile.  But its units are alike: it is as many loops as one of 8 units,
and so is its code.

How: of a run (``_period.h``) each group has so many units in every iteration, side by side.  What an iteration computes
is found as the kernels of a segment are, from the units of one iteration alone; the next iteration does the same with
columns that have all moved on, each by a constant.  What nobody reads but the iteration itself lies in one place, which
every iteration writes again.  What the first iterations read of those before them is copied to where that would be.

Data structures
    Rounds   a loop in order: iterations, kernels of one, what comes before the first one.

Where to start reading: ``rounds_of``.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from valuegrad.primitives.opcodes import OPCODE
from valuegrad.roll.groups import GUARD, REDUCE, TARGETS, Groups, Run, space_of
from valuegrad.roll.kernels import MOST_BODIES, Body, Column, Kernel, body_of, joined_kernels

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Irregular", "Rounds", "copy_of", "later", "rounds_of"]

AT_ONCE = 1 << 20  # operands that are looked at together


class Irregular(Exception):
    """Iterations are not the same loops, moved on."""


@dataclass
class Rounds:
    """A loop in order, whose iterations are loops.

    Args:
        members: iterations.
        first, groups: the first one of its groups, and how many there are.
        units: of each of them, in an iteration.
        carried: for each of them so many iterations from a result to its last use.
        begins: kernels that run before the first iteration.
        reads: a column of each group that comes from outside.
        kernels: of an iteration, with columns where iteration 0 has them (after ``finish``).
    """

    members: int
    first: int
    groups: int
    units: list[int]
    carried: list[int]
    begins: list[Kernel]
    reads: list[Column]
    parts: tuple[list[Body], list[list[Column]]]
    kernels: list[Kernel] = field(default_factory=list)

    @property
    def all(self) -> list[Kernel]:
        """Its kernels, those before the first iteration too."""
        return [*self.begins, *self.kernels]

    @property
    def columns(self) -> list[Column]:
        """Of all kernels."""
        return [column for kernel in self.all for column in kernel.columns]

    @property
    def bodies(self) -> list[Body]:
        """Of an iteration's kernels."""
        return [body for kernel in self.kernels for body in kernel.bodies]

    def finish(self, wanted: set[int], most: int = MOST_BODIES) -> None:
        """Find the kernels of an iteration.

        Args:
            wanted: groups that others read.
            most: bodies in a kernel.
        """
        kept = {k for k in range(self.groups) if self.carried[k] or self.first + k in wanted}
        bodies, columns = self.parts

        def whole(column: Column) -> Column:
            """A column with its group as all call it."""
            if column.space != "group":
                return column
            if column.group < 0:
                return replace(column, group=_hidden(column.group))
            move = self.units[column.group] if column.group in kept else 0
            return replace(column, group=self.first + column.group, move=move)

        kernels, _ = joined_kernels(self.units, bodies, columns, most, kept)
        for kernel in kernels:
            assert isinstance(kernel, Kernel)
            mine = [replace(body, group=self.first + body.group) for body in kernel.bodies]
            self.kernels.append(replace(kernel, bodies=mine, columns=[whole(column) for column in kernel.columns]))

    def left(self) -> dict[int, bool]:
        """The groups that its kernels leave in memory; for each whether all iterations' results stay."""
        kept = [(kernel, body) for kernel in self.kernels for body in kernel.bodies if kernel.keeps(body)]
        return {body.group: kernel.columns[body.out].move != 0 for kernel, body in kept}


def _hidden(group: int) -> int:
    """A group by a number by which those of an iteration do not know it, and back."""
    return -2 - group


def rounds_of(groups: Groups, run: Run) -> Rounds:
    """A run as a loop of loops.

    Raises:
        Irregular: its iterations are not.
    """
    s, count = groups.segment, run.count
    begin, end = int(s.starts[run.first]), int(s.starts[run.first + run.period])
    operands = s.operands[begin : begin + count * (end - begin)].reshape(count, -1)
    ops = s.ops[run.first : run.first + run.period]
    if np.isin(ops, (REDUCE, GUARD)).any():
        raise Irregular
    own = operands[-1] >= run.first
    back, of = np.divmod(np.where(own, operands[-1] - run.first, 0), run.period)
    ago = np.where(own, count - 1 - back, 0)
    if count < int(ago.max(initial=0)) + 2 or not _is_even(groups, run, operands[:, ~own]):
        raise Irregular
    units = [groups.sizes[run.group + k] // count for k in range(run.groups)]
    producer = s.group[run.first + of] - run.group
    carried = np.zeros(run.groups, dtype=np.int64)
    np.maximum.at(carried, producer, ago)
    begins = _beginnings(groups, run, operands, ago, of, np.array(units))
    bodies: list[Body] = []
    columns: list[list[Column]] = []
    for k in range(run.groups):
        members = groups.members[run.group + k].reshape(count, -1)
        body, found = body_of(groups, run.group + k, members[-1])
        other, before = body_of(groups, run.group + k, members[-2])
        if not _are_alike(body, other):
            raise Irregular
        bodies.append(replace(body, group=k))
        columns.append([_moving(run, k, *pair) for pair in zip(found, before)])
    read = {column.group for mine in columns for column in mine if column.space == "group"}
    read = {_hidden(g) for g in read if g < 0} | {c.group for kernel in begins for c in kernel.columns}
    read -= {-1, *range(run.group, run.group + run.groups)}
    reads = [Column("group", g, np.zeros(1, np.int64)) for g in sorted(read)]
    return Rounds(count, run.group, run.groups, units, carried.tolist(), begins, reads, (bodies, columns))


def later(kernel: Kernel, times: NDArray[np.int64]) -> Kernel:
    """The members of a kernel of an iteration in several of these, as one kernel."""

    def tiled(numbers: NDArray[Any]) -> NDArray[Any]:
        return np.tile(numbers, (len(times), *[1] * (numbers.ndim - 1)))

    columns = [replace(c, at=(times[:, None] * c.move + c.at).ravel(), move=0) for c in kernel.columns]
    bodies = []
    for body in kernel.bodies:
        variants = [
            [replace(piece, strides=tiled(piece.strides), length=tiled(piece.length)) for piece in pieces]
            for pieces in body.variants
        ]
        bodies.append(replace(body, variants=variants, variant=tiled(body.variant)))
    return Kernel(kernel.members * len(times), bodies, columns)


def _is_even(groups: Groups, run: Run, operands: NDArray[Any]) -> bool:
    """Whether each operand from outside is of one class in all iterations, at a place that moves on by a constant; what
    leaves the segment as well."""
    s, count = groups.segment, run.count
    numbers = s.numbers[run.first : run.first + run.period * count].reshape(count, -1)
    leaves = np.isin(s.ops[run.first : run.first + run.period], list(TARGETS))
    if (np.diff(numbers[:, leaves], 2, axis=0) != 0).any():
        return False
    operands = operands[:, (operands != operands[0]).any(0)]
    for first in range(0, operands.shape[1], max(1, AT_ONCE // count)):
        some = operands[:, first : first + max(1, AT_ONCE // count)]
        classes, places = (found.reshape(some.shape) for found in groups.locate(some.ravel()))
        if (classes != classes[0]).any() or (np.diff(places, 2, axis=0) != 0).any():
            return False
    return True


def _beginnings(
    groups: Groups, run: Run, operands: NDArray[Any], ago: NDArray[Any], of: NDArray[Any], units: NDArray[Any]
) -> list[Kernel]:
    """Kernels that copy what the first iterations read of those before them to where these would have left it."""
    s = groups.segment
    found: list[NDArray[Any]] = []
    for t in range(int(ago.max(initial=0))):
        mine = np.flatnonzero(ago > t)
        producers = run.first + of[mine]
        group = s.group[producers].astype(np.int64)
        place = groups.place[producers] + (t - ago[mine]) * units[group - run.group]
        found.append(np.stack([group, place, *groups.locate(operands[t, mine])]))
    if not found:
        raise Irregular
    group, place, of_source, source = np.unique(np.concatenate(found, 1), axis=1)
    if ((np.diff(group) == 0) & (np.diff(place) == 0)).any():
        raise Irregular  # some read this, some that
    kernels = []
    for g, c in np.unique(np.stack([group, of_source]), axis=1).T.tolist():
        mine = np.flatnonzero((group == g) & (of_source == c))
        kernels.append(copy_of(Column(*space_of(c), source[mine]), g, place[mine]))
    return kernels


def copy_of(column: Column, group: int, places: NDArray[np.int64]) -> Kernel:
    """A kernel that copies a column to places of a group: a sum of one term."""
    body = Body(OPCODE["sum"], 0.0, group, [("column", 0)], out=1)
    return Kernel(len(places), [body], [column, Column("group", group, places)])


def _are_alike(body: Body, other: Body) -> bool:
    """Whether the units of two iterations do the same, with lists that go on in the same way."""
    if not np.array_equal(body.variant, other.variant) or len(body.variants) != len(other.variants):
        return False
    for pieces, others in zip(body.variants, other.variants):
        if len(pieces) != len(others):
            return False
        for x, y in zip(pieces, others):
            if not (np.array_equal(x.strides, y.strides) and np.array_equal(x.length, y.length)):
                return False
    return True


def _moving(run: Run, k: int, last: Column, before: Column) -> Column:
    """What the last two iterations read, or write, as iteration 0 does.  What comes from outside, or in an iteration
    before from a group that is computed later, has a hidden group.

    Args:
        run: the run.
        k: which of its groups reads, or writes, it.
        last, before: of the last iteration and of the one before it.
    """
    move = int(last.at[0] - before.at[0])
    if (last.space, last.group) != (before.space, before.group) or (last.at - before.at != move).any():
        raise Irregular
    at = last.at - (run.count - 1) * move
    own = last.group - run.group
    if last.space != "group":
        return replace(last, at=at, move=move)
    is_before = 0 <= own < k
    return replace(last, group=own if is_before else _hidden(last.group), at=at, move=0 if is_before else move)
