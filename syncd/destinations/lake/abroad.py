"""The catalogue for readers elsewhere: the same tables, whose views look for the lake under another root.

DuckDB looks at the files that a view lists when the view is made, and from here they can't be seen under their other
name. So a file system of ours answers to that name while the copy is made, with the files that are here.
"""

# ruff: noqa: S608 - names are ours
from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote

import duckdb
from fsspec import AbstractFileSystem

from syncd.destinations.lake import disk
from syncd.destinations.lake.catalogue import CONFIG, STORAGE, Catalogue, connect, copy
from syncd.destinations.lake.paths import CATALOGUE
from syncd.destinations.lake.segments import show_ledger
from syncd.destinations.lake.show import show_all
from syncd.destinations.lake.tables import OPEN
from syncd.destinations.lake.views import text


def write_abroad(home: Path, root: str, to: Path) -> list[str]:
    """Write the catalogue of `home` to `to`, whole or not at all, for readers who see `home` as `root`.

    The answer: the files that it names, from `home`.

    `root`: a URL, or a path as others see it (as `file://`, which DuckDB reads from 1.2 on).
    """
    root = root.rstrip("/") if "://" in root else f"file://{root.rstrip('/')}"
    protocol = root.partition("://")[0]
    aside = to.with_name(f"{to.name}.aside")
    with disk.trouble(f"writing the catalogue for {root}"):
        disk.make_folder(to.parent)
        for torn in (aside, Path(f"{aside}.wal")):
            torn.unlink(missing_ok=True)
        copy(home / CATALOGUE, aside)
        with connect(CONFIG) as connection:
            connection.register_filesystem(Elsewhere(protocol, f"{root}/", home))
            connection.execute(f"ATTACH {text(str(aside))} AS warehouse ({STORAGE}); USE warehouse")
            named = _move(connection, root)
            connection.execute("CHECKPOINT warehouse")
        disk.sync(aside)
        aside.replace(to)
        disk.sync(to.parent)
    return named


def _move(connection: duckdb.DuckDBPyConnection, root: str) -> list[str]:
    """Have every view that lists files list them under `root`; the files, from `home`."""
    catalogue = Catalogue(connection)
    catalogue.execute("BEGIN")
    show_ledger(catalogue, root)
    show_all(catalogue, root)
    catalogue.execute("UPDATE _syncd.published SET root = ?", root)
    catalogue.execute("COMMIT")
    tables = (f"{OPEN}.files WHERE live", f"{OPEN}.rejects", f"{OPEN}.segments")
    return [path for table in tables for (path,) in catalogue.execute(f"SELECT path FROM {table} ORDER BY path")]


class Elsewhere(AbstractFileSystem):  # type: ignore[misc]  # fsspec has no types
    """What DuckDB sees under another root: the files under ours."""

    cachable = False

    def __init__(self, protocol: str, root: str, home: Path) -> None:
        super().__init__()
        self.protocol = protocol
        self._root, self._home = root, home

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return path

    def _here(self, path: str) -> Path:
        own = path.removeprefix(self._root)
        return self._home / (unquote(own) if self.protocol in ("http", "https") else own)

    def glob(self, path: str, **_: Any) -> list[str]:
        return [path]

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        return {"name": path, "type": "file", "size": self._here(path).stat().st_size}

    def modified(self, path: str) -> datetime:
        return datetime.fromtimestamp(self._here(path).stat().st_mtime, UTC)

    def _open(self, path: str, mode: str = "rb", **_: Any) -> IO[bytes]:
        return self._here(path).open("rb")
