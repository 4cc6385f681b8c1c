"""What the ledger comes to in few rows says the same as all its runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syncd.destinations.lake.catalogue import Catalogue
from syncd.destinations.lake.history import History, Kept, counts, covering, stretches, walk, youngest
from syncd.destinations.lake.tables import RUNS, spelled
from syncd.gaps import NAMED, calendar, jobs_complete_up_to
from syncd.ledger import Seen, complete_up_to, status
from syncd.model import Failure, Job, Stretch
from syncd.outlook import calendar as days_of
from syncd.reserve import Room
from syncd.volume import Volume

FIRST = datetime(2025, 12, 29, tzinfo=UTC)  # a year ends on the third day
HOUR, MS = timedelta(hours=1), timedelta(milliseconds=1)
JOBS = [Job("s", "j", frequency="hourly", scope="views"), Job("s", "k", frequency="daily", scope="views")]
Row = dict[str, Any]


@pytest.fixture(scope="module")
def catalogue() -> Iterator[Catalogue]:
    with duckdb.connect() as connection:
        connection.execute(f"CREATE SCHEMA _syncd; CREATE TABLE _syncd.runs ({spelled(RUNS)})")
        yield Catalogue(connection)


def row(job: str, start: datetime, end: datetime, number: int, *, shown: bool = True) -> Row:
    of = {"source": "s", "run": f"{job}-{number:04}", "job": job, "scope": "views", "format": "jsonl"}
    done = {"completed_at": end + number * timedelta(seconds=9), "loaded_at": end + HOUR}
    sums = {"parts": 1, "rows": 1, "rejected": number % 5 == 0, "bytes": 1}
    status = "loaded" if shown else "superseded"
    return of | done | sums | {"period_start": start, "period_end": end, "status": status}


def fill(catalogue: Catalogue, rows: Sequence[Row]) -> None:
    catalogue.execute("DELETE FROM _syncd.runs")
    plain = [{k: v.replace(tzinfo=None) if isinstance(v, datetime) else v for k, v in one.items()} for one in rows]
    catalogue.insert("_syncd.runs", plain)


COURSES = st.text(alphabet="++++++++++++-.<2si", max_size=120)
SHORT = st.sampled_from([timedelta(0), MS])


def ledger(courses: Mapping[str, str], short: timedelta) -> list[Row]:
    """Two jobs of a scope, hourly and daily: with holes, odd lengths, repeats and instants."""
    rows: list[Row] = []
    for job, length in (("j", HOUR), ("k", 24 * HOUR)):
        for number, what in enumerate(courses[job]):
            start, end = FIRST + number * length, FIRST + (number + 1) * length - short
            match what:
                case ".":
                    rows.append(row(job, start, end + length, number))
                case "<":
                    rows.append(row(job, start - length / 2, end - length / 2, number))
                case "i":
                    rows.append(row(job, start, start, number))
                case "+" | "2" | "s":
                    rows.append(row(job, start, end, number))
                    rows += [row(job, start, end, number + 500, shown=False)] if what == "2" else []
                    rows += [row(job, start, end, number - 1, shown=False)] if what == "s" else []
    return rows


def as_listed(rows: Sequence[Row]) -> list[Mapping[str, Any]]:
    more = {"expires_at": None, "found_at": None, "error": "", "hint": ""}
    return [one | more | {"state": one["status"]} for one in rows]


def alone(one: Row) -> Stretch:
    """A run as a stretch of its own."""
    of = (one["source"], one["scope"], one["job"], one["status"] == "loaded")
    return Stretch(*of, one["period_start"], one["period_end"], one["completed_at"])


def status_of(history: History, now: datetime) -> dict[str, Any]:
    flying = as_listed([row("j", FIRST - HOUR, FIRST, 900) | {"status": "found", "loaded_at": None}])
    seen = Seen([dict(one) for one in flying], {}, JOBS, history)
    return status(seen, [], now, Room(1, 1), Volume(0, 0, 0, 0), [])


@settings(max_examples=60, deadline=None)
@given(COURSES, COURSES, SHORT, st.lists(st.integers(0, 140), max_size=6))
def test_gaps_are_those_that_all_runs_show(
    catalogue: Catalogue, hourly: str, daily: str, short: timedelta, failed: list[int]
) -> None:
    rows = ledger({"j": hourly, "k": daily[:6]}, short)
    fill(catalogue, rows)
    now = FIRST + 160 * HOUR
    failures = {
        ("s", job): [Failure(f"f{at}", FIRST + at * HOUR, FIRST + (at + 0.1) * HOUR) for at in failed] for job in "jk"
    }
    few, many = list(stretches(catalogue, {})), as_listed(rows)
    assert sum(one.periods for one in few) == len(
        {(one["job"], one["period_start"], one["period_end"]) for one in rows}
    )
    expected = calendar(JOBS, many, failures, now)
    assert calendar(JOBS, few, failures, now, lambda periods: covering(catalogue, periods, NAMED)) == expected
    assert jobs_complete_up_to(few) == jobs_complete_up_to(many)
    today = now.date()
    shown = [one for one in many if one["state"] == "loaded"]
    real = [one for one in shown if one["period_end"] > one["period_start"]]
    few_real = [one for one in few if one.end > one.start]
    assert days_of(few_real, expected, today) == days_of(real, expected, today)
    told, plain = (status_of(History(each, counts(catalogue)), now) for each in (few, [alone(one) for one in rows]))
    assert told == plain
    states = Counter(one["status"] for one in rows)
    assert told["sources"]["s"]["runs"] == dict(sorted(states.items())) | {"found": 1}


def test_an_unbroken_history_is_three_rows_a_job_and_quarter(catalogue: Catalogue) -> None:
    fill(catalogue, [row(job, FIRST + n * HOUR, FIRST + (n + 1) * HOUR, n) for job in "jk" for n in range(2000)])
    assert len(list(stretches(catalogue, {}))) == 2 * 2 * 3
    assert counts(catalogue) == {("s", "views", "loaded"): 4000}


def test_only_quarters_that_have_changed_are_read_again(catalogue: Catalogue) -> None:
    rows = [row("j", FIRST + n * 24 * HOUR, FIRST + (n + 1) * 24 * HOUR, n) for n in range(200)]
    fill(catalogue, rows)
    kept: Kept = {}
    before = list(stretches(catalogue, kept))
    old = {key: found for key, (_, found) in kept.items()}
    assert len(old) == 4
    del rows[100]
    rows[-1] |= {"status": "superseded"}
    fill(catalogue, rows)
    after = list(stretches(catalogue, kept))
    assert after == list(stretches(catalogue, {})) != before
    assert [found is old[key] for key, (_, found) in kept.items()] == [True, True, False, False]


def test_runs_are_walked_in_order_and_chosen(catalogue: Catalogue) -> None:
    rows = [
        row(job, FIRST + n * 24 * HOUR, FIRST + (n + 1) * 24 * HOUR, n, shown=bool(n % 3))
        for job in "kj"
        for n in range(70)
    ]
    fill(catalogue, rows)
    walked = list(walk(catalogue))
    assert [one["run"] for one in walked] == [
        one["run"] for one in sorted(rows, key=lambda one: (one["period_start"], one["run"]))
    ]
    assert list(walk(catalogue, "s", "superseded")) == [one for one in walked if one["status"] == "superseded"]
    assert list(walk(catalogue, "other")) == []
    assert [one["loaded_at"] for one in youngest(catalogue, 3)] == sorted(
        (one["loaded_at"] for one in walked), reverse=True
    )[:3]
    assert all(one["rejected"] for one in youngest(catalogue, 9, which="rejected > 0"))


def test_what_begins_with_a_hole_is_complete_up_to_there() -> None:
    day = 24 * HOUR
    periods = [(FIRST + 2 * day, FIRST + 3 * day), (FIRST + 3 * day, FIRST + 4 * day)]
    assert complete_up_to(periods) == FIRST + 4 * day
    assert complete_up_to(periods, [FIRST + 4 * day]) == FIRST + 4 * day
    assert complete_up_to(periods, [FIRST + day, FIRST + 9 * day]) == FIRST + day
