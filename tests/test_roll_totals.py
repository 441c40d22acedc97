"""Sums over a few lanes are totals at once, and no bit differs from sums that go from block to block."""

import numpy as np
import pytest
from engines import ONCE

import valuegrad as vg
from valuegrad.lower import emit, segments

pytest.importorskip("valuegrad._replay")
pytest.importorskip("valuegrad._passes")
pytest.importorskip("llvmlite")

pytestmark = ONCE
DTYPES = ["float64", "float32"]
LANES = {"float64": 8, "float32": 16}


@pytest.fixture
def made(monkeypatch):
    """What functions of lanes are made for, as they come."""
    monkeypatch.setenv("VALUEGRAD_ROLL", "on")
    seen = []

    def noted(*args, **options):
        if options["name"] == "segment1":
            seen.append(options["what"])
        return emit.emit_segment(*args, **options)

    monkeypatch.setattr(segments, "emit_segment", noted)
    return seen


def layer(w, x, y):
    """The gradient of a dense layer of 9 x 7 weights, and its loss."""

    def loss(w):
        rows = [w[7 * i : 7 * i + 7] for i in range(9)]
        out = [vg.tanh(vg.dot(row, x)) for row in rows]
        return vg.sum([(a - y) ** 2 for a in out])

    value, grads = vg.value_and_grad(loss)(w)
    return [*map(vg.batch_sum, grads), vg.batch_sum(value)]


def both(monkeypatch, f, *args, **options):
    found = []
    for wish in ("off", "on"):
        monkeypatch.setenv("VALUEGRAD_ROLL", wish)
        found.append(np.array(vg.compile(f, cache=False, **options)(*args)))
    return found


@pytest.mark.parametrize("n", [1, 2, 3, 7, 8, 9, 15, 16, 17, 40])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("strict", [False, True])
def test_a_gradient_summed_over_the_lanes_is_the_same_bits(n, dtype, strict, monkeypatch):
    random = np.random.default_rng(n)
    w, x, y = random.normal(size=63), [random.normal(size=n) for _ in range(7)], random.normal(size=n)
    plain, quick = both(monkeypatch, layer, w, x, y, vectors="w", dtype=dtype, strict=strict)
    np.testing.assert_array_equal(quick, plain)


