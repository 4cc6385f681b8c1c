r"""The same files through syncd, through the standard library, and through DuckDB, wherever DuckDB is exact.

Where it isn't, the table of JSON lines and the notes at the CSV files say what DuckDB makes of it, and that is what
the parser must not do.
"""

from __future__ import annotations

import csv
import json  # noqa: TID251  # writes what the parsers read
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from syncd.model import Column, Scope
from syncd.types import Type
from tests.parse_oracle import check, jsonl, read, values
from tests.roads import road as road

quickly = settings(
    deadline=None,
    max_examples=80,
    suppress_health_check=[HealthCheck.function_scoped_fixture],  # each example writes its file anew
)

texts = st.text(st.characters(codec="utf-8"), max_size=8) | st.sampled_from(
    [
        "",
        " ",
        "\0",
        "2026-01-05",
        "18446744073709551615",
        "NaN",
        "null",
        "\u2028",
        "\x85",
        "😀",
        '"',
        "\\",
        "\ufeff",
        "{}",
    ]
)
times = st.sampled_from(
    ["2026-01-05 10:11:12", "2026-01-05 10:11:12.123456", "2000-02-29 23:59:59", "1969-12-31 00:00:00"]
)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "int64": st.integers(-(2**63), 2**63 - 1),
    "uint64": st.integers(0, 2**64 - 1) | st.integers(0, 2**64 - 1).map(str),
    "uint8": st.integers(0, 255),
    "double": st.floats(allow_nan=False, allow_infinity=False),
    "bool": st.booleans(),
    "string": texts,
    "date": st.dates().map(str),
    "timestamp": times,
}
VALUES["list<int64>"] = st.lists(st.none() | VALUES["int64"], max_size=3)
VALUES["list<timestamp>"] = st.lists(times, max_size=3)
VALUES["list<string>"] = st.lists(st.none() | texts, max_size=3)
DUCK = {
    **{"int64": "BIGINT", "uint64": "UBIGINT", "uint8": "UTINYINT", "double": "DOUBLE", "bool": "BOOLEAN"},
    **{"string": "VARCHAR", "date": "DATE", "timestamp": "TIMESTAMP"},
    **{"list<int64>": "BIGINT[]", "list<timestamp>": "TIMESTAMP[]", "list<string>": "VARCHAR[]"},
}
COLUMNS = {f"c{number}": kind for number, kind in enumerate(VALUES)}
ROWS = st.lists(
    st.fixed_dictionaries({}, optional={name: st.none() | VALUES[kind] for name, kind in COLUMNS.items()}), max_size=12
)


@pytest.fixture(scope="module")
def duck() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(config={"threads": 1}) as connection:
        yield connection


def scope(origin: str) -> Scope:
    return Scope("t", tuple(Column(name, Type.parse(kind), name, origin) for name, kind in COLUMNS.items()))


@quickly
@given(ROWS, st.booleans(), st.integers(1, 30))
def test_declared_columns_hold_what_duckdb_reads_under_the_same_types(
    duck: duckdb.DuckDBPyConnection, tmp_path: Path, rows: list[dict[str, Any]], spaced: bool, times: int
) -> None:
    separators = (", ", ": ") if spaced else (",", ":")
    lines = [json.dumps(row, ensure_ascii=spaced, separators=separators) for row in rows] * times
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    columns = ", ".join(f"{name}: '{DUCK[kind]}'" for name, kind in COLUMNS.items())
    theirs = duck.execute(
        f"SELECT * FROM read_json('{file}', format = 'newline_delimited', columns = {{{columns}}})"
    ).fetchall()
    batches = read(file.read_bytes(), scope("declared"))
    ours = zip(*(values(batches, name) for name in COLUMNS), strict=True)
    assert [*ours] == [row for row in theirs if lines]


@quickly
@given(ROWS)
def test_learned_columns_hold_what_the_standard_library_reads(rows: list[dict[str, Any]]) -> None:
    text = "".join(json.dumps(row) + "\n" for row in rows).encode()
    batches = read(text)
    check(jsonl(text), batches)
    for name in COLUMNS:
        sent = [row.get(name) for row in rows]
        if {*map(type, sent)} <= {bool, type(None)} or {*map(type, sent)} <= {str, type(None)}:
            assert values(batches, name) == sent


