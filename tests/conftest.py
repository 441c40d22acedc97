"""What all tests share: how hypothesis draws, that they neither use nor fill the user's cache, and the playground with
a person who looks at it."""

import atexit
import os
import shutil
import tempfile

import pytest
from browser import Server, browser
from hypothesis import settings

# Derandomised: a test run says the same about the same code.  No deadline: the machine may be busy.
settings.register_profile("valuegrad", deadline=None, derandomize=True, database=None)
settings.load_profile("valuegrad")

os.environ["VALUEGRAD_CACHE"] = ""  # for the processes that tests start, too

KEPT = "VALUEGRAD_TEST_CACHE"
"""The folder of ``kept_code``: one for all runs of ``make test``, which names it; else one for this run's workers."""
if KEPT not in os.environ:
    os.environ[KEPT] = tempfile.mkdtemp(prefix="valuegrad-tests-")
    atexit.register(shutil.rmtree, os.environ[KEPT], ignore_errors=True)


@pytest.fixture(scope="module")
def kept_code():
    """A disk cache that tests share.

    For modules whose tests compile the same long programs again and again (a small GPT's step) in order to look at
    something else.  Not where the compiler is the subject or is patched: code of an earlier test would hide that.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VALUEGRAD_CACHE", os.environ[KEPT])
        yield


@pytest.fixture(scope="module")
def server(kept_code):
    """A playground that runs; it ends cleanly when the module's tests are done."""
    started = Server()
    yield started
    assert started.stop() in (0, 130)
    assert "Traceback" not in "".join(started.output), "".join(started.output)


@pytest.fixture(scope="module")
def shared_person():
    """A browser for all tests of a module."""
    with browser() as person:
        yield person


@pytest.fixture
def all_are_rolled(monkeypatch):
    """Programs become loops whatever their size."""
    monkeypatch.setenv("VALUEGRAD_ROLL", "on")


@pytest.fixture
def kernels(monkeypatch):
    """The kernels of what is rolled, as they come."""
    from valuegrad.lower import segments  # most tests need no rolling

    seen = []
    original = segments.Segments.__init__

    def noted(self, *args):
        original(self, *args)
        seen.extend(kernel for kernels, _ in self.kernels for kernel in kernels)

    monkeypatch.setattr(segments.Segments, "__init__", noted)
    return seen
