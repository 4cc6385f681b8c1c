"""The published `warehouse.duckdb`: how it is read, and how the next one takes its place.

The published file is never open for writing, and never open between two calls: DuckDB keeps what it has read of a file
for as long as anybody in the process has it open by that path. So a DuckDB is kept between calls with nothing attached.
"""

# ruff: noqa: S608 - names are ours or quoted, values are bound
from __future__ import annotations

import os
import shutil
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from queue import Empty, Full, LifoQueue
from typing import Any

import duckdb
import pyarrow as pa

from syncd.destinations.lake import disk
from syncd.destinations.lake.paths import ASIDE, CATALOGUE, HELD
from syncd.destinations.lake.tables import OPEN, TABLES
from syncd.errors import ConfigError, SyncdError, TryAgain
from syncd.model import Column
from syncd.types import Type

ONE_AT_A_TIME = threading.RLock()  # of publications in this process; the daemon's lock on data_dir keeps out others
HEADERS, BLOCK = 12288, 16384  # bytes of a file of DuckDB's: before its blocks, and of each
# what any DuckDB from 1.1 on can open; in large blocks each small table would fill several
STORAGE = f"STORAGE_VERSION 'v1.0.0', BLOCK_SIZE {BLOCK}"
OWN_SIZE = struct.Struct("<Q")  # the end of a file that holds more than its own blocks
# DuckDB 1.1 follows references that go nowhere in files of which later versions have used metadata again
CONFIG: dict[str, Any] = {"temp_directory": "", "experimental_metadata_reuse": False}
CONFIG["checkpoint_threshold"] = "1TB"  # one checkpoint a publication leaves alone what the last one has written
CONFIG["enable_external_file_cache"] = False  # a DuckDB that is kept would keep what it has read of Parquet, too
IDLE: LifoQueue[duckdb.DuckDBPyConnection] = LifoQueue(2)  # few: each has its threads
REPAIR = "syncd verify --repair makes it again, from the lake and the landed bytes"
DAMAGE: tuple[type[duckdb.Error], ...] = (duckdb.IOException, duckdb.CatalogException, duckdb.SerializationException)
DAMAGE += (duckdb.InternalException, duckdb.InvalidInputException)  # a Parquet file that a view lists is none any more


class Catalogue:
    """An open catalogue: SQL, and rows in and out as Arrow tables (a statement for each row is slow)."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection

    def execute(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        return self._connection.execute(sql, list(values)).fetchall()

    def rows(self, sql: str, *values: Any) -> list[dict[str, Any]]:
        """The same, each row with the names of its columns."""
        answer = self._connection.execute(sql, list(values))
        names = [name for name, *_ in answer.description or ()]
        return [dict(zip(names, row, strict=True)) for row in answer.fetchall()]

    def table(self, sql: str, *values: Any) -> pa.Table:
        """The same for many rows."""
        return self._connection.sql(sql, params=list(values)).to_arrow_table()

    def insert(self, table: str, rows: Sequence[dict[str, Any]]) -> None:
        """Add rows to a table, named with its schema. Values are matched by name."""
        if rows:
            names = ", ".join(f'"{name}"' for name in rows[0])
            with self.listed(rows) as given:
                self._connection.execute(f"INSERT INTO {table} ({names}) SELECT {names} FROM {given}")

    def forget(self, table: str, rows: Sequence[dict[str, Any]]) -> None:
        """Remove the rows of a table, named with its schema, that have these values."""
        if rows:
            same = " AND ".join(f'had."{name}" = gone."{name}"' for name in rows[0])
            with self.listed(rows) as given:
                self._connection.execute(f"DELETE FROM {table} had USING {given} gone WHERE {same}")

    @contextmanager
    def listed(self, rows: Sequence[dict[str, Any]]) -> Iterator[str]:
        """The rows under a name that SQL can read: far faster than one statement for each."""
        name = "_syncd_given"
        self._connection.register(name, pa.Table.from_pylist(list(rows)))
        yield f"temp.{name}"
        self._connection.unregister(name)  # not after an error: in a transaction that has failed it would hide it


@contextmanager
def reading(home: Path) -> Iterator[Catalogue]:
    """The published catalogue as it is now."""
    with _attached(home / CATALOGUE, "READ_ONLY") as catalogue:
        yield catalogue


@contextmanager
def publication(home: Path, *, anew: bool = False, hold: bool = False) -> Iterator[Catalogue]:
    """A copy of the catalogue to change; on a clean exit it takes the place of the published one, durably.

    `anew`: an empty one instead, beside which the published one can be read as `before`. `hold`: the one that is
    replaced keeps a name, for readers on other hosts.
    """
    with ONE_AT_A_TIME, disk.trouble("publishing the catalogue"):
        aside, published = home / ASIDE, home / CATALOGUE
        forget_torn(home)  # above all the journal of an older copy: DuckDB would apply it to this one
        is_empty = anew or not published.exists()
        try:
            if not is_empty:
                copy(published, aside)
            with _attached(aside, STORAGE) as catalogue:
                if is_empty:
                    catalogue.execute(TABLES)
                if anew:
                    catalogue.execute(f"ATTACH '{_place(published)}' AS before (READ_ONLY)")
                catalogue.execute("BEGIN")
                yield catalogue
                catalogue.execute("COMMIT")
                catalogue.execute("CHECKPOINT warehouse")
                if anew:
                    catalogue.execute("DETACH before")
            if not is_empty:
                keep_end(aside, published)
            disk.sync(aside)
            if hold and published.exists():
                disk.make_folder(home / HELD)
                (home / HELD / f"{time.time_ns()}.duckdb").hardlink_to(published)
            aside.replace(published)
            disk.sync(home)
        finally:
            forget_torn(home)


def copy(published: Path, to: Path) -> None:
    """A catalogue to change: its own blocks alone."""
    shutil.copyfile(published, to)
    os.truncate(to, own_size(to))


def keep_end(path: Path, before: Path) -> None:
    """Let the catalogue end with the last blocks of the one before, where it has become shorter.

    DuckDB 2.0 reads a file's header, closes the file and opens it again by its name, which may be another's by then. A
    checkpoint overwrites no block of the one before, but it cuts off the last of them.
    """
    with path.open("ab") as file, before.open("rb") as longer:
        own = file.tell()
        if own < (had := own_size(before)):
            longer.seek(own)
            file.write(longer.read(had - own))
            file.write(OWN_SIZE.pack(own))


def own_size(path: Path) -> int:
    """The size of a catalogue in bytes, without what `keep_end` gave it."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        if (size - HEADERS) % BLOCK != OWN_SIZE.size:
            return size
        file.seek(-OWN_SIZE.size, os.SEEK_END)
        (own,) = OWN_SIZE.unpack(file.read())
        return min(int(own), size)  # it may be damaged


