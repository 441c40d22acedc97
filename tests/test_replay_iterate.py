"""Code.iterate: the steps in compiled code against one run after another, bit for bit."""

from __future__ import annotations

import _thread
import random
import signal
import threading
import time
from itertools import chain
from typing import Any

import numpy as np
import pytest
from engines import ONCE, needs_passes
from plain_programs import EXACT, random_graph

import valuegrad as vg
from valuegrad import iteration
from valuegrad.errors import ShapeError, ValueArgumentError, ValueTypeError
from valuegrad.graph import Graph, Guard, Nodes
from valuegrad.lower.readable import ReadableCode

replay = pytest.importorskip("valuegrad._replay")
pytestmark = ONCE

CODES = [("interpreter", False), ("auto", False), ("auto", True)]  # backend, and whether the readable code runs


def made(graph: Graph, uniform: list[int], dtype: str, backend: str, readable: bool) -> Any:
    nodes = np.array([guard.node for guard in graph.guards], dtype=np.int32)
    expected = np.array([guard.expected for guard in graph.guards], dtype=np.uint8)
    arrays = graph.ops, graph.starts, graph.operands, graph.numbers, graph.outputs, nodes, expected
    kind = ReadableCode if readable else replay.Code
    return kind(*arrays, np.array(uniform, dtype=np.uint8), dtype=dtype, strict=True, backend=backend)


def one_by_one(code: Any, n: int, size: int, steps: int, inputs: list[Any], uniform: list[int], dtype: str) -> Any:
    """The last state, the extras of all steps and how many were done, by run(); inputs have the steps first."""
    state, rows = [x[0].copy() for x in inputs[:size]], []
    for step in range(steps):
        outputs = [np.empty(1 if same else n, dtype=dtype) for same in code.uniform_outputs]
        if code.run(n, [*state, *[x[step] for x in inputs[size:]]], outputs) is not None:
            return state, rows, step
        state = [x if same else np.broadcast_to(x, n).copy() for x, same in zip(outputs[:size], uniform)]
        rows.append(outputs[size:])
    return state, rows, steps


def all_at_once(code: Any, n: int, size: int, steps: int, inputs: list[Any], uniform: list[int], dtype: str) -> Any:
    """The same, by iterate()."""
    packed = np.array([x[0][0] for x, same in zip(inputs, uniform) if same], dtype=dtype)
    arrays = [x[0] for x, same in zip(inputs[:size], uniform) if not same]
    state = np.array(arrays, dtype=dtype).reshape(len(arrays), n)
    lanes = [x[:steps] for x, same in zip(inputs[size:], uniform[size:]) if not same]
    first = sum(uniform[:size])
    further = [x[:steps] for x, same in zip(inputs[size:], uniform[size:]) if same]
    rows = [(first + i, x) for i, x in enumerate(further)]
    same_out = code.uniform_outputs.astype(bool)[size:]
    own = np.empty((steps, int(same_out.sum())), dtype=dtype)
    extras = [np.empty((steps, n), dtype=dtype) for same in same_out if not same]
    done = code.iterate(n, steps, size, packed, state, lanes, rows, own, extras)
    numbers, several = iter(packed.reshape(-1, 1)), iter(state)
    found = [next(numbers) if same else next(several) for same in uniform[:size]]
    columns, arrays = iter(own.T), iter(extras)
    filled = [next(columns).reshape(-1, 1) if same else next(arrays) for same in same_out]
    return found, [[x[step] for x in filled] for step in range(done)], done


def assert_same(a: Any, b: Any) -> None:
    assert a[2] == b[2]
    for x, y in zip([*a[0], *chain(*a[1])], [*b[0], *chain(*b[1])]):
        assert x.tobytes() == y.tobytes()


@pytest.mark.parametrize(("backend", "readable"), CODES)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_random_programs_give_what_single_runs_give(dtype: str, backend: str, readable: bool) -> None:
    rng = random.Random(8)
    numbers = np.random.default_rng(8)
    for _ in range(6 if readable else 40):
        size, steps, n = rng.randint(0, 3), rng.choice([0, 1, 2, 7]), rng.choice([1, 7, 8, 33])
        graph = random_graph(rng, 5, 25, EXACT)
        uniform = [0] * size + [rng.randint(0, 1) for _ in range(5 - size)]
        code = made(graph, uniform, dtype, backend, readable)
        inputs = [numbers.normal(size=(max(steps, 1), 1 if same else n)).astype(dtype) for same in uniform]
        size = min(size, len(graph.outputs))
        assert_same(*[f(code, n, size, steps, inputs, uniform, dtype) for f in (one_by_one, all_at_once)])


