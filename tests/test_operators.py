"""Every operator that Python has for numbers, on both sides, with every kind of number."""

from __future__ import annotations

import decimal
import math
import operator
import struct
from fractions import Fraction
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

import valuegrad as vg
from valuegrad import Value
from valuegrad.primitives import TABLE

BINARY = [operator.add, operator.sub, operator.mul, operator.truediv, operator.pow, operator.floordiv, operator.mod]
COMPARISONS = [operator.lt, operator.le, operator.gt, operator.ge, operator.eq, operator.ne]
UNARY = [operator.neg, operator.pos, operator.abs, math.floor, math.ceil, math.trunc, round]
PLAIN = [3, 3.0, True, Fraction(3, 2), np.float64(1.5), np.float32(1.5), np.int64(3), np.uint8(3), np.bool_(True)]
PLAIN += [np.array(1.5), 2**53 + 1]


def ids(thing: Any) -> str:
    return f"{type(thing).__name__} {thing}" if not callable(thing) else thing.__name__


@pytest.mark.parametrize("sign", BINARY, ids=ids)
@pytest.mark.parametrize("number", PLAIN, ids=ids)
def test_plain_numbers_take_part_on_both_sides(sign: Any, number: Any) -> None:
    x = 0.5
    right, left = sign(Value(x), number), sign(number, Value(x))
    assert type(right) is Value
    assert type(left) is Value
    assert right.data == sign(x, float(number))
    assert left.data == sign(float(number), x)


@pytest.mark.parametrize("sign", BINARY, ids=ids)
def test_gradients_reach_the_value_whichever_side_it_is_on(sign: Any) -> None:
    """Against central differences; the step's error is about 1e-10."""
    for forward in (lambda x: sign(x, 1.7), lambda x: sign(1.7, x), lambda x: sign(x, x + 0.5)):
        x = Value(2.3)
        forward(x).backward()
        h = 1e-5
        assert x.grad == pytest.approx((forward(2.3 + h) - forward(2.3 - h)) / (2 * h), rel=1e-8, abs=1e-8)


@pytest.mark.parametrize("sign", COMPARISONS, ids=ids)
@pytest.mark.parametrize("number", [*PLAIN, math.inf, math.nan, -3], ids=ids)
def test_comparisons_with_plain_numbers_on_both_sides(sign: Any, number: Any) -> None:
    for x in (1.5, 2.0, 3.0, math.inf):
        assert sign(Value(x), number) is sign(x, float(number))
        assert bool(sign(number, Value(x))) is sign(float(number), x)


@given(st.floats(), st.floats())
def test_comparisons_between_values_are_those_of_the_numbers(a: float, b: float) -> None:
    for sign in COMPARISONS:
        assert sign(Value(a), Value(b)) is sign(a, b)


@given(st.floats(allow_infinity=False, allow_nan=False, width=32))
def test_unary_operators_give_pythons_numbers(x: float) -> None:
    for sign in UNARY:
        out = sign(Value(x))
        assert type(out) is Value
        assert out.data == sign(x)


def test_pos_is_the_value_itself() -> None:
    v = Value(3.0)
    assert +v is v


@given(st.floats(-1e6, 1e6), st.integers(-3, 6))
def test_round_to_digits_is_pythons(x: float, digits: int) -> None:
    assert round(Value(x), digits).data == round(x, digits)


@pytest.mark.parametrize(("x", "digits", "right"), [(2.5, None, 2), (3.5, 0, 4), (2.675, 2, 2.67), (1250.0, -2, 1200)])
def test_round_goes_half_to_even_on_the_exact_binary_number(x: float, digits: int | None, right: float) -> None:
    assert round(Value(x), digits).data == right


