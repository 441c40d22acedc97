"""One call on plain floats, and the memory of a long batch: what a compiled function costs around its arithmetic.

- call: microseconds of processor time a call on three Python floats, value alone (f) and with its gradient (fg), which
  come back as what the library gives: floats, arrays of one number or tensors.
- memory: bytes a lane of a run over so many lanes, beyond the inputs and the outputs: the peak of
  the process, less what it held before, less the outputs.

Where to start reading: ``twenty``, then ``calls``; ``batch_memory``.
"""

import math
import os
from collections.abc import Callable
from pathlib import Path
from time import process_time
from typing import Any

import compilers
import harness
import numpy as np

METRICS = {"f": "f, µs a call", "fg": "f and gradient, µs a call", "extra": "memory of a batch, bytes a lane"}
CALLS_A_MEASUREMENT = 0.05  # seconds


def twenty(dialect: compilers.Dialect) -> compilers.Function:
    """Makes a function of 20 operations, in the dialect that it is given."""
    exp, log, sqrt, sin = dialect.exp, dialect.log, dialect.sqrt, dialect.sin

    def f(x, y, z):
        a = x * y + z
        b = exp(-a) + x
        c = sqrt(b * b + y * y)
        d = log(c + a) * sin(z)
        e = (d - x) / (c + y)
        return e * e + a * d - b

    return f


Call = Callable[[float, float, float], Any]


# ------------------------------------------------------------------------------------------ one call
def valuegrad_call(gradient: bool) -> tuple[str, Call]:
    program = compilers.compile("valuegrad", twenty, 3, gradient, 1)
    return program.version, program.program.value_and_grad if gradient else program.program


def valuegrad_eager(gradient: bool) -> tuple[str, Call]:
    import valuegrad as vg

    f = twenty(compilers.Dialect(vg.exp, vg.log, vg.sqrt, vg.sin, vg.norm_cdf))
    if gradient:
        return vg.__version__, vg.value_and_grad(f, argnums=(0, 1, 2))
    return vg.__version__, lambda x, y, z: f(vg.Value(x), vg.Value(y), vg.Value(z))


def casadi_call(name: str) -> Callable[[bool], tuple[str, Call]]:
    """A CasADi Function called with floats; what comes back are its matrices."""

    def load(gradient: bool) -> tuple[str, Call]:
        compiled = compilers.compile(name, twenty, 3, gradient, 1)
        return compiled.version, compiled.function

    return load


def casadi_buffers(gradient: bool) -> tuple[str, Call]:
    """The quick way: numbers are written into arrays that it reads, and read from arrays that it writes."""
    compiled = compilers.compile("CasADi C -O3", twenty, 3, gradient, 1)
    arguments, results = np.zeros((3, 1)), np.zeros((compiled.outputs, 1))
    for i, x in enumerate(arguments):
        compiled.buffer.set_arg(i, memoryview(x))
    for i, x in enumerate(results):
        compiled.buffer.set_res(i, memoryview(x))
    trigger, row, column = compiled.trigger, arguments[:, 0], results[:, 0]

    def call(x: float, y: float, z: float, alive: Any = compiled) -> list[float]:  # trigger keeps nothing alive
        row[0], row[1], row[2] = x, y, z
        trigger()
        return column.tolist()

    return compiled.version, call


def jax_call(gradient: bool) -> tuple[str, Call]:
    jax = compilers.one_thread_jax()
    f = twenty(compilers.Dialect(jax.numpy.exp, jax.numpy.log, jax.numpy.sqrt, jax.numpy.sin, math.erf))
    compiled = jax.jit(jax.value_and_grad(f, argnums=(0, 1, 2)) if gradient else f)
    return jax.__version__, lambda x, y, z: jax.block_until_ready(compiled(x, y, z))


def numba_call(gradient: bool) -> tuple[str, Call]:
    import numba

    if gradient:
        raise ImportError("has no derivatives")
    return numba.__version__, numba.njit(twenty(PLAIN))


def torch_call(gradient: bool) -> tuple[str, Call]:
    compiled = compilers.compile("PyTorch", twenty, 3, gradient, 1)
    tensor, float64 = compiled.torch.tensor, compiled.torch.float64
    return compiled.version, lambda *xs: compiled.run([tensor(x, dtype=float64) for x in xs])


def floats(gradient: bool) -> tuple[str, Call]:
    if gradient:
        raise ImportError("has no derivatives")
    return "no graph", twenty(PLAIN)


