"""Sums over a loop's iterations, made in the loop itself: ``total += ...``, as a person writes them.

Why: the gradient of a parameter that every step of a time loop reads is a sum with terms of every step.  As a list of
its own (``sequences.Chain``) it reads again what the loop has stored for it alone, from memory that is as long as the
loop; inside the loop the term is still in a register, and the totals of many parameters are side by side.

How: the terms of a chain keep their order.  Those before the loop's are added before it begins, its own in each
iteration, and the chain goes on with the rest from there.

Data structures: ``Accumulator``.

Where to start reading: ``accumulate``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from valuegrad.roll.rounds import Rounds
from valuegrad.roll.sequences import Chain, Section, Sequence, Track

__all__ = ["Accumulator", "accumulate"]

LEAST = 16  # terms that are worth it


@dataclass
class Accumulator:
    """A total that a sequence carries.

    Args:
        op: the chain's.
        group: the chain's, where the total is left.
        before: sections, of the sequence's tracks, that are added before the loop.
        terms: what each iteration adds: arguments as those of a ``Step``; y is None where the chain is no dot.
        out: track of the total.
    """

    op: int
    group: int
    before: list[Section]
    terms: list[tuple[tuple[str, int], tuple[str, int] | None]]
    out: int = -1


def accumulate(ordered: Mapping[int, Sequence | Chain | Rounds], columns: list[Any]) -> None:
    """Give sequences what chains add of their iterations.

    Args:
        ordered: sequences and chains by their first groups.
        columns: for each group's kernel what it reads, from which follows what comes before what.
    """
    owner = {g: s for s, one in ordered.items() if isinstance(one, Sequence) for g in range(s, s + one.groups)}
    for g, chain in ordered.items():
        if not isinstance(chain, Chain):
            continue
        for k in reversed(range(len(chain.sections))):
            section = chain.sections[k]
            at = {owner.get(chain.columns[c].group, -1) for term in section.terms for c in term if c >= 0} - {-1}
            first = max(at, default=-1)  # others are read as what lies in memory
            sequence = ordered.get(first)
            if section.count < LEAST or not isinstance(sequence, Sequence):
                continue
            if not _fits(chain, k, sequence, first):
                _turn(chain, k)
            if _fits(chain, k, sequence, first):
                _move(chain, k, sequence, first, g)
                columns[g] = [*chain.columns, Track("order", first, 0)]
                break


def _turn(chain: Chain, k: int) -> None:
    """Where a period of a section begins is arbitrary: begin with terms of one iteration, if those that are left over
    stand before it and after it."""
    section, count = chain.sections[k], len(chain.sections[k].terms)
    if section.count < 2 or not 0 < k < len(chain.sections) - 1:
        return
    before, after = chain.sections[k - 1], chain.sections[k + 1]
    if before.count > 1 or after.count > 1:
        return
    for r in range(1, count):
        tail, head = section.terms[r:], section.terms[:r]
        if len(before.terms) < len(tail) or len(after.terms) < len(head):
            continue
        if (
            any(chain.columns[c].table is not None for term in section.terms for c in term if c >= 0)
            or [_at(chain, term, 0) for term in before.terms[-len(tail) :]] != [_at(chain, term, -1) for term in tail]
            or [_at(chain, term, 0) for term in after.terms[: len(head)]]
            != [_at(chain, term, section.count) for term in head]
        ):
            continue
        chain.sections[k - 1] = Section(before.terms[: -len(tail)], 1)
        chain.sections[k] = Section([*(_moved(chain, term, -1) for term in tail), *head], section.count + 1)
        chain.sections[k + 1] = Section(after.terms[len(head) :], 1)
        return


def _at(chain: Chain, term: tuple[int, int], t: int) -> list[tuple[str, int, int]]:
    """What a term reads in its t-th period."""
    tracks = [chain.columns[c] for c in term if c >= 0]
    return [(track.space, track.group, track.first + t * track.step) for track in tracks]


def _moved(chain: Chain, term: tuple[int, int], by: int) -> tuple[int, int]:
    """A term that begins so many periods later."""
    found = []
    for c in term:
        if c >= 0:
            track = chain.columns[c]
            chain.columns.append(replace(track, first=track.first + by * track.step))
            c = len(chain.columns) - 1
        found.append(c)
    return found[0], found[1]


def _fits(chain: Chain, k: int, sequence: Sequence, first: int) -> bool:
    """Whether a chain's section has a term of each iteration, and all else that is needed is there before the loop."""
    section, last = chain.sections[k], first + sequence.groups
    units = {step.group: step.units for step in sequence.bodies}
    if section.count != sequence.members:
        return False
    for term in section.terms:
        tracks = [chain.columns[c] for c in term if c >= 0]
        own = [first <= track.group < last for track in tracks]
        if not any(own) or any(track.group >= last for track in tracks):
            return False
        if any(
            mine and (track.table is not None or not 0 <= track.first < track.step == units[track.group])
            for mine, track in zip(own, tracks)
        ):
            return False
    earlier = {c for s in chain.sections[:k] for term in s.terms for c in term if c >= 0}
    return all(chain.columns[c].group < first for c in earlier)


def _move(chain: Chain, k: int, sequence: Sequence, first: int, group: int) -> None:
    """Move a chain's sections up to the k-th into a sequence."""
    index = {}

    def column(c: int) -> int:
        if c >= 0 and c not in index:
            index[c] = len(sequence.columns)
            sequence.columns.append(chain.columns[c])
        return index[c] if c >= 0 else -1

    steps = {(step.group, step.unit): i for i, step in enumerate(sequence.bodies)}

    def argument(c: int) -> tuple[str, int]:
        step = steps.get((chain.columns[c].group, chain.columns[c].first))
        return ("value", step) if step is not None else ("column", column(c))

    before = [Section([(column(x), column(y)) for x, y in s.terms], s.count) for s in chain.sections[:k]]
    terms = [(argument(x), argument(y) if y >= 0 else None) for x, y in chain.sections[k].terms]
    sequence.accumulators.append(Accumulator(chain.bodies[0].op, group, before, terms))
    rest, kept = chain.sections[k + 1 :], list(chain.columns)
    used = sorted({c for s in rest for term in s.terms for c in term if c >= 0})
    chain.columns[:] = [kept[c] for c in used]
    place = {c: i for i, c in enumerate(used)}
    chain.sections = [Section([(place[x], place.get(y, -1)) for x, y in s.terms], s.count) for s in rest]
    chain.begins = True
