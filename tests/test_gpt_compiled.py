"""The compiled GPT is the eager one: the same losses, texts and checkpoints, only quicker."""

import gc
import json
import platform
import random
import weakref
from pathlib import Path

import numpy as np
import pytest
from engines import ONCE

import valuegrad as vg
from valuegrad import gpt, nn, paths
from valuegrad.cli import progress
from valuegrad.gpt import batches, compiled, predicting
from valuegrad.gpt.batches import batch_arrays, padded
from valuegrad.gpt.checkpoint import SETTINGS_FILE
from valuegrad.gpt.compiled import Steps
from valuegrad.gpt.predicting import PAYS_AFTER_DOCUMENTS, PAYS_AFTER_TEXTS, CompiledWriter, Writer, predictor_of

needs_programs = pytest.mark.skipif(not compiled.built(), reason="the modules that run programs were not built")
pytestmark = pytest.mark.usefixtures("kept_code")

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data" / "names.txt"
DOCUMENTS = ["anna", "bob", "carla", "dora", "emil", "fritz", "gustav", "hanna", "ida", "jakob", "klara", "al"]
SMALL = gpt.ModelSettings(n_embd=8, n_head=2, block_size=8)


def trainer(steps=12, documents=DOCUMENTS, sizes=SMALL, threads=1, **settings):
    return gpt.Trainer(documents, sizes, gpt.TrainingSettings(steps=steps, **settings), threads=threads)


def losses(run):
    return [report.loss for report in run]


def weights(run):
    return np.array([w.data for w in run.model.parameters()])


# ------------------------------------------------------------------------------------------------- training
@needs_programs
def test_all_1000_losses_are_the_eager_ones():
    if not SHARED.exists():
        pytest.skip("the original's names.txt is not here (../shared/data)")
    documents = gpt.datasets.load(str(SHARED)).documents
    steps = 1000 if vg.engine == "native" else 20  # the readable engine would need minutes for all
    eager, quick = (
        losses(gpt.Trainer(documents, training=gpt.TrainingSettings(steps=steps, engine=engine)))
        for engine in ("eager", "compiled")
    )
    assert len(eager) == len(quick) == steps
    assert np.max(np.abs(np.subtract(eager, quick))) < 1e-9


@needs_programs
@pytest.mark.parametrize("batch", [1, pytest.param(3, marks=ONCE)])
@pytest.mark.parametrize(
    "settings",
    [
        {"schedule": "cosine", "warm_up": 3},
        {"schedule": "constant", "clip_norm": 0.5},
        {"clip_norm": 1e6},
        {"optimizer": "adamw", "weight_decay": 0.1},
        {"optimizer": "adamw", "weight_decay": 0.1, "clip_norm": 0.5, "schedule": "cosine"},
        {"optimizer": "sgd", "learning_rate": 0.1},
        {"optimizer": "sgd", "schedule": "constant", "clip_norm": 0.1, "beta1": 0.0},
    ],
)
def test_every_optimiser_and_schedule_learns_as_on_values(settings, batch):
    steps = 15 if vg.engine == "native" else 6
    eager, quick = (trainer(steps, batch=batch, engine=engine, **settings) for engine in ("eager", "compiled"))
    np.testing.assert_allclose(losses(quick), losses(eager), rtol=0, atol=1e-9)
    np.testing.assert_allclose(weights(quick), weights(eager), rtol=0, atol=1e-9)
    assert quick.optimizer.steps == eager.optimizer.steps == steps
    for name, array in eager.optimizer.memory.items():
        np.testing.assert_allclose(quick.optimizer.memory[name], array, rtol=0, atol=1e-9)


@needs_programs
def test_the_loss_of_a_batch_is_the_mean_of_its_documents_losses():
    run = trainer(batch=5)
    model, tokens = run.model, [run.tokenizer.document(document, 8) for document in run.documents[:5]]
    expected = sum(model.loss(document).data for document in tokens) / 5
    assert run.train_step().loss == pytest.approx(expected, rel=1e-14)
    assert run.step == 1


