"""What is installed is complete, and the build goes on without a compiler and without Cython."""

import os
import re
import tarfile
from importlib import metadata
from pathlib import Path

import pytest
from engines import ONCE
from trees import ROOT, copy_of_the_source_tree, needs_source_tree, run, succeed

import valuegrad as vg
from valuegrad.primitives.digest import SOURCES, digest

FILES = [str(path) for path in metadata.files("valuegrad") or []]
pytestmark = ONCE
installed = pytest.mark.skipif(
    "valuegrad/__init__.py" not in FILES, reason="an editable installation has its files in the source tree"
)
REPORT = "import valuegrad as vg; print(vg.engine); print(vg.engine_reason)"
WITHOUT_CYTHON = """
import sys
sys.modules["Cython"] = sys.modules["Cython.Build"] = None
sys.argv[1:] = ["-q", "build"]
exec(compile(open("setup.py").read(), "setup.py", "exec"), {"__name__": "__main__", "__file__": "setup.py"})
"""


@installed
def test_installation_holds_types_and_data():
    package = Path(vg.__file__).parent
    assert {"valuegrad/py.typed", "valuegrad/_native.pyi", "valuegrad/__init__.pyi"} <= set(FILES)
    for kind in ("txt", "json"):
        source = sorted(path.name for path in (ROOT / "src/valuegrad/gpt/datasets").glob(f"*.{kind}"))
        assert sorted(path.name for path in (package / "gpt/datasets").glob(f"*.{kind}")) == source


@installed
def test_installation_holds_every_module_of_the_source_tree():
    source = ROOT / "src"
    modules = {path.relative_to(source).as_posix() for path in (source / "valuegrad").rglob("*.py")}
    assert modules <= set(FILES)


@installed
@pytest.mark.skipif(vg.engine == "readable", reason=vg.engine_reason)
def test_installation_has_one_native_engine_and_none_of_the_generated_c():
    names = [Path(name).name for name in FILES]
    assert len([name for name in names if name.startswith("_native.") and name.endswith((".so", ".pyd"))]) == 1
    assert not {"_native.c", "_native.pyx"} & set(names)


def test_installation_holds_the_sources_that_an_out_of_date_engine_is_told_by():
    assert digest() != ""
    assert all((Path(vg.__file__).parent / name).exists() for name in SOURCES)


def test_install_requires_nothing_that_no_page_explains():
    required = {re.split("[<>=~ ]", line)[0] for line in metadata.requires("valuegrad") or [] if "extra" not in line}
    page = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    section = page.split("## Run-time")[1].split("## ")[0]
    explained = {line.split("`")[1] for line in section.splitlines() if line.startswith("| `")}
    assert required == explained


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    """A source distribution, made and unpacked."""
    tree = copy_of_the_source_tree(tmp_path_factory.mktemp("tree"))
    succeed("setup.py", "-q", "sdist", where=tree)
    (archive,) = (tree / "dist").glob("valuegrad-*.tar.gz")
    target = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(archive) as tar:
        if hasattr(tarfile, "data_filter"):
            tar.extractall(target, filter="data")
        else:
            tar.extractall(target)
    (root,) = target.iterdir()
    return root


@needs_source_tree
def test_source_distribution_holds_the_sources_and_nothing_generated(unpacked):
    names = {path.name for path in unpacked.rglob("*") if path.is_file()}
    assert {"native.pyx", *[Path(name).name for name in SOURCES]} <= names
    assert not names & {"_native.c", "_native.pyx", "_rules.h", "_constants.h"}
    assert not [name for name in names if name.endswith((".so", ".pyc"))]


def assert_readable_engine_of(root):
    (library,) = (root / "build").glob("lib*")
    engine, reason = succeed("-c", REPORT, where=library, PYTHONPATH=str(library)).splitlines()
    assert engine == "readable"
    assert reason.startswith("no native build was found")
    assert "install valuegrad again with a C compiler" in reason


@needs_source_tree
@pytest.mark.skipif(os.name == "nt", reason="CC chooses the compiler on POSIX systems")
def test_without_a_compiler_the_build_succeeds_on_the_readable_engine(unpacked):
    # A source distribution without a compiler: both of what a bare machine may meet, in one build.
    report = succeed("setup.py", "-q", "build", where=unpacked, CC="/bin/false")
    assert "building extension" in report
    assert "failed" in report
    assert_readable_engine_of(unpacked)


@needs_source_tree
def test_without_cython_the_build_succeeds_on_the_readable_engine(tmp_path):
    tree = copy_of_the_source_tree(tmp_path)
    report = succeed("-c", WITHOUT_CYTHON, where=tree)
    assert "Cython is missing, so the native engine is not built" in report
    assert_readable_engine_of(tree)


def test_asking_for_a_native_engine_that_is_not_there_warns(tmp_path):
    program = "import sys; sys.modules['valuegrad._native'] = None; import valuegrad as vg; print(vg.engine)"
    result = run("-c", program, where=tmp_path, VALUEGRAD_ENGINE="native")
    assert result.stdout.strip() == "readable"
    assert "EngineWarning: the readable engine runs instead of the native one" in result.stderr


def test_an_engine_that_does_not_exist_is_refused(tmp_path):
    result = run("-c", "import valuegrad", where=tmp_path, VALUEGRAD_ENGINE="turbo")
    assert result.returncode == 1
    assert "VALUEGRAD_ENGINE is 'turbo'; expected 'native' or 'readable'" in result.stderr
