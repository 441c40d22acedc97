"""What is required of a graph before it becomes a program: compiled code relies on it.

Why: the arrays may come from anywhere, a file or another library; compiled code that walked a wrong one would read
memory that is not its own.

Where to start reading: ``check_arrays``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from valuegrad.errors import GraphError
from valuegrad.graph import Graph, Guard, check
from valuegrad.primitives.opcodes import MACHINE, OPS

__all__ = ["check_arrays", "kind_of"]


def check_arrays(
    ops: Any,
    starts: Any,
    operands: Any,
    numbers: Any,
    outputs: Any,
    guard_nodes: Any,
    guard_expected: Any,
    uniform: Any,
    calls: Sequence[Callable[..., Any]],
) -> None:
    """Raise GraphError unless the arrays are a graph of MACHINE operations.

    Args:
        ops, starts, operands, numbers, outputs, calls: those of a ``Graph``.
        guard_nodes: int32[g], the conditions of its guards.
        guard_expected: uint8[g], what they must be.
        uniform: uint8[inputs], which inputs are the same for all lanes.
    """
    for name, array, kind in (
        ("guard_nodes", guard_nodes, np.int32),
        ("guard_expected", guard_expected, np.uint8),
        ("uniform", uniform, np.uint8),
    ):
        if not isinstance(array, np.ndarray) or array.dtype != kind or array.ndim != 1:
            raise GraphError(f"Code() got {kind_of(array)} for {name}; expected {np.dtype(kind)}[]")
    if len(guard_nodes) != len(guard_expected):
        raise GraphError(f"Code() got {len(guard_expected)} guard_expected; expected {len(guard_nodes)}, one a guard")
    guards = tuple(Guard(node, expected, "") for node, expected in zip(guard_nodes.tolist(), guard_expected.tolist()))
    check(Graph(ops, starts, operands, numbers, len(uniform), outputs, guards, tuple(calls)), "Code()")
    for code in np.flatnonzero(np.bincount(ops)).tolist():
        if OPS[code] not in MACHINE:
            raise GraphError(f"Code() got operation {OPS[code]!r}; expected a graph expanded to MACHINE operations")
    if np.any(np.diff(starts)[ops == OPS.index("gather")] < 2):
        raise GraphError("Code() got a gather of nothing; expected at least one entry and the index")


def kind_of(array: Any) -> str:
    """What an array is, for a message.

    Example:
        >>> kind_of(np.zeros(3)), kind_of([0.0])
        ('float64[3]', 'a list')
    """
    return f"{array.dtype}{list(array.shape)}" if isinstance(array, np.ndarray) else f"a {type(array).__name__}"
