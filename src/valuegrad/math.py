"""A drop-in for Python's ``math``: floats in, floats out; Values in, Values out.

    >>> from valuegrad import Value, math
    >>> math.sqrt(2.0), math.sqrt(Value(2.0))
    (1.4142135623730951, Value(data=1.4142135623730951, grad=0.0))

What differs from Python's, on purpose (docs/semantics.md): no function raises because of a number.
``log(0)`` is -inf, ``sqrt(-1)`` nan, ``exp(1000)`` inf, as in IEEE-754 arithmetic.  ``floor``, ``ceil`` and
``trunc`` give integers for plain finite numbers, as Python's do; they give inf and nan back as they are, and
Values for Values.  Functions that ask about a number (``isnan``, ``isclose`` ...) compare, so inside a function
that is recorded (``record.py``) they are comparisons too.
Functions of integers (``gcd``, ``comb`` ...) are Python's own and refuse Values; so is whatever a newer
Python may add.

Where to start reading: the first imports are the engine's own functions; the rest stands here, made of
those, or of primitives (``custom.py``) where rounding once matters.
"""

from __future__ import annotations

import math as _math
from collections.abc import Callable as _Callable
from collections.abc import Iterable as _Iterable
from fractions import Fraction as _Fraction
from math import comb, e, factorial, gcd, inf, isqrt, lcm, nan, perm, pi, tau
from typing import Any as _Any

import valuegrad as _vg
from valuegrad import (
    Value,
    acos,
    acosh,
    asin,
    asinh,
    atan,
    atan2,
    atanh,
    cbrt,
    cos,
    cosh,
    erf,
    erfc,
    exp,
    exp2,
    expm1,
    fmod,
    lgamma,
    log1p,
    pow,
    sin,
    sinh,
    sqrt,
    tan,
    tanh,
)
from valuegrad import abs as fabs
from valuegrad import arguments as _arguments
from valuegrad import hypot as _hypot2
from valuegrad import modes as _modes
from valuegrad.custom import Primitive as _Primitive
from valuegrad.errors import ShapeError as _ShapeError
from valuegrad.errors import ValueArgumentError as _ValueArgumentError
from valuegrad.errors import ValueTypeError as _ValueTypeError


def _number(x: _Any, who: str) -> float:
    """The number of a Value, or a plain number as a float."""
    if type(x) is Value:
        _arguments.refuse_while_recording(f"{who}()", x)
        return x._data
    return _arguments.number(x, f"{who}()")


def _known(x: _Any, who: str) -> _Any:
    """A Value as it is, or a plain number as a float."""
    return x if type(x) is Value else _arguments.number(x, f"{who}()")


def _entries(xs: _Any, who: str) -> list[_Any]:
    if isinstance(xs, _Iterable) and not isinstance(xs, (str, bytes)):
        return list(xs)
    raise _ValueTypeError(f"{who}() got {_arguments.shown(xs)}; expected a list of numbers and Values")


def _pairs(p: _Any, q: _Any, who: str) -> list[tuple[_Any, _Any]]:
    p, q = _entries(p, who), _entries(q, who)
    if len(p) != len(q):
        raise _ShapeError(f"{who}() got lists of length {len(p)} and {len(q)}; give lists of one length")
    return list(zip(p, q))


# -------------------------------------------------------------------------------- logarithms and distances
def _logarithm(name: str) -> _Callable[[_Any], _Any]:
    """The engine's logarithm, of integers of any size too, as Python's."""
    of_floats, of_integers = getattr(_vg, name), getattr(_math, name)
    return lambda x: of_integers(x) if type(x) is int and x >= 1 << 1000 else of_floats(x)


_ln, _lb, _lg = map(_logarithm, ("log", "log2", "log10"))


def log(x: _Any, base: _Any = None, /) -> _Any:
    """The natural logarithm of x, or the one to a base; log(0) is -inf."""
    return _ln(x) if base is None else _vg.div(_ln(x), _ln(base))


