"""Lists whose terms are computed in their own loop, running extremes, arrays that stay where they are.

No bit differs from the program that is not rolled.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from engines import ONCE
from test_roll import agree, agree_on, same

import valuegrad as vg
from valuegrad.lower import emit, inplace
from valuegrad.roll import again
from valuegrad.roll.kernels import Feed, Kernel

pytest.importorskip("valuegrad._replay")
pytest.importorskip("valuegrad._passes")
pytest.importorskip("llvmlite")
pytestmark = [ONCE, pytest.mark.usefixtures("all_are_rolled")]

LENGTHS = [1, 5, 16, 17, 31, 33, 64, 71, 128, 131, 200]
DTYPES = ["float64", "float32"]


def of_feeds(monkeypatch: pytest.MonkeyPatch, what: Callable[[Feed], bool]) -> list[bool]:
    """Something of each list of computed terms, as they come."""
    found: list[bool] = []
    before = emit.counting

    def watched(kernel: Any, *rest: Any) -> Any:
        after = before(kernel, *rest)
        pieces = [piece for body in after.bodies for variant in body.variants for piece in variant]
        found.extend(what(piece.feed) for piece in pieces if piece.feed)
        return after

    monkeypatch.setattr(emit, "counting", watched)
    return found


@pytest.fixture
def fed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """By how many kernels each segment got shorter, as they became terms of others."""
    found: list[int] = []
    before = emit.fed

    def watched(kernels: Any, *rest: Any, **options: Any) -> Any:
        after = before(kernels, *rest, **options)
        found.append(len(kernels) - len(after))
        return after

    monkeypatch.setattr(emit, "fed", watched)
    return found


def numbers(n: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(0.0, 2.0, n)


def gradient(f: Callable[..., Any]) -> Callable[..., Any]:
    """Value and gradient in one list."""

    def flat(x: Any) -> list[Any]:
        value, found = vg.value_and_grad(f)(x)
        return [value, *found]

    return flat


def softly(x: Any) -> Any:
    largest = vg.maximum(*x)
    total = 1.0  # of exponentials alone the largest one's gradient would be this sum times a number (_transforms.h)
    for xi in x:
        total = total + vg.exp(xi - largest)
    return largest + vg.log(total)


# ------------------------------------------------------------------------------------------------- terms
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", LENGTHS)
@pytest.mark.parametrize("strict", [False, True])
def test_terms_computed_in_a_list_s_loop_are_the_same(n: int, dtype: str, strict: bool) -> None:
    x = numbers(n)
    agree(lambda x: [vg.sum([vg.exp(xi) for xi in x])], x, vectors=("x",), dtype=dtype, strict=strict)
    agree(lambda x: [vg.sum([vg.exp(xi) * xi for xi in x])], x, vectors=("x",), dtype=dtype, strict=strict)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [64, 71, 300])
@pytest.mark.parametrize(
    "f", [softly, lambda x: vg.logsumexp(list(x)), lambda x: vg.sum([vg.sin(xi) ** 2 for xi in x])]
)
def test_terms_that_others_want_are_kept(f: Callable[..., Any], n: int, dtype: str) -> None:
    agree(gradient(f), numbers(n), vectors=("x",), dtype=dtype)


def test_a_loop_that_makes_terms_is_part_of_the_loop_that_adds_them(fed: list[int]) -> None:
    agree(lambda x: vg.sum([vg.exp(xi) for xi in x]), numbers(100), vectors=("x",))
    assert max(fed) == 1


def test_a_term_that_stands_in_two_lists_is_not_computed_twice(fed: list[int]) -> None:
    def both(x: Any) -> list[Any]:
        terms = [vg.exp(xi) for xi in x]
        return [vg.sum(terms), vg.dot(terms, terms), vg.sum(terms[::2])]

    agree(both, numbers(100), vectors=("x",))
    assert max(fed) <= 1


def test_terms_of_several_loops_are_each_computed_in_the_list_s_loop(fed: list[int]) -> None:
    def f(x: Any) -> Any:
        return vg.sum([*map(vg.exp, x[:24]), *map(vg.sin, x[24:49]), *map(vg.tanh, x[49:75])])

    agree(f, [numbers(19, k) for k in range(75)])
    assert max(fed) == 3


def test_a_sum_from_the_last_to_the_first_of_computed_terms() -> None:
    def backwards(x: Any) -> list[Any]:
        terms = [vg.exp(xi) for xi in x]
        return [vg.sum(terms[::-1]), *terms]

    for n in (128, 135):
        agree(backwards, numbers(n), vectors=("x",))


def test_several_members_with_terms_of_their_own() -> None:
    def rows(x: Any) -> list[Any]:
        return [vg.sum([vg.exp(x[80 * i + k]) for k in range(80)]) + i for i in range(5)]

    agree(rows, numbers(400), vectors=("x",))


def test_products_of_many_short_lists_stay_a_loop_of_their_own(fed: list[int]) -> None:
    def rows(x: Any) -> list[Any]:
        return [vg.maximum(*[x[80 * i + k] + 1.0 for k in range(80)]) for i in range(16)]

    agree(rows, numbers(80 * 16), vectors=("x",))
    assert max(fed) == 0


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_of_constants_in_any_order_are_read_to_their_ends(dtype: str) -> None:
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(5, 7)).tolist()
    for order in ([2, 0, 1], [4, 0, 4, 1], [3, 3, 0, 2, 1, 0, 4, 1]):
        x = numbers(7 * len(order))
        agree(
            lambda x, order: [vg.dot(rows[k], [*x[7 * i : 7 * i + 7]]) for i, k in enumerate(order)],
            x,
            tuple(order),
            vectors=("x",),
            static=("order",),
            dtype=dtype,
        )


def test_lanes_and_terms() -> None:
    def f(x: list[Any]) -> Any:
        return vg.logsumexp(x)

    rng = np.random.default_rng(1)
    agree_on(f, [([rng.normal(size=lanes) for _ in range(50)],) for lanes in (1, 7, 8, 70)])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("strict", [False, True])
def test_a_table_s_gradient_makes_its_choices_where_it_adds_them(strict: bool, dtype: str, fed: list[int]) -> None:
    def f(w: Any, x: list[Any]) -> list[Any]:
        rows = [w[3 * i : 3 * i + 3] for i in range(7)]

        def loss(rows: Any) -> Any:
            seen = [[vg.take([row[e] for row in rows], token) for e in range(3)] for token in x]
            return vg.sum([vg.tanh(row[0] * row[1] - row[2]) for row in seen])

        grads = vg.grad(loss)(rows)
        return [vg.batch_sum(entry) for row in grads for entry in row]

    rng = np.random.default_rng(3)
    batches = [(numbers(21), [rng.integers(0, 7, lanes) for _ in range(6)]) for lanes in (1, 5, 8, 16, 70)]
    agree_on(f, batches, vectors="w", dtype=dtype, strict=strict)
    assert max(fed) >= 1


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("otherwise", [0.0, -0.0])
def test_a_sum_of_what_is_chosen_keeps_the_signs_of_zeros(
    otherwise: float, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    marked = of_feeds(monkeypatch, lambda feed: feed.or_zero)

    def f(t: list[Any], x: list[Any]) -> list[Any]:
        chosen = [[ti < e for ti in t] for e in range(6)]
        return [
            vg.sum([vg.where(is_there, x[3 * k + j], otherwise) for k, is_there in enumerate(row)])
            for row in chosen
            for j in range(3)
        ]

    rng = np.random.default_rng(5)
    for lanes in (5, 16, 70):
        t = [rng.integers(0, 2, lanes) * 3.0 for _ in range(9)]
        t[4][: lanes // 2] = t[7][: lanes // 2]
        for k in range(9):
            t[k][0], t[k][1] = 0.0, 9.0  # lanes that choose all, and nothing
        x = [[np.full(lanes, -0.0), rng.normal(size=lanes), rng.choice([0.0, -0.0], lanes)][k % 3] for k in range(27)]
        agree(f, t, x, dtype=dtype)
    assert any(marked) == (not np.signbit(otherwise))


@pytest.mark.parametrize("n", [5, 9, 20])
def test_terms_of_short_lists_are_computed_where_lanes_are_added(n: int, fed: list[int]) -> None:
    def f(x: list[Any]) -> list[Any]:
        terms = [[vg.sin(xi * k) for xi in x] for k in range(2, 7)]
        return [vg.sum(row) for row in terms]

    agree(f, [numbers(19, i) for i in range(n)])
    assert max(fed) >= 1


# ------------------------------------------------------------------------------------------------- extremes
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", LENGTHS)
def test_the_largest_and_the_smallest_of_many_numbers(n: int, dtype: str) -> None:
    several = [(numbers(n, seed),) for seed in range(3)]
    agree_on(lambda x: [vg.maximum(*x), vg.minimum(*x)], several, vectors=("x",), dtype=dtype)


@pytest.mark.parametrize("edges", [(0.0, -0.0), (-0.0, 0.0), (math.nan,), (math.inf, -math.inf), (math.nan, 0.0, -0.0)])
@pytest.mark.parametrize("n", [33, 64, 71])
def test_of_equal_zeros_the_first_is_the_largest_and_a_nan_stays(n: int, edges: tuple[float, ...]) -> None:
    several = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        for sign in (1.0, -1.0):
            x = sign * -np.abs(rng.normal(size=n))
            x[rng.choice(n, 2 * len(edges), replace=False)] = rng.permutation(edges * 2)
            several.append((x,))
    agree_on(lambda x: [vg.maximum(*x), vg.minimum(*x)], several, vectors=("x",))


def test_the_largest_of_nothing_but_infinities() -> None:
    several = [(np.full(70, x),) for x in (-np.inf, np.inf, np.nan, -0.0)]
    agree_on(lambda x: [vg.maximum(*x), vg.minimum(*x)], several, vectors=("x",))


# ------------------------------------------------------------------------------- cheap results, and counts
@pytest.fixture
def again_everywhere(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """What is cheap is always computed again; how many numbers each segment kept, before and after."""
    monkeypatch.setattr(again, "LEAST", 8)
    found: list[tuple[int, int]] = []
    before = emit.computed_again

    def kept(kernels: Any) -> int:
        return sum(k.members for k in kernels for body in k.bodies if isinstance(k, Kernel) and k.keeps(body))

    def watched(kernels: Any, *rest: Any) -> Any:
        after = before(kernels, *rest)
        found.append((kept(kernels), kept(after)))
        return after

    monkeypatch.setattr(emit, "computed_again", watched)
    return found


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("n", [5, 64, 71, 300])
def test_what_is_computed_again_is_the_same(n: int, strict: bool, dtype: str, again_everywhere: Any) -> None:
    agree(gradient(softly), numbers(n), vectors=("x",), dtype=dtype, strict=strict)
    agree(gradient(lambda x: softly([xi * xi for xi in x])), numbers(n), vectors=("x",), dtype=dtype, strict=strict)


def test_a_product_that_two_loops_read_is_not_kept(again_everywhere: list[tuple[int, int]]) -> None:
    agree(gradient(softly), numbers(300), vectors=("x",))
    assert any(after <= before - 300 for before, after in again_everywhere)


def test_what_is_computed_again_in_lanes_is_the_same(again_everywhere: Any) -> None:
    rng = np.random.default_rng(1)
    batches = [([rng.normal(size=lanes) for _ in range(50)],) for lanes in (1, 7, 8, 70)]
    agree_on(lambda x: [*gradient(softly)(x)], batches)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_derivative_of_a_relu_is_not_kept_beside_it(dtype: str, again_everywhere: list[tuple[int, int]]) -> None:
    def loss(w: Any, v: Any, x: Any) -> Any:
        hidden = [vg.relu(vg.dot(list(w[8 * i : 8 * i + 8]), x)) for i in range(20)]
        return vg.sum([vg.exp(vg.dot(list(v[20 * j : 20 * j + 20]), hidden)) for j in range(7)])

    def step(w: Any, v: Any, x: Any) -> Any:
        _, (by_w, by_v) = vg.value_and_grad(lambda w, v: loss(w, v, x), argnums=(0, 1))(w, v)
        return np.array([vg.batch_sum(g) for g in (*by_w, *by_v)], dtype=object)

    x = [*np.random.default_rng(1).normal(size=(8, 7))]
    x[0] = np.array([math.nan, math.inf, -math.inf, 0.0, -0.0, 5e-324, 1.0])
    agree(step, numbers(160), numbers(140, 1), x, vectors=("w", "v"), dtype=dtype)
    assert any(after <= before - 20 for before, after in again_everywhere)


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """For each list of computed terms whether they are counted."""
    return of_feeds(monkeypatch, lambda feed: feed.counts)


def count(x: Any, yes: float, no: float, start: float = 0.0) -> Any:
    total = start
    for xi in x[1:]:
        total = total + vg.where(xi < x[0], yes, no)
    return total


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [130, 137, 200])
@pytest.mark.parametrize(
    ("yes", "no", "start"), [(1.0, 0.0, 0.0), (0.0, -1.0, 0.0), (3.0, -2.0, 7.0), (0.0, 0.0, -0.0)]
)
def test_a_count_is_the_same_in_any_order(
    n: int, yes: float, no: float, start: float, dtype: str, counts: list[bool]
) -> None:
    several = [(np.array([value, *numbers(n)[1:]]),) for value in (0.0, -9.0, 9.0, math.nan)]
    agree_on(lambda x: [count(x, yes, no, start)], several, vectors=("x",), dtype=dtype)
    assert True in counts or yes == no


@pytest.mark.parametrize(
    ("yes", "no", "start"), [(0.5, 0.0, 0.0), (1.0, 0.1, 0.0), (1.0, -0.0, 0.0), (1.0, 0.0, 0.1), (2.0**50, 1.0, 0.0)]
)
def test_other_sums_of_choices_keep_their_order(yes: float, no: float, start: float, counts: list[bool]) -> None:
    agree(lambda x: [count(x, yes, no, start)], numbers(200), vectors=("x",))
    assert True not in counts


def test_a_count_that_begins_with_a_number_of_the_user_s_keeps_its_order(counts: list[bool]) -> None:
    agree(lambda x: [count(x, 1.0, 0.0, x[0])], numbers(200), vectors=("x",))
    assert True not in counts


@pytest.mark.parametrize("n", [33, 64, 200])
def test_ties_share_the_gradient_of_the_largest(n: int) -> None:
    x = np.round(numbers(n))
    agree(gradient(softly), x, vectors=("x",))


# ------------------------------------------------------------------------------------------ arrays in place
@pytest.fixture
def in_place(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Which runs stay where they are, of all programs made; even short ones do."""
    from valuegrad.lower import segments

    monkeypatch.setattr(inplace, "LEAST", 8)
    found: list[tuple[int, int]] = []
    before = segments.in_place

    def watched(*args: Any) -> Any:
        found.append(before(*args).runs)
        return before(*args)

    monkeypatch.setattr(segments, "in_place", watched)
    return found


