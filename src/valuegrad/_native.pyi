# Generated from primitives/table.py by primitives/stubs.py.  Do not edit.
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final, SupportsFloat, SupportsIndex, TypeAlias, final, overload

from typing_extensions import Buffer

from valuegrad.inspect.diagrams import Diagram
from valuegrad.inspect.influence import Why
from valuegrad.inspect.nudge import NudgeTable
from valuegrad.inspect.origin import Poison
from valuegrad.inspect.stepping import Steps

__all__ = [
    "Value",
    "abs",
    "acos",
    "acosh",
    "add",
    "asin",
    "asinh",
    "atan",
    "atan2",
    "atanh",
    "cbrt",
    "ceil",
    "clamp",
    "cos",
    "cosh",
    "cross_entropy",
    "detach",
    "digamma",
    "div",
    "dot",
    "erf",
    "erfc",
    "exp",
    "exp2",
    "expm1",
    "export",
    "floor",
    "floordiv",
    "fmod",
    "gelu",
    "graph",
    "hypot",
    "identity",
    "lgamma",
    "log",
    "log1p",
    "log2",
    "log10",
    "log_softmax",
    "logsumexp",
    "maximum",
    "mean",
    "minimum",
    "mod",
    "mul",
    "neg",
    "norm",
    "norm_cdf",
    "polygamma",
    "pow",
    "prod",
    "read_data",
    "read_grads",
    "recorded",
    "relu",
    "sigmoid",
    "sign",
    "silu",
    "sin",
    "sinh",
    "softmax",
    "softplus",
    "sqrt",
    "sub",
    "sum",
    "sweep",
    "take",
    "tan",
    "tanh",
    "trunc",
    "where",
    "write_data",
    "zero_grads",
]

_Number: TypeAlias = SupportsFloat
_Operand: TypeAlias = Value | SupportsFloat

DIGEST: Final[str]

