"""From Values to the arrays of a graph: what a recording (``valuegrad.record``) takes from the readable engine.

The arrays are those of ``valuegrad.graph.Graph``, as bytes.  ``_export.h`` does the same for the native engine.

Where to start reading: ``export``.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Sequence

from valuegrad.primitives import TABLE
from valuegrad.primitives.opcodes import OPCODE, OPS
from valuegrad.reference.value import Value

__all__ = ["export", "recorded"]

_Exported = tuple[bytearray, bytearray, bytearray, bytearray, list[int], list[Value], int, int]


def recorded(code: int, data: float, children: Sequence[Value], local_grads: Sequence[float]) -> Value:
    """A Value of op "recorded": what only a recording has, such as a choice by a comparison."""
    value = Value(data)
    value._children = tuple(children)
    value._local_grads = tuple(local_grads)
    value._op = "recorded"
    value._static = float(code)
    return value


def _operands(value: Value) -> list[Value]:
    """The children, less those that are there for numbers only (a derivative's, see ``record.py``)."""
    if value._op == "recorded" and (value._static or 0.0) >= len(OPS):
        return [child for child, grad in zip(value._children, value._local_grads) if grad == 0.0]
    return list(value._children)


def _reached(roots: Sequence[Value], since: int) -> list[Value]:
    """All that the roots were computed from, through the branches that ``where`` did not take too, oldest first."""
    seen: dict[int, Value] = {}
    stack = [root for root in roots if root._created >= since]
    while stack:
        value = stack.pop()
        if value._created not in seen:
            seen[value._created] = value
            stack += [child for child in _operands(value) if child._created >= since and child._op != "constant"]
    return [seen[created] for created in sorted(seen)]


def export(roots: Sequence[Value], since: int, inputs: Sequence[Value]) -> _Exported:
    """What the roots were computed from since then, as the arrays of a graph.

    Args:
        roots: Values.
        since: older Values are outside: leaves become inputs, what was computed becomes constants.
        inputs: the first inputs.

    Returns:
        (ops, starts, operands, numbers (of what a recorder knows by it, the bits of the creation number), the
        roots' nodes, older leaves that became inputs, the newest creation
        number of what became a constant though it was computed, how many opaque custom Values were met)
    """
    order = _reached(roots, since)
    all_inputs = {value._created: value for value in inputs}
    frozen = 0
    for old in [*[child for value in order for child in _operands(value)], *roots]:
        if old._created < since and old._op != "constant":
            if old._op is None:
                all_inputs.setdefault(old._created, old)
            else:
                frozen = max(frozen, old._created)
    node = {created: i for i, created in enumerate(all_inputs)}
    ops = array("H", [OPCODE["input"]] * len(node))
    starts = array("i", [0] * len(node))
    operands = array("i")
    numbers = array("d", range(len(node)))

    def add(code: int, number: float, start: int) -> int:
        ops.append(code)
        starts.append(start)
        numbers.append(number)
        return len(ops) - 1

    for value in order:
        if value._created in node:
            continue
        begin = len(operands)
        for child in _operands(value):
            known = node.get(child._created) if child._op != "constant" else None
            operands.append(add(OPCODE["const"], child._data, begin) if known is None else known)
        code, number = OPCODE["const"], value._data
        if value._op == "recorded":
            code = int(value._static or 0.0)
            by_creation = code == OPCODE["call"] or code >= len(OPS)
            number = struct.unpack("d", struct.pack("Q", value._created))[0] if by_creation else 0.0  # its bits
        elif value._op in TABLE:
            code, number = OPCODE[value._op], value._static or 0.0
        node[value._created] = add(code, number, begin)
    root_nodes = []
    for root in roots:
        known = node.get(root._created)
        root_nodes.append(add(OPCODE["const"], root._data, len(operands)) if known is None else known)
    starts.append(len(operands))
    opaque = sum(value._op == "custom" for value in order)
    arrays = [bytearray(x.tobytes()) for x in (ops, starts, operands, numbers)]
    captured = list(all_inputs.values())[len(inputs) :]
    return arrays[0], arrays[1], arrays[2], arrays[3], root_nodes, captured, frozen, opaque
