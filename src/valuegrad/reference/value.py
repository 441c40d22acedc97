"""A number that remembers, in plain Python: the class to read first.

A ``Value`` holds a number (``data``), how it was computed (``children``), how much a nudge to each
child changes it (``local_grads``), and what a nudge to it does to some final result (``grad``, filled
in by ``backward``).

What the operations compute, and their local gradients, stands in ``primitives/table.py``; what every
Python number can do besides (compare, print, refuse ``float(v)``) in ``protocol.py``; how the table's
rows become functions, operators and methods in ``operations.py``.

Where to start reading: ``Value.__init__``, then ``apply``, then ``sweep``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import count
from typing import Any

from valuegrad import arguments, lines, modes
from valuegrad.errors import ComputedValueError, ForgetError, ShapeError, ValueTypeError
from valuegrad.primitives import FLOATS, TABLE, Row
from valuegrad.reference.protocol import Protocol

clock = count(1)  # every Value gets the next number: a child is always older than its parents


class Value(Protocol):
    """A number that remembers how it was computed.

    Args:
        data: the number; int, float or NumPy scalar, kept as a float64.
        children: the Values it was computed from (none: a leaf, such as a parameter).
        local_grads: for each child, ∂self/∂child.
        name: a name for people.

    Raises:
        ValueTypeError: data is no real number, a child is no Value.
        ShapeError: children and local_grads differ in length.

    Example:
        >>> a, b = Value(3.0), Value(5.0)
        >>> c = a * b
        >>> c.backward()
        >>> c.data, a.grad, c.local_grads
        (15.0, 5.0, (5.0, 3.0))
    """

    __module__ = "valuegrad"  # under either engine: so pickles go from one to the other
    __slots__ = ("_children", "_created", "_data", "_grad", "_line", "_local_grads", "_name", "_op", "_static")

    def __init__(
        self,
        data: float,
        children: Sequence[Value] = (),
        local_grads: Sequence[float] = (),
        *,
        name: str | None = None,
    ) -> None:
        self._data = arguments.number(data, "Value()")
        self._grad = 0.0
        self._children = tuple(children)
        self._local_grads = tuple([arguments.number(grad, "Value(), local_grads") for grad in local_grads])
        self._name = arguments.name(name)
        self._op = "custom" if self._children else None
        self._static: float | None = None
        self._created = next(clock)
        mode = modes.current()
        self._line = lines.here() if mode & modes.LINES else 0
        for child in self._children:
            if type(child) is not Value:
                raise ValueTypeError(arguments.no_value(child))
        if len(self._children) != len(self._local_grads):
            raise ShapeError(arguments.unequal(len(self._children), len(self._local_grads)))
        if self._children and mode & modes.RECORDING:
            raise ForgetError(arguments.frozen_custom(self._data))

    def __init_subclass__(cls) -> None:
        raise ValueTypeError(arguments.no_subclass(cls))

    @property
    def data(self) -> float:
        """The number."""
        arguments.refuse_while_recording("v.data", self)
        return self._data

    @data.setter
    def data(self, data: float) -> None:
        if self._children:
            raise ComputedValueError(arguments.computed_data(self))
        arguments.refuse_while_recording("setting v.data", self)
        self._data = arguments.number(data, "Value.data")

    @property
    def grad(self) -> float:
        """∂root/∂self of the backward pass; a leaf's adds up over passes."""
        arguments.refuse_while_recording("v.grad", self)
        return self._grad

    @grad.setter
    def grad(self, grad: float) -> None:
        arguments.refuse_while_recording("setting v.grad", self)
        self._grad = arguments.number(grad, "Value.grad")

    @property
    def name(self) -> str | None:
        """A name for people."""
        return self._name

    @name.setter
    def name(self, name: str | None) -> None:
        self._name = arguments.name(name)

    def backward(self) -> None:
        """Fill in ``grad`` of everything this Value was computed from: ∂self/∂each."""
        arguments.refuse_while_recording("v.backward(), where vg.grad(f) can be recorded,", self)
        sweep(self, 0)

    def zero_grad(self) -> None:
        """Set ``grad`` to 0."""
        arguments.refuse_while_recording("v.zero_grad()", self)
        self._grad = 0.0


# -------------------------------------------------------------------------------------------- forward
def apply(row: Row, args: Sequence[Any], static: float | None = None) -> Any:
    """Apply a scalar operation; floats if all arguments are plain numbers."""
    numbers = [a._data if type(a) is Value else arguments.number(a, f"{row.name}()") for a in args]
    inputs = numbers if static is None else [*numbers, static]
    out = row.value(FLOATS, *inputs)
    if Value not in map(type, args):
        return out
    children = [a if type(a) is Value else x for a, x in zip(args, numbers)]
    return remembered(row, out, children, row.local_grads(FLOATS, *inputs, out), static)


def remembered(row: Row, out: float, children: Iterable[Any], grads: Iterable[float], static: float | None) -> Value:
    """The result of an operation; plain numbers among the children become constants."""
    mode = modes.current()
    if mode & modes.STRICT:
        children, grads = list(children), list(grads)
        arguments.check_finite(row, out, children, grads, static)
    if mode & modes.NO_GRAD:
        return Value(out)
    children = tuple([child if type(child) is Value else constant(child) for child in children])
    value = Value(out)  # after its constants: a child is older than its parents
    value._children = children
    value._local_grads = tuple(grads)
    value._op = row.name
    value._static = static
    return value


def constant(data: float) -> Value:
    """A plain number that met a Value: a leaf that collects no gradient."""
    value = Value(data)
    value._op = "constant"
    return value


# ------------------------------------------------------------------------------------------- backward
def sweep(root: Value, since: int) -> None:
    """The backward pass: from the newest Value to the oldest, so that parents come before their children.

    A computed Value's grad starts at 0 in each pass; a leaf's adds up over passes.
    """
    newest_first = graph([root], since)[::-1]
    for value in newest_first:
        if value._children:
            value._grad = 0.0
    root._grad += 1.0
    for value in newest_first:
        for child, local_grad in edges(value):
            if child._created >= since and child._op != "constant":
                child._grad += local_grad * value._grad


def graph(roots: Iterable[Value], since: int = 0) -> list[Value]:
    """All Values the roots were computed from, themselves included, oldest first; none created before ``since``."""
    seen: dict[int, Value] = {}
    stack = [root for root in roots if root._created >= since]
    while stack:
        value = stack.pop()
        if id(value) not in seen:
            seen[id(value)] = value
            stack.extend(child for child, _ in edges(value) if child._created >= since)
    return sorted(seen.values(), key=lambda value: value._created)


def edges(value: Value) -> list[tuple[Value, float]]:
    """A Value's children with their local gradients, less those that ``where`` did not take."""
    pairs = list(zip(value._children, value._local_grads))
    if value._op == "recorded" or (value._op in TABLE and TABLE[value._op].skips_zero):
        return [(child, local_grad) for child, local_grad in pairs if local_grad != 0.0]
    return pairs
