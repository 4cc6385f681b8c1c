"""A token for the API, for as long as it lives, and the base URL that came with it. Any thread."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
from pydantic import SecretStr

from syncd.errors import ConfigError, SyncdError, TryAgain
from syncd.fetch.http import broken, is_safe, json_of, pause_asked, plain, says_busy

LIFE_S = 3600.0  # of a token (documented), where the answer doesn't say
LONGEST_LIFE_S = 86400.0
TOKEN_PATH = "/oauth/token"  # noqa: S105  # where the vendor gives tokens (documented, May 2025)
RENEW_AT = 0.85  # of its life


@dataclass(frozen=True)
class Token:
    """What a request needs: the bearer and where to send it."""

    bearer: str = field(repr=False)
    base_url: str
    renew_at: float  # on the monotonic clock
    worked: threading.Event = field(default_factory=threading.Event, repr=False, compare=False)  # for any request


class Login:
    """The client credentials of one source. Neither they nor a token is ever in a message."""

    def __init__(
        self,
        client: httpx.Client,
        source: str,
        token_url: str,
        client_id: str,
        client_secret: SecretStr,
        project_id: int | None,
    ) -> None:
        self._client, self.source, self._url = client, source, token_url
        self._id, self._secret, self._project = client_id, client_secret, project_id
        self._token: Token | None = None
        self._lock = threading.Lock()

    def token(self) -> Token:
        """A token that works now; one thread at a time asks for a new one."""
        with self._lock:
            if self._token is None or time.monotonic() >= self._token.renew_at:
                self._token = None
                self._token = self._ask()
            return self._token

    def refused(self, token: Token) -> None:
        """The API no longer takes this one. Of many threads that learn it at once, one drops it."""
        with self._lock:
            if self._token is token:
                self._token = None

    def clean(self, text: str, token: Token | None = None) -> str:
        """Foreign text for a message: no secret, no token, no query string, one short line."""
        for secret in (self._secret.get_secret_value(), token.bearer if token else ""):
            text = text.replace(secret, "***") if secret else text
        return plain(text)

    def _ask(self) -> Token:
        asked_at = time.monotonic()
        response = self.request()
        answer = json_of(response)
        if response.is_success and isinstance(answer, Mapping):
            bearer = answer.get("access_token")
            if isinstance(bearer, str) and bearer.isascii() and bearer.isprintable() and bearer:
                life = RENEW_AT * _seconds(answer.get("expires_in"))
                return Token(bearer, self._base_url(answer.get("endpoint")), asked_at + life)
        raise self._refusal(response, answer)

    def request(self, secret: SecretStr | None = None) -> httpx.Response:
        """The answer to a request for a token, as it comes; with another `secret` than ours. TryAgain: none came."""
        wanted: dict[str, Any] = {
            "client_id": self._id,
            "client_secret": (secret or self._secret).get_secret_value(),
            "grant_type": "client_credentials",
            "scope": "data-export",
        }
        if self._project is not None:
            wanted["project_id"] = self._project
        try:
            return self._client.post(self._url, json=wanted, headers={"Accept": "application/json"})
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise broken(address_of(self._url), error, hint=self.check_url()) from None

    def _base_url(self, endpoint: object) -> str:
        """`endpoint`, with or without scheme, slash and version; absent: the host of the token URL."""
        text = endpoint.strip() if isinstance(endpoint, str) else ""
        if text and "://" not in text:
            text = f"https://{text}"
        try:
            url = httpx.URL(text) if text else httpx.URL(self._url).copy_with(raw_path=b"/")
        except httpx.InvalidURL:
            url = httpx.URL(self._url).copy_with(raw_path=b"/")
        if not is_safe(url):
            raise ConfigError(
                f"the token answer sends us to {url.scheme}://{url.host}: plain http is refused",
                hint=self.check_url(),
            )
        return str(url.copy_with(query=None, fragment=None)).rstrip("/").removesuffix("/v1").rstrip("/")

    def _refusal(self, response: httpx.Response, answer: object) -> SyncdError:
        status, host = response.status_code, httpx.URL(self._url).host
        said = self.clean(said_by(answer))
        message = f"{host} answers HTTP {status} to the request for a token" + (f": {said}" if said else "")
        after = pause_asked(response.headers)
        keys = f"sources.{self.source}.client_id, client_secret and project_id"
        if status == 429 or says_busy(said):
            return TryAgain(message, after=after)
        usual = httpx.URL(self._url).path.rstrip("/").endswith(TOKEN_PATH)
        if status in (400, 401, 403) and isinstance(answer, Mapping) and usual:
            return ConfigError(
                f"credentials refused: {message}", hint=f"check {keys}; credentials end a year after they were made"
            )
        if status in (401, 403):
            return ConfigError(f"credentials refused: {message}", hint=f"check {keys}, and {self.check_url()}")
        if status in (400, 404, 405, 410):
            return ConfigError(message, hint=self.check_url())
        if status == 500:
            return TryAgain(message, hint=f"possibly wrong credentials: check {keys}", after=after)
        if response.is_success or response.has_redirect_location:
            return TryAgain(f"{message}, but no token", hint=self.check_url(), after=after)
        return TryAgain(message, hint="the vendor is in trouble; it goes on by itself", after=after)

    def check_url(self) -> str:
        return f"check sources.{self.source}.token_url: it leads to {address_of(self._url)}{httpx.URL(self._url).path}"


def address_of(url: str) -> str:
    """Host and port, where one is named."""
    return httpx.URL(url).netloc.decode("ascii")


def said_by(answer: object) -> str:
    """What an error answer says, in any of the forms that the vendor's services use; '' for nothing."""
    if not isinstance(answer, Mapping):
        return ""
    words = (answer.get(key) for key in ("errorCode", "error", "errorMessage", "error_description", "message"))
    return " ".join(str(word) for word in words if word)


def _seconds(life: object) -> float:
    try:
        seconds = float(life)  # type: ignore[arg-type]  # anything may come; what is no number raises
    except (TypeError, ValueError):
        return LIFE_S
    return min(seconds, LONGEST_LIFE_S) if math.isfinite(seconds) and seconds > 0 else LIFE_S
