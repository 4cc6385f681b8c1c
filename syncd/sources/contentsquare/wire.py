"""Requests whose answers are looked at whole: what `Api` smooths over is what a probe wants to see."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any

import httpx

from syncd.errors import ConfigError, TryAgain
from syncd.fetch.http import broken, is_safe, json_of, pause_asked, says_busy
from syncd.fetch.seen import LONGEST_PAUSE_S, TRIES, Answer
from syncd.sources.contentsquare.answers import Json, mappings
from syncd.sources.contentsquare.api import is_unauthorized
from syncd.sources.contentsquare.login import Login, said_by


class Told(Answer):
    """An answer in this vendor's envelope."""

    @property
    def rows(self) -> list[Json]:
        """The objects of a list."""
        return list(mappings(self.body.get("payload") if isinstance(self.body, Mapping) else self.body))

    @property
    def one(self) -> Json:
        """The one object; empty for anything else."""
        payload = self.body.get("payload") if isinstance(self.body, Mapping) else None
        return payload if isinstance(payload, Mapping) else {}

    @property
    def is_ok(self) -> bool:
        said = self.body if isinstance(self.body, Mapping) else {}
        return self.status < 300 and said.get("success", True) is not False

    @property
    def is_busy(self) -> bool:
        return not self.is_ok and (self.status == 429 or self.status >= 500 or says_busy(said_by(self.body)))


class Wire:
    """The way to the vendor, with every answer remembered."""

    def __init__(self, client: httpx.Client, login: Login, slots: threading.Semaphore) -> None:
        self._client, self.login, self._slots = client, login, slots
        self.answers: list[Told] = []
        self.files: list[tuple[int, float]] = []  # status, seconds to the headers

    def get(self, path: str, kind: str = "", **params: Any) -> Told:
        """The answer, asked for again while the vendor is busy. TryAgain: it stays so; ConfigError: it refuses us."""
        for _ in range(TRIES):
            answer = self.ask(path, kind or path, **params)
            if is_unauthorized(answer.status, answer.body):
                self.login.refused(self.login.token())
            elif answer.is_busy:
                time.sleep(min(pause_asked(answer.headers) or 1.0, LONGEST_PAUSE_S))
            else:
                return answer
        if is_unauthorized(answer.status, answer.body):
            raise ConfigError(f"{kind or path} answers HTTP {answer.status} to a new token", hint="syncd check")
        raise TryAgain(f"{kind or path} answers HTTP {answer.status} again and again", hint="try it later")

    def ask(self, path: str, kind: str, **params: Any) -> Told:
        """One request, one answer."""
        with self._slots:
            return self.unbounded(path, kind, **params)

    def unbounded(self, path: str, kind: str = "", **params: Any) -> Told:
        """The same, however many are under way."""
        token = self.login.token()
        headers = {"Authorization": f"Bearer {token.bearer}", "Accept": "application/json"}
        began = time.monotonic()
        try:
            response = self._client.get(f"{token.base_url}/v1/{path}", headers=headers, params=params)
        except httpx.RequestError as error:
            raise broken(httpx.URL(token.base_url).host, error) from None
        answer = Told(kind or path, response.status_code, response.headers, json_of(response), time.monotonic() - began)
        self.answers.append(answer)
        return answer

    def file(self, url: str, most: int, **headers: str) -> tuple[int, httpx.Headers, bytes, bool]:
        """Status, headers, at most about `most` bytes as they travel, and whether that was all. TryAgain: cut."""
        here = httpx.URL(url)
        if not is_safe(here):
            raise TryAgain("a file link leads to plain http")
        began, held, ended = time.monotonic(), b"", True
        try:
            wanted = {"Accept-Encoding": "identity"} | {name.replace("_", "-"): text for name, text in headers.items()}
            with self._slots, self._client.stream("GET", here, headers=wanted) as response:
                self.files.append((response.status_code, time.monotonic() - began))
                for block in response.iter_raw():
                    held += block
                    if len(held) >= most:
                        ended = False
                        break
        except httpx.RequestError as error:
            raise broken("the host of the files", error) from None
        return response.status_code, response.headers, held, ended
