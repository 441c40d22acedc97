"""Places in the disk cache: for machine graphs, which are packed here, and for machine code.

Why: to expand and simplify a large graph takes longer than to read the result; to compile it, much longer.

Data structures: an ``Entry`` is a place in the cache (``cache.py``); its name is a digest of all that what lies there
depends on.  A graph's is the lengths of the arrays, then the arrays, in this processor's byte order.  Python functions
and the lines of guards are those of the graph that was recorded.  Machine code has a place that depends on the graph's,
and on what compiles it (``machine_code.py``).

Where to start reading: ``machine_graph``, then ``code_entry``.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any, Union
from zlib import crc32

import numpy as np

from valuegrad.cache import Cache, is_machine_known, key, key_of_arrays
from valuegrad.errors import GraphError
from valuegrad.graph import Graph, Guard, check
from valuegrad.lower.llvm import version
from valuegrad.primitives.digest import PACKAGE

__all__ = ["LEAST", "Entry", "code_entry", "graph_entry", "machine_graph", "stream_entry"]

LEAST = 20_000
"""Nodes of a graph that is kept: of so many the pass takes 2 ms, to find and to check an entry 0.8 ms."""

_LENGTHS = struct.Struct("=4q")  # nodes, operands, outputs, guards


class Entry:
    """A place in the disk cache.

    Args:
        cache: the folder.
        name: says all that what is kept there depends on.
    """

    def __init__(self, cache: Cache, name: str) -> None:
        self.cache = cache
        self.name = name

    def part(self, what: str) -> Entry:
        """The place of something else that depends on the same, and on what is said here."""
        return Entry(self.cache, hashlib.blake2b(f"{self.name} {what}".encode(), digest_size=32).hexdigest())

    def get(self) -> bytes | None:
        """What was put there."""
        return self.cache.get(self.name)

    def is_there(self) -> bool:
        """Whether something was put there, which is not read."""
        return self.cache.has(self.name)

    def put(self, data: bytes) -> None:
        """Keep something."""
        self.cache.put(self.name, data)


Where = Union[bool, str, "os.PathLike[str]"]
"""Whether there is a cache, or its folder."""


def graph_entry(graph: Graph, strict: bool, cache: Where, code: bool, **options: int) -> Entry | None:
    """The place of a machine graph; None: there is no cache, or nothing to keep.

    Args:
        graph: what is lowered.
        strict: whether to the last bit.
        cache: whether there is a cache, or its folder.
        code: whether machine code may be kept as well, which is worth it however small the graph is.
        options: the pass's others; a graph that was made with other ones is another entry.
    """
    folder = _folder(cache) if code or len(graph) >= LEAST else None
    return None if folder is None else Entry(folder, key(graph, {"strict": strict, **options}, _build(*PASSES)))


def code_entry(of: Entry | None, uniform: bytes, dtype: str, strict: bool) -> Entry | None:
    """The place of a graph's machine code, if the graph has one; None: there is none."""
    if of is None or not is_machine_known():
        return None
    return of.part(repr(("code", uniform, dtype, strict, _compiler())))


def stream_entry(arrays: Sequence[Any], cache: Where, **options: Any) -> Entry | None:
    """The place of a stream's machine code; None: there is none.

    Args:
        arrays: what it is made of, and its other ``options``.
        cache: whether there is a cache, or its folder.
    """
    folder = _folder(cache) if is_machine_known() else None
    return None if folder is None else Entry(folder, key_of_arrays(arrays, options, _compiler()))


def _folder(cache: Where) -> Cache | None:
    folder = None if cache is False else Cache(None if cache is True else Path(cache))
    return folder if folder is not None and folder.path is not None else None


def machine_graph(graph: Graph, strict: bool, run: Callable[..., Graph], entry: Entry | None, **options: int) -> Graph:
    """A graph of machine operations, from the cache if it is there.

    Args:
        graph: what is lowered.
        strict: whether to the last bit.
        run: the pass: gives the graph of machine operations.
        entry: its place; None: there is no cache.
        options: the pass's others.
    """
    if entry is None or len(graph) < LEAST:
        return run(graph, strict=strict, **options)
    data = entry.get()
    found = None if data is None else _unpacked(data, graph)
    if found is None:
        found = run(graph, strict=strict, **options)
        entry.put(_packed(found))
    return found


PASSES = "_passes", "primitives", "transforms"
COMPILER = "_replay", "lower", "roll", "primitives"


@lru_cache(maxsize=2)
def _build(module: str, *folders: str) -> str:
    """A digest of a compiled module and of some folders' sources.

    By crc32, as in ``primitives/digest.py``: a change is to be noticed, and some megabytes are read in each process.
    """
    extension = Path(import_module(f"valuegrad.{module}").__file__ or "")
    files = [extension, *sorted(path for folder in folders for path in (PACKAGE / folder).glob("*.py"))]
    return repr([(path.name, len(data := path.read_bytes()), crc32(data)) for path in files])


def _compiler() -> str:
    """What machine code depends on besides a graph and the processor."""
    wishes = [os.environ.get(name) for name in ("VALUEGRAD_ROLL", "VALUEGRAD_ISA")]
    return repr((_build(*COMPILER), version(), wishes))


def _packed(graph: Graph) -> bytes:
    lengths = len(graph), len(graph.operands), len(graph.outputs), len(graph.guards)
    guards = np.array([guard.node for guard in graph.guards], dtype=np.int32)
    arrays = graph.numbers, graph.starts, graph.operands, graph.outputs, guards, graph.ops
    return _LENGTHS.pack(*lengths) + b"".join([array.tobytes() for array in arrays])


def _unpacked(data: bytes, recorded: Graph) -> Graph | None:
    """The graph of an entry; None if it is none that could come from the recorded one."""
    if len(data) < _LENGTHS.size:
        return None
    nodes, operands, outputs, guards = lengths = _LENGTHS.unpack_from(data)
    kinds = ("f8", nodes), ("i4", nodes + 1), ("i4", operands), ("i4", outputs), ("i4", guards), ("u2", nodes)
    if min(lengths) < 0 or len(data) != _LENGTHS.size + sum(np.dtype(kind).itemsize * count for kind, count in kinds):
        return None
    if outputs != len(recorded.outputs) or guards != len(recorded.guards):
        return None
    arrays: list[Any] = []
    at = _LENGTHS.size
    for kind, count in kinds:
        arrays.append(np.frombuffer(data, dtype=kind, count=count, offset=at))
        at += arrays[-1].nbytes
    numbers, starts, operands_of, outputs_of, conditions, ops = arrays
    pairs = zip(conditions.tolist(), recorded.guards)
    found = replace(
        recorded,
        ops=ops,
        starts=starts,
        operands=operands_of,
        numbers=numbers,
        outputs=outputs_of,
        guards=tuple([Guard(node, guard.expected, guard.line) for node, guard in pairs]),
    )
    try:
        check(found)
    except GraphError:
        return None
    return found
