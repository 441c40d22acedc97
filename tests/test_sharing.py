"""Threads that share a block of lanes: to the same bits, and none touches what another one writes before they meet."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from engines import ONCE
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from loopy import Loopy, Step, steps

import valuegrad as vg
from valuegrad import gpt
from valuegrad.lower import rolled
from valuegrad.lower.sharing import Share, Sharing
from valuegrad.primitives.opcodes import OPCODE
from valuegrad.roll.kernels import Body, Column, Kernel
from valuegrad.roll.nests import nests_of

pytest.importorskip("valuegrad._replay")
pytest.importorskip("valuegrad._passes")
pytest.importorskip("llvmlite")
pytestmark = ONCE

LINE = 64  # bytes of a vector


@pytest.fixture(autouse=True)
def all_are_rolled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VALUEGRAD_ROLL", "on")
    monkeypatch.setenv("VALUEGRAD_CACHE", "off")


def network(w: Any, x: Any) -> Any:
    """Two layers with a softmax, its loss and the loss' gradient."""
    hidden = [vg.tanh(vg.dot(w[12 * i : 12 * i + 12], x)) for i in range(16)]
    logits = [vg.dot(w[192 + 16 * i : 208 + 16 * i], hidden) for i in range(10)]
    most = vg.maximum(*logits)
    powers = [vg.exp(y - most) for y in logits]
    return vg.log(vg.sum(powers)) - (logits[3] - most)


def gradient(w: Any, x: Any) -> Any:
    loss, slopes = vg.value_and_grad(network)(w, x)
    return [vg.batch_mean(y) for y in (loss, *slopes)]


ARGUMENTS = np.linspace(-1.0, 1.0, 352), [np.linspace(-2.0, 2.0, 7) ** (i % 4) for i in range(12)]


def codes(program: Any) -> list[Any]:
    return [lowered.code for path in program.graph.paths for lowered in path.lowered.values()]


def results(f: Any, threads: int, **options: Any) -> tuple[list[Any], list[int]]:
    """What a function gives, and how many threads shared its block."""
    program = vg.compile(f, vectors="w", threads=threads, **options)
    found = [np.asarray(y) for y in program(*ARGUMENTS)]
    return found, [code.parts for code in codes(program)]


# ---------------------------------------------------------------------------------------------------- to the same bits
@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("threads", [2, 3, 20])
def test_threads_that_share_a_block_get_the_bits_of_one(threads: int, dtype: str, strict: bool) -> None:
    alone, none = results(gradient, 1, dtype=dtype, strict=strict)
    shared, parts = results(gradient, threads, dtype=dtype, strict=strict)
    assert (none, parts) == ([0], [min(threads, 8)])
    assert [x.tobytes() for x in shared] == [x.tobytes() for x in alone]


def test_it_takes_no_helpers_to_run_what_was_made_for_several(monkeypatch: pytest.MonkeyPatch) -> None:
    """A single step of training waits for no thread: often this one does all parts."""
    tokens = ["anna", "otto", "emma", "ida"]

    def losses(threads: int) -> list[float]:
        model = gpt.ModelSettings(n_embd=8, n_head=2, block_size=8)
        trainer = gpt.Trainer(tokens, model, gpt.TrainingSettings(steps=12, batch=4), threads=threads)
        return [report.loss for report in trainer]

    assert losses(2) == losses(1)


def test_loops_in_order_are_one_threads() -> None:
    def f(w: Any, x: Any) -> Any:
        y = x[0]
        for _ in range(40):
            y = vg.sin(y) * w[0] + x[1]
        return [y, *[vg.tanh(y * v) for v in w[:64]]]

    alone, _ = results(f, 1)
    shared, parts = results(f, 2)
    assert parts == [2]
    assert [x.tobytes() for x in shared] == [x.tobytes() for x in alone]


def test_guards_are_one_threads() -> None:
    def f(w: Any, x: Any) -> Any:
        return [vg.exp(y) if y > v else vg.sin(y) for y, v in zip(x, w)]

    alone, _ = results(f, 1, max_paths=500)
    shared, parts = results(f, 2, max_paths=500)
    assert set(parts) == {2}
    assert [x.tobytes() for x in shared] == [x.tobytes() for x in alone]


# ------------------------------------------------------------------------------------------------ where it is worth it
def test_a_short_program_is_not_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rolled, "LONG", 100)
    monkeypatch.delenv("VALUEGRAD_ROLL")
    _, parts = results(gradient, 2)
    assert parts == [0]


def test_a_program_whose_threads_would_wait_for_each_other_is_not_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rolled, "LONG", 100)
    monkeypatch.setattr(rolled, "SHARED", 100)
    monkeypatch.delenv("VALUEGRAD_ROLL")
    _, parts = results(gradient, 2)
    assert parts == [0]


