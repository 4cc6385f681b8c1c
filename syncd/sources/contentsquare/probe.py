"""What an account settles of the vendor notes' unknowns (docs/vendors/contentsquare.md): the API's part.

Every answer is measured now, from what the vendor sends. Nothing is written there or here, and what is said is made of
counts, forms, durations and the vendor's own words, so it can be shared.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
from pydantic import SecretStr

from syncd.fetch.http import json_of
from syncd.fetch.seen import (
    MANY,
    Keys,
    by_chapters,
    counted,
    json_kind,
    of_manners,
    of_pages,
    refusals,
    tally,
    told,
    word,
)
from syncd.model import Finding
from syncd.sources.contentsquare.answers import Export, FinishedRun, instant, mappings
from syncd.sources.contentsquare.api import FINISHED, safe, zulu
from syncd.sources.contentsquare.dictionary import SCOPES, declared
from syncd.sources.contentsquare.files import file_findings
from syncd.sources.contentsquare.login import said_by
from syncd.sources.contentsquare.reading import FILES_LIVE, format_of, scope_of
from syncd.sources.contentsquare.wire import Told, Wire

LIMIT = 100
MOST_PAGES = 20  # of finished runs that are looked at
# what the vendor's pages name (April 2026); other keys are news
KEYS = {
    "the token answer": {"access_token", "expires_in", "endpoint", "scope", "project_id", "token_type"},
    "a job": {
        *(
            "jobId",
            "name",
            "ownerId",
            "lastUpdatorId",
            "accountId",
            "projectIds",
            "state",
            "format",
            "scope",
            "frequency",
        ),
        *("fields", "filters", "nextFrom", "nextTo", "lastRunTime", "nextRunTime", "createdAt", "updatedAt"),
    },
    "a finished run": {
        *("jobId", "jobRunId", "name", "projectIds", "from", "to", "completionTime", "format", "scope", "frequency"),
        "nbOfFiles",
    },
    "a run": {"jobRunId", "startDate", "endDate", "state", "completionRate", "files"},
    "a file": {"partId", "fileSize", "url", "expirationDate"},
    "an exportable field": {"name", "description", "example", "aliases", "parameters"},
    "every answer": {"payload", "success", "errorMessage", "errorCode"},
}


class Probe:
    """One look at an account."""

    def __init__(self, wire: Wire, wanted: frozenset[str] | None) -> None:
        self._wire, self._wanted = wire, wanted
        self._keys = Keys(KEYS, KEYS["every answer"])
        self._jobs: list[Mapping[str, Any]] = []
        self._runs: list[FinishedRun] = []
        self._rows: list[Mapping[str, Any]] = []

    def findings(self, *, provoke: bool) -> Iterator[Finding]:
        """Everything, in the order of the vendor notes; a chapter that breaks off says so and holds up no other."""
        chapters = {
            "token": self._token,
            "lists": self._lists,
            "jobs": self._job_answers,
            "runs": self._run_answers,
            "fields": self._fields,
            "files": self._files,
            **({"provoked": self._provoked} if provoke else {}),
            "limits": self._limits,
        }
        return by_chapters(chapters, self._wire.answers)

    # ---- token

    def _token(self) -> Iterator[Finding]:
        self._wire.login.token()  # ConfigError: we are refused
        response = self._wire.login.request()
        answer = json_of(response)
        answer = answer if isinstance(answer, Mapping) else {}
        self._keys.note("the token answer", [answer])
        yield Finding("token life", f"{answer['expires_in']} s" if "expires_in" in answer else "not told")
        yield Finding("base URL", base_url(answer.get("endpoint"), response.url))

    # ---- lists

    def _lists(self) -> Iterator[Finding]:
        self._jobs = self._get("exports", limit=LIMIT).rows
        first = self._get(FINISHED, limit=LIMIT)
        self._rows, short = list(first.rows), len(first.rows)
        path = "exports" if len(self._jobs) > 1 else FINISHED
        base = yield from self._paging(path, self._jobs if path == "exports" else first.rows)
        for page in range(1, MOST_PAGES):
            rows = self._rows_or_none(FINISHED, limit=LIMIT, page=base + page)
            known = {key_of(row) for row in self._rows}
            if not rows or not [row for row in rows if key_of(row) not in known]:
                break
            self._rows += rows
        whole = f"{len(self._rows)} finished runs were looked at, in pages of at most {short}"
        yield Finding("rows on a page", str(short) if len(self._rows) > short else "", whole)
        again = self._get(FINISHED, limit=LIMIT).rows
        same = [key_of(row) for row in again] == [key_of(row) for row in first.rows]
        settled = len(again) > 1
        yield Finding(
            "order of finished runs", ("the same twice" if same else "changes from request to request") * settled
        )
        self._runs = [FinishedRun.read(row) for row in {key_of(row): row for row in self._rows}.values()]

    def _paging(self, path: str, rows: list[Mapping[str, Any]]) -> Generator[Finding, None, int]:
        def page(number: int) -> list[tuple[str, str]] | None:
            found = self._rows_or_none(path, limit=1, page=number)
            return None if found is None else [key_of(row) for row in found]

        return of_pages(path, [key_of(row) for row in rows], page, self._wire.answers)

    # ---- jobs and runs

    def _job_answers(self) -> Iterator[Finding]:
        jobs = [Export.read(row) for row in self._jobs]
        fields = [one for row in self._jobs for one in mappings(row.get("fields"))]
        self._keys.note("a job", self._jobs)
        yield Finding(
            "jobs", str(len(jobs)), counted(Counter(f"{word(job.frequency)} {word(job.scope)}" for job in jobs))
        )
        for unknown, words in {
            "format words": (word(row.get("format")) for row in self._jobs),
            "job states": (word(job.state) for job in jobs),
            "frequency comes as": (json_kind(row.get("frequency")) for row in self._jobs),
            "dates of a job": (json_kind(row.get(key)) for row in self._jobs for key in ("nextFrom", "lastRunTime")),
            "a job's filters": (
                f"{word(key)}: {json_kind(value)}" for row in self._jobs for key, value in filters(row)
            ),
        }.items():
            yield tally(unknown, words)
        variables = [one for one in fields if one.get("fieldName") in ("custom_var", "dynamic_var")]
        keys = sorted({word(key) for one in variables for key in one if key not in ("fieldName", "aliasName")})
        bare = sum(not one.get("aliasName") for one in variables)
        seen = f"{len(variables)} variables in field lists, {bare} of them without an alias"
        yield Finding(
            "variables in a job's fields", ", ".join(keys) or ("no more than the name" if variables else ""), seen
        )

    def _run_answers(self) -> Iterator[Finding]:
        runs, now = self._runs, datetime.now(UTC)
        self._keys.note("a finished run", self._rows)
        yield tally("a period ends", (end_of(run) for run in runs if run.end))
        for frequency in ("hourly", "daily", "once"):
            mine = [run for run in runs if run.frequency == frequency and run.start and run.end]
            yield Finding(f"{frequency} periods last", told(Counter(map(length_of, mine))), f"{len(mine)} runs")
            lags = [(run.completed_at - run.end).total_seconds() / 3600 for run in mine if run.completed_at and run.end]
            lag = f"{statistics.median(lags):.1f} h, at most {max(lags):.1f} h" if lags else ""
            yield Finding(f"{frequency} runs are finished behind their period", lag, f"{len(lags)} runs")
        periods = Counter((run.job, run.start, run.end) for run in runs)
        twice = sum(count > 1 for count in periods.values())
        yield Finding("periods delivered again", str(twice) if runs else "", f"of {len(periods)} periods")
        ages = [(now - run.completed_at) for run in runs if run.completed_at]
        old = sum(age > FILES_LIVE for age in ages)
        younger = f"the oldest of {len(ages)} was finished {max(ages).days} days ago" if ages else ""
        older_jobs = any((at := instant(row.get("createdAt"))) and now - at > FILES_LIVE for row in self._jobs)
        answer = f"yes, {old}" if old else "no" if ages and older_jobs and max(ages) > FILES_LIVE * 0.7 else ""
        yield Finding("runs older than 7 days are listed", answer, younger)
        yield Finding("runs without files", str(sum(run.files == 0 for run in runs)) if runs else "", f"of {len(runs)}")
        yield from self._states()

    def _states(self) -> Iterator[Finding]:
        """The runs of the job with most of them, and whether the filter by state is obeyed."""
        jobs = Counter(run.job for run in self._runs).most_common(1)
        if not jobs:
            return
        path, name = f"exports/{safe(jobs[0][0])}/runs", "exports/…/runs"
        rows = self._get(path, name, limit=LIMIT).rows
        self._keys.note("a run", rows)
        states = Counter(word(row.get("state")) for row in rows)
        yield Finding("run states", told(states), counted(states))
        rates = (f"{row.get('completionRate')}"[:6] for row in rows if row.get("state") == "SUCCESS")
        yield tally("completionRate of a finished run", rates)
        failed = self._rows_or_none(path, name, limit=LIMIT, state="FAILURE")
        obeyed = failed is not None and {str(row.get("state")) for row in failed} <= {"FAILURE"}
        settled = len(states) > 1 or (rows and not failed)
        answer = "refused" if failed is None else "obeyed" if obeyed else "ignored"
        yield Finding(
            "the filter by state",
            answer if settled or not obeyed else "",
            f"{len(states)} states among {len(rows)} runs",
        )

    # ---- fields

    def _fields(self) -> Iterator[Finding]:
        for scope in SCOPES:
            rows = self._rows_or_none("exportable-fields", scope=scope) or []
            self._keys.note("an exportable field", rows)
            known = {column.name for column in declared(scope).columns}
            names = sorted({word(row.get("name")) for row in rows} - known)
            seen = f"new to syncd: {', '.join(names)}" if names else "all known to syncd"
            yield Finding(
                f"exportable fields of {scope}", str(len(rows)) if rows else "", seen if rows else "none told"
            )
        custom, now = self._rows_or_none("custom-vars"), datetime.now(UTC)
        yield Finding("custom variables", "refused" if custom is None else str(len(custom)))
        span = {"from": zulu(now - timedelta(days=7)), "to": zulu(now)}
        keys = self._rows_or_none("dynamic-var-keys", **span)
        types = counted(Counter(word(row.get("type")) for row in keys or ()))
        yield Finding("dynamic variables of 7 days", "refused" if keys is None else str(len(keys)), types)

    # ---- files

    def _files(self) -> Iterator[Finding]:
        """One run of each scope and format, the youngest with files."""
        chosen: dict[tuple[str, str], FinishedRun] = {}
        live = [run for run in self._runs if run.files != 0 and (self._wanted is None or run.job in self._wanted)]
        for run in sorted(live, key=lambda run: run.completed_at or datetime.min.replace(tzinfo=UTC)):
            chosen[scope_of(run.scope), format_of(run.format)] = run
        for (scope, form), run in sorted(chosen.items()):
            detail = self._detail(run)
            self._keys.note("a run", [detail])
            self._keys.note("a file", mappings(detail.get("files")))
            where = f" ({word(scope)}, {word(form)})"
            for one in file_findings(self._wire, run, detail, self._detail(run), scope, form):
                yield Finding(one.unknown + where, one.answer, one.seen)
        if not chosen:
            yield Finding("files", "", "no finished run has any")
        if expired := [
            run for run in self._runs if run.completed_at and datetime.now(UTC) - run.completed_at > FILES_LIVE
        ]:
            yield from self._expired(expired[0])
        if empty := [run for run in self._runs if run.files == 0]:
            files = self._detail(empty[0]).get("files")
            yield Finding(
                "an empty run's files", f"{len(files)} files" if isinstance(files, list) else json_kind(files)
            )

    def _expired(self, run: FinishedRun) -> Iterator[Finding]:
        detail = self._detail(run)
        files = list(mappings(detail.get("files")))
        if not files:
            yield Finding("a run whose files are gone", "lists no files")
            return
        status, *_ = self._wire.file(str(files[0].get("url")), 1)
        yield Finding("a run whose files are gone", f"lists {len(files)} links; the first answers HTTP {status}")

    def _detail(self, run: FinishedRun) -> Mapping[str, Any]:
        return self._get(f"exports/{safe(run.job)}/runs/{safe(run.id)}", "exports/…/runs/…").one

    # ---- limits, and what is only seen when it is provoked

    def _provoked(self) -> Iterator[Finding]:
        with ThreadPoolExecutor(MANY) as many:
            answers = list(many.map(lambda _: self._wire.unbounded("exports", limit=1), range(MANY)))
        refused = [one for one in answers if not one.is_ok]
        yield Finding(f"{MANY} requests at once", refusals(refused, code) or "all answered", f"{len(refused)} refused")
        response = self._wire.login.request(SecretStr("wrong"))
        said = json_of(response)
        keys = ", ".join(sorted(map(word, said))) if isinstance(said, Mapping) else "no JSON"
        yield Finding("a wrong secret", f"HTTP {response.status_code}", keys)

    def _limits(self) -> Iterator[Finding]:
        answers = self._wire.answers
        yield from of_manners(answers, [one for one in answers if one.is_busy], code)
        yield from self._keys.findings()

    # ---- asking

    def _get(self, path: str, kind: str = "", **params: Any) -> Told:
        answer = self._wire.get(path, kind, **params)
        self._keys.note("every answer", mappings([answer.body]))
        return answer

    def _rows_or_none(self, path: str, kind: str = "", **params: Any) -> list[Mapping[str, Any]] | None:
        """The rows; None: refused."""
        answer = self._get(path, kind, **params)
        return answer.rows if answer.is_ok else None


def base_url(endpoint: object, token_url: httpx.URL) -> str:
    """The form of the base URL in the token answer."""
    if not isinstance(endpoint, str) or not endpoint:
        return "not told"
    form = "with" if endpoint.endswith("/") else "without"
    where = "the host of the token URL" if httpx.URL(endpoint).host == token_url.host else "another host"
    return f"{where}, {form} a slash at its end"


def key_of(row: Mapping[str, Any]) -> tuple[str, str]:
    return str(row.get("jobId")), str(row.get("jobRunId", ""))


def filters(row: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    found = row.get("filters")
    return found.items() if isinstance(found, Mapping) else [("filters", found)]


def end_of(run: FinishedRun) -> str:
    assert run.end
    if (run.end.minute, run.end.second) == (0, 0):
        return "where the next begins"
    return "just before the next begins" if (run.end.minute, run.end.second) == (59, 59) else "elsewhere"


def length_of(run: FinishedRun) -> str:
    assert run.start and run.end
    return f"{round((run.end - run.start).total_seconds() / 3600, 1):g} h"


def code(body: object) -> str:
    """The vendor's word for a refusal."""
    return said_by(body).split(" ")[0]
