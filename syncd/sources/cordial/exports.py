"""The exports that the configuration names: their windows, and the request for each.

A request's name is derived from all that is asked for, so what was asked for can be found again at the vendor; each
POST adds a mark of its own, because a name is never used twice: its folder would hold two exports.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from syncd.model import ExportRequest, Job
from syncd.sources.cordial.parameters import JOB_NAMES, SNAPSHOTS

KEPT = timedelta(days=548)  # 18 months: activities are purged then (documented)
LIVE = timedelta(days=2)  # windows that ended so recently go before older ones
DYING = timedelta(days=7)  # and those with so long to live before the rest
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)  # where windows of snapshots are counted from
FORMATS = {"json": "jsonl", "csv": "csv", "txt": "csv"}
FREQUENCIES = {timedelta(hours=1): "hourly", timedelta(days=1): "daily", timedelta(days=7): "weekly"}
MARK = r"[0-9a-f]{6}"


@dataclass(frozen=True)
class Export:
    """One `[sources.NAME.exports.EXPORT]` section."""

    name: str
    endpoint: str
    start: datetime | None
    window: timedelta
    delay: timedelta
    overlap: timedelta
    format: str  # json, csv, txt; "" where only the files tell
    prefix: str  # what the names at the vendor begin with
    wanted: Mapping[str, Any] = field(default_factory=dict)  # in Cordial's words

    def windows(self, now: datetime) -> Iterator[tuple[datetime, datetime]]:
        """The closed windows that the vendor can still fill, oldest first; of a snapshot only the last one."""
        last = (now - self.delay - (self.start or EPOCH)) // self.window
        first = last - 1
        if self.start is not None and self.endpoint not in SNAPSHOTS:
            first = (now - KEPT - self.start) // self.window
        for number in range(max(first, 0), last):
            start = (self.start or EPOCH) + number * self.window
            yield start, start + self.window

    def stem(self, source: str, place: Mapping[str, Any], start: datetime, end: datetime, attempt: int) -> str:
        """What the name of every POST for this attempt begins with."""
        told = [source, place, self.name, self.endpoint, start, end, self.overlap.total_seconds(), attempt, self.wanted]
        digest = hashlib.sha256(orjson.dumps(told, option=orjson.OPT_SORT_KEYS)).hexdigest()
        return f"{self.prefix}-{start:%Y%m%dT%H%M}-{attempt}-{digest[:8]}"

    def body(self, name: str, start: datetime, end: datetime, destination: Mapping[str, Any]) -> dict[str, Any]:
        """The whole request. The end is inclusive or not (unknown): where rows have an id it is given whole, and what
        comes twice is told apart; else it is written as in the vendor's examples, a millisecond earlier."""
        asked = dict(self.wanted) | {"name": name, "destination": dict(destination)}
        if self.endpoint == "messageanalyticsexport":
            asked["fileName"] = name
        if self.endpoint not in SNAPSHOTS:
            asked["selected_timeframe_start"] = zulu(start - self.overlap)
            asked["selected_timeframe_end"] = zulu(end if self.overlap else end - timedelta(milliseconds=1))
        return asked

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the columns in order, where they are chosen."""
        columns: Sequence[Mapping[str, str]] = self.wanted.get("columnHeaders", ())
        return tuple(column["label"] for column in columns) or tuple(self.wanted.get("fields", ()))

    def job(self, source: str) -> Job:
        """The export as a standing job: it makes a run for each window."""
        shown = orjson.dumps({"endpoint": self.endpoint, **self.wanted}).decode()
        return Job(
            source=source,
            id=self.name,
            name=self.prefix,
            scope=self.name,
            format=FORMATS.get(self.format, ""),
            frequency=FREQUENCIES.get(self.window, ""),
            filters=shown,
            fields=orjson.dumps(self.labels).decode() if self.labels else "",
            state="ACTIVE",
        )


def requests(source: str, exports: Sequence[Export], now: datetime) -> list[ExportRequest]:
    """Every export that ought to have been asked for by now, those to ask for first at the head.

    Windows that ended lately, then those that the vendor purges soon, then the past, newest first: a backfill grows
    backwards and leaves no hole behind that would look like a missing period.
    """
    found = [
        ExportRequest(
            source=source,
            id=f"{export.name}-{compact(start)}-{compact(end)}",
            scope=export.name,
            format=FORMATS.get(export.format, ""),
            start=start,
            end=end,
            job=export.name,
        )
        for export in exports
        for start, end in export.windows(now)
    ]

    def turn(one: ExportRequest) -> tuple[int, float, str]:
        if one.end >= now - LIVE:
            return 0, one.start.timestamp(), one.id
        if one.start < now - KEPT + DYING:
            return 1, one.start.timestamp(), one.id
        return 2, -one.start.timestamp(), one.id

    return sorted(found, key=turn)


def name_for(stem: str) -> str:
    """A name that was never used."""
    return f"{stem}-{secrets.token_hex(3)}"


def name_in(stem: str, text: str) -> str:
    """The name made for this stem that a text holds; "" for none."""
    match = re.search(rf"{re.escape(stem)}-{MARK}", text)
    return match[0] if match else ""


def ours_in(prefix: str, name: str) -> str:
    """The name of ours that a name begins with, whatever the vendor put behind it; "" for a name that isn't ours."""
    match = re.match(rf"{re.escape(prefix)}-\d{{8}}T\d{{4}}-\d+-[0-9a-f]{{8}}-{MARK}", name)
    return match[0] if match else ""


def start_in(prefix: str, name: str) -> datetime | None:
    """The window's start that a name of ours tells; None for a name that isn't ours."""
    told = ours_in(prefix, name).removeprefix(f"{prefix}-")[:13]
    return datetime.strptime(told, "%Y%m%dT%H%M").replace(tzinfo=UTC) if told else None


def compact(moment: datetime) -> str:
    return moment.strftime("%Y%m%dT%H%M%SZ")


def zulu(moment: datetime) -> str:
    """An instant as the vendor's examples spell it."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03}Z"


def job_name(endpoint: str) -> str:
    """What the vendor calls the jobs of an endpoint; "" where nobody knows."""
    return JOB_NAMES.get(endpoint, "")
