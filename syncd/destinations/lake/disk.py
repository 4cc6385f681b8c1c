"""What is on the disk stays there: fsync of files and folders."""

from __future__ import annotations

import os
from pathlib import Path

from syncd.disk import HINTS, trouble

__all__ = ["HINTS", "make_folder", "sync", "trouble"]


def sync(path: Path) -> None:
    """Return when the file or folder outlives a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(path: Path) -> None:
    """Have the folder, durably: each new name is synced in the folder above it."""
    if path.is_dir():
        return
    make_folder(path.parent)
    path.mkdir(exist_ok=True)
    sync(path.parent)
