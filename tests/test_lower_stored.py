"""Lowered graphs on disk: another process takes them and computes the same; whatever is wrong is a miss."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engines import ONCE

import valuegrad as vg
from valuegrad.lower import lowering, stored
from valuegrad.lower.stored import graph_entry, machine_graph

pytest.importorskip("valuegrad._passes")
pytestmark = ONCE

X = np.linspace(-1.0, 1.0, 11)


def chain(x: Any, y: Any) -> Any:
    for _ in range(40):
        x, y = vg.tanh(x * y + 0.5), vg.logsumexp([x, y, x * y]) if y > -9 else x
    return x * y


@pytest.fixture(autouse=True)
def small_graphs_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored, "LEAST", 100)
    monkeypatch.setenv("VALUEGRAD_ROLL", "off")  # where nothing is alike enough, the pass runs a second time


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many nodes each graph has that goes through the pass."""
    found: list[int] = []
    run = lowering._MACHINE

    def counted(graph: Any, **options: Any) -> Any:
        found.append(len(graph))
        return run(graph, **options)

    monkeypatch.setattr(lowering, "_MACHINE", counted)
    return found


def result(folder: Any, **options: Any) -> list[Any]:
    value, grads = vg.compile(chain, cache=folder, **options).value_and_grad(X, 0.3)
    return [value.tolist(), grads[0].tolist(), grads[1]]


def test_the_second_time_nothing_goes_through_the_pass(tmp_path: Path, passes: list[int]) -> None:
    expected = result(False)
    assert result(tmp_path / "new") == expected
    assert len(passes) == 2
    assert result(tmp_path / "new") == expected
    assert result(str(tmp_path / "new")) == expected
    assert len(passes) == 2
    assert result(tmp_path / "new", strict=True) != []
    assert len(passes) == 3
    result(tmp_path / "new", dtype="float32")  # the same graph
    assert len(passes) == 3
    assert len(list((tmp_path / "new").iterdir())) == 2


def test_a_graph_that_keeps_its_gathers_is_another_entry(tmp_path: Path) -> None:
    program = vg.compile(lambda xs, i: vg.take([vg.tanh(x) for x in xs], i), cache=False)
    program([X] * 60, 3)
    graph = next(iter(program._paths.values())).root.graph
    for _ in range(2):
        kept = machine_graph(
            graph, False, lowering._MACHINE, graph_entry(graph, False, tmp_path, False, selected=0), selected=0
        )
        chosen = machine_graph(graph, False, lowering._MACHINE, graph_entry(graph, False, tmp_path, False))
        assert ("gather" in kept.counts(), "gather" in chosen.counts()) == (True, False)
    assert len(list(tmp_path.iterdir())) == 2


def test_small_graphs_are_not_kept(tmp_path: Path) -> None:
    assert vg.compile(lambda x: x * x, cache=tmp_path)(3.0) == 9.0
    assert not list(tmp_path.iterdir())


def test_the_default_folder_is_the_environments(
    tmp_path: Path, passes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VALUEGRAD_CACHE", str(tmp_path))
    expected = result(False)
    assert not list(tmp_path.iterdir())
    assert result(True) == result(True) == expected
    assert len(passes) == 2
    monkeypatch.setenv("VALUEGRAD_CACHE", "")
    assert result(True) == expected
    assert len(passes) == 3


def test_damage_is_a_miss_and_mended(tmp_path: Path, passes: list[int]) -> None:
    expected = result(tmp_path)
    [entry] = tmp_path.iterdir()
    whole = entry.read_bytes()
    for i, damaged in enumerate(
        [b"", whole[:100], whole[:-1], whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:], whole + b"\0"]
    ):
        entry.write_bytes(damaged)
        assert result(tmp_path) == expected
        assert len(passes) == i + 2
        assert entry.read_bytes() == whole


