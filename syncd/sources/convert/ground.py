"""What everything that reads stands on: the API, the account, the last look at it, and what this process remembers."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from syncd.errors import BadRun
from syncd.sources.convert.answers import Json
from syncd.sources.convert.api import Api, Missing
from syncd.sources.convert.listing import Listing
from syncd.sources.convert.logs import Window


@dataclass(frozen=True)
class Asked:
    """What is to be read: a scope, for a run, at an instant, and when it was last read."""

    scope: str
    run: str
    at: datetime
    before: datetime | None


@dataclass
class Remembered:
    """What this process knows of earlier readings.

    Losing it costs a reading more, or a gap told that is none; and the records of a log that was refused until then,
    if the next process is the first that may read it.
    """

    windows: dict[str, Window] = field(default_factory=dict)
    missed: dict[str, tuple[int, str]] = field(default_factory=dict)  # a place whose log was refused: since when (unix
    # seconds), and the reading that has had it since
    heard: set[str] = field(default_factory=set)  # places whose log was read
    told: set[tuple[str, str, str]] = field(default_factory=set)  # refused steps: scope, part, step

    def settle(self, loaded: Container[str]) -> None:
        """Take back what readings brought that were not loaded."""
        for window in self.windows.values():
            if window.run not in loaded:
                window.rewind()
        for place, (since, run) in list(self.missed.items()):
            self.missed[place] = since, ""
            if run in loaded:
                del self.missed[place]

    def news(self, scope: str, part: str, refused: Mapping[str, BadRun | None]) -> list[BadRun]:
        """The refusals of a part that were not told yet; one that is over will be told again."""
        fresh = []
        for step, error in refused.items():
            if error is None or isinstance(error, Missing):
                self.told.discard((scope, part, step))
            elif (scope, part, step) not in self.told:
                self.told.add((scope, part, step))
                fresh.append(error)
        return fresh


@dataclass(frozen=True)
class Ground:
    """One account, as a pass sees it."""

    api: Api
    account: int
    listing: Listing
    remembered: Remembered
    clock: Callable[[], datetime]

    def at(self, ids: Mapping[str, int]) -> dict[str, int]:
        """The ids of a path."""
        return {"account": self.account, **ids}

    def row(self, of: Mapping[str, int]) -> Json:
        """What each row of a reading begins with."""
        return {**{f"{name}_id": value for name, value in of.items()}, "fetched_at": zulu(self.clock())}


def zulu(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
