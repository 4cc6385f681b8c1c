"""How far a walk has come, as text that outlives the process; one that says something else is none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from hashlib import sha256
from typing import Any

import orjson

from syncd.sources.contentsquare.paging import Position

ASKED = ("client_id", "project_id", "token_url", "jobs", "since")  # a walk for something else can't be gone on with


def digest_of(made_of: Mapping[str, Any]) -> str:
    """Another text for a source that looks for other runs."""
    jobs = sorted(made_of["jobs"]) if made_of["jobs"] is not None else None
    whole = [str(jobs if name == "jobs" else made_of[name]) for name in ASKED]
    return sha256("\0".join(whole).encode()).hexdigest()[:16]


def spelled(position: Position, asked: str) -> str:
    """A position as text."""
    return orjson.dumps(asdict(position) | {"asked": asked}).decode()


def position_of(text: str, asked: str) -> Position | None:
    """The position that was spelled by who asked for the same."""
    try:
        plain = orjson.loads(text)
        if plain.pop("asked") != asked:
            return None
        first, last = tuple(plain.pop("first")), tuple(plain.pop("last"))
        return Position(**plain, first=first, last=last)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
