"""What is sent to Convert: signed as documented, reads alone, one at a time, no faster than the vendor bears."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from syncd.errors import ConfigError, TryAgain
from syncd.sources.convert.api import Api, Refused
from syncd.sources.convert.pace import Pace
from syncd.sources.convert.paths import READS, WRITES, NotARead, path
from syncd.sources.convert.signing import Bearer, Signing, signature
from syncd.sources.convert.source import Convert
from tests.convert_vendor import Clock, landed, reader, rows, running, runs

URL = "https://api.convert.com/api/v2/accounts/1001/projects"


@pytest.mark.parametrize(
    ("body", "signed"),
    [
        (b"", "4d4adbc0a39317ce320980f6fec892d6403c582e7c2b06cb257d258b075735a8"),
        (b'{"page":1,"results_per_page":50}', "8693f3ffd345409cb9197e73479daab74560e468737b1a35f4678f34654eeaf7"),
    ],
)
def test_the_documented_vectors(body: bytes, signed: str) -> None:
    assert signature("SECRET", "APPID", "1700000000", URL, body) == signed


def talking(answer: Callable[[httpx.Request], httpx.Response], proof: Any = None, now: float = 1700000000.0) -> Api:
    client = httpx.Client(transport=httpx.MockTransport(answer))
    base = "https://api.convert.com/api/v2/"
    return Api(client, "ab", base, proof or Signing("APPID", "SECRET"), Pace(0), now=lambda: now)


def test_the_very_bytes_on_the_wire_are_signed() -> None:
    seen: list[httpx.Request] = []

    def vendor(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={"data": []})

    api = talking(vendor)
    api.post("/accounts/{account}/projects", {"search": "Ünï/code", "page": 1}, account=1001)
    api.get("/accounts")
    posted, got = seen
    assert posted.content == '{"search":"Ünï/code","page":1}'.encode()
    assert posted.headers["content-type"] == "application/json"
    for request in seen:
        expires = request.headers["expires"]
        assert expires == "1700000090"
        right = signature("SECRET", "APPID", expires, str(request.url), request.content)
        assert request.headers["authorization"] == f"Convert-HMAC-SHA256 Signature={right}"
        assert request.headers["convert-application-id"] == "APPID"
    assert (str(posted.url), got.content) == (URL, b"")


def test_a_bearer_key_is_one_header() -> None:
    def vendor(request: httpx.Request) -> httpx.Response:
        assert request.headers["authorization"] == "Bearer KEY:s3cr3t"
        assert "expires" not in request.headers and "convert-application-id" not in request.headers
        return httpx.Response(200, json=[])

    talking(vendor, Bearer("KEY", "s3cr3t")).get("/accounts")


@pytest.mark.parametrize("auth", ["signing", "bearer"])
def test_both_kinds_of_key_are_taken_by_the_vendor(auth: str) -> None:
    with running(auth=auth) as vendor:
        source = reader(vendor, "goals")
        assert landed(source, runs(source)["goals"])
        assert vendor.log()["refused"] == []


@pytest.mark.parametrize(("skew", "told"), [(600.0, r"(599|600) s behind"), (-600.0, r"60[01] s ahead of")])
def test_a_clock_that_is_off_is_named(skew: float, told: str) -> None:
    with running(skew=skew) as vendor:
        with pytest.raises(ConfigError, match=told) as refused:
            reader(vendor, "goals").jobs()
        assert "clock" in refused.value.hint
        assert len(vendor.log()["refused"]) == 2, "signed anew once, then told"


def test_a_wrong_secret_is_refused_without_showing_it() -> None:
    with running() as vendor:
        with pytest.raises(ConfigError, match="clock and the vendor's agree") as refused:
            reader(vendor, "goals", secret="not-the-secret").jobs()
        assert "not-the-secret" not in str(refused.value) + refused.value.hint


def test_a_vendor_that_repeats_our_secret_does_not_bring_it_into_an_error() -> None:
    api = talking(lambda _: httpx.Response(422, json={"message": ["SECRET of a@b.test is wrong"]}))
    with pytest.raises(Refused) as refused:
        api.get("/accounts")
    assert "SECRET" not in str(refused.value) and "a@b.test" not in str(refused.value)


def test_each_read_can_be_spelled_and_none_is_a_write() -> None:
    for method, template in READS:
        assert path(method, template, **dict.fromkeys(re.findall(r"{(\w+)}", template), 7)).startswith("/")
        assert not WRITES.fullmatch(template.rpartition("/")[2])


A, P = "/accounts/{account}", "/accounts/{account}/projects/{project}"
E = f"{P}/experiences/{{experience}}"
KINDS = [
    "experiences",
    "goals",
    "hypotheses",
    "knowledge-bases",
    "observations",
    "locations",
    "audiences",
    "domains",
    "images",
    "tags",
    "features",
]
CHANGING = [
    *(f"{A}/{end}" for end in ("projects/add", "update", "sub-accounts/add", "api-keys/add", "users-accesses/add")),
    *(f"{P}/{end}" for end in ("update", "delete", "generate-debug-token", "import", "import-data", "sdk-keys/add")),
    *(f"{P}/{kind}/{end}" for kind in KINDS for end in ("add", "bulk-update", "bulk-delete")),
    *(f"{P}/{kind}/{{id}}/{end}" for kind in KINDS for end in ("update", "delete", "clone", "convert")),
    *(f"{E}/{end}" for end in ("reset_report", "remove_report_data", "report_token", "trigger-screenshots", "update")),
    *(f"{E}/{end}" for end in ("delete", "clone", "variations/{id}/update", "variations/{id}/convert", "sections/add")),
    *(f"{P}/domains/{{id}}/check_code", f"{P}/domains/by_url", f"{P}/sdk-keys", f"{A}/api-keys", "/user"),
]


@pytest.mark.parametrize("template", CHANGING)
def test_nothing_that_changes_the_account_can_be_called(template: str) -> None:
    ids = dict.fromkeys(re.findall(r"{(\w+)}", template), 7)

    def vendor(request: httpx.Request) -> httpx.Response:
        raise AssertionError(f"sent {request.url}")

    api = talking(vendor)
    with pytest.raises(NotARead):
        api.get(template, **ids)
    with pytest.raises(NotARead):
        api.post(template, {}, **ids)
    for method in ("PUT", "DELETE", "PATCH"):
        with pytest.raises(NotARead):
            path(method, template, **ids)


@pytest.mark.parametrize("trick", ["7/delete", "../x", "", "7?x=1", "\u0667"])
def test_an_id_is_a_number_and_nothing_that_leads_elsewhere(trick: str) -> None:
    with pytest.raises(NotARead):
        path("POST", "/accounts/{account}/projects", account=trick)


def test_requests_are_built_in_two_places_from_the_list_of_reads() -> None:
    room = Path(__file__).parent.parent / "syncd/sources/convert"
    senders = [file for file in room.glob("*.py") if re.search(r"\.(send|request|stream)\(", file.read_text())]
    assert {file.name for file in senders} == {"api.py", "probe.py"}
    assert all("import path" in file.read_text() or "P, path" in file.read_text() for file in senders)


@pytest.mark.parametrize("how", ["429", "500-busy", "500", "503", "page", "cut"])
@pytest.mark.parametrize("errors", ["fields", "parameters", "isError"])
def test_trouble_that_passes_is_waited_for(how: str, errors: str) -> None:
    with running() as calm:
        source = reader(calm, "goals")
        expected = landed(source, runs(source)["goals"])
    with running() as vendor:
        source = reader(vendor, "goals")
        run = runs(source)["goals"]
        vendor.set_trouble(refuse_every=2, refuse_with=how, errors=errors)
        assert landed(source, run) == expected


def test_the_pause_grows_when_the_vendor_complains_and_shrinks_again() -> None:
    pace = Pace(0.0)
    for _ in range(3):
        pace.complained(None)
    assert pace.spacing_s == pytest.approx(0.2)
    for _ in range(20):
        pace.complained(None)
    assert pace.spacing_s == pytest.approx(1.6), "it never stands still"
    for _ in range(100):
        pace.answered()
    assert pace.spacing_s == 0.0
    pace = Pace(1.0)
    for _ in range(20):
        pace.complained(None)
    assert pace.spacing_s == 32.0
    for _ in range(100):
        pace.answered()
    assert pace.spacing_s == 1.0, "never below what was set"


def test_a_pause_that_is_asked_for_holds_for_every_request() -> None:
    pace = Pace(0.0)
    pace.complained(0.3)
    began = time.monotonic()
    with pace.turn():
        assert time.monotonic() - began > 0.25


@pytest.mark.parametrize(("status", "body"), [(429, {"message": "x"}), (500, {"message": ["Too many requests"]})])
def test_throttling_in_either_form_slows_us_down(status: int, body: Any) -> None:
    api = talking(lambda _: httpx.Response(status, json=body, headers={"Retry-After": "3"}))
    with pytest.raises(TryAgain) as told:
        api.get("/accounts")
    assert told.value.after == 3.0 and api.pace.spacing_s > 0


def test_a_conversion_rate_is_no_throttling() -> None:
    api = talking(lambda _: httpx.Response(422, json={"message": "metric: conversion rate is unknown"}))
    with pytest.raises(Refused):
        api.get("/accounts")


def test_a_plain_500_does_not_slow_us_down() -> None:
    api = talking(lambda _: httpx.Response(500, json={"code": 500, "message": "boom"}))
    with pytest.raises(TryAgain, match="boom"):
        api.get("/accounts")
    assert api.pace.spacing_s == 0


@pytest.mark.parametrize(
    "body",
    [
        {"code": 422, "message": "goal is wrong", "fields": "goal"},
        {"code": 422, "message": ["goal is wrong"], "parameters": ["goal"]},
        {"isError": True, "code": 422, "message": "goal is wrong", "errors": [{"field": "goal"}]},
    ],
)
@pytest.mark.parametrize("status", [422, 200])
def test_errors_are_read_in_every_form(status: int, body: Any) -> None:
    with pytest.raises(Refused, match=r"goal is wrong.*goal") as refused:
        talking(lambda _: httpx.Response(status, json=body)).get("/accounts")
    assert refused.value.status == 422


@pytest.mark.parametrize("ok", [200, 201, 202])
def test_any_success_is_one(ok: int) -> None:
    with running(ok=ok) as vendor:
        source = reader(vendor, "goals")
        assert landed(source, runs(source)["goals"])


def test_a_project_without_rights_is_told_and_holds_up_no_other() -> None:
    with running(no_project=2002) as vendor:
        source = reader(vendor, "goals", "projects")
        with capture_logs() as events:
            found = runs(source)
        (told,) = [event for event in events if event["event"] == "project_refused"]
        assert "403" in told["error"] and "role" in told["hint"] and told["project"] == 2002
        assert {row["project_id"] for row in rows(source, found["goals"])} == {2001}
        assert len(rows(source, found["projects"])) == 2


def test_a_configured_project_without_rights_says_what_to_do() -> None:
    with running(no_project=2002) as vendor:
        with pytest.raises(ConfigError, match=r"project 2002.*403") as refused:
            reader(vendor, "goals", projects=[2001, 2002]).jobs()
        assert "role" in refused.value.hint


def test_a_scope_that_the_role_may_not_read_says_what_to_do() -> None:
    with running(refuse_every=1, refuse_with="403", refuse_path="/goals") as vendor:
        source = reader(vendor, "goals")
        with pytest.raises(Refused, match="403") as refused:
            landed(source, runs(source)["goals"])
        assert "role" in refused.value.hint and "turn the scope off" in refused.value.hint


def test_a_configured_project_that_is_not_listed_is_named() -> None:
    with running(no_project=2002, hide_project=True) as vendor:
        with pytest.raises(ConfigError, match="2002"):
            reader(vendor, "goals", projects=[2001, 2002]).jobs()
        source = reader(vendor, "goals", projects=[2001])
        assert landed(source, runs(source)["goals"])


def test_no_connection_says_where_to_look() -> None:
    source = Convert("ab", 1001, "A", "S", base_url="http://127.0.0.1:9", clock=Clock())
    with pytest.raises(TryAgain) as told:
        source.jobs()
    assert "base_url" in told.value.hint and "127.0.0.1" in str(told.value)
