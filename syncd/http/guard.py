"""Who may look, and what a browser may do with what it sees."""

from __future__ import annotations

import base64
import binascii
import hmac

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from syncd.settings import HttpSettings, host_of
from syncd.settings.fields import is_loopback

PROBES = {"/healthz", "/readyz"}  # a kubelet has no token, and these say nothing but yes or no
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Guard:
    """An ASGI app around another."""

    def __init__(self, inner: ASGIApp, settings: HttpSettings) -> None:
        self._inner, self._settings = inner, settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        inner = self._inner
        if scope["type"] == "http" and scope["path"] not in PROBES:
            inner = self._refusal(Headers(scope=scope)) or inner
        await inner(scope, receive, sent)

    def _refusal(self, headers: Headers) -> ASGIApp | None:
        """The answer to somebody who may not look."""
        if self._settings.token:
            if is_token(self._settings.token.get_secret_value(), headers.get("authorization", "")):
                return None
            asks = {"WWW-Authenticate": 'Basic realm="syncd: any name, the token as password", charset="UTF-8"'}
            return PlainTextResponse("show the token of http.token\n", 401, asks)
        if self._settings.open or is_loopback(host_of(with_port(headers.get("host", "")))):
            return None
        # a foreign page whose name was bent to 127.0.0.1 would read along
        return PlainTextResponse("this name is not this machine's: set http.token, or http.open = true\n", 421)


def is_token(token: str, authorization: str) -> bool:
    """Whether the header shows the token: as a Bearer, or as the password of a Basic one, for browsers."""
    kind, _, shown = authorization.strip().partition(" ")
    if kind.lower() == "basic":
        try:
            shown = base64.b64decode(shown, validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            return False
    elif kind.lower() != "bearer":
        return False
    return hmac.compare_digest(shown.strip().encode(), token.encode())


def with_port(host: str) -> str:
    """A Host header as a listen address: the port may be left out."""
    return host if host.rpartition(":")[2].isdigit() and not host.endswith("]") else f"{host}:80"
