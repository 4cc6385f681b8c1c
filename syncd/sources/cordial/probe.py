"""What an account settles of the vendor notes' unknowns (docs/vendors/cordial.md): its jobs, and what they delivered.

GETs only: no export is asked for. So what only an export could tell is told by those that were made before, by syncd
or by others; what lies in the zone is looked at by `delivered`.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import httpx

from syncd.errors import SyncdError
from syncd.fetch.seen import MANY, Keys, Witness, by_chapters, of_manners, of_pages, patiently, refusals, tally, word
from syncd.model import Finding
from syncd.sources.cordial.api import ENDED, FAILED, Api, Job, Refused, instant
from syncd.sources.cordial.delivered import Delivered
from syncd.sources.cordial.exports import Export, name_in, ours_in, zulu
from syncd.sources.cordial.zone import Zone

PAGE = 100  # rows that a page is asked to have
MOST_PAGES = 20
EVENTS = "ExportEvents"
KEYS = {  # what the vendor's specification names (August 2026)
    "a job": {"status", "jobName", "totalItems", "completedItems", "times", "result", "metadata", "run", "statistic"},
    "a job's metadata": {
        *("name", "exportType", "fileName", "filename", "key", "taskID", "parentJobId", "mdtID", "msID", "cID"),
        *("contactID", "lists", "ids", "tzOffset"),
    },
}
IDS = ("_id", "id", "jobId")
# what no GET tells, and no earlier export; asked for on purpose only
NEEDS_AN_EXPORT = ("the widest window", "a name used twice", "a folder that isn't there", "exports at once")


class Probe:
    """One look at an account. `stranger`: the same account with a wrong key."""

    def __init__(self, api: Api, stranger: Api, witness: Witness, zone: Zone, exports: Sequence[Export]) -> None:
        self._api, self._stranger, self._zone, self._exports = api, stranger, zone, exports
        self._answers = witness.answers
        self._keys = Keys(KEYS, KEYS["a job's metadata"] | {"run", "statistic"})
        self._rows: list[Mapping[str, Any]] = []

    def findings(self, *, provoke: bool) -> Iterator[Finding]:
        """Everything; a chapter that breaks off says so and holds up no other."""
        delivered = Delivered(self._zone, self._exports, self._job_of)
        chapters = {
            "jobs": self._lists,
            "filters": self._filters,
            "answers": self._job_answers,
            "zone": delivered.findings,
            "exports": lambda: (Finding(one, "", "only an export could tell") for one in NEEDS_AN_EXPORT),
            **({"provoked": self._provoked} if provoke else {}),
            "limits": self._limits,
        }
        return by_chapters(chapters, self._answers)

    # ---- the list of jobs

    def _lists(self) -> Generator[Finding, None, None]:
        first = self._jobs()
        keys = [Job.read(row).id for row in first]
        base = yield from of_pages("jobs", keys, lambda number: self._ids(per_page=1, page=number), self._answers)
        self._rows = list(first)
        for page in range(base + 1, base + MOST_PAGES):
            known = {Job.read(row).id for row in self._rows}
            fresh = [row for row in self._jobs_or_none(page=page) or () if Job.read(row).id not in known]
            if not fresh:
                break
            self._rows += fresh
        settled = len(self._rows) > len(first)
        yield Finding("jobs on a page", str(len(first)) * settled, f"of {PAGE} asked for; {len(self._rows)} in all")
        began = [at for row in first if (at := instant(inner(row, "times").get("start")))]
        forms = {"newest first": sorted(began, reverse=True), "oldest first": sorted(began)}
        order = next((form for form, rightly in forms.items() if rightly == began), "none")
        yield Finding("order of jobs", order * (len(set(began)) > 1), f"{len(began)} jobs with a start")

    def _filters(self) -> Iterator[Finding]:
        """Whether those that syncd uses are taken and obeyed."""
        starts = sorted(at for row in self._rows if (at := instant(inner(row, "times").get("start"))))
        since = starts[len(starts) // 2] if starts else datetime.now(UTC)
        statuses, names = Counter(map(status_of, self._rows)), Counter(row.get("jobName") for row in self._rows)
        for unknown, params, is_right, settled in (
            ("jobName", {"jobName": EVENTS}, lambda row: row.get("jobName") == EVENTS, len(names) > 1),
            ("status", {"status": "Done"}, lambda row: status_of(row) == "Done", len(statuses) > 1),
            (
                "time, in ISO form",
                {"times[start][gte]": f"{zulu(since)[:19]}Z"},
                lambda row: (instant(inner(row, "times").get("start")) or since) >= since.replace(microsecond=0),
                len(set(starts)) > 1,
            ),
        ):
            found = self._jobs_or_none(**params)
            if found is None:
                yield Finding(f"the filter by {unknown}", f"refused (HTTP {self._answers[-1].status})")
                continue
            obeyed = all(map(is_right, found))
            yield Finding(f"the filter by {unknown}", ("obeyed" if obeyed else "ignored") * (settled or not obeyed))

    # ---- jobs

    def _job_answers(self) -> Iterator[Finding]:
        rows = self._rows
        self._keys.note("a job", ({key: 1 for key in row if key not in IDS} for row in rows))
        self._keys.note("a job's metadata", (inner(row, "metadata") for row in rows))
        yield tally("kinds of jobs", (word(row.get("jobName")) for row in rows))
        yield tally("the key of a job's id", map(id_key, rows))
        yield tally("job states", (word(status_of(row)) for row in rows))
        yield tally("a job's name stands in", (key for row in rows for key in self._named_by(row)))
        links = [key for row in rows for key, value in inner(row, "metadata").items() if is_link(value)]
        yield Finding("a link to the files", ", ".join(sorted(set(map(word, links)))) or ("none" if rows else ""))
        failed = [row for row in rows if Job.read(row).status == FAILED]
        yield tally("a failed job says why in", (where for row in failed for where in reasons(row)))
        ended = [row for row in rows if Job.read(row).status == ENDED]
        yield tally("totalItems and completedItems", map(amounts, ended))
        yield from self._times()
        if rows:
            alone = patiently(lambda: self._api.look(f"jobs/{Job.read(rows[0]).id}"))
            form = "a list of one" if isinstance(alone, list) else "an object"
            row = alone[0] if isinstance(alone, list) and alone else alone
            more = sorted(map(word, row.keys() - rows[0].keys())) if isinstance(row, Mapping) else []
            yield Finding("a job alone", form, f"beyond the list: {', '.join(more)}" if more else "")

    def _times(self) -> Iterator[Finding]:
        spans = [
            (start, end, row.get("jobName"))
            for row in self._rows
            if (start := instant(inner(row, "times").get("start"))) and (end := instant(inner(row, "times").get("end")))
        ]
        lasted = sorted((end - start).total_seconds() for start, end, _ in spans)
        most = f"{statistics.median(lasted):.0f} s, at most {lasted[-1]:.0f} s" if lasted else ""
        yield Finding("a job works for", most, f"{len(lasted)} jobs that have ended")
        mine = [(start, end) for start, end, kind in spans if kind == EVENTS]
        beside = max((sum(one <= start < end for one, end in mine) for start, _ in mine), default=0)
        yield Finding("exports of events at once", str(beside) if beside > 1 else "", f"{len(mine)} have ended")
        days = (datetime.now(UTC) - min(start for start, *_ in spans)).days if spans else None
        yield Finding("the oldest job listed", "" if days is None else f"{days} days old")

    def _named_by(self, row: Mapping[str, Any]) -> Iterator[str]:
        """Under which keys a job tells the name that we gave it; none for a job that isn't ours."""
        for key, value in {**row, **inner(row, "metadata")}.items():
            if isinstance(value, str) and any(ours_in(export.prefix, value) for export in self._exports):
                yield word(key)

    def _job_of(self, name: str) -> Job | None:
        """The job that was asked for under a name of ours, where one says so."""
        found = (Job.read(row) for row in self._rows)
        return next((job for job in found if name_in(name.rpartition("-")[0], job.raw) == name), None)

    # ---- limits, and what is only seen when it is provoked

    def _provoked(self) -> Iterator[Finding]:
        before = len(self._answers)

        def knock(_: int) -> None:
            with suppress(SyncdError):
                self._api.greet()

        with ThreadPoolExecutor(MANY) as many:
            list(many.map(knock, range(MANY)))
        refused = [one for one in self._answers[before:] if one.status >= 300]
        yield Finding(
            f"{MANY} requests in a burst", refusals(refused, code) or "all answered", f"{len(refused)} refused"
        )
        with suppress(SyncdError):
            self._stranger.greet()
        last = self._answers[-1]
        error = last.body.get("error") if isinstance(last.body, Mapping) else None
        form = "its error is a text" if isinstance(error, str) else "its error is no text"
        yield Finding("a wrong key", f"HTTP {last.status}", form)

    def _limits(self) -> Iterator[Finding]:
        busy = [one for one in self._answers if one.status == 429 or one.status >= 500]
        yield from of_manners(self._answers, busy, code)
        yield from self._keys.findings()

    # ---- asking

    def _jobs(self, **params: Any) -> list[Mapping[str, Any]]:
        rows = patiently(lambda: self._api.look("jobs", **{"per_page": PAGE} | params))
        return [row for row in rows if isinstance(row, Mapping)] if isinstance(rows, list) else []

    def _jobs_or_none(self, **params: Any) -> list[Mapping[str, Any]] | None:
        """The jobs; None: refused."""
        try:
            return self._jobs(**params)
        except Refused:
            return None

    def _ids(self, **params: Any) -> list[str] | None:
        rows = self._jobs_or_none(**params)
        return None if rows is None else [Job.read(row).id for row in rows]


