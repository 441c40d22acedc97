"""Program.iterate: what step after step gives, without the steps in Python."""

from __future__ import annotations

import numpy as np
import pytest
from engines import needs_passes

import valuegrad as vg

RNG = np.random.default_rng(7)


def test_numbers_step_by_step() -> None:
    newton = vg.compile(lambda x, a: (x + a / x) / 2)
    assert newton.iterate(1.0, (2.0,), steps=6) == pytest.approx(2**0.5, rel=1e-15)
    walk = vg.compile(lambda x, u: x + u)
    assert walk.iterate(1.0, (np.array([1.0, 2.0, 4.0]),)) == 8.0
    assert walk.iterate(1.0, np.array([1.0, 2.0, 4.0])) == 8.0
    assert vg.compile(lambda x: 2 * x).iterate(1.0, steps=10) == 1024.0


@pytest.mark.parametrize("steps", [1, 2, 3, 40])
def test_lanes_with_a_nested_state_and_extras(steps) -> None:
    @vg.compile(strict=True)
    def lorenz(state, dt, kick):
        x, (y, z) = state["x"], state["yz"]
        new = {"x": x + dt * 10 * (y - x) + kick, "yz": (y + dt * (x * (28 - z) - y), z + dt * (x * y - 8 / 3 * z))}
        return new, {"sum": x + y, "dt": dt, "list": np.array([x, y])}

    first = {"x": 1.0, "yz": (RNG.normal(size=11), 3.0)}
    kicks = RNG.normal(size=(steps, 11))
    state, extras = first, []
    for kick in kicks:
        state, extra = lorenz(state, 0.01, kick)
        extras.append(extra)
    found, rows = lorenz.iterate(first, (0.01, kicks))
    assert found["x"].tolist() == state["x"].tolist()
    assert [a.tolist() for a in found["yz"]] == [a.tolist() for a in state["yz"]]
    for name in ("sum", "dt", "list"):
        assert rows[name].tolist() == np.stack([extra[name] for extra in extras]).tolist(), name


def test_inputs_of_steps_broadcast_against_the_lanes() -> None:
    f = vg.compile(lambda x, a, b: x * a + b)
    a, b, x = RNG.normal(size=9), RNG.normal(size=(9, 1, 3)), RNG.normal(size=(2, 3))
    expected = x
    for i in range(9):
        expected = expected * a[i] + b[i]
    assert f.iterate(x, (a, b)) == pytest.approx(expected)
    assert f.iterate(0.5, (a, b)).shape == (1, 3)


def test_a_step_in_which_lanes_leave_the_path_is_right() -> None:
    @vg.compile(strict=True)
    def f(x, u):
        return (x * 0.5 if x > u else x + 1.0), x

    x, u = RNG.normal(size=50), RNG.normal(size=(60, 50))
    state, extras = x, []
    for row in u:
        state, extra = f(state, row)
        extras.append(extra)
    found, rows = f.iterate(x, (u,))
    assert found.tolist() == state.tolist()
    assert rows.tolist() == np.stack(extras).tolist()
    single, row = f.iterate(float(x[0]), (u[:, 0],))
    assert single == state[0]
    assert row.tolist() == rows[:, 0].tolist()


@needs_passes
def test_a_training_loop_is_one_call() -> None:
    @vg.compile(vectors="state", strict=True)
    def step(state, x, y, rate):
        loss, grads = vg.value_and_grad(lambda w: (w[0] * x + w[1] - y) ** 2)(state["w"])
        velocity = 0.5 * state["v"] - rate * np.array([vg.batch_mean(g) for g in grads])
        return {"w": state["w"] + velocity, "v": velocity, "t": state["t"] + 1}, vg.batch_mean(loss)

    x = RNG.normal(size=(50, 16))
    y = 3 * x - 1
    first = {"w": np.zeros(2), "v": np.zeros(2), "t": 0.0}
    state, losses = first, []
    for i in range(50):
        state, loss = step(state, x[i], y[i], 0.1)
        losses.append(loss)
    found, rows = step.iterate(first, (x, y, 0.1))
    assert found["w"].tolist() == state["w"].tolist()
    assert found["t"] == state["t"] == 50.0
    assert rows.tolist() == losses
    assert found["w"].tolist() == pytest.approx([3.0, -1.0], abs=1e-3)


def test_float32_and_captured_values() -> None:
    w = vg.Value(0.5)
    f = vg.compile(lambda x, u: x * w + u, dtype="float32")
    u = RNG.normal(size=(5, 4))
    state = np.ones(4)
    for row in u:
        state = f(state, row)
    found = f.iterate(np.ones(4), (u,))
    assert found.dtype == np.float32
    assert found.tolist() == state.tolist()


def test_wrong_steps_are_refused() -> None:
    f = vg.compile(lambda x, u: x + u)
    with pytest.raises(vg.ValueArgumentError, match=r"<lambda>\.iterate\(\) got neither steps nor an array"):
        f.iterate(1.0, (2.0,))
    with pytest.raises(vg.ShapeError, match=r"got steps=4 and inputs of shape \(3,\)"):
        f.iterate(1.0, (np.ones(3),), steps=4)
    with pytest.raises(vg.ValueArgumentError, match="steps=-1; give 0 or more"):
        f.iterate(1.0, (2.0,), steps=-1)
    with pytest.raises(vg.ShapeError, match=r"from a step; expected a new state in the structure of the old one"):
        vg.compile(lambda x: [x, x, x]).iterate(1.0, steps=2)
    assert f.iterate(1.0, (2.0,), steps=0) == 1.0
