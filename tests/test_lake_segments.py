"""Closed rows of the ledger leave the catalogue, and nobody can tell: not a reader, not the next commit."""

from __future__ import annotations

import itertools
import tarfile
import tracemalloc
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from syncd.destinations.lake import Lake
from syncd.destinations.lake.loaded import Digests, LoadedRuns
from syncd.destinations.lake.proof import published
from syncd.destinations.lake.tables import OPEN
from syncd.errors import ConfigError
from syncd.model import Committed, Run, Staged
from tests.destination_contract import (
    LANDED,
    SESSIONS,
    DestinationContract,
    batch,
    day,
    load,
    query,
    rows_of,
    run,
    table,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def _now() -> datetime:
    return NOW


LEDGERS = ("runs", "parts", "files")


class Closing(Lake):
    """A lake that closes all that it can after each commit."""

    def commit(self, ready: Sequence[tuple[Run, Sequence[Staged]]]) -> Committed:
        done = super().commit(ready)
        self.sweep("acme", NOW, [])
        return done


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every run is worth a segment, and two segments are many."""
    monkeypatch.setattr("syncd.destinations.lake.CLOSE_AT", 1)
    for module in ("syncd.destinations.lake", "syncd.destinations.lake.segments"):
        monkeypatch.setattr(f"{module}.SETTLED_AFTER", timedelta(0))
    monkeypatch.setattr("syncd.destinations.lake.segments.ALIKE", 2)


@pytest.fixture
def lake(tmp_path: Path, eager: None) -> Lake:
    lake = Closing(tmp_path / "home", clock=_now)
    lake.start()
    return lake


@pytest.mark.usefixtures("eager")
class TestClosedLake(DestinationContract):
    @pytest.fixture
    def home(self, tmp_path: Path) -> Path:
        return tmp_path / "env=prod [x] * 'é|"

    @pytest.fixture
    def destination(self, home: Path) -> Lake:
        lake = Closing(home, clock=_now)
        lake.start()
        return lake


def open_rows(lake: Lake) -> dict[str, int]:
    return {kind: query(lake.home, f"SELECT count(*) FROM _syncd_open.{kind}")[0][0] for kind in ("runs", "parts")}


def segments(lake: Lake) -> list[str]:
    return [path for (path,) in query(lake.home, "SELECT path FROM _syncd_open.segments ORDER BY path")]


def ledger(home: Path) -> dict[str, list[tuple[Any, ...]]]:
    return {kind: query(home, f"SELECT * FROM _syncd.{kind} ORDER BY ALL") for kind in LEDGERS}


def test_closed_runs_are_in_segments_and_the_ledger_is_as_it_was(tmp_path: Path, eager: None) -> None:
    plain, closing = (kind(tmp_path / kind.__name__, clock=_now) for kind in (Lake, Closing))
    for lake in (plain, closing):
        lake.start()
        for on in range(1, 8):
            load(lake, run(f"7-{on}", on=on), batch(rows_of(on, on=on), rejected=on % 2))
    assert open_rows(closing) == {"runs": 0, "parts": 0}
    assert open_rows(plain) == {"runs": 7, "parts": 7}
    assert ledger(closing.home) == ledger(plain.home)
    assert table(closing.home) == table(plain.home)
    assert closing.loaded("acme") == plain.loaded("acme") == {f"7-{on}" for on in range(1, 8)}
    both = [sorted(lake.runs(), key=lambda row: row["run"]) for lake in (closing, plain)]  # they come in any order
    assert both[0] == both[1]


def test_segments_of_a_size_are_merged_and_stay_few(lake: Lake) -> None:
    for on in range(1, 17):
        load(lake, run(f"7-{on}", on=on), batch(rows_of(1, on=on)))
    assert len(segments(lake)) <= 2 * 5  # of 16 runs, each closed alone: log2
    assert len(lake.loaded("acme")) == 16


def test_merged_segments_stay_for_who_has_them_open_then_go(lake: Lake) -> None:
    with duckdb.connect(str(lake.home / "warehouse.duckdb"), read_only=True) as before:
        load(lake, run("7-1", on=1), batch(rows_of(1)))
        assert before.execute("SELECT count(*) FROM _syncd.runs").fetchall() == [(0,)]
    with duckdb.connect(str(lake.home / "warehouse.duckdb"), read_only=True) as reader:
        for on in range(2, 7):
            load(lake, run(f"7-{on}", on=on), batch(rows_of(1, on=on)))
        assert reader.execute("SELECT run FROM _syncd.runs").fetchall() == [("7-1",)]
    here = {str(path.relative_to(lake.home)) for path in (lake.home / "lake" / "_ledger").iterdir()}
    assert here > set(segments(lake))
    lake.sweep("acme", datetime.now(UTC) + timedelta(days=365), [])
    here = {str(path.relative_to(lake.home)) for path in (lake.home / "lake" / "_ledger").iterdir()}
    assert here == set(segments(lake))
    assert len(list(lake.runs())) == 6


@pytest.mark.parametrize("order", list(itertools.permutations([("7-9", 4, 3), ("7-10", 4, 5), ("7-2", 3, 9)])))
def test_a_closed_run_is_superseded_as_an_open_one(lake: Lake, order: Iterable[tuple[str, int, int]]) -> None:
    for name, hour, count in order:
        load(lake, run(name, done=day(6, hour)), batch(rows_of(count)))
    assert query(lake.home, "SELECT run, status FROM _syncd.runs ORDER BY run") == [
        ("7-10", "loaded"),
        ("7-2", "superseded"),
        ("7-9", "superseded"),
    ]
    assert len(table(lake.home)) == 5
    assert lake.loaded("acme") == {"7-2", "7-9", "7-10"}


def test_a_closed_run_is_replayed_and_then_closed_again(lake: Lake) -> None:
    load(lake, run("7-1"), batch(rows_of(2), rejected=1))
    load(lake, run("7-2", on=6), batch(rows_of(2, on=6)))
    one = run("7-1")
    for _ in range(3):
        generation = lake.generation(one)
        parts = [lake.stage(one, lake.scope("acme", SESSIONS), "p0", LANDED, [batch(rows_of(3))], generation)]
        lake.replace(one, parts)
        assert len(table(lake.home)) == 5
        lake.sweep("acme", NOW + timedelta(days=30), [])
        assert query(lake.home, "SELECT run, rows, rejected FROM _syncd.parts ORDER BY ALL") == [
            ("7-1", 3, 0),
            ("7-2", 2, 0),
        ]
        assert query(lake.home, "SELECT run, rows FROM _syncd.runs ORDER BY ALL") == [("7-1", 3), ("7-2", 2)]
    assert generation == 4
    assert open_rows(lake) == {"runs": 0, "parts": 0}


def test_a_committed_run_is_not_committed_again_once_it_is_closed(lake: Lake) -> None:
    part = load(lake, run(), batch(rows_of(2)))
    lake.commit([(run(), [part])])
    assert len(table(lake.home)) == 2
    assert query(lake.home, "SELECT count(*) FROM _syncd.runs") == [(1,)]


def test_what_is_young_or_waits_for_its_files_to_go_stays_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("syncd.destinations.lake.CLOSE_AT", 1)
    lake = Lake(tmp_path, clock=_now)
    lake.start()
    load(lake, run("7-1"), batch(rows_of(2)))
    load(lake, run("7-2"), batch(rows_of(2)))
    lake.sweep("acme", NOW + timedelta(minutes=59), [])
    assert open_rows(lake)["runs"] == 2
    lake.sweep("acme", NOW + timedelta(minutes=61), [])
    assert query(lake.home, "SELECT run FROM _syncd_open.runs") == [("7-1",)]
    lake.sweep("acme", NOW + timedelta(days=8), [])
    assert open_rows(lake)["runs"] == 0


def test_a_moved_lake_has_its_closed_rows(lake: Lake, tmp_path: Path) -> None:
    load(lake, run(), batch(rows_of(2)))
    before = ledger(lake.home)
    lake.home.rename(tmp_path / "elsewhere")
    moved = Lake(tmp_path / "elsewhere")
    moved.start()
    assert ledger(moved.home) == before


def test_a_lost_segment_is_told_with_its_remedy(lake: Lake) -> None:
    load(lake, run(), batch(rows_of(2)))
    for path in segments(lake):
        (lake.home / path).unlink()
    for ask in (lambda: list(Lake(lake.home).runs()), lambda: Lake(lake.home).loaded("acme")):
        with pytest.raises(ConfigError) as told:
            ask()
        assert "verify --repair" in told.value.hint


@pytest.mark.parametrize("kind", ["runs", "parts"])
def test_a_flipped_bit_in_a_segment_is_found_and_the_ledger_made_again(lake: Lake, kind: str) -> None:
    for on in range(1, 4):
        load(lake, run(f"7-{on}", on=on), batch(rows_of(on, on=on), rejected=1))
    before = ledger(lake.home)
    path = next(lake.home / path for path in segments(lake) if f"/{kind}-" in path)
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2] ^= 1
    path.write_bytes(whole)
    with pytest.raises(ConfigError) as told, published(lake.home):
        pass
    assert "verify --repair" in told.value.hint
    lake.rebuild(())
    now = ledger(lake.home)
    assert (now["parts"], now["files"]) == (before["parts"], before["files"])
    assert [row[:8] for row in now["runs"]] == [row[:8] for row in before["runs"]]
    with published(lake.home) as found:
        assert found


def test_a_proof_holds_little_of_a_long_ledger(lake: Lake) -> None:
    load(lake, run(), batch(rows_of(2)))
    sums = "0 AS rows, 0 AS rejected, 0 AS bytes"
    of = f"SELECT 'acme' AS source, 'r' || n AS run, {sums}"
    with lake._publication() as catalogue:
        catalogue.execute(
            f"INSERT INTO {OPEN}.parts BY NAME {of}, 0 AS lines, 0 AS blank, '' AS rejects, 'p' AS part "
            "FROM range(120_000) _(n)"
        )
        catalogue.execute(
            f"INSERT INTO {OPEN}.runs BY NAME {of}, 'sessions' AS scope, 'loaded' AS status, 1 AS parts "
            "FROM range(120_000) _(n)"
        )
        catalogue.execute(f"UPDATE {OPEN}.parts SET lines = 1 WHERE run IN ('r7', 'r70007')")
        catalogue.execute(f"UPDATE {OPEN}.runs SET rows = 2 WHERE run = 'r8'")
        catalogue.execute(f"UPDATE {OPEN}.parts SET rows = 1, lines = 1 WHERE run = 'r9'")
    tracemalloc.start()
    with published(lake.home) as found:
        assert found
        told = {(flaw.run, flaw.text) for flaw in found.misfigured()}
        assert [row["run"] for row in found.losses()] == ["r9"]
        assert found.counts()["runs"] == 120_001
        assert [row["rows"] for row in found.written()] == [2]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert told == {
        ("r7", "the lines don't add up: 1 lines, 0 rows, 0 rejected, 0 blank"),
        ("r70007", "the lines don't add up: 1 lines, 0 rows, 0 rejected, 0 blank"),
        ("r8", "2 rows, but its parts have 0"),
        ("r9", "0 rows, but its parts have 1"),
        ("r9", "1 rows, but its files have 0"),
    }
    assert peak < 10 << 20, "a row of each run takes ten times that"


def test_ids_are_told_apart_by_source_and_walked_once_each() -> None:
    ids = [f"{job}-{number}" for job in range(20) for number in range(500)] + ["", "é\0", "\udc80"]
    digests = Digests(ids)
    assert all(id in digests for id in ids)
    assert not any(f"{id} " in digests for id in ids)
    assert "x" not in Digests([])
    loaded = LoadedRuns(frozenset({"open"}), (digests,), lambda: ["open", *ids]) | {"set aside", "open"}
    assert {"open", "set aside", "3-7"} < loaded
    assert sorted(loaded) == sorted([*ids, "open", "set aside"])
    assert "3-7" not in loaded - {"3-7"}


def test_a_catalogue_of_an_earlier_syncd_opens_and_goes_on(tmp_path: Path, eager: None) -> None:
    """Made by the version that had the whole ledger in tables of `_syncd`, and views for each job."""
    with tarfile.open(Path(__file__).parent / "data" / "lakes" / "2026-11-21.tar.gz") as packed:
        packed.extractall(tmp_path / "home", filter="data")
    home = tmp_path / "home"
    with duckdb.connect(str(home / "warehouse.duckdb"), read_only=True) as warehouse:
        before = {
            kind: warehouse.execute(f"SELECT {names} FROM _syncd.{kind} ORDER BY ALL").fetchall()
            for kind, names in {
                "runs": "*",
                "parts": "*",
                "files": "path, source, scope, run, part, date, rows, bytes, sha256",
            }.items()
        }
    lake = Closing(home, clock=_now)
    assert lake.loaded("acme") == {"7-1", "7-2", "7-3", "8-1", "9-1", "9-2"}, "also before it is brought up to date"
    lake.start()
    assert ledger(home) == before
    assert len(table(home)) == 11
    assert [row["n"] for row in table(home, "acme.views")] == ["1", "x"]
    assert len(table(home, 'acme."sessions@8"')) == 4
    assert len(table(home, "acme.sessions_latest")) == 7
    assert query(home, "SELECT run FROM _syncd.rejected ORDER BY ALL") == [("7-1",), ("7-2",)]
    lake.commit([(run("7-1"), [])])
    load(lake, run("7-9", done=day(9)), batch(rows_of(1)))
    assert len(table(home)) == 7
    assert query(home, "SELECT count(*) FROM _syncd.runs WHERE status = 'superseded'") == [(2,)]
    lake.start()
    assert len(table(home)) == 7
