"""Lowered programs (valuegrad._replay) against plain Python, lane by lane.

Strict programs must agree with ``plain_programs.plain`` to the last bit; default ones within the 4 units in the last
place that their elementary functions may be off.
"""

from __future__ import annotations

import gc
import math
import os
import random
import struct
import sys
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from engines import ONCE
from plain_programs import (
    EDGES,
    ELEMENTARY,
    EXACT,
    LISTS,
    TWO,
    bits,
    code_of,
    columns_for,
    plain,
    random_graph,
    run,
    sums_of,
)

from valuegrad.errors import GraphError, ShapeError, ValueArgumentError, ValueTypeError
from valuegrad.graph import Graph, Guard, Nodes
from valuegrad.lower.lowering import lower
from valuegrad.primitives import FLOATS
from valuegrad.primitives.opcodes import MACHINE, OPCODE

replay = pytest.importorskip("valuegrad._replay")
pytestmark = ONCE

BACKENDS = ["interpreter", "auto"]


# ------------------------------------------------------------------------------------------------------ the numbers
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_strict_programs_compute_what_plain_python_computes_to_the_last_bit(dtype: str, backend: str) -> None:
    rng = random.Random(1)
    for round_ in range(60):
        ops = [*EXACT, *LISTS, "dot", *rng.sample(ELEMENTARY, 8), *(["gather"] if round_ % 3 == 0 else [])]
        graph = random_graph(rng, 4, 30, ops)
        uniform = [0, 0, rng.randint(0, 1), rng.randint(0, 1)]
        n = rng.choice([1, 2, 7, 8, 9, 31, 140])
        columns = columns_for(rng, uniform, n)
        outputs, failed = run(code_of(graph, uniform, dtype=dtype, strict=True, backend=backend), columns, n)
        expected, expected_failed = plain(graph, columns, uniform, n, dtype)
        nobody_passed = expected_failed is not None and min(expected_failed) >= 0  # then outputs mean nothing
        for k, (have, want) in enumerate(zip(outputs, expected)):
            assert nobody_passed or bits(have, dtype) == bits(want, dtype), (round_, k)
        assert (None if failed is None else failed.tolist()) == expected_failed, round_


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("op", ELEMENTARY)
def test_elementary_functions_are_near_and_exact_at_the_edges(op: str, dtype: str) -> None:
    rng = random.Random(2)
    two = op in TWO
    nodes = Nodes(2)
    graph = nodes.graph([nodes.add(op, [0, 1] if two else [0], 2.0 if op in ("round", "polygamma") else 0.0)])
    x = [a for a in EDGES for _ in EDGES] + [rng.uniform(-1, 1) * 10 ** rng.uniform(-8, 4) for _ in range(2000)]
    y = [b for _ in EDGES for b in EDGES] + [rng.uniform(-9, 9) for _ in range(2000)]
    (have,), _ = run(code_of(graph, [0, 0], dtype=dtype), [x, y], len(x))
    (want,), _ = plain(graph, [x, y], [0, 0], len(x), dtype)
    with np.errstate(all="ignore"):
        wanted = np.array(want, dtype)
        off = np.abs(have - wanted) / np.spacing(np.abs(wanted))
    same = (have == wanted) & (np.signbit(have) == np.signbit(wanted)) | np.isnan(have) & np.isnan(wanted)
    assert np.all(same | (off <= 5)), (x[int(np.argmin(same | (off <= 5)))], have[~same & ~(off <= 5)][:3])
    if op in ("hypot", "floor", "ceil", "trunc", "round", "fmod", "mod", "floordiv", "lgamma", "digamma", "polygamma"):
        assert np.all(same)


