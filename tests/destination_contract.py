"""What every Destination promises, each promise a test. An implementer gives the fixtures `destination` and `home`."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from syncd.errors import StartOver
from syncd.model import Batch, Column, Destination, Landed, Rejected, Run, Scope, Staged
from syncd.types import Type, arrow

LANDED = Landed("landing/p", 100, "ab" * 32)
UINT64, INT64, TEXT, WHEN = (Type.parse(kind) for kind in ("uint64", "int64", "string", "timestamp"))
COLUMNS = (
    Column("session_id", UINT64, "session_id", "declared", "the session"),
    Column("session_time", WHEN, "session_time", "declared"),
    Column("note", TEXT, "note", "declared"),
)
SESSIONS = Scope("sessions", COLUMNS, (("session_id",),), ("session_time",))
Row = dict[str, Any]


def day(number: int, hour: int = 0) -> datetime:
    return datetime(2026, 1, 1, hour, tzinfo=UTC) + timedelta(days=number - 1)


def run(
    name: str = "7-1", *, on: int = 5, job: str = "7", scope: str = "sessions", done: datetime | None = None
) -> Run:
    return Run("acme", name, scope, "jsonl", day(on), day(on + 1), job, done or day(on + 1, 4))


def batch(rows: Sequence[Row], columns: Sequence[Column] = COLUMNS, *, first: int = 1, rejected: int = 0) -> Batch:
    """These rows from record `first` on, with so many rejected lines behind them and one blank one."""
    arrays = [pa.array([row.get(one.name) for row in rows], arrow(one.type)) for one in columns]
    arrays.append(pa.array(range(first, first + len(rows)), pa.int64()))
    names = [*(one.name for one in columns), "_syncd_row"]
    bad = tuple(Rejected(first + len(rows) + at, 7 * at, "no record", b"\xff\x00{") for at in range(rejected))
    lines = len(rows) + rejected + 1
    return Batch(pa.RecordBatch.from_arrays(arrays, names=names), tuple(columns), bad, lines, 1)


def rows_of(number: int, *, on: int = 5, first: int = 1) -> list[Row]:
    """Sessions with ids above 2^63, one a minute, and text that needs care."""
    start = day(on).replace(tzinfo=None)
    return [
        {"session_id": 2**64 - first - at, "session_time": start + timedelta(minutes=at), "note": "é'\"\n\0" * (at % 3)}
        for at in range(number)
    ]


def staged(destination: Destination, one: Run, *batches: Batch, part: str = "p0", scope: Scope = SESSIONS) -> Staged:
    known = destination.scope(one.source, replace(scope, name=one.scope))
    return destination.stage(one, known, part, LANDED, batches)


def load(destination: Destination, one: Run, *batches: Batch, scope: Scope = SESSIONS) -> Staged:
    part = staged(destination, one, *batches, scope=scope)
    destination.commit([(one, [part])])
    return part


def query(home: Path, sql: str) -> list[tuple[Any, ...]]:
    """What a reader gets, in a connection of its own."""
    with duckdb.connect(str(home / "warehouse.duckdb"), read_only=True) as connection:
        return connection.execute(sql).fetchall()


def table(home: Path, view: str = "acme.sessions") -> list[Row]:
    """The vendor's columns, by run, part and row."""
    with duckdb.connect(str(home / "warehouse.duckdb"), read_only=True) as connection:
        cursor = connection.execute(f"SELECT * FROM {view} ORDER BY _syncd_run, _syncd_part, _syncd_row")
        names = [column[0] for column in cursor.description]
        rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    return [{name: value for name, value in row.items() if not name.startswith("_syncd_")} for row in rows]


def files(home: Path) -> dict[str, bytes]:
    return {str(path.relative_to(home)): path.read_bytes() for path in (home / "lake").rglob("*") if path.is_file()}


READER = """
import duckdb, sys, time
whole, seen, end = int(sys.argv[2]), set(), time.monotonic() + 600
while max(seen, default=0) < whole * 20 and time.monotonic() < end:
    with duckdb.connect(sys.argv[1], read_only=True) as connection:
        seen.add(connection.execute("SELECT count(*) FROM acme.sessions").fetchone()[0])
        print("reading", flush=True) if len(seen) == 1 else None
assert all(count % whole == 0 for count in seen), seen
assert max(seen) == whole * 20 and len(seen) > 1, seen
"""


