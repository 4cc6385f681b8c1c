"""Five years of a project, lived through day by day under a fast clock, by the lake's own code.

Every day each job delivers a run of few rows. A second process stages the runs of the next day, as a daemon's workers
would; the day's runs are committed together, then what is over is packed, its days are settled, and the lake is swept.
Now and then a run is restated, a line is rejected, or a run is set aside and comes days later. Nothing is laid down.
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa

from syncd.destinations.lake import Lake
from syncd.model import Batch, Column, Landed, Packed, Rejected, Run, Scope, Staged
from syncd.types import Type

YEARS = 5
START = datetime.combine(datetime.now(UTC) - timedelta(days=365 * YEARS + 7), datetime.min.time(), UTC)
COLUMNS = (
    Column("session_id", Type.parse("uint64"), "session_id", "declared"),
    Column("session_time", Type.parse("timestamp"), "session_time", "declared"),
    Column("note", Type.parse("string"), "note", "declared"),
)
ROWS = 2  # of a run
RESTATED = {5: 4, 30: 90}  # every so many days the run of so many days before is delivered again
REJECTING = 3  # every so many days a run has a rejected line
SET_ASIDE, COMES = 50, 3  # every so many days a run is set aside; it comes so many days later
Ready = list[tuple[Run, list[Staged]]]


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


def peak_of(pid: int | str) -> int:
    """The most resident bytes that a process had so far; 0 where it has ended."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0)


