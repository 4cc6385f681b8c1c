"""How the columns of a file are best spelled in Parquet, told from its first rows.

A dictionary where values repeat; where they don't, it would be built in vain, and differences (numbers, instants) or
lengths apart from bytes (text) are smaller. Any DuckDB from 1.1 on reads these.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

ENOUGH = 1 << 15  # rows that tell
OFTEN = 3  # times that a value comes on average


def encodings(rows: pa.Table, repeated: Sequence[str]) -> dict[str, Any]:
    """Options for a ParquetWriter. `repeated` are columns beside those of `rows` that want a dictionary."""
    in_dictionary, others = [*repeated], {}
    columns = zip(rows.column_names, rows.slice(0, ENOUGH).columns, strict=True)
    leaves = [leaf for name, column in columns for leaf in _leaves(name, column.combine_chunks())]
    paths = Counter(path for path, _ in leaves)
    for path, values in leaves:
        if paths[path] > 1:
            continue  # a column "a.b" beside a struct a with a field b: the options can't tell them apart
        if path != "_syncd_row" and OFTEN * pc.count_distinct(values).as_py() <= len(values):
            in_dictionary.append(path)
        elif encoding := _without_dictionary(values.type):
            others[path] = encoding
    return {"use_dictionary": in_dictionary, "column_encoding": others}


def _leaves(path: str, array: pa.Array) -> Iterator[tuple[str, pa.Array]]:
    """What Parquet stores of a column: its path there, and the values."""
    if pa.types.is_list(array.type):
        yield from _leaves(f"{path}.list.element", array.flatten())
    elif pa.types.is_struct(array.type):
        for field, values in zip(array.type, array.flatten(), strict=True):
            yield from _leaves(f"{path}.{field.name}", values)
    else:
        yield path, array


def _without_dictionary(kind: pa.DataType) -> str | None:
    if pa.types.is_integer(kind) or pa.types.is_temporal(kind):
        return "DELTA_BINARY_PACKED"
    return "DELTA_LENGTH_BYTE_ARRAY" if pa.types.is_string(kind) else None
