"""Every kind of landing zone, as a real server: what the vendor delivers there comes home, whole and once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from syncd.assemble import build_source
from syncd.fetch import land
from syncd.model import Run
from syncd.sandbox.cordial import Sandbox
from syncd.settings import read
from syncd.sources.cordial.source import Cordial
from tests import zones
from tests.home import toml
from tests.zones import Place

TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
YESTERDAY = TODAY - timedelta(days=1)


def configured(tmp_path: Path, section: dict[str, Any], **export: Any) -> Cordial:
    """The source that a configuration file describes, with one export of yesterday's events."""
    export = {"start": f"{YESTERDAY:%Y-%m-%d}", "delay": "0s", "overlap": "0s"} | export
    section = {"job_poll": "50ms"} | section | {"exports": {"activities": export}}
    path = tmp_path / "syncd.toml"
    path.write_text("\n".join(toml({"data_dir": str(tmp_path / "data"), "sources.mail": section})))
    source = build_source("mail", read(path, environ={}).sources["mail"])
    assert isinstance(source, Cordial)
    return source


def delivered(source: Cordial, box: Sandbox, number: int = 0) -> Run:
    """The run that the so many-th request came to."""
    request = list(source.due(datetime.now(UTC)))[number]
    ticket = source.submit(request)
    box.api.jobs.settle()
    for _ in range(40):
        if run := source.poll(request, ticket):
            return run
        box.api.jobs.pause(source.job_poll.total_seconds())
    raise AssertionError("it was never finished")


def content(source: Cordial, run: Run, folder: Path) -> bytes:
    return b"".join(
        Path(land(source.open, part, folder / str(number)).path).read_bytes()
        for number, part in enumerate(source.parts(run))
    )


OPENERS: dict[str, Callable[[Path], Any]] = {
    "sftp": zones.openssh,
    "ftp": zones.ftp,
    "ftps": lambda folder: zones.ftp(folder, tls=True),
    "s3": lambda folder: zones.s3(),
    "gcs": zones.gcs,
}


@contextmanager
def zone_of(kind: str, folder: Path) -> Iterator[Place]:
    with OPENERS[kind](folder / "zone") as place:
        yield place


@pytest.mark.parametrize("kind", OPENERS)
def test_what_is_delivered_comes_home(tmp_path: Path, kind: str) -> None:
    with zone_of(kind, tmp_path) as place, Sandbox(rows=50, **place.box) as box:
        source = configured(tmp_path, box.settings() | place.settings, compress=False, records_per_file=20)
        assert [job.id for job in source.jobs()] == ["activities"]
        run = delivered(source, box)
        lines = content(source, run, tmp_path / "landed").splitlines()
        assert [part.name for part in source.parts(run)] == sorted(box.truth()[0]["files"])
        assert len(lines) == len(set(lines)) == box.truth()[0]["rows"] == 50
        assert box.bugs == []
