"""The commands. Answers go to stdout, logs and errors to stderr; what is heavy is imported where it is used."""

from __future__ import annotations

import signal
import sys
from types import FrameType

import typer

from syncd.cli import acting, boxes, looking  # noqa: F401  # each tells the app of its commands
from syncd.cli.globals import app
from syncd.errors import SyncdError


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


def leave(number: int, _frame: FrameType | None) -> None:
    """A signal ends a command that has nothing to finish."""
    sys.exit(128 + number)
