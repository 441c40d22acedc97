"""A graph computed again in Python gives what the function gave: numbers, gradients, branches, recordings."""

import inspect
import math
from dataclasses import replace

import numpy as np
import pytest
from engines import call
from hypothesis import given
from hypothesis import strategies as st

import valuegrad as vg
from valuegrad import files
from valuegrad.descriptions import Captured, Leaf, PathDescription, ProgramDescription, Specialisation
from valuegrad.graph import Nodes
from valuegrad.primitives import TABLE
from valuegrad.primitives.opcodes import OPS
from valuegrad.record import record
from valuegrad.replaying import STEPS, Replay, evaluate, follow


def described(f, examples, integer=None):
    """A function's paths for some examples, as they come out of a file."""
    count = len(examples[0])
    integer = integer or [False] * count
    paths, captured = [], []
    for example in examples:
        recording = record(lambda xs: f(*xs), example, integer, f.__name__)
        which = []
        for value in recording.captured:
            if not any(value is known for known in captured):
                captured.append(value)
            which.append(next(i for i, known in enumerate(captured) if known is value))
        output = [Leaf(i) for i in range(len(recording.graph.outputs))]
        uses = tuple((use.input, use.entries) for use in recording.integer_uses)
        new = PathDescription(
            recording.graph, output=output if len(output) != 1 else output[0], captured=tuple(which),
            integer_uses=uses, branches={},
        )  # fmt: skip
        at = 0
        while paths:
            mine = [guard.expected for guard in new.graph.guards]
            theirs = [guard.expected for guard in paths[at].graph.guards]
            differ = [k for k, (a, b) in enumerate(zip(mine, theirs)) if a != b]
            if not differ:
                break
            if differ[0] not in paths[at].branches:
                paths[at].branches[differ[0]] = len(paths)
                paths.append(new)
                break
            at = paths[at].branches[differ[0]]
        paths = paths or [new]
    arguments = (tuple(Leaf(i) for i in range(count)), {})
    program = ProgramDescription(
        name=f.__name__,
        signature=inspect.signature(f),
        options={},
        specialisations=(Specialisation(arguments, tuple(integer), tuple(paths)),),
        captured=tuple(Captured(value.data, value.name) for value in captured),
    )
    return files.parse(files.dump(program))


def replay(f, examples, integer=None):
    return Replay(described(f, examples, integer))


def bits(x):
    return repr(x.data if type(x) is vg.Value else x)


# --------------------------------------------------------------------------------------------- operations
CASES = [(row, args) for row in TABLE.values() for args in row.samples]


@pytest.mark.parametrize(("row", "args"), CASES, ids=lambda x: getattr(x, "name", None))
def test_every_operation_gives_the_same_numbers_and_gradients(row, args):
    flat = [x for arg in args for x in (arg if isinstance(arg, list) else [arg])]
    static = flat.pop() if row.static and not row.family else 0.0
    nodes = Nodes(len(flat))
    count = len(args[0]) if row.family else 1
    outs = [nodes.add(row.name, range(len(flat)), float(i) if row.family else static) for i in range(count)]
    graph = nodes.graph(outs)

    mine = [vg.Value(x) for x in flat]
    values = evaluate(graph, mine)[len(flat) :]
    numbers = evaluate(graph, flat)[len(flat) :]
    theirs = [vg.Value(x) for x in flat]
    rest = iter(theirs)
    on_values = [[next(rest) for _ in arg] if isinstance(arg, list) else None for arg in args]
    given = [xs if xs is not None else next(rest, static) for xs in on_values]
    expected = call(vg, row, tuple(given))
    expected = expected if row.family else [expected]
    assert list(map(bits, values)) == list(map(bits, expected)) == list(map(bits, numbers))
    for x, y in zip(values, expected):
        if type(y) is vg.Value and y.children:
            x.backward()
            y.backward()
    assert [repr(x.grad) for x in mine] == [repr(x.grad) for x in theirs]


def test_every_operation_has_a_step():
    assert set(STEPS) | {"input", "call"} == set(OPS)


