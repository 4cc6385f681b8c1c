"""What a lost catalogue knew of packed files and closed runs: the ledger's segments and the files themselves tell.

A file that was packed twice, or packed and then replayed, is told by the number of its packing and its generation: the
newest of each counts, and what else a packed file holds is dead.
"""

# ruff: noqa: S608 - names are ours, values are bound
from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from syncd.destinations.lake.catalogue import Catalogue
from syncd.destinations.lake.commit import add_new, layout_of
from syncd.destinations.lake.layout import read_columns
from syncd.destinations.lake.pack import FOOTER
from syncd.destinations.lake.paths import PACKED
from syncd.destinations.lake.proof import ROWS, digest_of
from syncd.destinations.lake.segments import (
    COLUMNS,
    Key,
    add_segment,
    close_settled,
    kept_files_sql,
    name_segment,
    next_number,
    segments_of,
    show_ledger,
)
from syncd.destinations.lake.tables import OPEN, PARTS, RUNS, nothing
from syncd.destinations.lake.views import listed_sql
from syncd.model import Column, Scope, Staged

TALLY = ("bytes", "sha256", "lines", "rows", "rejected", "blank", "rejects", "rejects_sha256")
Sums = dict[int, dict[str, int]]  # rows of a run in packed files, by generation and part


@dataclass(frozen=True)
class PackedFile:
    """A packed file of the lake, and what it says of itself."""

    path: str
    rows: int
    bytes: int
    sha256: str
    said: Mapping[str, Any]

    @property
    def key(self) -> tuple[str, str]:
        """Source and scope."""
        return self.said["source"], self.said["scope"]

    @property
    def declared(self) -> Scope:
        """What was declared of the scope when the file was packed."""
        keys = tuple(map(tuple, self.said["merge_keys"]))
        columns = tuple(column for column in self.columns if column.origin == "declared")
        snapshot = self.said.get("snapshot", False)  # until November 2026 none was packed
        return Scope(self.said["scope"], columns, keys, tuple(self.said["event_time"]), snapshot)

    @property
    def columns(self) -> tuple[Column, ...]:
        """Under their names in the views, with all that was known of their types."""
        return read_columns(self.said["columns"])


def is_packed(path: str) -> bool:
    """Whether a file is one that holds many parts, by its name."""
    return Path(path).name.startswith(PACKED)


def packed_file(home: Path, path: str, read: Any) -> PackedFile:
    """What the footer says. ValueError, KeyError: it is none of ours."""
    with pq.ParquetFile(home / path) as file:
        metadata = file.metadata
    said = orjson.loads(metadata.metadata[FOOTER.encode()])
    if said["date"] != Path(path).parent.name.partition("=")[2]:
        raise ValueError(path)
    return PackedFile(path, metadata.num_rows, (home / path).stat().st_size, digest_of(home / path, read), said)


def recover(catalogue: Catalogue, home: Path, packed: Sequence[PackedFile]) -> list[str]:
    """Have temporary tables of all that the segments tell: `members` of the packed files that there are, each row of
    a part but once; closed `runs` and `parts`. What was accepted as lost stays so. The segments that can't be read."""
    torn: list[str] = []
    for kind in ("lost", "rejects"):
        for path in segments_of(home, kind):
            name_segment(catalogue, home, kind, path) if is_readable(home / path) else torn.append(path)
    for kind in ("runs", "parts", "members"):
        columns = COLUMNS[kind] | {"number": "BIGINT"}
        every = segments_of(home, kind)
        paths = [path for path in every if is_readable(home / path)]
        torn += sorted({*every} - {*paths})
        rows = f"SELECT * FROM read_parquet({listed_sql(paths, str(home))})" if paths else nothing(columns)
        catalogue.execute(f"CREATE OR REPLACE TEMP TABLE _syncd_{kind} AS {rows}")
    catalogue.execute("CREATE OR REPLACE TEMP TABLE _syncd_packed (path VARCHAR)")
    catalogue.insert("temp._syncd_packed", [{"path": one.path} for one in packed])
    catalogue.execute(
        "CREATE OR REPLACE TEMP TABLE _syncd_here AS SELECT * FROM temp._syncd_members SEMI JOIN temp._syncd_packed "
        "USING (path) QUALIFY row_number() OVER (PARTITION BY was ORDER BY number DESC) = 1"
    )
    for kind in ("runs", "parts"):
        key = "source, run" if kind == "runs" else "source, run, part"
        catalogue.execute(
            f"CREATE OR REPLACE TEMP TABLE _syncd_closed_{kind} AS SELECT * FROM temp._syncd_{kind} "
            f"QUALIFY row_number() OVER (PARTITION BY {key} ORDER BY number DESC) = 1"
        )
    return torn


def replaced(catalogue: Catalogue) -> set[str]:
    """Files of one part whose rows are in a packed file."""
    return {path for (path,) in catalogue.execute("SELECT was FROM temp._syncd_here")}


def kept_files(catalogue: Catalogue, home: Path) -> set[str]:
    """Files of one part whose rejected lines are in a segment."""
    return {path for (path,) in catalogue.execute(kept_files_sql(catalogue, home))}


def sums_of(catalogue: Catalogue, runs: Iterable[Key]) -> dict[Key, Sums]:
    """What packed files have of these runs."""
    found: dict[Key, Sums] = defaultdict(lambda: defaultdict(dict))
    with catalogue.listed([{"source": "", "run": ""}, *({"source": of, "run": run} for of, run in runs)]) as given:
        rows = catalogue.execute(
            "SELECT source, run, generation, part, sum(rows) FROM temp._syncd_here "
            f"SEMI JOIN {given} USING (source, run) GROUP BY ALL"
        )
    for source, run, generation, part, count in rows:
        found[source, run][generation][part] = int(count)
    return found


