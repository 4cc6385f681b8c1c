"""The state may be lost, torn or someone else's: looking goes on, and the next pass puts it aside."""

from __future__ import annotations

import os
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from syncd.errors import TryAgain
from syncd.model import Run
from syncd.state import State, open_state, read_state
from tests.home import Home
from tests.plain_vendor import Export, Vendor, lines, serving

NOW = datetime(2026, 1, 5, tzinfo=UTC)


def used(path: Path) -> bytes:
    """A state with something in it."""
    state = open_state(path)
    for number in range(300):
        state.pass_ended(f"source{number}", NOW)
    state.close()
    return path.read_bytes()


def sql(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement)


def garbage(path: Path) -> None:
    path.write_bytes(b"this is no database" * 500)


def half(path: Path) -> None:
    whole = used(path)
    path.write_bytes(whole[: len(whole) // 2])


def a_torn_page(path: Path) -> None:
    whole = bytearray(used(path))
    whole[-12288:-8192] = os.urandom(4096)
    path.write_bytes(whole)


def of_a_later_syncd(path: Path) -> None:
    used(path)
    sql(path, "UPDATE alembic_version SET version_num = '9999'")


def of_another_program(path: Path) -> None:
    sql(path, "CREATE TABLE runs (x)")


@pytest.mark.parametrize("damage", [garbage, half, a_torn_page, of_a_later_syncd, of_another_program])
def test_a_state_that_is_none_is_put_aside(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    path = tmp_path / "state.sqlite"
    damage(path)
    if looked := read_state(path):
        looked.runs()
        looked.close()
    state = open_state(path)
    assert state.runs() == []
    state.close()
    assert len(list(tmp_path.glob("state.sqlite.corrupt-*"))) == 1


def test_a_disk_that_fails_is_no_damage(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    path.mkdir()
    with pytest.raises(TryAgain):
        open_state(path)
    assert path.is_dir()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 30 MB, where we may mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.getuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=30m", "none", disk]).returncode:
        pytest.skip("needs the right to mount a tmpfs")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def test_a_disk_without_a_byte_left_is_waited_out(tmp_path: Path, small_disk: Path) -> None:
    with serving(Vendor()) as vendor:
        vendor.runs = [Export(number, [lines(10)], days_ago=number) for number in range(1, 4)]
        home = Home(tmp_path / "home", {"acme": vendor.settings()}, retry_for="1s")
        home.data_dir = small_disk / "data"
        home.write({"acme": vendor.settings()}, retry_for="1s")
        filler = small_disk / "filler"
        for _ in range(2):  # full from the start; full with what a pass has left
            with filler.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
                while file.write(bytes(4096)):
                    pass
            home.once(expect=75)
            for command in ("runs", "status"):
                assert "Traceback" not in home.run(command).stderr
            assert home.run("check").returncode == 75
            filler.unlink()
            home.once()
        assert home.query("SELECT count(*) FROM acme.sessions") == [(30,)]


def shaped_by(path: Path, revision: str) -> None:
    """A state as the syncd of that revision left it, with one run in it."""
    engine = sa.create_engine(f"sqlite:///{path}")
    config = Config()
    config.set_main_option("script_location", "migrations")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
    state = State(engine)
    state.found([Run("s", "7-1", "views", "jsonl", NOW, NOW, "7", NOW)], NOW)
    state.close()


@pytest.mark.parametrize("revision", ["0001", "0002", "0003", "0004"])
def test_the_state_of_an_earlier_syncd_is_read_and_then_brought_up_to_date(tmp_path: Path, revision: str) -> None:
    path = tmp_path / "state.sqlite"
    shaped_by(path, revision)
    looking = read_state(path)
    assert looking is not None and looking.jobs() == {} and [row["run"] for row in looking.runs()] == ["7-1"]
    looking.close()
    state = open_state(path)
    state.record_listed("s", ["j"])
    state.found([], NOW, ("s", "page 10"))
    assert (list(state.jobs()), state.position("s", NOW)) == ([("s", "j")], "page 10")
    assert [row["run"] for row in state.runs()] == ["7-1"]
    state.close()
    assert not list(tmp_path.glob("*.corrupt-*")), "it was put aside"
