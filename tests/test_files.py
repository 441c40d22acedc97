"""A program's file gives back the program, or a ProgramFileError: whatever is in it, and whoever wrote it."""

import copy
import inspect
import json
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import safetensors.numpy
from engines import ONCE
from hypothesis import given, settings
from hypothesis import strategies as st
from programs import RICH, SMALL, same

import valuegrad as vg
from valuegrad import files
from valuegrad.descriptions import Leaf, PathDescription, Specialisation, decode, encode
from valuegrad.files.container import ARRAYS, pack, unpack
from valuegrad.graph import Graph, Guard, Nodes
from valuegrad.primitives import TABLE
from valuegrad.primitives.opcodes import OPCODE, STRUCTURAL

pytestmark = ONCE  # no engine computes here

FILES = {"small": files.dump(SMALL), "rich": files.dump(RICH)}


def content(name="rich"):
    """A file's JSON object and arrays, free to be changed."""
    fields, arrays = unpack(FILES[name], "file")
    return copy.deepcopy(fields), {key: array.copy() for key, array in arrays.items()}


def opens(data):
    """Whether bytes are a program; anything but a ProgramFileError fails the test."""
    try:
        program = files.parse(data, "file")
    except vg.ProgramFileError as error:
        message = str(error)
        assert message.startswith("file "), message
        return False
    assert same(files.parse(files.dump(program)), program)
    return True


# ------------------------------------------------------------------------------------------ what is stored
@pytest.mark.parametrize("program", [SMALL, RICH], ids=["small", "rich"])
def test_a_file_gives_back_the_program(program, tmp_path):
    files.write(tmp_path / "program.vg", program)
    assert same(files.read(tmp_path / "program.vg"), program)


def test_the_same_program_gives_the_same_bytes():
    assert files.dump(files.parse(FILES["rich"])) == FILES["rich"]


def test_operations_are_stored_by_name():
    """So that a file survives a table in which the rows have other numbers."""
    fields, arrays = content()
    order = fields["operations"][::-1]
    assert "softmax" in order
    for name, array in arrays.items():
        if name.endswith(".ops"):
            arrays[name] = (len(order) - 1 - array).astype(np.uint16)
    fields["operations"] = order
    assert same(files.parse(pack(fields, arrays)), RICH)


def test_the_folders_of_source_files_are_not_stored():
    assert b"/home/me" not in FILES["rich"]
    assert files.parse(FILES["rich"]).specialisations[0].paths[0].graph.guards[0].line == "price.py:12, in price"


def test_a_file_can_be_read_with_safetensors_alone():
    arrays = safetensors.numpy.load(FILES["small"])
    assert set(arrays) == {f"0.{name}" for name in ARRAYS}


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
KEYS = st.text() | st.integers() | st.booleans() | st.none()
PLAIN = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(KEYS, inner),
    max_leaves=20,
)


@given(PLAIN | st.recursive(st.builds(Leaf, st.integers(0, 9)), lambda inner: st.lists(inner | PLAIN)))
def test_structures_survive(structure):
    assert same(decode(json.loads(json.dumps(encode(structure, "test"), allow_nan=False))), structure)


def test_numpy_scalars_are_stored_as_numbers():
    assert decode(encode([np.float64(1.5), np.int32(3), np.bool_(True)], "test")) == [1.5, 3, True]


ROWS = [name for name, row in TABLE.items() if not row.static]


@st.composite
def graphs(draw):
    nodes = Nodes(draw(st.integers(0, 3)))
    nodes.const(draw(st.floats()))
    for _ in range(draw(st.integers(0, 12))):
        name = draw(st.sampled_from([*ROWS, "lt", "le", "eq", "and", "or", "not", "select"]))
        count = len(TABLE[name].children) if name in TABLE else {"not": 1, "select": 3}.get(name, 2)
        if name in TABLE and TABLE[name].vectors:
            count = draw(st.integers(1, 4)) * TABLE[name].vectors
        earlier = st.integers(0, len(nodes.ops) - 1)
        nodes.add(name, draw(st.lists(earlier, min_size=count, max_size=count)))
    anything = st.integers(0, len(nodes.ops) - 1)
    guards = st.builds(Guard, anything, st.booleans(), st.just("f.py:1, in f"))
    return nodes.graph(draw(st.lists(anything, max_size=3)), draw(st.lists(guards, max_size=3)))


@given(graphs())
def test_graphs_survive(graph):
    arguments = (tuple(Leaf(i) for i in range(graph.inputs)), {})
    path = PathDescription(graph, output=[Leaf(i) for i in range(len(graph.outputs))])
    program = replace(
        SMALL, specialisations=(Specialisation(arguments, integers=(False,) * graph.inputs, paths=(path,)),)
    )
    assert same(files.parse(files.dump(program)), program)


