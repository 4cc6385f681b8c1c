"""Names that DuckDB can tell apart: it ignores case. A name once given stays: callers remember it by source name."""

from __future__ import annotations

from collections.abc import Container

LINEAGE = (
    "_syncd_run",
    "_syncd_job",
    "_syncd_part",
    "_syncd_row",
    "_syncd_date",
    "_syncd_completed_at",
    "_syncd_loaded_at",
)


def given(wish: str, taken: Container[str]) -> str:
    """`wish`, or with the first free of `_2`, `_3`, … where `taken` (lower case) has it; NUL can't be in a name."""
    plain = wish.replace("\0", "") or "unnamed"
    name, count = plain, 1
    while name.lower() in taken:
        count += 1
        name = f"{plain}_{count}"
    return name
