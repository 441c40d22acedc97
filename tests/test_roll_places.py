"""Where groups lie: a result over what it is made of, if nobody needs that any more."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from engines import ONCE
from test_roll import agree

import valuegrad as vg
from valuegrad.lower.emit import place_groups
from valuegrad.primitives.opcodes import OPCODE
from valuegrad.roll.kernels import Body, Column, Kernel

pytest.importorskip("valuegrad._replay")
pytest.importorskip("valuegrad._passes")
pytest.importorskip("llvmlite")
pytestmark = [ONCE, pytest.mark.usefixtures("all_are_rolled")]

MEMBERS = 12
NEG, MUL = OPCODE["neg"], OPCODE["mul"]


def column(group: int, *, backwards: bool = False) -> Column:
    places = np.arange(MEMBERS)
    return Column("group", group, places[::-1] if backwards else places)


def kernel(*groups: int, backwards: bool = False) -> Kernel:
    """The last group from the product of the others."""
    *read, made = groups
    args = [("column", c) for c in range(len(read))]
    columns = [*[column(g, backwards=backwards) for g in read], column(made)]
    return Kernel(MEMBERS, [Body(MUL if args else NEG, 0.0, made, args, out=len(read))], columns)


def places(*kernels: Kernel, groups: int) -> dict[int, int]:
    found, _ = place_groups([*kernels], [MEMBERS] * groups, 1)
    return found


def test_a_result_lies_where_what_it_is_made_of_lay() -> None:
    found = places(kernel(0), kernel(0, 1), kernel(1, 2), groups=3)
    assert found[0] == found[1] == found[2]


def test_what_is_read_later_stays() -> None:
    found = places(kernel(0), kernel(0, 1), kernel(0, 1, 2), groups=3)
    assert found[0] != found[1]
    assert found[2] in (found[0], found[1])


def test_what_is_read_in_another_order_stays() -> None:
    found = places(kernel(0), kernel(0, 1, backwards=True), groups=2)
    assert found[0] != found[1]


def test_two_results_are_not_both_written_over_one() -> None:
    both = kernel(0, 1)
    both.bodies.append(Body(NEG, 0.0, 2, [("column", 0)], out=2))
    both.columns.append(column(2))
    found = places(kernel(0), both, groups=3)
    assert found[1] != found[2]


def test_what_is_read_after_the_result_is_written_stays() -> None:
    again = kernel(0, 1)
    again.bodies.append(Body(MUL, 0.0, 2, [("value", 0), ("column", 0)], out=2))
    again.columns.append(column(2))
    found = places(kernel(0), again, groups=3)
    assert found[1] != found[0] == found[2]


@pytest.mark.parametrize("lanes", [1, 5, 40])
def test_results_over_what_they_are_made_of_are_the_same_bits(lanes: int) -> None:
    def f(x: list[Any]) -> list[Any]:
        z = [vg.exp(a) for a in x]
        total = vg.sum(z)
        shares = [a / total for a in z]
        return [vg.log(a) for a in shares[::2]] + [a * b for a, b in zip(shares, z)]

    rng = np.random.default_rng(0)
    agree(f, [rng.normal(size=lanes) if lanes > 1 else float(x) for x in rng.normal(size=50)])
