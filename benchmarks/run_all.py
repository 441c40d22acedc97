"""All benchmarks with one command; writes the tables into README.md here, and the summary into the project's.

    pip install -r benchmarks/requirements.txt
    python benchmarks/run_all.py

Where to start reading: ``SUMMARY``, then ``benchmarks``.
"""

import argparse
import datetime
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import chain
import compiled_black_scholes
import compiled_call
import compiled_gpt
import compiled_logsumexp
import compiled_lorenz
import compiled_lstm
import compiled_mixture
import compiled_ode
import compiled_programs
import compiled_wide
import gpt
import harness
import memory
import step
from everyday import PROGRAMS

TABLES = Path(__file__).with_name("README.md")
FRONT = Path(__file__).parent.parent / "README.md"
MARKERS = {
    TABLES: ("<!-- measured: begin (written by run_all.py) -->", "<!-- measured: end -->"),
    FRONT: ("<!-- speed: begin -->", "<!-- speed: end -->"),
}

# what | report | metric | unit | what was to be reached
SUMMARY = [
    ("one operation recorded from Python, chain s = s*x + y", "chain", "record", "ns", "50 or less, 35 the aim"),
    ("the same, with freeing", "chain", "record_free", "ns", "–"),
    ("backward, a node", "chain", "backward", "ns", "20 or less, 10 the aim"),
    ("memory, a node", "memory", "node", "bytes", "80 or less"),
    ("microgpt's kind of script with this Value, a step", "step", "step", "ms", "13 or less"),
    ("our GPT, a step", "gpt", "step", "ms", "1.3 or less"),
]
COMPILED = [
    ("994 operations", "lorenz_994", "f", "µs", "0.03"),
    ("994 operations, with 6 derivatives", "lorenz_994", "fg", "µs", "0.08"),
    ("compiling the latter", "lorenz_994", "compile_fg", "s", "0.3"),
    ("10,011 operations", "lorenz_10011", "f", "µs", "0.35"),
    ("10,011 operations, with 6 derivatives", "lorenz_10011", "fg", "µs", "1.2"),
    ("compiling the latter", "lorenz_10011", "compile_fg", "s", "1.5"),
    ("99,968 operations", "lorenz_99968", "f", "µs", "4"),
    ("99,968 operations, with 6 derivatives", "lorenz_99968", "fg", "µs", "25"),
    ("compiling the latter", "lorenz_99968", "compile_fg", "s", "12"),
    ("999,964 operations", "lorenz_999964", "f", "µs", "–"),
    ("999,964 operations, with 6 derivatives", "lorenz_999964", "fg", "µs", "–"),
    ("compiling the latter", "lorenz_999964", "compile_fg", "s", "–"),
    ("Black-Scholes, the price", "black_scholes", "f", "ns", "–"),
    ("Black-Scholes with 5 Greeks", "black_scholes", "fg", "ns", "NumPy's price alone"),
    ("one call, 20 operations with 3 derivatives", "call", "fg", "µs", "1.5"),
    ("GPT training, batch 1, a document", "gpt_1_float64", "document", "µs", "–"),
    ("the same in float32", "gpt_1_float32", "document", "µs", "–"),
    ("GPT training, batch 16, a document", "gpt_16_float64", "document", "µs", "22"),
    ("the same in float32", "gpt_16_float32", "document", "µs", "22"),
    ("GPT training, batch 64, a document", "gpt_64_float64", "document", "µs", "22"),
    ("the same in float32", "gpt_64_float32", "document", "µs", "22"),
    ("Gaussian mixture, value and gradient", "mixture", "run", "ms", "C by hand"),
    ("LSTM over 1,024 steps, value and gradient", "lstm", "run", "ms", "C by hand"),
    ("log-sum-exp of 640,000 numbers, value and gradient", "logsumexp_library", "run", "ms", "C by hand"),
    ("the same, written as a loop", "logsumexp_loop", "run", "ms", "C by hand"),
    ("10,000 states, 10 steps in time, value and gradient", "ode", "run", "ms", "C by hand"),
]
# Steps a round: so many that they take us some 25 ms, as what training does in one go (after 1,000 steps the learning
# rate is 0, the work the same).
BATCHES = [
    (1, "float64", 2000),
    (1, "float32", 2000),
    (16, "float64", 300),
    (16, "float32", 500),
    (64, "float64", 80),
    (64, "float32", 150),
]


