"""Optimisers, schedules and clipping: exactly their formulas."""

import math
import random

import numpy as np
import pytest

import valuegrad as vg
from valuegrad import optim

N = 23  # not a multiple of any vector width


def run(optimizer_of, steps=7):
    """Parameters after some steps with drawn gradients, and those gradients."""
    rng = random.Random(4)
    start = [rng.gauss(0, 1) for _ in range(N)]
    parameters = [vg.Value(x) for x in start]
    optimizer = optimizer_of(parameters)
    gradients = [[rng.gauss(0, 10.0 ** rng.uniform(-8, 3)) for _ in range(N)] for _ in range(steps)]
    for gradient in gradients:
        for parameter, g in zip(parameters, gradient):
            parameter.grad = g
        optimizer.step()
    return [p.data for p in parameters], start, gradients


def adam(p, gradients, rates, beta1, beta2, epsilon, decay=0.0):
    m = v = 0.0
    for t, (g, rate) in enumerate(zip(gradients, rates), 1):
        p = p * (1 - rate * decay) if decay else p
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * (g * g)
        p = p - rate * (m / (1 - beta1**t)) / (math.sqrt(v / (1 - beta2**t)) + epsilon)
    return p


def test_adam_is_its_formula_to_the_last_bit():
    rates = [0.01 * (1 - step / 9) for step in range(7)]
    found, start, gradients = run(lambda p: optim.Adam(p, optim.linear(0.01, 9), beta1=0.85, beta2=0.99))
    expected = [adam(p, g, rates, 0.85, 0.99, 1e-8) for p, g in zip(start, zip(*gradients))]
    assert found == expected


def test_adamw_is_its_formula_to_the_last_bit():
    found, start, gradients = run(lambda p: optim.AdamW(p, 0.02, weight_decay=0.1))
    expected = [adam(p, g, [0.02] * 7, 0.9, 0.999, 1e-8, 0.1) for p, g in zip(start, zip(*gradients))]
    assert found == expected


def test_sgd_with_momentum_is_its_formula_to_the_last_bit():
    found, start, gradients = run(lambda p: optim.SGD(p, 0.1, momentum=0.9))
    expected = []
    for p, entries in zip(start, zip(*gradients)):
        velocity = 0.0
        for g in entries:
            velocity = 0.9 * velocity + g
            p = p - 0.1 * velocity
        expected.append(p)
    assert found == expected


@pytest.mark.parametrize("kind", [optim.SGD, optim.Adam])
def test_a_step_that_fails_changes_nothing(kind, monkeypatch):
    optimizer = kind([vg.Value(1.0)], 0.1)
    optimizer.parameters[0].grad = 1.0
    before = optimizer.state()

    def refuse(values, numbers):
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(optim, "write_data", refuse)
        with pytest.raises(MemoryError):
            optimizer.step()
    assert optimizer.state() == before
    assert optimizer.parameters[0].data == 1.0


def test_a_step_tells_its_learning_rate_and_the_schedule_counts_from_0():
    optimizer = optim.SGD([vg.Value(1.0)], optim.linear(1.0, 4))
    assert [optimizer.step() for _ in range(5)] == [1.0, 0.75, 0.5, 0.25, 0.0]


def test_zero_grad_sets_the_grads_to_0():
    x = vg.Value(3.0)
    x.grad = 5.0
    optim.Adam([x]).zero_grad()
    assert x.grad == 0.0


@pytest.mark.parametrize("kind", [optim.SGD, optim.Adam, optim.AdamW])
def test_a_restored_optimiser_goes_on_to_the_last_bit(kind):
    def steps(optimizer, rng, count):
        for _ in range(count):
            for p in optimizer.parameters:
                p.grad = rng.gauss(0, 1)
            optimizer.step()

    whole = kind([vg.Value(1.0) for _ in range(N)], optim.cosine(0.1, 20))
    steps(whole, random.Random(1), 10)

    first, rng = kind([vg.Value(1.0) for _ in range(N)], optim.cosine(0.1, 20)), random.Random(1)
    steps(first, rng, 4)
    second = kind([vg.Value(p.data) for p in first.parameters], optim.cosine(0.1, 20))
    second.load_state(first.state())
    steps(second, rng, 6)
    assert [p.data for p in second.parameters] == [p.data for p in whole.parameters]


