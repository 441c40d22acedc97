"""The commands train, sample and evaluate, as a person or a program calls them."""

import json
import os
import shutil
import signal
import subprocess
import sys

import pytest
from click.testing import CliRunner
from engines import ONCE

from valuegrad.cli import main

SMALL = ["--n-embd", "8", "--n-head", "2", "--block-size", "8", "--no-plot"]
DOCUMENTS = ["anna", "bob", "carla", "dora", "emil", "fritz", "gustav", "hanna", "ida", "jakob", "klara", "lea"]
pytestmark = pytest.mark.usefixtures("kept_code")


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def command(*arguments):
    return [sys.executable, "-m", "valuegrad", *map(str, arguments)]


def written(folder):
    """A file with the documents."""
    path = folder / "data.txt"
    path.write_text("\n".join(DOCUMENTS))
    return path


@pytest.fixture
def data(tmp_path):
    return written(tmp_path)


def train(folder, data):
    result = run("train", "--data", data, "--steps", 5, "--out", folder, "--samples", 3, *SMALL)
    assert result.exit_code == 0, result.output


@pytest.fixture(scope="module")
def trained_once(tmp_path_factory):
    folder = tmp_path_factory.mktemp("once")
    train(folder / "run", written(folder))
    return folder / "run"


@pytest.fixture
def trained(trained_once, tmp_path):
    """A run of one's own, whose data are those of all."""
    return shutil.copytree(trained_once, tmp_path / "run")


@pytest.fixture
def trained_on_data(tmp_path, data):
    """A run whose data may be changed."""
    train(tmp_path / "run", data)
    return tmp_path / "run"


def losses(log):
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, len(lines) + 1))
    return [line["loss"] for line in lines]


# ------------------------------------------------------------------------------------------------- train
def test_train_writes_checkpoint_samples_plot_and_log(tmp_path, data):
    folder, log = tmp_path / "run", tmp_path / "log"
    arguments = ["train", "--data", data, "--steps", 5, "--out", folder, "--samples", 3, "--log", log]
    result = run(*arguments, *SMALL[:-1])
    assert result.exit_code == 0, result.output
    assert "engine  compiled" in result.output or "were not built" in result.output
    assert len(losses(log)) == 5
    samples = (folder / "samples.txt").read_text()
    assert len(samples.splitlines()) == 3
    assert samples in result.output
    assert (folder / "checkpoint.json").exists()
    assert (folder / "loss.png").exists() or "pip install" in result.output


def test_the_log_holds_the_losses_of_the_library(tmp_path, data):
    from valuegrad import gpt

    log = tmp_path / "log"
    run("train", "--data", data, "--steps", 4, "--out", tmp_path / "run", "--log", log, "--seed", 7, *SMALL)
    trainer = gpt.Trainer(
        DOCUMENTS, gpt.ModelSettings(n_embd=8, n_head=2, block_size=8), gpt.TrainingSettings(steps=4, seed=7)
    )
    assert losses(log) == [report.loss for report in trainer]


@ONCE
def test_settings_of_a_data_set_are_used_and_given_ones_go_before(tmp_path):
    from valuegrad import gpt

    suggested = gpt.datasets.describe("words").settings["block_size"]
    for given, expected in (([], suggested), (["--block-size", "5"], 5)):
        folder = tmp_path / str(expected)
        result = run("train", "--data", "words", "--steps", 1, "--out", folder, "--no-plot", "--samples", 0,
                     "--engine", "eager", *given)  # fmt: skip
        assert result.exit_code == 0, result.output
        assert gpt.Checkpoint.load(folder).model_settings.block_size == expected


def test_a_second_run_into_the_same_folder_is_refused(trained, data):
    before = sorted((path.name, path.read_bytes()) for path in trained.iterdir())
    result = run("train", "--data", data, "--steps", 5, "--out", trained, *SMALL)
    assert result.exit_code == 1
    assert "--resume" in result.output
    assert "--force" in result.output
    assert sorted((path.name, path.read_bytes()) for path in trained.iterdir()) == before


