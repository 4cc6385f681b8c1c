"""One day out of three years of 200 columns, as an analyst's own process asks for it: seconds, memory, opens, bytes.

The lake is made of one day that was staged, committed, packed and settled in earnest; the other days are links to its
file. Each query runs in a fresh process, the page cache warm; what it opens is told by inotify, what it reads by
/proc/self/io.
"""

from __future__ import annotations

import argparse
import ctypes
import json  # noqa: TID251  # what the other process prints
import os
import shutil
import statistics
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa

sys.path.insert(0, str(Path(__file__).parent.parent))

from syncd.destinations.lake import Lake
from syncd.destinations.lake.paths import packed_path
from syncd.destinations.lake.show import show_all
from syncd.destinations.lake.tables import OPEN
from syncd.model import Batch, Column, Landed, Run, Scope
from syncd.types import Type

IN_OPEN = 0x20
FIRST = date(2026, 1, 1)
ASKED = {
    "everything, counted": "SELECT count(*) FROM acme.{view}",
    "one day, three columns": "SELECT count(*), sum(c8), max(c150) FROM acme.{view} WHERE _syncd_date = '{day}'",
    "one day, all columns": "SELECT * FROM acme.{view} WHERE _syncd_date = '{day}' LIMIT 1000",
}
ASK = """
import duckdb, json, sys, time
def told(name, key):
    return int(dict(line.split(":") for line in open(f"/proc/self/{name}"))[key].split()[0])
connection = duckdb.connect(sys.argv[1], read_only=True)
connection.execute("SET enable_progress_bar = false")
before, began, cpu = told("io", "rchar"), time.perf_counter(), time.process_time()
connection.execute(sys.argv[2]).fetchall()
spent = [time.perf_counter() - began, time.process_time() - cpu]
print(json.dumps([*spent, told("io", "rchar") - before, told("status", "VmHWM") * 1024]))
"""


def made(home: Path, columns: int, days: int, rows: int) -> None:
    """The lake: four runs of a day, packed and settled, and a link for each other day."""
    kinds = [Type.parse(("int64", "string", "double", "timestamp")[at % 4]) for at in range(columns)]
    shape = (
        Column("session_id", Type.parse("uint64"), "session_id", "declared"),
        Column("session_time", Type.parse("timestamp"), "session_time", "declared"),
        *(Column(f"c{at}", kind, f"c{at}") for at, kind in enumerate(kinds)),
    )
    scope = Scope("sessions", shape[:2], (("session_id",),), ("session_time",))
    start = datetime(FIRST.year, FIRST.month, FIRST.day, tzinfo=UTC)
    now = [start + timedelta(days=1)]
    lake = Lake(home, clock=lambda: now[0])
    lake.start()
    chance = np.random.default_rng(7)
    for number in range(4):
        begins = start + timedelta(hours=6 * number)
        run = Run("acme", f"1-{number}", "sessions", "jsonl", begins, begins + timedelta(hours=6), "1", begins)
        times = np.datetime64(begins.replace(tzinfo=None), "us") + chance.integers(0, 6 * 3600, rows // 4) * 10**6
        numbers = [chance.integers(0, 1000, rows // 4) for _ in kinds]
        as_arrow = {"int64": pa.array, "double": lambda n: pa.array(n / 8), "string": lambda n: pa.array(n.astype("U"))}
        as_arrow["timestamp"] = lambda n: pa.array(np.datetime64("2026-01-01", "us") + n)
        arrays = [pa.array(np.arange(rows // 4, dtype="u8") + number * rows), pa.array(times)]
        arrays += [as_arrow[kind.kind](column) for kind, column in zip(kinds, numbers, strict=True)]
        arrays.append(pa.array(np.arange(1, rows // 4 + 1)))
        batch = pa.RecordBatch.from_arrays(arrays, names=[*(column.name for column in shape), "_syncd_row"])
        landed = Landed("p", 1, "ab" * 32)
        known = lake.scope("acme", scope)
        part = lake.stage(run, known, "p0", landed, [Batch(batch, shape, (), batch.num_rows, 0)])
        lake.commit([(run, [part])])
    now[0] += timedelta(days=9)
    assert lake.pack()
    assert lake.settle()
    with lake._publication() as catalogue:
        ((template,),) = catalogue.execute(f"SELECT path FROM {OPEN}.files WHERE packed")
        for at in range(1, days):
            day = FIRST + timedelta(days=at)
            path = packed_path("acme", "sessions", str(day), 10**6 + at)
            (home / path).parent.mkdir(parents=True)
            os.link(home / template, home / path)
            catalogue.execute(
                f"INSERT INTO {OPEN}.files SELECT * REPLACE (? AS path, ? AS date, ? AS chunk) FROM {OPEN}.files "
                "WHERE path = ?",
                path,
                day,
                day.year,
                template,
            )
        show_all(catalogue, home)


def opened(home: Path, command: list[str]) -> tuple[list[float], int]:
    """What the process says, and how many opens of Parquet files there were meanwhile."""
    system = ctypes.CDLL(None, use_errno=True)
    watch = system.inotify_init1(os.O_NONBLOCK)
    for folder in (home / "lake" / "acme" / "sessions").iterdir():
        system.inotify_add_watch(watch, os.fsencode(folder), IN_OPEN)
    said = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    opens = 0
    while True:
        try:
            events = os.read(watch, 1 << 16)
        except BlockingIOError:
            break
        while events:
            mask, length = int.from_bytes(events[4:8], "little"), int.from_bytes(events[12:16], "little")
            opens += bool(mask & IN_OPEN and b".parquet" in events[16 : 16 + length])
            events = events[16 + length :]
    os.close(watch)
    return said, opens


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("build/query"))
    parser.add_argument("--columns", type=int, default=200)
    parser.add_argument("--days", type=int, default=1095)
    parser.add_argument("--rows", type=int, default=50_000, help="of a day")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    home = given.folder.absolute()
    shutil.rmtree(home, ignore_errors=True)
    made(home, given.columns, given.days, given.rows)
    day = FIRST + timedelta(days=given.days // 2)
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    print(f"{given.days} days of {given.columns} columns, {given.rows:,} rows each\n")
    print("| query | view | median s | of a processor | opens | MB read | peak MB |\n|---|---|---|---|---|---|---|")
    for name, sql in ASKED.items():
        for view in ("sessions", "sessions_latest"):
            query = sql.format(view=view, day=day)
            command = [sys.executable, "-c", ASK, str(home / "warehouse.duckdb"), query]
            rounds = [opened(home, command) for _ in range(given.rounds)]
            seconds, cpu = (statistics.median(said[at] for said, _ in rounds) for at in (0, 1))
            said, opens = rounds[-1]
            figures = f"{seconds:.3f} | {cpu:.3f} | {opens} | {said[2] / 1e6:.1f} | {said[3] / 1e6:.0f}"
            print(f"| {name} | {view} | {figures} |", flush=True)


if __name__ == "__main__":
    main()
