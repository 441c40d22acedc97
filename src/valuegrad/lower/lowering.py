"""From a recorded graph to what executes it: sums over the lanes, machine operations, code.

Why: a recording says what one lane computes.  How it is executed depends on which inputs are the same for all
lanes, and on which outputs only the sum over the lanes is asked for (a gradient by a number that all lanes share).

Data structures: ``Lowered`` is a graph lowered for one such layout.

Where to start reading: ``lower``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from valuegrad.graph import Graph
from valuegrad.lower.readable import ReadableCode
from valuegrad.primitives.opcodes import OPCODE

__all__ = ["ENGINE", "Lowered", "lower", "with_sums"]


def _choose() -> tuple[str, Any, Callable[[Graph], Graph]]:
    """The compiled modules, or what runs in their place."""
    try:
        from valuegrad import _replay
        from valuegrad.transforms import machine
    except ImportError:
        return "readable", ReadableCode, lambda graph: graph
    return "native", _replay.Code, machine


ENGINE, _CODE, _MACHINE = _choose()


@dataclass(frozen=True)
class Lowered:
    """A path's graph, ready to run for one layout of its inputs.

    Args:
        code: what executes it.
        guards: for each guard of the code, which one of the recording's it is.
        operations: how many nodes the graph has that was lowered.
    """

    code: Any
    guards: Any
    operations: int


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


def lower(graph: Graph, uniform: bytes, summed: Sequence[int], dtype: str, strict: bool) -> Lowered:
    """Lower a recorded graph.

    Args:
        graph: rows and structural operations.
        uniform: for each input 1 if it is the same for all lanes.
        summed: the outputs of which the sum over the lanes is wanted.
        dtype: "float64" or "float32".
        strict: whether results must be the engines' to the last bit.
    """
    lowered = _MACHINE(with_sums(graph, summed))
    first: dict[tuple[int, bool], int] = {}  # a condition that was asked before is not asked again
    for k, guard in enumerate(lowered.guards):
        first.setdefault((guard.node, guard.expected), k)
    nodes = np.array([node for node, _ in first], dtype=np.int32)
    expected = np.array([outcome for _, outcome in first], dtype=np.uint8)
    code = _CODE(
        lowered.ops,
        lowered.starts,
        lowered.operands,
        lowered.numbers,
        lowered.outputs,
        nodes,
        expected,
        np.frombuffer(uniform, dtype=np.uint8),
        dtype=dtype,
        strict=strict,
        calls=lowered.calls,
    )
    return Lowered(code, np.array(list(first.values()), dtype=np.int32), len(lowered))
