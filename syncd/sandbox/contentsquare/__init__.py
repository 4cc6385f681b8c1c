"""Contentsquare's Data Export API in a box. `Sandbox` runs it in a thread, `serve` until a signal.

What it does is documented or was observed (docs/vendors/contentsquare.md); what nobody knows is a knob in `trouble`.
Besides the vendor's API there is `/_sandbox`: the truth about what is served, the log, and levers to pull meanwhile.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from threading import Event
from typing import TYPE_CHECKING, Any, Self

from syncd.sandbox.contentsquare.trouble import Offer, Trouble, knobs, sorted_out

if TYPE_CHECKING:
    from syncd.sandbox.contentsquare.account import Run

__all__ = ["Offer", "Sandbox", "Trouble", "knobs", "serve"]


class Sandbox:
    """The vendor on a free port (or `port`) of 127.0.0.1, as a context manager. `chosen`: knobs by name."""

    def __init__(self, *, port: int = 0, **chosen: Any) -> None:
        from syncd.sandbox.contentsquare.api import Api
        from syncd.sandbox.server import Server

        offer, trouble = sorted_out(chosen)
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


def serve(port: int = 0, show: Callable[[str], Any] = print, **chosen: Any) -> None:
    """Serve until SIGTERM or SIGINT; `show` gets one block that says how to use it. Main thread only.

    ValueError: a knob can't be so. OSError: the port is taken.
    """
    stop = Event()
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        with Sandbox(port=port, **chosen) as sandbox:
            show(_welcome(sandbox))
            sys.stdout.flush()
            stop.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _welcome(sandbox: Sandbox) -> str:
    section = "\n".join(
        f"{name} = {value}" if isinstance(value, int) else f'{name} = "{value}"'
        for name, value in sandbox.settings().items()
    )
    return (
        f"Contentsquare in a box, until Ctrl-C ({datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC)\n\n"
        f"token_url      {sandbox.token_url}\n"
        f"client_id      {sandbox.client_id}\n"
        f"client_secret  {sandbox.client_secret}\n"
        f"truth          {sandbox.url}/_sandbox/truth\n\n"
        f"In syncd.toml:\n\n[sources.sandbox]\n{section}\n"
    )