PLAIN = compilers.Dialect(math.exp, math.log, math.sqrt, math.sin, math.erf)
CALLS: dict[str, Callable[[bool], tuple[str, Call]]] = {
    "valuegrad": valuegrad_call,
    "valuegrad, not compiled": valuegrad_eager,
    "CasADi VM": casadi_call("CasADi VM"),
    "CasADi C -O3": casadi_call("CasADi C -O3"),
    "CasADi C -O3, buffers": casadi_buffers,
    "JAX": jax_call,
    "Numba": numba_call,
    "PyTorch": torch_call,
    "floats that remember nothing": floats,
}


def numbers(result: Any) -> list[float]:
    """Whatever a call gave, as floats."""
    if isinstance(result, (list, tuple)):
        return [x for part in result for x in numbers(part)]
    return [float(getattr(result, "data", result)) if type(result).__name__ == "Value" else float(result)]


def prepare_call(name: str, gradient: bool) -> tuple[str, harness.Measure]:
    version, call = CALLS[name](gradient)
    for _ in range(100):
        call(0.3, 1.2, 0.7)
    start = process_time()
    for _ in range(20):
        call(0.3, 1.2, 0.7)
    times = max(100, int(CALLS_A_MEASUREMENT / max((process_time() - start) / 20, 1e-7)))

    def measure() -> dict[str, Any]:
        start = process_time()
        for _ in range(times):
            result = call(0.3, 1.2, 0.7)
        seconds = process_time() - start
        return {"run": seconds / times * 1e6, "check": numbers(result)}

    return version, measure


# ------------------------------------------------------------------------------------------ a long batch
BATCHES = ("valuegrad", "CasADi VM", "CasADi C -O3", "Dr.Jit LLVM", "JAX", "Numba", "PyTorch", "NumPy")


def in_use() -> int:
    """The process's memory at the moment, in bytes; from here on its peak is counted anew."""
    Path("/proc/self/clear_refs").write_text("5")
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def prepare_batch(name: str, lanes: int) -> tuple[str, harness.Measure]:
    """The memory of a run with the gradient where the library has it, of the value elsewhere."""
    if not Path("/proc/self/clear_refs").exists():
        raise ImportError("the peak cannot be read on this system")
    gradient = compilers.COMPILERS[name].gives_gradient
    few = [np.linspace(low, low + 1, 8) for low in (0.3, 1.2, 0.7)]
    small = compilers.compile(name, twenty, 3, gradient, 8)
    expected = small.store(small.run([small.load(x) for x in few]))[0]
    compiled = small if not small.knows_size else compilers.compile(name, twenty, 3, gradient, lanes)
    inputs = [compiled.load(np.resize(x, lanes)) for x in few]

    def measure() -> dict[str, Any]:
        before = in_use()
        results = compiled.run(inputs)
        extra = harness.peak_memory() - before
        arrays = compiled.store(results)
        if not np.array_equal(arrays[0][:8], expected):
            raise SystemExit(f"{name}: the batch's first lanes are not what they are alone")
        extra -= sum(8 * len(array) for array in arrays)
        return {"extra": max(extra, 0) / lanes, "check": arrays[0][:8].tolist()}

    return compiled.version, measure


def prepare(name: str, settings: dict[str, Any]) -> tuple[str, harness.Measure]:
    if settings["what"] == "memory":
        return prepare_batch(name, settings["lanes"])
    return prepare_call(name, settings["what"] == "fg")


def run(lanes: int, rounds: int, contestants: list[str] | None = None) -> harness.Report:
    merged = {name: harness.Runs(name, "") for name in contestants or [*CALLS, *BATCHES]}
    missing: dict[str, str] = {}
    for what, knows, times in (("f", CALLS, rounds), ("fg", CALLS, rounds), ("memory", BATCHES, 1)):
        groups = [[name for name in merged if name in knows]]
        if what == "memory":  # one after the other: together they may not fit
            groups = [[name] for name in groups[0]]
        for names in groups:
            settings = {"what": what, "lanes": lanes}
            runs, absent = harness.race(Path(__file__), names, times, settings, agree_within=1e-12)
            for run in runs:
                merged[run.contestant].version = run.version
                for metric, samples in run.samples.items():
                    merged[run.contestant].samples[what if metric == "run" else metric] = samples
            missing.update({name: why for name, why in absent.items() if why != "has no derivatives"})
    shown = {"operations": 20, "lanes": lanes, "rounds": rounds}
    done = [run for run in merged.values() if run.samples]
    return harness.Report("One call, and the memory of a batch", METRICS, shown, done, missing)


if __name__ == "__main__":
    options = {
        "lanes": (10_000_000, "length of the batch whose memory is measured"),
        "rounds": (7, "measurements of each contestant"),
    }
    harness.main(prepare, run, __doc__.splitlines()[0], options)
