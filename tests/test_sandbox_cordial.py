"""Cordial in a box: an API and deliveries that a test can trust, and a turn for every knob."""

from __future__ import annotations

import gzip
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import httpx
import orjson
import pytest

from syncd.sandbox.cordial import KNOBS, Offer, Sandbox, Trouble
from syncd.sandbox.knobs import Knob, flags
from tests.cordial_box import DAY, running, today, yesterday

TESTS = [path.read_text() for path in sorted(Path(__file__).parent.glob("test_*cordial*.py"))]
TESTS += [(Path(__file__).parent / "zones.py").read_text()]


def zulu(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def asked(box: Sandbox, **more: Any) -> dict[str, Any]:
    """A request for yesterday's events, to the box's own zone."""
    assert box.zone
    destination = {"type": "sftp", "server": "127.0.0.1", "port": box.zone.port, "path": "/in/mine"}
    frame = {"selected_timeframe_start": zulu(yesterday()), "selected_timeframe_end": zulu(today())}
    login = {"username": "exports", "password": box.zone.password}
    return {"name": "mine", "exportType": "json", "destination": destination | login} | frame | more


def post(box: Sandbox, endpoint: str = "contactactivityexport", **more: Any) -> httpx.Response:
    return httpx.post(f"{box.url}/v2/{endpoint}", json=asked(box, **more), auth=(box.api.key, ""))


def test_an_export_takes_its_time_and_is_delivered(tmp_path: Path) -> None:
    with running() as box:
        answer = post(box)
        assert (answer.status_code, [*answer.json()]) == (200, ["jobId"])
        box.api.jobs.settle()
        told = httpx.get(f"{box.url}/v2/jobs/{answer.json()['jobId']}", auth=(box.api.key, "")).json()
        assert (told["status"], told["jobName"], told["metadata"]["name"]) == ("Done", "ExportEvents", "mine")
        assert box.zone
        lines = (box.zone.root / "in/mine/mine.json").read_bytes().splitlines()
        assert [orjson.loads(line)["_id"] for line in lines] == [one["_id"] for one in box.events(yesterday(), today())]
        assert box.truth()[0]["rows"] == told["totalItems"] == 40


@pytest.mark.parametrize(
    ("more", "status", "message"),
    [
        ({"destination": {}}, 400, "The destination.transport field is required."),
        ({"destination": {"type": "pigeon"}}, 400, "The selected destination.transport is invalid."),
        ({"destination": {"type": "gcs", "gcs_bucket": "b"}}, 400, "The destination.path field is required."),
        ({"name": "a.b"}, 400, "letters, numbers, and dashes"),
        ({"columnHeaders": []}, 400, "The columns field is required."),
        ({"exportType": None}, 406, "exportType is required"),
        ({"selected_action_name": "a", "selected_action_names": ["b"]}, 406, "can't be used together"),
        ({"selected_message_id": "45:1"}, 406, "selected_message_type is required"),
        ({"selected_audience_key": "a", "selected_contact": "b"}, 406, "can't be used together"),
        ({"selected_audience_key": "unknown"}, 406, "does not exist"),
        ({"selected_timeframe_end": "2019-01-01T00:00:00Z"}, 406, "before"),
        ({"selected_timeframe_end": "yesterday"}, 422, "Time value is incorrect"),
    ],
)
def test_what_the_vendor_refuses_is_refused(more: dict[str, Any], status: int, message: str) -> None:
    with running() as box:
        answer = post(box, **more)
        assert answer.status_code == status
        assert message in answer.json()["message"]
        assert box.truth() == []


def test_who_is_not_known_gets_a_text_for_an_error() -> None:
    with running() as box:
        answer = httpx.get(f"{box.url}/v2/jobs", auth=("somebody", ""))
        assert (answer.status_code, answer.json()) == (401, {"error": "Access Denied: Authentication Failure"})
        wrong = {"Content-Type": "text/plain"}
        assert (
            httpx.post(f"{box.url}/v2/contactactivityexport", auth=(box.api.key, ""), headers=wrong).status_code == 415
        )
        assert httpx.get(f"{box.url}/v2/jobs/none", auth=(box.api.key, "")).json()["errorKey"] == "RECORD_NOT_FOUND"


def test_a_place_that_does_not_take_the_files_makes_the_job_fail() -> None:
    with running(no_folders=True) as box:
        post(box)
        box.api.jobs.settle()
        (job,) = box.api.jobs.all
        assert (job.status, "no folder" in job.error) == ("Failed", True)
    with running(zone_no_folders=True) as box:
        post(box)
        box.api.jobs.settle()
        assert "no folders here" in box.api.jobs.all[0].error


def test_events_that_arrive_late_are_in_a_later_export() -> None:
    with running(late_rows=48) as box:
        post(box, exportType="csv", compress=True)
        box.api.jobs.settle()
        assert box.truth()[0]["rows"] == 36
        box.set_trouble(late_rows=0.0)
        post(box, selected_timeframe_start=zulu(yesterday() - DAY))
        box.api.jobs.settle()
        assert box.truth()[1]["rows"] == 80


def test_an_end_may_be_inclusive() -> None:
    noon = yesterday() + timedelta(hours=12)
    for inclusive_end, rows in ((False, 20), (True, 21)):
        with running(inclusive_end=inclusive_end) as box:
            post(box, selected_timeframe_end=zulu(noon))
            box.api.jobs.settle()
            assert box.truth()[0]["rows"] == rows


def test_levers_tell_and_turn() -> None:
    with running() as box:
        post(box, destination={"type": "aws"}, compress=True)
        box.api.jobs.settle()
        job = box.truth()[0]["job"]
        with urlopen(f"{box.url}/_sandbox/files/{job}/0") as answer:
            assert len(gzip.decompress(answer.read()).splitlines()) == 40
        assert httpx.get(f"{box.url}/_sandbox/truth").json()["jobs"][0]["rows"] == 40
        assert httpx.get(f"{box.url}/_sandbox/log").json()["total"]["api"] == 1
        assert httpx.post(f"{box.url}/_sandbox/trouble", json={"naming": "stamp"}).json()["naming"] == "stamp"
        assert httpx.post(f"{box.url}/_sandbox/trouble", json={"naming": "owl"}).status_code == 400
        assert httpx.get(f"{box.url}/_sandbox/nothing").status_code == 404


@pytest.mark.parametrize("knob", flags(*KNOBS), ids=lambda knob: knob.name)
def test_each_knob_has_help_and_its_turn_in_a_test(knob: Knob) -> None:
    assert knob.flag == "--" + knob.name.replace("_", "-") and knob.help
    assert knob.type is not bool or knob.default is False
    if knob.name not in ("seed", "azure_endpoint", "azure_key"):  # no Azure in the tests: azurite comes from npm
        assert any(f"{knob.name}=" in text or f'"{knob.name}"' in text for text in TESTS)


def test_a_wrong_knob_is_refused_by_name() -> None:
    with pytest.raises(TypeError, match="owl"):
        Sandbox(owl=1)
    with pytest.raises(ValueError, match="naming is 'owl'"):
        Trouble(naming="owl")
    assert Offer().rows == 200


def test_the_command_says_how_to_read_it(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "syncd", "sandbox", "cordial", "--rows", "3"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        said = ""
        while "start = " not in said:
            said += process.stdout.readline()
        process.terminate()
        assert process.wait(20) == 0
    (tmp_path / "syncd.toml").write_text(said.partition("In syncd.toml:")[2])
    from syncd.settings import read

    assert read(tmp_path / "syncd.toml", environ={}).sources["sandbox"].kind == "cordial"
