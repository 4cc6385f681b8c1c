"""Whether a pass may spare itself the walk over all finished runs.

The job list only hints: that a job has begun again since the last walk, or changed. A job with a hint is asked for
its own runs (one request). When in doubt, walk; every sweep walks whatever is said here.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from syncd.sources.contentsquare.answers import Export, FinishedRun, JobRun
from syncd.sources.contentsquare.paging import DEFAULT_PAGE, FEW_PAGES

ENDS = {"SUCCESS", "FAILURE"}
LOOK_FOR = timedelta(days=1)  # how long an execution without an end is looked after; sweeps find what comes later


class Signs(NamedTuple):
    """What in the job list tells of an execution."""

    state: str
    last_run_at: datetime | None
    next_from: datetime | None
    updated_at: datetime | None


def signs(job: Export) -> Signs:
    return Signs(job.state, job.last_run_at, job.next_from, job.updated_at)


def is_silent(job: Export) -> bool:
    """Whether the list tells nothing of when the job runs, though it may."""
    return job.state == "ACTIVE" and job.last_run_at is None and job.next_from is None


@dataclass
class Walked:
    """What the last complete walk left to know. One exists per walk, filled as it goes."""

    jobs: Mapping[str, Signs]  # read before the first page was
    passed_on: set[str] = field(default_factory=set)  # ids that were not closed
    newest: dict[str, datetime] = field(default_factory=dict)  # completion by job
    pages: int = 0

    def saw(self, run: FinishedRun) -> None:
        if run.completed_at:
            self.newest[run.job] = max(run.completed_at, self.newest.get(run.job, run.completed_at))

    def is_over(self, job: str, began_at: datetime | None, now: datetime) -> bool:
        """Whether the execution that began then needs no more looking after."""
        if began_at is None or now - began_at > LOOK_FOR:
            return True
        newest = self.newest.get(job)
        return newest is not None and newest >= began_at


class News:
    """What is known since the last complete walk; one caller at a time. Lost at a restart, which walks anyway."""

    def __init__(self) -> None:
        self._walked: Walked | None = None
        self._known: dict[str, Signs] = {}  # jobs without news, as last seen

    def walked(self, walk: Walked | None) -> None:
        """A walk has come to its end, and nothing moved under it; None: something did, so the next pass walks too."""
        self._walked = walk
        if walk is None:
            return
        now = datetime.now(UTC)
        self._known = {job: sign for job, sign in walk.jobs.items() if walk.is_over(job, sign.last_run_at, now)}

    def needs_walk(self, closed: Container[str]) -> bool:
        """Whether no hint is needed: never walked, a short list, or runs passed on that are still not closed."""
        walk = self._walked
        return walk is None or walk.pages <= FEW_PAGES or any(run not in closed for run in walk.passed_on)

    def hints(self, jobs: Iterable[Export]) -> list[Export]:
        """The jobs whose runs should be looked at."""
        return [job for job in jobs if self._known.get(job.id) != signs(job) or is_silent(job)]

    def judge(self, job: Export, runs: list[JobRun], closed: Container[str]) -> bool:
        """Whether the first page of a job's runs calls for a walk. A job found quiet is not asked again."""
        before = self._walked.jobs.get(job.id) if self._walked else None
        since = before.last_run_at if before else None
        recent = [run for run in runs if since is None or run.started_at is None or run.started_at >= since]
        newest = [run for run in recent if run.started_at and job.last_run_at and run.started_at >= job.last_run_at]
        if any(run.state == "SUCCESS" and f"{job.id}-{run.id}" not in closed for run in recent):
            return True
        if not newest and len(runs) >= DEFAULT_PAGE:
            return True  # it may stand on another page: within a job there is no order
        if all(run.state in ENDS for run in recent):
            self._known[job.id] = signs(job)
        return False  # or still at it: asked again at the next pass
