"""What became of every run, for people and scripts: the catalogue's runs and those in flight, read without the lock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from syncd.model import NEVER
from syncd.state import EXPIRED, SET_ASIDE, State

SEAM = timedelta(seconds=1)  # a period may end at 23:59:59.999 and the next begin at 00:00:00


def all_runs(loaded: Iterable[Mapping[str, Any]], state: State | None) -> list[dict[str, Any]]:
    """Every run once, with the keys of `syncd runs --json`; instants are datetimes in UTC or None."""
    runs = {(row["source"], row["run"]): _from_catalogue(row) for row in loaded}
    for row in state.runs() if state else ():
        runs.setdefault((row["source"], row["run"]), _from_state(row))
    return sorted(
        runs.values(), key=lambda run: (run["source"], run["scope"], run["period_start"], run["run"])
    )


def status(
    runs: Sequence[Mapping[str, Any]],
    passes: Mapping[str, Mapping[str, Any]],
    names: Iterable[str],
    now: datetime,
) -> dict[str, Any]:
    """The answer of `syncd status --json`: `ok` is False when a source is in trouble, a run set aside or lost."""
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
            "scopes": {
                scope: freshness(mine, scope, now) for scope in sorted({run["scope"] for run in mine})
            },
        }
    wrong = any(run["state"] == SET_ASIDE or is_lost(run) for run in runs)
    return {"ok": not wrong and not any(one["error"] for one in sources.values()), "sources": sources}


def freshness(runs: Iterable[Mapping[str, Any]], scope: str, now: datetime) -> dict[str, Any]:
    """How far a scope reaches: up to where no period is missing, and its newest period with its age in seconds."""
    periods = [
        (run["period_start"], run["period_end"]) for run in runs if run["scope"] == scope and run["loaded_at"]
    ]
    if not periods:
        return {"complete_up_to": None, "newest_period_end": None, "age": None}
    newest = max(end for _, end in periods)
    return {
        "complete_up_to": complete_up_to(periods),
        "newest_period_end": newest,
        "age": max(0.0, (now - newest).total_seconds()),
    }


def complete_up_to(periods: Iterable[tuple[datetime, datetime]]) -> datetime:
    """The end of the first stretch without a hole."""
    (_, reached), *rest = sorted(periods)
    for start, end in rest:
        if start > reached + SEAM:
            break
        reached = max(reached, end)
    return reached


def slack_hours(runs: Iterable[Mapping[str, Any]], now: datetime) -> float | None:
    """Hours until the next file that isn't home dies; None when all are home."""
    open_runs = [
        run for run in runs if not run["loaded_at"] and run["state"] != EXPIRED and run["expires_at"]
    ]
    return min(
        (round((run["expires_at"] - now).total_seconds() / 3600, 2) for run in open_runs), default=None
    )


def is_lost(run: Mapping[str, Any]) -> bool:
    """Whether we saw the run alive and the vendor deleted it before it was home."""
    return bool(run["state"] == EXPIRED and run["found_at"] < run["expires_at"])


def _from_catalogue(row: Mapping[str, Any]) -> dict[str, Any]:
    utc = {
        key: value.replace(tzinfo=UTC) if isinstance(value, datetime) else value for key, value in row.items()
    }
    return _shaped(utc | {"state": utc["status"]})


def _from_state(row: Mapping[str, Any]) -> dict[str, Any]:
    return _shaped({**row, "expires_at": None if row["expires_at"] == NEVER else row["expires_at"]})


def _shaped(row: Mapping[str, Any]) -> dict[str, Any]:
    keys = (
        "source run job scope format state period_start period_end completed_at expires_at loaded_at found_at "
        "parts rows rejected bytes attempts error hint"
    )
    return {key: row.get(key) for key in keys.split()}
