"""The playground as a person meets it, in a real browser."""

from __future__ import annotations

import re
import signal
import urllib.error
import urllib.request

import pytest
from browser import Server, needs_browser
from engines import ONCE

pytestmark = [ONCE, needs_browser]  # pages show the same on either engine

PAGES = ("/", "/train", "/generate", "/inside")
LEARNING = 60.0  # seconds for a small model to learn, on a busy machine
TINY = "n_embd=4&n_head=2&block_size=4"
ENDLESS = f"/train?{TINY}&steps=100000&batch=256"


@pytest.fixture
def person(shared_person):
    """One browser for all tests, with an empty page."""
    driver = shared_person.driver
    driver.switch_to.new_window("tab")
    new = driver.current_window_handle
    for window in driver.window_handles:
        if window != new:
            driver.switch_to.window(window)
            driver.close()
    driver.switch_to.window(new)
    shared_person.requests()
    shared_person.complaints()
    return shared_person


def number_of(person, name: str) -> float:
    """What the page "Train" says of a run."""
    found = re.search(rf"{re.escape(name)}\n([\d.,]+)", person.text())
    return float(found[1].replace(",", "")) if found else float("nan")


# ------------------------------------------------------------------------------------------------ all pages
def test_every_page_opens_and_asks_nobody_else(server, person):
    for path in PAGES:
        person.open(server.address + path)
        assert len(person.all("h1")) == len(person.all("a[aria-current=page]")) == 1
    host = server.address.removeprefix("http://")
    asked = person.requests()
    assert len(asked) > 20
    assert [url for url in asked if host not in url and not url.startswith(("data:", "about:", "blob:"))] == []
    assert person.complaints() == []
    assert person.driver.get_cookies() == []


def test_the_theme_is_kept_in_the_address_and_by_the_links(server, person):
    person.open(server.address + "/train")
    person.press("dark")
    person.until(lambda: person.all("body.body--dark"), "the page is dark")
    person.until(lambda: person.address().endswith("/train?theme=dark"), "the address has the theme")
    person.one("nav a[href='/generate?theme=dark']").click()
    person.until(lambda: person.all("h1") and "/generate?theme=dark" in person.address(), "the other page is there")
    person.until(lambda: person.all("body.body--dark"), "the other page is dark")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("path", PAGES)
def test_every_text_has_the_contrast_that_aa_asks_for(server, person, path, theme):
    person.open(f"{server.address}{path}?theme={theme}")
    person.until(lambda: person.all(f"body.body--{theme}"), "the page has the theme")
    person.reads_well()


@pytest.mark.parametrize("path", PAGES)
def test_every_control_has_a_name_for_screen_readers(server, person, path):
    person.open(server.address + path)
    assert len(person.controls()) > 5
    assert person.nameless() == []


def test_the_keyboard_skips_to_the_content(server, person):
    from selenium.webdriver.common.keys import Keys

    person.open(server.address + "/train")
    person.one("body").send_keys(Keys.TAB)
    assert person.driver.switch_to.active_element.text == "Skip to the content"
    person.driver.switch_to.active_element.send_keys(Keys.ENTER)
    person.until(lambda: "vg-content" in person.focused(), "the content has the focus")


def test_no_page_is_wider_than_a_phone(server, person):
    with person.on_a_phone(375, 800):
        for path in PAGES:
            person.open(server.address + path)
            assert person.width() == (375, 375)


def test_a_wrong_address_is_told_and_the_page_works(server, person):
    person.open(server.address + "/train?steps=many&n_head=3&data=../../etc/passwd&batch=2&run=nobody")
    person.sees("the address has steps=many; expected a whole number, so it is 1000")
    person.sees("the address has n_head=3, which is left out")
    person.sees("data is '../../etc/passwd'")
    person.sees("The run that this address means is not here any more")
    assert person.one('[aria-label="Batch"]').get_attribute("value") == "2"


def test_a_page_under_another_name_than_this_computers_is_refused(server):
    """Else a stranger's page could be given our address and read ours (DNS rebinding)."""
    request = urllib.request.Request(server.address + "/train", headers={"Host": "evil.example"})
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=30)
    assert caught.value.code == 400
    caught.value.close()


