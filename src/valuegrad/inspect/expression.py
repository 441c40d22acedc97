"""Written expressions such as ``log(a*b) + c``: parsed safely, evaluated on Values.

Why: the terminal (``valuegrad explain``) and the playground let people write expressions.  Nothing they
write is ever run as Python: a tokenizer of its own knows numbers, names, operators and brackets, and a
precedence-climbing parser (Pratt 1973) knows the functions of the primitives table and nothing else.
Length and nesting are limited before anything is built, so hostile input ends in a clear message.

Data structures: an ``Expression`` holds ``Step``\\ s in the order of their evaluation; a step's operands
are the numbers of earlier steps.  So evaluating is one loop, however long the expression is.

Where to start reading: ``Expression``, then ``_Parser.expression``.
"""

from __future__ import annotations

import difflib
import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from valuegrad import value as engine
from valuegrad.errors import ExpressionError, ValuegradError
from valuegrad.primitives import FLOATS, TABLE
from valuegrad.value import Value

__all__ = ["MAX_DEPTH", "MAX_LENGTH", "Expression", "Step", "functions"]

MAX_LENGTH = 10_000
"""Characters in an expression."""
MAX_DEPTH = 60
"""Brackets within brackets, and chains of ``**`` or signs: each costs a few frames of Python's stack."""
MAX_ORDER = 1_000
"""The largest whole-number argument, such as polygamma's order, which is a loop's length."""

CONSTANTS = {"pi": 3.141592653589793, "inf": float("inf"), "nan": float("nan")}

# Precedence as in Python: how strongly an operator binds, and the row of the table that it means.
INFIX = {
    "+": (1, "add"),
    "-": (1, "sub"),
    "*": (2, "mul"),
    "/": (2, "div"),
    "//": (2, "floordiv"),
    "%": (2, "mod"),
    "**": (4, "pow"),
}
SIGN_PRECEDENCE = 3  # -a**2 is -(a**2), and -a*b is (-a)*b
OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "div": operator.truediv,
    "floordiv": operator.floordiv,
    "mod": operator.mod,
    "pow": operator.pow,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
COMPARISONS = ("<", "<=", ">", ">=", "==", "!=")

_TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)|(?P<name>[^\W\d]\w*)"
    r"|(?P<sign>\*\*|//|<=|>=|==|!=|[-+*/%()\[\],<>])|(?P<end>$)|(?P<other>.))",
    re.DOTALL,
)
_HINTS = {
    "^": "a power is written a**2",
    "=": "inputs are given after the expression, as in a=0.1",
    ".": "a function is written log(a), not a.log() or math.log(a)",
    ";": "give one expression",
    "{": "use round brackets",
    "}": "use round brackets",
    "×": "multiplication is written *",
    "·": "multiplication is written *",
    "÷": "division is written /",
    "−": "minus is written -",
    "–": "minus is written -",
}
_OTHER_NAMES = {
    "ln": "log",
    "max": "maximum",
    "min": "minimum",
    "average": "mean",
    "fabs": "abs",
    "arcsin": "asin",
    "arccos": "acos",
    "arctan": "atan",
    "logistic": "sigmoid",
}


@dataclass(frozen=True)
class Step:
    """One step of an evaluation.

    Args:
        op: ``"name"``, ``"number"``, ``"list"``, a comparison sign, or an operation of the primitives table.
        operands: the numbers of the earlier steps whose results it takes.
        position: where it stands in the text, counted from 0.
        kind: what it gives: ``"number"``, ``"list"`` or ``"condition"``.
        plain: it depends on no input, so that no gradient flows through it.
        name: the input's name.
        number: the number.
    """

    op: str
    operands: tuple[int, ...]
    position: int
    kind: str = "number"
    plain: bool = False
    name: str = ""
    number: float = 0.0


@dataclass(frozen=True)
class _Function:
    """How a function is called: what each of its arguments must be."""

    name: str
    parameters: tuple[str, ...]
    kinds: tuple[str, ...]  # "number", "list", "plain", "integer" or "condition"
    variadic: bool = False
    gives: str = "number"

    @property
    def written(self) -> str:
        if self.variadic:
            return f"{self.name}(a, b, ...)"
        shown = [f"[{p}, ...]" if kind == "list" else p for p, kind in zip(self.parameters, self.kinds)]
        return f"{self.name}({', '.join(shown)})"


