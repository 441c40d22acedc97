"""grad, value_and_grad, jacobian, hessian, hvp, jvp, vjp: what they take, give, refuse and leave alone."""

from __future__ import annotations

import gc
import math
import threading
from collections import namedtuple
from typing import Any

import numpy as np
import pytest

import valuegrad as vg
from valuegrad import Value
from valuegrad.custom import _applications


def cube(x: Any) -> Any:
    return x * x * x


# ------------------------------------------------------------------------------------ what they take and give
def test_gradient_of_a_number_is_a_plain_float() -> None:
    assert vg.grad(cube)(2.0) == 12.0
    assert type(vg.grad(cube)(2.0)) is float


def test_integers_and_numpy_scalars_are_numbers() -> None:
    assert vg.grad(cube)(2) == vg.grad(cube)(np.float32(2)) == vg.grad(cube)(np.int64(2)) == 12.0


def test_value_and_grad_gives_both() -> None:
    assert vg.value_and_grad(cube)(2.0) == (8.0, 12.0)


def test_gradient_has_the_structure_of_the_argument() -> None:
    Point = namedtuple("Point", "x y")
    tree = {"w": [1.0, (2.0, 3.0)], "p": Point(4.0, 5.0), "none": None}

    def f(t: Any) -> Any:
        return t["w"][0] * t["w"][1][0] + t["w"][1][1] ** 2 + t["p"].x * t["p"].y

    assert vg.grad(f)(tree) == {"w": [2.0, (1.0, 6.0)], "p": Point(5.0, 4.0), "none": None}


def test_array_gives_a_float_array_of_its_shape() -> None:
    x = np.arange(6).reshape(2, 3)
    g = vg.grad(lambda a: np.sum(a * a * a))(x)
    assert g.dtype == np.float64
    np.testing.assert_array_equal(g, 3.0 * x**2)


def test_array_of_no_dimensions_counts_as_a_number() -> None:
    assert vg.grad(cube)(np.array(2.0)) == 12.0


def test_array_of_values_gives_an_array_of_values() -> None:
    x = np.array([Value(1.0), Value(2.0)], dtype=object)
    g = vg.grad(lambda a: np.sum(a * a))(x)
    assert g.dtype == object
    assert [type(entry) for entry in g] == [Value, Value]
    assert [entry.data for entry in g] == [2.0, 4.0]


def test_empty_array_beside_numbers_keeps_its_shape() -> None:
    g = vg.grad(lambda t: t[1] * 2)([np.zeros((0, 3)), 1.0])
    assert g[0].shape == (0, 3)
    assert g[1] == 2.0


def test_argnums_chooses_and_a_tuple_gives_a_tuple() -> None:
    def f(x: Any, y: Any, z: Any) -> Any:
        return x * y * y + z

    assert vg.grad(f, 1)(2.0, 3.0, 1.0) == 12.0
    assert vg.grad(f, -1)(2.0, 3.0, 1.0) == 1.0
    assert vg.grad(f, (2, 0))(2.0, 3.0, 1.0) == (1.0, 9.0)
    assert vg.grad(f, (1,))(2.0, 3.0, 1.0) == (12.0,)


def test_other_arguments_and_keywords_are_handed_through() -> None:
    def f(how: str, x: Any, *, scale: float, label: str = "") -> Any:
        assert how == "square"
        assert label == "text"
        return scale * x * x

    assert vg.grad(f, argnums=1)("square", 3.0, scale=2.0, label="text") == 12.0


def test_result_that_does_not_depend_on_the_argument_has_gradient_zero() -> None:
    assert vg.grad(lambda x: 5.0)(1.0) == 0.0
    assert vg.value_and_grad(lambda x: 5)(1.0) == (5.0, 0.0)
    assert vg.grad(lambda x: x[0])([1.0, 2.0]) == [1.0, 0.0]


def test_identity_has_gradient_one() -> None:
    assert vg.grad(lambda x: x)(3.0) == 1.0
    assert vg.grad(lambda x: x)(Value(3.0)).data == 1.0


def test_value_given_back_that_was_there_before_has_gradient_zero() -> None:
    w = Value(3.0)
    value, g = vg.value_and_grad(lambda x: w)(1.0)
    assert value is w
    assert g.data == 0.0


