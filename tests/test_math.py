"""valuegrad.math: every name of Python's math, on floats and on Values."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import hypothesis.strategies as st
import mpmath
import pytest
from engines import bits
from hypothesis import example, given

import valuegrad as vg
from valuegrad import Value
from valuegrad import math as vm
from valuegrad.inspect import check_gradients

inf, nan = math.inf, math.nan
floats = st.floats(allow_subnormal=True)
finite = st.floats(allow_nan=False, allow_infinity=False)

ONE = (
    *(
        "acos",
        "acosh",
        "asin",
        "asinh",
        "atan",
        "atanh",
        "cbrt",
        "ceil",
        "cos",
        "cosh",
        "degrees",
        "erf",
        "erfc",
        "exp",
    ),
    *("exp2", "expm1", "fabs", "floor", "gamma", "lgamma", "log", "log10", "log1p", "log2", "radians", "sin", "sinh"),
    *("sqrt", "tan", "tanh", "trunc", "ulp"),
)
TWO = ("atan2", "copysign", "fmod", "hypot", "log", "nextafter", "pow", "remainder")
# Ours, not the C library's: correct to a few units in the last place (test_primitives_oracle.py).
OWN = {"cbrt", "lgamma", "exp2", "hypot"}


def python(name: str, *args: float) -> float | None:
    """What Python's math gives; None where it raises or (3.10) lacks the function."""
    try:
        return getattr(math, name)(*args)  # type: ignore[no-any-return]
    except (ValueError, OverflowError, ZeroDivisionError, AttributeError):
        return None


def data(x: Any) -> float:
    return x.data if type(x) is Value else float(x)


# --------------------------------------------------------------------------------------------------- names
def test_every_name_of_pythons_math_is_there() -> None:
    public = {name for name in dir(math) if not name.startswith("_")}
    assert public <= set(dir(vm))
    assert public <= set(vm.__all__)
    assert all(hasattr(vm, name) for name in vm.__all__)


def test_newer_functions_are_there_on_older_pythons_too() -> None:
    assert vm.cbrt(-8.0) == -2.0
    assert vm.exp2(3.0) == 8.0
    assert vm.fma(2.0, 3.0, 1.0) == 7.0
    assert vm.sumprod([1.0, 2.0], [3.0, 4.0]) == 11.0


def test_constants_are_pythons() -> None:
    assert (vm.pi, vm.e, vm.tau, vm.inf) == (math.pi, math.e, math.tau, inf)
    assert math.isnan(vm.nan)


def test_functions_of_the_table_are_the_engines_own() -> None:
    for name in ("exp", "sin", "sqrt", "tanh", "atan2", "pow", "erf"):
        assert getattr(vm, name) is getattr(vg, name)
    assert vm.fabs is vg.value.abs


def test_every_function_has_a_docstring() -> None:
    assert [name for name in vm.__all__ if callable(getattr(vm, name)) and not getattr(vm, name).__doc__] == []


# ------------------------------------------------------------------------------------------ floats in, floats out
def agrees(name: str, got: Any, right: Any) -> bool:
    if name in OWN:
        return got == pytest.approx(right, rel=2e-14, abs=4e-15, nan_ok=True)  # lgamma cancels near its zeros
    return bits(got) == bits(right)


@pytest.mark.parametrize("name", ONE)
@given(x=st.one_of(floats, st.floats(-50, 50), st.floats(-1, 1)))
@example(x=-0.0)
def test_functions_of_one_number_are_pythons(name: str, x: float) -> None:
    right = python(name, x)
    got = getattr(vm, name)(x)
    assert type(got) is (int if name in ("floor", "ceil", "trunc") and math.isfinite(x) else float)
    if right is not None:
        assert agrees(name, got, right)


@pytest.mark.parametrize("name", TWO)
@given(x=st.one_of(floats, st.floats(-50, 50)), y=st.one_of(floats, st.floats(-50, 50)))
def test_functions_of_two_numbers_are_pythons(name: str, x: float, y: float) -> None:
    right = python(name, x, y)
    got = getattr(vm, name)(x, y)
    assert type(got) is float
    if right is not None:
        assert agrees(name, got, right)


