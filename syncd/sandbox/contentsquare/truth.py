"""What was served, counted: an oracle that DuckDB or a few lines of Python can be held against.

Per column, over the values that are not null: how many, the characters of their text, an order-free `digest` of it,
and the `sum` as a decimal string where all are numbers (floats have only that). A list column has the same of its
values under `inner`.
The same from DuckDB, `t` being `CAST(c AS VARCHAR)` (times as YYYY-MM-DD HH:MM:SS):

    count(t), sum(length(t)), sum(CAST('0x' || md5(t)[:15] AS HUGEINT)), sum(CAST(c AS DECIMAL(38, …)))
"""

from __future__ import annotations

import gzip
import json  # noqa: TID251  # given files may hold integers past 64 bits, which orjson turns into doubles
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Context, Decimal
from hashlib import md5
from pathlib import Path
from typing import Any

_EXACT = Context(prec=400)
_NUMBER = re.compile(r"-?\d{1,38}(\.\d+)?", re.ASCII)


@dataclass
class Tally:
    """The figures of one column."""

    values: int = 0
    nulls: int = 0
    characters: int = 0
    digest: int | None = 0
    sum: Decimal | None = Decimal(0)
    inner: Tally | None = None

    def add(self, value: Any) -> None:
        """Count a value: None, a bool, a number, text or a list of these."""
        if value is None:
            self.nulls += 1
            return
        self.values += 1
        if isinstance(value, list):
            self.inner = self.inner or Tally()
            for each in value:
                self.inner.add(each)
            return
        text = _text(value)
        if isinstance(value, float):
            self.digest = None  # 1, 1.0 and 1e0 are one value
        elif self.digest is not None:
            self.digest += int(md5(text.encode(), usedforsecurity=False).hexdigest()[:15], 16)
        self.characters += len(text)
        if self.sum is not None:
            self.sum = _EXACT.add(self.sum, Decimal(text)) if _NUMBER.fullmatch(text) else None

    def merge(self, other: Tally) -> None:
        """Count all that `other` counted."""
        self.values += other.values
        self.nulls += other.nulls
        self.characters += other.characters
        self.digest = None if self.digest is None or other.digest is None else self.digest + other.digest
        self.sum = None if self.sum is None or other.sum is None else _EXACT.add(self.sum, other.sum)
        if other.inner:
            self.inner = self.inner or Tally()
            self.inner.merge(other.inner)

    def told(self) -> dict[str, Any]:
        """As JSON; what may pass 53 bits is text."""
        told: dict[str, Any] = {"values": self.values, "nulls": self.nulls}
        if self.inner:
            return told | {"inner": self.inner.told()}
        total = None if self.sum is None or not self.values else format(self.sum, "f")
        if self.digest is None:
            return told | {"sum": total}
        return told | {"characters": self.characters, "digest": str(self.digest), "sum": total}


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(int(value))  # the vendor's storage has 0 and 1
    if isinstance(value, float):
        return format(Decimal(repr(value)), "f")
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return str(value)


@dataclass
class Count:
    """The figures of a part, or of a run. `lines` = rows + rejected + blank; a CSV header is none."""

    rows: int = 0
    rejected: int = 0
    blank: int = 0
    damaged: bool = False  # a given file whose gzip breaks off
    columns: dict[str, Tally] = field(default_factory=dict)

    def add(self, row: Iterable[tuple[str, Any]]) -> None:
        """Count a row's columns."""
        self.rows += 1
        for name, value in row:
            self.columns.setdefault(name, Tally()).add(value)

    def merge(self, other: Count) -> None:
        """Count all that `other` counted."""
        self.rows += other.rows
        self.rejected += other.rejected
        self.blank += other.blank
        self.damaged = self.damaged or other.damaged
        for name, tally in other.columns.items():
            self.columns.setdefault(name, Tally()).merge(tally)

    def told(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "lines": self.rows + self.rejected + self.blank,
            "rows": self.rows,
            "rejected": self.rejected,
            "blank": self.blank,
            "damaged": self.damaged,
            "columns": {name: tally.told() for name, tally in self.columns.items()},
        }


def counted(path: Path, form: str) -> Count:
    """A given file, read plainly. A broken record is counted as rejected."""
    count = Count()
    try:
        with gzip.open(path) as file:
            if form == "csv":
                _count_csv(file.read().decode(), count)
            else:
                for line in file:
                    _count_line(line, count)
    except (EOFError, zlib.error, gzip.BadGzipFile, UnicodeDecodeError):
        count.damaged = True
    return count


def _refused(text: str) -> Any:
    raise ValueError(text)


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    return found if len(found) == len(pairs) else _refused("a key twice")


def _count_line(line: bytes, count: Count) -> None:
    if not line.strip():
        count.blank += 1
        return
    try:
        row = json.loads(line.decode(), parse_constant=_refused, object_pairs_hook=_once_each)
        json.dumps(row, ensure_ascii=False).encode()  # a lone surrogate has no bytes
    except ValueError:
        row = None
    if isinstance(row, dict):
        count.add(row.items())
    else:
        count.rejected += 1


def first_fields(path: Path, form: str) -> list[str]:
    """The column names of a given file; none when it can't be read."""
    try:
        with gzip.open(path) as file:
            head = file.readline().decode()
        if form == "csv":
            return [value or "" for value in next(_records(head.removesuffix("\n")), [])]
        found = json.loads(head)
        return list(found) if isinstance(found, dict) else []
    except (EOFError, zlib.error, gzip.BadGzipFile, ValueError):
        return []


_FIELD = re.compile(r'(?:"((?:[^"]|"")*)"|([^,\n]*))(,|\r?\n|\Z)')


def _records(text: str) -> Iterator[list[str | None]]:
    """CSV records; a bare `\\N` is None, a quoted one is text. A blank line is []."""
    at = 0
    record: list[str | None] = []
    while at < len(text):
        match = _FIELD.match(text, at)
        if match is None:  # text behind a closing quote
            end = text.find("\n", at)
            at = len(text) if end < 0 else end + 1
            yield [*record, None, None]
            record = []
            continue
        quoted, bare, stop = match.groups()
        at = match.end()
        if quoted is None and stop != "," and not record and not bare.strip():
            yield []
            continue
        record.append(quoted.replace('""', '"') if quoted is not None else None if bare == "\\N" else bare)
        if stop != ",":
            yield record
            record = []


def _count_csv(text: str, count: Count) -> None:
    records = _records(text)
    header = [name or "" for name in next(records, [])]
    for record in records:
        if not record:
            count.blank += 1
        elif len(record) != len(header):
            count.rejected += 1
        else:
            count.add(zip(header, record, strict=True))


def summary(parts: Mapping[int, Count]) -> dict[str, Any]:
    """A run's figures and those of each of its parts."""
    whole = Count()
    for count in parts.values():
        whole.merge(count)
    return whole.told() | {"parts": [{"part": part} | count.told() for part, count in parts.items()]}
