"""The ledger in few rows, however long it is: what is shown of it is summed where it lies, and only sums come out."""

# ruff: noqa: S608 - names are ours, values are bound
from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from syncd.destinations.lake.catalogue import Catalogue, is_of_today, utc
from syncd.destinations.lake.commit import EARLY, LATE
from syncd.destinations.lake.segments import Key
from syncd.destinations.lake.tables import OPEN
from syncd.model import Stretch

SEAM = "INTERVAL 1 SECOND"  # a period may end at 23:59:59.999: the next begins at midnight
# Every period once, by job and time; `next`: where the one behind it would begin. Memory goes with their number, so
# they are taken a quarter of a year at a time.
PERIODS = f"""
SELECT source, scope, job, bool_or(status = 'loaded') AS shown, period_start AS began, period_end AS ended,
    min(completed_at) AS completed, date_trunc('minute', ended) + INTERVAL 1 MINUTE AS minute,
    if(minute - ended <= {SEAM}, minute, ended) AS next, hash(source, scope, job) AS of
FROM _syncd.runs WHERE period_start >= $1 AND period_start < $2 AND period_end > period_start
    AND ($3 = '' OR source = $3) GROUP BY source, scope, job, began, ended ORDER BY of, began, ended
"""
INSTANTS = """
SELECT source, scope, job, bool_or(status = 'loaded'), count(*), max(period_start), max(period_end), min(completed_at)
FROM _syncd.runs WHERE period_start >= $1 AND period_start < $2 AND period_end <= period_start
    AND ($3 = '' OR source = $3) GROUP BY source, scope, job, CAST(period_start AS DATE) ORDER BY ALL
"""

BY_PERIOD = "source, scope, period_start, run"
QUARTERS = """
SELECT date_trunc('quarter', period_start) AS quarter, quarter + INTERVAL 3 MONTH, count(*),
    bit_xor(hash(source, run, status, loaded_at))
FROM _syncd.runs WHERE $1 = '' OR source = $1 GROUP BY quarter ORDER BY quarter
"""
# Of a week: bytes as they came, bytes of their files, when the first was loaded; when the first of all was
Week = tuple[int, int, datetime | None, datetime | None]
Kept = dict[tuple[str, datetime], tuple[object, list[Stretch]]]  # by source and quarter: a print of its runs


@dataclass(frozen=True)
class History:
    """What the ledger comes to; rows have the columns of `_syncd.runs`, their instants are UTC without a zone."""

    stretches: list[Stretch] = field(default_factory=list)
    counts: dict[tuple[str, str, str], int] = field(default_factory=dict)  # of runs, by source, scope and status
    youngest: list[dict[str, Any]] = field(default_factory=list)  # loaded last
    rejecting: list[dict[str, Any]] = field(default_factory=list)  # the same of those with rejected lines
    short: list[dict[str, Any]] = field(default_factory=list)  # the same of those of which rows are lost for good
    known: dict[Key, str] = field(default_factory=dict)  # of the runs that were asked about: the status
    lately: Week = (0, 0, None, None)


def told(catalogue: Catalogue, kept: Kept, since: datetime, runs: Iterable[Key], most: int, rejecting: int) -> History:
    """All of it. `runs`: source and id of those to be looked up; `since`: what was loaded lately begins then."""
    return History(
        list(stretches(catalogue, kept)),
        counts(catalogue),
        youngest(catalogue, most),
        youngest(catalogue, rejecting, which="status = 'loaded' AND rejected > 0"),
        catalogue.rows(f"FROM {runs_sql(catalogue)} WHERE status = 'loaded' AND lost > 0 ORDER BY {BY_PERIOD}"),
        known(catalogue, runs),
        lately(catalogue, utc(since)),
    )


def stretches(catalogue: Catalogue, kept: Kept, source: str = "") -> Iterator[Stretch]:
    """The periods that runs have brought, by quarter, job and time; of a source, or of all.

    `kept`: of quarters in which nothing has changed since, what was found then; only those of this look stay in it.
    """
    had = dict(kept)
    kept.clear()
    for began, ended, *print_of in catalogue.execute(QUARTERS, source):
        key = (source, began)
        same = had.get(key, (None, []))
        kept[key] = same if same[0] == print_of else (print_of, list(_stretches(catalogue, began, ended, source)))
        yield from kept[key][1]


def _stretches(catalogue: Catalogue, began: datetime, ended: datetime, source: str) -> Iterator[Stretch]:
    """Periods side by side, of one length and all shown or none, are one stretch; but for its first and its last
    period, for what a failed run was for hangs on these."""
    periods = catalogue.table(PERIODS, began, ended, source)
    of, start, behind, shown = (periods[name].to_numpy() for name in ("of", "began", "next", "shown"))
    length = behind - start
    beside = (of[1:] == of[:-1]) & (start[1:] == behind[:-1]) & (length[1:] == length[:-1]) & (shown[1:] == shown[:-1])
    first = np.flatnonzero(np.concatenate([np.ones(min(len(of), 1), bool), ~beside]))
    count = np.diff(np.append(first, len(of)))
    last = first + count - 1
    second = np.minimum(first + 1, last)
    rows = [periods.take(pa.array(at)).to_pylist() for at in (first, second, last)]
    for many, one, two, end in zip(count.tolist(), *rows, strict=True):
        whose = partial(Stretch, one["source"], one["scope"], one["job"], one["shown"])
        yield whose(_aware(one["began"]), _aware(one["ended"]), _aware(one["completed"]))
        if many > 2:
            yield whose(_aware(two["began"]), _aware(end["began"]), _aware(two["completed"]), many - 2)
        if many > 1:
            yield whose(_aware(end["began"]), _aware(end["ended"]), _aware(end["completed"]))
    for row in catalogue.execute(INSTANTS, began, ended, source):
        at, until, completed = map(_aware, row[5:])
        yield Stretch(row[0], row[1], row[2], row[3], at, until, completed, row[4])


