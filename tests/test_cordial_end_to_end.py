"""The real command against Cordial in a box: what it delivered is in the tables, once, wherever it was stopped."""

from __future__ import annotations

import gzip
import random
import signal
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from syncd.sandbox.cordial import Sandbox
from tests import zones
from tests.cordial_box import DAY, export, running, section, today, yesterday
from tests.home import Home


@contextmanager
def mirrored(tmp_path: Path, knobs: dict[str, Any] | None = None, **chosen: Any) -> Iterator[tuple[Sandbox, Home]]:
    """Three days of one export, brought home."""
    with running(**knobs or {}) as box:
        wanted = export(start=f"{yesterday() - 2 * DAY:%Y-%m-%d}", **chosen)
        home = Home(tmp_path, {"mail": section(box, activities=wanted)})
        home.once()
        yield box, home


def test_every_event_is_there_once_with_its_types(tmp_path: Path) -> None:
    with mirrored(tmp_path, {"first": "mixed", "merged": True}, overlap="24h") as (box, home):
        expected = box.events(yesterday() - 3 * DAY, today())
        rows = home.query(
            "SELECT _id, action, time, email, first, properties, system_properties FROM mail.activities_latest"
        )
        assert sorted(rows) == sorted(
            (
                event["_id"],
                event["action"],
                event["time"].replace(tzinfo=None),
                event["email"],
                event["first"],
                packed(event["properties"]),
                packed(event["system_properties"]),
            )
            for event in expected
        )
        kinds = dict(row[:2] for row in home.query("DESCRIBE mail.activities"))
        assert (kinds["time"], kinds["first"], kinds["properties"]) == ("TIMESTAMP", "BOOLEAN", "VARCHAR")
        ((delivered,),) = home.query("SELECT count(*) FROM mail.activities")
        assert delivered == 2 * 3 * 40, "each window begins a day early"
        assert home.query("SELECT count(*) FROM mail.activities WHERE _syncd_date <> CAST(time AS DATE)") == [(0,)]
        last = "CAST(_syncd_completed_at AS VARCHAR) || _syncd_run"  # two may have ended in the same second
        newest = f"SELECT _id, arg_max(cID, {last}) FROM mail.activities GROUP BY 1 ORDER BY 1"
        assert home.query(newest) == home.query("SELECT _id, cID FROM mail.activities_latest ORDER BY 1")
        assert home.run("gaps").returncode == 0
        posts = [call for call in box.log()["requests"] if call["method"] == "POST"]
        assert len(posts) == 3
        home.once()
        assert len([call for call in box.log()["requests"] if call["method"] == "POST"]) == 3


def packed(value: dict[str, Any]) -> str:
    import orjson

    return orjson.dumps(value).decode()


def test_chunks_without_a_header_get_their_names_from_the_first(tmp_path: Path) -> None:
    with running(header="first", keys="dotted") as box:
        home = Home(tmp_path, {"mail": section(box, activities=export(format="csv", records_per_file=15))})
        home.once()
        rows = home.query("SELECT _id, action, time, email, first, message_name FROM mail.activities")
        names = ("_id", "action", "time", "email", "first", "message_name")
        expected = [{**event, "time": event["time"].replace(tzinfo=None)} for event in box.events(yesterday(), today())]
        assert sorted(rows) == sorted(tuple(event[name] for name in names) for event in expected)
        assert home.query("SELECT sum(rejected), max(parts) FROM _syncd.runs") == [(0, 3)]
        assert home.query('SELECT count("properties.amount"), count("properties.who") FROM mail.activities') == [
            (40, 40)
        ]


def test_the_siblings_have_tables_of_their_own(tmp_path: Path) -> None:
    exports = {
        "contacts": {"endpoint": "contactexports", "fields": ["cID", "email", "first_name"], "account_id": 7},
        "analytics": export(endpoint="messageanalyticsexport", view_mode="by_message"),
        "trends": export(endpoint="audiencetrendsexport"),
        "monitor": export(endpoint="accountmonitorexport", category="Exports"),
    }
    with running() as box:
        home = Home(tmp_path, {"mail": section(box, **exports)})
        home.once()
        assert home.query("SELECT count(*) FROM mail.contacts") == [(50,)]
        assert home.query("SELECT count(*) FROM mail.contacts_history WHERE valid_to IS NULL") == [(50,)]
        assert home.query('SELECT count("Message ID"), sum("Sent") > 0 FROM mail.analytics') == [(5, True)]
        assert home.query("SELECT date, audience FROM mail.trends") == [(f"{yesterday():%Y-%m-%d}", "vip_members")]
        assert home.query("SELECT count(*), min(level) FROM mail.monitor") == [(6, "Error")]
        assert sorted({run["format"] for run in home.json("runs")}) == ["csv", "jsonl"]


def test_a_file_from_the_ui_is_handed_to_the_run_that_waits(tmp_path: Path) -> None:
    with running() as box:
        account = {key: value for key, value in section(box).items() if not key.startswith("zone")}
        home = Home(tmp_path, {"mail": account | {"zone": "aws"}})
        assert home.run("once", "--wait", "10s").returncode == 75
        (waiting,) = home.json("runs")
        assert waiting["state"] == "waiting"
        assert f"syncd ingest mail {waiting['run']} FILE" in waiting["hint"]
        job = box.truth()[0]["job"]
        with urlopen(f"{box.url}/_sandbox/files/{job}/0") as answer:
            (tmp_path / "download.json.gz").write_bytes(answer.read())
        ended = home.run("ingest", "mail", job, str(tmp_path / "download.json.gz"))
        assert ended.returncode == 0, ended.stderr
        assert home.query("SELECT count(DISTINCT _id) FROM mail.activities") == [(40,)]