def test_backward_inside_the_function_does_not_add_to_the_gradient() -> None:
    def f(x: Any) -> Any:
        (x * x).backward()
        return x * x * x

    assert vg.grad(f)(2.0) == 12.0


def test_list_argument_can_be_changed_by_the_function_without_the_caller_noticing() -> None:
    def f(xs: list[Any]) -> Any:
        xs.append(xs[0] * xs[1])
        return xs.pop() * xs.pop()

    given = [2.0, 3.0]
    assert vg.grad(f)(given) == [9.0, 12.0]
    assert given == [2.0, 3.0]


def test_functions_of_functions_have_names() -> None:
    assert vg.grad(cube).__name__ == "grad(cube)"
    assert vg.hessian(cube).__name__ == "hessian(cube)"


# ---------------------------------------------------------------------------------------- jacobian and hessian
def test_jacobian_of_an_array_by_an_array_is_a_matrix() -> None:
    a = np.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(vg.jacobian(lambda x: a @ x)(np.ones(3)), a)


def test_jacobian_nests_output_structure_around_argument_structure() -> None:
    j = vg.jacobian(lambda p: {"sum": p["a"] + p["b"], "both": [p["a"] * p["b"], 1.0]})({"a": 2.0, "b": 3.0})
    assert j == {"sum": {"a": 1.0, "b": 1.0}, "both": [{"a": 3.0, "b": 2.0}, {"a": 0.0, "b": 0.0}]}


def test_jacobian_of_arrays_and_numbers_has_the_shapes_of_both() -> None:
    j = vg.jacobian(lambda s, m: m * s, argnums=(0, 1))(2.0, np.ones((2, 3)))
    assert [part.shape for part in j] == [(2, 3), (2, 3, 2, 3)]
    np.testing.assert_array_equal(j[1].reshape(6, 6), 2.0 * np.eye(6))


def test_jacobian_in_forward_and_in_reverse_mode_agree() -> None:
    def many(x: list[Any]) -> list[Any]:  # 2 numbers to 402: forward
        return [vg.sin(x[0] * i) * x[1] for i in range(400)] + [x[0], 1.0]

    forward = vg.jacobian(many)([0.3, 0.7])
    for row, i in zip(forward, range(400)):
        assert row == pytest.approx([i * math.cos(0.3 * i) * 0.7, math.sin(0.3 * i)], rel=1e-13, abs=1e-13)
    assert forward[-2:] == [[1.0, 0.0], [0.0, 0.0]]
    assert forward[:5] == vg.jacobian(lambda x: many(x)[:5])([0.3, 0.7])


def test_infinite_slope_of_one_argument_leaves_the_others_alone() -> None:
    def f(x: list[Any]) -> list[Any]:
        return [vg.sqrt(x[0]) + x[1]] * 300  # many outputs: forward mode

    assert vg.jacobian(f)([0.0, 1.0]) == [[math.inf, 1.0]] * 300
    assert vg.jacobian(lambda x: f(x)[:1])([0.0, 1.0]) == [[math.inf, 1.0]]


def test_hessian_has_argument_structure_twice() -> None:
    h = vg.hessian(lambda p: p["x"] ** 2 * p["y"])({"x": 2.0, "y": 3.0})
    assert h == {"x": {"x": 6.0, "y": 4.0}, "y": {"x": 4.0, "y": 0.0}}


def test_hessian_by_several_arguments_is_a_tuple_of_tuples() -> None:
    assert vg.hessian(lambda x, y: x * x * y, argnums=(0, 1))(2.0, 3.0) == ((6.0, 4.0), (4.0, 0.0))


def test_hessian_of_an_array_is_a_matrix() -> None:
    a = np.array([[2.0, 1.0], [1.0, 3.0]])
    np.testing.assert_array_equal(vg.hessian(lambda x: 0.5 * (x @ a @ x))(np.array([1.0, -2.0])), a)


