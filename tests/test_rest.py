"""When all is done and nothing is due, the daemon lets go of what it kept to be fast."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from syncd.assemble import open_house
from syncd.daemon import Daemon
from syncd.destinations.lake.catalogue import IDLE
from syncd.progress import Nobody
from syncd.settings import read
from tests.home import Home
from tests.plain_vendor import Export, Vendor, lines, serving


def test_no_duckdb_is_kept_once_a_pass_and_the_packing_behind_it_are_over(tmp_path: Path) -> None:
    with serving(Vendor()) as vendor:
        vendor.runs = [Export(1, [lines(10)])]
        home = Home(tmp_path, {"acme": vendor.settings()})
        with (
            open_house(read(home.config), Nobody(), threading.Event()) as house,
            ThreadPoolExecutor(4) as threads,
        ):
            daemon, until = Daemon(house), time.monotonic() + 60
            while not (loaded := house.lake.loaded("acme")) and time.monotonic() < until:
                daemon.tick(threads)
            assert len(loaded) == 1
            assert not IDLE.empty(), "one is kept while there is work"
            while not IDLE.empty() and time.monotonic() < until:
                daemon.tick(threads)
                time.sleep(0.02)
            assert IDLE.empty()
            assert len(house.lake.loaded("acme")) == 1, "and the next is begun when it is asked for"
