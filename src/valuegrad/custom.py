"""``vg.primitive``: an operation of your own that differentiates as often as you like.

Why: ``Value(f(x.data), [x], [df(x.data)])`` is an operation too, but its local gradients are numbers, so
a derivative of its derivative is not there.  A primitive brings its local gradients as a *rule*, which is
evaluated on numbers for a backward pass and on Values for derivatives of higher order, like a row of the
primitives table.

Data structures: a ``Primitive`` holds the two rules.  What it makes is a Value like any other, of op
"custom".  Only a derivative of higher order needs to know which primitive made a Value; those are asked
for by the functions in ``functional.py``, which look only at Values made during their own call.  So the
outermost such call keeps a table from creation number to ``Application``, in a context variable: it ends
with the call, belongs to the thread, and costs the engines nothing.  Inside a function that is recorded
(``record.py``) both rules become part of its graph.

Where to start reading: ``Primitive.__call__``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

from valuegrad import arguments, modes
from valuegrad.errors import DerivativeError, ShapeError, ValueArgumentError, ValuegradError, ValueTypeError
from valuegrad.primitives import Row
from valuegrad.value import Value

__all__ = ["Application", "Primitive", "application", "primitive", "remembering_rules"]


class Application(NamedTuple):
    """One use of a primitive, as a derivative of higher order needs it."""

    primitive: Primitive
    settings: Mapping[str, Any]

    def local_grads(self, children: Sequence[Any], out: Value) -> Sequence[Any]:
        """∂out/∂child for each child, as Values that remember the children."""
        return self.primitive._evaluate_local_grads(children, out, self.settings)


_applications: ContextVar[dict[int, Application] | None] = ContextVar("valuegrad_applications", default=None)


@contextmanager
def remembering_rules() -> Iterator[None]:
    """Inside this block primitives note the rules of the Values that they make."""
    if _applications.get() is not None:  # an outer derivative is under way: its table serves both
        yield
        return
    token = _applications.set({})
    try:
        yield
    finally:
        _applications.reset(token)


def application(value: Value) -> Application | None:
    """Which primitive made a Value of op "custom", if one did."""
    table = _applications.get()
    return None if table is None else table.get(value._created)


class Primitive:
    """A differentiable operation of the user's; see ``primitive``."""

    def __init__(self, name: str, value: Callable[..., Any], local_grads: Callable[..., Any]) -> None:
        if not isinstance(name, str) or not name:
            raise ValueTypeError(f"primitive() got the name {arguments.shown(name)}; expected text")
        for what, rule in (("value", value), ("local_grads", local_grads)):
            if not callable(rule):
                raise ValueTypeError(f"primitive({name!r}), {what} got {arguments.shown(rule)}; expected a function")
        self.__name__ = self.__qualname__ = name
        self.__doc__ = getattr(value, "__doc__", None)
        self._value = value
        self._local_grads = local_grads
        # What strict mode's message asks of an operation.
        self._row = Row(name, value=lambda m, *xs: value(*xs), local_grads=local_grads, doc=name)

    def __repr__(self) -> str:
        return f"<primitive {self.__name__}>"

    def __call__(self, *args: Any, **settings: Any) -> Any:
        """The value on numbers; on Values a Value that remembers them.  Keyword arguments get no gradient."""
        who = f"{self.__name__}()"
        recorder = modes.recorder() if Value in map(type, args) else None
        if recorder is not None:
            return self._record(recorder, args, settings)
        numbers = [a._data if type(a) is Value else arguments.number(a, who) for a in args]
        out = self._evaluate_value(numbers, settings)
        if Value not in map(type, args):
            return out
        grads = self._evaluate_local_grads(numbers, out, settings)
        local_grads = [arguments.number(grad, f"{who}, the local_grads rule's result") for grad in grads]
        mode = modes.current()
        if mode & modes.STRICT:
            arguments.check_finite(self._row, out, numbers, local_grads, None)
        if mode & modes.NO_GRAD:
            return Value(out)
        children = [a if type(a) is Value else _constant(x) for a, x in zip(args, numbers)]
        result = Value(out, children, local_grads)
        table = _applications.get()
        if table is not None:
            table[result._created] = Application(self, settings)
        return result

    def _record(self, recorder: Any, args: Sequence[Any], settings: Mapping[str, Any]) -> Value:
        """Inside a recording both rules are evaluated on Values; a value rule that refuses them is called as it is."""
        children = [a if type(a) is Value else Value(arguments.number(a, f"{self.__name__}()")) for a in args]
        value = self._recorded_value(recorder, children, settings)
        grads = self._evaluate_local_grads(children, value, settings)
        result: Value
        if not _depends(grads, value):
            result = recorder.custom(value, children, grads)
            return result
        # The derivative of `out` in the rule is the rule's result.  A graph has no circles: so there is an `out` for
        # each order, and the last one's derivative is nan, which is seen if anybody ever asks for more.
        result = recorder.custom(value, children, [math.nan] * len(children))
        for _ in range(recorder.orders):
            result = recorder.custom(value, children, self._evaluate_local_grads(children, result, settings))
        return result

    def _recorded_value(self, recorder: Any, children: Sequence[Value], settings: Mapping[str, Any]) -> Value:
        try:
            with recorder.attempt():
                out = self._value(*children, **settings)
                return out if type(out) is Value else Value(arguments.number(out, f"{self.__name__}(), value"))
        except Exception:  # it wants plain numbers
            with modes.without(modes.RECORDING):
                data = self._evaluate_value([child._data for child in children], settings)
            called: Value = recorder.call(lambda *xs: self._evaluate_value(xs, settings), data, children)
            return called

    def _evaluate_value(self, numbers: Sequence[float], settings: Mapping[str, Any]) -> float:
        try:
            out = self._value(*numbers, **settings)
        except ValuegradError:
            raise
        except Exception as error:
            raise ValueArgumentError(
                f"{self.__name__}({_listed(numbers)}): its value rule raised {type(error).__name__}: {error}; "
                "give a number for every number: vg.div, vg.log and their like have an answer (inf, nan) everywhere"
            ) from error
        return arguments.number(out, f"{self.__name__}(), the value rule's result")

    def _evaluate_local_grads(self, children: Sequence[Any], out: Any, settings: Mapping[str, Any]) -> Sequence[Any]:
        who = f"{self.__name__}({_listed(children)})"
        try:
            grads = self._local_grads(*children, out, **settings)
        except Exception as error:
            advice = "write it with + - * and vg.div, vg.exp and their like, which take numbers and Values"
            raise DerivativeError(
                f"{who}: its local_grads rule raised {type(error).__name__}: {error}; {advice}"
            ) from error
        if not isinstance(grads, (tuple, list)):
            raise ValueTypeError(
                f"{who}: its local_grads rule gave {arguments.shown(grads)}; "
                "expected a tuple with one local gradient (∂out/∂argument) for each argument, such as (g,)"
            )
        if len(grads) != len(children):
            raise ShapeError(
                f"{who}: its local_grads rule gave {len(grads)} local gradients for {len(children)} arguments; "
                "give one (∂out/∂argument) for each argument, 0.0 where the result does not depend on it"
            )
        return grads


