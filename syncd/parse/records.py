"""Where the records of CSV text are: a newline inside quotes ends none.

A field is quoted when it starts with a quote; `""` inside is one. A quote elsewhere is an ordinary character. A quoted
field that isn't closed, or has text behind it, breaks its record; the damage ends with its line.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from syncd.parse.ends import record_ends
from syncd.parse.lines import Flags, Lines

MAX_OPEN = 64 << 20  # bytes that a quote may stay open before it counts as never closed
DELIMITERS = (",", ";", "\t", "|")


@dataclass(slots=True)
class Records:
    """The whole records of a block. `odd` ones have quotes where a plain reader may stumble."""

    lines: Lines
    odd: Flags
    end: int  # behind the last one


def split(block: bytes, delimiter: str, is_final: bool, size: int | None = None) -> Records:
    """The records of the block's first bytes, of all by default; the last may lack its newline if `is_final`."""
    size = len(block) if size is None else size
    found = record_ends(block, size, delimiter)
    if found is None or (is_final and found[1]):
        return _split_each(block[:size], delimiter, is_final)
    ends = found[0]
    if is_final and size and not (len(ends) and ends[-1] == size - 1):
        ends = np.append(ends, size)
    elif not len(ends) and size >= MAX_OPEN:
        return _split_each(block[:size], delimiter, is_final)  # gives the open quote up
    return _records(block, ends, np.zeros(len(ends), np.bool_), delimiter)


def _records(block: bytes, ends: Any, odd: Flags, delimiter: str) -> Records:
    starts = np.concatenate(([0], ends + 1))[: len(ends)]
    end = min(int(ends[-1]) + 1, len(block)) if len(ends) else 0
    lines = Lines.between(block, starts, ends)
    if delimiter.isspace():
        for line in np.flatnonzero(lines.blank).tolist():
            lines.blank[line] = delimiter.encode() not in lines[line]
    return Records(lines, odd, end)


def _split_each(block: bytes, delimiter: str, is_final: bool) -> Records:
    """As `split`, record by record, for text with odd quotes."""
    strict, loose, open_at_end = _patterns(delimiter)
    ends, odd, at = [], [], 0
    while at < len(block):
        match = strict.match(block, at) or loose.match(block, at)
        if match:
            end = match.end() - block.endswith(b"\n", at, match.end())
            if end == len(block) and not is_final:
                break
        elif not is_final and len(block) < MAX_OPEN and open_at_end.match(block, at):
            break
        else:
            end = block.find(b"\n", at)
            if end < 0 and not is_final:
                break
            end = len(block) if end < 0 else end
        ends.append(end)
        odd.append(not match or match.re is loose)
        at = end + 1
    return _records(block, np.array(ends, np.int64), np.array(odd, np.bool_), delimiter)


@cache
def _patterns(delimiter: str) -> tuple[re.Pattern[bytes], re.Pattern[bytes], re.Pattern[bytes]]:
    d = re.escape(delimiter.encode())
    quoted = rb'"[^"]*+(?:""[^"]*+)*+"'
    strict = rb'(?:%s|[^"%s\n]*+)' % (quoted, d)
    loose = rb'(?:%s|[^"%s\n][^%s\n]*+|)' % (quoted, d, d)
    end = rb"\r?(?:\n|\Z)"
    return (
        re.compile(rb"%s(?:%s%s)*+%s" % (strict, d, strict, end)),
        re.compile(rb"%s(?:%s%s)*+%s" % (loose, d, loose, end)),
        re.compile(rb'(?:%s%s)*+"[^"]*+(?:""[^"]*+)*+\Z' % (loose, d)),
    )


@cache
def _field(delimiter: str) -> re.Pattern[str]:
    d = re.escape(delimiter)
    return re.compile(rf'(?:"([^"]*+(?:""[^"]*+)*+)"|([^"{d}\n][^{d}\n]*+|))({d}|\Z)')


def fields(record: str, delimiter: str) -> list[str | None] | None:
    r"""A record's fields, unquoted; None for a bare \N. None for the whole: broken quotes."""
    found: list[str | None] = []
    pattern, at = _field(delimiter), 0
    while match := pattern.match(record, at):
        quoted, bare, end = match.groups()
        found.append(quoted.replace('""', '"') if quoted is not None else None if bare == "\\N" else bare)
        if not end:
            return found
        at = match.end()
    return None