@given(finite, finite)
def test_remainder_is_exact(x: float, y: float) -> None:
    if y == 0.0:
        assert math.isnan(vm.remainder(x, y))
    else:
        n = round(Fraction(x) / Fraction(y))  # halves to even
        assert Fraction(vm.remainder(x, y)) == Fraction(x) - n * Fraction(y)


@pytest.mark.parametrize(
    ("name", "args", "right"),
    [
        ("log", (0.0,), -inf),
        ("log", (-1.0,), nan),
        ("log", (0.0, 10.0), -inf),
        ("log", (2.0, 1.0), inf),
        ("log2", (0.0,), -inf),
        ("log10", (-1.0,), nan),
        ("log1p", (-1.0,), -inf),
        ("exp", (1000.0,), inf),
        ("expm1", (1000.0,), inf),
        ("sqrt", (-1.0,), nan),
        ("pow", (0.0, -1.0), inf),
        ("pow", (-8.0, 1 / 3), nan),
        ("pow", (10.0, 1000.0), inf),
        ("acos", (2.0,), nan),
        ("atanh", (1.0,), inf),
        ("sin", (inf,), nan),
        ("cosh", (1000.0,), inf),
        ("sinh", (-1000.0,), -inf),
        ("fmod", (1.0, 0.0), nan),
        ("fmod", (inf, 1.0), nan),
        ("remainder", (1.0, 0.0), nan),
        ("remainder", (inf, 1.0), nan),
        ("remainder", (1.0, inf), 1.0),
        ("remainder", (-0.0, inf), -0.0),
        ("gamma", (0.0,), inf),
        ("gamma", (-0.0,), -inf),
        ("gamma", (-1.0,), nan),
        ("gamma", (-inf,), nan),
        ("gamma", (172.0,), inf),
        ("lgamma", (0.0,), inf),
        ("lgamma", (-1.0,), inf),
        ("floor", (inf,), inf),
        ("ceil", (-inf,), -inf),
        ("trunc", (nan,), nan),
        ("ldexp", (1.0, 5000), inf),
        ("ldexp", (-1.0, 5000), -inf),
        ("ldexp", (1.0, -5000), 0.0),
        ("dist", ((0.0, inf), (0.0, 0.0)), inf),
        ("fma", (inf, 0.0, 1.0), nan),
        ("fma", (1e300, 1e300, -inf), -inf),
        ("fma", (1e300, 1e300, 0.0), inf),
        ("fma", (1e-200, -1e-200, 0.0), -0.0),
        ("fma", (-0.0, 1.0, -0.0), -0.0),
        ("fsum", ([inf, -inf],), nan),
        ("fsum", ([1e308, 1e308, -1e308],), 1e308),
        ("fsum", ([1e308, 1e308],), inf),
        ("fsum", ([1e308, 1e308, -inf],), -inf),
        ("fsum", ([],), 0.0),
        ("sumprod", ([inf, 1.0], [0.0, 1.0]), nan),
        ("sumprod", ([1e200, 1e200], [1e200, -1e200]), 0.0),
        ("hypot", (), 0.0),
        ("hypot", (inf, nan), inf),
        ("hypot", (1e200, 1e200, 1e200), math.sqrt(3) * 1e200),
        ("prod", ([inf, 0.0],), nan),
    ],
)
def test_no_function_raises_because_of_a_number(name: str, args: tuple[Any, ...], right: float) -> None:
    got = getattr(vm, name)(*args)
    assert got == pytest.approx(right, rel=1e-15, nan_ok=True)
    assert math.copysign(1.0, got) == math.copysign(1.0, right) or math.isnan(right)


def test_rounding_gives_integers_of_any_size() -> None:
    assert vm.floor(1e300) == math.floor(1e300)
    assert [type(f(2.5)) for f in (vm.floor, vm.ceil, vm.trunc)] == [int, int, int]
    assert vm.floor(Fraction(7, 2)) == 3


def test_logarithms_take_integers_beyond_float64() -> None:
    huge = 10**400
    assert vm.log(huge) == math.log(huge)
    assert vm.log10(huge) == math.log10(huge)
    assert vm.log2(1 << 5000) == 5000.0
    assert vm.log(huge, 10) == pytest.approx(400.0)


def test_sums_and_products_of_integers_are_integers() -> None:
    assert vm.prod([2, 3]) == 6
    assert type(vm.prod([2, 3])) is int
    assert type(vm.sumprod([2, 3], [4, 5])) is int
    assert vm.prod([2.0, 3.0], start=2) == 12.0
    assert vm.prod([]) == 1


