"""THE table: every elementary operation, once.

Everything else follows from a row: both engines' values and local gradients, functions and methods,
derivatives of derivatives, type stubs, the page docs/primitives.md, and the tests against mpmath.
To add an operation, add a row (docs/adding-an-operation.md walks through one).

Rules read like the formulas in a book, over an algebra ``m`` (algebra.py): ``m.exp(a)`` is a number
when a is one, a line of C when a is a symbol, and a Value when a is a Value.  Three things to know:
  * division is ``m.div``, choices are ``m.where``: a rule has no ``/``, no ``if`` and no ``**``;
  * local gradients are differentiated again for higher derivatives, so they are smooth where the
    operation is, even if the value's rule picks cases for accuracy;
  * where a local gradient at an edge is not the naive formula's, docs/semantics.md says why.
"""

from __future__ import annotations

from typing import Any

from valuegrad.primitives.floats import (
    INV_SQRT_2PI,
    LN2,
    LN10,
    SQRT_HALF,
    TWO_OVER_SQRT_PI,
    inf,
    nan,
)
from valuegrad.primitives.row import Row

TABLE: dict[str, Row] = {}


def row(name: str, **fields: Any) -> None:
    """Enter one operation into the table."""
    if name in TABLE:
        raise ValueError(f"the table already has a row {name!r}")
    TABLE[name] = Row(name, **fields)


REAL = (-1e3, 1e3)
SMALL = (-20.0, 20.0)
POSITIVE = (1e-6, 1e3)
EDGES = ((0.0,), (-0.0,), (inf,), (-inf,), (nan,), (5e-324,), (1e300,), (-1e300,))
CANCELS = "1 - out*out and its like cancel to 2**-53 where the function is flat"

# ---------------------------------------------------------------------------------------------- arithmetic
row(
    "add",
    value=lambda m, a, b: a + b,
    local_grads=lambda m, a, b, out: (1.0, 1.0),
    doc="The sum a + b.",
    operator="add",
    method="add",
    samples=((3.0, 5.0), (0.0, -0.0), (inf, -inf)),
    domain=(REAL, REAL),
)
row(
    "sub",
    value=lambda m, a, b: a - b,
    local_grads=lambda m, a, b, out: (1.0, -1.0),
    doc="The difference a - b.",
    operator="sub",
    method="sub",
    samples=((3.0, 5.0), (inf, inf)),
    domain=(REAL, REAL),
)
row(
    "mul",
    value=lambda m, a, b: a * b,
    local_grads=lambda m, a, b, out: (b, a),
    doc="The product a * b.",
    operator="mul",
    method="mul",
    samples=((3.0, 5.0), (0.0, inf), (-0.0, 2.0)),
    domain=(REAL, REAL),
)
row(
    "div",
    value=lambda m, a, b: m.div(a, b),
    local_grads=lambda m, a, b, out: (m.div(1.0, b), m.div(-out, b)),
    doc="The quotient a / b; 1/0 is inf and 0/0 is nan, as in IEEE-754.",
    operator="truediv",
    method="div",
    samples=((3.0, 5.0), (1.0, 0.0), (1.0, -0.0), (0.0, 0.0)),
    domain=(REAL, REAL),
)
row(
    "floordiv",
    value=lambda m, a, b: m.floordiv(a, b),
    local_grads=lambda m, a, b, out: (0.0, 0.0),
    doc="The quotient rounded towards minus infinity, a // b; piecewise constant.",
    operator="floordiv",
    samples=((7.5, 2.0), (-7.5, 2.0), (7.0, 0.0)),
    domain=(REAL, REAL),
)
row(
    "mod",
    value=lambda m, a, b: m.mod(a, b),
    local_grads=lambda m, a, b, out: (1.0, -m.floordiv(a, b)),
    doc="The remainder a % b with the sign of b.",
    operator="mod",
    samples=((7.5, 2.0), (-7.5, 2.0), (7.0, 0.0)),
    domain=(REAL, REAL),
)
row(
    "pow",
    value=lambda m, a, n: m.pow(a, n),
    local_grads=lambda m, a, n, out: (m.where(m.eq(n, 0.0), 0.0, n * m.pow(a, n - 1.0)),),
    doc="a to a constant power n: a ** n.",
    static="n",
    method="",
    function=False,
    samples=((3.0, 2.0), (0.0, 0.0), (0.0, -1.0), (0.0, 0.5), (-8.0, 1 / 3), (1e200, 2.0), (-2.0, 3.0)),
    domain=(POSITIVE, (-5.0, 5.0)),
    rtol=8e-15,
    why="n - 1 is rounded to 2**-51, which log a = 14 magnifies",
)


