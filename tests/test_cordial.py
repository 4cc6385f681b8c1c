"""Cordial: asked for once, found again after a stop, picked up when it is settled; and each refusal says what to do."""

from __future__ import annotations

import base64
import errno
import gzip
from collections.abc import Container, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from syncd.errors import BadRun, ConfigError, HandOver, StartOver, SyncdError, TryAgain
from syncd.model import ExportRequest, MustAsk, Run
from syncd.sandbox.cordial import Sandbox
from syncd.settings.cordial import CordialExport
from syncd.sources.cordial.api import Refused, Unanswered
from syncd.sources.cordial.source import Cordial
from tests.cordial_box import (  # fmt: skip
    DAY,
    configured,
    contents,
    delivered,
    export,
    mounted,
    polled,
    requests,
    running,
    section,
    today,
    yesterday,
)
from tests.source_contract import SourceContract


class Delivered(Cordial):
    """A source whose listing is what was asked for before: the contract of a source, held against one that is asked."""

    known: tuple[Run, ...] = ()

    def runs(self, closed: Container[str], *, sweep: bool) -> Iterator[Run]:
        return (run for run in self.known if run.id not in closed)

    def __reduce__(self) -> tuple[object, ...]:
        return with_known, (self._made_of, self.known)


def with_known(made_of: dict[str, Any], known: tuple[Run, ...]) -> Delivered:
    source = Delivered(**made_of)
    source.known = known
    return source


class TestContract(SourceContract):
    @pytest.fixture
    def source(self, tmp_path: Path) -> Iterator[Cordial]:
        with running() as box:
            two_days = export(start=f"{yesterday() - DAY:%Y-%m-%d}", records_per_file=15)
            source = configured(tmp_path, mounted(box, activities=two_days))
            runs = tuple(delivered(source, box, request) for request in requests(source))
            yield with_known(source._made_of, runs)


@pytest.fixture
def box() -> Iterator[Sandbox]:
    with running() as box:
        yield box


@pytest.fixture
def source(box: Sandbox, tmp_path: Path) -> Cordial:
    return configured(tmp_path, mounted(box))


def posts(box: Sandbox) -> int:
    return sum(call["method"] == "POST" and call["kind"] == "api" for call in box.log()["requests"])


# ---- what is due


def test_what_the_vendor_purges_soon_goes_before_the_rest(box: Sandbox, tmp_path: Path) -> None:
    source = configured(tmp_path, mounted(box, activities=export(start="2020-01-01")))
    starts = [one.start for one in requests(source, now=today() + timedelta(hours=1))]
    assert starts[2] == min(starts)
    assert starts[2:10] == sorted(starts[2:10])
    assert starts[10:] == sorted(starts[10:], reverse=True)


def test_each_closed_window_is_due_once_live_ones_first(box: Sandbox, tmp_path: Path) -> None:
    start = yesterday() - 9 * DAY
    source = configured(tmp_path, mounted(box, activities=export(start=f"{start:%Y-%m-%d}", delay="1h")))
    due = requests(source, now=today() + timedelta(minutes=59))
    assert len(due) == 9, "yesterday closed an hour ago at the earliest"
    due = requests(source, now=today() + timedelta(hours=1))
    backwards = [yesterday() - number * DAY for number in range(2, 10)]
    assert [one.start for one in due] == [yesterday() - DAY, yesterday(), *backwards]
    assert all(one.end - one.start == DAY for one in due)
    assert due[1].id == f"activities-{yesterday():%Y%m%dT%H%M%SZ}-{today():%Y%m%dT%H%M%SZ}"
    assert isinstance(source, MustAsk)


def test_nothing_older_than_the_vendor_keeps_is_due(box: Sandbox, tmp_path: Path) -> None:
    source = configured(tmp_path, mounted(box, activities=export(start="2019-05-01")))
    starts = sorted(one.start for one in requests(source, now=today()))
    assert timedelta(days=548) <= today() - starts[0] <= timedelta(days=549)
    assert len(starts) == len(set(starts)) == 548


