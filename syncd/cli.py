"""The commands. Answers go to stdout, logs and errors to stderr; what is heavy is imported where it is used."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from importlib import import_module
from inspect import Parameter, Signature
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from syncd.errors import ConfigError, SyncdError, exit_code_of

if TYPE_CHECKING:
    from syncd.assemble import House
    from syncd.destinations.lake import Lake
    from syncd.settings import Settings
    from syncd.state import Order
    from syncd.sync import Outcome, Watch

VENDORS = ("contentsquare", "convert", "cordial")  # of the sandbox
app = typer.Typer(add_completion=True, no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False)


class LogFormat(StrEnum):
    json = "json"
    console = "console"


class QueryFormat(StrEnum):
    table = "table"
    csv = "csv"
    json = "json"


@dataclass(frozen=True)
class Globals:
    """What stands before the command."""

    config: Path | None
    data_dir: Path | None
    log_format: Any  # a LogFormat or None; each is the literal that `log` takes

    def settings(self) -> Settings:
        import structlog

        from syncd import log
        from syncd.settings import read

        if not structlog.is_configured():  # a reload reads again, when listeners stand among the processors
            log.set_up(self.log_format)
        return read(self.config, data_dir=self.data_dir)


def states() -> list[str]:
    """For the shell's completion, which must not import the ledger."""
    return ["asked", "waiting", "found", "staging", "loaded", "superseded", "expired", "set_aside"]


def sources() -> list[str]:
    """For the shell's completion: the sections of the configuration, read as plainly as can be."""
    import tomllib

    for path in (Path("syncd.toml"), Path("/etc/syncd/syncd.toml")):
        try:
            return list(tomllib.loads(path.read_text()).get("sources", {}))
        except (OSError, tomllib.TOMLDecodeError):
            continue
    return []


@app.callback()
def syncd(
    context: typer.Context,
    config: Annotated[
        Path | None, typer.Option(help="The configuration; default: syncd.toml, then /etc/syncd/syncd.toml.")
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Where everything is kept; wins over the configuration.")
    ] = None,
    log_format: Annotated[LogFormat | None, typer.Option(help="Log lines for machines or for people.")] = None,
) -> None:
    """Mirrors raw-data exports into tables that plain DuckDB can query."""
    keep_to_ourselves()
    from syncd import log

    log.set_up(log_format.value if log_format else None)  # first of all: an event on stdout would stand in an answer
    context.obj = Globals(config, data_dir, log_format)


