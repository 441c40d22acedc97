"""The machine code of segments: from the disk cache, or made by LLVM; then installed.

Why: what LLVM makes of a program is the same in each process, and takes most of the time to the first result.

Data structures: ``MachineCode``, functions that run wherever they lie; they are named by the segment that they run, or
STREAM.  Its entry in the cache is a few numbers, then the code.

Where to start reading: ``install``.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from valuegrad.lower.llvm import PREFIX, engine, objects
from valuegrad.primitives.opcodes import OPS

if TYPE_CHECKING:
    from valuegrad.lower.stored import Entry
    from valuegrad.lower.vectors import Target

__all__ = ["LAST", "MAIN", "POST", "PRE", "STREAM", "What", "Written", "function_name", "install", "target_of"]

PRE, MAIN, POST, LAST, STREAM, WIDE = range(6)
"""The functions: of the segments, the one that runs the lanes on the arrays themselves, and one that runs two blocks of
lanes side by side."""

What = Literal["blocks", "one lane", "one block", "shared block", "half a block", "two blocks"]
"""What a segment's function computes: V lanes of perhaps many, whose sums go on with the next ones; one lane; or V,
or half as many, which are all there are, or more than there are, on one thread or several.  In these four sums over the
lanes are totals at once.  Two blocks are 2 V lanes without such sums."""

Written = Mapping[int, tuple[str, int]]
"""For each function its LLVM IR, in which it is called ``function_name``, and how many slots of the frame it needs."""

REGISTERS = "_registers"
_COUNTS = struct.Struct("=3q")  # functions, calls, bytes of code
_IN_PLACE = struct.Struct("=4q")
_FUNCTION = struct.Struct("=3q")  # which one it is, where it begins, slots


class MachineCode(NamedTuple):
    """Machine code that runs wherever it lies.

    Args:
        code: all but the addresses of the functions that it calls, which follow it.
        functions: which one each is, where it begins, how many slots it needs.
        calls: the operations whose functions it calls, in the order of their addresses; ~ an operation if that is the
            function on registers.
        in_place: which inputs and outputs it has in the caller's arrays, whether it reads those often, and how many
            inputs (``lower/inplace.py``).
    """

    code: bytes
    functions: tuple[tuple[int, int, int], ...]
    calls: tuple[int, ...]
    in_place: tuple[int, int, int, int] = (-1, -1, 0, 0)

    def packed(self) -> bytes:
        """An entry of the cache."""
        functions = [_FUNCTION.pack(*function) for function in self.functions]
        calls = struct.pack(f"={len(self.calls)}q", *self.calls)
        counts = _COUNTS.pack(len(functions), len(self.calls), len(self.code))
        return b"".join([counts, _IN_PLACE.pack(*self.in_place), *functions, calls, self.code])

    @classmethod
    def unpacked(cls, data: bytes) -> MachineCode | None:
        """Of an entry; None if it is none of these."""
        head = _COUNTS.size + _IN_PLACE.size
        if len(data) < head:
            return None
        functions, calls, size = counts = _COUNTS.unpack_from(data)
        in_place = _IN_PLACE.unpack_from(data, _COUNTS.size)
        begin = head + _FUNCTION.size * functions
        if min(counts) < 0 or len(data) != begin + 8 * calls + size:
            return None
        found = tuple(_FUNCTION.iter_unpack(data[head:begin]))
        called = struct.unpack_from(f"={calls}q", data, begin)
        if not all(0 <= at < size and 0 <= slots < 1 << 31 for _, at, slots in found):
            return None
        if not all(0 <= max(op, ~op) < len(OPS) for op in called):
            return None
        if not all(-1 <= run < 1 << 31 for run in in_place):
            return None
        return cls(data[begin + 8 * calls :], found, called, in_place)


def function_name(which: int) -> str:
    """What a function is called in LLVM IR."""
    return {STREAM: "stream", WIDE: "wide"}.get(which, f"segment{which}")


def target_of(code: Any, strict: bool) -> Target:
    """What a program's functions are written for; it does not hold the code."""
    from valuegrad.lower.vectors import BLOCK, MOST_REGISTERS, Target  # who finds its functions on disk writes none

    dtype, in_memory, in_registers = code.dtype, code.function, code.register_function

    def function(op: int) -> tuple[str, int]:
        address, size = in_registers(op, dtype, strict)
        if address:
            return f"{PREFIX}{op}{REGISTERS}", size
        return f"{PREFIX}{op}" if in_memory(op, dtype, strict) else "", 0

    target = Target(dtype, strict, code.has_fma(), function)
    _, lanes = in_registers(0, dtype, strict)
    return replace(target, registers=MOST_REGISTERS) if lanes * target.item == BLOCK else target


