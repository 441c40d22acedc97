"""A scalar function and its gradient: ``vg.compile`` against C and a C++ tape that were written for it by hand.

Why: libraries of arrays are written for some of these problems and not for others; what a compiler of scalar code is
measured by is the program that somebody would write by hand.  Three contestants a problem:

- valuegrad: the function as a user writes it, compiled; one thread, float64, nothing kept on disk.
- C by hand (``yardsticks/NAME.c``): explicit gradients, by gcc -O3 -march=native -ffast-math -fopenmp-simd,
  which lets it vectorise sums and exponentials.
- C++ tape (``yardsticks/NAME.cpp``): the same function over the Value of ``yardsticks/tape.hpp``, by g++ -O3
  -march=native.

Both have one function, ``value_and_grad(sizes, inputs, gradient)``, called on arrays that are there.

What is measured: milliseconds of processor time for value and gradient; and from the function to the first result,
seconds for recording it, for the transforms (derivatives, machine graph) and for the rest (machine code), or for gcc.

Where to start reading: ``Problem``, then ``compiled_logsumexp.py``, the simplest user.
"""

import ctypes
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from time import process_time
from typing import Any

import harness
import numpy as np

METRICS = {
    "run": "value and gradient, ms",
    "record": "record, s",
    "transform": "transforms, s",
    "ready": "ready, s",
    "memory": "peak memory, MB",
}
FOLDER = Path(__file__).with_name("yardsticks")
LONG_ENOUGH = 0.1  # seconds a measurement lasts at least
CHECKED = 64  # so many entries of a gradient are compared, and so many sums over all of it
C_FLAGS = ["-O3", "-march=native", "-ffast-math", "-fopenmp-simd"]
CPP_FLAGS = ["-O3", "-march=native", "-std=c++17"]
LIMIT = 60.0  # seconds in which a contestant must be ready
Run = Callable[[], tuple[Any, Any]]  # the value (of each lane), and the gradients
Make = Callable[[], Run]  # records and compiles


@dataclass
class Problem:
    """A function at a point.

    Args:
        name: the yardsticks' sources are called so.
        function: takes the inputs; scalar code on Values.
        inputs: arrays, or lists of arrays that have a number for each lane.
        vectors: the names of the inputs that are not lanes.
        by: how many of the inputs, from the first on, it is differentiated by.
        small: inputs on which the function is quick; it runs on them first, so that all of the library is loaded.
        sizes: what the yardsticks must know of the inputs' sizes.
    """

    name: str
    function: Callable[..., Any]
    inputs: Sequence[Any]
    vectors: tuple[str, ...]
    by: int
    small: Sequence[Any]
    sizes: tuple[int, ...]


# ------------------------------------------------------------------------------------------ the contestants
class Phases:
    """Seconds spent recording and in transforms, by functions that are timed while the library calls them."""

    def __init__(self) -> None:
        self.seconds = {"record": 0.0, "transform": 0.0}
        self._open: list[str] = []

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Inside this block the library's own functions are timed."""
        from valuegrad import paths, transforms
        from valuegrad.lower import lowering

        places = [(paths, "record", "record"), (transforms, "derivatives", "transform")]
        places += [(lowering, "_MACHINE", "transform")]
        before = [(module, name, getattr(module, name)) for module, name, _ in places]
        for module, name, phase in places:
            setattr(module, name, self.watched(getattr(module, name), phase))
        try:
            yield
        finally:
            for module, name, function in before:
                setattr(module, name, function)

    def watched(self, function: Callable[..., Any], phase: str) -> Callable[..., Any]:
        """The function; its time is the phase's, and not that of a phase in which it runs."""

        def run(*args: Any, **kwargs: Any) -> Any:
            start = harness.processor_seconds()
            self._open.append(phase)
            try:
                return function(*args, **kwargs)
            finally:
                self._open.pop()
                seconds = harness.processor_seconds() - start
                self.seconds[phase] += seconds
                if self._open:
                    self.seconds[self._open[-1]] -= seconds

        return run


def ours(problem: Problem) -> tuple[str, Make]:
    import valuegrad as vg

    if not hasattr(vg, "compile"):
        raise ImportError("this valuegrad has no compile()")

    def compiled() -> Any:
        by = tuple(range(problem.by))
        return vg.value_and_grad(vg.compile(problem.function, vectors=problem.vectors, cache=False), argnums=by)

    compiled()(*problem.small)

    def make() -> Run:
        program = compiled()
        program.warm_up(*problem.inputs)
        return lambda: program(*problem.inputs)

    return vg.__version__, make


