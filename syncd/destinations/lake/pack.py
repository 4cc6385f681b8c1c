"""Small files of a day become large ones, sorted by event time, in the catalogue's own commit.

Readers see the same rows in the same views, lineage and all: that is proved row for row before the rename. What was
packed is let go, and stays as long as a reader may hold it. The work is done beside the commits; where one of them has
touched the same files meanwhile, it was in vain and is repeated.
"""

# ruff: noqa: S608 - names are ours or quoted, values are bound
from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import orjson
import pyarrow.parquet as pq

from syncd.destinations.lake import disk, stage, views
from syncd.destinations.lake.catalogue import Catalogue, columns_of, connect
from syncd.destinations.lake.commit import add_new, layout_of
from syncd.destinations.lake.layout import spelled
from syncd.destinations.lake.paths import GONE, LAKE, PACKING, packed_path, temporary
from syncd.destinations.lake.plan import Pack, Stored
from syncd.destinations.lake.proof import digest_of
from syncd.destinations.lake.segments import (
    add_segment,
    close_settled,
    let_go,
    merge,
    next_number,
    show_ledger,
    write_segment,
)
from syncd.destinations.lake.show import CHUNK_OF, show, spell
from syncd.destinations.lake.tables import OPEN
from syncd.destinations.lake.views import Chunk, LiveFile, quoted, text
from syncd.errors import TryAgain
from syncd.model import Column, Packed, Scope

FOOTER = "syncd_packed"  # the key of what a packed file says of itself; of its parts the ledger's segments tell
MEMORY = "512MB"  # for sorting; beyond it goes to the disk
ROW_GROUP_ROWS = 61_440
LOOK = "syncd verify tells what is wrong"
Counts = dict[tuple[str, str], tuple[int, int]]  # by run and part: rows, and the sum of their hashes


@dataclass(frozen=True)
class Written:
    """A packed file under its temporary name."""

    hidden: Path
    bytes: int
    sha256: str
    counts: tuple[list[Any], Counts]
    generations: dict[str, int]  # of the files of one part that went in


def stored_files(catalogue: Catalogue) -> list[Stored]:
    """Every live file: all may be packed."""
    rows = catalogue.execute(
        "SELECT path, source, scope, date, rows, bytes, layout, dated, packed, run, loaded_at, settled "
        f"FROM {OPEN}.files WHERE live"
    )
    dead: dict[str, list[str]] = {}
    kept = set()
    for path, run, keep in catalogue.execute(f"SELECT path, run, keep FROM {OPEN}.dead ORDER BY ALL"):
        dead.setdefault(path, []).append(run)
        kept |= {path} if keep else set()
    return [replace(Stored(*row), dead=tuple(dead.get(row[0], ())), keeps=row[0] in kept) for row in rows]


def hidden_of(home: Path, pack: Pack) -> Path:
    """Where the packed file is written."""
    return home / temporary(f"{pack.first.path}~")


def write(home: Path, pack: Pack, layouts: Mapping[str, tuple[Column, ...]], scope: Scope) -> Written:
    """The packed file, durable, under its temporary name. TryAgain: its rows are not those of the files."""
    hidden = hidden_of(home, pack)
    rows = views.joined_sql(list(rows_of(home, pack.files, pack.layout, layouts)))
    footer = _footer(pack, scope)
    made = views.files_sql(pack.layout, pack.layout, [LiveFile(str(hidden), "", pack.first.loaded_at)], "", packed=True)
    sorted_rows = f"SELECT * EXCLUDE (_syncd_date) FROM ({rows}) ORDER BY {_order(pack, scope.event_time)}"
    how = f"FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {ROW_GROUP_ROWS}, KV_METADATA {{{FOOTER}: {text(footer)}}}"
    with sorting(home) as connection:
        connection.execute(f"COPY ({sorted_rows}) TO {text(str(hidden))} ({how})")
        before, after = (_counted(connection, one) for one in (rows, made))
    if before != after:
        raise TryAgain(f"packing {pack.first.path}: other rows came out than went in", hint=LOOK)
    disk.sync(hidden)
    generations = {file.path: _generation(home / file.path) for file in pack.files if not file.packed}
    return Written(hidden, hidden.stat().st_size, digest_of(hidden), after, generations)


