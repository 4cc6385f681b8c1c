"""A cap on what is kept: the oldest go first, what the vendor no longer has goes last, what is in flight stays."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from syncd.landing import Landing
from syncd.model import Run
from syncd.settings.fields import size
from tests.home import Home
from tests.sandbox_fixture import running

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def kept(landing: Landing, id: str, *, age: int, gone: bool = False, source: str = "acme") -> Run:
    """A run of about 1,000 bytes, landed so many days ago, which the vendor still has or not."""
    expires_at = NOW - timedelta(days=1) if gone else NOW + timedelta(days=1)
    run = Run(source, id, "sessions", "jsonl", NOW, NOW, "7", NOW, expires_at)
    folder = landing.root.parent / "given"
    folder.mkdir(exist_ok=True)
    (folder / "p").write_bytes(bytes(1000))
    landing.take(run, {"p": folder / "p"})
    at = (NOW - timedelta(days=age)).timestamp()
    os.utime(landing.path(run, "p").parent, (at, at))
    return run


def test_the_oldest_go_first_and_the_only_copy_last(tmp_path: Path) -> None:
    landing = Landing(tmp_path / "landing")
    runs = [
        kept(landing, "only-copy", age=9, gone=True),
        kept(landing, "old", age=8),
        kept(landing, "in-flight", age=7),
        kept(landing, "other", age=6, source="web"),
        kept(landing, "young", age=1),
    ]

    def here() -> list[str]:
        return [run.id for run in runs if landing.parts(run)]

    needed = [("acme", "in-flight")]
    assert landing.shrink(10**6, needed, NOW) == 0
    assert len(here()) == 5
    landing.shrink(5500, needed, NOW)
    assert here() == ["only-copy", "in-flight", "other", "young"]
    landing.shrink(2700, needed, NOW)
    assert here() == ["only-copy", "in-flight"]
    assert landing.shrink(0, needed, NOW) > 1000
    assert here() == ["in-flight"]


def test_a_pass_holds_the_cap(tmp_path: Path) -> None:
    with running(days=3, format="jsonl") as vendor:
        home = Home(tmp_path, {"acme": vendor.settings()}, landing={"cap": "1kB"})
        home.once()
    assert not list((home.data_dir / "landing").rglob("*.part"))
    assert home.query("SELECT count(*) > 0 FROM acme.sessions") == [(True,)]


@pytest.mark.parametrize(("text", "bytes"), [("500MB", 5 * 10**8), ("1.5 GB", 15 * 10**8), ("2TB", 2 * 10**12)])
def test_a_size_has_a_unit(text: str, bytes: int) -> None:
    assert size(text) == bytes
    with pytest.raises(ValueError, match="unit"):
        size(text.rstrip("B"))