@pytest.mark.parametrize(("dtype", "low", "gone"), [("float64", -750.0, -746.0), ("float32", -110.0, -104.0)])
def test_exp_below_the_normal_numbers_is_within_4_ulp_and_ends_at_0(dtype: str, low: float, gone: float) -> None:
    nodes = Nodes(1)
    graph = nodes.graph([nodes.add("exp", [0])])
    x = np.linspace(low, 0.9 * low, 2000).astype(dtype)
    (have,), _ = run(code_of(graph, [0], dtype=dtype), [x], len(x))
    wanted = np.exp(x.astype(np.longdouble))  # whose normal numbers reach further down
    ulp = np.spacing(wanted.astype(dtype)).astype(np.longdouble)
    assert np.all(np.abs(have - wanted) <= 4 * ulp)
    assert not have[x < gone].any()
    assert have[x > gone + 1].all()


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_power_that_is_the_same_in_all_lanes_is_that_of_a_lane_among_others(dtype: str) -> None:
    nodes = Nodes(2)
    graph = nodes.graph([nodes.add("power", [0, 1])])
    code = code_of(graph, [0, 0], dtype=dtype)
    for base, exponent in [
        (0.85, 3.5),
        (0.85, 30000.0),
        (1.5, 1e5),
        (-2.0, 0.5),
        (0.0, -1.5),
        (math.nan, 2.5),
        (3.0, 2.0),
    ]:
        (same,), _ = run(code, [[base] * 16, [exponent] * 16], 16)
        (other,), _ = run(code, [[base, *[1.25] * 15], [exponent, *[0.5] * 15]], 16)
        assert bits(same, dtype) == bits([other[0]] * 16, dtype), (base, exponent)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("exponent", [5.0, -5.0])
def test_powers_of_zeros_of_both_signs_are_not_the_same(exponent: float, dtype: str) -> None:
    nodes = Nodes(2)
    graph = nodes.graph([nodes.add("power", [0, 1])])
    zeros = [0.0, -0.0] * 32
    (have,), _ = run(code_of(graph, [0, 0], dtype=dtype), [zeros, [exponent] * len(zeros)], len(zeros))
    end = 0.0 if exponent > 0 else math.inf
    assert bits(have, dtype) == bits([end, -end] * 32, dtype)


@pytest.mark.parametrize("exponent", [2.0, 1.0, -1.0])
def test_powers_that_floats_treats_apart_are_exact(exponent: float) -> None:
    nodes = Nodes(1)
    graph = nodes.graph([nodes.add("power", [0, nodes.const(exponent)])])
    x = [random.Random(3).uniform(-9, 9) for _ in range(100)] + EDGES
    (have,), _ = run(code_of(graph, [0]), [x], len(x))
    assert bits(have) == bits([FLOATS.pow(a, exponent) for a in x])


def test_dot_is_a_chain_of_fused_or_of_rounded_products_and_close_to_strict() -> None:
    rng = random.Random(4)
    nodes = Nodes(20)
    graph = nodes.graph([nodes.add("dot", list(range(20))), nodes.add("dot", [])])
    for uniform in ([0] * 20, [0] * 10 + [1] * 10, [1] * 10 + [0] * 10, [rng.randint(0, 1) for _ in range(20)]):
        columns = [[rng.uniform(-1, 1) for _ in range(1 if one else 50)] for one in uniform]
        (fast, empty), _ = run(code_of(graph, uniform), columns, 50)
        (exact, _), _ = run(code_of(graph, uniform, strict=True), columns, 50)
        assert np.allclose(fast, exact, rtol=0, atol=1e-14)
        assert empty.tolist() == [0.0]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_lane_gives_the_same_wherever_it_stands_and_however_many_there_are(dtype: str, backend: str) -> None:
    rng = random.Random(5)
    for _ in range(12):
        graph = random_graph(rng, 3, 40, [*EXACT, *LISTS, "dot", *ELEMENTARY])
        code = code_of(graph, [0, 0, 1], dtype=dtype, backend=backend)
        columns = columns_for(rng, [0, 0, 1], 300)
        outputs, failed = run(code, columns, 300)
        order = rng.sample(range(300), 300)
        for take in (order, [0], [299], [17, 5], list(range(100, 109))):
            part, part_failed = run(code, [[c[i] for i in take] if len(c) > 1 else c for c in columns], len(take))
            for whole, some in zip(outputs, part):
                wanted = whole[take] if len(whole) > 1 else whole
                assert bits(some, dtype) == bits(wanted, dtype)
            guards = [-1] * len(take) if failed is None else failed[take].tolist()
            assert (part_failed is None and set(guards) == {-1}) or part_failed.tolist() == guards


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_call_gives_what_a_batch_of_one_gives(dtype: str) -> None:
    rng = random.Random(6)
    for _ in range(20):
        graph = random_graph(rng, 3, 25, [*EXACT, *LISTS, "dot", *rng.sample(ELEMENTARY, 8)])
        nodes_sum = sums_of(graph)
        code = code_of(nodes_sum, [0, 1, 0], dtype=dtype)
        columns = columns_for(rng, [0, 1, 0], 1)
        outputs, failed = run(code, columns, 1)
        called = code.call(tuple(column[0] for column in columns))
        if failed is not None:
            assert called is None
        else:
            assert bits(called, dtype) == bits([float(x[0]) for x in outputs], dtype)


