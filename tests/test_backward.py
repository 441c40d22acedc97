"""The backward pass: docs/semantics.md's section, sentence by sentence, and graphs of every shape."""

from __future__ import annotations

import math
import sys
from typing import Any

import pytest

import valuegrad as vg
from valuegrad import Value

NATIVE = vg.engine == "native"
MILLION = 1_000_000 if NATIVE else 50_000  # the readable engine takes a hundred times as long
LONG_CHAIN = 10_000_000 if NATIVE else 200_000


# -------------------------------------------------------------------------------------- what grad holds
def test_backward_gives_the_derivative_with_respect_to_everything_before() -> None:
    a, b, c = Value(2.0), Value(-3.0), Value(10.0)
    product = a * b
    total = product + c
    out = total.tanh()
    out.backward()
    slope = 1 - math.tanh(4.0) ** 2
    assert out.grad == 1.0
    assert total.grad == product.grad == c.grad == pytest.approx(slope, rel=1e-15)
    assert (a.grad, b.grad) == (-3.0 * total.grad, 2.0 * total.grad)


def test_a_shared_child_gets_both_contributions() -> None:
    x = Value(3.0)
    (x * x + x).backward()
    assert x.grad == 7.0


def test_a_result_used_on_many_ways_gets_the_sum_before_it_passes_it_on() -> None:
    """A diamond of depth 60 has 2**60 paths; each Value is visited once."""
    x = y = Value(1.0)
    for _ in range(60):
        y = y + y
    y.backward()
    assert x.grad == 2.0**60


def test_a_leafs_grad_accumulates_over_passes() -> None:
    x = Value(3.0)
    (x * 2).backward()
    (x * 5).backward()
    assert x.grad == 7.0
    x.grad = 0
    (x * 5).backward()
    assert x.grad == 5.0


def test_a_results_grad_is_that_of_the_latest_pass_that_reached_it() -> None:
    x = Value(3.0)
    y = x * 2
    first, second, other = y * 5, y * 7, x * 11
    first.backward()
    second.backward()
    assert y.grad == 7.0
    other.backward()
    assert (y.grad, x.grad) == (7.0, 10.0 + 14.0 + 11.0)


def test_backward_twice_doubles_the_leaves_and_nothing_else() -> None:
    x = Value(3.0)
    square = x * x
    cube = square * x
    for times in (1, 2, 3):
        cube.backward()
        assert (x.grad, square.grad, cube.grad) == (27.0 * times, 3.0, 1.0)


def test_a_grad_that_somebody_set_on_a_result_does_not_leak_into_the_next_pass() -> None:
    x = Value(3.0)
    y = x * 2
    z = y * 5
    y.grad = z.grad = 1000.0
    z.backward()
    assert (z.grad, y.grad, x.grad) == (1.0, 5.0, 10.0)


def test_backward_on_a_leaf_adds_one_to_its_grad() -> None:
    x = Value(3.0)
    x.backward()
    x.backward()
    assert x.grad == 2.0


def test_backward_from_the_middle_leaves_what_is_newer_alone() -> None:
    x = Value(3.0)
    y = x * 2
    z = y * 5
    y.backward()
    assert (x.grad, y.grad, z.grad) == (2.0, 1.0, 0.0)


def test_results_with_leaves_of_different_age_are_visited_in_the_right_order() -> None:
    old = Value(2.0)
    middle = old * 3.0
    young = Value(5.0)
    late = middle * young
    out = late + middle * old
    out.backward()
    assert middle.grad == 5.0 + 2.0
    assert old.grad == 3.0 * 7.0 + 6.0
    assert young.grad == 6.0


def test_a_zero_adjoint_times_an_infinite_gradient_is_nan_everywhere_but_in_where() -> None:
    x = Value(0.0)
    (vg.sqrt(x) * 0.0).backward()
    assert math.isnan(x.grad)
    x = Value(0.0)
    vg.where(False, vg.sqrt(x), x * 4).backward()
    assert x.grad == 4.0


def test_an_untaken_branch_keeps_its_grads() -> None:
    x = Value(2.0)
    taken, untaken = x * 3, x * 5
    untaken.grad = 9.0
    vg.where(True, taken, untaken).backward()
    assert (taken.grad, untaken.grad, x.grad) == (1.0, 9.0, 3.0)


