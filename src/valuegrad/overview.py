"""``program.graph``: what a program has recorded, for people.

Why: a compiled function is a black box unless it says what it computes, on which comparisons it relied, and what
it costs.

Data structures: ``Overview`` looks at the paths of all structures of arguments; ``graphs`` are their recordings.

``listing`` and ``drawing`` show one of them.

Where to start reading: ``Overview.__str__``.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from valuegrad import arguments
from valuegrad.drawing import draw
from valuegrad.errors import IndexRangeError
from valuegrad.graph import Graph
from valuegrad.listing import graph_text, shown, to_dot
from valuegrad.loops import Loops, Part
from valuegrad.pictures.cards import Html, card, details, paragraph, strong
from valuegrad.pictures.chart import bars
from valuegrad.pictures.diagram import Diagram

if TYPE_CHECKING:
    from valuegrad.paths import Options, Path, Paths

__all__ = ["Overview"]

SHOWN = 8  # lines of a list that are printed
MOST_DRAWN = 100_000  # nodes of a graph that a notebook draws unasked


class Overview:
    """What a program has recorded so far.

    Args:
        name: the program's.
        engine: what executes it.
        options: what ``compile`` was asked for.
        recordings: the paths of each structure of arguments.

    Attributes:
        graphs: a Graph for each path.
        counts: how many nodes of each operation there are in all of them, the most frequent first.
        guards: for each line of the function with a comparison how many guards the paths have there.
        loops: the loops that were found in the paths, as code (``Loops``).
        memory: bytes: "graphs", and of what runs "code" and "frames" (one frame a thread).

    Example:
        >>> import valuegrad as vg
        >>> program = vg.compile(lambda x: x * x if x < 2 else x + 2)
        >>> program(1.0), program(3.0)
        (1.0, 5.0)
        >>> print(program.graph)
        <lambda>(): 2 paths, 9 nodes, ..., float64
          operations: const 3, input 2, lt 2, mul 1, add 1
          guards: ...
          memory: ...
    """

    def __init__(self, name: str, engine: str, options: Options, recordings: Sequence[Paths]) -> None:
        self.name = name
        self.engine = engine
        self.options = options
        self.paths: tuple[Path, ...] = tuple(
            path for recording in recordings if recording.root is not None for path in recording.root.walk()
        )
        self._names = [
            recording.names for recording in recordings if recording.root is not None for _ in recording.root.walk()
        ]
        self._recordings = [
            recording for recording in recordings if recording.root is not None for _ in recording.root.walk()
        ]
        self.structures = sum(recording.root is not None for recording in recordings)

    @property
    def graphs(self) -> tuple[Graph, ...]:
        """A graph for each path."""
        return tuple(path.graph for path in self.paths)

    @property
    def counts(self) -> dict[str, int]:
        """How many nodes of each operation there are in all paths, the most frequent first."""
        total: Counter[str] = Counter()
        for graph in self.graphs:
            total.update(graph.counts())
        return dict(total.most_common())

    @property
    def guards(self) -> dict[str, int]:
        """For each line with a comparison how many guards the paths have there, the most first."""
        return dict(Counter(guard.line for graph in self.graphs for guard in graph.guards).most_common())

    @property
    def memory(self) -> dict[str, int]:
        """Bytes: of the graphs, of the code, and of the largest frame, which each thread has."""
        arrays = [(g.ops, g.starts, g.operands, g.numbers, g.outputs) for g in self.graphs]
        codes = [lowered.made.code for path in self.paths for lowered in path.lowered.values()]
        return {
            "graphs": sum(array.nbytes for graph in arrays for array in graph),
            "code": sum(code.code_bytes for code in codes),
            "frame": max((code.frame_bytes for code in codes), default=0),
        }

    @property
    def loops(self) -> Loops:
        """What was rolled, as code: ``print(program.graph.loops)``; where nothing was, why not.

        Example:
            >>> import numpy as np, valuegrad as vg
            >>> area = vg.compile(lambda width, height: width * height)
            >>> area(3.0, 5.0)
            15.0
            >>> print(area.graph.loops)
            lanes are not rolled: 3 operations are too few for loops to pay (with VALUEGRAD_ROLL=on all are rolled)
        """
        parts = []
        for path, recording in zip(self.paths, self._recordings):
            names = [*recording.leaves(), *[(value.name or "captured", None) for value in path.captured]]
            parts += [Part.of(lowered.code, lowered.rolled, names) for lowered in path.lowered.values()]
        return Loops(parts)

    def _rolled(self) -> list[str]:
        """Lines that sum up the loops."""
        lines = []
        for part in self.loops.parts:
            if part.loops and part.why_not:
                loops = [f"{loop.instructions} instructions x {loop.members:,}" for loop in part.loops[:SHOWN]]
                lines.append("  rolled: " + ", ".join(loops))
            elif part.loops:
                count = len(part.loops)
                lines.append(f"  rolled: {part.instructions:,} instructions in {count:,} loop{'s' * (count != 1)}")
        return lines[:SHOWN]

    # ------------------------------------------------------------------------------------------ one path
    def listing(self, path: int = 0) -> str:
        """A path's graph line by line, or summed up if it is large.

        Args:
            path: which one of ``graphs``.

        Example:
            >>> import valuegrad as vg
            >>> area = vg.compile(lambda width, height: width * height)
            >>> area(3.0, 5.0)
            15.0
            >>> print(area.graph.listing())
            <lambda>: 2 inputs, 1 output, 1 operation
              mul 1
              %0 = input            width
              %1 = input            height
              %2 = mul %0 %1        output
        """
        graph, inputs = self._path(path)
        return graph_text(graph, self.name, inputs)

    def to_dot(self, path: int = 0) -> str:
        """A path's graph in Graphviz's language.

        Args:
            path: which one of ``graphs``.
        """
        graph, inputs = self._path(path)
        return to_dot(graph, self.name, inputs)

    def draw(self, file: str | os.PathLike[str], path: int = 0) -> None:
        """Draw a path's graph (with matplotlib, where it is installed); of a large one, the counts of its operations.

        Args:
            file: the picture to write: .png, .svg or .pdf.
            path: which one of ``graphs``.

        Raises:
            ValueArgumentError: the file has another ending.
            ImportError: matplotlib is missing: ``pip install 'valuegrad[plot]'``.
            OSError: the file cannot be written.
        """
        graph, inputs = self._path(path)
        draw(graph, file, self.name, inputs)

    def diagram(self, path: int = 0, **options: Any) -> Diagram:
        """A path's graph as a picture that shows itself in a notebook; what repeats is one box, and large graphs are
        summed up.

        Args:
            path: which one of ``graphs``.
            options: ``most``, ``collapse``, ``expand``, ``direction``, as of ``vg.inspect.diagram``; a node's id is its
                position in the graph.

        Example:
            >>> import valuegrad as vg
            >>> area = vg.compile(lambda width, height: width * height)
            >>> area(3.0, 5.0)
            15.0
            >>> print(area.graph.diagram().mermaid().splitlines()[1])
              n0("width"):::input
        """
        graph, inputs = self._path(path)
        return Diagram(shown(graph, inputs), self.name, **options)

    def _repr_html_(self) -> str:
        """What a notebook shows: sizes, operations, guards, the loops, and the first path's graph."""
        first, *rest = str(self).splitlines()
        parts = [paragraph(strong(first))]
        if self.paths:
            counts = list(self.counts.items())
            rows = [(name, float(count)) for name, count in counts[: 2 * SHOWN]]
            parts.append(Html(bars(rows, "how many nodes of each operation there are")))
            quiet_lines = [line.strip() for line in rest if not line.startswith("  operations")]
            parts += [paragraph(line, group="vg-quiet") for line in quiet_lines]
            if len(self.loops):
                parts.append(details(f"the loops that run ({len(self.loops)})", str(self.loops)))
            if len(self.graphs[0]) <= MOST_DRAWN:
                which = f"path 1 of {len(self.paths)}" if len(self.paths) > 1 else "its graph"
                parts += [paragraph(which, group="vg-quiet"), Html(self.diagram().svg())]
        return card(*parts)

    def _repr_svg_(self) -> str | None:
        return self.diagram().svg() if self.paths and len(self.graphs[0]) <= MOST_DRAWN else None

    def _path(self, path: int) -> tuple[Graph, list[str]]:
        """A path's graph, and its inputs' names."""
        count = len(self.paths)
        if not count:
            raise IndexRangeError(f"{self.name}() has recorded nothing yet; call it once")
        at = arguments.position(arguments.integer(path, "path"), count, f"the graph of {self.name}(), path")
        graph, captured = self.paths[at].graph, self.paths[at].captured
        first = graph.inputs - len(captured)
        names = self._names[at] or [f"input {i}" for i in range(first)]
        return graph, [*names, *[value.name or "captured" for value in captured]]

    def __len__(self) -> int:
        return sum(map(len, self.graphs))

    def __str__(self) -> str:
        if not self.paths:
            return f"{self.name}(): nothing recorded yet; call it once"
        count = len(self.paths)
        backends = sorted({low.code.backend for path in self.paths for low in path.lowered.values()} or {self.engine})
        lines = [
            f"{self.name}(): {count} path{'s' * (count != 1)}, {len(self):,} nodes, "
            f"{' and '.join(backends)}, {self.options.dtype}",
            "  operations: " + _listed(self.counts),
        ]
        if self.structures > 1:
            lines.append(f"  recorded for {self.structures} structures of arguments")
        lines += self._rolled()
        guards = list(self.guards.items())
        for line, number in guards[:SHOWN]:
            lines.append(f"  guards: {number} at {line}")
        if len(guards) > SHOWN:
            lines.append(f"  guards: at {len(guards) - SHOWN} more lines")
        memory = self.memory
        parts = [f"{name} {_bytes(size)}" for name, size in memory.items() if size]
        lines.append("  memory: " + ", ".join(parts))
        return "\n".join(lines)

    __repr__ = __str__


def _listed(counts: dict[str, int]) -> str:
    shown = [f"{name} {count:,}" for name, count in counts.items()]
    rest = len(shown) - 2 * SHOWN
    return ", ".join(shown[: 2 * SHOWN]) + (f" and {rest} more kinds" if rest > 0 else "")


def _bytes(size: int) -> str:
    for unit in ("bytes", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1024  # type: ignore[assignment]
    return f"{size:.1f} GiB"
