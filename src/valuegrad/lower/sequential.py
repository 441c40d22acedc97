"""Sequences and chains (``roll.sequences``) as LLVM IR.

Why: their loops run in order, so there is nothing to tile and, with one lane, nothing to put side by side: one loop, an
iteration's operations one after the other, what the next iterations need in registers.

Where to start reading: ``ordered_loop``.
"""

from __future__ import annotations

from typing import Any

from valuegrad.lower.loops import LEAVES, Loops
from valuegrad.lower.vectors import BROADCAST, INLINE, SIDE_BY_SIDE, Value
from valuegrad.primitives.opcodes import OPS
from valuegrad.roll.groups import GUARD
from valuegrad.roll.sequences import Chain, Sequence, Track

__all__ = ["ordered_loop"]


class Loads:
    """Addresses of tracks, and what was read from them.

    Args:
        e: the emitter, at work on a function.
        tracks: of the kernel.
        name: for tables.
    """

    def __init__(self, e: Loops, tracks: list[Track], name: str) -> None:
        self.e, self.w, self.tracks, self.name = e, e.w, tracks, name
        self.where = [e.space(track.space, track.group) for track in tracks]  # pointer, unit, beginning
        e.memory = [memory for memory, _, _ in self.where]
        e.along = [BROADCAST if e.single or memory == "%uniform" else SIDE_BY_SIDE for memory in e.memory]
        self.fixed: dict[Any, Any] = {}
        self.now: dict[Any, Any] = {}
        self.t: Any = 0

    def begin(self, t: Any) -> None:
        """From here on it is iteration t."""
        self.t, self.now = t, {}

    def offset(self, c: int) -> tuple[Any, int]:
        """Bytes of this iteration's element: what changes, and a constant."""
        track, (_, unit, base) = self.tracks[c], self.where[c]
        if track.table is None:
            key = ("move", track.step * unit)
            if key not in self.now:
                self.now[key] = self.w.mul(self.t, track.step * unit)
            return self.now[key], base + track.first * unit
        name = f"@{self.name}_{c}"
        key = ("table", c)
        if key not in self.now:
            rows = ", ".join(f"i64 {x}" for x in (track.table * unit).tolist())
            text = f"{name} = private unnamed_addr constant [{len(track.table)} x i64] [{rows}]"
            if text not in self.e.tables:
                self.e.tables.append(text)
            self.now[key] = self.w("load i64, ptr " + self.w(f"getelementptr i64, ptr {name}, i64 {self.t}"))
        return self.now[key], base

    def address(self, c: int) -> str:
        pointer = self.where[c][0]
        move, constant = self.offset(c)
        if isinstance(move, int):
            return str(self.w(f"getelementptr i8, ptr {pointer}, i64 {move + constant}"))
        key = (pointer, move)
        if key not in self.now:
            self.now[key] = self.w(f"getelementptr i8, ptr {pointer}, i64 {move}")
        return str(self.w(f"getelementptr i8, ptr {self.now[key]}, i64 {constant}"))

    def number(self, c: int) -> Any:
        """What a guard's track says: its number."""
        move, constant = self.offset(c)
        return self.w.add(move, constant)

    def steady(self, c: int) -> bool:
        return self.tracks[c].table is None and self.tracks[c].step == 0

    def read(self, c: int) -> str:
        known = self.fixed if self.steady(c) else self.now
        if ("value", c) not in known:
            known["value", c] = self.e.load(c, self.address(c))
        found: str = known["value", c]
        return found

    def ahead(self, columns: set[int]) -> None:
        """Read what is the same in all iterations, before them."""
        for c in sorted(columns):
            if self.steady(c):
                self.read(c)


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
    w = e.w
    loads.ahead({c for b in kernel.bodies for kind, c in b.args if kind == "column"})
    # Of a value that is needed `ago` iterations later, as many copies go from iteration to iteration.
    first: list[tuple[str, str]] = []
    begins: list[int] = []
    for _, ago, begin in kernel.carried:
        begins.append(len(first))
        first += [(e.type(), loads.read(begin[t])) for t in range(ago)]

    def iteration(t: Any, now: list[str]) -> list[str]:
        loads.begin(t)
        values: dict[int, tuple[str, str]] = {}

        def argument(kind: str, x: int) -> tuple[str, str]:
            return values[x] if kind == "value" else ("number", now[begins[x]] if kind == "carried" else "")

        for together in order:
            for i, value in zip(together, _packed(e, kernel, together, argument, loads.read)):
                values[i] = value
            for i in together:
                b = kernel.bodies[i]
                if i not in values:
                    args: list[Value] = [
                        ("number", loads.read(x)) if kind == "column" else argument(kind, x) for kind, x in b.args
                    ]
                    if b.op in LEAVES:
                        at = "" if b.op == GUARD else loads.address(b.out)
                        e.leave(b, args[0], at, loads.number(b.out) if b.op == GUARD else 0)
                        values[i] = args[0]
                        continue
                    values[i] = e.operation(b, args)
                if b.last:
                    final[i] = e.number(values[i])
                elif b.stored:
                    e.store(b.out, loads.address(b.out), e.number(values[i]))
        after: list[str] = []
        for (body, ago, _), place in zip(kernel.carried, begins):
            after += [*now[place + 1 : place + ago], e.number(values[body])]
        return after

    order = _packs(e, kernel)
    final: dict[int, str] = {}
    w.loop(kernel.members, first, iteration)
    loads.begin(kernel.members - 1)
    for i, number in final.items():
        e.store(kernel.bodies[i].out, loads.address(kernel.bodies[i].out), number)


