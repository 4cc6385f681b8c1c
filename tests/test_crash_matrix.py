"""Stopped anywhere and started again, the tables are those of an undisturbed run: the short form of `just crash`."""

from __future__ import annotations

import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import duckdb
import pytest

from tests.crash.goes import goes, some
from tests.crash.points import seen
from tests.crash.power import Cut, Disk, build, cuts, outlive
from tests.crash.stand import Stage, Stand, Tables, Tally, finish, oracle, stages, standing
from tests.crash.starter import Call, How, Op, Trap, calls
from tests.crash.world import world


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    """A stand with one run, before its first stage."""
    with standing(tmp_path_factory.mktemp("stand"), days=1) as stand:
        yield stand


@pytest.fixture(scope="module")
def load(stand: Stand) -> tuple[Stage, Tables]:
    """The first load by the daemon, and the tables that it must end in."""
    stage = stages(stand.sandbox)[0]
    expected = stage.set_up(stand)
    assert oracle(stand) == [], "not even an undisturbed go is right"
    return stage, expected


@pytest.fixture(scope="module")
def made(stand: Stand, load: tuple[Stage, Tables]) -> list[Call]:
    """Every call of an undisturbed load, with its bytes."""
    return seen(stand, load[0], keep_bytes=True)


def tree(root: Path) -> dict[str, bytes | None]:
    """Every path below, and its bytes."""
    return {f"/{path.relative_to(root)}": None if path.is_dir() else path.read_bytes() for path in root.rglob("*")}


def disk_behind(stand: Stand, stage: Stage, made: Iterable[Call]) -> dict[str, bytes | None]:
    """The disk that a kill behind these calls leaves: all that was done, synced or not."""
    disk = Disk(stand.home.data_dir, stand.kept[stage.name])
    for call in made:
        if call.op != Op.SAY:
            disk.add(call)
    return disk.cut(lambda kind: True)


def role(call: Call) -> tuple[Op, str]:
    """What a call does to what kind of file: runs, parts, days and made-up names are all alike."""
    return call.op, re.sub(r"[0-9a-f]{32}|\d[\d-]*", "N", call.path)


def test_no_change_of_the_disk_slips_past_the_shim(stand: Stand, load: tuple[Stage, Tables], made: list[Call]) -> None:
    told = disk_behind(stand, load[0], made)
    here = tree(stand.kept[load[0].over])
    assert {Op.CREATE, Op.WRITE, Op.TRUNCATE, Op.SYNC, Op.RENAME, Op.UNLINK, Op.MKDIR} <= {call.op for call in made}
    assert told.keys() == here.keys()
    assert [path for path in here if told[path] != here[path]] == []


def test_a_kill_leaves_what_the_calls_before_it_did(stand: Stand, load: tuple[Stage, Tables]) -> None:
    log, stage = stand.folder / "killed", load[0]
    stand.put_back(stage.name)
    ended = stand.run(stage.command, Trap(How.KILL, 150, log=str(log), bytes=True))
    assert ended.code == -signal.SIGKILL
    told = disk_behind(stand, stage, list(calls(log))[:-1])  # the last one is that which was not made
    here = tree(stand.home.data_dir)
    assert {path: held for path, held in here.items() if not path.endswith("-shm")} == {
        path: held
        for path, held in told.items()
        if not path.endswith("-shm")  # shared memory: written without a call
    }


def spoil(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1] + b"?")


def asked(path: Path, sql: str) -> None:
    with sqlite3.connect(path) as state:
        assert state.execute(sql).rowcount == 1
    state.close()


def published(path: Path, sql: str) -> None:
    with duckdb.connect(str(path)) as catalogue:
        catalogue.execute(sql)


DIFFERENCES: list[Callable[[Path], object]] = [  # each is of a disk that a start would find another than it was
    lambda root: None,
    lambda root: (root / "lake" / "new").mkdir(),
    lambda root: spoil(next(root.rglob("*.parquet"))),
    lambda root: next(root.rglob("*.parquet")).unlink(),
    lambda root: spoil(next(root.rglob("*.part"))),
    lambda root: asked(root / "state.sqlite", "UPDATE jobs SET is_listed = 0"),
    lambda root: asked(root / "state.sqlite", "UPDATE passes SET error = 'some'"),
    lambda root: asked(root / "state.sqlite", "DELETE FROM passes"),
    lambda root: published(root / "warehouse.duckdb", "UPDATE _syncd_open.runs SET status = 'superseded'"),
    lambda root: published(root / "warehouse.duckdb", "DELETE FROM _syncd_open.parts"),
    lambda root: published(root / "warehouse.duckdb", "DROP VIEW acme.sessions_latest"),
]


