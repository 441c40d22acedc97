"""The readable engine: a number that remembers, in plain Python.

This is the executable specification.  Every result, every gradient and every error of the native
engine is this one's, to the last bit; it is slower, and meant to be read.

A ``Value`` holds a number (``data``), how it was computed (``children``), how much a nudge to each
child changes it (``local_grads``), and what a nudge to it does to some final result (``grad``, filled
in by ``backward``).  What the operations compute stands in ``primitives/table.py``.

Where to start reading: ``Value.__init__``, then ``apply``, then ``sweep``.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from itertools import count
from typing import Any

from valuegrad import arguments, modes
from valuegrad.errors import ComputedValueError, ForgetError, ShapeError, ValueTypeError
from valuegrad.primitives import FLOATS, TABLE, Row

clock = count(1)  # every Value gets the next number: a child is always older than its parents


class Value:
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
    __slots__ = ("_children", "_created", "_data", "_grad", "_local_grads", "_name", "_op", "_static")

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
        for child in self._children:
            if type(child) is not Value:
                raise ValueTypeError(arguments.no_value(child))
        if len(self._children) != len(self._local_grads):
            raise ShapeError(arguments.unequal(len(self._children), len(self._local_grads)))

    def __init_subclass__(cls) -> None:
        raise ValueTypeError(arguments.no_subclass(cls))

    @property
    def data(self) -> float:
        """The number."""
        return self._data

    @data.setter
    def data(self, data: float) -> None:
        if self._children:
            raise ComputedValueError(arguments.computed_data(self))
        self._data = arguments.number(data, "Value.data")

    @property
    def grad(self) -> float:
        """∂root/∂self of the backward pass; a leaf's adds up over passes."""
        return self._grad

    @grad.setter
    def grad(self, grad: float) -> None:
        self._grad = arguments.number(grad, "Value.grad")

    @property
    def children(self) -> tuple[Value, ...]:
        """The Values this one was computed from."""
        return self._children

    @property
    def local_grads(self) -> tuple[float, ...]:
        """∂self/∂child, one for each child."""
        return self._local_grads

    @property
    def name(self) -> str | None:
        """A name for people."""
        return self._name

    @name.setter
    def name(self, name: str | None) -> None:
        self._name = arguments.name(name)

    @property
    def op(self) -> str | None:
        """The operation: a row of the primitives table, "constant", "custom", or None for a leaf."""
        return self._op

    @property
    def static(self) -> float | None:
        """The operation's argument that no gradient flows to, such as the exponent of ``pow``."""
        return self._static

    def backward(self) -> None:
        """Fill in ``grad`` of everything this Value was computed from: ∂self/∂each."""
        sweep(self, 0)

    def zero_grad(self) -> None:
        """Set ``grad`` to 0."""
        self._grad = 0.0

    # The other operators and methods come from the table, at the end of this file.
    def __pow__(self, exponent: Any) -> Value:
        return pow(self, exponent) if arguments.is_number(exponent, Value) else NotImplemented

    def __rpow__(self, base: Any) -> Value:
        return pow(base, self) if arguments.is_number(base, Value) else NotImplemented

    def __round__(self, digits: int | None = None) -> Value:
        return apply_static(TABLE["round"], (self,), arguments.integer(digits or 0, "round()"))

    def __divmod__(self, other: Any) -> tuple[Value, Value]:
        return (self // other, self % other) if arguments.is_number(other, Value) else NotImplemented

    def __rdivmod__(self, other: Any) -> tuple[Value, Value]:
        return (other // self, other % self) if arguments.is_number(other, Value) else NotImplemented

    def __pos__(self) -> Value:
        return self

    def __bool__(self) -> bool:
        return self._data != 0.0

    def __eq__(self, other: object) -> bool:
        return arguments.compare("eq", self, other, Value)

    def __ne__(self, other: object) -> bool:
        return arguments.compare("ne", self, other, Value)

    def __lt__(self, other: Any) -> bool:
        return arguments.compare("lt", self, other, Value)

    def __le__(self, other: Any) -> bool:
        return arguments.compare("le", self, other, Value)

    def __gt__(self, other: Any) -> bool:
        return arguments.compare("gt", self, other, Value)

    def __ge__(self, other: Any) -> bool:
        return arguments.compare("ge", self, other, Value)

    __hash__ = object.__hash__  # by identity, so that Values can be members of sets and keys of dicts

    def __repr__(self) -> str:
        return arguments.representation(self)

    def __format__(self, spec: str) -> str:
        return format(self._data, spec) if spec else repr(self)

    def __float__(self) -> float:
        raise ForgetError(arguments.forgetting("float(v) or math's functions", self))

    def __int__(self) -> int:
        raise ForgetError(arguments.forgetting("int(v)", self))

    def __complex__(self) -> complex:
        raise ForgetError(arguments.forgetting("complex(v)", self))

    def __reduce__(self) -> tuple[Any, ...]:
        return arguments.reduce(self, Value)


# ------------------------------------------------------------------------------------------ operations
def remembered(row: Row, out: float, children: Iterable[Any], grads: Iterable[float], static: float | None) -> Value:
    """The result of an operation; plain numbers among the children become constants."""
    mode = modes.current()
    if mode & modes.STRICT:
        children, grads = list(children), list(grads)
        arguments.check_finite(row, out, [c._data if type(c) is Value else c for c in children], grads, static)
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


def apply(row: Row, args: Sequence[Any], static: float | None = None) -> Any:
    """Apply a scalar operation; floats if all arguments are plain numbers."""
    numbers = [a._data if type(a) is Value else arguments.number(a, f"{row.name}()") for a in args]
    inputs = numbers if static is None else [*numbers, static]
    out = row.value(FLOATS, *inputs)
    if Value not in map(type, args):
        return out
    children = [a if type(a) is Value else x for a, x in zip(args, numbers)]
    return remembered(row, out, children, row.local_grads(FLOATS, *inputs, out), static)


def apply_static(row: Row, args: Sequence[Any], static: Any) -> Any:
    return apply(row, args, arguments.static(row, static))


def apply_lists(row: Row, lists: Sequence[Any], static: Any = None) -> Any:
    """Apply an operation on lists of numbers: one Value with a child for each entry."""
    vectors = [tuple(arguments.vector(xs, row)) for xs in lists]  # reading a number may change the caller's list
    arguments.check_lengths(row, vectors)
    numbers = [[x._data if type(x) is Value else arguments.number(x, f"{row.name}()") for x in xs] for xs in vectors]
    fixed = None if static is None else arguments.static(row, static, len(numbers[0]))
    inputs: list[Any] = numbers if fixed is None else [*numbers, fixed]
    out = row.value(FLOATS, *inputs)
    if not any(type(x) is Value for xs in vectors for x in xs):
        return out
    grads = row.local_grads(FLOATS, *inputs, out)
    flat = [x if type(x) is Value else d for xs, data in zip(vectors, numbers) for x, d in zip(xs, data)]
    return remembered(row, out, flat, [g for gs in grads for g in gs] if row.vectors == 2 else grads, fixed)


def apply_family(row: Row, xs: Any) -> list[Any]:
    """Apply an operation with one output for each entry of its list."""
    entries = tuple(arguments.vector(xs, row))
    numbers = [x._data if type(x) is Value else arguments.number(x, f"{row.name}()") for x in entries]
    outs = row.value(FLOATS, numbers) if numbers else []
    if Value not in map(type, entries):
        return list(outs)
    children = [x if type(x) is Value else constant(d) for x, d in zip(entries, numbers)]
    return [
        remembered(row, out, children, row.local_grads(FLOATS, numbers, outs, float(i)), float(i))
        for i, out in enumerate(outs)
    ]


def pow(base: Any, exponent: Any) -> Any:
    """base ** exponent; a plain exponent gets no gradient."""
    if type(exponent) is Value:
        return apply(TABLE["power"], (base if type(base) is Value else arguments.number(base, "pow()"), exponent))
    return apply(TABLE["pow"], (base,), arguments.number(exponent, "pow()"))


def where(condition: Any, a: Any, b: Any) -> Any:
    """a if the condition holds, else b; the branch not taken gets no gradient."""
    return apply(TABLE["where"], (a, b), 1.0 if condition else 0.0)


def take(xs: Any, index: int) -> Any:
    """Entry ``index`` of a list of numbers (or of lists of numbers)."""
    entry, position = arguments.entry(xs, index)
    if isinstance(entry, (list, tuple)):
        return [take(entry, i) for i in range(len(entry))]
    return apply(TABLE["take"], (entry,), float(position))


def detach(a: Any) -> Any:
    """The number alone: a new leaf that does not remember where it came from."""
    return Value(a._data) if type(a) is Value else arguments.number(a, "detach()")


# -------------------------------------------------------------------------------------------- backward
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
    if value._op in TABLE and TABLE[value._op].skips_zero:
        return [(child, local_grad) for child, local_grad in pairs if local_grad != 0.0]
    return pairs


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


def identity(a: Value, /) -> Value:
    """``a`` itself, as a new Value that remembers ``a``."""
    return apply(TABLE["identity"], (a,))  # type: ignore[no-any-return]


# ------------------------------------------------------------------------------------- many at a time
def read_data(values: Sequence[Value]) -> bytearray:
    """The numbers of many Values, as the bytes of float64s (for ``numpy.frombuffer``)."""
    return bytearray(array("d", [value._data for value in values]).tobytes())


def read_grads(values: Sequence[Value]) -> bytearray:
    """The grads of many Values, as the bytes of float64s."""
    return bytearray(array("d", [value._grad for value in values]).tobytes())


def write_data(values: Sequence[Value], numbers: Any) -> None:
    """Set the numbers of many leaves from a buffer of float64s."""
    numbers = memoryview(numbers).cast("B").cast("d")
    if len(numbers) != len(values):
        raise ShapeError(arguments.unequal_write(len(values), len(numbers)))
    for value, number in zip(values, numbers):
        value.data = number


def zero_grads(values: Iterable[Value]) -> None:
    """Set the grads of many Values to 0."""
    for value in values:
        value._grad = 0.0


# --------------------------------------------------------- what the table gives: functions, operators, methods
def _function(row: Row) -> Any:
    """The module's function for a row."""
    if row.family:
        return lambda xs, /: apply_family(row, xs)
    if row.variadic:
        return lambda *xs: apply_lists(row, [arguments.variadic(xs, Value)])
    if row.vectors:
        if row.static:
            return lambda xs, static, /: apply_lists(row, [xs], static)
        return (lambda xs, ys, /: apply_lists(row, [xs, ys])) if row.vectors == 2 else lambda xs, /: apply_lists(row, [xs])
    if row.static:
        return lambda a, static, /: apply_static(row, (a,), static)
    by_count = {
        1: lambda a, /: apply(row, (a,)),
        2: lambda a, b, /: apply(row, (a, b)),
        3: lambda a, b, c, /: apply(row, (a, b, c)),
    }
    return by_count[len(row.arguments)]


def _operator(row: Row, reflected: bool) -> Any:
    if len(row.arguments) == 1:
        return lambda self: apply(row, (self,))
    if reflected:
        return lambda self, other: apply(row, (other, self)) if arguments.is_number(other, Value) else NotImplemented
    return lambda self, other: apply(row, (self, other)) if arguments.is_number(other, Value) else NotImplemented


def _method(row: Row) -> Any:
    if row.variadic:
        return lambda self, *others: apply_lists(row, [(self, *others)])
    return _function(row)


def _attach() -> None:
    for row in TABLE.values():
        parts = {}
        if row.operator:
            parts[f"__{row.operator}__"] = _operator(row, reflected=False)
            if len(row.arguments) == 2:
                parts[f"__r{row.operator}__"] = _operator(row, reflected=True)
        if row.method:
            parts[row.method] = _method(row)
        for name, part in parts.items():
            part.__name__, part.__doc__ = name, row.doc
            part.__qualname__ = f"Value.{name}"
            setattr(Value, name, part)
        if row.function:
            globals()[row.name] = function = _function(row)
            function.__name__ = function.__qualname__ = row.name
            function.__doc__ = row.doc
    Value.pow = lambda self, exponent, /: pow(self, exponent)  # type: ignore[attr-defined]


_attach()
