"""The disk cache: what one process has lowered and compiled, the next one reads.

Why: to lower a large graph, to find its loops and to compile them takes longer than to read the result, and the same
graph always gives the same.

Data structures: one file for each entry, ``<folder>/<key>.vgc``.  The key is a digest of everything that the entry
depends on (``key``), so an entry never has to be changed.  A file is a header (magic, digests of the key and of the
rest) and the entry: a machine graph (``lower/stored.py``) or machine code (``lower/machine_code.py``).  Whatever is
wrong with an entry makes it a miss, and it is removed; whatever is wrong with the folder makes everything a miss: a
cache is never a reason to fail.

Machine code is executed as it is found.  So entries are taken only from where nobody but the user can have put them:
the folder, and the file, belong to the user, others may not write there, and neither is a link.  The digests are
against damage, not against others.  The folder is ``$VALUEGRAD_CACHE`` if that is set (empty or ``off``: no cache),
else ``valuegrad`` in the platform's folder for caches.

Several processes may use a folder at once: entries are written beside their place and renamed; an entry that
vanishes while it is read is a miss.

Where to start reading: ``Cache.get`` and ``Cache.put``.
"""

from __future__ import annotations

import hashlib
import os
import platform
import stat
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from valuegrad.atomic import write_atomically

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from valuegrad.graph import Graph

__all__ = ["Cache", "folder", "is_machine_known", "key", "key_of_arrays", "machine"]

MAGIC = b"valuegrad cache 2\n"
SUFFIX = ".vgc"
MOST = 512 << 20  # bytes that a folder holds by default
LARGEST = 64 << 20  # bytes of one entry: more is not worth the disk
_DIGEST = 32
_HEADER = len(MAGIC) + 2 * _DIGEST


# ------------------------------------------------------------------------------------------------- keys
@lru_cache(maxsize=1)
def machine() -> str:
    """The processor: its byte order, its instruction set and what extends it.

    Example:
        >>> machine().startswith(f"{platform.system()} {platform.machine()}")
        True
    """
    found = [platform.system(), platform.machine(), sys.byteorder, str(sys.maxsize)]
    # Linux only; elsewhere the name must do.
    with suppress(OSError), open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
        for line in lines:
            name, _, text = line.partition(":")
            if name.strip() in ("model name", "flags", "Features"):
                found.append(text.strip())
            if not line.strip():  # the first processor's lines are over
                break
    if len(found) == 4:
        found.append(platform.processor())
    return " ".join(found)


def is_machine_known() -> bool:
    """Whether ``machine()`` says which instructions the processor has: then machine code may be kept for it.

    Example:
        >>> is_machine_known() == ("sse2" in machine().split())
        True
    """
    return "sse2" in machine().split()  # every x86-64 has it


def key(graph: Graph, options: Mapping[str, Any], build: str) -> str:
    """The name of what a graph is lowered to: a digest of everything that it depends on.

    Args:
        graph: the graph that is lowered.
        options: what else the result depends on: strict, for instance.  Numbers, texts, bytes
            and tuples of them.
        build: a digest of the passes themselves.

    Example:
        >>> from valuegrad.graph import Nodes
        >>> nodes = Nodes(inputs=1)
        >>> graph = nodes.graph([nodes.add("exp", [0])])
        >>> len(key(graph, {"dtype": "float64"}, "1a2b3c4d"))
        64
    """
    guards = [(guard.node, guard.expected) for guard in graph.guards]
    arrays = [getattr(graph, name) for name in ("ops", "starts", "operands", "numbers", "outputs")]
    return key_of_arrays(arrays, {**options, "inputs": graph.inputs, "guards": guards}, build)


def key_of_arrays(arrays: Sequence[NDArray[Any]], options: Mapping[str, Any], build: str) -> str:
    """The name of what is made of some arrays; otherwise as ``key``."""
    digest = hashlib.blake2b(digest_size=_DIGEST)  # half the time of SHA-256
    for array in arrays:
        digest.update(f"{array.dtype.str} {array.size}:".encode())
        digest.update(np.ascontiguousarray(array).data)
    digest.update(repr((sorted(options.items()), build, machine())).encode())
    return digest.hexdigest()


