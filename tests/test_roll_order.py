"""Sums over the lanes come right after what they are made of."""

from __future__ import annotations

import numpy as np
import pytest
from engines import ONCE

from valuegrad.primitives.opcodes import OPCODE
from valuegrad.roll.groups import REDUCE
from valuegrad.roll.kernels import Body, Column, Feed, Kernel, Piece
from valuegrad.roll.order import summed_early
from valuegrad.roll.sequences import Chain, Track

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
    feed = Feed([Body(NEG, 0.0, 1, [("term", 1)], out=2)], [1, 2], 0, -1)
    pieces = [Piece(-1, -1, STRIDES, TERMS, feed), Piece(0, -1, STRIDES, TERMS), Piece(1, -1, STRIDES, TERMS)]
    columns = [Column("group", 0, MEMBERS), Column("group", 1, MEMBERS), Column("sum", -1, MEMBERS)]
    listed = Body(OPCODE["sum"], 0.0, 3, [], [pieces], np.zeros(len(MEMBERS), dtype=int))
    leaves = Kernel(len(MEMBERS), [listed, Body(REDUCE, 0.0, -2, [("value", 0)], out=2)], columns)
    first, last = makes(0), sums(1)
    assert [id(k) for k in summed_early([first, leaves, last])] == [id(k) for k in (first, leaves, last)]
