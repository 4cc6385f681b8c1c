"""Export jobs: each works for a while in a thread of its own, then delivers, as the troubles of its day have it."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from threading import Event, Lock, Thread
from typing import Any

from syncd.sandbox.contentsquare.truth import Count
from syncd.sandbox.cordial import deliver, files, rows
from syncd.sandbox.cordial.rows import hexed
from syncd.sandbox.cordial.trouble import Offer, Trouble

KINDS = {
    "contactactivityexport": "ExportEvents",
    "contactexports": "ExportContacts",
    "messageanalyticsexport": "ExportMessageAnalytics",
    "audiencetrendsexport": "ExportAudienceTrends",
    "accountmonitorexport": "ExportClientsLogs",
}


@dataclass
class Job:
    """One export."""

    id: str
    number: int  # from 1, in the account
    endpoint: str
    asked: Mapping[str, Any]
    began_at: datetime
    status: str = "Scheduled"
    ended_at: datetime | None = None
    error: str = ""
    rows: Sequence[Mapping[str, Any]] = ()
    delivered: list[str] = field(default_factory=list)
    contents: list[bytes] = field(default_factory=list)  # of a job whose files stay in the UI

    @property
    def name(self) -> str:
        return str(self.asked.get("name") or "")

    def told(self, trouble: Trouble) -> dict[str, Any]:
        """As the API tells it."""
        key = {"oid": "_id"}.get(trouble.id_key, trouble.id_key)
        times = {"start": rows.spelled(self.began_at, "ms")}
        if self.ended_at:
            times["end"] = rows.spelled(self.ended_at, "ms")
        told: dict[str, Any] = {
            key: {"$oid": self.id} if trouble.id_key == "oid" else self.id,
            "status": self.status,
            "jobName": KINDS[self.endpoint],
            "times": times,
            "metadata": {} if trouble.metadata == "none" else {trouble.metadata: self.name},
        }
        if trouble.amounts != "absent":
            amount = {"rows": len(self.rows), "more": len(self.rows) + 7, "zero": 0}[trouble.amounts]
            told |= {"totalItems": amount, "completedItems": amount}
        if self.status == "Failed" and not trouble.silent_failure:
            told["result"] = {"error": self.error}
        return told

    def truth(self) -> dict[str, Any]:
        """What was delivered, counted."""
        count = Count()
        for row in self.rows:
            count.add(row.items())
        asked = {key: self.asked.get(key) for key in ("selected_timeframe_start", "selected_timeframe_end")}
        facts = {"job": self.id, "name": self.name, "endpoint": self.endpoint, "status": self.status}
        return facts | asked | {"files": self.delivered} | count.told()


class Jobs:
    """All jobs of the account. Any thread."""

    def __init__(self, offer: Offer, trouble: Trouble) -> None:
        self.offer, self.trouble = offer, trouble
        self.all: list[Job] = []
        self.bugs: list[str] = []
        self._lock = Lock()
        self._stop = Event()
        self._threads: list[Thread] = []

    def add(self, endpoint: str, asked: Mapping[str, Any]) -> Job:
        """Begin a job."""
        with self._lock:
            number = len(self.all) + 1
            job = Job(hexed(f"job {self.offer.seed} {number} {time.time_ns()}")[:24], number, endpoint, asked, now())
            self.all.append(job)
            thread = Thread(target=self._begin, args=(job, self.trouble), name=f"job-{number}", daemon=True)
            self._threads.append(thread)
        thread.start()
        return job

    def named(self, id: str) -> Job | None:
        return next((job for job in self.all if job.id == id), None)

    def close(self) -> None:
        """End all work."""
        self._stop.set()
        for thread in self._threads:
            thread.join(10)

    def settle(self, timeout_s: float = 30) -> None:
        """Wait until every job has ended and delivered."""
        for thread in list(self._threads):
            thread.join(timeout_s)

    def pause(self, seconds: float) -> None:
        """Wait, but not behind the end."""
        self._stop.wait(seconds)

    def _begin(self, job: Job, trouble: Trouble) -> None:
        try:
            self._work(job, trouble)
        except Exception:  # whatever it is, it is ours
            self.bugs.append(traceback.format_exc())

    def _work(self, job: Job, trouble: Trouble) -> None:
        states = [state for state in trouble.states.split(",") if state]
        job.rows = self._rows(job, trouble)
        contents = list(files.contents(job.rows, job.asked, trouble))
        for number, state in enumerate(states):
            job.status = state
            if trouble.early and number == len(states) - 1:
                self._deliver(job, [content[: len(content) // 2] for content in contents], trouble)
            if self._stop.wait(trouble.job_takes / len(states)):
                return
        if job.number <= trouble.job_fails:
            self._end(job, "Failed", "the export broke off")
        elif str(job.asked["destination"]["type"]).lower() == "aws":
            job.contents = contents
            self._end(job, "Done")
        elif trouble.late:
            self._end(job, "Done")
            if not self._stop.wait(trouble.late):
                self._deliver(job, contents, trouble)
        elif self._deliver(job, contents, trouble):
            self._end(job, "Done")

    def _end(self, job: Job, status: str, error: str = "") -> None:
        job.ended_at, job.error, job.status = now(), error, status

    def _deliver(self, job: Job, contents: Sequence[bytes], trouble: Trouble) -> bool:
        """Whether the place took all files; else the job has failed."""
        destination = job.asked["destination"]
        name = partial(files.file_name, str(job.asked.get("fileName") or job.name), job.asked)
        try:
            with deliver.entered(destination, self.offer) as fs:
                put = partial(
                    deliver.put, fs, destination, as_segment=trouble.naming == "segment", no_folders=trouble.no_folders
                )
                job.delivered = [name(at, len(contents), job.began_at, trouble) for at in range(len(contents))]
                for number, (file, content) in enumerate(zip(job.delivered, contents, strict=True)):
                    if number and self._stop.wait(trouble.late_chunks):
                        return False
                    put(file, content[: len(content) // 2] if number < trouble.truncated else content)
                if trouble.foreign:
                    self._litter(fs, destination)
        except Exception as error:  # whatever the place says: the vendor's job fails, and tells it
            self._end(job, "Failed", f"{type(error).__name__}: {error}")
            return False
        return True

    def _litter(self, fs: Any, destination: Mapping[str, Any]) -> None:
        beside = deliver.folder_of(destination).rpartition("/")[0]
        for name in ("contacts.json", "syncd-of-somebody-else.json"):
            with fs.open(f"{beside}/{name}", "wb") as file:
                file.write(b'{"foreign":true}\n')

    def _rows(self, job: Job, trouble: Trouble) -> list[dict[str, Any]]:
        """What this export finds now."""
        if job.endpoint == "contactexports":
            return list(rows.contacts(self.offer.seed, job.asked["fields"]))
        start, end = moment(job.asked["selected_timeframe_start"]), moment(job.asked["selected_timeframe_end"])
        if job.endpoint != "contactactivityexport":
            return list(SIBLINGS[job.endpoint](self.offer.seed, start, end))
        found = rows.events(self.offer.seed, self.offer.rows, start, end, with_end=trouble.inclusive_end)
        last_day = end.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=1)
        seen = (event for number, event in enumerate(matching(found, job.asked)) if not is_late(event, number, trouble))
        return [rows.told(event, trouble, at, job.number, last_day) for at, event in enumerate(seen)]


SIBLINGS: dict[str, Callable[[int, datetime, datetime], Iterator[dict[str, Any]]]] = {
    "messageanalyticsexport": rows.analytics,
    "audiencetrendsexport": rows.trends,
    "accountmonitorexport": rows.monitor,
}


def matching(found: Iterator[dict[str, Any]], asked: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Those that the request's filters let through."""
    one = asked.get("selected_action_name")
    actions = [one] if one else asked.get("selected_action_names")
    return (event for event in found if not actions or event["action"] in actions)


def is_late(event: Mapping[str, Any], number: int, trouble: Trouble) -> bool:
    """Whether the event has not arrived yet."""
    return bool(trouble.late_rows) and number % 10 == 0 and now() - event["time"] < timedelta(hours=trouble.late_rows)


def moment(text: str) -> datetime:
    """ValueError when it is none."""
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def now() -> datetime:
    return datetime.now(UTC)
