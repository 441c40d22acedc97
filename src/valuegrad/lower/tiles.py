"""Which members of a product of matrices are side by side in registers, and in which order tiles follow each other.

Why: a member alone loads two numbers for each multiply-add; a tile of four by four loads eight for sixteen.  What is
read again for each tile should be in the first cache by then; where it is too much for that, a tile that has more of
the other operand's members reads it less often.

How: of all tiles of two dimensions that fit the registers, in both orders, the one that takes the fewest cycles: what
the processor can compute and load in a cycle, and what comes from further away than the first cache.

Where to start reading: ``best_tile``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Counts = NDArray[np.floating[Any]]

__all__ = ["Operand", "Place", "best_tile"]

FIRST = 32 * 1024  # bytes of the first cache
SECOND = 1024 * 1024  # and of the second one
FROM_SECOND = 1 / 64  # cycles a byte that a tile reads from there, beside what it computes meanwhile
FROM_BEYOND = 1 / 10  # and from further away
LONE = 16  # members of one dimension side by side, at most: more hide no latency
ASIDE = 20.0  # cycles that a tile takes beside its terms

NONE = -2  # a dimension of one member, beside a lone one

Place = dict[int, int]
"""Which member of a tile: for each dimension that is tiled how far."""


@dataclass(frozen=True)
class Operand:
    """What a term reads.

    Args:
        price: of a load, in loads.
        along: the dimensions whose members read different numbers.
        bytes: that a number takes where it lies.
        packed: it is copied before, in the order in which tiles read it.
    """

    price: float
    along: frozenset[int]
    bytes: int
    packed: bool


def best_tile(
    sizes: Mapping[int, int],
    operands: Sequence[Operand],
    terms: float,
    registers: int,
    end: Callable[[Mapping[int, Counts]], Counts] | None = None,
) -> Place:
    """How many members of one dimension or two are side by side; of two the first one is the outer loop's.

    Args:
        sizes: of the dimensions how many members they have.
        operands: what a term reads.
        terms: how many there are.
        registers: for totals and what they are made of.
        end: how many cycles it takes to do with a tile's totals what is done with them.
    """
    if len(sizes) == 1:
        sizes = {**sizes, NONE: 1}
    best, found = np.inf, {}
    for outer, inner in permutations(sizes, 2):
        tile = _tiles(outer, inner, sizes, registers)
        cycles = _cycles(tile, sizes, operands, terms, end)
        k = int(cycles.argmin())
        if cycles[k] < best:
            best, found = cycles[k], {d: int(t[k]) for d, t in tile.items() if d != NONE}
    return found


def _tiles(outer: int, inner: int, sizes: Mapping[int, int], registers: int) -> dict[int, Counts]:
    """All tiles of two dimensions whose totals and operands fit the registers."""
    t, u = np.meshgrid(*(np.arange(1.0, min(sizes[d], registers) + 1) for d in (outer, inner)), indexing="ij")
    most = min(LONE, registers - 4) if NONE in (outer, inner) else registers - 2 - np.minimum(t, u)
    fits = (t * u <= most) | (t * u == 1)
    return {outer: t[fits], inner: u[fits]}


def _cycles(
    tile: Mapping[int, Counts],
    sizes: Mapping[int, int],
    operands: Sequence[Operand],
    terms: float,
    end: Callable[[Mapping[int, Counts]], Counts] | None,
) -> Counts:
    """For all members, those of incomplete tiles at the ends too."""
    (d, t), (e, u) = tile.items()
    total = _traffic(tile, sizes, operands, terms)
    for wide, times in ((t, sizes[d] // t), (sizes[d] % t, np.sign(sizes[d] % t))):
        for deep, often in ((u, sizes[e] // u), (sizes[e] % u, np.sign(sizes[e] % u))):
            shape = {d: wide, e: deep}
            ends = end({d: np.maximum(wide, 1), e: np.maximum(deep, 1)}) if end else 0.0
            total = total + times * often * (terms * _step(shape, operands) + ASIDE + ends)
    outside: Counts = total * prod(size for other, size in sizes.items() if other not in tile)
    return outside


def _step(shape: Mapping[int, Counts], operands: Sequence[Operand]) -> Counts:
    """Cycles a term: two multiply-adds or two loads a cycle, four instructions, and at least the latency of one."""
    members = prod(shape.values())
    loads = sum(prod(t for d, t in shape.items() if d in operand.along) * operand.price for operand in operands)
    bound = np.maximum(np.maximum(members, loads) / 2, (members + loads + 3) / 4)
    found: Counts = np.maximum(bound, 4.0) + loads / 64  # of equals what loads least
    return found


def _traffic(tile: Mapping[int, Counts], sizes: Mapping[int, int], operands: Sequence[Operand], terms: float) -> Counts:
    """Cycles that are waited for what a tile's operands take to come."""
    (outer, t), (inner, u) = tile.items()
    rows, columns = np.ceil(sizes[outer] / t), np.ceil(sizes[inner] / u)
    stays = t * sum(terms * x.bytes for x in operands if outer in x.along and inner not in x.along)
    passes = sum(sizes[inner] * terms * x.bytes for x in operands if inner in x.along)
    total = np.zeros_like(t)
    for x in operands:
        wide, deep = outer in x.along, inner in x.along
        size = terms * x.bytes * (t if wide else 1) * (u if deep else 1)  # a tile's
        whole = terms * x.bytes * (sizes[outer] if wide else 1) * (sizes[inner] if deep else 1)
        everywhere = whole * prod(sizes[d] for d in x.along if d not in tile)
        total += whole * _away(everywhere) * (1 + x.packed)
        if wide and not deep:  # the other half of the first cache is for what passes
            total += np.where(2 * stays > FIRST, rows * (columns - 1) * size * FROM_SECOND, 0.0)
        elif deep and not wide:
            again = (rows - 1) * columns * size * max(FROM_SECOND, _away(whole))
            total += np.where(stays + passes > FIRST, again, 0.0)
    return total


def _away(size: float) -> float:
    """Cycles a byte of so many that are read one after the other."""
    return 0.0 if 2 * size <= FIRST else FROM_SECOND if 2 * size <= SECOND else FROM_BEYOND
