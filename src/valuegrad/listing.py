"""A graph as text: a summary and a listing for people, and Graphviz's language for its tools.

Why: what was recorded should be easy to look at: a small graph line by line, a large one by its counts.

Data structures: none.  Signs and colours are those of ``pictures/appearance.py``.

Where to start reading: ``graph_text``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

from valuegrad.graph import Graph
from valuegrad.pictures.appearance import COLOURS, INFIX, SYMBOLS, kind, shortened
from valuegrad.pictures.languages import DOT_NODES, quoted
from valuegrad.pictures.shown import Shown
from valuegrad.primitives import TABLE
from valuegrad.primitives.opcodes import OPCODE, OPS

__all__ = ["graph_text", "label", "shown", "to_dot"]

LISTED = 60  # nodes of a graph that is listed as a whole
SHOWN = 6  # source lines of guards
OPERANDS = 8  # operands in a line


def static_text(graph: Graph, node: int) -> str:
    """A node's number where it means something: an exponent, an index."""
    op = OPS[graph.ops[node]]
    if op == "call":
        function = graph.calls[int(graph.numbers[node])]
        return str(getattr(function, "__name__", function))
    return shortened(float(graph.numbers[node])) if op in TABLE and TABLE[op].static and op != "take" else ""


def label(graph: Graph, node: int, name: str = "") -> str:
    """What a node's box in a picture says; constants among its operands are part of it.

    Example:
        >>> from valuegrad.graph import Nodes
        >>> nodes = Nodes(inputs=1)
        >>> half = nodes.add("div", [0, nodes.const(2.0)])
        >>> label(nodes.graph([half]), half)
        '÷ 2'
    """
    op = OPS[graph.ops[node]]
    if op == "input":
        return name or f"input {node}"
    if op == "const":
        return shortened(float(graph.numbers[node]))
    symbol: str = SYMBOLS.get(op, op)
    operands = graph.operands_of(node)
    constants = [shortened(float(graph.numbers[i])) if graph.ops[i] == OPCODE["const"] else "" for i in operands]
    static = static_text(graph, node)
    if op == "mul" and operands[0] == operands[1]:
        return "square"
    if static:
        return f"{symbol} {static}" if op == "pow" else f"{symbol}[{static}]"
    if not any(constants):
        return symbol
    if op in INFIX:
        left, right = constants
        if left and not right and op in ("add", "mul"):
            return f"{symbol} {left}"
        return f"{left} {symbol} {right or '·'}" if left else f"{symbol} {right}"
    if len(operands) <= 4:
        return f"{symbol}({', '.join(text or '·' for text in constants)})"
    return f"{symbol} of {len(operands)}"


# ------------------------------------------------------------------------------------------------ text
def graph_text(graph: Graph, name: str = "graph", inputs: Sequence[str] = (), outputs: Sequence[str] = ()) -> str:
    """A graph as text: counts of its operations, its guards, and, if it is small, every node.

    Args:
        graph: the graph.
        name: what to call it.
        inputs: names of the inputs.
        outputs: names of the outputs.

    Example:
        >>> from valuegrad.graph import Guard, Nodes
        >>> nodes = Nodes(inputs=2)
        >>> less = nodes.add("lt", [0, nodes.const(100.0)])
        >>> price = nodes.add("mul", [0, 1])
        >>> graph = nodes.graph([price], [Guard(less, True, "tariff.py:2, in tariff")])
        >>> print(graph_text(graph, "tariff", inputs=["kwh", "rate"]))
        tariff: 2 inputs, 1 output, 1 guard, 1 constant, 2 operations
          lt 1, mul 1
          guards at tariff.py:2, in tariff: 1
          %0 = input            kwh
          %1 = input            rate
          %2 = const 100
          %3 = lt %0 %2         is true at tariff.py:2, in tariff
          %4 = mul %0 %1        output
    """
    lines = [f"{name}: {_sizes(graph)}"]
    counts = {op: count for op, count in graph.counts().items() if op not in ("input", "const")}
    if counts:
        lines += [f"  {line}" for line in _wrapped([f"{op} {count:,}" for op, count in counts.items()])]
    guards = Counter(guard.line for guard in graph.guards).most_common()
    lines += [f"  guards at {line}: {count:,}" for line, count in guards[:SHOWN]]
    if len(guards) > SHOWN:
        lines.append(f"  guards at {len(guards) - SHOWN:,} more lines: {sum(n for _, n in guards[SHOWN:]):,}")
    if len(graph) <= LISTED:
        lines += [f"  {line}" for line in _listing(graph, inputs, outputs)]
    return "\n".join(lines)


def _sizes(graph: Graph) -> str:
    constants = int(np.count_nonzero(graph.ops == OPCODE["const"]))
    sizes = {
        "input": graph.inputs,
        "output": len(graph.outputs),
        "guard": len(graph.guards),
        "constant": constants,
        "operation": len(graph) - graph.inputs - constants,
    }
    return ", ".join(
        f"{count:,} {word}{'s' * (count != 1)}"
        for word, count in sizes.items()
        if count or word in ("input", "output", "operation")
    )


def _wrapped(parts: Sequence[str], width: int = 100) -> Iterator[str]:
    """Parts with commas between them, in lines."""
    line = ""
    for i, part in enumerate(parts):
        text = part + ("," if i + 1 < len(parts) else "")
        if line and len(line) + 1 + len(text) > width:
            yield line
            line = ""
        line += " " * bool(line) + text
    yield line


