"""What a Value is: its attributes, its constructor, its identity, and what it refuses."""

from __future__ import annotations

import copy
import math
import pickle
import subprocess
import sys

import pytest

import valuegrad as vg
from valuegrad import Value


# ------------------------------------------------------------------------------------------ what it holds
def test_a_leaf_holds_its_number_and_nothing_else() -> None:
    v = Value(3)
    assert (v.data, v.grad, v.children, v.local_grads, v.op, v.static, v.name) == (3.0, 0.0, (), (), None, None, None)
    assert type(v.data) is float


def test_a_result_holds_children_and_parallel_local_gradients() -> None:
    a, b = Value(3.0), Value(5.0)
    c = a * b
    assert c.children[0] is a
    assert c.children[1] is b
    assert c.local_grads == (5.0, 3.0)
    assert c.op == "mul"


def test_a_child_used_twice_is_listed_twice() -> None:
    x = Value(3.0)
    square = x * x
    assert square.children == (x, x)
    assert square.children[0] is square.children[1] is x
    assert square.local_grads == (3.0, 3.0)


def test_a_plain_number_becomes_a_constant_child_that_collects_no_gradient() -> None:
    x = Value(3.0)
    y = x * 2
    constant = y.children[1]
    y.backward()
    assert (constant.data, constant.op, constant.children) == (2.0, "constant", ())
    assert constant.grad == 0.0
    assert y.children[1] is constant


def test_a_power_by_a_plain_number_has_one_child_and_a_static_exponent() -> None:
    y = Value(3.0) ** 2
    assert len(y.children) == 1
    assert (y.op, y.static, y.local_grads) == ("pow", 2.0, (6.0,))


def test_a_power_by_a_value_has_two_children() -> None:
    x, n = Value(3.0), Value(2.0)
    y = x**n
    assert (y.op, y.static, len(y.children)) == ("power", None, 2)
    assert y.local_grads == (6.0, 9.0 * math.log(3.0))


def test_a_number_to_the_power_of_a_value_has_a_gradient() -> None:
    n = Value(3.0)
    y = 2**n
    y.backward()
    assert y.data == 8.0
    assert n.grad == 8.0 * math.log(2.0)


def test_a_fused_operation_remembers_all_its_children() -> None:
    xs, ys = [Value(float(i)) for i in range(16)], [Value(2.0) for _ in range(16)]
    y = vg.dot(xs, ys)
    assert len(y.children) == len(y.local_grads) == 32
    assert all(child is v for child, v in zip(y.children, [*xs, *ys]))


def test_children_and_local_grads_are_tuples_and_cannot_be_set() -> None:
    y = Value(3.0) * Value(4.0)
    assert type(y.children) is tuple
    assert type(y.local_grads) is tuple
    for attribute in ("children", "local_grads", "op", "static"):
        with pytest.raises(AttributeError):
            setattr(y, attribute, ())


def test_other_attributes_cannot_be_added() -> None:
    with pytest.raises(AttributeError):
        Value(1.0).weight = 2.0


# ---------------------------------------------------------------------------------------- the constructor
def test_the_constructor_makes_an_operation_of_ones_own() -> None:
    """The tutorial's way: Value(f(x.data), [x], [df(x.data)])."""
    x = Value(0.5)
    y = Value(math.sin(x.data), [x], [math.cos(x.data)])
    (y * 2).backward()
    assert y.op == "custom"
    assert x.grad == 2 * math.cos(0.5)


@pytest.mark.parametrize("count", [1, 2, 3, 100])
def test_the_constructor_takes_any_number_of_children(count: int) -> None:
    leaves = [Value(1.0) for _ in range(count)]
    y = Value(7.0, leaves, range(count))
    y.backward()
    assert y.children == tuple(leaves)
    assert [leaf.grad for leaf in leaves] == list(range(count))


def test_the_constructor_takes_any_iterable_and_names_as_keywords() -> None:
    x = Value(1.0)
    y = Value(data=2.0, children=(v for v in [x]), local_grads=iter([4]), name="y")
    assert (y.children, y.local_grads, y.name) == ((x,), (4.0,), "y")


@pytest.mark.parametrize("name", [None, "w", "", "ω", "a name of many words"])
def test_a_name_stays_with_leaves_and_results(name: str | None) -> None:
    x = Value(1.0, name=name)
    results = [x + 1.0, vg.exp(x), x**2, vg.sum([x, x, 1.0]), Value(1.0, (x,), (1.0,)), vg.softmax([x, 2.0])[0]]
    for v in [x, *results]:
        before = (v.data, v.local_grads, [child.data for child in v.children], v.op, v.static)
        v.name = "first"
        v.name = name
        assert v.name == name
        assert before == (v.data, v.local_grads, [child.data for child in v.children], v.op, v.static)
        v.name = None
        assert v.name is None


def test_a_named_result_still_passes_gradients() -> None:
    a, b = Value(3.0), Value(5.0)
    c = a * b
    c.name = "c"
    d = c + 1.0
    d.name = "d"
    d.backward()
    assert (a.grad, b.grad, c.grad) == (5.0, 3.0, 1.0)


# ----------------------------------------------------------------------------------------- setting numbers
def test_the_data_of_a_leaf_can_be_set() -> None:
    p = Value(1.0)
    p.data -= 0.25
    p.data = p.data * 2
    assert p.data == 1.5
    p.data = 3
    assert type(p.data) is float


