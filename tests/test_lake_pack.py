"""Small files become large ones: no reader can tell, and all that may happen to a run still happens to it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import chain
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest

from syncd.destinations.lake import Lake
from syncd.destinations.lake.plan import FULL, Stored, plan
from syncd.destinations.lake.proof import published
from syncd.errors import TryAgain
from syncd.model import Column, Packed, Run, Scope
from syncd.types import Type
from tests.destination_contract import (
    COLUMNS,
    LANDED,
    SESSIONS,
    TEXT,
    UINT64,
    batch,
    day,
    load,
    query,
    rows_of,
    run,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
INT64 = Type.parse("int64")
EVERYTHING = "SELECT * FROM acme.sessions ORDER BY _syncd_run, _syncd_part, _syncd_row"


class Clock:
    """An hour later each time it is looked at: runs of a day have instants of loading of their own."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        self.now += timedelta(hours=1)
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def lake(tmp_path: Path, clock: Clock) -> Lake:
    lake = Lake(tmp_path / "env=prod [x] 'é|", clock=clock)
    lake.start()
    return lake


def hourly(number: int, *, on: int = 5, job: str = "7") -> Run:
    return replace(run(f"{job}-{on}-{number}", on=on, job=job), start=day(on, number), end=day(on, number + 1))


def load_day(lake: Lake, *, on: int = 5, runs: int = 6, job: str = "7") -> None:
    for number in range(runs):
        one = hourly(number, on=on, job=job)
        rows = list(reversed(rows_of(number + 2, on=on, first=1 + 100 * number)))
        load(lake, one, batch(rows, rejected=number % 2))


def later(clock: Clock, **much: float) -> None:
    clock.now += timedelta(**much)


def pack_now(lake: Lake) -> list[Packed]:
    return [*chain.from_iterable(iter(lake.pack, []))]


def pack_all(lake: Lake, clock: Clock) -> list[Packed]:
    """All that is worth it two days from now."""
    later(clock, days=2)
    return pack_now(lake)


def packed(lake: Lake) -> list[str]:
    return [path for (path,) in query(lake.home, "SELECT path FROM _syncd_open.files WHERE packed ORDER BY path")]


def live(lake: Lake) -> list[str]:
    return [path for (path,) in query(lake.home, "SELECT path FROM _syncd_open.files WHERE live ORDER BY path")]


def ledger(lake: Lake) -> dict[str, list[tuple[Any, ...]]]:
    told = {kind: f"SELECT * FROM _syncd.{kind} ORDER BY ALL" for kind in ("runs", "parts", "rejected")}
    told["files"] = "SELECT source, scope, run, part, date, sum(rows) FROM _syncd.files GROUP BY ALL ORDER BY ALL"
    return {kind: query(lake.home, sql) for kind, sql in told.items()}


def test_the_rows_of_a_day_are_in_one_file_and_the_same_row_for_row(lake: Lake, clock: Clock) -> None:
    for on in (5, 6):
        load_day(lake, on=on)
    views = ("sessions", "sessions_latest", "sessions@7")
    asked = [f'SELECT * FROM acme."{view}" ORDER BY _syncd_run, _syncd_part, _syncd_row' for view in views]
    before, known = [query(lake.home, sql) for sql in asked], ledger(lake)
    done = pack_all(lake, clock)
    assert [(one.source, one.scope, one.date, one.files, one.rows) for one in done] == [
        ("acme", "sessions", "2026-01-05", 6, 27),
        ("acme", "sessions", "2026-01-06", 6, 27),
    ]
    assert [query(lake.home, sql) for sql in asked] == before
    assert ledger(lake) == known
    assert live(lake) == packed(lake)
    assert len(live(lake)) == 2


def test_a_packed_file_is_sorted_by_event_time_and_keeps_its_types(lake: Lake, clock: Clock) -> None:
    load_day(lake)
    types = query(lake.home, "DESCRIBE acme.sessions")
    pack_all(lake, clock)
    (path,) = packed(lake)
    times = pq.read_table(lake.home / path).column("session_time").to_pylist()
    assert len(times) == 27
    assert times == sorted(times)
    assert query(lake.home, "DESCRIBE acme.sessions") == types
    assert query(lake.home, "SELECT max(session_id) FROM acme.sessions") == [(2**64 - 1,)]


def test_bytes_and_rows_of_the_ledger_are_those_of_the_file(lake: Lake, clock: Clock) -> None:
    load_day(lake)
    pack_all(lake, clock)
    (path,) = packed(lake)
    size = (lake.home / path).stat().st_size
    assert query(lake.home, "SELECT path, sum(bytes), sum(rows) FROM _syncd.files GROUP BY path") == [(path, size, 27)]


