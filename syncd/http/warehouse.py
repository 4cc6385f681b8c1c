"""The warehouse as a URL: `ATTACH 'https://…/warehouse.duckdb'` reads it from another pod, a laptop or a BI server.

A reader asks for the catalogue whole: without its length DuckDB takes no ranges of it, which could be of two
generations. It asks twice, and DuckDB 2.0 takes the header from the first answer and the blocks from the second: both
are the same. The files that a catalogue names are never written again and stay for the grace time, so ranges of those
are safe.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Iterator
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import IO

from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response, StreamingResponse

from syncd.assemble import build_lake
from syncd.settings import Settings

BLOCK = 1 << 20
KEPT = 8  # catalogues, each for a name by which somebody reaches us and of a generation
FOLDER = "abroad"
AGAIN_S = 60.0  # between two requests of one ATTACH


class Warehouse:
    """Serves one data_dir. Any thread."""

    def __init__(self, settings: Settings) -> None:
        self._lake, self._url = build_lake(settings), settings.http.url
        self._lock, self._numbers = threading.Lock(), count(1)
        self._written: list[tuple[str, object, Path]] = []  # root, generation and file of each catalogue, oldest first
        self._begun: dict[tuple[str, str], tuple[Path, float]] = {}  # root and reader: what was given once, and when
        shutil.rmtree(self._lake.home / FOLDER, ignore_errors=True)  # an earlier process'

    def catalogue(self, request: Request) -> Response:
        """The catalogue, its views under the URL by which it was asked for (or `http.url`)."""
        root = (self._url or f"{request.url.scheme}://{request.url.netloc}").rstrip("/")
        if self._lake.stamp() is None:
            return PlainTextResponse("there is no warehouse yet\n", 404)
        content = blocks(self._opened(root, reader(request))) if request.method == "GET" else iter(())
        return StreamingResponse(content, media_type="application/vnd.duckdb")

    def file(self, request: Request) -> Response:
        """A Parquet file of the lake, or a range of it."""
        lake = self._lake.home / "lake"
        path = Path(os.path.normpath(lake / request.path_params["path"]))
        is_there = os.path.isfile(path)  # noqa: PTH113  # Path raises at a name that is too long
        if not path.is_relative_to(lake) or path.suffix != ".parquet" or not is_there:
            return PlainTextResponse("there is no such file\n", 404)
        return FileResponse(path, media_type="application/vnd.apache.parquet")

    def _opened(self, root: str, reader: str) -> IO[bytes]:
        """The newest catalogue for `root`; to a reader who asks for the second time, what it was given at the first."""
        with self._lock:
            now = time.monotonic()
            self._begun = {who: given for who, given in self._begun.items() if now - given[1] < AGAIN_S}
            path, _ = self._begun.pop((root, reader), (None, now))
            if path is None or not path.exists():
                path = self._newest(root)
                if reader:
                    self._begun[root, reader] = path, now
            return path.open("rb")

    def _newest(self, root: str) -> Path:
        """Written when another generation was published."""
        stamp = self._lake.stamp()
        for written in self._written:
            if written[:2] == (root, stamp) and written[2].exists():
                return written[2]
        name = f"{sha256(root.encode()).hexdigest()[:16]}-{next(self._numbers)}.duckdb"
        path = self._lake.home / FOLDER / name
        self._lake.write_abroad(root, path)
        self._written.append((root, stamp, path))
        while len(self._written) > KEPT:
            self._written.pop(0)[2].unlink(missing_ok=True)
        return path


def reader(request: Request) -> str:
    """Whose request it is; none where it isn't DuckDB's, which alone asks twice."""
    agent = request.headers.get("user-agent", "")
    return f"{request.client.host} {agent}" if request.client and "duckdb" in agent.lower() else ""


def blocks(file: IO[bytes]) -> Iterator[bytes]:
    """All of the file, which stays the same although another takes its name."""
    with file:
        while block := file.read(BLOCK):
            yield block
