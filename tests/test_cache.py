"""The disk cache: never wrong, never trusted blindly, never a reason to fail."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from engines import ONCE

from valuegrad import cache as module
from valuegrad.cache import Cache, folder, key
from valuegrad.graph import Guard, Nodes

pytestmark = ONCE  # no engine computes here

KEY, OTHER = "ab" * 32, "cd" * 32
posix = pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")


@pytest.fixture
def cache(tmp_path):
    return Cache(tmp_path / "codes")


def entries(cache):
    return sorted(path.name for path in cache.path.iterdir())


# ---------------------------------------------------------------------------------------------- entries
def test_what_was_put_is_there(cache):
    assert cache.get(KEY) is None
    cache.put(KEY, b"code")
    cache.put(OTHER, b"")
    assert (cache.get(KEY), cache.get(OTHER)) == (b"code", b"")
    assert Cache(cache.path).get(KEY) == b"code"
    cache.put(KEY, b"again")
    assert cache.get(KEY) == b"again"


def test_any_damage_is_a_miss_and_the_entry_goes(cache):
    cache.put(KEY, b"some code")
    path = cache.path / f"{KEY}.vgc"
    whole = path.read_bytes()
    damaged = [whole[:end] for end in range(len(whole))] + [whole + b"x"]
    damaged += [whole[:i] + bytes([whole[i] ^ 1]) + whole[i + 1 :] for i in range(len(whole))]
    for data in damaged:
        path.write_bytes(data)
        assert cache.get(KEY) is None
        assert not path.exists()
    cache.put(KEY, b"some code")
    assert cache.get(KEY) == b"some code"


def test_an_entry_under_another_name_is_a_miss(cache):
    cache.put(KEY, b"code")
    os.replace(cache.path / f"{KEY}.vgc", cache.path / f"{OTHER}.vgc")
    assert cache.get(OTHER) is None


def test_what_was_used_longest_ago_goes_first(tmp_path):
    cache = Cache(tmp_path, most=5000)
    names = [f"{i:064x}" for i in range(5)]
    for i, name in enumerate(names[:4]):
        cache.put(name, bytes(1000))
        os.utime(tmp_path / f"{name}.vgc", (i, i))
    assert cache.get(names[0]) is not None  # used just now
    cache.put(names[4], bytes(1000))
    assert [cache.get(name) is not None for name in names] == [True, False, True, True, True]


def test_what_is_larger_than_the_cache_is_not_kept(tmp_path):
    cache = Cache(tmp_path, most=5000)
    cache.put(KEY, b"small")
    cache.put(OTHER, bytes(6000))
    assert (cache.get(KEY), cache.get(OTHER)) == (b"small", None)


def test_what_a_killed_process_left_is_removed_after_an_hour(cache):
    cache.put(KEY, b"code")
    old, new = cache.path / ".old.tmp", cache.path / ".new.tmp"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (1, 1))
    cache.put(OTHER, b"code")
    assert entries(cache) == [".new.tmp", f"{KEY}.vgc", f"{OTHER}.vgc"]


def test_other_files_are_left_alone(tmp_path):
    (tmp_path / "letter.txt").write_text("Dear ...")
    cache = Cache(tmp_path, most=3000)
    for i in range(9):
        cache.put(f"{i:064x}", bytes(1000))
    assert (tmp_path / "letter.txt").exists()
    assert len(entries(cache)) == 3


# ------------------------------------------------------------------------------------------------ trust
@posix
@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777])
def test_a_folder_that_others_can_write_to_is_not_used(cache, mode):
    cache.put(KEY, b"code")
    cache.path.chmod(mode)
    assert cache.get(KEY) is None
    cache.put(OTHER, b"code")
    assert entries(cache) == [f"{KEY}.vgc"]
    cache.path.chmod(0o700)
    assert cache.get(KEY) == b"code"


@posix
def test_an_entry_that_others_can_write_to_is_not_used(cache):
    cache.put(KEY, b"code")
    (cache.path / f"{KEY}.vgc").chmod(0o666)
    assert cache.get(KEY) is None


@posix
def test_another_users_folder_and_entries_are_not_used(cache, monkeypatch):
    cache.put(KEY, b"code")
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert cache.get(KEY) is None


@posix
def test_links_are_not_followed(cache, tmp_path):
    cache.put(KEY, b"code")
    elsewhere = tmp_path / "elsewhere"
    os.replace(cache.path / f"{KEY}.vgc", elsewhere)
    (cache.path / f"{KEY}.vgc").symlink_to(elsewhere)
    assert cache.get(KEY) is None
    (tmp_path / "link").symlink_to(cache.path)
    cache.put(OTHER, b"code")
    assert Cache(tmp_path / "link").get(OTHER) is None


@posix
def test_only_the_user_can_read_and_write_what_is_put(cache):
    cache.put(KEY, b"code")
    assert cache.path.stat().st_mode & 0o777 == 0o700
    assert (cache.path / f"{KEY}.vgc").stat().st_mode & 0o777 == 0o600


@posix
def test_a_pipe_in_the_place_of_an_entry_does_not_block(cache):
    cache.put(OTHER, b"code")
    os.mkfifo(cache.path / f"{KEY}.vgc")
    assert cache.get(KEY) is None


# ------------------------------------------------------------------------------------- never a reason to fail
def test_a_folder_that_cannot_be_made_is_no_cache(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "codes", Path("/proc/nothing/codes"), tmp_path / "a\0b"):
        cache = Cache(path)
        cache.put(KEY, b"code")
        assert cache.get(KEY) is None


def test_a_full_disk_is_no_cache(cache, monkeypatch):
    def full(*paths):
        raise OSError(28, "No space left on device")

    cache.put(OTHER, b"code")
    monkeypatch.setattr(os, "replace", full)
    cache.put(KEY, b"code")
    assert cache.get(KEY) is None
    assert entries(cache) == [f"{OTHER}.vgc"]


def test_a_folder_in_the_place_of_an_entry_is_a_miss(cache):
    (cache.path / f"{KEY}.vgc").mkdir(parents=True, mode=0o700)
    cache.path.chmod(0o700)
    assert cache.get(KEY) is None
    cache.put(KEY, b"code")
    assert cache.get(KEY) is None


# ------------------------------------------------------------------------------------------- the folder's place
def test_the_folder_is_where_the_user_says(monkeypatch, tmp_path):
    monkeypatch.setenv("VALUEGRAD_CACHE", str(tmp_path))
    assert folder() == tmp_path
    monkeypatch.setenv("VALUEGRAD_CACHE", "")
    assert folder() is None
    Cache().put(KEY, b"code")
    assert Cache().get(KEY) is None


def test_off_is_no_folder(monkeypatch):
    monkeypatch.setenv("VALUEGRAD_CACHE", "off")
    assert folder() is None


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="those have other folders")
def test_the_folder_is_where_caches_are(monkeypatch, tmp_path):
    monkeypatch.delenv("VALUEGRAD_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert folder() == tmp_path / "valuegrad"
    for ignored in ("", "relative"):
        monkeypatch.setenv("XDG_CACHE_HOME", ignored)
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        assert folder() == tmp_path / "home" / ".cache" / "valuegrad"


# ------------------------------------------------------------------------------------------------- keys
def graph(number=1.0, op="add", guard=True, inputs=1):
    nodes = Nodes(inputs)
    a = nodes.add(op, [0, nodes.const(number)])
    return nodes.graph([a], [Guard(a, guard, "f.py:1, in f")])


def test_a_key_is_the_same_for_the_same_code_alone(monkeypatch):
    keys = [
        key(graph(), {"dtype": "float64"}, "build"),
        key(graph(2.0), {"dtype": "float64"}, "build"),
        key(graph(-0.0), {"dtype": "float64"}, "build"),
        key(graph(0.0), {"dtype": "float64"}, "build"),
        key(graph(op="mul"), {"dtype": "float64"}, "build"),
        key(graph(guard=False), {"dtype": "float64"}, "build"),
        key(graph(inputs=2), {"dtype": "float64"}, "build"),
        key(graph(), {"dtype": "float32"}, "build"),
        key(graph(), {"dtype": "float64", "uniform": b"\0"}, "build"),
        key(graph(), {"dtype": "float64"}, "other build"),
    ]
    monkeypatch.setattr(module, "machine", lambda: "another processor")
    keys.append(key(graph(), {"dtype": "float64"}, "build"))
    monkeypatch.undo()
    assert len(set(keys)) == len(keys)
    assert key(graph(), {"b": 1, "a": 2}, "build") == key(graph(), {"a": 2, "b": 1}, "build")
    moved = graph()
    moved.guards[0].__dict__["line"] = "g.py:9, in g"
    assert key(moved, {"dtype": "float64"}, "build") == keys[0]


def test_a_key_is_the_same_in_another_process():
    program = (
        "from valuegrad.cache import key; from valuegrad.graph import Nodes; nodes = Nodes(1)\n"
        "print(key(nodes.graph([nodes.add('exp', [0])]), {'dtype': 'float64', 'x': (1, 2.5)}, 'build'))"
    )
    runs = [
        subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
        for _ in range(2)
    ]
    assert runs[0] == runs[1]


# ------------------------------------------------------------------------------------------------ processes
WORKER = """
import random, sys
from pathlib import Path
from valuegrad.cache import Cache
cache = Cache(Path(sys.argv[1]), most=200_000)
rng = random.Random(int(sys.argv[2]))
hits = 0
for _ in range(150):
    i = rng.randrange(12)
    name, code = f"{i:064x}", bytes([i]) * (20_000 + i)
    found = cache.get(name)
    assert found is None or found == code, "a wrong entry"
    hits += found is not None
    if found is None or rng.random() < 0.1:
        cache.put(name, code)
    if rng.random() < 0.03:  # somebody damages it
        try:
            with open(cache.path / f"{name}.vgc", "r+b") as file:
                file.write(b"junk")
        except OSError:
            pass
print(hits)
"""


def test_processes_at_once_never_get_a_wrong_entry(tmp_path):
    path = tmp_path / "codes"
    workers = [
        subprocess.Popen([sys.executable, "-c", WORKER, str(path), str(i)], stdout=subprocess.PIPE, text=True)
        for i in range(4)
    ]
    hits = [int(worker.communicate(timeout=120)[0]) for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * 4
    assert min(hits) > 10
    assert not [name for name in os.listdir(path) if name.endswith(".tmp")]
    assert sum(file.stat().st_size for file in path.iterdir()) <= 200_000


def test_arrays_of_a_graph_may_be_read_only():
    g = graph()
    for name in ("ops", "numbers"):
        getattr(g, name).flags.writeable = False
    assert key(g, {}, "") == key(graph(), {}, "")
    assert np.all(g.ops >= 0)
