"""Runs contestants against each other, and prints, stores and compares what they measured.

On a shared machine a number measured now and another measured a minute later are not comparable.
So each contestant lives in a process of its own and waits; in every round each one measures once, in
turn (A B C, A B C, ...).  A ratio is the median over the rounds of the ratios within a round.
Scripts take processor time: where the processor is shared, a clock on the wall counts the others' work.

A benchmark script has ``prepare(contestant, settings)``, which returns a function that measures once
and returns numbers by name, and ends in ``main(...)``.  Every measurement also returns ``check``, a
number or a list that the contestants must agree on: who computes something else is no comparison.

Where to start reading: ``race``; then ``chain.py``, the simplest user.
"""

import argparse
import json
import math
import os
import platform
import signal
import statistics
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
OURS = "valuegrad"
WAIT = 3  # who may take a second of processor time is waited for three seconds
WITHOUT_RATIO = ("lanes", "nodes", "loops", "extra")  # how much was done; what may be next to nothing
Measure = Callable[[], dict[str, float]]
Prepare = Callable[[str, dict[str, Any]], tuple[str, Measure]]


@dataclass
class Runs:
    """What one contestant measured: for each metric a number a round."""

    contestant: str
    version: str
    samples: dict[str, list[float]] = field(default_factory=dict)

    def median(self, metric: str) -> float:
        """The median over the rounds."""
        return statistics.median(self.samples[metric])

    def ratio(self, ours: "Runs", metric: str) -> float:
        """How many times ours this one's number is: the median of the rounds' ratios; nan where ours is 0 (memory)."""
        return statistics.median(a / b if b else math.nan for a, b in zip(self.samples[metric], ours.samples[metric]))


@dataclass
class Report:
    """A benchmark's result.

    Args:
        title: what was measured.
        metrics: for each metric its heading, with the unit.
        settings: sizes and rounds.
        runs: the contestants that ran.
        missing: the contestants that could not, and why.
    """

    title: str
    metrics: dict[str, str]
    settings: dict[str, Any]
    runs: list[Runs]
    missing: dict[str, str]

    def of(self, contestant: str) -> Runs | None:
        """The runs of this contestant, or None if it did not run."""
        return next((runs for runs in self.runs if runs.contestant == contestant), None)


def serve(prepare: Prepare, contestant: str, settings: dict[str, Any]) -> None:
    """A contestant's process: say ready, then measure once for each line that comes in."""
    try:
        version, measure = prepare(contestant, settings)
    except ImportError as error:
        print(json.dumps({"missing": str(error)}), flush=True)
        return
    print(json.dumps({"version": version}), flush=True)
    for _ in sys.stdin:
        print(json.dumps(measure()), flush=True)


def session_seconds(session: int) -> float:
    """The processor time so far of a session's processes; 0 on a system that does not tell."""
    ticks = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:  # it ended meanwhile
            continue
        if int(fields[3]) == session:
            ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK") if ticks else 0.0


def processor_seconds() -> float:
    """The processor time of this process and of those it started and waited for, a compiler's for instance."""
    try:
        import resource  # not on Windows
    except ImportError:
        return time.process_time()
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def peak_memory() -> int:
    """The process's peak memory so far, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would count what the parent had at the start
        lines = status.read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    import resource  # not on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def with_deep_stack(function: Callable[[], None]) -> None:
    """Run a function where recursion is as deep as a long chain: the peers' backward passes recurse."""
    failures: list[BaseException] = []

    def guarded() -> None:
        try:
            function()
        except BaseException as error:  # a thread would end without a word to the caller
            failures.append(error)

    sys.setrecursionlimit(10**8)
    threading.stack_size(1 << 30)  # reserved, not used up; Python 3.10 takes half a kilobyte a call
    thread = threading.Thread(target=guarded)
    thread.start()
    thread.join()
    for failure in failures:
        raise failure


