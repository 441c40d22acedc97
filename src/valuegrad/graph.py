"""What Values remembered, frozen as arrays: a calculation as data.

Why: a Value's graph lives in objects and belongs to one calculation.  To differentiate, simplify and compile a
function once and run it on millions of inputs, the calculation must be data that passes of compiled code can
walk: one number for each operation, one list of operands for all.

Data structures: ``Graph``, in SSA form.  Node i computes ``OPS[ops[i]]`` from the nodes
``operands[starts[i]:starts[i + 1]]``, all of them before it; ``numbers[i]`` is a constant's value, or the static
argument of a row.  The first ``inputs`` nodes are the inputs.  ``guards`` are the comparisons whose outcome the
recording relied on.

Where to start reading: ``Graph``, then ``check``, which says what a graph must be.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from valuegrad.errors import GraphError
from valuegrad.primitives import TABLE
from valuegrad.primitives.opcodes import OPCODE, OPS

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Graph", "Guard", "Nodes", "check"]

# How many operands an operation that is no row of the table has; -1: any number from 1 on.
_STRUCTURAL_ARITY = {
    "input": 0, "const": 0, "lanes": 0, "not": 1, "batch_sum": 1, "lt": 2, "le": 2, "eq": 2, "and": 2, "or": 2,
    "select": 3, "gather": -1, "custom": -1, "call": -1,
}  # fmt: skip


@dataclass(frozen=True)
class Guard:
    """A comparison whose outcome a recording relied on.

    Args:
        node: the condition's node: 1.0 or 0.0.
        expected: what it was.
        line: the user's line that asked, ``file.py:12, in f``.
    """

    node: int
    expected: bool
    line: str


@dataclass(frozen=True)
class Graph:
    """A calculation in SSA form; see the module's first lines.

    Args:
        ops: uint16[n], the operations by number (``primitives/opcodes.py``).
        starts: int32[n + 1], where a node's operands begin.
        operands: int32[starts[n]], earlier nodes.
        numbers: float64[n], constants and static arguments.
        inputs: how many inputs there are; they come first.
        outputs: int32[k], the nodes that are results.
        guards: in the order in which they were met.
        calls: the Python functions of "call" nodes.
    """

    ops: NDArray[np.uint16]
    starts: NDArray[np.int32]
    operands: NDArray[np.int32]
    numbers: NDArray[np.float64]
    inputs: int
    outputs: NDArray[np.int32]
    guards: tuple[Guard, ...] = ()
    calls: tuple[Callable[..., Any], ...] = field(default=(), compare=False)

    def __len__(self) -> int:
        return len(self.ops)

    def operands_of(self, node: int) -> list[int]:
        """The nodes that a node is computed from."""
        return self.operands[self.starts[node] : self.starts[node + 1]].tolist()  # type: ignore[no-any-return]

    def counts(self) -> dict[str, int]:
        """How many nodes of each operation there are, the most frequent first."""
        codes, counts = np.unique(self.ops, return_counts=True)
        found = sorted(zip(counts.tolist(), codes.tolist()), key=lambda pair: (-pair[0], pair[1]))
        return {OPS[code]: count for count, code in found}


class Nodes:
    """A graph that is being written in Python, node by node (the passes over whole graphs are compiled code).

    Args:
        inputs: how many inputs it has.

    Example:
        >>> nodes = Nodes(inputs=2)
        >>> product = nodes.add("mul", [0, 1])
        >>> graph = nodes.graph([nodes.add("add", [product, nodes.const(1.0)])])
        >>> graph.counts()
        {'input': 2, 'const': 1, 'add': 1, 'mul': 1}
    """

    def __init__(self, inputs: int) -> None:
        self.inputs = inputs
        self.ops: list[int] = [OPCODE["input"]] * inputs
        self.starts: list[int] = [0] * (inputs + 1)
        self.operands: list[int] = []
        self.numbers: list[float] = [float(i) for i in range(inputs)]

    def add(self, op: str, operands: Sequence[int] = (), number: float = 0.0) -> int:
        """One more node; its position."""
        self.ops.append(OPCODE[op])
        self.operands.extend(operands)
        self.starts.append(len(self.operands))
        self.numbers.append(number)
        return len(self.ops) - 1

    def const(self, number: float) -> int:
        """A constant's node."""
        return self.add("const", (), number)

    def graph(
        self, outputs: Sequence[int], guards: Sequence[Guard] = (), calls: Sequence[Callable[..., Any]] = ()
    ) -> Graph:
        """The arrays."""
        return Graph(
            ops=np.array(self.ops, dtype=np.uint16),
            starts=np.array(self.starts, dtype=np.int32),
            operands=np.array(self.operands, dtype=np.int32),
            numbers=np.array(self.numbers, dtype=np.float64),
            inputs=self.inputs,
            outputs=np.array(outputs, dtype=np.int32),
            guards=tuple(guards),
            calls=tuple(calls),
        )


