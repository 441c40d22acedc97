"""vg.compile: what a program takes and gives; recordings, batches, gradients in the arguments' shapes."""

from __future__ import annotations

import collections
import math
import threading
import tracemalloc
from dataclasses import dataclass
from decimal import Decimal
from enum import IntEnum
from typing import NamedTuple

import numpy as np
import pytest
from engines import needs_passes, needs_replay

import valuegrad as vg
from valuegrad import Value

SPOTS = np.linspace(80.0, 120.0, 37)


def price(spot, strike, vol=0.2, rate=0.03, t=1.0):
    d1 = (vg.log(spot / strike) + (rate + vol**2 / 2) * t) / (vol * t**0.5)
    d2 = d1 - vol * t**0.5
    return spot * vg.norm_cdf(d1) - strike * vg.exp(-rate * t) * vg.norm_cdf(d2)


def data(x):
    return x.data if type(x) is Value else x


def plainly(function, *args):
    """The function on Values, lane by lane; what a program must give to the last bit in strict mode."""
    shape = np.broadcast_shapes(*map(np.shape, args))
    lanes = zip(*[np.broadcast_to(x, shape).ravel().tolist() for x in args])
    with vg.no_grad():
        return np.array([data(function(*map(Value, lane))) for lane in lanes]).reshape(shape)


# ------------------------------------------------------------------------------------------- decorating, calling
def test_compile_works_with_and_without_arguments() -> None:
    @vg.compile
    def one(x):
        return x + 1

    @vg.compile(strict=True)
    def two(x):
        return x + 2

    assert (one(1.0), two(1.0), vg.compile(lambda x: x + 3)(1.0)) == (2.0, 3.0, 4.0)
    assert one.__name__ == "one"
    assert isinstance(one, vg.Program)


def test_a_program_keeps_name_doc_and_signature() -> None:
    @vg.compile
    def f(x, y=2.0):
        """What f does."""
        return x * y

    assert (f.__name__, f.__doc__, str(f.__signature__)) == ("f", "What f does.", "(x, y=2.0)")
    assert repr(f) == "<valuegrad program f(x, y=2.0)>"


def test_a_function_is_run_by_python_once() -> None:
    calls = []

    @vg.compile
    def f(x, y):
        calls.append(1)
        return x * y

    assert f(2.0, 3.0) == 6.0
    assert f(4.0, 5.0) == 20.0
    assert f(SPOTS, 2.0).tolist() == (SPOTS * 2).tolist()
    assert f(SPOTS, SPOTS).shape == SPOTS.shape
    assert len(calls) == 1


def test_numbers_give_plain_floats() -> None:
    f = vg.compile(lambda x, y: x + y)
    for x, y in ((1.0, 2.0), (1, 2), (np.float64(1), np.float32(2)), (np.array(1.0), 2.0), (True + 0, np.int64(2))):
        assert type(f(x, y)) is float
        assert f(x, y) == 3.0


def test_keyword_and_default_arguments_are_bound_to_the_signature() -> None:
    f = vg.compile(lambda x, y=2.0, *, z=3.0: x * 100 + y * 10 + z)
    assert f(1.0) == f(1.0, 2.0) == f(x=1.0, z=3.0) == f(y=2.0, x=1.0) == 123.0
    assert f(1.0, z=SPOTS).tolist() == (120.0 + SPOTS).tolist()
    with pytest.raises(vg.ValueTypeError, match=r"<lambda>\(\) got arguments that do not fit: .*'w'"):
        f(1.0, w=2.0)
    with pytest.raises(TypeError, match="missing a required argument: 'x'"):
        f()
    total = vg.compile(lambda *xs, **more: vg.sum([*xs, *more.values()]))
    assert total(1.0, 2.0, three=3.0) == 6.0


def test_arrays_broadcast_as_in_numpy() -> None:
    f = vg.compile(price, strict=True)
    assert f(SPOTS, 100.0).tolist() == plainly(price, SPOTS, 100.0).tolist()
    table = f(SPOTS[:, None], np.array([90.0, 100.0]), vol=np.array([[0.2]]))
    assert table.tolist() == plainly(price, SPOTS[:, None], np.array([90.0, 100.0]), 0.2).tolist()
    assert f(np.array([100.0]), 100.0).shape == (1,)
    assert f(np.ones((2, 1, 3)), np.ones((4, 1))).shape == (2, 4, 3)


def test_arrays_of_other_types_and_layouts_are_lanes_too() -> None:
    f = vg.compile(lambda x: x / 2)
    wide = np.arange(12.0).reshape(3, 4)
    for x in (wide.T, wide[::2, ::-1], wide.astype(np.float32), wide.astype(int), wide > 5, wide.astype(np.uint8)):
        assert f(x).tolist() == (np.asarray(x, dtype=float) / 2).tolist()
        assert f(x).dtype == np.float64
    fortran = np.asfortranarray(wide)
    assert f(fortran).tolist() == (wide / 2).tolist()


def test_an_empty_batch_gives_empty_arrays_and_sums_of_nothing() -> None:
    f = vg.compile(lambda x, y: x * y)
    assert f(np.empty(0), 2.0).shape == (0,)
    assert f(np.empty((3, 0)), 2.0).shape == (3, 0)
    value, (by_x, by_y) = f.value_and_grad(np.empty(0), 2.0)
    assert (value.shape, by_x.shape, by_y) == ((0,), (0,), 0.0)


