"""`just soak --minutes N`: the daemon, a vendor full of trouble, and sixteen readers, for a long time.

Half of the readers hold one connection for the whole time, half are of the oldest DuckDB that is promised. Ends with 1
when a reader fails, memory, descriptors or disk grow, or the tables are not what the vendor served.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from syncd.sandbox.contentsquare import Sandbox
from tests.home import Home, differences
from tests.sandbox_fixture import running

OLDEST = "1.1.3"
READERS = 16
VENDOR = dict(
    jobs=2, days=1, frequency="hourly", rows=2400, parts=2, latency=0.02, token_life=45.0, jwt_expired_every=40,
    refuse_every=9, retry_after=0.1, link_life=20.0, drop_at=0.4, wrong_length=1, page_cap=50, reshuffle=True,
    broken_lines=1, blank_lines=1, unknown_fields=2, type_change="fraction", members=3,
)  # fmt: skip
EVERY_S = 15.0  # a new run; each fifth delivers an old period again, each seventh kills all links
SETTINGS = dict(landing={"keep": "3m"}, lake={"keep_superseded": "2h"}, retry_for="20s")


class Sample(NamedTuple):
    """What the daemon uses at a moment."""

    rss: int
    descriptors: int
    beside: int  # bytes under data_dir that are no file of the lake


@dataclass
class Soak:
    """What came of it."""

    samples: list[Sample]
    answers: list[int]
    wrong: list[str]
    runs: int


def main() -> int:
    parser = argparse.ArgumentParser(prog="just soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=0)
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as folder, running(**VENDOR) as vendor:
        came = soak(Path(folder), vendor, wanted.minutes * 60, random.Random(wanted.seed))
    for line in [*told(came), *(f"WRONG {text}" for text in came.wrong)]:
        say(line)
    return int(bool(came.wrong))


def say(text: str) -> None:
    """A line, at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def soak(folder: Path, vendor: Sandbox, seconds: float, chance: random.Random) -> Soak:
    """Let it work for so long, then let it finish, and look."""
    home = Home(folder, {"acme": vendor.settings() | {"poll_interval": "10s"}}, **SETTINGS)
    samples: list[Sample] = []
    with daemon(home) as process:
        wait_for(lambda: loaded(home) > 0, process)
        with readers(home, folder) as finish:
            names = [run["run"] for run in vendor.truth()]
            until, next_run, count = time.monotonic() + seconds, 0.0, 0
            while ((now := time.monotonic()) < until or len(samples) < 6) and process.poll() is None:
                if now >= next_run:
                    next_run, count = now + EVERY_S, count + 1
                    names.append(make_trouble(vendor, names, count, chance))
                samples.append(sample(process.pid, home.data_dir))
                if len(samples) % 12 == 0:
                    say(f"{until - now:5.0f} s left, {loaded(home)} of {len(names)} runs, {samples[-1]}")
                time.sleep(5.0)
            vendor.set_trouble(refuse_every=0, jwt_expired_every=0)
            wait_for(lambda: loaded(home) == len(names), process)
            answers, wrong = finish()
        process.send_signal(signal.SIGTERM)
        code = process.wait(60)
    wrong += [f"the daemon ended with {code}"] if code else []
    proved = home.run("verify", timeout=600)
    wrong += [f"verify: {proved.stdout}"] if proved.returncode else []
    wrong += differences(home, "acme", vendor) + grown(samples)
    return Soak(samples, answers, wrong, loaded(home))


def make_trouble(vendor: Sandbox, names: Sequence[str], count: int, chance: random.Random) -> str:
    """One more run, or an old one again; now and then every link dies. The new run's name."""
    one = chance.choice(names)
    run = vendor.add_run(restate=one) if count % 5 == 0 else vendor.add_run(job=int(one.partition("-")[0]))
    if count % 7 == 0:
        vendor.expire_links()
    return run.name


@contextmanager
def daemon(home: Home) -> Iterator[subprocess.Popen[bytes]]:
    """`syncd run`, its log beside."""
    with (home.folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "syncd", "--config", str(home.config), "run"], stdout=log, stderr=log
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()


