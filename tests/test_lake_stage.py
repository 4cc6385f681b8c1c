"""Staged files: where rows go, how layouts change, what is left after trouble."""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import date, datetime, timedelta
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from syncd.destinations.lake import Lake, stage
from syncd.model import Batch, Column, Scope
from syncd.types import Type
from tests.destination_contract import (
    COLUMNS,
    LANDED,
    SESSIONS,
    batch,
    day,
    files,
    load,
    query,
    rows_of,
    run,
    staged,
    table,
)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    lake = Lake(tmp_path, keep_superseded=timedelta(days=7))
    lake.start()
    return lake


def test_a_row_lies_where_its_event_does_and_wild_clocks_on_the_first_day(lake: Lake) -> None:
    said = [None, -400, -3, -2, -1, 0, 1, 2, 3, 90_000]
    start = day(5).replace(tzinfo=None)
    times = [None if days is None else start + timedelta(days=days, hours=1) for days in said]
    rows = [{"session_id": at, "session_time": time} for at, time in enumerate(times)]
    part = load(lake, run(), batch(rows))
    found = query(lake.home, "SELECT session_id, _syncd_date, session_time FROM acme.sessions ORDER BY 1")
    inside = {
        at: start.date() + timedelta(days=days) for at, days in enumerate(said) if days is not None and -2 <= days <= 2
    }
    assert found == [(at, inside.get(at, date(2026, 1, 5)), time) for at, time in enumerate(times)]
    assert {file.date: file.dated for file in part.files}["2026-01-05"] is False
    assert all(file.dated for file in part.files if file.date != "2026-01-05")


def test_instants_at_the_ends_of_time_break_nothing(lake: Lake) -> None:
    ends = pa.array([-(2**63), 2**63 - 1, -1], pa.timestamp("us"))
    rows = pa.RecordBatch.from_arrays([ends, pa.array([1, 2, 3])], names=["session_time", "_syncd_row"])
    part = staged(lake, run(), Batch(rows, COLUMNS[1:2], (), 3, 0))
    assert [(file.date, file.rows) for file in part.files] == [("2026-01-05", 3)]


def test_the_second_event_column_counts_where_the_first_is_missing(lake: Lake) -> None:
    columns = (Column("session_date", Type.parse("date"), "session_date"), COLUMNS[1])
    scope = Scope("sessions", columns, (), ("session_date", "session_time"))
    rows = [
        {"session_date": date(2026, 1, 4), "session_time": datetime(2026, 1, 6)},  # noqa: DTZ001 - as Arrow has it
        {"session_date": None, "session_time": datetime(2026, 1, 6)},  # noqa: DTZ001 - as Arrow has it
    ]
    part = staged(lake, run(), batch(rows, columns), scope=scope)
    assert [(file.date, file.rows, file.dated) for file in part.files] == [
        ("2026-01-04", 1, True),
        ("2026-01-06", 1, True),
    ]


def test_one_odd_value_that_makes_the_event_time_text_moves_no_other_row(lake: Lake) -> None:
    column = Column("session_time", Type.parse("string"), "session_time")
    said = [
        "2026-01-04",
        "2026-01-06 23:59:59.1234567",
        "2026-01-04T00:00Z",
        "2026-01-06T23:00:00-02:00",
        "2026-01-04x",
    ]
    said += ["2026-02-30", "20260104", "", None, "1999-01-01"]
    part = staged(lake, run(), batch([{"session_time": text} for text in said], (column,)))
    assert sorted((file.date, file.rows, file.dated) for file in part.files) == [
        ("2026-01-04", 2, True),
        ("2026-01-05", 7, False),
        ("2026-01-06", 1, True),
    ]


def test_layouts_that_change_in_mid_part_restage_nothing_and_lose_nothing(lake: Lake) -> None:
    a, b = Column("a", Type.parse("int64"), "a"), Column("b", Type.parse("string"), "b")
    wide = Column("a", Type.parse("string"), "a")
    batches = [
        batch([{"a": 1}], [a], first=1),
        batch([{"a": 2, "b": "x"}], [a, b], first=2),
        batch([{"b": "y"}], [b], first=3),
        batch([{"a": "z"}], [wide], first=4),
        batch([{"a": 5}], [a], first=5),
    ]
    part = load(lake, run(), *batches, scope=Scope("sessions"))
    assert [Path(file.path).name for file in part.files] == ["7-1~p0.2.parquet", "7-1~p0.3.parquet", "7-1~p0.parquet"]
    assert [file.rows for file in part.files] == [3, 1, 1]
    assert [(row["a"], row["b"]) for row in table(lake.home)] == [
        ("1", None),
        ("2", "x"),
        (None, "y"),
        ("z", None),
        ("5", None),
    ]


