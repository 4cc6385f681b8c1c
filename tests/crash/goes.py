"""Every go of a kind, ready to be made."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

from tests.crash.faults import FAULTS, suffer, traps
from tests.crash.points import KINDS, seen, stops
from tests.crash.power import cuts, outlive
from tests.crash.stand import Stage, Stand, Tables, Tally, go, told

ALL = [*KINDS, "power", *FAULTS]


class Go(NamedTuple):
    """One go: what it is called, and how it is made."""

    name: str
    make: Callable[[Tally], object]


def goes(
    stand: Stand, stage: Stage, expected: Tables, kind: str, known: set[str], chance: random.Random, count: int
) -> Iterator[Go]:
    """What `kind` asks of a stage; `known`, `count`: as `stops` has them."""
    if kind == "power":
        made = seen(stand, stage, keep_bytes=True)
        for cut in cuts(stand.home.data_dir, stand.kept[stage.name], made, chance):
            yield Go(cut.where, partial(outlive, stand, stage, expected, cut))
    elif kind in FAULTS:
        for trap in traps(stand, stage, FAULTS[kind]):
            yield Go(told(trap), partial(suffer, stand, stage, expected, f"{stage.name}, {kind}", trap))
    else:
        for stop in stops(stand, stage, kind, known, chance, count):
            yield Go(", ".join(map(told, stop)), partial(go, stand, stage, expected, stop))


def some(of: Iterator[Go], at_most: int, chance: random.Random) -> Iterator[Go]:
    """So many of them, spread by chance; 0: all."""
    if not at_most:
        yield from of
        return
    every = list(of)
    yield from [every[at] for at in sorted(chance.sample(range(len(every)), min(at_most, len(every))))]