@pytest.mark.parametrize("engine", ["eager", "compiled"])
def test_a_batch_goes_round_the_documents_and_counts_its_tokens(engine):
    run = trainer(2, ["a", "bb", "ccc"], batch=4, eval_fraction=0.0, engine=engine)
    lengths = [len(document) + 1 for document in run.documents]
    assert [report.tokens for report in run] == [sum(lengths) + lengths[0], sum(lengths) + lengths[1]]


@needs_programs
def test_float32_is_close_to_float64():
    single, double = (trainer(30, dtype=dtype, batch=2) for dtype in ("float32", "float64"))
    first, second = losses(single), losses(double)
    assert first != second
    np.testing.assert_allclose(first, second, rtol=1e-3)
    assert np.all(weights(single) == weights(single).astype(np.float32))


@needs_programs
@pytest.mark.parametrize("batch", [1, 4])
def test_positions_that_are_not_there_get_no_gradient(batch):
    run = trainer(1, ["ab", "c", "d"], batch=batch, eval_fraction=0.0, optimizer="sgd", beta1=0.0)
    before = weights(run)
    run.train_step()
    moved = {name: np.array([[w.data for w in row] for row in rows]) for name, rows in run.model.matrices().items()}
    run = trainer(1, ["ab", "c", "d"], batch=batch, eval_fraction=0.0, optimizer="sgd", beta1=0.0)
    start = {name: np.array([[w.data for w in row] for row in rows]) for name, rows in run.model.matrices().items()}
    longest = max(len(document) for document in run.documents[:batch]) + 1
    assert np.all(moved["wpe"][longest:] == start["wpe"][longest:])
    assert np.all(moved["wpe"][0] != start["wpe"][0])
    assert np.any(weights(run) == before)


@ONCE  # programs are compared with programs
@needs_programs
@pytest.mark.parametrize("batch", [1, 3])
def test_how_far_documents_are_filled_up_changes_nothing(monkeypatch, batch):
    usual = trainer(batch=batch)
    list(usual)
    for filled in (lambda positions, most, finest: positions, lambda positions, most, finest: most):
        monkeypatch.setattr(batches, "padded", filled)
        run = trainer(batch=batch)
        assert losses(run) == pytest.approx(usual.losses, rel=1e-12)
        np.testing.assert_allclose(weights(run), weights(usual), rtol=0, atol=1e-12)


def test_few_lengths_are_recorded_and_little_is_filled_up():
    for most in (1, 2, 7, 16, 60, 64, 256):
        found = [padded(positions, most) for positions in range(1, most + 1)]
        assert found == sorted(found)
        assert all(n <= to <= most and to - n <= max(1, n / 4) for n, to in enumerate(found, 1))
    assert len({padded(n, 16) for n in range(1, 17)}) == 8
    assert len({padded(n, 256) for n in range(1, 257)}) == 24


def test_a_batch_keeps_its_documents():
    tokens, counts = batch_arrays([[3, 1, 3], [3, 0, 1, 2, 3]], 6)
    assert tokens.shape == (7, 2)
    assert tokens[:3, 0].tolist() == [3, 1, 3]
    assert tokens[:5, 1].tolist() == [3, 0, 1, 2, 3]
    assert counts.tolist() == [2.0, 4.0]


@needs_programs
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_threads_change_nothing(dtype):
    documents = ["".join(random.Random(i).choices("abcdef", k=1 + i % 9)) for i in range(300)]
    alone, shared = (trainer(4, documents, batch=256, dtype=dtype, threads=threads) for threads in (1, 3))
    assert losses(alone) == losses(shared)
    assert np.all(weights(alone) == weights(shared))
    assert "threads" not in vars(alone.checkpoint().settings)


@pytest.mark.parametrize("threads", [0, -1, 1.5, "2"])
def test_impossible_threads_are_refused(threads):
    with pytest.raises(vg.ValuegradError, match="threads"):
        trainer(threads=threads)


@needs_programs
def test_what_is_changed_between_steps_counts():
    eager, quick = trainer(engine="eager"), trainer()
    for _ in range(3):
        for run in (eager, quick):
            run.train_step()
            run.model.lm_head.weight[0][0].data += 1.0
            run.optimizer.memory["m"][5] = 0.25
    np.testing.assert_allclose(weights(quick), weights(eager), rtol=0, atol=1e-9)


