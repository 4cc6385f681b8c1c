"""The views that the catalogue must have, compared with those it has; what differs is written."""

# ruff: noqa: S608 - names are ours or quoted, values are bound
from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

import orjson

from syncd.destinations.lake import views
from syncd.destinations.lake.catalogue import Catalogue, columns_of
from syncd.destinations.lake.views import Chunk
from syncd.model import Column
from syncd.types import Type

LIVE = "_syncd.files JOIN _syncd.runs USING (source, scope, run) WHERE source = ? AND scope = ? AND status = 'loaded'"


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
    chunks: list[Chunk]  # of its jobs' files
    names: dict[tuple[str, str], str]  # of the derived views of the source


def show_all(catalogue: Catalogue, home: Path, source: str | None = None) -> None:
    """Have every view as it must be: after a move, or when a new scope may have the name of a derived view."""
    for of, scope in catalogue.execute("SELECT source, scope FROM _syncd.scopes"):
        if source in (None, of):
            show(catalogue, home, of, scope)
    if source is None:
        show_rejected(catalogue, home)


def show(catalogue: Catalogue, home: Path, source: str, scope: str, touched: Collection[Chunk] | None = None) -> None:
    """Have the views of a scope as they must be. `touched`: only these chunks changed, and no column did."""
    known = _known(catalogue, source, scope)
    hidden = {views.files_view(source, scope, chunk): chunk for chunk in known.chunks}
    rows = catalogue.execute(
        'SELECT "schema", "view", digest FROM _syncd.views WHERE source = ? AND scope = ?', source, scope
    )
    have = {(schema, name): digest for schema, name, digest in rows}
    wanted = [
        _files_view(catalogue, home, known, name, chunk)
        for name, chunk in hidden.items()
        if touched is None or chunk in touched or (views.HIDDEN, name) not in have
    ]
    wanted += _snapshot(catalogue, home, known) if known.snapshot else [*_views(known), *_latest(catalogue, known)]
    stay = {(view.schema, view.name) for view in wanted} | {(views.HIDDEN, name) for name in hidden}
    new = [view for view in wanted if have.get((view.schema, view.name)) != view.digest]
    changed = [*(have.keys() - stay), *((view.schema, view.name) for view in new)]
    for schema, name in changed:
        catalogue.execute(f"DROP VIEW IF EXISTS {views.quoted(schema)}.{views.quoted(name)}")
    catalogue.execute(f"CREATE SCHEMA IF NOT EXISTS {views.quoted(source)}")
    for view in new:
        catalogue.execute(f"CREATE VIEW {views.quoted(view.schema)}.{views.quoted(view.name)} AS {view.sql}")
    of = {"source": source, "scope": scope}
    catalogue.forget("views", [of | {"schema": schema, "view": name} for schema, name in changed])
    catalogue.insert("views", [of | {"schema": view.schema, "view": view.name, "digest": view.digest} for view in new])


def show_rejected(catalogue: Catalogue, home: Path) -> None:
    """Have `_syncd.rejected` over the files that there are."""
    rows = catalogue.execute("SELECT rejects FROM _syncd.parts WHERE rejects <> '' ORDER BY ALL")
    listed = views.rejected_sql([path for (path,) in rows], str(home))
    catalogue.execute(f"CREATE OR REPLACE VIEW _syncd.rejected AS {listed}")


def refused(catalogue: Catalogue, source: str) -> list[str]:
    """Derived views that can't be made: a scope has their name."""
    return derived(catalogue, source)[1]


def derived(catalogue: Catalogue, source: str) -> tuple[dict[tuple[str, str], str], list[str]]:
    """Names of the source's derived views, and those that can't be given."""
    snapshots = catalogue.execute('SELECT "view" FROM _syncd.scopes WHERE source = ? AND snapshot', source)
    return views.derived(_chunks(catalogue, source), {view for (view,) in snapshots})


def spell(columns: Iterable[Column]) -> str:
    """A layout as text: equal for files that one group of a view can read."""
    return orjson.dumps([[column.name, str(column.type.plain), column.source_name] for column in columns]).decode()


def _unspell(spelled: str) -> tuple[Column, ...]:
    return tuple(Column(name, Type.parse(kind), source_name) for name, kind, source_name in orjson.loads(spelled))


def _chunks(catalogue: Catalogue, source: str) -> dict[str, dict[str, list[Chunk]]]:
    """Chunks of live files, by the name of their scope's view and by job; a job without any has an empty one."""
    rows = catalogue.execute(
        "SELECT DISTINCT \"view\", job, if(status = 'loaded', chunk, NULL) number, if(status = 'loaded', layout, NULL) "
        "FROM _syncd.scopes JOIN _syncd.runs USING (source, scope) LEFT JOIN _syncd.files USING (source, scope, run) "
        "WHERE source = ? ORDER BY ALL",
        source,
    )
    found: dict[str, dict[str, list[Chunk]]] = {}
    for view, job, number, layout in rows:
        chunks = found.setdefault(view, {}).setdefault(job, [])
        chunks += [] if layout is None else [Chunk(job, number, layout)]
    return {view: {job: chunks or [Chunk(job)] for job, chunks in by_job.items()} for view, by_job in found.items()}


