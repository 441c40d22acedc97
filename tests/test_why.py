"""``why``: the ranking is gradient times move, and the paths are the largest products of local gradients."""

from __future__ import annotations

import math
import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

import valuegrad as vg
from valuegrad.inspect.walk import edges

KINDS = [lambda a, b: a * b, lambda a, b: a - b, lambda a, b: a.tanh(), lambda a, b: vg.dot([a, b], [b, 0.5])]


def random_root(seed: int, size: int = 9) -> tuple[list[vg.Value], vg.Value]:
    """A small smooth graph with many shared Values."""
    rng = random.Random(seed)
    leaves = [vg.Value(rng.uniform(0.5, 1.5), name=f"x{i}") for i in range(3)]
    values = list(leaves)
    for _ in range(size):
        a, b = rng.choice(values[-4:]), rng.choice(values)
        made = rng.choice(KINDS)
        values.append(made(a, b))
    return leaves, vg.sum(values[-3:])


def all_paths(root: vg.Value, leaf: vg.Value) -> list[tuple[float, ...]]:
    """By brute force: the local gradients along each path, from the leaf up."""
    found = []

    def down(value: vg.Value, above: tuple[float, ...]) -> None:
        if value is leaf:
            found.append(above)
        for _, child, local_grad in edges(value):
            if local_grad != 0.0:
                down(child, (local_grad, *above))

    down(root, ())
    return found


@given(st.integers(0, 10_000))
def test_the_sum_over_all_paths_is_the_gradient_and_the_shown_ones_are_the_largest(seed):
    leaves, root = random_root(seed)
    root.backward()
    for effect in vg.why(root, inputs=leaves, paths=5).effects:
        products = [math.prod(path) for path in all_paths(root, effect.value)]
        # sums of a few hundred products, in other orders: a few roundings of the largest
        assert effect.gradient == effect.value.grad
        assert math.fsum(products) == pytest.approx(effect.gradient, rel=1e-9, abs=1e-12 * (1 + effect.size))
        assert effect.path_count == len(products)
        assert effect.size == pytest.approx(math.fsum(map(abs, products)), rel=1e-12)
        largest = sorted(map(abs, products), reverse=True)[:5]
        assert [abs(path.product) for path in effect.paths] == pytest.approx(largest, rel=1e-12)
        known = sorted(all_paths(root, effect.value))
        for path in effect.paths:
            assert path.local_grads in known
            assert path.values[0] is effect.value
            assert path.values[-1] is root


@given(st.integers(0, 10_000))
def test_no_path_is_shown_twice_and_all_are_found_if_asked_for(seed):
    leaves, root = random_root(seed, size=6)
    for effect in vg.why(root, inputs=leaves, paths=10_000).effects:
        steps = [tuple(zip(map(id, path.values), path.local_grads)) for path in effect.paths]
        assert len(steps) == effect.path_count
        if effect.paths:
            total = math.fsum(path.product for path in effect.paths)
            assert total == pytest.approx(effect.gradient, rel=1e-9, abs=1e-12 * (1 + effect.size))
            assert effect.carried == pytest.approx(1.0)


@given(st.integers(0, 10_000), st.sampled_from([0.01, 0.1, -0.05]))
def test_the_first_order_effect_is_gradient_times_move(seed, part):
    _, root = random_root(seed)
    root.backward()
    by_part = vg.why(root, relative=part)
    by_nudge = vg.why(root, nudge=part)
    for effect in by_part.effects:
        assert effect.predicted == effect.value.grad * (part * abs(effect.value.data))
    for effect in by_nudge.effects:
        assert effect.predicted == effect.value.grad * part
    sizes = [abs(effect.predicted) for effect in by_part.effects]
    assert sizes == sorted(sizes, reverse=True)


def test_what_is_computed_again_has_the_second_order_in_it():
    x = vg.Value(2.0, name="x")
    effect = vg.why(x * x, nudge=0.5).effects[0]
    assert (effect.predicted, effect.up, effect.down) == (2.0, 2.25, -1.75)


def test_a_large_graph_is_not_computed_again():
    x = vg.Value(1.0)
    y = x
    for _ in range(30_000):
        y = y * 1.00001
    found = vg.why(y)
    assert found.effects[0].up is None
    assert "Nothing was computed again" in str(found)


def test_an_input_that_is_zero_is_moved_all_the_same_and_a_note_says_so():
    bias, w = vg.Value(0.0, name="bias"), vg.Value(2.0, name="w")
    found = vg.why(3.0 * w + 5.0 * bias)
    assert [(effect.label, effect.move) for effect in found.effects] == [("w", 0.02), ("bias", 0.01)]
    assert "bias: 1 % of 0 is nothing, so it was moved by 0.01." in str(found)


def test_a_negative_input_is_moved_up_too():
    x = vg.Value(-2.0)
    assert vg.why(3.0 * x).effects[0].predicted == pytest.approx(0.06)


def test_paths_that_cancel_are_told():
    x = vg.Value(2.0, name="x")
    found = vg.why(10.0 * x - 9.9 * x)
    (effect,) = found.effects
    assert effect.cancels
    assert effect.size == pytest.approx(19.9)
    assert "x: its paths cancel: +10 and -9.9 leave +0.1." in str(found)


def test_how_much_the_shown_paths_carry_is_told():
    x = vg.Value(1.0, name="x")
    found = vg.why(vg.sum([x * float(i) for i in range(1, 5)]), paths=2)
    assert found.effects[0].carried == pytest.approx(0.7)
    assert "x: these 2 of 4 paths carry 70.0% of what all do together." in str(found)


def test_a_path_through_a_dead_relu_is_none():
    x = vg.Value(-1.0, name="x")
    effect = vg.why(x.relu() + x).effects[0]
    assert effect.path_count == 1.0
    assert len(effect.paths) == 1


