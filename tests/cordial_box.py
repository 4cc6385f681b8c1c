"""A Cordial in a box for a test, and the source that a configuration makes of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from syncd.assemble import build_source
from syncd.fetch import land
from syncd.model import ExportRequest, Run
from syncd.parse import parse
from syncd.sandbox.cordial import Sandbox
from syncd.settings import read
from syncd.sources.cordial.source import Cordial
from tests.home import toml

DAY = timedelta(days=1)


def today() -> datetime:
    """Its first instant. Asked anew by each test: the tests may run past midnight."""
    return datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def yesterday() -> datetime:
    return today() - DAY


@contextmanager
def running(**chosen: Any) -> Iterator[Sandbox]:
    """Cordial in a box, found without mistakes of its own."""
    with Sandbox(**({"rows": 40, "job_takes": 0.02} | chosen)) as box:
        yield box
    assert box.bugs == [], box.bugs[0]


def export(**more: Any) -> dict[str, Any]:
    """An export of yesterday's events, at once."""
    return {"start": f"{yesterday():%Y-%m-%d}", "delay": "0s", "overlap": "0s"} | more


def section(box: Sandbox, *, zone: dict[str, Any] | None = None, **exports: dict[str, Any]) -> dict[str, Any]:
    """The whole `[sources.mail]`, with the box's own SFTP server as its zone, or another."""
    return {"job_poll": "20ms"} | box.settings() | (zone or {}) | {"exports": exports or {"activities": export()}}


def mounted(box: Sandbox, **exports: dict[str, Any]) -> dict[str, Any]:
    """The same, but syncd reads the zone as a mount: quicker, where the zone is not what is tested."""
    assert box.zone
    whole = section(box, **exports)
    server, _, path = whole["zone"].removeprefix("sftp://exports@").partition("/")
    host, _, port = server.partition(":")
    deliver = {"type": "sftp", "server": host, "port": int(port), "username": "exports", "path": f"/{path}"}
    account = {key: value for key, value in whole.items() if not key.startswith("zone")}
    return account | {"zone": f"file://{box.zone.root}/{path}", "deliver": deliver | {"password": box.zone.password}}


def configured(folder: Path, section: dict[str, Any]) -> Cordial:
    """The source that a configuration file describes."""
    path = folder / "syncd.toml"
    path.write_text("\n".join(toml({"data_dir": str(folder / "data"), "sources.mail": section})))
    source = build_source("mail", read(path, environ={}).sources["mail"])
    assert isinstance(source, Cordial)
    return source


def requests(source: Cordial, **changed: Any) -> list[ExportRequest]:
    return list(source.due(changed.get("now", datetime.now(UTC))))


def polled(source: Cordial, box: Sandbox, request: ExportRequest, ticket: str) -> Run:
    """The run that it comes to; StartOver, HandOver and the like pass through."""
    for _ in range(200):
        if run := source.poll(request, ticket):
            return run
        box.api.jobs.pause(source.job_poll.total_seconds())
    raise AssertionError("it was never finished")


def delivered(source: Cordial, box: Sandbox, request: ExportRequest | None = None) -> Run:
    """The run that the request, or the first that is due, comes to."""
    request = request or requests(source)[0]
    return polled(source, box, request, source.submit(request))


def contents(source: Cordial, run: Run, folder: Path) -> list[bytes]:
    """What its parts hold."""
    parts = source.parts(run)
    return [Path(land(source.open, part, folder / str(at)).path).read_bytes() for at, part in enumerate(parts)]


def parsed(source: Cordial, run: Run, folder: Path) -> list[dict[str, Any]]:
    """The rows of its parts, as the tables would have them; nothing may be rejected."""
    rows: list[dict[str, Any]] = []
    for content in contents(source, run, folder):
        for batch in parse([content], source.scope(run.scope), run.format, fields=run.fields, threads=1):
            assert not batch.rejected
            rows += batch.rows.to_pylist()
    return rows
