"""Whether the daemon lives: its loop turns, its sources have been heard. Fed by the loop itself and by log events.

Reads no file and asks nobody, so it may be looked at as often as anyone likes, from any thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from syncd.model import Run

STALE_S = 60.0  # a loop whose last tick is older hangs


@dataclass
class Carried:
    """A run on its way home, for who looks on."""

    run: Run
    parts: int
    size: int  # bytes; 0 when the vendor told none
    began_at: datetime
    landed: int = 0  # bytes
    rows: int = 0

    @property
    def is_landed(self) -> bool:
        """Every byte is here, as far as the vendor told how many there are; or rows come of it already."""
        return self.rows > 0 or 0 < self.size <= self.landed


class Vitals:
    """A Watch, a listener to the log, and the place of the loop's beat."""

    def __init__(self, sources: Iterable[str], clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._beat = clock()
        self._unheard = set(sources)
        self._welcome = False  # some source has not refused us
        self._said: dict[str, str] = {}  # the last word on each source
        self._carried: dict[str, Carried] = {}
        self.address = ""  # where the page is reached

    def beat(self) -> None:
        """The loop has turned."""
        self._beat = self._clock()

    @property
    def tick_age_s(self) -> float:
        """Seconds since the loop last turned."""
        return self._clock() - self._beat

    @property
    def is_turning(self) -> bool:
        return self.tick_age_s < STALE_S

    @property
    def is_heard(self) -> bool:
        """Every source has answered its first request, or is clearly being retried; and not all have refused us."""
        return self._welcome and not self._unheard

    def hear(self, event: str, values: Mapping[str, Any]) -> None:
        """Take in a log event."""
        source = str(values.get("source", ""))
        match event:
            case "request_ended" if values["kind"] == "api" and 200 <= values["status"] < 300:
                said = self._said.get(source, "answers")  # its lists may take hours
            case "jobs_listed":
                said = "reading its runs"
            case "retry_planned":
                said = f"trying again: {values['error']}"
            case "pass_ended":
                said = f"fine at {datetime.now(UTC):%H:%M} UTC"
            case "pass_failed":
                said = f"{values['error']} → {values['hint']}"
            case _:
                return
        self._said[source] = said
        self._welcome |= not values.get("refused")
        self._unheard.discard(source)

    def told(self) -> str:
        """One line for people: what is going on."""
        carried = list(self._carried.values())
        rows = sum(each.rows for each in carried)
        loading = f"loading {len(carried)} run{'s' * (len(carried) > 1)}, {rows:,} rows; " if carried else ""
        said = "; ".join(f"{source}: {word}" for source, word in sorted(self._said.items()))
        return loading + (said or "asking the sources")

    def carried(self) -> list[Carried]:
        """The runs on their way, oldest first."""
        return sorted(self._carried.values(), key=lambda each: each.began_at)

    def begin(self, run: Run, parts: int, size: int) -> None:
        self._carried[run.name] = Carried(run, parts, size, datetime.now(UTC))

    def landed(self, run: Run, size: int) -> None:
        if each := self._carried.get(run.name):
            each.landed += size  # parts land side by side; a lost update costs a picture, not a byte

    def staged(self, run: Run, rows: int) -> None:
        if each := self._carried.get(run.name):
            each.rows += rows

    def end(self, run: Run) -> None:
        self._carried.pop(run.name, None)