def test_nothing_is_packed_while_a_day_is_not_over(lake: Lake, clock: Clock) -> None:
    load_day(lake)
    assert lake.pack() == [], "the youngest file is not a day old"
    later(clock, days=2)
    load_day(lake, on=(clock.now - datetime(2026, 1, 1, tzinfo=UTC)).days + 1)
    assert [one.date for one in pack_now(lake)] == ["2026-01-05"]


def test_old_files_stay_for_readers_that_never_reconnect_then_go(lake: Lake, clock: Clock) -> None:
    load_day(lake)
    old = live(lake)
    with duckdb.connect(str(lake.home / "warehouse.duckdb"), read_only=True) as reader:
        before = reader.execute(EVERYTHING).fetchall()
        pack_all(lake, clock)
        age(lake)
        lake.sweep("acme", clock.now + timedelta(days=6, hours=20), [])
        assert reader.execute(EVERYTHING).fetchall() == before
    lake.sweep("acme", clock.now + timedelta(days=8), [])
    lake.sweep("acme", clock.now + timedelta(days=8), [])
    assert not [path for path in old if (lake.home / path).exists()]
    assert query(lake.home, EVERYTHING) == before
    named = {*packed(lake), *(path for (path,) in query(lake.home, "SELECT path FROM _syncd_open.segments"))}
    named |= {path for (path,) in query(lake.home, "SELECT rejects FROM _syncd.parts WHERE rejects <> ''")}
    assert {str(path.relative_to(lake.home)) for path in (lake.home / "lake").rglob("*.parquet")} == named


def age(lake: Lake) -> None:
    """Have every file look old enough to be swept."""
    for path in (lake.home / "lake").rglob("*.parquet"):
        os.utime(path, (0, 0))


def test_a_run_in_a_packed_file_is_superseded_and_its_rows_go_with_the_next_packing(lake: Lake, clock: Clock) -> None:
    load_day(lake)
    pack_all(lake, clock)
    first = packed(lake)
    newer = replace(hourly(2), id="7-9", completed_at=day(9))
    load(lake, newer, batch(rows_of(9, first=900)))
    runs = query(lake.home, "SELECT _syncd_run, count(*) FROM acme.sessions GROUP BY 1 ORDER BY 1")
    assert runs == [("7-5-0", 2), ("7-5-1", 3), ("7-5-3", 5), ("7-5-4", 6), ("7-5-5", 7), ("7-9", 9)]
    assert query(lake.home, "SELECT status FROM _syncd.runs WHERE run = '7-5-2'") == [("superseded",)]
    assert sound(lake)
    before = query(lake.home, EVERYTHING)
    pack_all(lake, clock)
    assert query(lake.home, EVERYTHING) == before
    assert live(lake) == packed(lake) != first
    assert query(lake.home, "SELECT count(*) FROM _syncd_open.dead") == [(0,)]
    assert pq.read_metadata(lake.home / packed(lake)[0]).num_rows == len(before)
    assert sound(lake)


def test_the_only_copy_of_more_rows_is_never_packed_away(lake: Lake, clock: Clock) -> None:
    load_day(lake)
    pack_all(lake, clock)
    first = packed(lake)
    load(lake, replace(hourly(5), id="7-9", completed_at=day(9)), batch(rows_of(1, first=900)))
    assert lake.fuller() == [("acme", "7-5-5")]
    load_day(lake, runs=5, job="8")
    pack_all(lake, clock)
    lake.sweep("acme", clock.now + timedelta(days=3650), [])
    assert first[0] in live(lake)
    assert (lake.home / first[0]).exists()


def replay(lake: Lake, one: Run, rows: int) -> None:
    generation = lake.generation(one)
    part = lake.stage(one, lake.scope("acme", SESSIONS), "p0", LANDED, [batch(rows_of(rows, first=500))], generation)
    lake.replace(one, [part])


def test_a_run_in_a_packed_file_is_replayed_packed_and_replayed_again(lake: Lake, clock: Clock) -> None:
    load_day(lake)
    for rows in (3, 8, 5):
        pack_all(lake, clock)
        replay(lake, hourly(2), rows)
        assert query(lake.home, "SELECT count(*) FROM acme.sessions WHERE _syncd_run = '7-5-2'") == [(rows,)]
        assert query(lake.home, "SELECT count(*) FROM acme.sessions") == [(27 - 4 + rows,)]
        assert sound(lake)
    assert lake.generation(hourly(2)) == 5
    pack_all(lake, clock)
    assert query(lake.home, "SELECT count(*) FROM acme.sessions") == [(27 - 4 + 5,)]


def test_what_comes_late_is_packed_with_what_was_packed(lake: Lake, clock: Clock) -> None:
    load_day(lake)
    pack_all(lake, clock)
    load_day(lake, runs=3, job="8")
    before = query(lake.home, EVERYTHING)
    pack_all(lake, clock)
    assert query(lake.home, EVERYTHING) == before
    assert len(live(lake)) == 1
    assert query(lake.home, "SELECT sum(rows) FROM _syncd.files") == [(36,)]


