"""A program from a file or a pickle computes what the program computed, bit for bit, in any process."""

import copy
import inspect
import math
import multiprocessing
import pickle
import subprocess
import sys
from collections import namedtuple
from dataclasses import replace
from enum import IntEnum
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import valuegrad as vg
from valuegrad import files
from valuegrad.descriptions import Leaf
from valuegrad.files.container import pack, unpack
from valuegrad.program import _from_bytes


def smooth(x, y):
    return vg.exp(x * y) / (1 + y * y)


def tariff(kwh, price=0.25, *, fee=1.0):
    if kwh < 100:
        return {"total": kwh * price + fee, "rest": [fee, 2]}
    return {"total": 100 * price + (kwh - 100) * price / 2 + fee, "rest": [fee, 3]}


def lookup(table, i, mode="plain"):
    entry = vg.take(table["values"], i)
    return vg.exp(entry) if mode == "exp" else entry + vg.sum(table["values"])


LANES = np.linspace(-2.0, 300.0, 101)


def saved(program, tmp_path):
    program.save(tmp_path / "program.vg")
    return vg.load(tmp_path / "program.vg")


def same(a, b):
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.tobytes() == b.tobytes()
    return type(a) is type(b) and repr(a) == repr(b)


# ---------------------------------------------------------------------------------------------- programs
@pytest.mark.parametrize("options", [{}, {"strict": True}, {"dtype": "float32"}, {"threads": 2}])
def test_numbers_and_batches(options, tmp_path):
    program = vg.compile(smooth, **options)
    expected = program(0.5, 0.25), program(LANES / 100, 0.25)
    loaded = saved(program, tmp_path)
    assert same((loaded(0.5, 0.25), loaded(LANES / 100, 0.25)), expected)
    assert (loaded.__name__, str(inspect.signature(loaded)), loaded.options) == ("smooth", "(x, y)", program.options)


def test_paths_defaults_keywords_and_structures(tmp_path):
    program = vg.compile(tariff)
    expected = program(LANES), program(LANES, fee=np.arange(101.0)), program(50.0), program(kwh=200.0, fee=3.0)
    loaded = saved(program, tmp_path)
    found = loaded(LANES), loaded(LANES, fee=np.arange(101.0)), loaded(50.0), loaded(kwh=200.0, fee=3.0)
    assert same(found, expected)
    assert loaded.graph.counts == program.graph.counts


def test_integers_and_static_arguments(tmp_path):
    program = vg.compile(lookup)
    table = {"values": [1.0, 2.0, 3.0]}
    at = np.array([0, 2, -1, 1])
    expected = program(table, at), program(table, 1, mode="exp")
    loaded = saved(program, tmp_path)
    assert same((loaded(table, at), loaded(table, 1, mode="exp")), expected)
    with pytest.raises(vg.IndexRangeError):
        loaded(table, 3)
    with pytest.raises(vg.PathsError, match=r"lookup\(\) comes from a file, and was not recorded for arguments"):
        loaded(table, 1, mode="new")


def test_vectors(tmp_path):
    program = vg.compile(lambda weights, x: vg.sum(list(weights.ravel())) * x, vectors="weights")
    weights = np.arange(6.0).reshape(2, 3)
    expected = program(weights, LANES)
    loaded = saved(program, tmp_path)
    assert same(loaded(weights, LANES), expected)
    assert same(loaded.value_and_grad(weights, LANES), program.value_and_grad(weights, LANES))


def test_results_that_are_arrays(tmp_path):
    program = vg.compile(lambda x: (np.array([x, 2 * x, x * x]), x))
    expected = program(3.0), program(LANES)
    loaded = saved(program, tmp_path)
    assert same((loaded(3.0), loaded(LANES)), expected)


def test_a_loaded_program_can_be_saved_again(tmp_path):
    program = vg.compile(tariff)
    program(LANES)
    loaded = saved(program, tmp_path)
    data = (tmp_path / "program.vg").read_bytes()
    again = saved(loaded, tmp_path)
    assert (tmp_path / "program.vg").read_bytes() == data
    assert same(again(LANES), program(LANES))


