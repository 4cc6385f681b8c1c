"""Convert in a box for a test, and a source that reads it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from syncd.model import Run
from syncd.retry import Patience
from syncd.sandbox.convert import Sandbox
from syncd.settings.convert import ConvertSettings
from syncd.sources.convert.scopes import SCOPES
from syncd.sources.convert.source import Convert

SOON = Patience(timedelta(seconds=20), first_pause_s=0.01)


@dataclass
class Clock:
    """Stands still until it is told to go on; pickles."""

    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    def __call__(self) -> datetime:
        return self.now

    def go_on(self, **by: float) -> None:
        self.now += timedelta(**by)


@contextmanager
def running(*, killed: bool = False, **chosen: Any) -> Iterator[Sandbox]:
    """The vendor with these knobs; it must have no bugs, and nobody may have tried to write.

    One request is in flight at a time, unless a process that waits for an answer is `killed`."""
    with Sandbox(**chosen) as sandbox:
        yield sandbox
    assert sandbox.bugs == []
    assert sandbox.log()["writes"] == []
    assert sandbox.log()["authorization_on_file_url"] == 0
    assert killed or sandbox.log()["max_in_flight"]["any"] <= 1, "more than one request in flight"


def only(*scopes: str, **intervals: str) -> dict[str, Any]:
    """The `scopes` of a configuration in which these are on and no others."""
    return {**dict.fromkeys(SCOPES, "off"), **dict.fromkeys(scopes, "6h"), **intervals}


def reader(sandbox: Sandbox, *scopes: str, **more: Any) -> Convert:
    """A source on these scopes (all that are on by default when none is named), made as `assemble` makes it."""
    chosen: Mapping[str, Any] = only(*scopes) if scopes else {}
    settings = ConvertSettings.model_validate(sandbox.settings(scopes=chosen))
    key, secret = settings.key
    made: dict[str, Any] = {
        "account_id": settings.account_id, "application_id": key, "secret": secret, "auth": settings.auth,
        "base_url": settings.base_url, "spacing": settings.spacing, "scopes": settings.intervals,
    }  # fmt: skip
    return Convert("ab", **made | more)


def runs(source: Convert, *, closed: Any = (), sweep: bool = True) -> dict[str, Run]:
    """The runs of a pass, by scope."""
    source.jobs()
    return {run.scope: run for run in source.runs(closed, sweep=sweep)}


def landed(source: Convert, run: Run) -> bytes:
    """All that a run would land, patiently."""
    found = b""
    for part in source.parts(run):

        def read(part: Any = part) -> bytes:
            with source.open(part) as body:
                return b"".join(body)

        found += SOON(read)
    return found


def rows(source: Convert, run: Run) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in landed(source, run).splitlines() if line]


def one_scope(sandbox: Sandbox, scope: str, **more: Any) -> list[dict[str, Any]]:
    """The rows of one scope, read once."""
    source = reader(sandbox, scope, **more)
    return rows(source, runs(source)[scope])
