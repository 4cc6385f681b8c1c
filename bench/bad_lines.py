"""What one bad or odd line in every 1,000 costs, beside the same part without: at most twice the time is allowed.

Bad ones are rejected; odd ones have a value that their column's declared type can't hold, and make it text."""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import median

from lines import FORMS, SPOILT, made
from measured import Measured, measured
from speed import machine


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--mb", type=int, default=200, help="million bytes of lines in the part")
    asked.add_argument("--every", type=int, default=1000, help="each line of this number is spoilt")
    asked.add_argument("--kinds", nargs="+", choices=SPOILT, default=list(SPOILT))
    asked.add_argument("--forms", nargs="+", choices=FORMS, default=FORMS)
    asked.add_argument("--rounds", type=int, default=3)
    asked.add_argument(
        "--folder", type=Path, default=Path("/tmp/syncd-bench"), help="where the parts are made and kept"
    )
    given = asked.parse_args()
    print(machine(), flush=True)
    print("\n| | seconds | CPU seconds | times as long | by CPU seconds | rows |\n|---|---|---|---|---|---|")
    for form in given.forms:
        parts = {"no": made(given.folder, form, given.mb)}
        for kind in given.kinds:
            parts[kind] = made(given.folder, form, given.mb, 7, given.every, kind=kind)
        found: dict[str, list[Measured]] = {kind: [] for kind in parts}
        for _ in range(given.rounds):
            for kind, part in parts.items():
                found[kind].append(measured("syncd", part, given.folder))
        seconds = {kind: median(run.seconds for run in runs) for kind, runs in found.items()}
        cpu = {kind: median(run.cpu for run in runs) for kind, runs in found.items()}
        for kind, runs in found.items():
            print(f"| {form}, {kind} line in {given.every:,} | {seconds[kind]:.2f} | {cpu[kind]:.2f} ", end="")
            print(f"| {seconds[kind] / seconds['no']:.2f} | {cpu[kind] / cpu['no']:.2f} ", end="")
            print(f"| {runs[0].failed or runs[0].rows} |", flush=True)


if __name__ == "__main__":
    main()
