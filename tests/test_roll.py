"""Rolled programs: alike instructions share a loop, and no bit differs from the program that is not rolled."""

from __future__ import annotations

import math
import os
import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from engines import ONCE
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from loopy import ENTRIES, Loopy, Step, steps
from plain_programs import ELEMENTARY, EXACT, LISTS, columns_for, random_graph, sums_of

import valuegrad as vg
from valuegrad import gpt
from valuegrad.graph import Nodes
from valuegrad.lower import loops, packing
from valuegrad.lower.lowering import lower
from valuegrad.primitives.opcodes import OPCODE
from valuegrad.roll.found import kernels_of
from valuegrad.roll.groups import Groups, Segment
from valuegrad.roll.kernels import WHOLE

pytest.importorskip("valuegrad._replay")
pytest.importorskip("valuegrad._passes")
pytest.importorskip("llvmlite")
pytestmark = [
    ONCE,
    pytest.mark.filterwarnings("ignore::valuegrad.PathsWarning"),
    pytest.mark.usefixtures("all_are_rolled"),
]

DTYPES = ["float64", "float32"]
BATCHES = (1, 2, 7, 8, 9, 70)
EDGES = [0.0, -0.0, 1.0, -1.0, 0.5, 2.0, -3.0, math.inf, -math.inf, math.nan, 1e-310, 1e300]
ROWS = np.linspace(-2.0, 2.0, 9)


