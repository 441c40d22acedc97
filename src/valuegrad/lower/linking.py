"""From object files to machine code that runs wherever it lies.

Why: LLVM has a loader, but to import LLVM takes longer than all else that a program from the disk cache needs.  What it
makes of our loops asks for little: sections side by side, distances between them, and calls of elementary functions.

How: the sections of all objects become one stretch of bytes.  A function from elsewhere is called through a jump behind
them (``jmp [address]``); its address is the only thing that depends on the process, and stands in a table at the end.

The format is ELF for x86-64: System V Application Binary Interface, AMD64 supplement, chapter 4.  Whatever is not known
here, other processors and systems included, gives None: LLVM's loader is used then.

Where to start reading: ``linked``.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

__all__ = ["Image", "linked"]

IDENTITY = b"\x7fELF\x02\x01\x01"  # of 64 bits, little-endian
RELOCATABLE, X86_64 = 1, 62
BITS, RELOCATIONS, SYMBOLS = 1, 4, 2  # kinds of sections
WRITTEN, IN_MEMORY = 1, 2  # a section's flags
DISTANCES = (2, 4)  # R_X86_64_PC32, R_X86_64_PLT32: 32 bits, symbol + addend - place
GLOBAL = 1
PAGE = 4096
FILE = struct.Struct("<16sHHIQQQIHHHHHH")
SECTION = struct.Struct("<IIQQQQIIQQ")
SYMBOL = struct.Struct("<IBBHQQ")
RELOCATION = struct.Struct("<QIIq")


class Image(NamedTuple):
    """Machine code that runs wherever it lies, on a page's beginning.

    Args:
        code: all but the addresses of the functions that it calls, 8 bytes each, which follow it.
        functions: where those in it begin.
        calls: the names of those that it calls, in the order of their addresses.
    """

    code: bytes
    functions: dict[str, int]
    calls: tuple[str, ...]


class Section(NamedTuple):
    """An entry of an object's table of sections, by the names of the specification."""

    name: int
    kind: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    info: int
    alignment: int
    entry: int


class _Object:
    """An object file that is taken apart."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        identity, kind, processor, _, _, _, sections, *_, size, count, _ = FILE.unpack_from(data)
        if not identity.startswith(IDENTITY) or (kind, processor, size) != (RELOCATABLE, X86_64, SECTION.size):
            raise _UnknownError
        self.sections = [Section(*SECTION.unpack_from(data, sections + i * size)) for i in range(count)]
        found = [section for section in self.sections if section.kind == SYMBOLS]
        self.symbols = list(SYMBOL.iter_unpack(self.content(found[0]))) if found else []
        self.names = self.content(self.sections[found[0].link]) if found else b""

    def content(self, section: Section) -> bytes:
        return self.data[section.offset : section.offset + section.size]

    def name(self, at: int) -> str:
        return self.names[at : self.names.index(b"\0", at)].decode()


class _UnknownError(Exception):
    """There is something in an object that is not known here."""


def linked(objects: list[bytes] | None) -> Image | None:
    """Put object files together; None if something in them is not known here.

    Args:
        objects: no two of them have a function of the same name for others.

    Example:
        >>> linked([b"no object file" * 10]) is None
        True
    """
    try:
        return None if objects is None else _linked([_Object(data) for data in objects])
    except (_UnknownError, struct.error, ValueError, LookupError):
        return None


def _linked(objects: list[_Object]) -> Image:
    code = bytearray()
    places: dict[tuple[int, int], int] = {}  # of sections: which object, which one
    for k, file in enumerate(objects):
        for s, section in enumerate(file.sections):
            if not section.flags & IN_MEMORY or not section.size:
                continue
            if section.kind != BITS or section.flags & WRITTEN or not 0 < section.alignment <= PAGE:
                raise _UnknownError
            code += bytes(-len(code) % section.alignment)
            places[k, s] = len(code)
            code += file.content(section)
    functions: dict[str, int] = {}
    jumps: dict[str, int] = {}
    for k, file in enumerate(objects):
        for name, info, _, section_of, value, _ in file.symbols[1:]:
            if section_of == 0:
                jumps.setdefault(file.name(name), 0)
            elif info >> 4 == GLOBAL:
                functions[file.name(name)] = places[k, section_of] + value
    for name in jumps:
        jumps[name] = len(code)
        code += b"\xff\x25" + bytes(4)  # jmp [rip + distance]
    code += bytes(-len(code) % 8)
    for i, at in enumerate(jumps.values()):
        struct.pack_into("<i", code, at + 2, len(code) + 8 * i - (at + 6))
    for k, file in enumerate(objects):
        for section in file.sections:
            if section.kind == RELOCATIONS and (k, section.info) in places:
                for offset, kind, symbol, addend in RELOCATION.iter_unpack(file.content(section)):
                    name, _, _, section_of, value, _ = file.symbols[symbol]
                    if kind not in DISTANCES:
                        raise _UnknownError
                    to = places[k, section_of] + value if section_of else jumps[file.name(name)]
                    at = places[k, section.info] + offset
                    struct.pack_into("<i", code, at, to + addend - at)
    return Image(bytes(code), functions, tuple(jumps))
