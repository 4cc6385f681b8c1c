"""What loaded runs teach of a scope's columns, and which run stands for a period. Pure; the commit writes it down."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime

from syncd.destinations.lake.naming import LINEAGE, given
from syncd.model import Column
from syncd.types import join


def learned(known: Sequence[Column], declared: Iterable[Column], seen: Iterable[Column]) -> list[Column]:
    """The columns of a scope from now on: `known`, with what was declared and seen since joined in by source name.

    Types only widen. A name once given stays; a new one that clashes with another or with ours gets a number.
    """
    columns = {column.source_name: column for column in known}
    taken = {*LINEAGE, *(column.name.lower() for column in known)}
    for column in (*(replace(one, origin="declared") for one in declared), *seen):
        before = columns.get(column.source_name)
        if before is None:
            name = given(column.name, taken)
            taken.add(name.lower())
            columns[column.source_name] = replace(column, name=name)
            continue
        is_declared = "declared" in (before.origin, column.origin)
        columns[column.source_name] = Column(
            before.name,
            join(before.type, column.type),
            before.source_name,
            "declared" if is_declared else "learned",
            before.description or column.description,
        )
    return sorted(columns.values(), key=lambda column: column.origin != "declared")  # stable: the rest as they came


def looks(column: Column) -> tuple[object, ...]:
    """What an analyst sees of a column: facts beneath its type are not a change."""
    return column.name, column.type.plain, column.origin, column.description


def seniority(completed_at: datetime, run: str) -> tuple[object, ...]:
    """Greatest for the run that stands for its job and period: the later `completed_at`, then the higher id.

    Numbers in an id count as numbers: `7-10` is higher than `7-9`.
    """
    pieces = re.split(r"([0-9]+)", run)
    return completed_at, [(int(piece), piece) if at % 2 else (-1, piece) for at, piece in enumerate(pieces)], run