def test_captured_values_are_kept(tmp_path):
    weight = vg.Value(3.0, name="weight")
    program = vg.compile(lambda x: weight * x)
    assert program(2.0) == 6.0
    weight.data = 5.0
    loaded = saved(program, tmp_path)
    weight.data = 7.0
    assert (program(2.0), loaded(2.0)) == (14.0, 10.0)
    assert loaded.function.captured[0].name == "weight"


# -------------------------------------------------------------------------------------------- derivatives
@pytest.mark.parametrize("how", ["grad", "value_and_grad", "jacobian", "hessian"])
def test_derivatives_of_a_loaded_program(how, tmp_path):
    program = vg.compile(smooth)
    program(0.5, 0.25)
    loaded = saved(program, tmp_path)
    transform = getattr(vg, how)
    assert same(transform(loaded)(0.5, 0.25), transform(program)(0.5, 0.25))
    assert same(transform(loaded)(LANES / 100, 0.25), transform(program)(LANES / 100, 0.25))


@pytest.mark.parametrize("how", ["grad", "value_and_grad", "jacobian", "hessian"])
@pytest.mark.parametrize("reduce", ["sum", "mean"])
def test_a_derivative_is_a_program_that_can_be_saved(how, reduce, tmp_path):
    program = getattr(vg, how)(vg.compile(smooth, reduce=reduce), (0, 1))
    expected = program(0.5, 0.25), program(LANES / 100, 0.25)
    loaded = saved(program, tmp_path)
    assert same((loaded(0.5, 0.25), loaded(LANES / 100, 0.25)), expected)


def test_gradients_of_all_arguments_can_be_saved(tmp_path):
    program = vg.compile(smooth).value_and_grad
    expected = program(0.5, 0.25), program(LANES / 100, 0.25)
    loaded = saved(program, tmp_path)
    assert same((loaded(0.5, 0.25), loaded(LANES / 100, 0.25)), expected)
    assert same(vg.grad(lambda x: loaded(x, 0.25)[0])(0.5), vg.grad(smooth)(0.5, 0.25))


def test_a_directional_derivative_can_be_saved(tmp_path):
    program = vg.hvp(vg.compile(smooth), argnums=(0, 1))
    expected = program((0.5, 0.25), (1.0, 2.0))
    loaded = saved(program, tmp_path)
    assert same(loaded((0.5, 0.25), (1.0, 2.0)), expected)


@pytest.mark.parametrize("how", ["grad", "value_and_grad", "jacobian", "hessian"])
def test_derivatives_by_entries_that_integers_choose(how, tmp_path):
    program = vg.compile(lambda xs, i: vg.exp(vg.take(xs, i)) * vg.take(xs, i) + vg.cross_entropy(xs, i))
    xs, at = [float(x) / 70 for x in range(70)], np.array([0, 5, -1])  # so many entries stay a gather
    derivative = program.value_and_grad if how == "value_and_grad" else getattr(vg, how)(program)
    program(xs, at)
    expected = derivative(xs, at)
    assert same(saved(derivative, tmp_path)(xs, at), expected)
    assert same(getattr(vg, how)(saved(program, tmp_path))(xs, at), getattr(vg, how)(program)(xs, at))


def test_branches_of_derivatives_of_a_loaded_program(tmp_path):
    program = vg.compile(lambda x: vg.exp(x) if x < 1 else x * x * x)
    expected = program(LANES)
    loaded = saved(program, tmp_path)
    assert same(vg.grad(loaded)(LANES), vg.grad(program)(LANES))
    assert same(vg.grad(vg.grad(loaded))(LANES), vg.grad(vg.grad(program))(LANES))
    assert same(loaded(LANES), expected)


