"""`just crash`: every point, and a table of what was lost. Exits with 1 when a row was, or anything else went wrong."""

from __future__ import annotations

import argparse
import json  # noqa: TID251  # one line a go
import random
import sys
import tempfile
import time
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
    parser.add_argument("--stage", action="append", help="load, replay, repair, supersede or upgrade; default: all")
    parser.add_argument("--kind", action="append", choices=[*ALL, "faults"], help="default: all but the faults")
    parser.add_argument(
        "--some", type=int, default=0, help="at most so many goes for a line of the table; default: all"
    )
    parser.add_argument("--count", type=int, default=100, help="pairs, and random moments, for a stage; default: 100")
    parser.add_argument("--seed", type=int, default=0, help="of all that goes by chance; default: 0")
    parser.add_argument("--journal", type=Path, help="keep what became of each go here, and go on from there")
    found = parser.parse_args()
    kinds = found.kind or [*KINDS, "power"]
    found.kinds = [each for kind in kinds for each in (FAULTS if kind == "faults" else [kind])]
    return found


class Journal:
    """What became of each go, kept in a file (or in none): a matrix that was broken off goes on behind the last one."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        kept = path.read_text().splitlines() if path and path.exists() else []
        self._made = {name: Tally(**told) for name, told in map(json.loads, kept)}

    def make(self, name: str, one: Go) -> Tally:
        """The go's tally; made only if it has none yet."""
        if name not in self._made:
            tally = Tally()
            try:
                one.make(tally)
            except TimeoutError as error:
                tally.wrong.append(f"{name}: {error}")
            self._made[name] = tally
            if self._path:
                with self._path.open("a") as out:
                    out.write(json.dumps([name, vars(tally)]) + "\n")
        return self._made[name]


def main() -> int:
    """Make the goes, and print a line for each kind of each stage."""
    wanted, wrong = asked(), 0
    journal = Journal(wanted.journal)
    say(f"{'stage':10} {'kind':21} {'goes':>6} {'stopped':>8} {'lost':>5} {'doubled':>8} {'s':>6}")
    with tempfile.TemporaryDirectory(prefix="crash-") as folder, standing(Path(folder)) as stand:
        for stage in stages(stand.sandbox):
            expected = stage.set_up(stand)
            for kind in wanted.kinds if stage.name in (wanted.stage or [stage.name]) else ():
                chance = random.Random(f"{wanted.seed} {stage.name} {kind}")
                began, tally, known = time.monotonic(), Tally(), set[str]()
                for one in some(goes(stand, stage, expected, kind, known, chance, wanted.count), wanted.some, chance):
                    made = journal.make(f"{stage.name} {kind} {one.name}", one)
                    tally.take(made)
                    known.update(made.lines)
                    for text in made.wrong:
                        say(f"  WRONG {text}")
                figures = f"{tally.goes:6} {tally.stopped:8} {tally.lost:5} {tally.doubled:8}"
                of = f"  for {len(known)} lines" if kind == "lines" else ""
                say(f"{stage.name:10} {kind:21} {figures} {time.monotonic() - began:6.0f}{of}")
                wrong += len(tally.wrong)
            stand.put_back(stage.over)
    say(f"{wrong} things went wrong" if wrong else "nothing went wrong")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
