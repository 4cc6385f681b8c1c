"""One request in flight, and a pause between two that grows when the vendor complains.

The vendor tells no limits (unknown); it has been seen to answer 500 when requests come too fast.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

LONGEST_S = 60.0
LEAST_GROWN_S = 0.05  # from here on a pause grows that was set to nothing
MOST_GROWN = 32  # times the pause that was set
CALMER = 0.9  # what an answer leaves of a grown pause: one complaint is forgotten after seven answers


class Pace:
    """Lets one request through at a time. Any thread."""

    def __init__(self, spacing_s: float) -> None:
        self.spacing_s = self.least_s = spacing_s
        self._most_s = max(spacing_s, min(MOST_GROWN * max(spacing_s, LEAST_GROWN_S), LONGEST_S))
        self._turn = threading.Lock()
        self._ended = self._not_before = -float("inf")

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Our turn, once the others have ended and the pause is over."""
        with self._turn:
            until = max(self._ended + self.spacing_s, self._not_before)
            time.sleep(max(0.0, until - time.monotonic()))
            try:
                yield
            finally:
                self._ended = time.monotonic()

    def complained(self, after_s: float | None) -> None:
        """The vendor wants fewer requests, and none for so many seconds."""
        self._not_before = time.monotonic() + min(after_s or 0.0, LONGEST_S)
        self.spacing_s = min(max(2 * self.spacing_s, LEAST_GROWN_S), self._most_s)

    def answered(self) -> None:
        """It was content."""
        self.spacing_s = max(self.least_s, self.spacing_s * CALMER if self.spacing_s > 0.001 else 0.0)
