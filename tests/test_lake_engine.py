"""A DuckDB is kept between two looks at the catalogue, nothing that it has read is; readers see whole generations."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import duckdb
import pytest

from syncd.destinations.lake import Lake
from syncd.destinations.lake.catalogue import HEADERS, IDLE, own_size, publication, reading
from syncd.destinations.lake.views import text
from syncd.errors import ConfigError, TryAgain
from tests.destination_contract import batch, load, rows_of, run
from tests.reader import answer


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


def test_a_rest_takes_none_from_who_reads(lake: Lake) -> None:
    with reading(lake.home) as catalogue:
        lake.rest()
        assert IDLE.empty()
        assert len(catalogue.rows("SELECT * FROM _syncd.runs")) == 1
    assert not IDLE.empty(), "it is kept again"


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


def everything(path: Path) -> list[object]:
    """Each table's rows, and the views."""
    with duckdb.connect(str(path), read_only=True) as warehouse:
        listed = "SELECT schema_name || '.' || table_name FROM duckdb_tables() ORDER BY ALL"
        tables = [table for (table,) in warehouse.execute(listed).fetchall()]
        rows = [(table, warehouse.execute(f"FROM {table} ORDER BY ALL").fetchall()) for table in tables]
        views = "SELECT view_name, sql FROM duckdb_views() WHERE NOT internal ORDER BY ALL"
        return [*rows, warehouse.execute(views).fetchall()]


def test_the_header_of_the_catalogue_before_finds_its_blocks_in_the_next_one(lake: Lake) -> None:
    """DuckDB 2.0 reads a header, closes the file and opens it again: another may have its name by then."""
    published, mixed = lake.home / "warehouse.duckdb", lake.home / "mixed.duckdb"
    chance, sizes = random.Random(4), [published.stat().st_size]
    for turn in range(30):
        table, rows = chance.randrange(4), chance.choice([1, 3_000, 30_000])
        before, expected = published.read_bytes(), everything(published)
        with publication(lake.home) as catalogue:
            made = f"SELECT range AS number, hash(range + {turn}) AS hash FROM range({rows})"
            catalogue.execute(f"CREATE OR REPLACE TABLE _syncd.t{table} AS {made}")
        mixed.write_bytes(before[:HEADERS] + published.read_bytes()[HEADERS:])
        assert everything(mixed) == expected, turn
        sizes.append(own_size(published))
    assert sum(after < before for before, after in pairwise(sizes)) > 3, "a few have become shorter"


@pytest.mark.parametrize("version", ["1.1", "1.5"])
def test_a_catalogue_that_keeps_the_end_of_the_one_before_is_read_by_all_and_shrinks(lake: Lake, version: str) -> None:
    published = lake.home / "warehouse.duckdb"
    with publication(lake.home) as catalogue:
        catalogue.execute("CREATE TABLE _syncd.much AS SELECT hash(range) AS hash FROM range(400_000)")
    with publication(lake.home) as catalogue:
        catalogue.execute("DROP TABLE _syncd.much")
    long = published.stat().st_size
    asked = [f"ATTACH {text(str(published))} AS w (READ_ONLY)", "USE w", "SELECT count(*) FROM acme.sessions"]
    for number in range(3):
        assert answer(version, *asked) == [[3]]
        load(lake, run(f"r{number}"), batch(rows_of(3)))
    assert own_size(published) < long / 2
    assert published.stat().st_size < long / 2
