"""Kernels that nobody waits for, as soon as they can run.

Why: nobody reads the gradient by a weight, so it came last, and what it is made of was kept until then: all that a
network computes on its way back, long out of the caches.  Right after what computes its adjoints these are still there,
and their room is free for the layer before.

Long sums in order wait for each addition; several side by side take no longer than the longest of them.  So those that
do not need each other come together.

Where to start reading: ``summed_early``, then ``chains_together``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from valuegrad.roll.groups import REDUCE
from valuegrad.roll.kernels import Kernel
from valuegrad.roll.rounds import Rounds
from valuegrad.roll.sequences import Chain, Sequence

if TYPE_CHECKING:
    from valuegrad.roll.found import Loop
    from valuegrad.roll.kernels import Column
    from valuegrad.roll.sequences import Track

__all__ = ["chains_together", "go_together", "summed_early"]

BESIDE = 8  # chains, side by side
FEW_SECTIONS = 16  # of each of them: their code is written for each part that they have in common


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


def chains_together(kernels: list[Loop]) -> list[Loop]:
    """The kernels, of which long sums in order that do not need each other follow each other.

    First comes what needs none of them, then those that need nothing else, then what needs only these, and so on; the
    others stay in their order.

    Args:
        kernels: of a segment, in order.
    """
    if sum(map(_is_chain, kernels)) < 2:
        return kernels
    wave: list[int] = []
    writers: dict[int, list[tuple[int, int]]] = {}  # by where it lies: which kernels leave which groups there
    for i, kernel in enumerate(kernels):
        needs = {w for column in kernel.columns for w, g in writers.get(column.group, ()) if _reads(column, g)}
        wave.append(max((wave[w] + _is_chain(kernels[w]) for w in needs), default=0))
        for at, group in _left(kernel):
            writers.setdefault(at, []).append((i, group))
    order = sorted(range(len(kernels)), key=lambda i: (wave[i], _is_chain(kernels[i])))
    return [kernels[i] for i in order]


def _is_chain(kernel: Loop) -> bool:
    return isinstance(kernel, Chain) and not kernel.begins


def _left(kernel: Loop) -> set[tuple[int, int]]:
    """The groups that a kernel may leave, each with the group or holder where it does."""
    if isinstance(kernel, Rounds):
        return {(column.group, column.group) for column in kernel.columns}
    outs = [(body.out, body.group) for body in kernel.bodies]
    if isinstance(kernel, Sequence):
        outs += [(total.out, total.group) for total in kernel.accumulators]
    if isinstance(kernel, Kernel):
        pieces = [pieces for body in kernel.bodies for pieces in body.variants]
        feeds = [(mine, piece.feed) for mine in pieces for piece in mine if piece.feed]
        made = [(mine, feed, body) for mine, feed in feeds for body in feed.bodies if body.out >= 0]
        outs += [(mine[feed.pieces[body.out]].x, body.group) for mine, feed, body in made]
    return {(kernel.columns[out].group, group) for out, group in outs if out >= 0 and kernel.columns[out].group >= 0}


def _reads(column: Column | Track, group: int) -> bool:
    """Whether a column of what lies where a group does reads that group."""
    return not column.of or group in column.of


def go_together(chains: list[Chain], other: Loop | None) -> bool:
    """Whether some chains and what follows them, if anything does, can be added up side by side."""
    if not isinstance(other, Chain) or len(chains) == BESIDE:
        return False
    left = [one for chain in chains for one in _left(chain)]
    needs = any(column.group == at and _reads(column, g) for column in other.columns for at, g in left)
    return not needs and max(len(chains[-1].sections), len(other.sections)) <= FEW_SECTIONS


def _only_sums(kernel: Kernel) -> bool:
    """Whether others read nothing of what a kernel leaves, be it what computes the terms of a list."""
    left = [body for body in kernel.bodies if body.out >= 0]
    return bool(left) and all(body.op == REDUCE for body in left) and not _left(kernel)
