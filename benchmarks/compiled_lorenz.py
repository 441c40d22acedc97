"""Straight-line code compiled once and run over many inputs: an unrolled Lorenz system.

The Lorenz system's three equations with its three parameters, integrated by the classical Runge-Kutta method of
fourth order: 71 operations a step, so 14, 141, 1,408 and 14,084 steps are 994, 10,011, 99,968 and 999,964 operations
(and two more add the state up).  Everything is unrolled, as a recorded graph is; Numba, and JAX where it says "scan",
keep the loop and stand there for information, and so does what was written by hand (``yardsticks/lorenz.c``,
``lorenz.cpp``).  Six inputs a lane; value (f), and value with all six derivatives (fg).

- f, fg: microseconds of processor time a lane, on one thread, in float64.
- compile: seconds of processor time from the Python function to the results of 8 lanes.  The library is loaded and has
  compiled something small before.
- memory: the peak of the process, for that many lanes: the slow ones get fewer.

Where to start reading: ``step``, then ``prepare``.
"""

from math import exp
from pathlib import Path
from typing import Any

import compilers
import harness
import numpy as np

METRICS = {
    "f": "f, µs a lane",
    "fg": "fg, µs a lane",
    "compile_f": "compile f, s",
    "compile_fg": "compile fg, s",
    "memory": "peak memory with fg, MB",
    "lanes": "lanes",
}
DT = 0.002
OPERATIONS_A_STEP = 71
EXPONENT = 0.906
"""Lyapunov's, of this system: a rounding grows by e within 1 / 0.906 units of time (J. C. Sprott, Chaos and Time-Series
Analysis, 2003).  Who contracts a * b + c to one rounding ends elsewhere."""
MANY_LANES = ("valuegrad", "valuegrad, strict", "Dr.Jit LLVM", "C by hand")
CONTESTANTS = [name for name in compilers.COMPILERS if name != "NumPy"]


def step(x, y, z, sigma, rho, beta):
    """One Runge-Kutta step. No calls and no tuples to index, so that every compiler can read it."""
    ax, ay, az = sigma * (y - x), x * (rho - z) - y, x * y - beta * z
    u, v, w = x + DT / 2 * ax, y + DT / 2 * ay, z + DT / 2 * az
    bx, by, bz = sigma * (v - u), u * (rho - w) - v, u * v - beta * w
    u, v, w = x + DT / 2 * bx, y + DT / 2 * by, z + DT / 2 * bz
    cx, cy, cz = sigma * (v - u), u * (rho - w) - v, u * v - beta * w
    u, v, w = x + DT * cx, y + DT * cy, z + DT * cz
    dx, dy, dz = sigma * (v - u), u * (rho - w) - v, u * v - beta * w
    x = x + DT / 6 * (ax + 2 * bx + 2 * cx + dx)
    y = y + DT / 6 * (ay + 2 * by + 2 * cy + dy)
    z = z + DT / 6 * (az + 2 * bz + 2 * cz + dz)
    return x, y, z


def lorenz(steps: int) -> compilers.Function:
    """Makes the function, in the dialect that it is given."""

    def make(dialect: compilers.Dialect) -> compilers.Function:
        advance = dialect.repeat(step, steps)

        def f(x, y, z, sigma, rho, beta):
            x, y, z = advance(x, y, z, sigma, rho, beta)
            return x + y + z

        return f

    make.native = "lorenz", steps  # what C by hand takes
    return make


def inputs(lanes: int) -> list[np.ndarray]:
    """States and parameters around the well-known ones; the first lanes are the same however many there are."""
    spread = np.random.default_rng(42).uniform(0.9, 1.1, (lanes, 6))
    return [np.ascontiguousarray(column) for column in (spread * [1.0, 1.0, 1.0, 10.0, 28.0, 8 / 3]).T]


def lanes(name: str, settings: dict[str, Any]) -> int:
    """As many as are to be, fewer where a run would take seconds (or gigabytes: a tape, an array an operation)."""
    work = 10**9 if name in MANY_LANES else 10**8
    return max(8, min(settings["lanes"], work // settings["operations"]))


def prepare(name: str, settings: dict[str, Any]) -> tuple[str, harness.Measure]:
    return compilers.prepare(
        name,
        lorenz(settings["operations"] // OPERATIONS_A_STEP),
        inputs(lanes(name, settings)),
        settings["gradient"],
        warm_up=lorenz(1),
        unit=1e6,
    )


def run(operations: int, lanes: int, rounds: int, limit: float, contestants: list[str] | None = None) -> harness.Report:
    settings = {"operations": operations, "lanes": lanes}
    agree_within = max(1e-9, 1e-14 * exp(EXPONENT * DT * operations / OPERATIONS_A_STEP))
    runs, missing = compilers.race(Path(__file__), contestants or CONTESTANTS, rounds, settings, agree_within, limit)
    shown = {**settings, "rounds": rounds, "seconds to be ready in": limit}
    return harness.Report(f"Unrolled Lorenz, {operations:,} operations", METRICS, shown, runs, missing)


if __name__ == "__main__":
    options = {
        "operations": (994, "length of the straight line; a step is 71"),
        "lanes": (100_000, "inputs"),
        "rounds": (5, "measurements of each contestant"),
        "limit": (60.0, "seconds until a contestant must be ready"),
    }
    harness.main(prepare, run, __doc__.splitlines()[0], options)
