"""Who reads what in a segment: one pass in compiled code gives what a loop over all operands gives."""

from collections import defaultdict

import numpy as np
import pytest
from engines import ONCE
from hypothesis import given
from hypothesis import strategies as st

replay = pytest.importorskip("valuegrad._replay")

pytestmark = ONCE


@st.composite
def segments(draw):
    """Starts, operands, groups, how many there are, and which instructions are lists."""
    arities = draw(st.lists(st.integers(0, 4), max_size=12))
    starts = np.cumsum([0, *arities]).astype(np.int32)
    operands = [draw(st.integers(-3, i - 1)) for i, arity in enumerate(arities) for _ in range(arity)]
    group = [draw(st.integers(0, 3)) for _ in arities]
    lists = [draw(st.booleans()) for _ in arities]
    return starts, np.array(operands, np.int32), np.array(group, np.int32), 4, np.array(lists, np.uint8)


@given(segments())
def test_places_of_use_are_those_of_a_loop_over_all_operands(segment):
    starts, operands, group, groups, lists = segment
    uses = defaultdict(list)
    for i in range(len(group)):
        for k in range(starts[i], starts[i + 1]):
            if operands[k] >= 0:
                uses[group[operands[k]]].append((group[i], k - starts[i], lists[i]))
    times, user, slot, differs, by_list = replay.places_of_use(*segment)
    for g in range(groups):
        mine = uses[g]
        assert times[g] == len(mine)
        assert bool(differs[g]) == (len({use[:2] for use in mine}) > 1)
        assert bool(by_list[g]) == any(use[2] for use in mine)
        assert (user[g], slot[g]) == (mine[0][:2] if mine else (-1, 0))


@given(segments(), st.lists(st.booleans(), min_size=4, max_size=4))
def test_uses_of_some_groups_are_those_of_a_loop_over_all_operands(segment, wanted):
    starts, operands, group, *_ = segment
    expected = [
        (i, k)
        for i in range(len(group))
        for k in range(starts[i], starts[i + 1])
        if operands[k] >= 0 and wanted[group[operands[k]]]
    ]
    owner, at = replay.uses_of(starts, operands, group, np.array(wanted, np.uint8))
    assert list(zip(owner.tolist(), at.tolist())) == expected


@pytest.mark.parametrize(
    ("starts", "operands", "group"),
    [([0, 1], [1], [0]), ([0, 1], [-1], [2]), ([0, 2], [-1], [0]), ([0, 2, 1], [-1], [0, 0]), ([1, 1], [-1], [0])],
)
def test_arrays_that_reach_beyond_each_other_are_refused(starts, operands, group):
    arrays = [np.array(x, np.int32) for x in (starts, operands, group)]
    with pytest.raises(ValueError, match="there isn't"):
        replay.places_of_use(*arrays, 2, np.zeros(len(group), np.uint8))
    with pytest.raises(ValueError, match="there isn't"):
        replay.uses_of(*arrays, np.ones(2, np.uint8))
