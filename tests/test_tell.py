"""Telling people and programs: real servers and programs, in every mood; the mirror never notices."""

from __future__ import annotations

import json  # noqa: TID251  # messages as any receiver reads them
import os
import re
import socket
import sys
import threading
import time
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from syncd.outlook import Outlook
from syncd.tell.deliver import Undelivered, posting, running
from syncd.tell.lines import TRIES, Heartbeat, Loads, Troubles, load, message, slack
from syncd.tell.notes import Notes, read
from syncd.troubles import WORDS, Trouble, troubles
from tests.ear import Ear, listening_ear
from tests.home import Home
from tests.sandbox_fixture import running as sandbox
from tests.test_http import daemon, until
from tests.test_outlook import midnight

SECRET = "planted-h00k-55aa"
LOAD_KEYS = {"event", "source", "scope", "job", "run", "period_start", "period_end"}
LOAD_KEYS |= {"rows", "rejected", "bytes", "parts", "text"}


def told(ear: Ear, event: str) -> list[dict[str, Any]]:
    return [message for message in ear.messages() if message.get("event") == event]


def test_each_load_is_told_once_with_its_figures_also_after_a_restart(tmp_path: Path) -> None:
    with sandbox(jobs=2, days=2, frequency="daily", rows=5) as vendor, listening_ear() as ear:
        home = Home(tmp_path, {"acme": vendor.settings()}, tell={"loaded_url": f"{ear.url}/"})
        home.once()
        loads = told(ear, "loaded")
        assert len(loads) == 4
        for message in loads:
            assert message.keys() == LOAD_KEYS
            ((rows, start),) = home.query(f"SELECT rows, period_start FROM _syncd.runs WHERE run = '{message['run']}'")
            assert message["rows"] == rows
            assert message["period_start"] == f"{start.isoformat()}Z"
            assert f"acme.{message['scope']}" in message["text"]
        home.once()
        assert len(ear.messages()) == 4, "nothing new, nothing told"
        home.run("replay", f"acme/{loads[0]['run']}")
        assert [message["run"] for message in told(ear, "replayed")] == [loads[0]["run"]]