# ---------------------------------------------------------------------------------------------- the folder
def folder() -> Path | None:
    """Where the cache is; None if it is switched off."""
    chosen = os.environ.get("VALUEGRAD_CACHE")
    if chosen is not None:
        return Path(chosen).expanduser() if chosen.strip() not in ("", "off") else None
    try:
        if os.name == "nt":
            base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
        elif sys.platform == "darwin":
            base = Path.home() / "Library" / "Caches"
        else:
            given = Path(os.environ.get("XDG_CACHE_HOME", ""))  # by its specification a relative one is ignored
            base = given if given.is_absolute() else Path.home() / ".cache"
    except RuntimeError:  # nobody knows the home folder
        return None
    return base / "valuegrad"


def _trusted(status: os.stat_result) -> bool:
    """Whether only the user can have written there."""
    if os.name != "posix":
        return True  # the user's own folder; its access lists are not looked at
    return status.st_uid == os.geteuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _header(key: str, entry: bytes) -> bytes:
    """What an entry's file begins with."""
    return MAGIC + b"".join(hashlib.blake2b(x, digest_size=_DIGEST).digest() for x in (key.encode(), entry))


class Cache:
    """A folder of entries.

    Args:
        path: the folder, made when something is put there; ``folder()`` by default.  None: no cache.
        most: how many bytes it may hold; what was used longest ago goes first.

    Example:
        >>> cache = Cache(Path("graphs"))
        >>> name = "0" * 64
        >>> cache.get(name)
        >>> cache.put(name, b"graph")
        >>> cache.get(name)
        b'graph'
    """

    def __init__(self, path: Path | None = None, most: int = MOST) -> None:
        self.path = folder() if path is None else path
        self.most = most

    def get(self, key: str) -> bytes | None:
        """An entry; None if there is none that can be trusted."""
        if self.path is None or not self._is_safe():
            return None
        path = self.path / f"{key}{SUFFIX}"
        try:
            data = self._read(path)
        except OSError:
            return None
        if data is None:
            return None
        start, body = data[:_HEADER], data[_HEADER:]
        if start != _header(key, body):
            with suppress(OSError):
                path.unlink()
            return None
        with suppress(OSError):
            os.utime(path)  # it was used now
        return body

    def has(self, key: str) -> bool:
        """Whether there is an entry; ``get`` says whether it can be trusted."""
        return self.path is not None and os.path.isfile(self.path / f"{key}{SUFFIX}")  # False where it cannot be seen

    @staticmethod
    def _read(path: Path) -> bytes | None:
        """A file's content; None if somebody else may have written it."""
        flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
        with open(os.open(path, flags), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode) or not _trusted(status) or status.st_size > LARGEST + _HEADER:
                return None
            return file.read()

    def _is_safe(self) -> bool:
        """Whether the folder is there, and only the user can write there."""
        assert self.path is not None
        try:
            status = os.lstat(self.path)
        except (OSError, ValueError):
            return False
        return stat.S_ISDIR(status.st_mode) and _trusted(status)

    def put(self, key: str, entry: bytes) -> None:
        """Enter something; quietly does nothing if the folder cannot be used."""
        if self.path is None or len(entry) > min(LARGEST, self.most - _HEADER):
            return
        with suppress(OSError, ValueError):
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not self._is_safe():
                return
            data = _header(key, entry) + entry
            write_atomically(self.path / f"{key}{SUFFIX}", data, shared=True, durable=False, mode=0o600)
            self._shrink()

    def _shrink(self) -> None:
        """Remove what was used longest ago until the rest fits, and what killed processes left behind."""
        assert self.path is not None
        found = []
        now = 0.0  # by the clock of the file system: that of another machine, perhaps
        with os.scandir(self.path) as entries:
            for entry in entries:
                if entry.name.endswith((SUFFIX, ".tmp")):
                    with suppress(OSError):  # another process may have removed it
                        status = entry.stat(follow_symlinks=False)
                        found.append((status.st_mtime, status.st_size, entry.path))
                        now = max(now, status.st_mtime)
        total = sum(size for _, size, _ in found)
        for used, size, path in sorted(found):
            abandoned = path.endswith(".tmp") and used < now - 3600.0
            if total <= self.most and not abandoned:
                continue
            if path.endswith(".tmp") and not abandoned:
                continue
            with suppress(OSError):
                os.unlink(path)
                total -= size
