"""What the account has, listed once a pass and shared by all that need it: projects, and their experiences.

Which experiences a pass reads: those that run or have just changed, and of the others those whose turn it is. Each of
these has a moment of the day of its own, so a slow cycle makes no burst, and no memory is needed but the last reading.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import structlog

from syncd.errors import ConfigError
from syncd.sources.convert import logs
from syncd.sources.convert.answers import Json, dumps, id_of, ids, instant, seconds, whole
from syncd.sources.convert.api import STALE_S, Api, Refused
from syncd.sources.convert.dimensions import DIMENSIONS
from syncd.sources.convert.paths import A

log = structlog.get_logger()

SLOW = timedelta(days=1)  # the longest that an experience is not read
RECENT = timedelta(days=7)  # for so long after a change an experience is read each time
CALM = frozenset(
    {"completed", "archived", "deleted", "draft", "scheduled"}
)  # any other status, also one unheard of, runs
OF_EXPERIENCES = frozenset({"experience", "variation", "change", "report"})  # objects of the change history
NEVER_BEFORE = datetime.min.replace(tzinfo=UTC)
UNSTARTED = frozenset({"draft", "scheduled"})


@dataclass(frozen=True)
class Experience:
    """One experience: what a report needs to know of it."""

    project: int
    id: int
    status: str
    type: str
    started: int  # unix seconds; 0: not
    ended: int
    goals: tuple[int, ...]
    digest: str

    @staticmethod
    def read(project: int, row: Json) -> Experience | None:
        number = whole(id_of(row))
        if number is None:
            return None
        goals = tuple(goal for goal in ids(row.get("goals") or [row.get("primary_goal")]) if isinstance(goal, int))
        status, kind = str(row.get("status", "")).lower(), str(row.get("type", "")).lower()
        digest = sha256(dumps(row)).hexdigest()
        times = seconds(row.get("start_time")), seconds(row.get("end_time"))
        return Experience(project, number, status, kind, *times, tuple(goal for goal in goals if goal), digest)

    @property
    def has_report(self) -> bool:
        """What never began has nothing to report."""
        return bool(self.started) or self.status not in UNSTARTED

    def is_busy(self, now: datetime) -> bool:
        """Whether it runs, or began or ended of late."""
        changed = max(self.started, self.ended)
        return self.status not in CALM or now.timestamp() - changed < RECENT.total_seconds()

    def has_turn(self, before: datetime, now: datetime) -> bool:
        """Whether its own moment of the day lies between two readings."""
        moment = int.from_bytes(sha256(f"{self.project}/{self.id}".encode()).digest()[:4]) % int(SLOW.total_seconds())
        turns = [(at.timestamp() - moment) // SLOW.total_seconds() for at in (before, now)]
        return turns[0] < turns[1]


@dataclass
class Memory:
    """Experiences as this process last saw them, and when each was seen to change."""

    digests: dict[tuple[int, int], str] = field(default_factory=dict)
    changed_at: dict[tuple[int, int], datetime] = field(default_factory=dict)

    def look(self, experiences: Iterable[Experience], now: datetime) -> None:
        for each in experiences:
            key = (each.project, each.id)
            if self.digests.get(key, each.digest) != each.digest:
                self.changed_at[key] = now
            self.digests[key] = each.digest


class Listing:
    """One look at the account. Any thread; each list is read once, on first need."""

    def __init__(self, api: Api, account: int, wanted: frozenset[int] | None, memory: Memory) -> None:
        self._api, self._account, self._memory = api, account, memory
        self.wanted = wanted  # None: every project that the key may read
        self._lock, self._began = threading.RLock(), time.monotonic()
        self._projects: list[Json] | None = None
        self._open: list[Json] | None = None
        self._refused: dict[int, Refused] = {}  # projects that are listed and may not be read
        self._rows: dict[int, list[Json]] = {}
        self._experiences: list[Experience] | None = None
        self._changed: dict[int, set[int]] = {}

    def is_old(self) -> bool:
        """Whether it was begun too long ago to go on with."""
        return time.monotonic() - self._began > STALE_S

    def projects(self) -> list[Json]:
        """The projects to mirror, as the vendor lists them. ConfigError: the key may not list, or lacks one of them."""
        with self._lock:
            if self._projects is None:
                self._projects = self._listed_projects()
            return self._projects

    def _listed_projects(self) -> list[Json]:
        dimension = DIMENSIONS["projects"]
        try:
            found = self._api.listed(dimension.template, dimension.body or {}, account=self._account)
        except Refused as error:
            hint = error.hint if error.status == 403 else "check account_id and base_url of this source"
            raise ConfigError(str(error), hint=hint) from error
        found = [row for row in found if whole(id_of(row)) is not None]
        missing = sorted((self.wanted or frozenset()) - {project_id(row) for row in found})
        if missing:
            raise ConfigError(
                f"account {self._account} lists no project {', '.join(map(str, missing))} to this key",
                hint="correct projects = […], or give the key these projects",
            )
        chosen = [row for row in found if self.wanted is None or project_id(row) in self.wanted]
        return sorted(chosen, key=project_id)

    def open_projects(self) -> list[Json]:
        """Those that the key may read. ConfigError: not one that was configured by its id."""
        with self._lock:
            if self._open is None:
                self._open = [row for row in self.projects() if self._may_read(project_id(row))]
            return self._open

    def _may_read(self, project: int) -> bool:
        try:
            self.rows(project)
        except Refused as error:
            if error.status != 403:
                raise
            if self.wanted is not None:
                raise ConfigError(f"project {project}: {error}", hint=error.hint) from error
            log.warning("project_refused", project=project, error=str(error), hint=error.hint)
            self._refused[project] = error
            return False
        return True

    def refusal(self, project: int) -> Refused | None:
        """Why a listed project may not be read; None: it may."""
        with self._lock:
            self.open_projects()
            return self._refused.get(project)

    def project_ids(self) -> list[int]:
        return [project_id(row) for row in self.open_projects()]

    def rows(self, project: int) -> list[Json]:
        """A project's experiences, as the vendor lists them."""
        with self._lock:
            if project not in self._rows:
                dimension = DIMENSIONS["experiences"]
                of = {"account": self._account, "project": project}
                listed = self._api.listed(dimension.template, dimension.body or {}, dimension.wider, **of)
                self._rows[project] = sorted(listed, key=lambda row: str(id_of(row)).zfill(20))
            return self._rows[project]

    def experiences(self, now: datetime) -> list[Experience]:
        """Every experience of every project."""
        with self._lock:
            if self._experiences is None:
                rows = [(project, row) for project in self.project_ids() for row in self.rows(project)]
                self._experiences = list(filter(None, (Experience.read(project, row) for project, row in rows)))
                self._memory.look(self._experiences, now)
            return self._experiences

    def changed_since(self, before: datetime) -> set[int]:
        """Experiences that the account's history names since then; none when the key may not read it."""
        since = int(before.timestamp())
        with self._lock:
            if since not in self._changed:
                self._changed[since] = self._named_since(since)
            return self._changed[since]

    def _named_since(self, since: int) -> set[int]:
        body = {"sort_by": "timestamp", "sort_direction": "desc", "results_per_page": logs.PAGE}
        try:
            with self._api.going_on(f"changed since {since}") as ask:

                def page(number: int) -> object:
                    return ask(f"{A}/change-history", {**body, "page": number}, account=self._account)

                records = [one for one in logs.history(page, since, set()) if one.get("object") in OF_EXPERIENCES]
        except Refused:
            return set()
        fresh = [one for one in records if str(one["timestamp"]) >= str(instant(since))]
        return {whole(one.get(key)) or 0 for one in fresh for key in ("object_id", "parent_object_id")}

    def chosen(self, before: datetime | None, now: datetime) -> list[Experience]:
        """Those whose figures are to be read `now`, when they were last read `before`; None: not yet, so all."""
        changed = self._memory.changed_at
        named = self.changed_since(before) if before else set()
        return [
            each
            for each in self.experiences(now)
            if before is None
            or each.is_busy(now)
            or each.id in named
            or now - changed.get((each.project, each.id), NEVER_BEFORE) < RECENT
            or each.has_turn(before, now)
        ]


def project_id(row: Json) -> int:
    return whole(id_of(row)) or 0