@pytest.mark.parametrize("a", [0.0, 1.0, 2.0, math.nan])
@pytest.mark.parametrize("b", [0.0, 1.0, math.nan])
@pytest.mark.parametrize("kind", [float, vg.Value])
def test_conditions_are_numbers_and_numbers_are_conditions(a, b, kind):
    nodes = Nodes(2)
    less, most, same = nodes.add("lt", [0, 1]), nodes.add("le", [0, 1]), nodes.add("eq", [0, 1])
    both, either, none = nodes.add("and", [less, 0]), nodes.add("or", [less, 1]), nodes.add("not", [0])
    alike = nodes.add("eq", [less, most])
    chosen = nodes.add("select", [0, less, 1])
    added = nodes.add("add", [less, most])
    values = evaluate(nodes.graph([]), [kind(a), kind(b)])
    expected = [a < b, a <= b, a == b, a < b and a != 0, a < b or b != 0, a == 0, (a < b) == (a <= b)]
    found = [values[i] for i in (less, most, same, both, either, none, alike)]
    assert found == expected
    assert bits(values[chosen]) == repr(float(a < b) if a != 0.0 else b)
    assert bits(values[added]) == repr(float(a < b) + float(a <= b))


def test_a_sum_over_lanes_has_one_lane():
    nodes = Nodes(1)
    mean = nodes.add("div", [nodes.add("batch_sum", [0]), nodes.add("lanes")])
    assert evaluate(nodes.graph([mean]), [3.0])[mean] == 3.0


def test_a_python_function_is_called():
    nodes = Nodes(1)
    doubled = nodes.add("call", [0])
    graph = nodes.graph([doubled], calls=[lambda x: 2 * x])
    assert evaluate(graph, [3.0])[doubled] == 6.0
    assert evaluate(graph, [vg.Value(3.0)])[doubled].data == 6.0


# ------------------------------------------------------------------------------------------------ functions
def smooth(x, y):
    return vg.exp(x * y) / (1 + y * y), vg.log(vg.sum([x * x, y, 2.0]))


def tariff(kwh, price):
    if kwh < 100:
        return kwh * price
    if kwh < 1000 and not price < 0:
        return 100 * price + (kwh - 100) * price / 2
    return 50 * price + vg.maximum(kwh, price)


def newton(a):
    x, steps = a, 0
    while abs(x * x - a) > 1e-9 * a and steps < 50:
        x, steps = (x + a / x) / 2, steps + 1
    return x


@given(st.floats(-3, 3), st.floats(-3, 3))
def test_a_function_without_branches_gives_what_it_gave(x, y):
    f = replay(smooth, [(0.5, 0.25)])
    assert [*map(bits, f(x, y))] == [*map(bits, smooth(x, y))]
    for which in (0, 1):
        one, other = (lambda x, y, g=g, which=which: g(x, y)[which] for g in (f, smooth))
        assert repr(vg.grad(one, (0, 1))(x, y)) == repr(vg.grad(other, (0, 1))(x, y))
        assert repr(vg.hessian(one)(x, y)) == repr(vg.hessian(other)(x, y))


@given(st.floats(-10, 3000), st.floats(-2, 2))
def test_each_input_takes_its_own_path(kwh, price):
    f = replay(tariff, [(50.0, 0.5), (200.0, 0.5), (200.0, -0.5), (2000.0, 0.5), (2000.0, -0.5)])
    assert bits(f(kwh, price)) == bits(tariff(kwh, price))
    assert bits(f(vg.Value(kwh), price)) == bits(tariff(kwh, price))
    assert repr(vg.grad(f, (0, 1))(kwh, price)) == repr(vg.grad(tariff, (0, 1))(kwh, price))


def test_loops_of_different_lengths():
    f = replay(newton, [(2.0,), (1e6,), (1e-3,)])
    assert [f(2.0), f(1e6), f(1e-3)] == [newton(2.0), newton(1e6), newton(1e-3)]
    assert vg.grad(f)(1e6) == vg.grad(newton)(1e6)