@final
class Value:
    """A number that remembers how it was computed."""

    def __init__(
        self,
        data: _Number,
        children: Iterable[Value] = (),
        local_grads: Iterable[_Number] = (),
        *,
        name: str | None = None,
    ) -> None: ...
    @property
    def data(self) -> float:
        """The number."""
    @data.setter
    def data(self, data: _Number) -> None: ...
    @property
    def grad(self) -> float:
        """∂root/∂self of the backward pass; a leaf's adds up over passes."""
    @grad.setter
    def grad(self, grad: _Number) -> None: ...
    @property
    def children(self) -> tuple[Value, ...]:
        """The Values this one was computed from."""
    @property
    def local_grads(self) -> tuple[float, ...]:
        """∂self/∂child, one for each child."""
    @property
    def name(self) -> str | None:
        """A name for people."""
    @name.setter
    def name(self, name: str | None) -> None: ...
    @property
    def op(self) -> str | None:
        """The operation: a row of the primitives table, "constant", "custom", or None for a leaf."""
    @property
    def static(self) -> float | None:
        """The operation's argument that no gradient flows to, such as the exponent of ``pow``."""
    @property
    def line(self) -> str | None:
        """The source line that made it, ``file.py:12, in f``, if ``vg.remember_lines()`` was on; else None."""
    @property
    def _created(self) -> int: ...
    @property
    def _line(self) -> int: ...
    @property
    def _data(self) -> float: ...
    @property
    def _grad(self) -> float: ...
    def backward(self) -> None:
        """Fill in ``grad`` of everything this Value was computed from: ∂self/∂each."""
    def zero_grad(self) -> None:
        """Set ``grad`` to 0."""
    def __add__(self, other: _Operand, /) -> Value: ...
    def __radd__(self, other: _Number, /) -> Value: ...
    def add(self, b: _Operand, /) -> Value:
        """The sum a + b."""
    def __sub__(self, other: _Operand, /) -> Value: ...
    def __rsub__(self, other: _Number, /) -> Value: ...
    def sub(self, b: _Operand, /) -> Value:
        """The difference a - b."""
    def __mul__(self, other: _Operand, /) -> Value: ...
    def __rmul__(self, other: _Number, /) -> Value: ...
    def mul(self, b: _Operand, /) -> Value:
        """The product a * b."""
    def __truediv__(self, other: _Operand, /) -> Value: ...
    def __rtruediv__(self, other: _Number, /) -> Value: ...
    def div(self, b: _Operand, /) -> Value:
        """The quotient a / b; 1/0 is inf and 0/0 is nan, as in IEEE-754."""
    def __floordiv__(self, other: _Operand, /) -> Value: ...
    def __rfloordiv__(self, other: _Number, /) -> Value: ...
    def __mod__(self, other: _Operand, /) -> Value: ...
    def __rmod__(self, other: _Number, /) -> Value: ...
    def __neg__(self) -> Value: ...
    def neg(self) -> Value:
        """The negative -a."""
    def __abs__(self) -> Value: ...
    def abs(self) -> Value:
        """The absolute value; its gradient at 0 is 0."""
    def sign(self) -> Value:
        """1, 0 or -1 by the sign of a."""
    def __floor__(self) -> Value: ...
    def floor(self) -> Value:
        """The largest integer not above a; piecewise constant."""
    def __ceil__(self) -> Value: ...
    def ceil(self) -> Value:
        """The smallest integer not below a; piecewise constant."""
    def __trunc__(self) -> Value: ...
    def trunc(self) -> Value:
        """a without its fraction; piecewise constant."""
    def fmod(self, b: _Operand, /) -> Value:
        """The remainder of a / b with the sign of a, as in C."""
    def exp(self) -> Value:
        """e to the power a; its own derivative."""
    def expm1(self) -> Value:
        """exp(a) - 1, exact for small a."""
    def exp2(self) -> Value:
        """2 to the power a."""
    def log(self) -> Value:
        """The natural logarithm; log(0) is -inf and log of a negative number nan."""
    def log1p(self) -> Value:
        """log(1 + a), exact for small a."""
    def log2(self) -> Value:
        """The logarithm to base 2."""
    def log10(self) -> Value:
        """The logarithm to base 10."""
    def sqrt(self) -> Value:
        """The square root; infinitely steep at 0, nan below."""
    def cbrt(self) -> Value:
        """The real cube root, of negative numbers too."""
    def sin(self) -> Value:
        """The sine of an angle in radians."""
    def cos(self) -> Value:
        """The cosine of an angle in radians."""
    def tan(self) -> Value:
        """The tangent of an angle in radians."""
    def asin(self) -> Value:
        """The angle in [-pi/2, pi/2] whose sine is a."""
    def acos(self) -> Value:
        """The angle in [0, pi] whose cosine is a."""
    def atan(self) -> Value:
        """The angle in (-pi/2, pi/2) whose tangent is a."""
    def atan2(self, x: _Operand, /) -> Value:
        """The angle in [-pi, pi] of the point (x, y); its gradient at the origin is nan, as no limit exists."""
    def sinh(self) -> Value:
        """The hyperbolic sine."""
    def cosh(self) -> Value:
        """The hyperbolic cosine."""
    def tanh(self) -> Value:
        """The hyperbolic tangent."""
    def asinh(self) -> Value:
        """The inverse hyperbolic sine."""
    def acosh(self) -> Value:
        """The inverse hyperbolic cosine, of numbers from 1 on."""
    def atanh(self) -> Value:
        """The inverse hyperbolic tangent, of numbers between -1 and 1."""
    def erf(self) -> Value:
        """The error function."""
    def erfc(self) -> Value:
        """1 - erf(a), accurate in the upper tail."""
    def norm_cdf(self) -> Value:
        """The probability that a standard normal number is below a."""
    def lgamma(self) -> Value:
        """log|gamma(a)|."""
    def digamma(self) -> Value:
        """The derivative of lgamma."""
    def polygamma(self, n: SupportsIndex, /) -> Value:
        """The n-th derivative of digamma, n >= 1."""
    def sigmoid(self) -> Value:
        """The logistic function 1 / (1 + exp(-a)), without overflow."""
    def softplus(self) -> Value:
        """log(1 + exp(a)), a smooth relu, without overflow."""
    def silu(self) -> Value:
        """a * sigmoid(a), also called swish."""
    def gelu(self) -> Value:
        """a * norm_cdf(a), the exact form of gelu."""
    def relu(self) -> Value:
        """a where it is positive, else 0; nan stays nan."""
    def hypot(self, b: _Operand, /) -> Value:
        """sqrt(a*a + b*b) without overflow; its gradient at the origin is the subgradient 0."""
    def maximum(self, /, *others: _Operand) -> Value:
        """The largest of any number of numbers; a tie shares its gradient equally, a nan wins."""
    def minimum(self, /, *others: _Operand) -> Value:
        """The smallest of any number of numbers; a tie shares its gradient equally, a nan wins."""
    def clamp(self, low: _Operand, high: _Operand, /) -> Value:
        """x limited to the interval from low to high; inside, edges included, its gradient is 1."""
    def nudge_table(self, *, nudge: float = 0.001) -> NudgeTable:
        """What a nudge to each child does to this operation's result: ``vg.inspect.nudge_table``."""
    def why(
        self,
        *,
        inputs: Iterable[Value] | None = None,
        relative: float = 0.01,
        nudge: float | None = None,
        paths: int = 3,
        rows: int = 10,
    ) -> Why:
        """Which inputs move this number most, and along which paths: ``vg.why``."""
    def poison(self) -> Poison:
        """The first operation that turned finite numbers into nan or inf: ``vg.poison``."""
    def steps(self, wrong: str | None = None) -> Steps:
        """The backward pass, one ``child.grad += local_grad * grad`` at a time: ``vg.inspect.steps``."""
    def diagram(
        self,
        *,
        names: Mapping[str, Any] | Mapping[Value, str] | None = None,
        grads: bool = True,
        most: int = 60,
        collapse: bool = True,
        expand: Collection[int | str] = (),
        direction: str = "down",
    ) -> Diagram:
        """The graph as a picture: ``vg.inspect.diagram``."""
    def _repr_html_(self) -> str | None:
        """What a notebook shows: data, grad, and the graph."""
    def _repr_svg_(self) -> str | None:
        """What a notebook shows where it cannot show HTML: the graph."""
    def pow(self, exponent: _Operand, /) -> Value:
        """self ** exponent; a plain exponent gets no gradient."""
    def __pow__(self, exponent: _Operand, /) -> Value: ...
    def __rpow__(self, base: _Number, /) -> Value: ...
    def __round__(self, digits: SupportsIndex | None = None, /) -> Value: ...
    def __divmod__(self, other: _Operand, /) -> tuple[Value, Value]: ...
    def __rdivmod__(self, other: _Number, /) -> tuple[Value, Value]: ...
    def __pos__(self) -> Value: ...
    def __bool__(self) -> bool: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    def __lt__(self, other: _Operand, /) -> bool: ...
    def __le__(self, other: _Operand, /) -> bool: ...
    def __gt__(self, other: _Operand, /) -> bool: ...
    def __ge__(self, other: _Operand, /) -> bool: ...
    def __hash__(self) -> int: ...
    def __format__(self, spec: str, /) -> str: ...

