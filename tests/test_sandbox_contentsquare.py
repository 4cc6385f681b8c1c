"""The vendor in a box does what its knobs say, and tells the truth about it."""

from __future__ import annotations

import csv
import gzip
import io
import json  # noqa: TID251  # another reader than the sandbox's own
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from hashlib import md5
from pathlib import Path
from typing import Any, ClassVar

import duckdb
import httpx
import pytest

from syncd.sandbox.contentsquare import KNOBS, Offer, Sandbox, Trouble
from syncd.sandbox.knobs import flags
from tests.sandbox_fixture import Open, running


@pytest.fixture
def contentsquare() -> Iterator[Open]:
    with ExitStack() as opened:
        yield lambda **chosen: opened.enter_context(running(**chosen))
        while Client.open:
            Client.open.pop().http.close()


class Client:
    """As plain as a client can be."""

    open: ClassVar[list[Client]] = []

    def __init__(self, sandbox: Sandbox) -> None:
        self.open.append(self)
        self.sandbox = sandbox
        self.http = httpx.Client(timeout=20)
        self.token_answer = self.log_in()
        self.signed = {"Authorization": f"Bearer {self.token_answer.json().get('access_token')}"}

    def log_in(self, **changed: Any) -> httpx.Response:
        asked = {"client_id": self.sandbox.client_id, "client_secret": self.sandbox.client_secret}
        asked |= {"grant_type": "client_credentials", "scope": "data-export"}
        return self.http.post(self.sandbox.token_url, json=asked | changed)

    def ask(self, path: str, **query: Any) -> httpx.Response:
        return self.http.get(f"{self.sandbox.url}/v1/{path}", params=query, headers=self.signed)

    def get(self, path: str, **query: Any) -> Any:
        answer = self.ask(path, **query)
        assert answer.status_code == 200, answer.text
        assert answer.json()["success"] is True
        return answer.json()["payload"]

    def post(self, **changed: Any) -> httpx.Response:
        asked = {
            "name": "mine", "format": "JSONL", "scope": "sessions", "deviceLabel": "all",
            "frequency": {"value": "once", "dateRange": {"from": "2026-01-05T00:00:00Z", "to": "2026-01-06T00:00:00Z"}},
            "fields": [{"fieldName": "session_id"}, {"fieldName": "city", "aliasName": "Die Stadt"}],
        }  # fmt: skip
        return self.http.post(f"{self.sandbox.url}/v1/exports", json=asked | changed, headers=self.signed)

    def runs(self) -> list[Any]:
        return self.get("exports/successful-runs", limit=100)

    def files(self, run: Any) -> list[Any]:
        found = self.get(f"exports/{run['jobId']}/runs/{run['jobRunId']}")["files"]
        return sorted(found, key=lambda file: file["partId"])

    def first_url(self) -> str:
        return self.files(self.runs()[0])[0]["url"]

    def bytes_of(self, run: Any) -> list[bytes]:
        return [self.http.get(file["url"]).content for file in self.files(run)]


def rows_of(text: bytes, form: str) -> list[dict[str, Any]]:
    if form == "JSONL":
        return [json.loads(line) for line in text.decode().split("\n") if line.strip()]
    return list(csv.DictReader(io.StringIO(text.decode(), newline="")))


def test_each_knob_is_a_flag_with_a_default_and_a_word_of_help() -> None:
    found = {knob.name: knob for knob in flags(*KNOBS)}
    assert list(found) == [each.name for kind in (Offer, Trouble) for each in fields(kind)]
    assert len(found) == len(fields(Offer)) + len(fields(Trouble))
    assert found["page_base"][:4] == ("--page-base", "page_base", int, 1)
    assert found["data"].type is Path
    assert all(knob.help and (not knob.choices or knob.default in knob.choices) for knob in found.values())
    assert not any(knob.default for knob in found.values() if knob.type is bool)


def test_each_knob_has_its_turn_below() -> None:
    below = Path(__file__).read_text()
    assert [knob.name for knob in flags(*KNOBS) if knob.name not in below] == []


def test_a_wrong_knob_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"past_end is 'bang', but can be 'empty'"):
        Sandbox(past_end="bang")
    with pytest.raises(TypeError, match="pagebase"):
        Sandbox(pagebase=1)


def test_importing_it_costs_no_server() -> None:
    asked = "import sys, syncd.sandbox.contentsquare; print('http.server' in sys.modules, 'random' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", asked], text=True).split() == ["False", "False"]


@pytest.mark.parametrize("knob", [{}, {"seed": 7, "jobs": 6, "restated_runs": 1, "broken_lines": 2}])
def test_same_seed_same_ids_and_bytes(contentsquare: Open, knob: dict[str, Any]) -> None:
    def everything() -> list[Any]:
        client = Client(contentsquare(days=2, rows=30, **knob))
        return [(run["jobId"], run["jobRunId"], run["from"], client.bytes_of(run)) for run in client.runs()]

    assert everything() == everything()


def test_another_seed_other_bytes(contentsquare: Open) -> None:
    one, other = (Client(contentsquare(seed=seed, jobs=1, days=1)) for seed in (1, 2))
    assert one.bytes_of(one.runs()[0]) != other.bytes_of(other.runs()[0])


# ---- the truth


def strings(values: list[str]) -> dict[str, Any]:
    digest = sum(int(md5(value.encode()).hexdigest()[:15], 16) for value in values)
    return {"values": len(values), "characters": sum(map(len, values)), "digest": str(digest)}


