"""Rows in the vendor's two forms, as ClickHouse writes them: JSONEachRow and CSVWithNames.

JSONL quotes 64-bit integers and escapes slashes; CSV quotes text and times, leaves numbers bare, writes NULL as a
bare `\\N` and an array as quoted text. Raw newlines stay inside CSV quotes, U+2028 and U+0085 stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import orjson

from syncd.sandbox.contentsquare.trouble import Trouble

Write = Callable[[Any], bytes]


class Column(NamedTuple):
    """A column of a file. `kind`: u64, int, flag, float, text, date, time; with `[]` behind: a list of these."""

    name: str
    kind: str
    get: Callable[[dict[str, Any]], Any]  # from a made row


def time_text(value: str, form: str) -> str:
    """`YYYY-MM-DD HH:MM:SS` in another of the vendor's spellings."""
    match form:
        case "minutes":
            return value[:-3]
        case "iso":
            return value.replace(" ", "T") + "Z"
    return value


def _number(value: float) -> bytes:
    return b"%d" % value if value == int(value) else repr(value).encode()


def _json_text(trouble: Trouble) -> Write:
    if trouble.plain_slashes:
        return orjson.dumps
    return lambda value: orjson.dumps(value).replace(b"/", b"\\/")


def _json_write(kind: str, trouble: Trouble) -> Write:
    if kind.endswith("[]"):
        one = _json_write(kind[:-2], trouble)
        return lambda values: b"[" + b",".join(map(one, values)) + b"]"
    writes: dict[str, Write] = {
        "u64": b"%d".__mod__ if trouble.bare else b'"%d"'.__mod__,
        "int": b"%d".__mod__,
        "flag": (lambda value: b"true" if value else b"false") if trouble.booleans else b"%d".__mod__,
        "float": _number,
        "text": _json_text(trouble),
        "date": lambda value: b'"%s"' % value.encode(),
        "time": lambda value: b'"%s"' % time_text(value, trouble.times).encode(),
    }
    return writes[kind]


def jsonl(columns: Sequence[Column], trouble: Trouble) -> Callable[[Sequence[Any]], bytes]:
    """A function from a row's values to its line, newline excluded."""
    escaped = _json_text(trouble)
    writes = [_json_write(column.kind, trouble) for column in columns]
    if trouble.nested and any("." in column.name for column in columns):
        return _nested(columns, writes, escaped, trouble.absent_nulls)
    keyed = [(escaped(column.name) + b":", write) for column, write in zip(columns, writes, strict=True)]

    def line(values: Sequence[Any]) -> bytes:
        members = [
            key + (b"null" if value is None else write(value))
            for (key, write), value in zip(keyed, values, strict=True)
            if value is not None or not trouble.absent_nulls
        ]
        return b"{" + b",".join(members) + b"}"

    return line


def _nested(
    columns: Sequence[Column], writes: Sequence[Write], escaped: Write, absent_nulls: bool
) -> Callable[[Sequence[Any]], bytes]:
    def line(values: Sequence[Any]) -> bytes:
        groups: dict[str, list[bytes]] = {}
        for column, write, value in zip(columns, writes, values, strict=True):
            if value is None and absent_nulls:
                continue
            group, dot, name = column.name.partition(".")
            text = b"null" if value is None else write(value)
            groups.setdefault(group, []).append(escaped(name) + b":" + text if dot else text)
        dotted = {column.name.partition(".")[0] for column in columns if "." in column.name}
        return b"{%s}" % b",".join(
            escaped(group) + b":" + (b"{%s}" % b",".join(members) if group in dotted else members[0])
            for group, members in groups.items()
        )

    return line


_ESCAPES = str.maketrans(
    {"\\": r"\\", "'": r"\'", "\n": r"\n", "\t": r"\t", "\r": r"\r", "\b": r"\b", "\f": r"\f", "\0": r"\0"}
)


def _array_text(values: Iterable[Any], kind: str, times: str) -> str:
    match kind:
        case "text":
            return "[" + ",".join(f"'{value.translate(_ESCAPES)}'" for value in values) + "]"
        case "time":
            return "[" + ",".join(f"'{time_text(value, times)}'" for value in values) + "]"
        case "float":
            return "[" + ",".join(_number(value).decode() for value in values) + "]"
    return "[" + ",".join(str(int(value)) for value in values) + "]"


def _quoted(value: str) -> bytes:
    return b'"%s"' % value.replace('"', '""').encode()


def _csv_write(kind: str, trouble: Trouble) -> Write:
    if kind.endswith("[]"):
        return lambda values: _quoted(_array_text(values, kind[:-2], trouble.times))
    writes: dict[str, Write] = {
        "u64": b"%d".__mod__,
        "int": b"%d".__mod__,
        "flag": b"%d".__mod__,
        "float": _number,
        "text": _quoted,
        "date": _quoted,
        "time": lambda value: _quoted(time_text(value, trouble.times)),
    }
    return writes[kind]


def csv(columns: Sequence[Column], trouble: Trouble) -> Callable[[Sequence[Any]], bytes]:
    """A function from a row's values to its record, newline excluded."""
    writes = [_csv_write(column.kind, trouble) for column in columns]
    return lambda values: b",".join(
        [b"\\N" if value is None else write(value) for write, value in zip(writes, values, strict=True)]
    )


def csv_header(columns: Sequence[Column]) -> bytes:
    """The first record of CSVWithNames."""
    return b",".join(_quoted(column.name) for column in columns)
