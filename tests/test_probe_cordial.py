"""`syncd probe` of a Cordial account: what the vendor's pages leave open has another answer when it is so otherwise.

The vendor exports only when asked, and a probe never asks: so each account here has had its first pass.
"""

from __future__ import annotations

import json  # noqa: TID251  # the vendor's answers, as it would spell them
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from syncd.errors import SyncdError
from syncd.model import SettlesUnknowns
from tests.cordial_box import DAY, configured, delivered, export, mounted, requests, running, yesterday
from tests.home import Home
from tests.plain_vendor import Vendor, serving
from tests.probe_page import unsaid

PLANTED = "planted-9f2c"
JSON, CSV = " (contactactivityexport, json)", " (contactactivityexport, csv)"


def exports() -> dict[str, dict[str, Any]]:
    return {
        "events": export(overlap="24h", records_per_file=15, start=f"{yesterday() - DAY:%Y-%m-%d}"),
        "flat": export(format="csv", compress=False, records_per_file=15),
    }


def found(folder: Path, *, provoke: bool = False, **knobs: Any) -> dict[str, str]:
    """Each unknown with its answer, after a first pass."""
    with running(**knobs) as box:
        source = configured(folder, mounted(box, **exports()))
        assert isinstance(source, SettlesUnknowns)
        for request in requests(source):
            with suppress(SyncdError):  # a job that fails is of interest too
                delivered(source, box, request)
        asked = len(box.api.bodies)
        answers = {one.unknown: one.answer for one in source.probe(provoke=provoke)}
        assert len(box.api.bodies) == asked, "an export was asked for"
    return answers


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What a vendor without any trouble settles."""
    return found(tmp_path_factory.mktemp("calm"))


TURNED: list[tuple[dict[str, Any], dict[str, tuple[str, str]]]] = [
    # the knobs; each unknown with its answer in peace and when they are turned
    ({"page_base": 0, "id_key": "oid"}, {"page base": ("1", "0"), "the key of a job's id": ("_id", "_id.$oid")}),
    (
        {"page_cap": 2, "metadata": "fileName", "amounts": "more", "inclusive_end": True, "naming": "part"},
        {
            "jobs on a page": ("", "2"),
            "a job's name stands in": ("name", "fileName"),
            "amounts of a job count": ("the rows", "something else"),
            "the end of a timeframe": ("is not in it", "is in it"),
            "names of files": ("NAME-#.json.gz, NAME-#.csv", "NAME_part#.json.gz, NAME_part#.csv"),
        },
    ),
    (
        {"job_fails": 1, "no_iso_filter": True, "metadata": "none", "merged": True},
        {
            "a failed job says why in": ("", "result.error"),
            "the filter by time, in ISO form": ("taken", "refused (HTTP 422)"),
            "job states": ("Done", "Done, Failed"),
            "a job's name stands in": ("name", ""),
        },
    ),
    (
        {"naming": "segment", "silent_failure": True, "job_fails": 1, "amounts": "absent"},
        {
            "files lie": ("in it", "beside the job's folder"),
            "a failed job says why in": ("", "nowhere"),
            "totalItems and completedItems": ("equal", "absent"),
        },
    ),
    (
        {"keys": "raw", "times": "ms", "first": "mixed", "no_ids": 2, "merged": True, "bom": True, "crlf": True},
        {
            f"names of keys{JSON}": ("public", "raw"),
            f"times{JSON}": ("2026-01-05T12:05:28+0000", "2026-01-05T12:05:28Z"),
            f"first is{JSON}": ("boolean", "boolean, number"),
            f"rows without _id{JSON}": ("0", "4"),
            f"byte order mark{CSV}": ("no", "yes"),
            f"lines end with{CSV}": ("LF", "CR LF"),
            "contacts merged under an event": ("0", "38"),
        },
    ),
    (
        {"keys": "dotted", "new_keys": True, "header": "first"},
        {
            f"grouped columns{JSON}": ("nested objects", "dotted keys"),
            f"columns that nobody declared{JSON}": ("0", "6"),
            f"header{CSV}": ("on each file", "on the first file"),
        },
    ),
    (
        {"rows": 0, "empty_as": "header", "header": "none"},
        {"an export without rows leaves": ("", "an empty file"), f"header{CSV}": ("on each file", "absent")},
    ),
    (
        {"rows": 0},
        {"an export without rows leaves": ("", "no file"), "a timeframe filters by": ("the event's time", "")},
    ),
]


@pytest.mark.parametrize(("knobs", "unknowns"), TURNED)
def test_each_knob_is_seen(
    calm: dict[str, str], tmp_path: Path, knobs: dict[str, Any], unknowns: dict[str, tuple[str, str]]
) -> None:
    turned = found(tmp_path, **knobs)
    for unknown, (before, after) in unknowns.items():
        in_peace = calm.get(unknown, "absent")
        assert in_peace == before or (before == "taken" and "refused" not in in_peace), unknown
        assert turned.get(unknown, "absent") == after, unknown


def test_files_that_come_behind_done_are_told(tmp_path: Path) -> None:
    with running(late=3.0) as box:
        source = configured(tmp_path, mounted(box, events=exports()["events"]))
        source.submit(requests(source)[0])
        box.api.jobs.settle()
        assert isinstance(source, SettlesUnknowns)
        answers = {one.unknown: one.answer for one in source.probe(provoke=False)}
    assert answers["files are whole"] in ("up to 3 s behind Done", "up to 4 s behind Done"), "its clock tells seconds"


def test_limits_are_told_and_a_busy_vendor_ends_nothing(tmp_path: Path, calm: dict[str, str]) -> None:
    assert "a wrong key" not in calm
    with running(get_fails=2, get_status=429, retry_after=0) as box:
        source = configured(tmp_path, mounted(box))
        answers = {one.unknown: one.answer for one in source.probe(provoke=True)}
    assert answers["refusals seen"] == "2 HTTP 429 GENERIC_ERROR_KEY, Retry-After in seconds"
    assert answers["headers that speak of limits"] == "x-rate-limit-limit, x-rate-limit-remaining"
    assert answers["12 requests in a burst"] == "all answered"
    assert answers["a wrong key"] == "HTTP 401"
    assert answers["files"] == "", "nothing lies in the zone yet"


def test_the_report_names_nobody_and_nothing_is_written(tmp_path: Path) -> None:
    """Whatever a customer may have put anywhere is planted there: in jobs, names of files, and rows."""
    zone = tmp_path / f"{PLANTED}-zone"
    name = f"{PLANTED}-20260101T0000-1-01234567-abcdef"
    (zone / name).mkdir(parents=True)
    row = {
        "_id": PLANTED,
        "time": PLANTED,
        "email": f"{PLANTED}@example.com",
        f"{PLANTED} key": PLANTED,
        "first": PLANTED,
    }
    (zone / name / f"{name} {PLANTED}.json").write_text(json.dumps(row) + f"\n{PLANTED}\n")
    (zone / name / f"{PLANTED}.csv").write_text(f'{PLANTED};"{PLANTED}"\n{PLANTED}\n')
    job = {
        "_id": f"{PLANTED}-job", "status": f"{PLANTED}1", "jobName": f"{PLANTED}2", f"{PLANTED}3": PLANTED,
        "metadata": {"name": name, f"{PLANTED}4": f"https://{PLANTED}"}, "result": {f"{PLANTED}5": PLANTED},
    }  # fmt: skip
    failed = job | {"_id": "other", "status": "Failed"}
    vendor = Vendor()

    def answer(path: str) -> tuple[int, bytes]:
        if PLANTED in path:
            return 200, json.dumps([job]).encode()
        return 200, json.dumps([job, failed]).encode()

    vendor.answer = answer  # type: ignore[method-assign]  # every answer is bent at once
    with serving(vendor):
        section = {
            "kind": "cordial", "api_key": f"{PLANTED}-key", "base_url": f"{vendor.url}/v2", "zone": f"file://{zone}",
            "deliver": {"type": "sftp", "server": f"{PLANTED}.example", "username": PLANTED, "password": PLANTED}
            | {"path": "/"},
            "exports": {"events": export(name=PLANTED)},
        }  # fmt: skip
        home = Home(tmp_path, {"mail": section})
        before = sorted(zone.rglob("*"))
        for more in ([], ["--json"], ["--provoke"]):
            told = home.run("probe", "mail", *more)
            assert told.returncode == 0, told.stderr
            assert "a failed job says why in" in told.stdout
            assert PLANTED not in told.stdout + told.stderr
    assert not home.data_dir.exists()
    assert sorted(zone.rglob("*")) == before
    assert set(vendor.methods) == {"GET"}


def test_each_line_that_the_page_names_is_said(calm: dict[str, str], tmp_path: Path) -> None:
    assert unsaid("cordial", calm | found(tmp_path, provoke=True)) == []
