"""The catalogue for readers elsewhere: the same tables, whose views look for the lake under another root.

DuckDB looks at the files that a view lists when the view is made, and from here they can't be seen under their other
name. So a file system of ours answers to that name while the copy is made, with the files that are here.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote, unquote

import duckdb
from fsspec import AbstractFileSystem

from syncd.destinations.lake import disk
from syncd.destinations.lake.catalogue import STORAGE
from syncd.destinations.lake.paths import CATALOGUE, LAKE
from syncd.destinations.lake.views import text, unglobbed


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
        shutil.copyfile(home / CATALOGUE, aside)
        with duckdb.connect(config={"temp_directory": ""}) as connection:
            connection.register_filesystem(Elsewhere(protocol, f"{root}/", home))
            connection.execute(f"ATTACH {text(str(aside))} AS warehouse ({STORAGE}); USE warehouse")
            named = _move(connection, home, root, encoded if protocol in ("http", "https") else str)
            connection.execute("CHECKPOINT warehouse")
        disk.sync(aside)
        aside.replace(to)
        disk.sync(to.parent)
    return named


def encoded(path: str) -> str:
    """A path as a URL has it; what makes a partition stays readable."""
    return quote(path, safe="/=~")


def _move(connection: duckdb.DuckDBPyConnection, home: Path, root: str, spelled: Callable[[str], str]) -> list[str]:
    """Have every view that lists files list them under `root`; the files, from `home`."""
    here = re.escape(text(f"{unglobbed(str(home))}/{LAKE}/")[1:-1])
    listed = re.compile(f"'{here}([^']*)'")
    files: dict[str, None] = {}
    views = "SELECT sql FROM duckdb_views() WHERE database_name = 'warehouse' AND NOT internal"
    connection.execute("BEGIN")
    for (sql,) in connection.execute(views).fetchall():
        files |= dict.fromkeys(f"{LAKE}/{path}" for path in listed.findall(sql))
        moved, found = listed.subn(lambda path: text(f"{root}/{LAKE}/{spelled(path[1])}"), sql)
        if found:
            connection.execute(f"CREATE OR REPLACE{moved.removeprefix('CREATE')}")
    connection.execute("UPDATE _syncd.published SET root = ?", [root])
    connection.execute("COMMIT")
    return list(files)


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
