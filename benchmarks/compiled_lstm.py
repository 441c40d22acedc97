"""The loss of an LSTM language model with its gradient by all parameters: ADBench's LSTM objective.

Each gate is elementwise: a weight and a bias for each feature.  One sequence, so one lane: a time loop that Python
unrolls, and whose state is carried from step to step.

Where to start reading: ``loss``, the function; ``yardsticks.py`` has what runs against it.
"""

from itertools import pairwise
from typing import Any

import harness
import numpy as np
import yardsticks

import valuegrad as vg

LAYERS = 2


def lstm(weights, biases, hidden, cell, x):
    """One layer's step; hidden and cell become those after it."""
    n = len(x)
    for i in range(n):
        forget = vg.sigmoid(x[i] * weights[i] + biases[i])
        ingate = vg.sigmoid(hidden[i] * weights[n + i] + biases[n + i])
        outgate = vg.sigmoid(x[i] * weights[2 * n + i] + biases[2 * n + i])
        change = vg.tanh(hidden[i] * weights[3 * n + i] + biases[3 * n + i])
        cell[i] = cell[i] * forget + ingate * change
        hidden[i] = outgate * vg.tanh(cell[i])
    return hidden


def loss(parameters, extra, state, sequence):
    """How badly each of a sequence's entries is told from those before it."""
    state = [list(row) for row in state]
    total = 0.0
    for x, target in pairwise(sequence):
        h = [xi * w for xi, w in zip(x, extra[0])]
        for k in range(0, 2 * LAYERS, 2):
            h = lstm(parameters[k], parameters[k + 1], state[k], state[k + 1], h)
        y = [hi * w + b for hi, w, b in zip(h, extra[1], extra[2])]
        norm = vg.log(2 + sum(vg.exp(yi) for yi in y))
        total = total + sum(t * (yi - norm) for t, yi in zip(target, y))
    return -total / ((len(sequence) - 1) * len(sequence[0]))


def prepare(name: str, settings: dict[str, Any]) -> tuple[str, harness.Measure]:
    rng, length, features = np.random.default_rng(42), settings["length"], settings["features"]
    parameters = rng.normal(size=(2 * LAYERS, 4 * features))
    extra = rng.normal(size=(3, features))
    state = rng.normal(size=(2 * LAYERS, features))
    sequence = (rng.random((length, features)) < 0.3) * 1.0
    problem = yardsticks.Problem(
        name="lstm",
        function=loss,
        inputs=[parameters, extra, state, sequence],
        vectors=("parameters", "extra", "state", "sequence"),
        by=2,
        small=[parameters, extra, state, sequence[:3]],
        sizes=(length, features),
    )
    return yardsticks.prepare(name, problem)


def run(length: int, features: int, rounds: int, contestants: list[str] | None = None) -> harness.Report:
    settings = {"length": length, "features": features}
    title = f"LSTM, {LAYERS} layers, a sequence of {length:,} with {features} features"
    return yardsticks.run(__file__, title, settings, rounds, contestants)


if __name__ == "__main__":
    options = {
        "length": (1_024, "steps of the sequence"),
        "features": (14, "features of a step, 16 at most"),
        "rounds": (5, "measurements of each contestant"),
    }
    harness.main(prepare, run, __doc__.splitlines()[0], options)
