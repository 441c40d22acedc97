"""From a recorded graph to what executes it: sums over the lanes, machine operations, code.

Why: a recording says what one lane computes.  How it is executed depends on which inputs are the same for all
lanes, and on which outputs only the sum over the lanes is asked for (a gradient by a number that all lanes share).

Data structures: ``Lowered`` is a graph lowered for one such layout; ``Made`` is what executes it, straight-line code or
loops.

Where to start reading: ``lower``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from threading import Lock
from time import perf_counter
from typing import Any

import numpy as np

from valuegrad.graph import Graph
from valuegrad.lower.recycled import Recycled
from valuegrad.lower.rolled import Rolled, can_wait, is_known, rolled_code, why_not
from valuegrad.lower.stored import Entry, code_entry, graph_entry, machine_graph
from valuegrad.primitives.opcodes import OPCODE

__all__ = ["ENGINE", "HAS_PASSES", "Lowered", "Made", "lower", "run_once", "with_sums"]


def _choose() -> tuple[str, Any]:
    """What executes graphs: the compiled module, or the readable code in its place."""
    try:
        from valuegrad._replay import Code
    except ImportError:
        from valuegrad.lower.readable import ReadableCode

        return "readable", ReadableCode
    return "native", Code


def _passes() -> tuple[bool, Callable[..., Graph]]:
    try:
        from valuegrad.transforms import machine
    except ImportError:
        return False, lambda graph, strict: graph
    return True, machine


FOR_LOOPS = {"selected": 0}  # loops have gathers, and no chains of selects in their place
PATIENCE = 0.5  # seconds of calls before loops are made: these take 0.2 to 2
ALONE, OF_MANY = 1e-9, 1 / 40  # seconds that an operation takes in straight-line code, about, and what part for a lane

ENGINE, _CODE = _choose()
HAS_PASSES, _MACHINE = _passes()


@dataclass(frozen=True, eq=False)
class Made:
    """What executes a graph.

    Args:
        code: it.
        guards: for each guard of the code, which one of the recording's it is.
        operations: how many nodes the graph has that was lowered.
        rolled: its loops, if it was rolled; else why it was not.
    """

    code: Any
    guards: Any
    operations: int
    rolled: Rolled | str

    @cached_property
    def guard_of(self) -> Any:
        """As ``guards``, with -1, no guard, at the index of its last entry."""
        return np.append(self.guards, np.int32(-1))

    @cached_property
    def guards_are_all(self) -> bool:
        """Whether they are the recording's, in order."""
        return bool(np.all(self.guards == np.arange(len(self.guards))))