def test_nestings_come_in_and_go_out() -> None:
    class Point(NamedTuple):
        x: float
        y: float

    @vg.compile
    def f(p, weights, more):
        total = vg.dot(list(weights), [p.x, p.y])
        return {"total": total, "both": (p, [total * more["scale"]]), "none": None, "one": 1}

    result = f(Point(1.0, 2.0), [3.0, 4.0], {"scale": 10.0})
    assert result == {"total": 11.0, "both": (Point(1.0, 2.0), [110.0]), "none": None, "one": 1.0}
    lanes = f(Point(SPOTS, 2.0), [3.0, 4.0], {"scale": 10.0})
    assert lanes["total"].tolist() == (3 * SPOTS + 8).tolist()
    assert lanes["both"][0].y.tolist() == [2.0] * 37
    assert lanes["one"].tolist() == [1.0] * 37


def test_a_function_may_return_arrays_of_values() -> None:
    f = vg.compile(lambda x: {"powers": np.array([[x, x * x], [x**3, 1.0]]), "x": x})
    assert f(2.0)["powers"].tolist() == [[2.0, 4.0], [8.0, 1.0]]
    powers = f(SPOTS)["powers"]
    assert powers.shape == (37, 2, 2)
    assert powers[:, 0, 1].tolist() == (SPOTS * SPOTS).tolist()


def test_a_comparison_may_be_returned() -> None:
    f = vg.compile(lambda x: x > 100)
    assert f(101.0) == 1.0
    assert f(SPOTS).tolist() == (SPOTS > 100).astype(float).tolist()
    assert len(f.graph.paths) == 1


def test_outputs_that_do_not_depend_on_the_lanes_are_arrays_too() -> None:
    f = vg.compile(lambda x, y: (x, y * 2, 5))
    _, twice, five = f(SPOTS, 3.0)
    assert twice.tolist() == [6.0] * 37
    assert five.tolist() == [5.0] * 37
    twice[0] = 1.0  # an array like any other


def test_the_callers_arrays_are_left_alone_and_not_given_back() -> None:
    f = vg.compile(lambda x: x)
    x = SPOTS.copy()
    y = f(x)
    y[:] = 0.0
    assert x.tolist() == SPOTS.tolist()
    x.flags.writeable = False
    assert f(x).tolist() == SPOTS.tolist()


# ------------------------------------------------------------------------------------------- wrong arguments
def test_arrays_that_do_not_broadcast_are_named() -> None:
    @vg.compile
    def price(spots, strikes, more):
        return spots - strikes

    message = r"price\(\) got spots of length 3 and strikes of length 4; give arrays that broadcast, or one number"
    with pytest.raises(vg.ShapeError, match=message):
        price(np.ones(3), np.ones(4), 1.0)
    with pytest.raises(vg.ShapeError, match=r"got spots of shape \(2, 3\) and more\['w'\]\[1\] of length 2"):
        price(np.ones((2, 3)), 1.0, {"w": [1.0, np.ones(2)]})


@pytest.mark.parametrize(
    ("wrong", "shown"),
    [
        (1j, r"1j \(complex\)"),
        (object(), "object"),
        (np.array(["a"]), "an array of <U1"),
        (np.ones(2, complex), "complex"),
    ],
)
def test_what_is_no_number_is_refused(wrong: object, shown: str) -> None:
    f = vg.compile(lambda x, y: x)
    with pytest.raises(vg.ValueTypeError, match=rf"got y as .*{shown}.*static='y'"):
        f(1.0, wrong)
    with pytest.raises(vg.ValueTypeError, match=r"got x\['a'\]\[0\] as"):
        f({"a": [wrong]}, 1.0)


def test_options_are_checked() -> None:
    def f(x, y):
        return x

    for wrong, message in (
        ({"threads": 0}, "threads=0; give 1 or more"),
        ({"dtype": "float16"}, "dtype='float16'; expected 'float64' or 'float32'"),
        ({"beyond": "ignore"}, "beyond='ignore'"),
        ({"reduce": "max"}, "reduce='max'"),
        ({"max_paths": 0}, "max_paths=0"),
        ({"static": "z"}, "static='z', but f.*has no such argument; give one of"),
        ({"static": 2}, r"static=\(2,\), but f.*has 2 arguments"),
        ({"vectors": "z"}, "vectors='z'"),
    ):
        with pytest.raises(vg.ValuegradError, match=message):
            vg.compile(f, **wrong)
    with pytest.raises(vg.ValueTypeError, match=r"compile\(\) got 3 \(int\); expected a function"):
        vg.compile(3)


def test_a_result_that_is_no_number_is_refused() -> None:
    @vg.compile
    def f(x):
        return {"a": x, "b": "text"}

    with pytest.raises(vg.ValueTypeError, match=r"f\(\) gave 'text' \(str\); expected numbers"):
        f(1.0)


def test_a_function_that_gives_nothing_is_refused() -> None:
    def f(x):
        x * 2

    for x in (1.0, SPOTS):
        with pytest.raises(vg.ValueTypeError, match=r"f\(\) gave None; expected numbers.*does it lack a return\?"):
            vg.compile(f)(x)
        with pytest.raises(vg.ValueTypeError, match="gave None; expected one number: does it lack a return"):
            vg.compile(f).value_and_grad(x)


def test_what_the_function_raises_comes_out_and_the_next_call_works() -> None:
    @vg.compile
    def f(x, fail):
        if fail:
            raise RuntimeError("the user's own")
        return x

    with pytest.raises(RuntimeError, match="the user's own"):
        f(1.0, True)
    assert f(1.0, False) == 1.0
    with pytest.raises(vg.ForgetError, match=r"v\.data"):
        vg.compile(lambda x: x.data)(1.0)


