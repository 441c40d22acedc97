"""A lane's result is its own: whatever batch it stands in, however the batch lies in memory, whoever computes it."""

from __future__ import annotations

import random
from functools import cache, partial
from typing import Any

import numpy as np
import pytest
from engines import needs_passes, needs_replay
from functions import Function, number

import valuegrad as vg

pytestmark = [needs_passes, needs_replay, pytest.mark.filterwarnings("ignore::valuegrad.PathsWarning")]

LANES = 70
DTYPES = ["float64", "float32"]
SEEDS = range(24)


def bits(numbers: Any) -> list[int]:
    """Numbers by their bits, every nan alike."""
    array = np.array(numbers, dtype=np.float64).ravel()
    array[np.isnan(array)] = np.nan
    found: list[int] = array.view(np.uint64).tolist()
    return found


def agree(found: Any, whole: Any, lanes: Any = ..., positions: tuple[int, ...] = (0, 1, 2)) -> bool:
    """Whether value and gradients are those of some lanes of a batch."""
    (value, grads), (all_values, all_grads) = found, whole
    same = bits(value) == bits(all_values[lanes])
    return same and all(bits(grads[i]) == bits(all_grads[i][lanes]) for i in positions)


class Case:
    """A random function, its program, and what 70 lanes get in one batch."""

    def __init__(self, seed: int, dtype: str) -> None:
        self.rng = random.Random(seed)
        f = Function(seed, length=self.rng.randint(2, 12), branches=seed % 3 == 0)
        self.function = partial(f, vg)
        self.options = {"max_paths": 60, "dtype": dtype}
        self.program = vg.compile(self.function, **self.options).value_and_grad
        self.points = np.array([[number(self.rng) for _ in range(3)] for _ in range(LANES)])
        self.points.flags.writeable = False
        self.whole = self.program(*self.points.T.copy())

    def agrees(self, found: Any, lanes: Any) -> bool:
        """Whether value and gradients are those of these lanes."""
        return agree(found, self.whole, lanes)


case_of = cache(Case)  # compiled once for all tests


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("seed", SEEDS)
def test_results_do_not_depend_on_the_batch(seed: int, dtype: str) -> None:
    case = case_of(seed, dtype)
    for size in range(1, LANES + 1, 1 if seed % 8 == 0 else 13):
        lanes = np.array(case.rng.sample(range(LANES), size))
        assert case.agrees(case.program(*case.points[lanes].T.copy()), lanes), size
    for lane in range(0, LANES, 9):
        point = case.points[lane]
        assert case.agrees(case.program(*point.tolist()), slice(lane, lane + 1))
        assert case.agrees(case.program(*map(np.array, point)), slice(lane, lane + 1))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("seed", SEEDS)
def test_results_do_not_depend_on_threads(seed: int, dtype: str) -> None:
    case = case_of(seed, dtype)
    for threads in (2, 3):
        shared = vg.compile(case.function, threads=threads, **case.options)
        assert case.agrees(shared.value_and_grad(*case.points.T), ...)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("seed", SEEDS)
def test_results_do_not_depend_on_how_arrays_lie(seed: int, dtype: str) -> None:
    case = case_of(seed, dtype)
    x, y, z = case.points.T
    assert case.agrees(case.program(x[::2], y[::2], z[::2]), slice(None, None, 2))
    assert case.agrees(case.program(x[::-1], y[::-1], z[::-1]), slice(None, None, -1))
    fortran = np.asfortranarray(case.points.reshape(7, 10, 3))
    fortran.flags.writeable = False
    found = case.program(fortran[..., 0], fortran[..., 1], fortran[..., 2])
    assert case.agrees(found, ...)
    assert found[0].shape == found[1][0].shape == (7, 10)
    swapped = case.points.T.astype(">f8")
    assert case.agrees(case.program(*swapped), ...)
    padded = np.zeros((LANES, 3), dtype=[("pad", "u1"), ("x", "f8")])  # unaligned
    padded["x"] = case.points
    assert case.agrees(case.program(*padded["x"].T), ...)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("seed", SEEDS)
def test_what_all_lanes_share_may_be_written_in_many_ways(seed: int, dtype: str) -> None:
    case = case_of(seed, dtype)
    x, y, z = float(case.points[3, 0]), case.points[:, 1].copy(), case.points[:, 2].copy()
    whole = case.program(np.full(LANES, x), y, z)
    for same in (x, np.float64(x), np.array(x), np.array([x]), np.array([[x]]), np.broadcast_to(x, (LANES,))):
        assert agree(case.program(same, y, z), whole, ..., (1, 2))


@pytest.mark.parametrize("seed", SEEDS)
def test_numbers_of_other_types_are_the_same_numbers(seed: int) -> None:
    program = case_of(seed, "float64").program
    small = np.random.default_rng(seed).integers(-3, 4, size=(3, LANES))
    whole = program(*small.astype(np.float64))
    for kind in (np.int64, np.int8, np.float32, np.float16, np.longdouble, object):
        assert agree(program(*small.astype(kind)), whole), kind
    whole = program(*(small > 0).astype(np.float64))
    assert agree(program(*(small > 0)), whole)
    assert agree(program(*(small > 0).astype(np.uint8)), whole)


def test_an_empty_batch_stays_empty_in_every_shape() -> None:
    f = vg.compile(lambda x, y: x * y if x > 0 else y)
    for x, y in ((np.empty((0, 3)), np.ones(3)), (np.empty(0), np.ones((4, 1))), (np.empty((2, 0)), 5.0)):
        shape = np.broadcast_shapes(np.shape(x), np.shape(y))
        value, grads = f.value_and_grad(x, y)
        assert value.shape == f(x, y).shape == shape
        assert [np.shape(g) for g in grads] == [np.shape(x), np.shape(y)]
        assert all(not np.any(g) for g in grads)
    assert f(np.array([1.0, -1.0]), 2.0).tolist() == [2.0, 2.0]
