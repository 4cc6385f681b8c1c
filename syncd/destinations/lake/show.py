"""The views that the catalogue must have, compared with those it has; what differs is written."""

# ruff: noqa: S608 - names are ours or quoted, values are bound
from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson

from syncd.destinations.lake import views
from syncd.destinations.lake.catalogue import Catalogue, columns_of
from syncd.destinations.lake.segments import kept_sql
from syncd.destinations.lake.tables import OPEN
from syncd.destinations.lake.views import Chunk
from syncd.model import Column
from syncd.types import Type

LIVE = f"{OPEN}.files WHERE live AND source = ? AND scope = ?"
ALONE = f"if(path IN (SELECT path FROM {OPEN}.dead), path, '')"  # a file with dead rows has a view of its own
SETTLED = "if(settled LIKE '[%', settled, '')"  # see `settle`
CHUNK_OF = f"chunk, layout, packed, {ALONE} AS alone, {SETTLED} AS settled_by"


@dataclass(frozen=True)
class Known:
    """What the catalogue knows of a scope, as its views need it."""

    source: str
    scope: str
    view: str
    merge_keys: list[list[str]]
    snapshot: bool
    columns: list[Column]
    layouts: dict[str, tuple[Column, ...]]  # of its files
    chunks: list[Chunk]  # of its live files
    jobs: list[str]  # that have delivered
    names: dict[tuple[str, str], str]  # of the derived views of the source


def show_all(catalogue: Catalogue, root: Path | str, source: str | None = None) -> None:
    """Have every view as it must be: after a move, or when a new scope may have the name of a derived view.

    `root`: where readers find the lake: data_dir, another mount of it, or a URL.
    """
    for of, scope in catalogue.execute("SELECT source, scope FROM _syncd.scopes"):
        if source in (None, of):
            show(catalogue, root, of, scope)
    if source is None:
        show_rejected(catalogue, root)


def show(
    catalogue: Catalogue, root: Path | str, source: str, scope: str, touched: Collection[Chunk] | None = None
) -> None:
    """Have the views of a scope as they must be. `touched`: only these chunks changed, and no column did."""
    known = known_of(catalogue, source, scope)
    hidden = {views.files_view(source, scope, chunk): chunk for chunk in known.chunks}
    rows = catalogue.execute(
        'SELECT "schema", "view", digest FROM _syncd.views WHERE source = ? AND scope = ?', source, scope
    )
    have = {(schema, name): digest for schema, name, digest in rows}
    wanted = [
        _files_view(catalogue, root, known, name, chunk)
        for name, chunk in hidden.items()
        if touched is None or chunk in touched or (views.HIDDEN, name) not in have
    ]
    wanted += _snapshot(catalogue, root, known) if known.snapshot else [*_views(known), *_latest(catalogue, known)]
    stay = {(view.schema, view.name) for view in wanted} | {(views.HIDDEN, name) for name in hidden}
    new = [view for view in wanted if have.get((view.schema, view.name)) != view.digest]
    changed = [*(have.keys() - stay), *((view.schema, view.name) for view in new)]
    for schema, name in changed:
        catalogue.execute(f"DROP VIEW IF EXISTS {views.quoted(schema)}.{views.quoted(name)}")
    catalogue.execute(f"CREATE SCHEMA IF NOT EXISTS {views.quoted(source)}")
    for view in new:
        if view.schema == views.HIDDEN:
            _create(catalogue, view, view.sql)
    _create_shown(catalogue, known, [view for view in wanted if view.name == known.view], new)
    of = {"source": source, "scope": scope}
    catalogue.forget("_syncd.views", [of | {"schema": schema, "view": name} for schema, name in changed])
    made = [of | {"schema": view.schema, "view": view.name, "digest": view.digest} for view in new]
    catalogue.insert("_syncd.views", made)


def _create_shown(catalogue: Catalogue, known: Known, scope: Sequence[views.View], new: Sequence[views.View]) -> None:
    """What analysts see. All that stands on the scope's view is bound to a hollow one: the real one costs much more."""
    derived = [view for view in new if view.schema != views.HIDDEN and view not in scope]
    for view in scope if derived else ():
        _create(catalogue, view, views.files_sql(known.columns, (), (), ""))
    for view in derived:
        _create(catalogue, view, view.sql)
    for view in scope:
        if derived or view in new:
            _create(catalogue, view, view.sql)


def _create(catalogue: Catalogue, view: views.View, sql: str) -> None:
    name = f"{views.quoted(view.schema)}.{views.quoted(view.name)}"
    catalogue.execute(f"CREATE OR REPLACE VIEW {name} AS {sql}")


