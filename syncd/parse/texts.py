"""A column of CSV texts under its declared type: whole columns at once where they are plain, else value by value."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from syncd.model import Column
from syncd.parse import jsonl
from syncd.parse.arraytext import json_of
from syncd.parse.columns import Known
from syncd.parse.settle import settle
from syncd.parse.values import Refused, as_column, decode, number_in, type_of_all
from syncd.parse.width import TooWide
from syncd.types import BOOL, INTS, NULL, STRING, TEXTS, TIMESTAMP, Type, arrow, join

Typed = tuple[pa.Array | None, Type]
TRUE, FALSE = pa.array(["1", "true"]), pa.array(["0", "false"])


def typed(array: pa.Array, guide: Type, *, empty_is_null: bool) -> Typed:
    """The texts as the type that holds them all: `guide`, if its spellings do."""
    if empty_is_null:
        empty = pc.equal(array, "")
        array = pc.if_else(empty, pa.scalar(None, pa.string()), array) if pc.any(empty).as_py() else array
    if array.null_count == len(array):
        return None, NULL
    if guide.kind in TEXTS:
        return array, STRING
    quick = _nested(array, guide) if guide.kind in ("list", "struct") else _plain(array, guide)
    return quick or _each(array, guide)


def _plain(array: pa.Array, guide: Type) -> Typed | None:
    """Scalars all at once; None where one of them is not spelled as the type's own."""
    try:
        if guide.kind in (*INTS, "date", "double"):
            settled = settle(array, guide)
            if settled.doubt is None and settled.type.kind == guide.kind:
                return settled.array, settled.type
        elif guide.kind == "timestamp":
            settled = settle(_instants(array), guide)
            if settled.doubt is None:
                return settled.array, TIMESTAMP
        elif guide.kind == "bool":
            true, known = pc.is_in(array, TRUE), pc.is_in(array, pa.chunked_array([TRUE, FALSE]).combine_chunks())
            if pc.all(pc.or_(known, array.is_null())).as_py():
                return pc.if_else(array.is_valid(), true, None), BOOL
    except pa.ArrowInvalid:
        pass
    return None


def _instants(array: pa.Array) -> pa.Array:
    try:
        return array.cast(pa.timestamp("us"))
    except pa.ArrowInvalid:
        return array.cast(pa.timestamp("us", "UTC")).cast(pa.timestamp("us"))


def _nested(array: pa.Array, guide: Type) -> Typed | None:
    """Each different text read as JSON, or as ClickHouse writes an array; None where one is neither."""
    coded = array.dictionary_encode()
    texts = coded.dictionary
    spelled = pc.if_else(
        pc.match_substring_regex(texts, r'["\\]|NULL|^[^\[{]'), texts, pc.replace_substring(texts, "'", '"')
    )
    values = _as_json(spelled, guide) or _as_json(_one_by_one(texts), guide)
    return None if values is None else (pc.take(values[0], coded.indices), values[1])


def _one_by_one(texts: pa.Array) -> pa.Array:
    return pa.array([json_of(text) or text.replace("\n", " ") for text in texts.to_pylist()], pa.string())


def _as_json(texts: pa.Array, guide: Type) -> Typed | None:
    lines = pc.binary_join_element_wise('{"v":', texts, "}\n", "")
    if pc.any(pc.match_substring(texts, "\n")).as_py():
        return None
    _, offsets, text = lines.buffers()
    starts = np.frombuffer(offsets, np.int32)[lines.offset : lines.offset + len(lines) + 1]
    block = memoryview(text)[starts[0] : starts[-1]].tobytes()
    try:
        found = jsonl.parse_block(block, Known({"v": Column("v", guide, "v", "declared")}))
    except TooWide:
        return None
    if found.rejected or found.blank or [*found.columns] != ["v"]:
        return None
    values, t = found.columns["v"]
    return None if values is None or t.kind != guide.kind else (values, t)


def _each(array: pa.Array, guide: Type) -> Typed:
    """Value by value; the texts themselves where only text holds them all."""
    values = [None if text is None else _value(text, guide) for text in array.to_pylist()]
    t = join(guide, type_of_all(values, guide))
    if t.kind in ("string", "json"):
        return array, STRING
    return pa.array(as_column(values, t), arrow(t)), t


def _value(text: str, guide: Type) -> Any:
    """A text as the JSON value it stands for under a declared type."""
    if guide.kind in ("bool", "uint8") and text in ("true", "false"):
        return text == "true"
    if guide.kind in (*INTS, "double", "decimal") or (guide.kind == "bool" and text in ("0", "1")):
        return number_in(text) or text
    if guide.kind in ("list", "struct"):
        try:
            return decode(json_of(text) or text)
        except Refused:
            return text
    return text