def test_state_is_a_copy():
    optimizer = optim.Adam([vg.Value(1.0)])
    state = optimizer.state()
    optimizer.parameters[0].grad = 1.0
    optimizer.step()
    assert state["m"][0] == 0.0


def test_the_state_of_another_optimiser_is_refused():
    with pytest.raises(vg.ShapeError, match="velocity"):
        optim.Adam([vg.Value(1.0)]).load_state(optim.SGD([vg.Value(1.0)]).state())


def test_the_state_of_another_number_of_parameters_is_refused():
    state = optim.Adam([vg.Value(1.0), vg.Value(2.0)]).state()
    with pytest.raises(vg.ShapeError, match=r"shape \(2,\)"):
        optim.Adam([vg.Value(1.0)]).load_state(state)


def test_cosine_falls_from_the_rate_to_zero_and_stays_there():
    schedule = optim.cosine(2.0, 10)
    assert schedule(0) == 2.0
    assert schedule(5) == pytest.approx(1.0, rel=1e-15)  # cos(pi/2) is not exactly 0
    assert schedule(10) == schedule(11) == 0.0


def test_linear_stays_at_zero():
    assert optim.linear(1.0, 3)(5) == 0.0


def test_warm_up_rises_evenly_to_the_schedule():
    schedule = optim.warm_up(optim.constant(1.0), 4)
    assert [schedule(step) for step in range(6)] == [0.2, 0.4, 0.6, 0.8, 1.0, 1.0]


def test_clipping_keeps_the_direction_and_limits_the_length():
    values = [vg.Value(0.0) for _ in range(2)]
    values[0].grad, values[1].grad = 30.0, 40.0
    assert optim.clip_gradients(values, 5.0) == 50.0
    assert [v.grad for v in values] == [3.0, 4.0]


def test_clipping_leaves_short_gradients_alone():
    value = vg.Value(0.0)
    value.grad = 0.1
    assert optim.clip_gradients([value], 1.0) == 0.1
    assert value.grad == 0.1


def test_clipping_survives_gradients_whose_squares_overflow():
    values = [vg.Value(0.0) for _ in range(2)]
    values[0].grad, values[1].grad = 3e200, 4e200
    assert optim.clip_gradients(values, 1.0) == pytest.approx(5e200, rel=1e-15)  # two roundings
    assert values[0].grad == pytest.approx(0.6, rel=1e-15)


def test_an_optimiser_clips_what_it_reads_and_leaves_the_grads():
    x = vg.Value(1.0)
    x.grad = 100.0
    optim.SGD([x], 0.5, clip_norm=1.0).step()
    assert (x.data, x.grad) == (0.5, 100.0)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_clipping_a_gradient_that_is_not_finite_is_refused(bad):
    x = vg.Value(1.0)
    x.grad = bad
    with pytest.raises(vg.ValueArgumentError, match="direction"):
        optim.clip_gradients([x], 1.0)


def test_an_optimiser_of_nothing_is_refused():
    with pytest.raises(vg.ValueArgumentError, match="no parameters"):
        optim.SGD([])


def test_a_computed_value_is_refused_as_a_parameter():
    with pytest.raises(vg.ValueArgumentError, match="only leaves can learn"):
        optim.SGD([vg.Value(1.0) * 2])


def test_a_parameter_given_twice_is_refused():
    x = vg.Value(1.0)
    with pytest.raises(vg.ValueArgumentError, match="twice"):
        optim.SGD([x, x])


def test_something_else_than_a_value_is_refused():
    with pytest.raises(vg.ValueTypeError, match="expected Values"):
        optim.SGD([1.0])


@pytest.mark.parametrize("share", [1.0, -0.1, math.nan])
def test_a_beta_outside_0_to_1_is_refused(share):
    with pytest.raises(vg.ValueArgumentError, match="beta1"):
        optim.Adam([vg.Value(1.0)], beta1=share)


def test_numpy_arrays_of_state_are_float64():
    assert optim.Adam([vg.Value(1.0)]).state()["v"].dtype == np.float64
