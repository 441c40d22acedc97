"""What runs against ``vg.compile``: compilers and array libraries, each behind the same few functions.

Each takes a plain scalar function, written once, with the mathematical functions of a ``Dialect``:

    def function(dialect):
        def f(x, y):
            return dialect.exp(x) * y
        return f

and makes a ``Compiled`` of it, which runs over arrays, one lane for each element, on one thread and in float64.
``load`` turns NumPy arrays into what the library calculates with and ``store`` turns them back; neither
is timed, so that nobody pays for another's arrays.

Where to start reading: ``Compiled``, then ``Numpy``, the simplest; ``compile`` picks one by name.
"""

import ctypes
import math
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from ctypes.util import find_library
from glob import glob
from pathlib import Path
from time import process_time
from typing import Any

import harness
import numpy as np
from yardsticks import C_FLAGS, CPP_FLAGS, FOLDER, library

Function = Callable[..., Any]
LONG_ENOUGH = 0.1  # seconds a measurement lasts at least
CHECKED = 8  # lanes whose results are compared


def repeat(step: Function, times: int) -> Function:
    """The function that applies ``step`` again and again: ``advance(state..., parameters...)`` gives the last state.

    A plain loop, which whoever records or traces it unrolls.
    """

    def advance(x, y, z, *parameters):
        for _ in range(times):
            x, y, z = step(x, y, z, *parameters)
        return x, y, z

    return advance


class Dialect:
    """The mathematical functions, as one library spells them."""

    def __init__(self, exp: Function, log: Function, sqrt: Function, sin: Function, norm_cdf: Function) -> None:
        self.exp, self.log, self.sqrt, self.sin, self.norm_cdf = exp, log, sqrt, sin, norm_cdf
        self.repeat = repeat


def norm_cdf_by(erf: Function) -> Function:
    """The normal distribution's cumulative probability, for a library that has only ``erf``."""
    return lambda x: 0.5 * (1 + erf(x * math.sqrt(0.5)))


class Compiled:
    """A function as one library runs it over arrays.

    Args:
        make: makes the function from a dialect.
        arguments: how many it takes.
        gradient: whether ``run`` gives the gradient too: the value, then a derivative for each argument.
        size: the lanes of a run.
    """

    version = ""
    gives_gradient = True
    knows_size = False  # is compiled for one number of lanes
    waits = False  # may put off compiling until a long batch comes

    def __init__(self, make: Function, arguments: int, gradient: bool, size: int) -> None:
        self.arguments, self.gradient, self.size = arguments, gradient, size
        if gradient and not self.gives_gradient:
            if not hasattr(make, "by_hand"):
                raise ImportError("has no derivatives")  # a race then goes on without it
            make = make.by_hand  # gives the value and the derivatives
        self.build(make)

    def build(self, make: Function) -> None:
        """Trace and compile as far as that is done before the first run."""

    def load(self, array: np.ndarray) -> Any:
        """The library's own array."""
        return array

    def run(self, inputs: Sequence[Any]) -> Any:
        """Calculate; when it returns, the results are there."""
        raise NotImplementedError

    def warm_up(self, inputs: Sequence[Any]) -> Any:
        """A first run, after which nothing is left to be compiled for others like it."""
        return self.run(inputs)

    def store(self, results: Any) -> list[np.ndarray]:
        """The results as NumPy arrays."""
        return [np.asarray(result) for result in (results if isinstance(results, (list, tuple)) else [results])]


class Valuegrad(Compiled):
    """``vg.compile``."""

    waits = True
    strict = False

    def build(self, make: Function) -> None:
        import valuegrad as vg

        if not hasattr(vg, "compile"):
            raise ImportError("this valuegrad has no compile()")
        self.version = vg.__version__
        dialect = Dialect(vg.exp, vg.log, vg.sqrt, vg.sin, vg.norm_cdf)
        self.program = vg.compile(make(dialect), cache=False, strict=self.strict)

    def warm_up(self, inputs: Sequence[Any]) -> Any:
        return (self.program.value_and_grad if self.gradient else self.program).warm_up(*inputs)

    def run(self, inputs: Sequence[Any]) -> Any:
        return self.program.value_and_grad(*inputs) if self.gradient else self.program(*inputs)

    def store(self, results: Any) -> list[np.ndarray]:
        return super().store([results[0], *results[1]] if self.gradient else results)


class ValuegradStrict(Valuegrad):
    """Every operation rounded as the engines round it."""

    strict = True