def _listing(graph: Graph, inputs: Sequence[str], outputs: Sequence[str]) -> list[str]:
    digits = len(str(len(graph) - 1))
    rows = []
    for node, remarks in enumerate(_remarks(graph, inputs, outputs)):
        op = OPS[graph.ops[node]]
        static = shortened(float(graph.numbers[node])) if op == "const" else static_text(graph, node)
        operands = graph.operands_of(node)
        shown = [f"%{i}" for i in operands[:OPERANDS]]
        if len(operands) > OPERANDS:
            shown.append(f"... ({len(operands)} in all)")
        text = op + ("" if not static else f" {static}" if op == "const" else f"[{static}]")
        rows.append((f"{'%' + str(node):>{digits + 1}} = {' '.join([text, *shown])}", remarks))
    width = max((len(text) for text, remarks in rows if remarks), default=0)
    width = min(max(width + 2, 20), 60)
    return [f"{text:<{width}} {'; '.join(remarks)}".rstrip() for text, remarks in rows]


def _remarks(graph: Graph, inputs: Sequence[str], outputs: Sequence[str]) -> list[list[str]]:
    """For each node what else there is to say of it: names, outcomes of guards."""
    remarks: list[list[str]] = [[] for _ in range(len(graph))]
    for node, name in zip(range(graph.inputs), inputs):
        remarks[node].append(name)
    for guard in graph.guards:
        remarks[guard.node].append(f"is {'true' if guard.expected else 'false'} at {guard.line}")
    for i, node in enumerate(graph.outputs.tolist()):
        number = f" {i}" if len(graph.outputs) > 1 else ""
        remarks[node].append(f"output{number}" + (f" {outputs[i]}" if i < len(outputs) else ""))
    return remarks


# -------------------------------------------------------------------------------------------- pictures
def shown(graph: Graph, inputs: Sequence[str] = (), outputs: Sequence[str] = ()) -> Shown:
    """A graph as pictures see it; a node's id there is its position here.

    Args:
        graph: the graph.
        inputs: names of the inputs.
        outputs: names of the outputs.
    """
    names = dict(zip(range(graph.inputs), inputs))
    notes: dict[int, list[str]] = {}
    for guard in graph.guards:
        notes.setdefault(guard.node, []).append(f"is {'true' if guard.expected else 'false'}")
    for i, node in enumerate(graph.outputs.tolist()):
        text = outputs[i] if i < len(outputs) else f"output {i}" if len(graph.outputs) > 1 else "output"
        notes.setdefault(node, []).append(text)
    ops = [OPS[code] for code in graph.ops.tolist()]
    signs = []
    for node, op in enumerate(ops):
        static = static_text(graph, node)
        sign = SYMBOLS.get(op, op)
        if op in ("input", "const"):
            sign = shortened(float(graph.numbers[node])) if op == "const" else ""
        elif static:
            sign = f"{sign} {static}" if op == "pow" else f"{sign}[{static}]"
        signs.append(sign)
    starts, operands = graph.starts.tolist(), graph.operands.tolist()
    return Shown(
        ops=["constant" if op == "const" else op for op in ops],
        signs=signs,
        operands=[operands[a:b] for a, b in pairwise(starts)],
        names=names,
        results=list(dict.fromkeys(graph.outputs.tolist())),
        notes={node: ", ".join(dict.fromkeys(texts)) for node, texts in notes.items()},
    )


# -------------------------------------------------------------------------------------------- Graphviz
def to_dot(graph: Graph, name: str = "graph", inputs: Sequence[str] = (), outputs: Sequence[str] = ()) -> str:
    """A graph in Graphviz's language: ``dot -Tsvg graph.dot -o graph.svg`` draws it.

    Args:
        graph: the graph.
        name: what to call it.
        inputs: names of the inputs.
        outputs: names of the outputs.

    Example:
        >>> from valuegrad.graph import Nodes
        >>> nodes = Nodes(inputs=1)
        >>> print(to_dot(nodes.graph([nodes.add("exp", [0])]), "growth", inputs=["time"]))
        digraph "growth" {
          node [shape=box, style="filled,rounded", fontname="Helvetica", color="#00000040"];
          n0 [label="time", fillcolor="#b7e0b1"];
          n1 [label="exp", fillcolor="#dccdf2", color=black, penwidth=2, xlabel="output"];
          n0 -> n1;
        }
    """
    lines = [f"digraph {quoted(name)} {{"]
    lines.append(f"  {DOT_NODES}")
    results: dict[int, list[str]] = {}
    for i, node in enumerate(graph.outputs.tolist()):
        text = outputs[i] if i < len(outputs) else f"output {i}" if len(graph.outputs) > 1 else "output"
        results.setdefault(node, []).append(text)
    guards = {guard.node: guard for guard in graph.guards}
    constant = (graph.ops == OPCODE["const"]).tolist()
    edges = []
    for node in range(len(graph)):
        if constant[node] and node not in results and node not in guards:
            continue
        text = label(graph, node, inputs[node] if node < min(graph.inputs, len(inputs)) else "")
        attributes = [f"label={quoted(text)}", f'fillcolor="{COLOURS[kind(OPS[graph.ops[node]])]}"']
        if node in results:
            attributes += ["color=black", "penwidth=2", f"xlabel={quoted(', '.join(results[node]))}"]
        if node in guards:
            outcome = "true" if guards[node].expected else "false"
            attributes += ["shape=diamond", f"tooltip={quoted(f'{outcome} at {guards[node].line}')}"]
        lines.append(f"  n{node} [{', '.join(attributes)}];")
        edges += [f"  n{i} -> n{node};" for i in graph.operands_of(node) if not constant[i]]
    return "\n".join([*lines, *edges, "}"])
