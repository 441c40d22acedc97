"""From the table to type stubs: what editors and type checkers know about Values.

Why: functions and methods come from the table when the package is imported or built, where a type
checker cannot see them.  ``python -m valuegrad.primitives.stubs`` (setup.py calls it before it builds)
writes, beside this package's other files:

  * ``_native.pyi``   what both engines offer: ``Value`` and a function for each row;
  * ``__init__.pyi``  the package's public names.

Every function is overloaded: plain numbers in, a float out; a Value anywhere among the arguments, a
Value out.  ``float(v)`` and ``int(v)`` are left out on purpose: they raise, so ``math.sin(v)`` is a type
error before it is a ForgetError.

Where to start reading: ``function``.
"""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

from valuegrad.primitives.digest import PACKAGE
from valuegrad.primitives.methods import METHODS
from valuegrad.primitives.row import Row
from valuegrad.primitives.table import TABLE

__all__ = ["write_all"]

HEAD = "# Generated from primitives/table.py by primitives/stubs.py.  Do not edit.\n"

ENGINE = '''
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final, SupportsFloat, SupportsIndex, TypeAlias, final, overload

from typing_extensions import Buffer

{explaining}
__all__ = [
{names}]

_Number: TypeAlias = SupportsFloat
_Operand: TypeAlias = Value | SupportsFloat

DIGEST: Final[str]

@final
class Value:
    """A number that remembers how it was computed."""

    def __init__(
        self,
        data: _Number,
        children: Iterable[Value] = (),
        local_grads: Iterable[_Number] = (),
        *,
        name: str | None = None,
    ) -> None: ...
    @property
    def data(self) -> float:
        """The number."""
    @data.setter
    def data(self, data: _Number) -> None: ...
    @property
    def grad(self) -> float:
        """∂root/∂self of the backward pass; a leaf's adds up over passes."""
    @grad.setter
    def grad(self, grad: _Number) -> None: ...
    @property
    def children(self) -> tuple[Value, ...]:
        """The Values this one was computed from."""
    @property
    def local_grads(self) -> tuple[float, ...]:
        """∂self/∂child, one for each child."""
    @property
    def name(self) -> str | None:
        """A name for people."""
    @name.setter
    def name(self, name: str | None) -> None: ...
    @property
    def op(self) -> str | None:
        """The operation: a row of the primitives table, "constant", "custom", or None for a leaf."""
    @property
    def static(self) -> float | None:
        """The operation's argument that no gradient flows to, such as the exponent of ``pow``."""
    @property
    def line(self) -> str | None:
        """The source line that made it, ``file.py:12, in f``, if ``vg.remember_lines()`` was on; else None."""
    @property
    def _created(self) -> int: ...
    @property
    def _line(self) -> int: ...
    @property
    def _data(self) -> float: ...
    @property
    def _grad(self) -> float: ...
    def backward(self) -> None:
        """Fill in ``grad`` of everything this Value was computed from: ∂self/∂each."""
    def zero_grad(self) -> None:
        """Set ``grad`` to 0."""
{methods}
    def pow(self, exponent: _Operand, /) -> Value:
        """self ** exponent; a plain exponent gets no gradient."""
    def __pow__(self, exponent: _Operand, /) -> Value: ...
    def __rpow__(self, base: _Number, /) -> Value: ...
    def __round__(self, digits: SupportsIndex | None = None, /) -> Value: ...
    def __divmod__(self, other: _Operand, /) -> tuple[Value, Value]: ...
    def __rdivmod__(self, other: _Number, /) -> tuple[Value, Value]: ...
    def __pos__(self) -> Value: ...
    def __bool__(self) -> bool: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    def __lt__(self, other: _Operand, /) -> bool: ...
    def __le__(self, other: _Operand, /) -> bool: ...
    def __gt__(self, other: _Operand, /) -> bool: ...
    def __ge__(self, other: _Operand, /) -> bool: ...
    def __hash__(self) -> int: ...
    def __format__(self, spec: str, /) -> str: ...

{functions}
@overload
def pow(base: Value, exponent: _Operand, /) -> Value:
    """base ** exponent; a plain exponent gets no gradient."""

@overload
def pow(base: _Operand, exponent: Value, /) -> Value: ...
@overload
def pow(base: _Number, exponent: _Number, /) -> float: ...
@overload
def where(condition: object, a: Value, b: _Operand, /) -> Value:
    """a if the condition holds, else b; the branch not taken gets no gradient."""

@overload
def where(condition: object, a: _Operand, b: Value, /) -> Value: ...
@overload
def where(condition: object, a: _Number, b: _Number, /) -> float: ...
@overload
def take(xs: Sequence[Value], index: SupportsIndex, /) -> Value:
    """Entry ``index`` of a list of numbers (or of lists of numbers)."""

@overload
def take(xs: Sequence[_Number], index: SupportsIndex, /) -> float: ...
@overload
def take(xs: Sequence[_Operand], index: SupportsIndex, /) -> Value | float: ...
@overload
def take(xs: Sequence[Sequence[Value]], index: SupportsIndex, /) -> list[Value]: ...
@overload
def take(xs: Sequence[Sequence[_Number]], index: SupportsIndex, /) -> list[float]: ...
@overload
def take(xs: Sequence[Sequence[_Operand]], index: SupportsIndex, /) -> list[Value | float]: ...
@overload
def detach(a: Value, /) -> Value:
    """The number alone: a new leaf that does not remember where it came from."""

@overload
def detach(a: _Number, /) -> float: ...
def identity(a: Value, /) -> Value:
    """``a`` itself, as a new Value that remembers ``a``."""

def graph(roots: Iterable[Value], since: int = 0) -> list[Value]:
    """All Values the roots were computed from, themselves included, oldest first; none created before ``since``."""

def recorded(code: int, data: float, children: Sequence[Value], local_grads: Sequence[float]) -> Value:
    """A Value of op "recorded": what only a recording has, such as a choice by a comparison."""

def export(
    roots: Sequence[Value], since: int, inputs: Sequence[Value]
) -> tuple[bytearray, bytearray, bytearray, bytearray, list[int], list[Value], int, int]:
    """What the roots were computed from since then, as the arrays of a ``valuegrad.graph.Graph``.

    (ops, starts, operands, numbers, the roots' nodes, older leaves that became inputs, the newest creation number of
    what became a constant though it was computed, how many opaque custom Values were met)
    """

def sweep(root: Value, since: int) -> None:
    """The backward pass, leaving alone what was created before ``since``."""

def read_data(values: Iterable[Value]) -> bytearray:
    """The numbers of many Values, as the bytes of float64s (for ``numpy.frombuffer``)."""

def read_grads(values: Iterable[Value]) -> bytearray:
    """The grads of many Values, as the bytes of float64s."""

def write_data(values: Iterable[Value], numbers: Buffer) -> None:
    """Set the numbers of many leaves from a buffer of float64s."""

def zero_grads(values: Iterable[Value]) -> None:
    """Set the grads of many Values to 0."""
'''
"""What an engine offers, less what each row adds."""

