"""How a CSV part is written: its delimiter, and whether it starts with the names of its columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain

from syncd.errors import BadRun
from syncd.parse.csv import Dialect
from syncd.parse.records import DELIMITERS, MAX_OPEN, fields, split
from syncd.parse.values import date_in, number_in, time_in


def sniffed(
    chunks: Iterator[bytes], wanted: Sequence[str], known: Sequence[str], header: bool | None
) -> tuple[Iterator[bytes], Dialect]:
    """All the bytes again, and the dialect that their first record shows.

    `wanted` are the names that the job asks for in order, `known` those of the scope; `header` None: look.
    """
    start = _until_record(chunks)
    firsts = {each: _first(start, each) for each in DELIMITERS}
    split_by = {each: fields(first.decode(errors="replace"), each) for each, first in firsts.items()}
    delimiter = max(DELIMITERS, key=lambda each: len(split_by[each] or ()))
    first, found = firsts[delimiter], split_by[delimiter]
    if found is None:
        return chain([start], chunks), _nameless(first, delimiter, wanted)
    values = [value if value is not None else "\\N" for value in found]
    if header is None:
        header = not _is_data(values, wanted, known)
    return chain([start], chunks), _dialect(values, delimiter, wanted, first if header else None)


def _until_record(chunks: Iterator[bytes]) -> bytes:
    """Chunks until they hold a record that isn't blank, whatever the delimiter."""
    start = b""
    for chunk in chunks:
        start += chunk
        if len(start) > MAX_OPEN or not any(split(start, each, False).lines.blank.all() for each in DELIMITERS):
            break
    return start


def _nameless(first: bytes, delimiter: str, wanted: Sequence[str]) -> Dialect:
    """For a first record with broken quotes: it is rejected like any other if the columns are known without it."""
    if not wanted:
        raise BadRun(
            f"the names of the columns can't be read, their quotes are broken: {first[:100]!r}",
            hint="compare with the vendor's page; then: syncd retry",
        )
    return _dialect(wanted, delimiter, wanted, None)


def _first(start: bytes, delimiter: str) -> bytes:
    lines = split(start, delimiter, True).lines
    first = next((lines[line] for line in range(len(lines)) if not lines.blank[line]), b"")
    return first.removesuffix(b"\r")


def _is_data(values: Sequence[str], wanted: Sequence[str], known: Sequence[str]) -> bool:
    """The documented first row is the names; only a row that clearly holds none is data."""
    names = {name.casefold() for name in (*wanted, *known)}
    named = sum(value.casefold() in names for value in values)
    likely = sum(map(_is_value, values))
    if named and not (len(wanted) == len(values) > 2 * named and likely):  # a value may happen to be a name
        return False
    return likely > 0 if len(wanted) == len(values) else 2 * likely >= len(values) > 0


def _is_value(text: str) -> bool:
    return text == "\\N" or text[:1] in ("[", "{") or bool(number_in(text) or time_in(text) or date_in(text))


def _dialect(values: Sequence[str], delimiter: str, wanted: Sequence[str], header: bytes | None) -> Dialect:
    if header is not None:
        names = list(values)
    elif len(wanted) == len(values):
        names = list(wanted)
    else:
        names = [f"column_{number}" for number in range(1, len(values) + 1)]
    quoted = [f'"{name.replace(chr(34), chr(34) * 2)}"' for name in names]
    spellings = {delimiter.join(names).encode(), delimiter.join(quoted).encode(), header or b""}
    return Dialect(delimiter, _apart(names), tuple(sorted(spellings - {b""})))


def _apart(names: Sequence[str]) -> tuple[str, ...]:
    """The same names, each once: two aliases may be equal, and both columns are kept."""
    seen: dict[str, None] = {}
    for name in names:
        unique, number = name, 2
        while unique in seen:
            unique, number = f"{name} ({number})", number + 1
        seen[unique] = None
    return tuple(seen)
