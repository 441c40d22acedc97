"""exp, log, tanh and erfc of doubles, and exp of floats, as default programs compute them for whole vectors.

With AVX-512 they are our own (_functions.h), else the C library's; what is asked of them is the same.
"""

from __future__ import annotations

import math
from typing import Any

import mpmath
import numpy as np
import pytest
from engines import ONCE
from plain_programs import bits, code_of, run

import valuegrad as vg
from valuegrad.graph import Nodes

pytest.importorskip("valuegrad._replay")
pytestmark = ONCE

FUNCTIONS = [("exp", "float64"), ("log", "float64"), ("tanh", "float64"), ("erfc", "float64"), ("exp", "float32")]
INF, NAN, LEAST, LEAST_FLOAT = math.inf, math.nan, 5e-324, 2.0**-149


def function(op: str, x: Any, dtype: str = "float64", backend: str = "auto") -> Any:
    """An elementary function of each number, by a program of nothing else."""
    nodes = Nodes(1)
    (found,), _ = run(code_of(nodes.graph([nodes.add(op, [0])]), [0], backend=backend, dtype=dtype), [x], len(x))
    return found


def numbers(op: str, dtype: str) -> Any:
    """Where results are neither 0 nor inf: evenly spread, near what is hard, and of all sizes."""
    rng = np.random.default_rng(0)
    if op == "log":
        near = 1.0 + rng.normal(size=2000) * 10.0 ** rng.integers(-16, 0, 2000)
        return np.concatenate([np.abs(near), rng.uniform(0.0, 10.0, 2000), 10.0 ** rng.uniform(-323.0, 308.0, 2000)])
    if dtype == "float32":
        small = rng.normal(size=2000) * 10.0 ** rng.integers(-38, 1, 2000)
        return np.concatenate([rng.uniform(-103.0, 88.7, 4000), rng.uniform(-2.0, 2.0, 2000), small]).astype(dtype)
    low, high = {"exp": (-745.0, 709.78), "tanh": (-21.0, 21.0), "erfc": (-7.0, 27.2)}[op]
    small = rng.normal(size=2000) * 10.0 ** rng.integers(-300, 1, 2000)
    return np.concatenate([rng.uniform(low, high, 2000), rng.uniform(-2.0, 2.0, 2000), small])


@pytest.mark.parametrize(("op", "dtype"), FUNCTIONS)
def test_results_are_within_4_ulp_subnormal_ones_among_them(op: str, dtype: str) -> None:
    x = numbers(op, dtype)
    have = function(op, x, dtype)
    with mpmath.workprec(100):
        wanted = [getattr(mpmath, op)(mpmath.mpf(a)) for a in x.tolist()]
        ulp = np.spacing(np.array(wanted, dtype=dtype)).tolist()
        off = [abs(b - c) / one for b, c, one in zip(have.tolist(), wanted, ulp)]
    assert max(off) <= 4


@pytest.mark.parametrize(
    ("op", "x", "wanted"),
    [
        ("exp", [INF, -INF, 0.0, -0.0, LEAST], [INF, 0.0, 1.0, 1.0, 1.0]),
        ("exp", [709.7827128933841, 710.5, 1e308, -746.0, -1e308], [INF, INF, INF, 0.0, 0.0]),
        ("exp", [709.782712893384, -745.13], [math.exp(709.782712893384), LEAST]),
        ("log", [INF, 0.0, -0.0, 1.0, LEAST], [INF, -INF, -INF, 0.0, math.log(LEAST)]),
        ("log", [-1.0, -LEAST, -INF, -1e308], [NAN, NAN, NAN, NAN]),
        ("tanh", [INF, -INF, 0.0, -0.0, 20.0, -1e308], [1.0, -1.0, 0.0, -0.0, 1.0, -1.0]),
        ("tanh", [LEAST, -LEAST, 1e-300, -2e-308, 1e-17], [LEAST, -LEAST, 1e-300, -2e-308, 1e-17]),
        ("erfc", [INF, -INF, 0.0, -0.0, LEAST], [0.0, 2.0, 1.0, 1.0, 1.0]),
        ("erfc", [27.3, 28.0, 30.1, 1e308, -6.5, -1e308], [0.0, 0.0, 0.0, 0.0, 2.0, 2.0]),
        *[(op, [NAN, -NAN], [NAN, NAN]) for op, dtype in FUNCTIONS if dtype == "float64"],
    ],
)
def test_edges_are_those_of_the_engines(op: str, x: list[float], wanted: list[float]) -> None:
    assert bits(function(op, x)) == bits(wanted)


