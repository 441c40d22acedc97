"""Sequences and chains (``roll.sequences``) as LLVM IR.

Why: their loops run in order, so there is nothing to tile: one loop, an iteration's operations one after the other,
what the next iterations need in registers.  With one lane, steps that are alike run side by side (``packed``).

Sums that do not need each other are written side by side.

Where to start reading: ``sequence``, then ``chains``.
"""

from __future__ import annotations

from typing import Any

from valuegrad.lower.loops import Loops
from valuegrad.lower.packed import Totals, Values
from valuegrad.lower.tracks import Loads
from valuegrad.lower.vectors import LEAVES
from valuegrad.roll.groups import GUARD
from valuegrad.roll.sequences import Chain, Section, Sequence

__all__ = ["chains", "sequence"]


def sequence(e: Loops, name: str, kernel: Sequence) -> None:
    """Write a sequence into the function that was begun.

    Args:
        e: writes it.
        name: for its tables.
        kernel: what it does.
    """
    e.mask, e.width = None, 1 if e.single else e.lanes
    _sequence(e, kernel, Loads(e, kernel.columns, f"t_{name}"))


def chains(e: Loops, name: str, kernels: list[Chain]) -> None:
    """Write chains that do not need each other, side by side: an addition waits for the last one of its chain alone."""
    e.mask, e.width = None, 1 if e.single else e.lanes
    begins = [sum(len(kernel.columns) for kernel in kernels[:k]) for k in range(len(kernels))]
    loads = Loads(e, [column for kernel in kernels for column in kernel.columns], f"t_{name}")
    loads.begin(0)
    totals: list[Any] = [
        loads.read(begin + kernel.bodies[0].out) if kernel.begins else None for kernel, begin in zip(kernels, begins)
    ]
    waiting = [_Waiting(kernel.bodies[0].op, kernel.sections, begin) for kernel, begin in zip(kernels, begins)]
    while any(one.sections for one in waiting):
        active = [k for k, one in enumerate(waiting) if one.sections]
        for k, total in zip(active, _side_by_side(e, [waiting[k] for k in active], [totals[k] for k in active], loads)):
            totals[k] = total
    for kernel, begin, total in zip(kernels, begins, totals):
        if kernel.bodies[0].stored:
            loads.begin(0)
            out = begin + kernel.bodies[0].out
            e.store(out, loads.address(out), total)


def _sequence(e: Loops, kernel: Sequence, loads: Loads) -> None:
    values = Values(kernel, loads)
    totals = Totals(
        kernel, values, [_sections(e, total.op, None, total.before, loads) for total in kernel.accumulators]
    )
    values.ahead()
    last: dict[int, str] = {}

    def iteration(t: Any, now: list[str]) -> list[str]:
        values.begin(t, now)
        for p, pack in enumerate(values.packs):
            step = kernel.bodies[pack[0]]
            if step.op in LEAVES:
                argument = values.operand([step.args[0]])
                at = "" if step.op == GUARD else loads.address(step.out)
                e.leave(step, argument, at, loads.number(step.out) if step.op == GUARD else 0)
                values.vectors[p] = argument
                continue
            values.compute(p)
            values.keep(p)
            if any(kernel.bodies[i].last for i in pack):
                last[p] = values.vector(p)
        return [*values.after(), *totals.after(now[len(values.first) :])]

    sums = e.w.loop(kernel.members, [*values.first, *totals.first], iteration)[len(values.first) :]
    values.begin(kernel.members - 1, [])
    for p, vector in last.items():
        steps = [kernel.bodies[i] for i in values.packs[p]]
        lanes = [lane for lane, step in enumerate(steps) if step.last]
        values.store([steps[lane].out for lane in lanes], lanes, vector, len(steps))
    totals.store(sums)


class _Waiting:
    """What is left of a list.

    Args:
        op: of the list.
        sections: of it.
        begin: its first column among all.

    Attributes:
        done: iterations of the first section that is left.
    """

    def __init__(self, op: int, sections: list[Section], begin: int = 0) -> None:
        self.op, self.sections = op, list(sections)
        terms = [[(x + begin, y + begin if y >= 0 else -1) for x, y in section.terms] for section in sections]
        self.terms, self.done = terms, 0

    @property
    def left(self) -> int:
        """Iterations that are left of its first section."""
        return self.sections[0].count - self.done

    def finish(self, count: int) -> None:
        """So many of them are written."""
        self.done += count
        if self.done == self.sections[0].count:
            del self.sections[0], self.terms[0]
            self.done = 0


def _sections(e: Loops, op: int, total: Any, sections: list[Section], loads: Loads) -> Any:
    """A list's total with more sections; None where there is nothing at all."""
    one = _Waiting(op, sections)
    while one.sections:
        (total,) = _side_by_side(e, [one], [total], loads)
    return total


def _side_by_side(e: Loops, lists: list[_Waiting], totals: list[Any], loads: Loads) -> list[Any]:
    """Some lists' totals with as many iterations more as the shortest of their first sections has."""
    count = min(one.left for one in lists)
    if count > 1:
        loads.ahead({c for one in lists for term in one.terms[0] for c in term if c >= 0})

    def step(t: Any, now: list[Any]) -> list[Any]:
        result = []
        for one, total in zip(lists, now):
            loads.begin(e.w.add(t, one.done))
            for x, y in one.terms[0]:
                total = e.joined(one.op, total, loads.read(x), loads.read(y) if y >= 0 else None)
            result.append(total)
        return result

    if count == 1:
        totals = step(0, totals)
    else:
        begins = [(e.type(), total or e.beginning(one.op)) for one, total in zip(lists, totals)]
        totals = e.w.loop(count, begins, step)
    loads.fixed = {}
    for one in lists:
        one.finish(count)
    return totals
