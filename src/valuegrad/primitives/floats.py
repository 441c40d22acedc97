"""IEEE-754 arithmetic on Python floats: what every elementary function gives at every edge.

Why: Python's own ``math`` raises where IEEE-754 has an answer (``log(0)``, ``exp(1000)``, ``1/0``),
and the built-in functions differ between Python versions (``cbrt`` is missing in 3.10).  A Value
must compute what the hardware computes, on every engine, to the last bit (docs/semantics.md).
So this thin layer wraps the C library's functions, and defines the few that C library and Python
do not share in plain arithmetic.

``_ieee.h`` is its mirror in C, function for function and in the same order of operations; the
constants below are copied into the C build by ``render.py``, and ``tests/test_floats.py`` compares
the two on many thousand numbers.

Where to start reading: ``div``, then ``pow``, then ``lgamma``.
"""

from __future__ import annotations

import math
from collections.abc import Callable

inf = math.inf
nan = math.nan

LN2 = 0.6931471805599453
LN10 = 2.302585092994046
SQRT_HALF = 0.7071067811865476
INV_SQRT_2PI = 0.3989422804014327  # 1/sqrt(2 pi), the normal density at 0
TWO_OVER_SQRT_PI = 1.1283791670955126
HALF_LOG_2PI = 0.9189385332046728
LOG_PI = 1.1447298858494002
ONE_MINUS_EULER = 0.42278433509846713

# zeta(k) - 1 for k = 2, 3, ...: the Taylor series of lgamma at 2 (Abramowitz & Stegun 6.1.33).
ZETA_MINUS_ONE = (
    0.6449340668482264,
    0.2020569031595943,
    0.08232323371113819,
    0.03692775514336993,
    0.01734306198444914,
    0.008349277381922827,
    0.00407735619794434,
    0.0020083928260822143,
    0.0009945751278180853,
    0.0004941886041194645,
    0.0002460865533080483,
    0.00012271334757848915,
    6.124813505870483e-05,
    3.058823630702049e-05,
    1.528225940865187e-05,
    7.637197637899763e-06,
    3.81729326499984e-06,
    1.908212716553939e-06,
    9.539620338727962e-07,
    4.769329867878064e-07,
    2.38450502727733e-07,
    1.1921992596531106e-07,
    5.960818905125948e-08,
    2.980350351465228e-08,
    1.4901554828365043e-08,
    7.45071178983543e-09,
    3.725334024788457e-09,
    1.862659723513049e-09,
)
# Bernoulli numbers B2, B4, ...: the asymptotic series of the gamma family (A&S 6.1.40, 6.3.18, 6.4.11).
BERNOULLI = (
    0.16666666666666666,
    -0.03333333333333333,
    0.023809523809523808,
    -0.03333333333333333,
    0.07575757575757576,
    -0.2531135531135531,
    1.1666666666666667,
    -7.092156862745098,
    54.971177944862156,
)


def _wrap(f: Callable[[float], float], overflow: Callable[[float], float] | None = None) -> Callable[[float], float]:
    """``f`` of the C library without Python's exceptions: nan outside its domain, inf on overflow."""

    def ieee(a: float) -> float:
        try:
            return f(a)
        except ValueError:
            return nan
        except OverflowError:
            return inf if overflow is None else overflow(a)

    ieee.__name__ = f.__name__
    return ieee


def _signed_inf(a: float) -> float:
    return math.copysign(inf, a)


exp = _wrap(math.exp)
expm1 = _wrap(math.expm1)
sin = _wrap(math.sin)
cos = _wrap(math.cos)
tan = _wrap(math.tan)
asin = _wrap(math.asin)
acos = _wrap(math.acos)
atan = math.atan
atan2 = math.atan2
sinh = _wrap(math.sinh, _signed_inf)
cosh = _wrap(math.cosh)
tanh = math.tanh
asinh = math.asinh
acosh = _wrap(math.acosh)
erf = math.erf
erfc = math.erfc
sqrt = _wrap(math.sqrt)
copysign = math.copysign


def _wrap_log(f: Callable[[float], float]) -> Callable[[float], float]:
    def ieee(a: float) -> float:
        if a > 0.0:
            return f(a)
        return -inf if a == 0.0 else nan

    ieee.__name__ = f.__name__
    return ieee


