"""Starts the real command fast: a process that has all of syncd imported forks a child for each go.

The child runs `syncd.cli.main` as the script does, with `shim.c` beneath its system calls and, if wanted, a tracer of
syncd's lines; where it is told to, it dies of a real SIGKILL. Nothing of this is in the product.
"""

from __future__ import annotations

import ctypes
import gc
import json  # noqa: TID251  # one line a request
import os
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import IntEnum
from functools import cache
from hashlib import sha256
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, NamedTuple, Self

import certifi

from tests.forked import run, warm_up

HERE = Path(__file__).parent
END = "-----END CERTIFICATE-----"
PR_SET_PDEATHSIG = 1  # of prctl(2): who dies with us


class Op(IntEnum):
    """The calls that the shim sees, as it numbers them."""

    CREATE, WRITE, TRUNCATE, SYNC, RENAME, LINK, UNLINK, MKDIR, RMDIR, RECV, SEND, OPEN, READ, SAY, NOTHING = range(15)


class How(IntEnum):
    """What the shim does at the chosen call."""

    LOOK, KILL, TEAR, FAIL, FAIL_ON, SHORT, SHORT_ON = range(7)


NAMES = {Op.CREATE, Op.RENAME, Op.LINK, Op.UNLINK, Op.MKDIR, Op.RMDIR}
CHANGES = NAMES | {Op.WRITE, Op.TRUNCATE, Op.SYNC}


@dataclass(frozen=True)
class Trap:
    """What happens to one go: at the `at`-th call among `ops`, or at a line (`file:number`) of syncd."""

    how: How = How.LOOK
    at: int = 0
    ops: frozenset[Op] = frozenset(CHANGES | {Op.RECV, Op.SEND})
    error: int = 0
    only: str = ""  # calls count whose path has this in it
    line: str = ""
    log: str = ""  # where every call is written down
    bytes: bool = False  # with what was written
    lines: str = ""  # where every line of syncd that is come by is written down, once, behind how many calls
    after_s: float = 0.0  # or it is killed when this time is over


class Call(NamedTuple):
    """One call out of the shim's log."""

    op: Op
    path: str
    other: str
    offset: int
    size: int
    bytes: bytes


def calls(log: Path) -> Iterator[Call]:
    """The shim's log."""
    head = struct.Struct("<IIIIqq")
    text, at = log.read_bytes(), 0
    while at + head.size <= len(text):
        op, path, other, size, offset, result = head.unpack_from(text, at)
        at += head.size
        names = text[at : at + path].decode(), text[at + path : at + path + other].decode()
        at += path + other
        yield Call(Op(op), *names, offset, result, text[at : at + size])
        at += size


def come_by(log: Path) -> list[tuple[str, int]]:
    """The tracer's lines, each with the number of calls that were made before it."""
    return [(line, int(calls)) for line, _, calls in (text.partition(" ") for text in log.read_text().splitlines())]


@cache
def shim() -> Path:
    """The shim, compiled once; beside what Python has compiled."""
    source, compiler = HERE / "shim.c", os.environ.get("CC", "cc")
    made = HERE / "__pycache__" / f"shim-{sha256(source.read_bytes() + compiler.encode()).hexdigest()[:16]}.so"
    if not made.exists():
        made.parent.mkdir(exist_ok=True)
        aside = made.with_suffix(f".{os.getpid()}")
        command = [compiler, "-std=gnu11", "-O2", "-Wall", "-Werror", "-shared", "-fPIC", "-pthread"]
        subprocess.run([*command, "-o", str(aside), str(source)], check=True)
        aside.rename(made)
    return made


class Ended(NamedTuple):
    """How a command ended: its exit code, or minus the signal that killed it."""

    code: int
    out: str
    err: str


