"""What a file holds, told slowly by the standard library alone: the judge that `syncd.parse` must agree with."""

from __future__ import annotations

import csv
import io
import json  # noqa: TID251  # an oracle of its own, independent of ours
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from syncd.model import Batch, Column, Scope
from syncd.parse import parse
from syncd.types import Type


class Digits(str):
    """A number as it was spelled."""


@dataclass
class Told:
    """What became of each record of a part."""

    rows: dict[int, dict[str, Any]] = field(default_factory=dict)
    rejected: dict[int, tuple[int, bytes]] = field(default_factory=dict)  # offset, raw
    blank: int = 0


def _no(text: str) -> None:
    raise ValueError(text)


def _fraction(text: str) -> Digits:
    if math.isinf(float(text)):
        raise ValueError(text)
    return Digits(text)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({name for name, _ in pairs}) < len(pairs):
        raise ValueError("twice")
    return dict(pairs)


def jsonl(text: bytes) -> Told:
    told, number, offset = Told(), 0, 0
    for line in text.split(b"\n"):
        if line.strip():
            number += 1
            try:
                found = json.loads(
                    line.decode("utf-8-sig"),
                    parse_int=Digits,
                    parse_float=_fraction,
                    parse_constant=_no,
                    object_pairs_hook=_once,
                )
                json.dumps(found, ensure_ascii=False).encode()
                assert type(found) is dict
                told.rows[number] = found
            except (ValueError, AssertionError):
                told.rejected[number] = (offset, line)
        elif line or offset + len(line) < len(text):
            told.blank += 1
        offset += len(line) + 1
    return told


def csv_rows(text: str) -> list[list[str]]:
    return [row for row in csv.reader(io.StringIO(text, newline="")) if row]


def same(sent: Any, stored: Any) -> bool:
    """Whether a stored value is the sent one, allowing for a wider type but no other value."""
    if sent is None or stored is None:
        return sent is None and stored is None
    if isinstance(sent, Digits):
        if isinstance(stored, str):
            return stored == sent or Decimal(stored) == Decimal(sent)
        return isinstance(stored, (int, float, Decimal)) and _number(stored) == Decimal(sent)
    if isinstance(sent, bool):
        return stored is sent or stored == str(sent).lower()
    if isinstance(sent, str):
        return type(stored) is str and stored == sent
    if isinstance(stored, str):
        return same_json(sent, json.loads(stored, parse_int=Digits, parse_float=Digits))
    if isinstance(sent, list):
        return isinstance(stored, list) and len(sent) == len(stored) and all(map(same, sent, stored))
    return isinstance(stored, dict) and all(same(sent.get(name), stored[name]) for name in {*sent, *stored})


def same_json(sent: Any, stored: Any) -> bool:
    if isinstance(sent, Digits):
        return isinstance(stored, Digits) and Decimal(sent) == Decimal(stored)
    if isinstance(sent, list):
        return type(stored) is list and len(sent) == len(stored) and all(map(same_json, sent, stored))
    if isinstance(sent, dict):
        return type(stored) is dict and all(same_json(sent.get(name), stored.get(name)) for name in {*sent, *stored})
    return bool(sent == stored) and type(sent) is type(stored)


def _number(value: int | float | Decimal) -> Decimal:
    return Decimal(repr(value)) if isinstance(value, float) else Decimal(value)


def check(told: Told, batches: Iterable[Batch]) -> None:
    """Each row with its values, each rejected line with its place and bytes, and the law."""
    rows, rejected, blank = {}, {}, 0
    for batch in batches:
        assert batch.lines == batch.rows.num_rows + len(batch.rejected) + batch.blank
        names = [column.name for column in batch.columns]
        assert batch.rows.schema.names == [*names, "_syncd_row"]
        assert len({name.lower() for name in names}) == len(names)
        spelled = {column.name: column.source_name for column in batch.columns}
        for row in batch.rows.to_pylist():
            number = row.pop("_syncd_row")
            rows[number] = {spelled[name]: value for name, value in row.items()}
        rejected |= {line.row: (line.byte_offset, line.raw) for line in batch.rejected}
        blank += batch.blank
    assert rejected == told.rejected
    assert rows.keys() == told.rows.keys()
    assert blank == told.blank
    for number, sent in told.rows.items():
        for name in {*sent, *rows[number]}:
            assert same(sent.get(name), rows[number].get(name)), (
                name,
                sent.get(name),
                rows[number].get(name),
            )


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
