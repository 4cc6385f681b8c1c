"""Where lines and records of a block end: by the reader in C, or in numpy where it is not."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from syncd.parse import compiled

USUAL = 64  # bytes of a record: where they are shorter it is looked twice
QUOTE, NEWLINE, RETURN = b'"'[0], b"\n"[0], b"\r"[0]
Bytes = np.ndarray[Any, np.dtype[np.uint8]]
Indices = np.ndarray[Any, np.dtype[np.int64]]


def line_ends(block: bytes) -> Indices:
    """The newlines."""
    reader, _ = compiled.library()
    if reader is None:
        return np.flatnonzero(np.frombuffer(block or b" ", np.uint8) == NEWLINE)
    ends: Indices = _found(reader.syncd_lines, block, len(block))
    return ends


def record_ends(block: bytes, size: int, delimiter: str) -> tuple[Indices, bool] | None:
    """The newlines that end CSV records in the first `size` bytes, and whether a quote is open there; None where quotes
    stand elsewhere than around whole fields."""
    reader, _ = compiled.library()
    if reader is not None:
        is_open = ctypes.c_bool()
        found = _found(reader.syncd_records, block, size, ord(delimiter), ctypes.byref(is_open))
        return None if found is None else (found, is_open.value)
    data = np.frombuffer(block or b" ", np.uint8)[:size]
    quotes = np.flatnonzero(data == QUOTE)
    if not _regular(data, quotes, ord(delimiter)):
        return None
    ends = np.flatnonzero(data == NEWLINE)
    ends = ends[np.searchsorted(quotes, ends) % 2 == 0] if len(quotes) else ends
    return ends, len(quotes) % 2 == 1


def _found(function: Any, block: bytes, size: int, *told: Any) -> Any:
    """What the function finds, None for nothing that it can tell."""
    room = size // USUAL + 1
    while True:
        ends = np.empty(room, np.int64)
        count = function(block, size, ends.ctypes.data, room, *told)
        if count <= room:
            return None if count < 0 else ends[:count]
        room = count


def _regular(data: Bytes, quotes: Any, delimiter: int) -> bool:
    """Every quote opens at the start of a field, closes at its end, or is one of two."""
    opening, closing = quotes[0::2], quotes[1::2]
    if not len(closing):
        return not len(opening) or opening[0] == 0 or data[opening[0] - 1] in (delimiter, NEWLINE)
    before, after = data.take(opening - 1, mode="clip"), data.take(closing + 1, mode="clip")
    odd = np.flatnonzero((before != delimiter) & (before != NEWLINE))
    starts_well = (opening[odd] == 0) | ((odd > 0) & (opening[odd] == closing[odd - 1] + 1))
    odd = np.flatnonzero((after != delimiter) & (after != NEWLINE))
    following = opening[np.minimum(odd + 1, len(opening) - 1)]
    ends_well = (closing[odd] == len(data) - 1) | (following == closing[odd] + 1)
    at_return = (closing[odd] + 2 >= len(data)) | (data.take(closing[odd] + 2, mode="clip") == NEWLINE)
    ends_well |= (after[odd] == RETURN) & at_return
    return bool(starts_well.all() and ends_well.all())
