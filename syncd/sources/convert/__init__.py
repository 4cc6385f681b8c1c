"""Convert Experiences, API v2: lists, reports, logs and exports of one account (docs/vendors/convert.md).

The vendor has no runs, so each scope that is due makes one: everything that a pass reads of it. Nothing is written at
the vendor: `paths` has the only requests there are. One request is in flight at a time, whatever asks for it.
"""

from __future__ import annotations

import threading
from collections.abc import Container, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

import httpx
import orjson
import structlog
from pydantic import SecretStr

from syncd.fetch.http import Client
from syncd.fetch.seen import Witness
from syncd.model import Body, ExportRequest, Finding, Job, Part, Run, Scope
from syncd.sources.convert import raw
from syncd.sources.convert.api import Api
from syncd.sources.convert.dictionary import declared
from syncd.sources.convert.ground import Asked, Ground, Remembered
from syncd.sources.convert.listing import Listing, Memory
from syncd.sources.convert.pace import Pace
from syncd.sources.convert.reading import Progress, Reading
from syncd.sources.convert.scopes import BUCKETED, INSTANT, SCOPES, Steps, instant_of
from syncd.sources.convert.signing import Bearer, Proof, Signing

BASE_URL = "https://api.convert.com/api/v2"
TIMEOUT = httpx.Timeout(60.0, connect=10.0)  # a long report takes its time
ON_TIME = 0.9  # of an interval: a pass comes a little early rather than late

log = structlog.get_logger()


