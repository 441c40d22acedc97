"""Graphs for tests: an evaluator that reads like the specification, random graphs, and the same on Values."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any

import valuegrad as vg
from valuegrad.graph import Graph, Nodes
from valuegrad.primitives import FLOATS, TABLE
from valuegrad.primitives.opcodes import OPS


def _row(op: str, x: list[float], number: float) -> float:
    row = TABLE[op]
    if row.family:
        return row.value(FLOATS, x)[int(number)]
    if row.vectors == 2:
        half = len(x) // 2
        return row.value(FLOATS, x[:half], x[half:])
    static = [number] if row.static else []
    return row.value(FLOATS, x, *static) if row.vectors else row.value(FLOATS, *x, *static)


def node_value(op: str, x: list[float], number: float) -> float:
    """One node of a graph on floats, a single lane."""
    if op == "const":
        return number
    if op in ("lt", "le", "eq"):
        return float({"lt": x[0] < x[1], "le": x[0] <= x[1], "eq": x[0] == x[1]}[op]) if len(x) == 2 else math.nan
    if op in ("and", "or", "not"):
        truth = [value != 0.0 for value in x]
        return float(all(truth) if op == "and" else any(truth) if op == "or" else not truth[0])
    if op == "select":
        return x[1] if x[0] != 0.0 else x[2]
    if op == "gather":
        return x[:-1][int(x[-1])]
    if op in ("custom", "batch_sum"):
        return x[0]
    return 1.0 if op == "lanes" else _row(op, x, number)


def evaluate(graph: Graph, inputs: Sequence[float]) -> list[float]:
    """All nodes' numbers, by the rules of the table on floats."""
    found: list[float] = []
    for node in range(len(graph)):
        op = OPS[graph.ops[node]]
        if op == "input":
            found.append(inputs[node])
        elif op == "call":
            found.append(graph.calls[int(graph.numbers[node])](*[found[i] for i in graph.operands_of(node)]))
        else:
            found.append(node_value(op, [found[i] for i in graph.operands_of(node)], float(graph.numbers[node])))
    return found


def outputs(graph: Graph, inputs: Sequence[float]) -> list[float]:
    found = evaluate(graph, inputs)
    return [found[i] for i in graph.outputs.tolist()]


SCALARS = [row.name for row in TABLE.values() if not row.vectors and not row.static and row.name != "detach"]
LISTS = [row.name for row in TABLE.values() if row.vectors]
STATICS = {"pow": (2.0, 3.0, 0.5, -1.0, 1.0, 0.0, -0.5, 1.7), "round": (0.0, 2.0), "polygamma": (1.0, 2.0)}


def random_graph(rng: random.Random, size: int, inputs: int = 4) -> Graph:
    """A random graph of all rows; the last node is the output."""
    nodes = Nodes(inputs)
    for x in (0.0, -0.0, 1.0, -1.0, 2.0, rng.uniform(-3, 3)):
        nodes.const(x)
    while len(nodes.ops) < size:
        pick = lambda n: [rng.randrange(max(0, len(nodes.ops) - 12), len(nodes.ops)) for _ in range(n)]  # noqa: E731
        kind = rng.random()
        if kind < 0.5:
            nodes.add(rng.choice(["add", "sub", "mul", "div"]), pick(2))
        elif kind < 0.8:
            op = rng.choice(SCALARS)
            nodes.add(op, pick(len(TABLE[op].children)))
        elif kind < 0.88:
            op = rng.choice(list(STATICS))
            nodes.add(op, pick(1), rng.choice(STATICS[op]))
        elif kind < 0.93:
            nodes.add("select", [nodes.add(rng.choice(["lt", "le", "eq"]), pick(2)), *pick(2)])
        else:
            op, n = rng.choice(LISTS), rng.randint(1, 4)
            row = TABLE[op]
            nodes.add(op, pick(n * row.vectors), float(rng.randrange(n)) if row.static else 0.0)
    return nodes.graph([len(nodes.ops) - 1])


def on_values(graph: Graph, inputs: Sequence[Any]) -> list[Any]:
    """All nodes as Values of the engine."""
    found: list[Any] = []
    for node in range(len(graph)):
        op, number = OPS[graph.ops[node]], float(graph.numbers[node])
        x = [found[i] for i in graph.operands_of(node)]
        number_of = lambda v: v.data if type(v) is vg.Value else v  # noqa: E731
        if op == "input":
            found.append(inputs[node])
        elif op == "select":
            found.append(vg.where(x[0] != 0.0, x[1], x[2]))
        elif op in ("const", "lt", "le", "eq", "and", "or", "not"):
            found.append(node_value(op, [number_of(v) for v in x], number))
        else:
            found.append(_apply(op, x, number))
    return found


def _apply(op: str, x: list[Any], number: float) -> Any:
    if op in ("pow", "power"):
        return vg.value.pow(x[0], number if op == "pow" else x[1])
    if op == "round":
        return round(x[0], int(number)) if type(x[0]) is vg.Value else FLOATS.round(x[0], number)
    if op == "identity":
        return vg.value.identity(x[0]) if type(x[0]) is vg.Value else x[0]
    row, function = TABLE[op], getattr(vg.value, op)
    if row.family:
        return function(x)[int(number)]
    if row.vectors == 2:
        half = len(x) // 2
        return function(x[:half], x[half:])
    if row.vectors:
        return function(x, int(number)) if row.static else function(x)
    static = [int(number) if row.integer_static else number] if row.static else []
    return function(*x, *static)