@given(st.lists(finite, max_size=8))
def test_fsum_is_rounded_once(xs: list[float]) -> None:
    right = sum(map(Fraction, xs), Fraction(0))
    try:
        assert vm.fsum(xs) == float(right)
    except OverflowError:
        assert vm.fsum(xs) == (inf if right > 0 else -inf)


@given(st.lists(st.tuples(st.floats(-1e100, 1e100), st.floats(-1e100, 1e100)), max_size=6))
def test_sumprod_and_fma_are_rounded_once(pairs: list[tuple[float, float]]) -> None:
    right = sum((Fraction(x) * Fraction(y) for x, y in pairs), Fraction(0))
    assert vm.sumprod([x for x, _ in pairs], [y for _, y in pairs]) == float(right)
    for x, y in pairs:
        assert vm.fma(x, y, 1.0) == float(Fraction(x) * Fraction(y) + 1)


@given(finite)
def test_parts_of_a_number_make_it_again(x: float) -> None:
    mantissa, exponent = vm.frexp(x)
    assert (mantissa, exponent) == math.frexp(x)
    assert vm.ldexp(mantissa, exponent) == x
    assert [bits(part) for part in vm.modf(x)] == [bits(part) for part in math.modf(x)]


@pytest.mark.parametrize("x", [inf, -inf, nan])
def test_parts_of_no_finite_number_are_pythons(x: float) -> None:
    assert [bits(part) for part in vm.modf(x)] == [bits(part) for part in math.modf(x)]
    assert [bits(part.data) for part in vm.modf(Value(x))] == [bits(part) for part in math.modf(x)]
    assert bits(vm.frexp(x)[0]) == bits(math.frexp(x)[0])


# ---------------------------------------------------------------------------------------- Values in, Values out
CASES: list[tuple[str, tuple[Any, ...]]] = [
    *[(name, (0.7,)) for name in ONE if name != "acosh"],
    ("acosh", (1.7,)),
    *[(name, (1.7, 0.6)) for name in TWO],
    ("remainder", (-7.3, 2.0)),
    ("remainder", (8.9, -2.0)),
    ("remainder", (0.0, 3.0)),
    ("copysign", (1.5, -2.0)),
    ("copysign", (-1.5, 0.5)),
    ("hypot", (1.0, 2.0, 2.0)),
    ("hypot", (3.0,)),
    ("gamma", (-2.5,)),
    ("gamma", (30.5,)),
    ("fma", (2.0, 3.0, 0.5)),
]


@pytest.mark.parametrize(("name", "args"), CASES)
def test_values_give_the_same_number_as_floats(name: str, args: tuple[float, ...]) -> None:
    function = getattr(vm, name)
    out = function(*[Value(x) for x in args])
    assert type(out) is Value
    assert bits(out.data) == bits(float(function(*args)))
    for i in range(len(args)):  # one Value among plain numbers
        mixed = function(*[Value(x) if i == j else x for j, x in enumerate(args)])
        assert data(mixed) == out.data


# Not ulp: it is a step at every power of two, and its differences are those of a staircase.
@pytest.mark.parametrize(("name", "args"), [case for case in CASES if case[0] != "ulp"])
def test_gradients_agree_with_differences_in_both_orders(name: str, args: tuple[float, ...]) -> None:
    check = check_gradients(getattr(vm, name), *args)
    assert check.ok, str(check)


LISTS: list[tuple[str, Callable[..., Any], list[float], list[float]]] = [
    ("fsum", vm.fsum, [0.1, 0.2, 0.3], [1.0, 1.0, 1.0]),
    ("prod", vm.prod, [2.0, 3.0, 4.0], [12.0, 8.0, 6.0]),
    ("prod with a start", lambda xs: vm.prod(xs, start=2.0), [3.0, 4.0], [8.0, 6.0]),
    ("sumprod", lambda xs: vm.sumprod(xs[:2], xs[2:]), [1.0, 2.0, 3.0, 4.0], [3.0, 4.0, 1.0, 2.0]),
    ("dist", lambda xs: vm.dist(xs[:2], xs[2:]), [1.0, 2.0, 4.0, 6.0], [-0.6, -0.8, 0.6, 0.8]),
    ("ldexp", lambda xs: vm.ldexp(xs[0], -3), [3.0], [0.125]),
    ("frexp", lambda xs: vm.frexp(xs[0])[0], [12.0], [0.0625]),
    ("modf", lambda xs: vm.modf(xs[0])[0], [2.75], [1.0]),
    ("degrees", lambda xs: vm.degrees(xs[0]), [1.0], [180 / math.pi]),
    ("radians", lambda xs: vm.radians(xs[0]), [1.0], [math.pi / 180]),
    ("log to a base", lambda xs: vm.log(8.0, xs[0]), [2.0], [-math.log(8) / (2 * math.log(2) ** 2)]),
]


