"""Machine code against the interpreter, bit for bit: random programs, both modes, both types, AVX-512 and AVX2."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from engines import ONCE

from valuegrad.graph import Graph, Guard, Nodes

replay = pytest.importorskip("valuegrad._replay")

pytestmark = ONCE  # no engine computes here
ISAS = ["avx512", "avx2"]
MODES = [(dtype, strict) for dtype in ("float64", "float32") for strict in (False, True)]
SPECIAL = [0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 2.5, math.inf, -math.inf, math.nan]
SPECIAL += [5e-324, 1e-310, 1e-45, 1e-40, 1e308, -1e308, 3e38]
BINARY = ["add", "sub", "mul", "div"]
UNARY = ["sqrt", "neg", "abs", "floor", "ceil", "trunc", "round"]
CONDITIONS = ["lt", "le", "eq", "and", "or", "not"]
LISTS = ["sum", "prod", "maximum", "minimum", "norm", "dot"]
CALLS = ["exp", "sin", "tanh", "log1p", "power", "atan2", "hypot", "lgamma", "mod", "erf", "round"]
OPERANDS = {"not": 1, "select": 3, "power": 2, "atan2": 2, "hypot": 2, "mod": 2}


@pytest.fixture(autouse=True, params=ISAS)
def isa(request: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each test runs with either instruction set; where there is no AVX-512, the first run is AVX2 as well."""
    monkeypatch.setenv("VALUEGRAD_ISA", request.param)
    nodes = Nodes(inputs=1)
    if code(nodes.graph([nodes.add("neg", [0])]), [0], "float64", False, "auto").backend != "jit":
        pytest.skip("this machine's code is not made here")
    return str(request.param)


def code(graph: Graph, uniform: Sequence[int], dtype: str, strict: bool, backend: str) -> Any:
    return replay.Code(
        graph.ops, graph.starts, graph.operands, graph.numbers, graph.outputs,
        np.array([guard.node for guard in graph.guards], np.int32),
        np.array([guard.expected for guard in graph.guards], np.uint8),
        np.array(uniform, np.uint8), dtype=dtype, strict=strict, backend=backend,
    )  # fmt: skip


def run(program: Any, n: int, inputs: list[Any], dtype: str) -> tuple[list[Any], Any]:
    outputs = [np.empty(1 if uniform else n, dtype) for uniform in program.uniform_outputs]
    failed = program.run(n, inputs, outputs)
    return outputs, failed


def assert_same(graph: Graph, uniform: Sequence[int], inputs: list[Any], n: int, dtype: str, strict: bool) -> None:
    """Machine code and interpreter agree in every bit of every output, but for a nan's, and in every guard."""
    assert_agreement(both(graph, uniform, dtype, strict), inputs, n, dtype)


def both(graph: Graph, uniform: Sequence[int], dtype: str, strict: bool) -> list[Any]:
    """A graph as machine code, and for the interpreter."""
    made = [code(graph, uniform, dtype, strict, backend) for backend in ("jit", "interpreter")]
    assert [program.backend for program in made] == ["jit", "interpreter"]
    return made


def assert_agreement(made: list[Any], inputs: list[Any], n: int, dtype: str) -> None:
    (got, failed), (expected, expected_failed) = (run(program, n, inputs, dtype) for program in made)
    assert (failed is None) == (expected_failed is None)
    if failed is not None:
        np.testing.assert_array_equal(failed, expected_failed)
        lanes = failed < 0
    for mine, theirs, is_uniform in zip(got, expected, made[0].uniform_outputs):
        if failed is not None:  # the others mean nothing
            if is_uniform:
                continue
            mine, theirs = mine[lanes], theirs[lanes]
        np.testing.assert_array_equal(mine, theirs)
        np.testing.assert_array_equal(np.signbit(mine[mine == mine]), np.signbit(theirs[mine == mine]))


def numbers(rng: random.Random, n: int, dtype: str) -> Any:
    drawn = [
        rng.choice(SPECIAL) if rng.random() < 0.1 else rng.uniform(-4, 4) * 10 ** rng.randint(-3, 2) for _ in range(n)
    ]
    with np.errstate(over="ignore"):
        return np.array(drawn, np.float64).astype(dtype)


