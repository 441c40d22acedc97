"""Copies, lengthwise, of columns that lie across the vector and that many boxes read.

Why: causal attention has a box for each position, whose members are the positions before.  Their keys are rows that lie
far apart, so a vector of members would gather its numbers; each box reads the keys of the one before, and one more.

How: before the boxes, the columns that are the same in all of them are turned once, by shuffles (``turned.py``), into a
room of the function's own, in which members are side by side.  From then on they are columns like others.

Where to start reading: ``lengthwise``.
"""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING

from valuegrad.lower.turned import TERMS, turned

if TYPE_CHECKING:
    from valuegrad.lower.boxes import Rows
    from valuegrad.lower.loops import Loops
    from valuegrad.lower.writer import Whole

__all__ = ["lengthwise"]

LEAST_BOXES = 2
LEAST_READ = 2  # times that a number is read, on average
LEAST_MEMBERS = 3  # along the dimension, on average


def lengthwise(loops: Loops, rows: Rows) -> Rows:
    """The boxes, with copies in place of columns that lie across a vector of members; written where they pay.

    Args:
        loops: the function, in which nothing is written yet.
        rows: its boxes.
    """
    if not loops.single or rows.pieces or rows.count < LEAST_BOXES:
        return rows
    largest = rows.extents.max(0)
    if not (rows.extents == largest).all(1).any():
        return rows
    for d in range(rows.rank):
        across = _across(loops, rows, d)
        members = rows.extents.prod(1).sum()
        moves = rows.strides[0][:, across].any(1)  # dimensions along which they are elsewhere
        if across and rows.extents[:, d].mean() >= LEAST_MEMBERS and members >= LEAST_READ * largest[moves].prod():
            return _copied(loops, rows, d, across)
    return rows


def _across(loops: Loops, rows: Rows, d: int) -> list[int]:
    """The columns to copy, in order of their addresses, so that vectors run along a dimension; none: they cannot."""
    found = []
    written = {body.out for body in loops.kernel.bodies if body.out >= 0}
    for c in range(rows.columns):
        steps = rows.strides[:, d, c]
        if ((steps == 0) | ((steps == loops.item) & (loops.units[c] == loops.item))).all():
            continue
        alike = (rows.bases[:, c] == rows.bases[0, c]).all() and (rows.strides[:, :, c] == rows.strides[0, :, c]).all()
        if not alike or c in written or loops.memory[c] not in ("%frame", "%uniform"):
            return []
        found.append(c)
    return sorted(found, key=lambda c: (loops.memory[c], rows.strides[0, :, c].tolist(), int(rows.bases[0, c])))


def _copied(loops: Loops, rows: Rows, d: int, across: list[int]) -> Rows:
    """The boxes, with copies of these columns."""
    result, largest = copy(rows), rows.extents.max(0)
    result.bases, result.strides = rows.bases.copy(), rows.strides.copy()
    vectors = -(-int(largest[d]) // loops.lanes)
    memory, at = list(loops.memory), 0
    while at < len(across):
        family = _family(loops, rows, across[at : at + TERMS])
        steps = rows.strides[0, :, family[0]].tolist()
        room, size = [0] * rows.rank, vectors * loops.block
        for e in reversed(range(rows.rank)):
            if e != d and steps[e]:
                room[e], size = size, size * int(largest[e])
        room[d] = loops.item
        to = [loops.room(size) for _ in family]
        _turn(loops, rows, d, family, room, to)
        for c, address in zip(family, to):
            memory[c], loops.units[c] = address, loops.item
            result.bases[:, c], result.strides[:, :, c] = 0, room
        at += len(family)
    loops.memory = memory
    return result


def _family(loops: Loops, rows: Rows, columns: list[int]) -> list[int]:
    """TERMS columns whose numbers are side by side, if these are; else the first one."""
    first = columns[0]
    alike = all(
        loops.memory[c] == loops.memory[first]
        and (rows.strides[0, :, c] == rows.strides[0, :, first]).all()
        and rows.bases[0, c] == rows.bases[0, first] + i * loops.item
        for i, c in enumerate(columns)
    )
    return columns if alike and len(columns) == TERMS else columns[:1]


def _turn(loops: Loops, rows: Rows, d: int, family: list[int], room: list[int], to: list[str]) -> None:
    """Write the loops that copy columns of a family."""
    w, first, largest = loops.w, family[0], rows.extents.max(0).tolist()
    steps: list[int] = rows.strides[0, :, first].tolist()
    loops.width, loops.mask = loops.lanes, None

    def level(dimensions: list[int], far: Whole, place: Whole) -> None:
        if dimensions:
            e, *others = dimensions

            def inside(i: Whole, _: list[str]) -> list[str]:
                level(others, w.add(far, w.mul(i, steps[e])), w.add(place, w.mul(i, room[e])))
                return []

            w.loop(largest[e], [], inside)
            return
        loops.in_parts(largest[d], loops.lanes, lambda i, unit, size: part(far, place, i, size))

    def part(far: Whole, place: Whole, i: Whole, size: int) -> None:
        begin = w.add(w.add(far, w.mul(i, loops.lanes * steps[d])), int(rows.bases[0, first]))
        where = w(f"getelementptr i8, ptr {loops.memory[first]}, i64 {begin}")
        if len(family) == TERMS:
            vectors = turned(loops, where, steps[d], size)
        else:
            loops.along = [steps[d]] * len(loops.memory)
            loops.mask = None if size == loops.lanes else loops.first(size)
            vectors = [loops.load(first, where)]
            loops.mask = None
        for address, vector in zip(to, vectors):
            at = w(f"getelementptr i8, ptr {address}, i64 {w.add(place, w.mul(i, loops.block))}")
            w.do(f"store {loops.type()} {vector}, ptr {at}, align {loops.item}")

    level([e for e in range(rows.rank) if e != d and steps[e]], 0, 0)
