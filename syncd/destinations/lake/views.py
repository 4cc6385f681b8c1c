"""What readers see, as SQL: pure functions of columns, files and jobs.

Layers, so that a commit rewrites only what it changes: a hidden view lists a chunk of the files, all of one layout;
`<scope>` chains these and changes only with columns and chunks; `<scope>@<job>` and `<scope>_latest` stand on
`<scope>`. Any DuckDB from 1.1 on must bind the text.
"""

# ruff: noqa: S608 - names are ours or quoted, values are bound
from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from os.path import commonprefix
from urllib.parse import quote

from syncd.destinations.lake.naming import LINEAGE
from syncd.model import Column
from syncd.names import file_name
from syncd.types import NULL, cast_sql, sql

HIDDEN = "_syncd_files"  # the schema of the views that list files
SHOWN_LINEAGE = {
    "_syncd_run": "VARCHAR",
    "_syncd_job": "VARCHAR",
    "_syncd_part": "VARCHAR",
    "_syncd_row": "BIGINT",
    "_syncd_date": "DATE",
    "_syncd_completed_at": "TIMESTAMP",
    "_syncd_loaded_at": "TIMESTAMP",
}
assert tuple(SHOWN_LINEAGE) == LINEAGE
REJECTS = {  # the columns of `_syncd.rejected`
    **dict.fromkeys(("source", "scope", "run", "part"), "VARCHAR"),
    **{"row": "BIGINT", "byte_offset": "BIGINT", "reason": "VARCHAR", "raw": "BLOB"},
}


@dataclass(frozen=True)
class LiveFile:
    """A file of a run that is loaded and not superseded."""

    path: str  # from data_dir
    run: str
    loaded_at: datetime


@dataclass(frozen=True)
class View:
    """A view to have. `digest` changes when readers would see another shape or other files."""

    schema: str
    name: str
    sql: str
    shape: tuple[str, ...]

    @property
    def digest(self) -> str:
        return sha256("\0".join((self.sql, *self.shape)).encode()).hexdigest()


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def text(value: str) -> str:
    """An SQL literal; NUL, which DuckDB's parser takes for the end, is spelled out."""
    return "'" + value.replace("'", "''").replace("\0", "' || chr(0) || '") + "'"


@dataclass(frozen=True, order=True)
class Chunk:
    """Files of one layout that one hidden view lists, as many as a commit may well write again."""

    number: int  # of packed files the year; of others in the order in which they came
    layout: str
    packed: bool = False  # they hold many parts, and know when each was loaded
    path: str = ""  # the only file: one with rows that are dead
    settled: str = ""  # the merge key by which all rows of each of its days differ


def files_view(source: str, scope: str, chunk: Chunk) -> str:
    """The name of the hidden view of a chunk; distinct also where names differ only in case."""
    plain = f"{source}.{file_name(scope)}"
    if plain != plain.lower():
        plain = f"{plain}#{sha256(plain.encode()).hexdigest()[:12]}"
    packed = "#packed" if chunk.packed else ""
    alone = f"#{sha256(chunk.path.encode()).hexdigest()[:12]}" if chunk.path else ""
    settled = f"#settled{sha256(chunk.settled.encode()).hexdigest()[:12]}" if chunk.settled else ""
    return f"{plain}#{chunk.number}#{chunk.layout}{packed}{settled}{alone}"