@pytest.fixture
def roll(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    return lambda wish: monkeypatch.setenv("VALUEGRAD_ROLL", wish)


def codes(program: Any) -> list[Any]:
    return [lowered.code for path in program.graph.paths for lowered in path.lowered.values()]


def backends(program: Any) -> set[str]:
    return {code.backend for code in codes(program)}


def same(a: Any, b: Any) -> bool:
    """Equal to the last bit, the sign of zero included; every nan is the same."""
    a, b = np.asarray(a), np.asarray(b)
    if (a.dtype, a.shape) != (b.dtype, b.shape):
        return False
    return bool(np.all((np.isnan(a) & np.isnan(b)) | ((a == b) & (np.signbit(a) == np.signbit(b)))))


def agree(f: Callable[..., Any], *args: Any, rolled: bool = True, **options: Any) -> Any:
    """The results of a function, rolled, if they are those of the function not rolled."""
    return agree_on(f, [args], rolled, **options)[0]


def agree_on(f: Callable[..., Any], many: Sequence[tuple[Any, ...]], rolled: bool = True, **options: Any) -> list[Any]:
    """``agree`` of several arguments, for which the same programs run."""
    found: list[list[Any]] = []
    for wish in ("off", "on"):
        os.environ["VALUEGRAD_ROLL"] = wish  # the fixture puts back what it was
        program = vg.compile(f, **options)
        found.append([program(*args) for args in many])
        assert (backends(program) == {"rolled"}) == (wish == "on" and rolled), program.graph.loops
    for pair in zip(*found):
        plain, quick = ([np.asarray(x) for x in (y if isinstance(y, (list, tuple)) else [y])] for y in pair)
        assert len(plain) == len(quick)
        for i, (a, b) in enumerate(zip(plain, quick)):
            assert same(a, b), (i, a, b)
    return found[1]


def segment_of(f: Callable[..., Any], *args: Any, **options: Any) -> Segment:
    """What the lanes of a function compute."""
    program = vg.compile(f, **options)
    program(*args)
    (code,) = codes(program)
    return Segment(*code.segment(1))


def groups_of(segment: Segment, op: str) -> list[int]:
    return segment.group[segment.ops == OPCODE[op]].tolist()


# ------------------------------------------------------------------------------------------------------- groups
def test_alike_instructions_share_a_group() -> None:
    segment = segment_of(lambda x: [vg.tanh(y * 2.0) for y in x], [ROWS] * 9)
    assert len(set(groups_of(segment, "tanh"))) == 1


def test_instructions_with_another_history_do_not() -> None:
    segment = segment_of(lambda x: [vg.tanh(x[0] * 2.0), vg.tanh(vg.exp(x[0]))], [ROWS])
    assert len(set(groups_of(segment, "tanh"))) == 2


def test_lists_of_other_lengths_share_a_group() -> None:
    segment = segment_of(lambda x: [vg.sum(x[: i + 3]) for i in range(6)], [ROWS] * 9)
    assert set(np.diff(segment.starts)[segment.ops == OPCODE["sum"]].tolist()) >= {3, 4, 5, 6, 7, 8}
    assert len(set(groups_of(segment, "sum"))) == 1


def test_factors_in_any_order_share_a_group() -> None:
    segment = segment_of(lambda w, x: [w[0] * x[0], x[1] * w[1]], np.ones(2), [ROWS] * 2, vectors="w")
    assert segment.groups == 2  # products, and where they are stored


def test_where_a_constant_was_met_first_keeps_no_groups_apart() -> None:
    segment = segment_of(lambda x: [sum([vg.exp(y) * k for k in range(2, 12)]) for y in x], [ROWS] * 5)
    assert len(set(groups_of(segment, "sum"))) == 1


def test_static_numbers_keep_groups_apart() -> None:
    segment = segment_of(lambda x: [round(y, k) for k, y in enumerate(x)], [ROWS] * 3)
    assert len(set(segment.group.tolist())) >= 3


def test_what_waits_for_each_other_is_a_run_of_iterations() -> None:
    def chain(x: Any) -> Any:
        for _ in range(30):
            x = vg.sin(x)
        return x

    segment = segment_of(chain, ROWS)
    assert [run[1:3] for run in segment.runs] == [(1, 30)]
    assert len(set(groups_of(segment, "sin"))) == 1


def test_short_chains_side_by_side_are_members_not_runs() -> None:
    def chains(x: list[Any]) -> list[Any]:
        for _ in range(10):
            x = [vg.sin(y) for y in x]
        return x

    def one_after_the_other(x: list[Any]) -> list[Any]:
        return [chains([y])[0] for y in x]

    segment = segment_of(one_after_the_other, [ROWS + k for k in range(40)])
    assert segment.runs == []
    assert len(set(groups_of(segment, "sin"))) == 10


def test_what_only_waits_for_where_it_was_cut_is_no_run() -> None:
    """Products and where they go, in turns, beginning with where one goes: none waits for another product."""
    segment = segment_of(lambda x: [vg.batch_sum(x[0] * k) for k in range(3000)], [ROWS])
    assert segment.runs == []


def test_where_constants_lie_changes_no_order() -> None:
    """0, 1 and 2 are used before the others, and lie elsewhere; a loop over all of them is in order all the same."""

    def f(x: Any) -> Any:
        first = [x * 2.0, x * 1.0 + 0.0]
        return [*first, *[vg.where(x == float(k), x + first[0], first[1]) for k in range(27)]]

    segment = segment_of(f, ROWS)
    groups = Groups(replace(segment, constants=np.ones(segment.uniforms, dtype=bool)))
    (equal,) = set(groups_of(segment, "eq"))
    assert groups.members[equal].tolist() == sorted(groups.members[equal].tolist())


def test_cheap_operations_stand_once_for_each_reader() -> None:
    """(1 or 0) - p in a softmax's strict adjoint is read by a product for each pair of numbers."""
    f = vg.value_and_grad(lambda x: vg.dot(vg.softmax(x), [0.3 * k + 0.2 for k in range(9)]))
    program = vg.compile(f, strict=True)
    program([ROWS * k for k in range(9)])
    segment = Segment(*codes(program)[0].segment(1))
    groups = Groups(segment)
    assert groups.copied
    for g, (user, slot) in groups.copied.items():
        s = groups.segment
        assert s.operands[s.starts[groups.members[user]] + slot].tolist() == groups.members[g].tolist()
        assert len(groups.members[g]) == 81


def test_a_chain_without_a_pattern_has_no_two_members() -> None:
    def chain(x: Any) -> Any:
        for name in random.Random(1).choices(["sin", "cos", "tanh", "exp"], k=30):
            x = getattr(vg, name)(x)
        return x

    segment = segment_of(chain, ROWS)
    assert segment.groups == len(segment.ops)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps(), st.booleans())
