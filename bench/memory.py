"""The memory of staging one part, from 100 MB to 4 GB of lines: it must not grow with the part.

A part of several GB is made of gzip members of 1 GB each, glued together as vendors do.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from lines import FORMS, made, plain_size
from measured import measured
from speed import machine

MEMBER = 1000  # million bytes


def glued(member: Path, times: int) -> Path:
    """The same member so many times, in one file."""
    if times == 1:
        return member
    part = member.with_name(f"{times}-times-{member.name}")
    if not part.exists():
        with part.open("wb") as file:
            file.writelines(member.read_bytes() for _ in range(times))
    return part


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
            member = made(given.folder, form, min(mb, MEMBER))
            part = glued(member, max(1, mb // MEMBER))
            run = measured("syncd", part, given.folder)
            size = plain_size(member) * max(1, mb // MEMBER) / 1e6
            print(f"| {size:,.0f} MB {form} | {run.failed or round(run.peak / 1e6)} | {run.seconds:.1f} ", end="")
            print(f"| {size / run.seconds:.0f} |", flush=True)


if __name__ == "__main__":
    main()