def log2(x: _Any, /) -> _Any:
    """The logarithm to base 2."""
    return _lb(x)


def log10(x: _Any, /) -> _Any:
    """The logarithm to base 10."""
    return _lg(x)


def hypot(*coordinates: _Any) -> _Any:
    """The Euclidean length of a vector, sqrt(x*x + y*y + ...), without overflow."""
    return _hypot2(*coordinates) if len(coordinates) == 2 else _vg.norm(coordinates)


def dist(p: _Any, q: _Any, /) -> _Any:
    """The Euclidean distance of two points."""
    return hypot(*[_vg.sub(a, b) for a, b in _pairs(p, q, "dist")])


# -------------------------------------------------------------------------- angles, signs and remainders
def degrees(x: _Any, /) -> _Any:
    """An angle in radians as degrees."""
    return _vg.mul(x, 180.0 / pi)


def radians(x: _Any, /) -> _Any:
    """An angle in degrees as radians."""
    return _vg.mul(x, pi / 180.0)


def _is_negative(x: _Any) -> _Any:
    """Whether the sign bit is set; -0.0 has one (of a Value's nan it is not asked)."""
    if type(x) is not Value:
        return _math.copysign(1.0, x) < 0.0
    if _modes.recorder() is None:
        return _math.copysign(1.0, x._data) < 0.0
    return (x < 0.0) | ((x == 0.0) & (_vg.div(1.0, x) < 0.0))


def copysign(x: _Any, y: _Any, /) -> _Any:
    """The magnitude of x with the sign of y."""
    size = fabs(x)
    return _vg.where(_is_negative(_known(y, "copysign")), _vg.neg(size), size)


def remainder(x: _Any, y: _Any, /) -> _Any:
    """x - n*y for the integer n nearest to x/y (the even one of two), exact, as IEEE-754 defines it."""
    negative = bool(_is_negative(_known(x, "remainder")))
    a = _vg.neg(x) if negative else x
    b = _vg.neg(y) if _known(y, "remainder") < 0.0 else y
    if not isfinite(a) or not b > 0.0:
        return fmod(x, y)  # nan
    if b == inf:
        return _vg.where(True, x, y)
    if b <= 8e307:  # 2b does not overflow; otherwise a < 2b anyway
        a = fmod(a, _vg.mul(2.0, b))
    for ties in (False, True):  # n is even so far: half of b stays, and after one b is taken off it does not
        rest = b - a
        if a > rest or (ties and a == rest):
            a = _vg.sub(a, b)
        else:
            break
    return _vg.neg(a) if negative else _vg.add(a, -0.0)


def modf(x: _Any, /) -> tuple[_Any, _Any]:
    """The fraction and the integer part, both with the sign of x."""
    if isinf(x):
        nothing = copysign(0.0, x)
        return (Value(nothing) if type(x) is Value and type(nothing) is float else nothing), _vg.trunc(x)
    return fmod(x, 1.0), _vg.trunc(x)


# ------------------------------------------------------------------------------- integers near a number
def _rounding(name: str) -> _Callable[[_Any], _Any]:
    on_values, on_numbers = getattr(_vg, name), getattr(_math, name)

    def rounding(x: _Any, /) -> _Any:
        if type(x) is Value:
            return on_values(x)
        try:
            return on_numbers(x)
        except (OverflowError, TypeError, ValueError):  # there is no integer, or no number
            return _number(x, name)

    rounding.__name__ = rounding.__qualname__ = name
    rounding.__doc__ = f"Python's {name} for plain numbers (inf and nan are given back); a Value for a Value."
    return rounding


floor, ceil, trunc = map(_rounding, ("floor", "ceil", "trunc"))


# ------------------------------------------------------------------------- the parts of a floating number
def _scaled(x: float, *, exponent: int) -> float:
    try:
        return _math.ldexp(x, exponent)
    except OverflowError:
        return _math.copysign(inf, x)


