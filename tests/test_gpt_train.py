"""Training and checkpoints: nothing is lost, nothing is different after going on."""

import json
import os
import random
import shutil

import numpy as np
import pytest

import valuegrad as vg
from valuegrad import gpt
from valuegrad.gpt import checkpoint as checkpoint_module
from valuegrad.gpt import plot
from valuegrad.gpt.checkpoint import SETTINGS_FILE
from valuegrad.gpt.log import Log
from valuegrad.gpt.train import running_mean

DOCUMENTS = ["anna", "bob", "carla", "dora", "emil", "fritz", "gustav", "hanna", "ida", "jakob", "klara", "lea"]
SMALL = gpt.ModelSettings(n_embd=8, n_head=2, block_size=8)
pytestmark = pytest.mark.usefixtures("kept_code")


def trainer(steps=12, documents=DOCUMENTS, **settings):
    return gpt.Trainer(documents, SMALL, gpt.TrainingSettings(steps=steps, **settings))


def weights(run):
    return [w.data for w in run.model.parameters()]


# ------------------------------------------------------------------------------------------------ training
def test_training_lowers_the_loss():
    run = trainer(60, ["abab", "ababab"], eval_fraction=0.0)
    losses = [report.loss for report in run]
    assert losses[-1] < 0.6 * losses[0]


def test_reports_count_from_1_and_tell_the_learning_rate():
    reports = list(trainer(4))
    assert [r.step for r in reports] == [1, 2, 3, 4]
    assert [r.learning_rate for r in reports] == [0.01 * (1 - step / 4) for step in range(4)]


def test_a_loop_that_stopped_goes_on_where_it_was():
    run = trainer(6)
    for report in run:
        if report.step == 2:
            break
    assert [r.step for r in run] == [3, 4, 5, 6]
    assert run.losses == [r.loss for r in trainer(6)]


def test_the_callers_documents_and_random_state_are_left_alone():
    documents, state = list(DOCUMENTS), random.getstate()
    list(gpt.Trainer(documents, SMALL, gpt.TrainingSettings(steps=2)))
    assert (documents, random.getstate()) == (DOCUMENTS, state)


def test_a_dataset_in_place_of_its_documents_is_told_where_they_are():
    with pytest.raises(vg.ValueTypeError, match=r"a Dataset has them as \.documents"):
        gpt.Trainer(gpt.datasets.load("names"))


def test_holding_out_documents_changes_neither_draws_nor_order():
    all_learned, some_held_out = trainer(eval_fraction=0.0), trainer(eval_fraction=0.25)
    assert len(some_held_out.held_out) == 3
    assert some_held_out.documents + some_held_out.held_out == all_learned.documents
    assert weights(some_held_out) == weights(all_learned)
    assert some_held_out.rng.getstate() == all_learned.rng.getstate()


def test_a_few_documents_are_all_learned_from():
    run = trainer(documents=["a", "b"])
    assert (len(run.documents), run.held_out, run.evaluate()) == (2, [], None)


def test_samples_and_evaluations_do_not_disturb_the_training():
    watched, alone = trainer(), trainer()
    losses = []
    for report in watched:
        losses.append(report.loss)
        watched.samples(2)
        watched.evaluate()
    assert losses == [r.loss for r in alone]
    assert watched.samples(3) == alone.samples(3)


def test_evaluation_is_the_mean_loss_and_leaves_no_grads():
    run = trainer(eval_fraction=0.25)
    found = run.evaluate()
    losses = [run.model.loss(run.tokenizer.document(d)).data for d in run.held_out]
    assert found == sum(losses) / 3
    assert run.evaluations == [(0, found)]
    assert all(w.grad == 0.0 for w in run.model.parameters())


def test_an_alphabet_of_a_single_character_works():
    run = trainer(documents=["aaa", "a"])
    list(run)
    assert set("".join(run.samples(5))) <= {"a"}


def test_documents_longer_than_the_context_work():
    run = trainer(documents=["abcdefghij" * 1000, "abc"])
    assert {report.tokens for report in run} == {8, 4}


def test_a_million_documents_work():
    run = trainer(1, documents=["ab", "c"] * 500_000)
    assert run.train_step().step == 1
    assert len(run.documents) + len(run.held_out) == 1_000_000


@pytest.mark.parametrize(("documents", "error"), [([], ValueError), (["a", ""], ValueError), ("abc", TypeError)])
def test_impossible_documents_are_refused(documents, error):
    with pytest.raises(vg.ValuegradError) as refused:
        trainer(documents=documents)
    assert isinstance(refused.value, error)


