"""The native engine when memory runs out in the middle, and when Values are very far apart in age."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from engines import ONCE

_testcapi = pytest.importorskip("_testcapi", reason="this Python has no allocator hooks for tests")
native = pytest.importorskip("valuegrad._native", reason="the native engine is not built")
Value = native.Value
pytestmark = ONCE


@contextmanager
def failing_allocation(number: int) -> Iterator[None]:
    """The allocation with this number fails, later ones succeed again."""
    _testcapi.set_nomemory(number, number + 1)
    try:
        yield
    finally:
        _testcapi.remove_mem_hooks()


def attempts(action: Callable[[], Any], count: int) -> int:
    """How often the action raised MemoryError, over ``count`` places where memory runs out."""
    failures = 0
    for number in range(count):
        try:
            with failing_allocation(number):
                action()
        except MemoryError:
            failures += 1
    return failures


def wide_graph() -> tuple[list[Any], Any]:
    """Larger than the sweep's buffers that are kept from one pass to the next."""
    leaves = [Value(1.0 + i / 100) for i in range(10)]
    early = [leaf * 1.0 for leaf in leaves * 10_000]
    return leaves, native.sum(early + [y * 2.0 for y in early])


def test_a_backward_pass_is_right_after_one_that_ran_out_of_memory():
    leaves, y = wide_graph()
    y.backward()
    expected = [leaf.grad for leaf in leaves]
    failures = 0
    for number in range(20):
        failures += attempts(y.backward, number + 1) - attempts(y.backward, number)
        native.zero_grads(leaves)
        y.backward()
        assert [leaf.grad for leaf in leaves] == expected
    assert failures > 0


def test_listing_a_graph_is_right_after_running_out_of_memory():
    _, y = wide_graph()
    expected = len(native.graph([y]))
    assert attempts(lambda: native.graph([y]), 20) > 0
    assert len(native.graph([y])) == expected


def test_an_export_that_ran_out_of_memory_changes_nothing():
    leaves, y = wide_graph()
    y.backward()
    grads = [leaf.grad for leaf in leaves]
    export = lambda: native.export([y], leaves[5]._created, leaves[5:])  # noqa: E731
    expected = export()
    assert len(expected[5]) == 5
    assert attempts(export, 40) > 0
    assert [leaf.grad for leaf in leaves] == grads
    assert export() == expected


@pytest.mark.parametrize(
    "operation",
    [
        lambda xs: native.dot(xs, xs),
        lambda xs: native.softmax(xs),
        lambda xs: native.clamp(xs[0], 0, 1),
        lambda xs: Value(1.0, xs[:1], [1.0]),
        lambda xs: native.graph([xs[0] * 2 + 1]),
        lambda xs: native.recorded(8, 1.0, xs[:3], [0.0] * 3),
        lambda xs: native.export([native.sum(xs), xs[1]], xs[1]._created, [xs[1]]),
    ],
    ids=["dot", "softmax", "clamp", "custom", "graph", "recorded", "export"],
)
def test_an_operation_that_ran_out_of_memory_leaves_its_arguments_whole(operation):
    xs = [*[Value(1.0) for _ in range(20)], 2.0]
    assert attempts(lambda: operation(xs), 60) > 0
    made = [[x * 2.0 for x in xs[:20]] for _ in range(20)]  # would reuse the memory of an argument freed too often
    assert [x.data for x in xs[:20]] == [1.0] * 20
    assert len(made) == 20


@pytest.mark.parametrize("gap", [1, 4095, 4096, 4097, 10**6, 1 << 34, (1 << 34) + 1, 1 << 50])
def test_values_far_apart_in_age_get_the_same_gradients(gap):
    def build(pause: Callable[[], None]) -> list[float]:
        rng = random.Random(1)
        leaves = [Value(rng.uniform(0.5, 1.5)) for _ in range(3)]
        values = list(leaves)
        for _ in range(40):
            if rng.random() < 0.3:
                pause()
            values.append(rng.choice(values) * rng.choice(values) + rng.choice(leaves))
        y = native.sum(values)
        y.backward()
        return [leaf.grad for leaf in leaves]

    assert build(lambda: native.advance_clock(gap)) == build(lambda: None)
