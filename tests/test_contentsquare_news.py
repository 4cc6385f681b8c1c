"""When a pass may spare itself the walk: never at the price of a run."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from syncd.sources.contentsquare.answers import Export, FinishedRun, JobRun
from syncd.sources.contentsquare.news import News, Walked, signs

NOW = datetime.now(UTC)
HOUR = timedelta(hours=1)
JOB = Export("7", state="ACTIVE", last_run_at=NOW - 5 * HOUR, next_from=NOW - 24 * HOUR)
DONE = JobRun("1", "SUCCESS", started_at=JOB.last_run_at)
CLOSED = {"7-1"}


def walked(job: Export = JOB, *, completed_at: datetime | None = NOW - 4 * HOUR, pages: int = 11) -> News:
    """After a walk that found one run of the job."""
    news, walk = News(), Walked({job.id: signs(job)}, passed_on={"7-1"}, pages=pages)
    walk.saw(FinishedRun("7", "1", completed_at=completed_at))
    news.walked(walk)
    return news


def test_the_first_pass_walks() -> None:
    assert News().needs_walk(())


def test_a_short_list_is_always_walked() -> None:
    assert walked(pages=10).needs_walk(CLOSED)
    assert not walked(pages=11).needs_walk(CLOSED)


def test_an_open_run_is_walked_to() -> None:
    assert walked().needs_walk(())


def test_a_walk_under_which_rows_moved_is_walked_again() -> None:
    news = walked()
    news.walked(None)
    assert news.needs_walk(CLOSED)


def test_without_a_sign_nothing_is_asked() -> None:
    assert walked().hints([JOB, replace(JOB, next_run_at=NOW)]) == []


@pytest.mark.parametrize(
    "changed",
    [{"last_run_at": NOW}, {"state": "COMPLETED"}, {"next_from": NOW}, {"updated_at": NOW}, {"id": "8"}],
    ids=lambda changed: next(iter(changed)),
)
def test_each_sign_of_a_job_is_a_hint(changed: dict[str, object]) -> None:
    assert len(walked().hints([replace(JOB, **changed)])) == 1  # type: ignore[arg-type]


def test_an_active_job_that_tells_no_date_is_always_asked() -> None:
    silent = Export("7", state="ACTIVE")
    assert walked(silent).hints([silent]) == [silent]


def test_an_execution_under_way_at_the_walk_is_looked_after_until_it_ends() -> None:
    news = walked(completed_at=NOW - 30 * HOUR)
    assert news.hints([JOB]) == [JOB]
    assert not news.judge(JOB, [replace(DONE, id="2", state="RUNNING"), DONE], CLOSED)
    assert news.hints([JOB]) == [JOB]
    assert news.judge(JOB, [replace(DONE, id="2"), DONE], CLOSED)


def test_a_failure_is_an_end() -> None:
    news = walked(completed_at=NOW - 30 * HOUR)
    assert not news.judge(JOB, [replace(DONE, id="2", state="FAILURE"), DONE], CLOSED)
    assert news.hints([JOB]) == []


def test_old_executions_without_an_end_are_left_to_the_sweep() -> None:
    old = replace(JOB, last_run_at=NOW - 48 * HOUR)
    assert walked(old, completed_at=None).hints([old]) == []


def test_a_new_run_that_hides_behind_the_first_page_is_walked_to() -> None:
    news, begun = walked(), replace(JOB, last_run_at=NOW)
    page = [replace(DONE, id=str(number)) for number in range(100)]
    assert news.judge(begun, page, {f"7-{number}" for number in range(100)})


def test_a_job_that_was_only_edited_is_asked_once() -> None:
    news, edited = walked(), replace(JOB, updated_at=NOW)
    assert news.hints([edited]) == [edited]
    assert not news.judge(edited, [DONE], CLOSED)
    assert news.hints([edited]) == []
