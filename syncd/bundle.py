"""`syncd support-bundle`: what somebody who helps needs to see, in one file, without secrets, links or customers' rows.

Each piece is made by itself, and one that can't be made says why: a bundle is wanted when something is broken. Texts
from outside go through `free_text`, which keeps our words and drops what was quoted; then `cover` takes what it knows.
"""

from __future__ import annotations

import io
import os
import platform
import re
import shutil
import sqlite3
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import orjson

from syncd import ledger, show
from syncd.errors import ConfigError, SyncdError
from syncd.parse.compiled import library
from syncd.redact import HIDDEN, cover, redacted
from syncd.settings import Settings
from syncd.status import standing

RUNS, LINES = 500, 2000  # most, the youngest
LOOSE = {"error", "hint", "detail"}  # keys of texts that may quote
TOLD = {*("event", "level", "at", "source", "run", "scope", "job", "part", "by", "to", "doing", "kind", "path")}
JOURNAL = ["journalctl", "--unit", "syncd", "--lines", str(LINES), "--output", "cat", "--no-pager"]
TRACE = re.compile(r'Traceback \(most|  File ".*", line \d+, in |\w+(\.\w+)*(Error|Exception|Interrupt)\b')
# counts and sizes; names of columns and jobs may be a customer's
CATALOGUE = {
    "published": "SELECT generation, published_at FROM _syncd.published",
    "runs": "SELECT source, scope, format, status, count(*) AS runs, sum(rows) AS rows, sum(rejected) AS rejected, "
    "sum(bytes) AS bytes FROM _syncd.runs GROUP BY ALL ORDER BY ALL",
    "files": "SELECT source, scope, count(*) AS files, count(DISTINCT date) AS dates, sum(rows) AS rows, "
    "sum(bytes) AS bytes, max(bytes) AS largest FROM _syncd.files GROUP BY ALL ORDER BY ALL",
    "columns": "SELECT source, scope, origin, regexp_extract(type, '^[a-z0-9]+') AS kind, count(*) AS columns "
    "FROM _syncd.columns GROUP BY ALL ORDER BY ALL",
    "jobs": "SELECT source, scope, format, frequency, state, count(*) AS jobs FROM _syncd.jobs "
    "GROUP BY ALL ORDER BY ALL",
    "views": "SELECT schema_name AS schema, count(*) AS views FROM duckdb_views() WHERE NOT internal "
    "GROUP BY ALL ORDER BY ALL",
}


def write(folder: Path, read: Callable[[], Settings], log: Path | None) -> tuple[Path, list[str]]:
    """Make the bundle in `folder`; its path and what is in it. `log`: log lines, `-` for standard input."""
    now = datetime.now(UTC)
    path = folder / f"syncd-support-{now:%Y%m%dT%H%M%SZ}.tar.gz"
    try:
        settings, refused = read(), ""
    except ConfigError as error:
        settings, refused = Settings(), f"{free_text(str(error))}\n  → {error.hint}\n"
    pieces = pieces_of(settings, refused, now, log)
    try:
        file = os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb")
    except OSError as error:
        hint = "name another folder: syncd support-bundle --folder DIR"
        raise ConfigError(f"{path} can't be written: {error.strerror}", hint=hint) from error
    with file, tarfile.open(fileobj=file, mode="w:gz") as bundle:
        for name, make in pieces.items():
            body = cover(made(make), settings).encode()
            entry = tarfile.TarInfo(f"{path.name.removesuffix('.tar.gz')}/{name}")
            entry.size, entry.mtime = len(body), int(time.time())
            bundle.addfile(entry, io.BytesIO(body))
    return path, list(pieces)


def pieces_of(settings: Settings, refused: str, now: datetime, log: Path | None) -> dict[str, Callable[[], str]]:
    """What goes in, by file name."""
    return {
        "about.json": lambda: json_of(about(settings)),
        "configuration.json": lambda: refused or json_of(redacted(settings)),
        "check.txt": lambda: "".join(checked(settings)),
        "status.json": lambda: json_of(free(standing(settings).found)),
        "gaps.json": lambda: json_of(free([asdict(gap) for gap in ledger.gaps(ledger.look(settings), now)])),
        "runs.json": lambda: json_of(free(ledger.look(settings, RUNS).youngest(RUNS))),
        "state.sql": lambda: "\n".join(state(settings.state_path)),
        "catalogue.json": lambda: json_of(catalogue(settings.data_dir / "warehouse.duckdb")),
        "data_dir.json": lambda: json_of(folders(settings.data_dir)),
        "metrics.txt": lambda: metrics(settings),
        "log.jsonl": lambda: "".join(events(log_lines(log))),
    }


def made(make: Callable[[], str]) -> str:
    """The text of a piece, or why there is none."""
    try:
        return make()
    except Exception as error:  # whatever is broken is what somebody wants to see
        return f"not to be had: {type(error).__name__}: {free_text(str(error))}\n"


def json_of(value: Any) -> str:
    return show.jsoned(value).decode()


def free_text(text: str) -> str:
    """Our words, without what they quote: a vendor's answer, a rejected line's key, a value of the configuration."""
    text = re.sub(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"", "'…'", text)
    text = re.sub(r"(HTTP \d{3}(?: to [a-z ]+)?): [^\n]*", r"\1: …", text)  # what the vendor said
    return re.sub(r"(for a double|not JSON): [^;)]*", r"\1: …", text)


