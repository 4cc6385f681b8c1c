"""Asks a source why periods are missing: which runs of a job have failed there. Only looking; nothing hangs on it.

The answers go into the state, for the calendar is read without a request. A gap is asked about once, and again while
it is young, so old ones cost nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import structlog

from syncd.errors import SyncdError
from syncd.gaps import calendar, jobs_to_ask
from syncd.model import Destination, Job, Source, TellsFailures
from syncd.state import State

log = structlog.get_logger()


def is_due(state: State, source: str, now: datetime) -> bool:
    """Whether this is the first pass of an hour, the shortest period there is: the whole history is read."""
    last = state.passes().get(source)
    return last is None or f"{last['ended_at']:%Y%m%d%H}" != f"{now:%Y%m%d%H}"


def ask_why(source: Source, destination: Destination, state: State, jobs: Iterable[Job], now: datetime) -> None:
    """Note the failed runs of jobs that have a gap nobody has explained: one request a job."""
    if not isinstance(source, TellsFailures):
        return
    loaded = destination.loaded(source.name)
    in_flight = [row for row in state.runs(source.name) if row["run"] not in loaded]
    gaps = calendar(jobs, [*destination.stretches(source.name), *in_flight], {}, now)
    noted = state.jobs(source.name)
    try:
        for job in jobs_to_ask(gaps, {job: note.asked_at for (_, job), note in noted.items()}):
            state.record_failures(source.name, job, source.failures(job), now)
    except SyncdError as error:
        log.warning("failures_unknown", source=source.name, error=str(error), hint=error.hint)
