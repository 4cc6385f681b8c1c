"""Answers on stdout: tables for people, CSV and JSON for scripts. No value changes on its way."""

from __future__ import annotations

import json  # noqa: TID251  # orjson refuses integers beyond 64 bits, and sums of ids are such
import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import count, islice
from typing import Any

import orjson

from syncd.gaps import COVERED, Gap
from syncd.model import NEVER

LONGEST = 10_000  # rows of a table


def as_json(value: Any) -> None:
    """Print `value`."""
    sys.stdout.write(jsoned(value).decode())


def as_json_one_by_one(values: Iterable[Any]) -> None:
    """Print a list as `as_json` does, with one value in memory."""
    separator = "[\n"
    for value in values:
        sys.stdout.write(f"{separator}  " + jsoned(value).decode().rstrip("\n").replace("\n", "\n  "))
        separator = ",\n"
    sys.stdout.write("\n]\n" if separator != "[\n" else "[]\n")


def jsoned(value: Any) -> bytes:
    """`value` as JSON: instants as RFC 3339 in UTC, durations in seconds."""
    options = orjson.OPT_INDENT_2 | orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE
    return orjson.dumps(value, default=_plain, option=options)


def as_table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print a table as wide as its values where nobody watches, as wide as the terminal else."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD)
    for column in columns:
        table.add_column(Text(column), overflow="fold")
    for row in rows:
        table.add_row(*(Text(text(value), justify="right" if is_number(value) else "left") for value in row))
    console = Console() if sys.stdout.isatty() else Console(width=10_000)
    console.print(table)


def runs(found: Iterable[Mapping[str, Any]]) -> None:
    """The ledger, a run a line; below it what is wrong, with the next thing to type. A long one is many tables."""
    rows, first = iter(found), True
    while (listed := list(islice(rows, LONGEST))) or first:
        first = False
        _runs(listed)


def _runs(listed: Sequence[Mapping[str, Any]]) -> None:
    if not listed:
        sys.stdout.write("no such runs\n")
        return
    columns = ("run", "scope", "state", "period", "parts", "rows", "rejected", "size")
    as_table(
        columns,
        (
            (
                f"{run['source']}/{run['run']}",
                run["scope"],
                run["state"],
                period(run["period_start"], run["period_end"]),
                *(run[key] or 0 for key in ("parts", "rows", "rejected")),
                size(run["bytes"] or 0),
            )
            for run in listed
        ),
    )
    for run in listed:
        if run["error"]:
            name = f"{run['source']}/{run['run']}: "
            sys.stdout.write(f"{name}{run['error'].removeprefix(name)}\n  → {run['hint']}\n")


def gaps(
    found: Sequence[Gap],
    complete: Mapping[tuple[str, str], datetime | None],
    short: Iterable[Mapping[str, Any]],
    *,
    begun: bool,
) -> None:
    """How far each job is complete; then the gaps, what other jobs have brought in their place, and the runs that are
    here without all of their rows."""
    if complete:
        as_table(("source", "job", "complete up to"), [(*job, minute(at)) for job, at in sorted(complete.items())])
    rows = [
        (gap.source, gap.job, gap.scope, gap.state, period(gap.period_start, gap.period_end), gap.detail)
        for gap in found
        if gap.state != COVERED
    ]
    if not begun:
        sys.stdout.write("nothing is known yet, no pass has ended: syncd once\n")
    elif rows:
        as_table(("source", "job", "scope", "state", "period", "what is known"), rows)
    else:
        sys.stdout.write("no gaps: every period that is due is here or on its way\n")
    for gap in found:
        if gap.state == COVERED:
            sys.stdout.write(f"{gap.source}, job {gap.job}, {period(gap.period_start, gap.period_end)}: {gap.detail}\n")
    for run in short:
        when = period(run["period_start"], run["period_end"])
        sys.stdout.write(f"{run['source']}/{run['run']}, {when}: {run['lost']:,} of its rows are lost for good\n")