def test_the_timeframe_asked_for_is_widened_by_the_overlap(box: Sandbox, tmp_path: Path) -> None:
    source = configured(tmp_path, mounted(box, activities=export(overlap="24h")))
    delivered(source, box)
    asked = box.api.bodies[0]
    assert asked["selected_timeframe_start"] == f"{yesterday() - DAY:%Y-%m-%d}T00:00:00.000Z"
    assert asked["selected_timeframe_end"] == f"{today():%Y-%m-%d}T00:00:00.000Z"


# ---- asking


def test_a_post_without_an_answer_is_looked_up_before_another(tmp_path: Path) -> None:
    with running(post_cuts=1) as box:
        source = configured(tmp_path, mounted(box))
        (request,) = requests(source)
        with pytest.raises(Unanswered) as told:
            source.submit(request)
        assert told.value.after
        run = polled(source, box, request, source.submit(request))
        assert posts(box) == 1
        assert len(contents(source, run, tmp_path / "landed")) == 1


@pytest.mark.parametrize(
    "knobs",
    [
        {"id_key": "_id", "page_cap": 2, "page_base": 0, "list_order": "new", "strangers": 5},
        {"id_key": "id", "page_cap": 2, "list_order": "old", "strangers": 5},
        {"id_key": "jobId", "page_cap": 2, "list_order": "random", "strangers": 3, "metadata": "fileName"},
        {"id_key": "oid", "no_iso_filter": True, "metadata": "key"},
    ],
    ids=str,
)
def test_after_a_stop_the_job_is_found_by_its_name(tmp_path: Path, knobs: dict[str, Any]) -> None:
    with running(**knobs) as box:
        first = configured(tmp_path, mounted(box))
        (request,) = requests(first)
        ticket = first.submit(request)  # and then the process dies: the ticket is not noted
        second = configured(tmp_path, mounted(box))
        assert second.submit(replace(request, asked_at=datetime.now(UTC) - timedelta(minutes=5))) == ticket
        assert posts(box) == 1
        assert polled(second, box, request, ticket).id == request.id


def test_the_list_of_jobs_is_walked_once_for_all_that_is_asked_for_the_first_time(box: Sandbox, tmp_path: Path) -> None:
    source = configured(tmp_path, mounted(box, activities=export(start=f"{yesterday() - 8 * DAY:%Y-%m-%d}")))
    for request in requests(source):
        source.submit(replace(request, asked_at=datetime.now(UTC)))
    lookups = [call for call in box.log()["requests"] if call["path"] == "/v2/jobs"]
    assert (posts(box), len(lookups)) == (9, 1)


def test_where_the_job_does_not_tell_its_name_a_second_export_doubles_nothing(tmp_path: Path) -> None:
    with running(metadata="none") as box:
        (request,) = requests(first := configured(tmp_path, mounted(box)))
        first.submit(request)
        box.api.jobs.settle()
        second = configured(tmp_path, mounted(box))
        run = delivered(second, box, request)
        assert posts(box) == 2
        (content,) = contents(second, run, tmp_path / "landed")
        assert len(gzip.decompress(content).splitlines()) == 40


def test_a_name_is_never_used_twice(box: Sandbox, source: Cordial) -> None:
    (request,) = requests(source)
    source.submit(request)
    source.submit(replace(request, attempt=2))
    names = [asked["name"] for asked in box.api.bodies]
    assert len(set(names)) == 2
    assert [name.split("-")[4] for name in names] == ["1", "2"], "the attempt"
    assert all(set(name) <= set("abcdefghijklmnopqrstuvwxyzTZ0123456789-") for name in names)
    assert {asked["destination"]["path"] for asked in box.api.bodies} == {f"/in/{name}" for name in names}


def test_a_changed_export_adopts_nothing_of_the_old_one(box: Sandbox, source: Cordial, tmp_path: Path) -> None:
    (request,) = requests(source)
    source.submit(request)
    configured(tmp_path, mounted(box, activities=export(actions=["open", "click"]))).submit(request)
    assert posts(box) == 2


