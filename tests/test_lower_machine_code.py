"""Machine code on disk: another process runs it to the same bits; whatever is wrong is a miss."""

from __future__ import annotations

import os
import platform
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engines import ONCE

import valuegrad as vg
from valuegrad import cache as cache_module
from valuegrad.gpt.train import Trainer
from valuegrad.lower import llvm, machine_code, stored
from valuegrad.lower.linking import linked
from valuegrad.lower.lowering import lower
from valuegrad.lower.machine_code import MachineCode

_replay = pytest.importorskip("valuegrad._replay")
pytest.importorskip("valuegrad._passes")
pytest.importorskip("llvmlite")
pytestmark = [
    ONCE,
    pytest.mark.skipif(
        (platform.system(), platform.machine()) != ("Linux", "x86_64"), reason="elsewhere LLVM loads what it made"
    ),
]

W, X = np.linspace(-1.0, 1.0, 24), [np.linspace(0.0, 1.0, 11)] * 4


def layer(w: Any, x: Any, y: Any) -> Any:
    errors = [vg.tanh(vg.dot(w[4 * j : 4 * j + 4], [a * a for a in x])) - y for j in range(6)]
    return vg.sum([vg.exp(e) for e in errors])


@pytest.fixture(autouse=True)
def everything_is_rolled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VALUEGRAD_ROLL", "on")
    monkeypatch.delenv("VALUEGRAD_ISA", raising=False)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many modules LLVM got each time."""
    found: list[int] = []
    objects = machine_code.objects

    def counted(texts: list[str]) -> Any:
        found.append(len(texts))
        return objects(texts)

    monkeypatch.setattr(machine_code, "objects", counted)
    return found


def program(folder: Any, **options: Any) -> Any:
    return vg.compile(layer, vectors="w", cache=folder, **options)


def results(folder: Any, **options: Any) -> list[Any]:
    """Of many lanes and of one, with gradients."""
    found = program(folder, **options)
    values, (by_w, by_x, by_y) = found.value_and_grad(W, X, 0.5)
    one, (one_by_w, *_) = found.value_and_grad(W, [0.5, 0.25, 0.125, 1.0], 0.5)
    return [values.tolist(), by_w.tolist(), [x.tolist() for x in by_x], by_y, one, one_by_w.tolist()]


def entries(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# ------------------------------------------------------------------------------------------------------ hits
@pytest.mark.parametrize("options", [{}, {"strict": True}, {"dtype": "float32"}])
def test_what_was_compiled_is_not_compiled_again(tmp_path: Path, made: list[int], options: Any) -> None:
    expected = results(False, **options)
    assert made == [3, 1, 3, 1]  # before and after the lanes, and for lanes; then likewise for one lane alone
    assert results(tmp_path, **options) == expected
    assert results(tmp_path, **options) == expected
    assert results(str(tmp_path), **options) == expected
    assert len(made) == 8


def test_strict_and_the_types_of_numbers_have_their_own(tmp_path: Path, made: list[int]) -> None:
    ways: list[Any] = [{}, {"strict": True}, {"dtype": "float32"}, {"strict": True, "dtype": "float32"}]
    expected = [results(tmp_path, **options) for options in ways]
    assert len(made) == 16
    assert [results(tmp_path, **options) for options in ways] == expected
    assert len(made) == 16


def test_loops_are_shown_after_a_hit_as_before(tmp_path: Path, made: list[int]) -> None:
    shown = []
    for _ in range(2):
        found = program(tmp_path)
        found(W, X, 0.5)
        shown.append((str(found.graph.loops), str(found.graph)))
    assert shown[0] == shown[1]
    assert "for i in 0..5" in shown[0][0]
    assert len(made) == 2


def test_what_was_always_to_be_rolled_is_so_when_it_is_looked_at_later(
    tmp_path: Path, made: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def few_alike(x: Any) -> Any:
        return vg.tanh(vg.exp(x) * x + 2.0) / (vg.sin(x) - 3.0)

    for _ in range(2):
        monkeypatch.setenv("VALUEGRAD_ROLL", "on")
        found = vg.compile(few_alike, cache=tmp_path)
        found(X[0])
        monkeypatch.delenv("VALUEGRAD_ROLL")
        assert "output" in str(found.graph.loops)
        assert "not rolled" not in str(found.graph.loops)
    assert made == [3, 1]


def test_many_lanes_after_one_are_compiled_when_only_one_was_kept(tmp_path: Path, made: list[int]) -> None:
    recorded = program(False)
    expected = recorded(W, X, 0.5)
    graph = next(iter(recorded._paths.values())).root.graph
    made.clear()
    for counts in ([3, 1], [3, 1], [3, 1, 1]):
        lowered = lower(graph, b"\1" * 24 + b"\0" * 4 + b"\1", (), "float64", False, tmp_path)
        n = 1 if len(counts) == 2 else 11
        _, _, [values] = lowered.run(n, np.append(W, 0.5), [np.array(x[:n]) for x in X], 1)
        assert values.tolist() == expected[:n].tolist()
        assert made == counts


def test_a_run_of_the_gpt_finds_its_gradient_and_its_update(
    tmp_path: Path, made: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VALUEGRAD_CACHE", str(tmp_path))
    monkeypatch.delenv("VALUEGRAD_ROLL")
    losses = []
    for _ in range(2):
        trainer = Trainer(["anna", "bob", "carla"])
        losses.append([trainer.train_step().loss for _ in range(5)])
    assert made == [3, 1, 1]
    assert losses[0] == losses[1]


PROGRAM = """
import sys
sys.path[:0] = sys.argv[2:]
import test_lower_machine_code as tests
found = tests.results(sys.argv[1])
print("llvmlite.binding" in sys.modules, repr(found).encode().hex())
"""


def process(folder: Path) -> Any:
    command = [sys.executable, "-c", PROGRAM, str(folder), *sys.path]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "VALUEGRAD_ROLL": "on"})


def test_another_process_imports_no_llvm_and_gives_the_same_bits(tmp_path: Path) -> None:
    lines = [process(tmp_path).communicate(timeout=120)[0].split() for _ in range(2)]
    assert [line[0] for line in lines] == ["True", "False"]
    assert lines[0][1] == lines[1][1]


def test_machine_code_has_no_addresses_of_its_process_in_it(tmp_path: Path) -> None:
    for name in "ab":
        process(tmp_path / name).communicate(timeout=120)
    assert entries(tmp_path / "a") == entries(tmp_path / "b")


def test_processes_at_once_give_the_same(tmp_path: Path) -> None:
    found = {p.communicate(timeout=120)[0].split()[1] for p in [process(tmp_path) for _ in range(3)]}
    assert len(found) == 1
    assert not [name for name in entries(tmp_path) if name.endswith(".tmp")]


# ---------------------------------------------------------------------------------------------------- misses
@pytest.mark.parametrize(
    ("module", "name", "other"),
    [
        (cache_module, "machine", lambda: "another processor with sse2"),
        (stored, "version", lambda: "another LLVM"),
        (stored, "_build", lambda *names: "another valuegrad"),
    ],
)
def test_another_processor_llvm_or_valuegrad_is_a_miss(
    tmp_path: Path, made: list[int], monkeypatch: pytest.MonkeyPatch, module: Any, name: str, other: Any
) -> None:
    program(tmp_path)(W, X, 0.5)
    assert len(made) == 2
    monkeypatch.setattr(module, name, other)
    program(tmp_path)(W, X, 0.5)
    assert len(made) == 4
    assert len(entries(tmp_path)) == 4


def test_nothing_is_kept_for_a_processor_whose_instructions_are_not_known(
    tmp_path: Path, made: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_module, "machine", lambda: "Linux x86_64 little")
    for _ in range(2):
        program(tmp_path)(W, X, 0.5)
    assert len(made) == 4
    assert not list(tmp_path.iterdir())


def test_the_version_of_llvm_is_known_without_importing_it() -> None:
    asked = "import sys; from valuegrad.lower.llvm import version; print(version() > '', 'llvmlite' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", asked], text=True).split() == ["True", "False"]


def test_what_is_always_rolled_is_not_what_is_rolled_where_it_pays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path)(W, X, 0.5)
    monkeypatch.setenv("VALUEGRAD_ROLL", "auto")
    found = program(tmp_path)
    found(W, X, 0.5)
    assert "too few for loops to pay" in str(found.graph.loops)


def test_damage_is_a_miss_and_mended(tmp_path: Path, made: list[int]) -> None:
    expected = program(tmp_path)(W, X, 0.5).tolist()
    whole = entries(tmp_path)
    rng = np.random.default_rng(0)
    for name, data in whole.items():
        at = int(rng.integers(len(data)))
        for damaged in (b"", data[:50], data[:-1], data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :], data + b"\0"):
            (tmp_path / name).write_bytes(damaged)
            count = len(made)
            assert program(tmp_path)(W, X, 0.5).tolist() == expected
            assert len(made) == count + 1
            assert entries(tmp_path) == whole


def test_an_entry_that_is_no_machine_code_of_these_functions_is_a_miss(tmp_path: Path, made: list[int]) -> None:
    expected = program(tmp_path)(W, X, 0.5).tolist()
    cache = cache_module.Cache(tmp_path)
    names = [name.removesuffix(".vgc") for name in entries(tmp_path)]
    before = [cache.get(name) for name in names]
    for wrong in (b"", b"no machine code", *reversed(before)):  # the last ones are the entries, exchanged
        for name in names:
            cache.put(name, wrong or b"")
        count = len(made)
        assert program(tmp_path)(W, X, 0.5).tolist() == expected
        assert len(made) > count
        assert [cache.get(name) for name in names] == before


def test_what_is_no_entry_is_none() -> None:
    data = MachineCode(b"code" * 9, ((1, 4, 7), (2, 20, 0)), (3, 5)).packed()
    assert MachineCode.unpacked(data) == MachineCode(b"code" * 9, ((1, 4, 7), (2, 20, 0)), (3, 5))
    words = np.frombuffer(data[: len(data) // 8 * 8], dtype=np.int64)
    for wrong in (b"", data[:23], data[:-1], data + b"\0", bytes(len(data))):
        assert MachineCode.unpacked(wrong) is None
    for i in range(3):
        for number in (-1, 1 << 40, -(1 << 63)):
            changed = words.copy()
            changed[i] = number
            assert MachineCode.unpacked(changed.tobytes() + data[len(words) * 8 :]) is None
    outside = MachineCode(b"code" * 9, ((1, 36, 7),), ()).packed()
    unknown = MachineCode(b"code" * 9, ((1, 0, 7),), (1 << 20,)).packed()
    assert MachineCode.unpacked(outside) is MachineCode.unpacked(unknown) is None


def test_an_elementary_function_that_is_missing_here_is_a_miss(tmp_path: Path) -> None:
    class Code:
        dtype = "float64"

        @staticmethod
        def function(op: int, dtype: str, strict: bool) -> int:
            return 0

    calling = MachineCode(b"\xc3", ((1, 0, 0),), (3,))
    assert not machine_code._put_in_place(calling, Code(), "blocks", False)


def test_large_arrays_stay_where_they_are_after_a_hit(tmp_path: Path, made: list[int]) -> None:
    w = np.linspace(-1.0, 1.0, 20_000)
    found, stays = [], []
    for _ in range(2):
        one = vg.compile(lambda w: vg.grad(vg.logsumexp)(w), vectors="w", cache=tmp_path)
        found.append(np.array(one(w)))
        stays += [lowered.code.in_place for path in one.graph.paths for lowered in path.lowered.values()]
    assert stays == [(0, 0, 0, 20000)] * 2
    np.testing.assert_array_equal(*found)


# ----------------------------------------------------------------------------------------------------- trust
def test_no_cache_keeps_no_machine_code(tmp_path: Path, made: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VALUEGRAD_CACHE", "off")
    for folder in (True, False):
        for _ in range(2):
            program(folder)(W, X, 0.5)
    assert len(made) == 8
    assert not entries(tmp_path)


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
def test_machine_code_that_others_may_have_written_is_not_run(tmp_path: Path, made: list[int]) -> None:
    program(tmp_path)(W, X, 0.5)
    for path in [*tmp_path.iterdir(), tmp_path]:
        mode = path.stat().st_mode
        path.chmod(0o777)
        count = len(made)
        program(tmp_path)(W, X, 0.5)
        assert len(made) > count
        path.chmod(mode)


def test_a_program_file_carries_no_machine_code(tmp_path: Path, made: list[int]) -> None:
    found = program(tmp_path / "cache")
    expected = found(W, X, 0.5).tolist()
    found.save(tmp_path / "before.vg")
    taken = program(tmp_path / "cache")
    taken(W, X, 0.5)
    assert len(made) == 2
    taken.save(tmp_path / "after.vg")
    assert (tmp_path / "before.vg").read_bytes() == (tmp_path / "after.vg").read_bytes()
    loaded = vg.load(tmp_path / "after.vg")
    assert loaded(W, X, 0.5).tolist() == expected
    assert len(made) == 4  # compiled from its graph


# ------------------------------------------------------------------------------------------ what is not known
IR = """
@table = private constant [4 x double] [double 1.0, double 2.0, double 4.0, double 8.0]
declare void @vg_1(ptr, ptr, ptr, double)
define void @segment1(ptr %a) nounwind {
  call void @vg_1(ptr %a, ptr @table, ptr %a, double 0.0)
  call void @vg_1(ptr %a, ptr @table, ptr %a, double 3.0)
  ret void
}
"""


@pytest.mark.parametrize("reason", ["other objects", "unknown objects", "unknown calls", "no memory"])
def test_what_cannot_be_linked_here_is_loaded_by_llvm_to_the_same_bits_and_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    class Nowhere:
        address = 0

        def __init__(self, code: bytes) -> None: ...

    expected = results(False)
    if reason == "other objects":
        monkeypatch.setattr(machine_code, "objects", lambda texts: None)
    elif reason == "unknown objects":
        monkeypatch.setattr(machine_code, "objects", lambda texts: [b"\xcf\xfa\xed\xfe" * 99 for _ in texts])
    elif reason == "unknown calls":
        called = llvm.objects([IR.replace("vg_1", "memset")])
        monkeypatch.setattr(machine_code, "objects", lambda texts: called)
    else:
        monkeypatch.setattr(_replay, "Executable", Nowhere)
    assert results(tmp_path) == expected
    assert not entries(tmp_path)


def test_a_short_module_goes_to_llvm_once_and_a_long_one_is_not_remembered() -> None:
    nothing = "define void @nothing() {\n  ret void\n}\n"
    first, second = (llvm.objects([text]) for text in [nothing] * 2)
    assert first[0] is second[0]  # type: ignore[index]
    long = f"; {'x' * llvm.SHORT}\n{nothing}"
    first, second = (llvm.objects([text]) for text in [long] * 2)
    assert first == second
    assert first[0] is not second[0]  # type: ignore[index]


def test_objects_with_what_is_not_known_are_not_linked() -> None:
    [data] = llvm.objects([IR])  # type: ignore[misc]
    image = linked([data])
    assert image is not None
    assert (set(image.functions), image.calls, len(image.code) % 8) == ({"segment1"}, ("vg_1",), 0)
    [writable] = llvm.objects([IR.replace("private constant", "global")])  # type: ignore[misc]
    assert linked([writable]) is None
    assert linked([data[:18] + struct.pack("<H", 183) + data[20:]]) is None  # for another processor
    for end in range(0, len(data), 7):
        linked([data[:end]])  # whatever it gives, it raises nothing


def test_memory_for_code_is_freed_with_its_owner_and_belongs_to_nobody_else() -> None:
    one, two = _replay.Executable(b"\xc3"), _replay.Executable(b"\xc3" * 5000)
    assert one.address % 4096 == two.address % 4096 == 0
    assert one.address != two.address
    assert _replay.Executable(b"").address == 0
    with pytest.raises(vg.ValueArgumentError, match="twice"):
        one.__init__(b"\xc3")
