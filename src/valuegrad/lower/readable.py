"""``ReadableCode``: a graph executed in plain Python, lane after lane.

Why: it says what a lowered program computes (the compiled ``Code`` has the same interface and, in strict mode, the
same numbers to the last bit), and it runs where the compiled modules were not built.

Data structures: ``_Step`` is one node ready to run: a function of the numbers of its operands.  A node belongs to
one of three segments: *pre* depends on what is the same for all lanes, *main* on the lane, *post* on sums over the
lanes.  Each segment is a list of steps, in order.

Where to start reading: ``ReadableCode.__init__``, then ``run``.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from valuegrad.errors import ShapeError, ValueArgumentError
from valuegrad.primitives import FLOATS, TABLE
from valuegrad.primitives.opcodes import OPS

__all__ = ["ReadableCode", "operation"]

Numbers = list[float]
BLOCK_BYTES = 64
CHUNKS = 64  # a batch's sum is the sum of at most so many chunks, so that threads do not change it
FEW_CHUNKS, MANY_SUMS = 16, 16  # and so many where one in so many operations is a sum: each chunk has all of them;
# half as many where these would be of less than CHUNK_BLOCKS
CHUNK_BLOCKS = 16  # a chunk is a multiple of so many blocks,
LONG_PROGRAM, LONG_BLOCKS = 5000, 2  # or of so many if the program has so many operations besides
PICKING = "gather", "select", "eq", "or"  # which pick one of a list: one operation in loops, a row of them elsewhere


def _gather(args: Numbers) -> float:
    *entries, index = args
    where = index + len(entries) if index < 0 else index
    return entries[int(where)] if 0 <= where < len(entries) else FLOATS.div(0.0, 0.0)


_STRUCTURAL: dict[str, Callable[[Numbers], float]] = {
    "lt": lambda args: 1.0 if args[0] < args[1] else 0.0,
    "le": lambda args: 1.0 if args[0] <= args[1] else 0.0,
    "eq": lambda args: 1.0 if args[0] == args[1] else 0.0,
    "and": lambda args: 1.0 if args[0] != 0.0 and args[1] != 0.0 else 0.0,
    "or": lambda args: 1.0 if args[0] != 0.0 or args[1] != 0.0 else 0.0,
    "not": lambda args: 1.0 if args[0] == 0.0 else 0.0,
    "select": lambda args: args[1] if args[0] != 0.0 else args[2],
    "gather": _gather,
    "custom": lambda args: args[0],
}


def operation(op: str, number: float, calls: Sequence[Callable[..., Any]] = ()) -> Callable[[Numbers], float]:
    """What an operation does with the numbers of its operands.

    Args:
        op: its name.
        number: its static argument.
        calls: the functions of "call".

    Example:
        >>> operation("dot", 0.0)([1.0, 2.0, 10.0, 100.0])
        210.0
    """
    if op in _STRUCTURAL:
        return _STRUCTURAL[op]
    if op == "call":
        function = calls[int(number)]
        return lambda args: float(function(*args))
    row = TABLE[op]
    value: Callable[..., Any] = row.value
    m = FLOATS
    if row.family:
        return lambda args: value(m, args)[int(number)]
    if row.vectors == 2:
        return lambda args: value(m, args[: len(args) // 2], args[len(args) // 2 :])
    if row.vectors == 1:
        if row.static:
            return lambda args: value(m, args, number)
        return lambda args: value(m, args)
    if row.static:
        return lambda args: value(m, *args, number)
    return lambda args: value(m, *args)


@dataclass(frozen=True)
class _Step:
    node: int
    function: Callable[[Numbers], float]
    operands: list[int]


def _rounded(x: float) -> float:
    """x as a float32."""
    try:
        return float(struct.unpack("f", struct.pack("f", x))[0])
    except OverflowError:
        return math.copysign(math.inf, x)


class ReadableCode:
    """A graph made runnable; see the module's first lines, and ``Graph`` for the arrays.

    Args:
        ops, starts, operands, numbers, outputs: the graph's arrays.
        guard_nodes: the nodes of the guards' conditions.
        guard_expected: what they were in the recording.
        uniform: for each input whether it is the same for all lanes.
        dtype: "float64" or "float32": every result is rounded to it.
        strict: it is always.
        calls: the Python functions of "call" nodes.
        backend: there is one only.

    Example:
        >>> from valuegrad.graph import Nodes
        >>> nodes = Nodes(inputs=2)
        >>> g = nodes.graph([nodes.add("mul", [0, 1])])
        >>> code = ReadableCode(g.ops, g.starts, g.operands, g.numbers, g.outputs, [], [], [0, 1])
        >>> code.call((3.0, 5.0))
        (15.0,)
    """

    backend = "readable"
    code_bytes = 0
    frame_bytes = 0

    def __init__(
        self,
        ops: Any,
        starts: Any,
        operands: Any,
        numbers: Any,
        outputs: Any,
        guard_nodes: Any,
        guard_expected: Any,
        uniform: Any,
        *,
        dtype: str = "float64",
        strict: bool = True,
        calls: Sequence[Callable[..., Any]] = (),
        backend: str = "auto",
    ) -> None:
        self.dtype = np.dtype(dtype)
        self.block = BLOCK_BYTES // self.dtype.itemsize
        self.inputs = len(uniform)
        self.uniform = [bool(x) for x in uniform]
        self.outputs = [int(i) for i in outputs]
        self.guards = [(int(node), bool(expected)) for node, expected in zip(guard_nodes, guard_expected)]
        self._round: Callable[[float], float] = _rounded if dtype == "float32" else float
        self._start: Numbers = [0.0] * len(ops)
        self._pre: list[_Step] = []
        self._main: list[_Step] = []
        self._length = 0  # operations of main that count
        self._post: list[_Step] = []
        self._sums: list[tuple[int, int]] = []  # (a batch_sum's node, what it adds up)
        self._lanes: list[int] = []  # the nodes that hold how many lanes there are
        self._live = self._needed(starts, operands)
        kinds: list[str] = []
        for node, code in enumerate(ops.tolist()):
            own = [int(i) for i in operands[starts[node] : starts[node + 1]]]
            kinds.append(self._add(node, OPS[code], own, float(numbers[node]), kinds, calls))
        self._kind = "".join(kinds)
        self.uniform_outputs = np.array([self._kind[i] != "L" for i in self.outputs], dtype=np.uint8)

    def _needed(self, starts: Any, operands: Any) -> list[bool]:
        """For each node whether an output or a guard depends on it."""
        live = [False] * len(self._start)
        for node in (*self.outputs, *[node for node, _ in self.guards]):
            live[node] = True
        for node in reversed(range(len(live))):
            for i in operands[starts[node] : starts[node + 1]] if live[node] else ():
                live[i] = True
        return live

    def _add(
        self, node: int, op: str, own: list[int], number: float, kinds: list[str], calls: Sequence[Callable[..., Any]]
    ) -> str:
        """Enter a node into its segment: U (pre), L (main) or P (post)."""
        if op == "input":
            return "U" if self.uniform[node] else "L"
        if op == "const":
            self._start[node] = self._round(number)
            return "U"
        if op == "lanes":
            self._lanes.append(node)
            return "U"
        below = {kinds[i] for i in own}
        if op == "batch_sum":
            if "P" in below:
                raise ValueArgumentError("batch_sum() got the result of a batch_sum; sum once over the lanes")
            self._sums.append((node, own[0]))
            return "P"
        if "L" in below and "P" in below:
            raise ValueArgumentError(
                "a compiled function used the result of batch_sum in its lanes; what depends on a sum over the batch "
                "is one number for all lanes: compute the rest in a second program"
            )
        kind = "L" if "L" in below else "P" if "P" in below else "U"
        if self._live[node]:
            segment = {"U": self._pre, "L": self._main, "P": self._post}[kind]
            segment.append(_Step(node, operation(op, number, calls), own))
            self._length += kind == "L" and op not in PICKING
        return kind

    def _execute(self, steps: list[_Step], values: Numbers) -> None:
        for step in steps:
            values[step.node] = self._round(step.function([values[i] for i in step.operands]))

    def _failed(self, values: Numbers, kinds: str) -> int:
        """The first guard among those of these kinds that does not hold."""
        for k, (node, expected) in enumerate(self.guards):
            if self._kind[node] in kinds and (values[node] != 0.0) != expected:
                return k
        return -1

    def run_packed(
        self, n: int, uniform: Any, lanes: Sequence[Any], own: Any, others: Sequence[Any], threads: int = 1
    ) -> Any:
        """As ``run``, with all that is uniform in one array."""

        def mixed(same: Any, one: Any, several: Sequence[Any]) -> list[Any]:
            ones, rest = iter(one.reshape(-1, 1)), iter(several)  # views of one number each
            return [next(ones) if is_one else next(rest) for is_one in same]

        return self.run(n, mixed(self.uniform, uniform, lanes), mixed(self.uniform_outputs, own, others), threads)

    def iterate(
        self,
        n: int,
        steps: int,
        size: int,
        uniform: Any,
        state: Any,
        lanes: Sequence[Any],
        rows: Sequence[tuple[int, Any]],
        own: Any,
        extras: Sequence[Any],
        threads: int = 1,
    ) -> int:
        """Run again and again: the first ``size`` outputs of a step are the first inputs of the next one.

        Args:
            n, threads: as for ``run``.
            steps: how many steps.
            size: how many inputs and outputs are the state.
            uniform: all uniform inputs; those of the state are overwritten.
            state: [arrays, n], the state's other inputs; overwritten.
            lanes: the further inputs of the lanes: [steps, n], or [n] if always the same.
            rows: pairs (first, [steps, count]): uniform inputs that differ from step to step, and which ones.
            own: [steps, count], where the uniform outputs after the state go.
            extras: an array [steps, n] for each other output after the state.

        Returns:
            How many steps were done: fewer than asked if a guard fails in the next one; the state is then what that
            step began with.
        """
        same = self.uniform_outputs.astype(bool)
        packed = np.empty(int(same.sum()), dtype=self.dtype)  # a step's uniform outputs
        arrays = [np.empty(n, dtype=self.dtype) for _ in range(size - int(same[:size].sum()))]
        for step in range(steps):
            for first, row in rows:
                uniform[first : first + row.shape[1]] = row[step]
            given = [*state, *[x if x.ndim == 1 else x[step] for x in lanes]]
            if self.run_packed(n, uniform, given, packed, [*arrays, *[x[step] for x in extras]], threads) is not None:
                return step
            numbers, several = iter(packed), iter(arrays)
            entering, rows_of_state = iter(range(len(uniform))), iter(state)
            for enters_same, leaves_same in zip(self.uniform[:size], same[:size]):
                x = next(numbers) if leaves_same else next(several)
                if enters_same:
                    uniform[next(entering)] = x
                else:
                    next(rows_of_state)[...] = x
            own[step] = packed[int(same[:size].sum()) :]
        return steps

    def call(self, args: tuple[Any, ...]) -> tuple[float, ...] | None:
        """The outputs for one lane of plain floats; None if a guard does not hold, or an argument is no float."""
        if len(args) != self.inputs or any(type(x) is not float for x in args):
            return None
        values = self._start.copy()
        values[: self.inputs] = map(self._round, args)
        for node in self._lanes:
            values[node] = 1.0
        self._execute(self._pre, values)
        self._execute(self._main, values)
        for node, summand in self._sums:
            values[node] = values[summand]
        self._execute(self._post, values)
        if self._failed(values, "ULP") >= 0:
            return None
        return tuple(values[i] for i in self.outputs)

    def run(self, n: int, inputs: Sequence[Any], outputs: Sequence[Any], threads: int = 1) -> Any:
        """All lanes of a batch.

        Args:
            n: how many lanes.
            inputs: an array for each input, of length n, or 1 if it is uniform.
            outputs: arrays that are written, of length n, or 1 where ``uniform_outputs`` says so.
            threads: Python has one.

        Returns:
            None if every lane passed every guard, else for each lane the first guard that failed, or -1.
        """
        if len(inputs) != self.inputs or len(outputs) != len(self.outputs):
            raise ShapeError(
                f"ReadableCode.run() got {len(inputs)} inputs and {len(outputs)} outputs; "
                f"expected {self.inputs} and {len(self.outputs)}"
            )
        values = self._start.copy()
        for i, array in enumerate(inputs):
            if self.uniform[i]:
                values[i] = float(array[0])
        for node in self._lanes:
            values[node] = float(n)
        self._execute(self._pre, values)
        failed = np.full(n, self._failed(values, "U"), dtype=np.int32)
        sums = [_LaneSum(n, self.block, self._length, len(self._sums), self._round) for _ in self._sums]
        for lane in range(n):
            for i, array in enumerate(inputs):
                if not self.uniform[i]:
                    values[i] = float(array[lane])
            self._execute(self._main, values)
            first = self._failed(values, "UL")
            failed[lane] = first
            for (_, summand), total in zip(self._sums, sums):
                total.add(lane, values[summand])
            for i, out in zip(self.outputs, outputs):
                if self._kind[i] == "L":
                    out[lane] = values[i]
        for (node, summand), total in zip(self._sums, sums):
            uniform = self._kind[summand] == "U"
            values[node] = self._round(values[summand] * n) if uniform else total.total()
        self._execute(self._post, values)
        for i, out in zip(self.outputs, outputs):
            if self._kind[i] != "L":
                out[0] = values[i]
        last = self._failed(values, "P")
        if last >= 0:
            failed[(failed < 0) | (failed > last)] = last
        return failed if np.any(failed >= 0) else None


class _LaneSum:
    """A sum over the lanes in its fixed order: chunks of blocks, accumulators a block wide, then pairs.

    So the result depends on the numbers, on how many lanes there are and on how long the program is, not on threads.
    """

    def __init__(self, lanes: int, block: int, length: int, sums: int, rounded: Callable[[float], float]) -> None:
        self.lanes = lanes
        self.block = block
        self.rounded = rounded
        blocks = -(-lanes // block)
        least = LONG_BLOCKS if length >= LONG_PROGRAM else CHUNK_BLOCKS
        has_many = sums * MANY_SUMS >= length >= LONG_PROGRAM
        chunk = -(-blocks // (FEW_CHUNKS if has_many else CHUNKS))
        if has_many and chunk < CHUNK_BLOCKS:
            chunk = min(-(-blocks // (FEW_CHUNKS // 2)), CHUNK_BLOCKS)
        self.chunk = max(1, -(-chunk // least)) * least * block  # lanes in a chunk
        self.accumulators: Numbers = [-0.0] * block  # which leave what is added to them as it is
        self.done: Numbers = []

    def add(self, lane: int, x: float) -> None:
        """One more lane."""
        if lane and lane % self.chunk == 0:
            self._end_chunk()
        i = lane % self.block
        self.accumulators[i] = self.rounded(self.accumulators[i] + x)

    def _end_chunk(self) -> None:
        while len(self.accumulators) > 1:
            pairs = zip(self.accumulators[::2], self.accumulators[1::2])
            self.accumulators = [self.rounded(a + b) for a, b in pairs]
        self.done += self.accumulators
        self.accumulators = [-0.0] * self.block

    def total(self) -> float:
        """The sum of the chunks; 0 without lanes."""
        if self.lanes == 0:
            return 0.0
        self._end_chunk()
        result = self.done[0]
        for x in self.done[1:]:
            result = self.rounded(result + x)
        return result
