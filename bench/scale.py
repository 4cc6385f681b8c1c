"""Five years in: what syncd costs on a lake with a long history, and whether any of it grows.

First the years are lived through, day by day (life.py). Then what stands is measured: the tables against what was
delivered, commits, a start, a sweep, the ledger, whole commands, a day's queries. Last the rest of the runs is laid
down in the ledger, as the lake itself would have left them (closed runs and parts, and of what the packed files of
their days are made; where a day was not lived through, a link for its file), and all is measured again.
"""

from __future__ import annotations

import argparse
import json  # noqa: TID251  # what the other process prints
import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import duckdb

sys.path.insert(0, str(Path(__file__).parent.parent))

from life import (
    HEADINGS,
    ROWS,
    START,
    YEARS,
    Clock,
    Month,
    Project,
    Spent,
    figures,
    live,
    memory,
    pack_all,
    peak_of,
    scope_of,
    spending,
    staged,
)
from life import told as milliseconds
from query import ASK

from syncd.destinations.lake import Lake
from syncd.destinations.lake.commit import add_new
from syncd.destinations.lake.paths import packed_path
from syncd.destinations.lake.proof import Flaw, published
from syncd.destinations.lake.segments import add_segment, next_number, show_ledger
from syncd.destinations.lake.show import show_all
from syncd.destinations.lake.tables import OPEN

DAYS = 365 * YEARS
LOOKS_S = 0.02  # between two looks at the memory of a command
OTHERS = 1000  # jobs from this number on are laid down, not lived through
CONFIGURATION = """
data_dir = "{home}"
[http]
listen = "127.0.0.1:0"
[sources.acme]
kind = "contentsquare"
client_id = "id"
client_secret = "secret"
token_url = "http://127.0.0.1:1/v1/oauth/token"
"""
COMMANDS = (["status", "--json"], ["gaps", "--json"], ["verify", "--json"], ["runs", "--json"])


def by_year(months: list[Month]) -> None:
    """The same table by years of life."""
    print(f"\n{HEADINGS.replace('month', 'year')}\n|{'---|' * (HEADINGS.count(' | ') + 1)}")
    rest = iter(months)
    while some := list(islice(rest, 12)):
        year = Month(some[0].name, stands=some[-1].stands)
        for month in some:
            for name, value in vars(month).items():
                if isinstance(value, list | int | float):
                    setattr(year, name, getattr(year, name) + value)
        print(figures(year), flush=True)


