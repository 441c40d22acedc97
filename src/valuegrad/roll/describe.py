"""What was rolled, as a person would have written it: ``for i in 0..9, j in 0..47:  b[i, j] = dot(...)``.

Why: a program in loops can be checked against the algorithm in somebody's head, one in 34,000 instructions cannot.

How: each kernel is a line.  Its members get indices (``space``), every number that it reads or writes a name and
places that are formulas of these indices: an argument its own, a constant its value, a result of a kernel a letter and
the indices of that kernel.  Where there is no formula, dots stand.

Data structures
    Layout   what the numbers in memory are: inputs, outputs, constants.
    Loop     a kernel as text, with its size.
    Memory   the names and indices of the places in one part of memory.

Where to start reading: ``loops_of``.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from valuegrad.primitives.opcodes import OPCODE, OPS
from valuegrad.roll.formula_text import is_name, operand, operation_text, subscript
from valuegrad.roll.found import Loop as FoundLoop
from valuegrad.roll.groups import GUARD, REDUCE, STORE, STORE_UNIFORM
from valuegrad.roll.kernels import Body, Column, Kernel, Piece
from valuegrad.roll.recurrence import IN_ORDER, chain_text, recurrence
from valuegrad.roll.rounds import Rounds, later
from valuegrad.roll.sequences import Chain, Track
from valuegrad.roll.sequences import Sequence as OrderedLoop
from valuegrad.roll.space import Indices

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Write = Callable[[NDArray[Any]], str]

__all__ = ["Layout", "Loop", "loops_of"]

FREE = 0  # a place without a name
TOLD = 4  # iterations of a loop of loops, from which it is written
MOST_KINDS = 8  # of members of a kernel, each a loop of its own here
DOT, SUM, SELECT, GATHER = (OPCODE[name] for name in ("dot", "sum", "select", "gather"))
NO_FLOPS = frozenset((STORE, STORE_UNIFORM, REDUCE, GUARD, SELECT, GATHER, OPCODE["not"], OPCODE["neg"]))


class Layout(NamedTuple):
    """What the numbers in memory are (``Code.layout``).

    Args:
        inputs: int32: for each input the scalar or the slot it goes to; -1: nothing reads it.
        outputs: int32: for each output the one it comes from.
        own_inputs: uint8: for each input 1 if it is a scalar.
        own_outputs: uint8: for each output 1 if it is a scalar.
        scalars: float64: the scalars before a run, constants among them.
        lanes: the scalar that is the number of lanes; -1: none.
    """

    inputs: NDArray[Any]
    outputs: NDArray[Any]
    own_inputs: NDArray[Any]
    own_outputs: NDArray[Any]
    scalars: NDArray[Any]
    lanes: int


@dataclass(frozen=True)
class Loop:
    """A loop that was found.

    Args:
        members: how often its body runs.
        instructions: how many instructions of the recording the body stands for.
        flops: the operations on numbers in all of it.
        segment: "pre" (once), "main" (for each lane), "post" or "last" (once, after the sums over the lanes).
        ranges: its indices and their bounds, such as "i in 0..9"; of an ordered loop "t in 0..9 in order" and what it
            begins with, such as "from a[-1] = x".
        body: what it does, such as "b[i] = tanh(a[i])"; several statements are separated by "; ".
    """

    members: int
    instructions: int
    flops: int
    segment: str
    ranges: tuple[str, ...]
    body: str

    def __str__(self) -> str:
        return f"for {', '.join(self.ranges)}:  {self.body}" if self.ranges else self.body

    @property
    def is_ordered(self) -> bool:
        """Whether its iterations follow each other."""
        return bool(self.ranges) and self.ranges[0].endswith(IN_ORDER)


class Memory:
    """Names and indices of the places in a part of memory."""

    def __init__(self, size: int) -> None:
        self.names = [""]
        self.name = np.zeros(size, dtype=np.int32)  # of each place, an entry of names
        self.at = np.zeros((size, 0), dtype=np.int64)
        self.depth = [0]

    def enter(self, name: str, places: NDArray[Any], at: NDArray[Any]) -> None:
        """Name places, unless they are named; at: int64[places, depth], their indices."""
        mine = self.name[places] == FREE
        places, at = places[mine], at[mine]
        if at.shape[1] > self.at.shape[1]:
            self.at = np.pad(self.at, ((0, 0), (0, at.shape[1] - self.at.shape[1])))
        self.name[places] = len(self.names)
        self.at[places, : at.shape[1]] = at
        self.names.append(name)
        self.depth.append(at.shape[1])

    def find(self, places: NDArray[Any]) -> tuple[str, NDArray[Any]]:
        """The name of places, "" if they have several or none, and their indices."""
        places = np.clip(places, 0, len(self.name) - 1)
        first = int(self.name[places[0]])
        if (self.name[places] != first).any():
            return "", places[:, None]
        return self.names[first], self.at[places, : self.depth[first]]


def _letters(taken: set[str]) -> Iterator[str]:
    """Names for results: letters that are no indices (t is that of ordered loops), then with a number."""
    number = 0
    while True:
        for letter in "abcdefghopqrsuvwxyz":
            name = f"{letter}{number or ''}"
            if name not in taken:
                yield name
        number += 1


def loops_of(
    kernels: Sequence[Sequence[FoundLoop]],
    layout: Layout,
    totals: NDArray[Any],
    names: Sequence[tuple[str, tuple[int, ...] | None]],
    is_constant: NDArray[np.bool_],
) -> list[Loop]:
    """The loops of a program, in the order in which they run.

    Args:
        kernels: of each segment: pre, main, post, last.
        layout: what the numbers in memory are.
        totals: for each sum over the lanes the scalar that its total goes to.
        names: of the inputs, in order: how the user would write it, and the shape of an array.
        is_constant: for each scalar whether nothing writes it: an output that is one is a number like others.
    """
    return _Describer(layout, totals, names, is_constant).all(kernels)


class _Describer:
    """The names of a program's numbers while its loops are read."""

    def __init__(
        self,
        layout: Layout,
        totals: NDArray[Any],
        names: Sequence[tuple[str, tuple[int, ...] | None]],
        is_constant: NDArray[np.bool_],
    ) -> None:
        slots = [
            places[own == 0]
            for places, own in ((layout.inputs, layout.own_inputs), (layout.outputs, layout.own_outputs))
        ]
        self.slots = Memory(int(max([-1, *[part.max() for part in slots if len(part)]])) + 1)
        self.scalars = Memory(len(layout.scalars))
        self.sums = Memory(len(totals))
        self.layout = layout
        stems = self._enter_inputs(names)
        single = len(layout.outputs) == 1
        numbers = np.arange(len(layout.outputs))[:, None][:, : 0 if single else 1]
        for own, memory in ((1, self.scalars), (0, self.slots)):
            mine = layout.own_outputs == own
            if own:
                mine[mine] = ~is_constant[layout.outputs[mine]]
            memory.enter("output", layout.outputs[mine], numbers[mine])
        if layout.lanes >= 0:
            self.scalars.enter("lanes", np.array([layout.lanes]), np.zeros((1, 0), np.int64))
        self.scalars.enter("total", totals, np.arange(len(totals))[:, None])
        found = [self.scalars.names[k] for k in self.scalars.name[totals]]
        for name in dict.fromkeys(found):
            mine = np.array([other == name for other in found], dtype=bool)
            _, at = self.scalars.find(totals[mine])
            self.sums.enter(name, np.flatnonzero(mine), at)
        self.letters = _letters({*stems, "output", "lanes", "total"})
        self.results: dict[int, tuple[str, NDArray[Any]]] = {}  # of the segment's groups
        self.before: dict[int, int] = {}  # likewise: so many places come before place 0
        self.accumulated: dict[int, str] = {}  # by loops, likewise

    def _enter_inputs(self, names: Sequence[tuple[str, tuple[int, ...] | None]]) -> set[str]:
        places, own = self.layout.inputs, self.layout.own_inputs
        entries: dict[str, tuple[list[int], list[Any]]] = {}
        k = 0
        for name, shape in names:
            if shape is not None:
                size = int(np.prod(shape))
                at = np.stack(np.unravel_index(np.arange(size), shape), axis=1) if size else np.zeros((0, 1))
                entries[name] = list(range(k, k + size)), list(at)
                k += size
                continue
            stem, indices = re.fullmatch(r"(.*?)((?:\[\d+\])*)", name, re.DOTALL).groups()  # type: ignore[union-attr]
            inputs, of = entries.setdefault(f"{stem}{'[]' * indices.count('[')}", ([], []))
            inputs.append(k)
            of.append([int(x) for x in re.findall(r"\d+", indices)])
            k += 1
        for name, (inputs, of) in entries.items():
            which = np.array(inputs, dtype=np.int64)
            which, at = which[which < len(places)], np.array(of, dtype=np.int64).reshape(len(inputs), -1)
            at = at[: len(which)]
            for kind, memory in ((1, self.scalars), (0, self.slots)):
                mine = (own[which] == kind) & (places[which] >= 0)
                memory.enter(name.replace("[]", ""), places[which[mine]], at[mine])
        return {name.replace("[]", "") for name in entries}

    def all(self, kernels: Sequence[Sequence[FoundLoop]]) -> list[Loop]:
        loops = []
        for segment, mine in zip(("pre", "main", "post", "last"), kernels):
            self.results, self.before, self.accumulated = {}, {}, {}
            for kernel in mine:
                if isinstance(kernel, Rounds):
                    loops.append(self._rounds(kernel, segment))
                    continue
                loops += (
                    self._loops(kernel, segment) if isinstance(kernel, Kernel) else [self._ordered(kernel, segment)]
                )
        return loops

    def _ordered(self, kernel: OrderedLoop | Chain, segment: str) -> Loop:
        """A loop whose iterations follow each other, or a long list of several parts."""
        if isinstance(kernel, Chain):
            terms = sum(len(section.terms) * section.count for section in kernel.sections)
            flops = 2 * terms if kernel.bodies[0].op == DOT else terms
            return Loop(1, 1, flops, segment, (), chain_text(self, kernel))
        flops = kernel.members * sum(step.op not in NO_FLOPS for step in kernel.bodies)
        return Loop(kernel.members, len(kernel.bodies), flops, segment, *recurrence(self, kernel))

    def _rounds(self, rounds: Rounds, segment: str) -> Loop:
        """A loop of loops: what it begins with, then each of its loops."""
        for g, stays in rounds.left().items():
            units, before = rounds.units[g - rounds.first], rounds.carried[g - rounds.first]
            of = np.stack(np.divmod(np.arange((rounds.members + before) * units) - before * units, units), 1)
            self.results[g] = next(self.letters), of[:, (not stays) : 1 + (units > 1)]
            self.before[g] = before * units
        head = [f"t in 0..{rounds.members - 1}{IN_ORDER}"]
        for kernel in rounds.begins:
            for which, pieces, space in self._parts(kernel):
                head.append(f"from {self._loop(kernel, segment, which, pieces, space).body}")
        times = np.arange(min(rounds.members, TOLD))
        statements, flops = [], 0
        for kernel in rounds.kernels:
            told = later(kernel, times)
            for which, _, space in self._parts(kernel):
                mine = (times[:, None] * kernel.members + which).ravel()
                loop = self._loop(told, segment, mine, _pieces(told, mine[0]), space.over(times))
                under = f"for {', '.join(loop.ranges)}:  " if loop.ranges else ""
                statements += [f"{under}{statement}" for statement in loop.body.split("; ")]
                flops += loop.flops * rounds.members // len(times)
        operations = sum(kernel.members * len(kernel.bodies) for kernel in rounds.kernels)
        return Loop(rounds.members, operations, flops, segment, tuple(head), "; ".join(statements))

    def enter_held(self, holder: int, places: NDArray[Any]) -> None:
        """Name what a kernel leaves among what others do, by its places there."""
        name, at = self.results[holder] if holder in self.results else (next(self.letters), np.zeros((0, 1)))
        self.results[holder] = name, np.arange(max(int(places.max()) + 1, len(at)))[:, None]

    # ------------------------------------------------------------------------------------------ a kernel
    def _loops(self, kernel: Kernel, segment: str) -> list[Loop]:
        """A kernel's loop; one for each kind of its members."""
        found = self._parts(kernel)
        for body in kernel.bodies:
            if kernel.keeps(body):
                at = found[0][2].of if len(found) == 1 else np.arange(kernel.members)[:, None]
                self.results[body.group] = next(self.letters), at
            if kernel.is_held(body):
                self.enter_held(kernel.columns[body.out].group, kernel.columns[body.out].at)
        return [self._loop(kernel, segment, which, pieces, space) for which, pieces, space in found]

    def _parts(self, kernel: Kernel) -> list[tuple[NDArray[Any], Sequence[Piece], Indices]]:
        """The kinds of a kernel's members: which these are, their lists, their indices."""
        lists = [body for body in kernel.bodies if body.variants]
        kinds = self._kinds(kernel, lists[0].variant if lists else np.zeros(kernel.members, np.int64))
        found: list[tuple[NDArray[Any], Sequence[Piece], Indices]] = []
        for kind in range(int(kinds.max()) + 1):
            which = np.flatnonzero(kinds == kind)
            pieces = _pieces(kernel, which[0])
            found.append((which, pieces, Indices(self._features(kernel, which, pieces))))
        return found

    def _kinds(self, kernel: Kernel, variant: NDArray[Any]) -> NDArray[Any]:
        """For each member which kind it is of: the same lists, numbers of the same names."""
        keys = [variant]
        for column in kernel.columns:
            memory = {"uniform": self.scalars, "slot": self.slots}.get(column.space)
            if memory is not None:
                keys.append(memory.name[np.clip(column.at, 0, len(memory.name) - 1)])
        _, kinds = np.unique(np.stack(keys, axis=1), axis=0, return_inverse=True)
        kinds = kinds.reshape(-1)
        return kinds if kinds.max() < MOST_KINDS else np.unique(variant, return_inverse=True)[1].reshape(-1)

    def find(self, column: Column | Track, places: NDArray[Any]) -> tuple[str, NDArray[Any]]:
        """The name of places of a column, "" if they have none, and their indices."""
        if column.space == "group":
            name, at = self.results[column.group]
            return name, at[np.clip(places + self.before.get(column.group, 0), 0, len(at) - 1)]
        if column.space == "number":
            return "", places[:, None]
        return {"uniform": self.scalars, "slot": self.slots, "sum": self.sums}[column.space].find(places)

    def _features(self, kernel: Kernel, which: NDArray[Any], pieces: Sequence[Piece]) -> NDArray[Any]:
        """What is to be a formula of the indices: the places of all that is read, the lengths of lists."""
        written = {body.out for body in kernel.bodies}
        used = {c for piece in pieces for c in (piece.x, piece.y)}
        used |= {c for body in kernel.bodies for kind, c in body.args if kind == "column"}
        features: list[Any] = []
        for c in sorted(used - written - {-1}):
            name, at = self.find(kernel.columns[c], kernel.columns[c].at[which])
            if name:
                features += list(at.T)
        for piece in pieces:
            n = piece.length[which]
            features.append(n)
            for k, step in enumerate(piece.strides[which].T):  # a list of one has none of its own
                features.append(np.where(n > 1 + k // 2, step, step[np.argmax(n)]))
        if not any((x != x[0]).any() for x in features):
            features += [body_column.at[which] for body_column in [kernel.columns[c] for c in written if c >= 0]]
        return np.stack([x for x in features if (x != x[0]).any()] or [np.arange(len(which))], axis=1)

    def _loop(self, kernel: Kernel, segment: str, which: NDArray[Any], pieces: Sequence[Piece], space: Indices) -> Loop:
        uses = Counter(x for body in kernel.bodies for kind, x in body.args if kind == "value")
        texts: list[str] = []
        statements: list[str] = []
        flops = 0

        def target(body: Body) -> str:
            column = kernel.columns[body.out]
            return self.target(column, column.at[which], space.of, space.text)

        for i, body in enumerate(kernel.bodies):
            terms = sum(int(piece.length[which].sum()) for piece in pieces) if body.variants else 0
            flops += self._flops(body, len(which), terms)
            text = self._text(kernel, body, texts, which, pieces, space)
            if body.op in (STORE, STORE_UNIFORM):
                text = f"{target(body)} = {text}"
            elif body.op == REDUCE:
                text = f"{target(body)} += {text}  over the lanes"
            elif body.op == GUARD:
                text = f"guard {'' if body.number else 'not '}{operand(text)}"
            elif kernel.keeps(body) or kernel.is_held(body):
                name = self._place(kernel.columns[body.out], which, space)
                statements.append(f"{name} = {text}")
                texts.append(name)
                continue
            elif uses[i] > 1 and not is_name(text) and not _inside(kernel, i):
                name = next(self.letters)
                statements.append(f"{name} = {text}")
                texts.append(name)
                continue
            else:
                texts.append(text)
                continue
            statements.append(text)
            texts.append(text)
        return Loop(len(which), len(kernel.bodies), flops, segment, tuple(space.ranges()), "; ".join(statements))

    def _flops(self, body: Body, members: int, terms: int) -> int:
        if body.op in NO_FLOPS:
            return members if body.op == REDUCE else 0
        if body.variants:
            return max(0, 2 * terms - members if body.op == DOT else terms - members)
        return members * max(1, len(body.args) - 1)

    # ------------------------------------------------------------------------------------------ formulas
    def _text(
        self,
        kernel: Kernel,
        body: Body,
        texts: Sequence[str],
        which: NDArray[Any],
        pieces: Sequence[Piece],
        space: Indices,
    ) -> str:
        if body.variants and body.op != GATHER:
            return self._list(kernel, body, which, pieces, space)
        args = [texts[x] if kind == "value" else self._place(kernel.columns[x], which, space) for kind, x in body.args]
        if body.op == GATHER:
            entries = self._slice(kernel.columns[pieces[0].x], which, pieces[0], 0, space)
            return f"take({entries}, {args[0]})"
        if body.op in (STORE, STORE_UNIFORM, REDUCE, GUARD):
            return args[0]
        return operation_text(body.op, body.number, args)

    def _list(self, kernel: Kernel, body: Body, which: NDArray[Any], pieces: Sequence[Piece], space: Indices) -> str:
        parts = []
        for piece in pieces:
            columns = [piece.x, piece.y][: 2 if body.op == DOT else 1]
            parts.append([self._slice(kernel.columns[c], which, piece, side, space) for side, c in enumerate(columns)])
        ones = [bool((piece.length[which] == 1).all()) for piece in pieces]
        name = OPS[body.op]
        if name == "dot":
            texts = [f"{x}*{y}" if one else f"dot({x}, {y})" for (x, y), one in zip(parts, ones)]
        elif name == "sum":
            texts = [x if one else f"sum({x})" for (x,), one in zip(parts, ones)]
        else:
            return f"{name}({', '.join(x for (x,) in parts)})"
        return " + ".join(texts) or "0"

    def target(self, column: Column | Track, places: NDArray[Any], of: NDArray[Any], write: Write) -> str:
        """Where a kernel writes; what has no name yet gets one.

        Args:
            column: says in which memory.
            places: one for each member.
            of: the members' indices.
            write: how a number for each member is written as a formula of them.
        """
        memory = {"uniform": self.scalars, "slot": self.slots, "sum": self.sums}[column.space]
        if (memory.name[places] == FREE).all():
            memory.enter(next(self.letters), places, of)
        return self.place(column, places, write)

    def place(self, column: Column | Track, places: NDArray[Any], write: Write) -> str:
        """What lies there; arguments are those of ``target``."""
        name, at = self.find(column, places)
        if name:
            return f"{name}{subscript([write(x) for x in at.T])}"
        constants = self.layout.scalars[places] if column.space == "uniform" else np.zeros(0)
        if column.space != "uniform" or (self.scalars.name[places] != FREE).any():
            return "numbers[...]"
        if (constants == constants[0]).all():
            return f"{constants[0]:.6g}"
        whole = (constants == np.rint(constants)).all() and (abs(constants) < 2**31).all()
        text = write(constants.astype(np.int64)) if whole else "..."
        return "constants[...]" if text == "..." else text

    def _place(self, column: Column, which: NDArray[Any], space: Indices) -> str:
        return self.place(column, column.at[which], space.text)

    def _slice(self, column: Column, which: NDArray[Any], piece: Piece, side: int, space: Indices) -> str:
        """A list's entries, x or y: those of one index from ... to ..., the others fixed."""
        places, n = column.at[which], piece.length[which]
        step, bend = piece.strides[which, side], piece.strides[which, 2 + side]
        if (n <= 1).all():
            return self._place(column, which, space)
        name, first = self.find(column, places)
        other, last = self.find(column, places + step * np.maximum(n - 1, 0) + bend * ((n - 1) * (n - 2) // 2))
        if not name or other != name:
            return f"{name or 'numbers'}[...]"
        parts = []
        for x, y in zip(first.T, last.T):
            start = space.text(x)
            if (x == y).all():
                parts.append(start)
                continue
            moved = (y - x)[n > 1] // (n - 1)[n > 1]
            pace = int(moved[0])
            if (moved != pace).any() or ((y - x)[n > 1] % (n - 1)[n > 1]).any() or pace == 0:
                parts.append("...")
                continue
            end = space.text(y + 1 if pace > 0 else y)
            if "..." in (start, end):
                parts.append("...")
            elif pace > 0:
                parts.append(f"{start}:{end}{f':{pace}' if pace > 1 else ''}")
            else:  # downwards, both ends among them
                parts.append(f"{start}..{end}{f' by {pace}' if pace < -1 else ''}")
        return f"{name}{subscript(parts)}"


def _inside(kernel: Kernel, i: int) -> bool:
    """Whether a result is used by comparisons and choices alone, which are written as one."""
    users = [body for body in kernel.bodies if ("value", i) in body.args]
    mine = kernel.bodies[i].op
    return OPS[mine] in ("lt", "le", "eq") if mine < len(OPS) else not users


def _pieces(kernel: Kernel, member: int) -> Sequence[Piece]:
    """The lists of a kernel's member."""
    lists = [body for body in kernel.bodies if body.variants]
    return lists[0].variants[int(lists[0].variant[member])] if lists else []
