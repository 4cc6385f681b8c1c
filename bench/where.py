"""Where the time goes: each stage's processor seconds, then a profile of all threads for flame graphs (py-spy).

The seconds are of one process that stages one part; native code counts with the Python that called it. A stage
contains those below it that it calls.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from lines import FORMS, made
from rivals import ROOT, syncd

sys.path.insert(0, str(ROOT))

spent: Counter[str] = Counter()


def count(owner: Any, name: str, *, lazy: bool = False) -> None:
    """From now on the processor time of this function's thread is added up while it runs."""
    inner: Callable[..., Any] = getattr(owner, name)

    def timed(*arguments: Any, **options: Any) -> Any:
        began = time.thread_time()
        try:
            return inner(*arguments, **options)
        finally:
            spent[name] += time.thread_time() - began

    def each_timed(*arguments: Any, **options: Any) -> Iterator[Any]:
        found = iter(inner(*arguments, **options))
        while True:
            began = time.thread_time()
            try:
                one = next(found)
            except StopIteration:
                return
            finally:
                spent[name] += time.thread_time() - began
            yield one

    setattr(owner, name, each_timed if lazy else timed)


def count_stages() -> None:
    import pyarrow.csv
    import pyarrow.json
    import pyarrow.parquet

    import syncd.parse
    from syncd.destinations.lake import stage
    from syncd.parse import blocks, csv, jsonl, quick, swift

    count(blocks, "gunzip", lazy=True)
    count(syncd.parse, "whole", lazy=True)
    count(csv, "record_blocks", lazy=True)
    for room in (jsonl, csv):
        count(room, "parse_block")
    count(swift, "read")
    count(swift, "read_records")
    count(pyarrow.json, "read_json")
    count(pyarrow.csv, "read_csv")
    count(quick._Reader, "keep")
    count(quick._Reader, "inexact_lines")
    count(csv, "typed")
    count(stage.Staging, "add")
    count(pyarrow.parquet.ParquetWriter, "write_table")


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--mb", type=int, default=400, help="million bytes of lines in the part")
    asked.add_argument("--form", choices=FORMS, default="jsonl")
    asked.add_argument(
        "--folder", type=Path, default=Path("/tmp/syncd-bench"), help="where the parts are made and kept"
    )
    given = asked.parse_args()
    part = made(given.folder, given.form, given.mb)
    with tempfile.TemporaryDirectory(dir=given.folder) as home:
        flame = given.folder / f"{given.form}.speedscope.json"
        command = [sys.executable, str(Path(__file__).with_name("rivals.py")), "syncd", str(part), home]
        spy = [str(Path(sys.executable).with_name("py-spy")), "record", "--native", "--format", "speedscope"]
        subprocess.run([*spy, "--output", str(flame), "--", *command], check=True, stdout=subprocess.DEVNULL)
    with tempfile.TemporaryDirectory(dir=given.folder) as home:
        count_stages()
        began, cpu = time.perf_counter(), time.process_time()
        syncd(part, Path(home))
        cpu, seconds = time.process_time() - cpu, time.perf_counter() - began
    print(f"{seconds:.2f} s, {cpu:.2f} s of processor\n\n| stage | CPU seconds | share |\n|---|---|---|")
    for name, used in spent.most_common():
        print(f"| {name} | {used:.2f} | {used / cpu:.0%} |")
    print(f"\nprofile: {flame} (open with speedscope)")


if __name__ == "__main__":
    main()
