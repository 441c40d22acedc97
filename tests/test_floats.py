"""floats.py against its mirror in C: every row on many thousand numbers, both engines, bit for bit."""

from __future__ import annotations

import math
import random
import struct
from typing import Any

import pytest
from engines import NATIVE, ONCE, ROWS, all_bits, call, needs_native, on_values

from valuegrad import reference
from valuegrad.primitives import FLOATS, TABLE, Floats, Row
from valuegrad.primitives.algebra import ELEMENTARY

pytestmark = [ONCE, needs_native]

MAX, TINY, NORMAL = 1.7976931348623157e308, 5e-324, 2.2250738585072014e-308
SPECIAL = [0.0, math.inf, math.nan, TINY, NORMAL, NORMAL - TINY, MAX, 1e300, 1e-300, 2.0**52, 2.0**53, 2.0**53 + 2]
# Where formulas change: thresholds in floats.py, poles, zeros, ends of domains, exponents pow treats apart.
BRANCHES = [0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 10.0, 11.0, 1e-20, 1000.0, 2.5e305, 1e-280, 1e140, 1e-140, 1e280, 0.1, 1 / 3]
BRANCHES += [709.782712893384, 745.1332191019412, 710.4758600739439, 1024.0, 1074.0, 1.4616321449683623, math.pi / 2]


def edges() -> list[float]:
    numbers = []
    for x in [*SPECIAL, *BRANCHES]:
        for near in (x, math.nextafter(x, math.inf), math.nextafter(x, -math.inf)):
            numbers += [near, -near]
    return numbers


EDGES = edges()


def drawn(rng: random.Random, domain: tuple[float, float]) -> float:
    """An edge, any float at all by its bits, or a number from the row's domain; each as often."""
    which = rng.randrange(4)
    if which == 0:
        return rng.choice(EDGES)
    if which == 1:
        x: float = struct.unpack("<d", struct.pack("<Q", rng.getrandbits(64)))[0]
        return x
    if which == 2:
        return math.ldexp(rng.choice((-1.0, 1.0)) * rng.uniform(1.0, 2.0), rng.randint(-40, 40))
    return rng.uniform(*domain)


def static(rng: random.Random, row: Row, entries: int) -> float:
    if row.name == "where":
        return float(rng.randrange(2))
    if row.name == "take":
        return float(rng.randrange(9))
    if row.vectors:
        return float(rng.randrange(entries))
    if row.name == "round":
        return float(rng.choice((0, 0, 1, 2, 5, 15, 16, 17, 22, 23, 300, 330, 500, -1, -2, -10, -308, -309, -500)))
    return float(rng.randint(1, 7)) if row.integer_static else drawn(rng, row.domain[-1])


def arguments(rng: random.Random, row: Row) -> tuple[Any, ...]:
    if row.vectors:
        n = rng.choice((1, 2, 2, 3, 5, 8))
        lists = [[drawn(rng, row.domain[k]) for _ in range(n)] for k in range(row.vectors)]
        return (*lists, static(rng, row, n)) if row.static and not row.family else tuple(lists)
    args = [drawn(rng, domain) for domain in row.domain]
    if row.static:
        args[-1] = static(rng, row, 0)
    return tuple(args)


def systematic(row: Row) -> list[tuple[Any, ...]]:
    """All edges for functions of one number, all pairs of edges for functions of two."""
    scalars = len(row.children)
    if row.vectors or row.integer_static or row.name in ("where", "take"):
        return []
    if len(row.arguments) == 1:
        return [(x,) for x in EDGES]
    return [(x, y) for x in EDGES[::2] for y in EDGES[::3]] if scalars <= 2 and len(row.arguments) == 2 else []


def results(engine: Any, row: Row, args: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(all_bits((out.data, *out.local_grads)) for out in on_values(engine, row, args))


@pytest.mark.parametrize("row", ROWS)
def test_both_engines_give_the_same_bits(row: Row) -> None:
    rng = random.Random(row.name)
    points = [*row.samples, *systematic(row), *[arguments(rng, row) for _ in range(8000)]]
    for args in points:
        if args in (([],), ([], [])):
            continue
        assert results(reference, row, args) == results(NATIVE, row, args), f"{row.name}{args}"


@pytest.mark.parametrize("row", [row for row in ROWS if row.id not in ("round", "identity")])  # for Values only
def test_plain_numbers_give_floats_with_the_same_bits(row: Row) -> None:
    rng = random.Random(row.name + " plain")
    for args in [*row.samples, *[arguments(rng, row) for _ in range(300)]]:
        plain = call(NATIVE, row, args)
        outs = plain if row.family else [plain]
        readable = call(reference, row, args)
        assert all(type(out) is float for out in outs)
        assert all_bits(outs) == all_bits(readable if row.family else [readable]), f"{row.name}{args}"


def test_every_elementary_function_is_reached_by_some_row() -> None:
    """So that the comparison above covers all of floats.py."""
    reached = set()

    class Spy(Floats):
        def __getattribute__(self, name: str) -> Any:
            reached.add(name)
            return super().__getattribute__(name)

    spy = Spy(TABLE)
    for row in TABLE.values():
        for args in row.samples:
            out = row.value(spy, *args)
            if row.family:
                row.local_grads(spy, *args, out, 0.0)
            else:
                row.local_grads(spy, *args, out)
    inner = {"copysign", "sin_pi"}  # used by pow, cbrt, floor ... and by lgamma
    assert set(ELEMENTARY) - inner <= reached


def test_floats_never_raises() -> None:
    """What Python's math raises for has an answer."""
    for row in TABLE.values():
        if row.vectors == 0 and not row.static and len(row.arguments) == 1:
            for x in EDGES:
                assert type(row.value(FLOATS, x)) is float
