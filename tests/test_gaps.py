"""The calendar as a table of cases: no clock, no network, no disk. Then the command against the vendor in a box."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from syncd.destinations.lake import Lake
from syncd.gaps import GONE, Gap, calendar, jobs_complete_up_to, jobs_to_ask
from syncd.inquiry import ask_why
from syncd.model import Failure, Job, Run
from syncd.sandbox.contentsquare import Sandbox
from syncd.sources.contentsquare.api import Field, NewExport
from syncd.sources.contentsquare.source import Contentsquare
from syncd.state import open_state
from tests.home import Home
from tests.sandbox_fixture import running

DAY, HOUR, MS = timedelta(days=1), timedelta(hours=1), timedelta(milliseconds=1)
FIRST = datetime(2026, 1, 1, tzinfo=UTC)
LATER = FIRST + timedelta(days=400)  # when no job makes runs any more


def day(number: float) -> datetime:
    """The start of the so-many-th of January, 2026."""
    return FIRST + (number - 1) * DAY


def run(
    start: datetime,
    end: datetime | None = None,
    state: str = "loaded",
    *,
    job: str = "j",
    scope: str = "views",
    completed_at: datetime | None = None,
    found_at: datetime = FIRST,
) -> dict[str, Any]:
    """A row of the ledger; a day long, and executed at 4 o'clock behind its period."""
    end = end or start + DAY
    return {
        "source": "s",
        "run": f"{job}-{start:%m-%dT%H}",
        "job": job,
        "scope": scope,
        "state": state,
        "period_start": start,
        "period_end": end,
        "completed_at": completed_at or end + 4 * HOUR,
        "expires_at": end + 7 * DAY,
        "found_at": found_at,
        "error": "",
        "hint": "",
    }


def daily(*numbers: float, **more: Any) -> list[dict[str, Any]]:
    return [run(day(number), **more) for number in numbers]


def hourly(*numbers: float, **more: Any) -> list[dict[str, Any]]:
    return [
        run(FIRST + n * HOUR, FIRST + (n + 1) * HOUR, completed_at=FIRST + (n + 1.2) * HOUR, **more) for n in numbers
    ]


def look(
    runs: Sequence[Mapping[str, Any]],
    now: datetime,
    frequency: str = "daily",
    state: str = "ACTIVE",
    failures: Sequence[Failure] = (),
) -> list[Gap]:
    jobs = [Job("s", "j", frequency=frequency, scope="views", state=state), Job("s", "once", frequency="once")]
    return calendar(jobs, runs, {("s", "j"): failures}, now)


def days(gaps: Sequence[Gap]) -> list[tuple[float, str]]:
    """Start and state of each gap of a daily job."""
    return [((gap.period_start - FIRST) / DAY + 1, gap.state) for gap in gaps]


def hours(gaps: Sequence[Gap]) -> list[tuple[float, str]]:
    return [((gap.period_start - FIRST) / HOUR, gap.state) for gap in gaps]


def failed(at: datetime, name: str = "f") -> Failure:
    return Failure(name, at, at + timedelta(minutes=3))


