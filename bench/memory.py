"""The memory of staging one part, from 100 MB to 4 GB of lines: it must not grow with the part."""

from __future__ import annotations

import argparse
from pathlib import Path

from lines import FORMS, made, plain_size
from measured import measured
from speed import machine


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument(
        "--mb", type=int, nargs="+", default=[100, 1000, 4000], help="million bytes of lines in the part"
    )
    asked.add_argument("--forms", nargs="+", choices=FORMS, default=FORMS)
    asked.add_argument(
        "--folder", type=Path, default=Path("/tmp/syncd-bench"), help="where the parts are made and kept"
    )
    given = asked.parse_args()
    print(machine(), flush=True)
    print("\n| lines | peak RSS MB | seconds | MB/s |\n|---|---|---|---|")
    for form in given.forms:
        for mb in given.mb:
            part = made(given.folder, form, mb)
            run = measured("syncd", part, given.folder)
            size = plain_size(part) / 1e6
            print(f"| {size:,.0f} MB {form} | {run.failed or round(run.peak / 1e6)} | {run.seconds:.1f} ", end="")
            print(f"| {size / run.seconds:.0f} |", flush=True)


if __name__ == "__main__":
    main()