def test_gradients_are_added_newest_parent_first() -> None:
    """The documented order: 1.0 of the oldest parent comes last, and -1e16 + 1e16 is 0 by then."""
    x = Value(1.0)
    oldest, middle, newest = x * 1.0, x * 1e16, x * -1e16
    (oldest + middle + newest).backward()
    assert x.grad == (-1e16 + 1e16) + 1.0 == 1.0
    x = Value(1.0)
    oldest, middle, newest = x * 1e16, x * -1e16, x * 1.0
    (oldest + middle + newest).backward()
    assert x.grad == (1.0 + -1e16) + 1e16 == 0.0


def test_nan_and_infinite_gradients_stay_visible() -> None:
    x, y = Value(0.0), Value(1.0)
    (vg.log(x) + y).backward()
    assert (x.grad, y.grad) == (math.inf, 1.0)


# ------------------------------------------------------------------------------------------------ shapes
def test_a_chain_of_ten_million_operations_is_built_walked_and_freed() -> None:
    """Twice as deep as any recursion would bear on the readable engine, a thousand times on the native one."""
    x = y = Value(1.0)
    one = Value(1.0)
    for _ in range(LONG_CHAIN // 2):
        y = (y + one) * 0.5
    y.backward()
    assert y.data == 1.0
    assert one.grad == pytest.approx(1.0, abs=1e-12)
    assert x.grad == 0.5 ** (LONG_CHAIN // 2) == 0.0
    del y  # freed here: a crash of the stack would be seen


def test_a_chain_of_pairs_frees_without_recursion() -> None:
    """Both children of each Value are the last to be held: the tree of what dies is wide and deep."""
    a, b = Value(1.0), Value(2.0)
    for _ in range(MILLION // 2):
        a, b = a + b, a - b
        a.grad = b.grad = 0.0
        a, b = a * 0.5, b * 0.5
    del a, b


def test_a_sum_of_a_million_values() -> None:
    values = [Value(1.0) for _ in range(MILLION)]
    total = vg.sum(values)
    total.backward()
    assert total.data == MILLION
    assert len(total.children) == MILLION
    assert all(v.grad == 1.0 for v in values)


def test_one_value_with_a_million_parents() -> None:
    x = Value(2.0)
    vg.sum([x * 1.0 for _ in range(MILLION)]).backward()
    assert x.grad == MILLION


def test_pythons_own_sum_of_many_values() -> None:
    values = [Value(1.0) for _ in range(MILLION)]
    sum(values).backward()
    assert all(v.grad == 1.0 for v in values)


@pytest.mark.parametrize("gap", [1, 2, 4094, 4095, 4096, 4097, 8192, 12_289, MILLION])
def test_children_of_any_age_are_reached(gap: int) -> None:
    """Steps of every width between a Value and its parent, and many Values of one age group."""
    old = [Value(float(i)) for i in range(10)]
    sums = [a * 2.0 for a in old]
    for _ in range(gap):
        Value(0.0)
    products = [a * s for a, s in zip(old, sums)]
    for _ in range(gap):
        Value(0.0)
    vg.sum([p + s for p, s in zip(products, sums)]).backward()
    assert [v.grad for v in old] == [4.0 * i + 2.0 for i in range(10)]
    assert [s.grad for s in sums] == [i + 1.0 for i in range(10)]


def test_interleaved_graphs_do_not_touch_each_other() -> None:
    """Two graphs whose Values were made by turns."""
    x, y = Value(2.0), Value(3.0)
    a, b = x, y
    for _ in range(1000):
        a = a * 1.0 + x
        b = b * 1.0 + y
    a.backward()
    assert (x.grad, y.grad, b.grad) == (1001.0, 0.0, 0.0)
    b.backward()
    assert (x.grad, y.grad) == (1001.0, 1001.0)


def test_a_graph_outlives_the_names_of_its_parts() -> None:
    def build() -> tuple[Any, Any]:
        x = Value(2.0)
        return x, vg.exp(x * 3.0) + vg.log(x)

    x, y = build()
    y.backward()
    assert x.grad == 3.0 * math.exp(6.0) + 0.5


def test_the_recursion_limit_does_not_matter() -> None:
    limit = sys.getrecursionlimit()
    y = x = Value(1.0)
    for _ in range(5000):
        y = y * 1.0
    try:
        sys.setrecursionlimit(200)
        y.backward()
        assert len(vg.value.graph([y])) == 10_001
        del y
    finally:
        sys.setrecursionlimit(limit)
    assert x.grad == 1.0
