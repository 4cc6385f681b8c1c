"""The vendor's two logs, neither of which has an id for its records: told apart by what they are.

`change_history` is read newest first, back to where the last reading was, and an hour more. `live_data` is the last
hundred events, a sample: what a window shares with the one before was seen already; where they share nothing, events
may be missing, and a row says so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from syncd.sources.convert.answers import Json, dumps, id_of, instant, paging, rows, seconds, unwrapped, whole
from syncd.sources.convert.redaction import redacted

PAGE = 50
OVERLAP_S = 3600  # read once more, for what was written down late
WINDOW = 100  # events, the most that an answer has (documented)


def identity(record: Json) -> str:
    """What a record is: its content, redacted, whatever the order of its keys."""
    return sha256(dumps(record)).hexdigest()


def history(page: Callable[[int], Any], since: int, seen: set[str]) -> Iterator[Json]:
    """Records not in `seen`, newest first, back to `since` (unix seconds); pages may shift meanwhile."""
    number, before = 0, list[str]()
    while True:
        number += 1
        answer = page(number)
        records = list(map(redacted, rows(answer)))
        for record in records:
            record["project"] = id_of(record.get("project"))
        names = list(map(identity, records))
        for name, record in zip(names, records, strict=True):
            if name not in seen:
                seen.add(name)
                yield {**record, "record_sha256": name, "timestamp": instant(record.get("timestamp"))}
        pages = whole(paging(answer).get("pages_count"))
        if not names or (number >= pages if pages is not None else names == before) or goes_back_to(since, records):
            return
        before = names


def goes_back_to(since: int, records: Iterable[Json]) -> bool:
    """Whether a page ends before `since`: by its records that have an instant, and only if they come newest first."""
    instants = list(filter(None, (seconds(record.get("timestamp")) for record in records)))
    return bool(instants) and instants[-1] < since and instants == sorted(instants, reverse=True)


@dataclass
class Window:
    """The last two windows of one place: the newer one was read for `run`, which may be read again."""

    run: str = ""
    before: Counter[str] = field(default_factory=Counter)
    newest_before: Any = None
    now: Counter[str] = field(default_factory=Counter)
    newest: Any = None

    def rewind(self) -> None:
        """Forget the newer one: what it brought was never loaded."""
        self.run, self.now, self.newest = "", self.before, self.newest_before


def live(answer: Any, window: Window, run: str, polled_before: int) -> Iterator[Json]:
    """Events that the window before had not got, oldest first, behind a gap row where some may be missing.

    `polled_before`: when the last reading was that this process knows nothing of, in unix seconds; 0: there was none.
    """
    found = unwrapped(answer)
    events = [
        redacted(event) for event in (found if isinstance(found, list) else rows(answer)) if isinstance(event, dict)
    ]
    events.sort(key=lambda event: seconds(event.get("timestamp")))
    for event in events:
        event["project"] = id_of(event.get("project"))
    names = [identity(event) for event in events]
    if window.run != run:
        window.run, window.before, window.newest_before = run, window.now, window.newest
    had, nth = Counter(window.before), Counter[str]()
    oldest = instant(events[0].get("timestamp")) if events else None
    shares = bool(window.before & Counter(names))
    unseen = seconds(events[0].get("timestamp")) > polled_before > 0 and len(events) >= WINDOW if events else False
    if events and ((window.before and not shares) or (not window.before and unseen)):
        gap = {"kind": "gap", "gap_from": window.newest_before or instant(polled_before), "gap_to": oldest}
        yield {**gap, "timestamp": oldest, "record_sha256": identity(gap), "occurrence": 1}
    window.now, window.newest = Counter(names), instant(events[-1].get("timestamp")) if events else window.newest_before
    for event, name in zip(events, names, strict=True):
        nth[name] += 1
        if nth[name] > had[name]:
            yield {
                **event, "kind": "event", "record_sha256": name, "occurrence": nth[name],
                "timestamp": instant(event.get("timestamp")),
            }  # fmt: skip
