"""Coverage-guided fuzzing of `syncd.parse` and `syncd.types`: `just fuzz MINUTES`.

The first bytes of an input decide how its content is read (format, gzip, scope, block size, cuts, earlier part), the
rest is the content. Each input is read and its lines are counted; one in so many is judged by the oracles of the
tests, and in the end so is each that `bench/fuzz_parse.py FILE…` is given: the corpus, or findings. Each new kind of
trouble is kept once, as small as it was seen, and the fuzzing goes on.

Seven of eight inputs leave out pyarrow's way, which costs as much as all others, and none tries it often. With clang
the reader in C guides the fuzzer too: UBSan watches it while fuzzing, AddressSanitizer as well when files are judged.
"""

# ruff: noqa: E402 - what is to be instrumented is imported first
from __future__ import annotations

import gzip
import hashlib
import os
import re
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from concurrent.futures import Future
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import atheris

sys.modules.setdefault("dateutil", None)  # type: ignore[arg-type]  # pyarrow would look for it each time

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

with atheris.instrument_imports(include=["syncd.parse", "syncd.types"]):
    import syncd.parse as room
    from syncd.parse import compiled, csv, header, quick, width
    from syncd.parse.blocks import BOM, GZIP, whole
    from syncd.parse.forms import TooSlow

import duckdb

from syncd.destinations.lake.learn import learned
from syncd.destinations.lake.stage import write_part
from syncd.destinations.lake.views import LiveFile, files_sql
from syncd.errors import BadRun, StartOver
from syncd.model import Column, Landed, Run, Scope
from syncd.sandbox.contentsquare.account import Account
from syncd.sandbox.contentsquare.trouble import Offer, Trouble
from syncd.sources.contentsquare.dictionary import declared as vendors
from syncd.types import Type
from tests import parse_oracle as oracle

HEAD = 6  # bytes before the content
LONGEST = 1500  # bytes of an input: more are read no other way, only slower
JUDGED, STAGED = 16, 128  # one in so many inputs; each costs many times what all else does
KINDS = [
    "uint64", "int64", "int32", "uint8", "double", "bool", "date", "timestamp", "string",
    "list<uint64>", "list<string>", "list<timestamp>", "list<double>", "list<list<int64>>", "list<uint8>",
]  # fmt: skip
DAY = datetime(2026, 1, 5, tzinfo=UTC)
LOADED_AT = DAY.replace(tzinfo=None)
RUN = Run("f", "1-1", "t", "jsonl", DAY, DAY, "1", DAY)
TOKENS = [
    "{", "}", "[", "]", ":", ",", '"', "\\", "\n", "\r\n", " ", '{"v":', '{"w":', '{"g":{"a":', '{"g.a":', '"v":',
    '"w":', "null", "true",
    "false", "NaN", "Infinity", "-Infinity", "-0", "-0.0", "0.5", "1.50", "1e400", "1e-400", "1E5",
    "5e-324", "9007199254740993", "9223372036854775808", "18446744073709551615", "18446744073709551616", "-1", "007",
    "0x1f", "{}", "[]", "[[]]", '""', '"\\ud800"', '"\\ud83d\\ude00"', '"\\u0000"', "\0", "\xff", "\ufeff", "\u2028",
    "\\N", "''", "NULL", "['a','b']", "['it\\'s']", "\\x41", "2026-01-05", "2026-01-05 10:11:12", "0000-00-00",
    "+02:00", "2026-01-05T10:11:12.5Z", "10:11:12.1234567", ";", "\t", "|", "v,w", "0.12345678901234567891",
    "12345678901234567890123456789012345678901234",
]  # fmt: skip


class Disagreement(Exception):
    """The parser disagreed; the message says in which check."""


