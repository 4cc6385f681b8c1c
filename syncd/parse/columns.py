"""Blocks become batches here: in order, named, and under what the part has taught us so far."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from syncd.model import Batch, Column, Rejected, Scope
from syncd.parse.values import Refused
from syncd.types import INTS, NULL, TEXTS, Type, arrow, join


@dataclass(slots=True)
class Found:
    """What one block held, before names: columns by the vendor's spelling, rows counted from 0 in the block."""

    records: int  # rows and rejected lines
    blank: int
    rows: np.ndarray[Any, np.dtype[np.int64]]  # which records became rows, ascending
    columns: dict[str, tuple[pa.Array | None, Type]]  # no array: nothing but null
    rejected: list[tuple[int, int, str, bytes]] = field(default_factory=list)  # record, offset, reason, raw
    forms: dict[str, pa.DataType] = field(default_factory=dict)  # how the fast way read it


@dataclass(slots=True)
class Known:
    """What is known of a scope's columns while one part is read. Blocks are learned in order, so it is the same
    each time that the part is read."""

    columns: dict[str, Column]  # by the vendor's spelling
    forms: dict[str, pa.DataType] = field(default_factory=dict)
    taken: set[str] = field(default_factory=lambda: {"_syncd_row"})  # names in use, in lower case
    groups: frozenset[str] = frozenset()  # what stands before a dot in a declared name
    not_text: frozenset[str] = frozenset()  # declared as something else than text: an empty CSV field is NULL
    mixed: frozenset[str] = frozenset()  # of one block: text, but other values were met on the fast way

    @classmethod
    def of(cls, scope: Scope) -> Known:
        known = cls({column.source_name: column for column in scope.columns})
        known.taken.update(column.name.lower() for column in scope.columns)
        names = [column.source_name for column in scope.columns if column.origin == "declared"]
        known.groups = frozenset(name[:at] for name in names for at in range(len(name)) if name[at] == ".")
        known.not_text = scope.made_text.union(name for name in names if known.columns[name].type.kind not in TEXTS)
        return known

    def snapshot(self) -> Known:
        """As it is now, for another thread."""
        return Known(dict(self.columns), dict(self.forms), self.taken, self.groups, self.not_text)

    def told(self, types: Mapping[str, Type], mixed: Iterable[str]) -> Known:
        """The same for one block, as if these had been known before it."""
        told = self.snapshot()
        told.mixed = self.mixed.union(mixed)
        for name, t in types.items():
            column = self.columns.get(name, Column(name, t, name))
            told.columns[name] = Column(column.name, t, name, column.origin)
        return told

    def guide(self, source_name: str) -> Type:
        """The declared type, or NULL: a learned column accepts no other spellings."""
        column = self.columns.get(source_name)
        return column.type if column and column.origin == "declared" else NULL

    def type(self, source_name: str) -> Type:
        column = self.columns.get(source_name)
        return column.type if column else NULL

    def learn(self, source_name: str, t: Type) -> Column:
        """The column of that source name, widened by `t`, named when it is new."""
        column = self.columns.get(source_name)
        if column is None:
            name = column_name(source_name, self.taken)
            self.taken.add(name.lower())
            column = Column(name, NULL, source_name)
        widened = join(column.type, t)
        if widened != column.type or source_name not in self.columns:
            column = Column(column.name, widened, source_name, column.origin, column.description)
            self.columns[source_name] = column
        return column


def column_name(source_name: str, taken: set[str]) -> str:
    """The vendor's spelling, or one marked by its hash where that can't be or is taken but for its case."""
    safe = source_name.replace("\0", "")
    if safe == source_name and safe and not safe.lower().startswith("_syncd") and safe.lower() not in taken:
        return source_name
    mark = hashlib.sha256(source_name.encode()).hexdigest()
    marked = (f"{safe.lstrip('_') or 'unnamed'}_{mark[:size]}" for size in (8, 16, 64))
    return next(name for name in marked if name.lower() not in taken)


