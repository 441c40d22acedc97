"""Programs in several threads, in themselves, and in the modes of the engine."""

from __future__ import annotations

import sys
import threading
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from engines import ALL_ROLLED, needs_passes

import valuegrad as vg
from valuegrad import Value, modes
from valuegrad.lower.machine_code import MAIN, What
from valuegrad.lower.rolled import Rolled

pytestmark = needs_passes


@pytest.fixture(autouse=True)
def _switch_often() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def hail(x):
    """A loop whose length depends on its argument: many paths."""
    steps = 0
    while x > 1.0 and steps < 12:
        x = x / 2 if x % 2.0 < 1.0 else 3 * x + 1
        steps += 1
    return x + 100 * steps


POINTS = np.floor(np.random.default_rng(0).uniform(1, 15 if ALL_ROLLED else 60, 300))


@pytest.fixture(scope="module")
def expected() -> Any:
    """What one thread gets."""
    return vg.compile(hail, strict=True, max_paths=500).value_and_grad(POINTS)


@pytest.mark.parametrize("round_", range(3))
def test_threads_that_meet_new_paths_of_one_program_get_their_own_results(expected: Any, round_: int) -> None:
    program = vg.compile(hail, strict=True, max_paths=500)
    barrier = threading.Barrier(6)

    def work(seed: int) -> bool:
        rng = np.random.default_rng(seed + 100 * round_)
        barrier.wait()
        for _ in range(10):
            lanes = rng.integers(0, len(POINTS), 30)
            value, (grad,) = program.value_and_grad(POINTS[lanes])
            same = np.array_equal(value, expected[0][lanes]) and np.array_equal(grad, expected[1][0][lanes])
            one = int(lanes[0])
            if not (same and program(float(POINTS[one])) == expected[0][one]):
                return False
        return True

    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(work, range(6)))


def test_a_function_is_recorded_once_though_threads_call_it_at_once() -> None:
    calls = []

    def slow(x):
        calls.append(1)
        time.sleep(0.02)
        return x * x

    program = vg.compile(slow)
    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(program, map(float, range(6)))) == [0.0, 1.0, 4.0, 9.0, 16.0, 25.0]
    assert len(calls) == 1


def test_loops_are_made_once_though_threads_want_them_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    build = Rolled.build

    def counted(self: Rolled, code: Any, what: What, segments: tuple[int, ...] = (MAIN,)) -> None:
        made.append(what)
        build(self, code, what, segments)

    monkeypatch.setenv("VALUEGRAD_ROLL", "on")
    monkeypatch.setattr(Rolled, "build", counted)
    program = vg.compile(lambda x, y: vg.exp(x * y) + x, cache=False)
    batch = np.linspace(0.0, 1.0, 40)
    barrier = threading.Barrier(6)

    def work(_: int) -> Any:
        barrier.wait()
        return program(batch, 2.0)

    with ThreadPoolExecutor(6) as pool:
        results = list(pool.map(work, range(6)))
    assert made.count("blocks") == 1
    assert all(np.array_equal(result, results[0]) for result in results)


def test_threads_beyond_the_bound_on_paths_warn_once(expected: Any) -> None:
    program = vg.compile(hail, strict=True, max_paths=2)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with ThreadPoolExecutor(4) as pool:
            assert all(found.tolist() == expected[0].tolist() for found in pool.map(program, [POINTS] * 4))
    assert len(caught) == 1
    assert len(program.graph.paths) == 2


def test_a_recording_disturbs_no_other_thread() -> None:
    found = []

    def eager() -> None:
        x = Value(2.0)
        y = x * x
        y.backward()
        found.extend([y.data, x.grad, y > 1, float(vg.exp(0.0))])

    @vg.compile
    def f(x):
        thread = threading.Thread(target=eager)
        thread.start()
        thread.join()
        return x * 3

    assert f(2.0) == 6.0
    assert found == [4.0, 4.0, True, 1.0]


