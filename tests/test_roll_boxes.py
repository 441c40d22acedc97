"""Members of several boxes side by side, and which members of a product of matrices are.

No bit differs from the program that is not rolled.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from engines import ONCE
from test_roll import agree

import valuegrad as vg
from valuegrad.lower import loops
from valuegrad.lower.boxes import Together
from valuegrad.lower.tiles import Operand, best_tile

pytest.importorskip("valuegrad._replay")
pytest.importorskip("valuegrad._passes")
pytest.importorskip("llvmlite")
pytestmark = [ONCE, pytest.mark.usefixtures("all_are_rolled")]

POSITIONS = 23
WIDTH = 7
LANES = np.linspace(-1.0, 1.0, 19)
DTYPES = ["float64", "float32"]


@pytest.fixture
def together(monkeypatch: pytest.MonkeyPatch) -> list[Together]:
    """The boxes that went together."""
    found: list[Together] = []
    before = loops.together_of

    def watched(*args: Any) -> Together:
        found.append(before(*args))
        return found[-1]

    monkeypatch.setattr(loops, "together_of", watched)
    return found


def matrix(seed: int) -> list[Any]:
    """A number for each position, entry and lane, row by row."""
    rng = np.random.default_rng(seed)
    return [LANES * x for x in rng.normal(size=POSITIONS * WIDTH)]


def rows_of(entries: list[Any]) -> list[list[Any]]:
    """Computed numbers, so that they lie side by side."""
    return [[vg.exp(x) for x in entries[i * WIDTH : (i + 1) * WIDTH]] for i in range(POSITIONS)]


def scores(q: list[Any], k: list[Any]) -> list[Any]:
    queries, keys = rows_of(q), rows_of(k)
    return [vg.dot(queries[i], keys[j]) for i in range(POSITIONS) for j in range(i + 1)]


def weighted(p: list[Any], v: list[Any]) -> list[Any]:
    values = rows_of(v)
    weights = [[vg.exp(p[i] * p[j]) for j in range(i + 1)] for i in range(POSITIONS)]
    return [vg.dot(weights[i], [row[d] for row in values[: i + 1]]) for i in range(POSITIONS) for d in range(WIDTH)]


def weighted_backwards(p: list[Any], v: list[Any]) -> list[Any]:
    values = rows_of(v)
    weights = [[vg.exp(p[i] * p[j]) for j in range(i + 1)] for i in range(POSITIONS)]
    return [vg.dot(weights[i][::-1], [row[d] for row in values[i::-1]]) for i in range(POSITIONS) for d in range(WIDTH)]


def columns(p: list[Any], v: list[Any]) -> list[Any]:
    values = rows_of(v)
    weights = [[vg.exp(p[i] * p[j]) for j in range(i + 1)] for i in range(POSITIONS)]
    return [
        vg.dot([weights[i][j] for i in range(j, POSITIONS)], [values[i][d] for i in range(j, POSITIONS)])
        for j in range(POSITIONS)
        for d in range(WIDTH)
    ]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("f", [scores, weighted, weighted_backwards, columns])
def test_boxes_that_read_the_same_are_side_by_side_and_the_same_bits(
    f: Any, dtype: str, together: list[Together]
) -> None:
    agree(f, matrix(0), matrix(1), dtype=dtype)
    assert sum(found.groups[-1] for found in together) >= POSITIONS // 4 - 1


def test_boxes_that_share_their_last_terms_have_some_before_them(together: list[Together]) -> None:
    agree(weighted_backwards, matrix(0), matrix(1))
    assert any(found.leads.any() for found in together)


def test_boxes_of_different_parts_do_not_go_together(together: list[Together], monkeypatch: pytest.MonkeyPatch) -> None:
    before = loops.together_of
    monkeypatch.setattr(loops, "together_of", lambda rows, boxes, _: before(rows, boxes, (0, 9, rows.count)))
    agree(weighted_backwards, matrix(0), matrix(1))
    found = next(one for one in together if one.groups[-1])
    lengths, lone = found.rows.lengths[:, 0], slice(found.alone[0], found.alone[1])
    first_part = [*lengths[: found.groups[1] * found.boxes], *lengths[lone]]
    assert sorted(first_part) == sorted(lengths)[:9]


def test_one_lane_has_no_boxes_side_by_side(together: list[Together]) -> None:
    agree(scores, [float(x[0]) for x in matrix(0)], [float(x[0]) for x in matrix(1)])
    assert not any(found.groups[-1] for found in together)


def test_a_tile_fits_the_registers() -> None:
    x, y = Operand(1.0, frozenset([0]), 64, False), Operand(1.0, frozenset([1]), 4, False)
    for registers in (8, 32):
        t, u = best_tile({0: 64, 1: 64}, [x, y], 64.0, registers).values()
        assert t * u + min(t, u) + 2 <= registers


def test_what_is_larger_than_the_cache_is_the_outer_loops() -> None:
    large, small = Operand(1.0, frozenset([0]), 64, False), Operand(1.0, frozenset([1]), 4, False)
    assert next(iter(best_tile({0: 64, 1: 256}, [small, large], 64.0, 32))) == 0
    assert next(iter(best_tile({0: 256, 1: 64}, [small, large], 64.0, 32))) == 0


def test_a_row_too_long_for_the_first_cache_is_read_by_more_members_at_a_time() -> None:
    x, y = Operand(1.0, frozenset([0]), 64, False), Operand(1.0, frozenset([1]), 4, False)
    assert best_tile({0: 64, 1: 64}, [x, y], 1024.0, 32)[1] > best_tile({0: 64, 1: 64}, [x, y], 64.0, 32)[1]


def test_a_lone_dimension_has_a_tile_of_its_own() -> None:
    x = Operand(1.0, frozenset([3]), 64, False)
    assert set(best_tile({3: 40}, [x], 16.0, 32)) == {3}
