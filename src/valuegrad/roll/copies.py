"""Cheap operations once for each of their users, in place of once for all.

Why: where a softmax's adjoint multiplies all pairs of n numbers, (1 or 0) - p stands once for each p and is read n
times, not in order.  Computed anew for each product it is in one loop with it, which reads p alone, in order.

Where to start reading: ``copied``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from valuegrad._replay import places_of_use
from valuegrad.primitives.opcodes import OPCODE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from valuegrad.roll.groups import Segment

__all__ = ["copied"]

CHEAP = frozenset(OPCODE[op] for op in ("add", "sub", "mul", "neg", "abs"))
MOST_OPERANDS = 2  # of a user
MOST_COPIES = 16  # of one on average


def copied(s: Segment) -> tuple[Segment, dict[int, tuple[int, int]]]:
    """A segment in which cheap operations that a single group reads, several times each, stand once for each reader.

    Args:
        s: as it was recorded.

    Returns:
        The segment, and for each such group its readers' group, and which of their operands it is.  Members of both
        stand in the same order.
    """
    chosen = {} if s.runs else _chosen(s)
    for g, (user, slot) in chosen.items():
        s = _with_copies(s, g, user, slot)
    return s, chosen


def _chosen(s: Segment) -> dict[int, tuple[int, int]]:
    arity = np.diff(s.starts)
    sizes = np.bincount(s.group, minlength=s.groups)
    first = np.zeros(s.groups, dtype=np.int64)
    first[s.group[::-1]] = np.arange(len(s.ops))[::-1]
    uses, user, slot, differs, _ = places_of_use(
        s.starts, s.operands, s.group, s.groups, np.zeros(len(s.ops), dtype=np.uint8)
    )
    cheap = np.isin(s.ops[first], list(CHEAP)) & (uses > sizes) & (differs == 0)
    if not cheap.any():
        return {}
    widest = np.zeros(s.groups, dtype=np.int64)
    np.maximum.at(widest, s.group, arity)
    narrow = np.full(s.groups, 1 << 30, dtype=np.int64)
    np.minimum.at(narrow, s.group, arity)
    found: dict[int, tuple[int, int]] = {}
    taken: set[int] = set()
    for g in np.flatnonzero(cheap).tolist():
        if widest[g] > MOST_OPERANDS or narrow[g] < widest[g]:  # a sum of one is alike to sums of two
            continue
        u, k = int(user[g]), int(slot[g])
        fits = (
            uses[g] == sizes[u] <= MOST_COPIES * sizes[g]
            and narrow[u] == widest[u] <= MOST_OPERANDS
            and not {g, u} & taken
        )
        if not fits:
            continue
        members = np.flatnonzero(s.group == u)
        others = [s.operands[s.starts[members] + j] for j in range(int(widest[u])) if j != k]
        if all((s.group[o[o >= 0]] < g).all() for o in others):  # their places are known by then
            found[g] = u, k
            taken |= {g, u}
    return found


def _with_copies(s: Segment, g: int, user: int, slot: int) -> Segment:
    """The segment with a copy of its operand for each member of a group, in place of the operands' group."""
    arity = np.diff(s.starts).astype(np.int64)
    keep = s.group != g
    users = np.flatnonzero(s.group == user)
    old = s.operands[s.starts[users] + slot]
    operands = s.operands.copy()
    operands[s.starts[users] + slot] = len(s.ops) + np.arange(len(users))  # their numbers for now
    rows = np.concatenate([np.flatnonzero(keep), old])
    number = np.full(len(s.ops) + len(users), -1, dtype=np.int64)
    number[np.flatnonzero(keep)] = np.arange(int(keep.sum()))
    number[len(s.ops) :] = int(keep.sum()) + np.arange(len(users))
    length = arity[rows]
    starts = np.concatenate([[0], np.cumsum(length)])
    flat = np.repeat(s.starts[rows] - starts[:-1], length) + np.arange(int(starts[-1]))
    references: NDArray[Any] = operands[flat]
    references = np.where(references >= 0, number[np.maximum(references, 0)], references)
    return replace(
        s,
        ops=s.ops[rows],
        starts=starts.astype(np.int32),
        operands=references.astype(np.int32),
        numbers=s.numbers[rows],
        group=s.group[rows],
    )