def library(source: Path, compiler: str, flags: Sequence[str]) -> ctypes.CDLL:
    """A source in C or C++, compiled and loaded.

    Raises:
        ImportError: the compiler is not there.
    """
    if shutil.which(compiler) is None:
        raise ImportError(f"no {compiler} for {source.name}")
    built = Path(tempfile.mkdtemp()) / f"{source.stem}.so"
    subprocess.run([compiler, *flags, "-fPIC", "-shared", str(source), "-o", str(built), "-lm"], check=True)
    return ctypes.CDLL(str(built))


def by_hand(problem: Problem, compiler: str, suffix: str, flags: Sequence[str]) -> tuple[str, Make]:
    """What a source in ``yardsticks/`` computes."""
    source = FOLDER / f"{problem.name}{suffix}"

    def make() -> Run:
        function = library(source, compiler, flags).value_and_grad
        function.restype = ctypes.c_double
        arrays = [np.ascontiguousarray(x, dtype=np.float64) for x in problem.inputs]
        gradient = np.zeros(sum(x.size for x in arrays[: problem.by]))
        sizes = (ctypes.c_int * len(problem.sizes))(*problem.sizes)
        inputs = (ctypes.c_void_p * len(arrays))(*[x.ctypes.data for x in arrays])
        pointer = ctypes.c_void_p(gradient.ctypes.data)

        def run() -> tuple[float, np.ndarray]:
            assert arrays  # they must live as long as their addresses
            return function(sizes, inputs, pointer), gradient

        return run

    return source.name, make


CONTESTANTS: dict[str, Callable[[Problem], tuple[str, Make]]] = {
    "valuegrad": ours,
    "C by hand": lambda problem: by_hand(problem, "gcc", ".c", C_FLAGS),
    "C++ tape": lambda problem: by_hand(problem, "g++", ".cpp", CPP_FLAGS),
}


# --------------------------------------------------------------------------------------- what the scripts share
def flat(gradients: Any) -> np.ndarray:
    """A gradient as one array, whatever it is nested in."""
    if isinstance(gradients, (tuple, list)):
        return np.concatenate([flat(gradient) for gradient in gradients])
    return np.asarray(gradients, dtype=np.float64).ravel()


def checked(value: Any, gradients: Any) -> list[float]:
    """What the contestants must agree on: the value, entries of the gradient, and sums over all of it."""
    gradient = flat(gradients)
    entries = np.linspace(0, gradient.size - 1, min(CHECKED, gradient.size)).astype(int)
    mixed = np.array_split(gradient * np.cos(np.arange(gradient.size)), CHECKED)
    # times their number: the derivatives by many inputs are small, and must not vanish beside the value
    return [
        float(np.sum(value)),
        *(gradient[entries] * gradient.size).tolist(),
        *[float(part.sum()) * CHECKED for part in mixed],
    ]


def prepare(name: str, problem: Problem) -> tuple[str, harness.Measure]:
    """Get ready, and the measurement of value and gradient."""
    version, make = CONTESTANTS[name](problem)
    phases = Phases()
    start = harness.processor_seconds()
    with phases.timed() if name == harness.OURS else nullcontext():
        run = make()
        run()
    first = harness.processor_seconds()
    run()
    second = harness.processor_seconds() - first
    ready = {**phases.seconds, "ready": max(first - start - second, 1e-6)}  # ratios divide by it
    times = max(1, min(1000, int(LONG_ENOUGH / max(second, 1e-6))))

    def measure() -> dict[str, Any]:
        start = process_time()
        for _ in range(times):
            value, gradients = run()
        seconds = process_time() - start
        return {
            "run": seconds / times * 1e3,
            **(ready if name == harness.OURS else {"ready": ready["ready"]}),
            "memory": harness.peak_memory() / 1e6,
            "check": checked(value, gradients),
        }

    return version, measure


def run(
    script: str, title: str, settings: dict[str, Any], rounds: int, contestants: list[str] | None, within: float = 1e-9
) -> harness.Report:
    """Let them measure in turn."""
    names = contestants or list(CONTESTANTS)
    runs, missing = harness.race(Path(script), names, rounds, settings, within, limit=LIMIT)
    return harness.Report(title, METRICS, {**settings, "rounds": rounds}, runs, missing)
