"""Who looks on while runs come home: nobody, or a person at a terminal."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import structlog

from syncd.model import Run

LOG_EVERY_S = 10.0
log = structlog.get_logger()

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class Nobody:
    """Looks away."""

    def begin(self, run: Run, parts: int, size: int) -> None: ...

    def landed(self, run: Run, size: int) -> None: ...

    def staged(self, run: Run, rows: int) -> None: ...

    def end(self, run: Run) -> None: ...


class Bars:
    """A bar for each run on its way: parts, bytes of how many, rows, time left."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._bars: dict[str, TaskID] = {}
        self._rows: dict[str, int] = {}
        self._lock = threading.Lock()

    def begin(self, run: Run, parts: int, size: int) -> None:
        with self._lock:
            self._rows[run.name] = 0
            self._bars[run.name] = self._progress.add_task(
                f"{run.name} {run.scope}", total=size or None, parts=parts, rows=0
            )

    def landed(self, run: Run, size: int) -> None:
        with self._lock:
            if run.name in self._bars:
                self._progress.advance(self._bars[run.name], size)

    def staged(self, run: Run, rows: int) -> None:
        with self._lock:
            if run.name in self._bars:
                if not self._rows[run.name]:  # all its bytes are here: a full bar would look like done
                    staging = f"{run.name} {run.scope}, staging"
                    self._progress.update(self._bars[run.name], total=None, description=staging)
                self._rows[run.name] += rows
                self._progress.update(self._bars[run.name], rows=self._rows[run.name])

    def end(self, run: Run) -> None:
        with self._lock:
            if (bar := self._bars.pop(run.name, None)) is not None:
                self._progress.remove_task(bar)


@contextmanager
def meter(doing: str, total: Callable[[], int]) -> Iterator[Callable[[int], None]]:
    """Takes the sizes of what was read: a bar of `total` bytes on a terminal, a log line now and then elsewhere."""
    if not sys.stderr.isatty():
        yield _logged(doing)
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task(doing, total=total())
        yield lambda size: progress.advance(bar, size)


def _logged(doing: str) -> Callable[[int], None]:
    done, due = 0, time.monotonic() + LOG_EVERY_S

    def advance(size: int) -> None:
        nonlocal done, due
        done += size
        if time.monotonic() >= due:
            due = time.monotonic() + LOG_EVERY_S
            log.info("progress", doing=doing, bytes=done)

    return advance


@contextmanager
def bars() -> Iterator[Bars]:
    """Bars on stderr; log lines printed meanwhile stand above them."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TextColumn("{task.fields[parts]} parts, {task.fields[rows]:,} rows"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield Bars(progress)
