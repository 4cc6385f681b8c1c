r"""CSV comes out as it was sent: quotes, newlines, `\N`, arrays as text; broken records don't take their neighbours."""

from __future__ import annotations

import csv
import io
import json  # noqa: TID251  # reads the expectations beside the nasty files
from datetime import date, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syncd.errors import BadRun
from syncd.model import Batch, Column, Scope
from syncd.parse import csv as room
from syncd.parse import parse
from syncd.parse.blocks import whole
from syncd.parse.records import split
from syncd.types import Type
from tests.parse_oracle import cut, declared, read, type_of, values
from tests.roads import road as road

at = partial(datetime, tzinfo=None)  # naive UTC, as stored
NASTY = sorted((Path(__file__).parent / "data" / "nasty").glob("*.csv"))
MANY = 200

texts = st.text(st.characters(codec="utf-8"), max_size=6) | st.sampled_from(
    ["", '"', '""', ",", "\n", "\r", "a\r\nb", "\\N", "NULL", "'", "[]", "\0", "😀", 'x"y', " ", "\u2028", "007"]
)


def spell(value: str | None, delimiter: str, quote: bool) -> str:
    if value is None:
        return "\\N"
    if quote or value == "\\N" or any(mark in value for mark in f'{delimiter}"\n\r') or value.isspace():
        return '"' + value.replace('"', '""') + '"'
    return value


def written(rows: list[list[str | None]], delimiter: str, end: str, quotes: list[bool]) -> str:
    return "".join(
        delimiter.join(spell(value, delimiter, quotes[n % len(quotes)]) for n, value in enumerate(row)) + end
        for row in rows
    )


def rows_of(batches: list[Batch]) -> list[tuple[Any, ...]]:
    return [tuple(row.values())[:-1] for batch in batches for row in batch.rows.to_pylist()]


@settings(deadline=None, max_examples=300)
@given(
    st.lists(st.lists(texts | st.none(), min_size=3, max_size=3), max_size=20),
    st.sampled_from(",;\t|"),
    st.sampled_from(["\n", "\r\n"]),
    st.lists(st.booleans(), min_size=1, max_size=5),
    st.integers(16, 300),
)
def test_any_texts_come_back(
    rows: list[list[str | None]], delimiter: str, end: str, quotes: list[bool], size: int
) -> None:
    text = (f"one{delimiter}two{delimiter}three{end}" + written(rows, delimiter, end, quotes)).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(room, "whole", lambda chunks, last_end: whole(chunks, last_end, size))
        batches = read(text, format="csv")
    assert sum(batch.lines for batch in batches) == len(rows)
    assert not any(batch.rejected or batch.blank for batch in batches)
    assert [[*row] for batch in batches for row in by_name(batch)] == rows
    plain = [[value or "" for value in row] for row in rows]
    reader = csv.reader(io.StringIO(text.decode(), newline=""), delimiter=delimiter)
    if not any(None in row or "\\N" in row or "\0" in "".join(map(str, row)) for row in rows):
        assert list(reader)[1:] == plain  # the standard library reads the same


def by_name(batch: Batch) -> list[list[Any]]:
    found = {column.source_name: batch.rows.column(column.name).to_pylist() for column in batch.columns}
    return [
        [found[name][n] if name in found else None for name in ("one", "two", "three")]
        for n in range(batch.rows.num_rows)
    ]


GOOD = [b'1,"a"', b"2,b", b'3,"c\nc"', b'4,5"x', b"5,\\N", b'6,"q""q"', b"7,a\rb", b'8,x"y"z']
BAD = [b"1", b"1,2,3", b'"a"b,2', b"1,caf\xe9", b'1,"a" ', b'"x""y"z,1']


