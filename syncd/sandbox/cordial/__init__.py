"""Cordial's export API in a box, with jobs that take time and delivery to real landing zones.

What it does is documented or was observed (docs/vendors/cordial.md); what nobody knows is a knob in `trouble`. It
brings an SFTP server of its own, and delivers wherever a request says. Besides the API there is `/_sandbox`.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from threading import Event
from typing import TYPE_CHECKING, Any, Self

from syncd.sandbox.cordial.trouble import Offer, Trouble, sorted_out
from syncd.sandbox.knobs import Knob, flags

if TYPE_CHECKING:
    from syncd.sandbox.cordial.zone import OwnZone

__all__ = ["Offer", "Sandbox", "Trouble", "knobs", "serve"]


def knobs() -> list[Knob]:
    """Every knob, in order."""
    return flags(Offer, Trouble)


class Sandbox:
    """The vendor on a free port (or `port`) of 127.0.0.1, as a context manager. `chosen`: knobs by name."""

    def __init__(self, *, port: int = 0, **chosen: Any) -> None:
        from syncd.sandbox.cordial.api import Api
        from syncd.sandbox.server import Server

        offer, trouble = sorted_out(chosen)
        self.api = Api(offer, trouble)
        self.zone: OwnZone | None = None
        self._server = Server(self.api, port)

    def start(self) -> Self:
        """Listen. OSError: the port is taken."""
        if not self.api.jobs.offer.no_zone:
            from syncd.sandbox.cordial.zone import OwnZone

            self.zone = OwnZone(no_folders=self.api.jobs.offer.zone_no_folders)
            self.zone.start()
        self._server.start()
        return self

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self._server.stop()
        self.api.jobs.close()
        if self.zone:
            self.zone.stop()

    @property
    def url(self) -> str:
        """`http://127.0.0.1:<port>`."""
        return self._server.url

    @property
    def bugs(self) -> list[str]:
        """Tracebacks of mistakes in the sandbox itself; empty, or the test proves nothing."""
        return [*self._server.bugs, *self.api.jobs.bugs]

    def settings(self) -> dict[str, Any]:
        """The `[sources.…]` section that reads it, but for its exports."""
        account = {"kind": "cordial", "api_key": self.api.key, "base_url": f"{self.url}/v2"}
        return account | (self.zone.settings() if self.zone else {})

    def truth(self) -> list[dict[str, Any]]:
        """What each job delivered; the same as GET /_sandbox/truth."""
        return [job.truth() for job in self.api.jobs.all]

    def events(self, start: datetime, end: datetime) -> list[dict[str, Any]]:
        """Every event of a period, as made."""
        from syncd.sandbox.cordial.rows import events

        offer = self.api.jobs.offer
        return list(events(offer.seed, offer.rows, start, end))

    def log(self) -> dict[str, Any]:
        """What was asked; the same as GET /_sandbox/log."""
        return self.api.traffic.told()

    def set_trouble(self, **changed: Any) -> None:
        """Turn some knobs while it runs; jobs under way keep theirs."""
        self.api.set_trouble(changed)


def serve(port: int = 0, show: Callable[[str], Any] = print, **chosen: Any) -> None:
    """Serve until SIGTERM or SIGINT; `show` gets one block that says how to use it. Main thread only.

    ValueError: a knob can't be so, or a package for its zone is missing. OSError: the port is taken.
    """
    stop = Event()
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        with Sandbox(port=port, **chosen) as sandbox:
            show(_welcome(sandbox))
            sys.stdout.flush()
            stop.wait()
    except ImportError as error:
        raise ValueError(f"{error.name} isn't here: pip install 'syncd[sftp]', or --no-zone") from error
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _welcome(sandbox: Sandbox) -> str:
    section = "\n".join(f'{name} = "{value}"' for name, value in sandbox.settings().items())
    start = datetime.now(UTC) - timedelta(days=3)
    return (
        f"Cordial in a box, until Ctrl-C ({datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC)\n\n"
        f"truth  {sandbox.url}/_sandbox/truth\n\n"
        f"In syncd.toml:\n\n[sources.sandbox]\n{section}\n"
        f'job_poll = "1s"\n\n[sources.sandbox.exports.activities]\nstart = "{start:%Y-%m-%d}"\n'
    )
