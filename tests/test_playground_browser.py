"""The playground as a person meets it, in a real browser."""

from __future__ import annotations

import pytest
from browser import Server, browser, needs_browser

pytestmark = needs_browser


@pytest.fixture(scope="module")
def server():
    started = Server()
    yield started
    assert started.stop() in (0, 130)


@pytest.fixture(scope="module")
def shared_person():
    with browser() as person:
        yield person


@pytest.fixture
def person(shared_person):
    """One browser for all tests, with an empty page."""
    shared_person.driver.get("about:blank")
    shared_person.requests(), shared_person.complaints()
    return shared_person


def test_every_page_opens_and_asks_nobody_else(server, person):
    for path in ("/", "/train", "/generate", "/inside"):
        person.open(server.address + path)
        assert len(person.all("h1")) == len(person.all("a[aria-current=page]")) == 1
    host = server.address.removeprefix("http://")
    others = [url for url in person.requests() if host not in url and not url.startswith(("data:", "about:", "blob:"))]
    assert others == []
    assert person.complaints() == []


def test_the_theme_is_kept_in_the_address_and_by_the_links(server, person):
    person.open(server.address + "/train")
    person.press("dark")
    person.until(lambda: person.all("body.body--dark"), "the page is dark")
    person.until(lambda: person.address().endswith("/train?theme=dark"), "the address has the theme")
    person.one("nav a[href='/generate?theme=dark']").click()
    person.until(lambda: person.all("h1") and "/generate?theme=dark" in person.address(), "the other page is there")
    person.until(lambda: person.all("body.body--dark"), "the other page is dark")
