"""What docs/operating.md promises of backups and of another place."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.home import Home, differences
from tests.sandbox_fixture import running


def test_a_backup_of_catalogue_and_lake_is_all_that_it_takes(tmp_path: Path) -> None:
    with running(jobs=1, days=2, rows=20) as vendor:
        home = Home(tmp_path / "first", {"acme": vendor.settings()})
        home.once()
        restored = Home(tmp_path / "second", {"acme": vendor.settings()})
        restored.data_dir.mkdir()
        shutil.copy(home.data_dir / "warehouse.duckdb", restored.data_dir)
        shutil.copytree(home.data_dir / "lake", restored.data_dir / "lake")
        before = home.tables()
        shutil.rmtree(home.data_dir)
        assert restored.run("verify", "--repair").returncode == 0
        assert restored.tables() == before
        assert "part_landed" not in restored.once().stderr, "what is loaded stands in the catalogue"
        assert differences(restored, "acme", vendor) == []


def test_a_data_dir_that_was_moved_goes_on_at_its_new_place(tmp_path: Path) -> None:
    with running(jobs=1, days=2, rows=20) as vendor:
        home = Home(tmp_path / "home", {"acme": vendor.settings()})
        home.once()
        before = home.tables()
        home.data_dir = home.data_dir.rename(tmp_path / "elsewhere")
        home.write({"acme": vendor.settings()})
        home.once()
        assert home.tables() == before
        assert home.run("verify").returncode == 0