@settings(deadline=None, max_examples=200)
@given(st.lists(st.sampled_from([*GOOD, *BAD]), max_size=40), st.integers(20, 200), st.booleans())
def test_a_broken_record_never_takes_a_neighbour(sent: list[bytes], size: int, ends: bool) -> None:
    text = b"n,t\n" + b"\n".join(sent) + b"\n" * ends
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(room, "whole", lambda chunks, last_end: whole(chunks, last_end, size))
        batches = read(text, format="csv")
    kept = {number: record for number, record in enumerate(sent, 1) if record in GOOD}
    rows = {row["_syncd_row"]: row["n"] for batch in batches for row in batch.rows.to_pylist()}
    assert rows == {number: record[:1].decode() for number, record in kept.items()}
    rejected = [line for batch in batches for line in batch.rejected]
    assert [(line.row, line.raw) for line in rejected] == [
        (number, record) for number, record in enumerate(sent, 1) if record in BAD
    ]
    assert all(text[line.byte_offset :].startswith(line.raw) for line in rejected)


def test_a_quote_never_closed_costs_its_own_line() -> None:
    text = b'n,t\n1,"open\n' + b"2,b\n" * MANY
    (batch,) = read(text, format="csv")
    assert [line.raw for line in batch.rejected] == [b'1,"open']
    assert batch.rows.num_rows == MANY


def test_a_quote_never_closed_is_given_up_in_the_middle_of_a_large_part() -> None:
    text = b'n,t\n1,"open\n' + b"2,bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\n" * 1_000_000
    batches = read(text, format="csv")
    assert sum(batch.rows.num_rows for batch in batches) == 1_000_000
    assert [line.raw for batch in batches for line in batch.rejected] == [b'1,"open']


@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
def test_the_header_is_no_row_wherever_it_stands(newline: bytes) -> None:
    text = newline.join([b"\xef\xbb\xbfn,t", b"1,a", b"", b"n,t", b"2,b", b"\xef\xbb\xbfn,t", b'"n","t"', b"3,c", b""])
    (batch,) = read(text, format="csv")
    assert values([batch], "n") == ["1", "2", "3"]
    assert batch.rows.column("_syncd_row").to_pylist() == [1, 2, 3]
    assert (batch.lines, batch.blank) == (4, 1)


@pytest.mark.parametrize(
    ("text", "fields", "names", "rows"),
    [
        (b"a,b\n1,2\n", (), ["a", "b"], 1),
        (b"1,2\n3,4\n", ("a", "b"), ["a", "b"], 2),
        (b"A,b\n3,4\n", ("a", "b"), ["A", "b"], 1),
        (b"x,y\n3,4\n", ("a", "b"), ["x", "y"], 1),  # documented: the first row is the names
        (b"x,2026-01-05 10:11:12\n", ("a", "b"), ["a", "b"], 1),
        (b"1,2026-01-05\n", (), ["column_1", "column_2"], 1),
        (b"a,a\n1,2\n", (), ["a", "a (2)"], 1),
        (b"a,A\n1,2\n", (), ["a", "A"], 1),
        (b"a,\n1,2\n", (), ["a", ""], 1),
        (b'"a;b";c\n1;2\n', (), ["a;b", "c"], 1),
        (b'"a\nb",c\n1,2\n', (), ["a\nb", "c"], 1),
        (b"name\n\nx\n", (), ["name"], 1),
    ],
)
def test_the_first_record_is_the_names_unless_it_is_clearly_none(
    text: bytes, fields: tuple[str, ...], names: list[str], rows: int
) -> None:
    (batch,) = read(text, format="csv", fields=fields)
    assert [column.source_name for column in batch.columns] == names
    assert batch.rows.num_rows == rows


BROKEN = [b'"a"b,c\n1,2\n', b'"a\n1\n']


@pytest.mark.parametrize("text", BROKEN)
def test_a_header_with_broken_quotes_is_a_bad_run_where_nothing_else_names_the_columns(text: bytes) -> None:
    with pytest.raises(BadRun, match="names of the columns"):
        read(text, format="csv")