def _power_grads(m: Any, a: Any, b: Any, out: Any) -> Any:
    slope = b * m.pow(a, b - 1.0)
    return (
        m.where(m.eq(b, 0.0), m.where(m.eq(slope, slope), slope, 0.0), slope),  # 0 at b = 0, yet it depends on b
        m.where(m.eq(a, 0.0), m.where(m.lt(b, 0.0), -inf, m.where(m.eq(b, b), 0.0, nan)), out * m.log(a)),
    )


row(
    "power",
    value=lambda m, a, b: m.pow(a, b),
    local_grads=_power_grads,
    doc="a to a power b that is a Value too: a ** b.",
    function=False,
    samples=((3.0, 2.0), (0.0, 0.0), (0.0, 2.0), (0.0, -1.0), (-2.0, 2.0), (1.0, nan)),
    domain=(POSITIVE, (-5.0, 5.0)),
    rtol=8e-15,
    why="b - 1 is rounded to 2**-51, which log a = 14 magnifies",
)
row(
    "neg",
    value=lambda m, a: -a,
    local_grads=lambda m, a, out: (-1.0,),
    doc="The negative -a.",
    operator="neg",
    method="neg",
    samples=((3.0,), *EDGES),
    domain=(REAL,),
)
row(
    "abs",
    value=lambda m, a: m.abs(a),
    local_grads=lambda m, a, out: (m.sign(a),),
    doc="The absolute value; its gradient at 0 is 0.",
    operator="abs",
    method="abs",
    samples=((3.0,), (-3.0,), *EDGES),
    domain=(REAL,),
)
row(
    "sign",
    value=lambda m, a: m.where(m.lt(0.0, a), 1.0, m.where(m.lt(a, 0.0), -1.0, m.where(m.eq(a, a), 0.0, a))),
    local_grads=lambda m, a, out: (0.0,),
    doc="1, 0 or -1 by the sign of a.",
    method="sign",
    samples=((3.0,), *EDGES),
    domain=(REAL,),
)
row(
    "floor",
    value=lambda m, a: m.floor(a),
    local_grads=lambda m, a, out: (0.0,),
    doc="The largest integer not above a; piecewise constant.",
    operator="floor",
    method="floor",
    samples=((2.5,), (-2.5,), (-0.5,), *EDGES),
    domain=(REAL,),
)
row(
    "ceil",
    value=lambda m, a: m.ceil(a),
    local_grads=lambda m, a, out: (0.0,),
    doc="The smallest integer not below a; piecewise constant.",
    operator="ceil",
    method="ceil",
    samples=((2.5,), (-2.5,), (-0.5,), *EDGES),
    domain=(REAL,),
)
row(
    "trunc",
    value=lambda m, a: m.trunc(a),
    local_grads=lambda m, a, out: (0.0,),
    doc="a without its fraction; piecewise constant.",
    operator="trunc",
    method="trunc",
    samples=((2.5,), (-2.5,), (-0.5,), *EDGES),
    domain=(REAL,),
)
row(
    "round",
    value=lambda m, a, digits: m.round(a, digits),
    local_grads=lambda m, a, digits, out: (0.0,),
    doc="a rounded to a number of decimal digits, halves to even; piecewise constant.",
    static="digits",
    integer_static=True,
    function=False,
    samples=((2.5, 0.0), (3.5, 0.0), (2.675, 2.0), (1234.5, -2.0), (-0.4, 0.0)),
    domain=(REAL, (-2.0, 5.0)),
)
row(
    "fmod",
    value=lambda m, a, b: m.fmod(a, b),
    local_grads=lambda m, a, b, out: (1.0, -m.round(m.div(a - out, b), 0.0)),  # a / b alone may round up
    doc="The remainder of a / b with the sign of a, as in C.",
    method="fmod",
    samples=((7.5, 2.0), (-7.5, 2.0), (7.0, 0.0), (inf, 2.0), (1.0, inf), (1.7, 0.1)),
    domain=(REAL, REAL),
)

