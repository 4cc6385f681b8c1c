"""The warehouse as an analyst with another DuckDB opens it: in a process of its own, with nothing of ours."""

from __future__ import annotations

import json  # noqa: TID251  # answers of another process
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

READERS = Path(__file__).parent.parent / "build" / "readers"
ASK = """
import json, sys
import duckdb
if "httpfs" in sys.argv[1]:
    from duckdb_extensions import import_extension
    import_extension("httpfs")
connection = duckdb.connect()
connection.execute("SET enable_progress_bar = false")  # a slow answer would be drawn over
for statement in json.loads(sys.argv[1]):
    connection.execute(statement)
print(json.dumps(connection.fetchall(), default=str))
"""


def answer(version: str, *statements: str) -> list[list[Any]]:
    """What the last statement gives in DuckDB `version` ("1.1", "1.5"); values that JSON lacks as text."""
    folder = READERS / f"duckdb-{version}"
    assert folder.is_dir(), "set the readers up: just readers"
    ended = subprocess.run(
        [sys.executable, "-c", ASK, json.dumps(statements)],
        env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.returncode == 0, ended.stderr
    found: list[list[Any]] = json.loads(ended.stdout)
    return found