def show_packed(catalogue: Catalogue, home: Path, pack: Pack, written: Written, now: datetime) -> Packed | None:
    """Show the packed file in the place of the others, in the open transaction. None: some of them have changed."""
    if set(pack.files) - set(stored_files(catalogue)):
        return None
    first, number = pack.first, next_number(home)
    path, inputs = packed_path(first.source, first.scope, str(first.date), number), [one.path for one in pack.files]
    gone = [{"path": one, "source": first.source} for one in inputs]
    members = _members(catalogue, gone, written, {"path": path, "number": number})
    touched = {Chunk(*row) for row in _chunks(catalogue, gone)}
    for table in ("files", "dead"):
        catalogue.forget(f"{OPEN}.{table}", [{"path": one} for one in inputs])
    layout = spell(pack.layout)
    by = pack.settled if pack.settled and pack.settled.startswith("[") else ""
    chunk = Chunk(first.date.year, layout_of(layout), packed=True, settled=by)
    row = {"path": path, "source": first.source, "scope": first.scope, "run": "", "part": "", "date": first.date}
    row |= {"rows": sum(one["rows"] for one in members), "bytes": written.bytes, "sha256": written.sha256}
    row |= {"layout": chunk.layout, "dated": pack.dated, "chunk": chunk.number, "live": True, "packed": True}
    row |= {"settled": pack.settled}
    catalogue.insert(f"{OPEN}.files", [row | {"loaded_at": max(file.loaded_at for file in pack.files)}])
    add_new(catalogue, "_syncd.layouts", [{"layout": chunk.layout, "columns": layout}])
    written.hidden.replace(home / path)
    disk.sync((home / path).parent)
    with catalogue.listed(members) as given:
        add_segment(catalogue, home, "members", number, f"SELECT * FROM {given}")
    with catalogue.listed(gone) as given:
        listed = f"SELECT *, {number} AS number FROM {given}"
        let_go(catalogue, [write_segment(catalogue, home, GONE, number, listed)], now)
    merge(catalogue, home, "members", now)
    with catalogue.listed([{"source": first.source, "run": run} for run in {one["run"] for one in members}]) as given:
        packed = f"SELECT source, run FROM {OPEN}.runs SEMI JOIN {given} USING (source, run)"
        catalogue.execute(f"CREATE OR REPLACE TEMP TABLE _syncd_settled AS {packed}")
    close_settled(catalogue, home, now)  # with their files goes what else could tell of these runs
    show_ledger(catalogue, home)
    show(catalogue, home, first.source, first.scope, touched | {chunk})
    rows, was = sum(one["rows"] for one in members), sum(file.bytes for file in pack.files)
    return Packed(first.source, first.scope, str(first.date), len(inputs), rows, was, written.bytes)


def scopes_of(catalogue: Catalogue) -> dict[tuple[str, str], Scope]:
    """The scopes with their rules, and all that is known of their columns."""
    rows = catalogue.execute("SELECT source, scope, merge_keys, event_time, snapshot FROM _syncd.scopes")
    return {
        (source, scope): Scope(
            scope,
            tuple(columns_of(catalogue.execute, source, scope)),
            tuple(map(tuple, orjson.loads(keys))),
            tuple(orjson.loads(times)),
            snapshot,
        )
        for source, scope, keys, times, snapshot in rows
    }


def _footer(pack: Pack, scope: Scope) -> str:
    """What a packed file says of itself, for the day that its catalogue is lost."""
    first, names = pack.first, {column.source_name for column in pack.layout}
    said = {"source": first.source, "scope": first.scope, "date": str(first.date), "dated": pack.dated}
    said |= {"loaded_at": max(file.loaded_at for file in pack.files).isoformat(), "layout": spell(pack.layout)}
    said |= {"merge_keys": scope.merge_keys, "event_time": scope.event_time, "snapshot": scope.snapshot}
    columns = [spelled(column) for column in scope.columns if column.source_name in names]
    return orjson.dumps(said | {"columns": columns}).decode()


