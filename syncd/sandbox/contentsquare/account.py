"""What the vendor holds for one project: jobs, their runs, and the parts of these. No HTTP here.

Everything is made from the seed when the sandbox starts; runs may be added later. A `once` job that was asked for
runs as soon as no other does.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

from syncd.sandbox.contentsquare import sessions, truth
from syncd.sandbox.contentsquare.dialect import Column
from syncd.sandbox.contentsquare.parts import Part
from syncd.sandbox.contentsquare.sessions import Slice
from syncd.sandbox.contentsquare.trouble import WEEK_S, Offer, Trouble

WEEK = timedelta(seconds=WEEK_S)
DEVICES = {"all": -1, "desktop": 1, "mobile": 2, "tablet": 3}
STEPS = {"daily": timedelta(days=1), "hourly": timedelta(hours=1)}
_NEVER = datetime.max.replace(tzinfo=UTC)
_GIVEN = re.compile(r"(?P<scope>.+)-(?P<day>\d{4}-\d\d-\d\d)(?:\.(?P<n>\d+))?\.(?P<form>jsonl|csv)\.gz")


@dataclass
class Run:
    """One execution of a job."""

    id: int
    job: Job
    start: datetime
    end: datetime
    started_at: datetime
    completed_at: datetime
    state: str = "SUCCESS"
    parts: tuple[Part, ...] = ()
    version: int = 0
    gone: bool = False  # its files were deleted before their time
    listed: bool = True

    @property
    def expires_at(self) -> datetime:
        """When its files are deleted."""
        return self.completed_at + WEEK

    @property
    def name(self) -> str:
        """Unique within the account."""
        return f"{self.job.id}-{self.id}"

    def expired(self, now: datetime) -> bool:
        """Whether its files can't be had any more."""
        return self.gone or self.expires_at <= now


@dataclass
class Job:
    """A standing definition that makes runs."""

    id: int
    name: str
    scope: str
    form: str  # jsonl or csv
    frequency: str
    fields: list[dict[str, Any]]
    created_at: datetime
    device: int = -1
    state: str = "ACTIVE"
    period: tuple[datetime, datetime] | None = None  # of a once job
    rows: int = 0
    parts: int = 1
    given: bool = False  # its files were given: no run of it can be made
    runs: list[Run] = field(default_factory=list)
    deliveries: Counter[tuple[datetime, datetime]] = field(default_factory=Counter)  # finished, per period
    first: datetime = _NEVER  # where its earliest period begins
    _columns: dict[tuple[int, str], tuple[Column, ...]] = field(default_factory=dict)

    def columns(self, unknown: int, change: str) -> tuple[Column, ...]:
        """What its files hold: by field list, with a type changed and unknown fields behind."""
        if (unknown, change) not in self._columns:
            told = [_changed(_column(self.scope, each), change) for each in self.fields]
            self._columns[unknown, change] = (*told, *map(_unknown, range(unknown)))
        return self._columns[unknown, change]


def _column(scope: str, told: dict[str, Any]) -> Column:
    name, alias = told["fieldName"], told.get("aliasName")
    if name == "custom_var":
        position = int(told["customVarPosition"])
        return Column(alias or f"custom_var_{position}", "text", lambda row: row[name].get(position, ""))
    if name == "dynamic_var":
        key = told["dynamicVarKey"]
        kind = sessions.DYNAMIC_KINDS.get(key, "text")
        return Column(alias or f"dynamic_var_{key}", kind, lambda row: row[name].get(key, ""))
    return Column(alias or name, sessions.FIELDS[scope][name], lambda row: row[name])


