"""A disk that refuses ends in recovery or one clear error and costs no row: a few of `just crash --kind faults`."""

from __future__ import annotations

import errno
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.crash.faults import FAULTS, flaws, suffer, traps
from tests.crash.points import seen
from tests.crash.stand import Stage, Stand, Tables, Tally, finish, stages, standing
from tests.crash.starter import How, Op, Trap, calls


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    """A stand before its first stage."""
    with standing(tmp_path_factory.mktemp("stand")) as stand:
        yield stand


@pytest.fixture(scope="module")
def load(stand: Stand) -> tuple[Stage, Tables]:
    """The first load, and the tables that it must end in."""
    stage = stages(stand.sandbox)[0]
    return stage, stage.set_up(stand)


ON, ONCE = How.FAIL_ON, How.FAIL
UNTIDY = Trap(ON, 1, frozenset({Op.UNLINK}), errno.EIO, ".tmp")
SPOTS = {  # each was a traceback once
    "no room for the journal of a commit": Trap(ONCE, 5, frozenset({Op.WRITE}), errno.ENOSPC, "aside.wal"),
    "no folder can be made to land in": Trap(ONCE, 1, frozenset({Op.MKDIR}), errno.EACCES, "landing"),
    "what has landed can't be read": Trap(ON, 1, frozenset({Op.OPEN}), errno.EACCES, ".part"),
    "too many files are open to read it": Trap(ON, 1, frozenset({Op.OPEN}), errno.EMFILE, ".part"),
    "the lock can't be written": Trap(ON, 1, frozenset({Op.WRITE}), errno.ENOSPC, "syncd.lock"),
    "a torn file can't be removed": Trap(ON, 1, frozenset({Op.UNLINK, Op.RENAME}), errno.EROFS, ".tmp"),
    "the state is unreadable from some moment on": Trap(ON, 12, frozenset({Op.READ}), errno.EIO, "state.sqlite"),
    "the list of parts can't be synced": Trap(ON, 1, frozenset({Op.SYNC}), errno.EIO, "parts.json"),
    "a landed part can't be synced": Trap(ONCE, 1, frozenset({Op.SYNC}), errno.EIO, ".part"),
    "DuckDB can't sync the catalogue": Trap(ONCE, 1, frozenset({Op.SYNC}), errno.EIO, "warehouse"),
    "DuckDB can't sync the journal of a commit": Trap(ONCE, 1, frozenset({Op.SYNC}), errno.EIO, "aside.wal"),
    "the catalogue can't be renamed": Trap(ON, 2, frozenset({Op.RENAME}), errno.EIO, "warehouse"),
}


@pytest.mark.parametrize("where", SPOTS)
def test_a_disk_that_fails_at_a_sore_spot(stand: Stand, load: tuple[Stage, Tables], where: str) -> None:
    stage, expected = load
    tally = Tally()
    suffer(stand, stage, expected, where, SPOTS[where], tally)
    assert (tally.wrong, tally.lost, tally.doubled) == ([], 0, 0)


@pytest.mark.parametrize("kind", FAULTS)
def test_a_disk_that_fails_at_the_kth_call(stand: Stand, load: tuple[Stage, Tables], kind: str) -> None:
    stage, expected = load
    tally, chance = Tally(), random.Random(kind)
    every = list(traps(stand, stage, FAULTS[kind]))
    for trap in chance.sample(every, 4):
        suffer(stand, stage, expected, kind, trap, tally)
    assert (tally.wrong, tally.lost, tally.doubled) == ([], 0, 0)
    assert len(every) > 60


def test_a_pass_whose_end_cannot_be_noted_says_so(stand: Stand, load: tuple[Stage, Tables]) -> None:
    stage, expected = replace(load[0], command=("once",)), load[1]
    writes, log = frozenset({Op.WRITE}), stand.folder / "writes"
    stand.put_back(stage.name)
    assert stand.run(stage.command, Trap(log=str(log), ops=writes)).code == 0
    last = sum("state.sqlite-wal" in call.path for call in calls(log))
    for back in range(4):
        tally = Tally()
        ended = suffer(stand, stage, expected, "noting", Trap(ONCE, last - back, writes, errno.ENOSPC, "-wal"), tally)
        assert (ended.code, tally.wrong, tally.lost, tally.doubled) == (75, [], 0, 0)
        assert '"event":"pass_failed"' in ended.err and '"event":"pass_ended"' not in ended.err


def test_a_fault_is_seen_by_the_command(stand: Stand, load: tuple[Stage, Tables]) -> None:
    stage, expected = load
    stand.put_back(stage.name)
    ended = stand.run(("once",), Trap(ON, 1, frozenset({Op.WRITE}), errno.ENOSPC))
    assert ended.code == 75, "the plug was not in the socket"
    assert list(flaws(ended)) == []
    finish(stand, stage, expected, tally := Tally(), "a full disk")
    assert tally.wrong == []


def test_a_view_that_the_disk_does_not_give_is_no_flaw(stand: Stand, load: tuple[Stage, Tables]) -> None:
    proof, reads = Stage("proof", ("verify",)), frozenset({Op.READ})
    stand.kept[proof.name] = stand.kept[load[0].over]
    come = [call for call in seen(stand, proof, ops=reads) if call.path.endswith(".parquet")]
    stand.put_back(proof.name)
    ended = stand.run(proof.command, Trap(ONCE, len(come), reads, errno.EIO, ".parquet"))
    assert ended.code == 75 and list(flaws(ended)) == []


def test_a_disk_that_fails_later_in_the_life_of_a_run(tmp_path: Path) -> None:
    chance, tally = random.Random(8), Tally()
    with standing(tmp_path, days=1) as stand:
        for stage in stages(stand.sandbox):
            expected = stage.set_up(stand)
            for kind in chance.sample(sorted(FAULTS), 2) if stage.name != "load" else ():
                trap = chance.choice(list(traps(stand, stage, FAULTS[kind])))
                suffer(stand, stage, expected, f"{stage.name}, {kind}", trap, tally)
            if stage.name == "pack":
                suffer(stand, stage, expected, "what was written aside can't be removed", UNTIDY, tally)
            stand.put_back(stage.over)
    assert (tally.wrong, tally.lost, tally.doubled) == ([], 0, 0)
    assert tally.goes == 11
