"""log(sum(exp(x))) over many numbers, with its gradient: ``vg.logsumexp``, or the loop.

Where to start reading: ``library`` and ``loop``, the functions; ``yardsticks.py`` has what runs against them.
"""

from typing import Any

import harness
import numpy as np
import yardsticks

import valuegrad as vg


def library(x):
    return vg.logsumexp(list(x))


def loop(x):
    largest = vg.maximum(*x)
    total = 0.0
    for xi in x:
        total = total + vg.exp(xi - largest)
    return largest + vg.log(total)


def prepare(name: str, settings: dict[str, Any]) -> tuple[str, harness.Measure]:
    x = np.random.default_rng(42).normal(0.0, 3.0, settings["numbers"])
    function = {"library": library, "loop": loop}[settings["written"]]
    problem = yardsticks.Problem("logsumexp", function, [x], ("x",), 1, [x[:4]], (len(x),))
    return yardsticks.prepare(name, problem)


def run(numbers: int, written: str, rounds: int, contestants: list[str] | None = None) -> harness.Report:
    what = {"library": "vg.logsumexp", "loop": "as a loop"}[written]
    settings = {"numbers": numbers, "written": written}
    return yardsticks.run(__file__, f"Log-sum-exp of {numbers:,} numbers, {what}", settings, rounds, contestants)


if __name__ == "__main__":
    options = {
        "numbers": (640_000, "numbers in the list"),
        "written": ("library", "library: vg.logsumexp; loop: term by term"),
        "rounds": (5, "measurements of each contestant"),
    }
    harness.main(prepare, run, __doc__.splitlines()[0], options)
