"""Programs come and go without leaving anything behind; calls leave nothing either; sizes grow linearly.

Python's allocated blocks are counted, and the process's resident memory: what C code allocates, machine code among it,
is in none of Python's blocks.
"""

from __future__ import annotations

import gc
import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from engines import ENGINE, ONCE, needs_passes, needs_replay
from test_memory import resident

import valuegrad as vg
from valuegrad import Value
from valuegrad.graph import Graph, Nodes
from valuegrad.record import record

pytestmark = [ONCE, needs_passes, needs_replay]


@pytest.fixture(autouse=True)
def straight_line_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes here are the assembler's: code that is not a loop is as long as the calculation."""
    monkeypatch.setenv("VALUEGRAD_ROLL", "off")


LEAF = Value(0.5)
BATCH = np.linspace(-1.0, 1.0, 100)


def f(x: Any, y: Any) -> Any:
    total = vg.dot([x, y, LEAF], [y, x, 2.0]) + vg.softmax([x, y, 1.0])[1]
    return total * vg.exp(x) if x > 0 else vg.where(y > 0.5, total, vg.sin(y))


PROGRAM = vg.compile(f)
NARROW = vg.compile(f, max_paths=1)
SUMS = vg.compile(lambda x: vg.batch_sum(x * x), threads=2)


def compiles() -> None:
    """A program of its own each time: recorded, differentiated, lowered, run."""
    program = vg.compile(lambda x, y: f(x, y) + 1.0)
    program(1.0, 2.0), program(BATCH, 0.25)
    program.value_and_grad(BATCH, 0.25)


def higher() -> None:
    """Derivatives of a program."""
    program = vg.compile(lambda x: vg.sin(x * LEAF) ** 3)
    vg.hessian(program)(0.5), vg.grad(vg.grad(program))(BATCH)
    program.iterate(0.1, steps=5)


def calls() -> None:
    PROGRAM(1.0, 2.0), PROGRAM(-1.0, 2.0), PROGRAM(BATCH, 2.0), PROGRAM.value_and_grad(BATCH[:, None], BATCH)
    SUMS(BATCH), PROGRAM(LEAF, 2.0)


def wrong_calls() -> None:
    for call in (
        lambda: PROGRAM("a", object()),
        lambda: PROGRAM(BATCH, BATCH[:3]),
        lambda: PROGRAM(1.0),
        lambda: vg.compile(lambda x: x.data)(1.0),
        lambda: vg.compile(lambda x: [x, "a"])(BATCH),
        lambda: vg.compile(lambda x: vg.sum([x] * 50 + [None]))(1.0),
        lambda: vg.compile(lambda x: vg.batch_sum(x) * x)(BATCH),
    ):
        with pytest.raises(vg.ValuegradError):
            call()


def beyond() -> None:
    NARROW(BATCH[48:52], 0.25), NARROW.value_and_grad(BATCH[48:52], 0.25)


WORK: list[tuple[Callable[[], None], int]] = [
    (compiles, 300),
    (higher, 100),
    (calls, 2000),
    (wrong_calls, 200),
    (beyond, 300),
]


@pytest.mark.filterwarnings("ignore::valuegrad.PathsWarning")
@pytest.mark.parametrize(("work", "rounds"), WORK, ids=[work.__name__ for work, _ in WORK])
def test_no_block_is_left_behind(work: Callable[[], None], rounds: int) -> None:
    rounds = min(rounds, 200)  # a block that each leaves behind is seen; the process's size takes more
    for _ in range(rounds):  # until the free lists of optree and Python are as long as they become
        work()
    left = []
    for _ in range(3):  # what leaks does so each time; a free list that grows once more does not
        gc.collect()
        before, references = sys.getallocatedblocks(), sys.getrefcount(LEAF)
        for _ in range(rounds):
            work()
        gc.collect()
        left.append((sys.getallocatedblocks() - before, sys.getrefcount(LEAF) - references))
        if left[-1][0] < 150 + rounds // 20 and left[-1][1] < 5:
            return
    raise AssertionError(f"blocks and references left behind by {rounds} rounds: {left}")


