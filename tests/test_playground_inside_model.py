"""The page "Look inside", without the page."""

from __future__ import annotations

import math
import random

import pytest

from valuegrad.errors import IndexRangeError, ValueArgumentError
from valuegrad.gpt import GPT, Trainer, datasets
from valuegrad.gpt.compiled import built
from valuegrad.gpt.settings import ModelSettings, TrainingSettings
from valuegrad.gpt.tokenizer import Tokenizer
from valuegrad.playground.inside_model import Scalar, Web, opened, sides
from valuegrad.playground.runs import Run
from valuegrad.playground.settings import RunSettings
from valuegrad.playground.snapshots import Snapshots
from valuegrad.playground.watching import read
from valuegrad.value import Value

pytestmark = pytest.mark.usefixtures("kept_code")
TOKENIZER = Tokenizer("abc")


def small(layers: int = 1) -> GPT:
    return GPT(4, ModelSettings(n_layer=layers, n_embd=4, n_head=2, block_size=5), random.Random(7))


def trained(steps: int, most: int = 80) -> tuple[Trainer, Snapshots]:
    settings = TrainingSettings(steps=steps, eval_fraction=0.0)
    trainer = Trainer(["abc", "cab", "bb", "acca"], ModelSettings(n_embd=4, n_head=2, block_size=5), settings)
    snapshots = Snapshots(most=most)
    snapshots.keep(trainer)
    while trainer.step < steps:
        trainer.train_some(snapshots.next(trainer.step))
        snapshots.keep(trainer, last=trainer.step == steps)
    return trainer, snapshots


# ---------------------------------------------------------------------------------------------- naming what was read
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("text", ["a", "abca", "abcabcabc"])
def test_watching_changes_no_number(layers: int, text: str) -> None:
    model = small(layers)
    assert read(model, TOKENIZER, text).loss.data == model.loss(TOKENIZER.document(text, 5)).data


def test_the_model_itself_is_left_alone() -> None:
    model = small()
    read(model, TOKENIZER, "abc")
    assert all(weight.name is None and weight.grad == 0.0 for weight in model.parameters())
    assert type(model.lm_head).__name__ == "Linear"
    assert type(model.blocks[0]).__name__ == "Block"


def test_gradients_are_those_of_the_loss() -> None:
    model = small()
    reading = read(model, TOKENIZER, "abc")
    model.loss(TOKENIZER.document("abc", 5)).backward()
    assert [p.grad for p in reading.parameters] == [p.grad for p in model.parameters()]


def test_attention_weights_of_a_head_add_up_to_one() -> None:
    for at in read(small(2), TOKENIZER, "abc").positions:
        assert len(at.attention) == 2
        for head in at.attention[0] + at.attention[1]:
            assert len(head) == at.number + 1
            assert sum(weight.data for weight in head) == pytest.approx(1.0, abs=1e-15)  # rounding of a short sum


def test_an_attention_weight_leads_to_its_match_and_to_query_and_key() -> None:
    weight = read(small(), TOKENIZER, "abc").positions[2].attention[0][1][0]
    assert weight.name == "head 1: 2 attends to 0"
    match = weight.children[0]
    assert match.name == "head 1: match of 2 with 0"
    assert [child.name for child in match.children[0].children] == [
        "query[2] at 2", "query[3] at 2", "key[2] at 0", "key[3] at 0"
    ]  # fmt: skip


def test_every_value_but_constants_has_a_name_of_its_own() -> None:
    web = Web(small(2), TOKENIZER, "abca")
    named = [value for value in web.order if value.op != "constant"]
    names = [value.name for value in named]
    assert None not in names
    assert len(set(names)) == len(names)


def test_positions_know_their_tokens_and_chances() -> None:
    positions = read(small(), TOKENIZER, "ab").positions
    assert [(at.token, at.target) for at in positions] == [("⟨start⟩", "a"), ("a", "b"), ("b", "⟨end⟩")]
    assert sum(positions[0].chances) == pytest.approx(1.0, abs=1e-15)  # rounding of a short sum


def test_a_model_that_went_bad_can_be_looked_into() -> None:
    model = small()
    model.lm_head.weight[0][0].data = math.inf
    web = Web(model, TOKENIZER, "ab")
    assert math.isnan(web.reading.positions[0].chances[0])
    assert looked_at(web, web.reading.loss).children


def test_a_text_with_unknown_characters_is_refused_in_words() -> None:
    with pytest.raises(ValueArgumentError, match="never seen"):
        Web(small(), TOKENIZER, "abz")


