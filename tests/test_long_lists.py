"""Operations on long lists: what a rule does for each entry is noted once, and no bit differs."""

from __future__ import annotations

import random
import sys

import numpy as np
import pytest

import valuegrad as vg
from valuegrad.primitives import TABLE
from valuegrad.primitives.opcodes import OPCODE

pytest.importorskip("valuegrad._passes")
templates = pytest.importorskip("valuegrad.transforms.templates")

LONG = templates.WIDE + 3
LISTS = [name for name, row in TABLE.items() if row.vectors]
POOLS = [(templates._value, True), (templates._local_grads, False)]
FUNCTIONS = {
    "sum": lambda xs: vg.sum(xs) ** 2,
    "prod": lambda xs: vg.prod([1.0 + 0.01 * x for x in xs]),
    "mean": lambda xs: vg.mean(xs) ** 2,
    "dot": lambda xs: vg.dot(xs, list(reversed(xs))),
    "norm": lambda xs: vg.norm(xs),
    "maximum": lambda xs: vg.maximum(*xs, xs[3]) ** 2,
    "minimum": lambda xs: vg.minimum(*xs, 0.5) ** 2,
    "logsumexp": lambda xs: vg.logsumexp(xs) ** 2,
    "softmax": lambda xs: vg.softmax(xs)[5] ** 2,
    "log_softmax": lambda xs: vg.log_softmax(xs)[5] ** 2,
    "cross_entropy": lambda xs: vg.cross_entropy(xs, 5) ** 2,
}


def numbers_for(name: str) -> list[float]:
    rng = random.Random(name)
    return [rng.uniform(0.5, 2.0) for _ in range(LONG)]


def python_calls(function) -> int:
    """How many Python and built-in functions run."""
    count = 0

    def on_event(frame, event, argument):
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(on_event)
    try:
        function()
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize(("rule", "machine"), POOLS)
@pytest.mark.parametrize("name", [name for name in LISTS if name != "prod"])
def test_a_template_of_a_long_list_takes_no_more_python_than_one_of_a_shorter(name, rule, machine) -> None:
    def make(count: int) -> int:
        pool = templates.Pool(rule, machine=machine)
        return python_calls(lambda: pool.find(OPCODE[name], count, 1.0))

    assert make(200 * LONG) <= make(2 * LONG) + 10


@pytest.mark.parametrize("name", LISTS)
def test_long_lists_give_the_engines_bits_with_their_gradients(name) -> None:
    def f(xs):
        return FUNCTIONS[name](list(xs))

    xs = np.array(numbers_for(name))
    value, gradient = vg.value_and_grad(vg.compile(f, vectors="xs", strict=True))(xs)
    expected, expected_gradient = vg.value_and_grad(f)(xs.tolist())
    assert value == expected
    assert gradient.tolist() == expected_gradient


@pytest.mark.parametrize("name", LISTS)
def test_second_derivatives_over_long_lists_are_those_over_their_parts(name) -> None:
    def f(x, xs):
        return FUNCTIONS[name]([x, *xs[1:]])

    numbers = numbers_for(name)
    second = vg.grad(vg.grad(vg.compile(f, strict=True)))(numbers[0], numbers)
    h = 1e-4
    ahead, behind = (vg.grad(f)(numbers[0] + step, numbers) for step in (h, -h))
    assert second == pytest.approx((ahead - behind) / (2 * h), rel=1e-4, abs=1e-6)