def test_what_could_not_be_told_is_told_later_and_the_mirror_does_not_notice(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with sandbox(jobs=1, days=2, rows=5) as vendor:
        home = Home(
            tmp_path, {"acme": vendor.settings()}, tell={"loaded_url": f"http://127.0.0.1:{port}/?token={SECRET}"}
        )
        ended = home.once()
        assert "telling_failed" in ended.stderr
        assert SECRET not in ended.stderr
        loaded = {run["run"] for run in home.json("runs") if run["state"] == "loaded"}
        with listening_ear(port=port) as ear:
            home.once()
            assert {message["run"] for _, _, message, _ in ear.came} == loaded
            assert SECRET in ear.came[0][1]


def test_what_was_here_before_anybody_wanted_to_know_is_no_news(tmp_path: Path) -> None:
    with sandbox(jobs=1, days=2, rows=5) as vendor, listening_ear() as ear:
        home = Home(tmp_path, {"acme": vendor.settings()})
        home.once()
        home.write({"acme": vendor.settings()}, tell={"loaded_url": f"{ear.url}/"})
        home.once()
        assert ear.came == []
        run = vendor.add_run()
        home.once()
        assert [f"{message['job']}-" in message["run"] for message in ear.messages()] == [True]
        assert ear.messages()[0]["run"] == run.name


def test_a_program_gets_the_load_and_none_of_our_secrets(tmp_path: Path) -> None:
    seen = tmp_path / "seen.jsonl"
    program = tmp_path / "after-load"
    program.write_text(
        f"#!{sys.executable}\nimport json, os, sys\n"
        f"told = json.load(sys.stdin)\n"
        f"print(json.dumps([told, dict(os.environ)]), file=open({str(seen)!r}, 'a'))\n"
    )
    program.chmod(0o755)
    with sandbox(jobs=1, days=1, rows=5) as vendor:
        section = {key: value for key, value in vendor.settings().items() if key != "client_secret"}
        home = Home(tmp_path, {"acme": section}, tell={"loaded_command": [str(program)]})
        home.once(SYNCD_SOURCES__ACME__CLIENT_SECRET=vendor.client_secret, NOTIFY_SOCKET="")
    ((message, environment),) = (json.loads(line) for line in seen.read_text().splitlines())
    assert message.keys() == LOAD_KEYS
    assert environment["LOADED_RUN"] == message["run"]
    assert environment["LOADED_PERIOD_START"] == message["period_start"]
    assert environment["LOADED_WAREHOUSE"] == str(home.data_dir / "warehouse.duckdb")
    assert vendor.client_secret not in json.dumps(environment)
    assert not [name for name in environment if name.startswith(("SYNCD_", "NOTIFY_"))]


def test_a_program_that_hangs_is_ended_with_all_it_started(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    script = f"echo $$ >> {pids}; sleep 600 & echo $! >> {pids}; wait"
    run = running("tell.loaded_command", ("sh", "-c", script), timedelta(seconds=0.5), threading.Event(), "w")
    with pytest.raises(Undelivered, match="longer than"):
        run({"event": "loaded"})
    for pid in pids.read_text().split():
        until(lambda pid=pid: not alive(int(pid)), within_s=10)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def test_a_stop_does_not_wait_for_a_program() -> None:
    stop = threading.Event()
    run = running("tell.loaded_command", ("sleep", "600"), timedelta(hours=1), stop, "w")
    threading.Timer(0.3, stop.set).start()
    began = time.monotonic()
    with pytest.raises(Undelivered, match="syncd stops"):
        run({"event": "loaded"})
    assert time.monotonic() - began < 30


def test_a_program_that_fails_says_why_and_holds_up_nobody_for_ever(tmp_path: Path) -> None:
    with pytest.raises(Undelivered, match="ended with 3: no such model"):
        running("c", ("sh", "-c", "echo no such model >&2; exit 3"), timedelta(minutes=1), threading.Event(), "w")({})
    with pytest.raises(Undelivered, match="can't be started"):
        running("c", (str(tmp_path / "nowhere"),), timedelta(minutes=1), threading.Event(), "w")({})
    loud = "head -c 50000000 /dev/zero; exit 1"
    with pytest.raises(Undelivered, match="ended with 1"):
        running("c", ("sh", "-c", loud), timedelta(minutes=1), threading.Event(), "w")({})
    with sandbox(jobs=1, days=1, rows=5) as vendor:
        home = Home(tmp_path, {"acme": vendor.settings()}, tell={"loaded_command": "false"})
        assert home.once().stderr.count("telling_given_up") == len(home.json("runs"))
        assert "telling" not in home.once().stderr


@pytest.mark.parametrize(
    ("status", "said", "tries"),
    [(404, "answers HTTP 404", 1), (302, "a redirect is not followed", 1), (500, "answers HTTP 500", 2)],
)
def test_what_answers_otherwise(status: int, said: str, tries: int) -> None:
    with listening_ear() as ear:
        ear.status = lambda number: status
        stop = threading.Event()
        if tries > 1:
            threading.Timer(3, stop.set).start()
        with pytest.raises(Undelivered) as refused:
            posting("tell.trouble_url", SecretStr(f"{ear.url}/{SECRET}"), stop)({"a": 1})
        assert said in f"{refused.value} {refused.value.hint}"
        assert SECRET not in f"{refused.value} {refused.value.hint}"
        assert len(ear.came) >= tries
        assert not [path for _, path, _, _ in ear.came if path == "/elsewhere"]


def loads(notes: Notes, ear: Ear, runs: int) -> Loads:
    """A line to the ear that has heard of some loads."""
    line = Loads("loaded_url", posting("tell.loaded_url", SecretStr(f"{ear.url}/"), threading.Event()), notes)
    for number in range(runs):
        values: dict[str, Any] = {"run": f"acme/{number}", "scope": "views", "job": "7"}
        values |= {"period_start": midnight(1), "period_end": midnight(0)}
        line.hear("run_loaded", values | dict.fromkeys(("rows", "rejected", "bytes", "parts"), 1))
    return line


@pytest.mark.parametrize("status", [400, 409, 410, 413, 422])
def test_a_load_that_is_refused_holds_up_no_other_and_is_given_up(tmp_path: Path, status: int) -> None:
    notes = Notes(tmp_path / "told.jsonl", ["loaded_url"], datetime.now(UTC))
    with listening_ear() as ear, capture_logs() as logged:
        ear.status = lambda number: status if ear.came[number - 1][2]["run"] == "0" else 200
        line = loads(notes, ear, 3)
        for _ in range(TRIES - 1):
            with pytest.raises(Undelivered, match=f"answers HTTP {status}"):
                line.round()
            assert notes.told("loaded_url").keys() == {"acme/1", "acme/2"}, "it may still be taken"
        line.round()
        line.round()
        assert [one["run"] for one in ear.messages()].count("0") == TRIES
    assert [(one["event"], one["run"]) for one in logged] == [("telling_given_up", "acme/0")]


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_url_that_is_wrong_costs_no_load(tmp_path: Path, status: int) -> None:
    notes = Notes(tmp_path / "told.jsonl", ["loaded_url"], datetime.now(UTC))
    with listening_ear() as ear:
        ear.status = lambda number: status if number <= TRIES + 1 else 200
        line = loads(notes, ear, 2)
        for _ in range(TRIES + 1):
            with pytest.raises(Undelivered):
                line.round()
        line.round()
        assert [one["run"] for one in ear.messages()][TRIES + 1 :] == ["0", "1"]


def test_a_busy_one_is_tried_again(tmp_path: Path) -> None:
    with listening_ear() as ear:
        ear.status = lambda number: 503 if number < 3 else 204
        posting("k", SecretStr(ear.url), threading.Event(), SecretStr("Token x"))({"a": 1})
        assert len(ear.came) == 3
        assert ear.came[0][3]["Authorization"] == "Token x"


def test_a_slow_one_does_not_hold_up_the_daemon(tmp_path: Path) -> None:
    with sandbox(jobs=1, days=3, rows=5) as vendor, listening_ear() as ear:
        ear.slow_s = 600  # past any patience
        tell = {key: f"{ear.url}/{key}" for key in ("loaded_url", "trouble_url", "heartbeat_url")}
        home = Home(tmp_path, {"acme": vendor.settings() | {"poll_interval": "1s"}}, tell=tell)
        with daemon(home) as syncd:
            until(lambda: len(syncd.told("run_loaded")) == len(vendor.truth()))
            until(lambda: len(syncd.told("pass_ended")) >= 3)


def test_a_heartbeat_after_each_good_pass_and_none_while_a_source_fails(tmp_path: Path) -> None:
    with sandbox(jobs=1, days=1, rows=5) as vendor, listening_ear() as ear:
        home = Home(
            tmp_path,
            {"acme": vendor.settings() | {"poll_interval": "1s"}},
            retry_for="0s",
            tell={"heartbeat_url": f"{ear.url}/beat"},
        )
        with daemon(home) as syncd:
            until(lambda: len(ear.came) >= 2)
            assert ear.came[0][:2] == ("GET", "/beat")
            vendor.set_trouble(refuse_every=1, refuse_with="503")
            until(lambda: syncd.told("pass_failed"))
            time.sleep(1)
            heard = len(ear.came)
            until(lambda: len(syncd.told("pass_failed")) >= 3)
            assert len(ear.came) == heard
    line = Heartbeat("heartbeat_url", lambda message: heard_of.append(message))
    heard_of: list[Any] = []
    line.hear("pass_failed", {"source": "one"})
    line.hear("pass_ended", {"source": "two"})
    line.round()
    assert heard_of == [], "one source fails: the other's good pass must not hide it"


def test_set_aside_is_told_once_and_its_end_too(tmp_path: Path) -> None:
    with sandbox(jobs=1, days=1, rows=50, frequency="daily", broken_lines=20) as vendor, listening_ear() as ear:
        home = Home(tmp_path, {"acme": vendor.settings()}, tell={"trouble_url": f"{ear.url}/"})
        home.once(expect=1)
        (first,) = told(ear, "set_aside")
        (trouble,) = first["troubles"]
        assert first["source"] == "acme"
        assert first["count"] == 1
        assert "lines rejected" in trouble["error"]
        assert f"syncd retry --accept-rejected acme/{trouble['run']}" in first["text"]
        home.once(expect=1)
        home.once(expect=1)
        assert len(ear.messages()) == 1, "once is enough, also after a restart"
        home.run("retry", "--accept-rejected", f"acme/{trouble['run']}")
        _, over = ear.messages()
        assert over["event"] == "recovered"
        assert over["troubles"][0]["was"] == "set_aside"
        home.once()
        assert len(ear.messages()) == 2


def test_credentials_that_are_refused_are_told_at_once_and_that_they_work_again(tmp_path: Path) -> None:
    with sandbox(jobs=1, days=1, rows=5) as vendor, listening_ear() as ear:
        section = vendor.settings()
        home = Home(tmp_path, {"acme": section | {"client_secret": SECRET}}, tell={"trouble_url": f"{ear.url}/"})
        home.once(expect=2)
        home.once(expect=2)
        (message,) = ear.messages()
        assert message["event"] == "source"
        assert "credentials refused" in message["text"]
        assert SECRET not in json.dumps(message)
        home.write({"acme": section}, tell={"trouble_url": f"{ear.url}/"})
        home.once()
        assert [message["event"] for message in ear.messages()] == ["source", "recovered"]


def test_what_the_vendor_soon_deletes_is_told_and_then_that_it_is_home(tmp_path: Path) -> None:
    knobs: Any = dict(jobs=1, days=1, rows=5, frequency="daily", file_status=503, fault_times=0)
    with sandbox(**knobs) as vendor, listening_ear() as ear:
        tell = {"trouble_url": f"{ear.url}/", "expiring_within": "8d"}
        home = Home(tmp_path, {"acme": vendor.settings()}, retry_for="0s", tell=tell)
        home.once(expect=75)
        (message,) = ear.messages()
        assert message["event"] == "expiring"
        assert "the vendor deletes its files in 6 d" in message["troubles"][0]["error"]
        vendor.set_trouble(file_status=0)
        home.once()
        assert [one["event"] for one in ear.messages()] == ["expiring", "recovered"]


class Looking:
    """A Troubles line over what a test wants to be seen."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, ear: Ear | None = None) -> None:
        self.now: list[Trouble] = []
        self.sent: list[dict[str, Any]] = []
        self.notes = Notes(folder / "told.jsonl", ["trouble_url"], datetime.now(UTC))
        monkeypatch.setattr("syncd.tell.lines.troubles", lambda seen, within: iter(self.now))
        nothing: Any = lambda: None  # noqa: E731  # `troubles` above looks at nothing
        post = posting("tell.trouble_url", SecretStr(f"{ear.url}/"), threading.Event()) if ear else None
        deliver: Any = post or self.sent.append
        self.line = Troubles("trouble_url", deliver, self.notes, nothing, timedelta(hours=24))


def late(back: int, kind: str = "late") -> Trouble:
    return Trouble(kind, "acme", "due", "", "7", "views", "", midnight(back), midnight(back - 1))


def test_nothing_is_late_before_the_source_was_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    look = Looking(tmp_path, monkeypatch)
    look.now = [late(1), late(2), late(3)]
    look.line.round()
    assert look.sent == []
    look.line.hear("pass_ended", {"source": "acme"})
    look.line.round()
    assert [(one["event"], one["count"]) for one in look.sent] == [("late", 3)], "together, in one message"
    look.line.round()
    assert len(look.sent) == 1


def test_a_trouble_that_becomes_another_is_not_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    look = Looking(tmp_path, monkeypatch)
    look.line.hear("pass_ended", {"source": "acme"})
    look.now = [late(1)]
    look.line.round()
    look.now = [late(1, "failed")]
    look.line.round()
    look.now = []
    look.line.round()
    assert [one["event"] for one in look.sent] == ["late", "failed", "recovered"]
    assert look.sent[-1]["troubles"][0]["was"] == "failed"


@pytest.mark.parametrize(("status", "is_given_up"), [(400, True), (422, True), (403, False), (404, False)])
def test_a_trouble_that_is_refused_holds_up_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, is_given_up: bool
) -> None:
    def rounds(count: int, event: str) -> None:
        for _ in range(count):
            with pytest.raises(Undelivered, match=f"answers HTTP {status}"):
                look.line.round()
            assert [one["event"] for one in ear.messages()][-2:] in ([event, "late"], ["late", event], [event, event])

    with listening_ear() as ear, capture_logs() as logged:
        ear.status = lambda number: status if ear.came[number - 1][2]["event"] == "failed" else 200
        look = Looking(tmp_path, monkeypatch, ear)
        look.line.hear("pass_ended", {"source": "acme"})
        look.now = [late(1, "failed"), late(2)]
        rounds(TRIES - 1, "failed")
        assert [one["event"] for one in ear.messages()].count("late") == 1, "it came, and once"
        assert logged == []
        if is_given_up:
            look.line.round()
            assert [(one["event"], one["trouble"], one["source"]) for one in logged] == [
                ("telling_given_up", "failed", "acme")
            ]
            assert logged[0]["hint"]
            look.line.round()
        else:
            rounds(TRIES, "failed")
            ear.status = lambda number: 200
            look.line.round()
        assert [one["event"] for one in ear.messages()].count("failed") == (TRIES if is_given_up else 2 * TRIES)
        look.now = []
        look.line.round()
        assert [one["event"] for one in ear.messages()][-2:] == ["recovered", "recovered"]
        assert look.notes.told("trouble_url") == {}


def test_an_end_that_is_refused_holds_up_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with listening_ear() as ear:
        look = Looking(tmp_path, monkeypatch, ear)
        look.line.hear("pass_ended", {"source": "acme"})
        look.now = [late(1, "failed"), late(2)]
        look.line.round()
        ear.status = lambda number: 400 if ear.came[number - 1][2]["troubles"][0]["kind"] == "failed" else 200
        look.now = []
        with pytest.raises(Undelivered):
            look.line.round()
        assert [one["kind"] for one in look.notes.told("trouble_url").values()] == ["failed"], (
            "its end is to be told yet"
        )


def test_a_source_that_fails_is_told_when_that_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    look = Looking(tmp_path, monkeypatch)
    look.now = [Trouble("source", "acme", "the vendor is down", "wait")]
    look.line.hear("pass_failed", {"source": "acme", "refused": False})
    look.line.round()
    assert look.sent == [], "a pass that fails is nothing yet"
    monkeypatch.setattr("syncd.tell.lines.STANDS", timedelta(0))
    look.line.round()
    assert [one["event"] for one in look.sent] == ["source"]


def test_a_disk_that_is_nearly_full_is_told_and_that_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing: Any = {each.name: [] for each in fields(Outlook)}
    short = {"free": 10_000_000, "reserve": 50_000_000, "downloads_paused": True}
    seen = Outlook(**nothing | {"at": midnight(0), "status": {"sources": {}, "disk": short}})
    look = Looking(tmp_path, monkeypatch)
    look.now = list(troubles(seen, timedelta(hours=1)))
    look.line.round()
    look.now = []
    look.line.round()
    assert [one["event"] for one in look.sent] == ["disk", "recovered"]
    assert "the disk: downloads are paused" in look.sent[0]["text"]
    assert "10.0 MB of the disk are free" in look.sent[0]["text"]


def test_files_that_wait_for_a_person_are_told_and_again_when_they_are_overdue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = dict(source="acme", job="7", scope="views", run="7-1", period_start=midnight(2), period_end=midnight(1))
    run |= dict(state="waiting", found_at=midnight(0), expires_at=None, error="came by mail", hint="syncd ingest …")
    look = Looking(tmp_path, monkeypatch)
    for hours in (1, 47, 49, 90):
        nothing: Any = {each.name: [] for each in fields(Outlook)}
        status = {"sources": {}, "disk": {"downloads_paused": False}}
        seen = Outlook(
            **nothing | {"at": midnight(0) + timedelta(hours=hours), "status": status, "on_their_way": [run]}
        )
        look.now = list(troubles(seen, timedelta(hours=1)))
        look.line.round()
    look.now = []
    look.line.round()
    assert [one["event"] for one in look.sent] == ["waiting", "overdue", "recovered"]
    assert "overdue: nobody has handed its files over" in look.sent[1]["text"]
    assert "syncd ingest" in look.sent[1]["text"]


def test_the_page_shows_the_messages_as_they_are() -> None:
    page = (Path(__file__).parent.parent / "docs/telling.md").read_text()
    shown, trouble = (json.loads(one) for one in re.findall(r"```json\n(.*?)```", page, re.S))
    assert shown.keys() == LOAD_KEYS
    mine = message("late", "acme", [late(1)])
    assert trouble.keys() == mine.keys()
    assert trouble["troubles"][0].keys() == mine["troubles"][0].keys()
    for kind in WORDS:
        assert f"`{kind}`" in page


def test_a_torn_note_costs_no_other(tmp_path: Path) -> None:
    path, now = tmp_path / "told.jsonl", datetime.now(UTC)
    notes = Notes(path, ["a", "b"], now)
    notes.note("a", "x", {"n": 1})
    notes.note("b", "x", {"n": 2})
    notes.note("a", "y", {"n": 3})
    notes.note("a", "x", None)
    with path.open("ab") as file:
        file.write(b'["b","z",{"n"')
    assert path.stat().st_mode & 0o777 == 0o600
    again = Notes(path, ["a", "b"], now + timedelta(days=1))
    assert (again.told("a"), again.told("b")) == ({"y": {"n": 3}}, {"x": {"n": 2}})
    assert again.since("a") == now
    assert Notes(path, ["a"], now).told("a") == {"y": {"n": 3}}
    assert "b" not in read(path), "who is no longer told is forgotten"


def test_what_was_told_is_known_though_the_disk_takes_no_note(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    notes = Notes(gone / "told.jsonl", ["a"], datetime.now(UTC))
    notes.note("a", "x", {"n": 1})
    assert notes.told("a") == {"x": {"n": 1}}
    gone.mkdir()
    notes.note("a", "y", {"n": 2})
    assert read(gone / "told.jsonl")["a"] == {"y": {"n": 2}}


def test_notes_of_old_loads_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("syncd.tell.notes.MOST", 10)
    path, now = tmp_path / "told.jsonl", datetime.now(UTC)
    notes = Notes(path, ["a"], now)
    for number in range(25):
        loaded_at = now - timedelta(days=0 if number > 20 else 8)
        notes.note("a", str(number), {"loaded_at": loaded_at.isoformat()})
    notes.note("a", "a trouble", {"kind": "late"})
    assert len(path.read_text().splitlines()) < 15
    assert Notes(path, ["a"], now).told("a").keys() == {"21", "22", "23", "24", "a trouble"}


def test_nothing_that_a_vendor_writes_is_a_command_to_slack() -> None:
    values = {"period_start": midnight(1), "period_end": midnight(0), "scope": "<!channel>", "job": "7"}
    values |= dict.fromkeys(("rows", "rejected", "bytes", "parts"), 1)
    assert "<!channel>" not in load("loaded", "acme/1", values)["text"]
    assert slack("a <b> & c") == "a &lt;b&gt; &amp; c"


@pytest.mark.parametrize("key", ["loaded_url", "trouble_url", "heartbeat_url"])
def test_plain_http_to_elsewhere_is_refused_and_no_url_is_shown(tmp_path: Path, key: str) -> None:
    home = Home(tmp_path, {}, tell={key: f"http://hooks.example/{SECRET}"})
    refused = home.run("status")
    assert refused.returncode == 2
    assert f"tell.{key}: plain http" in refused.stderr
    assert SECRET not in refused.stderr
