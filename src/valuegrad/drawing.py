"""Pictures of graphs: boxes in layers, edges downwards; of a large graph a chart of its counts.

An operation's operands enter its box from left to right where their order matters (a − b).

Data structures: none of its own; ``pictures/layout.py`` says where the boxes stand.

Where to start reading: ``draw``.
"""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from valuegrad.atomic import write_atomically
from valuegrad.errors import ValueArgumentError
from valuegrad.graph import Graph
from valuegrad.listing import graph_text, label
from valuegrad.pictures.appearance import COLOURS, ORDERED, WORDS, kind
from valuegrad.pictures.layout import Layout
from valuegrad.primitives.opcodes import OPCODE, OPS

__all__ = ["draw", "picture_ending", "save_picture"]

MOST_NODES = 200  # boxes that a picture can show
BARS = 24  # operations in a chart
ROW = 0.62  # inches from layer to layer
HEIGHT = 0.3  # inches of a box
GAP = 0.22  # inches between boxes
CHARACTER = 0.085  # inches of a character of a label
THIN = 0.1  # inches that a passing edge takes
FORMATS = ("png", "svg", "pdf")


def draw(
    graph: Graph,
    path: str | os.PathLike[str],
    name: str = "graph",
    inputs: Sequence[str] = (),
    outputs: Sequence[str] = (),
) -> None:
    """Draw a graph as a picture (with matplotlib, where it is installed).

    A graph of up to 200 nodes (constants not counted: they stand in the boxes of what uses them) is drawn whole; of
    a larger one the counts of its operations are.

    Args:
        graph: the graph.
        path: the file to write: .png, .svg or .pdf.
        name: the picture's title.
        inputs: names of the inputs.
        outputs: names of the outputs.

    Raises:
        ValueArgumentError: the file has another ending.
        ImportError: matplotlib is missing: ``pip install 'valuegrad[plot]'``.
        OSError: the file cannot be written.

    Example:
        >>> from valuegrad.graph import Nodes
        >>> nodes = Nodes(inputs=2)
        >>> draw(nodes.graph([nodes.add("mul", [0, 1])]), "area.svg", "area", inputs=["width", "height"])
    """
    path = Path(path)
    ending = picture_ending(path, "draw()")
    shown = _shown(graph)
    figure = _picture(graph, shown, name, inputs, outputs) if 0 < len(shown) <= MOST_NODES else _chart(graph, name)
    save_picture(figure, path, ending)


def picture_ending(path: Path, who: str) -> str:
    """The ending of a picture's file without its point, if it can be drawn.

    Args:
        path: the file.
        who: what errors are said to come from.

    Raises:
        ValueArgumentError: another ending than .png, .svg or .pdf.
        ImportError: matplotlib is missing.
    """
    ending = path.suffix.removeprefix(".").lower()
    if ending not in FORMATS:
        raise ValueArgumentError(f"{who} got the file {str(path)!r}; give one that ends in .png, .svg or .pdf")
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise ImportError(f"{who} needs matplotlib; get it with: pip install 'valuegrad[plot]'") from None
    return ending


def save_picture(figure: Any, path: Path, ending: str) -> None:
    """Write a figure of matplotlib's into a file, whole or not at all."""
    picture = io.BytesIO()
    figure.savefig(picture, format=ending, dpi=150)
    write_atomically(path, picture.getvalue())


def _shown(graph: Graph) -> list[int]:
    """The nodes that get a box: all but constants, unless those are results."""
    results = set(graph.outputs.tolist()) | {guard.node for guard in graph.guards}
    constant = graph.ops == OPCODE["const"]
    if len(graph) - int(constant.sum()) > MOST_NODES:
        return list(range(MOST_NODES + 1))  # too many, whichever they are
    return [node for node, is_constant in enumerate(constant.tolist()) if not is_constant or node in results]


