"""The support bundle: what helps is in it, and nothing that was planted anywhere."""

from __future__ import annotations

import json  # noqa: TID251  # pieces as their reader takes them
import tarfile
from pathlib import Path

import pytest

from syncd.bundle import free_text
from tests.convert_vendor import running as convert
from tests.home import Home
from tests.plain_vendor import Export, Vendor, serving
from tests.sandbox_fixture import running
from tests.test_http import daemon, until

PLANTED = "planted-4e1d"


def unpacked(home: Home, *more: str) -> dict[str, str]:
    """The pieces of a bundle, by file name."""
    made = home.run("support-bundle", "--folder", str(home.folder), *more)
    assert made.returncode == 0, made.stderr
    (path,) = home.folder.glob("syncd-support-*.tar.gz")
    assert path.stat().st_mode & 0o777 == 0o600
    with tarfile.open(path) as bundle:
        pieces = {Path(one.name).name: bundle.extractfile(one) for one in bundle}
        found = {name: piece.read().decode() for name, piece in pieces.items() if piece}
    path.unlink()
    return found


def test_what_helps_is_in_it(tmp_path: Path) -> None:
    with running(jobs=2, days=2, frequency="daily", rows=5) as vendor:
        home = Home(tmp_path, {"acme": vendor.settings()})
        log = home.once().stderr
        (tmp_path / "log").write_text(
            log + 'Traceback (most recent call last):\n  File "x.py", line 3, in f\nKeyError: 7\n'
        )
        pieces = unpacked(home, "--log", str(tmp_path / "log"))
    assert json.loads(pieces["about.json"])["packages"]["duckdb"]
    configuration = json.loads(pieces["configuration.json"])
    assert configuration["sources"]["acme"]["kind"] == "contentsquare"
    assert configuration["sources"]["acme"]["client_id"] == "***"
    assert configuration["retry_for"] == "5s"
    assert pieces["check.txt"].endswith("checked\n")
    assert json.loads(pieces["status.json"])["sources"]["acme"]["runs"] == {"loaded": 4}
    assert json.loads(pieces["gaps.json"]) == []
    assert len(json.loads(pieces["runs.json"])) == 4
    assert "CREATE TABLE checkpoints" in pieces["state.sql"]
    assert sum(row["runs"] for row in json.loads(pieces["catalogue.json"])["runs"]) == 4
    assert "warehouse.duckdb" in json.loads(pieces["data_dir.json"])
    events = [json.loads(line) for line in pieces["log.jsonl"].splitlines()]
    assert [one["event"] for one in events if one.get("event") == "run_loaded"] == ["run_loaded"] * 4
    assert {"trace": "KeyError: 7"} in events


def test_a_running_daemon_s_metrics_are_in_it(tmp_path: Path) -> None:
    with running(jobs=1, days=1, rows=5) as vendor:
        home = Home(tmp_path, {"acme": vendor.settings()}, http={"listen": "127.0.0.1:0", "token": PLANTED})
        with daemon(home, Authorization=f"Bearer {PLANTED}") as syncd:
            until(lambda: syncd.told("run_loaded"))
            listen = f"127.0.0.1:{syncd.client.base_url.port}"
            home.write({"acme": vendor.settings()}, http={"listen": listen, "token": PLANTED})
            pieces = unpacked(home)
    assert "syncd_newest_period_age_seconds{" in pieces["metrics.txt"]
    assert PLANTED not in "".join(pieces.values())


def test_nothing_that_was_planted_is_in_it(tmp_path: Path) -> None:
    vendor = Vendor()
    good = json.dumps({"session_id": 1, "city": f"{PLANTED} city", f"{PLANTED} column": f"{PLANTED} cell"})
    bad = f'{{"{PLANTED} key": 1, "{PLANTED} key": 2}}\n{{"a": 1e999{PLANTED}}}\n{PLANTED} is no line'
    vendor.runs = [Export(1, [f"{good}\n".encode()]), Export(2, [f"{good}\n{bad}\n".encode()], days_ago=2)]
    refused = json.dumps({"success": False, "errorMessage": f"{PLANTED} said"}).encode()
    vendor.runs.append(Export(3, [], days_ago=3, detail=lambda: (403, refused)))
    with serving(vendor):
        section = vendor.settings() | {"client_id": f"{PLANTED}-id", "client_secret": f"{PLANTED}-secret"}
        tell = {"trouble_url": f"http://127.0.0.1:9/{PLANTED}", "loaded_command": ["true", PLANTED]}
        home = Home(
            tmp_path,
            {"acme": section},
            tell=tell,
            http={"listen": "127.0.0.1:9", "token": f"{PLANTED}-t"},
            retry_for="1s",
        )
        log = home.run("once").stderr
        planted = {
            "event": "page_failed",
            "error": f"no '{PLANTED}' here",
            "column": PLANTED,
            "url": f"x?sig={PLANTED}",
        }
        lines = [log, json.dumps(planted), f"{PLANTED} line of another program", f"KeyError: '{PLANTED}'"]
        (tmp_path / "log").write_text("\n".join(lines))
        pieces = unpacked(home, "--log", str(tmp_path / "log"))
    assert {run["state"] for run in json.loads(pieces["runs.json"])} == {"loaded", "set_aside"}
    assert "lines rejected" in pieces["runs.json"]
    for name, piece in pieces.items():
        assert PLANTED not in piece, name
        assert "signature" not in piece, name


def test_a_broken_home_still_makes_one(tmp_path: Path) -> None:
    home = Home(
        tmp_path, {"acme": {"kind": "contentsquare", "client_id": 7, "client_secret": PLANTED, "jbos": PLANTED}}
    )
    pieces = unpacked(home)
    assert "jbos: unknown key" in pieces["configuration.json"]
    home.write({})
    home.data_dir.mkdir()
    (home.data_dir / "warehouse.duckdb").write_text("no catalogue")
    (home.data_dir / "state.sqlite").write_text("no state")
    broken = unpacked(home)
    assert "not to be had" in broken["catalogue.json"]
    assert "not to be had" in broken["state.sql"]
    assert broken.keys() == pieces.keys()
    assert PLANTED not in "".join([*pieces.values(), *broken.values()])


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("column 'My Name' is new (BIGINT)", "column '…' is new (BIGINT)"),
        ('a key given twice: "it\'s"', "a key given twice: '…'"),
        ("exports answers HTTP 403: FORBIDDEN ask Ann", "exports answers HTTP 403: …"),
        ("h answers HTTP 500 to the request for a token: Ann", "h answers HTTP 500 to the request for a token: …"),
        ("a number too large for a double: 1e999; row 3", "a number too large for a double: …; row 3"),
    ],
)  # fmt: skip
def test_free_text_keeps_our_words_only(text: str, kept: str) -> None:
    assert free_text(text) == kept


def test_a_key_that_is_not_set_hides_nothing(tmp_path: Path) -> None:
    """Convert's sections have keys of two kinds, and one of them is empty."""
    with convert() as vendor:
        pieces = unpacked(Home(tmp_path, {"ab": vendor.settings()}))
    assert json.loads(pieces["configuration.json"])["sources"]["ab"]["kind"] == "convert"
    assert pieces["check.txt"].endswith("checked\n")
    assert vendor.api.guard.secret not in "".join(pieces.values())
