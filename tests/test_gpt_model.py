"""The GPT's model, tokenizer, settings and sampling."""

import math
import random

import pytest

import valuegrad as vg
from valuegrad import gpt
from valuegrad.gpt.sampling import probabilities

SMALL = gpt.ModelSettings(n_layer=2, n_embd=8, n_head=2, block_size=6)


def small(characters="abc", seed=1):
    return gpt.GPT(len(characters) + 1, SMALL, random.Random(seed)), gpt.Tokenizer(characters)


# ------------------------------------------------------------------------------------------- tokenizer
def test_tokens_are_the_characters_in_order_and_bos_comes_last():
    tokenizer = gpt.Tokenizer.of(["mia", "emma"])
    assert (tokenizer.characters, tokenizer.bos, tokenizer.vocabulary) == ("aeim", 4, 5)


def test_decoding_undoes_encoding():
    tokenizer = gpt.Tokenizer.of(["größe", "日本 語"])
    assert tokenizer.decode(tokenizer.document("日本 öß")) == "日本 öß"


def test_a_long_document_is_cut_before_it_is_encoded():
    assert gpt.Tokenizer("ab").document("ab" * 10**6, 3) == [2, 0, 1, 0]


def test_a_document_as_long_as_the_context_ends_without_bos():
    assert gpt.Tokenizer("ab").document("abab", 4) == [2, 0, 1, 0, 1]
    assert gpt.Tokenizer("ab").document("aba", 4) == [2, 0, 1, 0, 2]


def test_an_unknown_character_is_named():
    with pytest.raises(vg.ValueArgumentError, match="never seen: 'xy'"):
        gpt.Tokenizer("ab").encode("axbyx")


@pytest.mark.parametrize("characters", ["", "aba"])
def test_an_impossible_alphabet_is_refused(characters):
    with pytest.raises(vg.ValueArgumentError, match="expected at least one"):
        gpt.Tokenizer(characters)


# ------------------------------------------------------------------------------------------------ model
def test_the_default_model_has_4192_parameters_on_27_tokens():
    model = gpt.GPT(27, gpt.ModelSettings(), random.Random(1))
    assert len(model.parameters()) == gpt.ModelSettings().parameters(27) == 4192


def test_weights_are_drawn_in_the_order_of_the_matrices():
    model, rng = small(seed=9)[0], random.Random(9)
    for matrix in model.matrices().values():
        for row in matrix:
            assert [w.data for w in row] == [rng.gauss(0, 0.08) for _ in row]


def test_parameters_are_the_matrices_in_their_order():
    model, _ = small()
    assert model.parameters() == [w for matrix in model.matrices().values() for row in matrix for w in row]


def test_the_checkpoint_knows_the_shapes_of_the_matrices():
    from valuegrad.gpt.checkpoint import shapes

    model, tokenizer = small()
    found = {name: (len(matrix), len(matrix[0])) for name, matrix in model.matrices().items()}
    assert found == shapes(tokenizer.vocabulary, SMALL)


def test_every_parameter_that_a_text_uses_gets_a_gradient():
    model, tokenizer = small()
    model.loss(tokenizer.document("abca")).backward()
    grads = [w.grad for name, matrix in model.matrices().items() if name != "wpe" for row in matrix for w in row]
    assert sum(g == 0.0 for g in grads) < 0.5 * len(grads)  # relu switches some off
    used, unused = model.position_embedding.weight[4], model.position_embedding.weight[5]
    assert all(w.grad != 0.0 for w in used)
    assert all(w.grad == 0.0 for w in unused)


def test_the_loss_has_the_gradient_of_central_differences():
    model, tokenizer = small()
    tokens = tokenizer.document("abcab")
    model.loss(tokens).backward()
    for w in random.Random(0).sample(model.parameters(), 12):
        at, h = w.data, 1e-5
        with vg.no_grad():
            w.data = at + h
            above = model.loss(tokens).data
            w.data = at - h
            below = model.loss(tokens).data
        w.data = at
        # rounding 1e-16/h = 1e-11, truncation h**2 = 1e-10 times third derivatives
        assert w.grad == pytest.approx((above - below) / (2 * h), rel=1e-6, abs=1e-8)


def test_an_untrained_model_is_about_as_surprised_as_a_uniform_one():
    model, tokenizer = small()
    assert abs(model.loss(tokenizer.document("abc")).data - math.log(4)) < 0.3


def test_the_rest_of_a_long_text_does_not_matter():
    model, _ = small()
    assert model.loss([3, 0, 1, 2, 0, 1, 2]).data == model.loss([3, 0, 1, 2, 0, 1, 2, 0, 0, 0]).data


def test_a_text_without_anything_to_predict_is_refused():
    with pytest.raises(vg.ShapeError, match="at least 2"):
        small()[0].loss([3])


