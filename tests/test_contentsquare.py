"""Contentsquare keeps the promises of a source, and bears what the vendor's pages leave open."""

from __future__ import annotations

import itertools
import pickle
import socket
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from syncd.errors import BadRun, ConfigError, LinkExpired, SyncdError, TryAgain
from syncd.model import NEVER, Run, Source
from syncd.retry import Patience, Patient
from syncd.sandbox.contentsquare import Sandbox
from syncd.sources.contentsquare.api import Field, Forbidden, NewExport
from syncd.sources.contentsquare.source import Contentsquare
from tests.sandbox_fixture import running
from tests.source_contract import SourceContract

SECRET = "s3cr3t-of-acme"
SOON = Patience(timedelta(seconds=20), first_pause_s=0.01)
Answer = Callable[[httpx.Request], httpx.Response]


def reader(sandbox: Sandbox, **more: Any) -> Contentsquare:
    section = sandbox.settings()
    section.pop("kind")
    return Contentsquare("acme", **section, **more)


class TestContract(SourceContract):
    @pytest.fixture(params=[0, 1], ids=["pages from 0", "pages from 1"])
    def source(self, request: pytest.FixtureRequest) -> Iterator[Source]:
        with running(days=3, rows=5, page_base=request.param, page_cap=4) as sandbox:
            yield reader(sandbox)


class TestContractWithPatience(SourceContract):
    """The same in the wrapper, at a vendor that refuses and forgets."""

    @pytest.fixture
    def source(self) -> Iterator[Source]:
        with running(days=2, rows=5, parts=1, refuse_every=3, refuse_with="503", jwt_expired_every=7) as sandbox:
            yield Patient(reader(sandbox), SOON)


@pytest.mark.parametrize(
    "trouble",
    [
        {"refuse_every": 2, "refuse_with": "429"},
        {"refuse_every": 2, "refuse_with": "429", "retry_after": 0.01},
        {"refuse_every": 2, "refuse_with": "400"},
        {"refuse_every": 2, "refuse_with": "403"},
        {"refuse_every": 2, "refuse_with": "200"},
        {"refuse_every": 2, "refuse_with": "500"},
        {"refuse_every": 2, "refuse_with": "cut"},
        {"token_life": 0.03},
        {"no_expires_in": True, "jwt_expired_every": 2},
        {"endpoint": "slash"},
        {"endpoint": "absent"},
        {"legacy_formats": True, "frequency_object": True, "null_dates": True, "completion_rate": 1},
        {"page_zero": "400", "past_end": "400"},
        {"past_end": "last", "page_base": 0},
        {"page_shift": 3},
        {"page_shift": -3},
        {"reshuffle": True},
    ],
    ids=str,
)
def test_every_run_is_found_once_at_a_troubled_vendor(trouble: dict[str, Any]) -> None:
    with running(days=9, rows=1, parts=1, page_cap=5, frequency="daily", **trouble) as sandbox:
        told = {run["run"]: run for run in sandbox.truth()}
        runs = list(Patient(reader(sandbox), SOON).runs((), sweep=True))
        assert len(runs) == len({run.id for run in runs})
        assert {run.id for run in runs} == set(told)
        for run in runs:
            truth = told[run.id]
            assert (run.scope, run.format, run.job) == (truth["scope"], truth["format"], str(truth["job"]))
            assert (run.start.isoformat(), run.end.isoformat()) == (truth["from"], truth["to"])
            assert run.fields[:2] == ("project_id", "user_id")


def asked(sandbox: Sandbox) -> int:
    return sum(sandbox.log()["total"].values())


