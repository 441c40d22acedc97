"""Triangles that are stored as rectangles.

Why: the rows of a triangle follow each other, so the step down one of its columns is another one from row to row.  A
list of its numbers down a column (what all later positions want of one, in the adjoint of causal attention) is then as
many loops of one term or two, and no two columns are alike.  If all rows are equally far apart it is one loop, and a
box of members.

How: a group whose rows differ in length gets room for the longest one in each, where lists that read it are then cut
into fewer pieces.  Their kernels' members are put in order of their lists' lengths, so that those of one length are a
box.

Where to start reading: ``rectangles``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from valuegrad.roll.again import pruned
from valuegrad.roll.kernels import GATHER, Body, Column, Kernel, Piece
from valuegrad.roll.pieces import cut, far_from_first, rows_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from valuegrad.roll.found import Loop

__all__ = ["rectangles"]

LEAST_ROWS = 4
MOST_ROOM = 8  # times as much as the members take


def rectangles(kernels: list[Loop], sizes: list[int], lanes: int) -> tuple[list[Loop], list[int]]:
    """The kernels of one lane, with triangles as rectangles where that makes lists loops.

    Args:
        kernels: of a segment, in order.
        sizes: for each group how much room it takes.
        lanes: numbers of a vector.

    Returns:
        Kernels, and sizes.
    """
    result: list[Any] = list(kernels)
    sizes = list(sizes)
    known: dict[int, set[int]] = {}
    for k, kernel in enumerate(kernels):
        for column in kernel.columns:
            known.setdefault(column.group, set()).add(k)
    for g in _candidates(kernels):
        users = {k: result[k] for k in sorted(known[g])}
        if not all(isinstance(kernel, Kernel) and _is_plain(kernel) for kernel in users.values()):
            continue
        places = next((p for kernel in users.values() if (p := _places(kernel, g, sizes[g], lanes)) is not None), None)
        if places is None:
            continue
        found = {k: _placed(kernel, g, places) for k, kernel in users.items()}
        if sum(map(_pieces, found.values())) < sum(map(_pieces, users.values())):
            sizes[g] = int(places[-1]) + 1
            for k, kernel in found.items():
                result[k] = kernel
    return result, sizes


def _candidates(kernels: list[Loop]) -> list[int]:
    """Groups that lists read in several pieces, or at steps that change."""
    found: dict[int, None] = {}
    for kernel in kernels:
        for body in kernel.bodies if isinstance(kernel, Kernel) else ():
            assert isinstance(body, Body)
            for pieces in body.variants:
                for piece in pieces:
                    if len(pieces) > 1 or piece.strides[:, 2:].any():
                        found.update((kernel.columns[c].group, None) for c in (piece.x, piece.y) if c >= 0)
    found.pop(-1, None)
    return list(found)


def _is_plain(kernel: Kernel) -> bool:
    """Whether what a kernel reads may change its place: no list's terms are computed, and no entries looked for."""
    lists = [body for body in kernel.bodies if body.variants]
    return not any(body.op == GATHER or piece.feed for body in lists for pieces in body.variants for piece in pieces)


