"""Written expressions: what they mean, and that hostile ones end in a clear message."""

from __future__ import annotations

import ast
import math
import sys
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

import valuegrad as vg
from valuegrad.inspect.expression import MAX_DEPTH, MAX_LENGTH, Expression, functions
from valuegrad.primitives import TABLE


def value(text: str, **inputs: float) -> float:
    return Expression(text).evaluate(inputs).data


def refused(text: str, message: str, **inputs: float) -> None:
    with pytest.raises(vg.ExpressionError, match=message):
        Expression(text).evaluate(inputs)


# ------------------------------------------------------------------------------------------------- meaning
def test_the_tutorials_expression_comes_out():
    y = Expression("log(a*b) + c").evaluate({"a": 0.1, "b": 3, "c": 1})
    assert y.data == math.log(0.1 * 3) + 1
    assert y.op == "add"


def test_gradients_flow_to_the_inputs():
    leaves = {"a": vg.Value(0.1), "b": vg.Value(3.0)}
    Expression("log(a*b)").evaluate(leaves).backward()
    assert [leaf.grad for leaf in leaves.values()] == pytest.approx([10.0, 1 / 3], rel=1e-15)  # one rounding each


def test_inputs_carry_their_names():
    y = Expression("a + b").evaluate({"a": 1, "b": 2})
    assert [child.name for child in y.children] == ["a", "b"]


def test_names_are_listed_once_in_the_order_of_the_text():
    assert Expression("b*a + b").names == ("b", "a")


def test_the_same_name_is_the_same_value():
    y = Expression("x*x").evaluate({"x": 3})
    assert y.children[0] is y.children[1]


def test_a_constant_exponent_is_the_table_s_pow_and_an_input_its_power():
    assert Expression("a**2").evaluate({"a": 3}).op == "pow"
    assert Expression("a**n").evaluate({"a": 3, "n": 2}).op == "power"


arithmetic = st.recursive(
    st.sampled_from(["1", "2.5", "3e-1", ".5", "x", "y"]),
    lambda inner: st.one_of(
        st.builds("{} {} {}".format, inner, st.sampled_from(["+", "-", "*", "/", "//", "%", "**"]), inner),
        st.builds("({})".format, inner),
        st.builds("{}{}".format, st.sampled_from(["-", "+", "- -"]), inner),
    ),
    max_leaves=12,
)


class _Grouped(ast.NodeTransformer):
    """Puts every number into a Value, so that Python's own parser decides the grouping and nothing else."""

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        return ast.Call(ast.Name("V", ast.Load()), [node], [])


@given(arithmetic)
def test_operators_group_as_python_groups_them(text):
    # an independent parser: the text is made of numbers, two names and operators only
    tree = ast.fix_missing_locations(_Grouped().visit(ast.parse(text, mode="eval")))
    names = {"V": vg.Value, "x": vg.Value(1.75), "y": vg.Value(-3.0), "__builtins__": {}}
    expected = eval(compile(tree, "test", "eval"), names).data
    expression = Expression(text)
    found = expression.evaluate({name: {"x": 1.75, "y": -3.0}[name] for name in expression.names}).data
    assert found == expected or (math.isnan(found) and math.isnan(expected))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("-2**2", -4.0),
        ("2**-1", 0.5),
        ("2**3**2", 512.0),
        ("7 - 2 - 1", 4.0),
        ("1/0", math.inf),
        ("-1/0", -math.inf),
        ("9**9**9", math.inf),
        ("1e308*10", math.inf),
        ("7.5 % 2 // 1", 1.0),
        ("log(0)", -math.inf),
        ("pi", math.pi),
        ("-inf", -math.inf),
        ("sum([])", 0.0),
        ("2 +\n 3", 5.0),
    ],
)
def test_plain_numbers_follow_ieee_754(text, expected):
    assert value(text) == expected


@pytest.mark.parametrize("x", [math.nan, math.inf, -math.inf, -0.0])
def test_an_input_may_be_any_float(x):
    found = value("x", x=x)
    assert (math.isnan(x) and math.isnan(found)) or (found == x and math.copysign(1, found) == math.copysign(1, x))


def test_lists_conditions_and_variadic_functions():
    assert value("dot([a, b], [1, 2])", a=3, b=4) == 11
    assert value("maximum(a, b, 7)", a=3, b=4) == value("maximum([a, b, 7])", a=3, b=4) == 7
    assert value("where(a > 0, log(a), 0)", a=0) == 0
    assert value("where(a <= 0, 1, 2)", a=0) == 1
    assert value("take(softmax([a, b]), -1)", a=1, b=1) == 0.5
    assert value("cross_entropy([a, b], 1)", a=0, b=0) == math.log(2)
    assert value("polygamma(a, 1)", a=1) == vg.polygamma(1.0, 1)