def files_sql(
    columns: Sequence[Column],
    layout: Sequence[Column],
    files: Sequence[LiveFile],
    root: str,
    *,
    packed: bool = False,
    dead: Sequence[str] = (),
) -> str:
    """The rows of these files, all of one layout, under the scope's columns: each column cast by name.

    `packed`: they store what a file of one part can't know. `dead`: runs whose rows are not shown.
    """
    if not files:
        nothing = [f"CAST(NULL AS {sql(column.type)}) AS {quoted(column.name)}" for column in columns]
        nothing += [f"CAST(NULL AS {kind}) AS {quoted(name)}" for name, kind in SHOWN_LINEAGE.items()]
        return f"SELECT {', '.join(nothing)} WHERE false"
    stored = {column.source_name: column for column in layout}
    shown = []
    for column in columns:
        here = stored.get(column.source_name)
        value = cast_sql(quoted(here.name), here.type, column.type) if here else cast_sql("", NULL, column.type)
        shown.append(f"{value} AS {quoted(column.name)}")
    shown += [quoted(name) for name in LINEAGE[:-1]]
    shown.append(quoted(LINEAGE[-1]) if packed else f"{_loaded_at(files)} AS {quoted(LINEAGE[-1])}")
    rows = (
        f"SELECT {', '.join(shown)} FROM read_parquet({listed_sql([file.path for file in files], root)}, "
        "hive_partitioning = true, hive_types = {'_syncd_date': DATE}, union_by_name = false)"
    )
    return f"{rows} WHERE _syncd_run NOT IN ({', '.join(map(text, dead))})" if dead else rows


def _loaded_at(files: Sequence[LiveFile]) -> str:
    """When a row's run was committed, which its file can't know.

    An expression of `_syncd_run` costs nothing unless it is asked for; a join with `_syncd.runs` would cost every
    query (10 M rows: +30 to +100 ms). The code of an enum is found by hash; a list takes it as its index.
    """
    known = {file.run: file.loaded_at for file in files}
    if len(set(known.values())) == 1:
        return f"TIMESTAMP '{next(iter(known.values())):%Y-%m-%d %H:%M:%S.%f}'"
    instants = ",".join(str(_micros(instant)) for instant in known.values())
    names = ", ".join(text(run) for run in known)
    if any("\0" in run for run in known):
        at = f"list_position([{names}], _syncd_run)"  # an enum takes literals only
    else:
        at = f"CAST(enum_code(CAST(_syncd_run AS ENUM({names}))) AS BIGINT) + 1"
    return f"make_timestamp(list_extract(CAST(string_split('{instants}', ',') AS BIGINT[]), {at}))"


