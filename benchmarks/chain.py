"""One operation recorded from Python, and a node of the backward pass: the chain s = s*x + y.

An iteration of the chain is two operations.  Times are the process's processor time, divided by the operations, and
include Python's ``for`` loop and its dispatch of the two operators; what these cost alone, on floats
that remember nothing, is measured beside.

- record: build the chain; the graph is still held when the clock stops.
- record and free: build it and let go of it.
- backward: from the end of the chain to its leaves.

Where to start reading: ``prepare``.
"""

import gc
from pathlib import Path
from time import process_time
from typing import Any

import contestants as field
import harness

METRICS = {
    "record": "record, ns an operation",
    "record_free": "record and free, ns an operation",
    "backward": "backward, ns a node",
}


def chain(s: Any, x: Any, y: Any, iterations: int) -> Any:
    """The workload: every contestant runs these very lines."""
    for _ in range(iterations):
        s = s * x + y
    return s


FLOATS = "floats that remember nothing"


def floats(iterations: int, to_ns: float) -> dict[str, float]:
    """The loop on Python's floats; the gradient to compare is had in forward mode, untimed."""
    start = process_time()
    chain(1.0, 0.999, 0.001, iterations)
    after = process_time()
    s, tangent = 1.0, 0.0
    for _ in range(iterations):
        s, tangent = s * 0.999 + 0.001, s + tangent * 0.999
    return {"record": (after - start) * to_ns, "record_free": (after - start) * to_ns, "check": tangent}


def prepare(name: str, settings: dict[str, Any]) -> tuple[str, harness.Measure]:
    iterations = settings["operations"] // 2
    to_ns = 1e9 / (2 * iterations)
    if name == FLOATS:
        return "no graph", lambda: floats(iterations, to_ns)
    contestant = field.load(name)

    def leaves() -> list[Any]:
        gc.collect()  # what came before is not this measurement's to clean up
        numbers = [contestant.leaf(1.0), contestant.leaf(0.999), contestant.leaf(0.001)]
        contestant.begin(*numbers)
        return numbers

    def measure() -> dict[str, float]:
        s, x, y = leaves()
        start = process_time()
        s = chain(s, x, y, iterations)
        recorded = process_time()
        del s
        contestant.release()
        freed = process_time()
        del x, y

        s, x, y = leaves()
        s = chain(s, x, y, iterations)
        before = process_time()
        contestant.gradient(s)
        after = process_time()
        check = contestant.grad(x)
        del s
        contestant.release()
        return {
            "record": (recorded - start) * to_ns,
            "record_free": (freed - start) * to_ns,
            "backward": (after - before) * to_ns,
            "check": check,
        }

    return contestant.version, measure


def run(operations: int, rounds: int, contestants: list[str] | None = None) -> harness.Report:
    names = contestants or [*field.LOADERS, FLOATS]
    runs, missing = harness.race(Path(__file__), names, rounds, {"operations": operations}, agree_within=1e-9)
    settings = {"operations": operations, "rounds": rounds}
    return harness.Report("The chain s = s*x + y", METRICS, settings, runs, missing)


if __name__ == "__main__":
    options = {"operations": (100_000, "length of the chain"), "rounds": (7, "measurements of each contestant")}
    harness.main(prepare, run, __doc__.splitlines()[0], options)
