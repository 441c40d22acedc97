"""Whether a loop in order waits for its own results, so that two vectors of lanes are better than one.

Why: an iteration of an integration begins with what the one before it ends with.  A processor that starts two
operations a cycle, each of which takes four, idles for most of the time if they need each other; the operations of
another vector of lanes fill the gaps.  A loop that is busy anyway would only keep twice as many numbers in registers;
one that leaves its results for the way back waits for memory, where twice as many do not fit the first cache.

How: the longest chain of an iteration's operations, in cycles, against the time that all of them take in turn.

Where to start reading: ``two_vectors_pay``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from valuegrad.lower.vectors import BLOCK, LEAVES, MOST_REGISTERS, is_call
from valuegrad.primitives.opcodes import OPCODE
from valuegrad.roll.groups import REDUCE
from valuegrad.roll.kernels import Kernel
from valuegrad.roll.rounds import Rounds
from valuegrad.roll.sequences import Sequence

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["two_vectors_pay"]

ARITHMETIC, CALL = (4.0, 0.5), (60.0, 20.0)
SLOW = {OPCODE["div"]: (24.0, 16.0), OPCODE["sqrt"]: (31.0, 24.0)}
"""Cycles until an operation's result is there, and until the next one of its kind can begin (AVX-512; Fog, Instruction
tables, 2022)."""

LEAST_GAIN = 1.2
MOST_LIVE = MOST_REGISTERS  # numbers of one vector at a time: of two vectors half of them lie in memory, which is near
MOST_KEPT = 1 << 15  # bytes of results that the loops leave for others: the first cache
MOST_OF_OTHERS = 0.5  # members times operations outside of such loops, for each inside


def two_vectors_pay(kernels: list[Any], in_registers: Callable[[int], bool]) -> bool:
    """Whether a segment is to compute two vectors of lanes side by side.

    Args:
        kernels: of the segment, for lanes.
        in_registers: whether an operation's function takes a vector in a register.
    """
    inside = others = kept = 0
    for kernel in kernels:
        for body in kernel.bodies:
            if body.variants or body.op == REDUCE or (is_call(body.op) and not in_registers(body.op)):
                return False
        if isinstance(kernel, Rounds):
            return False
        if isinstance(kernel, Kernel):
            others += kernel.members * len(kernel.bodies)
        elif isinstance(kernel, Sequence):
            if not _waits(kernel):
                return False
            inside += kernel.members * len(kernel.bodies)
            kept += kernel.members * sum(step.stored and not step.last for step in kernel.bodies) * 2 * BLOCK
    return kept <= MOST_KEPT and others <= MOST_OF_OTHERS * inside


def _waits(kernel: Sequence) -> bool:
    """Whether a loop's longest chain takes longer than its operations do, and it has registers left."""
    ready = [0.0] * len(kernel.bodies)
    work = 0.0
    end = list(range(len(kernel.bodies)))  # of each result: the last step that reads it
    for i, step in enumerate(kernel.bodies):
        read = [x for kind, x in step.args if kind == "value"]
        latency, pace = (0.0, 0.5) if step.op in LEAVES else SLOW.get(step.op, CALL if is_call(step.op) else ARITHMETIC)
        terms = max(1, len(step.args) // 2 if step.op in (OPCODE["dot"],) else len(step.args) - 1)
        ready[i] = max([ready[x] for x in read], default=0.0) + latency * terms
        work += pace * terms + (0.5 if step.stored else 0.0)
        for x in read:
            end[x] = i
    for body, _, _ in kernel.carried:
        end[body] = len(kernel.bodies)
    chain = max((ready[body] / ago for body, ago, _ in kernel.carried), default=0.0)
    live = most = len({body for body, _, _ in kernel.carried})
    ends: dict[int, int] = {}
    for i in range(len(kernel.bodies)):
        if end[i] > i:
            live += 1
            ends[end[i]] = ends.get(end[i], 0) + 1
        live -= ends.get(i, 0)
        most = max(most, live)
    return chain >= LEAST_GAIN * work and most <= MOST_LIVE
