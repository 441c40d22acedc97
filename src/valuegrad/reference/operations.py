"""How the rows of the primitives table become the readable engine's functions, operators and methods.

Each shape of operation (scalars, lists, families such as softmax) has one function that applies it; the
end of the file gives ``Value`` its operators and methods, and this module its functions, row by row.

Where to start reading: ``apply_lists``, then ``attach``.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from typing import Any

from valuegrad import arguments, modes
from valuegrad.errors import ShapeError
from valuegrad.primitives import FLOATS, TABLE, Row
from valuegrad.primitives.methods import METHODS, explained
from valuegrad.reference.value import Value, apply, constant, remembered


def apply_static(row: Row, args: Sequence[Any], static: Any) -> Any:
    """Apply a scalar operation whose last argument is a plain number."""
    return apply(row, args, arguments.static(row, static))


def apply_lists(row: Row, lists: Sequence[Any], static: Any = None) -> Any:
    """Apply an operation on lists of numbers: one Value with a child for each entry."""
    recorder = modes.recorder() if type(static) is Value else None
    if recorder is not None:
        return recorder.by_index(row, lists[0], static)
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
    recorder = None if type(condition) is bool else modes.recorder()
    if recorder is not None:
        return recorder.where(condition, a, b)
    return apply(TABLE["where"], (a, b), 1.0 if condition else 0.0)


def take(xs: Any, index: Any) -> Any:
    """Entry ``index`` of a list of numbers (or of lists of numbers)."""
    recorder = modes.recorder() if type(index) is Value else None
    if recorder is not None:
        return recorder.gather(xs, index)
    entry, position = arguments.entry(xs, index)
    if isinstance(entry, (list, tuple)):
        return [take(entry, i) for i in range(len(entry))]
    return apply(TABLE["take"], (entry,), float(position))


def detach(a: Any) -> Any:
    """The number alone: a new leaf that does not remember where it came from."""
    if type(a) is not Value:
        return arguments.number(a, "detach()")
    return apply(TABLE["detach"], (a,)) if modes.current() & modes.RECORDING else Value(a._data)


def identity(a: Value, /) -> Value:
    """``a`` itself, as a new Value that remembers ``a``."""
    return apply(TABLE["identity"], (a,))  # type: ignore[no-any-return]


# ------------------------------------------------------------------------------------- many at a time
def read_data(values: Sequence[Value]) -> bytearray:
    """The numbers of many Values, as the bytes of float64s (for ``numpy.frombuffer``)."""
    arguments.refuse_while_recording("read_data()", values)
    return bytearray(array("d", [value._data for value in values]).tobytes())


def read_grads(values: Sequence[Value]) -> bytearray:
    """The grads of many Values, as the bytes of float64s."""
    arguments.refuse_while_recording("read_grads()", values)
    return bytearray(array("d", [value._grad for value in values]).tobytes())


def write_data(values: Sequence[Value], numbers: Any) -> None:
    """Set the numbers of many leaves from a buffer of float64s."""
    arguments.refuse_while_recording("write_data()", values)
    numbers = memoryview(arguments.unmasked(numbers, "write_data()")).cast("B").cast("d")
    if len(numbers) != len(values):
        raise ShapeError(arguments.unequal_write(len(values), len(numbers)))
    for value, number in zip(values, numbers):
        value.data = number


def zero_grads(values: Iterable[Value]) -> None:
    """Set the grads of many Values to 0."""
    arguments.refuse_while_recording("zero_grads()", values)
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
        return (
            (lambda xs, ys, /: apply_lists(row, [xs, ys])) if row.vectors == 2 else lambda xs, /: apply_lists(row, [xs])
        )
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


def _explaining(name: str) -> Any:
    return lambda self, *args, **kwargs: explained(name, self, args, kwargs)


def by_hand() -> dict[str, Any]:
    """The operators that are more than one row: ``**`` (two rows), round, divmod."""

    def __pow__(self: Value, exponent: Any) -> Value:
        return pow(self, exponent) if arguments.is_number(exponent, Value) else NotImplemented

    def __rpow__(self: Value, base: Any) -> Value:
        return pow(base, self) if arguments.is_number(base, Value) else NotImplemented

    def __round__(self: Value, digits: int | None = None) -> Any:
        return apply_static(TABLE["round"], (self,), arguments.integer(digits or 0, "round()"))

    def __divmod__(self: Value, other: Any) -> tuple[Value, Value]:
        return (self // other, self % other) if arguments.is_number(other, Value) else NotImplemented

    def __rdivmod__(self: Value, other: Any) -> tuple[Value, Value]:
        return (other // self, other % self) if arguments.is_number(other, Value) else NotImplemented

    def method_pow(self: Value, exponent: Any, /) -> Any:
        """self ** exponent; a plain exponent gets no gradient."""
        return pow(self, exponent)

    parts = {name: part for name, part in locals().items() if name.startswith("__")}
    return {**parts, "pow": method_pow}


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
    for name, method in METHODS.items():
        part = _explaining(name)
        part.__doc__ = method.doc
        part.__name__, part.__qualname__ = name, f"Value.{name}"
        setattr(Value, name, part)
    for name, part in by_hand().items():
        part.__name__, part.__qualname__ = name, f"Value.{name}"
        setattr(Value, name, part)


_attach()


def offered() -> dict[str, Any]:
    """Everything that the engine offers beside Value: a function for each row, and those written above."""
    names = [row.name for row in TABLE.values() if row.function]
    names += ["pow", "where", "take", "detach", "identity", "read_data", "read_grads", "write_data", "zero_grads"]
    return {name: globals()[name] for name in names}
