"""The disk that refuses: the k-th call fails, once or from then on, with each error that a disk has."""

from __future__ import annotations

import errno
from collections.abc import Container, Iterator
from typing import NamedTuple

from tests.crash.points import seen
from tests.crash.stand import Stage, Stand, Tables, Tally, finish, told
from tests.crash.starter import CHANGES, Ended, How, Op, Trap

GROWS = frozenset({Op.CREATE, Op.WRITE, Op.MKDIR})


class Fault(NamedTuple):
    """One way for a disk to fail: which calls, with what."""

    ops: frozenset[Op]
    error: int
    once: How = How.FAIL
    for_good: How = How.FAIL_ON


FAULTS = {
    "no space": Fault(GROWS, errno.ENOSPC),
    "input/output error": Fault(frozenset(CHANGES | {Op.OPEN, Op.READ}), errno.EIO),
    "permission denied": Fault(frozenset(CHANGES | {Op.OPEN}) - {Op.WRITE, Op.SYNC}, errno.EACCES),
    "read-only": Fault(frozenset(CHANGES) - {Op.WRITE, Op.SYNC}, errno.EROFS),
    "too many open files": Fault(frozenset({Op.OPEN, Op.CREATE}), errno.EMFILE),
    "short write": Fault(frozenset({Op.WRITE}), 0, How.SHORT, How.SHORT_ON),
}


def traps(stand: Stand, stage: Stage, fault: Fault) -> Iterator[Trap]:
    """Every k, once and for good."""
    for at in range(1, len(seen(stand, stage, ops=fault.ops)) + 1):
        for how in (fault.once, fault.for_good):
            yield Trap(how, at, fault.ops, fault.error)


def suffer(stand: Stand, stage: Stage, expected: Tables, where: str, trap: Trap, tally: Tally) -> Ended:
    """One go with a fault: it ends as the contract says; then the disk is well, and all comes home."""
    where = f"{where}, {told(trap)}"
    stand.put_back(stage.name)
    tally.goes += 1
    ended = stand.run(stage.command, trap)
    tally.stopped += ended.code != 0
    may = {0, 2, 75} | ({1} if stage.command[0] == "verify" else set())  # a file that it can't read is a flaw, told
    tally.wrong += [f"{where}: {flaw}" for flaw in flaws(ended, may)]
    says_so = ended.code == 0 and stage.command[0] != "run"  # a daemon ends with 0 whenever it is asked to
    finish(stand, stage, expected, tally, where, is_done=says_so)
    return ended


def flaws(ended: Ended, may: Container[int] = (0, 2, 75)) -> Iterator[str]:
    """What is wrong with how a command ended that met a sick disk."""
    if ended.code not in may:
        yield f"exit code {ended.code}: {ended.out[-500:]} {ended.err[-1500:]}"
    elif "Traceback" in ended.err:
        yield f"a traceback: {ended.err[-3000:]}"
    elif ended.code and "→" not in ended.err and '"hint":"' not in ended.err and "→" not in ended.out:
        yield f"exit code {ended.code} without a hint: {ended.out[-500:]} {ended.err[-1500:]}"
