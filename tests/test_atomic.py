"""A file has its old content or all of the new, whoever writes it and however many at once."""

import os
import threading

import pytest

from valuegrad.atomic import write_atomically


@pytest.mark.parametrize("shared", [False, True])
def test_an_atomic_write_replaces_the_whole_file(tmp_path, shared):
    path = tmp_path / "x"
    path.write_bytes(b"a long old content")
    write_atomically(path, b"new", shared=shared)
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_writers_at_once_leave_one_whole_content_and_nothing_beside_it(tmp_path):
    path = tmp_path / "x"
    contents = [bytes([i]) * 100_000 for i in range(8)]
    threads = [
        threading.Thread(target=lambda data=data: [write_atomically(path, data, shared=True) for _ in range(5)])
        for data in contents
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_bytes() in contents
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_that_fails_leaves_the_old_content_and_nothing_beside_it(tmp_path, monkeypatch):
    path = tmp_path / "x"
    path.write_bytes(b"old")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, b"new", shared=True)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
def test_the_mode_is_that_of_the_new_file(tmp_path):
    write_atomically(tmp_path / "secret", b"", shared=True, mode=0o600)
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600
