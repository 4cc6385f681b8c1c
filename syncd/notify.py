"""systemd's notify protocol: a datagram of `KEY=value` lines. Without a $NOTIFY_SOCKET there is nobody to tell."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

LONGEST = 300  # characters of a STATUS line: one line in `systemctl status`


class Notifier:
    """Says to systemd how we are. Never raises: who isn't heard works on, and the watchdog has its own opinion."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address  # "@": Linux' abstract sockets
        mine = environ.get("WATCHDOG_PID") in (None, "", str(os.getpid()))
        self._watched = mine and environ.get("WATCHDOG_USEC", "0") != "0"
        self._status = ""

    def ready(self) -> None:
        self._say("READY=1")

    def stopping(self) -> None:
        self._say("STOPPING=1", "STATUS=stopping: parts under way are dropped, none is half done")

    def alive(self, status: str) -> None:
        """Feed the watchdog; tell the status when it has changed."""
        line = " ".join(status.split())[:LONGEST]
        words = [f"STATUS={line}"] * (line != self._status) + ["WATCHDOG=1"] * self._watched
        self._status = line
        self._say(*words)

    def _say(self, *words: str) -> None:
        if not self._address or not words:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as wire:
            wire.setblocking(False)
            try:
                wire.sendto("\n".join(words).encode(), self._address)
            except OSError:
                self._status = ""  # tell it again
