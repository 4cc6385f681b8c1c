"""When each scope has its turn: at its interval; one that was refused ever more slowly, up to once a day.

The name of a reading tells when it was made, so the names of those that are loaded tell when a scope was read last.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

INSTANT = "%Y%m%dT%H%M%SZ"
NAME = re.compile(r"(\w+)-(\d{8}T\d{6}Z)(?:-([0-9a-f]+))?")
ON_TIME = 0.9  # of an interval: a pass comes a little early rather than late
SLOWEST = timedelta(days=1)  # between two tries of a scope that is refused, when its interval is shorter


@dataclass(frozen=True)
class Made:
    """What the name of a reading tells: its scope, its instant, and a mark of what was read, where there is one."""

    scope: str
    at: datetime
    mark: str = ""

    def __str__(self) -> str:
        return "-".join(filter(None, (self.scope, f"{self.at:{INSTANT}}", self.mark)))


def made(run: str) -> Made | None:
    """What the name of a run tells; None for one that is no reading."""
    found = NAME.fullmatch(run)
    at = instant_of(found[2]) if found else None
    return Made(found[1], at, found[3] or "") if found and at else None


def instant_of(text: str) -> datetime | None:
    try:
        return datetime.strptime(text, INSTANT).replace(tzinfo=UTC)
    except ValueError:
        return None


def newest(closed: Container[str], now: datetime) -> dict[str, Made]:
    """The last loaded reading of each scope; none of a clock that was ahead: what lies before `now` is to be read."""
    found: dict[str, Made] = {}
    for one in filter(None, map(made, closed if isinstance(closed, Iterable) else ())):
        if one.at <= now and (one.scope not in found or found[one.scope].at < one.at):
            found[one.scope] = one
    return found


class Turns:
    """Which scopes are due."""

    def __init__(self, every: Mapping[str, timedelta]) -> None:
        self.every = every
        self._in_vain: Counter[str] = Counter()  # readings of a scope that were refused, one after the other

    def is_due(self, scope: str, last: datetime, now: datetime) -> bool:
        """Whether it is time, when this process began the last reading at `last`; the clock may have been set back."""
        slowed = min(self.every[scope] * 2.0 ** self._in_vain[scope], max(self.every[scope], SLOWEST))
        return not timedelta(0) < now - last < slowed * ON_TIME

    def refused(self, scope: str) -> None:
        """A reading came to nothing."""
        self._in_vain[scope] += 1

    def answered(self, scope: str) -> None:
        """A reading brought something."""
        del self._in_vain[scope]
