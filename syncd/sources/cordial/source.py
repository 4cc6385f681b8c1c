"""Cordial: exports that are asked for window by window and delivered to a landing zone (docs/vendors/cordial.md).

A run is one window of one configured export. It is asked for with a POST, its job is polled, and what lies in the
job's own folder once the job is done, in two equal listings, are its parts. Asking twice is harmless: a job of the same
name is adopted, and each POST has a name, so a folder, of its own.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cached_property, partial
from typing import Any

import httpx
from pydantic import SecretStr

from syncd.errors import BadRun, ConfigError, HandOver, StartOver, TryAgain
from syncd.fetch.http import Client
from syncd.fetch.seen import Witness
from syncd.model import NEVER, Body, ExportRequest, Finding, Job, Part, Run, Scope
from syncd.sources.cordial import api as jobs_api
from syncd.sources.cordial import pickup
from syncd.sources.cordial.api import Api, Refused, Unanswered
from syncd.sources.cordial.dictionary import declared
from syncd.sources.cordial.exports import Export, compact, job_name, name_for, name_in, requests, start_in
from syncd.sources.cordial.peek import fields_of, format_of
from syncd.sources.cordial.pickup import Found
from syncd.sources.cordial.settling import Settling
from syncd.sources.cordial.zone import Zone

TIMEOUT = httpx.Timeout(30.0, connect=10.0, pool=None)
LOOKED_FOR = timedelta(days=1)  # before it was asked for: how far back a job of the same name is looked for
FRESH = timedelta(seconds=5)  # asked for so lately that no POST can have been forgotten
UNSTARTED = ("Scheduled", "Pending", "Throttled")  # jobs without a start: a filter on it leaves them out
DEADLINE = timedelta(hours=24)  # for a job to end
GREETED_FOR_S = 60.0  # passes follow each other closely while jobs work
UI_KEEPS = timedelta(days=30)


class Cordial:
    """One account, as a Source that must be asked. Pickles: the other side connects anew."""

    def __init__(
        self,
        name: str,
        api_key: SecretStr | str,
        zone: Zone,
        exports: Sequence[Export],
        base_url: str = "https://api.cordial.io/v2",
        job_poll: timedelta = timedelta(seconds=15),
        in_flight: int = 1,
        clear_zone: bool = False,
        max_concurrent_requests: int = 3,
        transport: httpx.BaseTransport | None = None,
        timeout: httpx.Timeout | float = TIMEOUT,
    ) -> None:
        key = api_key if isinstance(api_key, SecretStr) else SecretStr(api_key)
        self.name, self.job_poll, self.in_flight = name, job_poll, in_flight
        self._made_of: dict[str, Any] = {
            "name": name,
            "api_key": key,
            "zone": zone,
            "exports": tuple(exports),
            "base_url": base_url,
            "job_poll": job_poll,
            "in_flight": in_flight,
            "clear_zone": clear_zone,
            "max_concurrent_requests": max_concurrent_requests,
            "transport": transport,
            "timeout": timeout,
        }
        self._zone, self._clears = zone, clear_zone
        self._exports = {export.name: export for export in exports}
        self._slots = threading.BoundedSemaphore(max_concurrent_requests)
        self._greeted = float("-inf")  # on the monotonic clock
        self._settling = Settling(zone, job_poll)
        self._refused: set[str] = set()  # exports that Cordial doesn't take as they are configured
        self._doubtful: set[str] = set()  # stems of which a POST may be on its way
        # by kind: what is asked for the first time can only have a job from before this process
        self._listed: dict[str, list[jobs_api.Job]] = {}

    def __reduce__(self) -> tuple[object, ...]:
        return remade, (self._made_of,)

    def __repr__(self) -> str:
        return f"Cordial({self.name!r})"

    @cached_property
    def api(self) -> Api:
        """The typed client; connects on first use."""
        return self._api_over(Client(self.name, **self._wire), self._made_of["api_key"])

    def _api_over(self, client: Client, key: SecretStr) -> Api:
        return Api(client, self.name, self._made_of["base_url"], key, self._zone.secrets, self._slots)

    @property
    def _wire(self) -> dict[str, Any]:
        return {"transport": self._made_of["transport"], "timeout": self._made_of["timeout"]}

    def probe(self, *, provoke: bool) -> Iterator[Finding]:
        """As promised by SettlesUnknowns; asks for no export."""
        from syncd.sources.cordial.probe import Probe, kind_of

        witness = Witness(self.name, kind_of, **self._wire)
        api, stranger = (self._api_over(witness, key) for key in (self._made_of["api_key"], SecretStr("wrong")))
        return Probe(api, stranger, witness, self._zone, list(self._exports.values())).findings(provoke=provoke)

    def scope(self, name: str) -> Scope:
        return declared(self._exports[name]) if name in self._exports else Scope(name)

    def jobs(self) -> list[Job]:
        """As promised by Source; logs in and enters the zone, so that trouble shows before anything is asked for."""
        if time.monotonic() - self._greeted > GREETED_FOR_S:
            greet(self.api, self._zone)
            self._greeted = time.monotonic()
        return [export.job(self.name) for export in self._exports.values()]

    def runs(self, closed: Container[str], *, sweep: bool) -> Iterator[Run]:
        """None: each run must be asked for."""
        return iter(())

    # ---- asking

    def due(self, now: datetime) -> Iterable[ExportRequest]:
        """As promised by MustAsk. An export that was refused waits until one of its windows is taken: all its windows
        would be refused alike."""
        wanted = [export for export in self._exports.values() if export.name not in self._refused]
        return requests(self.name, wanted, now)

    def submit(self, request: ExportRequest) -> str:
        """As promised by MustAsk."""
        export, stem = self._export(request), self._stem(request)
        if (job := self._adopted(request, export, stem)) is not None:
            return job.id
        name = name_for(stem)
        flat = not self._zone.is_by_hand and not pickup.prepare(self._zone, name)
        body = export.body(name, request.start, request.end, self._zone.destination(name, flat=flat))
        try:
            ticket = self.api.ask(export.endpoint, body)
        except Refused as error:
            self._refused.add(export.name)
            self._drop(name)
            section = f"sources.{self.name}.exports.{export.name}"
            hint = f"correct [{section}] (or the zone that it names); then: syncd retry {request.name}"
            raise Refused(str(error), hint="; ".join((error.hint, hint)) if error.hint else hint) from None
        except Unanswered as error:
            self._doubtful.add(stem)
            after = max(error.after or 0.0, min(self.job_poll.total_seconds(), FRESH.total_seconds()))
            raise Unanswered(str(error), hint="its job is looked up by its name", after=after) from None
        except (ConfigError, TryAgain):
            self._drop(name)
            raise
        self._refused.discard(export.name)
        self._settling.expect(ticket, name)
        return ticket

    def _drop(self, name: str) -> None:
        """Remove the folder of a POST that was surely not taken; it is empty. No trouble if that can't be done."""
        if not self._zone.is_by_hand:
            with suppress(ConfigError, TryAgain):
                pickup.remove(self._zone, name, ())

    def _adopted(self, request: ExportRequest, export: Export, stem: str) -> jobs_api.Job | None:
        """The job of an earlier POST for this attempt, if there was one: one that has ended well, else any alive."""
        asked_at = request.asked_at if request.asked_at != NEVER else datetime.now(UTC)
        kind, since = job_name(export.endpoint), asked_at - LOOKED_FOR
        is_fresh = stem not in self._doubtful and datetime.now(UTC) - asked_at <= FRESH
        if kind not in self._listed or not is_fresh:
            self._listed[kind] = list(self.api.jobs(kind, since))
        found = named(stem, self._listed[kind])
        if not found and not is_fresh:
            for status in UNSTARTED:
                found += named(stem, self.api.jobs(kind, None, status=status))
        alive = [job for job in found if job.status != jobs_api.FAILED]
        return min(alive, key=lambda job: (job.status != jobs_api.ENDED, job.id), default=None)

    def poll(self, request: ExportRequest, ticket: str) -> Run | None:
        """As promised by MustAsk."""
        job = self.api.job(ticket)
        if job and job.status == jobs_api.FAILED:
            raise StartOver(
                f"{request.name}: job {ticket} failed at Cordial: {self.api.clean(job.raw, 4000)}",
                hint="Cordial's account monitor, category Exports, may say why",
            )
        if job and job.status != jobs_api.ENDED:
            if request.asked_at != NEVER and datetime.now(UTC) - request.asked_at > DEADLINE:
                hours = DEADLINE.total_seconds() // 3600
                raise StartOver(f"{request.name}: job {ticket} is still {job.status!r} after {hours:.0f} hours")
            return None
        if self._zone.is_by_hand:
            raise by_hand(request, job, ticket)
        found = self._settling.files(request, self._stem(request), job, ticket)
        return None if found is None else self._run(request, job, ticket, *found)

    def _run(
        self, request: ExportRequest, job: jobs_api.Job | None, ticket: str, name: str, files: Sequence[Found]
    ) -> Run:
        """What the request became. Headers are looked into: a chunk may lack the one that names its columns."""
        export = self._export(request)
        asked_at = request.asked_at if request.asked_at != NEVER else datetime.now(UTC)
        ended_at = (job.ended_at if job else None) or asked_at
        format = request.format or format_of(self._heads(files[:1]))
        run = request.delivered(ended_at, ref=f"{name}/{len(files)}", format=format)
        if format == "csv":
            known = [column.name for column in declared(export).columns]
            run = replace(run, fields=export.labels or fields_of(self._heads(files), known))
        self._settling.forget(ticket)
        return run

    def _heads(self, files: Sequence[Found]) -> Iterator[bytes]:
        return (pickup.head(self._zone, one.path, 1 << 16) for one in files if one.size)

    # ---- picking up

    def parts(self, run: Run) -> list[Part]:
        """As promised by Source: what lies in the zone of the run's job."""
        name, _, count = run.ref.rpartition("/")
        if not name or count == "0":
            return []
        files = pickup.files(self._zone, name)
        if len(files) < int(count):
            raise BadRun(
                f"{run.name}: {count} files were delivered, but the zone has {len(files)} of them",
                hint=f"bring them back to {name}, then: syncd retry {run.name}",
            )
        return [Part(one.name, one.path, one.size) for one in files]

    @contextmanager
    def open(self, part: Part, start: int = 0, tag: str = "") -> Iterator[Body]:
        with self._slots, pickup.opened(self._zone, part.url, start, tag) as body:
            yield body

    def clear(self, loaded: Container[str], before: datetime) -> None:
        """As promised by Clears: whole folders whose newest file is older, and only where they bear a name of ours."""
        for export in self._exports.values() if self._clears and not self._zone.is_by_hand else ():
            for name in pickup.names(self._zone, f"{export.prefix}-"):
                start = start_in(export.prefix, name)
                if start is None or f"{export.name}-{compact(start)}-{compact(start + export.window)}" not in loaded:
                    continue
                files = pickup.files(self._zone, name)
                if all(one.at is not None and one.at < before for one in files):
                    pickup.remove(self._zone, name, files)

    def _export(self, request: ExportRequest) -> Export:
        if request.job not in self._exports:
            raise BadRun(
                f"{request.name}: there is no export {request.job!r} any more",
                hint=f"put [sources.{self.name}.exports.{request.job}] back, or let it be",
            )
        return self._exports[request.job]

    def _stem(self, request: ExportRequest) -> str:
        place = self._zone.destination("", told=False)  # another zone's job is none of ours
        return self._export(request).stem(self.name, place, request.start, request.end, request.attempt)


