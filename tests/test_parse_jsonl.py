"""JSON lines come out as they were sent, or are rejected with their place and bytes."""

from __future__ import annotations

import gzip
import json  # noqa: TID251  # writes what the parser reads
from datetime import date, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from syncd import parse as room
from syncd.errors import BadRun, StartOver
from syncd.model import Column, Scope
from syncd.parse import parse
from syncd.parse.blocks import line_end, plain, whole
from syncd.parse.columns import Known
from syncd.parse.forms import Unspelled
from syncd.parse.jsonl import Slow
from syncd.parse.lines import Lines
from syncd.parse.quick import read as read_quickly
from syncd.types import Type
from tests.parse_oracle import check, cut, declared, got, jsonl, read, type_of, values
from tests.roads import road as road

at = partial(datetime, tzinfo=None)  # naive UTC, as stored
NASTY = sorted((Path(__file__).parent / "data" / "nasty").glob("*.jsonl"))
MANY = 300  # lines enough for the fast way to be worth its name

keys = st.sampled_from(["a", "b", "A", "c.d", "", "_syncd_row", "é", "n\0l", "x"]) | st.text(max_size=3)
numbers = st.one_of(
    st.integers(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.decimals(allow_nan=False, allow_infinity=False, places=20).map(lambda d: RawNumber(f"{d:f}")),
    st.sampled_from(["-0", "-0.0", "1e5", "1E-400", "1.50", "0.1", "1e22", "123456789012345678901234567890"]).map(
        lambda text: RawNumber(text)
    ),
)


class RawNumber(str):
    """A number that is written as it is spelled."""


texts = st.text(max_size=8) | st.sampled_from(["2026-01-05", "12", "\0", "😀", "\u2028", "\ufeff", "}{", '"'])
leaves = st.none() | st.booleans() | numbers | texts
jsons = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3), max_leaves=8
)
columns_alike = st.sampled_from(["a", "b", "c"])
records = st.dictionaries(keys, jsons, max_size=4) | st.dictionaries(columns_alike, leaves, max_size=3)
junk = st.sampled_from(
    [
        b"",
        b"  \t",
        b"\r",
        b"null",
        b"3",
        b"[1]",
        b"{",
        b'{"a":1}{"a":2}',
        b'{"a":',
        b"1}",
        b'{"a":NaN}',
        b'{"a":-Infinity}',
        b'{"a":1e400}',
        b'{"a":"\\ud800"}',
        b'{"a":"\xff"}',
        b'{"a":1,"a":1}',
        b'{"x":{"y":1,"y":2}}',
        b'{"a":"\x01"}',
        b'{"a":01}',
        b' {"a":1} ',
        b'\xef\xbb\xbf{"a":1}',
        b'{"a":1}\r',
        b'{"a":1}\0',
        b'{"a":{}}',
        b'{"a":-0}',
        b"{}",
    ]
)


def spell(value: Any) -> str:
    if isinstance(value, RawNumber):
        return str(value)
    if isinstance(value, list):
        return f"[{','.join(map(spell, value))}]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(name)}:{spell(inner)}" for name, inner in value.items()) + "}"
    return json.dumps(value, ensure_ascii=False) if "\x7f" not in str(value) else json.dumps(value)


lines = records.map(lambda row: spell(row).encode("utf-8", "surrogatepass")) | junk


@settings(deadline=None, max_examples=300)
@given(st.lists(lines, max_size=30), st.booleans())
@example([b'{"a":{"x":1}', b'{"x":2}}', b'{"a":1}{"a":2}'], True)
def test_any_lines_come_out_as_they_were_sent(sent: list[bytes], ends: bool) -> None:
    text = b"\n".join(sent) + b"\n" * ends
    check(jsonl(text), read(text))


