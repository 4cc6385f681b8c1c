"""What lines of a file look like, without what they say: forms are counted, values never kept."""

from __future__ import annotations

import re
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from syncd.model import Column

MOST_LINES = 20_000
TIMES = {
    "2026-01-05 12:05:28": r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d",
    "2026-01-05 12:05": r"\d{4}-\d\d-\d\d \d\d:\d\d",
    "2026-01-05T12:05:28Z": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z",
    "2026-01-05T12:05:28+00:00": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?[+-]\d\d:\d\d",
    "2026-01-05T12:05:28+0000": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?[+-]\d{4}",
    "fractions of a second": r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+",
}
FITTING = {  # the forms that a declared kind takes without being widened
    "number": {"number", "number as text", "boolean", "null"},
    "string": {"text", "empty text", "null", "number as text"},
    "time": {"text", "empty text", "null"},
    "list": {"list", "empty list", "null"},
}


@dataclass
class Packed:
    """How a file is packed."""

    is_gzip: bool
    members: int = 0
    plain: bytes = b""
    ended: bool = False  # the last member had its end, and nothing came behind it
    rubbish: bool = False  # what came behind is no member


def unpacked(body: bytes) -> Packed:
    """As much of the plain bytes as `body` holds."""
    if body[:2] != b"\x1f\x8b":
        return Packed(False, plain=body)
    found, blocks = Packed(True), []
    while body[:2] == b"\x1f\x8b":
        member = zlib.decompressobj(wbits=31)
        try:
            blocks.append(member.decompress(body))
        except zlib.error:
            found.rubbish = True
            break
        found.members += 1
        found.ended, body = member.eof, member.unused_data
    found.rubbish |= bool(body.strip(b"\0"))
    found.plain = b"".join(blocks)
    return found


@dataclass
class Shapes:
    """The forms of the values of some lines, by what the columns are declared as."""

    declared: Mapping[str, Column]
    lines: int = 0
    blank: int = 0
    broken: int = 0
    undeclared: set[str] = field(default_factory=set)
    kinds: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))  # by column
    integers: Counter[str] = field(default_factory=Counter)  # of 64 bits: quoted or bare
    flags: Counter[str] = field(default_factory=Counter)
    times: Counter[str] = field(default_factory=Counter)
    groups: Counter[str] = field(default_factory=Counter)
    missing: Counter[str] = field(default_factory=Counter)

    def take(self, lines: Iterable[bytes]) -> Shapes:
        """Look at JSON lines; one is broken when it is no object."""
        keys, held, before = set[str](), 0, self.lines
        for line in lines:
            if not line.strip():
                self.blank += 1
                continue
            try:
                row = orjson.loads(line)
            except orjson.JSONDecodeError:
                row = None
            if not isinstance(row, dict):
                self.broken += 1
                continue
            self.lines += 1
            keys |= row.keys()
            held += len(row)
            for name, value in flat(row, self):
                self._see(name, value)
        self.missing["absent key"] += len(keys) * (self.lines - before) - held
        return self

    def _see(self, name: str, value: Any) -> None:
        column = self.declared.get(name)
        self.missing.update([form] if (form := kind_of(value)) in ("null", "empty text", "empty list") else [])
        if column is None:
            self.undeclared.add(name)
            return
        self.kinds[name][form] += 1
        inner = column.type.element.kind if column.type.kind == "list" else column.type.kind
        for one in value if isinstance(value, list) else [value]:
            if inner == "uint64" and isinstance(one, str | int) and not isinstance(one, bool) and one != "":
                self.integers["quoted" if isinstance(one, str) else "bare"] += 1
            if inner == "uint8" and not isinstance(one, str):
                self.flags["true and false" if isinstance(one, bool) else "0 and 1"] += 1
            if inner == "timestamp" and isinstance(one, str) and one:
                self.times[next((form for form, rule in TIMES.items() if re.fullmatch(rule, one)), "another form")] += 1

    def misfits(self) -> dict[str, list[str]]:
        """Declared columns with values in a form that would widen them."""
        found = {}
        for name, forms in self.kinds.items():
            kind = self.declared[name].type.kind
            if kind == "json":
                continue
            kind = "time" if kind in ("date", "timestamp") else kind if kind in FITTING else "number"
            if others := sorted(forms.keys() - FITTING[kind]):
                found[name] = others
        return found


def flat(row: Mapping[str, Any], shapes: Shapes) -> Iterator[tuple[str, Any]]:
    """The values under dotted names, however they came; what is declared as JSON stays whole."""
    for name, value in row.items():
        shapes.groups["dotted keys"] += "." in name
        if isinstance(value, dict) and value:
            shapes.groups["nested objects"] += 1
            is_whole = name in shapes.declared and shapes.declared[name].type.kind == "json"
            yield from [(name, value)] if is_whole else ((f"{name}.{inner}", one) for inner, one in value.items())
        else:
            yield name, value


def kind_of(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case str():
            return "empty text" if not value else "number as text" if re.fullmatch(r"-?\d+(\.\d+)?", value) else "text"
        case list():
            return "list" if value else "empty list"
        case _:
            return "object"
