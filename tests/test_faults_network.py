"""Every trouble of a network, at the token, in the lists and in the files: it is waited out, or told in one clear error
with the contract's exit code; and once it is over all rows come home. The table of docs/reliability.md stands here."""

from __future__ import annotations

import socket
import ssl
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.crash.starter import Starter
from tests.home import Home
from tests.plain_vendor import Answer, Export, Vendor, lines

TOKEN, LIST, RUN, FILE = "/v1/oauth/token", "/v1/exports/successful-runs", "/v1/exports/7/runs/1", "/files/1/0"
ROWS = 2000
Bend = Callable[[socket.socket, bytes], None]  # sends an answer, or what is left of it


def whole(peer: socket.socket, answer: bytes) -> None:
    """No trouble."""
    peer.sendall(answer)


def reset(peer: socket.socket, answer: bytes) -> None:
    """The connection is reset in the middle of the answer."""
    peer.sendall(answer[: len(answer) // 2])
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def silence(peer: socket.socket, answer: bytes) -> None:
    """The connection ends before the first byte."""


def cut(peer: socket.socket, answer: bytes) -> None:
    """The connection ends in the middle, as if that were all."""
    peer.sendall(answer[: len(answer) * 2 // 3])


def listen(peer: socket.socket) -> None:
    """Until the other side has had enough; what is left of its request comes first."""
    while peer.recv(65536):
        pass


def stalled(peer: socket.socket, answer: bytes) -> None:
    """Half of it comes, and then nothing more."""
    peer.sendall(answer[: len(answer) // 2])
    listen(peer)


def slow(peer: socket.socket, answer: bytes) -> None:
    """It comes in crumbs."""
    step = max(len(answer) // 40, 1)
    for at in range(0, len(answer), step):
        peer.sendall(answer[at : at + step])
        time.sleep(0.005)


def too_long(peer: socket.socket, answer: bytes) -> None:
    """More is promised than comes."""
    peer.sendall(answer.replace(b"Content-Length: ", b"Content-Length: 1", 1))


def garbage(peer: socket.socket, answer: bytes) -> None:
    """What comes is no HTTP."""
    peer.sendall(b"\x16\x03\x01 no http\r\n\r\n")


def instead(status: int, body: bytes, *headers: str) -> Bend:
    """Another answer."""
    return lambda peer, answer: peer.sendall(answer_of((status, body), *headers))


def answer_of(answer: Answer, *headers: str) -> bytes:
    """An answer on the wire."""
    status, body = answer
    head = [f"HTTP/1.1 {status} Whatever", "Connection: close", 'ETag: "v1"', *headers, f"Content-Length: {len(body)}"]
    return "\r\n".join([*head, "", ""]).encode() + body


HTML = b"<html><body><h1>Under maintenance</h1></body></html>"


class Case(NamedTuple):
    """A trouble at one place: what `once` ends with while it lasts, and a word of what it says."""

    at: str
    bend: Bend
    code: int
    says: str


CASES = {
    **{
        f"{bend.__name__} at the {name}": Case(place, bend, 75, "")
        for name, place in {"token": TOKEN, "list": LIST, "run": RUN, "file": FILE}.items()
        for bend in (reset, silence, cut, too_long, garbage)
    },
    **{f"slow at the {name}": Case(place, slow, 0, "") for name, place in {"list": LIST, "file": FILE}.items()},
    "stalled in the list": Case(LIST, stalled, 75, "in time"),
    "stalled in the file": Case(FILE, stalled, 75, "in time"),
    "401 for the token": Case(TOKEN, instead(401, b'{"error":"invalid_client"}'), 2, "client_id"),
    "500 for the token": Case(TOKEN, instead(500, b"{}"), 75, "credentials"),
    "HTML for the token": Case(TOKEN, instead(200, HTML), 75, ""),
    "403 for the list": Case(LIST, instead(403, b'{"success":false}'), 2, ""),
    "404 for the list": Case(LIST, instead(404, HTML), 75, ""),
    "429 for the list": Case(LIST, instead(429, b"{}", "Retry-After: 1"), 75, ""),
    "503 for the list": Case(LIST, instead(503, HTML), 75, ""),
    "HTML for the list": Case(LIST, instead(200, HTML), 75, ""),
    "garbage JSON for the list": Case(LIST, instead(200, b'{"payload":[{"jobId":7,'), 75, ""),
    "a redirect of the list": Case(LIST, instead(302, b"", "Location: http://elsewhere.invalid/"), 75, ""),
    "403 for the file": Case(FILE, instead(403, b"<Error/>"), 75, ""),
    "404 for the file": Case(FILE, instead(404, b"<Error/>"), 75, ""),
    "500 for the file": Case(FILE, instead(500, b"<Error/>"), 75, ""),
    "HTML for the file": Case(FILE, instead(200, HTML), 1, "not JSON"),
    "a redirect of the file to plain HTTP": Case(
        FILE, instead(302, b"", "Location: http://elsewhere.invalid/"), 1, "plain http"
    ),
    "a redirect of the file in a circle": Case(FILE, instead(302, b"", f"Location: {FILE}"), 75, ""),
}


class Wire:
    """A vendor behind a socket that can be bent; `bends` says how, by path."""

    def __init__(self, vendor: Vendor, context: ssl.SSLContext | None = None) -> None:
        self.vendor, self.bends = vendor, dict[str, Bend]()
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        vendor.url = f"http{'s' if context else ''}://127.0.0.1:{self.port}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                peer, _ = self._listener.accept()
                threading.Thread(target=self._answer, args=[peer], daemon=True).start()

    def _answer(self, peer: socket.socket) -> None:
        with suppress(OSError), peer if self._context is None else self._context.wrap_socket(peer, True) as peer:
            head = b""
            while b"\r\n\r\n" not in head:
                head += peer.recv(65536)
            path = head.split(b" ", 2)[1].decode().partition("?")[0]
            self.bends.get(path, whole)(peer, answer_of(self.vendor.answer(path)))


@contextmanager
def wired(context: ssl.SSLContext | None = None) -> Iterator[Wire]:
    vendor = Vendor()
    vendor.runs = [Export(1, [lines(ROWS)])]
    wire = Wire(vendor, context)
    yield wire
    wire.close()


@pytest.fixture(scope="module")
def starter() -> Iterator[Starter]:
    with Starter() as starter:
        yield starter


def once(starter: Starter, home: Home, timeout_s: float = 200.0) -> tuple[int, str]:
    """How `syncd once` ends, and all that it says."""
    starter.begin(["--config", str(home.config), "once"], home.data_dir)
    ended = starter.end(timeout_s)
    assert "Traceback" not in ended.err, ended.err
    return ended.code, ended.out + ended.err


@pytest.mark.parametrize("name", CASES)
def test_a_trouble_of_the_network_is_told_and_waited_out(tmp_path: Path, starter: Starter, name: str) -> None:
    case = CASES[name]
    with wired() as wire:
        home = Home(tmp_path, {"acme": wire.vendor.settings()}, retry_for="1s")
        wire.bends[case.at] = case.bend
        code, said = once(starter, home)
        assert code == case.code, said
        assert code == 0 or ('"hint":"' in said and case.says in said), said
        wire.bends.clear()
        if code == 1:
            starter.begin(["--config", str(home.config), "retry", "acme/7-1"], home.data_dir)
            assert starter.end().code == 0
        assert once(starter, home)[0] == 0
        assert home.query("SELECT count(*), count(DISTINCT session_id) FROM acme.sessions") == [(ROWS, ROWS)]


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://127.0.0.1:9/v1/oauth/token", "token_url"),  # nobody listens there
        ("https://no-such-host.invalid/v1/oauth/token", "token_url"),
    ],
    ids=["refused", "a name that nobody knows"],
)
def test_nobody_there(tmp_path: Path, starter: Starter, url: str, says: str) -> None:
    home = Home(tmp_path, {"acme": Vendor().settings() | {"token_url": url}}, retry_for="1s")
    code, said = once(starter, home)
    assert code == 75 and says in said


def test_a_wrong_certificate_is_never_accepted(tmp_path: Path, starter: Starter) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=elsewhere.test",
         "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with wired(context) as wire:
        home = Home(tmp_path / "home", {"acme": wire.vendor.settings()}, retry_for="1s")
        code, said = once(starter, home)
        assert code == 75 and "certificate" in said.lower()
        assert wire.vendor.asked == []


def test_a_token_that_dies_in_the_middle_of_a_walk_is_renewed(tmp_path: Path, starter: Starter) -> None:
    with wired() as wire:
        home = Home(tmp_path, {"acme": wire.vendor.settings()}, retry_for="1s")
        refusals = iter([instead(401, b'{"success":false,"errorCode":"JWT_EXPIRED"}')])
        wire.bends[LIST] = lambda peer, answer: next(refusals, whole)(peer, answer)
        assert once(starter, home)[0] == 0
        assert home.query("SELECT count(*) FROM acme.sessions") == [(ROWS,)]


def test_a_link_that_dies_in_the_middle_of_a_download_is_asked_for_again(tmp_path: Path, starter: Starter) -> None:
    with wired() as wire:
        home = Home(tmp_path, {"acme": wire.vendor.settings()}, retry_for="3s")
        bends = iter([cut, instead(403, b"<Error><Code>AccessDenied</Code></Error>")])
        wire.bends[FILE] = lambda peer, answer: next(bends, whole)(peer, answer)
        assert once(starter, home)[0] == 0
        assert home.query("SELECT count(*) FROM acme.sessions") == [(ROWS,)]
