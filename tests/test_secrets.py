"""Secrets and signed links are planted wherever syncd learns of one; then everything that it leaves behind is searched.

The vendor here is a parrot: it repeats every secret in each refusal, as error pages do that print the request.
"""

from __future__ import annotations

import base64
import re
import sqlite3
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote

import duckdb
import orjson
import pytest

from syncd.errors import TryAgain
from tests.ear import listening_ear
from tests.home import Home, quoted
from tests.plain_vendor import Answer, Export, Vendor, lines, serving
from tests.test_http import daemon, until

SECRET, BEARER, SIGNED = "planted-client-5f1e7a", "planted-bearer-c0ffee", "planted-signature-9d2b44"
TOKEN, HOOK, BEAT, AUTHORIZATION = "planted-token-71ab", "planted-hook-3c3c", "planted-beat-8e8e", "planted-dbt-2d2d"
KEY, ENTRY, CONVERT, STORE = "planted-cordial-a17f", "planted-entry-6b02", "planted-convert-44d0", "planted-store-90be"
PLANTED = (SECRET, BEARER, SIGNED, TOKEN, HOOK, BEAT, AUTHORIZATION, KEY, ENTRY, CONVERT, STORE)
QUERY = f"X-Amz-Credential={SIGNED}&signature={SIGNED}"
PARROT = f"Bearer {BEARER} of client_secret {SECRET} at https://bucket.test/part?{QUERY}; GET /part?{QUERY}"


class Parrot(Vendor):
    """`refuses`: the token, or the lists; else only single runs and files are in trouble."""

    def __init__(self, refuses: str = "", status: int = 200) -> None:
        super().__init__()
        self.refuses, self.status = refuses, status
        self.links: dict[int | str, str] = {}  # by run, in place of those that work

    def settings(self) -> dict[str, Any]:
        return super().settings() | {"client_secret": SECRET, "poll_interval": "1s"}

    def answer(self, path: str) -> Answer:
        is_token = path == "/v1/oauth/token"
        if self.refuses == ("token" if is_token else "lists"):
            return squawk(self.status, PARROT.replace(BEARER, "…") if is_token else PARROT)  # it had no token yet
        if is_token:
            return 200, orjson.dumps({"access_token": BEARER, "expires_in": 3600, "endpoint": self.url})
        return super().answer(path)

    def _files(self, run: Export) -> list[dict[str, Any]]:
        files = super()._files(run)
        return [file | {"url": f"{self.links.get(run.id, file['url'])}?{QUERY}"} for file in files]


def squawk(status: int, text: str = PARROT) -> Answer:
    return status, orjson.dumps({"success": False, "errorCode": "NO", "errorMessage": text, "error": text})


def troubled() -> Parrot:
    """One good run, and each way in which a run or its files can fail."""
    vendor = Parrot()
    vendor.runs = [Export(number, [lines(3)], days_ago=number) for number in range(1, 9)]
    vendor.links = {
        2: "http://bucket.test/part",  # plain http
        3: "https://[bucket/part",
        4: "http://127.0.0.1:1/part",  # nobody is there
        5: "ftp://bucket.test/part",
    }
    for run, bent in zip(vendor.runs[5:], (squawk(403), squawk(500), (200, b"\x1f\x8b rubbish")), strict=True):
        run.body = lambda _part, bent=bent: bent  # type: ignore[misc]
    vendor.runs.append(Export(9, [lines(1)], days_ago=9, detail=lambda: squawk(403)))
    return vendor


def forms(secret: str) -> set[bytes]:
    """A secret as it is, and as Basic authorization would hide it, wherever in it the secret begins."""
    shifted = [base64.b64encode(b"\0" * shift + secret.encode())[4:-4] for shift in range(3)]
    return {secret.encode(), *shifted}


def assert_clean(where: str, seen: bytes | str) -> None:
    raw = seen.encode() if isinstance(seen, str) else seen
    for secret in PLANTED:
        for form in forms(secret):
            at = raw.find(form)
            assert at < 0, f"{where}: {raw[max(0, at - 200) : at + 60]!r}"


def left_in(folder: Path) -> Iterator[tuple[str, bytes | str]]:
    """Every byte below, and what databases and packed files say when they are opened."""
    for path in sorted(folder.rglob("*")):
        yield str(path), str(path)
        if path.is_file():
            yield str(path), path.read_bytes()
        if path.suffix == ".parquet":
            yield str(path), repr(duckdb.sql(f"SELECT * FROM '{path}'").fetchall())
            yield str(path), repr(duckdb.sql(f"SELECT * FROM parquet_kv_metadata('{path}')").fetchall())
        if path.suffix == ".sqlite":
            with sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True) as state:
                yield str(path), "\n".join(state.iterdump())
            state.close()
        if path.suffix == ".duckdb":
            yield from told_by(path)


