"""Members in boxes of different lengths, as those of causal attention are, with one lane.

No bit differs from the program that is not rolled.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from engines import ONCE
from test_roll import agree

import valuegrad as vg
from valuegrad.lower import emit, loops
from valuegrad.primitives.opcodes import OPS
from valuegrad.roll.kernels import SUM, Body, Column, Kernel, Piece
from valuegrad.roll.rectangles import rectangles

pytest.importorskip("valuegrad._replay")
pytest.importorskip("valuegrad._passes")
pytest.importorskip("llvmlite")
pytestmark = [ONCE, pytest.mark.usefixtures("all_are_rolled")]

POSITIONS = [1, 2, 4, 9, 16, 21, 35]
HEADS, WIDTH = 3, 4
DTYPES = ["float64", "float32"]


@pytest.fixture
def copied(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Of each nest how many columns were copied."""
    found: list[int] = []
    before = loops.lengthwise

    def watched(function: Any, rows: Any) -> Any:
        memory = list(function.memory)
        after = before(function, rows)
        found.append(sum(a != b for a, b in zip(memory, function.memory)))
        return after

    monkeypatch.setattr(loops, "lengthwise", watched)
    return found


@pytest.fixture
def kernels(monkeypatch: pytest.MonkeyPatch) -> list[Kernel]:
    """Of the functions for one lane."""
    found: list[Kernel] = []
    before = emit.calls_apart

    def watched(*args: Any) -> Any:
        after = before(*args)
        found.extend(after[0])
        return after

    monkeypatch.setattr(emit, "calls_apart", watched)
    return found


