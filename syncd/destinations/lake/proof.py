"""The conservation law, proved anew: what the published ledger says against what the disk holds."""

# ruff: noqa: S608 - names are ours or quoted
from __future__ import annotations

import errno
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from syncd.destinations.lake import disk
from syncd.destinations.lake.catalogue import REPAIR, Catalogue, is_of_the_disk, is_of_today, reading
from syncd.destinations.lake.paths import CATALOGUE, LAKE
from syncd.destinations.lake.tables import LOST, OPEN, nothing
from syncd.destinations.lake.views import HIDDEN, listed_sql, quoted
from syncd.errors import ConfigError

BLOCK = 1 << 20
ROWS = 16_384  # held at once while a file is read through
SLICE = 100_000  # runs whose figures are held against each other at once
PAGE = 10_000  # rows of the ledger that are here at once
SUMS = ("rows", "rejected", "bytes")
Row = dict[str, Any]
Key = tuple[str, str]  # source and run
# What of each part is written, where, and whether that is what should be.
PARTS_ARE = """
    WITH told AS (FROM _syncd.parts WHERE {slice}),
        of_runs AS (SELECT source, run, status FROM _syncd.runs WHERE {slice}),
        files AS (SELECT source, run, part, sum(rows) AS held FROM _syncd.files WHERE {slice} GROUP BY ALL)
    SELECT source, run, part, told.lines, told.rows, told.rejected, told.blank, told.rejects, of_runs.status,
        coalesce(held, 0) AS here, coalesce(of_runs.status = 'superseded', false) AS swept,
        coalesce(lost.rows, 0) AS lost_rows, coalesce(lost.rejected, 0) AS lost_rejected,
        told.lines IS NULL AS unknown, told.lines <> told.rows + told.rejected + told.blank AS uneven,
        if(swept, here > told.rows, here + lost_rows <> told.rows) AS other,
        told.rejected > 0 AND kept.path IS NULL AS unfound,
        unfound AND NOT swept AND lost_rejected = 0 AS unkept
    FROM told FULL JOIN files USING (source, run, part) LEFT JOIN of_runs USING (source, run)
        LEFT JOIN {lost} lost USING (source, run, part) LEFT JOIN (SELECT DISTINCT path FROM ({rejects})) kept
        ON told.rejects = kept.path
"""
RUNS_ARE = """
    WITH told AS (FROM _syncd.runs WHERE {slice}), sums AS (SELECT source, run, count(*) AS parts, sum(rows) AS rows,
        sum(rejected) AS rejected, sum(bytes) AS bytes FROM _syncd.parts WHERE {slice} GROUP BY ALL)
    SELECT source, run, told.status IS NULL AS unknown, {pairs}
    FROM told FULL JOIN sums USING (source, run) WHERE unknown OR {differ} ORDER BY source, run
"""


@dataclass(frozen=True)
class Flaw:
    """One thing that is not as the ledger says. `run` is "" where it is no run's own, `path` where it is no file's."""

    source: str
    run: str
    part: str
    path: str  # from data_dir
    text: str
    hint: str = ""


