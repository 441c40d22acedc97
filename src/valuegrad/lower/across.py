"""Tiles across boxes that read the same: see ``boxes.py``.

Where to start reading: ``tile_across``, then ``write_across``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from valuegrad.lower.boxes import BOXES, MOST, Box, Rows, least, shared_columns
from valuegrad.lower.tiles import Operand, Place, best_tile
from valuegrad.lower.vectors import BROADCAST
from valuegrad.roll.kernels import GATHER

if TYPE_CHECKING:
    from valuegrad.lower.loops import Loops
    from valuegrad.lower.writer import Whole

__all__ = ["tile_across", "write_across"]


def tile_across(loops: Loops, rows: Rows) -> Place | None:
    """Of a list how many members of a dimension, and in how many boxes, are side by side; None: boxes are alone.

    They are where the lists of lanes have one piece and boxes differ in length, so that there are no other tiles.
    """
    lists = [body for body in loops.kernel.bodies if body.variants]
    if loops.single or len(lists) != 1 or lists[0].op == GATHER or len(rows.pieces) != 1:
        return None
    uneven = (rows.extents != rows.extents[0]).any(0)
    if lists[0].variants[0][0].feed or uneven.sum() > 1 or not (uneven.any() or np.ptp(rows.lengths)):
        return None
    shared, at_end = shared_columns(rows)
    if not shared or (at_end and uneven.any()):
        return None
    loops.along_lanes()
    sizes = {BOXES: MOST, **{d: int(rows.extents[:, d].mean()) for d in range(rows.rank)}}
    operands = []
    for c in rows.pieces[0]:
        along = {d for d in range(rows.rank) if rows.strides[:, d, c].any()} | (set() if c in shared else {BOXES})
        if c >= 0:
            size = loops.item if loops.along[c] == BROADCAST else loops.block
            operands.append(Operand(1.0, frozenset(along), size, False))
    tile = best_tile(sizes, operands, float(rows.lengths.mean()), loops.target.registers)
    return tile if tile.get(BOXES, 1) > 1 else None


def write_across(loops: Loops, box: Box, tile: Place) -> None:
    """The members of boxes that go together: tiles across them as far as they all go, then what is left of each."""
    w, everything = loops.w, list(range(len(box.extents)))
    order = sorted(everything, key=lambda d: d in tile)
    extents = [least(w, [one.extents[d] for one in box.beside]) for d in everything]

    def level(k: int, box: Box, shape: Place) -> None:
        if k == len(order):
            loops.members(box, shape)
            return
        d = order[k]

        def part(i: Whole, unit: int, size: int) -> None:
            level(k + 1, box.moved(w, d, i, unit), {**shape, d: size} if size > 1 else shape)

        loops.in_parts(extents[d], tile.get(d, 1), part)

    loops.along_lanes()
    level(0, box, {BOXES: len(box.beside)})
    for d, done in enumerate(extents):
        for one in box.beside:
            if one.extents[d] != done:
                left = [w.sub(one.extents[d], done) if e == d else extent for e, extent in enumerate(one.extents)]
                loops.tiles(replace(one.moved(w, d, done), extents=left), everything)
