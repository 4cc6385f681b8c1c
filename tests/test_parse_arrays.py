"""A column of arrays, read at once, is what the value-by-value way makes of it."""

from __future__ import annotations

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from syncd.parse import texts
from syncd.types import Type, arrow, join

KINDS = ["string", "timestamp", "date", "uint8", "int64", "uint64", "double", "bool", "decimal"]
ELEMENTS = [
    "'a'",
    "''",
    "'it\\'s'",
    "'it''s'",
    "'a\",b'",
    "'['",
    "'\\\\'",
    "'🎈'",
    "'7'",
    "'007'",
    "'true'",
    "'2026-01-05'",
]
ELEMENTS += ["'2026-01-05 10:11:12'", "NULL", "0", "7", "-7", "-0", "007", "1.5", "0.1e1", "18446744073709551615"]
ELEMENTS += ["true", "2026-01-05", "[1]", "['a']", '"a"', "", " 1", "'a' ", "\\N", "'"]
alike = st.sampled_from(ELEMENTS).flatmap(lambda one: st.lists(st.just(one), max_size=4))
arrays = st.one_of(alike, st.lists(st.sampled_from(ELEMENTS), max_size=4)).map(lambda inner: f"[{','.join(inner)}]")
rows = arrays | st.sampled_from(["", "[", "]", "'", "[]", "[[]]", "a", "['a','b'", "'a','b']", "['a']['b']"])


@settings(deadline=None, max_examples=500)
@given(st.lists(rows | st.none(), max_size=12), st.sampled_from(KINDS), st.integers(0, 2))
def test_lists_are_those_read_one_by_one(sent: list[str | None], kind: str, behind: int) -> None:
    guide = Type.parse(f"list<{kind}>")
    array = pa.array([*["[skipped]"] * behind, *sent], pa.string()).slice(behind)
    found, t = texts.typed(array, guide, empty_is_null=True)
    nulled = pa.array([text or None for text in sent], pa.string())
    if nulled.null_count == len(nulled):
        assert found is None
        return
    expected, wanted = texts._each(nulled, guide)
    assert join(guide, t).plain == wanted.plain
    assert found is not None
    assert found.cast(arrow(wanted)).equals(expected)
