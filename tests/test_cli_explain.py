"""``valuegrad explain``: what a person sees, and what a mistake gives."""

from __future__ import annotations

import re

import pytest
from click.testing import CliRunner, Result

from valuegrad.cli import main
from valuegrad.cli.explain import explain


def run(*args: str, columns: int = 80) -> Result:
    result = CliRunner(env={"COLUMNS": str(columns), "NO_COLOR": "1"}).invoke(explain, list(args))
    assert result.exception is None or isinstance(result.exception, SystemExit)  # no traceback, ever
    return result


def lines(*args: str) -> list[list[str]]:
    """The output's lines as columns, which are at least two spaces apart."""
    result = run(*args)
    assert result.exit_code == 0
    return [re.split(r" {2,}", line.strip()) for line in result.output.splitlines()]


def test_the_tutorials_tables_are_printed_for_every_operation():
    shown = lines("log(a*b) + c", "a=0.1", "b=3", "c=1")
    assert ["1. a * b = 0.3"] in shown
    assert ["0.1", "3", "0.3", "0.101 * 3", "0.303", "0.003", "3 (= b)", "0.003"] in shown
    assert ["0.1", "3", "0.3", "0.1 * 3.001", "0.3001", "0.0001", "0.1 (= a)", "0.0001"] in shown
    assert ["2. log(a * b) = -1.204"] in shown
    assert ["0.3", "-1.204", "log(0.301)", "-1.201", "~0.003", "3.333 (= 1 / 0.3)", "0.003333"] in shown
    assert ["3. log(a * b) + c = -0.204"] in shown
    assert ["-1.204", "1", "-0.204", "-1.203 + 1", "-0.203", "0.001", "1", "0.001"] in shown


def test_the_gradients_of_the_whole_expression_come_last():
    shown = lines("log(a*b) + c", "a=0.1", "b=3", "c=1")
    whole = shown[shown.index(["The whole expression"]) :]
    assert ["a", "0.1", "0.101", "-0.194", "~0.010", "10", "0.01", "-5e-05"] in whole
    assert ["b", "3", "3.001", "-0.2036", "~0.0003", "0.3333", "0.0003333", "-6e-08"] in whole
    assert ["c", "1", "1.001", "-0.203", "0.001", "1", "0.001", "0"] in whole


def test_a_choice_is_made_again_for_the_nudged_input():
    shown = lines("where(a > 0, a, 5)", "a=-0.25", "--nudge", "0.5")
    assert ["a", "-0.25", "0.25", "0.25", "-4.75", "0", "0", "-4.75"] in shown


@pytest.mark.parametrize(
    "expression", ["log(a*b) + c", "(a+b)*c - a/b", "a**b", "maximum(a, b, c)", "where(a > b, a, c)"]
)
def test_tables_fit_eighty_columns(expression):
    given = [f"{name}=3.25" for name in "abc" if re.search(rf"\b{name}\b", expression)]
    result = run(expression, *given)
    assert result.exit_code == 0
    assert max(map(len, result.output.splitlines())) <= 80
    assert "…" not in result.output


def test_markdown_is_a_table_that_any_page_shows():
    result = run("a**2", "a=3", "--format", "markdown")
    assert result.output.startswith("# `a**2 = 9   for a = 3`\n\n## 1. `a ** 2` = 9\n")
    assert (
        "| a | a ** 2 | Nudge a to 3.001 | New result | Change | Local grad | Predicted |\n"
        "| --- | --- | --- | --- | --- | --- | --- |\n"
        "| 3 | 9 | 3.001 ** 2 | 9.006001 | ~0.006 | 6 (= 2 * 3) | 0.006 |\n"
    ) in result.output


def test_the_nudge_can_be_chosen():
    assert ["3", "9", "3.01 ** 2", "9.0601", "0.0601", "6 (= 2 * 3)", "0.06"] in lines("a**2", "a=3", "--nudge", "0.01")
    assert ["3", "9", "2.99 ** 2", "8.9401", "-0.0599", "6 (= 2 * 3)", "-0.06"] in lines("a**2", "a=3", "--nudge=-0.01")


@pytest.mark.parametrize("expression", ["-a", "-alpha", "-h*2", "-h", "--a", "-log(h)"])
def test_an_expression_may_begin_with_a_minus(expression):
    name = re.findall(r"alpha|a|h", expression)[-1]
    # as a part of the whole program, whose -h asks for help
    result = CliRunner(env={"COLUMNS": "80"}).invoke(main, ["explain", expression, f"{name}=1"])
    assert result.output.startswith(f"{expression} = ")
    assert result.exit_code == 0


def test_a_lone_h_asks_for_help():
    assert run("-h").output == run("--help").output


def test_an_input_may_be_worked_out_or_be_no_number():
    assert run("a", "a=-1/4").output.startswith("a = -0.25")
    assert run("a + b", "a=inf", "b=-inf").output.startswith("a + b = nan   for a = inf, b = -inf\n")


def test_an_expression_without_inputs_gives_its_number():
    assert run("3**2").output == ("3**2 = 9\n\nThere is no input to nudge: the expression is a plain number.\n")


