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
from typing import NamedTuple

from valuegrad.pictures.shown import Shown

__all__ = ["REST", "Box", "boxes_of", "edges_between", "stem"]

REST = "rest"
FEWEST = 4  # members that make a group
FEWEST_WHERE_TIGHT = 2  # the same, where there are more boxes than a picture may have
ROLES = 8  # operands of one operation that are told apart
FEWEST_IN_SERIES = 3  # operations that make a series
AT_ONCE = 24  # members that step out of a group when it is expanded
CHAINED = frozenset(["add", "mul"])
LISTS = frozenset(["sum", "prod", "mean", "norm", "logsumexp", "softmax", "log_softmax", "cross_entropy", "maximum",
                   "minimum", "add", "mul"])  # fmt: skip
FAMILIES = frozenset(["softmax", "log_softmax"])  # results of one calculation that differ in which entry they are
_NUMBERS = re.compile(r"[\d\[\]().,_ ]+$")


class Box(NamedTuple):
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
        series, unit_of = _series(shown)
        classes = _classes(shown, series, unit_of)
        boxes = _grouped(shown, series, classes, most)
        if expand:
            boxes = _expanded(shown, boxes, set(map(str, expand)))
    else:
        boxes = [_node(shown, i) for i in range(len(shown))]
    if shown.data is None:
        boxes = _used(shown, boxes)
    return _limited(shown, boxes, most)


def stem(name: str) -> str:
    """A name without its numbers, by which those of a group are alike.

    Example:
        >>> stem("w[0][12]"), stem("bias3"), stem("rate")
        ('w', 'bias', 'rate')
    """
    return _NUMBERS.sub("", name)


def _node(shown: Shown, i: int) -> Box:
    return Box(str(i + shown.older), (i,))


def _used(shown: Shown, boxes: list[Box]) -> list[Box]:
    """The boxes less those of constants that nothing uses: recordings keep some."""
    used = {operand for operands in shown.operands for operand in operands} | set(shown.results)
    return [box for box in boxes if not all(shown.ops[i] == "constant" and i not in used for i in box.members)]


# --------------------------------------------------------------------------------------------- series
def _series(shown: Shown) -> tuple[dict[int, tuple[int, ...]], list[int]]:
    """The series by their last node, and for each node the unit that it is part of, a series' last node or itself."""
    uses, user = [0] * len(shown), [-1] * len(shown)
    for i, operands in enumerate(shown.operands):
        for operand in operands:
            uses[operand] += 1
            user[operand] = i
    for i in shown.results:  # a result, and what has a name, is nobody's intermediate
        uses[i] += 2
    before: dict[int, int] = {}  # from a link of a series to the one before
    ops = shown.ops
    for i, op in enumerate(ops):
        if op in CHAINED and uses[i] == 1 and i not in shown.names and ops[user[i]] == op:
            before.setdefault(user[i], i)
    inner = set(before.values())
    unit_of = list(range(len(shown)))
    series: dict[int, tuple[int, ...]] = {}
    for last in before:
        if last not in inner:
            members = [last]
            while members[-1] in before:
                members.append(before[members[-1]])
            if len(members) >= FEWEST_IN_SERIES:
                series[last] = tuple(members[::-1])
                for member in members:
                    unit_of[member] = last
    return series, unit_of


# --------------------------------------------------------------------------------------------- groups
def _classes(shown: Shown, series: dict[int, tuple[int, ...]], unit_of: list[int]) -> list[int]:
    """For each unit (by its last node) the number of its class; -1 for what is inside a series."""
    n = len(shown)
    known: dict[object, int] = {}
    computed = [-1] * n  # the class by what a unit is computed from
    operands_of: list[Sequence[int]] = [()] * n
    results = set(shown.results) if len(shown.results) < FEWEST else set()
    ops, signs, names = shown.ops, shown.signs, shown.names
    for i in range(n):
        if unit_of[i] != i:
            continue
        op = ops[i]
        if i in series:
            operands: Sequence[int] = [o for member in series[i] for o in shown.operands[member] if unit_of[o] != i]
        else:
            operands = shown.operands[i]
        operands_of[i] = operands
        of_what: object
        if len(operands) <= 2 and i not in series:
            of_what = tuple([computed[unit_of[o]] for o in operands])
        elif op == "dot":
            half = len(operands) // 2
            of_what = (_kinds(computed, unit_of, operands[:half]), _kinds(computed, unit_of, operands[half:]))
        elif op in LISTS:
            of_what = _kinds(computed, unit_of, operands)
        else:
            of_what = tuple([computed[unit_of[o]] for o in operands])
        name = stem(names[i]) if i in names else ""
        key = (op, "" if op in FAMILIES else signs[i], name, i in series, of_what, i if i in results else -1)
        computed[i] = known.setdefault(key, len(known))
    # What units are used for, from the newest to the oldest: a unit's users come before it.
    uses: list[int | set[int]] = [-1] * n
    split: dict[object, int] = {}
    found = [-1] * n
    for i in range(n - 1, -1, -1):
        if unit_of[i] != i:
            continue
        mine = uses[i]
        found[i] = split.setdefault((computed[i], mine if type(mine) is int else frozenset(mine)), len(split))  # type: ignore[arg-type]
        operands = operands_of[i]
        half = len(operands) // 2 if ops[i] == "dot" else 0
        same = (ops[i] in LISTS or i in series) and not half
        for place, o in enumerate(operands):
            role = 0 if same else place // half if half else min(place, ROLES - 1)
            use = found[i] * ROLES + role
            so_far = uses[unit_of[o]]
            if so_far == -1:
                uses[unit_of[o]] = use
            elif type(so_far) is set:
                so_far.add(use)
            elif so_far != use:
                uses[unit_of[o]] = {so_far, use}  # type: ignore[arg-type]
    return found


