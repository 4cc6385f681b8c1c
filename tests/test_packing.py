"""The daemon packs at idle times: only then, one day after another, and it tells what it did."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor, wait
from datetime import timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from syncd.destinations.lake import Lake
from syncd.packing import PAUSE, Packer
from tests.test_lake_pack import Clock, later, live, load_day


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def lake(tmp_path: Path, clock: Clock) -> Lake:
    lake = Lake(tmp_path, clock=clock)
    lake.start()
    for on in (5, 6):
        load_day(lake, on=on)
    later(clock, days=2)
    return lake


@pytest.fixture
def executor() -> Iterator[Executor]:
    with ThreadPoolExecutor(1) as executor:
        yield executor


def ended(packer: Packer) -> None:
    if packer._running:
        wait([packer._running])


def test_one_day_after_another_while_nothing_else_is_under_way(lake: Lake, clock: Clock, executor: Executor) -> None:
    packer, now = Packer(lake, threading.Event()), clock()
    packer.turn(executor, now, is_idle=False)
    assert packer._running is None
    with capture_logs() as told:
        for _ in range(4):
            packer.turn(executor, now, is_idle=True)
            ended(packer)
    assert [[one[key] for key in ("event", "date", "files", "rows")] for one in told[:2]] == [
        ["files_packed", "2026-01-05", 6, 27],
        ["files_packed", "2026-01-06", 6, 27],
    ]
    assert [(one["event"], one["days"], one["shared"]) for one in told[2:]] == [("days_settled", 2, 0)]
    packer.turn(executor, now, is_idle=True)
    assert packer._running is None, "nothing was worth it: there is a pause"
    packer.turn(executor, now + PAUSE, is_idle=True)
    assert packer._running
    ended(packer)


def test_a_stop_comes_between_two_days(lake: Lake) -> None:
    stop = threading.Event()
    stop.set()
    Packer(lake, stop).spend()
    assert len(live(lake)) == 12
    stop.clear()
    Packer(lake, stop).spend()
    assert len(live(lake)) == 2


def test_trouble_is_told_and_waits_for_a_while(lake: Lake, clock: Clock, executor: Executor) -> None:
    (lake.home / live(lake)[0]).write_bytes(b"PAR1")
    packer, now = Packer(lake, threading.Event()), clock()
    with capture_logs() as told:
        packer.turn(executor, now, is_idle=True)
        ended(packer)
        packer.turn(executor, now + timedelta(minutes=1), is_idle=True)
    assert [(one["event"], one["hint"]) for one in told] == [("files_not_packed", "syncd verify tells what is wrong")]
    assert packer._running is None


def test_a_crowded_scope_is_an_alarm(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("syncd.packing.CROWDED", 1)
    with capture_logs() as told:
        while Packer(lake, threading.Event()).pack_one():
            pass
    assert told[-1] == {
        "event": "scope_crowded",
        "log_level": "warning",
        "source": "acme",
        "scope": "sessions",
        "files": 2,
    }
