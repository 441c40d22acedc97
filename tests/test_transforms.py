"""Transforms of graphs: what they add computes the derivatives of the table, what they take away changes no bit."""

from __future__ import annotations

import math
import random
import struct
from dataclasses import replace

import numpy as np
import pytest
from graphs import evaluate, on_values, outputs, random_graph

import valuegrad as vg
from valuegrad.graph import Nodes, check
from valuegrad.primitives.opcodes import MACHINE, OPS

pytest.importorskip("valuegrad._passes")
transforms = pytest.importorskip("valuegrad.transforms")

POINTS = [0.5, -1.5, 2.0, 0.0, -0.0, math.inf, -math.inf, math.nan, 5e-324, 1e300]


def bits(x: float) -> bytes:
    return b"nan" if x != x else struct.pack("d", x)


def gradient_graph(graph, wrt):
    """The graph with its output's gradients as outputs, an output's -0.0 as 0.0, as a grad begins at 0.0."""
    seed = len(graph)
    ops = np.append(graph.ops, np.uint16(OPS.index("const")))
    arrays = {
        "ops": ops.astype(np.uint16),
        "starts": np.append(graph.starts, graph.starts[-1]).astype(np.int32),
        "numbers": np.append(graph.numbers, 1.0),
    }
    seeded = replace(graph, **arrays)
    found, gradients = transforms.adjoint(seeded, graph.outputs.tolist(), [seed], wrt)
    check(found)
    return replace(found, outputs=np.array(gradients, dtype=np.int32))


@pytest.mark.parametrize("seed", range(300))
def test_machine_graph_computes_the_same_bits(seed: int) -> None:
    rng = random.Random(seed)
    graph = random_graph(rng, 40)
    check(graph)
    expanded = transforms.machine(graph)
    check(expanded)
    assert {OPS[code] for code in expanded.ops.tolist()} <= MACHINE
    for _ in range(4):
        point = [rng.choice([rng.uniform(-3, 3), rng.choice(POINTS)]) for _ in range(4)]
        assert list(map(bits, outputs(expanded, point))) == list(map(bits, outputs(graph, point)))


@pytest.mark.parametrize("seed", range(300))
def test_adjoint_is_the_engines_backward_pass_to_the_last_bit(seed: int) -> None:
    rng = random.Random(seed)
    graph = random_graph(rng, 40)
    derivative = gradient_graph(graph, [0, 1, 2, 3])
    expanded = transforms.machine(derivative)
    for _ in range(4):
        point = [rng.choice([rng.uniform(-3, 3), rng.choice(POINTS)]) for _ in range(4)]
        leaves = [vg.Value(x) for x in point]
        y = on_values(graph, leaves)[-1]
        if type(y) is vg.Value:
            y.backward()
        expected = [leaf.grad for leaf in leaves]
        for form in (derivative, expanded):
            got = [0.0 + x for x in outputs(form, point)]
            assert list(map(bits, got)) == list(map(bits, expected))


def all_entries(x):
    return vg.dot(vg.softmax(x), [1.0 + i for i in range(len(x))])


def one_entry(x):
    return vg.softmax(x)[1] * x[0]


def some_entries_behind_choices(x):
    p = vg.softmax(x)
    return vg.where(x[0] > 0.0, p[0], 0.0) + vg.where(x[1] > 0.0, p[2], 1.0) + p[1] * p[1]


def entries_of_two_alike(x):
    return vg.softmax(x)[0] * vg.softmax(x)[0] + vg.softmax(x)[2]


@pytest.mark.parametrize("f", [all_entries, one_entry, entries_of_two_alike, some_entries_behind_choices])
@pytest.mark.parametrize("n", [4, 20])
def test_a_softmax_hands_on_together_what_its_entries_hand_on_alone(f, n) -> None:
    rng = random.Random(n)
    x = [rng.uniform(-2.0, 2.0) for _ in range(n)]
    expected = vg.grad(f)(x)
    np.testing.assert_allclose(vg.compile(vg.grad(f))(x), expected, rtol=1e-12, atol=1e-14)  # some roundings
    assert list(vg.compile(vg.grad(f), strict=True)(x)) == expected
    second = [vg.grad(lambda x, i=i: vg.grad(f)(x)[i])(x) for i in range(2)]
    found = vg.compile(lambda x: [vg.grad(lambda x, i=i: vg.grad(f)(x)[i])(x) for i in range(2)])(x)
    np.testing.assert_allclose(found, second, rtol=1e-11, atol=1e-13)


