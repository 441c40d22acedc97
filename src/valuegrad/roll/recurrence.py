"""Ordered loops as a person would have written them: ``for t in 0..99 in order, from a[-1] = x:  a[t] = a[t - 1]*0.5``.

Why: a time loop that Python unrolled is an algorithm as well, and its reverse loop, in which adjoints go back through
the same steps, is worth seeing.

How: what an iteration hands on, and what later loops read, gets a letter and the iteration's index t; what is used
several times in an iteration a letter of its own; all else is written where it is used.  Steps that are alike, such
as the units of a recurrent network, are a statement with indices (``packs`` finds them, as for vectors).  What would be
too long for a person is a count of its operations.

Data structures
    Names   how the numbers of a program are called.
    Pack    steps that are alike: a statement, or a part of one.
    Place   what an operand of all members is: a name with indices.

Where to start reading: ``recurrence``, then ``_Iteration.statements``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from collections.abc import Sequence as Several
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from valuegrad.primitives.opcodes import OPCODE, OPS
from valuegrad.roll.formula_text import operand, operation_text, subscript
from valuegrad.roll.groups import GUARD, REDUCE, STORE, STORE_UNIFORM
from valuegrad.roll.packs import packs_of
from valuegrad.roll.sequences import Chain, Section, Sequence, Track
from valuegrad.roll.space import LETTERS, Indices, affine_text

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["IN_ORDER", "Names", "chain_text", "recurrence"]

IN_ORDER = " in order"
LONGEST, LONGEST_STATEMENT = 3000, 400  # letters of a loop, and of a statement, that are worth reading
FEWEST = 3  # steps that are worth indices
MOST_TERMS = 24  # of a list
UNKNOWN, MOST_UNKNOWN = "numbers[...]", 2  # a step with more of them tells nothing
DOT, SUM = OPCODE["dot"], OPCODE["sum"]
OUT = (STORE, STORE_UNIFORM, REDUCE, GUARD)


class Names(Protocol):
    """How the numbers of a program are called (``describe``).

    Attributes:
        letters: names that are not taken yet.
        results: of a group its name, and the indices of its members.
        accumulated: what a loop has added for a list: its name, by the list's group.
    """

    letters: Iterator[str]
    results: dict[int, tuple[str, NDArray[Any]]]
    accumulated: dict[int, str]

    def find(self, column: Any, places: NDArray[Any]) -> tuple[str, NDArray[Any]]:
        """The name of places of a column, "" if they have none, and their indices."""

    def place(self, column: Any, places: NDArray[Any], write: Callable[[NDArray[Any]], str]) -> str:
        """What lies at places of a column; `write`: a number for each place as a formula."""

    def enter_held(self, holder: int, places: NDArray[Any]) -> None:
        """Name what is left among results of other loops, by its places there."""

    def target(self, column: Any, places: NDArray[Any], of: NDArray[Any], write: Callable[[NDArray[Any]], str]) -> str:
        """Likewise where something is written; `of`: indices for what has no name yet."""


def recurrence(names: Names, loop: Sequence) -> tuple[tuple[str, ...], str]:
    """An ordered loop as text: its range and what it begins with; its body."""
    head = f"t in 0..{loop.members - 1}{IN_ORDER}"
    try:
        iteration = _Iteration(names, loop)
        before, statements = iteration.before(), list(iteration.statements())
        if _is_readable([*before, *statements]):
            return (head, *(f"{'' if k else 'from '}{text}" for k, text in enumerate(before))), "; ".join(statements)
    except _Odd:
        _name_all(names, loop)
    kinds = Counter(OPS[step.op] for step in loop.bodies if step.op < len(OPS))
    what = ", ".join(f"{times} {name}" for name, times in kinds.most_common(5))
    states = len({step for step, _, _ in loop.carried})
    more = ", ..." if len(kinds) > 5 else ""
    numbers = "1 number" if states == 1 else f"{states} numbers"
    return (head,), f"{numbers} carried on by {len(loop.bodies)} operations ({what}{more})"


def _is_readable(texts: list[str]) -> bool:
    return sum(map(len, texts)) <= LONGEST and sum(text.count(UNKNOWN) for text in texts) <= MOST_UNKNOWN


def _name_all(names: Names, loop: Sequence) -> None:
    """Give a name to each result that others read, and to each total."""
    for group, units in {step.group: step.units for step in loop.bodies if step.stored}.items():
        at = np.stack(np.divmod(np.arange(loop.members * units), units), 1)
        names.results[group] = next(names.letters), at if units > 1 else at[:, :1]
    for total in loop.accumulators:
        names.accumulated[total.group] = next(names.letters)


class _Odd(Exception):
    """There is no text that a person would write."""


@dataclass
class _Place:
    """What an operand of a pack's members is.

    Args:
        name: whose entries; or a text without indices, if `at` is None.
        at: int64[members, depth]: the indices at iteration 0.
        moves: by how much each index grows in an iteration.
        time: what stands for the iteration, before the indices; "": nothing.
    """

    name: str
    at: NDArray[Any] | None = None
    moves: tuple[int, ...] = ()
    time: str = ""

    def text(self, space: Indices, last: _Place | None = None) -> str:
        """As a formula of a statement's indices; `last`: from here to there, in steps of the index that changes."""
        if self.at is None:
            return self.name
        letters = LETTERS[: space.of.shape[1]] + "t"
        parts = [self.time] if self.time else []
        for c, move in enumerate(self.moves):
            first = self._index(space, self.at[:, c], move, letters)
            if last is not None and last.at is not None and (last.at[:, c] != self.at[:, c]).any():
                way = int(last.at[0, c] - self.at[0, c])
                end = self._index(space, last.at[:, c] + (way > 0), move, letters)
                first = f"{first}:{end}" if way > 0 else f"{first}..{end}"
            parts.append(first)
        return f"{self.name}{subscript(parts)}"

    @staticmethod
    def _index(space: Indices, numbers: NDArray[Any], move: int, letters: str) -> str:
        formula = space.formula(numbers)
        return "..." if formula is None else affine_text((*formula, move), letters)

    def step_to(self, other: _Place) -> tuple[int, ...] | None:
        """By how much the indices of another place are further; None where they are not, by one number in one index."""
        if (
            self.at is None
            or other.at is None
            or (self.name, self.moves, self.time) != (other.name, other.moves, other.time)
        ):
            return None
        by = other.at - self.at
        return tuple(by[0].tolist()) if (by == by[0]).all() and abs(by[0]).sum() == 1 else None


