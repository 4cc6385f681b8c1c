"""Shows runs to the readers, and tells what that did. Runs that are ready together share one commit."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future

import structlog

from syncd.model import Committed, Destination, Run, Staged
from syncd.types import sql

log = structlog.get_logger()


class Commits:
    """Runs that are ready together are shown together: who comes first takes along all that wait."""

    def __init__(self, destination: Destination) -> None:
        self._destination = destination
        self._turn, self._gate = threading.Lock(), threading.Lock()
        self._waiting: list[tuple[Run, Sequence[Staged], Future[None]]] = []

    def __call__(self, run: Run, staged: Sequence[Staged]) -> None:
        """Return when the run is visible for good; raises what `Destination.commit` raises."""
        mine: Future[None] = Future()
        with self._gate:
            self._waiting.append((run, staged, mine))
        with self._turn:
            if not mine.done():
                with self._gate:
                    ready, self._waiting = self._waiting, []
                self._commit(ready)
        mine.result()

    def _commit(self, ready: Sequence[tuple[Run, Sequence[Staged], Future[None]]]) -> None:
        began = time.monotonic()
        try:
            done = self._destination.commit([(run, staged) for run, staged, _ in ready])
        except Exception as error:
            if len(ready) == 1:
                ready[0][2].set_exception(error)
            else:  # one of them must not hold up the others
                for one in ready:
                    self._commit([one])
        else:
            tell(done)
            log.info("catalogue_published", runs=len(done.runs), seconds=since(began))
            for _, _, future in ready:
                future.set_result(None)


def tell(done: Committed) -> None:
    """Log what a publication did besides adding rows."""
    for one in done.superseded:
        told = log.warning if one.shrunk else log.info  # the vendor may have purged: we may hold the only copy
        told("run_superseded", run=f"{one.source}/{one.run}", by=one.by, has_fewer_rows=one.shrunk)
    for new in done.columns:
        column, was = new.column, new.before
        told = {"source": new.source, "scope": new.scope, "column": column.name, "type": sql(column.type)}
        if was:
            log.info("column_changed", **told, run=new.first_run)
        elif column.origin == "learned":  # what is declared stands in the vendor's dictionary
            log.info("column_learned", **told, run=new.first_run)
    for view in done.refused:
        log.warning("view_refused", view=view, hint="a scope has the name of this derived view")


def since(began: float) -> float:
    """Seconds, by the monotonic clock."""
    return round(time.monotonic() - began, 3)
