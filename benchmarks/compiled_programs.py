"""Programs as people write them (``everyday.py``), value and gradient: what compiling them gains.

- valuegrad: ``vg.compile(vg.value_and_grad(program))`` as it comes.
- straight-line code: the same with VALUEGRAD_ROLL=off, no loops are looked for.
- Values: ``vg.value_and_grad(program)``, not compiled; every call makes its graph anew.

By the first argument; one call, one lane; nothing is kept on disk.  *first call* is recording, compiling and a run.

Where to start reading: ``prepare``.
"""

import os
from pathlib import Path
from typing import Any

import harness
from everyday import PROGRAMS

import valuegrad as vg

METRICS = {
    "call": "a call, µs",
    "first": "first call, s",
    "loops_ready": "all compiled, s",
    "nodes": "nodes",
    "loops": "loops",
    "memory": "peak memory, MB",
}
LONG_ENOUGH = 0.05  # seconds a measurement lasts at least


def prepare(name: str, settings: dict[str, Any]) -> tuple[str, harness.Measure]:
    os.environ["VALUEGRAD_ROLL"] = "off" if name == "straight-line code" else "auto"
    function, arguments = PROGRAMS[settings["program"]]()
    differentiated = vg.value_and_grad(function)
    vg.compile(vg.value_and_grad(lambda x: vg.exp(x) * x))(1.0)  # all of the library is loaded
    program = differentiated if name == "Values" else vg.compile(differentiated)
    start = harness.processor_seconds()
    value, gradient = program(*arguments)
    first = harness.processor_seconds() - start
    numbers = [float(x) for x in flat([value, gradient])]
    size: dict[str, Any] = {}
    if name != "Values":
        program.warm_up(*arguments)
        size = {"loops_ready": harness.processor_seconds() - start}
        size |= {"nodes": sum(program.graph.counts.values()), "loops": len(program.graph.loops)}

    def measure() -> dict[str, Any]:
        calls, start = 0, harness.processor_seconds()
        while (seconds := harness.processor_seconds() - start) < LONG_ENOUGH:
            program(*arguments)
            calls += 1
        memory = harness.peak_memory() / 1e6
        return {"call": seconds / calls * 1e6, "first": first, **size, "memory": memory, "check": numbers}

    return vg.__version__, measure


def flat(x: Any) -> list[Any]:
    """The numbers of nested lists."""
    return [y for part in x for y in flat(part)] if isinstance(x, (list, tuple)) else [x]


def run(program: str, rounds: int, contestants: list[str] | None = None) -> harness.Report:
    if program not in PROGRAMS:
        raise SystemExit(f"compiled_programs.py got --program {program!r}; expected one of {', '.join(PROGRAMS)}")
    settings = {"program": program}
    names = contestants or [harness.OURS, "straight-line code", "Values"]
    runs, missing = harness.race(Path(__file__), names, rounds, settings, agree_within=1e-8)
    title = PROGRAMS[program].__doc__.rstrip(".")
    return harness.Report(title, METRICS, {**settings, "rounds": rounds}, runs, missing)


if __name__ == "__main__":
    options = {
        "program": ("recurrent", f"which: {', '.join(PROGRAMS)}"),
        "rounds": (5, "measurements of each contestant"),
    }
    harness.main(prepare, run, __doc__.splitlines()[0], options)