class Process:
    """A contestant that waits in a process of its own.

    Args:
        limited: whether it may be given up; it then leads a process group, which ends with it.
    """

    def __init__(self, script: Path, contestant: str, settings: dict[str, Any], limited: bool = False) -> None:
        command = [sys.executable, str(script), "--contestant", contestant, "--settings", json.dumps(settings)]
        environment = {**os.environ, "PYTHONHASHSEED": "0"}
        environment["OPENBLAS_NUM_THREADS"] = "1"  # its threads wait busily
        environment["VALUEGRAD_CACHE"] = "off"  # where we would find what an earlier run compiled
        pipe = subprocess.PIPE
        self.contestant = contestant
        self.process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, text=True, env=environment, start_new_session=limited
        )
        self.group = limited and hasattr(os, "killpg")
        self.late = False

    def read(self, limit: float | None = None) -> dict[str, Any]:
        """What the contestant says next; {"missing": why} where it took ``limit`` seconds of processor time."""
        assert self.process.stdout is not None
        done = threading.Event()
        watch = threading.Thread(target=self.watch, args=(limit, done))
        if limit is not None:
            watch.start()
        line = self.process.stdout.readline()
        done.set()
        if limit is not None:
            watch.join()
        code = None if line else self.process.wait()
        if self.late:
            return {"missing": f"does not finish in {limit:g} s"}
        if code is not None:
            raise SystemExit(f"{self.contestant} failed with exit code {code}; its error stands above")
        return json.loads(line)

    def watch(self, limit: float, done: threading.Event) -> None:
        """Give it up when it has taken so much processor time, or been waited for several times as long.

        From outside: a limit that the system itself watches makes the process's own clock tick in milliseconds.
        """
        start = time.monotonic()
        while not done.wait(0.1):
            if time.monotonic() - start > WAIT * limit or session_seconds(self.process.pid) > limit:
                self.give_up()
                return

    def give_up(self) -> None:
        """End it, with the compiler that it may have started."""
        if self.process.poll() is not None:
            return
        self.late = True
        if self.group:
            os.killpg(self.process.pid, signal.SIGKILL)
        else:
            self.process.kill()

    def measure(self) -> dict[str, Any]:
        """Let it measure once."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self.read()

    def stop(self) -> None:
        """End its process: it has nothing left to read."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


def race(
    script: Path,
    contestants: list[str],
    rounds: int,
    settings: dict[str, Any],
    agree_within: float,
    limit: float | None = None,
) -> tuple[list[Runs], dict[str, str]]:
    """Let the contestants measure in turn.

    Args:
        script: the benchmark script; it is started once for each contestant.
        contestants: names that its ``prepare`` knows.
        rounds: how many times each measures; one round before them warms up and is thrown away.
        settings: passed to ``prepare``.
        agree_within: relative tolerance within which their ``check`` numbers must agree.
        limit: seconds of processor time that ``prepare`` may take; they then prepare one after the other, undisturbed.

    Returns:
        The runs of those that could be loaded, and for the others the reason.

    Raises:
        SystemExit: a contestant failed, or they computed different numbers.
    """
    runs, running, missing = [], [], {}
    processes: list[Process] = []
    if limit is None:
        processes = [Process(script, name, settings) for name in contestants]
    try:
        for i, name in enumerate(contestants):
            if limit is not None:
                processes.append(Process(script, name, settings, limited=True))
            greeting = processes[i].read(limit)
            if "missing" in greeting:
                missing[name] = greeting["missing"]
            else:
                running.append(processes[i])
                runs.append(Runs(name, greeting["version"]))
        for number in range(-1 if rounds > 1 else 0, rounds):
            checks = {}
            for process, run in zip(running, runs):
                measured = process.measure()
                checks[run.contestant] = check = measured.pop("check")
                other, expected = next(iter(checks.items()))
                if not agree(check, expected, agree_within):
                    raise SystemExit(f"round {number}: {difference(run.contestant, check, other, expected)}")
                if number >= 0:
                    for metric, x in measured.items():
                        run.samples.setdefault(metric, []).append(x)
    except BaseException:
        for process in processes:
            process.give_up()  # it may be in the middle of a long compilation
        raise
    finally:
        for process in processes:
            process.stop()
    return runs, missing


def agree(check: Any, expected: Any, within: float) -> bool:
    """Whether two contestants computed the same: a number, or a list, relative to the largest in it."""
    if not isinstance(expected, list):
        return abs(check - expected) <= within * abs(expected)
    largest = max(abs(x) for x in expected)
    return len(check) == len(expected) and all(abs(a - b) <= within * largest for a, b in zip(check, expected))