@overload
def add(a: Value, b: _Operand, /) -> Value:
    """The sum a + b."""

@overload
def add(a: _Operand, b: Value, /) -> Value: ...
@overload
def add(a: _Number, b: _Number, /) -> float: ...
@overload
def sub(a: Value, b: _Operand, /) -> Value:
    """The difference a - b."""

@overload
def sub(a: _Operand, b: Value, /) -> Value: ...
@overload
def sub(a: _Number, b: _Number, /) -> float: ...
@overload
def mul(a: Value, b: _Operand, /) -> Value:
    """The product a * b."""

@overload
def mul(a: _Operand, b: Value, /) -> Value: ...
@overload
def mul(a: _Number, b: _Number, /) -> float: ...
@overload
def div(a: Value, b: _Operand, /) -> Value:
    """The quotient a / b; 1/0 is inf and 0/0 is nan, as in IEEE-754."""

@overload
def div(a: _Operand, b: Value, /) -> Value: ...
@overload
def div(a: _Number, b: _Number, /) -> float: ...
@overload
def floordiv(a: Value, b: _Operand, /) -> Value:
    """The quotient rounded towards minus infinity, a // b; piecewise constant."""

@overload
def floordiv(a: _Operand, b: Value, /) -> Value: ...
@overload
def floordiv(a: _Number, b: _Number, /) -> float: ...
@overload
def mod(a: Value, b: _Operand, /) -> Value:
    """The remainder a % b with the sign of b."""

