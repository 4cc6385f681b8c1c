"""A command as a whole process: how long it took and what memory its tree of processes had at most."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import duckdb
import psutil

RIVALS = Path(__file__).parent / "rivals.py"
LOOKS_S = 0.02  # between two looks at the memory


@dataclass(frozen=True)
class Measured:
    """One run of a rival. `failed` has the last line it said, or ""."""

    seconds: float
    cpu: float  # seconds of processor, all its threads and processes together: hardly moved by what else runs here
    peak: int  # bytes resident, all its processes together
    rows: int
    written: int  # bytes of Parquet
    failed: str = ""


def measured(name: str, part: Path, scratch: Path) -> Measured:
    """Run a rival on a part in a fresh process, then count what it wrote."""
    with tempfile.TemporaryDirectory(dir=scratch) as folder, tempfile.TemporaryFile() as said:
        began, cpu = time.perf_counter(), _cpu()
        child = subprocess.Popen(
            [sys.executable, str(RIVALS), name, str(part), folder],
            stdout=subprocess.DEVNULL,
            stderr=said,
            env=_environment(),
        )
        peak = 0
        while child.poll() is None:
            peak = max(peak, _resident(child.pid))
            time.sleep(LOOKS_S)
        seconds = time.perf_counter() - began
        said.seek(0)
        last = (said.read().decode(errors="replace").strip().splitlines() or ["?"])[-1]
        if child.returncode:
            return Measured(seconds, _cpu() - cpu, peak, 0, 0, last)
        inside = [path.relative_to(folder) for path in Path(folder).rglob("*.parquet")]
        files = [
            Path(folder, path)
            for path in inside
            if not {"_rejected", "_dlt", "pipelines"} & {*_starts(path)} and "__" not in path.parent.name  # dlt's lists
        ]
        rows = duckdb.sql(f"SELECT count(*) FROM read_parquet({[*map(str, files)]})").fetchall()[0][0]
        return Measured(seconds, _cpu() - cpu, peak, rows, sum(path.stat().st_size for path in files))


def _environment() -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}  # as if installed
    return kept | {"RUNTIME__DLTHUB_TELEMETRY": "false", "RUNTIME__LOG_LEVEL": "ERROR"}


def _starts(path: Path) -> list[str]:
    return [start for name in path.parts for start in (name, name[:4])]


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _resident(pid: int) -> int:
    try:
        whole = psutil.Process(pid)
        return sum(process.memory_info().rss for process in [whole, *whole.children(recursive=True)])
    except psutil.Error:  # it has just ended
        return 0
