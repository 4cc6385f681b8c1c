"""A vendor, a home and a way to stop the command on it: what one go of the matrix needs, again and again."""

from __future__ import annotations

import shutil
import signal
import tarfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from syncd.destinations.lake import Lake
from syncd.destinations.lake.plan import FEW
from syncd.destinations.lake.rejects import MANY
from syncd.sandbox.contentsquare import Sandbox
from tests.crash.starter import Call, Ended, Op, Starter, Trap, calls, come_by
from tests.crash.world import Reader, world
from tests.destination_contract import batch, day, rows_of, run, staged
from tests.home import Home, differences
from tests.sandbox_fixture import running

ACCOUNT: dict[str, Any] = dict(
    jobs=1, days=2, rows=24, parts=2, frequency="daily", format="jsonl", type_change="fraction", broken_lines=1
)
DATA = Path(__file__).parent.parent / "data"
LEDGER = {
    "_syncd.runs": "SELECT * EXCLUDE (loaded_at) FROM _syncd.runs",
    "_syncd.parts": "SELECT source, run, part, bytes, sha256, lines, rows, rejected, blank FROM _syncd.parts",
    "_syncd.rejected": "SELECT * FROM _syncd.rejected",
    "_syncd.columns": "SELECT scope, name, source_name, last(type ORDER BY rowid) FROM _syncd.columns GROUP BY ALL",
}

Tables = dict[str, Counter[str]]


@dataclass
class Stand:
    """One data_dir at one place, put back before each go."""

    folder: Path
    sandbox: Sandbox
    starter: Starter
    home: Home
    kept: dict[str, Path] = field(default_factory=dict)
    seen: dict[tuple[str, frozenset[Op]], list[Call]] = field(default_factory=dict)
    reader: Reader = field(default_factory=Reader)
    proven: set[tuple[str, str, bool]] = field(default_factory=set)  # worlds that a start of a stage has made whole

    def keep(self, name: str) -> None:
        """Remember data_dir as it is now."""
        self.kept[name] = self.folder / f"kept-{name}"
        shutil.copytree(self.home.data_dir, self.kept[name])

    def put_back(self, name: str) -> None:
        """data_dir as it was."""
        shutil.rmtree(self.home.data_dir, ignore_errors=True)
        shutil.copytree(self.kept[name], self.home.data_dir)

    def configure(self, **more: Any) -> None:
        """Write the configuration: one of everything at a time, so that a go is like the one before."""
        settled: dict[str, Any] = dict(workers=1, retry_for="1s")
        source = self.sandbox.settings() | {"max_concurrent_requests": 1}
        self.home.write({"acme": source}, **settled | more)

    def run(self, command: Sequence[str], trap: Trap = Trap(), timeout_s: float = 180.0) -> Ended:  # noqa: B008  # frozen
        """The command, until it ends or dies; the daemon until it has nothing more to do."""
        self.starter.begin(["--config", str(self.home.config), *command], self.home.data_dir, trap)
        until = time.monotonic() + (trap.after_s or timeout_s)
        if command[0] == "run":
            while not self.starter.ends_within(0.02) and time.monotonic() < until:
                if '"event":"pass_' in (said := self.starter.err) and said.endswith("\n"):
                    self.starter.kill(signal.SIGTERM)
                    break
        if trap.after_s and not self.starter.ends_within(max(until - time.monotonic(), 0.0)):
            self.starter.kill(signal.SIGKILL)
        return self.starter.end(timeout_s)

    def look(self, stage: Stage, ops: frozenset[Op]) -> None:
        """An undisturbed go, with each call among `ops` written down."""
        log = self.folder / "calls"
        ended = self.run(stage.command, Trap(log=str(log), bytes=True, ops=ops))
        assert ended.code == 0, ended
        self.seen[stage.name, ops] = list(calls(log))

    def tables(self) -> Tables:
        """What readers see, and the ledger behind it, as bags of rows; not when a run was loaded."""
        with self.reader.reading(self.home.data_dir / "warehouse.duckdb") as warehouse:
            views = warehouse.execute("SELECT view_name FROM duckdb_views() WHERE schema_name = 'acme'").fetchall()
            asked = {view: f'SELECT * EXCLUDE (_syncd_loaded_at) FROM acme."{view}"' for (view,) in views} | LEDGER
            return {name: Counter(map(repr, warehouse.execute(sql).fetchall())) for name, sql in asked.items()}


