"""What finding new runs costs where the vendor lists 1.7 million: the real source, over HTTP, page by page.

A second process is the vendor: it makes each page as it is asked for. All runs but a few of the youngest stand in the
ledger of a lake as closed, so a sweep looks each of them up. Memory is told as the walk goes on: it must not grow.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import orjson
import structlog

sys.path.insert(0, str(Path(__file__).parent.parent))

from life import Spent, memory, peak_of, spending

from syncd.destinations.lake import Lake
from syncd.destinations.lake.segments import add_segment, next_number, show_ledger
from syncd.model import Run
from syncd.sources.contentsquare.source import Contentsquare

JOBS = 200
EVERY = timedelta(hours=5)  # a job delivers
NEW = 3  # runs that are not closed
PAGE = 100


class Vendor(BaseHTTPRequestHandler):
    """Lists runs, youngest first, from arithmetic alone."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def __init__(self, runs: int, asked: Counter[str], *rest: Any) -> None:
        self._runs, self._asked = runs, asked
        super().__init__(*rest)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer({"access_token": "token", "expires_in": 36_000})

    def do_GET(self) -> None:
        asked = urlsplit(self.path)
        number = int(parse_qs(asked.query).get("page", ["1"])[0])
        what = asked.path.rpartition("/")[2]
        if what == "asked":
            self._answer(dict(self._asked))
            return
        self._asked[what] += 1
        row, many = (job, JOBS) if what == "exports" else (partial(finished, self._runs), self._runs)
        page = range(max(number - 1, 0) * PAGE, min(max(number, 1) * PAGE, many))
        self._answer({"success": True, "payload": [row(at) for at in page]})

    def _answer(self, said: object) -> None:
        body = orjson.dumps(said)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *said: object) -> None:
        """Nothing is said."""


def job(at: int) -> dict[str, object]:
    told = {"name": f"job {at}", "scope": "SESSIONS", "format": "JSONL", "frequency": "daily", "state": "COMPLETED"}
    return {"jobId": at, "lastRunTime": "2026-01-01T00:00:00Z", **told}


def finished(runs: int, at: int) -> dict[str, object]:
    """The run in this place of the list; 0 is the youngest."""
    number, of = divmod(runs - 1 - at, JOBS)
    start = datetime(2021, 1, 1, tzinfo=UTC) + EVERY * number
    when = {"from": stamp(start), "to": stamp(start + EVERY), "completionTime": stamp(start + EVERY)}
    return {"jobId": of, "jobRunId": number, "scope": "SESSIONS", "format": "JSONL", "nbOfFiles": 2, **when}


def stamp(instant: datetime) -> str:
    return f"{instant:%Y-%m-%dT%H:%M:%SZ}"


def serve(runs: int, told: Connection) -> None:
    """The vendor's process; its port is told."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Vendor, runs, Counter[str]())) as server:
        told.send(server.server_port)
        server.serve_forever()


def close_all(home: Path, runs: int) -> Lake:
    """A lake in whose ledger all but the youngest are closed."""
    lake = Lake(home)
    lake.start()
    with lake._publication() as catalogue:
        number = next_number(home)
        began = f"TIMESTAMP '2021-01-01' + INTERVAL {EVERY.total_seconds():.0f} SECOND * (n // {JOBS})"
        add_segment(
            catalogue,
            home,
            "runs",
            number,
            f"SELECT 'acme' AS source, (n % {JOBS}) || '-' || (n // {JOBS}) AS run, (n % {JOBS})::VARCHAR AS job, "
            f"'sessions' AS scope, 'jsonl' AS format, {began} AS period_start, period_start AS period_end, "
            "period_start AS completed_at, period_start AS loaded_at, 0 AS parts, 0 AS rows, 0 AS rejected, "
            f"0 AS bytes, 'loaded' AS status, {number} AS number FROM range({runs - NEW}) listed(n)",
        )
        show_ledger(catalogue, home)
    return lake


def timed(name: str, found: Iterator[Run], asked: Callable[[], int]) -> list[str]:
    """Go through all that is found; what that cost, and how many requests."""
    before, had = memory(), asked()
    forget_peak()
    with spending() as spent:
        ids = [run.id for run in found]
    told(name, f"{len(ids)} new", f"{asked() - had:,}", spent, before)
    return ids


def told(name: str, found: str, requests: str, spent: Spent, before: int) -> None:
    more = (peak_of("self") - before) / 1e6
    print(f"| {name} | {found} | {requests} | {spent.seconds:.1f} | {spent.cpu:.1f} | {more:.1f} |", flush=True)


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("build/discovery"))
    parser.add_argument("--runs", type=int, default=1_700_000)
    given = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    home = given.folder.absolute()
    shutil.rmtree(home, ignore_errors=True)
    lake = close_all(home, given.runs)
    spawn = multiprocessing.get_context("spawn")
    here, there = spawn.Pipe()
    vendor = spawn.Process(target=serve, args=(given.runs, there), daemon=True)
    vendor.start()
    url = f"http://127.0.0.1:{here.recv()}"
    source = Contentsquare("acme", "id", "secret", token_url=f"{url}/v1/oauth/token")

    def asked() -> int:
        return sum(httpx.get(f"{url}/asked").json().values())

    print("| what | found | requests | seconds | of a processor | MB more at its peak |\n|---|---|---|---|---|---|")
    before = memory()
    forget_peak()
    with spending() as spent:
        closed = lake.loaded("acme")
    told("which runs are loaded, read", f"{given.runs - NEW:,}", "-", spent, before)
    new = timed("a sweep: all that is listed, each looked up", source.runs(closed, sweep=True), asked)
    assert len(new) == NEW, new

    def quiet_pass() -> Iterator[Run]:
        source.jobs()
        yield from source.runs(closed | new, sweep=False)

    assert not timed("a pass between sweeps, all loaded", quiet_pass(), asked)
    vendor.kill()


if __name__ == "__main__":
    main()