def test_a_path_that_was_not_recorded_says_where_it_begins():
    f = replay(tariff, [(50.0, 0.5)])
    with pytest.raises(vg.PathsError, match=r"tariff\(\) comes from a file, .* test_replaying\.py:\d+, in tariff"):
        f(200.0, 0.5)


def test_a_replay_can_be_recorded_again_with_its_branches():
    f = replay(tariff, [(50.0, 0.5), (200.0, 0.5), (2000.0, 0.5)])
    original = described(tariff, [(200.0, 0.5)]).specialisations[0].paths[0].graph
    again = record(lambda xs: f(*xs), [200.0, 0.5], [False, False], "again").graph
    assert again.counts() == original.counts()
    assert [guard.expected for guard in again.guards] == [guard.expected for guard in original.guards]
    twice = replay(f, [(50.0, 0.5), (200.0, 0.5)])
    assert twice(300.0, 0.25) == tariff(300.0, 0.25)


def test_conditions_can_be_recorded_again():
    def clipped(x, y):
        inside = (x > 0) & (x < 1) | (y != x) ^ (x <= y)
        return vg.where(inside, x * y, vg.where(y, x, -x))

    f = replay(clipped, [(0.5, 0.5)])
    g = replay(f, [(0.5, 0.5)])
    for x in (-1.0, 0.0, 0.5, 2.0):
        for y in (-1.0, 0.0, 0.5, 3.0):
            assert repr(clipped(x, y)) == bits(f(x, y)) == bits(g(x, y))


def test_integers_choose_entries():
    def lookup(x, y, i):
        return vg.take([x, y, x * y], i) + vg.cross_entropy([x, y], i)

    f = replay(lookup, [(2.0, 3.0, 1)], [False, False, True])
    g = replay(f, [(2.0, 3.0, 1)], [False, False, True])
    for i in (0, 1):
        assert f(2.0, 3.0, i) == g(2.0, 3.0, i) == lookup(2.0, 3.0, i)
        assert vg.grad(f)(2.0, 3.0, i) == vg.grad(lookup)(2.0, 3.0, i)
    with pytest.raises(vg.PathsError, match="was not recorded for arguments of this structure"):
        f(2.0, 3.0, 1.5)


def test_a_primitive_keeps_its_local_gradients_of_every_order():
    cube = vg.primitive("cube", lambda x: x * x * x, lambda x, out: (3.5 * x * x,))  # 3.5: whose gradient is used?
    f = replay(lambda x: cube(x) * x, [(2.0,)])
    original = lambda x: cube(x) * x  # noqa: E731
    assert f(2.0) == original(2.0)
    assert vg.grad(f)(2.0) == vg.grad(original)(2.0)
    assert vg.grad(vg.grad(f))(2.0) == vg.grad(vg.grad(original))(2.0)
    g = replay(f, [(2.0,)])
    assert vg.grad(vg.grad(g))(2.0) == vg.grad(vg.grad(original))(2.0)


def test_captured_values_are_leaves_of_the_replay():
    weight, bias = vg.Value(3.0, name="weight"), vg.Value(1.0)

    def model(x):
        return weight * x + bias if x > 0 else bias * x

    f = replay(model, [(2.0,), (-2.0,)])
    assert [value.name for value in f.captured] == ["weight", None]
    assert f(2.0).data == 7.0
    assert f(-2.0).data == -2.0
    f.captured[0].data = 4.0
    y = f(2.0)
    assert y.data == 9.0
    y.backward()
    assert f.captured[0].grad == 2.0


def test_strict_mode_looks_at_the_path_that_is_taken():
    def safe(x):
        return vg.log(x) if x > 0 else -vg.sqrt(-x)

    f = replay(safe, [(1.0,), (-1.0,)])
    with vg.strict():
        assert f(vg.Value(-4.0)).data == -2.0
        with pytest.raises(vg.StrictError):
            f(vg.Value(0.0))


