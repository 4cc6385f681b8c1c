"""Anything in any order: loads, restatements, replays, packing, sweeps, lost catalogues; the rows stay right."""

from __future__ import annotations

import os
import random
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import pytest

from syncd.destinations.lake import Lake
from syncd.destinations.lake.proof import published
from syncd.model import Run
from tests.destination_contract import LANDED, SESSIONS, batch, load, query, rows_of
from tests.test_lake_pack import Clock, age, hourly, later

STEPS = 24
DOES = ["load"] * 6 + ["restate"] * 2 + ["replay"] * 2 + ["pack"] * 3 + ["sweep"] * 2 + ["lose the catalogue"]


@dataclass
class Told:
    """What the lake must show: rows of each loaded run, told by their first id."""

    lake: Lake
    clock: Clock
    chance: random.Random
    shown: dict[str, tuple[Run, int, int]] = field(default_factory=dict)  # run, rows, first id
    gone: set[str] = field(default_factory=set)  # superseded
    number: int = 0

    def do(self, what: str) -> None:
        """One step; what can't be done yet is a load."""
        match what:
            case "restate" if self.shown:
                self.restate(self.chance.choice(sorted(self.shown)))
            case "replay" if self.shown:
                self.replay(self.chance.choice(sorted(self.shown)))
            case "pack":
                later(self.clock, days=2)
                while self.lake.pack():
                    pass
            case "sweep":
                self.sweep()
            case "lose the catalogue":
                (self.lake.home / "warehouse.duckdb").unlink(missing_ok=True)
                told = self.lake.rebuild(())
                assert not told.doubtful
                assert not told.unknown
            case _:
                self.number += 1
                one = hourly(self.number % 24, on=5 + self.number % 2, job=str(7 + self.number // 24))
                self.load(replace(one, id=f"{one.job}-{self.number}"))

    def load(self, one: Run) -> None:
        rows, first = self.chance.randint(1, 5), 10_000 * self.number + 100 * len(self.gone) + 1
        load(self.lake, one, batch(rows_of(rows, on=one.start.day, first=first), rejected=first % 3))
        self.shown[one.id] = one, rows, first

    def restate(self, name: str) -> None:
        one, *_ = self.shown.pop(name)
        self.gone.add(name)
        self.load(replace(one, id=f"{name}-again", completed_at=one.completed_at + timedelta(hours=1)))

    def replay(self, name: str) -> None:
        one, _, first = self.shown[name]
        rows = self.chance.randint(1, 5)
        rows_now = batch(rows_of(rows, on=one.start.day, first=first + 50), rejected=(first + 50) % 3)
        scope, generation = self.lake.scope("acme", SESSIONS), self.lake.generation(one)
        self.lake.replace(one, [self.lake.stage(one, scope, "p0", LANDED, [rows_now], generation)])
        self.shown[name] = one, rows, first + 50

    def sweep(self) -> None:
        later(self.clock, days=self.chance.choice([0, 9]))
        age(self.lake)
        self.lake.sweep("acme", self.clock.now, [])

    def holds(self) -> bool:
        """Whether a reader sees these rows and no other, and the ledger adds up."""
        seen = query(
            self.lake.home,
            "SELECT _syncd_run, count(*), max(session_id) FROM acme.sessions GROUP BY ALL ORDER BY ALL",
        )
        assert seen == sorted((name, rows, 2**64 - first) for name, (_, rows, first) in self.shown.items())
        loaded = {*self.lake.loaded("acme")}  # a lost catalogue may take along what is superseded and swept
        assert self.shown.keys() <= loaded <= {*self.shown, *self.gone}
        lines = dict(query(self.lake.home, "SELECT run, count(*) FROM _syncd.rejected GROUP BY run"))
        assert {name: lines.get(name, 0) for name in self.shown} == {
            name: first % 3 for name, (_, _, first) in self.shown.items()
        }
        with published(self.lake.home) as ledger:
            assert ledger
            return not [*ledger.misfigured(), *ledger.unbound()]


@pytest.mark.parametrize("seed", [int(os.environ["SYNCD_SEED"])] if "SYNCD_SEED" in os.environ else range(2))
def test_anything_in_any_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    monkeypatch.setattr("syncd.destinations.lake.CLOSE_AT", 2)
    monkeypatch.setattr("syncd.destinations.lake.segments.ALIKE", 2)
    monkeypatch.setattr("syncd.destinations.lake.rejects.MANY", 2)
    clock = Clock()
    lake = Lake(tmp_path, clock=clock)
    lake.start()
    told = Told(lake, clock, random.Random(seed))
    done = []
    for _ in range(STEPS):
        done.append(told.chance.choice(DOES))
        told.do(done[-1])
        if told.shown:
            assert told.holds(), done