def show_rejected(catalogue: Catalogue, root: Path | str) -> None:
    """Have `_syncd.rejected` over the files that there are."""
    rows = catalogue.execute(f"SELECT path FROM {OPEN}.rejects ORDER BY ALL")
    listed = views.rejected_sql([path for (path,) in rows], str(root), kept_sql(catalogue, root))
    catalogue.execute(f"CREATE OR REPLACE VIEW _syncd.rejected AS {listed}")


def refused(catalogue: Catalogue, source: str) -> list[str]:
    """Derived views that can't be made: a scope has their name."""
    return derived(catalogue, source)[1]


def derived(catalogue: Catalogue, source: str) -> tuple[dict[tuple[str, str], str], list[str]]:
    """Names of the source's derived views, and those that can't be given."""
    rows = catalogue.execute(
        f'SELECT "view", snapshot, job FROM _syncd.scopes JOIN {OPEN}.deliveries USING (source, scope) '
        "WHERE source = ? ORDER BY ALL",
        source,
    )
    jobs: dict[str, list[str]] = {}
    for view, _, job in rows:
        jobs.setdefault(view, []).append(job)
    return views.derived(jobs, {view for view, snapshot, _ in rows if snapshot})


def spell(columns: Iterable[Column]) -> str:
    """A layout as text: equal for files that one group of a view can read."""
    return orjson.dumps([[column.name, str(column.type.plain), column.source_name] for column in columns]).decode()


def layouts_of(catalogue: Catalogue) -> dict[str, tuple[Column, ...]]:
    """Every layout that a file ever had."""
    rows = catalogue.execute("SELECT layout, columns FROM _syncd.layouts")
    return {layout: _unspell(spelled) for layout, spelled in rows}


def _unspell(spelled: str) -> tuple[Column, ...]:
    return tuple(Column(name, Type.parse(kind), source_name) for name, kind, source_name in orjson.loads(spelled))


def known_of(catalogue: Catalogue, source: str, scope: str) -> Known:
    """What the catalogue knows of a scope now."""
    of = (source, scope)
    ((view, merge_keys, snapshot),) = catalogue.execute(
        'SELECT "view", merge_keys, snapshot FROM _syncd.scopes WHERE source = ? AND scope = ?', *of
    )
    layouts = catalogue.execute(
        f"SELECT layout, columns FROM _syncd.layouts WHERE layout IN (SELECT layout FROM {LIVE})", *of
    )
    chunks = catalogue.execute(f"SELECT DISTINCT {CHUNK_OF} FROM {LIVE} ORDER BY ALL", *of)
    jobs = catalogue.execute(f"SELECT job FROM {OPEN}.deliveries WHERE source = ? AND scope = ? ORDER BY job", *of)
    return Known(
        source,
        scope,
        view,
        orjson.loads(merge_keys),
        snapshot,
        columns_of(catalogue.execute, source, scope),
        {layout: _unspell(spelled) for layout, spelled in layouts},
        [Chunk(*row) for row in chunks],
        [job for (job,) in jobs],
        derived(catalogue, source)[0],
    )


def _files_view(catalogue: Catalogue, root: Path | str, known: Known, name: str, chunk: Chunk) -> views.View:
    rows = catalogue.execute(
        f"SELECT path, run, loaded_at FROM {LIVE} AND chunk = ? AND layout = ? AND packed = ? AND {ALONE} = ? "
        f"AND {SETTLED} = ? ORDER BY date, path",
        known.source,
        known.scope,
        chunk.number,
        chunk.layout,
        chunk.packed,
        chunk.path,
        chunk.settled,
    )
    files = [views.LiveFile(*row) for row in rows]
    dead = catalogue.execute(f"SELECT DISTINCT run FROM {OPEN}.dead WHERE path = ? ORDER BY run", chunk.path)
    listed = views.files_sql(
        known.columns,
        known.layouts[chunk.layout],
        files,
        str(root),
        packed=chunk.packed,
        dead=[run for (run,) in dead],
    )
    return _view(known, views.HIDDEN, name, listed)


def _views(known: Known) -> list[views.View]:
    """The scope itself, then what each of its jobs delivers."""
    hidden = [views.files_view(known.source, known.scope, chunk) for chunk in known.chunks]
    rows = views.chain_sql(hidden) if hidden else views.files_sql(known.columns, (), (), "")
    shown = [_view(known, known.source, known.view, rows)]
    over = f"{views.quoted(known.source)}.{views.quoted(known.view)}"
    for job in known.jobs:
        if name := known.names.get((known.view, f"@{job}")):
            shown.append(_view(known, known.source, name, views.job_sql(over, job)))
    return shown


