"""What a file holds, told slowly by the standard library alone: the judge that `syncd.parse` must agree with."""

from __future__ import annotations

import csv
import io
import json  # noqa: TID251  # an oracle of its own, independent of ours
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from syncd.model import Batch, Column, Scope
from syncd.parse import parse
from syncd.types import NULL, Type, join_all
from tests.value_oracle import Digits, fits, fraction, meant_text, needs, no_constant, once, same


@dataclass
class Told:
    """What became of each record of a part."""

    rows: dict[int, dict[str, Any]] = field(default_factory=dict)
    rejected: dict[int, tuple[int, bytes]] = field(default_factory=dict)  # offset, raw
    blank: int = 0
    places: dict[int, tuple[int, bytes]] = field(default_factory=dict)  # of rows, should they be refused for their keys


def jsonl(text: bytes) -> Told:
    told, number, offset = Told(), 0, 0
    for line in text.split(b"\n"):
        if line.strip():
            number += 1
            try:
                found = json.loads(
                    line.decode("utf-8-sig"),
                    parse_int=Digits,
                    parse_float=fraction,
                    parse_constant=no_constant,
                    object_pairs_hook=once,
                )
                json.dumps(found, ensure_ascii=False).encode()
                assert type(found) is dict
                told.rows[number] = found
                told.places[number] = (offset, line)
            except (ValueError, AssertionError):
                told.rejected[number] = (offset, line)
        elif line or offset + len(line) < len(text):
            told.blank += 1
        offset += len(line) + 1
    return told


def csv_rows(text: str) -> list[list[str]]:
    return [row for row in csv.reader(io.StringIO(text, newline="")) if row]


def delimited(text: bytes, delimiter: str, names: Sequence[str], headers: Iterable[bytes]) -> Told:
    """CSV records, a byte at a time. A field is quoted when it starts with a quote; a newline inside ends none."""
    told, number, at = Told(), 0, 0
    while at < len(text):
        fields, end = _fields(text, at, delimiter.encode())
        raw = text[at:end]
        if not raw.strip() and not (delimiter == "\t" and b"\t" in raw):
            told.blank += 1
        elif raw.removesuffix(b"\r").removeprefix(b"\xef\xbb\xbf") not in headers:
            number += 1
            try:
                assert fields is not None
                told.rows[number] = dict(zip(names, [_unquoted(field) for field in fields], strict=True))
            except (ValueError, AssertionError):
                told.rejected[number] = (at, raw)
        at = end + 1
    return told


def _fields(text: bytes, start: int, delimiter: bytes) -> tuple[list[bytes] | None, int]:
    """A record's fields as they are written, and where it ends; None where its quotes are broken: then at its line's
    end."""
    fields, at = [], start
    line_end = text.find(b"\n", start) % (len(text) + 1)
    while True:
        begin = at
        if text[at : at + 1] == b'"':
            at += 1
            while text[at : at + 1] != b'"' or text[at + 1 : at + 2] == b'"':
                if at >= len(text):
                    return None, line_end
                at += 2 if text[at : at + 1] == b'"' else 1
            at += 1
            if text[at : at + 1] not in (delimiter, b"\n", b"") and text[at:] != b"\r" and text[at : at + 2] != b"\r\n":
                return None, line_end
        else:
            while text[at : at + 1] not in (delimiter, b"\n", b""):
                at += 1
        fields.append(text[begin:at])
        if text[at : at + 1] != delimiter:
            end = text.find(b"\n", at) % (len(text) + 1)
            fields[-1] = fields[-1].removesuffix(b"\r")
            return fields, end
        at += 1


def _unquoted(field: bytes) -> str | None:
    if field == b"\\N":
        return None
    text = field.decode()
    return text[1:-1].replace('""', '"') if text.startswith('"') else text


def lifted(row: dict[str, Any], scope: Scope) -> dict[str, Any] | None:
    """The row with the fields of declared groups side by side; None: one came both ways."""
    names = [column.source_name for column in scope.columns if column.origin == "declared"]
    groups = {name[:at] for name in names for at in range(len(name)) if name[at] == "."}
    out: list[tuple[str, Any]] = []
    todo = list(row.items())
    while todo:
        name, value = todo.pop(0)
        if name in groups and (value is None or isinstance(value, dict)):
            todo += [(f"{name}.{inner}", field) for inner, field in (value or {}).items()]
        else:
            out.append((name, value))
    return dict(out) if len({name for name, _ in out}) == len(out) else None