@pytest.mark.parametrize("form", ["jsonl", "csv"])
@pytest.mark.parametrize("scope", ["sessions", "views"])
def test_the_truth_is_what_an_independent_count_of_the_bytes_says(contentsquare: Open, scope: str, form: str) -> None:
    sandbox = contentsquare(jobs=1, days=2, rows=120, parts=3, scope=scope, format=form)
    client = Client(sandbox)
    truth = {run["job_run"]: run for run in sandbox.truth()}
    assert client.http.get(f"{sandbox.url}/_sandbox/truth").json()["runs"] == sandbox.truth()
    for run in client.runs():
        told = truth[run["jobRunId"]]
        parts = [rows_of(gzip.decompress(packed), form.upper()) for packed in client.bytes_of(run)]
        assert [len(rows) for rows in parts] == [part["rows"] for part in told["parts"]]
        rows = [row for part in parts for row in part]
        assert len(rows) == told["rows"] == told["lines"] > 100
        for name in ("user_id", "session_id", "Wert des Korbs, €"):
            assert str(sum(int(row[name]) for row in rows)) == told["columns"][name]["sum"]
        for name in ("My Custom Variable of index 1", "Experiment", "experiment", 'Page "type"'):
            assert strings([row[name] for row in rows]).items() <= told["columns"][name].items()
        assert max(int(row["user_id"]) for row in rows) > 2**63


def test_the_truth_can_be_had_from_duckdb_too(contentsquare: Open, tmp_path: Path) -> None:
    sandbox = contentsquare(jobs=1, days=1, parts=1, scope="sessions", format="jsonl")
    client = Client(sandbox)
    (tmp_path / "part.jsonl").write_bytes(gzip.decompress(client.bytes_of(client.runs()[0])[0]))
    told = sandbox.truth()[0]["columns"]
    for name, type_ in {"city": "VARCHAR", "user_id": "UBIGINT", "session_time": "TIMESTAMP"}.items():
        found = duckdb.sql(
            "SELECT count(t), sum(length(t)), sum(CAST('0x' || md5(t)[:15] AS HUGEINT)) "
            f"FROM (SELECT CAST({name} AS VARCHAR) AS t "
            f"FROM read_json('{tmp_path}/part.jsonl', columns={{'{name}': '{type_}'}}, format='newline_delimited'))"
        ).fetchall()[0]
        assert (found[0], found[1], str(found[2])) == tuple(
            told[name][key] for key in ("values", "characters", "digest")
        )


def test_the_awkward_is_all_there(contentsquare: Open) -> None:
    sandbox = contentsquare(jobs=4, days=1, rows=600)
    client = Client(sandbox)
    plain = {"JSONL": b"", "CSV": b""}
    for run in client.runs():
        plain[run["format"]] += b"".join(map(gzip.decompress, client.bytes_of(run)))
    for text in ("北京", "👟", "\u2028", "\u0085", "Ünïcode"):
        assert all(text.encode() in each for each in plain.values()), text
    for text in (
        rb'"user_id":"',
        rb"https:\/\/",
        rb'"app_events.event_name":["',
        rb"\n",
        b":null",
        rb'"Page \"type\""',
    ):
        assert text in plain["JSONL"], text
    for text in (b"two\nlines", b"carriage\r\nreturn", rb",\N", rb'"\N"', rb"['", b'"Page ""type"""', b'""quoted""'):
        assert text in plain["CSV"], text


def test_a_restated_run_has_the_same_sessions_grown(contentsquare: Open) -> None:
    sandbox = contentsquare(jobs=1, days=3, restated_runs=1)
    client = Client(sandbox)
    periods = Counter(run["from"] for run in client.runs())
    assert sorted(periods.values()) == [1, 1, 2]
    twice = [run for run in client.runs() if periods[run["from"]] == 2]
    older, newer = sorted(twice, key=lambda run: run["completionTime"])
    before, after = (
        {row["session_id"]: row for packed in client.bytes_of(run) for row in rows_of(gzip.decompress(packed), "JSONL")}
        for run in (older, newer)
    )
    assert before.keys() < after.keys()
    for session, row in before.items():
        assert after[session]["session_duration_msec"] == row["session_duration_msec"] + 1000
    told = {run["job_run"]: run["superseded"] for run in sandbox.truth()}
    assert told[older["jobRunId"]] and not told[newer["jobRunId"]]


def test_views_belong_to_the_sessions_of_their_day(contentsquare: Open) -> None:
    client = Client(contentsquare(jobs=2, days=1))
    found = {
        run["scope"]: [row for packed in client.bytes_of(run) for row in rows_of(gzip.decompress(packed), "JSONL")]
        for run in client.runs()
    }
    sessions = {(row["user_id"], row["session_id"]): row["session_number_of_views"] for row in found["sessions"]}
    assert Counter((row["user_id"], row["session_id"]) for row in found["views"]) == sessions


# ---- the endpoints