def test_every_parameter_reaches_the_vendor(box: Sandbox, tmp_path: Path) -> None:
    chosen = export(
        name="ours",
        action="bounce",
        message_type="batch",
        message_id="45:1:d1",
        channel="sms",
        send_type="mms",
        show_all_properties=True,
        contact="a@example.com",
        columns=["_id", {"name": "bmID", "label": "msID"}],
        contact_fields=["first_name"],
        format="txt",
        delimiter="|",
        show_header=True,
        compress=False,
        records_per_file=7,
        confirm_email="ops@example.com",
    )
    source = configured(tmp_path, mounted(box, activities=chosen))
    source.submit(requests(source)[0])
    asked = dict(box.api.bodies[0])
    assert asked.pop("name").startswith(f"ours-{yesterday():%Y%m%d}T0000-")
    assert asked.pop("destination")["type"] == "sftp"
    assert asked == {
        "exportType": "txt",
        "delimiter": "|",
        "showHeader": True,
        "compress": False,
        "limitRecordsPerFile": 7,
        "confirmEmail": "ops@example.com",
        "columnHeaders": [{"name": "_id", "label": "_id"}, {"name": "bmID", "label": "msID"}],
        "contactFields": ["first_name"],
        "selected_action_name": "bounce",
        "selected_message_type": "batch",
        "selected_message_id": "45:1:d1",
        "selected_channel": "sms",
        "sendType": "mms",
        "showAllProperties": True,
        "selected_contact": "a@example.com",
        "selected_timeframe_start": f"{yesterday():%Y-%m-%d}T00:00:00.000Z",
        "selected_timeframe_end": f"{yesterday():%Y-%m-%d}T23:59:59.999Z",
    }


# ---- waiting


@pytest.mark.parametrize("states", ["Scheduled,Pending,Throttled,Processing", "Pondering"])
def test_a_job_in_any_other_state_is_waited_for(tmp_path: Path, states: str) -> None:
    with running(states=states, job_takes=0.3) as box:
        source = configured(tmp_path, mounted(box))
        (request,) = requests(source)
        ticket = source.submit(request)
        assert source.poll(request, ticket) is None
        assert polled(source, box, request, ticket).id == request.id


def test_a_job_that_never_ends_is_given_up_in_the_end(tmp_path: Path) -> None:
    with running(states="Pondering", job_takes=60) as box:
        source = configured(tmp_path, mounted(box))
        request = replace(requests(source)[0], asked_at=datetime.now(UTC) - timedelta(hours=25))
        ticket = source.submit(request)
        with pytest.raises(StartOver, match=r"still '(scheduled|pondering)' after 24 hours"):
            source.poll(request, ticket)


@pytest.mark.parametrize("silent_failure", [False, True])
def test_a_failed_job_is_asked_for_anew_and_told_whole(tmp_path: Path, silent_failure: bool) -> None:
    with running(job_fails=1, silent_failure=silent_failure) as box:
        source = configured(tmp_path, mounted(box))
        (request,) = requests(source)
        with pytest.raises(StartOver, match="Failed") as told:
            delivered(source, box, request)
        assert ("broke off" in str(told.value)) is not silent_failure
        assert "account monitor" in told.value.hint
        run = delivered(source, box, replace(request, attempt=2))
        assert run.id == request.id
        assert len({asked["name"] for asked in box.api.bodies}) == 2


