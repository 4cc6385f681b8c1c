"""A data_dir that we may not use is told in two lines, whatever the command."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.home import Home

NOBODY = {"kind": "contentsquare", "client_id": "id", "client_secret": "hush", "token_url": "http://127.0.0.1:9/token"}
COMMANDS = (["once"], ["run"], ["check"], ["status"], ["runs"], ["retry", "acme/1"], ["query", "SELECT 1"])
POWERLESS = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]  # root, but bound by the modes of files


def a_file(path: Path) -> None:
    path.write_text("no folder")


def closed_to_us(path: Path) -> None:
    path.mkdir(mode=0o000)


def below_a_file(path: Path) -> None:
    path.parent.rmdir()
    path.parent.write_text("no folder")


@pytest.mark.parametrize("make", [a_file, closed_to_us, below_a_file])
@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_an_unusable_data_dir_is_told(tmp_path: Path, make: Callable[[Path], None], command: list[str]) -> None:
    home = Home(tmp_path, {"acme": NOBODY}, retry_for="0s")
    home.data_dir = tmp_path / "there" / "data"
    home.data_dir.parent.mkdir()
    home.write({"acme": NOBODY}, retry_for="0s")
    make(home.data_dir)
    arguments = [sys.executable, "-m", "syncd", "--config", str(home.config), *command]
    try:
        ended = subprocess.run([*POWERLESS, *arguments], capture_output=True, text=True, timeout=60)
    except FileNotFoundError:
        pytest.skip("needs setpriv")
    finally:
        if home.data_dir.is_dir():
            home.data_dir.chmod(0o700)
    assert ended.returncode == 2, ended.stderr
    assert f"data_dir {home.data_dir}" in ended.stdout + ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_folder_where_a_file_belongs_is_named(tmp_path: Path) -> None:
    home = Home(tmp_path, {"acme": NOBODY}, retry_for="0s")
    in_the_way = home.data_dir / "warehouse.duckdb.aside"
    in_the_way.mkdir(parents=True)
    ended = home.once(expect=75)
    assert str(in_the_way) in ended.stderr and "move the folder away" in ended.stderr
