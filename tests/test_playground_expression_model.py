"""The page "Expressions", without the page."""

from __future__ import annotations

import math

import pytest

from valuegrad.errors import ExpressionError
from valuegrad.playground.expression_model import EXAMPLES, Experiment, number_of, numbers_of, text_of


def test_inputs_start_at_numbers_of_their_own_and_unknown_names_are_left_alone() -> None:
    assert Experiment("a + q", {"a": 7.0, "zzz": 1.0}).inputs == {"a": 7.0, "q": 1.0}


def test_prediction_is_gradient_times_nudge_over_all_inputs() -> None:
    effect = Experiment("a*b", {"a": 2.0, "b": 5.0}, {"a": 0.1, "b": -0.2}).effect
    assert effect.parts == {"a": 0.5, "b": -0.4}
    assert effect.predicted == pytest.approx(0.1, abs=1e-15)  # rounding of two products and a sum
    assert effect.actual == pytest.approx(2.1 * 4.8 - 10.0, abs=1e-14)


def test_a_straight_line_is_said_to_be_exact_and_a_curve_to_be_off() -> None:
    assert "exact" in Experiment("3*a", {"a": 2.0}, {"a": 0.5}).effect.words
    assert "off by 2.4 %" in Experiment("a*a", {"a": 2.0}, {"a": 0.1}).effect.words
    assert "fails" in Experiment("relu(a)", {"a": -0.1}, {"a": 1.0}).effect.words
    assert "not finite" in Experiment("log(a)", {"a": 0.0}, {"a": 1.0}).effect.words
    assert "Drag" in Experiment("a").effect.words


def test_gradients_are_those_before_the_nudge() -> None:
    assert Experiment("a*a", {"a": 3.0}, {"a": 1.0}).gradients == {"a": 6.0}


def test_a_curve_goes_through_the_result_and_has_its_slope() -> None:
    curve = Experiment("a**3", {"a": 2.0}).curve("a", 1.0)
    assert (2.0, 8.0) in curve.points
    assert curve.gradient == 12.0
    assert curve.points[0] == (1.0, 1.0)
    assert curve.points[-1] == (3.0, 27.0)


@pytest.mark.parametrize("text", ["9**9**9", "a + 9**9**9", "a/0", "log(0*a)"])
def test_what_is_not_finite_is_a_number_like_others(text: str) -> None:
    experiment = Experiment(text)
    assert not math.isfinite(experiment.root.data)
    assert not math.isfinite(experiment.effect.before)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a" * 1001, "1,001 characters"),
        ("(" * 10_000 + ")" * 10_000, "20,000 characters"),
        ("(" * 400 + "a" + ")" * 400, "nested deeper"),
        ("+".join("abcdefghijklm"), "13 inputs"),
        ("a +", "character 4"),
        ("", "empty"),
        ("__import__('os')", "no function"),
    ],
)
def test_what_cannot_be_shown_is_refused_in_words(text: str, said: str) -> None:
    with pytest.raises(ExpressionError, match=said):
        Experiment(text)


def test_results_with_names_are_shared_not_computed_again() -> None:
    root = Experiment("b = a + a; c = b + b", {"a": 2.0}).root
    assert (root.data, root.name, root.children[0].name) == (8.0, "c", "b")
    assert root.children[0] is root.children[1]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a + a; b", "no name"),
        ("a = 2; a = 3; a", "two things"),
        ("b = a; a = 2; b", "two things"),
        ("pi = 3", "two things"),
        ("b = ; b", "empty"),
        ("b == a", "comparison"),
    ],
)
def test_names_that_cannot_be_are_refused_in_words(text: str, said: str) -> None:
    with pytest.raises(ExpressionError, match=said):
        Experiment(text)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.title)
def test_every_example_can_be_shown(example: object) -> None:
    numbers, complaints = numbers_of(example.inputs)  # type: ignore[attr-defined]
    assert not complaints
    experiment = Experiment(example.expression, numbers)  # type: ignore[attr-defined]
    assert experiment.inputs == numbers


@pytest.mark.parametrize("numbers", [{"a": 2.0, "b": 1 / 3}, {}, {"x": math.inf, "y": -1e-300, "z": 1e22}])
def test_numbers_come_back_from_an_address(numbers: dict[str, float]) -> None:
    assert numbers_of(text_of(numbers)) == (numbers, [])


@pytest.mark.parametrize("text", ["", "  ", "a", "1e999", "2;3", "9" * 100, "exec()"])
def test_what_is_no_number_is_told(text: str) -> None:
    with pytest.raises(ExpressionError):
        number_of(text)


def test_numbers_of_a_wrong_address_are_told_and_left_out() -> None:
    numbers, complaints = numbers_of("a=2,b,=3,c=<b>")
    assert numbers == {"a": 2.0}
    assert len(complaints) == 3