# ---------------------------------------------------------------------------------------------------------- meetings
def space(name: str, group: int) -> tuple[str, int, int]:
    return ("%uniform", 8, 0) if name == "uniform" else ("%frame", LINE, 100_000 * LINE * group)


def copies(group: int, source: Any, count: int = 4096) -> Kernel:
    """A kernel that computes a group, each member from one of the group before it."""
    columns = [Column("group", group - 1, np.asarray(source)), Column("group", group, np.arange(count))]
    return Kernel(count, [Body(OPCODE["neg"], 0.0, group, [("column", 0)], out=1)], columns)


def meetings(*kernels: Kernel) -> list[bool]:
    sharing = Sharing(2, space, 8)
    return [share.meets for kernel in kernels for nest in nests_of(kernel) for share in sharing.shares(nest)]


def test_loops_that_are_cut_alike_follow_each_other_without_a_meeting() -> None:
    order = np.arange(4096)
    assert meetings(copies(1, order), copies(2, order), copies(3, order)) == [False, False, False]


def test_threads_meet_before_one_reads_what_the_other_wrote() -> None:
    order = np.arange(4096)
    assert meetings(copies(1, order), copies(2, order[::-1]), copies(3, order)) == [False, True, False]


def test_threads_meet_before_one_writes_what_the_other_read() -> None:
    order = np.arange(4096)
    again = copies(1, order)  # group 0 may be read backwards, not while it is written
    backwards = copies(1, order[::-1])
    backwards.columns[1] = Column("group", 5, order)
    again.columns = [Column("group", 7, order), Column("group", 0, order)]
    assert meetings(backwards, again) == [False, True]


def places(share: Share, part: int) -> Iterator[tuple[int, tuple[str, int], bool]]:
    """Each number that a part touches, one after the other: the column, where it lies, whether it is written."""
    nest = share.nest
    pieces = [xy for table in nest.pieces.values() for xy in table]
    fed = [piece for body in nest.kernel.bodies for v in body.variants for piece in v if piece.feed is not None]
    written = {body.out for body in nest.kernel.bodies}
    for piece in fed:
        assert piece.feed is not None
        written |= {pieces[piece.feed.pieces[body.out]][0] for body in piece.feed.bodies if body.out >= 0}
    lists = {c: (p, side) for p, xy in enumerate(pieces) for side, c in enumerate(xy) if c >= 0}
    others = {c for body in nest.kernel.bodies for v in body.variants for one in v for c in (one.x, one.y)} - set(lists)
    for b in range(share.begins[part], share.begins[part + 1]):
        for index in itertools.product(*[range(e) for e in nest.extents[b]]):
            for c, column in enumerate(nest.kernel.columns):
                at = nest.bases[b, c] + sum(i * s for i, s in zip(index, nest.strides[b, :, c]))
                count = nest.lengths[b, lists[c][0]] if c in lists else 1
                for k in range(count if c not in others else 0):
                    p, side = lists.get(c, (0, 0))
                    step, bend = (nest.inner[b, p, side], nest.inner[b, p, 2 + side]) if c in lists else (0, 0)
                    far = int(at + k * step + k * (k - 1) // 2 * bend)
                    yield c, (f"{column.space} {column.group}", far), c in written


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(plan=steps(), gradient=st.booleans(), mean=st.booleans())
def test_between_meetings_nobody_touches_what_another_one_writes(
    plan: list[Step], gradient: bool, mean: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[Share | None] = []
    shares, whole = Sharing.shares, Sharing.whole
    with monkeypatch.context() as patch:
        patch.setattr(Sharing, "shares", lambda self, nest: found.extend(x := shares(self, nest)) or x)
        patch.setattr(Sharing, "whole", lambda self, cycles: found.append(None) or whole(self, cycles))
        program = vg.compile(Loopy(plan, gradient, mean), vectors="w", max_paths=20, threads=2)
        try:
            program(np.linspace(-1.0, 1.0, 5), list(np.linspace(-1.0, 1.0, 20).reshape(4, 5)), np.arange(5) % 3)
        except vg.PathsError:  # sums over the lanes of some paths
            return
    writers: dict[tuple[str, int], set[int]] = {}
    readers: dict[tuple[str, int], set[int]] = {}
    is_known = True
    for share in found:
        if share is None:  # one thread's: they meet before it, and after
            is_known = False
            continue
        assert is_known or share.meets
        is_known = True
        if share.meets:
            writers.clear()
            readers.clear()
        for part in range(2):
            for _, place, is_written in places(share, part):
                assert not writers.get(place, set()) - {part}
                assert not (is_written and readers.get(place, set()) - {part})
                (writers if is_written else readers).setdefault(place, set()).add(part)