@pytest.mark.parametrize("dtype", DTYPES)
def test_arrays_that_stay_in_place_give_the_same(in_place: list[tuple[int, int]], dtype: str) -> None:
    agree(gradient(softly), numbers(71), vectors=("x",), dtype=dtype)
    agree(lambda x, y: [a * y[0] for a in x], numbers(40), numbers(3), vectors=("x", "y"), dtype=dtype)
    assert in_place == [(0, 0)] * 2


def test_an_input_that_is_read_often_stays_in_place_wherever_it_begins(in_place: list[tuple[int, int]]) -> None:
    room = np.zeros(40)
    first = -room.ctypes.data % 64 // 8
    for more in (0, 1):
        x = room[first + more : first + more + 20]
        x[:] = numbers(20)
        agree(lambda x: [a * b for a in x for b in x], x, vectors=("x",))
    assert [read for read, _ in in_place] == [0, 0]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("lanes", [1, 5, 8, 300, 5000])
def test_sums_over_the_lanes_go_to_the_array_of_the_outputs(
    lanes: int, dtype: str, in_place: list[tuple[int, int]]
) -> None:
    def step(w: Any, x: Any) -> Any:
        _, grads = vg.value_and_grad(lambda w: vg.dot(list(w), [x * w[-1 - k] for k in range(30)]))(w)
        return np.array([vg.batch_sum(g) for g in grads], dtype=object)

    agree(step, numbers(30), numbers(lanes, 1), vectors=("w",), dtype=dtype)
    assert in_place[-1] == (0, 0)


