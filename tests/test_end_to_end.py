"""The real command against the vendor in a box, over real sockets: what arrives is what was served."""

from __future__ import annotations

import pickle
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.home import Home, differences
from tests.sandbox_fixture import running


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_counts_sums_and_strings_are_what_the_vendor_served(tmp_path: Path, form: str) -> None:
    with running(format=form, jobs=3, days=2, rows=120, parts=3, blank_lines=1, type_change="fraction") as vendor:
        home = Home(tmp_path, {"acme": vendor.settings()})
        home.once()
        assert differences(home, "acme", vendor) == []
        ((largest,),) = home.query("SELECT max(session_id) FROM acme.sessions")
        assert largest > 2**63
        assert not vendor.log()["authorization_on_file_url"]
        assert max(vendor.log()["max_in_flight"].values()) <= 3


def test_a_second_pass_loads_nothing_again(tmp_path: Path) -> None:
    with running(jobs=2, days=2, rows=20) as vendor:
        home = Home(tmp_path, {"acme": vendor.settings()})
        home.once()
        before = home.tables()
        home.once()
        assert home.tables() == before


def test_losing_the_state_loses_and_doubles_nothing(tmp_path: Path) -> None:
    with running(jobs=2, days=2, rows=20) as vendor:
        home = Home(tmp_path, {"acme": vendor.settings()})
        home.once()
        before = home.tables()
        for left in home.data_dir.glob("state.sqlite*"):
            left.unlink()
        home.once()
        assert home.tables() == before


def test_killed_at_random_and_started_again_ends_in_the_same_tables(tmp_path: Path) -> None:
    chance = random.Random(7)
    with running(jobs=2, days=3, frequency="daily", rows=60, parts=2, slow=60_000) as vendor:
        undisturbed = Home(tmp_path / "undisturbed", {"acme": vendor.settings()})
        began = time.monotonic()
        undisturbed.once()
        seconds = time.monotonic() - began  # the kills keep to the machine's pace
        killed = Home(tmp_path / "killed", {"acme": vendor.settings()})
        kills = 0
        for _ in range(20):
            process = killed.start("once")
            try:
                process.communicate(timeout=chance.uniform(0.1, 0.4) * seconds)
                break
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.communicate()
                kills += 1
        killed.once()
        assert kills > 2
        assert killed.tables() == undisturbed.tables()


READER = """
import pathlib, pickle, sys, time, duckdb
path, stop, counts = sys.argv[1], pathlib.Path(sys.argv[2]), []
while not stop.exists():
    with duckdb.connect(path, read_only=True) as warehouse:
        known = warehouse.execute("SELECT count(*) FROM duckdb_views() WHERE view_name = 'sessions'").fetchone()[0]
        asked = "SELECT count(*), count(DISTINCT _syncd_run) FROM acme.sessions" if known else "SELECT 0, 0"
        counts.append(warehouse.execute(asked).fetchone())
sys.stdout.buffer.write(pickle.dumps(counts))
"""


def test_a_reader_never_fails_while_fifty_runs_are_loaded(tmp_path: Path) -> None:
    with running(
        scope="sessions", frequency="daily", format="jsonl", jobs=5, days=10, rows=10, parts=1, latency=0.02
    ) as vendor:
        home = Home(tmp_path, {"acme": vendor.settings()})
        stop = tmp_path / "stop"
        process = home.start("once")
        while not (home.data_dir / "warehouse.duckdb").exists():
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        reader = subprocess.Popen(
            [sys.executable, "-c", READER, str(home.data_dir / "warehouse.duckdb"), str(stop)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        _, told = process.communicate(timeout=120)
        assert process.returncode == 0, told
        stop.touch()
        out, err = reader.communicate(timeout=60)
        assert reader.returncode == 0, err.decode()
        seen: list[Any] = pickle.loads(out)
        assert all(rows == 10 * runs for rows, runs in seen), "a reader saw half a run"
        assert home.query("SELECT count(*) FROM _syncd.runs") == [(50,)]
        assert len({runs for _, runs in seen}) > 2, "the reader was never there while runs came in"