def test_no_member_depends_on_another_one(plan: list[Step], gradient: bool) -> None:
    """A group depends on groups of smaller numbers alone, so they can run one after the other."""
    program = vg.compile(Loopy(plan, gradient, False), vectors="w", max_paths=1)
    program(np.linspace(-1.0, 1.0, 5), [0.5, -0.25, 2.0, 1.0], 3)
    for code in codes(program):
        for k in range(4):
            segment = Segment(*code.segment(k))
            owner = np.repeat(np.arange(len(segment.ops)), np.diff(segment.starts))
            computed = segment.operands >= 0
            before, after = segment.group[segment.operands[computed]], segment.group[owner[computed]]
            run = np.full(segment.groups, -1)  # the groups of a run depend on each other's earlier iterations
            for i, (_, period, _, first) in enumerate(segment.runs):
                run[first : first + period] = i
            assert np.all((before < after) | ((run[before] >= 0) & (run[before] == run[after])))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps(), st.booleans())
def test_every_instruction_has_a_place_of_its_own(plan: list[Step], gradient: bool) -> None:
    program = vg.compile(Loopy(plan, gradient, False), vectors="w", max_paths=1)
    program(np.linspace(-1.0, 1.0, 5), [0.5, -0.25, 2.0, 1.0], 3)
    for code in codes(program):
        segment = Segment(*code.segment(1))
        groups = Groups(segment)
        assert sum(groups.sizes) == len(segment.ops)
        for members in groups.members:
            assert sorted(groups.place[members].tolist()) == list(range(len(members)))


# --------------------------------------------------------------------------------------------- no bit is different
def outcome(f: Callable[..., Any], wish: str, seed: int, **options: Any) -> list[Any]:
    """What a function of ``loopy`` gives for batches of all sizes, on one thread and, from seven lanes on, on three."""
    os.environ["VALUEGRAD_ROLL"] = wish
    rng = np.random.default_rng(seed)
    programs = [vg.compile(f, vectors="w", max_paths=20, threads=threads, **options) for threads in (1, 3)]
    found = []
    for n in BATCHES:
        w, x = rng.normal(size=5 + seed % 3), rng.normal(size=(4 + seed % 4, n))
        if seed % 2:
            x[rng.random(x.shape) < 0.2] = rng.choice(EDGES)
            w[0] = rng.choice(EDGES)
        index = rng.integers(-ENTRIES, ENTRIES, size=n)
        for program in programs if n >= 7 else programs[:1]:
            args = (w, list(x), index) if n > 1 else (w, [float(row[0]) for row in x], int(index[0]))
            try:
                found.append([np.asarray(y) for y in program(*args)])
            except vg.PathsError:  # sums over the lanes of some paths
                found.append([np.array(math.nan)])
    return found


@pytest.mark.parametrize("wish", ["on", "levels"])
@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(plan=steps(), gradient=st.booleans(), mean=st.booleans(), seed=st.integers(0, 99))
def test_random_functions_are_the_same_bits(
    plan: list[Step], gradient: bool, mean: bool, seed: int, dtype: str, strict: bool, wish: str
) -> None:
    f = Loopy(plan, gradient, mean)
    plain, quick = (outcome(f, how, seed, dtype=dtype, strict=strict) for how in ("off", wish))
    for a, b in zip(plain, quick):
        assert len(a) == len(b)
        assert all(same(x, y) for x, y in zip(a, b)), (a, b)


def test_sums_of_one_and_of_two_that_are_alike_are_not_copied_for_their_users() -> None:
    plan = [Step("matvec", 0, 0, "dot", 1), Step("map", 0, 0, "abs", 1), Step("triangle", 1, 0, "maximum", 1)]
    plan += [Step("map", 0, 0, "abs", 1), Step("map", 0, 0, "abs", 1), Step("guard", 0, 4, "guard", 1)]
    plain, quick = (outcome(Loopy(plan, True, False), wish, 0, dtype="float32") for wish in ("off", "on"))
    assert all(same(x, y) for a, b in zip(plain, quick) for x, y in zip(a, b))