class Starter:
    """The process that forks, from our side. One command at a time.

    It removes `folder` when we are gone, however we went.
    """

    def __init__(self) -> None:
        clean = {key: value for key, value in os.environ.items() if not key.startswith("SYNCD_")}
        self.folder = Path(tempfile.mkdtemp(prefix="crash-"))
        trusted = self.folder / "trusted.pem"  # the box speaks plain HTTP, and to read them all is 8 % of a go
        trusted.write_text(certifi.contents().partition(END)[0] + END)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.starter", str(self.folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=HERE.parent.parent,
            env=clean | {"LD_PRELOAD": str(shim()), "SSL_CERT_FILE": str(trusted)},
            process_group=0,  # who ends our whole group leaves it to tidy up
        )
        self._pid = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pid:  # a test that failed has left it running, and it would be waited for
            self.kill(signal.SIGKILL)
        self._process.communicate()  # its input ends, and so does it

    @property
    def err(self) -> str:
        """What the command has said so far."""
        return (self.folder / "err").read_text()

    def begin(self, arguments: list[str], root: Path, trap: Trap = Trap()) -> None:  # frozen
        """Start `syncd` with these arguments; `root`: the folder that the shim looks after."""
        for name in ("out", "err"):
            (self.folder / name).write_bytes(b"")  # what the last one said must not be taken for this one's word
        wanted: dict[str, Any] = asdict(trap) | {"ops": sum(1 << op for op in trap.ops)}
        self._ask({"arguments": arguments, "root": str(root), "said": str(self.folder), "trap": wanted})
        self._pid = int(self._answer())

    def kill(self, number: int) -> None:
        """Send the command a signal; harmless when it has ended."""
        os.kill(self._pid, number)  # not reaped before `end`, so the number is still its own

    def ends_within(self, seconds: float) -> bool:
        """Whether the command has ended by then."""
        watch = os.pidfd_open(self._pid)
        try:
            return bool(select.select([watch], [], [], seconds)[0])
        finally:
            os.close(watch)

    def end(self, timeout_s: float = 60.0) -> Ended:
        """Wait for the end. TimeoutError: it did not come, and the command was killed."""
        in_time = self.ends_within(timeout_s)
        if not in_time:
            self.kill(signal.SIGKILL)
        self._ask({})
        code = int(self._answer())
        self._pid = 0
        if not in_time:
            raise TimeoutError(f"no end after {timeout_s} s: {self.err[-2000:]}")
        return Ended(code, (self.folder / "out").read_text(), self.err)

    def _ask(self, wanted: dict[str, Any]) -> None:
        assert self._process.stdin
        self._process.stdin.write(json.dumps(wanted) + "\n")
        self._process.stdin.flush()

    def _answer(self) -> str:
        assert self._process.stdout
        return self._process.stdout.readline()


def fork_for_ever() -> None:
    """Read what to start, fork, tell the number; then, when asked, tell how it ended."""
    warm_up()
    gc.freeze()  # else each child copies what it only looks at
    for line in sys.stdin:
        wanted = json.loads(line)
        pid = os.fork()
        if pid == 0:
            in_the_child(wanted)
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()
        if not sys.stdin.readline():  # who wanted it is gone
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        sys.stdout.write(f"{code}\n")
        sys.stdout.flush()


def in_the_child(wanted: dict[str, Any]) -> None:
    """Be the command."""
    said = Path(wanted["said"])
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for file, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(said / name, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_APPEND, 0o600), file)
    trap = Trap(**wanted["trap"])
    if trap.line or trap.lines:
        watch_lines(trap)
    log = os.open(trap.log, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_APPEND, 0o600) if trap.log else -1
    arm(wanted["root"], log, trap)
    run(wanted["arguments"])


def arm(root: str, log: int, trap: Trap) -> None:
    """Have the shim see this process' calls beneath `root` from now on."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    library = ctypes.CDLL(os.environ["LD_PRELOAD"])
    told = [ctypes.c_int(log), ctypes.c_int(trap.bytes), ctypes.c_uint(trap.ops), ctypes.c_int(trap.how)]  # type: ignore[arg-type]  # a number by now
    library.shim_arm(root.encode(), *told, ctypes.c_long(trap.at), ctypes.c_int(trap.error), trap.only.encode())


def watch_lines(trap: Trap) -> None:
    """Write down each line of syncd that is come by, with the number of calls made until then; or die at one."""
    import syncd

    package, library = str(Path(syncd.__file__).parent), ctypes.PyDLL(os.environ["LD_PRELOAD"])
    chosen, _, number = trap.line.rpartition(":")
    codes: dict[int, tuple[CodeType, set[int]]] = {}  # what has run, and the lines of syncd in it that have not
    out = Path(trap.lines).open("w", buffering=1) if trap.lines else None  # noqa: SIM115  # until the end

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        code = frame.f_code
        if id(code) not in codes:  # a hash of the code itself takes its time
            ours = code.co_filename.startswith(package) and (out or code.co_filename.endswith(chosen))
            codes[id(code)] = code, {line for *_, line in code.co_lines() if line} if ours else set()
        if not (unseen := codes[id(code)][1]):
            return None
        if frame.f_lineno in unseen:
            unseen.discard(frame.f_lineno)
            name = code.co_filename[len(package) + 1 :]
            if out:
                out.write(f"{name}:{frame.f_lineno} {library.shim_seen()}\n")
            if (name, frame.f_lineno) == (chosen, int(number or 0)):
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    threading.settrace(trace)
    sys.settrace(trace)


if __name__ == "__main__":
    fork_for_ever()
    shutil.rmtree(sys.argv[1], ignore_errors=True)
    os._exit(0)
