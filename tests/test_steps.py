"""The backward pass step by step: it ends where ``backward()`` does, and each wrong variant goes wrong in its way."""

from __future__ import annotations

import random

import pytest
from engines import bits
from graphs import on_values, random_graph
from hypothesis import given
from hypothesis import strategies as st

import valuegrad as vg
from valuegrad.inspect import steps


def shared() -> tuple[vg.Value, vg.Value, vg.Value]:
    a = vg.Value(2.0, name="a")
    b = a + a
    b.name = "b"
    c = b + b
    c.name = "c"
    return a, b, c


@given(st.integers(0, 10_000))
def test_the_steps_end_at_the_grads_of_backward_to_the_last_bit(seed):
    rng = random.Random(seed)
    leaves = [vg.Value(rng.uniform(-2, 2)) for _ in range(4)]
    root = on_values(random_graph(rng, 40), leaves)[-1]
    if type(root) is not vg.Value:
        return
    for leaf in leaves:
        leaf.grad = rng.choice([0.0, -0.0, 1.5])
    taken = steps(root)
    ended = taken.grads_after()
    everything = [value for value in vg.value.graph([root]) if value.op != "constant"]
    root.backward()
    assert [bits(ended[value]) for value in everything] == [bits(value.grad) for value in everything]


def test_a_step_tells_what_it_does():
    _, b, c = shared()
    second = list(steps(c))[1]
    assert (second.number, second.node, second.child, second.index) == (2, c, b, 1)
    assert (second.local_grad, second.grad, second.before, second.after) == (1.0, 1.0, 1.0, 2.0)
    assert str(second) == "b.grad += c.local_grads[1] * c.grad  # 1 + 1 * 1 = 2"


def test_the_grads_of_the_values_stay_until_they_are_applied():
    a, b, c = shared()
    taken = steps(c)
    next(taken)
    assert taken.grads[b] == 1.0
    assert b.grad == 0.0
    taken.apply()
    assert (a.grad, b.grad, c.grad) == (4.0, 2.0, 1.0)


def test_applying_twice_adds_to_the_leaves_as_backward_does():
    a, _, c = shared()
    steps(c).apply()
    steps(c).apply()
    assert a.grad == 8.0


def test_the_state_after_some_steps_can_be_had_again():
    a, b, c = shared()
    taken = steps(c)
    assert len(taken) == len(list(taken)) == 4
    assert [taken.grads_after(i)[b] for i in range(5)] == [0.0, 1.0, 2.0, 2.0, 2.0]
    assert taken.grads_after()[a] == 4.0


@pytest.mark.parametrize(("wrong", "of_a"), [("order", 2.0), ("assign", 1.0), ("stale", 12.0)])
def test_each_wrong_variant_goes_wrong_where_a_child_is_shared(wrong, of_a):
    a, _, c = shared()
    taken = steps(c, wrong=wrong)
    assert taken.faults()[a] == (of_a, 4.0)
    assert f"a.grad is {of_a:g} instead of 4" in taken.explanation()


def test_the_explanation_names_the_first_thing_that_goes_wrong():
    _, _, c = shared()
    assert "b.grad was 1 when it was handed on, and became 2 later." in steps(c, "order").explanation()
    assert "b.grad was 1 when another 1 came: it is 1 now, not 2." in steps(c, "assign").explanation()
    assert "b.grad still was 2 at the start." in steps(c, "stale").explanation()


@pytest.mark.parametrize("wrong", ["order", "assign"])
def test_a_chain_comes_out_right_even_in_the_wrong_way(wrong):
    x = vg.Value(2.0)
    taken = steps(x.exp().log(), wrong)
    assert taken.faults() == {}
    assert "right all the same" in taken.explanation()


def test_the_right_pass_has_no_faults():
    assert steps(shared()[2]).faults() == {}
    assert "newest first" in steps(shared()[2]).explanation()


def test_a_leaf_has_no_steps():
    x = vg.Value(3.0)
    taken = steps(x)
    assert list(taken) == []
    taken.apply()
    assert x.grad == 1.0


def test_a_branch_that_was_not_taken_is_no_step():
    x, y = vg.Value(1.0, name="x"), vg.Value(2.0, name="y")
    assert [step.child for step in steps(vg.where(True, x, y))] == [x]


def test_a_long_chain_needs_no_recursion():
    x = vg.Value(1.0)
    y = x
    for _ in range(100_000 if vg.engine == "native" else 20_000):
        y = y + 1.0
    for wrong in (None, "order"):
        assert steps(y, wrong).grads_after()[x] == 1.0


def test_unnamed_values_get_labels_of_their_own_and_equal_names_are_told_apart():
    x, y = vg.Value(1.0, name="w"), vg.Value(2.0, name="w")
    z = x * y
    assert list(steps(z * z).labels.values()) == ["w", "w_2", "v1", "v2"]


def test_steps_are_shown_as_a_table_everywhere():
    _, _, c = shared()
    taken = c.steps("assign")
    assert "| 1 | b.grad = c.local\\_grads[0] * c.grad | 1 * 1 = 1 |" in taken.markdown()
    assert taken.html().count("<tr>") == 5
    assert "overwrites" in str(taken)


@pytest.mark.parametrize("wrong", ["orders", "", 1])
def test_an_unknown_way_to_be_wrong_is_refused(wrong):
    with pytest.raises(vg.ValueArgumentError, match="expected 'order', 'assign', 'stale', or None"):
        steps(vg.Value(1.0), wrong)


def test_what_is_no_value_is_refused():
    with pytest.raises(vg.ValueTypeError, match=r"steps\(\) got 3"):
        steps(3)
