"""Five years in: what a commit, a pass and a query cost on a lake with a long history.

A few days are lived through in earnest: each run staged, committed, packed when its day is over, swept, by the lake's
own code under a fast clock. The years before are laid down in the ledger as the lake itself would have left them:
closed runs and parts, a packed file for each day and scope, and what each is made of. Then all is measured.
"""

from __future__ import annotations

import argparse
import math
import os
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

sys.path.insert(0, str(Path(__file__).parent.parent))

from syncd.destinations.lake import Lake
from syncd.destinations.lake.commit import add_new
from syncd.destinations.lake.paths import packed_path
from syncd.destinations.lake.proof import Flaw, published
from syncd.destinations.lake.segments import add_segment, next_number, show_ledger
from syncd.destinations.lake.show import show_all
from syncd.destinations.lake.tables import OPEN
from syncd.model import Batch, Column, Landed, Run, Scope, Staged
from syncd.types import Type

YEARS = 5  # until a week ago
START = datetime.combine(datetime.now(UTC) - timedelta(days=365 * YEARS + 7), datetime.min.time(), UTC)
COLUMNS = (
    Column("session_id", Type.parse("uint64"), "session_id", "declared"),
    Column("session_time", Type.parse("timestamp"), "session_time", "declared"),
    Column("note", Type.parse("string"), "note", "declared"),
)
ROWS = 20  # of a part


@dataclass
class Clock:
    """Whatever time we say."""

    now: datetime

    def __call__(self) -> datetime:
        return self.now


@dataclass
class Spent:
    """What a thing cost this process."""

    seconds: float = 0.0
    cpu: float = 0.0
    written: int = 0  # bytes, to the disk


@contextmanager
def spending() -> Iterator[Spent]:
    spent, began, cpu, written = Spent(), time.perf_counter(), time.process_time(), bytes_written()
    yield spent
    spent.seconds, spent.cpu = time.perf_counter() - began, time.process_time() - cpu
    spent.written = bytes_written() - written


def bytes_written() -> int:
    """What this process has had written to the disk so far."""
    return int(dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())["write_bytes"])


