"""The modes of calculation: ``no_grad``, ``strict``, ``remember_lines``, and being recorded.

A recording (``record.py``) is a mode because the engines must know of it: a comparison becomes a guard then, and
whatever would freeze a number raises.  The engines call the recorder, which they find here.

A mode belongs to the thread (and the asynchronous task) that entered it, and ends with its ``with``
block, whatever happens inside.  The native engine asks ``active`` first: while no thread is in a mode,
an operation pays nothing for them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from threading import Lock
from typing import Any

from valuegrad.errors import ForgetError

__all__ = [
    "LINES",
    "NO_GRAD",
    "RECORDING",
    "STRICT",
    "current",
    "no_grad",
    "recorder",
    "recording",
    "remember_lines",
    "strict",
    "without",
]

NO_GRAD = 1
STRICT = 2
RECORDING = 4
LINES = 8

variable: ContextVar[int] = ContextVar("valuegrad_mode", default=0)
_recorder: ContextVar[Any] = ContextVar("valuegrad_recorder", default=None)
_differentiating: ContextVar[tuple[Any, ...]] = ContextVar("valuegrad_differentiating", default=())
_lock = Lock()
_entered = 0  # how many with-blocks are open in all threads
_native_switch: Callable[[int], None] | None = None  # the native engine's function that learns of it


def current() -> int:
    """The modes this thread is in, as a sum of NO_GRAD, STRICT, RECORDING and LINES."""
    return variable.get()


def recorder() -> Any:
    """What records this thread's calculations (a ``record.Recorder``), or None."""
    return _recorder.get() if variable.get() & RECORDING else None


@contextmanager
def differentiating(inputs: list[Any]) -> Iterator[None]:
    """While an engine runs a function that ``vg.grad`` and its like differentiate by these Values."""
    token = _differentiating.set((*_differentiating.get(), inputs))
    try:
        yield
    finally:
        _differentiating.reset(token)


def differentiated() -> tuple[Any, ...]:
    """The inputs of the functions that are being differentiated in this thread, the outermost first."""
    return () if variable.get() & NO_GRAD else _differentiating.get()


def use_native_switch(switch: Callable[[int], None]) -> None:
    """Tell the native engine, from now on, how many with-blocks are open."""
    global _native_switch
    _native_switch = switch
    switch(_entered)


def _count(change: int) -> None:
    global _entered
    with _lock:
        _entered += change
        if _native_switch is not None:
            _native_switch(_entered)


@contextmanager
def _entering(mode: int) -> Iterator[None]:
    if mode in (NO_GRAD, STRICT) and variable.get() & RECORDING:
        name = "no_grad" if mode == NO_GRAD else "strict"
        advice = (
            "cut a gradient with vg.detach(value)" if mode == NO_GRAD else "enter it around the call of the function"
        )
        raise ForgetError(
            f"{name}() was entered inside a function that is recorded; a program does not know with-blocks: {advice}"
        )
    token = variable.set(variable.get() | mode)
    _count(1)
    try:
        yield
    finally:
        _count(-1)
        variable.reset(token)


@contextmanager
def recording(recorder: Any) -> Iterator[None]:
    """Inside this block a recorder sees the comparisons; the other modes are off."""
    token = _recorder.set(recorder)
    try:
        with without(NO_GRAD | STRICT), _entering(RECORDING):
            yield
    finally:
        _recorder.reset(token)


@contextmanager
def without(modes: int) -> Iterator[None]:
    """Inside this block these modes are off, whatever they are outside.

    Derivatives of functions need it: ``grad(f)(x)`` asks what f remembers, inside ``no_grad`` too.
    """
    token = variable.set(variable.get() & ~modes)
    try:
        yield
    finally:
        variable.reset(token)


def no_grad() -> AbstractContextManager[None]:
    """Inside this block results are leaves: nothing is remembered, so evaluation is cheap.

    Example:
        >>> import valuegrad as vg
        >>> with vg.no_grad():
        ...     y = vg.Value(3.0) * 2
        >>> y.data, y.children
        (6.0, ())
    """
    return _entering(NO_GRAD)


def strict() -> AbstractContextManager[None]:
    """Inside this block the operation that turns finite inputs into nan or inf raises StrictError.

    The message tells what ``vg.poison`` would: the operation, its inputs with their names, and the line that ran
    it.  A local gradient that is not
    finite counts too: the backward pass would carry it on.

    Example:
        >>> import valuegrad as vg
        >>> with vg.strict():
        ...     vg.log(vg.Value(0.0))
        Traceback (most recent call last):
            ...
        valuegrad.errors.StrictError: log(0.0) gave -inf ...
    """
    return _entering(STRICT)


def remember_lines() -> AbstractContextManager[None]:
    """Inside this block every Value remembers the source line that made it: ``y.line``, and what ``vg.poison`` tells.

    It is the line outside this package that was running.  A Value has room for the line's number, so nothing grows;
    an operation takes about twice its time.  More than 65,534 different lines are not told apart: further ones stay
    unknown.

    Example:
        >>> import valuegrad as vg
        >>> with vg.remember_lines():
        ...     y = vg.Value(3.0) * 2
        >>> y.line.partition(":")[2]
        '2, in <module>'
        >>> (y + 1).line is None
        True
    """
    return _entering(LINES)
