"""One way of turning a gzipped part into zstd Parquet, run as a whole process: `python rivals.py NAME PART FOLDER`.

Each is what its own documentation shows first. Only syncd checks that no value changed; where a rival changes one
(ids above 2^63 as text or double, times as text), that is its own affair and it is timed all the same.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

Way = Callable[[Path, Path], None]  # the part, and a folder of its own to write to
ROOT = Path(__file__).parent.parent
OURS = ("_syncd_date", "_syncd_run", "_syncd_job", "_syncd_part", "_syncd_completed_at")

# for those that are told the columns; the names are those of lines.py
LISTS = {
    "app_events.event_name": "VARCHAR[]",
    "app_events.event_time": "TIMESTAMP[]",
    "app_events.event_type": "UTINYINT[]",
    "session_transaction_items.sku": "VARCHAR[]",
    "session_transaction_items.product_id_hashed": "UBIGINT[]",
    "session_transaction_items.revenue_cents": "UBIGINT[]",
}
GIVEN = {
    "project_id": "BIGINT",
    "user_id": "UBIGINT",
    "session_id": "UBIGINT",
    "session_date": "DATE",
    "session_time": "TIMESTAMP",
    "session_number": "INTEGER",
    "session_number_of_views": "INTEGER",
    "session_duration_msec": "BIGINT",
    "user_id_unhashed": "VARCHAR",
    "device_id": "SMALLINT",
    "city": "VARCHAR",
    "country_code": "VARCHAR",
    "browser_name": "VARCHAR",
    "browser_major_version": "INTEGER",
    "platform_name": "VARCHAR",
    "referer_url": "VARCHAR",
    "screen_height": "INTEGER",
    "density": "DOUBLE",
    "is_excludable": "UTINYINT",
    **LISTS,
    "custom_var": "VARCHAR",
    "Landing path": "VARCHAR",
    "Basket value": "BIGINT",
    "Score": "DOUBLE",
}


def syncd(part: Path, folder: Path) -> None:
    """As the daemon stages it: `stage_part` into the lake, the landed bytes hashed, all synced to disk."""
    sys.path.insert(0, str(ROOT))
    from datetime import UTC, datetime, timedelta

    from syncd.destinations.lake import Lake
    from syncd.memory import thrifty
    from syncd.model import Landed, Run
    from syncd.sources.contentsquare.dictionary import declared
    from syncd.stage import stage_part

    day, form = datetime(2026, 1, 5, tzinfo=UTC), "csv" if ".csv" in part.name else "jsonl"
    run = Run("acme", "1-1", "sessions", form, day, day + timedelta(days=1), "1", day + timedelta(days=1, hours=4))
    thrifty()
    stage_part(Lake(folder), declared("sessions"), run, "p0", Landed(str(part), part.stat().st_size))


def _duckdb(query: str, folder: Path) -> None:
    import duckdb

    duckdb.sql(f"COPY ({query}) TO '{folder / 'out.parquet'}' (FORMAT parquet, COMPRESSION zstd)")


def duckdb_inferring(part: Path, folder: Path) -> None:
    reads = "read_csv" if ".csv" in part.name else "read_json"
    _duckdb(f"FROM {reads}('{part}')", folder)


def duckdb_given(part: Path, folder: Path) -> None:
    if ".csv" not in part.name:
        _duckdb(f"FROM read_json('{part}', columns = {GIVEN}, format = 'newline_delimited')", folder)
        return
    columns = GIVEN | dict.fromkeys(LISTS, "VARCHAR")  # it doesn't know ClickHouse's escapes
    _duckdb(f"FROM read_csv('{part}', columns = {columns}, header = true, nullstr = '\\N')", folder)


def pyarrow(part: Path, folder: Path) -> None:
    import pyarrow.csv
    import pyarrow.json
    import pyarrow.parquet
    from isal import igzip_threaded

    size = 8 << 20
    with igzip_threaded.open(part, "rb") as plain:
        if ".csv" in part.name:
            batches = pyarrow.csv.open_csv(
                plain,
                pyarrow.csv.ReadOptions(block_size=size),
                pyarrow.csv.ParseOptions(newlines_in_values=True),
                pyarrow.csv.ConvertOptions(column_types={name: pyarrow.string() for name in LISTS}),
            )
        else:
            batches = pyarrow.json.open_json(plain, pyarrow.json.ReadOptions(block_size=size))
        with pyarrow.parquet.ParquetWriter(folder / "out.parquet", batches.schema, compression="zstd") as writer:
            for batch in batches:
                writer.write_batch(batch)


def polars(part: Path, folder: Path) -> None:
    import polars

    if ".csv" in part.name:
        frame = polars.scan_csv(part, infer_schema_length=10_000, null_values=["\\N"])
    else:
        frame = polars.scan_ndjson(part, infer_schema_length=10_000)
    frame.sink_parquet(folder / "out.parquet", compression="zstd")


def dlt(part: Path, folder: Path, nesting: int | None = None) -> None:
    """As documented: each list becomes a table of its own."""
    import dlt
    from dlt.sources.filesystem import filesystem, read_jsonl

    lines = (filesystem(bucket_url=part.parent.as_uri(), file_glob=part.name) | read_jsonl()).with_name("sessions")
    lines.max_table_nesting = nesting
    pipeline = dlt.pipeline(
        "bench",
        pipelines_dir=str(folder / "pipelines"),
        destination=dlt.destinations.filesystem((folder / "lake").as_uri()),
        dataset_name="bench",
    )
    pipeline.run(lines, loader_file_format="parquet")


WAYS: dict[str, Way] = {
    "syncd": syncd,
    "DuckDB inferring": duckdb_inferring,
    "DuckDB with columns given": duckdb_given,
    "pyarrow + isal": pyarrow,
    "polars": polars,
    "dlt": dlt,
    "dlt, lists kept in the row": partial(dlt, nesting=0),  # as JSON text
}

if __name__ == "__main__":
    WAYS[sys.argv[1]](Path(sys.argv[2]), Path(sys.argv[3]))
