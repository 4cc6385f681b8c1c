"""What a finished job delivered: settled once two looks at the zone agree. An empty folder is believed last of all."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from syncd.errors import StartOver
from syncd.model import ExportRequest
from syncd.sources.cordial import pickup
from syncd.sources.cordial.api import Job
from syncd.sources.cordial.exports import name_in
from syncd.sources.cordial.pickup import Found
from syncd.sources.cordial.zone import Zone

SETTLED = timedelta(days=1)  # after which a finished job's empty folder proves nothing: it may have been cleared
PATIENCE = 4  # polls that an empty folder must stay empty
LONGER = 10  # times as long where the job says that it wrote something


@dataclass(frozen=True)
class Sight:
    """What the zone held of a job, and since when it is so."""

    files: tuple[Found, ...]
    since: float  # on the monotonic clock


class Settling:
    """Remembers, by ticket, what was asked for and seen last. Any thread. Another process looks twice again."""

    def __init__(self, zone: Zone, job_poll: timedelta) -> None:
        self._zone, self._job_poll_s = zone, job_poll.total_seconds()
        self._names: dict[str, str] = {}
        self._seen: dict[str, Sight] = {}
        self._lock = threading.Lock()

    def expect(self, ticket: str, name: str) -> None:
        """This job was asked for under this name."""
        self._names[ticket] = name

    def forget(self, ticket: str) -> None:
        """This job has become a run."""
        with self._lock:
            self._names.pop(ticket, None)
            self._seen.pop(ticket, None)

    def files(
        self, request: ExportRequest, stem: str, job: Job | None, ticket: str
    ) -> tuple[str, tuple[Found, ...]] | None:
        """The name of a job's folder and its files; None while they may still change. StartOver: ask anew."""
        name = self._name_of(stem, job, ticket)
        files = tuple(pickup.files(self._zone, name)) if name else ()
        with self._lock:
            before = self._seen.get(ticket)
            if before is None or before.files != files:
                self._seen[ticket] = Sight(files, time.monotonic())
                return None
        return (name, files) if files or self._is_empty(request, job, ticket, before) else None

    def _name_of(self, stem: str, job: Job | None, ticket: str) -> str:
        """The name under which a job was asked for: as the job tells it, as we remember it, else as the zone shows."""
        if name := (name_in(stem, job.raw) if job else "") or self._names.get(ticket, ""):
            return name
        names = {name_in(stem, one) for one in pickup.names(self._zone, f"{stem}-")}
        if len(names) > 1:
            raise StartOver(f"{len(names)} exports lie under {stem}-… in the zone, and job {ticket} tells of none")
        return next(iter(names), "")

    def _is_empty(self, request: ExportRequest, job: Job | None, ticket: str, seen: Sight) -> bool:
        """Whether a finished job without files had nothing to deliver. StartOver: that can't be known."""
        amount = job.amount if job else None
        if time.monotonic() - seen.since < PATIENCE * self._job_poll_s * (LONGER if amount else 1):
            return False
        if job is None:
            raise StartOver(f"{request.name}: Cordial has forgotten job {ticket}, and the zone has no file of it")
        if job.ended_at and datetime.now(UTC) - job.ended_at > SETTLED:
            raise StartOver(f"{request.name}: job {ticket} ended long ago, and the zone has no file of it any more")
        if amount:
            raise StartOver(
                f"{request.name}: job {ticket} tells of {amount} records, but the zone has no file of it",
                hint=f"do zone and deliver lead to one place? then: syncd retry {request.name}",
            )
        return True
