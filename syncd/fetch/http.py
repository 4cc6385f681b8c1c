"""HTTP as the sources need it: which URL is safe, how long to wait, and the raw bytes of a signed link.

A signed URL and a secret are never in a message of ours: httpx puts URLs into its errors and its logs, so those
stay here.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from typing import Any
from weakref import finalize

import httpx
import orjson
import structlog

from syncd.errors import BadRun, LinkExpired, TryAgain

for _name in ("httpx", "httpcore"):
    logging.getLogger(_name).setLevel(logging.WARNING)  # they log whole URLs, and a signed one is a secret

log = structlog.get_logger()

LONGEST_PAUSE_S = 3600.0
REDIRECTS = 5
PEEK = 4096  # bytes of a refusal that are looked at

BUSY = re.compile(r"concurren|too many|\blimits?\b|throttl|slow.?down|quota", re.I)
EXPIRED = re.compile(r"expired", re.I)


class Client(httpx.Client):
    """Tells how long each answer took (until its headers for a file); lets go of its connections with its last user."""

    def __init__(self, source: str, **more: Any) -> None:
        super().__init__(**more)
        self._source = source
        for transport in filter(None, (self._transport, *self._mounts.values())):
            # not __del__: of things that held each other the sockets may be finalized first, with a warning
            finalize(self, transport.close).atexit = False

    def send(self, request: httpx.Request, **more: Any) -> httpx.Response:
        began, status = time.monotonic(), 0
        try:
            response = super().send(request, **more)
            status = response.status_code
            return response
        finally:  # never printed, only listened to
            kind, seconds = "file" if more.get("stream") else "api", time.monotonic() - began
            log.debug("request_ended", source=self._source, kind=kind, status=status, seconds=seconds)


def json_of(response: httpx.Response) -> Any:
    """The JSON of an answer; None when it is none."""
    try:
        return orjson.loads(response.content.decode("utf-8", "replace"))
    except orjson.JSONDecodeError:
        return None


def is_safe(url: httpx.URL) -> bool:
    """https, or plain http to this machine itself."""
    return bool(url.host) and (url.scheme == "https" or (url.scheme == "http" and is_loopback(url.host)))


def is_loopback(host: str) -> bool:
    """Whether the host is this machine, without asking DNS."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def says_busy(said: str) -> bool:
    """Whether a refusal speaks of too many requests, whatever its status. `limit` is also a parameter of lists."""
    return bool(BUSY.search(said)) and not re.search(r"\bpage\b", said, re.I)


def pause_asked(headers: Mapping[str, str]) -> float | None:
    """Seconds of Retry-After, which may be a number or a date; at most an hour. None: nothing usable said."""
    text = headers.get("retry-after", "").strip()
    try:
        seconds = float(text)
    except ValueError:
        until, now = _date(text), _date(headers.get("date", "")) or datetime.now(UTC)  # their clock, not ours
        if until is None:
            return None
        seconds = (until - now).total_seconds()
    return min(max(seconds, 0.0), LONGEST_PAUSE_S) if seconds == seconds else None


