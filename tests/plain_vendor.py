"""A Contentsquare of a few lines, whose every answer a test can bend: what the sandbox has no knob for."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import orjson

Answer = tuple[int, bytes]
TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def lines(count: int, first: int = 0) -> bytes:
    """Session lines, packed."""
    return gzip.compress(b"".join(b'{"session_id": %d}\n' % (first + number) for number in range(count)))


@dataclass
class Export:
    """A finished run of job 7, `days_ago` days old, and its files' links."""

    id: int | str
    files: list[bytes]
    days_ago: int = 1
    completed_at: datetime = field(default_factory=lambda: datetime.now(UTC) - timedelta(hours=3))
    links_until: datetime = field(default_factory=lambda: datetime.now(UTC) + timedelta(days=1))
    detail: Callable[[], Answer | None] = lambda: None  # in place of the run and its links
    body: Callable[[int], Answer | None] = lambda part: None  # in place of a file


class Vendor:
    """One daily job of sessions, number 7."""

    def __init__(self) -> None:
        self.runs: list[Export] = []
        self.url = ""
        self.asked: list[str] = []
        self.methods: set[str] = set()

    def settings(self) -> dict[str, Any]:
        return dict(kind="contentsquare", client_id="id", client_secret="hush", token_url=f"{self.url}/v1/oauth/token")

    def answer(self, path: str) -> Answer:
        """What a request for `path` gets."""
        match path.strip("/").split("/"):
            case ["v1", "oauth", "token"]:
                return 200, orjson.dumps({"access_token": "t0ken", "expires_in": 3600, "endpoint": self.url})
            case ["v1", "exports"]:
                job = {"jobId": 7, "scope": "sessions", "format": "JSONL", "frequency": "daily", "state": "ACTIVE"}
                return said([job])
            case ["v1", "exports", "successful-runs"]:
                return said([self._row(run) for run in self.runs])
            case ["v1", "exports", "7", "runs"]:
                return said([])
            case ["v1", "exports", "7", "runs", name]:
                run = self._run(name)
                return run.detail() or said({"jobRunId": run.id, "state": "SUCCESS", "files": self._files(run)})
            case ["files", name, part]:
                run = self._run(name)
                if bent := run.body(int(part)):
                    return bent
                return (200, run.files[int(part)]) if datetime.now(UTC) < run.links_until else (403, b"<Error/>")
        raise AssertionError(f"nothing is at {path}")

    def _run(self, name: str) -> Export:
        return next(run for run in self.runs if str(run.id) == name)

    def _row(self, run: Export) -> dict[str, Any]:
        start = TODAY - timedelta(days=run.days_ago)
        period = {"from": start.isoformat(), "to": (start + timedelta(days=1)).isoformat()}
        told = {"jobId": 7, "jobRunId": run.id, "completionTime": run.completed_at.isoformat()}
        return told | period | {"nbOfFiles": len(run.files), "scope": "sessions", "format": "JSONL"}

    def _files(self, run: Export) -> list[dict[str, Any]]:
        return [
            {"partId": part, "url": f"{self.url}/files/{run.id}/{part}", "expirationDate": run.links_until.isoformat()}
            for part in range(len(run.files))
        ]


def said(payload: object) -> Answer:
    return 200, orjson.dumps({"payload": payload, "success": True})


def refused(status: int) -> Answer:
    return status, orjson.dumps({"success": False, "errorMessage": "no"})


@contextmanager
def serving(vendor: Vendor) -> Iterator[Vendor]:
    """The vendor on a free port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            path = self.path.partition("?")[0]
            vendor.asked.append(path)
            vendor.methods.add(self.command)
            status, body = vendor.answer(path)
            try:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
            except ConnectionError:
                self.close_connection = True

        do_POST = do_GET  # the name http.server looks for

        def log_message(self, format: str, *args: Any) -> None:
            """Be quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        vendor.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield vendor
        finally:
            server.shutdown()
            thread.join()
