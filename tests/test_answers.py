"""What people read: every answer is true, says what to do next, and is not cut."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest

from syncd import ledger, show, status
from syncd.cli.globals import states

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
    ("error", "runs", "gaps", "days_left", "last"),
    [
        (None, {"loaded": 1}, 0, 31.0, "all is well"),
        (None, {"loaded": 1}, 0, 0.1, "something needs you: the disk"),
        (None, {"loaded": 1}, 2, None, "something needs you: syncd gaps"),
        (None, {"set_aside": 1}, 1, None, "something needs you: syncd runs --state set_aside, syncd gaps"),
        ("credentials refused", {}, 0, None, "something needs you: syncd check"),
    ],
)
def test_status_ends_with_the_command_that_tells_more(
    capsys: pytest.CaptureFixture[str],
    error: str | None,
    runs: dict[str, int],
    gaps: int,
    days_left: float | None,
    last: str,
) -> None:
    source: dict[str, Any] = {
        "last_pass_at": datetime(2026, 1, 5, tzinfo=UTC),
        "error": error,
        "hint": "…",
        "runs": runs,
    }
    source |= {"slack_hours": None, "overdue": [], "superseded_by_fewer_rows": [], "lost": {}, "scopes": {}}
    ok = not error and "set_aside" not in runs
    disk = {"downloads_paused": False, "landed_per_day": 0, "days_left": days_left}
    found = {"ok": ok, "gaps": gaps, "sources": {"acme": source}, "disk": disk}
    status.show(status.Standing(found, [], datetime(2026, 1, 5, tzinfo=UTC)))
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


def test_the_table_has_colours_where_somebody_watches_only(tmp_path: Path) -> None:
    from tests.sandbox_fixture import running

    with running(jobs=1, days=1, rows=50, frequency="daily", broken_lines=20) as vendor:
        section = "\n".join(f"{key} = {value!r}" for key, value in vendor.settings().items())
        (tmp_path / "syncd.toml").write_text(f"data_dir = '{tmp_path / 'data'}'\n[sources.acme]\n{section}\n")
        command = [sys.executable, "-m", "syncd"]
        subprocess.run([*command, "once"], cwd=tmp_path, capture_output=True, check=False, timeout=120)
        plain = subprocess.run([*command, "status"], cwd=tmp_path, capture_output=True, text=True, check=True)
        watched = on_a_terminal([*command, "status"], tmp_path)
        narrow = unstyled(on_a_terminal([*command, "status"], tmp_path, columns=80))
        again = on_a_terminal([*command, "status", "--watch"], tmp_path, until="Ctrl-C ends it")
    assert "\x1b[" not in plain.stdout
    assert "\x1b[1;31m1 set_aside\x1b[0m" in watched
    for word in plain.stdout.split():
        assert word in unstyled(watched) or word.endswith(("min", "h")), word
    assert "something needs you" in unstyled(again)
    assert unstyled(again).index("something needs you") < unstyled(again).index("complete up to"), "a table may be long"
    assert re.search(r"^ *acme\.sessions .* 1 set_aside", narrow, re.M), "a line a scope, and no word is cut"
    assert max(map(len, narrow.splitlines())) <= 80


def unstyled(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)


def on_a_terminal(command: list[str], folder: Path, until: str = "", columns: int = 200) -> str:
    """What a command shows on a terminal; with `until` it is ended with Ctrl-C once that was shown."""
    here, there = pty.openpty()
    fcntl.ioctl(there, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    environ = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "COLUMNS")}
    process = subprocess.Popen(
        command, cwd=folder, stdin=there, stdout=there, stderr=there, env=environ | {"TERM": "xterm"}
    )
    os.close(there)
    shown, code = "", 0
    while True:
        try:
            shown += os.read(here, 65536).decode("utf-8", "replace")
        except OSError:  # the other end is closed
            break
        if until and until in shown and "needs you" in shown:
            process.send_signal(signal.SIGINT)
            until = ""
            code = 130
    os.close(here)
    assert process.wait(60) == code, shown
    return shown


def test_watching_prints_again_what_has_changed_where_nobody_watches(tmp_path: Path) -> None:
    (tmp_path / "syncd.toml").write_text(f'data_dir = "{tmp_path / "data"}"\n{CONFIG}')
    command = [sys.executable, "-m", "syncd", "status", "--watch"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout
        assert watching.stdout.readline().startswith("as of 2")
        watching.terminate()
    assert watching.returncode == 143


def completed(folder: Path, typed: str) -> str:
    """What a shell would offer, and which heavy modules that cost."""
    words = typed.split(" ")
    heavy = "HEAVY = {'duckdb', 'pyarrow', 'pydantic_settings', 'sqlalchemy', 'httpx', 'rich', 'starlette'}\n"
    code = "import sys; from syncd.cli import main\n"
    code += "try: main()\nfinally: print(*HEAVY & set(sys.modules), file=sys.stderr)"
    environ = os.environ | {"_SYNCD_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": str(len(words) - 1)}
    done = subprocess.run([sys.executable, "-c", heavy + code], cwd=folder, env=environ, capture_output=True, text=True)
    assert done.stderr.strip() == "", "completion must be quick"
    return done.stdout


def test_the_shell_completes_commands_states_and_sources(tmp_path: Path) -> None:
    (tmp_path / "syncd.toml").write_text(CONFIG)
    assert completed(tmp_path, "syncd sup").split() == ["support-bundle"]
    assert "set_aside" in completed(tmp_path, "syncd runs --state ").split()
    assert completed(tmp_path, "syncd probe ").split() == ["acme"]
    assert states() == list(ledger.STATES)
    (tmp_path / "other.toml").write_text(CONFIG.replace("sources.acme", "sources.elsewhere"))
    assert completed(tmp_path, "syncd --config other.toml probe ").split() == ["elsewhere"]
    assert completed(tmp_path, "syncd --config nowhere.toml probe ").split() == [], "another's sources are no answer"


def test_watching_for_scripts_is_refused(tmp_path: Path) -> None:
    (tmp_path / "syncd.toml").write_text(f'data_dir = "{tmp_path / "data"}"\n{CONFIG}')
    command = [sys.executable, "-m", "syncd", "status", "--watch", "--json"]
    refused = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "--watch" in refused.stderr
    assert "leave one out" in refused.stderr


def test_completion_is_installed_by_one_command(tmp_path: Path) -> None:
    environ = os.environ | {"HOME": str(tmp_path), "SHELL": "/bin/bash"}
    typed = f"'{sys.executable}' -m syncd --install-completion; exit $?"  # the shell is told by who calls
    command = ["bash", "-c", typed]
    installed = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
    assert "completion installed" in installed.stdout
    script = f"source {tmp_path}/.bashrc; complete -p syncd"
    listed = subprocess.run(["bash", "-c", script], env=environ, capture_output=True, text=True, check=True)
    assert "_syncd_completion" in listed.stdout