def test_two_goes_that_leave_the_same_are_known_and_others_are_told_apart(
    stand: Stand, load: tuple[Stage, Tables]
) -> None:
    stage, seen = load[0], []
    for change in DIFFERENCES:
        stand.put_back(stage.over)
        change(stand.home.data_dir)
        seen.append(world(stand.home.data_dir, stand.reader))
    assert len(set(seen)) == len(DIFFERENCES)
    stand.put_back(stage.name)
    assert stand.run(stage.command).code == 0
    assert world(stand.home.data_dir, stand.reader) == seen[0], "only the instants are others"


def test_stopped_at_each_kind_of_call_that_writes(stand: Stand, load: tuple[Stage, Tables], made: list[Call]) -> None:
    (stage, expected), tally, chance = load, Tally(), random.Random(4)
    come: dict[tuple[Op, str], list[int]] = {}
    for number, call in enumerate(made):
        if call.op not in (Op.NOTHING, Op.RECV, Op.SEND, Op.SYNC, Op.SAY):  # a sync changes nothing here
            come.setdefault(role(call), []).append(number)
    assert len(come) > 55, "the account is not what it was"
    known = set()
    for number, at in sorted((chance.choice(numbers), at) for at, numbers in come.items()):
        disk = disk_behind(stand, stage, made[: number + 1])
        if frozenset(disk.items()) not in known:  # else a start finds what another has found
            known.add(frozenset(disk.items()))
            build(stand.home.data_dir, disk)
            finish(stand, stage, expected, tally, f"behind call {number + 1}, {at}")
    assert (tally.wrong, tally.lost, tally.doubled) == ([], 0, 0)
    assert len(known) > 45


def test_stopped_at_fifty_points_more_of_the_life_of_a_run(tmp_path: Path) -> None:
    chance, tally, known = random.Random(5), Tally(), set[str]()
    with standing(tmp_path, days=1) as stand:
        for stage in stages(stand.sandbox):
            expected = stage.set_up(stand)
            for kind, count in {"lines": 2, "torn": 2, "pairs": 2, "moments": 1, "power": 2}.items():
                for go in some(goes(stand, stage, expected, kind, known, chance, count), count, chance):
                    go.make(tally)
            stand.put_back(stage.over)
    assert (tally.wrong, tally.lost, tally.doubled) == ([], 0, 0)
    assert tally.goes == 54 and tally.stopped > 43, "the plug was not in the socket"


def test_each_call_has_its_power_cuts(stand: Stand, load: tuple[Stage, Tables], made: list[Call]) -> None:
    (stage, expected), tally = load, Tally()
    every = list(cuts(stand.home.data_dir, stand.kept[stage.name], made, random.Random(2)))
    assert len(every) > 400
    outlive(stand, stage, expected, every[-1], tally)
    assert (tally.wrong, tally.lost, tally.doubled) == ([], 0, 0)


def test_a_disk_that_only_feigns_to_sync_is_found_out(
    stand: Stand, load: tuple[Stage, Tables], made: list[Call]
) -> None:
    (stage, expected), tally = load, Tally()
    lied = [call for call in made if call.op != Op.SYNC]
    *_, last = cuts(stand.home.data_dir, stand.kept[stage.name], lied, random.Random(1))
    nothing = Cut("the end", Disk(stand.home.data_dir, stand.kept[stage.name]).cut(lambda kind: False), last.said)
    outlive(stand, stage, expected, nothing, tally)
    assert "was called loaded, and is not here" in " ".join(tally.wrong)


def test_a_matrix_that_is_killed_leaves_its_journal_and_nothing_else(tmp_path: Path) -> None:
    folder, journal = tmp_path / "made", tmp_path / "journal"
    folder.mkdir()
    wanted = [sys.executable, "-m", "tests.crash", "--days", "1", "--journal", str(journal)]
    every = [*wanted, "--stage", "load", "--kind", "calls"]
    matrix = subprocess.Popen(every, env=os.environ | {"TMPDIR": str(folder)}, process_group=0)
    until = time.monotonic() + 120
    while not journal.exists() and time.monotonic() < until:
        time.sleep(0.1)
    os.killpg(matrix.pid, signal.SIGKILL)
    matrix.wait()
    while list(folder.iterdir()) and time.monotonic() < until:
        time.sleep(0.1)
    assert list(folder.iterdir()) == []
    told = subprocess.run([*wanted, "--sum"], capture_output=True, text=True)
    assert re.search(r"^load +calls +\d+ +\d+ +\d+ +0 +0$", told.stdout, re.M), told.stdout + told.stderr
    assert told.returncode == 0
