"""Threads that build separate graphs do not disturb each other."""

from __future__ import annotations

import random
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import valuegrad as vg
from valuegrad import Value


@pytest.fixture(autouse=True)
def _switch_often() -> Any:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def work(seed: int, rounds: int = 30) -> list[float]:
    """Build, differentiate and drop random graphs; the numbers depend on the seed alone."""
    rng = random.Random(seed)
    results: list[float] = []
    for _ in range(rounds):
        leaves = [Value(rng.uniform(-1, 1)) for _ in range(5)]
        values = list(leaves)
        for _ in range(60):
            a, b = rng.choice(values), rng.choice(values)
            values.append(rng.choice((a * b, a + 0.5 * b, vg.tanh(a), vg.sum([a, b, 1.0]), vg.softmax([a, b])[0])))
        if rng.random() < 0.3:
            with vg.no_grad():
                results.append((values[-1] * 2).data)
        root = vg.mean(values[-10:])
        root.backward()
        results += [root.data, *[leaf.grad for leaf in leaves]]
    return results


def test_separate_graphs_in_threads_give_what_they_give_alone() -> None:
    alone = [work(seed) for seed in range(8)]
    barrier = threading.Barrier(8)

    def together(seed: int) -> list[float]:
        barrier.wait()
        return work(seed)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(together, range(8))) == alone


def test_a_graph_is_used_by_several_threads_in_turn() -> None:
    x = Value(2.0)
    powers = [x]
    for _ in range(4):
        thread = threading.Thread(target=lambda: powers.append(powers[-1] * x))
        thread.start()
        thread.join()
    powers[-1].backward()
    assert (powers[-1].data, x.grad) == (32.0, 80.0)


def test_values_are_freed_in_another_thread_than_theirs() -> None:
    held = [[vg.exp(Value(float(i)) * 2.0) for i in range(2000)] for _ in range(4)]

    def drop(values: list[Any]) -> None:
        while values:
            values.pop()
            Value(1.0)

    threads = [threading.Thread(target=drop, args=(values,)) for values in held]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not any(held)
    assert work(1) == work(1)


def test_an_exception_in_one_thread_leaves_the_others_alone() -> None:
    errors = []

    def failing() -> None:
        for _ in range(200):
            try:
                with vg.strict():
                    vg.log(Value(0.0))
            except vg.StrictError as error:
                errors.append(error)

    thread = threading.Thread(target=failing)
    thread.start()
    results = work(3)
    thread.join()
    assert results == work(3)
    assert len(errors) == 200
