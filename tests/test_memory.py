"""Nothing is leaked: not by results, names, errors, modes, backward passes or lists.

``tracemalloc`` does not see what the native engine allocates, so three things are counted: Python's
allocated blocks (names, blocks of children, and everything of the readable engine; exact to a few dozen),
references to a leaf that every result holds (exact), and for Values without children, which the native
engine keeps in slabs of its own, the process's resident memory.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

import valuegrad as vg
from valuegrad import Value, value

NATIVE = vg.engine == "native"
ROUNDS = 400 if NATIVE else 200  # a block that each leaves behind is seen by far


def resident() -> int:
    """Bytes of memory this process has in RAM."""
    if "libasan" in os.environ.get("LD_PRELOAD", ""):
        pytest.skip("the address sanitizer keeps freed memory for a while")
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * 4096
    except OSError:
        pytest.skip("no /proc here to read the resident memory from")


def growth(work: Callable[[], Any], rounds: int = ROUNDS) -> int:
    """Blocks and references to LEAF that more calls leave behind, when everything that is kept once is there.

    The least of three times: other threads, as those that run the tests, allocate something now and then; a leak comes
    each time.
    """
    for _ in range(rounds // 4 + 20):
        work()
    found = []
    for _ in range(3):
        gc.collect()
        blocks, references = sys.getallocatedblocks(), sys.getrefcount(LEAF)
        for _ in range(rounds):
            work()
        gc.collect()
        found.append(max(sys.getallocatedblocks() - blocks, sys.getrefcount(LEAF) - references))
        if found[-1] <= 0:
            break
    return min(found)


LEAF = Value(0.5, name="leaf")


def scalars() -> None:
    x = LEAF
    y = (x * 2 + 1 - x / 3) ** 2 + 2**x - x**x + vg.clamp(x, 0, 1) + round(x, 1) + abs(-x) + x // 2 + x % 2
    (vg.hypot(y, vg.exp(x)) * vg.where(x > 0, x, 3.0)).backward()


def lists() -> None:
    xs = [LEAF, Value(2.0), 3.0]
    total = vg.sum(xs) + vg.dot(xs, xs[::-1]) + vg.mean(xs * 100) + vg.norm(xs) + vg.prod(xs) + vg.maximum(*xs)
    total += vg.sum(vg.softmax(xs)) + vg.sum(vg.log_softmax(xs)) + vg.cross_entropy(xs, 1) + vg.take(xs, 0)
    total += vg.sum(x for x in xs) + vg.sum([[x, 1.0][0] for x in xs * 200])
    total.backward()


def looking() -> None:
    y = vg.sum([LEAF, 1.0, 2.0]) * 3.0
    assert [child.op for child in y.children] == ["sum", "constant"]
    assert y.children[0].local_grads == (1.0, 1.0, 1.0)
    repr(y), hash(y), y == 3.0, format(y, ".2f"), y.static


def names() -> None:
    x = Value(1.0, name="x" * 1000)
    y = x * 2
    for v in (x, y, vg.sum([x, y, x]), vg.exp(x)):
        v.name = "n" * 1000
        v.name = "m" * 1000
        assert len(v.name) == 1000
    x.name = None


def customs() -> None:
    x = Value(1.0)
    y = Value(2.0, [x, LEAF, x], (1, 2.0, 3))
    Value(3.0, (y,), (4.0,), name="z").backward()


LONG = lambda: vg.sum([LEAF] * 1000 + ["a"])  # noqa: E731
REFUSED: list[Callable[[], Any]] = [
    lambda: Value("a"),
    lambda: Value(1.0, [LEAF, LEAF], [1.0]),
    lambda: Value(1.0, [LEAF, 1.0], [1.0, 2.0]),
    lambda: Value(1.0, [LEAF], ["a"]),
    lambda: Value(1.0, [LEAF], [1.0], name=3),
    lambda: vg.exp("a"),
    lambda: vg.clamp(LEAF, 0, "a"),
    lambda: vg.sum([LEAF, LEAF, "a"]),
    LONG,
    lambda: vg.softmax([LEAF, 1.0, None]),
    lambda: vg.dot([LEAF] * 3, [1.0, 2.0, "a"]),
    lambda: vg.cross_entropy([LEAF, LEAF, LEAF], 7),
    lambda: vg.take([LEAF], 1),
    lambda: LEAF * 10**400,
    lambda: float(LEAF),
    lambda: setattr(LEAF * 2, "data", 1.0),
]


def errors() -> None:
    for call in REFUSED:
        with pytest.raises(vg.ValuegradError):
            call()


def modes() -> None:
    with vg.no_grad():
        vg.sum([LEAF, 1.0, 2.0])
        vg.softmax([LEAF, 1.0, 2.0])
        vg.clamp(LEAF * 2, 0, 1)
    with vg.strict():
        vg.softmax([LEAF, 1.0])
        for call in (
            lambda: vg.log(LEAF - 0.5),
            lambda: vg.sum([LEAF * 1e308, 1.7e308]),
            lambda: vg.prod([LEAF * 1e308, 1e300, 1e300]),
            lambda: vg.clamp(vg.exp(LEAF * 2000), 0, 1),
        ):
            with pytest.raises(vg.StrictError):
                call()


def whole_graphs() -> None:
    y = vg.sum([LEAF * 2, 1.0, vg.exp(LEAF)]) * 3.0
    order = value.graph([y])
    value.read_data(order), value.read_grads(order), value.zero_grads(order)
    value.sweep(y, 0)
    leaves = [Value(1.0), Value(2.0)]
    value.write_data(leaves, value.read_data(leaves))


@pytest.mark.parametrize("work", [scalars, lists, looking, names, customs, errors, modes, whole_graphs])
def test_no_block_is_left_behind(work: Callable[[], None]) -> None:
    rounds = ROUNDS if work not in (errors, modes) else 100
    assert growth(work, rounds) < 50 + rounds // 20  # what Python itself keeps varies by dozens


CALLS: list[Callable[[], Any]] = [
    lambda: Value(1.0),
    lambda: Value(1.0, name="x"),
    lambda: Value(1.0, [Value(2.0)], [3.0]),
    lambda: (LEAF + 1.0).children,
    lambda: (1.0 - LEAF).children,
    lambda: (LEAF**2).backward(),
    lambda: vg.clamp(LEAF, 0.0, 1.0).children,
    lambda: vg.sum([LEAF, 1.0]).children,
    lambda: vg.sum([LEAF, 1.0, 2.0, 3.0]).children,
    lambda: vg.softmax([LEAF, 1.0, 2.0]),
    lambda: value.graph([vg.sum([LEAF * 2.0, 1.0, 2.0])]),
    lambda: setattr(LEAF * 2.0, "name", "y"),
    lambda: setattr(LEAF + LEAF, "name", "y"),
    lambda: vg.detach(LEAF),
    lambda: vg.take([1.0, LEAF], 1),
    lambda: value.identity(LEAF),
]


def resident_growth(call: Callable[[], Any], rounds: int) -> int:
    """Bytes that the process grows by."""
    for _ in range(1000):
        call()
    before = resident()
    for _ in range(rounds):
        call()
    return resident() - before


def refused(call: Callable[[], Any]) -> None:
    with contextlib.suppress(vg.ValuegradError):
        call()


def measure() -> list[int]:
    """How much the process grows by each of CALLS and REFUSED, and by a leak of one Value a call."""
    kept: list[Any] = []
    growths = [resident_growth(call, 60_000) for call in CALLS]
    growths += [resident_growth(partial(refused, call), 60_000) for call in REFUSED if call is not LONG]
    return [*growths, resident_growth(lambda: kept.append(Value(1.0)), 60_000)]


@pytest.mark.skipif(not NATIVE, reason="the readable engine's Values are among Python's blocks")
def test_no_value_without_children_is_left_behind() -> None:
    """In a process of its own, as memory that earlier tests have freed would hide a leak.

    60,000 calls would leave 4.8 MB; 2.5 MB are allowed, since a new slab of 2 MB may be needed without a leak.
    """
    resident()  # skips where it cannot be read
    output = subprocess.run([sys.executable, __file__], check=True, capture_output=True, text=True).stdout
    *growths, leak = json.loads(output)
    assert leak > 2.5e6, "a leak would not be seen"
    leaks = [i for i, bytes_ in enumerate(growths) if bytes_ > 2.5e6]
    assert not leaks, f"calls {leaks} of CALLS + REFUSED leak"


def test_a_leak_of_results_would_be_seen() -> None:
    kept: list[Any] = []
    assert growth(lambda: kept.append(LEAF * 2.0)) >= ROUNDS


def test_results_hold_their_children_exactly_once() -> None:
    x = Value(1.0)
    before = sys.getrefcount(x)
    results = [x * 2, x * x, vg.exp(x), vg.sum([x, x, x]), vg.softmax([x, 1.0])[0], Value(1.0, [x], [1.0])]
    assert sys.getrefcount(x) == before + 1 + 2 + 1 + 3 + 1 + 1
    for result in results:
        result.backward()
        assert result.children[0] is x
    assert sys.getrefcount(x) == before + 9
    del result, results
    gc.collect()
    assert sys.getrefcount(x) == before


def test_training_for_a_thousand_steps_does_not_grow() -> None:
    """A small network; resident memory, since the engine may allocate outside Python's blocks."""
    weights = [Value(0.1 * (i % 7) - 0.3) for i in range(12)]

    def step() -> None:
        loss: Any = 0.0
        for x, target in ((0.0, 0.0), (0.5, 1.0), (1.0, 0.0)):
            hidden = [vg.tanh(weights[i] * x + weights[i + 4]) for i in range(4)]
            loss = loss + (vg.dot(weights[8:], hidden) - target) ** 2
        loss.backward()
        for weight in weights:
            weight.data -= 0.05 * weight.grad
            weight.grad = 0.0

    assert growth(step, 1000) < 100
    before = resident()
    for _ in range(1000 if NATIVE else 200):
        step()
    assert resident() - before < 1 << 20


def test_large_graphs_give_their_memory_back() -> None:
    """Built and dropped again and again: the resident memory stays below twice that of one."""
    size = 300_000 if NATIVE else 20_000

    def build() -> None:
        x = y = Value(1.0)
        for _ in range(size):
            y = y * 1.0 + x
        y.backward()
        value.graph([y])

    build()
    build()
    before = resident()
    for _ in range(2):  # each would leave 2 * size Values
        build()
    assert resident() - before < size * 80


@pytest.mark.skipif(not NATIVE, reason="a promise of the native engine")
def test_a_node_takes_at_most_eighty_bytes() -> None:
    assert Value.__basicsize__ <= 80


if __name__ == "__main__":
    print(json.dumps(measure()))
