"""`syncd query`: any SQL has an answer that a script can read, or one clear error."""

from __future__ import annotations

import json  # noqa: TID251  # integers of any size, and NaN told
from pathlib import Path

import duckdb
import pytest

from tests.home import Home


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path, {})
    home.data_dir.mkdir()
    duckdb.connect(home.data_dir / "warehouse.duckdb").close()
    return home


@pytest.mark.parametrize(
    ("sql", "answer"),
    [
        ("SELECT TIMESTAMPTZ '2026-01-01 02:00:00+02' AS at", {"at": "2026-01-01T00:00:00Z"}),
        (
            "SET timezone = 'Asia/Tokyo'; SELECT [TIMESTAMPTZ '2026-01-01 00:00:00Z'] AS at",
            {"at": ["2026-01-01T00:00:00Z"]},
        ),
        ("SELECT 1 AS a, 2 AS a, 3 AS a_1, 4 AS a", {"a": 1, "a_2": 2, "a_1": 3, "a_3": 4}),
        ("SELECT 'nan'::DOUBLE AS a, '-inf'::DOUBLE AS b", {"a": "nan", "b": "-inf"}),
        ("SELECT sum(x) AS x FROM (VALUES (18446744073709551615::UBIGINT), (1)) AS t(x)", {"x": 18446744073709551616}),
    ],
)
def test_each_row_is_an_object_of_plain_json(home: Home, sql: str, answer: dict[str, object]) -> None:
    def odd(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    asked = home.run("query", "--format", "json", sql)
    assert json.loads(asked.stdout, parse_constant=odd) == [answer], asked.stderr


def test_now_is_shown_in_each_form(home: Home) -> None:
    for form in ("table", "csv", "json"):
        assert home.run("query", "--format", form, "SELECT now()").returncode == 0


@pytest.mark.parametrize("sql", ["", " ;", "/* */ -- nothing"])
def test_no_sql_is_told(home: Home, sql: str) -> None:
    asked = home.run("query", sql)
    assert asked.returncode == 1
    assert asked.stderr.startswith("error: no SQL was given\n")
