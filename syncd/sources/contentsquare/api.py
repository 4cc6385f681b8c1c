"""The nine endpoints of the Data Export API, version 1.0 (docs/vendors/contentsquare.md), typed.

Any thread. Every call but `create_export` may be repeated blindly, and that one looks before it leaps. ConfigError:
we are refused; TryAgain: anything that may pass. What is asked of a list is walked page by page as it is read.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar
from urllib.parse import quote

import httpx

from syncd.errors import BadRun, ConfigError, SyncdError, TryAgain
from syncd.fetch.http import broken, json_of, pause_asked, says_busy
from syncd.sources.contentsquare.answers import (
    CustomVar,
    DynamicVarKey,
    Export,
    ExportableField,
    FinishedRun,
    JobRun,
    Json,
    mappings,
    name_of,
)
from syncd.sources.contentsquare.login import Login, Token, address_of, said_by
from syncd.sources.contentsquare.paging import DEFAULT_PAGE, LIMIT, Paging, Position, Walk

T = TypeVar("T")
FINISHED = "exports/successful-runs"
MOST_TOKENS = 10  # tried for one request: a token that lives for a few requests may be used up by others


class Forbidden(ConfigError):
    """These credentials may not read that (403)."""


class Refused(TryAgain):
    """The API knows no such thing (404) or takes no such request (400): of a page it means the end of the list."""

    def __init__(self, message: str, status: int = 400, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.status = status


@dataclass(frozen=True)
class Field:
    """A field to export; `custom_var` takes a position, `dynamic_var` a key."""

    name: str
    alias: str = ""
    custom_var_position: int | None = None
    dynamic_var_key: str = ""

    def wanted(self) -> dict[str, Any]:
        keys = {
            "fieldName": self.name,
            "aliasName": self.alias,
            "customVarPosition": self.custom_var_position,
            "dynamicVarKey": self.dynamic_var_key,
        }
        return {key: value for key, value in keys.items() if value not in (None, "")}


@dataclass(frozen=True)
class NewExport:
    """A job to create. `start` and `end` are for `once`, at most 7 days apart (documented, May 2025)."""

    name: str
    scope: str
    fields: Sequence[Field]
    frequency: str = "once"
    start: datetime | None = None
    end: datetime | None = None
    format: str = "JSONL"
    device: str = "all"
    segment: int | None = None

    def wanted(self) -> dict[str, Any]:
        often: dict[str, Any] = {"value": self.frequency}
        if self.start and self.end:
            often["dateRange"] = {"from": zulu(self.start), "to": zulu(self.end)}
        job: dict[str, Any] = {
            "name": self.name,
            "format": self.format,
            "scope": self.scope,
            "frequency": often,
            "fields": [field.wanted() for field in self.fields],
            "deviceLabel": self.device,
        }
        return job if self.segment is None else job | {"segmentId": self.segment}


class Api:
    """A project's exports."""

    def __init__(self, client: httpx.Client, login: Login, slots: threading.Semaphore) -> None:
        self._client, self._login, self._slots = client, login, slots
        self._paging: dict[str, Paging] = defaultdict(Paging)

    @property
    def login(self) -> Login:
        """Who we are to it."""
        return self._login

    def create_export(self, wanted: NewExport) -> str:
        """The id of a job of this name, created unless there is one: a POST that timed out may have worked."""
        for job in self.exports():
            if job.name == wanted.name and job.state != "DELETED":
                return job.id
        answer = self._send("POST", "exports", json=wanted.wanted())
        if created := name_of(answer.get("jobId") if isinstance(answer, Mapping) else None):
            return created
        raise TryAgain(f"the vendor took job {wanted.name!r}, but gave no id", hint="it is looked up by its name")

    def exports(self) -> Iterator[Export]:
        """The jobs: active, suspended, computing and completed ones; none twice."""
        seen: set[str] = set()
        for job in self._walk("exports", Export.read, lambda job: job.id, short=DEFAULT_PAGE):
            if job.id and job.id not in seen:
                seen.add(job.id)
                yield job

    def successful_runs(
        self, resume: Position | None = None, note: Callable[[Position], None] = lambda position: None
    ) -> Walk[FinishedRun]:
        """Every finished run, each at least once; goes on after a TryAgain. `resume`, `note`: see Walk."""
        fetch = partial(self._rows, FINISHED, FinishedRun.read)
        return Walk(fetch, lambda run: (run.job, run.id), self._paging[FINISHED], resume=resume, note=note)

    def export(self, job: str) -> Export:
        """One job."""
        return Export.read(one(self._send("GET", f"exports/{safe(job)}")))

    def export_runs(self, job: str) -> Walk[JobRun]:
        """The runs of a job in any state, each at least once, without their files; goes on after a TryAgain."""
        fetch = partial(self._rows, f"exports/{safe(job)}/runs", JobRun.read)
        return Walk(fetch, lambda run: run.id, Paging())

    def export_run(self, job: str, run: str) -> JobRun:
        """One run with its files. BadRun: the vendor has it no more, or won't give it to us."""
        try:
            return JobRun.read(one(self._send("GET", f"exports/{safe(job)}/runs/{safe(run)}")))
        except (Refused, Forbidden) as error:  # of this one run: the lists were ours to read
            if isinstance(error, Refused) and error.status == 404:
                message = f"the vendor has no run {run} of job {job} any more"
                raise BadRun(message, hint="order its period again") from error
            raise BadRun(str(error), hint="see the run in the vendor's console, or order its period again") from error

    def exportable_fields(self, scope: str) -> list[ExportableField]:
        """What may be exported of a scope; types are not told."""
        rows = mappings(self._send("GET", "exportable-fields", params={"scope": scope}))
        return [ExportableField.read(row) for row in rows]

    def custom_vars(self) -> list[CustomVar]:
        """The project's custom variables."""
        return [CustomVar.read(row) for row in mappings(self._send("GET", "custom-vars"))]

    def dynamic_var_keys(self, start: datetime, end: datetime) -> list[DynamicVarKey]:
        """The keys of dynamic variables seen in `[start, end)`."""
        params = {"from": zulu(start), "to": zulu(end)}
        return [DynamicVarKey.read(row) for row in mappings(self._send("GET", "dynamic-var-keys", params=params))]

    def first_runs(self, job: str) -> list[JobRun]:
        """The first page of a job's runs, in one request."""
        return [JobRun.read(row) for row in self._page(f"exports/{safe(job)}/runs") or ()]

    def failed_runs(self, job: str) -> list[JobRun]:
        """Failed runs of a job, in one request: at most a page. None of a job that is not known (any more)."""
        try:
            rows = mappings(self._send("GET", f"exports/{safe(job)}/runs", params={"limit": LIMIT, "state": "FAILURE"}))
        except Refused:
            return []
        return [run for run in map(JobRun.read, rows) if run.state == "FAILURE"]

    @property
    def successful_runs_paging(self) -> Paging:
        """What the last walk over the finished runs has taught us of that list."""
        return self._paging[FINISHED]

    def _page(self, path: str, number: int | None = None) -> list[Json] | None:
        """The rows of one page; None: the API refuses this number."""
        params = {"limit": LIMIT} if number is None else {"limit": LIMIT, "page": number}
        try:
            rows = self._send("GET", path, params=params)
        except Refused:
            if number is None:
                raise
            return None
        if rows is not None and not isinstance(rows, list):
            raise TryAgain(f"{path}: the API answers with something that is no list", hint=self._login.check_url())
        return list(mappings(rows))

    def _walk(self, path: str, read: Callable[[Json], T], key: Callable[[T], Hashable], *, short: int = 0) -> Walk[T]:
        return Walk(partial(self._rows, path, read), key, self._paging[path], short=short)

    def _rows(self, path: str, read: Callable[[Json], T], number: int | None) -> list[T] | None:
        rows = self._page(path, number)
        return None if rows is None else [read(row) for row in rows]

    def _send(self, method: str, path: str, **what: Any) -> Any:
        """The payload of an answer. A token that is refused is renewed; refused are we when new ones are as well."""
        refused: list[Token] = []
        with self._slots:
            while len(refused) < MOST_TOKENS and sum(not token.worked.is_set() for token in refused) < 2:
                token = self._login.token()
                response = self._request(token, method, path, **what)
                answer = json_of(response)
                if not is_unauthorized(response.status_code, answer):
                    token.worked.set()
                    return self._payload(token, path, response, answer)
                self._login.refused(token)
                refused.append(token)
        said = self._login.clean(said_by(answer), token)
        raise ConfigError(
            f"credentials refused: {path} answers HTTP {response.status_code} to a new token: {said}",
            hint=f"check the credentials of source {self._login.source} and what they may read",
        )

    def _request(self, token: Token, method: str, path: str, **what: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {token.bearer}", "Accept": "application/json"}
        url = f"{token.base_url}/v1/{path}"
        try:
            return self._client.request(method, url, headers=headers, **what)
        except httpx.RequestError as error:
            raise broken(address_of(url), error, hint=self._login.check_url()) from None

    def _payload(self, token: Token, path: str, response: httpx.Response, answer: Any) -> Any:
        if response.is_success and isinstance(answer, list):
            return answer
        if response.is_success and isinstance(answer, Mapping) and answer.get("success", True) is not False:
            return answer.get("payload")
        raise self._refusal(token, path, response, answer)

    def _refusal(self, token: Token, path: str, response: httpx.Response, answer: Any) -> SyncdError:
        status, said = response.status_code, self._login.clean(said_by(answer), token)
        after = pause_asked(response.headers)
        message = f"{path} answers HTTP {status}" + (f": {said}" if said else "")
        if status == 429 or status >= 500 or says_busy(said):
            return TryAgain(message, hint="the vendor is busy or in trouble; it goes on by itself", after=after)
        if response.is_success and answer is not None:
            return TryAgain(f"{message}, without success", after=after)
        if response.is_success or response.has_redirect_location:
            return TryAgain(f"{message}, which is no API answer", hint=self._login.check_url(), after=after)
        if status == 403:
            return Forbidden(
                message, hint=f"source {self._login.source}: may these credentials read exports, and of this project?"
            )
        if status == 404 and answer is None:
            return Refused(f"{message}, which is no API answer", status, hint=self._login.check_url())
        return Refused(message, status, hint="the API takes no such request; look into its changes")


def is_unauthorized(status: int, answer: object) -> bool:
    """Whether a new token may help. The one published error code is JWT_EXPIRED, with a 401 (May 2025)."""
    code = str(answer.get("errorCode", "")) if isinstance(answer, Mapping) and answer.get("success") is False else ""
    return status == 401 or code.startswith("JWT")


def one(payload: object) -> Json:
    """The object an endpoint for one thing answers with."""
    if isinstance(payload, Mapping):
        return payload
    if isinstance(payload, list) and len(payload) == 1 and isinstance(payload[0], Mapping):
        return payload[0]
    raise TryAgain("the API answers with something else than the one thing asked for")


def safe(name: str) -> str:
    """An id as a step of a path."""
    return quote(name, safe="")


def zulu(moment: datetime) -> str:
    """An instant as the API's own examples spell it."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03}Z"
