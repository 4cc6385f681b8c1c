"""What stands before every command, and what the shell completes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from syncd.settings import Settings

app = typer.Typer(add_completion=True, no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False)


class LogFormat(StrEnum):
    json = "json"
    console = "console"


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


def sources(context: typer.Context) -> list[str]:
    """For the shell's completion: the sections of the configuration, read as plainly as can be."""
    import tomllib

    chosen: Path | None = context.find_root().params.get("config")
    for path in [chosen.expanduser()] if chosen else [Path("syncd.toml"), Path("/etc/syncd/syncd.toml")]:
        try:
            return list(tomllib.loads(path.read_text(encoding="utf-8-sig")).get("sources", {}))
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


def keep_to_ourselves() -> None:
    """Files 0600, folders 0700, unless the umask already says who may read: with 027 the group may."""
    chosen = os.umask(0o077)
    if chosen & 0o007 == 0o007:
        os.umask(chosen)