@dataclass(frozen=True)
class Stage:
    """One command on one state of the world: stopped anywhere, it is repeated until it is done."""

    name: str
    command: tuple[str, ...]
    prepare: Callable[[Stand], None] = lambda stand: None

    def set_up(self, stand: Stand) -> Tables:
        """The world before it (kept under the stage's name) and the tables of an undisturbed go."""
        self.prepare(stand)
        stand.keep(self.name)
        stand.look(self, Trap().ops)
        stand.keep(self.over)
        return stand.tables()

    @property
    def over(self) -> str:
        """The name of the world behind it."""
        return f"{self.name} over"


def first(stand: Stand) -> None:
    """Nothing is there yet."""
    stand.configure()
    stand.home.data_dir.mkdir()


def restated(stand: Stand) -> None:
    """A period is delivered again, with columns that are new; landed bytes and superseded files go at once."""
    stand.configure(landing={"keep": "0d"}, lake={"keep_superseded": "0d"})
    again = next(one["run"] for one in stand.sandbox.truth() if one["scope"] == "sessions")
    stand.sandbox.set_trouble(unknown_fields=1)
    stand.sandbox.add_run(restate=again)


def damaged(stand: Stand) -> None:
    """A file of the lake is gone, another is torn, and so is the catalogue."""
    stand.configure()
    gone, torn = sorted((stand.home.data_dir / "lake" / "acme" / "sessions").rglob("*.parquet"))[:2]
    gone.unlink()
    torn.write_bytes(torn.read_bytes()[:-100])
    with (stand.home.data_dir / "warehouse.duckdb").open("r+b") as file:
        file.seek(4096)
        file.write(bytes(8192))


def replayed(stand: Stand) -> None:
    """Nothing has changed."""
    stand.configure(lake={"keep_superseded": "0d"})


