"""Who may ask: the signature is checked byte for byte, by a clock that may be wrong."""

from __future__ import annotations

import hmac
import time
from hashlib import sha256

from syncd.sandbox.convert.trouble import Offer, Trouble
from syncd.sandbox.server import Call

APPLICATION = "APP-sandbox"


class Guard:
    """The account's one key."""

    def __init__(self, offer: Offer) -> None:
        self.kind = offer.auth
        self.secret = sha256(f"convert key {offer.seed}".encode()).hexdigest()[:32]
        self.refused: list[str] = []  # why, in words a test can read

    def now(self, trouble: Trouble) -> float:
        return time.time() + trouble.skew

    def complaint(self, call: Call, url: str, trouble: Trouble) -> str:
        """Why this call is refused; "" when it isn't."""
        why = self._bearer(call) if self.kind == "bearer" else self._signature(call, url, trouble)
        if why:
            self.refused.append(why)
        return why

    def _bearer(self, call: Call) -> str:
        return "" if call.headers.get("authorization") == f"Bearer {APPLICATION}:{self.secret}" else "wrong bearer"

    def _signature(self, call: Call, url: str, trouble: Trouble) -> str:
        if call.headers.get("convert-application-id") != APPLICATION:
            return "unknown application"
        expires = call.headers.get("expires", "")
        if not expires.isdecimal():
            return "Expires is no whole number"
        ahead = int(expires) - self.now(trouble)
        if not 0 < ahead <= trouble.longest_life:
            return f"Expires lies {ahead:.0f} s ahead"
        message = "\n".join([APPLICATION, expires, url]).encode() + b"\n" + call.body
        right = hmac.digest(self.secret.encode(), message, "sha256").hex()
        given = call.headers.get("authorization", "").removeprefix("Convert-HMAC-SHA256 Signature=")
        return "" if hmac.compare_digest(right, given) else "the signature is another"