@pytest.mark.parametrize("name", [row.name for row in TABLE.values() if row.function])
def test_every_function_of_the_table_can_be_written(name):
    row = TABLE[name]
    sample = next(s for s in row.samples if all(x != [] for x in s))
    texts, inputs = [], {}
    for i, x in enumerate(sample):
        xs = x if isinstance(x, list) else [x]
        keys = [f"x{i}_{j}" for j in range(len(xs))]
        if row.static and not row.family and i == len(sample) - 1:
            texts.append(repr(x))
            continue
        inputs |= dict(zip(keys, xs))
        texts.append(f"[{', '.join(keys)}]" if isinstance(x, list) else keys[0])
    call = f"{name}({', '.join(texts)})"
    y = Expression(f"take({call}, 0)" if row.family else call).evaluate(inputs)
    assert (y.children[0] if row.family else y).op == name


def test_functions_lists_what_the_table_has():
    assert {text.split("(")[0] for text in functions()} == set(vg.value.NAMES)


# ------------------------------------------------------------------------------------------------- hostile input
@pytest.mark.parametrize("opening", ["(", "[", "log(", "-", "2**", "maximum(1,", "where(a>", "a+(", "- (", "sum([1,"])
def test_ten_thousand_levels_end_in_a_clear_message(opening):
    refused(opening * 10_000, "at most 10,000|nested deeper")
    refused(opening * (MAX_LENGTH // len(opening)), f"nested deeper than {MAX_DEPTH} levels")


def test_the_allowed_depth_needs_little_of_pythons_stack():
    frame, standing = sys._getframe(), 0  # how deep we stand already
    while frame is not None:
        frame, standing = frame.f_back, standing + 1
    text = "abs(" * (MAX_DEPTH - 1) + "a" + ")" * (MAX_DEPTH - 1)
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(standing + 5 * MAX_DEPTH)  # four frames a level, of Python's 1000
    try:
        expression = Expression(text)
    finally:
        sys.setrecursionlimit(limit)
    assert expression.evaluate({"a": 1}).data == 1


@pytest.mark.parametrize("text", ["+".join(["a"] * 5000), "-".join(["a"] * 5000), "a" + "*a" * 4999])
def test_long_flat_expressions_work(text):
    assert math.isfinite(value(text, a=1))


def test_a_text_beyond_the_limit_is_refused():
    refused("1" + "+1" * MAX_LENGTH, "20,001 characters; expected at most 10,000")


@pytest.mark.parametrize("text", ["9" * 5000, "1e400", "9" * 309])
def test_a_literal_beyond_float64_is_refused_not_rounded_to_infinity(text):
    refused(text, "larger than any float64")


def test_a_loop_length_cannot_be_hidden_in_an_argument():
    for order in ("1e9", "9**9", "inf", "nan", "-(1e12)", "1.5"):
        refused(f"polygamma(a, {order})", "whole number up to 1,000")


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "a.__class__",
        "(lambda: 1)()",
        "[x for x in y]",
        "f'{a}'",
        "a if b else c",
        "a; b",
        "open(a)",
        "eval(a)",
        "a = 1",
        "a := 1",
        "backward(a)",
        "Value(1)",
    ],
)
def test_python_beyond_arithmetic_is_refused(text):
    with pytest.raises(vg.ExpressionError):
        Expression(text)


@given(st.text(max_size=60))
def test_any_text_is_an_expression_or_an_expression_error(text):
    with suppress(vg.ExpressionError):  # and no other error
        expression = Expression(text)
        expression.evaluate(dict.fromkeys(expression.names, 1.5))


@given(
    st.lists(st.sampled_from([*"()[],+-*/%<>=.^ ", "**", "//", "a", "2", "log", "dot", "where", "nan"]), max_size=25)
)
def test_any_tokens_are_an_expression_or_an_expression_error(tokens):
    test_any_text_is_an_expression_or_an_expression_error.hypothesis.inner_test("".join(tokens))


