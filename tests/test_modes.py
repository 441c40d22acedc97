"""no_grad and strict: what they do, that they end, and whom they belong to."""

from __future__ import annotations

import asyncio
import contextvars
import math
import threading

import pytest

import valuegrad as vg
from valuegrad import Value, modes


# ------------------------------------------------------------------------------------------------ no_grad
def test_inside_no_grad_results_are_leaves_with_the_same_numbers() -> None:
    x = Value(0.5, name="x")
    formulas = [
        lambda: x * 2 + 1,
        lambda: 2**x,
        lambda: x**2,
        lambda: vg.exp(x),
        lambda: vg.hypot(x, 3.0),
        lambda: vg.clamp(x, 0, 1),
        lambda: vg.sum([x, x, 1.0]),
        lambda: vg.dot([x], [x]),
        lambda: vg.softmax([x, 1.0])[1],
        lambda: vg.cross_entropy([x, 1.0, 2.0], 1),
        lambda: vg.where(x > 0, x, 3.0),
        lambda: vg.take([1.0, x], 1),
        lambda: vg.maximum(x, 0.1),
        lambda: round(x, 1),
        lambda: -x,
    ]
    for formula in formulas:
        remembered = formula()
        with vg.no_grad():
            out = formula()
        assert out.data == remembered.data
        assert (out.children, out.local_grads, out.op, out.static, out.name) == ((), (), None, None, None)
        out.data = 1.0  # a leaf: it can be set
        assert remembered.children


def test_values_from_inside_no_grad_are_cut_off_from_what_they_came_from() -> None:
    x = Value(3.0)
    with vg.no_grad():
        scale = x * 2
    (scale * x).backward()
    assert x.grad == 6.0


def test_no_grad_ends_with_its_block() -> None:
    x = Value(3.0)
    with vg.no_grad():
        pass
    assert (x * 2).children


def test_an_exception_ends_the_mode() -> None:
    x = Value(0.0)
    for mode in (vg.no_grad, vg.strict):
        with pytest.raises(RuntimeError, match="user"), mode():
            raise RuntimeError("the user's own")
        assert modes.current() == 0
        assert vg.log(x).children


def test_modes_nest_and_each_block_ends_its_own() -> None:
    x = Value(3.0)
    with vg.no_grad():
        with vg.no_grad():
            assert not (x * 2).children
        assert not (x * 2).children
        with vg.strict():
            assert not (x * 2).children
            with pytest.raises(vg.StrictError):
                vg.log(Value(0.0))
        vg.log(Value(0.0))
    assert (x * 2).children


def test_backward_works_inside_no_grad() -> None:
    x = Value(3.0)
    y = x * x
    with vg.no_grad():
        y.backward()
    assert x.grad == 6.0


def test_a_block_cannot_be_entered_twice_but_its_maker_can() -> None:
    block = vg.no_grad()
    with block:
        pass
    with pytest.raises((RuntimeError, AttributeError)), block:
        pass
    with vg.no_grad():
        pass


# ------------------------------------------------------------------------------------------------- strict
BROKEN = [
    (lambda x: vg.log(x - x), r"log\(0\.0\) gave -inf"),
    (lambda x: vg.log(-x), r"log\(-2\.0\) gave nan"),
    (lambda x: 1 / (x - x), r"div\(1\.0, 0\.0\) gave inf"),
    (lambda x: vg.exp(x * 1000), r"exp\(2000\.0\) gave inf"),
    (lambda x: (x * 1e200) ** 2, r"pow\(2e\+200, n=2\.0\) gave inf"),
    (lambda x: (-x * 4) ** (1 / 3), r"pow\(-8\.0, n=0\.33+\d*\) gave nan.*cbrt\(x\) gives the real cube root"),
    (lambda x: (-x) ** (x * 0.25), r"power\(-2\.0, 0\.5\) gave nan.*cbrt"),
    (lambda x: vg.sqrt(x - 2), r"sqrt\(0\.0\) gave 0\.0 with local gradients \(inf,\)"),
    (lambda x: vg.asin(x), r"asin\(2\.0\) gave nan"),
    (lambda x: x * 1e308, r"mul\(2\.0, 1e\+308\) gave inf"),
    (lambda x: vg.sum([x * 8e307] * 10), r"sum\((1\.6e\+308, ){8}\.\.\.\) gave inf"),
    (lambda x: vg.lgamma(x - 2), r"lgamma\(0\.0\) gave inf"),
]


