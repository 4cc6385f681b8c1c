"""The state is lost, and with it what was in flight: what has landed is brought home, also when nobody else has it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.home import Home
from tests.plain_vendor import Export, Vendor, lines, serving


@pytest.mark.parametrize("keep", ["0d", "30d"])
def test_a_run_that_was_set_aside_is_not_lost_with_the_state(tmp_path: Path, keep: str) -> None:
    with serving(Vendor()) as vendor:
        broken = b"".join([b'{"session_id": %d}\n' % number for number in range(60)] + [b"broken\n"] * 40)
        vendor.runs = [Export(1, [broken], days_ago=2), Export(2, [lines(10)])]
        home = Home(tmp_path, {"acme": vendor.settings()}, landing={"keep": keep})
        home.once(expect=1)
        del vendor.runs[0]  # its seven days are over
        (home.data_dir / "state.sqlite").unlink()
        home.once(expect=1)
        assert home.run("retry", "--accept-rejected", "acme/7-1").returncode == 0
    assert home.query("SELECT count(*) FROM acme.sessions") == [(70,)]
