"""`<scope>_latest` reads days in which no merge key comes twice as they are, and no reader can tell from the rows."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Any

import duckdb
import pytest

from syncd.destinations.lake import Lake
from syncd.errors import TryAgain
from syncd.model import Column, Settled
from tests.destination_contract import COLUMNS, TEXT, Row, batch, load, query, rows_of
from tests.reader import answer
from tests.test_lake_pack import Clock, hourly, later, live, pack_all

BY_ROW = "ORDER BY _syncd_run, _syncd_part, _syncd_row"
NEWEST = "_syncd_completed_at DESC, _syncd_run DESC, _syncd_part DESC, _syncd_row DESC"
PLAIN = (
    f"SELECT * FROM acme.sessions QUALIFY row_number() OVER (PARTITION BY session_id ORDER BY {NEWEST}) = 1 "
    f"OR session_id IS NULL {BY_ROW}"
)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def lake(tmp_path: Path, clock: Clock) -> Lake:
    lake = Lake(tmp_path / "env=prod [x] 'é|", clock=clock)
    lake.start()
    return lake


def load_days(lake: Lake) -> None:
    """Three days of four runs: nothing twice, a key in each run again, and rows without a key."""
    for on, shared in ((5, 0), (6, 1), (7, 0)):
        for number in range(4):
            rows = rows_of(number + 2, on=on, first=1000 * on + 100 * number * (not shared))
            nobody: list[Row] = [row | {"session_id": None} for row in rows_of(2, on=on)] if on == 7 else []
            load(lake, hourly(number, on=on), batch([*rows, *nobody]))


def settle_all(lake: Lake) -> list[Settled]:
    return [*chain.from_iterable(iter(lake.settle, []))]


def windowed(lake: Lake) -> bool:
    """Whether `_latest` still looks for keys that come twice anywhere."""
    ((sql,),) = query(lake.home, "SELECT sql FROM duckdb_views() WHERE view_name = 'sessions_latest'")
    return "row_number()" in sql


def settled(lake: Lake) -> dict[int, bool | None]:
    rows = query(lake.home, "SELECT DISTINCT day(date), settled LIKE '[%' FROM _syncd_open.files WHERE live")
    assert len(dict(rows)) == len(rows), "all files of a day say the same"
    return dict(rows)


def agrees(lake: Lake) -> bool:
    """Whether `_latest` is what it would be without all this, as a whole and day by day, for every reader."""
    expected = query(lake.home, PLAIN)
    attach = f"ATTACH '{str(lake.home / 'warehouse.duckdb').replace(chr(39), chr(39) * 2)}' AS w (READ_ONLY)"
    sums = "SELECT count(*), count(session_id), sum(hash(session_id, _syncd_run, _syncd_row))::VARCHAR FROM ({})"
    for version in ("1.1", "1.5"):
        asked = [PLAIN.removesuffix(BY_ROW), "SELECT * FROM acme.sessions_latest"]
        assert len({str(answer(version, attach, "USE w", sums.format(sql))) for sql in asked}) == 1, version
    days = {str(row[-3]) for row in expected}
    each = [query(lake.home, f"SELECT * FROM acme.sessions_latest WHERE _syncd_date = '{day}'") for day in days]
    together = sorted((row for rows in each for row in rows), key=str)
    assert together == sorted(expected, key=str)
    return query(lake.home, f"SELECT * FROM acme.sessions_latest {BY_ROW}") == expected


def test_only_days_with_a_key_twice_are_looked_through_by_readers(lake: Lake, clock: Clock) -> None:
    load_days(lake)
    pack_all(lake, clock)
    assert settle_all(lake) == [Settled("acme", "sessions", 3, 1)]
    assert settled(lake) == {5: True, 6: False, 7: True}
    assert windowed(lake)
    assert agrees(lake)
    assert settle_all(lake) == [], "what is known is not asked again"


def test_a_key_that_comes_late_takes_its_day_back_in_the_same_commit(lake: Lake, clock: Clock) -> None:
    load_days(lake)
    pack_all(lake, clock)
    settle_all(lake)
    again = query(lake.home, "SELECT session_id FROM acme.sessions_latest WHERE day(_syncd_date) = 5 LIMIT 1")[0][0]
    load(lake, hourly(20), batch([rows_of(1)[0] | {"session_id": again, "note": "late"}]))
    assert settled(lake) == {5: None, 6: False, 7: True}
    assert query(lake.home, f"SELECT note FROM acme.sessions_latest WHERE session_id = {again}") == [("late",)]
    assert agrees(lake)
    later(clock, days=2)
    assert settle_all(lake) == [Settled("acme", "sessions", 1, 1)]
    assert agrees(lake)


def test_a_few_files_a_day_that_nobody_packs_are_settled_as_well(lake: Lake, clock: Clock) -> None:
    for on in (5, 6):
        load(lake, hourly(1, on=on), batch(rows_of(3, on=on, first=100 * on)))
    assert pack_all(lake, clock) == []
    settle_all(lake)
    assert not windowed(lake)
    assert agrees(lake)


def test_what_is_known_of_a_day_stays_when_its_files_are_packed_or_superseded(lake: Lake, clock: Clock) -> None:
    for number in range(3):
        load(lake, hourly(number), batch(rows_of(3, first=1 + 10 * number)))
    later(clock, days=2)
    settle_all(lake)
    load(lake, hourly(3, on=6), batch(rows_of(1, on=6, first=90)))
    assert settled(lake) == {5: True, 6: None}
    load(lake, hourly(4), batch(rows_of(3, first=70)))
    assert settled(lake) == {5: None, 6: None}
    later(clock, days=2)
    settle_all(lake)
    assert pack_all(lake, clock)
    assert len(live(lake)) == 2
    assert settled(lake) == {5: True, 6: True}
    assert not windowed(lake)
    assert agrees(lake)


def test_a_key_of_another_type_is_looked_through_anew(lake: Lake, clock: Clock) -> None:
    load_days(lake)
    pack_all(lake, clock)
    settle_all(lake)
    as_text = (Column("session_id", TEXT, "session_id"), *COLUMNS[1:])
    load(lake, hourly(0, on=8), batch([rows_of(1, on=8)[0] | {"session_id": "x"}], as_text))
    assert agrees(lake)
    later(clock, days=2)
    assert [(one.days, one.shared) for one in settle_all(lake)] == [(4, 1)]
    assert agrees(lake)


def test_rows_without_a_day_of_their_own_keep_the_whole_scope_in_doubt(lake: Lake, clock: Clock) -> None:
    load_days(lake)
    pack_all(lake, clock)
    settle_all(lake)
    load(lake, hourly(0, on=8), batch([{"session_id": 1, "session_time": None, "note": ""}]))
    assert agrees(lake)
    later(clock, days=2)
    assert settle_all(lake) == []


def test_a_commit_meanwhile_wins(lake: Lake, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    from syncd.destinations import lake as room

    look = room.shared

    def slow(*arguments: Any) -> Any:
        found = look(*arguments)
        load(lake, hourly(21), batch(rows_of(1, first=7)))
        return found

    load_days(lake)
    pack_all(lake, clock)
    monkeypatch.setattr(room, "shared", slow)
    assert lake.settle() == [Settled("acme", "sessions", 2, 1)]
    assert settled(lake) == {5: None, 6: False, 7: True}
    assert agrees(lake)


def test_a_damaged_file_keeps_only_its_scope_in_doubt(lake: Lake, clock: Clock) -> None:
    load_days(lake)
    pack_all(lake, clock)
    (lake.home / live(lake)[0]).write_bytes(b"PAR1")
    with pytest.raises(TryAgain):
        lake.settle()
    assert lake.settle() == []


def test_a_catalogue_from_before_is_grown_at_the_start(lake: Lake, clock: Clock) -> None:
    load_days(lake)
    with duckdb.connect(str(lake.home / "warehouse.duckdb")) as connection:
        connection.execute("ALTER TABLE _syncd_open.files DROP COLUMN settled")
    later(clock, days=2)
    lake.start()
    assert settle_all(lake)
    assert agrees(lake)