def test_a_branch_that_was_not_taken_is_no_path():
    x = vg.Value(0.0, name="x")
    effect = vg.why(vg.where(x > 0, vg.log(x), 2.0 * x)).effects[0]
    assert (effect.gradient, effect.path_count) == (2.0, 1.0)


def test_more_paths_than_could_be_listed_are_counted():
    x = vg.Value(1.0, name="x")
    y = x
    for _ in range(200):
        y = y + y
    effect = vg.why(y).effects[0]
    assert effect.path_count == effect.gradient == 2.0**200
    assert [path.product for path in effect.paths] == [1.0, 1.0, 1.0]
    assert len({tuple(path.local_grads) for path in effect.paths}) == 1


def test_computed_values_can_be_asked_about():
    x = vg.Value(3.0, name="x")
    h = x * x
    h.name = "h"
    found = vg.why(h * 2 + x, inputs=[h, x, vg.Value(1.0, name="other")])
    assert {effect.label: effect.gradient for effect in found.effects} == {"x": 13.0, "h": 2.0, "other": 0.0}


def test_the_result_itself_may_be_an_input():
    x = vg.Value(3.0, name="x")
    effect = vg.why(x).effects[0]
    assert (effect.gradient, effect.path_count, effect.paths[0].local_grads) == (1.0, 1.0, ())


def test_unnamed_inputs_are_called_by_their_position():
    xs = [vg.Value(1.0), vg.Value(2.0)]
    assert [effect.label for effect in vg.why(xs[0] * xs[1] ** 2).effects] == ["inputs[1]", "inputs[0]"]
    assert "inputs[0] → mul" in str(vg.why(xs[0] * 2))


def test_only_the_largest_are_shown_and_the_rest_is_summed_up():
    xs = [vg.Value(float(i + 1), name=f"x{i}") for i in range(30)]
    found = vg.why(vg.sum(xs), rows=2)
    assert [effect.label for effect in found.effects] == ["x29", "x28"]
    assert (found.others, found.rest) == (28, pytest.approx(0.01 * 28 * 29 / 2))
    assert "28 more inputs" in str(found)


def test_no_grad_changes():
    x = vg.Value(3.0)
    y = x * x
    x.grad = y.grad = 7.0
    vg.why(y)
    assert (x.grad, y.grad) == (7.0, 7.0)


def test_nan_comes_first_and_points_to_poison():
    x, z = vg.Value(0.0, name="x"), vg.Value(1.0, name="z")
    found = vg.why(vg.sqrt(x * x) + 100 * z)
    assert found.effects[0].label == "x"
    assert "poison()" in str(found)


def test_long_paths_are_cut_short_when_shown():
    x = vg.Value(1.0, name="x")
    y = x
    for _ in range(20_000):
        y = y + 1.0
    path = vg.why(y).effects[0].paths[0]
    assert len(path.values) == 20_001
    assert path.route == "x → add → add → (19,996 more) → add → add"


def test_the_table_is_shown_everywhere():
    found = (vg.Value(2.0, name="a|b") * vg.Value(3.0, name="<i>")).why()
    assert "a\\|b" in found.markdown()
    assert "&lt;i&gt;" in found.html()
    assert "<i>" not in found.html()
    assert found.html().count("<table") == 2


def test_the_tornado_has_a_bar_for_each_input_to_its_side():
    a, b = vg.Value(2.0, name="a"), vg.Value(1.0, name="b")
    found = vg.why(3.0 * a - b)
    _, of_a, of_b = found.tornado().splitlines()
    assert re.fullmatch(r"a ░+│█+ \+0\.06 -0\.06", of_a.replace("  ", ""))
    assert re.match(r"b +█+│░+ ", of_b)
    picture = found.svg()
    assert picture.count("<rect") == 4
    assert 'aria-label="the result = 5, each input moved up and down by 1 % of itself"' in picture


def test_the_tornado_of_a_page_says_which_colour_is_up():
    picture = vg.why(vg.Value(2.0, name="a") * 3).svg()
    assert re.search(r'<tspan class="up">■</tspan> up.*<tspan class="down">■</tspan> down', picture)
    assert "+0.06" in picture
    assert "-0.06" in picture


def test_nothing_to_draw_is_said():
    assert "nothing to draw" in vg.why(vg.sqrt(vg.Value(0.0))).tornado()


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_the_tornado_is_drawn_into_files(tmp_path, ending):
    pytest.importorskip("matplotlib")
    vg.why(vg.Value(2.0, name="a") * 3).plot(tmp_path / f"tornado.{ending}")
    assert (tmp_path / f"tornado.{ending}").stat().st_size > 1000


def test_another_ending_is_refused(tmp_path):
    with pytest.raises(vg.ValueArgumentError, match=r"ends in \.png, \.svg or \.pdf"):
        vg.why(vg.Value(2.0)).plot(tmp_path / "tornado.gif")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"relative": 0.0}, "got a move of 0"),
        ({"nudge": math.nan}, "got a move of nan"),
        ({"paths": -1}, "expected 0 or more"),
        ({"rows": -1}, "expected 0 or more"),
    ],
)
def test_impossible_arguments_are_refused(arguments, message):
    with pytest.raises(vg.ValueArgumentError, match=message):
        vg.why(vg.Value(1.0), **arguments)


def test_what_is_no_value_is_refused():
    with pytest.raises(vg.ValueTypeError, match=r"why\(\) got 3"):
        vg.why(3)
    with pytest.raises(vg.ValueTypeError, match=r"why\(\), inputs got 'a'"):
        vg.why(vg.Value(1.0), inputs=["a"])
