"""A file that is lost for good can be taken for lost: then verify is green, and what was lost is told for ever."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from shutil import rmtree
from typing import NamedTuple

import pytest

from tests.home import Home
from tests.sandbox_fixture import running


class Lost(NamedTuple):
    """A lake of which something is gone, here and at the vendor."""

    home: Home
    run: str
    rows: int


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """Two days of a job; its landed bytes are not kept, and the vendor is gone."""
    with running(jobs=1, days=2, rows=30, parts=2, broken_lines=1) as vendor:
        home = Home(tmp_path, {"acme": vendor.settings()}, landing={"keep": "0d"})
        home.once()
    yield home


@pytest.fixture(params=["a file", "a whole run"])
def lost(home: Home, request: pytest.FixtureRequest) -> Lost:
    """Something of it is gone."""
    files = home.query("SELECT run, path, rows FROM _syncd.files ORDER BY ALL")
    run = files[0][0]
    gone = [(path, rows) for of, path, rows in files if of == run]
    gone += home.query(f"SELECT rejects, 0 FROM _syncd.parts WHERE run = '{run}' AND rejects <> ''")
    if request.param == "a file":
        del gone[1:]
    for path, _ in gone:
        (home.data_dir / path).unlink()
    return Lost(home, run, sum(rows for _, rows in gone))


def proved(lost: Lost) -> None:
    """verify is green and tells what was lost; the views have the rest."""
    answer = lost.home.json("verify")
    assert answer["ok"], answer
    assert {one["run"] for one in answer["lost"]} == {lost.run}
    assert sum(one["rows"] for one in answer["lost"]) == lost.rows
    ((here, ledger),) = lost.home.query("SELECT (SELECT count(*) FROM acme.sessions), sum(rows) FROM _syncd.runs")
    assert here == ledger - lost.rows


def test_what_was_taken_for_lost_is_no_flaw_any_more_and_is_told_for_ever(lost: Lost) -> None:
    hint = f"syncd verify --accept-loss acme/{lost.run}"
    assert hint in lost.home.run("verify").stdout
    accepted = lost.home.run(*hint.split()[1:])
    assert accepted.returncode == 0, accepted.stdout + accepted.stderr
    assert f"rejected lines of acme/{lost.run}" in accepted.stdout and "nothing else is lost" in accepted.stdout
    proved(lost)
    assert {run["run"]: run["lost"] for run in lost.home.json("runs")}[lost.run] == lost.rows
    assert lost.home.json("status")["sources"]["acme"]["lost"] == {lost.run: lost.rows}
    for command in ("status", "gaps"):
        assert f"{lost.rows} of its rows are lost for good" in lost.home.run(command).stdout


def test_it_stays_so_when_the_catalogue_and_the_state_are_lost(lost: Lost) -> None:
    assert lost.home.run("verify", "--accept-loss", f"acme/{lost.run}").returncode == 0
    before = lost.home.tables(), lost.home.query("SELECT * FROM _syncd.lost ORDER BY ALL")
    for path in lost.home.data_dir.glob("*.*"):
        path.unlink()
    repaired = lost.home.run("verify", "--repair")
    assert repaired.returncode == 0, repaired.stdout + repaired.stderr
    assert (lost.home.tables(), lost.home.query("SELECT * FROM _syncd.lost ORDER BY ALL")) == before
    proved(lost)


def test_another_loss_of_the_same_run_is_a_flaw_again(home: Home) -> None:
    ((run, *_), *_) = paths = home.query("SELECT run, path, rows FROM _syncd.files ORDER BY ALL")
    mine = [(path, rows) for of, path, rows in paths if of == run]
    for number, (path, _) in enumerate(mine, 1):
        (home.data_dir / path).unlink()
        assert home.run("verify").returncode == 1
        assert home.run("verify", "--accept-loss", f"acme/{run}").returncode == 0
        proved(Lost(home, run, sum(rows for _, rows in mine[:number])))


def test_only_what_is_lost_can_be_taken_for_lost(home: Home) -> None:
    ((run,),) = home.query("SELECT run FROM _syncd.runs ORDER BY ALL LIMIT 1")
    for name in (f"acme/{run}", "acme/no-such"):
        ended = home.run("verify", "--accept-loss", name)
        assert ended.returncode == 2
        assert f"nothing is lost of {name}" in ended.stderr and "syncd verify" in ended.stderr


def test_what_can_be_mended_is_mended_first(tmp_path: Path) -> None:
    with running(jobs=1, days=1, rows=30, parts=1) as vendor:
        home = Home(tmp_path, {"acme": vendor.settings()})
        home.once()
        before = home.tables()
        ((run, path),) = home.query("SELECT run, path FROM _syncd.files ORDER BY ALL LIMIT 1")
        (home.data_dir / path).unlink()
        rmtree(home.data_dir / "landing")
        ended = home.run("verify", "--accept-loss", f"acme/{run}")
    assert ended.returncode == 2 and "nothing is lost" in ended.stderr
    assert home.tables() == before


def test_a_loss_is_told_no_more_when_the_rows_have_come_back(tmp_path: Path) -> None:
    with running(jobs=1, days=2, rows=30, parts=2) as vendor:
        home = Home(tmp_path, {"acme": vendor.settings()})
        home.once()
        before = home.tables()
    landing, saved = home.data_dir / "landing", tmp_path / "saved"
    landing.rename(saved)
    ((run, path),) = home.query("SELECT run, path FROM _syncd.files ORDER BY ALL LIMIT 1")
    (home.data_dir / path).unlink()
    assert home.run("verify", "--accept-loss", f"acme/{run}").returncode == 0
    rmtree(landing, ignore_errors=True)
    saved.rename(landing)
    assert home.run("replay", f"acme/{run}").returncode == 0
    assert home.tables() == before
    assert home.query("SELECT * FROM _syncd.lost") == []
    assert home.run("verify").returncode == 0
    (home.data_dir / "warehouse.duckdb").unlink()
    assert home.run("verify", "--repair").returncode == 0
    assert (home.tables(), home.query("SELECT * FROM _syncd.lost")) == (before, [])
