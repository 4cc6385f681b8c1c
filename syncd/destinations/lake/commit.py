"""One publication: whole runs into the catalogue, what they supersede, what they teach, and the views that change."""

# ruff: noqa: S608 - names are ours or quoted, values are bound
from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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
from syncd.destinations.lake.show import refused, show, show_all, show_rejected, spell
from syncd.destinations.lake.views import Chunk
from syncd.errors import StartOver
from syncd.model import Changed, Committed, Run, Scope, Staged, Superseded

Ready = tuple[Run, Sequence[Staged]]
Key = tuple[str, str]  # source and scope
PERIOD = ("source", "scope", "job", "period_start", "period_end")
CHUNK = 1000  # files that one hidden view lists before the next is begun: what a commit writes again
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
    done.superseded = _supersede(catalogue, ready, utc(now))
    for key in dict.fromkeys((run.source, run.scope) for run, _ in ready):
        mine = [(run, parts) for run, parts in ready if (run.source, run.scope) == key]
        taught = _learn(catalogue, key, declared.get(key), mine)
        done.columns += taught
        if _introduce(catalogue, key, declared.get(key)) or anew:  # its name may be one that a derived view has
            show_all(catalogue, home, key[0])
        else:
            gone = [one.run for one in done.superseded if one.source == key[0]]
            touched = _chunks_of(catalogue, key, [*(run.id for run, _ in mine), *gone])
            show(catalogue, home, *key, touched=None if taught else touched)
    for source in dict.fromkeys(run.source for run, _ in ready):
        done.refused += refused(catalogue, source)
    if any(part.rejects for _, parts in ready for part in parts):
        show_rejected(catalogue, home)
    return done


def withdraw(catalogue: Catalogue, run: Run, now: datetime) -> None:
    """Take a run out, so that it can be added again with other files; those it had are let go."""
    mine = [run.source, run.id]
    catalogue.execute(
        "INSERT INTO _syncd.let_go SELECT path, source, run, ?, false FROM ("
        "SELECT path, source, run FROM _syncd.files UNION ALL "
        "SELECT rejects, source, run FROM _syncd.parts WHERE rejects <> '') "
        "WHERE source = ? AND run = ? AND path NOT IN (SELECT path FROM _syncd.let_go)",
        utc(now),
        *mine,
    )
    for table in ("files", "parts", "runs"):
        catalogue.execute(f"DELETE FROM _syncd.{table} WHERE source = ? AND run = ?", *mine)


def lose(catalogue: Catalogue, paths: Iterable[str], now: datetime) -> None:
    """Take files out that can't be read any more: else no view that lists them opens. The figures stay as they were."""
    with catalogue.listed([{"path": path} for path in ["", *paths]]) as gone:
        catalogue.execute(
            "INSERT INTO _syncd.let_go SELECT path, source, run, ?, true FROM ("
            "SELECT path, source, run FROM _syncd.files UNION ALL SELECT rejects, source, run FROM _syncd.parts) "
            f"SEMI JOIN {gone} USING (path) WHERE path <> '' AND path NOT IN (SELECT path FROM _syncd.let_go)",
            utc(now),
        )
        catalogue.execute(f"DELETE FROM _syncd.files WHERE path IN (SELECT path FROM {gone})")
        catalogue.execute(f"UPDATE _syncd.parts SET rejects = '' WHERE rejects IN (SELECT path FROM {gone})")


def _chunks_of(catalogue: Catalogue, key: Key, runs: list[str]) -> set[Chunk]:
    rows = catalogue.execute(
        "SELECT DISTINCT job, chunk, layout FROM _syncd.files JOIN _syncd.runs USING (source, scope, run) "
        "WHERE source = ? AND scope = ? AND list_contains(?, run)",
        *key,
        runs,
    )
    return {Chunk(*row) for row in rows}


def _open_chunks(catalogue: Catalogue, runs: Iterable[Run]) -> dict[tuple[str, str, str], int]:
    """The chunk that takes the next files, by source, scope and job; 0 where there is none yet."""
    came = {(run.source, run.scope, run.job) for run in runs}
    with catalogue.listed([dict(zip(PERIOD, one, strict=False)) for one in came]) as jobs:
        rows = catalogue.execute(
            "SELECT source, scope, job, chunk, count(*) FROM _syncd.files JOIN _syncd.runs USING (source, scope, run) "
            f"SEMI JOIN {jobs} USING (source, scope, job) GROUP BY ALL ORDER BY chunk"
        )
    return {tuple(of): chunk + (files >= CHUNK) for *of, chunk, files in rows}


