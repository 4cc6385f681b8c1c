"""`syncd verify`: real damage to a real lake is found, told and mended; readers never fail meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree
from typing import Any

import duckdb
import pytest

from syncd.destinations.lake.proof import Flaw
from syncd.verify import Verdict, told
from tests.home import Home
from tests.sandbox_fixture import running

Tables = dict[str, list[tuple[Any, ...]]]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A lake of two jobs over two days, each run with a broken line; the vendor is gone by now."""
    with running(jobs=2, days=2, rows=30, parts=2, broken_lines=1) as vendor:
        home = Home(tmp_path, {"acme": vendor.settings()})
        home.once()
    return home


def files(home: Home) -> list[Path]:
    return [home.data_dir / path for (path,) in home.query("SELECT path FROM _syncd.files ORDER BY ALL")]


def flip(path: Path, at: float = 0.5) -> None:
    """One bit, so far into the file."""
    whole = bytearray(path.read_bytes())
    whole[int(len(whole) * at)] ^= 1
    path.write_bytes(whole)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


@contextmanager
def held_open(home: Home) -> Iterator[None]:
    """A reader that opened the warehouse before, and reads every view again afterwards."""
    with duckdb.connect(str(home.data_dir / "warehouse.duckdb"), read_only=True) as reader:
        before = reader.execute("SELECT count(*) FROM acme.sessions").fetchall()
        yield
        assert reader.execute("SELECT count(*) FROM acme.sessions").fetchall() == before


def proved(home: Home) -> None:
    ended = home.run("verify")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "nothing is lost" in ended.stdout


@pytest.mark.parametrize(("count", "said"), [(1, "1 flaw in 3 runs"), (2, "2 flaws in 3 runs")])
def test_flaws_are_counted_as_people_count(count: int, said: str) -> None:
    flaw = Flaw("acme", "7-1", "", "lake/gone.parquet", "it is gone")
    assert list(told(Verdict({"runs": 3}, [flaw] * count)))[-1] == said


def test_a_sound_lake_is_proved_without_the_lock(home: Home) -> None:
    proved(home)
    answer = home.json("verify")
    assert answer["ok"] and answer["flaws"] == [] and answer["notes"] == []
    assert answer["rows"] == home.query("SELECT sum(rows) FROM _syncd.runs")[0][0]
    assert home.run("verify", "--repair").returncode == 0
    assert all(".g2." not in path.name for path in files(home)), "what is sound is left alone"


@pytest.mark.parametrize("at", [0.1, 0.5])
def test_a_flipped_bit_anywhere_in_a_file_is_found_and_mended(home: Home, at: float) -> None:
    before, victim = home.tables(), files(home)[1]
    flip(victim, at)
    told = home.run("verify")
    assert told.returncode == 1
    assert str(victim.relative_to(home.data_dir)) in told.stdout
    assert "verify --repair" in told.stdout
    repaired = home.run("verify", "--repair")
    assert repaired.returncode == 0, repaired.stdout + repaired.stderr
    assert home.tables() == before
    proved(home)


def test_files_cut_deleted_or_replaced_by_garbage_are_staged_again(home: Home) -> None:
    before, rejected = home.tables(), home.query("SELECT * FROM _syncd.rejected ORDER BY ALL")
    (bad,) = home.query("SELECT min(rejects) FROM _syncd.parts WHERE rejects <> ''")[0]
    cut, gone, garbage, *_ = files(home)[::2]
    truncate(cut)
    gone.unlink()
    garbage.write_bytes(b"not parquet")
    (home.data_dir / bad).unlink()
    told = home.json("verify")
    assert {(home.data_dir / flaw["path"]) for flaw in told["flaws"] if flaw["path"]} == {
        cut,
        gone,
        garbage,
        home.data_dir / bad,
    }
    assert home.run("verify", "--repair").returncode == 0
    assert home.tables() == before
    assert home.query("SELECT * FROM _syncd.rejected ORDER BY ALL") == rejected
    proved(home)


def test_a_repair_leaves_a_reader_of_the_old_catalogue_its_files(home: Home) -> None:
    with held_open(home):
        (bad,) = home.query("SELECT min(rejects) FROM _syncd.parts WHERE rejects <> ''")[0]
        flip(home.data_dir / bad)
        assert home.run("verify", "--repair").returncode == 0


def test_a_lost_catalogue_is_built_again_from_the_lake(home: Home) -> None:
    before, ledger = home.tables(), ledger_of(home)
    with held_open(home):
        (home.data_dir / "warehouse.duckdb").unlink()
        assert home.run("verify").returncode == 1
        assert "verify --repair" in home.run("once").stderr
        repaired = home.run("verify", "--repair")
        assert repaired.returncode == 0, repaired.stdout + repaired.stderr
    assert home.tables() == before
    assert ledger_of(home) == ledger
    proved(home)


