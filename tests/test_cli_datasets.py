"""``valuegrad datasets``: what a person sees, and what a mistake gives."""

from __future__ import annotations

import re

from click.testing import CliRunner, Result

from valuegrad.cli.datasets import datasets
from valuegrad.gpt.datasets import describe, load, names


def run(*args: str) -> Result:
    result = CliRunner(env={"COLUMNS": "80", "NO_COLOR": "1"}).invoke(datasets, list(args))
    assert result.exception is None or isinstance(result.exception, SystemExit)  # no traceback, ever
    return result


def words(text: str) -> str:
    """A text without its line breaks and columns."""
    return re.sub(r"\s+", " ", text)


def test_every_data_set_is_listed_with_its_documents():
    output = run().output
    for name in names():
        assert re.search(rf"^{name} +{len(load(name).documents):,} ", output, re.MULTILINE)


def test_the_list_fits_eighty_columns():
    assert max(map(len, run().output.splitlines())) <= 80


def test_one_data_set_is_shown_with_source_licence_notice_and_settings():
    output, entry = words(run("words").output), describe("words")
    for fact in (entry.description, entry.source, entry.obtained, entry.licence, entry.notice):
        assert words(fact) in output
    assert "--steps 1000 --block-size 24" in output


def test_samples_run_from_the_first_document_to_the_last():
    documents = load("moon").documents
    lines = run("moon", "--samples", "3").output.splitlines()
    assert [line.strip() for line in lines[-3:]] == [documents[0], documents[(len(documents) - 1) // 2], documents[-1]]


def test_more_samples_than_documents_shows_each_once(tmp_path):
    file = tmp_path / "texts.txt"
    file.write_text("ab\ncd\n")
    assert run(str(file)).output.splitlines()[-2:] == ["  ab", "  cd"]


def test_no_samples_are_shown_if_none_are_asked_for():
    assert "of the documents, from first to last" not in run("names", "--samples", "0").output


def test_a_file_is_shown_as_training_would_read_it(tmp_path):
    file = tmp_path / "texts.txt"
    file.write_bytes(b"\xef\xbb\xbf ab c \r\n\r\nd\n")
    output = words(run(str(file)).output)
    assert "2, of 1 to 4 characters" in output
    assert "5, 5 different: ␣abcd" in output


def test_control_characters_do_not_reach_the_terminal(tmp_path):
    file = tmp_path / "texts.txt"
    file.write_bytes(b"a\x1b[31mred\n")
    output = run(str(file)).output
    assert "\x1b" not in output
    assert r"a\x1b[31mred" in output


def test_a_long_document_takes_one_line(tmp_path):
    file = tmp_path / "texts.txt"
    file.write_text("a" * 100_000)
    last = run(str(file)).output.splitlines()[-1]
    assert len(last) <= 80
    assert last.endswith("…")


def test_mistakes_give_a_message_and_exit_code_2(tmp_path):
    binary = tmp_path / "binary"
    binary.write_bytes(b"\0")
    for args, message in [
        (["mooon"], "did you mean 'moon'?"),
        ([str(tmp_path)], "is a directory"),
        ([str(binary)], "is no text file: byte 0 (line 1) is 0"),
        (["names", "--samples", "-1"], "-1 is not in the range"),
        (["names", "--samples", "x"], "'x' is not a valid integer"),
    ]:
        result = run(*args)
        assert result.exit_code == 2
        assert message in words(result.output)