def _latest(catalogue: Catalogue, known: Known) -> list[views.View]:
    key, dated = merge_key_of(catalogue, known)
    name = known.names.get((known.view, ""))
    if not key or not name:
        return []
    by = spelled_key(known, key) if dated else ""
    hidden = {chunk: views.files_view(known.source, known.scope, chunk) for chunk in known.chunks}
    settled = [view for chunk, view in hidden.items() if by and chunk.settled == by]
    doubtful = [view for view in hidden.values() if view not in settled]
    rows = f"{views.quoted(known.source)}.{views.quoted(known.view)}"
    if settled:
        rows = f"({views.chain_sql(doubtful)})" if doubtful else ""
    latest = views.latest_sql(known.columns, rows, key, dated=dated, settled=settled)
    return [_view(known, known.source, name, latest)]


def merge_key_of(catalogue: Catalogue, known: Known) -> tuple[tuple[str, ...], bool]:
    """The columns that tell the rows of a scope apart, () for none; whether each row's day is its event's own."""
    live = catalogue.execute(f"SELECT layout, bool_and(dated) FROM {LIVE} GROUP BY layout", known.source, known.scope)
    key = views.merge_key(known.merge_keys, known.columns, [known.layouts[layout] for layout, _ in live])
    return key, all(dated for _, dated in live)


def spelled_key(known: Known, key: Sequence[str]) -> str:
    """A merge key with its types: what told the values of a narrower type apart says nothing of a wider one's."""
    kinds = {column.name: str(column.type.plain) for column in known.columns}
    return orjson.dumps([[name, kinds[name]] for name in key]).decode()


def _snapshot(catalogue: Catalogue, root: Path | str, known: Known) -> list[views.View]:
    """What holds now, and every version that ever held."""
    now = list(_holding(catalogue, root, known)) or [views.files_sql(known.columns, (), [], "")]
    shown = [_view(known, known.source, known.view, views.joined_sql(now))]
    if name := known.names.get((known.view, "")):
        hidden = [views.files_view(known.source, known.scope, chunk) for chunk in known.chunks]
        key = views.merge_key(known.merge_keys, known.columns, list(known.layouts.values()))
        rows = views.chain_sql(hidden) if hidden else views.files_sql(known.columns, (), (), "")
        told = views.history_sql(known.columns, rows, key, known.source, known.scope)
        shown.append(_view(known, known.source, name, told))
    return shown


def _holding(catalogue: Catalogue, root: Path | str, known: Known) -> Iterator[str]:
    """The rows that hold now, in files of their own and in packed ones."""
    chosen, by_layout = _newest(catalogue, known), dict[str, list[views.LiveFile]]()
    for layout, *file in catalogue.execute(
        f"SELECT layout, path, run, loaded_at FROM {LIVE} AND ({chosen}) ORDER BY layout, date, path",
        known.source,
        known.scope,
    ):
        by_layout.setdefault(layout, []).append(views.LiveFile(*file))
    for layout, files in by_layout.items():
        yield views.files_sql(known.columns, known.layouts[layout], files, str(root))
    for layout, path, loaded_at, run, parts in catalogue.execute(
        f"SELECT layout, path, loaded_at, run, list(part ORDER BY part) FROM {OPEN}.members "
        f"JOIN (SELECT path, layout, loaded_at FROM {LIVE} AND packed) USING (path) "
        f"WHERE source = ? AND scope = ? AND ({chosen}) GROUP BY ALL ORDER BY path, run",
        *(known.source, known.scope) * 2,
    ):
        packed = [views.LiveFile(path, run, loaded_at)]
        rows = views.files_sql(known.columns, known.layouts[layout], packed, str(root), packed=True)
        yield f"{rows} WHERE _syncd_run = {views.text(run)} AND _syncd_part IN ({', '.join(map(views.text, parts))})"


def _newest(catalogue: Catalogue, known: Known) -> str:
    """A condition: of the newest snapshot; of a part that says nothing in it, of the last snapshot in which it does."""
    loaded = (
        f"SELECT run FROM _syncd.runs WHERE source = {views.text(known.source)} AND scope = {views.text(known.scope)} "
        "AND status = 'loaded' {} ORDER BY completed_at DESC, run DESC LIMIT 1"
    )
    silent = views.silent_sql(known.source)
    chosen = f"run = ({loaded.format('')})"
    for (part,) in catalogue.execute(f"SELECT part FROM ({silent}) WHERE {chosen}"):
        of = f"part = {views.text(part)}"
        said = loaded.format(f"AND run NOT IN (SELECT run FROM ({silent}) WHERE {of})")
        chosen += f" OR ({of} AND run = ({said}))"
    return chosen


def _view(known: Known, schema: str, name: str, sql: str) -> views.View:
    return views.View(schema, name, sql, tuple(f"{one.name} {one.type.plain}" for one in known.columns))
