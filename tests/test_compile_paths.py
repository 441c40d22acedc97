"""Branches in compiled functions: every lane gets the result of its own path, as plain Python gives it."""

from __future__ import annotations

import math
import random
import warnings

import numpy as np
import pytest
from engines import ALL_ROLLED, needs_passes

import valuegrad as vg
from valuegrad import Value

LANES = 10_000


def data(x):
    return x.data if type(x) is Value else x


def eager(function, *columns):
    """The function on Values, lane by lane."""
    with vg.no_grad():
        return [data(function(*map(Value, lane))) for lane in zip(*columns)]


def uniform(low, high, seed=0, lanes=LANES):
    return np.random.default_rng(seed).uniform(low, high, size=lanes)


# ------------------------------------------------------------------------------- functions with branches of all kinds
def tariff(income):
    """A piecewise tax: brackets by a loop over thresholds."""
    tax, below = 0.0, 0.0
    for upto, rate in ((10_000.0, 0.0), (25_000.0, 0.14), (60_000.0, 0.32), (math.inf, 0.42)):
        if income <= upto:
            return tax + (income - below) * rate
        tax, below = tax + (upto - below) * rate, upto
    return tax


def bisection(target):
    """The cube root of a number between 0 and 8, to 2**-3."""
    low, high = 0.0, 2.0
    while high - low > 0.25:
        middle = (low + high) / 2
        if middle * middle * middle < target:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def newton(a, x):
    """A square root, until two steps agree."""
    for _ in range(60):
        following = (x + a / x) / 2
        if abs(following - x) < 1e-9 * x:
            return following
        x = following
    return x


def american(spot, strike):
    """An American put by a small tree, with early exercise by max."""
    up, down, discount = 1.1, 1 / 1.1, 0.99
    p = (1 / discount - down) / (up - down)
    values = [max(strike - spot * up**i * down ** (3 - i), 0.0) for i in range(4)]
    for level in (2, 1, 0):
        values = [
            max(discount * (p * values[i + 1] + (1 - p) * values[i]), strike - spot * up**i * down ** (level - i))
            for i in range(level + 1)
        ]
    return values[0]


def collatz(x):
    """A loop whose length depends on the input."""
    steps = 0
    while x > 1.0 and steps < 12:
        x = x / 2 if x % 2.0 < 1.0 else 3 * x + 1
        steps += 1
    return x + 100 * steps


def logical(x, y):
    """and, or, not, chained comparisons, truth of a Value, min and max."""
    if 0.2 < x < 0.8 and not y > 0.5:
        return min(x, y)
    if x > 0.9 or y > 0.9:
        return max(x, y, 0.95) - (x != y)
    if x - y:
        return abs(x - y) if x >= y else x * y
    return x


def middle(x, y, z):
    """Sorting a small list, and what depends on the order."""
    low, median, high = sorted([x, y, z])
    return median * (high - low) if high - low > 0.3 else median / (1 + high)


def nested(x, y):
    """Branches in branches, in a loop that ends early."""
    total = 0.0
    for i in range(4):
        if x > i * 0.25:
            if y > x:
                total = total + vg.sin(x * y)
            elif y > 0.1 * i:
                total = total - x
            else:
                break
        else:
            total = total * 0.5 if total > y else total + y
    return total


SUITE = [
    (tariff, (uniform(0.0, 100_000.0),), 64),
    (bisection, (uniform(0.0, 8.0),), 64),
    (newton, (uniform(0.01, 100.0), uniform(0.5, 2.0, 1)), 64),
    (american, (uniform(60.0, 140.0), uniform(80.0, 120.0, 1)), 256),
    (collatz, (np.floor(uniform(1.0, 15.0 if ALL_ROLLED else 60.0)),), 256),
    (logical, (uniform(0.0, 1.0), uniform(0.0, 1.0, 1)), 64),
    (middle, (uniform(0.0, 1.0), uniform(0.0, 1.0, 1), uniform(0.0, 1.0, 2)), 64),
    (nested, (uniform(0.0, 1.0), uniform(0.0, 1.0, 1)), 256),
]


@pytest.mark.parametrize(("function", "columns", "paths"), SUITE, ids=[f.__name__ for f, _, _ in SUITE])
def test_every_lane_gets_what_plain_python_gives(function, columns, paths) -> None:
    program = vg.compile(function, strict=True, max_paths=paths, beyond="error")
    asked = slice(None, None, 1 if vg.engine == "native" else 10)  # the readable engine takes long
    assert program(*columns)[asked].tolist() == eager(function, *(x[asked].tolist() for x in columns))
    assert len(program.graph.paths) > 1


