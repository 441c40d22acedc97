"""Writing a file so that nobody ever sees half of it.

Why: a program may be stopped between any two instructions, and another process may read or write the same file
at the same time.  So the new content is written beside the old, flushed, and put in its place by one rename.

Where to start reading: ``write_atomically``.
"""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["write_atomically"]


def write_atomically(path: Path, data: bytes, *, shared: bool = False, durable: bool = True, mode: int = 0o666) -> None:
    """Write a file so that, whatever happens, it has its old content or all of the new.

    Args:
        path: the file.
        data: its new content.
        shared: several threads or processes may write this file at once: each writes beside it under a name of
            its own (one that is killed leaves that file behind), and the last one to finish wins.
        durable: wait until the disk has it; else a power failure may leave a damaged file, which somebody must notice.
        mode: who may read and write a new file, before the user's umask.

    Raises:
        OSError: the file cannot be written; it still has its old content.

    Example:
        >>> from pathlib import Path
        >>> write_atomically(Path("numbers.txt"), b"1 2 3")
        >>> Path("numbers.txt").read_bytes()
        b'1 2 3'
    """
    beside = path.with_name(f".{path.name}.{os.urandom(6).hex()}.tmp" if shared else f".{path.name}.tmp")
    try:
        with open(beside, "xb" if shared else "wb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            file.write(data)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError:
        if shared:
            beside.unlink(missing_ok=True)
        raise
    if durable and os.name == "posix":  # the rename itself must reach the disk, too
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
