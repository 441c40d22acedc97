"""A training step of the script in ``microgpt_style.py``, with each class of Value in it.

A step is one document: build the graph, walk it backward, let 4,192 parameters learn (Adam in plain
Python, part of the script), free the graph.  All contestants train on the same documents from the same
starting weights, and their losses must agree, with the original microgpt's where those are known.

Where to start reading: ``prepare``.
"""

from pathlib import Path
from typing import Any

import contestants as field
import harness
from documents import check_losses, documents
from microgpt_style import losses

METRICS = {"step": "ms a step", "peak": "peak memory of the process, MB"}
HAVE_ALL_METHODS = [name for name in field.LOADERS if name not in ("xad", "torch")]


def prepare(name: str, settings: dict[str, Any]) -> tuple[str, harness.Measure]:
    contestant = field.load(name)
    training = losses(contestant.leaf, documents()[1])
    seen: list[float] = []

    def measure() -> dict[str, float]:
        total = 0.0
        for _ in range(settings["steps_a_round"]):
            loss, seconds = next(training)
            seen.append(loss)
            total += seconds
        check_losses(name, seen)
        peak = harness.peak_memory() / 1e6
        return {"step": total / settings["steps_a_round"] * 1e3, "peak": peak, "check": sum(seen)}

    return contestant.version, measure


def run(rounds: int, steps: int, contestants: list[str] | None = None) -> harness.Report:
    names = contestants or HAVE_ALL_METHODS
    settings = {"steps_a_round": steps}
    runs, missing = harness.race(Path(__file__), names, rounds, settings, agree_within=1e-9)
    shown = {**settings, "rounds": rounds, "data": documents()[0]}
    return harness.Report("A step of microgpt's kind of script", METRICS, shown, runs, missing)


if __name__ == "__main__":
    options = {"rounds": (7, "measurements of each contestant"), "steps": (3, "training steps a measurement")}
    harness.main(prepare, run, __doc__.splitlines()[0], options)