@pytest.mark.parametrize(
    ("runs", "now", "expected"),
    [
        pytest.param([], day(9), [], id="a job without runs expects nothing"),
        pytest.param(daily(1, 2, 3), day(4.99), [], id="all here"),
        pytest.param(daily(1, 2, 4), day(5), [(3, "missing")], id="a later one is listed"),
        pytest.param(daily(1, 2), day(4) + 6 * HOUR - MS, [], id="a moment before it is due"),
        pytest.param(daily(1, 2), day(4) + 6 * HOUR, [(3, "late")], id="due"),
        pytest.param(daily(1), day(5), [(2, "late"), (3, "late")], id="several due"),
        pytest.param(daily(1, 4), day(5), [(2, "missing"), (3, "missing")], id="a longer hole"),
        pytest.param(daily(5, 6), day(8), [], id="what was before the first listed run is not expected"),
        pytest.param(daily(1, 3) + daily(2, state="found"), day(4), [], id="on its way"),
        pytest.param(daily(1, 3) + daily(2, state="staging"), day(4), [], id="being staged"),
        pytest.param(daily(1, 3) + daily(2, state="superseded"), day(4), [], id="superseded counts as here"),
        pytest.param(daily(1, 3) + daily(2, state="set_aside"), day(5), [(2, "set_aside")], id="set aside"),
        pytest.param(daily(2, 3) + daily(1, state="expired"), day(5), [(1, "expired")], id="expired, and the first"),
        pytest.param(daily(1, 2, 3) + daily(2, state="set_aside"), day(5), [], id="set aside, but delivered again"),
        pytest.param(
            daily(2, state="expired") + daily(1, 2, 3, state="set_aside"),
            day(4),
            [(1, "set_aside"), (2, "set_aside")],
            id="of two runs given up the one that can be mended is told, each once it is due",
        ),
        pytest.param([run(day(n), day(n + 1) - MS) for n in (1, 2, 3)], day(4.9), [], id="inclusive ends"),
        pytest.param([run(day(n), day(n + 1) - MS) for n in (1, 2, 4)], day(5.2), [(3, "missing")], id="and a hole"),
        pytest.param(
            [run(day(n), day(n + 1) - 1000 * MS) for n in (1, 2)], day(4.3), [(3, "late")], id="to the second"
        ),
        pytest.param([run(day(1.5), day(2)), *daily(2, 3)], day(5), [], id="the first day was a short one"),
        pytest.param(
            [run(day(n) - HOUR) for n in (1, 2)] + [run(day(3) - HOUR, day(4) - 2 * HOUR), run(day(4) - 2 * HOUR)],
            day(6),
            [],
            id="days of a zone that moves its clocks",
        ),
        pytest.param([run(day(1)), run(day(2), day(2.5)), run(day(3))], day(5), [(2.5, "missing")], id="half a day"),
        pytest.param([run(day(n), day(n + 7)) for n in range(1, 9)], day(16), [], id="overlapping weeks, each day"),
        pytest.param([*daily(1, 2), run(day(8), day(8))], day(3), [], id="a run without a period says nothing"),
        pytest.param(daily(*range(80, 100)), day(101), [], id="over a change of clocks"),
    ],
)
def test_daily(runs: list[dict[str, Any]], now: datetime, expected: list[tuple[float, str]]) -> None:
    assert days(look(runs, now)) == expected


@pytest.mark.parametrize(
    ("runs", "now", "expected"),
    [
        (hourly(0, 1, 2), 9.99, []),
        (hourly(0, 1, 2), 10, [(3, "late")]),
        (hourly(0, 1, 3), 10.9, [(2, "missing")]),
        (hourly(0, 1, 3), 12, [(2, "missing"), (4, "late"), (5, "late")]),
        (hourly(0, 1, 3) + hourly(2, state="expired"), 10, [(2, "expired")]),
        (hourly(0, 9), 9, [(1, "missing"), (2, "missing")]),  # the others are not due yet
    ],
)
def test_hourly(runs: list[dict[str, Any]], now: float, expected: list[tuple[float, str]]) -> None:
    assert hours(look(runs, FIRST + now * HOUR, "hourly")) == expected


@pytest.mark.parametrize("state", ["SUSPENDED", "DELETED", "COMPLETED", GONE])
def test_a_job_that_stands_still_expects_nothing_behind_its_last_run(state: str) -> None:
    assert days(look(daily(1, 3), LATER, state=state)) == [(2, "missing")]


def test_a_job_that_is_not_known_is_one_that_is_gone() -> None:
    assert days(calendar([], daily(1, 2, 3, 5), {}, LATER)) == [(4, "missing")]


def test_a_once_job_expects_nothing() -> None:
    assert look(daily(1, 2, 9), LATER, "once") == []