class Account:
    """The project's jobs. One thread at a time."""

    def __init__(self, offer: Offer, trouble: Trouble, now: datetime) -> None:
        self.offer = offer
        self.trouble = trouble
        self.today = _today(offer, now)  # made periods end here
        self.jobs: list[Job] = []
        self.by_name: dict[str, Run] = {}
        self.changes = 0  # grows whenever a list would look different
        self.listing: tuple[Any, list[Run]] = (None, [])  # finished runs as last listed, and under which conditions
        self._running: list[Run] = []
        self._random = Random(f"ids {offer.seed}")  # noqa: S311  # not for secrets
        self._next_job, self._next_run = 1372, 67226
        if offer.data:
            self._take_given(offer.data, now)
        else:
            self._make(now)

    @property
    def runs(self) -> list[Run]:
        """Every run of every job."""
        return list(self.by_name.values())

    def new_job(self, **told: Any) -> Job:
        """Add a job under the next id."""
        self._next_job += self._random.randint(1, 9)
        job = Job(id=self._next_job, **told)
        self.jobs.append(job)
        return job

    def new_run(
        self,
        job: Job,
        period: tuple[datetime, datetime],
        completed_at: datetime,
        *,
        state: str = "SUCCESS",
        rows: int | None = None,
        parts: int | None = None,
        given: tuple[Part, ...] | None = None,
    ) -> Run:
        """Add a run; of a period that the job has delivered before it is a restatement. 0 rows: as `empty_as` says."""
        self._next_run += self._random.randint(1, 9)
        version = job.deliveries[period]
        job.deliveries[period] += state != "FAILURE"
        job.first = min(job.first, period[0])
        began = completed_at - timedelta(minutes=2)
        run = Run(self._next_run, job, *period, began, completed_at, state, version=version)
        rows = job.rows + job.rows * version // 10 if rows is None else rows
        run.parts = self._parts(run, rows, parts or job.parts) if given is None else given
        job.runs.append(run)
        self.by_name[run.name] = run
        self.changes += 1
        if state == "RUNNING":
            self._running.append(run)
        return run

    def advance(self, now: datetime) -> None:
        """Let time pass: running runs end, and the next `once` job in the queue begins."""
        for run in [run for run in self._running if run.completed_at <= now]:
            run.state = "SUCCESS"
            self._running.remove(run)
            self.changes += 1
        for job in self.jobs:
            if job.state == "COMPUTING" and all(run.state != "RUNNING" for run in job.runs):
                job.state = "COMPLETED"
        once = [job for job in self.jobs if job.frequency == "once"]
        waiting = [job for job in once if job.state == "ACTIVE"]
        if waiting and not any(job.state == "COMPUTING" for job in once):
            job = waiting[0]
            job.state = "COMPUTING"
            assert job.period
            self.new_run(job, job.period, now + timedelta(seconds=self.trouble.once_takes), state="RUNNING")

    def truth(self, now: datetime) -> list[dict[str, Any]]:
        """Per run what its files hold; of a run that has not succeeded, nothing."""
        return [_run_truth(run, self.trouble, now) for run in self.runs]

    def _parts(self, run: Run, rows: int, parts: int) -> tuple[Part, ...]:
        trouble, job = self.trouble, run.job
        unknown = trouble.unknown_fields if run.start > job.first else 0
        columns = job.columns(unknown, trouble.type_change if self._second_half(run) else "")
        if rows == 0:
            if trouble.empty_as == "none":
                return ()
            return (Part(0, job.form, job.scope, trouble, columns=columns, empty=trouble.empty_as),)
        shares = [rows // parts + (part < rows % parts) for part in range(parts)]
        return tuple(
            Part(
                part, job.form, job.scope, trouble, columns=columns,
                what=Slice(self.offer.seed, run.start, run.end, part, count, job.device, run.version),
            )
            for part, count in enumerate(shares)
        )  # fmt: skip

    def _second_half(self, run: Run) -> bool:
        if run.job.frequency == "once":
            return False
        return run.start >= self.today - timedelta(days=self.offer.days / 2)

    def _make(self, now: datetime) -> None:
        """Jobs and their runs, as the offer says, in the order in which the periods end."""
        offer, today = self.offer, self.today
        first = today - timedelta(days=offer.days)
        for number in range(offer.jobs):
            frequency = offer.frequency or ("daily", "hourly", "once")[number // 2 % 3]
            scope = offer.scope or ("sessions", "views")[number % 2]
            form = offer.format or ("csv" if number // 2 % 2 else "jsonl")
            hours = {"daily": 24, "hourly": 1, "once": 24 * min(offer.days, 7)}[frequency]
            self.new_job(
                name=f"{frequency} {scope}, {form} №{number + 1}",
                scope=scope,
                form=form,
                frequency=frequency,
                fields=sessions.default_fields(scope),
                created_at=now - timedelta(days=400),
                state="COMPLETED" if frequency == "once" else "ACTIVE",
                rows=max(1, offer.rows * hours // 24),
                parts=offer.parts,
            )
        plans = [plan for job in self.jobs for plan in self._plan(job, first, today)]
        plans.sort(key=lambda plan: (plan[0], plan[2][1], plan[1].id))
        for back, (_, job, period, outcome) in enumerate(plans):
            self._add_planned(job, period, outcome, _recently(now, len(plans) - back, len(plans)))

    def _plan(self, job: Job, first: datetime, today: datetime) -> list[tuple[int, Job, Any, str]]:
        """(round, job, period, outcome) of each run to make; restatements are of the second round."""
        if job.frequency == "once":
            return [(0, job, (max(first, today - WEEK), today), "")]
        step, trouble = STEPS[job.frequency], self.trouble
        periods = [(first + number * step, first + (number + 1) * step) for number in range((today - first) // step)]
        old, young = periods[: trouble.expired_runs], periods[trouble.expired_runs :]
        chosen = Random(f"outcomes {self.offer.seed} {job.id}").sample(young, len(young))  # noqa: S311  # not for secrets
        outcome = dict.fromkeys(old, "expired")
        outcome |= dict.fromkeys(chosen[: trouble.failed_runs], "failed")
        chosen = chosen[trouble.failed_runs :]
        outcome |= dict.fromkeys(chosen[: trouble.empty_runs], "empty")
        restated = chosen[trouble.empty_runs :][: trouble.restated_runs]
        plans = [(0, job, period, outcome.get(period, "")) for period in periods]
        return plans + [(1, job, period, "") for period in restated]

    def _add_planned(self, job: Job, period: Any, outcome: str, completed_at: datetime) -> None:
        if outcome == "expired":
            completed_at -= WEEK
        run = self.new_run(
            job,
            period,
            completed_at,
            state="FAILURE" if outcome == "failed" else "SUCCESS",
            rows=0 if outcome == "empty" else None,
        )
        run.listed = not (outcome == "expired" and self.trouble.expired_hidden)

    def _take_given(self, folder: Path, now: datetime) -> None:
        """One daily job per scope and form; files that differ only in `.n` are parts of one run."""
        found: dict[tuple[str, str], dict[str, list[tuple[int, Path]]]] = {}
        for path in sorted(folder.iterdir()):
            match = _GIVEN.fullmatch(path.name)
            if match and self.offer.format in ("", match["form"]) and self.offer.scope in ("", match["scope"]):
                days = found.setdefault((match["scope"], match["form"]), {})
                days.setdefault(match["day"], []).append((int(match["n"] or 0), path))
        if not found:
            raise ValueError(f"{folder} has no file named <scope>-<day>[.<n>].<jsonl|csv>.gz")
        for (scope, form), days in found.items():
            names = truth.first_fields(next(iter(days.values()))[0][1], form)
            job = self.new_job(
                name=f"given {scope}, {form}", scope=scope, form=form, given=True, frequency="daily",
                fields=[{"fieldName": name} for name in names], created_at=now - timedelta(days=400),
            )  # fmt: skip
            for back, (day, files) in enumerate(sorted(days.items())):
                start = datetime.fromisoformat(day).replace(tzinfo=UTC)
                recently = _recently(now, len(days) - back, len(days))
                parts = tuple(Part(number, form, scope, self.trouble, given=path) for number, path in sorted(files))
                self.new_run(job, (start, start + STEPS["daily"]), recently, given=parts)


def _today(offer: Offer, now: datetime) -> datetime:
    if offer.today:
        return datetime.fromisoformat(offer.today).replace(tzinfo=UTC)
    return now.replace(hour=0, minute=0, second=0, microsecond=0)


def _recently(now: datetime, back: int, of: int) -> datetime:
    """A moment within the last six days: however old the period, its files are still to be had."""
    return now - back * min(timedelta(minutes=1), timedelta(days=6) / of)


def _changed(column: Column, how: str) -> Column:
    if not how or column.name != "VoC score":
        return column
    changes: dict[str, tuple[str, Callable[[int], Any]]] = {
        "text": ("text", lambda score: f"{score} of 10"),
        "fraction": ("float", lambda score: score + 0.25),
        "big": ("int", lambda score: (1 << 63) + score),
    }
    kind, change = changes[how]
    return column._replace(kind=kind, get=lambda row: change(column.get(row)))


def _unknown(number: int) -> Column:
    """A column that came without notice."""
    kinds: Sequence[tuple[str, Any]] = (
        ("int", lambda row: row["screen_width"] - 1000),
        ("text", lambda row: row["city"]),
        ("float", lambda row: row["density"] / 8),
        ("text[]", lambda row: [row["language"], row["city"]]),
        ("int", lambda row: row["user_id"]),
    )
    kind, get = kinds[number % len(kinds)]
    return Column(f"Neues Feld {number + 1}", kind, get)


def _run_truth(run: Run, trouble: Trouble, now: datetime) -> dict[str, Any]:
    parts = run.parts if run.state == "SUCCESS" else ()
    same = [
        other for other in run.job.runs
        if (other.start, other.end, other.state) == (run.start, run.end, "SUCCESS")
    ]  # fmt: skip
    return {
        "run": run.name,
        "job": run.job.id,
        "job_run": run.id,
        "scope": trouble.scope_name or run.job.scope,
        "format": run.job.form,
        "frequency": run.job.frequency,
        "state": run.state,
        "from": run.start.isoformat(),
        "to": run.end.isoformat(),
        "completed_at": run.completed_at.isoformat(),
        "expired": run.expired(now),
        "superseded": any((other.completed_at, other.id) > (run.completed_at, run.id) for other in same),
    } | truth.summary({part.id: part.count for part in parts})
