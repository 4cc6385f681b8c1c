"""The API v2: one signed read at a time, its refusals told apart, its lists walked page by page.

Any thread. ConfigError: we are refused; Refused: this one read is; TryAgain: anything that may pass. Nothing here
repeats but a 401 (a signature may have aged on its way) and a list that moved while it was read.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import orjson

from syncd.errors import BadRun, ConfigError, SyncdError, TryAgain
from syncd.fetch.http import HttpBody, broken, http_body, pause_asked, plain
from syncd.sources.convert.answers import Digits, Json, dumps, id_of, is_error, loads, rows, said, whole
from syncd.sources.convert.pace import Pace
from syncd.sources.convert.paths import path
from syncd.sources.convert.redaction import without_mail
from syncd.sources.convert.signing import Bearer, Proof

PAGE = 50  # the most that a page may have (documented)
IMAGES = 100
LAPS = 6  # through a list that moves, before it is left for later
SKEW_S = 5.0  # from here on two clocks differ
BUSY = re.compile(r"too many requests|rate.?limit|\brate\b|throttl|slow.?down", re.I)
PASSING = (408, 409, 425, 429)


class Refused(BadRun):
    """The vendor won't have this one read: a wrong body, a path it doesn't know, a right that is missing."""

    def __init__(self, message: str, status: int = 400, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.status = status


class Unsent(TryAgain):
    """It never left: no connection could be made, or the vendor refused it for being too busy."""


class Api:
    """One account, read only."""

    def __init__(
        self, client: httpx.Client, source: str, base_url: str, proof: Proof, pace: Pace,
        now: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        self._client, self._source, self._proof, self._now = client, source, proof, now
        self._base_url, self.pace = base_url.rstrip("/"), pace
        self._pages: dict[str, int] = {}  # of each list when it was last read

    def get(self, template: str, **ids: int) -> Any:
        """The answer to a GET."""
        return self._send("GET", path("GET", template, **ids), b"")

    def post(self, template: str, body: Mapping[str, Any], **ids: int) -> Any:
        """The answer to a POST."""
        return self._send("POST", path("POST", template, **ids), orjson.dumps(body))

    def listed(self, template: str, body: Mapping[str, Any], **ids: int) -> list[Json]:
        """Every entry of a paged list, once; walked again when it moved meanwhile."""
        before: set[Any] | None = None
        for _ in range(LAPS):
            found, calm = self._lap(template, body, ids)
            if calm or (found is not None and found.keys() == before):
                return list((found or {}).values())
            before = None if found is None else set(found)
        raise TryAgain(
            f"{template.rpartition('/')[2]}: the list moves faster than it can be read ({LAPS} times)",
            hint="it goes on by itself when the list is quiet",
        )

    def _lap(
        self, template: str, body: Mapping[str, Any], ids: Mapping[str, int]
    ) -> tuple[dict[Any, Json] | None, bool]:
        """The entries, and whether nothing moved. None: it certainly did, and the lap was given up."""
        found: dict[Any, Json] = {}
        page, count, doubled = 0, None, False
        while True:
            page += 1
            answer = self.post(template, {**body, "page": page, "results_per_page": PAGE}, **ids)
            got, paging = rows(answer), _paging(answer)
            fresh = {key_of(row): row for row in got if key_of(row) not in found}
            doubled |= len(fresh) < len(got)
            found |= fresh
            told, pages = whole(paging.get("items_count")), whole(paging.get("pages_count"))
            if page > 1 and told != count:
                return None, False
            count = told
            if not fresh or (pages is not None and page >= pages):
                self._pages[path("POST", template, **ids)] = page
                return found, not (doubled and pages is not None) and count in (None, len(found))

    def pages(self, template: str, ids: Mapping[str, int]) -> int:
        """Requests that a list took when it was last read; 1 for one that was not."""
        return self._pages.get(template.format(**ids), 1)

    def images(self, template: str, **ids: int) -> list[Json]:
        """Images page by their own keys; whether the page begins with the one named or behind it is unknown."""
        found: dict[Any, Json] = {}
        body: Json = {"max_results": IMAGES}
        while True:
            got = rows(self.post(template, body, **ids))
            fresh = {key_of(row): row for row in got if key_of(row) not in found}
            if not fresh:
                return list(found.values())
            found |= fresh
            body = {"start_from": got[-1].get("key"), "max_results": IMAGES}

    def download(self, url: str) -> AbstractContextManager[HttpBody]:
        """A temporary link, without our credentials. LinkExpired, TryAgain, BadRun."""
        return http_body(self._client, url)

    def _send(self, method: str, where: str, content: bytes) -> Any:
        url = f"{self._base_url}{where}"
        for last in (False, True):
            with self.pace.turn():
                response = self._request(method, url, content)
            answer = _json_of(response)
            status = is_error(answer) if response.is_success else response.status_code
            if response.is_success and not status and answer is not None:
                self.pace.answered()
                return answer
            if status != 401 or last:
                break
        raise self._refusal(f"{method} {where}", status or response.status_code, response, answer)

    def _request(self, method: str, url: str, content: bytes) -> httpx.Response:
        headers = {"Accept": "application/json", "Content-Type": "application/json", "Accept-Encoding": "gzip, deflate"}
        request = self._client.build_request(method, url, content=content or None, headers=headers)
        request.headers.update(self._proof.headers(str(request.url), content, self._now))
        try:
            return self._client.send(request, auth=None)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            told = broken(request.url.host, error, hint=f"check base_url of source {self._source} and the network")
            raise Unsent(str(told), hint=told.hint) from None
        except httpx.RequestError as error:
            raise broken(request.url.host, error) from None

    def _refusal(self, what: str, status: int, response: httpx.Response, answer: Any) -> SyncdError:
        told, after = self._clean(said(answer)), pause_asked(response.headers)
        message = f"{what} answers HTTP {status}" + (f": {told}" if told else "")
        if status == 429 or (status != 401 and BUSY.search(said(answer) or response.text[:4096])):
            self.pace.complained(after)
            hint = (
                f"the vendor wants fewer requests: they are now {self.pace.spacing_s:.1f} s apart; it goes on by itself"
            )
            return Unsent(message, hint=hint, after=after)
        if status in PASSING or status >= 500:
            return TryAgain(message, hint="the vendor is in trouble; it goes on by itself", after=after)
        if status == 401:
            return ConfigError(f"credentials refused: {message}; {self._clocks(response)}", hint=self._suspect())
        if status == 403:
            return Refused(message, status, hint=self._no_right())
        if status < 400:  # a redirect, or a success that is no JSON
            return TryAgain(f"{message}, which is no API answer", hint=f"check base_url of source {self._source}")
        return Refused(message, status, hint="the vendor takes no such request: see docs/vendors/convert.md")

    def _clocks(self, response: httpx.Response) -> str:
        """How far our clock is from the vendor's: the first suspect when a signature is refused."""
        try:
            theirs = parsedate_to_datetime(response.headers.get("date", "")).timestamp()
        except ValueError:
            return "the answer has no date to hold our clock against"
        skew = self._now() - theirs
        if abs(skew) < SKEW_S:
            return "our clock and the vendor's agree"
        return f"our clock is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} the vendor's"

    def _suspect(self) -> str:
        keys = "key_id and key_secret" if isinstance(self._proof, Bearer) else "application_id and secret"
        return (
            f"set this machine's clock (NTP) if it is off; check {keys} of source {self._source}, and that the "
            "key is of the kind that auth = says: one kind doesn't work as the other"
        )

    def _no_right(self) -> str:
        return (
            f"the key of source {self._source} may not read this: give it the project and a role that may "
            "(browse is said to be enough to read), or turn the scope off"
        )

    def _clean(self, text: str) -> str:
        """Foreign text for a message: no secret, no address, one short line."""
        for secret in filter(None, (self._proof.secret,)):
            text = text.replace(secret, "***")
        return without_mail(plain(text))


def key_of(row: Json) -> Any:
    """What tells an entry of a list from the others."""
    key = id_of(row)
    if key is None:
        key = row.get("key")
    return key if isinstance(key, int | str) and not isinstance(key, Digits) else dumps(row)


def _paging(answer: Any) -> Json:
    extra = answer.get("extra") if isinstance(answer, Mapping) else None
    paging = extra.get("pagination") if isinstance(extra, Mapping) else None
    return paging if isinstance(paging, dict) else {}


def _json_of(response: httpx.Response) -> Any:
    try:
        return loads(response.content)
    except (ValueError, RecursionError):
        return None
