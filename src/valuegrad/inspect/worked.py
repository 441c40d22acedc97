"""Operations as people write and work them: ``a * b``, and ``1 / 0.1`` for a local gradient of 10.

Why: a nudge table says where a local gradient comes from.  The primitives table knows the rule; this
module evaluates it over one more algebra, whose numbers carry the text of how they were worked out.

Data structures: a ``Worked`` is a number, its text, and the precedence of the text's outermost operator.

Where to start reading: ``written``, then ``Working``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from valuegrad.primitives import FLOATS, TABLE, ListAlgebra
from valuegrad.primitives.algebra import ELEMENTARY

__all__ = ["ATOM", "Text", "Worked", "Working", "figure", "written"]

Text = tuple[str, int]
"""A text and the precedence of its outermost operator."""

SUM, PRODUCT, SIGN, POWER, ATOM = 1, 2, 3, 4, 5
SIGNS = {
    "add": (" + ", SUM),
    "sub": (" - ", SUM),
    "mul": (" * ", PRODUCT),
    "div": (" / ", PRODUCT),
    "floordiv": (" // ", PRODUCT),
    "mod": (" % ", PRODUCT),
    "pow": (" ** ", POWER),
    "power": (" ** ", POWER),
}
MOST_ENTRIES = 4  # a longer list is written [a, b, ..., z]


def figure(x: float, beside: float | None = None) -> str:
    """A number for people: in full if ten digits do, else with four, or as many as tell it from ``beside``.

    Example:
        >>> figure(9.006001), figure(-2.302585092994), figure(2.302685087994, beside=2.302585092994)
        ('9.006001', '-2.303', '2.3027')
    """
    if not math.isfinite(x):
        return str(x)
    full = f"{x:.10g}"
    if abs(float(full) - x) <= 1e-14 * abs(x):  # the rounding of the last few bits is no digit
        return full
    short = f"{x:.0f}" if 1e4 <= abs(x) < 1e10 else f"{x:.4g}"
    if beside is None or beside == x:
        return short
    return next((text for digits in range(4, 11) if (text := f"{x:.{digits}g}") != f"{beside:.{digits}g}"), short)


def number_text(x: float) -> Text:
    text = figure(x)
    return text, SIGN if text[0] == "-" else ATOM


def bracketed(part: Text, at_least: int) -> str:
    """The text, in brackets where its operator binds less than ``at_least``."""
    return part[0] if part[1] >= at_least else f"({part[0]})"


def written(op: str, parts: Sequence[Text], static: float | None = None) -> Text:
    """An operation as people write it, from the texts of its children.

    Example:
        >>> written("mul", [("a + b", 1), ("c", 5)])
        ('(a + b) * c', 2)
        >>> written("dot", [("a", 5), ("b", 5), ("c", 5), ("d", 5)])
        ('dot([a, b], [c, d])', 5)
    """
    if op in SIGNS:
        sign, strength = SIGNS[op]
        left, right = [*parts, number_text(static)] if static is not None else parts
        if strength == POWER:  # from the right: a ** b ** c is a ** (b ** c), and 2 ** -a needs no brackets
            return f"{bracketed(left, ATOM)}{sign}{bracketed(right, SIGN)}", POWER
        return f"{bracketed(left, strength)}{sign}{bracketed(right, strength + 1)}", strength
    if op == "neg":
        return f"-{bracketed(parts[0], POWER)}", SIGN
    row = TABLE.get(op)
    texts = [text for text, _ in parts]
    if row is not None and row.vectors and not row.variadic:
        n = len(texts) // row.vectors
        texts = [f"[{', '.join(_elided(texts[i * n : i * n + n]))}]" for i in range(row.vectors)]
    elif row is not None and row.variadic:
        texts = _elided(texts)
    if row is not None and row.family and static is not None:
        return f"{op}({', '.join(texts)})[{static:.0f}]", ATOM
    if op == "where":
        return f"where({'true' if static else 'false'}, {', '.join(texts)})", ATOM
    if op == "take" and static is not None:
        return f"take([.. {parts[0][0]} ..], {static:.0f})", ATOM
    if static is not None:
        texts.append(figure(static))
    return f"{op}({', '.join(texts)})", ATOM


def _elided(texts: list[str]) -> list[str]:
    return texts if len(texts) <= MOST_ENTRIES else [*texts[:2], "...", texts[-1]]


class Worked:
    """A number that knows how it was worked out, as a text."""

    __slots__ = ("number", "part")

    def __init__(self, number: float, part: Text | None = None) -> None:
        self.number = number
        self.part = number_text(number) if part is None else part

    def __add__(self, other: Any) -> Worked:
        return _combined("add", self, other)

    def __radd__(self, other: Any) -> Worked:
        return _combined("add", other, self)

    def __sub__(self, other: Any) -> Worked:
        return _combined("sub", self, other)

    def __rsub__(self, other: Any) -> Worked:
        return _combined("sub", other, self)

    def __mul__(self, other: Any) -> Worked:
        return _combined("mul", self, other)

    def __rmul__(self, other: Any) -> Worked:
        return _combined("mul", other, self)

    def __neg__(self) -> Worked:
        return _combined("neg", self)


def _worked(x: Any) -> Worked:
    return x if isinstance(x, Worked) else Worked(float(x))


def _combined(op: str, *operands: Any) -> Worked:
    """An operation on worked numbers; steps that nobody writes down (2 - 1, 3 ** 1) are done at once."""
    parts = [_worked(x) for x in operands]
    result = TABLE[op].value(FLOATS, *[part.number for part in parts])
    if op == "neg" and parts[0].part == number_text(parts[0].number):
        return Worked(result)
    if op in ("add", "sub") and all(part.part == number_text(part.number) for part in parts):
        return Worked(result)
    if op == "pow" and parts[1].number == 1.0:
        return parts[0]
    return Worked(result, written(op, [part.part for part in parts]))


class Working(ListAlgebra):
    """The algebra of worked numbers: choices are made, so the text shows the branch that was taken."""

    def __init__(self) -> None:
        super().__init__(TABLE)
        for name, function in ELEMENTARY.items():
            setattr(self, name, self._function(name, function))
        for name in ("sum", "product", "largest", "smallest", "norm_of"):
            setattr(self, name, self._of_list(getattr(FLOATS, name)))
        for row in TABLE.values():
            if not row.vectors and not hasattr(type(self), row.name) and row.name not in ELEMENTARY:
                setattr(self, row.name, self._function(row.name, self._row(row.name)))

    @staticmethod
    def _row(name: str) -> Callable[..., float]:
        return lambda *numbers: TABLE[name].value(FLOATS, *numbers)

    @staticmethod
    def _function(name: str, function: Callable[..., float]) -> Callable[..., Worked]:
        if name in SIGNS:
            return lambda *operands: _combined(name, *operands)

        def worked(*operands: Any) -> Worked:
            parts = [_worked(x) for x in operands]
            return Worked(function(*[part.number for part in parts]), written(name, [part.part for part in parts]))

        return worked

    @staticmethod
    def _of_list(function: Callable[[list[float]], float]) -> Callable[[Sequence[Any]], Worked]:
        return lambda xs: Worked(function([_worked(x).number for x in xs]))

    @staticmethod
    def lt(a: Any, b: Any) -> bool:
        """Whether a is less than b."""
        return _worked(a).number < _worked(b).number

    @staticmethod
    def eq(a: Any, b: Any) -> bool:
        """Whether a and b are equal numbers."""
        return _worked(a).number == _worked(b).number

    @staticmethod
    def where(condition: bool, a: Any, b: Any) -> Any:
        """The branch that the condition takes, with its text."""
        return a if condition else b
