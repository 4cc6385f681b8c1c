"""Exports that a vendor makes only when asked: noted first, adopted after a stop, never asked for twice."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from syncd.commits import Commits
from syncd.daemon import brought_home
from syncd.destinations.lake import Lake
from syncd.errors import TryAgain
from syncd.handover import ingest
from syncd.judge import Rules
from syncd.landing import Landing
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
            state=open_state(root / "home" / "state.sqlite"),
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
