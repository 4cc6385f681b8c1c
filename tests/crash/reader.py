"""A reader of the soak: asks the warehouse again and again whether it sees whole runs, until it is told to stop.

Runs under any DuckDB from 1.1 on, so it imports nothing of ours. Arguments: the warehouse, a file that means stop,
`hold` (one connection for the whole time) or `open` (a new one for each question).
"""

from __future__ import annotations

import sys
import time
from contextlib import nullcontext
from pathlib import Path

import duckdb

WHOLE = """
SELECT (SELECT count(*) FROM acme.sessions),
       (SELECT coalesce(sum("rows"), 0) FROM _syncd.runs WHERE scope = 'sessions' AND status = 'loaded'),
       (SELECT count(*) FROM acme.sessions_latest)
"""


def main(warehouse: str, stop: str, how: str) -> None:
    """Say how many questions were answered; whatever goes wrong ends it."""
    answers, held = 0, duckdb.connect(warehouse, read_only=True) if how == "hold" else None
    while not Path(stop).exists():
        with nullcontext(held) if held else duckdb.connect(warehouse, read_only=True) as connection:
            rows, told, latest = connection.execute(WHOLE).fetchall()[0]
            if rows != told or latest > rows:
                raise SystemExit(f"{rows} rows, but the ledger tells of {told}; {latest} in _latest")
        answers += 1
        time.sleep(1.0)
    sys.stdout.write(f"{answers}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
