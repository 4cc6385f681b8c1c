"""Somebody on loopback who is told something, and who can be in any mood."""

from __future__ import annotations

import json  # noqa: TID251  # messages as any receiver reads them
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Ear:
    """What came, and what is answered."""

    def __init__(self) -> None:
        self.url = ""
        self.came: list[tuple[str, str, dict[str, Any], dict[str, str]]] = []  # verb, path, message, headers
        self.status: Callable[[int], int] = lambda number: 200  # by the number of the request, from 1
        self.slow_s = 0.0

    def messages(self, path: str = "/") -> list[dict[str, Any]]:
        return [message for _, at, message, _ in list(self.came) if at == path]


@contextmanager
def listening_ear(*, port: int = 0) -> Iterator[Ear]:
    """It hears on a free port, or on `port`."""
    ear = Ear()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            ear.came.append((self.command, self.path, json.loads(body or b"{}"), dict(self.headers)))
            time.sleep(ear.slow_s)
            status = ear.status(len(ear.came))
            try:
                self.send_response(status)
                if 300 <= status < 400:
                    self.send_header("Location", f"{ear.url}/elsewhere")
                self.end_headers()
            except ConnectionError:
                self.close_connection = True

        do_GET = do_POST  # the name http.server looks for

        def log_message(self, *_: Any) -> None:
            """Be quiet."""

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        ear.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield ear
        finally:
            server.shutdown()
            thread.join()
