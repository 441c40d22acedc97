"""From groups to kernels: loops over members, each with as many operations as can share one.

Why: a group alone is a loop with one operation, which reads its operands from memory and writes its result there.
Where a member of one group only needs the same member of another, one loop computes both, and what nobody else reads
never leaves the registers.

How: a kernel's level is one more than the highest of those that it reads from, so kernels of one level do not depend on
each other.  A group joins the highest kernels that it reads from, if it has as many members and reads member by member;
are there several, they become one.

Data structures
    Column   where an operand or a result of each member lies.
    Piece    a part of a list's operands, with a stride between them.
    Body     one operation for a member: operands are columns, or results of the kernel's other bodies.
    Kernel   a loop: how many members, columns, bodies.

Where to start reading: ``joined_kernels``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from valuegrad.primitives.opcodes import OPCODE
from valuegrad.roll.groups import GUARD, LISTS, TARGETS, Groups, space_of
from valuegrad.roll.pieces import pieces_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["MOST_BODIES", "WHOLE", "Body", "Column", "Feed", "Kernel", "Piece", "body_of", "joined_kernels"]

DOT, SUM, GATHER = OPCODE["dot"], OPCODE["sum"], OPCODE["gather"]
SAME = {OPCODE["mul"]: DOT, OPCODE["add"]: SUM}
"""A product is a dot of one pair, an addition a sum of two."""

MOST_BODIES = 64  # in a kernel: more would not fit the registers
WHOLE = 1024  # in one that computes iterations as a whole, whose groups are apart: what is stored there stays near


@dataclass
class Column:
    """Where an operand or a result of each member lies.

    Args:
        space: "uniform", "slot", "group" (results of a group), "sum" (sums over the lanes), or "number" (no memory: a
            number itself).
        group: of space "group", else -1; or a holder of groups.
        at: int64[members], how far from the beginning of the space or of the group.
        move: by how much that grows with each iteration of a loop around the kernel (``rounds``).
        of: the groups of a holder that are read.
    """

    space: str
    group: int
    at: NDArray[np.int64]
    move: int = 0
    of: tuple[int, ...] = ()

    def is_identity(self, members: int, size: int) -> bool:
        """Whether each of so many members reads the same one of a group of this size."""
        return size == members and bool((self.at == np.arange(members)).all())


@dataclass
class Piece:
    """A part of a list's operands: terms x, of a dot x and y, from a column on.

    Args:
        x, y: columns; y is -1 where the list is no dot.
        strides: int64[members, 4]: from the first term of x and y to the second, and by how much that grows each time.
        length: int64[members].
        feed: what computes the terms, where they do not lie in memory (``feeding.fed``): x is -1 then.
    """

    x: int
    y: int
    strides: NDArray[np.int64]
    length: NDArray[np.int64]
    feed: Feed | None = None


@dataclass
class Feed:
    """What computes the terms of a list.

    Args:
        bodies: the operations for a term; arguments are ("term", which piece of `pieces`) or ("value", which body), a
            result goes to the piece `out` of these.
        pieces: which of the list's pieces these are.
        x, y: the bodies that are the term's x and y; y is -1 where that is a column, or nothing.
        counts: the terms are whole numbers, so few and small that their sum is exact in any order.
        or_zero: x is a choice between a number and +0.0.
    """

    bodies: list[Body]
    pieces: list[int]
    x: int
    y: int
    counts: bool = False
    or_zero: bool = False


@dataclass
class Body:
    """One operation for a member.

    Args:
        op: its code; products are dots and additions sums.
        number: the static argument.
        group: whose members it computes.
        args: ("column", which), or ("value", which body of the kernel) in order; of a list written as pieces none, of a
            gather the index.
        variants: of a list: the pieces, which may differ between members;
        variant: int64[members]: which of them.
        out: the column that the result goes to; -1: it stays in a register.
    """

    op: int
    number: float
    group: int
    args: list[tuple[str, int]] = field(default_factory=list)
    variants: list[list[Piece]] = field(default_factory=list)
    variant: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    out: int = -1


@dataclass
class Kernel:
    """A loop over members; the bodies run one after the other for each."""

    members: int
    bodies: list[Body] = field(default_factory=list)
    columns: list[Column] = field(default_factory=list)

    def keeps(self, body: Body) -> bool:
        """Whether a body's result lies in memory for other kernels, in a stretch of its own."""
        return body.out >= 0 and self.columns[body.out].group == body.group

    def is_held(self, body: Body) -> bool:
        """Whether it lies there among those of other kernels."""
        return body.out >= 0 and self.columns[body.out].group not in (-1, body.group)

    def listed(self) -> set[int]:
        """The columns that lists read."""
        pieces = [piece for body in self.bodies for variant in body.variants for piece in variant]
        return {c for piece in pieces for c in (piece.x, piece.y) if c >= 0}

    def lists(self) -> set[int]:
        """The columns that a list reads on from, to other members than the column's."""
        pieces = [piece for body in self.bodies for variant in body.variants for piece in variant]
        return {c for piece in pieces if (piece.length > 1).any() for c in (piece.x, piece.y)}