def _micros(instant: datetime) -> int:
    since = instant - datetime(1970, 1, 1)  # noqa: DTZ001 - the warehouse's instants are UTC without a zone
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def unglobbed(root: str) -> str:
    """A path in which DuckDB finds no pattern."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in root)


def listed_sql(paths: Sequence[str], root: str) -> str:
    """The list of these files, with what all have in common written once: half the size of the catalogue."""
    if root.startswith(("http://", "https://")):
        paths = [quote(path, safe="/=~") for path in paths]
    folder = root if "://" in root else unglobbed(root)
    whole = [f"{folder}/{path}" for path in paths]
    start = commonprefix(whole)  # noqa: RUF071  # letters, not folders
    end = commonprefix([path[::-1] for path in whole])[::-1]  # noqa: RUF071
    if len(whole) == 1 or "|" in "".join(whole) or any(len(path) < len(start) + len(end) for path in whole):
        return f"[{', '.join(map(text, whole))}]"
    differing = "|".join(path[len(start) : len(path) - len(end)] for path in whole)
    return (
        f"string_split({text(start)} || replace({text(differing)}, '|', {text(f'{end}|{start}')}) || {text(end)}, '|')"
    )


def chain_sql(hidden: Sequence[str]) -> str:
    """The rows of all these hidden views, which have the same columns in the same order.

    A chain that grows to the left: where the right side of a UNION ALL is one too, DuckDB 1.1 loses rows of it without
    a word, and 2.0 stores a flat `a UNION ALL b UNION ALL c` as just that. The subqueries keep 2.0 from flattening.
    """
    return joined_sql([f"SELECT * FROM {quoted(HIDDEN)}.{quoted(view)}" for view in hidden])


def joined_sql(selects: Sequence[str]) -> str:
    """All their rows, as a chain that grows to the left."""
    chain, *rest = selects
    for at, select in enumerate(rest):
        chain = f"SELECT * FROM ({chain}) UNION ALL {select}" if at else f"{chain} UNION ALL {select}"
    return chain


def job_sql(view: str, job: str) -> str:
    """What one job delivers. A filter, not a chain of its own: 200 jobs would make 200 scans of every query."""
    return f"SELECT * FROM {view} WHERE _syncd_job = {text(job)}"


def latest_sql(
    columns: Sequence[Column], rows: str, key: Sequence[str], *, dated: bool, settled: Sequence[str] = ()
) -> str:
    """One row per key; rows without one can't be told apart, so all are kept. With `dated` a filter on the day reads
    that day only.

    `rows`: what may have a key twice, "" for nothing; `settled`: hidden views of days in which no key comes twice, so
    that they are read as they are.
    """
    plain = [f"SELECT {', '.join(_names(columns))} FROM {quoted(HIDDEN)}.{quoted(view)}" for view in settled]
    return joined_sql([*([_newest_sql(columns, rows, key, dated=dated)] if rows else []), *plain])


def _newest_sql(columns: Sequence[Column], rows: str, key: Sequence[str], *, dated: bool) -> str:
    names = ", ".join(_names(columns))
    window = ", ".join([*map(quoted, key), *(["_syncd_date"] if dated else [])])
    order = ", ".join(f"{name} DESC" for name in ("_syncd_completed_at", "_syncd_run", "_syncd_part", "_syncd_row"))
    ranked = f"SELECT {names}, row_number() OVER (PARTITION BY {window} ORDER BY {order}) AS _syncd_rank FROM {rows}"
    keyless = " AND ".join(f"{quoted(name)} IS NULL" for name in key)
    return f"SELECT {names} FROM ({ranked}) WHERE _syncd_rank = 1 OR ({keyless})"


def silent_sql(source: str) -> str:
    """Run and part of each part with blank lines and nothing else: of a snapshot, what held before goes on holding."""
    return f"SELECT run, part FROM _syncd.parts WHERE source = {text(source)} AND rows + rejected = 0 AND blank > 0"


def history_sql(columns: Sequence[Column], rows: str, key: Sequence[str], source: str, scope: str) -> str:
    """One row per version of a snapshot's entry: equal rows of snapshots that follow each other are one version.

    It holds from its first snapshot to the one after its last, whether that has another version or none. An entry is
    told by its key, or by all that it is where it has none. A snapshot in which an entry's part says nothing is none to
    it: such parts have a lane of snapshots of their own.
    """
    names = [quoted(column.name) for column in columns]
    entry = ", ".join(map(quoted, key) if key else names)
    taken = {column.name.lower() for column in columns} & {"valid_from", "valid_to"}
    valid = "_syncd_valid" if taken else "valid"
    runs = f"SELECT run, completed_at FROM _syncd.runs WHERE source = {text(source)} AND scope = {text(scope)} "
    loaded = f"{runs} AND status = 'loaded'"
    silent = f"SELECT run, part FROM ({silent_sql(source)}) WHERE run IN (SELECT run FROM ({loaded}))"
    lanes = f"SELECT DISTINCT part AS lane FROM ({silent})"
    snapshots = (
        "SELECT loaded.run AS of, lanes.lane, completed_at AS _syncd_at, lead(completed_at) OVER by_time AS "
        "_syncd_next, row_number() OVER by_time AS _syncd_number "
        f"FROM ({loaded}) AS loaded CROSS JOIN (SELECT NULL AS lane UNION ALL {lanes}) AS lanes "
        f"LEFT JOIN ({silent}) AS silent ON silent.run = loaded.run AND silent.part = lanes.lane "
        "WHERE silent.run IS NULL "
        "WINDOW by_time AS (PARTITION BY lanes.lane ORDER BY completed_at, loaded.run)"
    )
    once = f"row_number() OVER (PARTITION BY {entry}, _syncd_run ORDER BY _syncd_part DESC, _syncd_row DESC) = 1"
    entries = (
        f"SELECT rows.*, _syncd_at, _syncd_next, _syncd_number FROM ({rows}) AS rows "
        f"LEFT JOIN ({lanes}) AS lanes ON _syncd_part = lanes.lane "
        "JOIN ({}) AS snapshots ON _syncd_run = snapshots.of AND snapshots.lane IS NOT DISTINCT FROM lanes.lane "
        "QUALIFY {}".format(snapshots, once)
    )
    values = f"row({', '.join(names)})"
    goes_on = (
        f"coalesce(lag(_syncd_number) OVER by_time = _syncd_number - 1 AND lag({values}) OVER by_time "
        f"IS NOT DISTINCT FROM {values}, false)"
    )
    told = (
        f"SELECT *, CASE WHEN {goes_on} THEN 0 ELSE 1 END AS _syncd_begins FROM ({entries}) "
        f"WINDOW by_time AS (PARTITION BY {entry} ORDER BY _syncd_number)"
    )
    so_far = f"OVER (PARTITION BY {entry} ORDER BY _syncd_number)"
    numbered = f"SELECT *, sum(_syncd_begins) {so_far} AS _syncd_version FROM ({told})"
    version = f"PARTITION BY {entry}, _syncd_version ORDER BY _syncd_number"
    return (
        f"SELECT {', '.join(_names(columns))}, _syncd_at AS {valid}_from, "
        f"last_value(_syncd_next) OVER ({version} ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) "
        f"AS {valid}_to "
        f"FROM ({numbered}) QUALIFY row_number() OVER ({version}) = 1"
    )


def merge_key(
    alternatives: Sequence[Sequence[str]], columns: Sequence[Column], layouts: Sequence[Sequence[Column]]
) -> tuple[str, ...]:
    """Names in the view of the best alternative whose columns every live file has; () when none is."""
    named = {column.source_name: column.name for column in columns}
    present = set(named)
    for layout in layouts:
        present &= {column.source_name for column in layout}
    for key in alternatives:
        if present.issuperset(key):
            return tuple(named[source_name] for source_name in key)
    return ()


def _names(columns: Sequence[Column]) -> list[str]:
    return [quoted(name) for name in (*(column.name for column in columns), *LINEAGE)]


def derived(
    scopes: Mapping[str, Iterable[str]], snapshots: Container[str] = ()
) -> tuple[dict[tuple[str, str], str], list[str]]:
    """Names of a source's derived views, by the scope's view and "@" + job, or "" for `_latest` (of a snapshot:
    `_history`); and those not made.

    `scopes`: jobs by the name of the scope's view. A name that a scope has, or that came before, is not given.
    """
    taken = {scope.lower() for scope in scopes}
    names: dict[tuple[str, str], str] = {}
    refused = []
    wishes = [((scope, ""), f"{scope}_history" if scope in snapshots else f"{scope}_latest") for scope in scopes]
    plain = [(scope, jobs) for scope, jobs in scopes.items() if scope not in snapshots]
    wishes += [((scope, f"@{job}"), f"{scope}@{job}") for scope, jobs in plain for job in jobs]
    for key, wish in wishes:
        name = wish.replace("\0", "")
        if name.lower() in taken:
            refused.append(name)
        else:
            taken.add(name.lower())
            names[key] = name
    return names, refused


def rejected_sql(paths: Sequence[str], root: str, kept: str = "") -> str:
    """`_syncd.rejected`: every rejected line, its bytes as they came; those in files of a part, and those `kept` in
    segments."""
    nothing = ", ".join(f"CAST(NULL AS {kind}) AS {quoted(name)}" for name, kind in REJECTS.items())
    chosen = ", ".join(map(quoted, REJECTS))
    own = f"SELECT {chosen} FROM read_parquet({listed_sql(paths, root)}, hive_partitioning = false)" if paths else ""
    both = [own, f"SELECT {chosen} FROM ({kept})" if kept else ""]
    return joined_sql([one for one in both if one] or [f"SELECT {nothing} WHERE false"])