@pytest.mark.parametrize("base", [0, 1])
@pytest.mark.parametrize("past_end", ["empty", "404"])
def test_a_long_history_is_swept_and_left_alone_within_the_budget(base: int, past_end: str) -> None:
    with running(jobs=2, days=600, rows=1, parts=1, frequency="daily", page_base=base, past_end=past_end) as sandbox:
        source, truth = reader(sandbox), {run["run"] for run in sandbox.truth()}
        before = asked(sandbox)
        source.jobs()
        found = {run.id for run in source.runs((), sweep=True)}
        assert found == truth
        assert asked(sandbox) - before <= len(found) / 100 + 5

        for _ in range(2):
            before = asked(sandbox)
            source.jobs()
            assert list(source.runs(found, sweep=False)) == []
            assert asked(sandbox) - before <= 2

        sandbox.add_run()
        source.jobs()
        assert len(list(source.runs(found, sweep=False))) == 1


def test_what_was_passed_on_and_is_still_open_comes_again() -> None:
    with running(jobs=1, days=1100, rows=1, parts=1, frequency="daily") as sandbox:
        source = reader(sandbox)
        first, *others = (run.id for run in source.runs((), sweep=True))
        assert [run.id for run in source.runs(set(others), sweep=False)] == [first]


class Counting(httpx.HTTPTransport):
    """Counts the requests whose answers have not been read to their end."""

    def __init__(self) -> None:
        super().__init__()
        self.now, self.most, self.lock = 0, 0, threading.Lock()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        response = super().handle_request(request)
        assert isinstance(response.stream, httpx.SyncByteStream)
        end = response.stream.close

        def close() -> None:
            with self.lock:
                self.now -= 1
            end()

        response.stream.close = close  # type: ignore[method-assign]
        return response


def test_never_more_requests_at_once_than_allowed() -> None:
    with running(jobs=1, days=3, rows=5, parts=3, latency=0.01, slow=200_000) as sandbox:
        counting = Counting()
        source = reader(sandbox, max_concurrent_requests=2, transport=counting)
        parts = [part for run in source.runs((), sweep=True) for part in source.parts(run)]

        def bring(index: int) -> None:
            with source.open(parts[index]) as body:
                assert b"".join(body)
            assert source.jobs()

        threads = [threading.Thread(target=bring, args=(index,)) for index in range(len(parts))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert counting.most == 2
        assert sandbox.log()["authorization_on_file_url"] == 0


def test_a_dead_link_is_listed_again() -> None:
    with running(days=1, rows=5) as sandbox:
        source = reader(sandbox)
        run = next(source.runs((), sweep=True))
        part = source.parts(run)[0]
        sandbox.expire_links()
        with pytest.raises(LinkExpired), source.open(part):
            pass
        with source.open(source.parts(run)[0]) as body:
            assert b"".join(body)


def test_jobs_and_since_leave_runs_out() -> None:
    with running(jobs=2, days=4, rows=1, parts=1, frequency="daily", period_end="inclusive") as sandbox:
        everything = list(reader(sandbox).runs((), sweep=True))
        job, day = everything[0].job, max(run.start for run in everything).date()
        some = reader(sandbox, jobs=frozenset([job]))
        assert {run.job for run in some.runs((), sweep=True)} == {job} == {one.id for one in some.jobs()}
        late = list(reader(sandbox, since=day).runs((), sweep=True))
        assert {run.start.date() for run in late} == {day}


def test_a_job_is_created_once_though_the_answer_was_lost() -> None:
    with running(days=1, rows=5, post_cut=True) as sandbox:
        api = reader(sandbox).api
        start = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=2)
        wanted = NewExport("syncd-42", "views", [Field("session_id")], start=start, end=start + timedelta(days=1))
        before = {job.id for job in api.exports()}
        with pytest.raises(TryAgain):
            api.create_export(wanted)
        created = api.create_export(wanted)
        assert {job.id for job in api.exports()} - before == {created}
        assert api.export(created).name == "syncd-42"


