"""One publication: whole runs into the catalogue, what they supersede, what they teach, and the views that change."""

# ruff: noqa: S608 - names are ours or quoted, values are bound
from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from syncd.destinations.lake.catalogue import Catalogue, columns_of, utc
from syncd.destinations.lake.learn import learned, looks, seniority
from syncd.destinations.lake.naming import given
from syncd.destinations.lake.segments import recall
from syncd.destinations.lake.show import CHUNK_OF, SETTLED, refused, show, show_all, show_rejected, spell
from syncd.destinations.lake.tables import OPEN
from syncd.destinations.lake.views import Chunk
from syncd.errors import StartOver
from syncd.model import Changed, Column, Committed, Run, Scope, Staged, Superseded

Ready = tuple[Run, Sequence[Staged]]
Key = tuple[str, str]  # source and scope
PERIOD = ("source", "scope", "job", "period_start", "period_end")
EARLY, LATE = "INTERVAL 3 DAY", "INTERVAL 2 DAY"  # around its period, where the rows of a run may be
CHUNK = 500  # files that one hidden view lists before the next is begun: what a commit writes again
TALLY = ("part", "bytes", "sha256", "lines", "rows", "rejected", "blank", "rejects", "rejects_sha256")


def prove(home: Path, ready: Iterable[Ready]) -> None:
    """The conservation law: tallies add up, and the footers have their rows. StartOver for a part that breaks it."""
    for run, parts in ready:
        for part in parts:
            rows = sum(file.rows for file in part.files)
            if part.lines != part.rows + part.rejected + part.blank or rows != part.rows:
                raise StartOver(
                    f"{run.name}, part {part.part}: {part.lines} lines, but {part.rows} rows ({rows} in files), "
                    f"{part.rejected} rejected, {part.blank} blank"
                )
            expected: list[tuple[str, int, int | None]] = [(file.path, file.rows, file.bytes) for file in part.files]
            expected += [(part.rejects, part.rejected, None)] if part.rejected else []
            for path, rows, size in expected:
                if not _holds(home / path, rows, size):
                    raise StartOver(f"{run.name}, part {part.part}: the staged file {path!r} is gone or torn")


def _holds(path: Path, rows: int, size: int | None) -> bool:
    try:
        return size in (None, path.stat().st_size) and int(pq.read_metadata(path).num_rows) == rows
    except (FileNotFoundError, IsADirectoryError, pa.ArrowInvalid):
        return False


def apply(
    catalogue: Catalogue,
    home: Path,
    ready: Sequence[Ready],
    declared: Mapping[Key, Scope],
    now: datetime,
    *,
    anew: bool = False,
) -> Committed:
    """Add runs that the catalogue doesn't have, in the open transaction; `anew`: other files have left it."""
    done = Committed(runs=[run.id for run, _ in ready])
    _add(catalogue, ready, utc(now))
    came = {(run.source, run.scope, run.job, utc(run.start), utc(run.end)) for run, _ in ready}
    done.superseded = supersede(catalogue, came, utc(now))
    for key in dict.fromkeys((run.source, run.scope) for run, _ in ready):
        mine = [(run, parts) for run, parts in ready if (run.source, run.scope) == key]
        seen = [(run.id, [column for part in parts for column in part.columns]) for run, parts in mine]
        taught = learn(catalogue, key, declared.get(key), seen)
        done.columns += taught
        unsettled = _unsettle(catalogue, key, [run.id for run, _ in mine])
        if introduce(catalogue, key, declared.get(key)) or anew:  # its name may be one that a derived view has
            show_all(catalogue, home, key[0])
        else:
            gone = [one.run for one in done.superseded if one.source == key[0]]
            touched = unsettled | _chunks_of(catalogue, key, [*(run.id for run, _ in mine), *gone])
            show(catalogue, home, *key, touched=None if taught else touched)
    for source in dict.fromkeys(run.source for run, _ in ready):
        done.refused += refused(catalogue, source)
    if any(part.rejects for _, parts in ready for part in parts):
        show_rejected(catalogue, home)
    return done


def withdraw(catalogue: Catalogue, runs: Iterable[Run], now: datetime) -> None:
    """Take runs out, so that they can be added again with other files; those they had are let go."""
    mine = [(run.source, run.id) for run in runs]
    if not mine:
        return
    recall(catalogue, mine)
    hide(catalogue, [{"source": source, "run": run, "keep": False, "let_go_at": utc(now)} for source, run in mine])
    rows = [{"source": source, "run": run} for source, run in mine]
    for table in ("files", "rejects", "parts", "runs"):
        catalogue.forget(f"{OPEN}.{table}", rows)


