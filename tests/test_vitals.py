"""Alive and ready: told by the loop and by what the sources have answered; systemd hears it over a real socket."""

from __future__ import annotations

import json  # noqa: TID251  # log lines as any reader takes them
import os
import re
import shutil
import signal
import socket
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from syncd.model import Run
from syncd.notify import Notifier
from syncd.vitals import STALE_S, Vitals
from tests.home import Home
from tests.sandbox_fixture import running

UNIT = Path(__file__).parent.parent / "deploy/systemd/syncd.service"


def test_a_loop_that_hangs_is_no_longer_turning() -> None:
    now = [1000.0]
    vitals = Vitals(["acme"], clock=lambda: now[0])
    vitals.beat()
    now[0] += STALE_S - 1
    assert vitals.is_turning
    now[0] += 2
    assert not vitals.is_turning
    vitals.beat()
    assert vitals.is_turning


def test_ready_is_when_each_source_has_answered_or_is_being_retried() -> None:
    vitals = Vitals(["acme", "other"])
    vitals.hear("jobs_listed", {"source": "acme", "jobs": 3})
    assert not vitals.is_heard
    vitals.hear("retry_planned", {"source": "other", "error": "the vendor is down"})
    assert vitals.is_heard
    assert "trying again: the vendor is down" in vitals.told()


def test_ready_does_not_wait_for_a_long_list() -> None:
    vitals = Vitals(["acme"])
    for kind, status in (("api", 401), ("api", 503), ("api", 0), ("file", 200)):
        vitals.hear("request_ended", {"source": "acme", "kind": kind, "status": status, "seconds": 0.1})
        assert not vitals.is_heard, f"{kind} {status}"
    vitals.hear("request_ended", {"source": "acme", "kind": "api", "status": 200, "seconds": 0.1})
    assert vitals.is_heard
    assert vitals.told() == "acme: answers"
    vitals.hear("pass_failed", {"source": "acme", "error": "no", "hint": "h", "refused": True})
    vitals.hear("request_ended", {"source": "acme", "kind": "api", "status": 200, "seconds": 0.1})
    assert vitals.told() == "acme: no → h", "an answer is not the end of a trouble"


def test_refused_by_all_is_never_ready() -> None:
    vitals = Vitals(["acme"])
    vitals.hear("request_ended", {"source": "acme", "kind": "api", "status": 401, "seconds": 0.1})
    vitals.hear("pass_failed", {"source": "acme", "error": "refused", "hint": "h", "refused": True})
    assert not vitals.is_heard


def test_a_run_whose_bytes_are_all_here_is_told_apart_from_one_that_lands() -> None:
    vitals, made = Vitals(["acme"]), datetime(2026, 1, 5, tzinfo=UTC)
    run = Run("acme", "1-2", "views", "jsonl", made, made, "1", made)
    vitals.begin(run, 1, 100)
    vitals.landed(run, 60)
    assert not vitals.carried()[0].is_landed
    vitals.landed(run, 40)
    assert vitals.carried()[0].is_landed
    vitals.begin(run, 1, 0)
    assert not vitals.carried()[0].is_landed, "nobody told how many bytes there are"
    vitals.staged(run, 5)
    assert vitals.carried()[0].is_landed


@pytest.fixture
def ear(tmp_path: Path) -> socket.socket:
    found = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    found.bind(str(tmp_path / "notify"))
    found.settimeout(60)
    return found


def test_words_to_systemd(ear: socket.socket) -> None:
    with ear:
        notifier = Notifier(
            {"NOTIFY_SOCKET": ear.getsockname(), "WATCHDOG_USEC": "5", "WATCHDOG_PID": str(os.getpid())}
        )
        notifier.alive("one\nline")
        assert ear.recv(4096) == b"STATUS=one line\nWATCHDOG=1"
        notifier.alive("one\nline")
        assert ear.recv(4096) == b"WATCHDOG=1", "a status is told once"
        notifier.ready()
        assert ear.recv(4096) == b"READY=1"


def test_an_abstract_socket_and_another_s_watchdog() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        name = f"syncd-test-{os.getpid()}-{os.urandom(4).hex()}"
        ear.bind("\0" + name)
        ear.settimeout(10)
        Notifier({"NOTIFY_SOCKET": f"@{name}", "WATCHDOG_USEC": "5", "WATCHDOG_PID": "1"}).alive("fine")
        assert ear.recv(4096) == b"STATUS=fine"


