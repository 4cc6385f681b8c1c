"""syncd as its users run it: the real command in a real process, on a folder of its own."""

from __future__ import annotations

import json  # noqa: TID251  # the answers hold integers past 64 bits
import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb

from syncd.sandbox.contentsquare import Sandbox
from tests.forked import Forked

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
        top = {"data_dir": str(self.data_dir), "retry_for": "5s", "http": {"listen": "127.0.0.1:0"}} | more
        self.config.write_text(
            "\n".join(toml(top | {f"sources.{name}": each for name, each in sources.items()})) + "\n"
        )

    def start(self, *arguments: str, **environ: str) -> subprocess.Popen[str]:
        """The command, running; with an environment of its own it is started from nothing, else forked."""
        wanted = ["--config", str(self.config), *arguments]
        clean = {key: value for key, value in os.environ.items() if not key.startswith("SYNCD_")}
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "env": clean | environ}
        if environ:
            return subprocess.Popen([sys.executable, "-m", "syncd", *wanted], text=True, **pipes)
        return Forked(wanted, **pipes)

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
        listed = "SELECT schema_name, view_name FROM duckdb_views() WHERE NOT internal"
        views = self.query(f"{listed} AND NOT starts_with(schema_name, '_syncd')")
        found = {}
        for schema, view in sorted(views):
            rows = self.query(f'SELECT * EXCLUDE ("_syncd_loaded_at") FROM {quoted(schema)}.{quoted(view)}')
            found[f"{schema}.{view}"] = sorted(rows, key=repr)
        return found


def toml(section: dict[str, Any], name: str = "") -> list[str]:
    """A section and those inside it; lists of objects in one line."""
    lines = ["", f"[{name}]"] if name else []
    lines += [f"{key} = {in_line(value)}" for key, value in section.items() if not isinstance(value, dict)]
    for key, value in section.items():
        if isinstance(value, dict):
            lines += toml(value, f"{name}.{key}".lstrip("."))
    return lines


def in_line(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {in_line(one)}" for key, one in value.items()) + "}"
    return f"[{', '.join(map(in_line, value))}]" if isinstance(value, list) else json.dumps(value)


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def differences(home: Home, source: str, sandbox: Sandbox) -> list[str]:
    """Where the warehouse is not what the vendor says that it served: rows, and each column's figures, run by run."""
    wrong = []
    truth = sandbox.truth()
    for scope in {run["scope"] for run in truth}:
        seen = figures(home, source, scope)
        for run in (run for run in truth if run["scope"] == scope and run["rows"] and not run["superseded"]):
            counted = seen.get(run["run"], {})
            for column, told in {"": {"values": run["rows"]}, **run["columns"]}.items():
                wrong += compared(f"{run['run']} {column}", counted.get(column, {}), told.get("inner", told))
    return wrong


def compared(where: str, seen: dict[str, Any], told: dict[str, Any]) -> list[str]:
    """The figures of one column that are not as told; 1 and 1.0 are one number, so numbers have only their sum."""
    told = {key: value for key, value in told.items() if value is not None and key != "nulls"}
    if "sum" in told:
        told["sum"] = Decimal(told["sum"])
    if told["values"] == 0:
        return []
    must = {"values", "sum"} if seen.get("is_number") else {"values", "characters", "digest"}
    return [
        f"{where}: {key} is {seen.get(key)}, not {told[key]}"
        for key in must & told.keys()
        if seen.get(key) != told[key]
    ]


def figures(home: Home, source: str, scope: str) -> dict[str, dict[str, dict[str, Any]]]:
    """Each column's figures by run and by the vendor's name for the column; "" counts the rows."""
    table = f"{quoted(source)}.{quoted(scope)}"
    names = dict(
        home.query(f"SELECT name, source_name FROM _syncd.columns WHERE source = '{source}' AND scope = '{scope}'")
    )
    kinds = {name: kind for name, kind, *_ in home.query(f"DESCRIBE {table}") if name in names}
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for run, rows in home.query(f"SELECT _syncd_run, count(*) FROM {table} GROUP BY 1"):
        found[run] = {"": {"values": rows, "is_number": True}}
    flat = [name for name, kind in kinds.items() if not kind.endswith("[]")]
    queries = [(table, flat)]
    for name in kinds.keys() - set(flat):
        queries.append((f"(SELECT _syncd_run, unnest({quoted(name)}) AS {quoted(name)} FROM {table})", [name]))
    for rows_of, columns in queries:
        asked = ", ".join(aggregates(quoted(name), kinds[name].removesuffix("[]")) for name in columns)
        for run, *answers in home.query(f"SELECT _syncd_run, {asked} FROM {rows_of} GROUP BY 1"):
            for name, answer in zip(columns, answers, strict=True):
                found[run][names[name]] = answer
    return found


def aggregates(column: str, kind: str) -> str:
    """SQL for the figures of one column, as a struct."""
    if kind in ("DOUBLE", "HUGEINT") or kind.startswith("DECIMAL"):
        scale = 18 if kind == "DOUBLE" else 9
        total = f"sum(CAST(CAST({column} AS VARCHAR) AS DECIMAL(38, {scale})))"
        return f"{{'values': count({column}), 'sum': {total}, 'is_number': true}}"
    text = f"CAST(CAST({column} AS INT) AS VARCHAR)" if kind == "BOOLEAN" else f"CAST({column} AS VARCHAR)"
    digest = f"CAST(sum(CAST('0x' || md5({text})[:15] AS HUGEINT)) AS VARCHAR)"
    return f"{{'values': count({column}), 'characters': sum(length({text})), 'digest': {digest}}}"
