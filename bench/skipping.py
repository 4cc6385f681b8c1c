"""What a query reads that asks for a stretch of event time: bytes and row groups, of all that the lake has.

Stages one part of several days into a lake, commits it, and lets DuckDB ask the published catalogue; what it read is
counted by the system (`/proc/self/io`), the row groups it had to read by the statistics in the footers.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
from lines import DAY, made
from rivals import ROOT
from speed import machine

sys.path.insert(0, str(ROOT))

QUERY = "SELECT count(*), max(referer_url), sum(session_duration_msec) FROM acme.sessions"
ASKED = {
    "everything": "",
    "one day by event time": "WHERE session_time >= '{day} 00:00' AND session_time < '{next} 00:00'",
    "one hour by event time": "WHERE session_time >= '{day} 13:00' AND session_time < '{day} 14:00'",
    "one day by partition": "WHERE _syncd_date = '{day}'",
}


def staged(home: Path, folder: Path, mb: int, days: int) -> None:
    """A lake of so many days, each a run of its own."""
    from syncd.destinations.lake import Lake
    from syncd.model import Landed, Run
    from syncd.sources.contentsquare.dictionary import declared
    from syncd.stage import stage_part

    lake = Lake(home)
    lake.start()
    for number in range(days):
        day = (DAY + timedelta(days=number)).replace(tzinfo=UTC)
        part = made(folder, "jsonl", mb, 7 + number, day=DAY + timedelta(days=number))
        ends = day + timedelta(days=1)
        run = Run("acme", f"1-{number}", "sessions", "jsonl", day, ends, "1", ends + timedelta(hours=4))
        scope = lake.scope("acme", declared("sessions"))
        lake.commit([(run, [stage_part(lake, scope, run, "p0", Landed(str(part), part.stat().st_size))])])


def bytes_read() -> int:
    """What this process has read so far, also from the page cache."""
    return int(dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())["rchar"])


def row_groups(files: list[str], low: datetime, high: datetime) -> tuple[int, int]:
    """How many row groups may hold a session that began in [low, high), and how many there are."""
    found = duckdb.sql(
        "SELECT count(*) FILTER (CAST(stats_max_value AS TIMESTAMP) >= $low AND "
        "CAST(stats_min_value AS TIMESTAMP) < $high), count(*) "
        "FROM parquet_metadata($files) WHERE path_in_schema = 'session_time'",
        params={"files": files, "low": low, "high": high},
    ).fetchall()
    return found[0]


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--mb", type=int, default=200, help="million bytes of lines in each day")
    asked.add_argument("--days", type=int, default=5)
    asked.add_argument(
        "--folder", type=Path, default=Path("/tmp/syncd-bench"), help="where the parts are made and kept"
    )
    given = asked.parse_args()
    print(machine(), flush=True)
    day = DAY + timedelta(days=given.days // 2)
    spans = {
        "everything": (datetime.min, datetime.max),  # noqa: DTZ901
        "one hour by event time": (day + timedelta(hours=13), day + timedelta(hours=14)),
    }
    with tempfile.TemporaryDirectory(dir=given.folder) as home:
        staged(Path(home), given.folder, given.mb, given.days)
        files = [str(path) for path in Path(home).rglob("lake/**/*.parquet")]
        print(f"\n{len(files)} files, {sum(Path(file).stat().st_size for file in files) / 1e6:.1f} MB")
        print("\n| asked | rows | MB read | row groups that may match | of |\n|---|---|---|---|---|")
        for name, where in ASKED.items():
            with duckdb.connect(f"{home}/warehouse.duckdb", read_only=True) as warehouse:
                before = bytes_read()
                text = where.format(day=f"{day:%Y-%m-%d}", next=f"{day + timedelta(days=1):%Y-%m-%d}")
                rows = warehouse.sql(f"{QUERY} {text}").fetchall()[0][0]
                read = bytes_read() - before
            matching, whole = row_groups(files, *spans.get(name, (day, day + timedelta(days=1))))
            print(f"| {name} | {rows:,} | {read / 1e6:.1f} | {matching} | {whole} |")


if __name__ == "__main__":
    main()
