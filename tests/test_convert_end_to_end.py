"""The real command against Convert in a box: what arrives is what was served, however often it was stopped."""

from __future__ import annotations

import random
import re
import signal
import subprocess
import time
import tomllib
from pathlib import Path
from typing import Any

import httpx
import pytest

from syncd.errors import ConfigError
from syncd.settings import read
from tests.convert_vendor import only, running
from tests.home import Home

TIMES = ("_syncd_run", "_syncd_completed_at", "_syncd_loaded_at", "_syncd_date")


def once(home: Home, expect: int = 0) -> subprocess.CompletedProcess[str]:
    """`syncd once`, in a second of its own: a reading is named by its second."""
    time.sleep(1 - time.time() % 1)
    return home.once(expect=expect)


def views(home: Home) -> list[str]:
    return [name for (name,) in home.query("SELECT view_name FROM duckdb_views() WHERE schema_name = 'ab' ORDER BY 1")]


def held(home: Home, scope: str) -> list[tuple[Any, ...]]:
    """Rows of a scope, whenever they were read; which reading the latest row comes from, and so its place there and the
    level of the log that told it, hangs on when a kill came: a later one reads anew only what runs or is new."""
    of_log = ("level", "experience_id", "_syncd_row")
    more = ("fetched_at", "_syncd_row") if "report" in scope else of_log if "history" in scope else ()
    times = ", ".join((*TIMES, *more))
    return sorted(home.query(f"SELECT * EXCLUDE ({times}) FROM ab.{scope}"), key=repr)


def test_an_account_is_mirrored_and_no_secret_of_it_is_anywhere(tmp_path: Path) -> None:
    with running(experiences=3, goals=1, entries=1, history=5, odd=True, references="objects") as vendor:
        home = Home(tmp_path, {"ab": vendor.settings()})
        told = once(home).stderr
        names = set(views(home))
        assert {"goals", "goals_history", "knowledge_bases", "aggregated_report_latest", "live_data"} <= names
        assert "raw_data" not in names
        assert home.query("SELECT count(*), count(DISTINCT project_id) FROM ab.experiences") == [(6, 2)]
        kinds = dict(home.query("SELECT column_name, column_type FROM (DESCRIBE ab.experiences)"))
        assert (kinds["start_time"], kinds["goals"], kinds["settings"]) == ("TIMESTAMP", "BIGINT[]", "VARCHAR")
        texts = "".join(str(home.query(f'SELECT * FROM ab."{name}"')) for name in names)
        on_disk = b"".join(path.read_bytes() for path in home.data_dir.rglob("*") if path.is_file())
        secrets = [*vendor.planted, vendor.settings()["secret"]]
        assert len(secrets) > 20 and len(texts) > 50_000
        assert [one for one in secrets if one in texts or one in told or one.encode() in on_disk] == []
        assert re.search(r'"calls":\d+.*"event":"calls_planned"', told)


def test_what_changes_and_what_goes_is_history(tmp_path: Path) -> None:
    with running() as vendor:
        home = Home(tmp_path, {"ab": vendor.settings(scopes=only("goals", "experiences"))})
        once(home)
        assert '"unchanged":2' in once(home).stderr
        goals = vendor.api.account.lists[2001, "goals"]
        goals[0]["name"] = "renamed"
        goals.pop()
        vendor.api.account.lists[2001, "experiences"][0]["status"] = "deleted"
        once(home)
        assert home.query("SELECT name FROM ab.goals WHERE id = 200101") == [("renamed",)]
        versions = "SELECT count(*), count(valid_to) FROM ab.{} WHERE id = {}"
        assert home.query(versions.format("goals_history", 200101)) == [(2, 1)]
        assert home.query(versions.format("goals_history", 200103)) == [(1, 1)], "no longer listed"
        assert home.query("SELECT status FROM ab.experiences WHERE id = 200101") == [("deleted",)], "listed as deleted"


