"""The tables of the state, and how nouns look in their rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from syncd.model import Column, Failure, File, Rejected, Run, Staged
from syncd.types import Type

FOUND, STAGING, EXPIRED, SET_ASIDE = "found", "staging", "expired", "set_aside"
ASKED, WAITING = "asked", "waiting"  # of requests: the vendor works on it; a person must bring its files


class Instant(sa.TypeDecorator[datetime]):
    """An instant in UTC, as RFC 3339 text: it sorts, and people can read it."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> str | None:
        return value.astimezone(UTC).isoformat(timespec="microseconds") if value else None

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> datetime | None:
        return datetime.fromisoformat(value) if value else None


tables = sa.MetaData()
RUNS = sa.Table(
    "runs",
    tables,
    sa.Column("source", sa.Text, primary_key=True),
    sa.Column("run", sa.Text, primary_key=True),
    *(sa.Column(name, sa.Text) for name in ("scope", "format", "job")),
    *(sa.Column(name, Instant) for name in ("period_start", "period_end", "completed_at", "expires_at")),
    sa.Column("ref", sa.Text),
    sa.Column("fields", sa.JSON),
    sa.Column("backfill", sa.Boolean),
    sa.Column("state", sa.Text),
    sa.Column("found_at", Instant),
    *(sa.Column(name, sa.Integer) for name in ("attempts", "parts", "rows", "rejected", "bytes")),
    sa.Column("accept_rejected", sa.Boolean),
    *(sa.Column(name, sa.Text) for name in ("error", "hint")),
)
REQUESTS = sa.Table(
    "requests",
    tables,
    *(sa.Column(name, sa.Text, primary_key=True) for name in ("source", "run")),
    *(sa.Column(name, sa.Text) for name in ("scope", "format", "job", "ref", "ticket", "state", "error", "hint")),
    *(sa.Column(name, Instant) for name in ("period_start", "period_end", "asked_at", "look_at")),
    sa.Column("attempt", sa.Integer),
)
CHECKPOINTS = sa.Table(
    "checkpoints",
    tables,
    *(sa.Column(name, sa.Text, primary_key=True) for name in ("source", "run", "part")),
    sa.Column("staged", sa.JSON),
)
ORDERS = sa.Table(
    "orders",
    tables,
    sa.Column("id", sa.Integer, primary_key=True),
    *(sa.Column(name, sa.Text) for name in ("verb", "source", "run")),
    sa.Column("details", sa.JSON),
)
JOBS = sa.Table(
    "jobs",
    tables,
    *(sa.Column(name, sa.Text, primary_key=True) for name in ("source", "job")),
    sa.Column("is_listed", sa.Boolean),
    sa.Column("asked_at", Instant),
    sa.Column("failures", sa.JSON),
)
WALKS = sa.Table(
    "walks",
    tables,
    sa.Column("source", sa.Text, primary_key=True),
    sa.Column("position", sa.Text),
    sa.Column("noted_at", Instant),
)
PASSES = sa.Table(
    "passes",
    tables,
    sa.Column("source", sa.Text, primary_key=True),
    *(sa.Column(name, Instant) for name in ("ended_at", "swept_at")),
    *(sa.Column(name, sa.Text) for name in ("error", "hint")),
)


def row_of(run: Run) -> dict[str, Any]:
    """A run as the table has it."""
    row = asdict(run)
    row["run"], row["period_start"], row["period_end"] = row.pop("id"), row.pop("start"), row.pop("end")
    row["fields"] = list(run.fields)
    return row


def run_of(row: Mapping[str, Any]) -> Run:
    """The noun behind a row of the table."""
    return Run(
        source=row["source"],
        id=row["run"],
        scope=row["scope"],
        format=row["format"],
        start=row["period_start"],
        end=row["period_end"],
        job=row["job"],
        completed_at=row["completed_at"],
        expires_at=row["expires_at"],
        ref=row["ref"],
        fields=tuple(row["fields"]),
        backfill=row["backfill"],
    )


def failures_of(plain: Iterable[Sequence[str]]) -> tuple[Failure, ...]:
    """The nouns behind what a job's row keeps of its failed runs."""
    return tuple(
        Failure(run, datetime.fromisoformat(began), datetime.fromisoformat(ended)) for run, began, ended in plain
    )


def dumped(staged: Staged) -> dict[str, Any]:
    """A Staged as JSON can hold it: types as text, raw bytes as hexadecimal digits."""

    def columns(found: Sequence[Column]) -> list[list[str]]:
        return [[one.name, str(one.type), one.source_name, one.origin, one.description] for one in found]

    plain = asdict(replace(staged, files=(), columns=(), samples=())) | {"columns": columns(staged.columns)}
    plain["files"] = [asdict(replace(file, columns=())) | {"columns": columns(file.columns)} for file in staged.files]
    plain["samples"] = [asdict(sample) | {"raw": sample.raw.hex()} for sample in staged.samples]
    return plain


def loaded(plain: dict[str, Any]) -> Staged:
    """The Staged that was dumped."""

    def columns(found: list[list[str]]) -> tuple[Column, ...]:
        return tuple(Column(name, Type.parse(kind), *rest) for name, kind, *rest in found)

    files = tuple(File(**file | {"columns": columns(file["columns"])}) for file in plain["files"])
    samples = tuple(Rejected(**sample | {"raw": bytes.fromhex(sample["raw"])}) for sample in plain["samples"])
    return Staged(**plain | {"files": files, "samples": samples, "columns": columns(plain["columns"])})