def told_by(path: Path) -> Iterator[tuple[str, str]]:
    """What a catalogue says; the files of one for readers elsewhere are not where it looks for them."""
    is_ours = path.name == "warehouse.duckdb"
    with duckdb.connect(str(path), read_only=True) as warehouse:
        tables = "SELECT table_schema, table_name FROM information_schema.tables"
        tables += "" if is_ours else " WHERE table_type = 'BASE TABLE'"
        for schema, table in warehouse.execute(tables).fetchall():
            rows = warehouse.execute(f"SELECT * FROM {quoted(schema)}.{quoted(table)}").fetchall()
            yield f"{path.name}: {schema}.{table}", repr(rows)
        yield f"{path.name}: views", repr(warehouse.execute("SELECT sql FROM duckdb_views()").fetchall())


COMMANDS = [
    *(["status"], ["status", "--json"], ["runs"], ["runs", "--json"], ["gaps"]),
    *(["retry", "fine/7-2"], ["replay", "fine/7-1"], ["verify", "--json"], ["once", "--dry-run"]),
    *(["query", "SELECT * FROM _syncd.runs"], ["probe", "fine"], ["probe", "forbidden"]),
    ["ingest", "fine", "7-2", f"http://127.0.0.1:1/part?{QUERY}"],
]


def ended(process: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
    out, err = process.communicate(timeout=120)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def test_what_is_planted_is_found_nowhere(tmp_path: Path) -> None:
    vendors = {
        "fine": troubled(),
        "refused": Parrot("token", 401),
        "down": Parrot("token", 500),
        "forbidden": Parrot("lists", 403),
        "busy": Parrot("lists", 503),
    }
    with ExitStack() as serve:
        sources = {name: serve.enter_context(serving(vendor)).settings() for name, vendor in vendors.items()}
        nobody = "http://127.0.0.1:1"
        tell = {"trouble_url": f"{nobody}/{HOOK}", "heartbeat_url": f"{nobody}/ping?key={BEAT}"}
        tell |= {"loaded_url": f"{nobody}/{HOOK}", "loaded_authorization": f"Bearer {AUTHORIZATION}"}
        http = {"listen": "127.0.0.1:0", "token": TOKEN}
        home = Home(tmp_path / "home", {})

        def configure(tell: dict[str, str]) -> None:
            home.write(sources, retry_for="1s", http=http, tell=tell)
            store = f'options.secret = "{STORE}"\noptions.key = "any"\noptions.endpoint_url = "{nobody}"'
            published = f'[[publish]]\nroot = "/mnt/lake"\n[[publish]]\nroot = "s3://lake"\n{store}\n'
            home.config.write_text(home.config.read_text() + published)

        configure(tell)
        first = home.run("--log-format", "console", "once")
        assert first.returncode == 2, first.stderr
        assert "publish_failed" in first.stderr
        ear = serve.enter_context(listening_ear())
        configure(tell | {"trouble_url": f"{ear.url}/{HOOK}", "loaded_url": f"{ear.url}/{HOOK}"})
        with daemon(home, Authorization=f"Bearer {TOKEN}") as syncd:
            beside = [home.start(*command) for command in COMMANDS]
            log = tmp_path / "syncd.log"
            log.write_text(first.stderr)
            beside += [home.start("support-bundle", "--folder", str(tmp_path), "--log", str(log))]
            patient = ("down", "busy")  # `check` would give each of these 15 s
            beside += [Home(tmp_path, {name: sources[name] for name in sources.keys() - patient}).start("check")]
            until(lambda: syncd.told("daemon_ready"))
            for path in ("/", "/healthz", "/readyz", "/metrics", "/api/status", "/nowhere", f"/?{QUERY}"):
                for headers in ({}, {"Authorization": "Bearer wrong"}):
                    answer = syncd.client.get(path, headers=headers)
                    assert_clean(path, f"{answer.headers}\n{answer.text}")
            assert "fine/7-1" in syncd.client.get("/").text
            served = tmp_path / "served" / "elsewhere.duckdb"
            served.parent.mkdir()
            served.write_bytes(syncd.client.get("/warehouse.duckdb").content)
            until(lambda: {"loaded", "source"} <= {told["event"] for _, _, told, _ in list(ear.came)})
            said = [first, *map(ended, beside)]
        assert_clean("the daemon's log", "".join(syncd.log))
    for each in said:
        assert "Traceback" not in each.stderr
        assert_clean(str(each.args), f"{each.stdout}\n{each.stderr}")
    assert {f"7-{number}" for number in range(2, 10)} <= set(re.findall(r"7-\d", first.stderr)), "each trouble was met"
    (bundle,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(bundle) as members:
        packed = [(each.name, members.extractfile(each)) for each in members if each.isfile()]
        shared = [(name, file.read()) for name, file in packed if file]
    assert len(shared) > 5
    assert list((home.data_dir / "published").glob("*.duckdb"))
    bodies = [("a message", orjson.dumps(told)) for _, _, told, _ in ear.came]
    for where, seen in [*shared, *bodies, *left_in(served.parent), *left_in(home.data_dir)]:
        assert_clean(where, seen)


class Echo(BaseHTTPRequestHandler):
    """Answers /<status>/… with that status, and with all that it was sent."""

    heard: ClassVar[set[str]] = set()

    def do_GET(self) -> None:
        sent = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        said = f"{self.command} {self.path} {self.headers} {sent}"
        self.heard.update(secret for secret in PLANTED for form in forms(secret) if form in said.encode())
        body = orjson.dumps({"error": True, "message": said, "messages": [said], "errors": [{"message": said}]})
        self.send_response(int(self.path.split("/")[1]))
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_PUT = do_GET

    def log_message(self, *_: Any) -> None: ...


def test_what_a_vendor_echoes_is_found_nowhere(tmp_path: Path) -> None:
    entry = {"type": "sftp", "server": "sftp.test", "path": "/in", "username": "u", "password": ENTRY}
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as echo:
        threading.Thread(target=echo.serve_forever, daemon=True).start()
        sources: dict[str, dict[str, Any]] = {}
        for status in (200, 400, 401, 403, 404, 422, 429, 500):
            url = f"http://127.0.0.1:{echo.server_port}/{status}/v2"
            mail = {"kind": "cordial", "api_key": KEY, "base_url": url, "zone": f"file://{tmp_path}"}
            sources |= {f"mail{status}": mail, f"mail{status}.deliver": entry}
            bearer = {"kind": "convert", "auth": "bearer", "key_id": "id", "key_secret": CONVERT, "account_id": 1}
            if status != 200:  # an echo is a new row on each page: a list without an end
                sources |= {f"tests{status}": bearer | {"base_url": url, "spacing": "0s"}}
            sources |= {f"mail{status}.exports.activities": {"start": "2026-01-01"}}
        home = Home(tmp_path, sources, retry_for="0s")
        said = [
            home.run("once", "--wait", "0s"),
            *(home.run(*words) for words in (["status", "--json"], ["runs"], ["gaps"])),
        ]
        echo.shutdown()
    assert Echo.heard == {KEY, ENTRY, CONVERT}, "each was really sent"
    for each in said:
        assert "Traceback" not in each.stderr
        assert_clean(str(each.args), f"{each.stdout}\n{each.stderr}")
    for where, seen in left_in(home.data_dir):
        assert_clean(where, seen)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("GET https://a.test/x?sig=1 failed", "GET https://a.test/x?… failed"),
        ("Authorization: Basic cGxhbnRlZC1jb3J=", "Authorization: Basic …"),
        ("BEARER abcdefgh-ijkl.m", "BEARER …"),
        ("basic description, bearer capabilities", "basic description, bearer capabilities"),
    ],
)
def test_an_error_cuts_what_looks_like_a_secret(said: str, told: str) -> None:
    assert str(TryAgain(said)) == told