@pytest.mark.parametrize(("backend", "readable"), CODES)
def test_a_state_that_is_the_same_for_all_lanes_beside_one_of_lanes(backend: str, readable: bool) -> None:
    nodes = Nodes(4)  # a number, lanes, lanes that become a number in the step, an input of lanes
    scaled = nodes.add("mul", [1, 0])
    moved = nodes.add("add", [scaled, 3])
    total = nodes.add("batch_sum", [moved])
    graph = nodes.graph([nodes.add("tanh", [0]), moved, nodes.add("neg", [0]), nodes.add("mul", [2, 3]), total])
    inputs = [np.random.default_rng(9).normal(size=(5, 1 if same else 19)) for same in (1, 0, 0, 0)]
    code = made(graph, [1, 0, 0, 0], "float64", backend, readable)
    assert code.uniform_outputs.tolist() == [1, 0, 1, 0, 1]
    assert_same(*[f(code, 19, 3, 5, inputs, [1, 0, 0, 0], "float64") for f in (one_by_one, all_at_once)])


@pytest.mark.parametrize(("backend", "readable"), CODES)
@pytest.mark.parametrize("fails_at", [0, 1, 4, 5, 9])
@pytest.mark.parametrize("same", [0, 1])
def test_a_guard_stops_before_its_step(fails_at: int, same: int, backend: str, readable: bool) -> None:
    nodes = Nodes(2)
    big = nodes.add("lt", [nodes.const(8.0), 1])
    graph = nodes.graph([nodes.add("add", [0, 1]), nodes.add("mul", [0, 1])], [Guard(big, False, "")])
    inputs = [np.ones((9, 1 if same else 13)), np.random.default_rng(3).uniform(1, 2, size=(9, 1 if same else 13))]
    if fails_at < 9:
        inputs[1][fails_at, -1] = 9.0
    code = made(graph, [same, same], "float64", backend, readable)
    found = all_at_once(code, 13, 1, 9, inputs, [same, same], "float64")
    assert found[2] == fails_at
    assert_same(found, one_by_one(code, 13, 1, 9, inputs, [same, same], "float64"))


