"""docs/adding-an-operation.md, done as it says in a copy of the source tree."""

import os
import re
import shutil

import pytest
from engines import NATIVE, ONCE, needs_native
from pages import blocks
from trees import ROOT, copy_of_the_source_tree, needs_source_tree, run, succeed

PAGE = ROOT / "docs" / "adding-an-operation.md"
pytestmark = [ONCE, needs_source_tree]
FAST = "-O0"  # the compiler's own optimisation is not what is tested; later flags win

DOCTEST = """
import sys
from pathlib import Path
from pages import examples, report
import valuegrad
assert valuegrad.engine == sys.argv[1], valuegrad.engine_reason
assert valuegrad.__file__.startswith(sys.argv[2]), valuegrad.__file__
test = examples(Path(sys.argv[3]))
assert len(test.examples) > 5
sys.exit(report(test) or 0)
"""

ROW, ORACLE = blocks(PAGE, "python")
BUILD, COMPARE = blocks(PAGE, "sh")


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A copy of the checkout, with an up-to-date native engine if there is one, into which the row was entered."""
    tree = copy_of_the_source_tree(tmp_path_factory.mktemp("checkout"))
    if NATIVE is not None:
        shutil.copy(NATIVE.__file__, tree / "src" / "valuegrad")
    with (tree / "src/valuegrad/primitives/table.py").open("a", encoding="utf-8") as table:
        table.write("\n" + ROW)
    return tree


def command(text):
    """A page's command line, less its ``python``."""
    words = re.findall(r'"[^"]*"|\S+', text)
    assert words[0] == "python"
    return [word.strip('"') for word in words[1:]]


def examples_hold(tree, engine):
    """Every example of the page gives on this engine what the page shows."""
    arguments = ["-c", DOCTEST, engine, tree / "src", tree / "docs" / PAGE.name]
    succeed(*arguments, where=tree, **environment(tree, engine))


def environment(tree, engine):
    return {"PYTHONPATH": os.pathsep.join([str(tree / "src"), str(ROOT / "tests")]), "VALUEGRAD_ENGINE": engine}


def test_the_readable_engine_knows_the_row_at_once(tree):
    examples_hold(tree, "readable")


@needs_native
def test_a_native_engine_built_before_the_row_says_that_it_is_out_of_date(tree):
    result = run("-c", "import valuegrad as vg; print(vg.engine)", where=tree, PYTHONPATH=str(tree / "src"))
    assert result.stdout.strip() == "readable"
    (warning,) = blocks(PAGE, "text")
    assert warning.strip() in result.stderr


@pytest.fixture(scope="module")
def built(tree):
    """The tree after the page's build command."""
    succeed(*command(BUILD), where=tree, VALUEGRAD_CFLAGS=FAST)
    return tree


def test_the_build_writes_the_stub_and_the_page(built):
    stub = (built / "src/valuegrad/_native.pyi").read_text(encoding="utf-8")
    assert "def logit(a: Value, /) -> Value:" in stub
    assert "def logit(a: _Number, /) -> float: ..." in stub
    assert "    def logit(self) -> Value:" in stub
    page = (built / "docs/primitives.md").read_text(encoding="utf-8")
    assert "## logit\n" in page
    assert "- out: `log(a) - log1p(-a)`\n- ∂out/∂a: `1 / (a * (1 - a))`\n" in page


@needs_native
def test_the_rebuilt_native_engine_gives_what_the_page_shows(built):
    examples_hold(built, "native")


def test_the_row_without_an_oracle_is_noticed_and_with_it_passes(built):
    shutil.copytree(ROOT / "tests", built / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    engine = environment(built, "readable" if NATIVE is None else "native")
    missing = run(*command(COMPARE), "-p", "no:cacheprovider", where=built, **engine)
    assert missing.returncode == 1
    assert "no oracle for logit" in missing.stdout
    with (built / "tests/oracle.py").open("a", encoding="utf-8") as oracle:
        oracle.write("\n" + ORACLE)
    report = succeed(*command(COMPARE), "-p", "no:cacheprovider", where=built, **engine)
    assert "failed" not in report
