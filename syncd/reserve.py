"""The disk guard: downloads pause while little room is left, so that what has landed can still be staged and shown.

Nothing is remembered: how much is free is asked of the disk each time, so work goes on as soon as there is room.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import structlog

from syncd.errors import TryAgain

SHARE = 0.05  # of the disk stays free,
MOST = 1 << 30  # but never more than this many bytes
AGAIN = 10  # once short, a tenth more must be free, or each byte that comes and goes would pause and resume
HINT = "free space on the disk that holds data_dir, or give it a larger one; downloads go on by themselves"

log = structlog.get_logger()


@dataclass(frozen=True)
class Room:
    """Bytes of a disk."""

    free: int
    reserve: int  # kept for staging, commits and notes

    @property
    def is_short(self) -> bool:
        return self.free < self.reserve


def room(folder: Path) -> Room:
    """The room on the disk of a folder, or of where it will be."""
    here = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    disk = os.statvfs(here)
    return Room(disk.f_bavail * disk.f_frsize, min(int(disk.f_blocks * disk.f_frsize * SHARE), MOST))


class Reserve:
    """What downloads must leave free on the disk of a folder. Any thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._is_short = False

    def spare(self, size: int = 0) -> None:
        """Return while `size` bytes can be written beside the reserve; else TryAgain."""
        now = room(self._folder)
        more = now.reserve // AGAIN if self._is_short else 0
        is_short = now.free < now.reserve + more + size
        if is_short != self._is_short:
            self._is_short = is_short
            told = {"free": now.free, "reserve": now.reserve}
            if is_short:
                log.warning("downloads_paused", **told, hint=HINT)
            else:
                log.info("downloads_resumed", **told)
        if is_short:
            message = f"the disk is nearly full: {now.free >> 20} MB free, {now.reserve >> 20} MB are kept for commits"
            raise TryAgain(message, hint=HINT)
