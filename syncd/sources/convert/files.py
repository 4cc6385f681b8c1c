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
from collections.abc import Iterator
from itertools import chain
from typing import IO, Any

from syncd.errors import BadRun, TryAgain
from syncd.fetch.http import plain
from syncd.sources.convert.answers import Json, loads

DELIMITERS = ",;\t|"
csv.field_size_limit(1 << 27)


def texts(file: IO[bytes]) -> Iterator[tuple[str, Iterator[str]]]:
    """Each file inside, by name, as lines. TryAgain: cut short; BadRun: nothing that can be read."""
    head = file.read(4)
    file.seek(0)
    try:
        if head.startswith(b"PK\x03\x04") or head.startswith(b"PK\x05\x06"):
            with zipfile.ZipFile(file) as archive:
                for name in sorted(one.filename for one in archive.infolist() if not one.is_dir()):
                    with archive.open(name) as inner:
                        yield name, as_text(inner)
        elif head.startswith(b"\x1f\x8b"):
            with gzip.open(file) as inner:
                yield "", as_text(inner)
        else:
            yield "", as_text(file)
    except (EOFError, zlib.error, gzip.BadGzipFile, zipfile.BadZipFile) as error:
        raise TryAgain(
            f"a file of the vendor ends early or is damaged ({error})", hint="it is fetched again"
        ) from error
    except UnicodeDecodeError as error:
        raise BadRun(
            f"a file of the vendor is no text ({error.reason})", hint="look at it in the vendor's app"
        ) from error


def as_text(file: Any) -> Iterator[str]:
    """Lines with their ends, in UTF-8 unless a mark says otherwise."""
    buffered = io.BufferedReader(file)
    utf_16 = buffered.peek(2)[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    return iter(io.TextIOWrapper(buffered, encoding="utf-16" if utf_16 else "utf-8-sig", newline=""))


def records(lines: Iterator[str]) -> Iterator[tuple[str, list[str]]]:
    """CSV records as they stand, and their cells; blank lines are none."""
    first = next(lines, "")
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


def events(lines: Iterator[str]) -> Iterator[Json]:
    """The records of a raw file: JSON lines, a JSON list, or CSV with a header. BadRun: none of these."""
    first = next(lines, "")
    lines = chain([first], lines)
    try:
        match first.lstrip()[:1]:
            case "[":
                yield from (one for one in loads("".join(lines).encode()) if isinstance(one, dict))
            case "{":
                yield from (loads(line.encode()) for line in lines if line.strip())
            case _:
                yield from _by_header(lines)
    except ValueError as error:
        raise BadRun(
            f"a raw data file begins like JSON and is none: {plain(str(error))}",
            hint="its layout is not known: look at the file in the vendor's app",
        ) from error


def _by_header(lines: Iterator[str]) -> Iterator[Json]:
    header: list[str] = []
    for _, cells in records(lines):
        if not header:
            header = cells
        elif len(cells) > len(header):
            raise BadRun(
                f"a raw data file has a record of {len(cells)} cells under {len(header)} names",
                hint="its layout is not known: look at the file in the vendor's app",
            )
        else:
            yield dict(zip(header, cells, strict=False))
