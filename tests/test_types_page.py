"""docs/types.md says what is: each row of its table is parsed, each query runs on a published warehouse."""

from __future__ import annotations

import re
from pathlib import Path

import duckdb
import pytest

from syncd.types import join_all, sql
from tests.home import Home
from tests.parse_oracle import read
from tests.sandbox_fixture import running

PAGE = (Path(__file__).parent.parent / "docs" / "types.md").read_text()
SHOWN = re.findall(r"^\| (`[^|]+`) \| `([^|]+)` \|$", PAGE, re.M)


@pytest.mark.parametrize(("sent", "shown"), SHOWN)
def test_the_table_tells_what_a_learned_column_becomes(sent: str, shown: str) -> None:
    values = re.findall(r"`([^`]+)`", sent)
    batches = read("".join(f'{{"v":{value}}}\n' for value in values).encode())
    types = [column.type for batch in batches for column in (*batch.columns, *batch.nulls)]
    assert sql(join_all(types)) == shown


def test_each_query_runs_on_a_warehouse(tmp_path: Path) -> None:
    with running(jobs=1, days=1, rows=200, parts=1, broken_lines=1) as vendor:
        home = Home(tmp_path, {"acme": vendor.settings()}, parse={"max_rejected": 1})
        home.once()
    columns, rejected, kinds, unlawful = re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL)
    with duckdb.connect(str(home.data_dir / "warehouse.duckdb"), read_only=True) as warehouse:
        assert len(warehouse.execute(columns).fetchall()) > 50
        ((*_, raw),) = warehouse.execute(rejected).fetchall()
        assert isinstance(raw, bytes)
        ((_, lines, _),) = warehouse.execute(kinds).fetchall()
        assert lines == 1
        assert warehouse.execute(unlawful).fetchall() == []
