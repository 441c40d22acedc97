"""Rolled programs: their loops become machine code by LLVM.

Why: straight-line code is as long as the calculation, and a single lane leaves a vector's other lanes idle.  Loops over
alike instructions (``roll``) are short, stay in the first cache, and run along the lanes of a batch or, for one lane,
along the members of a group.

How: each segment of a program becomes a function, ``main`` two: for V lanes and for one.  They are made when they are
wanted first.  llvmlite is imported here alone, and only when a program is worth it.

Data structures: ``Rolled`` holds a program's segments as kernels, of which its functions are made, and its loops shown.

Where to start reading: ``rolled_code``.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from valuegrad.lower.emit import emit_segment
from valuegrad.lower.streams import can_stream, emit_stream
from valuegrad.lower.vectors import is_call
from valuegrad.primitives.opcodes import OPS
from valuegrad.roll.describe import Layout, Loop, loops_of
from valuegrad.roll.groups import STORE_UNIFORM, Groups, Segment
from valuegrad.roll.kernels import WHOLE, Kernel, kernels_of
from valuegrad.roll.sequences import Chain
from valuegrad.roll.sequences import Sequence as OrderedLoop

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Rolled", "rolled_code", "stream", "why_not"]

PRE, MAIN, POST, LAST = range(4)
LONG = 4000  # operations of a recording that may be worth it
RATIO = 6  # instructions that share a group, at least, on average
MOST = 3000  # groups, as LLVM takes longer than in proportion; unless so many instructions share one:
MANY = 100
HAS_LLVM = importlib.util.find_spec("llvmlite") is not None


def why_not(operations: int) -> str:
    """Why a recording of so many operations is not to be rolled; "" where it may be.

    VALUEGRAD_ROLL says "on" (all are), "off" (none is) or "auto": what is long enough for loops to pay.
    """
    wish = os.environ.get("VALUEGRAD_ROLL", "auto")
    if wish == "off":
        return "VALUEGRAD_ROLL is off"
    if not HAS_LLVM:
        return "llvmlite is not installed"
    if wish != "on" and operations < LONG:
        return f"{operations:,} operations are too few for loops to pay (with VALUEGRAD_ROLL=on all are rolled)"
    return ""


class Rolled:
    """What is not compiled yet of a program.

    Args:
        code: a Code with backend "rolled".
        strict: as the code's.
    """

    def __init__(self, code: Any, strict: bool) -> None:
        self.strict = strict
        self.layout, self.totals = Layout(*code.layout), code.totals
        segments = [Segment(*code.segment(k)) for k in range(4)]
        self.constants = _constants(self.layout, self.totals, segments)
        segments = [replace(segment, constants=self.constants) for segment in segments]
        count = sum(segment.groups for segment in segments)
        instructions = sum(len(segment.ops) for segment in segments)
        too_many = count > MOST and instructions < MANY * count
        if too_many or (instructions < RATIO * count and os.environ.get("VALUEGRAD_ROLL") != "on"):
            raise NotImplementedError(f"too few are alike: {instructions:,} instructions are of {count:,} kinds")
        for op in {int(op) for segment in segments for op in np.unique(segment.ops)}:
            if is_call(op) and not code.function(op, code.dtype, strict):
                raise NotImplementedError(OPS[op])
        self.slots = [segment.slots for segment in segments]
        self.groups = [segment.groups for segment in segments]
        self.kernels: list[tuple[list[Kernel | OrderedLoop | Chain], list[int]]] = []
        self.instructions = 0  # with copies of what is cheap
        for segment in segments:
            found = Groups(segment)
            self.instructions += len(found.segment.ops)
            self.kernels.append((kernels_of(found), found.sizes))

    def build(self, code: Any, single: bool, segments: tuple[int, ...] = (MAIN,)) -> None:
        """Make the functions of segments and install them in the code (which this does not hold: it holds this)."""
        texts, slots = [], {}
        for k in segments:
            kernels, sizes = self.kernels[k] if single or k != MAIN else self._of_lanes(code)
            text, slots[k] = emit_segment(
                kernels,
                sizes,
                self.slots[k],
                name=f"segment{k}",
                dtype=code.dtype,
                single=single,
                strict=self.strict,
                fma=code.has_fma(),
                totals=code.totals,
                constants=np.where(self.constants, self.layout.scalars, np.nan),
                is_constant=self.constants,
                functions=lambda op: code.function(op, code.dtype, self.strict),
                registers=lambda op: code.register_function(op, code.dtype, self.strict),
            )
            texts.append(text)
        engine = _compiled(texts)
        for k in segments:
            code.install(k, engine.get_function_address(f"segment{k}"), single, slots[k], engine)

    def _of_lanes(self, code: Any) -> tuple[list[Kernel | OrderedLoop | Chain], list[int]]:
        """The kernels that compute V lanes: those of short iterations compute them as a whole."""
        segment = Segment(*code.segment(MAIN, apart=True))
        if segment.groups == self.groups[MAIN]:
            return self.kernels[MAIN]
        found = Groups(replace(segment, constants=self.constants))
        return kernels_of(found, WHOLE), found.sizes

    def loops(self, names: Sequence[tuple[str, tuple[int, ...] | None]]) -> list[Loop]:
        """The loops as a person would write them.

        Args:
            names: of the inputs (``roll.describe.loops_of``).
        """
        return loops_of([kernels for kernels, _ in self.kernels], self.layout, self.totals, names)


def _constants(layout: Layout, totals: NDArray[Any], segments: list[Segment]) -> NDArray[np.bool_]:
    """Which scalars are constants: those that nothing writes."""
    constant = np.ones(len(layout.scalars), dtype=bool)
    inputs = layout.inputs[layout.own_inputs == 1]
    constant[inputs[inputs >= 0]] = False
    constant[totals] = False
    if layout.lanes >= 0:
        constant[layout.lanes] = False
    for segment in segments:
        constant[segment.numbers[segment.ops == STORE_UNIFORM].astype(np.int64)] = False
    return constant


def rolled_code(make: Callable[..., Any], strict: bool) -> tuple[Any, Rolled] | str:
    """A program's code in loops; why not, where it is not worth it or has operations that loops do not know.

    Args:
        make: a Code for a backend.
        strict: whether it is to be exact.
    """
    code = make(backend="rolled")
    try:
        rolled = Rolled(code, strict)
        rolled.build(code, True, (PRE, POST, LAST))
    except NotImplementedError as error:
        return f"loops do not know {error}" if str(error) in OPS else str(error)
    except (ImportError, OSError) as error:
        return f"llvmlite cannot be imported: {error}"
    code.build_with(rolled.build)
    return code, rolled


def stream(code: Any, strict: bool) -> bool:
    """Have a program's lanes computed on the arrays themselves, to the same bits.

    Args:
        code: a Code with any backend.
        strict: as the code's.

    Returns:
        Whether that could be done; if not, it runs as before.
    """
    if os.environ.get("VALUEGRAD_ROLL") == "off" or not HAS_LLVM:
        return False
    segment, (_, outputs, _, same, *_) = Segment(*code.segment(MAIN)), code.layout
    if not can_stream(segment, outputs[same == 0].tolist()):
        return False
    text = emit_stream(
        segment,
        name="stream",
        dtype=code.dtype,
        strict=strict,
        fma=code.has_fma(),
        functions=lambda op: code.function(op, code.dtype, strict),
        registers=lambda op: code.register_function(op, code.dtype, strict),
    )
    try:
        engine = _compiled([text])
    except (ImportError, OSError):
        return False
    code.install_stream(engine.get_function_address("stream"), engine)
    return True


_host: list[Any] = []  # LLVM's target, and what this processor is and has


def _target_machine() -> Any:
    """LLVM for this processor; each engine owns one."""
    import llvmlite.binding as llvm

    if not _host:
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        _host.append(llvm.Target.from_default_triple())
        _host.append({"cpu": llvm.get_host_cpu_name(), "features": llvm.get_host_cpu_features().flatten(), "opt": 2})
    return _host[0].create_target_machine(**_host[1])


def _compiled(texts: list[str]) -> Any:
    """An engine with the functions of some modules."""
    import llvmlite.binding as llvm

    machine = _target_machine()
    engine = None
    for text in texts:
        module = llvm.parse_assembly(text)
        if engine is None:
            engine = llvm.create_mcjit_compiler(module, machine)
        else:
            engine.add_module(module)
    assert engine is not None
    engine.finalize_object()
    return engine
