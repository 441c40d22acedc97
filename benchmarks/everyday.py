"""Programs as people write them, in plain scalar Python: simulations, filters, prices, networks.

Why: what a compiler finds in its favourite benchmarks says little.  These have what others have: a solver within a time
loop, a tree that shrinks, a plate with edges, units of a state, pairs of bodies, branches on numbers.

Where to start reading: ``PROGRAMS``; each entry is a function of numbers and lists, and its arguments.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

import valuegrad as vg

Program = tuple[Callable[..., Any], tuple[Any, ...]]


def path() -> Program:
    """An arithmetic Asian option on one path of 252 days."""

    def payoff(spot, vol, rate, normals):
        total = 0.0
        for z in normals:
            spot = spot * vg.exp((rate - vol * vol / 2) / 252 + vol * z / 252**0.5)
            total = total + spot
        return vg.exp(-rate) * vg.relu(total / len(normals) - 100.0)

    return payoff, (100.0, 0.2, 0.03, np.random.default_rng(1).normal(size=252).tolist())


def runge_kutta() -> Program:
    """A damped oscillator over 1,000 steps of Runge and Kutta's."""

    def energy(x, v, stiffness):
        h = 0.01
        for _ in range(1000):
            a1 = -stiffness * x - 0.1 * v
            x2, v2 = x + h / 2 * v, v + h / 2 * a1
            a2 = -stiffness * x2 - 0.1 * v2
            x3, v3 = x + h / 2 * v2, v + h / 2 * a2
            a3 = -stiffness * x3 - 0.1 * v3
            x4, v4 = x + h * v3, v + h * a3
            a4 = -stiffness * x4 - 0.1 * v4
            x, v = x + h / 6 * (v + 2 * v2 + 2 * v3 + v4), v + h / 6 * (a1 + 2 * a2 + 2 * a3 + a4)
        return v * v + stiffness * x * x

    return energy, (1.0, 0.5, 2.0)


def kalman() -> Program:
    """The likelihood of 200 measurements under a Kalman filter with four states."""
    order = range(4)
    move = [[1.0 if i == j else 0.1 if j == i + 1 else 0.0 for j in order] for i in order]

    def product(a, b):
        return [[vg.dot(row, [b[k][j] for k in order]) for j in order] for row in a]

    def likelihood(process, noise, ys):
        x, p, total = [0.0] * 4, [[float(i == j) for j in order] for i in order], 0.0
        for y in ys:
            x = [vg.dot(row, x) for row in move]
            p = product(product(move, p), [list(column) for column in zip(*move)])
            p = [[p[i][j] + (process if i == j else 0.0) for j in order] for i in order]
            s, error = p[0][0] + noise, y - x[0]
            gain = [p[i][0] / s for i in order]
            total = total - 0.5 * (vg.log(s) + error * error / s)
            x = [x[i] + gain[i] * error for i in order]
            p = [[p[i][j] - gain[i] * p[0][j] for j in order] for i in order]
        return total

    return likelihood, (0.1, 0.2, np.sin(np.arange(200.0)).tolist())


def recurrent() -> Program:
    """A dense LSTM with 16 units over 100 steps."""
    units = range(16)

    def output(weights, xs):
        c, h, total = [0.0] * 16, [0.0] * 16, 0.0
        for x in xs:
            i, f, g, o = ([vg.dot(row[:16], h) + row[16] * x + row[17] for row in rows] for rows in weights)
            c = [vg.sigmoid(f[j]) * c[j] + vg.sigmoid(i[j]) * vg.tanh(g[j]) for j in units]
            h = [vg.sigmoid(o[j]) * vg.tanh(c[j]) for j in units]
            total = total + vg.sum(h)
        return total

    rng = np.random.default_rng(2)
    return output, ((0.3 * rng.normal(size=(4, 16, 18))).tolist(), rng.normal(size=100).tolist())


def markov() -> Program:
    """The likelihood of 100 measurements under a hidden Markov model with eight states."""
    states = range(8)

    def likelihood(moves, means, ys):
        chance = [-0.5 * (ys[0] - means[j]) ** 2 for j in states]
        for y in ys[1:]:
            chance = [
                vg.logsumexp([chance[i] + moves[i][j] for i in states]) - 0.5 * (y - means[j]) ** 2 for j in states
            ]
        return vg.logsumexp(chance)

    rng = np.random.default_rng(3)
    return likelihood, (rng.normal(size=(8, 8)).tolist(), rng.normal(size=8).tolist(), rng.normal(size=100).tolist())


