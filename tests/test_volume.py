"""What the disk will hold, from the last week's pace."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from syncd.settings import LandingSettings
from syncd.volume import volume
from tests.home import Home
from tests.sandbox_fixture import running

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def test_the_pace_is_the_last_weeks_and_landing_settles_where_as_much_goes_as_comes() -> None:
    week = (650, 325, NOW - timedelta(days=6.5), NOW - timedelta(days=90))
    pace = volume(week, LandingSettings(keep=timedelta(days=30)), 5000, NOW)
    assert (pace.landed_per_day, pace.stored_per_day, pace.landing_settles_at) == (100, 50, 3000)
    assert pace.days_left == 100
    assert volume(week, LandingSettings(keep=timedelta(days=30), cap=700), 0, NOW).landing_settles_at == 700


def test_a_young_landing_still_grows_and_fills_the_disk_with_the_tables() -> None:
    week = (650, 325, NOW - timedelta(days=6.5), NOW - timedelta(days=10))
    landing = LandingSettings(keep=timedelta(days=30))
    assert volume(week, landing, 5000, NOW).days_left == 60  # 2000 for landing/, then 50 a day
    assert volume(week, landing, 3000, NOW).days_left == 20  # the day on which it has settled
    assert volume(week, landing, 1500, NOW).days_left == 10  # 150 a day
    assert volume(week, LandingSettings(keep=timedelta(0)), 1500, NOW).days_left == 30
    assert volume((650, 0, *week[2:]), landing, 1500, NOW).days_left == 15
    assert volume((650, 0, *week[2:]), landing, 2500, NOW).days_left is None


def test_one_evening_of_loading_is_one_day_at_least() -> None:
    assert volume((100, 40, *[NOW - timedelta(minutes=15)] * 2), LandingSettings(), 400, NOW).landed_per_day == 100


def test_nothing_loaded_fills_no_disk() -> None:
    assert volume((0, 0, None, None), LandingSettings(), 0, NOW).days_left is None


def test_status_tells_it(tmp_path: Path) -> None:
    with running(days=2, format="jsonl") as vendor:
        home = Home(tmp_path, {"acme": vendor.settings()})
        home.once()
    disk = home.json("status")["disk"]
    assert disk["landed_per_day"] == home.query("SELECT sum(bytes) FROM _syncd.runs")[0][0]
    assert disk["stored_per_day"] == home.query("SELECT sum(bytes) FROM _syncd.files")[0][0]
    assert disk["landing_settles_at"] == 30 * disk["landed_per_day"]
    assert "a day brings" in home.run("status").stdout
