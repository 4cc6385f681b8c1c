"""syncd's staging beside its rivals: the same files, in turn, each in a fresh process. Prints README.md's tables."""

from __future__ import annotations

import argparse
import os
import platform
from collections import defaultdict
from importlib.metadata import version
from pathlib import Path
from statistics import median

from lines import FORMS, made, plain_size
from measured import Measured, measured
from rivals import WAYS

ONLY_JSONL = {"dlt", "dlt, lists kept in the row"}
SLOW = ONLY_JSONL  # once is enough


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--mb", type=int, default=1000, help="million bytes of lines in the part")
    asked.add_argument("--rounds", type=int, default=5)
    asked.add_argument("--forms", nargs="+", choices=FORMS, default=FORMS)
    asked.add_argument("--only", nargs="+", choices=WAYS, default=list(WAYS))
    asked.add_argument("--seed", type=int, default=7)
    asked.add_argument(
        "--folder", type=Path, default=Path("/tmp/syncd-bench"), help="where the parts are made and kept"
    )
    given = asked.parse_args()
    print(machine(), flush=True)
    for form in given.forms:
        part = made(given.folder, form, given.mb, given.seed)
        part.read_bytes()  # into the page cache, for all alike
        found: dict[str, list[Measured]] = defaultdict(list)
        for round in range(given.rounds):
            for name in given.only:
                if not (name in ONLY_JSONL and form != "jsonl") and not (name in SLOW and round):
                    found[name].append(measured(name, part, given.folder))
        table(form, plain_size(part), part.stat().st_size, found)


def machine() -> str:
    """What the figures depend on."""
    names = ("duckdb", "pyarrow", "polars", "dlt", "isal")
    versions = ", ".join(f"{name} {version(name)}" for name in names)
    load = os.getloadavg()[0]
    return f"{os.cpu_count()} cores, load {load:.1f} at the start; Python {platform.python_version()}, {versions}"


def table(form: str, plain: int, packed: int, found: dict[str, list[Measured]]) -> None:
    ours = found.get("syncd")
    rounds = max(map(len, found.values()))
    print(f"\n{form}: {plain / 1e6:.0f} MB of lines, {packed / 1e6:.0f} MB gzipped, medians of {rounds} rounds\n")
    print("| | MB/s | rows/s | seconds | syncd is so many times as fast | by CPU seconds | peak RSS MB | Parquet MB |")
    print("|---|---|---|---|---|---|---|---|")
    for name, runs in found.items():
        if runs[0].failed:
            print(f"| {name} | {runs[0].failed} |")
            continue
        seconds, cpu = median(run.seconds for run in runs), median(run.cpu for run in runs)
        faster = f"{seconds / median(run.seconds for run in ours):.2f}" if ours else ""
        leaner = f"{cpu / median(run.cpu for run in ours):.2f} ({cpu:.1f})" if ours else f"({cpu:.1f})"
        figures = [f"{plain / seconds / 1e6:.0f}", f"{runs[0].rows / seconds:,.0f}", f"{seconds:.2f}", faster, leaner]
        figures += [f"{max(run.peak for run in runs) / 1e6:.0f}", f"{runs[0].written / 1e6:.1f}"]
        print(f"| {name} | {' | '.join(figures)} |", flush=True)


if __name__ == "__main__":
    main()