# ---------------------------------------------------------------------------------------------------- sums over lanes
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("n", [1, 5, 8, 17, 127, 128, 129, 1000, 20011])
def test_sums_over_lanes_are_added_in_one_tree_whatever_the_threads(n: int, dtype: str, backend: str) -> None:
    rng = random.Random(n)
    nodes = Nodes(2)
    product = nodes.add("mul", [0, 1])
    total = nodes.add("batch_sum", [product])
    mean = nodes.add("div", [total, nodes.add("lanes")])
    penalty = nodes.add("batch_sum", [nodes.add("mul", [1, 1])])
    graph = nodes.graph([total, mean, penalty, product])
    code = code_of(graph, [0, 1], dtype=dtype, backend=backend)
    columns = columns_for(random.Random(n), [0, 1], n) if n < 1000 else [[rng.gauss(0, 9) for _ in range(n)], [1.5]]
    expected, _ = plain(graph, columns, [0, 1], n, dtype)
    for threads in (1, 2, 5):
        outputs, _ = run(code, columns, n, threads)
        assert [bits(x, dtype) for x in outputs] == [bits(x, dtype) for x in expected]
    assert code.uniform_outputs.tolist() == [1, 1, 1, 0]


def test_threads_change_no_bit_of_a_large_batch() -> None:
    rng = random.Random(7)
    nodes = Nodes(2)
    x = 0
    for _ in range(30):
        damped = nodes.add("exp", [nodes.add("neg", [nodes.add("abs", [x])])])
        x = nodes.add("sin", [nodes.add("add", [nodes.add("mul", [x, 1]), damped])])
    cents = nodes.add("round", [x], 2.0)  # asks Python, from any thread
    guard = nodes.add("lt", [x, nodes.const(0.9)])
    graph = nodes.graph([x, cents, nodes.add("batch_sum", [x])], [Guard(guard, True, "")])
    code = code_of(graph, [0, 1])
    columns = [[rng.uniform(-2, 2) for _ in range(50001)], [1.3]]
    first, failed = run(code, columns, 50001)
    for threads in (2, 3, 8):
        again, failed_again = run(code, columns, 50001, threads)
        assert [bits(a) for a in again] == [bits(a) for a in first]
        assert np.array_equal(failed, failed_again)


def test_a_sum_over_lanes_used_in_the_lanes_is_refused() -> None:
    nodes = Nodes(1)
    graph = nodes.graph([nodes.add("sub", [0, nodes.add("batch_sum", [0])])])
    with pytest.raises(ValueArgumentError, match="batch_sum used in the lanes"):
        code_of(graph, [0])
    assert run(code_of(graph, [1]), [[3.0]], 4)[0][0].tolist() == [3.0 - 12.0]