class Published:
    """One generation of the catalogue, open: its rows are looked at where they lie, and few are here at a time."""

    def __init__(self, catalogue: Catalogue, home: Path) -> None:
        self._catalogue = catalogue
        self._is_of_today = is_of_today(catalogue)
        self._lost, self._rejects = f"({nothing(LOST)})", "SELECT rejects AS path FROM _syncd.parts WHERE rejects <> ''"
        if self._is_of_today:
            self._rejects = f"SELECT path FROM {OPEN}.rejects"
            rows = catalogue.execute(f"SELECT path FROM {OPEN}.segments WHERE kind = 'rejects'")
            if kept := [path for (path,) in rows]:
                self._rejects += f" UNION ALL SELECT was FROM read_parquet({listed_sql(kept, str(home))})"
        if self._is_of_today and catalogue.execute(f"SELECT 1 FROM {OPEN}.segments WHERE kind = 'lost' LIMIT 1"):
            self._lost = "_syncd.lost"

    def runs(self, keys: Iterable[Key]) -> dict[Key, Row]:
        """Those of these runs that it knows."""
        return {(row["source"], row["run"]): row for row in self._chosen("_syncd.runs", keys)}

    def parts(self, keys: Iterable[Key]) -> dict[Key, list[Row]]:
        """The parts of these runs."""
        found: dict[Key, list[Row]] = defaultdict(list)
        for row in self._chosen("_syncd.parts", keys):
            found[row["source"], row["run"]].append(row)
        return found

    def written(self) -> Iterator[Row]:
        """Every file with rows (of one that holds many, `run` and `part` are "") and every one with rejected lines."""
        stored = f"{OPEN}.files" if self._is_of_today else "_syncd.files"
        yield from self._by_path(f"SELECT source, run, part, path, rows, bytes, sha256 FROM {stored}")
        own = f"SEMI JOIN {OPEN}.rejects ON rejects = path" if self._is_of_today else ""
        yield from self._by_path(
            "SELECT source, run, part, rejects AS path, rejected AS rows, CAST(NULL AS BIGINT) AS bytes, "
            f"rejects_sha256 AS sha256 FROM (SELECT * FROM _syncd.parts WHERE rejects <> '') {own}"
        )

    def named(self) -> set[str]:
        """Every path that it names."""
        tables = [f"{OPEN}.{table}" for table in ("files", "segments", "rejects")]
        if not self._is_of_today:
            tables = ["_syncd.files", "(SELECT rejects AS path FROM _syncd.parts)"]
        rows = self._catalogue.execute(
            " UNION ALL ".join(f"SELECT path FROM {table}" for table in ("_syncd.let_go", *tables))
        )
        return {path for (path,) in rows}

    def holders(self, paths: Iterable[str]) -> dict[str, set[Key]]:
        """The runs that have rows in these files."""
        found: dict[str, set[Key]] = defaultdict(set)
        with self._catalogue.listed([{"path": ""}, *({"path": path} for path in paths)]) as given:
            rows = self._catalogue.execute(
                f"SELECT DISTINCT path, source, run FROM _syncd.files SEMI JOIN {given} USING (path)"
            )
        for path, source, run in rows:
            found[path].add((source, run))
        return found

    def losses(self) -> Iterator[Row]:
        """What no file has of the parts of loaded runs, accepted or not."""
        for row in self._parts_are("status = 'loaded' AND (rows > here OR unfound)"):
            rejected = row["rejected"] if row["unfound"] else 0
            of = {name: row[name] for name in ("source", "run", "part")}
            yield of | {"rows": row["rows"] - row["here"], "rejected": rejected}

    def lost(self) -> list[Row]:
        """What is lost of parts, and was accepted."""
        return self._catalogue.rows(f"FROM {self._lost}")

    def counts(self) -> dict[str, int]:
        """How much it tells of; `files` are pairs of a part and a file, `rows` and `bytes` theirs."""
        ((runs, parts),) = self._catalogue.execute(
            "SELECT (SELECT count(*) FROM _syncd.runs), (SELECT count(*) FROM _syncd.parts)"
        )
        sums = "SELECT count(*) AS files, coalesce(sum(rows), 0) AS rows, coalesce(sum(bytes), 0) AS bytes"
        found = Counter({"runs": runs, "parts": parts, "files": 0, "rows": 0, "bytes": 0})
        for row in self._by_slice(f"{sums} FROM _syncd.files WHERE {{slice}}"):
            found.update({name: int(count) for name, count in row.items()})
        return dict(found)

    def misfigured(self) -> Iterator[Flaw]:
        """Where it contradicts itself: lines of a part, rows of its files, sums of a run."""
        for row in self._parts_are("unknown OR uneven OR other OR unkept"):
            of = (row["source"], row["run"], row["part"], "")
            if row["unknown"]:
                yield Flaw(*of, "it has files, but the ledger doesn't know it")
                continue
            if row["uneven"]:
                figures = ", ".join(f"{row[name]} {name}" for name in ("lines", "rows", "rejected", "blank"))
                yield Flaw(*of, f"the lines don't add up: {figures}")
            if row["other"]:
                yield Flaw(*of, f"{row['rows']} rows, but its files have {row['here']}")
            if row["unkept"]:
                yield Flaw(*of, f"{row['rejected']} rejected lines, but no file has them")
        names = ("parts", *SUMS)
        both = {name: (f"coalesce(told.{name}, 0)", f"coalesce(sums.{name}, 0)") for name in names}
        pairs = ", ".join(f"{told} AS {name}, {sums} AS sum_{name}" for name, (told, sums) in both.items())
        differ = " OR ".join(f"{told} <> {sums}" for told, sums in both.values())
        for row in self._by_slice(RUNS_ARE, pairs=pairs, differ=differ):
            if row["unknown"]:
                yield Flaw(row["source"], row["run"], "", "", "it has parts, but the ledger doesn't know it")
                continue
            for name in names:
                if row[name] != row[f"sum_{name}"]:
                    told = f"{row[name]} {name}, but its parts have {row[f'sum_{name}']}"
                    yield Flaw(row["source"], row["run"], "", "", told)

    def unbound(self) -> Iterator[Flaw]:
        """Views that a reader can't open."""
        for schema, view in self._catalogue.execute(
            "SELECT schema_name, view_name FROM duckdb_views() WHERE database_name = 'warehouse' AND NOT internal "
            "AND schema_name <> ? ORDER BY ALL",
            HIDDEN,
        ):
            try:
                self._catalogue.execute(f"SELECT * FROM {quoted(schema)}.{quoted(view)} LIMIT 0")
            except duckdb.Error as error:
                if is_of_the_disk(error):  # nothing is known of the view then
                    raise
                told = f"the view {schema}.{view} can't be opened: {str(error).splitlines()[0]}"
                yield Flaw(schema, "", "", "", told, REPAIR)

    def _chosen(self, table: str, keys: Iterable[Key]) -> list[Row]:
        wanted = [{"source": source, "run": run} for source, run in keys]
        if not wanted:
            return []
        with self._catalogue.listed(wanted) as given:
            return self._catalogue.rows(f"FROM {table} SEMI JOIN {given} USING (source, run)")

    def _parts_are(self, which: str) -> Iterator[Row]:
        return self._by_slice(
            f"FROM ({PARTS_ARE}) WHERE {which} ORDER BY source, run, part", lost=self._lost, rejects=self._rejects
        )

    def _by_slice(self, sql: str, **names: str) -> Iterator[Row]:
        """The answer for some of the runs after the other: what must be held for it is never more than theirs."""
        ((runs,),) = self._catalogue.execute("SELECT count(*) FROM _syncd.runs")
        many = 1 + runs // SLICE
        for number in range(many):
            mine = f"hash(source, run) % {many} = {number}"
            yield from self._catalogue.rows(sql.format(slice=mine, **names))

    def _by_path(self, sql: str) -> Iterator[Row]:
        after = ""
        while page := self._catalogue.rows(f"FROM ({sql}) WHERE path > ? ORDER BY path LIMIT {PAGE}", after):
            yield from page
            after = page[-1]["path"]


