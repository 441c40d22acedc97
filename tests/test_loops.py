"""``program.graph.loops``: what was rolled reads like the code that a person would write."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from engines import ONCE
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from loopy import Loopy, Step, steps

import valuegrad as vg
from valuegrad.loops import Part
from valuegrad.lower import rolled, segments
from valuegrad.roll.describe import Loop
from valuegrad.roll.space import Indices, affine_text

pytest.importorskip("valuegrad._replay")
pytest.importorskip("llvmlite")
pytestmark = [ONCE, pytest.mark.usefixtures("all_are_rolled")]

ROWS = np.arange(5.0)


def lines(program: Any) -> list[str]:
    """The loops of a program, without the column of members."""
    return [str(loop) for loop in program.graph.loops]


@vg.compile(vectors=("w", "b"))
def layer(w: Any, b: Any, x: Any) -> Any:
    return [vg.tanh(vg.dot(w[16 * j : 16 * j + 16], x) + b[j]) for j in range(8)]


@vg.compile
def attention(q: Any, k: Any) -> Any:
    return [vg.dot(q[16 * i : 16 * i + 16], k[16 * j : 16 * j + 16]) for i in range(10) for j in range(i + 1)]


def square_error(w: Any, x: Any, y: Any) -> Any:
    return (vg.dot(w, x) - y) ** 2


def test_a_dense_layer_is_a_product_of_a_matrix_and_a_vector() -> None:
    layer(np.ones(128), np.ones(8), [ROWS] * 16)
    assert lines(layer) == ["for i in 0..7:  output[i] = tanh(b[i] + dot(w[16*i:16*i + 16], x[0:16]))"]
    (loop,) = layer.graph.loops
    assert (loop.members, loop.segment) == (8, "main")
    assert loop.flops == 8 * (31 + 1 + 1)


def test_causal_attention_is_a_triangle() -> None:
    attention([ROWS] * 160, [ROWS] * 160)
    (line,) = lines(attention)
    assert line.startswith("for i in 0..9, j in 0..i:  output[")
    assert line.endswith("= dot(q[16*i:16*i + 16], k[16*j:16*j + 16])")


def test_a_gradient_of_a_batch_is_an_accumulation() -> None:
    program = vg.compile(square_error, vectors="w").value_and_grad
    program(np.ones(20), [ROWS] * 20, ROWS)
    assert "for i in 0..19:  output[i + 1] += x[i]*a  over the lanes" in lines(program)


def test_a_sum_over_lists_that_grow_has_a_bound_that_grows() -> None:
    program = vg.compile(lambda x: [vg.sum(x[: i + 2]) for i in range(9)])
    program([ROWS] * 10)
    assert lines(program) == ["for i in 0..8:  output[i] = sum(x[0:i + 2])"]


def test_results_of_a_loop_have_its_indices() -> None:
    @vg.compile
    def outer(x: Any, y: Any) -> Any:
        products = [[p * q for q in y] for p in x]
        return [vg.prod(row) for row in products]

    outer([ROWS] * 6, [ROWS] * 7)
    assert lines(outer) == [
        "for i in 0..5, j in 0..6:  a[i, j] = x[i]*y[j]",
        "for i in 0..5:  output[i] = prod(a[i, 0:7])",
    ]


def test_lists_that_are_read_backwards_have_both_ends() -> None:
    program = vg.compile(lambda x: [vg.dot(x[: i + 6], x[i + 5 :: -1]) for i in range(3)])
    program([ROWS] * 9)
    assert lines(program) == ["for i in 0..2:  output[i] = dot(x[0:i + 6], x[i + 5..0])"]


def test_a_gather_shows_the_table_and_the_index() -> None:
    program = vg.compile(lambda table, index: [vg.take(table[i::4], index) for i in range(4)], vectors="table")
    program(np.arange(40.0), np.array([3, 1, 2]))
    assert lines(program) == ["for i in 0..3:  output[i] = take(table[i:i + 37:4], index)"]


def test_what_no_formula_gives_is_dots() -> None:
    order = [3, 0, 8, 1, 11, 5, 2, 10, 4]
    program = vg.compile(lambda x: [vg.exp(x[i] * x[order[i]]) for i in range(9)])
    program([ROWS] * 12)
    (line,) = lines(program)
    assert "x[...]" in line


def test_the_last_line_counts() -> None:
    layer(np.ones(128), np.ones(8), [ROWS] * 16)
    text = str(layer.graph.loops)
    assert text.splitlines()[0] == "for each lane:"
    assert text.splitlines()[1].endswith(" 8 members")
    assert text.splitlines()[-1] == "32 instructions: 1 loop with 8 members; 264 operations on numbers a lane"
    assert "rolled: 32 instructions in 1 loop" in str(layer.graph)


def test_long_lines_are_wrapped_and_no_index_is_torn() -> None:
    def scores(queries: Any, keys: Any) -> Any:
        return [vg.dot(queries[4 * i : 4 * i + 4], keys[4 * j : 4 * j + 4]) / 2 for i in range(9) for j in range(9)]

    program = vg.compile(scores)
    program([ROWS] * 36, [ROWS] * 36)
    text = str(program.graph.loops)
    assert len(text.splitlines()) > 3
    assert max(map(len, text.splitlines())) <= 120
    assert all(line.count("[") == line.count("]") for line in text.splitlines())


@pytest.mark.parametrize(
    ("wish", "reason"),
    [("off", "VALUEGRAD_ROLL is off"), ("auto", "operations are too few for loops to pay")],
)
def test_what_was_not_rolled_says_why(wish: str, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VALUEGRAD_ROLL", wish)
    program = vg.compile(lambda x: x * x)
    assert str(program.graph.loops) == "nothing has run yet"
    program(2.0)
    assert reason in str(program.graph.loops)
    assert len(program.graph.loops) == 0
    assert "rolled" not in str(program.graph)


def test_an_operation_that_loops_do_not_know_is_named() -> None:
    program = vg.compile(lambda x, y: vg.norm([x, y]))
    assert program(3.0, 4.0) == 5.0
    assert str(program.graph.loops) == "lanes are not rolled: loops do not know norm"


def test_what_is_not_worth_loops_has_the_bits_of_what_was_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    def f(w: Any) -> Any:
        b = [1.0] * 8
        for t in range(4):
            b = [sum(x * y for x, y in zip(w[8 * i : 8 * i + 8], b)) * 0.3 + w[64 + t] for i in range(8)]
        return vg.sum(b)

    monkeypatch.setattr(segments, "MOST", 0)
    weights = np.random.default_rng(1).normal(size=68).tolist()
    found = []
    for wish in ("off", "on"):
        monkeypatch.setenv("VALUEGRAD_ROLL", wish)
        program = vg.compile(vg.value_and_grad(f), cache=False)
        found.append(program(weights))
    assert "too few are alike" in str(program.graph.loops)
    assert found[0] == found[1]


def test_few_lists_of_many_terms_without_order_are_too_few_that_are_alike() -> None:
    order = np.random.default_rng(0)
    places = [order.integers(0, 200, size) for size in range(1, 241)]
    program = vg.compile(lambda xs: [vg.sum([xs[k] for k in some]) for some in places], cache=False)
    found = program([0.1 * k for k in range(200)])
    np.testing.assert_allclose(found, [0.1 * some.sum() for some in places])
    assert "too few are alike" in str(program.graph.loops)


def test_without_llvmlite_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rolled, "HAS_LLVM", False)
    program = vg.compile(lambda x: x * x)
    assert program(3.0) == 9.0
    assert str(program.graph.loops) == "lanes are not rolled: llvmlite is not installed"


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(plan=steps(), gradient=st.booleans(), mean=st.booleans())
def test_whatever_was_rolled_can_be_shown_and_stands_for_all_of_it(
    plan: list[Step], gradient: bool, mean: bool
) -> None:
    program = vg.compile(Loopy(plan, gradient, mean), vectors="w", max_paths=1)
    program(np.linspace(-1.0, 1.0, 5), [0.5, -0.25, 2.0, 1.0], 3)
    assert str(program.graph.loops)
    for part in program.graph.loops.parts:
        if not part.why_not:
            assert sum(loop.members * loop.instructions for loop in part.loops) == part.instructions
            assert max(map(len, str(part).splitlines())) <= 140


# ----------------------------------------------------------------------------------------------- ordered loops
def level(rate: Any, drift: Any, ys: Any) -> Any:
    x, error = 0.5 * rate, 1.0 * drift
    for y in ys:
        x = x + rate * (y - x) + drift
        error = error + x * x
    return error


def test_a_time_loop_reads_like_the_step_that_was_written() -> None:
    program = vg.compile(level)
    program(0.1, 0.2, [0.01 * k for k in range(60)])
    assert lines(program)[1] == (
        "for t in 0..59 in order, from b[-1] = a, c = drift:  "
        "b[t] = drift + (b[t - 1] + rate*(ys[t] - b[t - 1])); c += b[t]*b[t]"
    )


def test_its_reverse_loop_reads_the_steps_backwards_and_adds_up() -> None:
    program = vg.compile(vg.grad(level, argnums=(0, 1)))
    program(0.1, 0.2, [0.01 * k for k in range(60)])
    (back,) = [line for line in lines(program) if "in order" in line and "+=" in line]
    assert "59 - t" in back or "58 - t" in back
    assert back.count("+=") == 2


def test_each_statement_of_an_ordered_loop_has_a_line() -> None:
    program = vg.compile(level)
    program(0.1, 0.2, [0.01 * k for k in range(60)])
    shown = str(program.graph.loops).splitlines()
    head = next(k for k, line in enumerate(shown) if "in order" in line)
    assert shown[head].endswith(":")
    assert [line.strip()[:6] for line in shown[head + 1 : head + 3]] == ["b[t] =", "c += b"]


def recurrent(w: Any, xs: Any) -> Any:
    c, h = [0.0] * 8, [0.0] * 8
    for x in xs:
        i, f, g, o = ([vg.dot(row[:8], h) + row[8] * x + row[9] for row in rows] for rows in w)
        c = [vg.sigmoid(f[j]) * c[j] + vg.sigmoid(i[j]) * vg.tanh(g[j]) for j in range(8)]
        h = [vg.sigmoid(o[j]) * vg.tanh(c[j]) for j in range(8)]
    return h


def test_units_of_a_recurrent_network_are_statements_with_indices() -> None:
    program = vg.compile(recurrent, vectors="w")
    program(np.linspace(-0.1, 0.1, 320).reshape(4, 8, 10), [0.01 * k for k in range(40)])
    (line,) = [line for line in lines(program) if "in order" in line]
    assert "for i in 0..3, j in 0..7:  " in line
    gate = re.search(
        r"(\w+)\[t, i, j\] = w\[i, j, 9\] \+ \(dot\(w\[i, j, 0:8\], (\w+)\[0:8\]\) \+ w\[i, j, 8\]\*xs\[t \+ 1\]\)",
        line,
    )
    assert gate, line
    assert re.search(rf"for i in 0..7:  {gate[2]}\[i\] = .*\*tanh\(\w+\[t - 1, i\]\)", line)


def test_the_gradient_by_the_weights_of_a_recurrent_network_is_sums_over_time_for_all_units() -> None:
    program = vg.compile(vg.grad(lambda w, xs: vg.sum(recurrent(w, xs))), vectors="w")
    program(np.linspace(-0.1, 0.1, 320).reshape(4, 8, 10), [0.01 * k for k in range(40)])
    shown = lines(program)
    assert sum("in order" in line for line in shown) == 2
    products = [line for line in shown if re.search(r"i in 0..\d, j in 0..7:  output\[.*\] = .*dot\(\w+\[", line)]
    assert products, shown


def test_statements_with_the_same_indices_stand_under_one_head() -> None:
    body = "for i in 0..7:  a[i] = x[i]; for i in 0..7:  b[i] = a[i]; c[t] = b[0]"
    shown = str(Part((Loop(10, 17, 0, "main", ("t in 0..9 in order",), body),), 170)).splitlines()
    assert [line.split("  10 members")[0].rstrip() for line in shown[1:-1]] == [
        "  for t in 0..9 in order:",
        "      for i in 0..7:",
        "          a[i] = x[i]",
        "          b[i] = a[i]",
        "      c[t] = b[0]",
    ]


def test_a_first_step_whose_factors_stand_the_other_way_round_is_one_like_the_others() -> None:
    """What it begins with is the first argument, before what all steps read."""

    def logistic(x: Any, rate: Any, draws: Any) -> Any:
        for z in draws:
            x = x + rate * x * (1.0 - x) * z
        return x

    program = vg.compile(logistic)
    program(0.4, 0.1, np.linspace(-1.0, 1.0, 50).tolist())
    head, body = [line.split("  50 members")[0].strip() for line in str(program.graph.loops).splitlines()[1:3]]
    assert head == "for t in 0..49 in order, from a[-1] = x:"
    assert body == "a[t] = a[t - 1] + draws[t]*rate*a[t - 1]*(1 - a[t - 1])"


def test_a_constant_that_is_an_output_too_is_shown_as_a_number() -> None:
    """The gradient by the level is 0."""
    program = vg.compile(lambda xs, level: vg.sum([vg.where(x > level, vg.maximum(x, 0.0) * x, 0.0) for x in xs]))
    program.value_and_grad([0.1 * i for i in range(8)], 0.3)
    assert "maximum(xs[i], 0)" in str(program.value_and_grad.graph.loops)


def test_a_step_that_is_too_long_to_read_is_counted() -> None:
    def many(x: Any, ws: Any) -> Any:
        for w in ws:
            for k in range(60):
                x = vg.sin(x * w + k) / (2 + k)
        return x

    program = vg.compile(many)
    program(0.3, [0.01 * k for k in range(50)])
    (line,) = [line for line in lines(program) if "in order" in line]
    assert line.startswith("for t in ")
    assert "1 number carried on by " in line


def test_a_step_may_be_a_chain_of_any_depth() -> None:
    def deep(x: Any, ws: Any) -> Any:
        for w in ws:
            for k in range(1200):
                x = vg.sin(x * w) if k % 2 else x / (1 + k)
        return x

    program = vg.compile(deep)
    program(0.3, [0.01 * k for k in range(12)])
    assert "1 number carried on by " in str(program.graph.loops)


def test_arguments_of_a_derivative_are_called_as_its_function_calls_them() -> None:
    program = vg.compile(vg.grad(lambda rate, ys: vg.sum([vg.exp(rate * y) for y in ys])))
    program(0.1, [0.01 * k for k in range(30)])
    assert "rate*ys[i]" in str(program.graph.loops)


# ------------------------------------------------------------------------------------------------------ indices
def test_a_box_has_fixed_bounds() -> None:
    box = np.stack(np.unravel_index(np.arange(60), (3, 4, 5)), axis=1)
    assert Indices(box).ranges() == ["i in 0..2", "j in 0..3", "k in 0..4"]


def test_a_triangle_that_shrinks() -> None:
    found = Indices(np.array([[i, j] for i in range(6) for j in range(i, 6)]))
    assert found.ranges() == ["i in 0..5", "j in 0..5 - i"]
    assert found.formula(np.array([7 * j for i in range(6) for j in range(i, 6)])) == (0, 7, 7)


def test_numbers_without_a_rule_have_one_index() -> None:
    features = np.random.default_rng(0).integers(0, 1000, (50, 2))
    found = Indices(features)
    assert found.ranges() == ["i in 0..49"]
    assert found.formula(features[:, 0]) is None


def test_formulas_read_as_people_write_them() -> None:
    assert affine_text((-1, 1)) == "i - 1"
    assert affine_text((5, -1, 2)) == "2*j - i + 5"
    assert affine_text((5, -1)) == "5 - i"
    assert affine_text((-5, -1)) == "-i - 5"
    assert affine_text((-2, 0)) == "-2"
