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
from functools import partial
from pathlib import Path

import duckdb

from syncd.destinations.lake import views
from syncd.destinations.lake.catalogue import Catalogue
from syncd.destinations.lake.pack import rows_of, stored_files
from syncd.destinations.lake.plan import Stored, by_day, is_over
from syncd.destinations.lake.show import CHUNK_OF, known_of, merge_key_of, show, spelled_key
from syncd.destinations.lake.tables import OPEN
from syncd.destinations.lake.views import Chunk
from syncd.model import Column, Settled

# days of which not every file is told of under this key
UNTOLD = (
    "source = $1 AND scope = $2 "
    "QUALIFY NOT bool_and(coalesce(settled IN ($3, '-' || $3), false)) OVER (PARTITION BY date)"
)
AT_ONCE = 4 << 30  # bytes of the files of a scope whose keys are looked through for one publication


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
    for source, scope in catalogue.execute(f"SELECT DISTINCT source, scope FROM {OPEN}.files WHERE live ORDER BY ALL"):
        known = known_of(catalogue, source, scope)
        key, dated = merge_key_of(catalogue, known)
        if key and dated and not known.snapshot:
            by = spelled_key(known, key)
            days = by_day(stored_files(catalogue, UNTOLD, source, scope, by))
            over = {date: files for (*_, date), files in days.items() if is_over(files, now)}
            if some := _first(over):
                yield Doubt(source, scope, key, by, known.columns, known.layouts, some)


def shared(connection: duckdb.DuckDBPyConnection, home: Path, doubt: Doubt) -> set[date]:
    """The days in which some key comes twice."""
    files = [file for files in doubt.days.values() for file in files]
    rows = views.joined_sql(list(rows_of(home, files, doubt.columns, doubt.layouts)))
    key = ", ".join(map(views.quoted, doubt.key))
    keyless = " AND ".join(f"{views.quoted(name)} IS NULL" for name in doubt.key)
    twice = f"SELECT _syncd_date FROM ({rows}) WHERE NOT ({keyless}) GROUP BY _syncd_date, {key} HAVING count(*) > 1"
    return {day for (day,) in connection.execute(f"SELECT DISTINCT _syncd_date FROM ({twice})").fetchall()}


def write_down(catalogue: Catalogue, home: Path, doubt: Doubt, shared: set[date]) -> Settled:
    """Have the views know, in the open transaction; days that have changed meanwhile are left out."""
    of = (doubt.source, doubt.scope)
    now = by_day(stored_files(catalogue, "source = $1 AND scope = $2 AND list_contains($3, date)", *of, [*doubt.days]))
    same = [day for day, files in doubt.days.items() if set(now.get((*of, day), ())) == set(files)]
    told = [{"date": day, "settled": f"-{doubt.by}" if day in shared else doubt.by} for day in same]
    if told:
        which = f"FROM {OPEN}.files WHERE live AND source = $1 AND scope = $2 AND list_contains($3, date)"
        chunks = partial(catalogue.execute, f"SELECT DISTINCT {CHUNK_OF} {which}", *of, same)
        before = chunks()
        with catalogue.listed(told) as given:
            catalogue.execute(
                f"UPDATE {OPEN}.files had SET settled = now.settled FROM {given} now "
                "WHERE live AND source = ? AND scope = ? AND had.date = now.date",
                *of,
            )
        show(catalogue, home, *of, {Chunk(*row) for row in (*before, *chunks())})
    return Settled(doubt.source, doubt.scope, len(told), len(shared.intersection(same)))


def _first(days: Mapping[date, list[Stored]]) -> dict[date, list[Stored]]:
    some: dict[date, list[Stored]] = {}
    size = 0
    for day, files in sorted(days.items()):
        size += sum(file.bytes for file in files)
        if some and size > AT_ONCE:
            break
        some[day] = files
    return some