# ---------------------------------------------------------------------------------- exponentials and logarithms
row(
    "exp",
    value=lambda m, a: m.exp(a),
    local_grads=lambda m, a, out: (out,),
    doc="e to the power a; its own derivative.",
    method="exp",
    samples=((2.0,), (1000.0,), (-1000.0,), *EDGES),
    domain=((-700.0, 700.0),),
)
row(
    "expm1",
    value=lambda m, a: m.expm1(a),
    local_grads=lambda m, a, out: (m.exp(a),),
    doc="exp(a) - 1, exact for small a.",
    method="expm1",
    samples=((1e-10,), (-50.0,), *EDGES),
    domain=((-700.0, 700.0),),
)
row(
    "exp2",
    value=lambda m, a: m.pow(2.0, a),
    local_grads=lambda m, a, out: (out * LN2,),
    doc="2 to the power a.",
    method="exp2",
    samples=((3.0,), (0.5,), (2000.0,), *EDGES),
    domain=((-1000.0, 1000.0),),
)
row(
    "log",
    value=lambda m, a: m.log(a),
    local_grads=lambda m, a, out: (m.div(1.0, a),),
    doc="The natural logarithm; log(0) is -inf and log of a negative number nan.",
    method="log",
    samples=((0.1,), (10.0,), (-1.0,), *EDGES),
    domain=(POSITIVE,),
)
row(
    "log1p",
    value=lambda m, a: m.log1p(a),
    local_grads=lambda m, a, out: (m.div(1.0, 1.0 + a),),
    doc="log(1 + a), exact for small a.",
    method="log1p",
    samples=((1e-10,), (-1.0,), (-2.0,), *EDGES),
    domain=((-0.999, 1e3),),
)
row(
    "log2",
    value=lambda m, a: m.log2(a),
    local_grads=lambda m, a, out: (m.div(1.0, a * LN2),),
    doc="The logarithm to base 2.",
    method="log2",
    samples=((8.0,), (-1.0,), *EDGES),
    domain=(POSITIVE,),
)
row(
    "log10",
    value=lambda m, a: m.log10(a),
    local_grads=lambda m, a, out: (m.div(1.0, a * LN10),),
    doc="The logarithm to base 10.",
    method="log10",
    samples=((1000.0,), (-1.0,), *EDGES),
    domain=(POSITIVE,),
)
row(
    "sqrt",
    value=lambda m, a: m.sqrt(a),
    local_grads=lambda m, a, out: (m.div(0.5, out),),
    doc="The square root; infinitely steep at 0, nan below.",
    method="sqrt",
    samples=((2.0,), (-1.0,), *EDGES),
    domain=(POSITIVE,),
)
row(
    "cbrt",
    value=lambda m, a: m.cbrt(a),
    local_grads=lambda m, a, out: (m.div(1.0, 3.0 * out * out),),
    doc="The real cube root, of negative numbers too.",
    method="cbrt",
    samples=((-8.0,), (27.0,), *EDGES),
    domain=(REAL,),
)