def test_clear_lengths_go_before_the_frequency() -> None:
    six_hours = [run(day(1) + n * 6 * HOUR, day(1) + (n + 1) * 6 * HOUR) for n in (0, 1, 2, 4)]
    assert hours(look(six_hours, day(2) + 18 * HOUR)) == [(18, "missing"), (30, "late")]
    assert hours(look(six_hours, day(2) + 18 * HOUR, "every six hours")) == [(18, "missing"), (30, "late")]


def test_an_unknown_frequency_without_a_clear_length_expects_nothing() -> None:
    months = [run(day(1), day(32)), run(day(32), day(60)), run(day(91), day(121))]
    assert look(months, LATER, "monthly") == []


COVER = {"job": "once"}


@pytest.mark.parametrize(
    ("others", "expected"),
    [
        ([run(day(2), day(4), **COVER)], [(2, "covered"), (3, "covered")]),
        ([run(day(1.5), day(4) - MS, **COVER)], [(2, "covered"), (3, "covered")]),
        ([run(day(2), day(3), **COVER)], [(2, "covered"), (3, "missing")]),
        ([run(day(2), day(2.5) - MS, **COVER), run(day(2.5), day(3), **COVER)], [(2, "covered"), (3, "missing")]),
        ([run(day(2), day(2.5), **COVER), run(day(2.6), day(4), **COVER)], [(2, "missing"), (3, "covered")]),
        ([run(day(2), day(4), "found", **COVER)], [(2, "missing"), (3, "missing")]),
        ([run(day(2), day(4), scope="sessions", **COVER)], [(2, "missing"), (3, "missing")]),
    ],
)
def test_other_jobs_of_the_scope_cover_a_period_wholly_or_not(
    others: list[dict[str, Any]], expected: list[tuple[float, str]]
) -> None:
    gaps = look(daily(1, 4) + others, day(5))
    assert days(gaps) == expected
    assert [gap.needs_you for gap in gaps] == [state != "covered" for _, state in expected]


def test_what_covers_a_period_is_named() -> None:
    (gap,) = look([*daily(1, 3), run(day(2), day(2.5), **COVER)], day(5))
    assert "partly covered by once-01-02T00" in gap.detail
    (gap,) = look([*daily(1, 3), run(day(2), day(3), **COVER)], day(5))
    assert gap.detail == "missing, but covered by once-01-02T00"


def test_a_gap_tells_what_to_do() -> None:
    (gap,) = look(daily(1, 3), day(5))
    assert (gap.source, gap.job, gap.scope, gap.frequency) == ("s", "j", "views", "daily")
    assert (gap.period_start, gap.period_end) == (day(2), day(3))
    assert "a once export of views from 2026-01-02T00:00:00Z to 2026-01-03T00:00:00Z" in gap.detail


FOUR = 4 * HOUR


