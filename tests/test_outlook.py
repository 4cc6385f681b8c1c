"""What the page shows of jobs and days: pure, so a table of cases."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from syncd.gaps import Gap
from syncd.model import Stretch
from syncd.outlook import DAYS, Disk, Outlook, aged, calendar
from syncd.reserve import Room

TODAY = date(2026, 3, 1)
DAY = timedelta(days=1)


def midnight(back: int) -> datetime:
    return datetime(2026, 3, 1, tzinfo=UTC) - back * DAY


def run(back: int, state: str, length: timedelta = DAY, job: str = "7", **more: Any) -> dict[str, Any]:
    start = midnight(back)
    row = {"source": "acme", "job": job, "scope": "views", "state": state, "period_start": start}
    return row | {"period_end": start + length, "expires_at": None, "found_at": start} | more


def gap(back: int, state: str, *, needs_you: bool = True) -> Gap:
    return Gap("acme", "7", "views", "daily", midnight(back), midnight(back) + DAY, state, "", needs_you)


def shown(runs: list[dict[str, Any]], gaps: list[Gap], back: int) -> tuple[str, str]:
    (line,) = calendar(runs, gaps, TODAY)
    assert [day.date for day in line.days] == [TODAY - back * DAY for back in range(DAYS)]
    return line.days[back].state, line.days[back].told


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("loaded", "loaded"),
        ("found", "carried"),
        ("staging", "carried"),
        ("set_aside", "set_aside"),
        ("waiting", "waiting"),
    ],
)
def test_a_day_is_what_its_run_is(state: str, expected: str) -> None:
    assert shown([run(3, state)], [], 3)[0] == expected
    assert shown([run(3, state)], [], 2)[0] == ""


@pytest.mark.parametrize("state", ["missing", "late", "failed", "expired", "set_aside"])
def test_a_gap_is_shown_beside_what_is_loaded(state: str) -> None:
    assert shown([run(4, "loaded")], [gap(3, state)], 3)[0] == state
    assert shown([run(4, "loaded")], [gap(3, state)], 4)[0] == "loaded"


def test_the_worst_hour_colours_the_day_and_all_are_counted() -> None:
    hour = timedelta(hours=1)
    runs = [run(2, "loaded", hour), run(2, "loaded", hour) | {"period_start": midnight(2) + hour}]
    assert shown(runs, [gap(2, "missing")], 2)[0] == "missing"
    runs[1]["period_end"] = midnight(2) + 2 * hour
    assert shown(runs, [], 2) == ("loaded", "2 loaded")


def test_a_run_of_many_days_fills_them_and_no_more() -> None:
    runs = [run(40, "loaded", 30 * DAY)]
    assert shown(runs, [], DAYS - 1)[0] == "loaded"
    assert shown(runs, [], 11)[0] == "loaded"
    assert shown(runs, [], 10)[0] == ""


def test_what_is_older_than_the_calendar_is_no_line() -> None:
    assert calendar([run(DAYS + 5, "loaded")], [gap(DAYS + 5, "missing")], TODAY) == []


def test_a_place_that_another_took_is_not_shown() -> None:
    taken = Stretch("acme", "views", "7", False, midnight(3), midnight(2), midnight(2))
    assert calendar([taken], [], TODAY) == []


def test_a_stretch_shows_each_of_its_periods() -> None:
    hours = Stretch(
        "acme", "views", "7", True, midnight(40), midnight(1) - timedelta(milliseconds=1), midnight(1), 39 * 24
    )
    (line,) = calendar([hours], [gap(5, "missing")], TODAY)
    assert [day.told for day in line.days[:3]] == ["", "", "24 loaded"]
    assert [day.told for day in line.days[4:7]] == ["24 loaded", "1 missing, 23 loaded", "24 loaded"]
    assert line.days[-1].told == "24 loaded"
    instants = Stretch("acme", "views", "7", True, midnight(2) + DAY / 2, midnight(2) + DAY / 2, midnight(2), 3)
    assert calendar([instants], [], TODAY)[0].days[2] == (midnight(2).date(), "loaded", "3 loaded")


def test_expired_before_it_was_seen_is_calm() -> None:
    assert shown([run(3, "expired", expires_at=midnight(9))], [], 3)[0] == "gone"
    assert shown([run(3, "expired", expires_at=midnight(1))], [], 3)[0] == "expired"
    assert shown([run(4, "loaded")], [gap(3, "expired", needs_you=False)], 3)[0] == "gone"


def test_ages_go_on_while_nothing_is_read() -> None:
    fresh = {"complete_up_to": midnight(1), "newest_period_end": midnight(1), "age": 60.0}
    source = {"slack_hours": 2.0, "scopes": {"views": fresh, "empty": fresh | {"age": None}}}
    nothing: Any = {key: [] for key in ("gaps", "calendar", "recent", "set_aside", "on_their_way", "lost")}
    nothing |= {"rejecting": [], "warnings": []}
    status = {"ok": True, "sources": {"acme": source}, "disk": {"free": 9, "reserve": 5, "downloads_paused": False}}
    seen = Outlook(at=midnight(0), status=status, disk=Disk(1, 2, {}, Room(1, 5)), **nothing)
    assert aged(seen, midnight(0)).status["disk"] == {"free": 1, "reserve": 5, "downloads_paused": True}
    assert not aged(seen, midnight(0)).status["ok"]
    later = aged(seen, midnight(0) + timedelta(minutes=30)).status["sources"]["acme"]
    assert later["slack_hours"] == 1.5
    assert later["scopes"]["views"]["age"] == 60 + 1800
    assert later["scopes"]["empty"]["age"] is None
    assert source["slack_hours"] == 2.0, "what is kept is not changed"
