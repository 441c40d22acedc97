"""What people give to the page ends in documents, in a run, or in a clear message."""

from __future__ import annotations

import io
import json
import zipfile
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from valuegrad import gpt
from valuegrad.errors import CheckpointError, DatasetError
from valuegrad.gpt.settings import ModelSettings, TrainingSettings
from valuegrad.playground import uploads

pytestmark = pytest.mark.usefixtures("kept_code")
SIZES = ModelSettings(n_embd=4, n_head=2, block_size=4)


@pytest.fixture(scope="module")
def packed() -> bytes:
    trainer = gpt.Trainer(["ab", "ba"], SIZES, TrainingSettings(steps=3), data_name="mine")
    trainer.train_step()
    return uploads.pack(trainer.checkpoint(), ["ab", "ba"])


def zipped(files: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return made.getvalue()


def unzipped(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


# ----------------------------------------------------------------------------------------------------- texts
@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b" \n\n", "has 3 bytes but no text"),
        ("möwe".encode("latin-1"), "is not UTF-8: byte 1"),
        ("a".encode("utf-16"), "is UTF-16 text"),
        (b"PK\x03\x04\x00", "is no text file: byte 4"),
        (b"a" * (uploads.MOST_TEXT + 1), "has 2,000,001 bytes; expected at most 2,000,000"),
        ("\n".join(map(chr, range(0x4E00, 0x5200))).encode(), "has 1,024 different characters"),
    ],
)
def test_a_bad_text_ends_in_a_message(data, message):
    with pytest.raises(DatasetError, match=message) as caught:
        uploads.read_text(data, "mine.txt")
    assert "mine.txt" in str(caught.value)


def test_a_text_of_any_system_is_read():
    assert uploads.read_text(b"\xef\xbb\xbfone\r\ntwo\rthree\n", "x").documents == ["one", "two", "three"]


# ----------------------------------------------------------------------------------------------- checkpoints
def test_a_packed_checkpoint_is_read_back(packed):
    loaded = uploads.read_checkpoint(packed, "run.zip")
    assert loaded.checkpoint.step == 1
    assert loaded.documents == ["ab", "ba"]


def test_a_zip_file_of_a_training_folder_is_read(packed):
    inside = {f"runs/names/{name}": data for name, data in unzipped(packed).items()}
    assert uploads.read_checkpoint(zipped({**inside, "runs/names/loss.png": b"x"}), "run.zip").checkpoint.step == 1


def test_other_texts_than_the_runs_are_not_taken(packed):
    files = {**unzipped(packed), "documents.txt": b"ab\nbb\n"}
    assert uploads.read_checkpoint(zipped(files), "run.zip").documents is None


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "holds no checkpoint.json"),
        ({"checkpoint.json": b"{"}, "run.zip: checkpoint.json is damaged"),
        ({"checkpoint.json": b"[]"}, "is no checkpoint of valuegrad's GPT"),
        ({"checkpoint.json": b'{"format": "valuegrad GPT checkpoint", "version": 99}'}, "version 99"),
    ],
)
def test_a_checkpoint_without_its_parts_ends_in_a_message(files, message):
    with pytest.raises(CheckpointError, match=message) as caught:
        uploads.read_checkpoint(zipped(files), "run.zip")
    assert "/tmp" not in str(caught.value)


def test_weights_that_are_missing_or_changed_end_in_a_message(packed):
    files = unzipped(packed)
    weights = next(name for name in files if name.startswith("weights"))
    with pytest.raises(CheckpointError, match="lacks its file weights"):
        uploads.read_checkpoint(zipped({name: data for name, data in files.items() if name != weights}), "run.zip")
    changed = files[weights][:-1] + b"\x01"
    with pytest.raises(CheckpointError, match="changed since"):
        uploads.read_checkpoint(zipped({**files, weights: changed}), "run.zip")


def test_what_is_no_zip_file_ends_in_a_message():
    for data in (b"", b"PK\x03\x04", b"hello", bytes(1000)):
        with pytest.raises(CheckpointError, match=r"'run\.zip' is no zip file, or a damaged one"):
            uploads.read_checkpoint(data, "run.zip")


def test_a_zip_bomb_is_not_unpacked(monkeypatch):
    monkeypatch.setattr(uploads, "MOST_BYTES", 10_000)
    with pytest.raises(CheckpointError, match="more than 10,000 bytes"):
        uploads.read_checkpoint(zipped({"checkpoint.json": bytes(10_001)}), "run.zip")


def test_names_that_lead_out_of_the_folder_are_left_alone(packed, tmp_path):
    files = {**unzipped(packed), "../../evil.safetensors": b"x", "/etc/passwd": b"x"}
    assert uploads.read_checkpoint(zipped(files), "run.zip").checkpoint.step == 1


@settings(max_examples=60)
@given(st.data())
def test_a_damaged_file_never_ends_in_another_error(packed, data):
    at = data.draw(st.integers(0, len(packed) - 1))
    damaged = packed[:at] + bytes([data.draw(st.integers(0, 255))]) + packed[at + 1 :]
    with suppress(CheckpointError):  # a byte that means nothing may be changed
        uploads.read_checkpoint(damaged, "run.zip")


def test_a_place_before_the_beginning_ends_in_a_message(packed):
    """Of the list of files, whose place stands in the last bytes: zipfile goes there without a look."""
    damaged = packed[:-4] + b"\xff" + packed[-3:]
    with pytest.raises(CheckpointError, match="is no zip file, or a damaged one"):
        uploads.read_checkpoint(damaged, "run.zip")


def test_settings_that_are_no_settings_end_in_a_message(packed):
    files = unzipped(packed)
    fields = json.loads(files["checkpoint.json"])
    for changes in ({"model": {"n_embd": "x"}}, {"training": {"steps": -1}}, {"characters": "aa"}, {"random": 1}):
        changed = json.dumps({**fields, **changes}).encode()
        with pytest.raises(CheckpointError, match=r"damaged|different models"):
            uploads.read_checkpoint(zipped({**files, "checkpoint.json": changed}), "run.zip")