# ------------------------------------------------------------------------------------------------- trigonometry
row(
    "sin",
    value=lambda m, a: m.sin(a),
    local_grads=lambda m, a, out: (m.cos(a),),
    doc="The sine of an angle in radians.",
    method="sin",
    samples=((1.0,), *EDGES),
    domain=(SMALL,),
)
row(
    "cos",
    value=lambda m, a: m.cos(a),
    local_grads=lambda m, a, out: (-m.sin(a),),
    doc="The cosine of an angle in radians.",
    method="cos",
    samples=((1.0,), *EDGES),
    domain=(SMALL,),
)
row(
    "tan",
    value=lambda m, a: m.tan(a),
    local_grads=lambda m, a, out: (1.0 + out * out,),
    doc="The tangent of an angle in radians.",
    method="tan",
    samples=((1.0,), *EDGES),
    domain=(SMALL,),
)
row(
    "asin",
    value=lambda m, a: m.asin(a),
    local_grads=lambda m, a, out: (m.div(1.0, m.sqrt((1.0 - a) * (1.0 + a))),),
    doc="The angle in [-pi/2, pi/2] whose sine is a.",
    method="asin",
    samples=((0.5,), (1.0,), (-1.0,), (1.5,), *EDGES),
    domain=((-0.999, 0.999),),
)
row(
    "acos",
    value=lambda m, a: m.acos(a),
    local_grads=lambda m, a, out: (-m.div(1.0, m.sqrt((1.0 - a) * (1.0 + a))),),
    doc="The angle in [0, pi] whose cosine is a.",
    method="acos",
    samples=((0.5,), (1.0,), (-1.0,), (1.5,), *EDGES),
    domain=((-0.999, 0.999),),
)
row(
    "atan",
    value=lambda m, a: m.atan(a),
    local_grads=lambda m, a, out: (m.div(1.0, 1.0 + a * a),),
    doc="The angle in (-pi/2, pi/2) whose tangent is a.",
    method="atan",
    samples=((1.0,), *EDGES),
    domain=(REAL,),
)
row(
    "atan2",
    value=lambda m, y, x: m.atan2(y, x),
    local_grads=lambda m, y, x, out: (
        m.div(m.div(x, m.hypot(y, x)), m.hypot(y, x)),
        m.div(m.div(-y, m.hypot(y, x)), m.hypot(y, x)),
    ),
    doc="The angle in [-pi, pi] of the point (x, y); its gradient at the origin is nan, as no limit exists.",
    method="atan2",
    samples=((1.0, 2.0), (0.0, 0.0), (1e200, 1e200), (-1.0, -0.0)),
    domain=(REAL, REAL),
)
row(
    "sinh",
    value=lambda m, a: m.sinh(a),
    local_grads=lambda m, a, out: (m.cosh(a),),
    doc="The hyperbolic sine.",
    method="sinh",
    samples=((1.0,), (-1000.0,), *EDGES),
    domain=((-700.0, 700.0),),
)
row(
    "cosh",
    value=lambda m, a: m.cosh(a),
    local_grads=lambda m, a, out: (m.sinh(a),),
    doc="The hyperbolic cosine.",
    method="cosh",
    samples=((1.0,), (-1000.0,), *EDGES),
    domain=((-700.0, 700.0),),
)
row(
    "tanh",
    value=lambda m, a: m.tanh(a),
    local_grads=lambda m, a, out: (1.0 - out * out,),
    doc="The hyperbolic tangent.",
    method="tanh",
    samples=((1.0,), (-1000.0,), *EDGES),
    domain=(SMALL,),
    atol=3e-16,
    why=CANCELS,
)
row(
    "asinh",
    value=lambda m, a: m.asinh(a),
    local_grads=lambda m, a, out: (m.div(1.0, m.hypot(1.0, a)),),
    doc="The inverse hyperbolic sine.",
    method="asinh",
    samples=((1.0,), *EDGES),
    domain=(REAL,),
)
row(
    "acosh",
    value=lambda m, a: m.acosh(a),
    local_grads=lambda m, a, out: (m.div(1.0, m.sqrt(a - 1.0) * m.sqrt(a + 1.0)),),
    doc="The inverse hyperbolic cosine, of numbers from 1 on.",
    method="acosh",
    samples=((2.0,), (1.0,), (0.5,), *EDGES),
    domain=((1.001, 1e3),),
)
row(
    "atanh",
    value=lambda m, a: m.atanh(a),
    local_grads=lambda m, a, out: (m.div(1.0, (1.0 - a) * (1.0 + a)),),
    doc="The inverse hyperbolic tangent, of numbers between -1 and 1.",
    method="atanh",
    samples=((0.5,), (1.0,), (-1.0,), (2.0,), *EDGES),
    domain=((-0.999, 0.999),),
)

