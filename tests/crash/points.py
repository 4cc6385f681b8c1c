"""Where a go can be stopped: at each call, in the middle of each write, at each line, twice, and at any moment."""

from __future__ import annotations

import random
from collections.abc import Iterator

from tests.crash.stand import Stage, Stand
from tests.crash.starter import Call, How, Op, Trap, come_by

Stops = tuple[Trap, ...]  # one go: the traps that its command meets, one after another
KINDS = ("calls", "torn", "lines", "inside", "pairs", "moments")


def seen(stand: Stand, stage: Stage, *, keep_bytes: bool = False, ops: frozenset[Op] = Trap().ops) -> list[Call]:
    """Every call of an undisturbed go, which is made once."""
    key = stage.name, ops
    if key not in stand.seen:
        stand.put_back(stage.name)
        stand.look(stage, ops)
    return [call for call in stand.seen[key] if keep_bytes or call.op != Op.SAY]


def lines(stand: Stand, stage: Stage) -> list[str]:
    """Every line of syncd that an undisturbed go comes by, in that order."""
    found = stand.folder / "lines"
    stand.put_back(stage.name)
    ended = stand.run(stage.command, Trap(lines=str(found)))
    assert ended.code == 0, ended
    return [line for line, _ in come_by(found)]


def stops(stand: Stand, stage: Stage, kind: str, known: set[str], chance: random.Random, count: int) -> Iterator[Stops]:
    """All goes of one kind; `known`: lines that need none any more; `count`: of those kinds there is no end to."""
    if kind in ("lines", "inside"):
        come = lines(stand, stage)
        if kind == "inside":
            come = chance.sample(come, min(count, len(come)))
        # backwards, so that the last line of a class comes first: when a go ends there it has come by the others
        for line in reversed(come):
            if kind == "inside" or line not in known:
                yield (Trap(line=line, lines=str(stand.folder / "lines")),)
        return
    come = seen(stand, stage)
    if kind == "calls":
        yield from ((Trap(How.KILL, at + 1),) for at in range(len(come)))
    elif kind == "torn":
        writes = sum(call.op == Op.WRITE for call in come)
        yield from ((Trap(How.TEAR, at + 1, frozenset({Op.WRITE})),) for at in range(writes))
    elif kind == "pairs":  # the second stop comes while the first is being mended
        for _ in range(count):
            yield tuple(Trap(How.KILL, chance.randint(1, len(come))) for _ in range(2))
    else:
        yield from ((Trap(after_s=chance.uniform(0.01, 1.2)),) for _ in range(count))
