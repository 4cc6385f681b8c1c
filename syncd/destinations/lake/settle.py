"""Days in which no merge key comes twice are found, so that `<scope>_latest` reads their files as they are.

Only where each row's day is its event's own: then rows that share a key share the day too, and a day stands for
itself. What was found stands beside the files of the day (`settled`): the key with its types, as JSON, or a dash
before it where some key does come twice. A file that comes to the day later takes that back, in its own commit.
"""

# ruff: noqa: S608 - names are ours or quoted, values are bound
from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import groupby
from pathlib import Path

from syncd.destinations.lake import views
from syncd.destinations.lake.catalogue import Catalogue
from syncd.destinations.lake.pack import rows_of, sorting, stored_files
from syncd.destinations.lake.plan import Stored, by_day, is_over
from syncd.destinations.lake.show import known_of, merge_key_of, show, spelled_key
from syncd.destinations.lake.tables import OPEN
from syncd.model import Column, Settled

AT_ONCE = 4 << 30  # bytes of the files whose keys are looked through for one publication


@dataclass(frozen=True)
class Doubt:
    """Days of one scope of which it isn't known yet whether a merge key comes twice in them."""

    source: str
    scope: str
    key: tuple[str, ...]
    by: str  # the key as it is written down
    columns: Sequence[Column]
    layouts: Mapping[str, tuple[Column, ...]]
    days: Mapping[date, list[Stored]]


def doubts(catalogue: Catalogue, now: datetime) -> Iterator[Doubt]:
    """Days that are over, scope by scope, oldest first, as many as are looked through at once. `now` has no zone."""
    days = by_day(stored_files(catalogue))
    for (source, scope), mine in groupby(sorted(days), key=lambda day: day[:2]):
        known = known_of(catalogue, source, scope)
        key, dated = merge_key_of(catalogue, known)
        if key and dated and not known.snapshot:
            by = spelled_key(known, key)
            open_days = {day[2]: days[day] for day in mine if is_over(days[day], now) and not _is_told(days[day], by)}
            if some := _first(open_days):
                yield Doubt(source, scope, key, by, known.columns, known.layouts, some)


def shared(home: Path, doubt: Doubt) -> set[date]:
    """The days in which some key comes twice, with the memory of a packing. TryAgain: a file can't be read."""
    files = [file for files in doubt.days.values() for file in files]
    rows = views.joined_sql(list(rows_of(home, files, doubt.columns, doubt.layouts)))
    key = ", ".join(map(views.quoted, doubt.key))
    keyless = " AND ".join(f"{views.quoted(name)} IS NULL" for name in doubt.key)
    twice = f"SELECT _syncd_date FROM ({rows}) WHERE NOT ({keyless}) GROUP BY _syncd_date, {key} HAVING count(*) > 1"
    with sorting(home) as connection:
        return {day for (day,) in connection.execute(f"SELECT DISTINCT _syncd_date FROM ({twice})").fetchall()}


def write_down(catalogue: Catalogue, home: Path, doubt: Doubt, shared: set[date]) -> Settled:
    """Have the views know, in the open transaction; days that have changed meanwhile are left out."""
    now = by_day(stored_files(catalogue))
    same = [
        day for day, files in doubt.days.items() if set(now.get((doubt.source, doubt.scope, day), ())) == set(files)
    ]
    told = [{"date": day, "settled": f"-{doubt.by}" if day in shared else doubt.by} for day in same]
    if told:
        with catalogue.listed(told) as given:
            catalogue.execute(
                f"UPDATE {OPEN}.files had SET settled = now.settled FROM {given} now "
                "WHERE live AND source = ? AND scope = ? AND had.date = now.date",
                doubt.source,
                doubt.scope,
            )
        show(catalogue, home, doubt.source, doubt.scope)
    return Settled(doubt.source, doubt.scope, len(told), len(shared.intersection(same)))


def _is_told(files: Sequence[Stored], by: str) -> bool:
    return all(file.settled in (by, f"-{by}") for file in files)


def _first(days: Mapping[date, list[Stored]]) -> dict[date, list[Stored]]:
    some: dict[date, list[Stored]] = {}
    size = 0
    for day, files in sorted(days.items()):
        size += sum(file.bytes for file in files)
        if some and size > AT_ONCE:
            break
        some[day] = files
    return some