def _add(catalogue: Catalogue, ready: Sequence[Ready], loaded_at: datetime) -> None:
    catalogue.insert("runs", [_run_row(run, parts, loaded_at) for run, parts in ready])
    parts, files, layouts = [], [], {}
    chunks = _open_chunks(catalogue, (run for run, _ in ready))
    for run, staged in ready:
        chunk = chunks.get((run.source, run.scope, run.job), 0)
        for part in staged:
            parts.append({"source": run.source, "run": run.id} | {name: getattr(part, name) for name in TALLY})
            of = {"source": run.source, "scope": run.scope, "run": run.id, "part": part.part, "chunk": chunk}
            for file in part.files:
                spelled = spell(file.columns)
                layout = sha256(spelled.encode()).hexdigest()[:20]
                layouts[layout] = {"layout": layout, "columns": spelled}
                told = {name: getattr(file, name) for name in ("path", "date", "rows", "bytes", "dated", "sha256")}
                files.append(of | told | {"layout": layout})
    catalogue.insert("parts", parts)
    catalogue.insert("files", files)
    shown = [row["path"] for row in files] + [row["rejects"] for row in parts if row["rejects"]]
    catalogue.forget("let_go", [{"path": path} for path in shown])  # else the sweep would take what is shown again
    known = {layout for (layout,) in catalogue.execute("SELECT layout FROM _syncd.layouts")}
    catalogue.insert("layouts", [row for layout, row in layouts.items() if layout not in known])


def _run_row(run: Run, staged: Sequence[Staged], loaded_at: datetime) -> dict[str, Any]:
    of = {"source": run.source, "run": run.id, "job": run.job, "scope": run.scope, "format": run.format}
    when = {"period_start": utc(run.start), "period_end": utc(run.end), "completed_at": utc(run.completed_at)}
    sums = {name: sum(getattr(part, name) for part in staged) for name in ("rows", "rejected", "bytes")}
    return of | when | sums | {"loaded_at": loaded_at, "parts": len(staged), "status": "loaded"}


def _supersede(catalogue: Catalogue, ready: Sequence[Ready], now: datetime) -> list[Superseded]:
    """Leave one run loaded for each job and period that came, whatever came first."""
    came = {(run.source, run.scope, run.job, utc(run.start), utc(run.end)) for run, _ in ready}
    with catalogue.listed([dict(zip(PERIOD, period, strict=True)) for period in came]) as periods:
        rivals = catalogue.execute(
            f'SELECT {", ".join(PERIOD)}, run, completed_at, "rows" '
            f"FROM _syncd.runs JOIN {periods} USING ({', '.join(PERIOD)}) WHERE status = 'loaded'"
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
    rows = [{"source": one.source, "run": one.run, "keep": one.shrunk, "let_go_at": now} for one in lost]
    with catalogue.listed(rows) as gone:
        catalogue.execute(
            f"UPDATE _syncd.runs had SET status = 'superseded' FROM {gone} gone "
            "WHERE had.source = gone.source AND had.run = gone.run"
        )
        catalogue.execute(
            "INSERT INTO _syncd.let_go SELECT path, source, run, let_go_at, keep FROM ("
            "SELECT path, source, run FROM _syncd.files UNION ALL "
            f"SELECT rejects, source, run FROM _syncd.parts WHERE rejects <> '') JOIN {gone} USING (source, run)"
        )


def _learn(catalogue: Catalogue, key: Key, declared: Scope | None, ready: Sequence[Ready]) -> list[Changed]:
    """Write down what these runs teach; what of it an analyst will see."""
    source, scope = key
    before = now = columns_of(catalogue.execute, source, scope)
    changed: dict[str, Changed] = {}
    for run, staged in ready:
        had = {column.source_name: column for column in now}
        seen = (column for part in staged for column in part.columns)
        now = learned(now, declared.columns if declared else (), seen)
        for column in now:
            was = had.get(column.source_name)
            if was is None or looks(was) != looks(column):
                first = Changed(source, scope, column, str(was.type.plain) if was else "", run.id)
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
    catalogue.insert("columns", rows)


def _write_facts(catalogue: Catalogue, key: Key, facts: Mapping[str, str]) -> None:
    if facts:
        rows = [{"source_name": name, "facts": text} for name, text in facts.items()]
        with catalogue.listed(rows) as given_rows:
            catalogue.execute(
                f"UPDATE _syncd.columns had SET facts = now.facts FROM {given_rows} now "
                "WHERE had.source = ? AND had.scope = ? AND had.source_name = now.source_name",
                *key,
            )


def _introduce(catalogue: Catalogue, key: Key, declared: Scope | None) -> bool:
    """Note the scope with its rules and the name of its view; whether it is new."""
    source, scope = key
    names = dict(catalogue.execute('SELECT scope, "view" FROM _syncd.scopes WHERE source = ?', source))
    if scope not in names:
        view = given(scope, {name.lower() for name in names.values()})
        row = {"source": source, "scope": scope, "view": view, "merge_keys": "[]", "event_time": "[]"}
        catalogue.insert("scopes", [row | {"snapshot": False}])
    if declared:
        catalogue.execute(
            "UPDATE _syncd.scopes SET merge_keys = ?, event_time = ?, snapshot = ? WHERE source = ? AND scope = ?",
            orjson.dumps(declared.merge_keys).decode(),
            orjson.dumps(declared.event_time).decode(),
            declared.snapshot,
            *key,
        )
    return scope not in names