def test_hessian_of_the_softmax_family_is_the_closed_form() -> None:
    xs = [0.1, -0.4, 0.9]
    p = np.array(vg.softmax(xs))
    h = np.array(vg.hessian(vg.logsumexp)(xs))
    np.testing.assert_allclose(h, np.diag(p) - np.outer(p, p), rtol=1e-14, atol=1e-16)
    np.testing.assert_allclose(np.array(vg.hessian(lambda x: -vg.log_softmax(x)[1])(xs)), h, rtol=1e-13, atol=1e-16)
    np.testing.assert_allclose(np.array(vg.hessian(lambda x: vg.cross_entropy(x, 1))(xs)), h, rtol=1e-13, atol=1e-16)


# -------------------------------------------------------------------------------------------- jvp, vjp, hvp
def test_jvp_gives_value_and_directional_derivative() -> None:
    assert vg.jvp(lambda x, y: [x * y, {"x": x}], (3.0, 5.0), (1.0, 10.0)) == ([15.0, {"x": 3.0}], [35.0, {"x": 1.0}])


def test_jvp_takes_one_argument_without_a_tuple() -> None:
    assert vg.jvp(cube, 2.0, 10.0) == (8.0, 120.0)
    assert vg.jvp(lambda x: x[0] * x[1], [3.0, 5.0], [1.0, 0.0]) == (15.0, 5.0)


def test_jvp_of_chosen_arguments() -> None:
    assert vg.jvp(lambda x, n: x**n, (3.0, 2.0), 1.0, argnums=0) == (9.0, 6.0)
    assert vg.jvp(lambda x, y, z: x * y * z, (2.0, 3.0, 4.0), (1.0, 1.0), argnums=(0, 2)) == (24.0, 18.0)


def test_vjp_can_be_pulled_back_many_times() -> None:
    value, pullback = vg.vjp(lambda x, y: [x * y, x + y], 3.0, 5.0)
    assert value == [15.0, 8.0]
    assert pullback([1.0, 0.0]) == (5.0, 3.0)
    assert pullback([0.0, 1.0]) == (1.0, 1.0)
    assert pullback([1.0, 10.0]) == (15.0, 13.0)


def test_vjp_of_one_chosen_argument_gives_its_gradient() -> None:
    value, pullback = vg.vjp(lambda x, y: x * y, 3.0, 5.0, argnums=1)
    assert (value, pullback(2.0)) == (15.0, 6.0)


def test_vjp_of_a_cotangent_that_is_a_value_remembers_it() -> None:
    c = Value(2.0)
    _, pullback = vg.vjp(cube, 2.0)
    (g,) = pullback(c)
    assert g.data == 24.0
    g.backward()
    assert c.grad == 12.0


def test_hvp_is_hessian_times_vector() -> None:
    assert vg.hvp(lambda x: x[0] ** 2 * x[1], [3.0, 5.0], [1.0, 2.0]) == [22.0, 6.0]
    assert vg.hvp(lambda x, y: x**2 * y, (3.0, 5.0), (1.0, 2.0)) == (22.0, 6.0)
    np.testing.assert_array_equal(
        vg.hvp(lambda x: np.sum(x**3), np.array([1.0, 2.0]), np.array([1.0, 10.0])), [6.0, 120.0]
    )


def test_keywords_reach_the_function_of_jvp_vjp_and_hvp() -> None:
    def f(x: Any, *, n: int) -> Any:
        return x**n

    assert vg.jvp(f, 2.0, 1.0, n=3) == (8.0, 12.0)
    assert vg.vjp(f, 2.0, n=3)[1](1.0) == (12.0,)
    assert vg.hvp(f, 2.0, 1.0, n=3) == 12.0


# ------------------------------------------------------------------------------------------------- nesting
def test_gradients_nest_to_any_order() -> None:
    f = lambda x: vg.sin(2 * x)  # noqa: E731
    for order in range(1, 9):
        f = vg.grad(f)
        right = 2.0**order * math.sin(0.6 + order * math.pi / 2)
        assert f(0.3) == pytest.approx(right, rel=1e-14)  # a handful of roundings


def test_inner_gradient_sees_the_outer_variable() -> None:
    # d/dx [x * d/dy (x y^2) at y=1] = d/dx [2 x^2]
    assert vg.grad(lambda x: x * vg.grad(lambda y: x * y * y)(1.0))(3.0) == 12.0


