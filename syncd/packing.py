"""Packs the lake's small files while nothing else is under way: a few days at a time, never in a commit's way."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Executor, Future
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta

import structlog

from syncd.destinations.lake import Lake
from syncd.errors import ConfigError, TryAgain

PAUSE = timedelta(minutes=10)  # when nothing is worth packing, or something is in the way
AT_ONCE = timedelta(minutes=1)  # what one `syncd once` spends
LONG_AGO = datetime.min.replace(tzinfo=UTC)
CROWDED = 10_000  # live files of a scope: from here on every query feels them

log = structlog.get_logger()


@dataclass
class Packer:
    """Has the lake pack what is worth it. One caller at a time."""

    lake: Lake
    stop: threading.Event
    _running: Future[bool] | None = None
    _not_before: datetime = LONG_AGO

    @property
    def works(self) -> bool:
        """Whether something is under way in the background."""
        return self._running is not None

    def turn(self, executor: Executor, now: datetime, *, is_idle: bool) -> None:
        """Begin with the next days that are worth it, in the background; bugs pass through."""
        if self._running and self._running.done():
            self._not_before = now if self._running.result() else now + PAUSE
            self._running = None
        if is_idle and not self._running and self._not_before <= now:
            self._running = executor.submit(self.pack_one)

    def spend(self) -> None:
        """Pack for a while, for who comes by only now and then."""
        until = time.monotonic() + AT_ONCE.total_seconds()
        while not self.stop.is_set() and time.monotonic() < until and self.pack_one():
            pass

    def pack_one(self) -> bool:
        """Pack the files of a few days, or else look through packed days; whether there were any."""
        try:
            packed = self.lake.pack()
            settled = [] if packed else self.lake.settle()
        except (TryAgain, ConfigError) as error:
            log.warning("files_not_packed", error=str(error), hint=error.hint)
            return False
        for pack in packed:
            log.info("files_packed", **asdict(pack))
        for one in settled:
            log.info("days_settled", **asdict(one))
        if packed or settled:
            return True
        for source, scope, files in self.lake.crowded(CROWDED):
            log.warning("scope_crowded", source=source, scope=scope, files=files)
        return False
