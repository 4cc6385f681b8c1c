"""`syncd probe`: what an account settles of what its vendor's pages leave open, as a report that can be shared."""

from __future__ import annotations

import sys
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from syncd import show
from syncd.assemble import build_source
from syncd.errors import ConfigError
from syncd.model import SettlesUnknowns
from syncd.redact import cover
from syncd.settings import Settings

CLOSING = """Nothing in it names you: no id, no name, no value, no link. Please share it as an issue of syncd: no
account was seen when syncd was written, and each line turns a guess into a fact."""


def report(settings: Settings, name: str, *, provoke: bool) -> dict[str, Any]:
    """What can be found out now. ConfigError: there is no such source, it can't be probed, or it refuses us."""
    section = settings.sources.get(name)
    if section is None:
        known = ", ".join(settings.sources) or "none is configured"
        raise ConfigError(f"there is no source {name}", hint=f"sources: {known}")
    source = build_source(name, section)
    if not isinstance(source, SettlesUnknowns):
        raise ConfigError(f"{name}: sources of kind {section.kind} can't be probed", hint="see syncd check instead")
    at = datetime.now(UTC).replace(microsecond=0)
    findings = [
        {key: cover(text, settings) or None for key, text in asdict(one).items()}
        for one in source.probe(provoke=provoke)
    ]
    return {"syncd": version("syncd"), "kind": section.kind, "at": at, "provoked": provoke, "findings": findings}


def as_text(found: dict[str, Any]) -> None:
    """The same for people."""
    sys.stdout.write(f"{found['kind']}, by syncd {found['syncd']} at {found['at']:%Y-%m-%d %H:%M} UTC\n")
    rows = [(one["unknown"], one["answer"] or "not settled", one["seen"] or "") for one in found["findings"]]
    show.as_table(("unknown", "here", "seen"), rows)
    sys.stdout.write(f"{CLOSING}\n")