def test_force_begins_anew_and_leaves_other_files(trained, data):
    (trained / "notes.txt").write_text("mine")
    result = run("train", "--data", data, "--steps", 2, "--out", trained, "--force", "--samples", 1, *SMALL)
    assert result.exit_code == 0, result.output
    assert (trained / "notes.txt").read_text() == "mine"
    assert len((trained / "samples.txt").read_text().splitlines()) == 1


def test_matplotlib_missing_is_told_and_no_failure(tmp_path, data, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    result = run("train", "--data", data, "--steps", 2, "--out", tmp_path / "run", *SMALL[:-1])
    assert result.exit_code == 0, result.output
    assert "pip install 'valuegrad[plot]'" in result.output


# ------------------------------------------------------------------------------------------------ resume
SIGNALLED_AT = 15
TO_ITSELF = f"""
import os, sys
from valuegrad.cli import main, progress

def steps(self, reports, original=progress.Progress.steps):
    original(self, reports)
    if reports[-1].step == {SIGNALLED_AT}:
        os.kill(os.getpid(), int(sys.argv.pop()))

progress.Progress.steps = steps
main(sys.argv[1:-1], prog_name="valuegrad")
"""


def interrupted_run(tmp_path, data, number):
    """A run that gets a signal after some step, beside one that was left in peace."""
    arguments = ["--data", data, "--steps", 30, "--samples", 4, "--checkpoint-every", 4, "--report-every", 3, *SMALL]
    whole = subprocess.run(
        command("train", *arguments, "--out", tmp_path / "whole", "--log", tmp_path / "whole.log"),
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "step 30/30" in whole.stdout
    arguments += ["--out", tmp_path / "cut", "--log", tmp_path / "cut.log", int(number)]
    cut = subprocess.run(
        [sys.executable, "-c", TO_ITSELF, "train", *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    assert len(losses(tmp_path / "cut.log")) == SIGNALLED_AT
    return cut.returncode, cut.stdout


def assert_resumed_run_is_the_whole_one(tmp_path, *more):
    result = subprocess.run(
        command("train", "--out", tmp_path / "cut", "--resume", "--log", tmp_path / "cut.log", "--samples", 4,
                "--report-every", 3, "--no-plot", *more),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "cut.log").read_bytes() == (tmp_path / "whole.log").read_bytes()
    assert (tmp_path / "cut" / "samples.txt").read_text() == (tmp_path / "whole" / "samples.txt").read_text()
    for folder in ("whole", "cut"):
        assert len(list((tmp_path / folder).glob("weights-*"))) == 1
    names = [next((tmp_path / folder).glob("weights-*")).name for folder in ("whole", "cut")]
    assert names[0] == names[1]  # a weights file is named by its digest


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_a_run_that_was_killed_goes_on_to_the_same_losses_and_samples(tmp_path, data):
    code, _ = interrupted_run(tmp_path, data, signal.SIGKILL)
    assert code == -signal.SIGKILL
    assert_resumed_run_is_the_whole_one(tmp_path)


@pytest.mark.skipif(os.name == "nt", reason="Windows sends no SIGINT to one process")
def test_ctrl_c_leaves_a_checkpoint_and_says_how_to_go_on(tmp_path, data):
    code, rest = interrupted_run(tmp_path, data, signal.SIGINT)
    assert code == 130
    assert f"valuegrad train --out {tmp_path / 'cut'} --resume" in rest
    assert "Traceback" not in rest
    assert_resumed_run_is_the_whole_one(tmp_path, "--data", data, "--steps", 30)


@pytest.mark.parametrize(("seconds", "more"), [(-1.0, True), (1e9, False)])
def test_checkpoints_are_written_when_some_time_has_passed(tmp_path, data, monkeypatch, seconds, more):
    from valuegrad import gpt
    from valuegrad.cli import train as command_line

    steps = []
    real = gpt.Checkpoint.save
    monkeypatch.setattr(gpt.Checkpoint, "save", lambda self, folder: (steps.append(self.step), real(self, folder)))
    monkeypatch.setattr(command_line, "SAVED_AFTER", seconds)
    result = run("train", "--data", data, "--steps", 9, "--report-every", 3, "--out", tmp_path / "run", *SMALL)
    assert result.exit_code == 0, result.output
    assert steps[0] == 0
    assert steps[-1] == 9
    assert bool(set(steps) & set(range(1, 9))) == more


def test_resuming_a_finished_run_gives_its_samples_again(trained):
    before = (trained / "samples.txt").read_text()
    result = run("train", "--out", trained, "--resume", "--samples", 3, "--no-plot")
    assert result.exit_code == 0, result.output
    assert (trained / "samples.txt").read_text() == before


def test_resume_with_another_setting_is_refused(trained):
    result = run("train", "--out", trained, "--resume", "--steps", 6)
    assert result.exit_code == 2
    assert "--steps is 6, but the run in" in result.output


def test_resume_with_changed_data_is_refused(trained_on_data, data):
    data.write_text("other\ndocuments\n")
    result = run("train", "--out", trained_on_data, "--resume")
    assert result.exit_code == 1
    assert "changed since" in result.output


def test_resume_after_the_data_moved_names_the_way_out(trained_on_data, data, tmp_path):
    moved = data.rename(tmp_path / "moved.txt")
    result = run("train", "--out", trained_on_data, "--resume")
    assert result.exit_code == 1
    assert "--data" in result.output
    assert run("train", "--out", trained_on_data, "--resume", "--data", moved, "--no-plot").exit_code == 0


# -------------------------------------------------------------------------------------------- mistakes
@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--n-embd", "10", "--n-head", "4"], 2, "--n-embd must be a multiple of --n-head"),
        (["--steps", "0"], 2, "--steps is 0"),
        (["--steps", "many"], 2, "--steps"),
        (["--engine", "fast"], 2, "--engine"),
        (["--dtype", "float16"], 2, "--dtype"),
        (["--batch", "0"], 2, "--batch is 0"),
        (["--threads", "0"], 2, "--threads"),
        (["--engine", "eager", "--dtype", "float32"], 2, "--dtype is 'float32' with --engine 'eager'"),
        (["--learning-rate", "-1"], 2, "--learning-rate is -1.0"),
        (["--learning-rate", "nan"], 2, "--learning-rate is nan"),
        (["--n-embd", "1000000"], 1, "choose smaller sizes"),
        (["--data", "nowhere.txt"], 1, "neither a built-in data set nor a file"),
        (["--resume"], 1, "does not exist"),
        (["--resume", "--force"], 2, "one of them"),
        (["--colour", "red"], 2, "No such option"),
        (["--samples", "-1"], 2, "--samples"),
        (["--log", "/nowhere/at/all/log"], 1, "/nowhere/at/all"),
    ],
)
def test_a_mistake_gets_a_message_and_an_exit_code(tmp_path, data, arguments, code, message):
    result = run("train", "--data", data, "--out", tmp_path / "run", *arguments)
    assert result.exit_code == code, result.output
    assert message in result.output
    assert "Traceback" not in result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)


@pytest.mark.parametrize("content", [b"", b"\n \n", b"caf\xe9", b"a\0b"])
def test_data_that_are_no_text_get_a_message(tmp_path, content):
    path = tmp_path / "bad.txt"
    path.write_bytes(content)
    result = run("train", "--data", path, "--out", tmp_path / "run")
    assert result.exit_code == 1
    assert result.output.startswith("Error: data set")
    assert not (tmp_path / "run").exists()


def test_an_out_that_is_a_file_is_refused(data):
    result = run("train", "--data", data, "--out", data)
    assert result.exit_code == 1
    assert "is a file; give a folder" in result.output


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="permissions bind neither root nor Windows")
def test_a_folder_that_cannot_be_written_to_gets_a_message(tmp_path, data):
    (tmp_path / "locked").mkdir(mode=0o500)
    result = run("train", "--data", data, "--out", tmp_path / "locked" / "run")
    assert result.exit_code == 1
    assert "Permission denied" in result.output


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_a_full_disk_names_the_log_and_keeps_what_was_learned(tmp_path, data):
    from valuegrad import gpt

    result = run("train", "--data", data, "--steps", 5, "--out", tmp_path / "run", "--log", "/dev/full", *SMALL)
    assert result.exit_code == 1
    assert "Error: /dev/full: No space left on device" in result.output
    assert gpt.Checkpoint.load(tmp_path / "run").step == 1


