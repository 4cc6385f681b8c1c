"""The warehouse as a URL: `ATTACH 'https://…/warehouse.duckdb'` reads it from another pod, a laptop or a BI server.

A reader asks for the catalogue once and whole: without its length DuckDB takes no ranges of it, which could be of two
generations. The files that it names are never written again and stay for the grace time, so ranges of those are safe.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import IO

from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response, StreamingResponse

from syncd.assemble import build_lake
from syncd.settings import Settings

BLOCK = 1 << 20
KEPT = 4  # catalogues, each under the name by which somebody reaches us
FOLDER = "abroad"


class Warehouse:
    """Serves one data_dir. Any thread."""

    def __init__(self, settings: Settings) -> None:
        self._lake, self._url = build_lake(settings), settings.http.url
        self._lock = threading.Lock()
        self._written: dict[str, object] = {}  # the generation of each catalogue, by root, oldest first

    def catalogue(self, request: Request) -> Response:
        """The catalogue, its views under the URL by which it was asked for (or `http.url`)."""
        root = (self._url or f"{request.url.scheme}://{request.url.netloc}").rstrip("/")
        if self._lake.stamp() is None:
            return PlainTextResponse("there is no warehouse yet\n", 404)
        file = self._opened(root)
        return StreamingResponse(blocks(file), media_type="application/vnd.duckdb")

    def file(self, request: Request) -> Response:
        """A Parquet file of the lake, or a range of it."""
        lake = self._lake.home / "lake"
        path = Path(os.path.normpath(lake / request.path_params["path"]))
        is_there = os.path.isfile(path)  # noqa: PTH113  # Path raises at a name that is too long
        if not path.is_relative_to(lake) or path.suffix != ".parquet" or not is_there:
            return PlainTextResponse("there is no such file\n", 404)
        return FileResponse(path, media_type="application/vnd.apache.parquet")

    def _opened(self, root: str) -> IO[bytes]:
        """The catalogue for `root`, written anew when another generation was published."""
        path = self._path(root)
        with self._lock:
            stamp = self._lake.stamp()
            if self._written.get(root) != stamp or not path.exists():
                self._lake.write_abroad(root, path)
                self._written.pop(root, None)
                self._written[root] = stamp
                for old in list(self._written)[:-KEPT]:
                    del self._written[old]
                    self._path(old).unlink(missing_ok=True)
            return path.open("rb")

    def _path(self, root: str) -> Path:
        return self._lake.home / FOLDER / f"{sha256(root.encode()).hexdigest()[:16]}.duckdb"


def blocks(file: IO[bytes]) -> Iterator[bytes]:
    """All of the file, which stays the same although another takes its name."""
    with file:
        while block := file.read(BLOCK):
            yield block
