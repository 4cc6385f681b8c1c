"""A vendor that exports only when asked, kept in a folder, so that it outlives every process that asks it."""

from __future__ import annotations

import json  # noqa: TID251  # plain files for people
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime, timedelta
from pathlib import Path

from syncd.errors import BadRun, Barred, HandOver, StartOver, TryAgain, Unsent
from syncd.model import Body, Column, ExportRequest, Job, Part, Run, Scope
from syncd.types import Type


class File:
    """The bytes of a file, whole."""

    start = 0
    tag = ""

    def __init__(self, content: bytes) -> None:
        self.total: int | None = len(content)
        self._content = content

    def __iter__(self) -> Iterator[bytes]:
        yield self._content


class Asked:
    """A Source and MustAsk. `behave` says what becomes of an export: done, works, fails, refuses, bars, limits, is_away
    or by_mail."""

    name = "mail"
    in_flight = 1
    job_poll = timedelta(seconds=15)

    def __init__(self, folder: Path, behave: Callable[[ExportRequest], str], days: int = 3) -> None:
        self.folder, self.behave, self.days = folder, behave, days
        self.posts: list[str] = []
        folder.mkdir(parents=True, exist_ok=True)

    def scope(self, name: str) -> Scope:
        return Scope(name, (Column("_id", Type("string"), "_id", "declared"),), (("_id",),))

    def jobs(self) -> Sequence[Job]:
        return [Job(self.name, "activities", scope="activities", frequency="daily")]

    def runs(self, closed: Container[str], *, sweep: bool) -> Iterator[Run]:
        return iter(())

    def due(self, now: datetime) -> Iterable[ExportRequest]:
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
        for ago in range(self.days, 0, -1):
            start = midnight - timedelta(days=ago)
            id = f"activities-{start:%Y%m%d}"
            yield ExportRequest(self.name, id, "activities", "jsonl", start, start + timedelta(days=1), "activities")

    def submit(self, request: ExportRequest) -> str:
        match self.behave(request):
            case "bars":
                raise Barred("403: this key may not export")
            case "refuses":
                raise BadRun("406: both audience and contact", hint="leave one of them out")
            case "limits":
                raise Unsent("429", after=600.0)
            case "is_away":
                raise TryAgain("no answer", after=600.0)
        ticket = self.folder / f"{request.id}.{request.attempt}"
        if not ticket.exists():
            self.posts.append(ticket.name)
            ticket.write_text(json.dumps({"_id": request.id, "attempt": request.attempt}) + "\n")
        return ticket.name

    def poll(self, request: ExportRequest, ticket: str) -> Run | None:
        match self.behave(request):
            case "works":
                return None
            case "fails":
                raise StartOver("the job failed at the vendor")
            case "by_mail":
                raise HandOver("the link comes by mail", hint=f"syncd ingest mail {request.id} FILE")
        return request.delivered(request.end, ref=ticket)

    def parts(self, run: Run) -> Sequence[Part]:
        return [Part(run.ref, f"file:{run.ref}")]

    @contextmanager
    def _opened(self, part: Part) -> Iterator[Body]:
        yield File((self.folder / part.name).read_bytes())

    def open(self, part: Part, start: int = 0, tag: str = "") -> AbstractContextManager[Body]:
        return self._opened(part)
