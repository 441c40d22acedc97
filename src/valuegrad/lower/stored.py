"""Machine graphs on disk: what one process has lowered, the next one reads.

Why: to expand and simplify a large graph takes longer than to read the result.  What is kept is that graph, as arrays
of numbers.  Machine code is not: it is made of the graph in less than 0.1 microseconds a node, and so nothing on disk
is ever executed.

Data structures: an entry of the cache (``cache.py``) is the lengths of the arrays, then the arrays, in this
processor's byte order.  Python functions and the lines of guards are those of the graph that was recorded.

Where to start reading: ``machine_graph``.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from valuegrad.cache import Cache, key
from valuegrad.errors import GraphError
from valuegrad.graph import Graph, Guard, check
from valuegrad.primitives.digest import PACKAGE

__all__ = ["LEAST", "machine_graph"]

LEAST = 20_000
"""Nodes of a graph that is kept: of so many the pass takes 2 ms, to find and to check an entry 0.8 ms."""

_LENGTHS = struct.Struct("=4q")  # nodes, operands, outputs, guards


def machine_graph(
    graph: Graph,
    strict: bool,
    run: Callable[..., Graph],
    cache: bool | str | os.PathLike[str],
    **options: int,
) -> Graph:
    """A graph of machine operations, from the cache if it is there.

    Args:
        graph: what is lowered.
        strict: whether to the last bit.
        run: the pass: gives the graph of machine operations.
        cache: whether there is one, or its folder.
        options: the pass's others; a graph that was made with other ones is another entry.
    """
    if cache is False or len(graph) < LEAST:
        return run(graph, strict=strict, **options)
    folder = Cache(None if cache is True else Path(cache))
    if folder.path is None:
        return run(graph, strict=strict, **options)
    name = key(graph, {"strict": strict, **options}, _build())
    data = folder.get(name)
    found = None if data is None else _unpacked(data, graph)
    if found is None:
        found = run(graph, strict=strict, **options)
        folder.put(name, _packed(found))
    return found


@lru_cache(maxsize=1)
def _build() -> str:
    """A digest of the passes: of their compiled module, and of the rules that it gets."""
    from valuegrad import _passes

    digest = hashlib.sha256()
    rules = [path for folder in ("primitives", "transforms") for path in (PACKAGE / folder).glob("*.py")]
    for path in [Path(_passes.__file__), *sorted(rules)]:
        digest.update(path.read_bytes())
    return digest.hexdigest()


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
