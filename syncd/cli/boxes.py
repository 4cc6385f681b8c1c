"""The vendors in a box, and the demo."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from inspect import Parameter, Signature
from pathlib import Path
from typing import Annotated, Any

import typer

from syncd.cli.globals import app
from syncd.errors import ConfigError
from syncd.sandbox.knobs import flags
from syncd.sandbox.serve import serve

VENDORS = ("contentsquare", "convert", "cordial")  # of the sandbox


sandboxes = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


@sandboxes.callback()
def sandbox() -> None:
    """A vendor in a box on loopback, for demos and tests.

    Serves the API and files with realistic data, and many kinds of trouble.
    """


def boxed(vendor: str) -> Callable[..., None]:
    """`syncd sandbox <vendor>`, with a flag for each knob of the box, as typer reads signatures."""
    box = import_module(f"syncd.sandbox.{vendor}")

    def opened(port: int, **chosen: Any) -> None:
        try:
            serve(box.Sandbox(port=port, **chosen), show=typer.echo)
        except (ValueError, OSError) as error:
            raise ConfigError(str(error), hint=f"syncd sandbox {vendor} --help") from error

    keyword = Parameter.KEYWORD_ONLY
    parameters = [
        Parameter("port", keyword, default=typer.Option(0, min=0, max=65535, help="0 takes a free one"), annotation=int)
    ]
    for knob in flags(*box.KNOBS):
        told = f"{knob.help}{': ' + ', '.join(filter(None, knob.choices)) if knob.choices else ''}"
        option = typer.Option(knob.default, knob.flag, help=told)
        parameters.append(Parameter(knob.name, keyword, default=option, annotation=knob.type))
    opened.__signature__ = Signature(parameters)  # type: ignore[attr-defined]  # what inspect.signature reads first
    opened.__annotations__ = {each.name: each.annotation for each in parameters}
    opened.__doc__ = box.__doc__
    return opened


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