log = _wrap_log(math.log)
log2 = _wrap_log(math.log2)
log10 = _wrap_log(math.log10)


def log1p(a: float) -> float:
    return math.log1p(a) if a > -1.0 else (-inf if a == -1.0 else nan)


def atanh(a: float) -> float:
    if a == 1.0 or a == -1.0:
        return _signed_inf(a)
    return math.atanh(a) if -1.0 < a < 1.0 else nan


def div(a: float, b: float) -> float:
    """a / b, with the signed infinities and nan that IEEE-754 gives for a zero divisor."""
    if b != 0.0:
        return a / b
    if a == 0.0 or a != a:
        return nan
    return math.copysign(inf, a) * math.copysign(1.0, b)


def pow(a: float, b: float) -> float:
    """a ** b as C99's pow.

    The three exponents that the correctly rounded result makes trivial (2, 1 and -1) are computed
    as a*a, a and 1/a: the same numbers from any good C library, and fast in every engine.
    """
    if b == 2.0:
        return a * a
    if b == 1.0:
        return a
    if b == -1.0:
        return div(1.0, a)
    try:
        return math.pow(a, b)
    except ValueError:
        if a != 0.0:
            return nan  # a negative base and a fraction
        odd = b - b == 0.0 and math.fmod(b, 2.0) in (1.0, -1.0)  # Python 3.10 raises for b = -inf as well
        return math.copysign(inf, a) if odd else inf
    except OverflowError:
        return -inf if a < 0.0 and math.fmod(b, 2.0) in (1.0, -1.0) else inf


def cbrt(a: float) -> float:
    """The real cube root: pow for a first guess, one Newton step to repair the exponent 1/3's rounding."""
    if a == 0.0 or a - a != 0.0:  # zero, inf or nan
        return a
    t = pow(math.fabs(a), 0.3333333333333333)
    t = t - (t - math.fabs(a) / (t * t)) * 0.3333333333333333
    return math.copysign(t, a)


def hypot(a: float, b: float) -> float:
    """sqrt(a*a + b*b) without overflow or underflow on the way; inf beats nan, as in C99."""
    return norm_of([a, b])


def norm_of(xs: list[float]) -> float:
    """The Euclidean norm; scaled by its largest entry only where the plain sum leaves the safe range."""
    total = 0.0
    for x in xs:
        total = total + x * x
    if 1e-280 < total < 1e280:
        return math.sqrt(total)
    largest = 0.0
    for x in xs:
        if math.fabs(x) > largest:
            largest = math.fabs(x)
    if largest == inf:
        return inf
    if total != total or largest == 0.0:
        return total
    total = 0.0
    for x in xs:
        total = total + (x / largest) * (x / largest)
    return largest * math.sqrt(total)


def abs(a: float) -> float:
    return math.fabs(a)


def floor(a: float) -> float:
    return math.copysign(float(math.floor(a)), a) if a - a == 0.0 else a


def ceil(a: float) -> float:
    return math.copysign(float(math.ceil(a)), a) if a - a == 0.0 else a


def trunc(a: float) -> float:
    return math.copysign(float(math.trunc(a)), a) if a - a == 0.0 else a


_builtin_round = round


def round(a: float, digits: float) -> float:
    """The nearest multiple of 10**-digits, halves to even, exactly as Python's ``round`` does."""
    if a - a != 0.0:
        return a
    try:
        return math.copysign(_builtin_round(a, int(max(-400.0, min(400.0, digits)))), a)
    except OverflowError:  # Python: "rounded value too large to represent"
        return _signed_inf(a)


def fmod(a: float, b: float) -> float:
    if b == 0.0 or a - a != 0.0:
        return nan
    return math.fmod(a, b)


def floordiv(a: float, b: float) -> float:
    """a // b as Python defines it (towards minus infinity); a zero divisor gives what / gives."""
    return a // b if b != 0.0 else div(a, b)


def mod(a: float, b: float) -> float:
    """a % b as Python defines it (the sign of b); a zero divisor gives nan."""
    return a % b if b != 0.0 else nan


