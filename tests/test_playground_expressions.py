"""The page "Expressions" as a person meets it, in a real browser."""

from __future__ import annotations

from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from browser import needs_browser
from engines import ONCE

pytestmark = [ONCE, needs_browser]  # pages show the same on either engine


@pytest.fixture
def person(shared_person):
    shared_person.driver.get("about:blank")
    shared_person.requests()
    shared_person.complaints()
    yield shared_person
    assert shared_person.complaints() == []


def opened(server, person, **settings) -> None:
    person.open(f"{server.address}/?{urlencode(settings)}")


def query(person) -> dict[str, str]:
    return {name: texts[0] for name, texts in parse_qs(urlsplit(person.address()).query).items()}


def remembers(person, **settings) -> None:
    """Wait until the address has just these settings."""
    person.until(lambda: query(person) == settings, f"the address has {settings}")


def boxes(person) -> list[str]:
    """What the boxes of the graph say, without blanks."""
    return ["".join(box.text.split()) for box in person.all(".vg-picture [data-node]")]


def write(person, text: str) -> None:
    person.fill("Expression", text)


def slider(person, name: str):
    return person.one(f'input[type=range][aria-label="Nudge {name}"]')


def test_the_graph_is_drawn_while_one_types(server, person) -> None:
    opened(server, person)
    person.until(lambda: len(boxes(person)) == 6, "the first expression is drawn")
    person.sees("= 4")
    write(person, "u * exp(v)")
    person.until(lambda: len(boxes(person)) == 4, "the new one is drawn")
    remembers(person, expression="u * exp(v)")
    assert [field.get_attribute("aria-label") for field in person.all(".vg-input label input")] == ["u", "v"]


def test_dragging_a_number_compares_prediction_and_change(server, person) -> None:
    from selenium.webdriver.common.keys import Keys

    opened(server, person, expression="a*a", inputs="a=2")
    handle = slider(person, "a")
    handle.send_keys(Keys.ARROW_RIGHT * 10)
    person.until(lambda: query(person).get("nudges") == "a=0.1", "the nudge is in the address")
    person.sees("off by 2.4 %")
    assert handle.get_property("value") == "0.1"  # where it was put
    handle.send_keys(Keys.ARROW_RIGHT)
    person.until(lambda: query(person).get("nudges") == "a=0.11", "it goes on from there")
    handle.send_keys(Keys.ARROW_LEFT)
    person.sees("off by 2.4 %")
    assert [bar.text for bar in person.all(".vg-change dd")] == ["+0.4", "+0.41"]
    assert person.all(".vg-sketch .vg-gap")
    person.press("Make the nudged numbers the inputs")
    remembers(person, expression="a*a", inputs="a=2.1", along="a")


def test_an_inputs_number_can_be_written_and_a_wrong_one_is_told(server, person) -> None:
    opened(server, person, expression="log(a)")
    person.fill("a", "1/4")
    person.sees("a.grad = 4")
    person.fill("a", "much")
    person.sees("'much' is no number")
    remembers(person, expression="log(a)", inputs="a=0.25")


def test_the_backward_pass_is_stepped_by_buttons_and_by_arrow_keys(server, person) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    opened(server, person)
    person.press("To the start of the backward pass")
    person.sees("every grad is 0")
    assert [text[-5:] for text in boxes(person)] == ["grad0"] * 6
    person.press("One step")
    person.press("One step")
    person.sees("2 of 6")
    assert person.one(".vg-now-line code").text == "v2.grad += y.local_grads[0] * y.grad"
    assert person.one(".vg-edge.vg-now").get_attribute("data-edge") == "4-5"
    ActionChains(person.driver).send_keys(Keys.ARROW_RIGHT).perform()
    person.sees("3 of 6")
    ActionChains(person.driver).send_keys(Keys.ARROW_LEFT).perform()
    person.sees("2 of 6")
    person.press("One step back")
    person.sees("1 of 6")
    remembers(person, step="1")
    assert [text for text in boxes(person) if not text.endswith("grad0")] == ["yreludata4grad1"]


def test_a_wrong_variant_shows_what_goes_wrong(server, person) -> None:
    opened(server, person)
    person.press("Shared twice")
    person.until(lambda: len(boxes(person)) == 3, "the example is drawn")
    person.one("select option[value=assign]").click()
    person.press("To the end of the backward pass")
    person.sees("a.grad is 1 instead of 4")
    assert "All steps are done, but the grads of the red boxes are wrong." in person.text()
    assert len(person.all(".vg-box.vg-fault")) == 2
    remembers(person, expression="b = a + a; c = b + b", inputs="a=2", wrong="assign")