def test_perturbations_are_not_confused() -> None:
    # d/dx [x * d/dy (x + y)] = 1, in forward mode as in reverse: Siskind and Pearlmutter (2005)
    assert vg.jvp(lambda x: x * vg.jvp(lambda y: x + y, 1.0, 1.0)[1], 1.0, 1.0)[1] == 1.0
    assert vg.grad(lambda x: x * vg.jvp(lambda y: x + y, 1.0, 1.0)[1])(1.0) == 1.0
    assert vg.jvp(lambda x: x * vg.grad(lambda y: x + y)(1.0), 1.0, 1.0)[1] == 1.0


def test_every_pair_of_transforms_nests() -> None:
    def f(x: Any) -> Any:
        return vg.exp(x * x) / x

    second = vg.grad(vg.grad(f))(0.8)
    firsts = {
        "grad": vg.grad(f),
        "value_and_grad": lambda x: vg.value_and_grad(f)(x)[1],
        "jacobian": vg.jacobian(f),
        "jvp": lambda x: vg.jvp(f, x, 1.0)[1],
        "vjp": lambda x: vg.vjp(f, x)[1](1.0)[0],
    }
    for inner in firsts.values():
        assert vg.grad(inner)(0.8) == pytest.approx(second, rel=1e-13)
        assert vg.jacobian(inner)(0.8) == pytest.approx(second, rel=1e-13)
        assert vg.jvp(inner, 0.8, 1.0)[1] == pytest.approx(second, rel=1e-13)
        assert vg.vjp(inner, 0.8)[1](1.0)[0] == pytest.approx(second, rel=1e-13)
    third = vg.grad(vg.grad(vg.grad(f)))(0.8)
    assert vg.grad(vg.hessian(f))(0.8) == pytest.approx(third, rel=1e-12)
    assert vg.grad(lambda x: vg.hvp(f, x, 1.0))(0.8) == pytest.approx(third, rel=1e-12)
    assert vg.hvp(vg.grad(f), 0.8, 1.0) == pytest.approx(third, rel=1e-12)


def test_tangent_that_depends_on_the_outer_variable_is_differentiated() -> None:
    # f'(2) * t^2 with t outside: d/dt = 2 t f'(2)
    assert vg.grad(lambda t: vg.jvp(cube, 2.0, t * t)[1])(3.0) == 72.0
    assert vg.grad(lambda t: vg.vjp(cube, 2.0)[1](t * t)[0])(3.0) == 72.0


def test_pullback_called_later_still_remembers_the_outer_variable() -> None:
    def f(x: Any) -> Any:
        _, pullback = vg.vjp(lambda y: vg.sin(y) * x, x)
        return pullback(1.0)[0]  # cos(x) x

    assert vg.grad(f)(0.5) == pytest.approx(math.cos(0.5) - 0.5 * math.sin(0.5), rel=1e-15)


def test_newton_steps_through_gradients_can_be_differentiated() -> None:
    def root(a: Any) -> Any:
        x = a
        for _ in range(6):
            value, slope = vg.value_and_grad(lambda y: y * y - a)(x)
            x = x - value / slope
        return x

    assert root(2.0) == pytest.approx(math.sqrt(2), rel=1e-15)
    assert vg.grad(root)(2.0) == pytest.approx(0.5 / math.sqrt(2), rel=1e-14)


def test_branches_follow_the_numbers() -> None:
    f = lambda x: cube(x) if x > 1 else -x  # noqa: E731
    assert [vg.grad(f)(2.0), vg.grad(f)(0.0)] == [12.0, -1.0]
    assert vg.grad(vg.grad(f))(2.0) == 12.0


def test_branch_not_taken_by_where_gives_nothing_in_any_mode() -> None:
    f = lambda x: vg.where(x > 0, vg.log(x), x * 5)  # noqa: E731
    assert vg.grad(f)(0.0) == 5.0
    assert vg.grad(vg.grad(f))(0.0) == 0.0
    assert vg.jvp(f, 0.0, 1.0)[1] == 5.0
    assert vg.hvp(f, 0.0, 1.0) == 0.0


