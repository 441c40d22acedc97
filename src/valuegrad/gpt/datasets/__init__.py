"""Data sets for the GPT: the ones that come with the package, and any text file.

Why: a character-level model needs nothing but short texts, one a line.  Each of those lines is a
*document*.  Several real collections come with the package, so that training works offline from the
first minute; their sources and licences are stated in ``catalogue.json`` and on docs/datasets.md.

Data structures: ``Entry`` is what the catalogue says about a built-in data set, ``Dataset`` is a data
set with its documents.  A built-in data set is the file ``<name>.txt`` beside this module.

A text that is the name of a built-in data set means that one, always; a file of the same name is reached
as ``./names`` or as a ``Path``.  Everything else is a file.

Where to start reading: ``load``.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from valuegrad.arguments import shown
from valuegrad.errors import DatasetError, ValueTypeError

__all__ = ["Dataset", "Entry", "describe", "load", "names", "read"]

_FOLDER = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Entry:
    """What the catalogue says about a built-in data set.

    Args:
        name: the name that ``load`` takes.
        description: one line for people.
        source: who made it, and under which title.
        obtained: the copy it was taken from, and what was left out or changed.
        licence: the terms, in a few words.
        notice: the text that the licence asks to pass on ("" for none).
        settings: settings of ``valuegrad train`` that suit it (``steps``, ``block_size`` ...).
    """

    name: str
    description: str
    source: str
    obtained: str
    licence: str
    notice: str
    settings: Mapping[str, int | float]


@dataclass(frozen=True)
class Dataset:
    """A data set with its documents.

    Args:
        name: a built-in data set's name, or the file's path.
        documents: the texts in the order of the file, stripped, none of them empty.
        description: one line for people.
        source: where it comes from.
        licence: its terms; "" for a file of the user's.
        settings: settings of ``valuegrad train`` that suit it; empty for a file of the user's.
    """

    name: str
    documents: list[str]
    description: str
    source: str
    licence: str
    settings: Mapping[str, int | float]

    @property
    def characters(self) -> int:
        """How many characters the documents have in all."""
        return sum(map(len, self.documents))

    @property
    def alphabet(self) -> str:
        """The different characters, sorted: the tokens of a character-level model."""
        return "".join(sorted(set().union(*self.documents)))


@cache
def _catalogue() -> dict[str, Entry]:
    entries: list[dict[str, Any]] = json.loads((_FOLDER / "catalogue.json").read_text(encoding="utf-8"))
    return {entry["name"]: Entry(**entry) for entry in entries}


def names() -> list[str]:
    """The names of the built-in data sets.

    Example:
        >>> "names" in names()
        True
    """
    return list(_catalogue())


def describe(name: str) -> Entry:
    """What is known about a built-in data set, without reading its documents.

    Raises:
        DatasetError: there is no such data set.

    Example:
        >>> describe("names").licence
        'public domain'
    """
    if name not in _catalogue():
        raise DatasetError(f"describe() got {shown(name)}; expected a built-in data set: {_choices(str(name))}")
    return _catalogue()[name]


def load(name_or_path: str | os.PathLike[str]) -> Dataset:
    """A data set: a built-in one by its name, or any UTF-8 text file with one document a line.

    Lines may end as on any system (LF, CRLF, CR); space around a document is dropped, and so are empty
    lines and a byte order mark.

    Args:
        name_or_path: a name out of ``names()``, or a path. A text that is a built-in name means the
            built-in data set; for a file of that name give ``"./names"`` or a ``Path``.

    Returns:
        The data set with all its documents.

    Raises:
        DatasetError: the file is missing, unreadable, not UTF-8 text, or without any text.
        ValueTypeError: neither text nor a path.

    Example:
        >>> data = load("names")
        >>> data.documents[:3]
        ['mary', 'patricia', 'linda']
    """
    if isinstance(name_or_path, str) and name_or_path in _catalogue():
        entry = _catalogue()[name_or_path]
        documents = _documents((_FOLDER / f"{entry.name}.txt").read_bytes(), entry.name)
        return Dataset(entry.name, documents, entry.description, entry.source, entry.licence, entry.settings)
    path = os.fspath(name_or_path) if isinstance(name_or_path, (str, os.PathLike)) else None
    if not isinstance(path, str):
        raise ValueTypeError(f"load() got {shown(name_or_path)}; expected a data set's name or a path")
    documents = _documents(_read(path), path)
    return Dataset(path, documents, f"the lines of {os.path.basename(path)}", os.path.abspath(path), "", {})


def read(data: bytes, name: str) -> Dataset:
    """A data set out of a text file's bytes, read as ``load`` reads it.

    Args:
        data: the bytes.
        name: what messages call the file.

    Raises:
        DatasetError: not UTF-8 text, or without any text.

    Example:
        >>> read(b"one\\r\\n two \\n\\n", "numbers.txt").documents
        ['one', 'two']
    """
    return Dataset(name, _documents(data, name), f"the lines of {name}", "", "", {})


def _choices(name: str) -> str:
    """The built-in names as an error message lists them, close ones first."""
    import difflib  # only for a name that is wrong

    close = difflib.get_close_matches(name.lower(), names(), n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}there are {', '.join(names())}"


def _read(path: str) -> bytes:
    """The bytes of a file or pipe."""
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            raise DatasetError(
                f"data set {path!r} is a directory; expected a text file with one document a line: name one in it"
            )
        if not (stat.S_ISREG(mode) or stat.S_ISFIFO(mode)):  # /dev/zero would never end
            raise DatasetError(f"data set {path!r} is a device or socket; expected a text file")
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        if path in _catalogue():  # it was given as a Path
            hint = f"give the text {path!r} for the built-in data set"
        else:
            hint = f"{_choices(path)}; or give the path of a text file with one document a line"
        raise DatasetError(f"data set {path!r} is neither a built-in data set nor a file here; {hint}") from None
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the path
        if isinstance(error, DatasetError):
            raise
        reason = error.strerror if isinstance(error, OSError) else error
        raise DatasetError(f"data set {path!r} cannot be read: {reason}; give a text file that you may read") from None


def _documents(data: bytes, who: str) -> list[str]:
    """The documents in a text file's bytes."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DatasetError(f"data set {who!r} is UTF-16 text; expected UTF-8: save it again with that encoding")
    zero = data.find(b"\0")
    if zero >= 0:
        raise DatasetError(
            f"data set {who!r} is no text file: byte {zero} ({_line(data, zero)}) is 0; expected UTF-8 text"
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        wrong = error.object[error.start]  # the codec counts from after the byte order mark
        at = error.start + len(data) - len(error.object)
        raise DatasetError(
            f"data set {who!r} is not UTF-8: byte {at} ({_line(data, at)}) is 0x{wrong:02x}; "
            "save the file as UTF-8 (from Latin-1, for example: iconv -f latin1 -t utf-8)"
        ) from None
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    documents = [document for document in map(str.strip, lines) if document]
    if not documents:
        what = f"has {len(data)} bytes but no text" if data else "is empty"
        raise DatasetError(f"data set {who!r} {what}; expected at least one line with a character")
    return documents


def _line(data: bytes, at: int) -> str:
    before = data[:at].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return f"line {before.count(10) + 1}"
