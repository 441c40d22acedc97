"""Loops by levels: stencils and trees, whose ends make all histories differ, are loops, and no bit is another one."""

import re

import numpy as np
import pytest
from engines import ONCE
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from loopy import Loopy, steps
from test_roll_units import results

import valuegrad as vg
from valuegrad.lower import rolled, segments
from valuegrad.roll.groups import Groups, Segment

pytestmark = [ONCE, pytest.mark.skipif(not rolled.HAS_LLVM, reason="loops need llvmlite")]

OPTIONS = [{}, {"strict": True}, {"dtype": "float32"}]


def rod(points, times):
    """Heat in a rod, whose ends have temperatures of their own."""

    def f(k, left, right, *v):
        v = list(v)
        for _ in range(times):
            inner = [v[j] + k * (v[j - 1] - 2 * v[j] + v[j + 1]) for j in range(1, points - 1)]
            v = [left, *inner, right]
        return sum(x * x for x in v)

    return f, [0.2, 0.1, 0.3, *np.sin(3.0 * np.arange(points)).tolist()]


def plate(points, times):
    """Waves in a plate that is fixed at its edges."""

    def f(c, *numbers):
        u = [list(numbers[points * i : points * (i + 1)]) for i in range(points)]
        before = [[0.0] * points for _ in range(points)]
        for _ in range(times):
            after = [[0.0] * points for _ in range(points)]
            for i in range(1, points - 1):
                for j in range(1, points - 1):
                    around = u[i - 1][j] + u[i + 1][j] + u[i][j - 1] + u[i][j + 1] - 4 * u[i][j]
                    after[i][j] = 2 * u[i][j] - before[i][j] + c * around
            before, u = u, after
        return vg.sum([x * x for row in u for x in row])

    return f, [0.1, *np.sin(3.0 * np.arange(points * points)).tolist()]


def tree(times):
    """An American put on a binomial tree (Cox, Ross and Rubinstein 1979)."""

    def f(spot, vol, rate, strike):
        up = vg.exp(vol * (1.0 / times) ** 0.5)
        chance = (vg.exp(rate / times) - 1 / up) / (up - 1 / up)
        discount = vg.exp(-rate / times)
        levels = [spot * up ** (k - times) for k in range(2 * times + 1)]
        v = [vg.relu(strike - levels[2 * j]) for j in range(times + 1)]
        for t in range(times - 1, -1, -1):
            later = [discount * (chance * v[j + 1] + (1 - chance) * v[j]) for j in range(t + 1)]
            v = [vg.maximum(x, strike - levels[times + 2 * j - t]) for j, x in enumerate(later)]
        return v[0]

    return f, [100.0, 0.2, 0.03, 105.0]


def triangle(rows):
    """Each row of Pascal's triangle from the one before, and what all of them add up to by columns."""

    def f(a, b, *x):
        row, columns = [x[0]], [0.0] * rows
        for n in range(1, rows):
            inner = [vg.tanh(a * row[j - 1] + b * row[j]) for j in range(1, n)]
            row = [x[n], *inner, row[-1] * b]
            columns = [columns[j] + row[j] if j < len(row) else columns[j] for j in range(rows)]
        return vg.logsumexp(columns)

    return f, [0.5, 0.7, *np.cos(2.0 * np.arange(rows)).tolist()]


PROGRAMS = {"rod": rod(30, 6), "plate": plate(7, 4), "tree": tree(12), "triangle": triangle(14)}


def loops_of(f, inputs, monkeypatch, wish="levels"):
    monkeypatch.setenv("VALUEGRAD_ROLL", wish)
    program = vg.compile(vg.value_and_grad(f, argnums=tuple(range(len(inputs)))), cache=False)
    program(*inputs)
    return program.graph.loops


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("name", PROGRAMS)
def test_loops_by_levels_have_the_bits_of_straight_line_code(name, options, monkeypatch):
    f, inputs = PROGRAMS[name]
    lanes = [np.array([x, 0.9 * x, 1.1 * x]) for x in inputs]
    for some in (inputs, lanes):
        expected, found = (results(f, some, wish, monkeypatch, **options) for wish in ("off", "levels"))
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", PROGRAMS)
def test_threads_that_share_a_block_compute_the_same_bits_by_levels(name, monkeypatch):
    f, inputs = PROGRAMS[name]
    lanes = [np.array([x, 0.9 * x, 1.1 * x]) for x in inputs]
    expected = results(f, lanes, "off", monkeypatch)
    np.testing.assert_array_equal(results(f, lanes, "levels", monkeypatch, threads=3), expected)