def test_gradient_over_values_equals_the_gradient_in_floats() -> None:
    def f(xs: list[Any]) -> Any:
        y = vg.dot(xs, xs[::-1]) + vg.norm(xs) * vg.prod(xs)
        return vg.maximum(*xs) * y + vg.clamp(xs[0], 0.0, 1.0) / vg.softplus(y) + vg.take(xs, 1)

    xs = [0.3, -1.2, 0.8]
    plain = vg.grad(f)(xs)
    over_values = vg.grad(f)([Value(x) for x in xs])
    assert [g.data for g in over_values] == pytest.approx(plain, rel=1e-15)  # sums may differ in a sign of zero


# ---------------------------------------------------------------------------- Values of the caller: closures
def test_derivative_of_a_closure_remembers_what_it_closes_over() -> None:
    w = Value(2.0)
    g = vg.grad(lambda x: x * x * w)(3.0)
    assert type(g) is Value
    assert g.data == 12.0
    g.backward()
    assert w.grad == 6.0


def test_closure_over_values_that_do_not_matter_gives_floats() -> None:
    w = Value(2.0)
    assert type(vg.grad(lambda x: x * x if w > 1 else x)(3.0)) is float


def test_callers_values_and_grads_are_left_alone() -> None:
    w, x = Value(2.0), Value(3.0)
    y = w * x
    y.backward()
    before = [(v.data, v.grad) for v in (w, x, y)]
    for derivative in (vg.grad, vg.value_and_grad, vg.jacobian, vg.hessian):
        derivative(lambda a: a * y * w * x)(x)
        derivative(lambda a: a * y)(1.0)
    vg.jvp(lambda a: a * y, x, 1.0)
    vg.hvp(lambda a: a * y, x, 1.0)
    vg.vjp(lambda a: a * y, x)[1](1.0)
    assert [(v.data, v.grad) for v in (w, x, y)] == before


def test_argument_that_is_a_value_gets_a_gradient_that_depends_on_it() -> None:
    x = Value(2.0)
    g = vg.grad(cube)(x)
    g.backward()
    assert (g.data, x.grad) == (12.0, 12.0)


def test_value_of_value_and_grad_remembers_the_argument() -> None:
    x = Value(2.0)
    y, _ = vg.value_and_grad(cube)(x)
    y.backward()
    assert x.grad == 12.0


def test_values_given_as_other_arguments_are_remembered() -> None:
    w = Value(2.0)
    g = vg.grad(lambda x, w: x * w, argnums=0)(3.0, w)
    g.backward()
    assert (g.data, w.grad) == (2.0, 1.0)


def test_no_grad_around_gives_the_derivative_and_remembers_nothing() -> None:
    w = Value(2.0)
    with vg.no_grad():
        assert vg.grad(cube)(2.0) == 12.0
        assert vg.grad(vg.grad(cube))(2.0) == 12.0
        assert vg.jvp(cube, 2.0, 1.0) == (8.0, 12.0)
        g = vg.grad(lambda x: x * x * w)(3.0)
        h = vg.hvp(cube, Value(2.0), 1.0)
        _, pullback = vg.vjp(lambda x: x * x * w, 3.0)
        (p,) = pullback(1.0)
    assert [(type(v), v.data, v.children) for v in (g, h, p)] == [(Value, x, ()) for x in (12.0, 12.0, 12.0)]


def test_no_grad_inside_is_kept() -> None:
    def f(x: Any) -> Any:
        with vg.no_grad():
            factor = x * x
        return factor * x

    assert vg.grad(f)(2.0) == 4.0


def test_strict_mode_does_not_see_choices_that_were_not_taken() -> None:
    zero = Value(0.0)
    with vg.strict():
        assert vg.grad(lambda a: a**zero)(2.0).data == 0.0
        assert vg.grad(lambda b: Value(0.0) ** b)(Value(2.0)).data == 0.0
        with pytest.raises(vg.StrictError):
            vg.grad(vg.log)(0.0)


def test_data_set_inside_the_function_is_noticed_where_the_derivative_would_be_wrong() -> None:
    w = Value(2.0)

    def f(x: Any) -> Any:
        y = x * w
        w.data = 5.0
        return y * y

    with pytest.raises(vg.DerivativeError, match=r"computed by 'mul'.*other data.*was 2\.0 and would be 5\.0"):
        vg.grad(f)(3.0)


# ------------------------------------------------------------------------------------------ custom Values
def halves(x: Any) -> Any:
    """A custom operation, as the tutorial writes it."""
    return Value(x.data / 2, [x], [0.5]) if type(x) is Value else x / 2