# ------------------------------------------------------------------------------------------- static arguments
def test_text_booleans_and_none_are_static() -> None:
    @vg.compile
    def option(spot, strike, kind, sign=None, digital=False):
        payoff = spot - strike if kind == "call" else strike - spot
        return vg.where(payoff > 0, 1.0, 0.0) if digital else payoff * (1 if sign is None else sign)

    assert option(110.0, 100.0, "call") == 10.0
    assert option(110.0, 100.0, "put") == -10.0
    assert option(110.0, 100.0, "put", 3.0) == -30.0
    assert option(110.0, 100.0, "call", digital=True) == 1.0
    assert option(SPOTS, 100.0, "call").tolist() == (SPOTS - 100.0).tolist()
    assert len(option.graph.paths) == 4


def test_the_gradient_by_text_is_none() -> None:
    f = vg.compile(lambda x, kind: 2.0 * x if kind == "call" else -x)
    assert f.value_and_grad(3.0, "call") == (6.0, (2.0, None))
    assert f.value_and_grad(3.0, "put") == (-3.0, (-1.0, None))


@pytest.mark.parametrize("static", ["n", ("n",), 1, [1]])
def test_static_arguments_may_steer_python(static: object) -> None:
    f = vg.compile(lambda x, n: vg.sum([x**i for i in range(n)]), static=static)
    assert f(2.0, 3) == 7.0
    assert f(2.0, n=4) == 15.0
    assert f(np.array([1.0, 2.0]), 2).tolist() == [2.0, 3.0]


def test_equal_static_arguments_of_different_kinds_are_told_apart() -> None:
    f = vg.compile(lambda x, s: x if s is True else x + math.copysign(1, s), static="s")
    assert [f(10.0, s) for s in (True, 1, 1.0, 0.0, -0.0)] == [10.0, 11.0, 11.0, 11.0, 9.0]
    g = vg.compile(lambda x, s: x + len(s) + math.copysign(1, s[0]), static="s")
    assert [g(10.0, s) for s in ((0.0,), (-0.0,), (0.0, 1))] == [12.0, 10.0, 13.0]


def test_a_static_argument_that_may_change_unseen_is_refused() -> None:
    f = vg.compile(lambda x, s: x, static="s")
    with pytest.raises(vg.ValueTypeError, match=r"static argument 's' as .*cannot be hashed.*tuple"):
        f(1.0, {1, 2})
    assert f(1.0, [1, 2]) == 1.0  # a list counts by its entries


# ------------------------------------------------------------------------------------------- integers
def test_integers_choose_entries() -> None:
    f = vg.compile(lambda xs, i: vg.take(xs, i) * 2)
    assert [f([1.0, 2.0, 3.0], i) for i in (0, 2, -1)] == [2.0, 6.0, 6.0]
    which = np.array([2, 0, -2])
    assert f([1.0, 2.0, np.array([3.0, 4.0, 5.0])], which).tolist() == [6.0, 2.0, 4.0]
    loss = vg.compile(lambda logits, target: vg.cross_entropy(logits, target))
    assert loss([1.0, 2.0], np.array([0, 1])).tolist() == pytest.approx(
        [vg.cross_entropy([1.0, 2.0], i) for i in (0, 1)]
    )


@pytest.mark.parametrize("target", [0, 2, -1])
@pytest.mark.parametrize("order", [1, 2])
def test_strict_derivatives_of_a_cross_entropy_are_the_engines_whichever_way_it_got_its_target(target, order):
    def loss(x, target):  # a third: 1 - p, times a third, is rounded otherwise than each of the two times a third
        return vg.cross_entropy([vg.sin(a) * 1.7 for a in x], target) / 3

    def derivative(x, target):
        of = vg.grad if order == 1 else vg.hessian
        return of(lambda x: loss(x, target))(x)

    random = np.random.default_rng(order)
    for _ in range(8):
        x = random.normal(size=3).tolist()
        expected = np.array(derivative(x, target))
        for program in (vg.compile(derivative, strict=True), vg.compile(lambda x: derivative(x, target), strict=True)):
            found = program(x, target) if program.function is derivative else program(x)
            np.testing.assert_array_equal(np.array(found), expected)


def test_strict_derivatives_of_a_cross_entropy_at_the_edges_are_the_engines():
    derivative = lambda x, target: vg.grad(lambda x: vg.cross_entropy(x, target) / 3)(x)  # noqa: E731
    program = vg.compile(derivative, strict=True)
    for x in ([1000.0, 0.0], [-math.inf, 1.0], [math.inf, 1.0], [math.nan, 1.0], [-math.inf, -math.inf]):
        for target in (0, 1):
            np.testing.assert_array_equal(program(x, target), derivative(x, target))


def test_an_integer_where_python_needs_one_is_refused_with_the_way_out() -> None:
    for wrong in (
        lambda n: [1.0, 2.0][n],
        lambda n: vg.sum([1.0 for _ in range(n)]),
        lambda n: np.array([1.0, 2.0])[n],
        lambda n: vg.sum([1.0] * n),
    ):
        with pytest.raises(vg.ValueTypeError, match=r"used an integer argument where .*vg\.take\(xs, i\).*static="):
            vg.compile(wrong)(1)


@pytest.mark.parametrize(
    "wrong", [lambda x: x[0], lambda x: len(x), lambda x: vg.sum(list(x)), lambda x: x.sum(), lambda x: x.shape]
)
def test_a_lane_that_is_taken_for_the_array_is_refused_with_the_way_out(wrong) -> None:
    with pytest.raises((TypeError, AttributeError), match=r"\(\) took one number of an array for the array.*vectors="):
        vg.compile(wrong)(np.ones(3))
    with pytest.raises((TypeError, AttributeError), match=r"^((?!vectors=).)*$"):
        vg.compile(wrong)(1.0)  # here is no array


