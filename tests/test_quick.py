"""Calls on arrays and lists that are like the one before: quicker, and otherwise the same."""

from contextlib import suppress

import numpy as np
import optree
import pytest
from engines import ONCE
from hypothesis import given
from hypothesis import strategies as st

import valuegrad as vg
from valuegrad import flattening
from valuegrad.calls import Slot
from valuegrad.flattening import Definitions

_replay = pytest.importorskip("valuegrad._replay")
pytest.importorskip("valuegrad._passes")
pytestmark = ONCE

X = np.linspace(-1.0, 2.0, 7)


def product(x, y):
    return [vg.sum([a * b for a, b in zip(x, y)]), x[0]]


def remembered(f=product, **options):
    """A program that has been called on two vectors, and knows a quick way for the next ones."""
    program = vg.compile(f, **{"vectors": ("x", "y"), **options})
    program(X, X + 1.0)
    assert program._arrays is not None
    return program


NOT_LIKE_X = {
    "backwards": X[::-1],
    "strided": np.repeat(X, 2)[::2],
    "broadcast": np.broadcast_to(2.0, 7),
    "float32": X.astype(np.float32),
    "integers": np.arange(7),
    "misaligned": np.frombuffer(b"\0" + X.tobytes(), np.uint8)[1:].view(np.float64),
}
"""What has seven numbers, and is no array as X is."""


def named(**x):
    """Cases by their names."""
    return pytest.mark.parametrize("x", list(x.values()), ids=list(x))


@named(**NOT_LIKE_X, big_endian=X.astype(">f8"), list=list(X))
def test_other_arrays_of_the_same_length_give_what_they_always_did(x):
    expected = float(np.sum(np.asarray(x, dtype=float) * (X + 1.0)))
    for program in (remembered(), vg.compile(product, vectors=("x", "y"))):
        found = program(x, X + 1.0)
        assert found[0] == pytest.approx(expected, rel=1e-15)
        assert found[1] == x[0]


@pytest.mark.parametrize("n", [1, 6, 8])
def test_another_length_is_recorded_anew(n):
    x = np.ones(n)
    assert remembered()(x, 3.0 * x)[0] == 3.0 * n


def test_what_is_handed_back_stays_as_it_is():
    program = vg.compile(lambda x: vg.grad(lambda x: vg.sum([a * a for a in x]))(x), vectors="x")
    x = np.ones(80_000)  # a result of so many numbers may have the memory of one that is gone
    held = [program(k * x) for k in (1.0, 2.0, 3.0)]
    for _ in range(3):
        program(9.0 * x)
    assert [np.unique(np.asarray(found)).tolist() for found in held] == [[2.0], [4.0], [6.0]]


def test_what_is_handed_over_may_change_afterwards():
    program, x = remembered(), X.copy()
    first = program(x, X)
    x[:] = 0.0
    assert first[1] == X[0]
    assert program(x, X) == [0.0, 0.0]


def test_a_call_that_takes_another_branch_takes_it():
    program = vg.compile(lambda x: x[0] if x[1] > 0.0 else -x[0], vectors="x")
    found = [program(np.array([5.0, sign])) for sign in (1.0, -1.0, 1.0, -1.0, np.nan)]
    assert found == [5.0, -5.0, 5.0, -5.0, -5.0]


def test_a_function_in_python_meets_no_warnings_in_any_call():
    inverse = vg.primitive("inverse", lambda x: float(np.float64(1.0) / np.float64(x)), lambda x, out: (-(out * out),))
    program = vg.compile(lambda x: inverse(x[0]) + x[1], vectors="x")
    with np.errstate(all="raise"):
        assert [program(np.array([0.0, 1.0])) for _ in range(3)] == [np.inf] * 3


def test_strict_counts_in_a_remembered_call_too():
    program = remembered()
    with vg.strict(), pytest.raises(vg.errors.StrictError):
        program(np.full(7, 1e200), np.full(7, 1e200))


def test_a_value_from_outside_is_read_at_each_call():
    outside = vg.Value(2.0)
    program = vg.compile(lambda x: x[0] * outside, vectors="x")
    first = program(np.array([3.0]))
    outside.data = 5.0
    assert [first, program(np.array([3.0]))] == [6.0, 15.0]


# --------------------------------------------------------------------------------------------------- lists
class Box:
    """A nesting of the user's, which counts how often it is looked into."""

    looked = 0

    def __init__(self, entries):
        self.entries = entries

    def flat(self):
        Box.looked += 1
        return self.entries, None


