"""Gradients of whole programs against another library: HIPS autograd, which records NumPy operations.

It shares no code with ours and differentiates by vector-Jacobian products of its own; the two may
differ by rounding alone.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from engines import ONCE

import valuegrad as vg

autograd = pytest.importorskip("autograd", reason="the independent library is not installed (pip install autograd)")
anp = autograd.numpy

pytestmark = ONCE  # the engines agree to the last bit
Formula = Callable[[Any, Any], Any]
TOLERANCE = 1e-11  # 30 operations of some ulp each, magnified by a condition that `tame` keeps near one


def tame(x: Any, m: Any) -> Any:
    """Into (-1, 1) but not near 0's slope, so that random programs neither explode nor vanish."""
    return m.tanh(x) + 0.1 * x / (1.0 + x * x)


# Each step takes two earlier results and the algebra of functions: ours or the other library's.
STEPS: list[Callable[[Any, Any, Any], Any]] = [
    lambda a, b, m: a + b,
    lambda a, b, m: a - 0.7 * b,
    lambda a, b, m: a * b,
    lambda a, b, m: a / (2.0 + b * b),
    lambda a, b, m: 1.5 / (3.0 - a),
    lambda a, b, m: -a,
    lambda a, b, m: (a + 2.5) ** 3 / 10.0,
    lambda a, b, m: (a * a + 0.5) ** -0.5,
    lambda a, b, m: (a * a + 0.5) ** b,
    lambda a, b, m: 1.7**a,
    lambda a, b, m: m.exp(a),
    lambda a, b, m: m.expm1(a),
    lambda a, b, m: m.log(1.5 + a * a),
    lambda a, b, m: m.log1p(a * a),
    lambda a, b, m: m.log2(1.5 + b * b),
    lambda a, b, m: m.log10(1.5 + b * b),
    lambda a, b, m: m.sqrt(0.3 + a * a),
    lambda a, b, m: m.sin(3.0 * a),
    lambda a, b, m: m.cos(3.0 * a),
    lambda a, b, m: m.tan(a),
    lambda a, b, m: m.arcsin(0.5 * a),
    lambda a, b, m: m.arccos(0.5 * a),
    lambda a, b, m: m.arctan(a),
    lambda a, b, m: m.arctan2(a, 1.5 + b),
    lambda a, b, m: m.sinh(a),
    lambda a, b, m: m.cosh(a),
    lambda a, b, m: m.tanh(a),
    lambda a, b, m: m.arcsinh(a),
    lambda a, b, m: m.arccosh(1.5 + a * a),
    lambda a, b, m: m.arctanh(0.5 * a),
    lambda a, b, m: m.maximum(a, b),
    lambda a, b, m: m.minimum(a, 0.1),
    lambda a, b, m: m.absolute(a + 0.01),
    lambda a, b, m: m.where(a > b, a * b, b * b),
]


class Ours:
    """valuegrad's functions under NumPy's names."""

    arcsin, arccos, arctan, arctan2 = vg.asin, vg.acos, vg.atan, vg.atan2
    arcsinh, arccosh, arctanh, absolute = vg.asinh, vg.acosh, vg.atanh, vg.abs

    def __getattr__(self, name: str) -> Any:
        return getattr(vg, name)


def program(rng: random.Random, length: int) -> Formula:
    """A random expression graph with shared results, as a function of a list of numbers."""
    choices = [(rng.choice(STEPS), rng.random(), rng.random()) for _ in range(length)]

    def run(xs: Any, m: Any) -> Any:
        values = [xs[i] for i in range(4)]
        for step, i, j in choices:
            values.append(tame(step(values[int(i * len(values))], values[int(j * len(values))], m), m))
        return values[-1] + 0.3 * values[-2] * values[-3]

    return run


def ours(f: Formula, point: list[float]) -> tuple[float, list[float]]:
    xs = [vg.Value(x) for x in point]
    out = f(xs, Ours())
    out.backward()
    return out.data, [x.grad for x in xs]


