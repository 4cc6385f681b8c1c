"""What the disk refuses, in our words, and what stays on it. Every OSError that is no vendor's is the disk's."""

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
    errno.EISDIR: "syncd keeps a file at this place: move the folder away",
}


@contextmanager
def trouble(doing: str) -> Iterator[None]:
    """Errors of the disk inside become TryAgain: a repeat mends them once the disk is well."""
    try:
        yield
    except OSError as error:
        hint = HINTS.get(error.errno or 0, "see whether data_dir is there and writable: syncd check")
        where = f" ({error.filename})" if error.filename and str(error.filename) not in doing else ""
        raise TryAgain(f"{doing}: {error.strerror or error}{where}", hint=hint) from error


def sync(path: Path) -> None:
    """Return when a file, or the names in a folder, outlive a power cut."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def make_folder(folder: Path, mode: int = 0o700) -> None:
    """Have the folder, and those above it, durably; for our eyes only unless `mode` says otherwise."""
    if not folder.is_dir():
        make_folder(folder.parent, mode)
        folder.mkdir(mode, exist_ok=True)
        sync(folder.parent)
