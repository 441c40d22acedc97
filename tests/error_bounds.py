"""How far a program may be off where each of its operations may be: a running error bound.

Arithmetic is exact: it rounds as the engines do, but for dots, which may be off by 4 units in the last place of the
sum of their products' absolute values (by half as many as there are products, if those are more), as their products
may be rounded or not.  Elementary functions may be off by 4 units in their last place.  What operands are off by comes
on top, times how steep the operation is there, and a rounding of the result then.  The steepest of three places is
taken, and twice what comes out is allowed: the analysis is one of first order.  Where an operand that may be off
decides something (a comparison, a floor, the edge of a domain), nothing is said of the result: its bound is inf.

Source: Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed. (2002), section 3.3 (running error analysis).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from engines import bits
from graphs import node_value

from valuegrad.graph import Graph
from valuegrad.primitives import FLOATS, TABLE
from valuegrad.primitives.opcodes import OPS

ULPS = 4.0
ROUNDED = {"add", "sub", "mul", "div", "sqrt", "sum", "prod"}
EXACT = {"neg", "abs", "maximum", "minimum", "floor", "ceil", "trunc", "lanes", *ROUNDED}
STEPS = {"floor", "ceil", "trunc", "round", "floordiv", "mod", "fmod"}
CONDITIONS = {"lt", "le", "eq"}


def ulp(x: float) -> float:
    """The distance of a number from its neighbours; infinite if it is not finite."""
    return math.ulp(x) if math.isfinite(x) else math.inf


def slopes(op: str, x: list[float], number: float) -> list[float]:
    """∂out/∂operand at a point."""
    row = TABLE[op]
    out = node_value(op, x, number)
    if row.vectors == 2:
        half = len(x) // 2
        a, b = row.local_grads(FLOATS, x[:half], x[half:], out)
        return [*a, *b]
    if row.vectors:
        return list(row.local_grads(FLOATS, x, out))
    return list(row.local_grads(FLOATS, *x, *([number] if row.static else []), out))


def own_error(op: str, x: list[float], out: float) -> float:
    """What an operation adds to the error."""
    if op in EXACT:
        return 0.0
    if op == "dot":
        half = len(x) // 2
        return max(ULPS, half / 2) * ulp(sum([abs(a * b) for a, b in zip(x[:half], x[half:])]))
    return max(ULPS, len(x) / 2) * ulp(out)


def roundings(op: str, x: list[float], out: float) -> float:
    """How much further the roundings of an operation may take it once its operands are not the same."""
    if op == "sum":
        return len(x) * ulp(sum(map(abs, x)))
    return len(x) * ulp(out) if op in ROUNDED else 0.0


def error(op: str, x: list[float], errors: list[float], number: float, out: float) -> float:
    """The bound of a node from its operands' bounds."""
    if op in ("input", "const", "lanes"):
        return 0.0
    if op == "select":
        return math.inf if errors[0] else errors[1 if x[0] != 0.0 else 2]
    if op in CONDITIONS:
        decided = abs(x[0] - x[1]) > errors[0] + errors[1]
        return 0.0 if not any(errors) or decided else math.inf
    if op in ("and", "or", "not"):
        return math.inf if any(errors) else 0.0
    if op == "dot" and not all(map(math.isfinite, [own_error(op, [a for a in x if math.isfinite(a)] or x, out)])):
        return math.inf
    if not any(errors):
        return own_error(op, x, out) if math.isfinite(out) else 0.0 if op in EXACT else over(op, x, out)
    if op in STEPS or not all(map(math.isfinite, [*x, *errors, out])):
        return math.inf
    total = own_error(op, x, out) + roundings(op, x, out)
    steepest = [0.0] * len(x)
    for sign in (-2.0, 0.0, 2.0):
        place = [a + sign * e for a, e in zip(x, errors)]
        steepest = [max(abs(a), abs(b)) if b == b else math.inf for a, b in zip(steepest, slopes(op, place, number))]
        if op in ("maximum", "minimum"):
            steepest = [1.0] * len(x)
    if op == "div" and abs(x[1]) <= 4.0 * errors[1]:
        return math.inf
    for slope, e in zip(steepest, errors):
        if e:
            total += slope * e
    return total if total == total else math.inf


def over(op: str, x: list[float], out: float) -> float:
    """Exact operands and a result that is not finite: so it must be, unless it overflows just so."""
    largest = 1.7e308
    near = [1.0 - 1e-12, 1.0 + 1e-12]
    if out == out and all(map(math.isfinite, x)) and op in ("power", "exp", "sinh", "cosh", "expm1"):
        return 0.0 if all(abs(node_value(op, [a * f for a in x], 0.0)) > largest for f in near) else math.inf
    return 0.0


def bounds(
    graph: Graph,
    inputs: Sequence[float],
    unknown: set[int | str] = frozenset(),  # type: ignore[assignment]
) -> tuple[list[float], list[float]]:
    """The outputs of a graph of machine operations, exactly as the engines round, and how far each may be off.

    Args:
        graph: machine operations.
        inputs: a number for each input.
        unknown: the bits of constants of which nothing is known.
    """
    found: list[float] = []
    errors: list[float] = []
    for node in range(len(graph)):
        op, number = OPS[graph.ops[node]], float(graph.numbers[node])
        operands = graph.operands_of(node)
        x = [found[i] for i in operands]
        out = inputs[node] if op == "input" else node_value(op, x, number)
        found.append(out)
        of_operands = [errors[i] for i in operands]
        is_unknown = op == "const" and bits(number) in unknown
        errors.append(math.inf if is_unknown else error(op, x, of_operands, number, out))
    outputs = graph.outputs.tolist()
    return [found[i] for i in outputs], [2.0 * errors[i] for i in outputs]
