"""Which sources a native build belongs to, so that an out-of-date one is noticed at import."""

from __future__ import annotations

from pathlib import Path
from zlib import crc32  # a change is to be noticed, not an attack fended off: cheap at every import

__all__ = ["PACKAGE", "digest"]

PACKAGE = Path(__file__).resolve().parent.parent
SOURCES = (
    *[
        f"primitives/{name}.py"
        for name in ("table", "floats", "row", "algebra", "symbols", "render", "opcodes", "methods")
    ],
    *["_ieee.h", "_slab.h", "_node.h", "_lines.h", "_export.h", "native.pyx"],
)


def digest() -> str:
    """A digest of everything the native engine is made from; "" where not all of it is installed."""
    result = 0
    for name in SOURCES:
        path = PACKAGE / name
        if not path.exists():
            return ""
        result = crc32(path.read_bytes().replace(b"\r\n", b"\n"), result)
    return f"{result:08x}"
