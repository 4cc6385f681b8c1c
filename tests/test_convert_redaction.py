"""No secret and no person gets through: planted in every answer that the vendor gives, and looked for behind it."""

from __future__ import annotations

from typing import Any

import pytest

from syncd.sources.convert.redaction import hashed, redacted
from syncd.sources.convert.scopes import SCOPES
from tests.convert_vendor import landed, reader, running, runs

SECRETS = [
    {"sdk_secret": "X"},
    {"sdkSecret": "X"},
    {"settings": {"debug_token": "X"}},
    {"integrations_settings": {"crazyegg": {"api_key": "X", "api_secret": "X"}}},
    {"integrations_settings": {"new one": [{"appKey": "X"}]}},
    {"integrations": [{"provider": "heap", "key": "X"}]},
    {"settings": {"blocked_ips": ["X"], "ips": {"a": "X"}, "visitorIp": "X", "IP list": "X", "ip_address": "X"}},
    {"tracking_snippet": "X"},
    {"environments": {"production": {"sdk_key": "X"}}},
    {"password": "X", "client-secret": "X", "Report Token": "X"},
    {"changes": {"old": {"sdk_secret": "X"}, "new": {"sdk_secret": "X"}}},
    {"changes": [{"field": "sdk_secret", "old": "X", "new": "X"}]},
    {"changes": {"name": "debug_token", "value": "X"}},
    {"settings": '{"debug_token":"X","a":1}'},
    {"deep": [[[{"api_key": "X"}]]]},
    {"a": {"b": '[{"inner":"{\\"sdk_secret\\":\\"X\\"}"}]'}},
]


@pytest.mark.parametrize("told", SECRETS, ids=str)
def test_a_secret_is_left_out_wherever_it_stands(told: dict[str, Any]) -> None:
    assert "X" not in str(redacted(told))


@pytest.mark.parametrize(
    "told",
    [
        {"owner_email": "ann@example.com"},
        {"email": "ann@example.com", "first_name": "ann@example.com"},
        {"created_by": "ann@example.com"},
        {"user": {"id": 7, "name": "ann@example.com"}},
        {"collaborators": ["ann@example.com", {"name": "ann@example.com"}]},
        {"description": "ask ann@example.com, or Bob <ann@example.com>"},
        {"ann@example.com": 1},
        {"changes": {"field": "owner_email", "old": "ann@example.com", "new": None}},
    ],
    ids=str,
)
def test_a_person_is_hashed(told: dict[str, Any]) -> None:
    kept = str(redacted(told))
    assert "ann" not in kept and hashed("ann@example.com") in kept


def test_one_person_stays_one() -> None:
    assert hashed(" Ann@Example.com ") == hashed("ann@example.com") != hashed("bob@example.com")


def test_all_else_stays_as_it_is() -> None:
    told = {
        "id": 7, "key": "goal-1", "name": "Key accounts", "settings": {"version": "2026-1", "auto_link": True},
        "integrations_settings": {"google_analytics": {"enabled": True, "type": "ga4"}}, "rules": {"OR": [{"a": "b"}]},
        "changes": {"old": {"name": "a"}, "new": {"name": "b"}}, "url": "https://shop.test/?a=1", "text": "{not json",
        "global_javascript": '{"a":1}', "object": "collaborator", "none": None, "list": [1, "a", None],
        "zip": "1", "shipping": "2", "tip": "3", "key_results": "4",
    }  # fmt: skip
    assert redacted(told) == told


@pytest.mark.parametrize("trouble", [{}, {"raw": "download_url", "raw_form": "jsonl"}, {"keys_reversed": True}])
def test_nothing_that_was_planted_is_landed(trouble: dict[str, Any]) -> None:
    with running(**trouble) as vendor:
        source = reader(vendor, *SCOPES)
        found = b"".join(landed(source, run) for run in runs(source).values())
        if trouble.get("raw"):
            for request in source.due(source._clock()):
                run = source.poll(request, source.submit(request))
                assert run is not None
                found += landed(source, run)
        planted = [one.encode() for one in vendor.planted]
    assert len(planted) > 20 and len(found) > 100_000
    assert [one for one in planted if one in found] == []