class Kind(IntEnum):
    CALL = 1
    PUT = 2


def test_a_member_of_an_enum_is_static_so_that_it_stays_itself() -> None:
    f = vg.compile(lambda x, kind: x if kind is Kind.CALL else -x)
    assert [f(2.0, kind) for kind in (Kind.CALL, 1, 1, Kind.CALL, Kind.PUT)] == [2.0, -2.0, -2.0, 2.0, -2.0]
    assert f(np.array([1.0, 2.0]), Kind.PUT).tolist() == [-1.0, -2.0]
    assert vg.grad(f)(2.0, Kind.PUT) == -1.0


def test_a_choice_by_numpys_where_is_a_number_on_either_path() -> None:
    f = vg.compile(lambda x: np.where(x > 1.0, x * x, 0.0))
    assert f(np.array([0.5, 2.0])).tolist() == [0.0, 4.0]
    assert f(0.5) == 0.0


def test_a_dataclass_is_refused_with_the_way_out() -> None:
    @dataclass
    class Params:
        a: float

    f = vg.compile(lambda p, x: p["a"] * x)
    with pytest.raises(vg.ValueTypeError, match=r"got p as .*Params.*as a dict: vars\(x\)"):
        f(Params(2.0), 3.0)
    assert f(vars(Params(2.0)), 3.0) == 6.0


@pytest.mark.parametrize("dtype", ["float32", np.float32, np.dtype("float32")])
def test_a_dtype_may_be_numpys(dtype: object) -> None:
    assert vg.compile(lambda x: x, dtype=dtype)(np.ones(2)).dtype == np.float32


@pytest.mark.parametrize("derivative", [vg.grad, vg.jacobian, vg.value_and_grad])
def test_a_program_that_closes_over_what_is_differentiated_is_refused_not_a_constant(derivative) -> None:
    for wrong in (
        lambda a: a * vg.compile(lambda x: x * a)(3.0),
        lambda a: (lambda b: vg.compile(lambda x: x * b)(3.0))(a * 2.0),
        lambda a: vg.compile(lambda s, x: s * a + x).iterate(0.0, (np.ones(4),)),
    ):
        with pytest.raises(vg.ForgetError, match=r"inside a function that is differentiated.*hand them over as arg"):
            derivative(wrong)(2.0)
    other = Value(5.0)
    assert vg.grad(lambda a: a * vg.compile(lambda x: x * other)(3.0))(2.0) == 15.0
    assert vg.grad(lambda a: vg.compile(lambda x, a: x * a)(3.0, a))(2.0) == 3.0
    assert vg.grad(lambda a: a * vg.compile(lambda x, k: x * k)(3.0, a.data))(2.0) == 6.0


def test_an_index_that_points_outside_is_refused_whatever_lane_it_is_in() -> None:
    f = vg.compile(lambda xs, i: vg.take(xs, i))
    assert f([1.0, 2.0], 1) == 2.0
    for wrong in (2, np.array([0, 2]), np.array([-3, 0])):
        with pytest.raises(vg.IndexRangeError, match=r"<lambda>\(\), i got index (2|-3); there are 2 entries"):
            f([1.0, 2.0], wrong)


@needs_passes
def test_the_gradient_adds_into_the_entries_that_were_chosen() -> None:
    f = vg.compile(lambda xs, i: vg.take(xs, i) ** 2)
    value, (by_xs, by_i) = f.value_and_grad([1.0, 2.0, 3.0], np.array([0, 2, 2]))
    assert value.tolist() == [1.0, 9.0, 9.0]
    assert by_xs == [2.0, 0.0, 12.0]
    assert by_i.tolist() == [0.0, 0.0, 0.0]


# ------------------------------------------------------------------------------------------- gradients
def test_gradients_have_the_shapes_of_the_arguments() -> None:
    f = vg.compile(lambda x, y, z: x * y + z * z)
    x, y, z = SPOTS[:, None], np.array([1.0, 2.0]), 3.0
    value, (by_x, by_y, by_z) = f.value_and_grad(x, y, z)
    assert value.tolist() == (x * y + z * z).tolist()
    assert by_x.tolist() == [[3.0]] * 37
    assert by_y.tolist() == pytest.approx([SPOTS.sum()] * 2)
    assert by_z == 2 * 3.0 * 74
    _, (by_x, by_y, by_z) = f.value_and_grad(np.ones((2, 3)), np.full((1, 1), 5.0), np.arange(6.0).reshape(2, 3))
    assert by_x.tolist() == [[5.0] * 3] * 2
    assert by_y.tolist() == [[6.0]]
    assert by_z.tolist() == [[0, 2, 4], [6, 8, 10]]


def test_reduce_mean_gives_means_where_lanes_share_an_argument() -> None:
    f = vg.compile(lambda x, y, z: x * y * z, reduce="mean")
    x = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    _, (by_x, by_y, by_z) = f.value_and_grad(x, np.array([[1.0], [2.0]]), 10.0)
    assert by_x.tolist() == [[10.0] * 3, [20.0] * 3]
    assert by_y.tolist() == [[20.0], [50.0]]
    assert by_z == 36.0 / 6


def test_the_sum_over_the_lanes_of_a_shared_arguments_gradient_is_exact_enough_and_the_same_with_threads() -> None:
    x = np.random.default_rng(1).normal(size=10_000)
    found = [
        vg.compile(lambda x, w: vg.sin(x * w), threads=threads).value_and_grad(x, 0.7)[1][1] for threads in (1, 2, 3)
    ]
    assert found[0] == found[1] == found[2]
    assert found[0] == pytest.approx(float((np.cos(x * 0.7) * x).sum()), rel=1e-10)