def test_custom_value_has_a_first_derivative() -> None:
    assert vg.grad(halves)(3.0) == 0.5
    assert vg.jacobian(lambda x: [halves(x), x])(3.0) == [0.5, 1.0]


def test_second_derivative_through_a_custom_value_is_refused() -> None:
    with pytest.raises(vg.DerivativeError, match=r"grad\(\) met a custom Value.*vg\.primitive"):
        vg.grad(vg.grad(halves))(3.0)
    with pytest.raises(vg.DerivativeError, match=r"^hessian\(\)"):
        vg.hessian(lambda x: halves(x) * x)(3.0)


def test_custom_value_of_plain_arguments_is_no_obstacle_to_a_closure() -> None:
    w = Value(2.0)
    g = vg.grad(lambda x: halves(x) * w)(3.0)  # depends on w, and not on how 0.5 came about
    g.backward()
    assert (g.data, w.grad) == (1.0, 0.5)


def test_custom_value_beside_the_argument_is_no_obstacle() -> None:
    c = halves(Value(3.0))
    assert vg.grad(vg.grad(lambda x: x * x * c))(2.0).data == 3.0


# --------------------------------------------------------------------------------------------------- errors
def test_output_that_is_no_number_says_to_use_jacobian() -> None:
    with pytest.raises(vg.ShapeError, match=r"grad\(\) .*\[.*list.*use jacobian"):
        vg.grad(lambda x: [x, x])(1.0)
    with pytest.raises(vg.ShapeError, match="use jacobian"):
        vg.grad(lambda x: x * 2)(np.ones(1))


def test_output_none_asks_for_a_return() -> None:
    with pytest.raises(vg.ValueTypeError, match=r"gave None.*return"):
        vg.grad(lambda x: None)(1.0)


@pytest.mark.parametrize("output", ["text", 1j, {1.0}, object()])
def test_output_of_another_type_is_refused(output: Any) -> None:
    for derivative in (vg.grad, vg.jacobian):
        with pytest.raises(vg.ValueTypeError, match="expected"):
            derivative(lambda x: output)(1.0)


@pytest.mark.parametrize("bad", ["text", 1j, b"x", object(), {1.0}])
def test_argument_that_is_no_number_is_refused_with_its_place(bad: Any) -> None:
    with pytest.raises(vg.ValueTypeError, match=r"grad\(\), argument 1 holds .* at \['w'\]\[2\]; expected numbers"):
        vg.grad(lambda x, t: x, argnums=1)(1.0, {"w": [1.0, 2.0, bad]})


def test_arrays_of_text_or_complex_numbers_are_refused() -> None:
    for bad in (np.array(["a"]), np.array([1j]), np.array([None])):
        with pytest.raises(vg.ValueTypeError, match="argument 0"):
            vg.grad(lambda x: x[0])(bad)


def test_number_beyond_float64_is_refused() -> None:
    with pytest.raises(vg.ValueArgumentError, match="larger than any float64"):
        vg.grad(cube)(10**400)


@pytest.mark.parametrize("argnums", [2, -3, (0, 5)])
def test_argnums_out_of_range_is_refused(argnums: Any) -> None:
    with pytest.raises(vg.IndexRangeError, match="for 2 positional arguments; give -2 to 1"):
        vg.grad(lambda x, y: x, argnums=argnums)(1.0, 2.0)


def test_argnums_must_be_integers_named_once() -> None:
    with pytest.raises(vg.ValueTypeError, match="expected an integer"):
        vg.grad(cube, argnums="x")(1.0)  # type: ignore[arg-type]
    with pytest.raises(vg.ValueArgumentError, match="twice"):
        vg.grad(lambda x, y: x, argnums=(0, -2))(1.0, 2.0)
    with pytest.raises(vg.ValueArgumentError, match="at least one"):
        vg.grad(cube, argnums=())(1.0)


@pytest.mark.parametrize("empty", [[], {}, None, np.zeros(0)])
def test_no_numbers_to_differentiate_by_is_refused(empty: Any) -> None:
    with pytest.raises(vg.ValueArgumentError, match="no numbers"):
        vg.grad(lambda x: 1.0)(empty)