# ------------------------------------------------------------------------------ where there is no function
def test_a_path_that_was_not_recorded_is_an_error(tmp_path):
    program = vg.compile(tariff)
    program(50.0)
    loaded = saved(program, tmp_path)
    with pytest.raises(vg.PathsError, match=r"test_saving\.py:\d+, in tariff; record the function with such inputs"):
        loaded(np.array([50.0, 200.0]))
    assert loaded(60.0) == program(60.0)


def test_values_are_computed_on(tmp_path):
    program = vg.compile(smooth)
    program(0.5, 0.25)
    x = vg.Value(0.5)
    y = saved(program, tmp_path)(x, 0.25)
    y.backward()
    assert (y.data, x.grad) == (smooth(0.5, 0.25), vg.grad(smooth)(0.5, 0.25))


def test_nothing_recorded_is_nothing_to_save(tmp_path):
    with pytest.raises(vg.ProgramFileError, match=r"saving smooth\(\): nothing was recorded yet; call it once"):
        vg.compile(smooth).save(tmp_path / "program.vg")
    assert not (tmp_path / "program.vg").exists()


def test_a_python_function_in_the_graph_cannot_be_saved(tmp_path):
    opaque = vg.primitive("opaque", lambda x: math.gamma(x), lambda x, out: (out,))
    program = vg.compile(lambda x: opaque(x) * x)
    assert program(3.0) == 6.0
    with pytest.raises(vg.ProgramFileError, match=r"saving <lambda>\(\): it calls a Python function"):
        program.save(tmp_path / "program.vg")


def test_a_class_of_the_users_cannot_be_saved(tmp_path):
    point = namedtuple("point", "x y")
    program = vg.compile(lambda x: point(x, 2 * x))
    assert program(1.0) == point(1.0, 2.0)
    with pytest.raises(vg.ProgramFileError, match=r"saving <lambda>\(\), its result: point\(.*cannot be stored"):
        program.save(tmp_path / "program.vg")


def test_a_member_of_an_enum_cannot_be_saved_not_even_as_its_integer(tmp_path):
    kind = IntEnum("kind", "CALL PUT")
    program = vg.compile(lambda x, k: x if k is kind.CALL else -x)
    assert program(1.0, kind.CALL) == 1.0
    with pytest.raises(vg.ProgramFileError, match=r"saving <lambda>\(\), its arguments: .*CALL.*cannot be stored"):
        program.save(tmp_path / "program.vg")


# --------------------------------------------------------------------------------------- other processes
def test_another_process_loads_it(tmp_path):
    program = vg.compile(tariff)
    expected = program(LANES)["total"]
    program.save(tmp_path / "program.vg")
    code = (
        "import sys, numpy as np, valuegrad as vg\n"
        "total = vg.load(sys.argv[1])(np.linspace(-2.0, 300.0, 101))['total']\n"
        "print(total.tobytes().hex())"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "program.vg")], check=True, capture_output=True, text=True
    )
    assert run.stdout.strip() == expected.tobytes().hex()


def test_a_program_is_pickled_to_workers():
    program = vg.compile(smooth)
    expected = [program(x, 0.25) for x in (0.5, 1.5, 2.5)]
    assert same(pickle.loads(pickle.dumps(program))(0.5, 0.25), expected[0])
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.starmap(program, [(0.5, 0.25), (1.5, 0.25), (2.5, 0.25)]) == expected


# ------------------------------------------------------------------------------------------ hostile files
def described():
    program = vg.compile(tariff)
    program(LANES)
    return program._described()


@pytest.mark.parametrize(
    "change",
    [
        {"options": {"static": ("nothing",)}},
        {"options": {"vectors": ("nothing",)}},
        {"transforms": (("grad", "x"),)},
        {"transforms": (("integral", 0),)},
        {"signature": inspect.signature(lambda a, b, c, d, e: ...)},
    ],
)
def test_a_program_that_contradicts_itself_is_refused(change, tmp_path):
    files.write(tmp_path / "program.vg", replace(described(), **change))
    try:
        loaded = vg.load(tmp_path / "program.vg")
    except vg.ProgramFileError:
        return
    with pytest.raises(vg.ValuegradError):
        loaded(50.0)