def test_many_dates_need_few_open_files_and_lose_nothing(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "OPEN_FILES", 4)
    monkeypatch.setattr(stage, "HELD_BYTES", 4096)
    monkeypatch.setattr(stage, "ROW_GROUP_ROWS", 7)
    long = run()
    long = type(long)("acme", "7-1", "sessions", "jsonl", day(1), day(31), "7", day(32))
    rows = [{"session_id": at, "session_time": day(1 + at * 7 % 30).replace(tzinfo=None)} for at in range(600)]
    part = staged(lake, long, *(batch(rows[at : at + 50], first=at + 1) for at in range(0, 600, 50)))
    lake.commit([(long, [part])])
    assert query(lake.home, "SELECT session_id, session_time FROM acme.sessions ORDER BY _syncd_row") == [
        (row["session_id"], row["session_time"]) for row in rows
    ]
    assert len(part.files) > 30
    assert query(lake.home, "SELECT count(*) FROM acme.sessions WHERE _syncd_date <> CAST(session_time AS DATE)") == [
        (0,)
    ]


def test_each_footer_says_enough_to_build_the_catalogue_again(lake: Lake) -> None:
    part = staged(lake, run(), batch(rows_of(2), rejected=3))
    for path in (part.files[0].path, part.rejects):
        said = pq.read_metadata(lake.home / path).metadata
        whole, tally = orjson.loads(said[stage.FOOTER]), orjson.loads(said[stage.TALLIES])
        assert (whole["run"]["id"], whole["part"], whole["generation"]) == ("7-1", "p0", 1)
        assert whole["scope"]["merge_keys"] == [["session_id"]]
        assert [tally[name] for name in ("lines", "rows", "rejected", "blank")] == [6, 2, 3, 1]
        assert (tally["sha256"], tally["bytes"]) == (LANDED.sha256, LANDED.bytes)


def test_a_new_generation_leaves_the_files_of_the_old_one_alone(lake: Lake) -> None:
    staged(lake, run(), batch(rows_of(2), rejected=1))
    before = files(lake.home)
    again = lake.stage(run(), SESSIONS, "p0", LANDED, [batch(rows_of(3), rejected=1)], generation=2)
    assert re.fullmatch(r".*/7-1~p0\.g2\.parquet", again.files[0].path)
    assert {name: content for name, content in files(lake.home).items() if name in before} == before


def test_the_files_are_plain_zstd_parquet(lake: Lake) -> None:
    part = staged(lake, run(), batch(rows_of(100)))
    metadata = pq.read_metadata(lake.home / part.files[0].path)
    chunks = [metadata.row_group(0).column(at) for at in range(metadata.num_columns)]
    assert {chunk.compression for chunk in chunks} == {"ZSTD"}
    assert all(chunk.is_stats_set for chunk in chunks)
    assert metadata.format_version == "2.6"


FULL = """
import resource, signal, sys
from pathlib import Path
from datetime import timedelta
sys.path.insert(0, sys.argv[2])
from tests.destination_contract import *
from syncd.destinations.lake import Lake
from syncd.errors import TryAgain
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
lake = Lake(Path(sys.argv[1]), keep_superseded=timedelta(0))
part = staged(lake, run("7-1"), batch(rows_of(3)))
for step in (lambda: staged(lake, run("7-2", on=6), *(batch(rows_of(5000, first=at)) for at in range(1, 50000, 5000))),
             lambda: lake.commit([(run("7-1"), [part])])):
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, resource.RLIM_INFINITY))
    try:
        step()
    except TryAgain as error:
        print("told", bool(error.hint))
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
lake.commit([(run("7-1"), [part])])
"""


def test_a_disk_that_takes_no_more_is_tried_again(lake: Lake) -> None:
    command = [sys.executable, "-c", FULL, str(lake.home), str(Path(__file__).parent.parent)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.split("\n")[:2] == ["told True", "told True"], done.stderr
    assert done.returncode == 0, done.stderr
    left = {Path(name).name for name in files(lake.home)}
    assert left == {"7-1~p0.parquet"}
    assert sorted(path.name for path in lake.home.iterdir()) == ["lake", "warehouse.duckdb"]
    assert len(table(lake.home)) == 3


def test_a_start_removes_what_a_stop_left_half_done(lake: Lake) -> None:
    load(lake, run(), batch(rows_of(3)))
    before = files(lake.home)
    torn = lake.home / "lake/acme/sessions/_syncd_date=2026-01-05" / f".{'0' * 32}.tmp"
    for path in (torn, lake.home / "warehouse.duckdb.aside", lake.home / "warehouse.duckdb.aside.wal"):
        path.write_bytes(b"half")
    lake.start()
    assert files(lake.home) == before
    assert sorted(path.name for path in lake.home.iterdir()) == ["lake", "warehouse.duckdb"]


def test_a_dotted_column_beside_a_struct_with_that_field_is_stored(lake: Lake) -> None:
    kinds = {"g": 'struct<"a":int64>', "g.a": "string", "n": "int64"}
    columns = tuple(Column(name, Type.parse(kind), name) for name, kind in kinds.items())
    rows = [{"g": {"a": n}, "g.a": f"text {n}", "n": n} for n in range(20)]
    load(lake, run(), batch(rows, columns))
    assert query(lake.home, 'SELECT g, "g.a", n FROM acme.sessions ORDER BY n') == [tuple(row.values()) for row in rows]
