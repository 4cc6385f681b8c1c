"""A vendor's lists: what holds now, and every version that ever held, against a plain oracle."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from syncd.destinations.lake import Lake
from syncd.model import Column, Run, Scope
from tests.destination_contract import INT64, LANDED, TEXT, batch, day, load, query, staged
from tests.reader import answer
from tests.test_lake_pack import pack_now

COLUMNS = (Column("id", INT64, "id", "declared"), Column("name", TEXT, "name", "declared"))
GOALS = Scope("goals", COLUMNS, (("id",),), snapshot=True)
Version = tuple[int, str, datetime, datetime | None]


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    lake = Lake(tmp_path / "home")
    lake.start()
    return lake


def snapshot(hour: int) -> Run:
    at = day(5) + timedelta(hours=hour)
    return Run("ab", f"goals-{at:%Y%m%dT%H%M%SZ}", "goals", "jsonl", at, at, "goals", at)


def take(lake: Lake, hour: int, entries: Mapping[int, str], columns: Sequence[Column] = COLUMNS) -> None:
    rows = [{"id": key, "name": name} for key, name in entries.items()]
    load(lake, snapshot(hour), batch(rows, columns), scope=GOALS)


def history(lake: Lake) -> list[Version]:
    return query(lake.home, "SELECT id, name, valid_from, valid_to FROM ab.goals_history ORDER BY id, valid_from")


def versions(taken: Mapping[int, Mapping[int, str]]) -> list[Version]:
    """The oracle: entries followed by hand, snapshot by snapshot."""
    found: list[Version] = []
    open_ones: dict[int, tuple[str, datetime]] = {}
    for hour in sorted(taken):
        at = snapshot(hour).start.replace(tzinfo=None)
        for key, (name, since) in list(open_ones.items()):
            if taken[hour].get(key) != name:
                found.append((key, name, since, at))
                del open_ones[key]
        for key, name in taken[hour].items():
            open_ones.setdefault(key, (name, at))
    found += [(key, name, since, None) for key, (name, since) in open_ones.items()]
    return sorted(found, key=lambda version: (version[0], version[2]))


def test_what_holds_now_is_the_newest_snapshot_whatever_came_last(lake: Lake) -> None:
    take(lake, 3, {1: "c", 3: "new"})
    take(lake, 1, {1: "a", 2: "gone"})
    assert query(lake.home, "SELECT id, name FROM ab.goals ORDER BY id") == [(1, "c"), (3, "new")]
    assert history(lake) == versions({1: {1: "a", 2: "gone"}, 3: {1: "c", 3: "new"}})


@pytest.mark.parametrize("seed", range(4))
def test_versions_are_what_following_each_entry_by_hand_gives(lake: Lake, seed: int) -> None:
    lot = random.Random(seed)
    taken = {hour: {key: lot.choice("ab") for key in range(6) if lot.random() < 0.7} for hour in range(1, 13)}
    for hour in lot.sample(sorted(taken), len(taken)):
        take(lake, hour, taken[hour])
    assert history(lake) == versions(taken)
    assert query(lake.home, "SELECT id, name FROM ab.goals ORDER BY id") == sorted(taken[12].items())


def test_an_empty_snapshot_closes_every_entry(lake: Lake) -> None:
    take(lake, 1, {1: "a"})
    lake.commit([(snapshot(2), [])])
    assert query(lake.home, "FROM ab.goals") == []
    assert history(lake) == versions({1: {1: "a"}, 2: {}})


def test_a_column_that_comes_later_is_null_before_and_makes_a_version(lake: Lake) -> None:
    take(lake, 1, {1: "a", 2: "b"})
    more = (*COLUMNS, Column("owner", TEXT, "owner"))
    load(lake, snapshot(2), batch([{"id": 1, "name": "a", "owner": "x"}, {"id": 2, "name": "b"}], more), scope=GOALS)
    told = query(lake.home, "SELECT id, owner, valid_to IS NULL FROM ab.goals_history ORDER BY id, valid_from")
    assert told == [(1, None, False), (1, "x", True), (2, None, True)]


def test_a_snapshot_has_no_latest_and_no_view_a_job(lake: Lake) -> None:
    take(lake, 1, {1: "a"})
    named = "SELECT view_name FROM duckdb_views() WHERE schema_name = 'ab' ORDER BY 1"
    assert query(lake.home, named) == [("goals",), ("goals_history",)]


def test_a_vendors_own_column_named_valid_from_stays(lake: Lake) -> None:
    columns = (COLUMNS[0], Column("valid_from", TEXT, "valid_from"))
    load(lake, snapshot(1), batch([{"id": 1, "valid_from": "theirs"}], columns), scope=GOALS)
    assert query(lake.home, "SELECT valid_from, _syncd_valid_to FROM ab.goals_history") == [("theirs", None)]


def test_the_very_same_bytes_are_recognised(lake: Lake) -> None:
    first, second = snapshot(1), snapshot(2)
    parts = [staged(lake, first, batch([{"id": 1, "name": "a"}], COLUMNS), scope=GOALS)]
    assert not lake.shows(second, parts)
    lake.commit([(first, parts)])
    assert lake.shows(second, parts)
    assert not lake.shows(second, [])


def take_parts(lake: Lake, hour: int, parts: Mapping[str, Mapping[int, str] | None]) -> None:
    """A snapshot of several parts; None: it says nothing, which is a blank line."""
    run, ready = snapshot(hour), []
    for part, entries in parts.items():
        rows = [{"id": key, "name": name} for key, name in (entries or {}).items()]
        blank = int(entries is None)
        told = replace(batch(rows, COLUMNS), lines=len(rows) + blank, blank=blank)
        ready.append(staged(lake, run, told, part=part, scope=GOALS))
    lake.commit([(run, ready)])


@pytest.mark.parametrize("seed", range(3))
def test_what_a_part_held_goes_on_holding_while_it_says_nothing(lake: Lake, seed: int) -> None:
    lot = random.Random(seed)
    held: dict[str, dict[int, str]] = {}
    taken: dict[int, dict[int, str]] = {}
    told: dict[int, dict[str, dict[int, str] | None]] = {}
    for hour in range(1, 10):
        told[hour] = {}
        for part, first in (("p", 0), ("q", 10)):
            kind = lot.choice(["said", "said", "silent", "absent"])
            if kind == "said":
                held[part] = {key: lot.choice("ab") for key in range(first, first + 4) if lot.random() < 0.7}
                told[hour][part] = held[part]
            elif kind == "silent":
                told[hour][part] = None
            else:
                held[part] = {}
        taken[hour] = {key: name for part in held.values() for key, name in part.items()}
    for hour in lot.sample(sorted(told), len(told)):
        take_parts(lake, hour, told[hour])
    now = dict(query(lake.home, "SELECT id, name FROM ab.goals"))
    assert now == taken[9]
    open_ones = {key: name for key, name, _, until in history(lake) if until is None}
    assert open_ones == now
    for hour in range(1, 10):
        at = snapshot(hour).start.replace(tzinfo=None)
        versions = [one for one in history(lake) if one[2] <= at and (one[3] is None or at < one[3])]
        assert {key: name for key, name, *_ in versions} == taken[hour], hour


def later(lake: Lake, days: int = 9) -> Lake:
    """The same lake, days after the snapshots."""
    return Lake(lake.home, clock=lambda: day(5 + days))


def told(lake: Lake) -> tuple[list[tuple[object, ...]], ...]:
    shown = [query(lake.home, f"SELECT * FROM ab.{view} ORDER BY ALL") for view in ("goals", "goals_history")]
    return (*shown, query(lake.home, "SELECT source, run, part, rows FROM _syncd.files ORDER BY ALL"))


@pytest.mark.parametrize("seed", range(2))
def test_a_day_of_snapshots_becomes_one_file_and_the_same_row_for_row(tmp_path: Path, seed: int) -> None:
    lake = Lake(tmp_path / "home", clock=lambda: day(5, 13))
    lake.start()
    lot = random.Random(seed)
    taken = {hour: {key: lot.choice("ab") for key in range(6) if lot.random() < 0.7} for hour in range(1, 13)}
    for hour in sorted(taken):
        take(lake, hour, taken[hour])
    before, packer = told(lake), later(lake)
    assert [one.files for one in pack_now(packer)] == [12]
    assert query(lake.home, "SELECT packed FROM _syncd_open.files") == [(True,)]
    assert told(lake) == before
    attach = f"ATTACH '{lake.home / 'warehouse.duckdb'}' AS w (READ_ONLY)"
    counted = "SELECT (SELECT count(*) FROM ab.goals), (SELECT count(*) FROM ab.goals_history)"
    assert answer("1.1", attach, "USE w", counted) == [[len(before[0]), len(before[1])]]
    take(packer, 15, {1: "new", 2: "c"})
    take(packer, 14, {1: "late"})
    then = taken | {14: {1: "late"}, 15: {1: "new", 2: "c"}}
    assert history(lake) == versions(then)
    assert query(lake.home, "SELECT id, name FROM ab.goals ORDER BY id") == [(1, "new"), (2, "c")]
    for path in (lake.home / "lake" / "ab").rglob("goals-*.parquet"):
        path.unlink()  # as a sweep does in time, and the two that are not packed are lost
    (lake.home / "warehouse.duckdb").unlink()
    packer.rebuild(())
    assert history(lake) == versions(taken)
    assert query(lake.home, "SELECT id, name FROM ab.goals ORDER BY id") == sorted(taken[12].items())
    assert query(lake.home, "SELECT snapshot FROM _syncd.scopes") == [(True,)]


def test_a_packed_snapshot_that_is_staged_again_counts_once(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "home", clock=lambda: day(5, 13))
    lake.start()
    for hour in range(1, 6):
        take(lake, hour, {1: str(hour), 2: "same"})
    before, packer = told(lake), later(lake)
    assert packer.pack()
    for hour in (3, 5):
        one = snapshot(hour)
        again = batch([{"id": 1, "name": str(hour)}, {"id": 2, "name": "same"}], COLUMNS)
        packer.replace(one, [packer.stage(one, GOALS, "p0", LANDED, [again], packer.generation(one))])
    assert [[row[:2] for row in rows] for rows in told(lake)[:2]] == [[row[:2] for row in rows] for rows in before[:2]]
    assert history(lake) == versions({hour: {1: str(hour), 2: "same"} for hour in range(1, 6)})


def test_an_entry_of_a_packed_snapshot_goes_on_holding_where_its_part_says_nothing(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "home", clock=lambda: day(5, 13))
    lake.start()
    for hour in range(1, 5):
        one = snapshot(hour)
        parts = [(name, batch([{"id": at, "name": f"{name}{hour}"}], COLUMNS)) for at, name in enumerate("pq")]
        lake.commit([(one, [staged(lake, one, rows, part=name, scope=GOALS) for name, rows in parts])])
    packer = later(lake)
    assert packer.pack()
    one = snapshot(15)
    said = staged(packer, one, batch([{"id": 0, "name": "new"}], COLUMNS), part="p", scope=GOALS)
    packer.commit([(one, [said, staged(packer, one, batch([], COLUMNS), part="q", scope=GOALS)])])
    assert query(lake.home, "SELECT id, name FROM ab.goals ORDER BY id") == [(0, "new"), (1, "q4")]
