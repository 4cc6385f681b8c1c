"""The lake keeps the promises of a Destination."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from syncd.destinations.lake import Lake
from tests.destination_contract import DestinationContract


class TestLake(DestinationContract):
    @pytest.fixture
    def home(self, tmp_path: Path) -> Path:
        return tmp_path / "env=prod [x] * 'é"

    @pytest.fixture
    def destination(self, home: Path) -> Lake:
        lake = Lake(home, keep_superseded=timedelta(days=7))
        lake.start()
        return lake
