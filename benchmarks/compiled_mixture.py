"""The log-likelihood of a Gaussian mixture with its gradient by all parameters: ADBench's GMM objective.

A component has a weight, a mean and the inverse of a Cholesky factor: first the logarithms of its diagonal, then what
is below it, row by row.  The Wishart prior (gamma 1, m 0) is part of it; only its constant is left out, and that of
the normal densities.

A point is a lane, and the parameters are what all lanes share: so the gradient by them is summed over the points.  The
prior is no point's, so each has a part of it.

Where to start reading: ``log_density``, the function; ``yardsticks.py`` has what runs against it.
"""

from typing import Any

import harness
import numpy as np
import yardsticks

import valuegrad as vg

D = 10
PACKED = D * (D + 1) // 2


def log_component(alpha, mean, icf, x):
    """The logarithm of one component's density at a point, times its weight."""
    centred = [xi - mi for xi, mi in zip(x, mean)]
    squares, k = [], D
    for i in range(D):
        z = vg.exp(icf[i]) * centred[i]
        for j in range(i):
            z = z + icf[k] * centred[j]
            k += 1
        squares.append(z * z)
    return alpha + sum(icf[:D]) - 0.5 * sum(squares)


def log_prior(icf):
    """Of the inverse Cholesky factors of all components, but for a constant."""
    entries = [vg.exp(q) if i < D else q for row in icf for i, q in enumerate(row)]
    return 0.5 * sum(q * q for q in entries)


def log_density(alphas, means, icf, x, points):
    """Of one point, and its part of the prior."""
    terms = [log_component(*component, x) for component in zip(alphas, means, icf)]
    return vg.logsumexp(terms) - vg.logsumexp(list(alphas)) + log_prior(icf) / points


def prepare(name: str, settings: dict[str, Any]) -> tuple[str, harness.Measure]:
    rng, points, k = np.random.default_rng(42), settings["points"], settings["components"]
    parameters = [rng.normal(size=k), rng.normal(size=(k, D)), 0.3 * rng.normal(size=(k, PACKED))]
    x = [np.ascontiguousarray(column) for column in rng.normal(size=(points, D)).T]

    def objective(alphas, means, icf, x):
        return log_density(alphas, means, icf, x, points)

    problem = yardsticks.Problem(
        name="mixture",
        function=objective,
        inputs=[*parameters, x],
        vectors=("alphas", "means", "icf"),
        by=3,
        small=[*[p[:2] for p in parameters], [column[:8] for column in x]],
        sizes=(points, k),
    )
    return yardsticks.prepare(name, problem)


def run(points: int, components: int, rounds: int, contestants: list[str] | None = None) -> harness.Report:
    settings = {"points": points, "components": components}
    title = f"Gaussian mixture, {points:,} points, {D} dimensions, {components} components"
    return yardsticks.run(__file__, title, settings, rounds, contestants)


if __name__ == "__main__":
    options = {
        "points": (1_000, "data points"),
        "components": (25, "components, 64 at most"),
        "rounds": (5, "measurements of each contestant"),
    }
    harness.main(prepare, run, __doc__.splitlines()[0], options)
