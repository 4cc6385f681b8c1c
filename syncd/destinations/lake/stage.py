"""One part as durable Parquet that nobody sees yet.

A file has one layout: batches that fit no layout so far open a further one, so nothing is written twice. All is written
under temporary names; the renames come last, and repeating them replaces.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, date
from hashlib import sha256
from io import BufferedWriter, FileIO
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from syncd.destinations.lake import disk
from syncd.destinations.lake.encodings import encodings
from syncd.destinations.lake.layout import Layout, reserved, spelled
from syncd.destinations.lake.paths import part_path, rejects_path, temporary
from syncd.errors import StartOver
from syncd.model import Batch, Column, File, Landed, Rejected, Run, Scope, Staged
from syncd.types import arrow, join

FOOTER = b"syncd"  # the key of what a file says about itself: the catalogue can be rebuilt from the lake alone
TALLIES = b"syncd_part"  # the same for its part so far; `is_whole` in those shut when the part has ended
ROW_GROUP_ROWS = 61_440  # 30 of the vectors that DuckDB skips and reads by; a thread reads one group at a time
ROW_GROUP_BYTES = 32 << 20
HELD_BYTES = 64 << 20  # of rows that wait for their row group, all files of a part together
OPEN_FILES = 128  # of one part; the one that waited longest is closed before another opens
SAMPLES = 3
DATED = ("date", "timestamp", "string")  # kinds of columns that may tell a day
UTC_TEXT = r"^\d{4}-\d\d-\d\d([ T]\d\d:\d\d(:\d\d(\.\d+)?)?Z?)?$"
REPEATED = ("_syncd_run", "_syncd_job", "_syncd_part", "_syncd_completed_at")  # the same in each row of a file
FORMAT: dict[str, Any] = dict(compression="zstd", compression_level=1, version="2.6", store_schema=False)
FORMAT["write_page_checksum"] = True  # a flipped bit is found also when the catalogue is lost
REJECTED = pa.schema(
    dict.fromkeys(("source", "scope", "run", "part"), pa.string())
    | {"row": pa.int64(), "byte_offset": pa.int64(), "reason": pa.string(), "raw": pa.binary()}
)


def event_dates(batch: Batch, scope: Scope, run: Run) -> tuple[pa.Array, pa.Array]:
    """For each row the partition, and whether it is the event's own date.

    Mobile clocks are wild: a date outside [period start - 2 days, period end + 1 day] is none, and where there is none
    the row goes to the first day of the period.
    """
    first, rows = run.start.date(), batch.rows
    dates = pa.nulls(rows.num_rows, pa.date32())
    at = {column.name: index for index, column in enumerate(batch.columns) if column.type.kind in DATED}
    for name in scope.event_time:
        if name in at:
            dates = pc.coalesce(dates, _days(rows.column(at[name])))
    early, late = pa.scalar(_shifted(first, -2)), pa.scalar(_shifted(run.end.date(), 1))
    own = pc.fill_null(pc.and_(pc.greater_equal(dates, early), pc.less_equal(dates, late)), False)
    return pc.if_else(own, dates, pa.scalar(first)), own


def _days(values: pa.Array) -> pa.Array:
    """The day of each value; of text too, which one odd value makes of a column for good, where it is plainly UTC."""
    if values.type == pa.string():
        said = pc.utf8_slice_codeunits(values, 0, 10)
        read = pc.strptime(said, format="%Y-%m-%d", unit="s", error_is_null=True)  # takes 30 February for 2 March
        is_day = pc.and_(pc.match_substring_regex(values, UTC_TEXT), pc.equal(pc.strftime(read, "%Y-%m-%d"), said))
        values = pc.if_else(is_day, read, pa.scalar(None, read.type))
    return values.cast(pa.date32())


def _shifted(day: date, days: int) -> date:
    return date.fromordinal(min(max(day.toordinal() + days, 1), date.max.toordinal()))


@dataclass
class _Held:
    """Rows of one layout and date that wait for their row group."""

    rows: list[pa.RecordBatch] = field(default_factory=list)
    bytes: int = 0
    count: int = 0
    dated: bool = True

    def add(self, rows: pa.RecordBatch, dated: bool) -> None:
        self.rows.append(rows)
        self.bytes += rows.nbytes
        self.count += rows.num_rows
        self.dated = self.dated and dated

    @property
    def is_full(self) -> bool:
        return self.count >= ROW_GROUP_ROWS or self.bytes >= ROW_GROUP_BYTES


@dataclass
class _Target:
    """What a file is to be, and is already under its temporary name."""

    path: str
    date: str
    layout: Layout
    temporary: Path
    rows: int = 0
    dated: bool = True
    sha256: str = ""


class _Digesting(BufferedWriter):
    """A new file that knows the sha256 of what went through it."""

    def __init__(self, path: Path) -> None:
        super().__init__(FileIO(path, "w"), 1 << 17)
        self.digest = sha256()

    def write(self, data: Any) -> int:
        self.digest.update(data)
        return super().write(data)


@dataclass(frozen=True)
class _Open:
    """A file that is being written. An idle one costs its buffers and a descriptor."""

    target: _Target
    stream: _Digesting
    writer: pq.ParquetWriter


class Staging:
    """One part on its way into files. Call `add` for each batch, then `finish`; leave with `drop` in any case."""

    def __init__(self, root: Path, run: Run, scope: Scope, part: str, landed: Landed, generation: int) -> None:
        self._root, self._run, self._scope, self._part = root, run, scope, part
        self._landed, self._generation = landed, generation
        self._layouts: list[Layout] = []
        self._held: dict[tuple[int, str], _Held] = {}  # by layout and date
        self._open: dict[tuple[int, str], _Open] = {}  # the one written last stands last
        self._held_bytes = 0
        self._numbers: dict[str, int] = {}
        self._closed: list[_Target] = []
        self._rejects: _Open | None = None
        self._writer_thread = ThreadPoolExecutor(1, thread_name_prefix="write")  # the next row group fills meanwhile
        self._writing: Future[None] | None = None
        self._samples: list[Rejected] = []
        self._columns: dict[str, Column] = {}
        self._tally = dict(lines=0, rows=0, rejected=0, blank=0)
        self._is_whole = False  # every file of the part is known
        self._reserved = reserved(root)

    def add(self, batch: Batch) -> None:
        """Take one batch; it is written when its row group is full."""
        for key, more in dict(
            lines=batch.lines, rows=batch.rows.num_rows, rejected=len(batch.rejected), blank=batch.blank
        ).items():
            self._tally[key] += more
        for column in (*batch.columns, *batch.nulls):
            known = self._columns.get(column.source_name, column)
            self._columns[column.source_name] = Column(
                known.name, join(known.type, column.type), known.source_name, known.origin, known.description
            )
        if batch.rows.num_rows:
            self._add_rows(batch)
        if batch.rejected:
            self._reject(batch.rejected)

    def finish(self) -> Staged:
        """Make it all durable. StartOver when what was written isn't what was handed in."""
        tally = self._tally
        if tally["lines"] != tally["rows"] + tally["rejected"] + tally["blank"]:
            raise StartOver(f"{self._run.name}, part {self._part}: the lines don't add up: {tally}")
        for key in list(self._held):
            self._flush(key)
        self._is_whole = True
        while self._open:
            self._shut_oldest()
        files = sorted(self._closed, key=lambda target: target.path)
        written = sum(_footer_rows(target.temporary) for target in files)
        if written != tally["rows"]:
            raise StartOver(f"{self._run.name}, part {self._part}: {tally['rows']} rows, but {written} were written")
        if self._rejects:
            self._shut(self._rejects)
            rejects = self._closed.pop()
        placed = tuple(self._placed(target) for target in files)
        refused = self._placed(rejects) if self._rejects else File("", "", 0, 0, ())
        for folder in {(self._root / path).parent for path in [*(file.path for file in placed), refused.path] if path}:
            disk.sync(folder)
        return Staged(
            self._part,
            placed,
            refused.path,
            self._landed.bytes,
            self._landed.sha256,
            **tally,
            columns=tuple(self._columns.values()),
            samples=tuple(self._samples),
            rejects_sha256=refused.sha256,
        )

    def drop(self) -> None:
        """Leave no file open and none under a temporary name."""
        self._writer_thread.shutdown()
        for file in [*self._open.values(), *filter(None, [self._rejects])]:
            file.writer.is_open = False  # no footer is wanted: the file goes
            with suppress(OSError):  # a full disk may refuse what the stream still holds
                file.stream.close()
            self._closed.append(file.target)
        for target in self._closed:
            with suppress(OSError):  # what a sick disk keeps, the next start removes
                target.temporary.unlink()

    def _add_rows(self, batch: Batch) -> None:
        layout = self._layout(batch.columns)
        rows = self._layouts[layout].rows(batch)
        dates, own = event_dates(batch, self._scope, self._run)
        by_day = pc.value_counts(dates)
        if len(by_day) == 1:
            self._hold(layout, dates[0].as_py(), rows, pc.all(own).as_py())
            return
        order = pc.sort_indices(dates)  # stable: rows of a day keep their order
        at = 0
        for count in sorted(by_day.to_pylist(), key=lambda count: count["values"]):
            here = order.slice(at, count["counts"])  # taken, not sliced: a slice would keep the whole batch in memory
            self._hold(layout, count["values"], rows.take(here), pc.all(own.take(here)).as_py())
            at += count["counts"]

    def _layout(self, columns: Sequence[Column]) -> int:
        for at in reversed(range(len(self._layouts))):
            if self._layouts[at].fits(columns):
                return at
        latest = self._layouts[-1] if self._layouts else Layout()
        self._layouts.append(latest.grown(columns, self._reserved))
        return len(self._layouts) - 1

    def _hold(self, layout: int, day: date, rows: pa.RecordBatch, dated: bool) -> None:
        key = (layout, day.isoformat())
        held = self._held.setdefault(key, _Held())
        held.add(rows, dated)
        self._held_bytes += rows.nbytes
        if held.is_full:
            self._flush(key)
        while self._held_bytes > HELD_BYTES:
            self._flush(max(self._held, key=lambda one: self._held[one].bytes))

    def _opened(self, number: int, day: str, rows: pa.Table) -> _Open:
        while len(self._open) >= OPEN_FILES:
            self._shut_oldest()
        self._numbers[day] = self._numbers.get(day, 0) + 1
        path = part_path(self._run, self._part, day, self._generation, self._numbers[day])
        layout = self._layouts[number]
        fields = [(column.name, arrow(column.type)) for column in layout.columns]
        text = pa.dictionary(pa.int32(), pa.string())
        fields += [(name, text) for name in ("_syncd_run", "_syncd_job", "_syncd_part")]
        fields += [("_syncd_row", pa.int64()), ("_syncd_completed_at", pa.timestamp("us"))]
        return self._writer(path, day, layout, pa.schema(fields), **encodings(rows, REPEATED))

    def _writer(self, path: str, day: str, layout: Layout, schema: pa.Schema, **written: Any) -> _Open:
        hidden = self._root / temporary(path)
        disk.make_folder(hidden.parent)
        stream = _Digesting(hidden)
        writer = pq.ParquetWriter(stream, schema, **FORMAT, **written)
        said = _footer(self._run, self._scope, self._part, self._generation, layout)
        writer.add_key_value_metadata({FOOTER: said})
        return _Open(_Target(path, day, layout, hidden), stream, writer)

    def _flush(self, key: tuple[int, str]) -> None:
        held = self._held.pop(key)
        self._held_bytes -= held.bytes
        rows, count = pa.Table.from_batches(held.rows), held.count
        self._open[key] = file = self._open.pop(key, None) or self._opened(*key, rows)
        file.target.rows += count
        file.target.dated = file.target.dated and held.dated
        columns = {name: rows.column(name) for name in rows.column_names}
        for name, text in [
            ("_syncd_run", self._run.id),
            ("_syncd_job", self._run.job),
            ("_syncd_part", self._part),
        ]:
            codes = pa.repeat(pa.scalar(0, pa.int32()), count)
            columns[name] = pa.chunked_array([pa.DictionaryArray.from_arrays(codes, pa.array([text]))])
        instant = pa.scalar(self._run.completed_at.astimezone(UTC).replace(tzinfo=None), pa.timestamp("us"))
        columns["_syncd_completed_at"] = pa.chunked_array([pa.repeat(instant, count)])
        arranged = pa.Table.from_arrays([columns[name] for name in file.writer.schema.names], schema=file.writer.schema)
        self._await_writing()  # one row group at a time: two would double the memory
        self._writing = self._writer_thread.submit(file.writer.write_table, arranged, row_group_size=count)

    def _await_writing(self) -> None:
        """Have all that was handed out written; raises what it met."""
        if self._writing:
            writing, self._writing = self._writing, None
            writing.result()

    def _shut_oldest(self) -> None:
        self._await_writing()
        oldest = next(iter(self._open))
        self._shut(self._open[oldest])
        del self._open[oldest]  # not before: what fails to close must still be dropped

    def _shut(self, file: _Open) -> None:
        whole = {**self._tally, "bytes": self._landed.bytes, "sha256": self._landed.sha256}
        whole["columns"] = [spelled(column) for column in self._columns.values()]
        whole |= {"files": sum(self._numbers.values()), "is_whole": self._is_whole, "dated": file.target.dated}
        file.writer.add_key_value_metadata({TALLIES: orjson.dumps(whole)})
        file.writer.close()
        file.stream.flush()
        disk.sync(file.target.temporary)
        file.stream.close()
        file.target.sha256 = file.stream.digest.hexdigest()
        self._closed.append(file.target)

    def _placed(self, target: _Target) -> File:
        size = target.temporary.stat().st_size
        target.temporary.replace(self._root / target.path)
        columns, digest = target.layout.columns, target.sha256
        return File(target.path, target.date, target.rows, size, columns, target.dated, digest)

    def _reject(self, rejected: Sequence[Rejected]) -> None:
        if self._rejects is None:
            path = rejects_path(self._run, self._part, self._generation)
            self._rejects = self._writer(path, "", Layout(), REJECTED)
        self._samples += rejected[: SAMPLES - len(self._samples)]
        run = self._run
        columns = [[value] * len(rejected) for value in (run.source, run.scope, run.id, self._part)]
        columns += [[getattr(one, name) for one in rejected] for name in ("row", "byte_offset", "reason", "raw")]
        arrays = [pa.array(values, kind.type) for values, kind in zip(columns, REJECTED, strict=True)]
        self._rejects.writer.write_table(pa.Table.from_arrays(arrays, schema=self._rejects.writer.schema))
        self._rejects.target.rows += len(rejected)


def write_part(
    root: Path, run: Run, scope: Scope, part: str, landed: Landed, batches: Iterable[Batch], generation: int
) -> Staged:
    """Write the part; errors of `batches` pass through, those of the disk are TryAgain, and neither leaves a file."""
    staging = Staging(root, run, scope, part, landed, generation)
    try:
        for batch in batches:
            with disk.trouble(f"{run.name}, part {part}"):
                staging.add(batch)
        with disk.trouble(f"{run.name}, part {part}"):
            return staging.finish()
    finally:
        staging.drop()


def _footer_rows(path: Path) -> int:
    return int(pq.read_metadata(path).num_rows)


def _footer(run: Run, scope: Scope, part: str, generation: int, layout: Layout) -> bytes:
    whole = asdict(run)
    whole.pop("ref")  # opaque, and maybe as good as a secret
    return orjson.dumps(
        {
            "run": whole,
            "part": part,
            "generation": generation,
            "layout": [spelled(column) for column in layout.columns],
            "scope": {
                "merge_keys": scope.merge_keys,
                "event_time": scope.event_time,
                "snapshot": scope.snapshot,
                "columns": [spelled(column) for column in scope.columns if column.origin == "declared"],
            },
        }
    )
