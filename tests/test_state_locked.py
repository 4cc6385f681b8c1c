"""Another program holds a lock on state.sqlite: one clear error and 75, no hang, no loss; then it goes on."""

from __future__ import annotations

import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from syncd.sandbox.contentsquare import Sandbox
from tests.crash.starter import Starter
from tests.home import Home, differences
from tests.sandbox_fixture import running


@pytest.fixture
def starter() -> Iterator[Starter]:
    with Starter() as starter:
        yield starter


@pytest.fixture
def vendor() -> Iterator[Sandbox]:
    with running(jobs=1, days=2, rows=20, parts=1) as vendor:
        yield vendor


@contextmanager
def held(state: Path, mode: str) -> Iterator[None]:
    """A lock on the state, as a careless backup takes it. `mode`: EXCLUSIVE keeps readers out, too."""
    other = sqlite3.connect(state, timeout=30)
    other.execute(f"PRAGMA locking_mode = {mode}")
    other.execute("BEGIN EXCLUSIVE")
    yield
    other.close()


def until(starter: Starter, *words: str) -> None:
    """Until the daemon has said them."""
    patience = time.monotonic() + 100
    while not all(word in starter.err for word in words):
        assert time.monotonic() < patience and not starter.ends_within(0.05), starter.err


def test_once_ends_with_75_and_a_hint_and_goes_on_later(tmp_path: Path, starter: Starter, vendor: Sandbox) -> None:
    home = Home(tmp_path, {"acme": vendor.settings()}, retry_for="1s")
    command = ["--config", str(home.config), "once"]
    starter.begin(command, home.data_dir)
    assert starter.end().code == 0
    vendor.add_run()
    with held(home.data_dir / "state.sqlite", "EXCLUSIVE"):
        starter.begin(command, home.data_dir)
        ended = starter.end(40)
    assert ended.code == 75, ended
    assert "state.sqlite is locked by another program" in ended.err and "fuser" in ended.err
    assert "Traceback" not in ended.err
    starter.begin(command, home.data_dir)
    assert starter.end().code == 0
    assert differences(home, "acme", vendor) == []


def test_the_daemon_waits_for_the_lock_and_loads_what_came_meanwhile(
    tmp_path: Path, starter: Starter, vendor: Sandbox
) -> None:
    home = Home(tmp_path, {"acme": vendor.settings() | {"poll_interval": "1s"}}, retry_for="1s")
    starter.begin(["--config", str(home.config), "run"], home.data_dir)
    until(starter, '"event":"pass_ended"')
    with held(home.data_dir / "state.sqlite", "NORMAL"):
        new = vendor.add_run().id
        until(starter, "state.sqlite is locked by another program")
    until(starter, f'-{new}","scope":"sessions","job"', '"event":"run_loaded"')
    starter.kill(signal.SIGTERM)
    ended = starter.end()
    assert ended.code == 0 and "Traceback" not in ended.err, ended
    assert differences(home, "acme", vendor) == []