def test_edges_of_exp_of_floats_are_those_of_the_engines() -> None:
    x = [INF, -INF, 0.0, -0.0, LEAST_FLOAT, NAN, -NAN, 89.1, 3e38, -103.2, -104.1, -3e38]
    wanted = [INF, 0.0, 1.0, 1.0, 1.0, NAN, NAN, INF, INF, LEAST_FLOAT, 0.0, 0.0]
    assert bits(function("exp", x, "float32"), "float32") == bits(wanted, "float32")


@pytest.mark.parametrize(("op", "dtype"), FUNCTIONS)
def test_a_number_that_is_rare_changes_no_other_lane(op: str, dtype: str) -> None:
    usual = np.linspace(0.1, 3.0, 64)
    alone = function(op, usual, dtype)
    for rare in (NAN, INF, -INF, -1.0, 0.0, LEAST, 27.0, -740.0):
        mixed = usual.copy()
        mixed[::3] = rare
        found = function(op, mixed, dtype)
        assert bits(np.delete(found, np.s_[::3]), dtype) == bits(np.delete(alone, np.s_[::3]), dtype)


@pytest.mark.parametrize(("op", "dtype"), FUNCTIONS)
def test_the_interpreter_and_any_number_of_lanes_give_the_same_bits(op: str, dtype: str) -> None:
    x = np.concatenate([numbers(op, dtype)[:130], [NAN, INF, 0.0, LEAST]])
    wanted = bits(function(op, x, dtype), dtype)
    assert bits(function(op, x, dtype, "interpreter"), dtype) == wanted
    for n in (1, 2, 7, 8, 9, 16, 17, 63, 64, 65, 100):
        assert bits(function(op, x[-n:], dtype), dtype) == wanted[-n:]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("op", ["exp", "log", "tanh", "norm_cdf"])
def test_loops_give_the_same_bits_as_straight_line_code(op: str, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("llvmlite")
    x = np.random.default_rng(1).uniform(0.01, 3.0, (40, 21))

    def all_of_them(xs: list[Any]) -> Any:
        return vg.sum([getattr(vg, op)(a * 1.5) for a in xs])

    found = []
    for roll in ("off", "on"):
        monkeypatch.setenv("VALUEGRAD_ROLL", roll)
        program = vg.compile(all_of_them, cache=False, dtype=dtype)
        found.append((bits(program(list(x))), [program(row.tolist()) for row in x.T]))
    assert found[0] == found[1]
    assert found[0][0] == bits(found[0][1])


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_exp_written_into_a_loop_gives_the_same_bits_as_its_call(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("llvmlite")
    rare = [NAN, INF, -INF, 0.0, -0.0, LEAST, 88.8, 709.79, 89.1, 710.1, -103.5, -104.1, -745.1, -746.1, 1e30, -1e30]
    with np.errstate(over="ignore", under="ignore"):
        x = np.concatenate([numbers("exp", dtype)[::18][:304], rare]).astype(dtype).reshape(20, 16)
    found = []
    for roll in ("off", "on"):
        monkeypatch.setenv("VALUEGRAD_ROLL", roll)
        program = vg.compile(lambda xs: [vg.exp(a) for a in xs], cache=False, dtype=dtype)
        found.append(bits(program(list(x)), dtype))
    assert found[0] == found[1]