GLOBAL = optree.registry.__GLOBAL_NAMESPACE
optree.register_pytree_node(Box, Box.flat, lambda _, entries: Box(list(entries)), namespace=GLOBAL)


@pytest.mark.parametrize("n", [3, 300])
def test_a_nesting_is_walked_a_few_times_however_long_it_is(n):
    Box.looked = 0
    program = vg.compile(lambda box: vg.sum(box.entries))
    assert program(Box([1.0] * n)) == n
    assert Box.looked <= 3


def norm(xs, scale):
    return scale * vg.sum([x * x for x in xs])


NESTS = {
    "list": (norm, ([1.0, 2.0, 3.0], 2.0)),
    "tuple": (norm, ((1.0, 2.0), 0.5)),
    "empty": (lambda xs, scale: scale + len(xs), ([], 2.0)),
    "rows": (lambda rows: [vg.sum(row) for row in rows], ([[1.0, 2.0], [3.0], (4.0, 5.0)],)),
    "nested": (lambda x: x[0] * x[1][0][0] + x[1][1], ((2.0, ([3.0], 4.0)),)),
    "vector beside it": (lambda x, ys: [a * b for a, b in zip(x, ys)], (np.array([2.0, 3.0]), [4.0, 5.0])),
}


@pytest.mark.parametrize(("f", "args"), NESTS.values(), ids=NESTS)
def test_lists_like_those_before_are_not_taken_apart_again(f, args, monkeypatch):
    program = vg.compile(f, vectors="x" if len(args) == 2 and type(args[0]) is np.ndarray else ())
    first = program(*args)
    monkeypatch.setattr(type(program), "taken_apart", None)
    assert program(*args) == first


OTHERS = {
    "longer": [1.0, 2.0, 3.0, 4.0],
    "shorter": [1.0],
    "tuple": (1.0, 2.0, 3.0),
    "integers": [1, 2, 3],
    "one integer": [1.0, 2, 3.0],
    "scalars of NumPy": list(X[:3]),
    "deeper": [[1.0, 2.0, 3.0]],
}


@pytest.mark.parametrize("xs", OTHERS.values(), ids=OTHERS)
def test_other_lists_than_the_one_before_give_what_they_always_did(xs):
    def squares(xs):
        if isinstance(xs[0], list):
            return squares(xs[0])
        return tuple(x * x for x in xs) if isinstance(xs, tuple) else [x * x for x in xs]

    program = vg.compile(squares)
    program([5.0, 6.0, 7.0])
    assert program(xs) == squares(xs)
    assert type(program(xs)) is type(squares(xs))


def test_values_in_a_list_like_the_one_before_remember():
    program = vg.compile(norm)
    program([1.0, 2.0], 3.0)
    xs = [vg.Value(1.0), vg.Value(2.0)]
    program(xs, 3.0).backward()
    assert [x.grad for x in xs] == [6.0, 12.0]


def test_gradients_by_a_list_are_those_of_its_numbers_now():
    program = vg.compile(norm).value_and_grad
    for xs in ([1.0, 2.0], [3.0, 5.0], [0.0, -0.0]):
        assert program(xs, 2.0) == (norm(xs, 2.0), ([4.0 * x for x in xs], sum(x * x for x in xs)))


def test_lists_beside_lanes_are_the_same_for_all_lanes():
    program = vg.compile(lambda w, x, k: [w[0] * x + w[1] * k[0], w[2]])
    w, x = [2.0, 3, 5.0], np.array([1.0, 10.0])
    for _ in range(2):
        found = program(w, x, [7.0])
        assert [y.tolist() for y in found] == [[23.0, 41.0], [5.0, 5.0]]


# --------------------------------------------------------------------------------------------------- lanes
def weighted(w, x, y):
    return [w[0] * x + w[1] * y, w[0] * w[1], 3.0]


W = X[:2]
BATCHES = {
    "numbers": (lambda k, x: k * x, (2.0, X)),
    "vector": (weighted, (W, X, X + 1.0)),
    "list of lanes": (lambda w, xs: vg.dot(list(w), xs), (W, [X, X + 1.0])),
    "lanes beside numbers": (lambda w, xs: xs[0] * xs[1] + xs[2] * w[0], (W, [2.0, X, 3.0])),
    "matrices": (lambda w, x, y: x * y + w[1], (W, X[:6].reshape(2, 3), X[1:].reshape(2, 3))),
    "lanes alone": (lambda x, y: (x - y, {"product": x * y}), (X, X + 1.0)),
    "gradients": (vg.value_and_grad(lambda w, xs: vg.exp(xs[0] * w[0]) * xs[1] * w[1], 1), (W, [X, X + 1.0])),
}