def _functions() -> dict[str, _Function]:
    found = {
        "pow": _Function("pow", ("a", "b"), ("number", "number")),
        "where": _Function("where", ("condition", "a", "b"), ("condition", "number", "number")),
        "take": _Function("take", ("xs", "i"), ("list", "integer")),
        "detach": _Function("detach", ("a",), ("number",)),
    }
    for row in TABLE.values():
        if row.function:
            kinds = ["list" if i < row.vectors else "number" for i in range(len(row.arguments))]
            if row.static and not row.family:
                kinds[-1] = "integer" if row.integer_static else "plain"
            gives = "list" if row.family else "number"
            found[row.name] = _Function(row.name, row.arguments, tuple(kinds), row.variadic, gives)
    return dict(sorted(found.items()))


_FUNCTIONS = _functions()


def functions() -> list[str]:
    """The functions that an expression may use, as they are written.

    Example:
        >>> functions()[:3]
        ['abs(a)', 'acos(a)', 'acosh(a)']
    """
    return [function.written for function in _FUNCTIONS.values()]


class Expression:
    """A parsed expression.

    It may use numbers, names, ``+ - * / // % **``, the functions of the primitives table, lists in square
    brackets where a function takes one, comparisons as the condition of ``where``, and pi, inf and nan.

    Args:
        text: the expression, up to 10,000 characters.

    Raises:
        ExpressionError: it cannot be understood; the message shows the place and what is expected there.

    Example:
        >>> expression = Expression("log(a*b) + c")
        >>> expression.names
        ('a', 'b', 'c')
        >>> y = expression.evaluate({"a": 0.1, "b": 3, "c": 1})
        >>> round(y.data, 3), y.op
        (-0.204, 'add')
    """

    def __init__(self, text: str) -> None:
        if not isinstance(text, str):
            raise ExpressionError(f"an expression must be text, got {type(text).__name__}; write it as 'log(a*b) + c'")
        if len(text) > MAX_LENGTH:
            raise ExpressionError(
                f"the expression has {len(text):,} characters; expected at most {MAX_LENGTH:,}: give a shorter one"
            )
        self.text = text
        self.steps: tuple[Step, ...] = tuple(_Parser(text).parse())
        self.names: tuple[str, ...] = tuple(dict.fromkeys(step.name for step in self.steps if step.op == "name"))

    def __repr__(self) -> str:
        return f"Expression({self.text!r})"

    def evaluate(self, inputs: Mapping[str, float | Value], *, shared: bool = False) -> Value:
        """The expression's Value; plain inputs become leaves that carry their names.

        Args:
            inputs: a number or Value for each of ``names``, and no others.
            shared: what is written twice is computed once, and its Value used twice.

        Returns:
            The result, which remembers all of its operations on inputs (a leaf where there are none), and those on
            plain numbers that gave nan or inf, so that ``poison`` finds them.

        Raises:
            ExpressionError: an input is missing or has no place in the expression, or an operation
                refuses its arguments.
        """
        self._check(inputs)
        leaves = {name: x if isinstance(x, Value) else Value(x, name=name) for name, x in inputs.items()}
        results: list[Any] = []
        known: dict[tuple[Any, ...], Any] = {}
        for step in self.steps:
            arguments = [results[i] for i in step.operands]
            key = (step.op, step.name, step.number, *map(id, arguments))
            try:
                if not shared or key not in known:
                    known[key] = leaves[step.name] if step.op == "name" else _remembered(step, arguments)
                results.append(known[key])
            except ValuegradError as error:
                _fail(self.text, step.position, str(error))
        return results[-1] if isinstance(results[-1], Value) else Value(results[-1])

    def _check(self, inputs: Mapping[str, float | Value]) -> None:
        for name in inputs:
            if name not in self.names:
                takes = f"its inputs are {', '.join(self.names)}" if self.names else "it has no inputs"
                takes += _meant(name, self.names)
                raise ExpressionError(f"input {name!r} does not occur in {self._shown()}: {takes}")
        missing = [name for name in self.names if name not in inputs]
        if missing:
            listed = ("inputs " if len(missing) > 1 else "input ") + ", ".join(missing)
            give = " ".join(f"{name}=NUMBER" for name in missing)
            raise ExpressionError(f"{self._shown()} needs a number for the {listed}: give {give}")

    def _shown(self) -> str:
        return repr(self.text if len(self.text) <= 60 else self.text[:57] + "...")


