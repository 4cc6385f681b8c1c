"""Commands that only look: they never take the lock."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from syncd.cli.globals import app, sources, states
from syncd.errors import ConfigError, SyncdError, exit_code_of

TABLES = "the tables: syncd query 'SHOW ALL TABLES'"


class QueryFormat(StrEnum):
    table = "table"
    csv = "csv"
    json = "json"


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

    if watch and as_json:
        raise ConfigError("--watch is for people, --json for scripts", hint="leave one out")
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
    chosen = ledger.every_run(context.obj.settings(), state, source)
    if as_json:
        show.as_json_one_by_one(chosen)
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
        short = ledger.short_of_rows(seen)
        show.gaps(found, jobs_complete_up_to(seen.periods), short, begun=bool(seen.passes or seen.periods))
    raise typer.Exit(int(any(gap.needs_you for gap in found)))


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
            if not connection.extract_statements(sql):
                raise SyncdError("no SQL was given", hint=TABLES)
            answer = connection.execute(sql)
            columns = [column[0] for column in answer.description or ()]
            show.QUERY_FORMATS[output](columns, show.fetched(answer))
    except duckdb.Error as error:
        damaged = isinstance(error, duckdb.IOException) or "Corrupt" in str(error)
        hint = "is all well? syncd verify" if damaged else TABLES
        raise SyncdError(str(error), hint=hint) from error


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
