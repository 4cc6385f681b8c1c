"""`syncd probe` of a Convert account: what the vendor's pages leave open has another answer when it is so otherwise."""

from __future__ import annotations

import json  # noqa: TID251  # the vendor's answers, as it would spell them
from pathlib import Path
from typing import Any

import pytest

from syncd.model import SettlesUnknowns
from syncd.sources.convert.paths import READS
from tests.convert_vendor import reader, running
from tests.home import Home
from tests.plain_vendor import Vendor, serving
from tests.probe_page import unsaid

PLANTED = "planted-9f2c"


def found(*, provoke: bool = False, off: str = "", **knobs: Any) -> dict[str, str]:
    """Each unknown with its answer."""
    with running(**knobs) as vendor:
        source = reader(vendor, *(["goals"] if off else []))
        assert isinstance(source, SettlesUnknowns)
        answers = {one.unknown: one.answer for one in source.probe(provoke=provoke)}
        assert vendor.log()["asked"] == [], "raw data was asked for"
    return answers


@pytest.fixture(scope="module")
def calm() -> dict[str, str]:
    """What a vendor without any trouble settles."""
    return found()


TURNED: list[tuple[dict[str, Any], dict[str, tuple[str, str]]]] = [
    # the knobs; each unknown with its answer in peace and when they are turned
    (
        {
            "page_cap": 10, "references": "objects", "single": "data", "numbers_as_text": True, "zero_times": "null",
        },
        {
            "rows on a page": ("50", "10"),
            "references come as": ("ids", "objects"),
            "a single object comes": ("bare", "inside data"),
            "ids are": ("number", "text"),
            "a time that is not yet": ("0", "null"),
        },
    ),
    (
        {"report_data": "object", "deprecated": True, "revenue": True, "odd": True, "no_extra": True},
        {
            "reportData of the aggregated report": ("list", "object"),
            "its variations": ("list", "object"),
            "deprecated blocks": ("none", "conversion_data, products_data, revenue_data"),
            "metric_total is": ("number", "number, a fraction"),
            "a list without states asked for": ("the same", "adds hibernating"),
            "lists tell their pages": ("yes", "no"),
            "its delimiter": ("a comma", "a semicolon"),
            "keys of an experience, beyond the documented": ("none", "brand_new, new_field"),
        },
    ),
    (
        {"link": "string", "packing": "gzip", "images": "inclusive", "scores": "refuses"},
        {
            "export_report answers with": ("download_url", "a link alone"),
            "a report's file is packed": ("not", "gzip"),
            "images from a key on": ("begin behind it", "begin with it"),
            "hypotheses with a score above 5": ("may be asked for", "refused"),
        },
    ),
    (
        {"link": "empty", "lack": True, "refuse_every": 5, "refuse_times": 1, "refuse_with": "500-busy"},
        {
            "export_report answers with": ("download_url", "no link"),
            "GET …/sections": ("HTTP 200", "HTTP 404"),
            "GET …/audiences-presets": ("HTTP 200", "HTTP 404"),
            "throttling comes as": ("", "500"),
            "refusals seen": ("none", "1 HTTP 500 message.text, without Retry-After"),
        },
    ),
    (
        {
            "refuse_every": 1, "refuse_with": "403", "refuse_path": "export_report", "ok": 202, "live_equal": True,
            "null_requests": True, "skew": 40.0, "link_life": 600.0,
        },
        {
            "this key may export": ("yes", "no (HTTP 403)"),
            "a success is": ("HTTP 200", "HTTP 202"),
            "equal live events": ("no", "yes"),
            "request_id": ("tells several records", "is null"),
            "the vendor's clock": ("ours", "about +40 s beside ours"),
        },
    ),
    ({"packing": "zip", "link_life": 600.0}, {"a link lives": ("1 minutes", "10 minutes")}),
    ({"refuse_every": 7, "refuse_times": 1, "retry_after": 0.0}, {"throttling comes as": ("", "429")}),
    ({"experiences": 0}, {"reports": ("absent", ""), "a report's file": ("absent", "")}),
]  # fmt: skip


@pytest.mark.parametrize(("knobs", "unknowns"), TURNED)
def test_each_knob_is_seen(calm: dict[str, str], knobs: dict[str, Any], unknowns: dict[str, tuple[str, str]]) -> None:
    turned = found(**knobs)
    for unknown, (before, after) in unknowns.items():
        assert calm.get(unknown, "absent") == before, unknown
        assert turned[unknown] == after, unknown


