"""What was asked of a sandbox: the log a test reads afterwards."""

from __future__ import annotations

from collections import Counter, deque
from threading import Lock
from typing import Any

from syncd.sandbox.server import Call


class Traffic:
    """Every call seen, and how many at once. Any thread."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._calls: deque[dict[str, Any]] = deque(maxlen=100_000)
        self._statuses: Counter[str] = Counter()
        self._total: Counter[str] = Counter()
        self._now: Counter[str] = Counter()
        self._most: Counter[str] = Counter()
        self._signed_in_on_files = 0

    def begin(self, kind: str) -> None:
        """A call of a kind (api, token, file) came in."""
        with self._lock:
            self._total[kind] += 1
            self._now[kind] += 1
            self._most[kind] = max(self._most[kind], self._now[kind])

    def end(self, kind: str, call: Call, status: int) -> None:
        """A call has ended; status 0: cut on purpose."""
        with self._lock:
            self._now[kind] -= 1
            self._statuses[str(status)] += 1
            signed_in = "authorization" in call.headers
            self._signed_in_on_files += kind == "file" and signed_in
            query = {key: value for key, value in call.query.items() if key != "signature"}
            self._calls.append(
                {"kind": kind, "method": call.method, "path": call.path, "query": query, "status": status}
                | {"range": call.headers.get("range"), "authorization": signed_in}
            )

    def told(self) -> dict[str, Any]:
        """As JSON."""
        with self._lock:
            return {
                "total": dict(self._total),
                "max_in_flight": dict(self._most),
                "statuses": dict(self._statuses),
                "authorization_on_file_url": self._signed_in_on_files,
                "requests": list(self._calls),
            }