def benchmarks(quick: bool) -> dict[str, Callable[[], harness.Report]]:
    """Every benchmark, and how to run it."""
    if quick:
        return {
            "chain": partial(chain.run, operations=20_000, rounds=3),
            "memory": partial(memory.run, operations=200_000),
            "step": partial(step.run, rounds=3, steps=1),
            "gpt": partial(gpt.run, rounds=3, steps=5),
            "lorenz_994": partial(compiled_lorenz.run, operations=994, lanes=1000, rounds=2, limit=5.0),
            "black_scholes": partial(compiled_black_scholes.run, options=10_000, rounds=2, limit=5.0),
            "call": partial(compiled_call.run, lanes=100_000, rounds=2),
            "gpt_16_float64": partial(compiled_gpt.run, batch=16, dtype="float64", steps=5, rounds=2, limit=60.0),
            "mixture": partial(compiled_mixture.run, points=100, components=5, rounds=2),
            "lstm": partial(compiled_lstm.run, length=32, features=14, rounds=2),
            "logsumexp_library": partial(compiled_logsumexp.run, numbers=10_000, written="library", rounds=2),
            "logsumexp_loop": partial(compiled_logsumexp.run, numbers=10_000, written="loop", rounds=2),
            "ode": partial(compiled_ode.run, states=1_000, steps=3, rounds=2),
            "program_path": partial(compiled_programs.run, "path", rounds=2),
        }
    found: dict[str, Callable[[], harness.Report]] = {
        "chain": partial(chain.run, operations=100_000, rounds=9),
        "memory": partial(memory.run, operations=1_000_000),
        "step": partial(step.run, rounds=7, steps=3),
        "gpt": partial(gpt.run, rounds=15, steps=20),
    }
    for operations in (994, 10_011, 99_968, 999_964):
        found[f"lorenz_{operations}"] = partial(compiled_lorenz.run, operations, lanes=100_000, rounds=5, limit=30.0)
    found["black_scholes"] = partial(compiled_black_scholes.run, options=1_000_000, rounds=5, limit=30.0)
    found["call"] = partial(compiled_call.run, lanes=10_000_000, rounds=7)
    for batch, dtype, steps in BATCHES:
        found[f"gpt_{batch}_{dtype}"] = partial(compiled_gpt.run, batch, dtype, steps, rounds=7, limit=60.0)
    for dtype in ("float64", "float32"):
        found[f"wide_16_{dtype}"] = partial(compiled_wide.run, 16, dtype, "full", steps=3, rounds=5)
    found["mixture"] = partial(compiled_mixture.run, points=1_000, components=25, rounds=7)
    found["lstm"] = partial(compiled_lstm.run, length=1_024, features=14, rounds=7)
    for written in ("library", "loop"):
        found[f"logsumexp_{written}"] = partial(compiled_logsumexp.run, numbers=640_000, written=written, rounds=7)
    found["ode"] = partial(compiled_ode.run, states=10_000, steps=10, rounds=7)
    for program in PROGRAMS:
        found[f"program_{program}"] = partial(compiled_programs.run, program, rounds=5)
    return found


def run(quick: bool) -> tuple[dict[str, harness.Report], list[str]]:
    """Every benchmark, one after the other; within each the contestants take turns.

    Returns:
        The reports, and what went wrong with others: an hour's measurements are not lost for one of them.
    """
    reports, failed = {}, []
    for name, benchmark in benchmarks(quick).items():
        try:
            reports[name] = benchmark()
        except SystemExit as error:
            failed.append(f"{name}: {error}")
            print(f"run_all.py: {failed[-1]}", file=sys.stderr)
    return reports, failed


