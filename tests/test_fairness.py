"""One source, run or part in trouble never delays the others."""

from __future__ import annotations

import re
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.starter import Starter
from tests.home import Home
from tests.plain_vendor import Export, Vendor, lines
from tests.test_faults_network import Wire, listen, reset, stalled


@pytest.fixture
def starter() -> Iterator[Starter]:
    with Starter() as starter:
        yield starter


@pytest.fixture
def wire() -> Iterator[Wire]:
    """A vendor of six runs; the first is nearest to its expiry."""
    vendor = Vendor()
    vendor.runs = [Export(number, [lines(10)], days_ago=7 - number) for number in range(1, 7)]
    wire = Wire(vendor)
    yield wire
    wire.close()


def loaded_meanwhile(starter: Starter, home: Home, count: int, told: str = "") -> tuple[set[str], str]:
    """The daemon, until so many runs are loaded, and this is told: which, and all that was said until then."""
    starter.begin(["--config", str(home.config), "run"], home.data_dir)
    until = time.monotonic() + 120
    said, found = "", set[str]()
    while len(found) < count or told not in said:
        assert time.monotonic() < until, said
        assert not starter.ends_within(0.02), starter.err
        said = starter.err
        found = set(re.findall(r'"run":"(\w+/7-\d)"[^\n]*"event":"run_loaded"', said))
    starter.kill(signal.SIGKILL)
    starter.end()
    return found, said


def test_a_stalled_run_of_many_parts_holds_up_no_other(tmp_path: Path, starter: Starter, wire: Wire) -> None:
    wire.vendor.runs[0].files = [lines(10) for _ in range(8)]
    wire.bends = {f"/files/1/{part}": stalled for part in range(8)}
    home = Home(tmp_path, {"acme": wire.vendor.settings()}, retry_for="2m")
    found, said = loaded_meanwhile(starter, home, 5)
    assert found == {f"acme/7-{number}" for number in range(2, 7)}
    assert "retry_planned" not in said, "the stalled parts were waited for"


def trickling(peer: socket.socket, answer: bytes) -> None:
    """A byte now and then, for ever: no silence is long enough to be taken for the end."""
    head, _, body = answer.partition(b"\r\n\r\n")
    peer.sendall(head + b"\r\n\r\n" + body[:1])
    for at in range(1, len(body) - 1):
        time.sleep(0.1)
        peer.sendall(body[at : at + 1])
    listen(peer)


def test_runs_that_trickle_for_good_hold_up_no_other(tmp_path: Path, starter: Starter, wire: Wire) -> None:
    for run in wire.vendor.runs[:3]:
        run.files = [lines(10) for _ in range(4)]
    wire.bends = {f"/files/{run}/{part}": trickling for run in (1, 2, 3) for part in range(4)}
    home = Home(tmp_path, {"acme": wire.vendor.settings() | {"stalled_after": "500ms"}}, retry_for="1h")
    found, _ = loaded_meanwhile(starter, home, 3, told="bytes came in")  # by whoever had to make room
    assert found == {f"acme/7-{number}" for number in range(4, 7)}


def test_a_broken_run_holds_up_no_other(tmp_path: Path, starter: Starter, wire: Wire) -> None:
    wire.bends = {"/files/1/0": reset, "/v1/exports/7/runs/2": reset}
    home = Home(tmp_path, {"acme": wire.vendor.settings()}, retry_for="2m")
    found, said = loaded_meanwhile(starter, home, 4)
    assert found == {f"acme/7-{number}" for number in range(3, 7)}
    assert "run_waits" not in said, "their patience was waited for"


def test_a_source_that_hangs_holds_up_no_other(tmp_path: Path, starter: Starter, wire: Wire) -> None:
    ill = Wire(Vendor())
    ill.bends = {"/v1/oauth/token": stalled}
    home = Home(tmp_path, {"ill": ill.vendor.settings(), "acme": wire.vendor.settings()}, retry_for="2m")
    found, said = loaded_meanwhile(starter, home, 6)
    assert found == {f"acme/7-{number}" for number in range(1, 7)}
    assert '"source":"ill"' not in said, "the one that hangs was waited for"
    ill.close()