# ----------------------------------------------------------------------------------------------- drawing
def _picture(graph: Graph, shown: Sequence[int], name: str, inputs: Sequence[str], outputs: Sequence[str]) -> Any:
    from matplotlib.figure import Figure
    from matplotlib.patches import FancyBboxPatch, PathPatch
    from matplotlib.path import Path as Curve

    texts = {node: label(graph, node, inputs[node] if node < min(graph.inputs, len(inputs)) else "") for node in shown}
    widths = {node: max(0.45, CHARACTER * len(text) + 0.2) for node, text in texts.items()}
    boxes = set(shown)
    edges = [(i, node) for node in shown for i in dict.fromkeys(graph.operands_of(node)) if i in boxes]
    layout = Layout(widths, edges, gap=GAP, thin=THIN)
    guards = {guard.node: guard.expected for guard in graph.guards}
    notes = _notes(graph, outputs)

    width = max(layout.x[node] + layout.widths[node] / 2 for node in shown)
    width = max(width + max((CHARACTER * len(text) for text in notes.values()), default=0.0) * 0.5, 4.2)
    height = ROW * (len(layout.rows) - 1) + HEIGHT
    margin, top, bottom = 0.35, 0.75, 0.7
    size = (width + 2 * margin, height + top + bottom)
    figure = Figure(figsize=size)
    axes: Any = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_xlim(-margin, width + margin)
    axes.set_ylim(-bottom, height + top)
    axes.axis("off")
    y = {place: height - HEIGHT / 2 - ROW * layer for place, layer in layout.layers.items()}

    for (a, b), route in zip(edges, layout.routes):
        points = [(layout.x[place], y[place]) for place in route]
        points[0] = (points[0][0], points[0][1] - HEIGHT / 2)
        points[-1] = (points[-1][0] + _port(graph, a, b, widths[b]), points[-1][1] + HEIGHT / 2)
        vertices, codes = [points[0]], [Curve.MOVETO]
        for (x0, y0), (x1, y1) in pairwise(points):
            vertices += [(x0, (y0 + y1) / 2), (x1, (y0 + y1) / 2), (x1, y1)]
            codes += [Curve.CURVE4] * 3
        axes.add_patch(PathPatch(Curve(vertices, codes), fill=False, edgecolor="#7a8594", linewidth=0.9, zorder=1))
        x, tip = points[-1]
        axes.plot([x], [tip + 0.03], marker="v", markersize=3.2, color="#7a8594", zorder=1, clip_on=False)
    results = set(graph.outputs.tolist())
    for node in shown:
        edge, line = ("#222222", 1.8) if node in results else ("#00000055", 0.8)
        if node in guards:
            edge, line = "#c0392b", 1.6
        axes.add_patch(
            FancyBboxPatch(
                (layout.x[node] - widths[node] / 2, y[node] - HEIGHT / 2),
                widths[node],
                HEIGHT,
                boxstyle="round,pad=0,rounding_size=0.08",
                facecolor=COLOURS[kind(OPS[graph.ops[node]])],
                edgecolor=edge,
                linewidth=line,
                zorder=2,
            )
        )
        axes.text(layout.x[node], y[node] - 0.01, texts[node], ha="center", va="center", fontsize=9, zorder=3)
        if node in notes:
            axes.text(
                layout.x[node], y[node] - HEIGHT / 2 - 0.04, notes[node],
                ha="center", va="top", fontsize=7.5, color="#222222" if node in results else "#c0392b", zorder=4,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6, "alpha": 0.85},
            )  # fmt: skip
    _title(axes, graph, name, width / 2, height + top - 0.12)
    _legend(axes, graph, shown, bool(guards))
    return figure


def _port(graph: Graph, operand: int, node: int, width: float) -> float:
    """Where on the upper side of a node's box an operand enters, from the middle."""
    if OPS[graph.ops[node]] not in ORDERED:
        return 0.0
    ports = [i for i in dict.fromkeys(graph.operands_of(node)) if graph.ops[i] != OPCODE["const"]]
    at = ports.index(operand) if operand in ports else 0
    return (at - (len(ports) - 1) / 2) * width * 0.6 / max(len(ports), 1)


