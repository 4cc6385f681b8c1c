"""What everything that reads stands on: the API, the account, the last look at it, and what this process remembers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from syncd.sources.convert.answers import Json
from syncd.sources.convert.api import Api
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
    """What this process knows of earlier readings. Losing it costs a reading more, or a gap told that is none."""

    windows: dict[str, Window] = field(default_factory=dict)
    exported: dict[int, bytes] = field(default_factory=dict)  # the version of each project that was exported


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
