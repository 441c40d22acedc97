"""Recording a function: what becomes a guard, what an operation, what an input, and what is refused."""

from __future__ import annotations

import itertools
import math
import threading
from typing import Any

import numpy as np
import pytest
from engines import NATIVE, ONCE, needs_native
from graphs import evaluate, outputs

import valuegrad as vg
from valuegrad import Value, modes, reference
from valuegrad import math as vm
from valuegrad.graph import check
from valuegrad.primitives.opcodes import OPS
from valuegrad.record import Comparison, IntegerUse, Recording, record

inf, nan = math.inf, math.nan
NUMBERS = [0.0, -0.0, 1.0, -2.5, inf, -inf, nan]


def recorded(f: Any, *example: float, integer: Any = ()) -> Recording:
    """f recorded at a point; its arguments are the inputs."""
    flags = [i in integer for i in range(len(example))]
    result = record(lambda inputs: f(*inputs), example, flags, "f()")
    check(result.graph)
    assert modes.current() == 0
    return result


def replayed(recording: Recording, *inputs: float) -> Any:
    """The result at another point, in its structure."""
    captured = [leaf.data for leaf in recording.captured]
    return recording.output.build(outputs(recording.graph, [*inputs, *captured]))


def holds(recording: Recording, *inputs: float) -> list[bool]:
    """For each guard whether it holds at a point."""
    found = evaluate(recording.graph, [*inputs, *[leaf.data for leaf in recording.captured]])
    return [(found[guard.node] != 0.0) is guard.expected for guard in recording.graph.guards]


def names(recording: Recording) -> list[str]:
    return [OPS[code] for code in recording.graph.ops]


def same(a: Any, b: Any) -> bool:
    return repr(a) == repr(b)


# ------------------------------------------------------------------------------------------------- guards
def test_a_branch_becomes_a_guard_with_its_line() -> None:
    def f(x: Any) -> Any:
        return x * 2 if x > 1 else x - 1

    line = f.__code__.co_firstlineno + 1
    for example in (3.0, 0.5, nan):
        recording = recorded(f, example)
        (guard,) = recording.graph.guards
        assert guard.line.endswith(f"test_record.py:{line}, in f")
        assert holds(recording, example) == [True]
        assert same(replayed(recording, example), f(example))
    assert holds(recorded(f, 3.0), 0.5) == [False]


COMPARE = {
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b,
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
}


@pytest.mark.parametrize("name", COMPARE)
def test_a_comparison_replays_as_python_compares(name: str) -> None:
    compare = COMPARE[name]
    recording = recorded(lambda x, y: [vg.where(compare(x, y), 1.0, 0.0), vg.where(compare(2, x), 1, 0)], 1.0, 2.0)
    guarded = recorded(lambda x, y: bool(compare(x, y)), 1.0, 2.0)
    expected = compare(1.0, 2.0)
    for x, y in itertools.product(NUMBERS, repeat=2):
        assert replayed(recording, x, y) == [compare(x, y), compare(2, x)]
        assert holds(guarded, x, y) == [compare(x, y) is expected]


COMBINED = {
    "and": lambda a, b, c: a & b,
    "or": lambda a, b, c: a | b,
    "xor": lambda a, b, c: a ^ b,
    "not": lambda a, b, c: ~a & b if type(a) is Comparison else (not a) & b,
    "de morgan": lambda a, b, c: ~(a | b) ^ ~c if type(a) is Comparison else (not (a | b)) ^ (not c),
    "equal": lambda a, b, c: (a == b) != c,
    "with bools": lambda a, b, c: (True & a) | (False | b) ^ True,
}


@pytest.mark.parametrize("name", COMBINED)
@pytest.mark.parametrize("negated", [False, True])
def test_combinations_of_comparisons_need_no_guard(name: str, negated: bool) -> None:
    combine = COMBINED[name]
    compare = (lambda x: x != 0) if negated else (lambda x: x > 0)
    f = lambda *xs: vg.where(combine(*map(compare, xs)), 1.0, 0.0)  # noqa: E731
    recording = recorded(f, 1.0, 0.0, 1.0)
    assert recording.graph.guards == ()
    for point in itertools.product((0.0, 1.0), repeat=3):
        assert replayed(recording, *point) == f(*point)


