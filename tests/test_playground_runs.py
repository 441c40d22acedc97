"""Training beside the server: runs that pause, go on, end, and can be looked at meanwhile."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import pytest
from engines import ONCE

from valuegrad import gpt
from valuegrad.errors import CheckpointError, PlaygroundError, ValueArgumentError
from valuegrad.gpt import datasets
from valuegrad.playground import charts, runs, uploads
from valuegrad.playground.runs import Run, Runs
from valuegrad.playground.settings import BOUNDS, RunSettings, in_words

pytestmark = [ONCE, pytest.mark.usefixtures("kept_code")]  # runs are the same whichever engine records their steps
DEADLINE = 60.0
TINY = {"n_embd": 4, "n_head": 2, "block_size": 4}
SMALL = RunSettings(**TINY, steps=60, batch=2)
ENDLESS = RunSettings(**TINY, steps=100_000, batch=256)


@pytest.fixture
def library():
    made = Runs()
    yield made
    made.close()


def waited(run: Run, condition) -> runs.Snapshot:
    """A snapshot of the run that meets a condition; its thread is what changes it."""
    end = time.monotonic() + DEADLINE
    while not condition(now := run.snapshot()):
        assert time.monotonic() < end, now
        run.join(0.01)
    return now


def done(run: Run) -> runs.Snapshot:
    assert run.join(DEADLINE)
    return run.snapshot()


def test_a_run_takes_its_steps_and_the_loss_falls(library):
    now = done(library.start(RunSettings(**TINY, steps=200)))
    assert (now.state, now.step, now.message) == ("done", 200, "")
    assert now.curve[-1][0] == 200
    assert now.curve[-1][1] < now.curve[0][1]
    assert now.evaluations[-1][0] == 200
    assert len(now.writings) == runs.REPORTS


def test_its_losses_are_those_of_a_trainer(library):
    run = library.start(SMALL)
    done(run)
    trainer = gpt.Trainer(datasets.load("names").documents, SMALL.model(), SMALL.training())
    assert run.ask(lambda its: its.losses) == [report.loss for report in trainer]


def test_a_paused_run_goes_on_to_the_same_numbers(library):
    settings = RunSettings(**TINY, steps=400, batch=64)
    straight, paused = library.start(settings), library.start(settings)
    waited(paused, lambda now: now.step > 0)
    paused.pause()
    assert done(paused).state == "paused"
    library.resume(paused)
    assert done(paused).state == done(straight).state == "done"
    assert paused.checkpoint().losses.tolist() == straight.checkpoint().losses.tolist()


def test_a_run_that_nobody_watches_pauses_and_goes_on_to_the_same_numbers(library):
    settings = RunSettings(**TINY, steps=400, batch=64)
    straight, left = library.start(settings), library.start(settings)
    waited(left, lambda now: now.step > 0)
    left.leave("why")
    between = done(left)
    assert (between.state, between.message) == ("paused", "why")
    assert left._trainer is None
    library.resume(left)
    assert done(left).message == ""
    assert left.checkpoint().losses.tolist() == (done(straight), straight.checkpoint())[1].losses.tolist()


@pytest.mark.parametrize("end", ["pause", "stop"])
def test_a_run_whose_tab_goes_later_keeps_only_a_checkpoint(library, end):
    run = library.start(ENDLESS)
    waited(run, lambda now: now.step > 0)
    getattr(run, end)()
    before = done(run)
    assert (run._trainer is None) == (end == "stop")
    run.leave("why")
    assert run._trainer is None
    assert run.snapshot() == before
    assert run.trained().step == before.step


def test_a_stopped_run_keeps_its_model_and_cannot_go_on(library):
    run = library.start(ENDLESS)
    waited(run, lambda now: now.step > 0)
    run.stop()
    now = done(run)
    assert now.state == "stopped"
    library.resume(run)
    assert not run.training
    assert run.trained().step == run.snapshot().step > 0


def test_a_model_can_be_had_while_it_learns(library):
    run = library.start(ENDLESS)
    first = run.trained()
    waited(run, lambda now: now.step > first.step)
    assert run.training
    second = run.trained()
    assert second.step > first.step
    assert second.model is not first.model


def test_a_run_that_cannot_be_trained_says_why(library):
    now = done(library.start(RunSettings(**TINY, steps=500, learning_rate=10.0, seed=1)))
    if now.state != "done":  # a rate as large as that need not end in nan
        assert now.state == "failed"
        assert "try a Learning rate below 10" in now.message


def test_losses_that_are_no_numbers_end_the_run_with_a_message(library, monkeypatch):
    def bad(self, until=None):
        raise gpt.train.TrainingError("step 1 gave a loss of nan; try a learning_rate below 1")

    monkeypatch.setattr(gpt.train.Trainer, "train_some", bad)
    now = done(library.start(SMALL))
    assert (now.state, now.message) == ("failed", "step 1 gave a loss of nan; try a Learning rate below 1")


def test_an_unexpected_error_ends_the_run_with_a_message(library, monkeypatch):
    monkeypatch.setattr(gpt.train.Trainer, "samples", lambda self, count: 1 // 0)
    now = done(library.start(SMALL))
    assert now.state == "failed"
    assert "ZeroDivisionError" in now.message


def test_too_many_at_once_are_refused(library, monkeypatch):
    monkeypatch.setattr(runs, "MOST_TRAINING", 1)
    run = library.start(ENDLESS)
    with pytest.raises(PlaygroundError, match="1 runs are training already"):
        library.start(SMALL)
    run.pause()
    assert run.join(DEADLINE)
    assert done(library.start(SMALL)).state == "done"


def test_the_oldest_runs_go_first_and_never_one_that_trains(library, monkeypatch):
    monkeypatch.setattr(runs, "MOST_KEPT", 2)
    busy = library.start(ENDLESS)
    old = library.start(SMALL)
    done(old)
    new = library.start(SMALL)
    assert [library.get(run.id) for run in (busy, old, new)] == [busy, None, new]


def test_closing_ends_what_trains(library):
    run = library.start(ENDLESS)
    library.close()
    assert run.join(DEADLINE)
    assert run.snapshot().state == "stopped"


def test_a_curve_has_a_bounded_number_of_points(library):
    run = Run(SMALL, datasets.load("names"))
    run._learned([1.0] * 12_345)
    curve = run.snapshot().curve
    assert len(curve) <= runs.MOST_POINTS + 1
    assert curve[-1] == (12_345, 1.0)
    assert [step for step, _ in curve] == sorted({step for step, _ in curve})


def test_the_smoothed_loss_is_the_trainers(library):
    run = library.start(SMALL)
    done(run)
    means = gpt.train.running_mean(run.ask(lambda trainer: trainer.losses))
    # Sums from the first step on, and sums of fifty, are rounded differently.
    assert [loss for _, loss in run.snapshot().curve] == pytest.approx(means, rel=1e-12)


# ------------------------------------------------------------------------------------------------- settings
@pytest.mark.parametrize("name", BOUNDS)
def test_a_setting_out_of_bounds_is_refused(name):
    least, most = BOUNDS[name]
    for value in (least - 1, most + 1, "7", float("nan"), None):
        with pytest.raises((ValueArgumentError, TypeError), match=name):
            RunSettings(**{name: value})


def test_a_data_set_that_is_not_there_is_refused():
    for name in ("", "../etc/passwd", "text-xyz", "nothing"):
        with pytest.raises(ValueArgumentError, match="data is"):
            RunSettings(data=name)


def test_messages_have_the_words_of_the_page():
    with pytest.raises(ValueArgumentError) as caught:
        RunSettings(n_head=3)
    assert in_words(str(caught.value)).startswith("Heads is 3 and Embedding 16; each head gets an equal slice")


def test_a_model_that_takes_minutes_to_record_is_refused(library):
    with pytest.raises(ValueArgumentError, match="multiplications for a document of 64 characters"):
        RunSettings(n_embd=64, n_layer=4, block_size=64).check_work(["a" * 100])
    RunSettings(n_embd=64, n_layer=4, block_size=64).check_work(["ab"])


@pytest.mark.parametrize("name", datasets.names())
def test_every_built_in_data_set_can_be_learned_from_with_its_settings(name):
    from valuegrad.playground.settings import suited

    RunSettings(data=name, **suited(name)).check_work(datasets.load(name).documents)


def test_a_difference_names_what_differs():
    found = RunSettings(batch=2).difference(RunSettings(data="words"))
    assert found == [("Data", "names", "words"), ("Batch", "2", "1")]


# ------------------------------------------------------------------------------------- texts, checkpoints
def test_a_text_is_found_again_by_its_name(library):
    data = uploads.read_text(b"anna\nbob\n", "friends.txt")
    name = library.keep_text(data)
    assert library.data(name) is data
    assert done(library.start(RunSettings(data=name, **TINY, steps=3))).state == "done"


def test_a_text_that_is_gone_is_told(library):
    with pytest.raises(PlaygroundError, match="not here any more"):
        library.start(RunSettings(data="text-0123456789ab"))


def test_a_checkpoint_goes_on_elsewhere_to_the_same_numbers(library):
    settings = RunSettings(**TINY, steps=40)
    straight = library.start(settings)
    done(straight)
    trainer = gpt.Trainer(datasets.load("names").documents, settings.model(), settings.training(), data_name="names")
    trainer.train_some(20)
    learned = trainer.step
    loaded = uploads.read_checkpoint(uploads.pack(trainer.checkpoint()), "run.zip")
    run = library.load(loaded)
    assert (run.snapshot().state, run.snapshot().step) == ("paused", learned)
    library.resume(run)
    done(run)
    assert run.checkpoint().losses.tolist() == straight.checkpoint().losses.tolist()


def test_a_checkpoint_without_its_texts_is_refused(library):
    trainer = gpt.Trainer(["ab", "ba"], RunSettings(**TINY).model(), data_name="/home/somebody/secret.txt")
    loaded = uploads.read_checkpoint(uploads.pack(trainer.checkpoint()), "run.zip")
    with pytest.raises(CheckpointError, match=r"learned from '/home/somebody/secret\.txt', which is not in it"):
        library.load(loaded)


def test_a_checkpoint_brings_its_own_texts(library):
    trainer = gpt.Trainer(["ab", "ba"], RunSettings(**TINY).model(), RunSettings(steps=2).training(), data_name="mine")
    run = library.load(uploads.read_checkpoint(uploads.pack(trainer.checkpoint(), ["ab", "ba"]), "run.zip"))
    assert run.data.documents == ["ab", "ba"]
    assert library.data(run.settings.data) is run.data


# --------------------------------------------------------------------------------------------------- charts
def test_a_chart_has_two_lines_for_each_run(library):
    run = library.start(SMALL)
    now = done(run)
    assert [line["name"] for line in charts.losses([("Run 1", now)], dark=False)["series"]] == ["training", "held out"]
    two = charts.losses([("Run 1", now), ("Run 2", now)], dark=True)["series"]
    assert [line["name"] for line in two] == ["Run 1", "Run 1, held out", "Run 2", "Run 2, held out"]
    assert len({line["lineStyle"]["color"] for line in two}) == 2


def test_a_chart_is_told_in_words(library):
    run = Run(SMALL, datasets.load("names"))
    assert charts.summary([("Run 1", run.snapshot())]) == "Losses by step. Run 1: no step yet."
    run.start()
    now = done(run)
    assert f"and {now.loss:.3f} at step 60; held out it is {now.evaluations[-1][1]:.3f}." in charts.summary(
        [("Run 1", now)]
    )


def test_what_is_no_page_needs_no_page_library():
    modules = ("address", "charts", "generating", "runs", "settings", "uploads")
    program = "import sys\n" + "".join([f"import valuegrad.playground.{name}\n" for name in modules])
    program += "print('nicegui' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "False\n"
    )


def test_turns_are_handed_on():
    """Who takes one turn after another does not keep others out: between two of its turns the waiting one has its."""
    turns, order, started = runs.Turns(), [], threading.Event()

    def other() -> None:
        started.set()
        with turns:
            order.append("other")

    thread = threading.Thread(target=other, daemon=True)
    with turns:
        thread.start()
        assert started.wait(DEADLINE)
        while not turns._next.locked():  # until the other one waits
            pass
        order.append("first")
    with turns:
        order.append("second")
    thread.join(DEADLINE)
    assert order == ["first", "other", "second"]