def test_a_loss_that_is_not_finite_stops_the_training_before_it_harms():
    run = trainer()
    run.train_step()
    run.model.lm_head.weight[0][0].data = float("nan")
    before = weights(run)[1:50]
    with pytest.raises(vg.TrainingError, match="step 2 gave a loss of nan"):
        run.train_step()
    assert (run.step, len(run.losses), weights(run)[1:50]) == (1, 1, before)


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
def test_every_optimiser_and_schedule_learns(optimizer, schedule):
    decay = 0.01 if optimizer == "adamw" else 0.0
    run = trainer(
        30, ["abab"], optimizer=optimizer, schedule=schedule, warm_up=3, clip_norm=1.0, weight_decay=decay,
        learning_rate=0.02,
    )  # fmt: skip
    losses = [report.loss for report in run]
    assert losses[-1] < losses[0]


def test_the_smoothed_loss_is_the_mean_of_the_last_50():
    losses = [float(i) for i in range(120)]
    assert running_mean(losses)[119] == sum(losses[70:]) / 50
    assert running_mean(losses)[10] == 5.0


# ---------------------------------------------------------------------------------------------- checkpoints
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("stopped_at", [0, 1, 7, 12])
def test_a_resumed_run_is_the_uninterrupted_one_to_the_last_bit(tmp_path, stopped_at, optimizer):
    whole = trainer(optimizer=optimizer)
    list(whole)
    first = trainer(optimizer=optimizer)
    for _ in range(stopped_at):
        first.train_step()
    first.evaluate()
    first.checkpoint().save(tmp_path)
    second = gpt.Trainer.resume(gpt.Checkpoint.load(tmp_path), DOCUMENTS)
    list(second)
    assert second.losses == whole.losses
    assert weights(second) == weights(whole)
    assert second.samples(5) == whole.samples(5)
    assert second.evaluations == first.evaluations


def test_a_checkpoint_holds_model_tokenizer_and_random_state(tmp_path):
    run = trainer(3)
    list(run)
    run.checkpoint().save(tmp_path)
    loaded = gpt.Checkpoint.load(tmp_path)
    model, rng = loaded.model(), loaded.rng()
    assert [gpt.sample(model, loaded.tokenizer(), rng) for _ in range(3)] == run.samples(3)


def test_a_checkpoint_is_a_safetensors_file_and_json(tmp_path):
    import safetensors.numpy

    run = trainer(2)
    list(run)
    run.checkpoint().save(tmp_path)
    settings = json.loads((tmp_path / SETTINGS_FILE).read_text())
    arrays = safetensors.numpy.load_file(tmp_path / settings["weights"]["file"])
    assert arrays["model.wte"].shape == (run.tokenizer.vocabulary, 8)
    assert arrays["model.wte"][0][0] == run.model.token_embedding.weight[0][0].data
    assert arrays["optimizer.m"].dtype == np.float64
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([SETTINGS_FILE, settings["weights"]["file"]])


@pytest.mark.parametrize("call", range(1, 7))
def test_a_crash_at_any_moment_of_saving_leaves_a_checkpoint(tmp_path, monkeypatch, call):
    """Saving syncs and renames; the run ends at one of those calls, and the folder still loads."""
    run = trainer(2)
    run.train_step()
    run.checkpoint().save(tmp_path)
    run.train_step()
    calls = 0

    def crashing(name):
        original = getattr(os, name)

        def wrapper(*arguments):
            nonlocal calls
            calls += 1
            if calls == call:
                raise KeyboardInterrupt
            return original(*arguments)

        return wrapper

    with monkeypatch.context() as patched:
        patched.setattr(checkpoint_module.os, "fsync", crashing("fsync"))
        patched.setattr(checkpoint_module.os, "replace", crashing("replace"))
        with pytest.raises(KeyboardInterrupt):
            run.checkpoint().save(tmp_path)
    assert gpt.Checkpoint.load(tmp_path).step == (2 if call == 6 else 1)
    run.checkpoint().save(tmp_path)  # and what the crash left does not stand in the way
    assert gpt.Checkpoint.load(tmp_path).step == 2
    assert len(list(tmp_path.iterdir())) == 2


def test_a_training_that_replaces_the_checkpoint_while_it_is_read_does_no_harm(tmp_path, monkeypatch):
    run = trainer(2)
    run.checkpoint().save(tmp_path)
    old = (tmp_path / SETTINGS_FILE).read_bytes()
    run.train_step()
    run.checkpoint().save(tmp_path)
    real, calls = checkpoint_module._read, []

    def stale_once(path, folder):
        calls.append(path)
        return old if len(calls) == 1 else real(path, folder)

    monkeypatch.setattr(checkpoint_module, "_read", stale_once)
    assert gpt.Checkpoint.load(tmp_path).step == 1


@pytest.fixture
def saved(tmp_path):
    run = trainer(2)
    list(run)
    run.checkpoint().save(tmp_path)
    return tmp_path