class Lowered:
    """A path's graph, ready to run for one layout of its inputs.

    Loops take LLVM up to some seconds; straight-line code is there in a small part of that time and up to some times
    slower, and its results are the same to the last bit.  So where ``roll`` is given calls begin with that.  When they
    have taken as long as it may take to make loops, these are made, before the next call: who calls seldom does not
    wait for them, and who calls often waits at most about twice as long as would have been best.

    Args:
        made: what executes it, for a beginning at least.
        uniform: for each input 1 if it is the same for all lanes.
        dtype: of the numbers.
        roll: makes what executes it in the end, loops, or says why there are none.

    Attributes:
        same: for each output whether it is the same for all lanes.
        call: the outputs of a single lane for a tuple of its inputs; None where it fails a guard.
    """

    def __init__(self, made: Made, uniform: bytes, dtype: str, roll: Callable[[], Made | str] | None = None) -> None:
        self.made = made
        self.same = np.array(made.code.uniform_outputs, dtype=bool)
        self._own_count = int(self.same.sum())
        self._own = Recycled()
        self._others = Recycled(len(self.same) - self._own_count)
        self._uniform = uniform
        self._dtype = np.dtype(dtype)
        self._roll = roll
        self._settling = Lock()
        self._spent = 0.0  # seconds of calls so far
        self.call: Callable[[tuple[float, ...]], tuple[float, ...] | None]
        self.call = made.code.call if roll is None else self._call

    @property
    def code(self) -> Any:
        """What executes it in the end."""
        self.settle()
        return self.made.code

    @property
    def rolled(self) -> Rolled | str:
        """Its loops, or why there are none."""
        self.settle()
        return self.made.rolled

    @property
    def operations(self) -> int:
        """How many nodes the graph has that was lowered."""
        return self.made.operations

    def settle(self, waits: bool = True) -> None:
        """Make what executes it in the end, if that was not done.

        Args:
            waits: if another thread is about to do it, until it has.
        """
        if self._roll is None or not self._settling.acquire(blocking=waits):
            return
        try:
            if self._roll is not None:
                found = self._roll()
                self.made = replace(self.made, rolled=found) if isinstance(found, str) else found
                self.call = self.made.code.call
                self._roll = None
        finally:
            self._settling.release()

    def _call(self, args: tuple[float, ...]) -> tuple[float, ...] | None:
        """As ``call``, while loops may still come."""
        began = self._begins(1)
        found: tuple[float, ...] | None = self.made.code.call(args)
        self._spent += perf_counter() - began
        return found

    def _begins(self, n: int) -> float:
        """When a call on so many lanes begins; before it, loops are made if it is time, or will be before it ends."""
        if self._roll is not None and self._spent + self.made.operations * max(n * OF_MANY, 1.0) * ALONE > PATIENCE:
            self.settle(waits=False)
        return perf_counter()

    def run(self, n: int, uniform: Any, lanes: Sequence[Any], threads: int) -> tuple[Any, Any, list[Any]]:
        """Execute it.

        Args:
            n: how many lanes.
            uniform: the inputs that are the same for all lanes, in one array.
            lanes: an array of length n for each of the others.
            threads: how many threads share the work.

        Returns:
            None or, for each lane, the recording's guard that it fails at first, or -1; the outputs that are the
            same for all lanes in one array; an array of length n for each of the others.
        """
        own = self._own.array(self._own_count, self._dtype)
        others = [self._others.array(n, self._dtype) for _ in range(len(self.same) - len(own))]
        failed = self.run_into(n, uniform, lanes, own, others, threads)
        return failed, own, others

    def run_into(
        self, n: int, uniform: Any, lanes: Sequence[Any], own: Any, others: Sequence[Any], threads: int
    ) -> Any:
        """As ``run``, into arrays that are there."""
        waits = self._roll is not None
        began = self._begins(n) if waits else 0.0
        made = self.made
        failed = made.code.run_packed(n, uniform, list(lanes), own, list(others), threads)
        if waits:
            self._spent += perf_counter() - began
        return failed if failed is None or made.guards_are_all else made.guard_of[failed]


def with_sums(graph: Graph, outputs: Sequence[int]) -> Graph:
    """The graph with sums over the lanes in place of some of its outputs.

    Args:
        graph: any graph.
        outputs: positions in ``graph.outputs``.
    """
    count, n = len(outputs), len(graph)
    if not count:
        return graph
    ends = graph.starts[-1] + np.arange(1, count + 1, dtype=np.int32)
    replaced = graph.outputs.copy()
    replaced[list(outputs)] = np.arange(n, n + count, dtype=np.int32)
    return replace(
        graph,
        ops=np.concatenate([graph.ops, np.full(count, OPCODE["batch_sum"], dtype=np.uint16)]),
        starts=np.concatenate([graph.starts, ends]),
        operands=np.concatenate([graph.operands, graph.outputs[list(outputs)]]),
        numbers=np.concatenate([graph.numbers, np.zeros(count)]),
        outputs=replaced,
    )


