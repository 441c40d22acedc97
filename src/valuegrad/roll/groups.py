"""Groups of alike instructions, with the place of every result.

Why: ``_group.h`` says which instructions are alike.  Here a group's members get an order and each result an address, so
that numbers which a loop reads one after the other lie side by side.  Groups by levels (``_levels.h``) lie with others
of their class, so that who reads the points of a stencil need not know which of them is an end.

Data structures: ``Segment``, a segment's instructions as ``Code.segment`` gives them; ``Groups``, for each group its
members in the order of their storage, for each instruction its place there.

Where to start reading: ``Groups``.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from valuegrad._replay import places_of_use, uses_of
from valuegrad.primitives.opcodes import OPCODE, OPS
from valuegrad.roll.copies import copied

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "GUARD",
    "LISTS",
    "MEMBER",
    "REDUCE",
    "STORE",
    "STORE_UNIFORM",
    "TARGETS",
    "UNIFORM",
    "Groups",
    "Run",
    "Segment",
    "space_of",
]

STORE, STORE_UNIFORM, REDUCE, GUARD = range(len(OPS), len(OPS) + 4)
"""What a segment does besides computing (``_machine.h``)."""

TARGETS = {STORE: "slot", STORE_UNIFORM: "uniform", REDUCE: "sum", GUARD: "number"}
"""The spaces that what leaves a segment goes to."""

LISTS = frozenset(OPCODE[op] for op in ("sum", "dot", "prod", "maximum", "minimum"))
"""Operations on lists of any length."""

UNIFORM, SLOT, MEMBER = 0, 1, 2
"""Classes of operands: a scalar, a slot of the frame; MEMBER + g: a result of group g (as in ``_group.h``)."""

LEAST_PART, MOST_PARTS, SHORT = 64, 4, 4
MIXED = 16  # terms of a list that are of different groups, at most, to be written out
MOST_SLOTS = 64
FEW_TURNS = 4  # members, at least, between two of which the group is another one
MIXED_CLASSES = 4  # of one operation, at least, in a list whose classes are to lie side by side
DENSE = 16  # times as large as there are keys

FACTORS = OPCODE["dot"], OPCODE["mul"]


def space_of(of: int) -> tuple[str, int]:
    """The space of a class of operands, and its group or -1."""
    return ("group", of - MEMBER) if of >= MEMBER else ("uniform" if of == UNIFORM else "slot", -1)


@dataclass
class Segment:
    """Instructions in SSA form, and which of them are alike.

    Args:
        ops: uint16[n].
        starts: int32[n + 1]: instruction i has the operands from starts[i] to starts[i + 1].
        operands: int32: an instruction, ~i for the scalar uniform[i], ~(uniforms + i) for slot i of the frame; where
            they commute, in the order of their classes.
        numbers: float64[n], static arguments.
        group: int32[n]; a group depends on groups of smaller numbers alone.
        groups: how many there are.
        uniforms: how many scalars.
        slots: how many slots of the frame are in use already.
        runs: where instructions repeat themselves: first instruction, instructions of an iteration, iterations, the
            first one of its groups; of an iteration those that are alike, its units, are of one.
        classes: int32[groups], where groups are those of levels: groups of one class leave their results in one stretch
            of memory (``_levels.h``); else empty.
        constants: bool[uniforms]: which scalars are constants, if that is known.
    """

    ops: NDArray[np.uint16]
    starts: NDArray[np.int32]
    operands: NDArray[np.int32]
    numbers: NDArray[np.float64]
    group: NDArray[np.int32]
    groups: int
    uniforms: int
    slots: int
    runs: list[tuple[int, int, int, int]]
    classes: NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, dtype=np.int32))
    constants: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, dtype=np.bool_))

    def count(self, members: NDArray[Any]) -> NDArray[np.int32]:
        """How many operands instructions have."""
        counts: NDArray[np.int32] = self.starts[members + 1] - self.starts[members]
        return counts

    def flat(self, members: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """All operands of some instructions, one after the other: which of these each is of, and where it stands."""
        count = self.count(members).astype(np.int64)
        owner = np.repeat(np.arange(len(members)), count)
        return owner, np.arange(len(owner)) + (self.starts[members] - np.cumsum(count) + count)[owner]


@dataclass(frozen=True)
class Run:
    """Where instructions repeat themselves: the first one, how many an iteration has, iterations, the first group, how
    many groups.  Member t * units + u of a group is its unit u in iteration t."""

    first: int
    period: int
    count: int
    group: int
    groups: int


class Groups:
    """The groups of a segment.

    Args:
        segment: its instructions.

    Attributes:
        members: for each group its instructions, in the order of their results' storage.
        sizes: how many those are; then the sizes of holders.
        place: int64[n]: for each instruction where its result is among those of its group.
        home: int64[groups]: of several groups of a class the holder that they lie in, a number that is no group's; else
            the group itself.
        at: int64[n]: for each instruction where its result is in its group's home.
        runs: where instructions repeat themselves.
        long: bool[n]: for each instruction whether it has a list of operands that is to be a loop.
    """

    def __init__(self, segment: Segment) -> None:
        self.copied: dict[int, tuple[int, int]] = {}
        if not len(segment.classes):
            segment, self.copied = copied(_split_by_users(segment))
        self.segment = segment
        self.long = is_long(segment)
        self.members = _members(segment)
        self.sizes = [len(members) for members in self.members]
        self.runs = [Run(*run, int(segment.group[run[0] : run[0] + run[1]].max()) + 1 - run[3]) for run in segment.runs]
        ordered = {g: run for run in self.runs for g in range(run.group, run.group + run.groups)}
        users = {user for user, _ in self.copied.values()}
        self.home = _homes_of(segment)
        self.place = np.zeros(len(segment.ops), dtype=np.int64)
        self.at = self.place.copy() if self.has_levels else self.place
        self.sizes += np.bincount(self.home, self.sizes)[segment.groups :].astype(np.int64).tolist()
        last = {int(of): g for g, of in enumerate(segment.classes)}
        ends = np.zeros(len(self.sizes), dtype=np.int64)  # of what lies in holders already
        for g in range(segment.groups):
            members = self.members[g]
            if g in ordered:
                members = self.members[g] = self._units_in_order(members, ordered[g])
            elif g in self.copied:
                user, slot = self.copied[g]
                order = self._order_with(members, self.members[user], slot)
                members = self.members[g] = members[order]
                self.members[user] = self.members[user][order]
            elif len(members) > 1 and g not in users:
                members = self.members[g] = self._in_order(members)
            self.place[members] = np.arange(len(members))
            if self.has_levels and last[int(segment.classes[g])] == g:  # of the last one of its class
                self._hold(np.flatnonzero(segment.classes == segment.classes[g]), ends)

    @property
    def has_levels(self) -> bool:
        """Whether groups are those of levels."""
        return len(self.segment.classes) > 0

    def held(self, references: NDArray[Any]) -> dict[int, tuple[int, ...]]:
        """For each holder the groups of it that operands are of."""
        if not self.has_levels:
            return {}
        is_read = np.zeros(self.segment.groups, dtype=np.bool_)
        is_read[self.segment.group[references[references >= 0]]] = True
        of = np.flatnonzero(is_read & (self.home >= self.segment.groups))
        return {home: tuple(of[self.home[of] == home].tolist()) for home in np.unique(self.home[of]).tolist()}

    def _hold(self, groups: NDArray[np.intp], ends: NDArray[np.int64]) -> None:
        """Let a class's groups lie in their home, behind what it has: all members as they were recorded, or in the
        reverse order if that is the largest group's; one group after the other where that is neither, or they take
        turns."""
        largest = self.members[max(groups, key=lambda g: self.sizes[g])]
        way = -1 if largest[0] > largest[-1] else 1
        order = np.argsort([way * np.median(self.members[g]) for g in groups], kind="stable")
        members = np.concatenate([self.members[g] for g in groups[order]])
        mixed = np.sort(members)[::way]
        turns = np.count_nonzero(np.diff(self.segment.group[mixed]))
        if turns * FEW_TURNS <= len(mixed) and all((np.diff(self.members[g]) * way > 0).all() for g in groups):
            members = mixed
        home = self.home[groups[0]]
        self.at[members] = ends[home] + np.arange(len(members))
        ends[home] += len(members)

    def locate(self, references: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Operands by their class and their place within it: of a group that has a holder, that and the place there.

        Args:
            references: int32[k].

        Returns:
            int64[k], the classes, and int64[k]: which scalar, slot or member.
        """
        s = self.segment
        computed = references >= 0
        if computed.all():
            group = s.group[references]
            return self.home[group] + MEMBER, self.at[references]
        if not computed.any():
            index = (~references).astype(np.int64)
            slot = index >= s.uniforms
            return np.where(slot, SLOT, UNIFORM), index - s.uniforms * slot
        index = np.where(computed, 0, ~references).astype(np.int64)
        node = np.where(computed, references, 0)
        scalar = index < s.uniforms
        group = s.group[node]
        classes = np.where(computed, self.home[group] + MEMBER, np.where(scalar, UNIFORM, SLOT))
        return classes, np.where(computed, self.at[node], np.where(scalar, index, index - s.uniforms))

    def _units_in_order(self, members: NDArray[Any], run: Run) -> NDArray[Any]:
        """A run's members, iteration after iteration, in each of them by the places of what the last one reads."""
        units = len(members) // run.count
        last = self._in_order(members[-units:]) if units > 1 else members[-units:]
        before = np.arange(run.count)[::-1, None] * run.period
        ordered: NDArray[Any] = (last - before).ravel()
        return ordered

    def _in_order(self, members: NDArray[Any]) -> NDArray[Any]:
        """Members by the places of their first operands, so that what is read in a loop lies side by side (the adjoint
        of a loop then runs in the loop's own order, too); places of scalars count last, and before others those on
        which it depends how long a list is (the rows of a triangle), so that lists of one length follow each other.

        Of two factors what was computed later counts first: of a product in an adjoint that is an adjoint, of one in a
        contraction the output's index, so that results lie as what they are derivatives by.
        """
        s = self.segment
        first, count = s.starts[members], s.count(members)
        least = int(count.min())
        if least == 0:
            return members
        op = int(s.ops[members[0]])
        picks = [first + count - 1, first] if op == OPCODE["gather"] else [first, first + count // 2]
        if op not in FACTORS and op != OPCODE["gather"]:
            picks = [first + k for k in range(min(least, 3))]
        keys = self._keys([s.operands[pick] for pick in picks])
        later = -1 if op in FACTORS else 0
        keys.sort(key=lambda key: (key[0] == UNIFORM, _disagreeing(key[1], count), later * key[0]))
        ordered: NDArray[Any] = members[_sorted_by(keys)]
        return ordered

    def _keys(self, operands: list[NDArray[Any]]) -> list[tuple[int, NDArray[np.int64]]]:
        """For operands, an array for each place in a member, the first one's class and all places; scalars last, and
        constants not at all: where they lie means nothing."""
        s, keys = self.segment, []
        for references in operands:
            classes, places = self.locate(references)
            scalars = places[classes == UNIFORM]
            if classes[0] != UNIFORM or not len(s.constants) or not s.constants[scalars].all():
                keys.append((int(classes[0]), places))
        keys.sort(key=lambda key: key[0] == UNIFORM)
        return keys

    def _order_with(self, members: NDArray[Any], users: NDArray[Any], slot: int) -> NDArray[np.intp]:
        """The order of members that are copies for one user each: by what the users read besides, then by their own."""
        s = self.segment
        others = [k for k in range(int(np.diff(s.starts)[users[0]])) if k != slot]
        own = range(int(np.diff(s.starts)[members[0]]))
        keys = self._keys([s.operands[s.starts[users] + k] for k in others])
        order: NDArray[np.intp] = _sorted_by(keys + self._keys([s.operands[s.starts[members] + k] for k in own]))
        return order


def _sorted_by(keys: list[tuple[int, NDArray[np.int64]]]) -> Any:
    """The order of members by places, the first ones before the others; as they were recorded where these are equal."""
    if not keys or (np.diff(keys[0][1]) > 0).all():
        return slice(None)
    return np.lexsort([places for _, places in reversed(keys)])


def _disagreeing(places: NDArray[Any], counts: NDArray[Any]) -> int:
    """How often what is at one place has another count than what was there before: never, if the place says it."""
    if (counts == counts[0]).all():
        return 0
    order = np.argsort(places, kind="stable")
    places, counts = places[order], counts[order]
    return int(np.count_nonzero((places[1:] == places[:-1]) & (counts[1:] != counts[:-1])))


def _homes_of(s: Segment) -> NDArray[np.int64]:
    """For each group what it lies in: itself, or the holder of the groups of its class, and of such classes of other
    levels as are terms of one list (what all levels of a tree contribute to a gradient).  Holders count from the groups
    on."""
    groups = np.arange(s.groups)
    if not len(s.classes):
        return groups
    stretch = np.arange(int(s.classes.max()) + 1)  # of each class, another one that it lies with
    for a, b in _follow_in_lists(s).tolist():
        a, b = _root(stretch, a), _root(stretch, b)
        stretch[max(a, b)] = min(a, b)
    of = np.array([_root(stretch, k) for k in s.classes.tolist()], dtype=np.int64)
    _, name, times = np.unique(of, return_inverse=True, return_counts=True)
    holder = s.groups + np.cumsum(times > 1) - 1
    return np.where(times[name] > 1, holder[name], groups)


def _root(stretch: NDArray[np.int64], k: int) -> int:
    while stretch[k] != k:
        stretch[k] = stretch[stretch[k]]
        k = int(stretch[k])
    return k


def _follow_in_lists(s: Segment) -> NDArray[np.int64]:
    """Pairs of classes of the same operation, for each list that has many of them all in a row."""
    lists = np.flatnonzero(is_long(s))
    owner, flat = s.flat(lists)
    half = (s.starts[lists] + s.count(lists) // 2)[owner]
    is_dot = np.isin(s.ops[lists], FACTORS)[owner]
    operands = s.operands[flat]
    mine = operands >= 0
    node = operands[mine]
    side = 2 * owner[mine] + (is_dot & (flat >= half))[mine]
    rows = np.unique(np.stack([side, s.ops[node], s.classes[s.group[node]]], 1), axis=0)
    follow = (rows[1:, :2] == rows[:-1, :2]).all(1)
    begins = np.concatenate([[0], np.flatnonzero(~follow) + 1]) if len(rows) else np.zeros(0, dtype=np.int64)
    sizes = np.diff(begins, append=len(rows))
    many = np.repeat(sizes >= MIXED_CLASSES, sizes)
    pairs: NDArray[np.int64] = np.stack([rows[:-1, 2], rows[1:, 2]], 1)[follow & many[1:]]
    return pairs


def _members(s: Segment) -> list[NDArray[Any]]:
    """For each group its instructions, as they were recorded."""
    order = np.argsort(s.group, kind="stable")
    return np.split(order, np.searchsorted(s.group[order], np.arange(1, s.groups)))[: s.groups]


def _split_by_users(s: Segment) -> Segment:
    """Take apart groups whose members are used by different groups: then what uses them can be in one loop with them
    (a momentum and a mean square, both decayed by a product, go different ways).

    Only into large parts (what is in none of them stays together), and neither lists nor what lists read: their loops
    are worth more than what could be in one with them.
    """
    if s.runs:
        return s  # whose groups follow each other
    count = len(s.ops)
    lists = is_long(s)
    *_, differs, by_list = places_of_use(s.starts, s.operands, s.group, s.groups, lists.view(np.uint8))
    splits = (np.bincount(s.group, minlength=s.groups) > LEAST_PART) & (differs > by_list)
    splits[s.group[lists]] = False
    if not splits.any():
        return s
    owner, at = uses_of(s.starts, s.operands, s.group, splits.view(np.uint8))
    slot = np.minimum(at - s.starts[owner], MOST_SLOTS - 1)
    users = s.group[owner].astype(np.int64) * MOST_SLOTS + slot
    part = _components(s.operands[at], s.group.astype(np.int64), users)
    label = np.zeros(count, dtype=np.int64)
    for g, members in enumerate(_members(s)):
        if not splits[g]:
            continue
        _, which, sizes = np.unique(part[members], return_inverse=True, return_counts=True)
        large = np.flatnonzero(sizes >= LEAST_PART)
        if len(sizes) > 1 and 1 <= len(large) <= MOST_PARTS:
            names = np.zeros(len(sizes), dtype=np.int64)
            names[large] = np.arange(1, len(large) + 1)
            label[members] = names[which]
    if not label.any():
        return s
    numbers = _numbered(s.group * (MOST_PARTS + 1) + label)
    return replace(s, group=numbers.astype(np.int32), groups=int(numbers.max()) + 1)


def is_long(s: Segment) -> NDArray[np.bool_]:
    """For each instruction whether it has a list of operands that is to be a loop: more than are written out.

    A few more are written out if neighbours are of different groups, as a stencil's are: loops would be of one term
    each.

    Returns:
        bool[n].
    """
    arity = np.diff(s.starts)
    is_dot = (s.ops == FACTORS[0]) | (s.ops == FACTORS[1])
    terms = np.where(is_dot, arity // 2, arity)
    long = terms > SHORT
    some = np.flatnonzero(long & (terms <= MIXED))
    if not len(some):
        return long

    def classes(operands: NDArray[Any]) -> NDArray[Any]:
        return np.where(operands >= 0, s.group[np.maximum(operands, 0)], -1 - (~operands < s.uniforms))

    for n in range(SHORT + 1, MIXED + 1):
        for dot in (False, True):
            mine = some[(terms[some] == n) & (is_dot[some] == dot)]
            x = classes(s.operands[s.starts[mine][:, None] + np.arange(n)])
            same = x[:, 1:] == x[:, :-1]
            if dot:
                y = classes(s.operands[s.starts[mine][:, None] + n + np.arange(n)])
                same &= y[:, 1:] == y[:, :-1]
            long[mine] = same.sum(1) * 2 >= n
    return long


def _numbered(keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each key its number among the different ones, in their order; without sorting if they are small enough."""
    bound = int(keys.max(initial=-1)) + 1
    if bound > DENSE * len(keys):
        return np.unique(keys, return_inverse=True)[1]
    present = np.zeros(bound, dtype=np.bool_)
    present[keys] = True
    numbers: NDArray[np.int64] = np.cumsum(present) - 1
    return numbers[keys]


def _components(results: NDArray[Any], group: NDArray[np.int64], users: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each instruction a label that it shares with the members of its group that are used in the same places, and
    with what those share places with: operands in one place have to lie in one group.

    Args:
        results: int32[uses], which instruction is used.
        group: int64[instructions].
        users: int64[uses], by which group and in which place.
    """
    groups = int(group.max(initial=0)) + 1
    place = _numbered(_numbered(users) * groups + group[results])
    label = np.arange(int(place.max(initial=-1)) + 1, dtype=np.int64)
    nobody = len(label)
    while True:
        of_result = np.full(len(group), nobody, dtype=np.int64)
        np.minimum.at(of_result, results, label[place])
        lower = label.copy()
        np.minimum.at(lower, place, of_result[results])
        if (lower == label).all():
            return of_result
        label = lower
