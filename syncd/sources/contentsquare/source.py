"""Contentsquare's Data Export: the standing export jobs of one project (docs/vendors/contentsquare.md).

A run is an execution that ended in SUCCESS, a part one of its files. Periods stand only in the list of finished
runs, links only in the run itself, so both are read. Never more than `max_concurrent_requests` are in flight in this
process, API calls and files together.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime
from functools import cached_property
from itertools import chain
from typing import Any

import httpx
from pydantic import SecretStr

from syncd.fetch.http import Client, http_body
from syncd.model import Body, Failure, Finding, Job, Part, Run, Scope
from syncd.sources.contentsquare.answers import Export, FinishedRun
from syncd.sources.contentsquare.api import Api, Refused
from syncd.sources.contentsquare.dictionary import declared
from syncd.sources.contentsquare.login import Login
from syncd.sources.contentsquare.news import News, Walked, signs
from syncd.sources.contentsquare.position import digest_of, position_of, spelled
from syncd.sources.contentsquare.reading import format_of, parts_of, ref_of, run_of, scope_of

TOKEN_URL = "https://api.contentsquare.com/v1/oauth/token"  # noqa: S105  # an address
TIMEOUT = httpx.Timeout(30.0, connect=10.0, pool=None)  # a slot is waited for, never a connection
NEITHER: tuple[str, Callable[[str], None]] = ("", lambda position: None)  # a walk to go on with, who notes this one
SAME_PASS_S = 60.0  # a job list of this age serves the walk of the same pass


class Contentsquare:
    """One project's exports, as a Source. Pickles: the other side logs in anew and counts its own requests."""

    def __init__(
        self,
        name: str,
        client_id: str,
        client_secret: SecretStr | str,
        project_id: int | None = None,
        token_url: str = TOKEN_URL,
        jobs: Iterable[str | int] | None = None,
        since: date | None = None,
        max_concurrent_requests: int = 3,
        transport: httpx.BaseTransport | None = None,
        timeout: httpx.Timeout | float = TIMEOUT,
    ) -> None:
        """`jobs`: ids of those to mirror, None for all; `since`: leave out runs whose period ends before that day."""
        secret = client_secret if isinstance(client_secret, SecretStr) else SecretStr(client_secret)
        self.name = name
        self._made_of: dict[str, Any] = {
            "name": name,
            "client_id": client_id,
            "client_secret": secret,
            "project_id": project_id,
            "token_url": token_url,
            "jobs": jobs if jobs is None else frozenset(map(str, jobs)),
            "since": since,
            "max_concurrent_requests": max_concurrent_requests,
            "transport": transport,
            "timeout": timeout,
        }
        self._wanted: frozenset[str] | None = self._made_of["jobs"]
        self._since = datetime(since.year, since.month, since.day, tzinfo=UTC) if since else None
        self._slots = threading.BoundedSemaphore(max_concurrent_requests)
        self._opening = threading.Lock()
        self._news = News()
        self._listed: tuple[float, list[Export]] | None = None
        self._cut: tuple[str, Callable[[str], None]] = NEITHER

    def __reduce__(self) -> tuple[object, ...]:
        return remade, (self._made_of,)

    def __repr__(self) -> str:
        return f"Contentsquare({self.name!r})"

    @property
    def api(self) -> Api:
        """The typed client; connects on first use."""
        with self._opening:
            return self._api

    def scope(self, name: str) -> Scope:
        return declared(name)

    def jobs(self) -> list[Job]:
        jobs = self._wanted_jobs()
        self._listed = time.monotonic(), jobs
        return [
            Job(
                source=self.name,
                id=job.id,
                name=job.name,
                scope=scope_of(job.scope),
                format=format_of(job.format),
                frequency=job.frequency,
                filters=job.filters_json,
                fields=job.fields_json,
                state=job.state,
            )
            for job in jobs
        ]

    def runs(self, closed: Container[str], *, sweep: bool) -> Iterator[Run]:
        """As promised by Source; after a TryAgain the iterator may be asked again and goes on where it was."""
        jobs = self._jobs_of_this_pass()
        if not sweep and not self._news.needs_walk(closed) and not self._has_news(jobs, closed):
            return iter(())
        walk = Walked({job.id: signs(job) for job in jobs})
        known: Mapping[str, Export] = {job.id: job for job in jobs}

        def read(row: FinishedRun) -> Run:
            walk.saw(row)
            return run_of(self.name, row, known.get(row.job, Export(row.job)))

        def is_new(run: Run) -> bool:
            if run.id in walk.passed_on or run.id in closed or (self._since and run.end < self._since):
                return False
            walk.passed_on.add(run.id)
            return True

        def the_end() -> Iterator[Run]:
            paging = self.api.successful_runs_paging
            walk.pages = paging.pages
            self._news.walked(walk if paging.held_still else None)
            yield from ()

        (position, note), self._cut = self._cut, NEITHER
        asked = digest_of(self._made_of)
        rows = self.api.successful_runs(position_of(position, asked), lambda now: note(spelled(now, asked)))
        # map, filter and chain outlive an error of the walk below them, as a generator would not
        return chain(filter(is_new, map(read, filter(self._is_wanted, rows))), the_end())

    def go_on_at(self, position: str, note: Callable[[str], None]) -> None:
        """As promised by Resumes."""
        self._cut = position, note

    def parts(self, run: Run) -> list[Part]:
        job, run_id, files = ref_of(run)
        return parts_of(run, self.api.export_run(job, run_id), files, datetime.now(UTC))

    def failures(self, job: str) -> list[Failure]:
        """As promised by TellsFailures; a run without any date explains nothing and is left out."""
        dated = (
            (run, run.started_at or run.ended_at, run.ended_at or run.started_at) for run in self.api.failed_runs(job)
        )
        return [Failure(f"{job}-{run.id}", began, ended) for run, began, ended in dated if run.id and began and ended]

    @contextmanager
    def open(self, part: Part, start: int = 0, tag: str = "") -> Iterator[Body]:
        with self._slots, http_body(self._client, part.url, start, tag) as body:
            yield body

    def probe(self, *, provoke: bool) -> Iterator[Finding]:
        """As promised by SettlesUnknowns."""
        from syncd.sources.contentsquare.probe import Probe
        from syncd.sources.contentsquare.wire import Wire

        wire = Wire(self._client, self.api.login, self._slots)
        return Probe(wire, self._wanted).findings(provoke=provoke)

    def _is_wanted(self, run: FinishedRun) -> bool:
        return bool(run.job and run.id) and (self._wanted is None or run.job in self._wanted)

    def _wanted_jobs(self) -> list[Export]:
        return [job for job in self.api.exports() if self._wanted is None or job.id in self._wanted]

    def _jobs_of_this_pass(self) -> list[Export]:
        """The job list that `jobs` has just read, once; else a fresh one."""
        listed, self._listed = self._listed, None
        if listed and time.monotonic() - listed[0] < SAME_PASS_S:
            return listed[1]
        return self._wanted_jobs()

    def _has_news(self, jobs: list[Export], closed: Container[str]) -> bool:
        """One request for each job that the list hints at."""
        try:
            return any(self._news.judge(job, self.api.first_runs(job.id), closed) for job in self._news.hints(jobs))
        except Refused:
            return True  # a job has just gone, perhaps; the walk will tell

    @cached_property
    def _client(self) -> httpx.Client:
        made = self._made_of
        return Client(self.name, transport=made["transport"], timeout=made["timeout"])

    @cached_property
    def _api(self) -> Api:
        made = self._made_of
        secret, project = made["client_secret"], made["project_id"]
        login = Login(self._client, self.name, made["token_url"], made["client_id"], secret, project)
        return Api(self._client, login, self._slots)


def remade(made_of: dict[str, Any]) -> Contentsquare:
    """For pickle."""
    return Contentsquare(**made_of)
