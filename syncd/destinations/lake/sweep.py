"""Files that no reader needs any more, and files that nobody ever needed."""

# ruff: noqa: S608 - names are ours or quoted, values are bound
from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from syncd.destinations.lake.catalogue import Catalogue
from syncd.destinations.lake.paths import LAKE
from syncd.destinations.lake.show import show_rejected
from syncd.names import file_name

ORPHAN_AGE = timedelta(hours=1)  # a younger one may have been staged after `keep` was asked for
NAMED = """
SELECT path FROM _syncd.files WHERE source = $1 UNION ALL SELECT rejects FROM _syncd.parts WHERE source = $1
UNION ALL SELECT path FROM _syncd.let_go WHERE source = $1
"""


def forget_files(catalogue: Catalogue, home: Path, which: str, values: list[Any]) -> None:
    """Take let-go files out of the catalogue: orphans from now on. In this order a stop leaves files, never holes."""
    gone = f"(SELECT path FROM _syncd.let_go WHERE {which})"
    catalogue.execute(f"DELETE FROM _syncd.files WHERE path IN {gone}", *values)
    catalogue.execute(f"UPDATE _syncd.parts SET rejects = '' WHERE rejects IN {gone}", *values)
    catalogue.execute(f"DELETE FROM _syncd.let_go WHERE {which}", *values)
    show_rejected(catalogue, home)


def remove_orphans(home: Path, source: str, named: set[str], now: datetime) -> None:
    """Remove the source's files that `named` lacks, but for those that may have been staged just now."""
    for path in (home / LAKE / file_name(source)).rglob("*.parquet"):
        if str(path.relative_to(home)) not in named:
            age = now - datetime.fromtimestamp(path.stat().st_mtime, UTC)
            if age >= ORPHAN_AGE:
                path.unlink(missing_ok=True)
