"""The kernels of a segment, and its loops in order.

How: where instructions repeat themselves they are a loop in order, of single operations (``sequences``) or, where
iterations are long, of loops (``rounds``); what is one long list may be a chain.  All other groups are loops over their
members (``kernels``).

Where to start reading: ``kernels_of``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from valuegrad.primitives.opcodes import OPCODE
from valuegrad.roll.accumulators import accumulate
from valuegrad.roll.groups import LISTS, SHORT, Groups, Run
from valuegrad.roll.kernels import MOST_BODIES, Kernel, body_of, joined_kernels
from valuegrad.roll.rounds import Rounds, rounds_of
from valuegrad.roll.sequences import Chain, Sequence, Track, chain_of, mark_last, sequence_of

__all__ = ["Loop", "kernels_of"]

Loop = Kernel | Sequence | Chain | Rounds

FEW = 4  # pieces of a list that may lie in several places
LONG = 512  # operations of an iteration that are too many to be written one after the other, if most of it is lists,
LONGEST = 4096  # whatever it is: else what units read of each other stays in registers there


def kernels_of(groups: Groups, most: int = MOST_BODIES, *, rounds: bool = True) -> list[Loop]:
    """The kernels of a segment, in an order in which they can run.

    Args:
        groups: its groups.
        most: bodies in a kernel.
        rounds: long iterations are loops.

    Raises:
        NotImplementedError: there is an operation that loops do not know.
        Irregular: long iterations are no loops.
    """
    bodies: list[Any] = []
    columns: list[Any] = []
    ordered: dict[int, Sequence | Chain | Rounds] = {}  # by their first group
    runs = {run.group: run for run in groups.runs}
    while len(bodies) < groups.segment.groups:
        g = len(bodies)
        alone = _in_order(groups, runs[g], rounds=rounds) if g in runs else _chain_of(groups, g)
        if alone is None:
            body, own = body_of(groups, g, groups.members[g])
            bodies.append(body)
            columns.append(own)
            continue
        ordered[g] = alone
        bodies += [None] * alone.groups
        reads = alone.reads if isinstance(alone, Rounds) else alone.columns
        columns += [reads, *[[] for _ in range(1, alone.groups)]]
    accumulate(ordered, columns)
    found, wanted = joined_kernels(
        groups.sizes, bodies, columns, most, alone={g: one.groups for g, one in ordered.items()}
    )
    kernels: list[Loop] = [ordered[one] if isinstance(one, int) else one for one in found]
    for one in ordered.values():
        if isinstance(one, Rounds):
            one.finish(wanted, most)
        else:
            for step in one.bodies:
                step.stored = step.group in wanted
    mark_last(kernels)
    for one in ordered.values():
        if isinstance(one, Rounds):
            continue
        for step in one.bodies:
            if step.stored:
                step.out = len(one.columns)
                one.columns.append(Track("group", step.group, step.unit, step.units))
        for total in one.accumulators if isinstance(one, Sequence) else ():
            total.out = len(one.columns)
            one.columns.append(Track("group", total.group, 0))
    return _in_holders(kernels, groups) if groups.has_levels else kernels


def _in_holders(kernels: list[Loop], groups: Groups) -> list[Loop]:
    """The kernels and chains, whose results lie in a holder where somebody reads it."""
    read = {column.group for kernel in kernels for column in kernel.columns if column.of}

    def moved(column: Any) -> Any:
        if column.group < 0 or column.of or groups.home[column.group] not in read:
            return column
        home, at = int(groups.home[column.group]), groups.at[groups.members[column.group]]
        if isinstance(column, Track):  # of a chain, which is one number
            return replace(column, group=home, first=int(at[0]))
        return replace(column, group=home, at=at[column.at])

    for kernel in kernels:
        if not isinstance(kernel, Rounds):  # by levels there are none
            kernel.columns = [moved(column) for column in kernel.columns]
    return kernels


def _in_order(groups: Groups, run: Run, *, rounds: bool) -> Sequence | Rounds:
    """A run as a loop in order."""
    has_units = rounds and run.groups < run.period
    is_long = run.period > LONG and (run.period > LONGEST or _terms(groups, run) > run.period)
    return rounds_of(groups, run) if has_units and is_long else sequence_of(groups, run)


def _terms(groups: Groups, run: Run) -> int:
    """How many terms the lists of an iteration have."""
    iteration = np.arange(run.first, run.first + run.period)
    count, ops = groups.segment.count(iteration), groups.segment.ops[iteration]
    terms = np.where(ops == OPCODE["dot"], count // 2, count)
    return int(terms[np.isin(ops, list(LISTS)) & (terms > SHORT)].sum())


def _chain_of(groups: Groups, g: int) -> Chain | None:
    """A group that is a single long list, if its terms repeat themselves; not if it is a few pieces, as a sum that
    begins with 0.0 is, unless a sequence leaves them, which could add them up itself."""
    first = int(groups.members[g][0])
    op = int(groups.segment.ops[first])
    chain = chain_of(groups, first, op, g) if op in LISTS and groups.sizes[g] == 1 else None
    if chain is None:
        return None
    pieces = sum(len(section.terms) for section in chain.sections)
    straight = all(len(section.terms) == 1 or section.count == 1 for section in chain.sections)
    runs = [(run.group, run.group + run.groups) for run in groups.runs]
    of_sequence = any(first <= column.group < end for column in chain.columns for first, end in runs)
    is_simple = pieces <= FEW and straight and all(column.table is None for column in chain.columns)
    return None if is_simple and not of_sequence else chain
