"""All benchmarks with one command; writes the tables into README.md here, and the summary into the project's.

    pip install -r benchmarks/requirements.txt
    python benchmarks/run_all.py

Where to start reading: ``SUMMARY``, then ``run``.
"""

import argparse
import datetime
from pathlib import Path

import chain
import gpt
import harness
import memory
import step

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


def run(quick: bool) -> dict[str, harness.Report]:
    """Every benchmark, one after the other; within each the contestants take turns."""
    if quick:
        return {
            "chain": chain.run(operations=20_000, rounds=3),
            "memory": memory.run(operations=200_000),
            "step": step.run(rounds=3, steps=1),
            "gpt": gpt.run(rounds=3, steps=5),
        }
    return {
        "chain": chain.run(operations=100_000, rounds=9),
        "memory": memory.run(operations=1_000_000),
        "step": step.run(rounds=7, steps=3),
        "gpt": gpt.run(rounds=15, steps=20),
    }


def summary(reports: dict[str, harness.Report]) -> str:
    """One line for each of the numbers that were to be reached, with how many times ours the others take."""
    lines = ["| what | valuegrad, median (best) | to reach | the others |", "|---|---:|---|---|"]
    for what, report, metric, unit, goal in SUMMARY:
        runs = reports[report].runs
        ours = reports[report].of(harness.OURS)
        if ours is None:
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


def front(reports: dict[str, harness.Report]) -> str:
    """The project README's table: ours, and the peers that people know."""
    headings = ["", "valuegrad", *FRONT_PEERS.values()]
    lines = [headings, ["---"] + ["---:"] * (len(headings) - 1)]
    for what, report, metric, unit, _ in SUMMARY:
        ours = reports[report].of(harness.OURS)
        if ours is None:
            continue
        line = [what, f"{harness.short(ours.median(metric))} {unit}"]
        for peer in FRONT_PEERS:
            runs = reports[report].of(peer) or reports[report].of(f"{peer}, float64")
            line.append("–")
            if runs is not None:
                line[-1] = f"{harness.short(runs.median(metric))} (×{harness.short(runs.ratio(ours, metric))})"
        lines.append(line)
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def write(reports: dict[str, harness.Report]) -> None:
    """Fill in both pages."""
    about = f"{harness.machine()}. {datetime.date.today()}, `python benchmarks/run_all.py`."
    tables = "\n".join(harness.markdown(report) for report in reports.values())
    sections = {
        TABLES: f"{about}\n\n{summary(reports)}\n{tables}",
        FRONT: f"{front(reports)}\nMedians, and in brackets how many times ours; how it is measured and more peers: "
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
    reports = run(arguments.quick)
    for report in reports.values():
        harness.show(report)
    if not arguments.quick:
        write(reports)
    if arguments.json is not None:
        harness.store(arguments.json, list(reports.values()))


if __name__ == "__main__":
    main()
