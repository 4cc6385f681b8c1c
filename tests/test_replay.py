"""`syncd replay`: a loaded run again from its landed bytes, under today's rules; readers never see a hole."""

from __future__ import annotations

import json  # noqa: TID251  # as scripts read it
from pathlib import Path

import duckdb

from tests.home import Home
from tests.sandbox_fixture import running


def test_a_replay_shows_the_same_rows_from_new_files_without_the_vendor(tmp_path: Path) -> None:
    with running(jobs=2, days=2, rows=30, broken_lines=1) as vendor:
        home = Home(tmp_path, {"acme": vendor.settings()})
        home.once()
    before = home.tables()
    rejected = home.query("SELECT run, part, row, raw FROM _syncd.rejected ORDER BY ALL")
    old = {path for (path,) in home.query("SELECT path FROM _syncd.files")}
    with duckdb.connect(str(home.data_dir / "warehouse.duckdb"), read_only=True) as reader:
        names = [f"acme/{run}" for (run,) in home.query("SELECT run FROM _syncd.runs")]
        assert home.run("replay", *names).returncode == 0
        assert reader.execute("SELECT count(*) FROM acme.sessions").fetchall() == [(len(before["acme.sessions"]),)]
    assert home.tables() == before
    assert home.query("SELECT run, part, row, raw FROM _syncd.rejected ORDER BY ALL") == rejected
    new = {path for (path,) in home.query("SELECT path FROM _syncd.files")}
    assert len(new) == len(old)
    assert all(path.endswith(".g2.parquet") for path in new)
    assert all((home.data_dir / path).exists() for path in old | new), "a reader may still have the old ones open"


def test_a_second_replay_writes_a_third_generation(tmp_path: Path) -> None:
    with running(jobs=1, days=1, rows=5, parts=1) as vendor:
        home = Home(tmp_path, {"acme": vendor.settings()})
        home.once()
    before = home.tables()
    ((run,),) = home.query("SELECT run FROM _syncd.runs")
    for _ in range(2):
        assert home.run("replay", f"acme/{run}").returncode == 0
    assert home.tables() == before
    assert home.query("SELECT path LIKE '%.g3.parquet' FROM _syncd.files") == [(True,)]


def test_a_replay_that_its_rejected_lines_stop_says_how_it_is_repeated(tmp_path: Path) -> None:
    with running(jobs=1, days=1, rows=20, parts=1, broken_lines=15) as vendor:
        home = Home(tmp_path, {"acme": vendor.settings()})
        home.once(expect=1)
    (run,) = (f"acme/{one['run']}" for one in json.loads(home.run("runs", "--json").stdout))
    assert home.run("retry", "--accept-rejected", run).returncode == 0
    stopped = home.run("replay", run)
    assert stopped.returncode == 1
    assert f"syncd replay --accept-rejected {run}" in stopped.stdout
    assert home.run("replay", "--accept-rejected", run).returncode == 0


def test_what_can_not_be_replayed_is_told_before_anything_is_done(tmp_path: Path) -> None:
    with running(jobs=1, days=2, rows=5, parts=1) as vendor:
        home = Home(tmp_path, {"acme": vendor.settings()}, landing={"keep": "0d"})
        home.once()
        ended = home.run("replay", "acme/1-2", f"acme/{home.query('SELECT min(run) FROM _syncd.runs')[0][0]}")
    assert ended.returncode == 2
    assert "acme/1-2: no such run" in ended.stderr
    assert "landing.keep" in ended.stderr