def test_a_log_that_is_there_is_not_replaced(tmp_path, data):
    result = run("train", "--data", data, "--out", tmp_path / "run", "--log", data)
    assert result.exit_code == 1
    assert "is there already" in result.output
    assert data.read_text().startswith("anna")


# ------------------------------------------------------------------------------------ sample and evaluate
def test_sample_gives_the_samples_of_the_training(trained):
    assert run("sample", trained, "--n", 3).output == (trained / "samples.txt").read_text()


def test_sample_with_a_seed_repeats_itself(trained):
    first, second, other = (run("sample", trained, "--seed", seed).output for seed in (1, 1, 2))
    assert first == second != other


def test_sample_continues_a_prefix(trained):
    lines = run("sample", trained, "--n", 4, "--prefix", "an").output.splitlines()
    assert len(lines) == 4
    assert all(line.startswith("an") for line in lines)


def test_sample_at_temperature_0_always_writes_the_same(trained):
    assert len(set(run("sample", trained, "--temperature", 0).output.splitlines())) == 1


def test_sample_shows_probabilities(trained):
    assert "%" in run("sample", trained, "--n", 1, "--show-probabilities").output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--prefix", "XY"], "never seen: 'XY'"),
        (["--prefix", "annaanna"], "context of 8"),
        (["--top-k", "0"], "--top-k"),
        (["--temperature", "-1"], "--temperature"),
        (["--temperature", "nan"], "temperature"),
    ],
)
def test_an_impossible_sample_is_a_usage_error(trained, arguments, message):
    result = run("sample", trained, *arguments)
    assert result.exit_code == 2, result.output
    assert message in result.output