TRUTHS = {
    "bool of a Value": lambda x, y: bool(x),
    "not": lambda x, y: not x,
    "and": lambda x, y: x > 0 and y > 0,
    "or": lambda x, y: x > 5 or y > 0,
    "chain": lambda x, y: 0 < x < y,
    "max": lambda x, y: max(x, y),
    "sorted": lambda x, y: sorted([y, x])[0],
    "int": lambda x, y: int(x > y),
    "float": lambda x, y: float(x > y),
    "product": lambda x, y: (x > 0) * y + 3 * (y < 0) - (x < y),
    "sum": lambda x, y: sum(v > 0 for v in (x, y)),
    "argument": lambda x, y: x + (y > 0) + vg.exp(x > 0),
    "index": lambda x, y: [10.0, 20.0][x > y],
    "key": lambda x, y: {True: 1.0, False: 2.0}[x > y],
    "member": lambda x, y: (x > y) in {True},
    "equal to 1": lambda x, y: (x > y) == 1,
    "in a list": lambda x, y: x in [y, 1.0],
    "while": lambda x, y: next(k for k in itertools.count() if x * 2.0**k > 30),
}


@pytest.mark.parametrize("name", TRUTHS)
def test_whatever_asks_for_the_truth_is_guarded(name: str) -> None:
    f = TRUTHS[name]
    for example in ((1.0, 2.0), (3.0, -1.0), (-4.0, 2.0)):
        if name == "while" and example[0] < 0:
            continue
        recording = recorded(f, *example)
        assert recording.graph.guards
        for point in ((1.0, 2.0), (3.0, -1.0), (-4.0, 2.0), (1.0, 1.0), (0.0, 5.0)):
            if all(holds(recording, *point)):
                assert replayed(recording, *point) == f(*point)
        assert all(holds(recording, *example))


def test_a_comparison_asked_twice_is_guarded_once() -> None:
    def f(x: Any) -> Any:
        positive = x > 0
        return x if positive and positive else -x

    assert len(recorded(f, 1.0).graph.guards) == 1


def test_a_comparison_shows_its_outcome_without_a_guard() -> None:
    recording = recorded(lambda x: (repr(x > 0), repr(x), f"{x:.2f}") and x, 1.5)
    assert recording.graph.guards == ()
    assert "True" in repr(_leaked(lambda x: x > 0))


def _leaked(f: Any) -> Any:
    kept = []
    recorded(lambda x: kept.append(f(x)) or x, 1.0)
    return kept[0]


def test_a_comparison_is_of_no_use_after_its_recording() -> None:
    comparison = _leaked(lambda x: x > 0)
    with pytest.raises(vg.ForgetError, match=r"a comparison was used after the recording of f\(\) had ended"):
        bool(comparison)
    with pytest.raises(vg.ForgetError, match="had ended"):
        recorded(lambda x: vg.where(comparison, x, 0.0), 1.0)


def test_guards_on_values_that_were_there_before() -> None:
    w = Value(2.0)
    recording = recorded(lambda x: x if w > 1 else -x, 1.0)
    assert recording.captured == (w,)
    assert holds(recording, 1.0) == [True]
    w.data = 0.5
    assert holds(recording, 1.0) == [False]


# -------------------------------------------------------------------------------------- choices and indices
def test_where_keeps_both_branches() -> None:
    f = lambda x: vg.where(x > 1, vg.log(x), x * 3)  # noqa: E731
    recording = recorded(f, 0.5)
    assert recording.graph.guards == ()
    assert "select" in names(recording)
    for x in NUMBERS:
        assert same(replayed(recording, x), f(x))


def test_where_of_a_value_and_of_plain_numbers() -> None:
    recording = recorded(lambda x: [vg.where(x, 2.0, 3.0), vg.where(True, x, 1.0), vg.where(np.bool_(0), x, 1.0)], 1.0)
    assert recording.graph.guards == ()
    for x in NUMBERS:
        assert same(replayed(recording, x), [2.0 if x else 3.0, x, 1.0])


def test_take_by_an_integer_input_is_a_gather() -> None:
    table = [Value(float(i)) for i in range(5)]
    recording = recorded(lambda x, i: vg.take([*table, x], i) * x, 7.0, 2.0, integer={1})
    assert recording.graph.guards == ()
    assert recording.integer_uses == (IntegerUse(input=1, entries=6),)
    assert [replayed(recording, 10.0, float(i)) for i in (0, 4, 5, -1, -6)] == [0.0, 40.0, 100.0, 100.0, 0.0]


def test_take_of_rows_and_of_plain_numbers() -> None:
    rows = [[1.0, 2.0], (3.0, 4.0)]
    recording = recorded(lambda i: [vg.take(rows, i), vg.take(np.array([5.0, 6.0]), i)], 0.0, integer={0})
    assert replayed(recording, 1.0) == [[3.0, 4.0], 6.0]
    assert recording.integer_uses == (IntegerUse(input=0, entries=2),)
    with pytest.raises(vg.ShapeError, match=r"take\(\) got rows of different lengths \(2, 1\)"):
        recorded(lambda i: vg.take([[1.0, 2.0], [3.0]], i), 0.0, integer={0})