@pytest.mark.parametrize("how", ["value", "sums of gradients", "means of gradients", "float32"])
@pytest.mark.parametrize(("f", "args"), BATCHES.values(), ids=BATCHES)
def test_batches_like_those_before_are_not_taken_apart_again(f, args, how, monkeypatch):
    dtype = "float32" if how == "float32" else "float64"
    vectors = 0 if args[0] is W else ()
    if "gradients" in how:
        inner = f
        f = lambda *args: optree.tree_leaves(inner(*args))[0] ** 2  # noqa: E731
    program = vg.compile(f, vectors=vectors, dtype=dtype, reduce="mean" if how == "means of gradients" else "sum")
    program = program.value_and_grad if "gradients" in how else program
    args = optree.tree_map(lambda x: x.astype(dtype) if isinstance(x, np.ndarray) else x, args)
    others = optree.tree_map(lambda x: x + 1.0, args)
    has_floats = float in map(type, optree.tree_leaves(args))
    expected = program(*args), program(*others)
    program(*args)
    if dtype == "float64" or not has_floats:  # NumPy warns where it makes a float32 of a float
        monkeypatch.setattr(type(program), "taken_apart", None)
    for found, wanted in zip((program(*args), program(*others)), expected):
        assert optree.tree_structure(found) == optree.tree_structure(wanted)
        for x, y in zip(optree.tree_leaves(found), optree.tree_leaves(wanted)):
            assert (type(x), getattr(x, "dtype", None)) == (type(y), getattr(y, "dtype", None))
            np.testing.assert_array_equal(x, y)


def test_sums_over_lanes_are_numbers_in_each_call(monkeypatch):
    program = vg.compile(lambda w, x: (vg.batch_sum(w[0] * x), np.array([vg.batch_mean(x), w[1]])), vectors="w")
    first = program(W, X)
    monkeypatch.setattr(type(program), "taken_apart", None)
    again = program(W, X)
    assert type(again[0]) is float
    assert (again[0], again[1].tolist()) == (first[0], first[1].tolist()) == (-np.sum(X), [np.mean(X), W[1]])


@pytest.mark.parametrize("n", [0, 1, 2, 9, (2, 3), (1, 1)])
def test_a_batch_of_another_shape_gives_what_it_always_did(n):
    programs = vg.compile(weighted, vectors="w"), vg.compile(weighted, vectors="w")
    programs[0](W, X, X)
    x = np.full(n, 2.0)
    found, expected = [program(W, x, 3.0 * x) for program in programs]
    assert [part.tolist() for part in found] == [part.tolist() for part in expected]
    assert [part.shape for part in found] == [x.shape] * 3


@named(**NOT_LIKE_X, number=2.0, one=np.full(1, 2.0))
def test_other_lanes_than_those_before_give_what_they_always_did(x):
    program = vg.value_and_grad(vg.compile(lambda w, x, y: weighted(w, x, y)[0], vectors="w"), argnums=(0, 1, 2))
    program(W, X, X)
    assert program._arrays is not None
    _, (by_w, by_x, _) = program(W, x, X)
    assert by_w.tolist() == pytest.approx([np.sum(np.broadcast_to(x, 7)), np.sum(X)], abs=1e-12)
    assert np.shape(by_x) == np.shape(x)


def test_lanes_that_part_are_not_run_twice():
    program = vg.compile(lambda x: x if x > 0.0 else -3.0 * x)
    found = [program(np.array([1.0, sign])).tolist() for sign in (1.0, 1.0, -1.0, 1.0, -1.0)]
    assert found == [[1.0, 1.0], [1.0, 1.0], [1.0, 3.0], [1.0, 1.0], [1.0, 3.0]]
    assert program._arrays is None


def test_lanes_that_are_handed_back_stay_as_they_are():
    program = vg.compile(lambda x: (2.0 * x, vg.batch_sum(x)))
    x = np.ones(80_000)  # so many lanes may have the memory of some that are gone
    held = [program(k * x)[0] for k in (1.0, 2.0, 3.0)]
    for _ in range(3):
        program(9.0 * x)
    assert [np.unique(found).tolist() for found in held] == [[2.0], [4.0], [6.0]]


NESTINGS = [
    ((), {}),
    ((1.0, [2.0, 3, True, "text"], ([], (4.0, [np.ones(2)]))), {}),
    (([None, 1.0], {"b": 1.0, "a": [2.0]}), {}),
    (([vg.Value(1.0), Slot(1, 1)],), {"k": [1.0]}),
]


