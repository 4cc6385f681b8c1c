"""What became of every run, for people and scripts: the catalogue's runs and those in flight, read without the lock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from heapq import merge
from itertools import groupby
from typing import Any

from syncd.asking import is_overdue
from syncd.destinations.lake import Lake
from syncd.destinations.lake.history import History
from syncd.gaps import GONE, NAMED, SEAM, Gap, Key, Names, calendar, is_lost, jobs_complete_up_to
from syncd.model import NEVER, Failure, Job, Stretch
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
    """What a look at data_dir shows, small however long the history; instants carry UTC."""

    runs: list[dict[str, Any]]  # in flight: all that the catalogue has not, each once, with KEYS
    passes: dict[str, dict[str, Any]]  # the last pass over each source
    jobs: list[Job]  # those that the vendor lists no more in the state GONE
    history: History = field(default_factory=History)  # what the catalogue's runs come to
    names: Names | None = None  # which loaded runs share a period
    fuller: list[tuple[str, str]] = field(default_factory=list)  # superseded by fewer rows: source and run
    failures: Mapping[Key, Sequence[Failure]] = field(default_factory=dict)  # at the vendor, by source and job

    @property
    def periods(self) -> list[Mapping[str, Any] | Stretch]:
        """Of every run, in flight or not: what the calendar is made of."""
        return [*self.history.stretches, *self.runs]

    def youngest(self, most: int) -> list[dict[str, Any]]:
        """The runs to which something happened last."""
        return sorted((*map(from_catalogue, self.history.youngest), *self.runs), key=came_at, reverse=True)[:most]


def look(settings: Settings, most: int = 0) -> Seen:
    """Read the catalogue and the state, without the lock; `most`: loaded runs that are told one by one."""
    return look_at(lake_of(settings), read_state(settings.state_path), settings.sources, most)


def look_at(lake: Lake, state: State | None, configured: Container[str], most: int = 0, rejecting: int = 0) -> Seen:
    """The same through a catalogue and a state that are at hand."""
    rows = in_flight(state)
    history = lake.history(datetime.now(UTC) - WEEK, rows, most, rejecting)
    noted = state.jobs() if state else {}
    gone = {key for key, note in noted.items() if not note.is_listed or key[0] not in configured}
    jobs = [replace(job, state=GONE) if (job.source, job.id) in gone else job for job in lake.jobs()]
    failures = {key: note.failures for key, note in noted.items()}
    runs = sorted((row for key, row in rows.items() if key not in history.known), key=by_period)
    names = partial(lake.covering, most=NAMED)
    return Seen(runs, state.passes() if state else {}, jobs, history, names, lake.fuller(), failures)


def every_run(settings: Settings, state: str | None, source: str | None) -> Iterator[dict[str, Any]]:
    """The ledger by source, scope, period and run, of which little is held at a time; `state`, `source`: only those."""
    lake, flying = lake_of(settings), in_flight(read_state(settings.state_path))
    known = lake.known(flying)
    chosen = [row for key, row in flying.items() if state in (None, row["state"]) and source in (None, row["source"])]
    chosen = [row for row in chosen if (row["source"], row["run"]) not in known]
    closed = lake.runs(source or "", state or "") if state in (None, "loaded", "superseded") else iter(())
    both = merge(map(from_catalogue, closed), sorted(chosen, key=by_period), key=by_period)
    return (next(same) for _, same in groupby(both, key=by_period))  # one that is committed meanwhile comes twice


def states_of(settings: Settings, names: Iterable[str]) -> dict[str, str]:
    """The state of each run that there is, by its name."""
    keys = [(source, run) for source, _, run in (name.partition("/") for name in names)]
    lake = lake_of(settings)
    flying = {key: row["state"] for key, row in in_flight(read_state(settings.state_path)).items()}
    return {"/".join(key): state for key, state in (flying | lake.known(keys)).items()}


def lake_of(settings: Settings) -> Lake:
    """The lake, for looking only."""
    return Lake(readable(settings.data_dir), keep_superseded=settings.lake.keep_superseded)


def in_flight(state: State | None) -> dict[tuple[str, str], dict[str, Any]]:
    """What the state keeps, and what was asked for, by source and run."""
    rows = {(row["source"], row["run"]): _from_state(row) for row in (state.runs() if state else ())}
    for asked in state.requests.of() if state else ():
        rows.setdefault((asked.request.source, asked.request.id), _from_request(asked))
    return rows


def by_period(run: Mapping[str, Any]) -> tuple[Any, ...]:
    """The order of the ledger."""
    return run["source"], run["scope"], run["period_start"], run["run"]


def came_at(run: Mapping[str, Any]) -> tuple[datetime, datetime]:
    """When something last happened to a run; of those that came together, the later period."""
    return run["loaded_at"] or run["found_at"] or run["completed_at"], run["period_start"]


def gaps(seen: Seen, now: datetime) -> list[Gap]:
    """The calendar, with the periods that other jobs have brought."""
    return calendar(seen.jobs, seen.periods, seen.failures, now, seen.names)


def short_of_rows(seen: Seen) -> list[dict[str, Any]]:
    """Loaded runs of which rows are lost for good."""
    return list(map(from_catalogue, seen.history.short))


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
    passes, counts = seen.passes, Counter(seen.history.counts)
    counts.update((run["source"], run["scope"], run["state"]) for run in seen.runs)
    reached = jobs_complete_up_to(seen.periods)
    sources: dict[str, Any] = {}
    for name in sorted({*names, *(source for source, *_ in counts)}):
        mine = [run for run in seen.runs if run["source"] == name]
        last = passes.get(name)
        sources[name] = {
            "last_pass_at": last["ended_at"] if last else None,
            "error": (last["error"] or None) if last else None,
            "hint": (last["hint"] or None) if last else None,
            "slack_hours": slack_hours(mine, now),
            "runs": by_state(counts, name),
            "overdue": [run["run"] for run in mine if awaits_too_long(run, now)],
            "lost": {run["run"]: run["lost"] for run in short_of_rows(seen) if run["source"] == name},
            "superseded_by_fewer_rows": [run for source, run in seen.fuller if source == name],
            "jobs": {job: {"complete_up_to": at} for (source, job), at in sorted(reached.items()) if source == name},
            "scopes": {
                scope: freshness(seen, name, scope, now) | {"runs": by_state(counts, name, scope)}
                for scope in sorted({scope for source, scope, _ in counts if source == name})
            },
        }
    wrong = any(run["state"] == SET_ASIDE or is_lost(run) for run in seen.runs)
    wrong = wrong or disk.is_short or any(one["error"] or one["overdue"] for one in sources.values())
    room = {"free": disk.free, "reserve": disk.reserve, "downloads_paused": disk.is_short}
    needed = sum(gap.needs_you for gap in missed)
    return {"ok": not wrong, "gaps": needed, "sources": sources, "disk": room | volume.as_answer()}


def awaits_too_long(run: Mapping[str, Any], now: datetime) -> bool:
    """Whether a person should have handed its files over long since."""
    return run["state"] == WAITING and is_overdue(run["found_at"], now)


def by_state(counts: Mapping[tuple[str, str, str], int], source: str, scope: str | None = None) -> dict[str, int]:
    """How many runs a source, or one scope of it, has in each state."""
    found: Counter[str] = Counter()
    for (of, its, state), count in counts.items():
        if of == source and scope in (None, its):
            found[state] += count
    return dict(sorted(found.items()))


def freshness(seen: Seen, source: str, scope: str, now: datetime) -> dict[str, Any]:
    """How far a scope reaches: up to where no period is missing, and its newest period with its age in seconds."""
    of = (source, scope)
    periods = [(one.start, one.end) for one in seen.history.stretches if (one.source, one.scope) == of]
    if not periods:
        return {"complete_up_to": None, "newest_period_end": None, "age": None}
    newest = max(end for _, end in periods)
    mine = (run for run in seen.runs if (run["source"], run["scope"]) == of and run["period_end"] > run["period_start"])
    begun = [run["period_start"] for run in mine if run["state"] != EXPIRED or is_lost(run)]
    reached = {"complete_up_to": complete_up_to(periods, begun), "newest_period_end": newest}
    return reached | {"age": max(0.0, (now - newest).total_seconds())}


def complete_up_to(periods: Iterable[tuple[datetime, datetime]], begun: Iterable[datetime] = ()) -> datetime:
    """The end of the first stretch without a hole; instants have none between them.

    `begun`: where periods begin that are listed, and not here. What is complete ends before the first of them.
    """
    (first, reached), *rest = sorted(periods)
    earliest = min(begun, default=first)
    if earliest + SEAM < first:
        return earliest
    for start, end in rest:
        if start > reached + SEAM and end > start:
            break
        reached = max(reached, end)
    return reached


def slack_hours(runs: Iterable[Mapping[str, Any]], now: datetime) -> float | None:
    """Hours until the next file that isn't home dies; None when all are home."""
    open_runs = [run for run in runs if run["state"] != EXPIRED and run["expires_at"]]
    return min((round((run["expires_at"] - now).total_seconds() / 3600, 2) for run in open_runs), default=None)


def from_catalogue(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of `_syncd.runs` with KEYS."""
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