@pytest.mark.parametrize(
    "change",
    [
        {"arguments": ((Leaf(1), Leaf(0)), {"fee": Leaf(2)})},
        {"arguments": ((Leaf(0), Leaf(1), [[], {"b": Leaf(2)}]), {})},
        {"arguments": (("text", Leaf(0), {"b": Leaf(1), "a": Leaf(2)}), {})},
        {"settings": {}},
        {"settings": {"positions": (7,)}},
        {"settings": {"positions": "all"}},
    ],
)
def test_a_specialisation_that_contradicts_itself_is_refused(change, tmp_path):
    program = described()
    changed = replace(program.specialisations[0], **change)
    files.write(tmp_path / "program.vg", replace(program, specialisations=(changed,)))
    try:
        loaded = vg.load(tmp_path / "program.vg")
    except vg.ProgramFileError as error:
        assert "program.vg is damaged" in str(error)  # noqa: PT017
        return
    with pytest.raises(vg.ValuegradError):
        loaded(50.0)


# ------------------------------------------------------------------------- attacks with a valid digest, and then calls
@cache
def targets():
    """Programs of every kind, and how each is called."""
    cell = vg.primitive("cell", lambda x: x * x, lambda x, out: (2 * x,))
    table = {"values": [1.0, 2.0, 3.0]}
    programs = [
        (vg.compile(smooth), [(0.5, 0.25), (LANES, 0.25)]),
        (vg.compile(tariff), [(50.0,), (LANES,)]),
        (vg.compile(lookup), [(table, np.array([0, 2, -1, 1])), (table, 1)]),
        (vg.grad(vg.compile(smooth), (0, 1)), [(0.5, 0.25), (LANES, 0.25)]),
        (vg.compile(lambda x: (cell(x) / vg.softmax([x, 2 * x])[1], vg.batch_sum(x))), [(0.5,), (LANES,)]),
        (vg.compile(lambda x: vg.norm([x, 1]) + vg.digamma(x) + round(x, 2) + x**2.5), [(0.5,), (LANES,)]),
    ]
    for program, calls in programs:
        for call in calls:
            program(*call)
    return [(unpack(files.dump(program._described()), "file"), calls) for program, calls in programs]


def places(data, place=()):
    yield place
    for key, inner in data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ():
        yield from places(inner, (*place, key))


def attack(data):
    (fields, arrays), calls = data.draw(st.sampled_from(targets()), label="program")
    fields, arrays = copy.deepcopy(fields), dict(arrays)
    for _ in range(data.draw(st.integers(0, 2), label="changes of the JSON")):
        all_places = [place for place in places(fields) if place]
        place = data.draw(st.sampled_from(all_places), label="place")
        holder = fields
        for key in place[:-1]:
            holder = holder[key]
        holder[place[-1]] = data.draw(
            st.sampled_from([0, 1, 2, True, None, "x", [], {"float": 2.5}, {"int": 3}, {"tuple": []}])
        )
    for _ in range(data.draw(st.integers(0, 3), label="changes of arrays")):
        key = data.draw(st.sampled_from(sorted(arrays)), label="array")
        array = arrays[key] = arrays[key].copy()
        if len(array):
            odd = [0.0, -0.0, 1.0, -1.0, 2.0, 3.0, 1e300, math.inf, math.nan] if array.dtype == float else [*range(20)]
            array[data.draw(st.integers(0, len(array) - 1))] = data.draw(st.sampled_from(odd))
    try:
        program = _from_bytes(pack(fields, arrays))
    except vg.ProgramFileError:
        return
    for call in calls:
        for how in (program, program.value_and_grad):
            try:
                how(*call)
            except vg.ValuegradError:
                continue


@given(st.data())
@settings(max_examples=200)
def test_what_an_attacked_file_gives_can_be_called(data):
    attack(data)


@pytest.mark.soak
@given(st.data())
@settings(max_examples=20_000)
def test_what_an_attacked_file_gives_can_be_called_for_long(data):
    attack(data)
