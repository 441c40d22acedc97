"""Programs in the style of micrograd and of microgpt: they need another import, and nothing else."""

from __future__ import annotations

import math
import random
from itertools import pairwise
from typing import Any

import pytest

from valuegrad import Value


# ------------------------------------------------------------------------------------- micrograd's style
class Neuron:
    """Weights times inputs, through a relu or a tanh; written with what micrograd's Value offers."""

    def __init__(self, rng: random.Random, inputs: int, nonlinear: bool = True) -> None:
        self.w = [Value(rng.uniform(-1, 1)) for _ in range(inputs)]
        self.b = Value(0)
        self.nonlinear = nonlinear

    def __call__(self, x: Any) -> Any:
        act = sum((wi * xi for wi, xi in zip(self.w, x)), self.b)
        return act.relu() if self.nonlinear else act

    def parameters(self) -> list[Any]:
        return [*self.w, self.b]


class Network:
    def __init__(self, rng: random.Random, sizes: list[int]) -> None:
        self.layers = [
            [Neuron(rng, before, nonlinear=i < len(sizes) - 2) for _ in range(after)]
            for i, (before, after) in enumerate(pairwise(sizes))
        ]

    def __call__(self, x: Any) -> Any:
        for layer in self.layers:
            x = [neuron(x) for neuron in layer]
        return x[0]

    def parameters(self) -> list[Any]:
        return [p for layer in self.layers for neuron in layer for p in neuron.parameters()]


def test_a_micrograd_style_network_learns_xor_with_a_hinge_loss() -> None:
    model = Network(random.Random(1), [2, 8, 1])
    points = [([0.0, 0.0], -1), ([0.0, 1.0], 1), ([1.0, 0.0], 1), ([1.0, 1.0], -1)]
    losses = []
    for step in range(150):
        scores = [model(list(map(Value, x))) for x, _ in points]
        data_loss = sum((1 + -label * score).relu() for (_, label), score in zip(points, scores)) * (1.0 / len(points))
        reg_loss = 1e-4 * sum(p * p for p in model.parameters())
        total = data_loss + reg_loss
        for p in model.parameters():
            p.grad = 0
        total.backward()
        for p in model.parameters():
            p.data -= (0.3 - 0.25 * step / 150) * p.grad
        losses.append(total.data)
    assert losses[-1] < 0.05 < losses[0]
    assert all((model(x).data > 0) == (label > 0) for x, label in points)


def test_the_arithmetic_of_a_long_mixed_expression() -> None:
    """Every operator of micrograd's Value, by hand and against central differences."""

    def formula(a: Any, b: Any) -> Any:
        relu = lambda v: v.relu() if isinstance(v, Value) else max(v, 0.0)  # noqa: E731
        c = a + b
        d = a * b + b**3
        c += c + 1
        c += 1 + c + (-a)
        d += d * 2 + relu(b + a)
        d += 3 * d + relu(b - a)
        e = c - d
        f = e**2
        g = f / 2.0
        return g + 10.0 / f

    a, b = Value(-4.0), Value(2.0)
    out = formula(a, b)
    out.backward()
    assert out.data == formula(-4.0, 2.0)
    h = 1e-6
    slope_a = (formula(-4.0 + h, 2.0) - formula(-4.0 - h, 2.0)) / (2 * h)
    slope_b = (formula(-4.0, 2.0 + h) - formula(-4.0, 2.0 - h)) / (2 * h)
    assert a.grad == pytest.approx(slope_a, rel=1e-8)  # the differences' rounding is about 1e-9
    assert b.grad == pytest.approx(slope_b, rel=1e-8)


def test_a_user_may_walk_the_graph_with_sets_and_dicts() -> None:
    """A topological sort with a set of visited Values, then the chain rule by hand, beside backward()."""
    x, y = Value(2.0), Value(3.0)
    shared = x * y
    out = (shared + x).exp() / shared.tanh()
    topo: list[Any] = []
    visited = set()

    def build(v: Any) -> None:
        if v not in visited:
            visited.add(v)
            for child in v.children:
                build(child)
            topo.append(v)

    build(out)
    grads = dict.fromkeys(topo, 0.0)
    grads[out] = 1.0
    for v in reversed(topo):
        for child, local_grad in zip(v.children, v.local_grads):
            grads[child] += local_grad * grads[v]
    out.backward()
    assert {grads[x], grads[y]} == {x.grad, y.grad}
    assert all(grads[v] == v.grad for v in topo)


# -------------------------------------------------------------------------------------- microgpt's style
def linear(x: list[Any], w: list[list[Any]]) -> list[Any]:
    return [sum(wi * xi for wi, xi in zip(row, x)) for row in w]


