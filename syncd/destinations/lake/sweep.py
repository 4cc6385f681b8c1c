"""Files that no reader needs any more, and files that nobody ever needed."""

# ruff: noqa: S608 - names are ours or quoted, values are bound
from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from syncd.destinations.lake.catalogue import Catalogue
from syncd.destinations.lake.paths import GONE, LAKE, LEDGER, segment_path
from syncd.destinations.lake.segments import kept_files_sql
from syncd.destinations.lake.show import show_rejected
from syncd.destinations.lake.tables import OPEN
from syncd.destinations.lake.views import listed_sql
from syncd.names import file_name

ORPHAN_AGE = timedelta(hours=1)  # a younger one may have been staged after `keep` was asked for
NAMED = f"""
SELECT path FROM {OPEN}.files WHERE source = $1 UNION ALL SELECT path FROM {OPEN}.rejects WHERE source = $1
UNION ALL SELECT path FROM _syncd.let_go WHERE source = $1
UNION ALL SELECT path FROM {OPEN}.segments
"""


def named(catalogue: Catalogue, home: Path, source: str) -> set[str]:
    """Every file of a source that is shown, or that a reader may still hold."""
    paths = {path for (path,) in catalogue.execute(NAMED, source)}
    return paths | {path for path, of in gone_files(catalogue, home) if of == source}


def gone_files(catalogue: Catalogue, home: Path) -> list[tuple[str, str]]:
    """Files that were let go together, and may still be held: path and source. The catalogue names but their lists."""
    of = (LEDGER, segment_path(GONE, 0).removesuffix("0.parquet"))
    rows = catalogue.execute("SELECT path FROM _syncd.let_go WHERE source = ? AND starts_with(path, ?)", *of)
    if not rows:
        return []
    listed = listed_sql([path for (path,) in rows], str(home))
    return [(path, source) for path, source in catalogue.execute(f"SELECT path, source FROM read_parquet({listed})")]


def forget_files(catalogue: Catalogue, home: Path, which: str, values: list[Any]) -> None:
    """Take let-go files out of the catalogue: orphans from now on. In this order a stop leaves files, never holes."""
    gone = f"(SELECT path FROM _syncd.let_go WHERE {which})"
    for table in ("files", "rejects", "dead"):
        catalogue.execute(f"DELETE FROM {OPEN}.{table} WHERE path IN {gone}", *values)
    forgotten = f"SELECT path FROM {gone} EXCEPT {kept_files_sql(catalogue, home)}"
    catalogue.execute(f"UPDATE {OPEN}.parts SET rejects = '' WHERE rejects IN ({forgotten})", *values)
    catalogue.execute(f"DELETE FROM _syncd.let_go WHERE {which}", *values)
    show_rejected(catalogue, home)


def remove_orphans(home: Path, source: str, named: set[str], now: datetime) -> None:
    """Remove the source's files that `named` lacks, but for those that may have been staged just now."""
    for folder, _, names in os.walk(home / LAKE / file_name(source)):  # Path.walk takes five times as long
        inside = folder[len(str(home)) + 1 :]
        for name in names:
            if name.endswith(".parquet") and f"{inside}/{name}" not in named:
                path = Path(folder, name)
                age = now - datetime.fromtimestamp(path.stat().st_mtime, UTC)
                if age >= ORPHAN_AGE:
                    path.unlink(missing_ok=True)