@pytest.mark.parametrize(("f", "xs", "right"), [case[1:] for case in LISTS], ids=[case[0] for case in LISTS])
def test_gradient_is_the_closed_form(f: Any, xs: list[float], right: list[float]) -> None:
    assert vg.grad(f)(xs) == pytest.approx(right, rel=1e-14)
    assert check_gradients(f, xs).ok


def test_gradient_of_remainder_at_zero_is_one() -> None:
    assert vg.grad(vm.remainder, (0, 1))(0.0, 2.0) == (1.0, 0.0)
    assert vg.grad(vm.remainder, (0, 1))(7.0, inf) == (1.0, 0.0)


def test_ulp_is_constant_almost_everywhere() -> None:
    assert vg.grad(vm.ulp)(0.7) == 0.0


@pytest.mark.parametrize("x", [0.3, 1.0, 4.5, -1.5, 20.0])
def test_derivatives_of_gamma_up_to_the_fourth_are_mpmaths(x: float) -> None:
    f: Any = vm.gamma
    with mpmath.workdps(50):
        for right in [mpmath.diff(mpmath.gamma, mpmath.mpf(x), order) for order in range(5)]:
            # digamma and polygamma are good to 2e-14; the terms of the fourth derivative cancel by less than 100
            assert f(x) == pytest.approx(float(right), rel=2e-12)
            f = vg.grad(f)


def test_questions_look_at_a_values_number() -> None:
    assert vm.isnan(Value(nan))
    assert not vm.isnan(Value(1.0))
    assert vm.isinf(Value(-inf))
    assert vm.isfinite(Value(1.0))
    assert vm.isclose(Value(1.0), 1.0 + 1e-12)
    assert not vm.isclose(Value(1.0), Value(1.1))
    assert vm.isclose(1.0, Value(1.1), rel_tol=0.2)


# --------------------------------------------------------------------------------------------------- errors
@pytest.mark.parametrize("name", ["factorial", "gcd", "comb", "perm", "isqrt", "lcm"])
def test_functions_of_integers_refuse_values(name: str) -> None:
    function = getattr(vm, name)
    assert function is getattr(math, name)
    with pytest.raises(TypeError):
        function(*[Value(4.0)] * (1 if name in ("factorial", "isqrt") else 2))


@pytest.mark.parametrize("name", [*ONE, "isnan", "isinf", "isfinite", "frexp", "modf"])
def test_text_is_refused_with_the_functions_name(name: str) -> None:
    with pytest.raises(vg.ValueTypeError, match=r"\w+\(\) got 'text'"):
        getattr(vm, name)("text")


def test_lists_of_different_lengths_are_refused() -> None:
    for function in (vm.dist, vm.sumprod):
        with pytest.raises(vg.ShapeError, match="length 2 and 1"):
            function([1.0, 2.0], [1.0])


def test_what_is_no_list_is_refused() -> None:
    for function in (vm.fsum, vm.prod):
        with pytest.raises(vg.ValueTypeError, match=r"expected a list"):
            function(3.0)


def test_exponent_of_ldexp_must_be_an_integer() -> None:
    with pytest.raises(vg.ValueTypeError, match="expected an integer"):
        vm.ldexp(1.0, 2.0)  # type: ignore[arg-type]


def test_signatures_take_what_pythons_take() -> None:
    assert vm.prod([2.0], start=3.0) == 6.0
    if "steps" in inspect.getdoc(math.nextafter):  # type: ignore[operator]
        assert vm.nextafter(1.0, 2.0, steps=3) == math.nextafter(1.0, 2.0, steps=3)