def greet(api: Api, zone: Zone) -> None:
    """See whether both sides know us; what is wrong with both is told together."""
    doors: list[Callable[[], None]] = [api.greet]
    if not zone.is_by_hand:
        doors.append(partial(pickup.look, zone))
    troubles: list[ConfigError | TryAgain] = []
    for knock in doors:
        try:
            knock()
        except (ConfigError, TryAgain) as error:
            troubles.append(error)
    if len(troubles) > 1:
        kind = ConfigError if any(isinstance(one, ConfigError) for one in troubles) else TryAgain
        raise kind("; ".join(map(str, troubles)), hint="; ".join(one.hint for one in troubles))
    if troubles:
        raise troubles[0]


def by_hand(request: ExportRequest, job: jobs_api.Job | None, ticket: str) -> HandOver | StartOver:
    """What a finished job comes to whose file only a person can have."""
    if job is None:
        return StartOver(f"{request.name}: Cordial has forgotten job {ticket}, and with it its file")
    until = (job.ended_at or datetime.now(UTC)) + UI_KEEPS
    return HandOver(
        f"{request.name}: job {ticket} is done; its file is in Cordial's UI until {until:%Y-%m-%d}",
        hint=f"download it there (Jobs page), then: syncd ingest {request.source} {request.id} FILE…",
    )


def named(stem: str, jobs: Iterable[jobs_api.Job]) -> list[jobs_api.Job]:
    """Those that were asked for under a name of this stem."""
    return [job for job in jobs if name_in(stem, job.raw)]


def remade(made_of: dict[str, Any]) -> Cordial:
    """For pickle."""
    return Cordial(**made_of)
