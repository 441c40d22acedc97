"""Long programs begin as straight-line code; their loops are made when they pay."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from engines import ONCE

import valuegrad as vg
from valuegrad.lower import lowering
from valuegrad.lower.llvm import HAS_LLVM

pytest.importorskip("valuegrad._replay")
pytestmark = [ONCE, pytest.mark.skipif(not HAS_LLVM, reason="llvmlite is not installed")]

STEPS = 700


@pytest.fixture(autouse=True)
def _loops_when_they_pay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VALUEGRAD_ROLL", "auto")
    monkeypatch.setenv("VALUEGRAD_CACHE", "off")


def logistic(x: Any, r: Any) -> Any:
    """Long enough for loops, and they pay."""
    total = 0.0
    for _ in range(STEPS):
        x = r * x * (1.0 - x)
        total = total + vg.sin(x) * x
    return total


def ragged(x: Any) -> Any:
    """As long, but with nothing alike."""
    rng = np.random.default_rng(0)
    values = [x, x + 1.0, x * 0.5]
    for _ in range(6 * STEPS):
        a, b = (values[i] for i in rng.integers(max(0, len(values) - 40), len(values), 2))
        values.append([a + b, a * b, a - b, vg.sin(a), vg.maximum(a, b)][rng.integers(5)] * 0.7)
    return values[-1]


def lowered(program: Any) -> Any:
    ((found,),) = [path.lowered.values() for path in program.graph.paths]
    return found


def backend(program: Any) -> str:
    return str(lowered(program).made.code.backend)


def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lowering, "PATIENCE", 0.0)


def test_a_long_program_begins_as_straight_line_code() -> None:
    program = vg.compile(logistic)
    program(0.3, 3.1)
    assert backend(program) == "jit"


def test_loops_are_made_once_calls_have_taken_long_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    program = vg.compile(logistic)
    first = program.value_and_grad(0.3, 3.1)
    impatient(monkeypatch)
    assert program.value_and_grad(0.3, 3.1) == first
    assert backend(program.value_and_grad) == "rolled"


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("strict", [False, True])
def test_loops_that_come_later_change_no_bit_of_a_batch(
    dtype: Any, strict: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = vg.compile(logistic, dtype=dtype, strict=strict)
    xs = np.linspace(0.1, 0.9, 37).astype(dtype)
    value, (by_x, by_r) = program.value_and_grad(xs, 3.1)
    impatient(monkeypatch)
    for _ in range(2):
        again, (by_x_again, by_r_again) = program.value_and_grad(xs, 3.1)
        assert again.tobytes() == value.tobytes()
        assert by_x_again.tobytes() == by_x.tobytes()
        assert by_r_again == by_r
    assert backend(program.value_and_grad) == "rolled"


def test_paths_find_their_branches_before_and_after(monkeypatch: pytest.MonkeyPatch) -> None:
    def parted(x: Any, r: Any) -> Any:
        y = logistic(x, r) if x > 0.5 else logistic(1.0 - x, r + 0.1)
        return y if y > 0.0 else -y

    program, plain = vg.compile(parted), vg.compile(parted, strict=True)
    xs = np.linspace(0.05, 0.95, 19)
    first = program(xs, 3.1)
    impatient(monkeypatch)
    assert program(xs, 3.1).tobytes() == program(xs, 3.1).tobytes() == first.tobytes()
    assert np.allclose(first, plain(xs, 3.1), rtol=1e-9)  # 1,400 steps of a map that is not chaotic here


def test_a_quick_call_on_lists_gets_the_loops_too(monkeypatch: pytest.MonkeyPatch) -> None:
    program = vg.compile(lambda xs, r: sum(logistic(x, r) for x in xs))
    found = {program([0.2, 0.3], 3.1)}
    found.add(program([0.2, 0.3], 3.1))
    impatient(monkeypatch)
    found.add(program([0.2, 0.3], 3.1))
    assert backend(program) == "rolled"
    found.add(program([0.2, 0.3], 3.1))
    assert len(found) == 1


def test_who_looks_at_the_loops_has_them_made() -> None:
    program = vg.compile(logistic)
    program(0.3, 3.1)
    assert "for " in str(program.graph.loops)
    assert backend(program) == "rolled"


def test_a_warm_program_has_its_loops() -> None:
    program = vg.compile(logistic)
    assert program.warm_up(0.3, r=3.1) == program(0.3, 3.1)
    assert backend(program) == "rolled"


def test_where_nothing_is_alike_it_is_looked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    found = lowering.rolled_code
    monkeypatch.setattr(lowering, "rolled_code", lambda *args: asked.append(1) or found(*args))
    impatient(monkeypatch)
    program = vg.compile(ragged)
    assert len({program(0.4) for _ in range(4)}) == 1
    assert asked == [1]
    assert "too few are alike" in str(program.graph.loops)


def test_an_interrupt_while_loops_are_made_leaves_a_program_that_works(monkeypatch: pytest.MonkeyPatch) -> None:
    program = vg.compile(logistic)
    first = program(0.3, 3.1)
    impatient(monkeypatch)

    def interrupted(*args: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(lowering, "rolled_code", interrupted)
        with pytest.raises(KeyboardInterrupt):
            program(0.3, 3.1)
    assert program(0.3, 3.1) == first
    assert backend(program) == "rolled"


def test_threads_that_want_loops_at_once_make_them_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    found = lowering.rolled_code
    monkeypatch.setattr(lowering, "rolled_code", lambda *args: made.append(1) or found(*args))
    program = vg.compile(logistic)
    expected = program(0.3, 3.1)
    impatient(monkeypatch)
    start, results = threading.Barrier(4), []

    def work() -> None:
        start.wait()
        results.extend(program(0.3, 3.1) for _ in range(20))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(results) == {expected}
    assert made == [1]


def test_loops_that_are_on_disk_are_there_at_once(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    first = vg.compile(logistic, cache=tmp_path)
    expected = first.warm_up(0.3, 3.1)
    monkeypatch.delenv("VALUEGRAD_CACHE")
    again = vg.compile(logistic, cache=tmp_path)
    assert again(0.3, 3.1) == expected
    assert backend(again) == "rolled"


def test_what_is_known_to_have_no_loops_is_not_asked_again(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    vg.compile(ragged, cache=tmp_path).warm_up(0.4)
    again = vg.compile(ragged, cache=tmp_path)
    again(0.4)
    monkeypatch.setattr(lowering, "rolled_code", pytest.fail)
    impatient(monkeypatch)
    again(0.4)
    assert backend(again) == "jit"


def test_who_asks_for_loops_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VALUEGRAD_ROLL", "on")
    program = vg.compile(logistic)
    program(0.3, 3.1)
    assert backend(program) == "rolled"


def test_what_is_very_long_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("valuegrad.lower.rolled.MOST_WAITING", 1000)
    program = vg.compile(logistic)
    program(0.3, 3.1)
    assert backend(program) == "rolled"


def test_a_batch_that_would_take_longer_than_loops_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lowering, "PATIENCE", 1e-3)
    small, large = vg.compile(logistic), vg.compile(logistic)
    small(np.full(2, 0.3), 3.1)
    large(np.full(20_000, 0.3), 3.1)  # 3,500 operations: some 2 ms
    assert (backend(small), backend(large)) == ("jit", "rolled")