HANDWRITTEN = ("pow", "where", "take", "detach")
WHOLE_GRAPHS = ("export", "graph", "identity", "recorded", "sweep")
MANY_AT_A_TIME = ("read_data", "read_grads", "write_data", "zero_grads")

ANY_OPERANDS = "Value | float"


def static_parameter(row: Row) -> list[str]:
    """The parameter that no gradient flows to, if the row has one that callers give."""
    if not row.static or row.family:
        return []
    return [f"{row.static}: {'SupportsIndex' if row.integer_static or row.vectors else '_Number'}"]


def signatures(row: Row) -> list[tuple[str, str]]:
    """The overloads of a row's function: (parameters, result)."""
    names = row.arguments
    static = static_parameter(row)
    if row.variadic:
        xs = names[0]
        return [
            (f"first: Value, /, *{xs}: _Operand", "Value"),
            (f"first: _Number, second: Value, /, *{xs}: _Operand", "Value"),
            (f"first: _Number, /, *{xs}: _Number", "float"),
            (f"first: _Operand, /, *{xs}: _Operand", ANY_OPERANDS),
            (f"{xs}: Iterable[Value], /", "Value"),
            (f"{xs}: Iterable[_Number], /", "float"),
            (f"{xs}: Iterable[_Operand], /", ANY_OPERANDS),
        ]
    if row.vectors:
        # An empty sum of Values is the plain number 0.0; the stub says Value, as a type checker cannot know.
        result = "list[{}]" if row.family else "{}"
        lists = names[: row.vectors]
        choices: list[tuple[str, ...]] = [("Value",), ("_Number",), ("_Operand",)]
        if row.vectors == 2:
            choices = [("Value", "_Operand"), ("_Operand", "Value"), ("_Number", "_Number"), ("_Operand", "_Operand")]
        results = {"Value": result.format("Value"), "_Number": result.format("float")}
        results["_Operand"] = f"{results['Value']} | {results['_Number']}"
        return [
            (
                ", ".join([*[f"{xs}: Iterable[{kind}]" for xs, kind in zip(lists, kinds)], *static, "/"]),
                results["Value" if "Value" in kinds else kinds[0]],
            )
            for kinds in choices
        ]
    children = row.children
    overloads = [
        (
            [f"{name}: {'Value' if name == remembering else '_Operand'}" for name in children],
            "Value",
        )
        for remembering in children
    ]
    overloads.append(([f"{name}: _Number" for name in children], "float"))
    return [(", ".join([*parameters, *static, "/"]), result) for parameters, result in overloads]