def memory() -> int:
    """Resident bytes of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Project:
    """What delivers."""

    jobs: int
    scopes: int

    def run(self, day: int, job: int) -> Run:
        start = START + timedelta(days=day)
        end = start + timedelta(days=1)
        return Run(
            "acme", f"{job}-{job * 10**6 + day}", f"scope_{job % self.scopes}", "jsonl", start, end, str(job), end
        )

    def first_id(self, day: int, job: int) -> int:
        """Ids have no gap: rows 0 to n - 1 are all that is delivered until a day, however often."""
        return (day * self.jobs + job) * ROWS

    def set_aside(self, day: int) -> Run | None:
        """The run of this day that comes only days later."""
        return self.run(day, day % self.jobs) if day >= 0 and day % SET_ASIDE == SET_ASIDE // 2 else None

    def day(self, day: int) -> Iterator[tuple[Run, int, int, str]]:
        """Every job's run of a day."""
        for job in range(self.jobs):
            yield self.run(day, job), day, job, "first"

    def delivered(self, day: int) -> Iterator[tuple[Run, int, int, str]]:
        """The runs that come on a day: each with the day and the job that it is of, and what its rows say."""
        yield from self.day(day)
        if run := self.set_aside(day - COMES):
            yield run, day - COMES, int(run.job), "first"

    def restated(self, day: int) -> Iterator[tuple[Run, int, int, str]]:
        """The same of those that come once more."""
        for every, before in RESTATED.items():
            if day % every == 0 and day >= before:
                of, job = day - before, (day // every) % self.jobs
                run = self.run(of, job)
                yield replace(run, id=f"{run.id}r{day}", completed_at=START + timedelta(days=day + 1)), of, job, "again"


def scope_of(name: str) -> Scope:
    return Scope(name, COLUMNS, (("session_id",),), ("session_time",))


def staged(lake: Lake, project: Project, run: Run, day: int, job: int, note: str) -> list[Staged]:
    """A run of one small part; some have a row of the day before, some a line that is no record."""
    seconds = np.array([at * 60 - (job % 20 == 0 and day > 0) * 86_400 * (at == 0) for at in range(ROWS)])
    start = np.datetime64(run.start.replace(tzinfo=None), "us")
    arrays = [
        pa.array(np.arange(ROWS, dtype="u8") + project.first_id(day, job)),
        pa.array(start + seconds.astype("timedelta64[s]")),
        pa.array([note] * ROWS),
        pa.array(np.arange(1, ROWS + 1)),
    ]
    rows = pa.RecordBatch.from_arrays(arrays, names=[*(column.name for column in COLUMNS), "_syncd_row"])
    rejected = (Rejected(ROWS + 1, 90, "no JSON", b"{"),) if day % REJECTING == 0 and job == 1 else ()
    batch = Batch(rows, COLUMNS, rejected, ROWS + len(rejected), 0)
    scope = lake.scope(run.source, scope_of(run.scope))
    return [lake.stage(run, scope, "p0", Landed("p", 100, "ab" * 32), [batch])]


def stage_day(home: Path, project: Project, day: int) -> tuple[Ready, Ready, Spent]:
    """In a process of its own: the runs that come on a day, then those that are restated. Their files are as old as
    the fast clock says, so that a sweep takes them for what they are."""
    lake, at = Lake(home), (START + timedelta(days=day + 1, hours=2)).timestamp()
    with spending() as spent:
        ready = [(run, staged(lake, project, run, *more)) for run, *more in project.delivered(day)]
        again = [(run, staged(lake, project, run, *more)) for run, *more in project.restated(day)]
    for _, parts in (*ready, *again):
        for path in (one for part in parts for one in (part.rejects, *(file.path for file in part.files)) if one):
            os.utime(home / path, (at, at))
    return ready, again, spent


@dataclass
class Month:
    """What some days cost, and what stood at their end."""

    name: str
    days: int = 0
    seconds: float = 0.0  # all of it, also what only this bench does
    commits: list[Spent] = field(default_factory=list)
    single: list[Spent] = field(default_factory=list)  # commits of one run that takes the place of an older one
    packing: list[Spent] = field(default_factory=list)
    settling: list[Spent] = field(default_factory=list)
    sweeps: list[Spent] = field(default_factory=list)
    staging: list[Spent] = field(default_factory=list)
    stands: str = ""


HEADINGS = (
    "| month | days | s a day | commit: cpu ms median | p99 | ms median | p99 | MB | one restated: cpu ms "
    "| packing: cpu ms a day | settling: cpu ms a day | longest of both, s | sweep: cpu ms | staging: cpu ms a day "
    "| catalogue MB | ledger MB | its files | live files | files | folders | RSS MB | start ms |"
)


def figures(month: Month) -> str:
    """A line of the table."""
    commits, beside = month.commits, [*month.packing, *month.settling]

    def a_day(spent: Iterable[Spent]) -> str:
        return f"{sum(one.cpu for one in spent) * 1000 / month.days:.0f}"

    cells = [month.name, f"{month.days}", f"{month.seconds / month.days:.2f}", *told([one.cpu for one in commits])]
    cells += [*told([one.seconds for one in commits]), f"{max(one.written for one in commits) / 1e6:.1f}"]
    cells += [told([one.cpu for one in month.single])[0] if month.single else "-", a_day(month.packing)]
    cells += [a_day(month.settling), f"{max((one.seconds for one in beside), default=0):.1f}"]
    cells += [told([one.cpu for one in month.sweeps])[0], a_day(month.staging)]
    return f"| {' | '.join(cells)} | {month.stands} |"


def told(seconds: list[float]) -> tuple[str, str]:
    """The median and the p99, in milliseconds."""
    return f"{statistics.median(seconds) * 1000:.0f}", f"{sorted(seconds)[int(len(seconds) * 0.99)] * 1000:.0f}"


def live(home: Path, project: Project, days: int, *, until: float, every: int) -> list[Month]:
    """Live through so many days, or until then by the monotonic clock; each month is told. The packer has its turn
    every so many days.

    In the end nothing is outstanding, and all that is worth it is packed."""
    clock, months = Clock(START), list[Month]()
    lake = Lake(home, clock=clock)
    lake.start()
    for number in range(project.scopes):  # the commits know of the keys by this, for the staging is elsewhere
        lake.scope("acme", scope_of(f"scope_{number}"))
    print(f"{HEADINGS}\n|{'---|' * (HEADINGS.count(' | ') + 1)}", flush=True)
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as stager:
        coming = stager.submit(stage_day, home, project, 0)
        for day in range(days):
            date, is_last = START + timedelta(days=day), day + 1 == days or time.monotonic() > until
            if not months or months[-1].name != f"{date:%Y-%m}":
                months.append(Month(f"{date:%Y-%m}"))
            began = time.perf_counter()
            ready, again, spent = coming.result()
            months[-1].staging.append(spent)
            if not is_last:
                coming = stager.submit(stage_day, home, project, day + 1)
            live_day(lake, clock, project, day, ready, again, months[-1], pack=is_last or day % every == 0)
            months[-1].days += 1
            months[-1].seconds += time.perf_counter() - began
            if is_last or (date + timedelta(days=1)).day == 1:
                wait([coming])  # a start would take what is being written for what a stop left behind
                months[-1].stands = stands(home, lake)
                print(figures(months[-1]), flush=True)
            if is_last:
                break
    bring_the_rest(lake, clock, project, day)
    return months


def live_day(
    lake: Lake, clock: Clock, project: Project, day: int, ready: Ready, again: Ready, month: Month, *, pack: bool
) -> None:
    """Commit what came, pack what is over, sweep."""
    clock.now = START + timedelta(days=day + 1, hours=2)
    came = [(run, parts) for run, parts in ready if run != project.set_aside(day)]
    with costing(month.commits):
        lake.commit(came)
    for run, parts in again:
        clock.now += timedelta(minutes=15)
        with costing(month.single):
            lake.commit([(run, parts)])
    clock.now = START + timedelta(days=day + 1, hours=4)
    if pack:
        pack_all(lake, clock, month)
    clock.now += timedelta(hours=2)
    with costing(month.sweeps):
        lake.sweep("acme", clock.now, [])


def pack_all(lake: Lake, clock: Clock, month: Month) -> None:
    """What the packer does when nothing else is under way."""
    done: list[Packed] = [Packed("", "", "", 0, 0, 0, 0)]
    while done:
        with costing(month.packing):
            done = lake.pack()
        grow_old(lake.home, done, clock)
    known = True
    while known:
        with costing(month.settling):
            known = bool(lake.settle())


def bring_the_rest(lake: Lake, clock: Clock, project: Project, last: int) -> None:
    """The runs that are still set aside, and four days in which nothing comes."""
    late = [(run, day) for day in range(max(last - COMES + 1, 0), last + 1) if (run := project.set_aside(day))]
    lake.commit([(run, staged(lake, project, run, day, int(run.job), "first")) for run, day in late])
    clock.now += timedelta(days=4)
    pack_all(lake, clock, Month("the rest"))


def grow_old(home: Path, packed: Iterable[Packed], clock: Clock) -> None:
    """Have what was written just now be as old as the fast clock says: the sweep looks at that."""
    written = list((home / "lake" / "_ledger").glob("*.parquet"))
    for one in packed:
        written += (home / "lake" / one.source / one.scope / f"_syncd_date={one.date}").glob("~*.parquet")
    for file in written:
        if file.stat().st_mtime > clock.now.timestamp():
            os.utime(file, (clock.now.timestamp(),) * 2)


@contextmanager
def costing(months: list[Spent]) -> Iterator[None]:
    with spending() as spent:
        yield
    months.append(spent)


def stands(home: Path, lake: Lake) -> str:
    """What stands now, as the end of a line of the table."""
    ledger = [file.stat().st_size for file in (home / "lake" / "_ledger").glob("*.parquet")]
    ((alive,),) = lake._read("SELECT count(*) FROM _syncd_open.files WHERE live")
    files = folders = 0
    for _, within, names in os.walk(home / "lake"):
        files, folders = files + len(names), folders + len(within)
    with spending() as start:
        fresh = Lake(home)
        fresh.start()
        fresh.loaded("acme")
    cells = [f"{(home / 'warehouse.duckdb').stat().st_size / 1e6:.1f}", f"{sum(ledger) / 1e6:.1f}", len(ledger), alive]
    cells += [files, folders, memory() >> 20, f"{start.seconds * 1000:.0f}"]
    return " | ".join(map(str, cells))
