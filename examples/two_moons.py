"""A small network learns to tell two half-moons of points apart.

Every weight is a Value; the loss is ordinary arithmetic on them.

    $ python examples/two_moons.py
    step   0: loss 0.5679, 41 of 60 right
    step  25: loss 0.1683, 54 of 60 right
    step  50: loss 0.1152, 57 of 60 right
    step  75: loss 0.0516, 59 of 60 right
    step 100: loss 0.0254, 60 of 60 right
"""

import math
import random

import valuegrad as vg
from valuegrad import nn, optim


def moons(n, rng):
    """Points of two interleaved half circles with noise, and 0 or 1 for which one."""
    points = []
    for i in range(n):
        angle, which = rng.uniform(0.0, math.pi), i % 2
        x, y = math.cos(angle), math.sin(angle)
        point = (1.0 - x, 0.5 - y) if which else (x, y)
        points.append(([coordinate + rng.gauss(0.0, 0.1) for coordinate in point], which))
    return points


def main():
    """Train, and print how it goes."""
    rng = random.Random(1)
    data = moons(60, rng)
    model = nn.MLP(2, [16, 1], rng=rng)
    adam = optim.Adam(model.parameters(), 0.05)
    for step in range(101):
        scores = [model(point) for point, _ in data]
        # The logistic loss: softplus(score) for points of moon 0, softplus(-score) for those of moon 1.
        loss = vg.mean([vg.softplus(-score if which else score) for score, (_, which) in zip(scores, data)])
        if step % 25 == 0:
            right = sum((score > 0.0) == bool(which) for score, (_, which) in zip(scores, data))
            print(f"step {step:3}: loss {loss:.4f}, {right} of {len(data)} right")
        loss.backward()
        adam.step()
        adam.zero_grad()


if __name__ == "__main__":
    main()