def test_without_lanes_sums_are_zero_and_lanes_untouched() -> None:
    nodes = Nodes(2)
    graph = nodes.graph([nodes.add("batch_sum", [0]), 0, nodes.add("lanes"), nodes.add("exp", [1])])
    outputs, failed = run(code_of(graph, [0, 1]), [[], [0.0]], 0)
    assert [x.tolist() for x in outputs] == [[0.0], [], [0.0], [1.0]]
    assert failed is None


def test_a_sum_of_negative_zeros_is_one() -> None:
    nodes = Nodes(1)
    code = code_of(nodes.graph([nodes.add("batch_sum", [0])]), [0])
    assert bits(run(code, [[-0.0]], 1)[0][0]) == bits([-0.0])
    assert bits(code.call((-0.0,))) == bits([-0.0])


# ------------------------------------------------------------------------------------------------------------ guards
@pytest.mark.parametrize("backend", BACKENDS)
def test_the_first_guard_that_fails_is_told_for_each_lane(backend: str) -> None:
    nodes = Nodes(2)
    positive, large = nodes.add("lt", [nodes.const(0.0), 0]), nodes.add("lt", [nodes.const(10.0), 0])
    switch = nodes.add("lt", [nodes.const(0.0), 1])
    graph = nodes.graph([0], [Guard(large, False, ""), Guard(switch, True, ""), Guard(positive, True, "")])
    code = code_of(graph, [0, 1], backend=backend)
    x = [5.0, -5.0, 50.0, math.nan, 0.0] * 3
    assert run(code, [x, [1.0]], 15)[1].tolist() == [-1, 2, 0, 2, 2] * 3
    assert run(code, [x, [-1.0]], 15)[1].tolist() == [1, 1, 0, 1, 1] * 3  # a uniform guard fails for all lanes
    assert run(code, [[3.0] * 300, [1.0]], 300)[1] is None
    assert code.call((5.0, 1.0)) == (5.0,)
    assert code.call((50.0, 1.0)) is None
    assert code.call((5.0, -1.0)) is None


def test_a_guard_on_a_sum_over_lanes_fails_for_all_of_them() -> None:
    nodes = Nodes(1)
    small = nodes.add("lt", [nodes.add("batch_sum", [0]), nodes.const(10.0)])
    graph = nodes.graph([0], [Guard(nodes.add("lt", [0, nodes.const(5.0)]), True, ""), Guard(small, True, "")])
    code = code_of(graph, [0])
    assert run(code, [[1.0, 2.0]], 2)[1] is None
    assert run(code, [[4.0, 4.0, 7.0]], 3)[1].tolist() == [1, 1, 0]
    assert code.call((4.0,)) == (4.0,)
    assert code.call((-40.0,)) == (-40.0,)


def test_inputs_and_constants_can_be_outputs_and_guards() -> None:
    nodes = Nodes(3)
    one = nodes.const(1.0)
    graph = nodes.graph([0, 1, one, 0], [Guard(0, True, ""), Guard(one, True, "")])
    outputs, failed = run(code_of(graph, [0, 1, 0]), [[1.0, 0.0], [4.0], [0.0, 0.0]], 2)
    assert [x.tolist() for x in outputs] == [[1.0, 0.0], [4.0], [1.0], [1.0, 0.0]]
    assert failed.tolist() == [-1, 0]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_number_may_be_several_outputs_side_by_side(dtype: str) -> None:
    nodes = Nodes(4)
    zero, product = nodes.const(0.0), nodes.add("mul", [0, 1])
    outputs = [zero, zero, zero, product, 0, 1, 2, product, product, zero, 3, 3, 2, 2, 3, 3, zero]
    lowered = lower(nodes.graph(outputs), b"\1" * 4, (), dtype, False)
    _, found, _ = lowered.run(1, np.array([2.0, 3.0, 5.0, 7.0], dtype), [], 1)
    assert found.tolist() == [0, 0, 0, 6, 2, 3, 5, 6, 6, 0, 7, 7, 5, 5, 7, 7, 0]


