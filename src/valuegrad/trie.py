"""One way through a function's branches: what was recorded of it, and what was lowered from that.

Data structures: ``Path`` is a node of the trie that ``paths.Paths`` holds.

Where to start reading: ``Path``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from valuegrad.calls import Call
from valuegrad.graph import Graph
from valuegrad.lower.lowering import Lowered
from valuegrad.primitives.opcodes import OPCODE
from valuegrad.record import IntegerUse

__all__ = ["Options", "Path"]


@dataclass(frozen=True)
class Options:
    """What ``compile`` was asked for; see there."""

    threads: int = 1
    dtype: str = "float64"
    cache: bool | str = True
    strict: bool = False
    static: tuple[int | str, ...] = ()
    vectors: tuple[int | str, ...] = ()
    max_paths: int = 64
    beyond: str = "eager"
    reduce: str = "sum"


class Path:
    """One way through the branches: a recording, and what was lowered from it.

    Args:
        graph: what was recorded.
        captured: the leaf Values that the function closed over: the inputs after the arguments'.
        uses: the integer inputs that choose entries of lists.
    """

    def __init__(self, graph: Graph, captured: tuple[Any, ...] = (), uses: tuple[IntegerUse, ...] = ()) -> None:
        self.graph = graph
        self.captured = captured
        self.integer_uses = uses
        self._indices: dict[tuple[int, int], None] | None = None
        self.branches: dict[int, Path] = {}
        self.lowered: dict[tuple[bytes, bool], Lowered] = {}
        sums = graph.ops == OPCODE["batch_sum"]
        self.sums_over_lanes = bool(np.any(sums) or np.any(graph.ops == OPCODE["lanes"]))
        # Outputs that are nothing but a sum over the lanes add up over paths too; other uses of a sum do not.
        self.sum_outputs = sums[graph.outputs]
        self.divisible = not self.sums_over_lanes or not (
            np.any(sums[graph.operands]) or np.any(graph.ops == OPCODE["lanes"])
        )

    def outcomes(self) -> list[bool]:
        """How it decides its guards."""
        return [guard.expected for guard in self.graph.guards]

    def indices(self, call: Call) -> Iterable[tuple[int, int]]:
        """The leaves that choose entries of lists, each with the length of a list."""
        if self._indices is None:
            leaf_of = call.leaf_of_inputs() if self.integer_uses else []
            self._indices = dict.fromkeys((leaf_of[use.input], use.entries) for use in self.integer_uses)
        return self._indices

    def walk(self) -> Iterator[Path]:
        """This path and all that branch off."""
        waiting = [self]
        while waiting:
            path = waiting.pop()
            yield path
            waiting += reversed(path.branches.values())
