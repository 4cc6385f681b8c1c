"""Bytes from far away to our disk: resumable, whole or not there, with the memory of one block.

A part grows as `<path>.partial`; what it may be resumed with (the far side's validator and length) lies in
`<path>.partial.json`, written before the first byte. Only a file that is complete and synced is renamed to
`path`, so a file of that name is whole.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import orjson

from syncd.disk import make_folder, sync, trouble
from syncd.errors import Advanced, TryAgain
from syncd.fetch.pace import HEADWAY, lively
from syncd.model import Body, Landed, Part

DISK_FULL = {errno.ENOSPC, errno.EDQUOT}

Open = Callable[[Part, int, str], AbstractContextManager[Body]]


@dataclass(frozen=True)
class Mark:
    """What a partial file may be resumed with: the far side's validator, and the length of the whole."""

    tag: str = ""
    total: int | None = None


def land(
    open: Open,
    part: Part,
    path: Path,
    *,
    progress: Callable[[int], None] = lambda size: None,
    stalled_after: timedelta = timedelta.max,
) -> Landed:
    """Have the part's bytes at `path`, durably. Repeating goes on where it ended; a file that is there stays.

    `progress` gets the size of each new block; what it raises passes through and leaves a part to resume. One caller
    at a time for a path. TryAgain: cut, too slow, or our disk is full. Errors of `open` pass through.
    """
    if path.exists():
        return landed(path)
    with trouble(f"part {part.name}"), room_for(f"part {part.name}", path.parent):
        make_folder(path.parent)
        _complete(open, part, path, progress, stalled_after)
        Path(f"{path}.partial").replace(path)
        sync(path.parent)
        Path(f"{path}.partial.json").unlink(missing_ok=True)
    return landed(path)


@contextmanager
def room_for(what: str, folder: Path) -> Iterator[None]:
    """A full disk inside is TryAgain."""
    try:
        yield
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        hint = f"free space on the disk of {folder}; it goes on by itself"
        raise TryAgain(f"{what}: the disk is full", hint=hint) from error


def landed(path: Path) -> Landed:
    """What lies at `path`, not yet read."""
    return Landed(str(path), path.stat().st_size)


def _complete(open: Open, part: Part, path: Path, progress: Callable[[int], None], stalled_after: timedelta) -> None:
    """Have every byte in the partial file, synced."""
    partial, note = Path(f"{path}.partial"), Path(f"{path}.partial.json")
    mark = _read(note)
    had = partial.stat().st_size if partial.exists() else 0
    if had == mark.total and partial.exists():  # stopped between the last byte and the rename
        sync(partial)
        return
    if not mark.tag or had > (mark.total or had):
        had = 0  # without a validator nobody can tell whether the far side is still the same
    with open(part, had, mark.tag if had else "") as body:
        if body.start == 0:
            _begin_anew(partial, note, Mark(body.tag, body.total))
        elif body.start != had or body.tag != mark.tag or mark.total not in (None, body.total):
            note.unlink()
            raise TryAgain(f"part {part.name} changed while it was fetched", hint="it is fetched again, whole")
        _append(body, part, partial, had, progress, stalled_after)


def _append(
    body: Body, part: Part, partial: Path, had: int, progress: Callable[[int], None], stalled_after: timedelta
) -> None:
    """Add the body to what is there, and sync it."""
    size = body.start
    with os.fdopen(os.open(partial, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600), "ab") as file:
        try:
            for block in lively(body, f"part {part.name}", stalled_after):
                file.write(block)
                file.flush()  # a kill must not cost it
                size += len(block)
                progress(len(block))
        except TryAgain as error:
            if size - had < HEADWAY:
                raise
            raise Advanced(str(error), hint=error.hint, after=error.after) from error
        if body.total is not None and size != body.total:
            message = f"part {part.name}: {size} bytes came, but {body.total} were promised"
            raise (Advanced if had + HEADWAY <= size < body.total else TryAgain)(message, hint="it goes on by itself")
        os.fsync(file.fileno())


def _begin_anew(partial: Path, note: Path, mark: Mark) -> None:
    """Drop what is there; the mark is down before the first byte that it speaks of."""
    if partial.exists():
        partial.unlink()
        sync(partial.parent)  # else a power cut could leave the old bytes beside the new mark
    torn = note.with_suffix(".torn")
    with os.fdopen(os.open(torn, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "wb") as file:
        file.write(orjson.dumps({"tag": mark.tag, "total": mark.total}))
    torn.replace(note)


def _read(note: Path) -> Mark:
    """The mark, or one that resumes nothing when it is missing or torn."""
    try:
        match orjson.loads(note.read_bytes()):
            case {"tag": str(tag), "total": int() | None as total}:
                return Mark(tag, total)
    except (FileNotFoundError, orjson.JSONDecodeError):
        pass
    return Mark()
