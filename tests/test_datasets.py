"""Data sets: what comes with the package is stated and holds; any file of the user's loads or says why not."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import valuegrad as vg
from valuegrad.gpt import datasets

PAGE = Path(__file__).resolve().parent.parent / "docs" / "datasets.md"
FOLDER = Path(datasets.__file__).parent

built_in = pytest.mark.parametrize("name", datasets.names())


def loaded(tmp_path: Path, data: bytes) -> list[str]:
    file = tmp_path / "texts.txt"
    file.write_bytes(data)
    return datasets.load(file).documents


# ------------------------------------------------------------------------------------------ the built-in ones
def test_there_are_several_built_in_data_sets_with_given_names_first():
    assert datasets.names()[0] == "names"
    assert len(datasets.names()) >= 5


@built_in
def test_source_licence_and_origin_are_stated(name):
    entry = datasets.describe(name)
    assert all([entry.description, entry.source, entry.obtained, entry.licence])


@built_in
def test_the_file_holds_exactly_its_documents(name):
    documents = datasets.load(name).documents
    assert (FOLDER / f"{name}.txt").read_text(encoding="utf-8") == "\n".join(documents) + "\n"


@built_in
def test_the_suggested_context_holds_every_document_and_its_end(name):
    data = datasets.load(name)
    assert data.settings["block_size"] >= max(map(len, data.documents)) + 1


@built_in
def test_no_document_comes_twice_except_lines_that_shakespeare_repeats(name):
    documents = datasets.load(name).documents
    repeated = {document for document in documents if documents.count(document) > 1} if name == "sonnets" else set()
    assert len(documents) - len(set(documents)) == len(repeated)
    assert repeated <= {
        "But do not so, I love thee in such sort,",  # sonnets 36 and 96 end with the same couplet
        "As thou being mine, mine is thy good report.",
    }


def test_the_files_in_the_folder_are_those_in_the_catalogue():
    assert {file.stem for file in FOLDER.glob("*.txt")} == set(datasets.names())


def test_all_of_them_together_stay_under_two_megabytes():
    assert sum(file.stat().st_size for file in FOLDER.glob("*.txt")) < 2_000_000


@built_in
def test_the_page_states_what_the_catalogue_states(name):
    entry, data, page = datasets.describe(name), datasets.load(name), PAGE.read_text(encoding="utf-8")
    row = (
        f"| [{name}](#{name}) | {len(data.documents):,} | {data.characters:,} | {len(data.alphabet)} "
        f"| {max(map(len, data.documents))} | {entry.licence} |"
    )
    assert row in page
    section = page.split(f"\n## {name}\n")[1].split("\n## ")[0]
    for fact in (entry.description[1:], entry.source, entry.obtained, entry.licence, entry.notice):
        assert fact in section
    for setting, number in entry.settings.items():
        assert f"`{setting} {number}`" in section


def test_given_names_are_the_census_files_by_rank():
    assert datasets.load("names").documents[:4] == ["mary", "patricia", "linda", "barbara"]
    assert datasets.load("surnames").documents[:3] == ["smith", "johnson", "williams"]


def test_the_sonnets_have_all_their_lines():
    # 154 sonnets of 14 lines, but for number 99 with 15 and number 126 with 12
    assert len(datasets.load("sonnets").documents) == 154 * 14 + 1 - 2


def test_a_data_set_cannot_be_changed_by_accident():
    with pytest.raises(AttributeError):
        datasets.load("names").name = "other"  # type: ignore[misc]


# ------------------------------------------------------------------------------------------ any file
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_lines_end_as_on_any_system(tmp_path, newline):
    assert loaded(tmp_path, newline.join(["ab", "", " cd ", "ef"]).encode()) == ["ab", "cd", "ef"]


def test_a_byte_order_mark_is_no_character(tmp_path):
    assert loaded(tmp_path, "\ufeffab\ncd".encode()) == ["ab", "cd"]


def test_a_single_character_is_a_data_set(tmp_path):
    assert loaded(tmp_path, b"a") == ["a"]


def test_any_script_is_welcome(tmp_path):
    assert loaded(tmp_path, "žluť\n春はあけぼの\n🙂".encode()) == ["žluť", "春はあけぼの", "🙂"]


def test_a_line_separator_inside_a_document_does_not_split_it(tmp_path):
    assert loaded(tmp_path, "a\u2028b\x0bc\n".encode()) == ["a\u2028b\x0bc"]


def test_a_document_may_be_of_any_length(tmp_path):
    assert [len(document) for document in loaded(tmp_path, b"a" * 1_000_000 + b"\nb")] == [1_000_000, 1]


def test_a_million_lines_all_arrive(tmp_path):
    documents = loaded(tmp_path, b"".join(b"line %d\n" % i for i in range(1_000_000)))
    assert len(documents) == 1_000_000
    assert documents[-1] == "line 999999"


@given(st.lists(st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\0\n\r"))))
def test_documents_come_back_stripped_in_order_without_empty_ones(tmp_path_factory, texts):
    file = tmp_path_factory.mktemp("texts") / "any.txt"
    file.write_bytes("\n".join(["first", *texts]).encode())
    assert datasets.load(file).documents == [t.strip() for t in ["first", *texts] if t.strip()]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_read_like_a_file(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(b"ab\ncd\n"))
    writer.start()
    documents = datasets.load(pipe).documents
    writer.join()
    assert documents == ["ab", "cd"]


def test_a_built_in_name_beats_a_file_of_that_name_and_a_path_beats_both(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("names").write_text("mine\n")
    assert datasets.load("names").documents[0] == "mary"
    assert datasets.load("./names").documents == ["mine"]
    assert datasets.load(Path("names")).documents == ["mine"]


def test_a_file_is_named_by_its_path_and_claims_no_licence(tmp_path):
    file = tmp_path / "texts.txt"
    file.write_text("ab")
    data = datasets.load(file)
    assert (data.name, data.source, data.licence, data.settings) == (str(file), str(file), "", {})


# ------------------------------------------------------------------------------------------ what is refused
def refused(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(vg.DatasetError, match=message):
        loaded(tmp_path, data)


def test_an_empty_file_is_refused(tmp_path):
    refused(tmp_path, b"", "is empty; expected at least one line")


def test_a_file_of_blanks_is_refused(tmp_path):
    refused(tmp_path, b" \n\t\r\n", "has 5 bytes but no text")


def test_bytes_that_are_not_utf8_are_named_by_place(tmp_path):
    refused(tmp_path, b"ab\r\nc\xe9d\n", r"byte 5 \(line 2\) is 0xe9; save the file as UTF-8")


def test_the_byte_order_mark_counts_as_bytes_of_the_file(tmp_path):
    refused(tmp_path, b"\xef\xbb\xbfab\rc\xff", r"byte 7 \(line 2\) is 0xff")


def test_a_character_cut_off_at_the_end_is_refused(tmp_path):
    refused(tmp_path, "é".encode()[:1], r"byte 0 \(line 1\) is 0xc3")


def test_a_binary_file_is_refused(tmp_path):
    refused(tmp_path, b"\x7fELF\n\0\1", r"no text file: byte 5 \(line 2\) is 0")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf16_is_refused(tmp_path, encoding):
    refused(tmp_path, "ab\n".encode(encoding), "UTF-16|no text file")


def test_a_directory_is_refused(tmp_path):
    with pytest.raises(vg.DatasetError, match="is a directory"):
        datasets.load(tmp_path)


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="this system has no /dev/zero")
def test_an_endless_device_is_refused():
    with pytest.raises(vg.DatasetError, match="is a device or socket"):
        datasets.load("/dev/zero")


@pytest.mark.parametrize("path", ["a\0b", "x" * 5000])
def test_a_path_that_cannot_be_is_refused(path):
    with pytest.raises(vg.DatasetError, match="cannot be read"):
        datasets.load(path)


def test_a_missing_file_names_the_closest_built_in_data_set():
    with pytest.raises(vg.DatasetError, match=r"did you mean 'dinosaurs'\? there are names, .*; or give the path"):
        datasets.load("Dinosaur")


def test_a_missing_path_of_a_built_in_name_says_how_to_get_the_built_in_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(vg.DatasetError, match="give the text 'names' for the built-in data set"):
        datasets.load(Path("names"))


@pytest.mark.parametrize("wrong", [3, None, b"names", ["names"]])
def test_what_is_neither_name_nor_path_is_refused(wrong):
    with pytest.raises(vg.ValueTypeError, match="expected a data set's name or a path"):
        datasets.load(wrong)


def test_an_unknown_name_has_no_description():
    with pytest.raises(vg.DatasetError, match="did you mean 'moon'"):
        datasets.describe("mon")