def bodies() -> Program:
    """Eight bodies that attract each other, 100 steps."""
    order, axes = range(8), range(3)

    def spread(x, v):
        for _ in range(100):
            force = [[0.0] * 3 for _ in order]
            for i in order:
                for j in order:
                    if i != j:
                        d = [x[j][k] - x[i][k] for k in axes]
                        w = (d[0] * d[0] + d[1] * d[1] + d[2] * d[2] + 0.01) ** -1.5
                        force[i] = [force[i][k] + w * d[k] for k in axes]
            v = [[v[i][k] + 0.01 * force[i][k] for k in axes] for i in order]
            x = [[x[i][k] + 0.01 * v[i][k] for k in axes] for i in order]
        return vg.sum([a * a for row in x for a in row])

    rng = np.random.default_rng(4)
    return spread, (rng.normal(size=(8, 3)).tolist(), rng.normal(size=(8, 3)).tolist())


def diffusion() -> Program:
    """A put by implicit finite differences: 50 places, 50 steps, each of which solves three diagonals (Thomas)."""
    n, steps = 50, 50

    def price(vol, rate, strike):
        width, dt = 4.0 / n, 1.0 / steps
        v = [vg.relu(strike - vg.exp(i * width - 2.0)) for i in range(n + 1)]
        a, b = vol * vol / 2 / width**2, (rate - vol * vol / 2) / (2 * width)
        low, middle, up = dt * (b - a), 1 + dt * (2 * a + rate), -dt * (a + b)
        for _ in range(steps):
            c, d = [0.0, up / middle], [v[0], (v[1] - low * v[0]) / middle]
            for i in range(2, n):
                pivot = middle - low * c[i - 1]
                c.append(up / pivot)
                d.append((v[i] - low * d[i - 1]) / pivot)
            after = [v[0]] + [0.0] * (n - 1) + [v[n]]
            for i in range(n - 1, 0, -1):
                after[i] = d[i] - c[i] * after[i + 1]
            v = after
        return v[n // 2]

    return price, (0.3, 0.03, 1.1)


def tree() -> Program:
    """An American put on a binomial tree of 100 steps (Cox, Ross and Rubinstein 1979)."""
    n = 100

    def price(spot, vol, rate, strike):
        up = vg.exp(vol * (1.0 / n) ** 0.5)
        chance = (vg.exp(rate / n) - 1 / up) / (up - 1 / up)
        discount = vg.exp(-rate / n)
        levels = [spot * up ** (k - n) for k in range(2 * n + 1)]
        v = [vg.relu(strike - levels[2 * j]) for j in range(n + 1)]
        for t in range(n - 1, -1, -1):
            later = [discount * (chance * v[j + 1] + (1 - chance) * v[j]) for j in range(t + 1)]
            v = [vg.maximum(x, strike - levels[n + 2 * j - t]) for j, x in enumerate(later)]
        return v[0]

    return price, (100.0, 0.2, 0.03, 105.0)


def plate() -> Program:
    """Waves in a plate of 24 x 24 points that is fixed at its edges, 40 steps."""
    n = 24

    def energy(speed, heights):
        u = [list(row) for row in heights]
        before = [[0.0] * n for _ in range(n)]
        for _ in range(40):
            after = [[0.0] * n for _ in range(n)]
            for i in range(1, n - 1):
                for j in range(1, n - 1):
                    around = u[i - 1][j] + u[i + 1][j] + u[i][j - 1] + u[i][j + 1] - 4 * u[i][j]
                    after[i][j] = 2 * u[i][j] - before[i][j] + speed * around
            before, u = u, after
        return vg.sum([x * x for row in u for x in row])

    return energy, (0.1, np.random.default_rng(6).normal(size=(n, n)).tolist())


def network() -> Program:
    """The mean square error of a network with 32 hidden units on 200 points."""

    def error(weights, points):
        total = 0.0
        for *xs, y in points:
            hidden = [vg.tanh(vg.dot(row[:8], xs) + row[8]) for row in weights]
            total = total + (vg.sum([row[9] * h for row, h in zip(weights, hidden)]) - y) ** 2
        return total / len(points)

    rng = np.random.default_rng(5)
    return error, ((0.3 * rng.normal(size=(32, 10))).tolist(), rng.normal(size=(200, 9)).tolist())


PROGRAMS = {
    "path": path,
    "runge_kutta": runge_kutta,
    "kalman": kalman,
    "recurrent": recurrent,
    "markov": markov,
    "bodies": bodies,
    "diffusion": diffusion,
    "tree": tree,
    "plate": plate,
    "network": network,
}
