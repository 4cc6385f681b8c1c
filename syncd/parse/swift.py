"""The swift way: lines that are plain, straight into Arrow's buffers by the reader in C (`c/`).

It is told which columns to expect, of which types, and takes a line only if it reads all of it exactly as `values`
would; lines that it leaves go the other ways. Without the library it leaves all of them.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from syncd.parse import compiled
from syncd.parse.columns import Known, lift
from syncd.parse.forms import TooSlow
from syncd.parse.lines import Flags, Lines
from syncd.parse.quick import Piece
from syncd.parse.settle import settle
from syncd.parse.values import Refused, record, type_of_all
from syncd.parse.width import bound, leaves
from syncd.types import INTS, NULL, STRING, TEXTS, Type, arrow, join, list_of, struct_of

Typed = tuple[pa.Array | None, Type]  # no array: all is null

SAMPLES = (8, 64, 512)  # lines looked at of those that an attempt left, before the next: some have keys of their own
FEW = 50  # of so many lines one: not worth another attempt
KINDS = ("nothing", "string", "json", "bool", "int", "uint", "double", "date", "timestamp", "list", "struct", "group")


class _Column(ctypes.Structure):
    """`column` of c/columns.h."""


_Column._fields_ = [
    ("key", ctypes.c_char_p),
    ("key_size", ctypes.c_int64),
    ("inner", ctypes.POINTER(_Column)),
    *((name, ctypes.c_int64) for name in ("count", "length", "first", "truth", "nulls")),
    *((name, ctypes.c_int64) for name in ("room", "text_room", "expected")),
    *((name, ctypes.c_void_p) for name in ("valid", "values", "offsets")),
    *((name, ctypes.c_int32) for name in ("kind", "width", "quoted", "loose", "blank", "odd", "next", "after")),
    ("slots", ctypes.c_void_p),
    ("last_slot", ctypes.c_int64),
]


@dataclass(frozen=True, slots=True)
class Field:
    """What the reader is told of a column, of a list's element, a struct's or a group's field."""

    key: str
    type: Type
    guide: Type = NULL
    name: str = ""  # of the column
    inner: tuple[Field, ...] = ()
    is_group: bool = False
    blank: bool = False  # CSV: an empty text is NULL

    @classmethod
    def of(cls, key: str, t: Type, guide: Type, name: str = "") -> Field:
        guides = dict(guide.fields) if guide.kind == t.kind else {}
        inner = tuple(cls.of(inner, each, guides.get(inner, NULL)) for inner, each in t.fields)
        return cls(key, t, guide, name, inner)

    @property
    def kind(self) -> int:
        if self.is_group:
            return KINDS.index("group")
        kind = self.type.kind
        if kind in INTS:
            kind = INTS[kind][0] + "int"
        if kind not in KINDS or (kind in ("date", "timestamp") and self.guide.kind != kind):
            return 0  # in text that nobody declared, dates are not guessed
        return KINDS.index(kind)