def test_value_and_grad_gives_a_gradient_for_each_argument_and_none_for_static_ones() -> None:
    f = vg.compile(lambda x, kind, y=2.0, flag=None: x * y if kind == "product" else x, static="kind")
    assert f.value_and_grad(3.0, "product") == (6.0, (2.0, None, 3.0, None))
    g = vg.compile(lambda p, y: p["a"] * p["b"][0] + y)
    assert g.value_and_grad({"a": 2.0, "b": [3.0]}, 1.0) == (7.0, ({"a": 3.0, "b": [2.0]}, 1.0))


def test_value_and_grad_agrees_with_the_eager_engine() -> None:
    f = vg.compile(price, strict=True)
    value, grads = f.value_and_grad(SPOTS, 105.0, 0.3, 0.01, np.full(37, 0.5))
    eager = vg.value_and_grad(price, argnums=(0, 1, 2, 3, 4))
    lanes = [eager(spot, 105.0, 0.3, 0.01, 0.5) for spot in SPOTS.tolist()]
    assert value.tolist() == [y for y, _ in lanes]
    assert grads[0].tolist() == [g[0] for _, g in lanes]
    assert grads[4].tolist() == [g[4] for _, g in lanes]
    for i in (1, 2, 3):
        assert grads[i] == pytest.approx(sum(g[i] for _, g in lanes), rel=1e-12)


def test_an_integer_argument_has_a_gradient_like_any_number() -> None:
    assert vg.compile(lambda x, y: x * y).value_and_grad(3, 5) == (15.0, (5.0, 3.0))


def test_transforms_of_programs_are_programs_and_compose() -> None:
    f = vg.compile(lambda x, y: x**3 * y**2)
    first = vg.grad(f)
    assert isinstance(first, vg.Program)
    assert vg.grad(f) is first
    assert first(2.0, 3.0) == 108.0
    assert first(np.array([1.0, 2.0]), 3.0).tolist() == [27.0, 108.0]
    assert vg.grad(vg.grad(f))(2.0, 3.0) == 108.0
    assert vg.grad(vg.grad(f), argnums=1)(2.0, 3.0) == 72.0
    assert vg.grad(vg.grad(vg.grad(f)))(np.array([2.0, 5.0]), 3.0).tolist() == [54.0, 54.0]
    assert vg.value_and_grad(f, argnums=(0, 1))(2.0, 3.0) == (72.0, (108.0, 48.0))
    assert vg.grad(f, argnums=-1)(2.0, 3.0) == 48.0
    assert repr(first).startswith("<valuegrad program grad(<lambda>)")


def test_negative_argnums_count_the_arguments_that_were_given() -> None:
    f = vg.compile(lambda x, y, z=1.0: x + 10 * y + 100 * z)
    assert vg.grad(f, argnums=-1)(1.0, 2.0) == vg.grad(f.function, argnums=-1)(1.0, 2.0) == 10.0
    with pytest.raises(vg.IndexRangeError, match=r"argnums=3"):
        vg.grad(f, argnums=3)(1.0, 2.0)


def test_jacobian_and_hessian_have_a_lane_each() -> None:
    f = vg.compile(lambda x, y: [x * y, x + y])
    assert vg.jacobian(f)(2.0, 3.0) == [3.0, 1.0]
    assert vg.jacobian(f, (0, 1))(np.array([1.0, 2.0]), 3.0)[0][1].tolist() == [1.0, 2.0]
    g = vg.compile(lambda p: p[0] ** 2 * p[1])
    assert vg.hessian(g)([3.0, 5.0]) == [[10.0, 6.0], [6.0, 0.0]]
    rows = vg.hessian(g)([np.array([3.0, 1.0]), 5.0])
    assert [[x.tolist() for x in row] for row in rows] == [[[10.0, 10.0], [6.0, 2.0]], [[6.0, 2.0], [0.0, 0.0]]]


def test_directional_derivatives_of_programs() -> None:
    f = vg.compile(lambda p: p[0] ** 2 * p[1])
    hvp = vg.hvp(f)
    assert isinstance(hvp, vg.Program)
    assert hvp([3.0, 5.0], [1.0, 0.0]) == vg.hvp(f, [3.0, 5.0], [1.0, 0.0]) == [10.0, 6.0]
    lanes = hvp([np.array([3.0, 1.0]), 5.0], [1.0, 0.0])
    assert [x.tolist() for x in lanes] == [[10.0, 10.0], [6.0, 2.0]]
    g = vg.compile(lambda x, y: x * y)
    assert vg.jvp(g, (3.0, 5.0), (1.0, 10.0)) == vg.jvp(g)((3.0, 5.0), (1.0, 10.0)) == (15.0, 35.0)
    value, pullback = vg.vjp(vg.compile(lambda x, y: [x * y, x + y]), 3.0, 5.0)
    assert (value, pullback([1.0, 10.0])) == ([15.0, 8.0], (15.0, 13.0))


def test_hvp_and_jvp_of_plain_functions_wait_for_their_arguments_too() -> None:
    assert vg.hvp(lambda x: x[0] ** 2 * x[1])([3.0, 5.0], [1.0, 0.0]) == [10.0, 6.0]
    assert vg.jvp(lambda x, y: x * y)((3.0, 5.0), (1.0, 10.0)) == (15.0, 35.0)
    with pytest.raises(vg.ValueTypeError, match="primals without tangents"):
        vg.jvp(lambda x: x, 1.0)


