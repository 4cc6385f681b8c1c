"""The lake: Parquet files that stay, and `warehouse.duckdb`, which says what of them is loaded.

The rename of the catalogue is the one commit point; everything else here is repeatable.
"""

# ruff: noqa: S608 - names are ours, values are bound
from __future__ import annotations

import shutil
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from syncd.destinations.lake import disk, history, rejects
from syncd.destinations.lake.catalogue import (
    DAMAGE,
    REPAIR,
    Catalogue,
    columns_of,
    forget_torn,
    is_of_today,
    let_held_go,
    publication,
    put_aside,
    reading,
    rest,
    utc,
)
from syncd.destinations.lake.commit import Ready, apply, lose, prove, withdraw
from syncd.destinations.lake.layout import reserved
from syncd.destinations.lake.learn import learned
from syncd.destinations.lake.loaded import Digests, LoadedRuns, ids_of
from syncd.destinations.lake.migrate import grow, is_grown, migrate
from syncd.destinations.lake.pack import WORTH_A_LOOK, Showing, hidden_of, scopes_of, sorting, stored_files, write
from syncd.destinations.lake.paths import CATALOGUE, LAKE, LEDGER, PACKING, TEMPORARY
from syncd.destinations.lake.plan import plan, together
from syncd.destinations.lake.rebuild import Rebuilt, restore, survey
from syncd.destinations.lake.segments import CLOSE_AT, SETTLED, SETTLED_AFTER, Key, accept, close, kept_sql, show_ledger
from syncd.destinations.lake.settle import doubts, shared, write_down
from syncd.destinations.lake.show import layouts_of, show_all
from syncd.destinations.lake.stage import write_part
from syncd.destinations.lake.sweep import forget_files, named, remove_orphans
from syncd.destinations.lake.tables import OPEN
from syncd.destinations.lake.views import rejected_sql
from syncd.errors import ConfigError, SyncdError
from syncd.model import Batch, Committed, Job, Landed, Packed, Run, Scope, Settled, Staged, Stretch
from syncd.types import TEXTS

T = TypeVar("T")
JOBS = ("source", "job", "name", "scope", "format", "frequency", "filters", "fields", "state")


def _now() -> datetime:
    return datetime.now(UTC)