@pytest.mark.parametrize(
    "knobs",
    [
        {"early": True, "job_takes": 0.3},
        {"late": 0.06},
        {"late_chunks": 0.01, "early": True},
        {"foreign": True},
        {"naming": "stamp"},
        {"naming": "number"},
        {"naming": "part"},
        {"naming": "segment"},
    ],
    ids=str,
)
def test_what_lies_there_is_whole_whatever_the_way_it_came(tmp_path: Path, knobs: dict[str, Any]) -> None:
    with running(**knobs) as box:
        size = 40 if knobs.get("naming") == "segment" else 15
        source = configured(tmp_path, mounted(box, activities=export(records_per_file=size, compress=False)))
        run = delivered(source, box)
        lines = b"".join(contents(source, run, tmp_path / "landed")).splitlines()
        assert sorted(orjson.loads(line)["_id"] for line in lines) == sorted(
            event["_id"] for event in box.events(yesterday(), today())
        )


@pytest.mark.parametrize("empty_as", ["none", "file", "header"])
@pytest.mark.parametrize("format", ["json", "csv"])
@pytest.mark.parametrize("amounts", ["zero", "absent"])
def test_an_export_without_rows_is_finished(tmp_path: Path, empty_as: str, format: str, amounts: str) -> None:
    with running(rows=0, empty_as=empty_as, amounts=amounts) as box:
        source = configured(tmp_path, mounted(box, activities=export(format=format)))
        run = delivered(source, box)
        assert len(contents(source, run, tmp_path / "landed")) == (0 if empty_as == "none" else 1)


def test_a_job_that_tells_of_rows_and_brings_none_is_never_believed(tmp_path: Path) -> None:
    with running(rows=0, amounts="more") as box:
        source = configured(tmp_path, mounted(box))
        (request,) = requests(source)
        for attempt in (1, 2, 3):
            with pytest.raises(StartOver, match="tells of 7 records, but the zone has no file") as told:
                delivered(source, box, replace(request, attempt=attempt))
            assert "zone and deliver" in told.value.hint


def test_a_forgotten_job_is_taken_by_what_it_left(tmp_path: Path) -> None:
    with running(forgotten=True) as box:
        source = configured(tmp_path, mounted(box))
        (request,) = requests(source)
        ticket = source.submit(request)
        box.api.jobs.settle()
        assert len(source.parts(polled(source, box, request, ticket))) == 1


def test_a_forgotten_job_that_left_nothing_is_asked_for_anew(tmp_path: Path) -> None:
    with running(forgotten=True, rows=0) as box:
        source = configured(tmp_path, mounted(box))
        (request,) = requests(source)
        ticket = source.submit(request)
        box.api.jobs.settle()
        with pytest.raises(StartOver, match="forgotten"):
            polled(source, box, request, ticket)


def test_files_that_went_away_set_the_run_aside(box: Sandbox, source: Cordial) -> None:
    run = delivered(source, box)
    assert box.zone
    for file in (box.zone.root / "in").rglob("*.gz"):
        file.unlink()
    with pytest.raises(BadRun, match="1 files were delivered, but the zone has 0") as told:
        source.parts(run)
    assert "syncd retry mail/" in told.value.hint


def test_a_full_disk_of_ours_is_no_trouble_of_the_zone(box: Sandbox, source: Cordial) -> None:
    (part,) = source.parts(delivered(source, box))
    with pytest.raises(OSError, match="No space"), source.open(part) as body:
        next(iter(body))
        raise OSError(errno.ENOSPC, "No space left on device")


# ---- by hand


def test_files_that_stay_in_the_ui_are_handed_over_by_a_person(box: Sandbox, tmp_path: Path) -> None:
    by_hand = {key: value for key, value in mounted(box).items() if key != "deliver"} | {"zone": "aws"}
    source = configured(tmp_path, by_hand)
    (request,) = requests(source)
    ticket = source.submit(request)
    box.api.jobs.settle()
    with pytest.raises(HandOver) as told:
        source.poll(request, ticket)
    assert f"syncd ingest mail {request.id} FILE" in told.value.hint
    assert box.api.bodies[0]["destination"] == {"type": "aws"}


# ---- refusals


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_names_addresses_and_permissions(tmp_path: Path, status: int) -> None:
    with running(wrong_key=str(status)) as box:
        source = configured(tmp_path, mounted(box) | {"api_key": "wrong"})
        with pytest.raises(ConfigError) as told:
            source.jobs()
        assert f"HTTP {status}: Access Denied: Authentication Failure" in str(told.value)
        assert "sources.mail.api_key" in told.value.hint and "address" in told.value.hint