@pytest.mark.parametrize(
    ("runs", "failures", "now", "expected"),
    [
        pytest.param(daily(1, 3), [failed(day(3) + FOUR)], 5, [(2, "failed")], id="the last period that had ended"),
        pytest.param(daily(1, 2, 3), [failed(day(3) + FOUR)], 5, [], id="failed, then succeeded"),
        pytest.param(daily(1, 2, 4), [failed(day(3) + FOUR)], 5, [(3, "missing")], id="that, and a hole"),
        pytest.param(daily(1, 3, 5), [failed(day(5) + FOUR)], 7, [(2, "missing"), (4, "failed")], id="one of two"),
        pytest.param(
            daily(1, 4), [failed(day(4) + HOUR, "a"), failed(day(4) + 2 * HOUR, "b")], 5,
            [(2, "missing"), (3, "failed")], id="tried twice is still one period",
        ),
        pytest.param(daily(1, 3), [failed(day(2) + HOUR)], 5, [(2, "missing")], id="it was for the one before"),
        pytest.param(daily(1), [failed(day(3) + FOUR)], 5, [(2, "failed"), (3, "late")], id="nothing came behind"),
        pytest.param(daily(1), [failed(day(4) + FOUR)], 4.2, [(2, "late")], id="it was for one that is not due yet"),
        pytest.param(
            [run(day(n), completed_at=day(8) + n * HOUR) for n in (1, 3, 6)],
            [failed(day(8) + 2 * HOUR, "a"), failed(day(8) + 4 * HOUR, "b"), failed(day(8) + 5 * HOUR, "c")], 9,
            [(2, "failed"), (4, "failed"), (5, "failed"), (7, "late")], id="a job that catches up goes by turns",
        ),
        pytest.param(
            [run(day(n), completed_at=day(8) + n * HOUR) for n in (1, 3, 5)],
            [failed(day(8) + FOUR)], 9,
            [(2, "missing"), (4, "failed"), (6, "late"), (7, "late")], id="and tells the turns apart",
        ),
        pytest.param(
            [*daily(1, 3), *daily(2, state="set_aside")], [failed(day(3) + 3 * HOUR)], 5,
            [(2, "set_aside")], id="a known run goes first",
        ),
    ],
)  # fmt: skip
def test_the_period_of_a_failed_run_is_inferred(
    runs: list[dict[str, Any]], failures: list[Failure], now: float, expected: list[tuple[float, str]]
) -> None:
    assert days(look(runs, day(now), failures=failures)) == expected


def test_an_hourly_job_that_lags_is_told_by_turns() -> None:
    def lagging(*numbers: float) -> list[dict[str, Any]]:
        return [run(FIRST + n * HOUR, FIRST + (n + 1) * HOUR, completed_at=FIRST + (n + 5) * HOUR) for n in numbers]

    gaps = look(lagging(0, 1, 3, 4), FIRST + 12 * HOUR, "hourly", failures=[failed(FIRST + 7 * HOUR)])
    assert hours(gaps)[0] == (2, "failed")


def test_only_what_we_knew_alive_sets_the_exit_code() -> None:
    unseen = daily(1, state="expired", found_at=LATER)
    lost = daily(2, state="expired", found_at=day(3))
    gaps = look([*unseen, *lost, *daily(3), *daily(4, state="set_aside")], day(6))
    assert [(gap.state, gap.needs_you) for gap in gaps] == [("expired", False), ("expired", True), ("set_aside", True)]


def test_a_gap_is_asked_about_once_and_again_while_it_is_young() -> None:
    (gap,) = look(daily(1, 3), LATER, state=GONE)
    due = day(3) + 6 * HOUR
    assert jobs_to_ask([gap], {}) == ["j"]
    assert jobs_to_ask([gap], {"j": None}) == ["j"]
    assert jobs_to_ask([gap], {"j": due + 23 * HOUR}) == ["j"]
    assert jobs_to_ask([gap], {"j": due + 25 * HOUR}) == []
    assert jobs_to_ask(look(daily(1, 3) + daily(2, state="expired"), day(5)), {}) == []


def test_jobs_are_complete_up_to_their_first_hole_and_no_further_than_they_reach() -> None:
    runs = [
        *daily(1, 2, 4), *daily(2, 4, job="k"), *daily(3, job="k", state="found"), *daily(3, job="other", scope="x"),
        *daily(0, state="expired", found_at=LATER), *daily(7, job="l", state="found"),
        *daily(3, job="m", state="expired"), *daily(4, job="m"),
    ]  # fmt: skip
    reached = {job: at for (_, job), at in jobs_complete_up_to(runs).items()}
    assert reached == {"j": day(3), "k": day(3), "other": day(4), "l": None, "m": None}
    reached = {job: at for (_, job), at in jobs_complete_up_to([*runs, run(day(3), day(9), job="once")]).items()}
    assert reached == {"j": day(5), "k": day(5), "other": day(4), "l": day(8), "m": day(5), "once": day(9)}


def test_a_long_history_is_no_burden() -> None:
    many = [n for n in range(20_000) if n % 100]
    gaps = look(hourly(*many), FIRST + 20_000 * HOUR, "hourly", failures=[failed(FIRST + 101 * HOUR + 5 * 60 * MS)])
    assert len(gaps) == 199


