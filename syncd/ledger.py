"""What became of every run, for people and scripts: the catalogue's runs and those in flight, read without the lock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from syncd.asking import is_overdue
from syncd.destinations.lake import Lake
from syncd.gaps import GONE, SEAM, Gap, Key, calendar, is_lost, jobs_complete_up_to
from syncd.model import NEVER, Failure, Job
from syncd.reserve import Room
from syncd.rights import readable
from syncd.settings import Settings
from syncd.state import EXPIRED, SET_ASIDE, WAITING, Noted, State, read_state
from syncd.volume import WEEK, Volume

STATES = ("asked", "waiting", "found", "staging", "loaded", "superseded", "expired", "set_aside")
KEYS = (
    "source",
    "run",
    "job",
    "scope",
    "format",
    "state",
    "period_start",
    "period_end",
    "completed_at",
    "expires_at",
    "loaded_at",
    "parts",
    "rows",
    "rejected",
    "bytes",
    "attempts",
    "error",
    "hint",
    "found_at",
    "vendor_job",
    "lost",
)


@dataclass(frozen=True)
class Seen:
    """What a look at data_dir shows; instants carry UTC."""

    runs: list[dict[str, Any]]  # every run once, with KEYS
    passes: dict[str, dict[str, Any]]  # the last pass over each source
    jobs: list[Job]  # those that the vendor lists no more in the state GONE
    fuller: list[tuple[str, str]] = field(default_factory=list)  # superseded by fewer rows: source and run
    failures: Mapping[Key, Sequence[Failure]] = field(default_factory=dict)  # at the vendor, by source and job
    stored: int = 0  # bytes of the Parquet files of the last week's runs


def look(settings: Settings) -> Seen:
    """Read the catalogue and the state, without the lock."""
    lake = Lake(readable(settings.data_dir), keep_superseded=settings.lake.keep_superseded)
    return look_at(lake, read_state(settings.state_path), settings.sources)


def look_at(lake: Lake, state: State | None, configured: Container[str]) -> Seen:
    """The same through a catalogue and a state that are at hand."""
    lost, runs = lake.lost(), {}
    for row in lake.runs():
        key = (row["source"], row["run"])
        runs[key] = _from_catalogue(row | {"lost": lost.get(key, 0)})
    for row in state.runs() if state else ():
        runs.setdefault((row["source"], row["run"]), _from_state(row))
    for asked in state.requests.of() if state else ():
        runs.setdefault((asked.request.source, asked.request.id), _from_request(asked))
    ordered = sorted(runs.values(), key=lambda run: (run["source"], run["scope"], run["period_start"], run["run"]))
    noted = state.jobs() if state else {}
    gone = {key for key, note in noted.items() if not note.is_listed or key[0] not in configured}
    jobs = [replace(job, state=GONE) if (job.source, job.id) in gone else job for job in lake.jobs()]
    failures = {key: note.failures for key, note in noted.items()}
    stored = lake.stored(datetime.now(UTC) - WEEK)
    return Seen(ordered, state.passes() if state else {}, jobs, lake.fuller(), failures, stored)


def gaps(seen: Seen, now: datetime) -> list[Gap]:
    """The calendar, with the periods that other jobs have brought."""
    return calendar(seen.jobs, seen.runs, seen.failures, now)


def short_of_rows(seen: Seen) -> list[dict[str, Any]]:
    """Loaded runs of which rows are lost for good."""
    return [run for run in seen.runs if run["lost"] and run["state"] == "loaded"]


def overlaps(jobs: Iterable[Job]) -> list[str]:
    """A warning for each scope that two live jobs deliver: their rows stand there twice."""
    live: dict[tuple[str, str], list[str]] = {}
    for job in jobs:
        if job.frequency.lower() != "once" and job.state.upper() in ("ACTIVE", "COMPUTING"):
            live.setdefault((job.source, job.scope), []).append(job.id)
    return [
        f'{source}.{scope} gets rows from jobs {", ".join(sorted(ids))}: count in {source}."{scope}@{min(ids)}" '
        f"or {source}.{scope}_latest"
        for (source, scope), ids in sorted(live.items())
        if len(ids) > 1
    ]


def status(
    seen: Seen, names: Iterable[str], now: datetime, disk: Room, volume: Volume, missed: Iterable[Gap]
) -> dict[str, Any]:
    """The answer of `syncd status --json`: `ok` is False when a source is in trouble, a run set aside, lost or overdue
    from a person's hands, or downloads wait for room on the disk.

    Periods that are not here say nothing of syncd, which works well while the vendor is late: `gaps` counts those of
    `missed` that need a person.
    """
    runs, passes = seen.runs, seen.passes
    reached = jobs_complete_up_to(runs)
    sources: dict[str, Any] = {}
    for name in sorted({*names, *(run["source"] for run in runs)}):
        mine = [run for run in runs if run["source"] == name]
        last = passes.get(name)
        sources[name] = {
            "last_pass_at": last["ended_at"] if last else None,
            "error": (last["error"] or None) if last else None,
            "hint": (last["hint"] or None) if last else None,
            "slack_hours": slack_hours(mine, now),
            "runs": dict(sorted(Counter(run["state"] for run in mine).items())),
            "overdue": [run["run"] for run in mine if awaits_too_long(run, now)],
            "lost": {run["run"]: run["lost"] for run in short_of_rows(seen) if run["source"] == name},
            "superseded_by_fewer_rows": [run for source, run in seen.fuller if source == name],
            "jobs": {job: {"complete_up_to": at} for (source, job), at in sorted(reached.items()) if source == name},
            "scopes": {scope: freshness(mine, scope, now) for scope in sorted({run["scope"] for run in mine})},
        }
    wrong = any(run["state"] == SET_ASIDE or is_lost(run) for run in runs)
    wrong = wrong or disk.is_short or any(one["error"] or one["overdue"] for one in sources.values())
    room = {"free": disk.free, "reserve": disk.reserve, "downloads_paused": disk.is_short}
    needed = sum(gap.needs_you for gap in missed)
    return {"ok": not wrong, "gaps": needed, "sources": sources, "disk": room | volume.as_answer()}


def awaits_too_long(run: Mapping[str, Any], now: datetime) -> bool:
    """Whether a person should have handed its files over long since."""
    return run["state"] == WAITING and is_overdue(run["found_at"], now)


def freshness(runs: Iterable[Mapping[str, Any]], scope: str, now: datetime) -> dict[str, Any]:
    """How far a scope reaches: up to where no period is missing, and its newest period with its age in seconds."""
    mine = [run for run in runs if run["scope"] == scope]
    counts = {"runs": dict(sorted(Counter(run["state"] for run in mine).items()))}
    periods = [(run["period_start"], run["period_end"]) for run in mine if run["loaded_at"]]
    if not periods:
        return {"complete_up_to": None, "newest_period_end": None, "age": None} | counts
    newest = max(end for _, end in periods)
    reached = {"complete_up_to": complete_up_to(periods), "newest_period_end": newest}
    return reached | {"age": max(0.0, (now - newest).total_seconds())} | counts


def complete_up_to(periods: Iterable[tuple[datetime, datetime]]) -> datetime:
    """The end of the first stretch without a hole; instants have none between them."""
    (_, reached), *rest = sorted(periods)
    for start, end in rest:
        if start > reached + SEAM and end > start:
            break
        reached = max(reached, end)
    return reached


def slack_hours(runs: Iterable[Mapping[str, Any]], now: datetime) -> float | None:
    """Hours until the next file that isn't home dies; None when all are home."""
    open_runs = [run for run in runs if not run["loaded_at"] and run["state"] != EXPIRED and run["expires_at"]]
    return min((round((run["expires_at"] - now).total_seconds() / 3600, 2) for run in open_runs), default=None)


def _from_catalogue(row: Mapping[str, Any]) -> dict[str, Any]:
    utc = {key: value.replace(tzinfo=UTC) if isinstance(value, datetime) else value for key, value in row.items()}
    return _shaped(utc | {"state": utc["status"]})


def _from_state(row: Mapping[str, Any]) -> dict[str, Any]:
    return _shaped({**row, "expires_at": None if row["expires_at"] == NEVER else row["expires_at"]})


def _from_request(noted: Noted) -> dict[str, Any]:
    request = noted.request
    of = {"source": request.source, "run": request.id, "job": request.job, "scope": request.scope}
    when = {"period_start": request.start, "period_end": request.end, "found_at": request.asked_at}
    told = {"state": noted.state, "error": noted.error, "hint": noted.hint, "attempts": request.attempt}
    return _shaped(of | when | told | {"format": request.format or None, "vendor_job": noted.ticket or None})


def _shaped(row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: row.get(key) for key in KEYS}