def test_all_nine_endpoints_answer_as_documented(contentsquare: Open) -> None:
    sandbox = contentsquare(jobs=3)
    client = Client(sandbox)
    assert client.token_answer.json().items() >= {"expires_in": 3600, "endpoint": sandbox.url}.items()
    who = {"client_id": sandbox.client_id, "client_secret": sandbox.client_secret}
    assert client.http.post(f"{sandbox.url}/v1/oauth/me", json=who).json()["permissions"]["projects"] == [{"id": 42}]
    jobs = client.get("exports")
    assert [job["jobId"] for job in jobs] == sorted((job["jobId"] for job in jobs), reverse=True)
    assert {job["frequency"] for job in jobs} == {"daily", "hourly"}
    assert client.get(f"exports/{jobs[0]['jobId']}").keys() == jobs[0].keys()
    assert [job["scope"] for job in client.get("exports", scope="VIEWS")] == ["views"]
    assert client.get("exports", state="completed") == []
    run = client.runs()[0]
    assert run.keys() >= {
        "jobId",
        "jobRunId",
        "from",
        "to",
        "completionTime",
        "format",
        "scope",
        "frequency",
        "nbOfFiles",
    }
    listed = client.get(f"exports/{run['jobId']}/runs", limit=100)
    assert run["jobRunId"] in [each["jobRunId"] for each in listed] and "files" not in listed[0]
    detail = client.get(f"exports/{run['jobId']}/runs/{run['jobRunId']}")
    assert detail["state"] == "SUCCESS" and "from" not in detail and len(detail["files"]) == run["nbOfFiles"]
    assert "session_id" in [field["name"] for field in client.get("exportable-fields", scope="sessions")]
    assert client.ask("exportable-fields").status_code == 400
    assert {var["position"] for var in client.get("custom-vars")} == {1, 2}
    assert {"key": "AB Test", "type": "string"} in client.get("dynamic-var-keys")
    for path in ("exports/1", "exports/1/runs", f"exports/{run['jobId']}/runs/1", "nothing"):
        answer = client.ask(path)
        assert (answer.status_code, answer.json()["success"]) == (404, False)


def test_completion_is_recent_however_old_the_days(contentsquare: Open) -> None:
    client = Client(contentsquare(days=60, rows=2, today="2015-05-21"))
    now = datetime.now(UTC)
    runs = client.get("exports/successful-runs", limit=100) + client.get("exports/successful-runs", limit=100, page=2)
    assert len(runs) == 120
    for run in runs:
        assert run["from"] < "2015-05-21"
        assert now - timedelta(days=6, minutes=1) < datetime.fromisoformat(run["completionTime"]) < now


def wait_for(condition: Any) -> Any:
    end = time.monotonic() + 10
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.01)
    raise AssertionError("it never came")


def test_once_jobs_run_one_after_the_other(contentsquare: Open) -> None:
    sandbox = contentsquare(jobs=0, once_takes=0.15, rows=40)
    client = Client(sandbox)
    first, second = (client.post().json()["payload"]["jobId"] for _ in range(2))
    assert client.get(f"exports/{first}")["state"] == "COMPUTING"
    assert client.get(f"exports/{second}")["state"] == "ACTIVE"
    assert client.get(f"exports/{second}/runs") == []
    assert client.get(f"exports/{first}/runs")[0]["state"] == "RUNNING"
    wait_for(lambda: client.get(f"exports/{second}")["state"] == "COMPLETED")
    runs = {run["jobId"]: run for run in client.runs()}
    assert runs.keys() == {first, second}
    assert (runs[first]["from"], runs[first]["to"]) == ("2026-01-05T00:00:00.000Z", "2026-01-06T00:00:00.000Z")
    rows = [row for packed in client.bytes_of(runs[first]) for row in rows_of(gzip.decompress(packed), "JSONL")]
    assert len(rows) == 40 and list(rows[0]) == ["session_id", "Die Stadt"]


@pytest.mark.parametrize(
    "changed",
    [
        {"name": ""}, {"format": "JSON"}, {"scope": "events"}, {"deviceLabel": "fridge"}, {"frequency": "daily"},
        {"frequency": {"value": "once"}}, {"fields": []}, {"fields": [{"fieldName": "nope"}]},
        {"fields": [{"fieldName": "city"}] * 2}, {"fields": [{"fieldName": "custom_var", "customVarPosition": 21}]},
        {"frequency": {"value": "once", "dateRange": {"from": "2026-01-01T00:00:00Z", "to": "2026-01-08T00:00:01Z"}}},
    ],
)  # fmt: skip
def test_a_job_the_page_forbids_is_refused(contentsquare: Open, changed: dict[str, Any]) -> None:
    client = Client(contentsquare(jobs=0))
    answer = client.post(**changed)
    assert (answer.status_code, answer.json()["errorCode"]) == (400, "INVALID_PARAMETER")
    assert client.get("exports") == []


def test_a_trailing_comma_as_in_the_vendors_examples_is_no_json(contentsquare: Open) -> None:
    client = Client(contentsquare(jobs=0))
    answer = client.http.post(f"{client.sandbox.url}/v1/exports", content=b'{"name":"x",}', headers=client.signed)
    assert (answer.status_code, answer.json()["errorCode"]) == (400, "INVALID_BODY")


def test_a_post_that_is_cut_creates_all_the_same(contentsquare: Open) -> None:
    client = Client(contentsquare(jobs=0, post_cut=True))
    with pytest.raises(httpx.TransportError):
        client.post()
    assert len(client.get("exports")) == 1


# ---- token


@pytest.mark.parametrize(("how", "body"), [("401", "errorCode"), ("400", "error_description"), ("500", "errorMessage")])
def test_a_wrong_secret_is_answered_so(contentsquare: Open, how: str, body: str) -> None:
    answer = Client(contentsquare(wrong_secret=how)).log_in(client_secret="wrong")
    assert answer.status_code == int(how) and body in answer.json()