@pytest.mark.parametrize(("formula", "message"), BROKEN)
def test_strict_raises_at_the_operation_and_names_it_its_inputs_and_the_line(formula: object, message: str) -> None:
    with vg.strict(), pytest.raises(vg.StrictError, match=message) as caught:
        formula(Value(2.0))
    line = formula.__code__.co_firstlineno
    assert f"test_modes.py:{line}, in <lambda>" in str(caught.value)
    assert "expected finite numbers inside vg.strict()" in str(caught.value)
    assert isinstance(caught.value, FloatingPointError)


@pytest.mark.parametrize("formula", [formula for formula, _ in BROKEN])
def test_without_strict_nothing_raises(formula: object) -> None:
    formula(Value(2.0)).backward()


def test_strict_lets_finite_numbers_pass_and_remembers() -> None:
    x = Value(2.0)
    with vg.strict():
        y = vg.exp(x) / (1 + vg.dot([x, 3.0], [x, x]))
    y.backward()
    assert y.children
    assert math.isfinite(x.grad)


def test_strict_does_not_blame_an_operation_for_what_came_into_it() -> None:
    poisoned = vg.log(Value(0.0))
    with vg.strict():
        assert (poisoned + 1).data == -math.inf
        assert math.isnan((poisoned - poisoned).data)


def test_strict_watches_families_and_lists() -> None:
    with vg.strict():
        with pytest.raises(vg.StrictError, match=r"prod\(1e\+200, 1e\+200\) gave inf"):
            vg.prod([Value(1e200), 1e200])
        assert [p.data for p in vg.softmax([Value(1000.0), 0.0])] == [1.0, 0.0]


def test_a_strict_error_leaves_the_graph_usable() -> None:
    x = Value(2.0)
    y = x * x
    with vg.strict(), pytest.raises(vg.StrictError):
        vg.sum([y, 1.7e308, 1.7e308])
    y.backward()
    assert x.grad == 4.0


# ------------------------------------------------------------------------------------- threads and tasks
def test_a_mode_belongs_to_its_thread() -> None:
    x = Value(3.0)
    entered, done = threading.Event(), threading.Event()
    inside = []

    def other() -> None:
        with vg.no_grad():
            entered.set()
            done.wait()
            inside.append((x * 2).children)

    thread = threading.Thread(target=other)
    thread.start()
    entered.wait()
    here = (x * 2).children
    done.set()
    thread.join()
    assert here
    assert inside == [()]


def test_a_mode_belongs_to_its_task() -> None:
    x = Value(3.0)

    async def quiet(turn: asyncio.Event, other: asyncio.Event) -> bool:
        with vg.no_grad():
            other.set()
            await turn.wait()
            return bool((x * 2).children)

    async def remembering(turn: asyncio.Event, other: asyncio.Event) -> bool:
        await turn.wait()
        found = bool((x * 2).children)
        other.set()
        return found

    async def both() -> list[bool]:
        a, b = asyncio.Event(), asyncio.Event()
        return await asyncio.gather(quiet(a, b), remembering(b, a))

    assert asyncio.run(both()) == [False, True]
    assert modes.current() == 0


def test_a_context_has_the_mode_that_held_when_it_was_copied() -> None:
    before = contextvars.copy_context()
    with vg.no_grad():
        assert before.run(modes.current) == 0
        assert contextvars.copy_context().run(modes.current) == modes.NO_GRAD


def test_without_switches_a_mode_off_for_a_block() -> None:
    x = Value(3.0)
    with vg.no_grad():
        with modes.without(modes.NO_GRAD):
            assert (x * 2).children
        assert not (x * 2).children
    assert (x * 2).children