def batch(rng: random.Random, uniform: Sequence[int], n: int, dtype: str) -> list[Any]:
    return [numbers(rng, 1 if one else n, dtype) for one in uniform]


def random_graph(
    rng: random.Random, uniform: Sequence[int], steps: int, window: int, calls: bool, guards: bool = True
) -> Graph:
    """Operands are among the last `window` nodes mostly, so that few or many values are alive at a time."""
    nodes = Nodes(len(uniform))
    constants = [nodes.const(rng.choice([*SPECIAL, 3.0, -7.25, 0.1])) for _ in range(rng.randint(1, 20))]

    def operand() -> int:
        last = len(nodes.ops) - 1
        which = rng.random()
        if which < 0.1:
            return rng.choice(constants)
        return rng.randint(0, last) if which < 0.2 else rng.randint(max(0, last - window), last)

    kinds = [BINARY] * 6 + [UNARY, CONDITIONS, CONDITIONS, ["select"], ["select"], LISTS] + [CALLS] * calls
    found = []
    for _ in range(steps):
        op = rng.choice(rng.choice(kinds))
        if op in LISTS:
            count = rng.choice([1, 2, 3, 4, 7, 40]) * (2 if op == "dot" else 1)
            operands = [operand() for _ in range(count)]
        else:
            operands = [operand() for _ in range(OPERANDS.get(op, 2 if op in (*BINARY, *CONDITIONS) else 1))]
        node = nodes.add(op, operands, float(rng.randint(-2, 3)) if op == "round" else 0.0)
        if op in CONDITIONS or rng.random() < 0.02:
            found.append(node)
    last = len(nodes.ops)
    sums = [nodes.add("batch_sum", [i]) for i in rng.sample(range(last), 3)]
    outputs = [rng.randrange(last) for _ in range(rng.randint(1, 100))]
    few = [Guard(i, rng.random() < 0.5, "") for i in rng.sample(found, min(len(found), 4))] if guards else []
    return nodes.graph(outputs + sums, few)


@pytest.mark.parametrize(("dtype", "strict"), MODES)
@pytest.mark.parametrize("calls", [False, True])
@pytest.mark.parametrize("window", [3, 20, 200, 3000])
def test_random_programs(dtype: str, strict: bool, calls: bool, window: int) -> None:
    rng = random.Random(f"{dtype} {strict} {calls} {window}")
    for steps in (1, 3, 10, 40, 200, 1000, 3000):
        for guards in (False, True):
            uniform = [int(rng.random() < 0.4) for _ in range(rng.choice([1, 3, 10, 300]))]
            n = rng.choice([1, 7, 16, 37, 64, 150])
            graph = random_graph(rng, uniform, steps, window, calls, guards)
            assert_same(graph, uniform, batch(rng, uniform, n, dtype), n, dtype, strict)


@pytest.mark.parametrize(("dtype", "strict"), MODES)
@pytest.mark.parametrize("op", [*LISTS, "add", "mul", "div", "lt", "le", "eq", "and", "or", "atan2", "hypot", "power"])
def test_edges_of_two_and_three_operands(dtype: str, strict: bool, op: str) -> None:
    """All pairs of special numbers, and all triples for operations on lists; each operand a lane's, or for all."""
    count = 3 if op in LISTS and op != "dot" else 2
    grid = np.array(np.meshgrid(*[SPECIAL] * count)).reshape(count, -1)
    with np.errstate(over="ignore"):
        columns = [np.ascontiguousarray(column).astype(dtype) for column in grid]
    n = len(columns[0])
    for uniform in range(1 << count):
        kinds = [uniform >> i & 1 for i in range(count)]
        nodes = Nodes(count)
        made = both(nodes.graph([nodes.add(op, list(range(count)))]), kinds, dtype, strict)
        for at in range(0, n, 97) if any(kinds) else [0]:
            inputs = [column[at : at + 1] if one else column for column, one in zip(columns, kinds)]
            assert_agreement(made, inputs, n, dtype)


