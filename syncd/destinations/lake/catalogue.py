"""The published `warehouse.duckdb`: how it is read, and how the next one takes its place.

The published file is never open for writing, and never open between two calls: DuckDB keeps what it has read of a file
for as long as anybody in the process has it open by that path.
"""

# ruff: noqa: S608 - names are ours or quoted, values are bound
from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from syncd.destinations.lake import disk
from syncd.destinations.lake.paths import ASIDE, CATALOGUE
from syncd.destinations.lake.views import HIDDEN, rejected_sql
from syncd.errors import ConfigError, SyncdError, TryAgain
from syncd.model import Column
from syncd.types import Type

ONE_AT_A_TIME = threading.RLock()  # of publications in this process; the daemon's lock on data_dir keeps out others
STORAGE = "STORAGE_VERSION 'v1.0.0'"  # what any DuckDB from 1.0 on can open
REPAIR = "syncd verify --repair makes it again, from the lake and the landed bytes"
DAMAGE: tuple[type[duckdb.Error], ...] = (duckdb.IOException, duckdb.CatalogException, duckdb.SerializationException)
DAMAGE += (duckdb.InternalException, duckdb.InvalidInputException)  # a Parquet file that a view lists is none any more

TABLES = f"""
CREATE SCHEMA _syncd;
CREATE SCHEMA {HIDDEN};
CREATE TABLE _syncd.runs (
    source VARCHAR, run VARCHAR, job VARCHAR, scope VARCHAR, format VARCHAR, period_start TIMESTAMP,
    period_end TIMESTAMP, completed_at TIMESTAMP, loaded_at TIMESTAMP, parts BIGINT, "rows" BIGINT, rejected BIGINT,
    bytes BIGINT, status VARCHAR);
CREATE TABLE _syncd.jobs (
    source VARCHAR, job VARCHAR, name VARCHAR, scope VARCHAR, format VARCHAR, frequency VARCHAR, filters VARCHAR,
    fields VARCHAR, state VARCHAR, seen_at TIMESTAMP);
CREATE TABLE _syncd.published (generation BIGINT, published_at TIMESTAMP, root VARCHAR);
CREATE TABLE _syncd.parts (
    source VARCHAR, run VARCHAR, part VARCHAR, bytes BIGINT, sha256 VARCHAR, lines BIGINT, "rows" BIGINT,
    rejected BIGINT, blank BIGINT, rejects VARCHAR, rejects_sha256 VARCHAR);
CREATE TABLE _syncd.files (
    path VARCHAR, source VARCHAR, scope VARCHAR, run VARCHAR, part VARCHAR, date DATE, "rows" BIGINT, bytes BIGINT,
    layout VARCHAR, dated BOOLEAN, chunk BIGINT, sha256 VARCHAR);
CREATE TABLE _syncd.layouts (layout VARCHAR, columns VARCHAR);
CREATE TABLE _syncd.columns (
    source VARCHAR, scope VARCHAR, name VARCHAR, source_name VARCHAR, type VARCHAR, origin VARCHAR, first_run VARCHAR,
    description VARCHAR, facts VARCHAR);
CREATE TABLE _syncd.scopes (
    source VARCHAR, scope VARCHAR, "view" VARCHAR, merge_keys VARCHAR, event_time VARCHAR, snapshot BOOLEAN);
CREATE TABLE _syncd.views (source VARCHAR, scope VARCHAR, "schema" VARCHAR, "view" VARCHAR, digest VARCHAR);
CREATE TABLE _syncd.let_go (path VARCHAR, source VARCHAR, run VARCHAR, let_go_at TIMESTAMP, keep BOOLEAN);
CREATE VIEW _syncd.rejected AS {rejected_sql([], "")};
"""


class Catalogue:
    """An open catalogue: SQL, and rows in and out as Arrow tables (a statement for each row is slow)."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection

    def execute(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        return self._connection.execute(sql, list(values)).fetchall()

    def insert(self, table: str, rows: Sequence[dict[str, Any]]) -> None:
        """Add rows to a `_syncd` table. Values are matched by name."""
        if rows:
            names = ", ".join(f'"{name}"' for name in rows[0])
            with self.listed(rows) as given:
                self._connection.execute(f"INSERT INTO _syncd.{table} ({names}) SELECT {names} FROM {given}")

    def forget(self, table: str, rows: Sequence[dict[str, Any]]) -> None:
        """Remove the rows of a `_syncd` table that have these values."""
        if rows:
            same = " AND ".join(f'had."{name}" = gone."{name}"' for name in rows[0])
            with self.listed(rows) as given:
                self._connection.execute(f"DELETE FROM _syncd.{table} had USING {given} gone WHERE {same}")

    @contextmanager
    def listed(self, rows: Sequence[dict[str, Any]]) -> Iterator[str]:
        """The rows under a name that SQL can read: far faster than one statement for each."""
        name = "_syncd_given"
        self._connection.register(name, pa.Table.from_pylist(list(rows)))
        try:
            yield f"temp.{name}"
        finally:
            self._connection.unregister(name)


@contextmanager
def reading(home: Path) -> Iterator[Catalogue]:
    """The published catalogue as it is now."""
    with _attached(home / CATALOGUE, "READ_ONLY") as catalogue:
        yield catalogue


@contextmanager
def publication(home: Path) -> Iterator[Catalogue]:
    """A copy of the catalogue to change; on a clean exit it takes the place of the published one, durably."""
    with ONE_AT_A_TIME, disk.trouble("publishing the catalogue"):
        aside, published = home / ASIDE, home / CATALOGUE
        forget_torn(home)  # above all the journal of an older copy: DuckDB would apply it to this one
        try:
            if published.exists():
                shutil.copyfile(published, aside)
            with _attached(aside, STORAGE) as catalogue:
                if not published.exists():
                    catalogue.execute(TABLES)
                catalogue.execute("BEGIN")
                yield catalogue
                catalogue.execute("COMMIT")
                catalogue.execute("CHECKPOINT warehouse")
            disk.sync(aside)
            aside.replace(published)
            disk.sync(home)
        finally:
            forget_torn(home)


def utc(instant: datetime) -> datetime:
    """As the warehouse has it: UTC without a zone."""
    return instant.astimezone(UTC).replace(tzinfo=None)


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
    place = str(path).replace("'", "''")
    try:
        with duckdb.connect(config={"temp_directory": ""}) as connection:
            connection.execute(f"ATTACH '{place}' AS warehouse ({how}); USE warehouse")
            yield Catalogue(connection)
    except duckdb.Error as error:
        # a wrong checksum has no class of its own, and a disk that fails can be told in any class
        if type(error) is duckdb.Error or isinstance(error, DAMAGE) or _is_of_the_disk(error):
            raise _told(path, error) from error
        raise


def _is_of_the_disk(error: duckdb.Error) -> bool:
    return any(os.strerror(number) in str(error) for number in disk.HINTS)


def _told(path: Path, error: duckdb.Error) -> SyncdError:
    said = str(error).splitlines()[0]
    if "Could not set lock" in said:
        return TryAgain(f"{path.name} is open for writing elsewhere", hint="open it read-only: duckdb -readonly")
    if _is_of_the_disk(error):
        return TryAgain(f"{path.name}: {said}", hint="free space on the disk that holds data_dir, and see dmesg")
    return ConfigError(f"{path}: {said}", hint=REPAIR)
