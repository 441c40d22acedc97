"""vg.primitive: an operation of the user's, differentiable as often as those of the table."""

from __future__ import annotations

import gc
import math
import threading
import weakref
from typing import Any

import pytest

import valuegrad as vg
from valuegrad import Value
from valuegrad.custom import _applications
from valuegrad.inspect import check_gradients

cube = vg.primitive("cube", value=lambda x: x * x * x, local_grads=lambda x, out: (3 * x * x,))
blend = vg.primitive(
    "blend",
    value=lambda a, b, *, t: (1 - t) * a * b + t * math.sin(b),
    local_grads=lambda a, b, out, *, t: ((1 - t) * b, (1 - t) * a + t * vg.cos(b)),
)
sinc = vg.primitive(
    "sinc",
    value=lambda x: math.sin(x) / x if x else 1.0,
    local_grads=lambda x, out: (vg.div(vg.cos(x) - out, x) if x else -x / 3,),
)


# ------------------------------------------------------------------------------------------ numbers and Values
def test_numbers_give_a_number() -> None:
    assert cube(2.0) == 8.0
    assert type(cube(2)) is float


def test_value_gives_a_value_with_its_local_gradient() -> None:
    x = Value(2.0)
    y = cube(x)
    assert (y.data, y.children, y.local_grads, y.op) == (8.0, (x,), (12.0,), "custom")
    y.backward()
    assert x.grad == 12.0


def test_plain_arguments_become_constants() -> None:
    b = Value(0.5)
    y = blend(3.0, b, t=0.25)
    assert [(c.data, c.op) for c in y.children] == [(3.0, "constant"), (0.5, None)]
    y.backward()
    assert y.children[0].grad == 0.0
    assert b.grad == pytest.approx(0.75 * 3 + 0.25 * math.cos(0.5), rel=1e-15)


def test_any_number_of_arguments() -> None:
    total = vg.primitive("total", lambda *xs: math.fsum(xs), lambda *xs_out: (1.0,) * (len(xs_out) - 1))
    assert vg.grad(lambda xs: total(*xs))([1.0, 2.0, 3.0]) == [1.0, 1.0, 1.0]


def test_it_has_its_name() -> None:
    assert cube.__name__ == "cube"
    assert repr(cube) == "<primitive cube>"


# ------------------------------------------------------------------------------------------------ derivatives
def test_derivatives_of_any_order() -> None:
    f: Any = cube
    for right in (8.0, 12.0, 12.0, 6.0, 0.0):
        assert f(2.0) == right
        f = vg.grad(f)


def test_derivatives_of_a_rule_that_uses_its_result() -> None:
    assert check_gradients(sinc, 0.7).ok
    assert check_gradients(vg.grad(vg.grad(sinc)), 0.7).ok  # the third and the fourth


def test_mixed_second_derivatives() -> None:
    h = vg.hessian(lambda a, b: blend(a, b, t=0.25), argnums=(0, 1))(3.0, 0.5)
    assert h == ((0.0, 0.75), (0.75, pytest.approx(-0.25 * math.sin(0.5), rel=1e-15)))


def test_every_transform_goes_through_it() -> None:
    f = lambda x: cube(x) * vg.sin(x)  # noqa: E731
    g = lambda x: x * x * x * vg.sin(x)  # noqa: E731
    close = {"rel": 1e-14}
    assert vg.jvp(f, 0.7, 2.0) == pytest.approx(vg.jvp(g, 0.7, 2.0), **close)
    assert vg.vjp(f, 0.7)[1](2.0) == pytest.approx(vg.vjp(g, 0.7)[1](2.0), **close)
    assert vg.hvp(f, 0.7, 2.0) == pytest.approx(vg.hvp(g, 0.7, 2.0), **close)
    assert vg.hessian(f)(0.7) == pytest.approx(vg.hessian(g)(0.7), **close)
    inner = lambda x: vg.vjp(f, x)[1](1.0)[0]  # noqa: E731
    assert vg.grad(inner)(0.7) == pytest.approx(vg.hessian(g)(0.7), **close)


def test_gradient_that_depends_on_the_callers_value() -> None:
    w = Value(2.0)
    g = vg.grad(lambda x: cube(x * w))(1.5)  # 3 x² w³
    g.backward()
    assert g.data == pytest.approx(3 * 1.5**2 * 8)
    assert w.grad == pytest.approx(9 * 1.5**2 * 4)


def test_primitive_that_uses_another_in_its_rule() -> None:
    fourth = vg.primitive("fourth", lambda x: x**4, lambda x, out: (4 * cube(x),))
    f: Any = fourth
    for right in (16.0, 32.0, 48.0, 48.0, 24.0):
        assert f(2.0) == right
        f = vg.grad(f)


def test_primitive_made_inside_the_function_is_remembered_while_it_is_needed() -> None:
    def f(x: Any) -> Any:
        return vg.primitive("square", lambda x: x * x, lambda x, out: (2 * x,))(x)

    assert vg.grad(vg.grad(f))(3.0) == 2.0


