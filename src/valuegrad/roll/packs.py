"""Steps of an iteration that are alike: the loop over the units inside of a time loop.

Why: each step of a recurrent network, of a rod's temperatures or of a filter does the same for every unit of its state.
The iterations follow each other, but the units of one do not: with one lane, V of them are a vector.

How: steps with the same operation on operands that are alike within the iteration are of one kind, as in ``_group.h``;
what comes from iterations before or from outside has no history.  A kind is taken apart by who uses its results, so
that what is used together lies together.  A kind's members are in the order of what they read, and every V of them are
a pack.

Data structures: a pack is a list of steps; all steps of a sequence are in one each, in an order in which they can run.

Where to start reading: ``packs_of``.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Callable, Hashable
from typing import Any

from valuegrad.primitives.opcodes import OPS
from valuegrad.roll.sequences import Sequence

__all__ = ["FEWEST", "packs_of"]

FEWEST = 4  # units that are worth a vector
ROUNDS = 4  # of taking kinds apart


def packs_of(
    sequence: Sequence, width: int, is_call: Callable[[int], bool], fewest: int = FEWEST, *, by_group: bool = False
) -> list[list[int]]:
    """The steps of an iteration in packs.

    Args:
        sequence: the loop.
        width: steps in a pack, at most.
        is_call: whether an operation is a call of a function, which computes so many numbers in any case: what is alike
            in nothing but the function is a pack then.
        fewest: units that are worth a pack.
        by_group: units of a group that others read are taken apart no further, whoever reads them.

    Returns:
        Packs, each after those that it reads; those with one step are single operations.
    """
    kind = _kinds(sequence, fewest, by_group)
    members: dict[int, list[int]] = defaultdict(list)
    for i, k in enumerate(kind):
        members[k].append(i)
    rank = [0] * len(kind)
    packs: list[list[int]] = []
    for k in sorted(members, key=lambda k: members[k][0]):  # a kind's first member comes after those it reads
        mine = sorted(members[k], key=lambda i: (*_unit(sequence, i), *_place(sequence, i, rank)))
        for place, i in enumerate(mine):
            rank[i] = place
        size = width if len(mine) >= fewest else 1
        packs += [mine[first : first + size] for first in range(0, len(mine), size)]
    return _in_order(sequence, _calls_together(sequence, packs, width, is_call))


def _calls_together(
    sequence: Sequence, packs: list[list[int]], width: int, is_call: Callable[[int], bool]
) -> list[list[int]]:
    """Single calls of a function that wait for as many other calls, as packs."""
    depth: list[int] = []
    for step in sequence.bodies:
        read = [x for what, x in step.args if what == "value"]
        depth.append(max((depth[x] + is_call(sequence.bodies[x].op) for x in read), default=0))
    together: list[list[int]] = []
    open_: dict[Hashable, list[int]] = {}
    for pack in packs:
        step = sequence.bodies[pack[0]]
        key = depth[pack[0]], step.op, step.number
        if len(pack) > 1 or not is_call(step.op):
            together.append(pack)
        elif len(open_.get(key, [0] * width)) < width:
            open_[key] += pack
        else:
            open_[key] = list(pack)
            together.append(open_[key])
    return together


def _kinds(sequence: Sequence, fewest: int, by_group: bool) -> list[int]:
    """For each step its kind."""
    steps = sequence.bodies
    label: list[Hashable] = [None] * len(steps)
    kind: list[int] = []
    for _ in range(ROUNDS):
        before, kind = kind, _by_history(sequence, label)
        if kind == before:
            break
        label = _by_users(sequence, kind, fewest)
        for i, step in enumerate(steps):
            if by_group and step.stored and step.units > 1:
                label[i] = "group", step.group
    return kind


def _by_history(sequence: Sequence, label: list[Hashable]) -> list[int]:
    names: dict[Hashable, int] = {}
    kind: list[int] = []
    for i, step in enumerate(sequence.bodies):
        key: Hashable = i
        if step.op < len(OPS):
            parts = [_argument(sequence, kind, argument) for argument in step.args]
            key = step.op, step.number, step.stored, step.last, label[i], *parts
        kind.append(names.setdefault(key, len(names)))
    return kind


def _argument(sequence: Sequence, kind: list[int], argument: tuple[str, Any]) -> Hashable:
    what, x = argument
    if what == "value":
        return what, kind[x]
    if what == "carried":
        return what, sequence.carried[x][1]
    track = sequence.columns[x]
    return track.space, track.step, track.table is None


def _by_users(sequence: Sequence, kind: list[int], fewest: int) -> list[Hashable]:
    """A label for each step: large parts of a kind that are used alike have one each, all others share one."""
    users: list[set[Hashable]] = [set() for _ in kind]
    for i, step in enumerate(sequence.bodies):
        for place, (what, x) in enumerate(step.args):
            if what == "value":
                users[x].add((kind[i], place))
            elif what == "carried":
                users[sequence.carried[x][0]].add((kind[i], place, sequence.carried[x][1]))
    parts: dict[Hashable, list[int]] = defaultdict(list)
    for i, used in enumerate(users):
        parts[kind[i], frozenset(used)].append(i)
    label: list[Hashable] = [None] * len(kind)
    for number, mine in enumerate(parts.values()):
        if len(mine) >= fewest:
            for i in mine:
                label[i] = number
    return label


def _unit(sequence: Sequence, i: int) -> tuple[int, int]:
    """What orders the members of a kind before all else: units lie in their order."""
    step = sequence.bodies[i]
    return (step.group, step.unit) if step.units > 1 else (-1, 0)


def _place(sequence: Sequence, i: int, rank: list[int]) -> tuple[int, ...]:
    """What orders the members of a kind: the places of what they read, from the first operand on."""
    places = []
    for what, x in sequence.bodies[i].args:
        if what == "value":
            places.append(rank[x])
        elif what == "carried":
            places.append(rank[sequence.carried[x][0]])
        else:
            track = sequence.columns[x]
            places += [track.group, track.first if track.table is None else int(track.table[0])]
    return *places, i


def _in_order(sequence: Sequence, packs: list[list[int]]) -> list[list[int]]:
    """Packs after those that they read, else by their last members: what is needed soon comes soon."""
    home = {i: p for p, pack in enumerate(packs) for i in pack}
    needs = [{home[x] for i in pack for what, x in sequence.bodies[i].args if what == "value"} for pack in packs]
    readers: list[list[int]] = [[] for _ in packs]
    for p, own in enumerate(needs):
        for q in own:
            readers[q].append(p)
    left = [len(own) for own in needs]
    ready = [(max(pack), p) for p, pack in enumerate(packs) if not left[p]]
    heapq.heapify(ready)
    order = []
    while ready:
        _, p = heapq.heappop(ready)
        order.append(packs[p])
        for q in readers[p]:
            left[q] -= 1
            if not left[q]:
                heapq.heappush(ready, (max(packs[q]), q))
    return order
