"""What people read: every answer is true, says what to do next, and is not cut."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest

from syncd import show

CONFIG = '[sources.acme]\nkind = "contentsquare"\nclient_id = "c"\nclient_secret = "s"\n'


def told(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`syncd` with a configuration that nothing has been loaded for."""
    (folder / "syncd.toml").write_text(f'data_dir = "{folder / "data"}"\n{CONFIG}')
    command = [sys.executable, "-m", "syncd", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)


def test_the_summary_of_no_command_is_cut(tmp_path: Path) -> None:
    _, _, commands = told(tmp_path, "--help").stdout.partition("Commands:")
    assert "demo" in commands
    assert "..." not in commands


def test_before_the_first_pass_nothing_is_said_to_be_here(tmp_path: Path) -> None:
    assert told(tmp_path, "gaps").stdout == "nothing is known yet, no pass has ended: syncd once\n"
    assert told(tmp_path, "runs").stdout == "no such runs\n"


def test_a_run_without_its_source_is_told_how_runs_are_named(tmp_path: Path) -> None:
    refused = told(tmp_path, "retry", "1372-67226")
    assert (refused.returncode, "named SOURCE/RUN" in refused.stderr) == (2, True)


def test_raw_bytes_are_spelled_as_duckdb_reads_them() -> None:
    raw = bytes(range(256))
    assert duckdb.execute("SELECT ?::VARCHAR", [raw]).fetchall() == [(show.text(raw),)]
    assert duckdb.execute("SELECT ?::BLOB", [show.text(raw)]).fetchall() == [(raw,)]


@pytest.mark.parametrize(
    ("error", "runs", "gaps", "last"),
    [
        (None, {"loaded": 1}, 0, "all is well"),
        (None, {"loaded": 1}, 2, "something needs you: syncd gaps"),
        (None, {"set_aside": 1}, 1, "something needs you: syncd runs --state set_aside, syncd gaps"),
        ("credentials refused", {}, 0, "something needs you: syncd check"),
    ],
)
def test_status_ends_with_the_command_that_tells_more(
    capsys: pytest.CaptureFixture[str], error: str | None, runs: dict[str, int], gaps: int, last: str
) -> None:
    source: dict[str, Any] = {
        "last_pass_at": datetime(2026, 1, 5, tzinfo=UTC),
        "error": error,
        "hint": "…",
        "runs": runs,
    }
    source |= {"slack_hours": None, "superseded_by_fewer_rows": [], "scopes": {}}
    ok = not error and "set_aside" not in runs
    show.status({"ok": ok, "sources": {"acme": source}}, gaps)
    assert capsys.readouterr().out.splitlines()[-1] == last


def test_the_demo_shows_its_answers_and_no_log(tmp_path: Path) -> None:
    shown = told(tmp_path, "demo")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "what came home" in shown.stdout
    assert "1375-67227" in shown.stdout


def test_a_folder_that_no_ownership_would_help_is_not_to_be_chowned(tmp_path: Path) -> None:
    refused = told(tmp_path, "--data-dir", "/proc/nowhere", "check")
    assert refused.returncode == 2
    assert "name another folder under data_dir" in refused.stdout + refused.stderr
    assert "chown" not in refused.stdout + refused.stderr