def parts_of(catalogue: Catalogue, runs: Iterable[Key]) -> dict[Key, dict[str, Staged]]:
    """What segments say of the parts of these runs."""
    found: dict[Key, dict[str, Staged]] = defaultdict(dict)
    with catalogue.listed([{"source": "", "run": ""}, *({"source": of, "run": run} for of, run in runs)]) as given:
        rows = catalogue.execute(
            f"SELECT source, run, part, {', '.join(TALLY)} FROM temp._syncd_closed_parts "
            f"SEMI JOIN {given} USING (source, run)"
        )
    for source, run, part, *tally in rows:
        found[source, run][part] = Staged(part, **dict(zip(TALLY, tally, strict=True)))
    return found


def show_closed(catalogue: Catalogue, home: Path, packed: Sequence[PackedFile], chosen: Mapping[Key, int]) -> None:
    """Fill the tables with packed files and closed runs. `chosen`: which generation counts, of runs told otherwise."""
    rows = [{"source": source, "run": run, "generation": at} for (source, run), at in chosen.items()]
    catalogue.execute("CREATE OR REPLACE TEMP TABLE _syncd_chosen (source VARCHAR, run VARCHAR, generation BIGINT)")
    catalogue.insert("temp._syncd_chosen", rows)
    catalogue.execute(
        "INSERT INTO temp._syncd_chosen SELECT source, run, max(generation) FROM temp._syncd_here "
        "ANTI JOIN temp._syncd_chosen USING (source, run) GROUP BY ALL"
    )
    catalogue.execute("DELETE FROM temp._syncd_here WHERE (source, run, generation) NOT IN (FROM temp._syncd_chosen)")
    live = {path for (path,) in catalogue.execute("SELECT DISTINCT path FROM temp._syncd_here")}
    catalogue.insert(f"{OPEN}.files", [_file_row(one) for one in packed if one.path in live])
    layouts = {one.said["layout"] for one in packed}
    add_new(
        catalogue, "_syncd.layouts", [{"layout": layout_of(layout), "columns": layout} for layout in sorted(layouts)]
    )
    if live:
        held = f"SELECT DISTINCT * FROM temp._syncd_members SEMI JOIN {OPEN}.files USING (path)"
        add_segment(catalogue, home, "members", next_number(home), held)
    catalogue.execute(
        f"INSERT INTO {OPEN}.dead SELECT DISTINCT path, source, run, false FROM temp._syncd_members "
        f"SEMI JOIN {OPEN}.files USING (path) ANTI JOIN temp._syncd_here USING (path, source, run)"
    )
    catalogue.execute(
        "CREATE OR REPLACE TEMP TABLE _syncd_missing AS SELECT source, run FROM temp._syncd_closed_runs "
        f"ANTI JOIN {OPEN}.runs USING (source, run)"
    )
    for kind, columns in {"runs": RUNS, "parts": PARTS}.items():
        names = ", ".join(f'"{name}"' for name in columns)
        catalogue.execute(
            f"INSERT INTO {OPEN}.{kind} ({names}) SELECT {names} FROM temp._syncd_closed_{kind} "
            "SEMI JOIN temp._syncd_missing USING (source, run)"
        )
    catalogue.execute(
        f"UPDATE {OPEN}.parts SET rejects = '', rejects_sha256 = '' WHERE rejects <> '' "
        f"AND rejects NOT IN (SELECT path FROM {OPEN}.rejects UNION ALL {kept_files_sql(catalogue, home)})"
    )
    catalogue.execute(
        f"INSERT INTO {OPEN}.deliveries SELECT DISTINCT source, scope, job FROM {OPEN}.runs "
        f"ANTI JOIN {OPEN}.deliveries USING (source, scope, job)"
    )


def date_closed(catalogue: Catalogue) -> None:
    """What was closed knows when it was loaded."""
    catalogue.execute(
        f"UPDATE {OPEN}.runs had SET loaded_at = now.loaded_at FROM temp._syncd_closed_runs now "
        "WHERE had.source = now.source AND had.run = now.run "
        "AND (had.source, had.run) IN (SELECT (source, run) FROM temp._syncd_here)"
    )


def close_packed(catalogue: Catalogue, home: Path, now: datetime) -> None:
    """Close the runs of which packed files have rows, shown or not, or segments rejected lines: nothing else will tell
    of them."""
    kept = f"SELECT source, run FROM {OPEN}.parts WHERE rejects IN ({kept_files_sql(catalogue, home)})"
    catalogue.execute(
        f"CREATE OR REPLACE TEMP TABLE _syncd_settled AS SELECT source, run FROM {OPEN}.runs "
        f"SEMI JOIN (SELECT source, run FROM temp._syncd_members UNION ALL {kept}) USING (source, run)"
    )
    if catalogue.execute("SELECT 1 FROM temp._syncd_settled LIMIT 1"):
        close_settled(catalogue, home, now)
        show_ledger(catalogue, home)


def _file_row(one: PackedFile) -> dict[str, Any]:
    said = one.said
    row = {"path": one.path, "rows": one.rows, "bytes": one.bytes, "sha256": one.sha256, "run": "", "part": ""}
    row |= {name: said[name] for name in ("source", "scope", "date", "dated", "loaded_at")}
    return row | {"layout": layout_of(said["layout"]), "chunk": int(said["date"][:4]), "live": True, "packed": True}


def is_readable(path: Path) -> bool:
    """Whether all rows can be read."""
    try:
        with pq.ParquetFile(path) as file:
            return bool(sum(batch.num_rows for batch in file.iter_batches(ROWS)) == file.metadata.num_rows)
    except (pa.ArrowException, OSError):
        return False
