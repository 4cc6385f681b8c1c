"""Files behind a link, as rows: whatever wraps them (gzip, zip) and whether they are JSON or CSV.

Layout, delimiter and encoding of the vendor's CSV are unknown, and one form has sections of different width. So a
report's record is landed as the text that it was and the cells in it; only raw data is taken by its header.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from itertools import chain
from typing import IO, Any, TextIO, TypeVar

from syncd.errors import BadRun, TryAgain
from syncd.fetch.http import plain
from syncd.sources.convert.answers import Json, loads
from syncd.sources.convert.entries import entries

DELIMITERS = ",;\t|"
T = TypeVar("T")
csv.field_size_limit(1 << 27)


def unpacked(file: IO[bytes], read: Callable[[str, TextIO], Iterator[T]]) -> Iterator[T]:
    """What `read` finds in each file inside, given its name and text. TryAgain: cut short; BadRun: it can't be read."""
    try:
        with closing(texts(file)) as inside:
            for name, text in inside:
                yield from read(name, text)
    except (EOFError, zlib.error, gzip.BadGzipFile, zipfile.BadZipFile) as error:
        raise TryAgain(
            f"a file of the vendor ends early or is damaged ({error})", hint="it is fetched again"
        ) from error
    except UnicodeDecodeError as error:
        raise BadRun(
            f"a file of the vendor is no text ({error.reason})", hint="look at it in the vendor's app"
        ) from error
    except csv.Error as error:  # an endless field
        raise BadRun(f"a file of the vendor can't be read ({error})", hint="look at it in the vendor's app") from error


def texts(file: IO[bytes]) -> Generator[tuple[str, TextIO]]:
    """Each file inside, by name, as text."""
    head = file.read(4)
    file.seek(0)
    if head.startswith(b"PK\x03\x04") or head.startswith(b"PK\x05\x06"):
        with zipfile.ZipFile(file) as archive:
            for name in sorted(one.filename for one in archive.infolist() if not one.is_dir()):
                with member(archive, name) as inner, as_text(inner) as text:
                    yield name, text
    elif head.startswith(b"\x1f\x8b"):
        with gzip.open(file) as plainly, as_text(plainly) as text:
            yield "", text
    else:
        with as_text(file) as text:
            yield "", text


def member(archive: zipfile.ZipFile, name: str) -> IO[bytes]:
    """BadRun: it has a password, or is packed as nobody here knows."""
    try:
        return archive.open(name)
    except (RuntimeError, NotImplementedError) as error:
        raise BadRun(f"a file of the vendor can't be read ({error})", hint="look at it in the vendor's app") from error


@contextmanager
def as_text(file: Any) -> Iterator[TextIO]:
    """In UTF-8 unless a mark says otherwise; the ends of lines stay. Who opened the file closes it."""
    buffered = io.BufferedReader(file)
    utf_16 = buffered.peek(2)[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    text = io.TextIOWrapper(buffered, encoding="utf-16" if utf_16 else "utf-8-sig", newline="")
    try:
        yield text
    finally:
        text.detach()
        buffered.detach()


def begin(stream: TextIO) -> str:
    """The first character of a text that was not read yet, behind space."""
    assert isinstance(stream.buffer, io.BufferedReader)
    return stream.buffer.peek().decode(stream.encoding, "ignore").lstrip()[:1]


def records(lines: TextIO) -> Iterator[tuple[str, list[str]]]:
    """CSV records as they stand, and their cells; blank lines are none. BadRun: it is a page."""
    if begin(lines) == "<":
        raise BadRun("a page came in the place of a file", hint="the link may be dead: ask for a fresh one")
    first = lines.readline()
    held: list[str] = []

    def one_by_one() -> Iterator[str]:
        for line in chain([first], lines):
            held.append(line)
            yield line

    for cells in csv.reader(one_by_one(), delimiter=max(DELIMITERS, key=first.count)):
        spelled = "".join(held).rstrip("\r\n")
        held.clear()
        if cells:
            yield spelled, cells


def events(lines: TextIO) -> Iterator[Json]:
    """The records of a raw file: JSON lines, a JSON list, or CSV with a header. BadRun: none of these."""
    try:
        match begin(lines):
            case "[":
                yield from (one for _, _, one in entries(lines) if isinstance(one, dict))
            case "{":
                yield from (loads(line.encode()) for line in lines if line.strip())
            case _:
                yield from _by_header(lines)
    except ValueError as error:
        raise BadRun(
            f"a raw data file begins like JSON and is none: {plain(str(error))}",
            hint="its layout is not known: look at the file in the vendor's app",
        ) from error


def _by_header(lines: TextIO) -> Iterator[Json]:
    header: list[str] = []
    for _, cells in records(lines):
        if not header:
            header = told_apart(cells)
        elif len(cells) > len(header):
            raise BadRun(
                f"a raw data file has a record of {len(cells)} cells under {len(header)} names",
                hint="its layout is not known: look at the file in the vendor's app",
            )
        else:
            yield dict(zip(header, cells, strict=False))


def told_apart(names: list[str]) -> list[str]:
    """The same names, with a number behind one that came before: else its cells would be lost."""
    found: list[str] = []
    for name in names:
        tries = chain([name], (f"{name}_{number}" for number in range(2, len(names) + 1)))
        found.append(next(one for one in tries if one not in found))
    return found