def test_an_output_that_is_read_again_or_a_constant_is_copied(in_place: list[tuple[int, int]]) -> None:
    agree(lambda x: [*[a + 1.0 for a in x], *[2.0] * 9], numbers(20), vectors=("x",))
    agree(lambda x: [*x, *[a * 3.0 for a in x]], numbers(20), vectors=("x",))


def codes_of(f: Callable[..., Any], *args: Any, **options: Any) -> list[Any]:
    program = vg.compile(f, **options)
    program(*args)
    return [lowered.code for path in program.graph.paths for lowered in path.lowered.values()]


@pytest.mark.parametrize("dtype", DTYPES)
def test_inputs_that_a_loop_reads_with_constants_behind_them_are_copied_and_those_before_are_not(
    in_place: list[tuple[int, int]], dtype: str
) -> None:
    def behind(x: Any) -> Any:
        return [a * b for a in x[:20] for b in x[:20]] + [a < b for a, b in zip([*x[20:], 0.5], [0.5, *x[20:]])]

    agree(behind, numbers(24), vectors=("x",), dtype=dtype)
    (code,) = codes_of(behind, numbers(24), vectors=("x",), dtype=dtype)
    assert code.in_place == (0, -1, True, 20)
    assert code.runs[0].tolist() == [[0, 0, 20], [20, 20, 4]]