def test_a_rod_is_as_many_loops_for_100_points_as_for_50(monkeypatch):
    few, many = (len(loops_of(*rod(points, 8), monkeypatch)) for points in (50, 100))
    assert few == many < 100


def test_a_plate_of_12_by_12_points_is_not_more_loops_than_one_of_8_by_8(monkeypatch):
    few, many = (len(loops_of(*plate(points, 6), monkeypatch)) for points in (8, 12))
    assert many <= few < 250


def test_the_loops_of_a_tree_are_as_many_as_its_levels_times_a_number(monkeypatch):
    few, some, many = (len(loops_of(*tree(times), monkeypatch)) for times in (20, 30, 40))
    assert many - some == pytest.approx(some - few, abs=10)
    assert many < 10 * 40


def test_loops_say_what_a_tree_does_in_a_step(monkeypatch):
    lines = [str(loop) for loop in loops_of(*tree(30), monkeypatch)]
    (step,) = [line for line in lines if "maximum(" in line and line.startswith("for i in 0..20:")]
    later = r"= (\w+)\*(\w+)\[i \+ \d+\] \+ (\w+)\*\2\[i \+ \d+\]; (\w+) = \w+\*\w+"
    assert re.search(later + r".*; \2\[i \+ \d+\] = maximum\(\4, \w+\[i \+ \d+\]\)", step), step


def test_levels_that_do_the_same_are_one_function(monkeypatch):
    written = []
    emit = segments.emit_segment

    def noted(*args, **options):
        written.append(emit(*args, **options))
        return written[-1]

    monkeypatch.setattr(segments, "emit_segment", noted)
    counts = []
    for times in (30, 40):
        del written[:]
        loops_of(*tree(times), monkeypatch)
        counts.append(sum(text.count("define internal") for text, _ in written))
    assert counts[1] - counts[0] <= 10 < counts[0]  # ten more levels are 90 loops more


def test_a_long_stencil_is_rolled_though_few_histories_are_alike(monkeypatch):
    f, inputs = rod(300, 20)
    assert len(loops_of(f, inputs, monkeypatch, "auto")) < 250
    expected, found = (results(f, inputs, wish, monkeypatch) for wish in ("off", "auto"))
    np.testing.assert_array_equal(found, expected)


def test_with_lanes_a_long_stencil_stays_straight_line_code(monkeypatch):
    monkeypatch.setenv("VALUEGRAD_ROLL", "auto")
    f, inputs = rod(300, 20)
    program = vg.compile(f, cache=False)
    program.value_and_grad(*[np.array([x, 0.9 * x]) for x in inputs])
    assert "too few are alike" in str(program.value_and_grad.graph.loops)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(plan=steps(), gradient=st.booleans())
def test_all_groups_of_a_class_come_before_those_that_read_it(plan, gradient):
    for s in segments_of(plan, gradient):
        owner = np.repeat(np.arange(len(s.ops)), np.diff(s.starts))
        computed = s.operands >= 0
        last = {of: g for g, of in enumerate(s.classes.tolist())}
        read = [last[of] for of in s.classes[s.group[s.operands[computed]]].tolist()]
        assert (np.array(read, dtype=int) < s.group[owner[computed]]).all()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(plan=steps(), gradient=st.booleans())
def test_every_result_has_a_place_of_its_own_in_its_groups_home(plan, gradient):
    for s in segments_of(plan, gradient):
        groups = Groups(s)
        places = np.stack([groups.home[s.group], groups.at], 1)
        assert len(np.unique(places, axis=0)) == len(s.ops)
        for home in np.unique(groups.home):
            mine = groups.at[groups.home[s.group] == home]
            assert sorted(mine.tolist()) == list(range(groups.sizes[home]))


def segments_of(plan, gradient):
    """The segments of a random function with loops, by levels."""
    program = vg.compile(Loopy(plan, gradient, False), vectors="w", max_paths=1)
    program(np.linspace(-1.0, 1.0, 5), [0.5, -0.25, 2.0, 1.0], 3)
    codes = [lowered.code for path in program.graph.paths for lowered in path.lowered.values()]
    return [Segment(*code.segment(k, levels=True)) for code in codes for k in range(4)]