@contextmanager
def readers(home: Home, folder: Path) -> Iterator[object]:
    """Sixteen of them; what is yielded ends them and tells their answers, and what went wrong."""
    stop, warehouse = folder / "stop", home.data_dir / "warehouse.duckdb"
    pythons = [sys.executable, str(oldest(folder))]
    started = [
        subprocess.Popen(
            [pythons[number % 2], "-W", "ignore", str(Path(__file__).with_name("reader.py")), str(warehouse), str(stop),
             "hold" if number % 4 < 2 else "open"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for number in range(READERS)
    ]  # fmt: skip

    def finish() -> tuple[list[int], list[str]]:
        stop.touch()
        ended = [(*process.communicate(timeout=300), process.returncode) for process in started]
        wrong = [f"reader {number}: {err[-500:]}" for number, (_, err, code) in enumerate(ended) if code]
        return [int(out) for out, _, code in ended if not code], wrong

    try:
        yield finish
    finally:
        for process in started:
            process.kill()
            process.communicate()


def oldest(folder: Path) -> Path:
    """A Python with the oldest DuckDB that is promised, in an environment of its own."""
    venv = folder / "venv"
    subprocess.run(["uv", "venv", "--quiet", "--python", sys.executable, str(venv)], check=True)
    python = venv / "bin/python"
    subprocess.run(["uv", "pip", "install", "--quiet", "--python", str(python), f"duckdb=={OLDEST}"], check=True)
    return python


def wait_for(holds: object, process: subprocess.Popen[bytes], seconds: float = 600.0) -> None:
    """Until it holds; an AssertionError when it never does."""
    until = time.monotonic() + seconds
    while not holds():
        assert process.poll() is None, "the daemon is gone"
        assert time.monotonic() < until, "it takes too long"
        time.sleep(0.5)


def loaded(home: Home) -> int:
    """Runs in the catalogue."""
    if not (home.data_dir / "warehouse.duckdb").exists():
        return 0
    return int(home.query("SELECT count(*) FROM _syncd.runs")[0][0])


def sample(pid: int, root: Path) -> Sample:
    """What the daemon uses now."""
    status = Path(f"/proc/{pid}/status").read_text()
    rss = int(status.partition("VmRSS:")[2].split()[0]) << 10
    walk = os.walk(root)  # which minds no folder that goes away
    beside = sum(size(Path(at) / name) for at, _, names in walk if not at.startswith(f"{root}/lake") for name in names)
    return Sample(rss, len(os.listdir(f"/proc/{pid}/fd")), beside)  # noqa: PTH208  # names are enough


def size(path: Path) -> int:
    try:
        return path.stat().st_size if path.is_file() else 0
    except FileNotFoundError:
        return 0


def thirds(values: Sequence[int]) -> tuple[float, float]:
    """The median of the second third of the time, and of the last: the first is for warming up."""
    third = len(values) // 3
    return statistics.median(values[third : 2 * third]), statistics.median(values[2 * third :])


def grown(samples: Sequence[Sample]) -> list[str]:
    """What did not stay flat."""
    wrong = []
    for name, spare in {"rss": 0.15, "descriptors": 0.15, "beside": 0.5}.items():  # the catalogue grows with its runs
        before, after = thirds([getattr(one, name) for one in samples])
        if after > before * (1 + spare):
            wrong.append(f"{name} grew from {before:,.0f} to {after:,.0f}")
    return wrong


def told(came: Soak) -> Iterator[str]:
    """The figures."""
    yield f"runs in the catalogue     {came.runs}"
    yield f"readers' answers          {sum(came.answers):,} by {len(came.answers)} of {READERS}"
    for name, unit in {"rss": 1 << 20, "descriptors": 1, "beside": 1 << 20}.items():
        values = [getattr(one, name) / unit for one in came.samples]
        before, after = thirds([getattr(one, name) for one in came.samples])
        yield (
            f"{name:25} median {before / unit:,.1f} in the second third, {after / unit:,.1f} in the last; "
            f"{min(values):,.1f} to {max(values):,.1f}"
        )


if __name__ == "__main__":
    sys.exit(main())
