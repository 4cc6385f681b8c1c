"""Patience waits as told, ends in time and at a stop; a walk under it neither loses nor doubles a run."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Container, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta

import pytest

from syncd.errors import Advanced, BadRun, TryAgain
from syncd.model import Body, Job, Part, Run, Scope
from syncd.retry import Patience, Patient

SOON = timedelta(seconds=60)
AT = datetime(2026, 1, 5, tzinfo=UTC)


class Pauses:
    """Hears of planned pauses; the stop event of its Patience never waits."""

    def __init__(self) -> None:
        self.planned: list[float] = []
        self.stop = Impatient()

    def __call__(self, error: TryAgain, pause_s: float) -> None:
        self.planned.append(pause_s)

    def patience(self, retry_for: timedelta = SOON) -> Patience:
        return Patience(retry_for, self.stop, self)


class Impatient(threading.Event):
    """Doesn't sleep."""

    def wait(self, timeout: float | None = None) -> bool:
        return self.is_set()


def fails(times: int, error: Callable[[], Exception]) -> Callable[[], str]:
    left = iter([error() for _ in range(times)])

    def call() -> str:
        if (one := next(left, None)) is not None:
            raise one
        return "there"

    return call


def test_what_fails_for_now_is_tried_again_with_pauses_that_grow() -> None:
    pauses = Pauses()
    assert pauses.patience()(fails(6, lambda: TryAgain("not now"))) == "there"
    assert len(pauses.planned) == 6
    assert 0 < pauses.planned[0] <= 0.3
    assert pauses.planned[-1] > 3
    assert len(set(pauses.planned)) == 6


def test_the_vendor_s_own_word_is_kept() -> None:
    pauses = Pauses()
    pauses.patience()(fails(2, lambda: TryAgain("busy", after=7.5)))
    assert pauses.planned == [7.5, 7.5]


def test_a_pause_longer_than_the_time_left_is_not_begun() -> None:
    pauses = Pauses()
    with pytest.raises(TryAgain, match="busy"):
        pauses.patience()(fails(9, lambda: TryAgain("busy", after=61.0)))
    assert pauses.planned == []


def test_the_last_trouble_is_raised_in_the_end() -> None:
    count = iter(range(100))
    began = time.monotonic()
    with pytest.raises(TryAgain, match=r"no [1-9]"):
        Patience(timedelta(seconds=0.3), first_pause_s=0.02)(fails(90, lambda: TryAgain(f"no {next(count)}")))
    assert time.monotonic() - began < 5


def test_no_time_is_one_try() -> None:
    pauses = Pauses()
    with pytest.raises(TryAgain):
        pauses.patience(timedelta(0))(fails(1, lambda: TryAgain("no")))
    assert pauses.planned == []


def test_other_troubles_pass_through_at_once() -> None:
    pauses = Pauses()
    with pytest.raises(BadRun):
        pauses.patience()(fails(1, lambda: BadRun("no")))
    assert pauses.planned == []


def test_headway_begins_patience_anew() -> None:
    pauses = Pauses()
    assert pauses.patience()(fails(40, lambda: Advanced("cut further on"))) == "there"
    assert max(pauses.planned) <= 0.3


def test_a_stop_ends_a_wait_at_once() -> None:
    stop = threading.Event()
    threading.Timer(0.1, stop.set).start()
    tries: list[int] = []

    def call() -> None:
        tries.append(1)
        raise TryAgain("no", after=50.0)

    began = time.monotonic()
    with pytest.raises(TryAgain):
        Patience(SOON, stop)(call)
    assert time.monotonic() - began < 10
    assert len(tries) == 1


def run(number: int) -> Run:
    return Run("acme", f"7-{number}", "views", "jsonl", AT, AT, "7", AT)


class Flaky:
    """A source whose walk breaks before each run, once."""

    name = "acme"

    def __init__(self, *, outlives: bool) -> None:
        self.outlives, self.broken, self.walks = outlives, set[int](), 0

    def scope(self, name: str) -> Scope:
        return Scope(name)

    def jobs(self) -> list[Job]:
        return []

    def runs(self, closed: Container[str], *, sweep: bool) -> Iterator[Run]:
        self.walks += 1
        found = map(self._run, range(5))
        return filter(lambda one: one.id not in closed, found) if self.outlives else (one for one in found)

    def _run(self, number: int) -> Run:
        if number not in self.broken and not self.outlives:
            self.broken.add(number)
            raise TryAgain("not now")
        return run(number)

    def parts(self, run: Run) -> list[Part]:
        return []

    def open(self, part: Part, start: int = 0, tag: str = "") -> AbstractContextManager[Body]:
        raise NotImplementedError


def test_a_walk_that_dies_of_its_trouble_is_begun_again_and_no_run_comes_twice() -> None:
    flaky = Flaky(outlives=False)
    found = list(Patient(flaky, Pauses().patience()).runs((), sweep=True))
    assert found == [run(number) for number in range(5)]
    assert flaky.walks == 6


def test_a_walk_that_outlives_its_trouble_goes_on() -> None:
    class Resumes(Flaky):
        def runs(self, closed: Container[str], *, sweep: bool) -> Iterator[Run]:
            self.walks += 1
            return map(run, Hiccups(5))

    resumes = Resumes(outlives=True)
    found = list(Patient(resumes, Pauses().patience()).runs((), sweep=True))
    assert found == [run(number) for number in range(5)]
    assert resumes.walks == 1


class Hiccups:
    """0, 1, 2 …, each after a failure."""

    def __init__(self, end: int) -> None:
        self.number, self.end, self.failed = 0, end, False

    def __iter__(self) -> Iterator[int]:
        return self

    def __next__(self) -> int:
        if self.number == self.end:
            raise StopIteration
        self.failed = not self.failed
        if self.failed:
            raise TryAgain("not now")
        self.number += 1
        return self.number - 1
