"""The calendar: which periods a job should have delivered, and what became of those that are not here.

Pure: no function sees a clock, the network or a disk. Each listed run is a period of its own; from the end of one to
the start of the next, and behind the last, periods are expected in steps of the job's length. So a job that starts
late or shifts its hour is followed, and what no run covers is a gap to the second.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import groupby, pairwise
from typing import Any, NamedTuple

from syncd.model import NEVER, Failure, Job, Stretch

SEAM = timedelta(seconds=1)  # a period may end at 23:59:59.999 and the next begin at 00:00:00
GRACE = timedelta(hours=6)  # what a vendor may take for a period until its run is due
ASK_FOR = timedelta(days=1)  # how long after its due time a gap is worth asking about again
LENGTHS = {"daily": timedelta(days=1), "hourly": timedelta(hours=1)}
LIVE = {"ACTIVE", "COMPUTING", ""}  # states of jobs that make runs; some vendors tell none
GONE = "GONE"  # our word for the state of a job that is not listed any more
MISSING, LATE, FAILED, EXPIRED, SET_ASIDE, COVERED = "missing", "late", "failed", "expired", "set_aside", "covered"

Key = tuple[str, str]  # a source and the id of one of its jobs
Period = tuple[str, str, datetime, datetime]  # a source, one of its scopes, start and end
Names = Callable[[Sequence[Period]], Sequence[tuple[int, Sequence[str]]]]  # of each: how many runs, the first of them
NAMED = 3  # runs that a gap's detail names


class Listed(NamedTuple):
    """A run as the calendar needs it; or the runs of many periods side by side, all of one length."""

    start: datetime
    end: datetime
    run: str
    job: Key
    scope: str
    state: str
    completed_at: datetime
    is_lost: bool  # we saw it alive, and the vendor deleted it before it was home
    error: str
    periods: int = 1

    @property
    def length(self) -> timedelta:
        """Of one period."""
        return (whole(self.end) - self.start) / self.periods


@dataclass(frozen=True, slots=True)
class Gap:
    """An expected period of a job that is not here. `covered`: other jobs of its scope have brought it, so no gap."""

    source: str
    job: str
    scope: str
    frequency: str
    period_start: datetime
    period_end: datetime
    state: str
    detail: str
    needs_you: bool = True  # sets the exit code


class Stretches:
    """Periods glued together where they meet or overlap."""

    def __init__(self, periods: Iterable[tuple[datetime, datetime]]) -> None:
        self._starts: list[datetime] = []
        self._ends: list[datetime] = []
        for start, end in sorted(periods):
            if self._ends and start <= self._ends[-1] + SEAM:
                self._ends[-1] = max(self._ends[-1], end)
            else:
                self._starts.append(start)
                self._ends.append(end)

    def reach(self, start: datetime) -> datetime | None:
        """How far one goes from `start` without a hole; None: nothing is there."""
        number = bisect_right(self._starts, start + SEAM) - 1
        return self._ends[number] if number >= 0 and self._ends[number] > start + SEAM else None

    def cover(self, start: datetime, end: datetime) -> bool:
        """Whether nothing of this period is missing."""
        reached = self.reach(start)
        return reached is not None and reached + SEAM >= end


class Brought(Stretches):
    """What is loaded of a scope, whichever job has brought it."""

    def __init__(self, runs: Sequence[Listed]) -> None:
        super().__init__((run.start, run.end) for run in runs)
        self._runs = runs  # by start
        self._longest = max((run.end - run.start for run in runs), default=timedelta(0))

    def overlapping(self, start: datetime, end: datetime) -> list[Listed]:
        """The runs that share more than a seam with a period."""
        first = bisect_left(self._runs, start - self._longest, key=lambda run: run.start)
        last = bisect_left(self._runs, end - SEAM, key=lambda run: run.start)
        return [run for run in self._runs[first:last] if run.end > start + SEAM]


def calendar(
    jobs: Iterable[Job],
    runs: Iterable[Mapping[str, Any] | Stretch],
    failures: Mapping[Key, Sequence[Failure]],
    now: datetime,
    names: Names | None = None,
) -> list[Gap]:
    """Every expected period that no run of its job has, by source, job and time.

    `runs`: rows of the ledger, and what the catalogue has; a job without runs expects nothing yet. What is due later
    than `now` is not expected. `names`: tells which loaded runs share a period, where stretches hide them.
    """
    known = {(job.source, job.id): job for job in jobs}
    by_job, brought = _sorted_out(runs)
    found: list[tuple[Gap, Brought]] = []
    for key, mine in sorted(by_job.items()):
        job, scope = known.get(key, Job(*key, state=GONE)), mine[-1].scope
        holes = sorted(_holes(job, mine, now), key=lambda hole: (hole.start, hole.end))
        failed = explained([hole for hole in holes if hole.run is None], mine, failures.get(key, ()))
        for hole in holes:
            gap = _gap(job, scope, hole, failed.get(hole.start), is_last=hole.start >= mine[-1].start)
            found.append((gap, brought[key[0], scope]))
    return _beside(found, names)


def jobs_complete_up_to(runs: Iterable[Mapping[str, Any] | Stretch]) -> dict[Key, datetime | None]:
    """How far each job is complete: from its first period (of those that were alive when we came) to the first that
    neither it nor another job of its scope has brought; None: not even that."""
    alive = (run for run in runs if isinstance(run, Stretch) or run["state"] != EXPIRED or is_lost(run))
    by_job, brought = _sorted_out(alive)
    found: dict[Key, datetime | None] = {}
    for key, mine in by_job.items():
        reached = brought[key[0], mine[-1].scope].reach(mine[0].start)
        found[key] = min(reached, max(run.end for run in mine)) if reached else None
    return found


def _sorted_out(runs: Iterable[Mapping[str, Any] | Stretch]) -> tuple[dict[Key, list[Listed]], dict[Key, Brought]]:
    """The runs of each job by start, and what is loaded of each scope; runs without a period are left out."""
    by_job: dict[Key, list[Listed]] = defaultdict(list)
    by_scope: dict[Key, list[Listed]] = defaultdict(list)
    for run in sorted(run for run in map(read, runs) if run.end > run.start):
        by_job[run.job].append(run)
        by_scope[run.job[0], run.scope] += [run] if run.state == "loaded" else []
    return by_job, {scope: Brought(loaded) for scope, loaded in by_scope.items()}


class Hole(NamedTuple):
    """A period that no run of the job has brought or will bring; `run`: the one that was to."""

    start: datetime
    end: datetime
    run: Listed | None = None


def _holes(job: Job, runs: Sequence[Listed], now: datetime) -> Iterator[Hole]:
    """Expected periods that no run of the job has. `runs`: its own, by start."""
    length = length_of(job.frequency, runs)
    if length is None:
        return
    last = now - length - GRACE
    reached = runs[0].start
    for run in runs:
        yield from _steps(reached, run.start, length, last)
        reached = max(reached, whole(run.end))
    if job.state.upper() in LIVE:
        yield from _steps(reached, last + length, length, last)
    here = Stretches((run.start, run.end) for run in runs if not _is_given_up(run))
    given_up = {(run.start, run.end): run for run in sorted(runs, key=_is_set_aside) if _is_given_up(run)}
    yield from (Hole(*period, run) for period, run in given_up.items() if run.start <= last and not here.cover(*period))


def _steps(start: datetime, end: datetime, length: timedelta, last: datetime) -> Iterator[Hole]:
    """`[start, end)` in steps, as far as they begin at `last` or before."""
    while start + SEAM < end and start <= last:
        yield Hole(start, min(start + length, end))
        start += length


def length_of(frequency: str, runs: Iterable[Listed]) -> timedelta | None:
    """How long the periods of a job are: what its runs clearly say, else its frequency; None: it has no rhythm.

    Clear is: at least three periods, nine in ten of one length, and none of these overlap.
    """
    if frequency.lower() == "once":
        return None
    ordered = sorted({(run.start, whole(run.end), run.length, run.periods) for run in runs})
    counts: Counter[timedelta] = Counter()
    for *_, length, periods in ordered:
        counts[length] += periods
    common, count = counts.most_common(1)[0] if counts else (timedelta(0), 0)
    alike = [(start, end) for start, end, length, _ in ordered if length == common]
    overlap = any(later < end for (_, end), (later, _) in pairwise(alike))
    is_clear = count >= 3 and 10 * count >= 9 * counts.total() and not overlap
    return common if is_clear else LENGTHS.get(frequency.lower())


def explained(holes: Iterable[Hole], runs: Sequence[Listed], failures: Iterable[Failure]) -> dict[datetime, Failure]:
    """The failed run of each hole, by the hole's start, as far as it can be told: a failed run names no period.

    A job that keeps step runs soon after a period's end: a failed run was for the last period that had ended. One that
    catches up (many periods in an hour) goes by turns: it was for the next between the runs executed before and after.
    """
    holes, left = sorted(holes), sorted(failures, key=lambda failure: (failure.ended_at, failure.run))
    youngest_first = sorted(runs, key=lambda run: run.completed_at, reverse=True)
    first = sorted({(run.start, run.end): run for run in youngest_first}.values())  # the first delivery of each period
    starts = [run.start for run in first]
    found: dict[datetime, Failure] = {}
    for number, together in groupby(holes, key=lambda hole: bisect_right(starts, hole.start)):
        turn, before = list(together), first[number - 1]
        if before.completed_at - before.end >= turn[0].end - turn[0].start:
            until = first[number].completed_at if number < len(first) else NEVER
            fitting = [one for one in left if before.completed_at <= one.ended_at <= until]
            found |= {hole.start: one for hole, one in zip(turn, fitting, strict=False) if hole.end <= one.began_at}
    ended = {whole(run.end): None for run in first} | {hole.end: hole for hole in holes}
    ends = sorted(ended)
    for one in left:
        number = bisect_right(ends, one.began_at) - 1
        hole = ended[ends[number]] if number >= 0 else None
        if hole and one not in found.values() and one.began_at < hole.end + (hole.end - hole.start):
            found[hole.start] = one
    return found


def whole(end: datetime) -> datetime:
    """The end of a period as the start of the next: 23:59:59.999 is midnight."""
    minute = end.replace(second=0, microsecond=0) + timedelta(minutes=1)
    return minute if minute - end <= SEAM else end


def jobs_to_ask(gaps: Iterable[Gap], asked_at: Mapping[str, datetime | None]) -> list[str]:
    """Jobs of one source whose failed runs may explain a gap: each gap is asked about once, a young one again."""
    due: dict[str, datetime] = {}
    for gap in gaps:
        if gap.state in (MISSING, LATE, FAILED):
            due[gap.job] = max(gap.period_end + GRACE, due.get(gap.job, gap.period_end))
    return [job for job, latest in due.items() if (asked := asked_at.get(job)) is None or asked < latest + ASK_FOR]


def is_lost(run: Mapping[str, Any]) -> bool:
    """Whether we saw the run alive and the vendor deleted it before it was home."""
    return run.get("state") == EXPIRED and (run["expires_at"] is None or run["found_at"] < run["expires_at"])


def read(row: Mapping[str, Any] | Stretch) -> Listed:
    """A row of the ledger, or of the state; or what the catalogue has."""
    if isinstance(row, Stretch):
        state, job = "loaded" if row.is_shown else "superseded", (row.source, row.job)
        return Listed(row.start, row.end, "", job, row.scope, state, row.completed_at, False, "", row.periods)
    error = f"{row['error']}; {row['hint']}" if row.get("error") else ""
    return Listed(
        start=row["period_start"],
        end=row["period_end"],
        run=row["run"],
        job=(row["source"], row["job"]),
        scope=row["scope"],
        state=row["state"],
        completed_at=row["completed_at"] or NEVER,
        is_lost=is_lost(row),
        error=error,
    )


def _is_given_up(run: Listed) -> bool:
    return run.state in (EXPIRED, SET_ASIDE)


def _is_set_aside(run: Listed) -> bool:
    return run.state == SET_ASIDE


def _gap(job: Job, scope: str, hole: Hole, failure: Failure | None, *, is_last: bool) -> Gap:
    """The row of a hole, in words."""
    start, end, run = hole
    again = f"order it again at the vendor: a once export of {scope} from {zulu(start)} to {zulu(end)}"
    if run:
        state, detail = run.state, f"run {run.run}: {run.error.removeprefix(f'{job.source}/{run.run}: ') or again}"
    elif failure:
        state = FAILED
        detail = f"run {failure.run} failed at the vendor at {zulu(failure.ended_at)}, and none came after; {again}"
    elif is_last:
        state, detail = LATE, f"due since {zulu(end + GRACE)}, and nothing later is listed; see the job at the vendor"
    else:
        state, detail = MISSING, f"the vendor lists later periods, but no run of this one; {again}"
    needs_you = run is None or run.state == SET_ASIDE or run.is_lost
    return Gap(job.source, job.id, scope, job.frequency, start, end, state, detail, needs_you)


def _beside(found: Sequence[tuple[Gap, Brought]], names: Names | None) -> list[Gap]:
    """The same gaps, some of them covered, in the light of what other jobs have brought."""
    beside = [brought.overlapping(gap.period_start, gap.period_end) for gap, brought in found]
    hidden = [at for at, runs in enumerate(beside) if any(not run.run for run in runs)] if names else []
    periods = [(gap.source, gap.scope, gap.period_start, gap.period_end) for gap, _ in (found[at] for at in hidden)]
    looked_up = dict(zip(hidden, names(periods), strict=True)) if names and hidden else {}
    told = []
    for at, (gap, brought) in enumerate(found):
        count, first = looked_up.get(at) or (len(beside[at]), [run.run for run in beside[at]][:NAMED])
        by = ", ".join(first) + (f" and {count - NAMED} more" if count > NAMED else "")
        if brought.cover(gap.period_start, gap.period_end):
            detail = f"{gap.state}, but covered by {by}"
            told.append(replace(gap, state=COVERED, detail=detail, needs_you=False))
        else:
            told.append(replace(gap, detail=f"{gap.detail}; partly covered by {by}") if count else gap)
    return told


def zulu(instant: datetime) -> str:
    return f"{instant:%Y-%m-%dT%H:%M:%SZ}"
