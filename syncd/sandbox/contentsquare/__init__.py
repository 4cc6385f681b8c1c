"""Contentsquare's Data Export API in a box. `Sandbox` runs it in a thread.

What it does is documented or was observed (docs/vendors/contentsquare.md); what nobody knows is a knob in `trouble`.
Besides the vendor's API there is `/_sandbox`: the truth about what is served, the log, and levers to pull meanwhile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from syncd.sandbox.contentsquare.trouble import Offer, Trouble
from syncd.sandbox.knobs import sorted_out
from syncd.sandbox.serve import welcome

if TYPE_CHECKING:
    from syncd.sandbox.contentsquare.account import Run

__all__ = ["KNOBS", "Offer", "Sandbox", "Trouble"]

KNOBS = Offer, Trouble


class Sandbox:
    """The vendor on a free port (or `port`) of 127.0.0.1, as a context manager. `chosen`: knobs by name."""

    def __init__(self, *, port: int = 0, **chosen: Any) -> None:
        from syncd.sandbox.contentsquare.api import Api
        from syncd.sandbox.server import Server

        offer, trouble = sorted_out(chosen, *KNOBS)
        self._api = Api(offer, trouble)
        self._server = Server(self._api, port)

    def start(self) -> Self:
        """Listen. After `stop` again on the same port, with all that it held. OSError: the port is taken."""
        if self._api.account.offer.prepare:
            self._api.prepare()
        self._server.start()
        self._api.url = self.url
        return self

    def stop(self) -> None:
        """Close the port and every connection; what it holds stays."""
        self._server.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._api.close()

    @property
    def url(self) -> str:
        """`http://127.0.0.1:<port>`."""
        return self._server.url

    @property
    def token_url(self) -> str:
        """Where tokens are had."""
        return f"{self.url}/v1/oauth/token"

    @property
    def client_id(self) -> str:
        """Whom it knows."""
        return self._api.client_id

    @property
    def client_secret(self) -> str:
        """What it takes as proof."""
        return self._api.client_secret

    @property
    def bugs(self) -> list[str]:
        """Tracebacks of mistakes in the sandbox itself; empty, or the test proves nothing."""
        return self._server.bugs

    @property
    def trouble(self) -> Trouble:
        """The trouble of this moment."""
        return self._api.account.trouble

    def settings(self) -> dict[str, Any]:
        """The `[sources.…]` section that reads it."""
        return self._api.settings()

    def truth(self) -> list[dict[str, Any]]:
        """What each run holds; the same as GET /_sandbox/truth."""
        return self._api.truth()

    def log(self) -> dict[str, Any]:
        """What was asked; the same as GET /_sandbox/log."""
        return self._api.traffic.told()

    def set_trouble(self, **changed: Any) -> None:
        """Turn some knobs while it runs. Row troubles hold for runs made from now on."""
        self._api.set_trouble(changed)

    def add_run(self, **asked: Any) -> Run:
        """A run that is finished now; see `Api.add_run` for what may be asked."""
        return self._api.add_run(**asked)

    def expire_links(self) -> None:
        """No link that was given out works any more; new ones do."""
        self._api.expire_links()

    def expire_run(self, run: str) -> None:
        """Delete a run's files, seven days early. `run` is `<jobId>-<jobRunId>`."""
        self._api.expire_run(run)

    def welcome(self) -> str:
        """How to use it, in one block."""
        addresses = {
            "token_url": self.token_url,
            "client_id": self.client_id,
            "client_secret": self.client_secret,
            "truth": f"{self.url}/_sandbox/truth",
        }
        return welcome("Contentsquare", addresses, self.settings())
