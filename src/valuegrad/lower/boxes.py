"""Boxes of members while their code is written, and several of them side by side.

Why: the members of causal attention are a box for each position, each a little longer than the one before.  Alone, each
of them reads all keys anew; some of them side by side share what they read.

How: what is the same for all boxes of a nest is a constant in the code, the rest is read from a table, a row a box.
Boxes that go together lie one after the other in it, and are one box more, whose members differ along one dimension
more, BOXES: as far as they all go its members are tiles across the boxes, and what is left is done box by box.

Data structures: ``Box``, addresses, extents and strides of a box, in bytes: numbers, or names in the code.  ``Rows``,
the same of all boxes of a nest, as numbers.  ``Together``, which boxes go together.

Where to start reading: ``Box``, then ``together_of``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from itertools import count, pairwise
from typing import TYPE_CHECKING

import numpy as np

from valuegrad.lower.tiles import Place
from valuegrad.lower.writer import Whole, Writer
from valuegrad.roll.pieces import far_from_first

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from valuegrad.roll.nests import Nest

__all__ = ["BOXES", "MOST", "Box", "Rows", "Together", "least", "shared_columns", "together_of"]

MANY = 4  # boxes that read the same, on average, so that it pays to have some side by side
MOST = 4  # side by side, as no two of them have the same length

BOXES = -1
"""The dimension from box to box."""


@dataclass
class Box:
    """Members whose accesses are affine; everything in bytes.

    Args:
        bases: where each column begins.
        extents: of each dimension, outermost first.
        strides: of each dimension, for each column.
        lengths: of each piece of a list.
        inner: for each piece the strides of x and y along it, and by how much they grow from term to term.
        lead: of a list of one piece so many terms come before the one at its bases.
        beside: boxes that go together, of which this is the first one; a column that is the same in two of them has
            the same names there.
    """

    bases: list[Whole]
    extents: list[Whole]
    strides: list[list[Whole]]
    lengths: list[Whole]
    inner: list[tuple[Whole, Whole, Whole, Whole]]
    lead: Whole = 0
    beside: list[Box] = field(default_factory=list)

    def of(self, place: Place) -> Box:
        """The box that a member is in."""
        return self.beside[place[BOXES]] if BOXES in place else self

    def moved(self, w: Writer, d: int, i: Whole, t: Whole = 1) -> Box:
        """So many times t members further along a dimension."""
        known: dict[tuple[Whole, Whole], Whole] = {}

        def further(box: Box) -> list[Whole]:
            for key in zip(box.bases, box.strides[d]):
                if key not in known:
                    known[key] = w.add(key[0], w.mul(i, w.mul(key[1], t)))
            return [known[key] for key in zip(box.bases, box.strides[d])]

        beside = [replace(box, bases=further(box)) for box in self.beside]
        return replace(self, bases=further(self), beside=beside)


class Rows:
    """The boxes of a nest, in bytes: of each a row of numbers.

    Args:
        nest: whose boxes.
        units: of each column the bytes from an element to the next.
        begin: where each column's space begins.
    """

    def __init__(self, nest: Nest, units: NDArray[np.int64], begin: NDArray[np.int64]) -> None:
        self.pieces = [xy for table in nest.pieces.values() for xy in table]
        self.count, self.rank = nest.extents.shape
        self.columns = len(units)
        inner = nest.inner.copy()
        for p, (x, y) in enumerate(self.pieces):
            inner[:, p] *= [units[x], units[y] if y >= 0 else 0] * 2
        self.bases, self.strides, self.inner = nest.bases * units + begin, nest.strides * units, inner
        self.extents, self.lengths = nest.extents, nest.lengths

    def numbers(self) -> NDArray[np.int64]:
        """A row for each box."""
        parts = self.bases, self.extents, self.strides, self.lengths, self.inner
        return np.concatenate([part.reshape(self.count, -1) for part in parts], 1).astype(np.int64)

    def ordered(self, order: NDArray[np.int64]) -> Rows:
        """The boxes in another order."""
        result = copy(self)
        result.bases, result.strides, result.inner = self.bases[order], self.strides[order], self.inner[order]
        result.extents, result.lengths = self.extents[order], self.lengths[order]
        return result

    def later(self, terms: NDArray[np.int64]) -> Rows:
        """The boxes, of whose lists of one piece the first term is one of the following: a number for each box."""
        result = copy(self)
        result.bases, result.inner = self.bases.copy(), self.inner.copy()
        for side, column in enumerate(self.pieces[0] if terms.any() else ()):
            step, bend = self.inner[:, 0, side], self.inner[:, 0, 2 + side]
            if column >= 0:
                result.bases[:, column] += far_from_first(terms, step, bend)
            result.inner[:, 0, side] += terms * bend
        return result

    def box(self, entry: Callable[[int], Whole]) -> Box:
        """A box from the entries of its row."""
        numbers = count()

        def take() -> Whole:
            return entry(next(numbers))

        return Box(
            [take() for _ in range(self.columns)],
            [take() for _ in range(self.rank)],
            [[take() for _ in range(self.columns)] for _ in range(self.rank)],
            [take() for _ in self.pieces],
            [(take(), take(), take(), take()) for _ in self.pieces],
        )


@dataclass(frozen=True)
class Together:
    """Which boxes go together.

    Args:
        boxes: how many are in a group.
        groups: of each part of a shared nest the first group, and how many there are in all.
        alone: of each part the first box that is left alone, and how many boxes there are in all.
        rows: the boxes, those that go together one after the other, then those that are left alone; of a box in a group
            a list's first term is the first one that all of them have.
        leads: int64[boxes], how many terms come before that.
    """

    boxes: int
    groups: list[int]
    alone: list[int]
    rows: Rows
    leads: NDArray[np.int64]


def shared_columns(rows: Rows) -> tuple[list[int], bool]:
    """The columns that a list of one piece reads at the same places in many boxes, and whether that is so counted from
    the last term, and not from the first one."""
    for at_end in (False, True):
        found = [c for c in rows.pieces[0] if c >= 0 and rows.count >= MANY * len(np.unique(_kinds(rows, [c], at_end)))]
        if found:
            return found, at_end
    return [], False


def together_of(rows: Rows, boxes: int, begins: Sequence[int]) -> Together:
    """Groups of so many boxes of a part that share columns; one: all are left alone.

    Args:
        rows: the boxes.
        boxes: how many, in a group.
        begins: of each part of a shared nest its first box, and how many there are in all.
    """
    leads = np.zeros(rows.count, dtype=np.int64)
    if boxes == 1:
        return Together(1, [0] * len(begins), [*begins], rows, leads)
    shared, at_end = shared_columns(rows)
    kinds = _kinds(rows, shared, at_end)
    groups, alone = [0], [0]
    whole: list[NDArray[np.int64]] = []
    rest: list[NDArray[np.int64]] = []
    for begin, end in pairwise(begins):
        for kind in np.unique(kinds[begin:end]):
            mine = begin + np.flatnonzero(kinds[begin:end] == kind)
            full = len(mine) // boxes * boxes
            whole.append(mine[:full])
            rest.append(mine[full:])
        groups.append(sum(map(len, whole)) // boxes)
        alone.append(sum(map(len, rest)))
    grouped = groups[-1] * boxes
    ordered = rows.ordered(np.concatenate([*whole, *rest]))
    if at_end:
        lengths = ordered.lengths[:grouped, 0].reshape(groups[-1], boxes)
        leads[:grouped] = (lengths - lengths.min(1, keepdims=True)).ravel()
    return Together(boxes, groups, [grouped + first for first in alone], ordered.later(leads), leads)


def _kinds(rows: Rows, columns: list[int], at_end: bool) -> NDArray[np.int64]:
    """int64[boxes]: equal where a list reads these columns at the same places."""
    if at_end:
        rows = rows.later(rows.lengths[:, 0])
    parts = [rows.bases[:, columns], rows.strides[:, :, columns].reshape(rows.count, -1)]
    parts += [rows.inner[:, 0, side::2] for side, column in enumerate(rows.pieces[0]) if column in columns]
    _, which = np.unique(np.concatenate(parts, 1), axis=0, return_inverse=True)
    found: NDArray[np.int64] = which.ravel().astype(np.int64)
    return found


def least(w: Writer, numbers: list[Whole]) -> Whole:
    """The smallest of some numbers."""
    result = numbers[0]
    for x in numbers[1:]:
        if isinstance(x, int) and isinstance(result, int):
            result = min(x, result)
        elif x != result:
            less = w(f"icmp slt i64 {x}, {result}")
            result = w(f"select i1 {less}, i64 {x}, i64 {result}")
    return result
