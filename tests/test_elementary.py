"""exp, log, tanh and erfc of doubles, as default programs compute them for whole vectors.

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

FUNCTIONS = ["exp", "log", "tanh", "erfc"]
INF, NAN, LEAST = math.inf, math.nan, 5e-324


def function(op: str, x: Any, backend: str = "auto") -> Any:
    """An elementary function of each number, by a program of nothing else."""
    nodes = Nodes(1)
    (found,), _ = run(code_of(nodes.graph([nodes.add(op, [0])]), [0], backend=backend), [x], len(x))
    return found


def numbers(op: str) -> Any:
    """Where results are neither 0 nor inf: evenly spread, near what is hard, and of all sizes."""
    rng = np.random.default_rng(0)
    if op == "log":
        near = 1.0 + rng.normal(size=2000) * 10.0 ** rng.integers(-16, 0, 2000)
        return np.concatenate([np.abs(near), rng.uniform(0.0, 10.0, 2000), 10.0 ** rng.uniform(-323.0, 308.0, 2000)])
    low, high = {"exp": (-745.0, 709.78), "tanh": (-21.0, 21.0), "erfc": (-7.0, 27.2)}[op]
    small = rng.normal(size=2000) * 10.0 ** rng.integers(-300, 1, 2000)
    return np.concatenate([rng.uniform(low, high, 2000), rng.uniform(-2.0, 2.0, 2000), small])


@pytest.mark.parametrize("op", FUNCTIONS)
def test_results_are_within_4_ulp_subnormal_ones_among_them(op: str) -> None:
    x = numbers(op)
    have = function(op, x)
    with mpmath.workprec(100):
        wanted = [getattr(mpmath, op)(mpmath.mpf(a)) for a in x.tolist()]
        off = [abs(b - c) / math.ulp(float(c)) for b, c in zip(have.tolist(), wanted)]
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
        *[(op, [NAN, -NAN], [NAN, NAN]) for op in FUNCTIONS],
    ],
)
def test_edges_are_those_of_the_engines(op: str, x: list[float], wanted: list[float]) -> None:
    assert bits(function(op, x)) == bits(wanted)


@pytest.mark.parametrize("op", FUNCTIONS)
def test_a_number_that_is_rare_changes_no_other_lane(op: str) -> None:
    usual = np.linspace(0.1, 3.0, 64)
    alone = function(op, usual)
    for rare in (NAN, INF, -INF, -1.0, 0.0, LEAST, 27.0, -740.0):
        mixed = usual.copy()
        mixed[::3] = rare
        found = function(op, mixed)
        assert bits(np.delete(found, np.s_[::3])) == bits(np.delete(alone, np.s_[::3]))


@pytest.mark.parametrize("op", FUNCTIONS)
def test_the_interpreter_and_any_number_of_lanes_give_the_same_bits(op: str) -> None:
    x = np.concatenate([numbers(op)[:130], [NAN, INF, 0.0, LEAST]])
    wanted = bits(function(op, x))
    assert bits(function(op, x, "interpreter")) == wanted
    for n in (1, 2, 7, 8, 9, 16, 63, 64, 65, 100):
        assert bits(function(op, x[-n:])) == wanted[-n:]


@pytest.mark.parametrize("op", ["exp", "log", "tanh", "norm_cdf"])
def test_loops_give_the_same_bits_as_straight_line_code(op: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("llvmlite")
    x = np.random.default_rng(1).uniform(0.01, 3.0, (40, 21))

    def all_of_them(xs: list[Any]) -> Any:
        return vg.sum([getattr(vg, op)(a * 1.5) for a in xs])

    found = []
    for roll in ("off", "on"):
        monkeypatch.setenv("VALUEGRAD_ROLL", roll)
        program = vg.compile(all_of_them, cache=False)
        found.append((bits(program(list(x))), [program(row.tolist()) for row in x.T]))
    assert found[0] == found[1]
    assert found[0][0] == bits(found[0][1])