@pytest.mark.parametrize("text", BROKEN)
def test_a_first_record_with_broken_quotes_is_a_rejected_line_where_the_names_are_known(text: bytes) -> None:
    names = ("a", "c") if b"," in text else ("a",)
    (batch,) = read(text, format="csv", fields=names)
    assert [line.row for line in batch.rejected] == [1]
    assert [column.source_name for column in batch.columns] == [*names]


@pytest.mark.parametrize("text", [b'a;"x\ny";b\n1;2;3\n', b'\n"a,\n";b\n1;2\n', b"a|b\n1|2\n"])
def test_the_header_is_the_same_however_the_bytes_arrive(text: bytes) -> None:
    (whole,) = read(text, format="csv")
    for size in range(1, len(text)):
        (cuts,) = parse(cut(text, [size]), Scope("t"), "csv")
        assert cuts.columns == whole.columns
        assert cuts.rows == whole.rows


def test_an_empty_field_of_a_column_that_widens_on_the_way_is_null_all_the_way() -> None:
    text = b"v,w\n1,x\n,x\n" + b"odd,x\n,x\n" * MANY
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(room, "whole", lambda chunks, last_end: whole(chunks, last_end, 64))
        batches = read(text, declared(v="uint64"), "csv")
    assert len(batches) > 10
    assert {*values(batches, "v")[1::2]} == {None}


def test_an_empty_field_stays_null_in_a_column_that_earlier_runs_made_text() -> None:
    scope = Scope("t", (Column("v", Type("string"), "v", "declared"),), made_text=frozenset({"v"}))
    assert values(read(b"v,w\n,x\nodd,x\n", scope, "csv"), "v") == [None, "odd"]


def test_the_scope_tells_the_header_too_and_the_caller_may_decide() -> None:
    scope = Scope("t", (Column("2024", Type("int64"), "2024", "declared"),))
    assert values(read(b"2024,2025\n1,2\n", scope, "csv"), "2024") == [1]
    assert values(read(b"2024,2025\n1,2\n", format="csv", header=True), "2024") == ["1"]
    assert values(read(b"a,b\n1,2\n", format="csv", header=False), "column_1") == ["a", "1"]


@pytest.mark.parametrize("text", [b"", b"\n", b"a,b", b"a,b\n", b"\xef\xbb\xbfa,b\r\n"])
def test_an_empty_part_has_no_rows(text: bytes) -> None:
    batches = read(text, format="csv")
    assert sum(batch.rows.num_rows for batch in batches) == sum(len(batch.rejected) for batch in batches) == 0


@pytest.mark.parametrize("rows", [1, MANY])
@pytest.mark.parametrize(
    ("type", "sent", "stored"),
    [
        ("uint64", "18446744073709551615", 2**64 - 1),
        ("uint64", '"18446744073709551615"', 2**64 - 1),
        ("uint64", "", None),
        ("uint64", "\\N", None),
        ("uint8", "true", 1),
        ("double", "0.25", 0.25),
        ("double", "1e-7", 1e-7),
        ("double", "0.30000000000000004", 0.1 + 0.2),
        ("bool", "true", True),
        ("bool", "0", False),
        ("date", '"2026-01-05"', date(2026, 1, 5)),
        ("timestamp", '"2026-01-05 10:11"', at(2026, 1, 5, 10, 11)),
        ("timestamp", "2026-01-05T10:11:12+02:00", at(2026, 1, 5, 8, 11, 12)),
        ("string", "007", "007"),
        ("string", "", ""),
        ("string", '""', ""),
        ("string", "\\N", None),
        ("string", '"\\N"', "\\N"),
        (
            "list<string>",
            "\"['a','it\\'s','q\"\"q','x\\ny','back\\\\slash','z''z']\"",
            ["a", "it's", 'q"q', "x\ny", "back\\slash", "z'z"],
        ),
        ("list<string>", "\"['a','b, c']\"", ["a", "b, c"]),
        ("list<string>", '"[""a"",""b\'c""]"', ["a", "b'c"]),
        ("list<string>", "\"['new\nline']\"", ["new\nline"]),
        ("list<string>", "[]", []),
        ("list<string>", "\"[NULL,'NULL']\"", [None, "NULL"]),
        ("list<uint64>", '"[1,18446744073709551615]"', [1, 2**64 - 1]),
        ("list<uint64>", "\"['1']\"", [1]),
        ("list<timestamp>", "\"['2026-01-05 10:11:12']\"", [at(2026, 1, 5, 10, 11, 12)]),
        ("list<list<int64>>", '"[[1,2],[]]"', [[1, 2], []]),
        ('struct<"a":int64>', '"{""a"":1}"', {"a": 1}),
    ],
)
def test_a_declared_column_takes_its_vendors_spellings(type: str, sent: str, stored: Any, rows: int) -> None:
    batches = read(b"v,w\n" + f"{sent},x\n".encode() * rows, declared(v=type), "csv")
    assert values(batches, "v") == [stored] * rows
    assert not any(batch.rejected for batch in batches)
    if stored is not None and stored != []:
        assert type_of(batches, "v") == type


