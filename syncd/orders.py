"""What an operator asks of a run: `retry`. Without a daemon the command does it itself, else the daemon does."""

from __future__ import annotations

import structlog

from syncd.assemble import House
from syncd.state import FOUND, Order, run_of

log = structlog.get_logger()


def carry_out(house: House, order: Order) -> bool:
    """Act on one order and forget it; True when the source wants a pass now."""
    row = next((row for row in house.state.runs(order.source) if row["run"] == order.run), None)
    if row is not None and order.source in house.mirrors:
        accept = bool(order.details.get("accept_rejected"))
        house.state.record(run_of(row), state=FOUND, error="", hint="", accept_rejected=accept)
        log.info("run_retried", run=f"{order.source}/{order.run}", accept_rejected=accept)
    house.state.done(order)
    return row is not None and order.source in house.mirrors