# ------------------------------------------------------------------------------------------------ gather and calls
def test_gather_counts_from_the_end_and_clamps() -> None:
    nodes = Nodes(4)
    graph = nodes.graph([nodes.add("gather", [0, 1, nodes.const(30.0), 3])])
    code = code_of(graph, [0, 1, 0, 0])
    index = [0.0, 1.0, 2.0, -1.0, -2.0, -3.0, 3.0, -4.0, 1e300, -1e300, -0.0]
    outputs, _ = run(code, [[10.0] * 11, [20.0], [0.0] * 11, index], 11)
    assert outputs[0].tolist() == [10.0, 20.0, 30.0, 30.0, 20.0, 10.0, 30.0, 10.0, 30.0, 10.0, 10.0]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_python_functions_are_called_once_for_each_lane_that_is_on_the_path(dtype: str) -> None:
    seen: list[tuple[float, float]] = []

    def function(a: float, b: float) -> float:
        seen.append((a, b))
        return a - b

    nodes = Nodes(2)
    guard = nodes.add("lt", [nodes.const(0.0), 0])
    graph = nodes.graph([nodes.add("call", [0, 1], 0.0)], [Guard(guard, True, "")], [function])
    code = code_of(graph, [0, 1], dtype=dtype)
    assert code.backend == "interpreter"
    outputs, failed = run(code, [[3.0, -1.0, 5.0], [0.5]], 3, threads=4)
    assert seen == [(3.0, 0.5), (5.0, 0.5)]
    assert outputs[0].tolist()[::2] == [2.5, 4.5]
    assert failed.tolist() == [-1, 0, -1]
    assert code.call((3.0, 0.5)) == (2.5,)


def test_an_error_in_a_python_function_comes_through_and_the_program_stays_usable() -> None:
    def function(a: float) -> Any:
        if a == 2.0:
            raise KeyError("two")
        return "text" if a == 3.0 else a

    nodes = Nodes(1)
    graph = nodes.graph([nodes.add("neg", [nodes.add("call", [0], 0.0)])], (), [function])
    code = code_of(graph, [0])
    for _ in range(2):
        with pytest.raises(KeyError, match="two"):
            run(code, [[1.0, 2.0]], 2, threads=2)
        with pytest.raises(KeyError, match="two"):
            code.call((2.0,))
        with pytest.raises(TypeError):
            code.call((3.0,))
        assert code.call((1.0,)) == (-1.0,)
        assert run(code, [[1.0, 5.0]], 2)[0][0].tolist() == [-1.0, -5.0]


def test_a_python_function_may_run_the_same_program() -> None:
    programs: list[Any] = []

    def function(a: float) -> float:
        return 1.0 if a <= 1.0 else a * programs[0].call((a - 1.0,))[0]

    nodes = Nodes(1)
    programs.append(code_of(nodes.graph([nodes.add("call", [0], 0.0)], (), [function]), [0]))
    assert programs[0].call((5.0,)) == (120.0,)
    assert run(programs[0], [[3.0, 4.0]], 2)[0][0].tolist() == [6.0, 24.0]
    programs.clear()


# ------------------------------------------------------------------------------------------------ refusals and memory
def small() -> Graph:
    nodes = Nodes(2)
    return nodes.graph([nodes.add("mul", [0, 1])], [Guard(nodes.add("lt", [0, 1]), True, "")])