def test_a_gradient_taken_inside_a_compiled_function_is_compiled_with_it() -> None:
    step = vg.compile(lambda x: x - 0.1 * vg.grad(lambda y: (y - 3) ** 2)(x))
    assert step(1.0) == pytest.approx(1.4)
    assert vg.grad(step)(1.0) == pytest.approx(0.8)


# ------------------------------------------------------------------------------------------- Values, modes, captured
def test_values_as_arguments_run_the_plain_function() -> None:
    f = vg.compile(lambda x, y: x * y)
    x = Value(3.0)
    y = f(x, 5.0)
    assert type(y) is Value
    y.backward()
    assert x.grad == 5.0
    assert f([x][0], y).children
    objects = np.array([Value(1.0), Value(2.0)])
    assert [v.data for v in f(objects, 2.0)] == [2.0, 4.0]


def test_a_program_inside_another_is_recorded_with_it() -> None:
    inner = vg.compile(lambda x: x * x if x > 0 else -x)
    outer = vg.compile(lambda x: inner(x) + inner(2.0) + vg.grad(inner)(x))
    assert outer(3.0) == 9.0 + 4.0 + 6.0
    assert outer(np.array([3.0, -3.0])).tolist() == [19.0, 3.0 + 4.0 - 1.0]
    assert vg.grad(lambda x: inner(x))(3.0) == 6.0


def test_strict_blocks_run_the_plain_function_and_find_the_operation() -> None:
    f = vg.compile(lambda x: vg.log(x))
    assert f(0.0) == -math.inf
    with vg.strict(), pytest.raises(vg.StrictError, match=r"log\(0\.0\) gave -inf"):
        f(Value(0.0))
    with vg.no_grad():
        assert f(1.0) == 0.0


def test_captured_leaves_are_read_at_every_call() -> None:
    w = Value(2.0)
    f = vg.compile(lambda x: x * w)
    assert f(3.0) == 6.0
    w.data = 5.0
    assert f(3.0) == 15.0
    assert f(SPOTS).tolist() == (SPOTS * 5.0).tolist()
    assert f.value_and_grad(3.0) == (15.0, (5.0,))


# ------------------------------------------------------------------------------------------- float32, threads
def test_float32_programs_give_float32_arrays() -> None:
    f = vg.compile(lambda x, y: (x / 3, {"y": y * y}), dtype="float32")
    third, rest = f(np.array([1.0, 2.0]), 0.1)
    assert third.dtype == rest["y"].dtype == np.float32
    assert third.tolist() == (np.array([1.0, 2.0], np.float32) / np.float32(3)).tolist()
    assert f(1.0, 0.1)[0] == float(np.float32(1) / np.float32(3))
    value, (by_x, by_y) = vg.compile(lambda x, y: x * y, dtype="float32").value_and_grad(np.ones(4), 0.1)
    assert (value.dtype, by_x.dtype, type(by_y)) == (np.float32, np.float32, float)


def test_contiguous_arrays_are_used_as_they_are() -> None:
    f = vg.compile(lambda x, y: x + y)
    paths, call = f.taken_apart((SPOTS, np.ones(37)))
    assert call.lane_inputs(np.dtype("float64"))[0].base is SPOTS or np.shares_memory(
        call.lane_inputs(np.dtype("float64"))[0], SPOTS
    )
    assert paths.options.dtype == "float64"


def test_programs_may_be_called_from_many_threads_at_once() -> None:
    @vg.compile
    def f(x, y):
        for i in range(6):
            x = x * 0.5 if x > i else x + y
        return x

    rng = np.random.default_rng(0)
    batches = [rng.uniform(0.0, 8.0, size=200) for _ in range(16)]
    expected = [vg.compile(f.function)(batch, 1.0).tolist() for batch in batches]
    found: list[object] = [None] * 16
    start = threading.Barrier(8)

    def work(k: int) -> None:
        start.wait()
        for i in range(k, 16, 8):
            found[i] = f(batches[i], 1.0).tolist()
            assert f(1.5, 1.0) == f.value_and_grad(1.5, 1.0)[0]

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == expected


# ------------------------------------------------------------------------------------------- vectors, sums over lanes
def test_vectors_belong_to_every_lane_as_a_whole() -> None:
    f = vg.compile(lambda w, x: vg.dot(list(w), [x, x * x]), vectors="w")
    w = np.array([2.0, 3.0])
    assert f(w, 5.0) == 85.0
    assert f(w, SPOTS).tolist() == pytest.approx((2 * SPOTS + 3 * SPOTS**2).tolist())
    _, (by_w, by_x) = f.value_and_grad(w, SPOTS)
    assert by_w.tolist() == pytest.approx([SPOTS.sum(), (SPOTS**2).sum()])
    assert by_x.shape == SPOTS.shape
    assert f.value_and_grad(w, 5.0)[1][0].tolist() == [5.0, 25.0]
    matrix = vg.compile(lambda m, x: m @ np.array([x, 1.0]), vectors=["m"])
    assert matrix(np.array([[1.0, 2.0], [3.0, 4.0]]), 10.0).tolist() == [12.0, 34.0]
    assert matrix(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([10.0, 20.0])).tolist() == [[12.0, 34.0], [22.0, 64.0]]


def test_vectors_and_static_arguments_of_a_derivative_are_named_as_those_of_its_function() -> None:
    def f(w, x, power):
        return vg.dot(list(w), [x, x**power])

    w, x = np.array([2.0, 3.0]), np.array([1.0, 2.0, 5.0])
    gradient = vg.compile(vg.grad(f, argnums=1), vectors="w", static="power")
    assert gradient(w, x, 2).tolist() == [8.0, 14.0, 32.0]
    curvature = vg.compile(vg.grad(vg.grad(f, argnums=1), argnums=1), vectors="w", static="power")
    assert curvature(w, x, 2).tolist() == [6.0, 6.0, 6.0]