@pytest.mark.parametrize("damage", ["garbage", "truncated", "another"])
def test_a_corrupt_catalogue_is_put_aside_and_built_again(home: Home, damage: str) -> None:
    before, catalogue = home.tables(), home.data_dir / "warehouse.duckdb"
    match damage:
        case "garbage":
            catalogue.write_bytes(b"no database " * 1000)
        case "truncated":
            catalogue.write_bytes(catalogue.read_bytes()[: catalogue.stat().st_size // 2])
        case "another":
            catalogue.unlink()
            duckdb.connect(str(catalogue)).close()
    lost = catalogue.read_bytes()
    told = home.run("verify")
    assert told.returncode == 1 and "verify --repair" in told.stdout, told.stdout + told.stderr
    repaired = home.run("verify", "--repair")
    assert repaired.returncode == 0, repaired.stdout + repaired.stderr
    assert home.tables() == before
    assert [path.read_bytes() for path in home.data_dir.glob("warehouse.duckdb.corrupt-*")] == [lost]
    proved(home)


def test_catalogue_state_and_landed_bytes_lost_the_lake_alone_is_enough(home: Home) -> None:
    before, ledger = home.tables(), ledger_of(home)
    (home.data_dir / "warehouse.duckdb").unlink()
    (home.data_dir / "state.sqlite").unlink()
    rmtree(home.data_dir / "landing")
    assert home.run("verify", "--repair").returncode == 0
    assert home.tables() == before
    assert ledger_of(home) == ledger


def test_of_two_generations_only_the_newest_whole_one_comes_back(home: Home) -> None:
    before = home.tables()
    names = [f"acme/{run}" for (run,) in home.query("SELECT run FROM _syncd.runs ORDER BY ALL")]
    assert home.run("replay", *names[:2]).returncode == 0
    second = {path for path in files(home) if ".g2." in path.name}
    min(second).unlink()
    (home.data_dir / "warehouse.duckdb").unlink()
    rmtree(home.data_dir / "landing")
    repaired = home.run("verify", "--repair")
    assert repaired.returncode == 0, repaired.stdout + repaired.stderr
    assert home.tables() == before
    assert second - {min(second)} < set(files(home))
    proved(home)


def test_a_lost_catalogue_and_a_lost_file_at_once(home: Home) -> None:
    before = home.tables()
    one, other, third, *_ = files(home)
    one.unlink()
    flip(other, 0.5)
    truncate(third)
    (home.data_dir / "warehouse.duckdb").unlink()
    repaired = home.run("verify", "--repair")
    assert repaired.returncode == 0, repaired.stdout + repaired.stderr
    assert home.tables() == before
    proved(home)


def test_what_is_lost_for_good_is_told_and_the_rest_can_be_read(home: Home) -> None:
    before = home.query("SELECT * FROM _syncd.runs ORDER BY ALL")
    ((path, rows),) = home.query("SELECT path, rows FROM _syncd.files ORDER BY ALL LIMIT 1")
    ((all_rows,),) = home.query("SELECT count(*) FROM acme.sessions")
    (home.data_dir / path).unlink()
    rmtree(home.data_dir / "landing")
    for arguments in (["verify"], ["verify", "--repair"], ["verify"]):
        ended = home.run(*arguments)
        assert ended.returncode == 1
        assert "a once export of" in ended.stdout
    assert home.query("SELECT * FROM _syncd.runs ORDER BY ALL") == before, "the ledger still tells what there was"
    assert home.query("SELECT count(*) FROM acme.sessions") == [(all_rows - rows,)]


@pytest.mark.parametrize("landed", ["gone", "damaged"])
def test_what_is_lost_here_is_fetched_again_where_the_vendor_still_has_it(tmp_path: Path, landed: str) -> None:
    with running(jobs=1, days=2, rows=30, parts=2) as vendor:
        home = Home(tmp_path, {"acme": vendor.settings()})
        home.once()
        before = home.tables()
        ((path, run),) = home.query("SELECT path, run FROM _syncd.files ORDER BY ALL LIMIT 1")
        truncate(home.data_dir / path)
        folder = home.data_dir / "landing" / "acme" / run
        rmtree(folder) if landed == "gone" else flip(next(folder.glob("*.part")))
        repaired = home.run("verify", "--repair")
    assert repaired.returncode == 0, repaired.stdout + repaired.stderr
    assert home.tables() == before
    proved(home)


def test_landed_bytes_that_changed_are_put_aside_and_never_parsed(home: Home) -> None:
    before = home.tables()
    landed = sorted((home.data_dir / "landing").rglob("*.part"))[0]
    flip(landed)
    told = home.run("verify")
    assert told.returncode == 1 and str(landed.relative_to(home.data_dir)) in told.stdout
    repaired = home.run("verify", "--repair")
    assert repaired.returncode == 0, repaired.stdout + repaired.stderr
    assert not landed.exists() and landed.with_suffix(".damaged").exists()
    assert home.tables() == before
    proved(home)


def test_file_and_landed_bytes_damaged_the_file_is_not_made_from_them(home: Home) -> None:
    ((path, run, part),) = home.query("SELECT path, run, part FROM _syncd.files ORDER BY ALL LIMIT 1")
    flip(home.data_dir / path)
    flip(next((home.data_dir / "landing" / "acme" / run).glob(f"{part}*.part")))
    assert home.run("verify", "--repair").returncode == 1
    assert not home.query(f"SELECT 1 FROM _syncd.files WHERE run = '{run}' AND part = '{part}'")
    assert (home.data_dir / path).exists(), "who has it may still save something of it"


def test_landed_bytes_that_are_kept_no_more_are_no_flaw(home: Home) -> None:
    rmtree(home.data_dir / "landing")
    proved(home)


def test_files_that_nobody_names_are_a_note_and_go_when_they_are_old(home: Home) -> None:
    import os

    known = files(home)[0]
    orphan = known.with_name("nobody~p.parquet")
    orphan.write_bytes(known.read_bytes())
    os.utime(orphan, (0, 0))
    told = home.run("verify")
    assert told.returncode == 0
    assert f"nobody names {orphan.relative_to(home.data_dir)}" in told.stdout
    assert home.run("verify", "--repair").returncode == 0
    assert not orphan.exists()


def test_a_copy_in_the_lake_doubles_nothing_when_the_catalogue_is_lost(home: Home) -> None:
    before, known = home.tables(), files(home)[0]
    known.with_name("copy.parquet").write_bytes(known.read_bytes())
    (home.data_dir / "warehouse.duckdb").unlink()
    assert home.run("verify", "--repair").returncode == 0
    assert home.tables() == before


def test_a_ledger_that_contradicts_its_files_is_found(home: Home) -> None:
    """Nobody but us writes the catalogue; if somebody did, it shows."""
    with duckdb.connect(str(home.data_dir / "warehouse.duckdb")) as warehouse:
        warehouse.execute(
            "UPDATE _syncd_open.parts SET rows = rows + 1 WHERE part = (SELECT min(part) FROM _syncd.parts)"
        )
    told = home.run("verify")
    assert told.returncode == 1
    assert "the lines don't add up" in told.stdout and "its files have" in told.stdout


def test_nothing_loaded_yet_is_nothing_wrong(tmp_path: Path) -> None:
    with running(jobs=1, days=1, rows=1) as vendor:
        ended = Home(tmp_path, {"acme": vendor.settings()}).run("verify")
    assert ended.returncode == 0 and "nothing has been loaded" in ended.stdout


def test_superseded_and_empty_runs_come_back_as_they_were(tmp_path: Path) -> None:
    with running(jobs=1, days=2, rows=20, restated_runs=1, empty_runs=1) as vendor:
        home = Home(tmp_path, {"acme": vendor.settings()})
        home.once()
    before, ledger = home.tables(), ledger_of(home)
    assert ("superseded",) in home.query("SELECT status FROM _syncd.runs")
    assert (0,) in home.query("SELECT rows FROM _syncd.runs")
    (home.data_dir / "warehouse.duckdb").unlink()
    repaired = home.run("verify", "--repair")
    assert repaired.returncode == 0, repaired.stdout + repaired.stderr
    assert home.tables() == before
    assert ledger_of(home) == ledger


def test_beside_a_daemon_plain_verify_works_and_repair_waits(tmp_path: Path) -> None:
    with running(jobs=1, days=1, rows=10) as vendor:
        home = Home(tmp_path, {"acme": vendor.settings()})
        home.once()
        with home.start("run") as daemon:
            try:
                while not (home.data_dir / "syncd.lock").read_text():
                    assert daemon.poll() is None
                proved(home)
                assert home.run("verify", "--repair").returncode == 75
            finally:
                daemon.terminate()
                daemon.communicate(timeout=30)


def ledger_of(home: Home) -> dict[str, list[tuple[Any, ...]]]:
    """What the catalogue knows besides the instants of loading, and the history of its types."""
    tables = {
        "runs": "* EXCLUDE (loaded_at)",
        "parts": "*",
        "files": "*",
        "columns": "* EXCLUDE (first_run, facts)",
        "scopes": "*",
    }
    return {name: home.query(f"SELECT {what} FROM _syncd.{name} ORDER BY ALL") for name, what in tables.items()}
