"""Rows that are closed lie in immutable Parquet, the ledger's under `lake/_ledger/`, rejected lines where those of one
part do: the catalogue doesn't grow with history.

`_syncd.runs`, `_syncd.parts` and `_syncd.files` are views: open rows, then those of the segments. A closed run that
must change is recalled: its rows are open again, and a note voids those in the segment. Segments of a size are merged.
"""

# ruff: noqa: S608 - names are ours, values are bound
from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from math import log
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from syncd.destinations.lake import disk
from syncd.destinations.lake.catalogue import Catalogue, utc
from syncd.destinations.lake.paths import GONE, LAKE, LEDGER, PACKED, REJECTED, owner, segment_path, temporary
from syncd.destinations.lake.proof import digest_of
from syncd.destinations.lake.tables import FILES, LOST, MEMBERS, OPEN, PARTS, RUNS, nothing
from syncd.destinations.lake.views import REJECTS, listed_sql, text

CLOSE_AT = 1000  # settled runs that are worth a segment
SETTLED_AFTER = timedelta(hours=1)  # a younger run is superseded or replayed more often than an old one
SETTLED = (
    f"SELECT source, run FROM {OPEN}.runs WHERE loaded_at <= ? AND "
    "(status = 'loaded' OR (source, run) NOT IN (SELECT (source, run) FROM _syncd.let_go WHERE NOT keep))"
)
ALIKE = 8  # segments of about a size before they are merged; also how many times larger the next size is
COLUMNS = {"runs": RUNS, "parts": PARTS, "members": MEMBERS, GONE: dict.fromkeys(("path", "source"), "VARCHAR")}
COLUMNS |= {"lost": LOST, "rejects": {**REJECTS, "was": "VARCHAR"}}
ORDER = {"runs": "source, period_start, run", "parts": "source, run, part", "lost": "source, run, part", GONE: "path"}
ORDER |= {"members": "source, scope, date, path, run, part", "rejects": "source, scope, run, part, row"}
Key = tuple[str, str]  # source and run


def show_ledger(catalogue: Catalogue, root: Path | str) -> None:
    """Have the contract's views of runs, parts and files over the open rows and the segments that there are.

    `root`: where readers find the lake: data_dir, another mount of it, or a URL.
    """
    for kind in ("runs", "parts"):
        columns = _listed(COLUMNS[kind])
        closed = _closed_sql(kind, _paths(catalogue, kind), root)
        catalogue.execute(f"CREATE OR REPLACE VIEW {OPEN}.closed_{kind} AS {closed}")
        catalogue.execute(
            f"CREATE OR REPLACE VIEW _syncd.{kind} AS "
            f"SELECT {columns} FROM {OPEN}.{kind} UNION ALL SELECT {columns} FROM {OPEN}.closed_{kind}"
        )
    members = _closed_sql("members", _paths(catalogue, "members"), root)
    catalogue.execute(f"CREATE OR REPLACE VIEW {OPEN}.members AS {members}")
    columns = _listed(FILES)
    catalogue.execute(
        f"CREATE OR REPLACE VIEW _syncd.files AS SELECT {columns} FROM {OPEN}.files WHERE NOT packed "
        f"UNION ALL SELECT {columns} FROM {OPEN}.members"
    )
    catalogue.execute(f"CREATE OR REPLACE VIEW _syncd.lost AS {_lost_sql(_paths(catalogue, 'lost'), root)}")


def kept_sql(catalogue: Catalogue, root: Path | str) -> str:
    """The rejected lines that are in segments, and that a part still names; "" where there are no such segments."""
    paths = _paths(catalogue, "rejects")
    return _merged_sql("rejects", paths, root) if paths else ""


def kept_files_sql(catalogue: Catalogue, home: Path) -> str:
    """The files of whose lines segments have a copy, as `path`."""
    return f"SELECT DISTINCT was AS path FROM ({_rows_sql('rejects', _paths(catalogue, 'rejects'), home)})"


def close(catalogue: Catalogue, home: Path, now: datetime) -> None:
    """Move the runs that are settled, and their parts, into a segment."""
    catalogue.execute(f"CREATE OR REPLACE TEMP TABLE _syncd_settled AS {SETTLED}", utc(now - SETTLED_AFTER))
    close_settled(catalogue, home, now)
    show_ledger(catalogue, home)


def close_settled(catalogue: Catalogue, home: Path, now: datetime) -> None:
    """Move those that the table `_syncd_settled` names; the views are left to the caller."""
    number = next_number(home)
    for kind in ("runs", "parts"):
        mine = f"SELECT *, {number} AS number FROM {OPEN}.{kind} SEMI JOIN temp._syncd_settled USING (source, run)"
        add_segment(catalogue, home, kind, number, mine)
        catalogue.execute(
            f"DELETE FROM {OPEN}.{kind} had USING temp._syncd_settled gone "
            "WHERE had.source = gone.source AND had.run = gone.run"
        )
        merge(catalogue, home, kind, now)