def _remembered(step: Step, arguments: list[Any]) -> Any:
    """What a step gives; a Value, too, where plain numbers become nan or inf, as in ``log(0)``."""
    result = _result(step, arguments)
    if step.op == "number" or not isinstance(result, float) or math.isfinite(result):
        return result
    numbers = [x for argument in arguments for x in (argument if isinstance(argument, list) else [argument])]
    if not all(map(math.isfinite, numbers)):
        return result  # it went bad before
    first = next(i for i, x in enumerate(arguments) if isinstance(x, float | list))  # one Value is enough to remember
    x = arguments[first]
    arguments[first] = [*map(Value, x)] if isinstance(x, list) else Value(x)
    return _result(step, arguments)


def _result(step: Step, arguments: list[Any]) -> Any:
    """What a step gives for its arguments: numbers, Values, lists of them, or a truth value."""
    if step.op == "number":
        return step.number
    if step.op == "list":
        return arguments
    if step.op in COMPARISONS:
        return OPERATORS[step.op](*arguments)
    if step.op in OPERATORS:
        if any(isinstance(argument, Value) for argument in arguments):
            return OPERATORS[step.op](*arguments)
        return TABLE[step.op].value(FLOATS, *arguments)  # IEEE-754: Python's own / raises at 0
    if step.op == "neg":
        return -arguments[0]
    kinds = _FUNCTIONS[step.op].kinds
    if kinds[-1] == "integer":
        arguments[-1] = int(arguments[-1])
    return getattr(engine, step.op)(*arguments)


def _meant(name: str, known: Sequence[str]) -> str:
    close = [_OTHER_NAMES[name]] if name in _OTHER_NAMES else difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]!r}?" if close and close[0] in known else ""


def _fail(text: str, position: int, message: str) -> NoReturn:
    """Raise ExpressionError with the place marked."""
    start = max(0, position - 30)
    window = re.sub(r"\s", " ", text[start : start + 60])
    raise ExpressionError(f"{message}\n  {window}\n  {' ' * (position - start)}^ character {position + 1}")


