"""What the page and the metrics show of the catalogue and the state: read when one of them has changed, kept small.

A reading of a long history costs a second or two, so it is made at most so often that it takes a twentieth of a core,
and never by the loop; of the history only sums come out of the catalogue.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from syncd import ledger
from syncd.assemble import House
from syncd.errors import SyncdError
from syncd.gaps import COVERED, Gap, is_lost, whole
from syncd.ledger import Seen, came_at, from_catalogue
from syncd.model import NEVER, Stretch
from syncd.reserve import Room, room
from syncd.settings import Settings
from syncd.state import EXPIRED, SET_ASIDE
from syncd.volume import volume

DAYS = 28  # of the calendar
RECENT, REJECTING, OPEN = 25, 5, 1000  # rows
LINES = 3  # rejected ones of a run
SHARE = 20  # a reading that took a second holds for at least 20
LONGEST_S = 15.0  # what has happened is seen by then
GROWS_OLD_S = 300.0  # a period becomes late without any file changing
DISK_EVERY_S = 600.0

OPEN_STATES = ("asked", "waiting", "found", "staging")

# what a day of the calendar may be, worst first
STATES = {
    "set_aside": "set aside",
    "failed": "failed",
    "missing": "missing",
    "expired": "expired",
    "late": "late",
    "waiting": "waiting for you",
    "carried": "on its way",
    "gone": "expired before syncd saw it",
    "covered": "brought by another job",
    "loaded": "loaded",
}


class Day(NamedTuple):
    """One day of one job."""

    date: date
    state: str  # of STATES, the worst of its periods; "" when nothing was expected
    told: str  # in words


class Line(NamedTuple):
    """One job of the calendar; days newest first."""

    source: str
    scope: str
    job: str
    days: list[Day]


class Disk(NamedTuple):
    """Bytes."""

    free: int
    total: int
    used: Mapping[str, int]  # by what for
    room: Room


@dataclass(frozen=True)
class Outlook:
    """All that is shown; instants carry UTC."""

    at: datetime
    status: dict[str, Any]  # as `syncd status --json` has it
    gaps: list[Gap]  # without those that other jobs cover
    calendar: list[Line]
    recent: list[dict[str, Any]]  # runs, youngest first
    set_aside: list[dict[str, Any]]
    on_their_way: list[dict[str, Any]]  # runs that are not home yet, nearest expiry first
    lost: list[dict[str, Any]]  # runs that the vendor deleted before they were home, of which no gap tells
    rejecting: list[dict[str, Any]]  # loaded runs with rejected lines, youngest first; the first of these under `lines`
    warnings: list[str]
    disk: Disk


class Lookout:
    """Looks when asked, and no more often than it must. Any thread."""

    def __init__(self, house: House, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._house, self._clock = house, clock
        self._reading = threading.Lock()
        self._last: Outlook | None = None
        self._key: object = None
        self._read_at = self._cost_s = 0.0
        self._used: Mapping[str, int] = {}
        self._used_at = -DISK_EVERY_S

    def __call__(self) -> Outlook:
        """What is to be seen now. SyncdError: the catalogue or the state can't be read."""
        key, last = self._stamps(), self._last
        age = time.monotonic() - self._read_at
        rests = age < min(SHARE * self._cost_s, LONGEST_S)
        if last is None or (not rests and (key != self._key or age > GROWS_OLD_S)):
            self._read(key, wait=last is None)
        assert self._last
        return aged(replace(self._last, disk=self._disk()), self._clock())

    def _read(self, key: object, *, wait: bool) -> None:
        if not self._reading.acquire(blocking=wait):
            return  # somebody does; what we have is good enough
        try:
            began = time.monotonic()
            house = self._house
            seen = ledger.look_at(house.lake, house.state, house.settings.sources, RECENT, REJECTING)
            shown = derived(seen, house.settings, self._clock(), self._disk())
            self._last = replace(shown, rejecting=self._with_reasons(shown.rejecting))
            self._key, self._read_at = key, time.monotonic()
            self._cost_s = self._read_at - began
        finally:
            self._reading.release()

    def _with_reasons(self, runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Each run with its first rejected lines; what was read once stays read."""
        known = {as_loaded(run): run for run in self._last.rejecting} if self._last else {}
        return [known.get(as_loaded(run)) or self._with_lines(run) for run in runs]

    def _with_lines(self, run: dict[str, Any]) -> dict[str, Any]:
        try:
            return run | {"lines": self._house.lake.rejected(run["source"], run["run"], LINES)}
        except SyncdError:  # its file is gone: `verify` tells that, and the page goes on
            return run | {"lines": []}

    def _stamps(self) -> object:
        """Another value when the catalogue or the state has changed."""
        root = self._house.settings.data_dir
        state = self._house.settings.state_path
        return tuple(map(stamp, (root / "warehouse.duckdb", state, state.with_name(f"{state.name}-wal"))))

    def _disk(self) -> Disk:
        root = self._house.settings.data_dir
        if time.monotonic() - self._used_at > DISK_EVERY_S:
            self._used = {name: size_of(root / name) for name in ("lake", "landing")}
            self._used_at = time.monotonic()
        usage = shutil.disk_usage(root)
        return Disk(usage.free, usage.total, self._used, room(root))


def as_loaded(run: Mapping[str, Any]) -> tuple[object, ...]:
    """Another value when the run was made anew."""
    return run["source"], run["run"], run["loaded_at"], run["rejected"]


def stamp(path: Path) -> object:
    """Another value for each content of a file; None: it isn't there."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def size_of(folder: Path) -> int:
    """Bytes of all files under a folder, as far as they stay while we look."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(parent) / name).stat().st_size
            except FileNotFoundError:
                continue
    return total


def derived(seen: Seen, settings: Settings, now: datetime, disk: Disk) -> Outlook:
    """The little that is shown of all that was seen."""
    pace = volume(seen.history.lately, settings.landing, disk.free, now)
    gaps = ledger.gaps(seen, now)
    told = {(gap.source, gap.job, gap.period_start) for gap in gaps}
    flying = sorted(seen.runs, key=came_at, reverse=True)
    return Outlook(
        at=now,
        status=ledger.status(seen, settings.sources, now, disk.room, pace, gaps),
        gaps=[gap for gap in gaps if gap.state != COVERED],
        calendar=calendar(seen.periods, gaps, now.date()),
        recent=seen.youngest(RECENT),
        set_aside=[run for run in flying if run["state"] == SET_ASIDE],
        lost=[run for run in flying if is_lost(run) and (run["source"], run["job"], run["period_start"]) not in told],
        on_their_way=sorted(
            (run for run in flying if run["state"] in OPEN_STATES),
            key=lambda run: (run["expires_at"] or NEVER, run["run"]),
        )[:OPEN],
        rejecting=list(map(from_catalogue, seen.history.rejecting)),
        warnings=ledger.overlaps(seen.jobs),
        disk=disk,
    )


def aged(outlook: Outlook, now: datetime) -> Outlook:
    """The same some time later: what is counted from now is counted anew."""
    status = dict(outlook.status)
    passed_s = (now - outlook.at).total_seconds()
    status["sources"] = {
        name: source
        | {
            "slack_hours": left if (left := source["slack_hours"]) is None else round(left - passed_s / 3600, 2),
            "scopes": {
                scope: fresh | {"age": fresh["age"] if fresh["age"] is None else fresh["age"] + passed_s}
                for scope, fresh in source["scopes"].items()
            },
        }
        for name, source in outlook.status["sources"].items()
    }
    room = outlook.disk.room
    free = {"free": room.free, "reserve": room.reserve, "downloads_paused": room.is_short}
    status["disk"] = outlook.status["disk"] | free
    status["ok"] = outlook.status["ok"] and not room.is_short
    return replace(outlook, at=now, status=status)


def calendar(runs: Iterable[Mapping[str, Any] | Stretch], gaps: Sequence[Gap], today: date) -> list[Line]:
    """The last DAYS days of every job that had a period in them."""
    days = [today - timedelta(days=back) for back in range(DAYS)]
    seen: dict[tuple[str, str, str], dict[date, dict[str, set[object]]]] = {}

    def note(key: tuple[str, str, str], start: datetime, end: datetime, state: str, which: object = None) -> None:
        first, last = max(start.date(), days[-1]), min((end - timedelta(seconds=2)).date(), today)
        for number in range((last - first).days + 1):
            day = seen.setdefault(key, {}).setdefault(first + timedelta(days=number), {})
            day.setdefault(state, set()).add((start, which))

    given_up = {(gap.source, gap.job, gap.period_start) for gap in gaps}
    for run in runs:
        if isinstance(run, Stretch):
            for period in shown_of(run, days[-1]):
                if (run.source, run.job, period[0]) not in given_up:
                    note((run.source, run.scope, run.job), *period)
        elif (run["source"], run["job"], run["period_start"]) not in given_up:
            note((run["source"], run["scope"], run["job"]), run["period_start"], run["period_end"], shown_as(run))
    for gap in gaps:
        state = "gone" if gap.state == EXPIRED and not gap.needs_you else gap.state
        note((gap.source, gap.scope, gap.job), gap.period_start, gap.period_end, state)
    return [Line(*key, [day_of(day, found.get(day, {})) for day in days]) for key, found in sorted(seen.items())]


def shown_of(stretch: Stretch, since: date) -> Iterator[tuple[datetime, datetime, str, int]]:
    """The periods of a stretch that end on that day or later; none of one whose place another took."""
    if not stretch.is_shown or stretch.end.date() < since:
        return
    length = (whole(stretch.end) - stretch.start) / stretch.periods if stretch.end > stretch.start else timedelta(0)
    for number in range(stretch.periods):
        start = stretch.start + number * length
        if (start + length).date() >= since:
            yield start, start + length, "loaded", number


def shown_as(run: Mapping[str, Any]) -> str:
    """The state of a run in flight in the calendar."""
    match run["state"]:
        case "expired":
            return "expired" if is_lost(run) else "gone"
        case "found" | "staging" | "asked":
            return "carried"
        case state:
            return str(state)


def day_of(day: date, found: Mapping[str, set[object]]) -> Day:
    """A day by its worst period, with all of them counted."""
    counts = {state: len(found[state]) for state in STATES if state in found}
    if sum(counts.values()) == 1:
        return Day(day, next(iter(counts)), STATES[next(iter(counts))])
    return Day(day, next(iter(counts), ""), ", ".join(f"{count} {STATES[state]}" for state, count in counts.items()))