def softmax(logits: list[Any]) -> list[Any]:
    largest = max(v.data for v in logits)
    exps = [(v - largest).exp() for v in logits]
    total = sum(exps)
    return [e / total for e in exps]


def rmsnorm(x: list[Any]) -> list[Any]:
    scale = (sum(xi * xi for xi in x) / len(x) + 1e-5) ** -0.5
    return [xi * scale for xi in x]


def next_letter(state: dict[str, Any], letter: int, position: int, keys: list[Any], values: list[Any]) -> list[Any]:
    """One layer, one head of attention, in scalars; the style of microgpt's model."""
    x = [t + p for t, p in zip(state["wte"][letter], state["wpe"][position])]
    residual = x = rmsnorm(x)
    q, k, v = linear(x, state["wq"]), linear(x, state["wk"]), linear(x, state["wv"])
    keys.append(k)
    values.append(v)
    scores = [sum(qi * ki for qi, ki in zip(q, key)) / len(q) ** 0.5 for key in keys]
    weights = softmax(scores)
    attended = [sum(w * value[j] for w, value in zip(weights, values)) for j in range(len(q))]
    x = [a + b for a, b in zip(linear(attended, state["wo"]), residual)]
    hidden = [h.relu() for h in linear(rmsnorm(x), state["up"])]
    x = [a + b for a, b in zip(linear(hidden, state["down"]), x)]
    return linear(x, state["head"])


def test_a_microgpt_style_model_learns_a_word_with_adam() -> None:
    rng = random.Random(42)
    word, letters, width = [3, 0, 1, 2, 0, 3], 4, 4

    def matrix(rows: int, columns: int) -> list[list[Any]]:
        return [[Value(rng.gauss(0, 0.2)) for _ in range(columns)] for _ in range(rows)]

    state = {"wte": matrix(letters, width), "wpe": matrix(8, width), "head": matrix(letters, width)}
    state |= {name: matrix(width, width) for name in ("wq", "wk", "wv", "wo")}
    state |= {"up": matrix(4 * width, width), "down": matrix(width, 4 * width)}
    params = [p for rows in state.values() for row in rows for p in row]
    m, v = [0.0] * len(params), [0.0] * len(params)
    losses = []
    for step in range(40):
        keys: list[Any] = []
        values: list[Any] = []
        terms = []
        for position in range(len(word) - 1):
            probs = softmax(next_letter(state, word[position], position, keys, values))
            terms.append(-probs[word[position + 1]].log())
        loss = (1 / len(terms)) * sum(terms)
        loss.backward()
        rate = 0.05 * (1 - step / 40)
        for i, p in enumerate(params):
            m[i] = 0.85 * m[i] + 0.15 * p.grad
            v[i] = 0.99 * v[i] + 0.01 * p.grad**2
            p.data -= rate * (m[i] / (1 - 0.85 ** (step + 1))) / ((v[i] / (1 - 0.99 ** (step + 1))) ** 0.5 + 1e-8)
            p.grad = 0
        losses.append(loss.data)
    assert losses[-1] < 0.1 < 1.0 < losses[0]


def test_gradients_of_a_microgpt_style_loss_are_right() -> None:
    """Against central differences in some of the parameters; their error is about 1e-9."""
    rng = random.Random(7)
    w = [[Value(rng.gauss(0, 0.5)) for _ in range(3)] for _ in range(4)]

    def loss() -> Any:
        x = rmsnorm([Value(0.3), Value(-0.8), Value(0.5)])
        return -softmax(linear([h.relu() + h * 0.1 for h in x], w))[2].log()

    loss().backward()
    for row in w:
        for p in row:
            at, h = p.data, 1e-6
            p.data = at + h
            above = loss().data
            p.data = at - h
            below = loss().data
            p.data = at
            assert p.grad == pytest.approx((above - below) / (2 * h), rel=1e-7, abs=1e-9)


def test_the_constructor_of_microgpts_value() -> None:
    """Data, children, local gradients, by position, as tuples."""
    a = Value(0.5)
    out = Value(math.sin(a.data), (a,), (math.cos(a.data),))
    (out * out).backward()
    assert a.grad == pytest.approx(2 * math.sin(0.5) * math.cos(0.5), rel=1e-15)


def test_the_tutorials_chain_of_methods() -> None:
    """new Value(2).mul(3).add(1).pow(2).log().neg(), as the tutorial writes it."""
    a = Value(2)
    out = a.mul(3).add(1).pow(2).log().neg().exp().sub(1).div(2).relu()
    assert out.data == 0.0
    out = a.mul(3).add(1).pow(2).log().neg()
    out.backward()
    assert out.data == pytest.approx(-math.log(49), rel=1e-15)
    assert a.grad == pytest.approx(-6 / 7, rel=1e-15)
