"""``Symbols``: the algebra of C expressions.

Why: the native engine is compiled from the same rules that the readable engine evaluates on floats.
Evaluating a rule over symbols leaves behind a list of C statements; a subexpression that is met again
is recognised by its text and computed once.  A list is a ``Vector``: a way to write its j-th entry;
a sum over it becomes a loop.

Where to start reading: ``Symbols.emit``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from valuegrad.primitives import floats
from valuegrad.primitives.algebra import ELEMENTARY, Algebra
from valuegrad.primitives.row import Row

__all__ = ["Symbol", "Symbols", "Vector", "literal"]


class Symbol:
    """A C expression of type double that knows ``+ - *``."""

    __slots__ = ("m", "text")

    def __init__(self, m: Symbols, text: str) -> None:
        self.m = m
        self.text = text

    def __add__(self, other: Any) -> Symbol:
        return self.m.emit(f"{self.text} + {literal(other)}")

    def __radd__(self, other: Any) -> Symbol:
        return self.m.emit(f"{literal(other)} + {self.text}")

    def __sub__(self, other: Any) -> Symbol:
        return self.m.emit(f"{self.text} - {literal(other)}")

    def __rsub__(self, other: Any) -> Symbol:
        return self.m.emit(f"{literal(other)} - {self.text}")

    def __mul__(self, other: Any) -> Symbol:
        return self.m.emit(f"{self.text} * {literal(other)}")

    def __rmul__(self, other: Any) -> Symbol:
        return self.m.emit(f"{literal(other)} * {self.text}")

    def __neg__(self) -> Symbol:
        return self.m.emit(f"-{self.text}")

    def __bool__(self) -> bool:
        raise TypeError("a rule must choose with m.where, not with Python's if: it is evaluated over symbols too")


def literal(a: Any) -> str:
    """A number or symbol as C."""
    if isinstance(a, Symbol):
        return a.text
    a = float(a)
    if a != a:
        return "NAN"
    if a in (floats.inf, -floats.inf):
        return "INFINITY" if a > 0 else "(-INFINITY)"
    return repr(a) if a >= 0 and repr(a)[0] != "-" else f"({a!r})"


class Vector:
    """A list of unknown length: how to write its j-th entry."""

    def __init__(self, item: Callable[[str], Any], base: str = "") -> None:
        self.item = item
        self.base = base  # the name of the C array, where there is one


class Symbols(Algebra):
    """The algebra of C expressions; ``lines`` is the function body so far."""

    def __init__(self, rows: dict[str, Row], buffer: str = "") -> None:
        super().__init__(rows)
        self.lines: list[str] = []
        self.buffer = buffer  # the array that vectors may be stored into
        self._known: list[dict[str, Symbol]] = [{}]
        self._count = 0
        for name in ELEMENTARY:
            setattr(self, name, self._function(f"ieee_{name}"))
        for row in rows.values():
            if row.name not in ELEMENTARY and not hasattr(type(self), row.name):
                setattr(self, row.name, self._row_function(row))

    def emit(self, expression: str) -> Symbol:
        """A variable that holds this expression; the same one if the expression was met before."""
        for scope in self._known:
            if expression in scope:
                return scope[expression]
        symbol = Symbol(self, f"t{self._count}")
        self._count += 1
        self.line(f"const double {symbol.text} = {expression};")
        self._known[-1][expression] = symbol
        return symbol

    def line(self, text: str) -> None:
        self.lines.append("    " * len(self._known) + text)

    def _function(self, name: str) -> Callable[..., Symbol]:
        return lambda *args: self.emit(f"{name}({', '.join(literal(a) for a in args)})")

    def _row_function(self, row: Row) -> Callable[..., Any]:
        if not row.vectors:
            return self._function(f"vg_value_{row.name}")
        if not row.family:
            return lambda xs: self.emit(f"vg_value_{row.name}(n, {xs.base}, 0.0)")

        def family(xs: Vector) -> Vector:
            self.line(f"vg_value_{row.name}(n, {xs.base}, {self.buffer});")
            return self.array(self.buffer)

        return family

    # choices
    def lt(self, a: Any, b: Any) -> str:
        return f"{literal(a)} < {literal(b)}"

    def le(self, a: Any, b: Any) -> str:
        return f"{literal(a)} <= {literal(b)}"

    def eq(self, a: Any, b: Any) -> str:
        return f"{literal(a)} == {literal(b)}"

    def where(self, condition: str, a: Any, b: Any) -> Symbol:
        return self.emit(f"({condition}) ? {literal(a)} : {literal(b)}")

    # lists
    def array(self, name: str) -> Vector:
        return Vector(lambda j: self.emit(f"{name}[{j}]"), name)

    def each(self, f: Callable[..., Any], *vectors: Vector) -> Vector:
        return Vector(lambda j: f(*[vector.item(j) for vector in vectors]))

    def length(self, xs: Vector) -> Symbol:
        return self.emit("(double)n")

    def at(self, xs: Vector, i: Any) -> Symbol:
        return self.emit(f"{xs.base}[(ptrdiff_t){literal(i)}]")

    def one_hot(self, xs: Vector, i: Any) -> Vector:
        return Vector(lambda j: self.emit(f"((double){j} == {literal(i)}) ? 1.0 : 0.0"))

    def loop(self, body: Callable[[str], None], start: str = "0") -> None:
        """``for (j = start; j < n; j++)`` around the statements that ``body`` emits."""
        j = f"j{self._count}"
        self._count += 1
        self.line(f"for (ptrdiff_t {j} = {start}; {j} < n; {j}++) {{")
        self._known.append({})
        body(j)
        self._known.pop()
        self.line("}")

    def _fold(self, xs: Vector, start: str, step: Callable[[str, str], str]) -> Symbol:
        total = f"t{self._count}"
        self._count += 1
        self.line(f"double {total} = {start};")
        self.loop(lambda j: self.line(f"{total} = {step(total, literal(xs.item(j)))};"))
        return Symbol(self, total)

    def sum(self, xs: Vector) -> Symbol:
        total = self._fold(xs, "-0.0", lambda t, x: f"{t} + {x}")
        return self.emit(f"n ? {total.text} : 0.0")

    def product(self, xs: Vector) -> Symbol:
        return self._fold(xs, "1.0", lambda t, x: f"{t} * {x}")

    def largest(self, xs: Vector) -> Symbol:
        return self._fold(xs, f"{xs.base}[0]", lambda t, x: f"({x} > {t} || {x} != {x}) ? {x} : {t}")

    def smallest(self, xs: Vector) -> Symbol:
        return self._fold(xs, f"{xs.base}[0]", lambda t, x: f"({x} < {t} || {x} != {x}) ? {x} : {t}")

    def norm_of(self, xs: Vector) -> Symbol:
        return self.emit(f"ieee_norm_of(n, {xs.base})")

    def keep(self, xs: Vector) -> Vector:
        self.store(xs, self.buffer)
        return self.array(self.buffer)

    def products_of_others(self, xs: Vector) -> Vector:
        self.line(f"vg_products_of_others(n, {xs.base}, {self.buffer});")
        return self.array(self.buffer)

    def store(self, xs: Vector, target: str) -> None:
        """Write the entries of xs into the C array ``target``."""
        if xs.base != target:
            self.loop(lambda j: self.line(f"{target}[{j}] = {literal(xs.item(j))};"))