def measure(scale: int) -> list[int]:
    """Bytes that the process grows by, for each kind of work, and for programs that are kept."""
    import warnings

    warnings.simplefilter("ignore")
    found = []
    kept: list[Any] = []

    def keeping() -> None:
        kept.append(vg.compile(lambda x, y: f(x, y) + 1.0))
        kept[-1](1.0, 2.0)

    for work, rounds in [*WORK, (keeping, 300)]:
        for _ in range(rounds // 5 + 20):
            work()
        gc.collect()
        before = resident()
        for _ in range(scale * rounds):
            work()
        gc.collect()
        found.append(resident() - before)
    return found


def grown(scale: int) -> list[int]:
    resident()  # skips where it cannot be read
    command = [sys.executable, __file__, str(scale)]
    found: list[int] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return found


def test_the_process_does_not_grow() -> None:
    *sizes, kept = grown(1)
    assert kept > 2e6, "programs that are kept would not be seen"
    assert max(sizes) < 1.5e6, sizes


@pytest.mark.soak
def test_the_process_does_not_grow_over_thousands_of_programs() -> None:
    *sizes, _ = grown(20)
    assert max(sizes) < 3e6, sizes


# ------------------------------------------------------------------------------------------------- linear growth
def straight(n: int) -> Callable[[list[Any]], Any]:
    def function(x: list[Any]) -> Any:
        a, b = x
        for _ in range(n // 4):
            a, b = vg.sin(a) * b, a + b * 0.5
        return a + b

    return function


def chain(n: int) -> Callable[[list[Any]], Any]:
    def function(x: list[Any]) -> Any:
        s = x[0]
        for _ in range(n // 2):
            s = s * x[0] + x[1]
        return s

    return function


def wide(n: int) -> Callable[[list[Any]], Any]:
    return lambda x: vg.sum([x[0] * (0.001 * i) + x[1] for i in range(n)])


def branching(n: int) -> Callable[[list[Any]], Any]:
    def function(x: list[Any]) -> Any:
        s = x[0]
        for i in range(n // 4):
            s = vg.where(s < x[1], s + 0.01 * i, s - 1.0) if s < 1000 else s
        return s

    return function


def logits(n: int) -> Callable[[list[Any]], Any]:
    return lambda x: vg.cross_entropy([x[0] * (i * 0.01) + x[1] for i in range(n)], 1)


SHAPES = {"straight": straight, "chain": chain, "wide": wide, "branching": branching, "logits": logits}


def size(graph: Graph) -> int:
    return len(graph) + len(graph.operands)


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("order", [0, 1, 2])
def test_graphs_and_code_grow_linearly(name: str, order: int) -> None:
    """Counted, not timed: nodes and operands as recorded and as lowered, bytes of code and of a block's numbers."""
    from valuegrad.lower.lowering import lower

    sizes = []
    for n in (1000, 2000, 4000):
        f: Any = SHAPES[name](n)
        for _ in range(order):
            f = (lambda g: lambda x: vg.sum(vg.grad(g)(x)))(f)
        graph = record(lambda x, f=f: f(x), [0.5, 0.25], [False, False], "f()").graph
        lowered = lower(graph, b"\0\0", (), "float64", False)
        code = lowered.code
        sizes.append([size(graph), lowered.operations, code.code_bytes, code.frame_bytes / code.block])
    *graphs, code_bytes, frames = zip(*sizes)
    for small, middle, large in graphs:
        assert large - middle <= 2.2 * (middle - small) + 0.02 * small
    for small, _, large in (code_bytes, frames):  # a second, longer copy for many blocks may come in between
        assert large <= 3 * 4 * small + 64


def test_what_is_known_of_constants_is_spread_over_its_table() -> None:
    """Numbers that differ in their upper bits alone are found as fast as any: 20 times as slow otherwise.

    How fast is not timed here: what is asked of the table is counted by the processor's clock, relative to others.
    """
    import time

    from valuegrad import transforms

    def seconds(number: Callable[[int], float]) -> float:
        nodes = Nodes(1)
        products = [nodes.add("mul", [0, nodes.const(number(i))]) for i in range(100_000)]
        graph = nodes.graph([nodes.add("sum", products)])
        times = []
        for _ in range(3):
            begin = time.process_time()
            transforms.machine(graph)
            times.append(time.process_time() - begin)
        return min(times)

    usual = seconds(lambda i: i + 1 / 3)
    assert seconds(lambda i: (i % 64 + 64) * 2.0 ** (i // 64 % 1000 - 500)) < 5 * usual + 0.01


@pytest.mark.parametrize("name", ["logsumexp", "cross_entropy", "softmax", "log_softmax"])
def test_gradients_of_wide_families_are_the_engines(name: str) -> None:
    f = {
        "logsumexp": vg.logsumexp,
        "cross_entropy": lambda x: vg.cross_entropy(x, 7),
        "softmax": lambda x: vg.softmax(x)[7],
        "log_softmax": lambda x: vg.log_softmax(x)[7],
    }[name]
    for n in (100, 128, 129, 300):
        x = np.random.default_rng(n).normal(size=n).tolist()
        value, gradient = vg.value_and_grad(f)(x)
        program = vg.compile(f, strict=True)
        assert program.value_and_grad(x) == (value, (gradient,))
        direction = x[::-1]
        product = vg.hvp(f, (x,), (direction,))
        found = vg.hvp(program, (x,), (direction,))
        assert np.allclose(found, product, rtol=1e-9, atol=1e-15)


@pytest.mark.soak
@pytest.mark.parametrize("name", ["straight", "chain", "wide"])
def test_a_million_operations(name: str) -> None:
    f = SHAPES[name](1_000_000 if name != "wide" else 300_000)
    program = vg.compile(lambda x, y: f([x, y]))
    value, _ = program.value_and_grad(0.5, 0.25)
    assert program(np.array([0.5]), 0.25)[0] == pytest.approx(value, rel=1e-9)


if __name__ == "__main__":
    assert ENGINE == "native"
    print(json.dumps(measure(int(sys.argv[1]))))
