"""The vendor's own bytes on our disk: one folder a run, one file a part, and a list of the parts.

The list (`parts.json`, names without links) makes a run whole without the vendor, the state or the catalogue:
what is landed can be staged after its links are dead, and replayed for as long as `landing.keep` says.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from syncd.disk import make_folder, sync, trouble
from syncd.fetch import land, landed, room_for
from syncd.model import NEVER, Landed, Part, Run, Source
from syncd.names import file_name, text_of
from syncd.reserve import Reserve

DOUBTED = ".damaged"
LIST = "parts.json"  # can't be a part: those have an ending of their own


class Landing:
    """The `landing/` folder. Any thread; one run is landed by one caller at a time."""

    def __init__(self, root: Path, stalled_after: timedelta = timedelta.max) -> None:
        self.root, self._stalled_after = root, stalled_after
        self._reserve = Reserve(root)

    def path(self, run: Run, part: str) -> Path:
        """Where the bytes of a part lie."""
        return self._folder(run) / f"{file_name(part)}.part"

    def note(self, run: Run, parts: Sequence[Part]) -> None:
        """Write down which parts the run has, durably, before the first byte comes."""
        folder = self._folder(run)
        torn = folder / f"{LIST}.partial"
        with trouble(run.name), room_for(run.name, folder):
            make_folder(folder)
            with torn.open("wb") as out:
                out.write(orjson.dumps({"run": asdict(run), "parts": [part.name for part in parts]}))
                out.flush()
                os.fsync(out.fileno())
            torn.replace(folder / LIST)
            sync(folder)

    def take(self, run: Run, files: Mapping[str, Path]) -> None:
        """Have these files, already whole and synced on this disk, as the run's parts. Repeating goes on."""
        self.note(run, [Part(name, "") for name in files])
        for name, path in files.items():
            if path.exists():
                path.replace(self.path(run, name))
        sync(self._folder(run))

    def parts(self, run: Run) -> list[str] | None:
        """The names of the run's parts when every one is here, else None."""
        names = _listed(self._folder(run)).get("parts")
        if names is None:
            return None
        return names if all(self.path(run, name).exists() for name in names) else None

    def run(self, source: str, id: str) -> Run | None:
        """The run as it was when it landed; None when nothing of it is here."""
        return self._noted(self.root / source / file_name(id))

    def ids(self) -> Iterator[tuple[str, str]]:
        """Source and id of every run of which something is here."""
        for folder in self.root.glob("*/*"):
            id = text_of(folder.name)
            if file_name(id) == folder.name:
                yield folder.parent.name, id
            elif run := self._noted(folder):  # a long id: its folder has only a hash of it
                yield run.source, run.id

    def runs(self, source: str, known: Container[str] = ()) -> Iterator[Run]:
        """Every run of a source of which something is here, but for those `known` by their ids: of these nothing is
        read, for there may be as many as a month has brought."""
        unknown = (folder for folder in self._folders(source) if text_of(folder.name) not in known)
        return (run for run in map(self._noted, unknown) if run and run.id not in known)

    def _noted(self, folder: Path) -> Run | None:
        noted = _listed(folder).get("run")
        if noted is None:
            return None
        instants = {key: datetime.fromisoformat(noted[key]) for key in ("start", "end", "completed_at", "expires_at")}
        return Run(**noted | instants | {"fields": tuple(noted["fields"])})

    def land(self, source: Source, run: Run, part: Part, progress: Callable[[int], None]) -> Landed:
        """Bring one part home; resumes where an earlier try ended. TryAgain, LinkExpired.

        Pauses while the disk has little room: what lands needs about as much again for its rows.
        """
        here = 0

        def guarded(size: int) -> None:
            nonlocal here
            here += size
            progress(size)
            self._reserve.spare(here)

        if not self.path(run, part.name).exists():
            self._reserve.spare()
        path = self.path(run, part.name)
        return land(source.open, part, path, progress=guarded, stalled_after=self._stalled_after)

    def landed(self, run: Run, part: str) -> Landed:
        """A part that is here already, not yet read."""
        return landed(self.path(run, part))

    def doubt(self, run: Run, part: str) -> None:
        """Put bytes beside, so that the part is fetched again and nothing is thrown away."""
        path = self.path(run, part)
        path.replace(path.with_suffix(DOUBTED))

    def take_back(self, run: Run) -> list[str] | None:
        """Doubted bytes back in their place, for the vendor has no better ones: the run's parts if all are here."""
        for doubted in self._folder(run).glob(f"*{DOUBTED}"):
            if not (path := doubted.with_suffix(".part")).exists():
                doubted.replace(path)
        return self.parts(run)

    def forget(self, run: Run) -> None:
        """Remove the run's bytes."""
        shutil.rmtree(self._folder(run), ignore_errors=True)

    def sweep(self, source: str, keep: timedelta, needed: Iterable[str], now: datetime) -> None:
        """Remove what is older than `keep`, but for the runs with an id in `needed`."""
        stay = {file_name(run) for run in needed}
        for folder in self._folders(source):
            old = now.timestamp() - folder.stat().st_mtime > keep.total_seconds()
            if old and folder.name not in stay:
                shutil.rmtree(folder, ignore_errors=True)

    def shrink(self, cap: int, needed: Iterable[tuple[str, str]], now: datetime) -> int:
        """Remove the oldest kept runs until all sources together have at most `cap` bytes; how many bytes went.

        What the vendor no longer has goes last, and runs in `needed` (source and id) stay.
        """
        stay = {(source, file_name(run)) for source, run in needed}
        kept = [kept_run(folder, self._noted(folder)) for folder in self.root.glob("*/*") if folder.is_dir()]
        kept.sort(key=lambda one: (one.expires_at <= now, one.landed_at))
        excess = over = sum(one.bytes for one in kept) - cap
        for one in kept:
            if over <= 0:
                break
            if (one.folder.parent.name, one.folder.name) not in stay:
                shutil.rmtree(one.folder, ignore_errors=True)
                over -= one.bytes
        return max(0, excess) - max(0, over)

    def _folder(self, run: Run) -> Path:
        return self.root / run.source / file_name(run.id)

    def _folders(self, source: str) -> Iterator[Path]:
        root = self.root / source
        return (path for path in root.iterdir() if path.is_dir()) if root.is_dir() else iter(())


class Kept(NamedTuple):
    """What is kept of a run."""

    folder: Path
    bytes: int
    landed_at: float
    expires_at: datetime  # at the vendor


def kept_run(folder: Path, run: Run | None) -> Kept:
    size = sum(path.stat().st_size for path in folder.iterdir())
    return Kept(folder, size, folder.stat().st_mtime, run.expires_at if run else NEVER)


def _listed(folder: Path) -> dict[str, Any]:
    """What a run's list says; nothing where there is none, or a torn one. TryAgain: the disk doesn't tell."""
    path = folder / LIST
    with trouble(f"reading {path}"):
        try:
            return dict(orjson.loads(path.read_bytes()))
        except (FileNotFoundError, NotADirectoryError, orjson.JSONDecodeError, TypeError, ValueError):
            return {}
