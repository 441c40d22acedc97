"""Calls of members in short boxes, in a loop of their own over all members.

Why: with one lane a vector holds members of one box.  The lists of causal attention are shorter than a vector, so it is
filled in part; where something is subtracted that costs little, where an exponential is called it costs as much as a
full one.

How: the members lie side by side whatever boxes they are in.  What a call is made of goes through memory; the call, and
what is computed of it, is a kernel of its own, whose members are one run.

Where to start reading: ``calls_apart``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from valuegrad.roll.again import pruned
from valuegrad.roll.groups import GUARD
from valuegrad.roll.kernels import Column, Kernel
from valuegrad.roll.pieces import rows_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from valuegrad.roll.found import Loop

__all__ = ["calls_apart"]

LEAST_SAVED = 1.5  # times as many vectors as all members would fill
MOST_KEPT = 1  # numbers of a member that go through memory


def calls_apart(
    kernels: list[Loop], sizes: list[int], lanes: int, is_call: Callable[[int], bool]
) -> tuple[list[Loop], list[int]]:
    """The kernels of one lane, those cut in two that call functions for vectors that are filled in part.

    Args:
        kernels: of a segment, in order.
        sizes: for each group how many members it has.
        lanes: numbers of a vector.
        is_call: whether an operation is a call.

    Returns:
        Kernels, and sizes with those of the groups that are new.
    """
    result: list[Any] = []
    sizes = list(sizes)
    for kernel in kernels:
        if isinstance(kernel, Kernel) and not any(body.variants or body.op == GUARD for body in kernel.bodies):
            first = next((i for i, body in enumerate(kernel.bodies) if is_call(body.op)), 0)
            result += _cut(kernel, first, sizes, lanes)
        else:
            result.append(kernel)
    return result, sizes


def _cut(kernel: Kernel, cut: int, sizes: list[int], lanes: int) -> list[Kernel]:
    """A kernel up to a body, and from it on; as it was where that does not pay."""
    before, after = kernel.bodies[:cut], kernel.bodies[cut:]
    kept = sorted({x for body in after for kind, x in body.args if kind == "value" and x < cut})
    mine = [c for c in range(len(kernel.columns)) if _is_run(kernel.columns[c])]
    used = {x for body in after for kind, x in body.args if kind == "column"} | {b.out for b in after if b.out >= 0}
    if not kept or len(kept) > MOST_KEPT or not used <= set(mine) or any(kernel.is_held(before[x]) for x in kept):
        return [kernel]
    if _vectors(kernel, lanes) < LEAST_SAVED * -(-kernel.members // lanes):
        return [kernel]
    columns, groups = list(kernel.columns), {}
    for x in kept:
        if not kernel.keeps(before[x]):
            before[x] = replace(before[x], group=len(sizes), out=len(columns))
            columns.append(Column("group", len(sizes), np.arange(kernel.members)))
            sizes.append(kernel.members)
        groups[x] = before[x].out

    def moved(kind: str, x: int) -> tuple[str, int]:
        if kind == "column":
            return kind, x
        return ("column", groups[x]) if x < cut else (kind, x - cut)

    after = [replace(body, args=[moved(*arg) for arg in body.args]) for body in after]
    return [pruned(replace(kernel, bodies=bodies, columns=columns)) for bodies in (before, after)]


def _is_run(column: Column) -> bool:
    """Whether members read or write one number after the other, or all of them the same one."""
    steps = np.diff(column.at)
    return bool((steps == 0).all() or (steps == 1).all())


def _vectors(kernel: Kernel, lanes: int) -> int:
    """How many vectors a kernel's members fill, each with members of one run."""
    rows = rows_of([column.at for column in kernel.columns])
    return int((-(-rows[1] // lanes)).sum()) if rows else 0
