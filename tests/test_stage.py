"""The unit of work: landed bytes in, durable rows out, anywhere."""

from __future__ import annotations

import gzip
import pickle
from datetime import UTC, datetime, timedelta
from functools import partial
from hashlib import sha256
from pathlib import Path

import pytest

from syncd.destinations.lake import Lake
from syncd.errors import StartOver
from syncd.model import Landed, Run, Scope
from syncd.stage import BLOCK, stage_part

DAY = datetime(2026, 1, 5, tzinfo=UTC)
RUN = Run("acme", "1-1", "sessions", "jsonl", DAY, DAY + timedelta(days=1), "1", DAY + timedelta(days=1))


def landed(path: Path, text: bytes) -> Landed:
    path.write_bytes(text)
    return Landed(str(path), 0)


@pytest.mark.parametrize("lines", [0, 1, BLOCK // 8])
def test_a_part_is_known_by_the_bytes_that_were_read(tmp_path: Path, lines: int) -> None:
    text = gzip.compress(b"".join(b'{"v":%d}\n' % number for number in range(lines)), 0)
    staged = stage_part(Lake(tmp_path), Scope("sessions"), RUN, "p", landed(tmp_path / "part", text))
    assert (staged.rows, staged.bytes, staged.sha256) == (lines, len(text), sha256(text).hexdigest())


def test_what_is_behind_the_last_record_is_read_as_well(tmp_path: Path) -> None:
    text = gzip.compress(b'{"v":1}\n') + bytes(3 * BLOCK)  # padded with zeros, as some vendors do
    staged = stage_part(Lake(tmp_path), Scope("sessions"), RUN, "p", landed(tmp_path / "part", text))
    assert (staged.rows, staged.bytes, staged.sha256) == (1, len(text), sha256(text).hexdigest())


def test_the_work_travels(tmp_path: Path) -> None:
    part = landed(tmp_path / "part", b'{"v":1}\n')
    work = pickle.loads(pickle.dumps(partial(stage_part, Lake(tmp_path), Scope("sessions"), RUN, "p", part)))
    assert work() == stage_part(Lake(tmp_path), Scope("sessions"), RUN, "p", part)


def test_torn_bytes_leave_no_file(tmp_path: Path) -> None:
    part = landed(tmp_path / "part", gzip.compress(b'{"v":1}\n' * 1000)[:-9])
    with pytest.raises(StartOver):
        stage_part(Lake(tmp_path / "home"), Scope("sessions"), RUN, "p", part)
    assert not [path for path in (tmp_path / "home").rglob("*") if path.is_file()]
