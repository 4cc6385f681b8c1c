"""Raw data: asked for once, since each asking makes the vendor work and perhaps send a mail.

Three answers are known. A link: it can be fetched at once, and asked for again when it has died. A job id: the link
goes out by mail, so a person hands it over. Anything else is told, word for word, and nothing is asked again.
No endpoint tells what was asked for before. So a request that may have reached the vendor counts as one that did, and
an experience of which one is outstanding is not asked for again (`asking` sees to that: their job and period are one).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import IO, Any

import orjson

from syncd.errors import BadRun, ConfigError, HandOver, StartOver, TryAgain, Unsent
from syncd.model import ExportRequest, Run
from syncd.sources.convert.answers import Json, unwrapped
from syncd.sources.convert.api import Api, Refused
from syncd.sources.convert.exports import fetched, link_in, words
from syncd.sources.convert.files import events, unpacked
from syncd.sources.convert.listing import Experience
from syncd.sources.convert.paths import E
from syncd.sources.convert.reading import Step
from syncd.sources.convert.redaction import redacted

SCOPE = "raw_data"
EVENTS = ["view_experience", "conversion", "transaction"]
LINK, UNKNOWN = "link", "unknown"  # tickets that are no job id; behind the latter come the vendor's words
SETTLED_AFTER = timedelta(hours=1)  # until then events of a period may still come in (inferred)
PUT_AWAY = frozenset({"archived", "deleted"})
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def is_asked_for(each: Experience) -> bool:
    """Whether it has events, and is of interest still."""
    return bool(each.started) and each.status not in PUT_AWAY


def job_of(each: Experience) -> str:
    return f"{SCOPE}-{each.id}"


def requests(
    source: str, experiences: Iterable[Experience], every: timedelta, now: datetime
) -> Iterator[ExportRequest]:
    """One request for each experience: all its events up to the last full interval, or to the one in which it ended.

    Each is the whole story, and takes the place of the one before; so none is missed while syncd is down, and one that
    has ended is asked for once.
    """
    for each in experiences:
        if not is_asked_for(each):
            continue
        start = EPOCH + timedelta(seconds=each.started)
        end = EPOCH + (now - SETTLED_AFTER - EPOCH) // every * every
        if each.ended:
            end = min(end, EPOCH + -(-timedelta(seconds=each.ended) // every) * every)
        if start < end:
            asked_for = [each.project, each.id, list(each.goals), each.started, int(end.timestamp())]
            yield ExportRequest(
                source=source,
                id=f"{SCOPE}-{each.id}-{end:%Y%m%dT%H%M%SZ}",
                scope=SCOPE,
                format="",
                start=start,
                end=start,  # the same job and period each time: the newer supersedes the older
                job=job_of(each),
                ref=orjson.dumps(asked_for).decode(),
            )


class RawData:
    """What this process has asked for. Any thread."""

    def __init__(self, api: Callable[[], Api], account: int, clock: Callable[[], datetime]) -> None:
        self._api, self._account, self._clock = api, account, clock
        self._born = clock()
        self._tickets: dict[tuple[str, int], str] = {}
        self._links: dict[str, str] = {}  # by run; as good as a secret
        self._lock = threading.Lock()

    def submit(self, request: ExportRequest) -> str:
        """The job id, or `link`, or `unknown` when nobody can tell whether the vendor has heard us. BadRun: refused."""
        key = (request.id, request.attempt)
        with self._lock:
            if key in self._tickets:
                return self._tickets[key]
            if request.asked_at < self._born:  # noted by a process that died: it may have asked
                return UNKNOWN
            self._tickets[key] = UNKNOWN
            try:
                self._tickets[key] = self._ticket(request, self._ask(request.ref))
            except (Unsent, Refused, ConfigError):
                del self._tickets[key]  # the vendor said no, or never heard us
                raise
            except TryAgain as error:  # no answer, or none that says: it may have heard us
                self._tickets[key] = f"{UNKNOWN}: {error}"
            return self._tickets[key]

    def poll(self, request: ExportRequest, ticket: str) -> Run | None:
        """The run, where a link came at once. HandOver: its files come by mail."""
        if ticket == LINK:
            if request.id not in self._links:
                raise StartOver(f"{request.name}: the link is lost, for syncd was stopped", hint="it is asked for anew")
            return request.delivered(self._clock(), format="jsonl")
        what = f"raw data job {ticket}: the vendor sends the link by mail"
        if ticket.startswith(UNKNOWN):
            words = ticket.removeprefix(UNKNOWN).removeprefix(": ") or "syncd was stopped before it had an answer"
            what = f"the request for raw data may or may not have been taken; if it was, a mail comes ({words})"
        raise HandOver(
            what,
            hint=f"with the link or file of that mail: syncd ingest {request.source} {request.id} URL; "
            f"if none comes, ask once more: syncd retry {request.name}",
        )

    def link(self, run: Run) -> str:
        """A link that works now: the one we had, or, from a vendor that answers with links, another one."""
        with self._lock:
            if run.id not in self._links:
                answer = self._ask(run.ref)
                if not (url := link_in(answer)):
                    raise BadRun(
                        f"{run.id}: the link is dead, and the vendor gives no other one at once: {words(answer)}",
                        hint=f"with the link or file of its mail: syncd ingest {run.source} {run.id} URL",
                    )
                self._links[run.id] = url
            return self._links[run.id]

    def rows(self, run: str, link: str) -> Iterator[Json]:
        """The events behind a link, redacted. LinkExpired: the next link is another one."""
        self._links.pop(run, None)
        with fetched(self._api(), link) as file:
            yield from kept(file)

    def _ask(self, ref: str) -> Any:
        project, experience, goals, start, end = orjson.loads(ref)
        body = {"events": EVENTS, "utc_offset": 0, "start_time": start, "end_time": end}
        body |= {"goals": goals} if goals else {}
        return self._api().post(
            f"{E}/export_raw_data", body, account=self._account, project=project, experience=experience
        )

    def _ticket(self, request: ExportRequest, answer: Any) -> str:
        if url := link_in(answer):
            self._links[request.id] = url
            return LINK
        inner = unwrapped(answer)
        job = inner.get("jobId", inner.get("job_id")) if isinstance(inner, dict) else None
        if isinstance(job, int | str) and not isinstance(job, bool) and str(job).strip():
            return str(job).strip()
        raise Refused(
            f"export_raw_data answers with neither a link nor a job: {words(answer)}",
            hint=f"look for a mail; with its link or file: syncd ingest {request.source} {request.id} URL",
        )


def kept(file: IO[bytes]) -> Iterator[Json]:
    """The events of a file, redacted, however it is packed. TryAgain, BadRun."""
    return unpacked(file, lambda _, text: map(redacted, events(text)))


def step(raw: RawData, run: str, link: str) -> Step:
    """The one request that brings a run's events."""
    return Step("events", lambda: raw.rows(run, link), is_large=True)
