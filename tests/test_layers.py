"""The package's layers: imports go one way, downwards; files stay readable; importing stays light."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

import pytest
from engines import ONCE

pytestmark = ONCE
PROJECT = Path(__file__).resolve().parent.parent
SOURCE = PROJECT / "src"
# From the bottom up; a module imports only what stands in a line above its own, or is part of its own package.
LAYERS = [
    ["errors", "atomic"],
    ["modes", "lines", "pictures"],
    ["primitives"],
    ["arguments"],
    ["reference", "_native", "graph", "_passes", "_replay"],
    ["value"],
    ["transforms", "roll"],
    ["valuegrad"],  # __init__.py: the public names; what lies higher it imports when it is asked for
    ["batch", "comparison", "custom", "flattening", "structures", "cache", "descriptions", "listing", "loops"],
    ["higher", "math", "drawing", "files", "replaying"],
    ["differentiating"],
    ["functional", "recorder"],  # functional and custom find the recorder through modes
    ["record"],
    ["calls", "iteration", "lower", "outputs"],  # what a program is made of
    ["derivation", "trie"],
    ["paths"],
    ["overview", "quick", "saving"],
    ["program"],
    ["compiling"],
    ["inspect", "nn", "optim", "sparse"],
    ["gpt"],
    ["playground"],
    ["cli"],
    ["__main__"],
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
LONGER = {
    "primitives/table.py": "one table, so that there is one place to add an operation",
    "native.pyx": "one module, as what it compiles to is inlined",
}
GENERATED = {"_native.pyx", "_native.c", "_rules.h", "_constants.h", "_opcodes.h", "_passes.c", "_replay.c"}
MODULES = sorted(SOURCE.glob("valuegrad/**/*.py"))


def name_of(path: Path) -> str:
    """valuegrad.gpt.model; of an __init__.py its package."""
    return ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")


ALL = {name_of(path) for path in MODULES} | {"valuegrad._native", "valuegrad._passes", "valuegrad._replay"}


def part(module: str) -> str:
    """The part of the package that a module belongs to."""
    return module.split(".")[1] if "." in module else module


def imported(path: Path, at_import: bool = False) -> set[str]:
    """The modules of the package that a file imports; ``at_import``: only what it needs to be imported itself."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = list(ast.iter_child_nodes(tree)) if at_import else list(ast.walk(tree))
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path.name}: imports are absolute here"
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                found.add(submodule if submodule in ALL else node.module or "")
    return {name for name in found if name.split(".")[0] == "valuegrad"}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_go_downwards(path: Path) -> None:
    module = name_of(path)
    own = part(module)
    assert own in LEVEL, f"{module} is new: give {own!r} a layer in tests/test_layers.py and in the design's picture"
    for other in imported(path) - {module}:
        below = part(other)
        assert below in LEVEL, f"{module} imports {other}, which has no layer"
        assert below == own or LEVEL[below] < LEVEL[own], f"{module} imports {other}, which is not below it"


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Within the parts too, by what is imported when a module is."""
    edges = {name_of(path): imported(path, at_import=True) - {name_of(path)} for path in MODULES}
    state: dict[str, str] = {}

    def visit(module: str, trail: tuple[str, ...]) -> None:
        if state.get(module) == "done":
            return
        assert state.get(module) != "open", " -> ".join((*trail, module))
        state[module] = "open"
        for other in sorted(edges.get(module, ())):
            visit(other, (*trail, module))
        state[module] = "done"

    for module in edges:
        visit(module, ())


def test_a_wrong_import_would_be_seen(tmp_path: Path) -> None:
    path = tmp_path / "wrong.py"
    path.write_text("def f():\n    from valuegrad.gpt import model\n    import valuegrad.nn\n")
    assert imported(path) == {"valuegrad.gpt.model", "valuegrad.nn"}
    assert imported(path, at_import=True) == set()


@pytest.mark.parametrize(
    "path",
    [path for kind in ("py", "pyx", "pxi", "h") for path in sorted(SOURCE.glob(f"valuegrad/**/*.{kind}"))],
    ids=lambda path: path.name,
)
def test_a_file_has_at_most_500_lines(path: Path) -> None:
    if path.name in GENERATED:
        return
    lines = len(path.read_text(encoding="utf-8").splitlines())
    inside = path.relative_to(SOURCE / "valuegrad").as_posix()
    assert lines <= (500 if inside not in LONGER else 1000), f"{inside} has {lines} lines: split it by purpose"


def fresh(program: str) -> list[str]:
    """What a program prints in a new interpreter, by words."""
    return subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.split()


IMPORTED = "import sys; before = set(sys.modules)\n{}\nprint(*sorted(set(sys.modules) - before))"


@pytest.mark.parametrize("program", ["import valuegrad", "import valuegrad as v; v.sum([v.Value(1.0) * 2]).backward()"])
def test_import_valuegrad_imports_none_of_its_dependencies(program: str) -> None:
    """NumPy alone takes longer than the whole package; it comes when it is needed."""
    modules = fresh(IMPORTED.format(program))
    distributions = [re.match(r"[\w.-]+", text).group() for text in importlib.metadata.requires("valuegrad") or ()]
    assert "numpy" in distributions
    heavy = {name.replace("-", "_") for name in distributions} | {"llvmlite", "asyncio", "unittest", "ctypes"}
    assert not (heavy - {"valuegrad"}) & {name.split(".")[0] for name in modules}
    assert "valuegrad.gpt" not in modules


def test_import_valuegrad_stays_small() -> None:
    """About 70 modules, ours among them; twice as many would be felt."""
    assert len(fresh(IMPORTED.format("import valuegrad"))) < 140


def test_llvm_is_imported_where_loops_are_compiled_and_nowhere_else() -> None:
    """It takes 50 ms and 100 MB, and there are machines without it."""
    places = [name_of(path) for path in MODULES if re.search(r"import llvmlite|from llvmlite", path.read_text("utf-8"))]
    assert places == ["valuegrad.lower.llvm"]
    program = "import numpy as np, valuegrad as vg\nvg.compile(lambda x: x * x)(np.ones(3))"
    assert "llvmlite" not in fresh(IMPORTED.format(program))


def test_every_public_name_is_there() -> None:
    program = "import valuegrad as vg\nfor name in vg.__all__: getattr(vg, name)\nprint(len(vg.__all__), *dir(vg))"
    count, *names = fresh(program)
    assert int(count) > 80
    assert {"Value", "grad", "gpt", "nn", "optim", "exp"} <= set(names)