@overload
def mod(a: _Operand, b: Value, /) -> Value: ...
@overload
def mod(a: _Number, b: _Number, /) -> float: ...
@overload
def neg(a: Value, /) -> Value:
    """The negative -a."""

@overload
def neg(a: _Number, /) -> float: ...
@overload
def abs(a: Value, /) -> Value:
    """The absolute value; its gradient at 0 is 0."""

@overload
def abs(a: _Number, /) -> float: ...
@overload
def sign(a: Value, /) -> Value:
    """1, 0 or -1 by the sign of a."""

@overload
def sign(a: _Number, /) -> float: ...
@overload
def floor(a: Value, /) -> Value:
    """The largest integer not above a; piecewise constant."""

@overload
def floor(a: _Number, /) -> float: ...
@overload
def ceil(a: Value, /) -> Value:
    """The smallest integer not below a; piecewise constant."""

@overload
def ceil(a: _Number, /) -> float: ...
@overload
def trunc(a: Value, /) -> Value:
    """a without its fraction; piecewise constant."""

@overload
def trunc(a: _Number, /) -> float: ...
@overload
def fmod(a: Value, b: _Operand, /) -> Value:
    """The remainder of a / b with the sign of a, as in C."""

@overload
def fmod(a: _Operand, b: Value, /) -> Value: ...
@overload
def fmod(a: _Number, b: _Number, /) -> float: ...
@overload
def exp(a: Value, /) -> Value:
    """e to the power a; its own derivative."""

@overload
def exp(a: _Number, /) -> float: ...
@overload
def expm1(a: Value, /) -> Value:
    """exp(a) - 1, exact for small a."""

@overload
def expm1(a: _Number, /) -> float: ...
@overload
def exp2(a: Value, /) -> Value:
    """2 to the power a."""

@overload
def exp2(a: _Number, /) -> float: ...
@overload
def log(a: Value, /) -> Value:
    """The natural logarithm; log(0) is -inf and log of a negative number nan."""

@overload
def log(a: _Number, /) -> float: ...
@overload
def log1p(a: Value, /) -> Value:
    """log(1 + a), exact for small a."""

@overload
def log1p(a: _Number, /) -> float: ...
@overload
def log2(a: Value, /) -> Value:
    """The logarithm to base 2."""

@overload
def log2(a: _Number, /) -> float: ...
@overload
def log10(a: Value, /) -> Value:
    """The logarithm to base 10."""

@overload
def log10(a: _Number, /) -> float: ...
@overload
def sqrt(a: Value, /) -> Value:
    """The square root; infinitely steep at 0, nan below."""

@overload
def sqrt(a: _Number, /) -> float: ...
@overload
def cbrt(a: Value, /) -> Value:
    """The real cube root, of negative numbers too."""

@overload
def cbrt(a: _Number, /) -> float: ...
@overload
def sin(a: Value, /) -> Value:
    """The sine of an angle in radians."""

@overload
def sin(a: _Number, /) -> float: ...
@overload
def cos(a: Value, /) -> Value:
    """The cosine of an angle in radians."""

@overload
def cos(a: _Number, /) -> float: ...
@overload
def tan(a: Value, /) -> Value:
    """The tangent of an angle in radians."""

