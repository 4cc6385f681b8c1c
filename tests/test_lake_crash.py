"""Stop anywhere: a process that dies at any line of the lake leaves whole runs, and a repeat brings the rest home."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.destination_contract import query, rows_of, table

CHILD = """
import os, sys
from datetime import timedelta
from pathlib import Path
from syncd.destinations.lake import Lake
from tests.destination_contract import *
import syncd.destinations.lake

syncd.destinations.lake.CLOSE_AT = 1  # every run is worth a segment,
plan = sys.modules["syncd.destinations.lake.plan"]
plan.FEW = 2  # every two files one of their own,
plan.QUIET = timedelta(0)  # at once

def pull_the_plug_at(step):
    seen = set()
    def trace(frame, event, arg):
        if "/destinations/lake/" not in frame.f_code.co_filename:
            return None
        seen.add((frame.f_code.co_filename, frame.f_lineno))
        if len(seen) == step:
            os._exit(137)  # no finally, no flush: what kill -9 leaves
        return trace
    sys.settrace(trace)

def work(home):
    lake = Lake(home, keep_superseded=timedelta(0))
    lake.start()
    for one, rows in [(run("7-1"), 3), (run("7-2"), 5), (run("7-3", on=6), 2)]:
        if one.id not in lake.loaded("acme"):
            load(lake, one, batch(rows_of(rows), rejected=1), batch(rows_of(rows, first=100), COLUMNS[:2], first=10))
    for _ in range(2):
        lake.sweep("acme", datetime.now(UTC) + timedelta(days=2), [])
        while lake.pack():
            pass
    lake.sweep("acme", datetime.now(UTC) + timedelta(days=2), [])
    lake.sweep("acme", datetime.now(UTC) + timedelta(days=2), [])
    lake.record_jobs("acme", [])

def attempt(home, step):
    child = os.fork()
    if child == 0:
        try:
            pull_the_plug_at(step)
            work(home)
            os._exit(0)
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

for step in map(int, sys.argv[2:]):
    home = Path(sys.argv[1]) / str(step)
    print(step, attempt(home, step), attempt(home, 0), flush=True)
"""
STEPS = 1080  # lines that the work above comes by, at least


@pytest.mark.parametrize("share", range(4))
def test_stop_anywhere_start_again(tmp_path: Path, share: int) -> None:
    steps = range(1 + share, STEPS, 4)
    if not os.environ.get("SYNCD_EVERY_STEP"):
        steps = sorted(random.Random(share).sample(steps, 6))
    command = [sys.executable, "-c", CHILD, str(tmp_path), *map(str, steps)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parent.parent)
    assert done.stdout.split("\n")[:-1] == [f"{step} 137 0" for step in steps], done.stderr
    for step in steps:
        home = tmp_path / str(step)
        rows = [*rows_of(5), *rows_of(5, first=100), *rows_of(2), *rows_of(2, first=100)]
        assert [row["session_id"] for row in table(home)] == [row["session_id"] for row in rows], f"stopped at {step}"
        assert query(home, "SELECT run, status FROM _syncd.runs ORDER BY run") == [
            ("7-1", "superseded"),
            ("7-2", "loaded"),
            ("7-3", "loaded"),
        ]
        assert sorted(path.name for path in home.iterdir()) == ["lake", "warehouse.duckdb"]
        kept = ("path FROM _syncd.files", "rejects FROM _syncd.parts", "path FROM _syncd_open.segments")
        named = {path for (path,) in query(home, " UNION ".join(f"SELECT {one}" for one in kept))}
        here = {str(path.relative_to(home)) for path in (home / "lake").rglob("*") if path.is_file()}
        assert here == named - {""}, f"stopped at {step}"
        shutil.rmtree(home)
