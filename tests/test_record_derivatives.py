"""Derivatives and primitives inside recorded functions: of any order, as graphs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from test_record import holds, names, recorded, replayed

import valuegrad as vg
from valuegrad import Value

pytest.importorskip("valuegrad._passes")


def agrees(f: Any, *points: tuple[float, ...]) -> None:
    """f recorded at the first point gives what it gives eagerly at all of them."""
    recording = recorded(f, *points[0])
    for point in points:
        flat = np.hstack([np.ravel(part) for part in flattened(replayed(recording, *point))])
        expected = np.hstack([np.ravel(part) for part in flattened(f(*point))])
        np.testing.assert_allclose(flat, expected.astype(float), rtol=1e-12, atol=1e-14)


def flattened(x: Any) -> list[Any]:
    if isinstance(x, dict):
        x = [x[key] for key in sorted(x)]
    return [y for part in x for y in flattened(part)] if isinstance(x, (list, tuple)) else [x]


def g(x: Any, y: Any) -> Any:
    return vg.sin(x) * y**2 + vg.exp(x * y) / (1 + vg.dot([x, y], [y, 3.0]) ** 2)


POINTS = [(0.5, 0.7), (1.0, -0.3), (-2.0, 0.1)]
both = lambda f: lambda v: f(v[0], v[1])  # noqa: E731
DERIVATIVES = {
    "grad": lambda x, y: vg.grad(g, argnums=(0, 1))(x, y),
    "value_and_grad": lambda x, y: vg.value_and_grad(g)(x, y),
    "of plain numbers": lambda x, y: vg.grad(lambda a: g(a, y))(0.5) + x,
    "second": lambda x, y: vg.grad(vg.grad(g))(x, y),
    "third": lambda x, y: vg.grad(vg.grad(vg.grad(g), argnums=1))(x, y),
    "jacobian, tall": lambda x, y: vg.jacobian(lambda a: [g(a, y), a * y, a, 3.0])(x),
    "jacobian, wide": lambda x, y: vg.jacobian(both(g))([x, y]),
    "hessian": lambda x, y: vg.hessian(both(g))([x, y]),
    "jacobian of hessian": lambda x, y: vg.jacobian(vg.hessian(both(g)))([x, y]),
    "array": lambda x, y: vg.grad(lambda v: g(v[0], v[1]))(np.array([x, y])),
    "jvp": lambda x, y: vg.jvp(g, (x, y), (1.0, x)),
    "jvp of grad": lambda x, y: vg.jvp(vg.grad(g), (x, y), (y, 1.0)),
    "vjp": lambda x, y: vg.vjp(lambda a, b: [a * b, g(a, b)], x, y)[1]([y, 2.0]),
    "hvp": lambda x, y: vg.hvp(both(g), [x, y], [1.0, x]),
    "grad of jvp": lambda x, y: vg.grad(lambda a: vg.jvp(g, (a, y), (1.0, a))[1])(x),
    "grad of hvp": lambda x, y: vg.grad(lambda a: vg.hvp(both(g), [a, y], [1.0, a])[1])(x),
    "grad in a formula": lambda x, y: vg.exp(vg.grad(g)(x, y) * 0.1) * y,
    "where": lambda x, y: vg.grad(lambda a: vg.where(a > y, a**3, a * y))(x),
    "second of where": lambda x, y: vg.grad(vg.grad(lambda a: vg.where(a > y, vg.exp(a), a * a * y)))(x),
    "independent": lambda x, y: [vg.grad(lambda a: y * 2)(x), vg.grad(lambda a: 3.0)(x)],
    "detach": lambda x, y: vg.grad(lambda a: vg.detach(a * y) * a)(x),
}


@pytest.mark.parametrize("name", DERIVATIVES)
def test_a_recorded_derivative_is_the_eager_one(name: str) -> None:
    if name == "detach":  # only a recording differentiates the number that detach gave: by 0
        recording = recorded(DERIVATIVES[name], *POINTS[0])
        assert replayed(recording, 3.0, 2.0) == 6.0
        return
    agrees(DERIVATIVES[name], *POINTS)


def test_derivatives_do_not_walk_the_graph_in_python(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any) -> None:
        raise AssertionError("Linearised walks the graph")

    monkeypatch.setattr("valuegrad.recorder.Linearised", refuse)
    for name in ("grad", "third", "hessian", "hvp", "jvp"):
        recorded(DERIVATIVES[name], 0.5, 0.7)


def test_a_branch_on_a_gradient_sees_the_right_number() -> None:
    def f(x: Any) -> Any:
        slope = vg.grad(lambda a: a**3)(x)
        return x * 2 if slope > 10 else -x

    for x, ops in ((3.0, 6.0), (1.0, -1.0)):
        recording = recorded(f, x)
        assert replayed(recording, x) == ops
        assert holds(recording, x) == [True]
    assert holds(recorded(f, 3.0), 1.0) == [False]


AFTER = {
    "second": (lambda x: vg.grad(vg.grad(lambda a: a**3))(x), lambda x: 6 * x),
    "jvp": (lambda x: vg.jvp(lambda a: [a**3, 1.0], x, 1.0)[1][0], lambda x: 3 * x * x),
    "hvp": (lambda x: vg.hvp(lambda v: v[0] ** 2 * v[1], [x, 1.0], [1.0, 0.0])[0], lambda x: 2.0),
    "third": (lambda x: vg.grad(vg.grad(vg.grad(lambda a: vg.where(a > 0, a**4, a))))(x), lambda x: 24 * x),
    "primitive": (lambda x: vg.grad(vg.grad(lambda a: cube(a) * a))(x), lambda x: 12 * x * x),
}


@pytest.mark.parametrize("name", AFTER)
def test_a_branch_after_a_derivative_of_any_kind_sees_the_right_number(name: str) -> None:
    derivative, expected = AFTER[name]
    runs = []

    def f(x: Any) -> Any:
        runs.append(x)
        d = derivative(x)
        return d if d > expected(2.0) - 1e-9 else -d

    recording = recorded(f, 2.0)
    assert len(runs) == 2  # the second time with all numbers
    assert holds(recording, 2.0) == [True]
    assert replayed(recording, 2.0) == pytest.approx(expected(2.0))


def test_a_function_that_catches_everything_sees_the_right_number_too() -> None:
    def f(x: Any) -> Any:
        slope = vg.grad(vg.grad(lambda a: a**3))(x)
        try:
            return x if slope > 10 else -x
        except BaseException:
            return 0.0

    assert replayed(recorded(f, 2.0), 3.0) == 3.0


def test_derivatives_by_and_through_captured_leaves() -> None:
    w = Value(2.0)
    recording = recorded(lambda x: vg.grad(lambda a: a * a * w)(x), 3.0)
    assert recording.captured == (w,)
    w.data = 5.0
    assert replayed(recording, 3.0) == 30.0
    recording = recorded(lambda x: vg.grad(lambda v: v * v * x)(w), 3.0)
    assert replayed(recording, 7.0) == 70.0


def test_guards_inside_of_differentiated_functions() -> None:
    recording = recorded(lambda x: vg.grad(lambda a: a * a if a > 1 else -a)(x), 2.0)
    assert [guard.expected for guard in recording.graph.guards] == [True]
    assert (holds(recording, 3.0), holds(recording, 0.0)) == ([True], [False])
    assert replayed(recording, 3.0) == 6.0


def test_gather_has_a_scatter_for_a_gradient() -> None:
    def f(x: Any, y: Any, i: Any) -> Any:
        return vg.grad(lambda v: vg.take(v, i) ** 2)([x, y, 1.0])

    recording = recorded(f, 2.0, 3.0, 0.0, integer={2})
    for i in (0, 1, 2):
        assert replayed(recording, 5.0, 7.0, float(i)) == f(5.0, 7.0, i)


def test_a_pullback_is_of_no_use_after_its_recording() -> None:
    kept: list[Any] = []
    recorded(lambda x: kept.append(vg.vjp(vg.sin, x)[1]) or x, 1.0)
    with pytest.raises(vg.ForgetError, match=r"had ended"):
        kept[0](1.0)


def test_a_pullback_from_before_a_recording_works_inside() -> None:
    pullback = vg.vjp(lambda a: a**3, 2.0)[1]
    recording = recorded(lambda s: pullback(s)[0], 1.0)
    assert replayed(recording, 5.0) == 60.0


# ---------------------------------------------------------------------------------------------- primitives
cube = vg.primitive("cube", lambda x: x * x * x, lambda x, out: (3.0 * x * x,))
sinc = vg.primitive(
    "sinc",
    value=lambda x: math.sin(x) / x if x else 1.0,
    local_grads=lambda x, out: (vg.div(vg.cos(x) - out, x),),
)
lower = vg.primitive("lower", lambda x, y: x if x < y else y, lambda x, y, out: (1.0, 0.0) if x < y else (0.0, 1.0))
power = vg.primitive("power", lambda x, *, n: vg.exp(n * vg.log(x)), lambda x, out, *, n: (n * vg.div(out, x),))


def orders(f: Any, x: Any) -> list[Any]:
    """A function and its first three derivatives."""
    second = vg.grad(vg.grad(f))
    return [f(x), vg.grad(f)(x), second(x), vg.grad(second)(x)]


def test_a_primitive_is_inlined() -> None:
    recording = recorded(lambda x: cube(x), 2.0)
    assert names(recording).count("custom") == 1
    assert "call" not in names(recording)
    assert recording.graph.calls == ()
    agrees(lambda x: orders(cube, x), (2.0,), (5.0,))


def test_branches_of_a_primitive_are_guards() -> None:
    recording = recorded(lambda x, y: vg.grad(lower, argnums=(0, 1))(x, y), 1.0, 2.0)
    assert recording.graph.guards
    assert all(holds(recording, 1.0, 2.0))
    assert not all(holds(recording, 2.0, 1.0))
    assert replayed(recording, -1.0, 5.0) == (1.0, 0.0)


def test_a_value_rule_that_refuses_values_is_called() -> None:
    recording = recorded(lambda x: [sinc(x), sinc(x * 2)], 0.5)
    assert names(recording).count("call") == 2
    assert len(recording.graph.calls) == 2
    assert recording.graph.guards == ()  # those that the rule met before it refused are taken back
    agrees(lambda x: orders(sinc, x), (0.5,), (1.5,))
    agrees(lambda x: [vg.grad(vg.grad(lambda a: sinc(a) * sinc(a)))(x)], (0.5,), (1.5,))


def test_settings_are_handed_to_both_rules() -> None:
    agrees(lambda x: orders(lambda a: power(a, n=5), x), (0.5,), (1.5,))


def test_the_rule_decides_about_the_derivative_not_what_is_inlined() -> None:
    """The derivative of ``out`` in the rule, too."""
    straight = vg.primitive("straight", lambda x: vg.sin(x), lambda x, out: (out * x,))
    agrees(lambda x: orders(straight, x), (0.5,), (1.5,))


def test_a_gradient_rule_that_refuses_values_says_so() -> None:
    opaque = vg.primitive("opaque", lambda x: x * 2, lambda x, out: (math.cos(x),))
    with pytest.raises(vg.DerivativeError, match=r"opaque\(2\.0\): its local_grads rule raised ForgetError"):
        recorded(opaque, 2.0)


def test_a_value_rule_that_gives_a_plain_number() -> None:
    step = vg.primitive("step", lambda x: 1.0 if x > 0 else 0.0, lambda x, out: (0.0,))
    recording = recorded(lambda x: step(x) * x, 2.0)
    assert len(recording.graph.guards) == 1
    assert replayed(recording, 3.0) == 3.0


@pytest.mark.parametrize("name", ["gamma", "ulp"])
def test_primitives_of_valuegrad_math(name: str) -> None:
    function = getattr(vg.math, name)
    agrees(lambda x: [function(x), vg.grad(function)(x)], (2.5,), (1.25,))


def test_lists_of_valuegrad_math() -> None:
    agrees(
        lambda x, y: vg.grad(lambda v: vg.math.fsum([v[0], v[1] * v[0], 1e16, -1e16]))([x, y]), (2.0, 3.0), (1.0, 5.0)
    )
    agrees(lambda x, y: vg.math.ldexp(x, 3) + vg.math.fma(x, y, 1.0), (2.0, 3.0), (1.0, 5.0))
