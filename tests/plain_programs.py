"""What a lowered program computes, in plain Python, and the random programs that tests compare with it.

``plain`` is the definition: each node for each lane, with the engines' floats.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any

import numpy as np

from valuegrad.graph import Graph, Guard, Nodes
from valuegrad.primitives import FLOATS
from valuegrad.primitives.opcodes import OPS

EDGES = [0.0, -0.0, 1.0, -1.0, 2.0, -2.0, 0.5, 1e-310, -5e-324, 1e300, -1e300, 745.2, -745.2, 709.9, 1e22]
EDGES += [math.inf, -math.inf, math.nan, 1.0 + 2**-52, 2.5, -2.5, 3.0, 1e-160, 1e160, 88.8, -104.0, 1e-40, 3e38]
ELEMENTARY = [
    *("acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "cbrt", "ceil", "cos", "cosh", "digamma", "erf"),
    *("erfc", "exp", "expm1", "floor", "floordiv", "fmod", "hypot", "lgamma", "log", "log10", "log1p", "log2", "mod"),
    *("polygamma", "power", "round", "sin", "sinh", "tan", "tanh", "trunc"),
]
TWO = {"atan2", "hypot", "power", "floordiv", "mod", "fmod", "add", "sub", "mul", "div", "lt", "le", "eq", "and", "or"}
EXACT = ["add", "sub", "mul", "div", "neg", "abs", "sqrt", "lt", "le", "eq", "and", "or", "not", "select"]
LISTS = ["sum", "prod", "maximum", "minimum", "norm"]


def rounded(x: float, dtype: str) -> float:
    if dtype == "float64":
        return x
    with np.errstate(all="ignore"):
        return float(np.float32(x))


def plain_op(op: str, x: list[float], number: float, dtype: str, calls: Sequence[Any]) -> float:
    """One node in one lane."""

    def r(value: float) -> float:
        return rounded(value, dtype)

    if op in ("lt", "le", "eq"):
        return float({"lt": x[0] < x[1], "le": x[0] <= x[1], "eq": x[0] == x[1]}[op])
    if op in ("and", "or"):
        return float(all(x) if op == "and" else any(x))
    if op == "not":
        return float(x[0] == 0.0)
    if op == "select":
        return x[1] if x[0] != 0.0 else x[2]
    if op == "gather":
        return x[:-1][int(x[-1])]
    if op == "call":
        return r(calls[int(number)](*x))
    if op in ("sum", "prod", "dot"):
        half = len(x) // 2
        total = 1.0 if op == "prod" else -0.0 if x else 0.0
        for i in range(half if op == "dot" else len(x)):
            total = r(total * x[i]) if op == "prod" else r(total + (r(x[i] * x[half + i]) if op == "dot" else x[i]))
        return total
    if op in ("maximum", "minimum", "norm"):
        return r({"maximum": FLOATS.largest, "minimum": FLOATS.smallest, "norm": FLOATS.norm_of}[op](x))
    if op in ("polygamma", "round"):
        return r(getattr(FLOATS, op)(x[0], number))
    function = FLOATS.pow if op == "power" else getattr(FLOATS, op)
    with np.errstate(all="ignore"):
        return r(function(*x))


def plain_sum(x: list[float], vector: int, dtype: str) -> float:
    """The sum over lanes, in the tree that does not depend on threads."""
    if not x:
        return 0.0
    blocks = math.ceil(len(x) / vector)
    chunk = math.ceil(blocks / 64 / 16) * 16 * vector
    total = None
    for start in range(0, len(x), chunk):
        lanes = [-0.0] * vector
        for i, value in enumerate(x[start : start + chunk]):
            lanes[i % vector] = rounded(lanes[i % vector] + value, dtype)
        while len(lanes) > 1:
            lanes = [rounded(lanes[i] + lanes[i + 1], dtype) for i in range(0, len(lanes), 2)]
        total = lanes[0] if total is None else rounded(total + lanes[0], dtype)
    assert total is not None
    return total


def plain(
    graph: Graph, columns: list[list[float]], uniform: list[int], n: int, dtype: str = "float64"
) -> tuple[list[list[float]], list[int] | None]:
    """All outputs, of length n or 1, and the first guards that fail."""
    nodes: list[list[float]] = []
    vector = 8 if dtype == "float64" else 16
    for i, code in enumerate(graph.ops.tolist()):
        op, operands, number = OPS[code], graph.operands_of(i), float(graph.numbers[i])
        if op == "input":
            nodes.append([rounded(x, dtype) for x in columns[i]])
        elif op == "const":
            nodes.append([rounded(number, dtype)])
        elif op == "lanes":
            nodes.append([float(n)])
        elif op == "batch_sum":
            x = nodes[operands[0]]
            is_lane = depends_on_lanes(graph, operands[0], uniform)
            nodes.append([plain_sum(x, vector, dtype) if is_lane else rounded(x[0] * n, dtype)])
        else:
            length = n if depends_on_lanes(graph, i, uniform) else 1
            rows = [nodes[j] if len(nodes[j]) == length else nodes[j][:1] * length for j in operands]
            values = [plain_op(op, [row[k] for row in rows], number, dtype, graph.calls) for k in range(length)]
            nodes.append(values)
    failed = [-1] * n
    for k, guard in reversed(list(enumerate(graph.guards))):
        row = nodes[guard.node]
        for lane in range(n):
            if (row[lane if len(row) == n else 0] != 0.0) != guard.expected:
                failed[lane] = k
    return [nodes[j] for j in graph.outputs.tolist()], failed if any(k >= 0 for k in failed) else None


def depends_on_lanes(graph: Graph, node: int, uniform: list[int]) -> bool:
    lane: list[bool] = []
    for i, code in enumerate(graph.ops.tolist()[: node + 1]):
        op = OPS[code]
        inner = op != "batch_sum" and any(lane[j] for j in graph.operands_of(i))
        lane.append(not uniform[i] if op == "input" else inner)
    return lane[node]


# ------------------------------------------------------------------------------------------------- small helpers
def code_of(graph: Graph, uniform: Sequence[int], **options: Any) -> Any:
    from valuegrad._replay import Code

    return Code(
        graph.ops,
        graph.starts,
        graph.operands,
        graph.numbers,
        graph.outputs,
        np.array([guard.node for guard in graph.guards], np.int32),
        np.array([guard.expected for guard in graph.guards], np.uint8),
        np.array(uniform, np.uint8),
        calls=graph.calls,
        **options,
    )


def run(code: Any, columns: Sequence[Sequence[float]], n: int, threads: int = 1) -> tuple[list[Any], Any]:
    with np.errstate(all="ignore"):
        inputs = [np.array(column, code.dtype) for column in columns]
    outputs = [np.full(1 if one else n, 77.0, code.dtype) for one in code.uniform_outputs]
    return outputs, code.run(n, inputs, outputs, threads)


def bits(numbers: Any, dtype: str = "float64") -> list[int]:
    """Numbers by their bits, every nan alike."""
    array = np.array(numbers, dtype).copy()
    array[np.isnan(array)] = np.nan
    found: list[int] = array.view(np.uint64 if dtype == "float64" else np.uint32).tolist()
    return found


def random_graph(rng: random.Random, inputs: int, size: int, ops: Sequence[str]) -> Graph:
    nodes = Nodes(inputs)
    ids = list(range(inputs)) + [nodes.const(rng.choice([*EDGES, rng.uniform(-3, 3)])) for _ in range(3)]
    for _ in range(size):
        op = rng.choice(ops)
        recent = ids[-12:] + ids[:inputs]
        if op in LISTS:
            operands = [rng.choice(recent) for _ in range(rng.randint(op in ("maximum", "minimum"), 11))]
        elif op == "dot":
            operands = [rng.choice(recent) for _ in range(2 * rng.randint(0, 9))]
        elif op == "gather":
            operands = [rng.choice(recent) for _ in range(rng.randint(1, 5))]
            near = nodes.add("minimum", [nodes.add("abs", [rng.choice(recent)]), nodes.const(len(operands) - 1.0)])
            index = nodes.add("trunc", [near])
            operands.append(nodes.add("select", [nodes.add("eq", [index, index]), index, nodes.const(0.0)]))
        else:
            operands = [rng.choice(recent) for _ in range(3 if op == "select" else 2 if op in TWO else 1)]
        ids.append(nodes.add(op, operands, {"polygamma": rng.randint(1, 3), "round": rng.randint(-2, 3)}.get(op, 0)))
    outputs = [rng.choice(ids) for _ in range(4)] + ids[-2:]
    guards = [Guard(rng.choice(ids), rng.random() < 0.5, "") for _ in range(rng.randint(0, 3))]
    return nodes.graph(outputs, guards)


def draw(rng: random.Random) -> float:
    return rng.choice(EDGES) if rng.random() < 0.2 else rng.uniform(-4, 4)


def columns_for(rng: random.Random, uniform: Sequence[int], n: int) -> list[list[float]]:
    return [[draw(rng) for _ in range(1 if one else n)] for one in uniform]


def sums_of(graph: Graph) -> Graph:
    """The graph with the sum over lanes of each of its outputs besides."""
    nodes = Nodes(graph.inputs)
    for i in range(graph.inputs, len(graph)):
        nodes.add(OPS[graph.ops[i]], graph.operands_of(i), float(graph.numbers[i]))
    sums = [nodes.add("batch_sum", [j]) for j in graph.outputs.tolist()]
    return nodes.graph([*graph.outputs.tolist(), *sums], graph.guards)
