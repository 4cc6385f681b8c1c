"""A body that hardly comes is given up for now: others wait for the place that it holds."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from datetime import timedelta

from syncd.errors import TryAgain

HEADWAY = 64 << 10  # bytes that must have come for it to count as progress


def lively(blocks: Iterable[bytes], what: str, stalled_after: timedelta) -> Iterator[bytes]:
    """The same blocks; TryAgain when less than HEADWAY has come in so long a time of waiting for them."""
    coming = iter(blocks)
    size, waited_s = 0, 0.0
    while True:
        began = time.monotonic()
        block = next(coming, None)
        if block is None:
            return
        size, waited_s = size + len(block), waited_s + time.monotonic() - began
        yield block
        if size >= HEADWAY:
            size, waited_s = 0, 0.0
        elif waited_s > stalled_after.total_seconds():
            message = f"{what}: only {size} bytes came in {waited_s:.0f} s"
            raise TryAgain(message, hint="others go first, then it goes on by itself")
