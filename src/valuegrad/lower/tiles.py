"""Which members of a product of matrices are side by side in registers.

Why: a member alone loads two numbers for each multiply-add; a tile of four by four loads eight for sixteen.

Where to start reading: ``best_tile``.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["Place", "best_tile"]

TILE = 16  # totals in registers; the other half is for what they are made of

Place = dict[int, int]
"""Which member of a tile: for each dimension that is tiled how far."""


def best_tile(sizes: Place, columns: Sequence[tuple[float, set[int]]]) -> Place:
    """How many members of two dimensions are side by side: of all that fit, what takes the fewest cycles.

    Args:
        sizes: of the dimensions how many members they have.
        columns: what a term reads: the price of a load, and the dimensions whose members share it.
    """

    def step(shape: Place) -> float:
        """Cycles a term: two multiply-adds or two loads a cycle, and at least the latency of one."""
        members, loads = 1, 0.0
        for t in shape.values():
            members *= t
        for price, shared in columns:
            distinct = 1
            for d, t in shape.items():
                distinct *= 1 if d in shared else t
            loads += distinct * price
        return max(4.0, members / 2, loads / 2) + 1.0 + loads / 64  # of those that take as long, what loads least

    def cycles(d: int, t: int, e: int, u: int) -> float:
        """For all members, those of incomplete tiles at the ends too."""
        total = 0.0
        for wide, times in ((t, sizes[d] // t), (sizes[d] % t, 1)):
            for deep, often in ((u, sizes[e] // u), (sizes[e] % u, 1)) if e != d else ((1, 1),):
                if wide and deep:
                    total += times * often * step({d: wide} if e == d else {d: wide, e: deep})
        for other, extent in sizes.items():
            total *= extent if other not in (d, e) else 1
        return total

    dimensions = list(sizes)
    pairs = [(d, e) for i, d in enumerate(dimensions) for e in dimensions[i + 1 :]] or [(dimensions[0],) * 2]
    choices = [
        (d, t, e, u)
        for d, e in pairs
        for t in range(1, min(sizes[d], TILE) + 1)
        for u in range(1, (min(sizes[e], TILE // t) if e != d else 1) + 1)
    ]
    d, t, e, u = min(choices, key=lambda choice: cycles(*choice))
    return {d: t} if e == d else {d: t, e: u}