@dataclass
class _Pack:
    """Steps that are alike.

    Args:
        steps: of the iteration.
        operands: where those of all members come from (``_Iteration._operand``).
        name: of the results, "" if they are written where they are used.
        keeps: the name has the iteration's index, too.
        root: in whose statement it is written.
        space: the indices of that one's members.
        text: what is computed.
    """

    steps: list[int]
    operands: list[_Operand] = field(default_factory=list)
    name: str = ""
    keeps: bool = False
    root: _Pack | None = None
    space: Any = None
    text: str = ""


@dataclass
class _Operand:
    """An operand of all members: of a pack, so many iterations ago (0: this one), which members; or from outside."""

    pack: int = -1
    ago: int = 0
    members: Any = None
    place: _Place | None = None


class _Iteration:
    """What an iteration does."""

    def __init__(self, names: Names, loop: Sequence) -> None:
        self.names, self.loop = names, loop
        found = packs_of(loop, len(loop.bodies), lambda op: False, FEWEST, by_group=True)
        self.home = {step: (p, k) for p, steps in enumerate(found) for k, step in enumerate(steps)}
        self.packs = [_Pack(steps) for steps in found]
        for pack in self.packs:
            arguments = [loop.bodies[i].args for i in pack.steps]
            pack.operands = [self._operand(slot) for slot in zip(*arguments)]
        self.totals = self._totals()
        self._name()
        for _ in range(2):  # what is carried on has its indices the second time
            self._find_spaces()
        for pack in self.packs:
            self._enter(pack)

    def _operand(self, arguments: Several[tuple[str, Any]]) -> _Operand:
        """An operand of members."""
        found = [self._source(argument) for argument in arguments]
        pack, ago = _only({(pack, ago) for pack, ago, _ in found})
        if pack < 0:
            return _Operand(place=self._column([self.loop.columns[c] for _, c in arguments], self.loop.members))
        return _Operand(pack, ago, np.array([member for _, _, member in found]))

    def _source(self, argument: tuple[str, Any]) -> tuple[int, int, int]:
        """The pack that a step reads, how many iterations ago, and which member; -1: it reads what is outside."""
        kind, x = argument
        if kind == "column":
            return -1, 0, 0
        body, ago = (x, 0) if kind == "value" else self.loop.carried[x][:2]
        pack, member = self.home[body]
        return pack, ago, member

    def _enter(self, pack: _Pack) -> None:
        """Let others find what is kept of a pack."""
        kept: dict[int, list[int]] = {}
        for k, i in enumerate(pack.steps):
            if self.loop.bodies[i].stored:
                kept.setdefault(self.loop.bodies[i].group, []).append(k)
        for group, mine in kept.items():
            if len(mine) != self.loop.bodies[pack.steps[mine[0]]].units:
                raise _Odd  # the others have another name
            count = self.loop.members
            at = np.tile(pack.space.of[mine], (count, 1))
            self.names.results[group] = pack.name, np.c_[np.repeat(np.arange(count), len(mine)), at]

    def _totals(self) -> list[_Pack]:
        """What iterations add up, as packs: their steps are accumulators, their operands those of the terms."""
        alike: dict[Any, list[tuple[int, list[Any]]]] = {}
        for number, total in enumerate(self.loop.accumulators):
            arguments = [x for term in total.terms for x in term if x is not None]
            key = total.op, *[self._source(x)[:2] for x in arguments]
            alike.setdefault(key, []).append((number, arguments))
        packs = []
        for mine in alike.values():
            order = sorted(mine, key=lambda one: [self._rank(x) for x in one[1]])
            operands = [self._operand(slot) for slot in zip(*(arguments for _, arguments in order))]
            packs.append(_Pack([number for number, _ in order], operands))
        return packs

    def _rank(self, argument: tuple[str, Any]) -> tuple[int, ...]:
        """What orders accumulators: the places of what they read."""
        kind, x = argument
        return (self.loop.columns[x].group, self.loop.columns[x].first) if kind == "column" else self._source(argument)

    def _name(self) -> None:
        """Give names to what is carried on, kept, or used more than once or by others than its neighbours."""
        loop = self.loop
        carried = {self.home[body][0] for body, _, _ in loop.carried}
        readers: list[list[_Pack]] = [[] for _ in self.packs]
        is_apart = [False] * len(self.packs)  # some reader takes others than its own member
        for pack in [*self.packs, *self.totals]:
            for of in pack.operands:
                if of.pack >= 0 and not of.ago:
                    count = len(self.packs[of.pack].steps)
                    is_apart[of.pack] |= len(pack.steps) != count or bool((of.members != np.arange(count)).any())
                    readers[of.pack].append(pack)
        for total in self.totals:
            total.root = total
        for p, pack in reversed(list(enumerate(self.packs))):  # readers come after
            pack.keeps = p in carried or any(loop.bodies[i].stored for i in pack.steps)
            is_part = not pack.keeps and len(readers[p]) == 1 and not is_apart[p]
            pack.root = readers[p][0].root if is_part else pack
        for pack in self.packs:
            if pack.root is pack and loop.bodies[pack.steps[0]].op not in OUT:
                pack.name = next(self.names.letters)
        for total in self.totals:
            total.name = next(self.names.letters)

    def _find_spaces(self) -> None:
        """The indices of each statement's members: from what all that is written in it reads."""
        features: dict[int, list[NDArray[Any]]] = {}
        packs = [*self.packs, *self.totals]
        for pack in packs:
            mine = features.setdefault(id(pack.root), [])
            for of in pack.operands:
                if of.place is not None:
                    mine += [] if of.place.at is None else list(of.place.at.T)
                elif (source := self.packs[of.pack]).root is source:
                    mine += [of.members] if source.space is None else list(source.space.of[of.members].T)
            if pack.root is pack:  # its parts came before
                varying = [x for x in mine if (x != x[0]).any()]
                pack.space = Indices(np.stack(varying or [np.arange(len(pack.steps))], axis=1))
        for pack in packs:
            assert pack.root is not None
            pack.space = pack.root.space

    def _column(self, tracks: Several[Track], count: int) -> _Place:
        """What lies on tracks, one for each member, in so many iterations."""
        times = sorted({0, min(1, count - 1), count - 1})
        found = [self.names.find(track, track.places(count)[times]) for track in tracks]
        name, first = found[0]
        if len(tracks) == 1 and not name:
            return _Place(self.names.place(tracks[0], tracks[0].places(count), _in_order))
        if not name or any(other != name or at.shape != first.shape for other, at in found):
            places = np.concatenate([track.places(count)[times] for track in tracks])
            alike = {(track.space, track.group) for track in tracks}
            return _Place(self.names.place(tracks[0], places, lambda x: "...") if len(alike) == 1 else UNKNOWN)
        at = np.stack([at for _, at in found])  # [members, times, depth]
        moves = at[0, min(1, count - 1)] - at[0, 0]
        expected = at[:, :1] + np.array(times)[None, :, None] * moves
        if len(tracks) == 1:
            every = self.names.find(tracks[0], tracks[0].places(count))[1]
            expected, at = every[:1] + np.arange(count)[:, None] * moves, every
        if (expected != at).any():
            return _Place(f"{name}[...]")
        return _Place(name, at[:1] if len(tracks) == 1 else at[:, 0], tuple(moves.tolist()))

    # --------------------------------------------------------------------------------------------------- texts
    def before(self) -> list[str]:
        """What the loop begins with."""
        begins: dict[tuple[int, int], dict[int, list[int]]] = {}
        for body, ago, begin in self.loop.carried:
            p, member = self.home[body]
            if begins.setdefault((p, ago), {}).setdefault(member, begin) is not begin:
                raise _Odd  # a number before the first has two values
        found = []
        for (p, ago), mine in begins.items():
            pack = self.packs[p]
            at, space = pack.space.of, pack.space
            if len(mine) < len(pack.steps):  # the others are not carried on
                at = at[sorted(mine)]
                space = Indices(at[:, (at != at[0]).any(0)])
            for k in range(ago):
                target = _Place(pack.name, at, (0,) * at.shape[1], str(k - ago)).text(space)
                tracks = [self.loop.columns[mine[m][k]] for m in sorted(mine)]
                found.append(f"{target} = {self._column(tracks, 1).text(space)}")
        for pack in self.totals:
            totals = [self.loop.accumulators[number] for number in pack.steps]
            text = "..." if any(total.before for total in totals) else "0"
            if len(totals) == 1 and totals[0].before:
                text = _sections(self.names, totals[0].op, totals[0].before, self.loop.columns)
            found.append(f"{self._target(pack)} = {text}")
        return list(dict.fromkeys(found))

    def _target(self, pack: _Pack) -> str:
        """A pack's results."""
        at = pack.space.of
        return _Place(pack.name, at, (0,) * at.shape[1], "t" if pack.keeps else "").text(pack.space)

    def statements(self) -> Iterator[str]:
        """What an iteration does, statement by statement."""
        for pack in self.packs:
            step = self.loop.bodies[pack.steps[0]]
            places = [self._place(x) for x in pack.operands]
            if step.op in (DOT, SUM):
                pack.text = self._list(step.op, places, pack.space)
            else:
                texts = [place.text(pack.space) for place in places]
                pack.text = texts[0] if step.op in OUT else operation_text(step.op, step.number, texts)
            if len(pack.text) > LONGEST_STATEMENT:
                raise _Odd
            if step.op in (STORE, STORE_UNIFORM, REDUCE):
                track = self.loop.columns[step.out]
                iterations = np.arange(self.loop.members)
                where = self.names.target(track, track.places(self.loop.members), iterations[:, None], _in_order)
                yield f"{where} {'+=' if step.op == REDUCE else '='} {pack.text}"
            elif step.op == GUARD:
                yield f"guard {'' if step.number else 'not '}{operand(pack.text)}"
            elif pack.name:
                yield f"{_loop_of(pack)}{self._target(pack)} = {pack.text}"
        for pack in self.totals:
            for k, number in enumerate(pack.steps):
                at = subscript([str(x) for x in pack.space.of[k]])
                self.names.accumulated[self.loop.accumulators[number].group] = f"{pack.name}{at}"
            op = self.loop.accumulators[pack.steps[0]].op
            text = self._list(op, [self._place(x) for x in pack.operands], pack.space, turned=True)
            yield f"{_loop_of(pack)}{self._target(pack)} += {text}"

    def _place(self, of: _Operand) -> _Place:
        """What an operand is."""
        if of.place is not None:
            return of.place
        pack = self.packs[of.pack]
        if not pack.name:
            return _Place(pack.text)
        at = pack.space.of[of.members]
        time = "" if not pack.keeps else f"t - {of.ago}" if of.ago else "t"
        return _Place(pack.name, at, (0,) * at.shape[1], time)

    def _list(self, op: int, places: list[_Place], space: Indices, turned: bool = False) -> str:
        """A sum of terms; those whose indices run on are one.  `turned`: the factors of a term follow each other."""
        terms: list[tuple[_Place, ...]] = [(place,) for place in places]
        if op == DOT:
            half = len(places) // 2
            terms = list(zip(places[::2], places[1::2]) if turned else zip(places[:half], places[half:]))
        found, k = [], 0
        while k < len(terms):
            last, steps = k, _steps(terms, k)
            while None not in steps and _steps(terms, last) == steps:
                last += 1
            if last - k < 2:  # two are written out
                last = k
                texts = [place.text(space) for place in terms[k]]
                found.append("*".join(map(operand, texts)) if op == DOT else texts[0])
            else:
                runs = ", ".join(a.text(space, b) for a, b in zip(terms[k], terms[last]))
                found.append(f"{'dot' if op == DOT else 'sum'}({runs})")
            k = last + 1
        return operation_text(SUM, 0.0, found) if len(found) > 1 else found[0] if found else "0"