@pytest.mark.parametrize(("wish", "first"), [*[("on", k) for k in range(0, 120, 30)], ("levels", 120), ("levels", 150)])
def test_random_graphs_of_machine_operations_are_the_same_bits(
    wish: str, first: int, roll: Callable[[str], None]
) -> None:
    """Guards, inputs of both kinds, sums over the lanes, every operation; nothing in them is like a program."""
    rolled = 0
    for seed in range(first, first + 30):
        rng = random.Random(seed)
        uniform = [rng.randint(0, 1) for _ in range(4)]
        graph = random_graph(rng, 4, rng.randint(3, 40), [*EXACT, *ELEMENTARY, "gather", "dot", *LISTS[:-1]])
        graph = sums_of(graph) if rng.random() < 0.7 else graph
        dtype, strict = rng.choice(DTYPES), rng.random() < 0.5
        found: list[list[Any]] = []
        for how in ("off", wish):
            roll(how)
            lowered = lower(graph, bytes(uniform), (), dtype, strict)
            rolled += lowered.code.backend == "rolled"
            results: list[Any] = []
            for n in BATCHES:
                with np.errstate(all="ignore"):
                    columns = [np.array(x, dtype=dtype) for x in columns_for(random.Random(n), uniform, n)]
                own = np.array([x[0] for x, one in zip(columns, uniform) if one], dtype=dtype)
                lanes = [x for x, one in zip(columns, uniform) if not one]
                for threads in (1, 3):
                    failed, numbers, others = lowered.run(n, own, lanes, threads)
                    results += [np.array(-1) if failed is None else failed, numbers, *others]
            found.append(results)
        assert all(same(a, b) for a, b in zip(*found)), (seed, dtype, strict)
    assert rolled > 15


@pytest.mark.parametrize("dtype", DTYPES)
def test_any_number_of_lanes(dtype: str) -> None:
    def f(w: Any, x: Any) -> Any:
        rows = [vg.tanh(vg.dot(w[3 * i : 3 * i + 3], x)) for i in range(11)]
        return [*rows, vg.batch_sum(rows[4]), vg.sum(rows)]

    w = np.linspace(-1, 1, 33)
    batches = [(w, [np.linspace(-3, 3, n) + i for i in range(3)]) for n in (1, 0, 2, 7, 8, 9, 70)]
    agree_on(f, batches, vectors="w", dtype=dtype)


UNARY = [
    *(
        "acos",
        "acosh",
        "asin",
        "asinh",
        "atan",
        "atanh",
        "cbrt",
        "cos",
        "cosh",
        "digamma",
        "erf",
        "erfc",
        "exp",
        "expm1",
    ),
    *("lgamma", "log", "log10", "log1p", "log2", "sin", "sinh", "tan", "tanh"),
]
BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "atan2": vg.atan2,
    "hypot": vg.hypot,
    "power": lambda a, b: abs(a) ** b,
    "floordiv": lambda a, b: a // b,
    "mod": lambda a, b: a % b,
    "fmod": vg.math.fmod,
}
OTHERS: dict[str, Callable[[Any], Any]] = {
    "ceil": vg.ceil,
    "floor": vg.floor,
    "trunc": vg.trunc,
    "round": lambda a: round(a, 1),
    "polygamma": lambda a: vg.polygamma(a, 1),
}
"""All elementary functions of ``opcodes.MACHINE``."""


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", UNARY)
def test_functions_of_one_number(name: str, dtype: str, strict: bool) -> None:
    function = getattr(vg, name)
    x = [np.array([*ROWS, *EDGES]) * s for s in (1.0, 0.3, 5.0)]
    agree(lambda x: [function(y) for y in x], x, dtype=dtype, strict=strict)


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", sorted(BINARY))
def test_functions_of_two_numbers(name: str, dtype: str, strict: bool) -> None:
    x, y = (np.array(pair).ravel() for pair in np.meshgrid([*ROWS[::2], *EDGES], EDGES))
    agree(lambda x, y: [BINARY[name](a, b) for a in x for b in y], [x, x + 1], [y, y * 2], dtype=dtype, strict=strict)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", sorted(OTHERS))
