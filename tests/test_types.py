"""Joins in any order give one type, and what DuckDB shows under it is what was stored."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.types import (
    INTS,
    JSON,
    NULL,
    STRING,
    Type,
    arrow,
    cast_sql,
    fraction_type,
    int_type,
    join,
    join_all,
    list_of,
    sql,
    struct_of,
)

NAMES = st.sampled_from(["a", "A", "b", 'q"\\', "é", "x y", "<,>:", ""])
NUMBERS = st.one_of(
    st.sampled_from(sorted(INTS)).map(Type),
    st.integers(-(10**40), 10**40).map(lambda n: int_type(n, n)),
    st.integers(-(2**60), 2**60).map(lambda n: int_type(n, n)),
    st.builds(fraction_type, st.integers(0, 45), st.integers(0, 45), st.booleans()),
)
SCALARS = st.one_of(st.sampled_from(["null", "bool", "string", "json", "date", "timestamp"]).map(Type), NUMBERS)
TYPES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(inner.map(list_of), st.dictionaries(NAMES, inner, max_size=3).map(struct_of)),
    max_leaves=6,
)


@given(TYPES)
def test_a_type_survives_as_text(t: Type) -> None:
    assert Type.parse(str(t)) == t
    assert hash(Type.parse(str(t))) == hash(t)


@pytest.mark.parametrize("text", ["", "int", "int64(", "list<int64", "struct<>", 'struct<"a"int64>', "int64 ", "x"])
def test_other_text_is_no_type(text: str) -> None:
    with pytest.raises(ValueError, match="no type"):
        Type.parse(text)


@given(TYPES, TYPES, TYPES)
def test_joins_in_any_order_agree(a: Type, b: Type, c: Type) -> None:
    assert join(a, b) == join(b, a)
    assert join(join(a, b), c) == join(a, join(b, c))
    assert join(a, a) == a == join(a, NULL)
    assert join(join(a, b), b) == join(a, b)


def number(text: str) -> Type:
    if "." not in text:
        return int_type(int(text), int(text))
    value = Decimal(text)
    _, digits, exponent = value.as_tuple()
    assert isinstance(exponent, int)
    whole = max(0, len(digits) + exponent)
    return fraction_type(whole, -exponent, Decimal(repr(float(text))) == value)


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        (["1", "-5"], "BIGINT"),
        ([str(2**64 - 1)], "UBIGINT"),
        (["1", str(2**64 - 1)], "DECIMAL(38,0)"),
        (["1", "0.5"], "DOUBLE"),
        ([str(2**53), "0.5"], "DOUBLE"),
        ([str(2**53 + 1), "0.5"], "DECIMAL(38,1)"),
        (["1", "0.123456789012345678901234567891"], "DECIMAL(38,30)"),
        ([str(10**37), "0.25"], "VARCHAR"),
        ([str(10**38)], "VARCHAR"),
        (["0.5", str(2**64), "1"], "DECIMAL(38,1)"),
    ],
)
def test_numbers_widen_as_far_as_they_must(values: list[str], shown: str) -> None:
    assert sql(join_all(map(number, values))) == shown


@pytest.mark.parametrize(
    ("a", "b", "shown"),
    [
        (Type("uint8"), Type("int8"), "SMALLINT"),
        (Type("uint64"), Type("int64"), "DECIMAL(38,0)"),
        (Type("bool"), Type("int64"), "VARCHAR"),
        (Type("date"), Type("timestamp"), "VARCHAR"),
        (list_of(NULL), list_of(struct_of({"a": Type("int64")})), 'STRUCT("a" BIGINT)[]'),
        (list_of(NULL), struct_of({"a": Type("int64")}), "VARCHAR"),
        (struct_of({"a": Type("int64")}), struct_of({"b": STRING}), 'STRUCT("a" BIGINT, "b" VARCHAR)'),
        (struct_of({"a": Type("int64")}), struct_of({"A": Type("int64")}), "VARCHAR"),
        (NULL, NULL, "VARCHAR"),
    ],
)
def test_other_kinds_join(a: Type, b: Type, shown: str) -> None:
    assert sql(join(a, b)) == shown


def test_an_object_that_no_struct_can_name_is_json() -> None:
    assert struct_of({}) == struct_of({"": STRING}) == struct_of({"a": STRING, "A": STRING}) == JSON
    assert struct_of({str(n): STRING for n in range(201)}) == JSON
    assert struct_of({str(n): STRING for n in range(200)}).kind == "struct"


INT, BIG, HALF = Type("int64", 2), Type("uint64", 20, wide=True), Type("double", 1, 1)
MONEY = Type("decimal", 20, 2, wide=True)
PAIR = struct_of({"a": INT, "it's": STRING})
CASES: list[tuple[Type, Any, Type, Any]] = [
    (INT, 7, Type("double", 2, 1), 7.0),
    (INT, -7, Type("decimal", 20, 0, wide=True), Decimal(-7)),
    (BIG, 2**64 - 1, Type("decimal", 20, 2, wide=True), Decimal(2**64 - 1)),
    (BIG, 2**64 - 1, STRING, "18446744073709551615"),
    (HALF, 0.1, MONEY, Decimal("0.10")),
    (Type("double", 0, 7), 1e-7, Type("decimal", 20, 7, wide=True), Decimal("1E-7")),
    (HALF, 0.1, STRING, "0.1"),
    (HALF, 5.0, STRING, "5"),
    (HALF, 1e22, STRING, "1e+22"),
    (HALF, -100.0, STRING, "-100"),
    (list_of(HALF), [5.0, 0.5], STRING, "[5,0.5]"),
    (struct_of({"a": list_of(HALF)}), {"a": [20.0, None]}, JSON, '{"a":[20,null]}'),
    (MONEY, Decimal("5.00"), STRING, "5"),
    (MONEY, Decimal("12345678901234567890.12"), STRING, "12345678901234567890.12"),
    (Type("bool"), True, STRING, "true"),
    (list_of(NULL), [], list_of(PAIR), []),
    (list_of(NULL), [None], list_of(INT), [None]),
    (list_of(INT), [1, None], list_of(STRING), ["1", None]),
    (list_of(HALF), [0.1, None], list_of(MONEY), [Decimal("0.10"), None]),
    (list_of(INT), [1], STRING, "[1]"),
    (list_of(MONEY), [Decimal("12345678901234567890.12"), None], STRING, "[12345678901234567890.12,null]"),
    (PAIR, {"a": 1, "it's": "x"}, JSON, '{"a":1,"it\'s":"x"}'),
    (PAIR, {"a": 1, "it's": "x"}, join(PAIR, struct_of({"b": INT})), {"a": 1, "b": None, "it's": "x"}),
    (list_of(PAIR), [{"a": 1, "it's": "x"}, None], list_of(JSON), ['{"a":1,"it\'s":"x"}', None]),
    (
        list_of(PAIR),
        [{"a": 1, "it's": "x"}, None],
        list_of(join(PAIR, struct_of({"a": HALF, "b": INT}))),
        [{"a": 1.0, "b": None, "it's": "x"}, None],
    ),
    (
        struct_of({"deep": list_of(list_of(struct_of({"m": MONEY})))}),
        {"deep": [[{"m": Decimal("12345678901234567890.12")}], None, []]},
        STRING,
        '{"deep":[[{"m":12345678901234567890.12}],null,[]]}',
    ),
    (struct_of({"j": JSON, "m": STRING}), {"j": '{"x":1}', "m": '"'}, JSON, '{"j":{"x":1},"m":"\\""}'),
    (
        struct_of({"deep": list_of(list_of(PAIR))}),
        {"deep": [[{"a": 1, "it's": "x"}], None, []]},
        struct_of({"deep": list_of(list_of(join(PAIR, struct_of({"a": STRING}))))}),
        {"deep": [[{"a": "1", "it's": "x"}], None, []]},
    ),
]


@pytest.mark.parametrize(("stored", "value", "shown", "expected"), CASES)
def test_stored_values_show_unchanged(
    stored: Type, value: object, shown: Type, expected: object, tmp_path: Path
) -> None:
    file = tmp_path / "stored.parquet"
    pq.write_table(pa.table({"v": pa.array([value, None], arrow(stored))}), file)
    with duckdb.connect() as duck:
        duck.execute(f"CREATE VIEW shown AS SELECT {cast_sql('v', stored, shown)} AS v FROM '{file}'")
        assert duck.execute("SELECT typeof(v) FROM shown LIMIT 1").fetchone() == (
            duck.execute(f"SELECT typeof(NULL::{sql(shown)})").fetchone()
        )
        assert duck.execute("SELECT v FROM shown").fetchall() == [(expected,), (None,)]
