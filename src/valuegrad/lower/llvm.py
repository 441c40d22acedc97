"""LLVM, through llvmlite: from IR to machine code for this processor.

Why: to import it takes 60 ms and 70 MB, and there are machines without it; so it is imported here alone, and only when
there is something to compile.

Where to start reading: ``objects``.
"""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

__all__ = ["HAS_LLVM", "PREFIX", "engine", "objects", "version"]

PREFIX = "vg_"
"""What the names of elementary functions begin with in IR; the operation's number follows."""

SHORT = 20_000
"""Characters of a module whose object file is remembered: segments with nothing to do above all, which each program
has, and for which LLVM takes 4 ms as well; and programs that are made anew from the same function."""

HAS_LLVM = importlib.util.find_spec("llvmlite") is not None


@lru_cache(maxsize=1)
def version() -> str:
    """Which LLVM there is, by its files: it need not be imported for that."""
    spec = importlib.util.find_spec("llvmlite")
    if spec is None or spec.origin is None:
        return ""
    folder = Path(spec.origin).parent
    found = [path.stat() for path in sorted((folder / "binding").glob("*llvmlite.*"))]
    says = folder / "_version.py"
    return repr((says.read_text("utf-8") if says.exists() else "", [(x.st_size, x.st_mtime_ns) for x in found]))


@lru_cache(maxsize=1)
def _host() -> tuple[Any, dict[str, Any]]:
    """LLVM's target, and what this processor is and has."""
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    cpu, features = llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()
    # Our loops run as fast with 1 as with 2 or 3, and are ready sooner (docs/performance.md, "Ready sooner").
    return llvm.Target.from_default_triple(), {"cpu": cpu, "features": features, "opt": 1}


def objects(texts: list[str]) -> list[bytes] | None:
    """Object files of modules, with distances in place of addresses; None where they are not of the kind that
    ``linking`` knows: ELF for x86-64.

    Raises:
        ImportError, OSError: llvmlite cannot be imported.
    """
    target, _ = _host()
    if not target.triple.startswith("x86_64-") or "linux" not in target.triple:
        return None
    return [(_short_object if len(text) < SHORT else _object)(text) for text in texts]


_own = threading.local()


def _machine() -> Any:
    """LLVM's code generator: one a thread, as none is safe among threads, and a new one takes 2 ms more each time."""
    if not hasattr(_own, "machine"):
        target, processor = _host()
        _own.machine = target.create_target_machine(**processor, reloc="pic", codemodel="small")
    return _own.machine


def _object(text: str) -> bytes:
    import llvmlite.binding as llvm

    found: bytes = _machine().emit_object(llvm.parse_assembly(text))
    return found


_short_object = lru_cache(maxsize=128)(_object)  # with what LLVM makes of them 4 MB at most


def engine(texts: list[str], address: Callable[[str], int]) -> Any:
    """LLVM's own loader with the functions of some modules: for what ``linking`` does not know.

    Args:
        texts: the modules.
        address: of a function that they call.
    """
    import llvmlite.binding as llvm

    target, processor = _host()
    found = None
    for text in texts:
        module = llvm.parse_assembly(_with_addresses(text, address))
        if found is None:
            found = llvm.create_mcjit_compiler(module, target.create_target_machine(**processor))
        else:
            found.add_module(module)
    assert found is not None
    found.finalize_object()
    return found


def _with_addresses(text: str, address: Callable[[str], int]) -> str:
    """A module whose functions from elsewhere are jumps to their addresses: no loader has to find them."""
    lines = text.split("\n")
    for i, line in enumerate(lines):
        if line.startswith("declare ") and f" @{PREFIX}" in line:
            kind, _, rest = line.removeprefix("declare ").partition(" @")
            name, _, kinds = rest.rstrip(")").partition("(")
            given = ", ".join(f"{one} %x{k}" for k, one in enumerate(kinds.split(", ")))
            call = f"tail call {kind} inttoptr (i64 {address(name)} to ptr)({given})"
            body = f"  {call}\n  ret void" if kind == "void" else f"  %y = {call}\n  ret {kind} %y"
            lines[i] = f"define private {kind} @{name}({given}) #0 {{\n{body}\n}}"
    return "\n".join(lines)
