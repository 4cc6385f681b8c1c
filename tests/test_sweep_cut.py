"""A sweep that is killed in the middle goes on where it was, and loses no run."""

from __future__ import annotations

import signal
import time
from datetime import UTC, datetime
from pathlib import Path

from syncd.sandbox.contentsquare import Sandbox
from syncd.state import open_state
from tests.home import Home
from tests.sandbox_fixture import running

PAGES = 48  # of one run each


def pages_asked(vendor: Sandbox) -> list[str]:
    """Each request for a page of the finished runs so far."""
    asked = [call for call in vendor.log()["requests"] if call["path"].endswith("/successful-runs")]
    return [call["query"].get("page", "") for call in asked]


def test_a_killed_sweep_goes_on_where_it_was(tmp_path: Path) -> None:
    with running(days=2, frequency="hourly", jobs=1, rows=48, parts=1, page_cap=1, latency=0.03) as vendor:
        today = f"{datetime.now(UTC):%Y-%m-%d}"
        home = Home(tmp_path, {"acme": vendor.settings() | {"since": today}})
        with home.start("once") as killed:
            while len(pages_asked(vendor)) < 35:
                assert killed.poll() is None, "it was over before it was killed"
                time.sleep(0.01)
            killed.send_signal(signal.SIGKILL)
        before = pages_asked(vendor)
        assert len(before) < PAGES
        home.once()
        after = pages_asked(vendor)[len(before) :]
        assert len(after) < PAGES - 15, after
        last = max(vendor.truth(), key=lambda run: str(run["to"]))
        assert home.query("SELECT run FROM _syncd.runs") == [(last["run"],)], "all others ended before `since`"
        state = open_state(home.data_dir / "state.sqlite")
        assert state.position("acme", datetime(2000, 1, 1, tzinfo=UTC)) == "", "a walk that has ended is forgotten"
        state.close()
        home.once()
        assert len(pages_asked(vendor)) - len(before) - len(after) >= PAGES, "the next sweep walks all"