@needs_programs
def test_steps_inside_strict_are_eager_and_fit_between_the_others():
    eager, mixed = trainer(6, engine="eager"), trainer(6)
    list(eager)
    for step in range(6):
        if step in (2, 3):
            with vg.strict():
                mixed.train_step()
        else:
            mixed.train_step()
    assert mixed.losses == pytest.approx(eager.losses, rel=1e-9)
    np.testing.assert_allclose(weights(mixed), weights(eager), rtol=0, atol=1e-9)


@needs_programs
def test_a_step_whose_loss_is_not_finite_teaches_nothing():
    run = trainer(batch=2)
    run.train_step()
    run.model.lm_head.weight[0][0].data = float("inf")
    before = weights(run)
    with pytest.raises(vg.TrainingError, match="step 2"):
        run.train_step()
    assert np.all(weights(run) == before)
    assert run.step == 1


# ---------------------------------------------------------------------------------------------- checkpoints
@needs_programs
@pytest.mark.parametrize(
    "settings",
    [
        {},
        *(pytest.param(x, marks=ONCE) for x in ({"dtype": "float32"}, {"batch": 3}, {"dtype": "float32", "batch": 3})),
    ],
)
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_a_resumed_run_is_the_uninterrupted_one_to_the_last_bit(tmp_path, settings, optimizer):
    whole, first = (trainer(optimizer=optimizer, **settings) for _ in range(2))
    list(whole)
    for _ in range(5):
        first.train_step()
    first.checkpoint().save(tmp_path / "cut")
    second = gpt.Trainer.resume(gpt.Checkpoint.load(tmp_path / "cut"), DOCUMENTS, threads=2)
    list(second)
    assert second.losses == whole.losses
    assert np.all(weights(second) == weights(whole))
    for name, run in (("whole", whole), ("cut", second)):
        run.checkpoint().save(tmp_path / name)
    names = [next((tmp_path / name).glob("weights-*")).name for name in ("whole", "cut")]
    assert names[0] == names[1]  # a weights file is named by its digest


def test_a_checkpoint_from_before_there_was_a_choice_goes_on_eagerly(tmp_path):
    old = trainer(engine="eager")
    for _ in range(4):
        old.train_step()
    old.checkpoint().save(tmp_path)
    path = tmp_path / SETTINGS_FILE
    fields = json.loads(path.read_text())
    for name in ("engine", "batch", "dtype"):
        del fields["training"][name]
    path.write_text(json.dumps(fields))
    resumed = gpt.Trainer.resume(gpt.Checkpoint.load(tmp_path), DOCUMENTS)
    assert (resumed.engine, resumed.settings.batch, resumed.settings.dtype) == ("eager", 1, "float64")
    assert losses(resumed) == losses(old)


# --------------------------------------------------------------------------------- where nothing was compiled
@pytest.fixture
def not_built(monkeypatch):
    monkeypatch.setattr(compiled, "ENGINE", "readable")


def test_without_the_compiled_modules_all_is_eager(not_built, monkeypatch):
    def refuse(*args):
        raise AssertionError("recorded")

    monkeypatch.setattr(paths, "record", refuse)
    run, eager = trainer(4), trainer(4, engine="eager")
    assert run.engine == "eager"
    assert losses(run) == losses(eager)
    assert run.samples(PAYS_AFTER_TEXTS + 2) == eager.samples(PAYS_AFTER_TEXTS + 2)
    for _ in range(PAYS_AFTER_DOCUMENTS + 2):
        assert run.evaluate() == eager.evaluate()
    with pytest.raises(ValueError, match="were not built"):
        gpt.sample(run.model, run.tokenizer, random.Random(1), engine="compiled")
    with pytest.raises(ValueError, match="were not built"):
        gpt.evaluate(run.model, run.tokenizer, DOCUMENTS, engine="compiled")


