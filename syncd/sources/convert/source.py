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
from typing import IO, Any

import httpx
import orjson
import structlog
from pydantic import SecretStr

from syncd.errors import BadRun
from syncd.fetch.http import Client
from syncd.fetch.seen import Witness
from syncd.model import Body, ExportRequest, Finding, Job, Part, Run, Scope
from syncd.sources.convert import raw
from syncd.sources.convert.api import Api
from syncd.sources.convert.dictionary import declared
from syncd.sources.convert.ground import Asked, Ground, Remembered
from syncd.sources.convert.listing import Listing, Memory
from syncd.sources.convert.pace import Pace
from syncd.sources.convert.reading import Reading, Underway, in_blocks
from syncd.sources.convert.scopes import BUCKETED, SCOPES, Steps
from syncd.sources.convert.signing import Bearer, Proof, Signing
from syncd.sources.convert.turns import INSTANT, Made, Turns, instant_of, made, newest

BASE_URL = "https://api.convert.com/api/v2"
TIMEOUT = httpx.Timeout(60.0, connect=10.0)  # a long report takes its time

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
        self._turns = Turns(self._every)
        self._memory, self._remembered = Memory(), Remembered()
        self._offered: dict[str, Run] = {}
        self._listed: dict[str, str] = {}  # by scope: the last run whose parts were listed
        self._underway: dict[str, Underway] = {}  # by run
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
        """One run for each scope whose interval has passed; in a process that has read nothing yet, for all."""
        with self._lock:
            now = self._clock().replace(microsecond=0)
            self._remembered.settle(closed)
            last = newest(closed, now)
            found = [
                run for scope in self._every if scope != raw.SCOPE and (run := self._run(scope, closed, last, now))
            ]
            found = [run for run in found if self._steps.parts(self._asked(run))]
            if calls := {run.scope: self.calls(run) for run in found}:
                total = sum(calls.values())
                seconds = round(total * self._api.pace.spacing_s)
                log.info("calls_planned", source=self.name, calls=total, seconds=seconds, by_scope=calls)
            for run in found:
                if run != self._offered.get(run.scope):
                    self._underway.pop(getattr(self._offered.get(run.scope), "id", ""), None)
                self._offered[run.scope] = run
        return iter([run for run in found if run.id not in closed])

    def _run(self, scope: str, closed: Container[str], last: Mapping[str, Made], now: datetime) -> Run | None:
        """The run to offer of a scope: the last one while its parts were not listed, else a new one when it is due."""
        offered = self._offered.get(scope)
        if offered and offered.id != self._listed.get(scope) and offered.id not in closed:
            return offered
        if offered and not self._turns.is_due(scope, offered.start, now):
            return None
        mark, before = self._steps.mark(scope), last.get(scope)
        if mark and before and mark == before.mark:
            return None
        return Run(
            source=self.name,
            id=str(Made(scope, now, mark)),
            scope=scope,
            format="jsonl",
            start=now,
            end=now,
            job=scope,
            completed_at=now,
            ref=f"{before.at:{INSTANT}}" if before else "",
            backfill=scope in BUCKETED,  # hours of calls: the lists go first
        )

    def parts(self, run: Run) -> list[Part]:
        """By project, or for reports by shares of the experiences, so that a stop costs a share."""
        if run.scope == raw.SCOPE:
            return [Part("events", orjson.dumps({"run": run.id, "link": self._raw.link(run)}).decode())]
        names = self._steps.parts(self._asked(run))
        self._listed[run.scope] = run.id
        self._underway.setdefault(run.id, Underway(names))
        return [Part(name, orjson.dumps({"run": run.id, "since": run.ref, "part": name}).decode()) for name in names]

    @contextmanager
    def open(self, part: Part, start: int = 0, tag: str = "") -> Iterator[Body]:
        """The part's rows as JSON lines: always from the first on, for they are made while they are read."""
        wanted = orjson.loads(part.url)
        if "link" in wanted:
            steps = [raw.step(self._raw, wanted["run"], wanted["link"])]
            yield Reading(part.name, steps, Underway([part.name]), snapshot=False)
            return
        run = made(wanted["run"])
        assert run is not None
        underway = self._underway.setdefault(wanted["run"], Underway([part.name]))
        asked = Asked(run.scope, wanted["run"], run.at, instant_of(wanted["since"]))
        steps = self._steps.of(asked, part.name, underway.progress(part.name))
        reading = Reading(part.name, steps, underway, snapshot=declared(run.scope).snapshot)
        try:
            yield reading
        except BadRun:
            self._underway.pop(wanted["run"], None)
            self._turns.refused(run.scope)
            raise
        if underway.is_answered:
            self._turns.answered(run.scope)
        if fresh := self._remembered.news(run.scope, part.name, reading.refused):
            told = {"error": str(fresh[0]), "hint": fresh[0].hint}
            log.warning("reads_refused", scope=run.scope, part=part.name, refused=len(fresh), of=len(steps), **told)

    def calls(self, run: Run) -> int:
        """How many requests this run will need, at least: lists are as long as they were at the last look."""
        return self._steps.calls(self._asked(run))

    def due(self, now: datetime) -> Iterator[ExportRequest]:
        """As promised by MustAsk, from the last look at the account."""
        every = self._every.get(raw.SCOPE)
        if every is None or self._listing is None:
            return iter(())
        experiences = self._listing.experiences(now)
        return raw.requests(self.name, experiences, every, now)

    def submit(self, request: ExportRequest) -> str:
        return self._raw.submit(request)

    def poll(self, request: ExportRequest, ticket: str) -> Run | None:
        return self._raw.poll(request, ticket)

    def cleaned(self, file: IO[bytes]) -> Iterator[bytes]:
        """As promised by Cleans: only raw data is handed over."""
        return in_blocks(raw.kept(file))

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
