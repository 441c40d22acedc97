"""Nudge tables: what happens to a result when one input moves a little, and what its gradient predicted.

Why: "if I nudge this input, how much does the output change?" is what a local gradient answers.  A table
puts the answer beside the facts: the operation is computed again with the nudged input, and the change is
compared with local gradient times nudge.

Data structures: a ``NudgeTable`` has one ``Nudge`` for each input; its ``cells`` are the texts that every
way of showing it (``tables.py``) lays out.

Where to start reading: ``nudge_table`` for one operation, ``nudge_effects`` for a whole expression.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from valuegrad import arguments
from valuegrad.errors import ValueArgumentError, ValueTypeError
from valuegrad.inspect.tables import Cells, Shown
from valuegrad.inspect.worked import ATOM, Text, Worked, Working, figure, number_text, written
from valuegrad.primitives import FLOATS, TABLE
from valuegrad.value import Value

__all__ = [
    "Nudge",
    "NudgeTable",
    "computed_from",
    "nudge_effects",
    "nudge_table",
    "nudge_tables",
    "recompute",
    "replay",
]

LONGEST_LABEL = 16  # characters; a longer operation is referred to by its number, as equations are: (2)
LONGEST_REASON = 12  # characters; a longer one would push the figures out of the table
WIDEST_CALCULATION = 20  # characters; with a wider one there is a line for each input too
MOST_COLUMNS = 3  # an operation of more inputs is shown with one line for each of them
WORKING = Working()


@dataclass(frozen=True)
class Nudge:
    """One input nudged.

    Args:
        label: the input as people write it.
        value: its number.
        nudged: the number after the nudge.
        calculation: the operation written with the nudged number, such as ``3.001 * 5``.
        new_result: the result computed again; None if the operation cannot be (one of the user's own).
        change: new result less result.
        gradient: the local gradient, or for a whole expression ∂result/∂input.
        reason: how the local gradient was worked out, such as ``1 / 0.1``; "" where that says nothing.
        predicted: gradient times nudge.
    """

    label: str
    value: float
    nudged: float
    calculation: str
    new_result: float | None
    change: float | None
    gradient: float
    reason: str
    predicted: float


@dataclass(frozen=True, repr=False)
class NudgeTable(Shown):
    """The nudges of one operation, or of a whole expression.

    Args:
        label: the operation as people write it.
        doc: what the operation is, in a sentence; "" for a whole expression.
        result: its result.
        rows: a ``Nudge`` for each input.
        nudge: by how much each input was moved.
        whole: it is about a whole expression: inputs and gradients, not children and local gradients.
    """

    label: str
    doc: str
    result: float
    rows: tuple[Nudge, ...]
    nudge: float
    whole: bool = False

    def cells(self) -> tuple[list[str], list[list[str]]]:
        """The table as texts: its header, and a line for each nudge."""
        widest = max([len(row.calculation) for row in self.rows], default=0)
        if self.whole or len(self.rows) > MOST_COLUMNS or widest > WIDEST_CALCULATION:
            header = ["Input", "Value", "Nudged to"]
            lines = [[row.label, figure(row.value), figure(row.nudged, row.value)] for row in self.rows]
        else:
            header = [*[row.label for row in self.rows], self.label]
            header.append(f"Nudge {self.rows[0].label} to {self._nudged(0)}" if len(self.rows) == 1 else "Nudge")
            start = [*[figure(row.value) for row in self.rows], figure(self.result)]
            lines = [[*start, row.calculation] for row in self.rows]
        header += ["New result", "Change", "Gradient" if self.whole else "Local grad", "Predicted"]
        if self.whole:
            header.append("Off by")
        for line, row in zip(lines, self.rows):
            line += self._outcome(row)
        return header, lines

    def _nudged(self, i: int) -> str:
        return figure(self.rows[i].nudged, self.rows[i].value)

    def _outcome(self, row: Nudge) -> list[str]:
        gradient = figure(row.gradient) + (f" (= {row.reason})" if row.reason else "")
        new = change = off = "?"
        if row.new_result is not None and row.change is not None:
            rounding = _ulp(self.result, row.new_result) + abs(row.gradient) * _ulp(row.nudged, row.value)
            new = figure(row.new_result, self.result)
            change = change_text(row.change, self.nudge, rounding)
            error = row.change - row.predicted
            off = "0" if abs(error) <= 2 * rounding else f"{error:.{1 if abs(error) < 0.1 else 3}g}"
        return [new, change, gradient, figure(row.predicted), *([off] if self.whole else [])]

    def notes(self) -> list[str]:
        """What a reader should know about these numbers."""
        found = [
            f"{row.label}: {figure(row.value)} + {figure(self.nudge)} is rounded to the same number again; "
            "a larger nudge would show a change."
            for row in self.rows
            if row.nudged == row.value and math.isfinite(row.value)
        ]
        if any(row.new_result is None for row in self.rows):
            found.append("?: an operation of your own brings its local gradients, but no rule to compute it again.")
        return found

    def _cells(self) -> Cells:
        header, lines = self.cells()
        return Cells(header, lines, notes=self.notes())


def change_text(change: float, nudge: float, rounding: float = 0.0) -> str:
    """A change for people: exact if three digits do, else rounded with a ~ to the nudge's decimals or one digit.

    Example:
        >>> change_text(0.005, 0.001), change_text(0.006001, 0.001), change_text(9.9995e-05, 0.001)
        ('0.005', '~0.006', '~0.0001')
    """
    if change == 0.0 or not math.isfinite(change):
        return figure(change + 0.0)  # never -0
    for digits in (1, 2, 3):
        text = f"{change:.{digits}g}"
        if abs(float(text) - change) <= rounding:
            return text
    if not 1e-6 <= abs(change) < 1e6:
        return f"~{change:.1e}"
    decimals = -int(f"{change:.0e}".split("e")[1])
    return f"~{change:.{max(decimals, -math.floor(math.log10(abs(nudge))), 0)}f}"


def _ulp(*numbers: float) -> float:
    """The rounding error of a sum or difference of these numbers."""
    return math.ulp(max(map(abs, numbers))) if all(map(math.isfinite, numbers)) else 0.0


# -------------------------------------------------------------------------------------------- tables
def nudge_table(value: Value, *, nudge: float = 0.001, labels: Mapping[Value, Text] | None = None) -> NudgeTable:
    """What a nudge to each child of one operation does to its result.

    Args:
        value: the operation's result.
        nudge: by how much each child is moved.
        labels: how its children are written, with precedence (default: by their names and numbers).

    Returns:
        The table; constants, which collect no gradient, are part of its label and have no line.

    Raises:
        ValueArgumentError: the Value has no children, or the nudge is 0, inf or nan.

    Example:
        >>> a, b = Value(3.0, name="a"), Value(5.0, name="b")
        >>> print(nudge_table(a * b).markdown())
        | a | b | a * b | Nudge | New result | Change | Local grad | Predicted |
        | --- | --- | --- | --- | --- | --- | --- | --- |
        | 3 | 5 | 15 | 3.001 * 5 | 15.005 | 0.005 | 5 (= b) | 0.005 |
        | 3 | 5 | 15 | 3 * 5.001 | 15.003 | 0.003 | 3 (= a) | 0.003 |
    """
    _check(value, nudge, "nudge_table()")
    if not value.children:
        raise ValueArgumentError(f"nudge_table() got {arguments.shown(value)}, a leaf; expected an operation's result")
    if labels is None:
        labels = {child: _leaf(child) for child in value.children}
    numbers = [child.data for child in value.children]
    parts = [labels[child] for child in value.children]
    reasons = _reasons(value, numbers, [text for text, _ in parts])
    rows = []
    for i, child in enumerate(value.children):
        if child.op != "constant":
            nudged = numbers.copy()
            nudged[i] += nudge
            shown = [number_text(x) for x in numbers]
            shown[i] = _nudged_text(nudged[i], numbers[i])
            calculation = written(_operation(value), shown, value.static)[0]
            new, gradient = recompute(value, nudged), value.local_grads[i]
            rows.append(
                _row(parts[i][0], numbers[i], nudged[i], calculation, value.data, new, gradient, reasons[i], nudge)
            )
    row = TABLE.get(value.op or "")
    label = written(_operation(value), parts, value.static)[0]
    return NudgeTable(label, row.doc if row else "An operation of your own.", value.data, tuple(rows), nudge)


def nudge_tables(root: Value, *, nudge: float = 0.001) -> list[NudgeTable]:
    """A table for every operation that a Value was computed with, oldest first.

    An operation whose text is longer than 16 characters is referred to by its number in later ones: ``(2)``
    is the result of the second table.  An operation that was written twice is shown once.

    Example:
        >>> a, b, c = Value(0.1, name="a"), Value(3.0, name="b"), Value(1.0, name="c")
        >>> [table.label for table in nudge_tables(a * b + c)]
        ['a * b', 'a * b + c']
    """
    _check(root, nudge, "nudge_tables()")
    labels: dict[Value, Text] = {}
    numbered: dict[tuple[str, float], Text] = {}
    tables: list[NudgeTable] = []
    for value in computed_from(root):
        if not value.children:
            labels[value] = _leaf(value)
            continue
        text = written(_operation(value), [labels[child] for child in value.children], value.static)
        key = (text[0], value.data)
        if key not in numbered:
            tables.append(nudge_table(value, nudge=nudge, labels=labels))
            numbered[key] = text if len(text[0]) <= LONGEST_LABEL else (f"({len(tables)})", ATOM)
        labels[value] = (value.name, ATOM) if value.name else numbered[key]
    return tables


def nudge_effects(
    root: Value,
    inputs: Iterable[Value] | None = None,
    *,
    nudge: float = 0.001,
    label: str = "result",
    again: Callable[[Value, float], float] | None = None,
) -> NudgeTable:
    """What a nudge to each input of a whole calculation does to its result.

    Args:
        root: the result.
        inputs: the Values to nudge (default: all the leaves that it was computed from, oldest first).
        nudge: by how much each is moved.
        label: what the result is called.
        again: ``(input, number) -> new result``, computing everything again. By default the operations
            that the Value remembers are replayed, with the choices (``where``, Python's ``if``) that were
            made then.

    Returns:
        The table; grads are as they were before the call.

    Raises:
        ValueArgumentError: the nudge is 0, inf or nan.

    Example:
        >>> a = Value(0.1, name="a")
        >>> row = nudge_effects(3 * a.log()).rows[0]
        >>> round(row.gradient), round(row.change, 6), row.predicted
        (30, 0.029851, 0.03)
    """
    _check(root, nudge, "nudge_effects()")
    order = computed_from(root)
    chosen = [v for v in order if not v.children and v.op != "constant"] if inputs is None else list(inputs)
    rows = []
    for value, gradient in zip(chosen, _gradients(root, order, chosen)):
        nudged = value.data + nudge
        new = again(value, nudged) if again is not None else replay(root, order, value, nudged)
        rows.append(_row(_leaf(value)[0], value.data, nudged, "", root.data, new, gradient, "", nudge))
    return NudgeTable(label, "", root.data, tuple(rows), nudge, whole=True)


def recompute(value: Value, numbers: Sequence[float]) -> float | None:
    """An operation's result for other numbers in its children's places; None if its rule is not known."""
    row = TABLE.get(value.op or "")
    if row is None:
        return None
    n = len(numbers) // max(row.vectors, 1)
    lists = [list(numbers[i * n : i * n + n]) for i in range(row.vectors)]
    args: list[Any] = lists or list(numbers)
    if row.family:
        return float(row.value(FLOATS, *args)[int(value.static or 0)])
    if value.static is not None:
        args.append(value.static)
    return float(row.value(FLOATS, *args))


# -------------------------------------------------------------------------------------------- how it is done
def _check(value: Value, nudge: float, who: str) -> None:
    if not isinstance(value, Value):
        raise ValueTypeError(f"{who} got {arguments.shown(value)}; expected a Value")
    size = arguments.number(nudge, f"{who}, nudge")
    if size == 0.0 or not math.isfinite(size):
        raise ValueArgumentError(f"{who}, nudge got {size:g}; expected a small number other than 0, such as 0.001")


def computed_from(root: Value) -> list[Value]:
    """All Values the root was computed from, oldest first; unlike the backward pass, both branches of ``where``."""
    seen: set[Value] = set()
    stack = [root]
    while stack:
        value = stack.pop()
        if value not in seen:
            seen.add(value)
            stack.extend(value.children)
    # Leaves first: an operation's constants may be of its own age.
    return sorted(seen, key=lambda value: (bool(value.children), value._created))


def _row(
    label: str,
    number: float,
    nudged: float,
    calculation: str,
    result: float,
    new: float | None,
    gradient: float,
    reason: str,
    nudge: float,
) -> Nudge:
    change = None if new is None else new - result
    return Nudge(label, number, nudged, calculation, new, change, gradient, reason, gradient * nudge)


def _leaf(value: Value) -> Text:
    return (value.name, ATOM) if value.name else number_text(value.data)


def _operation(value: Value) -> str:
    return value.op or "custom"


def _nudged_text(nudged: float, before: float) -> Text:
    text = figure(nudged, before)
    return text, number_text(nudged)[1]


def _reasons(value: Value, numbers: Sequence[float], labels: Sequence[str]) -> list[str]:
    """How each local gradient was worked out: the child it equals, or the rule in numbers if that is short."""
    row = TABLE.get(value.op or "")
    if row is None:
        return [""] * len(numbers)
    children = [Worked(x) for x in numbers]
    n = len(children) // max(row.vectors, 1)
    args: list[Any] = [children[i * n : i * n + n] for i in range(row.vectors)] or list(children)
    if row.family:
        outs = [Worked(x) for x in row.value(FLOATS, list(numbers))]
        grads = row.local_grads(WORKING, *args, outs, value.static)
    else:
        out = Worked(value.data, written(row.name, [child.part for child in children], value.static))
        grads = row.local_grads(WORKING, *args, *([] if value.static is None else [value.static]), out)
    flat = [grad for part in grads for grad in part] if row.vectors == 2 else grads
    return [_reason(grad, children, labels) for grad in flat]


def _reason(grad: Any, children: Sequence[Worked], labels: Sequence[str]) -> str:
    if not isinstance(grad, Worked):
        return ""
    for child, label in zip(children, labels):
        if grad is child:
            return label if label != figure(grad.number) else ""
    text = grad.part[0]
    return text if text != figure(grad.number) and len(text) <= LONGEST_REASON else ""


def replay(root: Value, order: Sequence[Value], changed: Value, number: float) -> float | None:
    """The result with another number in one place; operations that it does not reach stay as they are."""
    new: dict[Value, float] = {changed: number}
    for value in order:
        if value is not changed and any(child in new for child in value.children):
            result = recompute(value, [new.get(child, child.data) for child in value.children])
            if result is None:
                return None
            new[value] = result
    return new.get(root, root.data)


def _gradients(root: Value, order: Sequence[Value], inputs: Sequence[Value]) -> Iterator[float]:
    """∂root/∂input for each input; everybody's grads are put back."""
    kept = [(value, value.grad) for value in {*order, *inputs}]
    try:
        for value, _ in kept:
            value.grad = 0.0
        root.backward()
        found = [value.grad for value in inputs]
    finally:
        for value, grad in kept:
            value.grad = grad
    return iter(found)