def lower(
    graph: Graph,
    uniform: bytes,
    summed: Sequence[int],
    dtype: str,
    strict: bool,
    cache: bool | str | os.PathLike[str] = False,
    waits: bool = False,
) -> Lowered:
    """Lower a recorded graph.

    Args:
        graph: rows and structural operations.
        uniform: for each input 1 if it is the same for all lanes.
        summed: the outputs of which the sum over the lanes is wanted.
        dtype: "float64" or "float32".
        strict: whether results must be the engines' to the last bit.
        cache: whether the machine graph is kept on disk, or the folder where.
        waits: whether loops may be made when they pay, and not at once.
    """
    why = why_not(len(graph)) if ENGINE == "native" and HAS_PASSES else "the compiled modules were not built"
    layout = _Layout(with_sums(graph, summed), uniform, dtype, strict, cache)
    if why:
        return Lowered(layout.straight(why), uniform, dtype)
    if waits and can_wait(len(graph)) and not is_known(layout.entry_of_loops):
        return Lowered(layout.straight(""), uniform, dtype, layout.rolled)
    found = layout.rolled()
    return Lowered(layout.straight(found) if isinstance(found, str) else found, uniform, dtype)


@dataclass(frozen=True, eq=False)
class _Layout:
    """A graph whose sums over the lanes are nodes, and for what it is lowered; the fields are ``lower``'s."""

    graph: Graph
    uniform: bytes
    dtype: str
    strict: bool
    cache: bool | str | os.PathLike[str]

    def straight(self, why: str) -> Made:
        """Straight-line code; ``why``: there are no loops."""
        # Not of what was lowered for loops: more sums would become dots, and their bits others.
        entry = graph_entry(self.graph, self.strict, self.cache if HAS_PASSES else False, False)
        lowered = machine_graph(self.graph, self.strict, _MACHINE, entry)
        conditions, guards = _asked(lowered)
        return Made(self._code(lowered, conditions), guards, len(lowered), why)

    @cached_property
    def entry_of_graph(self) -> Entry | None:
        """Where the graph is kept that loops are made of."""
        return graph_entry(self.graph, self.strict, self.cache, True, **FOR_LOOPS)

    @cached_property
    def entry_of_loops(self) -> Entry | None:
        """Where these are."""
        return code_entry(self.entry_of_graph, self.uniform, self.dtype, self.strict)

    def rolled(self) -> Made | str:
        """Loops, or why there are none."""
        lowered = machine_graph(self.graph, self.strict, _MACHINE, self.entry_of_graph, **FOR_LOOPS)
        conditions, guards = _asked(lowered)
        found = rolled_code(partial(self._code, lowered, conditions), self.strict, self.entry_of_loops)
        return found if isinstance(found, str) else Made(found[0], guards, len(lowered), found[1])

    def _code(self, graph: Graph, conditions: Sequence[tuple[int, bool]], **options: str) -> Any:
        return _CODE(
            graph.ops,
            graph.starts,
            graph.operands,
            graph.numbers,
            graph.outputs,
            np.array([node for node, _ in conditions], dtype=np.int32),
            np.array([expected for _, expected in conditions], dtype=np.uint8),
            np.frombuffer(self.uniform, dtype=np.uint8),
            dtype=self.dtype,
            strict=self.strict,
            calls=graph.calls,
            **options,
        )


def _asked(graph: Graph) -> tuple[list[tuple[int, bool]], Any]:
    """A graph's conditions, and which guard asks each first: what was asked before is not asked again."""
    first: dict[tuple[int, bool], int] = {}
    for k, guard in enumerate(graph.guards):
        first.setdefault((guard.node, guard.expected), k)
    return [*first], np.array([*first.values()], dtype=np.int32)


def run_once(graph: Graph, inputs: Sequence[float]) -> list[float]:
    """A graph's outputs for one lane, whatever its guards say; nothing is lowered for it.

    Args:
        graph: rows and structural operations.
        inputs: a number for each input.

    Example:
        >>> from valuegrad.graph import Nodes
        >>> nodes = Nodes(inputs=2)
        >>> run_once(nodes.graph([nodes.add("hypot", [0, 1])]), [3.0, 4.0])
        [5.0]
    """
    from valuegrad.lower.readable import ReadableCode

    arrays = graph.ops, graph.starts, graph.operands, graph.numbers, graph.outputs
    found = ReadableCode(*arrays, [], [], [True] * graph.inputs, calls=graph.calls).call(tuple(inputs))
    assert found is not None
    return list(found)
