"""docs/semantics.md, read as data: every line of its table on both engines, and its other sentences."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engines import ENGINES, needs_passes

import valuegrad as vg

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


@needs_passes
@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize(("expression", "at", "value", "gradients"), TABLE)
def test_the_table_holds_for_programs(expression: str, at: str, value: str, gradients: str, strict: bool) -> None:
    pairs = [pair.split("=") for pair in at.split(",")]
    names = [name.strip() for name, _ in pairs]
    numbers = [float(eval(number, dict(CONSTANTS))) for _, number in pairs]

    def function(*inputs: Any) -> Any:
        return eval(expression, {**CONSTANTS, **vars(vg), **dict(zip(names, inputs))})

    program = vg.compile(function, strict=strict)
    both = vg.value_and_grad(program, argnums=tuple(range(len(numbers))))
    wanted = [float(eval(number, dict(CONSTANTS))) for number in (value, *gradients.split(","))]
    for got in (both(*numbers), both(*[np.full(3, number) for number in numbers])):
        found = [np.ravel(x)[-1].item() for x in (got[0], *got[1])]
        assert len(found) == len(wanted)
        assert all(map(same if strict else nearly, found, wanted)), found
        if wanted[0] == 0.0:
            assert math.copysign(1.0, found[0]) == math.copysign(1.0, wanted[0])


def nearly(got: float, expected: float) -> bool:
    """The same but for elementary functions within 4 ulp, of which a gradient has a few."""
    return same(got, expected) or math.isclose(got, expected, rel_tol=16 * 2.0**-52)
