"""Values that are to be text, cut out of a block before pyarrow sees it.

pyarrow never tells a value's own text. So where a known column is text or JSON text, each of its values that is no
string is found by its brackets and kept here as text, and pyarrow reads an empty string in its place.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from json.encoder import encode_basestring  # noqa: TID251

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from syncd.parse.lines import Flags, Indices, Lines
from syncd.parse.values import Refused, decode, json_text
from syncd.types import JSON, NULL, STRING, Type

BACKSLASH, QUOTE = b'\\"'


@dataclass(slots=True)
class Cut:
    """`lines` are those of a block without the values that `texts` has, by column and line."""

    lines: Lines
    texts: dict[str, dict[int, str]] = field(default_factory=dict)

    def restored(self, name: str, array: pa.Array, group: Indices) -> tuple[pa.Array | None, Type]:
        """The column as the slow way has it: what was cut, and the strings that were not."""
        texts = self.texts[name]
        cut = pa.array([texts.get(line) for line in group.tolist()], pa.string())
        whole = pc.coalesce(cut, array)
        has_strings = pc.any(pc.and_(cut.is_null(), array.is_valid())).as_py()
        nested = pc.starts_with(cut, "{"), pc.starts_with(cut, "[")
        t = STRING if has_strings or not pc.all(pc.or_(*nested)).as_py() else JSON
        return (None, NULL) if whole.null_count == len(whole) else (whole, t)


def cut(lines: Lines, names: Iterable[str], good: Flags) -> Cut:
    """The values of these keys cut out of the good lines, where they are plain to find."""
    brackets = _Brackets(lines)
    found = Cut(lines)
    spans: list[tuple[int, int]] = []
    for name in names:
        texts = found.texts[name] = {}
        known: dict[bytes, str | None] = {}
        for line, start, end in brackets.values_of(name):
            raw = lines.block[start:end]
            if raw not in known:
                known[raw] = _text(raw)
            text = known[raw]
            if good[line] and text is not None:
                texts[line] = text
                spans.append((start, end))
    found.lines = _without(lines, sorted(spans))
    return found


def _text(raw: bytes) -> str | None:
    """As `json_text` writes it; None for what is no JSON."""
    if _WHOLE.fullmatch(raw):
        return raw.decode()
    try:
        text = raw.decode()
        value = decode(text)
    except (Refused, UnicodeDecodeError):
        return None
    return json_text(value) if _OTHERWISE.search(raw) else text


_WHOLE = re.compile(rb"-?(?:0|[1-9][0-9]*)")
_OTHERWISE = re.compile(rb"[\s\\]")  # without these it is spelled as `json_text` would


def _without(lines: Lines, spans: list[tuple[int, int]]) -> Lines:
    pieces, at = [], 0
    for start, end in spans:
        pieces += [lines.block[at:start], b'""']
        at = end
    ends = np.array([end for _, end in spans], np.int64)
    gone = np.cumsum([0, *(end - start - 2 for start, end in spans)])
    starts = lines.starts - gone[np.searchsorted(ends, lines.starts, side="right")]
    stops = lines.ends - gone[np.searchsorted(ends, lines.ends, side="right")]
    return Lines(b"".join([*pieces, lines.block[at:]]), starts, stops, lines.blank)


class _Brackets:
    """Where the brackets of a block are, but for those in strings, and how deep in their line."""

    def __init__(self, lines: Lines) -> None:
        self.lines = lines
        data = np.frombuffer(lines.block or b" ", np.uint8)
        self.quotes = _unescaped(data, np.flatnonzero(data == QUOTE))
        self.quotes_before = np.searchsorted(self.quotes, lines.starts)
        folded = data | 32  # [ becomes {, ] becomes }
        at = np.flatnonzero((folded == ord("{")) | (folded == ord("}")))
        self.at = at[~self.in_string(at)]
        opens = folded[self.at] == ord("{")
        self.depths = np.concatenate(([0], np.cumsum(np.where(opens, 1, -1))))
        self.depth_before = self.depths[np.searchsorted(self.at, lines.starts)]
        line = np.searchsorted(lines.ends, self.at)
        self.closing = self.at[~opens & (self.depths[1:] - self.depth_before[line] == 1)]

    def in_string(self, at: Indices) -> Flags:
        line = np.searchsorted(self.lines.ends, at)
        flags: Flags = (np.searchsorted(self.quotes, at) - self.quotes_before[line]) % 2 == 1
        return flags

    def values_of(self, name: str) -> Iterable[tuple[int, int, int]]:
        """Line, start and end of each value of a top-level key that is neither a string nor null."""
        key = re.escape(encode_basestring(name).encode())
        pattern = re.compile(key + rb"[ \t]*:[ \t]*(?:([\[{])|(-?[0-9][-+.eE0-9]*|true|false))")
        matches = [*pattern.finditer(self.lines.block)]
        keys = np.array([match.start() for match in matches], np.int64)
        line = np.searchsorted(self.lines.ends, keys)
        depth = self.depths[np.searchsorted(self.at, keys)] - self.depth_before[line]
        wanted = (depth == 1) & ~self.in_string(keys)
        starts = np.array([match.start(match.lastindex or 0) for match in matches], np.int64)
        after = np.searchsorted(self.closing, starts)
        ends = np.append(self.closing, len(self.lines.block))[after] + 1
        for number in np.flatnonzero(wanted).tolist():
            end = matches[number].end() if matches[number][2] else int(ends[number])
            if end <= self.lines.ends[line[number]]:
                yield int(line[number]), int(starts[number]), end


def _unescaped(data: np.ndarray[tuple[int], np.dtype[np.uint8]], quotes: Indices) -> Indices:
    """Quotes behind an even number of backslashes."""
    is_escaped, open_runs, at = np.zeros(len(quotes), np.bool_), np.ones(len(quotes), np.bool_), quotes - 1
    while open_runs.any():
        open_runs = open_runs & (at >= 0) & (data[at] == BACKSLASH)
        is_escaped ^= open_runs
        at = at - 1
    kept: Indices = quotes[~is_escaped]
    return kept
