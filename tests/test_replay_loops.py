"""Loops over members of lowered programs, packed runs and threads: as the readable code, bit for bit."""

from __future__ import annotations

import gc
import os
import random
import subprocess
import sys
import threading
from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import pytest
from engines import ONCE
from plain_programs import EXACT, TWO, bits, code_of

from valuegrad.graph import Graph, Guard, Nodes
from valuegrad.lower.readable import LONG_PROGRAM, ReadableCode
from valuegrad.primitives.opcodes import OPCODE

replay = pytest.importorskip("valuegrad._replay")
pytestmark = ONCE

BACKENDS = ["interpreter", "auto"]
DTYPES = ["float64", "float32"]


def readable(graph: Graph, uniform: Sequence[int], dtype: str) -> ReadableCode:
    nodes, expected = [g.node for g in graph.guards], [g.expected for g in graph.guards]
    arrays = graph.ops, graph.starts, graph.operands, graph.numbers, graph.outputs, nodes, expected
    return ReadableCode(*arrays, np.array(uniform, dtype=np.uint8), dtype=dtype, calls=graph.calls)


def packed(code: Any, n: int, numbers: Any, lanes: Sequence[Any], threads: int = 1) -> tuple[Any, list[Any], Any]:
    """The uniform outputs, the others, and the failures."""
    same = np.array(code.uniform_outputs, dtype=bool)
    own = np.full(int(same.sum()), 77.0, dtype=code.dtype)
    others = [np.full(n, 77.0, dtype=code.dtype) for _ in range(int((~same).sum()))]
    with np.errstate(all="ignore"):
        failed = code.run_packed(n, numbers.copy(), [x.copy() for x in lanes], own, others, threads)
    return own, others, None if failed is None else failed.tolist()


def assert_as_readable(graph: Graph, uniform: Sequence[int], n: int, dtype: str, backend: str, seed: int = 0) -> Any:
    """The same bits on either; the compiled program."""
    rng = np.random.default_rng(seed)
    numbers = rng.normal(size=sum(uniform)).astype(dtype)
    lanes = [rng.normal(size=n).astype(dtype) for one in uniform if not one]
    code = code_of(graph, uniform, dtype=dtype, strict=True, backend=backend)
    own, others, failed = packed(code, n, numbers, lanes)
    wanted_own, wanted_others, wanted_failed = packed(readable(graph, uniform, dtype), n, numbers, lanes)
    assert failed == wanted_failed
    if failed is not None and min(failed) >= 0:
        return code  # nobody passed: outputs mean nothing
    assert bits(own, dtype) == bits(wanted_own, dtype)
    for have, want in zip(others, wanted_others):
        assert bits(have, dtype) == bits(want, dtype)
    single = iter(numbers.reshape(-1, 1)), iter(lanes)  # the same by run(), and again: nothing is left behind
    inputs = [next(single[0]) if one else next(single[1]) for one in uniform]
    outputs = [np.empty(1 if one else n, dtype) for one in code.uniform_outputs]
    code.run(n, inputs, outputs)
    assert bits(np.concatenate([x for x, one in zip(outputs, code.uniform_outputs) if one] or [own]), dtype) == bits(
        own, dtype
    )
    assert bits(packed(code, n, numbers, lanes)[0], dtype) == bits(own, dtype)
    return code


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_begins_a_sum_alike_in_all_lanes_is_added_before_them(backend: str) -> None:
    a, b, c, x = range(4)
    nodes = Nodes(4)
    sums = [nodes.add("sum", terms) for terms in ([a, b, c, x, a], [a, x, b, c], [x, a, b], [a, b], [], [b, b, x])]
    is_small = nodes.add("lt", [sums[0], nodes.const(100.0)])
    totals = [nodes.add("batch_sum", [node]) for node in sums]
    graph, uniform = nodes.graph([*sums, *totals, x], [Guard(is_small, True, "here")]), [1, 1, 1, 0]
    code = assert_as_readable(graph, uniform, 21, "float64", backend)
    ops, starts = code.segment(1)[:2]
    assert sorted(np.diff(starts)[ops == OPCODE["sum"]].tolist()) == [2, 3, 3, 4]
    zeros = np.full(3, -0.0), [np.array([-0.0, 0.0, np.inf])]
    for found, expected in zip(packed(code, 3, *zeros)[1], packed(readable(graph, uniform, "float64"), 3, *zeros)[1]):
        assert bits(found) == bits(expected)


