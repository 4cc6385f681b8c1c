"""The lines to the outside: what each has to tell, from events and from looking; what was told is noted behind it.

Nobody waits for a line: it hears of an event at once and tells later, in a thread of its own or when a command ends.
"""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any, Protocol

import structlog

from syncd import show
from syncd.outlook import Outlook
from syncd.tell.deliver import Deliver, GivenUp, Refused, Unwanted
from syncd.tell.notes import KEPT, Notes
from syncd.troubles import DISK, SOURCE, WORDS, Trouble, troubles

STANDS = timedelta(hours=1)  # how long a source fails before it is told; one that refuses us is told at once
SHOWN = 5  # troubles in a text
TRIES = 5  # of a message that its receiver refuses
LISTED = 100  # troubles in a message

log = structlog.get_logger()


class Line(Protocol):
    """Somebody who is told something."""

    name: str  # its key under [tell]
    wake: threading.Event

    def hear(self, event: str, values: Mapping[str, Any]) -> None:
        """Take in a log event. Any thread; returns at once."""

    def round(self) -> None:
        """Tell all there is to tell. One thread. Undelivered: some of it is left for the next round."""


class Loads:
    """Tells of each load, oldest first, at least once; one that is refused goes behind the others."""

    def __init__(self, name: str, deliver: Deliver, notes: Notes) -> None:
        self.name, self.wake = name, threading.Event()
        self._deliver, self._notes = deliver, notes
        self._waiting: deque[dict[str, Any]] = deque()
        self._tries: Counter[str] = Counter()

    def catch_up(self, runs: Iterable[Mapping[str, Any]], now: datetime) -> None:
        """Take in what was loaded and not told when we last stopped; `runs` as the catalogue has them, oldest first."""
        told, since = self._notes.told(self.name), max(self._notes.since(self.name), now - KEPT)
        for run in runs:
            if run["loaded_at"].replace(tzinfo=UTC) >= since and f"{run['source']}/{run['run']}" not in told:
                self._waiting.append(load("loaded", f"{run['source']}/{run['run']}", run))

    def hear(self, event: str, values: Mapping[str, Any]) -> None:
        if event in ("run_loaded", "run_replayed"):
            self._waiting.append(load(event.removeprefix("run_"), values["run"], values))
            self.wake.set()

    def round(self) -> None:
        refused: Unwanted | None = None
        for _ in range(len(self._waiting)):
            message = self._waiting[0]
            name = f"{message['source']}/{message['run']}"
            try:
                self._deliver(message)
            except (GivenUp, Unwanted) as error:
                self._tries[name] += 1
                if isinstance(error, Unwanted) and self._tries[name] < TRIES:
                    refused = error
                    self._waiting.rotate(-1)  # the others have their turn
                    continue
                log.error("telling_given_up", to=f"tell.{self.name}", run=name, error=str(error), hint=error.hint)
            self._waiting.popleft()
            self._notes.note(self.name, name, {"loaded_at": datetime.now(UTC).isoformat()})
        if refused:
            raise refused


class Troubles:
    """Tells what needs a person when it begins, and when it is over; each once. A refused message holds up no other."""

    def __init__(
        self, name: str, deliver: Deliver, notes: Notes, look: Callable[[], Outlook], expiring_within: timedelta
    ) -> None:
        self.name, self.wake = name, threading.Event()
        self._deliver, self._notes, self._look, self._within = deliver, notes, look, expiring_within
        self._asked: set[str] = set()  # sources whose pass has ended since we began: before, nothing can be late
        self._refused: set[str] = set()
        self._fails_since: dict[str, float] = {}  # on the monotonic clock
        self._tries: Counter[tuple[str, str]] = Counter()  # of messages that were refused, by event and source
        self._left: Refused | None = None  # what this round's first refusal was

    def hear(self, event: str, values: Mapping[str, Any]) -> None:
        source = str(values.get("source", ""))
        match event:
            case "pass_ended" | "pass_failed":
                self._asked.add(source)
                (self._refused.add if values.get("refused") else self._refused.discard)(source)
            case "run_set_aside" | "run_loaded" | "run_expired":
                pass
            case _:
                return
        self.wake.set()

    def round(self) -> None:
        now = {one.key: one for one in troubles(self._look(), self._within)}
        told = self._notes.told(self.name)
        new = [one for key, one in now.items() if key not in told and self._is_sure(one)]
        self._left = None
        for (kind, source), group in grouped(new):
            if self._is_dealt_with(kind, source, group):
                for one in group:
                    self._notes.note(self.name, one.key, one._asdict())
        self._tell_what_is_over(now)
        if self._left:
            raise self._left

    def _is_dealt_with(self, event: str, source: str, group: list[Trouble]) -> bool:
        """Deliver it: False when it is to be tried again in the next round, True also when it is given up."""
        try:
            self._deliver(message(event, source, group))
        except Refused as error:
            self._tries[event, source] += isinstance(error, Unwanted)
            if self._tries[event, source] < TRIES:
                self._left = self._left or error
                return False
            told = {"trouble": event, "source": source, "error": str(error), "hint": error.hint}
            log.error("telling_given_up", to=f"tell.{self.name}", **told)
        self._tries.pop((event, source), None)
        return True

    def _tell_what_is_over(self, now: Mapping[str, Trouble]) -> None:
        places = {one.place for one in now.values()}
        told = {key: revived(what) for key, what in self._notes.told(self.name).items()}
        gone = {key: one for key, one in told.items() if key not in now and self._is_known(one)}
        over = [one for one in gone.values() if one.place not in places]
        for (kind, source), group in grouped(over):
            if not self._is_dealt_with("recovered", source, group):
                gone = {key: one for key, one in gone.items() if (one.kind, one.source) != (kind, source)}
        for key in gone:  # in the place of the others stands another trouble now, and that one is told
            self._notes.note(self.name, key, None)
        for source in set(self._fails_since) - {one.source for one in now.values() if one.kind == SOURCE}:
            del self._fails_since[source]

    def _is_sure(self, one: Trouble) -> bool:
        """Whether it is so, and doesn't merely look so until the next pass."""
        if one.kind == SOURCE:
            since = self._fails_since.setdefault(one.source, time.monotonic())
            return one.source in self._refused or time.monotonic() - since >= STANDS.total_seconds()
        return self._is_known(one)

    def _is_known(self, one: Trouble) -> bool:
        """Whether it needs no pass to know: of a period without a run the vendor may have news."""
        return one.kind in (SOURCE, DISK) or one.run != "" or one.source in self._asked