def test_what_is_wrong_with_the_key_and_with_the_zone_is_told_together(box: Sandbox, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as told:
        configured(tmp_path, section(box) | {"api_key": "wrong", "zone_password": "wrong"}).jobs()
    assert "HTTP 401" in str(told.value) and "the zone sftp://127.0.0.1" in str(told.value)
    assert "api_key" in told.value.hint and "zone_ keys" in told.value.hint


def test_a_key_that_is_encoded_already_is_told(box: Sandbox, tmp_path: Path) -> None:
    encoded = base64.b64encode(f"{box.api.key}:".encode()).decode()
    with pytest.raises(ConfigError) as told:
        configured(tmp_path, mounted(box) | {"api_key": encoded}).jobs()
    assert "looks encoded already" in told.value.hint


@pytest.mark.parametrize("status", [400, 403, 404, 406, 415, 422])
def test_an_export_that_is_refused_is_told_and_its_other_windows_wait(tmp_path: Path, status: int) -> None:
    with running(post_fails=1, post_status=status) as box:
        wanted = {"activities": export(start=f"{yesterday() - DAY:%Y-%m-%d}"), "others": export(action="open")}
        source = configured(tmp_path, mounted(box, **wanted))
        first = next(one for one in requests(source) if one.job == "activities")
        with pytest.raises(Refused, match=f"HTTP {status}: The service is out of sorts") as told:
            source.submit(first)
        assert "[sources.mail.exports.activities]" in told.value.hint
        assert f"syncd retry {first.name}" in told.value.hint
        assert ("api_key" in told.value.hint) is (status in (403, 404))
        assert box.zone
        assert [*(box.zone.root / "in").iterdir()] == [], "the folder of a POST that was not taken"
        assert [one.job for one in requests(source)] == ["others"]
        source.submit(replace(first, attempt=2))
        assert len(requests(source)) == 3


def test_a_filter_that_is_refused_is_dropped(box: Sandbox, tmp_path: Path) -> None:
    asked: list[dict[str, str]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            return httpx.Response(200, json={"jobId": "7"})
        asked.append(dict(request.url.params))
        return httpx.Response(200, json=[]) if request.url.params.keys() == {"per_page"} else httpx.Response(400)

    request = ExportRequest("mail", "x", "activities", "jsonl", yesterday(), today(), "activities")
    assert faked(answer).submit(request) == "7"
    assert len(asked) == 3
    with pytest.raises(TryAgain, match="HTTP 422"):
        faked(lambda request: httpx.Response(422)).submit(request)


def test_secrets_are_cut_out_of_json_too() -> None:
    source = faked(lambda request: httpx.Response(403, json={"message": 'no: k"3y'}), key='k"3y')
    with pytest.raises(ConfigError) as told:
        source.jobs()
    assert "3y" not in str(told.value) + source.api.clean(orjson.dumps({"x": 'k"3y'}).decode())


def test_no_two_exports_share_a_prefix(box: Sandbox, tmp_path: Path) -> None:
    made = [
        (source, CordialExport(start=today()).export(source, name))
        for source, name in (("mail_a", "b"), ("mail", "a_b"))
    ]
    assert len({export.prefix for _, export in made}) == 2


def test_a_job_for_another_zone_is_not_adopted(box: Sandbox, source: Cordial, tmp_path: Path) -> None:
    (request,) = requests(source)
    source.submit(request)
    elsewhere = mounted(box)
    elsewhere["deliver"] |= {"path": "/in/staging"}
    configured(tmp_path, elsewhere).submit(request)
    assert posts(box) == 2


@pytest.mark.parametrize(
    ("knobs", "after"),
    [({"retry_after": 7}, 7), ({"rate_reset": 9}, 9), ({"retry_after": 3, "rate_reset": 9}, 3), ({}, None)],
    ids=str,
)
def test_the_rate_limit_is_obeyed(tmp_path: Path, knobs: dict[str, Any], after: float | None) -> None:
    with running(get_fails=1, get_status=429, **knobs) as box:
        source = configured(tmp_path, mounted(box))
        with pytest.raises(TryAgain) as told:
            source.jobs()
        assert told.value.after == after
        source.jobs()


@pytest.mark.parametrize("status", [500, 503])
def test_trouble_of_the_vendor_is_waited_for(tmp_path: Path, status: int) -> None:
    with running(post_fails=1, post_status=status, retry_after=11) as box:
        source = configured(tmp_path, mounted(box))
        (request,) = requests(source)
        with pytest.raises(TryAgain) as told:
            source.submit(request)
        assert told.value.after == 11
        assert polled(source, box, request, source.submit(request)).id == request.id


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        ({"error": "text"}, "text"),
        ({"error": True, "errorKey": "E", "message": "m"}, "E m"),
        ({"messages": ["one", "two"]}, '["one","two"]'),
        ({"fieldErrors": {"name": ["bad"]}}, '{"name":["bad"]}'),
        ({"validationErrors": "v", "errors": "e"}, "v e"),
        ("<html>", ""),
    ],
)
def test_errors_are_read_in_every_form(body: Any, shown: str) -> None:
    source = faked(
        lambda request: httpx.Response(
            *((406,) if request.method == "POST" else (200,)), json=body if request.method == "POST" else []
        )
    )
    with pytest.raises(Refused) as told:
        source.submit(ExportRequest("mail", "x", "activities", "jsonl", yesterday(), today(), "activities"))
    assert str(told.value) == "contactactivityexport answers HTTP 406" + (f": {shown}" if shown else "")