def difference(one: str, x: Any, other: str, y: Any) -> str:
    """What two contestants do not agree on: of lists the entries that are furthest apart."""
    at = ""
    if isinstance(x, list) and len(x) == len(y):
        i = max(range(len(x)), key=lambda i: abs(x[i] - y[i]))
        x, y, at = x[i], y[i], f" (number {i + 1} of {len(y)})"
    return f"the contestants computed different numbers: {one} {x!r}, {other} {y!r}{at}"


# ------------------------------------------------------------------------------------------ what is shown
def short(x: float) -> str:
    """Three significant digits, without an exponent."""
    return f"{x:,.0f}" if abs(x) >= 100 else f"{x:.3g}"


def cells(report: Report) -> tuple[list[str], list[list[str]]]:
    """Headings and rows: each contestant's medians, with their ratios to ours."""
    ours = report.of(OURS)
    rows = []
    for runs in report.runs:
        row = [f"{runs.contestant} ({runs.version})"]
        for metric in report.metrics:
            if metric not in runs.samples:
                row.append("–")
            elif ours is None or runs is ours or metric not in ours.samples or metric in WITHOUT_RATIO:
                row.append(short(runs.median(metric)))
            else:
                row.append(f"{short(runs.median(metric))} (×{short(runs.ratio(ours, metric))})")
        rows.append(row)
    for name, reason in report.missing.items():
        rows.append([f"{name}: did not run ({reason})"] + [""] * len(report.metrics))
    return ["", *report.metrics.values()], rows


def show(report: Report) -> None:
    """Print the table."""
    from rich.console import Console
    from rich.table import Table

    headings, rows = cells(report)
    table = Table(title=report.title, title_justify="left", caption=about(report), caption_justify="left")
    for heading in headings:
        table.add_column(heading, justify="right" if heading else "left")
    for row in rows:
        table.add_row(*row)
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def markdown(report: Report) -> str:
    """The table in Markdown."""
    headings, rows = cells(report)
    lines = [headings, ["---"] + ["---:"] * len(report.metrics), *rows]
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return f"### {report.title}\n\n{table}\n\n{about(report)}\n"


def about(report: Report) -> str:
    """The settings, in a line."""
    return ", ".join(f"{name.replace('_', ' ')}: {x}" for name, x in report.settings.items()) + "."


def machine() -> str:
    """Processor, cores, system and Python, and whether that is one that was built to be fast."""
    processor = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        processor = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    system = f"{platform.system()} {platform.machine()}"
    python = f"{platform.python_implementation()} {platform.python_version()}"
    build = "" if "--enable-optimizations" in (sysconfig.get_config_var("CONFIG_ARGS") or "") else "out"
    return f"{processor}, {os.cpu_count()} cores, {system}, {python} (built with{build} profile-guided optimisation)"


def store(path: Path, reports: list[Report]) -> None:
    """Write the reports, every sample included, as JSON."""
    content = {"machine": machine(), "reports": [asdict(report) for report in reports]}
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


# ------------------------------------------------------------------------------------------ a script's end
def main(prepare: Prepare, run: Callable[..., Report], summary: str, options: dict[str, tuple[Any, str]]) -> None:
    """The command line of a benchmark script.

    Args:
        prepare: makes a contestant's measurement, in its process.
        run: runs the benchmark; takes the options by name, and ``contestants``.
        summary: what the script measures.
        options: for each option its default and its help.
    """
    parser = argparse.ArgumentParser(description=summary, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    for name, (default, text) in options.items():
        parser.add_argument(f"--{name}", type=type(default), default=default, help=text)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="run these contestants alone")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every sample to this file")
    parser.add_argument("--contestant", help=argparse.SUPPRESS)
    parser.add_argument("--settings", type=json.loads, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.contestant is not None:
        with_deep_stack(lambda: serve(prepare, arguments.contestant, arguments.settings))
        return
    report = run(contestants=arguments.only, **{name: getattr(arguments, name) for name in options})
    show(report)
    if arguments.json is not None:
        store(arguments.json, [report])
