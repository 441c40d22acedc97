"""``Diagram``: a picture of a graph that shows itself in notebooks and saves itself to files.

Where to start reading: ``Diagram``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection
from functools import cached_property
from pathlib import Path
from typing import Any

from valuegrad.atomic import write_atomically
from valuegrad.errors import IndexRangeError, ValueArgumentError, ValueTypeError
from valuegrad.pictures import languages
from valuegrad.pictures.faces import Board
from valuegrad.pictures.grouping import REST, Box
from valuegrad.pictures.markup import escaped
from valuegrad.pictures.shown import Shown
from valuegrad.pictures.svg import svg

__all__ = ["MOST", "Diagram"]

MOST = 60  # boxes of a picture that a reader can take in
LARGEST = 400  # boxes that are drawn in about a second
_KEY = re.compile(r"[gs]?\d+|rest")
_WRITERS: dict[str, Callable[[Diagram], str]] = {
    ".svg": lambda diagram: '<?xml version="1.0" encoding="UTF-8"?>\n' + diagram.svg(),
    ".html": lambda diagram: _page(diagram.title, diagram.svg()),
    ".mmd": lambda diagram: diagram.mermaid(),
    ".mermaid": lambda diagram: diagram.mermaid(),
    ".md": lambda diagram: f"```mermaid\n{diagram.mermaid()}\n```\n",
    ".dot": lambda diagram: diagram.dot(),
    ".gv": lambda diagram: diagram.dot(),
}


class Diagram:
    """A picture of a graph: boxes for nodes, edges with local gradients, what repeats as one box.

    ``vg.inspect.diagram(y)`` and ``program.graph.diagram()`` make one. In a notebook it shows itself.

    Args:
        shown: the graph.
        title: what it is called.
        grads: say the grads.
        most: no more boxes than this; the oldest nodes are left out, and the picture says how many.
        collapse: put what repeats together.
        expand: keys of boxes to open, and ids of nodes that shall have a box of their own. Keys that are not in the
            picture change nothing, so that what was stored with another graph can be given.
        direction: where edges lead: "down" or "right".

    Attributes:
        boxes: the boxes, oldest first: each has a ``key`` and ``members``, the positions of its nodes.
        left_out: how many nodes have no box that says what they are.

    Raises:
        ValueArgumentError: most is no number from 1 to 400, an unknown direction, a key of another form.
    """

    title: str
    direction: str

    def __init__(
        self,
        shown: Shown,
        title: str = "graph",
        *,
        grads: bool = True,
        most: int = MOST,
        collapse: bool = True,
        expand: Collection[int | str] = (),
        direction: str = "down",
    ) -> None:
        if isinstance(most, bool) or not isinstance(most, int):
            raise ValueTypeError(f"diagram(), most got {most!r}; expected a whole number of boxes")
        if not 1 <= most <= LARGEST:
            raise ValueArgumentError(f"diagram(), most got {most}; expected a number of boxes from 1 to {LARGEST}")
        if direction not in ("down", "right"):
            raise ValueArgumentError(f"diagram(), direction got {direction!r}; expected 'down' or 'right'")
        wanted: Any = (expand,) if isinstance(expand, (str, int)) else expand
        for key in wanted:
            if not _KEY.fullmatch(str(key)):
                raise ValueArgumentError(f"diagram(), expand got {key!r}; expected ids such as 5, or keys such as 'g5'")
        self.title = title
        self.direction = direction
        self._board = Board(shown, most, grads, collapse, tuple(wanted))

    @property
    def boxes(self) -> tuple[Box, ...]:
        """The boxes, oldest first."""
        return tuple(self._board.boxes)

    @property
    def left_out(self) -> int:
        """How many nodes have no box that says what they are."""
        return self._board.left_out

    def __len__(self) -> int:
        return len(self._board.shown) + self._board.shown.older

    @cached_property
    def _svg(self) -> str:
        return svg(self._board, self.title, self.direction)

    def svg(self) -> str:
        """The picture as an SVG element, for a file or for a page: light and dark by itself."""
        return self._svg

    def mermaid(self) -> str:
        """The picture as a Mermaid flowchart, as Markdown pages draw it."""
        return languages.mermaid(self._board, self.direction)

    def dot(self) -> str:
        """The picture in Graphviz's language."""
        return languages.dot(self._board, self.title, self.direction)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the picture to a file, whole or not at all.

        Args:
            path: .svg, .html (a page with the picture), .mmd (Mermaid), .md (Markdown with Mermaid), .dot.

        Raises:
            ValueArgumentError: the file has another ending.
            OSError: the file cannot be written.
        """
        path = Path(path)
        writer = _WRITERS.get(path.suffix.lower())
        if writer is None:
            endings = ", ".join(_WRITERS)
            raise ValueArgumentError(f"save() got the file {str(path)!r}; give one that ends in one of {endings}")
        write_atomically(path, writer(self).encode())

    def box(self, node: int) -> Box:
        """The box that a node is in.

        Args:
            node: the node's id.

        Raises:
            IndexRangeError: there is no such node, or it is older than those that were looked at.
        """
        position = node - self._board.shown.older
        for box in self._board.boxes:
            if position in box.members:
                return box
        raise IndexRangeError(
            f"box() got node {node}; expected an id from {self._board.shown.older} to {len(self) - 1}"
        )

    def _repr_svg_(self) -> str:
        return self.svg()

    def _repr_html_(self) -> str:
        return f'<div class="vg-scroll" style="overflow-x:auto">{self.svg()}</div>'

    def __repr__(self) -> str:
        count = sum(box.key != REST for box in self.boxes)
        boxes = f"{count} box{'es' * (count != 1)}"
        return f"<Diagram of {self._board.shown.summary()}; in {boxes}, {self.left_out:,} left out>"


def _page(title: str, body: str) -> str:
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{escaped(title)}</title>'
        "<style>html{color-scheme:light dark}body{margin:1rem}</style></head>"
        f"<body>{body}</body></html>\n"
    )