class DestinationContract:
    def test_rows_come_back_as_they_went_in(self, destination: Destination, home: Path) -> None:
        rows = rows_of(300)
        load(destination, run(), batch(rows[:100]), batch(rows[100:], first=101))
        assert table(home) == rows

    def test_a_copy_on_another_machine_stages_the_same(self, destination: Destination, home: Path) -> None:
        copy = pickle.loads(pickle.dumps(destination))
        assert staged(copy, run(), batch(rows_of(5))) == staged(destination, run(), batch(rows_of(5)))

    def test_what_is_staged_is_out_of_sight(self, destination: Destination, home: Path) -> None:
        load(destination, run("7-1"), batch(rows_of(3)))
        staged(destination, run("7-2", on=6), batch(rows_of(3, on=6)))
        assert len(table(home)) == 3

    def test_staging_again_replaces(self, destination: Destination, home: Path) -> None:
        first = staged(destination, run(), batch(rows_of(5)))
        before = files(home)
        second = staged(destination, run(), batch(rows_of(5)))
        assert (first, before) == (second, files(home))
        assert staged(destination, run(), batch(rows_of(4))).rows == 4
        assert files(home).keys() == before.keys()

    def test_committing_again_changes_nothing(self, destination: Destination, home: Path) -> None:
        part = load(destination, run(), batch(rows_of(5)))
        before = (home / "warehouse.duckdb").read_bytes()
        destination.commit([(run(), [part])])
        assert (home / "warehouse.duckdb").read_bytes() == before

    def test_errors_of_the_batches_pass_through_and_leave_nothing(self, destination: Destination, home: Path) -> None:
        def broken() -> Iterator[Batch]:
            yield batch(rows_of(5), rejected=2)
            raise OSError(5, "the landed file can't be read")

        before = files(home)
        with pytest.raises(OSError, match="landed file"):
            destination.stage(run(), SESSIONS, "p0", LANDED, broken())
        assert files(home) == before

    @pytest.mark.parametrize("torn", [None, b"", b"PAR1"])
    def test_a_lost_or_torn_file_starts_the_run_over(
        self, destination: Destination, home: Path, torn: bytes | None
    ) -> None:
        for at in range(2):  # of a file with rows, and of one with rejected lines
            part = staged(destination, run(), batch(rows_of(5), rejected=1))
            path = home / (part.files[0].path, part.rejects)[at]
            path.unlink() if torn is None else path.write_bytes(torn)
            with pytest.raises(StartOver):
                destination.commit([(run(), [part])])
            assert destination.loaded("acme") == set()

    def test_a_part_whose_lines_dont_add_up_is_refused(self, destination: Destination) -> None:
        good = batch(rows_of(5))
        with pytest.raises(StartOver):
            staged(destination, run(), Batch(good.rows, good.columns, (), lines=7, blank=1))

    def test_a_run_without_parts_is_loaded(self, destination: Destination, home: Path) -> None:
        destination.scope("acme", SESSIONS)
        destination.commit([(run(), [])])
        assert table(home) == []
        assert destination.loaded("acme") == {"7-1"}
        described = query(home, "SELECT column_name, column_type FROM (DESCRIBE acme.sessions)")
        assert described[:3] == [("session_id", "UBIGINT"), ("session_time", "TIMESTAMP"), ("note", "VARCHAR")]

    def test_several_runs_are_shown_in_one_step(self, destination: Destination, home: Path) -> None:
        runs = [run(f"7-{on}", on=on) for on in range(1, 6)]
        destination.commit([(one, [staged(destination, one, batch(rows_of(2, on=one.start.day)))]) for one in runs])
        assert len(table(home)) == 10
        assert destination.loaded("acme") == {one.id for one in runs}
        assert destination.loaded("other") == set()

    def test_a_reader_in_another_process_sees_whole_runs_only(self, destination: Destination, home: Path) -> None:
        load(destination, run("7-1", on=1), batch(rows_of(50, on=1)))
        command = [sys.executable, "-c", READER, str(home / "warehouse.duckdb"), "50"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=os.environ) as reader:
            assert reader.stdout and reader.stdout.readline() == b"reading\n"
            for on in range(2, 21):
                load(destination, run(f"7-{on}", on=on), batch(rows_of(50, on=on)))
            assert reader.wait(timeout=600) == 0
