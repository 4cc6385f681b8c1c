"""The file under the state: opened, proved sound, brought into today's shape."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import DatabaseError

from syncd.errors import TryAgain

DISK = {
    *(sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM),
    sqlite3.SQLITE_NOMEM,
}
LOCKED = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
WAIT_S = 10.0  # for a lock: our own threads hold one for milliseconds


class Unusable(Exception):
    """This file is no state of ours, or a damaged one."""


@contextmanager
def usable(path: Path) -> Iterator[None]:
    """Unusable, or TryAgain where it is the disk or its rights and the file may be well."""
    try:
        yield
    except DatabaseError as error:
        if kind_of(error) in LOCKED:
            raise locked() from error
        if kind_of(error) in DISK:
            raise TryAgain(f"{path}: {error.orig}", hint="check the disk and the rights of data_dir") from error
        raise Unusable(str(error.orig)) from error


def kind_of(error: DatabaseError) -> int:
    """SQLite's kind of error: the low byte of its code."""
    return getattr(error.orig, "sqlite_errorcode", 0) & 0xFF


def locked() -> TryAgain:
    """Somebody else holds a lock on the file."""
    hint = "see who has it open (fuser), a backup or a SQLite browser perhaps; it goes on when that lets go"
    return TryAgain("state.sqlite is locked by another program", hint=hint)


def prove(connection: sa.Connection) -> None:
    """Unusable when SQLite finds damage."""
    found = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar()
    if found != "ok":
        raise Unusable(str(found))


def engine_of(path: Path) -> sa.Engine:
    """The file at `path`, for writing; nothing is opened yet."""
    engine = sa.create_engine(sa.URL.create("sqlite", database=str(path)), connect_args={"timeout": WAIT_S})

    @sa.event.listens_for(engine, "connect")
    def _prepare(connection: sqlite3.Connection, _record: object) -> None:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")  # a power cut may cost a checkpoint, never the file

    return engine


def migrate(engine: sa.Engine) -> None:
    """Bring the file into today's shape. Unusable: a later syncd has shaped it."""
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    here = Path(__file__).parent.parent  # in a wheel the migrations are inside the package, in a checkout beside it
    folder = here / "migrations"
    config.set_main_option(
        "script_location", str(folder if folder.is_dir() else here.parent / "migrations").replace("%", "%%")
    )
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except CommandError as error:
            raise Unusable(f"a later syncd has shaped it: {error}") from error