def free(value: Any) -> Any:
    """The same for every text of an error, hint or detail, however deep."""
    match value:
        case Mapping():
            texts = {key for key, one in value.items() if key in LOOSE and isinstance(one, str)}
            return {key: free_text(one) if key in texts else free(one) for key, one in value.items()}
        case list():
            return [free(one) for one in value]
        case _:
            return value


def about(settings: Settings) -> dict[str, Any]:
    """The program, what it runs on, and how much room there is."""
    root = next((folder for folder in (settings.data_dir, *settings.data_dir.parents) if folder.exists()), Path("/"))
    usage = shutil.disk_usage(root)
    return {
        "python": sys.version,
        "platform": platform.platform(),
        "libc": " ".join(platform.libc_ver()),
        "cores": len(os.sched_getaffinity(0)),
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "disk": {"total": usage.total, "free": usage.free},
        "uid": os.getuid(),
        "under": [name for name in ("NOTIFY_SOCKET", "INVOCATION_ID", "KUBERNETES_SERVICE_HOST") if name in os.environ],
        "zone": time.tzname,
        "reader": library()[1] or "compiled",
        "packages": {one.metadata["Name"]: one.version for one in sorted(distributions(), key=lambda one: one.name)},
    }


def checked(settings: Settings) -> Iterator[str]:
    """What `syncd check` says."""
    from syncd.checks import problems

    for one in problems(settings):
        yield f"{one.level}: {free_text(one.text)}\n  → {one.hint}\n"
    yield "checked\n"


def state(path: Path) -> Iterator[str]:
    """The shape of the state, and how many rows its tables have."""
    connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
    try:
        for name, sql in connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table' ORDER BY name"):
            ((count,),) = connection.execute(f'SELECT count(*) FROM "{name}"')  # noqa: S608  # a table's own name
            yield f"{sql}; -- {count} rows"
        shape = connection.execute("SELECT version_num FROM alembic_version").fetchall()
        yield f"-- shape {shape}"
        yield f"-- SQLite {sqlite3.sqlite_version}\n"
    finally:
        connection.close()


def catalogue(path: Path) -> dict[str, Any]:
    """Figures of what is published."""
    import duckdb

    found: dict[str, Any] = {"duckdb": duckdb.__version__, "bytes": path.stat().st_size}
    with duckdb.connect(str(path), read_only=True) as connection:
        for name, sql in CATALOGUE.items():
            answer = connection.execute(sql)
            columns = [column[0] for column in answer.description or ()]
            found[name] = [dict(zip(columns, row, strict=True)) for row in answer.fetchall()]
    return found


def folders(root: Path) -> dict[str, Any]:
    """What lies in data_dir, without the names of files deeper down."""
    from syncd.outlook import size_of

    found = {}
    for path in sorted(root.iterdir()):
        seen = path.lstat()
        is_folder = path.is_dir() and not path.is_symlink()
        size = {"files": sum(one.is_file() for one in path.rglob("*")), "bytes": size_of(path)} if is_folder else {}
        found[path.name] = {"mode": oct(seen.st_mode), "uid": seen.st_uid, "bytes": seen.st_size} | size
    return found


def metrics(settings: Settings) -> str:
    """What a daemon that runs here tells Prometheus."""
    import httpx

    host, _, port = settings.http.listen.rpartition(":")
    host = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host)  # noqa: S104  # we ask there, we don't listen
    token = settings.http.token
    headers = {"Authorization": f"Bearer {token.get_secret_value()}"} if token else {}
    answer = httpx.get(f"http://{host}:{port}/metrics", headers=headers, timeout=3, trust_env=False)
    return answer.text if answer.is_success else f"HTTP {answer.status_code}\n"


def log_lines(log: Path | None) -> list[str]:
    """The last lines of the log that was named, else of the journal."""
    if log == Path("-"):
        return sys.stdin.read().splitlines()[-LINES:]
    if log:
        return log.read_text(errors="replace").splitlines()[-LINES:]
    if not shutil.which(JOURNAL[0]) or not Path("/run/systemd/system").exists():
        raise SyncdError("there is no journal here; name the log: --log FILE, or --log - for standard input")
    return subprocess.run(JOURNAL, capture_output=True, text=True, timeout=20, check=False).stdout.splitlines()  # noqa: S603


def events(lines: Iterable[str]) -> Iterator[str]:
    """Our own events, and what a bug has left; every other line may be anybody's."""
    others = 0
    for line in lines:
        try:
            event = orjson.loads(line)
        except orjson.JSONDecodeError:
            event = None
        if isinstance(event, dict) and "event" in event:
            yield orjson.dumps({key: shown(key, one) for key, one in event.items()}).decode() + "\n"
        elif TRACE.match(line):
            yield orjson.dumps({"trace": line if line.startswith("  File") else free_text(line)}).decode() + "\n"
        else:
            others += 1
    yield f'{{"lines left out": {others}}}\n'


def shown(key: str, value: Any) -> Any:
    """A value of an event: of texts those that syncd itself makes."""
    if key in LOOSE:
        return free_text(str(value))
    return value if key in TOLD or not isinstance(value, str | list | dict) else HIDDEN
