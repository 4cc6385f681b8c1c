"""What was told to whom, so that a restart repeats nothing and forgets nothing: `told.jsonl` under data_dir.

A line a fact, the last word on a key holds, a torn line is none. Losing the file costs that what is wrong is told once
more; what a power cut takes is told again.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson

KEPT = timedelta(days=7)  # how long it is known that a load was told

MOST = 1000  # notes that are added to the file before it is written anew

Told = dict[str, Mapping[str, Any]]  # by key


class Notes:
    """One for a data_dir, by who holds its lock. Any thread."""

    def __init__(self, path: Path, lines: Iterable[str], now: datetime) -> None:
        """`lines`: who is told by the configuration as it is now; of others nothing is kept."""
        self._path, self._lock = path, threading.Lock()
        before = read(path)
        self._told = {line: before.get(line) or {"": {"since": now.isoformat()}} for line in lines}
        self._written = 0
        self._begin_anew(now)

    def since(self, line: str) -> datetime:
        """When this line was first configured: what was loaded before is no news to it."""
        return datetime.fromisoformat(self._told[line][""]["since"])

    def told(self, line: str) -> Told:
        """What this line was told and not told to be over."""
        with self._lock:
            return {key: what for key, what in self._told[line].items() if key}

    def note(self, line: str, key: str, what: Mapping[str, Any] | None) -> None:
        """This was told; None: forget it."""
        with self._lock:
            row = spelled(line, key, what)
            self._told[line].pop(key, None)
            if what is not None:
                self._told[line][key] = orjson.loads(row)[2]  # as it will be read after a restart
            with suppress(OSError), self._path.open("ab") as file:  # on a full disk it is told again after a restart
                file.write(row)
            self._written += 1
            if self._written >= MOST:
                self._begin_anew(datetime.now(UTC))

    def _begin_anew(self, now: datetime) -> None:
        """Forget and no longer write what is over; an old load can't be told again anyway."""
        oldest, self._written = (now - KEPT).isoformat(), 0
        self._told = {
            line: {key: what for key, what in told.items() if what.get("loaded_at", oldest) >= oldest}
            for line, told in self._told.items()
        }
        aside = self._path.with_suffix(".new")
        with suppress(OSError):
            with os.fdopen(os.open(aside, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "wb") as file:
                for line, told in self._told.items():
                    file.writelines(spelled(line, key, what) for key, what in told.items())
            aside.replace(self._path)


def spelled(line: str, key: str, what: Mapping[str, Any] | None) -> bytes:
    return orjson.dumps([line, key, what], option=orjson.OPT_APPEND_NEWLINE, default=str)


def read(path: Path) -> dict[str, Told]:
    """What the file says, as far as it can be read."""
    found: dict[str, Told] = {}
    for row in path.read_bytes().splitlines() if path.exists() else ():
        try:
            line, key, what = orjson.loads(row)
        except (orjson.JSONDecodeError, ValueError, TypeError):
            continue
        if what is None:
            found.get(line, {}).pop(key, None)
        elif isinstance(what, dict):
            found.setdefault(line, {})[key] = what
    return found
