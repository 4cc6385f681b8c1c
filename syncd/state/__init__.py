"""What is in flight, in SQLite. Losing it loses and doubles nothing: the catalogue alone says what is loaded.

Any thread may call anything. A full disk or a locked file is TryAgain; a corrupt file is put aside.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import sqlalchemy as sa
import structlog
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.exc import DatabaseError, OperationalError

from syncd.errors import SyncdError, TryAgain
from syncd.model import Failure, Run, Staged
from syncd.state.file import LOCKED, Unusable, engine_of, kind_of, locked, migrate, prove, usable
from syncd.state.receipts import Receipts
from syncd.state.requests import Noted, Requests
from syncd.state.tables import (
    ASKED,
    CHECKPOINTS,
    EXPIRED,
    FOUND,
    JOBS,
    ORDERS,
    PASSES,
    RUNS,
    SET_ASIDE,
    STAGING,
    WAITING,
    WALKS,
    dumped,
    failures_of,
    loaded,
    row_of,
    run_of,
)

__all__ = [
    "ASKED",
    "EXPIRED",
    "FOUND",
    "SET_ASIDE",
    "STAGING",
    "WAITING",
    "JobNote",
    "Noted",
    "Order",
    "Requests",
    "State",
    "open_state",
    "read_state",
    "run_of",
]

DAMAGED = "look at dmesg, then start syncd again: a damaged state is put aside, and nothing is lost with it"

log = structlog.get_logger()


class Order(NamedTuple):
    """What a command beside the daemon asked for; the daemon acts within seconds."""

    id: int
    verb: str  # "retry", "replay" or "ingest"
    source: str
    run: str
    details: dict[str, Any]


class JobNote(NamedTuple):
    """What is remembered of a job besides what the catalogue shows."""

    is_listed: bool  # at the last pass
    asked_at: datetime | None  # when its failed runs were asked for last
    failures: tuple[Failure, ...]


class State:
    """The runs that are found, staging, expired or set aside, and the checkpoints of their parts."""

    def __init__(self, engine: sa.Engine, receipts: Receipts | None = None) -> None:
        self._engine = engine
        self.requests = Requests(self._reading, self._writing, receipts)

    def found(self, runs: Iterable[Run], now: datetime, walked: tuple[str, str] | None = None) -> None:
        """Note runs on offer; what is noted already keeps its state, and learns of new links and dates.

        `walked`: with them a source, and how far the walk over its runs has come.
        """
        with self._writing() as connection:
            if walked:
                row = dict(source=walked[0], position=walked[1], noted_at=now)
                connection.execute(insert(WALKS).values(row).on_conflict_do_update(index_elements=["source"], set_=row))
            for run in runs:
                fresh = dict(state=FOUND, found_at=now, attempts=0, parts=0, rows=0, rejected=0, bytes=0)
                row = row_of(run) | fresh | dict(accept_rejected=False, error="", hint="")
                known = {key: value for key, value in row_of(run).items() if key not in ("source", "run")}
                connection.execute(
                    insert(RUNS).values(row).on_conflict_do_update(index_elements=["source", "run"], set_=known)
                )

    def closed(self, source: str, now: datetime) -> set[str]:
        """Runs that nothing is done for unasked: expired or set aside, but no readings, for the next goes on from the
        last that is loaded; nor what was taken for expired by a clock that ran ahead."""
        chosen = sa.select(RUNS.c.run).where(
            RUNS.c.source == source,
            sa.or_(RUNS.c.state == SET_ASIDE, sa.and_(RUNS.c.state == EXPIRED, RUNS.c.expires_at <= now)),
            sa.or_(RUNS.c.period_start != RUNS.c.period_end, RUNS.c.period_start != RUNS.c.completed_at),
        )
        with self._reading() as connection:
            return set(connection.scalars(chosen))

    def record(self, run: Run, **values: Any) -> sa.RowMapping:
        """Change what is noted of a run (`state`, `error`, `hint` …); the row as it is now."""
        change = sa.update(RUNS).where(*_is(RUNS, run.source, run.id)).values(**values).returning(RUNS)
        with self._writing() as connection:
            return connection.execute(change).mappings().one()

    def begin(self, run: Run) -> sa.RowMapping:
        """Note that a run is being brought home, for the so-many-th time; the row as it is now."""
        return self.record(run, state=STAGING, attempts=RUNS.c.attempts + 1, error="", hint="")

    def runs(self, source: str | None = None) -> list[dict[str, Any]]:
        """Every run in flight, with the columns of the table."""
        chosen = sa.select(RUNS) if source is None else sa.select(RUNS).where(RUNS.c.source == source)
        with self._reading() as connection:
            rows = connection.execute(chosen.order_by(RUNS.c.expires_at, RUNS.c.run)).mappings()
            return [dict(row) for row in rows]

    def any_set_aside(self) -> bool:
        """Whether some run waits for a person."""
        if any(noted.state == SET_ASIDE for noted in self.requests.of()):
            return True
        with self._reading() as connection:
            return connection.scalar(sa.select(RUNS.c.run).where(RUNS.c.state == SET_ASIDE).limit(1)) is not None

    def forget(self, source: str, runs: Iterable[str]) -> None:
        """The catalogue has these now: nothing of them is in flight."""
        with self._writing() as connection:
            for run in runs:
                for table in (CHECKPOINTS, RUNS):
                    connection.execute(sa.delete(table).where(*_is(table, source, run)))

    def checkpoint(self, run: Run, staged: Staged) -> None:
        """Note that a part is durable."""
        row = dict(source=run.source, run=run.id, part=staged.part, staged=dumped(staged))
        with self._writing() as connection:
            connection.execute(
                insert(CHECKPOINTS)
                .values(row)
                .on_conflict_do_update(index_elements=["source", "run", "part"], set_={"staged": row["staged"]})
            )

    def checkpoints(self, run: Run) -> dict[str, Staged]:
        """What of the run is staged and not yet committed, by part."""
        chosen = sa.select(CHECKPOINTS).where(*_is(CHECKPOINTS, run.source, run.id))
        with self._reading() as connection:
            return {row.part: loaded(row.staged) for row in connection.execute(chosen)}

    def staged(self, source: str) -> list[Staged]:
        """Every part of a source that is staged and not yet committed."""
        chosen = sa.select(CHECKPOINTS.c.staged).where(CHECKPOINTS.c.source == source)
        with self._reading() as connection:
            return [loaded(staged) for staged in connection.scalars(chosen)]

    def forget_staged(self, run: Run) -> None:
        """Stage every part of the run again."""
        with self._writing() as connection:
            connection.execute(sa.delete(CHECKPOINTS).where(*_is(CHECKPOINTS, run.source, run.id)))

    def pass_ended(self, source: str, now: datetime, error: SyncdError | None = None, *, swept: bool = False) -> None:
        """Note how the last pass over a source ended; `swept`: it has walked all that the vendor lists."""
        row: dict[str, Any] = dict(ended_at=now, error=str(error or ""), hint=error.hint if error else "")
        if swept:
            row["swept_at"] = now
        with self._writing() as connection:
            connection.execute(
                insert(PASSES).values(source=source, **row).on_conflict_do_update(index_elements=["source"], set_=row)
            )

    def position(self, source: str, since: datetime) -> str:
        """How far a walk over the runs of a source had come that has not ended; "" for none noted since then."""
        chosen = sa.select(WALKS.c.position).where(WALKS.c.source == source, WALKS.c.noted_at >= since)
        with self._reading() as connection:
            return connection.scalar(chosen) or ""

    def walk_ended(self, source: str) -> None:
        """Forget how far it had come."""
        with self._writing() as connection:
            connection.execute(sa.delete(WALKS).where(WALKS.c.source == source))

    def passes(self) -> dict[str, dict[str, Any]]:
        """The last pass over each source."""
        with self._reading() as connection:
            return {row["source"]: dict(row) for row in connection.execute(sa.select(PASSES)).mappings()}

    def record_listed(self, source: str, jobs: Iterable[str]) -> None:
        """Note which jobs the vendor lists now; those it lists no more are kept as such."""
        with self._writing() as connection:
            connection.execute(sa.update(JOBS).where(JOBS.c.source == source).values(is_listed=False))
            for job in jobs:
                row = dict(source=source, job=job, is_listed=True, failures=[])
                known = insert(JOBS).values(row)
                connection.execute(
                    known.on_conflict_do_update(index_elements=["source", "job"], set_={"is_listed": True})
                )

    def record_failures(self, source: str, job: str, failures: Iterable[Failure], now: datetime) -> None:
        """Note runs that failed at the vendor, beside those noted before: a vendor may forget them."""
        before = self.jobs(source).get((source, job), JobNote(False, None, ()))
        every = {failure.run: failure for failure in (*before.failures, *failures)}
        plain = [[one.run, one.began_at.isoformat(), one.ended_at.isoformat()] for one in every.values()]
        row = dict(source=source, job=job, is_listed=before.is_listed, asked_at=now, failures=plain)
        with self._writing() as connection:
            connection.execute(
                insert(JOBS).values(row).on_conflict_do_update(index_elements=["source", "job"], set_=row)
            )

    def jobs(self, source: str | None = None) -> dict[tuple[str, str], JobNote]:
        """What is remembered of jobs, by source and id; nothing in a state that an earlier syncd has left."""
        chosen = sa.select(JOBS) if source is None else sa.select(JOBS).where(JOBS.c.source == source)
        with self._reading() as connection:
            rows = connection.execute(chosen).all() if sa.inspect(connection).has_table("jobs") else ()
        return {(row.source, row.job): JobNote(row.is_listed, row.asked_at, failures_of(row.failures)) for row in rows}

    def leave(self, order: Order) -> None:
        """Leave an order for whoever holds the lock; it is numbered anew."""
        with self._writing() as connection:
            connection.execute(sa.insert(ORDERS).values(order._asdict() | {"id": None}))

    def orders(self) -> list[Order]:
        """What was asked for and isn't done, oldest first."""
        with self._reading() as connection:
            return [Order(*row) for row in connection.execute(sa.select(ORDERS).order_by(ORDERS.c.id))]

    def done(self, order: Order) -> None:
        """Forget an order that was carried out."""
        with self._writing() as connection:
            connection.execute(sa.delete(ORDERS).where(ORDERS.c.id == order.id))

    def close(self) -> None:
        """Let go of every connection."""
        self._engine.dispose()

    @contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        with _told(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def _reading(self) -> Iterator[sa.Connection]:
        with _told(), self._engine.connect() as connection:
            yield connection


def open_state(path: Path, asked: Path | None = None) -> State:
    """The state at `path`, in today's shape. What is none, or damaged, is put aside: it can be lost without loss.

    `asked`: the folder in which what vendors were asked for is noted as well.
    """
    engine = engine_of(path)
    try:
        with usable(path):
            migrate(engine)
            with engine.connect() as connection:
                prove(connection)
    except Unusable as error:
        engine.dispose()
        aside = path.with_name(f"{path.name}.corrupt-{datetime.now(UTC):%Y%m%dT%H%M%SZ}")
        path.rename(aside)
        for left in (f"{path.name}-wal", f"{path.name}-shm"):
            path.with_name(left).unlink(missing_ok=True)
        log.warning("state_put_aside", path=str(path), error=str(error), kept_as=str(aside))
        engine = engine_of(path)
        with usable(path):
            migrate(engine)
    return State(engine, Receipts(asked) if asked else None)


def read_state(path: Path) -> State | None:
    """The state for looking only; None when there is none yet, or none that can be read."""
    if not path.exists():
        return None
    for how in ("mode=ro", "mode=ro&immutable=1"):  # the latter needs nothing beside the file: for a full disk
        uri = f"{path.resolve().as_uri()}?{how}"
        engine = sa.create_engine("sqlite://", creator=partial(sqlite3.connect, uri, uri=True))
        try:
            with usable(path), engine.connect() as connection:
                if not sa.inspect(connection).has_table("passes"):
                    return None
                prove(connection)
            return State(engine)
        except Unusable:
            return None
        except TryAgain:
            if "immutable" in how:
                raise
    return None


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except OperationalError as error:
        if kind_of(error) in LOCKED:
            raise locked() from error
        raise TryAgain(
            f"state.sqlite: {error.orig}", hint="free some disk space under data_dir; it goes on by itself"
        ) from error
    except DatabaseError as error:
        if type(error) is not DatabaseError:  # a bug of ours
            raise
        raise TryAgain(f"state.sqlite: {error.orig}", hint=DAMAGED) from error


def _is(table: sa.Table, source: str, run: str) -> tuple[sa.ColumnElement[bool], ...]:
    return table.c.source == source, table.c.run == run
