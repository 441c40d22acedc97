"""From a recorded graph to what executes it: sums over the lanes, machine operations, code.

Why: a recording says what one lane computes.  How it is executed depends on which inputs are the same for all
lanes, and on which outputs only the sum over the lanes is asked for (a gradient by a number that all lanes share).

Data structures: ``Lowered`` is a graph lowered for one such layout.

Where to start reading: ``lower``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from valuegrad.graph import Graph
from valuegrad.lower.recycled import Recycled
from valuegrad.lower.rolled import Rolled, rolled_code, why_not
from valuegrad.lower.stored import code_entry, graph_entry, machine_graph
from valuegrad.primitives.opcodes import OPCODE

__all__ = ["ENGINE", "HAS_PASSES", "Lowered", "lower", "run_once", "with_sums"]


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


ENGINE, _CODE = _choose()
HAS_PASSES, _MACHINE = _passes()


class Lowered:
    """A path's graph, ready to run for one layout of its inputs.

    Args:
        code: what executes it.
        guards: for each guard of the code, which one of the recording's it is.
        operations: how many nodes the graph has that was lowered.
        uniform: for each input 1 if it is the same for all lanes.
        dtype: of the numbers.
        rolled: its loops, if it was rolled; else why it was not.

    Attributes:
        same: for each output whether it is the same for all lanes.
    """

    def __init__(
        self, code: Any, guards: Any, operations: int, uniform: bytes, dtype: str, rolled: Rolled | str = ""
    ) -> None:
        self.code = code
        self.rolled = rolled
        self.guards = guards
        self.operations = operations
        self.same = np.array(code.uniform_outputs, dtype=bool)
        self._guard_of = np.append(guards, np.int32(-1))  # -1, no guard, is the index of its last entry
        self._guards_are_all = bool(np.all(guards == np.arange(len(guards))))
        self._own_count = int(self.same.sum())
        self._own = Recycled()
        self._others = Recycled(len(self.same) - self._own_count)
        self._uniform = uniform
        self._dtype = np.dtype(dtype)

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
        failed = self.code.run_packed(n, uniform, list(lanes), own, list(others), threads)
        return failed if failed is None or self._guards_are_all else self._guard_of[failed]


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
) -> Lowered:
    """Lower a recorded graph.

    Args:
        graph: rows and structural operations.
        uniform: for each input 1 if it is the same for all lanes.
        summed: the outputs of which the sum over the lanes is wanted.
        dtype: "float64" or "float32".
        strict: whether results must be the engines' to the last bit.
        cache: whether the machine graph is kept on disk, or the folder where.
    """
    why = why_not(len(graph)) if ENGINE == "native" and HAS_PASSES else "the compiled modules were not built"
    kept = {} if why else {"selected": 0}  # loops have gathers, and no chains of selects in their place
    summed_up = with_sums(graph, summed)
    entry = graph_entry(summed_up, strict, cache if HAS_PASSES else False, not why, **kept)
    lowered = machine_graph(summed_up, strict, _MACHINE, entry, **kept)
    first: dict[tuple[int, bool], int] = {}  # a condition that was asked before is not asked again
    for k, guard in enumerate(lowered.guards):
        first.setdefault((guard.node, guard.expected), k)
    guards = np.array([*first.values()], dtype=np.int32)
    if not why:
        make = partial(_code, lowered, [*first], uniform, dtype, strict)
        made = rolled_code(make, strict, code_entry(entry, uniform, dtype, strict))
        if not isinstance(made, str):
            return Lowered(made[0], guards, len(lowered), uniform, dtype, made[1])
        why = made
        # Anew: of what was lowered already more sums would become dots, and their bits others.
        lowered = machine_graph(summed_up, strict, _MACHINE, graph_entry(summed_up, strict, cache, False))
    conditions = [(lowered.guards[k].node, lowered.guards[k].expected) for k in first.values()]
    return Lowered(_code(lowered, conditions, uniform, dtype, strict), guards, len(lowered), uniform, dtype, why)


def _code(
    graph: Graph, guards: Sequence[tuple[int, bool]], uniform: bytes, dtype: str, strict: bool, **options: str
) -> Any:
    return _CODE(
        graph.ops,
        graph.starts,
        graph.operands,
        graph.numbers,
        graph.outputs,
        np.array([node for node, _ in guards], dtype=np.int32),
        np.array([expected for _, expected in guards], dtype=np.uint8),
        np.frombuffer(uniform, dtype=np.uint8),
        dtype=dtype,
        strict=strict,
        calls=graph.calls,
        **options,
    )


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
