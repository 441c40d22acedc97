"""How operations look in every picture: their signs, their kinds, and a colour for each kind.

Why: a graph is shown as text, in Graphviz's language, by matplotlib and as SVG; it should look the same in all.

Where to start reading: ``kind``, then ``COLOURS``.
"""

from __future__ import annotations

__all__ = ["COLOURS", "DARK", "INFIX", "ORDERED", "SYMBOLS", "WORDS", "kind", "shortened"]

SYMBOLS = {
    "add": "+", "sub": "−", "mul": "×", "div": "÷", "neg": "−", "lt": "<", "le": "≤", "eq": "=", "and": "∧", "or": "∨",
    "not": "¬", "pow": "^", "power": "^", "sum": "Σ", "prod": "Π", "sqrt": "√", "batch_sum": "Σ lanes",
}  # fmt: skip
INFIX = {"add", "sub", "mul", "div", "lt", "le", "eq", "and", "or", "power"}
ORDERED = frozenset(["sub", "div", "lt", "le", "power", "floordiv", "mod", "fmod", "atan2", "select", "where", "clamp"])
"""Operations whose operands enter their box from left to right, as their order matters."""
_KINDS = {
    "input": "input",
    "constant": "const constant",
    "arithmetic": "add sub mul div neg abs sign pow power floordiv mod fmod sqrt hypot floor ceil trunc round identity "
    "take detach",
    "choice": "lt le eq and or not select where gather clamp maximum minimum relu",
    "list": "sum prod mean dot norm logsumexp softmax log_softmax cross_entropy batch_sum lanes",
    "own": "custom call",
}
_KIND = {op: name for name, ops in _KINDS.items() for op in ops.split()}
WORDS = {
    "input": "input", "constant": "constant", "arithmetic": "arithmetic", "function": "function",
    "choice": "comparison, choice", "list": "over a list", "own": "own primitive",
}  # fmt: skip
COLOURS = {
    "input": "#b7e0b1",
    "constant": "#e6e6e6",
    "arithmetic": "#cfe2f7",
    "function": "#dccdf2",
    "choice": "#fbdcae",
    "list": "#b9e5e2",
    "own": "#f6c6c9",
}
"""A colour for each kind of operation, on a light page; black text can be read on all of them."""
DARK = {
    "input": "#1f4a26",
    "constant": "#3a3f47",
    "arithmetic": "#1d3d5f",
    "function": "#41305f",
    "choice": "#59400f",
    "list": "#174a48",
    "own": "#5c2a30",
}
"""The same on a dark page, under white text."""


def kind(op: str) -> str:
    """Which group an operation belongs to: what is not named otherwise is a function, such as exp."""
    return _KIND.get(op, "function")


def shortened(x: float) -> str:
    """A number in six digits at most."""
    return f"{x:.6g}"