# ----------------------------------------------------------------------------------------------- training
def test_a_small_model_is_trained_and_the_loss_falls(server, person):
    person.open(f"{server.address}/train?{TINY}&steps=300")
    person.press("Train")
    person.until(lambda: number_of(person, "Step") >= 15, "it takes steps", LEARNING)
    person.sees("Done: all steps are taken.", LEARNING)
    assert number_of(person, "Step") == 300
    chart = person.one(".vg-chart").get_attribute("aria-label")
    first, last = re.findall(r"(\d\.\d+) (?:at step)", chart)
    assert float(last) < float(first) - 0.2
    assert len(person.all(".vg-writings tbody tr")) == 8
    assert person.all(".vg-chart canvas")
    assert person.complaints() == []


def test_a_run_pauses_goes_on_and_stops(server, person):
    person.open(server.address + ENDLESS)
    person.press("Train")
    person.until(lambda: number_of(person, "Step") > 0, "it takes steps", LEARNING)
    person.press("Pause")
    person.sees("Paused; it goes on where it was.")
    person.until(lambda: number_of(person, "Documents/s") > 0, "the speed is shown")
    paused = number_of(person, "Step")
    person.press("Resume")
    person.until(lambda: number_of(person, "Step") > paused, "it goes on", LEARNING)
    person.press("Stop")
    person.sees("Stopped; what it has learned is kept.")


def test_two_runs_are_compared(server, person):
    person.open(f"{server.address}/train?{TINY}&steps=20")
    person.press("Train")
    person.sees("Done: all steps", LEARNING)
    person.fill("Learning rate", "0.1")
    person.press("Train")
    person.sees("Run 2 and Run 1 differ in: Learning rate 0.1 and 0.01.", LEARNING)
    person.until(lambda: "Run 2: the" in chart_of(person) and "Run 1: the" in chart_of(person), "both", LEARNING)
    person.sees("Done: all steps", LEARNING)
    person.press("Compare with Run 1")
    person.until(lambda: "Run 1" not in chart_of(person), "only the second is shown")


def chart_of(person) -> str:
    return person.one(".vg-chart").get_attribute("aria-label")


def test_impossible_sizes_are_told_in_the_words_of_the_page(server, person):
    person.open(server.address + "/train")
    person.fill("Heads", "3")
    person.sees("Heads is 3 and Embedding 16; each head gets an equal slice")
    person.press("Train")
    person.fill("Heads", "4")
    person.until(lambda: "equal slice" not in person.text(), "the message is gone")
    assert "Run 1" not in person.text()


def test_a_bad_upload_is_told_and_a_good_one_is_learned_from(server, person):
    bad, good = person.folder / "bad.txt", person.folder / "friends.txt"
    bad.write_bytes("mö\nwe\n".encode("latin-1"))
    good.write_text("anna\nbob\n" * 20, encoding="utf-8")
    person.open(f"{server.address}/train?{TINY}&steps=5")
    person.one(".vg-expansion .q-item").click()
    person.choose("Upload a text file", bad)
    person.sees("data set 'bad.txt' is not UTF-8: byte 1 (line 1)")
    card = person.one(".vg-expansion .nicegui-expansion-content")
    person.until(lambda: tall(card) <= tall(card.find_element("xpath", "..")), "the message has room")
    person.choose("Upload a text file", good)
    person.sees("40 documents are ready to be learned from.")
    person.press("Train")
    person.sees("Done: all steps", LEARNING)
    assert "data=text-" in person.address()


def tall(element) -> float:
    return element.rect["height"]


def test_a_pasted_text_that_is_too_long_is_told(server, person):
    person.open(server.address + "/train")
    person.one(".vg-expansion .q-item").click()
    area = person.one("textarea")
    script = "arguments[0].value = 'a'.repeat(200000); arguments[0].dispatchEvent(new Event('input'))"
    person.driver.execute_script(script, area)
    person.until(lambda: person.pressed_until("Use this text", "The field is full at 200,000 characters"), "it is told")


def test_a_checkpoint_is_saved_and_loaded(server, person):
    person.open(f"{server.address}/train?{TINY}&steps=10&seed=7")
    person.press("Train")
    person.sees("Done: all steps", LEARNING)
    person.press("Save checkpoint")
    saved = person.folder / "valuegrad-10-steps.zip"
    person.until(lambda: saved.exists() and saved.stat().st_size, "the file is there")
    person.open(server.address + "/train")
    broken = person.folder / "broken.zip"
    broken.write_bytes(saved.read_bytes()[:-50])
    person.choose("Load checkpoint", broken)
    person.sees("'broken.zip' is no zip file, or a damaged one")
    person.choose("Load checkpoint", saved)
    person.sees("valuegrad-10-steps.zip: loaded, after step 10.")
    assert person.one('[aria-label="Seed"]').get_attribute("value") == "7"