def test_calls_on_vectors_after_the_first_are_like_it() -> None:
    def f(w, b):
        return {"sum": vg.sum(list(w)) * b[0] if w[0] > 0.0 else b[0], "w": w * b[0]}

    program = vg.compile(f, vectors=("w", "b"))
    w, b = np.array([1.0, 2.0, 3.0]), np.array([2.0])
    first = program(w, b)
    assert (first["sum"], first["w"].tolist()) == (12.0, [2.0, 4.0, 6.0])
    again = program(w, b)
    assert (type(again["sum"]), again["sum"], again["w"].tolist()) == (float, 12.0, [2.0, 4.0, 6.0])
    assert not np.shares_memory(first["w"], again["w"])
    for other, expected in (
        ((-w, b), [-2.0, -4.0, -6.0]),  # another path
        ((w, b), [2.0, 4.0, 6.0]),
        ((w[:2], b), [2.0, 4.0]),  # another shape
        ((w.astype(np.float32), b), [2.0, 4.0, 6.0]),
        ((w[::-1], b), [6.0, 4.0, 2.0]),
        ((w, [2.0]), [2.0, 4.0, 6.0]),
        ((w.astype(int), b.astype(int)), [2.0, 4.0, 6.0]),
        ((np.array([1.0, 2.0, Value(3.0)]), b), [2.0, 4.0, 6.0]),
    ):
        for _ in range(2):
            assert [x.data if type(x) is Value else x for x in program(*other)["w"]] == expected
    assert program(b=b, w=w)["w"].tolist() == [2.0, 4.0, 6.0]
    assert len(program.graph.paths) >= 2


def test_a_call_on_vectors_reads_a_value_from_outside_anew() -> None:
    factor = Value(2.0)
    program = vg.compile(lambda w: vg.sum(list(w)) * factor, vectors="w")
    w = np.array([1.0, 2.0])
    assert [program(w), program(w)] == [6.0, 6.0]
    factor.data = 3.0
    assert program(w) == 9.0


def test_batch_sums_are_numbers_and_outside_of_programs_there_is_one_lane() -> None:
    f = vg.compile(lambda x, y: (vg.batch_sum(x * y), vg.batch_mean(x) + y, vg.batch_sum(1.0), x + 1))
    total, mean, lanes, moved = f(np.array([1.0, 2.0, 3.0]), 10.0)
    assert (total, mean, lanes, moved.tolist()) == (60.0, 12.0, 3.0, [2.0, 3.0, 4.0])
    assert f(2.0, 10.0) == (20.0, 12.0, 1.0, 3.0)
    assert vg.batch_sum(3.0) == vg.batch_mean(3.0) == 3.0
    x = Value(3.0)
    assert vg.batch_sum(x) is x
    with pytest.raises(vg.ValueTypeError, match=r"batch_sum\(\) got 'a'"):
        vg.batch_sum("a")


def test_a_sum_over_the_batch_cannot_be_used_in_the_lanes_again() -> None:
    f = vg.compile(lambda x: x - vg.batch_mean(x))
    with pytest.raises(vg.ValueArgumentError, match="batch_sum"):
        f(SPOTS)


@needs_passes
def test_a_training_step_is_one_program() -> None:
    @vg.compile(vectors="w")
    def step(w, x, y, rate):
        loss, grads = vg.value_and_grad(lambda w: (w[0] * x + w[1] - y) ** 2)(w)
        return w - rate * np.array([vg.batch_mean(g) for g in grads]), vg.batch_mean(loss)

    rng = np.random.default_rng(0)
    x = rng.normal(size=64)
    w = np.zeros(2)
    for _ in range(200):
        w, loss = step(w, x, 3.0 * x - 1.0, 0.1)
    assert w.tolist() == pytest.approx([3.0, -1.0], abs=1e-6)
    assert type(loss) is float
    assert len(step.graph.paths) == 1


# ------------------------------------------------------------------------------------------- looking inside
def test_the_graph_prints_what_was_recorded() -> None:
    f = vg.compile(lambda x: vg.exp(x) if x > 0 else x * x)
    assert str(f.graph) == "<lambda>(): nothing recorded yet; call it once"
    f(np.array([1.0, -1.0]))
    graph = f.graph
    assert graph.counts["exp"] == graph.counts["mul"] == 1
    assert len(graph.graphs) == len(graph.paths) == 2
    assert list(graph.guards.values()) == [2]
    assert next(iter(graph.guards)).startswith(__file__)
    assert graph.memory["graphs"] > 0
    assert str(graph).startswith("<lambda>(): 2 paths, ")
    assert "guards: 2 at" in str(graph)


# ------------------------------------------------------------------------------------------- corners
def test_functions_without_arguments_or_results() -> None:
    assert vg.compile(lambda: vg.exp(0.0) + 1)() == 2.0
    assert vg.compile(lambda: ([], {}))() == ([], {})
    assert vg.compile(lambda x: {})(SPOTS) == {}
    assert vg.compile(lambda x: (x,))(1.0) == (1.0,)
    assert vg.compile(lambda x: 1 if x > 0 else 0)(SPOTS).tolist() == [1.0] * 37


def test_a_program_may_be_a_method() -> None:
    class Line:
        slope = 3.0

        @vg.compile(static="self")
        def at(self, x):
            return self.slope * x

    assert Line().at(2.0) == 6.0
    assert Line().at(np.array([1.0, 2.0])).tolist() == [3.0, 6.0]
    assert isinstance(Line.at, vg.Program)