def test_threads_and_several_callers_change_nothing() -> None:
    nodes = Nodes(2)
    x = nodes.add("add", [nodes.add("mul", [0, nodes.const(0.99)]), 1])
    for _ in range(60):
        x = nodes.add("tanh", [nodes.add("add", [x, 1])])
    code = made(nodes.graph([x, nodes.add("batch_sum", [x])]), [0, 0], "float64", "auto", False)
    first, kicks = np.random.default_rng(1).normal(size=(1, 20_000)), np.random.default_rng(2).normal(size=(6, 20_000))

    def result(threads: int) -> bytes:
        state, own = first.copy(), np.empty((6, 1))
        assert code.iterate(20_000, 6, 1, np.empty(0), state, [kicks], [], own, [], threads) == 6
        return state.tobytes() + own.tobytes()

    expected, found = result(1), []
    callers = [threading.Thread(target=lambda: found.append(result(2))) for _ in range(3)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert found == [expected] * 3


def test_arrays_that_do_not_fit_are_refused() -> None:
    nodes = Nodes(3)  # a state of lanes, a number, lanes
    graph = nodes.graph([nodes.add("add", [0, nodes.add("mul", [1, 2])]), nodes.add("neg", [1]), nodes.add("exp", [2])])
    code = made(graph, [0, 1, 0], "float64", "auto", False)

    def call(**changed: Any) -> int:
        given = {
            "n": 4, "steps": 3, "size": 1, "uniform": np.ones(1), "state": np.ones((1, 4)), "lanes": [np.ones((3, 4))],
            "rows": [(0, np.ones((3, 1)))], "own": np.empty((3, 1)), "extras": [np.empty((3, 4))], **changed,
        }  # fmt: skip
        return code.iterate(*given.values())

    assert call() == 3
    assert call(lanes=[np.ones(4)], rows=[]) == 3
    assert call(lanes=[np.ones((6, 4))[::2]]) == 3
    frozen = np.ones((1, 4))
    frozen.flags.writeable = False
    wrong = [
        ({"n": -1}, ValueArgumentError), ({"steps": -1}, ValueArgumentError), ({"size": 4}, ValueArgumentError),
        ({"size": -1}, ValueArgumentError), ({"uniform": np.ones(2)}, ShapeError),
        ({"own": np.empty(3)}, ValueTypeError),
        ({"state": np.ones(4)}, ValueTypeError), ({"state": frozen}, ValueTypeError), ({"lanes": []}, ShapeError),
        ({"lanes": [np.ones((2, 4))]}, ShapeError), ({"lanes": [np.ones((3, 4), "f")]}, ValueTypeError),
        ({"lanes": [np.ones((3, 8))[:, ::2]]}, ValueArgumentError), ({"rows": [(1, np.ones((3, 1)))]}, ShapeError),
        ({"rows": [(-1, np.ones((3, 1)))]}, ShapeError), ({"rows": [(0, np.ones((2, 1)))]}, ShapeError),
        ({"rows": [(0, np.ones(3))]}, ShapeError), ({"rows": [(0, [1.0])]}, ShapeError),
        ({"own": np.empty((3, 2))}, ShapeError), ({"state": np.ones((2, 4))}, ShapeError),
        ({"extras": []}, ShapeError), ({"extras": [np.empty((3, 5))]}, ShapeError),
        ({"threads": 0}, ValueArgumentError),
    ]  # fmt: skip
    for changed, error in wrong:
        with pytest.raises(error):
            call(**changed)
    leaves_lanes = made(graph, [1, 1, 0], "float64", "auto", False)
    none = np.ones((0, 4))
    with pytest.raises(ValueArgumentError, match=r"Code.iterate\(\) got input 0, uniform, for an output of the lanes"):
        leaves_lanes.iterate(4, 0, 1, np.ones(2), none, [np.ones(4)], [], np.empty((0, 1)), [none])


# -------------------------------------------------------------------------------------------- Program.iterate
def test_steps_that_fail_a_guard_follow_their_own_path() -> None:
    @vg.compile(strict=True)
    def collatz(x, added):
        return (x / 2 if vg.mod(x, 2.0) == 0 else 3 * x + added), x

    x, seen = 27.0, []
    for _ in range(300):
        seen.append(x)
        x, _ = collatz.function(x, 1.0)
    found, rows = collatz.iterate(27.0, (1.0,), steps=300)
    assert found == x
    assert rows.tolist() == seen
    assert len(collatz.graph.paths) == 2


@pytest.mark.parametrize("beyond_one_path", [False, True])
def test_lanes_that_leave_in_the_middle(beyond_one_path: bool) -> None:
    def plain(state, u):
        a, count = state
        left = a < 3
        return np.where(left, a * 0.5 + u, a - u * 2.0 + 0.5), np.where(left, count + 1.0, count)

    f = vg.compile(lambda s, u, w: ((s[0] * 0.5 + u, s[1] + 1.0) if s[0] < 3 else (s[0] - u * w[0] + w[1], s[1])),
                   strict=True, vectors="w", max_paths=1 if beyond_one_path else 64)  # fmt: skip
    u = np.random.default_rng(5).uniform(0, 1.7, size=(400, 3))
    state = np.array([0.0, 1.0, 2.0]), np.zeros(3)
    expected = state
    for row in u:
        expected = plain(expected, row)
    w = np.tile([2.0, 0.5], (400, 1))  # an array for each step, which all lanes see as a whole
    if beyond_one_path:
        with pytest.warns(vg.PathsWarning):
            found = f.iterate(state, (u, w))
    else:
        found = f.iterate(state, (u, w))
    assert [x.tolist() for x in found] == [x.tolist() for x in expected]
    assert found[1].min() < 400


@needs_passes
def test_an_index_beyond_its_list_is_refused_at_any_step() -> None:
    f = vg.compile(lambda x, i: x + vg.take([1.0 * x, 2.0 * x], i))
    good = np.array([0, 1, -1, -2] * 5)
    x = 1.0
    for i in good.tolist():
        x += (x, 2 * x)[i]
    assert f.iterate(1.0, (good,)) == x
    good[13] = 2
    with pytest.raises(IndexError):
        f.iterate(1.0, (good,))


def test_an_interrupt_is_heard_between_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    f = vg.compile(lambda x: x * 0.5 + 1.0)
    f.iterate(1.0, steps=5)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a run in the background begins ignoring it
    timer = threading.Timer(0.3, _thread.interrupt_main)
    timer.start()
    began = time.perf_counter()
    with pytest.raises(KeyboardInterrupt):
        f.iterate(1.0, steps=2**34)
    assert time.perf_counter() - began < 20
    timer.join()
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("chunk", [1, 3, 1000])
def test_how_many_steps_go_at_once_changes_nothing(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(iteration, "FIRST_CHUNK", chunk)
    f = vg.compile(lambda s, u: (vg.sin(s) + u, s))
    u = np.random.default_rng(5).normal(size=(50, 4))
    state, rows = f.iterate(np.ones(4), (u,))
    one, expected = np.ones(4), []
    for row in u:
        expected.append(one.tolist())
        one, _ = f(one, row)
    assert rows.tolist() == expected
    assert state.tolist() == one.tolist()