def lose(catalogue: Catalogue, paths: Iterable[str], now: datetime) -> None:
    """Take files out that can't be read any more: else no view that lists them opens. The figures stay as they were."""
    rows = [{"path": path} for path in paths if path]
    if not rows:
        return
    with catalogue.listed(rows) as gone:
        refused = catalogue.execute(f"SELECT source, run FROM {OPEN}.rejects SEMI JOIN {gone} USING (path)")
        catalogue.execute(
            "INSERT INTO _syncd.let_go SELECT path, source, run, ?, true FROM ("
            f"SELECT path, source, run FROM {OPEN}.files UNION ALL SELECT path, source, run FROM {OPEN}.rejects) "
            f"SEMI JOIN {gone} USING (path) WHERE path NOT IN (SELECT path FROM _syncd.let_go)",
            utc(now),
        )
    recall(catalogue, refused)
    with catalogue.listed(rows) as gone:
        catalogue.execute(f"UPDATE {OPEN}.parts SET rejects = '' WHERE rejects IN (SELECT path FROM {gone})")
    for table in ("files", "rejects", "dead"):
        catalogue.forget(f"{OPEN}.{table}", rows)


def _unsettle(catalogue: Catalogue, key: Key, runs: list[str]) -> set[Chunk]:
    """Days that these runs' files have come to may have a merge key twice now; the chunks that change so."""
    theirs = (
        "live AND source = $1 AND scope = $2 AND settled IS NOT NULL AND date IN "
        f"(SELECT date FROM {OPEN}.files WHERE live AND source = $1 AND scope = $2 AND list_contains($3, run))"
    )
    rows = catalogue.execute(f"SELECT DISTINCT {CHUNK_OF} FROM {OPEN}.files WHERE {theirs}", *key, runs)
    if rows:
        catalogue.execute(f"UPDATE {OPEN}.files SET settled = NULL WHERE {theirs}", *key, runs)
    before = {Chunk(*row) for row in rows}
    return before | {replace(chunk, settled="") for chunk in before}


def _chunks_of(catalogue: Catalogue, key: Key, runs: list[str]) -> set[Chunk]:
    """The chunks that list files with rows of these runs, and those that such files leave or come to."""
    rows = catalogue.execute(
        f"SELECT DISTINCT chunk, layout, packed, '', {SETTLED} FROM {OPEN}.files WHERE source = $1 AND scope = $2 AND "
        f"(list_contains($3, run) OR path IN (SELECT path FROM {OPEN}.dead WHERE list_contains($3, run))) UNION ALL "
        f"SELECT chunk, layout, packed, path, {SETTLED} FROM {OPEN}.files JOIN {OPEN}.dead USING (path, source) "
        "WHERE source = $1 AND scope = $2 AND list_contains($3, dead.run)",
        *key,
        runs,
    )
    return {Chunk(*row) for row in rows}


def _open_chunks(catalogue: Catalogue, keys: Iterable[Key]) -> dict[Key, int]:
    """The chunk that takes a scope's next files; 0 where there is none yet."""
    with catalogue.listed([{"source": source, "scope": scope} for source, scope in keys]) as scopes:
        rows = catalogue.execute(
            f"SELECT source, scope, chunk, count(*) FROM {OPEN}.files SEMI JOIN {scopes} USING (source, scope) "
            "WHERE NOT packed GROUP BY ALL ORDER BY chunk"
        )
    return {(source, scope): chunk + (files >= CHUNK) for source, scope, chunk, files in rows}


