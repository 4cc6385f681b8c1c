"""A small HTTP/1.1 server on loopback that can also misbehave: cut, stall, lie about lengths.

One thread a connection. It knows nothing of any vendor: a `Vendor` turns each `Call` into an `Answer`, a `Download` or
`CUT`. Written on sockets, because no web framework sends a wrong Content-Length or resets a connection on purpose.
"""

from __future__ import annotations

import re
import socket
import struct
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import responses
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Lock, Thread, current_thread
from typing import Any, Protocol
from urllib.parse import parse_qsl, urlsplit

_CHUNK = 1 << 18
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


@dataclass(frozen=True)
class Call:
    """An HTTP request as it came. Header names are in lower case."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True)
class Answer:
    """A whole answer."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one body. Shares are of the bytes that are to be sent."""

    reset_at: float = 0.0
    close_at: float = 0.0
    truncate_at: float = 0.0
    stall_at: float = 0.0
    stall_s: float = 0.0
    wrong_length: int = 0


@dataclass(frozen=True)
class Download:
    """A file as the answer."""

    path: Path
    headers: Mapping[str, str]
    etag: str = ""
    ranges: bool = True
    chunked: bool = False
    slow: int = 0  # bytes a second; 0: as fast as it goes
    fault: Fault = Fault()


class Cut:
    """No answer: the connection is reset."""


CUT = Cut()


class Vendor(Protocol):
    """Whoever answers. Any thread."""

    def begin(self, call: Call) -> None:
        """A call came in."""

    def answer(self, call: Call) -> Answer | Download | Cut:
        """What to send."""

    def end(self, call: Call, status: int) -> None:
        """All was sent, or the connection is gone. Status 0: it was cut on purpose."""