def test_arrays_that_do_not_fit_are_refused() -> None:
    code = code_of(small(), [0, 1])
    x, one, out = np.zeros(3), np.zeros(1), [np.zeros(3)]
    cases: list[tuple[type[Exception], Callable[[], Any]]] = [
        (ShapeError, lambda: code.run(3, [x], out)),
        (ShapeError, lambda: code.run(3, [x, one], [])),
        (ShapeError, lambda: code.run(4, [x, one], out)),
        (ShapeError, lambda: code.run(3, [x, x], out)),
        (ShapeError, lambda: code.run(3, [x, one], [np.zeros(4)])),
        (ValueTypeError, lambda: code.run(3, [x.astype(np.float32), one], out)),
        (ValueTypeError, lambda: code.run(3, [x.astype(">f8"), one], out)),
        (ValueTypeError, lambda: code.run(3, [[1.0, 2.0, 3.0], one], out)),
        (ValueTypeError, lambda: code.run(3, [np.zeros((3, 1)), one], out)),
        (ValueTypeError, lambda: code.run(3, [x, one], [np.zeros(3, np.int64)])),
        (ValueArgumentError, lambda: code.run(3, [np.zeros(6)[::2], one], out)),
        (ValueArgumentError, lambda: code.run(3, [x, one], [np.broadcast_to(one, 3)])),
        (ValueArgumentError, lambda: code.run(-1, [x, one], out)),
        (ValueArgumentError, lambda: code.run(3, [x, one], out, 0)),
        (ShapeError, lambda: code.call((1.0,))),
    ]
    for error, attempt in cases:
        with pytest.raises(error):
            attempt()
    assert code.run(3, [x - 1, one], out) is None
    assert code.call((1.0, 2)) is None
    assert code.call((1.0, np.float64(2.0))) is None
    assert code.call((1.0, 2.0)) == (2.0,)


def test_arrays_that_are_no_lowered_graph_are_refused() -> None:
    g = small()

    def made(**changes: Any) -> Any:
        fields = {"ops": g.ops, "starts": g.starts, "operands": g.operands, "numbers": g.numbers, "outputs": g.outputs}
        fields |= {"guard_nodes": np.array([3], np.int32), "guard_expected": np.ones(1, np.uint8)}
        options = {key: changes.pop(key) for key in ("dtype", "backend") if key in changes}
        return replay.Code(*{**fields, "uniform": np.zeros(2, np.uint8), **changes}.values(), **options)

    assert made().call((2.0, 3.0)) == (6.0,)
    ops, operands = g.ops.copy(), g.operands.copy()
    ops[2] = OPCODE["softplus"]
    operands[0] = 3
    wrong: list[dict[str, Any]] = [
        {"ops": ops},
        {"operands": operands},
        {"ops": g.ops.astype(np.int64)},
        {"starts": g.starts[:-1]},
        {"outputs": np.array([9], np.int32)},
        {"guard_nodes": np.array([9], np.int32)},
        {"guard_nodes": np.zeros(0, np.int32)},
        {"guard_expected": [1]},
        {"uniform": np.zeros(1, np.uint8)},
        {"numbers": g.numbers[:1]},
    ]
    for changes in wrong:
        with pytest.raises(GraphError):
            made(**changes)
    for options in ({"dtype": "float16"}, {"backend": "fast"}):
        with pytest.raises(ValueArgumentError):
            made(**options)


def test_a_program_that_was_never_made_says_so() -> None:
    code = replay.Code.__new__(replay.Code)
    for attempt in (lambda: code.call(()), lambda: code.run(0, [], []), lambda: code.block):
        with pytest.raises(ValueArgumentError):
            attempt()


def test_every_machine_operation_runs() -> None:
    for op in sorted(MACHINE - {"input", "const", "call"}):
        nodes = Nodes(4)
        count = 4 if op == "dot" else 3 if op in ("select", "gather", *LISTS) else 2 if op in TWO else op != "lanes"
        graph = nodes.graph([nodes.add(op, list(range(count)), 1.0)])
        for dtype in ("float64", "float32"):
            outputs, _ = run(code_of(graph, [0] * 4, dtype=dtype), [[0.5, 0.25, 0.75]] * 4, 3)
            assert np.all(np.isfinite(outputs[0])) or op == "acosh", op


