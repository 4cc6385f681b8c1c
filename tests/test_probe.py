"""`syncd probe` measures: each unknown has another answer when the vendor in a box is turned otherwise."""

from __future__ import annotations

import json  # noqa: TID251  # the report as its reader takes it
from pathlib import Path
from typing import Any

import pytest

from syncd.model import SettlesUnknowns
from syncd.sandbox.contentsquare import Sandbox
from syncd.sources.contentsquare.source import Contentsquare
from tests.home import Home
from tests.plain_vendor import Vendor, serving
from tests.probe_page import unsaid
from tests.sandbox_fixture import running

PLANTED = "planted-9f2c"
JSONL, CSV = " (sessions, jsonl)", " (sessions, csv)"
CALM: dict[str, Any] = dict(scope="sessions", format="jsonl", frequency="daily", jobs=2, days=3, rows=40, parts=1)


def found(vendor: Sandbox, *, provoke: bool = False) -> dict[str, str]:
    """Each unknown with its answer."""
    section = {key: value for key, value in vendor.settings().items() if key != "kind"}
    source = Contentsquare("acme", **section)
    assert isinstance(source, SettlesUnknowns)
    return {one.unknown: one.answer for one in source.probe(provoke=provoke)}


@pytest.fixture(scope="module")
def calm() -> dict[str, str]:
    """What a vendor without any trouble settles."""
    with running(**CALM) as vendor:
        return found(vendor)


TURNED: list[tuple[dict[str, Any], str, str, str]] = [
    # the knobs, the unknown, its answer in peace, its answer when they are turned
    ({"token_life": 900.0}, "token life", "3600 s", "900 s"),
    ({"no_expires_in": True}, "token life", "3600 s", "not told"),
    ({"endpoint": "slash"}, "base URL", "without a slash", "with a slash"),
    ({"endpoint": "absent"}, "base URL", "without a slash", "not told"),
    ({"page_base": 0}, "page base", "1", "0"),
    ({"page_zero": "400"}, "page 0", "the first page again", "an error"),
    ({"past_end": "404"}, "a page past the end", "an empty page", "an error (HTTP 404)"),
    ({"past_end": "400"}, "a page past the end", "an empty page", "an error (HTTP 400)"),
    ({"past_end": "last"}, "a page past the end", "an empty page", "a page with rows"),
    ({"page_cap": 4}, "rows on a page", "", "4"),
    ({"reshuffle": True, "days": 9}, "order of finished runs", "the same twice", "changes"),
    ({"legacy_formats": True}, "format words", "JSONL", "JSONEachRow"),
    ({"frequency_object": True}, "frequency comes as", "text", "object"),
    ({"null_dates": True}, "dates of a job", "text", "null"),
    ({"completion_rate": 1}, "completionRate of a finished run", "100", "1"),
    ({"wrong_count": True}, "files of a run" + JSONL, "as many", "another number"),
    ({"period_end": "inclusive"}, "a period ends", "where the next begins", "just before the next begins"),
    ({"frequency": "hourly"}, "hourly periods last", "", "1 h"),
    ({"failed_runs": 1}, "run states", "SUCCESS", "SUCCESS, FAILURE"),
    ({"failed_runs": 1}, "the filter by state", "obeyed", "obeyed"),
    ({"restated_runs": 1}, "periods delivered again", "0", "2"),
    ({"empty_runs": 1}, "runs without files", "0", "2"),
    ({"empty_runs": 1}, "an empty run's files", "absent", "0 files"),
    ({"expired_runs": 1}, "a run whose files are gone", "absent", "answers HTTP 403"),
    ({"expired_runs": 1}, "runs older than 7 days are listed", "", "yes"),
    ({"link_fixed": True}, "a link read again" + JSONL, "is another", "is the same"),
    ({"link_life": 86400.0}, "expirationDate lies behind completionTime by" + JSONL, "7.0 days", "1."),
    ({"link_life": 60.0, "link_life_hidden": True}, "expirationDate tells the end of" + JSONL, "the link", "the file"),
    ({"file_size": "unpacked"}, "fileSize counts" + JSONL, "packed bytes", "plain bytes"),
    ({"file_size": "wrong"}, "fileSize counts" + JSONL, "packed bytes", "neither"),
    ({"file_size": "absent"}, "fileSize counts" + JSONL, "packed bytes", "absent"),
    ({"etag": "weak"}, "ETag" + JSONL, "strong", "weak"),
    ({"etag": "absent"}, "ETag" + JSONL, "strong", "none"),
    ({"etag": "changing"}, "ETag" + JSONL, "strong", "another at each request"),
    ({"no_range": True}, "a range of bytes" + JSONL, "given", "ignored"),
    ({"chunked": True}, "Content-Length" + JSONL, "told", "not told"),
    ({"body": "plain"}, "compression" + JSONL, "gzip, one member", "not packed"),
    ({"body": "encoded"}, "compression" + JSONL, "gzip, one member", "Content-Encoding: gzip"),
    ({"body": "rubbish"}, "compression" + JSONL, "gzip, one member", "then something else"),
    ({"members": 3}, "compression" + JSONL, "gzip, one member", "3 members"),
    ({"no_final_newline": True}, "the last line" + JSONL, "ends with a newline", "has no newline"),
    ({"broken_lines": 1}, "lines" + JSONL, "objects", "lines that are none"),
    ({"blank_lines": 2}, "blank lines" + JSONL, "none", "some"),
    ({"bare": True}, "64-bit integers" + JSONL, "quoted", "bare"),
    ({"nested": True}, "grouped columns" + JSONL, "dotted keys", "nested objects"),
    ({"absent_nulls": True}, "missing values" + JSONL, "null", "absent key"),
    ({"booleans": True}, "flags" + JSONL, "0 and 1", "true and false"),
    ({"times": "minutes"}, "times" + JSONL, "2026-01-05 12:05:28", "2026-01-05 12:05"),
    ({"times": "iso"}, "times" + JSONL, "2026-01-05 12:05:28", "2026-01-05T12:05:28Z"),
    ({"plain_slashes": True}, "slashes" + JSONL, "escaped", "as they are"),
    ({"unknown_fields": 3}, "columns that nobody declared" + JSONL, "7", "10"),
    ({"format": "csv"}, "header" + CSV, "absent", "yes"),
    ({"format": "csv", "no_header": True}, "header" + CSV, "absent", "no"),
    ({"format": "csv"}, "arrays in CSV" + CSV, "absent", "single-quoted items"),
    ({"refuse_every": 3, "refuse_times": 1, "retry_after": 0.0}, "refusals seen", "none", "Retry-After in seconds"),
    ({"refuse_every": 3, "refuse_times": 1, "refuse_with": "400"}, "refusals seen", "none", "without Retry-After"),
]


