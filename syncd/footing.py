"""What syncd's promises stand on, tried on the very file system: locks, links, renames and folder fsync.

Some network shares answer yes to all of them and hold none, so each is looked at from the other side as well.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

from syncd.disk import sync
from syncd.errors import ConfigError
from syncd.rights import ours

# where SQLite's WAL, which shares memory between processes, is not safe or does not work
REMOTE = re.compile(r"nfs\d?|cifs|smb\w*|9p|afs|fuse\.(sshfs|s3fs|gcsfuse|rclone|smb.*)")
UNFIT = re.compile(r"[?\\]")  # for DuckDB a query begins there, or a folder ends
MOUNTS = Path("/proc/self/mountinfo")


def firm(data_dir: Path, state_dir: Path) -> None:
    """ConfigError with all that doesn't hold there, and why it must."""
    with ours(data_dir):
        problems = list(shortcomings(data_dir))
    if odd := UNFIT.search(str(data_dir.absolute())):
        problems.append(f"DuckDB can't write under {data_dir}, because of the {odd[0]} in its name")
    if remote := remote_kind(state_dir):
        problems.append(f"state_dir {state_dir} is on {remote}, where SQLite can lose or damage its file")
    if problems:
        hint = "name a folder on a local disk under data_dir; for the state alone, under state_dir: it may be lost"
        raise ConfigError("; ".join(problems), hint=hint)


def shortcomings(folder: Path) -> Iterator[str]:
    """What the file system of `folder` can't do. OSError: nothing can be written there at all."""
    tried: dict[str, Callable[[Path], bool]] = {
        "locks: a second syncd would not be kept out": locks,
        "hard links: readers elsewhere would lose the catalogue that they have open": links,
        "renaming over an open file: the catalogue could not be replaced under its readers": renames,
        "fsync of a folder: a power cut could undo a commit": syncs,
    }
    ground = Path(tempfile.mkdtemp(prefix=".syncd-footing-", dir=folder))
    try:
        for promise, holds in tried.items():
            if not held(holds, ground):
                yield f"the file system of {folder} has no {promise}"
    finally:
        shutil.rmtree(ground, ignore_errors=True)


def held(holds: Callable[[Path], bool], ground: Path) -> bool:
    """Whether it does; a full disk is another matter and passes through."""
    try:
        return holds(ground)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE):
            raise
        return False


def locks(ground: Path) -> bool:
    with ExitStack() as closing:
        first, second = (closing.enter_context((ground / "lock").open("a+")) for _ in range(2))
        fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def links(ground: Path) -> bool:
    (ground / "linked").write_bytes(b"one")
    (ground / "name").hardlink_to(ground / "linked")
    (ground / "linked").unlink()
    return (ground / "name").read_bytes() == b"one"


def renames(ground: Path) -> bool:
    (ground / "open").write_bytes(b"old")
    (ground / "aside").write_bytes(b"new")
    with (ground / "open").open("rb") as reader:
        (ground / "aside").replace(ground / "open")
        return reader.read() == b"old" and (ground / "open").read_bytes() == b"new"


def syncs(ground: Path) -> bool:
    sync(ground)
    return True


def remote_kind(folder: Path, mounts: Path = MOUNTS) -> str:
    """The kind of network file system that holds `folder`; "" for a local one, or where nothing tells."""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return ""
    kinds = {}
    for line in lines:  # … … … … mount point … - kind …
        before, _, after = line.partition(" - ")
        kinds[Path(unescaped(before.split()[4]))] = after.split()[0]
    real = Path(os.path.realpath(folder))
    kind = next((kinds[place] for place in (real, *real.parents) if place in kinds), "")
    return kind if REMOTE.fullmatch(kind) else ""


def unescaped(field: str) -> str:
    """A path as mountinfo spells it: blanks and such as octal numbers."""
    return re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), field)