@settings(deadline=None, max_examples=150)
@given(st.lists(lines, min_size=1, max_size=4), st.lists(lines, max_size=6), st.integers(1, 50))
def test_odd_lines_among_many_alike_change_nothing(alike: list[bytes], odd: list[bytes], step: int) -> None:
    sent = alike * (MANY // len(alike))
    for number, line in enumerate(odd):
        sent.insert(min(len(sent), number * step), line)
    text = b"\n".join(sent)
    check(jsonl(text), read(text))


@settings(deadline=None, max_examples=150)
@given(st.binary(max_size=200), st.sampled_from(["jsonl", "csv"]))
def test_no_bytes_break_the_law(text: bytes, format: str) -> None:
    try:
        batches = read(text, declared(a="uint64", b="list<timestamp>"), format)
    except StartOver:
        assert text.startswith(b"\x1f\x8b")
        return
    except BadRun as error:
        assert format == "csv" and "names of the columns" in str(error)
        return
    for batch in batches:
        assert batch.lines == batch.rows.num_rows + len(batch.rejected) + batch.blank
    if format == "jsonl":
        check(jsonl(text.removeprefix(b"\xef\xbb\xbf")), read(text.removeprefix(b"\xef\xbb\xbf")))


@settings(deadline=None, max_examples=60)
@given(
    st.lists(records, max_size=20),
    st.lists(st.integers(1, 64), min_size=1, max_size=5),
    st.integers(0, 2),
    st.integers(16, 400),
)
def test_bytes_cut_anywhere_gzipped_any_number_of_times(
    rows: list[Any], sizes: list[int], zips: int, block: int
) -> None:
    text = b"".join(spell(row).encode("utf-8", "surrogatepass") + b"\n" for row in rows)
    landed = text
    for _ in range(zips):
        half = len(landed) // 2
        landed = gzip.compress(landed[:half]) + gzip.compress(landed[half:])
    assert b"".join(plain(cut(landed, sizes))) == text
    blocks = list(whole(plain(cut(landed, sizes)), line_end, block))
    assert b"".join(blocks) == text
    assert all(part.endswith(b"\n") for part in blocks)
    check(jsonl(text), parse(cut(landed, sizes), Scope("t"), "jsonl"))


def test_blocks_end_where_the_bytes_say_not_where_they_arrive(monkeypatch: pytest.MonkeyPatch) -> None:
    text = b"".join(b'{"n":%d,"t":"%s"}\n' % (n, b"x" * (n % 50)) for n in range(2000))
    one = list(whole([text], line_end, 1000))
    assert one == list(whole(cut(text, [7, 100, 3]), line_end, 1000))
    assert all(len(block) <= 1000 for block in one)


clocks = st.builds(
    lambda day, t, clock, zone: day + t + clock + zone,
    st.sampled_from(["2026-01-05", "2026-1-5", "0001-01-01", "9999-12-31", "2026-02-30", "0000-01-01", ""]),
    st.sampled_from([" ", "T", "", "  ", "t"]),
    st.sampled_from(
        ["", "10", "10:11", "10:11:12", "10:11:12.5", "10:11:12.123456", "10:11:12.1234567", "24:00", "9:1"]
    ),
    st.sampled_from(["", "Z", "+02:00", "-0930", "+02", "+25:00", " Z", "z"]),
)
spelled = st.sampled_from(
    ["0", "-0", "7", "007", "+7", "0x1f", "-1", "255", "256", str(2**63), str(2**64), "1.5", "1e2"]
)
scalars = (
    clocks | spelled | spelled.map(RawNumber).filter(lambda text: text[0] not in "+" and text not in ("007", "0x1f"))
)
vendors = st.none() | st.booleans() | scalars | st.just("")
EVERY = ("uint8", "uint64", "int64", "double", "bool", "date", "timestamp", "string", "list<uint64>", "list<timestamp>")


@settings(deadline=None, max_examples=300)
@given(st.sampled_from(EVERY), st.lists(vendors | st.lists(vendors, max_size=2), min_size=1, max_size=4))
def test_the_fast_and_the_slow_way_agree(type: str, sent: list[Any]) -> None:
    lines = [f'{{"v":{spell(value)}}}\n'.encode() for value in sent] * 3
    (fast,) = read(b"".join(lines), declared(v=type))
    (slow,) = read(b"".join(b" " + line for line in lines), declared(v=type))  # no line that starts so is fast
    assert fast.columns == slow.columns
    assert fast.rows == slow.rows


brackets = st.sampled_from(
    [
        b'{"v":{},"v":{}}',
        b'{"v":1,"v":"x"}',
        b'{"v":[1],"\\u0076":[2]}',
        b'{"v":[}}',
        b'{"v":[1]x}',
        b'{"v":[1]"x"}',
        b'{"v":{"v":[2]}}',
        b'{"w":{"v":[1]}}',
        b'{"w":"\\\\","v":[1]}',
        b'{"w":"\\"v\\":[1]","v":[ 1.50 , "\\u00e9/\\/" ]}',
        b'{"v":truex}',
        b'{"v":01}',
        b'{"v":1.5.3}',
        b'{"v":1e400}',
        b'{"v":[NaN]}',
        b'{"v":-0}',
        b'{"v":1E5 }',
        b'{"v":{"a":"\\ud800"}}',
        b'{"v" : [ ] }',
        b'{"v":[1]',
        b'{"v":"unclosed}',
        b'{"v":{"a":"}"}}\r',
        b'{"v":[1]}{"v":[2]}',
    ]
)
texts_known = st.sampled_from(["json", "string"]).map(lambda kind: Scope("t", (Column("v", Type(kind), "v"),)))
valued = jsons.map(lambda value: spell({"v": value, "w": value}).encode("utf-8", "surrogatepass"))


@settings(deadline=None, max_examples=300)
@given(texts_known, st.lists(valued | brackets | lines, min_size=1, max_size=6), st.integers(1, 5))
def test_values_of_a_column_that_is_text_are_cut_out_as_they_were_sent(
    scope: Scope, sent: list[bytes], times: int
) -> None:
    text = b"".join(line + b"\n" for line in sent * times)
    (fast,) = read(text, scope)
    (slow,) = read(text.replace(b"\n{", b"\n {").replace(b"{", b" {", text.startswith(b"{")), scope)  # none is fast
    check(jsonl(text), [fast])
    assert (got([fast]).rows, got([fast]).types) == (got([slow]).rows, got([slow]).types)


@pytest.mark.parametrize("kind", ["json", "string"])
@pytest.mark.parametrize("value", ['{"a":[1.50,"x"],"b":{}}', "[1,2]", "7", "1.50"])
def test_a_column_that_is_text_goes_the_fast_way(kind: str, value: str) -> None:
    known = Known.of(Scope("t", (Column("v", Type(kind), "v"),)))
    slow = Slow()
    lines = Lines.of(f'{{"n":1,"v":{value}}}\n'.encode() * MANY)
    (piece,) = read_quickly(lines, ~lines.blank, known, slow)
    assert not slow.rows
    assert piece.columns["v"][0].to_pylist() == [value] * MANY


def in_small_blocks(text: bytes, scope: Scope, monkeypatch: pytest.MonkeyPatch, size: int = 2000) -> Any:
    monkeypatch.setattr(room, "whole", lambda chunks, last_end: whole(chunks, last_end, size))
    return read(text, scope)


def test_blocks_read_side_by_side_number_rows_and_bytes_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = [b'{"n":%d}' % n for n in range(3000)]
    for n in range(0, 3000, 97):
        sent[n] = b'{"n":' + b"!" * (n % 7) + b"}" if n % 2 else b""
    text = b"\n".join(sent)
    batches = in_small_blocks(text, Scope("t"), monkeypatch)
    assert len(batches) > 10
    check(jsonl(text), batches)


def test_a_repeat_gives_the_same_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = [{"a": n} if n < 500 else {"a": str(n), "A": 1} if n < 1500 else {"a": [n]} for n in range(2000)]
    text = "\n".join(map(json.dumps, sent)).encode()
    first = in_small_blocks(text, Scope("t"), monkeypatch)
    for _ in range(5):
        again = in_small_blocks(text, Scope("t"), monkeypatch)
        assert [b.rows for b in again] == [b.rows for b in first]
        assert [b.columns for b in again] == [b.columns for b in first]


@pytest.mark.parametrize("path", NASTY, ids=lambda path: path.stem)
def test_the_corpus_of_nasty_files(path: Path) -> None:
    text = path.read_bytes()
    check(jsonl(text), read(text))


@pytest.mark.parametrize("lines", [1, MANY])
@pytest.mark.parametrize(
    ("type", "sent", "stored"),
    [
        ("uint64", "18446744073709551615", 2**64 - 1),
        ("uint64", '"18446744073709551615"', 2**64 - 1),
        ("int64", '"-5"', -5),
        ("double", "1", 1.0),
        ("double", '"0.25"', 0.25),
        ("bool", "1", True),
        ("bool", "false", False),
        ("uint8", "true", 1),
        ("string", "1.50", "1.50"),
        ("string", "12345678901234567890123", "12345678901234567890123"),
        ("string", "-0", "-0"),
        ("string", "true", "true"),
        ("date", '"2026-01-05"', date(2026, 1, 5)),
        ("timestamp", '"2026-01-05 10:11"', at(2026, 1, 5, 10, 11)),
        ("timestamp", '"2026-01-05T10:11:12.5Z"', at(2026, 1, 5, 10, 11, 12, 500000)),
        ("timestamp", '"2026-01-05 10:11:12+02:00"', at(2026, 1, 5, 8, 11, 12)),
        ("timestamp", '"2026-01-05 10:11:12.1234560"', at(2026, 1, 5, 10, 11, 12, 123456)),
        ("list<uint64>", '["18446744073709551615",1]', [2**64 - 1, 1]),
        ("list<timestamp>", '["2026-01-05 10:11:12",null]', [at(2026, 1, 5, 10, 11, 12), None]),
        ("list<uint8>", "[0,1,true]", [0, 1, 1]),
    ],
)
def test_a_declared_column_takes_its_vendors_spellings(type: str, sent: str, stored: Any, lines: int) -> None:
    batches = read(f'{{"v":{sent}}}\n'.encode() * lines, declared(v=type))
    assert values(batches, "v") == [stored] * lines
    assert type_of(batches, "v") == type


@pytest.mark.parametrize("lines", [1, MANY])
@pytest.mark.parametrize(
    ("type", "sent", "wider", "stored"),
    [
        ("uint64", '""', "string", ""),
        ("uint64", '"007"', "string", "007"),
        ("uint64", '"0x1f"', "string", "0x1f"),
        ("uint64", "-1", "decimal", Decimal(-1)),
        ("uint8", "300", "int64", 300),
        ("int64", "1.5", "double", 1.5),
        ("int64", '"1.5"', "double", 1.5),
        ("int64", '"1e2"', "double", 100.0),
        ("uint64", "0.12345678901234567891", "decimal", Decimal("0.12345678901234567891")),
        ("bool", "2", "string", "2"),
        ("date", '"2026-1-5"', "string", "2026-1-5"),
        ("date", '"2026-W01-1"', "string", "2026-W01-1"),
        ("timestamp", '"2026-01-05 10:11:12.1234567"', "string", "2026-01-05 10:11:12.1234567"),
        ("timestamp", '"0000-00-00 00:00:00"', "string", "0000-00-00 00:00:00"),
        ("timestamp", '"0000-01-01 00:00:00"', "string", "0000-01-01 00:00:00"),
        ("timestamp", "1700000000", "string", "1700000000"),
        ("list<uint64>", '{"a":[1.50]}', "json", '{"a":[1.50]}'),
        ("list<uint64>", '["x"]', "list<string>", ["x"]),
    ],
)
def test_what_a_declared_type_cannot_hold_widens_it(type: str, sent: str, wider: str, stored: Any, lines: int) -> None:
    batches = read(f'{{"v":{sent}}}\n'.encode() * lines, declared(v=type))
    assert values(batches, "v") == [stored] * lines
    assert type_of(batches, "v").split("(")[0] == wider
    assert not any(batch.rejected for batch in batches)


@pytest.mark.parametrize("lines", [1, MANY])
@pytest.mark.parametrize(
    ("sent", "type"),
    [
        (["1", "-5"], "int64"),
        ([str(2**64 - 1)], "uint64"),
        (["1", str(2**64 - 1)], "decimal"),
        (["1", "0.5"], "double"),
        ([str(2**53), "0.5"], "double"),
        ([str(2**53 + 1), "0.5"], "decimal(0.1)"),
        (["1.5", "0.12345678901234567890"], "decimal(0.19)"),
        (["1e-400"], "string"),
        (["1", '"1"'], "string"),
        (["true", "1"], "string"),
        (['"2026-01-05"'], "string"),
        (["[]", "[1]", "[null]"], "list<int64>"),
        (["[]", '[{"a":1}]', '[{"b":"x"}]'], 'list<struct<"a":int64,"b":string>>'),
        (["[]"], "list<null>"),
        (["{}"], "json"),
        (['{"a":1}', "{}"], "json"),
        (['{"a":1}', "[1]"], "json"),
        (['{"a":1}', '"x"'], "string"),
        (['{"a":1,"A":2}'], "json"),
        (["[" * 40 + "]" * 40], "json"),
        ([json.dumps({str(n): n for n in range(201)})], "json"),
        ([json.dumps({str(n): n for n in range(3)})], 'struct<"0":int64,"1":int64,"2":int64>'),
    ],
)
def test_an_undeclared_column_is_learned(sent: list[str], type: str, lines: int) -> None:
    text = "".join(f'{{"v":{value}}}\n' for value in sent).encode() * lines
    batches = read(text)
    check(jsonl(text), batches)
    assert type_of(batches, "v") == type


@pytest.mark.parametrize("lines", [1, MANY])
@pytest.mark.parametrize(
    "sent", ["[" * 1000 + "]" * 1000, '{"a":' * 1000 + "1.50" + "}" * 1000, "[" * 150 + '"]"' + "]" * 150]
)
def test_what_is_too_deep_to_unfold_is_its_own_text(sent: str, lines: int) -> None:
    batches = read(f'{{"v":{sent}}}\n'.encode() * lines)
    assert values(batches, "v") == [sent] * lines
    assert type_of(batches, "v") == "json"


@pytest.mark.parametrize(
    "inner", ["NaN", "", "1e999", '{"a":1,"a":2}', '"\\ud800"', "[}", "]"], ids=lambda inner: inner or "nothing closed"
)
def test_what_is_broken_deep_down_is_rejected(inner: str) -> None:
    closing = "]" * 200 if inner else "]" * 199
    (batch,) = read(f'{{"v":{"[" * 200}{inner}{closing}}}\n{{"v":1}}'.encode())
    assert [line.row for line in batch.rejected] == [1]


ORDINARY = b'{"n":%d,"u":"18446744073709551615","t":"2026-01-05 10:11:12","f":%d.5,"l":[1,2]}'


@pytest.mark.parametrize(
    "odd",
    [
        lambda line: line[:-9],
        lambda line: line.replace(b"[1,2]", b"[1,2"),
        lambda line: b"null",
        lambda line: line + line,
        lambda line: line.replace(b'"n":', b'"n":NaN,"m":'),
        lambda line: line.replace(b'"n":', b'"n":0.25,"m":'),
        lambda line: line.replace(b"184467", b"x84467"),
        lambda line: line.replace(b"2026", b"2O26"),
        lambda line: line.replace(b"[1,2]", b"[1,2.5]"),
        lambda line: line.replace(b".5", b".123456789012345678901"),
        lambda line: line.replace(b'"f":', b'"f":1e-400,"g":'),
        lambda line: line.replace(b"2026", b"\xff"),
        lambda line: line.replace(b'{"n"', b'{"new %d":{},"n"' % len(line)),
        lambda line: line.replace(b"[1,2]", b"{}"),
        lambda line: b" " + line,
    ],
)
def test_odd_lines_are_read_slowly_and_no_others(odd: Any) -> None:
    sent = [ORDINARY % (n, n) for n in range(5000)]
    for n in range(250, 5000, 500):
        sent[n] = odd(sent[n])
    known = Known.of(declared(n="int64", u="uint64", t="timestamp"))
    lines, slow = Lines.of(b"\n".join(sent)), Slow()
    try:
        pieces = read_quickly(lines, ~lines.blank, known, slow)
    except Unspelled as error:  # a time that is none: its column is text from the start of the block
        slow = Slow()
        pieces = read_quickly(lines, ~lines.blank, known.told(error.types, error.mixed), slow)
    read_slowly = [*slow.rows, *slow.refused]
    assert len(read_slowly) <= 250
    assert sorted([*read_slowly, *(line for piece in pieces for line in piece.lines.tolist())]) == [*range(5000)]


def test_only_nulls_are_told_apart() -> None:
    (batch,) = read(b'{"a":null,"u":null}\n{"a":null}\n', declared(u="uint64"))
    assert [column.name for column in batch.nulls] == ["a"]
    assert [str(column.type) for column in batch.columns] == ["uint64"]
    assert batch.rows.num_rows == 2


@pytest.mark.parametrize("lines", [1, MANY])
@pytest.mark.parametrize(
    "sent", ['{"g.a":[1],"g.b":["x"]}', '{"g":{"a":[1],"b":["x"]}}', '{"g":{"a":["1"]},"g.b":["x"]}']
)
def test_a_declared_group_comes_dotted_or_nested(sent: str, lines: int) -> None:
    scope = declared(**{"g.a": "list<uint64>", "g.b": "list<string>"})
    batches = read(f"{sent}\n".encode() * lines, scope)
    assert values(batches, "g.a") == [[1]] * lines
    assert values(batches, "g.b") == [["x"]] * lines
    assert {column.name for batch in batches for column in batch.columns} == {"g.a", "g.b"}


def test_a_field_of_a_group_that_becomes_text_in_the_middle_of_a_block() -> None:
    sent = ['{"g":{"a":-5}}', '{"g":{"a":"7"}}', '{"g":{"a":1.50}}', '{"g.a":[1]}', '{"g":{"a":"x"}}']
    batches = read("\n".join(sent * MANY).encode(), declared(**{"g.a": "timestamp"}))
    assert values(batches, "g.a") == ["-5", "7", "1.50", "[1]", "x"] * MANY


@pytest.mark.parametrize("lines", [1, MANY])
def test_digits_behind_the_point_are_counted_alike_on_either_way(lines: int) -> None:
    text = b'{"v":0.12345}\n' * lines + b'{"v":9007199254740993}\n'
    assert type_of(read(text), "v") == "decimal(0.5)"


def test_a_group_that_comes_both_ways_at_once_is_a_key_given_twice() -> None:
    (batch,) = read(b'{"g.a":1,"g":{"a":2}}\n' * MANY, declared(**{"g.a": "int64"}))
    assert len(batch.rejected) == MANY


def test_a_key_that_only_few_late_lines_have_and_only_as_null_is_a_column() -> None:
    sent = [ORDINARY % (n, n) for n in range(5000)]
    sent[4000] = b'{"late":null,' + sent[4000][1:]
    sent[4500] = b'{"later":null,"new":1,' + sent[4500][1:]
    (batch,) = read(b"\n".join(sent))
    assert {column.name for column in batch.nulls} == {"late", "later"}
    check(jsonl(b"\n".join(sent)), [batch])


def test_odd_times_among_many_cost_themselves() -> None:
    usual, odd = (
        '"2026-01-05 10:11:12"',
        ['"2026-01-05T10:11:12Z"', '"2026-02-30 00:00:00"', '"2026-01-05"', "null", '"x"'],
    )
    sent = ([usual] * 1000 + [odd[0]]) * 2
    batches = read("".join(f'{{"v":{value}}}\n' for value in sent).encode(), declared(v="timestamp"))
    assert values(batches, "v") == [at(2026, 1, 5, 10, 11, 12)] * len(sent)
    sent = [*([usual] * 100), *odd] * 10
    batches = read("".join(f'{{"v":{value}}}\n' for value in sent).encode(), declared(v="timestamp"))
    assert values(batches, "v") == [json.loads(value) for value in sent]


def test_an_undeclared_object_stays_a_struct() -> None:
    batches = read(b'{"g":{"a":1}}\n', declared(**{"h.a": "int64"}))
    assert values(batches, "g") == [{"a": 1}]


@pytest.mark.parametrize("name", ["", "_syncd_run", "_SYNCD_x", "n\0l"])
def test_a_name_that_cannot_be_one_gets_one_by_rule(name: str) -> None:
    (batch,) = read(f"{{{json.dumps(name)}:1}}".encode())
    (again,) = read(f'{{"other":2,{json.dumps(name)}:1}}'.encode())
    assert batch.columns[0].source_name == name
    assert batch.columns[0].name == again.columns[1].name != name
    assert "\0" not in batch.columns[0].name and batch.columns[0].name


def test_names_equal_but_for_case_are_two_columns_and_the_scopes_keep_theirs() -> None:
    scope = Scope("t", (Column("a_x", Type("int64"), "A"), Column("a", Type("int64"), "a")))
    (batch,) = read(b'{"A":1,"a":2}\n', scope)
    assert [(column.name, column.source_name) for column in batch.columns] == [("a_x", "A"), ("a", "a")]


@pytest.mark.parametrize("odd", ["1.50", "-0", "true", "[ 1.0 ]", '{"v":"x"}', '"x"', "12345678901234567890123"])
@pytest.mark.parametrize("usual", ['"%s"', "%s"])
@pytest.mark.parametrize("size", [1 << 10, 1 << 20])
def test_rare_odd_values_of_a_text_column_show_what_was_sent(odd: str, usual: str, size: int) -> None:
    sent = [odd if n % 75 == 9 else "null" if n % 7 == 1 else usual % n for n in range(MANY)]
    lines = [f'{{"v":{value}}}\n' for value in sent]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(room, "whole", lambda chunks, last_end: whole(chunks, last_end, size))
        batches = read("".join(lines).encode(), declared(v="timestamp"))
    assert values(batches, "v") == [None if value == "null" else value.strip('"').replace(" ", "") for value in sent]


@pytest.mark.parametrize("order", [1, -1])
def test_which_of_two_new_names_is_kept_is_told_by_the_names_and_not_by_the_way_a_line_went(order: int) -> None:
    (slow, fast) = (b' {"a":1}\n', b'{"A":2}\n' * MANY)
    (batch,) = read(b"".join([slow, fast][::order]))
    assert {column.source_name: column.name for column in batch.columns} == {"A": "A", "a": "a_ca978112"}


@pytest.mark.parametrize("numbers", [["0.5", '"1.5"'], ['"1.5"', "0.5"]])
@pytest.mark.parametrize("size", [1, 20, 200])
def test_a_quoted_fraction_in_a_column_of_integers_is_a_number_wherever_blocks_end(
    numbers: list[str], size: int
) -> None:
    lines = [f'{{"v":{number}}}\n'.encode() for number in (*numbers * 8, *["7"] * 20)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(room, "whole", lambda chunks, last_end: whole(chunks, last_end, size))
        batches = read(b"".join(lines), declared(v="int64"))
    assert [float(value) for value in values(batches, "v")] == [
        *[float(n.strip('"')) for n in numbers] * 8,
        *[7.0] * 20,
    ]
    assert type_of(batches, "v").startswith("double")


def test_thousands_of_columns_and_a_key_of_ten_thousand_characters() -> None:
    row = {f"column {n}": n for n in range(5000)} | {"k" * 10_000: "v"}
    text = (json.dumps(row) + "\n").encode() * 20
    check(jsonl(text), read(text))


def test_a_line_of_64_megabytes() -> None:
    text = b'{"a":"short"}\n{"a":"' + b"x" * (64 << 20) + b'"}\n{"a":"after"}\n'
    found = [value for batch in read(gzip.compress(text, 1)) for value in batch.rows.column("a").to_pylist()]
    assert [len(value) for value in found] == [5, 64 << 20, 5]


def test_an_endless_line_is_a_bad_run() -> None:
    with pytest.raises(BadRun, match="more than"):
        list(parse((b"x" * (1 << 24) for _ in range(20)), Scope("t"), "jsonl"))


@pytest.mark.parametrize(
    "damage",
    [
        lambda z: z[:-1],
        lambda z: z[: len(z) // 2],
        lambda z: z[:3],
        lambda z: z[: len(z) // 2] + b"\xff\xff\xff" + z[len(z) // 2 + 3 :],
        lambda z: z[:-8] + b"1234" + z[-4:],
        lambda z: z + b"garbage",
        lambda z: z + z[:-4],
    ],
)
def test_damaged_gzip_is_tried_again(damage: Any) -> None:
    text = "".join(f'{{"n":{n}}}\n' for n in range(5000)).encode()
    with pytest.raises(StartOver, match="gzip"):
        read(damage(gzip.compress(text)))


def test_members_and_padding_are_read_to_the_end() -> None:
    member = gzip.compress(b'{"n":1}\n')
    assert values(read(member + member + b"\0" * 600), "n") == [1, 1]
    assert read(gzip.compress(b"")) == read(b"") == []


def test_a_format_without_reader_is_a_bad_run() -> None:
    with pytest.raises(BadRun, match="xml"):
        read(b"", format="xml")