class Numpy(Compiled):
    """Array by array, an operation after the other."""

    gives_gradient = False

    def build(self, make: Function) -> None:
        from scipy.special import ndtr

        self.version = np.__version__
        self.function = make(Dialect(np.exp, np.log, np.sqrt, np.sin, ndtr))

    def run(self, inputs: Sequence[Any]) -> Any:
        return self.function(*inputs)


class CasADi(Compiled):
    """CasADi's virtual machine: an SX graph, mapped over the lanes, on NumPy's memory without copies."""

    knows_size = True

    def build(self, make: Function) -> None:
        import casadi as ca

        self.version = ca.__version__
        xs = [ca.SX.sym(f"x{i}") for i in range(self.arguments)]
        value = make(Dialect(ca.exp, ca.log, ca.sqrt, ca.sin, norm_cdf_by(ca.erf)))(*xs)
        results = [value]
        if self.gradient:
            results += ca.vertsplit(ca.gradient(value, ca.vertcat(*xs)))
        self.function = self.lowered(ca.Function("f", xs, results).map(self.size))
        self.outputs = len(results)
        self.buffer, self.trigger = self.function.buffer()

    def lowered(self, function: Any) -> Any:
        return function

    def run(self, inputs: Sequence[Any]) -> Any:
        results = [np.empty(self.size) for _ in range(self.outputs)]
        for i, x in enumerate(inputs):
            self.buffer.set_arg(i, memoryview(x))
        for i, result in enumerate(results):
            self.buffer.set_res(i, memoryview(result))
        self.trigger()
        return results


class CasADiC(CasADi):
    """The same as C, by CasADi's own generator, compiled by gcc."""

    def lowered(self, function: Any) -> Any:
        import casadi as ca

        if shutil.which("gcc") is None:
            raise ImportError("no gcc")
        with tempfile.TemporaryDirectory() as folder:
            source, library = Path(folder) / "f.c", Path(folder) / "f.so"
            generator = ca.CodeGenerator("f.c")
            generator.add(function)
            generator.generate(folder + os.sep)
            flags = ["-O3", "-march=native", "-fPIC", "-shared"]
            compiler = subprocess.run(["gcc", *flags, str(source), "-o", str(library), "-lm"], stderr=subprocess.PIPE)
            if compiler.returncode:
                raise ImportError(f"gcc failed: {compiler.stderr.decode()}")
            return ca.external(function.name(), str(library))


class DrJit(Compiled):
    """Dr.Jit's LLVM backend with a frozen function: traced once, replayed without Python's share of it."""

    def build(self, make: Function) -> None:
        if not os.environ.get("DRJIT_LIBLLVM_PATH"):
            found = sorted(glob("/usr/lib/*/libLLVM.so.*") + glob("/usr/lib/*/libLLVM-*.so.1"))
            os.environ["DRJIT_LIBLLVM_PATH"] = found[-1] if found else find_library("LLVM") or ""
        os.environ["HOME"] = tempfile.mkdtemp()  # where it would find what an earlier run compiled
        import drjit as dr

        if not dr.has_backend(dr.JitBackend.LLVM):
            raise ImportError("Dr.Jit finds no libLLVM; set DRJIT_LIBLLVM_PATH")
        dr.set_thread_count(1)
        self.version, self.dr = dr.__version__, dr
        if self.gradient:
            from drjit.llvm.ad import Float64
        else:
            from drjit.llvm import Float64
        self.Float64 = Float64
        function = make(Dialect(dr.exp, dr.log, dr.sqrt, dr.sin, norm_cdf_by(dr.erf)))

        def with_gradient(*xs):
            xs = [Float64(x) for x in xs]
            dr.enable_grad(xs)
            value = function(*xs)
            dr.backward(value)
            return [dr.detach(value), *(dr.grad(x) for x in xs)]

        self.function = dr.freeze(with_gradient if self.gradient else function)

    def load(self, array: np.ndarray) -> Any:
        loaded = self.Float64(array)
        self.dr.eval(loaded)
        self.dr.sync_thread()
        return loaded

    def run(self, inputs: Sequence[Any]) -> Any:
        results = self.function(*inputs)
        self.dr.eval(results)
        self.dr.sync_thread()
        return results


