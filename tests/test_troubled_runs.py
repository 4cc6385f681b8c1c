"""The real command at a vendor whose runs die, hide, come damaged or never end."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.home import Home
from tests.plain_vendor import Export, Vendor, lines, refused, said, serving


@pytest.fixture
def vendor() -> Iterator[Vendor]:
    with serving(Vendor()) as vendor:
        yield vendor


def states(home: Home) -> dict[str, str]:
    return {run["run"]: run["state"] for run in home.json("runs")}


def test_links_that_were_dead_when_first_seen_are_no_failure(vendor: Vendor, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    fresh = Export(1, [lines(3)], links_until=now - timedelta(hours=1))  # by its age it should live on
    old = Export(
        2, [lines(3)], days_ago=30, completed_at=now - timedelta(days=29), links_until=now - timedelta(days=22)
    )
    vendor.runs = [fresh, old]
    home = Home(tmp_path, {"acme": vendor.settings()})
    home.once()
    assert states(home) == {"7-1": "expired", "7-2": "expired"}
    assert home.json("status")["ok"]


def test_a_run_that_is_refused_holds_up_no_other(vendor: Vendor, tmp_path: Path) -> None:
    codes = (400, 403, 404, 410)
    vendor.runs = [
        Export(code, [lines(1)], days_ago=20 + code, detail=lambda code=code: refused(code)) for code in codes
    ]
    vendor.runs += [Export(number, [lines(2)], days_ago=number) for number in range(1, 20)]
    home = Home(tmp_path, {"acme": vendor.settings()})
    home.once(expect=1)
    assert states(home) == {f"7-{n}": "loaded" for n in range(1, 20)} | {f"7-{code}": "set_aside" for code in codes}


@pytest.mark.parametrize("status", [400, 403, 404, 410])
def test_an_old_run_that_is_refused_has_expired(vendor: Vendor, tmp_path: Path, status: int) -> None:
    long_ago = datetime.now(UTC) - timedelta(days=30)
    vendor.runs = [Export(1, [lines(1)], completed_at=long_ago, detail=lambda: refused(status))]
    home = Home(tmp_path, {"acme": vendor.settings()})
    home.once()
    assert states(home) == {"7-1": "expired"}


def test_retry_fetches_again_what_was_rejected(vendor: Vendor, tmp_path: Path) -> None:
    run = Export(1, [lines(3), lines(4, 100)])
    run.body = lambda part: (200, b"<html>\n<body>an outage</body>\n</html>\n") if part == 1 else None
    vendor.runs = [run]
    home = Home(tmp_path, {"acme": vendor.settings()}, landing={"keep": "0d"})
    home.once(expect=1)
    run.body = lambda part: None
    assert home.run("retry", "acme/7-1").returncode == 0
    assert home.query("SELECT count(*) FROM acme.sessions") == [(7,)]
    assert vendor.asked.count("/files/1/0") == 1, "what was good is not fetched again"


def test_what_is_listed_of_a_run_comes_home_before_the_run_is_set_aside(vendor: Vendor, tmp_path: Path) -> None:
    run = Export(1, [lines(3), lines(4, 100)])
    run.detail = lambda: said({"jobRunId": 1, "state": "SUCCESS", "files": vendor._files(run)[:1]})
    vendor.runs = [run]
    home = Home(tmp_path, {"acme": vendor.settings()}, landing={"keep": "0d"})
    home.once(expect=1)
    (home.data_dir / "state.sqlite").unlink()
    home.once(expect=1)
    assert states(home) == {"7-1": "set_aside"}, "what has landed is not taken for all"
    run.detail = lambda: None
    run.body = lambda part: (404, b"") if part == 0 else None  # deleted since
    assert home.run("retry", "acme/7-1").returncode == 0
    assert home.query("SELECT count(*) FROM acme.sessions") == [(7,)]


def test_what_the_vendor_deleted_is_retried_from_the_landed_bytes(vendor: Vendor, tmp_path: Path) -> None:
    run = Export(1, [lines(3) + lines(0), b'{"session_id": 7}\nno record\n'])
    vendor.runs = [run]
    home = Home(tmp_path, {"acme": vendor.settings()}, landing={"keep": "0d"})
    home.once(expect=1)
    run.detail = lambda: refused(404)
    assert home.run("retry", "acme/7-1").returncode == 1
    assert states(home) == {"7-1": "set_aside"}
    assert home.run("retry", "--accept-rejected", "acme/7-1").returncode == 0
    assert home.query("SELECT count(*) FROM acme.sessions") == [(4,)]


def test_a_set_aside_run_of_any_name_keeps_its_bytes(vendor: Vendor, tmp_path: Path) -> None:
    vendor.runs = [Export("a:b c", [b"no record\n"])]
    vendor._run = lambda name: vendor.runs[0]  # type: ignore[method-assign]  # its name is escaped in the path
    home = Home(tmp_path, {"acme": vendor.settings()}, landing={"keep": "0d"})
    home.once(expect=1)
    home.once(expect=1)
    assert [path.name for path in (home.data_dir / "landing").rglob("*.part")] == ["0.part"]


@pytest.mark.parametrize(("command", "code"), [("once", 143), ("run", 0)])
@pytest.mark.parametrize("at", ["the list", "a file"])
def test_a_stop_does_not_wait_for_a_vendor_that_hangs(
    vendor: Vendor, tmp_path: Path, command: str, code: int, at: str
) -> None:
    hangs, over = threading.Event(), threading.Event()

    def hang(part: int = 0) -> None:
        hangs.set()
        over.wait(30)

    vendor.runs = [Export(number, [lines(1)] * 5, days_ago=number) for number in range(1, 30)]
    for run in vendor.runs:
        if at == "a file":
            run.body = hang
        else:
            run.detail = hang
    home = Home(tmp_path, {"acme": vendor.settings()})
    process = home.start(command)
    try:
        assert hangs.wait(30)
        asked_at = time.monotonic()
        process.send_signal(signal.SIGTERM)
        _, told = process.communicate(timeout=20)
        assert (process.returncode, "Traceback" in told) == (code, False)
        assert time.monotonic() - asked_at < 10
    finally:
        over.set()
        process.kill()
        process.communicate()


def test_a_daemon_that_is_stopped_while_it_starts_ends_with_0(vendor: Vendor, tmp_path: Path) -> None:
    own = {"PYTHONHASHSEED": "0"}  # an environment of its own: it is not forked, and has its imports before it
    process = Home(tmp_path, {"acme": vendor.settings()}).start("run", **own)
    try:
        while "duckdb" not in Path(f"/proc/{process.pid}/maps").read_text():  # it is still at its imports
            time.sleep(0.002)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)
        assert process.returncode == 0
    finally:
        process.kill()
        process.communicate()


SIGNALLED_AT_ITS_END = """
import atexit, os, signal
atexit.register(os.kill, os.getpid(), signal.SIGTERM)
from syncd.cli import main
main()
"""


def test_a_stop_while_the_daemon_ends_is_one_stop_more(vendor: Vendor, tmp_path: Path) -> None:
    home = Home(tmp_path, {"acme": vendor.settings()})
    command = [sys.executable, "-c", SIGNALLED_AT_ITS_END, "--config", str(home.config), "run"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        for line in process.stderr:
            if '"event":"pass_ended"' in line:
                break
        process.send_signal(signal.SIGTERM)
        _, told = process.communicate(timeout=60)
    assert (process.returncode, "Traceback" in told) == (0, False), told


def test_an_order_is_acted_on_beside_a_slow_one(vendor: Vendor, tmp_path: Path) -> None:
    slow, quick = Export(1, [b"no record\n"]), Export(2, [b"no record\n"], days_ago=2)
    vendor.runs = [slow, quick]
    home = Home(tmp_path, {"acme": vendor.settings()})
    home.once(expect=1)
    hangs, over = threading.Event(), threading.Event()

    def hang(part: int) -> None:
        hangs.set()
        over.wait(60)

    slow.body = hang
    quick.body = lambda part: (200, lines(2))
    daemon = home.start("run")
    try:
        while "jobs_listed" not in (daemon.stderr.readline() if daemon.stderr else "jobs_listed"):
            pass
        assert home.run("retry", "acme/7-1").returncode == 0
        assert hangs.wait(30)
        assert home.run("retry", "acme/7-2").returncode == 0
        asked_at = time.monotonic()
        while states(home)["7-2"] != "loaded":
            assert time.monotonic() - asked_at < 30, "the slow order held it up"
        assert not over.is_set()
    finally:
        over.set()
        daemon.kill()
        daemon.communicate()


@pytest.mark.parametrize(("link", "code"), [("https://[files/0?sig=1", 75), ("ftp://files/0", 1), ("files/0", 1)])
def test_a_link_that_is_no_url_holds_up_no_other(vendor: Vendor, tmp_path: Path, link: str, code: int) -> None:
    bad = {"jobRunId": 1, "state": "SUCCESS", "files": [{"partId": 0, "url": link}]}
    vendor.runs = [Export(1, [lines(1)], detail=lambda: said(bad)), Export(2, [lines(2)], days_ago=2)]
    home = Home(tmp_path, {"acme": vendor.settings()}, retry_for="0s")
    assert "Traceback" not in home.once(expect=code).stderr
    assert states(home)["7-2"] == "loaded"