_ldexp = _Primitive("ldexp", _scaled, lambda x, out, *, exponent: (_scaled(1.0, exponent=exponent),))
_ulp = _Primitive("ulp", lambda x: _math.ulp(x), lambda x, out: (0.0,))
_nextafter = _Primitive(
    "nextafter", lambda x, y, **steps: _math.nextafter(x, y, **steps), lambda x, y, out, **steps: (1.0, 0.0)
)


def ldexp(x: _Any, i: int, /) -> _Any:
    """x * 2**i, rounded once."""
    return _ldexp(x, exponent=_arguments.integer(i, "ldexp(), i"))


def frexp(x: _Any, /) -> tuple[_Any, int]:
    """(m, k) with x = m * 2**k and 0.5 <= abs(m) < 1; k is a plain integer."""
    exponent = _math.frexp(_number(x, "frexp"))[1]
    return ldexp(x, -exponent), exponent


def ulp(x: _Any, /) -> _Any:
    """The distance from x to the next number of larger magnitude; piecewise constant."""
    return _ulp(x)


def nextafter(x: _Any, y: _Any, /, **steps: _Any) -> _Any:
    """The number next to x on the way to y (``steps=`` of them, from Python 3.12 on)."""
    return _nextafter(x, y, **steps)


# ------------------------------------------------------------------------------------- special functions
def _gamma_value(x: float) -> float:
    if x == 0.0:
        return _math.copysign(inf, x)
    try:
        return _math.gamma(x)
    except ValueError:
        return nan
    except OverflowError:
        return inf


_gamma = _Primitive("gamma", _gamma_value, lambda x, out: (out * _vg.digamma(x),))


def gamma(x: _Any, /) -> _Any:
    """The gamma function; nan at the negative integers, at zero an infinity with zero's sign."""
    return _gamma(x)


# ------------------------------------------------------------------------------ sums and products, rounded once
def _rounded(terms: list[_Fraction], zero: float) -> float:
    """The float nearest to the sum of exact terms; ``zero`` says which zero."""
    total = sum(terms, _Fraction(0))
    try:
        return total.numerator / total.denominator if total else zero
    except OverflowError:
        return inf if total > 0 else -inf


def _fsum_value(*xs: float) -> float:
    infinite = [x for x in xs if not _math.isfinite(x)]
    if infinite:
        return sum(infinite)
    try:
        return _math.fsum(xs)
    except OverflowError:  # of a partial sum
        return _rounded([_Fraction(x) for x in xs], 0.0)


def _sumprod_value(*numbers: float) -> float:
    """Python's is as accurate; it is not in all versions."""
    half = len(numbers) // 2
    pairs = list(zip(numbers[:half], numbers[half:]))
    infinite = [x * y for x, y in pairs if not _math.isfinite(x) or not _math.isfinite(y)]
    if infinite:
        return sum(infinite)
    return _rounded([_Fraction(x) * _Fraction(y) for x, y in pairs], 0.0)


def _sumprod_grads(*numbers_out: _Any) -> tuple[_Any, ...]:
    half = len(numbers_out) // 2
    return (*numbers_out[half:-1], *numbers_out[:half])


def _fma_value(x: float, y: float, z: float) -> float:
    if not _math.isfinite(x) or not _math.isfinite(y):
        return x * y + z
    if not _math.isfinite(z):
        return z
    return _rounded([_Fraction(x) * _Fraction(y), _Fraction(z)], x * y + z)


_fsum = _Primitive("fsum", _fsum_value, lambda *xs_out: (1.0,) * (len(xs_out) - 1))
_sumprod = _Primitive("sumprod", _sumprod_value, _sumprod_grads)
_fma = _Primitive("fma", _fma_value, lambda x, y, z, out: (y, x, 1.0))


def fsum(seq: _Any, /) -> _Any:
    """The sum, rounded once."""
    return _fsum(*_entries(seq, "fsum"))


