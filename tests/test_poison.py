"""Where a nan or inf came from: the operation, its inputs, the line."""

from __future__ import annotations

import math
import random

import pytest
from graphs import on_values, random_graph
from hypothesis import given
from hypothesis import strategies as st

import valuegrad as vg


def test_the_operation_that_made_the_nan_is_told_with_its_inputs_and_their_names():
    margin = vg.Value(3.0, name="wealth") - 4.0
    margin.name = "margin"
    bad = vg.log(margin)
    origin = vg.poison(0.95 * bad + 1.0).origin
    assert origin.kind == "operation"
    assert origin.value is bad
    assert origin.operation == "log(margin=-1.0)"
    assert origin.inputs == (("margin", -1.0),)
    assert [value.op for value in origin.trail] == ["log", "mul", "add"]


def test_the_first_of_several_is_found():
    x = vg.Value(0.0, name="x")
    first = 1 / x
    second = vg.log(x)
    assert vg.poison(second * first).origin.value is first


def test_inf_that_becomes_nan_later_is_found_where_it_became_inf():
    x = vg.Value(1000.0)
    big = vg.exp(x)
    assert vg.poison(big - big).origin.value is big


def test_a_branch_that_was_not_taken_is_not_to_blame():
    x = vg.Value(0.0)
    worse, bad = vg.log(x), vg.Value(-1.0).sqrt()
    assert vg.poison(vg.where(x > 0, worse, bad)).origin.value is bad


def test_an_input_that_was_nan_from_the_start_is_told_as_that():
    x = vg.Value(math.nan, name="price")
    found = vg.poison(x * 2)
    assert found.origin.kind == "input"
    assert "no operation made it: the input price was nan from the start" in str(found)


def test_a_constant_can_be_the_origin():
    found = vg.poison(vg.Value(1.0) + math.inf)
    assert (found.origin.kind, found.origin.number) == ("input", math.inf)
    assert "the plain number was inf from the start" in str(found)


def test_backward_the_local_gradient_that_is_not_finite_is_found():
    x = vg.Value(0.0, name="x")
    root = vg.sqrt(x * x)
    origin = vg.poison(root + 1.0).origin
    assert (origin.kind, origin.value, origin.index) == ("local gradient", root, 0)
    assert (origin.local_grad, origin.grad, origin.number) == (math.inf, 1.0, math.inf)


def test_a_mask_does_not_stop_an_infinite_gradient_and_poison_says_so():
    x, mask = vg.Value(0.0, name="x"), vg.Value(0.0, name="mask")
    found = vg.poison(mask * vg.sqrt(x))
    assert found.forward is None
    assert math.isnan(found.backward.number)
    assert "so the backward pass added inf * 0.0 = nan to the grad of x" in str(found)


def test_a_gradient_that_overflows_is_found():
    x = vg.Value(1e-200, name="x")
    found = vg.poison(1e200 * (1e200 * x))
    assert (found.backward.kind, found.backward.number) == ("overflow", math.inf)


def test_what_is_finite_has_no_poison():
    found = vg.poison(vg.Value(2.0) * 3)
    assert not found
    assert found.origin is None
    assert "There is no poison" in str(found)


def test_looking_leaves_the_grads_alone():
    x = vg.Value(0.0)
    x.grad = 7.0
    y = vg.sqrt(x)
    vg.poison(y)
    assert (x.grad, y.grad) == (7.0, 0.0)


@given(st.integers(0, 10_000))
def test_the_origin_is_not_finite_and_its_inputs_are(seed):
    rng = random.Random(seed)
    leaves = [vg.Value(rng.uniform(-2, 2)) for _ in range(4)]
    nodes = [node for node in on_values(random_graph(rng, 60), leaves) if type(node) is vg.Value]
    for node in nodes:
        found = vg.poison(node)
        if not math.isfinite(node.data):
            value = found.forward.value
            assert not math.isfinite(value.data)
            assert all(math.isfinite(child.data) for child in value.children)
            assert found.forward.trail[-1] is node
        else:
            for leaf in leaves:
                leaf.grad = 0.0
            node.backward()
            reached = [value for value in vg.value.graph([node]) if value.op != "constant"]
            assert (found.backward is not None) == any(not math.isfinite(value.grad) for value in reached)


def test_the_line_is_told_if_it_was_remembered_and_else_how_to_get_it():
    x = vg.Value(-1.0)
    assert "vg.remember_lines()" in str(vg.poison(vg.log(x)))
    with vg.remember_lines():
        y = vg.log(x)
    assert __file__ in str(vg.poison(y + 1))
    assert "in test_the_line_is_told" in y.poison().origin.line


def test_strict_tells_the_names_and_the_line():
    margin = vg.Value(-1.0, name="margin")
    with vg.strict(), pytest.raises(vg.StrictError) as caught:
        vg.log(margin)
    message = str(caught.value)
    assert message.startswith("log(margin=-1.0) gave nan from finite inputs, at ")
    assert "test_poison.py" in message


def test_strict_tells_the_names_of_a_lists_entries_and_of_plain_numbers_none():
    a = vg.Value(1e308, name="a")
    with vg.strict():
        with pytest.raises(vg.StrictError, match=r"sum\(a=1e\+308, 1e\+308, a=1e\+308\) gave inf"):
            vg.sum([a, 1e308, a])
        with pytest.raises(vg.StrictError, match=r"div\(a=1e\+308, 0\.0\) gave inf"):
            a / 0


def test_a_long_trail_is_cut_short():
    y = vg.log(vg.Value(-1.0))
    for _ in range(50):
        y = y + 1
    assert "(45 more)" in str(vg.poison(y))
    assert len(vg.poison(y).origin.trail) == 51


def test_poison_is_shown_on_pages_too():
    html = vg.log(vg.Value(-1.0, name="<b>")).poison().html()
    assert "&lt;b&gt;" in html
    assert "<b>" not in html


def test_what_is_no_value_is_refused():
    with pytest.raises(vg.ValueTypeError, match=r"poison\(\) got nan"):
        vg.poison(math.nan)