def test_all_endpoints_answer_typed() -> None:
    with running(jobs=1, days=2, rows=5) as sandbox:
        api = reader(sandbox).api
        job = next(api.exports())
        assert job.fields and job.frequency in ("daily", "hourly", "once")
        assert replace(api.export(job.id), next_run_at=None) == replace(job, next_run_at=None)
        run = next(iter(api.export_runs(job.id)))
        assert run.state == "SUCCESS" and run.files == () and len(api.export_run(job.id, run.id).files) == 2
        assert {field.name for field in api.exportable_fields("views")} >= {"session_id"}
        assert any(var.position for var in api.custom_vars())
        assert all(key.key for key in api.dynamic_var_keys(datetime(2026, 1, 1, tzinfo=UTC), datetime.now(UTC)))
        with pytest.raises(BadRun):
            api.export_run(job.id, "0")


# ---- answers no sandbox gives


@contextmanager
def vendor(
    *,
    token: Answer | dict[str, Any] | None = None,
    answers: dict[str, Any] | None = None,
    token_url: str = "https://api.vendor.test/v1/oauth/token",
) -> Iterator[Contentsquare]:
    """A source whose vendor gives these payloads (or answers) by path; every list ends after its first page."""
    good = {"access_token": "t0ken", "endpoint": "https://eu.vendor.test/", "expires_in": 3600}

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/oauth/token"):
            return token(request) if callable(token) else httpx.Response(200, json=good | (token or {}))
        found = (answers or {})[request.url.path.removeprefix("/v1/")]
        if callable(found):
            return found(request)
        if request.url.params.get("page") and isinstance(found, list):
            found = []
        return httpx.Response(200, json={"success": True, "payload": found})

    source = Contentsquare("acme", "me", SecretStr(SECRET), 42, token_url, transport=httpx.MockTransport(answer))
    try:
        yield source
    except SyncdError as error:
        assert SECRET not in "".join(traceback.format_exception(error)) + error.hint
        assert "t0ken" not in "".join(traceback.format_exception(error)) + error.hint
        raise


def refusal(status: int, **what: Any) -> Answer:
    return lambda request: httpx.Response(status, **what)


@pytest.mark.parametrize(
    ("token", "reaction", "says"),
    [
        (refusal(401, json={"error": "invalid_client", "error_description": SECRET}), ConfigError, "client_secret"),
        (refusal(400, json={"error": "invalid_client"}), ConfigError, "client_secret"),
        (refusal(403, json={"success": False, "errorMessage": "no"}), ConfigError, "client_secret"),
        (refusal(500, json={}), TryAgain, "possibly wrong credentials"),
        (refusal(503), TryAgain, "trouble"),
        (refusal(429, headers={"Retry-After": "3"}), TryAgain, ""),
        (refusal(404, html="<h1>Not here</h1>"), ConfigError, "token_url"),
        (refusal(200, html="<h1>Welcome</h1>"), TryAgain, "token_url"),
        (refusal(200, json={"success": False}), TryAgain, "token_url"),
        (refusal(302, headers={"Location": "https://elsewhere.test/"}), TryAgain, "token_url"),
        ({"access_token": None}, TryAgain, "token_url"),
        ({"access_token": "t0ken\nX-Evil: 1"}, TryAgain, "token_url"),
        ({"endpoint": "http://api.vendor.test"}, ConfigError, "token_url"),
    ],
)
def test_a_login_that_fails_names_the_setting(token: Any, reaction: type[SyncdError], says: str) -> None:
    with pytest.raises(reaction) as caught, vendor(token=token) as source:
        source.jobs()
    assert type(caught.value) is reaction
    assert says in caught.value.hint


@pytest.mark.parametrize(
    ("path", "hinted"), [("/v1/oauth/token", False), ("/v1/oauth/token/", False), ("/v1/token", True), ("/", True)]
)
def test_a_refusal_at_an_unusual_path_doubts_the_path_too(path: str, hinted: bool) -> None:
    transport = httpx.MockTransport(refusal(401, json={"success": False, "errorMessage": "no"}))
    source = Contentsquare("acme", "me", SecretStr(SECRET), None, f"https://api.vendor.test{path}", transport=transport)
    with pytest.raises(ConfigError) as caught:
        source.jobs()
    assert "client_secret" in caught.value.hint
    assert ("token_url" in caught.value.hint) is hinted