class Input:
    """What the bytes of an input decide."""

    def __init__(self, data: bytes) -> None:
        self.flags, scope, block, self.piece, repeat, before = data[:HEAD].ljust(HEAD, b"\0")
        content = data[HEAD:]
        self.format = "csv" if self.flags & 1 else "jsonl"
        lines = content.split(b"\n")
        first = lines[1:2] if self.format == "csv" else lines[:1]
        content = b"\n".join([*lines[:1], *first * (repeat & 63), *lines[1:] * (1 + (repeat >> 6))])
        lines = content.split(b"\n")
        self.block = max(1 << (5 + block % 8), len(content) // 8) if block & 8 else 1 << 22
        at = len(lines) * (before & 127) // 128
        top = lines[:1] if self.format == "csv" else []
        self.parts = [content] if not at else [b"\n".join(lines[:at]), b"\n".join([*top, *lines[at:]])]
        self.scope = Scope("t")
        if scope == 1:
            self.scope = vendors("sessions")
        elif scope:
            v, w = Type.parse(KINDS[scope % len(KINDS)]), Type.parse(KINDS[scope // len(KINDS) % len(KINDS)])
            names = {"v": v, "w": w, "g.a": w, "g.b": v}
            self.scope = Scope("t", tuple(Column(name, t, name, "declared") for name, t in names.items()))

    def landed(self, text: bytes) -> bytes:
        if not self.flags & 2:
            return text
        half = len(text) // 2
        return gzip.compress(text[:half], 1) + gzip.compress(text[half:], 1)


def test_one(data: bytes, *, judged: bool = True, in_lake: bool = True) -> None:
    if len(data) <= HEAD:
        return
    given = Input(data)
    quick.read = quickly if given.flags & 56 == 0 else not_quickly  # type: ignore[assignment]
    width.CELLS, width.FEWEST = (64, 4) if given.flags & 64 else WIDTH
    room.whole = csv.whole = lambda chunks, last_end: whole(chunks, last_end, given.block)
    scope, told, staged = given.scope, [], []
    for number, text in enumerate(given.parts):
        landed = given.landed(text)
        if text.startswith(GZIP):
            return  # the parser unpacks what was packed twice
        try:
            batches = read([landed], scope, given)
        except BadRun:
            assert given.format == "csv", "only names of columns can be too broken"
            return
        count(text, batches, given)
        if judged:
            again = read(oracle.cut(landed, [1 + given.piece, 3]), scope, given) if landed else batches
            if [known(batch) for batch in batches] != [known(batch) for batch in again]:
                raise Disagreement("another cut gives other batches")
            told.append(tell(text, scope, given))
            found = oracle.got(batches)
            judge(told[-1], found, scope, given, own=len(batches) == 1 and number == 0)
            staged.append((told[-1], batches, scope))
        seen = [column for batch in batches for column in (*batch.columns, *batch.nulls)]
        scope = Scope("t", tuple(learned(scope.columns, (), seen)))
    if not judged:
        return
    types = {column.source_name: column.type for column in scope.columns}
    oracle.check_types(told, types, given.scope, texts=given.format == "csv")
    if given.flags & 4 and in_lake:
        lake(staged, scope, given)


def count(text: bytes, batches: list[Any], given: Input) -> None:
    """The law, and what can be told of any part without reading it."""
    for batch in batches:
        if batch.lines != batch.rows.num_rows + len(batch.rejected) + batch.blank:
            raise Disagreement("the law")
        batch.rows.validate(full=True)
    lines = text.count(b"\n") + (not text.endswith(b"\n")) if text.removeprefix(BOM) else 0
    if given.format == "jsonl" and sum(batch.lines for batch in batches) != lines:
        raise Disagreement("lines are missing")
    for line in (line for batch in batches for line in batch.rejected):
        if text[line.byte_offset : line.byte_offset + len(line.raw)] != line.raw:
            raise Disagreement("a rejected line is not what was sent")


def known(batch: Any) -> tuple[Any, ...]:
    return batch.rows, batch.columns, batch.rejected, batch.blank, batch.nulls


def not_quickly(*_: Any) -> Any:
    raise TooSlow


def read(chunks: Any, scope: Scope, given: Input) -> list[Any]:
    return list(room.parse(chunks, scope, given.format, threads=1))


def tell(text: bytes, scope: Scope, given: Input) -> oracle.Told:
    """What the oracle says of a part."""
    mark = len(BOM) if text.startswith(BOM) else 0
    if given.format == "csv":
        _, dialect = header.sniffed(iter([text[mark:]]), (), [column.source_name for column in scope.columns], None)
        told = oracle.delimited(text[mark:], dialect.delimiter, dialect.names, dialect.headers)
    else:
        told = oracle.jsonl(text[mark:])
        for number, row in list(told.rows.items()):
            lifted = oracle.lifted(row, scope)
            if lifted is None:
                del told.rows[number]
                told.rejected[number] = told.places[number]
            else:
                told.rows[number] = lifted
    told.rejected = {number: (offset + mark, raw) for number, (offset, raw) in told.rejected.items()}
    return told


def judge(told: oracle.Told, found: oracle.Got, scope: Scope, given: Input, *, own: bool) -> None:
    if found.rejected != told.rejected:
        raise Disagreement(f"rejected: {found.rejected} for {told.rejected}")
    if found.rows.keys() != told.rows.keys() or found.blank != told.blank:
        raise Disagreement(f"rows: {[*found.rows]}, {found.blank} for {[*told.rows]}, {told.blank}")
    oracle.check_rows(told, found.rows, scope, texts=given.format == "csv", own=own)


def lake(staged: list[tuple[oracle.Told, list[Any], Scope]], scope: Scope, given: Input) -> None:
    """Stage the parts and read them as the view does."""
    root = Path(tempfile.mkdtemp(dir=SHM))
    try:
        parts = [
            write_part(root, RUN, scope, f"p{number}", Landed("l", 1, ""), batches, 1)
            for number, (_, batches, _) in enumerate(staged)
        ]
        columns = learned(scope.columns, (), [column for part in parts for column in part.columns])
        names = {column.name: column.source_name for column in columns}
        for part, (told, _, before) in zip(parts, staged, strict=True):
            rows: dict[int, dict[str, Any]] = {}
            for file in part.files:
                query = files_sql(columns, file.columns, [LiveFile(file.path, RUN.id, LOADED_AT)], str(root))
                cursor = DUCK.execute(query)
                heads = [head[0] for head in cursor.description]
                for values in cursor.fetchall():
                    row = dict(zip(heads, values, strict=True))
                    rows[row["_syncd_row"]] = {names[name]: row[name] for name in names}
            oracle.check_rows(told, rows, before, texts=given.format == "csv")
    finally:
        shutil.rmtree(root)


quickly = quick.read
WIDTH = width.CELLS, width.FEWEST
DUCK = duckdb.connect(config={"threads": 1})
SHM = "/dev/shm" if Path("/dev/shm").is_dir() else None


class Inline:
    """In place of a pool: threads that come and go take longer than what they read."""

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def __enter__(self) -> Inline:
        return self

    def __exit__(self, *_: Any) -> None: ...

    def submit(self, action: Callable[..., Any], *given: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(action(*given))
        except Exception as error:
            future.set_exception(error)
        return future


class Findings:
    """One folder; each kind of trouble once, its smallest input beside its traceback."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.sizes = {path.stem: path.stat().st_size for path in folder.glob("*.bin")}
        self.runs, self.began = 0, time.monotonic()

    def __call__(self, data: bytes) -> None:
        self.runs += 1
        if self.runs % 500 == 0:
            (self.folder / f"runs-{self.began:.0f}").write_text(
                f"{self.runs} inputs, {time.monotonic() - self.began:.0f} s, {time.process_time():.0f} s of processor\n"
            )
        try:
            test_one(data, judged=self.runs % JUDGED == 0, in_lake=self.runs % STAGED == 0)
        except StartOver:
            pass  # content that looks like damaged gzip
        except Exception as error:
            self.keep(data, error)

    def keep(self, data: bytes, error: Exception) -> None:
        frames = [f"{Path(f.filename).name}:{f.name}:{f.lineno}" for f in traceback.extract_tb(error.__traceback__)]
        kind = re.sub(r"\d+", "0", str(error))[:24] if isinstance(error, Disagreement) else ""
        mark = hashlib.sha256(f"{type(error)} {frames[-3:]} {kind}".encode()).hexdigest()[:10]
        if len(data) < self.sizes.get(mark, 1 << 30):
            self.sizes[mark] = len(data)
            (self.folder / f"{mark}.bin").write_bytes(data)
            (self.folder / f"{mark}.txt").write_text(f"{data!r}\n\n{''.join(traceback.format_exception(error))}")


def seeds(folder: Path) -> None:
    """The nasty files under several headings, the dictionary, and lines as the vendor writes them."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted((ROOT / "tests" / "data" / "nasty").glob("*.*")):
        if path.suffix in (".jsonl", ".csv"):
            for number, heading in enumerate(
                (b"\0\0\0\0\0\0", b"\x06\x02\x09\x05\x03\x40", b"\x04\x55\x0c\x01\x40\x20")
            ):
                flags = heading[0] | (path.suffix == ".csv")
                (folder / f"{path.name}-{number}").write_bytes(
                    bytes([flags]) + heading[1:] + path.read_bytes()[:LONGEST]
                )
    trouble = Trouble(broken_lines=1, unknown_fields=2)
    for job in Account(Offer(rows=3, parts=1, days=1, jobs=4), trouble, DAY).jobs:
        for part in (part for run in job.runs for part in run.parts):
            heading = bytes([4 | (part.form == "csv"), 1, 0, 99, 0, 0x40])
            (folder / f"{part.scope}.{part.form}").write_bytes(heading + b"".join(part.lines())[:LONGEST])
    for number, kind in enumerate(KINDS):
        for token in ("1", '"2026-01-05 10:11:12"', "[1,null]", '["a"]', "0.25"):
            line = f'{{"v":{token},"w":[{token}]}}\n'.encode() * 3
            (folder / f"kind-{kind}-{len(token)}").write_bytes(bytes([4, number, 0, 7, 0, 0]) + line)
            line = b"v,w\n" + f"\"{token.replace(chr(34), chr(39))}\",['x']\n".encode() * 3
            (folder / f"csv-{kind}-{len(token)}").write_bytes(bytes([5, number, 0, 7, 0, 0]) + line)


def watch_library(flags: str, runtime: str) -> None:
    """Use the reader in C as clang makes it with these sanitizers, where there is clang; begins anew with their
    runtime loaded."""
    clang = shutil.which("clang")
    if not clang:
        return
    if "LD_PRELOAD" not in os.environ:  # before Python: a sanitizer replaces malloc
        preload = Path(atheris.path(), runtime)
        told = {"LD_PRELOAD": str(preload), "ASAN_OPTIONS": "detect_leaks=0:malloc_context_size=0"}
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **told})
    del os.environ["LD_PRELOAD"]  # for us alone, not for the compiler
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "cc").symlink_to(clang)
        os.environ["PATH"] = f"{folder}{os.pathsep}{os.environ['PATH']}"
        compiled.build(Path(folder, "swift.so"), f"-fsanitize={flags}", "-g", "-O1")
        found, why = compiled.opened(Path(folder, "swift.so"))
    assert found is not None, why
    compiled.library = lambda: (found, "")  # type: ignore[assignment]


def main() -> None:
    quick.MAX_FAILURES = 5
    room.ThreadPoolExecutor = Inline  # type: ignore[assignment,misc]
    if len(sys.argv) > 1 and Path(sys.argv[1]).is_file():
        watch_library("address,undefined,fuzzer-no-link", "asan_with_fuzzer.so")
        for name in sys.argv[1:]:
            try:
                test_one(Path(name).read_bytes())
            except StartOver:
                pass
            except Exception:
                sys.exit(f"{name}\n{traceback.format_exc()}")
        return
    home = Path(sys.argv[1] if len(sys.argv) > 1 else "build/fuzz")
    watch_library("undefined,fuzzer-no-link", "ubsan_with_fuzzer.so")
    seeds(home / "corpus")
    escaped = (
        "".join(f"\\x{byte:02x}" for byte in token.encode("latin-1" if token == "\xff" else "utf-8"))
        for token in TOKENS
    )
    (home / "tokens").write_text("".join(f'"{token}"\n' for token in escaped))
    seconds = sys.argv[2] if len(sys.argv) > 2 else "600"
    settings = [
        f"-max_total_time={seconds}",
        f"-max_len={LONGEST}",
        "-timeout=60",
        "-rss_limit_mb=3000",
        "-len_control=20",
    ]
    paths = [f"-dict={home / 'tokens'}", f"-artifact_prefix={home}/", str(home / "corpus")]
    atheris.Setup([sys.argv[0], *settings, *paths], Findings(home / "findings"))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
