"""The catalogue made again from the lake alone: every file says in its footer what it is part of.

Of a part that was staged more than once the newest generation that is whole counts; the others' files are let go, so
that a reader of the lost catalogue may end what it began. Nothing is removed here.
"""

# ruff: noqa: S608 - names are ours
from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from syncd.destinations.lake.catalogue import Catalogue, utc
from syncd.destinations.lake.closed import (
    PackedFile,
    Sums,
    close_packed,
    date_closed,
    is_packed,
    kept_files,
    packed_file,
    parts_of,
    recover,
    replaced,
    show_closed,
    sums_of,
)
from syncd.destinations.lake.commit import CHUNK, PERIOD, Ready, apply, hide, introduce, learn, supersede
from syncd.destinations.lake.layout import read_columns
from syncd.destinations.lake.paths import part_path, rejects_path
from syncd.destinations.lake.proof import digest_of, on_disk
from syncd.destinations.lake.segments import Key, is_segment, show_ledger
from syncd.destinations.lake.show import show_all
from syncd.destinations.lake.stage import FOOTER, TALLIES
from syncd.destinations.lake.tables import OPEN
from syncd.model import File, Run, Scope, Staged

INSTANTS = ("start", "end", "completed_at", "expires_at")
COUNTS = ("lines", "rows", "rejected", "blank", "bytes")


@dataclass(frozen=True)
class Found:
    """A file of the lake, and what its footer says."""

    file: File
    run: Run
    part: str
    generation: int
    is_rejects: bool
    tally: Mapping[str, Any] | None  # of its whole part; None in a file that was shut before the part had ended
    declared: Scope
    written_at: datetime


@dataclass
class Rebuilt:
    """What a lake had to say."""

    runs: list[Run] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)  # paths of files that say nothing, or that are not what they say
    doubtful: list[str] = field(default_factory=list)  # what of a run could not be told, in words


@dataclass
class Surveyed:
    """All that lies in a lake, but for segments."""

    found: list[Found] = field(default_factory=list)  # files of one part
    packed: list[PackedFile] = field(default_factory=list)  # files of many
    unknown: list[str] = field(default_factory=list)  # paths of those that don't say what they are


def survey(home: Path, read: Callable[[int], None]) -> Surveyed:
    """Read what every file says of itself."""
    lake = Surveyed()
    for path in sorted(path for path in on_disk(home) if not is_segment(path)):
        try:
            if is_packed(path):
                lake.packed.append(packed_file(home, path, read))
            else:
                lake.found.append(_found(home, path, read))
        except FileNotFoundError:
            continue
        except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            lake.unknown.append(path)
    return lake


def restore(catalogue: Catalogue, home: Path, lake: Surveyed, now: datetime) -> Rebuilt:
    """Fill an empty catalogue, in its open transaction."""
    torn = recover(catalogue, home, lake.packed)
    done = Rebuilt(unknown=[*lake.unknown, *torn])
    kept = kept_files(catalogue, home)
    gone = replaced(catalogue) | kept
    found = [one for one in lake.found if one.file.path not in gone]
    ready, chosen = _ready(catalogue, found, kept, done)
    declared = {one.key: one.declared for one in lake.packed}
    declared |= {(one.run.source, one.run.scope): one.declared for one in sorted(found, key=lambda one: one.written_at)}
    for key in sorted({(one.said["source"], one.said["scope"]) for one in lake.packed}):
        mine = [
            column for one in lake.packed if (one.said["source"], one.said["scope"]) == key for column in one.columns
        ]
        learn(catalogue, key, declared[key], [("", mine)])
        introduce(catalogue, key, declared[key])
    for some in _slices(ready):
        apply(catalogue, home, [(run, [_alone(part, kept) for part in parts]) for run, parts in some], declared, now)
    _name_kept(catalogue, ready, kept)
    _date(catalogue, found)
    show_closed(catalogue, home, lake.packed, chosen)
    date_closed(catalogue)
    show_ledger(catalogue, home)
    _settle(catalogue, now)
    close_packed(catalogue, home, now)
    named = {
        path
        for (path,) in catalogue.execute(f"SELECT path FROM {OPEN}.files UNION ALL SELECT path FROM {OPEN}.rejects")
    }
    _let_go(catalogue, lake, named, now)
    show_all(catalogue, home)
    done.runs = [run for run, _ in ready]
    return done


def _alone(part: Staged, kept: Container[str]) -> Staged:
    """The part without a file of rejected lines that is none of its own."""
    return replace(part, rejects="") if part.rejects in kept else part


