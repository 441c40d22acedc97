"""Operations as a person writes them: ``a[i]*(b - 2)``, ``where(x < 0, 0, x)``.

Where to start reading: ``operation_text``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from valuegrad.primitives.opcodes import OPS

__all__ = ["is_name", "operand", "operation_text", "subscript"]

INFIX = {"add": "+", "sub": "-", "div": "/", "lt": "<", "le": "<=", "eq": "==", "and": "and", "or": "or"}


def operation_text(op: int, number: float, args: Sequence[str]) -> str:
    """An operation on operands.

    Args:
        op: its code.
        number: what it has beside its operands.
        args: the operands as text; of a dot the first halves of the products, then the second ones.
    """
    name = OPS[op]
    if name == "dot":
        half = len(args) // 2
        return " + ".join(f"{operand(x)}*{operand(y)}" for x, y in zip(args[:half], args[half:]))
    if name == "sum":
        return " + ".join(f"({x})" if _has(x, "+") else x for x in args) or "0"
    if name == "mul":
        return f"{operand(args[0])}*{operand(args[1])}"
    if name in INFIX:
        return f"{operand(args[0])} {INFIX[name]} {operand(args[1])}"
    if name in ("neg", "not"):
        return f"{'-' if name == 'neg' else 'not '}{operand(args[0])}"
    if name == "select":
        relu = re.fullmatch(r"0 < (.+)", args[0])
        if relu and args[1] in (relu[1], relu[1].strip("()")) and re.fullmatch(r"where\(.*, 0, .*\)", args[2]):
            return f"relu({args[1]})"
        name = "where"
    static = [f"{number:g}"] if name in ("polygamma", "round") else []
    return f"{name}({', '.join([*args, *static])})"


def operand(text: str) -> str:
    """A formula as a part of another one."""
    return f"({text})" if _has(text, " ") or text.startswith("-") or ("*" in text and text[-1] not in ")]") else text


def _has(text: str, sign: str) -> bool:
    """Whether there is such a sign outside of brackets."""
    depth = 0
    for c in text:
        depth += (c in "([") - (c in ")]")
        if c == sign and depth == 0:
            return True
    return False


def subscript(parts: Sequence[str]) -> str:
    """Indices behind a name."""
    return f"[{', '.join(parts)}]" if parts else ""


def is_name(text: str) -> bool:
    """Whether a formula is a name or a number, with indices or without."""
    return re.fullmatch(r"[\w.]+(\[[^\]]*\])?", text) is not None
