"""``Formulas``: the algebra of readable formulas, and the page docs/primitives.md made with it.

Why: the documentation says what an operation computes.  Evaluating a row's own rules over formulas
makes it say exactly what the code does: ``local_grads=lambda m, a, out: (1.0 - out * out,)`` becomes
"1 - out * out".  ``python -m valuegrad.primitives.formulas`` (setup.py calls it before it builds in a
source tree) writes the page.

A list is a ``List``: a way to write its j-th entry.  A sum over it names its own index k.

Where to start reading: ``Formula``, then ``section``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from valuegrad.primitives import floats
from valuegrad.primitives.algebra import ELEMENTARY, Algebra, Floats
from valuegrad.primitives.digest import PACKAGE
from valuegrad.primitives.row import Row
from valuegrad.primitives.table import TABLE

__all__ = ["Formula", "Formulas", "gradients", "page", "value", "write_all"]

CHOICE, COMPARISON, SUM, PRODUCT, NEGATIVE, POWER, ATOM = range(7)
"""How tightly an expression binds, as in Python."""

CONSTANTS = {
    floats.LN2: "log(2)",
    floats.LN10: "log(10)",
    floats.SQRT_HALF: "sqrt(1/2)",
    floats.INV_SQRT_2PI: "(1/sqrt(2 pi))",
    floats.TWO_OVER_SQRT_PI: "(2/sqrt(pi))",
}


class Formula:
    """A formula as text that knows ``+ - *`` and where it needs parentheses."""

    def __init__(self, text: str, binds: int = ATOM) -> None:
        self.text = text
        self.binds = binds

    def within(self, binds: int) -> str:
        """The text, in parentheses where the surroundings bind more tightly."""
        return self.text if self.binds >= binds else f"({self.text})"

    def __add__(self, other: Any) -> Formula:
        return _infix(self, "+", other, SUM)

    def __radd__(self, other: Any) -> Formula:
        return _infix(other, "+", self, SUM)

    def __sub__(self, other: Any) -> Formula:
        return _infix(self, "-", other, SUM)

    def __rsub__(self, other: Any) -> Formula:
        return _infix(other, "-", self, SUM)

    def __mul__(self, other: Any) -> Formula:
        return _infix(self, "*", other, PRODUCT)

    def __rmul__(self, other: Any) -> Formula:
        return _infix(other, "*", self, PRODUCT)

    def __neg__(self) -> Formula:
        return Formula(f"-{self.within(NEGATIVE)}", NEGATIVE)


def _infix(a: Any, sign: str, b: Any, binds: int) -> Formula:
    # The right side of - and * keeps its parentheses: a - (b + c), and floats are not associative.
    return Formula(f"{formula(a).within(binds)} {sign} {formula(b).within(binds + 1)}", binds)


def formula(a: Any) -> Formula:
    """A formula, or a number as one."""
    if isinstance(a, Formula):
        return a
    if abs(a) in CONSTANTS:
        known = Formula(CONSTANTS[abs(a)])
        return known if a > 0.0 else -known
    return Formula(f"{a:.17g}", NEGATIVE if a < 0.0 else ATOM)


class List:
    """A list of unknown length: how to write its j-th entry, and its name where it has one."""

    def __init__(self, item: Callable[[str], Any], name: str = "") -> None:
        self.item = item
        self.name = name


class Formulas(Algebra):
    """Rules as formulas: what the documentation shows."""

    def __init__(self, rows: dict[str, Row]) -> None:
        super().__init__(rows)
        self._depth = 0  # of sums within sums, each with an index of its own
        for name in [*rows, *ELEMENTARY]:
            if not hasattr(type(self), name):
                setattr(self, name, self._function(name, rows.get(name)))

    @staticmethod
    def _function(name: str, row: Row | None) -> Callable[..., Any]:
        def call(*args: Any) -> Formula:
            listed = [a.name if isinstance(a, List) else formula(a).within(CHOICE) for a in args]
            return Formula(f"{name}({', '.join(listed)})")

        if row is None or not row.family:
            return call
        return lambda xs: List(lambda j: Formula(f"{name}({xs.name})[{j}]"))

    def div(self, a: Any, b: Any) -> Formula:
        """a / b."""
        return _infix(a, "/", b, PRODUCT)

    def pow(self, a: Any, b: Any) -> Formula:
        """a**b."""
        return Formula(f"{formula(a).within(ATOM)}**{formula(b).within(POWER)}", POWER)

    # choices
    def lt(self, a: Any, b: Any) -> Formula:
        """a < b."""
        return _infix(a, "<", b, COMPARISON)

    def le(self, a: Any, b: Any) -> Formula:
        """a <= b."""
        return _infix(a, "<=", b, COMPARISON)

    def eq(self, a: Any, b: Any) -> Formula:
        """a == b; only a nan differs from itself, and only a finite number leaves 0 when it is subtracted."""
        left, right = formula(a).text, formula(b).text
        if left == right:
            return Formula(f"{left} is not nan", COMPARISON)
        half, minus, rest = left.partition(" - ")
        if minus and half == rest and right == "0":
            return Formula(f"{half} is finite", COMPARISON)
        return _infix(a, "==", b, COMPARISON)

    def where(self, condition: Formula, a: Any, b: Any) -> Formula:
        """a if condition else b."""
        return Formula(f"{formula(a).within(SUM)} if {condition.text} else {formula(b).within(SUM)}", CHOICE)

    # lists
    def each(self, f: Callable[..., Any], *lists: List) -> List:
        """f of the entries, one by one."""
        return List(lambda j: f(*[xs.item(j) for xs in lists]))

    def length(self, xs: List) -> Formula:
        """How many entries there are."""
        return Formula("n")

    def at(self, xs: List, i: Any) -> Formula:
        """Entry i."""
        return formula(xs.item(formula(i).text))

    def one_hot(self, xs: List, i: Any) -> List:
        """1 at entry i, else 0."""
        return List(lambda j: Formula(f"1 if {j} == {formula(i).text} else 0", CHOICE))

    def keep(self, xs: List) -> List:
        """The list itself."""
        return xs

    def _over_all(self, name: str, xs: List) -> Formula:
        if xs.name:
            return Formula(f"{name}({xs.name})")
        index = "klm"[self._depth]
        self._depth += 1
        text = formula(xs.item(index)).text
        self._depth -= 1
        return Formula(f"{name}({text} for each {index})")

    def sum(self, xs: List) -> Formula:
        """The sum of all entries."""
        return self._over_all("sum", xs)

    def product(self, xs: List) -> Formula:
        """The product of all entries."""
        return self._over_all("product", xs)

    def largest(self, xs: List) -> Formula:
        """The largest entry."""
        return self._over_all("largest", xs)

    def smallest(self, xs: List) -> Formula:
        """The smallest entry."""
        return self._over_all("smallest", xs)

    def norm_of(self, xs: List) -> Formula:
        """The Euclidean length."""
        return Formula(f"sqrt(sum({formula(xs.item('k')).text}**2 for each k))")

    def products_of_others(self, xs: List) -> List:
        """For each j the product of all entries but the j-th."""
        return List(lambda j: Formula(f"product({formula(xs.item('k')).text} for each k but {j})"))


# ------------------------------------------------------------------------------------ a row's formulas
def _arguments(row: Row) -> list[Any]:
    def entries(name: str) -> List:
        return List(lambda j: Formula(f"{name}[{j}]"), name)

    return [entries(name) if i < row.vectors else Formula(name) for i, name in enumerate(row.arguments)]


def _text(result: Any) -> str:
    return formula(result.item("j") if isinstance(result, List) else result).text


def value(row: Row) -> str:
    """The formula of a row's value; of entry j where it has many outputs."""
    return _text(row.value(Formulas(TABLE), *_arguments(row)))


