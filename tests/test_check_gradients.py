"""check_gradients finds wrong gradients, and only those."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import valuegrad as vg
from valuegrad import Value
from valuegrad.inspect import check_gradients


def wrong_square(x: Any) -> Any:
    """Its local gradient is that of another function."""
    return Value(x.data**2, [x], [3.0 * x.data])


# ----------------------------------------------------------------------------------------------- right ones
@pytest.mark.parametrize(
    ("f", "x"),
    [
        (vg.exp, 1.0),
        (vg.exp, -700.0),
        (vg.log, 1e-20),
        (vg.log, 1e20),
        (vg.sin, 0.0),
        (vg.sin, 1e3),
        (vg.sin, 1e6),
        (vg.tan, 1.5),
        (vg.lgamma, 3.0),
        (lambda x: x + 1, 1e-20),
        (lambda x: x * 1e-12, 1.0),
        (lambda x: x * 1e-300, 1.0),
        (lambda x: vg.exp(1000 * x), 0.0),
        (lambda x: x**3, -1e50),
        (lambda x: vg.exp(-1 / (x * x)), 0.1),
        (lambda x: x * 0, 1.0),
        (lambda x: 5.0, 1.0),
        (vg.relu, 1e-9),
        (vg.floor, 2.5),
    ],
)
def test_right_derivatives_agree_at_any_scale(f: Any, x: float) -> None:
    check = check_gradients(f, x)
    assert check.ok, str(check)


@pytest.mark.parametrize("x", [1e-100, 1e-6, 0.1, 1.0, 7.0, 1e6, 1e100])
def test_difference_quotients_are_accurate(x: float) -> None:
    """Extrapolated central differences of a smooth function lose two or three digits, not half of them."""
    assert check_gradients(vg.log, x, order=1).max_error < 1e-10


def test_every_component_of_nested_arguments_is_checked() -> None:
    def f(p: dict[str, Any], *, power: int) -> Any:
        return {"out": [p["w"] ** power * vg.sin(p["b"][1]), np.sum(p["a"] * p["b"][0])]}

    check = check_gradients(f, {"w": 2.0, "b": [1.0, 3.0], "a": np.array([[1.0, 2.0]])}, power=3)
    first = [c for c in check.components if c.order == 1]
    assert check.ok
    assert len(first) == 2 * 5
    assert len(check.components) == 2 * 5 + 2 * 5 * 5
    assert {c.number for c in first} == {"x0['w']", "x0['b'][0]", "x0['b'][1]", "x0['a'][0, 0]", "x0['a'][0, 1]"}
    assert {c.output for c in first} == {"f['out'][0]", "f['out'][1]"}


def test_argnums_leaves_the_others_alone() -> None:
    check = check_gradients(lambda x, how: x * x if how == "square" else x, 3.0, "square", argnums=0)
    assert check.ok
    assert [c.number for c in check.components] == ["x0", "x0"]


def test_values_of_the_caller_are_left_alone() -> None:
    x, w = Value(2.0), Value(3.0)
    assert check_gradients(lambda x: x * x * w, x).ok
    assert (x.data, x.grad, w.grad) == (2.0, 0.0, 0.0)


# ----------------------------------------------------------------------------------------------- wrong ones
def test_wrong_gradient_is_found() -> None:
    check = check_gradients(wrong_square, 2.0, order=1)
    assert not check.ok
    assert not check
    assert check.errors == (pytest.approx(1 / 3, rel=1e-9),)
    assert (check.worst.gradient, check.worst.quotient) == (6.0, pytest.approx(4.0, rel=1e-9))


@pytest.mark.parametrize("off", [1e-5, 1e-4, 1e-2, 1.0, 1e3])
@pytest.mark.parametrize("x", [1e-30, 1.0, 1e30])
def test_slightly_wrong_gradient_is_found(off: float, x: float) -> None:
    f = vg.primitive("f", lambda x: 2 * x, lambda x, out: (2.0 * (1.0 + off),))
    assert not check_gradients(f, x, order=1).ok


def test_missing_gradient_is_found() -> None:
    assert not check_gradients(lambda x: x * vg.detach(x), 2.0, order=1).ok
    assert not check_gradients(lambda x: 1e-12 * vg.detach(x), 2.0, order=1).ok


def test_nan_gradient_is_found() -> None:
    check = check_gradients(lambda x: vg.sqrt(x * x), 0.0, order=1)  # 0 * inf
    assert not check.ok
    assert math.isnan(check.worst.gradient)


def test_wrong_second_derivative_is_found_where_the_first_is_right() -> None:
    # 2 * x is right, but written so that it does not depend on x
    f = vg.primitive("f", lambda x: x * x, lambda x, out: (2.0 * (x.data if type(x) is Value else x),))
    check = check_gradients(f, 3.0)
    assert [c.ok for c in check.components] == [True, False]


def test_sign_and_swapped_arguments_are_found() -> None:
    f = vg.primitive("f", lambda x, y: x - y, lambda x, y, out: (-1.0, 1.0))
    g = vg.primitive("g", lambda x, y: x * x * y, lambda x, y, out: (x * x, 2 * x * y))
    for wrong in (f, g):
        assert [c.ok for c in check_gradients(wrong, 2.0, 3.0, order=1).components] == [False, False]


# ------------------------------------------------------------------------------------- kinks, jumps, one side
@pytest.mark.parametrize("order", [1, 2, (1, 2)])
@pytest.mark.parametrize(
    "f", [vg.relu, vg.abs, lambda x: vg.maximum(x, 0.0), lambda x: vg.minimum(x, 2 * x), lambda x: vg.clamp(x, 0, 1)]
)
def test_subgradients_at_a_kink_agree(f: Any, order: Any) -> None:
    check = check_gradients(f, 0.0, order=order)
    assert check.ok, str(check)


def test_gradient_outside_both_slopes_of_a_kink_is_wrong() -> None:
    f = vg.primitive("f", lambda x: abs(x) + x, lambda x, out: (2.5,))  # slopes 0 and 2
    check = check_gradients(f, 0.0, order=1)
    assert not check.ok
    assert "a kink: 0 left, 2 right" in check.worst.note


def test_slopes_beside_a_jump_count() -> None:
    check = check_gradients(vg.floor, 2.0, order=1)
    assert check.ok
    assert check.worst.note == "a jump"
    assert not check_gradients(vg.primitive("f", math.floor, lambda x, out: (1.0,)), 2.0, order=1).ok


def test_edge_of_the_domain_is_checked_from_inside() -> None:
    f = lambda x: vg.where(x >= 0, 3 * x, vg.log(x))  # noqa: E731
    check = check_gradients(f, 0.0, order=1)
    assert check.ok
    assert check.worst.note == "from the right alone"
    assert check_gradients(vg.sqrt, 0.0, order=1).worst.note == "infinitely steep on the right"


def test_point_without_any_difference_quotient_does_not_agree() -> None:
    check = check_gradients(lambda x: x * x, 1e200, order=1)  # overflows
    assert not check.ok
    assert "do not settle" in check.worst.note


# --------------------------------------------------------------------------------------- reports and errors
def test_report_is_a_table_with_a_verdict_on_each() -> None:
    text = str(check_gradients(lambda x, y: [wrong_square(x), x * y], 2.0, 5.0, order=1))
    lines = text.splitlines()
    assert lines[0] == (
        "check_gradients: 3 of 4 derivatives agree with their difference quotients; largest relative difference 0.33"
    )
    assert lines[1].split() == ["derivative", "gradient", "difference", "quotient", "uncertainty", "difference"]
    assert lines[2].startswith("∂f[0]/∂x0")
    assert lines[2].endswith("WRONG")
    assert [line.split()[-1] for line in lines[3:]] == ["ok", "ok", "ok"]


def test_long_report_shows_the_worst() -> None:
    def f(xs: list[Any]) -> Any:
        return vg.sum(xs[:-1]) + wrong_square(xs[-1])

    text = str(check_gradients(f, [1.0] * 50, order=1))
    assert "WRONG" in text
    assert text.endswith("... and 30 more that agree better")


def test_raise_on_error_names_the_worst() -> None:
    with pytest.raises(vg.GradientCheckError, match=r"1 of 1 .* ∂f/∂x0: gradient 6\.0, difference quotient 4\.0"):
        check_gradients(wrong_square, 2.0, order=1, raise_on_error=True)
    assert check_gradients(vg.sin, 2.0, raise_on_error=True).ok


def test_it_is_an_assertion_error_too() -> None:
    assert issubclass(vg.GradientCheckError, AssertionError)


def test_tolerances_can_be_chosen() -> None:
    f = vg.primitive("f", lambda x: x, lambda x, out: (1.001,))
    assert not check_gradients(f, 1.0, order=1).ok
    assert check_gradients(f, 1.0, order=1, rtol=1e-2).ok
    assert check_gradients(f, 1.0, order=1, atol=1e-2).ok


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(vg.ValueTypeError, match="expected a function"):
        check_gradients(3.0)  # type: ignore[arg-type]
    with pytest.raises(vg.ValueArgumentError, match="order=3"):
        check_gradients(vg.sin, 1.0, order=3)
    with pytest.raises(vg.IndexRangeError, match="argnums=2"):
        check_gradients(vg.sin, 1.0, argnums=2)
    with pytest.raises(vg.IndexRangeError, match="0 positional"):
        check_gradients(lambda: 1.0)
    with pytest.raises(vg.ValueTypeError, match="text"):
        check_gradients(vg.sin, "text")
    with pytest.raises(vg.ValueArgumentError, match="no numbers"):
        check_gradients(lambda x: 1.0, [])


def test_custom_value_without_a_second_derivative_says_so() -> None:
    with pytest.raises(vg.DerivativeError, match=r"vg\.primitive"):
        check_gradients(wrong_square, 2.0)
    assert vg.check_gradients is check_gradients
