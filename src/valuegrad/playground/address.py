"""A page's settings in its address, so that a link restores what somebody sees.

Why: whoever teaches sends a link.  An address comes from anybody, so nothing in it is trusted: it is read into a
dataclass whose own checks decide, field by field; what cannot be used is told and left at its default.

Data structures: a page's settings are a frozen dataclass of ints, floats, bools and texts, all with defaults, whose
``__post_init__`` raises an error of ours for what is impossible.

Where to start reading: ``restore``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar, get_type_hints
from urllib.parse import urlencode

from valuegrad.errors import ValueArgumentError, ValuegradError

__all__ = ["LONGEST", "address", "restore"]

LONGEST = 4_000
"""Characters of one setting: browsers and proxies cut longer addresses."""

S = TypeVar("S")


def restore(kind: type[S], query: Mapping[str, str]) -> tuple[S, list[str]]:
    """Settings out of an address.

    Args:
        kind: the dataclass of the settings.
        query: names and texts of the address; names that are none of the settings' are left alone.

    Returns:
        The settings, and for each one that could not be used a message why.

    Example:
        >>> from dataclasses import dataclass
        >>> @dataclass(frozen=True)
        ... class Settings:
        ...     steps: int = 100
        >>> restore(Settings, {"steps": "20", "other": "x"})
        (Settings(steps=20), [])
        >>> restore(Settings, {"steps": "many"})
        (Settings(steps=100), ['the address has steps=many; expected a whole number, so it is 100'])
    """
    hints = get_type_hints(kind)
    given: dict[str, Any] = {}
    complaints: list[str] = []
    for field in fields(kind):  # type: ignore[arg-type]
        if field.name in query:
            try:
                given[field.name] = _read(query[field.name], hints[field.name])
            except ValueArgumentError as error:
                complaints.append(
                    f"the address has {field.name}={_short(query[field.name])}; {error}, so it is {field.default!r}"
                )
    try:
        return kind(**given), complaints
    except ValuegradError:
        pass
    # Together they are impossible: take one after another, as long as it is possible.
    taken: dict[str, Any] = {}
    for name, value in given.items():
        try:
            kind(**taken, **{name: value})
            taken[name] = value
        except ValuegradError as error:
            complaints.append(f"the address has {name}={_short(query[name])}, which is left out: {error}")
    return kind(**taken), complaints


def address(path: str, settings: Any = None, **more: str) -> str:
    """The address of a page with settings; those that have their default are left out.

    Example:
        >>> address("/train", theme="dark")
        '/train?theme=dark'
    """
    given: dict[str, str] = {}
    for field in fields(settings) if settings is not None else ():
        value = getattr(settings, field.name)
        if value != field.default:
            given[field.name] = _written(value)
    given |= {name: value for name, value in more.items() if value}
    return f"{path}?{urlencode(given)}" if given else path


def _read(text: str, kind: type) -> Any:
    """A setting's text as what it is."""
    if len(text) > LONGEST:
        raise ValueArgumentError(f"expected at most {LONGEST:,} characters, it has {len(text):,}")
    if kind is str:
        return text
    if kind is bool:
        if text not in ("0", "1"):
            raise ValueArgumentError("expected 0 or 1")
        return text == "1"
    try:
        if kind is int:
            if len(text) > 20:
                raise ValueError
            return int(text)
        number = float(text)
    except ValueError:
        raise ValueArgumentError(f"expected a {'whole ' if kind is int else ''}number") from None
    if not math.isfinite(number):
        raise ValueArgumentError("expected a finite number")
    return number


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return "1" if value else "0"
    return repr(value) if isinstance(value, float) else str(value)


def _short(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:37]}..."
