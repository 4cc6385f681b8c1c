"""Files of rejected lines become few, line for line the same, whatever becomes of their runs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from syncd.destinations.lake import Lake
from syncd.destinations.lake.proof import published
from syncd.destinations.lake.rejects import MANY
from syncd.model import Run, Staged
from tests.destination_contract import LANDED, SESSIONS, batch, day, load, query, rows_of, run, staged
from tests.reader import answer
from tests.test_lake_pack import pack_now

LINES = "SELECT * FROM _syncd.rejected ORDER BY ALL"
PARTS = "SELECT source, run, part, bytes, sha256, lines, rows, rejected, blank FROM _syncd.parts ORDER BY ALL"


class Aging:
    """A lake, and whatever time we say."""

    def __init__(self, home: Path) -> None:
        self.now = day(6)
        self.lake = Lake(home, clock=lambda: self.now)
        self.lake.start()

    def packed(self, days: int = 3) -> list[tuple[str, int, int]]:
        self.now += timedelta(days=days)
        return [(one.scope, one.files, one.rows) for one in pack_now(self.lake) if one.scope == "_rejected"]


@pytest.fixture
def aging(tmp_path: Path) -> Aging:
    return Aging(tmp_path / "env=prod [x] * 'é|")


def numbered(number: int) -> Run:
    start = day(5) + timedelta(minutes=number)
    return replace(run(f"7-{number}"), start=start, end=start + timedelta(minutes=1))


def commit(lake: Lake, numbers: Sequence[int]) -> None:
    """Runs with a row and a rejected line each; every ninth with nothing but the line."""
    ready: list[tuple[Run, list[Staged]]] = []
    for number in numbers:
        rows = rows_of(1, first=number) if number % 9 else []
        ready.append((numbered(number), [staged(lake, numbered(number), batch(rows, rejected=1))]))
    lake.commit(ready)


def on_disk(lake: Lake, names: str = "[!~]*.parquet") -> list[str]:
    """Files of one part; or those of many, whose names begin with ~."""
    return sorted(path.name for path in (lake.home / "lake" / "acme" / "_rejected").glob(names))


def is_sound(lake: Lake) -> bool:
    with published(lake.home) as found:
        assert found
        assert list(found.misfigured()) == []
        assert not list(found.losses())
        gone = [row["path"] for row in found.written() if not (lake.home / row["path"]).exists()]
        return not gone and not list(found.unbound())


def test_the_lines_stay_the_same_and_the_files_go_in_time(aging: Aging) -> None:
    lake = aging.lake
    commit(lake, range(MANY - 1))
    assert aging.packed() == [], "too few to be worth it"
    commit(lake, [MANY])
    assert aging.packed(days=0) == [], "the last of them may be replayed yet"
    before = query(lake.home, LINES), query(lake.home, PARTS)
    assert aging.packed() == [("_rejected", MANY, MANY)]
    assert (query(lake.home, LINES), query(lake.home, PARTS)) == before
    assert len(on_disk(lake)) == MANY, "a reader may have them open"
    assert [line["reason"] for line in lake.rejected("acme", "7-3", 3)] == ["no record"]
    assert is_sound(lake)
    aging.now += timedelta(days=30)
    lake.sweep("acme", aging.now, [])
    lake.sweep("acme", datetime.now(aging.now.tzinfo) + timedelta(days=1), [])
    assert on_disk(lake) == []
    assert len(on_disk(lake, "~*.parquet")) == 1, "where the lines of a part lie, those of many do"
    attach = f"ATTACH '{str(lake.home / 'warehouse.duckdb').replace(chr(39), chr(39) * 2)}' AS w (READ_ONLY)"
    assert answer("1.1", attach, "USE w", "SELECT count(*), count(raw) FROM _syncd.rejected") == [[MANY, MANY]]
    assert (query(lake.home, LINES), query(lake.home, PARTS)) == before
    assert is_sound(lake)


def test_what_is_replayed_or_superseded_afterwards_is_told_once_or_no_more(aging: Aging) -> None:
    lake = aging.lake
    commit(lake, range(MANY))
    assert aging.packed()
    again, fewer, newer = numbered(3), numbered(9), replace(numbered(5), id="7-99", completed_at=day(9))
    lake.replace(again, [lake.stage(again, SESSIONS, "p0", LANDED, [batch(rows_of(1), rejected=2)], 2)])
    assert lake.generation(fewer) == 2, "what its lines came in is never written again"
    load(lake, newer, batch(rows_of(3), rejected=3))
    counted = dict(query(lake.home, "SELECT run, count(*) FROM _syncd.rejected GROUP BY run"))
    assert counted == {f"7-{n}": 1 for n in range(MANY) if n != 5} | {"7-3": 2, "7-99": 3}
    assert is_sound(lake)


def test_a_lost_catalogue_finds_them_again(aging: Aging) -> None:
    lake = aging.lake
    commit(lake, range(MANY))
    again = numbered(9)
    assert aging.packed()
    lake.replace(again, [lake.stage(again, SESSIONS, "p0", LANDED, [batch([], rejected=2)], 2)])
    before = query(lake.home, LINES), query(lake.home, PARTS)
    for swept in (False, True):
        if swept:
            for name in on_disk(lake):
                if ".g2." not in name:
                    (lake.home / "lake" / "acme" / "_rejected" / name).unlink()
        (lake.home / "warehouse.duckdb").unlink()
        assert lake.rebuild(()).doubtful == []
        assert (query(lake.home, LINES), query(lake.home, PARTS)) == before
        assert is_sound(lake)


def test_segments_of_lines_are_merged(aging: Aging) -> None:
    lake = aging.lake
    for some in range(8):
        commit(lake, range(some * MANY, (some + 1) * MANY))
        assert aging.packed() == [("_rejected", MANY, MANY)]
    before = query(lake.home, LINES)
    assert len(before) == 8 * MANY
    segments = "SELECT count(*) FROM _syncd_open.segments WHERE kind = 'rejects'"
    assert query(lake.home, segments) == [(1,)]
    assert is_sound(lake)
    assert len(on_disk(lake, "~*.parquet")) == 9, "a reader may have the eight open"
    for path in lake.home.rglob("*.parquet"):
        os.utime(path, (0, 0))
    lake.sweep("acme", aging.now, [])
    assert len(on_disk(lake, "~*.parquet")) == 9, "and they are no orphans"
    aging.now += timedelta(days=30)
    lake.sweep("acme", aging.now, [])
    lake.sweep("acme", datetime.now(aging.now.tzinfo) + timedelta(days=1), [])
    assert len(on_disk(lake, "~*.parquet")) == 1
    assert query(lake.home, LINES) == before
    (lake.home / "warehouse.duckdb").unlink()
    assert lake.rebuild(()).doubtful == []
    assert query(lake.home, LINES) == before
    assert is_sound(lake)


def test_segments_of_two_sources_stay_apart(aging: Aging) -> None:
    lake = aging.lake
    for source in ("acme", "other"):
        ready = [replace(numbered(number), source=source) for number in range(MANY)]
        lake.commit([(one, [staged(lake, one, batch([], rejected=1))]) for one in ready])
    before = query(lake.home, LINES)
    assert len(aging.packed()) == 2
    for source in ("acme", "other"):
        assert len([*(lake.home / "lake" / source / "_rejected").glob("~*.parquet")]) == 1
    for path in lake.home.rglob("*.parquet"):
        os.utime(path, (0, 0))
    for source in ("acme", "other"):
        lake.sweep(source, aging.now, [])
    assert query(lake.home, LINES) == before
    assert is_sound(lake)
