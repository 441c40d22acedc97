"""Kernels that nobody waits for, as soon as they can run.

Why: nobody reads the gradient by a weight, so it came last, and what it is made of was kept until then: all that a
network computes on its way back, long out of the caches.  Right after what computes its adjoints these are still there,
and their room is free for the layer before.

Where to start reading: ``summed_early``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from valuegrad.roll.groups import REDUCE
from valuegrad.roll.kernels import Kernel

if TYPE_CHECKING:
    from valuegrad.roll.found import Loop

__all__ = ["summed_early"]


def summed_early(kernels: list[Loop]) -> list[Loop]:
    """The kernels, of which those that leave nothing but sums over the lanes come after the last one that they read
    from; the others stay in their order.

    Args:
        kernels: of a segment, in order.
    """
    last: dict[int, int] = {}  # of each group the kernel that leaves it, which comes before all others that know it
    after: list[list[Loop]] = [[] for _ in range(len(kernels) + 1)]
    for i, kernel in enumerate(kernels):
        if isinstance(kernel, Kernel) and _only_sums(kernel):
            after[1 + max((last.get(column.group, -1) for column in kernel.columns), default=-1)].append(kernel)
            continue
        for column in kernel.columns:
            if isinstance(kernel, Kernel):
                last.setdefault(column.group, i)
            else:  # a chain goes on with what a sequence left
                last[column.group] = i
        if isinstance(kernel, Kernel):  # of what several kernels leave the last one
            last.update((kernel.columns[body.out].group, i) for body in kernel.bodies if kernel.is_held(body))
        after[i + 1].insert(0, kernel)
    return [kernel for several in after for kernel in several]


def _only_sums(kernel: Kernel) -> bool:
    """Whether others read nothing of what a kernel leaves, be it what computes the terms of a list."""
    left = [body for body in kernel.bodies if body.out >= 0]
    feeds = [piece.feed for body in kernel.bodies for pieces in body.variants for piece in pieces if piece.feed]
    if any(body.out >= 0 for feed in feeds for body in feed.bodies):
        return False
    return bool(left) and all(body.op == REDUCE for body in left) and not any(map(kernel.keeps, left))