@pytest.mark.parametrize("rows", [1, MANY])
@pytest.mark.parametrize(
    ("type", "sent", "wider", "stored"),
    [
        ("uint64", "007", "string", "007"),
        ("uint64", "0x1f", "string", "0x1f"),
        ("uint64", "1.5", "double", 1.5),
        ("double", "1e400", "string", "1e400"),
        ("double", "nan", "string", "nan"),
        ("double", "1.", "string", "1."),
        ("bool", "yes", "string", "yes"),
        ("bool", "True", "string", "True"),
        ("date", "2026-1-5", "string", "2026-1-5"),
        ("timestamp", "2026-01-05 10:11:12.1234567", "string", "2026-01-05 10:11:12.1234567"),
        ("list<string>", "\"['a'\"", "string", "['a'"),
        ("list<int64>", '"[1],""w"":[2]"', "string", '[1],"w":[2]'),
        ("list<string>", "abc", "string", "abc"),
        ("list<int64>", "-0", "string", "-0"),
    ],
)
def test_what_a_declared_type_cannot_hold_widens_it(type: str, sent: str, wider: str, stored: Any, rows: int) -> None:
    batches = read(b"v,w\n" + f"{sent},x\n".encode() * rows, declared(v=type), "csv")
    assert values(batches, "v") == [stored] * rows
    assert type_of(batches, "v").split("(")[0] == wider


def test_one_odd_value_widens_its_column_and_changes_no_other() -> None:
    sent = ["1", "2", "x", "4"]
    batches = read(
        "\n".join(["v,w", *(f"{value},{n}" for n, value in enumerate(sent))]).encode(),
        declared(v="int64", w="int64"),
        "csv",
    )
    assert values(batches, "v") == sent
    assert values(batches, "w") == [0, 1, 2, 3]


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=60) | st.text(alphabet='a,"\n\r;', max_size=40).map(str.encode), st.sampled_from(",;"))
def test_records_cover_every_byte_once(block: bytes, delimiter: str) -> None:
    records = split(block, delimiter, True)
    ends = [0, *(int(end) + 1 for end in records.lines.ends)]
    assert ends[:-1] == records.lines.starts.tolist()
    assert ends[-1] in (len(block), len(block) + 1) or not block
    assert records.end == len(block)


@pytest.mark.parametrize("path", NASTY, ids=lambda path: path.stem)
def test_the_corpus_of_nasty_files(path: Path) -> None:
    expected = json.loads(path.with_suffix(".csv.json").read_text())
    batches = read(path.read_bytes(), format="csv")
    assert [list(row) for row in rows_of(batches)] == expected["rows"]
    assert [line.row for batch in batches for line in batch.rejected] == expected["rejected"]
    assert sum(batch.blank for batch in batches) == expected["blank"]