def test_functions_with_a_number_or_none(name: str, dtype: str) -> None:
    agree(lambda x: [OTHERS[name](y) for y in x], [np.array([*ROWS, *EDGES]) * s for s in (1.0, 3.0)], dtype=dtype)


SMALL = [-87.0, -87.5, -103.0, -103.9, -104.1, -707.9, -708.1, -744.0, -745.2, -746.1, -math.inf, math.nan, 1.0]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 13, 16, 17])
@pytest.mark.parametrize("name", ["exp", "log", "atan2"])
def test_functions_of_part_of_a_register(name: str, count: int, dtype: str) -> None:
    functions = {"exp": vg.exp, "log": lambda a: vg.log(abs(a)), "atan2": lambda a: vg.atan2(a, a + 1.0)}
    function, numbers = functions[name], np.resize(SMALL, count)
    agree(lambda w: [function(a) for a in w], numbers, vectors="w", dtype=dtype)
    agree(lambda x: [function(x * k) for k in (1.0, 0.5, 1.01)], numbers, dtype=dtype)


# ----------------------------------------------------------------------------------------------------- structures
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("columns", [3, 4, 5, 7, 8, 11, 16, 27, 64])
def test_rows_of_a_matrix_are_turned_to_the_same_bits(columns: int, dtype: str) -> None:
    """Also backwards, where the adjoint takes them in the other order, and for any number of rows."""
    rng = np.random.default_rng(columns)

    def f(w: Any, x: Any) -> Any:
        rows = [w[i : i + columns] for i in range(0, len(w), columns)]
        out = [vg.dot(row, x) for row in rows]
        return vg.dot(out, out) + vg.sum([vg.maximum(*row) for row in rows])

    def with_gradient(w: Any, x: Any) -> Any:
        value, (by_w, by_x) = vg.value_and_grad(f, argnums=(0, 1))(w, x)
        return [value, *by_w, *by_x]

    for rows in (2, 5, 8, 16, 21):
        agree(with_gradient, rng.normal(size=columns * rows), rng.normal(size=columns), vectors=("w", "x"), dtype=dtype)


def test_triangles() -> None:
    def f(q: Any, v: Any) -> Any:
        weights = [
            vg.softmax([vg.dot(q[2 * i : 2 * i + 2], q[2 * j : 2 * j + 2]) for j in range(i + 1)]) for i in range(9)
        ]
        return [vg.dot(weights[i], v[: i + 1]) for i in range(9)]

    agree(f, [ROWS * i for i in range(18)], [ROWS + i for i in range(9)])
    agree(f, [0.1 * i for i in range(18)], [0.3 * i for i in range(9)])


SIDE = 20


def rows_and_columns_of_a_triangle(x: list[Any], y: list[Any]) -> list[Any]:
    rows = [[vg.exp(x[i] * x[k]) for k in range(i + 1)] for i in range(SIDE)]
    z = [vg.exp(entry) for entry in y]
    by_row = [vg.dot(rows[i], y[: i + 1]) for i in range(SIDE)]
    return [*by_row, *[vg.dot([rows[i][k] for i in range(k, SIDE)], z[k:]) for k in range(SIDE)]]


def test_rows_and_columns_of_a_triangle_are_the_same_bits() -> None:
    x, y = [0.05 * i for i in range(SIDE)], [0.3 * i for i in range(SIDE)]
    agree(rows_and_columns_of_a_triangle, [ROWS * number for number in x], [ROWS * number for number in y])
    agree(rows_and_columns_of_a_triangle, x, y)


def test_steps_that_grow_by_a_constant_are_one_piece() -> None:
    segment = segment_of(rows_and_columns_of_a_triangle, [0.1 * ROWS] * SIDE, [ROWS] * SIDE)
    found = [body for kernel in kernels_of(Groups(segment)) for body in kernel.bodies if body.variants]
    assert [[len(pieces) for pieces in body.variants] for body in found] == [[1], [1]]
    assert sum(bool(body.variants[0][0].strides[:, 2:].any()) for body in found) == 1