def joined_kernels(
    sizes: list[int],
    bodies: list[Any],
    columns: list[list[Any]],
    most: int,
    kept: Collection[int] = (),
    alone: Mapping[int, int] | None = None,
) -> tuple[list[Kernel | int], set[int]]:
    """The kernels of groups, in an order in which they can run.

    Args:
        sizes: of each group how many members it has.
        bodies: what it computes, all of whose operands are columns; they become the kernels'.
        columns: those.
        most: bodies in a kernel.
        kept: groups that somebody else reads.
        alone: by the first group of what is a loop of another kind how many groups that has; it stands in the result
            as its first group, and what it reads is among the columns of that.

    Returns:
        Kernels, and the groups whose results they keep.
    """
    alone = alone or {}
    homes = _homes(sizes, bodies, columns, alone, most)
    wanted = {
        read
        for g, own in enumerate(columns)
        for c in own
        for read in _groups(c)
        if homes.of[read] != homes.of[g] and c.space != "order"
    }
    wanted.update(kept)
    kernels: list[Kernel | int] = []
    for k in _in_order(homes, columns):
        mine = sorted(homes.groups[k])
        kernels.append(mine[0] if mine[0] in alone else _kernel(sizes, mine, bodies, columns, wanted))
    return kernels, wanted


def _groups(column: Any) -> tuple[int, ...]:
    """The groups whose results a column reads."""
    return column.of or ((column.group,) if column.group >= 0 else ())


def column_of(groups: Groups, references: NDArray[Any]) -> Column:
    """The column of operands that are all of one class: in a group, or in what holds several."""
    classes, at = groups.locate(references)
    if (classes != classes[0]).any():
        raise NotImplementedError("operands of one place in several spaces")
    space, group = space_of(int(classes[0]))
    of = groups.held(references).get(group, ()) if group >= groups.segment.groups else ()
    return Column(space, of[0], groups.place[references]) if len(of) == 1 else Column(space, group, at, of=of)