def test_files_of_other_columns_are_packed_together_where_nothing_changes(lake: Lake, clock: Clock) -> None:
    key, time, note = COLUMNS
    kinds = [
        (key, time, note),
        (key, time, Column("extra", INT64, "extra")),
        (key, time),
        (key, time, Column("extra", TEXT, "extra")),  # stored otherwise: a file of its own
        (time, note),  # lacks the key: `_latest` must know
    ]
    for number, columns in enumerate(kinds * 4):
        rows = [row | {"extra": "x" if columns[-1].type == TEXT else 5} for row in rows_of(2, first=1 + 10 * number)]
        load(lake, hourly(number), batch(rows, columns), scope=replace(SESSIONS, columns=()))
    before = query(lake.home, EVERYTHING)
    done = pack_all(lake, clock)
    assert query(lake.home, EVERYTHING) == before
    assert sorted(one.files for one in done) == [4, 4, 12]
    assert query(lake.home, "SELECT count(*) FROM duckdb_views() WHERE view_name = 'sessions_latest'") == [(0,)]


WIDE = {
    "a": ("bool", True),
    "B b": ("int8", -3),
    "c": ("uint64", 2**64 - 1),
    "d": ("decimal(20.2)", "1.25"),
    "e": ("double", 0.5),
    "f": ("date", date(1, 1, 1)),
    "g": ('list<struct<"x":list<int64>,"y":string>>', [{"x": [1, None], "y": None}, None]),
    "h": ('struct<"p":decimal(3.0),"q":timestamp>', None),
    "i": ("json", '{"a": 1}'),
    "j\"'": ("string", "é\0\"'"),
    "k": ("null", None),
}


def test_every_kind_of_column_survives(lake: Lake, clock: Clock) -> None:
    from decimal import Decimal

    columns = [Column(name, Type.parse(kind), name) for name, (kind, _) in WIDE.items()]
    row = {name: value for name, (_, value) in WIDE.items()} | {"d": Decimal("1.25")}
    for number in range(5):
        load(lake, hourly(number), batch([row, {}], columns), scope=Scope("sessions"))
    before, types = query(lake.home, EVERYTHING), query(lake.home, "DESCRIBE acme.sessions")
    assert len(pack_all(lake, clock)) == 1
    assert query(lake.home, EVERYTHING) == before
    assert query(lake.home, "DESCRIBE acme.sessions") == types


