"""Lines with many keys between them and few in each: fewer of them are read at once.

A column costs memory in every row of a block, whether it has a value there or not. So a block whose columns would have
more than CELLS cells is read in pieces, one after the other; each knows what those before it taught.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from typing import Any

from syncd.parse.lines import Lines
from syncd.parse.values import Refused, record
from syncd.types import Type

CELLS = 5 << 20  # of one block: 40 MB of numbers
FEWEST = 64  # lines that are read together however wide they are
LOOKED_AT = (64, 256, 1024)  # lines, to learn how many of the known columns a block has


class TooWide(Exception):
    """To be read in these pieces."""

    def __init__(self, lines: Lines, columns: int) -> None:
        super().__init__(columns)
        size = max(FEWEST, min(3 * CELLS // (4 * columns), (len(lines) + 1) // 2))  # a few columns more do no harm
        cuts = [*lines.starts[::size].tolist(), len(lines.block)]
        self.pieces = [lines.block[start:end] for start, end in pairwise(cuts)]


def leaves(t: Type) -> int:
    """How many columns it is stored as."""
    return sum(leaves(field) for _, field in t.fields) or 1


def bound(lines: Lines, columns: int) -> None:
    """TooWide, where so many columns may stand in these lines, and as many as that do."""
    if is_wide(len(lines), columns) and is_wide(len(lines), seen := _seen(lines)):
        raise TooWide(lines, seen)


def is_wide(rows: int, columns: int) -> bool:
    return rows > FEWEST and rows * columns > CELLS


def _seen(lines: Lines) -> int:
    """How many columns some of the lines have between them; more are looked at while they have new ones."""
    seen: set[tuple[str, ...]] = set()
    for count in LOOKED_AT:
        before = len(seen)
        for line in range(0, len(lines), max(1, len(lines) // count)):
            with suppress(Refused):
                seen.update(_paths(record(lines[line])))
        if 5 * before > 4 * len(seen):
            break
    return len(seen)


def _paths(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _paths(inner, (*path, name))
    elif isinstance(value, list):
        for inner in value:
            yield from _paths(inner, (*path, ""))
    else:
        yield path
