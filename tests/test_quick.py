"""Calls on vectors that are like the one before: quicker, and otherwise the same."""

import numpy as np
import pytest
from engines import ONCE

import valuegrad as vg

pytest.importorskip("valuegrad._replay")
pytest.importorskip("valuegrad._passes")
pytestmark = ONCE

X = np.linspace(-1.0, 2.0, 7)


def product(x, y):
    return [vg.sum([a * b for a, b in zip(x, y)]), x[0]]


def remembered(f=product, **options):
    """A program that has been called on two vectors, and knows a quick way for the next ones."""
    program = vg.compile(f, **{"vectors": ("x", "y"), **options})
    program(X, X + 1.0)
    assert program._vectors is not None
    return program


@pytest.mark.parametrize(
    "x",
    [
        X[::-1],
        np.repeat(X, 2)[::2],
        np.broadcast_to(2.0, 7),
        X.astype(np.float32),
        X.astype(">f8"),
        np.arange(7),
        list(X),
        np.frombuffer(b"\0" + X.tobytes(), np.uint8)[1:].view(np.float64),
    ],
    ids=["backwards", "strided", "broadcast", "float32", "big-endian", "integers", "list", "misaligned"],
)
def test_other_arrays_of_the_same_length_give_what_they_always_did(x):
    expected = float(np.sum(np.asarray(x, dtype=float) * (X + 1.0)))
    for program in (remembered(), vg.compile(product, vectors=("x", "y"))):
        found = program(x, X + 1.0)
        assert found[0] == pytest.approx(expected, rel=1e-15)
        assert found[1] == x[0]


@pytest.mark.parametrize("n", [1, 6, 8])
def test_another_length_is_recorded_anew(n):
    x = np.ones(n)
    assert remembered()(x, 3.0 * x)[0] == 3.0 * n


def test_what_is_handed_back_stays_as_it_is():
    program = vg.compile(lambda x: vg.grad(lambda x: vg.sum([a * a for a in x]))(x), vectors="x")
    x = np.ones(80_000)  # a result of so many numbers may have the memory of one that is gone
    held = [program(k * x) for k in (1.0, 2.0, 3.0)]
    for _ in range(3):
        program(9.0 * x)
    assert [np.unique(np.asarray(found)).tolist() for found in held] == [[2.0], [4.0], [6.0]]


def test_what_is_handed_over_may_change_afterwards():
    program, x = remembered(), X.copy()
    first = program(x, X)
    x[:] = 0.0
    assert first[1] == X[0]
    assert program(x, X) == [0.0, 0.0]


def test_a_call_that_takes_another_branch_takes_it():
    program = vg.compile(lambda x: x[0] if x[1] > 0.0 else -x[0], vectors="x")
    found = [program(np.array([5.0, sign])) for sign in (1.0, -1.0, 1.0, -1.0, np.nan)]
    assert found == [5.0, -5.0, 5.0, -5.0, -5.0]


def test_a_function_in_python_meets_no_warnings_in_any_call():
    inverse = vg.primitive("inverse", lambda x: float(np.float64(1.0) / np.float64(x)), lambda x, out: (-(out * out),))
    program = vg.compile(lambda x: inverse(x[0]) + x[1], vectors="x")
    with np.errstate(all="raise"):
        assert [program(np.array([0.0, 1.0])) for _ in range(3)] == [np.inf] * 3


def test_strict_counts_in_a_remembered_call_too():
    program = remembered()
    with vg.strict(), pytest.raises(vg.errors.StrictError):
        program(np.full(7, 1e200), np.full(7, 1e200))


def test_a_value_from_outside_is_read_at_each_call():
    outside = vg.Value(2.0)
    program = vg.compile(lambda x: x[0] * outside, vectors="x")
    first = program(np.array([3.0]))
    outside.data = 5.0
    assert [first, program(np.array([3.0]))] == [6.0, 15.0]
