"""Laws of derivatives, on drawn functions and points: linearity, duality, symmetry, agreement of all the ways."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

import valuegrad as vg

N = 3
# Each operation keeps numbers of size 1 at size 1 and is smooth, so that what is compared below is well
# conditioned; 30 roundings of terms below 1e4 stay below 1e-10.
CLOSE = {"rel": 1e-10, "abs": 1e-10}
UNARY: list[Callable[[Any], Any]] = [
    vg.sin,
    vg.tanh,
    vg.softplus,
    vg.erf,
    vg.asinh,
    lambda a: vg.exp(-a * a),
    lambda a: 1 / (1 + a * a),
    lambda a: vg.sqrt(1 + a * a),
    lambda a: vg.where(a > 0, a * a * a, -a * a),
    lambda a: a**2 / 4,
]
NARY: list[Callable[[Any, Any], Any]] = [
    lambda a, b: a + b,
    lambda a, b: a - b,
    lambda a, b: a * b / 2,
    lambda a, b: vg.atan2(a, 2 + b * b),
    lambda a, b: vg.logsumexp([a, b, 0.5]),
    lambda a, b: vg.softmax([a, b])[0],
    lambda a, b: vg.dot([a, b], [b, 1.0]) / 3,
    lambda a, b: vg.norm([a, b, 1.0]),
    lambda a, b: vg.prod([a, b, a]) / 4,
    lambda a, b: (1 + a * a) ** vg.sin(b) / 4,
]
steps = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(UNARY), st.integers(0, 50)),
        st.tuples(st.sampled_from(NARY), st.integers(0, 50), st.integers(0, 50)),
    ),
    min_size=2,
    max_size=7,
)
numbers = st.floats(-2, 2).map(lambda x: round(x, 3))
points = st.lists(numbers, min_size=N, max_size=N)


def function(program: list[Any]) -> Callable[[list[Any]], list[Any]]:
    """A straight-line program on a list of N numbers; its outputs are the last three."""

    def f(xs: list[Any]) -> list[Any]:
        known = list(xs)
        for operation, *operands in program:
            # tanh keeps what grows small
            known.append(vg.tanh(operation(*[known[i % len(known)] for i in operands]) / 2) * 2)
        return known[-3:]

    return f


def inner(xs: list[Any], ys: list[Any]) -> Any:
    return math.fsum(x * y for x, y in zip(xs, ys))


@given(steps, points, points, points)
def test_vjp_is_the_transpose_of_jvp(program: Any, x: Any, u: Any, w: Any) -> None:
    f = function(program)
    value, tangent = vg.jvp(f, x, u)
    again, pullback = vg.vjp(f, x)
    assert value == again
    assert inner(tangent, w) == pytest.approx(inner(pullback(w)[0], u), **CLOSE)


@given(steps, points, points)
def test_jacobian_times_vector_is_jvp_and_its_transpose_vjp(program: Any, x: Any, u: Any) -> None:
    f = function(program)
    j = vg.jacobian(f)(x)
    assert [inner(row, u) for row in j] == pytest.approx(vg.jvp(f, x, u)[1], **CLOSE)
    assert [inner(list(column), u) for column in zip(*j)] == pytest.approx(vg.vjp(f, x)[1](u)[0], **CLOSE)


@given(steps, steps, points, numbers, numbers)
def test_gradient_is_linear_in_the_function(one: Any, two: Any, x: Any, a: float, b: float) -> None:
    f, g = (lambda xs, p=p: function(p)(xs)[-1] for p in (one, two))
    together = vg.grad(lambda xs: a * f(xs) + b * g(xs))(x)
    apart = [a * df + b * dg for df, dg in zip(vg.grad(f)(x), vg.grad(g)(x))]
    assert together == pytest.approx(apart, **CLOSE)


@given(steps, points, points, points, numbers)
def test_jvp_is_linear_in_the_tangent(program: Any, x: Any, u: Any, v: Any, a: float) -> None:
    f = function(program)
    together = vg.jvp(f, x, [a * p + q for p, q in zip(u, v)])[1]
    apart = [a * p + q for p, q in zip(vg.jvp(f, x, u)[1], vg.jvp(f, x, v)[1])]
    assert together == pytest.approx(apart, **CLOSE)


@given(steps, points, points)
def test_product_rule(program: Any, x: Any, u: Any) -> None:
    outputs = function(program)
    _value, tangent = vg.jvp(lambda xs: outputs(xs)[0] * outputs(xs)[-1], x, u)
    values, tangents = vg.jvp(outputs, x, u)
    assert tangent == pytest.approx(values[0] * tangents[-1] + tangents[0] * values[-1], **CLOSE)


@given(steps, steps, points)
def test_chain_rule_multiplies_jacobians(one: Any, two: Any, x: Any) -> None:
    f, g = function(one), function(two)
    j = vg.jacobian(lambda xs: g(f(xs)))(x)
    inner_j, outer_j = vg.jacobian(f)(x), vg.jacobian(g)(f(x))
    product = [[inner(row, list(column)) for column in zip(*inner_j)] for row in outer_j]
    for got, right in zip(j, product):
        assert got == pytest.approx(right, **CLOSE)


@settings(max_examples=60)
@given(steps, points, points)
def test_hessian_is_symmetric_and_hvp_is_its_product(program: Any, x: Any, u: Any) -> None:
    f = lambda xs: function(program)(xs)[-1]  # noqa: E731
    h = vg.hessian(f)(x)
    for row, column in zip(h, zip(*h)):
        assert row == pytest.approx(list(column), **CLOSE)
    assert vg.hvp(f, x, u) == pytest.approx([inner(row, u) for row in h], **CLOSE)


@settings(max_examples=60)
@given(steps, points, points)
def test_forward_over_forward_and_reverse_over_reverse_agree(program: Any, x: Any, u: Any) -> None:
    f = lambda xs: function(program)(xs)[-1]  # noqa: E731
    forward = vg.jvp(lambda xs: vg.jvp(f, xs, u)[1], x, u)[1]
    reverse_in_forward = vg.jvp(lambda xs: vg.vjp(f, xs)[1](1.0)[0], x, u)[1]
    forward_in_reverse = vg.grad(lambda xs: vg.jvp(f, xs, u)[1])(x)
    assert forward == pytest.approx(inner(reverse_in_forward, u), **CLOSE)
    assert forward == pytest.approx(inner(forward_in_reverse, u), **CLOSE)


@given(steps, points)
def test_gradient_over_values_is_the_gradient_in_floats(program: Any, x: Any) -> None:
    f = lambda xs: function(program)(xs)[-1]  # noqa: E731
    over_values = [g.data for g in vg.grad(f)([vg.Value(entry) for entry in x])]
    # The local gradients are computed by the same rules and added in the same order.
    assert over_values == pytest.approx(vg.grad(f)(x), rel=1e-13, abs=1e-15)


@given(steps, points)
def test_gradient_is_that_of_backward(program: Any, x: Any) -> None:
    f = lambda xs: function(program)(xs)[-1]  # noqa: E731
    leaves = [vg.Value(entry) for entry in x]
    f(leaves).backward() if type(f(leaves)) is vg.Value else None
    assert vg.grad(f)(x) == [leaf.grad for leaf in leaves]