@pytest.mark.parametrize(("knobs", "unknown", "before", "after"), TURNED)
def test_each_knob_is_seen(calm: dict[str, str], knobs: dict[str, Any], unknown: str, before: str, after: str) -> None:
    assert before in calm.get(unknown, "absent")
    with running(**CALM | knobs) as vendor:
        answer = found(vendor)[unknown]
    assert after in answer
    assert answer != calm.get(unknown) or before == after


@pytest.mark.parametrize(("secret", "answer"), [("401", "HTTP 401"), ("500", "HTTP 500")])
def test_what_a_vendor_says_no_to_is_asked_only_on_wish(secret: str, answer: str) -> None:
    with running(**CALM, concurrency_limit=4, latency=0.2, wrong_secret=secret) as vendor:
        calm = found(vendor)
        assert "a wrong secret" not in calm
        assert vendor.log()["max_in_flight"]["api"] <= 3
        provoked = found(vendor, provoke=True)
    assert provoked["a wrong secret"] == answer
    assert "HTTP 429 CONCURRENCY_LIMIT" in provoked["12 requests at once"]


def test_a_token_that_ends_in_the_middle_ends_nothing(calm: dict[str, str]) -> None:
    with running(**CALM, jwt_expired_every=3) as vendor:
        assert found(vendor).keys() == calm.keys()


def test_the_probe_writes_nothing_anywhere(tmp_path: Path) -> None:
    with running(**CALM) as vendor:
        home = Home(tmp_path, {"acme": vendor.settings()})
        probed = home.run("probe", "acme")
        assert probed.returncode == 0, probed.stderr
        assert not home.data_dir.exists()
        assert {call["path"] for call in vendor.log()["requests"] if call["method"] != "GET"} == {"/v1/oauth/token"}


