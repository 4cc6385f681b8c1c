"""Files that a vendor gave to a person, brought to the run that waits for them.

The command copies them under `handed/` and leaves an order; whoever holds the lock moves them into `landing/` and goes
on as with any run. So nothing is written beside a daemon that it might be writing too, and a stop costs a repeat.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import IO

from syncd.assemble import build_source
from syncd.disk import make_folder, sync
from syncd.errors import ConfigError, SyncdError, TryAgain
from syncd.fetch import room_for
from syncd.model import Cleans, ExportRequest, Run
from syncd.names import file_name
from syncd.retry import Patience
from syncd.settings import Settings
from syncd.settings.fields import safe_url
from syncd.state import SET_ASIDE, Order, read_state, run_of
from syncd.sync import End, Mirror, bring_home

INGEST = "ingest"
HANDED = "handed"
BLOCK = 1 << 20
NAMES_KEPT = 120  # characters of a file's own name
SPACE = b" \t\r\n"


def order_for(settings: Settings, source: str, run: str, given: Sequence[str]) -> Order:
    """Copy what is given (paths and URLs) to where the order finds it, cleaned where the source sees to that.

    ConfigError: no such run, or nothing to copy.
    """
    wanting = waiting_for(settings, source, run)
    built = build_source(source, settings.sources[source])
    cleans = built if isinstance(built, Cleans) else None
    folder = settings.data_dir / HANDED / source / file_name(wanting.id)
    shutil.rmtree(folder, ignore_errors=True)  # what a stop left half copied
    with room_for(wanting.name, folder):
        make_folder(folder)
        names = [name for one in given for name in brought(one, folder, settings.retry_for, cleans)]
        told = wanting.format or form_of([folder / name for name in names])
        sync(folder)
    return Order(0, INGEST, source, wanting.id, {"files": names, "format": told})


def waiting_for(settings: Settings, source: str, run: str) -> ExportRequest | Run:
    """What the files are for: a request, by its run, by the vendor's own job id, or by its job when one waits; or a run
    that is set aside, for the vendor may give it out no other way."""
    if source not in settings.sources:
        raise ConfigError(f"there is no source {source!r}", hint=f"one of: {', '.join(settings.sources)}")
    state = read_state(settings.state_path)
    noted = state.requests.of(source) if state else []
    aside = [run_of(row) for row in state.runs(source) if row["state"] == SET_ASIDE] if state else []
    id = run.removeprefix(f"{source}/")
    ordered = {order.run for order in state.orders() if (order.verb, order.source) == (INGEST, source)} if state else ()
    for those in (
        [one.request for one in noted if one.request.id == id],
        [one.request for one in noted if one.ticket == id],
        [one.request for one in noted if one.request.job == id],
        [one for one in aside if one.id == id],
    ):
        if len(those) == 1:
            if those[0].id in ordered:  # its files lie where these would
                hint = "syncd run or syncd once takes them up; hand all files of a run over at once"
                raise ConfigError(f"{those[0].name}: its files were handed over already", hint=hint)
            return those[0]
    names = ", ".join([*(one.request.id for one in noted), *(one.id for one in aside)]) or "none"
    raise ConfigError(f"no run {id!r} of {source} waits for files", hint=f"those that do: {names}; see syncd runs")


def brought(given: str, folder: Path, retry_for: timedelta, cleans: Cleans | None) -> list[str]:
    """Names of the files in `folder` that `given` came to; the members of a zip are files of their own, but for a
    source that cleans: it makes one file of all."""
    name = named(given, folder)
    if cleans:
        with original(given, folder, retry_for) as file, (folder / name).open("wb") as out:
            out.writelines(damage_told(cleans.cleaned(file)))
            out.flush()
            os.fsync(out.fileno())
        return [name]
    with (folder / name).open("wb") as out:
        if "://" in given:
            Patience(retry_for)(lambda: download(given, out))
        else:
            with opened(Path(given)) as file:
                copy(file, out)
    if not zipfile.is_zipfile(folder / name):
        return [name]
    with zipfile.ZipFile(folder / name) as archive:
        members = [unzipped(archive, member, folder) for member in archive.infolist() if not member.is_dir()]
    (folder / name).unlink()
    return members


@contextmanager
def original(given: str, folder: Path, retry_for: timedelta) -> Iterator[IO[bytes]]:
    """The very bytes: of a link in a file without a name, so that nothing of it stays whenever we stop."""
    if "://" not in given:
        with opened(Path(given)) as file:
            yield file
        return
    with tempfile.TemporaryFile(dir=folder) as file:
        Patience(retry_for)(lambda: download(given, file))
        file.seek(0)
        yield file


def damage_told(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """The same; a file that is cut short can't be fetched again by us."""
    try:
        yield from blocks
    except TryAgain as error:
        raise ConfigError(str(error), hint="fetch it again from the vendor") from error


