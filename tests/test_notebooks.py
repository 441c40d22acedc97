"""The notebooks in docs/ run from their first cell to their last and give what they show."""

import json
import re
import subprocess
import sys

import pytest
from engines import ONCE, needs_native, needs_replay
from trees import ROOT, needs_source_tree

FOLDER = ROOT / "docs" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
COMPILED = {"from_scalars_to_a_gpt": [needs_native, needs_replay]}  # a minute's training without compiled code
MOST_BYTES = 300_000
pytestmark = [ONCE, needs_source_tree, pytest.mark.usefixtures("kept_code")]


def run(*arguments):
    command = [sys.executable, str(FOLDER / "execute.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=600)


@pytest.mark.parametrize("path", [pytest.param(p, id=p.stem, marks=COMPILED.get(p.stem, [])) for p in NOTEBOOKS])
def test_a_notebook_gives_what_it_shows(path):
    pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    result = run("--check", path.stem)
    assert result.returncode == 0, result.stdout + result.stderr


def test_there_are_three_notebooks():
    assert [path.stem for path in NOTEBOOKS] == [
        "a_number_that_remembers", "from_scalars_to_a_gpt", "where_did_the_nan_come_from",
    ]  # fmt: skip


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_small_and_of_no_particular_machine(path):
    text = path.read_text(encoding="utf-8")
    assert len(text) < MOST_BYTES
    assert not re.search(r"/tmp/|/home/|/root/|ipykernel_\d|object at 0x|[A-Z]:\\\\", text)
    notebook = json.loads(text)
    assert [cell["id"] for cell in notebook["cells"]] == [f"cell-{i:02}" for i in range(1, len(notebook["cells"]) + 1)]
    counts = [cell["execution_count"] for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert counts == list(range(1, len(counts) + 1))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_shows_no_error_and_no_warning(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    assert len(outputs) > 10
    assert not [output for output in outputs if output["output_type"] == "error" or output.get("name") == "stderr"]


def test_a_check_sees_what_differs(tmp_path):
    pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    (tmp_path / "execute.py").write_bytes((FOLDER / "execute.py").read_bytes())
    cell = {"cell_type": "code", "id": "cell-01", "metadata": {}, "execution_count": 1, "source": "print(1 + 1)"}
    cell["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "3\n"}]
    notebook = {"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    (tmp_path / "sum.ipynb").write_text(json.dumps(notebook))
    command = [sys.executable, str(tmp_path / "execute.py")]
    checked = subprocess.run([*command, "--check"], capture_output=True, text=True, timeout=600)
    assert checked.returncode == 1
    assert "-stdout: 3\n+stdout: 2" in checked.stdout
    assert subprocess.run(command, capture_output=True, timeout=600).returncode == 0
    (written,) = json.loads((tmp_path / "sum.ipynb").read_text())["cells"]
    assert "".join(written["outputs"][0]["text"]) == "2\n"
