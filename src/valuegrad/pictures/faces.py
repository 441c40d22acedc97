"""What boxes and edges say, in every language of pictures.

Data structures: a ``Face`` is what a box says, a ``Tie`` what an edge says; ``Board`` has all of a picture.

Where to start reading: ``Board``.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from valuegrad.pictures.appearance import kind
from valuegrad.pictures.grouping import REST, Box, boxes_of, edges_between, stem
from valuegrad.pictures.shown import Shown

__all__ = ["Board", "Face", "Line", "Tie", "number"]

MOST_NOTES = 2  # of the nodes in a box that are written out
LONGEST_RANGE = 28  # characters of the names of a group, from the first to the last
LISTED = 3  # local gradients of one edge that are written out


def number(x: float) -> str:
    """A number in four digits."""
    return f"{x:.4g}"


@dataclass(frozen=True)
class Line:
    """A line in a box: what it is, the number as text, and whether that is nan or inf."""

    label: str
    text: str
    bad: bool = False


@dataclass(frozen=True)
class Face:
    """What a box says.

    Args:
        kind: the group that gives its colour.
        name: its name, or "".
        sign: its operation's sign, or "".
        badge: how many nodes are in it, such as "×16"; "" for one.
        lines: data and grad.
        note: what is written below it.
        result: it was asked for.
        about: a sentence, for a tooltip.
    """

    kind: str
    name: str
    sign: str
    badge: str
    lines: tuple[Line, ...]
    note: str
    result: bool
    about: str

    @property
    def bad(self) -> bool:
        """A number in it is nan or inf."""
        return any(line.bad for line in self.lines)


@dataclass(frozen=True)
class Tie:
    """An edge: from which box, into which, by number; its local gradients as text; where it enters, 0 to 1."""

    operand: int
    user: int
    text: str
    bad: bool
    slot: tuple[int, int] | None  # which operand of how many, where their order matters


class Board:
    """A picture before it is drawn: boxes, what they say, the edges between them.

    Args:
        shown: the graph.
        most: no more boxes than this.
        grads: say the grads.
        collapse: put what repeats together.
        expand: boxes to open.
    """

    def __init__(
        self, shown: Shown, most: int, grads: bool = True, collapse: bool = True, expand: Collection[int | str] = ()
    ) -> None:
        self.shown = shown
        self.grads = grads
        self.boxes = boxes_of(shown, most, collapse, expand)
        self.faces = [self._face(box) for box in self.boxes]
        pairs = edges_between(shown, self.boxes)
        self.ties = [self._tie(a, b, edges) for (a, b), edges in pairs.items()]

    @property
    def left_out(self) -> int:
        """How many nodes have no place in a box that says what they are."""
        return self.shown.older + sum(len(box.members) for box in self.boxes if box.key == REST)

    def caption(self) -> str:
        """What is not to be seen in a picture; "" if all is."""
        collapsed = sum(len(box.members) for box in self.boxes if not box.is_node and box.key != REST)
        if not collapsed and not self.left_out:
            return ""
        boxes = len(self.boxes)
        text = f"{self.shown.summary()}; in {boxes:,} box{'es' * (boxes != 1)}"
        if self.left_out:
            text += f"; {self.left_out:,} of them, the oldest, left out"
        return text

    # ---------------------------------------------------------------------------------------- boxes
    def _face(self, box: Box) -> Face:
        shown = self.shown
        members = box.members
        if box.key == REST:
            return self._rest(box)
        last = members[-1]
        op = shown.ops[last]
        names = [shown.names[i] for i in members if i in shown.names]
        name = "" if not names else names[0] if len(names) == 1 else f"{names[0]} … {names[-1]}"
        if len(names) > 1 and len(name) > LONGEST_RANGE:
            name = f"{stem(names[0])} …"
        sign = shown.signs[last] if shown.signs[members[0]] == shown.signs[last] else op
        badge = f"×{len(members):,}" if len(members) > 1 else ""
        numbers = members
        if box.key.startswith("s") or box.parts:  # what a series gives is what its last operation gives
            series = box.parts or (box,)
            numbers = tuple(part.members[-1] for part in series)
            sign = f"{sign} in a row"
            if len(series) > 1:
                badge = f"×{len(series):,}"
        lines = []
        if shown.data is not None:
            lines.append(_line("data", [shown.data[i] for i in numbers]))
        if self.grads and shown.grads is not None and op != "constant":
            lines.append(_line("grad", [shown.grads[i] for i in numbers]))
        notes = list(dict.fromkeys(shown.notes[i] for i in members if i in shown.notes))
        if len(notes) > MOST_NOTES:
            outputs = all(note.startswith("output") for note in notes)
            notes = [f"{len(notes)} outputs"] if outputs else [notes[0], "…", notes[-1]]
        what = "leaf" if op == "input" else op
        about = f"{len(members):,} nodes: {what}" if len(members) > 1 else f"node {last + shown.older}: {what}"
        if name:
            about += f", {name}"
        if len(members) > 1:
            about += f", {members[0] + shown.older} to {last + shown.older}"
        result = any(i in members for i in shown.results) if len(members) < 1000 else False
        return Face(kind(op), name, sign, badge, tuple(lines), ", ".join(notes), result, about)

    def _rest(self, box: Box) -> Face:
        counts = Counter(self.shown.ops[i] for i in box.members).most_common(3)
        lines = tuple(Line(op, f"{count:,}") for op, count in counts)
        count = len(box.members) + self.shown.older
        return Face("rest", f"{count:,} older nodes", "", "", lines, "", False, f"{count:,} nodes that are left out")

    # ---------------------------------------------------------------------------------------- edges
    def _tie(self, a: int, b: int, edges: Sequence[tuple[int, int]]) -> Tie:
        shown = self.shown
        text, bad = "", False
        if shown.local_grads is not None and self.boxes[a].key != REST:
            numbers = [shown.local_grads[i][place] for i, place in edges]
            text, bad = _span(numbers, LISTED if self.boxes[a].is_node and self.boxes[b].is_node else 1)
        slot = None
        if self.boxes[b].is_node:
            i, place = edges[0]
            slot = (place, len(shown.operands[i]))
        return Tie(a, b, text, bad, slot)


def _line(label: str, numbers: Sequence[float]) -> Line:
    text, bad = _span(numbers)
    return Line(label, text, bad)


def _span(numbers: Sequence[float], listed: int = 1) -> tuple[str, bool]:
    """Numbers in short, and whether nan or inf is among them."""
    bad = [x for x in numbers if not math.isfinite(x)]
    if len(numbers) <= listed:
        return ", ".join(map(number, numbers)), bool(bad)
    if bad and len(bad) < len(numbers):
        counts = Counter(map(number, bad))
        return f"{', '.join(f'{count:,} {text}' for text, count in counts.items())}", True
    if bad:
        return ", ".join(dict.fromkeys(map(number, bad))), True
    low, high = number(min(numbers)), number(max(numbers))
    return (low if low == high else f"{low} … {high}"), False