def test_the_token_answer_varies(contentsquare: Open) -> None:
    slash = contentsquare(endpoint="slash", token_life=7)
    assert Client(slash).token_answer.json().items() >= {"endpoint": slash.url + "/", "expires_in": 7}.items()
    assert (
        not {"endpoint", "expires_in"}
        & Client(contentsquare(endpoint="absent", no_expires_in=True)).token_answer.json().keys()
    )
    account = Client(contentsquare(account_level=True))
    assert account.token_answer.status_code == 403 and account.log_in(project_id=42).status_code == 200
    assert account.sandbox.settings()["project_id"] == 42
    assert Client(contentsquare()).log_in(scope="metrics").json()["error"] == "invalid_scope"
    assert [Client(s).token_answer.status_code for s in [contentsquare(token_fails=2)] for _ in range(3)] == [
        500,
        500,
        200,
    ]


def test_a_token_ends(contentsquare: Open) -> None:
    client = Client(contentsquare(token_life=0))
    answer = client.ask("exports")
    assert (answer.status_code, answer.json()["errorCode"]) == (401, "JWT_EXPIRED")


def test_a_token_ends_in_mid_walk(contentsquare: Open) -> None:
    client = Client(contentsquare(jwt_expired_every=3))
    assert [client.ask("exports").status_code for _ in range(4)] == [200, 200, 401, 401]
    client.signed = {"Authorization": f"Bearer {client.log_in().json()['access_token']}"}
    assert client.ask("exports").status_code == 200


def test_nobody_asks_without_a_token(contentsquare: Open) -> None:
    client = Client(contentsquare())
    client.signed = {}
    assert client.ask("exports").status_code == 401


# ---- lists


def ids(client: Client, **query: Any) -> list[int]:
    return [run["jobRunId"] for run in client.get("exports/successful-runs", **query)]


@pytest.mark.parametrize("base", [0, 1])
def test_pages_count_from_their_base(contentsquare: Open, base: int) -> None:
    client = Client(contentsquare(days=5, page_base=base, rows=1))
    pages = [ids(client, limit=4, page=page) for page in range(base, base + 4)]
    assert [len(page) for page in pages] == [4, 4, 2, 0]
    assert len({run for page in pages for run in page}) == 10
    assert ids(client, limit=4) == pages[0]
    assert (ids(client, limit=4, page=1) == pages[0]) == (base == 1)
    assert sorted(ids(client, order="ASC")) == sorted(ids(client)) and ids(client, order="ASC") != ids(client)


def test_the_end_of_a_list_and_its_page_zero_vary(contentsquare: Open) -> None:
    asked = {"limit": 4, "page": 9}
    for how, status in {"404": 404, "400": 400}.items():
        assert Client(contentsquare(days=3, past_end=how)).ask("exports/successful-runs", **asked).status_code == status
    last = Client(contentsquare(days=3, past_end="last"))
    assert ids(last, **asked) == ids(last, limit=4, page=2) != []
    assert ids(last, limit=4, page=0) == ids(last, limit=4, page=1)
    assert Client(contentsquare(page_zero="400")).ask("exports/successful-runs", page=0).status_code == 400


def test_pages_are_capped(contentsquare: Open) -> None:
    client = Client(contentsquare(days=5, page_cap=3))
    assert len(ids(client, limit=100)) == 3
    assert len(Client(contentsquare(days=60, rows=1)).runs()) == 100
    assert len(ids(Client(contentsquare(days=60, rows=1)))) == 25


def test_rows_shift_between_two_pages(contentsquare: Open) -> None:
    appear = Client(contentsquare(days=5, page_shift=2))
    first, second = ids(appear, limit=4, page=1), ids(appear, limit=4, page=2)
    assert second[:2] == first[2:]  # come again
    assert ids(appear, limit=4, page=1)[2:] == first[:2]  # behind the two that came
    vanish = Client(contentsquare(days=5, page_shift=-2))
    whole = ids(vanish, limit=100)
    assert ids(vanish, limit=4, page=2) == whole[6:]  # two are skipped
    assert ids(vanish, limit=100) == whole[2:]


def test_the_order_within_a_job_is_not_of_time_and_may_change(contentsquare: Open) -> None:
    steady, restless = Client(contentsquare(days=9)), Client(contentsquare(days=9, reshuffle=True))
    assert ids(steady) == ids(steady)
    runs = [run["from"] for run in steady.runs() if run["scope"] == "views"]
    assert runs not in (sorted(runs), sorted(runs, reverse=True))
    assert ids(restless) != ids(restless) and sorted(ids(restless)) == sorted(ids(restless))


def test_what_jobs_and_runs_tell_varies(contentsquare: Open) -> None:
    client = Client(
        contentsquare(
            jobs=3, days=1, legacy_formats=True, frequency_object=True, null_dates=True, completion_rate=1,
            wrong_count=True, period_end="inclusive", scope_name="../../x",
        )
    )  # fmt: skip
    job, run = client.get("exports")[0], client.runs()[0]
    assert (job["format"], job["frequency"], job["lastRunTime"], job["scope"]) == (
        "CSVWithNames",
        {"value": "hourly"},
        None,
        "../../x",
    )
    assert (run["to"][-5:], run["scope"]) == (".999Z", "../../x")
    assert run["nbOfFiles"] == len(client.files(run)) + 1
    assert client.get(f"exports/{run['jobId']}/runs")[0]["completionRate"] == 1


# ---- load


