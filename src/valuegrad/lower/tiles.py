"""Which members of a product of matrices are side by side in registers, and in which order tiles follow each other.

Why: a member alone loads two numbers for each multiply-add; a tile of four by four loads eight for sixteen.  What is
read again for each tile should be in the first cache by then; where it is too much for that, a tile that has more of
the other operand's members reads it less often.

How: of all tiles of two dimensions that fit the registers, in both orders, the one that takes the fewest cycles: what
the processor can compute and load in a cycle, and what comes from further away than the first cache.

Where to start reading: ``best_tile``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, prod

__all__ = ["FIRST", "Operand", "Place", "best_tile"]

FIRST = 32 * 1024  # bytes of the first cache
SECOND = 1024 * 1024  # and of the second one
FROM_SECOND = 1 / 64  # cycles a byte that a tile reads from there, beside what it computes meanwhile
FROM_BEYOND = 1 / 10  # and from further away
ASIDE = 20.0  # cycles that a tile takes beside its terms

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
    sizes: Mapping[int, int], operands: Sequence[Operand], terms: float, registers: int, end: Callable[[Place], float]
) -> Place:
    """How many members of one dimension or two are side by side; of two the first one is the outer loop's.

    Args:
        sizes: of the dimensions how many members they have.
        operands: what a term reads.
        terms: how many there are.
        registers: for totals and what they are made of.
        end: how many cycles it takes to do with a tile's totals what is done with them.
    """
    return min(_tiles(sizes, registers), key=lambda tile: _cycles(tile, sizes, operands, terms, end))


def _tiles(sizes: Mapping[int, int], registers: int) -> Iterator[Place]:
    """All tiles of two dimensions, or of the only one, whose totals and operands fit the registers."""
    if len(sizes) == 1:
        ((d, size),) = sizes.items()
        yield from ({d: t} for t in range(1, min(size, registers // 2) + 1))
    for d in sizes:
        for e in sizes:
            for t in range(1, min(sizes[d], registers) + 1) if d != e else ():
                for u in range(1, min(sizes[e], registers) + 1):
                    if t * u + min(t, u) + 2 <= registers or t * u == 1:
                        yield {d: t, e: u}


def _cycles(
    tile: Place, sizes: Mapping[int, int], operands: Sequence[Operand], terms: float, end: Callable[[Place], float]
) -> float:
    """For all members, those of incomplete tiles at the ends too."""
    total = 0.0
    outside = prod(size for d, size in sizes.items() if d not in tile)
    for shape, times in _shapes(tile, sizes):
        total += times * (terms * _step(shape, operands) + ASIDE + end(shape))
    return outside * (total + _traffic(tile, sizes, operands, terms))


def _shapes(tile: Place, sizes: Mapping[int, int]) -> list[tuple[Place, int]]:
    """The tiles of all members, and how many there are of each shape."""
    found: list[tuple[Place, int]] = [({}, 1)]
    for d, t in tile.items():
        parts = [(size, times) for size, times in ((t, sizes[d] // t), (sizes[d] % t, 1)) if size and times]
        found = [({**shape, d: size}, n * times) for shape, n in found for size, times in parts]
    return found


def _step(shape: Place, operands: Sequence[Operand]) -> float:
    """Cycles a term: two multiply-adds or two loads a cycle, four instructions, and at least the latency of one."""
    members = prod(shape.values())
    loads = sum(prod(t for d, t in shape.items() if d in operand.along) * operand.price for operand in operands)
    return max(4.0, members / 2, loads / 2, (members + loads + 3) / 4) + loads / 64  # of equals what loads least


def _traffic(tile: Place, sizes: Mapping[int, int], operands: Sequence[Operand], terms: float) -> float:
    """Cycles that are waited for what a tile's operands take to come."""
    if len(tile) == 1:
        return 0.0
    (outer, t), (inner, u) = tile.items()
    rows, columns = ceil(sizes[outer] / t), ceil(sizes[inner] / u)
    stays = sum(t * terms * x.bytes for x in operands if outer in x.along and inner not in x.along)
    passes = sum(sizes[inner] * terms * x.bytes for x in operands if inner in x.along)
    total = 0.0
    for x in operands:
        wide, deep = outer in x.along, inner in x.along
        size = (t if wide else 1) * (u if deep else 1) * terms * x.bytes  # a tile's
        whole = (sizes[outer] if wide else 1) * (sizes[inner] if deep else 1) * terms * x.bytes
        once = whole * _away(whole)
        total += once * (1 + x.packed)
        if wide and not deep and 2 * stays > FIRST:  # the other half is for what passes
            total += rows * columns * size * FROM_SECOND
        elif deep and not wide and stays + passes > FIRST:
            total += rows * columns * size * max(FROM_SECOND, _away(whole))
    return total


def _away(size: float) -> float:
    """Cycles a byte of so many that are read one after the other."""
    return 0.0 if 2 * size <= FIRST else FROM_SECOND if 2 * size <= SECOND else FROM_BEYOND