@pytest.mark.parametrize(("dtype", "strict"), MODES)
def test_largest_and_smallest_keep_the_first_and_let_a_nan_win(dtype: str, strict: bool) -> None:
    columns = [[0.0, -0.0, math.nan, 1.0, 1.0, math.nan], [-0.0, 0.0, 1.0, math.nan, 2.0, math.nan]]
    nodes = Nodes(2)
    graph = nodes.graph([nodes.add("maximum", [0, 1]), nodes.add("minimum", [0, 1])])
    program = code(graph, [0, 0], dtype, strict, "jit")
    (largest, smallest), _ = run(program, 6, [np.array(column, dtype) for column in columns], dtype)
    np.testing.assert_array_equal(largest, np.array([0, 0, math.nan, math.nan, 2, math.nan]))
    np.testing.assert_array_equal(smallest, np.array([0, 0, math.nan, math.nan, 1, math.nan]))
    for result in (largest, smallest):
        assert np.signbit(result[:2]).tolist() == [False, True]


@pytest.mark.parametrize(("dtype", "strict"), MODES)
@pytest.mark.parametrize("op", ["sum", "prod", "dot"])
def test_lists_without_operands(dtype: str, strict: bool, op: str) -> None:
    nodes = Nodes(1)
    empty = nodes.add(op)
    program = code(nodes.graph([nodes.add("add", [0, empty])]), [0], dtype, strict, "jit")
    (result,), _ = run(program, 3, [np.array([1, -0.0, 3], dtype)], dtype)
    start = 1 if op == "prod" else 0
    assert result.tolist() == [1 + start, start, 3 + start]


@pytest.mark.parametrize(("dtype", "strict"), MODES)
@pytest.mark.parametrize("calls", [False, True])
def test_thousands_of_live_values(dtype: str, strict: bool, calls: bool) -> None:
    """First all squares, then their sum backwards: nearly everything leaves its register and comes back."""
    rng = random.Random(1)
    nodes = Nodes(3)
    live = [0, 1, 2]
    for i in range(4000):
        a, b = rng.choice(live), rng.choice(live)
        op = "atan2" if calls and i % 50 == 0 else rng.choice(["add", "mul", "lt"])
        live.append(nodes.add(op, [a, b]))
    total = nodes.const(0.0)
    for node in reversed(live):
        total = nodes.add("add", [total, node])
    graph = nodes.graph([total, nodes.add("sum", live), nodes.add("dot", live[:2000] + live[2000:4000])])
    inputs = [np.array([rng.uniform(-1, 1) for _ in range(21)], dtype) for _ in range(3)]
    assert_same(graph, [0, 0, 0], inputs, 21, dtype, strict)


@pytest.mark.parametrize(("dtype", "strict"), MODES)
def test_the_first_guard_that_fails_is_reported_in_each_lane(dtype: str, strict: bool) -> None:
    nodes = Nodes(1)
    guards = []
    for i in range(200):
        limit = nodes.const(float(200 - i))
        guards.append(Guard(nodes.add("lt", [0, limit]), True, ""))
        guards.append(Guard(nodes.add("eq", [0, limit]), False, ""))
    graph = nodes.graph([nodes.add("add", [0, 0])], guards)
    program = code(graph, [0], dtype, strict, "jit")
    n = 403
    x = np.arange(n, dtype=dtype) / 2
    _, failed = run(program, n, [x], dtype)
    assert failed.tolist() == [next((k for k, guard in enumerate(guards) if _fails(k, float(v))), -1) for v in x]
    assert_same(graph, [0], [x], n, dtype, strict)
    _, failed = run(program, 5, [np.full(5, -1, dtype)], dtype)
    assert failed is None


def _fails(k: int, x: float) -> bool:
    limit = 200 - k // 2
    return not x < limit if k % 2 == 0 else x == limit


