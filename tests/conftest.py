"""What all tests share: how hypothesis draws, that they neither use nor fill the user's cache, and the playground with
a person who looks at it."""

import os

import pytest
from browser import Server, browser
from hypothesis import settings

# Derandomised: a test run says the same about the same code.  No deadline: the machine may be busy.
settings.register_profile("valuegrad", deadline=None, derandomize=True, database=None)
settings.load_profile("valuegrad")

os.environ["VALUEGRAD_CACHE"] = ""  # for the processes that tests start, too


@pytest.fixture(scope="module")
def server():
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
