"""The lake for readers elsewhere: catalogues under another root, and copies in an object store.

What a catalogue names is there before the catalogue, so a reader always sees a whole generation. Files go only when
they are gone here, which is after the grace time. Nothing is ever read back: data_dir stays the truth.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import structlog

from syncd.destinations.lake import Lake
from syncd.errors import ConfigError, SyncdError, TryAgain
from syncd.settings.publishing import PublishSettings

FOLDER = "published"
PAUSE = timedelta(minutes=1)  # after trouble
LONG_AGO = datetime.min.replace(tzinfo=UTC)
STORES = {"s3": "s3", "gs": "gcs", "az": "azure"}  # by the URL's scheme: the extra that can write there

log = structlog.get_logger()


@dataclass
class Publisher:
    """Has every `[[publish]]` show the newest generation. One caller at a time."""

    lake: Lake
    roots: Sequence[PublishSettings]
    stop: threading.Event
    _shown: dict[str, object] = field(default_factory=dict)  # the generation that each root shows
    _running: Future[list[SyncdError]] | None = None
    _not_before: datetime = LONG_AGO

    def turn(self, executor: Executor, now: datetime) -> None:
        """Begin what is due, in the background; bugs pass through. After trouble with a root there is a pause."""
        if self._running and self._running.done():
            self._not_before = now + PAUSE if self._running.result() else now
            self._running = None
        stamp = self.lake.stamp()
        is_due = stamp is not None and any(self._shown.get(each.root) != stamp for each in self.roots)
        if is_due and not self._running and self._not_before <= now:
            self._running = executor.submit(self)

    def __call__(self) -> list[SyncdError]:
        """Bring each root up to date; the trouble that some had, which ends with them and is logged."""
        stamp, troubles = self.lake.stamp(), []
        for each in self.roots:
            if stamp is None or self._shown.get(each.root) == stamp or self.stop.is_set():
                continue
            try:
                files = self._publish(each)
            except SyncdError as error:
                log.error("publish_failed", root=each.root, error=str(error), hint=error.hint)
                troubles.append(error)
            else:
                self._shown[each.root] = stamp
                log.info("warehouse_published", root=each.root, files=files)
        return troubles

    def _publish(self, to: PublishSettings) -> int:
        catalogue = self.lake.home / FOLDER / f"{to.name}.duckdb"
        named = self.lake.write_abroad(to.root, catalogue)
        if to.scheme in STORES:
            upload(self.lake.home, catalogue, named, to, self.stop)
        return len(named)


def upload(home: Path, catalogue: Path, named: Iterable[str], to: PublishSettings, stop: threading.Event) -> None:
    """Copy what is missing, then the catalogue, then remove what is gone here. Repeating copies only what is missing.

    `named`: paths from `home`. TryAgain: the store can't be reached; ConfigError: it refuses us, or can't be written.
    """
    with told(to):
        from fsspec.core import url_to_fs

        options = {name: value.get_secret_value() for name, value in to.options.items()}
        store, root = url_to_fs(to.root, **options)
        store.invalidate_cache()
        there = sizes(store, f"{root}/lake")
        for path in named:
            size = (home / path).stat().st_size
            if there.get(f"{root}/{path}") != size:
                if stop.is_set():
                    raise TryAgain(f"{to.root}: stopped")
                store.put_file(str(home / path), f"{root}/{path}")
        store.put_file(str(catalogue), f"{root}/warehouse.duckdb")
        gone = [path for path in there if not (home / path.removeprefix(f"{root}/")).exists()]
        if gone:
            store.rm(gone)


def sizes(store: Any, folder: str) -> Mapping[str, int]:
    """The files that are there, with their bytes; paths as the store has them."""
    try:
        return {path: found["size"] for path, found in store.find(folder, detail=True).items()}
    except FileNotFoundError:
        return {}


@contextmanager
def told(to: PublishSettings) -> Iterator[None]:
    """A store's trouble in our words: each store has errors of its own, and none of them may show a secret."""
    try:
        yield
    except SyncdError:
        raise
    except ImportError as error:
        extra = STORES[to.scheme]
        hint = f"pip install 'syncd[{extra}]'; an image: deploy/docker/build --extras"
        raise ConfigError(f"{to.root}: {error.name} is not installed", hint=hint) from error
    except PermissionError as error:
        raise ConfigError(f"{to.root} refuses us", hint="give us its rights to list, read, write and delete") from error
    except Exception as error:
        hint = "is it there, and can it be reached? It is tried again by itself"
        raise TryAgain(f"{to.root}: {type(error).__name__}", hint=hint) from error