@pytest.fixture
def pieces(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Of each function for one lane how many pieces a member's list has at most, before and after."""
    found: list[tuple[int, int]] = []
    before = emit.rectangles

    def watched(kernels: Any, *args: Any) -> Any:
        after = before(kernels, *args)
        found.append((most_pieces(kernels), most_pieces(after[0])))
        return after

    monkeypatch.setattr(emit, "rectangles", watched)
    return found


def most_pieces(kernels: list[Kernel]) -> int:
    return max((len(pieces) for kernel in kernels for body in kernel.bodies for pieces in body.variants), default=0)


def numbers(n: int, seed: int = 0) -> list[float]:
    found: list[float] = np.random.default_rng(seed).normal(0.0, 2.0, n * HEADS * WIDTH).tolist()
    return found


def rows_of(x: list[Any], width: int = HEADS * WIDTH) -> list[list[Any]]:
    """Computed numbers, so that they lie side by side."""
    return [[vg.exp(y * 0.1) for y in x[i : i + width]] for i in range(0, len(x), width)]


def of_heads(f: Callable[..., Any], count: int) -> list[Any]:
    """A list for each position and head, of itself and those before it."""
    return [[f(i, j, h) for j in range(i + 1)] for i in range(count) for h in range(0, HEADS * WIDTH, WIDTH)]


def scores(q: list[Any], k: list[Any], order: int = 1, width: int = WIDTH) -> list[list[Any]]:
    queries, keys = rows_of(q), rows_of(k)

    def score(i: int, j: int, h: int) -> Any:
        return 0.5 * vg.dot(queries[i][h : h + width][::order], keys[j][h : h + width][::order])

    return of_heads(score, len(queries))


def flat(lists: list[list[Any]]) -> list[Any]:
    return [x for several in lists for x in several]


def attention(q: list[Any], k: list[Any]) -> list[Any]:
    return [vg.dot(p, [vg.exp(x) for x in k[: len(p)]]) for p in map(vg.softmax, scores(q, k))]


# -------------------------------------------------------------------------------------------- columns copied
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("order", [1, -1])
def test_scores_of_rows_that_lie_across_are_the_same(positions: int, dtype: str, strict: bool, order: int) -> None:
    q, k = numbers(positions), numbers(positions, 1)
    agree(lambda q, k: flat(scores(q, k, order)), q, k, dtype=dtype, strict=strict)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_as_many_columns_as_a_row_has_terms_are_copied(width: int, dtype: str, copied: list[int]) -> None:
    agree(lambda q, k: flat(scores(q, k, 1, width)), numbers(19), numbers(19, 1), dtype=dtype)
    assert max(copied) == width


def test_boxes_that_read_other_rows_are_not_copied(copied: list[int]) -> None:
    def windows(q: list[Any], k: list[Any]) -> list[Any]:
        queries, keys = rows_of(q), rows_of(k)
        return [vg.dot(queries[i][:4], keys[i + j][:4]) for i in range(9) for j in range(i + 1)]

    agree(windows, numbers(20), numbers(20, 1))
    assert not any(copied)


def test_lanes_have_nothing_across(copied: list[int]) -> None:
    lanes = np.linspace(-1.0, 1.0, 19)
    q, k = ([lanes * x for x in numbers(9, seed)] for seed in (0, 1))
    agree(lambda q, k: flat(scores(q, k)), q, k)
    assert copied
    assert not any(copied)


# ------------------------------------------------------------------------------------------------ calls
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("strict", [False, True])
def test_a_softmax_of_a_triangle_is_the_same(positions: int, dtype: str, strict: bool) -> None:
    agree(attention, numbers(positions), numbers(positions, 1), dtype=dtype, strict=strict)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("positions", POSITIONS[1::2])
def test_its_gradient_is_the_same(positions: int, dtype: str) -> None:
    def gradient(q: list[Any], k: list[Any]) -> list[Any]:
        value, grads = vg.value_and_grad(lambda q, k: vg.sum(attention(q, k)), argnums=(0, 1))(q, k)
        return [value, *grads[0], *grads[1]]

    agree(gradient, numbers(positions), numbers(positions, 1), dtype=dtype)


def names(kernel: Kernel) -> list[str]:
    return [OPS[body.op] if body.op < len(OPS) else "leaves" for body in kernel.bodies]


def test_what_is_called_for_short_lists_is_a_loop_over_all_members(kernels: list[Kernel]) -> None:
    agree(attention, numbers(9), numbers(9, 1))
    assert ["sub"] in map(names, kernels)
    assert ["exp"] in map(names, kernels)


def test_what_is_called_for_whole_vectors_stays_with_the_others(kernels: list[Kernel]) -> None:
    def rows(x: list[Any]) -> list[Any]:
        apart = [[y - row[0] for y in row] for row in rows_of(x, 48)]
        return [vg.sum([vg.exp(y) for y in row][::-1]) for row in apart]

    agree(rows, numbers(16))
    assert ["sub", "exp"] in [*map(names, kernels)]


def test_a_result_that_others_read_is_kept_once(kernels: list[Kernel]) -> None:
    def both(q: list[Any], k: list[Any]) -> list[Any]:
        found = []
        for row in scores(q, k):
            largest = vg.maximum(*row)
            apart = [x - largest for x in row]
            found += [*apart, vg.sum([vg.exp(x) for x in apart])]
        return found

    agree(both, numbers(9), numbers(9, 1))
    assert ["exp"] in map(names, kernels)


# ----------------------------------------------------------------------------------------------- rectangles
def columns_of(rows: list[list[Any]], order: int) -> list[list[Any]]:
    """Of rows for three heads of each position the numbers below one another, from the diagonal on or down to it."""
    count = len(rows) // HEADS
    return [[rows[HEADS * i + h][j] for i in range(j, count)][::order] for h in range(HEADS) for j in range(count)]


def apart(rows: list[list[Any]]) -> list[list[Any]]:
    """How far each number is from its row's last one."""
    return [[vg.exp(0.1 * (x - row[-1])) for x in row] for row in rows]


def down(q: list[Any], k: list[Any], order: int = 1) -> list[Any]:
    below = columns_of(apart(scores(q, k)), order)
    return [vg.dot(row, [vg.exp(x) for x in q[: len(row)]]) for row in below]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("order", [1, -1])
def test_sums_down_the_columns_of_a_triangle_are_the_same(positions: int, order: int, dtype: str) -> None:
    agree(lambda q, k: down(q, k, order), numbers(positions), numbers(positions, 1), dtype=dtype)


@pytest.mark.parametrize("order", [1, -1])
def test_a_list_down_a_column_of_a_triangle_is_one_piece(order: int, pieces: list[tuple[int, int]]) -> None:
    agree(lambda q, k: down(q, k, order), numbers(9), numbers(9, 1))
    assert max(pieces) == (5, 1)


def test_a_triangle_that_is_read_along_and_down_is_one_piece_for_either(pieces: list[tuple[int, int]]) -> None:
    def both(q: list[Any], k: list[Any]) -> list[Any]:
        rows = apart(scores(q, k))
        return [vg.sum(row) for row in rows] + [vg.sum(row) for row in columns_of(rows, 1)]

    agree(both, numbers(9), numbers(9, 1))
    assert max(pieces) == (5, 1)


def test_a_triangle_read_all_at_once_stays_as_it_is(pieces: list[tuple[int, int]]) -> None:
    def all_at_once(q: list[Any], k: list[Any]) -> list[Any]:
        found = flat(apart(scores(q, k)))
        return [vg.sum(found), vg.sum(found[::-1]), vg.sum(found[3:])]

    agree(all_at_once, numbers(9), numbers(9, 1))
    assert max(pieces) == (1, 1)


def test_a_loop_over_some_of_a_group_lays_out_no_rectangle() -> None:
    """Others read its other members."""
    rows, strides = np.array([8 * i + j for i in range(4) for j in range(i + 1)]), np.array([[1, 0, 0, 0]])
    pieces = [Piece(c, -1, strides, np.array([2])) for c in (0, 1)]

    def group(g: int, at: Any) -> Column:
        return Column("group", g, np.array(at))

    def scalars(at: Any) -> Column:
        return Column("uniform", -1, np.array(at))

    def total(g: int, *columns: Column) -> Kernel:
        args = [("column", c) for c in range(len(columns) - 1)]
        return Kernel(len(columns[0].at), [Body(SUM, 0.0, g, args, out=len(args))], list(columns))

    some = total(1, group(0, range(10)), scalars(rows), group(1, range(10)))
    listed = total(2, group(0, [0]), group(0, [10]), group(2, [0]))
    listed.bodies[0] = replace(listed.bodies[0], args=[], variants=[pieces], variant=np.array([0]))
    kernels: list[Any] = [total(0, scalars(range(12)), group(0, range(12))), some, listed]
    assert rectangles(kernels, [12, 10, 1], 8) == (kernels, [12, 10, 1])
