"""Copies, side by side, of what a tile reads from far apart.

Why: the terms of a sum over the rows of a matrix are a row apart, and a row is often a power of two.  Then all that a
tile reads falls into the same few sets of the first cache, and is fetched from the second one, or from further away,
again for each other tile.  Products of matrices are packed for this reason since Goto and van de Geijn (2008,
Anatomy of high-performance matrix multiplication).

How: a tile has some members of an outer dimension and some of an inner one.  What depends on the outer one alone is
packed for some of its tiles at a time, and stays in the first cache while a tile is at work; what depends on the inner
one is packed once for all, and comes from the second one, a line after the other.

Data structures: ``Far``, a column that is worth it; ``Packed``, where a tile finds its numbers.

Where to start reading: ``far_columns``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import gcd
from typing import TYPE_CHECKING

from valuegrad.lower.vectors import BLOCK, BROADCAST, SIDE_BY_SIDE
from valuegrad.lower.writer import Whole, Writer

if TYPE_CHECKING:
    from valuegrad.lower.boxes import Box
    from valuegrad.lower.loops import Loops

__all__ = ["Far", "Packed", "far_columns", "is_far", "pack"]

WAYS, WAY_BYTES = 8, 4096  # of the first cache: so many lines that are a multiple of so much apart have a place there
LEAST_LINES = 4 * BLOCK  # bytes between terms that are one number each, which stands for a vector
LEAST_TERMS = 8
NEAR_BYTES = 64 * 1024  # of an outer dimension's members that are packed tile by tile, as they are near in any case
STRETCH_BYTES = 128 * 1024  # of others at a time: beside the others in the second cache
ALL_BYTES = 512 * 1024  # at most, of all tiles of an inner one: they have to stay in the second cache
REUSED = 4  # times that what is packed is read, at least


@dataclass(frozen=True)
class Far:
    """A column whose terms are far apart: how many there are, how many bytes apart, and how many bytes each has."""

    column: int
    length: int
    step: int
    unit: int


@dataclass(frozen=True)
class Packed:
    """The numbers of a column: of each tile one term's members side by side, then the next one's.

    Args:
        room: the address.
        dimension: along which the members are.
        members: how many, in a tile.
        length: how many terms.
        unit: bytes of a number.
    """

    room: str
    dimension: int
    members: int
    length: int
    unit: int

    def tile(self, w: Writer, i: Whole, members: int) -> Packed:
        """Of tile i, which has so many members."""
        far = w.mul(i, self.members * self.length * self.unit)
        return replace(self, room=w(f"getelementptr i8, ptr {self.room}, i64 {far}"), members=members)


def is_far(loops: Loops, column: int, length: Whole, step: Whole) -> bool:
    """Whether the terms of a column are so far apart that it is worth to pack them."""
    if loops.width == 1 or not isinstance(length, int) or not isinstance(step, int) or length < LEAST_TERMS:
        return False
    if loops.along[column] == BROADCAST:
        return abs(step) >= LEAST_LINES
    return loops.along[column] == SIDE_BY_SIDE and length * gcd(step, WAY_BYTES) > WAYS * WAY_BYTES


def far_columns(loops: Loops, box: Box, own: int, other: int) -> list[Far]:
    """The columns to pack that depend on dimension `own`, and not on `other`."""
    extent = box.extents[other]
    if not isinstance(extent, int) or extent < 4 * REUSED:
        return []
    found = []
    for p, xy in enumerate(next(iter(loops.nest.pieces.values()))):
        length = box.lengths[p]
        for column, step, bend in zip(xy, box.inner[p], box.inner[p][2:]):
            if column < 0 or bend != 0 or not is_far(loops, column, length, step):
                continue
            stride, is_whole = box.strides[own][column], loops.along[column] == SIDE_BY_SIDE
            if stride == 0 or box.strides[other][column] != 0 or not (is_whole or stride == loops.item):
                continue
            assert isinstance(length, int)
            assert isinstance(step, int)
            found.append(Far(column, length, step, loops.block if is_whole else loops.item))
    return found


def pack(loops: Loops, box: Box, far: Far, own: int, tile: int, extent: int) -> Packed:
    """Copy a column's numbers for so many members along a dimension, beginning with the box's first ones.

    A term's members are read side by side, as they lie: processors fetch ahead what follows.
    """
    w, stride, unit = loops.w, box.strides[own][far.column], far.unit
    room = loops.room(extent * far.length * unit)
    begin = w(f"getelementptr i8, ptr {loops.memory[far.column]}, i64 {box.bases[far.column]}")
    full, rest = divmod(extent, tile)

    def term(k: Whole, _: list[str]) -> list[str]:
        row = w(f"getelementptr i8, ptr {begin}, i64 {w.mul(k, far.step)}")

        def one(t: Whole, members: int) -> list[str]:
            first = w(f"getelementptr i8, ptr {row}, i64 {w.mul(t, w.mul(stride, tile))}")
            place = w.add(w.mul(t, tile * far.length * unit), w.mul(k, members * unit))
            to = w(f"getelementptr i8, ptr {room}, i64 {place}")
            if unit != loops.block:
                kind = f"<{members} x {loops.scalar}>"
                w.do(f"store {kind} {w(f'load {kind}, ptr {first}, align {unit}')}, ptr {to}, align {unit}")
                return []
            for i in range(members):
                at = w(f"getelementptr i8, ptr {first}, i64 {w.mul(stride, i)}")
                here = w(f"getelementptr i8, ptr {to}, i64 {i * unit}")
                w.do(f"store {loops.type()} {loops.load(far.column, at)}, ptr {here}, align {min(unit, BLOCK)}")
            return []

        w.loop(full, [], lambda t, _: one(t, tile))
        if rest:
            one(full, rest)
        return []

    w.loop(far.length, [], term)
    return Packed(room, own, tile, far.length, unit)