def known(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    return [(row["period_start"][:10], row["state"]) for row in rows]


def dates(vendor: Sandbox) -> list[str]:
    """The days that the vendor made, also those that failed."""
    return sorted({each["from"][:10] for each in vendor.truth()})


def run_lists_asked(vendor: Sandbox) -> int:
    return sum(each["path"].endswith("/runs") for each in vendor.log()["requests"])


def test_no_gaps_are_told_in_words(tmp_path: Path) -> None:
    with running(
        jobs=2, days=3, rows=5, frequency="daily", restated_runs=1, empty_runs=1, period_end="inclusive"
    ) as vendor:
        home = Home(tmp_path, {"acme": vendor.settings()})
        assert home.run("gaps").returncode == 0
        home.once()
        assert home.json("gaps") == []
        ended = home.run("gaps")
        assert (ended.returncode, "no gaps" in ended.stdout) == (0, True)
        last = dates(vendor)[-1]
        jobs = home.json("status")["sources"]["acme"]["jobs"]
        assert list(jobs.values()) == [{"complete_up_to": f"{last}T23:59:59.999000Z"}] * 2
        assert run_lists_asked(vendor) == 0


def test_failed_runs_are_told_and_healed_by_a_once_job(tmp_path: Path) -> None:
    with running(jobs=1, days=8, rows=5, frequency="daily", format="jsonl", failed_runs=3, seed=1) as vendor:
        home = Home(tmp_path, {"acme": vendor.settings()})
        failing = sorted(each["from"][:10] for each in vendor.truth() if each["state"] == "FAILURE")
        assert len(failing) == 3 and dates(vendor)[0] not in failing
        home.once()
        ended = home.run("gaps")
        assert (ended.returncode, ended.stdout.count("failed at the vendor")) == (1, 3)
        assert known(home.json("gaps")) == [(each, "failed") for each in failing]
        (job,) = home.json("status")["sources"]["acme"]["jobs"].values()
        assert job["complete_up_to"] == f"{failing[0]}T00:00:00Z"
        assert run_lists_asked(vendor) == 1
        told = {key: value for key, value in vendor.settings().items() if key != "kind"}
        start = datetime.fromisoformat(failing[0]).replace(tzinfo=UTC)
        wanted = NewExport("healed", "sessions", [Field("session_id")], start=start, end=start + DAY)
        Contentsquare("acme", **told).api.create_export(wanted)
        vendor.set_trouble(once_takes=0.0)
        home.once()
    assert known(home.json("gaps")) == [(each, "failed") for each in failing[1:]]  # without the vendor
    assert "failed, but covered by" in home.run("gaps").stdout


@pytest.mark.parametrize("hidden", [False, True])
def test_what_had_expired_before_we_came_is_told_and_is_no_failure(tmp_path: Path, hidden: bool) -> None:
    with running(jobs=1, days=5, rows=5, frequency="daily", expired_runs=2, expired_hidden=hidden) as vendor:
        home = Home(tmp_path, {"acme": vendor.settings()})
        home.once()
        assert home.run("gaps").returncode == 0
        assert known(home.json("gaps")) == ([] if hidden else [(each, "expired") for each in dates(vendor)[:2]])
        (job,) = home.json("status")["sources"]["acme"]["jobs"].values()
        assert job["complete_up_to"][:10] == f"{datetime.fromisoformat(dates(vendor)[-1]) + DAY:%Y-%m-%d}"


def test_missing_late_and_set_aside_and_a_job_that_is_mirrored_no_more(tmp_path: Path) -> None:
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - 10 * DAY
    with running(jobs=1, days=3, rows=60, frequency="daily", format="jsonl", today=f"{today:%Y-%m-%d}") as vendor:
        home = Home(tmp_path, {"acme": vendor.settings()})
        vendor.set_trouble(broken_lines=20)
        vendor.add_run(period=(today + 2 * DAY).isoformat())
        home.once(expect=1)
        rows = home.json("gaps")
        days = [f"{today + n * DAY:%Y-%m-%d}" for n in range(len(rows))]
        states = ["missing", "missing", "set_aside", *["late"] * (len(rows) - 3)]
        assert known(rows) == list(zip(days, states, strict=True))
        assert len(rows) in (9, 10)  # the last day is due from 6 o'clock on
        assert "syncd retry --accept-rejected acme/" in rows[2]["detail"]
        assert home.run("gaps").returncode == 1
        home.write({"acme": {**vendor.settings(), "jobs": [1]}})
        home.once(expect=1)
        assert known(home.json("gaps")) == known(rows[:3])


def vendor_that_answers(status: int, payload: object) -> httpx.MockTransport:
    """Everybody gets a token, and every question this answer."""

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/token"):
            return httpx.Response(200, json={"access_token": "t", "endpoint": "http://127.0.0.1", "expires_in": 3600})
        return httpx.Response(status, json={"success": status == 200, "payload": payload})

    return httpx.MockTransport(answer)


def source_that_is_told(status: int, payload: object) -> Contentsquare:
    return Contentsquare("s", "id", "secret", transport=vendor_that_answers(status, payload))


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([{"jobRunId": 7, "state": "SUCCESS", "startDate": "2026-01-02T04:00:00Z"}], []),  # the filter was ignored
        ([{"jobRunId": 7, "state": "FAILURE"}], []),
        (
            [{"jobRunId": 7, "state": "failure", "startDate": "2026-01-02T04:00:00Z", "endDate": None}],
            [Failure("j-7", day(2) + FOUR, day(2) + FOUR)],
        ),
    ],
)
def test_failed_runs_are_read_with_tolerance(rows: list[Any], expected: list[Failure]) -> None:
    assert source_that_is_told(200, rows).failures("j") == expected