class Jax(Compiled):
    """XLA: ``jit`` of the function, or of its gradient, mapped over the lanes."""

    rolled = False
    knows_size = True

    def build(self, make: Function) -> None:
        jax = one_thread_jax()
        from jax.scipy.special import ndtr

        self.version, self.jax = jax.__version__, jax
        dialect = Dialect(jax.numpy.exp, jax.numpy.log, jax.numpy.sqrt, jax.numpy.sin, ndtr)
        if self.rolled:
            dialect.repeat = self.scan
        function = make(dialect)
        if self.gradient:
            function = jax.value_and_grad(function, argnums=tuple(range(self.arguments)))
        self.function = jax.jit(jax.vmap(function))

    def scan(self, step: Function, times: int) -> Function:
        """The loop as XLA's own."""

        def advance(x, y, z, *parameters):
            once = lambda state, _: (step(*state, *parameters), None)  # noqa: E731
            return self.jax.lax.scan(once, (x, y, z), None, length=times)[0]

        return advance

    def load(self, array: np.ndarray) -> Any:
        return self.jax.numpy.asarray(array)

    def run(self, inputs: Sequence[Any]) -> Any:
        return self.jax.block_until_ready(self.function(*inputs))

    def store(self, results: Any) -> list[np.ndarray]:
        return super().store([results[0], *results[1]] if self.gradient else results)


class JaxScan(Jax):
    """With the loop kept a loop, for information: the others are given straight-line code."""

    rolled = True


def one_thread_jax() -> Any:
    """JAX on one thread and with float64, loaded."""
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"
    os.environ["JAX_PLATFORMS"] = "cpu"
    if hasattr(os, "sched_setaffinity"):  # XLA makes as many threads as the process may use processors
        os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[-1]})
    import jax

    jax.config.update("jax_enable_x64", True)
    return jax


class Numba(Compiled):
    """Numba: the function inlined into a loop over the lanes. It knows no derivatives."""

    gives_gradient = False

    def build(self, make: Function) -> None:
        import numba

        self.version = numba.__version__
        norm_cdf = numba.njit(lambda x: 0.5 * math.erfc(-x * math.sqrt(0.5)))
        dialect = Dialect(math.exp, math.log, math.sqrt, math.sin, norm_cdf)
        dialect.repeat = lambda step, times: numba.njit(self.repeated(numba.njit(step), times))
        function = numba.njit(make(dialect))
        names = ", ".join(f"x{i}" for i in range(self.arguments))
        elements = ", ".join(f"x{i}[lane]" for i in range(self.arguments))
        self.outputs = 1 + self.arguments if self.gradient else 1
        outs = [f"out{i}" for i in range(self.outputs)]
        targets = ", ".join(f"{out}[lane]" for out in outs)
        loop = f"def over({names}, {', '.join(outs)}):\n for lane in range(len(x0)):\n  {targets} = f({elements})"
        made: dict[str, Any] = {"f": function}
        exec(loop, made)
        self.function = numba.njit(made["over"])

    def repeated(self, step: Function, times: int) -> Function:
        def advance(x, y, z, sigma, rho, beta):
            for _ in range(times):
                x, y, z = step(x, y, z, sigma, rho, beta)
            return x, y, z

        return advance

    def run(self, inputs: Sequence[Any]) -> Any:
        outs = [np.empty(len(inputs[0])) for _ in range(self.outputs)]
        self.function(*inputs, *outs)
        return outs


class NumbaUnrolled(Numba):
    """With the loop over the steps written out."""

    def repeated(self, step: Function, times: int) -> Function:
        state = "x, y, z, sigma, rho, beta"
        lines = [f"def advance({state}):", *[f" x, y, z = step({state})"] * times, " return x, y, z"]
        made: dict[str, Any] = {"step": step}
        exec("\n".join(lines), made)
        return made["advance"]


class Torch(Compiled):
    """PyTorch, eagerly on tensors over the lanes."""

    def build(self, make: Function) -> None:
        import torch

        torch.set_num_threads(1)
        self.version, self.torch = torch.__version__, torch
        self.function = make(Dialect(torch.exp, torch.log, torch.sqrt, torch.sin, torch.special.ndtr))

    def load(self, array: np.ndarray) -> Any:
        return self.torch.from_numpy(array)

    def run(self, inputs: Sequence[Any]) -> Any:
        if not self.gradient:
            with self.torch.no_grad():
                return self.function(*inputs)
        inputs = [x.detach().requires_grad_() for x in inputs]
        value = self.function(*inputs)
        return [value.detach(), *self.torch.autograd.grad(value.sum(), inputs)]