class Parameters:
    """A program with one lane input and `members` parameters, each with a momentum: their inputs, and a sum each."""

    def __init__(self, members: int, shuffled: bool = False) -> None:
        self.nodes = Nodes(2 + 2 * members)
        self.uniform = [0, 1] + [1] * (2 * members)
        order = random.Random(members).sample(range(members), members) if shuffled else list(range(members))
        self.weights = [2 + i for i in order]
        self.memory = [2 + members + i for i in range(members)]
        self.rate = self.nodes.add("mul", [1, 1])
        self.decay, self.small = self.nodes.const(0.9), self.nodes.const(1e-3)
        products = [self.nodes.add("mul", [0, w]) for w in self.weights]
        self.sums = [self.nodes.add("batch_sum", [p]) for p in products]

    def moved(self, i: int) -> list[int]:
        """A member's operations: eight of them."""
        add = self.nodes.add
        memory = add("add", [add("mul", [self.memory[i], self.decay]), self.sums[i]])
        root = add("sqrt", [add("abs", [memory])])
        step = add("div", [add("mul", [self.rate, memory]), add("add", [root, self.small])])
        return [add("sub", [self.weights[i], step]), memory]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("members", [15, 16, 17, 31, 2003])
def test_an_optimiser_over_many_parameters_is_a_loop(members: int, dtype: str, backend: str) -> None:
    p = Parameters(members, shuffled=members % 2 == 1)
    found = [p.moved(i) for i in range(members)]
    graph = p.nodes.graph([pair[0] for pair in found] + [pair[1] for pair in found])
    code = assert_as_readable(graph, p.uniform, 21, dtype, backend)
    _, loops = code.instructions
    assert [count for count, _ in loops] == ([] if members < 16 else [members])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_several_loops_with_constants_of_their_own(dtype: str, backend: str) -> None:
    p = Parameters(900, shuffled=True)
    outputs = []
    for i in range(900):
        if i % 3 == 0:
            outputs += p.moved(i)
        elif i % 3 == 1:
            outputs.append(p.nodes.add("maximum", [p.sums[i], p.weights[i], p.rate]))
        else:  # a shape of its own: the number is a part of it
            outputs.append(p.nodes.add("round", [p.nodes.add("mul", [p.sums[i], p.sums[i - 2]])], i % 2))
    graph = p.nodes.graph(outputs[::-1] + outputs[:5])
    _, loops = assert_as_readable(graph, p.uniform, 21, dtype, backend).instructions
    assert sorted(count for count, _ in loops) == [150, 150, 300, 300]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_loops_that_need_one_another_are_right(dtype: str, backend: str) -> None:
    p = Parameters(400)
    first = [p.moved(i)[0] for i in range(400)]
    length = p.nodes.add("sqrt", [p.nodes.add("sum", [p.nodes.add("mul", [w, w]) for w in first])])
    factor = p.nodes.add("minimum", [p.nodes.const(1.0), p.nodes.add("div", [p.nodes.const(1.0), length])])
    second = [p.nodes.add("mul", [p.nodes.add("exp", [w]), factor]) for w in first]
    graph = p.nodes.graph([*second, length, *first[::3]], [Guard(p.nodes.add("lt", [factor, length]), True, "")])
    code = assert_as_readable(graph, p.uniform, 40, dtype, backend)
    assert len(code.instructions[1]) <= 2


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("outcome", [True, False])
def test_guards_on_members_and_on_what_follows_them(outcome: bool, dtype: str, backend: str) -> None:
    p = Parameters(64)
    found = [p.moved(i) for i in range(64)]
    add = p.nodes.add
    guards = [
        Guard(add("lt", [found[5][0], p.nodes.const(1e9)]), True, ""),
        Guard(add("lt", [add("sum", [w for w, _ in found]), p.nodes.const(1e9)]), outcome, ""),
        Guard(add("lt", [0, p.nodes.const(0.0)]), False, ""),
        Guard(found[7][1], True, ""),
    ]
    assert_as_readable(p.nodes.graph([w for w, _ in found], guards), p.uniform, 19, dtype, backend)


