"""Memory a node: the chain s = s*x + y, held.

Each contestant records a chain of N operations and one of 2N in two fresh processes; the difference
of their peak memory divided by N is what a node costs, allocator and
all, and leaves out the interpreter and the library.  valuegrad takes memory 2 MB at a time, so at the
default length its figure is good to 2 bytes.

Where to start reading: ``prepare``.
"""

import gc
from pathlib import Path
from typing import Any

import contestants as field
import harness
from chain import chain

METRICS = {"node": "bytes a node"}


def prepare(name: str, settings: dict[str, Any]) -> tuple[str, harness.Measure]:
    contestant = field.load(name)

    def measure() -> dict[str, float]:
        gc.collect()
        before = harness.peak_memory()
        s, x, y = contestant.leaf(1.0), contestant.leaf(0.999), contestant.leaf(0.001)
        contestant.begin(s, x, y)
        s = chain(s, x, y, settings["operations"] // 2)
        after = harness.peak_memory()
        if after == before:
            # A short chain hides below what starting took.
            raise SystemExit(f"{name}: the chain did not raise the peak of {before} bytes; give more --operations")
        return {"peak": after, "check": settings["operations"]}  # chain.py checks what the chain computes

    return contestant.version, measure


def run(operations: int, contestants: list[str] | None = None) -> harness.Report:
    names = contestants or list(field.LOADERS)
    runs: list[harness.Runs] = []
    missing: dict[str, str] = {}
    for name in names:
        peaks = []
        for length in (operations, 2 * operations):
            done, absent = harness.race(Path(__file__), [name], 1, {"operations": length}, agree_within=0.0)
            missing.update(absent)
            peaks += [run.samples["peak"][0] for run in done]
        if len(peaks) == 2:
            runs.append(harness.Runs(name, done[0].version, {"node": [(peaks[1] - peaks[0]) / operations]}))
    settings = {"operations": f"{operations} and {2 * operations}"}
    return harness.Report("Memory of the chain s = s*x + y", METRICS, settings, runs, missing)


if __name__ == "__main__":
    options = {"operations": (1_000_000, "length of the shorter chain")}
    harness.main(prepare, run, __doc__.splitlines()[0], options)