def test_a_job_that_the_vendor_has_forgotten_has_no_failed_runs() -> None:
    assert source_that_is_told(404, None).failures("j") == []


def in_flight(*numbers: float) -> list[Run]:
    return [Run("s", f"j-{n}", "views", "jsonl", day(n), day(n + 1), "j", day(n + 1) + FOUR) for n in numbers]


@pytest.mark.parametrize(("status", "is_asked", "told"), [(200, True, [(2, "failed")]), (403, False, [(2, "missing")])])
def test_a_source_that_will_not_tell_costs_nothing_else(
    tmp_path: Path, status: int, is_asked: bool, told: list[tuple[float, str]]
) -> None:
    state = open_state(tmp_path / "state.sqlite")
    lake = Lake(tmp_path, keep_superseded=DAY)
    source = source_that_is_told(status, [{"jobRunId": 7, "state": "FAILURE", "startDate": "2026-01-03T04:00:00Z"}])
    jobs = [Job("s", "j", frequency="daily", scope="views", state="ACTIVE")]
    state.found(in_flight(1, 3), day(4))
    state.record_listed("s", ["j"])
    ask_why(source, lake, state, jobs, day(5))
    note = state.jobs()["s", "j"]
    assert (note.is_listed, note.asked_at) == (True, day(5) if is_asked else None)
    assert days(look(daily(1, 3), day(5), failures=note.failures)) == told
    state.close()


def test_what_failed_is_remembered_when_the_vendor_forgets_it_and_when_a_job_goes(tmp_path: Path) -> None:
    state = open_state(tmp_path / "state.sqlite")
    one, two = failed(day(2), "one"), failed(day(3), "two")
    state.record_listed("s", ["j", "k"])
    state.record_failures("s", "j", [one], day(4))
    state.record_failures("s", "j", [two], day(5))
    state.record_listed("s", ["k"])
    assert state.jobs() == {("s", "j"): (False, day(5), (one, two)), ("s", "k"): (True, None, ())}
    state.close()
