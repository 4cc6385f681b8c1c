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
from syncd.destinations.lake.paths import LAKE, PACKING, packed_path, temporary
from syncd.destinations.lake.plan import Pack, Stored
from syncd.destinations.lake.proof import digest_of
from syncd.destinations.lake.segments import (
    add_segment,
    close_settled,
    let_go_together,
    merge,
    next_number,
    show_ledger,
)
from syncd.destinations.lake.show import CHUNK_OF, show, spell
from syncd.destinations.lake.tables import OPEN
from syncd.destinations.lake.views import Chunk, LiveFile, quoted, text
from syncd.errors import TryAgain
from syncd.model import Column, Packed, Scope

FOOTER = "syncd_packed"  # the key of what a packed file says of itself; of its parts the ledger's segments tell
MEMORY = "512MB"  # for sorting; beyond it goes to the disk
ROW_GROUP_ROWS = 61_440
# of a day with one file nothing can be packed, but for rows that are dead
WORTH_A_LOOK = (
    f"true QUALIFY count(*) OVER (PARTITION BY source, scope, date) > 1 OR path IN (SELECT path FROM {OPEN}.dead)"
)
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


def stored_files(catalogue: Catalogue, which: str, *values: Any) -> list[Stored]:
    """The live files of which this holds. Few are worth a look: what years of days came to stays as it is."""
    rows = catalogue.execute(
        "SELECT path, source, scope, date, rows, bytes, layout, dated, packed, run, loaded_at, settled "
        f"FROM {OPEN}.files WHERE live AND {which}",
        *values,
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


def write(
    connection: duckdb.DuckDBPyConnection,
    home: Path,
    pack: Pack,
    layouts: Mapping[str, tuple[Column, ...]],
    scope: Scope,
) -> Written:
    """The packed file, durable, under its temporary name. TryAgain: its rows are not those of the files."""
    hidden = hidden_of(home, pack)
    rows = views.joined_sql(list(rows_of(home, pack.files, pack.layout, layouts)))
    footer = _footer(pack, scope)
    made = views.files_sql(pack.layout, pack.layout, [LiveFile(str(hidden), "", pack.first.loaded_at)], "", packed=True)
    sorted_rows = f"SELECT * EXCLUDE (_syncd_date) FROM ({rows}) ORDER BY {_order(pack, scope.event_time)}"
    how = f"FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {ROW_GROUP_ROWS}, KV_METADATA {{{FOOTER}: {text(footer)}}}"
    connection.execute(f"COPY ({sorted_rows}) TO {text(str(hidden))} ({how})")
    before, after = (_counted(connection, one) for one in (rows, made))
    if before != after:
        raise TryAgain(f"packing {pack.first.path}: other rows came out than went in", hint=LOOK)
    disk.sync(hidden)
    generations = {file.path: _generation(home / file.path) for file in pack.files if not file.packed}
    return Written(hidden, hidden.stat().st_size, digest_of(hidden), after, generations)


class Showing:
    """Packed files in the place of what they were made of, in the open transaction: `show` each, then `finish`."""

    def __init__(self, catalogue: Catalogue, home: Path, now: datetime) -> None:
        self._catalogue, self._home, self._now = catalogue, home, now
        self._number = next_number(home)
        self._done: list[Packed] = []
        self._gone: list[dict[str, Any]] = []
        self._members: list[dict[str, Any]] = []
        self._touched: dict[tuple[str, str], set[Chunk]] = defaultdict(set)

    def show(self, pack: Pack, written: Written) -> None:
        """Nothing where some of its files have changed. TryAgain: the ledger says otherwise than the file."""
        first, paths = pack.first, [one.path for one in pack.files]
        if set(pack.files) - set(stored_files(self._catalogue, "list_contains($1, path)", paths)):
            return
        path = packed_path(first.source, first.scope, str(first.date), self._number)
        gone = [{"path": one, "source": first.source} for one in paths]
        members = _members(self._catalogue, gone, written, {"path": path, "number": self._number})
        touched = self._touched[first.source, first.scope]
        touched |= {Chunk(*row) for row in _chunks(self._catalogue, gone)}
        for table in ("files", "dead"):
            self._catalogue.forget(f"{OPEN}.{table}", [{"path": one} for one in paths])
        rows, was = sum(one["rows"] for one in members), sum(file.bytes for file in pack.files)
        touched.add(_name(self._catalogue, pack, written, path, rows))
        written.hidden.replace(self._home / path)
        disk.sync((self._home / path).parent)
        self._gone += gone
        self._members += members
        done = Packed(first.source, first.scope, str(first.date), len(paths), rows, was, written.bytes)
        self._done.append(done)

    def finish(self) -> list[Packed]:
        """Have the ledger and the views know; what was shown."""
        if not self._done:
            return []
        catalogue, home, now = self._catalogue, self._home, self._now
        with catalogue.listed(self._members) as given:
            packed = f"SELECT source, run FROM {OPEN}.runs SEMI JOIN {given} USING (source, run)"
            catalogue.execute(f"CREATE OR REPLACE TEMP TABLE _syncd_settled AS {packed}")
            add_segment(catalogue, home, "members", self._number, f"SELECT * FROM {given}")
        let_go_together(catalogue, home, self._gone, now)
        merge(catalogue, home, "members", now)
        close_settled(catalogue, home, now)  # with their files goes what else could tell of these runs
        show_ledger(catalogue, home)
        for key, chunks in self._touched.items():
            show(catalogue, home, *key, chunks)
        return self._done


def _name(catalogue: Catalogue, pack: Pack, written: Written, path: str, rows: int) -> Chunk:
    """Have the catalogue name the packed file; the chunk that lists it."""
    first, layout = pack.first, spell(pack.layout)
    by = pack.settled if pack.settled and pack.settled.startswith("[") else ""
    chunk = Chunk(first.date.year, layout_of(layout), packed=True, settled=by)
    row = {"path": path, "source": first.source, "scope": first.scope, "run": "", "part": "", "date": first.date}
    row |= {"rows": rows, "bytes": written.bytes, "sha256": written.sha256}
    row |= {"layout": chunk.layout, "dated": pack.dated, "chunk": chunk.number, "live": True, "packed": True}
    row |= {"settled": pack.settled, "loaded_at": max(file.loaded_at for file in pack.files)}
    catalogue.insert(f"{OPEN}.files", [row])
    add_new(catalogue, "_syncd.layouts", [{"layout": chunk.layout, "columns": layout}])
    return chunk


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