class Lake:
    """A Destination on a local disk. Call `start` once, with data_dir to ourselves; reading needs none."""

    def __init__(
        self,
        data_dir: Path,
        *,
        keep_superseded: timedelta = timedelta(days=7),
        longest_reader: timedelta = timedelta(hours=24),
        hold_catalogues: bool = False,
        clock: Callable[[], datetime] = _now,
    ) -> None:
        self.home = data_dir.absolute()
        self._grace = max(keep_superseded, longest_reader)
        self._hold, self._longest_reader = hold_catalogues, longest_reader
        self._clock = clock
        self._declared: dict[tuple[str, str], Scope] = {}
        self._taught: dict[tuple[str, str], tuple[object, Scope]] = {}  # what `scope` said, and of which catalogue
        self._unpackable: set[str] = set()  # first files of what could not be packed
        self._doubtful: set[tuple[str, str]] = set()  # scopes with a day that could not be looked through
        self._kept: history.Kept = {}
        self._closed: dict[str, dict[str, Digests]] = {}  # by source and segment: what is closed never changes

    def start(self) -> None:
        """Have a catalogue that fits this folder, and none of what a stop left half done."""
        with disk.trouble(f"opening {self.home}"):
            disk.make_folder(self.home / LAKE)
            forget_torn(self.home)
            for torn in (self.home / LAKE).rglob(f".*{TEMPORARY}"):
                torn.unlink(missing_ok=True)
            shutil.rmtree(self.home / LAKE / PACKING, ignore_errors=True)
        if not self._is_published():
            with self._publication():
                return
        with reading(self.home) as catalogue:
            is_here = catalogue.execute("SELECT root FROM _syncd.published") == [(str(self.home),)]
            of_today = is_of_today(catalogue)
            whole = of_today and is_grown(catalogue)
        if not (is_here and of_today and whole):
            with self._publication(anew=not of_today) as catalogue:
                if not of_today:
                    migrate(catalogue)
                elif not whole:
                    grow(catalogue)
                show_ledger(catalogue, self.home)
                show_all(catalogue, self.home)

    def scope(self, source: str, declared: Scope) -> Scope:
        """`declared`, with what loaded runs have taught. The next commit of this scope writes the declaration down."""
        self._declared[source, declared.name] = declared
        published = self.stamp()
        if self._taught.get((source, declared.name), ("", declared))[0] != published:
            known = columns_of(self._read, source, declared.name)
            columns = learned(known, declared.columns, ())
            texts = {column.source_name for column in columns if column.type.kind in TEXTS}
            meant = {column.source_name for column in declared.columns if column.type.kind not in TEXTS}
            taught = replace(declared, columns=tuple(columns), made_text=frozenset(texts & meant))
            self._taught[source, declared.name] = published, taught
        return self._taught[source, declared.name][1]

    def stage(
        self, run: Run, scope: Scope, part: str, landed: Landed, batches: Iterable[Batch], generation: int = 1
    ) -> Staged:
        """Make one part durable, out of sight; a generation above 1 leaves the files of those below alone."""
        return write_part(self.home, run, scope, part, landed, batches, generation)

    def commit(self, ready: Sequence[Ready]) -> Committed:
        """Show whole runs in one step; runs that are loaded already change nothing."""
        loaded = {source: self.loaded(source) for source in {run.source for run, _ in ready}}
        new = {(run.source, run.id): (run, parts) for run, parts in ready if run.id not in loaded[run.source]}
        if not new:
            return Committed()
        with disk.trouble("proving the staged files"):
            prove(self.home, new.values())
        with self._publication() as catalogue:
            return apply(catalogue, self.home, list(new.values()), self._declared, self._clock())

    def rebuild(self, in_flight: Container[str], read: Callable[[int], None] = lambda size: None) -> Rebuilt:
        """Publish a catalogue made from the footers, but for the runs named. One that is here is put aside first."""
        with disk.trouble("reading the lake"):
            lake = survey(self.home, read)
            lake.found = [one for one in lake.found if one.run.name not in in_flight]
            put_aside(self.home)
        with self._publication() as catalogue:
            return restore(catalogue, self.home, lake, self._clock())

    def generation(self, run: Run) -> int:
        """One more than any file has that the catalogue names for this run, or that a packed one was made of."""
        named = self._read(
            r"SELECT max(generation) FROM (SELECT CAST(regexp_extract(path, '\.g([0-9]+)\.', 1) AS INT) AS generation "
            f"FROM (SELECT path, source, run FROM {OPEN}.files UNION ALL SELECT path, source, run FROM _syncd.let_go "
            "UNION ALL SELECT rejects, source, run FROM _syncd.parts) "
            r"WHERE source = $1 AND run = $2 AND regexp_matches(path, '\.g[0-9]+\.') "
            f"UNION ALL SELECT generation FROM {OPEN}.members WHERE source = $1 AND run = $2)",
            run.source,
            run.id,
        )
        return (named[0][0] or 1) + 1 if named else 1

    def replace(self, run: Run, staged: Sequence[Staged]) -> Committed:
        """Show a loaded run with other files; those it had are let go. Repeating shows the same again."""
        return self.mend([(run, staged)])

    def mend(self, ready: Sequence[Ready], lost: Iterable[str] = ()) -> Committed:
        """Show runs with other files, and take `lost` files out of the views, all in one step."""
        with disk.trouble("proving the staged files"):
            prove(self.home, ready)
        with self._publication() as catalogue:
            lose(catalogue, lost, self._clock())
            withdraw(catalogue, [run for run, _ in ready], self._clock())
            done = Committed()
            if ready:
                done = apply(catalogue, self.home, ready, self._declared, self._clock(), anew=True)
            show_all(catalogue, self.home)
            return done

    def accept(self, lost: Sequence[dict[str, Any]]) -> None:
        """Write down that rows of parts are lost for good: source, run, part, rows, rejected."""
        with self._publication() as catalogue:
            accept(catalogue, self.home, lost, self._clock())

    def rejected(self, source: str, run: str, most: int) -> list[dict[str, Any]]:
        """The first rejected lines of a run: part, row, byte_offset, reason. SyncdError: their file is broken."""
        with reading(self.home) as catalogue:
            rows = catalogue.execute(
                f"SELECT path FROM {OPEN}.rejects WHERE source = ? AND run = ? ORDER BY path", source, run
            )
            listed = rejected_sql([path for (path,) in rows[:most]], str(self.home), kept_sql(catalogue, self.home))
        keys = ("part", "row", "byte_offset", "reason")
        chosen = f"SELECT {', '.join(keys)} FROM ({listed}) WHERE source = ? AND run = ?"
        try:
            lines = self._read(f"{chosen} ORDER BY ALL LIMIT {most:d}", source, run)
        except DAMAGE as error:
            raise SyncdError(f"the rejected lines of {source}/{run} can't be read: {error}") from error
        return [dict(zip(keys, line, strict=True)) for line in lines]

    def shows(self, run: Run, staged: Sequence[Staged]) -> bool:
        """Whether the newest loaded run of the same scope and job was made of the very same bytes."""
        newest = (
            "SELECT source, run FROM _syncd.runs WHERE source = ? AND scope = ? AND job = ? AND status = 'loaded' "
            "ORDER BY completed_at DESC, run DESC LIMIT 1"
        )
        of = (run.source, run.scope, run.job)
        had = self._read(f"SELECT part, sha256 FROM _syncd.parts JOIN ({newest}) USING (source, run)", *of)
        return bool(had) and sorted(had) == sorted((part.part, part.sha256) for part in staged)

    def loaded(self, source: str) -> LoadedRuns:
        """Ids of the runs that are loaded or superseded, as they are now."""
        every = partial(self._read, "SELECT run FROM _syncd.runs WHERE source = ?", source)
        if not self._is_published():
            return LoadedRuns(frozenset())
        with reading(self.home) as catalogue:
            if not is_of_today(catalogue):
                return LoadedRuns(frozenset(run for (run,) in every()))
            listed = catalogue.execute(f"SELECT run FROM {OPEN}.runs WHERE source = ?", source)
            paths = catalogue.execute(f"SELECT path FROM {OPEN}.segments WHERE kind = 'runs'")
        known = self._closed.get(source, {})
        closed = {path: known.get(path) or Digests(ids_of(self.home / path, source)) for (path,) in paths}
        self._closed[source] = closed
        return LoadedRuns(
            frozenset(run for (run,) in listed), tuple(closed.values()), lambda: (run for (run,) in every())
        )

    def fuller(self) -> list[tuple[str, str]]:
        """Source and id of superseded runs that had more rows than what took their place: kept until you decide."""
        return self._read(
            "SELECT source, run FROM _syncd.runs SEMI JOIN (SELECT source, run FROM _syncd.let_go WHERE keep) "
            "USING (source, run) WHERE status = 'superseded' ORDER BY ALL"  # else what is left of a lost file
        )

    def history(self, since: datetime, runs: Iterable[Key] = (), most: int = 0, rejecting: int = 0) -> history.History:
        """What the ledger comes to, in one go and in few rows: see `history.told`."""
        if not self._is_published():
            return history.History()
        with reading(self.home) as catalogue:
            return history.told(catalogue, self._kept, since, runs, most, rejecting)

    def stretches(self, source: str) -> list[Stretch]:
        """The periods of every run that is loaded or superseded, few however long the history."""
        if not self._is_published():
            return []
        with reading(self.home) as catalogue:
            return list(history.stretches(catalogue, {}, source))

    def runs(self, source: str = "", status: str = "") -> Iterator[dict[str, Any]]:
        """The rows of `_syncd.runs` by source, scope, start and id, and how many rows of each are lost for good.

        A month of a scope is in memory; instants are UTC without a zone, as in the table.
        """
        if self._is_published():
            with reading(self.home) as catalogue:
                yield from history.walk(catalogue, source, status)

    def known(self, runs: Iterable[Key]) -> dict[Key, str]:
        """The status of those of the runs, by source and id, that are loaded or superseded."""
        if not self._is_published():
            return {}
        with reading(self.home) as catalogue:
            return history.known(catalogue, runs)

    def loaded_since(self, since: datetime) -> list[dict[str, Any]]:
        """The same of those loaded since then, oldest first."""
        if not self._is_published():
            return []
        with reading(self.home) as catalogue:
            return history.loaded_since(catalogue, utc(since))

    def covering(
        self, periods: Sequence[tuple[str, str, datetime, datetime]], most: int
    ) -> list[tuple[int, list[str]]]:
        """For each period of a source's scope: how many loaded runs share more than a seam with it, the first ones."""
        with reading(self.home) as catalogue:
            return history.covering(catalogue, periods, most)

    def jobs(self) -> list[Job]:
        """Every job that was ever on offer, as it was seen last."""
        rows = self._read(f"SELECT {', '.join(JOBS)} FROM _syncd.jobs")
        names = ["id" if name == "job" else name for name in JOBS]
        return [Job(**dict(zip(names, row, strict=True))) for row in rows]

    def stamp(self) -> object:
        """Another value for each published catalogue, for it is a new file each time; None before the first."""
        try:
            found = (self.home / CATALOGUE).stat()
        except FileNotFoundError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size

    def write_abroad(self, root: str, to: Path) -> list[str]:
        """Write a catalogue for readers who see data_dir as `root`, a URL or the path of another mount; its files."""
        from syncd.destinations.lake.abroad import write_abroad  # few need it

        return write_abroad(self.home, root, to)

    def record_jobs(self, source: str, jobs: Iterable[Job]) -> None:
        """Write down the jobs on offer. Publishes only when something about one is new: `seen_at` alone can wait."""
        known = set(self.jobs())
        new = {job.id: job for job in jobs if job not in known}
        if not new:
            return
        seen_at = utc(self._clock())
        with self._publication() as catalogue:
            catalogue.forget("_syncd.jobs", [{"source": source, "job": job} for job in new])
            catalogue.insert("_syncd.jobs", [_job_row(job, seen_at) for job in new.values()])

    def sweep(self, source: str, now: datetime, keep: Iterable[Staged]) -> None:
        """Remove what nobody needs: files let go long enough ago, and old files that neither we nor `keep` name."""
        due = utc(now - self._grace)
        expired = "source IN (?, ?) AND NOT keep AND let_go_at <= ?"
        if self._read(f"SELECT 1 FROM _syncd.let_go WHERE {expired} LIMIT 1", source, LEDGER, due):
            with self._publication() as catalogue:
                forget_files(catalogue, self.home, expired, [source, LEDGER, due])
        if self._read(f"SELECT 1 FROM ({SETTLED}) HAVING count(*) >= {CLOSE_AT}", utc(now - SETTLED_AFTER)):
            with self._publication() as catalogue:
                close(catalogue, self.home, now)
        staged = {path for part in keep for path in (part.rejects, *(file.path for file in part.files))}
        with disk.trouble("sweeping the lake"):
            let_held_go(self.home, now - self._longest_reader)
            for of in (source, LEDGER):
                with reading(self.home) as catalogue:
                    known = named(catalogue, self.home, of)
                remove_orphans(self.home, of, staged | known, now)

    def pack(self) -> list[Packed]:
        """Put small files of a day into one, beside the commits; a few days for one publication while they are small.

        One caller at a time; nothing where nothing is worth it. TryAgain: nothing came of it; the files that were the
        trouble are left alone until the next start.
        """
        with reading(self.home) as catalogue:
            stored = stored_files(catalogue, WORTH_A_LOOK)
            layouts, scopes = layouts_of(catalogue), scopes_of(catalogue)
        keyed = {of: {name for key in scope.merge_keys for name in key} for of, scope in scopes.items()}
        todo = plan(stored, layouts, keyed, utc(self._clock()), reserved(self.home))
        packs = together(pack for pack in todo if pack.first.path not in self._unpackable)
        if not packs:
            return self._pack_rejects()
        written = []
        try:
            with disk.trouble("packing"), sorting(self.home) as connection:
                for pack in packs:
                    with _left_alone(self._unpackable, pack.first.path):
                        scope = scopes[pack.first.source, pack.first.scope]
                        written.append(write(connection, self.home, pack, layouts, scope))
            with self._publication() as catalogue:
                showing = Showing(catalogue, self.home, self._clock())
                for pack, one in zip(packs, written, strict=True):
                    with _left_alone(self._unpackable, pack.first.path):
                        showing.show(pack, one)
                done = showing.finish()
        finally:
            with disk.trouble("packing"):
                for pack in packs:
                    hidden_of(self.home, pack).unlink(missing_ok=True)
        return done or self.pack()

    def _pack_rejects(self) -> list[Packed]:
        with reading(self.home) as catalogue:
            files = rejects.due(catalogue, utc(self._clock()))
        if not files or files[0]["path"] in self._unpackable:
            return []
        with _left_alone(self._unpackable, files[0]["path"]):
            with disk.trouble("packing"):
                path, done = rejects.write(self.home, files)
            with self._publication() as catalogue:
                shown = rejects.show_packed(catalogue, self.home, files, path, self._clock())
        return [done] if shown else self.pack()

    def settle(self) -> list[Settled]:
        """Look through days that are over for merge keys that come twice: of each scope some; none where all is known.

        One caller at a time. TryAgain: nothing came of it; the scope that was the trouble is left alone until the next
        start.
        """
        with reading(self.home) as catalogue:
            every = doubts(catalogue, utc(self._clock()))
            todo = [one for one in every if (one.source, one.scope) not in self._doubtful]
        if not todo:
            return []
        twice = []
        with disk.trouble("looking for merge keys that come twice"), sorting(self.home) as connection:
            for doubt in todo:
                with _left_alone(self._doubtful, (doubt.source, doubt.scope)):
                    twice.append(shared(connection, self.home, doubt))
        with self._publication() as catalogue:
            return [write_down(catalogue, self.home, *one) for one in zip(todo, twice, strict=True)]

    def crowded(self, most: int) -> list[tuple[str, str, int]]:
        """Scopes with more live files than that: source, scope, files."""
        counted = f"SELECT source, scope, count(*) AS files FROM {OPEN}.files WHERE live GROUP BY ALL"
        return self._read(f"FROM ({counted}) WHERE files > ? ORDER BY ALL", most)

    def rest(self) -> None:
        """Nothing is asked for the time being: what only makes the next call fast is let go."""
        rest()

    @contextmanager
    def _publication(self, *, anew: bool = False) -> Iterator[Catalogue]:
        with publication(self.home, anew=anew, hold=self._hold) as catalogue:
            if not catalogue.execute("SELECT 1 FROM _syncd.published"):
                show_ledger(catalogue, self.home)
            yield catalogue
            ((generation,),) = catalogue.execute("SELECT coalesce(max(generation), 0) FROM _syncd.published")
            catalogue.execute("DELETE FROM _syncd.published")
            row = {"generation": generation + 1, "published_at": utc(self._clock()), "root": str(self.home)}
            catalogue.insert("_syncd.published", [row])

    def _is_published(self) -> bool:
        """False before the first start. ConfigError: there was a catalogue, for its lake is there."""
        if (self.home / CATALOGUE).exists():
            return True
        if next((self.home / LAKE).rglob("*.parquet"), None):
            raise ConfigError(f"{self.home / CATALOGUE} is gone, but its lake is there", hint=REPAIR)
        return False

    def _read(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        if not self._is_published():
            return []
        with reading(self.home) as catalogue:
            return catalogue.execute(sql, *values)


@contextmanager
def _left_alone(those: set[T], one: T) -> Iterator[None]:
    """Whether it ends well is not known yet: one that doesn't stays among those."""
    those.add(one)
    yield
    those.discard(one)


def _job_row(job: Job, seen_at: datetime) -> dict[str, Any]:
    return {name: getattr(job, "id" if name == "job" else name) for name in JOBS} | {"seen_at": seen_at}