@dataclass
class Got:
    """What the parser made of a part: rows by number and by the vendor's spelling."""

    rows: dict[int, dict[str, Any]] = field(default_factory=dict)
    rejected: dict[int, tuple[int, bytes]] = field(default_factory=dict)
    blank: int = 0
    types: dict[str, Type] = field(default_factory=dict)  # that all batches together need


def got(batches: Iterable[Batch]) -> Got:
    """The batches as one, with the law checked on each."""
    found = Got()
    for batch in batches:
        assert batch.lines == batch.rows.num_rows + len(batch.rejected) + batch.blank
        names = [column.name for column in batch.columns]
        assert batch.rows.schema.names == [*names, "_syncd_row"]
        assert len({name.lower() for name in names}) == len(names)
        batch.rows.validate(full=True)
        spelled = {column.name: column.source_name for column in batch.columns}
        for row in batch.rows.to_pylist():
            number = row.pop("_syncd_row")
            found.rows[number] = {spelled[name]: value for name, value in row.items()}
        found.rejected |= {line.row: (line.byte_offset, line.raw) for line in batch.rejected}
        found.blank += batch.blank
        for column in (*batch.columns, *batch.nulls):
            found.types[column.source_name] = join_all([found.types.get(column.source_name, NULL), column.type])
    return found


def check(told: Told, batches: Iterable[Batch]) -> None:
    """Each row with its values, each rejected line with its place and bytes, and the law."""
    found = got(batches)
    assert found.rejected == told.rejected
    assert found.rows.keys() == told.rows.keys()
    assert found.blank == told.blank
    check_rows(told, found.rows, Scope("t"))


def check_rows(
    told: Told, rows: dict[int, dict[str, Any]], scope: Scope, *, texts: bool = False, own: bool = False
) -> None:
    """Each row's values, each under a type that may be wider than it needs. `texts`: CSV, so all was sent as text."""
    guides = {column.source_name: column.type for column in scope.columns if column.origin == "declared"}
    for number, sent in told.rows.items():
        for name in {*sent, *rows[number]}:
            value, stored, guide = sent.get(name), rows[number].get(name), guides.get(name, NULL)
            fine = (stored is not None and stored == value) if texts else False
            value = meant_text(value, guide) if texts else value
            assert fine or same(value, stored, guide, own=own), (number, name, value, stored)


def check_types(told: Iterable[Told], types: dict[str, Type], scope: Scope, *, texts: bool = False) -> None:
    """A declared column keeps its type where that holds all it got; a learned one has the type that its values need."""
    guides = {column.source_name: column.type for column in scope.columns if column.origin == "declared"}
    rows = [row for part in told for row in part.rows.values()]
    for name in {name for row in rows for name in row}:
        assert name in types, name
        values, guide = [row.get(name) for row in rows], guides.get(name)
        if guide is not None:
            held = all(fits(meant_text(value, guide) if texts else value, guide) for value in values)
            assert not held or types[name].plain == guide.plain, (name, str(types[name]))
        elif not texts:
            assert str(types[name].plain) == needs(values), (name, str(types[name]), needs(values))


def cut(text: bytes, sizes: Iterable[int]) -> Iterator[bytes]:
    """The bytes in pieces of these sizes, over and over."""
    sizes, at = list(sizes), 0
    while at < len(text):
        for size in sizes:
            yield text[at : at + size]
            at += size


def declared(**types: str) -> Scope:
    return Scope("t", tuple(Column(name, Type.parse(text), name, "declared") for name, text in types.items()))


def read(text: bytes, scope: Scope | None = None, format: str = "jsonl", **how: Any) -> list[Batch]:
    return list(parse([text], scope or Scope("t"), format, **how))


def values(batches: Iterable[Batch], name: str) -> list[Any]:
    """One column, by the vendor's spelling, over all batches."""
    found: list[Any] = []
    for batch in batches:
        ours = [column.name for column in batch.columns if column.source_name == name]
        found += batch.rows.column(ours[0]).to_pylist() if ours else [None] * batch.rows.num_rows
    return found


def type_of(batches: Iterable[Batch], name: str) -> str:
    types = {str(column.type.plain) for batch in batches for column in batch.columns if column.source_name == name}
    assert len(types) == 1, types
    return types.pop()
