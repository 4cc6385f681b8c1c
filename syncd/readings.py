"""Runs that a source reads itself, one a pass: the next brings all that those before it would have brought.

So of readings that come to nothing one after the other (a right is missing, say) the ledger keeps the first: it is told
once, it is what `status` shows, and it goes when one of them is home.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from syncd.landing import Landing
from syncd.model import Run
from syncd.state import SET_ASIDE, State, run_of


def stand_in(state: State, landing: Landing, run: Run) -> dict[str, Any]:
    """What is noted of the reading that stands for `run`, which came to nothing: of the first, or of itself."""
    noted = state.runs(run.source)
    for first in in_vain(noted, landing, run):
        forget(state, landing, run)
        return first
    return next(row for row in noted if row["run"] == run.id)


def put_behind(state: State, landing: Landing, run: Run) -> None:
    """`run` is home: forget those of its job that had come to nothing."""
    for row in in_vain(state.runs(run.source), landing, run):
        forget(state, landing, run_of(row))


def in_vain(noted: list[dict[str, Any]], landing: Landing, run: Run) -> Iterator[dict[str, Any]]:
    """Other readings of the same job that were set aside with nothing landed; none if `run` is no reading."""
    for row in noted if run.is_reading else ():
        other = run_of(row)
        same = other.is_reading and other.job == run.job and other.id != run.id
        if same and row["state"] == SET_ASIDE and landing.parts(other) is None:
            yield row


def forget(state: State, landing: Landing, run: Run) -> None:
    """Nothing of it is in flight any more."""
    state.forget(run.source, [run.id])
    landing.forget(run)
