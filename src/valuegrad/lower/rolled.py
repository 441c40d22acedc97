"""Rolled programs: their loops become machine code by LLVM.

Why: straight-line code is as long as the calculation, and a single lane leaves a vector's other lanes idle.  Loops over
alike instructions (``roll``) are short, stay in the first cache, and run along the lanes of a batch or, for one lane,
along the members of a group.

How: each segment of a program becomes a function, ``main`` up to three (``machine_code.What``).  They are made when
they are wanted first, or taken from the disk cache (``machine_code.py``).  Then nothing is looked for, unless somebody
wants to see the loops; what is needed for that alone is imported when it is needed.

Data structures: ``Rolled`` makes a program's functions, and shows its loops; ``Segments`` are what it makes them of.

Where to start reading: ``rolled_code``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from valuegrad.lower.llvm import HAS_LLVM
from valuegrad.lower.machine_code import (
    LAST,
    MAIN,
    POST,
    PRE,
    STREAM,
    WIDE,
    What,
    Written,
    function_name,
    install,
    target_of,
)
from valuegrad.lower.stored import Entry, stream_entry
from valuegrad.primitives.opcodes import OPS

if TYPE_CHECKING:
    from valuegrad.lower.segments import Segments
    from valuegrad.roll.describe import Loop

__all__ = ["Rolled", "can_wait", "is_known", "rolled_code", "stream", "why_not"]

ALL = "on", "levels"  # wishes
AROUND = PRE, POST, LAST  # segments whose functions are made with the program, for one lane
LONG = 4000  # operations of a recording that may be worth it
MOST_WAITING = 500_000  # operations of one that straight-line code stands in for at first: of more that takes too long
SHARED = 40000  # instructions of a program whose block of lanes threads may share


def why_not(operations: int) -> str:
    """Why a recording of so many operations is not to be rolled; "" where it may be.

    VALUEGRAD_ROLL says "on" (all are), "levels" (all are, by levels: for tests), "off" (none is) or "auto": what is
    long enough for loops to pay.
    """
    wish = os.environ.get("VALUEGRAD_ROLL", "auto")
    if wish == "off":
        return "VALUEGRAD_ROLL is off"
    if not HAS_LLVM:
        return "llvmlite is not installed"
    if wish not in ALL and operations < LONG:
        return f"{operations:,} operations are too few for loops to pay (with VALUEGRAD_ROLL=on all are rolled)"
    return ""


def can_wait(operations: int) -> bool:
    """Whether straight-line code may stand in for the loops of such a recording until calls have taken some time."""
    return os.environ.get("VALUEGRAD_ROLL", "auto") not in ALL and operations < MOST_WAITING


def is_known(entry: Entry | None) -> bool:
    """Whether what was made of a program's loops, or why there are none, is in the disk cache.

    Args:
        entry: the program's place there; None: there is none.
    """
    return entry is not None and (_refused(entry).is_there() or _functions(entry, "one lane", 1, AROUND).is_there())


def _refused(entry: Entry) -> Entry:
    """The place of why there are no loops."""
    return entry.part(f"why not, VALUEGRAD_ROLL={os.environ.get('VALUEGRAD_ROLL', 'auto')}")


def _functions(entry: Entry, what: What, parts: int, segments: tuple[int, ...]) -> Entry:
    """The place of some functions."""
    return entry.part(f"{what} {parts} {segments}")


class Rolled:
    """How a program's functions are made, and what its loops are.

    It does not hold the program's code, which holds it.

    Args:
        strict: as the code's.
        entry: the program's place in the disk cache; None: there is none.
    """

    def __init__(self, strict: bool, entry: Entry | None) -> None:
        self.strict = strict
        self.entry = entry
        self._wish = os.environ.get("VALUEGRAD_ROLL", "auto")  # now, not when somebody looks
        self._segments: Segments | None = None

    def segments(self, code: Any) -> Segments:
        """The segments of the code, with backend "rolled", as kernels.

        Raises:
            NotImplementedError: it is not worth it, or there is an operation that loops do not know.
        """
        if self._segments is None:
            from valuegrad.lower.segments import Segments

            self._segments = Segments(code, self.strict, self._wish in ALL, self._wish == "levels")
        return self._segments

    def build(self, code: Any, what: What, segments: tuple[int, ...] = (MAIN,)) -> None:
        """Make the functions of segments and install them in the code."""
        parts = code.parts if what == "shared block" else 1

        def write() -> Written:
            found = self.segments(code)
            written = {k: found.written(code, k, function_name(k), what, parts) for k in segments}
            if what == "blocks" and found.two_vectors_pay(code):
                written[WIDE] = found.written(code, MAIN, function_name(WIDE), "two blocks")
            return written

        if what == "shared block" and self._wish not in ALL and sum(code.instructions[0]) < SHARED:
            code.refuse_parts()
            return
        entry = None if self.entry is None else _functions(self.entry, what, parts, segments)
        try:
            install(code, segments, write, what=what, strict=self.strict, entry=entry)
        except NotImplementedError:
            if what != "shared block":
                raise
            code.refuse_parts()

    def loops(self, code: Any, names: Sequence[tuple[str, tuple[int, ...] | None]]) -> list[Loop]:
        """The loops as a person would write them.

        Args:
            code: the program's.
            names: of the inputs (``roll.describe.loops_of``).
        """
        return self.segments(code).loops(names)

    def instructions(self, code: Any) -> int:
        """How many instructions they stand for, with copies of what is cheap."""
        return self.segments(code).instructions


def rolled_code(make: Callable[..., Any], strict: bool, entry: Entry | None = None) -> tuple[Any, Rolled] | str:
    """A program's code in loops; why not, where it is not worth it or has operations that loops do not know.

    Args:
        make: a Code for a backend.
        strict: whether it is to be exact.
        entry: the program's place in the disk cache; None: there is none.
    """
    refused = None if entry is None else _refused(entry)
    known = None if refused is None else refused.get()
    if known:
        return known.decode(errors="replace")
    code = make(backend="rolled")
    rolled = Rolled(strict, entry)
    try:
        rolled.build(code, "one lane", AROUND)
    except NotImplementedError as error:
        why = f"loops do not know {error}" if str(error) in OPS else str(error)
        if refused is not None:
            refused.put(why.encode())
        return why
    except (ImportError, OSError) as error:
        return f"llvmlite cannot be imported: {error}"
    code.build_with(rolled.build)
    return code, rolled


def stream(code: Any, strict: bool, cache: bool | str | os.PathLike[str] = True) -> bool:
    """Have a program's lanes computed on the arrays themselves, to the same bits.

    Args:
        code: a Code with any backend.
        strict: as the code's.
        cache: whether its machine code is kept on disk, or the folder where.

    Returns:
        Whether that could be done; if not, it runs as before.
    """
    if os.environ.get("VALUEGRAD_ROLL") == "off" or not HAS_LLVM:
        return False

    arrays, (_, outputs, _, same, *_) = code.segment(MAIN), code.layout

    def write() -> Written:
        from valuegrad.lower.streams import can_stream, emit_stream
        from valuegrad.roll.groups import Segment

        segment = Segment(*arrays)
        if not can_stream(segment, outputs[same == 0].tolist()):
            raise NotImplementedError("a stream of this segment")
        return {STREAM: (emit_stream(segment, function_name(STREAM), target_of(code, strict)), 0)}

    entry = stream_entry([*arrays[:5], outputs, same], cache, dtype=code.dtype, strict=strict, sizes=arrays[5:8])
    try:
        install(code, (STREAM,), write, what="blocks", strict=strict, entry=entry)
    except (NotImplementedError, ImportError, OSError):
        return False
    return True
