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

from syncd.parse.columns import Known, joined, lift
from syncd.parse.cut import Cut, cut
from syncd.parse.forms import TooSlow, Unspelled, forms_of, to_cut
from syncd.parse.lines import Flags, Indices, Lines
from syncd.parse.settle import inexact_numbers, settle
from syncd.parse.values import Refused, record, time_in, type_of_all
from syncd.parse.width import bound
from syncd.types import NULL, STRING, TIMESTAMP, Type, join

SAMPLES = 8  # lines looked at to learn a block's keys
FEW = 8  # lines so few that halving them is no gain
MANY_BRACKETS = 200  # of one line; pyarrow infers types by recursion
RARE = 50  # of so many lines one: read slowly they cost less than to be looked for in all
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


def read(lines: Lines, wanted: Flags, known: Known, slow: SlowReader) -> list[Piece]:
    """Those of the wanted lines that pyarrow reads exactly; the others are read by `slow`. TooSlow, TooWide."""
    good = _like_objects(lines) & wanted
    slow.read(lines, np.flatnonzero(~good & wanted).tolist(), known)
    reader = _Reader(lines, known, slow)
    reader.read(good)
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
        self.cut = Cut(lines)
        self.pieces: list[Piece] = []
        self.samples: list[dict[str, Any]] = []
        self.forms: dict[str, pa.DataType] = {}
        self.times_as_text = False  # once pyarrow met a time that is none: it doesn't say where
        self.takes_new_keys = False  # once a line had a key that the samples had not: nor does it say where
        self.failures = 0
        self.inexact: Flags | None = None

    def read(self, good: Flags) -> None:
        wanted = np.flatnonzero(good)
        if not len(wanted):
            return
        self.samples = self.records(_spread(wanted))
        if names := to_cut(self.samples, self.known):
            self.cut = cut(self.lines, names, good)
        self.look_at(wanted[:0])
        groups = [wanted]
        while groups:
            group = groups.pop()
            try:
                table = self.table(group)
                group, table, only_null = self.without_new_keys(group, table)
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
                self.failures += 1
                if self.failures > MAX_FAILURES:
                    raise TooSlow from None
                groups += reversed([part for part in self.split(group, str(error)) if len(part)])
            else:
                self.keep(group, table, only_null)

    def records(self, wanted: Indices) -> list[dict[str, Any]]:
        found = []
        for line in wanted.tolist():
            with suppress(Refused):
                found.append(record(self.lines[line]))
        return found

    def look_at(self, wanted: Indices) -> None:
        """Learn keys and forms from these lines. TooWide."""
        self.samples += self.records(wanted)
        self.forms = forms_of(self.samples, self.known, self.cut.texts)
        bound(self.lines, len(self.forms))
        if self.times_as_text:
            self.forms = {name: _without_times(form) for name, form in self.forms.items()}

    def table(self, group: Indices) -> pa.Table:
        text = self.cut.lines.joined(group)
        table = pj.read_json(
            pa.BufferReader(pa.py_buffer(text)),
            read_options=pj.ReadOptions(use_threads=False, block_size=len(text) + 1),
            parse_options=pj.ParseOptions(
                explicit_schema=pa.schema(list(self.forms.items())),
                unexpected_field_behavior="infer" if self.takes_new_keys else "error",
            ),
        )
        if table.num_rows != len(group):
            raise pa.ArrowInvalid("two objects on one line")
        return table

    def without_new_keys(self, group: Indices, table: pa.Table) -> tuple[Indices, pa.Table, list[str]]:
        """The rows whose keys were all foreseen or null, and the new names that are null wherever they stand; the other
        rows are read slowly, or looked at when they are many."""
        if not self.takes_new_keys:
            return group, table, []
        names, forms = list(self.forms), pa.schema(list(self.forms.items()))
        new_names = table.column_names[len(names) :]
        is_new = np.zeros(len(group), np.bool_)
        for name in new_names:
            is_new |= table.column(name).is_valid().to_numpy()
        if 10 * is_new.sum() > len(group) > FEW:
            self.look_at(_spread(group[is_new], len(self.samples)))  # twice as many: a thousand keys need few tables
            raise pa.ArrowInvalid("keys learned")
        if table.select(names).schema != forms:  # new keys deeper down
            self.look_at(_spread(group))
            raise pa.ArrowInvalid("keys deeper down")
        self.slow.read(self.lines, group[is_new].tolist(), self.known)
        only_null = [
            name for name in new_names if table[name].null_count == len(group) and name not in self.known.groups
        ]
        table = table.select(names)
        if is_new.any():
            return group[~is_new], table.filter(pa.array(~is_new)), only_null
        return group, table, only_null

    def split(self, group: Indices, message: str) -> list[Indices]:
        """What to try next, without the lines that the message tells of where it tells."""
        bad = np.zeros(0, np.int64)
        if message == "keys learned":
            return [group]
        if match := re.search(r"(?:Column\(/(.*)\) changed .* )?in row (\d+)$", message, re.DOTALL):
            row = int(match[2])
            bad = group[row : row + 1]
            if len(odd := self.rare(group, bad, match[1])):
                self.slow.read(self.lines, odd.tolist(), self.known)
                return [np.setdiff1d(group, odd)]
            self.slow.read(self.lines, bad.tolist(), self.known)
            self.widen_by_rows(bad, match[1])
            return [group[:row], group[row + 1 :]]
        if "unexpected field" in message and not self.takes_new_keys:
            bad = self.allow_new_keys(group)
            if not len(bad):
                return [group]
        elif match := re.search(r"convert JSON to (\w+).*?, couldn't parse:(.*)", message, re.DOTALL):
            if match[1] == "timestamp" and not self.times_as_text:
                self.widen_by(group, match[2])
                self.times_as_text = True
                self.look_at(group[:0])
                return [group]
            bad = np.intersect1d(self.unlike(group, match[2]), group)
        if not 0 < len(bad) <= max(FEW, len(group) // 4):
            half = len(group) // 2
            if len(group) > FEW:
                return [group[:half], group[half:]]
            bad = group
        self.slow.read(self.lines, bad.tolist(), self.known)
        return [np.setdiff1d(group, bad)]

    def allow_new_keys(self, group: Indices) -> Indices:
        """From now on new keys are inferred; the lines nested so deep that pyarrow must not infer them."""
        self.takes_new_keys = True
        data = np.frombuffer(self.lines.block, np.uint8)
        opened = np.flatnonzero((data | 32) == ord("{"))  # [ and {
        counts = np.diff(np.searchsorted(opened, np.append(self.lines.starts, len(data))))
        return group[counts[group] > MANY_BRACKETS]

    def widen_by(self, group: Indices, text: str) -> None:
        """Unspelled, if this is no time and its column text by now."""
        if time_in(text) is None:
            for line in np.intersect1d(self.lines.holding(text.encode()), group)[:1].tolist():
                with suppress(Refused):
                    row = lift(record(self.lines[line]), self.known)
                    names = [n for n, value in row.items() if value == text and self.known.guide(n) == TIMESTAMP]
                    if names:
                        raise Unspelled(dict.fromkeys(names, STRING), mixed=False)

    def widen_by_rows(self, read: Indices, name: str | None) -> None:
        """Unspelled, if the value that pyarrow stumbled over makes its column text."""
        for row in (self.slow.rows.get(line, {}) for line in read.tolist()):
            if name in row and name not in self.cut.texts:
                guide, samples = self.known.guide(name), [sample.get(name) for sample in self.samples]
                t = join(self.known.type(name), type_of_all([row[name], *samples], guide))
                if t.kind in ("string", "json"):
                    raise Unspelled({name: t})

    def rare(self, group: Indices, bad: Indices, name: str | None) -> Indices:
        """The few lines like the bad one, where the column is text: most have strings there, or integers."""
        if name not in self.forms or name in self.cut.texts or self.known.type(name) != STRING:
            return group[:0]
        has_strings = pa.types.is_string(self.forms[name])
        odd = np.intersect1d((self.lines.without_string if has_strings else self.lines.not_integer)(name), group)
        return odd if np.isin(bad, odd).any() and RARE * len(odd) <= len(group) else group[:0]

    def unlike(self, group: Indices, token: str) -> Indices:
        """The lines with this number, and those where its key has another that is no plain integer."""
        found = np.intersect1d(self.lines.holding(token.encode()), group)
        for line in found[:1].tolist():
            with suppress(Refused):
                names = [name for name, value in record(self.lines[line]).items() if value == token]
                others = [self.lines.without_integer(name) for name in names]
                found = np.unique(np.concatenate([found, *others]))
        return found

    def keep(self, group: Indices, table: pa.Table, only_null: Sequence[str]) -> None:
        """Settle each column; read the rows in doubt slowly."""
        arrays = dict(zip(self.forms, map(joined, table.columns), strict=True))
        arrays = lift_arrays(arrays, self.known)
        doubt = np.zeros(len(group), np.bool_)
        columns: dict[str, tuple[pa.Array | None, Type]] = {name: (None, NULL) for name in only_null}
        for name, array in arrays.items():
            if name in self.cut.texts and pa.types.is_string(array.type):  # a group's field is none
                columns[name] = self.cut.restored(name, array, group)
                continue
            if pa.types.is_integer(array.type) and self.known.type(name) == STRING:
                columns[name] = self.spelled(name, array)
                continue
            settled = settle(array, self.known.guide(name))
            columns[name] = settled.array, settled.type
            if settled.doubt is not None:
                doubt |= settled.doubt
        if any(_has_double(form) for form in self.forms.values()):
            doubt |= self.inexact_lines()[group]
        if not doubt.any():
            forms = {name: form for name, form in self.forms.items() if not self.times_as_text}
            self.pieces.append(Piece(group, columns, forms))
            return
        self.slow.read(self.lines, group[doubt].tolist(), self.known)
        if not doubt.all():
            self.keep(group[~doubt], table.filter(pa.array(~doubt)), only_null)

    def spelled(self, name: str, array: pa.Array) -> tuple[pa.Array | None, Type]:
        """Integers of a column that is text, as they were sent."""
        if self.lines.has_minus_zero():
            raise Unspelled({name: STRING})
        return (None, NULL) if array.null_count == len(array) else (array.cast(pa.string()), STRING)

    def inexact_lines(self) -> Flags:
        if self.inexact is None:
            self.inexact = np.zeros(len(self.lines), np.bool_)
            self.inexact[self.cut.lines.at(inexact_numbers(self.cut.lines.block))] = True
        return self.inexact


def _spread(wanted: Indices, count: int = SAMPLES) -> Indices:
    return wanted[:: max(1, len(wanted) // max(1, count))]


def _without_times(form: pa.DataType) -> pa.DataType:
    if pa.types.is_list(form):
        return pa.list_(_without_times(form.value_type))
    if pa.types.is_struct(form):
        return pa.struct([(field.name, _without_times(field.type)) for field in form])
    return pa.string() if pa.types.is_timestamp(form) else form


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
