"""The part of Cordial's API that exports need: asking for one, and looking at jobs (docs/vendors/cordial.md).

Any thread. The key is nowhere but in the header of a request, a zone's secrets nowhere but in a POST's body.
ConfigError: we are refused; BadRun: what was asked for is; Unanswered: nobody knows whether it was taken.
"""

from __future__ import annotations

import base64
import binascii
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import httpx
import orjson
from pydantic import SecretStr

from syncd.errors import BadRun, ConfigError, SyncdError, TryAgain
from syncd.fetch.http import LONGEST_PAUSE_S, broken, json_of, pause_asked, plain

PAGE = 25  # rows: more is refused with some options (documented)
PAGES = 60
WALKS = 5
ENDED, FAILED = "done", "failed"


class Unanswered(TryAgain):
    """A POST may have been taken, or not: look for its job before another."""


class Refused(BadRun):
    """Cordial takes no such request: asking again is useless until the configuration changes."""


@dataclass(frozen=True)
class Job:
    """A job as the vendor lists it; every key may be missing."""

    id: str
    status: str  # in small letters: done, failed, or anything else while it works
    amount: int | None = None  # what it says that it has written, or was to
    ended_at: datetime | None = None
    raw: str = field(default="", repr=False)  # whole: which key holds the name that was asked for is unknown

    @staticmethod
    def read(row: Mapping[str, Any]) -> Job:
        """From any of the forms seen."""
        times = _inner(row, "times")
        counts = [row.get(key) for key in ("completedItems", "totalItems")]
        return Job(
            id=_id(row),
            status=str(row.get("status") or "").casefold(),
            amount=max((count for count in counts if isinstance(count, int)), default=None),
            ended_at=instant(times.get("end")),
            raw=orjson.dumps(row, option=orjson.OPT_NON_STR_KEYS).decode(),
        )