def _packs(e: Loops, kernel: Sequence) -> list[list[int]]:
    """A body's steps in an order that can run; those together that one call of an elementary function computes: with
    one lane a call's other lanes would be idle."""
    bodies = kernel.bodies
    if not e.single:
        return [[i] for i in range(len(bodies))]
    calls = [b.op < len(OPS) and OPS[b.op] not in INLINE for b in bodies]
    depth: list[int] = []  # how many calls a step waits for
    for b in bodies:
        depth.append(max((depth[x] + calls[x] for kind, x in b.args if kind == "value"), default=0))
    order: list[list[int]] = []
    open_: dict[Any, list[int]] = {}
    for i in sorted(range(len(bodies)), key=lambda i: (depth[i], calls[i], i)):
        key = (depth[i], bodies[i].op, bodies[i].number)
        if calls[i] and len(open_.get(key, [0] * e.lanes)) < e.lanes:
            open_[key].append(i)
            continue
        order.append([i])
        if calls[i]:
            open_[key] = order[-1]
    return order


def _packed(e: Loops, kernel: Sequence, together: list[int], argument: Any, read: Any) -> list[tuple[str, str]]:
    """The values of several calls of a function by one."""
    if len(together) == 1:
        return []
    w, bodies, v = e.w, [kernel.bodies[i] for i in together], e.lanes
    vector = f"<{v} x {e.scalar}>"
    packed = []
    for k in range(len(bodies[0].args)):
        numbers = [read(b.args[k][1]) if b.args[k][0] == "column" else e.number(argument(*b.args[k])) for b in bodies]
        e.width = v
        x = e.splat(e.scalar, numbers[0])
        e.width = 1
        for place, number in enumerate(numbers[1:], 1):
            x = w(f"insertelement {vector} {x}, {e.scalar} {number}, i64 {place}")
        packed.append(x)
    e.width = v
    result = e.call(bodies[0].op, bodies[0].number, packed)
    e.width = 1
    return [("number", w(f"extractelement {vector} {result}, i64 {place}")) for place in range(len(bodies))]


def _chain(e: Loops, kernel: Chain, loads: Loads) -> None:
    w, (body,) = e.w, kernel.bodies
    total: Any = None
    for section in kernel.sections:
        own = {c for term in section.terms for c in term if c >= 0}
        if section.count > 1:
            loads.ahead(own)

        def step(t: Any, now: list[Any], terms: list[tuple[int, int]] = section.terms) -> list[str]:
            loads.begin(t)
            (sum_,) = now
            for x, y in terms:
                sum_ = e.joined(body.op, sum_, loads.read(x), loads.read(y) if y >= 0 else None)
            return [sum_]

        if section.count == 1:
            (total,) = step(0, [total])
        else:
            (total,) = w.loop(section.count, [(e.type(), total or e.beginning(body.op))], step)
        loads.fixed = {}
    if body.stored:
        loads.begin(0)
        e.store(body.out, loads.address(body.out), total)