class Heartbeat:
    """Is heard after each good pass, while no source's last pass has failed."""

    def __init__(self, name: str, deliver: Deliver) -> None:
        self.name, self.wake = name, threading.Event()
        self._deliver = deliver
        self._failing: set[str] = set()
        self._due = False

    def hear(self, event: str, values: Mapping[str, Any]) -> None:
        source = str(values.get("source", ""))
        if event == "pass_failed":
            self._failing.add(source)
        elif event == "pass_ended":
            self._failing.discard(source)
            self._due = True
            self.wake.set()

    def round(self) -> None:
        if self._due and not self._failing:
            self._deliver({})
            self._due = False


def load(event: str, name: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """The message of a load."""
    source, _, run = name.partition("/")
    start, end = (values[key].replace(tzinfo=UTC) for key in ("period_start", "period_end"))
    counts = {key: values[key] for key in ("rows", "rejected", "bytes", "parts")}
    text = f"syncd: {source}.{values['scope']} {show.period(start, end)} {event}, {counts['rows']:,} rows"
    told = {"event": event, "source": source, "scope": values["scope"], "job": values["job"], "run": run}
    return told | {"period_start": start, "period_end": end} | counts | {"text": slack(text)}


def message(event: str, source: str, group: list[Trouble]) -> dict[str, Any]:
    """The message of some troubles of a kind, or of some that are over."""
    said = "well again" if event == "recovered" else WORDS.get(event, event)
    lines = [f"• {told(one, event)}" for one in group[:SHOWN]]
    lines += [f"… and {len(group) - SHOWN} more"] * (len(group) > SHOWN)
    count = "" if group[0].kind in (SOURCE, DISK) else f"{len(group)} period{'s' * (len(group) > 1)} "
    head = f"syncd on {socket.gethostname()}: {source or 'the disk'}: {count}{said}"
    listed = [one._asdict() | {"was": one.kind} if event == "recovered" else one._asdict() for one in group[:LISTED]]
    counts = {"event": event, "source": source, "count": len(group), "troubles": listed}
    return counts | {"host": socket.gethostname(), "text": slack("\n".join([head, *lines]))}


def told(one: Trouble, event: str) -> str:
    if event == "recovered":
        return f"{one.about} (was: {WORDS.get(one.kind, one.kind)})"
    return f"{one.about}: {one.error}" + (f" → {one.hint}" if one.hint else "")


def slack(text: str) -> str:
    """Text in which nothing is a command to Slack, whoever wrote it: `<!channel>` would wake everybody."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def grouped(found: Iterable[Trouble]) -> Iterator[tuple[tuple[str, str], list[Trouble]]]:
    """By kind and source."""

    def by(one: Trouble) -> tuple[str, str]:
        return one.kind, one.source

    for key, group in groupby(sorted(found, key=by), key=by):
        yield key, list(group)


def revived(what: Mapping[str, Any]) -> Trouble:
    """The trouble of a note."""
    instants = {key: what[key] and datetime.fromisoformat(what[key]) for key in ("period_start", "period_end")}
    return Trouble(**{**what, **instants})