@pytest.mark.parametrize(("function", "columns", "paths"), SUITE, ids=[f.__name__ for f, _, _ in SUITE])
def test_every_lane_gets_the_gradient_of_its_own_path(function, columns, paths) -> None:
    columns = [x[:300] for x in columns]
    positions = tuple(range(len(columns)))
    program = vg.compile(function, strict=True, max_paths=paths, beyond="error")
    value, grads = program.value_and_grad(*columns)
    gradient = vg.value_and_grad(function, positions)
    lanes = [gradient(*lane) for lane in zip(*(x.tolist() for x in columns))]
    assert value.tolist() == [y for y, _ in lanes]
    for i, grad in enumerate(grads):
        assert grad.tolist() == [g[i] for _, g in lanes]


@pytest.mark.parametrize(("function", "columns", "paths"), SUITE, ids=[f.__name__ for f, _, _ in SUITE])
def test_plain_floats_take_their_paths_too(function, columns, paths) -> None:
    program = vg.compile(function, strict=True, max_paths=paths)
    lanes = list(zip(*(x[:200].tolist() for x in columns)))
    assert [program(*lane) for lane in lanes] == eager(function, *zip(*lanes))


def test_the_same_lane_gives_the_same_result_alone_and_anywhere_in_a_batch() -> None:
    for function, columns, paths in SUITE:
        program = vg.compile(function, max_paths=paths)
        whole = program(*columns)
        order = np.random.default_rng(5).permutation(LANES)[:999]
        again = vg.compile(function, max_paths=paths, threads=2)(*(x[order] for x in columns))
        assert again.tolist() == whole[order].tolist()
        for lane in order[:20].tolist():
            assert program(*(float(x[lane]) for x in columns)) == whole[lane]


# ------------------------------------------------------------------------------------------- recording of paths
def test_a_path_is_recorded_when_it_is_first_met_and_never_again() -> None:
    calls = []

    @vg.compile
    def f(x):
        calls.append(1)
        return x * x if x > 0 else -x

    assert f(3.0) == 9.0
    assert len(calls) == 1
    assert f(np.array([1.0, 2.0])).tolist() == [1.0, 4.0]
    assert len(calls) == 1
    assert f(np.array([1.0, -2.0])).tolist() == [1.0, 2.0]
    assert len(calls) == 2
    assert f(-5.0) == 5.0
    assert f(np.array([-1.0, 2.0, -3.0])).tolist() == [1.0, 4.0, 3.0]
    assert len(calls) == 2


def test_nan_takes_the_path_that_python_takes() -> None:
    f = vg.compile(lambda x: 1.0 if x < 0 else 2.0 if x >= 0 else x)
    found = f(np.array([-1.0, 1.0, math.nan, 0.0, -0.0]))
    assert found.tolist()[:2] == [1.0, 2.0]
    assert math.isnan(found[2])
    assert found.tolist()[3:] == [2.0, 2.0]
    assert len(f.graph.paths) == 3


def test_where_and_maximum_need_no_paths() -> None:
    f = vg.compile(lambda x: vg.where(x > 0, x * x, -x) + vg.maximum(x, 1.0) + vg.relu(x))
    assert f(np.array([-2.0, 3.0])).tolist() == [3.0, 15.0]
    assert len(f.graph.paths) == 1


def test_a_comparison_of_what_all_lanes_share_moves_the_whole_batch() -> None:
    f = vg.compile(lambda x, y: x * 2 if y > 0 else x * 3)
    x = np.array([1.0, 2.0])
    assert f(x, 1.0).tolist() == [2.0, 4.0]
    assert f(x, -1.0).tolist() == [3.0, 6.0]
    value, (by_x, by_y) = f.value_and_grad(x, -1.0)
    assert (value.tolist(), by_x.tolist(), by_y) == ([3.0, 6.0], [3.0, 3.0], 0.0)


def test_gradients_of_shared_arguments_add_up_over_all_paths() -> None:
    f = vg.compile(lambda x, w: x * w if x > 0 else w * w)
    x = np.array([1.0, -1.0, 2.0, -3.0, 5.0])
    value, (by_x, by_w) = f.value_and_grad(x, 4.0)
    assert value.tolist() == [4.0, 16.0, 8.0, 16.0, 20.0]
    assert by_x.tolist() == [4.0, 0.0, 4.0, 0.0, 4.0]
    assert by_w == 8.0 + 16.0
    mean = vg.compile(f.function, reduce="mean")
    assert mean.value_and_grad(x, 4.0)[1][1] == 24.0 / 5