# ------------------------------------------------------------------------------------------------- messages
@pytest.mark.parametrize(
    ("text", "message", "character"),
    [
        ("", "the expression is empty; write one", 1),
        ("log(a", r"expected '\)', ',' or an operator, got the end", 6),
        ("(a", r"expected '\)' or an operator, got the end", 3),
        ("a b", "expected an operator or the end, got 'b'", 3),
        ("a +", "expected a number, a name, a function or a bracket, got the end", 4),
        ("a * / b", "expected a number, a name, a function or a bracket, got '/'", 5),
        ("a^2", r"a power is written a\*\*2", 2),
        ("a.log()", r"a function is written log\(a\)", 2),
        ("ln(a)", "there is no function 'ln'; did you mean 'log'", 1),
        ("1 + sqr(a)", "there is no function 'sqr'; did you mean 'sqrt'", 5),
        ("max(a, b)", "did you mean 'maximum'", 1),
        ("log(a, b)", r"log got 2 arguments; expected log\(a\)", 1),
        ("maximum()", r"got no arguments; expected maximum\(a, b, \.\.\.\)", 1),
        ("dot(a, b)", "dot got a number for a list", 5),
        ("log([a])", "a list stands where a number is expected", 5),
        ("maximum(a, [b])", "a list stands where a number is expected", 12),
        ("[a, b]", "the expression gives a list; pick a number", 1),
        ("a > b", r"the expression gives a comparison; .* where\(condition, a, b\)", 3),
        ("(a > b) * 2", "a condition stands where a number is expected", 4),
        ("a < b < c", "expected an operator or the end, got '<'", 7),
        ("a[0]", r"an entry of a list is written take\(\[a, b\], 0\)", 2),
        ("polygamma(a, b)", "takes a plain number, as no gradient flows there", 14),
        ("a if b else c", r"a choice is written where\(a > 0, a, b\)", 3),
        ("1 + 1e999", "larger than any float64", 5),
    ],
)
def test_a_message_says_what_is_expected_and_where(text, message, character):
    refused(text, message)
    refused(text, rf"\^ character {character}$")


def test_the_mark_stands_under_the_place():
    with pytest.raises(vg.ExpressionError) as caught:
        Expression("aaaa + " * 10 + ") + bbbb")
    _, shown, mark = str(caught.value).split("\n")
    assert shown[mark.index("^")] == ")"


def test_a_missing_input_says_how_to_give_it():
    refused("a + b*c", "needs a number for the inputs b, c: give b=NUMBER c=NUMBER", a=1)


def test_an_unused_input_is_an_error_with_the_close_name():
    refused("log(alpha)", "'alhpa' does not occur in .*: its inputs are alpha; did you mean 'alpha'", alpha=1, alhpa=2)


def test_an_operation_s_own_error_is_placed_in_the_text():
    refused("1 + take([a, b], 5)", r"index 5; there are 2 entries(.|\n)*character 5", a=1, b=2)
    refused("mean([])", r"empty list(.|\n)*character 1")


def test_what_is_no_text_is_refused():
    with pytest.raises(vg.ExpressionError, match="must be text, got int"):
        Expression(3)  # type: ignore[arg-type]


def test_what_is_written_twice_is_computed_once_if_asked_for():
    expression = Expression("(a + a) + (a + a)")
    twice, once = expression.evaluate({"a": 2}), expression.evaluate({"a": 2}, shared=True)
    assert once.children[0] is once.children[1]
    assert twice.children[0] is not twice.children[1]
    assert once.data == twice.data == 8.0


# ------------------------------------------------------------------------- plain numbers that go bad
@pytest.mark.parametrize(
    ("text", "operation"),
    [
        ("a * log(0)", "log(0.0)"),
        ("a + 9**9**9", "pow(9.0, n=387420489.0)"),
        ("a + (-8)**(1/3)", "pow(-8.0, n=0.3333333333333333)"),
        ("a + mean([1e308, 1e308])", "mean(1e+308, 1e+308)"),
        ("a + sinh(1000) * 0", "sinh(1000.0)"),
    ],
)
def test_an_operation_that_spoils_plain_numbers_is_the_poison(text, operation):
    found = vg.poison(Expression(text).evaluate({"a": 1.0}))
    assert found.origin is not None
    assert (found.origin.kind, found.origin.operation.split(";")[0]) == ("operation", operation)


def test_an_infinity_that_was_written_is_no_operations_fault():
    found = vg.poison(Expression("a + (inf - 1)").evaluate({"a": 1.0}))
    assert found.origin is not None
    assert found.origin.kind == "input"


def test_operations_on_plain_numbers_that_stay_finite_are_no_nodes():
    assert [child.op for child in Expression("a + sqrt(4) * 3").evaluate({"a": 1.0}).children] == [None, "constant"]