def _name_kept(catalogue: Catalogue, ready: Iterable[Ready], kept: Container[str]) -> None:
    """Have the ledger name the files whose lines are in segments."""
    rows = [
        {"source": run.source, "run": run.id, "part": part.part, "rejects": part.rejects}
        for run, parts in ready
        for part in parts
        if part.rejects in kept
    ]
    if rows:
        with catalogue.listed(rows) as given:
            catalogue.execute(
                f"UPDATE {OPEN}.parts had SET rejects = now.rejects FROM {given} now "
                "WHERE had.source = now.source AND had.run = now.run AND had.part = now.part"
            )


def _ready(
    catalogue: Catalogue, found: Sequence[Found], kept: Container[str], done: Rebuilt
) -> tuple[list[Ready], dict[Key, int]]:
    """Runs that have files of their own, oldest first; of those with packed rows too the generation that counts."""
    by_run: dict[Key, list[Found]] = defaultdict(list)
    for one in found:
        by_run[one.run.source, one.run.id].append(one)
    packed, told = sums_of(catalogue, by_run), parts_of(catalogue, by_run)
    told = {key: {name: _known(part, kept) for name, part in parts.items()} for key, parts in told.items()}
    ready: list[Ready] = []
    chosen: dict[Key, int] = {}
    for key, files in sorted(by_run.items(), key=lambda item: min(one.written_at for one in item[1])):
        newest = max(files, key=lambda one: (one.generation, one.written_at))
        if key in packed:
            chosen[key], parts = _beside_packed(files, packed[key], told.get(key, {}))
        else:
            parts = list(_parts(files, told.get(key, {}), done))
        ready.append((newest.run, parts))
    return ready, chosen


def _beside_packed(files: Sequence[Found], packed: Sums, told: Mapping[str, Staged]) -> tuple[int, list[Staged]]:
    """The newest generation that is whole with what is packed of it, else the newest; and its parts."""
    generations = sorted({*packed, *(one.generation for one in files)}, reverse=True)
    first: tuple[int, list[Staged]] | None = None
    for generation in generations:
        parts = dict(told)
        for name in {one.part for one in files if one.generation == generation}:
            mine = [one for one in files if (one.generation, one.part) == (generation, name)]
            parts[name] = _staged(name, mine, kept=told.get(name)) or parts.get(name) or Staged(name)
        own = {name: sum(file.rows for file in part.files) for name, part in parts.items()}
        sums = {name: rows + packed.get(generation, {}).get(name, 0) for name, rows in own.items()}
        if all(sums[name] == part.rows for name, part in parts.items()):
            return generation, list(parts.values())
        first = first or (generation, list(parts.values()))
    assert first, "a run that is here has a generation"
    return first


def _settle(catalogue: Catalogue, now: datetime) -> None:
    """Leave one run loaded for each period, and none of the others' rows to be seen."""
    periods = catalogue.execute(
        f"SELECT {', '.join(PERIOD)} FROM _syncd.runs WHERE status = 'loaded' GROUP BY ALL HAVING count(*) > 1"
    )
    if periods:
        supersede(catalogue, periods, utc(now))
    rows = catalogue.execute("SELECT source, run FROM _syncd.runs WHERE status = 'superseded'")
    if rows:
        keep = {"keep": True, "let_go_at": utc(now)}
        hide(catalogue, [{"source": source, "run": run} | keep for source, run in rows])


def _found(home: Path, path: str, read: Callable[[int], None]) -> Found:
    """What the footer says; ValueError where the file doesn't lie where it says that it belongs."""
    with pq.ParquetFile(home / path) as parquet:
        metadata = parquet.metadata
    said = orjson.loads(metadata.metadata[FOOTER])
    told = orjson.loads(metadata.metadata[TALLIES])
    run = _run(said["run"])
    part, generation = said["part"], said["generation"]
    is_rejects = path == rejects_path(run, part, generation)
    date = "" if is_rejects else Path(path).parent.name.partition("=")[2]
    stem = part_path(run, part, date, generation, 1).removesuffix(".parquet")
    if not is_rejects and not re.fullmatch(re.escape(stem) + r"(\.[0-9]+)?\.parquet", path):
        raise ValueError(path)  # a copy that somebody made: its rows would come twice
    columns = read_columns(said["layout"])
    status = (home / path).stat()
    digest = digest_of(home / path, read)
    file = File(path, date, metadata.num_rows, status.st_size, columns, told["dated"], digest)
    scope = said["scope"]
    keys = tuple(map(tuple, scope["merge_keys"]))
    declared = Scope(run.scope, read_columns(scope["columns"]), keys, tuple(scope["event_time"]), scope["snapshot"])
    tally = told if told["is_whole"] else None
    written_at = datetime.fromtimestamp(status.st_mtime, UTC)
    return Found(file, run, part, generation, is_rejects, tally, declared, written_at)


