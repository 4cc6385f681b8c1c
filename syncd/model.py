"""The nouns. Frozen values and small protocols that every room speaks; this page imports no room but `types`.

All instants carry UTC, all sizes are bytes. A value that is pickled or printed never shows a signed URL.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Sequence, Set
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import IO, TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    import pyarrow as pa

    from syncd.types import Type

NEVER = datetime(9999, 12, 31, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Job:
    """The vendor's standing definition that makes runs."""

    source: str
    id: str
    name: str = ""
    scope: str = ""
    format: str = ""
    frequency: str = ""  # "hourly", "daily", "once" or the vendor's own word
    filters: str = ""  # JSON, as the vendor gave it
    fields: str = ""  # JSON, as the vendor gave it
    state: str = ""


@dataclass(frozen=True, slots=True)
class Run:
    """One finished export: one scope, one period `[start, end)`."""

    source: str
    id: str  # the vendor's, made unique within the source
    scope: str
    format: str  # "jsonl" or "csv"
    start: datetime
    end: datetime
    job: str
    completed_at: datetime
    expires_at: datetime = NEVER
    ref: str = ""  # what the source needs to find it again; opaque to everyone else
    fields: tuple[str, ...] = ()  # the column names that the job asks for, in order; () when not known
    backfill: bool = False  # an old period loaded on purpose: live runs go first

    @property
    def name(self) -> str:
        """What the operator types: `<source>/<run>`."""
        return f"{self.source}/{self.id}"

    @property
    def is_reading(self) -> bool:
        """Whether the source read it itself at one instant: the next one brings all that this would have brought."""
        return self.start == self.end == self.completed_at


@dataclass(frozen=True, slots=True)
class Stretch:
    """Periods of a job that runs have brought: some side by side and of one length, or the instants of a day."""

    source: str
    scope: str
    job: str
    is_shown: bool  # not superseded
    start: datetime
    end: datetime  # of instants the last one, as is `start`
    completed_at: datetime  # of the first run of the first period
    periods: int = 1


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """An export that a vendor makes only when asked: the run to come."""

    source: str
    id: str  # of the run to come: derived from what is asked for, so the same each time
    scope: str
    format: str  # "jsonl" or "csv"; "" when only the files will tell
    start: datetime
    end: datetime
    job: str
    ref: str = ""  # what the source needs to ask for it; opaque to everyone else
    attempt: int = 1  # one more than the vendor has failed; part of the name that the vendor gets
    asked_at: datetime = NEVER  # when this attempt was asked for; it is written down before

    @property
    def name(self) -> str:
        """What the operator types: `<source>/<run>`."""
        return f"{self.source}/{self.id}"

    def delivered(self, at: datetime, *, ref: str = "", format: str = "", expires_at: datetime = NEVER) -> Run:
        """The run that this became; `format` where only the files could tell."""
        told = format or self.format
        return Run(
            self.source, self.id, self.scope, told, self.start, self.end, self.job, at, expires_at, ref or self.ref
        )


@dataclass(frozen=True, slots=True)
class Failure:
    """A run that failed at the vendor. Which period it was for is not told."""

    run: str
    began_at: datetime
    ended_at: datetime


@dataclass(frozen=True, slots=True)
class Part:
    """One file of a run, known by the vendor's part id, never by position."""

    name: str
    url: str = field(repr=False)  # signed: as good as a secret
    size: int | None = None  # a hint for progress; vendors don't say of what
    expires_at: datetime = NEVER


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a scope or of a part."""

    name: str
    type: Type
    source_name: str  # the vendor's spelling
    origin: str = "learned"  # or "declared"
    description: str = ""


@dataclass(frozen=True, slots=True)
class Scope:
    """What is known of a table's types when a pass starts: the declared columns, then the learned ones."""

    name: str
    columns: tuple[Column, ...] = ()
    merge_keys: tuple[tuple[str, ...], ...] = ()  # best first; the first whose columns are all there is used
    event_time: tuple[str, ...] = ()  # columns that may give the event's date, best first
    snapshot: bool = False
    made_text: frozenset[str] = frozenset()  # columns declared as something else that a conflict has made text


@dataclass(frozen=True, slots=True)
class Rejected:
    """A line that is no record."""

    row: int  # 1-based record number in the part
    byte_offset: int  # in the decompressed part
    reason: str
    raw: bytes


@dataclass(frozen=True, slots=True)
class Batch:
    """What became of one block of a part. lines = rows.num_rows + len(rejected) + blank, always."""

    rows: pa.RecordBatch  # named by Column.name; the last column is `_syncd_row`, int64, 1-based in the part
    columns: tuple[Column, ...]  # one for each column of `rows` but `_syncd_row`, in the same order
    rejected: tuple[Rejected, ...] = ()
    lines: int = 0  # records and blank lines; a CSV header is none
    blank: int = 0
    nulls: tuple[Column, ...] = ()  # columns seen with nothing but null so far: no values, so not in `rows`