def _known(catalogue: Catalogue, source: str, scope: str) -> Known:
    ((view, merge_keys, snapshot),) = catalogue.execute(
        'SELECT "view", merge_keys, snapshot FROM _syncd.scopes WHERE source = ? AND scope = ?', source, scope
    )
    layouts = catalogue.execute(
        "SELECT layout, columns FROM _syncd.layouts WHERE layout IN "
        "(SELECT layout FROM _syncd.files WHERE source = ? AND scope = ?)",
        source,
        scope,
    )
    chunks = _chunks(catalogue, source)
    return Known(
        source,
        scope,
        view,
        orjson.loads(merge_keys),
        snapshot,
        columns_of(catalogue.execute, source, scope),
        {layout: _unspell(spelled) for layout, spelled in layouts},
        [chunk for job in chunks[view].values() for chunk in job],
        derived(catalogue, source)[0],
    )


def _files_view(catalogue: Catalogue, home: Path, known: Known, name: str, chunk: Chunk) -> views.View:
    rows = catalogue.execute(
        f"SELECT path, run, loaded_at FROM {LIVE} AND job = ? AND chunk = ? AND layout = ? ORDER BY date, path",
        known.source,
        known.scope,
        chunk.job,
        chunk.number,
        chunk.layout,
    )
    files = [views.LiveFile(*row) for row in rows]
    listed = views.files_sql(known.columns, known.layouts.get(chunk.layout, ()), files, str(home))
    return _view(known, views.HIDDEN, name, listed)


def _views(known: Known) -> list[views.View]:
    """The scope itself, then what each of its jobs delivers."""
    wishes = [(known.view, known.chunks)]
    for job in dict.fromkeys(chunk.job for chunk in known.chunks):
        name = known.names.get((known.view, f"@{job}"), "")
        wishes.append((name, [chunk for chunk in known.chunks if chunk.job == job]))
    shown = []
    for name, chunks in wishes:
        hidden = [views.files_view(known.source, known.scope, chunk) for chunk in chunks]
        if name:
            shown.append(_view(known, known.source, name, views.chain_sql(hidden)))
    return shown


def _latest(catalogue: Catalogue, known: Known) -> list[views.View]:
    live = catalogue.execute(f"SELECT layout, bool_and(dated) FROM {LIVE} GROUP BY layout", known.source, known.scope)
    key = views.merge_key(known.merge_keys, known.columns, [known.layouts[layout] for layout, _ in live])
    name = known.names.get((known.view, ""))
    if not key or not name:
        return []
    over = f"{views.quoted(known.source)}.{views.quoted(known.view)}"
    dated = all(dated for _, dated in live)
    return [_view(known, known.source, name, views.latest_sql(known.columns, over, key, dated=dated))]


def _snapshot(catalogue: Catalogue, home: Path, known: Known) -> list[views.View]:
    """What holds now, and every version that ever held."""
    newest = catalogue.execute(
        "SELECT layout, path, run, loaded_at FROM _syncd.files JOIN (SELECT * FROM _syncd.runs WHERE source = ? AND "
        "scope = ? AND status = 'loaded' ORDER BY completed_at DESC, run DESC LIMIT 1) USING (source, scope, run) "
        "ORDER BY layout, date, path",
        known.source,
        known.scope,
    )
    by_layout: dict[str, list[views.LiveFile]] = {}
    for layout, *file in newest:
        by_layout.setdefault(layout, []).append(views.LiveFile(*file))
    now = [views.files_sql(known.columns, known.layouts[of], files, str(home)) for of, files in by_layout.items()]
    shown = [
        _view(known, known.source, known.view, views.joined_sql(now or [views.files_sql(known.columns, (), [], "")]))
    ]
    if name := known.names.get((known.view, "")):
        hidden = [views.files_view(known.source, known.scope, chunk) for chunk in known.chunks]
        key = views.merge_key(known.merge_keys, known.columns, list(known.layouts.values()))
        told = views.history_sql(known.columns, views.chain_sql(hidden), key, known.source, known.scope)
        shown.append(_view(known, known.source, name, told))
    return shown


def _view(known: Known, schema: str, name: str, sql: str) -> views.View:
    return views.View(schema, name, sql, tuple(f"{one.name} {one.type.plain}" for one in known.columns))
