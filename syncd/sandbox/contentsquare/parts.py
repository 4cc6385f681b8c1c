"""The bytes of a part: made when first asked for, line by line, and kept in a folder until the sandbox stops.

So a part costs no memory whatever its size, its length is known before the first byte goes out, and Range works.
"""

from __future__ import annotations

import gzip
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from random import Random
from threading import Lock
from typing import Any

from syncd.sandbox.contentsquare import dialect, sessions, truth
from syncd.sandbox.contentsquare.dialect import Column
from syncd.sandbox.contentsquare.sessions import Slice
from syncd.sandbox.contentsquare.trouble import Trouble


@dataclass(frozen=True)
class Part:
    """One file of a run, given or made. A made one keeps the row troubles of the day it was made."""

    id: int
    form: str  # jsonl or csv
    scope: str
    trouble: Trouble
    what: Slice | None = None
    columns: tuple[Column, ...] = ()
    given: Path | None = None
    empty: str = ""  # file, header or bytes: a part without rows, as one of these

    @cached_property
    def count(self) -> truth.Count:
        """What its bytes hold: of a made part from the values, not from the bytes."""
        if self.given:
            return truth.counted(self.given, self.form)
        count = truth.Count()
        names = [column.name for column in self.columns]
        for kind, values, _ in self.records():
            if kind == "row":
                count.add(zip(names, values, strict=True))
            count.rejected += kind == "broken"
            count.blank += kind == "blank"
        return count

    def plain(self) -> Iterator[bytes]:
        """Its bytes before packing, line by line, made or given."""
        if self.given is None:
            yield from self.lines()
            return
        with gzip.open(self.given) as file:
            yield from file

    def lines(self) -> Iterator[bytes]:
        """The plain bytes, line by line."""
        held: bytes | None = None
        for _, _, line in self.records():
            if held is not None:
                yield held + b"\n"
            held = line
        if held is not None:
            yield held + (b"" if self.trouble.no_final_newline else b"\n")

    def records(self) -> Iterator[tuple[str, list[Any], bytes]]:
        """Each line as (`header`, `row`, `broken` or `blank`; its values; its bytes)."""
        write = dialect.csv if self.form == "csv" else dialect.jsonl
        line = write(self.columns, self.trouble)
        if self.form == "csv" and not self.trouble.no_header and self.empty in ("", "header"):
            yield "header", [], dialect.csv_header(self.columns)
        if self.what is None or self.empty:
            return
        extra = self._extra_lines(self.what)
        for number, row in enumerate(sessions.ROWS[self.scope](self.what)):
            values = [column.get(row) for column in self.columns]
            if self.trouble.times == "minutes":
                values = [_whole_minute(value, column) for value, column in zip(values, self.columns, strict=True)]
            text = line(values)
            yield "row", values, text
            for kind in extra.get(number, ()):
                yield kind, [], b"" if kind == "blank" else self._broken(text, number)

    def _extra_lines(self, what: Slice) -> dict[int, list[str]]:
        """Behind which rows the broken and blank lines stand."""
        random = Random(f"extra {what}")  # noqa: S311  # not for secrets
        extra: dict[int, list[str]] = {}
        for kind in ["broken"] * self.trouble.broken_lines + ["blank"] * self.trouble.blank_lines:
            if what.sessions:
                extra.setdefault(random.randrange(what.sessions), []).append(kind)
        return extra

    def _broken(self, good: bytes, number: int) -> bytes:
        """A line that is no record, in one of many ways."""
        if self.form == "csv":
            few = b"1,2" if len(self.columns) > 2 else good + b",2,3"
            return (good + b",1", few)[number % 2]
        return (
            good[: len(good) // 2],
            b"\x1f\x8b not text",
            b'{"user_id":NaN,' + good[1:],
            b'{"twice":1,"twice":2,' + good[1:],
            b'{"bad_utf8":"\xff\xfe",' + good[1:],
            b'{"surrogate":"\\ud800",' + good[1:],
            b"[1,2,3]",
        )[number % 7]


def _whole_minute(value: Any, column: Column) -> Any:
    if column.kind == "time":
        return value[:-2] + "00"
    return [each[:-2] + "00" for each in value] if column.kind == "time[]" else value


class Spool:
    """The folder where the bytes of parts are kept. Any thread."""

    def __init__(self) -> None:
        self._folder: Path | None = None  # made with the first part
        self._lock = Lock()
        self._locks: dict[Path, Lock] = {}

    def path(self, part: Part, name: str, trouble: Trouble) -> Path:
        """The part as `trouble` wants its body: packed, plain, in members."""
        if part.given and trouble.body in ("gzip", "encoded") and trouble.members == 1:
            return part.given
        with self._lock:
            self._folder = self._folder or Path(tempfile.mkdtemp(prefix="sandbox-"))
            path = self._folder / _named(name, trouble)
            lock = self._locks.setdefault(path, Lock())
        with lock:
            if not path.exists():
                aside = path.with_suffix(".aside")
                _write(part, aside, trouble)
                aside.rename(path)
        return path

    def has(self, name: str, trouble: Trouble) -> bool:
        """Whether it was made already."""
        return self._folder is not None and (self._folder / _named(name, trouble)).exists()

    def close(self) -> None:
        """Remove the folder."""
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)


def _named(name: str, trouble: Trouble) -> str:
    return f"{name}-{trouble.body}-{trouble.members}"


def _write(part: Part, path: Path, trouble: Trouble) -> None:
    if part.empty == "bytes":
        path.touch()
        return
    with path.open("wb") as file:
        if trouble.body == "plain":
            file.writelines(part.plain())
            return
        _pack(part.plain(), file.write, trouble.members)
        if trouble.body == "rubbish":
            file.write(b"\0rubbish behind the last member")


def _pack(lines: Iterator[bytes], write: Callable[[bytes], Any], members: int) -> None:
    """gzip with no time and no name in its head, so the same lines make the same bytes."""
    packer, left = zlib.compressobj(1, zlib.DEFLATED, 31), members - 1
    for line in lines:
        write(packer.compress(line))
        if left:
            write(packer.flush())
            packer, left = zlib.compressobj(1, zlib.DEFLATED, 31), left - 1
    write(packer.flush())
