"""What an operator asks of a run: `retry`. Without a daemon the command does it itself, else the daemon does."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import structlog

from syncd.assemble import STATE, House
from syncd.errors import ConfigError
from syncd.ledger import look
from syncd.settings import Settings
from syncd.state import EXPIRED, FOUND, SET_ASIDE, Order, open_state, run_of
from syncd.sync import End, bring_home

log = structlog.get_logger()


def orders_for(settings: Settings, verb: str, names: Iterable[str], **details: Any) -> list[Order]:
    """One order a run; ConfigError names every run that can't be ordered, and why."""
    known = {f"{run['source']}/{run['run']}": run["state"] for run in look(settings).runs}
    problems = []
    for name in names:
        if name not in known:
            problems.append(f"{name}: no such run")
        elif known[name] not in (SET_ASIDE, EXPIRED, FOUND):
            problems.append(f"{name}: is {known[name]}, there is nothing to retry")
        elif name.split("/")[0] not in settings.sources:
            problems.append(f"{name}: its source is not configured any more")
    if problems:
        raise ConfigError("; ".join(problems), hint="the runs: syncd runs --state set_aside")
    split = [name.split("/", 1) for name in names]
    return [Order(0, verb, source, run, details) for source, run in split]


def leave(settings: Settings, orders: Iterable[Order]) -> None:
    """Leave the orders for the daemon."""
    state = open_state(settings.data_dir / STATE)
    for order in orders:
        state.leave(order)
    state.close()


def carry_out(house: House, order: Order) -> bool:
    """Act on one order and forget it; True when the source wants a pass now."""
    row = next((row for row in house.state.runs(order.source) if row["run"] == order.run), None)
    if row is not None:
        accept = bool(order.details.get("accept_rejected"))
        house.state.record(run_of(row), state=FOUND, error="", hint="", accept_rejected=accept)
        log.info("run_retried", run=f"{order.source}/{order.run}", accept_rejected=accept)
    house.state.done(order)
    return row is not None and order.source in house.mirrors


def work_off(house: House, orders: Sequence[Order]) -> list[End]:
    """Carry the orders out, here and now."""
    for order in orders:
        carry_out(house, order)
    wanted = {(order.source, order.run) for order in orders}
    rows = [row for row in house.state.runs() if (row["source"], row["run"]) in wanted]
    return [bring_home(house.mirrors[row["source"]], run_of(row)) for row in rows]
