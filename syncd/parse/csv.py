r"""One block of CSV records into columns. Only text leaves the reader; a column's type is then found over all of it.

A bare `\N` is NULL and a quoted one text; an empty field is text in a text column and NULL in any other. An undeclared
column is text: nobody said what it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pv

from syncd.parse import compiled, swift
from syncd.parse.blocks import BOM, whole
from syncd.parse.columns import Found, Known, joined
from syncd.parse.ends import RETURN
from syncd.parse.lines import Flags, Indices, Lines
from syncd.parse.records import Records, fields, split
from syncd.parse.texts import typed
from syncd.types import STRING, TEXTS, Type

Columns = dict[str, tuple[pa.Array | None, Type]]


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a part is written."""

    delimiter: str
    names: tuple[str, ...]  # of the columns, each once
    headers: tuple[bytes, ...]  # records that only repeat the names


def record_blocks(chunks: Iterable[bytes], delimiter: str) -> Iterator[Records]:
    """All the records, a block at a time, found once."""
    found: list[Records] = []

    def last_end(text: bytes, end: int, is_final: bool) -> int:
        found[:] = [split(text, delimiter, is_final, end)]
        return found[0].end

    for block in whole(chunks, last_end):
        found[0].lines.block = block
        yield found[0]


def parse_block(records: Records, dialect: Dialect, known: Known) -> Found:
    """What became of each record."""
    lines = records.lines
    is_header = _headers(lines, dialect)
    is_record = ~lines.blank & ~is_header
    refused = {line: "not UTF-8" for line in lines.not_utf8() if is_record[line]}
    wanted = is_record.copy()
    wanted[list(refused)] = False
    rows, columns = _swiftly(lines, wanted, dialect, known, refused) or _by_pyarrow(
        records, wanted, dialect, known, refused
    )
    record_of = np.cumsum(is_record) - 1
    return Found(
        records=int(is_record.sum()),
        blank=int(lines.blank.sum()),
        rows=record_of[rows],
        columns=columns if len(rows) else {},
        rejected=[
            (int(record_of[line]), int(lines.starts[line]), reason, lines[line])
            for line, reason in sorted(refused.items())
        ],
    )


def _swiftly(
    lines: Lines, wanted: Flags, dialect: Dialect, known: Known, refused: dict[int, str]
) -> tuple[Indices, Columns] | None:
    """The rows, and their columns; None without the library."""
    reader, _ = compiled.library()
    if reader is None:
        return None
    taken, columns = swift.read_records(reader, lines, wanted, dialect.names, dialect.delimiter, known)
    rows, _ = _read_each(lines, np.flatnonzero(wanted & ~taken), dialect, refused)
    if rows:
        return None  # it should have taken them
    for name, (array, t) in columns.items():
        if t == STRING and known.guide(name).kind not in TEXTS:
            columns[name] = typed(array, known.guide(name), empty_is_null=name in known.not_text)
    return np.flatnonzero(taken), columns


def _by_pyarrow(
    records: Records, wanted: Flags, dialect: Dialect, known: Known, refused: dict[int, str]
) -> tuple[Indices, Columns]:
    """The same, where pyarrow splits records into texts."""
    slow = _slow(records) & wanted
    arrays, kept = _read(records.lines, np.flatnonzero(wanted & ~slow), dialect, refused)
    rows, texts = _read_each(records.lines, np.flatnonzero(slow), dialect, refused)
    if rows:
        kept = np.concatenate([kept, rows])
        order = pa.array(np.argsort(kept))
        kept = np.sort(kept)
        arrays = [
            pc.take(pa.concat_arrays([array, pa.array(more, pa.string())]), order)
            for array, more in zip(arrays, texts, strict=True)
        ]
    return kept, {
        name: typed(array, known.guide(name), empty_is_null=name in known.not_text)
        for name, array in zip(dialect.names, arrays, strict=True)
    }


def _headers(lines: Lines, dialect: Dialect) -> Any:
    found = np.zeros(len(lines), np.bool_)
    for header in dialect.headers:
        longer = lines.ends - lines.starts - len(header)  # by a mark in front, a carriage return behind
        for line in np.flatnonzero((longer >= 0) & (longer <= len(BOM) + 1)).tolist():
            found[line] |= lines[line].removesuffix(b"\r").removeprefix(BOM) == header
    return found


def _slow(records: Records) -> Any:
    """Records that pyarrow may read otherwise: odd quotes, a carriage return that it takes for a newline, a mark that
    it drops."""
    slow = records.odd.copy()
    block = records.lines.block
    starts, data = records.lines.starts, np.frombuffer(block or b" ", np.uint8)
    for line in np.flatnonzero(data[starts] == BOM[0]).tolist():
        slow[line] |= block.startswith(BOM, starts[line])
    if b"\r" in block and block.count(b"\r") > block.count(b"\r\n"):
        returns = np.flatnonzero(data == RETURN)
        following = data[np.minimum(returns + 1, len(data) - 1)]
        slow[records.lines.at(returns[following != 10])] = True
    return slow


def _read(lines: Lines, wanted: Indices, dialect: Dialect, refused: dict[int, str]) -> tuple[list[pa.Array], Indices]:
    """The texts of these records by column, and which records had the right number of fields."""
    if not len(wanted):
        return [pa.array([], pa.string()) for _ in dialect.names], wanted
    short: list[int] = []

    def refuse(row: pv.InvalidRow) -> str:
        short.append(row.number - 1)
        refused[int(wanted[row.number - 1])] = _miscounted(row.actual_columns, row.expected_columns)
        return "skip"

    text = lines.joined(wanted)
    names = [str(number) for number in range(len(dialect.names))]
    table = pv.read_csv(
        pa.BufferReader(pa.py_buffer(text)),
        read_options=pv.ReadOptions(use_threads=False, block_size=len(text) + 1, column_names=names),
        parse_options=pv.ParseOptions(
            delimiter=dialect.delimiter,
            newlines_in_values=True,
            ignore_empty_lines=False,
            invalid_row_handler=refuse,
        ),
        convert_options=pv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()),
            null_values=["\\N"],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            check_utf8=False,  # the lines were looked through
        ),
    )
    kept = np.delete(wanted, short)
    assert table.num_rows == len(kept), "pyarrow saw other records"
    return [*map(joined, table.columns)], kept


def _miscounted(actual: int, expected: int) -> str:
    return f"{actual} fields where the header has {expected}"


def _read_each(
    lines: Lines, wanted: Indices, dialect: Dialect, refused: dict[int, str]
) -> tuple[list[int], list[list[str | None]]]:
    """Rows one by one, and their texts by column."""
    rows: dict[int, list[str | None]] = {}
    for line in wanted.tolist():
        found = fields(lines[line].removesuffix(b"\r").decode(), dialect.delimiter)
        if found is None:
            refused[line] = "a quoted field is not closed, or has text behind it"
        elif len(found) != len(dialect.names):
            refused[line] = _miscounted(len(found), len(dialect.names))
        else:
            rows[line] = found
    return list(rows), [list(column) for column in zip(*rows.values(), strict=True)]
