"""Long iterations of a time loop are loops over units: as many for 64 units as for 16, and no bit is another one."""

import numpy as np
import pytest
from engines import ONCE
from test_roll_units import recurrent, results
from test_sharing import results as with_threads

import valuegrad as vg
from valuegrad.lower import rolled
from valuegrad.roll import found
from valuegrad.roll.laid_out import laid_out
from valuegrad.roll.rounds import Rounds
from valuegrad.roll.sequences import Sequence

pytestmark = [ONCE, pytest.mark.skipif(not rolled.HAS_LLVM, reason="loops need llvmlite")]

OPTIONS = [{}, {"strict": True}, {"dtype": "float32"}]


@pytest.fixture
def always(monkeypatch):
    """Iterations with units are loops, however short they are."""
    monkeypatch.setattr(found, "LONG", 0)
    monkeypatch.setattr(found, "LONGEST", 0)


def lstm(units, steps, numbers=None):
    """An LSTM, and inputs for it; `numbers`: which one each step reads."""
    size = 4 * units * (units + 2)

    def f(*inputs):
        w, xs = inputs[:size], inputs[size:]
        rows = [w[i * (units + 2) : (i + 1) * (units + 2)] for i in range(4 * units)]
        c, h, total = [0.0] * units, [0.0] * units, 0.0
        for t in range(steps):
            x = xs[numbers[t] if numbers else t]
            g = [vg.dot(row[:units], h) + row[units] * x + row[units + 1] for row in rows]
            i, f, o, a = (g[k * units : (k + 1) * units] for k in range(4))
            c = [vg.sigmoid(f[j]) * c[j] + vg.sigmoid(i[j]) * vg.tanh(a[j]) for j in range(units)]
            h = [vg.sigmoid(o[j]) * vg.tanh(c[j]) for j in range(units)]
            total = total + vg.sum(h)
        return total

    return f, (0.4 * np.sin(7.0 * np.arange(size + steps))).tolist()


def of_kind(kernels, kind):
    return [kernel for kernel in kernels if isinstance(kernel, kind)]


def test_as_many_loops_for_40_units_as_for_32(kernels, monkeypatch):
    counts = []
    for units in (32, 40):
        f, inputs = lstm(units, 20)
        results(f, inputs, "on", monkeypatch)
        counts.append(len(kernels))
        assert len(of_kind(kernels, Rounds)) == 2
        del kernels[:]
    assert counts[0] == counts[1] < 100


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("units", [5, 13])
def test_loops_over_units_have_the_bits_of_straight_line_code(units, options, kernels, always, monkeypatch):
    f, inputs = lstm(units, 24)
    lanes = [np.array([x, 0.9 * x, -x]) for x in inputs]
    for some in (inputs, lanes):
        expected, found = (results(f, some, wish, monkeypatch, **options) for wish in ("off", "on"))
        np.testing.assert_array_equal(found, expected)
        assert of_kind(kernels, Rounds)
        del kernels[:]


def test_what_is_carried_on_for_two_iterations_begins_with_numbers_of_several_kinds(kernels, always, monkeypatch):
    def f(*w):
        before, h, total = [w[i] * w[i + 1] if i % 2 else 0.5 for i in range(6)], list(w[:6]), w[0]
        for _ in range(24):
            new = [vg.tanh(vg.dot(w[6 * i : 6 * i + 6], h) + before[i] * 0.3) for i in range(6)]
            before, h = h, new
            total = total + vg.log(vg.sum([vg.exp(x) for x in h]))
        return total

    inputs = (0.3 * np.sin(5.0 * np.arange(36))).tolist()
    expected, found = (results(f, inputs, wish, monkeypatch) for wish in ("off", "on"))
    np.testing.assert_array_equal(found, expected)
    assert max(max(one.carried) for one in of_kind(kernels, Rounds)) == 2


def test_iterations_that_read_numbers_without_order_are_no_loops(kernels, always, monkeypatch):
    order = [(7 * t * t) % 24 for t in range(24)]
    f, inputs = lstm(5, 24, order)
    expected, found = (results(f, inputs, wish, monkeypatch) for wish in ("off", "on"))
    np.testing.assert_array_equal(found, expected)
    assert not of_kind(kernels, Rounds)
    assert of_kind(kernels, Sequence)


def test_iterations_with_a_branch_are_no_loops(kernels, always, monkeypatch):
    network, inputs = lstm(5, 24)

    def f(*inputs):
        return network(*inputs) if inputs[0] < 9.0 else inputs[1]

    expected, found = (results(f, inputs, wish, monkeypatch) for wish in ("off", "on"))
    np.testing.assert_array_equal(found, expected)


