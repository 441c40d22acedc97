"""What a rule of the table is evaluated over.

Why: a rule such as ``local_grads=lambda m, a, out: (1 - out * out,)`` is written once and used many
times: on floats (the readable engine), on symbols (C for the native engine, formulas for the docs),
on Values (derivatives of derivatives).  ``m`` is the *algebra* that says what the letters stand for.

An algebra offers
  * ``m.exp``, ``m.sin`` ...: every function of ``floats.py`` and every row of the table;
  * ``m.lt(a, b)``, ``m.le(a, b)``, ``m.eq(a, b)``, ``m.where(condition, a, b)``: choices without Python's ``if``;
  * for lists: ``m.each(f, xs, ...)``, ``m.sum``, ``m.largest``, ``m.smallest``, ``m.at``, ``m.length``,
    ``m.one_hot``, ``m.products_of_others``, ``m.norm_of``;
  * numbers that know ``+ - *`` and unary minus.  Not ``/``: Python's raises at zero, so ``m.div``.

Where to start reading: ``Floats``; ``render.Symbols`` is the other one worth knowing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from valuegrad.primitives import floats

if TYPE_CHECKING:
    from valuegrad.primitives.row import Row

__all__ = ["ELEMENTARY", "Algebra", "Floats", "ListAlgebra"]

ELEMENTARY = {
    name: function
    for name, function in vars(floats).items()
    if callable(function) and not name.startswith("_") and name not in ("Callable", "norm_of")
}
"""The functions that floats.py and _ieee.h define; all others are rules made of these."""


class Algebra:
    """The part that is common to all algebras: a row's name used as a function means its value rule."""

    rows: dict[str, Row]

    def __init__(self, rows: dict[str, Row]) -> None:
        self.rows = rows

    def __getattr__(self, name: str) -> Callable[..., Any]:
        row = self.__dict__["rows"].get(name) if "rows" in self.__dict__ else None
        if row is None:
            raise AttributeError(f"{type(self).__name__} has no function {name!r} and the table has no such row")
        rule = partial(row.value, self)
        setattr(self, name, rule)
        return rule


class ListAlgebra(Algebra):
    """An algebra whose vectors are Python lists (floats and Values; symbols have loops instead)."""

    def each(self, f: Callable[..., Any], *vectors: Sequence[Any]) -> list[Any]:
        return [f(*items) for items in zip(*vectors)]

    def length(self, xs: Sequence[Any]) -> float:
        return float(len(xs))

    def at(self, xs: Sequence[Any], i: float) -> Any:
        return xs[int(i)]

    def keep(self, xs: Sequence[Any]) -> Sequence[Any]:
        """Store a vector that is used twice (symbols would compute it twice otherwise)."""
        return xs

    def one_hot(self, xs: Sequence[Any], i: float) -> list[float]:
        return [1.0 if j == i else 0.0 for j in range(len(xs))]

    def products_of_others(self, xs: Sequence[Any]) -> list[Any]:
        """For each i the product of all xs but xs[i], so that a zero among them does no harm."""
        n = len(xs)
        result: list[Any] = [1.0] * n
        before: Any = 1.0
        for i in range(n):
            result[i] = before
            before = before * xs[i]
        after: Any = 1.0
        for i in reversed(range(n)):
            result[i] = result[i] * after
            after = after * xs[i]
        return result


class Floats(ListAlgebra):
    """Rules on plain floats: what the readable engine computes."""

    def __init__(self, rows: dict[str, Row]) -> None:
        super().__init__(rows)
        self.__dict__.update(ELEMENTARY)

    @staticmethod
    def lt(a: float, b: float) -> bool:
        return a < b

    @staticmethod
    def le(a: float, b: float) -> bool:
        return a <= b

    @staticmethod
    def eq(a: float, b: float) -> bool:
        return a == b

    @staticmethod
    def where(condition: bool, a: float, b: float) -> float:
        return a if condition else b

    @staticmethod
    def sum(xs: Sequence[float]) -> float:
        """In order, starting with the first number: -0.0 is what leaves any first number as it is."""
        total = -0.0
        for x in xs:
            total = total + x
        return total if len(xs) else 0.0

    @staticmethod
    def product(xs: Sequence[float]) -> float:
        total = 1.0
        for x in xs:
            total = total * x
        return total

    @staticmethod
    def largest(xs: Sequence[float]) -> float:
        best = xs[0]
        for x in xs:
            if x > best or x != x:
                best = x
        return best

    @staticmethod
    def smallest(xs: Sequence[float]) -> float:
        best = xs[0]
        for x in xs:
            if x < best or x != x:
                best = x
        return best

    @staticmethod
    def norm_of(xs: Sequence[float]) -> float:
        return floats.norm_of(list(xs))