# ------------------------------------------------------------------------------------------------ walking the web
def looked_at(web: Web, value: Value) -> Scalar:
    return web.looked_at(web.number[value])


def test_the_same_text_gives_the_same_numbers_again() -> None:
    first, second = Web(small(), TOKENIZER, "abc"), Web(small(), TOKENIZER, "abc")
    assert [value.name for value in first.order] == [value.name for value in second.order]


def test_what_the_users_carry_is_the_grad() -> None:
    web = Web(small(), TOKENIZER, "abca")
    for value in web.order[:-1]:
        if value.op != "constant":
            carried = sum(edge.carries for edge in looked_at(web, value).users)
            assert carried == pytest.approx(value.grad, rel=1e-12, abs=1e-15)  # another order of a sum


def test_walking_down_ends_at_a_weight_and_up_at_the_loss() -> None:
    web = Web(small(), TOKENIZER, "abc")
    here = looked_at(web, web.reading.positions[1].logits[0])
    while here.children:
        here = web.looked_at(here.children[0].number)
    assert here.value in set(web.reading.parameters)
    while here.users:
        here = web.looked_at(here.users[0].number)
    assert here.value is web.reading.loss


def test_a_child_that_was_taken_twice_is_one_edge() -> None:
    web = Web(small(), TOKENIZER, "a")
    squares = next(value for value in web.order if (value.name or "").startswith("sum of squares"))
    edges = looked_at(web, squares).children
    assert len(edges) == 4
    assert all(edge.local_grad == 2.0 * edge.data for edge in edges)


def test_a_number_that_is_not_there_is_told() -> None:
    web = Web(small(), TOKENIZER, "a")
    with pytest.raises(IndexRangeError, match="expected 0 to"):
        web.looked_at(len(web))


# ------------------------------------------------------------------------------------------------------ snapshots
def test_weights_are_kept_at_the_first_and_the_last_step_and_evenly_between() -> None:
    _, snapshots = trained(45, most=6)
    assert snapshots.steps[0] == 0
    assert snapshots.steps[-1] == 45
    assert len(snapshots.steps) <= 6
    assert {step % snapshots.every for step in snapshots.steps[:-1]} == {0}


def test_kept_weights_give_the_loss_that_training_reported() -> None:
    trainer, snapshots = trained(12)
    for step in (0, 5, 11):
        model = trainer.model.with_parameters([Value(x) for x in snapshots.at(step).tolist()])
        text = trainer.documents[step % len(trainer.documents)]
        # The compiled steps contract products and sums, so the last bits differ, and drift with the steps.
        assert Web(model, trainer.tokenizer, text).reading.loss.data == pytest.approx(trainer.losses[step], rel=1e-9)


def test_keeping_weights_changes_no_training() -> None:
    trainer, _ = trained(20)
    plain = Trainer(["abc", "cab", "bb", "acca"], trainer.model_settings, trainer.settings)
    assert [report.loss for report in plain] == trainer.losses


def test_without_weights_it_says_what_to_do() -> None:
    with pytest.raises(ValueArgumentError, match="train it"):
        Snapshots().nearest(3)


def test_a_run_is_opened_at_a_step_and_reads_what_that_step_learned_from() -> None:
    data = datasets.load("names")
    run = Run(RunSettings(n_embd=4, n_head=2, block_size=8, steps=6), data)
    run.start()
    assert run.join(60.0)
    assert run.weights.steps == [0, 1, 2, 3, 4, 5, 6]
    losses = run.ask(lambda trainer: list(trainer.losses))
    for step in (0, 3, 5):
        found = opened(run, step)
        assert found.web.reading.loss.data == pytest.approx(losses[step], rel=1e-9)  # compiled sums are contracted
    assert opened(run, 6, "emma").text == "emma"
    with pytest.raises(ValueArgumentError, match="never seen"):
        opened(run, 6, "Ü")


# ---------------------------------------------------------------------------------------------------- the engines
def test_both_engines_give_one_loss_and_say_what_they_did() -> None:
    model = small()
    web = Web(model, TOKENIZER, "abc")
    found = sides(web, model, TOKENIZER, "abc")
    assert [side.name for side in found] == (["eager", "compiled"] if built() else ["eager"])
    assert f"{web.edges:,} local gradients" in found[0].runs
    for side in found:
        assert side.loss == pytest.approx(web.reading.loss.data, rel=1e-12)  # compiled sums may be contracted
        assert side.each_s > 0.0
        assert sum(side.operations.values()) > 100