def test_cross_entropy_by_an_integer_input() -> None:
    f = lambda x, y, i: vg.cross_entropy([x, y, 0.5], i)  # noqa: E731
    recording = recorded(f, 1.0, 2.0, 0.0, integer={2})
    for i in range(3):
        assert replayed(recording, 0.3, -1.0, i) == pytest.approx(f(0.3, -1.0, i), rel=1e-14)


def test_indices_that_cannot_be_recorded() -> None:
    with pytest.raises(vg.IndexRangeError, match=r"take\(\) got index 3; there are 2 entries"):
        recorded(lambda i: vg.take([1.0, 2.0], i), 3.0, integer={0})
    for f in (lambda x: vg.take([1.0, 2.0], x), lambda x: vg.cross_entropy([1.0, 2.0], x)):
        with pytest.raises(vg.ValueTypeError, match="expected an integer argument of the function that is recorded"):
            recorded(f, 1.0)
    with pytest.raises(TypeError):
        recorded(lambda i: [1.0, 2.0][i], 1.0, integer={0})


def test_detach_is_a_row() -> None:
    recording = recorded(lambda x: vg.detach(x) * x + vg.detach(2.0), 3.0)
    assert "detach" in names(recording)
    assert replayed(recording, 4.0) == 18.0
    assert replayed(recorded(lambda x: vg.grad(lambda y: vg.detach(y) * y)(x), 3.0), 4.0) == 4.0


# ----------------------------------------------------------------------------------------------- refusals
LEAF = Value(1.0)
FROZEN = {
    "data": (
        lambda x: x.data,
        r"v\.data got Value\(data=2\.0, grad=0\.0\) \(Value\) inside a function that is recorded",
    ),
    "computed data": (lambda x: (x * 2).data, "vg.where chooses, vg.detach cuts the gradient.*vg.primitive.*static="),
    "float": (float, r"float\(v\) or math's functions got .* inside a function that is recorded"),
    "int": (int, r"int\(v\) got"),
    "complex": (complex, r"complex\(v\) got"),
    "math": (math.sin, "inside a function that is recorded"),
    "custom": (
        lambda x: Value(4.0, [x], [4.0]),
        r"got the number 4\.0 inside a function that is recorded.*vg\.primitive\(name, value, local_grads\)",
    ),
    "no_grad": (lambda x: vg.no_grad().__enter__(), r"no_grad\(\) was entered inside a function .*vg\.detach\(value\)"),
    "strict": (lambda x: vg.strict().__enter__(), r"strict\(\) was entered inside .* around the call of the function"),
    "backward": (lambda x: (x * x).backward(), r"v\.backward\(\), where vg\.grad\(f\) can be recorded, got"),
    "grad": (lambda x: x.grad, r"v\.grad got"),
    "set grad": (lambda x: setattr(x, "grad", 0.0), r"setting v\.grad got"),
    "set data": (lambda x: setattr(LEAF, "data", 3.0), r"setting v\.data got Value\(data=1\.0"),
    "zero_grad": (lambda x: x.zero_grad(), r"v\.zero_grad\(\) got"),
    "local_grads": (lambda x: (x * x).local_grads, r"v\.local_grads got"),
    "read_data": (lambda x: vg.value.read_data([x]), r"read_data\(\) got"),
    "read_grads": (lambda x: vg.value.read_grads([x]), r"read_grads\(\) got"),
    "write_data": (lambda x: vg.value.write_data([x], np.zeros(1)), r"write_data\(\) got"),
    "zero_grads": (lambda x: vg.value.zero_grads([x]), r"zero_grads\(\) got"),
    "frexp": (vm.frexp, r"frexp\(\) got Value\(data=2\.0"),
}


@pytest.mark.parametrize("name", FROZEN)
def test_whatever_would_freeze_a_number_is_refused_with_the_way_out(name: str) -> None:
    f, message = FROZEN[name]
    with pytest.raises(vg.ForgetError, match=message):
        recorded(f, 2.0)
    assert modes.current() == 0
    assert modes.recorder() is None
    assert LEAF.data == 1.0


def test_results_must_be_numbers() -> None:
    with pytest.raises(vg.ValueTypeError, match=r"f\(\), the function's output holds 'a'"):
        recorded(lambda x: [x, "a"], 1.0)