# -------------------------------------------------------------------------------------- what cannot be stored
def with_static(x):
    return replace(SMALL, specialisations=(replace(SMALL.specialisations[0], settings={"mode": x}),))


@pytest.mark.parametrize("x", [print, object(), {1, 2}, b"bytes", 1j, inspect.signature, np.zeros(3)])
def test_what_no_file_can_hold_is_refused(x):
    with pytest.raises(vg.ProgramFileError, match=r"saving area\(\), mode: .* cannot be stored in a program's file"):
        files.dump(with_static(x))


def test_an_endless_integer_is_refused():
    with pytest.raises(vg.ProgramFileError, match="an integer of 20001 bits"):
        files.dump(with_static(1 << 20_000))


def test_a_deep_nesting_is_refused():
    deep = []
    for _ in range(5000):
        deep = [deep]
    with pytest.raises(vg.ProgramFileError, match="nestings more than 100 deep"):
        files.dump(with_static(deep))


def test_a_python_function_is_refused():
    def blackbox(x):
        return x

    nodes = Nodes(2)
    path = PathDescription(nodes.graph([nodes.add("call", [0])], calls=[blackbox]), output=Leaf(0))
    program = replace(SMALL, specialisations=(replace(SMALL.specialisations[0], paths=(path,)),))
    with pytest.raises(vg.ProgramFileError, match=r"saving area\(\): it calls a Python function .*blackbox"):
        files.dump(program)


# --------------------------------------------------------------------------------------- what cannot be opened
def test_a_missing_file_says_so(tmp_path):
    with pytest.raises(vg.ProgramFileError, match=r"nothing\.vg cannot be read: No such file"):
        files.read(tmp_path / "nothing.vg")
    with pytest.raises(vg.ProgramFileError, match="cannot be read"):
        files.read(tmp_path)


def test_another_safetensors_file_says_so():
    with pytest.raises(vg.ProgramFileError, match=r"file is no program of valuegrad"):
        files.parse(safetensors.numpy.save({"x": np.zeros(3)}, metadata={"format": "pt"}), "file")


def test_a_newer_version_says_so():
    fields, arrays = content("small")
    fields["version"] = 2
    with pytest.raises(vg.ProgramFileError, match=r"has version 2; this valuegrad reads .* install a newer valuegrad"):
        files.parse(pack(fields, arrays), "file")


@pytest.mark.parametrize("what", ["operations", "options"])
def test_what_only_a_newer_valuegrad_knows_says_so(what):
    fields, arrays = content("small")
    if what == "operations":
        fields["operations"].append("bessel")
    else:
        fields["options"]["quantum"] = True
    with pytest.raises(vg.ProgramFileError, match=r"'(bessel|quantum)'.* install a newer valuegrad"):
        files.parse(pack(fields, arrays), "file")


@pytest.mark.parametrize("name", FILES)
def test_a_truncated_file_is_refused(name):
    data = FILES[name]
    for end in range(len(data)):
        assert not opens(data[:end])
    assert not opens(data + b"\0")


def test_any_changed_byte_is_noticed():
    data = FILES["small"]
    for position in range(len(data)):
        for change in (1, 0x80, 0xFF):
            changed = bytearray(data)
            changed[position] ^= change
            if opens(bytes(changed)):  # white space at the header's end, which says nothing
                assert data[position : position + 1] == b" "


@given(st.binary(max_size=200))
def test_any_bytes_are_refused(data):
    assert not opens(data)
    assert not opens(FILES["rich"][:8] + data)


# ----------------------------------------------------------------- what a stranger may write, with a valid digest
def places(data, place=()):
    """Every place in a JSON document."""
    yield place
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, inner in items:
        yield from places(inner, (*place, key))


def holder_of(fields, place):
    for key in place[:-1]:
        fields = fields[key]
    return fields


def changed_at(fields, place, new):
    if not place:
        return new
    holder_of(fields, place)[place[-1]] = new
    return fields


WRONG = [
    None,
    True,
    -1,
    0,
    1,
    2,
    3,
    1 << 40,
    1.5,
    "",
    "sum",
    [],
    [0],
    [[]],
    {},
    {"int": 1},
    {"float": 1.0},
    {"list": []},
]


@pytest.mark.parametrize("name", FILES)
def test_any_wrong_json_value_is_refused_or_harmless(name):
    fields, arrays = content(name)
    for place in list(places(fields)):
        was = holder_of(fields, place)[place[-1]] if place else fields
        for new in WRONG:
            if type(new) is not type(was) or new != was:
                opens(pack(changed_at(fields, place, new), arrays))
        changed_at(fields, place, was)