def log_sum_exp(x, begin=0.0):
    largest = vg.maximum(*x)
    total = begin
    for number in x:
        total = total + vg.exp(number - largest)
    return largest + vg.log(total)


def log_sum_exp_of_a_list(x):
    largest = vg.maximum(*x)
    return largest + vg.log(vg.sum([vg.exp(number - largest) for number in x]))


def log_sum_exp_in_another_order(x):
    largest = vg.maximum(*x)
    parts = [vg.exp(number - largest) for number in x]
    return largest + vg.log(sum(parts[1::2]) + sum(parts[::2]))


def the_sum_is_used_twice(x):
    largest = vg.maximum(*x)
    total = sum(vg.exp(number - largest) for number in x)
    return largest * total + vg.log(total)


def a_number_comes_twice(x):
    return log_sum_exp([*x, x[1]])


def a_part_is_used_alone(x):
    largest = vg.maximum(*x)
    parts = [vg.exp(number - largest) for number in x]
    return largest + vg.log(sum(parts)) - parts[2] / sum(parts)


def a_part_is_left_out(x):
    largest = vg.maximum(*x)
    return largest + vg.log(sum(vg.exp(number - largest) for number in x[1:]))


def a_part_is_added_twice(x):
    largest = vg.maximum(*x)
    parts = [vg.exp(number - largest) for number in x]
    return largest + vg.log(sum(parts) + parts[0])


def not_all_begin_at_0(x):
    return log_sum_exp(x, 1.0)


def one_behind_a_choice(x):
    return vg.where(x[0] > 0.0, log_sum_exp(x), x[1])


AS_A_LOOP = [log_sum_exp, log_sum_exp_of_a_list, log_sum_exp_in_another_order, the_sum_is_used_twice]
NEARLY = [
    a_number_comes_twice,
    a_part_is_used_alone,
    a_part_is_left_out,
    a_part_is_added_twice,
    not_all_begin_at_0,
    one_behind_a_choice,
]


@pytest.mark.parametrize("f", AS_A_LOOP)
def test_the_largest_of_a_log_sum_exp_gets_the_sum_times_its_factor(f) -> None:
    compiled = vg.compile(vg.grad(f))
    compiled([0.1 * i for i in range(20)])
    machine = transforms.machine(compiled.graph.graphs[0])
    wide = sorted(OPS[op] for op in machine.ops[np.diff(machine.starts) >= 10])
    sums = 2 if f is log_sum_exp_in_another_order else 1
    assert wide == ["maximum", *["sum"] * (sums + 1)]  # and one that counts ties: none of a share for each number


@pytest.mark.parametrize("f", [*AS_A_LOOP, *NEARLY])
@pytest.mark.parametrize("n", [3, 20])
def test_what_is_subtracted_in_a_log_sum_exp_gets_what_the_engines_give_it(f, n) -> None:
    rng = random.Random(n)
    program, exact = vg.compile(vg.grad(f)), vg.compile(vg.grad(f), strict=True)
    for _ in range(5):
        x = [rng.uniform(-2.0, 2.0) for _ in range(n)]
        x[0] = abs(x[0])  # one path of the choice at least
        expected = vg.grad(f)(x)
        np.testing.assert_allclose(program(x), expected, rtol=1e-13, atol=1e-15)  # n additions, an exp, a log
        assert list(exact(x)) == expected


@pytest.mark.parametrize("f", [*AS_A_LOOP, *NEARLY])
@pytest.mark.parametrize(
    "x",
    [
        [1.0, math.nan, 2.0],
        [math.inf, 1.0, 2.0],
        [-math.inf, 1.0, 2.0],
        [-math.inf] * 3,
        [3.0] * 3,
        [-8e2, 0.0, 1e300],
    ],
)
def test_log_sum_exp_at_the_edges_has_the_engines_gradient(f, x) -> None:
    np.testing.assert_allclose(vg.compile(vg.grad(f))(x), vg.grad(f)(x), rtol=1e-14)