def test_loops_over_units_are_one_threads(kernels, always, monkeypatch):
    def f(w, x):
        h = [x[i] for i in range(8)]
        for _ in range(24):
            h = [vg.tanh(vg.dot(w[8 * i : 8 * i + 8], h) + w[64 + i]) for i in range(8)]
        return [h[0], *[vg.tanh(h[1] * v) for v in w[:64]]]

    monkeypatch.setenv("VALUEGRAD_ROLL", "on")
    alone, _ = with_threads(f, 1)
    shared, parts = with_threads(f, 2)
    assert of_kind(kernels, Rounds)
    assert parts == [2]
    assert [x.tobytes() for x in shared] == [x.tobytes() for x in alone]


def test_what_only_an_iteration_reads_takes_the_room_of_one(kernels, always, monkeypatch):
    f, inputs = lstm(8, 24)
    results(f, inputs, "on", monkeypatch)
    found = of_kind(kernels, Rounds)
    assert not all(stays for one in found for stays in one.left().values())
    for one in found:
        stays = one.left()
        read = {c.group for kernel in kernels for c in kernel.columns if kernel is not one}
        carried = {one.first + k for k, ago in enumerate(one.carried) if ago}
        assert {g for g, is_kept in stays.items() if is_kept} == stays.keys() & (read | carried)


def test_weights_are_laid_out_before_the_iterations(kernels, always, monkeypatch):
    f, inputs = recurrent(16, 24)
    results(f, inputs, "on", monkeypatch)
    forward = of_kind(kernels, Rounds)[0]
    (after,), _ = laid_out([forward], [0] * 1000, 8)
    wide = [kernel for kernel in after.kernels if kernel.members >= 8]
    lists = [(k, p) for k in wide for body in k.bodies for pieces in body.variants for p in pieces]
    assert lists
    for kernel, piece in lists:
        for c in (piece.x, piece.y):
            column = kernel.columns[c]
            assert column.move or set(np.diff(column.at)) <= {0, 1}
    assert len(after.begins) > len(forward.begins)


def test_what_an_iteration_makes_is_not_laid_out_before_all_of_them(kernels, always, monkeypatch):
    def f(*w):
        h = list(w[:9])
        for _ in range(24):
            m = [[vg.sin(w[9 * i + j] * h[j]) for j in range(9)] for i in range(9)]
            h = [vg.tanh(vg.sum(m[i]) + 0.5 * vg.sum([row[i] for row in m])) for i in range(9)]
        return vg.sum(h)

    inputs = (0.3 * np.sin(5.0 * np.arange(81))).tolist()
    expected, found = (results(f, inputs, wish, monkeypatch) for wish in ("off", "on"))
    np.testing.assert_array_equal(found, expected)
    assert of_kind(kernels, Rounds)


def test_a_step_begins_where_its_units_begin(kernels, always, monkeypatch):
    f, inputs = lstm(9, 24)
    results(f, inputs, "on", monkeypatch)
    for one in of_kind(kernels, Rounds):
        assert all(units % 9 == 0 or units == 1 for units in one.units)
        assert sum(units == 1 for units in one.units) <= 1  # the sum of all states


def test_few_lists_among_many_operations_stay_single_operations(kernels, monkeypatch):
    def f(*w):
        h = [0.1 * i for i in range(8)]
        for _ in range(24):
            mean = [vg.dot(w[8 * i : 8 * i + 8], h) for i in range(8)]
            for _ in range(40):
                mean = [vg.tanh(x) + 0.1 * x for x in mean]
            h = mean
        return vg.sum(h)

    results(f, [0.1 * k for k in range(64)], "on", monkeypatch)
    assert of_kind(kernels, Sequence)
    assert not of_kind(kernels, Rounds)


def test_loops_over_units_read_like_code(always, monkeypatch):
    monkeypatch.setenv("VALUEGRAD_ROLL", "on")
    units, steps = 6, 30

    def f(w, h):
        for _ in range(steps):
            h = [vg.tanh(vg.dot(row, h)) for row in w]
        return h

    program = vg.compile(f)
    program((0.1 * np.arange(36.0).reshape(6, 6)).tolist(), [0.1] * units)
    (loop,) = [loop for loop in program.graph.loops if loop.is_ordered]
    assert f"for t in 0..{loop.members - 1} in order, from " in str(loop)
    assert "for i in 0..5:  " in str(loop)
    assert " = tanh(dot(w[i, 0:6], " in str(loop)
    assert "[t - 1, 0:6]))" in str(loop)


def test_each_statement_of_a_loop_over_units_stands_under_its_indices(always, monkeypatch):
    monkeypatch.setenv("VALUEGRAD_ROLL", "on")

    def f(w, xs):
        h = [0.5] * 6
        for x in xs:
            h = [vg.sigmoid(vg.dot(w[6 * i : 6 * i + 6], h) + x) * vg.tanh(h[i]) for i in range(6)]
        return vg.sum(h)

    program = vg.compile(f, cache=False)
    program((0.3 * np.sin(np.arange(36.0))).tolist(), np.cos(np.arange(24.0)).tolist())
    (loop,) = [loop for loop in program.graph.loops if loop.is_ordered]
    statements = loop.body.split("; ")
    assert len(statements) > 2
    assert all(statement.startswith("for i in 0..5:  ") for statement in statements)
