"""How columns are spelled in Parquet changes no value, and saves what it is for."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from syncd.destinations.lake.encodings import encodings

MANY = 5000


def written(path: Path, columns: dict[str, Any]) -> pa.Table:
    rows = pa.table(columns)
    with pq.ParquetWriter(path, rows.schema, **encodings(rows, ())) as writer:
        writer.write_table(rows)
    return rows


def spelled(path: Path, column: int = 0) -> set[str]:
    return {*pq.read_metadata(path).row_group(0).column(column).encodings}


def test_every_type_comes_back_as_it_was(tmp_path: Path) -> None:
    rng, began = random.Random(1), datetime(2026, 1, 5)  # noqa: DTZ001  # UTC, as stored
    ids = [rng.getrandbits(64) for _ in range(MANY)]
    path = tmp_path / "all.parquet"
    rows = written(
        path,
        {
            "u64": pa.array(ids, pa.uint64()),
            "i16": pa.array([-1 - n % 30_000 if n % 7 else None for n in range(MANY)], pa.int16()),
            "text": [f"{one:x}" if one % 3 else None for one in ids],
            "often": ["a" if one % 2 else "b" for one in ids],
            "at": pa.array([began + timedelta(microseconds=one % 10**12) for one in ids], pa.timestamp("us")),
            "day": pa.array([(began + timedelta(days=n)).date() for n in range(MANY)], pa.date32()),
            "flag": [one % 2 == 0 for one in ids],
            "double": [one / 7 for one in ids],
            "decimal": pa.array([Decimal(one) / 100 for one in range(MANY)], pa.decimal128(38, 2)),
            "list": [[one, None] if one % 3 else [] for one in range(MANY)],
            "objects": [[{"id": str(one), "n": one}] if one % 5 else None for one in range(MANY)],
            "object": [{"b": one, "c": {"d": [str(one)]}} for one in range(MANY)],
            "nothing": pa.nulls(MANY, pa.string()),
        },
    )
    assert pq.read_table(path).to_pylist() == rows.to_pylist()
    found = duckdb.sql(f"FROM read_parquet('{path}')").to_arrow_table()
    assert found.to_pylist() == rows.to_pylist()


def test_columns_that_share_a_path_in_the_file_keep_their_values(tmp_path: Path) -> None:
    path = tmp_path / "shared.parquet"
    objects, texts = [{"b": n} for n in range(MANY)], [f"text {n}" for n in range(MANY)]
    for columns in ({"a": objects, "a.b": texts}, {"a.b": texts, "a": objects}, {"a.b": ["x"] * MANY, "a": objects}):
        rows = written(path, columns)
        assert pq.read_table(path).to_pylist() == rows.to_pylist()


def test_only_values_that_repeat_get_a_dictionary(tmp_path: Path) -> None:
    path = tmp_path / "ids.parquet"
    written(path, {"id": [n * 7919 for n in range(MANY)], "text": [f"x{n}" for n in range(MANY)], "often": [1] * MANY})
    assert "RLE_DICTIONARY" not in spelled(path, 0) | spelled(path, 1)
    assert "RLE_DICTIONARY" in spelled(path, 2)
    assert "DELTA_BINARY_PACKED" in spelled(path, 0)


def test_no_rows_are_no_trouble(tmp_path: Path) -> None:
    written(tmp_path / "none.parquet", {"id": pa.array([], pa.int64()), "list": pa.array([], pa.list_(pa.string()))})
