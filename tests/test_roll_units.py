"""Units of a recurrent network are members of one group: its loops are as many for 16 units as for 10."""

import numpy as np
import pytest
from engines import ONCE

import valuegrad as vg
from valuegrad.lower import rolled
from valuegrad.roll.sequences import Sequence

pytestmark = [ONCE, pytest.mark.skipif(not rolled.HAS_LLVM, reason="loops need llvmlite")]


def recurrent(units, steps):
    """A network whose units read all units of the step before, and inputs for it."""

    def f(*w):
        h, total = [0.1 * i for i in range(units)], 0.0
        for t in range(steps):
            rows = [w[i * (units + 2) : (i + 1) * (units + 2)] for i in range(units)]
            h = [vg.tanh(vg.dot(row[:units], h) + row[units] * (0.1 * t + 0.03) + row[units + 1]) for row in rows]
            total = total + vg.log(vg.sum([vg.exp(x) for x in h]))
        return total

    return f, (0.2 * np.sin(7.0 * np.arange(units * (units + 2)))).tolist()


def results(f, inputs, wish, monkeypatch, **options):
    monkeypatch.setenv("VALUEGRAD_ROLL", wish)
    value, gradients = vg.compile(f, cache=False, **options).value_and_grad(*inputs)
    return np.concatenate([np.ravel(np.asarray(x, dtype=float)) for x in (value, *gradients)])


def test_the_number_of_loops_of_a_dense_recurrent_network_does_not_grow_with_its_units(kernels, monkeypatch):
    counts = []
    for units in (10, 16):
        f, inputs = recurrent(units, 24)
        results(f, inputs, "on", monkeypatch)
        counts.append(len(kernels))
        del kernels[:]
    assert counts[0] == counts[1] < 100


@pytest.mark.parametrize("options", [{}, {"strict": True}, {"dtype": "float32"}])
@pytest.mark.parametrize("units", [3, 5, 16])
def test_a_dense_recurrent_network_has_the_bits_that_it_has_without_loops(units, options, monkeypatch):
    f, inputs = recurrent(units, 24)
    lanes = [np.array([x, 0.9 * x, -x]) for x in inputs]
    for some in (inputs, lanes):
        expected, found = (results(f, some, wish, monkeypatch, **options) for wish in ("off", "on"))
        np.testing.assert_array_equal(found, expected)


def test_results_of_alike_units_lie_side_by_side(kernels, monkeypatch):
    f, inputs = recurrent(8, 24)
    results(f, inputs, "on", monkeypatch)
    forward = next(kernel for kernel in kernels if isinstance(kernel, Sequence))
    kept = [step for step in forward.bodies if step.stored and not step.last and step.units > 1]
    assert kept
    for step in kept:
        track = forward.columns[step.out]
        assert (track.first, track.step) == (step.unit, step.units)


def test_units_without_lists_keep_groups_of_their_own(kernels, monkeypatch):
    def f(*w):
        h = [0.1 * i for i in range(8)]
        for _ in range(24):
            h = [vg.tanh(x * y) + 0.1 for x, y in zip(w, h)]
        return vg.sum(h)

    results(f, [0.1 * k for k in range(8)], "on", monkeypatch)
    loops = [kernel for kernel in kernels if isinstance(kernel, Sequence)]
    assert all(step.units == 1 for loop in loops for step in loop.bodies)