def test_sums_over_the_batch_add_up_over_paths_where_they_can() -> None:
    f = vg.compile(lambda x: (vg.batch_sum(x * x if x > 0 else -x), x))
    total, _ = f(np.array([1.0, -2.0, 3.0]))
    assert total == 12.0
    g = vg.compile(lambda x: vg.batch_mean(x if x > 0 else -x))
    with pytest.raises(vg.PathsError, match=r"sums over its lanes .* different paths at .*test_compile_paths"):
        g(np.array([1.0, -2.0, 3.0]))
    clipped = vg.compile(lambda x: vg.batch_sum(x) if vg.batch_sum(x) < 5 else 5.0)
    assert clipped(np.array([1.0, 2.0])) == 3.0
    assert clipped(np.array([1.0, 20.0])) == 5.0


def test_paths_with_results_of_different_structure_are_refused() -> None:
    f = vg.compile(lambda x: [x] if x > 0 else [x, x])
    assert f(1.0) == [1.0]
    with pytest.raises(vg.ShapeError, match=r"gave \[\*, \*\] on one path .* and \[\*\] on another"):
        f(-1.0)


def test_a_program_that_rounds_otherwise_than_the_engine_still_finds_every_lanes_path() -> None:
    """In float32 comparisons come out otherwise than in the recording, which is made in float64."""
    third = np.float32(1 / 3)
    f = vg.compile(lambda x: x * 2 if x * 3.0 == 1.0 else x * 3 if x * 3.0 > 1.0 else -x, dtype="float32")
    x = np.array([third, np.nextafter(third, np.float32(1)), np.nextafter(third, np.float32(0))])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = f(x)
    expected = [2 * a if a * np.float32(3) == 1 else 3 * a if a * np.float32(3) > 1 else -a for a in x]
    assert found.tolist() == [float(a) for a in expected]


# ------------------------------------------------------------------------------------------- more paths than may be
def many(x):
    for i in range(20):
        if x > i:  # the busiest line
            x = x - 0.25
    return x * x


def test_beyond_the_bound_the_lanes_run_eagerly_with_one_warning() -> None:
    program = vg.compile(many, max_paths=4, strict=True)
    x = uniform(0.0, 20.0, lanes=200)
    with pytest.warns(vg.PathsWarning) as caught:
        found = program(x)
    assert found.tolist() == eager(many, x.tolist())
    assert len(caught) == 1
    assert caught[0].filename == __file__  # the line that called the program
    text = str(caught[0].message)
    assert text.startswith("many() took 4 paths through its branches, as many as it may record (max_paths=4), and ")
    assert f"test_compile_paths.py:{many.__code__.co_firstlineno + 2}, in many" in text
    assert "vg.where(condition, a, b)" in text
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert program(x).tolist() == found.tolist()
        assert [program(a) for a in x[:20].tolist()] == found[:20].tolist()
    assert len(program.graph.paths) == 4


@needs_passes
def test_beyond_the_bound_gradients_are_right_too() -> None:
    program = vg.compile(lambda x, w: many(x * w), max_paths=3, strict=True)
    x = uniform(0.0, 20.0, lanes=60)
    with pytest.warns(vg.PathsWarning):
        value, (by_x, by_w) = program.value_and_grad(x, 1.5)
    lanes = [vg.value_and_grad(lambda x, w: many(x * w), (0, 1))(a, 1.5) for a in x.tolist()]
    assert value.tolist() == [y for y, _ in lanes]
    assert by_x.tolist() == [g[0] for _, g in lanes]
    assert by_w == pytest.approx(sum(g[1] for _, g in lanes), rel=1e-12)


def test_beyond_the_bound_may_be_an_error() -> None:
    program = vg.compile(many, max_paths=4, beyond="error")
    with pytest.raises(vg.PathsError, match=r"many\(\) took 4 paths .* lanes need others.* or raise max_paths"):
        program(uniform(0.0, 20.0, lanes=100))


SEEDS = range(12 if ALL_ROLLED else 40)


def test_functions_drawn_at_random_give_what_plain_python_gives() -> None:
    """Programs of a few random operations and branches, on batches and one by one."""
    for seed in SEEDS:
        program = vg.compile(drawn(seed), strict=True, max_paths=32)
        x, y = uniform(-2.0, 2.0, seed, 50), uniform(-2.0, 2.0, seed + 1000, 50)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", vg.PathsWarning)
            found = program(x, y)
        expected = eager(drawn(seed), x.tolist(), y.tolist())
        assert np.array_equal(found, expected, equal_nan=True), seed


