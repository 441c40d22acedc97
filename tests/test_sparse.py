"""Sparse derivatives: the dense ones' numbers, in few directions."""

from __future__ import annotations

import math
import random
import sys
from itertools import pairwise

import numpy as np
import pytest
from engines import ONCE
from hypothesis import given
from hypothesis import strategies as st

import valuegrad as vg

sparse = pytest.importorskip("valuegrad.sparse")
pytest.importorskip("scipy")
pytestmark = ONCE


def rosenbrock(x):
    return sum(100 * (b - a * a) ** 2 + (1 - a) ** 2 for a, b in pairwise(x))


def residuals(x):
    return [vg.sin(a) * b + c for a, b, c in zip(x, x[1:], x[2:])]


POINT = [random.Random(1).uniform(-1, 1) for _ in range(30)]


def test_the_sparse_jacobian_is_the_dense_one():
    got = vg.sparse_jacobian(residuals)(POINT).toarray()
    assert got == pytest.approx(np.array(vg.jacobian(residuals)(POINT)), rel=1e-14, abs=1e-15)


def test_the_sparse_hessian_is_the_dense_one():
    got = vg.sparse_hessian(rosenbrock)(POINT).toarray()
    assert got == pytest.approx(np.array(vg.hessian(rosenbrock)(POINT)), rel=1e-13, abs=1e-12)


def test_a_banded_jacobian_takes_as_many_directions_as_its_band_is_wide():
    jacobian = vg.sparse_jacobian(residuals)
    jacobian(POINT)
    [(_, plan)] = jacobian.kinds[False][1].values()
    assert max(plan.colour) + 1 == 3


def test_a_full_row_is_found_in_reverse_mode():
    def f(x):
        return [vg.prod(x), x[0] * x[1]]

    jacobian = vg.sparse_jacobian(f)
    assert jacobian(POINT).toarray() == pytest.approx(np.array(vg.jacobian(f)(POINT)), rel=1e-13)
    [(_, plan)] = jacobian.kinds[False][1].values()
    assert not plan.forward


def test_another_path_may_depend_on_other_inputs():
    def f(x):
        return [x[0] * x[1] if x[0] < 0 else x[0] * x[2], x[2]]

    jacobian = vg.sparse_jacobian(f)
    for first in (-1.0, 1.0, -2.0):
        point = [first, 2.0, 3.0]
        assert jacobian(point).toarray().tolist() == vg.jacobian(f)(point)


def test_lists_of_another_length_and_other_static_arguments_have_plans_of_their_own():
    def f(x, which):
        return residuals(x) if which == "all" else residuals(x)[:2]

    jacobian = vg.sparse_jacobian(f)
    for point, which in ((POINT, "all"), (POINT[:5], "all"), (POINT[:5], "two"), (POINT, "all")):
        wanted = np.array(vg.jacobian(f)(point, which))
        assert jacobian(point, which).toarray() == pytest.approx(wanted, rel=1e-14, abs=1e-15)


def test_values_among_further_arguments_are_refused():
    with pytest.raises(vg.ValueTypeError, match="got Values in its further arguments"):
        vg.sparse_jacobian(lambda x, s: [x[0] * s])([1.0], vg.Value(2.0))


def test_an_array_comes_to_the_function_as_an_array():
    got = vg.sparse_jacobian(lambda x: x * x)(np.array([1.0, 3.0]))
    assert got.toarray().tolist() == [[2.0, 0.0], [0.0, 6.0]]


def test_further_arguments_are_handed_through():
    got = vg.sparse_jacobian(lambda x, scale: [a * scale for a in x])([1.0, 2.0], 5.0)
    assert got.toarray().tolist() == [[5.0, 0.0], [0.0, 5.0]]


def test_outputs_that_depend_on_nothing_give_empty_rows():
    got = vg.sparse_jacobian(lambda x: [1.0, x[0], vg.floor(x[1])])([1.0, 2.5])
    assert got.nnz == 1
    assert got.toarray().tolist() == [[0.0, 0.0], [1.0, 0.0], [0.0, 0.0]]


def test_a_condition_carries_no_derivative():
    got = vg.sparse_jacobian(lambda x: [vg.where(x[0] > 0, x[1], x[2])])([1.0, 2.0, 3.0])
    assert got.indices.tolist() == [1, 2]
    assert got.toarray().tolist() == [[0.0, 1.0, 0.0]]


def test_a_compiled_program_will_do():
    program = vg.compile(residuals)
    assert vg.sparse_jacobian(program)(POINT).nnz == 3 * 28


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (3.0, vg.ValueTypeError, r"got 3\.0 \(float\)"),
        (np.ones((2, 2)), vg.ShapeError, r"shape \(2, 2\)"),
        (["a"], vg.ValueTypeError, "expected a real number"),
    ],
)
def test_what_is_no_vector_is_refused(x, error, message):
    with pytest.raises(error, match=message):
        vg.sparse_jacobian(residuals)(x)


def test_without_scipy_the_error_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.sparse", None)
    with pytest.raises(ImportError, match=r"pip install 'valuegrad\[sparse\]'"):
        vg.sparse_jacobian(residuals)(POINT)


def test_lanes_are_refused():
    with pytest.raises(vg.ShapeError, match="no lanes"):
        vg.sparse_jacobian(lambda x, s: [x[0] * s])([1.0], np.array([1.0, 2.0]))


@given(st.lists(st.sets(st.integers(0, 11)), max_size=20))
def test_columns_of_one_colour_share_no_row(rows):
    colour = sparse.colours([sorted(row) for row in rows], 12)
    for row in rows:
        own = [colour[column] for column in row]
        assert len(set(own)) == len(own)


def test_nan_is_kept():
    got = vg.sparse_jacobian(lambda x: [vg.log(x[0]), x[1]])([math.nan, 1.0])
    assert math.isnan(got.toarray()[0, 0])