def body_of(groups: Groups, g: int, members: NDArray[Any]) -> tuple[Body, list[Column]]:
    """What members of a group compute, alone: all its operands are columns."""
    s = groups.segment
    op = SAME.get(int(s.ops[members[0]]), int(s.ops[members[0]]))
    number = float(s.numbers[members[0]])
    body = Body(op, number % 2 if op == GUARD else number, g)
    first, count = s.starts[members], s.count(members)
    columns: list[Column] = []
    if op == GATHER or (op in LISTS and not _is_written_out(groups, members)):
        body.variant, found = pieces_of(groups, members, op)
        held = groups.held(s.operands[s.flat(members)[1]]) if groups.has_levels else {}
        for mine, pieces in found:
            body.variants.append([])
            for x, y, strides, length in pieces:
                whole = np.zeros((len(members), 4), dtype=np.int64), np.zeros(len(members), dtype=np.int64)
                whole[0][mine], whole[1][mine] = strides, length
                piece = Piece(len(columns), -1 if y is None else len(columns) + 1, *whole)
                for of, at in (x,) if y is None else (x, y):
                    places = np.full(len(members), at[0])  # of those without this piece anything that is there
                    places[mine] = at
                    space, group = space_of(of)
                    columns.append(Column(space, group, places, of=held.get(group, ())))
                body.variants[-1].append(piece)
        if op == GATHER:
            if any(len(pieces) != 1 for pieces in body.variants):
                raise NotImplementedError("a gather from several places")
            body.args.append(("column", len(columns)))
            columns.append(column_of(groups, s.operands[first + count - 1]))
    else:
        for k in range(int(count[0])):
            body.args.append(("column", len(columns)))
            columns.append(column_of(groups, s.operands[first + k]))
    if op in TARGETS:
        numbers = s.numbers[members].astype(np.int64)
        body.out = len(columns)
        columns.append(Column(TARGETS[op], -1, numbers // 2 if op == GUARD else numbers))
    return body, columns


def _is_written_out(groups: Groups, members: NDArray[Any]) -> bool:
    """Whether all members' lists are short, of one length, and alike term by term."""
    s = groups.segment
    first, count = s.starts[members], s.count(members)
    if count.min() != count.max() or groups.long[members].any():
        return False
    classes, _ = groups.locate(s.operands[first[:, None] + np.arange(count[0])])
    return bool((classes == classes[0]).all())


class _Homes:
    """Which kernel each group is in.

    Attributes:
        of: for each group its kernel.
        level: for each kernel its level.
        groups: for each kernel its groups, in order; empty where it became part of another.
        lists: for each kernel whether it has a list.
        ordered: for each kernel whether it is a sequence or a chain, which nothing can join.
    """

    def __init__(self) -> None:
        self.of: list[int] = []
        self.level: list[int] = []
        self.groups: list[list[int]] = []
        self.lists: list[bool] = []
        self.ordered: list[bool] = []

    def move(self, kernel: int, to: int) -> None:
        """Make a kernel part of another."""
        for g in self.groups[kernel]:
            self.of[g] = to
        self.groups[to] += self.groups[kernel]
        self.groups[kernel] = []
        self.lists[to] |= self.lists[kernel]


def _homes(sizes: list[int], bodies: list[Any], columns: list[Any], alone: Mapping[int, int], most: int) -> _Homes:
    """Find each group's kernel; what is `alone` has one of its own."""
    homes = _Homes()
    inside = -1  # the last group of what is ordered
    for g, body in enumerate(bodies):
        read = [(column, x) for column in columns[g] for x in _groups(column) if x < g]
        if g <= inside:
            homes.groups[-1].append(g)
            homes.of.append(len(homes.level) - 1)
            continue
        if g in alone:
            inside = g + alone[g] - 1
        kernels = {homes.of[x] for _, x in read}
        highest = max((homes.level[k] for k in kernels), default=-1)
        top = sorted(k for k in kernels if homes.level[k] == highest)
        joins = (
            bool(top)
            and g not in alone
            and not any(homes.ordered[k] for k in top)
            and not body.variants
            and all(sizes[homes.groups[k][0]] == sizes[g] for k in top)
            and sum(homes.lists[k] for k in top) <= 1
            and sum(len(homes.groups[k]) for k in top) < most
            and all(c.group == x and c.is_identity(sizes[g], sizes[x]) for c, x in read if homes.of[x] in top)
        )
        if joins:
            home = top[0]
            for other in top[1:]:
                homes.move(other, home)
        else:
            home = len(homes.level)
            homes.level.append(highest + 1)
            homes.groups.append([])
            homes.lists.append(g not in alone and bool(body.variants))
            homes.ordered.append(g in alone)
        homes.groups[home].append(g)
        homes.of.append(home)
    _sink(sizes, homes, bodies, columns, most)
    return homes


def _sink(sizes: list[int], homes: _Homes, bodies: list[Any], columns: list[Any], most: int) -> None:
    """A kernel without a list that one other kernel reads, member by member, and nobody else, becomes part of that."""
    readers: list[set[int]] = [set() for _ in homes.level]
    one_to_one = [True] * len(homes.level)
    for g, own in enumerate(columns):
        for column, x in ((c, x) for c in own for x in _groups(c)):
            if homes.of[x] != homes.of[g]:
                readers[homes.of[x]].add(homes.of[g])
                by_list = homes.ordered[homes.of[g]] or bodies[g].variants or column.group != x
                if by_list or not column.is_identity(sizes[g], sizes[x]):
                    one_to_one[homes.of[x]] = False
    for k in range(len(homes.level) - 1, -1, -1):
        if homes.lists[k] or homes.ordered[k] or not one_to_one[k] or len(readers[k]) != 1 or not homes.groups[k]:
            continue
        (to,) = readers[k]
        if len(homes.groups[k]) + len(homes.groups[to]) <= most:
            for others in readers:
                if k in others:
                    others.remove(k)
                    others.add(to)
            homes.move(k, to)


def _in_order(homes: _Homes, columns: list[Any]) -> list[int]:
    """The kernels as they came, but each after those that it reads from."""
    order: list[int] = []
    state = [0] * len(homes.level)  # 1: begun, 2: done
    for first in range(len(homes.level)):
        stack = [first] if homes.groups[first] else []
        while stack:
            k = stack[-1]
            if state[k] == 0:
                state[k] = 1
                read = {x for g in homes.groups[k] for c in columns[g] for x in _groups(c)}
                needs = {homes.of[x] for x in read} - {k}
                stack += [n for n in sorted(needs, reverse=True) if state[n] == 0]
            else:
                stack.pop()
                if state[k] == 1:
                    order.append(k)
                state[k] = 2
    return order


def _kernel(
    sizes: list[int], mine: list[int], bodies: list[Body], columns: list[list[Column]], wanted: set[int]
) -> Kernel:
    """A kernel of some groups; `wanted`: those that other kernels read."""
    kernel = Kernel(sizes[mine[0]])
    place = {g: i for i, g in enumerate(mine)}
    for g in mine:
        body, own = bodies[g], columns[g]
        shift: dict[int, int] = {}
        for i, column in enumerate(own):
            if column.group in place:
                continue
            shift[i] = len(kernel.columns)
            kernel.columns.append(column)
        body.args = [
            ("value", place[own[c].group]) if own[c].group in place else ("column", shift[c]) for _, c in body.args
        ]
        for pieces in body.variants:
            for piece in pieces:
                piece.x, piece.y = shift[piece.x], shift[piece.y] if piece.y >= 0 else -1
        body.out = shift[body.out] if body.out >= 0 else -1
        if g in wanted:
            body.out = len(kernel.columns)
            kernel.columns.append(Column("group", g, np.arange(kernel.members)))
        kernel.bodies.append(body)
    return kernel
