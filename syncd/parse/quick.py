"""The fast way: many lines at once through pyarrow, under a schema made from a few of them.

pyarrow is quick and not exact: it takes NaN, rounds long digits, reads two objects on a line, and dies of a line that
says `null`. So only lines that look like one object go in, columns come out under the types that `values` would give,
and rows that can't be vouched for are handed back to be read slowly.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.json as pj

from syncd.parse.columns import Known
from syncd.parse.forms import TooSlow, forms_of
from syncd.parse.lines import Flags, Indices, Lines
from syncd.parse.settle import inexact_numbers, settle
from syncd.parse.values import Refused, record
from syncd.types import Type

SAMPLES = 8  # lines looked at to learn a block's keys
FEW = 8  # lines so few that halving them is no gain
MAX_FAILURES = 100  # of pyarrow in one block, before the slow way is the quicker


@dataclass(slots=True)
class Piece:
    """Lines of a block that were read together."""

    lines: Indices
    columns: dict[str, tuple[pa.Array | None, Type]]
    forms: dict[str, pa.DataType]


class SlowReader(Protocol):
    rows: dict[int, dict[str, Any]]

    def read(self, lines: Lines, wanted: Sequence[int], known: Known) -> None: ...


def read(lines: Lines, known: Known, slow: SlowReader) -> list[Piece]:
    """The lines that pyarrow reads exactly; the others are read by `slow`. TooSlow."""
    good = _like_objects(lines)
    slow.read(lines, np.flatnonzero(~good & ~lines.blank).tolist(), known)
    reader = _Reader(lines, known, slow)
    reader.read(np.flatnonzero(good))
    return reader.pieces


def _like_objects(lines: Lines) -> Flags:
    """Lines that start with { and end with }, are UTF-8 and hold no NUL: each is one object, several, or broken."""
    if not len(lines):
        return np.zeros(0, np.bool_)
    data = np.frombuffer(lines.block, np.uint8)
    last = np.maximum(lines.ends - 1, lines.starts)
    last -= (data[last] == 13) & (last > lines.starts)
    good = (data[lines.starts] == ord("{")) & (data[last] == ord("}"))
    good[lines.not_utf8()] = False
    if b"\0" in lines.block:
        good[lines.at(np.flatnonzero(data == 0))] = False
    flags: Flags = good & ~lines.blank
    return flags


class _Reader:
    """Reads lines in ever smaller groups until pyarrow takes them; single lines that it never takes go to `slow`."""

    def __init__(self, lines: Lines, known: Known, slow: SlowReader) -> None:
        self.lines, self.known, self.slow = lines, known, slow
        self.pieces: list[Piece] = []
        self.samples: list[dict[str, Any]] = []
        self.forms: dict[str, pa.DataType] = {}
        self.failures = 0
        self.inexact: Flags | None = None

    def read(self, wanted: Indices) -> None:
        if not len(wanted):
            return
        self.look_at(wanted, SAMPLES)
        groups = [wanted]
        while groups:
            group = groups.pop()
            try:
                table = self.table(group)
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
                self.failures += 1
                if self.failures > MAX_FAILURES:
                    raise TooSlow from None
                groups += reversed([part for part in self.split(group, str(error)) if len(part)])
            else:
                self.keep(group, table)

    def look_at(self, wanted: Indices, count: int) -> None:
        """Learn keys and forms from some lines, evenly spread."""
        before = len(self.samples)
        for line in wanted[:: max(1, len(wanted) // count)].tolist():
            with suppress(Refused):
                self.samples.append(record(self.lines[line]))
        if len(self.samples) > before or not self.forms:
            self.forms = forms_of(self.samples, self.known)

    def table(self, group: Indices) -> pa.Table:
        text = self.lines.joined(group)
        table = pj.read_json(
            pa.BufferReader(pa.py_buffer(text)),
            read_options=pj.ReadOptions(use_threads=False, block_size=len(text) + 1),
            parse_options=pj.ParseOptions(
                explicit_schema=pa.schema(list(self.forms.items())), unexpected_field_behavior="error"
            ),
        )
        if table.num_rows != len(group):
            raise pa.ArrowInvalid("two objects on one line")
        return table

    def split(self, group: Indices, message: str) -> list[Indices]:
        """What to try next, without the line that the message tells of where it tells."""
        if match := re.search(r"in row (\d+)$", message):
            row = int(match[1])
            self.slow.read(self.lines, group[row : row + 1].tolist(), self.known)
            return [group[:row], group[row + 1 :]]
        if match := re.search(r"couldn't parse:(.*)", message, re.DOTALL):
            found = np.intersect1d(self.lines.holding(match[1].encode()), group)
            if 0 < len(found) <= FEW:
                self.slow.read(self.lines, found.tolist(), self.known)
                return [np.setdiff1d(group, found)]
        if "unexpected field" in message:
            before = self.forms
            self.look_at(group, 4 * SAMPLES)
            if self.forms != before:
                return [group]
        if len(group) > FEW:
            half = len(group) // 2
            return [group[:half], group[half:]]
        self.slow.read(self.lines, group.tolist(), self.known)
        if "unexpected field" in message:
            self.look_at(group, FEW)
        return []

    def keep(self, group: Indices, table: pa.Table) -> None:
        """Settle each column; read the rows in doubt slowly."""
        arrays = {name: column.combine_chunks() for name, column in zip(self.forms, table.columns, strict=True)}
        arrays = lift_arrays(arrays, self.known)
        doubt = np.zeros(len(group), np.bool_)
        columns = {}
        for name, array in arrays.items():
            settled = settle(array, self.known.guide(name))
            columns[name] = settled.array, settled.type
            if settled.doubt is not None:
                doubt |= settled.doubt
        if any(_has_double(form) for form in self.forms.values()):
            doubt |= self.inexact_lines()[group]
        if not doubt.any():
            self.pieces.append(Piece(group, columns, dict(self.forms)))
            return
        self.slow.read(self.lines, group[doubt].tolist(), self.known)
        if not doubt.all():
            self.keep(group[~doubt], table.filter(pa.array(~doubt)))

    def inexact_lines(self) -> Flags:
        if self.inexact is None:
            self.inexact = np.zeros(len(self.lines), np.bool_)
            self.inexact[self.lines.at(inexact_numbers(self.lines.block))] = True
        return self.inexact


def _has_double(form: pa.DataType) -> bool:
    return pa.types.is_floating(form) or any(_has_double(form.field(i).type) for i in range(form.num_fields))


def lift_arrays(arrays: dict[str, pa.Array], known: Known, prefix: str = "") -> dict[str, pa.Array]:
    """The fields of a declared group side by side, as `lift` does for a row. TooSlow: both dotted and nested."""
    out: dict[str, pa.Array] = {}
    for name, array in arrays.items():
        full = prefix + name
        inner = {full: array}
        if full in known.groups and pa.types.is_struct(array.type):
            names = [field.name for field in array.type]
            inner = lift_arrays(dict(zip(names, array.flatten(), strict=True)), known, full + ".")
        elif full in known.groups and array.null_count == len(array):
            continue
        if not out.keys().isdisjoint(inner):
            raise TooSlow
        out |= inner
    return out
