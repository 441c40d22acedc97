"""Copies, side by side, of what a tile reads from far apart.

Why: the terms of a sum over the rows of a matrix are a row apart, and a row is often a power of two.  Then all that a
tile reads falls into the same few sets of the first cache, and is fetched from the second one, or from further away,
again for each other tile.  Products of matrices are packed for this reason since Goto and van de Geijn (2008,
Anatomy of high-performance matrix multiplication).

How: a tile has some members of an outer dimension and some of an inner one.  What depends on the outer one alone is
packed for each of its tiles, and stays in the first cache; what depends on the inner one is packed once for all, and
comes from the second one, a line after the other.

Data structures: ``Far``, a column that is worth it; ``Packed``, where a tile finds its numbers.

Where to start reading: ``far_columns``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from valuegrad.lower.vectors import BLOCK, SIDE_BY_SIDE
from valuegrad.lower.writer import Whole

if TYPE_CHECKING:
    from valuegrad.lower.loops import Box, Loops

__all__ = ["Far", "Packed", "far_columns", "pack_all", "pack_tile"]

LEAST_APART = 1024  # bytes between terms
LEAST_TERMS = 8
TILE_BYTES = 32 * 1024  # at most, of a tile: it has to stay in the first cache
ALL_BYTES = 512 * 1024  # at most, of all tiles: they have to stay in the second one
REUSED = 4  # times that what is packed is read, at least


@dataclass(frozen=True)
class Far:
    """A column whose terms are far apart: how many there are, and how many bytes apart."""

    column: int
    length: int
    step: int


@dataclass(frozen=True)
class Packed:
    """Of a tile the numbers of a column: each term's members side by side.

    Args:
        room: the address.
        dimension: along which the members are.
        members: how many.
    """

    room: str
    dimension: int
    members: int


def far_columns(loops: Loops, box: Box, own: int, other: int, tile: int) -> list[Far]:
    """The columns to pack that depend on dimension `own`, in tiles of so many members, and not on `other`."""
    extent = box.extents[other]
    if loops.width == 1 or not isinstance(extent, int) or extent < 4 * REUSED:
        return []
    found = []
    for p, xy in enumerate(next(iter(loops.nest.pieces.values()))):
        length = box.lengths[p]
        for column, step, bend in zip(xy, box.inner[p], box.inner[p][2:]):
            if column < 0 or loops.along[column] != SIDE_BY_SIDE:
                continue
            if box.strides[own][column] == 0 or box.strides[other][column] != 0:
                continue
            if not isinstance(length, int) or not isinstance(step, int) or bend != 0:
                continue
            if length >= LEAST_TERMS and abs(step) >= LEAST_APART and length * tile * BLOCK <= TILE_BYTES:
                found.append(Far(column, length, step))
    return found


def pack_tile(loops: Loops, box: Box, bases: list[Whole], far: Far, own: int, members: int, room: str) -> None:
    """Copy a column's numbers for so many members along a dimension, beginning with those at `bases`."""
    w, stride = loops.w, box.strides[own][far.column]
    begin = w(f"getelementptr i8, ptr {loops.memory[far.column]}, i64 {bases[far.column]}")

    def term(k: Whole, _: list[str]) -> list[str]:
        for i in range(members):
            at = w(f"getelementptr i8, ptr {begin}, i64 {w.add(w.mul(k, far.step), w.mul(stride, i))}")
            to = w(f"getelementptr i8, ptr {room}, i64 {w.add(w.mul(k, members * BLOCK), i * BLOCK)}")
            w.do(f"store {loops.type()} {loops.load(far.column, at)}, ptr {to}, align {BLOCK}")
        return []

    w.loop(far.length, [], term)


def pack_all(loops: Loops, box: Box, bases: list[Whole], far: Far, own: int, tile: int) -> str | None:
    """Copy a column's numbers for all tiles along a dimension, one tile after the other; the address.

    None: they are too many.
    """
    w, extent, stride = loops.w, box.extents[own], box.strides[own][far.column]
    if not isinstance(extent, int) or extent * far.length * BLOCK > ALL_BYTES:
        return None
    room = loops.room(extent * far.length * BLOCK)
    full, rest = divmod(extent, tile)

    def one(i: Whole, members: int) -> list[str]:
        moved = list(bases)
        moved[far.column] = w.add(bases[far.column], w.mul(i, w.mul(stride, tile)))
        to = w(f"getelementptr i8, ptr {room}, i64 {w.mul(i, tile * far.length * BLOCK)}")
        pack_tile(loops, box, moved, far, own, members, to)
        return []

    w.loop(full, [], lambda i, _: one(i, tile))
    if rest:
        one(full, rest)
    return room
