"""The API v2: one signed read at a time, its refusals told apart, its lists walked page by page.

Any thread. ConfigError: we are refused; Refused: this one read is; TryAgain: anything that may pass. Nothing here
repeats but a 401 (a signature may have aged on its way) and a list that moved while it was read.
"""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from email.utils import parsedate_to_datetime
from typing import IO, Any

import httpx
import orjson

from syncd.errors import Advanced, BadRun, Barred, ConfigError, SyncdError, TryAgain, Unsent
from syncd.fetch.http import HttpBody, broken, http_body, pause_asked, plain
from syncd.sources.convert.answers import (
    Digits,
    Json,
    dumps,
    id_of,
    is_error,
    is_link,
    loads,
    paging,
    rows,
    said,
    whole,
)  # fmt: skip
from syncd.sources.convert.pace import Pace
from syncd.sources.convert.paths import path
from syncd.sources.convert.redaction import redacted, without_mail
from syncd.sources.convert.signing import Bearer, Proof

PAGE = 50  # the most that a page may have (documented)
MOST_PAGES = 20_000  # a million entries: no account has them, so the vendor does not end its list
IMAGES = 100
LAPS = 6  # through a list that moves, before it is left for later
STALE_S = 600.0  # a walk that broke longer ago begins anew
AGREE = "our clock and the vendor's agree"
SKEW_S = 5.0  # from here on two clocks differ
WELCOME_S = 60.0  # for so long after an answer a 401 is about one read, and not about the key
IN_MEMORY = 8 << 20  # bytes of a file
SMALL = 64 << 10  # bytes up to which a file may be an error in the place of one
BUSY = re.compile(r"too many requests|rate.?limit|throttl|slow.?down", re.I)
TAGS = re.compile(rb"<(script|style).*?</\1>|<[^>]*>", re.I | re.S)
RATE = re.compile(r"\brate\b", re.I)  # in a 500, throttling; in a 422, a conversion rate
PASSING = (408, 409, 425, 429)
Ask = Callable[..., Any]  # as Api.post


