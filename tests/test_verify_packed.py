"""What `verify`, `--repair` and `replay` promise holds for packed files too."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from shutil import rmtree
from typing import Any

import pytest

from syncd.destinations.lake import Lake
from tests.home import Home
from tests.sandbox_fixture import running
from tests.test_lake_pack import pack_now


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Two jobs over two days, each run with a broken line; packed days later. The vendor is gone by now."""
    with running(jobs=2, days=2, rows=80, parts=5, broken_lines=1) as vendor:
        home = Home(tmp_path, {"acme": vendor.settings()})
        home.once()
    before = home.tables()
    lake = Lake(home.data_dir, clock=lambda: datetime.now(UTC) + timedelta(days=3))
    assert [packed.files for packed in pack_now(lake)]
    assert home.tables() == before
    return home


def packed(home: Home) -> list[Path]:
    found = home.query("SELECT path FROM _syncd_open.files WHERE packed AND live ORDER BY path")
    return [home.data_dir / path for (path,) in found]


def proved(home: Home) -> None:
    ended = home.run("verify")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "nothing is lost" in ended.stdout


def figures(home: Home) -> list[tuple[Any, ...]]:
    return home.query("SELECT * EXCLUDE (loaded_at) FROM _syncd.runs ORDER BY ALL")


def test_packed_files_are_proved_and_a_flipped_bit_is_mended_from_the_landed_bytes(home: Home) -> None:
    proved(home)
    before, ledger = home.tables(), figures(home)
    victim, *others = packed(home)
    whole = bytearray(victim.read_bytes())
    whole[len(whole) // 2] ^= 1
    victim.write_bytes(whole)
    told = home.run("verify")
    assert told.returncode == 1
    assert str(victim.relative_to(home.data_dir)) in told.stdout
    repaired = home.run("verify", "--repair")
    assert repaired.returncode == 0, repaired.stdout + repaired.stderr
    assert home.tables() == before
    assert figures(home) == ledger
    assert victim not in packed(home)
    assert set(packed(home)) <= set(others)
    proved(home)


def test_a_packed_file_that_nothing_brings_back_leaves_the_views_and_is_told(home: Home) -> None:
    rmtree(home.data_dir / "landing")
    ledger = figures(home)
    ((rows,),) = home.query("SELECT count(*) FROM acme.sessions")
    victim = packed(home)[0]
    ((gone,),) = home.query(f"SELECT rows FROM _syncd_open.files WHERE path = '{victim.relative_to(home.data_dir)}'")
    victim.unlink()
    assert home.run("verify", "--repair").returncode == 1
    assert home.query("SELECT count(*) FROM acme.sessions") == [(rows - gone,)]
    assert figures(home) == ledger
    told = home.run("verify")
    assert told.returncode == 1
    assert "a once export of" in told.stdout


@pytest.mark.parametrize("lost", ["catalogue", "catalogue and landed bytes"])
def test_a_lost_catalogue_is_built_again(home: Home, lost: str) -> None:
    before, ledger = home.tables(), figures(home)
    (home.data_dir / "warehouse.duckdb").unlink()
    (home.data_dir / "state.sqlite").unlink()
    if "landed" in lost:
        rmtree(home.data_dir / "landing")
    repaired = home.run("verify", "--repair")
    assert repaired.returncode == 0, repaired.stdout + repaired.stderr
    assert home.tables() == before
    assert figures(home) == ledger
    assert packed(home)
    proved(home)


def test_a_run_in_packed_files_is_replayed(home: Home) -> None:
    before, rejected = home.tables(), home.query("SELECT * FROM _syncd.rejected ORDER BY ALL")
    ((run,),) = home.query("SELECT min(run) FROM _syncd.runs")
    for _ in range(2):
        assert home.run("replay", f"acme/{run}").returncode == 0
        assert home.tables() == before
    assert home.query("SELECT * FROM _syncd.rejected ORDER BY ALL") == rejected
    proved(home)
