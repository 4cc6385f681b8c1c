"""`syncd demo`: a vendor in a box, one pass, one query; shows a newcomer the whole road in a minute."""

from __future__ import annotations

import logging
import tempfile
import threading
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path

import duckdb
import typer

from syncd import log, show
from syncd.assemble import open_house
from syncd.daemon import once
from syncd.errors import SyncdError
from syncd.progress import Nobody
from syncd.sandbox.contentsquare import Sandbox
from syncd.settings import Settings
from syncd.settings.vendors import ContentsquareSettings

QUERIES = (
    (
        "what came home",
        "SELECT run, scope, period_start::DATE AS day, parts, rows, rejected FROM _syncd.runs ORDER BY scope, day",
    ),
    (
        "rows by day",
        "SELECT _syncd_date AS day, count(*) AS sessions, count(DISTINCT user_id) AS users, "
        "max(session_id) AS largest_id FROM shop.sessions GROUP BY day ORDER BY day",
    ),
    (
        "where each row came from",
        "SELECT _syncd_run AS run, _syncd_part AS part, count(*) AS rows "
        "FROM shop.views GROUP BY ALL ORDER BY ALL LIMIT 5",
    ),
)


def show_off(keep: Path | None = None) -> None:
    """Fill a warehouse over HTTP and query it, in a folder that goes away (or in `keep`, which stays)."""
    log.set_up(least=logging.WARNING)  # a line for each part and column would bury the answers
    folder = nullcontext(str(keep)) if keep else tempfile.TemporaryDirectory(prefix="syncd-demo-")
    with folder as root, Sandbox(seed=1) as vendor:
        typer.echo(f"a vendor in a box listens on {vendor.url}; its exports come home to {root} …")
        settings = Settings(
            data_dir=Path(root),
            retry_for=timedelta(seconds=30),
            sources={"shop": ContentsquareSettings(**vendor.settings())},
        )
        with open_house(settings, Nobody(), threading.Event()) as house:
            outcomes = once(house, timedelta(0))
        for trouble in [outcome.trouble for outcome in outcomes if outcome.trouble]:
            raise SyncdError(f"the demo failed: {trouble}", hint=trouble.hint)
        with duckdb.connect(str(Path(root) / "warehouse.duckdb"), read_only=True) as warehouse:
            for title, sql in QUERIES:
                typer.echo(f"\n{title}:\n{sql}")
                answer = warehouse.execute(sql)
                show.as_table([column[0] for column in answer.description or ()], answer.fetchall())
        if keep:
            typer.echo(f"look around: syncd --data-dir {root} query 'SHOW ALL TABLES'")
