"""Ordered loops as a person would have written them: ``for t in 0..99 in order, from a[-1] = x:  a[t] = a[t - 1]*0.5``.

Why: a time loop that Python unrolled is an algorithm as well, and its reverse loop, in which adjoints go back through
the same steps, is worth seeing.

How: what an iteration hands on, and what later loops read, gets a letter and the iteration's index t; what is used
several times in an iteration a letter of its own; all else is written where it is used.  What would be too long for a
person is a count of its operations.

Where to start reading: ``recurrence``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from valuegrad.primitives.opcodes import OPCODE, OPS
from valuegrad.roll.formula_text import is_name, operand, operation_text
from valuegrad.roll.groups import GUARD, REDUCE, STORE, STORE_UNIFORM
from valuegrad.roll.sequences import Chain, Section, Sequence, Track
from valuegrad.roll.space import affine_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = ["IN_ORDER", "Names", "chain_text", "recurrence"]

IN_ORDER = " in order"
LONGEST = 1500  # letters of a loop that are worth reading
MOST_TERMS = 24  # of a list
DOT, SUM = OPCODE["dot"], OPCODE["sum"]


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

    def place(self, column: Any, places: NDArray[Any], write: Callable[[NDArray[Any]], str]) -> str:
        """What lies at places of a column; `write`: a number for each place as a formula."""

    def target(self, column: Any, places: NDArray[Any], of: NDArray[Any], write: Callable[[NDArray[Any]], str]) -> str:
        """Likewise where something is written; `of`: indices for what has no name yet."""


def _in_order(numbers: NDArray[Any]) -> str:
    """A number for each iteration as a formula of t."""
    steps = np.diff(numbers)
    if (steps != steps[:1]).any():
        return "..."
    return affine_text((int(numbers[0]), int(steps[0]) if len(steps) else 0), "t")


def recurrence(names: Names, loop: Sequence) -> tuple[tuple[str, ...], str]:
    """An ordered loop as text: its range and what it begins with; its body."""
    ranges = [f"t in 0..{loop.members - 1}{IN_ORDER}"]
    iterations = np.arange(loop.members)[:, None]
    indexed: dict[int, str] = {}
    for i, step in enumerate(loop.bodies):
        if step.stored or any(body == i for body, _, _ in loop.carried):
            indexed[i] = next(names.letters)
        if step.stored:
            names.results[step.group] = indexed[i], iterations
    for total in loop.accumulators:
        names.accumulated[total.group] = next(names.letters)
    before = [
        f"{indexed[body]}[{t - ago}] = {_at(names, loop.columns[c], 1)}"
        for body, ago, begin in loop.carried
        for t, c in enumerate(begin)
    ]
    before += [
        f"{names.accumulated[total.group]} = {_sections(names, total.op, total.before, loop.columns) or '0'}"
        for total in loop.accumulators
    ]
    if before:
        ranges.append(f"from {before[0]}")
    body = "; ".join(_statements(names, loop, indexed, iterations))
    is_told_twice = len({(body, ago) for body, ago, _ in loop.carried}) < len(loop.carried)
    if is_told_twice or len(body) + sum(map(len, before)) > LONGEST:
        kinds = Counter(OPS[step.op] for step in loop.bodies if step.op < len(OPS))
        what = ", ".join(f"{times} {name}" for name, times in kinds.most_common(5))
        states = len({step for step, _, _ in loop.carried})
        more = ", ..." if len(kinds) > 5 else ""
        return (ranges[0],), f"{states} numbers carried on by {len(loop.bodies)} operations ({what}{more})"
    return (*ranges, *before[1:]), body


def _at(names: Names, track: Track, count: int) -> str:
    text: str = names.place(track, track.places(count), _in_order)
    return text


def _statements(names: Names, loop: Sequence, indexed: dict[int, str], iterations: NDArray[Any]) -> list[str]:
    """What an iteration does, step by step."""
    terms = [x for total in loop.accumulators for term in total.terms for x in term if x is not None]
    uses = Counter(x for args in [*(step.args for step in loop.bodies), terms] for kind, x in args if kind == "value")
    texts: list[str] = []
    found: list[str] = []

    def text_of(argument: tuple[str, int]) -> str:
        kind, x = argument
        if kind == "value":
            return texts[x]
        if kind == "column":
            return _at(names, loop.columns[x], loop.members)
        body, ago, _ = loop.carried[x]
        return f"{indexed[body]}[t - {ago}]"

    for i, step in enumerate(loop.bodies):
        args = [text_of(argument) for argument in step.args]
        if step.op in (STORE, STORE_UNIFORM, REDUCE):
            track = loop.columns[step.out]
            where = names.target(track, track.places(loop.members), iterations, _in_order)
            found.append(f"{where} {'+=' if step.op == REDUCE else '='} {args[0]}")
            texts.append(args[0])
            continue
        if step.op == GUARD:
            found.append(f"guard {'' if step.number else 'not '}{operand(args[0])}")
            texts.append(args[0])
            continue
        text = operation_text(step.op, step.number, args)
        name = f"{indexed[i]}[t]" if i in indexed else next(names.letters) if uses[i] > 1 and not is_name(text) else ""
        if name:
            found.append(f"{name} = {text}")
        texts.append(name or text)
    for total in loop.accumulators:
        parts = [text_of(x) if y is None else f"{operand(text_of(x))}*{operand(text_of(y))}" for x, y in total.terms]
        found.append(f"{names.accumulated[total.group]} += {' + '.join(parts)}")
    return found


def chain_text(names: Names, chain: Chain) -> str:
    """A long list of several parts, as text."""
    (step,) = chain.bodies
    if step.stored:
        names.results[step.group] = next(names.letters), np.zeros((1, 0), np.int64)
    name = names.results[step.group][0] if step.stored else next(names.letters)
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
            "*".join(operand(_at(names, columns[c], section.count)) for c in term if c >= 0) for term in section.terms
        ]
        text = " + ".join(terms)
        parts.append(text if section.count == 1 else f"sum({text} for t in 0..{section.count - 1})")
    return " + ".join(parts)