def test_results_made_before_keep_their_numbers_when_a_leaf_changes() -> None:
    p = Value(2.0)
    y = p * p
    p.data = 5.0
    y.backward()
    assert (y.data, y.local_grads, p.grad) == (4.0, (2.0, 2.0), 4.0)


@pytest.mark.parametrize("make", [lambda x: x * 2, lambda x: vg.exp(x), lambda x: Value(1.0, [x], [1.0])])
def test_the_data_of_a_result_cannot_be_set(make: object) -> None:
    y = make(Value(3.0))
    with pytest.raises(vg.ComputedValueError, match=r"computed by '\w+'.*set data on leaves"):
        y.data = 5.0
    with pytest.raises(AttributeError):
        y.data = 5.0


def test_the_grad_of_any_value_can_be_set_and_zeroed() -> None:
    y = Value(3.0) * 2
    y.grad = 4
    assert y.grad == 4.0
    y.zero_grad()
    assert y.grad == 0.0


# ------------------------------------------------------------------------------------------------ identity
def test_equality_compares_numbers_and_hash_goes_by_identity() -> None:
    a, b = Value(3.0), Value(3.0)
    assert a == b
    assert len({a, b}) == 2
    assert {a: "a", b: "b"}[b] == "b"
    assert a in {a}
    assert hash(a) == hash(a)


def test_many_values_spread_over_a_dictionary() -> None:
    values = [Value(1.0) for _ in range(10_000)]
    assert len(set(values)) == 10_000
    assert len({hash(v) & 0xFFFF for v in values}) > 5_000


def test_a_nan_is_not_equal_to_itself_but_found_by_identity() -> None:
    v = Value(math.nan)
    assert v != v
    assert v in [v]


def test_equality_with_what_is_no_number_is_false() -> None:
    assert Value(3.0) != "3"
    assert Value(3.0) is not None
    assert (Value(3.0) == None) is False  # noqa: E711


def test_values_sort_and_compare_like_their_numbers() -> None:
    values = [Value(x) for x in (3.0, -1.0, 2.0)]
    assert [v.data for v in sorted(values)] == [-1.0, 2.0, 3.0]
    assert max(values) is values[0]
    assert values[1] < 0 < values[2] <= 2.0 < values[0]
    assert 3 >= values[0] > values[2]
    assert not Value(math.nan) < 1.0


def test_truth_is_that_of_the_number() -> None:
    assert not Value(0.0)
    assert not Value(-0.0)
    assert Value(1e-300)
    assert Value(math.nan)


# --------------------------------------------------------------------------------------------- forgetting
@pytest.mark.parametrize(
    "forget",
    [float, int, complex, math.sin, math.sqrt, math.isnan, lambda v: "%f" % v],  # noqa: UP031
)
def test_a_value_does_not_forget_silently(forget: object) -> None:
    with pytest.raises(vg.ForgetError, match=r"v\.data.*vg\.sin"):
        forget(Value(0.5))
    with pytest.raises(TypeError):
        forget(Value(0.5))


def test_a_value_is_no_index_and_no_range() -> None:
    with pytest.raises(TypeError):
        [1, 2, 3][Value(1.0)]
    with pytest.raises(TypeError):
        range(Value(3.0))


def test_format_formats_the_number_and_an_empty_format_shows_the_value() -> None:
    v = Value(2.5, name="x")
    v.grad = 0.5
    assert f"{v:.3f}|{v:>8.1f}|{v:e}" == "2.500|     2.5|2.500000e+00"
    assert f"{v}" == str(v) == repr(v) == "Value(data=2.5, grad=0.5, name='x')"
    with pytest.raises(ValueError, match="format"):
        format(v, "q")


def test_detach_gives_a_leaf_with_the_number() -> None:
    x = Value(3.0)
    y = vg.detach(x * 2)
    assert (y.data, y.children, y.op) == (6.0, (), None)
    (y * x).backward()
    assert x.grad == 6.0
    assert vg.detach(3) == 3.0


# ----------------------------------------------------------------------------------------- copies, pickles
@pytest.mark.parametrize("clone", [copy.copy, copy.deepcopy, lambda v: pickle.loads(pickle.dumps(v))])
def test_leaves_are_copied_and_pickled_with_grad_and_name(clone: object) -> None:
    v = Value(0.1, name="w")
    v.grad = 1 / 3
    twin = clone(v)
    assert twin is not v
    assert (twin.data, twin.grad, twin.name, twin.children) == (0.1, 1 / 3, "w", ())


@pytest.mark.parametrize("clone", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_result_is_not_copied_without_its_children(clone: object) -> None:
    with pytest.raises(vg.ForgetError, match=r"computed by 'exp'.*copy the leaves"):
        clone(vg.exp(Value(1.0)))


def test_a_pickle_made_by_one_engine_is_read_by_the_other() -> None:
    """Both engines' class is valuegrad.Value to the world."""
    assert (Value.__module__, Value.__qualname__) == ("valuegrad", "Value")
    v = Value(0.1, name="w")
    program = (
        "import pickle, sys, valuegrad as vg\n"
        "v = pickle.loads(bytes.fromhex(sys.argv[1]))\n"
        "assert type(v) is vg.Value and (v.data, v.name, vg.engine) == (0.1, 'w', 'readable')"
    )
    environment = {"VALUEGRAD_ENGINE": "readable", "PYTHONPATH": ":".join(filter(None, sys.path))}
    subprocess.run([sys.executable, "-c", program, pickle.dumps(v).hex()], env=environment, check=True)


def test_the_class_is_final() -> None:
    with pytest.raises(TypeError):
        type("Weight", (Value,), {})