def test_raw_data_waits_for_its_mail_and_is_bound_by_the_vendors_job_id(tmp_path: Path) -> None:
    with running(experiences=1, packing="gzip") as vendor:
        home = Home(tmp_path, {"ab": vendor.settings(scopes=only(raw_data="1d"), projects=[2001])})
        once(home, expect=75)
        once(home, expect=75)
        (run,) = home.json("runs")
        assert (run["state"], run["scope"]) == ("waiting", "raw_data") and "syncd ingest ab" in run["hint"]
        (mail,) = vendor.mails
        taken = home.run("ingest", "ab", mail["job"], mail["url"])
        assert taken.returncode == 0, taken.stderr
        assert home.query("SELECT count(*), count(DISTINCT visitor_id) FROM ab.raw_data") == [(40, 20)]
        once(home)
        assert len(vendor.log()["asked"]) == 1
        on_disk = b"".join(path.read_bytes() for path in home.data_dir.rglob("*") if path.is_file())
        assert b"signature=" not in on_disk
        assert not [one for one in vendor.planted if one.encode() in on_disk], "what was handed over is clean as well"


def test_raw_data_is_asked_for_once_though_the_state_is_lost(tmp_path: Path) -> None:
    with running(experiences=1) as vendor:
        home = Home(tmp_path, {"ab": vendor.settings(scopes=only(raw_data="1s"), projects=[2001])})
        once(home, expect=75)
        (before,) = home.json("runs")
        (home.data_dir / "state.sqlite").unlink()
        once(home, expect=75)  # its next interval has come
        (after,) = home.json("runs")
        same = ("run", "state", "vendor_job", "error", "hint")
        assert {key: before[key] for key in same} == {key: after[key] for key in same}
        (mail,) = vendor.mails
        assert after["vendor_job"] == mail["job"]
        assert home.run("ingest", "ab", mail["job"], mail["url"]).returncode == 0
        assert home.query("SELECT count(*) FROM ab.raw_data") == [(40,)]
        assert len(vendor.log()["asked"]) == 1


def test_a_scope_without_rights_is_one_line_until_the_right_is_granted(tmp_path: Path) -> None:
    with running(experiences=1, refuse_every=1, refuse_with="403", refuse_path="/goals") as vendor:
        home = Home(tmp_path, {"ab": vendor.settings(scopes=only("goals", "tags"), projects=[2001])})
        told = [once(home, expect=1).stderr for _ in range(3)]
        assert [text.count('"run_set_aside"') for text in told] == [1, 0, 0]
        (kept,) = home.json("runs", "--state", "set_aside")
        assert "/goals answers HTTP 403" in kept["error"] and "role" in kept["hint"] and kept["scope"] == "goals"
        assert home.json("status")["sources"]["ab"]["scopes"]["goals"]["runs"] == {"set_aside": 1}
        assert home.query("SELECT count(*) FROM ab.tags") == [(3,)]
        vendor.set_trouble(refuse_every=0)
        once(home)
        assert home.query("SELECT count(*) FROM ab.goals") == [(3,)]
        status = home.json("status")
        assert status["ok"] and status["sources"]["ab"]["scopes"]["goals"]["runs"] == {"loaded": 1}


def test_raw_data_by_link_is_here_at_once(tmp_path: Path) -> None:
    with running(experiences=1, raw="download_url") as vendor:
        home = Home(tmp_path, {"ab": vendor.settings(scopes=only(raw_data="1d"), projects=[2001])})
        once(home)
        assert home.query("SELECT count(*) FROM ab.raw_data") == [(40,)]
        once(home)
        assert len(vendor.log()["asked"]) == 1


def test_a_kill_while_the_vendor_is_asked_asks_no_second_time(tmp_path: Path) -> None:
    with running(experiences=1, raw="late", killed=True) as vendor:
        home = Home(tmp_path, {"ab": vendor.settings(scopes=only(raw_data="1d"), projects=[2001])})
        with home.start("once") as process:
            while not vendor.log()["asked"]:
                assert process.poll() is None
                time.sleep(0.02)
            process.kill()
            process.communicate()
        once(home, expect=75)
        (run,) = home.json("runs")
        assert run["state"] == "waiting" and "may or may not" in run["error"]
        assert len(vendor.log()["asked"]) == 1


