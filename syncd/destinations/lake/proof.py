"""The conservation law, proved anew: what the published ledger says against what the disk holds."""

# ruff: noqa: S608 - names are ours or quoted
from __future__ import annotations

import errno
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from syncd.destinations.lake import disk
from syncd.destinations.lake.catalogue import REPAIR, Catalogue, reading
from syncd.destinations.lake.paths import CATALOGUE, LAKE
from syncd.destinations.lake.tables import OPEN
from syncd.destinations.lake.views import HIDDEN, quoted
from syncd.errors import ConfigError

BLOCK = 1 << 20
ROWS = 16_384  # held at once while a file is read through
SUMS = ("rows", "rejected", "bytes")
NOTHING = {"rows": 0, "rejected": 0}
Row = dict[str, Any]
Key = tuple[str, str]  # source and run


@dataclass(frozen=True)
class Flaw:
    """One thing that is not as the ledger says. `run` is "" where it is no run's own, `path` where it is no file's."""

    source: str
    run: str
    part: str
    path: str  # from data_dir
    text: str
    hint: str = ""


@dataclass(frozen=True)
class Published:
    """One generation of the catalogue, read in one go."""

    runs: dict[Key, Row]
    parts: list[Row]
    files: list[Row]  # what of which part is in which file
    stored: list[Row]  # the files with rows: `run` and `part` are "" where one holds many
    segments: list[Row]  # the ledger's own files
    let_go: frozenset[str]
    lost: dict[tuple[str, str, str], Row]  # what is lost of a part, and was accepted
    unbound: list[Flaw]  # views that a reader can't open

    def named(self) -> set[str]:
        """Every path that it names."""
        own = (row["path"] for row in (*self.stored, *self.segments))
        return {*self.let_go, *own, *(row["rejects"] for row in self.parts)}

    def holders(self, paths: Collection[str]) -> dict[str, set[Key]]:
        """The runs that have rows in these files."""
        found: dict[str, set[Key]] = defaultdict(set)
        for row in self.files:
            if row["path"] in paths:
                found[row["path"]].add((row["source"], row["run"]))
        return found

    def rows_here(self) -> Counter[tuple[str, str, str]]:
        """How many rows of each part the files have."""
        found: Counter[tuple[str, str, str]] = Counter()
        for row in self.files:
            found[row["source"], row["run"], row["part"]] += row["rows"]
        return found

    def losses(self) -> Iterator[Row]:
        """What no file has of the parts of loaded runs, accepted or not."""
        here = self.rows_here()
        for row in self.parts:
            of = {name: row[name] for name in ("source", "run", "part")}
            rows = row["rows"] - here[tuple(of.values())]
            rejected = 0 if row["rejects"] else row["rejected"]
            status = self.runs.get((row["source"], row["run"]), {}).get("status")
            if status == "loaded" and (rows > 0 or rejected):
                yield of | {"rows": rows, "rejected": rejected}

    def size(self) -> int:
        """Bytes of the files with rows."""
        return sum(int(row["bytes"]) for row in self.stored)


def published(home: Path) -> Published | None:
    """The catalogue as it is now, each of its tables read to the end; None where there is none. ConfigError."""
    if not (home / CATALOGUE).exists():
        return None
    with reading(home) as catalogue:
        tables = catalogue.execute(
            "SELECT schema_name, table_name FROM duckdb_tables() WHERE database_name = 'warehouse' "
            "AND starts_with(schema_name, '_syncd') AND table_name NOT IN ('runs', 'parts')"
        )
        read = {f"{schema}.{name}": _rows(catalogue, schema, name) for schema, name in tables}
        _prove_segments(home, read.get(f"{OPEN}.segments", []))
        runs, parts, files = (_rows(catalogue, "_syncd", name) for name in ("runs", "parts", "files"))
        is_short = any(row["kind"] == "lost" for row in read.get(f"{OPEN}.segments", []))
        lost = _rows(catalogue, "_syncd", "lost") if is_short else []
        return Published(
            {(row["source"], row["run"]): row for row in runs},
            parts,
            files,
            read.get(f"{OPEN}.files", files),
            read.get(f"{OPEN}.segments", []),
            frozenset(row["path"] for row in read["_syncd.let_go"]),
            {(row["source"], row["run"], row["part"]): row for row in lost},
            list(_unbound(catalogue)),
        )


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


def misfigured(ledger: Published) -> Iterator[Flaw]:
    """Where the ledger contradicts itself: lines of a part, rows of its files, sums of a run."""
    rows = ledger.rows_here()
    sums: dict[Key, dict[str, int]] = defaultdict(lambda: dict.fromkeys(("parts", *SUMS), 0))
    for part in ledger.parts:
        of = (part["source"], part["run"])
        for name in SUMS:
            sums[of][name] += part[name]
        sums[of]["parts"] += 1
        if part["lines"] != part["rows"] + part["rejected"] + part["blank"]:
            figures = ", ".join(f"{part[name]} {name}" for name in ("lines", "rows", "rejected", "blank"))
            yield Flaw(*of, part["part"], "", f"the lines don't add up: {figures}")
        swept = ledger.runs.get(of, {}).get("status") == "superseded"
        accepted = ledger.lost.get((*of, part["part"]), NOTHING)
        had = rows.pop((*of, part["part"]), 0)
        if had > part["rows"] if swept else had + accepted["rows"] != part["rows"]:
            yield Flaw(*of, part["part"], "", f"{part['rows']} rows, but its files have {had}")
        if part["rejected"] and not part["rejects"] and not swept and not accepted["rejected"]:
            yield Flaw(*of, part["part"], "", f"{part['rejected']} rejected lines, but no file has them")
    for source, run, name in rows:
        yield Flaw(source, run, name, "", "it has files, but the ledger doesn't know it")
    for of, told in ledger.runs.items():
        for name, amount in sums.pop(of, dict.fromkeys(("parts", *SUMS), 0)).items():
            if told[name] != amount:
                yield Flaw(*of, "", "", f"{told[name]} {name}, but its parts have {amount}")
    for of in sums:
        yield Flaw(*of, "", "", "it has parts, but the ledger doesn't know it")


def damaged(home: Path, ledger: Published, which: Callable[[Key], bool], read: Callable[[int], None]) -> Iterator[Flaw]:
    """Files that are gone, or that don't hold what was written; every byte is read. `read` is told how many."""
    expected = [(row, row["path"], row["rows"], row["bytes"], row["sha256"]) for row in ledger.stored]
    expected += [
        (row, row["rejects"], row["rejected"], None, row["rejects_sha256"]) for row in ledger.parts if row["rejects"]
    ]
    for row, path, rows, size, digest in expected:
        if which((row["source"], row["run"])):
            with disk.trouble(f"reading {path}"):
                wrong = _wrong(home / path, rows, size, digest, read)
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


def _rows(catalogue: Catalogue, schema: str, table: str) -> list[Row]:
    return catalogue.rows(f"SELECT * FROM {quoted(schema)}.{quoted(table)}")


def _unbound(catalogue: Catalogue) -> Iterator[Flaw]:
    found: Iterable[tuple[Any, ...]] = catalogue.execute(
        "SELECT schema_name, view_name FROM duckdb_views() WHERE database_name = 'warehouse' AND NOT internal "
        "AND schema_name <> ? ORDER BY ALL",
        HIDDEN,
    )
    for schema, view in found:
        try:
            catalogue.execute(f"SELECT * FROM {quoted(schema)}.{quoted(view)} LIMIT 0")
        except duckdb.Error as error:
            yield Flaw(schema, "", "", "", f"the view {schema}.{view} can't be opened: {str(error).splitlines()[0]}")
