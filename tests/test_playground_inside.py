"""The page "Look inside" as a person meets it, in a real browser."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from browser import browser, needs_browser
from engines import ONCE

from valuegrad.gpt.compiled import built

pytestmark = [ONCE, needs_browser]  # pages show the same on either engine

SMALL = {"n_embd": 8, "n_head": 2, "block_size": 8, "steps": 40}
TRAINED = 60.0  # seconds that a small run may take on a busy machine


@pytest.fixture(scope="module")
def shared_person(server):
    with browser() as person:
        person.open(f"{server.address}/inside?{urlencode(SMALL)}")
        person.press("Train a small GPT now")
        person.sees("Ways to the loss", TRAINED)
        person.trained = person.address()
        yield person


@pytest.fixture
def person(shared_person):
    """A browser that looks into a small model."""
    shared_person.open(shared_person.trained)
    shared_person.sees("Ways to the loss")
    shared_person.complaints()
    yield shared_person
    assert shared_person.complaints() == []


def query(person) -> dict[str, str]:
    return {name: texts[0] for name, texts in parse_qs(urlsplit(person.address()).query).items()}


def here(person) -> str:
    """The number that is looked at."""
    return person.one(".vg-way [aria-current]").text


def click(person, css: str) -> None:
    """Click an element, be it drawn anew in this moment."""
    person.until(lambda: person.driver.execute_script("arguments[0].click(); return true", person.one(css)), css)


def follow(person, css: str) -> str:
    """Click a number, and wait until it is looked at; its name."""
    before = here(person)
    click(person, css)
    person.until(lambda: here(person) != before, "another number is looked at")
    return here(person)


def test_without_a_run_it_says_what_to_do(server) -> None:
    with browser() as person:
        person.open(f"{server.address}/inside")
        person.sees("There is no run yet. Train one here")
        assert "One number" not in person.text()


def test_from_the_loss_down_to_a_single_weight_and_up_again(person) -> None:
    assert re.fullmatch(r"loss at \d", here(person))
    click(person, ".vg-chance")
    person.until(lambda: here(person).startswith("logit of"), "the logit is looked at")
    for _ in range(30):
        children = person.all(".vg-number h3 ~ .vg-note ~ .vg-scroll .vg-link2")
        if "training nudges it" in person.text():
            break
        assert children
        follow(person, ".vg-number [data-number]")
    assert "training nudges it" in person.text()
    assert re.fullmatch(r"\w+(\.\w+)?\[.+\]\[\d\]", here(person))
    assert person.one(".vg-step").text == "loss"
    click(person, ".vg-step")
    person.until(lambda: here(person) == "loss", "one is back at the loss")
    person.sees("None: this is the result.")


def test_attention_weights_and_vectors_can_be_picked(person) -> None:
    click(person, ".vg-token:nth-of-type(2)")
    person.until(lambda: here(person) == "loss at 1", "the second position")
    assert follow(person, ".vg-attention .vg-cell") == "head 0: 1 attends to 0"
    person.sees("softmax([head 0: match of 1 with 0, head 0: match of 1 with 1])[0]")
    person.until(lambda: "Its 4 users" in person.text(), "the users")
    assert person.one(".vg-attention [data-looked]").text
    click(person, ".vg-vector")
    assert follow(person, ".vg-cells .vg-cell") == "embedded[0] at 1"


def test_another_moment_of_the_training_has_other_numbers(person) -> None:
    from selenium.webdriver.common.keys import Keys

    average = person.one(".vg-token").text
    person.one('[aria-label="Moment of the training"]').send_keys(Keys.HOME)
    person.sees("after step 0")
    person.until(lambda: query(person).get("after") == "0", "the address has it")
    person.until(lambda: person.one(".vg-token").text != average, "the chances are others")
    picture = person.one(".vg-loss svg")
    person.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", picture)
    picture.click()  # in its middle
    person.sees("after step 20")


def test_a_text_of_ones_own_is_read_and_a_wrong_one_is_told(person) -> None:
    person.fill("Text to read", "emma")
    person.press("Read it")
    person.sees("This is your text: 'emma'")
    person.until(lambda: query(person).get("text") == "emma", "the address has it")
    person.fill("Text to read", "Emma!")
    person.press("Read it")
    person.sees("characters that the model has never seen")
    person.sees("'emma'")  # what was there stays
    person.press("What this step learns from")
    person.sees("This is what step 41 learns from")


def test_the_keyboard_keeps_its_place(person) -> None:
    from selenium.webdriver.common.keys import Keys

    person.one(".vg-token:nth-of-type(3)").send_keys(Keys.ENTER)
    person.until(lambda: here(person) == "loss at 2", "the position is looked at")
    person.until(lambda: person.driver.switch_to.active_element.get_attribute("data-at") == "2", "the focus stays")
    person.one(".vg-number tbody [data-number]").send_keys(Keys.ENTER)
    person.until(lambda: here(person).startswith("logit"), "the child is looked at")
    person.until(lambda: person.driver.switch_to.active_element.tag_name == "h3", "the focus is at what came")


def test_two_pages_do_not_disturb_each_other(person) -> None:
    from selenium.webdriver.common.keys import Keys

    follow(person, ".vg-attention .vg-cell")
    first, name, address = person.driver.current_window_handle, here(person), person.address()
    person.driver.switch_to.new_window("tab")
    try:
        person.open(person.trained)
        person.sees("Ways to the loss")
        person.one('[aria-label="Moment of the training"]').send_keys(Keys.HOME)
        person.sees("after step 0")
    finally:
        person.driver.close()
        person.driver.switch_to.window(first)
    assert (here(person), person.address()) == (name, address)
    person.sees("after step 40")


def test_both_engines_are_compared(person) -> None:
    person.press("Compare them on this text")
    person.sees("the same loss" if built() else "nothing to compare with", TRAINED)
    person.sees("operations one by one")


def test_a_link_restores_where_one_was(person) -> None:
    follow(person, ".vg-attention .vg-cell")
    follow(person, ".vg-number tbody [data-number]")
    name, link, way = here(person), person.address(), [step.text for step in person.all(".vg-step")]
    person.open(link)
    person.until(lambda: person.all(".vg-step") and here(person) == name, "the same number is looked at")
    assert [step.text for step in person.all(".vg-step")] == way
    assert person.address() == link


def test_a_link_of_another_server_trains_the_same_run_again(person) -> None:
    follow(person, ".vg-chance")
    name, face = here(person), person.one(".vg-facts").text
    person.open(re.sub(r"run=\w+", "run=0123456789abcdef", person.address()))
    person.sees("one with the same settings was trained again", TRAINED)
    person.until(lambda: person.all(".vg-step") and here(person) == name, "the same number is looked at")
    assert person.one(".vg-facts").text == face


@pytest.mark.parametrize("settings", [{"trail": "12.x"}, {"trail": "999999"}, {"at": "99"}, {"after": "-7"}])
def test_what_is_wrong_in_a_link_does_not_stop_the_page(person, settings: dict[str, str]) -> None:
    person.open(person.trained.split("&trail")[0] + "&" + urlencode(settings))
    person.sees("Ways to the loss")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_what_is_inside_can_be_read_and_heard(person, theme: str) -> None:
    person.press(theme)
    person.until(lambda: person.all(f"body.body--{theme}"), "the page has the theme")
    person.reads_well()
    assert person.nameless() == []


def test_on_a_phone_nothing_is_wider_than_the_screen(person) -> None:
    with person.on_a_phone(375, 740, dark=True):
        person.open(person.trained)
        person.sees("Ways to the loss")
        wide, window = person.width()
        assert wide <= window == 375