def kind_of(request: httpx.Request) -> str:
    """The endpoint, without any id."""
    _, found, id = request.url.path.rpartition("/jobs")
    return ("jobs/…" if id.strip("/") else "jobs") if found else "another endpoint"


def inner(row: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = row.get(key)
    return found if isinstance(found, Mapping) else {}


def status_of(row: Mapping[str, Any]) -> str:
    return str(row.get("status") or "none")


def id_key(row: Mapping[str, Any]) -> str:
    found = next((key for key in IDS if row.get(key)), "none")
    return f"{found}.$oid" if isinstance(row.get(found), Mapping) else found


def is_link(value: object) -> bool:
    return isinstance(value, str) and value.startswith(("https://", "http://"))


def reasons(row: Mapping[str, Any]) -> list[str]:
    """Where a failed job has a text that may be the reason."""
    known = {"status", "jobName", "times", "metadata", *IDS}
    flat = {**row, **{f"result.{key}": value for key, value in inner(row, "result").items()}}
    found = [word(key) for key, value in flat.items() if key not in known and isinstance(value, str) and value]
    return found or ["nowhere"]


def amounts(row: Mapping[str, Any]) -> str:
    total, done = row.get("totalItems"), row.get("completedItems")
    if total is None and done is None:
        return "absent"
    return "equal" if total == done else "differ"


def code(body: object) -> str:
    """The vendor's word for a refusal."""
    return str(body.get("errorKey") or "") if isinstance(body, Mapping) else ""