def test_an_entry_that_is_no_graph_of_this_kind_is_a_miss() -> None:
    program = vg.compile(chain, cache=False)
    program(0.1, 0.3)
    graph = next(iter(program._paths.values())).root.graph
    machine = lowering._MACHINE(graph, strict=True)
    data = stored._packed(machine)
    back = stored._unpacked(data, graph)
    assert back is not None
    assert stored._packed(back) == data
    assert back.guards == machine.guards
    words = np.frombuffer(data, dtype=np.int32)
    rng = np.random.default_rng(0)
    for _ in range(300):  # whatever passes is a graph, which is all that compiled code relies on
        changed = words.copy()
        changed[rng.integers(0, 8 if rng.random() < 0.3 else len(words))] = rng.integers(-(2**31), 2**31)
        found = stored._unpacked(changed.tobytes(), graph)
        if found is not None:
            lowering.lower(found, b"\0\0", (), "float64", True)
    for wrong in (b"", data[:31], data[:-1], data + b"\0", bytes(len(data))):
        assert stored._unpacked(wrong, graph) is None


def test_a_folder_that_cannot_be_used_is_no_reason_to_fail(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert result(tmp_path / "file") == result(tmp_path / "file" / "below") == result(False)
    for wrong in (None, 3, ""):
        with pytest.raises(vg.ValueTypeError, match=r"compile\(\) got cache=.*; expected True, False or a folder"):
            vg.compile(chain, cache=wrong)  # type: ignore[call-overload]


def test_a_saved_program_names_no_folder(tmp_path: Path) -> None:
    program = vg.compile(chain, cache=tmp_path / "mine")
    program(0.1, 0.3)
    program.save(tmp_path / "chain.vg")
    loaded = vg.load(tmp_path / "chain.vg")
    assert loaded.options.cache is True
    assert loaded(0.1, 0.3) == program(0.1, 0.3)


PROGRAM = """
import sys
sys.path[:0] = sys.argv[2:]
import numpy as np
from valuegrad.lower import lowering, stored
import test_lower_stored as tests
stored.LEAST = 100
run, count = lowering._MACHINE, []
def counted(graph, **options):
    count.append(1)
    return run(graph, **options)
lowering._MACHINE = counted
value, x, y = tests.result(sys.argv[1])
print(len(count), np.array([*value, *x, y]).tobytes().hex())
"""


def process(folder: Path) -> Any:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(folder), *sys.path], stdout=subprocess.PIPE, text=True, env=os.environ
    )


def test_another_process_takes_it_and_gives_the_same_bits(tmp_path: Path) -> None:
    lines = [process(tmp_path).communicate(timeout=120)[0].split() for _ in range(2)]
    assert [line[0] for line in lines] == ["1", "0"]
    assert lines[0][1] == lines[1][1]


def test_processes_at_once_give_the_same(tmp_path: Path) -> None:
    found = {p.communicate(timeout=120)[0].split()[1] for p in [process(tmp_path) for _ in range(4)]}
    assert len(found) == 1
    assert len(list(tmp_path.iterdir())) == 1


def test_a_graph_that_is_kept_is_the_graph_of_the_pass(tmp_path: Path) -> None:
    program = vg.compile(chain, cache=False)
    program(0.1, 0.3)
    graph = next(iter(program._paths.values())).root.graph
    plain = lowering._MACHINE(graph, strict=False)
    for _ in range(2):
        found = machine_graph(graph, False, lowering._MACHINE, graph_entry(graph, False, tmp_path, False))
        assert stored._packed(found) == stored._packed(plain)
        assert (found.calls, found.inputs, found.guards) == (plain.calls, plain.inputs, plain.guards)


def test_that_a_program_is_not_worth_rolling_is_found_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    segments = pytest.importorskip("valuegrad.lower.segments")
    pytest.importorskip("llvmlite")
    looked: list[bool] = []
    before = segments.Segments.__init__

    def counted(self: Any, *args: Any) -> None:
        looked.append(True)
        before(self, *args)

    def mixed(x: Any, y: Any) -> Any:
        for k in range(2500):
            x, y = 0.5 * x - y / (1.5 + k), abs(y) * 0.3 + x
        return x * y

    monkeypatch.setattr(segments.Segments, "__init__", counted)
    monkeypatch.setattr(segments, "RATIO", 10**9)
    monkeypatch.setenv("VALUEGRAD_ROLL", "auto")
    found, why = [], []
    for _ in range(3):
        program = vg.compile(mixed, cache=str(tmp_path))
        found.append(program(X, 0.3).tolist())
        why.append(str(program.graph.loops))
    assert len(looked) == 1
    assert found[0] == found[1] == found[2]
    assert why[0] == why[1] == why[2]
    assert "too few are alike" in why[0]
