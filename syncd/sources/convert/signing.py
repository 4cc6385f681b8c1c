"""What proves who we are: a signature over the very bytes sent, or one bearer header. Neither is ever in a message."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass, field

LIFE_S = 90  # of a signature; 20 to 300 s are in use, the allowed maximum is unknown (observed)


def signature(secret: str, application: str, expires: str, url: str, body: bytes) -> str:
    """As documented: over application, expiry, the whole URL and the body, each behind a newline but the first."""
    signed = "\n".join((application, expires, url, "")).encode() + body
    return hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()


@dataclass(frozen=True)
class Signing:
    """A key of the kind `requestSigning`: each request is signed anew, also when it is repeated."""

    application: str
    secret: str = field(repr=False)

    def headers(self, url: str, body: bytes, now: Callable[[], float]) -> dict[str, str]:
        expires = str(int(now()) + LIFE_S)
        signed = signature(self.secret, self.application, expires, url, body)
        return {
            "Convert-Application-ID": self.application,
            "Expires": expires,
            "Authorization": f"Convert-HMAC-SHA256 Signature={signed}",
        }


@dataclass(frozen=True)
class Bearer:
    """A key of the kind `secretKey`."""

    key: str
    secret: str = field(repr=False)

    def headers(self, url: str, body: bytes, now: Callable[[], float]) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}:{self.secret}"}


Proof = Signing | Bearer
