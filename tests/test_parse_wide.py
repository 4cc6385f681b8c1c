"""Lines with many keys between them: exact as all others, and in the memory of few cells at a time."""

from __future__ import annotations

import gc
from random import Random

import numpy as np
import pytest

from syncd.model import Batch, Scope
from syncd.parse import jsonl, parse, width
from syncd.parse.columns import Known
from syncd.parse.columns import batch as batch_of
from tests.parse_oracle import declared, got
from tests.roads import road as road

LINES, KEYS = 2_000, 50


@pytest.fixture(autouse=True)
def few_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousandth of what is read at once, so that the tests are short."""
    monkeypatch.setattr(width, "CELLS", width.CELLS >> 10)


def sent() -> list[tuple[str, int | None]]:
    """A key and its value for each line; None for a line that is no record."""
    chance = Random(7)
    return [(f"k{chance.randrange(KEYS)}", None if number % 99 == 5 else number) for number in range(LINES)]


def spelled(lines: list[tuple[str, int | None]], form: str = '{"%s":%d}') -> bytes:
    return "".join((form % (key, value) if value is not None else '{"cut') + "\n" for key, value in lines).encode()


def values(batch: Batch) -> dict[int, tuple[str, int]]:
    """What each row has, without a look at what it has not."""
    numbers = batch.rows.column(batch.rows.num_columns - 1).to_numpy()
    found = {}
    for column, array in zip(batch.columns, batch.rows.columns, strict=False):
        rows = np.flatnonzero(array.is_valid().to_numpy(zero_copy_only=False))
        for row, value in zip(rows.tolist(), array.drop_null().to_pylist(), strict=True):
            found[int(numbers[row])] = column.source_name, value
    return found


def cells(batch: Batch) -> int:
    return int(batch.rows.num_rows * len(batch.columns))


@pytest.mark.parametrize("scope", [Scope("t"), declared(**{f"k{at}": "int64" for at in range(KEYS)})])
def test_no_batch_has_more_cells_than_memory_should_hold(scope: Scope) -> None:
    lines = sent()
    text = spelled(lines)
    batches = list(parse([text], scope, "jsonl"))
    assert max(map(cells, batches)) <= width.CELLS
    found = {number: value for batch in batches for number, value in values(batch).items()}
    assert found == {number: line for number, line in enumerate(lines, 1) if line[1] is not None}
    places = [text.index(b'{"cut'), text.rindex(b'{"cut')]
    rejected = [line for batch in batches for line in batch.rejected]
    assert [line.byte_offset for line in (rejected[0], rejected[-1])] == places
    assert sum(batch.lines for batch in batches) == LINES


def test_pieces_are_the_same_whatever_reads_them() -> None:
    text = spelled(sent())
    one, several = (list(parse([text], Scope("t"), "jsonl", threads=threads)) for threads in (1, 3))
    assert [(batch.rows, batch.columns, batch.rejected) for batch in one] == [
        (batch.rows, batch.columns, batch.rejected) for batch in several
    ]


def test_what_was_read_of_a_wide_block_in_vain_is_let_go_before_its_pieces_are_read() -> None:
    batches = parse([spelled(sent())], Scope("t"), "jsonl")
    assert next(batches).rows.num_rows < LINES
    assert not [one for one in gc.get_objects() if isinstance(one, width.TooWide)]  # its traceback has it all


def test_a_narrow_block_of_a_wide_scope_stays_whole() -> None:
    scope = declared(**{f"k{at}": "int64" for at in range(KEYS)})
    text = spelled([(f"k{number % 2}", number) for number in range(LINES)])
    assert [batch.rows.num_rows for batch in parse([text], scope, "jsonl")] == [LINES]


def test_columns_seen_before_that_a_block_has_not_cost_nothing() -> None:
    """Whatever the blocks before it had."""
    many, few = spelled([(f"k{number % KEYS}", number) for number in range(64)]), spelled([("k0", 1)] * LINES)
    known = Known.of(Scope("t"))
    batch_of(jsonl.parse_block(many, known), known, 1, 0)
    assert len(known.columns) == KEYS
    assert len(jsonl.parse_block(few, known).rows) == LINES


def test_the_memory_of_a_block_is_bounded_as_it_is_shipped(monkeypatch: pytest.MonkeyPatch, road: str) -> None:
    monkeypatch.undo()
    if road == "plain":
        return  # as above, and takes long
    assert width.CELLS <= 5 << 20  # of eight bytes; measured with a thousand keys: 310 MB for all of staging
    batches = parse([b"".join(b'{"k%d":1}\n' % (number * 7 % 1000) for number in range(14_000))], Scope("t"), "jsonl")
    assert max(map(cells, batches)) <= width.CELLS


def test_fields_of_structs_count(road: str) -> None:
    chance = Random(8)
    lines = [(f"k{chance.randrange(190)}", number) for number in range(1_000)]
    batches = list(parse([spelled(lines, '{"s":{"%s":%d},"n":1}')], Scope("t"), "jsonl"))
    assert len(batches) > 1 or road == "plain"  # there a struct is read whole
    assert sum(batch.rows.num_rows for batch in batches) == len(lines)
    assert got(batches[-1:]).rows[len(lines)]["s"][lines[-1][0]] == lines[-1][1]
