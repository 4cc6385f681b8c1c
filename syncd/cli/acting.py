"""Commands that change something: they hold the lock, or leave what they were asked for to who holds it."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Annotated

import typer

from syncd.cli.globals import app
from syncd.cli.house import carry_out, exit_code, opened
from syncd.errors import ConfigError

if TYPE_CHECKING:
    from syncd.sync import Watch


@app.command()
def run(context: typer.Context) -> None:
    """The daemon: a pass at each poll_interval, until SIGTERM."""
    for number in (signal.SIGTERM, signal.SIGINT):  # a stop is no failure while it starts or ends, either
        signal.signal(number, lambda *_: os._exit(0))  # raised, it could get lost in a finalizer
    from syncd.duty import on_duty

    on_duty(context.obj.settings)


@app.command()
def once(
    context: typer.Context,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be brought home.")] = False,
    wait: Annotated[str, typer.Option(help="How long to wait for exports that had to be asked for.")] = "10m",
) -> None:
    """One pass over every source, then exit.

    Everything outstanding is brought home, whatever the intervals say.
    """
    from syncd.daemon import once as pass_over_all
    from syncd.progress import Nobody, bars
    from syncd.settings.fields import duration

    try:
        wait_for = duration(wait)
    except ValueError as error:
        raise ConfigError(f"--wait {wait}: {error}") from error
    if dry_run:
        from syncd import log, show
        from syncd.checks import foresee

        log.set_up(context.obj.log_format)

        return show.forecast(foresee(context.obj.settings()))
    watching: AbstractContextManager[Watch] = bars() if sys.stderr.isatty() else nullcontext(Nobody())
    with watching as watch, opened(context, watch) as (house, came):
        outcomes = pass_over_all(house, wait_for)
        code = exit_code(house, outcomes)
    if came:
        code = 128 + came[0]
    raise typer.Exit(code)


@app.command()
def retry(
    context: typer.Context,
    names: Annotated[list[str], typer.Argument(metavar="RUN…", help="As `syncd runs` shows them: SOURCE/RUN.")],
    accept_rejected: Annotated[
        bool, typer.Option("--accept-rejected", help="Load it without its rejected lines.")
    ] = False,
) -> None:
    """Put set-aside runs back to work."""
    order(context, "retry", names, accept_rejected=accept_rejected)


@app.command()
def replay(
    context: typer.Context,
    names: Annotated[list[str], typer.Argument(metavar="RUN…", help="As `syncd runs` shows them: SOURCE/RUN.")],
    accept_rejected: Annotated[bool, typer.Option("--accept-rejected", help="Whatever share is rejected.")] = False,
) -> None:
    """Parse runs again from their landed bytes.

    Under today's types.
    """
    order(context, "replay", names, accept_rejected=accept_rejected)


@app.command()
def ingest(
    context: typer.Context,
    source: Annotated[str, typer.Argument(metavar="SOURCE")],
    run: Annotated[str, typer.Argument(metavar="RUN", help="As `syncd runs` shows it, or the vendor's own job id.")],
    given: Annotated[list[str], typer.Argument(metavar="FILE|URL…")],
) -> None:
    """Hand files over to the run that waits for them.

    For exports that a vendor gives out by mail or in its UI.
    """
    from syncd.handover import order_for

    settings = context.obj.settings()
    carry_out(context, settings, [order_for(settings, source, run, given)])


@app.command()
def verify(
    context: typer.Context,
    repair: Annotated[bool, typer.Option("--repair", help="Mend what can be mended.")] = False,
    accept_loss: Annotated[
        list[str] | None,
        typer.Option("--accept-loss", metavar="RUN", help="Mend, and take what of this run can't be for lost."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
) -> None:
    """Prove that no row is lost or doubled.

    Reads the lake and the landed bytes anew.
    """
    from syncd import show
    from syncd import verify as verifying
    from syncd.progress import Nobody, meter

    settings = context.obj.settings()
    verdict = verifying.Verdict()
    with meter("reading", lambda: verifying.size_of(settings.data_dir)) as read:
        if repair or accept_loss:
            with opened(context, Nobody(), start=verifying.rebuilt(settings, verdict, read)) as (house, _):
                verifying.repair(house, verdict, read, accept_loss or ())
        else:
            verdict = verifying.prove(settings, read)
    if as_json:
        show.as_json(verifying.as_answer(verdict))
    else:
        for line in verifying.told(verdict):
            typer.echo(line)
    raise typer.Exit(verdict.exit_code)


def order(context: typer.Context, verb: str, names: list[str], *, accept_rejected: bool) -> None:
    """Do what is asked of these runs."""
    from syncd.orders import orders_for

    settings = context.obj.settings()
    carry_out(context, settings, orders_for(settings, verb, names, accept_rejected=accept_rejected))