def compare(home: Path, project: Project, days: int) -> None:
    """The tables against what was delivered, by a DuckDB that knows nothing of us."""
    many = days * project.jobs * ROWS
    with duckdb.connect(str(home / "warehouse.duckdb"), read_only=True) as reader:
        for view in ("scope_{}", "scope_{}_latest"):
            rows = " UNION ALL ".join(
                f'SELECT session_id FROM acme."{view.format(number)}"' for number in range(project.scopes)
            )
            sums = f"SELECT count(*), count(DISTINCT session_id), sum(session_id) FROM ({rows})"
            found = reader.execute(sums).fetchall()[0]
            assert found == (many, many, many * (many - 1) // 2), (view, found, many)
            print(f"{view.format('…')}: {found[0]:,} rows, ids sum up to {found[2]:,}: as delivered")
        statuses = reader.execute("SELECT status, count(*) FROM _syncd.runs GROUP BY ALL ORDER BY ALL").fetchall()
        rejected = reader.execute("SELECT count(*), (SELECT sum(rejected) FROM _syncd.runs) FROM _syncd.rejected")
        print(
            f"{statuses}; rejected lines, and in the ledger, with those of superseded runs: {rejected.fetchall()[0]}",
            flush=True,
        )


def lay_down(lake: Lake, project: Project, lived: int, runs: int) -> None:
    """About so many runs more in the ledger: those of the days that were not lived through, then other jobs'."""
    rest = range(min(lived, DAYS), DAYS)
    each = max(runs // project.jobs - len(rest), 1)
    number, hours = next_number(lake.home), 24 * DAYS // each  # that a period of the others lasts
    same, others = range(project.jobs), range(OTHERS, OTHERS + project.jobs)
    periods = " UNION ALL ".join(
        f"SELECT j, (j * 1000000 + n)::VARCHAR AS name, n * {length} AS hour, {length} AS hours "
        f"FROM range({jobs.start}, {jobs.stop}) a(j), range({of.start}, {of.stop}) b(n)"
        for jobs, of, length in ((same, rest, 24), (others, range(each), hours))
    )
    with lake._publication() as catalogue:
        lay_files(lake, catalogue, project, lived)
        catalogue.execute(
            "CREATE TEMP TABLE years AS SELECT 'acme' AS source, j || '-' || name AS run, j::VARCHAR AS job, "
            f"'scope_' || (j % {project.scopes}) AS scope, 'jsonl' AS format, "
            f"TIMESTAMP '{START:%Y-%m-%d}' + to_hours(hour) AS period_start, period_start + to_hours(hours) AS "
            f"period_end FROM ({periods}) WHERE (scope, CAST(period_start AS DATE)) IN "
            f"(SELECT (scope, date) FROM {OPEN}.files WHERE packed)"  # few files of a day stay as they are
        )
        add_segment(
            catalogue,
            lake.home,
            "runs",
            number,
            f"SELECT *, period_end AS completed_at, period_end AS loaded_at, 2 AS parts, {2 * ROWS} AS rows, "
            f"0 AS rejected, 200 AS bytes, 'loaded' AS status, {number} AS number FROM years",
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
        packed = f"SELECT source, scope, date, min(path) AS path FROM {OPEN}.files WHERE packed GROUP BY ALL"
        members = (
            "SELECT path, source, scope, years.run, 'p' || p AS part, date, "
            f"{ROWS} AS rows, 100 AS bytes, '' AS sha256, path || years.run || p AS was, 1 AS generation, "
            f"{number} AS number FROM years JOIN ({packed}) USING (source, scope), range(2) a(p) "
            "WHERE date = CAST(period_start AS DATE)"
        )
        add_segment(catalogue, lake.home, "members", number, members)
        delivered = [{"source": "acme", "scope": f"scope_{job % project.scopes}", "job": str(job)} for job in others]
        add_new(catalogue, f"{OPEN}.deliveries", delivered)
        show_ledger(catalogue, lake.home)
        show_all(catalogue, lake.home)


def lay_files(lake: Lake, catalogue: Any, project: Project, lived: int) -> None:
    """A file for each day that was not lived through."""
    ((path, row),) = catalogue.execute(
        f"SELECT path, files FROM {OPEN}.files WHERE packed AND dated AND settled LIKE '[%' ORDER BY path LIMIT 1"
    )
    for scope in range(project.scopes):
        files = []
        for at in range(lived, DAYS):
            day = (START + timedelta(days=at)).date()
            link = packed_path("acme", f"scope_{scope}", str(day), 10**7 + at)
            (lake.home / link).parent.mkdir(parents=True, exist_ok=True)
            os.link(lake.home / path, lake.home / link)
            files.append(row | {"path": link, "scope": f"scope_{scope}", "date": day, "chunk": day.year})
        catalogue.insert(f"{OPEN}.files", files)


def timed(name: str, action: Callable[[], Any]) -> Any:
    before = memory()
    with spending() as spent:
        answer = action()
    more = (memory() - before) >> 20
    print(f"| {name} | {spent.seconds:.2f} | {spent.cpu:.2f} | {spent.written / 1e6:.1f} | {more:+} |", flush=True)
    return answer


def measure(home: Path, clock: Clock) -> None:
    """What a daemon has to do on what stands."""
    print(f"\nload {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    print("| what | seconds | of a processor | MB written | MB more memory |\n|---|---|---|---|---|")
    lake = Lake(home, clock=clock)
    timed("start", lake.start)
    loaded = timed("which runs are loaded, the first time", lambda: lake.loaded("acme"))
    timed("which runs are loaded, from then on", lambda: lake.loaded("acme"))
    timed("100,000 listed runs, each looked up", lambda: sum(f"7-{at}" in loaded for at in range(10**5)))
    timed("sweep, nothing to do", lambda: lake.sweep("acme", clock.now, []))
    timed("packing, nothing to do", lake.pack)
    timed("settling, nothing to do", lake.settle)
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


def prove(home: Path) -> list[Flaw]:
    with published(home) as ledger:
        assert ledger
        return list(ledger.misfigured())


def commits(home: Path, clock: Clock, project: Project, first: int, single: int) -> None:
    """A day of all jobs in one commit, then the next days' runs one by one."""
    lake, clock.now = Lake(home, clock=clock), START + timedelta(days=first + 10)
    for scope in range(project.scopes):
        lake.scope("acme", scope_of(f"scope_{scope}"))
    lake.loaded("acme")
    every = ((run, staged(lake, project, run, *more)) for day in (first, first + 1) for run, *more in project.day(day))
    for name, ready in (
        (f"a commit of {project.jobs} runs", [list(islice(every, project.jobs))]),
        ("commits of one run", [[one] for one in islice(every, single)]),
    ):
        spent = []
        for some in ready:
            clock.now += timedelta(minutes=1)
            with spending() as cost:
                lake.commit(some)
            spent.append(cost)
        told(name, spent)
    clock.now += timedelta(days=4)
    month = Month("")
    pack_all(lake, clock, month)
    told("turns of packing these days", month.packing)
    told("turns of settling them", month.settling)


def told(name: str, spent: list[Spent]) -> None:
    seconds, cpu = milliseconds([one.seconds for one in spent]), milliseconds([one.cpu for one in spent])
    most = max(one.written for one in spent) / 1e6
    print(
        f"{name}: {len(spent)}, median {seconds[0]} ms, p99 {seconds[1]} ms; of a processor {cpu[0]} ms, {cpu[1]} ms; "
        f"at most {most:.1f} MB written",
        flush=True,
    )


def look(home: Path) -> None:
    """Whole processes: commands, and a day in the middle as an analyst asks for it."""
    config = home.with_name(f"{home.name}.toml")
    config.write_text(CONFIGURATION.format(home=home))
    print("\n| process | seconds | of a processor | peak MB | ends with |\n|---|---|---|---|---|")
    for command in COMMANDS:
        said, ended = whole([sys.executable, "-m", "syncd", "--config", str(config), *command])
        print(f"| syncd {' '.join(command)} | {said} | {ended} |", flush=True)
    day = (START + timedelta(days=DAYS // 4)).date()
    print("\n| query of a day | seconds | of a processor | MB read | peak MB |\n|---|---|---|---|---|")
    for view in ("scope_0", "scope_0_latest"):
        sql = f"SELECT count(*), max(session_time), max(note) FROM acme.{view} WHERE _syncd_date = '{day}'"
        command = [sys.executable, "-c", ASK, str(home / "warehouse.duckdb"), sql]
        seconds, cpu, read, peak = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
        print(f"| {view} | {seconds:.3f} | {cpu:.3f} | {read / 1e6:.1f} | {peak / 1e6:.0f} |", flush=True)


def whole(command: list[str]) -> tuple[str, int]:
    """What a command cost as a process, and its exit code."""
    root = str(Path(__file__).parent.parent)
    began = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=root)
    peak, ended = 0, 0
    while not ended:
        peak = max(peak, peak_of(child.pid))  # what wait4 tells begins with the memory of the one who forked
        time.sleep(LOOKS_S)
        ended, status, used = os.wait4(child.pid, os.WNOHANG)
    cpu = used.ru_utime + used.ru_stime
    return f"{time.perf_counter() - began:.1f} | {cpu:.1f} | {peak / 1e6:.0f}", os.waitstatus_to_exitcode(status)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("build/scale"))
    parser.add_argument("--days", type=int, default=DAYS, help="lived through")
    parser.add_argument("--minutes", type=float, default=math.inf, help="after which no further day is lived through")
    parser.add_argument("--pack-every", type=int, default=1, help="days between two turns of the packer")
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--scopes", type=int, default=5)
    parser.add_argument("--runs", type=int, default=1_700_000, help="in the ledger in the end, lived and laid down")
    parser.add_argument("--commits", type=int, default=100, help="measured, of one run each")
    parser.add_argument("--stands", action="store_true", help="measure the life that stands in the folder")
    given = parser.parse_args()
    home, project = given.folder.absolute(), Project(given.jobs, given.scopes)
    if not given.stands:
        shutil.rmtree(home, ignore_errors=True)
        by_year(live(home, project, given.days, until=time.monotonic() + 60 * given.minutes, every=given.pack_every))
    with duckdb.connect(str(home / "warehouse.duckdb"), read_only=True) as reader:
        told_of = "SELECT count(DISTINCT period_start), count(*) FROM _syncd.runs"
        ((days, runs),) = reader.execute(told_of).fetchall()
    print(f"\n{days:,} days lived through, {runs:,} runs")
    compare(home, project, days)
    clock = Clock(START + timedelta(days=days + 10))
    measure(home, clock)
    look(home)
    commits(home, clock, project, days, given.commits)
    if (more := given.runs - runs) >= project.jobs:
        print(f"\nwith {more:,} runs laid down")
        clock.now = START + timedelta(days=max(days, DAYS) + 10)
        lay_down(Lake(home, clock=clock), project, days + 2, more)
        measure(home, clock)
        look(home)
        commits(home, clock, project, max(days, DAYS) + 3, given.commits)  # no file is laid down there


if __name__ == "__main__":
    main()
