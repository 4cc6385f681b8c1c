"""Exports that were asked for and are not delivered.

Written down before the vendor is asked, so that a stop in between is found; and beside the state too, for a vendor may
not tell what it was asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from syncd.model import ExportRequest
from syncd.state.receipts import Receipts
from syncd.state.tables import ASKED, REQUESTS

INSTANTS = ("period_start", "period_end", "asked_at", "look_at")

Open = Callable[[], AbstractContextManager[sa.Connection]]


@dataclass(frozen=True, slots=True)
class Noted:
    """What became of a request so far."""

    request: ExportRequest
    state: str = ASKED  # or WAITING for files that a person must bring, or SET_ASIDE
    ticket: str = ""  # "" until the vendor has answered
    look_at: datetime | None = None  # when to look again; None: it was never asked for
    error: str = ""
    hint: str = ""


class Requests:
    """The requests in the state. Any thread."""

    def __init__(self, reading: Open, writing: Open, receipts: Receipts | None = None) -> None:
        self._reading, self._writing, self._receipts = reading, writing, receipts

    def note(self, noted: Noted) -> None:
        """Write down a request and what became of it, in the place of what was noted of it before."""
        request = asdict(noted.request)
        row = {"run": request.pop("id"), "period_start": request.pop("start"), "period_end": request.pop("end")}
        row |= request | {name: getattr(noted, name) for name in ("state", "ticket", "look_at", "error", "hint")}
        if self._receipts:
            self._receipts.keep(row)
        with self._writing() as connection:
            same = insert(REQUESTS).values(row).on_conflict_do_update(index_elements=["source", "run"], set_=row)
            connection.execute(same)

    def of(self, source: str | None = None) -> list[Noted]:
        """Every request, oldest first; none in a state that an earlier syncd has left. Those that a lost state had are
        known by `remember`."""
        chosen = sa.select(REQUESTS) if source is None else sa.select(REQUESTS).where(REQUESTS.c.source == source)
        with self._reading() as connection:
            there = sa.inspect(connection).has_table("requests")
            rows = connection.execute(chosen.order_by(REQUESTS.c.asked_at)).mappings() if there else ()
            return [_noted(dict(row)) for row in rows]

    def remember(self, source: str, known: Container[str]) -> None:
        """Note anew what a lost state knew, but for runs that are `known`: those were delivered."""
        if not self._receipts:
            return
        have = {noted.request.id for noted in self.of(source)}
        for row in self._receipts.rows(source):
            if row["run"] in known:
                self._receipts.drop(source, row["run"])
            elif row["run"] not in have:
                instants = {key: row[key] and datetime.fromisoformat(row[key]) for key in INSTANTS}
                noted = _noted(row | instants)
                self.note(replace(noted, look_at=None) if noted.ticket else noted)  # what was asked for is due a look

    def forget(self, source: str, run: str) -> None:
        """It is delivered, or nobody has heard of it."""
        if self._receipts:
            self._receipts.drop(source, run)
        with self._writing() as connection:
            connection.execute(sa.delete(REQUESTS).where(REQUESTS.c.source == source, REQUESTS.c.run == run))


def _noted(row: dict[str, Any]) -> Noted:
    of = {name: row.pop(name) for name in ("state", "ticket", "look_at", "error", "hint")}
    row |= {"id": row.pop("run"), "start": row.pop("period_start"), "end": row.pop("period_end")}
    return Noted(ExportRequest(**row), **of)