@pytest.mark.parametrize(
    ("how", "word"),
    [
        ("429", "concurrent"),
        ("503", "unavailable"),
        ("400", "concurrent"),
        ("403", "concurrent"),
        ("200", "unavailable"),
    ],
)
def test_every_nth_request_is_refused(contentsquare: Open, how: str, word: str) -> None:
    client = Client(contentsquare(refuse_every=2, refuse_with=how, retry_after=3, refuse_times=2))
    answers = [client.ask("exports") for _ in range(6)]
    assert [answer.json()["success"] for answer in answers] == [True, False, True, False, True, True]
    assert answers[1].status_code == int(how) and word in answers[1].text
    assert answers[1].headers["Retry-After"] == "3"


def test_retry_after_may_be_a_date_or_absent_and_a_refusal_a_cut(contentsquare: Open) -> None:
    dated = Client(contentsquare(refuse_every=1, retry_after=60, retry_after_date=True)).ask("exports")
    assert 50 < (parsedate_to_datetime(dated.headers["Retry-After"]) - datetime.now(UTC)).total_seconds() <= 60
    assert "Retry-After" not in Client(contentsquare(refuse_every=1)).ask("exports").headers
    with pytest.raises(httpx.TransportError):
        Client(contentsquare(refuse_every=1, refuse_with="cut")).ask("exports")


