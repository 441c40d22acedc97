"""From kernels to loop nests: members whose accesses are affine, in boxes.

Why: a loop over members that reads a table of addresses is half as fast as one whose addresses advance by a constant.
The members of a matrix product are a box of rows and columns; those of causal attention are one box for each position,
with the same loops but other lengths.

How: consecutive members whose columns all advance by a constant step become a box of one dimension; boxes of the same
shape that follow each other with a constant step become a box of one dimension more.

Data structures: ``Nest``, boxes of a kernel that the same loops run over.

Where to start reading: ``nests_of``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from valuegrad.roll.pieces import most_frequent, runs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from valuegrad.roll.kernels import Kernel, Piece

__all__ = ["Nest", "nests_of"]

MOST_DIMENSIONS = 4


@dataclass
class Nest:
    """Boxes of members with the same number of dimensions and the same kinds of strides.

    Args:
        kernel: whose members.
        pieces: for the body that is a list, its number, and its pieces: (columns x and y, or -1).
        bases: int64[boxes, columns]: where each column begins.
        extents: int64[boxes, dimensions], outermost first.
        strides: int64[boxes, dimensions, columns].
        lengths: int64[boxes, pieces].
        inner: int64[boxes, pieces, 4]: from a piece's first term to the next, for x and y, and how much that grows.
    """

    kernel: Kernel
    pieces: dict[int, list[tuple[int, int]]]
    bases: NDArray[np.int64]
    extents: NDArray[np.int64]
    strides: NDArray[np.int64]
    lengths: NDArray[np.int64]
    inner: NDArray[np.int64]


Boxes = tuple[Any, Any, Any, Any, Any]
"""bases, extents, strides, lengths, inner, as in a Nest."""


def nests_of(kernel: Kernel) -> list[Nest]:
    """The kernel's members, all of them once, as nests."""
    found = []
    lists = [(i, body) for i, body in enumerate(kernel.bodies) if body.variants]
    if not lists:
        return _nests(kernel, {}, [], np.arange(kernel.members))
    ((i, body),) = lists
    for v, pieces in enumerate(body.variants):
        found += _nests(kernel, {i: [(p.x, p.y) for p in pieces]}, pieces, np.flatnonzero(body.variant == v))
    return found


def _nests(
    kernel: Kernel, table: dict[int, list[tuple[int, int]]], pieces: list[Piece], members: NDArray[np.int64]
) -> list[Nest]:
    m, columns = len(members), len(kernel.columns)
    boxes: Boxes = (
        np.stack([column.at[members] for column in kernel.columns], 1) if columns else np.zeros((m, 0), np.int64),
        np.zeros((m, 0), np.int64),
        np.zeros((m, 0, columns), np.int64),
        np.stack([piece.length[members] for piece in pieces], 1) if pieces else np.zeros((m, 0), np.int64),
        np.stack([piece.strides[members] for piece in pieces], 1) if pieces else np.zeros((m, 0, 4), np.int64),
    )
    for dimension in range(MOST_DIMENSIONS):
        merged = _merged(boxes, dimension == 0)
        if merged is None:
            break
        boxes = merged
    bases, extents, strides, lengths, inner = boxes
    if extents.shape[1] == 0:
        extents, strides = np.ones((len(bases), 1), np.int64), np.zeros((len(bases), 1, columns), np.int64)
    kinds = np.clip(strides, -2, 2)  # backwards, none, side by side, apart: what code depends on
    alike: dict[bytes, list[int]] = {}
    for b in range(len(bases)):
        alike.setdefault(kinds[b].tobytes() + (extents[b] == 1).tobytes(), []).append(b)
    found = []
    for which in alike.values():
        keep = extents[which[0]] > 1
        keep[-1] |= not keep.any()
        parts = bases[which], extents[which][:, keep], strides[which][:, keep], lengths[which], inner[which]
        found.append(Nest(kernel, table, *parts))
    return found


def _merged(boxes: Boxes, innermost: bool) -> Boxes | None:
    """Boxes of one dimension more; None if none follow each other with a constant step."""
    bases, extents, strides, lengths, inner = boxes
    count = len(bases)
    if count < 2:
        return None
    steps = np.diff(bases, axis=0)
    same = np.ones(count - 1, dtype=bool)
    for array in (extents, strides, lengths, inner):
        if array.size:
            same &= (array[1:] == array[:-1]).reshape(count - 1, -1).all(1)
    hard = np.ones(count, dtype=bool)
    hard[1:] = ~same
    changed = hard.copy()
    common = most_frequent(steps[same]) if innermost and same.any() else None
    if common is not None:  # rows are where this step goes on: else a short row would take a member of the next
        hard[1:] |= (steps != common).any(1)
        changed = hard.copy()
    else:
        changed[2:] |= (steps[1:] != steps[:-1]).any(1)
    at = np.flatnonzero(runs(changed, hard))
    if len(at) == count:
        return None
    length = np.diff(np.append(at, count))
    step = np.where((length > 1)[:, None], steps[np.minimum(at, count - 2)], 0)
    return (
        bases[at],
        np.concatenate([length[:, None], extents[at]], 1),
        np.concatenate([step[:, None, :], strides[at]], 1),
        lengths[at],
        inner[at],
    )
