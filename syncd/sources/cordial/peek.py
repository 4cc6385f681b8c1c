"""A look at the first bytes of delivered files: which format, and which names its columns have.

A header may stand on every chunk, on the first or on none (unknown): a chunk without one gets its names from another.
"""

from __future__ import annotations

import csv
import zlib
from collections.abc import Collection, Iterable

DELIMITERS = ",;\t|"
BOM = b"\xef\xbb\xbf"


def format_of(heads: Iterable[bytes]) -> str:
    """What the files are; of none, CSV: nothing is read of it."""
    for head in heads:
        return "jsonl" if unpacked(head).lstrip().startswith(b"{") else "csv"
    return "csv"


def fields_of(heads: Iterable[bytes], known: Collection[str]) -> tuple[str, ...]:
    """The names of the columns, from the first file that begins with a header; () when none does.

    A header is a record without empty fields, none twice, that has known names, or, where none are known, no value.
    """
    wanted = {name.casefold() for name in known}
    for head in heads:
        names = first_record(unpacked(head))
        likely = sum(name.casefold() in wanted for name in names)
        whole = bool(names) and all(names) and len(set(names)) == len(names)
        if whole and (likely >= min(2, len(names)) or (not wanted and not any(map(is_value, names)))):
            return names
    return ()


def first_record(text: bytes) -> tuple[str, ...]:
    """The fields of the first line, by the delimiter that cuts it into most."""
    line = text.decode("utf-8", "replace").lstrip("\r\n").partition("\n")[0].rstrip("\r")
    records: list[list[str]] = [next(csv.reader([line], delimiter=each), []) for each in DELIMITERS]
    widest: list[str] = max(records, key=len)
    return tuple(widest)


def is_value(text: str) -> bool:
    """Whether a text looks like anything but a name."""
    return not text or text[0] in "-+0123456789{[" or "@" in text


def unpacked(head: bytes) -> bytes:
    """As much of the beginning as these bytes tell."""
    if head.startswith(b"\x1f\x8b"):
        try:
            head = zlib.decompressobj(31).decompress(head)
        except zlib.error:
            return b""  # damaged: whoever reads all of it says so
    return head.removeprefix(BOM)