@overload
def tan(a: _Number, /) -> float: ...
@overload
def asin(a: Value, /) -> Value:
    """The angle in [-pi/2, pi/2] whose sine is a."""

@overload
def asin(a: _Number, /) -> float: ...
@overload
def acos(a: Value, /) -> Value:
    """The angle in [0, pi] whose cosine is a."""

@overload
def acos(a: _Number, /) -> float: ...
@overload
def atan(a: Value, /) -> Value:
    """The angle in (-pi/2, pi/2) whose tangent is a."""

@overload
def atan(a: _Number, /) -> float: ...
@overload
def atan2(y: Value, x: _Operand, /) -> Value:
    """The angle in [-pi, pi] of the point (x, y); its gradient at the origin is nan, as no limit exists."""

@overload
def atan2(y: _Operand, x: Value, /) -> Value: ...
@overload
def atan2(y: _Number, x: _Number, /) -> float: ...
@overload
def sinh(a: Value, /) -> Value:
    """The hyperbolic sine."""

@overload
def sinh(a: _Number, /) -> float: ...
@overload
def cosh(a: Value, /) -> Value:
    """The hyperbolic cosine."""

@overload
def cosh(a: _Number, /) -> float: ...
@overload
def tanh(a: Value, /) -> Value:
    """The hyperbolic tangent."""

@overload
def tanh(a: _Number, /) -> float: ...
@overload
def asinh(a: Value, /) -> Value:
    """The inverse hyperbolic sine."""

@overload
def asinh(a: _Number, /) -> float: ...
@overload
def acosh(a: Value, /) -> Value:
    """The inverse hyperbolic cosine, of numbers from 1 on."""

@overload
def acosh(a: _Number, /) -> float: ...
@overload
def atanh(a: Value, /) -> Value:
    """The inverse hyperbolic tangent, of numbers between -1 and 1."""

@overload
def atanh(a: _Number, /) -> float: ...
@overload
def erf(a: Value, /) -> Value:
    """The error function."""

@overload
def erf(a: _Number, /) -> float: ...
@overload
def erfc(a: Value, /) -> Value:
    """1 - erf(a), accurate in the upper tail."""

@overload
def erfc(a: _Number, /) -> float: ...
@overload
def norm_cdf(a: Value, /) -> Value:
    """The probability that a standard normal number is below a."""

@overload
def norm_cdf(a: _Number, /) -> float: ...
@overload
def lgamma(a: Value, /) -> Value:
    """log|gamma(a)|."""

@overload
def lgamma(a: _Number, /) -> float: ...
@overload
def digamma(a: Value, /) -> Value:
    """The derivative of lgamma."""

@overload
def digamma(a: _Number, /) -> float: ...
@overload
def polygamma(a: Value, n: SupportsIndex, /) -> Value:
    """The n-th derivative of digamma, n >= 1."""

@overload
def polygamma(a: _Number, n: SupportsIndex, /) -> float: ...
@overload
def sigmoid(a: Value, /) -> Value:
    """The logistic function 1 / (1 + exp(-a)), without overflow."""

@overload
def sigmoid(a: _Number, /) -> float: ...
@overload
def softplus(a: Value, /) -> Value:
    """log(1 + exp(a)), a smooth relu, without overflow."""

@overload
def softplus(a: _Number, /) -> float: ...
@overload
def silu(a: Value, /) -> Value:
    """a * sigmoid(a), also called swish."""

@overload
def silu(a: _Number, /) -> float: ...
@overload
def gelu(a: Value, /) -> Value:
    """a * norm_cdf(a), the exact form of gelu."""

@overload
def gelu(a: _Number, /) -> float: ...
@overload
def relu(a: Value, /) -> Value:
    """a where it is positive, else 0; nan stays nan."""

@overload
def relu(a: _Number, /) -> float: ...
@overload
def hypot(a: Value, b: _Operand, /) -> Value:
    """sqrt(a*a + b*b) without overflow; its gradient at the origin is the subgradient 0."""