def accept(catalogue: Catalogue, home: Path, lost: Sequence[dict[str, Any]], now: datetime) -> None:
    """Write down that these rows of parts are lost for good: durable beside the lake, like what is closed.

    Their runs are closed as well: a lost catalogue would know nothing of one that has no file any more.
    """
    with catalogue.listed(lost) as given:
        catalogue.execute(
            "CREATE OR REPLACE TEMP TABLE _syncd_settled AS "
            f"SELECT source, run FROM {OPEN}.runs SEMI JOIN {given} USING (source, run)"
        )
        number = next_number(home)
        told = f"SELECT *, CAST(? AS TIMESTAMP) AS accepted_at, {number} AS number FROM {given}"
        catalogue.execute(f"CREATE OR REPLACE TEMP TABLE _syncd_lost AS {told}", utc(now))
    add_segment(catalogue, home, "lost", number, "FROM temp._syncd_lost")
    if catalogue.execute("SELECT 1 FROM temp._syncd_settled LIMIT 1"):
        close_settled(catalogue, home, now)
    show_ledger(catalogue, home)


def recall(catalogue: Catalogue, runs: Iterable[Key]) -> None:
    """Have the ledger's rows of these runs where they can be changed."""
    wanted = [{"source": source, "run": run} for source, run in dict.fromkeys(runs)]
    if not wanted or not _paths(catalogue, "runs"):
        return
    for kind in ("runs", "parts"):
        with catalogue.listed(wanted) as given:
            catalogue.execute(
                "CREATE OR REPLACE TEMP TABLE _syncd_recalled AS "
                f"SELECT * FROM {OPEN}.closed_{kind} SEMI JOIN {given} USING (source, run)"
            )
        columns = _listed(COLUMNS[kind])
        catalogue.execute(f"INSERT INTO {OPEN}.{kind} ({columns}) SELECT {columns} FROM temp._syncd_recalled")
        voided = f"SELECT DISTINCT '{kind}', number, source, run FROM temp._syncd_recalled"
        catalogue.execute(f"INSERT INTO {OPEN}.recalled {voided}")


def merge(catalogue: Catalogue, home: Path, kind: str, now: datetime) -> None:
    """Make one segment of those that are of a size, when they are many; what nobody needs stays behind.

    Of a run that was closed again only the newest rows go on, voided or not: a lost catalogue is made of them.
    """
    sizes: dict[tuple[str, int], list[str]] = {}
    for path, rows in catalogue.execute(
        f'SELECT path, "rows" FROM {OPEN}.segments WHERE kind = ? ORDER BY number', kind
    ):
        sizes.setdefault((owner(path), int(log(max(rows, 1), ALIKE))), []).append(path)
    for (of, _), paths in sizes.items():
        if len(paths) >= ALIKE:
            number, merged = next_number(home), _merged_sql(kind, paths, home)
            if kind == "rejects":
                merged = f"SELECT * REPLACE ({number} AS number) FROM ({merged})"
            add_segment(catalogue, home, kind, number, merged, of)
            catalogue.forget(f"{OPEN}.segments", [{"path": path} for path in paths])
            let_go(catalogue, paths, now)
            if kind in ("runs", "parts"):
                every, kept = _rows_sql(kind, paths, home), _merged_sql(kind, paths, home)
                key = "number, source, run"
                catalogue.execute(
                    f"DELETE FROM {OPEN}.recalled WHERE kind = '{kind}' AND ({key}) IN "
                    f"(SELECT ({key}) FROM (SELECT {key} FROM ({every}) EXCEPT SELECT {key} FROM ({kept})))"
                )


def add_segment(catalogue: Catalogue, home: Path, kind: str, number: int, select: str, of: str = LEDGER) -> None:
    """Close these rows: they are durable before the catalogue that names them."""
    name_segment(catalogue, home, kind, write_segment(catalogue, home, kind, number, select, of))


def name_segment(catalogue: Catalogue, home: Path, kind: str, path: str) -> None:
    """Have the catalogue name a segment that is there."""
    number, rows = number_of(path), pq.read_metadata(home / path).num_rows
    row = {"path": path, "kind": kind, "number": number, "rows": rows, "sha256": digest_of(home / path)}
    catalogue.insert(f"{OPEN}.segments", [row])


def write_segment(catalogue: Catalogue, home: Path, kind: str, number: int, select: str, of: str = LEDGER) -> str:
    """These rows in a file of their own, durable; its path from data_dir."""
    path = segment_path(kind, number, of)
    hidden = home / temporary(path)
    disk.make_folder(hidden.parent)
    chosen = _listed({**COLUMNS[kind], "number": ""})
    catalogue.execute(
        f"COPY (SELECT {chosen} FROM ({select}) ORDER BY {ORDER[kind]}) TO {text(str(hidden))} "
        "(FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 61440)"
    )
    disk.sync(hidden)
    hidden.replace(home / path)
    disk.sync(hidden.parent)
    return path


