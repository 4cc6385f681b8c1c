"""Looking before anything is moved: `check` (is all as it should be?) and `once --dry-run` (what would it cost?)."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from syncd.assemble import build_lake, build_source
from syncd.errors import ConfigError, SyncdError
from syncd.footing import firm
from syncd.ledger import look, overlaps
from syncd.model import NEVER, MustAsk, Part, Run, Source
from syncd.otel import installed
from syncd.retry import Patience, patient
from syncd.rights import usable
from syncd.settings import Settings
from syncd.state import EXPIRED, SET_ASIDE
from syncd.sync import Load, plan
from syncd.volume import MORE_ROOM, SOON_FULL, volume

LITTLE = 1 << 30  # bytes free below which a warning is due
PATIENCE = timedelta(seconds=15)  # a check is run by a person who waits


class Problem(NamedTuple):
    """One thing that is wrong, with its fix."""

    level: str  # "error" or "warning"
    text: str
    hint: str
    exit_code: int = 0


@dataclass
class Cost:
    """What it takes to bring some runs home."""

    runs: int = 0
    parts: int = 0
    calls: int = 0
    bytes: int = 0
    nearest_expiry: datetime = NEVER

    def add(self, run: Run, parts: Sequence[Part], calls: int) -> None:
        """Count a run in."""
        self.runs += 1
        self.parts += len(parts)
        self.calls += calls
        self.bytes += sum(part.size or 0 for part in parts)
        self.nearest_expiry = min(self.nearest_expiry, run.expires_at)


def problems(settings: Settings) -> Iterator[Problem]:
    """Everything that is wrong with the disk, the warehouse and each source."""
    if not settings.sources:
        yield Problem("error", "no source is configured", "add a [sources.NAME] section", 2)
    try:
        installed(settings)
    except ConfigError as error:
        yield Problem("error", str(error), error.hint, error.exit_code)
    try:
        firm(usable(settings.data_dir), usable(settings.state_path.parent, "state_dir"))
        free = shutil.disk_usage(settings.data_dir).free
        seen = look(settings)
        pace = volume(seen.history.lately, settings.landing, free, datetime.now(UTC))
        if pace.days_left is not None and pace.days_left < SOON_FULL:
            yield Problem(
                "warning", f"{settings.data_dir}: {pace.days_left:.0f} days left at last week's pace", MORE_ROOM
            )
        if free < LITTLE:
            yield Problem("warning", f"{settings.data_dir}: only {free >> 20} MB free", MORE_ROOM)
        yield from shadowed(
            [*((one.source, one.scope, one.job) for one in seen.history.stretches), *map(delivery_of, seen.runs)]
        )
    except SyncdError as error:
        yield Problem("error", str(error), error.hint, error.exit_code)
    for name, section in settings.sources.items():
        source = patient(build_source(name, section), Patience(PATIENCE))
        yield from source_problems(name, source, getattr(section, "jobs", None))


def delivery_of(run: Mapping[str, Any]) -> tuple[str, str, str]:
    """Source, scope and job."""
    return run["source"], run["scope"], run["job"]


def shadowed(deliveries: Collection[tuple[str, str, str]]) -> Iterator[Problem]:
    """A warning for each derived view that is not made: the vendor has a scope of its name."""
    scopes = {(source, scope.lower()) for source, scope, _ in deliveries}
    derived = {(source, view) for source, scope, job in deliveries for view in (f"{scope}_latest", f"{scope}@{job}")}
    for source, view in sorted(derived):
        if (source, view.lower()) in scopes:
            text = f'{source}."{view}" is the vendor\'s scope of that name; the derived view is not made'
            yield Problem("warning", text, "_syncd.columns and _syncd.files name the scope of each column and file")


def source_problems(name: str, source: Source, wanted: frozenset[str] | None) -> Iterator[Problem]:
    """Log in, and look at the jobs."""
    try:
        jobs = source.jobs()
    except SyncdError as error:
        yield Problem("error", f"sources.{name}: {error}", error.hint, error.exit_code)
        return
    for missing in sorted((wanted or frozenset()) - {job.id for job in jobs}):
        yield Problem(
            "error", f"sources.{name}.jobs: the vendor has no job {missing}", "take it out, or correct the id", 2
        )
    if not jobs:
        yield Problem("warning", f"sources.{name}: the vendor has no export job", "create one in the vendor's console")
    for warning in overlaps(jobs):
        yield Problem("warning", warning, "name the jobs to mirror under jobs = […], or count as said")


def foresee(settings: Settings) -> dict[str, Any]:
    """What a pass would bring home, by source and scope, and the disk it needs; nothing is downloaded."""
    now, patience = datetime.now(UTC), Patience(settings.retry_for)
    lake, seen = build_lake(settings), look(settings)
    scopes: dict[tuple[str, str], Cost] = {}
    for name, section in settings.sources.items():
        source = patient(build_source(name, section), patience)
        given_up = {run["run"] for run in seen.runs if run["source"] == name and run["state"] in (EXPIRED, SET_ASIDE)}
        for todo in plan(source.runs(lake.loaded(name) | given_up, sweep=True), now):
            if isinstance(todo, Load):
                row = scopes.setdefault((name, todo.run.scope), Cost())
                row.add(todo.run, source.parts(todo.run), source.calls(todo.run))
        if isinstance(source, MustAsk):
            known = lake.loaded(name) | {run["run"] for run in seen.runs if run["source"] == name}
            for request in source.due(now):
                scopes.setdefault((name, request.scope), Cost()).runs += request.id not in known
    needed = 2 * sum(cost.bytes for cost in scopes.values())  # the bytes as they came, and about as much Parquet
    root = next(folder for folder in (settings.data_dir, *settings.data_dir.parents) if folder.exists())
    return {
        "scopes": [(*key, *astuple(cost)) for key, cost in sorted(scopes.items())],
        "disk_needed": needed,
        "disk_free": shutil.disk_usage(root).free,
    }