def test_what_a_function_raises_leaves_nothing_behind() -> None:
    @vg.compile
    def f(x):
        if x > 1:
            vg.grad(lambda y: y * x)(x)
            raise RuntimeError("the user's own")
        return x

    assert f(0.5) == 0.5
    for x in (2.0, np.array([0.5, 2.0])):
        with pytest.raises(RuntimeError, match="the user's own"):
            f(x)
        with pytest.raises(RuntimeError, match="the user's own"):
            f.value_and_grad(x)
    assert (modes.current(), modes.recorder()) == (0, None)
    assert f(np.array([0.5, 0.75])).tolist() == [0.5, 0.75]
    assert f.value_and_grad(0.5) == (0.5, (1.0,))
    assert len(f.graph.paths) == 1


# ------------------------------------------------------------------------------------------- programs in programs
@vg.compile
def factorial(n):
    return n * factorial(n - 1.0) if n > 1 else 1.0 + 0 * n


@vg.compile
def inner(x):
    return x * x if x > 0 else -x


@vg.compile
def outer(x, y):
    return inner(x) + inner(y) * inner(2.0)


def test_a_program_may_call_itself() -> None:
    assert factorial(5.0) == 120.0
    assert factorial(np.array([1.0, 2.0, 3.0, 4.0])).tolist() == [1.0, 2.0, 6.0, 24.0]
    assert vg.grad(factorial)(3.0) == vg.grad(factorial.function)(3.0) == 5.0
    fibonacci = vg.compile(lambda x, k: x if k < 2 else fibonacci(x, k - 1) + fibonacci(x, k - 2), static="k")
    assert fibonacci(1.0, 10) == 89.0


def test_programs_in_programs_and_in_eager_derivatives() -> None:
    x = np.array([1.0, -2.0])
    assert outer(x, 3.0).tolist() == [37.0, 38.0]
    value, (by_x, by_y) = outer.value_and_grad(x, 3.0)
    assert (value.tolist(), by_x.tolist(), by_y) == ([37.0, 38.0], [2.0, -1.0], 48.0)
    assert vg.compile(lambda a: inner.value_and_grad(a)[1][0] * a)(x).tolist() == [2.0, 2.0]
    assert vg.grad(lambda a: outer(a, 3.0) ** 2)(2.0) == 2 * 40.0 * 4.0
    assert vg.grad(lambda a: vg.grad(inner)(a) ** 2)(2.0) == 16.0
    assert vg.jacobian(lambda a: [inner(a[0]), inner(a[1])])([2.0, -3.0]) == [[4.0, 0.0], [0.0, -1.0]]


def test_no_grad_changes_nothing() -> None:
    x = np.array([1.0, -2.0])
    fresh = vg.compile(lambda a: vg.exp(a * a))
    with vg.no_grad():
        assert outer(x, 3.0).tolist() == [37.0, 38.0]
        assert vg.grad(inner)(3.0) == 6.0
        first = fresh.value_and_grad(2.0)
        assert inner(Value(3.0)).data == 9.0
    assert fresh.value_and_grad(2.0) == first


def test_inside_strict_every_operation_of_a_program_is_looked_at() -> None:
    @vg.compile
    def f(x):
        return 1 / x if x < 1 else vg.log(x)

    batch = np.array([2.0, 0.5])
    expected = [f.function(Value(x)).data for x in batch.tolist()]
    for _ in range(2):
        with vg.strict():
            for zero in (0.0, np.array([2.0, 0.0]), Value(0.0)):
                with pytest.raises(vg.StrictError, match=r"div\(1\.0, 0\.0\) gave inf"):
                    f(zero)
            with pytest.raises(vg.StrictError):
                f.value_and_grad(0.0)
            assert f(batch).tolist() == expected
            assert f.value_and_grad(batch)[1][0].tolist() == [0.5, -4.0]
            assert f(2.0) == expected[0]
            with pytest.raises(vg.ValueArgumentError, match=r"lanes run one by one \(inside vg\.strict\(\)"):
                vg.compile(lambda x: vg.batch_sum(x))(batch)
        assert f(0.5) == 2.0  # what the first calls inside strict() left behind serves those outside
