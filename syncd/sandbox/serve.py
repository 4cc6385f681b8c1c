"""A vendor in a box as a program: open until a signal."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from threading import Event
from typing import Any, Protocol, Self


class Box(Protocol):
    """A vendor in a box: open while its `with` lasts."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def welcome(self) -> str: ...


def serve(box: Box, show: Callable[[str], Any] = print) -> None:
    """Serve until SIGTERM or SIGINT; `show` gets one block that says how to use it. Main thread only.

    OSError: the port is taken; whatever else the box raises passes through."""
    stop = Event()
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        with box:
            show(box.welcome())
            sys.stdout.flush()
            stop.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def welcome(vendor: str, addresses: Mapping[str, str], settings: Mapping[str, Any], more: str = "") -> str:
    """Where it is and what to write into syncd.toml; `more` stands at the end of the section."""
    width = max(map(len, addresses)) + 2
    told = "\n".join(f"{name:{width}}{address}" for name, address in addresses.items())
    section = "\n".join(
        f"{name} = {value}" if isinstance(value, int) else f'{name} = "{value}"' for name, value in settings.items()
    )
    return (
        f"{vendor} in a box, until Ctrl-C ({datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC)\n\n"
        f"{told}\n\nIn syncd.toml:\n\n[sources.sandbox]\n{section}\n{more}"
    )