@pytest.mark.parametrize(("width", "shares_places"), [(64, True), (37, False)])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_products_whose_terms_share_places_of_the_cache_are_packed_and_the_same_bits(
    dtype: str, width: int, shares_places: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nine terms of whole vectors, 4,096 or 2,368 bytes apart, where eight lines have a place."""
    packed = []

    def pack(*args: Any) -> packing.Packed:
        packed.append(args)
        return packing.pack(*args)

    monkeypatch.setattr(loops, "pack", pack)

    def f(w: list[Any], x: list[Any]) -> list[Any]:
        rows = [[x[p] * w[o] + w[p] for o in range(width)] for p in range(9)]
        columns = list(zip(*rows))
        return [vg.dot(columns[i], columns[j]) for i in range(width // 2) for j in range(width // 2, width)]

    agree(f, [0.1 * ROWS * i for i in range(width)], [ROWS + i for i in range(9)], dtype=dtype)
    assert bool(packed) == shares_places


@pytest.mark.parametrize("index", [[0, 1, 10], [-1, -11, -3], [10, 0, -11]])
def test_entries_from_both_ends(index: list[int]) -> None:
    table = np.linspace(0.0, 1.0, 44)
    found = agree(lambda t, i: [vg.take(t[k::4], i) for k in range(4)], table, np.array(index), vectors="t")
    for k in range(4):
        assert found[k].tolist() == table[k::4][index].tolist()


def test_an_index_out_of_range_is_an_error_as_ever() -> None:
    program = vg.compile(lambda t, i: [vg.take(t[k::4], i) for k in range(4)], vectors="t")
    with pytest.raises(IndexError):
        program(np.zeros(44), np.array([0, 11]))


@pytest.mark.parametrize("n", [1, 13])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("own", [b"\0", b"\1"])
def test_indices_beyond_the_list_and_nan_are_as_ever(
    own: bytes, dtype: str, n: int, roll: Callable[[str], None]
) -> None:
    """The call of a program refuses them, but a graph may have some; the nearest entry is taken, for nan the first.

    Lists of more than 64 entries: shorter ones become choices where they are not rolled.
    """
    nodes = Nodes(inputs=281)  # 280 entries of four tables, and the index
    graph = nodes.graph([nodes.add("gather", [*range(k, 280, 4), 280]) for k in range(4)])
    index = np.array(
        [math.nan, 5.0, -3.0, 70.0, -71.0, 1e9, -1e9, math.inf, -math.inf, 0.0, 1e30, 3.7, -0.5], dtype=dtype
    )
    found = []
    for wish in ("off", "on"):
        roll(wish)
        lowered = lower(graph, own * 280 + b"\0", (), dtype, False)
        table = [np.full(n, float(k), dtype=dtype) for k in range(280)]
        entries = (np.arange(280, dtype=dtype), []) if own == b"\1" else (np.empty(0, dtype=dtype), table)
        for first in range(0, 13, n):
            found.append(lowered.run(n, entries[0], [*entries[1], index[first : first + n]], 1)[2])
    half = len(found) // 2
    assert lowered.code.backend == "rolled"
    assert all(same(a, b) for a, b in zip(found[:half], found[half:])), found


@pytest.mark.parametrize("own", [b"\0", b"\1"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 13, 16])
@pytest.mark.parametrize("length", [2, 8, 9, 16, 17, 32, 33, 48, 64, 65])
def test_every_index_finds_its_entry_in_a_list_of_any_length(length: int, n: int, dtype: str, own: bytes) -> None:
    """Short lists that are the same for all lanes are in registers, one, two or four."""
    count = 3 * length
    nodes = Nodes(inputs=count + 4)  # the entries of three tables, and four indices
    tables = [list(range(k, count, 3)) for k in range(3)]
    graph = nodes.graph([nodes.add("gather", [*table, count + i]) for table in tables for i in range(4)])
    lowered = lower(graph, own * count + b"\0" * 4, (), dtype, False)
    entries = np.arange(1.0, count + 1, dtype=dtype)
    given = (entries, []) if own == b"\1" else (np.empty(0, dtype=dtype), [np.full(n, x, dtype=dtype) for x in entries])
    far = [math.nan, -0.0, -0.5, 0.9, length - 0.5, 1e30, -1e30, math.inf, -math.inf, -length - 0.5, -length + 0.5]
    index = np.array([*far, *range(-length - 1, length + 2)], dtype=dtype)
    index = np.resize(index, -(-len(index) // (4 * n)) * 4 * n).reshape(-1, 4, n)
    for some in index:
        found = lowered.run(n, given[0], [*given[1], *some], 1)[2]
        places = np.array([[_nearest(float(x), length) for x in one] for one in some])
        wanted = [(3.0 * p + k + 1).tolist() for k in range(3) for p in places]
        assert [one.tolist() for one in found] == wanted, (some, found)
    assert lowered.code.backend == "rolled"


def _nearest(index: float, length: int) -> int:
    if math.isnan(index):
        return 0
    place = int(max(-length, min(index, length - 1)))
    return place + length if place < 0 else place


@pytest.mark.parametrize("n", [1, 3, 20])
def test_guards_send_lanes_to_their_own_paths(n: int) -> None:
    def f(x: Any) -> Any:
        return [y * 2.0 if y < 0.5 else vg.exp(-y) for y in x] + [vg.sum(x)]

    rng = np.random.default_rng(3)
    x = [rng.normal(size=n) for _ in range(3)]
    agree(f, x, max_paths=20)


def test_each_path_is_recorded_once() -> None:
    program = vg.compile(lambda x: [y * 2.0 if y < 0.5 else -y for y in x])
    rng = np.random.default_rng(0)
    program([rng.normal(size=70) for _ in range(2)])
    outcomes = [[guard.expected for guard in path.graph.guards] for path in program.graph.paths]
    assert len(outcomes) == len({tuple(taken) for taken in outcomes}) == 4


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("n", [1, 5, 8, 13, 1000])
@pytest.mark.parametrize("dtype", DTYPES)
def test_sums_over_the_lanes_leave_out_what_is_no_lane(n: int, dtype: str, threads: int) -> None:
    """The last block of a batch is not full; what stands behind its lanes must not count, be it nan."""
    x = np.linspace(0.5, 2.0, n)
    found = agree(lambda x: [vg.batch_sum(1.0 / x * k) for k in range(5)], x, dtype=dtype, threads=threads)
    assert np.all(np.isfinite(found))


def test_long_lists_of_alike_numbers() -> None:
    agree(lambda w: [vg.sin(a) * 2.0 + 1.0 for a in w], np.linspace(0.0, 9.0, 1001), vectors="w")
    agree(lambda w, x: [vg.sin(a) * x + 1.0 for a in w], np.linspace(0.0, 9.0, 1001), ROWS, vectors="w")


def test_a_long_list_of_rows_with_two_kinds_of_terms_is_in_loops() -> None:
    def squares(w: Any) -> Any:
        rows = w.reshape(-1, 55)
        return sum(a * a for row in rows for a in [*map(vg.exp, row[:10]), *row[10:]])

    agree(squares, np.linspace(-1.0, 1.0, 55 * 25), vectors="w")


def mixture(means: Any, factors: Any, x: list[Any]) -> Any:
    """Of normal densities, each with a triangular factor."""
    terms = []
    for mean, factor in zip(means, factors):
        centred, total, k = [a - b for a, b in zip(x, mean)], 0.0, 0
        for i in range(len(x)):
            z = vg.exp(factor[k]) * centred[i]
            for j in range(i):
                z = z + factor[k + j + 1] * centred[j]
            k += i + 1
            total = total + z * z
        terms.append(factor[0] - 0.5 * total)
    return vg.logsumexp(terms)


def mixture_of(components: int, lanes: int) -> tuple[Any, Any, list[Any]]:
    rng = np.random.default_rng(7)
    return rng.normal(size=(components, 4)), rng.normal(size=(components, 10)), list(rng.normal(size=(4, lanes)))


def test_short_iterations_that_do_not_wait_for_each_other_are_one_loop_where_lanes_are_vectors() -> None:
    program = vg.value_and_grad(vg.compile(mixture, vectors=("means", "factors")), argnums=(0, 1))
    program(*mixture_of(9, 20))
    ((path,),) = [program.graph.paths]
    (lowered,) = path.lowered.values()
    plain, apart = (Segment(*lowered.code.segment(1, told)) for told in (False, True))
    assert apart.groups > plain.groups
    bodies = [len(kernel.bodies) for kernel in kernels_of(Groups(apart), WHOLE) if kernel.members == 9]
    assert len(bodies) == 3  # before the exponentials, these, and all behind their sum
    assert sum(bodies) > 70


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("components", [4, 9])
def test_short_iterations_are_the_same_bits(components: int, dtype: str, strict: bool) -> None:
    def f(means: Any, factors: Any, x: list[Any]) -> Any:
        value, grads = vg.value_and_grad(mixture, argnums=(0, 1))(means, factors, x)
        return [value, *(vg.batch_sum(x) for grad in grads for x in np.asarray(grad).ravel())]

    batches = [mixture_of(components, lanes) for lanes in BATCHES]
    agree_on(f, batches, vectors=("means", "factors"), dtype=dtype, strict=strict)


def test_an_empty_list_and_no_result() -> None:
    agree(lambda x: [vg.sum([]) + x, x * 1.0], ROWS)


def test_second_derivatives() -> None:
    def f(x: Any) -> Any:
        return vg.sum([vg.tanh(a * b) for a in x for b in x])

    agree(
        lambda x: vg.grad(lambda x: vg.dot(vg.grad(f)(x), vg.grad(f)(x)))(x), [ROWS * 0.3 + i * 0.1 for i in range(6)]
    )


# ------------------------------------------------------------------------------------------------------ falling back
def test_norms_and_python_functions_run_as_ever() -> None:
    agree(lambda x: [vg.norm(x[i : i + 3]) for i in range(6)], [ROWS] * 9, rolled=False)
    opaque = vg.primitive("opaque_of_rolling", lambda x: math.floor(float(x) * 3.0), lambda x, out: (3.0,))
    agree(lambda x: [opaque(y) for y in x], [ROWS] * 3, rolled=False)


def test_what_has_nothing_alike_is_left_alone_unless_it_is_asked_for(roll: Callable[[str], None]) -> None:
    def chain(x: Any) -> Any:
        for name in random.Random(1).choices(["sin", "cos", "tanh", "exp"], k=6000):
            x = getattr(vg, name)(x)
        return x

    roll("auto")
    program = vg.compile(chain)
    program(ROWS)
    assert backends(program) != {"rolled"}
    assert "too few are alike" in str(program.graph.loops)


def test_short_recordings_are_left_alone_unless_it_is_asked_for(roll: Callable[[str], None]) -> None:
    roll("auto")
    program = vg.compile(lambda x: [vg.tanh(y) for y in x])
    program([ROWS] * 20)
    assert backends(program) != {"rolled"}


HIDDEN = """
import sys
sys.path[:0] = sys.argv[1:]
sys.modules["llvmlite"] = None
import numpy as np, valuegrad as vg
program = vg.compile(lambda w, x: [vg.dot(w[i : i + 4], [x] * 4) for i in range(9)], vectors="w")
print(np.sum(program(np.arange(13.0), np.ones(3))), program.graph.loops)
"""


def test_without_llvmlite_everything_works() -> None:
    run = subprocess.run([sys.executable, "-c", HIDDEN, *sys.path], capture_output=True, text=True, check=True)
    assert run.stdout.startswith("594.0 ")
    assert "llvmlite is not installed" in run.stdout


# ---------------------------------------------------------------------------------------------------------- the GPT
DOCUMENTS = ["anna", "bob", "carla", "dora", "emil", "fritz", "gustav", "hanna", "ida", "jakob", "klara", "al"]


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_gpt_learns_to_the_same_bits(batch: int, dtype: str, roll: Callable[[str], None]) -> None:
    def losses(wish: str) -> Sequence[float]:
        roll(wish)
        sizes = gpt.ModelSettings(n_embd=8, n_head=2, block_size=8)
        chosen = gpt.TrainingSettings(steps=6, batch=batch, dtype=dtype)
        return [report.loss for report in gpt.Trainer(DOCUMENTS, sizes, chosen)]

    plain, quick = losses("off"), losses("on")
    assert np.all(np.isfinite(plain))
    assert plain == quick
