"""Convert's API v2 in a box. `Sandbox` runs it in a thread.

What it does is documented or was observed (docs/vendors/convert.md); what nobody knows is a knob in `trouble`. Besides
the vendor's API there is `/_sandbox`: what was asked, the mails it would have sent, and levers to pull meanwhile.
"""

from __future__ import annotations

from typing import Any, Self

from syncd.sandbox.convert.trouble import Offer, Trouble
from syncd.sandbox.knobs import sorted_out
from syncd.sandbox.serve import welcome

__all__ = ["KNOBS", "Offer", "Sandbox", "Trouble"]

KNOBS = Offer, Trouble


class Sandbox:
    """The vendor on a free port (or `port`) of 127.0.0.1, as a context manager. `chosen`: knobs by name."""

    def __init__(self, *, port: int = 0, **chosen: Any) -> None:
        from syncd.sandbox.convert.api import Api
        from syncd.sandbox.server import Server

        self.api = Api(*sorted_out(chosen, *KNOBS))
        self._server = Server(self.api, port)

    def start(self) -> Self:
        """Listen. OSError: the port is taken."""
        self._server.start()
        self.api.url = self._server.url
        return self

    def stop(self) -> None:
        """Close the port and every connection; what it holds stays."""
        self._server.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
        self.api.close()

    @property
    def url(self) -> str:
        """`http://127.0.0.1:<port>`."""
        return self._server.url

    @property
    def bugs(self) -> list[str]:
        """Tracebacks of mistakes in the sandbox itself; empty, or the test proves nothing."""
        return self._server.bugs

    @property
    def planted(self) -> list[str]:
        """Secrets and personal data that it gave out: none may be found behind a mirror."""
        return self.api.account.planted

    @property
    def mails(self) -> list[dict[str, Any]]:
        """What it would have sent by mail: raw data jobs and their links."""
        return self.api.mails

    def settings(self, **more: Any) -> dict[str, Any]:
        """The `[sources.…]` section that reads it."""
        return self.api.settings() | more

    def log(self) -> dict[str, Any]:
        """What was asked; the same as GET /_sandbox/log."""
        return self.api.told()

    def set_trouble(self, **changed: Any) -> None:
        """Turn some knobs while it runs."""
        self.api.set_trouble(changed)

    def expire_links(self) -> None:
        """No link that was given out works any more; new ones do."""
        self.api.expire_links()

    def welcome(self) -> str:
        """How to use it, in one block."""
        addresses = {
            "base_url": self.settings()["base_url"],
            "asked": f"{self.url}/_sandbox/log",
            "mails": f"{self.url}/_sandbox/mails",
        }
        return welcome("Convert", addresses, self.settings())
