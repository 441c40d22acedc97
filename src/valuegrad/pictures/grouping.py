"""What repeats in a graph becomes one box: sixteen products side by side, a chain of additions.

Why: a picture of a layer of neurons should show a layer, and one of a hundred thousand nodes must
not have as many boxes.

How it is found, in time linear in the graph:

1. A *series*: operations of one kind, + or ×, each used once, by the next: a sum that was written with +.
2. A *class*, from the operands on: units (nodes, series) with the same operation, whose operands are of the same
   classes; how many there are of each does not matter.
3. Classes are split by what the units are used for, from the results back: so weights and inputs part.
4. A class of four or more is a *group*, a box.  Operands and users are of other classes, so edges between boxes make
   no circle.

Data structures: a ``Box`` has members (ids of nodes, oldest first) and a key: the id of a node; "g5" for the group
whose oldest member is node 5, "s5" for such a series; "rest" for what did not fit.  The same graph gives the same keys.

Where to start reading: ``boxes_of``.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from valuegrad.pictures.shown import Shown

__all__ = ["REST", "Box", "boxes_of", "edges_between"]

REST = "rest"
FEWEST = 4  # members that make a group
FEWEST_IN_SERIES = 3  # operations that make a series
AT_ONCE = 24  # members that step out of a group when it is expanded
CHAINED = frozenset(["add", "mul"])
LISTS = frozenset(["sum", "prod", "mean", "norm", "logsumexp", "softmax", "log_softmax", "cross_entropy", "maximum",
                   "minimum", "add", "mul"])  # fmt: skip
_NUMBERS = re.compile(r"[\d\[\]().,_ ]+$")


@dataclass(frozen=True)
class Box:
    """A box of a picture.

    Args:
        key: what it is called, see the module's first lines.
        members: the nodes in it, oldest first, by position.
        parts: for a group of series, the series.
    """

    key: str
    members: tuple[int, ...]
    parts: tuple[Box, ...] = ()

    @property
    def is_node(self) -> bool:
        """It stands for one node."""
        return self.key.isdigit()


def boxes_of(shown: Shown, most: int, collapse: bool = True, expand: Collection[int | str] = ()) -> list[Box]:
    """The boxes of a picture, the oldest first.

    Args:
        shown: the graph.
        most: no more boxes than this: the oldest are put into one, "rest".
        collapse: put what repeats together.
        expand: boxes to open, by key, and ids of nodes that shall have a box of their own. The first 24 members of a
            large group step out; the others stay together, under a key of their own.
    """
    if collapse:
        units = _units(shown)
        grouped = _grouped(shown, units, FEWEST)
        if len(grouped) > most:
            grouped = _grouped(shown, units, 2)
        boxes = _expanded(shown, grouped, set(map(str, expand)))
    else:
        boxes = [_node(shown, i) for i in range(len(shown))]
    return _limited(shown, boxes, most)


def _node(shown: Shown, i: int) -> Box:
    return Box(str(i + shown.older), (i,))


# --------------------------------------------------------------------------------------------- series
def _units(shown: Shown) -> list[Box]:
    """The nodes, those of a series together."""
    uses = [0] * len(shown)
    user = [-1] * len(shown)
    for i, operands in enumerate(shown.operands):
        for operand in operands:
            uses[operand] += 1
            user[operand] = i
    for i in shown.results:
        uses[i] += 2  # a result, and what has a name, is nobody's intermediate
    following: dict[int, int] = {}  # from a link of a series to the next
    taken: set[int] = set()
    for i, op in enumerate(shown.ops):
        if op in CHAINED and uses[i] == 1 and i not in shown.names:
            after = user[i]
            if shown.ops[after] == op and after not in taken:
                following[i] = after
                taken.add(after)
    units = []
    for i in range(len(shown)):
        if i in taken:
            continue
        members = [i]
        while members[-1] in following:
            members.append(following[members[-1]])
        if len(members) >= FEWEST_IN_SERIES:
            units.append(Box(f"s{i + shown.older}", tuple(members)))
        else:
            units += [_node(shown, member) for member in members]
    units.sort(key=lambda unit: unit.members[-1])  # operands before users: only a series' last is used
    return units


# --------------------------------------------------------------------------------------------- groups
def _grouped(shown: Shown, units: Sequence[Box], fewest: int) -> list[Box]:
    """Units, those of a class together."""
    classes = _classes(shown, units)
    members: dict[int, list[Box]] = {}
    for unit, its_class in zip(units, classes):
        members.setdefault(its_class, []).append(unit)
    boxes = []
    for found in members.values():
        if len(found) < fewest:
            boxes += found
        else:
            boxes.append(_group(found))
    return boxes


def _group(units: Sequence[Box], prefix: str = "g") -> Box:
    members = tuple(sorted(member for unit in units for member in unit.members))
    first = min(int(unit.key.lstrip("s")) for unit in units)
    return Box(f"{prefix}{first}", members, tuple(unit for unit in units) if len(units[0].members) > 1 else ())


def _classes(shown: Shown, units: Sequence[Box]) -> list[int]:
    """For each unit the number of its class."""
    unit_of = [0] * len(shown)
    for number, unit in enumerate(units):
        for member in unit.members:
            unit_of[member] = number
    known: dict[object, int] = {}
    downwards: list[int] = []
    edges: list[list[tuple[int, int]]] = []  # for each unit (operand's unit, its role)
    results = set(shown.results) if len(shown.results) < FEWEST else set()
    for number, unit in enumerate(units):
        i = unit.members[0]
        name = _NUMBERS.sub("", shown.names[i]) if i in shown.names else ""
        operands = [] if len(unit.members) > 1 else shown.operands[i]
        if len(unit.members) > 1:
            operands = [o for member in unit.members for o in shown.operands[member] if unit_of[o] != number]
        op = shown.ops[i]
        if op in LISTS:
            roles = [0] * len(operands)
        elif op == "dot":
            roles = [int(2 * place >= len(operands)) for place in range(len(operands))]
        else:
            roles = list(range(len(operands)))
        edges.append([(unit_of[operand], role) for operand, role in zip(operands, roles)])
        of_what = tuple(dict.fromkeys((downwards[operand], role) for operand, role in edges[-1]))
        own = number if i in results or unit.members[-1] in results else -1
        sign = shown.signs[i]
        downwards.append(known.setdefault((op, sign, name, len(unit.members) > 1, of_what, own), len(known)))
    # What units are used for, from the newest to the oldest; users of operands come first.
    uses: list[set[tuple[int, int]]] = [set() for _ in units]
    split: dict[object, int] = {}
    found = [0] * len(units)
    for number in range(len(units) - 1, -1, -1):
        found[number] = split.setdefault((downwards[number], frozenset(uses[number])), len(split))
        for operand, role in edges[number]:
            uses[operand].add((found[number], role))
    return found


# -------------------------------------------------------------------------------------------- on demand
def _expanded(shown: Shown, boxes: Iterable[Box], wanted: set[str]) -> list[Box]:
    """The boxes, those that shall be open taken apart."""
    found = []
    waiting = list(boxes)
    single = {int(key) - shown.older for key in wanted if key.isdigit()}
    while waiting:
        box = waiting.pop()
        out = single.intersection(box.members) if not box.is_node and single else set()
        if box.key in wanted and not box.is_node:
            parts = list(box.parts) or [_node(shown, member) for member in box.members]
            if len(parts) > AT_ONCE + 1:
                parts = [*parts[:AT_ONCE], _group(parts[AT_ONCE:])]
            waiting += parts
        elif out and (box.parts or box.key.startswith("s")):
            # a series is opened whole: what is cut out of its middle would make a circle
            waiting += [
                part
                for unit in (box.parts or (box,))
                for part in ([_node(shown, m) for m in unit.members] if out & set(unit.members) else [unit])
            ]
        elif out:
            rest = [_node(shown, member) for member in box.members if member not in out]
            found += [_node(shown, member) for member in out]
            found += [_group(rest)] if len(rest) > 1 else rest
        else:
            found.append(box)
    return sorted(found, key=lambda box: box.members[0])


def _limited(shown: Shown, boxes: list[Box], most: int) -> list[Box]:
    """The newest boxes; the others are put into one, which nothing leads into."""
    if len(boxes) <= most:
        return boxes
    pairs = edges_between(shown, boxes)
    users = [0] * len(boxes)
    operands: dict[int, list[int]] = {}
    for a, b in pairs:
        users[a] += 1
        operands.setdefault(b, []).append(a)
    ready = [(-box.members[-1], number) for number, box in enumerate(boxes) if not users[number]]
    heapq.heapify(ready)
    kept: list[int] = []
    while ready and len(kept) < most - 1:
        _, number = heapq.heappop(ready)
        kept.append(number)
        for operand in operands.get(number, ()):
            users[operand] -= 1
            if not users[operand]:
                heapq.heappush(ready, (-boxes[operand].members[-1], operand))
    left = set(range(len(boxes))) - set(kept)
    rest = Box(REST, tuple(sorted(member for number in left for member in boxes[number].members)))
    return [rest, *[boxes[number] for number in sorted(kept)]]


def edges_between(shown: Shown, boxes: Sequence[Box]) -> dict[tuple[int, int], list[tuple[int, int]]]:
    """For each pair of boxes (operand, user), by number, the edges between them: (node, which of its operands)."""
    box_of = [0] * len(shown)
    for number, box in enumerate(boxes):
        for member in box.members:
            box_of[member] = number
    found: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for i, operands in enumerate(shown.operands):
        user = box_of[i]
        for place, operand in enumerate(operands):
            if box_of[operand] != user:
                found.setdefault((box_of[operand], user), []).append((i, place))
    return found