# -------------------------------------------------------------------------------------------- special functions
row(
    "erf",
    value=lambda m, a: m.erf(a),
    local_grads=lambda m, a, out: (TWO_OVER_SQRT_PI * m.exp(-(a * a)),),
    doc="The error function.",
    method="erf",
    samples=((0.5,), *EDGES),
    domain=((-6.0, 6.0),),
    rtol=6e-15,
    why="exp(-a*a) carries the rounding of a*a: a relative error of a*a * 2**-53",
)
row(
    "erfc",
    value=lambda m, a: m.erfc(a),
    local_grads=lambda m, a, out: (-TWO_OVER_SQRT_PI * m.exp(-(a * a)),),
    doc="1 - erf(a), accurate in the upper tail.",
    method="erfc",
    samples=((0.5,), *EDGES),
    domain=((-6.0, 6.0),),
    rtol=6e-15,
    why="exp(-a*a) carries the rounding of a*a: a relative error of a*a * 2**-53",
)
row(
    "norm_cdf",
    value=lambda m, a: 0.5 * m.erfc(-a * SQRT_HALF),
    local_grads=lambda m, a, out: (INV_SQRT_2PI * m.exp(-0.5 * (a * a)),),
    doc="The probability that a standard normal number is below a.",
    method="norm_cdf",
    samples=((0.5,), (-10.0,), *EDGES),
    domain=((-8.0, 8.0),),
    rtol=1.4e-14,
    why="the rounding of a*a, and of a/sqrt(2), is magnified by a*a in the tails",
)
row(
    "lgamma",
    value=lambda m, a: m.lgamma(a),
    local_grads=lambda m, a, out: (m.digamma(a),),
    doc="log|gamma(a)|.",
    method="lgamma",
    samples=((0.5,), (1.0,), (2.0,), (3.5,), (-2.5,), (100.0,), *EDGES),
    domain=((1e-3, 1e3),),
    rtol=2e-15,
    atol=2e-15,
    why="sums of terms that cancel near the zeros of digamma (1.4616) and lgamma (1 and 2)",
)
row(
    "digamma",
    value=lambda m, a: m.digamma(a),
    local_grads=lambda m, a, out: (m.polygamma(a, 1.0),),
    doc="The derivative of lgamma.",
    method="digamma",
    samples=((0.5,), (1.0,), (10.0,), (-2.5,), (100.0,), *EDGES),
    domain=((1e-3, 1e3),),
    rtol=2e-15,
    atol=2e-15,
    why="the recurrence cancels near the zero at 1.4616",
)
row(
    "polygamma",
    value=lambda m, a, n: m.polygamma(a, n),
    local_grads=lambda m, a, n, out: (m.polygamma(a, n + 1.0),),
    doc="The n-th derivative of digamma, n >= 1.",
    static="n",
    integer_static=True,
    static_from=1.0,
    method="polygamma",
    samples=((0.5, 1.0), (10.0, 2.0), (3.0, 3.0), (-2.5, 1.0)),
    domain=((1e-2, 1e3), (1.0, 4.0)),
    rtol=1e-14,
    why="a recurrence of up to 14 steps, each with the rounding of a power; below 0 its terms cancel",
)

# ------------------------------------------------------------------------------------------- neural activations


def _logistic(m: Any, a: Any) -> Any:
    """1 / (1 + exp(-a)), or exp(a) / (1 + exp(a)): whichever has the smaller exponential."""
    small = m.exp(-m.abs(a))
    return m.div(m.where(m.lt(a, 0.0), small, 1.0), 1.0 + small)