def test_a_run_says_that_it_is_eager_for_want_of_compiled_modules(not_built):
    text = progress.introduction(trainer(dtype="float32"), Path("runs"))
    assert "eager" in text
    assert "float64: the modules that run compiled programs were not built" in text


@needs_programs
def test_a_run_says_how_its_steps_run():
    text = progress.introduction(trainer(batch=16, dtype="float32", threads=2), Path("runs"))
    assert "compiled: steps are recorded programs, in float32, 2 threads" in text
    assert "12 steps of 16 documents" in text
    text = progress.introduction(trainer(engine="eager"), Path("runs"))
    assert f"eager, on {vg.engine} Values" in text
    assert "not built" not in text


def test_the_pace_counts_documents(monkeypatch):
    run = trainer(batch=5)
    monkeypatch.setattr(progress.time, "perf_counter", lambda: 100.0)
    pace = progress.Pace(run)
    run.train_step()
    run.train_step()
    monkeypatch.setattr(progress.time, "perf_counter", lambda: 101.0)
    assert str(pace).startswith("10 docs/s")
    assert pace.left() == "0:05"


# -------------------------------------------------------------------------------------- sampling, evaluating
@pytest.fixture
def learned():
    run = trainer(30, ["abab", "ababab", "ba", "abcab"])
    list(run)
    return run


SIZES = [
    gpt.ModelSettings(n_layer=1, n_embd=4, n_head=1, block_size=1),
    gpt.ModelSettings(n_layer=1, n_embd=4, n_head=2, block_size=2),
    gpt.ModelSettings(n_layer=3, n_embd=8, n_head=4, block_size=6),
]


@needs_programs
@pytest.mark.parametrize("sizes", SIZES, ids=repr)
def test_compiled_logits_are_the_eager_ones_to_the_last_bit(sizes):
    rng = random.Random(5)
    model = gpt.GPT(6, sizes, rng)
    for weight in model.parameters():
        weight.data *= 10.0
    for _ in range(3):
        eager, quick = Writer(model), CompiledWriter(model, predictor_of(model))
        for _ in range(sizes.block_size):
            token = rng.randrange(6)
            assert quick.next(token) == eager.next(token)


@needs_programs
@pytest.mark.parametrize(
    "how", [{}, {"temperature": 0.0}, {"temperature": 2.0}, {"top_k": 2}, {"prefix": "ba"}, {"prefix": "abababa"}]
)
def test_compiled_texts_are_the_eager_ones(learned, how):
    texts = []
    for engine in ("eager", "compiled"):
        rng = random.Random(3)
        found = [list(gpt.generate(learned.model, learned.tokenizer, rng, engine=engine, **how)) for _ in range(10)]
        texts.append((found, rng.getstate()))
    assert texts[0] == texts[1]


@needs_programs
def test_texts_are_the_same_before_and_after_compiling_pays(learned):
    count = PAYS_AFTER_TEXTS + 10
    rng = random.Random(3)
    eager = [gpt.sample(learned.model, learned.tokenizer, rng, engine="eager") for _ in range(count)]
    rng = random.Random(3)
    assert [gpt.sample(learned.model, learned.tokenizer, rng) for _ in range(count)] == eager


@needs_programs
@pytest.mark.parametrize("sizes", SIZES, ids=repr)
def test_compiled_losses_are_the_eager_ones_to_the_last_bit(sizes):
    run = trainer(3, sizes=sizes)
    list(run)
    found = [
        gpt.evaluate(run.model, run.tokenizer, DOCUMENTS * 5, engine=engine) for engine in ("eager", "compiled", "auto")
    ]
    assert found[0] == found[1] == found[2]


@needs_programs
def test_many_documents_are_evaluated_in_parts(learned, monkeypatch):
    eager = gpt.evaluate(learned.model, learned.tokenizer, ["ab", "abc", "b"] * 7, engine="eager")
    monkeypatch.setattr(predicting, "LANES", 4)
    assert gpt.evaluate(learned.model, learned.tokenizer, ["ab", "abc", "b"] * 7, engine="compiled") == eager


