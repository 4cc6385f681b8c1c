"""The daemon on duty: its loop, its HTTP, systemd's ear, and SIGHUP.

A reload is a clean stop and a start inside the process, once the configuration as it is now written has passed what
`syncd check` asks. One that does not is refused in the log, and all goes on as it was.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager

import structlog

from syncd.assemble import open_house
from syncd.checks import problems
from syncd.daemon import Daemon, stoppable
from syncd.errors import ConfigError, SyncdError
from syncd.http import bound, serving
from syncd.log import listening
from syncd.notify import Notifier
from syncd.otel import exporting
from syncd.outlook import Lookout
from syncd.settings import Settings
from syncd.tell import telling
from syncd.vitals import Vitals

log = structlog.get_logger()


def on_duty(read: Callable[[], Settings]) -> None:
    """Work until SIGTERM or SIGINT. SyncdError: what can't be used at the start; bugs pass through."""
    stop, notifier = threading.Event(), Notifier()
    with hang_ups() as asked, stoppable(stop, stopped=lambda number: 0) as came:
        settings, before = read(), None
        reload = Reload(read, asked)
        while not came:
            shift = Shift(settings, stop, notifier, reload)
            try:
                wanted = shift.work(is_start=before is None)
            except SyncdError as error:
                if shift.is_open or before in (None, settings):
                    raise
                refuse(error)
                wanted = before  # the old one could be used a moment ago
            if wanted is None:
                return
            settings, before = wanted, settings
            stop.clear()


class Reload:
    """A wish to go on under another configuration: read and tried beside the loop, which must not wait."""

    def __init__(self, read: Callable[[], Settings], asked: threading.Event) -> None:
        self._read, self._asked = read, asked
        self.taken_by_us: Callable[[], set[str]] = set  # the addresses where we are reached now
        self._trial: Future[Settings | None] | None = None

    def wanted(self) -> Settings | None:
        """The new settings, once they have passed."""
        if self._trial is None and self._asked.is_set():
            self._asked.clear()
            self._trial = Future()
            threading.Thread(target=self._try, args=[self._trial], name="reload", daemon=True).start()
        if self._trial is None or not self._trial.done():
            return None
        found, self._trial = self._trial.result(), None
        return found

    def _try(self, trial: Future[Settings | None]) -> None:
        try:
            settings = self._read()
            for one in problems(settings):
                if one.exit_code == ConfigError.exit_code:
                    raise ConfigError(one.text, hint=one.hint)
            if settings.http.listen not in self.taken_by_us():
                bound(settings.http.listen).close()
            trial.set_result(settings)
        except ConfigError as error:
            refuse(error)
            trial.set_result(None)
        except BaseException as bug:
            trial.set_exception(bug)


def refuse(error: SyncdError) -> None:
    """Say that the old configuration stays."""
    log.error("configuration_refused", error=str(error), hint=f"{error.hint}; until then the old one holds")


class Shift:
    """The time under one configuration."""

    def __init__(self, settings: Settings, stop: threading.Event, notifier: Notifier, reload: Reload) -> None:
        self._settings, self._stop = settings, stop
        self._notifier, self._reload = notifier, reload
        self._vitals = Vitals(settings.sources)
        reload.taken_by_us = lambda: {settings.http.listen, self._vitals.address}
        self._wanted: Settings | None = None
        self._is_ready = False
        self.is_open = False  # whether all that the settings name could be had

    def work(self, *, is_start: bool) -> Settings | None:
        """Work until a stop; the settings to go on under, if it came from a reload."""
        vitals = self._vitals
        if not is_start:
            self._notifier.alive("opening in a reload")
        with (
            open_house(self._settings, vitals, self._stop) as house,
            serving(house, vitals, look := Lookout(house)) as metrics,
            listening(vitals.hear, metrics.hear),
            telling(house, look, forever=True),
            exporting(self._settings, metrics.families),
        ):
            self.is_open = True
            if not is_start:
                log.info("configuration_reloaded")
            Daemon(house, is_start=is_start).run(self._tick)
            if self._wanted:
                self._notifier.alive("closing in a reload")
            else:
                self._notifier.stopping()
        return self._wanted

    def _tick(self) -> None:
        self._vitals.beat()
        self._notifier.alive(self._vitals.told())
        if not self._is_ready and self._vitals.is_heard:
            self._is_ready = True
            self._notifier.ready()
            log.info("daemon_ready")
        if wanted := self._reload.wanted():
            self._wanted = wanted
            self._stop.set()


@contextmanager
def hang_ups() -> Iterator[threading.Event]:
    """SIGHUP sets the event."""
    asked = threading.Event()
    before = signal.signal(signal.SIGHUP, lambda *_: asked.set())
    try:
        yield asked
    finally:
        signal.signal(signal.SIGHUP, before)
