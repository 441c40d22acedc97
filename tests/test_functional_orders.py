"""Derivatives up to the fourth, of every primitive, against mpmath at 50 digits (oracle.py)."""

from __future__ import annotations

import random
from typing import Any

import pytest
from engines import ROWS, call
from oracle import ORACLES, mp

import valuegrad as vg
from valuegrad import value as engine
from valuegrad.primitives import Row

STATIC = {"pow": 2.7, "round": 1.0, "polygamma": 2.0, "where": 1.0, "cross_entropy": 1.0, "take": 1.0}
EVEN = {"mod": ((0.1, 3.0), (0.5, 2.0)), "fmod": ((0.1, 3.0), (0.5, 2.0)), "floordiv": ((0.1, 3.0), (0.5, 2.0))}
# Cancellation in the rules' own formulas (1 - out*out, sums over softmax, recurrences of polygamma) grows
# with each order; relative to the largest derivative so far it stayed below 1e-12 where it was measured.
TOLERANCE = 1e-11


def points(row: Row) -> tuple[list[Any], list[Any]]:
    """A point where everything is of moderate size, and a direction."""
    rng = random.Random(row.name)
    domain = EVEN.get(row.name, row.domain)
    at: list[Any] = []
    towards: list[Any] = []
    for i in range(len(row.children)):
        low, high = domain[min(i, len(domain) - 1)]
        low, high = max(low, -2.5), min(high, 2.5)
        low, high = low + 0.1 * (high - low), high - 0.1 * (high - low)
        n = 3 if i < row.vectors else 1
        xs = [rng.uniform(low, high) for _ in range(n)]
        us = [rng.uniform(0.5, 1.5) for _ in range(n)]
        at.append(xs if i < row.vectors else xs[0])
        towards.append(us if i < row.vectors else us[0])
    return at, towards


def moved(at: list[Any], towards: list[Any], t: Any, exact: Any) -> list[Any]:
    return [
        [exact(x) + t * exact(u) for x, u in zip(a, b)] if isinstance(a, list) else exact(a) + t * exact(b)
        for a, b in zip(at, towards)
    ]


@pytest.mark.parametrize("row", [row for row in ROWS if row.id != "detach"])  # whose derivative is 0 by decree
def test_derivatives_up_to_the_fourth_are_mpmaths(row: Row) -> None:
    at, towards = points(row)
    static = [STATIC[row.name]] if row.static and not row.family else []

    def along(t: Any) -> Any:
        out = call(engine, row, (*moved(at, towards, t, float), *static))
        return out[1] if row.family else out

    def exact(t: Any) -> Any:
        out = ORACLES[row.name].value(*moved(at, towards, t, mp.mpf), *[mp.mpf(x) for x in static])
        return out[1] if row.family else out

    f = along
    largest = abs(float(exact(mp.mpf(0))))
    for order in range(1, 5):
        f = vg.grad(f)
        with mp.workdps(80):
            right = float(mp.diff(exact, mp.mpf(0), order))
        largest = max(largest, abs(right))
        got = f(0.0)
        assert type(got) is float
        assert abs(got - right) <= TOLERANCE * largest, (row.name, order, got, right)