@pytest.mark.parametrize("tree", NESTINGS)
def test_nestings_are_taken_apart_as_optree_does(tree):
    definitions = Definitions(Slot)
    for _ in range(2):
        leaves, definition = definitions.flatten(tree)
        expected, other = optree.tree_flatten(tree)
        assert [id(x) for x in leaves] == [id(x) for x in expected]
        assert definition == other


ENTRIES = st.floats(allow_nan=False) | st.sampled_from(
    [1, -1, 10**400, True, "1.0", None, np.float64(2.0), vg.Value(1.0), X]
)
KEYS = st.sampled_from(["b", "a", "ab", "", "z"])


def nestings(entries, keys):
    """Lists, tuples and dicts of entries, and of such."""
    return st.recursive(
        entries,
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.lists(inner, max_size=4).map(tuple)
            | st.dictionaries(keys, inner, max_size=4)
        ),
    )


TREES = nestings(st.floats(allow_nan=False), KEYS)
ANYTHING = nestings(ENTRIES, KEYS | st.sampled_from([1, None, ("a",)]))


@given(x=TREES, other=ANYTHING, room=st.integers(-1, 3), at=st.integers(-1, 3), integers=st.booleans())
def test_floats_are_taken_from_a_nesting_as_in_python(x, other, room, at, integers):
    leaves = []
    which = flattening.sketch(x, leaves)
    assert flattening.count_of(which) == len(leaves)
    for tree in (x, other):
        found = []
        for function in (flattening.floats_of, _replay.floats_of):
            to = np.full(max(at + len(leaves) + room, 0), -7.0)
            found.append((function(tree, which, to, at, integers), to))
        (one, numbers), (two, others) = found
        assert one == two
        assert one < 0 or numbers.tolist() == others.tolist()  # what is written of another nesting is not used


@given(x=TREES)
def test_a_nesting_is_built_from_floats_as_it_was(x):
    leaves = []
    which = flattening.sketch(x, leaves)
    numbers = np.array([*leaves, 5.0])
    assert repr(_replay.nested(which, numbers)) == repr(flattening.nested(which, numbers)) == repr(x)


def test_a_nesting_of_more_floats_than_there_are_is_an_error():
    with pytest.raises(vg.ShapeError, match="got 1 numbers"):
        _replay.nested((list, 2), np.ones(1))


@pytest.mark.parametrize("which", [5, (list,), (list, 2.0), (set, 2), (list, [None, None])])
def test_what_is_no_sketch_is_refused(which):
    with pytest.raises((TypeError, ValueError)):
        _replay.nested(which, np.ones(4))


def test_a_list_that_holds_itself_is_another_one():
    x = [1.0, 2.0]
    x.append(x)
    assert _replay.floats_of(x, (list, (None, None, (list, 3))), np.zeros(9), 0) == -1


def test_a_dict_with_its_keys_in_another_order_is_another_one():
    which = flattening.sketch({"b": 1.0, "a": 2.0}, [])
    for function in (flattening.floats_of, _replay.floats_of):
        assert function({"a": 2.0, "b": 1.0}, which, np.zeros(2), 0) == -1


def test_leaves_of_a_dict_come_in_the_order_of_its_keys_as_optree_has_them():
    tree = {"b": [1.0, 2.0], "a": 3.0, "c": {"y": 4.0, "x": 5.0}}
    leaves, to = [], np.zeros(5)
    which = flattening.sketch(tree, leaves)
    assert _replay.floats_of(tree, which, to, 0) == 5
    assert leaves == to.tolist() == optree.tree_leaves(tree)


def test_a_dict_whose_keys_are_no_text_is_not_recognised():
    with pytest.raises(flattening.Unknown):
        flattening.sketch({1: 2.0}, [])


NO_SKETCHES = [
    (dict,),
    (dict, (None,), ("a",)),
    (dict, (None,), ("a",), ("b", "c")),
    (dict, 1, 2, 3),
    (list, 1, (), ()),
]


@pytest.mark.parametrize("which", NO_SKETCHES)
def test_what_is_no_sketch_of_a_dict_is_refused(which):
    with pytest.raises((TypeError, ValueError, KeyError)):
        _replay.nested(which, np.ones(4))
    with suppress(TypeError, ValueError):
        assert _replay.floats_of({"a": 1.0}, which, np.ones(4), 0) == -1


