"""Exports that a vendor makes only when asked: noted first, adopted after a stop, never asked for twice."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from syncd.commits import Commits
from syncd.daemon import brought_home
from syncd.destinations.lake import Lake
from syncd.errors import TryAgain
from syncd.handover import ingest
from syncd.judge import Rules
from syncd.landing import Landing
from syncd.ledger import awaits_too_long, look_at
from syncd.model import ExportRequest
from syncd.orders import retry
from syncd.progress import Nobody
from syncd.retry import Patience, patient
from syncd.state import Order, open_state
from syncd.sync import Mirror, Outcome, one_pass
from tests.asking_source import Asked
from tests.destination_contract import query

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


class House:
    """A mirror over an asker, on a clock that the test sets; built anew, it is another process on the same disk."""

    def __init__(self, root: Path, behave: Callable[[ExportRequest], str], days: int = 3) -> None:
        self.root, self.now, self.stop = root, NOW, threading.Event()
        self.vendor = Asked(root / "vendor", behave, days)
        self.lake = Lake(root / "home")
        self.lake.start()
        self.pool = ThreadPoolExecutor(2)
        self.mirror = Mirror(
            source=patient(self.vendor, Patience(timedelta(0), self.stop)),
            destination=self.lake,
            state=open_state(root / "home" / "state.sqlite", root / "home" / "asked"),
            landing=Landing(root / "home" / "landing"),
            rules=Rules(),
            patience=Patience(timedelta(0), self.stop),
            fetchers=self.pool,
            workers=self.pool,
            commits=Commits(self.lake),
            watch=Nobody(),
            stop=self.stop,
            clock=lambda: self.now,
        )

    def turn(self, later: timedelta = timedelta(0)) -> Outcome:
        """A pass, so much later."""
        self.now += later
        return one_pass(self.mirror, sweep=False)

    def loaded(self) -> list[tuple[object, ...]]:
        return query(self.lake.home, "SELECT _id, attempt FROM mail.activities ORDER BY 1")

    def close(self) -> None:
        self.mirror.state.close()
        self.pool.shutdown()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Callable[..., House]]:
    built: list[House] = []

    def build(behave: Callable[[ExportRequest], str] = lambda request: "done", days: int = 3) -> House:
        built.append(House(tmp_path, behave, days))
        return built[-1]

    yield build
    for one in built:
        one.close()


Build = Callable[..., House]


def test_what_is_due_is_asked_for_one_by_one_and_brought_home(house: Build) -> None:
    one = house()
    outcome = brought_home(one.mirror, timedelta(hours=1))
    assert one.vendor.posts == ["activities-20260226.1", "activities-20260227.1", "activities-20260228.1"]
    assert one.loaded() == [(f"activities-202602{day}", 1) for day in (26, 27, 28)]
    assert outcome.look_again_at is None
    one.turn()
    assert len(one.vendor.posts) == 3, "what is loaded is never asked for again"


def test_a_request_is_written_down_before_it_is_made(house: Build) -> None:
    seen = []

    def behave(request: ExportRequest) -> str:
        seen.append([noted.ticket for noted in one.mirror.state.requests.of("mail")])
        return "works"

    one = house(behave)
    one.turn()
    assert seen[0] == [""]


def test_after_a_stop_between_asking_and_noting_the_ticket_the_export_is_adopted(house: Build) -> None:
    first = house(days=1)
    request = next(iter(first.vendor.due(NOW)))
    first.vendor.submit(request)  # and then the process dies: nothing is noted
    second = house(days=1)
    second.turn()
    assert second.vendor.posts == []
    assert second.loaded() == [("activities-20260228", 1)]


def test_while_the_vendor_works_it_is_looked_at_ever_more_seldom(house: Build) -> None:
    one = house(lambda request: "works")
    outcome, pauses = one.turn(), []
    for _ in range(12):
        assert outcome.look_again_at
        pauses.append((outcome.look_again_at - one.now).total_seconds())
        outcome = one.turn(outcome.look_again_at - one.now)
    assert pauses[0] == 15
    assert pauses == sorted(pauses)
    assert pauses[-1] > 60
    assert outcome.look_again_at <= one.now + timedelta(minutes=5)
    assert one.vendor.posts == ["activities-20260226.1"], "one export in flight"
    assert [type(end.trouble) for end in outcome.ends] == [TryAgain], "come back later: 75"


def test_once_waits_no_longer_than_told(house: Build) -> None:
    one = house(lambda request: "works")
    outcome = brought_home(one.mirror, timedelta(0))
    assert [end.what for end in outcome.ends] == ["asked"]


@pytest.mark.parametrize("behaves", ["limits", "is_away"])
def test_what_cannot_be_asked_now_is_asked_when_the_vendor_says(house: Build, behaves: str) -> None:
    one = house(lambda request: behaves)
    outcome = brought_home(one.mirror, timedelta(seconds=3))
    assert outcome.look_again_at == NOW + timedelta(seconds=600)
    assert [end.what for end in outcome.ends] == ["asked"]
    known = [noted.request.id for noted in one.mirror.state.requests.of("mail")]
    assert known == ([] if behaves == "limits" else ["activities-20260226"]), (
        "what was surely not taken leaves no doubt"
    )


def test_one_that_waits_for_a_person_takes_no_place_while_the_vendor_is_away(house: Build) -> None:
    behaves = ["by_mail"]
    one = house(lambda request: behaves[0], days=1)
    one.turn()
    behaves[0] = "done"
    one.vendor.poll = lambda request, ticket: (_ for _ in ()).throw(TryAgain("away"))  # type: ignore[method-assign]
    one.turn(timedelta(minutes=10))
    assert [noted.state for noted in one.mirror.state.requests.of("mail")] == ["waiting"]


def test_a_failed_export_is_asked_for_again_under_the_next_attempt(house: Build) -> None:
    one = house(lambda request: "fails" if request.attempt < 3 else "done", days=1)
    for _ in range(3):
        one.turn(timedelta(minutes=5))
    assert one.vendor.posts == ["activities-20260228.1", "activities-20260228.2", "activities-20260228.3"]
    assert one.loaded() == [("activities-20260228", 3)]


def test_one_that_fails_again_and_again_is_set_aside_and_retried_when_told(house: Build) -> None:
    well: list[bool] = []
    one = house(lambda request: "done" if well or not request.id.endswith("26") else "fails")
    for _ in range(6):
        one.turn(timedelta(minutes=5))
    assert one.loaded() == [("activities-20260227", 1), ("activities-20260228", 1)], "it holds up no other"
    (noted,) = one.mirror.state.requests.of("mail")
    assert (noted.state, noted.error) == ("set_aside", "the job failed at the vendor")
    assert "syncd retry mail/activities-20260226" in noted.hint
    well.append(True)
    (end,) = retry(one.mirror, Order(0, "retry", "mail", "activities-20260226", {}))
    assert end.what == "loaded"
    assert one.loaded()[0] == ("activities-20260226", 4)


def test_a_refused_request_is_set_aside_and_the_next_is_asked_for(house: Build) -> None:
    one = house(lambda request: "refuses" if request.id.endswith("26") else "done")
    for _ in range(3):
        one.turn(timedelta(minutes=5))
    assert one.loaded() == [("activities-20260227", 1), ("activities-20260228", 1)]
    assert [noted.state for noted in one.mirror.state.requests.of("mail")] == ["set_aside"]


def test_files_that_come_by_mail_are_handed_over(house: Build, tmp_path: Path) -> None:
    one = house(lambda request: "by_mail", days=1)
    outcome = one.turn()
    assert [end.what for end in outcome.ends] == ["waiting"]
    assert outcome.look_again_at is None, "a person is not waited for"
    folder = tmp_path / "home" / "handed" / "mail" / "activities-20260228"
    folder.mkdir(parents=True)
    (folder / "a.jsonl").write_bytes(b'{"_id": "x", "attempt": 1}\n')
    order = Order(0, "ingest", "mail", "activities-20260228", {"files": ["a.jsonl"], "format": "jsonl"})
    assert [end.what for end in ingest(one.mirror, order)] == ["loaded"]
    assert one.loaded() == [("x", 1)]
    assert ingest(one.mirror, order) == [], "a repeat changes nothing"
    assert one.turn().ends == []


def test_one_that_waits_for_a_person_is_asked_for_once_more_when_told(house: Build) -> None:
    behaves = ["by_mail"]
    one = house(lambda request: behaves[0], days=1)
    one.turn()
    behaves[0] = "done"
    (end,) = retry(one.mirror, Order(0, "retry", "mail", "activities-20260228", {}))
    assert end.what == "loaded"
    assert one.loaded() == [("activities-20260228", 2)]


def test_losing_the_state_asks_for_nothing_twice(house: Build, tmp_path: Path) -> None:
    first = house(lambda request: "works", days=1)
    first.turn()
    first.close()
    (tmp_path / "home" / "state.sqlite").unlink()
    second = house(days=1)
    second.turn()
    assert second.vendor.posts == []
    assert second.loaded() == [("activities-20260228", 1)]


def lose_the_state(one: House) -> None:
    one.close()
    (one.root / "home" / "state.sqlite").unlink()


def outstanding(one: House) -> list[tuple[str, str, str, int]]:
    noted = one.mirror.state.requests.of("mail")
    return [(each.request.id, each.state, each.ticket, each.request.attempt) for each in noted]


@pytest.mark.parametrize("how", ["works", "by_mail", "refuses"])
def test_what_was_asked_for_is_known_after_the_state_is_lost(house: Build, how: str) -> None:
    first = house(lambda request: how, days=1)
    first.turn()
    before = outstanding(first)
    assert len(before) == 1
    lose_the_state(first)
    again = house(lambda request: how, days=1)
    again.vendor.posts, again.vendor.folder = [], again.root / "elsewhere"  # a vendor that can't tell
    again.vendor.folder.mkdir()
    again.turn(timedelta(seconds=1))
    assert outstanding(again) == before and again.vendor.posts == []


def test_what_was_brought_home_is_not_asked_for_after_the_state_is_lost(house: Build) -> None:
    first = house(lambda request: "done", days=2)
    brought_home(first.mirror, timedelta(hours=1))
    assert not list((first.root / "home" / "asked").rglob("*.json"))
    lose_the_state(first)
    again = house(lambda request: "done", days=2)
    again.turn()
    assert again.vendor.posts == [] and outstanding(again) == []


def test_what_had_landed_when_the_state_was_lost_is_loaded_unasked(house: Build, tmp_path: Path) -> None:
    first = house(lambda request: "by_mail", days=1)
    first.turn()
    (noted,) = first.mirror.state.requests.of("mail")
    (tmp_path / "a.jsonl").write_bytes(b'{"_id": "x", "attempt": 1}\n')
    run = noted.request.delivered(NOW, format="jsonl")
    first.mirror.landing.take(run, {"a.jsonl": tmp_path / "a.jsonl"})
    first.mirror.state.requests.forget("mail", run.id)
    lose_the_state(first)
    again = house(lambda request: "by_mail", days=1)
    again.turn()
    assert again.loaded() == [("x", 1)] and again.vendor.posts == []


def test_of_two_that_would_bring_the_same_only_the_first_is_asked_for(house: Build) -> None:
    one = house(lambda request: "by_mail", days=1)
    one.turn()
    (first,) = one.vendor.due(NOW)
    one.vendor.due = lambda now: iter([replace(first, id="activities-later")])  # type: ignore[method-assign]
    one.turn(timedelta(days=7))
    assert [id for id, *_ in outstanding(one)] == [first.id]


def test_a_right_that_is_missing_is_tried_ever_more_slowly_told_once_and_holds_back_the_others(house: Build) -> None:
    behave = ["bars"]
    one = house(lambda request: behave[0])
    tries: dict[int, datetime] = {}
    with capture_logs() as events:
        for _ in range(40):
            one.turn(timedelta(minutes=30))
            ((id, state, _, attempt),) = outstanding(one)
            assert (id, state) == ("activities-20260226", "set_aside")
            tries.setdefault(attempt, one.now)
    pauses = [later - earlier for earlier, later in pairwise(tries.values())]
    assert pauses == sorted(pauses) and len(tries) < 16
    assert [event["event"] for event in events].count("run_set_aside") == 1
    behave[0] = "done"
    one.turn(timedelta(days=1))
    assert ("activities-20260226", max(tries) + 1) in one.loaded() and len(one.loaded()) == 2, "others follow"


def test_files_that_nobody_brings_are_told_as_overdue_once(house: Build) -> None:
    one = house(lambda request: "by_mail", days=1)
    overdue: list[list[str]] = []
    with capture_logs() as events:
        for _ in range(6):
            one.turn(timedelta(hours=12))
            seen = look_at(one.lake, one.mirror.state, {"mail"})
            overdue += [[run["run"] for run in seen.runs if awaits_too_long(run, one.now)]]
    assert [len(each) for each in overdue] == [0, 0, 0, 0, 0, 1], "more than two days"
    told = [event for event in events if event["event"] in ("run_awaits_files", "run_overdue")]
    of_first = [event for event in told if event["run"] == "mail/activities-20260301"]
    assert [event["event"] for event in of_first] == ["run_awaits_files", "run_overdue"]
    assert of_first[1]["error"].startswith("OVERDUE, asked for on 2026-03-02") and of_first[1]["log_level"] == "error"


def test_an_attempt_that_was_surely_not_made_is_made_by_another_process_without_a_doubt(house: Build) -> None:
    first = house(lambda request: "fails" if request.attempt == 1 else "limits", days=1)
    first.turn()
    first.turn(timedelta(minutes=2))
    ((_, _, _, attempt),) = outstanding(first)
    first.close()
    asked_at = []

    def behave(request: ExportRequest) -> str:
        asked_at.append(request.asked_at)
        return "by_mail"

    again = house(behave, days=1)
    again.turn(timedelta(hours=3))
    assert attempt == 2 and asked_at[0] == again.now, "the instant at which it is asked for, not at which it was to be"
