"""Letting a model write for the page: texts, one token after another, and where the heads look."""

from __future__ import annotations

import random

import pytest

import valuegrad as vg
from valuegrad import gpt, nn
from valuegrad.errors import ValueArgumentError
from valuegrad.gpt.tokenizer import Tokenizer
from valuegrad.playground import generating
from valuegrad.playground.generating import GenerateSettings, Slowly
from valuegrad.playground.runs import Trained

SIZES = gpt.ModelSettings(n_layer=2, n_embd=8, n_head=2, block_size=6)
TOKENIZER = Tokenizer("ab <")
MODEL = gpt.GPT(TOKENIZER.vocabulary, SIZES, random.Random(3))


def test_a_seed_gives_the_same_texts_and_another_one_others():
    settings = [GenerateSettings(count=8, draws=draws, temperature=1.0) for draws in (1, 1, 2)]
    first, again, other = (generating.texts(MODEL, TOKENIZER, one) for one in settings)
    assert len(first) == 8
    assert first == again != other


def test_token_by_token_gives_the_first_of_the_texts():
    settings = GenerateSettings(temperature=1.0, prefix="ab", count=1, draws=5)
    slowly = Slowly(MODEL, TOKENIZER, settings)
    while slowly.step() is not None:
        pass
    assert [slowly.text] == generating.texts(MODEL, TOKENIZER, settings)
    assert slowly.ended in ("the model ended it", "the context is full")
    assert slowly.step() is None


def test_a_text_ends_where_the_context_is_full():
    slowly = Slowly(MODEL, TOKENIZER, GenerateSettings(temperature=1.0, prefix="abab", draws=4))
    steps = 0
    while slowly.step() is not None:
        steps += 1
    assert 1 <= steps <= 2


def test_writing_stops_when_it_takes_long(monkeypatch):
    monkeypatch.setattr(generating, "MOST_SECONDS", 0.0)
    assert len(generating.texts(MODEL, TOKENIZER, GenerateSettings(count=100))) == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": -0.1}, "temperature is -0.1; expected 0 to 10"),
        ({"top_k": -1}, "top_k is -1"),
        ({"count": 0}, "count is 0; expected 1 to 200"),
        ({"count": 201}, "count is 201"),
        ({"prefix": "x" * 1001}, "prefix is .*; expected at most 1,000 characters"),
        ({"layer": 2}, "layer is 2; expected 1 to 1"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(ValueArgumentError, match=message):
        GenerateSettings(**settings)


@pytest.mark.parametrize("prefix", ["xyz", "ababab"])
def test_a_prefix_that_cannot_be_is_told(prefix):
    for write in (generating.texts, Slowly):
        with pytest.raises(ValueArgumentError):
            write(MODEL, TOKENIZER, GenerateSettings(prefix=prefix))


def test_the_drawn_token_is_marked_and_always_there():
    chances = [0.5, 0.3, 0.15, 0.05, 0.0]
    prediction = gpt.Prediction(3, "<", chances)
    shown = generating.likeliest(prediction, TOKENIZER, most=2)
    assert [(token.name, token.probability, token.drawn) for token in shown] == [("a", 0.5, False), ("<", 0.05, True)]
    assert len(generating.likeliest(prediction, TOKENIZER)) == 4  # what is impossible is no bar


def test_bars_escape_what_they_show():
    page = generating.bars([generating.Likely("<", 0.25, True)])
    assert "&lt;" in page
    assert "25.0% ← drawn" in page


@pytest.mark.parametrize(("token", "name"), [(0, "a"), (2, "space"), (4, "end")])
def test_tokens_have_names(token, name):
    assert generating.token_name(token, TOKENIZER) == name
    assert generating.token_name(0, Tokenizer("\x07")) == "\\x07"


# ------------------------------------------------------------------------------------------------- attention
def test_each_head_of_each_layer_looks_at_each_position_so_far():
    found = generating.attention(MODEL, TOKENIZER, "abab")
    assert (len(found), len(found[0])) == (2, 2)
    for layer in found:
        for head in layer:
            assert [len(looks) for looks in head] == [1, 2, 3, 4, 5]
            # A softmax adds up to 1 but for its last bits.
            assert [sum(looks) for looks in head] == pytest.approx([1.0] * 5, rel=1e-14)


def test_the_weights_are_those_that_the_model_computes_with():
    """Of one layer and one head: the vectors are worked out by hand."""
    model = gpt.GPT(3, gpt.ModelSettings(n_layer=1, n_embd=4, n_head=1, block_size=3), random.Random(1))
    attention = model.blocks[0].attention
    tokens = [2, 0, 1]
    inputs = []
    for position, token in enumerate(tokens):
        x = nn.add(model.token_embedding(token), model.position_embedding(position))
        inputs.append(nn.rmsnorm(nn.rmsnorm(x)))
    keys = [attention.key(x) for x in inputs]
    last = vg.softmax([vg.dot(attention.query(inputs[2]), key) / 2.0 for key in keys])
    found = generating.attention(model, Tokenizer("ab"), "ab")
    assert found[0][0][2] == [weight.data for weight in last]


def test_a_text_that_is_too_long_is_cut():
    assert len(generating.attention(MODEL, TOKENIZER, "ab" * 50)[0][0]) == SIZES.block_size
    assert len(generating.names("ab" * 50, Trained(MODEL, TOKENIZER, 0))) == SIZES.block_size


def test_watching_changes_no_logit():
    watched, alone = MODEL.memories(), MODEL.memories()
    for memory in watched:
        memory.looks = []
    for position, token in enumerate([4, 0, 1]):
        one, other = MODEL(token, position, watched), MODEL(token, position, alone)
        assert [x.data for x in one] == [x.data for x in other]


def test_a_heat_map_has_its_numbers_as_text():
    page = generating.heat_map("Head 1", [[1.0], [0.25, 0.75]], ["▸", "<"])
    assert 'title="&lt; looks at ▸: 25%"' in page
    assert '<span class="vg-hidden">75%</span>' in page
    assert page.count("<tr>") == 3
