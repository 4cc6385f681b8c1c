"""What a go has left of the world: a start finds in two that are alike what it has found in one.

Left out is what a start doesn't go by: the instants of this go, the words of an error, the number of a process.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import duckdb

INSTANT = re.compile(r"\d{4}-?\d\d-?\d\d[T ]\d\d:?\d\d:?\d\d(\.\d+)?(\+00:00|Z)?")
OF_THIS_GO = {"found_at", "ended_at", "swept_at", "asked_at", "look_at", "noted_at"}  # in the state
OF_THIS_GO |= {"loaded_at", "published_at", "seen_at", "let_go_at", "accepted_at"}  # in the catalogue
OF_THIS_GO |= {"digest"}  # of a view's SQL, in which such instants stand
WORDS = {"error", "hint"}
OF_A_PROCESS = {"syncd.lock", "state.sqlite-shm"}


def engine() -> duckdb.DuckDBPyConnection:
    """A DuckDB with one thread, that keeps nothing of the files it has read."""
    return duckdb.connect(config={"threads": 1, "enable_external_file_cache": False})


@dataclass
class Reader:
    """Reads one catalogue after another with one DuckDB: to start one takes longer than to read a small one."""

    _engine: duckdb.DuckDBPyConnection = field(default_factory=engine)

    @contextmanager
    def reading(self, path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
        """The catalogue as it is now; nothing of it is kept."""
        try:
            self._engine.execute(f"ATTACH '{path}' AS warehouse (READ_ONLY); USE warehouse")
            yield self._engine
            self._engine.execute("USE memory; DETACH warehouse")
        except BaseException:
            self._engine.close()
            self._engine = engine()
            raise


def world(root: Path, reader: Reader) -> str:
    """A digest of what a start finds there."""
    told = hashlib.sha256()
    for path in sorted(root.rglob("*")):
        told.update(INSTANT.sub("", f"\n{path.relative_to(root)} ").encode())
        told.update(contents(path, reader))
    return told.hexdigest()


def contents(path: Path, reader: Reader) -> bytes:
    """What a file or folder holds."""
    if path.is_dir():
        return b"folder"
    try:
        if path.name == "warehouse.duckdb":
            return repr(list(catalogue(path, reader))).encode()
        if path.name == "state.sqlite":
            return repr(list(state(path))).encode()
    except (duckdb.Error, sqlite3.Error):
        pass  # damaged: its bytes tell
    if path.name == "state.sqlite-wal":
        return str(path.stat().st_size).encode()  # what is in it is read with the state
    return b"" if path.name in OF_A_PROCESS else path.read_bytes()


def catalogue(path: Path, reader: Reader) -> Iterator[object]:
    """Each row of each table, and what the views are."""
    with reader.reading(path) as warehouse:
        listed = "SELECT schema_name, table_name FROM duckdb_tables() WHERE database_name = 'warehouse' ORDER BY ALL"
        for schema, table in warehouse.execute(listed).fetchall():
            answer = warehouse.execute(f'SELECT * FROM warehouse."{schema}"."{table}"')
            names = [name for name, *_ in answer.description or ()]
            yield schema, table, [told(names, row) for row in answer.fetchall()]
        views = (
            "SELECT schema_name, view_name, sql FROM duckdb_views() WHERE database_name = 'warehouse' AND NOT internal"
        )
        yield INSTANT.sub("", repr(warehouse.execute(f"{views} ORDER BY ALL").fetchall()))


def state(path: Path) -> Iterator[object]:
    """Each row of each table, as the next who opens it finds them."""
    with tempfile.TemporaryDirectory(dir=path.parent.parent) as folder, ExitStack() as closing:
        for file in path.parent.glob(f"{path.name}*"):
            if not file.name.endswith("-shm"):
                shutil.copy(file, folder)
        connection = sqlite3.connect(Path(folder) / path.name)
        closing.callback(connection.close)
        for table, made in connection.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall():
            yield table, made
            if made and made.startswith("CREATE TABLE"):
                answer = connection.execute(f'SELECT * FROM "{table}" ORDER BY rowid')
                names = [name for name, *_ in answer.description]
                yield [told(names, row) for row in answer.fetchall()]


def told(names: list[str], row: tuple[object, ...]) -> list[object]:
    """A row, but for what is of this go alone."""
    return [
        bool(value) if name in OF_THIS_GO or name in WORDS else value for name, value in zip(names, row, strict=True)
    ]