row(
    "sigmoid",
    value=_logistic,
    local_grads=lambda m, a, out: (out * m.sigmoid(-a),),
    doc="The logistic function 1 / (1 + exp(-a)), without overflow.",
    method="sigmoid",
    samples=((0.5,), (-1000.0,), (1000.0,), *EDGES),
    domain=((-700.0, 700.0),),
)
row(
    "softplus",
    value=lambda m, a: m.where(m.le(a, 0.0), 0.0, a) + m.log1p(m.exp(-m.abs(a))),
    local_grads=lambda m, a, out: (m.sigmoid(a),),
    doc="log(1 + exp(a)), a smooth relu, without overflow.",
    method="softplus",
    samples=((0.5,), (-1000.0,), (1000.0,), *EDGES),
    domain=((-700.0, 700.0),),
)
row(
    "silu",
    value=lambda m, a: a * m.sigmoid(a),
    local_grads=lambda m, a, out: (m.sigmoid(a) * (1.0 + a * m.sigmoid(-a)),),
    doc="a * sigmoid(a), also called swish.",
    method="silu",
    samples=((0.5,), *EDGES),
    domain=(SMALL,),
    atol=1e-15,
    why="the gradient has a zero near -1.278",
)
row(
    "gelu",
    value=lambda m, a: a * m.norm_cdf(a),
    local_grads=lambda m, a, out: (m.norm_cdf(a) + a * (INV_SQRT_2PI * m.exp(-0.5 * (a * a))),),
    doc="a * norm_cdf(a), the exact form of gelu.",
    method="gelu",
    samples=((0.5,), *EDGES),
    domain=((-8.0, 8.0),),
    rtol=1.4e-14,
    atol=1e-15,
    why="as norm_cdf; the gradient has a zero near -0.752",
)
row(
    "relu",
    value=lambda m, a: m.where(m.le(a, 0.0), 0.0, a),
    local_grads=lambda m, a, out: (m.where(m.lt(0.0, out), 1.0, 0.0),),  # of a, which nobody else may need, the same
    doc="a where it is positive, else 0; nan stays nan.",
    method="relu",
    samples=((3.0,), (-2.0,), *EDGES),
    domain=(REAL,),
)

# ------------------------------------------------------------------------------------------- choices and limits
row(
    "hypot",
    value=lambda m, a, b: m.hypot(a, b),
    local_grads=lambda m, a, b, out: (
        m.where(m.eq(out, 0.0), 0.0, m.div(a, out)),
        m.where(m.eq(out, 0.0), 0.0, m.div(b, out)),
    ),
    doc="sqrt(a*a + b*b) without overflow; its gradient at the origin is the subgradient 0.",
    method="hypot",
    samples=((3.0, 4.0), (0.0, 0.0), (1e200, 1e200), (1e-200, 1e-200), (inf, nan)),
    domain=(REAL, REAL),
)


def _shared_by_ties(m: Any, xs: Any, out: Any) -> Any:
    hits = m.each(lambda x: m.where(m.eq(x, out), 1.0, 0.0), xs)
    count = m.sum(hits)  # 0 where out is nan: 0/0 keeps the nan visible
    return m.each(lambda hit: m.div(hit, count), hits)


row(
    "maximum",
    value=lambda m, xs: m.largest(xs),
    local_grads=_shared_by_ties,
    doc="The largest of any number of numbers; a tie shares its gradient equally, a nan wins.",
    vectors=1,
    variadic=True,
    method="maximum",
    samples=(([3.0, 5.0],), ([2.0, 2.0],), ([1.0, nan],), ([1.0, 7.0, 7.0, 7.0],)),
    domain=(REAL,),
)
row(
    "minimum",
    value=lambda m, xs: m.smallest(xs),
    local_grads=_shared_by_ties,
    doc="The smallest of any number of numbers; a tie shares its gradient equally, a nan wins.",
    vectors=1,
    variadic=True,
    method="minimum",
    samples=(([3.0, 5.0],), ([2.0, 2.0],), ([1.0, nan],), ([9.0, 7.0, 7.0, 7.0],)),
    domain=(REAL,),
)


def _clamp(m: Any, x: Any, low: Any, high: Any) -> Any:
    raised = m.where(m.lt(x, low), low, x)
    return m.where(m.lt(high, raised), high, raised)


def _clamp_grads(m: Any, x: Any, low: Any, high: Any, out: Any) -> Any:
    below = m.lt(x, low)
    above = m.lt(high, m.where(below, low, x))
    return (
        m.where(below, 0.0, m.where(above, 0.0, 1.0)),
        m.where(above, 0.0, m.where(below, 1.0, 0.0)),
        m.where(above, 1.0, 0.0),
    )