def read(lines: Lines, known: Known) -> tuple[list[Piece], Flags]:
    """The lines that are plain, and which are left. TooSlow, TooWide."""
    left: Flags = ~lines.blank
    reader, _ = compiled.library()
    if reader is None or not left.any():
        return [], left
    types = {name: column.type for name, column in known.columns.items()}
    bound(lines, sum(map(leaves, types.values())))
    found = _Read(reader, lines, left, fields_of(types, known))
    for samples in SAMPLES:
        others = np.flatnonzero(left & ~found.taken)
        if FEW * len(others) <= len(lines):
            break
        before, types = types, _learned(types, lines, others[:: max(1, len(others) // samples)].tolist(), known)
        if types == before:
            break
        bound(lines, sum(map(leaves, types.values())))
        found = _Read(reader, lines, left, fields_of(types, known))
    left &= ~found.taken
    return ([found.piece()] if found.taken.any() else []), left


def fields_of(types: Mapping[str, Type], known: Known, prefix: str = "") -> tuple[Field, ...]:
    """What may stand in a line, or in a group of that prefix: a declared dotted name comes either way."""
    alone = [
        Field.of(name[len(prefix) :], t, known.guide(name), name)
        for name, t in types.items()
        if name.startswith(prefix) and name not in known.groups
    ]
    groups = [
        Field(name[len(prefix) :], NULL, inner=fields_of(types, known, name + "."), is_group=True)
        for name in sorted(known.groups)
        if name.startswith(prefix)
    ]
    return (*alone, *groups)


def _learned(types: Mapping[str, Type], lines: Lines, looked_at: Iterable[int], known: Known) -> dict[str, Type]:
    """The types that these lines need as well."""
    found: dict[str, list[Any]] = {}
    for line in looked_at:
        with suppress(Refused):
            for name, value in lift(record(lines[line]), known).items():
                found.setdefault(name, []).append(value)
    return {**types} | {
        name: join(types.get(name, NULL), type_of_all(values, known.guide(name))) for name, values in found.items()
    }


def read_records(
    reader: Any, lines: Lines, wanted: Flags, names: Sequence[str], delimiter: str, known: Known
) -> tuple[Flags, dict[str, Typed]]:
    """Which of the wanted records have a field for each name, and their columns under the declared types.

    A column is text where its type is no plain one, or doesn't hold all its values.
    """
    fields = [_delimited(name, known) for name in names]
    found = _Read(reader, lines, wanted, fields, delimiter)
    columns = found.columns()
    if found.odd:
        texts = [replace(field, type=STRING if field.name in found.odd else NULL, inner=()) for field in fields]
        columns |= _Read(reader, lines, wanted, texts, delimiter).columns()
    return found.taken, {name: columns[name] for name in names}


def _delimited(name: str, known: Known) -> Field:
    guide = known.guide(name)
    of = guide.element if guide.kind == "list" else guide
    is_plain = of.kind in ("string", "date", "timestamp", "double", *INTS) or guide.kind == "bool"
    return replace(Field.of(name, guide if is_plain else STRING, guide, name), blank=name in known.not_text)


class _Read:
    """What the library made of a block. Its buffers live as long as an array that shows them."""

    def __init__(
        self, reader: Any, lines: Lines, wanted: Flags, fields: Sequence[Field], delimiter: str | None = None
    ) -> None:
        self.reader, self.fields = reader, fields
        self.top = _columns([Field("", NULL, inner=tuple(fields), is_group=True)], int(wanted.sum()))
        self.taken = wanted.copy()
        starts, ends = np.ascontiguousarray(lines.starts), np.ascontiguousarray(lines.ends)
        told = (lines.block, starts.ctypes.data, ends.ctypes.data, len(lines), self.top, self.taken.ctypes.data)
        if not (reader.syncd_json(*told) if delimiter is None else reader.syncd_csv(*told, ord(delimiter))):
            raise MemoryError

    def __del__(self) -> None:
        self.reader.syncd_free(self.top, 1)

    def piece(self) -> Piece:
        columns: dict[str, Typed] = {}
        for field, column in _leaves(self.fields, self.top[0]):
            if field.name in columns:
                raise TooSlow  # dotted and nested
            columns[field.name] = self.whole(field, column)
        return Piece(np.flatnonzero(self.taken), columns, {})

    def columns(self) -> dict[str, Typed]:
        """Of a delimited part: all but those that were not asked for, or are odd."""
        found = zip(self.fields, self.top[0].inner[: len(self.fields)], strict=True)
        return {field.name: self.whole(field, column) for field, column in found if column.kind and not column.odd}

    @property
    def odd(self) -> list[str]:
        found = zip(self.fields, self.top[0].inner[: len(self.fields)], strict=True)
        return [field.name for field, column in found if column.odd]

    def whole(self, field: Field, column: _Column) -> Typed:
        array, t = self.values(field, column)
        return (None, NULL) if t.kind == "null" else (array, t)

    def values(self, field: Field, column: _Column) -> tuple[pa.Array, Type]:
        """As the slow way has them, and the type that they need."""
        if column.nulls == column.length:
            return pa.nulls(column.length, pa.string()), NULL
        if field.type.kind in ("list", "struct"):
            return self.nested(field, column)
        stored = arrow(field.type)
        array = pa.Array.from_buffers(stored, column.length, self.buffers(column, stored), column.nulls)
        if field.type.kind in TEXTS or field.type.kind in ("date", "timestamp"):
            return array, field.type
        settled = settle(array, field.guide)
        return settled.array, join(settled.type, Type("uint8", 1)) if column.truth >= 0 else settled.type

    def nested(self, field: Field, column: _Column) -> tuple[pa.Array, Type]:
        found = {
            each.key: self.values(each, inner)
            for each, inner in zip(field.inner, column.inner[: column.count], strict=True)
        }
        types = {name: t for name, (_, t) in found.items()}
        t = list_of(types[""]) if field.type.kind == "list" else struct_of(types)
        arrays, stored = [found[name][0] for name, _ in t.fields], arrow(t)
        return pa.Array.from_buffers(
            stored, column.length, self.buffers(column, stored), column.nulls, children=arrays
        ), t

    def buffers(self, column: _Column, stored: pa.DataType) -> list[pa.Buffer | None]:
        length = column.length
        valid = self.buffer(column.valid, (length + 7) // 8) if column.nulls else None
        if pa.types.is_struct(stored):
            return [valid]
        if pa.types.is_list(stored):
            return [valid, self.buffer(column.offsets, 4 * length + 4)]
        if pa.types.is_string(stored):
            return [valid, self.buffer(column.offsets, 4 * length + 4), self.buffer(column.values, column.text_room)]
        return [valid, self.buffer(column.values, (stored.bit_width * length + 7) // 8)]

    def buffer(self, address: int, size: int) -> pa.Buffer:
        return pa.foreign_buffer(address, size, self)


def _leaves(fields: Iterable[Field], column: _Column) -> Iterator[tuple[Field, _Column]]:
    """The columns that were seen."""
    for field, inner in zip(fields, column.inner[: column.count], strict=True):
        if field.is_group:
            yield from _leaves(field.inner, inner)
        elif inner.first >= 0:
            yield field, inner


def _columns(fields: Sequence[Field], rows: int = 0) -> Any:
    """For the library, which fills them. `rows` may come, 0: who knows."""
    made = (_Column * len(fields))()
    for column, field in zip(made, fields, strict=True):
        key = field.key.encode()
        column.key, column.key_size, column.first, column.truth = key, len(key), -1, -1
        column.kind, column.quoted = field.kind, field.guide.kind in (*INTS, "decimal", "double")
        column.loose = field.guide.kind == field.type.kind and field.type.kind in ("bool", "uint8")
        if field.type.kind in (*INTS, "double", "date", "timestamp"):
            column.width = arrow(field.type).bit_width // 8
        column.blank = field.blank
        column.expected = rows
        if field.inner:
            column.inner, column.count = _columns(field.inner, rows if field.is_group else 0), len(field.inner)
    return made
