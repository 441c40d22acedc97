"""Matrices laid out before a time loop, as its iterations read them.

Why: with one lane a vector is units side by side, each of which reads a row of weights: numbers that are a row apart.
To gather them, or to turn them in registers, costs more than the products do, in each iteration again.

How: what does not move on from iteration to iteration is copied before the first one, column after column.  What an
iteration makes for itself does not move on either, but is another one each time: it stays where it is.

Where to start reading: ``laid_out``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from valuegrad.roll.kernels import GATHER, Body, Column, Kernel
from valuegrad.roll.pieces import far_from_first
from valuegrad.roll.rounds import Rounds, copy_of

__all__ = ["laid_out"]

LEAST_ROUNDS = 4
LEAST_TERMS = 4


def laid_out(kernels: list[Any], sizes: list[int], lanes: int) -> tuple[list[Any], list[int]]:
    """The kernels of one lane, with copies before loops of loops.

    Args:
        kernels: of a segment, in order.
        sizes: for each group how much room it takes.
        lanes: numbers of a vector.

    Returns:
        Kernels, and sizes with those of the copies.
    """
    sizes = list(sizes)
    result = []
    for one in kernels:
        if isinstance(one, Rounds) and one.members >= LEAST_ROUNDS:
            begins, made = list(one.begins), set(one.left())
            inside = [
                _with_copies(kernel, begins, sizes, made) if kernel.members >= lanes else kernel
                for kernel in one.kernels
            ]
            one = replace(one, begins=begins, kernels=inside)
        result.append(one)
    return result, sizes


def _with_copies(kernel: Kernel, begins: list[Kernel], sizes: list[int], made: set[int]) -> Kernel:
    """A kernel of an iteration that reads copies, except of what iterations have made; the kernels that make them are
    added."""
    columns = list(kernel.columns)
    bodies = []
    for body in kernel.bodies:
        if len(body.variants) == 1 and body.op != GATHER:
            body = _of_copies(body, columns, begins, sizes, made)
        bodies.append(body)
    return replace(kernel, bodies=bodies, columns=columns)


def _of_copies(body: Body, columns: list[Column], begins: list[Kernel], sizes: list[int], made: set[int]) -> Body:
    """A list that reads copies, whose columns are in the place of those that were copied."""
    pieces = list(body.variants[0])
    for p, piece in enumerate(pieces):
        n, members = int(piece.length[0]), len(piece.length)
        if n < LEAST_TERMS or (piece.length != n).any():
            continue
        for side, c in enumerate((piece.x, piece.y)):
            if c < 0 or columns[c].move or columns[c].group in made or (np.diff(columns[c].at) <= 1).all():
                continue
            step, bend = piece.strides[:, side], piece.strides[:, 2 + side]
            places = columns[c].at + far_from_first(np.arange(n)[:, None], step, bend)
            begins.append(copy_of(replace(columns[c], at=places.ravel()), len(sizes), np.arange(n * members)))
            columns[c] = Column("group", len(sizes), np.arange(members))
            sizes.append(n * members)
            strides = pieces[p].strides.copy()
            strides[:, side], strides[:, 2 + side] = members, 0
            pieces[p] = replace(pieces[p], strides=strides)
    return replace(body, variants=[pieces])