row(
    "clamp",
    value=_clamp,
    local_grads=_clamp_grads,
    doc="x limited to the interval from low to high; inside, edges included, its gradient is 1.",
    method="clamp",
    samples=((0.5, 0.0, 1.0), (0.0, 0.0, 1.0), (1.0, 0.0, 1.0), (-3.0, 0.0, 1.0), (3.0, 0.0, 1.0)),
    domain=(REAL, (-10.0, -1.0), (1.0, 10.0)),
)
row(
    "where",
    value=lambda m, a, b, condition: m.where(m.eq(condition, 0.0), b, a),
    local_grads=lambda m, a, b, condition, out: (
        m.where(m.eq(condition, 0.0), 0.0, 1.0),
        m.where(m.eq(condition, 0.0), 1.0, 0.0),
    ),
    doc="where(condition, a, b): a if the condition holds, else b; the branch not taken gets no gradient at all.",
    static="condition",
    skips_zero=True,
    function=False,
    samples=((3.0, 5.0, 1.0), (3.0, 5.0, 0.0)),
    domain=(REAL, REAL, (0.0, 1.0)),
)
row(
    "identity",
    value=lambda m, a: a,
    local_grads=lambda m, a, out: (1.0,),
    doc="a itself, as a new Value.",
    function=False,
    samples=((3.0,), *EDGES),
    domain=(REAL,),
)
row(
    "detach",
    value=lambda m, a: a,
    local_grads=lambda m, a, out: (0.0,),
    doc="a's number, without its gradient: what a recording keeps of ``detach`` (elsewhere it gives a new leaf).",
    skips_zero=True,
    function=False,
    samples=((3.0,), *EDGES),
    domain=(REAL,),
)

# ---------------------------------------------------------------------------------------------- many numbers
row(
    "sum",
    value=lambda m, xs: m.sum(xs),
    local_grads=lambda m, xs, out: m.each(lambda x: 1.0, xs),
    doc="The sum of a list, added in its order.",
    vectors=1,
    allows_empty=True,
    samples=(([1.0, 2.0, 3.0],), ([],), ([-0.0],), ([1e308, 1e308],)),
    domain=(REAL,),
    atol=3e-12,
    why="sums of numbers up to 1000 of both signs cancel",
)
row(
    "prod",
    value=lambda m, xs: m.product(xs),
    local_grads=lambda m, xs, out: m.products_of_others(xs),
    doc="The product of a list.",
    vectors=1,
    allows_empty=True,
    samples=(([1.0, 2.0, 3.0],), ([],), ([0.0, 2.0, 3.0],), ([0.0, 2.0, 0.0],)),
    domain=((-10.0, 10.0),),
    rtol=2e-15,
    why="one rounding for each factor",
)
row(
    "mean",
    value=lambda m, xs: m.div(m.sum(xs), m.length(xs)),
    local_grads=lambda m, xs, out: m.each(lambda x: m.div(1.0, m.length(xs)), xs),
    doc="The arithmetic mean of a list.",
    vectors=1,
    samples=(([1.0, 2.0, 4.0],), ([5.0],)),
    domain=(REAL,),
    atol=1e-12,
    why="sums of numbers up to 1000 of both signs cancel",
)
row(
    "dot",
    value=lambda m, xs, ys: m.sum(m.each(lambda x, y: x * y, xs, ys)),
    local_grads=lambda m, xs, ys, out: (ys, xs),
    doc="The dot product of two lists of one length: one Value that remembers 2n children.",
    vectors=2,
    allows_empty=True,
    samples=(([1.0, 2.0, 3.0], [4.0, 5.0, 6.0]), ([], []), ([2.0], [3.0])),
    domain=(REAL, REAL),
    atol=3e-9,
    why="sums of products up to 1e6 of both signs cancel",
)
row(
    "norm",
    value=lambda m, xs: m.norm_of(xs),
    local_grads=lambda m, xs, out: m.each(lambda x: m.where(m.eq(out, 0.0), 0.0, m.div(x, out)), xs),
    doc="The Euclidean length of a list, without overflow; its gradient at the origin is the subgradient 0.",
    vectors=1,
    allows_empty=True,
    samples=(([3.0, 4.0],), ([0.0, 0.0],), ([1e200, 1e200],), ([],), ([1e-200, 1e-200],)),
    domain=(REAL,),
)


