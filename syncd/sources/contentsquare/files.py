"""What a run's files settle of the unknowns: links, the store behind them, packing, and the forms of their lines."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx

from syncd.fetch.seen import counted, store_of, told, word
from syncd.fetch.shapes import MOST_LINES, Packed, Shapes, unpacked
from syncd.model import Finding
from syncd.sources.contentsquare.answers import FinishedRun, RunFile, instant, mappings
from syncd.sources.contentsquare.dictionary import declared
from syncd.sources.contentsquare.wire import Wire

MOST = 4 << 20  # bytes of a file that are read


def file_findings(
    wire: Wire, run: FinishedRun, detail: Mapping[str, Any], again: Mapping[str, Any], scope: str, form: str
) -> Iterator[Finding]:
    """`again`: the same run, read a second time."""
    files = [RunFile.read(row) for row in mappings(detail.get("files"))]
    count = "as many as nbOfFiles says" if len(files) == run.files else "another number than nbOfFiles says"
    yield Finding("files of a run", count)
    if not files:
        return
    later = {one.id: one.url for one in map(RunFile.read, mappings(again.get("files")))}
    yield Finding("a link read again", "is another" if later.get(files[0].id) != files[0].url else "is the same")
    yield from of_links(run, files[0])
    status, headers, body, ended = wire.file(files[0].url, MOST)
    if status != 200:
        yield Finding("a fresh link", f"answers HTTP {status}")
        return
    yield from of_store(wire, files[0], headers)
    packed = unpacked(body)
    yield from of_packing(files[0], headers, body, packed, ended=ended)
    yield from of_lines(packed.plain, scope, form, ended=ended)


def of_links(run: FinishedRun, file: RunFile) -> Iterator[Finding]:
    lives, signed = file.expires_at, signed_until(file.url)
    days = f"{(lives - run.completed_at).total_seconds() / 86400:.1f} days" if lives and run.completed_at else ""
    left = f"{(lives - datetime.now(UTC)).total_seconds() / 86400:.1f} days are left" if lives else ""
    yield Finding("expirationDate lies behind completionTime by", days, left)
    if signed is None:
        yield Finding("expirationDate tells the end of", "", "the link doesn't show its own end")
    elif lives:
        same = abs((signed - lives).total_seconds()) < 60
        yield Finding("expirationDate tells the end of", "the link" if same else "the file; the link ends otherwise")
    yield Finding("the link is signed with", ", ".join(sorted(map(word, parse_qs(urlsplit(file.url).query)))))


def of_store(wire: Wire, file: RunFile, headers: httpx.Headers) -> Iterator[Finding]:
    host = urlsplit(file.url).hostname or ""
    yield Finding(
        "the files' host",
        store_of(host, "contentsquare.com", "contentsquare.net"),
        f"server: {word(headers['server'].split('/')[0]) if 'server' in headers else 'not told'}",
    )
    tag = headers.get("etag", "")
    second = wire.file(file.url, 1)[1].get("etag", "")
    form = "weak" if tag.startswith("W/") else "strong" if tag else "none"
    yield Finding("ETag", f"{form}, another at each request" if second != tag else form)
    status, part, _, _ = wire.file(file.url, 1, Range="bytes=1-1")
    yield Finding(
        "a range of bytes", "given" if status == 206 and "content-range" in part else "ignored", f"HTTP {status}"
    )


def of_packing(file: RunFile, headers: httpx.Headers, body: bytes, packed: Packed, *, ended: bool) -> Iterator[Finding]:
    length = headers.get("content-length", "")
    yield Finding("Content-Length", "told" if length else "not told")
    members = f"{packed.members} members" if packed.members > 1 else "one member"
    behind = ", then something else" if packed.rubbish else ""
    form = f"gzip, {members}{behind}" if packed.is_gzip else "not packed"
    marked = f"Content-Encoding: {word(headers['content-encoding'])}" if "content-encoding" in headers else ""
    yield Finding(
        "compression", f"{form}; {marked}" if marked else form, "the whole file" if ended else "its beginning"
    )
    sizes = {"packed bytes": int(length or 0) or len(body) * ended, "plain bytes": len(packed.plain) * ended}
    fits = [unit for unit, size in sizes.items() if size and size == file.size]
    other = "" if not ended and sizes["packed bytes"] != file.size else "neither packed nor plain bytes"
    yield Finding("fileSize counts", "absent" if file.size is None else fits[0] if fits else other)


def of_lines(plain: bytes, scope: str, form: str, *, ended: bool) -> Iterator[Finding]:
    whole = plain if ended else plain[: plain.rfind(b"\n") + 1]
    if not whole:
        yield Finding("lines", "none")
        return
    try:
        whole.decode()
        yield Finding("encoding", "UTF-8" + (", with U+FFFD" if "\ufffd".encode() in whole else ""))
    except UnicodeDecodeError:
        yield Finding("encoding", "not UTF-8 throughout")
    if ended:
        yield Finding("the last line", "ends with a newline" if whole.endswith(b"\n") else "has no newline")
    lines = whole.split(b"\n")[:MOST_LINES]
    lines = lines[:-1] if not lines[-1] else lines
    yield from of_csv(lines, scope) if form == "csv" else of_json(lines, whole, scope)


def of_json(lines: list[bytes], plain: bytes, scope: str) -> Iterator[Finding]:
    shapes = Shapes({column.name: column for column in declared(scope).columns}).take(lines)
    yield Finding(
        "lines",
        "objects" if not shapes.broken else "objects, and lines that are none",
        f"{len(lines):,} looked at, {shapes.broken} broken",
    )
    yield Finding("blank lines", "some" if shapes.blank else "none", str(shapes.blank))
    yield Finding("64-bit integers", told(shapes.integers), counted(shapes.integers))
    yield Finding("grouped columns", told(shapes.groups))
    yield Finding("missing values", told(shapes.missing), counted(shapes.missing))
    yield Finding("flags", told(shapes.flags), counted(shapes.flags))
    yield Finding("times", told(shapes.times), counted(shapes.times))
    slashes = "escaped" if b"\\/" in plain else "as they are" if b"/" in plain else ""
    yield Finding("slashes", slashes)
    misfits = "; ".join(f"{name}: {', '.join(forms)}" for name, forms in sorted(shapes.misfits().items()))
    yield Finding("declared columns in another form", misfits or "none", f"{len(shapes.kinds)} declared columns seen")
    yield Finding("columns that nobody declared", str(len(shapes.undeclared)))


def of_csv(lines: list[bytes], scope: str) -> Iterator[Finding]:
    first = [name.strip('"\r') for name in lines[0].decode("utf-8", "replace").split(",")]
    known = sum(name in {column.name for column in declared(scope).columns} for name in first)
    yield Finding("header", "yes" if known else "no", f"{known} of {len(first)} names are known")
    rest = b"\n".join(lines[1:])
    yield Finding("lines end with", "CR LF" if b"\r\n" in rest else "LF")
    bare = len(re.findall(rb"(?m)(?:^|,)\\N(?=,|$)", rest))
    yield Finding("NULL in CSV", "\\N" if bare else "", f"{bare:,} bare \\N")
    arrays = "single-quoted items" if re.search(rb"\"\['", rest) else "double-quoted items" if b'"["' in rest else ""
    yield Finding("arrays in CSV", arrays, "brackets seen" if b'"[' in rest else "no brackets seen")


def signed_until(url: str) -> datetime | None:
    """When the link itself ends, where its signature shows that: S3, CloudFront and Google, Azure, plain numbers."""
    query = {name.lower(): values[0] for name, values in parse_qs(urlsplit(url).query).items()}
    if (life := query.get("x-amz-expires", "")).isdecimal() and "x-amz-date" in query:
        made = datetime.strptime(query["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        return datetime.fromtimestamp(made.timestamp() + int(life), UTC)
    text = query.get("expires") or query.get("se") or ""
    try:
        return datetime.fromtimestamp(float(text), UTC)
    except ValueError:
        return instant(text)
