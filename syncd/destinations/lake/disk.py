"""The disk, where readers come too."""

from __future__ import annotations

from pathlib import Path

from syncd import disk
from syncd.disk import HINTS, sync, trouble

__all__ = ["HINTS", "make_folder", "sync", "trouble"]


def make_folder(path: Path) -> None:
    """Have the folder, durably, open to whom the umask lets in."""
    disk.make_folder(path, 0o777)