@dataclass(slots=True)
class Landed:
    """A part's bytes as they came, complete on our disk. Who reads them last writes down what they were."""

    path: str
    bytes: int
    sha256: str = ""  # not known before they are read


@dataclass(frozen=True, slots=True)
class File:
    """One Parquet file of a part."""

    path: str  # from data_dir
    date: str  # the partition, YYYY-MM-DD
    rows: int
    bytes: int
    columns: tuple[Column, ...]  # as stored, in file order, without lineage
    dated: bool = True  # each row's partition is its event's own date
    sha256: str = ""  # of the whole file, taken while it was written


@dataclass(frozen=True, slots=True)
class Staged:
    """One part, durable, not yet visible; with what it taught us of the types."""

    part: str
    files: tuple[File, ...] = ()
    rejects: str = ""  # path of the Parquet file with the rejected lines, from data_dir; "" when there are none
    bytes: int = 0  # as landed
    sha256: str = ""  # of the bytes as landed
    lines: int = 0
    rows: int = 0
    rejected: int = 0
    blank: int = 0
    columns: tuple[Column, ...] = ()  # every column that the part has, at the widest type it needs
    samples: tuple[Rejected, ...] = ()  # the first three rejected lines
    rejects_sha256: str = ""


@dataclass(frozen=True)
class Superseded:
    """A run of the same job and period took this one's place."""

    source: str
    run: str
    by: str
    shrunk: bool  # the newer has fewer rows: the vendor may have purged, so these files are never swept by themselves


@dataclass(frozen=True)
class Changed:
    """A column that is new, or that is shown otherwise than before."""

    source: str
    scope: str
    column: Column
    before: str  # the type until now; "" for a new column
    first_run: str


@dataclass(frozen=True)
class Packed:
    """Small files whose rows one large file has now."""

    source: str
    scope: str
    date: str
    files: int
    rows: int
    bytes_before: int
    bytes: int


@dataclass(frozen=True)
class Settled:
    """Days of a scope that were looked through for merge keys that come twice."""

    source: str
    scope: str
    days: int
    shared: int  # of these, the days with such keys


@dataclass
class Committed:
    """What a publication did besides adding rows: what the log tells."""

    runs: list[str] = field(default_factory=list)  # that became visible, or were superseded at once
    superseded: list[Superseded] = field(default_factory=list)
    columns: list[Changed] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)  # derived views not made: a scope has their name


class Body(Protocol):
    """The bytes of a part, from `start` on. Iterating raises TryAgain when the connection breaks."""

    start: int  # where these bytes begin: 0 when the far side ignored or refused our offset
    total: int | None  # length of the whole part, where the far side told it
    tag: str  # validator (a strong ETag, or Last-Modified) to resume with; "" when there is none

    def __iter__(self) -> Iterator[bytes]: ...


class Source(Protocol):
    """A vendor account we read. Any thread, any order, every call may be repeated. Pickles: connects on first use.

    Every method may raise TryAgain (the far side is in trouble) or ConfigError (it refuses us).
    """

    @property
    def name(self) -> str:
        """As the configuration has it; names the schema."""

    def scope(self, name: str) -> Scope:
        """The declared columns of a scope; a name that was never heard of has none. No request."""

    def jobs(self) -> Sequence[Job]:
        """Every job on offer, also suspended ones."""

    def runs(self, closed: Container[str], *, sweep: bool) -> Iterator[Run]:
        """Finished runs still on offer whose id isn't in `closed`; lazily, any order, none twice.

        `sweep`: walk all that the vendor lists; else only where its job list hints at news.
        """

    def parts(self, run: Run) -> Sequence[Part]:
        """The run's files with links that work now, by name. BadRun: the vendor has none any more, or `parts` alone."""

    def open(self, part: Part, start: int = 0, tag: str = "") -> AbstractContextManager[Body]:
        """The part's bytes as they travel, from `start` on if the part still carries `tag`. LinkExpired."""


@runtime_checkable
class TellsFailures(Protocol):
    """Optional: a source that knows of runs that failed at the vendor."""

    def failures(self, job: str) -> Sequence[Failure]:
        """The failed runs of a job that the vendor still lists; none for a job it has forgotten. One request.

        May be repeated; raises what the methods of Source raise.
        """


@runtime_checkable
class Resumes(Protocol):
    """Optional: a source whose walk over a long list can go on where an earlier one was cut."""

    def go_on_at(self, position: str, note: Callable[[str], None]) -> None:
        """The next call of `runs` goes on at this position ("" for none), if no run can be lost by that.

        `note` is told positions meanwhile: every run before one has been passed on. They are opaque to everyone else.
        """