def test_a_port_where_nobody_listens_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    source = Contentsquare("acme", "me", SecretStr(SECRET), token_url=f"http://127.0.0.1:{port}/v1/oauth/token")
    with pytest.raises(TryAgain) as caught:
        source.jobs()
    assert f"127.0.0.1:{port}" in str(caught.value)
    assert f"127.0.0.1:{port}/v1/oauth/token" in caught.value.hint


@pytest.mark.parametrize("error", [httpx.ConnectError("Name or service not known"), httpx.ReadTimeout("slow")])
def test_a_wrong_host_is_quoted_with_its_key(error: httpx.TransportError) -> None:
    def nobody(request: httpx.Request) -> httpx.Response:
        raise error

    with pytest.raises(TryAgain) as caught, vendor(token=nobody) as source:
        source.jobs()
    assert "sources.acme.token_url" in caught.value.hint and "api.vendor.test" in caught.value.hint


@pytest.mark.parametrize(
    ("endpoint", "host"),
    [
        ("https://eu.vendor.test", "eu.vendor.test"),
        ("https://eu.vendor.test/", "eu.vendor.test"),
        ("https://eu.vendor.test/v1", "eu.vendor.test"),
        ("https://eu.vendor.test/v1/", "eu.vendor.test"),
        ("eu.vendor.test", "eu.vendor.test"),
        (None, "api.vendor.test"),
        ("", "api.vendor.test"),
        (7, "api.vendor.test"),
    ],
)
def test_the_base_url_comes_with_the_token(endpoint: object, host: str) -> None:
    seen: list[httpx.URL] = []

    def jobs(request: httpx.Request) -> httpx.Response:
        seen.append(request.url)
        assert request.headers["Authorization"] == "Bearer t0ken"
        return httpx.Response(200, json={"payload": []})

    with vendor(token={"endpoint": endpoint}, answers={"exports": jobs}) as source:
        source.jobs()
    assert (seen[0].host, seen[0].path, seen[0].params["limit"]) == (host, "/v1/exports", "100")


@pytest.mark.parametrize("life", [None, 0, -5, "soon", "3600", 1e300, float(3600)])
def test_a_silly_life_of_a_token_is_an_hour(life: object) -> None:
    count = itertools.count(1)

    def token(request: httpx.Request) -> httpx.Response:
        assert orjson_of(request)["scope"] == "data-export" and orjson_of(request)["project_id"] == 42
        return httpx.Response(200, json={"access_token": f"t0ken{next(count)}", "expires_in": life})

    with vendor(token=token, answers={"exports": []}) as source:
        for _ in range(3):
            source.jobs()
    assert next(count) == 2


def orjson_of(request: httpx.Request) -> dict[str, Any]:
    import orjson

    found: dict[str, Any] = orjson.loads(request.content)
    return found