@needs_programs
def test_a_run_that_samples_and_evaluates_often_records_nothing_anew(monkeypatch):
    run = trainer(40, ["abab", "ababab", "ba"] * 20, eval_fraction=0.2)
    for _ in range(8):  # so that all that pays is recorded
        run.train_step()
        run.samples(PAYS_AFTER_TEXTS)
        run.evaluate()
        run.evaluate(None)
    for _ in range(PAYS_AFTER_DOCUMENTS):
        run.evaluate()
    recorded = []
    real = paths.record
    monkeypatch.setattr(paths, "record", lambda *args: recorded.append(args) or real(*args))
    seen = set()
    for _ in range(8):
        run.train_step()
        seen.add((tuple(run.samples(3)), run.evaluate()))
    assert recorded == []
    assert len(seen) > 1  # the programs take the weights of the moment
    model = run.model
    assert run.evaluate() == gpt.evaluate(model, run.tokenizer, run.held_out, engine="eager")


@needs_programs
def test_few_texts_and_documents_are_not_worth_a_recording(learned, monkeypatch):
    def refuse(*args):
        raise AssertionError("recorded")

    monkeypatch.setattr(paths, "record", refuse)
    learned.samples(20)
    learned.evaluate()


def test_programs_do_not_keep_a_model_alive():
    model = gpt.GPT(4, SMALL, random.Random(1))
    tokenizer = gpt.Tokenizer("abc")
    for engine in ("compiled", "auto") if compiled.built() else ("auto",):
        gpt.sample(model, tokenizer, random.Random(1), engine=engine)
        gpt.evaluate(model, tokenizer, ["abc"], engine=engine)
    there = weakref.ref(model)
    del model
    gc.collect()
    assert there() is None


@pytest.mark.parametrize("engine", ["fast", "", None])
def test_an_engine_that_is_not_there_is_refused(learned, engine):
    with pytest.raises(ValueError, match="engine is"):
        gpt.sample(learned.model, learned.tokenizer, random.Random(1), engine=engine)
    with pytest.raises(ValueError, match="engine is"):
        gpt.evaluate(learned.model, learned.tokenizer, ["ab"], engine=engine)


def test_positions_that_are_not_seen_get_no_attention():
    query, keys, values = [0.5, -1.0], [[1.0, 2.0], [9.0, 9.0], [0.5, 0.1]], [[3.0, 5.0, 4.0]]
    some = nn.attend(query, keys, values, [True, False, True])
    assert some == nn.attend(query, [keys[0], keys[2]], [[3.0, 4.0]])


@needs_programs
def test_steps_can_be_taken_without_a_trainer():
    model = gpt.GPT(4, SMALL, random.Random(1))
    optimizer = vg.optim.Adam(model.parameters(), 0.01)
    steps = Steps(model, optimizer)
    documents = [[3, 0, 1, 3], [3, 2, 3]]
    before = steps.step(documents, 0.01, 1)
    assert before == pytest.approx(sum(model.loss(document).data for document in documents) / 2)
    steps.write_back()
    after = steps.step(documents, 0.01, 2)
    assert after == pytest.approx(sum(model.loss(document).data for document in documents) / 2)
    assert after < before


@needs_programs
@pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64"), reason="other processors keep subnormals in training"
)
@pytest.mark.parametrize(("dtype", "small"), [("float64", 1e-309), ("float32", 1e-39)])
def test_what_a_parameter_without_gradient_remembers_fades_to_zero(dtype, small):
    model = gpt.GPT(4, SMALL, random.Random(1))
    unseen = model.parameters().index(model.position_embedding.weight[7][0])
    steps = Steps(model, vg.optim.Adam(model.parameters(), 0.01), dtype=dtype)
    steps.read()
    steps.state[1, unseen] = small  # of momentum, subnormal
    before = steps.state[0, unseen]
    steps.step([[3, 0, 1, 3]], 0.01, 1)
    assert steps.state[:2, unseen].tolist() == [before, 0.0]


@needs_programs
def test_programs_keep_subnormals_after_a_training_run():
    losses(trainer(batch=3, threads=2))
    small = np.full(100_000, 5e-310)
    assert set(vg.compile(lambda x: x * 0.5, threads=2)(small).tolist()) == {2.5e-310}
