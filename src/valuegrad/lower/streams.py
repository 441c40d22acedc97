"""A program whose lanes go their own ways as one loop over the arrays, from where they lie to where they go.

Why: an optimiser's step is a dozen operations for each of thousands of parameters, with four arrays to read and three
to write.  To copy each block of lanes into a frame and back takes as long as the operations.

How: a vector of lanes at a time, everything that is read first: so an output may be the array that an input is.
Scalars are read once, before the loop.

Where to start reading: ``emit_stream``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from valuegrad.lower.vectors import ATTRIBUTES, INLINE, SIDE_BY_SIDE, Target, Value, Vectors
from valuegrad.lower.writer import Whole
from valuegrad.primitives.opcodes import OPS
from valuegrad.roll.groups import STORE
from valuegrad.roll.kernels import Body

if TYPE_CHECKING:
    from valuegrad.roll.groups import Segment

__all__ = ["MOST_COLUMNS", "can_stream", "emit_stream"]

MOST_COLUMNS = 32
"""Arrays of the lanes, VG_STREAM_COLUMNS of _run.h."""
KNOWN = INLINE - {"gather"}


def can_stream(segment: Segment, outputs: list[int]) -> bool:
    """Whether a segment is operations and stores alone.

    Args:
        segment: what runs the lanes.
        outputs: the slot of each output of the lanes.
    """
    stored = sorted(int(x) for x in segment.numbers[segment.ops == STORE])
    known = all(int(op) == STORE or (op < len(OPS) and OPS[op] in KNOWN) for op in segment.ops)
    return known and stored == sorted(outputs) and segment.slots <= MOST_COLUMNS


def emit_stream(segment: Segment, name: str, target: Target) -> str:
    """The LLVM IR of a function that runs a segment on arrays, VgStreamFunction of _machine.h.

    Args:
        segment: what runs the lanes; ``can_stream`` says yes to it.
        name: of the function.
        target: what it is written for; it calls no functions.
    """
    return _Stream(segment, Vectors(target, True)).text(name)


class _Stream:
    def __init__(self, segment: Segment, vectors: Vectors) -> None:
        self.s, self.v, self.w = segment, vectors, vectors.w
        vectors.waits_for_divider = True  # its operations are few, and an optimiser's step has a root and a quotient
        self.columns = [self.w.name() for _ in range(segment.slots)]
        self.scalars: dict[int, str] = {}

    def text(self, name: str) -> str:
        s, v, w = self.s, self.v, self.w
        v.along = [SIDE_BY_SIDE] * s.slots
        w.at("body")
        for slot, column in enumerate(self.columns):
            at = w(f"getelementptr ptr, ptr %columns, i64 {slot}")
            w.do(f"{column} = load ptr, ptr {at}, align 8")
        for k in sorted({int(~r) for r in s.operands if 0 <= ~r < s.uniforms}):
            at = w(f"getelementptr {v.scalar}, ptr %uniform, i64 {k}")
            self.scalars[k] = v.splat(v.scalar, w(f"load {v.scalar}, ptr {at}, align {v.item}"))
        shift = v.lanes.bit_length() - 1
        whole = w(f"lshr i64 %count, {shift}")
        rest = w(f"and i64 %count, {v.lanes - 1}")
        w.loop(whole, [], lambda i, _: self.vector(i))
        v.mask = w(f"icmp slt {v.type('i64')} {v.iota()}, {v.splat('i64', rest)}")
        some = w(f"zext i1 {w(f'icmp ne i64 {rest}, 0')} to i64")
        w.loop(some, [], lambda _, __: self.vector(whole))
        head = f"define void @{name}(ptr %columns, ptr noalias %uniform, i64 %count) #0 {{"
        lines = [head, "entry:", "  br label %body", *w.lines, "  ret void", "}", ATTRIBUTES]
        return "\n".join([*sorted(v.declared), *lines])

    def vector(self, i: Whole) -> list[str]:
        """All operations for vector i of the lanes."""
        s, v, w = self.s, self.v, self.w
        far = w.mul(i, v.lanes * v.item)
        address = [w(f"getelementptr i8, ptr {column}, i64 {far}") for column in self.columns]
        slots = sorted({int(~r) - s.uniforms for r in s.operands if ~r >= s.uniforms})
        read: dict[int, Value] = {slot: ("number", v.load(slot, address[slot])) for slot in slots}
        values: dict[int, Value] = {}
        stores: list[tuple[int, Value]] = []

        def operand(r: int) -> Value:
            if r >= 0:
                return values[r]
            return ("number", self.scalars[~r]) if ~r < s.uniforms else read[~r - s.uniforms]

        for k, op in enumerate(s.ops.tolist()):
            args = [operand(r) for r in s.operands[s.starts[k] : s.starts[k + 1]].tolist()]
            number = float(s.numbers[k])
            if op == STORE:
                stores.append((int(number), args[0]))
            else:
                values[k] = v.operation(Body(op, number, -1), args)
        for slot, value in stores:
            v.store(slot, address[slot], v.number(value))
        return []