def test_many_threads_with_a_dead_token_ask_for_one_new_token() -> None:
    count, alive = itertools.count(1), "t0ken2"
    gate = threading.Barrier(3)

    def token(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"access_token": f"t0ken{next(count)}"})

    def jobs(request: httpx.Request) -> httpx.Response:
        if request.headers["Authorization"] != f"Bearer {alive}":
            gate.wait(10)  # all of them have the old one
            return httpx.Response(401, json={"success": False, "errorCode": "JWT_EXPIRED"})
        return httpx.Response(200, json={"payload": []})

    with vendor(token=token, answers={"exports": jobs}) as source:
        threads = [threading.Thread(target=source.jobs) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert next(count) == 3


def test_a_token_that_others_used_up_is_no_refusal() -> None:
    """Each token serves one request, three threads at once: whoever comes second is not refused, only late."""
    made, unused, gate = itertools.count(1), set[str](), threading.Barrier(3)

    def token(request: httpx.Request) -> httpx.Response:
        unused.add(made_now := f"t0ken{next(made)}")
        return httpx.Response(200, json={"access_token": made_now})

    def jobs(request: httpx.Request) -> httpx.Response:
        bearer = request.headers["Authorization"].removeprefix("Bearer ")
        if next(asked_for) < 3:
            gate.wait(10)  # all of them share the first token
        with first_wins:
            if bearer in unused:
                unused.remove(bearer)
                return httpx.Response(200, json={"payload": []})
        return httpx.Response(401, json={"success": False, "errorCode": "JWT_EXPIRED"})

    asked_for, first_wins, troubles = itertools.count(), threading.Lock(), list[Exception]()

    def ask() -> None:
        try:
            for _ in range(20):
                source.jobs()
        except SyncdError as error:
            troubles.append(error)

    with vendor(token=token, answers={"exports": jobs}) as source:
        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert troubles == []


def test_a_second_401_is_a_refusal() -> None:
    answers = {"exports": refusal(401, json={"success": False, "errorMessage": f"bad t0ken {SECRET}"})}
    with pytest.raises(ConfigError, match="credentials refused"), vendor(answers=answers) as source:
        source.jobs()


@pytest.mark.parametrize(
    ("answer", "reaction"),
    [
        (refusal(429, headers={"Retry-After": "9"}), TryAgain),
        (refusal(502, html="<h1>Bad gateway</h1>"), TryAgain),
        (refusal(400, json={"errorMessage": "Concurrency limit reached"}), TryAgain),
        (refusal(403, json={"errorMessage": "Too many concurrent requests"}), TryAgain),
        (refusal(403, json={"errorMessage": "Forbidden"}), Forbidden),
        (refusal(403), Forbidden),
        (refusal(200, json={"success": False, "errorMessage": "Oops"}), TryAgain),
        (refusal(200, html="<h1>Log in</h1>"), TryAgain),
        (refusal(200, json={"payload": {"no": "list"}}), TryAgain),
        (refusal(301, headers={"Location": "https://elsewhere.test/"}), TryAgain),
    ],
)
def test_each_answer_has_its_reaction(answer: Answer, reaction: type[SyncdError]) -> None:
    with pytest.raises(reaction) as caught, vendor(answers={"exports": answer}) as source:
        source.jobs()
    assert type(caught.value) is reaction


def one_run(**row: Any) -> Run:
    with vendor(answers={"exports": [], "exports/successful-runs": [row]}) as source:
        (run,) = source.runs((), sweep=True)
    return run


FULL: dict[str, Any] = {
    "jobId": 7,
    "jobRunId": 9,
    "from": "2026-01-05T00:00:00.000Z",
    "to": "2026-01-05T23:59:59.999Z",
    "completionTime": "2026-01-06T04:30:00.000Z",
    "format": "JSONL",
    "scope": "views",
    "frequency": "daily",
    "nbOfFiles": 2,
}


def test_a_row_is_a_run() -> None:
    run = one_run(**FULL, surprise=[1])
    assert (run.id, run.job, run.scope, run.format, run.backfill) == ("7-9", "7", "views", "jsonl", False)
    assert run.end == datetime(2026, 1, 5, 23, 59, 59, 999000, UTC)
    assert run.expires_at == run.completed_at + timedelta(days=7)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"jobId": "7", "jobRunId": 9.0}, {"id": "7-9"}),
        ({"frequency": {"value": "ONCE", "dateRange": {}}}, {"backfill": True}),
        ({"format": "CSVWithNames", "scope": "Sessions"}, {"format": "csv", "scope": "sessions"}),
        ({"format": "JSONEachRow"}, {"format": "jsonl"}),
        ({"format": "JSON", "scope": "../../x"}, {"format": "jsonl", "scope": "../../x"}),
        ({"format": None, "nbOfFiles": None}, {"format": "jsonl"}),
        ({"to": None}, {"end": datetime(2026, 1, 6, tzinfo=UTC)}),
        ({"from": "2026-01-05 00:00", "to": "2026-01-06T01:00:00+01:00"}, {"end": datetime(2026, 1, 6, tzinfo=UTC)}),
        (
            {"completionTime": None, "to": "2026-01-06"},
            {"completed_at": datetime(2026, 1, 6, tzinfo=UTC), "expires_at": NEVER},
        ),
        ({"completionTime": "yesterday"}, {"expires_at": NEVER}),
        ({"from": "0001-01-01T00:00:00Z"}, {"start": datetime(2026, 1, 4, 23, 59, 59, 999000, UTC)}),
        ({"to": "9999-12-31T23:59:59Z"}, {"end": datetime(2026, 1, 6, tzinfo=UTC)}),
        ({"completionTime": "9999-12-31T23:59:59Z"}, {"expires_at": NEVER}),
        ({"completionTime": 0}, {"expires_at": NEVER}),
    ],
)
def test_odd_rows_are_read(changed: dict[str, Any], expected: dict[str, Any]) -> None:
    run = one_run(**FULL | changed)
    assert replace(run, **expected) == run