def _date(text: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(text)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


@dataclass
class HttpBody:
    """The wire bytes of a part, from `start` on."""

    response: httpx.Response
    host: str
    start: int
    total: int | None
    tag: str

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self.response.iter_raw()
        except httpx.TransportError as error:
            raise broken(self.host, error) from None


@contextmanager
def http_body(client: httpx.Client, url: str, start: int = 0, tag: str = "") -> Iterator[HttpBody]:
    """GET a signed link, from `start` on when the far side still has the version `tag`. No credentials are sent.

    LinkExpired: 401, 403, 404, 410, or a 400 that says so. TryAgain: the rest, with the pause asked for.
    """
    headers = {"Accept-Encoding": "identity"}  # the bytes as stored: their length is checked
    if start and tag:
        headers |= {"Range": f"bytes={start}-", "If-Range": tag}
    response = _get(client, url, headers)
    try:
        body = _body(response, start if "Range" in headers else 0, tag)
        if body is None:  # no sense in this range: take the whole
            response.close()
            response = _get(client, url, {"Accept-Encoding": "identity"})
            body = _body(response, 0, "")
        if body is None:
            raise TryAgain(f"{response.url.host} answers {response.status_code} to a request for a whole file")
        yield body
    finally:
        response.close()


def _body(response: httpx.Response, start: int, tag: str) -> HttpBody | None:
    """The body of an answer to a request from `start` on; None when it is not what was asked for."""
    host, found = response.url.host, _validator(response.headers)
    if response.status_code == 200:
        length = response.headers.get("content-length", "")
        return HttpBody(response, host, 0, int(length) if length.isdecimal() else None, found)
    span = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", response.headers.get("content-range", "").strip())
    if response.status_code != 206 or span is None:
        return None
    first, last, total = map(int, span.groups())
    if first != start or last + 1 != total or found not in ("", tag):
        return None
    return HttpBody(response, host, start, total, tag)


def _validator(headers: Mapping[str, str]) -> str:
    """What a later If-Range may be sent with: a strong ETag, else the date."""
    tag = headers.get("etag", "")
    return tag if tag.startswith('"') else headers.get("last-modified", "")


def _get(client: httpx.Client, url: str, headers: dict[str, str]) -> httpx.Response:
    """An open answer of 200, 206 or 416; redirects followed to safe places only."""
    here = _parsed(url)
    for _ in range(REDIRECTS):
        if not is_safe(here):
            raise BadRun(
                f"a file link leads to {here.scheme}://{here.host}",
                hint="plain http is refused: ask the vendor for https links",
            )
        try:
            response = client.send(client.build_request("GET", here, headers=headers), stream=True, auth=None)
        except httpx.TransportError as error:
            raise broken(here.host, error) from None
        if not response.has_redirect_location:
            break
        response.close()
        here = here.join(_parsed(response.headers["location"]))
    else:
        raise TryAgain(f"{here.host} redirects a file request for ever")
    if response.status_code not in (200, 206, 416):
        raise _refusal(response)
    return response


def _parsed(url: str) -> httpx.URL:
    try:
        return httpx.URL(url)
    except (httpx.InvalidURL, TypeError):
        raise BadRun("a file link is no URL", hint="ask the vendor") from None


def _refusal(response: httpx.Response) -> LinkExpired | TryAgain:
    """The error for an answer without a file; closes it."""
    host, status = response.url.host, response.status_code
    text = b""
    try:
        for block in response.iter_raw():
            text += block
            if len(text) >= PEEK:
                break
    except httpx.TransportError:
        pass  # the status says enough
    finally:
        response.close()
    said = text.decode("utf-8", "replace")
    after = pause_asked(response.headers)
    if status in (400, 403) and says_busy(said):
        return TryAgain(f"{host}: too many requests at once (HTTP {status})", after=after)
    if status in (401, 403, 404, 410) or (status == 400 and EXPIRED.search(said)):
        hint = "it is tried again with a new link, for as long as the vendor promises the file"
        return LinkExpired(f"{host}: the link of a file works no longer (HTTP {status})", hint=hint)
    return TryAgain(f"{host} answers a file request with HTTP {status}", after=after)


def broken(host: str, error: httpx.RequestError, *, hint: str = "it goes on by itself") -> TryAgain:
    """A connection that could not be made or kept, without the URL. Raise it `from None`: httpx keeps the URL."""
    kind = "no answer in time from" if isinstance(error, httpx.TimeoutException) else "the connection broke to"
    if isinstance(error, httpx.ConnectError):
        kind = "no connection to"
    return TryAgain(f"{kind} {host} ({plain(str(error)) or type(error).__name__})", hint=hint)


def plain(text: str, most: int = 300) -> str:
    """Foreign text for a message: one line, bounded, no query strings (signatures live there)."""
    text = re.sub(r"\?[^\s\"'<>]*", "?…", text)
    return " ".join(text.split())[:most]
