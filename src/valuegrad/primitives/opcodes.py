"""The numbers of the operations in a graph.

Why: a recorded graph is arrays (``valuegrad.graph``), so an operation is a small integer there, the same in
Python and in C (``render.py`` writes ``_opcodes.h`` from here).  Besides the table's rows a graph has a few
operations that no single Value computes: inputs and constants, comparisons, a choice by a comparison.

``MACHINE`` are the operations that a lowered program executes; every other row is expanded into these by
its own ``value`` rule (``transforms/templates.py``).

Where to start reading: ``STRUCTURAL``.
"""

from __future__ import annotations

from valuegrad.primitives.table import TABLE

__all__ = ["DERIVATIVE", "MACHINE", "OPCODE", "OPS", "PARTIAL", "STRUCTURAL"]

STRUCTURAL = {
    "input": "an input of the program; the first nodes of a graph are its inputs",
    "const": "a constant; its number",
    "lt": "1.0 where a < b, else 0.0 (0.0 with a nan)",
    "le": "1.0 where a <= b, else 0.0 (0.0 with a nan)",
    "eq": "1.0 where a == b, else 0.0 (0.0 with a nan)",
    "and": "1.0 where both conditions hold, else 0.0",
    "or": "1.0 where a condition holds, else 0.0",
    "not": "1.0 where the condition does not hold, else 0.0",
    "select": "select(condition, a, b): a where the condition holds, else b; no gradient to the other one",
    "gather": "gather(x0, x1, ..., index): the entry at an index that is an input; counts from the end if negative",
    "custom": "custom(value, x..., g...): a primitive of the user's; the last half of the others are ∂value/∂x",
    "call": "call(x...): a Python function (number: which) for every lane",
    "batch_sum": "the sum of a over all lanes of the batch: one number",
    "lanes": "how many lanes the batch has",
}
"""The operations of a graph that are no rows of the table."""

OPS: tuple[str, ...] = (*STRUCTURAL, *TABLE)
"""The operations by number."""

OPCODE: dict[str, int] = {name: code for code, name in enumerate(OPS)}
"""The numbers by name."""

DERIVATIVE, PARTIAL = 65534, 65535
"""What only an unfinished recording has: a derivative that is yet to be made, and one of its results."""

_MACHINE_ROWS = """
    add sub mul div neg abs sqrt floor ceil trunc round floordiv mod fmod power
    exp expm1 log log1p log2 log10 cbrt sin cos tan asin acos atan atan2 sinh cosh tanh asinh acosh atanh
    erf erfc lgamma digamma polygamma hypot maximum minimum sum prod dot norm
"""

MACHINE: frozenset[str] = frozenset(STRUCTURAL) - {"custom"} | frozenset(_MACHINE_ROWS.split())
"""The operations that a lowered program executes."""