# ------------------------------------------------------------------------------------------------------ modes
def test_no_grad_remembers_nothing() -> None:
    with vg.no_grad():
        y = cube(Value(2.0))
    assert (y.data, y.children) == (8.0, ())


def test_strict_names_the_primitive() -> None:
    inverse = vg.primitive("inverse", lambda x: vg.div(1.0, x), lambda x, out: (-out * out,))
    with vg.strict(), pytest.raises(vg.StrictError, match=r"inverse\(0\.0\) gave inf"):
        inverse(Value(0.0))


# --------------------------------------------------------------------------------------------------- no leaks
def test_nothing_is_kept_after_the_outermost_derivative() -> None:
    class Setting:
        pass

    setting = Setting()
    watch = weakref.ref(setting)
    f = vg.primitive("f", lambda x, *, s: x * x, lambda x, out, *, s: (2 * x,))
    assert vg.grad(vg.grad(lambda x, s=setting: f(x, s=s)))(3.0) == 2.0
    f(Value(1.0), s=setting)  # outside of a derivative nothing is noted at all
    assert _applications.get() is None
    del setting
    gc.collect()
    assert watch() is None


def test_nothing_is_kept_after_an_exception() -> None:
    def f(x: Any) -> Any:
        cube(x)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        vg.grad(vg.grad(f))(1.0)
    assert _applications.get() is None


def test_threads_keep_their_own_notes() -> None:
    found: list[Any] = []

    def work() -> None:
        found.append([vg.grad(vg.grad(vg.grad(cube)))(x) for x in (1.0, 2.0, 3.0)])

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [[6.0, 6.0, 6.0]] * 4


# ----------------------------------------------------------------------------------------------------- errors
def test_wrong_number_of_local_gradients_is_refused() -> None:
    wrong = vg.primitive("wrong", lambda x, y: x, lambda x, y, out: (1.0,))
    with pytest.raises(vg.ShapeError, match=r"wrong\(1\.0, 2\.0\).* 1 local gradients for 2 arguments"):
        wrong(Value(1.0), 2.0)


def test_local_gradient_that_is_no_tuple_is_refused() -> None:
    wrong = vg.primitive("wrong", lambda x: x, lambda x, out: 1.0)
    with pytest.raises(vg.ValueTypeError, match=r"gave 1\.0 \(float\); expected a tuple.*\(g,\)"):
        wrong(Value(1.0))


def test_local_gradient_that_is_no_number_is_refused() -> None:
    wrong = vg.primitive("wrong", lambda x: x, lambda x, out: ("steep",))
    with pytest.raises(vg.ValueTypeError, match=r"wrong\(\), the local_grads rule's result got 'steep'"):
        wrong(Value(1.0))


def test_value_that_is_no_number_is_refused() -> None:
    wrong = vg.primitive("wrong", lambda x: None, lambda x, out: (1.0,))
    with pytest.raises(vg.ValueTypeError, match="the value rule's result got None"):
        wrong(1.0)


def test_value_rule_that_raises_is_named_with_its_arguments() -> None:
    wrong = vg.primitive("wrong", lambda x: 1 / x, lambda x, out: (-out * out,))
    with pytest.raises(
        vg.ValueArgumentError, match=r"wrong\(0\.0\): its value rule raised ZeroDivisionError"
    ) as caught:
        wrong(Value(0.0))
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_local_grads_rule_that_raises_is_named_with_its_arguments() -> None:
    wrong = vg.primitive("wrong", lambda x: x, lambda x, out: (1 / x,))
    with pytest.raises(vg.DerivativeError, match=r"wrong\(0\.0\): its local_grads rule raised ZeroDivisionError"):
        wrong(Value(0.0))


def test_rule_that_forgets_has_a_first_derivative_and_says_why_no_second() -> None:
    forgetful = vg.primitive("forgetful", math.sin, lambda x, out: (math.cos(x),))
    assert vg.grad(forgetful)(0.5) == math.cos(0.5)
    with pytest.raises(vg.DerivativeError, match=r"forgetful\(0\.5\): its local_grads rule raised ForgetError.*vg\."):
        vg.grad(vg.grad(forgetful))(0.5)


def test_bad_declarations_are_refused() -> None:
    with pytest.raises(vg.ValueTypeError, match="expected text"):
        vg.primitive(3, abs, abs)  # type: ignore[arg-type]
    with pytest.raises(vg.ValueTypeError, match=r"primitive\('f'\), value got 3"):
        vg.primitive("f", 3, abs)  # type: ignore[arg-type]
    with pytest.raises(vg.ValueTypeError, match=r"primitive\('f'\), local_grads got None"):
        vg.primitive("f", abs, None)  # type: ignore[arg-type]


def test_argument_that_is_no_number_is_refused() -> None:
    with pytest.raises(vg.ValueTypeError, match=r"cube\(\) got 'text'"):
        cube("text")