class Server:
    """Listens on 127.0.0.1 from `start` to `stop`; may be started again, on the same port."""

    def __init__(self, vendor: Vendor, port: int = 0) -> None:
        self.port = port
        self.bugs: list[str] = []  # tracebacks of the sandbox's own mistakes: a test looks here
        self._vendor = vendor

    @property
    def url(self) -> str:
        """The base URL, without a slash behind."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Listen. OSError: the port is taken."""
        self._listener = _Listener(("127.0.0.1", self.port), self._vendor, self.bugs)
        self.port = self._listener.server_address[1]
        self._thread = Thread(target=self._listener.serve_forever, args=(0.05,), name="sandbox", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Close the port and every connection."""
        self._listener.shutdown()
        self._thread.join()
        self._listener.server_close()
        self._listener.hang_up()


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def __init__(self, address: tuple[str, int], vendor: Vendor, bugs: list[str]) -> None:
        self.vendor, self.bugs = vendor, bugs
        self.stopping = Event()
        self.open: dict[socket.socket, Thread] = {}
        self.to_reset: set[socket.socket] = set()
        self.lock = Lock()
        super().__init__(address, _Conversation)

    def shutdown_request(self, request: Any) -> None:
        with self.lock:
            reset = request in self.to_reset
            self.to_reset.discard(request)
        if reset:
            self.close_request(request)  # without the shutdown, which would send a FIN first
        else:
            super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        error = sys.exception()
        if not isinstance(error, (ConnectionError, TimeoutError)) and not self.stopping.is_set():
            self.bugs.append(traceback.format_exc())

    def hang_up(self) -> None:
        self.stopping.set()
        with self.lock:
            left = dict(self.open)
        for connection in left:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in left.values():
            thread.join(5)


class _Conversation(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body go out in two writes
    server: _Listener
    connection: socket.socket
    _call: Call | None = None  # the one that has not ended
    _status = 0

    def setup(self) -> None:
        super().setup()
        with self.server.lock:
            self.server.open[self.connection] = current_thread()

    def finish(self) -> None:
        with suppress(OSError):
            super().finish()
        with self.server.lock:
            self.server.open.pop(self.connection, None)

    def log_message(self, format: str, *args: Any) -> None:
        """The vendor keeps the log."""

    def _converse(self) -> None:
        parts = urlsplit(self.path)
        call = Call(
            self.command,
            parts.path,
            dict(parse_qsl(parts.query, keep_blank_values=True)),
            {name.lower(): value for name, value in self.headers.items()},
            self.rfile.read(int(self.headers.get("Content-Length") or 0)),
        )
        self.server.vendor.begin(call)
        self._call, self._status = call, 0
        try:
            match self._answer(call):
                case Answer() as answer:
                    self._send_whole(answer)
                case Download() as download:
                    self._send_file(call, download)
                case _:
                    self._end(reset=True)
        finally:
            self._over()

    def _over(self) -> None:
        """The call has ended: said before its last byte goes out, or a client's next call would seem to overlap it."""
        call, self._call = self._call, None
        if call:
            self.server.vendor.end(call, self._status)

    def _answer(self, call: Call) -> Answer | Download | Cut:
        try:
            return self.server.vendor.answer(call)
        except Exception:  # whatever it is, it is ours: tell, and let the client see a 500
            self.server.bugs.append(traceback.format_exc())
            return Answer(500, b"the sandbox has a bug")

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = _converse

    def _head(self, status: int, headers: Mapping[str, str]) -> bytes:
        lines = [f"HTTP/1.1 {status} {responses.get(status, 'Status')}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        lines += [] if "Date" in headers else [f"Date: {self.date_time_string()}"]
        return "\r\n".join([*lines, "", ""]).encode()

    def _send_whole(self, answer: Answer) -> None:
        headers = {"Content-Length": str(len(answer.body)), **answer.headers}
        body = b"" if self.command == "HEAD" else answer.body
        self._status = answer.status
        self._over()
        self.connection.sendall(self._head(answer.status, headers) + body)

    def _send_file(self, call: Call, download: Download) -> None:
        size, fault = download.path.stat().st_size, download.fault
        if fault.truncate_at:
            size = int(size * fault.truncate_at)
        status, first, last = _wanted(call, download, size)
        self._status = status
        headers = dict(download.headers) | ({"ETag": download.etag} if download.etag else {})
        if download.ranges:
            headers["Accept-Ranges"] = "bytes"
        if status == 416:
            headers |= {"Content-Range": f"bytes */{size}", "Content-Length": "0"}
            self._over()
            self.connection.sendall(self._head(status, headers))
            return
        if status == 206:
            headers["Content-Range"] = f"bytes {first}-{last - 1}/{size}"
        if download.chunked:
            headers["Transfer-Encoding"] = "chunked"
        else:
            headers["Content-Length"] = str(max(0, last - first + fault.wrong_length))
        self.connection.sendall(self._head(status, headers))
        if call.method != "HEAD":
            self._send_body(download, first, last)

    def _send_body(self, download: Download, first: int, last: int) -> None:
        fault = download.fault
        with download.path.open("rb") as file:
            if cut_at := fault.reset_at or fault.close_at:
                self._send_bytes(download, file, first, first + int((last - first) * cut_at))
                self._end(reset=bool(fault.reset_at))
                return
            if fault.wrong_length:
                self._send_bytes(download, file, first, max(first, last + min(0, fault.wrong_length)))
                self._end()
                return
            if fault.stall_at:
                stall_at = first + int((last - first) * fault.stall_at)
                self._send_bytes(download, file, first, stall_at)
                self.server.stopping.wait(fault.stall_s)
                first = stall_at
            before_last = last if download.chunked else max(first, last - 1)
            self._send_bytes(download, file, first, before_last)
            self._over()
            self._send_bytes(download, file, before_last, last)
        if download.chunked:
            self.connection.sendall(b"0\r\n\r\n")

    def _send_bytes(self, download: Download, file: Any, first: int, last: int) -> None:
        if not (download.chunked or download.slow):
            if last > first:  # to sendfile, a count of 0 means no bytes is an error
                self.connection.sendfile(file, first, last - first)
            return
        for chunk in _chunks(file, first, last, min(_CHUNK, download.slow // 10 or 1) if download.slow else _CHUNK):
            head = b"%x\r\n" % len(chunk) if download.chunked else b""
            self.connection.sendall(head + chunk + (b"\r\n" if download.chunked else b""))
            if download.slow and self.server.stopping.wait(len(chunk) / download.slow):
                break

    def _end(self, *, reset: bool = False) -> None:
        """Close the connection; `reset` with RST instead of FIN, as a dying middlebox does."""
        self.close_connection = True
        if reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            with self.server.lock:
                self.server.to_reset.add(self.connection)


def _chunks(file: Any, first: int, last: int, size: int) -> Iterator[bytes]:
    file.seek(first)
    while first < last:
        chunk = file.read(min(size, last - first))
        first += len(chunk)
        yield chunk


def _wanted(call: Call, download: Download, size: int) -> tuple[int, int, int]:
    """(status, first byte, byte behind the last), by Range and If-Range."""
    match = _RANGE.fullmatch(call.headers.get("range", ""))
    unchanged = call.headers.get("if-range", download.etag) == download.etag
    strong = not download.etag.startswith("W/")
    if not match or not download.ranges or ("if-range" in call.headers and not (unchanged and strong)):
        return 200, 0, size
    start, stop = match.groups()
    if not start:
        return (206, max(0, size - int(stop)), size) if stop and int(stop) and size else (416, 0, 0)
    last = min(size, int(stop) + 1) if stop else size
    return (206, int(start), last) if int(start) < last else (416, 0, 0)