def rows_of(
    home: Path, stored: Iterable[Stored], columns: Sequence[Column], layouts: Mapping[str, tuple[Column, ...]]
) -> Iterator[str]:
    """The rows of these files as the views show them, under these columns."""
    alike: dict[tuple[str, bool, tuple[str, ...]], list[LiveFile]] = defaultdict(list)
    for file in stored:
        alike[file.layout, file.packed, file.dead].append(LiveFile(file.path, file.run, file.loaded_at))
    for (layout, packed, dead), files in alike.items():
        yield views.files_sql(columns, layouts[layout], files, str(home), packed=packed, dead=dead)


def _order(pack: Pack, times: Collection[str]) -> str:
    named = [quoted(one.name) for one in pack.layout if one.name in times and one.type.kind in ("date", "timestamp")]
    moment = [f"coalesce({', '.join(f'CAST({name} AS TIMESTAMP)' for name in named)})"] if named else []
    return ", ".join([*moment, "_syncd_run", "_syncd_part", "_syncd_row"])


def _counted(connection: duckdb.DuckDBPyConnection, rows: str) -> tuple[list[Any], Counts]:
    """The columns with their types, and for each part its rows and the sum of their hashes."""
    columns = connection.execute(f"DESCRIBE {rows}").fetchall()
    names = ", ".join(quoted(name) for name, *_ in columns)
    counted = connection.execute(
        f"SELECT _syncd_run, _syncd_part, count(*), sum(hash({names})) FROM ({rows}) GROUP BY ALL"
    ).fetchall()
    return columns, {(run, part): (count, digest) for run, part, count, digest in counted}


def _members(
    catalogue: Catalogue, inputs: Sequence[dict[str, Any]], written: Written, told: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """What of which part is in the packed file. TryAgain: the ledger says otherwise than the file."""
    with catalogue.listed(inputs) as given:
        rows = catalogue.execute(
            f"SELECT path, source, scope, run, part, date, rows, NULL FROM {OPEN}.files SEMI JOIN {given} "
            f"USING (path) WHERE NOT packed UNION ALL SELECT was, source, scope, run, part, date, rows, generation "
            f"FROM {OPEN}.members SEMI JOIN {given} USING (path) ORDER BY ALL"
        )
    sums: dict[tuple[str, str], int] = defaultdict(int)
    members, so_far, total = [], 0, sum(row[6] for row in rows)
    for was, source, scope, run, part, date, count, generation in rows:
        sums[run, part] += count
        share = written.bytes * (so_far + count) // total - written.bytes * so_far // total
        so_far += count
        of = {"source": source, "scope": scope, "run": run, "part": part, "date": date, "rows": count, "bytes": share}
        of |= {"was": was, "generation": generation or written.generations[was], "sha256": written.sha256}
        members.append({**of, **told})
    if dict(sums) != {part: count for part, (count, _) in written.counts[1].items()}:
        raise TryAgain(f"the ledger has not the rows of {written.hidden}", hint=LOOK)
    return members


def _chunks(catalogue: Catalogue, inputs: Sequence[dict[str, Any]]) -> list[tuple[Any, ...]]:
    with catalogue.listed(inputs) as given:
        return catalogue.execute(f"SELECT DISTINCT {CHUNK_OF} FROM {OPEN}.files SEMI JOIN {given} USING (path)")


def _generation(path: Path) -> int:
    return int(orjson.loads(pq.read_metadata(path).metadata[stage.FOOTER])["generation"])


@contextmanager
def sorting(home: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB that sorts more than it holds; one thread, for it works beside what matters more."""
    aside = home / LAKE / PACKING
    limits: dict[str, Any] = {"threads": 1, "memory_limit": MEMORY, "temp_directory": str(aside)}
    try:
        with connect(limits) as connection:
            yield connection
    except duckdb.Error as error:
        told = str(error).splitlines()[0]
        raise TryAgain(f"packing: {told}", hint=LOOK) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