def _places(user: Kernel, g: int, size: int, lanes: int) -> NDArray[np.int64] | None:
    """For each member of a group of this size its place in a rectangle; None if a kernel does not go through all of
    them, or has no rows that differ in length."""
    listed = user.listed()
    plain = [column for c, column in enumerate(user.columns) if c not in listed]
    if not any(column.group == g and column.is_identity(user.members, size) for column in plain):
        return None
    rows = rows_of([column.at for column in plain])
    if rows is None:
        return None
    begins, lengths = rows
    longest = int(lengths.max())
    apart = -(-longest // lanes) * lanes if longest > lanes else 1 << (longest - 1).bit_length()
    if len(begins) < LEAST_ROWS or (lengths == longest).all() or len(begins) * apart > MOST_ROOM * user.members:
        return None
    row = np.repeat(np.arange(len(begins)), lengths)
    places: NDArray[np.int64] = row * apart + np.arange(user.members) - begins[row]
    return places


def _pieces(kernel: Kernel) -> int:
    """How many pieces the members' lists have in all."""
    return sum(
        int((body.variant == v).sum()) * len(pieces) for body in kernel.bodies for v, pieces in enumerate(body.variants)
    )


def _placed(kernel: Kernel, g: int, places: NDArray[np.int64]) -> Kernel:
    """A kernel that finds a group's members at other places."""
    listed = kernel.listed()
    columns = [
        replace(column, at=places[column.at]) if column.group == g and c not in listed else column
        for c, column in enumerate(kernel.columns)
    ]
    if not any(kernel.columns[c].group == g for c in listed):
        return replace(kernel, columns=columns)
    bodies = [_cut_again(body, columns, g, places) if body.variants else body for body in kernel.bodies]
    lengths = sum(piece.length for body in bodies for pieces in body.variants for piece in pieces)
    return _in_order(pruned(replace(kernel, bodies=bodies, columns=columns)), np.argsort(-lengths, kind="stable"))


def _cut_again(body: Body, columns: list[Column], g: int, places: NDArray[np.int64]) -> Body:
    """A list whose pieces are found anew; their columns are added."""
    spaces: list[tuple[str, int]] = []
    owners: list[NDArray[np.int64]] = []
    terms: list[list[NDArray[np.int64]]] = [[], [], [], []]  # class and place of x, those of y

    def add(k: NDArray[np.int64], owner: NDArray[np.int64], piece: Piece, side: int) -> None:
        column = columns[piece.y if side else piece.x]
        space = column.space, column.group
        if space not in spaces:
            spaces.append(space)
        step, bend = piece.strides[owner, side], piece.strides[owner, 2 + side]
        at = column.at[owner] + far_from_first(k, step, bend)
        terms[2 * side].append(np.full(len(k), spaces.index(space)))
        terms[2 * side + 1].append(places[at] if column.group == g else at)

    is_dot = any(piece.y >= 0 for pieces in body.variants for piece in pieces)
    for v, pieces in enumerate(body.variants):
        mine = np.flatnonzero(body.variant == v)
        for piece in pieces:
            n = piece.length[mine]
            owner = np.repeat(mine, n)
            k = np.arange(len(owner)) - np.repeat(np.cumsum(n) - n, n)
            owners.append(owner)
            for side in (0, 1) if is_dot else (0,):
                add(k, owner, piece, side)
    owner = np.concatenate(owners)
    order = np.argsort(owner, kind="stable")
    of_x, x, *of_y = (np.concatenate(several)[order] for several in terms if several)
    m = len(body.variant)
    variant, found = cut(body.op, owner[order], m, (of_x, x), (of_y[0], of_y[1]) if is_dot else None)
    variants: list[list[Piece]] = []
    for mine, pieces_found in found:
        variants.append([])
        for at_x, at_y, strides, length in pieces_found:
            whole = np.zeros((m, 4), dtype=np.int64), np.zeros(m, dtype=np.int64)
            whole[0][mine], whole[1][mine] = strides, length
            piece = Piece(len(columns), len(columns) + 1 if is_dot else -1, *whole)
            for of, at in (at_x, at_y) if is_dot else (at_x,):
                all_places = np.full(m, at[0])
                all_places[mine] = at
                columns.append(Column(spaces[of][0], spaces[of][1], all_places))
            variants[-1].append(piece)
    return replace(body, variant=variant, variants=variants)


def _in_order(kernel: Kernel, order: NDArray[np.intp]) -> Kernel:
    """A kernel with its members in another order."""

    def moved(body: Body) -> Body:
        variants = [
            [replace(piece, strides=piece.strides[order], length=piece.length[order]) for piece in pieces]
            for pieces in body.variants
        ]
        return replace(body, variants=variants, variant=body.variant[order] if variants else body.variant)

    columns = [replace(column, at=column.at[order]) for column in kernel.columns]
    return replace(kernel, bodies=list(map(moved, kernel.bodies)), columns=columns)
