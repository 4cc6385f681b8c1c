"""Where a go can be stopped: at each call, in the middle of each write, at each line, twice, and at any moment."""

from __future__ import annotations

import random
from pathlib import Path

from tests.crash.stand import Stage, Stand
from tests.crash.starter import Call, How, Op, Trap, calls

Stops = tuple[Trap, ...]  # one go: the traps that its command meets, one after another
KINDS = ("calls", "torn", "lines", "pairs", "moments")


def seen(stand: Stand, stage: Stage, *, keep_bytes: bool = False, ops: frozenset[Op] = Trap().ops) -> list[Call]:
    """Every call of an undisturbed go."""
    log = stand.folder / "calls"
    stand.put_back(stage.name)
    ended = stand.run(stage.command, Trap(log=str(log), bytes=keep_bytes, ops=ops))
    assert ended.code == 0, ended
    return [call for call in calls(log) if keep_bytes or call.op != Op.SAY]


def lines(stand: Stand, stage: Stage) -> list[str]:
    """Every line of syncd that an undisturbed go comes by, in that order."""
    found = Path(stand.folder / "lines")
    stand.put_back(stage.name)
    ended = stand.run(stage.command, Trap(lines=str(found)))
    assert ended.code == 0, ended
    return found.read_text().splitlines()


def stops(stand: Stand, stage: Stage, kind: str, known: set[str], chance: random.Random, count: int) -> list[Stops]:
    """All goes of one kind; `known` lines were tried in an earlier stage; `count`: of those there is no end to."""
    if kind == "lines":
        fresh = [line for line in lines(stand, stage) if line not in known]
        known.update(fresh)
        return [(Trap(line=line),) for line in fresh]
    come = seen(stand, stage)
    if kind == "calls":
        return [(Trap(How.KILL, at + 1),) for at in range(len(come))]
    if kind == "torn":
        writes = sum(call.op == Op.WRITE for call in come)
        return [(Trap(How.TEAR, at + 1, frozenset({Op.WRITE})),) for at in range(writes)]
    if kind == "pairs":  # the second stop comes while the first is being mended
        return [tuple(Trap(How.KILL, chance.randint(1, len(come))) for _ in range(2)) for _ in range(count)]
    return [(Trap(after_s=chance.uniform(0.01, 1.2)),) for _ in range(count)]
