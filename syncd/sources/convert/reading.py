"""A part as it is read: a list of steps, a few requests each, whose rows are landed as redacted JSON lines.

The vendor's throttling must not cost what was read before it: what a step brought is kept until its part is through,
so a repeat goes on with the steps that are left. One read that is refused holds up no other: something is landed in its
place. Only a run of which nothing at all was answered is refused as a whole.
"""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain

from syncd.errors import Advanced, BadRun, LinkExpired, TryAgain, Unsent
from syncd.sources.convert.answers import Json, dumps
from syncd.sources.convert.api import Missing, Refused

BLOCK = 1 << 20  # bytes
TRIES = 4  # of one read that alone fails where all others of its part were answered, before it counts as refused
NOTHING_SAID = b"\n"  # of a snapshot's part: what held before goes on holding


@dataclass(frozen=True)
class Step:
    """A few requests, and the rows that they bring."""

    name: str
    rows: Callable[[], Iterable[Json]]
    calls: int = 1  # at least
    in_its_place: Callable[[BadRun], bytes] | None = None  # what is landed when it is refused; None: nothing can be
    may_be_given_up: bool = False  # it is read again as a whole another time, so when it fails on and on it may be left
    is_large: bool = False  # passed on as it comes, and read again as a whole after trouble


@dataclass
class Progress:
    """What a part has brought so far, by step."""

    done: dict[str, bytes] = field(default_factory=dict)
    refused: dict[str, BadRun] = field(default_factory=dict)
    failed: Counter[str] = field(default_factory=Counter)
    seen: set[str] = field(default_factory=set)  # records of a log, whatever the step


class Underway:
    """One run as it is read: what its parts have brought so far. Any thread."""

    def __init__(self, parts: Collection[str]) -> None:
        self._left, self._lock = set(parts), threading.Lock()
        self._progress: defaultdict[str, Progress] = defaultdict(Progress)
        self._refused: list[BadRun] = []
        self.is_answered = False

    def progress(self, part: str) -> Progress:
        """What a part has brought."""
        with self._lock:
            return self._progress[part]

    def through(self, part: str, steps: int) -> None:
        """A part is read. BadRun: that was the last one, and nothing was answered in any."""
        with self._lock:
            refused = self._progress.pop(part).refused
            self._left.discard(part)
            self._refused += [error for error in refused.values() if not isinstance(error, Missing)]
            self.is_answered |= len(refused) < steps
            if self._refused and not self._left and not self.is_answered:
                raise self._refused[0]


class Reading:
    """The body of a part. It can't be resumed at a byte, but at a step."""

    start = 0
    total: int | None = None
    tag = ""

    def __init__(self, part: str, steps: Sequence[Step], underway: Underway, *, snapshot: bool) -> None:
        self._part, self._steps, self._underway, self._is_snapshot = part, steps, underway, snapshot
        self._progress = underway.progress(part)
        self._large: dict[str, Iterator[bytes]] = {}

    @property
    def refused(self) -> dict[str, BadRun | None]:
        """Each step's refusal, once it is asked; None: it was answered."""
        return {step.name: self._progress.refused.get(step.name) for step in self._steps}

    def __iter__(self) -> Iterator[bytes]:
        self._ask()
        if self._is_snapshot and self._progress.refused:
            yield NOTHING_SAID
        else:
            for step in self._steps:
                yield from self._large.get(step.name) or filter(None, [self._progress.done[step.name]])
        self._underway.through(self._part, len(self._steps))

    def _ask(self) -> None:
        """Have the answer to each step. One that fails is passed over until the others have had their turn."""
        fresh, failed = 0, list[TryAgain | LinkExpired]()
        for step in self._steps:
            if step.name in self._progress.done:
                continue
            try:
                self._read(step)
            except (TryAgain, LinkExpired) as error:
                failed.append(error)
                if isinstance(error, Unsent) or len(self._steps) == 1 or len(failed) > 1:
                    break  # the vendor is in trouble, not this one read
            else:
                fresh += 1
        else:
            self._give_up(failed)
        if failed and fresh and isinstance(failed[-1], TryAgain):
            raise Advanced(str(failed[-1]), hint=failed[-1].hint, after=failed[-1].after) from failed[-1]
        if failed:
            raise failed[-1]

    def _give_up(self, failed: list[TryAgain | LinkExpired]) -> None:
        """Count the one step that fails on and on as refused: all others were answered."""
        for step in self._steps if failed else ():
            if step.name not in self._progress.done:
                self._progress.failed[step.name] += 1
                if step.may_be_given_up and self._progress.failed[step.name] >= TRIES:
                    self._refuse(step, Refused(f"{failed.pop()} ({TRIES} times)", 0))

    def _read(self, step: Step) -> None:
        try:
            if step.is_large:
                blocks = in_blocks(step.rows())
                self._large[step.name] = chain([next(blocks, b"")], blocks)
                return
            self._progress.done[step.name] = b"".join(dumps(row) + b"\n" for row in step.rows())
        except BadRun as error:
            if step.in_its_place is None:
                raise
            self._refuse(step, error)

    def _refuse(self, step: Step, error: BadRun) -> None:
        assert step.in_its_place
        self._progress.refused[step.name] = error
        self._progress.done[step.name] = step.in_its_place(error)


def in_blocks(rows: Iterable[Json]) -> Iterator[bytes]:
    """The same as lines, a block at a time."""
    held = bytearray()
    for row in rows:
        held += dumps(row) + b"\n"
        if len(held) >= BLOCK:
            yield bytes(held)
            held.clear()
    if held:
        yield bytes(held)