def _add(catalogue: Catalogue, ready: Sequence[Ready], loaded_at: datetime) -> None:
    catalogue.insert(f"{OPEN}.runs", [_run_row(run, parts, loaded_at) for run, parts in ready])
    parts, files, layouts = [], [], {}
    chunks = _open_chunks(catalogue, {(run.source, run.scope) for run, _ in ready})
    for run, staged in ready:
        whose = {"source": run.source, "run": run.id}
        of = whose | {"scope": run.scope, "chunk": chunks.get((run.source, run.scope), 0)}
        of |= {"loaded_at": loaded_at, "live": True, "packed": False}
        for part in staged:
            parts.append(whose | {name: getattr(part, name) for name in TALLY})
            for file in part.files:
                spelled = spell(file.columns)
                layout = layout_of(spelled)
                layouts[layout] = {"layout": layout, "columns": spelled}
                told = {name: getattr(file, name) for name in ("path", "date", "rows", "bytes", "dated", "sha256")}
                files.append(of | told | {"part": part.part, "layout": layout})
    rejects = [{"path": row["rejects"], "source": row["source"], "run": row["run"]} for row in parts if row["rejects"]]
    catalogue.insert(f"{OPEN}.parts", parts)
    catalogue.insert(f"{OPEN}.files", files)
    catalogue.insert(f"{OPEN}.rejects", rejects)
    shown = [{"path": row["path"]} for row in (*files, *rejects)]
    catalogue.forget("_syncd.let_go", shown)  # else the sweep would take what is shown again
    add_new(catalogue, "_syncd.layouts", list(layouts.values()))
    came = {(run.source, run.scope, run.job) for run, _ in ready}
    add_new(catalogue, f"{OPEN}.deliveries", [dict(zip(("source", "scope", "job"), one, strict=True)) for one in came])


def add_new(catalogue: Catalogue, table: str, rows: Sequence[dict[str, Any]]) -> None:
    """Insert the rows that the table doesn't have."""
    if rows:
        names = ", ".join(rows[0])
        with catalogue.listed(rows) as given:
            catalogue.execute(
                f"INSERT INTO {table} ({names}) SELECT {names} FROM {given} ANTI JOIN {table} USING ({names})"
            )


def layout_of(spelled: str) -> str:
    """The name of a layout that `spell` has spelled."""
    return sha256(spelled.encode()).hexdigest()[:20]


def _run_row(run: Run, staged: Sequence[Staged], loaded_at: datetime) -> dict[str, Any]:
    of = {"source": run.source, "run": run.id, "job": run.job, "scope": run.scope, "format": run.format}
    when = {"period_start": utc(run.start), "period_end": utc(run.end), "completed_at": utc(run.completed_at)}
    sums = {name: sum(getattr(part, name) for part in staged) for name in ("rows", "rejected", "bytes")}
    return of | when | sums | {"loaded_at": loaded_at, "parts": len(staged), "status": "loaded"}


def supersede(catalogue: Catalogue, came: Collection[tuple[Any, ...]], now: datetime) -> list[Superseded]:
    """Leave one run loaded for each of these jobs' periods, whatever came first."""
    starts = {start for *_, start, _ in came}
    with catalogue.listed([dict(zip(PERIOD, period, strict=True)) for period in came]) as periods:
        rivals = catalogue.execute(
            f'SELECT {", ".join(PERIOD)}, run, completed_at, "rows" FROM _syncd.runs JOIN {periods} '
            f"USING ({', '.join(PERIOD)}) WHERE status = 'loaded' AND period_start BETWEEN ? AND ?",
            min(starts),  # of closed runs only the stretches are read that these bounds may hold
            max(starts),
        )
    groups: dict[tuple[Any, ...], list[tuple[Any, ...]]] = {}
    for *period, run, completed_at, rows in rivals:
        groups.setdefault(tuple(period), []).append((seniority(completed_at, run), run, rows))
    lost = []
    for (source, *_), group in groups.items():
        _, winner, rows = max(group)
        lost += [Superseded(source, run, winner, rows < had) for _, run, had in group if run != winner]
    _let_go(catalogue, lost, now)
    return lost


def _let_go(catalogue: Catalogue, lost: Sequence[Superseded], now: datetime) -> None:
    """Mark these runs superseded, and their files as let go: swept later, or kept for good."""
    if not lost:
        return
    recall(catalogue, [(one.source, one.run) for one in lost])
    rows = [{"source": one.source, "run": one.run, "keep": one.shrunk, "let_go_at": now} for one in lost]
    with catalogue.listed(rows) as gone:
        catalogue.execute(
            f"UPDATE {OPEN}.runs had SET status = 'superseded' FROM {gone} gone "
            "WHERE had.source = gone.source AND had.run = gone.run"
        )
    hide(catalogue, rows)