def test_log_of_zero_leaves_a_red_trail_to_its_origin(server, person) -> None:
    opened(server, person)
    person.press("log of zero")
    person.sees("log(b=0.0) gave -inf from finite inputs")
    assert "log" in person.one(".vg-box.vg-origin").text
    assert len(person.all(".vg-edge.vg-trail")) == 2


def test_a_nan_in_the_gradient_alone_is_found(server, person) -> None:
    opened(server, person, expression="sqrt(x*x)", inputs="x=0")
    person.sees("not all of its gradients are finite")
    assert "√" in person.one(".vg-box.vg-origin").text


def test_a_long_expression_is_drawn_with_boxes_that_can_be_opened(server, person) -> None:
    opened(server, person, expression=" + ".join(["a*b"] * 60))
    person.sees("= -360")
    assert len(person.all(".vg-box")) == 4
    person.one(".vg-picture [data-group]").click()
    person.until(lambda: len(person.all(".vg-box")) > 20, "the box is opened")
    person.until(lambda: query(person).get("opened") == "g2", "the address has it")
    person.press("One step back")
    person.sees("238 of 239")


def test_picking_a_box_shows_its_nudge_table(server, person) -> None:
    from selenium.webdriver.common.keys import Keys

    opened(server, person, expression="a*b + c", inputs="a=3,b=5,c=1")
    person.one('.vg-picture [data-node="3"]').click()
    person.sees("v1 = a * b = 15")
    assert "3.001 * 5" in person.text()
    remembers(person, expression="a*b + c", inputs="a=3,b=5,c=1", node="3")
    person.one('.vg-picture [data-node="4"]').send_keys(Keys.ENTER)  # as a keyboard does
    person.sees("y = v1 + c = 16")
    person.until(
        lambda: person.driver.switch_to.active_element.get_attribute("data-node") == "4", "the box keeps the focus"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("log(a +", "character 8"),
        ("a" * 1200, "1,200 characters"),
        ("(" * 450 + "a", "nested deeper"),
        ("eval(a)", "no function 'eval'"),
        ("<img src=x onerror=alert(1)>", "expected"),
    ],
)
def test_what_is_wrong_is_told_below_the_field(server, person, text: str, said: str) -> None:
    opened(server, person)
    write(person, text)
    person.until(lambda: said in person.one("#vg-wrong").text, "the message")
    assert person.all(".vg-pale .vg-picture svg"), "the last graph stays, but pale"
    write(person, "9**9**9 + a")
    person.sees("= inf")
    assert person.one("#vg-wrong").text == ""


def test_ten_thousand_brackets_in_a_link_are_refused_in_words(server, person) -> None:
    opened(server, person, expression="(" * 10_000)
    person.sees("the address has expression=")
    person.sees("= 4")  # the page works all the same


def test_a_link_restores_everything(server, person) -> None:
    settings = {
        "expression": "b = a + a; c = b * b", "inputs": "a=3", "nudges": "a=-0.05", "reach": "0.1", "step": "2",
        "wrong": "order", "node": "1",
    }  # fmt: skip
    opened(server, person, **settings)
    person.sees("= 36")
    person.sees("2 of 5")
    person.sees("b = a + a = 6")
    assert slider(person, "a").get_property("value") == "-0.05"
    assert person.one("select").get_attribute("value") == "order"
    remembers(person, **settings)


def test_wrong_parts_of_a_link_are_told_and_left_out(server, person) -> None:
    opened(server, person, expression="a", inputs="a=2,b=<b>", reach="7", wrong="sideways", step="99999")
    person.sees("reach is 7")
    person.sees("wrong is 'sideways'")
    person.sees("is left out")
    person.sees("= 2")


def test_two_pages_do_not_disturb_each_other(server, person) -> None:
    opened(server, person, expression="a + 1")
    first = person.driver.current_window_handle
    person.driver.switch_to.new_window("tab")
    try:
        opened(server, person, expression="b * 2")
        person.press("One step back")
        person.driver.switch_to.window(first)
        person.press("One step back")
        person.press("One step back")
        person.sees("0 of 2")
        remembers(person, expression="a + 1", step="0")
        person.driver.switch_to.window(person.driver.window_handles[-1])
        remembers(person, expression="b * 2", step="1")
    finally:
        if len(person.driver.window_handles) > 1:
            person.driver.switch_to.window(person.driver.window_handles[-1])
            person.driver.close()
        person.driver.switch_to.window(first)


def test_on_a_phone_nothing_is_wider_than_the_screen(server, person) -> None:
    with person.on_a_phone(375, 740, dark=True):
        person.open(f"{server.address}/?expression=log(take(softmax([a,b,c]),0))&nudges=a%3D0.3")
        person.until(lambda: boxes(person), "the graph is drawn")
        person.until(lambda: person.all("body.body--dark"), "the page is dark")
        wide, window = person.width()
        assert wide <= window == 375
