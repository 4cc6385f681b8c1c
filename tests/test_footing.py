"""What the file system must hold is tried on it; what it can't do is refused with the reason, before anything moves."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from syncd import footing
from syncd.errors import ConfigError
from syncd.footing import firm, remote_kind, shortcomings
from tests.home import Home

MOUNTS = """\
22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw
30 22 0:40 / /srv/lake rw shared:5 - nfs4 filer:/lake rw,vers=4.2
31 22 0:41 / /srv/lake/local\\040disk rw - xfs /dev/sdb1 rw
32 22 0:42 / /srv/win rw - cifs //filer/share rw
"""


def test_this_disk_holds_all_and_keeps_no_trace(tmp_path: Path) -> None:
    assert list(shortcomings(tmp_path)) == []
    firm(tmp_path, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("folder", "kind"),
    [("/srv/lake/x", "nfs4"), ("/srv/lake/local disk/x", ""), ("/srv/win", "cifs"), ("/srv", ""), ("/srv/lakes", "")],
)
def test_a_network_file_system_is_told_by_its_mount(tmp_path: Path, folder: str, kind: str) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS)
    assert remote_kind(Path(folder), mounts) == kind
    assert remote_kind(Path(folder), tmp_path / "none") == ""


def test_each_shortcoming_is_told_with_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(footing.fcntl, "flock", lambda *_: None)  # a share that says yes to everybody
    monkeypatch.setattr(os, "link", refuses)
    monkeypatch.setattr(os, "replace", refuses)
    monkeypatch.setattr(os, "fsync", refuses)
    with pytest.raises(ConfigError) as caught:
        firm(tmp_path, tmp_path)
    for reason in ("second syncd", "hard links", "open file", "power cut"):
        assert reason in str(caught.value)


def test_a_full_disk_is_no_shortcoming(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "link", full)
    with pytest.raises(OSError, match="No space"):
        list(shortcomings(tmp_path))


def test_the_state_may_lie_elsewhere_and_be_lost(tmp_path: Path) -> None:
    from tests.sandbox_fixture import running

    with running(days=2) as vendor:
        home = Home(tmp_path, {"acme": vendor.settings()}, state_dir=str(tmp_path / "state"))
        home.once()
        tables = home.tables()
        assert (tmp_path / "state" / "state.sqlite").exists()
        assert not (home.data_dir / "state.sqlite").exists()
        assert home.json("status")["ok"]
        (tmp_path / "state" / "state.sqlite").unlink()
        home.once()
        assert home.tables() == tables


@pytest.mark.parametrize("name", ["a?b", "a\\b", "st*r%20 [1] {a,b} o'brien=#;\n"])
def test_a_folder_of_any_name_is_used_or_refused_with_the_reason(tmp_path: Path, name: str) -> None:
    from tests.sandbox_fixture import running

    with running(days=1) as vendor:
        home = Home(tmp_path, {"acme": vendor.settings()}, data_dir=str(tmp_path / name))
        if set(name) & set("?\\"):
            assert "DuckDB can't write" in home.run("check").stdout
            assert "DuckDB can't write" in home.once(expect=2).stderr
        else:
            home.once()
            home.data_dir = tmp_path / name
            assert home.query("SELECT count(*) > 0 FROM acme.sessions") == [(True,)]
            assert home.run("verify").returncode == 0