@overload
def hypot(a: _Operand, b: Value, /) -> Value: ...
@overload
def hypot(a: _Number, b: _Number, /) -> float: ...
@overload
def maximum(first: Value, /, *xs: _Operand) -> Value:
    """The largest of any number of numbers; a tie shares its gradient equally, a nan wins."""

@overload
def maximum(first: _Number, second: Value, /, *xs: _Operand) -> Value: ...
@overload
def maximum(first: _Number, /, *xs: _Number) -> float: ...
@overload
def maximum(first: _Operand, /, *xs: _Operand) -> Value | float: ...
@overload
def maximum(xs: Iterable[Value], /) -> Value: ...
@overload
def maximum(xs: Iterable[_Number], /) -> float: ...
@overload
def maximum(xs: Iterable[_Operand], /) -> Value | float: ...
@overload
def minimum(first: Value, /, *xs: _Operand) -> Value:
    """The smallest of any number of numbers; a tie shares its gradient equally, a nan wins."""

@overload
def minimum(first: _Number, second: Value, /, *xs: _Operand) -> Value: ...
@overload
def minimum(first: _Number, /, *xs: _Number) -> float: ...
@overload
def minimum(first: _Operand, /, *xs: _Operand) -> Value | float: ...
@overload
def minimum(xs: Iterable[Value], /) -> Value: ...
@overload
def minimum(xs: Iterable[_Number], /) -> float: ...
@overload
def minimum(xs: Iterable[_Operand], /) -> Value | float: ...
@overload
def clamp(x: Value, low: _Operand, high: _Operand, /) -> Value:
    """x limited to the interval from low to high; inside, edges included, its gradient is 1."""

@overload
def clamp(x: _Operand, low: Value, high: _Operand, /) -> Value: ...
@overload
def clamp(x: _Operand, low: _Operand, high: Value, /) -> Value: ...
@overload
def clamp(x: _Number, low: _Number, high: _Number, /) -> float: ...
@overload
def sum(xs: Iterable[Value], /) -> Value:
    """The sum of a list, added in its order."""

@overload
def sum(xs: Iterable[_Number], /) -> float: ...
@overload
def sum(xs: Iterable[_Operand], /) -> Value | float: ...
@overload
def prod(xs: Iterable[Value], /) -> Value:
    """The product of a list."""

@overload
def prod(xs: Iterable[_Number], /) -> float: ...
@overload
def prod(xs: Iterable[_Operand], /) -> Value | float: ...
@overload
def mean(xs: Iterable[Value], /) -> Value:
    """The arithmetic mean of a list."""

@overload
def mean(xs: Iterable[_Number], /) -> float: ...
@overload
def mean(xs: Iterable[_Operand], /) -> Value | float: ...
@overload
def dot(xs: Iterable[Value], ys: Iterable[_Operand], /) -> Value:
    """The dot product of two lists of one length: one Value that remembers 2n children."""

@overload
def dot(xs: Iterable[_Operand], ys: Iterable[Value], /) -> Value: ...
@overload
def dot(xs: Iterable[_Number], ys: Iterable[_Number], /) -> float: ...
@overload
def dot(xs: Iterable[_Operand], ys: Iterable[_Operand], /) -> Value | float: ...
@overload
def norm(xs: Iterable[Value], /) -> Value:
    """The Euclidean length of a list, without overflow; its gradient at the origin is the subgradient 0."""

@overload
def norm(xs: Iterable[_Number], /) -> float: ...
@overload
def norm(xs: Iterable[_Operand], /) -> Value | float: ...
@overload
def logsumexp(xs: Iterable[Value], /) -> Value:
    """log of the sum of exponentials, without overflow."""

@overload
def logsumexp(xs: Iterable[_Number], /) -> float: ...
@overload
def logsumexp(xs: Iterable[_Operand], /) -> Value | float: ...
@overload
def softmax(xs: Iterable[Value], /) -> list[Value]:
    """The probabilities exp(x) / sum of exp, one Value for each entry, without overflow."""