def test_killed_at_random_and_started_again_ends_in_the_same_tables(tmp_path: Path) -> None:
    chance = random.Random(11)
    scopes = ("experiences", "aggregated_report", "daily_report", "change_history")
    with running(experiences=28, goals=1, history=60, killed=True) as vendor:
        section = vendor.settings(scopes=only(*scopes), projects=[2001])
        undisturbed = Home(tmp_path / "undisturbed", {"ab": section})
        once(undisturbed)
        expected = {scope: held(undisturbed, f"{scope}_latest" if "report" in scope else scope) for scope in scopes}
        vendor.set_trouble(latency=0.01)
        killed = Home(tmp_path / "killed", {"ab": section})
        kills = 0
        for _ in range(5):
            process = killed.start("once")
            try:
                process.communicate(timeout=chance.uniform(1.0, 3.0))
                break
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.communicate()
                kills += 1
        vendor.set_trouble(latency=0.0)
        once(killed)
        assert kills > 1
        for scope in ("experiences", "aggregated_report", "daily_report"):
            assert held(killed, f"{scope}_latest" if "report" in scope else scope) == expected[scope], scope
        assert held(killed, "change_history_latest") == expected["change_history"]
        assert killed.run("verify").returncode == 0


def test_calls_are_told_before_any_is_made(tmp_path: Path) -> None:
    with running(experiences=200, goals=1) as vendor:
        section = vendor.settings(scopes=only("aggregated_report", "daily_report"), projects=[2001])
        home = Home(tmp_path, {"ab": section})
        told = home.run("once", "--dry-run")
        begun = sum(bool(row["start_time"]) for row in vendor.api.account.lists[2001, "experiences"])
        assert told.returncode == 0, told.stderr
        assert f"calls: at least {begun * (1 + 6)}\n" in told.stdout
        assert not [one for one in vendor.log()["requests"] if "report" in one["path"]]
        assert not home.data_dir.exists()


def test_a_scope_of_its_own_interval_is_read_as_often_by_the_daemon(tmp_path: Path) -> None:
    with running() as vendor:
        home = Home(tmp_path, {"ab": vendor.settings(scopes=only("tags", goals="1s"))})
        with home.start("run") as daemon:
            until = time.monotonic() + 60

            def asked(kind: str) -> int:
                return sum(one["path"].endswith(f"2001/{kind}") for one in vendor.log()["requests"])

            while asked("goals") < 3 and time.monotonic() < until:
                time.sleep(0.1)
            daemon.terminate()
            _, told = daemon.communicate(timeout=30)
        assert asked("goals") >= 3 and asked("tags") == 1, told
        assert daemon.returncode == 0


@pytest.mark.parametrize(
    ("section", "told"),
    [
        ({"scopes": {"goal": "1h"}}, "did you mean goals?"),
        ({"scopes": {"goals": "often"}}, "scopes.goals"),
        ({"secret": ""}, "secret missing"),
        ({"auth": "bearer"}, "key_id and key_secret missing"),
        ({"projects": ["shop"]}, "ids of projects"),
        ({"base_url": "http://api.convert.com/api/v2"}, "https://"),
        ({"account_id": 0}, "account_id"),
    ],
)
def test_a_wrong_configuration_is_told_by_its_key(tmp_path: Path, section: dict[str, Any], told: str) -> None:
    whole = {"kind": "convert", "application_id": "a", "secret": "s3cr3t", "account_id": 1001} | section
    with pytest.raises(ConfigError) as refused:
        read(Home(tmp_path, {"ab": whole}).config, environ={})
    assert told in str(refused.value) and "s3cr3t" not in str(refused.value)


def test_the_vendor_in_a_box_serves_until_it_is_stopped(tmp_path: Path) -> None:
    home = Home(tmp_path, {})
    with home.start("sandbox", "convert", "--experiences", "1", "--report-data", "object") as box:
        assert box.stdout
        lines: list[str] = []
        while not lines or not lines[-1].startswith("spacing"):
            lines.append(box.stdout.readline())
        section = tomllib.loads("".join(lines).partition("In syncd.toml:")[2])["sources"]["sandbox"]
        root = section["base_url"].removesuffix("/api/v2")
        assert httpx.get(f"{root}/_sandbox/settings").json() == section
        assert httpx.get(f"{section['base_url']}/accounts").status_code == 401
        box.send_signal(signal.SIGTERM)
        box.communicate(timeout=20)
    assert box.returncode == 0