def test_no_arguments_are_refused() -> None:
    for call in (vg.grad(lambda: 1.0), lambda: vg.vjp(lambda: 1.0), lambda: vg.jvp(lambda: 1.0, (), ())):
        with pytest.raises(vg.IndexRangeError):
            call()


def test_what_is_no_function_is_refused_at_once() -> None:
    for derivative in (vg.grad, vg.value_and_grad, vg.jacobian, vg.hessian):
        with pytest.raises(vg.ValueTypeError, match="expected a function"):
            derivative(3.0)  # type: ignore[arg-type]
    for call in (lambda: vg.jvp(3.0, 1.0, 1.0), lambda: vg.vjp(3.0, 1.0), lambda: vg.hvp(3.0, 1.0, 1.0)):  # type: ignore[arg-type]
        with pytest.raises(vg.ValueTypeError, match="expected a function"):
            call()


def test_tangents_of_another_structure_are_refused() -> None:
    for primals, tangents in [
        (([1.0, 2.0],), ([1.0],)),
        ((np.ones(3),), (np.ones(2),)),
        (({"a": 1.0},), ({"b": 1.0},)),
        ((1.0,), (np.ones(1),)),
        ((1.0, 2.0), (1.0,)),
    ]:
        with pytest.raises(vg.ShapeError, match="tangent"):
            vg.jvp(lambda *xs: xs[0], primals, tangents)


def test_cotangent_of_another_structure_is_refused() -> None:
    _, pullback = vg.vjp(lambda x: [x, x], 1.0)
    with pytest.raises(vg.ShapeError, match="cotangent"):
        pullback(1.0)


# ------------------------------------------------------------------------------------- no state left behind
def test_exception_in_the_function_leaves_no_state() -> None:
    def bad(x: Any) -> Any:
        vg.grad(cube)(x)
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        vg.grad(vg.grad(bad))(1.0)
    with vg.no_grad(), pytest.raises(RuntimeError, match="mine"):
        vg.hvp(bad, 1.0, 1.0)
    assert _applications.get() is None
    assert (Value(2.0) * 3).children
    assert vg.grad(vg.grad(cube))(2.0) == 12.0


def test_threads_do_not_disturb_each_other() -> None:
    found: dict[int, list[Any]] = {}

    def work(i: int) -> None:
        f = lambda x: vg.sin(x) * x**3  # noqa: E731
        found[i] = [vg.hessian(lambda x: f(x[0]) * x[1])([0.1 * i + k, 2.0]) for k in range(20)]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    together = dict(found)
    for i in range(6):
        work(i)
        assert found[i] == together[i]


def test_graph_of_a_call_is_freed_after_it() -> None:
    class Canary:
        alive = 0

        def __init__(self) -> None:
            Canary.alive += 1

        def __del__(self) -> None:
            Canary.alive -= 1

    def f(x: Any) -> Any:
        canary = Canary()
        return x * x + (0.0 if canary else 1.0)

    for _ in range(3):
        vg.hessian(lambda xs: f(xs[0]))([1.0])
    gc.collect()
    assert Canary.alive == 0


def test_long_chain_needs_no_recursion() -> None:
    n = 20_000

    def f(x: Any) -> Any:
        y = x
        for _ in range(n):
            y = y + x
        return y

    assert vg.grad(f)(1.0) == n + 1.0
    assert vg.jvp(f, 1.0, 1.0)[1] == n + 1.0
    assert vg.grad(vg.grad(lambda x: f(x) * x))(1.0) == 2.0 * (n + 1)


# ---------------------------------------------------------------------- what a rule's edge must not drop
def test_power_at_exponent_zero_still_depends_on_the_exponent() -> None:
    h = vg.hessian(lambda a, b: a**b, argnums=(0, 1))(2.0, 0.0)
    assert h[0] == (0.0, 0.5)  # ∂²/∂a∂b = a**(b - 1) (1 + b log a)
    assert h[1] == pytest.approx((0.5, math.log(2.0) ** 2), rel=1e-15)
    assert vg.grad(lambda a, b: a**b, argnums=(0, 1))(0.0, 0.0) == (0.0, 0.0)
    assert vg.grad(lambda a, b: a**b, argnums=(0, 1))(5e-324, 0.0)[0] == 0.0
