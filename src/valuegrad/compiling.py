"""``vg.compile``: from a function to its program, by options that are checked.

Where to start reading: ``compile``; what a program does is in ``program.py``.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, overload

from valuegrad import arguments
from valuegrad.errors import ValueArgumentError, ValueTypeError
from valuegrad.paths import Options
from valuegrad.program import Program

__all__ = ["compile"]


@overload
def compile(
    f: Callable[..., Any],
    *,
    threads: int = ...,
    dtype: str = ...,
    cache: bool | str | os.PathLike[str] = ...,
    strict: bool = ...,
    static: Any = ...,
    vectors: Any = ...,
    max_paths: int = ...,
    beyond: str = ...,
    reduce: str = ...,
) -> Program: ...


@overload
def compile(
    f: None = None,
    *,
    threads: int = ...,
    dtype: str = ...,
    cache: bool | str | os.PathLike[str] = ...,
    strict: bool = ...,
    static: Any = ...,
    vectors: Any = ...,
    max_paths: int = ...,
    beyond: str = ...,
    reduce: str = ...,
) -> Callable[[Callable[..., Any]], Program]: ...


def compile(
    f: Callable[..., Any] | None = None,
    *,
    threads: int = 1,
    dtype: str = "float64",
    cache: bool | str | os.PathLike[str] = True,
    strict: bool = False,
    static: Any = (),
    vectors: Any = (),
    max_paths: int = 64,
    beyond: str = "eager",
    reduce: str = "sum",
) -> Any:
    """Record a function once, and run it on whole batches: a decorator, with or without arguments.

    The function is ordinary Python on numbers, ``if`` and loops included.  Its first call runs it on Values and records
    what it does with them; later calls replay that.  Arrays are batches: each element is a *lane*, one call of the
    function.  A lane whose comparisons turn out otherwise is recorded on its own path when it is first met.

    Args:
        f: the function.  It gives numbers, or lists, tuples, dicts and arrays of them.
        threads: how many threads may share a batch; results do not depend on it.
        dtype: "float64" or "float32", or NumPy's type of that name.
        cache: whether large graphs, once lowered, are kept on disk for the next process; or the folder where.
        strict: whether results equal the engines' to the last bit; else elementary functions are within 4 ulp.
        static: the name or position of an argument (or a tuple of them) that is no number but steers the function,
            such as the length of a loop: it is recorded again for each.  Text, booleans, None and members of an
            Enum are static anyhow.
        vectors: the name or position of an argument (or a tuple of them) in which arrays are no batches: every lane
            gets them as a whole, such as the weights of a network.
        max_paths: how many paths through its branches are recorded, for each structure of arguments.
        beyond: what happens to lanes on further paths: "eager" runs them uncompiled, with one warning; "error"
            raises.
        reduce: what the gradient by an argument is that lanes share (a number, an array that was broadcast): the
            "sum" of the lanes' or their "mean".

    Returns:
        A ``Program``: called like the function, with numbers, arrays that broadcast as in NumPy, and lists, tuples and
        dicts of them.  It gives a float for each number of the result; if there are arrays, an array of their shape.
        ``vg.grad`` and its like take it and give programs.

    Raises:
        ValueTypeError: f is no function; or, when called, an argument is no number and not static.
        ShapeError: when called: arrays do not broadcast; or paths give results of different structure.
        ForgetError: when recorded: the function takes a number out of a Value.
        PathsError: when called: there are more paths than max_paths, with ``beyond="error"``.

    Example:
        >>> import numpy as np, valuegrad as vg
        >>> @vg.compile
        ... def tariff(kwh, price):
        ...     return kwh * price if kwh < 100 else 100 * price + (kwh - 100) * price / 2
        >>> tariff(50.0, 0.3)
        15.0
        >>> tariff(np.array([50.0, 200.0]), 0.3)
        array([15., 45.])
        >>> vg.grad(tariff)(np.array([50.0, 200.0]), 0.3)
        array([0.3 , 0.15])

    More: docs/compile.md.
    """
    if arguments.integer(threads, "compile(), threads") < 1:
        raise ValueArgumentError(f"compile() got threads={threads!r}; give 1 or more")
    if not isinstance(dtype, str):
        dtype = getattr(dtype, "__name__", None) or getattr(dtype, "name", dtype)  # np.float32, np.dtype("float32")
    _one_of("dtype", dtype, ("float64", "float32"))
    _one_of("beyond", beyond, ("eager", "error"))
    _one_of("reduce", reduce, ("sum", "mean"))
    if arguments.integer(max_paths, "compile(), max_paths") < 1:
        raise ValueArgumentError(f"compile() got max_paths={max_paths!r}; give 1 or more")
    options = Options(
        threads=int(threads),
        dtype=dtype,
        cache=cache if isinstance(cache, bool) else _folder(cache),
        strict=bool(strict),
        static=_several(static),
        vectors=_several(vectors),
        max_paths=int(max_paths),
        beyond=beyond,
        reduce=reduce,
    )

    def compiled(function: Callable[..., Any]) -> Program:
        if not callable(function):
            raise ValueTypeError(f"compile() got {arguments.shown(function)}; expected a function")
        if isinstance(function, Program):
            return function.with_options(options)
        return Program(function, options)

    return compiled if f is None else compiled(f)


def _folder(cache: Any) -> str:
    if not isinstance(cache, (str, os.PathLike)) or not os.fspath(cache):
        raise ValueTypeError(f"compile() got cache={cache!r}; expected True, False or a folder")
    return os.fsdecode(cache)


def _several(marked: Any) -> tuple[Any, ...]:
    return (marked,) if isinstance(marked, (str, int)) else tuple(marked)


def _one_of(name: str, given: Any, choices: tuple[str, ...]) -> None:
    if given not in choices:
        raise ValueArgumentError(f"compile() got {name}={given!r}; expected {' or '.join(map(repr, choices))}")