def test_rounding_passes_no_gradient() -> None:
    x = Value(2.4)
    (round(x) + math.floor(x) + math.ceil(x) + math.trunc(x) + x // 1).backward()
    assert x.grad == 0.0


@pytest.mark.parametrize(("a", "b"), [(7.5, 2.0), (-7.5, 2.0), (7.5, -2.0), (-7.5, -2.0), (1.0, 0.1), (6.0, 3.0)])
def test_divmod_is_pythons(a: float, b: float) -> None:
    for pair in (divmod(Value(a), Value(b)), divmod(Value(a), b), divmod(a, Value(b))):
        assert tuple(part.data for part in pair) == divmod(a, b)


def test_a_remainder_differentiates_through_the_whole_quotient() -> None:
    a, b = Value(1.7), Value(0.1)
    vg.fmod(a, b).backward()
    assert (a.grad, b.grad) == (1.0, -16.0)  # 1.7 / 0.1 rounds to 17, but only 16 whole divisors fit


def test_in_place_operators_make_new_values() -> None:
    x = total = Value(2.0)
    total += 1
    total *= x
    total -= 0.5
    total /= 2
    total **= 2
    assert x.data == 2.0
    assert total.data == (((2.0 + 1) * 2 - 0.5) / 2) ** 2
    total //= 2
    total %= 2
    assert total.data == (((2.0 + 1) * 2 - 0.5) / 2) ** 2 // 2 % 2


def test_three_argument_pow_is_for_integers_only() -> None:
    with pytest.raises(TypeError):
        pow(Value(2.0), 3, 5)


@pytest.mark.parametrize("sign", [*BINARY, divmod], ids=ids)
@pytest.mark.parametrize(
    "other", ["3", b"3", None, 1j, decimal.Decimal(3), [1.0], (1.0,), {}, pytest.param(object(), id="object")], ids=ids
)
def test_what_is_no_real_number_is_refused_on_both_sides(sign: Any, other: Any) -> None:
    with pytest.raises(TypeError):
        sign(Value(3.0), other)
    if not (sign is operator.mod and isinstance(other, (str, bytes))):  # "3" % v formats
        with pytest.raises(TypeError):
            sign(other, Value(3.0))


@pytest.mark.parametrize("sign", [operator.lt, operator.le, operator.gt, operator.ge], ids=ids)
@pytest.mark.parametrize("other", ["3", None, 1j, decimal.Decimal(3), [1.0]], ids=ids)
def test_the_order_of_what_is_no_real_number_is_refused(sign: Any, other: Any) -> None:
    with pytest.raises(TypeError):
        sign(Value(3.0), other)


@pytest.mark.parametrize("sign", [operator.invert, operator.index], ids=ids)
def test_integer_operators_are_refused(sign: Any) -> None:
    with pytest.raises(TypeError):
        sign(Value(3.0))


class Unit:
    """A class that knows Values: its reflected operators are asked."""

    def __radd__(self, other: Any) -> str:
        return "added"

    def __rpow__(self, other: Any) -> str:
        return "raised"

    def __gt__(self, other: Any) -> str:
        return "compared"


def test_other_classes_get_their_turn() -> None:
    assert Value(1.0) + Unit() == "added"
    assert Value(1.0) ** Unit() == "raised"
    assert (Value(1.0) < Unit()) == "compared"


# ------------------------------------------------------------------------------------------------- NumPy
ARRAY = np.array([1.0, 2.0, 4.0])


@pytest.mark.parametrize("sign", BINARY, ids=ids)
@pytest.mark.parametrize("dtype", ["float64", "float32", "int64"])
def test_arrays_work_element_by_element_on_both_sides(sign: Any, dtype: str) -> None:
    array, v = ARRAY.astype(dtype), Value(3.0)
    for out, right in ((sign(array, v), sign(ARRAY, 3.0)), (sign(v, array), sign(3.0, ARRAY))):
        assert out.dtype == object
        assert [one.data for one in out] == right.tolist()
        assert all(v in one.children for one in out)


@pytest.mark.parametrize("sign", COMPARISONS, ids=ids)
def test_arrays_compare_element_by_element(sign: Any) -> None:
    assert sign(Value(2.0), ARRAY).tolist() == sign(2.0, ARRAY).tolist()
    assert sign(ARRAY, Value(2.0)).tolist() == sign(ARRAY, 2.0).tolist()


def test_an_object_array_of_no_dimensions_works_on_both_sides() -> None:
    v = Value(3.0)
    assert (v * np.array(v)).data == (np.array(v) * v).data == 9.0


def test_arrays_of_values_do_numpys_linear_algebra() -> None:
    w = np.array([[Value(1.0), Value(2.0)], [Value(3.0), Value(4.0)]])
    y = (w @ np.array([10.0, 1.0])).sum()
    y.backward()
    assert y.data == 46.0
    assert [[v.grad for v in row] for row in w] == [[10.0, 1.0], [10.0, 1.0]]


@pytest.mark.parametrize("f", [np.exp, np.log, np.sin, np.tanh, np.sqrt, np.hypot, np.floor], ids=ids)
def test_numpys_functions_call_the_methods_of_values(f: Any) -> None:
    numbers = [0.5, 2.0]
    out = f(*[np.array([Value(x) for x in numbers])] * f.nin)
    assert [v.data for v in out] == pytest.approx(f(*[np.array(numbers)] * f.nin).tolist(), rel=1e-15)  # other libms
    assert all(v.op == f.__name__ for v in out)


def test_an_array_of_floats_does_not_take_values_silently() -> None:
    with pytest.raises(vg.ForgetError):
        np.array([Value(1.0)], dtype=float)


# --------------------------------------------------------------------------------------- methods, functions
TUTORIAL = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
    "pow": lambda a, b: a**b,
}


