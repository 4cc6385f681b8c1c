"""A body that hardly comes makes room for others; one that comes, however long it takes, is left alone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta

import pytest

from syncd.errors import TryAgain
from syncd.fetch.pace import HEADWAY, lively

SOON = timedelta(milliseconds=20)


def coming(blocks: list[bytes], pause_s: float) -> Iterator[bytes]:
    for block in blocks:
        time.sleep(pause_s)
        yield block


def test_a_trickle_is_given_up_with_what_it_has_brought() -> None:
    seen = []
    with pytest.raises(TryAgain, match="bytes came in") as told:
        seen.extend(lively(coming([b"x"] * 100, 0.005), "part p0", SOON))
        pytest.fail("it was waited for")
    assert told.value.hint


def test_what_makes_headway_may_take_its_time() -> None:
    blocks = [bytes(HEADWAY)] * 5
    assert list(lively(coming(blocks, 0.01), "part p0", timedelta(milliseconds=1))) == blocks


def test_the_time_that_the_disk_takes_counts_for_nothing() -> None:
    for _ in lively(iter([b"x"] * 5), "part p0", SOON):
        time.sleep(0.01)