def _inner(row: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = row.get(key)
    return found if isinstance(found, Mapping) else {}


def _id(row: Mapping[str, Any]) -> str:
    """The schema of a job leaves out its id; these are the keys that may hold it."""
    found = next((row[key] for key in ("_id", "id", "jobId") if row.get(key)), "")
    return str(found.get("$oid", "")) if isinstance(found, Mapping) else str(found)


class Api:
    """The account behind one key."""

    def __init__(
        self,
        client: httpx.Client,
        source: str,
        base_url: str,
        key: SecretStr,
        secrets: Sequence[SecretStr],
        slots: threading.Semaphore,
    ) -> None:
        self._client, self._source, self._base = client, source, base_url.rstrip("/")
        self._key, self._secrets, self._slots = key, (key, *secrets), slots

    def greet(self) -> None:
        """One cheap request: does the account know us?"""
        self.look("jobs", per_page=1)

    def look(self, path: str, **params: Any) -> Any:
        """The JSON that a GET answers with, as it is. Refused."""
        return self._send("GET", path, params=params)

    def ask(self, endpoint: str, body: Mapping[str, Any]) -> str:
        """The id of the job that this POST made. Refused, Unanswered. A repetition makes a second job."""
        answer = self._send("POST", endpoint, content=orjson.dumps(body))
        if isinstance(answer, Mapping) and (id := _id(answer)):
            return id
        raise Unanswered(f"{endpoint}: taken, but without a jobId", hint="its job is looked up by its name")

    def job(self, id: str) -> Job | None:
        """One job; None when Cordial has forgotten it (after 60 days, documented)."""
        answer = self._send("GET", f"jobs/{quote(id, safe='')}", missing_is_none=True)
        if isinstance(answer, list):
            answer = answer[0] if answer else None
        return Job.read(answer) if isinstance(answer, Mapping) else None

    def jobs(self, name: str, since: datetime | None, **filters: str) -> Iterator[Job]:
        """Jobs that began since then, in any order, none twice. Where pages begin, and how long one is, nobody says; a
        list that moved under the walk is walked again."""
        params = ({"jobName": name} if name else {}) | filters
        if since:
            params["times[start][gte]"] = since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        seen: set[str] = set()
        for _ in range(WALKS):
            met: set[str] = set()  # in this walk
            before: set[str] = set()  # on the page before
            moved = False
            for page in (None, *range(1, PAGES)):
                rows = self._page(params if page is None else params | {"page": str(page)})
                jobs = [job for job in map(Job.read, rows) if job.id]
                yield from (job for job in jobs if job.id not in seen)
                ids = {job.id for job in jobs}
                moved |= bool(ids & met) and ids != before  # page 1 may be the first again, the last one stay the last
                if not ids or (page not in (None, 1) and ids <= met):
                    break
                before, met, seen = ids, met | ids, seen | ids
            if not moved:
                return

    def _page(self, params: dict[str, str]) -> list[Mapping[str, Any]]:
        """The rows of a page. A filter that is refused is dropped for good: it only spares work."""
        while True:
            try:
                rows = self.look("jobs", **params, per_page=str(PAGE))
            except Refused as error:
                if "page" in params:
                    return []  # behind the last one
                if not params:
                    raise TryAgain(str(error), hint=self._check_base_url()) from None
                params.popitem()
                continue
            return [row for row in rows if isinstance(row, Mapping)] if isinstance(rows, list) else []

    def _send(self, method: str, path: str, *, missing_is_none: bool = False, **what: Any) -> Any:
        """The JSON of an answer."""
        coded = base64.b64encode(f"{self._key.get_secret_value()}:".encode()).decode()
        headers = {
            "Authorization": f"Basic {coded}",
            "Content-Type": "application/json",
            "Accept": "application/json",
        }
        try:
            with self._slots:
                response = self._client.request(method, f"{self._base}/{path}", headers=headers, **what)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise broken(self._host, error, hint=self._check_base_url()) from None
        except httpx.RequestError as error:
            trouble = broken(self._host, error)
            raise (Unanswered(str(trouble), hint=trouble.hint) if method == "POST" else trouble) from None
        answer = json_of(response)
        if response.is_success and answer is not None:
            return answer
        if response.status_code == 404 and missing_is_none:
            return None
        raise self._refusal(method, path, response, answer)

    def _refusal(self, method: str, path: str, response: httpx.Response, answer: Any) -> SyncdError:
        status, after = response.status_code, pause(response.headers)
        said = self.clean(said_by(answer))
        message = f"{path} answers HTTP {status}" + (f": {said}" if said else "")
        match status:
            case 403 | 404 if method == "POST":  # of this endpoint: others may be ours
                return Refused(message, hint=self._check_key())
            case 401 | 403:
                return ConfigError(f"refused: {message}", hint=self._check_key())
            case 429:
                return TryAgain(message, hint="Cordial's rate limit; it goes on by itself", after=after)
            case 400 | 406 | 415 | 422:
                return Refused(message)
            case 404:
                return ConfigError(message, hint=self._check_base_url())
        kind = Unanswered if method == "POST" and (status >= 500 or response.is_success) else TryAgain
        hint = "Cordial is in trouble; it goes on by itself" if status >= 500 else self._check_base_url()
        return kind(message, hint=hint, after=after)

    def clean(self, text: str, most: int = 300) -> str:
        """Foreign text for a message: no secret, one line of so many characters."""
        for secret in filter(None, (secret.get_secret_value() for secret in self._secrets)):
            for spelling in (secret, orjson.dumps(secret).decode()[1:-1]):
                text = text.replace(spelling, "***")
        return plain(text, most)

    @property
    def _host(self) -> str:
        return httpx.URL(self._base).host

    def _check_base_url(self) -> str:
        return f"check sources.{self._source}.base_url: it leads to {self._base}"

    def _check_key(self) -> str:
        hint = (
            f"check sources.{self._source}.api_key; in Cordial's UI the key must allow this machine's address, "
            "POST on the export endpoints and GET on jobs"
        )
        if is_encoded(self._key.get_secret_value()):
            hint = (
                f"sources.{self._source}.api_key looks encoded already (Base64 of a key and a colon): "
                f"write the raw key; else {hint}"
            )
        return hint


def is_encoded(key: str) -> bool:
    """Whether it is Base64 of a text that ends with a colon: what travels in the header, not the key."""
    try:
        return base64.b64decode(key, validate=True).decode().endswith(":")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return False


def said_by(answer: object) -> str:
    """What an error says, in any of the forms seen: `error` is a text or true, details stand under many names."""
    if not isinstance(answer, Mapping):
        return ""
    keys = ("error", "errorKey", "message", "messages", "validationErrors", "fieldErrors", "errors")
    words = [answer.get(key) for key in keys]
    return " ".join(
        word if isinstance(word, str) else orjson.dumps(word, default=str).decode()
        for word in words
        if word and word is not True and word != "GENERIC_ERROR_KEY"
    )


def pause(headers: httpx.Headers) -> float | None:
    """Seconds that Cordial asks us to wait: Retry-After, else what it says until its limit is reset."""
    if (after := pause_asked(headers)) is not None:
        return after
    try:
        seconds = float(headers.get("x-rate-limit-reset", ""))
    except ValueError:
        return None
    return min(max(seconds, 0.0), LONGEST_PAUSE_S) if seconds == seconds else None


def instant(text: object) -> datetime | None:
    """An instant in any of the forms seen; without a zone it is UTC."""
    if not isinstance(text, str):
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