# --------------------------------------------------------------------------------------------- settings
@pytest.mark.parametrize(
    ("kind", "wrong", "message"),
    [
        (gpt.ModelSettings, {"n_embd": 10, "n_head": 4}, "n_head may be 1, 2, 5, 10"),
        (gpt.ModelSettings, {"n_layer": 0}, "n_layer is 0"),
        (gpt.ModelSettings, {"block_size": 1.5}, "block_size got 1.5"),
        (gpt.TrainingSettings, {"steps": 0}, "steps is 0"),
        (gpt.TrainingSettings, {"learning_rate": 0.0}, "learning_rate is 0.0"),
        (gpt.TrainingSettings, {"learning_rate": math.nan}, "learning_rate is nan"),
        (gpt.TrainingSettings, {"learning_rate": math.inf}, "learning_rate is inf"),
        (gpt.TrainingSettings, {"eval_fraction": 1.0}, "less than 1"),
        (gpt.TrainingSettings, {"optimizer": "magic"}, "one of adam, adamw, sgd"),
        (gpt.TrainingSettings, {"warm_up": 1000}, "less than steps"),
        (gpt.TrainingSettings, {"weight_decay": 0.1}, "only 'adamw'"),
    ],
)
def test_impossible_settings_are_refused(kind, wrong, message):
    with pytest.raises(vg.ValuegradError, match=message):
        kind(**wrong)


def test_a_model_that_fits_no_memory_is_refused_before_it_is_built():
    with pytest.raises(vg.ValueArgumentError, match="choose smaller sizes"):
        gpt.ModelSettings(n_embd=10**6, n_head=1).parameters(27)


# --------------------------------------------------------------------------------------------- sampling
def test_probabilities_sum_to_one_and_follow_the_temperature():
    cold, warm = probabilities([1.0, 2.0, 3.0], 0.5), probabilities([1.0, 2.0, 3.0], 2.0)
    assert sum(cold) == pytest.approx(1.0, abs=1e-15)
    assert cold[2] > warm[2] > warm[0] > cold[0]


def test_temperature_0_takes_the_first_of_the_likeliest():
    assert probabilities([1.0, 3.0, 3.0], 0.0) == [0.0, 1.0, 0.0]


def test_the_smallest_temperature_there_is_does_not_overflow():
    assert probabilities([1.0, 3.0, -800.0], 5e-324) == [0.0, 1.0, 0.0]


def test_top_k_leaves_the_k_likeliest():
    assert probabilities([1.0, 1.0, 0.0], 1.0, 2) == [0.5, 0.5, 0.0]
    assert probabilities([1.0, 1.0, 1.0], 1.0, 2) == [0.5, 0.5, 0.0]
    assert probabilities([1.0, 1.0, 0.0], 1.0, 99) == probabilities([1.0, 1.0, 0.0])


def test_logits_that_are_not_finite_are_refused():
    with pytest.raises(vg.ValueArgumentError, match="not all finite"):
        probabilities([1.0, math.nan])


def test_the_prefix_begins_the_text_and_counts_against_the_context():
    model, tokenizer = small()
    for seed in range(20):
        text = gpt.sample(model, tokenizer, random.Random(seed), prefix="cab")
        assert text.startswith("cab")
        assert len(text) <= SMALL.block_size


def test_a_prefix_continues_as_the_model_itself_would():
    model, tokenizer = small(seed=3)
    whole = gpt.sample(model, tokenizer, random.Random(0), temperature=0.0)
    assert gpt.sample(model, tokenizer, random.Random(0), temperature=0.0, prefix=whole[:2]) == whole


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_the_generator_yields_the_probabilities_of_each_step(temperature):
    model, tokenizer = small()
    rng = random.Random(2)
    steps = list(gpt.generate(model, tokenizer, rng, temperature=temperature))
    again = random.Random(2)
    for step in steps:
        assert len(step.probabilities) == 4
        drawn = again.choices(range(4), weights=step.probabilities)[0] if temperature else step.probabilities.index(1.0)
        assert step.token == drawn
    assert len(steps) == SMALL.block_size or steps[-1].token == tokenizer.bos


def test_temperature_0_draws_nothing():
    model, tokenizer = small()
    rng = random.Random(2)
    before = rng.getstate()
    gpt.sample(model, tokenizer, rng, temperature=0.0)
    assert rng.getstate() == before


def test_sampling_remembers_nothing_and_leaves_the_mode_of_the_caller():
    model, tokenizer = small()
    for _ in gpt.generate(model, tokenizer, random.Random(1)):
        assert (vg.Value(2.0) * 3.0).children  # the caller's code between two steps still remembers


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": math.nan}, "temperature"),
        ({"top_k": 0}, "top_k"),
        ({"prefix": "abcabc"}, "context of 6"),
        ({"prefix": "ax"}, "never seen: 'x'"),
    ],
)
def test_impossible_wishes_are_refused_at_once(wrong, message):
    model, tokenizer = small()
    with pytest.raises(vg.ValueArgumentError, match=message):
        gpt.generate(model, tokenizer, random.Random(1), **wrong)