def test_the_report_names_nobody(tmp_path: Path) -> None:
    """Whatever a customer may have put anywhere is planted there."""
    vendor = Vendor()
    job = {
        "jobId": f"{PLANTED}-job", "name": f"{PLANTED} name", "state": f"{PLANTED}1", "format": "JSONL",
        "scope": f"{PLANTED} scope", "frequency": f"{PLANTED}2", "filters": {f"{PLANTED}3 key": f"{PLANTED} filter"},
        "fields": [{"fieldName": "custom_var", "aliasName": f"{PLANTED} alias", f"{PLANTED}4": f"{PLANTED}"}],
        f"{PLANTED}5": f"{PLANTED} value",
    }  # fmt: skip
    line = json.dumps({"session_id": "7", f"{PLANTED} column": f"{PLANTED} cell", "city": f"{PLANTED} city"})

    def answer(path: str) -> tuple[int, bytes]:
        match path.strip("/").split("/")[1:]:
            case ["oauth", "token"]:
                token = {"access_token": f"{PLANTED}-token", "endpoint": vendor.url, f"{PLANTED}6": PLANTED}
                return 200, json.dumps(token).encode()
            case ["exports"]:
                return 200, json.dumps({"payload": [job, job], "success": True}).encode()
            case ["exports", "successful-runs"]:
                run = {"jobId": job["jobId"], "jobRunId": f"{PLANTED}-run", "name": f"{PLANTED} run", "nbOfFiles": 1}
                run |= {"from": "2026-01-05T00:00:00Z", "to": "2026-01-06T00:00:00Z", "format": "JSONL"}
                return 200, json.dumps({"payload": [run], "success": True}).encode()
            case ["exports", _, "runs", _]:
                link = f"{vendor.url}/{PLANTED}-bucket/{PLANTED}?signature={PLANTED}&{PLANTED}7=1"
                file = {"partId": f"{PLANTED}-part", "url": link, "fileSize": 1}
                return 200, json.dumps({"payload": {"files": [file]}, "success": True}).encode()
            case _ if "bucket" in path:
                return 200, line.encode()
        said = {"success": False, "errorMessage": f"{PLANTED} said", "errorCode": f"{PLANTED}8"}
        return 403, json.dumps(said).encode()

    vendor.answer = answer  # type: ignore[method-assign]  # every answer is bent at once
    with serving(vendor):
        section = vendor.settings() | {"client_id": f"{PLANTED}-id", "client_secret": f"{PLANTED}-secret"}
        home = Home(tmp_path, {"acme": section})
        for more in ([], ["--json"], ["--provoke"]):
            told = home.run("probe", "acme", *more)
            assert told.returncode == 0, told.stderr
            assert "64-bit integers" in told.stdout
            assert PLANTED not in told.stdout + told.stderr


def test_what_can_not_be_probed_is_told(tmp_path: Path) -> None:
    with running(**CALM) as vendor:
        home = Home(tmp_path, {"acme": vendor.settings() | {"client_secret": "wrong"}})
        assert home.run("probe", "acme").returncode == 2
        unknown = home.run("probe", "other")
    assert (unknown.returncode, "sources: acme" in unknown.stderr) == (2, True)


def test_nothing_but_the_answer_is_on_stdout(tmp_path: Path) -> None:
    with running(**CALM | {"jobs": 1}) as vendor:
        home = Home(tmp_path, {"acme": vendor.settings()})
        assert home.run("check").stdout == f"ok: acme answers; data in {home.data_dir}\n"
        assert "request_ended" not in home.run("once", "--dry-run").stdout


def test_the_report_is_json_for_machines(tmp_path: Path) -> None:
    with running(**CALM) as vendor:
        told = Home(tmp_path, {"acme": vendor.settings()}).json("probe", "acme")
    assert told["kind"] == "contentsquare"
    answers = {one["unknown"]: one for one in told["findings"]}
    assert answers["page base"]["answer"] == "1"
    assert answers["hourly periods last"]["answer"] is None, "not settled here"


def test_each_line_that_the_page_names_is_said() -> None:
    with running(**CALM, empty_runs=1, expired_runs=1) as vendor:
        assert unsaid("contentsquare", found(vendor, provoke=True)) == []