def install(
    code: Any,
    which: tuple[int, ...],
    write: Callable[[], Written],
    *,
    what: What,
    strict: bool,
    entry: Entry | None = None,
) -> None:
    """Have functions run a program's segments.

    Args:
        code: the program, a Code.
        which: the functions that are wanted.
        write: gives them, where they are not in the cache, and perhaps WIDE beside MAIN.
        what: they compute.
        strict: whether elementary functions are the exact ones.
        entry: the place of these functions in the cache; None: there is none.

    Raises:
        ImportError, OSError: llvmlite cannot be imported.
        Whatever ``write`` raises.
    """
    data = None if entry is None else entry.get()
    kept = None if data is None else MachineCode.unpacked(data)
    is_known = kept is not None and sorted(which) == sorted(k for k, _, _ in kept.functions if k != WIDE)
    if kept is not None and is_known and _put_in_place(kept, code, what, strict):
        return
    from valuegrad.lower.linking import linked

    written = write()
    texts = [text for text, _ in written.values()]
    image = linked(objects(texts))
    if image is not None and all(name.startswith(PREFIX) for name in image.calls):  # LLVM may call the C library
        functions = tuple((k, image.functions[function_name(k)], slots) for k, (_, slots) in _in_order(written))
        made = MachineCode(image.code, functions, tuple(map(_operation, image.calls)), code.in_place)
        if _put_in_place(made, code, what, strict):
            if entry is not None:
                entry.put(made.packed())
            return
    loaded = engine(texts, lambda name: _address(code, _operation(name), strict))
    for k, (_, slots) in _in_order(written):
        _install(code, k, loaded.get_function_address(function_name(k)), what, slots, loaded)


def _in_order(written: Written) -> list[tuple[int, tuple[str, int]]]:
    """WIDE first, as a run may begin as soon as MAIN is there."""
    return sorted(written.items(), key=lambda item: item[0] != WIDE)


def _put_in_place(made: MachineCode, code: Any, what: What, strict: bool) -> bool:
    """Have machine code run segments; whether that can be done here."""
    from valuegrad._replay import Executable

    addresses = [_address(code, op, strict) for op in made.calls]
    if not all(addresses):
        return False
    memory = Executable(made.code + struct.pack(f"={len(addresses)}Q", *addresses))
    if not memory.address:
        return False
    code.leave_in_place(*made.in_place)
    for k, at, slots in made.functions:
        _install(code, k, memory.address + at, what, slots, memory)
    return True


def _install(code: Any, which: int, address: int, what: What, slots: int, keep: Any) -> None:
    if which == STREAM:
        code.install_stream(address, keep)
    elif which == WIDE:
        code.install_wide(address, slots, keep)
    else:
        code.install(which, address, what, slots, keep)


def _operation(name: str) -> int:
    op = int(name.removeprefix(PREFIX).removesuffix(REGISTERS))
    return ~op if name.endswith(REGISTERS) else op


def _address(code: Any, op: int, strict: bool) -> int:
    found: int = (
        code.function(op, code.dtype, strict) if op >= 0 else code.register_function(~op, code.dtype, strict)[0]
    )
    return found