class _Parser:
    """One pass over the text: each method reads a part of it and returns the number of its step."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.steps: list[Step] = []
        self.depth = 0
        self.advance(0)

    def parse(self) -> list[Step]:
        if self.kind == "end":
            self.fail(0, "the expression is empty; write one such as log(a*b) + c")
        last = self.expression(0)
        if self.kind != "end":
            self.expected("an operator or the end")
        if self.steps[last].kind != "number":
            what = {"list": "a list; pick a number from it with take([...], 0)", "condition": "a comparison"}
            self.fail(
                self.steps[last].position,
                f"the expression gives {what[self.steps[last].kind]}; expected a single number"
                + ("" if self.steps[last].kind == "list" else ": use it as where(condition, a, b)"),
            )
        return self.steps

    # ---------------------------------------------------------------------------------------- tokens
    def advance(self, position: int) -> None:
        """Read the token at or after ``position``."""
        match = _TOKEN.match(self.text, position)
        assert match is not None  # the last alternatives match anything
        assert match.lastgroup is not None
        self.kind = match.lastgroup
        self.token = match[self.kind]
        self.start, self.stop = match.span(self.kind)

    def accept(self, sign: str) -> bool:
        """Step over the sign if it comes next."""
        if self.kind != "sign" or self.token != sign:
            return False
        self.advance(self.stop)
        return True

    def require(self, sign: str, or_else: str = "") -> None:
        if not self.accept(sign):
            self.expected(f"{sign!r}{or_else}")

    def expected(self, what: str) -> NoReturn:
        got = "the end" if self.kind == "end" else repr(self.token)
        hint = f" ({_HINTS[self.token]})" if self.token in _HINTS else ""
        if self.kind == "name" and self.token in ("if", "else", "and", "or", "not", "is", "in"):
            hint = " (a choice is written where(a > 0, a, b))"
        self.fail(self.start, f"expected {what}, got {got}{hint}")

    def fail(self, position: int, message: str) -> NoReturn:
        _fail(self.text, position, message)

    def step(self, op: str, operands: Sequence[int], position: int, **fields: Any) -> int:
        plain = op != "name" and all(self.steps[i].plain for i in operands)
        self.steps.append(Step(op, tuple(operands), position, plain=plain, **fields))
        return len(self.steps) - 1

    # ---------------------------------------------------------------------------------------- grammar
    def expression(self, binding: int) -> int:
        """Operands joined by operators that bind at least as strongly as ``binding``."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            self.fail(self.start, f"nested deeper than {MAX_DEPTH} levels; expected a flatter expression")
        left = self.operand()
        while self.kind == "sign" and self.token in INFIX and INFIX[self.token][0] >= binding:
            (strength, op), at = INFIX[self.token], self.start
            self.number(left, f"before {self.token!r}")
            self.advance(self.stop)
            right = self.expression(strength if op == "pow" else strength + 1)  # a**b**c is a**(b**c)
            self.number(right, f"after the {op} sign")
            left = self.step(op, (left, right), at)
        if binding == 0 and self.kind == "sign" and self.token in COMPARISONS:
            sign, at = self.token, self.start
            self.number(left, f"before {sign!r}")
            self.advance(self.stop)
            right = self.expression(1)
            self.number(right, f"after {sign!r}")
            left = self.step(sign, (left, right), at, kind="condition")
        self.depth -= 1
        return left

    def operand(self) -> int:
        """A number, a name, a call, a list, something in brackets, or any of them with a sign."""
        token, at = self.token, self.start
        if self.kind == "number":
            self.advance(self.stop)
            number = float(token)
            if number in (float("inf"), float("-inf")):
                self.fail(at, "this number is larger than any float64; expected one up to 1.8e308, or write inf")
            return self.step("number", (), at, number=number)
        if self.kind == "name":
            self.advance(self.stop)
            if self.kind == "sign" and self.token == "(":
                return self.call(token, at)
            if token in CONSTANTS:
                return self.step("number", (), at, number=CONSTANTS[token])
            if self.kind == "sign" and self.token == "[":
                self.fail(self.start, "an entry of a list is written take([a, b], 0)")
            return self.step("name", (), at, name=token)
        if self.accept("-"):
            inner = self.expression(SIGN_PRECEDENCE)
            self.number(inner, "after '-'")
            return self.step("neg", (inner,), at)
        if self.accept("+"):
            inner = self.expression(SIGN_PRECEDENCE)
            self.number(inner, "after '+'")
            return inner
        if self.accept("("):
            inner = self.expression(0)
            self.require(")", " or an operator")
            return inner
        if self.accept("["):
            entries = self.listed("]")
            for entry in entries:
                self.number(entry, "in a list")
            return self.step("list", entries, at, kind="list")
        self.expected("a number, a name, a function or a bracket")

    def listed(self, closing: str) -> list[int]:
        """Expressions between commas, up to the closing bracket."""
        entries: list[int] = []
        if not self.accept(closing):
            entries.append(self.expression(0))
            while self.accept(","):
                entries.append(self.expression(0))
            self.require(closing, ", ',' or an operator")
        return entries

    def call(self, name: str, at: int) -> int:
        function = _FUNCTIONS.get(name)
        if function is None:
            self.fail(at, f"there is no function {name!r}{_meant(name, list(_FUNCTIONS))}")
        self.require("(")
        arguments = self.listed(")")
        if function.variadic:
            self.variadic(function, arguments, at)
        else:
            if len(arguments) != len(function.kinds):
                self.fail(at, f"{name} got {len(arguments)} arguments; expected {function.written}")
            for argument, kind in zip(arguments, function.kinds):
                self.argument(function, argument, kind)
        return self.step(name, arguments, at, kind=function.gives)

    def variadic(self, function: _Function, arguments: list[int], at: int) -> None:
        if not arguments:
            self.fail(at, f"{function.name} got no arguments; expected {function.written}")
        if len(arguments) > 1 or self.steps[arguments[0]].kind != "list":
            for argument in arguments:
                self.argument(function, argument, "number")

    def argument(self, function: _Function, i: int, kind: str) -> None:
        """Check that step i is what the function takes."""
        step, wanted = self.steps[i], f"expected {function.written}"
        if kind == "condition":
            if step.kind == "list":
                self.fail(step.position, f"{function.name} got a list for a condition; {wanted}: where(a > 0, a, b)")
        elif kind == "list":
            if step.kind != "list":
                self.fail(step.position, f"{function.name} got a {step.kind} for a list; {wanted}")
        else:
            self.number(i, f"in {function.written}")
            if kind != "number" and not step.plain:
                self.fail(
                    step.position,
                    f"{function.name} got an input where it takes a plain number, as no gradient flows there; {wanted}",
                )
            if kind == "integer":
                self.integer(function, i)

    def integer(self, function: _Function, i: int) -> None:
        step = self.steps[i]
        while step.op == "neg":
            step = self.steps[step.operands[0]]
        if step.op != "number" or not step.number <= MAX_ORDER or step.number != int(step.number):  # nan fails too
            self.fail(
                step.position, f"{function.written} takes a whole number up to {MAX_ORDER:,} as its last argument"
            )

    def number(self, i: int, where: str) -> None:
        """Check that step i gives a number."""
        if self.steps[i].kind != "number":
            self.fail(self.steps[i].position, f"a {self.steps[i].kind} stands where a number is expected, {where}")
