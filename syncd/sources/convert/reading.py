"""A part as it is read: a list of steps, a few requests each, whose rows are landed as redacted JSON lines.

The vendor's throttling must not cost what was read before it: what a step brought is kept until its part is through,
so a repeat goes on with the step that failed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import structlog

from syncd.errors import Advanced, TryAgain
from syncd.sources.convert.answers import Json, dumps
from syncd.sources.convert.api import Refused

BLOCK = 1 << 20  # bytes
log = structlog.get_logger()


@dataclass(frozen=True)
class Step:
    """A few requests, and the rows that they bring."""

    name: str
    rows: Callable[[], Iterable[Json]]
    calls: int = 1  # at least
    may_be_refused: bool = False  # one of many: its refusal is told, and the others go on
    is_large: bool = False  # passed on as it comes, and read again as a whole after trouble


@dataclass
class Progress:
    """What a part has brought so far, by step; a refused step has brought nothing."""

    done: dict[str, bytes] = field(default_factory=dict)
    refused: list[Refused] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)  # records of a log, whatever the step


class Reading:
    """The body of a part. It can't be resumed at a byte, but at a step."""

    start = 0
    total: int | None = None
    tag = ""

    def __init__(self, name: str, steps: Sequence[Step], progress: Progress, through: Callable[[], None]) -> None:
        self._name, self._steps, self._progress, self._through = name, steps, progress, through

    def __iter__(self) -> Iterator[bytes]:
        fresh = 0
        for step in self._steps:
            if step.is_large:
                yield from in_blocks(step.rows())
                continue
            if step.name not in self._progress.done:
                try:
                    self._progress.done[step.name] = self._read(step)
                except TryAgain as error:
                    if not fresh:
                        raise
                    raise Advanced(str(error), hint=error.hint, after=error.after) from error
                fresh += 1
            if lines := self._progress.done[step.name]:
                yield lines
        self._through()
        if refused := self._progress.refused:
            if len(refused) == len(self._steps):
                raise refused[0]
            told = {"error": str(refused[0]), "hint": refused[0].hint}
            log.warning("reads_refused", part=self._name, refused=len(refused), of=len(self._steps), **told)

    def _read(self, step: Step) -> bytes:
        try:
            return b"".join(dumps(row) + b"\n" for row in step.rows())
        except Refused as error:
            if not step.may_be_refused:
                raise
            self._progress.refused.append(error)
            return b""


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