def test_a_secret_that_is_there_would_be_found(tmp_path: Path) -> None:
    for name in ("warehouse", "elsewhere"):
        with duckdb.connect(str(tmp_path / f"{name}.duckdb")) as warehouse:
            warehouse.execute(f"CREATE TABLE t AS SELECT '{BEARER}' AS a")
    duckdb.sql(f"COPY (SELECT repeat('x', 99) || '{SECRET}' AS a) TO '{tmp_path}/a.parquet' (COMPRESSION zstd)")
    basic = base64.b64encode(f"any:{TOKEN}".encode())
    found = [*left_in(tmp_path), ("header", basic)]
    assert {"warehouse.duckdb: main.t", "elsewhere.duckdb: main.t"} <= {where for where, _ in found}
    for where, seen in found:
        if where.endswith(("main.t", "header")) or (where.endswith(".parquet") and "xxx" in str(seen)):
            with pytest.raises(AssertionError, match=r"planted|xx|YW55"):
                assert_clean(where, seen)


@pytest.mark.parametrize(("umask", "group"), [(0o022, 0), (0o077, 0), (0o027, 0o050)])
def test_what_syncd_writes_is_nobody_else_s(tmp_path: Path, umask: int, group: int) -> None:
    vendor = Parrot()
    vendor.runs = [Export(1, [lines(3)])]
    with serving(vendor):
        home = Home(tmp_path / "home", {"fine": vendor.settings()}, retry_for="0s")
        command = [sys.executable, "-m", "syncd", "--config", str(home.config), "once"]
        subprocess.run(command, capture_output=True, umask=umask, timeout=120, check=False)
    seen = {path: path.stat().st_mode & 0o777 for path in [home.data_dir, *home.data_dir.rglob("*")]}
    assert len(seen) > 10
    for path, mode in seen.items():
        assert mode & ~group in ((0o700,) if path.is_dir() else (0o600,)), f"{path}: {mode:o}"
    assert bool(seen[home.data_dir / "warehouse.duckdb"] & 0o040) == bool(group)
