"""Starts the real command fast: a process that has all of syncd imported forks a child for each.

Importing is most of what a short command costs, and the tests start a thousand. The child is a process of its own
with its own pipes, which can be signalled, killed and waited for like any other.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import json  # noqa: TID251  # one line a request
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from functools import cache
from pathlib import Path
from typing import Any

PR_SET_CHILD_SUBREAPER = 36  # of prctl(2): whose parent has gone becomes our child, so that we can wait for it
MOST = 1 << 20  # bytes of a request
_ASKING = threading.Lock()


class Forked(subprocess.Popen[str]):
    """`python -m syncd` with these arguments, in text mode; otherwise as `subprocess.Popen`."""

    def __init__(self, arguments: list[str], **options: Any) -> None:
        self._arguments = arguments
        super().__init__([sys.executable, "-m", "syncd", *arguments], text=True, **options)

    def _execute_child(self, *given: Any) -> None:
        """What Popen does between making its pipes and closing the child's ends of them."""
        env, pipes = given[6] or dict(os.environ), given[10:16]
        asked = {"arguments": self._arguments, "env": env, "cwd": os.getcwd()}  # noqa: PTH109
        theirs = [
            pipe if pipe != -1 else own for pipe, own in zip((pipes[0], pipes[3], pipes[5]), (0, 1, 2), strict=True)
        ]
        with _ASKING:
            channel = _parent()
            socket.send_fds(channel, [json.dumps(asked).encode()], theirs)
            self.pid = int(channel.recv(100))
        self._child_created = True
        self._close_pipe_fds(*pipes)


@cache
def _parent() -> socket.socket:
    """The way to the process that forks, one for each process of the tests; it ends with us."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    clean = {key: value for key, value in os.environ.items() if not key.startswith("SYNCD_")}
    with theirs:
        command = [sys.executable, "-m", "tests.forked", str(theirs.fileno())]
        process = subprocess.Popen(command, pass_fds=[theirs.fileno()], cwd=Path(__file__).parent.parent, env=clean)

    def end() -> None:
        ours.close()
        process.wait()

    atexit.register(end)
    return ours


def fork_for_ever(channel: socket.socket) -> None:
    """Fork for each request and tell the child's number; the child in between leaves it to whoever asked."""
    warm_up()
    gc.freeze()  # else each child copies what it only looks at
    while True:
        request, fds, *_ = socket.recv_fds(channel, MOST, 3)
        if not request:
            return
        told, tell = os.pipe()
        between = os.fork()
        if between == 0:
            child = os.fork()
            if child == 0:
                channel.close()
                be(json.loads(request), fds, (told, tell))
            os.write(tell, str(child).encode())
            os._exit(0)
        os.waitpid(between, 0)
        channel.send(os.read(told, 100))
        for fd in (*fds, told, tell):
            os.close(fd)


def be(asked: dict[str, Any], fds: list[int], pipe: tuple[int, int]) -> None:
    """Be the command that was asked for."""
    for at, fd in enumerate(fds):
        os.dup2(fd, at)
    for fd in (*fds, *pipe):
        os.close(fd)
    os.environ.clear()
    os.environ.update(asked["env"])
    time.tzset()
    os.chdir(asked["cwd"])
    run(asked["arguments"])


def run(arguments: list[str]) -> None:
    """`syncd` with these arguments, to its end and the process's: atexit, flush, exit code."""
    from syncd.cli import main

    sys.argv = ["syncd", *arguments]
    code: Any = 0
    try:
        main()
    except SystemExit as left:
        code = left.code or 0
    except BaseException:
        traceback.print_exc()
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]  # what the interpreter does at its end, but for
    atexit._run_exitfuncs()  # taking itself to pieces: in a child that copies all of it
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def warm_up() -> None:
    """Import what a command would, also what is imported only by what it does; start no thread."""
    import sqlite3  # noqa: F401

    import httpx
    import numpy.ma  # noqa: F401
    import typer._click.decorators
    import typer.main
    import uvicorn.logging  # noqa: F401

    import syncd.checks
    import syncd.cli
    import syncd.duty
    import syncd.orders
    import syncd.progress
    import syncd.sources.contentsquare.source
    import syncd.verify
    from syncd.state import open_state

    typer.main.get_command = cache(typer.main.get_command)  # it reads the signature of each command
    typer.main.get_command(syncd.cli.app)
    httpx.Client().close()
    with tempfile.TemporaryDirectory() as folder:
        open_state(Path(folder) / "state.sqlite").close()
    assert threading.active_count() == 1, threading.enumerate()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    fork_for_ever(socket.socket(fileno=int(sys.argv[1])))