def function(row: Row) -> str:
    """A row's function with its overloads; the first one carries the docstring."""
    text = ""
    for i, (parameters, result) in enumerate(signatures(row)):
        body = f'\n    """{row.doc}"""\n\n' if i == 0 else " ...\n"
        text += f"@overload\ndef {row.name}({parameters}) -> {result}:{body}"
    return text


def methods(row: Row) -> str:
    """A row's operators and its method."""
    text = ""
    if row.operator:
        other = ", other: {}, /" if len(row.arguments) == 2 else ""
        text += f"    def __{row.operator}__(self{other.format('_Operand')}) -> Value: ...\n"
        if other:
            text += f"    def __r{row.operator}__(self{other.format('_Number')}) -> Value: ...\n"
    if row.method:
        if row.variadic:
            parameters = "self, /, *others: _Operand"
        else:
            others = [f"{name}: _Operand" for name in row.children[1:]] + static_parameter(row)
            parameters = ", ".join(["self", *others, "/"] if others else ["self"])
        text += f'    def {row.method}({parameters}) -> Value:\n        """{row.doc}"""\n'
    return text


def explaining() -> str:
    """The imports of what the explaining methods give."""
    results = {method.module: method.result for method in METHODS.values() if "|" not in method.result}
    return "".join(f"from {module} import {result}\n" for module, result in sorted(results.items()))


def explaining_methods() -> str:
    """The methods of ``methods.py``."""
    text = ""
    for name, method in METHODS.items():
        listed = ["self", *method.parameters]
        parameters = ", ".join(listed)
        if len(listed) > 4:
            parameters = "".join(f"\n        {parameter}," for parameter in listed) + "\n    "
        text += f'    def {name}({parameters}) -> {method.result}:\n        """{method.doc}"""\n'
    return text


def engine() -> str:
    """``_native.pyi``."""
    rows = TABLE.values()
    functions = [row for row in rows if row.function]
    names = sorted(
        ["Value", *WHOLE_GRAPHS, *MANY_AT_A_TIME, *HANDWRITTEN, *[row.name for row in functions]], key=sort_key
    )
    return HEAD + ENGINE.lstrip("\n").format(
        names="".join(f'    "{name}",\n' for name in names),
        explaining=explaining(),
        methods=("".join(map(methods, rows)) + explaining_methods()).rstrip("\n"),
        functions="".join(map(function, functions)).rstrip("\n"),
    )


def package() -> str:
    """``__init__.pyi``: where each public name comes from."""
    valuegrad = import_module("valuegrad")
    sources = {
        "valuegrad._native": ["Value", *valuegrad.value.NAMES],
        "valuegrad.modes": ["no_grad", "remember_lines", "strict"],
    }
    sources["valuegrad.errors"] = list(valuegrad.errors.__all__)
    for name, module in valuegrad._LAZY.items():
        sources.setdefault("valuegrad" if module == f"valuegrad.{name}" else module, []).append(name)
    text = HEAD + "from typing import Final, Literal\n\n"
    for module in sorted(sources):
        for name in sorted(sources[module], key=import_key):
            text += f"from {module} import {name} as {name}\n"
    text += '\n__version__: Final[str]\nengine: Final[Literal["native", "readable"]]\nengine_reason: Final[str]\n\n'
    public = sorted(valuegrad.__all__, key=sort_key)
    return text + "__all__ = [\n" + "".join(f'    "{name}",\n' for name in public) + "]\n"


def sort_key(name: str) -> tuple[bool, bool, list[str | int]]:
    """The linter's order of names in ``__all__``: CONSTANTS, Classes, functions; log2 before log10."""
    parts: list[str | int] = [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]
    return not name.isupper(), name[0].islower(), parts


def import_key(name: str) -> tuple[bool, bool, list[str | int]]:
    """The linter's order of imported names: the same, but blind to case within a kind."""
    return *sort_key(name)[:2], sort_key(name.lower())[2]


def write_all(target: Path = PACKAGE) -> None:
    """Write the stubs; a file that would not change keeps its date."""
    for name, text in (("_native.pyi", engine()), ("__init__.pyi", package())):
        path = target / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write_all()