def batch(found: Found, known: Known, first_row: int, offset: int) -> Batch:
    """One block's batch. `known` learns from it; `first_row` and `offset` say where in the part the block is."""
    arrays: list[pa.Array] = []
    columns: list[Column] = []
    nulls: list[Column] = []
    for source_name in _alike(found.columns, known):
        known.learn(source_name, NULL)
    for source_name, (array, t) in found.columns.items():
        column = known.learn(source_name, t)
        if array is None and column.type.kind == "null":
            nulls.append(column)
            continue
        shown, array = _shown(array, t, column.type, len(found.rows))
        arrays.append(array)
        columns.append(Column(column.name, shown, source_name, column.origin, column.description))
    known.forms.update(found.forms)
    arrays.append(pa.array(found.rows + first_row))
    names = [*(column.name for column in columns), "_syncd_row"]
    return Batch(
        rows=pa.RecordBatch.from_arrays(arrays, names=names),
        columns=tuple(columns),
        rejected=tuple(
            Rejected(first_row + record, offset + at, reason, raw) for record, at, reason, raw in found.rejected
        ),
        lines=found.records + found.blank,
        blank=found.blank,
        nulls=tuple(nulls),
    )


def _alike(names: Iterable[str], known: Known) -> list[str]:
    """The new ones that differ only in case, in an order that doesn't depend on the way that their lines went."""
    new = [name for name in names if name not in known.columns]
    lower = Counter(name.lower() for name in new)
    return sorted(name for name in new if lower[name.lower()] > 1)


def _shown(array: pa.Array | None, t: Type, known: Type, length: int) -> tuple[Type, pa.Array]:
    """The array under the type known by now, so that a part's batches look alike, if it can be had exactly."""
    if array is None:
        return known, pa.nulls(length, arrow(known))
    wider = widen(array, t, known)
    return (t, array) if wider is None else (known, wider)


def widen(array: pa.Array, stored: Type, shown: Type) -> pa.Array | None:
    """The array as `shown` stores it; None where only the text of the line has the digits to show."""
    wanted = arrow(shown)
    if array.type == wanted and stored.kind != "null":
        return array
    match stored.kind, shown.kind:
        case "null", _:
            return pa.nulls(len(array), wanted)
        case "list", "list":
            values = widen(array.values, stored.element, shown.element)
            if values is None:
                return None
            return pa.ListArray.from_arrays(array.offsets, values, mask=_mask(array))
        case "struct", "struct":
            return _widen_struct(array, dict(stored.fields), shown)
        case "double", "decimal":
            return pc.cast(pc.cast(array, pa.string()), wanted)
        case "decimal", "decimal":
            return pc.cast(array, wanted)
        case kind, "string" if kind in INTS or kind == "bool" or (kind == "decimal" and not stored.scale):
            return pc.cast(array, wanted)
        case kind, ("decimal" | "double") if kind in INTS:
            return pc.cast(pc.cast(array, pa.decimal128(38, 0)), wanted)
        case kind, _ if kind in INTS and shown.kind in INTS:
            return pc.cast(array, wanted)
        case "decimal", "double":
            return pc.cast(array, wanted)
    return None


def _widen_struct(array: pa.Array, stored: Mapping[str, Type], shown: Type) -> pa.Array | None:
    children = []
    for name, t in shown.fields:
        child = widen(array.field(name), stored[name], t) if name in stored else pa.nulls(len(array), arrow(t))
        if child is None:
            return None
        children.append(child)
    return pa.StructArray.from_arrays(children, names=[name for name, _ in shown.fields], mask=_mask(array))


def joined(column: pa.ChunkedArray) -> pa.Array:
    """One array; without a copy where it is one already."""
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _mask(array: pa.Array) -> pa.Array | None:
    return array.is_null() if array.null_count else None


def lift(row: dict[str, Any], known: Known, prefix: str = "") -> dict[str, Any]:
    """The row with the fields of a declared group side by side, as if they had come dotted. Refused: came twice."""
    if not known.groups.isdisjoint(row) or prefix:
        out: dict[str, Any] = {}
        for name, value in row.items():
            full = prefix + name
            inner = {full: value}
            if full in known.groups and (value is None or isinstance(value, dict)):
                inner = lift(value or {}, known, full + ".")
            if not out.keys().isdisjoint(inner):
                raise Refused(f"a key given twice: {full[:100]!r}")
            out |= inner
        return out
    return row