def faked(answer: Any, key: str = "k3y") -> Cordial:
    """A source whose vendor is a function."""
    from syncd.sources.cordial.exports import Export
    from syncd.sources.cordial.zone import Zone

    one = Export("activities", "contactactivityexport", yesterday(), DAY, DAY * 0, DAY * 0, "json", "ours")
    return Cordial("mail", key, Zone(url="aws"), [one], transport=httpx.MockTransport(answer))


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (httpx.Response(404, json={}), ConfigError),
        (httpx.Response(302, headers={"Location": "https://elsewhere.example"}), TryAgain),
        (httpx.Response(200, content=b"<html>"), TryAgain),
        (httpx.Response(200, json=[]), None),
    ],
)
def test_an_address_that_is_not_the_api_is_told(answer: httpx.Response, kind: type[SyncdError] | None) -> None:
    source = faked(lambda request: answer)
    if kind is None:
        source.jobs()
        return
    with pytest.raises(kind) as told:
        source.jobs()
    assert "base_url" in told.value.hint


# ---- clearing the zone


def test_only_folders_of_loaded_runs_are_cleared_and_only_when_asked(box: Sandbox, tmp_path: Path) -> None:
    assert box.zone
    inside = box.zone.root / "in"
    two_days = export(start=f"{yesterday() - DAY:%Y-%m-%d}")
    source = configured(tmp_path, mounted(box, activities=two_days) | {"clear_zone": True})
    one, other = (delivered(source, box, request) for request in requests(source))
    (inside / "syncd-mail-activities-notes.txt").write_text("somebody else's")
    before = sorted(inside.iterdir())
    future = datetime.now(UTC) + timedelta(minutes=1)
    configured(tmp_path, mounted(box, activities=two_days)).clear({one.id}, future)
    source.clear({one.id}, datetime.now(UTC) - DAY)
    source.clear((), future)
    assert sorted(inside.iterdir()) == before
    source.clear({one.id}, future)
    assert sorted(path.name for path in inside.iterdir()) == sorted(
        [other.ref.partition("/")[0], "syncd-mail-activities-notes.txt"]
    )
    assert len(source.parts(other)) == 1
