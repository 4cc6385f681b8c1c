"""Raw data makes the vendor send mail: asked for once, whatever becomes of the answer; told when nobody brings it."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from syncd.errors import BadRun, ConfigError, HandOver, LinkExpired, StartOver, TryAgain
from syncd.model import NEVER, ExportRequest
from syncd.sandbox.convert import Sandbox
from syncd.sources.convert.listing import Experience
from syncd.sources.convert.raw import LINK, UNKNOWN, requests
from syncd.sources.convert.source import Convert
from tests.convert_vendor import Clock, landed, reader, rows, running

DAY = timedelta(days=1)


def asking(vendor: Sandbox, clock: Clock, **more: object) -> tuple[Convert, list[ExportRequest]]:
    """A source that asks for raw data, and what is due of it, noted now."""
    source = reader(vendor, "raw_data", clock=clock, **more)
    source.jobs()
    noted = [
        ExportRequest(one.source, one.id, one.scope, one.format, one.start, one.end, one.job, one.ref, 1, clock.now)
        for one in source.due(clock.now)
    ]
    return source, noted


def test_it_is_off_unless_it_is_turned_on() -> None:
    with running() as vendor:
        source = reader(vendor)
        source.jobs()
        assert list(source.due(datetime.now(UTC))) == []


def test_each_experience_is_asked_for_whole_once_an_interval_and_once_when_it_has_ended() -> None:
    def begun(number: int, status: str, started: int, ended: int = 0) -> Experience:
        return Experience(2001, number, status, "a/b", started, ended, (7,), "")

    start = int(datetime(2026, 3, 1, 5, tzinfo=UTC).timestamp())
    known = [
        begun(1, "active", start), begun(2, "completed", start, start + 3600), begun(3, "draft", 0),
        begun(4, "archived", start, start + 9), begun(5, "active", start + 40 * 86400),
    ]  # fmt: skip
    noon = datetime(2026, 3, 10, 12, tzinfo=UTC)
    ids = [one.id for one in requests("ab", known, DAY, noon)]
    assert ids == ["raw_data-1-20260310T000000Z", "raw_data-2-20260302T000000Z"]
    assert [one.id for one in requests("ab", known, DAY, noon + timedelta(hours=12))] == ids, "an hour to settle"
    tomorrow = list(requests("ab", known, DAY, noon + DAY))
    assert [one.id for one in tomorrow] == ["raw_data-1-20260311T000000Z", ids[1]]
    first = next(iter(requests("ab", known, DAY, noon)))
    assert (first.job, first.start, first.end) == (tomorrow[0].job, tomorrow[0].start, tomorrow[0].end), "supersedes"


def test_a_job_id_waits_for_its_mail_and_is_not_asked_for_again() -> None:
    clock = Clock()
    with running(experiences=1) as vendor:
        source, (first, *_) = asking(vendor, clock)
        ticket = source.submit(first)
        assert source.submit(first) == ticket == "job-1"
        with pytest.raises(HandOver, match="job-1") as waits:
            source.poll(first, ticket)
        assert f"syncd ingest ab {first.id} URL" in waits.value.hint and "syncd retry" in waits.value.hint
        assert len(vendor.log()["asked"]) == 1
        asked = vendor.log()["asked"][0]
        assert asked["events"] == ["view_experience", "conversion", "transaction"] and asked["utc_offset"] == 0


@pytest.mark.parametrize("raw", ["download_url", "string"])
@pytest.mark.parametrize("packing", ["plain", "gzip", "zip"])
@pytest.mark.parametrize("raw_form", ["csv", "jsonl"])
def test_a_link_is_fetched_at_once(raw: str, packing: str, raw_form: str) -> None:
    with running(experiences=1, raw=raw, packing=packing, raw_form=raw_form) as vendor:
        source, (first, *_) = asking(vendor, Clock())
        ticket = source.submit(first)
        assert ticket == LINK, "the link itself is as good as a secret"
        run = source.poll(first, ticket)
        assert run is not None and run.format == "jsonl"
        found = rows(source, run)
        assert len(found) == 40 and found[2]["revenue"] == "2.50" and found[1]["revenue"] == ""
        assert len(vendor.log()["asked"]) == 1
        assert "signature" not in repr(source.parts(run)) + repr(run)


def test_a_dead_link_is_asked_for_anew_by_who_knows_that_links_come() -> None:
    with running(experiences=1, raw="download_url") as vendor:
        source, (first, *_) = asking(vendor, Clock())
        run = source.poll(first, source.submit(first))
        assert run is not None
        (part,) = source.parts(run)
        vendor.expire_links()
        with pytest.raises(LinkExpired), source.open(part) as body:
            list(body)
        assert len(rows(source, run)) == 40
        vendor.set_trouble(raw="job")
        vendor.expire_links()
        with pytest.raises(BadRun, match="no other one at once"):
            landed(source, run), landed(source, run)


def test_a_link_that_was_lost_with_the_process_is_asked_for_as_a_new_attempt() -> None:
    with running(experiences=1, raw="download_url") as vendor:
        source, (first, *_) = asking(vendor, Clock())
        ticket = source.submit(first)
        with pytest.raises(StartOver):
            pickle.loads(pickle.dumps(source)).poll(first, ticket)


@pytest.mark.parametrize(("raw", "told"), [("empty", r'{"data":{}}'), ("odd", "queued")])
def test_any_other_answer_is_told_word_for_word(raw: str, told: str) -> None:
    with running(experiences=1, raw=raw) as vendor:
        source, (first, *_) = asking(vendor, Clock())
        with pytest.raises(BadRun, match=told) as refused:
            source.submit(first)
        assert f"syncd ingest ab {first.id} URL" in refused.value.hint


def test_what_another_process_may_have_asked_for_is_not_asked_for_again() -> None:
    clock = Clock()
    with running(experiences=1) as vendor:
        _, (first, *_) = asking(vendor, clock)
        clock.go_on(seconds=5)
        later, _ = asking(vendor, clock)
        assert later.submit(first) == UNKNOWN
        with pytest.raises(HandOver, match="may or may not"):
            later.poll(first, UNKNOWN)
        assert vendor.log()["asked"] == []
        second = ExportRequest(
            **{name: getattr(first, name) for name in ExportRequest.__slots__} | {"attempt": 2, "asked_at": clock.now}
        )
        assert later.submit(second) == "job-1", "who retries knows what he does"


def test_an_answer_that_never_came_is_not_asked_for_again() -> None:
    with running(experiences=1, raw="late") as vendor:
        source, (first, *_) = asking(vendor, Clock(), timeout=httpx.Timeout(0.5))
        ticket = source.submit(first)
        assert ticket == source.submit(first) and ticket.startswith(UNKNOWN) and "no answer in time" in ticket
    assert len(vendor.log()["asked"]) == 1


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (500, b'{"code":500,"message":"boom, ask ann@example.com"}', "boom, ask sha256:"),
        (502, b"<html><title>502</title><h1>Bad Gateway</h1></html>", "502 Bad Gateway"),
        (200, b"Your export was queued as no 17", "queued as no 17"),
        (200, b"", "no API answer"),
        (302, b"", "HTTP 302"),
    ],
)
def test_an_answer_that_leaves_a_doubt_is_kept_in_the_vendors_words(status: int, body: bytes, words: str) -> None:
    with running(experiences=1) as vendor:
        source, (first, *_) = asking(vendor, Clock())
        answers = httpx.MockTransport(lambda _: httpx.Response(status, content=body))
        ticket = reader(vendor, "raw_data", transport=answers).submit(
            ExportRequest(**{name: getattr(first, name) for name in ExportRequest.__slots__} | {"asked_at": NEVER})
        )
        assert ticket.startswith(UNKNOWN) and words in ticket and "ann@" not in ticket
        with pytest.raises(HandOver, match="may or may not") as waits:
            pickle.loads(pickle.dumps(source)).poll(first, ticket)
        assert words in str(waits.value), "another process tells them too"


def test_a_bare_link_that_is_no_json_is_a_link() -> None:
    with running(experiences=1) as vendor:
        _, (first, *_) = asking(vendor, Clock())
        text = httpx.MockTransport(lambda _: httpx.Response(201, text="https://files.test/a.csv?sig=1\n"))
        late = ExportRequest(**{name: getattr(first, name) for name in ExportRequest.__slots__} | {"asked_at": NEVER})
        assert reader(vendor, "raw_data", transport=text).submit(late) == LINK


def test_a_refused_signature_is_a_clear_no_as_well() -> None:
    with running(experiences=1) as vendor:
        source, (first, *_) = asking(vendor, Clock())
        vendor.set_trouble(skew=3600.0)
        with pytest.raises(ConfigError):
            source.submit(first)
        vendor.set_trouble(skew=0.0)
        assert source.submit(first) == "job-1"


@pytest.mark.parametrize("packing", ["gzip", "zip"])
def test_a_file_that_is_damaged_at_the_vendor_needs_a_person_and_then_another_link(packing: str) -> None:
    with running(experiences=1, raw="download_url", packing=packing, link_damaged=1) as vendor:
        source, (first, *_) = asking(vendor, Clock())
        run = source.poll(first, source.submit(first))
        assert run is not None
        with pytest.raises(BadRun, match=r"damaged .*, though all of it came"):
            landed(source, run)
        assert len(vendor.api.asked) == 1
        assert len(rows(source, run)) == 40 and len(vendor.api.asked) == 2


@pytest.mark.parametrize("how", ["429", "500-busy", "422", "403"])
def test_a_clear_no_may_be_asked_again(how: str) -> None:
    with running(experiences=1) as vendor:
        source, (first, *_) = asking(vendor, Clock())
        vendor.set_trouble(refuse_every=1, refuse_with=how)
        with pytest.raises(TryAgain if how in ("429", "500-busy") else BadRun):
            source.submit(first)
        vendor.set_trouble(refuse_every=0)
        assert source.submit(first) == "job-1"