def at_once(client: Client, calls: int) -> list[int]:
    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.append(client.ask("exports").status_code)) for _ in range(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(found)


def test_one_request_too_many_at_once_is_refused_and_the_log_knows(contentsquare: Open) -> None:
    client = Client(contentsquare(concurrency_limit=2, latency=2.0))
    assert at_once(client, 4) == [200, 200, 429, 429]
    assert client.sandbox.log()["max_in_flight"]["api"] >= 3
    orderly = Client(contentsquare(concurrency_limit=1))
    assert [orderly.ask("exports").status_code for _ in range(50)] == [200] * 50
    assert orderly.sandbox.log()["max_in_flight"]["api"] == 1


# ---- links and files


def test_a_link_works_alone_and_not_with_the_token(contentsquare: Open) -> None:
    client = Client(contentsquare())
    url = client.first_url()
    assert client.http.get(url, headers=client.signed).status_code == 400
    assert client.http.get(url).status_code == 200
    assert client.http.get(url.replace("signature=", "signature=0")).status_code == 403
    assert client.http.get(url.replace("expires=", "expires=9")).status_code == 403
    log = client.http.get(f"{client.sandbox.url}/_sandbox/log").json()
    assert log["authorization_on_file_url"] == 1
    assert log["total"]["file"] == 4
    assert "signature" not in str(log)


def test_links_expire_and_are_renewed_or_not(contentsquare: Open) -> None:
    client = Client(contentsquare(link_life=0))
    assert client.http.get(client.first_url()).status_code == 403
    client = Client(contentsquare())
    old = client.first_url()
    client.sandbox.expire_links()
    assert client.http.get(old).status_code == 403
    assert client.http.get(client.first_url()).status_code == 200
    fixed = Client(contentsquare(link_life=0, link_fixed=True))
    assert fixed.first_url() == fixed.first_url()
    fixed.sandbox.set_trouble(link_life=60)
    assert fixed.http.get(fixed.first_url()).status_code == 403


def test_what_a_file_tells_of_itself_varies(contentsquare: Open) -> None:
    def told(**chosen: Any) -> tuple[Any, bytes]:
        client = Client(contentsquare(days=1, **chosen))
        file = client.files(client.runs()[0])[0]
        return file, client.http.get(file["url"]).content

    file, packed = told()
    assert file["fileSize"] == len(packed)
    assert told(file_size="unpacked")[0]["fileSize"] == len(gzip.decompress(packed))
    assert told(file_size="wrong")[0]["fileSize"] not in (len(packed), len(gzip.decompress(packed)))
    assert "fileSize" not in told(file_size="absent")[0]
    soon = told(link_life=5)[0]["expirationDate"]
    assert datetime.fromisoformat(soon) < datetime.now(UTC) + timedelta(seconds=6)
    assert told(link_life=5, link_life_hidden=True)[0]["expirationDate"] > soon


def test_ranges(contentsquare: Open) -> None:
    client = Client(contentsquare())
    url = client.first_url()
    whole = client.http.get(url)
    size, tag = len(whole.content), whole.headers["ETag"]

    def part(**headers: str) -> tuple[int, bytes, str | None]:
        answer = client.http.get(url, headers={name.replace("_", "-"): value for name, value in headers.items()})
        return answer.status_code, answer.content, answer.headers.get("Content-Range")

    assert part(Range="bytes=10-") == (206, whole.content[10:], f"bytes 10-{size - 1}/{size}")
    assert part(Range="bytes=10-19") == (206, whole.content[10:20], f"bytes 10-19/{size}")
    assert part(Range="bytes=-5") == (206, whole.content[-5:], f"bytes {size - 5}-{size - 1}/{size}")
    assert part(Range=f"bytes={size}-") == (416, b"", f"bytes */{size}")
    assert part(Range="bytes=10-", If_Range=tag) == part(Range="bytes=10-")
    assert part(Range="bytes=10-", If_Range='"other"') == (200, whole.content, None)
    assert client.http.head(url).headers["Content-Length"] == str(size)
    client.sandbox.set_trouble(no_range=True)
    assert part(Range="bytes=10-") == (200, whole.content, None)
    client.sandbox.set_trouble(no_range=False, etag="changing")
    assert client.http.get(url).headers["ETag"] != client.http.get(url).headers["ETag"]
    assert part(Range="bytes=10-", If_Range=tag)[0] == 200
    client.sandbox.set_trouble(etag="weak")
    assert client.http.get(url).headers["ETag"].startswith("W/")
    client.sandbox.set_trouble(etag="absent")
    assert "ETag" not in client.http.get(url).headers


def received(client: Client, url: str, **headers: str) -> tuple[bytes, bool]:
    """What came, and whether the connection broke."""
    body = b""
    try:
        with client.http.stream("GET", url, headers=headers) as answer:
            for chunk in answer.iter_raw():
                body += chunk
    except httpx.TransportError:
        return body, True
    return body, False


@pytest.mark.parametrize("fault", ["drop_at", "close_at"])
def test_a_body_is_cut_once_and_can_be_resumed(contentsquare: Open, fault: str) -> None:
    client = Client(contentsquare(**{fault: 0.5}))
    url = client.first_url()
    half, broke = received(client, url)
    rest, broke_again = received(client, url, Range=f"bytes={len(half)}-")
    assert broke and not broke_again
    assert gzip.decompress(half + rest)


def test_each_part_suffers_as_often_as_told(contentsquare: Open) -> None:
    client = Client(contentsquare(close_at=0.5, fault_times=2))
    files = [client.files(run)[part]["url"] for run in client.runs()[:2] for part in (0, 1)]
    assert [[received(client, url)[1] for _ in range(3)] for url in files] == [[True, True, False]] * 4
    client.sandbox.set_trouble(fault_times=0)
    assert all(received(client, files[0])[1] for _ in range(5))


def test_a_truncated_file_has_a_length_that_fits(contentsquare: Open) -> None:
    client = Client(contentsquare(truncate_at=0.7))
    url = client.first_url()
    cut = client.http.get(url)
    assert int(cut.headers["Content-Length"]) == len(cut.content)
    with pytest.raises(EOFError):
        gzip.decompress(cut.content)
    assert gzip.decompress(client.http.get(url).content)


def test_a_length_that_is_wrong(contentsquare: Open) -> None:
    client = Client(contentsquare(wrong_length=7))
    url = client.first_url()
    body, broke = received(client, url)
    assert broke and gzip.decompress(body)
    client.sandbox.set_trouble(wrong_length=-7)
    body, broke = received(client, url)
    assert not broke
    with pytest.raises(EOFError):
        gzip.decompress(body)


def test_a_stall_and_a_slow_body(contentsquare: Open) -> None:
    client = Client(contentsquare(stall_at=0.5))
    client.http.timeout = httpx.Timeout(30, read=1)
    body, broke = received(client, client.first_url())
    assert broke and body
    client.sandbox.set_trouble(stall_s=0.1)
    began = time.monotonic()
    whole, broke = received(client, client.first_url())
    assert time.monotonic() - began > 0.1 and not broke and gzip.decompress(whole)
    slow = Client(contentsquare(slow=40_000, days=1))
    began = time.monotonic()
    body, broke = received(slow, slow.first_url())
    assert time.monotonic() - began > len(body) / 40_000 * 0.8 and not broke


def test_bodies_in_other_shapes(contentsquare: Open) -> None:
    client = Client(contentsquare())
    url = client.first_url()
    plain = gzip.decompress(client.http.get(url).content)
    client.sandbox.set_trouble(members=3)
    packed = received(client, url)[0]
    first = zlib.decompressobj(31)
    first.decompress(packed)
    assert first.eof and first.unused_data and gzip.decompress(packed) == plain
    client.sandbox.set_trouble(members=1, body="plain")
    assert client.http.get(url).content == plain
    client.sandbox.set_trouble(body="encoded")
    assert client.http.get(url).headers["Content-Encoding"] == "gzip"
    assert client.http.get(url).content == plain
    client.sandbox.set_trouble(body="rubbish")
    with pytest.raises(gzip.BadGzipFile):
        gzip.decompress(received(client, url)[0])
    client.sandbox.set_trouble(body="gzip", chunked=True)
    answer = client.http.get(url)
    assert "Content-Length" not in answer.headers and gzip.decompress(answer.content) == plain
    client.sandbox.set_trouble(chunked=False, file_status=503)
    assert [client.http.get(url).status_code for _ in range(2)] == [503, 200]


# ---- runs and rows


def test_failed_empty_and_expired_runs(contentsquare: Open) -> None:
    sandbox = contentsquare(jobs=1, days=8, failed_runs=1, empty_runs=2, expired_runs=2)
    client = Client(sandbox)
    job = client.get("exports")[0]["jobId"]
    states = {run["jobRunId"]: run["state"] for run in client.get(f"exports/{job}/runs")}
    assert Counter(states.values()) == {"SUCCESS": 7, "FAILURE": 1}
    truth = {run["job_run"]: run for run in sandbox.truth()}
    assert {run["jobRunId"] for run in client.runs()} == {run for run, state in states.items() if state == "SUCCESS"}
    assert sorted(run["nbOfFiles"] for run in client.runs()) == [0, 0, 2, 2, 2, 2, 2]
    for run in client.runs():
        statuses = {client.http.get(file["url"]).status_code for file in client.files(run)}
        assert statuses == ({403} if truth[run["jobRunId"]]["expired"] else {200} if run["nbOfFiles"] else set())
    assert sum(run["expired"] for run in truth.values()) == 2
    assert len(Client(contentsquare(jobs=1, days=8, expired_runs=2, expired_hidden=True)).runs()) == 6


@pytest.mark.parametrize(("how", "plain"), [("file", b""), ("header", b'"project_id",'), ("bytes", None)])
def test_an_empty_run_may_have_a_file(contentsquare: Open, how: str, plain: bytes | None) -> None:
    sandbox = contentsquare(jobs=1, days=1, empty_runs=1, empty_as=how, format="csv")
    client = Client(sandbox)
    (body,) = client.bytes_of(client.runs()[0])
    if plain is None:
        assert body == b""
    else:
        assert gzip.decompress(body)[:13] == plain
    assert sandbox.truth()[0]["rows"] == 0 == sandbox.truth()[0]["lines"]


def test_broken_and_blank_lines_are_in_the_truth(contentsquare: Open) -> None:
    sandbox = contentsquare(jobs=1, days=1, parts=1, broken_lines=9, blank_lines=4, rows=200, format="jsonl")
    client = Client(sandbox)
    lines = gzip.decompress(client.bytes_of(client.runs()[0])[0]).split(b"\n")[:-1]
    told = sandbox.truth()[0]
    assert (told["rows"], told["rejected"], told["blank"]) == (200, 9, 4)
    assert len(lines) == told["lines"] == 213
    assert sum(not line.strip() for line in lines) == 4
    assert sum(bool(line.strip()) and not is_record(line) for line in lines) == 9


def is_record(line: bytes) -> bool:
    def refused(text: Any) -> Any:
        raise ValueError(text)

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        return dict(pairs) if len(dict(pairs)) == len(pairs) else refused(pairs)

    try:
        row = json.loads(line.decode(), parse_constant=refused, object_pairs_hook=once)
        return isinstance(row, dict) and bool(json.dumps(row, ensure_ascii=False).encode())
    except ValueError:
        return False


def test_broken_csv_takes_no_neighbour_with_it(contentsquare: Open) -> None:
    sandbox = contentsquare(jobs=1, days=1, parts=1, broken_lines=9, rows=200, format="csv")
    client = Client(sandbox)
    text = gzip.decompress(client.bytes_of(client.runs()[0])[0]).decode()
    header, *records = csv.reader(io.StringIO(text, newline=""))
    assert Counter(len(record) == len(header) for record in records) == {True: 200, False: 9}


def first_rows(client: Client) -> list[list[dict[str, Any]]]:
    """The rows of each run, by period."""
    runs = sorted(client.runs(), key=lambda run: run["from"])
    return [rows_of(gzip.decompress(client.bytes_of(run)[0]), run["format"]) for run in runs]


def test_rows_in_other_spellings(contentsquare: Open) -> None:
    jobs = {"jobs": 1, "days": 1}
    row = first_rows(Client(contentsquare(**jobs)))[0][0]
    assert isinstance(row["user_id"], str) and row["is_excludable"] in (0, 1)
    other = first_rows(
        Client(contentsquare(**jobs, nested=True, bare=True, booleans=True, absent_nulls=True, times="iso"))
    )[0]
    assert other[0]["user_id"] == int(row["user_id"]) > 2**62
    assert other[0]["app_events"]["event_name"] == row["app_events.event_name"]
    assert other[0]["is_excludable"] in (True, False) and isinstance(other[0]["is_excludable"], bool)
    assert other[0]["session_time"] == row["session_time"].replace(" ", "T") + "Z"
    assert len({len(each) for each in other}) == 2  # one alias is sometimes null
    plain = Client(contentsquare(**jobs, plain_slashes=True))
    assert b"https://" in gzip.decompress(plain.bytes_of(plain.runs()[0])[0])
    sandbox = contentsquare(**jobs, times="minutes")
    assert first_rows(Client(sandbox))[0][0]["session_time"] == row["session_time"][:-3]


def test_columns_come_and_types_change(contentsquare: Open) -> None:
    days = first_rows(Client(contentsquare(jobs=1, days=4, unknown_fields=2, type_change="text")))
    assert ["Neues Feld 2" in rows[0] for rows in days] == [False, True, True, True]
    assert [type(rows[0]["VoC score"]) for rows in days] == [int, int, str, str]
    days = first_rows(Client(contentsquare(jobs=1, days=2, type_change="fraction")))
    assert {type(row["VoC score"]) for row in days[1]} == {float}
    days = first_rows(Client(contentsquare(jobs=1, days=2, type_change="big")))
    assert min(row["VoC score"] for row in days[1]) >= 2**63


def test_csv_of_old_has_no_header_and_a_file_may_lack_its_last_newline(contentsquare: Open) -> None:
    client = Client(contentsquare(jobs=1, days=1, format="csv", no_header=True, no_final_newline=True))
    text = gzip.decompress(client.bytes_of(client.runs()[0])[0])
    assert text.startswith(b"42,") and not text.endswith(b"\n")


# ---- levers


def test_runs_can_be_added_while_it_runs(contentsquare: Open) -> None:
    sandbox = contentsquare(jobs=1, days=2)
    client = Client(sandbox)

    def lever(path: str, **asked: Any) -> Any:
        answer = client.http.post(f"{sandbox.url}/_sandbox/{path}", json=asked)
        assert answer.is_success, answer.text
        return answer.json()

    before = client.get("exports")[0]
    lever("runs", rows=7)
    after = client.get("exports")[0]
    assert after["lastRunTime"] > before["lastRunTime"] and after["nextFrom"] > before["nextFrom"]
    newest = max(client.runs(), key=lambda run: run["from"])
    assert newest["from"] == before["nextFrom"] and sandbox.truth()[-1]["rows"] == 7
    again = lever("runs", restate=f"{newest['jobId']}-{newest['jobRunId']}", rows=3)
    assert [run["superseded"] for run in sandbox.truth()[-2:]] == [True, False]
    lever("runs", period="2026-01-05", state="FAILURE")
    assert len(client.runs()) == 4
    lever("runs", period="2026-01-06", ready_in=0.1)
    assert len(wait_for(lambda: len(client.runs()) == 5 and client.runs())) == 5
    lever("expire", run=again["run"])
    assert [run["run"] for run in sandbox.truth() if run["expired"]] == [again["run"]]
    lever("trouble", refuse_every=1)
    assert client.ask("exports").status_code == 429
    lever("trouble", reset=True)
    assert client.ask("exports").status_code == 200
    for asked in ({"restate": "1-1"}, {"nonsense": 1}):
        assert client.http.post(f"{sandbox.url}/_sandbox/runs", json=asked).status_code == 400


def test_it_goes_down_and_comes_back_on_the_same_port(contentsquare: Open) -> None:
    sandbox = contentsquare(jobs=1)
    client = Client(sandbox)
    before = client.runs()
    sandbox.stop()
    with pytest.raises(httpx.TransportError):
        client.runs()
    sandbox.start()
    assert client.runs() == before


def test_parts_are_made_when_asked_for_or_before(
    contentsquare: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    Client(contentsquare(days=2)).runs()
    assert list(tmp_path.iterdir()) == []
    sandbox = contentsquare(days=2, prepare=True)
    assert len(list(tmp_path.glob("*/*"))) == 8 == sum(len(run["parts"]) for run in sandbox.truth())


def test_a_taken_port_is_said_and_a_second_stop_is_nothing() -> None:
    with running() as sandbox:
        with pytest.raises(OSError, match="in use"), Sandbox(port=int(sandbox.url.rpartition(":")[2])):
            pass
        sandbox.stop()


# ---- given files


def test_given_files_are_daily_runs(contentsquare: Open, tmp_path: Path) -> None:
    given = {
        "sessions-2015-05-17.jsonl.gz": b'{"user_id":"18446744073709551615","a":[1,2],"t":"x"}\n\n'
        b'{"a":NaN}\n{"user_id":"1","a":[],"t":null}\n',
        "sessions-2015-05-18.2.jsonl.gz": b'{"user_id":"2"}\n',
        "sessions-2015-05-18.10.jsonl.gz": b'{"user_id":"3"}\n',
        "select-2015-05-18.csv.gz": b'"a","b"\n1,"x\ny"\n\\N,"\\N"\n1\n\n',
    }
    for name, text in given.items():
        (tmp_path / name).write_bytes(gzip.compress(text))
    (tmp_path / "README.md").write_text("not a part")
    sandbox = contentsquare(data=tmp_path)
    client = Client(sandbox)
    runs = sorted(client.runs(), key=lambda run: (run["scope"], run["from"]))
    assert [(run["scope"], run["from"][:10], run["to"][:10], run["nbOfFiles"]) for run in runs] == [
        ("select", "2015-05-18", "2015-05-19", 1),
        ("sessions", "2015-05-17", "2015-05-18", 1),
        ("sessions", "2015-05-18", "2015-05-19", 2),
    ]
    assert [file["partId"] for file in client.files(runs[2])] == [2, 10]
    assert client.bytes_of(runs[1]) == [(tmp_path / "sessions-2015-05-17.jsonl.gz").read_bytes()]
    truth = {(run["scope"], run["from"][:10]): run for run in sandbox.truth()}
    day = truth["sessions", "2015-05-17"]
    assert (day["rows"], day["rejected"], day["blank"]) == (2, 1, 1)
    assert day["columns"]["user_id"]["sum"] == "18446744073709551616"
    assert day["columns"]["a"]["inner"]["sum"] == "3"
    table = truth["select", "2015-05-18"]
    assert (table["rows"], table["rejected"], table["blank"]) == (2, 1, 1)
    assert (table["columns"]["a"]["nulls"], table["columns"]["b"]["characters"]) == (1, 5)
    assert Client(contentsquare(data=tmp_path, format="csv")).get("exports")[0]["fields"] == [
        {"fieldName": "a"},
        {"fieldName": "b"},
    ]
    job = client.post().json()["payload"]["jobId"]
    asked = wait_for(lambda: [run for run in client.runs() if run["jobId"] == job])
    assert asked[0]["nbOfFiles"] == 2 and sandbox.truth()[-1]["rows"] == 200
    with pytest.raises(ValueError, match="no made job"):
        sandbox.add_run()
    with pytest.raises(ValueError, match="has no file named"):
        Sandbox(data=tmp_path / "..", scope="nothing")


def test_serve_says_how_to_use_it_and_stops_at_a_signal(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "syncd", "sandbox", "contentsquare", "--jobs", "1"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"TMPDIR": str(tmp_path)})
    assert process.stdout
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith("token_url ="):
            break
    settings = dict(line.strip().split(" = ") for line in lines if " = " in line)
    assert settings["kind"] == '"contentsquare"' and "[sources.sandbox]\n" in lines
    assert httpx.get(json.loads(settings["token_url"]).replace("/v1/oauth/token", "/_sandbox/log")).status_code == 200
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0
    process.stdout.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("port", ["99999", "-1"])
def test_a_port_that_is_none_is_a_usage_error(port: str) -> None:
    command = [sys.executable, "-m", "syncd", "sandbox", "contentsquare", "--port", port]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, "--port" in ended.stderr, "Traceback" in ended.stderr) == (2, True, False)