def _listed(numbers: Sequence[Any]) -> str:
    shown = [repr(x._data if type(x) is Value else x) for x in numbers[:8]]
    return ", ".join([*shown, "..."] if len(numbers) > 8 else shown)


def _constant(x: float) -> Value:
    """A plain number as the engine itself remembers it: of op "constant", which collects no gradient."""
    return (Value(0.0) + x).children[1]


def _depends(results: Sequence[Any], on: Value) -> bool:
    """Whether anything that the results were computed from, themselves included, is this Value."""
    stack = [x for x in results if type(x) is Value]
    seen = set()
    while stack:
        value = stack.pop()
        if value is on:
            return True
        if value._created > on._created and value._created not in seen:
            seen.add(value._created)
            stack += value.children
    return False


def primitive(name: str, value: Callable[..., Any], local_grads: Callable[..., Any]) -> Primitive:
    """Make a differentiable operation from two rules.

    Args:
        name: its name, for messages.
        value: ``(*numbers) -> number``, the result for plain numbers.
        local_grads: ``(*arguments, out) -> tuple``, ∂out/∂argument for each argument.  The arguments and
            ``out`` are plain numbers for a first derivative, and Values for those of higher order, so the rule
            is made of ``+ - *`` and ``vg.*``.  (``/`` raises at a plain zero; ``vg.div`` gives inf or nan.)

    Returns:
        A function of numbers (giving a number) and of Values (giving a Value), on either engine.
        Keyword arguments are handed to both rules and get no gradient.

    Raises:
        ValueTypeError: the name is no text, or a rule no function; when called: a rule gives no number,
            or local_grads no tuple.
        ShapeError: when called: as many local gradients as arguments were expected.
        ValueArgumentError, DerivativeError: when called: a rule raised.

    Example:
        >>> import math
        >>> import valuegrad as vg
        >>> sinc = vg.primitive(
        ...     "sinc",
        ...     value=lambda x: math.sin(x) / x if x else 1.0,
        ...     local_grads=lambda x, out: (vg.div(vg.cos(x) - out, x) if x else -x / 3,),
        ... )
        >>> sinc(0.5)
        0.958851077208406
        >>> vg.grad(sinc)(0.5), vg.grad(vg.grad(sinc))(0.5)
        (-0.16253703..., -0.30870295...)
    """
    return Primitive(name, value, local_grads)