@contextmanager
def published(home: Path) -> Iterator[Published | None]:
    """The catalogue as it is now, each of its tables read to the end; None where there is none. ConfigError."""
    if not (home / CATALOGUE).exists():
        yield None
        return
    with reading(home) as catalogue:
        catalogue.execute("SELECT 1 FROM _syncd.runs, _syncd.parts, _syncd.files, _syncd.let_go LIMIT 0")  # are they?
        tables = catalogue.execute(
            "SELECT schema_name, table_name FROM duckdb_tables() WHERE database_name = 'warehouse' "
            "AND starts_with(schema_name, '_syncd')"
        )
        for schema, name in tables:
            catalogue.execute(f"SELECT bit_xor(hash(every)) FROM {quoted(schema)}.{quoted(name)} every")
        _prove_segments(home, catalogue.rows(f"FROM {OPEN}.segments") if is_of_today(catalogue) else [])
        yield Published(catalogue, home)


def _prove_segments(home: Path, segments: Iterable[Row]) -> None:
    """ConfigError for a closed piece of the ledger that isn't what was written: then the whole is made again."""
    for row in segments:
        path, wrong = home / row["path"], ""
        if not path.exists():
            wrong = "it is gone"
        elif digest_of(path) != row["sha256"]:
            wrong = "its bytes have changed"
        if wrong:
            raise ConfigError(f"{path}: {wrong}", hint=REPAIR)


def damaged(home: Path, ledger: Published, which: Callable[[Key], bool], read: Callable[[int], None]) -> Iterator[Flaw]:
    """Files that are gone, or that don't hold what was written; every byte is read. `read` is told how many."""
    for row in ledger.written():
        if which((row["source"], row["run"])):
            path = row["path"]
            with disk.trouble(f"reading {path}"):
                wrong = _wrong(home / path, row["rows"], row["bytes"], row["sha256"], read)
            if wrong:
                yield Flaw(row["source"], row["run"], row["part"], path, wrong)


def on_disk(home: Path) -> Iterator[str]:
    """Every Parquet file of the lake, as a path from data_dir."""
    return (str(path.relative_to(home)) for path in (home / LAKE).rglob("*.parquet"))


def digest_of(path: Path, read: Callable[[int], None] = lambda size: None) -> str:
    """The sha256 of a file, with the memory of one block."""
    digest = sha256()
    with path.open("rb", buffering=0) as file:
        while block := file.read(BLOCK):
            digest.update(block)
            read(len(block))
    return digest.hexdigest()


def _wrong(path: Path, rows: int, size: int | None, digest: str, read: Callable[[int], None]) -> str:
    """What is wrong with a file; "" when it holds what was written."""
    try:
        here = path.stat().st_size
        if size not in (None, here):
            return f"{here} bytes, but {size} were written"
        if digest_of(path, read) != digest:
            return "its bytes have changed"
        counted = _counted(path)
        return "" if counted == rows else f"{counted} rows, but {rows} were written"
    except FileNotFoundError:
        return "it is gone"
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.EIO, errno.EISDIR):
            raise
        return f"it can't be read: {str(error).splitlines()[0]}"


def _counted(path: Path) -> int:
    """The rows of a file, each page decoded and held against its checksum."""
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        return sum(batch.num_rows for batch in file.iter_batches(ROWS))