def test_what_a_vendor_says_no_to_is_asked_only_on_wish(calm: dict[str, str]) -> None:
    assert not {"a wrong secret", "Expires may lie ahead"} & calm.keys()
    provoked = found(provoke=True, longest_life=4000.0)
    assert provoked["a wrong secret"] == "HTTP 401"
    assert provoked["12 requests without a pause"] == "all answered"
    assert provoked["Expires may lie ahead"] == "3600 s"
    assert (provoked["a query string"], provoked["a body is signed"]) == ("signed without it", "as it is sent")
    assert found(provoke=True)["Expires may lie ahead"] == "300 s"
    assert found(provoke=True, auth="bearer")["signatures"] == ""


def test_a_file_is_asked_for_only_where_it_is_mirrored(calm: dict[str, str]) -> None:
    assert "this key may export" in calm
    assert "this key may export" not in found(off="report_export")


def test_the_report_names_nobody_and_nothing_is_written(tmp_path: Path) -> None:
    """Whatever a customer may have put anywhere is planted there; every request is one that reads."""
    vendor = Vendor()
    asked: list[str] = []
    row = {
        "id": 4711001, "name": f"{PLANTED} name", "status": f"{PLANTED}1", "type": f"{PLANTED}2", "start_time": 7,
        "project_type": f"{PLANTED}3", "accessRole": f"{PLANTED}4", f"{PLANTED}5": PLANTED, "goals": [4711002],
        "owner_email": f"{PLANTED}@example.com", "timestamp": 1_700_000_000, "object": f"{PLANTED}6", "key": PLANTED,
        "request_id": f"{PLANTED}7", "event_type": f"{PLANTED}8", "stats_methodology": f"{PLANTED}9",
        "reportData": [{"goal_id": 1, f"{PLANTED}_data": 1, "variations": [
            {"id": 1, f"{PLANTED}_data": PLANTED, "metrics": [{"metric_type": f"{PLANTED}10", f"{PLANTED}11": 1}]}
        ]}],
    }  # fmt: skip

    def answer(path: str) -> tuple[int, bytes]:
        asked.append(path)
        if PLANTED in path:
            return 200, f"{PLANTED};{PLANTED}\n".encode()
        if path.endswith(("details", "sections")):
            said = {"code": 403, "message": f"{PLANTED} said", "fields": PLANTED, f"{PLANTED}12": 1}
            return 403, json.dumps(said).encode()
        if path.endswith("export_report"):
            link = f"{vendor.url}/{PLANTED}/{PLANTED}?signature={PLANTED}"
            return 200, json.dumps({"data": {"download_url": link, "expire_at": 1}}).encode()
        paging = {"items_count": 1, "pages_count": 1, f"{PLANTED}13": 1}
        return 200, json.dumps({"data": [row], "extra": {"pagination": paging}}).encode()

    vendor.answer = answer  # type: ignore[method-assign]  # every answer is bent at once
    with serving(vendor):
        section = {
            "kind": "convert", "application_id": f"{PLANTED}-id", "secret": f"{PLANTED}-secret", "account_id": 4711000,
            "base_url": f"{vendor.url}/v2", "spacing": "0s",
        }  # fmt: skip
        home = Home(tmp_path, {"ab": section})
        for more in ([], ["--json"], ["--provoke"]):
            told = home.run("probe", "ab", *more)
            assert told.returncode == 0, told.stderr
            assert "references come as" in told.stdout
            assert PLANTED not in told.stdout + told.stderr
            assert "4711" not in told.stdout
    assert not home.data_dir.exists()
    templates = {template.rpartition("/")[2] for _, template in READS}
    assert {path.rpartition("/")[2] for path in asked if PLANTED not in path} <= templates - {
        "export_raw_data",
        "export",
    }


def test_a_refused_key_ends_it(tmp_path: Path) -> None:
    with running() as vendor:
        home = Home(tmp_path, {"ab": vendor.settings() | {"secret": "wrong"}})
        ended = home.run("probe", "ab")
    assert (ended.returncode, "credentials refused" in ended.stderr) == (2, True)


def test_each_line_that_the_page_names_is_said(calm: dict[str, str]) -> None:
    assert unsaid("convert", calm | found(provoke=True)) == []