def test_programs_are_freed_with_all_they_hold() -> None:
    class Function:
        def __call__(self, a: float) -> float:
            return a

    function = Function()
    nodes = Nodes(2)
    graph = nodes.graph([nodes.add("call", [0], 0.0), nodes.add("batch_sum", [0])], [Guard(1, True, "")], [function])

    def work() -> None:
        code = code_of(graph, [0, 0])
        run(code, [[1.0, 2.0], [0.0, 1.0]], 2)
        code.call((1.0, 1.0))
        code.call((1.0, 0.0))
        with pytest.raises(ShapeError):
            code.run(2, [np.zeros(2), np.zeros(3)], [np.zeros(2), np.zeros(1)])

    def counted() -> tuple[int, int]:
        for _ in range(100):
            work()
        gc.collect()
        return sys.getallocatedblocks(), sys.getrefcount(function)

    counted()
    before, references = counted()
    after, references_after = counted()
    assert references_after == references
    assert after - before < 100


def test_memory_is_given_back_also_by_programs_that_were_refused() -> None:
    def resident() -> int:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * 4096

    if not os.path.exists("/proc/self/statm") or "libasan" in os.environ.get("LD_PRELOAD", ""):
        pytest.skip("no resident memory to read, or freed memory is kept for a while")
    nodes = Nodes(2)
    x = 0
    for _ in range(5000):
        x = nodes.add("add", [x, 1])
    graph = nodes.graph([x, nodes.add("batch_sum", [x])], [Guard(x, True, "")])
    wrong = nodes.graph([nodes.add("mul", [0, nodes.add("batch_sum", [x])])])

    def work() -> None:
        run(code_of(graph, [0, 0]), [[1.0] * 500, [2.0] * 500], 500)
        with pytest.raises(ValueArgumentError):
            code_of(wrong, [0, 0])

    for _ in range(20):
        work()
    before = resident()
    for _ in range(100):  # each makes some 500 kB
        work()
    assert resident() - before < 5e6


def test_several_python_threads_may_run_one_program() -> None:
    rng = random.Random(8)
    graph = sums_of(random_graph(rng, 2, 40, [*EXACT, "sin", "exp", "sum"]))
    graph = Graph(graph.ops, graph.starts, graph.operands, graph.numbers, graph.inputs, graph.outputs)
    code = code_of(graph, [0, 0])
    columns = columns_for(rng, [0, 0], 5000)
    expected = [bits(x) for x in run(code, columns, 5000)[0]]
    called = bits(code.call((0.5, 0.25)))
    wrong: list[int] = []

    def work() -> None:
        for i in range(10):
            outputs, _ = run(code, columns, 5000, threads=2)
            if [bits(x) for x in outputs] != expected or bits(code.call((0.5, 0.25))) != called:
                wrong.append(i)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_large_program_is_made_and_run_without_recursion() -> None:
    nodes = Nodes(2)
    x = 0
    for i in range(200_000):
        x = nodes.add("add" if i % 2 else "mul", [x, 1])
    code = code_of(nodes.graph([x]), [0, 0])
    assert math.isfinite(code.call((0.25, 0.5))[0])
    assert code.frame_bytes < 1 << 16  # a chain needs few slots


def test_arrays_need_no_alignment() -> None:
    memory = bytearray(8 * 20 + 1)
    memory[1:] = struct.pack("<20d", *range(20))
    odd = np.frombuffer(memory, np.float64, 20, 1)
    nodes = Nodes(1)
    outputs, _ = run(code_of(nodes.graph([nodes.add("neg", [0])]), [0]), [odd], 20)
    assert outputs[0].tolist() == [-float(i) for i in range(20)]


def test_a_guard_on_a_sum_before_one_on_a_number_is_the_first_to_fail() -> None:
    nodes = Nodes(2)
    total = nodes.add("batch_sum", [0])
    zero = nodes.const(0.0)
    graph = nodes.graph([total], [Guard(nodes.add("lt", [total, zero]), False, ""), Guard(1, True, "")])
    for number, x, failed in ((1.0, 2.0, None), (1.0, -2.0, [0, 0]), (0.0, -2.0, [0, 0]), (0.0, 2.0, [1, 1])):
        _, found = run(code_of(graph, [0, 1]), [[x, x], [number]], 2)
        assert (None if found is None else found.tolist()) == failed
