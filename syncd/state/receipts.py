"""What a vendor was asked to make, a small file each under `asked/`. Each is durable before the vendor is asked.

The state may be lost, and a vendor that can't tell what it was asked for must not be asked again.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from syncd.disk import sync, trouble
from syncd.names import file_name

Row = Mapping[str, Any]


class Receipts:
    """The folder. One writer at a time for a request."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def keep(self, row: Row) -> None:
        """Write down a request, in the place of what was noted of it before."""
        folder = self._root / file_name(row["source"])
        with trouble(f"noting {row['source']}/{row['run']}"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            torn = folder / f"{file_name(row['run'])}.torn"
            with os.fdopen(os.open(torn, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "wb") as file:
                file.write(orjson.dumps(row))
                file.flush()
                os.fsync(file.fileno())
            torn.replace(torn.with_suffix(".json"))
            for above in (folder, self._root, self._root.parent):
                sync(above)

    def drop(self, source: str, run: str) -> None:
        """Forget a request."""
        with trouble(f"noting {source}/{run}"):
            (self._root / file_name(source) / f"{file_name(run)}.json").unlink(missing_ok=True)

    def rows(self, source: str) -> Iterator[dict[str, Any]]:
        """What is noted of each request of a source."""
        with trouble(f"reading {self._root}"):
            for path in sorted((self._root / file_name(source)).glob("*.json")):
                yield orjson.loads(path.read_bytes())
