"""Builds the house from the settings: the one place that names every class."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

import structlog

from syncd.commits import Commits
from syncd.destinations.lake import Lake
from syncd.disk import trouble
from syncd.errors import ConfigError, TryAgain
from syncd.footing import firm, remote_kind
from syncd.judge import Rules
from syncd.landing import Landing
from syncd.memory import thrifty
from syncd.model import Source
from syncd.packing import Packer
from syncd.publish import Publisher
from syncd.retry import Patience, patient
from syncd.rights import ours, usable
from syncd.settings import Settings
from syncd.settings.convert import ConvertSettings
from syncd.settings.cordial import CordialSettings
from syncd.settings.vendors import SourceSettings
from syncd.state import State, open_state
from syncd.sync import Mirror, Watch

log = structlog.get_logger()

LOCK, LANDING, ASKED = "syncd.lock", "landing", "asked"


class Busy(TryAgain):
    """Another syncd works on this data_dir."""


@dataclass(frozen=True)
class House:
    """Everything open and ready to work; the lock is held."""

    settings: Settings
    state: State
    lake: Lake
    mirrors: dict[str, Mirror]
    publisher: Publisher
    packer: Packer
    stop: threading.Event
    lock: IO[bytes]

    def stand(self) -> None:
        """TryAgain when data_dir is no longer the folder that we hold: it was removed, or another was put there."""
        here = self.settings.data_dir / LOCK
        if not here.exists() or not os.path.samestat(here.stat(), os.fstat(self.lock.fileno())):
            message = f"data_dir {self.settings.data_dir} is gone, or another has taken its place"
            raise TryAgain(message, hint="is its disk mounted? then start syncd again: it takes what it finds there")


def build_source(name: str, settings: SourceSettings) -> Source:
    """The source that a `[sources.NAME]` section describes. No request is made."""
    if isinstance(settings, CordialSettings):
        return build_cordial(name, settings)
    if isinstance(settings, ConvertSettings):
        return build_convert(name, settings)
    from syncd.sources.contentsquare.source import Contentsquare

    return Contentsquare(
        name,
        client_id=settings.client_id,
        client_secret=settings.client_secret,
        project_id=settings.project_id,
        token_url=settings.token_url,
        jobs=settings.jobs,
        since=settings.since,
        max_concurrent_requests=settings.max_concurrent_requests,
    )


def build_cordial(name: str, settings: CordialSettings) -> Source:
    from syncd.sources.cordial.source import Cordial

    return Cordial(
        name,
        api_key=settings.api_key,
        zone=settings.landing_zone(),
        exports=[section.export(name, export) for export, section in settings.exports.items()],
        base_url=settings.base_url,
        job_poll=settings.job_poll,
        in_flight=settings.in_flight,
        clear_zone=settings.clear_zone,
        max_concurrent_requests=settings.max_concurrent_requests,
    )


def build_convert(name: str, settings: ConvertSettings) -> Source:
    from syncd.sources.convert.source import Convert

    key, secret = settings.key
    return Convert(
        name,
        account_id=settings.account_id,
        application_id=key,
        secret=secret,
        auth=settings.auth,
        projects=settings.projects,
        base_url=settings.base_url,
        poll_interval=settings.poll_interval,
        spacing=settings.spacing,
        scopes=settings.intervals,
    )


def build_lake(settings: Settings) -> Lake:
    """The lake under data_dir, for reading or, in an open house, for writing."""
    return Lake(
        settings.data_dir,
        keep_superseded=settings.lake.keep_superseded,
        longest_reader=settings.lake.longest_reader,
        hold_catalogues=bool(remote_kind(settings.data_dir)),
    )


@contextmanager
def open_house(
    settings: Settings, watch: Watch, stop: threading.Event, start: Callable[[Lake], None] = Lake.start
) -> Iterator[House]:
    """Take the lock and open all. ConfigError: data_dir can't be used; TryAgain: another syncd works there."""
    thrifty()
    if not settings.sources:
        raise ConfigError("no source is configured", hint="add a [sources.NAME] section; see config/syncd.example.toml")
    with ExitStack() as closing:
        root = usable(settings.data_dir)
        firm(root, usable(settings.state_path.parent, "state_dir"))
        lock = closing.enter_context(locked(root / LOCK))
        lake = build_lake(settings)
        with trouble(f"opening {root}"):
            start(lake)
            state = open_state(settings.state_path, root / ASKED)
        closing.callback(state.close)
        workers = closing.enter_context(ThreadPoolExecutor(settings.workers, thread_name_prefix="stage"))
        commits = Commits(lake)
        mirrors = {}
        for name, section in settings.sources.items():
            patience = Patience(settings.retry_for, stop, planned=partial(told, name))
            fetchers = ThreadPoolExecutor(section.max_concurrent_requests, thread_name_prefix=f"{name}-fetch")
            mirrors[name] = Mirror(
                source=patient(build_source(name, section), patience),
                destination=lake,
                state=state,
                landing=Landing(root / LANDING, section.stalled_after),
                rules=Rules(
                    settings.parse.max_rejected,
                    settings.parse.schema_ == "freeze",
                    settings.landing.keep,
                    settings.landing.cap,
                ),
                patience=patience,
                fetchers=closing.enter_context(fetchers),
                share=max(1, section.max_concurrent_requests - 1),
                workers=workers,
                commits=commits,
                watch=watch,
                stop=stop,
            )
        publisher, packer = Publisher(lake, settings.publish, stop), Packer(lake, stop)
        yield House(settings, state, lake, mirrors, publisher, packer, stop, lock)


@contextmanager
def locked(path: Path) -> Iterator[IO[bytes]]:
    """Hold data_dir for this process; TryAgain when another holds it. The kernel lets go when we die."""
    with ours(path.parent):
        lock = path.open("ab+", buffering=0)  # closing it writes nothing, so a full disk is told here alone
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.seek(0)
            holder = lock.read().decode(errors="replace").strip() or "unknown"
            raise Busy(
                f"another syncd works on {path.parent} (process {holder})",
                hint="stop it first, or leave the work to it: one data_dir has one daemon",
            ) from error
        with ours(path.parent):
            lock.truncate(0)
            lock.write(str(os.getpid()).encode())
        yield lock


def told(source: str, error: TryAgain, pause_s: float) -> None:
    """Log a retry before its pause."""
    log.info("retry_planned", source=source, error=str(error), hint=error.hint, pause_s=round(pause_s, 1))