def gradients(row: Row) -> list[tuple[str, str]]:
    """For each child its name and the formula of ∂out/∂child; ``xs[j]`` stands for every entry of a list."""
    m = Formulas(TABLE)
    if row.family:
        outs = List(lambda j: Formula(f"out[{j}]"), "out")
        results = row.local_grads(m, *_arguments(row), outs, Formula("i"))
    else:
        results = row.local_grads(m, *_arguments(row), Formula("out"))
    results = results if isinstance(results, tuple) else (results,)
    names = [f"{name}[j]" if i < row.vectors else name for i, name in enumerate(row.children)]
    return [(name, _text(result)) for name, result in zip(names, results)]


# ------------------------------------------------------------------------------------------- the page
INTRODUCTION = """\
<!-- Generated from src/valuegrad/primitives/table.py by primitives/formulas.py.  Do not edit. -->

# The primitives

Every elementary operation, with the value and the local gradients (∂out/∂child) that both engines
compute. The formulas are the rules of the [primitives table](../src/valuegrad/primitives/table.py)
themselves, evaluated over formulas instead of numbers; [adding an operation](adding-an-operation.md)
takes one row there.

- `out` is the operation's own result; `xs[j]` stands for each entry of a list, `n` for its length.
- `/`, `**`, `log` and all others follow IEEE-754: they give inf and nan where Python's raise.
- "Checked on" is the interval for each argument from which the tests draw thousands of points; there
  value and local gradients agree with 50-digit arithmetic within the tolerance given, and a tolerance
  that is not the default {rtol:g} has its reason.
- "At the edges" and "Examples" list results, value | local gradients: of a scalar operation at zeros,
  infinities, nan and outside its domain, of one on lists at the tests' samples.
"""


