"""Programs of random functions against the readable engine: strict ones to the last bit, others within their bounds."""

from __future__ import annotations

import math
import random
import warnings
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
from engines import NATIVE, ONCE, all_bits, bits
from error_bounds import bounds
from functions import Function, number

import valuegrad as vg
from valuegrad import reference
from valuegrad.lower import lowering
from valuegrad.primitives.opcodes import OPCODE

pytest.importorskip("valuegrad._passes")
pytest.importorskip("valuegrad._replay")
transforms = pytest.importorskip("valuegrad.transforms")
pytestmark = [ONCE, pytest.mark.filterwarnings("ignore::valuegrad.PathsWarning")]

LANES = 9


def drawn(seed: int, **options: Any) -> tuple[Function, list[list[float]]]:
    """A function, and the lanes it is given."""
    rng = random.Random(seed)
    f = Function(seed, length=rng.randint(2, 14), **options)
    return f, [[number(rng) for _ in range(3)] for _ in range(LANES)]


def readable(f: Function, point: list[float]) -> tuple[float, list[float]]:
    """Value and gradient on the readable engine."""
    leaves = [reference.Value(x) for x in point]
    y = f(reference, *leaves)
    if type(y) is not reference.Value:
        return float(y), [0.0] * len(point)
    y.backward()
    return y.data, [leaf.grad for leaf in leaves]


def disagreement(seed: int) -> str | None:
    """What a strict program gives that the readable engine does not."""
    f, points = drawn(seed)
    program = vg.compile(partial(f, vg), strict=True, max_paths=40)
    columns = [np.array(column) for column in zip(*points)]
    value, grads = program.value_and_grad(*columns)
    alone = program(*columns)
    for i, point in enumerate(points):
        expected, gradient = readable(f, point)
        if not bits(expected) == bits(value[i]) == bits(alone[i]):
            return f"{point}: {value[i]!r} and {alone[i]!r}, not {expected!r}"
        if all_bits(gradient) != all_bits(grad[i] for grad in grads):
            return f"{point}: {[float(grad[i]) for grad in grads]}, not {gradient}"
    return None


@pytest.mark.parametrize("first", range(0, 1000, 100))
def test_strict_programs_are_the_readable_engine_to_the_last_bit(first: int) -> None:
    for seed in range(first, first + 100):
        message = disagreement(seed)
        assert message is None, f"function {seed} at {message}; {drawn(seed)[0].plan}"


@pytest.mark.soak
def test_many_more_strict_programs_are_the_readable_engine_to_the_last_bit() -> None:
    for seed in range(1000, 30_000):
        assert disagreement(seed) is None, seed


@pytest.mark.parametrize("seed", range(60))
def test_the_interpreter_is_the_readable_engine_too(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lowering, "_CODE", partial(lowering._CODE, backend="interpreter"))
    assert disagreement(seed + 100_000) is None


def test_gradients_are_never_minus_zero_as_the_engines_are_not() -> None:
    program = vg.compile(lambda x, w: vg.where(x > 0, -x * 0.0, -w * 0.0), strict=True)
    for x in (1.0, -1.0):
        assert all_bits(program.value_and_grad(x, 2.0)[1]) == all_bits([0.0, 0.0])
    assert bits(program.value_and_grad(1.0, 2.0)[0]) == bits(-0.0)
    assert bits(vg.grad(program)(1.0, 2.0)) == bits(0.0)


# ------------------------------------------------------------------------------------------------------- default
def numbers_in(graph: Any) -> set[int | str]:
    return {bits(x) for x in graph.numbers[graph.ops == OPCODE["const"]].tolist()}