def change(folder, **changes):
    path = folder / SETTINGS_FILE
    fields = json.loads(path.read_text())
    for name, value in changes.items():
        *outer, last = name.split("__")
        inner = fields
        for key in outer:
            inner = inner[key]
        if value is None:
            del inner[last]
        else:
            inner[last] = value
    path.write_text(json.dumps(fields))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 2}, "version 2.*newer valuegrad"),
        ({"version": "1"}, "damaged"),
        ({"format": "something"}, "no checkpoint of valuegrad"),
        ({"model__n_embd": 16}, "model.layer0.attn_wk.*ask for \\(16, 16\\)"),
        ({"model__n_layer": 2}, "layer1"),
        ({"characters": "abc"}, "ask for"),
        ({"characters": "aa"}, "damaged"),
        ({"step": 1}, "'losses' has shape \\(2,\\)"),
        ({"step": None}, "damaged.*step"),
        ({"model": None}, "damaged.*model"),
        ({"model__n_head": 3}, "damaged.*multiple"),
        ({"model__colour": 3}, "damaged.*colour"),
        ({"random__words": "00"}, "damaged"),
        ({"weights__file": "../../etc/passwd"}, "damaged"),
        ({"weights__file": "weights-000009-00000000.safetensors"}, "lacks its file"),
    ],
)
def test_changed_settings_are_told_of(saved, changes, message):
    change(saved, **changes)
    with pytest.raises(vg.CheckpointError, match=message):
        gpt.Checkpoint.load(saved)


@pytest.mark.parametrize("keep", [0, 1, 0.5, 0.999])
def test_truncated_weights_are_told_of(saved, keep):
    (path,) = saved.glob("weights-*")
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data)) if keep != 1 else 1])
    with pytest.raises(vg.CheckpointError, match="truncated"):
        gpt.Checkpoint.load(saved)


def test_a_flipped_bit_in_the_weights_is_told_of(saved):
    (path,) = saved.glob("weights-*")
    data = bytearray(path.read_bytes())
    data[-9] ^= 1
    path.write_bytes(data)
    with pytest.raises(vg.CheckpointError, match="changed since"):
        gpt.Checkpoint.load(saved)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"\xff\xfe", b"null"])
def test_settings_that_are_no_json_of_ours_are_told_of(saved, text):
    (saved / SETTINGS_FILE).write_bytes(text)
    with pytest.raises(vg.CheckpointError):
        gpt.Checkpoint.load(saved)


def test_a_missing_checkpoint_is_told_of(tmp_path):
    with pytest.raises(vg.CheckpointError, match="does not exist"):
        gpt.Checkpoint.load(tmp_path / "nothing")
    with pytest.raises(vg.CheckpointError, match="holds no checkpoint"):
        gpt.Checkpoint.load(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(vg.CheckpointError, match="is a file"):
        gpt.Checkpoint.load(tmp_path / "file")


def test_other_documents_are_refused(saved):
    with pytest.raises(vg.CheckpointError, match="changed since"):
        gpt.Trainer.resume(gpt.Checkpoint.load(saved), DOCUMENTS[::-1])


def test_a_checkpoint_may_be_moved(saved, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "run"
    shutil.move(saved, elsewhere)
    assert gpt.Checkpoint.load(elsewhere).step == 2


# ------------------------------------------------------------------------------------------------- log, plot
def test_a_log_has_a_line_of_json_for_each_step_at_full_precision(tmp_path):
    path, losses = tmp_path / "log", [1 / 3, 5e-324, 1e300]
    with Log(path) as log:
        log.write([(1, losses[0])])
        log.write([])
        log.write([(2, losses[1]), (3, losses[2])], 0.1)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(line["step"], line["loss"]) for line in lines] == list(enumerate(losses, 1))
    assert [line.get("eval_loss") for line in lines] == [None, None, 0.1]


def test_a_log_that_goes_on_is_made_whole(tmp_path):
    path = tmp_path / "log"
    path.write_text('{"step": 1, "loss": 0.5}\n{"step": 2, "loss": 0.25}\n{"step": 3, "lo')
    with Log(path, [0.5, 0.25], [(2, 0.3)]) as log:
        log.write([(3, 0.125)])
    assert path.read_text() == (
        '{"step": 1, "loss": 0.5}\n{"step": 2, "loss": 0.25, "eval_loss": 0.3}\n{"step": 3, "loss": 0.125}\n'
    )


def test_a_file_that_is_no_log_is_not_replaced(tmp_path):
    path = tmp_path / "poem.txt"
    path.write_text("Shall I compare thee\n")
    with pytest.raises(vg.CheckpointError, match="no log"):
        Log(path)
    assert path.read_text() == "Shall I compare thee\n"


def test_the_plot_is_a_png(tmp_path):
    pytest.importorskip("matplotlib")
    plot.save_png(tmp_path / "loss.png", [3.0, 2.0, 1.0], [(2, 2.5)])
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("count", [1, 2, 5000])
def test_the_plot_in_the_terminal_fits_its_width(count):
    picture = plot.terminal([1.0] * count, [(1, 1.0)], width=60)
    assert str(count) in picture
    assert max(map(len, picture.splitlines())) <= 60