def _arity(op: str) -> int:
    """How many operands an operation has; -1: any number, -2: an even number."""
    if op in _STRUCTURAL_ARITY:
        return _STRUCTURAL_ARITY[op]
    row = TABLE[op]
    return len(row.children) if not row.vectors else -2 if row.vectors == 2 else -1


ARITY: NDArray[np.int32] = np.array([_arity(op) for op in OPS], dtype=np.int32)
"""How many operands each operation has, by its number."""

MAY_BE_EMPTY: NDArray[np.bool_] = np.array([op in TABLE and TABLE[op].allows_empty for op in OPS])
"""Which operations on lists take an empty one, by their numbers."""

INDEXED = ("softmax", "log_softmax", "cross_entropy")
"""Operations whose number is an index of their list."""


def check(graph: Graph, who: str = "graph") -> None:
    """Raise GraphError unless the arrays are a graph: what everything that walks one relies on.

    Args:
        graph: the arrays.
        who: begins the message.

    Raises:
        GraphError: an operation that does not exist, an operand that is not an earlier node, a wrong number of
            operands, an output or guard that points outside.
    """
    n = len(graph.ops)

    def require(holds: Any, what: str) -> None:
        if not holds:
            raise GraphError(f"{who} is no valid graph: {what}; record the function again")

    kinds = {"ops": np.uint16, "starts": np.int32, "operands": np.int32, "numbers": np.float64, "outputs": np.int32}
    for name, kind in kinds.items():
        array = getattr(graph, name)
        if not (isinstance(array, np.ndarray) and array.dtype == kind and array.ndim == 1):
            require(False, f"{name} is no {kind}[]")
    require(len(graph.starts) == n + 1 and len(graph.numbers) == n, f"{n} operations with arrays of other lengths")
    require(graph.starts[0] == 0 and graph.starts[-1] == len(graph.operands), "its operands do not begin and end")
    # Not by the signs of the differences: those of int32 may wrap around.
    require((graph.starts[1:] >= graph.starts[:-1]).all(), "a node has fewer than no operands")
    counts = np.diff(graph.starts)
    require((graph.ops < len(OPS)).all(), f"an operation's number is {graph.ops.max(initial=0)}")
    require(0 <= graph.inputs <= n, f"it says it has {graph.inputs} inputs and {n} nodes")
    is_input = graph.ops == OPCODE["input"]
    require(is_input[: graph.inputs].all() and not is_input[graph.inputs :].any(), "inputs must come first")
    arity = ARITY[graph.ops]
    fits = ((counts == arity) | (arity < 0)).all() and not (counts[arity == -2] % 2).any()
    require(fits, "a node has a wrong number of operands")
    require(((counts > 0) | (arity >= 0) | MAY_BE_EMPTY[graph.ops]).all(), "an operation on a list has no operands")
    nodes = np.repeat(np.arange(n, dtype=np.int32), counts)
    require(((graph.operands >= 0) & (graph.operands < nodes)).all(), "an operand is not an earlier node")
    require(((graph.outputs >= 0) & (graph.outputs < n)).all(), "an output is no node")
    for guard in graph.guards:
        require(0 <= guard.node < n, "a guard is no node")
    which = graph.numbers[graph.ops == OPCODE["call"]]
    require(((which >= 0) & (which < len(graph.calls)) & (which == np.floor(which))).all(), "an unknown call")
    there = np.bincount(graph.ops, minlength=len(OPS))
    for op in INDEXED:
        if not there[OPCODE[op]]:
            continue
        here = graph.ops == OPCODE[op]
        index = graph.numbers[here]
        inside = (index >= 0) & (index < counts[here]) & (index == np.floor(index))
        require(inside.all(), f"an index of {op} points outside its list")
