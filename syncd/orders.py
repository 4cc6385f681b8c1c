"""What an operator asks of runs: `retry`, `replay`, `ingest`. Beside a daemon the order is left for it, else done."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import structlog

from syncd.asking import anew
from syncd.assemble import LANDING, House
from syncd.commits import tell
from syncd.disk import trouble
from syncd.errors import BadRun, ConfigError, SyncdError, TryAgain
from syncd.handover import INGEST, ingest
from syncd.judge import judge
from syncd.landing import Landing
from syncd.ledger import states_of
from syncd.model import Run, Staged
from syncd.settings import Settings
from syncd.stage import stage_part
from syncd.state import EXPIRED, FOUND, SET_ASIDE, WAITING, Order, open_state, run_of
from syncd.sync import (
    End,
    Mirror,
    about,
    ask_for_exports,
    bring_home,
    each_done,
    not_delivered,
    tally,
    watched,
)

RETRY, REPLAY = "retry", "replay"
FITS = {RETRY: {SET_ASIDE, EXPIRED, FOUND, WAITING}, REPLAY: {"loaded", "superseded"}}
INSTEAD = {RETRY: "to parse it again: syncd replay", REPLAY: "to try it again: syncd retry"}

log = structlog.get_logger()


def orders_for(settings: Settings, verb: str, names: Sequence[str], **details: Any) -> list[Order]:
    """One order a run; ConfigError names every run that can't be ordered, and why."""
    known = states_of(settings, names)
    landing = Landing(settings.data_dir / LANDING)
    problems, orders = [], []
    for name in dict.fromkeys(names):
        source, _, run = name.partition("/")
        if name not in known:
            problems.append(f"{name}: no such run")
        elif known[name] not in FITS[verb]:
            problems.append(f"{name} is {known[name]}; {INSTEAD[verb]} {name}")
        elif source not in settings.sources:
            problems.append(f"{name}: its source is not configured any more")
        elif verb == REPLAY and not landing.run(source, run):
            problems.append(f"{name}: its landed bytes are gone, see landing.keep")
        orders.append(Order(0, verb, source, run, details))
    if problems:
        raise ConfigError("; ".join(problems), hint="a run is named SOURCE/RUN: syncd runs")
    return orders


def leave(settings: Settings, orders: Iterable[Order]) -> None:
    """Leave the orders for the daemon."""
    state = open_state(settings.state_path)
    for order in orders:
        state.leave(order)
    state.close()


def work_off(house: House, orders: Sequence[Order]) -> list[End]:
    """Carry the orders out, one by one, and forget each behind it."""
    does = {RETRY: retry, REPLAY: replay, INGEST: ingest}
    ends = []
    for order in orders:
        if order.source in house.mirrors:
            ends += does[order.verb](house.mirrors[order.source], order)
        else:
            name = f"{order.source}/{order.run}"
            log.warning("order_dropped", verb=order.verb, run=name, hint="reload the daemon, then order it again")
        house.state.done(order)
    return ends


def retry(mirror: Mirror, order: Order) -> list[End]:
    """Put a run back to work; one that was never delivered is asked for anew."""
    for noted in mirror.state.requests.of(order.source):
        if noted.request.id == order.run and noted.state in (SET_ASIDE, WAITING):
            mirror.state.requests.note(anew(noted, mirror.clock()))
            log.info("run_retried", run=noted.request.name, accept_rejected=False)
            return retry_asking(mirror, order)
    rows = [row for row in mirror.state.runs(order.source) if row["run"] == order.run]
    accept = bool(order.details.get("accept_rejected"))
    for row in rows:
        if row["state"] == SET_ASIDE:
            begin_anew(mirror, run_of(row), accept_rejected=accept)
        mirror.state.record(run_of(row), state=FOUND, error="", hint="", accept_rejected=accept)
        log.info("run_retried", run=f"{order.source}/{order.run}", accept_rejected=accept)
    try:
        return [bring_home(mirror, run_of(row)) for row in rows]
    except ConfigError as error:  # it waits as found, for a pass that is let in
        log.error("run_waits", run=f"{order.source}/{order.run}", error=str(error), hint=error.hint)
        return [End(run_of(row), "waits", error) for row in rows]


def retry_asking(mirror: Mirror, order: Order) -> list[End]:
    """Ask, and bring home what is finished at once."""
    try:
        answers = ask_for_exports(mirror)
    except (ConfigError, TryAgain) as error:
        log.error("run_waits", run=f"{order.source}/{order.run}", error=str(error), hint=error.hint)
        return [End(one.request, one.state, error) for one in mirror.state.requests.of(order.source)]
    ends = [bring_home(mirror, run) for run in answers.finished]
    return [*ends, *map(not_delivered, answers.outstanding)]


def begin_anew(mirror: Mirror, run: Run, *, accept_rejected: bool) -> None:
    """Have every part staged again, and those with rejected lines fetched again: the vendor may have mended them."""
    for staged in mirror.state.checkpoints(run).values():
        if staged.rejected and not accept_rejected:  # accepted are the lines that the operator was shown
            mirror.landing.doubt(run, staged.part)
    mirror.state.forget_staged(run)


def replay(mirror: Mirror, order: Order) -> list[End]:
    """Parse a loaded run again from its landed bytes; readers keep what they have until it is shown."""
    run = mirror.landing.run(order.source, order.run)
    if run is None:
        return []
    try:
        with trouble(run.name), mirror.underway.only(run) as ours:
            if ours:
                parse_again(mirror, run, accept_rejected=bool(order.details.get("accept_rejected")))
        return [End(run, "replayed")]
    except SyncdError as error:
        log.error("run_not_replayed", run=run.name, error=str(error), hint=error.hint)
        return [End(run, "not_replayed", error)]


def parse_again(mirror: Mirror, run: Run, *, accept_rejected: bool) -> None:
    """Show a new generation of the run's files in the place of the old."""
    staged = stage_again(mirror, run, accept_rejected=accept_rejected)
    tell(mirror.destination.replace(run, staged))
    log.info("run_replayed", **about(run), **tally(staged))


def stage_again(mirror: Mirror, run: Run, *, accept_rejected: bool) -> list[Staged]:
    """Stage a new generation of the run's files beside the old, and judge it."""
    names = mirror.landing.parts(run)
    if names is None:
        raise BadRun(f"{run.name}: its landed bytes are not complete", hint="landing.keep says how long they are kept")
    generation = mirror.destination.generation(run)
    scope = mirror.destination.scope(run.source, mirror.source.scope(run.scope))
    done: dict[str, Staged] = {}

    def one(name: str) -> None:
        landed, looked_on = mirror.landing.landed(run, name), partial(watched, mirror, run)
        done[name] = stage_part(mirror.destination, scope, run, name, landed, looked_on, generation)

    each_done(mirror.workers, one, names)
    staged = [done[name] for name in names]
    judge(run, scope, staged, mirror.rules, accept_rejected=accept_rejected, verb=REPLAY)
    return staged
