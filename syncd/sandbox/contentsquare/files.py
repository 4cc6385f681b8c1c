"""Signed links and the files behind them, as an object store answers them."""

from __future__ import annotations

import hashlib
import hmac
import itertools
import time
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Lock
from typing import Any

from syncd.sandbox.contentsquare.account import Run
from syncd.sandbox.contentsquare.parts import Part, Spool
from syncd.sandbox.contentsquare.trouble import Trouble
from syncd.sandbox.server import Answer, Call, Download, Fault

_BIG = 20_000  # sessions whose making would keep a caller waiting
_FAULTS = ("drop_at", "close_at", "truncate_at", "stall_at", "wrong_length", "file_status")


class Files:
    """The object store. Any thread."""

    def __init__(self, seed: int) -> None:
        self._key = f"signature {seed}".encode()
        self._spool = Spool()
        self._lock = Lock()
        self._suffered: Counter[tuple[str, str]] = Counter()
        self._first_links: dict[str, tuple[int, datetime]] = {}
        self._valid_from = 0  # links issued before this are dead
        self._issue = time.time_ns
        self._tags = itertools.count()

    def told(self, run: Run, part: Part, url: str, trouble: Trouble, now: datetime) -> dict[str, Any]:
        """A part as the run's page lists it, with its link."""
        path = _path(run, part)
        issued, ends = self._issue(), min(run.expires_at, now + timedelta(seconds=trouble.link_life))
        if trouble.link_fixed:
            issued, ends = self._first_links.setdefault(path, (issued, ends))
        query = f"issued={issued}&expires={ends.timestamp():.3f}"
        told: dict[str, Any] = {"partId": part.id}
        if trouble.file_size != "absent":
            told["fileSize"] = self._size(run, part, trouble)
        expires = run.expires_at if trouble.link_life_hidden else ends
        return told | {
            "url": f"{url}{path}?{query}&signature={self._sign(path, query)}",
            "expirationDate": expires.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        }

    def answer(self, call: Call, runs: Mapping[str, Run], trouble: Trouble, now: datetime) -> Answer | Download:
        """A request for a file."""
        if "authorization" in call.headers:
            return _xml(400, "InvalidArgument", "Only one auth mechanism allowed")
        query = f"issued={call.query.get('issued')}&expires={call.query.get('expires')}"
        if not hmac.compare_digest(self._sign(call.path, query), call.query.get("signature", "")):
            return _xml(403, "SignatureDoesNotMatch", "The request signature does not match")
        ends = datetime.fromtimestamp(float(call.query["expires"]), UTC)
        if ends <= now or int(call.query["issued"]) < self._valid_from:
            return _xml(403, "AccessDenied", "Request has expired")
        job, number = call.path.split("/")[3:5]
        run = runs[f"{job}-{number}"]  # it was signed, so it is there
        if run.expired(now):
            return _xml(403, "AccessDenied", "Access Denied")
        part = next(part for part in run.parts if _path(run, part) == call.path)
        return self._download(call, run, part, trouble)

    def make(self, run: Run, part: Part, trouble: Trouble) -> Path:
        """The part's file, made now if it isn't there."""
        return self._spool.path(part, f"{run.name}-{part.id}", trouble)

    def expire_links(self) -> None:
        """End the life of every link given out so far."""
        self._valid_from = self._issue() + 1
        self._first_links.clear()

    def forget_faults(self) -> None:
        """Every part suffers anew."""
        with self._lock:
            self._suffered.clear()

    def close(self) -> None:
        """Remove what was made."""
        self._spool.close()

    def _sign(self, path: str, query: str) -> str:
        return hmac.new(self._key, f"{path}?{query}".encode(), hashlib.sha256).hexdigest()

    def _size(self, run: Run, part: Part, trouble: Trouble) -> int:
        if part.what and part.what.sessions > _BIG and not self._spool.has(f"{run.name}-{part.id}", trouble):
            return part.what.sessions * 190  # what 190 bytes a session come to, packed
        packed = self.make(run, part, trouble).stat().st_size
        match trouble.file_size:
            case "unpacked":
                return sum(map(len, part.plain()))
            case "wrong":
                return packed // 3 + 1
        return packed

    def _download(self, call: Call, run: Run, part: Part, trouble: Trouble) -> Answer | Download:
        name = f"{run.name}-{part.id}"
        with self._lock:
            faults = {fault: self._suffer(name, fault, trouble) for fault in _FAULTS if call.method != "HEAD"}
        if faults.get("file_status"):
            return _xml(trouble.file_status, "SlowDown", "Please reduce your request rate.")
        headers = {"Content-Type": "application/octet-stream", "Last-Modified": _http_date(run.completed_at)}
        if trouble.body == "encoded":
            headers["Content-Encoding"] = "gzip"
        return Download(
            self.make(run, part, trouble),
            headers,
            etag=self._tag(name, trouble),
            ranges=not trouble.no_range,
            chunked=trouble.chunked,
            slow=trouble.slow,
            fault=Fault(
                reset_at=faults.get("drop_at", 0),
                close_at=faults.get("close_at", 0),
                truncate_at=faults.get("truncate_at", 0),
                stall_at=faults.get("stall_at", 0),
                stall_s=trouble.stall_s,
                wrong_length=int(faults.get("wrong_length", 0)),
            ),
        )

    def _suffer(self, name: str, fault: str, trouble: Trouble) -> float:
        """The knob's value while the part has not suffered it often enough, then 0."""
        value = float(getattr(trouble, fault))
        if not value or (trouble.fault_times and self._suffered[name, fault] >= trouble.fault_times):
            return 0
        self._suffered[name, fault] += 1
        return value

    def _tag(self, name: str, trouble: Trouble) -> str:
        if trouble.etag == "absent":
            return ""
        salt = str(next(self._tags)) if trouble.etag == "changing" else ""
        tag = hashlib.sha256(f"{name} {trouble.body} {trouble.members} {salt}".encode()).hexdigest()[:32]
        return f'W/"{tag}"' if trouble.etag == "weak" else f'"{tag}"'


def _path(run: Run, part: Part) -> str:
    return f"/exports-bucket/project-42/{run.job.id}/{run.id}/part-{part.id}.{part.form}.gz"


def _http_date(instant: datetime) -> str:
    return instant.strftime("%a, %d %b %Y %H:%M:%S GMT")


def _xml(status: int, code: str, message: str) -> Answer:
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>'
    return Answer(status, body.encode(), {"Content-Type": "application/xml"})
