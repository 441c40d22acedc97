"""What both engines accept, and what they say when they do not.

The engines share these functions so that they accept the same things and raise the same errors word
for word; the native engine comes here only when its fast path does not know what it was given.

Where to start reading: ``number``.
"""

from __future__ import annotations

import math
import operator
import sys
from collections.abc import Iterable, Sequence
from numbers import Real
from typing import Any

from valuegrad import lines, modes
from valuegrad.errors import (
    ForgetError,
    IndexRangeError,
    ShapeError,
    StrictError,
    ValueArgumentError,
    ValueTypeError,
)
from valuegrad.primitives import TABLE, Row


def shown(x: Any) -> str:
    """An object as an error message shows it: short, with its type."""
    text = repr(x)
    return f"{text if len(text) <= 60 else text[:57] + '...'} ({type(x).__name__})"


def is_masked(x: Any) -> bool:
    """Whether x is one of NumPy's masked arrays, or a masked entry of one."""
    masked = sys.modules.get("numpy.ma")  # where there is a masked array, this has been imported
    return masked is not None and isinstance(x, masked.MaskedArray)


def unmasked(x: Any, who: str) -> Any:
    """x, or ValueTypeError if it is a masked array: what NumPy makes of one has the numbers under the mask."""
    if is_masked(x):
        what = "a masked array" if x.ndim else "an entry of a masked array"
        raise ValueTypeError(
            f"{who} got {what}, whose mask would be lost; give its numbers alone, x.compressed(), or say what stands "
            "in the place of the others: x.filled(0.0)"
        )
    return x


def number(x: Any, who: str) -> float:
    """x as a float64, or ValueTypeError; ``who`` begins the message."""
    if type(x) is float:
        return x
    if isinstance(x, Real):
        try:
            return float(x)
        except OverflowError:
            raise ValueArgumentError(
                f"{who} got {shown(x)}, which is larger than any float64; give a number up to 1.8e308"
            ) from None
    if getattr(x, "ndim", None) == 0 and hasattr(x, "item"):  # an array of no dimensions is one number
        return number(unmasked(x, who).item(), who)
    if type(x).__name__ == "Value":
        raise ValueTypeError(
            f"{who} got {shown(x)}, which is a Value already; use it as it is, or its number alone: v.data"
        )
    raise ValueTypeError(f"{who} got {shown(x)}; expected a real number (int, float or NumPy scalar) or a Value")


def is_number(x: Any, value_type: type) -> bool:
    """Whether x can take part in arithmetic with Values."""
    if type(x) is value_type or isinstance(x, Real):
        return True
    # An array of no dimensions is one number; one of Python objects knows itself what to do with them.
    return getattr(x, "ndim", None) == 0 and hasattr(x, "item") and str(getattr(x, "dtype", "")) != "object"


def integer(x: Any, who: str) -> int:
    try:
        return operator.index(x)
    except TypeError:
        raise ValueTypeError(f"{who} got {shown(x)}; expected an integer") from None


def name(x: Any) -> str | None:
    if x is None or type(x) is str:
        return x
    raise ValueTypeError(f"Value.name got {shown(x)}; expected text or None")


def vector(xs: Any, row: Row) -> Sequence[Any]:
    """The entries of a list-like argument."""
    if type(xs) in (list, tuple):
        return xs  # type: ignore[no-any-return]
    if hasattr(xs, "tolist") and getattr(xs, "ndim", 0) == 1:
        return unmasked(xs, f"{row.name}()").tolist()  # type: ignore[no-any-return]
    if isinstance(xs, Iterable) and not isinstance(xs, (str, bytes)) and getattr(xs, "ndim", 1) == 1:
        return list(xs)
    raise ValueTypeError(f"{row.name}() got {shown(xs)}; expected a list of numbers and Values")


def simplified(xs: Iterable[Any], row: Row, value_type: type) -> list[Any]:
    """Entries of a list as Values and floats alone."""
    return [x if type(x) is value_type else number(x, f"{row.name}()") for x in tuple(xs)]


def variadic(numbers: tuple[Any, ...], value_type: type) -> Any:
    """``maximum(a, b)`` and ``maximum([a, b])`` mean the same."""
    return numbers[0] if len(numbers) == 1 and not is_number(numbers[0], value_type) else numbers


def check_lengths(row: Row, vectors: Sequence[Sequence[Any]]) -> None:
    lengths = [len(xs) for xs in vectors]
    if len(set(lengths)) > 1:
        names = " and ".join(f"{who} of length {n}" for who, n in zip(row.arguments, lengths))
        raise ShapeError(f"{row.name}() got {names}; give lists of one length")
    if not lengths[0] and not row.allows_empty:
        raise ShapeError(f"{row.name}() got an empty list; give at least one number")


def static(row: Row, x: Any, length: int | None = None) -> float:
    """The argument of a row that no gradient flows to; an index into ``length`` entries where there are any."""
    who = f"{row.name}(), {row.static}"
    if type(x).__name__ == "Value":
        raise ValueTypeError(f"{who} got {shown(x)}; no gradient flows there: give a plain number, or v.data")
    if length is not None:
        return float(position(integer(x, who), length, who))
    if row.integer_static:
        x = integer(x, who)
    fixed = number(x, who)
    if fixed < row.static_from:
        raise ValueArgumentError(f"{who} got {fixed:g}; expected {row.static_from:g} or more")
    return fixed


def position(index: int, length: int, who: str) -> int:
    """An index as Python's lists take it, from the end if negative."""
    if -length <= index < length:
        return index + length if index < 0 else index
    raise IndexRangeError(f"{who} got index {index}; there are {length} entries, so give {-length} to {length - 1}")