@pytest.mark.parametrize("name", FILES)
def test_missing_and_further_members_are_refused(name):
    """But an option may be missing, and settings may have any names."""
    fields, arrays = content(name)
    for place in list(places(fields)):
        if place and isinstance(place[-1], str):
            broken = copy.deepcopy(fields)
            holder = broken
            for key in place[:-1]:
                holder = holder[key]
            option = len(place) == 2 and place[0] == "options"
            setting = len(place) == 4 and place[2] == "settings"
            was = holder.pop(place[-1])
            assert opens(pack(broken, arrays)) == (option or setting)
            holder |= {place[-1]: was, "further": was}
            assert opens(pack(broken, arrays)) == setting


@pytest.mark.parametrize("name", FILES)
def test_any_wrong_number_in_an_array_is_refused_or_harmless(name):
    fields, arrays = content(name)
    for key, array in arrays.items():
        extremes = [np.nan, np.inf, -1.0, 0.5, 1e300] if array.dtype == np.float64 else []
        if array.dtype != np.float64:
            limits = np.iinfo(array.dtype)
            extremes = [limits.min, limits.max, 0, 1, 2, 3, len(array)]
        for position in range(len(array)):
            for new in extremes:
                if new == array[position] and new != 0.0:  # 0.0 and -0.0 are two numbers
                    continue
                changed = array.copy()
                changed[position] = new
                opens(pack(fields, {**arrays, key: changed}))


def test_arrays_of_other_lengths_types_and_names_are_refused():
    fields, arrays = content()
    for key, array in arrays.items():
        longer = np.concatenate([array, array[-1:] if len(array) else np.zeros(1, array.dtype)])
        for changed in (longer, array.astype(np.float32), array.reshape(1, -1), *[array[:-1]] * (len(array) > 0)):
            if key.endswith(".guard_lines") and changed is longer:
                continue
            outcome = opens(pack(fields, {**arrays, key: changed}))
            assert not outcome, key
        without = {name: x for name, x in arrays.items() if name != key}
        assert not opens(pack(fields, without))
        assert not opens(pack(fields, {**without, "x" + key: array}))
        assert not opens(pack(fields, {**arrays, "9" + key: array}))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["int", "list", "dict", "x"]), inner),
    max_leaves=6,
)


def attack(data):
    """Change a file in several places at once."""
    fields, arrays = content(data.draw(st.sampled_from(sorted(FILES)), label="file"))
    for _ in range(data.draw(st.integers(0, 3), label="changes of the JSON")):
        all_places = list(places(fields))
        place = all_places[data.draw(st.integers(0, len(all_places) - 1), label="place")]
        copied = all_places[data.draw(st.integers(0, len(all_places) - 1), label="from")]
        new = fields
        for key in copied:
            new = new[key]
        fields = changed_at(fields, place, data.draw(JSON | st.just(copy.deepcopy(new)), label="new"))
    for _ in range(data.draw(st.integers(0, 3), label="changes of arrays")):
        key = data.draw(st.sampled_from(sorted(arrays)), label="array")
        raw = bytearray(arrays[key].tobytes())
        for _ in range(data.draw(st.integers(0, 3))):
            if raw:
                raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.sampled_from([0, 1, 2, 127, 128, 255]))
        arrays[key] = np.frombuffer(bytes(raw), arrays[key].dtype)[: data.draw(st.none() | st.integers(0, 9))]
    opens(pack(fields, arrays))


@given(st.data())
@settings(max_examples=300)
def test_any_attack_is_refused_or_harmless(data):
    attack(data)


@pytest.mark.soak
@given(st.data())
@settings(max_examples=30_000)
def test_any_attack_is_refused_or_harmless_for_long(data):
    attack(data)


@pytest.mark.soak
@given(st.binary(min_size=0, max_size=40), st.integers(0, 10**6), st.integers(0, 40))
@settings(max_examples=30_000)
def test_any_bytes_within_a_file_are_refused_or_harmless_for_long(new, position, removed):
    data = FILES["rich"]
    position %= len(data)
    opens(data[:position] + new + data[position + removed :])


# Each names what a file must not do, as a change of the rich program's.
def a_circle(fields, arrays):
    fields["specialisations"][0]["paths"][2]["branches"] = [[0, 0]]


def a_path_of_its_own(fields, arrays):
    fields["specialisations"][0]["paths"][0]["branches"] = []


def two_ways_to_a_path(fields, arrays):
    fields["specialisations"][0]["paths"][0]["branches"] = [[0, 1], [0, 2]]