def test_a_batch_reads_what_all_lanes_share_where_it_is(in_place: list[tuple[int, int]]) -> None:
    def f(w: Any, x: Any) -> Any:
        return vg.dot(list(w), [x * k for k in range(len(w))])

    agree(f, numbers(30), numbers(70, 1), vectors=("w",))
    program = vg.compile(f, vectors=("w",)).value_and_grad
    value, (by_w, by_x) = program(numbers(30), numbers(70, 1))
    for lane in (0, 69):
        assert same(program(numbers(30), numbers(70, 1)[lane])[0], value[lane])
    assert by_w.shape == (30,)
    assert by_x.shape == (70,)


def test_a_program_that_writes_over_its_own_input(in_place: list[tuple[int, int]]) -> None:
    """A step reads a state backwards and forwards: it must not find what it has written."""

    def step(x: Any) -> Any:
        return np.array([2.0 * x[i] + x[len(x) - 1 - i] for i in range(len(x))])

    program = vg.compile(step, vectors=("x",))
    x = numbers(24)
    assert in_place == []
    assert same(program(x), 2.0 * x + x[::-1])
    assert in_place == [(0, 0)]
    (code,) = [lowered.code for path in program.graph.paths for lowered in path.lowered.values()]
    array = x.copy()
    code.run_packed(1, array, [], array, [], 1)
    assert same(array, 2.0 * x + x[::-1])
    assert same(program.iterate(x, steps=3), np.array(step(step(step(list(x))))))
