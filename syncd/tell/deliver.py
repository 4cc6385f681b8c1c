"""The last step outside: a POST, a GET, a program. What fails is Undelivered, and never shows a URL."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Any

import httpx
import orjson
import structlog
from pydantic import SecretStr

from syncd.errors import SyncdError, TryAgain, scrub
from syncd.fetch.http import pause_asked
from syncd.retry import Patience

TIMEOUT_S = 10.0
PATIENCE = timedelta(seconds=20)  # within one round; the next round comes all the same
PAUSE_S = 2.0  # before a program is run once more
GRACE_S = 2.0  # for a program that was told to end
TAIL = 600  # bytes of what a program said last

log = structlog.get_logger()

Message = Mapping[str, Any]
Deliver = Callable[[Message], None]


class Undelivered(SyncdError):
    """It did not arrive, and trying at once again is no use."""


class Refused(Undelivered):
    """Whoever got it says no, and will say so again."""


class Unwanted(Refused):
    """It is this message that is refused; of others that says nothing."""


class GivenUp(SyncdError):
    """It will not arrive: go on with the next."""


def posting(key: str, url: SecretStr, stop: threading.Event, authorization: SecretStr | None = None) -> Deliver:
    """Delivers as JSON; any answer of 2xx is an arrival. `key`: what the URL is called in the configuration."""
    headers = {"Authorization": authorization.get_secret_value()} if authorization else {}

    def post(message: Message) -> None:
        body = orjson.dumps(message, default=str, option=orjson.OPT_UTC_Z)
        patiently(stop, lambda: send(key, "POST", url, headers | {"Content-Type": "application/json"}, body))

    return post


def pinging(key: str, url: SecretStr, stop: threading.Event) -> Deliver:
    """Delivers by being heard."""
    return lambda message: patiently(stop, lambda: send(key, "GET", url, {}, None))


def patiently(stop: threading.Event, call: Callable[[], None]) -> None:
    try:
        Patience(PATIENCE, stop)(call)
    except TryAgain as error:
        raise Undelivered(str(error), hint=error.hint) from None


def send(key: str, method: str, url: SecretStr, headers: Mapping[str, str], body: bytes | None) -> None:
    """One request. TryAgain: it may pass; Undelivered: it will not by itself. Redirects are not followed."""
    try:
        with (
            httpx.Client(timeout=TIMEOUT_S) as client,
            client.stream(method, url.get_secret_value(), headers=headers, content=body) as response,
        ):
            status = response.status_code  # of its body nothing is read: it could be endless
            pause = pause_asked(response.headers)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        kind = "no answer in time" if isinstance(error, httpx.TimeoutException) else "no connection, or it broke"
        raise TryAgain(f"{key}: {kind} ({type(error).__name__})", hint=f"does what {key} names still run?") from None
    if status < 300:
        return
    said = f"{key} answers HTTP {status}"
    if status < 400:
        raise Undelivered(said, hint=f"a redirect is not followed: write where it leads under {key}")
    if status in (408, 425, 429) or status >= 500:
        raise TryAgain(said, hint="the other side is in trouble; it goes on by itself", after=pause)
    if status in (400, 409, 410, 413, 422):
        raise Unwanted(said, hint=f"what {key} leads to refuses this message; its own log may say why")
    raise Refused(said, hint=f"correct {key}, or what it leads to")


def twice(deliver: Deliver, stop: threading.Event) -> Deliver:
    """A program that fails is run once more; then the next load has its turn."""

    def run(message: Message) -> None:
        try:
            return deliver(message)
        except Undelivered as error:
            log.warning("telling_failed", error=str(error), hint=error.hint, to="tell.loaded_command")
            if stop.wait(PAUSE_S):
                raise
        try:
            return deliver(message)
        except Undelivered as error:
            if stop.is_set():
                raise
            raise GivenUp(str(error), hint=error.hint) from error

    return run


def running(key: str, command: tuple[str, ...], timeout: timedelta, stop: threading.Event, warehouse: str) -> Deliver:
    """Delivers to a program: as JSON on its input, and as LOADED_… in its environment."""

    def run(message: Message) -> None:
        try:
            process = subprocess.Popen(  # noqa: S603  # the operator's own command, without a shell
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=environment(message, warehouse),
                bufsize=0,  # a buffered pipe can't be closed while somebody reads it
                start_new_session=True,  # so that all of it can be ended
            )
        except OSError as error:
            hint = f"is it there, and may syncd run it? correct {key}"
            raise Undelivered(f"{key} can't be started: {error.strerror}", hint=hint) from None
        with process:
            watch(key, process, orjson.dumps(message, default=str, option=orjson.OPT_UTC_Z), timeout, stop)

    return run


def watch(key: str, process: subprocess.Popen[bytes], given: bytes, timeout: timedelta, stop: threading.Event) -> None:
    """Return when it has ended well. Undelivered: it has not, or it took too long, or we stop."""
    tail: deque[bytes] = deque(maxlen=TAIL)
    assert process.stdin and process.stdout
    reader = threading.Thread(target=read_all, args=[process.stdout, tail], daemon=True)
    reader.start()
    with suppress(BrokenPipeError):  # it does not care for its input
        process.stdin.write(given)
        process.stdin.close()
    ends_at = time.monotonic() + timeout.total_seconds()
    while process.poll() is None and time.monotonic() < ends_at and not stop.is_set():
        stop.wait(min(0.2, max(ends_at - time.monotonic(), 0)))
    if (code := process.poll()) is None:
        end(process)
        why = "syncd stops" if stop.is_set() else f"it took longer than {timeout}"
        raise Undelivered(f"{key} was ended: {why}", hint="it is run again for this load")
    reader.join(GRACE_S)  # a child of its own may hold the pipe open
    if code:
        said = scrub(b"".join(tail).decode("utf-8", "replace").strip())
        raise Undelivered(f"{key} ended with {code}: {' '.join(said.split())}", hint="run it by hand to see why")


def read_all(pipe: Any, tail: deque[bytes]) -> None:
    """Keep the end of what comes, so that neither the program nor our memory is blocked."""
    with suppress(ValueError, OSError):  # closed under us
        while block := pipe.read(1 << 16):
            tail.extend(block[at : at + 1] for at in range(max(0, len(block) - TAIL), len(block)))


def end(process: subprocess.Popen[bytes]) -> None:
    """End the program and all that it has started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_S)
            return


def environment(message: Message, warehouse: str) -> dict[str, str]:
    """Ours without what is none of its business: our settings with their secrets, systemd's socket."""
    mine = ("SYNCD_", "CREDENTIALS_DIRECTORY", "NOTIFY_SOCKET", "WATCHDOG_")
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith(mine)}
    told = orjson.loads(orjson.dumps(message, default=str, option=orjson.OPT_UTC_Z))
    given = {f"LOADED_{name.upper()}": str(value) for name, value in told.items()}
    return kept | given | {"LOADED_WAREHOUSE": warehouse}
