"""Picking up what Cordial delivered. One folder a job, named as the export was.

What a job delivered is everything in its folder, and everything beside it whose name begins with the folder's: the
last step of a path may be taken for a file's name, and a zone may refuse new folders (docs/vendors/cordial.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from syncd.errors import LinkExpired
from syncd.sources.cordial.places import Place, open_place
from syncd.sources.cordial.troubles import far_side
from syncd.sources.cordial.zone import Zone


@dataclass(frozen=True)
class Found:
    """A file in the zone."""

    path: str
    name: str  # the part's: within the job's folder, or ../ and its name beside it
    size: int
    tag: str  # changes with the file
    at: datetime | None  # when it was delivered


def look(zone: Zone) -> None:
    """Whether we can enter. ConfigError: not with these keys; TryAgain: not now."""
    with entered(zone) as place:
        place.look(zone.folder)


def prepare(zone: Zone, name: str) -> bool:
    """Have the folder of a job where folders are; False where we may not make one, so files lie side by side."""
    with entered(zone) as place:
        return place.make(zone.folder_of(name))


def files(zone: Zone, name: str) -> list[Found]:
    """What lies there of a job, by name."""
    with entered(zone) as place:
        rows = [found(zone, name, row) for row in place.files(zone.folder, name)]
    return sorted((one for one in rows if not is_hidden(one.name)), key=lambda one: one.name)


def names(zone: Zone, prefix: str) -> list[str]:
    """What lies under the folder and begins so: jobs' folders and files."""
    with entered(zone) as place:
        return place.names(zone.folder, prefix)


def head(zone: Zone, path: str, size: int) -> bytes:
    """The first bytes of a file."""
    with opened(zone, path) as body:
        held = b""
        for block in body:
            held += block
            if len(held) >= size:
                break
    return held[:size]


@contextmanager
def opened(zone: Zone, path: str, start: int = 0, tag: str = "") -> Iterator[ZoneBody]:
    """A file's bytes, from `start` on if it still carries `tag`. LinkExpired: it is gone."""
    with ExitStack() as leaving:
        with far_side(zone):  # not around the yield: a full disk of ours is no trouble of the zone's
            place = leaving.enter_context(open_place(zone))
            try:
                row = place.info(path)
            except FileNotFoundError:
                raise LinkExpired(f"{path} is gone from the zone", hint="it goes on by itself") from None
        version = tag_of(row)
        start = start if tag and tag == version else 0
        yield ZoneBody(zone, place.read(path, start), start, int(row["size"]), version)


def remove(zone: Zone, name: str, these: Sequence[Found]) -> None:
    """Remove these files of a job, and its folder where there is one and nothing else is in it."""
    with entered(zone) as place:
        place.remove([one.path for one in these], zone.folder_of(name))


@contextmanager
def entered(zone: Zone) -> Iterator[Place]:
    """The place, its troubles told as ours."""
    with far_side(zone), open_place(zone) as place:
        yield place


def found(zone: Zone, name: str, row: Mapping[str, Any]) -> Found:
    """A file as the place lists it."""
    path = str(row["name"])
    inside = f"{zone.folder_of(name).lstrip('/')}/"
    bare = path.lstrip("/")
    part = bare.removeprefix(inside) if bare.startswith(inside) else f"../{path.rpartition('/')[2]}"
    return Found(path, part, int(row["size"] or 0), tag_of(row), modified_at(row))


@dataclass
class ZoneBody:
    """A file's bytes, from `start` on."""

    zone: Zone
    blocks: Iterator[bytes]
    start: int
    total: int | None
    tag: str

    def __iter__(self) -> Iterator[bytes]:
        with far_side(self.zone):
            yield from self.blocks


def is_hidden(part: str) -> bool:
    """Files that servers and people leave about."""
    return part.rpartition("/")[2].startswith(".")


def tag_of(row: Mapping[str, Any]) -> str:
    """What tells one version of a file from another, from what the place says of it."""
    keys = ("ETag", "etag", "generation", "mtime", "modify", "LastModified", "last_modified", "updated")
    version = next((row[key] for key in keys if row.get(key)), "")
    return f"{row.get('size')} {version}" if version else ""


def modified_at(row: Mapping[str, Any]) -> datetime | None:
    """When the file was delivered; None where the place doesn't say."""
    for key in ("mtime", "LastModified", "last_modified", "updated", "modify"):
        match row.get(key):
            case datetime() as at:
                return at if at.tzinfo else at.replace(tzinfo=UTC)
            case float() | int() as seconds:
                return datetime.fromtimestamp(seconds, UTC)
            case str() as text:
                try:  # FTP's own form lacks the T
                    at = datetime.fromisoformat(f"{text[:8]}T{text[8:14]}" if text[:14].isdecimal() else text)
                except ValueError:
                    continue
                return at if at.tzinfo else at.replace(tzinfo=UTC)
    return None
