"""Cordial's export API in a box, with jobs that take time and delivery to real landing zones.

What it does is documented or was observed (docs/vendors/cordial.md); what nobody knows is a knob in `trouble`. It
brings an SFTP server of its own, and delivers wherever a request says. Besides the API there is `/_sandbox`.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Self

from syncd.sandbox.cordial.trouble import Offer, Trouble
from syncd.sandbox.knobs import sorted_out
from syncd.sandbox.serve import welcome

if TYPE_CHECKING:
    from syncd.sandbox.cordial.zone import OwnZone

__all__ = ["KNOBS", "Offer", "Sandbox", "Trouble"]

KNOBS = Offer, Trouble


class Sandbox:
    """The vendor on a free port (or `port`) of 127.0.0.1, as a context manager. `chosen`: knobs by name."""

    def __init__(self, *, port: int = 0, **chosen: Any) -> None:
        from syncd.sandbox.cordial.api import Api
        from syncd.sandbox.server import Server

        offer, trouble = sorted_out(chosen, *KNOBS)
        self.api = Api(offer, trouble)
        self.zone: OwnZone | None = None
        self._server = Server(self.api, port)

    def start(self) -> Self:
        """Listen. OSError: the port is taken; ValueError: a package for its zone is missing."""
        if not self.api.jobs.offer.no_zone:
            try:
                from syncd.sandbox.cordial.zone import OwnZone
            except ImportError as error:
                raise ValueError(f"{error.name} isn't here: pip install 'syncd[sftp]', or --no-zone") from error
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

    def welcome(self) -> str:
        """How to use it, in one block."""
        start = datetime.now(UTC) - timedelta(days=3)
        exports = f'job_poll = "1s"\n\n[sources.sandbox.exports.activities]\nstart = "{start:%Y-%m-%d}"\n'
        return welcome("Cordial", {"truth": f"{self.url}/_sandbox/truth"}, self.settings(), exports)
