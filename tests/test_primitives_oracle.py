"""Every primitive's value and local gradients against mpmath at 50 digits (oracle.py)."""

from __future__ import annotations

import math
from typing import Any

import hypothesis.strategies as st
import pytest
from engines import ONCE, ROWS, on_values
from hypothesis import given, settings
from oracle import ORACLES, as_float, differences, expected, is_edge, mp

import valuegrad as vg
from valuegrad import value as engine
from valuegrad.primitives import TABLE, Row

TINY = 4 * 5e-324  # results that round to subnormals have absolute errors
POINTS = 400  # drawn for each row; 60 rows make more than 20,000
AT_ONCE = 10  # in an example of hypothesis's, each of which takes it longer than most points take mpmath

pytestmark = ONCE


def check(row: Row, args: tuple[Any, ...]) -> None:
    compare(row, args, *expected(row.name, args))


def compare(row: Row, args: tuple[Any, ...], value: Any, grads: Any) -> None:
    outs = on_values(engine, row, args)
    if args in (([],), ([], [])):  # no Values went in, so a float comes out
        outs = [engine.Value(outs[0])]
    if not row.family:
        value, grads = [value], [grads]
    assert len(outs) == len(value)
    for out, right, right_grads in zip(outs, value, grads):
        close(row, f"{row.name}{args}", out.data, right)
        assert len(out.local_grads) == len(right_grads)
        for i, (got, right_grad) in enumerate(zip(out.local_grads, right_grads)):
            close(row, f"∂{row.name}{args}/∂child {i}", got, right_grad)


def close(row: Row, what: str, got: float, right: Any) -> None:
    right = right if isinstance(right, float) else mp.mpf(right)
    if not math.isfinite(as_float(right)):
        assert got == as_float(right) or (math.isnan(got) and math.isnan(as_float(right))), (
            f"{what}: {got!r}, not {right}"
        )
        return
    error = abs(mp.mpf(got) - right) if math.isfinite(got) else math.inf
    allowed = row.rtol * abs(right) + row.atol + TINY
    assert error <= allowed, (
        f"{what} is {got!r}, expected {mp.nstr(mp.mpf(right), 20)}, "
        f"off by {float(error):.3g}, allowed {float(allowed):.3g}"
    )


def test_every_row_has_an_oracle() -> None:
    missing = sorted(set(TABLE) - set(ORACLES))
    assert not missing, (
        f"no oracle for {', '.join(missing)}: write value (and, where it has kinks, local gradients) "
        "in tests/oracle.py from a source other than the table"
    )
    assert not set(ORACLES) - set(TABLE), "oracles without a row"


@pytest.mark.parametrize("row", ROWS)
def test_every_row_has_samples_and_a_domain_for_each_argument(row: Row) -> None:
    assert row.samples, "give samples, edges among them"
    assert len(row.domain) == len(row.arguments)
    assert all(low < high or (low == high == 0.0) for low, high in row.domain)


@pytest.mark.parametrize("row", ROWS)
def test_a_tolerance_that_is_not_the_default_has_a_reason(row: Row) -> None:
    default = {field.default for field in Row.__dataclass_fields__.values() if field.name == "rtol"}.pop()
    assert (row.rtol == default and row.atol == 0.0) or row.why


@pytest.mark.parametrize("row", ROWS)
def test_value_and_local_gradients_at_the_samples(row: Row) -> None:
    for args in row.samples:
        check(row, args)


ODD = [
    "sin",
    "tan",
    "asin",
    "atan",
    "sinh",
    "tanh",
    "asinh",
    "atanh",
    "erf",
    "expm1",
    "log1p",
    "cbrt",
    "sqrt",
    "floor",
    "ceil",
    "trunc",
    "identity",
]