def let_go(catalogue: Catalogue, paths: Sequence[str], now: datetime) -> None:
    """Segments that a reader may still have open, and we need no more."""
    gone = {"run": "", "let_go_at": utc(now), "keep": False}
    catalogue.insert("_syncd.let_go", [{"path": path, "source": owner(path)} | gone for path in paths])


def let_go_together(catalogue: Catalogue, home: Path, files: Sequence[dict[str, Any]], now: datetime) -> None:
    """The same of many files, each with its source: they are listed in a file, and the catalogue names but that."""
    number = next_number(home)
    with catalogue.listed(files) as given:
        listed = write_segment(catalogue, home, GONE, number, f"SELECT *, {number} AS number FROM {given}")
    let_go(catalogue, [listed], now)


def next_number(home: Path) -> int:
    """Higher than that of any segment on the disk, published or not: no name is ever used twice."""
    return 1 + max(map(number_of, segments_of(home)), default=0)


def segments_of(home: Path, kind: str = "*") -> list[str]:
    """Paths of every segment of a kind, or of any, on the disk, named or not."""
    lake = home / LAKE
    found = [*lake.glob(f"{LEDGER}/{kind}-*.parquet")]
    if kind in ("*", "rejects"):
        found += lake.glob(f"*/{REJECTED}/{PACKED}*.parquet")
    return sorted(str(path.relative_to(home)) for path in found)


def is_segment(path: str) -> bool:
    """Whether a file under the lake is one, by its path."""
    folder, name = path.rsplit("/", 2)[-2:]
    return owner(path) == LEDGER or (folder == REJECTED and name.startswith(PACKED))


def number_of(path: str) -> int:
    """Of a segment, by its name; 0 where it is none."""
    found = re.search(r"[-~]([0-9]+)\.parquet$", path)
    return int(found[1]) if found else 0


def _rows_sql(kind: str, paths: Sequence[str], root: Path | str) -> str:
    """The rows of these segments, each with the number under which it was closed."""
    columns = COLUMNS[kind] | {"number": "BIGINT"}
    if not paths:
        return nothing(columns)
    return f"SELECT {_listed(columns)} FROM read_parquet({listed_sql(paths, str(root))}, hive_partitioning = false)"


def _merged_sql(kind: str, paths: Sequence[str], root: Path | str) -> str:
    """Those of them that are still needed. Dead rows are: the packed files have them."""
    rows = _rows_sql(kind, paths, root)
    if kind == "members":
        return f"SELECT * FROM ({rows}) SEMI JOIN (SELECT path FROM {OPEN}.files WHERE packed) USING (path)"
    if kind == "rejects":
        newest = f"SELECT was, max(number) AS number FROM ({rows}) GROUP BY was"
        parts = "SELECT rejects AS was FROM _syncd.parts WHERE rejects <> ''"
        return f"SELECT * FROM ({rows}) SEMI JOIN ({newest}) USING (was, number) SEMI JOIN ({parts}) USING (was)"
    return f"SELECT * FROM ({rows}) QUALIFY number = max(number) OVER (PARTITION BY source, run)"


def _closed_sql(kind: str, paths: Sequence[str], root: Path | str) -> str:
    """Those of them that are valid."""
    if kind == "members":
        return f"SELECT * FROM ({_merged_sql(kind, paths, root)}) ANTI JOIN {OPEN}.dead USING (path, source, run)"
    voided = f"SELECT number, source, run FROM {OPEN}.recalled WHERE kind = '{kind}'"
    return f"SELECT * FROM ({_rows_sql(kind, paths, root)}) ANTI JOIN ({voided}) USING (number, source, run)"


def _lost_sql(paths: Sequence[str], root: Path | str) -> str:
    """What was accepted as lost, as told last of each part; not where all its rows have come back since."""
    if not paths:
        return nothing(LOST)
    of = "source, run, part"
    return (
        f"WITH told AS ({_rows_sql('lost', paths, root)} QUALIFY number = max(number) OVER (PARTITION BY {of})) "
        f"SELECT {', '.join(f'told.{_listed([name])}' for name in LOST)} FROM told "
        f"LEFT JOIN (SELECT * FROM _syncd.parts SEMI JOIN told USING ({of})) had USING ({of}) "
        "LEFT JOIN (SELECT source, run, part, sum(rows) AS rows FROM _syncd.files "
        f"SEMI JOIN told USING ({of}) GROUP BY ALL) here USING ({of}) WHERE had.run IS NULL "
        "OR coalesce(here.rows, 0) < had.rows OR (told.rejected > 0 AND had.rejects = '')"
    )


def _paths(catalogue: Catalogue, kind: str) -> list[str]:
    rows = catalogue.execute(f"SELECT path FROM {OPEN}.segments WHERE kind = ? ORDER BY number", kind)
    return [path for (path,) in rows]


def _listed(columns: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in columns)