class Refused(BadRun):
    """The vendor won't have this one read: a wrong body, a path it doesn't know, a right that is missing."""

    def __init__(self, message: str, status: int = 400, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.status = status


class NoRight(Refused, Barred):
    """The key may not read this."""


class Missing(Refused):
    """There is no such list, or none of this project."""


class Api:
    """One account, read only."""

    def __init__(
        self, client: httpx.Client, source: str, base_url: str, proof: Proof, pace: Pace,
        now: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        self._client, self._source, self._proof, self._now = client, source, proof, now
        self._base_url, self.pace = base_url.rstrip("/"), pace
        self._unfinished: dict[str, tuple[float, list[Any]]] = {}  # walks that broke: when they began, their answers
        self._pages: dict[str, int] = {}  # of each list when it was last read
        self._welcome_until = -float("inf")  # on the monotonic clock

    def get(self, template: str, **ids: int) -> Any:
        """The answer to a GET."""
        return self._send("GET", path("GET", template, **ids), b"")

    def post(self, template: str, body: Mapping[str, Any], **ids: int) -> Any:
        """The answer to a POST."""
        return self._send("POST", path("POST", template, **ids), orjson.dumps(body))

    @contextmanager
    def going_on(self, what: str) -> Iterator[Ask]:
        """A way to POST that gives what was answered before a TryAgain once more, so that a long walk goes on there.

        `what` names the walk. Advanced: it got further before it broke.
        """
        began, answers = self._unfinished.pop(what, (time.monotonic(), []))
        if time.monotonic() - began > STALE_S:
            began, answers = time.monotonic(), []
        replayed, had = iter(tuple(answers)), len(answers)

        def ask(template: str, body: Mapping[str, Any], **ids: int) -> Any:
            for answer in replayed:
                return answer
            answers.append(self.post(template, body, **ids))
            return answers[-1]

        try:
            yield ask
        except TryAgain as error:
            self._unfinished[what] = began, answers
            if len(answers) == had:
                raise
            raise Advanced(str(error), hint=error.hint, after=error.after) from error

    def listed(
        self, template: str, body: Mapping[str, Any], wider: Mapping[str, Any] | None = None, **ids: int
    ) -> list[Json]:
        """Every entry of a paged list, once; walked again when it moved meanwhile.

        Where the list counts more for the `wider` body, those come as well: entries with a status unheard of, say.
        """
        with self.going_on(path("POST", template, **ids)) as ask:
            found, calm = self._walked(ask, template, body, ids)
            if calm and wider and self._counted(ask, template, wider, ids) > len(found):
                more, calm = self._walked(ask, template, wider, ids)
                found = more | found
        if calm:
            return list(found.values())
        raise TryAgain(
            f"{template.rpartition('/')[2]}: the list moves faster than it can be read ({LAPS} times)",
            hint="it goes on by itself when the list is quiet",
        )

    def _counted(self, ask: Ask, template: str, body: Mapping[str, Any], ids: Mapping[str, int]) -> int:
        """How many entries the list has for this body; 0 when it won't say."""
        try:
            return whole(paging(ask(template, {**body, "onlyCount": True}, **ids)).get("items_count")) or 0
        except Refused:
            return 0

    def _walked(
        self, ask: Ask, template: str, body: Mapping[str, Any], ids: Mapping[str, int]
    ) -> tuple[dict[Any, Json], bool]:
        """The entries, and whether that is all of them: a lap without movement, or two that found the same."""
        before: set[Any] | None = None
        found: dict[Any, Json] = {}
        for _ in range(LAPS):
            found, calm, whole_lap = self._lap(ask, template, body, ids)
            if calm or (whole_lap and found.keys() == before):
                return found, True
            before = set(found) if whole_lap else None
        return found, False

    def _lap(
        self, ask: Ask, template: str, body: Mapping[str, Any], ids: Mapping[str, int]
    ) -> tuple[dict[Any, Json], bool, bool]:
        """The entries, whether nothing moved, and whether the lap was whole: one that certainly moved is given up."""
        found: dict[Any, Json] = {}
        page, count, doubled = 0, None, False
        while True:
            page += 1
            if page > MOST_PAGES:
                raise TryAgain(f"{path('POST', template, **ids)}: the list goes on behind page {MOST_PAGES}")
            answer = ask(template, {**body, "page": page, "results_per_page": PAGE}, **ids)
            got, told_of = rows(answer), paging(answer)
            fresh = {key_of(row): row for row in got if key_of(row) not in found}
            doubled |= len(fresh) < len(got)
            found |= fresh
            told, pages = whole(told_of.get("items_count")), whole(told_of.get("pages_count"))
            if page > 1 and told != count:
                return found, False, False
            count = told
            if not fresh or (pages is not None and page >= pages):
                self._pages[path("POST", template, **ids)] = page
                return found, not (doubled and pages is not None) and count in (None, len(found)), True

    def pages(self, template: str, ids: Mapping[str, int]) -> int:
        """Requests that a list took when it was last read; 1 for one that was not."""
        return self._pages.get(template.format(**ids), 1)

    def images(self, template: str, **ids: int) -> list[Json]:
        """Images page by their own keys; whether the page begins with the one named or behind it is unknown."""
        found: dict[Any, Json] = {}
        body: Json = {"max_results": IMAGES}
        with self.going_on(path("POST", template, **ids)) as ask:
            while True:
                got = rows(ask(template, body, **ids))
                fresh = {key_of(row): row for row in got if key_of(row) not in found}
                if not fresh:
                    return list(found.values())
                found |= fresh
                body = {"start_from": got[-1].get("key"), "max_results": IMAGES}

    @contextmanager
    def download(self, url: str) -> Iterator[HttpBody]:
        """A temporary link, without our credentials. LinkExpired, TryAgain, BadRun."""
        with self.pace.turn(), http_body(self._client, url) as body:
            yield body

    @contextmanager
    def file(self, template: str, body: Mapping[str, Any], **ids: int) -> Iterator[IO[bytes]]:
        """The answer to a POST that is a file itself: on our disk while it is used, from its begin."""
        with tempfile.SpooledTemporaryFile(IN_MEMORY) as file:
            self._send("POST", path("POST", template, **ids), orjson.dumps(body), file)
            file.seek(0)
            yield file

    def _send(self, method: str, where: str, content: bytes, into: IO[bytes] | None = None) -> Any:
        url = f"{self._base_url}{where}"
        for last in (False, True):
            with self.pace.turn():
                response = self._request(method, url, content, into)
            text = _begin_of(response, into)
            answer = {} if into and response.is_success and len(text) > SMALL else _json_of(response.status_code, text)
            status = is_error(answer) if response.is_success else response.status_code
            if response.is_success and not status and answer is not None:
                self.pace.answered()
                self._welcome_until = time.monotonic() + WELCOME_S
                return answer
            if status != 401 or last:
                break
        words = said(answer) or (dumps(redacted(answer)) if answer else TAGS.sub(b" ", text)).decode("utf-8", "replace")
        raise self._refusal(f"{method} {where}", status or response.status_code, response, words)

    def _request(self, method: str, url: str, content: bytes, into: IO[bytes] | None) -> httpx.Response:
        headers = {"Accept": "application/json", "Content-Type": "application/json", "Accept-Encoding": "gzip, deflate"}
        request = self._client.build_request(method, url, content=content or None, headers=headers)
        request.headers.update(self._proof.headers(str(request.url), content, self._now))
        try:
            response = self._client.send(request, auth=None, stream=into is not None)
            if into is not None:
                with closing(response):
                    into.truncate(0)
                    into.seek(0)
                    for block in response.iter_bytes() if response.is_success else ():
                        into.write(block)
                    if not response.is_success:
                        response.read()
            return response
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            told = broken(request.url.host, error, hint=f"check base_url of source {self._source} and the network")
            raise Unsent(str(told), hint=told.hint) from None
        except httpx.RequestError as error:
            raise broken(request.url.host, error) from None

    def _refusal(self, what: str, status: int, response: httpx.Response, text: str) -> SyncdError:
        told, after = self._clean(text), pause_asked(response.headers)
        message = f"{what} answers HTTP {status}" + (f": {told}" if told else "")
        if status == 429 or (status != 401 and BUSY.search(text)) or (status >= 500 and RATE.search(text)):
            self.pace.complained(after)
            hint = (
                f"the vendor wants fewer requests: they are now {self.pace.spacing_s:.1f} s apart; it goes on by itself"
            )
            return Unsent(message, hint=hint, after=after)
        if status in PASSING or status >= 500:
            return TryAgain(message, hint="the vendor is in trouble; it goes on by itself", after=after)
        clocks = self._clocks(response)
        is_welcome = clocks == AGREE and time.monotonic() < self._welcome_until
        if status == 401 and not is_welcome:
            return ConfigError(f"credentials refused: {message}; {clocks}", hint=self._suspect())
        if status in (401, 403):
            return NoRight(message, status, hint=self._no_right())
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
            return AGREE
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


def _begin_of(response: httpx.Response, into: IO[bytes] | None) -> bytes:
    """A whole answer, or the begin of the file that it is, which stays where it is."""
    if into is None or not response.is_success:
        return response.content
    into.seek(0)
    return into.read(SMALL + 1)


def _json_of(status: int, text: bytes) -> Any:
    """What an answer says; a bare link counts as JSON, and no content as a list of nothing. None: it is no JSON."""
    if status == 204:
        return []
    try:
        return loads(text)
    except (ValueError, RecursionError):
        link = text.decode("utf-8", "replace").strip()
        return {"data": link} if is_link(link) else None