def sin_pi(a: float) -> float:
    """sin(pi a), reduced so that integers give exactly 0."""
    r = math.fmod(a, 2.0)
    if r > 1.0:
        r = r - 2.0
    if r < -1.0:
        r = r + 2.0
    if r > 0.5:
        r = 1.0 - r
    if r < -0.5:
        r = -1.0 - r
    return math.sin(math.pi * r)


def lgamma(a: float) -> float:
    """log|gamma(a)|: Taylor series about 2, recurrence, Stirling's series, reflection (A&S 6.1)."""
    if a != a:
        return a
    if a == inf or a == -inf:
        return inf
    if a <= 0.0:
        if a == floor(a):
            return inf
        if a > -1e-20:
            return -log(-a)
        return LOG_PI - log(math.fabs(sin_pi(a)) * -a) - lgamma(-a)
    if a >= 10.0:
        if a > 2.5e305:
            return inf
        r = 1.0 / a
        r2 = r * r
        total = 0.0
        k = 8
        while k >= 0:
            total = total * r2 + BERNOULLI[k] / ((2.0 * k + 2.0) * (2.0 * k + 1.0))
            k -= 1
        return (a - 0.5) * (log(a) - 1.0) - 0.5 + HALF_LOG_2PI + total * r
    shift = 0.0
    if a < 0.5:
        shift = -log(a)
        a = a + 1.0
    z = a - 1.0
    if a < 1.5:
        shift = shift - log1p(z)
    else:
        product = 1.0
        while a > 2.5:
            a = a - 1.0
            product = product * a
        if product > 1.0:
            shift = log(product)
        z = a - 2.0
    total = 0.0
    k = 27
    while k >= 0:
        total = total * -z + ZETA_MINUS_ONE[k] / (k + 2.0)
        k -= 1
    return shift + (z * ONE_MINUS_EULER + total * z * z)


def digamma(a: float) -> float:
    """The derivative of lgamma: reflection, recurrence up to 10, asymptotic series (A&S 6.3.7, 6.3.5, 6.3.18)."""
    if a != a or a == inf:
        return a
    if a <= 0.0:
        if a == 0.0:
            return -_signed_inf(a)
        if a == floor(a):
            return nan
        r = a - floor(a + 0.5)  # tan(pi a) has period 1
        return digamma(1.0 - a) - math.pi / math.tan(math.pi * r)
    shift = 0.0
    while a < 10.0:
        shift = shift - 1.0 / a
        a = a + 1.0
    r = 1.0 / a
    r2 = r * r
    total = 0.0
    k = 8
    while k >= 0:
        total = total * r2 + BERNOULLI[k] / (2.0 * k + 2.0)
        k -= 1
    return shift + (log(a) - 0.5 * r - total * r2)


def polygamma(a: float, n: float) -> float:
    """The n-th derivative of digamma, n >= 1: recurrence up to 10 + n, asymptotic series (A&S 6.4.6, 6.4.11).

    For arguments below -1000 the recurrence would take too many steps, and from n = 171 on n! is too large:
    nan says so.
    """
    sign = 1.0 if math.fmod(n, 2.0) == 1.0 else -1.0  # (-1)**(n+1)
    if a != a or a < -1000.0 or n > 170.0:  # 171! is no float64
        return nan
    if a == inf:
        return 0.0 * sign
    if a <= 0.0 and a == floor(a):
        return inf if sign > 0.0 else nan
    factorial = 1.0  # n!
    k = 2.0
    while k <= n:
        factorial = factorial * k
        k = k + 1.0
    shift = 0.0
    while a < 10.0 + n:
        shift = shift + factorial * pow(a, -1.0 - n)
        a = a + 1.0
    r = 1.0 / a
    total = (factorial / n) * (1.0 + 0.5 * n * r)
    coefficient = factorial * 0.5 * (n + 1.0) * r * r  # (2k + n - 1)! / (2k)! / a**(2k) at k = 1
    j = 0
    while j < 9:
        total = total + BERNOULLI[j] * coefficient
        two_k = 2.0 * j + 2.0
        coefficient = coefficient * ((two_k + n) * (two_k + n + 1.0) / ((two_k + 1.0) * (two_k + 2.0))) * r * r
        j += 1
    return sign * (shift + total * pow(r, n))