def memory() -> int:
    """Resident bytes of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def scope_of(number: int) -> Scope:
    return Scope(f"scope_{number}", COLUMNS, (("session_id",),), ("session_time",))


def staged(lake: Lake, run: Run, parts: int) -> list[Staged]:
    """A run of small parts, each with rows of its own hour and of the day before: two files."""
    made = []
    for number in range(parts):
        seconds = np.arange(ROWS) * 60 - (np.arange(ROWS) % 2) * 86_400
        start = np.datetime64(run.start.replace(tzinfo=None), "us")
        arrays = [
            pa.array(np.arange(ROWS, dtype="u8") + abs(hash((run.id, number))) % 2**40),
            pa.array(start + seconds.astype("timedelta64[s]")),
            pa.array(["note"] * ROWS),
            pa.array(np.arange(1, ROWS + 1)),
        ]
        rows = pa.RecordBatch.from_arrays(arrays, names=[*(column.name for column in COLUMNS), "_syncd_row"])
        scope = lake.scope(run.source, scope_of(int(run.scope.rpartition("_")[2])))
        batch = Batch(rows, COLUMNS, (), ROWS, 0)
        made.append(lake.stage(run, scope, f"p{number}", Landed("p", 100, "ab" * 32), [batch]))
    return made


def a_run(job: int, hour: datetime, scopes: int) -> Run:
    number = int((hour - START).total_seconds() // 3600)
    ends = hour + timedelta(hours=1)
    return Run("acme", f"{job}-{job * 10**6 + number}", f"scope_{job % scopes}", "jsonl", hour, ends, str(job), ends)


def live_through(
    lake: Lake, clock: Clock, first: datetime, hours: int, jobs: int, scopes: int, minutes: float = math.inf
) -> dict[str, Any]:
    """Every hour each job delivers a run; runs that are ready together are committed together; days are packed."""
    commits, packs, end = [], [], time.monotonic() + 60 * minutes
    for number in range(hours):
        if time.monotonic() > end:
            break
        hour = first + timedelta(hours=number)
        clock.now = hour + timedelta(hours=2)
        ready = [(run, staged(lake, run, 2)) for run in (a_run(job, hour, scopes) for job in range(jobs))]
        with spending() as commit:
            lake.commit(ready)
        commits.append(commit)
        if number % 4 == 3:
            lake.sweep("acme", clock.now, [])
        if number % 24 == 23:
            packs += list(packing(lake))
    return {"commits": commits, "packs": packs}


def packing(lake: Lake) -> Iterator[Spent]:
    while True:
        with spending() as spent:
            packed = lake.pack()
        if packed is None:
            return
        print(f"  packed {packed}, {spent.seconds:.2f} s", flush=True)
        yield spent


def lay_down(lake: Lake, clock: Clock, runs: int, jobs: int, scopes: int, until: datetime) -> None:
    """The ledger and the packed files of all the years before, as the lake leaves them: no period is missing."""
    each = runs // jobs
    hours = int((until - START).total_seconds() // 3600) // each  # that one period lasts
    template = next((lake.home / "lake" / "acme").rglob("~*.parquet"))
    begin = f"TIMESTAMP '{until:%Y-%m-%d}' - INTERVAL {hours} HOUR * ({each} - n)"
    with lake._publication() as catalogue:
        catalogue.execute(
            f"CREATE TEMP TABLE years AS SELECT 'acme' AS source, j || '-' || (j * 1000000 - n - 1) AS run, "
            f"j::VARCHAR AS job, 'scope_' || (j % {scopes}) AS scope, 'jsonl' AS format, {begin} AS period_start "
            f"FROM range({jobs}) a(j), range({each}) b(n)"
        )
        number = next_number(lake.home)
        add_segment(
            catalogue,
            lake.home,
            "runs",
            number,
            f"SELECT *, period_start + INTERVAL {hours} HOUR AS period_end, period_end AS completed_at, period_end AS "
            f"loaded_at, 2 AS parts, {2 * ROWS} AS rows, 0 AS rejected, 200 AS bytes, 'loaded' AS status, "
            f"{number} AS number FROM years",
        )
        add_segment(
            catalogue,
            lake.home,
            "parts",
            number,
            "SELECT source, run, 'p' || p AS part, 100 AS bytes, sha256(run || p) AS sha256, "
            f"{ROWS} AS lines, {ROWS} AS rows, 0 AS rejected, 0 AS blank, '' AS rejects, '' AS rejects_sha256, "
            f"{number} AS number FROM years, range(2) a(p)",
        )
        ((layout,),) = catalogue.execute(f"SELECT layout FROM {OPEN}.files WHERE packed LIMIT 1")
        days = [START.date() + timedelta(days=at) for at in range((until - START).days)]
        files = []
        for scope in range(scopes):
            for at, day in enumerate(days):
                path = packed_path("acme", f"scope_{scope}", str(day), 10**7 + scope * 10**5 + at)
                (lake.home / path).parent.mkdir(parents=True, exist_ok=True)
                os.link(template, lake.home / path)
                files.append({"path": path, "scope": f"scope_{scope}", "date": day, "chunk": day.year})
        same = {"source": "acme", "run": "", "part": "", "rows": 1, "bytes": 1, "sha256": "ab" * 32, "layout": layout}
        same |= {"dated": True, "loaded_at": clock.now.replace(tzinfo=None), "live": True, "packed": True}
        catalogue.insert(f"{OPEN}.files", [file | same for file in files])
        members = (
            "SELECT path, source, scope, years.run, 'p' || p AS part, date, "
            f"{ROWS} AS rows, 100 AS bytes, '' AS sha256, path || years.run || p AS was, 1 AS generation, "
            f"{number + 1} AS number FROM years JOIN {OPEN}.files USING (source, scope), range(2) a(p) "
            "WHERE packed AND date = CAST(period_start AS DATE)"
        )
        add_segment(catalogue, lake.home, "members", number + 1, members)
        jobs_of = [{"source": "acme", "scope": f"scope_{job % scopes}", "job": str(job)} for job in range(jobs)]
        add_new(catalogue, f"{OPEN}.deliveries", jobs_of)
        show_ledger(catalogue, lake.home)
        show_all(catalogue, lake.home)


def timed(name: str, action: Callable[[], Any]) -> Any:
    before = memory()
    with spending() as spent:
        answer = action()
    more = (memory() - before) >> 20
    print(f"| {name} | {spent.seconds:.2f} | {spent.cpu:.2f} | {spent.written / 1e6:.1f} | {more:+} |", flush=True)
    return answer


def prove(home: Path) -> list[Flaw]:
    with published(home) as ledger:
        assert ledger
        return list(ledger.misfigured())


def told(name: str, spent: list[Spent]) -> None:
    seconds, cpu = sorted(one.seconds for one in spent), sorted(one.cpu for one in spent)
    most = max(one.written for one in spent) / 1e6
    p99 = seconds[int(len(seconds) * 0.99)]
    print(
        f"{name}: {len(spent)}, median {statistics.median(seconds) * 1000:.0f} ms, p99 {p99 * 1000:.0f} ms; "
        f"processor: median {statistics.median(cpu) * 1000:.0f} ms, p99 {cpu[int(len(cpu) * 0.99)] * 1000:.0f} ms; "
        f"at most {most:.1f} MB written",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("build/scale"))
    parser.add_argument("--runs", type=int, default=1_700_000)
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--scopes", type=int, default=5)
    parser.add_argument("--hours", type=int, default=30, help="lived through on top of the years")
    parser.add_argument("--minutes", type=float, default=math.inf, help="after which no further hour is lived through")
    parser.add_argument("--commits", type=int, default=100, help="measured, of one run each")
    given = parser.parse_args()
    home = given.folder.absolute()
    shutil.rmtree(home, ignore_errors=True)
    until = START + timedelta(days=365 * YEARS)
    clock = Clock(until)
    lake = Lake(home, clock=clock)
    lake.start()
    live_through(lake, clock, until - timedelta(days=3), 24, min(given.jobs, 4 * given.scopes), given.scopes)
    clock.now = until + timedelta(days=1)
    list(packing(lake))
    lay_down(lake, clock, given.runs, given.jobs, given.scopes, until - timedelta(days=5))
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    print("| what | seconds | of a processor | MB written | MB more memory |\n|---|---|---|---|---|")
    lake = Lake(home, clock=clock)  # as a daemon that has just started
    timed("start", lake.start)
    loaded = timed("which runs are loaded, the first time", lambda: lake.loaded("acme"))
    timed("which runs are loaded, from then on", lambda: lake.loaded("acme"))
    listed = [
        f"{number % given.jobs}-{(number % given.jobs) * 10**6 - number // given.jobs - 1}" for number in range(10**5)
    ]
    timed("100,000 listed runs, each looked up", lambda: [run for run in listed if run not in loaded])
    timed("sweep, nothing to do", lambda: lake.sweep("acme", clock.now, []))
    lived = live_through(lake, clock, until, given.hours, given.jobs, given.scopes, given.minutes)
    hours = len(lived["commits"])
    told(f"commits of {given.jobs} runs together", lived["commits"])
    one_by_one = []
    for number in range(given.commits):
        hour = until + timedelta(hours=hours + number // given.jobs)
        run = a_run(number % given.jobs, hour, given.scopes)
        parts = staged(lake, run, 2)
        with spending() as commit:
            lake.commit([(run, parts)])
        one_by_one.append(commit)
    told("commits of one run", one_by_one)
    clock.now += timedelta(days=4)
    told("days packed", list(packing(lake)))
    timed("what status and the page read of the ledger", lambda: lake.history(clock.now - timedelta(days=7), (), 25, 5))
    timed("the same when nothing has changed", lambda: lake.history(clock.now - timedelta(days=7), (), 25, 5))
    flaws = timed("the figures of the ledger, as verify proves them", lambda: prove(home))
    assert not flaws, flaws
    ((files,),) = lake._read(f"SELECT count(*) FROM {OPEN}.files WHERE live")
    ((ever,),) = lake._read("SELECT count(*) FROM _syncd.files")
    ((runs,),) = lake._read("SELECT count(*) FROM _syncd.runs")
    print(f"live files {files:,}; files ever {ever:,}; runs {runs:,}; ", end="")
    print(f"catalogue {(home / 'warehouse.duckdb').stat().st_size / 1e6:.1f} MB", end="; ")
    print(f"ledger {sum(path.stat().st_size for path in (home / 'lake' / '_ledger').iterdir()) / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