def outside(seed: int) -> tuple[str | None, int, int]:
    """What a default program gives outside of its bounds; of how many numbers something was said, and of how many not.

    What both modes fold to other constants is nothing to compare.
    """
    f, points = drawn(seed, branches=seed % 2 == 0)
    program = vg.compile(partial(f, vg), max_paths=40).value_and_grad
    value, grads = program(*[np.array(column) for column in zip(*points)])
    (paths,) = program._paths.values()
    said = silent = 0
    for path in paths.root.walk():
        graph = transforms.machine(path.graph)
        folded = numbers_in(graph) - numbers_in(transforms.machine(path.graph, strict=False))
        count = len(graph.outputs)
        conditions = np.array([guard.node for guard in graph.guards], dtype=np.int32)
        watched = replace(graph, outputs=np.concatenate([graph.outputs, conditions]))
        for i, point in enumerate(points):
            exact, allowed = bounds(watched, point, folded)
            outcomes = [condition != 0.0 for condition in exact[count:]]
            if any(allowed[count:]) or outcomes != [guard.expected for guard in graph.guards]:
                continue
            for got, want, bound in zip([value[i], *[grad[i] for grad in grads]], exact, allowed):
                said, silent = said + math.isfinite(bound), silent + (bound == math.inf)
                if not (got == want or (got != got and want != want) or bound == math.inf or abs(got - want) <= bound):
                    return f"function {seed} at {point}: {got!r}, not {want!r} within {bound}", said, silent
    return None, said, silent


def assert_within_bounds(seeds: range) -> None:
    said = silent = 0
    for seed in seeds:
        with np.errstate(all="ignore"):
            message, some, others = outside(seed)
        assert message is None, message
        said, silent = said + some, silent + others
    assert said > 2 * silent


@pytest.mark.parametrize("first", range(0, 500, 100))
def test_default_programs_are_within_four_ulp_an_operation(first: int) -> None:
    assert_within_bounds(range(first, first + 100))


@pytest.mark.soak
def test_many_more_default_programs_are_within_four_ulp_an_operation() -> None:
    assert_within_bounds(range(500, 5000))


def test_an_operation_that_is_further_off_would_be_seen() -> None:
    """The bounds are tight enough to see an elementary function that is wrong in the tenth digit."""
    program = vg.compile(lambda x, y, z: vg.sin(x) * y + vg.exp(z))
    point = [0.7, 1.3, -0.2]
    value = program(*point)
    (paths,) = program._paths.values()
    (exact,), (allowed,) = bounds(transforms.machine(paths.root.graph), point)
    assert abs(value - exact) <= allowed < 1e-14


# ------------------------------------------------------------------------------------------- second derivatives
@pytest.mark.skipif(NATIVE is None, reason="the readable engine's derivatives of derivatives are slow")
@pytest.mark.parametrize("first", range(0, 200, 50))
def test_second_derivatives_are_the_engines(first: int) -> None:
    """Not always to the last bit: a graph adds up the terms of what was computed twice and kept once."""
    compared = 0
    for seed in range(first, first + 50):
        f, points = drawn(seed)
        g = partial(f, vg)
        program = vg.compile(g, strict=True, max_paths=40)
        for k in (0, 2):
            second, eager = vg.grad(vg.grad(program, k), 0), vg.grad(vg.grad(g, k), 0)
            for point in points[:3]:
                want, got = eager(*point), second(*point)
                if math.isfinite(want) and abs(want) < 1e100:
                    compared += 1
                    assert got == pytest.approx(want, rel=1e-9, abs=1e-9), (seed, k, point)
    assert compared > 150


@pytest.mark.parametrize("seed", range(30))
def test_hessians_and_products_with_them_agree(seed: int) -> None:
    f, points = drawn(seed, branches=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        g = vg.compile(lambda p: f(vg, *p), strict=True)
        for point in points[:4]:
            whole = np.array(vg.hessian(g)(point))
            product = np.array(vg.hvp(g, (point,), ([1.0, -2.0, 0.5],)))
            if np.all(np.isfinite(whole)) and np.abs(whole).max() < 1e50:
                size = np.abs(whole).max()
                assert np.allclose(whole, whole.T, rtol=1e-8, atol=1e-8 * size)
                assert np.allclose(whole @ [1.0, -2.0, 0.5], product, rtol=1e-8, atol=1e-8 * size)
