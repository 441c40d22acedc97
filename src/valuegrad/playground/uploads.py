"""What people give to the page: texts and checkpoints.  Whatever it is, it ends in documents, a run, or a message.

Why: files come from anybody.  A text is decoded strictly and is limited in size; a checkpoint is opened without running
anything in it, and a zip file is not unpacked beyond what a checkpoint can be.

Where to start reading: ``read_text``, ``read_checkpoint``.
"""

from __future__ import annotations

import io
import lzma
import re
import tempfile
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from valuegrad.errors import CheckpointError, DatasetError
from valuegrad.gpt import datasets
from valuegrad.gpt.checkpoint import SETTINGS_FILE, Checkpoint

__all__ = ["MOST_BYTES", "MOST_TEXT", "Loaded", "pack", "read_checkpoint", "read_text"]

MOST_TEXT = 2_000_000
"""Bytes of a text: thousands of pages, and read in a moment."""
MOST_BYTES = 50_000_000
"""Bytes of a checkpoint, unpacked: more than the page's largest models have."""
MOST_CHARACTERS = 1_000
"""Different characters in a text; each is a row of weights."""
DOCUMENTS_FILE = "documents.txt"


def read_text(data: bytes, name: str) -> datasets.Dataset:
    """The documents of a text file, one a line.

    Args:
        data: its bytes.
        name: what messages call it.

    Raises:
        DatasetError: it is too large, not UTF-8, no text, or empty.

    Example:
        >>> read_text(b"anna\\nbob\\n", "friends.txt").documents
        ['anna', 'bob']
    """
    if len(data) > MOST_TEXT:
        raise DatasetError(
            f"{name!r} has {len(data):,} bytes; expected at most {MOST_TEXT:,} on a page: give a part of it, or train "
            "with 'valuegrad train', which has no such bound"
        )
    found = datasets.read(data, name)
    count = len(found.alphabet)
    if count > MOST_CHARACTERS:
        raise DatasetError(
            f"{name!r} has {count:,} different characters; expected at most {MOST_CHARACTERS:,}: each is a token of "
            "the model, and most would be met too seldom to be learned"
        )
    return found


@dataclass(frozen=True)
class Loaded:
    """A checkpoint that somebody gave to the page.

    Args:
        checkpoint: it.
        documents: the texts of its training, if they came with it or are a built-in data set's; else None.
    """

    checkpoint: Checkpoint
    documents: list[str] | None


def pack(checkpoint: Checkpoint, documents: list[str] | None = None) -> bytes:
    """A zip file with a checkpoint, as ``valuegrad train --out`` keeps it in a folder.

    Args:
        checkpoint: what is kept.
        documents: the texts, where they are no built-in data set's, so that the run can go on elsewhere.
    """
    with tempfile.TemporaryDirectory() as folder:
        checkpoint.save(folder)
        files = {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}
    if documents is not None:
        files[DOCUMENTS_FILE] = "".join([document + "\n" for document in documents]).encode()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return packed.getvalue()


def read_checkpoint(data: bytes, name: str) -> Loaded:
    """A checkpoint out of a zip file, of ``pack`` or of a folder that ``valuegrad train --out`` made.

    Args:
        data: the file's bytes.
        name: what messages call it.

    Raises:
        CheckpointError: it is no zip file, too large, lacks a file, or is damaged.
    """
    files = _unpacked(data, name)
    if SETTINGS_FILE not in files:
        raise CheckpointError(
            f"{name!r} holds no {SETTINGS_FILE}; expected a checkpoint that this page made, or a zip file of the "
            "folder that 'valuegrad train --out' made"
        )
    with tempfile.TemporaryDirectory() as folder:
        for file, content in files.items():
            (Path(folder) / file).write_bytes(content)
        try:
            checkpoint = Checkpoint.load(folder)
        except CheckpointError as error:
            # The folder is gone in a moment; what people gave was the file.
            message = str(error).replace(f"{folder}/", f"{name}: ").replace(folder, name)
            raise CheckpointError(message) from None
    return Loaded(checkpoint, _documents(checkpoint, files))


def _documents(checkpoint: Checkpoint, files: dict[str, bytes]) -> list[str] | None:
    """The texts of a checkpoint's training.  A path in it is never opened: it comes from a stranger."""
    from valuegrad.gpt.train import fingerprint

    try:
        if checkpoint.data_name in datasets.names():
            documents = datasets.load(checkpoint.data_name).documents
        elif DOCUMENTS_FILE in files:
            documents = read_text(files[DOCUMENTS_FILE], DOCUMENTS_FILE).documents
        else:
            return None
    except DatasetError:
        return None
    return documents if fingerprint(documents) == checkpoint.fingerprint else None


def _unpacked(data: bytes, name: str) -> dict[str, bytes]:
    """The files of a checkpoint in a zip file, by their names without folders."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            files: dict[str, bytes] = {}
            left = MOST_BYTES
            for entry in archive.infolist():
                inside = entry.filename.rpartition("/")[2]
                if not re.fullmatch(r"checkpoint\.json|documents\.txt|weights-[\w-]+\.safetensors", inside):
                    continue
                with archive.open(entry) as file:
                    content = file.read(left + 1)  # what it says of its size may be a lie
                left -= len(content)
                if left < 0:
                    raise CheckpointError(
                        f"{name!r} has more than {MOST_BYTES:,} bytes; use 'valuegrad sample', which has no such bound"
                    )
                files[inside] = content
            return files
    except CheckpointError:
        raise
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, RuntimeError, EOFError, OSError, ValueError) as error:
        raise CheckpointError(
            f"{name!r} is no zip file, or a damaged one ({error}); expected a checkpoint that this page made, or a zip "
            "file of the folder that 'valuegrad train --out' made"
        ) from None