def test_an_exception_leaves_nothing_behind() -> None:
    x, y = Value(2.0), Value(3.0)
    x.grad, y.grad = 5.0, 7.0

    def f(v: Any) -> Any:
        vg.grad(lambda w: w * x)(v)
        raise RuntimeError("the user's own")

    for mode in (vg.no_grad, vg.strict):
        with mode():
            before = modes.current()
            with pytest.raises(RuntimeError, match="user"):
                record(lambda inputs: f(inputs[0] > 0), [1.0], [False], "f()")
            assert modes.current() == before
    assert (x < y) is True
    assert (x.data, x.grad, y.grad) == (2.0, 5.0, 7.0)
    assert (x * y).children == (x, y)


def test_a_recording_leaves_grads_alone() -> None:
    x = Value(2.0)
    x.grad = 5.0
    between = []

    def f(v: Any) -> Any:
        between.append(v * x)
        return between[0] + vg.grad(lambda w: w * w * x)(v)

    recording = recorded(f, 3.0)
    assert x.grad == 5.0
    assert between[0].grad == 0.0
    assert recording.captured == (x,)


def test_other_modes_are_off_inside() -> None:
    with vg.no_grad(), vg.strict():
        recording = record(lambda v: vg.log(v[0]), [0.0], [False], "f()")
    assert names(recording) == ["input", "log"]


def test_numpy_does_not_warn_of_local_gradients() -> None:
    recording = recorded(lambda x: np.sqrt(np.array([x, x * 4])), 0.0)
    assert replayed(recording, 4.0).tolist() == [2.0, 4.0]


def test_a_recording_belongs_to_its_thread() -> None:
    inside, done = threading.Event(), threading.Event()
    found: list[Any] = []

    def other() -> None:
        inside.wait(10)
        v = Value(3.0)
        found.extend([v > 2, v.data, modes.current(), recorded(lambda x: x * x if x > 0 else x, 2.0)])
        done.set()

    thread = threading.Thread(target=other)
    thread.start()

    def f(x: Any) -> Any:
        y = x + 1
        inside.set()
        assert done.wait(10)
        return y * 2 if y > 0 else y

    recording = recorded(f, 1.0)
    thread.join()
    assert found[:3] == [True, 3.0, 0]
    assert replayed(found[3], 5.0) == 25.0
    assert replayed(recording, 5.0) == 12.0
    assert [len(r.graph.guards) for r in (recording, found[3])] == [1, 1]


# --------------------------------------------------------------------------------------- inputs and outputs
def test_leaves_from_before_become_inputs_and_what_was_computed_a_constant() -> None:
    w, b, unused = Value(2.0), Value(3.0), Value(4.0)
    computed = w * 10
    recording = recorded(lambda x: (x * w + computed * w + b, unused * x)[0], 1.0)
    assert recording.captured == (w, b)
    assert recording.graph.inputs == 3
    assert replayed(recording, 1.0) == 1 * 2 + 20 * 2 + 3
    w.data = 5.0
    assert replayed(recording, 1.0) == 1 * 5 + 20 * 5 + 3


def test_a_leaf_made_inside_is_a_constant() -> None:
    recording = recorded(lambda x: x * Value(3.0, name="c"), 1.0)
    assert recording.captured == ()
    assert replayed(recording, 2.0) == 6.0


def test_every_input_is_there_and_dead_code_is_not() -> None:
    recording = recorded(lambda x, y, z: (vg.sin(x), vg.where(y > 0, x, y), vg.grad(vg.cos)(x), z)[3], 1.0, 2.0, 3.0)
    assert names(recording) == ["input"] * 3
    assert recording.graph.outputs.tolist() == [2]


def test_the_result_keeps_its_structure() -> None:
    w = Value(8.0)

    def f(x: Any, y: Any) -> Any:
        return {"b": [x * y, 3, x, w], "a": (np.array([[x, y], [1.0, 2.0]], dtype=object), np.ones(2)), "c": True}

    result = replayed(recorded(f, 1.0, 2.0), 5.0, 7.0)
    assert result["b"] == [35.0, 3.0, 5.0, 8.0]
    assert result["a"][0].tolist() == [[5.0, 7.0], [1.0, 2.0]]
    assert result["a"][1].tolist() == [1.0, 1.0]
    assert result["c"] == 1.0
    assert replayed(recorded(lambda: 3.0)) == 3.0
    assert replayed(recorded(lambda x: [], 1.0), 2.0) == []


