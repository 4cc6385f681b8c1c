"""Rows as the bytes of files: JSON lines or CSV, in chunks, packed; named in any of the ways that nobody documents."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson

from syncd.sandbox.cordial.trouble import Trouble

Row = Mapping[str, Any]


def chunks(rows: Sequence[Row], size: int) -> list[Sequence[Row]]:
    """The rows by file; none when there are none."""
    step = size or max(len(rows), 1)
    return [rows[at : at + step] for at in range(0, len(rows), step)]


def contents(rows: Sequence[Row], asked: Mapping[str, Any], trouble: Trouble) -> Iterator[bytes]:
    """The files of an export."""
    form = str(asked.get("exportType") or "csv").lower()
    columns = asked.get("columnHeaders")
    if columns:
        rows = [{one["label"]: value_of(row, one["name"]) for one in columns} for row in rows]
    files = chunks(rows, int(asked.get("limitRecordsPerFile") or 0))
    names = [one["label"] for one in columns] if columns else list(dict.fromkeys(key for row in rows for key in row))
    if not files and trouble.empty_as != "none":
        files = [[]]
    for number, some in enumerate(files):
        if form == "json":
            content = b"".join(orjson.dumps(row) + b"\n" for row in some)
        elif not some and trouble.empty_as == "file":
            content = b""
        else:
            content = table(some, names or ["_id", "action", "time"], asked, trouble, is_first=number == 0)
        yield gzip.compress(content, 1, mtime=0) if asked.get("compress") else content


def value_of(row: Row, name: str) -> Any:
    """A column by its public, dotted name."""
    if name in row:
        return row[name]
    group, _, inner = name.partition(".")
    found = row.get(group)
    return found.get(inner) if isinstance(found, dict) else None


def table(
    some: Sequence[Row], names: Sequence[str], asked: Mapping[str, Any], trouble: Trouble, *, is_first: bool
) -> bytes:
    """One CSV file."""
    out = io.StringIO()
    delimiter = (asked.get("delimiter") or ",") if str(asked.get("exportType")).lower() == "txt" else ","
    writer = csv.writer(out, delimiter=delimiter, lineterminator="\r\n" if trouble.crlf else "\n")
    if asked.get("showHeader") is not False and (trouble.header == "each" or (trouble.header == "first" and is_first)):
        writer.writerow(names)
    for row in some:
        writer.writerow([cell(row.get(name)) for name in names])
    return (b"\xef\xbb\xbf" if trouble.bom else b"") + out.getvalue().encode()


def cell(value: Any) -> Any:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case dict() | list():
            return orjson.dumps(value).decode()
    return value


def file_name(name: str, asked: Mapping[str, Any], number: int, files: int, now: datetime, trouble: Trouble) -> str:
    """What the file of an export is called; with several, each gets a number."""
    end = f".{str(asked.get('exportType') or 'csv').lower()}" + (".gz" if asked.get("compress") else "")
    count = "" if files == 1 else f"-{number + 1}"
    match trouble.naming:
        case "stamp":
            return f"{name}_{now:%Y%m%d%H%M%S}{count}{end}"
        case "number":
            return f"{name}-{number + 1}{end}"
        case "part":
            return f"{name}_part{number + 1:04}{end}"
    return f"{name}{count}{end}"