def _steps(terms: list[tuple[_Place, ...]], k: int) -> list[tuple[int, ...] | None]:
    """By how much the next term's indices are further."""
    return [a.step_to(b) for a, b in zip(terms[k], terms[k + 1])] if k + 1 < len(terms) else [None]


def _only(found: set[Any]) -> Any:
    """The one that all have in common."""
    if len(found) != 1:
        raise _Odd
    return found.pop()


def _loop_of(pack: _Pack) -> str:
    return f"for {', '.join(pack.space.ranges())}:  " if len(pack.steps) > 1 else ""


def _in_order(numbers: NDArray[Any]) -> str:
    """A number for each iteration as a formula of t."""
    steps = np.diff(numbers)
    if (steps != steps[:1]).any():
        return "..."
    return affine_text((int(numbers[0]), int(steps[0]) if len(steps) else 0), "t")


def chain_text(names: Names, chain: Chain) -> str:
    """A long list of several parts, as text."""
    (step,) = chain.bodies
    if step.stored and (out := chain.columns[step.out]).group != step.group:
        names.enter_held(out.group, out.places(1))
        name = names.place(out, out.places(1), _in_order)
    elif step.stored:
        name = next(names.letters)
        names.results[step.group] = name, np.zeros((1, 0), np.int64)
    else:
        name = next(names.letters)
    text = _sections(names, step.op, chain.sections, chain.columns)
    if chain.begins:
        text = " + ".join(filter(None, (names.accumulated[step.group], text)))
    return f"{name} = {text}"


def _sections(names: Names, op: int, sections: list[Section], columns: list[Track]) -> str:
    """A list's terms; of another list than a sum, or a long one, how many there are."""
    count = sum(len(section.terms) * section.count for section in sections)
    if op not in (DOT, SUM) or sum(len(section.terms) for section in sections) > MOST_TERMS:
        return f"{OPS[op]}(... {count:,} terms)" if count else ""
    parts = []
    for section in sections:
        terms = [
            "*".join(
                operand(names.place(columns[c], columns[c].places(section.count), _in_order)) for c in term if c >= 0
            )
            for term in section.terms
        ]
        text = " + ".join(terms)
        parts.append(text if section.count == 1 else f"sum({text} for t in 0..{section.count - 1})")
    return " + ".join(parts)