def test_every_row_is_recorded_with_its_operands_and_static_number() -> None:
    def f(x: Any, y: Any) -> Any:
        scalars = [x - 2, 2**x, x**3, abs(-y), x // y, x % 2, round(x, 1), vg.polygamma(x, 2), vg.clamp(x, y, 9.0)]
        lists = [vg.sum([x]), vg.sum([x, y, 1.0]), vg.dot([x, 2.0, y], [y, y, 3]), vg.dot([x], [y]), vg.maximum(x, 1)]
        return [*scalars, *lists, *vg.softmax([x, 1, y]), vg.cross_entropy([x, y, 4.0], 1), vg.take([x, y], 1)]

    assert same(replayed(recorded(f, 1.0, 2.0), 0.3, 1.7), [float(y) for y in f(0.3, 1.7)])


def test_a_recording_inside_a_recording_must_not_freeze_the_outer_ones_values() -> None:
    def inner(x: Any) -> Any:
        recorded_inside = record(lambda v: v[0] * 2, [1.0], [False], "g()")
        return x * outputs(recorded_inside.graph, [4.0])[0]

    assert replayed(recorded(inner, 1.0), 3.0) == 24.0

    def frozen(x: Any) -> Any:
        return record(lambda v: v[0] * x, [1.0], [False], "g()")

    for f in (frozen, lambda x: frozen(x * 1)):
        with pytest.raises(vg.ForgetError, match=r"g\(\) was called with plain numbers inside a function"):
            recorded(f, 1.0)


def test_a_long_chain_is_no_problem() -> None:
    def f(x: Any) -> Any:
        for _ in range(20_000):
            x = x * 0.5 + 1
        return x

    assert len(recorded(f, 1.0).graph) == 80_001


# ------------------------------------------------------------------------------------------ math's questions
@pytest.mark.parametrize("name", ["isnan", "isinf", "isfinite", "modf", "degrees"])
def test_questions_about_a_number_are_comparisons(name: str) -> None:
    f = getattr(vm, name)
    for example in NUMBERS:
        recording = recorded(lambda x: f(x) if name in ("modf", "degrees") else vg.where(f(x), 1.0, 0.0), example)
        assert bool(recording.graph.guards) is (name == "modf")
        for x in NUMBERS:
            if all(holds(recording, x)):
                assert same(replayed(recording, x), f(x) if type(f(x)) is not bool else float(f(x)))


PAIRS = [(x, y) for x in (*NUMBERS, 5.0, 1.0 + 1e-10) for y in (*NUMBERS, -3.0, 2.0) if y == y]


@pytest.mark.parametrize("name", ["isclose", "copysign", "remainder"])
def test_functions_that_ask_replay(name: str) -> None:
    f = getattr(vm, name)
    g = (lambda x, y: vg.where(f(x, y), 1.0, 0.0)) if name == "isclose" else f
    recordings = [recorded(g, *point) for point in PAIRS]
    for point, recording in zip(PAIRS, recordings):
        assert bool(recording.graph.guards) is (name == "remainder")
        assert all(holds(recording, *point))
        assert same(replayed(recording, *point), float(f(*point)))
        if name != "remainder":
            assert all(same(replayed(recording, *other), float(f(*other))) for other in PAIRS)


# ------------------------------------------------------------------------------------------------ engines
@ONCE
@needs_native
def test_both_engines_export_the_same_arrays() -> None:
    def arrays(engine: Any) -> Any:
        old, w = engine.Value(1.0), engine.Value(2.0)
        old = old * w
        x, y = engine.Value(3.0), engine.Value(4.0)
        z = x * 2 + old - y**2 + engine.sum([x, 1.0, w, y]) + engine.dot([x], [5.0])
        chosen = engine.where(False, engine.log(z), z * w)
        soft = engine.softmax([chosen, 1.0, w])
        special = engine.recorded(OPS.index("select"), 1.0, [x, soft[1], chosen], [0.0, 1.0, 0.0])
        hidden = engine.recorded(65535, 1.0, [special, engine.sin(z)], [0.0, 1.0])
        x.grad = 9.0
        *found, nodes, captured, frozen, opaque = engine.export([hidden, y, w, old, x], x._created, [x, y])
        assert [v.data for v in captured] == [2.0]
        assert (frozen, x.grad, w.grad) == (old._created, 9.0, 0.0)
        kinds = (np.uint16, np.int32, np.int32, np.float64)
        ops, starts, operands, numbers = [np.frombuffer(data, kind) for data, kind in zip(found, kinds)]
        assert numbers.view(np.uint64)[ops == 65535] == hidden._created
        numbers[ops == 65535] = 0.0
        return [*[x.tolist() for x in (ops, starts, operands, numbers)], nodes, opaque]

    assert arrays(reference) == arrays(NATIVE)
