"""Patience: what fails for now is tried again, with pauses that grow, until its time is up or we are asked to stop.

Waiting is wrapped around a source and never lives inside one. What is repeated must bear it; everything that
`model` promises to be repeatable does.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import GeneratorType
from typing import Protocol, TypeVar

import tenacity

from syncd.errors import Advanced, TryAgain
from syncd.model import (
    Body,
    Clears,
    ExportRequest,
    Failure,
    Job,
    MustAsk,
    Part,
    Resumes,
    Run,
    Scope,
    Source,
    TellsCalls,
    TellsFailures,
)

T = TypeVar("T")


def say_nothing(error: TryAgain, pause_s: float) -> None:
    """No hook."""


@dataclass(frozen=True)
class Patience:
    """Calls a thing until it stops answering TryAgain; any thread.

    Ends with the last TryAgain when the next pause would end later than `retry_for` after the first failure
    (or after the last that had Advanced), and at once when `stop` is set. `planned` hears of each pause, in seconds.
    """

    retry_for: timedelta
    stop: threading.Event = field(default_factory=threading.Event)
    planned: Callable[[TryAgain, float], None] = say_nothing
    first_pause_s: float = 0.2
    longest_pause_s: float = 30.0

    def __reduce__(self) -> tuple[object, ...]:
        return Patience, (self.retry_for,)  # the stop and the hook belong to a process

    def __call__(self, call: Callable[[], T]) -> T:
        """What `call` returns, once it does; every other error passes through."""
        attempts = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(TryAgain),
            wait=self._pause_s,
            stop=self._time_is_up,
            before_sleep=self._wait,
            sleep=lambda _: None,  # `_wait` has done it, and can end it
            reraise=True,
        )
        return attempts(call)

    def _pause_s(self, state: tenacity.RetryCallState) -> float:
        error = trouble(state)
        if isinstance(error, Advanced) or state.attempt_number == 1:
            state.start_time = time.monotonic()  # from here on `seconds_since_start` is the time of failing
            state.attempt_number = 1
        growing = tenacity.wait_exponential(self.first_pause_s, self.longest_pause_s)(state)
        jitter = tenacity.wait_random(0.5, 1.5)(state)
        return max(error.after or 0.0, min(growing * jitter, self.longest_pause_s))

    def _time_is_up(self, state: tenacity.RetryCallState) -> bool:
        failing_for_s = time.monotonic() - state.start_time
        return self.stop.is_set() or failing_for_s + state.upcoming_sleep > self.retry_for.total_seconds()

    def _wait(self, state: tenacity.RetryCallState) -> None:
        self.planned(trouble(state), state.upcoming_sleep)
        if self.stop.wait(state.upcoming_sleep):
            raise trouble(state)


def trouble(state: tenacity.RetryCallState) -> TryAgain:
    """What the last attempt raised."""
    error = state.outcome.exception() if state.outcome else None
    assert isinstance(error, TryAgain)
    return error


@dataclass
class Also:
    """`closed`, and what has been passed on since."""

    closed: Container[str]
    passed_on: set[str] = field(default_factory=set)

    def __contains__(self, run: object) -> bool:
        return run in self.passed_on or run in self.closed

    def __iter__(self) -> Iterator[str]:
        yield from self.closed if isinstance(self.closed, Iterable) else ()


@dataclass(frozen=True)
class Patient:
    """A source that answers TryAgain by waiting. No source knows that this exists.

    `open` is as impatient as the source's own: a body can break later than it opens, so it is `fetch.land` that is
    repeated.
    """

    inner: Source
    patience: Patience

    @property
    def name(self) -> str:
        return self.inner.name

    def scope(self, name: str) -> Scope:
        return self.inner.scope(name)

    def jobs(self) -> Sequence[Job]:
        return self.patience(self.inner.jobs)

    def runs(self, closed: Container[str], *, sweep: bool) -> Iterator[Run]:
        return patient_runs(self.patience, self.inner, closed, sweep=sweep)

    def parts(self, run: Run) -> Sequence[Part]:
        return self.patience(lambda: self.inner.parts(run))

    def failures(self, job: str) -> Sequence[Failure]:
        """A source that can't tell tells none."""
        inner = self.inner
        return self.patience(lambda: inner.failures(job)) if isinstance(inner, TellsFailures) else ()

    def go_on_at(self, position: str, note: Callable[[str], None]) -> None:
        """A source that can't go on begins again."""
        if isinstance(self.inner, Resumes):
            self.inner.go_on_at(position, note)

    def calls(self, run: Run) -> int:
        """Of a source that can't tell, nothing is known: 0."""
        inner = self.inner
        return self.patience(lambda: inner.calls(run)) if isinstance(inner, TellsCalls) else 0

    def clear(self, loaded: Container[str], before: datetime) -> None:
        """A source whose files are none of ours clears none."""
        inner = self.inner
        if isinstance(inner, Clears):
            self.patience(lambda: inner.clear(loaded, before))

    def open(self, part: Part, start: int = 0, tag: str = "") -> AbstractContextManager[Body]:
        return self.inner.open(part, start, tag)


class Asker(Source, MustAsk, Protocol):
    """A source that must be asked."""


@dataclass(frozen=True)
class PatientAsker(Patient):
    """The same for a source that must be asked: an ability can't be hidden behind one wrapper for all."""

    inner: Asker

    @property
    def in_flight(self) -> int:
        return self.inner.in_flight

    @property
    def job_poll(self) -> timedelta:
        return self.inner.job_poll

    def due(self, now: datetime) -> Iterable[ExportRequest]:
        return self.inner.due(now)

    def submit(self, request: ExportRequest) -> str:
        return self.patience(lambda: self.inner.submit(request))

    def poll(self, request: ExportRequest, ticket: str) -> Run | None:
        return self.patience(lambda: self.inner.poll(request, ticket))


def patient(source: Source, patience: Patience) -> Patient:
    """The source, patient, with all that it can do."""
    return PatientAsker(source, patience) if isinstance(source, MustAsk) else Patient(source, patience)


def patient_runs(patience: Patience, source: Source, closed: Container[str], *, sweep: bool) -> Iterator[Run]:
    """`source.runs`, each step of the walk with a patience of its own, and no run twice.

    An iterator that outlives its TryAgain goes on at the page that failed; a generator is dead once it has raised
    (and then feigns a clean end), so there the walk begins again.
    """
    closed = Also(closed)
    walk: Iterator[Run] | None = None

    def step() -> Run | None:
        nonlocal walk
        if walk is None:
            walk = iter(source.runs(closed, sweep=sweep))
        try:
            return next(walk, None)
        except TryAgain:
            walk = None if isinstance(walk, GeneratorType) else walk
            raise

    while (run := patience(step)) is not None:
        if run.id not in closed:
            closed.passed_on.add(run.id)
            yield run