def test_nobody_to_tell_is_no_trouble(tmp_path: Path) -> None:
    Notifier({}).ready()
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone"), "WATCHDOG_USEC": "1"}).alive("fine")


def test_the_daemon_tells_systemd_when_it_is_ready_and_feeds_the_watchdog(tmp_path: Path, ear: socket.socket) -> None:
    with ear, running(jobs=1, days=1, rows=5) as vendor:
        home = Home(tmp_path, {"acme": vendor.settings()}, http={"listen": "127.0.0.1:0"})
        process = home.start("run", NOTIFY_SOCKET=ear.getsockname(), WATCHDOG_USEC="60000000")
        try:
            told: list[str] = []
            while "READY=1" not in told:
                told += ear.recv(4096).decode().splitlines()
            assert "WATCHDOG=1" in told
            while not any(word.startswith("STATUS=acme: fine at") for word in told):
                told += ear.recv(4096).decode().splitlines()
        finally:
            process.terminate()
            _, logged = process.communicate(timeout=60)
        while "STOPPING=1" not in told:
            told += ear.recv(4096).decode().splitlines()
        assert process.returncode == 0
        events = [json.loads(line)["event"] for line in logged.splitlines() if line.startswith("{")]
        assert events.count("daemon_ready") == 1


def test_the_watchdog_is_fed_between_two_shifts(tmp_path: Path, ear: socket.socket) -> None:
    with ear, running(jobs=1, days=1, rows=5) as vendor:
        home = Home(tmp_path, {"acme": vendor.settings()}, http={"listen": "127.0.0.1:0"})
        process = home.start("run", NOTIFY_SOCKET=ear.getsockname(), WATCHDOG_USEC="60000000")
        try:
            while "READY=1" not in ear.recv(4096).decode().splitlines():
                pass
            process.send_signal(signal.SIGHUP)
            told: list[list[str]] = [[]]
            while "READY=1" not in told[-1]:
                told.append(ear.recv(4096).decode().splitlines())
            fed = [[f"STATUS={step} in a reload", "WATCHDOG=1"] for step in ("closing", "opening")]
            assert [each for each in told if each in fed] == fed
        finally:
            process.terminate()
            process.communicate(timeout=60)


def test_a_daemon_whose_every_source_refuses_it_is_never_ready(tmp_path: Path, ear: socket.socket) -> None:
    with ear, running(jobs=1, days=1, rows=5) as vendor:
        wrong = vendor.settings() | {"client_secret": "wrong"}
        home = Home(tmp_path, {"acme": wrong}, http={"listen": "127.0.0.1:0"})
        ended = home.run("run", NOTIFY_SOCKET=ear.getsockname())
        assert ended.returncode == 2, ended.stderr
        ear.setblocking(False)
        told = b""
        while True:
            try:
                told += ear.recv(4096)
            except BlockingIOError:
                break
        assert b"STATUS=" in told
        assert b"READY=1" not in told


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd here")
def test_the_unit_verifies_without_a_word_and_is_tight() -> None:
    checked = subprocess.run(["systemd-analyze", "verify", str(UNIT)], capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")
    judged = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", "--threshold=15", str(UNIT)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert judged.returncode == 0, judged.stdout[-300:]


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd here")
def test_what_the_unit_leaves_open_stands_in_the_docs() -> None:
    judge = ["systemd-analyze", "security", "--offline=yes"]
    told = subprocess.run([*judge, "--json=short", str(UNIT)], capture_output=True, text=True, check=False).stdout
    left = {each["name"]: each["exposure"] for each in json.loads(told) if each["set"] is False and each["exposure"]}
    page = (UNIT.parent.parent.parent / "docs/security.md").read_text()
    rows = re.findall(r"^\| `(\S+)` \| ([0-9][.][0-9]+) \|", page, re.M)
    assert {name.replace("\\|", "|"): exposure for name, exposure in rows} == left
    said = subprocess.run([*judge, str(UNIT)], capture_output=True, text=True, check=False).stdout
    (score,) = re.findall(r"exposure level for syncd.service: ([0-9.]+)", said)
    assert f"**{score}**" in page
