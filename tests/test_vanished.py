"""A data_dir that goes away under a running daemon: one clear error, and a start finds its way."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.home import Home
from tests.plain_vendor import Export, Vendor, lines, serving


def replace(data_dir: Path) -> None:
    """Another folder in its place."""
    shutil.rmtree(data_dir)
    data_dir.mkdir()


@pytest.mark.parametrize("vanish", [shutil.rmtree, replace])
def test_a_daemon_without_its_data_dir_ends_and_says_so(tmp_path: Path, vanish: Callable[[Path], None]) -> None:
    with serving(Vendor()) as vendor:
        vendor.runs = [Export(1, [lines(10)])]
        home = Home(tmp_path, {"acme": vendor.settings()}, retry_for="1s")
        with home.start("run") as daemon:
            assert daemon.stderr
            for line in daemon.stderr:
                if '"pass_ended"' in line:
                    break
            vanish(home.data_dir)
            _, said = daemon.communicate(timeout=60)
        assert daemon.returncode == 75
        assert "is gone, or another has taken its place" in said and "is its disk mounted?" in said
        assert "Traceback" not in said
        home.once()
        assert home.query("SELECT count(*) FROM acme.sessions") == [(10,)]