def hide(catalogue: Catalogue, rows: Sequence[dict[str, Any]]) -> None:
    """Have no view show the rows of these runs: their own files are let go, in packed ones they are dead.

    `rows`: source, run, keep, let_go_at. The files of runs that are hidden already stay let go as they were.
    """
    with catalogue.listed(rows) as gone:
        catalogue.execute(
            "INSERT INTO _syncd.let_go SELECT path, source, run, let_go_at, keep FROM ("
            f"SELECT path, source, run FROM {OPEN}.files WHERE NOT packed UNION ALL "
            f"SELECT path, source, run FROM {OPEN}.rejects) JOIN {gone} USING (source, run) "
            "WHERE path NOT IN (SELECT path FROM _syncd.let_go)"
        )
        catalogue.execute(
            f"UPDATE {OPEN}.files had SET live = false FROM {gone} gone "
            "WHERE had.source = gone.source AND had.run = gone.run AND NOT had.packed"
        )
        catalogue.execute(  # the files of the others are swept in time; in a segment lines are dead without this
            f"UPDATE {OPEN}.parts had SET rejects = '' FROM {gone} gone WHERE had.source = gone.source "
            f"AND had.run = gone.run AND NOT gone.keep AND rejects NOT IN (SELECT path FROM {OPEN}.rejects)"
        )
        ((first, last),) = catalogue.execute(
            f"SELECT CAST(min(period_start) - {EARLY} AS DATE), CAST(max(period_end) + {LATE} AS DATE) "
            f"FROM {OPEN}.runs SEMI JOIN {gone} USING (source, run)"
        )
        catalogue.execute(
            f"INSERT INTO {OPEN}.dead SELECT DISTINCT path, source, run, keep "
            f"FROM {OPEN}.members JOIN {gone} USING (source, run) WHERE date BETWEEN ? AND ?",
            first,  # of years of members only those are read that these bounds may hold
            last,
        )


def learn(
    catalogue: Catalogue, key: Key, declared: Scope | None, seen: Iterable[tuple[str, Iterable[Column]]]
) -> list[Changed]:
    """Write down what these columns teach, each run's in turn; what of it an analyst will see."""
    source, scope = key
    before = now = columns_of(catalogue.execute, source, scope)
    changed: dict[str, Changed] = {}
    for run, columns in seen:
        had = {column.source_name: column for column in now}
        now = learned(now, declared.columns if declared else (), columns)
        for column in now:
            was = had.get(column.source_name)
            if was is None or looks(was) != looks(column):
                first = Changed(source, scope, column, str(was.type.plain) if was else "", run)
                changed[column.source_name] = replace(changed.get(column.source_name, first), column=column)
    _write_columns(catalogue, key, list(changed.values()))
    _write_facts(catalogue, key, {column.source_name: str(column.type) for column in set(now) - set(before)})
    return list(changed.values())


def _write_columns(catalogue: Catalogue, key: Key, changed: Iterable[Changed]) -> None:
    rows = []
    for one in changed:
        column = one.column
        told = {name: getattr(column, name) for name in ("name", "source_name", "origin", "description")}
        told |= {"type": str(column.type.plain), "facts": str(column.type), "first_run": one.first_run}
        rows.append({"source": key[0], "scope": key[1]} | told)
    catalogue.insert("_syncd.columns", rows)


def _write_facts(catalogue: Catalogue, key: Key, facts: Mapping[str, str]) -> None:
    if facts:
        rows = [{"source_name": name, "facts": text} for name, text in facts.items()]
        with catalogue.listed(rows) as given_rows:
            catalogue.execute(
                f"UPDATE _syncd.columns had SET facts = now.facts FROM {given_rows} now "
                "WHERE had.source = ? AND had.scope = ? AND had.source_name = now.source_name",
                *key,
            )


def introduce(catalogue: Catalogue, key: Key, declared: Scope | None) -> bool:
    """Note the scope with its rules and the name of its view; whether it is new."""
    source, scope = key
    names = dict(catalogue.execute('SELECT scope, "view" FROM _syncd.scopes WHERE source = ?', source))
    if scope not in names:
        view = given(scope, {name.lower() for name in names.values()})
        row = {"source": source, "scope": scope, "view": view, "merge_keys": "[]", "event_time": "[]"}
        catalogue.insert("_syncd.scopes", [row | {"snapshot": False}])
    if declared:
        catalogue.execute(
            "UPDATE _syncd.scopes SET merge_keys = ?, event_time = ?, snapshot = ? WHERE source = ? AND scope = ?",
            orjson.dumps(declared.merge_keys).decode(),
            orjson.dumps(declared.event_time).decode(),
            declared.snapshot,
            *key,
        )
    return scope not in names