def crowded(stand: Stand) -> None:
    """Two days that are over have many small files, of rows and of rejected lines; the vendor has nothing new."""
    stand.configure()
    lake = Lake(stand.home.data_dir, clock=lambda: datetime.now(UTC) - timedelta(days=3))
    for number in range(2 * FEW):
        on = 5 + number % 2
        one = replace(run(f"7-{number}"), start=day(on, number), end=day(on, number + 1))
        parts = [
            batch(rows_of(int(part == 0), on=on, first=number + 1), rejected=1) for part in range(MANY // FEW // 2)
        ]
        lake.commit([(one, [staged(lake, one, part, part=f"p{at}") for at, part in enumerate(parts)])])


def aged(stand: Stand) -> None:
    """A lake and a state in the shape of the first syncd, and a vendor who goes on."""
    stand.configure()
    shutil.rmtree(stand.home.data_dir)
    with tarfile.open(DATA / "lakes" / "2026-11-21.tar.gz") as packed:
        packed.extractall(stand.home.data_dir, filter="data")
    alembic = Config()
    alembic.set_main_option("script_location", str(DATA.parent.parent / "migrations"))
    state = sa.create_engine(f"sqlite:///{stand.home.data_dir}/state.sqlite")
    with state.begin() as connection:
        alembic.attributes["connection"] = connection
        command.upgrade(alembic, "0001")
    state.dispose()


def stages(sandbox: Sandbox) -> list[Stage]:
    """The life of a run: loaded by the daemon, parsed again, mended, superseded, packed; and an old lake."""
    loaded = next(one["run"] for one in sandbox.truth())
    return [
        Stage("load", ("run",), first),
        Stage("replay", ("replay", f"acme/{loaded}"), replayed),
        Stage("repair", ("verify", "--repair"), damaged),
        Stage("supersede", ("once",), restated),
        Stage("pack", ("once",), crowded),
        Stage("upgrade", ("once",), aged),
    ]


@contextmanager
def standing(folder: Path | None = None, **more: Any) -> Iterator[Stand]:
    """A stand in a folder (else in one that goes with us), before its first stage; `more`: what its vendor has."""
    with running(**ACCOUNT | more) as sandbox, Starter() as starter:
        folder = folder or starter.folder
        yield Stand(folder, sandbox, starter, Home(folder, {}))


@dataclass
class Tally:
    """What a number of goes amount to."""

    goes: int = 0
    stopped: int = 0  # goes in which the trap was reached
    alike: int = 0  # goes that left what another had left: what a start makes of it is known
    lost: int = 0  # rows, all tables together
    doubled: int = 0
    wrong: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)  # where a stop leaves what one of these goes has left

    def take(self, more: Tally) -> None:
        """Count these goes as well."""
        for name, amount in vars(more).items():
            setattr(self, name, getattr(self, name) + amount)

    def add(self, where: str, seen: Tables, expected: Tables) -> None:
        """Compare what a go has left with what it must."""
        for table in expected.keys() | seen.keys():
            had, has = expected.get(table, Counter()), seen.get(table, Counter())
            lost, more = (had - has).total(), (has - had).total()
            self.lost += lost
            self.doubled += more
            if lost or more:
                self.wrong.append(f"{where}: {table} has lost {lost} rows and gained {more}")


def go(stand: Stand, stage: Stage, expected: Tables, traps: Sequence[Trap], tally: Tally) -> None:
    """Put the world back, stop the command at each trap in turn, let it end, and compare."""
    where = f"{stage.name} {', '.join(map(told, traps))}"
    stand.put_back(stage.name)
    tally.goes += 1
    stopped = [stand.run(stage.command, trap).code == -signal.SIGKILL for trap in traps]
    tally.stopped += all(stopped)
    if traps[-1].lines and all(stopped):  # since the last call nothing has changed: to stop there is to stop here
        *_, (_, last) = come = come_by(Path(traps[-1].lines))
        tally.lines += [line for line, calls in come if calls == last]
    finish(stand, stage, expected, tally, where)


def finish(stand: Stand, stage: Stage, expected: Tables, tally: Tally, where: str, *, is_done: bool = False) -> None:
    """Repeat the command undisturbed, and compare what readers see; `is_done`: they must see it already before."""
    left = stage.name, world(stand.home.data_dir, stand.reader), is_done
    if left in stand.proven:
        tally.alike += 1
        return
    wrong = len(tally.wrong)
    if is_done:
        tally.add(f"{where}, at once", stand.tables(), expected)
    ended = stand.run(stage.command)
    if ended.code:
        tally.wrong.append(f"{where}: the next go ended with {ended.code}: {ended.out}{ended.err[-2000:]}")
    tally.add(where, stand.tables(), expected)
    torn = [path.name for path in stand.home.data_dir.rglob(".*") if path.is_file()]
    torn += [path.name for path in stand.home.data_dir.iterdir() if "aside" in path.name or "next" in path.name]
    tally.wrong += [f"{where}: {name} is left behind" for name in torn]
    if len(tally.wrong) == wrong:
        stand.proven.add(left)


def told(trap: Trap) -> str:
    """A trap in words."""
    if trap.after_s:
        return f"killed after {trap.after_s:.3f} s"
    return f"at {trap.line}" if trap.line else f"{trap.how.name} call {trap.at}"


def oracle(stand: Stand) -> list[str]:
    """Where an undisturbed go is not what the vendor says that it served."""
    return differences(stand.home, "acme", stand.sandbox)