def theirs(f: Formula, point: list[float]) -> tuple[float, list[float]]:
    value, grads = autograd.value_and_grad(lambda xs: f(xs, anp))(np.array(point))
    return float(value), grads.tolist()


@pytest.mark.parametrize("seed", range(10))
def test_random_programs_agree_within_rounding(seed: int) -> None:
    """10 times 120 programs of up to 30 steps in four variables."""
    rng = random.Random(seed)
    for _ in range(120):
        f = program(rng, rng.randint(1, 30))
        point = [rng.uniform(-1, 1) for _ in range(4)]
        (value, grads), (right, right_grads) = ours(f, point), theirs(f, point)
        assert value == pytest.approx(right, rel=TOLERANCE, abs=TOLERANCE)
        assert grads == pytest.approx(right_grads, rel=TOLERANCE, abs=TOLERANCE)
        assert math.isfinite(value)


def test_the_programs_use_every_step() -> None:
    rng = random.Random(0)
    assert {rng.choice(STEPS) for _ in range(1200)} == set(STEPS)


def test_a_wrong_gradient_would_be_seen() -> None:
    def wrong(xs: Any, m: Any) -> Any:
        if m is anp:
            return xs[0] * xs[1]
        return vg.Value(xs[0].data * xs[1].data, xs[:2], (xs[1].data, xs[0].data * (1 + 1e-9)))

    point = [0.3, 0.5, 0.7, 0.9]
    assert ours(wrong, point)[1] != pytest.approx(theirs(wrong, point)[1], rel=TOLERANCE, abs=TOLERANCE)


def network(m: Any) -> Formula:
    """Attention, normalisation and a cross entropy over matrices: NumPy's operations there, our fused ones here."""

    def arrays(xs: Any, _: Any) -> Any:
        w, v = xs[:12].reshape(4, 3), xs[12:24].reshape(3, 4)
        x = anp.array([[0.3, -0.8, 0.5], [0.1, 0.9, -0.4]])
        h = x @ w.T
        h = h / anp.sqrt(anp.mean(h * h, axis=1, keepdims=True) + 1e-5)
        scores = h @ h.T / 2.0
        weights = anp.exp(scores - anp.max(scores, axis=1, keepdims=True))
        logits = (weights / anp.sum(weights, axis=1, keepdims=True)) @ h @ v.T
        shifted = logits - anp.max(logits, axis=1, keepdims=True)
        log_p = shifted - anp.log(anp.sum(anp.exp(shifted), axis=1, keepdims=True))
        return -(log_p[0, 2] + log_p[1, 0]) / 2.0

    def scalars(xs: Any, _: Any) -> Any:
        w, v = [xs[3 * i : 3 * i + 3] for i in range(4)], [xs[12 + 4 * i : 16 + 4 * i] for i in range(3)]
        hs = [[vg.dot(row, x) for row in w] for x in ([0.3, -0.8, 0.5], [0.1, 0.9, -0.4])]
        hs = [[h / vg.sqrt(vg.mean([h * h for h in hi]) + 1e-5) for h in hi] for hi in hs]
        losses = []
        for hi, target in zip(hs, (2, 0)):
            weights = vg.softmax([vg.dot(hi, hj) / 2.0 for hj in hs])
            mixed = [vg.dot(weights, column) for column in zip(*hs)]
            losses.append(vg.cross_entropy([vg.dot(row, mixed) for row in v], target))
        return vg.mean(losses)

    return arrays if m is anp else scalars


@pytest.mark.parametrize("seed", range(5))
def test_a_network_of_fused_operations_agrees_within_rounding(seed: int) -> None:
    rng = random.Random(seed)
    point = [rng.gauss(0, 0.7) for _ in range(24)]
    value, grads = ours(network(vg), point)
    right, right_grads = theirs(network(anp), point)
    assert value == pytest.approx(right, rel=1e-14)
    assert grads == pytest.approx(right_grads, rel=1e-12, abs=1e-14)
