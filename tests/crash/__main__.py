"""`just crash`: every point, and a table of what was lost. Exits with 1 when a row was, or anything else went wrong."""

from __future__ import annotations

import argparse
import json  # noqa: TID251  # one line a go
import random
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path

from tests.crash.faults import FAULTS
from tests.crash.goes import ALL, Go, goes, some
from tests.crash.points import KINDS
from tests.crash.stand import Tally, stages, standing


def say(text: str) -> None:
    """A line, at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def asked() -> argparse.Namespace:
    """What the command line wants."""
    parser = argparse.ArgumentParser(prog="just crash", description="Stop syncd anywhere, start it again, compare.")
    parser.add_argument(
        "--stage", action="append", help="load, replay, repair, supersede, pack or upgrade; default: all"
    )
    parser.add_argument("--kind", action="append", choices=[*ALL, "faults"], help="default: all but the faults")
    parser.add_argument(
        "--some", type=int, default=0, help="at most so many goes for a line of the table; default: all"
    )
    parser.add_argument("--count", type=int, default=100, help="pairs, and random moments, for a stage; default: 100")
    parser.add_argument("--seed", type=int, default=0, help="of all that goes by chance; default: 0")
    parser.add_argument("--days", type=int, default=2, help="runs at the vendor; default: 2")
    parser.add_argument(
        "--slice", default="1/1", help="2/3: of every three goes the second, so that three share a matrix"
    )
    kept = "keep what became of each go in the first of these, and go on from all of them"
    parser.add_argument("--journal", type=Path, nargs="+", default=[], metavar="FILE", help=kept)
    parser.add_argument("--sum", action="store_true", help="make no go, only tell what the journals come to")
    found = parser.parse_args()
    found.part, found.of = map(int, found.slice.split("/"))
    kinds = found.kind or [*KINDS, "power"]
    found.kinds = [each for kind in kinds for each in (FAULTS if kind == "faults" else [kind])]
    return found


class Journal:
    """What became of each go, kept in the first of these files: a matrix that was broken off goes on behind them."""

    def __init__(self, paths: list[Path]) -> None:
        self._path = paths[0] if paths else None
        kept = (text for path in paths if path.exists() for text in path.read_text().splitlines())
        self.made = {name: Tally(**told) for name, told in map(json.loads, kept)}

    def make(self, name: str, one: Go) -> Tally:
        """The go's tally; made only if it has none yet."""
        if name not in self.made:
            tally = Tally()
            try:
                one.make(tally)
            except TimeoutError as error:
                tally.wrong.append(f"{name}: {error}")
            self.made[name] = tally
            if self._path:
                with self._path.open("a") as out:
                    out.write(json.dumps([name, vars(tally)]) + "\n")
        return self.made[name]


COLUMNS = {"goes": 6, "stopped": 8, "alike": 6, "lost": 5, "doubled": 8}
HEAD = f"{'stage':10} {'kind':21} " + " ".join(f"{name:>{width}}" for name, width in COLUMNS.items())


def line(stage: str, kind: str, tally: Tally) -> str:
    """A line of the table."""
    return f"{stage:10} {kind:21} " + " ".join(f"{vars(tally)[name]:{width}}" for name, width in COLUMNS.items())


def summed(journal: Journal) -> int:
    """What is in a journal, and all that went wrong there."""
    sums: dict[tuple[str, str], Tally] = {}
    for name, tally in journal.made.items():
        stage, rest = name.split(" ", 1)
        kind = next(kind for kind in ALL if rest.startswith(f"{kind} "))
        sums.setdefault((stage, kind), Tally()).take(tally)
    say(HEAD)
    for (stage, kind), tally in sums.items():
        say(line(stage, kind, tally))
        for text in tally.wrong:
            say(f"  WRONG {text}")
    return int(any(tally.wrong for tally in sums.values()))


def main() -> int:
    """Make the goes, and print a line for each kind of each stage."""
    wanted, wrong = asked(), 0
    journal = Journal(wanted.journal)
    if wanted.sum:
        return summed(journal)
    say(f"{HEAD} {'s':>6}")
    with standing(days=wanted.days) as stand:
        tempfile.tempdir = str(stand.folder)  # what the vendor puts there goes with us, too
        for stage in stages(stand.sandbox):
            expected = stage.set_up(stand)
            for kind in wanted.kinds if stage.name in (wanted.stage or [stage.name]) else ():
                chance = random.Random(f"{wanted.seed} {stage.name} {kind}")
                began, tally, known = time.monotonic(), Tally(), set[str]()
                every = some(goes(stand, stage, expected, kind, known, chance, wanted.count), wanted.some, chance)
                for one in islice(every, wanted.part - 1, None, wanted.of):
                    made = journal.make(f"{stage.name} {kind} {one.name}", one)
                    tally.take(made)
                    known.update(made.lines)
                    for text in made.wrong:
                        say(f"  WRONG {text}")
                of = f"  for {len(known)} lines" if kind == "lines" else ""
                say(f"{line(stage.name, kind, tally)} {time.monotonic() - began:6.0f}{of}")
                wrong += len(tally.wrong)
            stand.put_back(stage.over)
    say(f"{wrong} things went wrong" if wrong else "nothing went wrong")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