def _notes(graph: Graph, outputs: Sequence[str]) -> dict[int, str]:
    """What stands under boxes: names of results, outcomes of guards."""
    notes: dict[int, list[str]] = {}
    for guard in graph.guards:
        notes.setdefault(guard.node, []).append("true" if guard.expected else "false")
    for i, node in enumerate(graph.outputs.tolist()):
        text = outputs[i] if i < len(outputs) else f"output {i}" if len(graph.outputs) > 1 else "output"
        notes.setdefault(node, []).append(text)
    return {node: ", ".join(dict.fromkeys(texts)) for node, texts in notes.items()}


def _title(axes: Any, graph: Graph, name: str, x: float, y: float) -> None:
    sizes = graph_text(graph, name).splitlines()[0].removeprefix(f"{name}: ")
    axes.text(x, y, name, ha="center", va="top", fontsize=12, fontweight="bold", color="#222222")
    axes.text(x, y - 0.23, sizes, ha="center", va="top", fontsize=8, color="#555555")


def _legend(axes: Any, graph: Graph, shown: Sequence[int], guarded: bool) -> None:
    from matplotlib.patches import Patch

    kinds = {kind(OPS[graph.ops[node]]) for node in shown}
    handles = [
        Patch(facecolor=colour, edgecolor="#00000055", label=WORDS[name])
        for name, colour in COLOURS.items()
        if name in kinds
    ]
    if guarded:
        handles.append(Patch(facecolor="white", edgecolor="#c0392b", linewidth=1.6, label="guard"))
    columns = max(1, min(len(handles), int((axes.get_xlim()[1] - axes.get_xlim()[0]) / 1.3)))
    axes.legend(
        handles=handles, loc="lower center", ncols=columns, frameon=False, fontsize=7.5, handlelength=1.2,
        columnspacing=1.0, borderaxespad=0.2,
    )  # fmt: skip


def _chart(graph: Graph, name: str) -> Any:
    """How many nodes of each operation there are, on a logarithmic scale."""
    from matplotlib.figure import Figure

    counts = list(graph.counts().items())
    if len(counts) > BARS:
        counts = [*counts[: BARS - 1], (f"{len(counts) - BARS + 1} others", sum(n for _, n in counts[BARS - 1 :]))]
    height = max(2.2, 0.24 * len(counts) + 1.3)
    figure = Figure(figsize=(7.5, height))
    axes: Any = figure.add_axes((0.17, 0.5 / height, 0.76, 1.0 - 1.15 / height))
    positions = range(len(counts))
    numbers = [count for _, count in counts]
    axes.barh(positions, numbers, color=[COLOURS[kind(op)] for op, _ in counts], edgecolor="#00000055", linewidth=0.8)
    axes.set_yticks(positions, [op for op, _ in counts], fontsize=9)
    axes.invert_yaxis()
    axes.set_ylim(len(counts) - 0.4, -0.6)
    axes.set_xscale("log")
    axes.set_xlim(0.7, max(numbers, default=1) * 4)
    axes.set_xlabel("nodes (logarithmic)", fontsize=8)
    axes.tick_params(axis="x", labelsize=8)
    axes.tick_params(axis="y", length=0)
    for i, count in enumerate(numbers):
        axes.text(count * 1.08, i, f"{count:,}", va="center", fontsize=8, color="#333333")
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    sizes = graph_text(graph, name).splitlines()[0].removeprefix(f"{name}: ")
    figure.text(0.5, 1.0 - 0.12 / height, name, ha="center", va="top", fontsize=12, fontweight="bold", color="#222222")
    figure.text(0.5, 1.0 - 0.36 / height, sizes, ha="center", va="top", fontsize=8, color="#555555")
    return figure
