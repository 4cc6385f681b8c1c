"""One block of JSON lines into columns: good lines the fast way, the others one by one, in one order.

The fast way (`quick`) may only take what it reads exactly as the slow way (`values`) would; every line it refuses, or
that its checks doubt, is read slowly. So a line becomes a row, is rejected, or was blank, whichever way it went.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from syncd.parse import quick, swift
from syncd.parse.columns import Found, Known, lift, widen
from syncd.parse.forms import TooSlow, Unspelled
from syncd.parse.lines import Lines
from syncd.parse.values import Refused, as_column, record, type_of_all
from syncd.parse.width import TooWide, is_wide
from syncd.types import Type, arrow, join, join_all

FEW = 16  # of so many lines one: read slowly they cost less than looking what they have in common
ATTEMPTS = 5  # to read a block the fast way, each knowing what the one before found out


@dataclass(slots=True)
class Slow:
    """Lines read one by one: rows by line, with every number still spelled, and the reasons of the refused."""

    rows: dict[int, dict[str, Any]] = field(default_factory=dict)
    refused: dict[int, str] = field(default_factory=dict)

    def read(self, lines: Lines, wanted: Iterable[int], known: Known) -> None:
        for line in wanted:
            try:
                self.rows[line] = lift(record(lines[line]), known)
            except Refused as error:
                self.refused[line] = str(error)

    def names(self) -> dict[str, None]:
        """Of its columns, in the order first seen."""
        return dict.fromkeys(name for row in self.rows.values() for name in row)

    def values(self, name: str) -> list[Any]:
        """Of a column, one for each row."""
        return [row.get(name) for row in self.rows.values()]


def parse_block(block: bytes, known: Known) -> Found:
    """What became of each line. Pure: the same block and knowledge give the same columns. TooWide."""
    lines, told = Lines.of(block), known
    with suppress(TooSlow):
        for _ in range(ATTEMPTS):
            try:
                return _quickly(lines, told)
            except Unspelled as error:
                before, told = told, told.told(error.types, error.mixed)
                if told == before:
                    break
    slow = Slow()
    slow.read(lines, np.flatnonzero(~lines.blank).tolist(), known)
    return _found(lines, [], slow, _columns(lines, [], slow, known))


def _quickly(lines: Lines, known: Known) -> Found:
    slow = Slow()
    pieces, left = swift.read(lines, known)
    if pieces and FEW * left.sum() <= len(lines):
        slow.read(lines, np.flatnonzero(left).tolist(), known)
    else:
        pieces += quick.read(lines, left, known, slow)
    columns = _columns(lines, pieces, slow, known)
    if unspelled := _hidden(lines, pieces, columns, known):
        raise Unspelled({name: columns[name][1] for name in unspelled})
    return _found(lines, pieces, slow, columns)


def _columns(
    lines: Lines, pieces: Sequence[quick.Piece], slow: Slow, known: Known
) -> dict[str, tuple[pa.Array | None, Type]]:
    """Every column over all rows: the pieces' in turn, then the slow ones'. Unspelled, TooWide."""
    one_by_one = slow.names()
    names = dict.fromkeys([name for piece in pieces for name in piece.columns]) | one_by_one
    held = {name for piece in pieces for name, (array, _) in piece.columns.items() if array is not None}
    held.update(one_by_one)
    if is_wide(sum(len(piece.lines) for piece in pieces) + len(slow.rows), len(held)):
        raise TooWide(lines, len(held))
    spelled = {name: slow.values(name) for name in one_by_one}
    columns: dict[str, tuple[pa.Array | None, Type]] = {}
    unspelled: dict[str, Type] = {}
    for name in names:
        guide = known.guide(name)
        seen = [piece.columns[name][1] for piece in pieces if name in piece.columns]
        t = join_all([*seen, type_of_all(spelled.get(name, ()), guide)])
        if t.kind == "null":
            columns[name] = None, t
            continue
        t = join(known.type(name), t)
        try:
            columns[name] = _column(name, t, pieces, spelled, len(slow.rows)), t
        except TooSlow:
            unspelled[name] = t
    if unspelled:
        raise Unspelled(unspelled)
    return columns


def _column(
    name: str, t: Type, pieces: Sequence[quick.Piece], spelled: Mapping[str, list[Any]], slow_rows: int
) -> pa.Array:
    chunks = []
    for piece in pieces:
        array, stored = piece.columns.get(name, (None, None))
        if array is None or stored is None:
            chunks.append(pa.nulls(len(piece.lines), arrow(t)))
        elif (wider := widen(array, stored, t)) is None:
            raise TooSlow
        else:
            chunks.append(wider)
    if slow_rows:
        values = as_column(spelled[name], t) if name in spelled else [None] * slow_rows
        chunks.append(pa.array(values, arrow(t)))
    return chunks[0] if len(chunks) == 1 else pa.concat_arrays(chunks)


def _hidden(
    lines: Lines,
    pieces: Sequence[quick.Piece],
    columns: Mapping[str, tuple[pa.Array | None, Type]],
    known: Known,
) -> list[str]:
    """Columns whose values became what shows more of them than was read: text shows what was sent, -0 or false, and a
    double the sign of -0."""
    changed = {
        name: {t.kind for t in (columns[name][1], *_inner(columns[name][1]))}
        for piece in pieces
        for name, (_, stored) in piece.columns.items()
        if stored.plain != columns[name][1].plain
    }
    if changed and lines.has_minus_zero():
        return [name for name, kinds in changed.items() if {"string", "double"} & kinds]
    became_text = [name for name, kinds in changed.items() if "string" in kinds]
    foreseen = all(known.type(name).plain == columns[name][1].plain for name in became_text)
    return [] if foreseen else became_text


def _inner(t: Type) -> list[Type]:
    return [found for _, field in t.fields for found in (field, *_inner(field))]


def _found(
    lines: Lines,
    pieces: Sequence[quick.Piece],
    slow: Slow,
    columns: dict[str, tuple[pa.Array | None, Type]],
) -> Found:
    record_of = np.cumsum(~lines.blank) - 1  # blank lines have no number
    rows = np.concatenate([*(piece.lines for piece in pieces), np.array(list(slow.rows), np.int64)])
    if len(rows) > 1 and (np.diff(rows) < 0).any():
        order = np.argsort(rows)
        rows = rows[order]
        columns = {
            name: (None if array is None else pc.take(array, pa.array(order)), t)
            for name, (array, t) in columns.items()
        }
    forms: dict[str, pa.DataType] = {}
    for piece in pieces:
        forms |= piece.forms
    return Found(
        records=int(record_of[-1] + 1) if len(record_of) else 0,
        blank=int(lines.blank.sum()),
        rows=record_of[rows],
        columns=columns,
        rejected=[
            (int(record_of[line]), int(lines.starts[line]), reason, lines[line])
            for line, reason in sorted(slow.refused.items())
        ],
        forms=forms,
    )
