"""A differential equation in many states, integrated, with the gradient of a number by all states at the start.

A rod that heats itself (thermal explosion, after Frank-Kamenetskii): heat spreads to the neighbours, the ends are
cold, and a reaction gives the more heat the hotter it is already.  Explicit Euler steps.  One lane: the loop over the
states is Python's, and so is that over the steps.

Where to start reading: ``mean_temperature``, the function; ``yardsticks.py`` has what runs against it.
"""

from typing import Any

import harness
import numpy as np
import yardsticks

import valuegrad as vg

DIFFUSION, RATE, SCALE = 0.25, 0.01, 0.05  # times the step's length, where that belongs


def step(u):
    """The temperatures a step later."""
    rod = [0.0, *u, 0.0]
    return [
        b + DIFFUSION * (a - 2 * b + c) + RATE * vg.exp(b / (1 + SCALE * b)) for a, b, c in zip(rod, rod[1:], rod[2:])
    ]


def prepare(name: str, settings: dict[str, Any]) -> tuple[str, harness.Measure]:
    states, steps = settings["states"], settings["steps"]
    u = np.random.default_rng(42).random(states)
    constants = np.array([DIFFUSION, RATE, SCALE])

    def mean_temperature(u, constants):
        for _ in range(steps):
            u = step(u)
        return sum(u) / len(u)

    problem = yardsticks.Problem(
        name="ode",
        function=mean_temperature,
        inputs=[u, constants],
        vectors=("u", "constants"),
        by=1,
        small=[u[:4], constants],
        sizes=(states, steps),
    )
    return yardsticks.prepare(name, problem)


def run(states: int, steps: int, rounds: int, contestants: list[str] | None = None) -> harness.Report:
    settings = {"states": states, "steps": steps}
    title = f"A differential equation, {states:,} states, {steps} steps"
    return yardsticks.run(__file__, title, settings, rounds, contestants)


if __name__ == "__main__":
    options = {
        "states": (10_000, "states"),
        "steps": (10, "steps in time"),
        "rounds": (5, "measurements of each contestant"),
    }
    harness.main(prepare, run, __doc__.splitlines()[0], options)