@dataclass(frozen=True, slots=True)
class Finding:
    """What an account says about something that its vendor's pages leave open.

    To be shared with strangers: words of the vendor, counts, shapes and durations; no id, name, value or URL of a
    customer.
    """

    unknown: str  # in a few words, always the same
    answer: str  # what is so here; "" when this account doesn't settle it
    seen: str = ""  # what that rests on


@runtime_checkable
class SettlesUnknowns(Protocol):
    """Optional: a source that can find out what its vendor's pages leave open."""

    def probe(self, *, provoke: bool) -> Iterator[Finding]:
        """Every unknown there is, measured now. Only reads, and only a little of each file.

        `provoke`: also what the vendor says no to, such as too many requests at once. ConfigError: we are refused.
        """


@runtime_checkable
class TellsCalls(Protocol):
    """Optional: a source that makes its runs itself, call by call."""

    def calls(self, run: Run) -> int:
        """How many requests bringing this run home will take, at least. May be repeated; raises what Source raises."""


@runtime_checkable
class MustAsk(Protocol):
    """Optional: a source that exports only when asked. Any thread, every call may be repeated. TryAgain."""

    @property
    def name(self) -> str:
        """As the configuration has it."""

    @property
    def in_flight(self) -> int:
        """Exports that the vendor may work on at once."""

    @property
    def job_poll(self) -> timedelta:
        """The least pause between two looks at an export; it grows to five minutes."""

    def due(self, now: datetime) -> Iterable[ExportRequest]:
        """Every export that ought to have been asked for by `now`, first those to ask for first. No request is made."""

    def submit(self, request: ExportRequest) -> str:
        """The vendor's receipt, no secret. An export that was asked for under this name is adopted. BadRun: refused."""

    def poll(self, request: ExportRequest, ticket: str) -> Run | None:
        """The finished run, or None while the vendor works on it.

        StartOver: it failed at the vendor, ask again with the next attempt. HandOver: a person must bring its files.
        BadRun: asking again is useless.
        """


@runtime_checkable
class Cleans(Protocol):
    """Optional: a source that lands nothing just as it came, for its vendor's files may name people or hold secrets."""

    def cleaned(self, file: IO[bytes]) -> Iterator[bytes]:
        """A file that a person hands over, as the source itself lands one: JSON lines. No request is made.

        TryAgain: it is cut short; BadRun: it can't be read.
        """


@runtime_checkable
class Clears(Protocol):
    """Optional: a source whose files lie in a place that is ours to clear."""

    def clear(self, loaded: Container[str], before: datetime) -> None:
        """Remove the files of loaded runs that were delivered before then, if the configuration says so. Only ours."""


class Destination(Protocol):
    """Where tables live. Readers see whole runs or nothing. Pickles: opens on first use."""

    def scope(self, source: str, declared: Scope) -> Scope:
        """`declared`, with what loaded runs have taught us: widened types, learned columns, names given."""

    def stage(
        self, run: Run, scope: Scope, part: str, landed: Landed, batches: Iterable[Batch], generation: int
    ) -> Staged:
        """Make one part durable, out of sight. Any thread, any order. Repeating replaces within a generation.

        Holds one batch at a time; errors of `batches` pass through; a full disk is TryAgain. What `landed` says of the
        bytes is true when `batches` have ended.
        """

    def commit(self, ready: Sequence[tuple[Run, Sequence[Staged]]]) -> Committed:
        """Show whole runs in one step that outlives a power cut. Repeating changes nothing.

        One thread at a time. An empty sequence of parts is a run without rows. StartOver: a file is gone.
        """

    def generation(self, run: Run) -> int:
        """The generation that files of a run staged anew must carry, so that none which readers have is written."""

    def replace(self, run: Run, staged: Sequence[Staged]) -> Committed:
        """Show a loaded run with other files, in one step like `commit`; those it had are let go."""

    def shows(self, run: Run, staged: Sequence[Staged]) -> bool:
        """Whether the newest loaded run of the same scope and job was made of the very same bytes."""

    def loaded(self, source: str) -> Set[str]:
        """Ids of the runs that are shown, or superseded by one that is. Asking for one is cheap, walking isn't."""

    def stretches(self, source: str) -> Sequence[Stretch]:
        """The periods of every run that `loaded` knows of, few however long the history."""

    def record_jobs(self, source: str, jobs: Iterable[Job]) -> None:
        """Show what the jobs on offer are."""

    def sweep(self, source: str, now: datetime, keep: Iterable[Staged]) -> None:
        """Remove what no reader and no run needs; `keep` is staged, to be committed yet."""
