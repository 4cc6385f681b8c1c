"""What needs a person: one list for whoever shows it or tells it. Pure.

A trouble is known again by its key, so it is told once; its place says whether another one has taken over.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from syncd import show
from syncd.gaps import EXPIRED, SET_ASIDE
from syncd.ledger import awaits_too_long
from syncd.model import NEVER
from syncd.outlook import Outlook
from syncd.reserve import HINT

SOURCE, DISK, EXPIRING, WAITING, OVERDUE = "source", "disk", "expiring", "waiting", "overdue"
WORDS = {
    SOURCE: "can't be read",
    DISK: "downloads are paused",
    SET_ASIDE: "set aside",
    OVERDUE: "overdue: nobody has handed its files over",
    WAITING: "waiting for its files from you",
    EXPIRING: "not home yet, and soon deleted by the vendor",
    "failed": "failed at the vendor",
    "missing": "missing",
    EXPIRED: "deleted by the vendor before it was home",
    "late": "late",
}


class Trouble(NamedTuple):
    """One thing that is wrong; a source has no job, scope, run or period, the disk no source."""

    kind: str  # of WORDS
    source: str
    error: str
    hint: str
    job: str = ""
    scope: str = ""
    run: str = ""
    period_start: datetime | None = None
    period_end: datetime | None = None

    @property
    def place(self) -> tuple[str, str, str]:
        """What it is about: a source, or a period of a job."""
        return self.source, self.job, self.period_start.isoformat() if self.period_start else ""

    @property
    def key(self) -> str:
        """Equal for the same trouble, whenever one looks."""
        return "/".join((self.kind, *self.place, self.run))

    @property
    def about(self) -> str:
        """The same for people."""
        if self.period_start is None or self.period_end is None:
            return self.source or "the disk"
        return f"{self.source}.{self.scope} {show.period(self.period_start, self.period_end)}, " + (
            f"run {self.source}/{self.run}" if self.run else f"job {self.job}"
        )


def troubles(seen: Outlook, expiring_within: timedelta) -> Iterator[Trouble]:
    """All that needs a person at this moment, the most urgent kind first."""
    for name, source in seen.status["sources"].items():
        if source["error"]:
            yield Trouble(SOURCE, name, source["error"], source["hint"] or "")
    if (disk := seen.status["disk"])["downloads_paused"]:
        free, kept = show.size(disk["free"]), show.size(disk["reserve"])
        yield Trouble(DISK, "", f"{free} of the disk are free, {kept} are kept for commits", HINT)
    for run in seen.on_their_way:
        if run["state"] == WAITING:
            kind = OVERDUE if awaits_too_long(run, seen.at) else WAITING
            yield Trouble(kind, error=run["error"] or "", hint=run["hint"] or "", **of(run))
        if (left := (run["expires_at"] or NEVER) - seen.at) < expiring_within:
            held_up = f"; {run['error']}" if run["error"] else ""
            error = f"the vendor deletes its files in {show.ago(max(left.total_seconds(), 0))}{held_up}"
            yield Trouble(EXPIRING, error=error, hint=run["hint"] or "see what holds it up: syncd status", **of(run))
    for run in seen.set_aside:
        yield Trouble(SET_ASIDE, error=run["error"], hint=run["hint"] or "", **of(run))
    for run in seen.lost:
        yield Trouble(EXPIRED, error=run["error"], hint=run["hint"] or "", **of(run))
    for gap in seen.gaps:
        if gap.needs_you and gap.state != SET_ASIDE:
            error, _, hint = gap.detail.partition("; ")
            yield Trouble(gap.state, gap.source, error, hint, gap.job, gap.scope, "", gap.period_start, gap.period_end)


def of(run: Mapping[str, Any]) -> dict[str, Any]:
    """What a run's trouble is about."""
    return {key: run[key] for key in ("source", "job", "scope", "run", "period_start", "period_end")}
