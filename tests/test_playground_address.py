"""A page's settings in its address: read without trust, and written so that a link restores them."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

import pytest
from engines import ONCE
from hypothesis import given
from hypothesis import strategies as st

from valuegrad.errors import ValueArgumentError
from valuegrad.playground.address import LONGEST, address, restore

pytestmark = ONCE  # no engine computes here


@dataclass(frozen=True)
class Settings:
    steps: int = 100
    rate: float = 0.1
    text: str = ""
    wide: bool = False

    def __post_init__(self) -> None:
        if self.steps < 1 or self.rate * self.steps > 1000:
            raise ValueArgumentError(f"steps is {self.steps}, rate {self.rate}; expected less")


def query(path: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(path).query, keep_blank_values=True))


@given(
    st.builds(
        Settings,
        steps=st.integers(1, 10),
        rate=st.floats(-1e300, 90, allow_nan=False),
        text=st.text(max_size=50),
        wide=st.booleans(),
    )
)
def test_a_link_restores_every_setting(settings):
    assert restore(Settings, query(address("/x", settings))) == (settings, [])


def test_an_address_has_only_what_differs_from_the_defaults():
    assert address("/x", Settings()) == "/x"
    assert address("/x", Settings(wide=True), theme="dark", none="") == "/x?wide=1&theme=dark"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("steps", "1e3"),
        ("steps", "9" * 30),
        ("steps", ""),
        ("rate", "nan"),
        ("rate", "inf"),
        ("rate", "1,5"),
        ("wide", "yes"),
        ("text", "x" * (LONGEST + 1)),
    ],
)
def test_what_cannot_be_read_stays_at_its_default_and_is_told(name, text):
    settings, complaints = restore(Settings, {name: text, "steps": "7"} | {name: text})
    assert getattr(settings, name) == getattr(Settings(), name)
    assert len(complaints) == 1
    assert name in complaints[0]
    assert len(complaints[0]) < 200


def test_an_impossible_setting_is_left_out_and_the_others_stay():
    settings, complaints = restore(Settings, {"steps": "0", "rate": "0.5"})
    assert settings == Settings(rate=0.5)
    assert complaints == ["the address has steps=0, which is left out: steps is 0, rate 0.1; expected less"]


def test_of_two_that_are_impossible_together_the_first_stays():
    settings, complaints = restore(Settings, {"steps": "5000", "rate": "1.0"})
    assert settings == Settings(steps=5000)
    assert len(complaints) == 1


def test_names_of_others_are_left_alone():
    assert restore(Settings, {"theme": "dark", "__class__": "x", "__post_init__": "y"}) == (Settings(), [])