@pytest.mark.parametrize(
    ("expression", "told"),
    [
        ("log(0)", "log(0.0) gave -inf from finite inputs"),
        ("9**9**9", "pow(9.0, n=387420489.0) gave inf from finite inputs"),
        ("2 * (1/0)", "div(1.0, 0.0) gave inf from finite inputs"),
    ],
)
def test_the_operation_that_made_a_plain_number_bad_is_told(expression, told):
    shown = run(expression).output
    assert "There is no input to nudge" in shown
    assert f"Where it went bad\n{told}" in shown


def test_poison_is_shown_where_it_arises():
    assert ["0", "-inf", "log(0.001)", "-6.908", "inf", "inf (= 1 / 0)", "inf"] in lines("log(a)", "a=0")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "Missing argument 'EXPRESSION'"),
        (["a+b", "a=1"], "needs a number for the input b: give b=NUMBER"),
        (["log(a", "a=1"], "expected ')', ',' or an operator, got the end\n  log(a\n       ^ character 6"),
        (["ln(a)", "a=1"], "did you mean 'log'"),
        (["a", "b=1"], "input 'b' does not occur in 'a': its inputs are a"),
        (["a", "a"], "input 'a' is not of the form NAME=NUMBER; give one such as a=0.1"),
        (["a", "a="], "is not of the form NAME=NUMBER"),
        (["a", "=1"], "is not of the form NAME=NUMBER"),
        (["a", "2=1"], "is not of the form NAME=NUMBER"),
        (["a", "a=1", "a=2"], "input 'a' is given twice"),
        (["a", "a=x"], "input 'a=x' has a name for a number"),
        (["a", "a=1+"], "expected a number"),
        (["a", "a=1e400"], "larger than any float64"),
        (["a", "a=1", "--nudeg", "1"], "there is no option '--nudeg'"),
        (["a", "a=1", "--nudge", "0"], "nudge got 0; expected a small number other than 0"),
        (["a", "a=1", "--nudge", "nan"], "nudge got nan; expected a small number"),
        (["a", "a=1", "--wrong", "order"], "give --steps with it"),
        (["a", "a=1", "--steps", "--wrong", "orders"], "'orders' is not one of"),
        (["a", "a=1", "--nudge", "x"], "'x' is not a valid float"),
        (["a", "a=1", "--format", "html"], "'html' is not one of"),
        (["(" * 10_000], "nested deeper than 60 levels"),
        (["(" * 100_000], "expected at most 10,000"),
        (["__import__('os')"], "there is no function '__import__'"),
    ],
)
def test_a_mistake_gives_a_message_and_exit_code_2(args, message):
    result = run(*args)
    assert result.exit_code == 2
    assert message in result.output


def test_why_ranks_the_inputs_and_draws_them():
    shown = lines("3*a + b", "a=2", "b=1", "--why")
    assert ["a", "2", "0.02", "+0.06", "85.7%", "+0.06"] in shown
    assert ["a", "a → mul → add", "3 × 1 = 3", "100.0%"] in shown
    assert any(line[0].startswith("a ░") for line in shown if line)
    assert ["1. 3 * a = 6"] not in shown


def test_why_takes_a_nudge_if_one_is_given():
    assert ["a", "2", "0.5", "+1.5", "100.0%", "+1.5"] in lines("3*a", "a=2", "--why", "--nudge", "0.5")


def test_steps_are_shown_one_after_the_other():
    assert ["1", "a.grad += v1.local_grads[0] * v1.grad", "0 + 3 * 1 = 3"] in lines("a*3", "a=2", "--steps")


@pytest.mark.parametrize(("wrong", "of_a"), [("order", "2"), ("assign", "1"), ("stale", "12")])
def test_a_wrong_pass_says_what_is_wrong(wrong, of_a):
    output = run("(a + a) + (a + a)", "a=2", "--steps", "--wrong", wrong).output
    assert f"a.grad is {of_a} instead of 4" in " ".join(output.split())


def test_where_it_went_bad_is_told_last():
    shown = lines("3 * log(a) + b", "a=0", "b=1")
    assert shown[shown.index(["Where it went bad"]) + 1 :] == [
        ["log(a=0.0) gave -inf from finite inputs"],
        ["from there it went on through mul → add"],
    ]


def test_a_gradient_that_goes_bad_is_told_though_the_result_is_finite():
    output = run("sqrt(a) * 0", "a=0", "--format", "markdown").output
    assert "## Where a gradient goes bad\n\nsqrt(a=0.0) gave 0.0, but its local gradient ∂/∂a is inf\n" in output


def test_all_that_is_asked_for_can_be_markdown():
    output = run("a * b", "a=2", "b=3", "--why", "--steps", "--format", "markdown").output
    assert "## Why\n\nthe result = 6: what moves it\n\n| Input | Value |" in output
    assert "```text\nthe result = 6, each input moved up and down by 1 % of itself" in output
    assert "## The backward pass\n\nBefore the first step: v1.grad = 1.0\n\n| Step | Python |" in output


def test_help_lists_the_functions_and_examples():
    output = run("--help").output
    assert "valuegrad explain 'log(a*b) + c' a=0.1 b=3 c=1" in output
    assert "sqrt(a), sub(a, b)" in output