def sumprod(p: _Any, q: _Any, /) -> _Any:
    """The sum of products of two lists of one length, rounded once; an integer, if all are."""
    pairs = _pairs(p, q, "sumprod")
    if all(isinstance(x, int) and isinstance(y, int) for x, y in pairs):
        return sum(x * y for x, y in pairs)
    return _sumprod(*[x for x, _ in pairs], *[y for _, y in pairs])


def fma(x: _Any, y: _Any, z: _Any, /) -> _Any:
    """x * y + z, rounded once."""
    return _fma(x, y, z)


def prod(iterable: _Any, /, *, start: _Any = 1) -> _Any:
    """The product of ``start`` and all numbers; an integer, if all are."""
    xs = _entries(iterable, "prod")
    if Value not in map(type, [start, *xs]):
        return _math.prod(xs, start=start)
    return _vg.prod(xs if type(start) is int and start == 1 else [start, *xs])


# -------------------------------------------------------------------------------- questions about a number
def isclose(a: _Any, b: _Any, *, rel_tol: _Any = 1e-09, abs_tol: _Any = 0.0) -> bool:
    """Whether two numbers are close; see Python's math.isclose."""
    if _modes.recorder() is None:
        numbers = [x._data if type(x) is Value else _known(x, "isclose") for x in (a, b, rel_tol, abs_tol)]
        return _math.isclose(numbers[0], numbers[1], rel_tol=numbers[2], abs_tol=numbers[3])
    a, b, rel_tol, abs_tol = [_known(x, "isclose") for x in (a, b, rel_tol, abs_tol)]
    if rel_tol < 0.0 or abs_tol < 0.0:
        raise _ValueArgumentError("isclose() got a negative tolerance; give 0.0 or more")
    distance = fabs(_vg.sub(a, b))
    near = (distance <= fabs(_vg.mul(rel_tol, a))) | (distance <= fabs(_vg.mul(rel_tol, b))) | (distance <= abs_tol)
    close: bool = (a == b) | (isfinite(a) & isfinite(b) & near)
    return close


def isfinite(x: _Any, /) -> bool:
    """Whether the number is neither infinite nor nan."""
    finite: bool = fabs(_known(x, "isfinite")) < inf
    return finite


def isinf(x: _Any, /) -> bool:
    """Whether the number is infinite."""
    infinite: bool = fabs(_known(x, "isinf")) == inf
    return infinite


def isnan(x: _Any, /) -> bool:
    """Whether the number is nan."""
    x = _known(x, "isnan")
    undefined: bool = x != x  # nothing else differs from itself
    return undefined


__all__ = [
    "acos",
    "acosh",
    "asin",
    "asinh",
    "atan",
    "atan2",
    "atanh",
    "cbrt",
    "ceil",
    "comb",
    "copysign",
    "cos",
    "cosh",
    "degrees",
    "dist",
    "e",
    "erf",
    "erfc",
    "exp",
    "exp2",
    "expm1",
    "fabs",
    "factorial",
    "floor",
    "fma",
    "fmod",
    "frexp",
    "fsum",
    "gamma",
    "gcd",
    "hypot",
    "inf",
    "isclose",
    "isfinite",
    "isinf",
    "isnan",
    "isqrt",
    "lcm",
    "ldexp",
    "lgamma",
    "log",
    "log1p",
    "log2",
    "log10",
    "modf",
    "nan",
    "nextafter",
    "perm",
    "pi",
    "pow",
    "prod",
    "radians",
    "remainder",
    "sin",
    "sinh",
    "sqrt",
    "sumprod",
    "tan",
    "tanh",
    "tau",
    "trunc",
    "ulp",
]

# What a newer Python has and this module does not know: Python's own, which refuses Values (float(v) raises).
_newer = [name for name in dir(_math) if name[0] != "_" and name not in __all__]
globals().update({name: getattr(_math, name) for name in _newer})
__all__ += _newer
