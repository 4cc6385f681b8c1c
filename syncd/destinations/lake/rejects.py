"""Small files with rejected lines become segments, line for line the same, in the folder that they lie in.

The ledger goes on naming the file that a part's lines came in: each line in a segment knows it (`was`). Lines whose
part names another file by now, or none, are dead.
"""

# ruff: noqa: S608 - names are ours, values are bound
from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from syncd.destinations.lake.catalogue import Catalogue
from syncd.destinations.lake.pack import LOOK, sorting
from syncd.destinations.lake.paths import REJECTED
from syncd.destinations.lake.plan import CROWD, QUIET
from syncd.destinations.lake.segments import (
    close_settled,
    let_go_together,
    merge,
    name_segment,
    next_number,
    show_ledger,
    write_segment,
)
from syncd.destinations.lake.show import show_rejected
from syncd.destinations.lake.tables import OPEN
from syncd.destinations.lake.views import REJECTS, listed_sql, quoted
from syncd.errors import TryAgain
from syncd.model import Packed

MANY = 64  # small files that are worth a segment


def due(catalogue: Catalogue, now: datetime) -> list[dict[str, Any]]:
    """Files of a source's runs that are unlikely to change, as many as are worth it: path, source, run. `now` has no
    zone."""
    if catalogue.execute(f"SELECT 1 FROM {OPEN}.rejects HAVING count(*) < {MANY}"):
        return []
    settled = "SELECT source, run FROM _syncd.runs WHERE status = 'loaded' AND loaded_at <= ?"
    rows = catalogue.rows(
        f"SELECT path, source, run FROM {OPEN}.rejects SEMI JOIN ({settled}) USING (source, run) "
        "ANTI JOIN _syncd.let_go USING (path) "
        f"QUALIFY count(*) OVER (PARTITION BY source) >= {MANY} ORDER BY source, path LIMIT {CROWD}",
        now - QUIET,
    )
    return [row for row in rows if row["source"] == rows[0]["source"]]


def write(home: Path, files: Sequence[dict[str, Any]]) -> tuple[str, Packed]:
    """Their lines in a segment, durable, that no catalogue names yet: its path, and what it comes to. TryAgain: they
    are not the same lines."""
    number, listed = next_number(home), listed_sql([file["path"] for file in files], str(home))
    lines = f"read_parquet({listed}, hive_partitioning = false, filename = true)"
    was, names = f"substr(filename, {len(str(home)) + 2})", ", ".join(map(quoted, REJECTS))
    with sorting(home) as connection:
        catalogue = Catalogue(connection)
        told = f"SELECT *, {was} AS was, {number} AS number FROM {lines}"
        path = write_segment(catalogue, home, "rejects", number, told, files[0]["source"])
        sums = f"SELECT count(*), sum(hash({names}, {{}})) FROM {{}}"
        before = catalogue.execute(sums.format(was, lines))
        after = catalogue.execute(sums.format("was", f"read_parquet({listed_sql([path], str(home))})"))
    if before != after:
        raise TryAgain(f"packing {files[0]['path']}: other lines came out than went in", hint=LOOK)
    was_bytes, now_bytes = (
        sum((home / one).stat().st_size for one in those) for those in ([file["path"] for file in files], [path])
    )
    return path, Packed(files[0]["source"], REJECTED, "", len(files), before[0][0], was_bytes, now_bytes)


def show_packed(catalogue: Catalogue, home: Path, files: Sequence[dict[str, Any]], path: str, now: datetime) -> bool:
    """Show the segment in the place of the files, in the open transaction. False: some of them have changed."""
    with catalogue.listed(files) as given:
        same = f"{OPEN}.rejects SEMI JOIN {given} USING (path, source, run) ANTI JOIN _syncd.let_go USING (path)"
        if catalogue.execute(f"SELECT count(*) FROM {same}") != [(len(files),)]:
            return False
        mine = f"SELECT source, run FROM {OPEN}.runs SEMI JOIN {given} USING (source, run)"
        catalogue.execute(f"CREATE OR REPLACE TEMP TABLE _syncd_settled AS {mine}")
    catalogue.forget(f"{OPEN}.rejects", [{"path": file["path"]} for file in files])
    name_segment(catalogue, home, "rejects", path)
    let_go_together(catalogue, home, files, now)
    close_settled(catalogue, home, now)  # with their files goes what else could tell of these runs
    show_ledger(catalogue, home)  # before the lines are merged: what no part names is left behind
    merge(catalogue, home, "rejects", now)
    show_rejected(catalogue, home)
    return True