def forecast(found: Mapping[str, Any]) -> None:
    """What a pass would bring home."""
    columns = ("source", "scope", "runs", "parts", "calls", "size", "nearest expiry")
    as_table(columns, [(*row[:5], size(row[5]), minute(row[6])) for row in found["scopes"]])
    if calls := sum(row[4] for row in found["scopes"]):
        sys.stdout.write(f"calls: at least {calls}\n")
    sys.stdout.write(f"disk needed: about {size(found['disk_needed'])}; free: {size(found['disk_free'])}\n")


def period(start: datetime, end: datetime) -> str:
    """`2026-01-05` for a day, else both ends to the minute."""
    day = start.date() == (end - timedelta(milliseconds=1)).date() and (end - start) > timedelta(hours=23)
    return f"{start:%Y-%m-%d}" if day else f"{minute(start)} to {minute(end)}"


def minute(instant: datetime | None) -> str:
    return f"{instant:%Y-%m-%d %H:%M}" if instant and instant != NEVER else "–"  # noqa: RUF001


def rows_as_csv(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print rows as CSV: NULL is nothing, an empty text is `""`."""
    sys.stdout.write(",".join(map(_csv_field, columns)) + "\n")
    for row in rows:
        sys.stdout.write(",".join(map(_csv_field, row)) + "\n")


def rows_as_json(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print rows as one JSON array of objects, a row a line; integers of any size keep their digits."""
    separator, keys = "[", _unlike(columns)
    for row in rows:
        pairs = dict(zip(keys, map(_jsonable, row), strict=True))
        sys.stdout.write(f"{separator}{json.dumps(pairs, ensure_ascii=False)}")
        separator = ",\n"
    sys.stdout.write("]\n" if separator != "[" else "[]\n")


QUERY_FORMATS = {"table": as_table, "csv": rows_as_csv, "json": rows_as_json}


def fetched(cursor: Any, size: int = 1000) -> Iterator[tuple[Any, ...]]:
    """The rows of a DuckDB cursor, a thousand at a time."""
    while rows := cursor.fetchmany(size):
        yield from rows


def text(value: Any) -> str:
    """A value in a cell."""
    match value:
        case None:
            return "NULL"
        case datetime():
            return value.isoformat(sep=" ").removesuffix("+00:00")
        case bytes():  # as DuckDB spells a BLOB: it reads this back
            return "".join(
                chr(one) if 32 <= one < 127 and chr(one) not in "\\'\"" else f"\\x{one:02X}" for one in value
            )
        case list() | dict():
            return json.dumps(_jsonable(value), ensure_ascii=False)
        case _:
            return str(value)


def ago(seconds: float | None) -> str:
    """A duration as people say it: `3 h 20 min`."""
    if seconds is None:
        return "–"  # noqa: RUF001
    minutes, hours, days = int(seconds // 60), int(seconds // 3600), int(seconds // 86400)
    if days:
        return f"{days} d {hours % 24} h"
    return f"{hours} h {minutes % 60} min" if hours else f"{minutes} min"


def size(count: float) -> str:
    """Bytes as people read them: `1.4 GB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def is_number(value: Any) -> bool:
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)


def _csv_field(value: Any) -> str:
    if value is None:
        return ""
    field = text(value)
    return '"' + field.replace('"', '""') + '"' if not field or any(mark in field for mark in ',"\r\n') else field


def _unlike(columns: Sequence[str]) -> list[str]:
    """Names without a repeat, as DuckDB makes them in a subquery: `a`, `a_1`."""
    keys: list[str] = []
    for column in columns:
        others = (f"{column}_{number}" for number in count(1))
        keys.append(column if column not in keys else next(key for key in others if key not in {*keys, *columns}))
    return keys


def _jsonable(value: Any) -> Any:
    match value:
        case list() | tuple():
            return [_jsonable(one) for one in value]
        case Mapping():
            return {str(key): _jsonable(one) for key, one in value.items()}
        case float() if not math.isfinite(value):
            return str(value)
        case None | bool() | int() | float() | str():
            return value
        case _:
            return _plain(value)


def _plain(value: Any) -> Any:
    match value:
        case datetime():
            return (value.astimezone(UTC) if value.tzinfo else value).isoformat().removesuffix("+00:00") + "Z"
        case timedelta():
            return value.total_seconds()
        case date():
            return value.isoformat()
        case bytes():
            return value.hex()
        case _:
            return str(value)