def summary(reports: dict[str, harness.Report], rows: list[tuple[str, str, str, str, str]]) -> str:
    """One line for each of the numbers that were to be reached, with how many times ours the others take."""
    lines = ["| what | valuegrad, median (best) | to reach | the others |", "|---|---:|---|---|"]
    for what, report, metric, unit, goal in rows:
        runs = reports[report].runs
        ours = reports[report].of(harness.OURS)
        if ours is None or metric not in ours.samples:
            continue
        others = [
            f"{r.contestant} ×{harness.short(r.ratio(ours, metric))}"
            for r in runs
            if r is not ours and metric in r.samples
        ]
        mine = f"{harness.short(ours.median(metric))} {unit} ({harness.short(min(ours.samples[metric]))})"
        lines.append(f"| {what} | {mine} | {goal} | {', '.join(others)} |")
    return "\n".join(lines) + "\n"


FRONT_PEERS = {"plain class": "a plain Python class", "micrograd": "micrograd", "xad": "xad", "torch": "torch"}
COMPILED_PEERS = {
    "CasADi VM": "CasADi's VM",
    "CasADi C -O3": "CasADi's C, gcc -O3",
    "Dr.Jit LLVM": "Dr.Jit",
    "JAX": "JAX",
    "Numba": "Numba",
    "PyTorch": "PyTorch",
    "NumPy": "NumPy",
    "C++ tape": "a tape in C++",
    "C by hand": "C by hand",
}


def front(reports: dict[str, harness.Report], rows: list[tuple[str, str, str, str, str]], peers: dict[str, str]) -> str:
    """A table for the project's README: ours, and the peers that people know."""
    headings = ["", "valuegrad", *peers.values()]
    lines = [headings, ["---"] + ["---:"] * (len(headings) - 1)]
    for what, report, metric, unit, _ in rows:
        ours = reports[report].of(harness.OURS)
        if ours is None or metric not in ours.samples:
            continue
        line = [what, f"{harness.short(ours.median(metric))} {unit}"]
        for peer in peers:
            runs = reports[report].of(peer) or reports[report].of(f"{peer}, float64")
            if runs is not None and metric in runs.samples:
                line.append(f"{harness.short(runs.median(metric))} (×{harness.short(runs.ratio(ours, metric))})")
            else:
                missing = reports[report].missing
                reason = missing.get(peer) or missing.get(f"{peer}, gradient") or ""
                line.append(reason if reason.startswith("does not finish") else "–")
        lines.append(line)
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def write(reports: dict[str, harness.Report]) -> None:
    """Fill in both pages."""
    about = f"{harness.machine()}. {datetime.date.today()}, `python benchmarks/run_all.py`."
    tables = "\n".join(harness.markdown(report) for report in reports.values())
    sections = {
        TABLES: f"{about}\n\n{summary(reports, SUMMARY)}\n`vg.compile`, a lane each on one thread:\n\n"
        f"{summary(reports, COMPILED)}\n{tables}",
        FRONT: f"{front(reports, SUMMARY, FRONT_PEERS)}\nFunctions compiled with `vg.compile`, a lane each on one "
        f"thread:\n\n{front(reports, COMPILED, COMPILED_PEERS)}\n"
        f"Medians, and in brackets how many times ours; how it is measured and more peers: "
        f"[benchmarks](benchmarks/README.md). {about}\n",
    }
    for path, section in sections.items():
        path.write_text(filled_in(path, section), encoding="utf-8")


def filled_in(path: Path, section: str) -> str:
    """The file's text with what stands between its markers replaced.

    Raises:
        SystemExit: the markers are missing.
    """
    begin, end = MARKERS[path]
    before, found, rest = path.read_text(encoding="utf-8").partition(begin)
    _, found_too, after = rest.partition(end)
    if not (found and found_too):
        raise SystemExit(f"{path} lacks the lines {begin} and {end}, between which the tables go")
    return f"{before}{begin}\n\n{section}\n{end}{after}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes; README.md stays as it is")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every sample to this file")
    arguments = parser.parse_args()
    reports, failed = run(arguments.quick)
    for report in reports.values():
        harness.show(report)
    if arguments.json is not None:
        harness.store(arguments.json, list(reports.values()))
    if failed:
        raise SystemExit("run_all.py: no tables were written, as these failed:\n" + "\n".join(failed))
    if not arguments.quick:
        write(reports)


if __name__ == "__main__":
    main()
