"""From the vendor's words to ours: a row of the list is a Run, a run's files are its Parts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, unquote, urlsplit

from syncd.errors import BadRun, TryAgain
from syncd.model import NEVER, Part, Run
from syncd.sources.contentsquare.answers import Export, FinishedRun, JobRun, RunFile
from syncd.sources.contentsquare.dictionary import SCOPES

FILES_LIVE = timedelta(days=7)  # from the completion on (inferred, April 2026)
SETTLED_AFTER = timedelta(hours=1)  # until then a finished run may still lack files
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
PERIODS = {"hourly": timedelta(hours=1), "daily": timedelta(days=1)}


def run_of(source: str, row: FinishedRun, job: Export) -> Run:
    """The run of a row; what the row lacks is taken from its job, then from what else the row says.

    Without a completion it is the period's end, and no expiry is known. Without one end of the period the job's
    frequency gives it; without both the period is an instant near the completion, another one for each run, so that
    no two runs without a period supersede each other.
    """
    frequency = row.frequency or job.frequency
    completed_at = row.completed_at or row.end or row.start or EPOCH
    start, end = period(row.start, row.end, PERIODS.get(frequency, timedelta(0)))
    if start is None or end is None:
        start = end = completed_at.replace(microsecond=0) + timedelta(microseconds=apart(row.id))
    return Run(
        source=source,
        id=f"{row.job}-{row.id}",
        scope=scope_of(row.scope or job.scope),
        format=format_of(row.format or job.format),
        start=start,
        end=end,
        job=row.job,
        completed_at=completed_at,
        expires_at=row.completed_at + FILES_LIVE if row.completed_at else NEVER,
        ref="/".join((quote(row.job, safe=""), quote(row.id, safe=""), "" if row.files is None else str(row.files))),
        fields=job.fields,
        backfill=frequency == "once",
    )


def period(start: datetime | None, end: datetime | None, length: timedelta) -> tuple[datetime | None, datetime | None]:
    """Both ends, one of them from the other where need be."""
    if start is None and end is not None:
        return end - length, end
    if end is None and start is not None:
        return start, start + length
    return start, end


def apart(run_id: str) -> int:
    """Microseconds by which runs without a period are kept apart."""
    return int(run_id) % 1_000_000 if run_id.isdecimal() else sum(run_id.encode()) % 1_000_000


def ref_of(run: Run) -> tuple[str, str, int | None]:
    """Job, run and the number of files announced, from `Run.ref`, or from its id where no ref was kept."""
    if run.ref.count("/") != 2:
        return run.job, run.id.removeprefix(f"{run.job}-"), None
    job, run_id, files = run.ref.split("/")
    return unquote(job), unquote(run_id), int(files) if files else None


def scope_of(name: str) -> str:
    """A scope's name: ours where only the case differs, else as sent."""
    return name.lower() if name.lower() in SCOPES else name or "unknown"


def format_of(name: str) -> str:
    """`csv` or `jsonl`; legacy names are ClickHouse's: CSVWithNames, JSONEachRow, JSON."""
    if name.lower().startswith("csv"):
        return "csv"
    return "jsonl" if not name or name.lower().startswith("json") else name.lower()


def parts_of(run: Run, detail: JobRun, announced: int | None, now: datetime) -> list[Part]:
    """The files of a run, by name. TryAgain: some are not there yet; BadRun: they won't come any more."""
    what = f"run {run.id}"
    if detail.state == "FAILURE":
        raise BadRun(f"{what} was finished and is now FAILURE", hint="order its period again at the vendor")
    if detail.state not in ("SUCCESS", ""):
        raise TryAgain(f"{what} was finished and is now {detail.state}", hint="it goes on when the run has ended again")
    parts = [
        Part(name, one.url, one.size, one.expires_at or run.expires_at)
        for name, one in sorted(told_apart(run, detail.files).items(), key=lambda found: (len(found[0]), found[0]))
    ]
    if announced is not None and len(parts) < announced:
        message = f"{what} has {announced} files, but only {len(parts)} are listed"
        if now - run.completed_at < SETTLED_AFTER:
            raise TryAgain(message, hint="the run may still be filling; it goes on by itself")
        raise BadRun(message, hint=f"ask the vendor for the others; then: syncd retry {run.name}", parts=parts)
    return parts


def told_apart(run: Run, files: Sequence[RunFile]) -> dict[str, RunFile]:
    """Files by part id. The same file listed twice is one; two files of one id are BadRun, for neither may be lost."""
    found: dict[str, RunFile] = {}
    for one in files:
        name = one.id or place(one.url)[1]
        if not one.url:
            raise TryAgain(f"run {run.id}, part {name or '?'}: no link yet", hint="it goes on by itself")
        if name in found and place(found[name].url) != place(one.url):
            raise BadRun(
                f"run {run.id}: two files go by the part id {name}",
                hint=f"ask the vendor; then: syncd retry {run.name}",
            )
        found[name] = one
    return found


def place(url: str) -> tuple[str, str]:
    """Where a link leads, whatever its signature; one that is no URL is refused when it is opened."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "", url.partition("?")[0]
    return parts.netloc, parts.path
