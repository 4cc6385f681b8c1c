"""What may be shown to strangers: settings without what is secret or names somebody, and text without these."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretStr

from syncd.errors import scrub
from syncd.settings import Settings

HIDDEN = "***"
LONG = 6  # characters; a shorter identifier would cover half of a text, and says little


def redacted(settings: Settings) -> dict[str, Any]:
    """The settings as they hold, by key. Of a source only its kind, numbers, durations and addresses are shown."""
    shown: dict[str, Any] = plain(settings)
    for section in shown["sources"].values():
        for key, value in section.items():
            is_open = key == "kind" or key.endswith("_url") or isinstance(value, int | float | bool) or value is None
            if (not is_open and key not in ("poll_interval",)) or key.endswith("_id"):
                section[key] = value and HIDDEN
    for section in shown["publish"]:
        section["root"] = section["root"].partition("://")[0] + "://***" if "://" in section["root"] else HIDDEN
        section["name"] = HIDDEN
    command = shown["tell"]["loaded_command"]
    shown["tell"]["loaded_command"] = [*map(Path, command[:1]), *(HIDDEN for _ in command[1:])]
    open_to_all: dict[str, Any] = plain(shown)
    return open_to_all


def plain(value: Any) -> Any:
    """A setting as JSON can hold it; a secret is hidden, a URL shows no query."""
    match value:
        case SecretStr():
            return HIDDEN
        case BaseModel():
            return {key: plain(getattr(value, key)) for key in type(value).model_fields}
        case Mapping():
            return {str(key): plain(one) for key, one in value.items()}
        case list() | tuple() | set() | frozenset():
            return [plain(one) for one in value]
        case timedelta():
            return f"{value.total_seconds():g}s"
        case str():
            return scrub(value)
        case int() | float() | None:
            return value
        case _:
            return str(value)


def cover(text: str, settings: Settings) -> str:
    """`text` without any secret of the settings, any identifier of an account, any query of a URL."""
    for secret in sorted(filter(None, set(told_to_us(settings))), key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return scrub(text)


def told_to_us(settings: Settings) -> Iterator[str]:
    """Every secret, and what the sections of sources say of an account."""
    yield from secrets(settings)
    for section in settings.sources.values():
        for key in type(section).model_fields:
            value = getattr(section, key)
            named = key.endswith(("_id", "_key", "_account")) and not isinstance(value, bool)
            if named and len(str(value)) >= LONG:
                yield str(value)


def secrets(value: Any) -> Iterator[str]:
    """The text of every secret, wherever it stands."""
    match value:
        case SecretStr():
            yield value.get_secret_value()
        case BaseModel():
            for key in type(value).model_fields:
                yield from secrets(getattr(value, key))
        case Mapping():
            for one in value.values():
                yield from secrets(one)
        case list() | tuple() | set() | frozenset():
            for one in value:
                yield from secrets(one)