def test_runs_without_a_period_never_supersede_each_other() -> None:
    bare = {"jobId": 7, "scope": "views"}
    one, other = one_run(**bare, jobRunId=1), one_run(**bare, jobRunId=2)
    assert (one.start, one.end) != (other.start, other.end)
    assert one == one_run(**bare, jobRunId=1)


def parts(run: Run, **detail: Any) -> list[str]:
    with vendor(answers={"exports/7/runs/9": {"jobRunId": 9, "state": "SUCCESS"} | detail}) as source:
        return [part.name for part in source.parts(run)]


def file(part: Any, path: str = "", signature: str = "a", **more: Any) -> dict[str, Any]:
    return {"partId": part, "url": f"https://files.test/{path or part}?sig={signature}"} | more


def test_files_are_parts_by_their_id() -> None:
    run = one_run(**FULL)
    assert parts(run, files=[file(10), file("2", fileSize="x")]) == ["2", "10"]
    assert parts(run, files=[file(1), file(2), file(3)]) == ["1", "2", "3"]  # more than announced
    assert parts(run, state="success", files=[file(1), file(2), file(2, signature="b")]) == ["1", "2"]
    assert parts(replace(run, ref=""), files=[]) == []


@pytest.mark.parametrize(
    ("detail", "reaction"),
    [
        ({"state": "FAILURE"}, BadRun),
        ({"state": "RUNNING"}, TryAgain),
        ({"files": [file(1)]}, BadRun),
        ({"files": None}, BadRun),
        ({"files": [file(1), file(1, "elsewhere")]}, BadRun),
        ({"files": [file(1), {"partId": 2, "url": None}]}, TryAgain),
    ],
)
def test_a_run_never_loads_with_files_missing(detail: dict[str, Any], reaction: type[SyncdError]) -> None:
    with pytest.raises(reaction) as caught:
        parts(one_run(**FULL), **detail)
    assert type(caught.value) is reaction
    assert caught.value.hint


def test_a_run_that_has_just_ended_may_still_be_filling() -> None:
    run = replace(one_run(**FULL), completed_at=datetime.now(UTC))
    with pytest.raises(TryAgain, match="has 2 files, but only 1"):
        parts(run, files=[file(1)])


def test_a_link_over_plain_http_is_refused() -> None:
    with vendor(answers={"exports/7/runs/9": {"files": [file(1) | {"url": "http://files.test/1?sig=a"}]}}) as source:
        part = source.parts(replace(one_run(**FULL), ref="7/9/1"))[0]
        with pytest.raises(BadRun, match=r"http://files\.test"), source.open(part):
            pass


def test_secrets_are_not_shown_and_travel() -> None:
    source = Contentsquare("acme", "me", SECRET, since=date(2026, 1, 1), jobs=[7])
    again = pickle.loads(pickle.dumps(source))
    assert SECRET not in repr(source) + repr(again) + repr(vars(source))
    assert again.name == "acme"