def unzipped(archive: zipfile.ZipFile, member: zipfile.ZipInfo, folder: Path) -> str:
    name = named(member.filename, folder)
    try:
        with archive.open(member) as file, (folder / name).open("wb") as out:
            copy(file, out)
    except (zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError) as error:  # damaged, or with a password
        raise ConfigError(f"{member.filename}: {error}", hint="unpack it yourself and hand the files over") from error
    return name


def named(given: str, folder: Path) -> str:
    """A name for the copy: the file's own, told apart from those that are there."""
    own = "link" if "://" in given else file_name(Path(given).name or "file")[-NAMES_KEPT:]  # a link is a secret, whole
    taken = {path.name for path in folder.iterdir()}
    return next(name for name in (own, *(f"{number}-{own}" for number in range(2, 10_000))) if name not in taken)


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    try:
        with path.open("rb") as file:
            yield file
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise ConfigError(
            f"{path}: {error.strerror}", hint="give the files that the vendor sent, or their URL"
        ) from error


def copy(file: IO[bytes], out: IO[bytes]) -> None:
    shutil.copyfileobj(file, out, BLOCK)
    out.flush()
    os.fsync(out.fileno())


def download(url: str, out: IO[bytes]) -> None:
    """Have the bytes behind a link in `out`, without a credential of ours; the link is never shown. TryAgain;
    SyncdError: refused."""
    import httpx

    try:
        where = httpx.URL(safe_url(url)).host
    except (ValueError, httpx.InvalidURL) as error:
        raise ConfigError(f"this is no link: {error}", hint="give the whole link, or a file") from None
    try:
        out.seek(0)
        out.truncate()
        with httpx.stream("GET", url, follow_redirects=True, timeout=60) as answer:
            if answer.status_code >= 500 or answer.status_code == 429:
                raise TryAgain(f"{where} answered {answer.status_code}", hint="try it again later")
            if answer.status_code != 200:
                raise SyncdError(f"{where} answered {answer.status_code}", hint="ask the vendor for a fresh link")
            for chunk in answer.iter_raw(BLOCK):
                out.write(chunk)
            out.flush()
            os.fsync(out.fileno())
            promised = answer.headers.get("content-length")
            if promised and int(promised) != out.tell():
                raise TryAgain(f"{where}: {out.tell()} bytes came, but {promised} were promised")
    except httpx.HTTPError as error:
        raise TryAgain(f"{where}: {type(error).__name__}", hint="is the network well? try it again") from error


def form_of(paths: Iterable[Path]) -> str:
    """What the files are by how they begin. ConfigError for a page in the place of an export."""
    for path in paths:
        with path.open("rb") as file:
            begin = file.read(BLOCK)
        if begin.startswith(b"\x1f\x8b"):
            try:
                begin = zlib.decompressobj(wbits=31).decompress(begin)
            except zlib.error as error:
                raise ConfigError(f"{path.name} is damaged: {error}", hint="fetch it again from the vendor") from error
        begin = begin.removeprefix(b"\xef\xbb\xbf").lstrip(SPACE)[:1]
        if begin == b"<":
            raise ConfigError(f"{path.name} is a page, no export", hint="the link may be dead: ask for a fresh one")
        if begin == b"[":
            hint = "hand it over as JSON Lines: jq -c '.[]' FILE"
            raise ConfigError(f"{path.name} is one JSON list, not a line for each record", hint=hint)
        if begin:
            return "jsonl" if begin == b"{" else "csv"
    return "csv"


def ingest(mirror: Mirror, order: Order) -> list[End]:
    """Bring the files that were handed over to the readers."""
    folder = mirror.landing.root.parent / HANDED / order.source / file_name(order.run)
    run = delivered(mirror, order)
    if run is None:  # a stop came behind this order's work
        return []
    with mirror.asking:
        mirror.landing.take(run, {name: folder / name for name in order.details["files"]})
        mirror.state.found([run], mirror.clock())
        mirror.state.forget_staged(run)  # what another file of such a name came to
        mirror.state.requests.forget(order.source, order.run)
    shutil.rmtree(folder, ignore_errors=True)
    return [bring_home(mirror, run)]


def delivered(mirror: Mirror, order: Order) -> Run | None:
    """The run that these files are; None when nothing waits for them."""
    for noted in mirror.state.requests.of(order.source):
        if noted.request.id == order.run:  # what was asked for later is the newer, whenever a person brings it
            asked_at = min(noted.request.asked_at, mirror.clock())
            return noted.request.delivered(asked_at, format=order.details["format"])
    for row in mirror.state.runs(order.source):
        if row["run"] == order.run and row["state"] == SET_ASIDE:
            return replace(run_of(row), format=order.details["format"])
    return None