def test_two_pages_at_once_do_not_disturb_each_other(server, person):
    driver = person.driver
    person.open(f"{server.address}/train?{TINY}&steps=40&seed=1")
    first = driver.current_window_handle
    driver.switch_to.new_window("tab")
    person.open(f"{server.address}/train?{TINY}&steps=30&data=cities")
    second = driver.current_window_handle
    for window in (first, second):
        driver.switch_to.window(window)
        person.press("Train")
    seen = {}
    for window, steps in ((first, 40), (second, 30)):
        driver.switch_to.window(window)
        person.sees("Done: all steps", LEARNING)
        assert number_of(person, "Step") == steps
        assert "Run 2" not in person.text()
        seen[window] = person.address()
    assert "seed=1" in seen[first]
    assert "data=cities" not in seen[first]
    assert "data=cities" in seen[second]


def test_a_tab_that_is_closed_in_mid_training_pauses_its_run(server, person):
    driver = person.driver
    person.open(server.address + ENDLESS)
    person.press("Train")
    person.until(lambda: number_of(person, "Step") > 0, "it takes steps", LEARNING)
    address, closed = person.address(), driver.current_window_handle
    driver.switch_to.new_window("tab")
    left = driver.current_window_handle
    driver.switch_to.window(closed)
    driver.close()
    driver.switch_to.window(left)
    person.open(address)
    person.sees("Paused, as its page was closed.")
    assert number_of(person, "Step") > 0
    person.press("Resume")
    person.sees("Training.")
    person.press("Stop")


def test_ctrl_c_ends_the_server_in_mid_training(person):
    other = Server()
    try:
        person.open(other.address + ENDLESS)
        person.press("Train")
        person.until(lambda: number_of(person, "Step") > 0, "it takes steps", LEARNING)
    finally:
        code = other.stop()
    assert code in (0, 130, -signal.SIGINT)
    assert "Traceback" not in "".join(other.output), "".join(other.output)


# --------------------------------------------------------------------------------------------- generating
def test_a_model_writes_and_a_link_gives_the_same_again(server, person):
    person.open(f"{server.address}/generate?{TINY}&steps=50&count=5")
    person.press("Train this model")
    person.sees("5 texts.", LEARNING)
    texts = [text.text for text in person.all(".vg-texts li")]
    assert len(texts) == 5
    for token in (1, 2):
        person.press("Next token")
        person.until(lambda token=token: f"slow={token}" in person.address(), "a token was written")
    person.sees("It drew ")
    assert len(person.all(".vg-bars tr.vg-drawn")) == 1
    person.until(lambda: len(person.all(".vg-head")) == 2, "there is a map for each head")
    # What the first position looks at can only be itself.
    assert person.one(".vg-head tbody td").get_attribute("title") == "▸ looks at ▸: 100%"
    told, address = person.one(".vg-written").text, person.address()
    person.driver.switch_to.new_window("tab")
    person.open(address)
    person.until(lambda: [text.text for text in person.all(".vg-texts li")] == texts, "the texts are there again")
    person.until(lambda: person.one(".vg-written").text == told, "the tokens are there again")
    person.fill("Beginning", "B9")
    person.press("Write")
    person.sees("the text 'B9' has characters that the model has never seen")
    assert person.complaints() == []


def test_a_link_to_a_model_that_is_gone_can_train_it_again(server, person):
    person.open(f"{server.address}/generate?{TINY}&steps=5&run=0123456789abcdef&count=3")
    person.sees("The model that this address means is not here any more. Train one first, with 5 steps on names")
    person.press("Train this model")
    person.sees("3 texts.", LEARNING)


def test_who_comes_from_a_run_takes_its_settings_along(server, person):
    person.open(f"{server.address}/train?{TINY}&steps=20")
    person.press("Train")
    person.sees("Done: all steps are taken.", LEARNING)
    person.press("Let it write")
    person.sees("embedding 4, heads 2, layers 1, context 4.")
    person.until(lambda: f"{TINY}&steps=20" in person.address(), "the address could train it again")