def a_branch_with_the_same_outcome(fields, arrays):
    arrays["1.guard_expected"][0] = 1


def sizes_that_wrap_around(fields, arrays):
    arrays["0.starts"][1], arrays["0.starts"][2] = 2**31 - 1, -(2**31)


def an_index_that_is_no_integer(fields, arrays):
    fields["specialisations"][0]["integers"] = []


def an_index_that_is_computed(fields, arrays):
    gather = int(np.flatnonzero(arrays["0.ops"] == fields["operations"].index("gather"))[0])
    arrays["0.operands"][arrays["0.starts"][gather + 1] - 1] = gather - 1


def an_index_into_another_list(fields, arrays):
    fields["specialisations"][0]["paths"][1]["integer_uses"] = [[2, 4]]


def an_array_larger_than_all(fields, arrays):
    fields["structures"][0] = {"array": [0, [1 << 40, 1 << 40]]}


def arguments_larger_than_all(fields, arrays):
    where = fields["specialisations"][0]["arguments"]
    fields["structures"][where] = {"tuple": [{"tuple": [{"array": [0, [1 << 40]]}]}, {"dict": []}]}


def half_a_digit(fields, arrays):
    arrays["0.numbers"][arrays["0.ops"] == fields["operations"].index("round")] = 0.5


def a_target_outside(fields, arrays):
    arrays["0.numbers"][arrays["0.ops"] == fields["operations"].index("cross_entropy")] = 3.0


def a_python_function(fields, arrays):
    fields["operations"][fields["operations"].index("custom")] = "call"


def too_many_threads(fields, arrays):
    fields["options"]["threads"] = {"int": 1 << 30}


def a_deep_structure(fields, arrays):
    deep = 0
    for _ in range(150):
        deep = {"list": [deep]}
    fields["structures"][0] = deep


def a_parameter_that_is_no_name(fields, arrays):
    fields["parameters"][0]["name"] = "import os; os"


@pytest.mark.parametrize(
    "change",
    [
        a_circle,
        a_path_of_its_own,
        two_ways_to_a_path,
        a_branch_with_the_same_outcome,
        sizes_that_wrap_around,
        an_index_that_is_no_integer,
        an_index_that_is_computed,
        an_index_into_another_list,
        an_array_larger_than_all,
        arguments_larger_than_all,
        half_a_digit,
        a_target_outside,
        a_python_function,
        too_many_threads,
        a_deep_structure,
        a_parameter_that_is_no_name,
    ],
)
def test_a_hostile_file_is_refused(change):
    fields, arrays = content()
    change(fields, arrays)
    assert not opens(pack(fields, arrays))


@pytest.mark.parametrize("program", ["[" * 100_000, "9" * 1_000_000, '{"version":' + "1" * 5000 + "}", "NaN", ""])
def test_an_endless_or_invalid_json_is_refused(monkeypatch, program):
    monkeypatch.setattr(json, "dumps", lambda fields, **options: program)
    data = pack({}, {})
    monkeypatch.undo()
    assert not opens(data)


def test_what_is_allocated_is_in_proportion_to_the_file():
    fields, arrays = content()
    sizes_that_wrap_around(fields, arrays)
    arrays["0.guard_nodes"][0] = 2**31 - 1
    data = pack(fields, arrays)
    tracemalloc.start()
    try:
        assert not opens(data)
        assert tracemalloc.get_traced_memory()[1] < 60 * len(data)
    finally:
        tracemalloc.stop()


def test_a_large_graph_is_small_and_quick():
    n = 100_000
    graph = Graph(
        ops=np.array([OPCODE["input"]] + [OPCODE["add"]] * n, dtype=np.uint16),
        starts=np.concatenate([[0], np.arange(0, 2 * n + 1, 2)]).astype(np.int32),
        operands=np.repeat(np.arange(n), 2).astype(np.int32),
        numbers=np.zeros(n + 1),
        inputs=1,
        outputs=np.array([n], dtype=np.int32),
    )
    specialisation = Specialisation(
        ((Leaf(0),), {}), integers=(False,), paths=(PathDescription(graph, output=Leaf(0)),)
    )
    data = files.dump(replace(SMALL, specialisations=(specialisation,)))
    assert len(data) < 23 * n
    assert opens(data)


def test_every_structural_operation_has_a_test_here():
    """A new one may need a check of its own when a file is read."""
    assert set(STRUCTURAL) == {
        *["input", "const", "lt", "le", "eq", "and", "or", "not", "select", "gather", "custom", "call"],
        *["batch_sum", "lanes"],
    }