# -------------------------------------------------------------------------------------------- arguments
def nested():
    nodes = Nodes(3)
    graph = nodes.graph([nodes.add("sum", [0, 1, 2]), 2, 1])
    path = PathDescription(graph, output={"sum": Leaf(0), "rest": (Leaf(1, (2,)), None)})
    structure = ((Leaf(0),), {"options": {"b": [Leaf(2)], "a": Leaf(1)}, "mode": "fast"})
    signature = inspect.signature(lambda x, *, options, mode="fast": ...)
    return Replay(ProgramDescription("nested", signature, {}, (Specialisation(structure, (False,) * 3, (path,)),)))


def test_nested_arguments_and_results():
    result = nested()(1, options={"a": 2.0, "b": [3.0]})
    assert result["sum"] == 6.0
    assert result["rest"][0].tolist() == [3.0, 2.0]
    assert result["rest"][1] is None
    assert nested()(vg.Value(1.0), options={"a": 2.0, "b": [3.0]})["sum"].data == 6.0


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        ((1.0,), {"options": {"a": 2.0, "b": (3.0,)}}),
        ((1.0,), {"options": {"a": 2.0, "b": [3.0, 4.0]}}),
        ((1.0,), {"options": {"a": 2.0}}),
        ((1.0,), {"options": {"a": 2.0, "b": [3.0]}, "mode": "slow"}),
        ((True,), {"options": {"a": 2.0, "b": [3.0]}}),
        (("x",), {"options": {"a": 2.0, "b": [3.0]}}),
    ],
)
def test_another_structure_was_not_recorded(args, kwargs):
    with pytest.raises(vg.PathsError, match=r"nested\(\) comes from a file, and was not recorded for arguments"):
        nested()(*args, **kwargs)


def test_arguments_that_do_not_fit():
    with pytest.raises(vg.ValueTypeError, match=r"nested\(\) got arguments that do not fit: missing .*'options'"):
        nested()(1.0)


def test_what_follows_a_guard_is_not_computed_before_it():
    paths = described(tariff, [(50.0, 0.5), (200.0, 0.5)]).specialisations[0].paths
    for kwh, expected in ((1.0, 0), (300.0, 1)):
        path, values = follow("t", paths, lambda path, kwh=kwh: [kwh, 0.5])
        assert path is paths[expected]
        assert len(values) == len(path.graph)


def test_a_recording_decides_the_guards():
    """A lane may decide otherwise than the numbers of its example, which are rounded in another way."""
    f = replay(tariff, [(50.0, 0.5), (200.0, 0.5)])
    recording = record(lambda xs: f(*xs), [50.0, 0.5], [False, False], "again", [False, True])
    assert [guard.expected for guard in recording.graph.guards] == [False, True, False]
    assert recording.graph.counts() == f.specialisations[0].paths[1].graph.counts()


def test_vectors_are_arrays():
    nodes = Nodes(3)
    path = PathDescription(nodes.graph([nodes.add("dot", [0, 1, 2, 2])]), output=Leaf(0))
    arguments = ((Leaf(0, (2,)), Leaf(2)), {})
    f = Replay(
        ProgramDescription(
            "f", inspect.signature(lambda xs, y: ...), {}, (Specialisation(arguments, (False,) * 3, (path,)),)
        )
    )
    assert f(np.array([1.0, 2.0]), 3.0) == 9.0
    x = vg.Value(1.0)
    f(np.array([x, 2.0], dtype=object), 3.0).backward()
    assert x.grad == 3.0
    with pytest.raises(vg.PathsError):
        f(np.array([1.0, 2.0, 3.0]), 3.0)


def test_the_numbers_of_inputs_say_nothing():
    paths = list(described(tariff, [(50.0, 0.5), (200.0, 0.5)]).specialisations[0].paths)
    numbers = paths[0].graph.numbers.copy()
    numbers[:2] = 7.0
    paths[0] = replace(paths[0], graph=replace(paths[0].graph, numbers=numbers))
    assert follow("t", paths, lambda path: [300.0, 0.5])[0] is paths[1]
