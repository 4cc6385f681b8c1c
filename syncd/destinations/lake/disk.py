"""What is on the disk stays there: fsync of files and folders, and the disk's troubles in our words."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from syncd.errors import TryAgain

HINTS = {
    errno.ENOSPC: "free space on the disk that holds data_dir; syncd goes on by itself",
    errno.EDQUOT: "raise the quota of the disk that holds data_dir; syncd goes on by itself",
    errno.EFBIG: "the file system or a limit (ulimit -f) refuses files of this size",
    errno.EIO: "the disk that holds data_dir reports errors: look at dmesg",
    errno.EROFS: "the file system that holds data_dir has become read-only: look at dmesg",
    errno.EACCES: "data_dir must be writable for the user that syncd runs as",
    errno.EMFILE: "raise the limit of open files (ulimit -n, LimitNOFILE)",
}


@contextmanager
def trouble(doing: str) -> Iterator[None]:
    """Errors of the disk inside become TryAgain: a repeat mends them once the disk is well."""
    try:
        yield
    except OSError as error:
        hint = HINTS.get(error.errno or 0, "see whether data_dir is there and writable: syncd check")
        raise TryAgain(f"{doing}: {error.strerror or error}", hint=hint) from error


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