def calls(row: Row) -> str:
    """How to call it: as a function, as a method, with an operator."""
    listed = ", ".join(f"*{name}" if row.variadic else name for name in row.children)
    static = f", {row.static}" if row.static and not row.family else ""
    ways = [f"`vg.{row.name}({listed}{static})`"] if row.function else []
    if row.name in CALLS:
        ways.append(CALLS[row.name])
    if row.method:
        others = ["*others"] if row.variadic else [*row.arguments[1:]]
        ways.append(f"`{'a' if row.variadic else row.arguments[0]}.{row.method}({', '.join(others)})`")
    if row.operator in OPERATORS:
        ways.append(f"`{OPERATORS[row.operator].format(*row.arguments)}`")
    return ", ".join(ways)


OPERATORS = {
    "add": "{} + {}",
    "sub": "{} - {}",
    "mul": "{} * {}",
    "truediv": "{} / {}",
    "floordiv": "{} // {}",
    "mod": "{} % {}",
    "neg": "-{}",
    "abs": "abs({})",
    "floor": "math.floor({})",
    "ceil": "math.ceil({})",
    "trunc": "math.trunc({})",
}
CALLS = {
    "pow": "`vg.pow(a, n)`, `a.pow(n)`, `a ** n` with a plain number n",
    "power": "`vg.pow(a, b)`, `a.pow(b)`, `a ** b` with a Value b",
    "round": "`round(a, digits)`",
    "where": "`vg.where(condition, a, b)`",
    "take": "`vg.take(xs, i)`",
    "identity": "made by the library itself where an input must become a new Value",
}
"""Operations whose call does not follow from the row."""


def shown(x: Any) -> str:
    """A number, or a list of them, in the page: short, and the same on every machine."""
    return f"[{', '.join(map(shown, x))}]" if isinstance(x, (list, tuple)) else f"{x:.6g}"


def edges(row: Row) -> list[str]:
    """The results at the samples that are zero, infinite, nan, or lead there; of lists, at all samples."""
    m = Floats(TABLE)
    lines = []
    for sample in row.samples:
        at = ", ".join(f"{name} = {shown(x)}" for name, x in zip(row.arguments, sample))
        out = row.value(m, *sample)
        if row.family:  # the local gradients of output 0
            lines.append(f"{at}: {shown(out)} | {shown(row.local_grads(m, *sample, out, 0.0))} for entry 0")
            continue
        grads = row.local_grads(m, *sample, out)
        if row.vectors or 0.0 in sample or not all(map(math.isfinite, [*sample, out, *grads])):
            lines.append(f"{at}: {shown(out)} | {', '.join(map(shown, grads)) or 'none'}")
    return lines


def section(row: Row) -> str:
    """One row of the table as a section of the page."""
    text = f"\n## {row.name}\n\n{row.doc}\n\n- Call: {calls(row)}\n"
    text += f"- {'out[j]' if row.family else 'out'}: `{value(row)}`\n"
    for child, gradient in gradients(row):
        text += f"- ∂{'out[i]' if row.family else 'out'}/∂{child}: `{gradient}`\n"
    names = [f"{name}[j]" if i < row.vectors else name for i, name in enumerate(row.arguments)]
    text += f"- Checked on: {', '.join(_interval(name, *ends) for name, ends in zip(names, row.domain))}"
    tolerance = f"relative {row.rtol:g}" + (f", absolute {row.atol:g}" if row.atol else "")
    text += f"; tolerance {tolerance}" + (f" ({row.why})" if row.why else "") + "\n"
    if edges(row):
        text += f"- {'Examples' if row.vectors else 'At the edges'}:\n" + "".join(
            f"  - {line}\n" for line in edges(row)
        )
    return text


def _interval(name: str, low: float, high: float) -> str:
    return f"{name} = {low:g}" if low == high else f"{name} from {low:g} to {high:g}"


def page(rows: Sequence[Row] = tuple(TABLE.values())) -> str:
    """docs/primitives.md."""
    contents = ", ".join(f"[{row.name}](#{row.name})" for row in rows)
    return INTRODUCTION.format(rtol=Row.rtol) + f"\n{contents}\n" + "".join(map(section, rows))


def write_all(root: Path = PACKAGE.parent.parent) -> None:
    """Write the page, in a source tree; a page that would not change keeps its date."""
    path = root / "docs" / "primitives.md"
    if not (root / "pyproject.toml").exists() or not path.parent.is_dir():
        return  # an installed package has no pages
    if not path.exists() or path.read_text(encoding="utf-8") != page():
        path.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    write_all()
