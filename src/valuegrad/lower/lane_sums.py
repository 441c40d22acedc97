"""Sums over the lanes of many members at once, as LLVM IR: each of the vectors becomes one number, its total.

Why: a network's gradient has a sum over the lanes for each of its parameters.  As a vector for each of them, written in
one loop and added up in another, it moves 64 bytes four times; in registers V of them are added up with about as many
instructions, and leave V numbers.

How: two vectors become one whose elements are, in turns, sums of two neighbours of the first and of the second; then
two of those, in pairs, and so on.  That is the order of ``_sums.h``, ((0 + 1) + (2 + 3)) + ((4 + 5) + (6 + 7)) and of
16 lanes the sum of both halves, to the last bit.

Where to start reading: ``store_totals``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from valuegrad.lower.tiles import Counts
    from valuegrad.lower.vectors import Vectors
    from valuegrad.lower.writer import Writer

__all__ = ["cycles_of_totals", "store_totals"]


def cycles_of_totals(shape: Mapping[int, Counts], beside: set[int], lanes: int) -> Counts:
    """What it takes to write a tile's totals: two shuffles a vector, of V at a time, and some instructions a stretch.

    Args:
        shape: of the tile, or of many.
        beside: the dimensions along which the totals' places are side by side.
        lanes: V.
    """
    vectors = prod(shape.values())
    stretches: Counts = vectors / prod((t for d, t in shape.items() if d in beside), start=np.ones_like(vectors))
    return 2.0 * lanes * np.ceil(vectors / lanes) + 4.0 * stretches


def store_totals(e: Vectors, vectors: Sequence[str], places: Sequence[tuple[str, int]]) -> None:
    """Write the total of each vector to its place.

    Args:
        e: the function being written.
        vectors: of V numbers each.
        places: for each an address, and how many bytes further its place is.
    """
    w, scalar, item, lanes = e.w, e.scalar, e.item, e.lanes
    t = f"<{lanes} x {scalar}>"
    order = sorted(range(len(vectors)), key=lambda i: (places[i][0], places[i][1]))
    for first in range(0, len(order), lanes):
        some = order[first : first + lanes]
        total = _totals(w, t, lanes, [vectors[i] for i in some])
        for begin, count in _runs([places[i] for i in some], item):
            address, more = places[some[begin]]
            at = w(f"getelementptr i8, ptr {address}, i64 {more}") if more else address
            if count == 1:
                w.do(f"store {scalar} {w(f'extractelement {t} {total}, i64 {begin}')}, ptr {at}, align {item}")
                continue
            part = total
            if count < lanes:
                which = ", ".join(f"i32 {begin + i}" for i in range(count))
                part = w(f"shufflevector {t} {total}, {t} poison, <{count} x i32> <{which}>")
            w.do(f"store <{count} x {scalar}> {part}, ptr {at}, align {item}")


def _totals(w: Writer, t: str, lanes: int, vectors: Sequence[str]) -> str:
    """A vector whose element i is the total of vector i; the last ones mean nothing where there are fewer than V."""
    size, now = 1, list(vectors)
    while size < lanes:
        if len(now) % 2:
            now.append(now[-1])
        now = [_joined(w, t, lanes, size, x, y) for x, y in zip(now[::2], now[1::2])]
        size *= 2
    return now[0]


def _joined(w: Writer, t: str, lanes: int, size: int, x: str, y: str) -> str:
    """x and y in turns, `size` elements of each, each the sum of two that are `size` apart."""
    starts = [2 * size * (i // (2 * size)) + i % size + (lanes if i % (2 * size) >= size else 0) for i in range(lanes)]

    def taken(more: int) -> str:
        which = ", ".join(f"i32 {start + more}" for start in starts)
        return w(f"shufflevector {t} {x}, {t} {y}, <{lanes} x i32> <{which}>")

    return w(f"fadd {t} {taken(0)}, {taken(size)}")


def _runs(places: Sequence[tuple[str, int]], item: int) -> list[tuple[int, int]]:
    """Places that follow each other: the first one, and how many."""
    found: list[tuple[int, int]] = []
    for i, (address, more) in enumerate(places):
        if found and places[i - 1] == (address, more - item):
            found[-1] = found[-1][0], found[-1][1] + 1
        else:
            found.append((i, 1))
    return found