def _logsumexp(m: Any, xs: Any) -> Any:
    top = m.largest(xs)
    shifted = m.sum(m.each(lambda x: m.exp(x - top), xs))
    return m.where(m.eq(top - top, 0.0), top + m.log(shifted), top)  # an infinite top is the answer


def _softmax(m: Any, xs: Any) -> Any:
    top = m.largest(xs)
    weights = m.keep(m.each(lambda x: m.exp(x - top), xs))
    total = m.sum(weights)
    return m.each(lambda weight: m.div(weight, total), weights)


def _log_softmax(m: Any, xs: Any) -> Any:
    total = m.logsumexp(xs)
    return m.each(lambda x: x - total, xs)


def _cross_entropy_grads(m: Any, logits: Any, target: Any, out: Any) -> Any:
    return m.each(lambda p, hot: p - hot, m.softmax(logits), m.one_hot(logits, target))


row(
    "logsumexp",
    value=_logsumexp,
    local_grads=lambda m, xs, out: m.each(lambda p: m.where(m.eq(out, -inf), 0.0, p), m.softmax(xs)),
    doc="log of the sum of exponentials, without overflow.",
    vectors=1,
    method="",
    samples=(([1000.0, 1000.0],), ([-inf, -inf],), ([1.0, 2.0, 3.0],), ([-1000.0, 0.0],)),
    domain=(SMALL,),
    rtol=6e-15,
    atol=4e-15,
    why="x - top is rounded to 2**-48, and the result may cancel near 0",
)
row(
    "softmax",
    value=_softmax,
    local_grads=lambda m, xs, outs, i: m.each(lambda hot, p: m.at(outs, i) * (hot - p), m.one_hot(xs, i), outs),
    doc="The probabilities exp(x) / sum of exp, one Value for each entry, without overflow.",
    vectors=1,
    family=True,
    static="i",
    samples=(([1.0, 2.0, 3.0],), ([1000.0, 0.0],), ([5.0],)),
    domain=(SMALL,),
    rtol=6e-15,
    atol=2e-15,
    why="x - top is rounded to 2**-48; p * (1 - p) cancels for a probability near 1",
)
row(
    "log_softmax",
    value=_log_softmax,
    local_grads=lambda m, xs, outs, i: m.each(lambda hot, log_p: hot - m.exp(log_p), m.one_hot(xs, i), outs),
    doc="The logarithms of the softmax probabilities, without overflow.",
    vectors=1,
    family=True,
    static="i",
    samples=(([1.0, 2.0, 3.0],), ([1000.0, 0.0],), ([5.0],)),
    domain=(SMALL,),
    rtol=6e-15,
    atol=1e-14,
    why="1 - p cancels for a probability near 1; x - logsumexp for the largest x",
)
row(
    "cross_entropy",
    value=lambda m, logits, target: m.logsumexp(logits) - m.at(logits, target),
    local_grads=_cross_entropy_grads,
    doc="-log softmax(logits)[target]: the surprise at the target, in nats.",
    vectors=1,
    static="target",
    integer_static=True,
    samples=(([1000.0, 0.0], 1.0), ([1.0, 2.0, 3.0], 2.0), ([5.0], 0.0)),
    domain=(SMALL, (0.0, 0.0)),
    rtol=6e-15,
    atol=1e-14,
    why="logsumexp - logit cancels when the target is almost certain; p - 1 likewise",
)
row(
    "take",
    value=lambda m, x, i: x,
    local_grads=lambda m, x, i, out: (1.0,),
    doc="Entry i of a list: a gather, whose adjoint adds into that entry alone.",
    static="i",
    function=False,
    samples=((3.0, 2.0),),
    domain=(REAL, (0.0, 5.0)),
)
