"""Work under the lock: the house opened for a command, and what the command ends with."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from syncd.errors import exit_code_of

if TYPE_CHECKING:
    from syncd.assemble import House
    from syncd.destinations.lake import Lake
    from syncd.settings import Settings
    from syncd.state import Order
    from syncd.sync import Outcome, Watch


@contextmanager
def opened(
    context: typer.Context,
    watch: Watch,
    stopped: Callable[[int], int] = lambda number: 128 + number,
    *,
    start: Callable[[Lake], None] | None = None,
) -> Iterator[tuple[House, list[int]]]:
    """The house with its lock held, and the signals that have come; `stopped` gives a stop's exit code."""
    from syncd.assemble import open_house
    from syncd.daemon import stoppable
    from syncd.destinations.lake import Lake
    from syncd.otel import exporting
    from syncd.sync import Stopped
    from syncd.tell import telling

    stop = threading.Event()
    with stoppable(stop, stopped) as came:
        try:
            with (
                open_house(context.obj.settings(), watch, stop, start or Lake.start) as house,
                telling(house, forever=False),
                exporting(house.settings),
            ):
                yield house, came
        except Stopped:
            raise typer.Exit(stopped(came[0])) from None


def carry_out(context: typer.Context, settings: Settings, orders: Sequence[Order]) -> None:
    """Do what was ordered; where another syncd holds the lock, leave it the orders."""
    from syncd.assemble import Busy
    from syncd.orders import leave, work_off
    from syncd.progress import Nobody
    from syncd.sync import Outcome

    try:
        with opened(context, Nobody()) as (house, _):
            outcome = Outcome(work_off(house, orders))
            code = exit_code(house, [outcome])
    except Busy:
        leave(settings, orders)
        typer.echo("the syncd that works there has it now: see syncd runs")
        return
    for end in outcome.ends:
        typer.echo(f"{end.run.name}: {end.what}" + (f": {end.trouble}\n  → {end.trouble.hint}" if end.trouble else ""))
    raise typer.Exit(code)


def exit_code(house: House, outcomes: Sequence[Outcome]) -> int:
    """What the passes end with, when a run that waits for a person is trouble as well."""
    troubles = [outcome.trouble for outcome in outcomes if outcome.trouble]
    troubles += [end.trouble for outcome in outcomes for end in outcome.ends if end.trouble]
    codes = {trouble.exit_code for trouble in troubles}
    if house.state.any_set_aside():
        codes.add(1)
    return exit_code_of(codes)