def _parts(files: Iterable[Found], told: Mapping[str, Staged], done: Rebuilt) -> Iterator[Staged]:
    """Each part of a run at its newest whole generation; where none is whole, as far as it is there.

    `told`: what segments say of the run's parts, for those whose files are gone or don't say it.
    """
    missing = dict(told)
    parts: dict[str, dict[int, list[Found]]] = defaultdict(lambda: defaultdict(list))
    for one in files:
        parts[one.part][one.generation].append(one)
    for name, generations in sorted(parts.items()):
        closed = missing.pop(name, None)
        newest_first = [
            _staged(name, generations[number], closed, closed) for number in sorted(generations, reverse=True)
        ]
        staged = [one for one in newest_first if one]
        if staged:
            yield next(filter(_is_whole, staged), staged[0])
        else:
            run = next(iter(generations.values()))[0].run
            done.doubtful.append(f"{run.name}, part {name}: what is left of its files doesn't say how many rows it had")
    yield from missing.values()


def _known(part: Staged, kept: Container[str]) -> Staged:
    """What segments say of a part, with the file of its rejected lines only where these are in a segment."""
    return part if part.rejects in kept else replace(part, rejects="", rejects_sha256="")


def _staged(
    part: str, files: Sequence[Found], closed: Staged | None = None, kept: Staged | None = None
) -> Staged | None:
    """One generation of a part; None when neither a file nor the segments (`closed`) tell what the whole was.

    `kept`: the same part as a segment knows it, which may have the rejected lines of this generation.
    """
    rejects = next((one.file for one in files if one.is_rejects), File("", "", 0, 0, ()))
    if kept and not rejects.path and kept.rejects == rejects_path(files[0].run, part, files[0].generation):
        rejects = File(kept.rejects, "", 0, 0, (), sha256=kept.rejects_sha256)
    mine = tuple(one.file for one in files if not one.is_rejects)
    tally = next((one.tally for one in files if one.tally), None)
    if tally is None:
        return closed and replace(closed, files=mine, rejects=rejects.path, rejects_sha256=rejects.sha256)
    return Staged(
        part,
        mine,
        rejects.path,
        sha256=tally["sha256"],
        **{name: tally[name] for name in COUNTS},
        columns=read_columns(tally["columns"]),
        rejects_sha256=rejects.sha256,
    )


def _is_whole(part: Staged) -> bool:
    return sum(file.rows for file in part.files) == part.rows and bool(part.rejects) == bool(part.rejected)


def _slices(ready: Sequence[Ready]) -> Iterator[list[Ready]]:
    """A chunk's worth of files at a time."""
    some: list[Ready] = []
    files = 0
    for run, parts in ready:
        some.append((run, parts))
        files += sum(len(part.files) for part in parts)
        if files >= CHUNK:
            yield some
            some, files = [], 0
    if some:
        yield some


def _date(catalogue: Catalogue, found: Iterable[Found]) -> None:
    """When a run was loaded, its newest file tells best."""
    newest: dict[tuple[str, str], datetime] = {}
    for one in found:
        key = (one.run.source, one.run.id)
        newest[key] = max(one.written_at, newest.get(key, one.written_at))
    rows = [{"source": source, "run": run, "loaded_at": utc(at)} for (source, run), at in newest.items()]
    if rows:
        with catalogue.listed(rows) as dated:
            catalogue.execute(
                f"UPDATE {OPEN}.runs had SET loaded_at = now.loaded_at FROM {dated} now "
                "WHERE had.source = now.source AND had.run = now.run"
            )


def _let_go(catalogue: Catalogue, lake: Surveyed, named: set[str], now: datetime) -> None:
    """What isn't shown stays for as long as superseded files do: a reader may have it open."""
    gone = [(one.file.path, one.run.source, one.run.id) for one in lake.found if one.file.path not in named]
    gone += [(one.path, one.said["source"], "") for one in lake.packed if one.path not in named]
    gone += [(path, path.split("/")[1], "") for path in lake.unknown]
    rows = [{"path": path, "source": source, "run": run} for path, source, run in gone]
    catalogue.insert("_syncd.let_go", [row | {"let_go_at": utc(now), "keep": False} for row in rows])


def _run(said: Mapping[str, Any]) -> Run:
    instants = {name: datetime.fromisoformat(said[name]) for name in INSTANTS}
    return Run(**{**said, **instants, "fields": tuple(said["fields"])})