def test_a_masked_array_is_refused_and_numbers_in_an_object_array_are_taken() -> None:
    f = vg.compile(lambda x: x * 2)
    with pytest.raises(vg.ValueTypeError, match="a masked array, whose mask would be lost"):
        f(np.ma.masked_array([1.0, 2.0], mask=[True, False]))
    assert f(np.array([1, 2.5], dtype=object)).tolist() == [2.0, 5.0]


def test_an_index_is_checked_only_in_the_lanes_that_use_it() -> None:
    f = vg.compile(lambda xs, i: vg.take(xs, i) if i < 2 else 0.0)
    assert f([1.0, 2.0], np.array([0, 5, 1])).tolist() == [1.0, 0.0, 2.0]
    assert f([1.0, 2.0], 7) == 0.0
    with pytest.raises(vg.IndexRangeError, match="index -3"):
        f([1.0, 2.0], np.array([0, 5, -3]))


def test_programs_can_be_compiled_again_in_another_way() -> None:
    f = vg.compile(lambda x, y: x * y)
    single = vg.compile(f, dtype="float32", reduce="mean")
    assert single(SPOTS, 2.0).dtype == np.float32
    assert vg.compile(vg.grad(f, argnums=1), reduce="mean")(np.array([1.0, 3.0]), 2.0) == 2.0


@needs_replay
def test_a_batch_needs_memory_for_its_results_and_little_more() -> None:
    f = vg.compile(price)
    n = 200_000
    x = np.linspace(80.0, 120.0, n)
    f.value_and_grad(x[:100], 105.0, 0.2)
    f.value_and_grad(x, 105.0, 0.2)
    tracemalloc.start()
    try:
        f(x, 105.0, 0.2)
        assert tracemalloc.get_traced_memory()[1] < 8 * n + 100_000
        tracemalloc.reset_peak()
        value, grads = f.value_and_grad(x, 105.0, 0.2)
        assert tracemalloc.get_traced_memory()[1] < 2 * 8 * n + 100_000
    finally:
        tracemalloc.stop()
    assert value.shape == grads[0].shape == (n,)


# ------------------------------------------------------------------------------------------- odd things
def test_numbers_become_infinite_without_a_warning() -> None:
    """Filters make every warning an error here."""
    large = np.full(4, 1e300)
    w = Value(1e300)
    assert vg.compile(lambda x: x * w, dtype="float32")(large).tolist() == [math.inf] * 4
    assert vg.compile(lambda x: x * w, dtype="float32")(1e300) == math.inf
    f = vg.compile(lambda x, y: x * y)
    value, (by_x, by_y) = f.value_and_grad(np.full((5, 1), 1e308), np.ones(3))
    assert (value.shape, by_x.tolist(), by_y.tolist()) == ((5, 3), [[3.0]] * 5, [math.inf] * 3)
    assert np.isnan(f.value_and_grad(np.array([[math.inf], [-math.inf]]), np.ones(3))[1][1]).all()
    last = vg.compile(lambda s, x: s * x, dtype="float32").iterate(np.ones(2), (np.full(3, 1e300),))
    assert last.tolist() == [math.inf] * 2


def test_structures_of_others_come_in_and_go_out() -> None:
    optree = pytest.importorskip("optree")

    class Pair:
        def __init__(self, x, y):
            self.x, self.y = x, y

    everywhere = vars(optree.registry)["__GLOBAL_NAMESPACE"]
    optree.register_pytree_node(Pair, lambda p: ((p.x, p.y), None), lambda _, xy: Pair(*xy), namespace=everywhere)
    try:
        f = vg.compile(lambda p: Pair(p.x * p.y, {"y": p.y}))
        assert f(Pair(SPOTS, 2.0)).x.tolist() == (SPOTS * 2).tolist()
        _, (by_p,) = vg.compile(lambda p: p.x * p.y).value_and_grad(Pair(SPOTS, 2.0))
        assert (type(by_p), by_p.x.tolist(), by_p.y) == (Pair, [2.0] * 37, pytest.approx(SPOTS.sum()))
    finally:
        optree.unregister_pytree_node(Pair, namespace=everywhere)
    last = collections.deque([collections.OrderedDict(b=SPOTS, a=2.0)])
    assert vg.compile(lambda d: d[0]["b"] / d[0]["a"])(last).tolist() == (SPOTS / 2).tolist()


@pytest.mark.parametrize("wrong", [(x for x in (1.0, 2.0)), {1.0, 2.0}, range(3), memoryview(b"12"), Decimal(1)])
def test_what_only_looks_like_numbers_is_refused(wrong: object) -> None:
    with pytest.raises(vg.ValueTypeError, match=r"got x as .*expected real numbers.*static='x'"):
        vg.compile(lambda x: vg.sum(list(x)))(wrong)
    with pytest.raises(vg.ValueTypeError, match=r"gave .*expected numbers, and lists, tuples, dicts and arrays"):
        vg.compile(lambda x: wrong if not isinstance(wrong, Decimal) else 1j)(1.0)


def test_functions_of_numpy_are_functions_too() -> None:
    assert vg.compile(np.sin, strict=True)(SPOTS).tolist() == plainly(vg.sin, SPOTS).tolist()


@needs_passes
def test_a_gradient_keeps_its_bits_where_the_batch_has_axes_of_length_one() -> None:
    f = vg.compile(lambda x, y: x * -0.0 * y)
    flat, tall = f.value_and_grad(np.ones(1), np.ones(3)), f.value_and_grad(np.ones((1, 1)), np.ones(3))
    assert np.signbit(flat[1][1]).tolist() == np.signbit(tall[1][1]).tolist() == [True] * 3
