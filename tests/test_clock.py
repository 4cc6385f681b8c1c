"""A clock that jumps: passes go on, whichever way and however far."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from structlog.testing import capture_logs

from syncd.assemble import open_house
from syncd.daemon import Daemon
from syncd.progress import Nobody
from syncd.settings import read
from syncd.sync import one_pass
from tests.home import Home
from tests.plain_vendor import Export, Vendor, lines, serving


def test_passes_go_on_when_the_clock_is_set_back_or_forth(tmp_path: Path) -> None:
    with serving(Vendor()) as vendor:
        vendor.runs = [Export(1, [lines(10)])]
        home = Home(tmp_path, {"acme": vendor.settings()})
        now = [datetime.now(UTC)]
        with (
            open_house(read(home.config), Nobody(), threading.Event()) as house,
            ThreadPoolExecutor(4) as threads,
        ):
            house.mirrors["acme"] = replace(house.mirrors["acme"], clock=lambda: now[0])
            daemon = Daemon(house)

            def passes(within_s: float) -> bool:
                """Whether a pass begins and ends."""
                until = time.monotonic() + within_s
                with capture_logs() as told:
                    while time.monotonic() < until and not any(one["event"] == "pass_ended" for one in told):
                        daemon.tick(threads)
                        time.sleep(0.02)
                daemon.tick(threads)  # take it in
                return bool(told)

            assert passes(60)
            assert not passes(0.5), "it is not due yet"
            for jump in (timedelta(days=-400), timedelta(days=800), timedelta(hours=-1), timedelta(minutes=20)):
                now[0] += jump
                assert passes(60), f"the clock jumped by {jump}"
        assert home.query("SELECT count(*) FROM acme.sessions") == [(10,)]


def test_what_a_wrong_clock_took_for_expired_is_brought_home(tmp_path: Path) -> None:
    with serving(Vendor()) as vendor:
        vendor.runs = [Export(number, [lines(10)], days_ago=number) for number in range(1, 6)]
        home = Home(tmp_path, {"acme": vendor.settings()}, retry_for="1s")
        now = datetime.now(UTC)
        with open_house(read(home.config), Nobody(), threading.Event()) as house:
            mirror = house.mirrors["acme"]
            for run in vendor.runs[:4]:
                run.body = lambda part: (403, b"<Error/>")
            ahead = one_pass(replace(mirror, clock=lambda: now + timedelta(days=20)), sweep=True)
            assert sorted(end.what for end in ahead.ends) == ["expired"] * 4 + ["loaded"], "what still lives is loaded"
            for run in vendor.runs:
                run.body = lambda part: None
            right = one_pass(replace(mirror, clock=lambda: now), sweep=True)
            assert [end.what for end in right.ends] == ["loaded"] * 4
        assert home.query("SELECT count(*) FROM acme.sessions") == [(50,)]