def test_a_truncated_file_is_kept_and_the_run_set_aside(tmp_path: Path) -> None:
    with running(truncated=1) as box:
        home = Home(tmp_path, {"mail": section(box)})
        assert home.run("once", "--wait", "20s").returncode == 1
        (aside,) = home.json("runs", "--state", "set_aside")
        assert "gzip ends" in aside["error"]


def test_killed_at_random_and_started_again_ends_in_the_same_tables(tmp_path: Path) -> None:
    chance = random.Random(3)
    with zones.openssh(tmp_path / "zone") as place, running(job_takes=0.3, early=True, **place.box) as box:
        wanted = export(start=f"{yesterday() - 3 * DAY:%Y-%m-%d}", overlap="24h", records_per_file=30)
        account = section(box, zone=place.settings, activities=wanted) | {"job_poll": "50ms"}
        killed = Home(tmp_path / "killed", {"mail": account})
        kills = 0
        for _ in range(12):
            process = killed.start("once")
            try:
                process.communicate(timeout=chance.uniform(0.8, 1.8))
                break
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.communicate()
                kills += 1
        killed.once()
        assert kills > 2
        runs = killed.query("SELECT run, rows FROM _syncd.runs ORDER BY 1")
        assert [rows for _, rows in runs] == [80] * 4
        assert killed.query("SELECT count(*), count(DISTINCT _id) FROM mail.activities") == [(320, 200)]
        expected = sorted(event["_id"] for event in box.events(yesterday() - 4 * DAY, today()))
        assert [id for (id,) in killed.query("SELECT _id FROM mail.activities_latest ORDER BY 1")] == expected
        assert sum(call["method"] == "POST" for call in box.log()["requests"]) == 4, "asked once for each window"


def test_losing_the_state_while_the_vendor_works_costs_no_second_export(tmp_path: Path) -> None:
    with running(job_takes=0.5) as box:
        home = Home(tmp_path, {"mail": section(box)})
        assert home.run("once", "--wait", "0s").returncode == 75
        for left in home.data_dir.glob("state.sqlite*"):
            left.unlink()
        home.once()
        assert sum(call["method"] == "POST" for call in box.log()["requests"]) == 1
        assert home.query("SELECT count(*), count(DISTINCT _id) FROM mail.activities") == [(40, 40)]


def test_secrets_are_nowhere(tmp_path: Path) -> None:
    with running(get_fails=1, post_cuts=1) as box:
        home = Home(tmp_path, {"mail": section(box)})
        assert box.zone
        secrets = [box.api.key, box.zone.password]
        said = ""
        for arguments in (("check",), ("once", "--wait", "20s"), ("support-bundle", "--folder", str(tmp_path))):
            ended = home.run(*arguments)
            said += ended.stdout + ended.stderr
        home.write({"mail": section(box) | {"api_key": secrets[0] + "x", "zone_password": secrets[1]}})
        said += home.run("once").stderr
        assert home.query("SELECT count(*) FROM mail.activities") == [(40,)]
        (bundle,) = tmp_path.glob("syncd-support-*.tar.gz")
        with tarfile.open(bundle) as told:
            said += "".join(told.extractfile(one).read().decode() for one in told if one.isfile())
        kept = b"".join(path.read_bytes() for path in home.data_dir.rglob("*") if path.is_file())
        kept += b"".join(
            gzip.decompress(p.read_bytes()) for p in home.data_dir.rglob("*.part") if p.read_bytes()[:2] == b"\x1f\x8b"
        )
        for secret in secrets:
            assert secret not in said
            assert secret.encode() not in kept


def test_an_unreachable_zone_is_waited_for(tmp_path: Path) -> None:
    with running() as box:
        assert box.zone
        account = section(box)
        home = Home(tmp_path, {"mail": account}, retry_for="0s")
        assert home.run("once", "--wait", "0s").returncode == 75
        home.write({"mail": account | {"zone": f"sftp://exports@127.0.0.1:{zones.free_port()}/in"}}, retry_for="0s")
        ended = home.run("once", "--wait", "0s")
        assert ended.returncode == 75
        assert "zone sftp://127.0.0.1" in ended.stderr
        home.write({"mail": account})
        home.once()
        assert home.query("SELECT count(*) FROM mail.activities") == [(40,)]


def test_the_daemon_looks_again_as_soon_as_a_job_may_be_done(tmp_path: Path) -> None:
    with running(job_takes=0.5) as box:
        home = Home(tmp_path, {"mail": section(box) | {"poll_interval": "1h"}})
        process = home.start("run")
        try:
            for _ in range(300):
                if (home.data_dir / "warehouse.duckdb").exists() and home.query("SELECT count(*) FROM _syncd.runs") == [
                    (1,)
                ]:
                    break
                box.api.jobs.pause(0.1)
            else:
                raise AssertionError("it never came home")
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=20)
        assert process.returncode == 0
