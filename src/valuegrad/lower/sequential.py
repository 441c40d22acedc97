"""Sequences and chains (``roll.sequences``) as LLVM IR.

Why: their loops run in order, so there is nothing to tile: one loop, an iteration's operations one after the other,
what the next iterations need in registers.  With one lane, steps that are alike run side by side (``packed``).

Where to start reading: ``ordered_loop``.
"""

from __future__ import annotations

from typing import Any

from valuegrad.lower.loops import Loops
from valuegrad.lower.packed import Totals, Values
from valuegrad.lower.tracks import Loads
from valuegrad.lower.vectors import LEAVES
from valuegrad.roll.groups import GUARD
from valuegrad.roll.sequences import Chain, Section, Sequence

__all__ = ["ordered_loop"]


def ordered_loop(e: Loops, name: str, kernel: Sequence | Chain) -> None:
    """Write a sequence or a chain into the function that was begun.

    Args:
        e: writes it.
        name: for its tables.
        kernel: what it does.
    """
    e.mask, e.width = None, 1 if e.single else e.lanes
    loads = Loads(e, kernel.columns, f"t_{name}")
    if isinstance(kernel, Chain):
        _chain(e, kernel, loads)
    else:
        _sequence(e, kernel, loads)


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


def _chain(e: Loops, kernel: Chain, loads: Loads) -> None:
    (body,) = kernel.bodies
    loads.begin(0)
    total = _sections(e, body.op, loads.read(body.out) if kernel.begins else None, kernel.sections, loads)
    if body.stored:
        loads.begin(0)
        e.store(body.out, loads.address(body.out), total)


def _sections(e: Loops, op: int, total: Any, sections: list[Section], loads: Loads) -> Any:
    """A list's total with more sections; None where there is nothing at all."""
    for section in sections:
        own = {c for term in section.terms for c in term if c >= 0}
        if section.count > 1:
            loads.ahead(own)

        def step(t: Any, now: list[Any], terms: list[tuple[int, int]] = section.terms) -> list[str]:
            loads.begin(t)
            (sum_,) = now
            for x, y in terms:
                sum_ = e.joined(op, sum_, loads.read(x), loads.read(y) if y >= 0 else None)
            return [sum_]

        if section.count == 1:
            (total,) = step(0, [total])
        else:
            (total,) = e.w.loop(section.count, [(e.type(), total or e.beginning(op))], step)
        loads.fixed = {}
    return total
