"""docs/semantics.md, read as data: every line of its table on both engines and as a program; its other sentences."""

from __future__ import annotations

import math
import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engines import ENGINES, needs_replay

import valuegrad as vg
from valuegrad.lower import lowering

PROJECT = Path(__file__).resolve().parent.parent
PAGE = PROJECT / "docs" / "semantics.md"
HEADER = "| you write | at | value | gradients | why |"


def lines() -> list[str]:
    """The table's lines, below its header."""
    text = PAGE.read_text(encoding="utf-8")
    table = text[text.index(HEADER) :].split("\n\n")[0]
    return table.splitlines()[2:]


def cells(line: str) -> list[str]:
    """The code in a line's first four cells."""
    return [cell.strip().strip("`") for cell in line.strip("|").split("|")][:4]


TABLE = [pytest.param(*cells(line), id=f"{cells(line)[0]} at {cells(line)[1]}") for line in lines()]
CONSTANTS = {"inf": math.inf, "nan": math.nan, "pi": math.pi}


def same(got: float, expected: float) -> bool:
    """Equal, or both nan, or the nearest float to what takes more digits than a float has."""
    if math.isnan(expected):
        return math.isnan(got)
    return got == expected or math.isclose(got, expected, rel_tol=2e-16)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("expression", "at", "value", "gradients"), TABLE)
def test_the_table_holds(engine: Any, expression: str, at: str, value: str, gradients: str) -> None:
    inputs = {
        name.strip(): engine.Value(eval(number, dict(CONSTANTS)))
        for name, number in (pair.split("=") for pair in at.split(","))
    }
    out = eval(expression, {**CONSTANTS, **vars(engine), **inputs})
    expected = float(eval(value, dict(CONSTANTS)))
    assert type(out.data) is float
    assert same(out.data, expected), f"value is {out.data!r}"
    if expected == 0.0:
        assert math.copysign(1.0, out.data) == math.copysign(1.0, expected), f"value is {out.data!r}"
    out.backward()
    grads = [v.grad for v in inputs.values()]
    wanted = [float(eval(gradient, dict(CONSTANTS))) for gradient in gradients.split(",")]
    assert len(grads) == len(wanted)
    assert all(map(same, grads, wanted)), f"gradients are {grads}"


def close(got: float, expected: float, ulps: float) -> bool:
    """The same, or so near that elementary functions within a few units in the last place explain it."""
    if not got or not expected or not math.isfinite(got - expected):
        return same(got, expected)
    return abs(got - expected) <= ulps * math.ulp(expected)


BACKENDS = [
    "auto",
    *[pytest.param(name, marks=needs_replay) for name in ("jit", "interpreter")],
]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("strict", [True, False], ids=["strict", "default"])
@pytest.mark.parametrize(("expression", "at", "value", "gradients"), TABLE)
def test_the_table_holds_in_programs(
    expression: str, at: str, value: str, gradients: str, strict: bool, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if backend != "auto":
        monkeypatch.setattr(lowering, "_CODE", partial(lowering._CODE, backend=backend))
    pairs = [pair.split("=") for pair in at.split(",")]
    point = [float(eval(number, dict(CONSTANTS))) for _, number in pairs]
    names = ", ".join(name.strip() for name, _ in pairs)
    program = vg.compile(eval(f"lambda {names}: {expression}", {**vars(vg), **CONSTANTS}), strict=strict)
    expected = float(eval(value, dict(CONSTANTS)))
    wanted = [float(eval(gradient, dict(CONSTANTS))) for gradient in gradients.split(",")]
    ulps = 1 if strict else 16  # at the edges few operations follow each other
    alone = program.value_and_grad(*point)
    lanes, lanes_grads = program.value_and_grad(*[np.full(11, x) for x in point])
    results = [alone, *[(out, tuple(float(g[i]) for g in lanes_grads)) for i, out in enumerate(lanes.tolist())]]
    for out, grads in [(program(*point), alone[1]), *results]:
        assert close(out, expected, ulps), f"value is {out!r}"
        if expected == 0.0:
            assert math.copysign(1.0, out) == math.copysign(1.0, expected), f"value is {out!r}"
        assert len(grads) == len(wanted)
        assert all(close(g, w, ulps) for g, w in zip(grads, wanted)), f"gradients are {grads}"


def test_the_table_has_at_least_forty_lines_and_no_line_twice() -> None:
    pairs = [tuple(cells(line)[:2]) for line in lines()]
    assert len(pairs) >= 40
    assert len(set(pairs)) == len(pairs)


def test_the_table_stands_in_one_place() -> None:
    """A second copy would one day say something else."""
    files = [*PROJECT.glob("*.md"), *PROJECT.glob("docs/**/*.md"), *PROJECT.glob("src/valuegrad/**/*.py")]
    files += PROJECT.glob("tests/*.py")
    found = {path.name for path in files for line in lines() if line in path.read_text(encoding="utf-8")}
    assert found == {PAGE.name}


@pytest.mark.parametrize("engine", ENGINES)
def test_no_operation_turns_complex(engine: Any) -> None:
    assert type(((-8.0) ** engine.Value(1 / 3)).data) is float
    assert type((engine.Value(-8.0) ** (1 / 3)).data) is float


@pytest.mark.parametrize("engine", ENGINES)
def test_a_second_pass_doubles_the_leaves_and_nothing_else(engine: Any) -> None:
    """54, where engines that accumulate computed grads give 72."""
    x = engine.Value(3.0)
    square = x * x
    cube = square * x
    cube.backward()
    assert (x.grad, square.grad, cube.grad) == (27.0, 3.0, 1.0)
    cube.backward()
    assert (x.grad, square.grad, cube.grad) == (54.0, 3.0, 1.0)


def test_the_links_of_the_page_exist() -> None:
    for link in re.findall(r"\]\(([^)#]+)\)", PAGE.read_text(encoding="utf-8")):
        assert (PAGE.parent / link).exists(), link