@pytest.mark.parametrize("of", [float, np.float64])
def test_calls_on_dicts_of_numbers_are_quick_and_give_gradients_in_their_shape(of, monkeypatch):
    program = vg.compile(lambda net, scale: scale * vg.dot(net["w"][0], net["w"][1]) + net["b"]).value_and_grad
    net = {"w": [[of(1.0), of(2.0)], [of(3.0), of(4.0)]], "b": of(0.5)}
    first = program(net, of(2.0))
    monkeypatch.setattr(program, "_evaluate", pytest.fail)
    again = program(net, of(2.0))
    assert again == first == (22.5, ({"w": [[6.0, 8.0], [2.0, 4.0]], "b": 1.0}, 11.0))
    assert list(again[1][0]) == list(first[1][0]) == ["w", "b"]


def test_calls_with_keywords_are_quick_and_take_them_by_name(monkeypatch):
    program = vg.compile(lambda xs, low, high=2.0, sign=None: vg.sum(xs) * low - high)
    assert program([1.0, 2.0], high=5.0, low=3.0) == 4.0
    with monkeypatch.context() as patched:
        patched.setattr(program, "_evaluate", pytest.fail)
        assert program([1.0, 2.0], low=3.0, high=7.0) == 2.0
        assert program([2.0, 2.0], high=7.0, low=1.0) == -3.0
    assert program([1.0, 2.0], low=3.0) == 7.0
    assert program([1.0, 2.0], 3.0, 7.0) == 2.0
    assert program(xs=[1.0, 2.0], low=3.0) == 7.0
    for _ in range(2):
        assert program.value_and_grad([1.0, 2.0], low=3.0, high=7.0) == (2.0, ([3.0, 3.0], 3.0, -1.0, None))


def test_integers_among_the_floats_are_numbers_like_others(monkeypatch):
    program = vg.compile(lambda xs, k: vg.sum([x * x for x in xs]) * k).value_and_grad
    first = program([1, 2.5, -3], 2)
    assert first == (32.5, ([4.0, 10.0, -12.0], 16.25))
    with monkeypatch.context() as patched:
        patched.setattr(program, "_evaluate", pytest.fail)
        assert program([1, 2.5, -3], 2) == program([1.0, 2.5, -3.0], 2.0) == first
        assert program([2**53 + 1, 0, 0], 1)[0] == float(2**53 + 1) ** 2
    assert program([1, 2.5, -3], True)[0] == 16.25
    with pytest.raises(vg.ValueTypeError):
        program([1, "2.5", -3], 2)


def test_integers_that_choose_are_checked_at_every_call():
    program = vg.compile(lambda xs, i: vg.take(xs, i) * 2.0)
    assert [program([1.0, 2.0, 3.0], i) for i in (0, 1, 2, -1)] == [2.0, 4.0, 6.0, 6.0]
    with pytest.raises(vg.IndexRangeError):
        program([1.0, 2.0, 3.0], 3)


def test_calls_with_text_or_a_condition_are_quick_and_tell_them_apart(monkeypatch):
    def payoff(spots, strike, kind, digital=False, weight=None):
        gains = [spot - strike if kind == "call" else strike - spot for spot in spots]
        return vg.sum([vg.where(g > 0, 1.0, 0.0) if digital else vg.relu(g) for g in gains])

    program = vg.compile(payoff)
    first = program([90.0, 100.0, 120.0], 95.0, "call")
    with monkeypatch.context() as patched:
        patched.setattr(program, "_evaluate", pytest.fail)
        assert program([90.0, 100.0, 120.0], 95.0, "call") == first == 30.0
    assert program([90.0, 100.0, 120.0], 95.0, "put") == 5.0
    assert program([90.0, 100.0, 120.0], 95.0, "put", True) == 1.0
    assert program([90.0, 100.0, 120.0], 95.0, "put", False) == 5.0
    assert program([90.0, 100.0, 120.0], 95.0, "call", True, None) == 2.0
    assert program([90.0, 100.0, 120.0], 95.0, "call", 1.0, None) == 2.0
    spots = np.array([90.0, 100.0, 120.0])
    for kind in ("call", "put", "put", "call"):
        gains = spots - 95.0 if kind == "call" else 95.0 - spots
        assert program([spots], 95.0, kind).tolist() == np.maximum(gains, 0.0).tolist()


def test_keywords_that_do_not_fit_are_refused_after_quick_calls():
    program = vg.compile(lambda xs, low: vg.sum(xs) * low)
    assert program([1.0], low=3.0) == program([1.0], low=3.0) == 3.0
    for args, kwargs in [
        (([1.0],), {"high": 3.0}),
        (([1.0], 2.0), {"low": 3.0}),
        (([1.0],), {"low": 3.0, "xs": [1.0]}),
    ]:
        with pytest.raises(vg.ValueTypeError, match="arguments that do not fit"):
            program(*args, **kwargs)