def entry(xs: Any, index: Any) -> tuple[Any, int]:
    """What ``take(xs, index)`` takes, and its position from the front."""
    if not hasattr(xs, "__getitem__") or not hasattr(xs, "__len__") or isinstance(xs, (str, bytes)):
        raise ValueTypeError(f"take() got {shown(xs)}; expected a list of numbers and Values")
    where = position(integer(index, "take()"), len(xs), "take()")
    return xs[where], where


def unequal(children: int, local_grads: int) -> str:
    return (
        f"Value() got {children} children and {local_grads} local gradients; "
        "give one local gradient (∂self/∂child) for each child"
    )


def unequal_write(values: int, numbers: int) -> str:
    return f"write_data() got {values} Values and {numbers} numbers; give one float64 for each Value"


def no_subclass(cls: type) -> str:
    return (
        f"class {cls.__name__} was derived from Value, which is final in both engines: "
        "keep a Value in an attribute instead, or write a function that makes one"
    )


def no_value(child: Any) -> str:
    return f"Value(), children got {shown(child)}; every child must be a Value: wrap a number as Value(number)"


def computed_data(value: Any) -> str:
    return (
        f"Value.data was set on {shown(value)}, which was computed by {value.op!r} from its children: "
        "its local gradients would no longer belong to its number; set data on leaves, or make a new Value"
    )


def forgetting(how: str, value: Any) -> str:
    if modes.current() & modes.RECORDING:
        return frozen(how, value)
    return (
        f"{how} got {shown(value)}: a Value must not forget how it was computed without a word; "
        "take the number with v.data, or stay differentiable with vg.sin(v) and the like (valuegrad.math)"
    )


def frozen(how: str, value: Any) -> str:
    """What is said of an attempt to look at a number, or to change one, inside a recorded function."""
    arrays = ", keep it in an array of objects (np.zeros(n, dtype=object))" if how.startswith("float(v)") else ""
    return (
        f"{how} got {shown(value)} inside a function that is recorded: the number would be frozen into the program, "
        f"for all inputs; compute with the Value itself (vg.where chooses, vg.detach cuts the gradient){arrays}, make "
        "an operation of your own with vg.primitive, or name the argument it comes from in static="
    )


def frozen_custom(value: Any) -> str:
    return (
        f"Value(data, children, local_grads) got the number {value!r} inside a function that is recorded: it would be "
        "frozen into the program, for all inputs; register the operation with vg.primitive(name, value, local_grads)"
    )


def refuse_while_recording(how: str, value: Any) -> None:
    """Raise ForgetError inside a recording."""
    if modes.current() & modes.RECORDING:
        raise ForgetError(frozen(how, value))


_COMPARISONS = {who: getattr(operator, who) for who in ("eq", "ne", "lt", "le", "gt", "ge")}


def compare(how: str, value: Any, other: Any, value_type: type) -> Any:
    """Values compare as their numbers do."""
    if type(other) is not value_type and not is_number(other, value_type):
        return NotImplemented
    recorder = modes.recorder()
    if recorder is not None:
        return recorder.compare(how, value, other)
    other_number = getattr(other, "_data") if type(other) is value_type else number(other, "comparison")  # noqa: B009
    return _COMPARISONS[how](value._data, other_number)


def representation(value: Any) -> str:
    label = "" if value.name is None else f", name={value.name!r}"
    return f"Value(data={value._data!r}, grad={value._grad!r}{label})"


def restore(value_type: type, data: float, grad: float, label: str | None) -> Any:
    value = value_type(data, name=label)
    value.grad = grad
    return value


def reduce(value: Any, value_type: type) -> tuple[Any, ...]:
    """How leaves are copied and pickled; a computed Value says that its graph would be lost."""
    if value.children:
        raise ForgetError(
            f"copying or pickling got {shown(value)}, which was computed by {value.op!r}: "
            "a copy would lose its children; copy the leaves, or its number v.data"
        )
    return restore, (value_type, value.data, value.grad, value.name)


def check_finite(row: Row, out: float, inputs: Sequence[Any], grads: Sequence[float], fixed: float | None) -> None:
    """In strict mode: raise if finite inputs gave an infinite or undefined result or local gradient.

    Args:
        row: the operation.
        out: its result.
        inputs: its children: Values and plain numbers.
        grads: its local gradients.
        fixed: its static argument.
    """
    numbers = [x if type(x) is float else x._data for x in inputs]
    if not all(map(math.isfinite, numbers)):
        return  # the poison is older: the operation that made it was the one to raise
    if math.isfinite(out) and all(map(math.isfinite, grads)):
        return
    what = f"gave {out!r}" if not math.isfinite(out) else f"gave {out!r} with local gradients {tuple(grads[:8])}"
    names = [None if type(x) is float else x.name for x in inputs]
    raise StrictError(
        f"{operation(row.name, numbers, names, fixed)} {what} from finite inputs, at {lines.caller()}; "
        f"expected finite numbers inside vg.strict(){hint(row.name, numbers)}"
    )


def operation(op: str, numbers: Sequence[float], names: Sequence[str | None], fixed: float | None) -> str:
    """An operation with its inputs, by name where they have one: ``log(margin=-1.0)``."""
    listed = [repr(x) if name is None else f"{name}={x!r}" for name, x in zip(names[:8], numbers)]
    if len(numbers) > 8:
        listed.append("...")
    row = TABLE.get(op)
    if fixed is not None:
        listed.append(f"{row.static if row is not None and row.static else 'static'}={fixed!r}")
    return f"{op}({', '.join(listed)})"


def hint(op: str, numbers: Sequence[float]) -> str:
    """What helps against an operation's nan or inf, as the rest of a sentence; "" if nothing is known."""
    if op in ("pow", "power") and numbers[0] < 0.0:
        return "; a negative number has no real fractional power: cbrt(x) gives the real cube root"
    return ""