class ByHand(Compiled):
    """C that was written for this function, with its gradient: ``make.native`` says which, and how many steps."""

    compiler, suffix, flags = "gcc", ".c", C_FLAGS

    def build(self, make: Function) -> None:
        native = getattr(make, "native", None)
        if native is None:
            raise ImportError("was not written for this")
        name, self.steps = native
        source = FOLDER / f"{name}{self.suffix}"
        self.version = source.name
        self.code = library(source, self.compiler, self.flags)

    def run(self, inputs: Sequence[Any]) -> Any:
        results = [np.empty(len(inputs[0])) for _ in range(1 + self.gradient * len(inputs))]
        given, found = (
            (ctypes.c_void_p * len(arrays))(*[x.ctypes.data for x in arrays]) for arrays in (inputs, results)
        )
        self.code.run(ctypes.c_long(len(inputs[0])), self.steps, given, found, int(self.gradient))
        return results


class Tape(ByHand):
    """The plain function over the Value of ``yardsticks/tape.hpp``."""

    compiler, suffix, flags = "g++", ".cpp", CPP_FLAGS


COMPILERS: dict[str, type[Compiled]] = {
    "valuegrad": Valuegrad,
    "valuegrad, strict": ValuegradStrict,
    "CasADi VM": CasADi,
    "CasADi C -O3": CasADiC,
    "Dr.Jit LLVM": DrJit,
    "JAX": Jax,
    "JAX, scan": JaxScan,
    "Numba": Numba,
    "Numba, unrolled": NumbaUnrolled,
    "PyTorch": Torch,
    "NumPy": Numpy,
    "C by hand": ByHand,
    "C++ tape": Tape,
}


def compile(name: str, make: Function, arguments: int, gradient: bool, size: int) -> Compiled:
    """This function as the contestant of this name runs it.

    Raises:
        ImportError: its package, or what it needs, is not installed.
    """
    return COMPILERS[name](make, arguments, gradient, size)


# --------------------------------------------------------------------------------------- what the scripts share
def prepare(
    name: str, make: Function, inputs: Sequence[np.ndarray], gradient: bool, warm_up: Function, unit: float
) -> tuple[str, harness.Measure]:
    """Compile, and the measurement of a run over these inputs.

    Args:
        warm_up: a small function with as many arguments, compiled first: the library loads what it needs.
        unit: in which times are given: so many a second.
    """
    size, arguments = len(inputs[0]), len(inputs)
    few = [x[:CHECKED].copy() for x in inputs]

    def timed(compiled: Compiled, run: Callable[[Sequence[Any]], Any], arrays: Sequence[np.ndarray]) -> float:
        loaded = [compiled.load(x) for x in arrays]
        start = harness.processor_seconds()
        run(loaded)
        return harness.processor_seconds() - start

    compiled = compile(name, warm_up, arguments, gradient, CHECKED)
    timed(compiled, compiled.warm_up, few)
    start = harness.processor_seconds()
    compiled = compile(name, make, arguments, gradient, CHECKED)
    compilation = harness.processor_seconds() - start + timed(compiled, compiled.warm_up, few)
    if compiled.knows_size:
        compiled = compile(name, make, arguments, gradient, size)
    first, second = timed(compiled, compiled.run, inputs), timed(compiled, compiled.run, inputs)
    if compiled.waits:
        compilation += max(first - second, 0)
    loaded = [compiled.load(x) for x in inputs]
    times = max(1, min(1000, int(LONG_ENOUGH / max(second, 1e-6))))

    def measure() -> dict[str, Any]:
        start = process_time()
        for _ in range(times):
            results = compiled.run(loaded)
        seconds = process_time() - start
        check = [x for result in compiled.store(results) for x in result[:CHECKED].tolist()]
        return {
            "run": seconds / times / size * unit,
            "compile": compilation,
            "memory": harness.peak_memory() / 1e6,
            "lanes": size,
            "check": check,
        }

    return compiled.version, measure


def race(
    script: Path, contestants: list[str], rounds: int, settings: dict[str, Any], agree_within: float, limit: float
) -> tuple[list[harness.Runs], dict[str, str]]:
    """Race twice: the values (f), then the values with their gradients (fg), by those that managed the values."""
    merged = {name: harness.Runs(name, "") for name in contestants}
    missing: dict[str, str] = {}
    for what, gradient in (("f", False), ("fg", True)):
        names = [name for name in contestants if name not in missing]
        settings = {**settings, "gradient": gradient}
        runs, absent = harness.race(script, names, rounds, settings, agree_within, limit)
        for run in runs:
            both = merged[run.contestant]
            both.version = run.version
            both.samples.update({what: run.samples["run"], f"compile_{what}": run.samples["compile"]})
            both.samples.update(memory=run.samples["memory"], lanes=run.samples["lanes"])
        for name, reason in absent.items():
            missing[f"{name}, gradient" if gradient else name] = reason
    return [run for run in merged.values() if run.samples], missing
