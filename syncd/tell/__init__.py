"""Telling people and programs what `[tell]` names: loads, troubles, a heartbeat. Never holds up or fails the mirror.

Whatever is told is told at least once: who dies between a delivery and its note tells it again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import structlog

from syncd.assemble import House
from syncd.errors import SyncdError
from syncd.log import listening
from syncd.outlook import Lookout, Outlook

if TYPE_CHECKING:
    from syncd.tell.lines import Line

LOOK_EVERY_S = 20.0  # for what comes about without an event: a period grows late, a file's end draws near
SETTLE_S = 0.5  # what happens together is told together
FIRST_PAUSE_S, LONGEST_PAUSE_S = 5.0, 900.0  # of a line that can't be reached
LEAVE_S = 2.5  # for lines that are at it when we stop

log = structlog.get_logger()


@contextmanager
def telling(house: House, look: Callable[[], Outlook] | None = None, *, forever: bool) -> Iterator[None]:
    """Tell what happens inside. `forever`: all the while, in threads; else once, when the block has ended well."""
    lines = lines_of(house, look or Lookout(house))
    with listening(*(line.hear for line in lines)) if lines else nullcontext():
        if not forever:
            yield
            for line in lines:
                one_round(line, house.stop)
            return
        done = threading.Event()
        threads = [
            threading.Thread(target=keep_telling, args=[line, done, house.stop], name=line.name, daemon=True)
            for line in lines
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            done.set()
            for line in lines:
                line.wake.set()
            ends_at = time.monotonic() + LEAVE_S
            for thread in threads:
                thread.join(max(ends_at - time.monotonic(), 0))


def lines_of(house: House, look: Callable[[], Outlook]) -> list[Line]:
    """The lines that the configuration asks for."""
    tell, stop = house.settings.tell, house.stop
    names = [name for name in ("loaded_url", "loaded_command", "trouble_url") if getattr(tell, name)]
    if not names and not tell.heartbeat_url:
        return []
    from syncd.tell.deliver import pinging, posting, running, twice
    from syncd.tell.lines import Heartbeat, Loads, Troubles
    from syncd.tell.notes import KEPT, Notes

    now = datetime.now(UTC)
    notes = Notes(house.settings.data_dir / "told.jsonl", names, now)
    loads: list[Loads] = []
    lines: list[Line] = []
    if tell.loaded_url:
        post = posting("tell.loaded_url", tell.loaded_url, stop, tell.loaded_authorization)
        loads.append(Loads("loaded_url", post, notes))
    if tell.loaded_command:
        warehouse = str(house.settings.data_dir.absolute() / "warehouse.duckdb")
        run = running("tell.loaded_command", tell.loaded_command, tell.loaded_command_timeout, stop, warehouse)
        loads.append(Loads("loaded_command", twice(run, stop), notes))
    for each in loads:
        each.catch_up(house.lake.loaded_since(now - KEPT), now)
    if tell.trouble_url:
        post = posting("tell.trouble_url", tell.trouble_url, stop)
        lines.append(Troubles("trouble_url", post, notes, look, tell.expiring_within))
    if tell.heartbeat_url:
        lines.append(Heartbeat("heartbeat_url", pinging("tell.heartbeat_url", tell.heartbeat_url, stop)))
    return [*loads, *lines]


def keep_telling(line: Line, done: threading.Event, stop: threading.Event) -> None:
    """Rounds until the end; after one that failed, pauses that grow."""
    pause_s = FIRST_PAUSE_S
    while not done.is_set():
        line.wake.clear()
        if one_round(line, stop):
            pause_s = FIRST_PAUSE_S
            line.wake.wait(LOOK_EVERY_S)
            done.wait(SETTLE_S)
        else:
            done.wait(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)


def one_round(line: Line, stop: threading.Event) -> bool:
    """Whether all was told. What went wrong is in the log, and the mirror goes on."""
    try:
        line.round()
    except Exception as error:  # whatever it is: telling must not end the mirror
        if not stop.is_set():
            told = str(error) if isinstance(error, SyncdError) else f"{type(error).__name__}: {error}"
            log.warning("telling_failed", to=f"tell.{line.name}", error=told, hint=getattr(error, "hint", ""))
        return False
    return True