ACCEPTED, REJECTED = True, False
LINES: list[tuple[bytes, bool, Any, str]] = [
    (b'{"v":"\\u0000"}', ACCEPTED, "\0", ""),
    (b'{"v":"\xe2\x80\xa8"}', ACCEPTED, "\u2028", ""),
    (b' {"v":"x"} \r', ACCEPTED, "x", ""),
    (b'{"v":18446744073709551616}', ACCEPTED, "18446744073709551616", ""),
    (b'{"v":{"a":[1,2]}}', ACCEPTED, '{"a":[1,2]}', ""),
    (b'{"v":"\\ud800"}', REJECTED, None, ""),
    (b'{"v":"\xff"}', REJECTED, None, ""),
    (b'{"v":"\xed\xa0\x80"}', REJECTED, None, ""),
    (b'{"v":"\x01"}', REJECTED, None, ""),
    (b'{"v":01}', REJECTED, None, ""),
    (b"{'v':1}", REJECTED, None, ""),
    (b'{"v":1}{"v":2}', REJECTED, None, ""),
    (b'{"v":1}\0', REJECTED, None, ""),
    (b'{"v":', REJECTED, None, ""),
    (b"null", REJECTED, None, ""),
    (b'{"v":1.50}', ACCEPTED, "1.5", "text shows the digits that were sent"),
    (b'{"v":-0}', ACCEPTED, "0", "text shows the sign that was sent"),
    (b'{"v":0.1234567890123456789}', ACCEPTED, "0.12345678901234568", "text shows all digits"),
    (b'{"v":[1, 2.50]}', ACCEPTED, "[1,2.5]", "so does the text of a list"),
    (b'\xef\xbb\xbf{"v":"x"}', ACCEPTED, None, "a mark before a record is no part of it"),
    (b'{"v":NaN}', REJECTED, "NaN", "NaN is no JSON"),
    (b'{"v":-Infinity}', REJECTED, "-Infinity", "nor is Infinity"),
    (b'{"v":1e400}', REJECTED, "1e400", "no double holds it: a double column would show infinity"),
    (b'{"v":1,"v":2}', REJECTED, "1", "a key given twice: DuckDB keeps the first, Python the last"),
    (b'{"v":1,}', REJECTED, "1", "a comma too many is no JSON"),
]


@pytest.mark.parametrize(("line", "accepted", "theirs", "why"), LINES)
def test_each_disagreement_over_a_line_has_a_reason(
    duck: duckdb.DuckDBPyConnection, tmp_path: Path, line: bytes, accepted: bool, theirs: Any, why: str
) -> None:
    text = b'{"v":"before"}\n' + line + b'\n{"v":"after"}\n'
    file = tmp_path / "lines.jsonl"
    file.write_bytes(text)
    found = duck.execute(
        f"SELECT v FROM read_json('{file}', format = 'newline_delimited', "
        "columns = {v: 'VARCHAR'}, ignore_errors = true)"
    ).fetchall()
    assert found == [("before",), (theirs,), ("after",)]
    batches = read(text)
    assert ([r.raw for batch in batches for r in batch.rejected] == [line]) is not accepted
    ours = dict(
        zip((n for b in batches for n in b.rows.column("_syncd_row").to_pylist()), values(batches, "v"), strict=True)
    )
    assert (ours[1], ours[3]) == ("before", "after")
    assert (ours.get(2) == theirs) is not bool(why)
    check(jsonl(text), batches)


def spell(value: str | None, delimiter: str, quote: bool) -> str:
    r"""As ClickHouse writes it: NULL is a bare \N."""
    if value is None:
        return "\\N"
    if quote or value == "\\N" or any(mark in value for mark in f'{delimiter}"\n\r') or value.isspace():
        return '"' + value.replace('"', '""') + '"'
    return value


# DuckDB needs to be told that a quoted "\N" is text, and stops at a bare carriage return and at text behind a closing
# quote: what the parser makes of these is tested in test_parse_csv.
fields = (
    st.none()
    | st.text(st.characters(codec="utf-8"), max_size=6)
    | st.sampled_from(
        [
            "",
            "\0",
            "\r",
            "\\N",
            '"',
            '""',
            ",",
            ";",
            "\n",
            "\r\n",
            "NULL",
            "'",
            "[]",
            "😀",
            'x"y',
            " ",
            "\u2028",
            "007",
            "\\",
            "1e400",
        ]
    )
)


@quickly
@given(
    st.lists(st.lists(fields, min_size=2, max_size=2), min_size=1, max_size=12),
    st.sampled_from(",;\t|"),
    st.sampled_from(["\n", "\r\n"]),
    st.lists(st.booleans(), min_size=1, max_size=4),
)
def test_csv_is_read_alike_by_all_three(
    duck: duckdb.DuckDBPyConnection,
    tmp_path: Path,
    rows: list[list[str | None]],
    delimiter: str,
    end: str,
    quotes: Sequence[bool],
) -> None:
    spelled = [[spell(value, delimiter, quotes[n % len(quotes)]) for value in row] for n, row in enumerate(rows)]
    text = "".join(delimiter.join(row) + end for row in [["one", "two"], *spelled])
    file = tmp_path / "rows.csv"
    file.write_bytes(text.encode())
    theirs = duck.execute(
        f"SELECT * FROM read_csv('{file}', auto_detect = false, header = true, delim = '{delimiter}', quote = '\"', "
        "escape = '\"', nullstr = '\\N', allow_quoted_nulls = false, columns = {one: 'VARCHAR', two: 'VARCHAR'})"
    ).fetchall()
    with file.open(newline="", encoding="utf-8") as lines:
        plain = [*csv.reader(lines, delimiter=delimiter)][1:]
    batches = read(text.encode(), format="csv")
    ours = [*zip(values(batches, "one"), values(batches, "two"), strict=True)]
    assert ours == [tuple(row) for row in rows]
    assert [[("\\N" if value is None else value) for value in row] for row in ours] == plain
    assert ours == theirs
