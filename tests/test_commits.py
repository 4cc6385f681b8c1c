"""Runs that are ready together are published together, and none of them holds up another."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from syncd.commits import Commits
from syncd.destinations.lake import Lake
from syncd.errors import StartOver
from syncd.model import Committed, Run, Staged
from tests.destination_contract import batch, query, rows_of, run, staged

RUNS = 6


class Crowded(Lake):
    """A lake whose first commit takes until all the others wait for it."""

    def __init__(self, data_dir: Path) -> None:
        super().__init__(data_dir)
        self.is_under_way, self.others_wait = threading.Event(), threading.Event()

    def commit(self, ready: Sequence[tuple[Run, Sequence[Staged]]]) -> Committed:
        self.is_under_way.set()
        assert self.others_wait.wait(60)
        return super().commit(ready)


@pytest.fixture
def lake(tmp_path: Path) -> Crowded:
    lake = Crowded(tmp_path)
    lake.start()
    return lake


def all_at_once(lake: Crowded, ready: Sequence[tuple[Run, Staged]]) -> list[Future[None]]:
    """The ends of these commits, of which all but the first come while the first is under way."""
    commits = Commits(lake)
    with ThreadPoolExecutor(len(ready)) as threads:
        first = threads.submit(commits, ready[0][0], [ready[0][1]])
        assert lake.is_under_way.wait(60)
        others = [threads.submit(commits, one, [part]) for one, part in ready[1:]]
        while len(commits._waiting) < len(others):
            time.sleep(0.001)
        lake.others_wait.set()
    return [first, *others]


def staged_runs(lake: Lake) -> list[tuple[Run, Staged]]:
    runs = [run(f"{job}-1", job=str(job)) for job in range(RUNS)]
    return [(one, staged(lake, one, batch(rows_of(2)))) for one in runs]


def generation(lake: Lake) -> int:
    return int(query(lake.home, "SELECT generation FROM _syncd.published")[0][0])


def test_runs_that_are_ready_together_share_one_publication(lake: Crowded) -> None:
    before = generation(lake)
    for end in all_at_once(lake, staged_runs(lake)):
        end.result()
    assert len(lake.loaded("acme")) == RUNS
    assert generation(lake) == before + 2, "one for the first, one for all that came meanwhile"


def test_one_that_cannot_be_shown_holds_up_none_of_those_with_it(lake: Crowded) -> None:
    ready = staged_runs(lake)
    (lake.home / ready[2][1].files[0].path).unlink()
    ends = all_at_once(lake, ready)
    assert [type(end.exception()) for end in ends] == [StartOver if at == 2 else type(None) for at in range(RUNS)]
    assert sorted(lake.loaded("acme")) == sorted(one.id for one, _ in ready if one != ready[2][0])