def test_evaluate_is_the_librarys_number(trained, data):
    from valuegrad import gpt

    checkpoint = gpt.Checkpoint.load(trained)
    expected = gpt.evaluate(checkpoint.model(), checkpoint.tokenizer(), DOCUMENTS)
    result = run("evaluate", trained, "--data", data)
    assert result.exit_code == 0, result.output
    assert f"loss {expected:.6f} nats a token, on 12 documents" in result.output


def test_evaluate_uses_the_held_out_documents(trained):
    assert "on 1 held-out document" in run("evaluate", trained).output


def test_evaluate_of_unknown_characters_is_a_message(trained):
    result = run("evaluate", trained, "--data", "sonnets")
    assert result.exit_code == 1
    assert "never seen" in result.output


@pytest.mark.parametrize("name", ["sample", "evaluate"])
def test_a_folder_without_checkpoint_gets_a_message(tmp_path, name):
    result = run(name, tmp_path)
    assert result.exit_code == 1
    assert "holds no checkpoint" in result.output


@pytest.mark.parametrize("name", ["train", "sample", "evaluate", "datasets", "explain"])
def test_every_command_has_help(name):
    result = run(name, "--help")
    assert result.exit_code == 0
    assert len(result.output) > 200


def test_the_help_needs_neither_numpy_nor_rich():
    code = (
        "import sys\nfrom valuegrad.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "print([m for m in ('numpy', 'rich', 'safetensors', 'matplotlib', 'plotext') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.splitlines()[-1] == "[]"
    assert "evaluate" in out


def test_an_unknown_command_is_a_usage_error():
    assert run("trian").exit_code == 2


def test_documents_a_second_count_whole_batches(monkeypatch):
    from types import SimpleNamespace

    from valuegrad.cli import progress

    monkeypatch.setattr(progress.time, "perf_counter", lambda: 10.0)
    trainer = SimpleNamespace(step=0, settings=SimpleNamespace(batch=16, steps=100))
    pace = progress.Pace(trainer)
    trainer.step, pace.began, pace.tokens = 5, 8.0, 600
    assert str(pace) == "40 docs/s, 300 tokens/s"
