"""Arrays as ClickHouse writes them, cut into their elements all at once: `['a','b']` and `[1,-2.5]`.

Only what needs no unescaping is cut here; of other rows it is told that they are not plain.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from syncd.parse.lines import Flags, Indices

OPEN, CLOSE, COMMA, MARK = b"[],'"
ESCAPES = b'\\"'
_NO_NUMBER = np.ones(256, np.bool_)
_NO_NUMBER[list(b"[],-.0123456789")] = False
Bytes = np.ndarray[Any, np.dtype[np.uint8]]


@dataclass(frozen=True, slots=True)
class PlainLists:
    """`elements` are texts; `sizes` has how many each row has. Rows that are not `plain` have none, as nulls have."""

    plain: Flags
    quoted: bool
    sizes: Indices
    elements: pa.Array

    def of(self, values: pa.Array, valid: Flags) -> pa.Array:
        """The lists with these values in the place of the elements' texts."""
        offsets = np.concatenate(([0], np.cumsum(self.sizes))).astype(np.int32)
        return pa.ListArray.from_arrays(pa.array(offsets), values, mask=None if valid.all() else pa.array(~valid))


def plain_lists(texts: pa.Array) -> PlainLists:
    """The elements of each array: all of them quoted, or all numbers."""
    _, offsets, text = texts.buffers()
    at = np.frombuffer(offsets, np.int32)[texts.offset : texts.offset + len(texts) + 1]
    data = np.frombuffer(text or b" ", np.uint8)
    lengths, plain = np.diff(at), np.zeros(len(texts), np.bool_)
    has_brackets = (data.take(at[:-1], mode="clip") == OPEN) & (data.take(at[1:] - 1, mode="clip") == CLOSE)
    plain[:] = (lengths == 2) & has_brackets
    rows = np.flatnonzero((lengths > 0) & ~plain)
    found = _Filled(data[: at[-1]], at[rows].astype(np.int64), at[rows + 1].astype(np.int64), has_brackets[rows])
    marks = found.places(MARK)
    starts, ends = found.between_marks(marks) if len(marks) else found.between_commas()
    sizes = np.zeros(len(texts), np.int64)
    plain[rows], sizes[rows] = found.plain, found.sizes
    return PlainLists(plain, len(marks) > 0, sizes, _cut(text, starts, ends))


def _cut(text: pa.Buffer, starts: Indices, ends: Indices) -> pa.Array:
    if not len(starts):
        return pa.array([], pa.string())
    bounds = np.stack((starts, ends), 1).ravel().astype(np.int32)  # of the elements, and of what stands between them
    pieces = pa.StringArray.from_buffers(len(bounds) - 1, pa.py_buffer(bounds), text)
    return pieces.take(pa.array(np.arange(0, len(bounds), 2)))


@dataclass(slots=True)
class _Filled:
    """Rows that hold something. `plain` is cleared for those that are found to hold more than plain elements."""

    data: Bytes
    starts: Indices
    ends: Indices
    plain: Flags
    sizes: Indices = field(default_factory=lambda: np.zeros(0, np.int64))

    def places(self, byte: int) -> Indices:
        if not len(self.starts):
            return self.starts
        found: Indices = np.flatnonzero(self.data[self.starts[0] :] == byte) + self.starts[0]
        return found

    def counts(self, places: Indices) -> Indices:
        """How many of these each row has."""
        counts: Indices = np.diff(np.searchsorted(places, self.starts), append=len(places))
        return counts

    def of_plain(self, places: Indices, counts: Indices) -> Indices:
        return places if self.plain.all() else places[np.repeat(self.plain, counts)]

    def between_marks(self, marks: Indices) -> tuple[Indices, Indices]:
        """Where the elements are that stand in quotes."""
        counts = self.counts(marks)
        self.plain &= (counts > 0) & (counts % 2 == 0)
        for escape in ESCAPES:
            if len(escapes := self.places(escape)):
                self.plain &= self.counts(escapes) == 0
        while True:
            wanted = self.of_plain(marks, counts)
            opening, closing, self.sizes = wanted[0::2], wanted[1::2], np.where(self.plain, counts // 2, 0)
            lasts = np.cumsum(self.sizes[self.plain]) - 1
            well = np.ones(len(opening), np.bool_)
            well[:-1] = (opening[1:] == closing[:-1] + 2) & (self.data[closing[:-1] + 1] == COMMA)
            well[lasts] = closing[lasts] == self.ends[self.plain] - 2
            firsts = lasts + 1 - self.sizes[self.plain]
            well[firsts] &= opening[firsts] == self.starts[self.plain] + 1
            if well.all():
                return opening + 1, closing
            self.plain[np.repeat(np.arange(len(counts)), self.sizes)[~well]] = False

    def between_commas(self) -> tuple[Indices, Indices]:
        """Where the elements are that have only the bytes of numbers."""
        if not len(self.starts):
            return self.starts, self.ends
        if len(others := np.flatnonzero(_NO_NUMBER[self.data[self.starts[0] :]])):
            self.plain &= self.counts(others + self.starts[0]) == 0
        commas = self.places(COMMA)
        counts = self.counts(commas)
        self.sizes = np.where(self.plain, counts + 1, 0)
        commas, starts, ends = self.of_plain(commas, counts), self.starts[self.plain], self.ends[self.plain]
        return np.sort(np.concatenate((starts + 1, commas + 1))), np.sort(np.concatenate((ends - 1, commas)))
