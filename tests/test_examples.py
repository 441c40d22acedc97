"""Each program in examples/ prints what its docstring shows."""

import runpy
import textwrap

import pytest
from trees import ROOT, needs_source_tree

PROGRAMS = sorted((ROOT / "examples").glob("*.py"))
pytestmark = [needs_source_tree, pytest.mark.usefixtures("kept_code")]


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_example_prints_what_its_docstring_shows(path, capsys):
    namespace = runpy.run_path(str(path))
    _, _, shown = namespace["__doc__"].partition(f"    $ python examples/{path.name}\n")
    assert shown
    namespace["main"]()
    assert capsys.readouterr().out == textwrap.dedent(shown)