def copies(rng: random.Random, lists: Sequence[str]) -> tuple[Graph, list[int]]:
    """A program of some random shapes of a few operations, each copied many times over inputs of its own."""
    shapes, columns = rng.randint(1, 4), rng.randint(1, 4)
    members = [rng.choice([3, 16, 50, 131]) for _ in range(shapes)]
    own = sum(members) * columns
    nodes = Nodes(3 + own)
    uniform = [0, 1, 1] + [1] * own
    total = nodes.add("batch_sum", [nodes.add("mul", [0, 1])])
    shared = [1, 2, total, nodes.const(rng.uniform(-2, 2)), nodes.add("lanes")]
    at, pending = 3, []
    for count in members:
        recipe = []
        for step in range(rng.randint(1, 12)):
            op = rng.choice([*EXACT, *lists, "select"])
            arity = {"sum": 3, "dot": 4, "select": 3}.get(op, 2 if op in TWO else 1)
            recipe.append((op, [rng.randrange(-columns - len(shared), step) for _ in range(arity)], float(step)))
        inputs = list(range(at, at + count * columns))
        at += count * columns
        if rng.random() < 0.5:
            rng.shuffle(inputs)
        pending += [(recipe, inputs[m::count]) for m in range(count)]
    if rng.random() < 0.5:
        rng.shuffle(pending)  # members of all loops in any order
    outputs: list[int] = []
    for recipe, inputs in pending:
        made: list[int] = []
        outside = [*shared, *inputs]
        for op, operands, number in recipe:
            ids = [made[k] if k >= 0 else outside[k] for k in operands]
            made.append(nodes.add(op, ids, 2.0 if op == "round" else number if op == "const" else 0.0))
        outputs += [made[-1], rng.choice(made)] if rng.random() < 0.98 else [rng.choice(made)]
    crossing = [nodes.add("sub", rng.sample(outputs, 2)) for _ in range(rng.choice([0, 0, 20]))]
    guards = [Guard(rng.choice(outputs), rng.random() < 0.5, "") for _ in range(rng.randint(0, 2))]
    return nodes.graph([*rng.sample(outputs, len(outputs)), *crossing], guards), uniform


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_random_copies(dtype: str, backend: str) -> None:
    rng, loops = random.Random(11), 0
    for round_ in range(40):
        # The readable code rounds a list's sum to float32 once, at its end.
        graph, uniform = copies(rng, ["sum", "dot"] if dtype == "float64" else [])
        loops += len(assert_as_readable(graph, uniform, rng.choice([1, 5, 17]), dtype, backend, round_).instructions[1])
    assert loops > 20


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_call_of_one_lane_runs_the_loops_too(backend: str) -> None:
    p = Parameters(40)
    found = [p.moved(i) for i in range(40)]
    graph = p.nodes.graph([w for w, _ in found])
    numbers = [random.Random(2).uniform(-2, 2) for _ in p.uniform]
    code = code_of(graph, p.uniform, strict=True, backend=backend)
    expected = readable(graph, p.uniform, "float64").call(tuple(numbers))
    for _ in range(3):  # nothing is left behind in the sums
        assert code.call(tuple(numbers)) == expected


# ------------------------------------------------------------------------------------------------- threads
def long_program(length: int, sums: int) -> tuple[Graph, list[int]]:
    """Of a lane and a number: `length` operations, and sums over the lanes of some."""
    rng = random.Random(length)
    nodes = Nodes(2)
    ids = [0, 1, nodes.add("mul", [0, 1])]
    for _ in range(length - 1):
        a, b = rng.choice(ids[-20:]), rng.choice(ids[-20:])
        scaled = rng.choice(["add", "sub", "maximum", "minimum"])
        ids.append(nodes.add(scaled, [a, b]) if rng.random() < 0.9 else nodes.add("sin", [a]))
    picked = rng.sample(ids[2:], sums)
    last = nodes.add("add", [ids[-1], 0])
    return nodes.graph([nodes.add("batch_sum", [node]) for node in picked] + [last]), [0, 1]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("length", "sums"), [(600, 30), (LONG_PROGRAM - 2, 30), (LONG_PROGRAM + 100, 30), (LONG_PROGRAM + 100, 400)]
)
def test_sums_of_long_and_short_programs_are_one_tree(length: int, sums: int, dtype: str) -> None:
    graph, uniform = long_program(length, sums)
    rng = np.random.default_rng(4)
    codes = [code_of(graph, uniform, dtype=dtype, strict=True, backend=backend) for backend in BACKENDS]
    plain = readable(graph, uniform, dtype)
    several = (1, 9, 64, 300) if length > 1000 else (9, 1040, 2100)
    for n in (300, 1040) if sums > 100 else several:
        numbers, lanes = rng.normal(size=1).astype(dtype), [rng.normal(size=n).astype(dtype)]
        want_own, _, _ = packed(plain, n, numbers, lanes)
        for code, threads in product(codes, (1, 2, 3, 16)):
            own, _, _ = packed(code, n, numbers, lanes, threads)
            assert bits(own, dtype) == bits(want_own, dtype), (code.backend, n, threads)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [7, 9, 17, 24, 40, 100, 530])
