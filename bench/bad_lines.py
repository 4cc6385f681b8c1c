"""What one bad line in every 1,000 costs, beside the same part without: at most twice the time is allowed."""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import median

from lines import FORMS, made
from measured import measured
from speed import machine


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--mb", type=int, default=200, help="million bytes of lines in the part")
    asked.add_argument("--every", type=int, default=1000, help="each line of this number is broken")
    asked.add_argument("--rounds", type=int, default=3)
    asked.add_argument(
        "--folder", type=Path, default=Path("/tmp/syncd-bench"), help="where the parts are made and kept"
    )
    given = asked.parse_args()
    print(machine(), flush=True)
    print("\n| | seconds | CPU seconds | rows |\n|---|---|---|---|")
    for form in FORMS:
        parts = {0: made(given.folder, form, given.mb), given.every: made(given.folder, form, given.mb, 7, given.every)}
        found = {every: [] for every in parts}
        for _ in range(given.rounds):
            for every, part in parts.items():
                found[every].append(measured("syncd", part, given.folder))
        seconds = {every: median(run.seconds for run in runs) for every, runs in found.items()}
        cpu = {every: median(run.cpu for run in runs) for every, runs in found.items()}
        for every, runs in found.items():
            name = f"{form}, one bad line in {every:,}" if every else f"{form}, no bad line"
            print(f"| {name} | {seconds[every]:.2f} | {cpu[every]:.2f} | {runs[0].failed or runs[0].rows} |")
        print(
            f"| {form}: times as long | {seconds[given.every] / seconds[0]:.2f} | {cpu[given.every] / cpu[0]:.2f} | |"
        )


if __name__ == "__main__":
    main()