def let_held_go(home: Path, before: datetime) -> None:
    """Take the last name from catalogues that were replaced before then."""
    for held in (home / HELD).glob("*.duckdb"):
        if int(held.stem) < before.timestamp() * 1e9:
            held.unlink(missing_ok=True)


def utc(instant: datetime) -> datetime:
    """As the warehouse has it: UTC without a zone."""
    return instant.astimezone(UTC).replace(tzinfo=None)


def is_of_today(catalogue: Catalogue) -> bool:
    """Whether the catalogue has today's tables. Until November 2026 the ledger was in tables of `_syncd`."""
    return bool(catalogue.execute("SELECT 1 FROM duckdb_schemas() WHERE schema_name = ?", OPEN))


def columns_of(read: Callable[..., list[tuple[Any, ...]]], source: str, scope: str) -> list[Column]:
    """What loaded runs have taught of a scope: declared columns first, each at its newest type."""
    rows = read(
        "SELECT name, facts, source_name, origin, description FROM _syncd.columns "
        "WHERE source = ? AND scope = ? ORDER BY rowid",
        source,
        scope,
    )
    newest = {row[2]: Column(row[0], Type.parse(row[1]), *row[2:]) for row in rows}
    return sorted(newest.values(), key=lambda column: column.origin != "declared")


def put_aside(home: Path) -> None:
    """Make room for a catalogue made anew; nothing is thrown away."""
    if (home / CATALOGUE).exists():
        (home / CATALOGUE).rename(home / f"{CATALOGUE}.corrupt-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}")


def forget_torn(home: Path) -> None:
    """Remove what a publication that was stopped left behind."""
    for name in (ASIDE, f"{ASIDE}.wal"):
        (home / name).unlink(missing_ok=True)


@contextmanager
def _attached(path: Path, how: str) -> Iterator[Catalogue]:
    try:
        with _engine() as connection:
            connection.execute(f"ATTACH '{_place(path)}' AS warehouse ({how}); USE warehouse")
            yield Catalogue(connection)
            connection.execute("USE memory; DETACH warehouse")
    except duckdb.Error as error:
        # a wrong checksum has no class of its own, and a disk that fails can be told in any class
        if type(error) is duckdb.Error or isinstance(error, DAMAGE) or is_of_the_disk(error):
            raise _told(path, error) from error
        raise


def connect(config: dict[str, Any]) -> duckdb.DuckDBPyConnection:
    """A new DuckDB. TryAgain: no descriptor is free for it, of which it would die, and the process with it."""
    with disk.trouble("starting DuckDB"):
        Path(os.devnull).open("rb").close()
    return duckdb.connect(config=config)


@contextmanager
def _engine() -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB with nothing attached, to be left so: used again unless it met an error, for to start one takes long."""
    try:
        connection = IDLE.get_nowait()
    except Empty:
        connection = connect(CONFIG)
    try:
        yield connection
    except BaseException:
        connection.close()
        raise
    try:
        IDLE.put_nowait(connection)
    except Full:
        connection.close()


def rest() -> None:
    """Close the DuckDBs that are kept: each holds tens of MB. Any thread; one in use is not among them."""
    with suppress(Empty):
        while True:
            IDLE.get_nowait().close()


def is_of_the_disk(error: duckdb.Error) -> bool:
    """Whether DuckDB tells of a disk that refuses."""
    told = str(error)
    return "fsync failed" in told or any(os.strerror(number) in told for number in disk.HINTS)


def _place(path: Path) -> str:
    return str(path).replace("'", "''")


def _told(path: Path, error: duckdb.Error) -> SyncdError:
    said = str(error).splitlines()[0]
    if "Could not set lock" in said:
        return TryAgain(f"{path.name} is open for writing elsewhere", hint="open it read-only: duckdb -readonly")
    if is_of_the_disk(error):
        return TryAgain(f"{path.name}: {said}", hint="free space on the disk that holds data_dir, and see dmesg")
    return ConfigError(f"{path}: {said}", hint=REPAIR)