@app.command()
def run(context: typer.Context) -> None:
    """The daemon: a pass at each poll_interval, until SIGTERM."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))  # a stop is no failure while it starts, either
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
def check(context: typer.Context) -> None:
    """All problems at once, each with its fix.

    Validates the configuration, logs in to every source, tests the disk and the warehouse.
    """
    from syncd.checks import problems

    settings = context.obj.settings()
    found = list(problems(settings))
    for problem in found:
        typer.echo(f"{problem.level}: {problem.text}\n  → {problem.hint}")
    errors = [problem for problem in found if problem.level == "error"]
    if not errors:
        typer.echo(
            f"ok: {', '.join(settings.sources)} answer{'s' * (len(settings.sources) == 1)}; data in {settings.data_dir}"
        )
    raise typer.Exit(exit_code_of({problem.exit_code for problem in errors}))


@app.command()
def status(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Again and again, until Ctrl-C.")] = False,
) -> None:
    """How far each source and scope is, and what needs you.

    Newest period, its age, runs waiting or set aside, and the time until the next file dies at the vendor.
    """
    from functools import partial

    from syncd import show, status

    look = partial(status.standing, context.obj.settings())
    if as_json:
        show.as_json(look().found)
    elif watch:
        status.watch(look)
    else:
        status.show(look())


@app.command()
def runs(
    context: typer.Context,
    state: Annotated[
        str | None, typer.Option(help="Only runs in this state: set_aside, for example.", autocompletion=states)
    ] = None,
    source: Annotated[str | None, typer.Option(help="Only runs of this source.", autocompletion=sources)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
) -> None:
    """The ledger: what became of every run."""
    from syncd import ledger, show

    if state is not None and state not in ledger.STATES:
        raise ConfigError(f"no run is ever {state!r}", hint=f"one of: {', '.join(ledger.STATES)}")
    seen = ledger.look(context.obj.settings())
    chosen = [run for run in seen.runs if state in (None, run["state"]) and source in (None, run["source"])]
    if as_json:
        show.as_json(chosen)
    else:
        show.runs(chosen)


@app.command()
def gaps(context: typer.Context, as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False) -> None:
    """The calendar: which expected periods are not here.

    Missing, late, failed at the vendor, expired or set aside; the exit code is 1 when any needs you.
    """
    from dataclasses import asdict

    from syncd import ledger, show
    from syncd.gaps import COVERED, jobs_complete_up_to

    seen = ledger.look(context.obj.settings())
    found = ledger.gaps(seen, datetime.now(UTC))
    if as_json:
        show.as_json([asdict(gap) for gap in found if gap.state != COVERED])
    else:
        show.gaps(found, jobs_complete_up_to(seen.runs), begun=bool(seen.passes or seen.runs))
    raise typer.Exit(int(any(gap.needs_you for gap in found)))


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
        if repair:
            with opened(context, Nobody(), start=verifying.rebuilt(settings, verdict, read)) as (house, _):
                verifying.repair(house, verdict, read)
        else:
            verdict = verifying.prove(settings, read)
    if as_json:
        show.as_json(verifying.as_answer(verdict))
    else:
        for line in verifying.told(verdict):
            typer.echo(line)
    raise typer.Exit(verdict.exit_code)


@app.command()
def query(
    context: typer.Context,
    sql: Annotated[str, typer.Argument(metavar="SQL")],
    output: Annotated[QueryFormat, typer.Option("--format", help="How the answer is printed.")] = QueryFormat.table,
) -> None:
    """Run SQL on the published warehouse, read-only."""
    import duckdb

    from syncd import show
    from syncd.rights import readable

    path = readable(context.obj.settings().data_dir) / "warehouse.duckdb"
    if not path.exists():
        raise ConfigError(f"there is no warehouse at {path} yet", hint="fill it first: syncd once")
    try:
        with duckdb.connect(str(path), read_only=True) as connection:
            answer = connection.execute(sql)
            columns = [column[0] for column in answer.description or ()]
            show.QUERY_FORMATS[output](columns, show.fetched(answer))
    except duckdb.Error as error:
        damaged = isinstance(error, duckdb.IOException) or "Corrupt" in str(error)
        hint = "is all well? syncd verify" if damaged else "the tables: syncd query 'SHOW ALL TABLES'"
        raise SyncdError(str(error), hint=hint) from error


sandboxes = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


@sandboxes.callback()
def sandbox() -> None:
    """A vendor in a box on loopback, for demos and tests.

    Serves the API and files with realistic data, and many kinds of trouble.
    """


def boxed(vendor: str) -> Callable[..., None]:
    """`syncd sandbox <vendor>`, with a flag for each knob of the box, as typer reads signatures."""
    box = import_module(f"syncd.sandbox.{vendor}")

    def serve(port: int, **chosen: Any) -> None:
        try:
            box.serve(port, show=typer.echo, **chosen)
        except (ValueError, OSError) as error:
            raise ConfigError(str(error), hint=f"syncd sandbox {vendor} --help") from error

    keyword = Parameter.KEYWORD_ONLY
    parameters = [Parameter("port", keyword, default=typer.Option(0, help="0 takes a free one"), annotation=int)]
    for knob in box.knobs():
        told = f"{knob.help}{': ' + ', '.join(filter(None, knob.choices)) if knob.choices else ''}"
        option = typer.Option(knob.default, knob.flag, help=told)
        parameters.append(Parameter(knob.name, keyword, default=option, annotation=knob.type))
    serve.__signature__ = Signature(parameters)  # type: ignore[attr-defined]  # what inspect.signature reads first
    serve.__annotations__ = {each.name: each.annotation for each in parameters}
    serve.__doc__ = box.__doc__
    return serve


for vendor in VENDORS:  # each module names its knobs before it imports anything heavy
    sandboxes.command(vendor)(boxed(vendor))
app.add_typer(sandboxes, name="sandbox")


@app.command()
def demo(
    keep: Annotated[Path | None, typer.Option(help="Put everything here and leave it there.")] = None,
) -> None:
    """See it work: a sandbox, one pass, a few queries.

    In a temporary folder; no account needed.
    """
    from syncd.demo import show_off

    show_off(keep)


@app.command()
def probe(
    context: typer.Context,
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="Its name in the configuration.", autocompletion=sources)
    ],
    provoke: Annotated[
        bool, typer.Option("--provoke", help="Also too many requests at once, and a wrong secret.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
) -> None:
    """What an account tells that its vendor's pages don't.

    Reads a little of everything and writes nothing; the report names nobody, so it can be shared.
    """
    from syncd import show
    from syncd.probe import as_text, report

    found = report(context.obj.settings(), source, provoke=provoke)
    show.as_json(found) if as_json else as_text(found)


@app.command(name="support-bundle")
def support_bundle(
    context: typer.Context,
    folder: Annotated[Path, typer.Option(help="Where the file is made.")] = Path(),
    log: Annotated[
        Path | None, typer.Option(help="Log lines to put in; - for standard input. Default: the journal's.")
    ] = None,
) -> None:
    """What somebody who helps needs to see, in one file.

    Without secrets, links or rows; look into it before you share it.
    """
    from syncd.bundle import write

    path, pieces = write(folder, context.obj.settings, log)
    typer.echo(f"{path}: {', '.join(pieces)}")


def main() -> None:
    """Run the command; trouble is told in two lines on stderr, and the exit code is the contract's."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, leave)
    try:
        app(prog_name="syncd")  # whichever way it was called: completion goes by this name
    except SyncdError as error:
        typer.echo(f"error: {error}" + (f"\n  → {error.hint}" if error.hint else ""), err=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.exit(141)  # the reader of our answer has left


def keep_to_ourselves() -> None:
    """Files 0600, folders 0700, unless the umask already says who may read: with 027 the group may."""
    chosen = os.umask(0o077)
    if chosen & 0o007 == 0o007:
        os.umask(chosen)


def leave(number: int, _frame: FrameType | None) -> None:
    """A signal ends a command that has nothing to finish."""
    sys.exit(128 + number)


def order(context: typer.Context, verb: str, names: list[str], *, accept_rejected: bool) -> None:
    """Do what is asked of these runs."""
    from syncd.orders import orders_for

    settings = context.obj.settings()
    carry_out(context, settings, orders_for(settings, verb, names, accept_rejected=accept_rejected))


def carry_out(context: typer.Context, settings: Settings, orders: Sequence[Order]) -> None:
    """Do what was ordered; beside a daemon, leave it the orders."""
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
        typer.echo("the daemon has it now: see syncd runs")
        return
    for end in outcome.ends:
        typer.echo(f"{end.run.name}: {end.what}" + (f": {end.trouble}\n  → {end.trouble.hint}" if end.trouble else ""))
    raise typer.Exit(code)


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


def exit_code(house: House, outcomes: Sequence[Outcome]) -> int:
    """What the passes end with, when a run that waits for a person is trouble as well."""
    troubles = [outcome.trouble for outcome in outcomes if outcome.trouble]
    troubles += [end.trouble for outcome in outcomes for end in outcome.ends if end.trouble]
    codes = {trouble.exit_code for trouble in troubles}
    if house.state.any_set_aside():
        codes.add(1)
    return exit_code_of(codes)
