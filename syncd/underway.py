"""Runs that somebody brings home at this moment: an order and a pass never work on one run together."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from syncd.model import Run


class Underway:
    """Any thread. Nothing of it outlives the process: what was under way then is found in the state."""

    def __init__(self) -> None:
        self._runs: set[str] = set()
        self._lock = threading.Lock()

    @contextmanager
    def only(self, run: Run) -> Iterator[bool]:
        """Whether the run is ours until the end of the block."""
        with self._lock:
            ours = run.name not in self._runs
            self._runs.add(run.name)
        try:
            yield ours
        finally:
            if ours:
                with self._lock:
                    self._runs.discard(run.name)
