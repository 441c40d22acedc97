"""What the documentation shows is what happens: examples, links, names."""

import doctest
import importlib
import pkgutil
import re
import tokenize

import pytest
from pages import OPTIONS, examples, report
from trees import ROOT, needs_source_tree

import valuegrad as vg
from valuegrad.primitives import TABLE, formulas

pytestmark = pytest.mark.usefixtures("kept_code")
# adding-an-operation.md is about an operation that is not there yet; test_adding_an_operation.py runs it.
PAGES = sorted(path for path in (ROOT / "docs").rglob("*.md") if path.name != "adding-an-operation.md")
WITH_EXAMPLES = [path for path in PAGES if ">>> " in path.read_text(encoding="utf-8")]
ALL_PAGES = sorted([*(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md"), *(ROOT / "benchmarks").glob("*.md")])
MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(vg.__path__, "valuegrad.")
    if not module.name.endswith(("__main__", "._native"))
)


def name(path):
    return path.relative_to(ROOT).as_posix()


@pytest.fixture(autouse=True)
def somewhere_else(tmp_path, monkeypatch):
    """Examples may write files; they write them here."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("path", WITH_EXAMPLES, ids=name)
def test_page_shows_what_happens(path):
    assert report(examples(path)) == ""


@pytest.mark.parametrize("module", ["valuegrad", *MODULES])
def test_docstrings_show_what_happens(module):
    told = []
    runner = doctest.DocTestRunner(verbose=False, optionflags=OPTIONS)
    for test in doctest.DocTestFinder(exclude_empty=True).find(importlib.import_module(module)):
        runner.run(test, out=told.append)
    assert "".join(told) == ""


@pytest.mark.parametrize("name", [name for name in vg.__all__ if name not in TABLE])
def test_public_name_has_a_docstring(name):
    if name not in ("engine", "engine_reason"):  # text, described in value.py
        assert (getattr(vg, name).__doc__ or "").strip()


@pytest.mark.parametrize("path", ALL_PAGES, ids=name)
def test_links_lead_somewhere(path):
    broken = []
    text = path.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)):
        file, _, anchor = target.partition("#")
        if "://" in target or target.startswith("mailto:"):
            continue
        aim = (path.parent / file) if file else path
        if not aim.exists() or (anchor and aim.suffix == ".md" and anchor not in anchors(aim)):
            broken.append(target)
    assert broken == []


def anchors(path):
    """The headings of a page as links name them."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@needs_source_tree
def test_every_page_is_reached_from_the_index():
    docs = ROOT / "docs"
    linked = set()
    for path in docs.rglob("*.md"):
        for target in re.findall(r"\]\(([^)#\s]+)", path.read_text(encoding="utf-8")):
            if "://" not in target:
                linked.add((path.parent / target).resolve())
    assert [name(page) for page in docs.rglob("*.md") if page.resolve() not in linked and page.name != "index.md"] == []


@needs_source_tree
def test_page_of_primitives_follows_from_the_table():
    page = (ROOT / "docs" / "primitives.md").read_text(encoding="utf-8")
    assert page == formulas.page(), "run: python -m valuegrad.primitives.formulas"


@pytest.mark.parametrize(
    ("row", "gradient"),
    [("tanh", "1 - out * out"), ("log2", "1 / (a * log(2))"), ("erfc", "-(2/sqrt(pi)) * exp(-(a * a))")],
)
def test_formula_of_a_gradient_reads_like_the_rule(row, gradient):
    assert formulas.gradients(TABLE[row]) == [("a", gradient)]


def test_formulas_keep_the_parentheses_that_change_the_result():
    m = formulas.Formulas(TABLE)
    a, b, c = (formulas.Formula(name) for name in "abc")
    assert (a - (b - c)).text == "a - (b - c)"
    assert ((a - b) - c).text == "a - b - c"
    assert ((a + b) * c).text == "(a + b) * c"
    assert m.div(a, m.div(b, c)).text == "a / (b / c)"
    assert m.pow(-a, b + c).text == "(-a)**(b + c)"
    assert (-(a * b)).text == "-(a * b)"
    assert (
        m.where(m.lt(a, b), a + b, m.where(m.eq(a, a), b, c)).text == "a + b if a < b else (b if a is not nan else c)"
    )


@needs_source_tree
def test_docs_name_only_files_that_exist():
    missing = []
    for path in ALL_PAGES:
        for file in re.findall(
            r"`((?:src|tests|docs|benchmarks|examples)/[\w./-]+\.\w+)`", path.read_text(encoding="utf-8")
        ):
            if not (ROOT / file).exists() and not file.endswith(("_native.c", "_rules.h", "_native.pyx")):
                missing.append(f"{name(path)}: {file}")
    assert missing == []


@needs_source_tree
def test_docstrings_name_only_pages_that_exist():
    missing = []
    for path in (ROOT / "src").rglob("*.py"):
        with tokenize.open(path) as file:
            missing += [page for page in re.findall(r"docs/[\w/-]+\.md", file.read()) if not (ROOT / page).exists()]
    assert missing == []