def counts(catalogue: Catalogue) -> dict[tuple[str, str, str], int]:
    """How many runs there are, by source, scope and status."""
    rows = catalogue.execute("SELECT source, scope, status, count(*) FROM _syncd.runs GROUP BY ALL ORDER BY ALL")
    return {(source, scope, status): count for source, scope, status, count in rows}


def runs_sql(catalogue: Catalogue) -> str:
    """`_syncd.runs` as a subquery, with how many rows of each run are lost for good, as was accepted."""
    listed = f"SELECT 1 FROM {OPEN}.segments WHERE kind = 'lost' LIMIT 1"
    if not is_of_today(catalogue) or not catalogue.execute(listed):
        return "(SELECT *, 0 AS lost FROM _syncd.runs)"
    lost = "SELECT source, run, CAST(sum(rows) AS BIGINT) AS lost FROM _syncd.lost GROUP BY ALL"
    return f"(SELECT runs.*, coalesce(lost, 0) AS lost FROM _syncd.runs LEFT JOIN ({lost}) USING (source, run))"


def youngest(catalogue: Catalogue, most: int, *, which: str = "true") -> list[dict[str, Any]]:
    """The runs that were loaded last, youngest first."""
    order = "ORDER BY loaded_at DESC, period_start DESC"
    return catalogue.rows(f"FROM {runs_sql(catalogue)} WHERE {which} {order} LIMIT {most:d}")


def loaded_since(catalogue: Catalogue, since: datetime) -> list[dict[str, Any]]:
    """The runs that were loaded since then, oldest first."""
    return catalogue.rows("FROM _syncd.runs WHERE loaded_at >= ? ORDER BY loaded_at", since)


def walk(catalogue: Catalogue, source: str = "", status: str = "") -> Iterator[dict[str, Any]]:
    """Every run by source, scope, start and id, with the memory of one month of a scope."""
    chosen = "($1 = '' OR source = $1) AND ($2 = '' OR status = $2)"
    slices = catalogue.execute(
        f"SELECT DISTINCT source, scope, date_trunc('month', period_start) FROM _syncd.runs WHERE {chosen} "
        "ORDER BY ALL",
        source,
        status,
    )
    rows = runs_sql(catalogue)
    for of, scope, month in slices:
        yield from catalogue.rows(
            f"FROM {rows} WHERE ($2 = '' OR status = $2) AND source = $1 AND scope = $3 "
            "AND period_start >= $4 AND period_start < CAST($4 AS TIMESTAMP) + INTERVAL 1 MONTH "
            "ORDER BY period_start, run",
            of,
            status,
            scope,
            month,
        )


def covering(
    catalogue: Catalogue, periods: Sequence[tuple[str, str, datetime, datetime]], most: int
) -> list[tuple[int, list[str]]]:
    """For each period of a source's scope: how many shown runs share more than a seam with it, and the first ones."""
    rows = [
        {"number": at, "source": source, "scope": scope, "began": utc(start), "ended": utc(end)}
        for at, (source, scope, start, end) in enumerate(periods)
    ]
    if not rows:
        return []
    with catalogue.listed(rows) as given:
        found = catalogue.execute(
            f"SELECT number, count(*), list(run ORDER BY period_start, period_end, run)[:{most:d}] FROM {given} "
            "JOIN _syncd.runs USING (source, scope) WHERE status = 'loaded' AND period_end > period_start "
            f"AND period_start < ended - {SEAM} AND period_end > began + {SEAM} "
            f"AND period_end > ? AND period_start < ? GROUP BY number",
            utc(min(start for *_, start, _ in periods)),
            utc(max(end for *_, end in periods)),
        )
    by_number = {number: (count, names) for number, count, names in found}
    return [by_number.get(at, (0, [])) for at in range(len(periods))]


def known(catalogue: Catalogue, runs: Iterable[Key]) -> dict[Key, str]:
    """The status of those of the runs that the ledger has."""
    rows = [{"source": source, "run": run} for source, run in runs]
    if not rows:
        return {}
    with catalogue.listed(rows) as given:
        found = catalogue.execute(f"SELECT source, run, status FROM _syncd.runs SEMI JOIN {given} USING (source, run)")
    return {(source, run): status for source, run, status in found}


def lately(catalogue: Catalogue, since: datetime) -> Week:
    """Of the runs loaded since then: bytes as they came, bytes of their files, when the first was loaded; when ever."""
    ((landed, first, earliest, latest),) = catalogue.execute(
        f"SELECT coalesce(sum(bytes), 0), min(loaded_at), CAST(min(period_start) - {EARLY} AS DATE), "
        f"CAST(max(period_end) + {LATE} AS DATE) FROM _syncd.runs WHERE loaded_at > ?",
        since,
    )
    if first is None:
        return 0, 0, None, None
    ((stored,),) = catalogue.execute(
        "SELECT coalesce(sum(bytes), 0) FROM _syncd.files SEMI JOIN (SELECT source, scope, run FROM _syncd.runs "
        "WHERE loaded_at > ?) USING (source, scope, run) WHERE date BETWEEN ? AND ?",
        since,
        earliest,  # of years of files only those are read that these bounds may hold
        latest,
    )
    ((began,),) = catalogue.execute("SELECT min(loaded_at) FROM _syncd.runs")
    return int(landed), int(stored), _aware(first), _aware(began)


def _aware(instant: datetime) -> datetime:
    return instant.replace(tzinfo=UTC)