@pytest.mark.parametrize(("dtype", "strict"), MODES)
@pytest.mark.parametrize("n", [1, 2, 5, 8, 9, 15, 16, 17, 31, 100, 1000])
def test_sums_over_lanes(dtype: str, strict: bool, n: int) -> None:
    """Only the lanes that there are count, whatever a lane's number is."""
    rng = random.Random(n)
    nodes = Nodes(2)
    product = nodes.add("mul", [0, 1])
    condition = nodes.add("lt", [0, 1])
    total, count = nodes.add("batch_sum", [product]), nodes.add("batch_sum", [condition])
    graph = nodes.graph([nodes.add("div", [total, nodes.add("lanes")]), count, nodes.add("batch_sum", [1]), product])
    inputs = [np.array([rng.uniform(-9, 9) for _ in range(size)], dtype) for size in (n, 1)]
    assert_same(graph, [0, 1], inputs, n, dtype, strict)
    program = code(graph, [0, 1], dtype, strict, "jit")
    (_, counted, _, _), _ = run(program, n, inputs, dtype)
    assert counted.tolist() == [float(np.sum(inputs[0] < inputs[1]))]


@pytest.mark.parametrize("strict", [False, True])
def test_one_lane_is_as_many(strict: bool) -> None:
    rng = random.Random(7)
    uniform = [0, 0, 1, 0]
    for _ in range(20):
        graph = random_graph(rng, uniform, 60, 20, calls=True, guards=False)
        program = code(graph, uniform, "float64", strict, "jit")
        inputs = batch(rng, uniform, 1, "float64")
        outputs, _ = run(program, 1, inputs, "float64")
        once = program.call(tuple(float(column[0]) for column in inputs))
        np.testing.assert_array_equal([column[0] for column in outputs], once)


def test_a_product_joins_a_dot_unrounded_unless_strict() -> None:
    x = 1.0 + 2.0**-30
    exact = math.ldexp(1.0, -60)
    nodes = Nodes(2)
    minus_one = nodes.const(-1.0 - 2.0**-29)
    graph = nodes.graph([nodes.add("dot", [minus_one, 0, nodes.const(1.0), 1])])
    for strict, expected in ((False, exact), (True, 0.0)):
        (result,), _ = run(code(graph, [0, 0], "float64", strict, "jit"), 1, [np.array([x]), np.array([x])], "float64")
        assert result.tolist() == [expected]


def test_what_machine_code_does_not_know_is_interpreted(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = Nodes(3)
    gather = nodes.graph([nodes.add("gather", [0, 1, 2])])
    assert code(gather, [0, 0, 0], "float64", False, "auto").backend == "interpreter"
    nodes = Nodes(1)
    negative = nodes.graph([nodes.add("neg", [0])])
    monkeypatch.setenv("VALUEGRAD_ISA", "none")
    assert code(negative, [0], "float64", False, "auto").backend == "interpreter"


def lorenz(steps: int) -> Graph:
    """Lorenz's equations, unrolled steps of Runge and Kutta's method."""
    nodes = Nodes(3)
    s, r, b, half, whole, sixth, two = (nodes.const(c) for c in (10.0, 28.0, 8 / 3, 0.005, 0.01, 0.01 / 6, 2.0))

    def add(op: str) -> Callable[[int, int], int]:
        return lambda x, y: nodes.add(op, [x, y])

    plus, minus, times = add("add"), add("sub"), add("mul")

    def derivative(x: int, y: int, z: int) -> list[int]:
        return [
            times(s, minus(y, x)),
            minus(times(x, minus(r, z)), y),
            minus(times(x, y), times(b, z)),
        ]

    state = [0, 1, 2]
    for _ in range(steps):
        k1 = derivative(*state)
        k2 = derivative(*[plus(x, times(half, k)) for x, k in zip(state, k1)])
        k3 = derivative(*[plus(x, times(half, k)) for x, k in zip(state, k2)])
        k4 = derivative(*[plus(x, times(whole, k)) for x, k in zip(state, k3)])
        state = [
            plus(x, times(sixth, plus(plus(plus(a, times(two, b)), times(two, c)), d)))
            for x, a, b, c, d in zip(state, k1, k2, k3, k4)
        ]
    return nodes.graph(state)


@pytest.mark.parametrize(("dtype", "strict"), MODES)
def test_a_hundred_thousand_operations(dtype: str, strict: bool) -> None:
    graph = lorenz(1408)
    assert len(graph) == 99_978
    rng = random.Random(3)
    inputs = [np.array([rng.uniform(0, 2) for _ in range(19)], dtype) for _ in range(3)]
    assert_same(graph, [0, 0, 0], inputs, 19, dtype, strict)