def _kinds(computed: list[int], unit_of: list[int], operands: Sequence[int]) -> tuple[int, ...]:
    """Of which classes operands are, however many of each."""
    return tuple(sorted({computed[unit_of[o]] for o in operands}))


def _grouped(shown: Shown, series: dict[int, tuple[int, ...]], classes: Sequence[int], most: int) -> list[Box]:
    """Units, those of a class together, as far as it has four of them, or two where there would be too many boxes."""
    members: dict[int, list[int]] = {}
    for i, its_class in enumerate(classes):
        if its_class >= 0:
            members.setdefault(its_class, []).append(i)
    count = sum([1 if len(units) >= FEWEST else len(units) for units in members.values()])
    fewest = FEWEST if count <= most else FEWEST_WHERE_TIGHT
    older = shown.older
    boxes: list[Box] = []
    for found in members.values():
        units = [
            Box(f"s{series[i][0] + older}", series[i]) if i in series else Box(str(i + older), (i,)) for i in found
        ]  # fmt: skip
        if len(units) < fewest:
            boxes += units
        else:
            boxes.append(_group(units))
    boxes.sort(key=_age)
    return boxes


def _group(units: Sequence[Box]) -> Box:
    members = tuple(sorted([member for unit in units for member in unit.members]))
    first = min([int(unit.key.lstrip("s")) for unit in units])
    return Box(f"g{first}", members, tuple(units) if len(units[0].members) > 1 else ())


def _age(box: Box) -> int:
    return box.members[0]


# -------------------------------------------------------------------------------------------- on demand
def _expanded(shown: Shown, boxes: Iterable[Box], wanted: set[str]) -> list[Box]:
    """The boxes, those that shall be open taken apart."""
    found: list[Box] = []
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
    return sorted(found, key=_age)


def _limited(shown: Shown, boxes: list[Box], most: int) -> list[Box]:
    """The newest boxes, with all that uses them; the others are put into one, which nothing leads into."""
    if len(boxes) <= most:
        return boxes
    box_of = _box_of(shown, boxes)
    users = [0] * len(boxes)  # edges that lead out of a box to others that are not kept yet
    for i, operands in enumerate(shown.operands):
        own = box_of[i]
        for operand in operands:
            if box_of[operand] != own:
                users[box_of[operand]] += 1
    ready = [(-box.members[-1], number) for number, box in enumerate(boxes) if not users[number]]
    heapq.heapify(ready)
    kept: set[int] = set()
    while ready and len(kept) < most - 1:
        _, number = heapq.heappop(ready)
        kept.add(number)
        for member in boxes[number].members:
            for operand in shown.operands[member]:
                other = box_of[operand]
                if other != number:
                    users[other] -= 1
                    if not users[other]:
                        heapq.heappush(ready, (-boxes[other].members[-1], other))
    rest = sorted([member for number, box in enumerate(boxes) if number not in kept for member in box.members])
    return [Box(REST, tuple(rest)), *[boxes[number] for number in sorted(kept)]]


def _box_of(shown: Shown, boxes: Sequence[Box]) -> list[int]:
    """For each node the number of its box."""
    box_of = [0] * len(shown)
    for number, box in enumerate(boxes):
        for member in box.members:
            box_of[member] = number
    return box_of


def edges_between(shown: Shown, boxes: Sequence[Box]) -> dict[tuple[int, int], list[tuple[int, int]]]:
    """For each pair of boxes (operand, user), by number, the edges between them: (node, which of its operands)."""
    box_of = _box_of(shown, boxes)
    found: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for i, operands in enumerate(shown.operands):
        user = box_of[i]
        for place, operand in enumerate(operands):
            if box_of[operand] != user:
                found.setdefault((box_of[operand], user), []).append((i, place))
    return found
