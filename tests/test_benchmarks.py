"""The benchmark scripts run, compare what they say they compare, and notice who computes something else.

Nothing here is timed: sizes are tiny, and the peers from other packages need not be installed.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import valuegrad as vg

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
pytestmark = [
    pytest.mark.skipif(vg.engine == "readable", reason="each script starts both engines by itself: once is enough"),
    pytest.mark.usefixtures("kept_code"),
]


def module(name: str) -> ModuleType:
    """A file of benchmarks/, which is no package."""
    specification = importlib.util.spec_from_file_location(f"benchmarks_{name}", BENCHMARKS / f"{name}.py")
    assert specification is not None
    assert specification.loader is not None
    loaded = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = loaded
    specification.loader.exec_module(loaded)
    return loaded


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(BENCHMARKS / script), *arguments]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=300)


def samples(tmp_path: Path, script: str, *arguments: str) -> dict[str, dict[str, list[float]]]:
    """What each contestant measured in a run of a script."""
    done = run(script, *arguments, "--json", str(tmp_path / "out.json"))
    assert done.returncode == 0, done.stderr
    (report,) = json.loads((tmp_path / "out.json").read_text())["reports"]
    assert not report["missing"]
    return {runs["contestant"]: runs["samples"] for runs in report["runs"]}


def test_chain_measures_every_metric_in_every_round(tmp_path):
    names = ["valuegrad", "valuegrad, readable engine", "plain class", "plain class, no collector"]
    measured = samples(tmp_path, "chain.py", "--operations", "200", "--rounds", "3", "--only", *names)
    assert list(measured) == names
    for metrics in measured.values():
        assert set(metrics) == {"record", "record_free", "backward"}
        assert all(len(rounds) == 3 and min(rounds) > 0 for rounds in metrics.values())


def test_chain_agrees_with_its_derivative_in_forward_mode(tmp_path):
    # The contestant without a graph calculates the gradient by itself; race() compares it with ours.
    measured = samples(
        tmp_path,
        "chain.py",
        "--operations",
        "200",
        "--rounds",
        "1",
        "--only",
        "floats that remember nothing",
        "valuegrad",
    )
    assert len(measured) == 2


@pytest.mark.skipif(sys.platform == "win32", reason="the resource module is not on Windows")
@pytest.mark.skipif("libasan" in os.environ.get("LD_PRELOAD", ""), reason="the sanitizer keeps what was freed")
def test_memory_of_a_node_lies_between_a_value_and_a_few(tmp_path):
    measured = samples(tmp_path, "memory.py", "--operations", "300000", "--only", "valuegrad")
    # 80 bytes a Value; memory is taken 2 MB at a time, which is 7 bytes a node at this length.
    assert 72 <= measured["valuegrad"]["node"][0] <= 88


def test_script_trains_alike_with_either_class(tmp_path):
    # race() stops when the losses differ by 1e-9, and check_losses when the original's are known and missed.
    measured = samples(tmp_path, "step.py", "--rounds", "1", "--steps", "2", "--only", "valuegrad", "plain class")
    assert len(measured) == 2


def test_gpt_step_runs(tmp_path):
    measured = samples(tmp_path, "gpt.py", "--rounds", "1", "--steps", "2", "--only", "valuegrad")
    assert measured["valuegrad"]["step"][0] > 0


COMPILED = ["valuegrad", "valuegrad, strict"]


class Counting:
    """A number that counts the operations on its kind."""

    operations = 0

    def __add__(self, other):
        Counting.operations += 1
        return Counting()

    __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __add__


def test_lorenz_has_as_many_operations_as_it_says(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    lorenz = module("compiled_lorenz")
    Counting.operations = 0
    lorenz.step(*(Counting() for _ in range(6)))
    assert Counting.operations == lorenz.OPERATIONS_A_STEP


def test_lorenz_compiled_runs_and_agrees_with_strict(tmp_path):
    arguments = ["--operations", "142", "--lanes", "50", "--rounds", "1", "--limit", "60", "--only", *COMPILED]
    measured = samples(tmp_path, "compiled_lorenz.py", *arguments)
    assert list(measured) == COMPILED
    for metrics in measured.values():
        assert set(metrics) == {"f", "fg", "compile_f", "compile_fg", "memory", "lanes"}
        assert metrics["lanes"] == [50]


def test_black_scholes_has_the_greeks_of_the_textbook(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    compilers, benchmark = module("compilers"), module("compiled_black_scholes")
    dialect = compilers.Dialect(vg.exp, vg.log, vg.sqrt, vg.sin, vg.norm_cdf)
    for option in zip(*(x.tolist() for x in benchmark.inputs(20))):
        value, *greeks = benchmark.greeks_by_hand(dialect)(*option)
        price = benchmark.black_scholes(dialect)
        assert price(*option) == pytest.approx(value, rel=1e-13)
        assert vg.grad(price, argnums=(0, 1, 2, 3, 4))(*option) == pytest.approx(greeks, rel=1e-12)


def test_black_scholes_compiled_runs(tmp_path):
    arguments = ["--options", "50", "--rounds", "1", "--only", *COMPILED]
    assert len(samples(tmp_path, "compiled_black_scholes.py", *arguments)) == 2


def test_calls_on_floats_agree(tmp_path):
    names = ["valuegrad", "valuegrad, not compiled", "floats that remember nothing"]
    measured = samples(tmp_path, "compiled_call.py", "--lanes", "1000", "--rounds", "1", "--only", *names)
    assert set(measured["valuegrad, not compiled"]) == {"f", "fg"}
    assert set(measured["floats that remember nothing"]) == {"f"}


def test_compiled_training_loses_what_training_loses(tmp_path):
    names = ["valuegrad", "valuegrad, not compiled"]
    small = ["--batch", "1", "--longest", "6", "--steps", "50"]
    assert list(samples(tmp_path, "compiled_gpt.py", *small, "--rounds", "1", "--only", *names)) == names


@pytest.mark.skipif(not (shutil.which("gcc") and shutil.which("g++")), reason="they are in C and C++")
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_tape_and_c_train_in_batches_as_ours_does(tmp_path, dtype):
    names = ["C by hand", "C++ tape", "valuegrad"]
    small = ["--batch", "3", "--longest", "6"]  # each length is a program
    arguments = [*small, "--dtype", dtype, "--rounds", "1", "--steps", "50", "--only", *names]
    assert list(samples(tmp_path, "compiled_gpt.py", *arguments)) == names


@pytest.mark.skipif(shutil.which("gcc") is None, reason="the processor's peak is measured in C")
@pytest.mark.parametrize("documents", ["full", "lines"])
def test_wider_model_measures_every_metric(tmp_path, documents):
    small = ["--embedding", "8", "--heads", "2", "--layers", "2", "--context", "12", "--batch", "3"]
    arguments = [*small, "--documents", documents, "--rounds", "1", "--steps", "2", "--only", "valuegrad"]
    measured = samples(tmp_path, "compiled_wide.py", *arguments)["valuegrad"]
    assert set(measured) == {"rate", "share", "document", "ready", "memory"}
    assert 0.0 < measured["share"][0] < 1.0


def test_operations_of_a_wider_model_are_those_of_its_products(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    wide = module("compiled_wide")
    sizes = wide.Sizes(embedding=2, heads=1, layers=1, context=8)
    # One position: 12 * 2 * 2 in the layer, 3 * 2 for three logits, 2 * 2 for the pair with itself; 2 each, 3 times.
    assert sizes.operations(np.array([1]), 3) == 6.0 * (48 + 6 + 4)


@pytest.mark.skipif(not (shutil.which("gcc") and shutil.which("g++")), reason="written in C and C++")
@pytest.mark.parametrize(
    ("script", "arguments"),
    [
        ("compiled_mixture.py", ["--points", "13", "--components", "3"]),
        ("compiled_lstm.py", ["--length", "9", "--features", "5"]),
        ("compiled_logsumexp.py", ["--numbers", "100", "--written", "library"]),
        ("compiled_logsumexp.py", ["--numbers", "100", "--written", "loop"]),
        ("compiled_ode.py", ["--states", "20", "--steps", "3"]),
    ],
)
def test_gradients_by_hand_and_by_tape_agree_with_ours(tmp_path, script, arguments):
    measured = samples(tmp_path, script, *arguments, "--rounds", "1")
    assert list(measured) == ["valuegrad", "C by hand", "C++ tape"]
    assert set(measured["valuegrad"]) == {"run", "record", "transform", "ready", "memory"}
    assert set(measured["C by hand"]) == {"run", "ready", "memory"}


def test_programs_as_people_write_them_agree_compiled_and_not(tmp_path):
    measured = samples(tmp_path, "compiled_programs.py", "--program", "path", "--rounds", "1")
    assert list(measured) == ["valuegrad", "straight-line code", "Values"]
    assert set(measured["valuegrad"]) == {"call", "first", "loops_ready", "nodes", "loops", "memory"}
    assert measured["valuegrad"]["loops"] != measured["straight-line code"]["loops"]


def test_plain_class_has_the_gradients_of_ours():
    def expression(Value):
        a, b = Value(0.5), Value(3.0)
        out = (a * b - 1).exp() / (b + 2).log() + (-a) ** 3 + (2 - b).relu() + (1 / b).relu()
        out.backward()
        return out.data, a.grad, b.grad

    # Division is one operation in ours and two in the plain class: a few roundings apart.
    assert expression(vg.Value) == pytest.approx(expression(module("plain_value").Value), rel=1e-14)


def test_missing_package_is_said_and_the_others_run(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        f"import sys; sys.path.insert(0, {str(BENCHMARKS)!r})\n"
        "import harness\n"
        "def prepare(name, settings):\n"
        "    if name == 'absent':\n"
        "        raise ImportError('No module named absent')\n"
        "    return '1', lambda: {'x': 2.0, 'check': {'other': 8.0}.get(name, 7.0)}\n"
        "harness.main(prepare, None, '', {})\n"
    )
    harness = module("harness")
    runs, missing = harness.race(script, ["present", "absent"], 2, {}, agree_within=0.0)
    assert [(r.contestant, r.samples) for r in runs] == [("present", {"x": [2.0, 2.0]})]
    assert missing == {"absent": "No module named absent"}
    with pytest.raises(SystemExit, match=r"different numbers: other 8\.0, present 7\.0"):
        harness.race(script, ["present", "other"], 1, {}, agree_within=1e-9)


def test_of_many_numbers_those_furthest_apart_are_shown():
    message = module("harness").difference("a", [1.0, 2.0, 3.0], "b", [1.0, 2.5, 3.1])
    assert message.endswith("a 2.0, b 2.5 (number 2 of 3)")


def test_failing_contestant_stops_the_run(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        f"import sys; sys.path.insert(0, {str(BENCHMARKS)!r})\n"
        "import harness\n"
        "def prepare(name, settings):\n"
        "    raise ValueError('broken')\n"
        "harness.main(prepare, None, '', {})\n"
    )
    with pytest.raises(SystemExit, match="broken one failed with exit code 1"):
        module("harness").race(script, ["broken one"], 1, {}, agree_within=0.0)


SLOW = (
    "import sys; sys.path.insert(0, {benchmarks!r})\n"
    "import harness, time\n"
    "def prepare(name, settings):\n"
    "    while name == 'busy': pass\n"
    "    if name == 'asleep': time.sleep(60)\n"
    "    return '1', lambda: {{'x': 2.0, 'check': [1.0, 2.0]}}\n"
    "harness.main(prepare, None, '', {{}})\n"
)


def test_who_takes_too_long_is_given_up(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SLOW.format(benchmarks=str(BENCHMARKS)))
    names = ["busy", "ready", "asleep"]
    runs, missing = module("harness").race(script, names, 1, {}, agree_within=0.0, limit=1.0)
    assert [run.contestant for run in runs] == ["ready"]
    assert missing == {"busy": "does not finish in 1 s", "asleep": "does not finish in 1 s"}


def test_lists_agree_relative_to_their_largest_number():
    agree = module("harness").agree
    assert agree([1e-12, 1.0], [0.0, 1.0], 1e-9)
    assert not agree([1e-8, 1.0], [0.0, 1.0], 1e-9)
    assert not agree([1.0], [1.0, 1.0], 1e-9)
    assert not agree(float("nan"), 1.0, 1e-9)


def test_ratio_is_the_median_of_the_rounds_ratios():
    harness = module("harness")
    ours = harness.Runs("valuegrad", "1", {"t": [1.0, 10.0, 2.0]})
    other = harness.Runs("other", "1", {"t": [2.0, 30.0, 8.0]})
    assert other.ratio(ours, "t") == 3.0  # of 2, 3 and 4; the ratio of the medians would be 4


def test_tables_go_between_the_markers(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(BENCHMARKS)
    run_all = module("run_all")
    page = tmp_path / "page.md"
    monkeypatch.setitem(run_all.MARKERS, page, ("<begin>", "<end>"))
    page.write_text("before\n<begin>\nold\n<end>\nafter\n")
    assert run_all.filled_in(page, "new\n") == "before\n<begin>\n\nnew\n\n<end>\nafter\n"
    page.write_text("no markers")
    with pytest.raises(SystemExit, match="lacks the lines"):
        run_all.filled_in(page, "new")


def test_both_pages_have_their_markers(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    run_all = module("run_all")
    for page in (run_all.TABLES, run_all.FRONT):
        assert "the tables" in run_all.filled_in(page, "the tables")


def test_a_benchmark_that_fails_costs_the_tables_but_no_other_report(monkeypatch, tmp_path, capsys):
    monkeypatch.syspath_prepend(BENCHMARKS)
    run_all, harness = module("run_all"), module("harness")
    found = harness.Report("a chain", {}, {}, [], {})

    def fails():
        raise SystemExit("the contestant gave up")

    monkeypatch.setattr(run_all, "benchmarks", lambda quick: {"gpt": fails, "chain": lambda: found})
    monkeypatch.setattr(run_all, "write", pytest.fail)
    monkeypatch.setattr("sys.argv", ["run_all.py", "--json", str(tmp_path / "samples.json")])
    with pytest.raises(SystemExit, match="gpt: the contestant gave up"):
        run_all.main()
    assert "gpt: the contestant gave up" in capsys.readouterr().err
    assert "a chain" in (tmp_path / "samples.json").read_text()
