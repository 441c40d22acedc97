"""Memory of results: it is given again once nobody holds it, never before."""

from __future__ import annotations

import numpy as np
import pytest
from engines import ONCE

import valuegrad as vg
from valuegrad.lower import recycled
from valuegrad.lower.recycled import Recycled

pytest.importorskip("valuegrad._replay")
pytestmark = ONCE


def test_a_result_that_is_held_is_not_written_over() -> None:
    n = 70_000
    program = vg.compile(lambda x: vg.sum([xi * xi for xi in x]), vectors=("x",)).value_and_grad
    results = [program(np.full(n, float(k)))[1][0] for k in range(4)]
    part = program(np.full(n, 9.0))[1][0][5:7]
    for _ in range(3):
        program(np.zeros(n))
    assert [x[0] for x in results] == [0.0, 2.0, 4.0, 6.0]
    assert part.tolist() == [18.0, 18.0]


def test_memory_that_nobody_holds_is_given_again() -> None:
    room, kind = Recycled(), np.dtype("float64")
    first = room.array(100_000, kind)
    second = room.array(100_000, kind)
    third = room.array(100_000, kind)
    assert len({x.ctypes.data for x in (first, second, third)}) == 3
    address = third.ctypes.data
    del third
    assert room.array(100_000, kind).ctypes.data == address


def test_a_lane_s_results_that_are_held_are_not_written_over() -> None:
    n = 70_000
    program = vg.compile(lambda x, y: (x * y, x + y))
    held = [program(np.full(n, float(k)), np.full(n, 2.0)) for k in range(4)]
    rows = program(np.full((7, n // 7), 9.0), np.full((7, n // 7), 1.0))[0][2]
    for _ in range(5):
        program(np.zeros(n), np.zeros(n))
    assert [(x[0], x[-1], y[0], y[-1]) for x, y in held] == [(2.0 * k, 2.0 * k, k + 2.0, k + 2.0) for k in range(4)]
    assert np.all(rows == 9.0)


def test_the_lanes_results_that_nobody_holds_are_written_over() -> None:
    program = vg.compile(lambda x, y: (x * y, x + y))
    x = np.ones(70_000)
    addresses = set()
    for _ in range(9):
        result = program(x, x)  # while the one before is still there
        addresses.update(y.ctypes.data for y in result)
    assert len(addresses) == 4


def test_no_more_memory_is_kept_than_there_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recycled, "MOST_BYTES", 2_000_000)
    room, kind = Recycled(at_once=3), np.dtype("float64")
    held = [room.array(100_000, kind) for _ in range(9)]
    assert sum(x.nbytes for x in room._kept) == 2 * held[0].nbytes
    room.array(300_000, kind)
    assert room._kept == []