@overload
def softmax(xs: Iterable[_Number], /) -> list[float]: ...
@overload
def softmax(xs: Iterable[_Operand], /) -> list[Value] | list[float]: ...
@overload
def log_softmax(xs: Iterable[Value], /) -> list[Value]:
    """The logarithms of the softmax probabilities, without overflow."""

@overload
def log_softmax(xs: Iterable[_Number], /) -> list[float]: ...
@overload
def log_softmax(xs: Iterable[_Operand], /) -> list[Value] | list[float]: ...
@overload
def cross_entropy(logits: Iterable[Value], target: SupportsIndex, /) -> Value:
    """-log softmax(logits)[target]: the surprise at the target, in nats."""

@overload
def cross_entropy(logits: Iterable[_Number], target: SupportsIndex, /) -> float: ...
@overload
def cross_entropy(logits: Iterable[_Operand], target: SupportsIndex, /) -> Value | float: ...
@overload
def pow(base: Value, exponent: _Operand, /) -> Value:
    """base ** exponent; a plain exponent gets no gradient."""

@overload
def pow(base: _Operand, exponent: Value, /) -> Value: ...
@overload
def pow(base: _Number, exponent: _Number, /) -> float: ...
@overload
def where(condition: object, a: Value, b: _Operand, /) -> Value:
    """a if the condition holds, else b; the branch not taken gets no gradient."""

@overload
def where(condition: object, a: _Operand, b: Value, /) -> Value: ...
@overload
def where(condition: object, a: _Number, b: _Number, /) -> float: ...
@overload
def take(xs: Sequence[Value], index: SupportsIndex, /) -> Value:
    """Entry ``index`` of a list of numbers (or of lists of numbers)."""

@overload
def take(xs: Sequence[_Number], index: SupportsIndex, /) -> float: ...
@overload
def take(xs: Sequence[_Operand], index: SupportsIndex, /) -> Value | float: ...
@overload
def take(xs: Sequence[Sequence[Value]], index: SupportsIndex, /) -> list[Value]: ...
@overload
def take(xs: Sequence[Sequence[_Number]], index: SupportsIndex, /) -> list[float]: ...
@overload
def take(xs: Sequence[Sequence[_Operand]], index: SupportsIndex, /) -> list[Value | float]: ...
@overload
def detach(a: Value, /) -> Value:
    """The number alone: a new leaf that does not remember where it came from."""

@overload
def detach(a: _Number, /) -> float: ...
def identity(a: Value, /) -> Value:
    """``a`` itself, as a new Value that remembers ``a``."""

def graph(roots: Iterable[Value], since: int = 0) -> list[Value]:
    """All Values the roots were computed from, themselves included, oldest first; none created before ``since``."""

def recorded(code: int, data: float, children: Sequence[Value], local_grads: Sequence[float]) -> Value:
    """A Value of op "recorded": what only a recording has, such as a choice by a comparison."""

def export(
    roots: Sequence[Value], since: int, inputs: Sequence[Value]
) -> tuple[bytearray, bytearray, bytearray, bytearray, list[int], list[Value], int, int]:
    """What the roots were computed from since then, as the arrays of a ``valuegrad.graph.Graph``.

    (ops, starts, operands, numbers, the roots' nodes, older leaves that became inputs, the newest creation number of
    what became a constant though it was computed, how many opaque custom Values were met)
    """

def sweep(root: Value, since: int) -> None:
    """The backward pass, leaving alone what was created before ``since``."""

def read_data(values: Iterable[Value]) -> bytearray:
    """The numbers of many Values, as the bytes of float64s (for ``numpy.frombuffer``)."""

def read_grads(values: Iterable[Value]) -> bytearray:
    """The grads of many Values, as the bytes of float64s."""

def write_data(values: Iterable[Value], numbers: Buffer) -> None:
    """Set the numbers of many leaves from a buffer of float64s."""

def zero_grads(values: Iterable[Value]) -> None:
    """Set the grads of many Values to 0."""