@pytest.mark.parametrize("name", TUTORIAL)
def test_the_tutorials_methods_do_what_the_operators_do(name: str) -> None:
    for b in (2, 2.5, Value(2.5)):
        by_method, by_operator = getattr(Value(1.5), name)(b), TUTORIAL[name](Value(1.5), b)
        assert (by_method.data, by_method.op) == (by_operator.data, by_operator.op)
        assert by_method.local_grads == by_operator.local_grads


def test_the_tutorials_unary_methods() -> None:
    x = Value(0.5)
    assert (x.log().data, x.exp().data, x.relu().data, x.neg().data) == (math.log(0.5), math.exp(0.5), 0.5, -0.5)


@pytest.mark.parametrize("row", [row for row in TABLE.values() if row.method], ids=lambda row: row.name)
def test_a_rows_method_and_function_agree(row: Any) -> None:
    sample = row.samples[0][0] if row.vectors else row.samples[0]
    args = [Value(x) if i < len(sample) - bool(row.static) else int(x) for i, x in enumerate(sample)]
    method, function = getattr(Value, row.method)(*args), getattr(vg, row.name)(*args)
    bits = [struct.pack("<d", one.data) for one in (method, function)]
    assert bits[0] == bits[1]
    assert method.op == function.op == row.name


def test_the_functions_take_plain_numbers_and_give_floats() -> None:
    assert vg.exp(1) == math.e
    assert type(vg.relu(3)) is float
    assert vg.pow(2, 3) == 8.0
    assert vg.sum([1, 2.5, np.float32(1)]) == 4.5
    assert vg.where(True, 1, 2) == 1.0


def test_lists_may_be_lists_tuples_arrays_and_iterables() -> None:
    values = [Value(1.0), Value(2.0)]
    for xs in (values, tuple(values), np.array(values), iter(values), (v for v in values), dict.fromkeys(values)):
        out = vg.sum(xs)
        assert out.data == 3.0
        assert out.children == tuple(values)
    assert vg.dot(values, np.array([3.0, 4.0])).data == 11.0


def test_maximum_takes_numbers_or_one_list() -> None:
    a, b = Value(1.0), Value(2.0)
    assert vg.maximum(a, b).children == vg.maximum([a, b]).children == a.maximum(b).children == (a, b)
    assert vg.minimum(3, a, b).data == 1.0


def test_pythons_sum_starts_at_zero_and_works() -> None:
    values = [Value(1.0), Value(2.0)]
    total = sum(values)
    total.backward()
    assert total.data == 3.0
    assert [v.grad for v in values] == [1.0, 1.0]


def test_take_gathers_from_lists_and_lists_of_lists() -> None:
    table = [[Value(1.0), Value(2.0)], [Value(3.0), Value(4.0)]]
    row = vg.take(table, -1)
    vg.dot(row, row).backward()
    assert [v.data for v in row] == [3.0, 4.0]
    assert [[v.grad for v in entries] for entries in table] == [[0.0, 0.0], [6.0, 8.0]]
    assert [v.op for v in row] == ["take", "take"]


def test_take_of_one_entry_remembers_its_place() -> None:
    entry = vg.take([1.0, 2.0, Value(3.0)], -1)
    assert (entry.data, entry.op, entry.static) == (3.0, "take", 2.0)


def test_where_takes_a_condition_of_any_kind() -> None:
    a, b = Value(1.0), Value(2.0)
    assert vg.where(a < b, a, b).data == 1.0
    assert vg.where([], a, b).data == 2.0
    assert vg.where(np.bool_(True), a, b).data == 1.0
    assert vg.where(Value(0.0), a, b).data == 2.0