@pytest.mark.parametrize("name", ["exp", "log", "tanh", "erf", "sin", "sqrt", "lgamma", "pow"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_functions_of_half_a_vector_are_the_same_bits(name, dtype, made, monkeypatch):
    random, n = np.random.default_rng(3), LANES[dtype] // 2
    x = random.normal(size=n) * 10.0
    x[:2] = -104.5, 89.5  # beyond both ends of a float's exp

    def f(x):
        moved = [x + 3.0 * k if name in ("exp", "tanh", "erf", "sin") else vg.abs(x) + 0.1 * k for k in range(9)]
        return [vg.batch_sum(a**1.5 if name == "pow" else getattr(vg, name)(a)) for a in moved]

    plain, quick = both(monkeypatch, f, x, dtype=dtype)
    np.testing.assert_array_equal(quick, plain)
    assert made == ["half a block"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("order", [list(range(0, 20, 2)), list(range(19, -1, -1)), [3, 0, 17, 4, 5, 6, 1]])
def test_sums_that_are_not_left_side_by_side_are_the_same_bits(dtype, order, monkeypatch):
    x = np.random.default_rng(5).normal(size=6)

    def f(x):
        sums = [vg.batch_sum(vg.sin(x * k) - 0.5) for k in range(20)]
        return [sums[k] * 2.0 if k == 4 else sums[k] for k in order]

    plain, quick = both(monkeypatch, f, x, dtype=dtype)
    np.testing.assert_array_equal(quick, plain)


@pytest.mark.parametrize("dtype", DTYPES)
def test_lanes_are_added_in_pairs(dtype, made):
    x = np.random.default_rng(1).normal(size=LANES[dtype]).astype(dtype) * 10.0 ** np.arange(LANES[dtype])
    x = x.astype(dtype)
    tree = list(x)
    while len(tree) > 1:
        tree = [a + b for a, b in zip(tree[::2], tree[1::2])]
    found = vg.compile(lambda x: [vg.batch_sum(x * float(k)) for k in (1, 2, 4)], dtype=dtype)(x)
    assert [float(number) for number in found] == [float(tree[0]) * k for k in (1, 2, 4)]
    assert made == ["one block"]


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_stands_behind_the_last_lane_does_not_count(dtype, made):
    found = vg.compile(lambda x: [vg.batch_sum(1.0 / x), vg.batch_sum(x - 1.0)], dtype=dtype)(np.full(5, 0.5))
    assert list(found) == [10.0, -2.5]


def test_a_sum_of_negative_zeros_is_one(made):
    (total,) = vg.compile(lambda x: [vg.batch_sum(x)])(np.full(3, -0.0))
    assert total == 0.0
    assert np.signbit(total)


def test_a_nan_in_one_lane_is_in_the_total_and_in_no_other(made):
    total, other = vg.compile(lambda x, y: [vg.batch_sum(x), vg.batch_sum(y)])(np.array([1.0, np.nan, 2.0]), np.ones(3))
    assert np.isnan(total)
    assert other == 3.0


def test_a_guard_that_fails_in_few_lanes_sends_these_to_their_own_path(made):
    program = vg.compile(lambda x: vg.exp(x) if x > 0.0 else vg.sin(x))
    x = np.array([1.0, -2.0, 3.0])
    np.testing.assert_allclose(program(x), [np.exp(1.0), np.sin(-2.0), np.exp(3.0)], rtol=1e-15)


def test_each_number_of_lanes_has_the_function_that_it_needs(made):
    program = vg.compile(lambda x: [vg.batch_sum(x * x)])
    for n in (5, 3, 40, 1, 6, 41):
        (found,) = program(np.full(n, 2.0))
        assert found == 4.0 * n
    assert made == ["one block", "blocks", "one lane"]


def test_few_lanes_have_half_a_vector_unless_a_whole_one_is_there(made):
    program = vg.compile(lambda x: [vg.batch_sum(x * x)])
    for n in (4, 3, 2, 5, 4):
        (found,) = program(np.full(n, 2.0))
        assert found == 4.0 * n
    assert made == ["half a block", "one block"]


def test_a_program_without_sums_has_one_function_for_any_number_of_lanes(made):
    program = vg.compile(lambda x: vg.exp(x) * x)
    for n in (5, 40):
        program(np.ones(n))
    assert made == ["blocks"]


@pytest.mark.parametrize("n", [9, 24, 70])
@pytest.mark.parametrize("dtype", DTYPES)
def test_sums_of_long_programs_are_cut_alike_rolled_and_not(n, dtype, monkeypatch):
    units, steps = 16, 30
    size = units * (units + 1)

    def loss(w, *xs):
        h = [0.0] * units
        for x in xs:
            h = [vg.tanh(vg.dot(w[i * units : (i + 1) * units], h) + w[units * units + i] * x) for i in range(units)]
            h = [vg.sin(a) * a + x for a in h]
        return vg.sum(h)

    w, random = 0.3 * np.sin(7.0 * np.arange(size)), np.random.default_rng(n)
    xs = [random.normal(size=n) for _ in range(steps)]
    found = []
    for wish in ("off", "on"):
        monkeypatch.setenv("VALUEGRAD_ROLL", wish)
        program = vg.compile(loss, vectors="w", dtype=dtype, strict=True, cache=False)
        _, gradient = program.value_and_grad(w, *xs)
        found.append(np.asarray(gradient[0]))
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("rows", [280, 290, 300, 310])
def test_sums_of_programs_that_pick_from_lists_are_cut_alike_rolled_and_not(rows, monkeypatch):
    def loss(w, index, x):  # in straight-line code to pick one of nine is a row of choices, in loops an operation
        total = 0.0
        for k in range(rows):
            total = total + vg.sin(vg.take(w[9 * (k % 20) : 9 * (k % 20) + 9], index) * x + 0.1 * k) * w[k % 9]
        return total

    random = np.random.default_rng(rows)
    w, index, x = random.normal(size=180), random.integers(0, 9, size=24), random.normal(size=24)
    found = []
    for wish in ("off", "on"):
        monkeypatch.setenv("VALUEGRAD_ROLL", wish)
        program = vg.compile(lambda w, i, x: vg.batch_sum(loss(w, i, x)), vectors="w", strict=True, cache=False)
        _, gradient = program.value_and_grad(w, index, x)
        found.append(np.asarray(gradient[0]))
    np.testing.assert_array_equal(*found)