def test_a_commit_that_touches_the_same_files_wins(lake: Lake, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    from syncd.destinations import lake as room

    load_day(lake)
    write, meanwhile = room.write, [replace(hourly(0), id="7-9", completed_at=day(9))]

    def slow(*arguments: Any) -> Any:
        written = write(*arguments)
        if meanwhile:
            load(lake, meanwhile.pop(), batch(rows_of(4, first=900)))
        return written

    monkeypatch.setattr(room, "write", slow)
    pack_all(lake, clock)
    assert query(lake.home, "SELECT _syncd_run, count(*) FROM acme.sessions GROUP BY 1 ORDER BY 1") == [
        ("7-5-1", 3),
        ("7-5-2", 4),
        ("7-5-3", 5),
        ("7-5-4", 6),
        ("7-5-5", 7),
        ("7-9", 4),
    ]
    assert not list((lake.home / "lake").rglob(".*.tmp"))


def test_a_damaged_file_is_not_packed_and_keeps_no_other_from_it(lake: Lake, clock: Clock) -> None:
    for on in (5, 6):
        load_day(lake, on=on)
    victim = lake.home / live(lake)[2]
    whole = bytearray(victim.read_bytes())
    victim.write_bytes(bytes(100) + whole[100:])
    later(clock, days=2)
    with pytest.raises(TryAgain, match="packing"):
        lake.pack()
    assert [one.date for one in pack_now(lake)] == ["2026-01-06"]
    assert not list((lake.home / "lake").rglob(".*.tmp"))


def test_a_packed_file_that_is_lost_leaves_the_views(lake: Lake, clock: Clock) -> None:
    for on in (5, 6):
        load_day(lake, on=on)
    pack_all(lake, clock)
    gone, _ = packed(lake)
    (lake.home / gone).unlink()
    lake.mend([], [gone])
    assert query(lake.home, "SELECT count(*) FROM acme.sessions") == [(27,)]
    assert query(lake.home, "SELECT count(*), sum(rows) FROM _syncd.runs") == [(12, 54)]


def test_a_lost_catalogue_is_built_again_from_packed_files_and_segments(lake: Lake, clock: Clock) -> None:
    for on in (5, 6):
        load_day(lake, on=on)
    pack_all(lake, clock)
    load(lake, replace(hourly(2), id="7-9", completed_at=day(9)), batch(rows_of(9, first=900)))  # supersedes
    load(lake, replace(hourly(5), id="7-10", completed_at=day(9)), batch(rows_of(1, first=900)))  # with fewer rows
    replay(lake, hourly(0), 7)
    load_day(lake, runs=5, job="8")
    pack_all(lake, clock)
    replay(lake, hourly(1, job="8"), 8)
    before, known = query(lake.home, EVERYTHING), ledger(lake)
    types, columns = query(lake.home, "DESCRIBE acme.sessions"), lake.scope("acme", SESSIONS).columns
    for swept in (False, True):
        if swept:
            age(lake)
            for _ in range(2):
                lake.sweep("acme", clock.now + timedelta(days=30), [])
        (lake.home / "warehouse.duckdb").unlink()
        told = lake.rebuild(())
        assert not told.unknown
        assert not told.doubtful
        assert [row[:-1] for row in query(lake.home, EVERYTHING)] == [row[:-1] for row in before], swept
        assert query(lake.home, "DESCRIBE acme.sessions") == types
        assert lake.scope("acme", SESSIONS).columns == columns
        now = ledger(lake)
        assert now["files"] == [row for row in known["files"] if swept is False or row in now["files"]]
        assert now["rejected"] == known["rejected"]
        for kind, width in {"runs": 8, "parts": 9}.items():
            assert [row[:width] for row in now[kind]] == [row[:width] for row in known[kind]], (kind, swept)
        assert [row[-1] for row in now["runs"]] == [row[-1] for row in known["runs"]]
        assert sound(lake)
    load_day(lake, runs=5, on=7)
    pack_all(lake, clock)
    assert sound(lake)


def test_a_lost_catalogue_and_a_lost_packed_file_while_its_originals_are_here(lake: Lake, clock: Clock) -> None:
    for on in (5, 6):
        load_day(lake, on=on)
    before = query(lake.home, EVERYTHING)
    pack_all(lake, clock)
    (lake.home / packed(lake)[0]).write_bytes(b"torn")
    (lake.home / "warehouse.duckdb").unlink()
    assert lake.rebuild(()).unknown
    assert [row[:-1] for row in query(lake.home, EVERYTHING)] == [row[:-1] for row in before]
    assert len(packed(lake)) == 1
    assert sound(lake)


def sound(lake: Lake) -> bool:
    with published(lake.home) as found:
        assert found
        assert list(found.misfigured()) == []
        return not list(found.unbound())


STORED = Stored("p", "acme", "sessions", date(2026, 1, 5), 9, 1000, "a", True, False, "r", day(5).replace(tzinfo=None))
LAYOUTS = {"a": (Column("x", UINT64, "x"),), "b": (Column("y", TEXT, "y"),), "c": (Column("x", TEXT, "x"),)}
LATER = day(20).replace(tzinfo=None)


def many(count: int, **how: Any) -> Iterator[Stored]:
    return (replace(STORED, path=f"{how}-{at:05}", **how) for at in range(count))


def test_a_plan_cuts_full_files_and_leaves_alone_what_is_full(tmp_path: Path) -> None:
    small, full = list(many(64, bytes=FULL // 16)), list(many(3, bytes=FULL))
    packs = list(plan([*full, *small], LAYOUTS, {}, LATER))
    assert [len(pack.files) for pack in packs] == [16, 16, 16, 16]
    assert {file.path for pack in packs for file in pack.files} == {file.path for file in small}
    assert list(plan(many(3), LAYOUTS, {}, LATER)) == [], "few are not worth it"


def test_a_plan_takes_days_that_are_over_first_then_the_most_crowded() -> None:
    today = LATER.date()
    fresh = {"loaded_at": LATER - timedelta(hours=2)}
    stored = [
        *many(300, date=today, **fresh),
        *many(400, date=today - timedelta(days=1), **fresh),
        *many(200, date=today - timedelta(days=2), **fresh),
        *many(5),
        *many(5, date=date(2026, 1, 4)),
    ]
    packs = list(plan(stored, LAYOUTS, {}, LATER))
    assert [pack.first.date.day for pack in packs] == [4, 5, 19, 20]


@pytest.mark.parametrize(("keyed", "kinds"), [((), [8, 4]), (("y",), [4, 4, 4])])
def test_a_plan_joins_columns_that_no_reader_tells_apart(keyed: tuple[str, ...], kinds: list[int]) -> None:
    stored = [file for layout in "abc" for file in many(4, layout=layout)]
    packs = list(plan(stored, LAYOUTS, {("acme", "sessions"): keyed}, LATER))
    assert sorted((len(pack.files) for pack in packs), reverse=True) == kinds
