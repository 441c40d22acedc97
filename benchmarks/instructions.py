"""Machine instructions of the native engine, counted: a measure that noise cannot touch.

valgrind's callgrind executes a workload and counts every instruction.  Each workload runs twice, with N
and with 2N operations; the difference divided by N leaves the interpreter's start out.  Two runs
of one build give the same count to a thousandth, so a change of a few per cent in the engine shows.
Instructions are not time: what a cache miss or a mispredicted branch costs does not appear.

Where to start reading: ``WORKLOADS``.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import contestants as field
from chain import chain


def record(operations: int) -> Any:
    """The chain, held to the end."""
    import valuegrad as vg

    return chain(vg.Value(1.0), vg.Value(0.999), vg.Value(0.001), operations // 2)


def record_free(operations: int) -> None:
    """The chain, and its freeing."""
    record(operations)


def record_backward(operations: int) -> Any:
    """The chain and the backward pass, held to the end."""
    root = record(operations)
    root.backward()
    return root


def empty_loop(operations: int) -> None:
    """Python's share: the loop and its arithmetic, on floats."""
    chain(1.0, 0.999, 0.001, operations // 2)


WORKLOADS: dict[str, Callable[[int], Any]] = {
    "empty_loop": empty_loop,
    "record": record,
    "record_free": record_free,
    "record_backward": record_backward,
}


def count(workload: str, operations: int) -> int:
    """Instructions of one run of a workload, Python's start included."""
    with tempfile.TemporaryDirectory() as folder:
        counter = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/out"]
        script = [sys.executable, __file__, "--workload", workload, "--operations", str(operations)]
        environment = {**os.environ, "PYTHONHASHSEED": "0", "VALUEGRAD_ENGINE": "native"}
        done = subprocess.run(counter + script, capture_output=True, text=True, env=environment)
    found = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode or found is None:
        raise SystemExit(f"callgrind failed on {workload} with exit code {done.returncode}:\n{done.stderr[-2000:]}")
    return int(found[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--operations", type=int, default=20_000, help="length of the shorter chain")
    parser.add_argument("--workload", choices=list(WORKLOADS), help="run this alone, uncounted")
    arguments = parser.parse_args()
    if arguments.workload:
        field.load("valuegrad")
        held = WORKLOADS[arguments.workload](arguments.operations)  # noqa: F841 — not freed before the end
        sys.stdout.flush()
        os._exit(0)
    if shutil.which("valgrind") is None:
        raise SystemExit("valgrind is not installed; install it to count instructions")
    n = arguments.operations
    each = {name: (count(name, 2 * n) - count(name, n)) / n for name in WORKLOADS}
    print(f"instructions an operation, chain of {n} and {2 * n} operations ({Path(__file__).name})")
    print(f"  Python's loop on floats  {each['empty_loop']:8.1f}")
    print(f"  record                   {each['record']:8.1f}")
    print(f"  free                     {each['record_free'] - each['record']:8.1f}")
    print(f"  backward                 {each['record_backward'] - each['record']:8.1f}")


if __name__ == "__main__":
    main()