def test_where_sums_are_cut_does_not_depend_on_how_many_vectors_machine_code_computes_at_once(
    n: int, dtype: str
) -> None:
    nodes = Nodes(inputs=1)
    x, before = nodes.add("sin", [0]), 0
    for k in range(LONG_PROGRAM):  # few numbers are in use at once, so several vectors of them fit
        x, before = nodes.add("maximum", [x, before]) if k % 3 else nodes.add("sub", [0, x]), x
    graph = nodes.graph([nodes.add("batch_sum", [node]) for node in (x, before)])
    lanes = [np.random.default_rng(n).normal(size=n).astype(dtype)]
    expected = bits(packed(readable(graph, [0], dtype), n, np.empty(0, dtype), lanes)[0], dtype)
    for backend in BACKENDS:
        code = code_of(graph, [0], dtype=dtype, strict=True, backend=backend)
        assert bits(packed(code, n, np.empty(0, dtype), lanes)[0], dtype) == expected, backend


def test_many_python_threads_share_the_helping_ones() -> None:
    graph, uniform = long_program(LONG_PROGRAM + 100, 50)
    codes = [code_of(graph, uniform) for _ in range(3)]
    lanes = np.random.default_rng(1).normal(size=4000)
    number = np.array([0.5])
    expected = bits(packed(codes[0], 4000, number, [lanes])[0])
    wrong: list[int] = []

    def work(i: int) -> None:
        for k in range(12):
            if bits(packed(codes[(i + k) % 3], 4000, number, [lanes], 1 + (i + k) % 5)[0]) != expected:
                wrong.append(i)

    callers = [threading.Thread(target=work, args=(i,)) for i in range(6)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert not wrong


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_process_has_helping_threads_of_its_own() -> None:
    program = """
import os, sys, threading
import numpy as np
sys.path[:0] = sys.argv[1:]
from test_replay_loops import code_of, long_program, packed
graph, uniform = long_program(6000, 50)
code, lanes, number = code_of(graph, uniform), np.random.default_rng(1).normal(size=4000), np.array([0.5])
def result():
    return packed(code, 4000, number, [lanes], 3)[0].tobytes()
expected = result()
stop = threading.Event()
others = [threading.Thread(target=lambda: [result() for _ in iter(stop.is_set, True)]) for _ in range(2)]
for other in others:
    other.start()
for _ in range(15):  # while others run
    child = os.fork()
    if child == 0:
        os._exit(0 if result() == expected and result() == expected else 1)
    assert os.waitpid(child, 0)[1] == 0
stop.set()
for other in others:
    other.join()
assert result() == expected
print("done")
"""
    found = subprocess.run(
        [sys.executable, "-c", program, *sys.path], capture_output=True, text=True, timeout=300, check=False
    )
    assert found.stdout == "done\n", found.stderr


def test_memory_is_given_back_with_the_program() -> None:
    def resident() -> int:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * 4096

    if not os.path.exists("/proc/self/statm") or "libasan" in os.environ.get("LD_PRELOAD", ""):
        pytest.skip("no resident memory to read, or freed memory is kept for a while")

    def use() -> None:
        p = Parameters(300)
        found = [p.moved(i) for i in range(300)]
        code = code_of(p.nodes.graph([w for w, _ in found]), p.uniform)
        numbers, lane = np.ones(601), np.ones(40_000)
        packed(code, 40_000, numbers, [lane], 3)
        state, own = np.empty((0, 40_000)), np.empty((5, 300))
        assert code.iterate(40_000, 5, 0, numbers, state, [lane], [], own, [], 3) == 5

    for _ in range(20):
        use()
    gc.collect()
    before = resident()
    for _ in range(50):  # each makes more than 500 kB
        use()
    assert resident() - before < 8e6