@pytest.mark.parametrize("name", ODD)
def test_minus_zero_gives_minus_zero_in_odd_functions(name: str) -> None:
    """As C99's annex F has it; sqrt(-0.0) is -0.0 there too."""
    for zero in (0.0, -0.0):
        (out,) = on_values(engine, TABLE[name], (zero,))
        assert out.data == 0.0
        assert math.copysign(1.0, out.data) == math.copysign(1.0, zero)


def drawn(row: Row) -> st.SearchStrategy[tuple[Any, ...]]:
    """Arguments from the row's domain; numbers too small to square in floats become 0."""

    def scalar(low: float, high: float) -> st.SearchStrategy[float]:
        numbers = st.floats(low, high, allow_subnormal=False)
        return numbers.map(lambda x: x if abs(x) > 1e-60 else max(low, min(high, 0.0)))

    strategies = [scalar(low, high) for low, high in row.domain]
    if row.static and not row.family and (row.integer_static or row.name in ("where", "take")):
        low, high = row.domain[-1]
        strategies[-1] = st.integers(math.ceil(low), math.floor(high)).map(float)
    if not row.vectors:
        return st.tuples(*strategies)
    static = strategies[row.vectors :]
    lengths = st.integers(1, 6)
    if row.name == "cross_entropy":
        return lengths.flatmap(
            lambda n: st.tuples(st.lists(strategies[0], min_size=n, max_size=n), st.integers(0, n - 1).map(float))
        )
    return lengths.flatmap(
        lambda n: st.tuples(*[st.lists(one, min_size=n, max_size=n) for one in strategies[: row.vectors]], *static)
    )


@pytest.mark.parametrize("row", ROWS)
def test_value_and_local_gradients_at_points_drawn_from_the_domain(row: Row) -> None:
    @settings(max_examples=POINTS // AT_ONCE)
    @given(st.lists(drawn(row), min_size=AT_ONCE, max_size=AT_ONCE))
    def at(points: list[tuple[Any, ...]]) -> None:
        for args in points:
            try:
                right = expected(row.name, args)
            except ZeroDivisionError:
                continue
            compare(row, args, *right)

    at()


KINKED = {"detach", "maximum", "minimum", "round", "floor", "ceil", "trunc", "floordiv", "mod", "fmod"}


def smooth_samples(name: str) -> list[Any]:
    """The samples where the oracle's formulas can be differenced: finite numbers of ordinary size, no edges."""

    def ordinary(args: Any) -> bool:
        numbers = [x for arg in args for x in (arg if isinstance(arg, list) else [arg])]
        return all(1e-9 < abs(x) < 1e9 for x in numbers) and bool(numbers)

    return [args for args in TABLE[name].samples if ordinary(args) and not is_edge(name, args)]


CLOSED = [
    pytest.param(name, id=name)
    for name, oracle in ORACLES.items()
    if oracle.grads and name in TABLE and name not in KINKED and not TABLE[name].family and smooth_samples(name)
]


@pytest.mark.parametrize("name", CLOSED)
def test_the_oracles_closed_gradients_agree_with_its_differences(name: str) -> None:
    oracle = ORACLES[name]
    for args in smooth_samples(name):
        exact = [[mp.mpf(x) for x in arg] if isinstance(arg, list) else mp.mpf(arg) for arg in args]
        for closed, difference in zip(oracle.grads(*exact), differences(oracle, exact), strict=True):
            assert abs(closed - difference) <= mp.mpf(10) ** -35 * (1 + abs(closed))


def test_a_wrong_row_would_be_found() -> None:
    """The comparison has teeth: one ulp more than allowed fails."""
    with pytest.raises(AssertionError, match="off by"):
        close(TABLE["exp"], "exp(1)", math.e * (1 + 1e-14), mp.e)
    with pytest.raises(AssertionError):
        close(TABLE["exp"], "exp(1)", math.nan, mp.e)
    with pytest.raises(AssertionError):
        close(TABLE["log"], "log(0)", -1e308, -math.inf)


def test_the_functions_of_the_package_are_the_engines() -> None:
    assert engine.exp(engine.Value(1.0)).data == vg.exp(1.0)
