"""Before the disk is full downloads pause, say so, and go on by themselves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from syncd.errors import TryAgain
from syncd.reserve import MOST, Reserve, Room, room
from tests.home import Home
from tests.sandbox_fixture import running


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 200 MB, where we may mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.getuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200m", "none", disk]).returncode:
        pytest.skip("needs the right to mount a tmpfs")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def fill(disk: Path, leave: int) -> Path:
    """Leave only so many bytes free."""
    filler = disk / "filler"
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, room(disk).free - leave)
    return filler


def until(holds: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.05)


def test_a_twentieth_of_a_disk_is_kept_and_never_more_than_a_gigabyte(tmp_path: Path) -> None:
    seen = room(tmp_path / "not" / "there" / "yet")
    total = os.statvfs(tmp_path).f_blocks * os.statvfs(tmp_path).f_frsize
    assert seen.reserve == min(total // 20, MOST)
    assert not Room(free=5, reserve=5).is_short


def test_what_is_about_to_come_counts(tmp_path: Path) -> None:
    reserve = Reserve(tmp_path)
    reserve.spare(1)
    with pytest.raises(TryAgain, match="nearly full"):
        reserve.spare(room(tmp_path).free)
    reserve.spare(1)


def test_the_daemon_pauses_says_so_and_goes_on_by_itself(tmp_path: Path, disk: Path) -> None:
    with running(jobs=1, days=2, rows=20, parts=2) as vendor:
        home = Home(tmp_path / "home", {"acme": vendor.settings()}, retry_for="2m", data_dir=str(disk / "data"))
        home.data_dir = disk / "data"
        filler = fill(disk, leave=8 << 20)
        log = tmp_path / "log"
        with log.open("w") as out:
            daemon = subprocess.Popen([sys.executable, "-m", "syncd", "--config", str(home.config), "run"], stderr=out)
        until(lambda: "downloads_paused" in log.read_text())
        status = home.json("status")
        assert not status["ok"] and status["disk"]["downloads_paused"]
        assert "downloads are paused" in home.run("status").stdout
        assert not list((home.data_dir / "landing").rglob("*.part")), "nothing is downloaded meanwhile"
        filler.unlink()
        until(lambda: log.read_text().count('"run_loaded"') == 2)
        daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(30) == 0
        assert "downloads_resumed" in log.read_text()
        assert home.json("status")["disk"]["downloads_paused"] is False


def test_a_download_pauses_in_the_middle_and_is_resumed(tmp_path: Path, disk: Path) -> None:
    with running(jobs=1, days=1, rows=12_000, parts=1, format="jsonl", scope="sessions") as vendor:
        home = Home(tmp_path / "home", {"acme": vendor.settings()}, retry_for="1s", data_dir=str(disk / "data"))
        home.data_dir = disk / "data"
        home.run("once", "--dry-run")
        filler = fill(disk, leave=(10 << 20) + (2 << 20))
        ended = home.once(expect=75)
        assert "nearly full" in ended.stderr
        (torn,) = (home.data_dir / "landing").rglob("*.partial")
        assert torn.stat().st_size > 0
        assert [run["state"] for run in home.json("runs")] == ["found"]
        filler.unlink()
        home.once()
        assert home.query("SELECT count(*) FROM acme.sessions") == [(12_000,)]
