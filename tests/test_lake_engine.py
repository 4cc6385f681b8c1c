"""A DuckDB is kept between two looks at the catalogue; nothing of what it has read is."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from syncd.destinations.lake import Lake
from syncd.destinations.lake.catalogue import IDLE, publication, reading
from syncd.errors import ConfigError, TryAgain
from tests.destination_contract import batch, load, rows_of, run


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    lake = Lake(tmp_path / "it's home")
    lake.start()
    load(lake, run(), batch(rows_of(3)))
    return lake


def held_open(home: Path) -> list[str]:
    """What this process has open beneath."""
    links = [Path("/proc/self/fd", name) for name in os.listdir("/proc/self/fd")]  # noqa: PTH208  # the listing's own is gone
    return [str(to) for to in (link.readlink() for link in links if link.is_symlink()) if to.is_relative_to(home)]


def test_between_two_calls_no_catalogue_is_open(lake: Lake) -> None:
    with reading(lake.home):
        assert held_open(lake.home) == [str(lake.home / "warehouse.duckdb")]
    assert held_open(lake.home) == []
    with publication(lake.home, anew=True) as catalogue:
        assert catalogue.execute("SELECT count(*) FROM before._syncd.runs") == [(1,)]
    assert held_open(lake.home) == []


def test_what_was_published_meanwhile_is_seen_by_whoever_comes_next(lake: Lake) -> None:
    published = lake.home / "warehouse.duckdb"
    with reading(lake.home) as before:
        load(lake, run("r2"), batch(rows_of(3)))
        with reading(lake.home) as after:
            assert [len(each.rows("SELECT run FROM _syncd.runs")) for each in (before, after)] == [1, 2]
    had = published.stat()
    copy = published.with_name("copy")
    copy.write_bytes(published.read_bytes())
    with publication(lake.home) as catalogue:
        catalogue.execute("DELETE FROM _syncd.published")
    os.utime(published, ns=(had.st_atime_ns, had.st_mtime_ns))
    with reading(lake.home) as catalogue:
        assert catalogue.execute("SELECT * FROM _syncd.published") == []
    copy.replace(published)
    os.utime(published, ns=(had.st_atime_ns, had.st_mtime_ns))
    with reading(lake.home) as catalogue:
        assert len(catalogue.execute("SELECT * FROM _syncd.published")) == 1


def test_a_duckdb_that_met_an_error_is_not_used_again(lake: Lake) -> None:
    with pytest.raises(ZeroDivisionError), publication(lake.home) as catalogue:
        catalogue.execute("DELETE FROM _syncd.published")
        raise ZeroDivisionError
    (lake.home / "warehouse.duckdb").write_bytes(bytes(20_000))
    with pytest.raises(ConfigError), reading(lake.home):
        raise AssertionError("it is no catalogue")
    assert held_open(lake.home) == []
    while not IDLE.empty():
        attached = IDLE.get().execute("SELECT database_name FROM duckdb_databases() WHERE NOT internal").fetchall()
        assert attached == [("memory",)]


def test_many_read_at_once_and_few_are_kept(lake: Lake) -> None:
    def count(_: int) -> int:
        with reading(lake.home) as catalogue:
            return len(catalogue.rows("SELECT * FROM _syncd.runs"))

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(count, range(64))) == {1}
    assert 1 <= IDLE.qsize() <= IDLE.maxsize == 2


NONE_FREE = """
import os, resource, sys
from pathlib import Path
from syncd.destinations.lake.catalogue import reading
from syncd.errors import TryAgain

last = os.open(os.devnull, os.O_RDONLY)
resource.setrlimit(resource.RLIMIT_NOFILE, (last + 1, last + 1))
try:
    with reading(Path(sys.argv[1])):
        pass
except TryAgain as error:
    print(error, error.hint)
"""


def test_a_duckdb_that_would_die_for_want_of_a_descriptor_is_not_started(lake: Lake) -> None:
    ended = subprocess.run([sys.executable, "-c", NONE_FREE, str(lake.home)], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert "starting DuckDB: Too many open files" in ended.stdout and "ulimit -n" in ended.stdout


def test_a_disk_that_fails_amid_a_change_is_what_is_told(lake: Lake) -> None:
    told = "could not be read: Input/output error"
    with (
        pytest.raises(TryAgain, match=told) as caught,
        publication(lake.home) as catalogue,
        catalogue.listed([{"run": "7-1"}]) as given,
    ):
        catalogue.execute(f"SELECT error('{told}') FROM {given}")
    assert "dmesg" in caught.value.hint
    load(lake, run("r2"), batch(rows_of(3)))
