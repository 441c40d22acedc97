"""Sums over the lanes come right after what they are made of; long sums in order that need each other not, together."""

from __future__ import annotations

import numpy as np
import pytest
from engines import ONCE

import valuegrad as vg
from valuegrad.lower import emit
from valuegrad.primitives.opcodes import OPCODE
from valuegrad.roll.groups import REDUCE
from valuegrad.roll.kernels import Body, Column, Feed, Kernel, Piece
from valuegrad.roll.order import chains_together, go_together, summed_early
from valuegrad.roll.sequences import Chain, Section, Step, Track

pytest.importorskip("valuegrad._replay")
pytest.importorskip("valuegrad._passes")
pytest.importorskip("llvmlite")
pytestmark = ONCE


MEMBERS = np.arange(12)
NEG = OPCODE["neg"]
TERMS, STRIDES = np.full(12, 1), np.zeros((12, 4), dtype=int)  # of lists of one term each


def makes(group: int, *read: int) -> Kernel:
    args = [("column", c) for c in range(len(read))]
    columns = [Column("group", g, MEMBERS) for g in (*read, group)]
    return Kernel(len(MEMBERS), [Body(NEG, 0.0, group, args, out=len(read))], columns)


def sums(group: int) -> Kernel:
    columns = [Column("group", group, MEMBERS), Column("sum", -1, MEMBERS)]
    return Kernel(len(MEMBERS), [Body(REDUCE, 0.0, -2, [("column", 0)], out=1)], columns)


def test_a_sum_comes_after_the_last_kernel_that_it_reads_from() -> None:
    a, b, c, of_a, of_b = makes(0), makes(1, 0), makes(2, 1), sums(0), sums(1)
    assert [id(k) for k in summed_early([a, b, c, of_b, of_a])] == [id(k) for k in (a, of_a, b, of_b, c)]


def test_a_sum_that_reads_no_group_comes_first_and_the_others_stay_in_order() -> None:
    a, b, alone = makes(1), makes(0), sums(-1)
    alone.columns[0] = Column("uniform", -1, MEMBERS)
    assert [id(k) for k in summed_early([a, b, alone])] == [id(k) for k in (alone, a, b)]


def test_a_sum_beside_what_others_read_stays() -> None:
    a, both, b = makes(0), makes(1, 0), makes(2, 0)
    both.bodies.append(Body(REDUCE, 0.0, -2, [("value", 0)], out=2))
    both.columns.append(Column("sum", -1, MEMBERS))
    assert [id(k) for k in summed_early([a, b, both])] == [id(k) for k in (a, b, both)]


def test_a_sum_comes_after_the_chain_that_goes_on_with_its_group() -> None:
    track = Track("group", 0, 0)
    first, chain, of_both = Chain([], [track], []), Chain([], [track], [], begins=True), sums(0)
    assert [id(k) for k in summed_early([first, chain, of_both])] == [id(k) for k in (first, chain, of_both)]


def test_a_sum_whose_terms_are_left_for_others_stays_before_these() -> None:
    feed = Feed([Body(NEG, 0.0, 1, [("term", 0)], out=1)], [1, 2], 0, -1)
    pieces = [Piece(-1, -1, STRIDES, TERMS, feed), Piece(0, -1, STRIDES, TERMS), Piece(1, -1, STRIDES, TERMS)]
    columns = [Column("group", 0, MEMBERS), Column("group", 1, MEMBERS), Column("sum", -1, MEMBERS)]
    listed = Body(OPCODE["sum"], 0.0, 3, [], [pieces], np.zeros(len(MEMBERS), dtype=int))
    leaves = Kernel(len(MEMBERS), [listed, Body(REDUCE, 0.0, -2, [("value", 0)], out=2)], columns)
    first, last = makes(0), sums(1)
    assert [id(k) for k in summed_early([first, leaves, last])] == [id(k) for k in (first, leaves, last)]


def adds(group: int, *read: int, of: tuple[int, ...] = (), holder: int = -1) -> Chain:
    columns = [Track("group", g, 0, of=of) for g in read] + [Track("group", group if holder < 0 else holder, 0)]
    return Chain([Step(OPCODE["sum"], 0.0, group, stored=True, out=len(read))], columns, [Section([(0, -1)], 30)])


def test_long_sums_that_do_not_need_each_other_follow_each_other() -> None:
    a, one, of_one, other, last = makes(0), adds(1, 0), makes(2, 1), adds(3, 0), makes(4, 2, 3)
    order = [a, one, other, of_one, last]
    assert [id(k) for k in chains_together([a, one, of_one, other, last])] == [id(k) for k in order]


def test_a_long_sum_that_needs_another_one_comes_after_what_that_needs() -> None:
    a, one, of_one, other, alone = makes(0), adds(1, 0), makes(2, 1), adds(3, 2), makes(4, 0)
    order = [a, alone, one, of_one, other]
    assert [id(k) for k in chains_together([a, one, of_one, other, alone])] == [id(k) for k in order]


def test_a_long_sum_of_some_groups_of_a_holder_waits_for_those_alone() -> None:
    a, one, other, third = makes(0), adds(1, 0, holder=9), adds(2, 9, of=(5,)), adds(3, 9, of=(1, 5))
    order = chains_together([a, one, other, third])
    assert [id(k) for k in order] == [id(k) for k in (a, one, other, third)]
    assert go_together([one], other)
    assert not go_together([one, other], third)


def test_what_goes_on_with_a_sequence_stays_where_it_is() -> None:
    first, second = adds(1, 0), adds(2, 0)
    first.begins = True
    kernels = [makes(0), first, makes(3, 1), second]
    assert [id(k) for k in chains_together(kernels)] == [id(k) for k in kernels]


def paths(parameters, *draws):
    """Several paths of a price whose steps depend on all parameters."""
    a, b, c = parameters
    total = 0.0
    for first in range(0, len(draws), 8):
        x = 1.0
        for z in draws[first : first + 8]:
            x = x * vg.exp(a * z - b) + c * vg.sin(x)
        total = total + x * x
    return total


@pytest.mark.parametrize("options", [{}, {"strict": True}, {"dtype": "float32"}])
@pytest.mark.parametrize("lanes", [0, 3, 40])
def test_long_sums_side_by_side_are_the_same_bits(lanes, options, monkeypatch):
    counts = []
    write = emit.chains

    def noted(e, name, kernels):
        counts.append(len(kernels))
        write(e, name, kernels)

    monkeypatch.setattr(emit, "chains", noted)
    random = np.random.default_rng(lanes)
    draws = random.normal(size=(80, lanes) if lanes else 80).tolist()
    draws = [np.array(z) for z in draws] if lanes else draws
    parameters = [np.full(lanes, x) for x in (0.1, 0.2, 0.3)] if lanes else [0.1, 0.2, 0.3]
    found = []
    for wish in ("off", "on"):
        monkeypatch.setenv("VALUEGRAD_ROLL", wish)
        program = vg.compile(paths, cache=False, **options)
        value, gradients = program.value_and_grad(parameters, *draws)
        found.append(np.concatenate([np.ravel(value), *map(np.ravel, gradients[0])]))
    np.testing.assert_array_equal(*found)
    assert max(counts) > 1
