"""On a network share the catalogue that was replaced keeps a name for as long as a reader may have it open."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from syncd.destinations.lake import Lake
from tests.destination_contract import batch, load, rows_of, run


def held(home: Path) -> list[Path]:
    return sorted((home / "held").glob("*"))


def test_what_a_reader_has_open_keeps_a_name_until_the_longest_reader_has_left(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "home", longest_reader=timedelta(hours=1), hold_catalogues=True)
    lake.start()
    with (lake.home / "warehouse.duckdb").open("rb") as reader:
        load(lake, run(), batch(rows_of(3)))
        assert [path.stat().st_ino for path in held(lake.home)] == [os.fstat(reader.fileno()).st_ino]
    now = datetime.now(UTC)
    lake.sweep("acme", now + timedelta(minutes=59), [])
    assert len(held(lake.home)) == 1
    lake.sweep("acme", now + timedelta(minutes=61), [])
    assert held(lake.home) == []


def test_on_a_local_disk_the_open_file_alone_is_enough(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "home")
    lake.start()
    load(lake, run(), batch(rows_of(3)))
    assert not (lake.home / "held").exists()
