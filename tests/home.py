"""syncd as its users run it: the real command in a real process, on a folder of its own."""

from __future__ import annotations

import json  # noqa: TID251  # the answers hold integers past 64 bits
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb

from syncd.sandbox.contentsquare import Sandbox

LINEAGE = ("_syncd_run", "_syncd_job", "_syncd_part", "_syncd_row", "_syncd_date", "_syncd_completed_at")


class Home:
    """A configuration and a data_dir, and the command on them."""

    def __init__(self, folder: Path, sources: dict[str, dict[str, Any]], **more: Any) -> None:
        self.folder = folder
        self.data_dir = folder / "data"
        self.config = folder / "syncd.toml"
        folder.mkdir(parents=True, exist_ok=True)
        self.write(sources, **more)

    def write(self, sources: dict[str, dict[str, Any]], **more: Any) -> None:
        """(Re)write the configuration; `more`: top-level keys and sections."""
        top = {"data_dir": str(self.data_dir), "retry_for": "5s"} | more
        lines = [f"{key} = {json.dumps(value)}" for key, value in top.items() if not isinstance(value, dict)]
        sections = {key: value for key, value in top.items() if isinstance(value, dict)}
        sections |= {f"sources.{name}": section for name, section in sources.items()}
        for name, section in sections.items():
            lines += ["", f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in section.items())]
        self.config.write_text("\n".join(lines) + "\n")

    def start(self, *arguments: str, **environ: str) -> subprocess.Popen[str]:
        """The command, running."""
        return subprocess.Popen(
            [sys.executable, "-m", "syncd", "--config", str(self.config), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={key: value for key, value in os.environ.items() if not key.startswith("SYNCD_")} | environ,
        )

    def run(self, *arguments: str, timeout: float = 120, **environ: str) -> subprocess.CompletedProcess[str]:
        """The command, ended."""
        with self.start(*arguments, **environ) as process:
            try:
                out, err = process.communicate(timeout=timeout)
            except BaseException:
                process.kill()
                raise
            return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def once(self, expect: int = 0, **environ: str) -> subprocess.CompletedProcess[str]:
        """`syncd once`, with the exit code that it must have."""
        ended = self.run("once", **environ)
        assert ended.returncode == expect, f"exit {ended.returncode}, not {expect}\n{ended.stdout}\n{ended.stderr}"
        return ended

    def json(self, *arguments: str) -> Any:
        """The answer of a command with --json."""
        ended = self.run(*arguments, "--json")
        assert ended.returncode in (0, 1), ended.stderr
        return json.loads(ended.stdout)

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """SQL on the published warehouse, in this process."""
        with duckdb.connect(str(self.data_dir / "warehouse.duckdb"), read_only=True) as warehouse:
            return warehouse.execute(sql).fetchall()

    def tables(self) -> dict[str, list[tuple[Any, ...]]]:
        """Every row of every table of every source, without the instant of loading: what must not depend on luck."""
        views = self.query(
            "SELECT schema_name, view_name FROM duckdb_views() WHERE NOT internal AND schema_name NOT LIKE '\\_%' ESCAPE '\\'"
        )
        found = {}
        for schema, view in sorted(views):
            rows = self.query(f'SELECT * EXCLUDE ("_syncd_loaded_at") FROM {quoted(schema)}.{quoted(view)}')
            found[f"{schema}.{view}"] = sorted(rows, key=repr)
        return found


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def differences(home: Home, source: str, sandbox: Sandbox) -> list[str]:
    """Where the warehouse is not what the vendor says that it served: rows, and each column's figures, run by run."""
    wrong = []
    for run in sandbox.truth():
        table = f"{quoted(source)}.{quoted(run['scope'])}"
        here = f"WHERE _syncd_run = '{run['run']}'"
        ((rows,),) = home.query(f"SELECT count(*) FROM {table} {here}")
        if rows != run["rows"]:
            wrong.append(f"{run['run']}: {rows} rows, not {run['rows']}")
        names = dict(
            home.query(
                f"SELECT source_name, name FROM _syncd.columns WHERE source = '{source}' AND scope = '{run['scope']}'"
            )
        )
        for column, told in run["columns"].items():
            seen = figures(home, table, here, quoted(names[column]), told)
            wrong += [
                f"{run['run']} {column}: {key} is {seen[key]}, not {told[key]}"
                for key in seen
                if seen[key] != told[key]
            ]
    return wrong


def figures(home: Home, table: str, here: str, column: str, told: dict[str, Any]) -> dict[str, Any]:
    """The figures of a column that `told` has, counted by DuckDB."""
    if "inner" in told:
        ((kind,),) = home.query(f"SELECT any_value(typeof({column})) FROM {table}")
        if not kind.endswith("[]"):
            return {}
        table, here = f"(SELECT unnest({column}) AS inside FROM {table} {here})", ""
        column, told = "inside", told["inner"]
        ((values,),) = home.query(f"SELECT count({column}) FROM {table}")
        counted: dict[str, Any] = {"values": values}
    else:
        ((values, nulls),) = home.query(f"SELECT count({column}), count(*) - count({column}) FROM {table} {here}")
        counted = {"values": values, "nulls": nulls}
    text = f"CASE WHEN typeof({column}) = 'BOOLEAN' THEN CAST(CAST({column} AS INT) AS VARCHAR) ELSE CAST({column} AS VARCHAR) END"
    if told.get("digest") is not None and values:
        ((characters, digest),) = home.query(
            f"SELECT sum(length({text})), sum(CAST('0x' || md5({text})[:15] AS HUGEINT)) FROM {table} {here}"
        )
        counted |= {"characters": int(characters), "digest": str(digest)}
    return counted