def test_a_sum_that_overflows_though_no_term_does_hands_on_what_its_terms_do() -> None:
    def f(x):  # 1 / (e^x' + ...): 0, with the gradient 0, although the sum is infinite
        first = x[0]
        return 1.0 / sum(vg.exp(number - first) for number in x)

    x = [0.0, *[709.0] * 9]
    assert list(vg.compile(vg.grad(f))(x)) == vg.grad(f)(x) == [0.0] * 10


def test_what_is_not_reached_of_a_softmax_hands_on_nothing() -> None:
    def f(x):
        return vg.where(x[0] > 0.0, vg.softmax(x)[1], x[1])

    assert list(vg.compile(vg.grad(f))([-math.inf, 2.0])) == [0.0, 1.0]
    assert list(vg.compile(vg.grad(f))([-1.0, math.inf])) == [0.0, 1.0]


def test_a_long_sum_of_products_is_a_dot_at_once() -> None:
    @vg.compile
    def f(w, x):
        return vg.grad(lambda w: sum(vg.exp(w[0] * y) for y in x))(w)

    f([0.5], [0.1 * i for i in range(12)])
    assert "dot" in [OPS[op] for op in f.graph.graphs[0].ops]


@pytest.mark.parametrize("seed", range(100))
def test_tangent_and_adjoint_agree(seed: int) -> None:
    rng = random.Random(seed)
    graph = random_graph(rng, 30)
    reverse = gradient_graph(graph, [0, 1, 2, 3])
    nodes = [len(graph) + i for i in range(4)]
    arrays = {
        "ops": np.append(graph.ops, [np.uint16(OPS.index("const"))] * 4).astype(np.uint16),
        "starts": np.append(graph.starts, [graph.starts[-1]] * 4).astype(np.int32),
        "numbers": np.append(graph.numbers, [1.0, -2.0, 0.5, 3.0]),
    }
    forward, [moved] = transforms.tangent(replace(graph, **arrays), [0, 1, 2, 3], nodes, graph.outputs.tolist())
    check(forward)
    point = [rng.uniform(0.2, 3) for _ in range(4)]
    expected = math.fsum(g * d for g, d in zip(outputs(reverse, point), (1.0, -2.0, 0.5, 3.0)))
    got = evaluate(forward, point)[moved]
    if math.isfinite(expected) and math.isfinite(got):
        size = sum(abs(g * d) for g, d in zip(outputs(reverse, point), (1.0, -2.0, 0.5, 3.0)))
        assert got == pytest.approx(expected, rel=1e-6, abs=1e-9 * (1 + size))


def operations(graph) -> list[str]:
    return [OPS[code] for code in graph.ops.tolist() if OPS[code] != "input"]


def test_additions_one_after_the_other_become_a_sum() -> None:
    nodes = Nodes(inputs=12)
    total = 0
    for k in range(1, 12):
        total = nodes.add("add", [total, k])
    graph = transforms.machine(nodes.graph([total]))
    assert operations(graph) == ["sum"]
    numbers = [1e16, 1.0, -1e16, 3.0, 1e-8, 7.0, 1e16, 5.0, -1e16, 2.0, 0.1, -0.0]
    assert outputs(graph, numbers) == [sum(numbers)]


def test_an_addition_that_is_used_twice_ends_a_chain() -> None:
    nodes = Nodes(inputs=20)
    total = 0
    for k in range(1, 10):
        total = nodes.add("add", [total, k])
    more = total
    for k in range(10, 20):
        more = nodes.add("add", [more, k])
    graph = transforms.machine(nodes.graph([nodes.add("mul", [total, more])]))
    assert operations(graph) == ["sum", "sum", "mul"]


def test_products_in_a_chain_of_additions_stay_products() -> None:
    nodes = Nodes(inputs=20)
    total = 0
    for k in range(1, 19):
        total = nodes.add("add", [total, nodes.add("mul", [k, k + 1])])
    graph = transforms.machine(nodes.graph([total]), strict=False)
    assert "dot" not in operations(graph)
    assert operations(graph).count("mul") == 18