def test_gradients_of_functions_drawn_at_random_are_the_engines() -> None:
    for seed in SEEDS:
        program = vg.compile(drawn(seed), strict=True, max_paths=32)
        x, y = uniform(-2.0, 2.0, seed, 12), uniform(-2.0, 2.0, seed + 1000, 12)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", vg.PathsWarning)
            value, grads = program.value_and_grad(x, y)
        lanes = [vg.value_and_grad(drawn(seed), (0, 1))(a, b) for a, b in zip(x.tolist(), y.tolist())]
        assert np.array_equal(value, [out for out, _ in lanes], equal_nan=True), seed
        for i, grad in enumerate(grads):
            assert np.array_equal(grad, [g[i] for _, g in lanes], equal_nan=True), seed


def drawn(seed):
    rng = random.Random(seed)
    plan = [(rng.randrange(6), rng.random(), rng.random()) for _ in range(12)]

    def function(x, y):
        values = [x, y, 0.5]
        for what, first, second in plan:
            a, b = values[int(first * len(values))], values[int(second * len(values))]
            if what == 0:
                values.append(a * b)
            elif what == 1:
                values.append(vg.sin(a) + b)
            elif what == 2:
                values.append(a - b if a > b else a / (b + 3.0))
            elif what == 3:
                values.append(max(a, b))
            elif what == 4:
                while abs(a) > 0.7:
                    a = a * 0.6
                values.append(a)
            else:
                values.append(vg.where(a < b, vg.exp(a), b))
        return values[-1]

    return function


def test_a_sum_over_the_batch_on_one_path_alone_is_refused() -> None:
    f = vg.compile(lambda x: vg.batch_sum(x) if x > 0 else x)
    assert f(np.array([1.0, 2.0])) == 3.0
    with pytest.raises(vg.PathsError, match="sums over its lanes"):
        f(np.array([1.0, -2.0]))


def test_sums_over_the_batch_hold_beyond_the_bound_too() -> None:
    f = vg.compile(lambda x: vg.batch_sum(x * x if x > 0 else -x), max_paths=1)
    assert f(np.array([1.0, 2.0])) == 5.0
    with pytest.warns(vg.PathsWarning):
        assert f(np.array([-1.0, -2.0])) == 3.0
    assert f(np.array([1.0, -2.0])) == 3.0


@needs_passes
def test_beyond_the_bound_gradients_of_functions_with_indices_are_right_too() -> None:
    f = vg.compile(lambda xs, i: vg.take(xs, i) ** 2 if xs[0] > 0 else vg.take(xs, i), max_paths=1)
    assert f([1.0, 2.0], 1) == 4.0
    with pytest.warns(vg.PathsWarning):
        value, (by_xs, _) = f.value_and_grad([np.array([1.0, -1.0, -2.0]), 3.0], np.array([0, 1, 0]))
    assert value.tolist() == [1.0, 3.0, -2.0]
    assert by_xs[0].tolist() == [2.0, 0.0, 1.0]
    assert by_xs[1] == 1.0


def test_an_empty_batch_takes_any_path() -> None:
    f = vg.compile(lambda x, y: x * 2 if y > 0 else x * 3)
    assert f(np.empty(0), 1.0).shape == f(np.empty(0), -1.0).shape == (0,)
    value, (by_x, by_y) = f.value_and_grad(np.empty((0, 2)), -1.0)
    assert (value.shape, by_x.shape, by_y) == ((0, 2), (0, 2), 0.0)


def test_an_opaque_primitive_is_not_called_where_its_branch_is_not_taken():
    logarithm = vg.primitive("logarithm", lambda x: math.log(x), lambda x, out: (vg.div(1.0, x),))
    program = vg.compile(lambda x: logarithm(x) if x > 0 else x * 0.0)
    assert program(2.0) == math.log(2.0)
    assert str(program(-1.0)) == "-0.0"
    assert program(np.array([-1.0, 2.0])).tolist() == [0.0, math.log(2.0)]


def test_an_error_in_an_opaque_primitive_does_no_harm_to_the_next_call():
    logarithm = vg.primitive("logarithm", lambda x: math.log(x), lambda x, out: (vg.div(1.0, x),))
    program = vg.compile(logarithm)
    program(1.0)
    with pytest.raises(vg.ValueArgumentError, match="logarithm"):
        program(-1.0)
    assert program(np.array([1.0, 1.0])).tolist() == [0.0, 0.0]