class Convert:
    """One account, as a Source that must also be asked. Pickles: the other side remembers nothing of what was read."""

    in_flight = 4
    job_poll = timedelta(seconds=10)

    def __init__(
        self,
        name: str,
        account_id: int,
        application_id: str = "",
        secret: SecretStr | str = "",
        auth: str = "signing",
        projects: Iterable[int] | None = None,
        base_url: str = BASE_URL,
        poll_interval: timedelta = timedelta(hours=6),
        spacing: timedelta = timedelta(seconds=1),
        scopes: Mapping[str, timedelta | None] | None = None,
        transport: httpx.BaseTransport | None = None,
        timeout: httpx.Timeout | float = TIMEOUT,
        clock: Any = None,
    ) -> None:
        """`auth`: signing, or bearer, for which application and secret are key id and key secret. `scopes`: an interval
        for each that has one of its own, None for those that are off."""
        self._made_of = {
            **{
                "name": name,
                "account_id": account_id,
                "application_id": application_id,
                "secret": secret,
                "auth": auth,
            },
            **{"projects": None if projects is None else frozenset(projects), "base_url": base_url, "clock": clock},
            **{
                "poll_interval": poll_interval,
                "spacing": spacing,
                "scopes": dict(scopes or {}),
                "transport": transport,
            },
            "timeout": timeout,
        }
        self.name = name
        self._account = account_id
        self._clock = clock or utc_now
        chosen = {scope: poll_interval if on else None for scope, on in SCOPES.items()} | dict(scopes or {})
        self._every = {scope: every for scope, every in chosen.items() if every is not None}
        self._memory, self._remembered = Memory(), Remembered()
        self._offered: dict[str, Run] = {}
        self._listed: dict[str, str] = {}  # by scope: the last run whose parts were listed
        self._progress: dict[str, Progress] = {}
        self._raw = raw.RawData(lambda: self._api, account_id, self._clock)
        self._lock = threading.RLock()
        self._listing: Listing | None = None
        self._looking: Listing | None = None  # a look that broke off, to go on with

    def __reduce__(self) -> tuple[object, ...]:
        return remade, (self._made_of,)

    def __repr__(self) -> str:
        return f"Convert({self.name!r})"

    def scope(self, name: str) -> Scope:
        return declared(name)

    def jobs(self) -> list[Job]:
        """The scopes that are on; of raw data, a job for each experience.

        Looks at the account anew: what follows in this pass rests on that look.
        """
        with self._lock:
            if self._looking is None or self._looking.is_old():
                self._looking = self._new_listing()
            self._looking.open_projects()
            jobs = {scope: scope for scope in self._every if scope != raw.SCOPE}
            if raw.SCOPE in self._every:
                experiences = self._looking.experiences(self._clock())
                jobs |= {raw.job_of(each): raw.SCOPE for each in experiences if raw.is_asked_for(each)}
            self._listing, self._looking = self._looking, None
        return [
            Job(self.name, job, job, scope, "jsonl", frequency=frequency(self._every[scope]))
            for job, scope in jobs.items()
        ]

    def runs(self, closed: Container[str], *, sweep: bool) -> Iterator[Run]:
        """One run for each scope that is due: all of them at a sweep, else those whose interval has passed."""
        with self._lock:
            now = self._clock().replace(microsecond=0)
            found = [
                run for scope in self._every if scope != raw.SCOPE and (run := self._run(scope, closed, now, sweep))
            ]
            found = [run for run in found if self._steps.is_wanted(self._asked(run))]
            if calls := {run.scope: self.calls(run) for run in found}:
                total = sum(calls.values())
                seconds = round(total * self._api.pace.spacing_s)
                log.info("calls_planned", source=self.name, calls=total, seconds=seconds, by_scope=calls)
            self._offered |= {run.scope: run for run in found}
        return iter([run for run in found if run.id not in closed])

    def _run(self, scope: str, closed: Container[str], now: datetime, sweep: bool) -> Run | None:
        """The run to offer of a scope: the last one while its parts were not listed, else a new one when it is due."""
        last = self._offered.get(scope)
        if last and last.id != self._listed.get(scope) and last.id not in closed:
            return last
        if last and not sweep and now != last.start and now - last.start < self._every[scope] * ON_TIME:
            return None
        before = last_reading(scope, closed)
        since = "" if before is None else before.strftime(INSTANT)
        return Run(
            source=self.name,
            id=f"{scope}-{now:{INSTANT}}",
            scope=scope,
            format="jsonl",
            start=now,
            end=now,
            job=scope,
            completed_at=now,
            ref=since,
            backfill=scope in BUCKETED,  # hours of calls: the lists go first
        )

    def parts(self, run: Run) -> list[Part]:
        """By project, or for reports by shares of the experiences, so that a stop costs a share."""
        if run.scope == raw.SCOPE:
            return [Part("events", orjson.dumps({"run": run.id, "link": self._raw.link(run)}).decode())]
        newest = self._offered.get(run.scope, run)
        if not declared(run.scope).snapshot and newest.start > run.start and newest.ref <= run.ref:
            return []  # of a process that was stopped: the newer run reads all that this one would
        asked = self._asked(run)
        found = [
            Part(name, orjson.dumps({"scope": run.scope, "at": run.id, "since": run.ref, "part": name}).decode())
            for name in self._steps.parts(asked)
        ]
        self._listed[run.scope] = run.id
        return found

    @contextmanager
    def open(self, part: Part, start: int = 0, tag: str = "") -> Iterator[Body]:
        """The part's rows as JSON lines: always from the first on, for they are made while they are read."""
        wanted = orjson.loads(part.url)
        progress = self._progress.setdefault(part.url, Progress())

        def through() -> None:
            self._progress.pop(part.url, None)

        if "link" in wanted:
            steps = [raw.step(self._raw, wanted["run"], wanted["link"])]
        else:
            before = instant_of(wanted["since"])
            at = instant_of(wanted["at"].rpartition("-")[2])
            assert at is not None
            asked = Asked(wanted["scope"], wanted["at"], at, before)
            steps = self._steps.of(asked, wanted["part"], progress)
        yield Reading(part.name, steps, progress, through)

    def calls(self, run: Run) -> int:
        """How many requests this run will need, at least: lists are as long as they were at the last look."""
        return self._steps.calls(self._asked(run))

    def due(self, now: datetime) -> Iterator[ExportRequest]:
        """As promised by MustAsk, from the last look at the account."""
        every = self._every.get(raw.SCOPE)
        if every is None or self._listing is None:
            return iter(())
        experiences = self._listing.experiences(now)
        return self._raw.due(raw.requests(self.name, experiences, every, now), now)

    def submit(self, request: ExportRequest) -> str:
        return self._raw.submit(request)

    def poll(self, request: ExportRequest, ticket: str) -> Run | None:
        return self._raw.poll(request, ticket)

    def _asked(self, run: Run) -> Asked:
        return Asked(run.scope, run.id, run.start, instant_of(run.ref))

    @property
    def _steps(self) -> Steps:
        """How each scope is read, over the last look at the account; on a machine that had none, over a first one."""
        with self._lock:
            if self._listing is None:
                self._listing = self._new_listing()
            return Steps(Ground(self._api, self._account, self._listing, self._remembered, self._clock))

    def _new_listing(self) -> Listing:
        return Listing(self._api, self._account, self._made_of["projects"], self._memory)

    def probe(self, *, provoke: bool) -> Iterator[Finding]:
        """As promised by SettlesUnknowns; raw data is never asked for."""
        from syncd.sources.convert.probe import Probe, kind_of

        witness = Witness(self.name, kind_of, **self._wire)
        api, stranger = self._api_over(witness, self._proof()), self._api_over(witness, self._proof("wrong"))
        probe = Probe(api, stranger, witness, self._made_of["base_url"], self._proof(), self._account)
        return probe.findings(provoke=provoke, exports="report_export" in self._every)

    @cached_property
    def _api(self) -> Api:
        return self._api_over(Client(self.name, **self._wire), self._proof())

    def _api_over(self, client: Client, proof: Proof) -> Api:
        made = self._made_of
        return Api(client, self.name, made["base_url"], proof, Pace(made["spacing"].total_seconds()))

    def _proof(self, other: str = "") -> Proof:
        """What proves who we are; with another secret than ours."""
        made: Mapping[str, Any] = self._made_of
        secret = made["secret"].get_secret_value() if isinstance(made["secret"], SecretStr) else made["secret"]
        return (Bearer if made["auth"] == "bearer" else Signing)(made["application_id"], other or secret)

    @property
    def _wire(self) -> dict[str, Any]:
        return {"transport": self._made_of["transport"], "timeout": self._made_of["timeout"]}


def utc_now() -> datetime:
    return datetime.now(UTC)


def remade(made_of: dict[str, Any]) -> Convert:
    """For pickle."""
    return Convert(**made_of)


def frequency(every: timedelta) -> str:
    """An interval as the configuration spells it."""
    seconds = every.total_seconds()
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size and seconds % size == 0:
            return f"every {seconds / size:.0f}{unit}"
    return f"every {seconds:g}s"


def last_reading(scope: str, closed: Container[str]) -> datetime | None:
    """When the newest closed run of a scope was made, by its name; None: there is none, or no way to tell."""
    if not isinstance(closed, Iterable):
        return None
    begin = f"{scope}-"
    instants = (instant_of(run[len(begin) :]) for run in closed if run.startswith(begin))
    return max(filter(None, instants), default=None)
