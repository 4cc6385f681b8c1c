"""What pyarrow read, under the type that the slow way would give it, and the rows that it can't vouch for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from syncd.parse.lines import Flags, Indices
from syncd.parse.values import WHOLE, date_in, number_in
from syncd.types import (
    BOOL,
    DATE,
    ENOUGH,
    INTS,
    MAX_EXACT,
    NULL,
    STRING,
    TIMESTAMP,
    Type,
    arrow,
    fraction_type,
    int_range,
    int_type,
    join,
    list_of,
    struct_of,
)


@dataclass(slots=True)
class Settled:
    """`array` is None where all is null. `doubt` marks rows to read slowly, None where there are none."""

    array: pa.Array | None
    type: Type
    doubt: Flags | None = None


def settle(array: pa.Array, guide: Type) -> Settled:
    """An array as pyarrow read it, as its type stores it."""
    if array.null_count == len(array):
        return Settled(None, NULL)
    kind = array.type
    if pa.types.is_list(kind):
        return _list(array, guide)
    if pa.types.is_struct(kind):
        return _struct(array, guide)
    if pa.types.is_integer(kind):
        return _integers(array, guide)
    if pa.types.is_floating(kind):
        return _doubles(array)
    if pa.types.is_boolean(kind):
        return Settled(array.cast(pa.uint8()), Type("uint8", 1)) if guide.kind == "uint8" else Settled(array, BOOL)
    if pa.types.is_timestamp(kind):
        return Settled(array, TIMESTAMP, _some(pc.less(array, _FIRST_DAY)))
    return _strings(array, guide)


_FIRST_DAY = pa.scalar(datetime(1, 1, 1), pa.timestamp("us"))  # noqa: DTZ001  # naive UTC, as stored


def _some(mask: pa.Array) -> Flags | None:
    """Nulls are no doubt."""
    flags: Flags = mask.fill_null(False).to_numpy(zero_copy_only=False)
    return flags if flags.any() else None


def _integers(array: pa.Array, guide: Type) -> Settled:
    low, high = (end.as_py() for end in pc.min_max(array).values())
    if guide.kind == "bool":
        return Settled(array.cast(pa.bool_()), BOOL, _some(pc.greater(array, 1)) if high > 1 else None)
    declared = guide.kind if guide.kind in INTS else ""
    t = join(int_type(low, low, declared), int_type(high, high, declared))
    return Settled(array.cast(arrow(t)), t)


def _doubles(array: pa.Array) -> Settled:
    values: np.ndarray[Any, np.dtype[np.float64]] = array.drop_null().to_numpy(zero_copy_only=False)
    sizes = np.abs(values)
    if not np.isfinite(values).all() or (sizes >= MAX_EXACT).any():
        doubt = _some(pc.or_(pc.invert(pc.is_finite(array)), pc.greater_equal(pc.abs(array), float(MAX_EXACT))))
        return Settled(array, Type("double"), doubt)
    whole = len(str(int(sizes.max())))
    return Settled(array, fraction_type(whole if sizes.max() >= 1 else 0, _scale(values), True))


def _scale(values: np.ndarray[Any, np.dtype[np.float64]]) -> int:
    """The most digits behind the point that the shortest spellings have."""
    for scale in (0, 1, 2, 3, 4, 6):
        if (np.abs(values).max() < 1e9) and (np.round(values, scale) == values).all():
            return scale
    exponents = (-int(Decimal(repr(value)).normalize().as_tuple().exponent) for value in set(values.tolist()))
    return min(ENOUGH, max(0, *exponents, 0))


def _strings(array: pa.Array, guide: Type) -> Settled:
    if guide.kind in INTS:
        return _spelled_integers(array, guide)
    if guide.kind == "date":
        try:
            return Settled(array.cast(pa.date32()), DATE)
        except pa.ArrowInvalid:
            return Settled(array, STRING, _unlike(array, lambda text: date_in(text) is not None))
    return Settled(array, STRING)


def _spelled_integers(array: pa.Array, guide: Type) -> Settled:
    try:
        numbers = array.cast(arrow(guide))
    except pa.ArrowInvalid:
        low, high = int_range(guide.kind)
        return Settled(array, STRING, _unlike(array, lambda text: _is_whole(text, low, high)))
    settled = _integers(numbers, guide)
    settled.doubt = _some(pc.not_equal(numbers.cast(pa.string()), array))  # 007, 0x1f
    return settled


def _is_whole(text: str, low: int, high: int) -> bool:
    return len(text) < 40 and text != "-0" and bool(WHOLE.fullmatch(text)) and low <= int(text) <= high


def _unlike(array: pa.Array, is_like: Any) -> Flags:
    return np.array([text is not None and not is_like(text) for text in array.to_pylist()], np.bool_)


def _list(array: pa.Array, guide: Type) -> Settled:
    if array.offset:
        array = pa.concat_arrays([array])
    inner = settle(array.values, guide.element if guide.kind == "list" else NULL)
    values = pa.nulls(len(array.values), pa.string()) if inner.array is None else inner.array
    mask = array.is_null() if array.null_count else None
    t = list_of(inner.type)
    whole = pa.ListArray.from_arrays(array.offsets, values, type=arrow(t), mask=mask)
    if inner.doubt is None:
        return Settled(whole, t)
    doubt = np.zeros(len(array), np.bool_)
    bad = np.flatnonzero(inner.doubt)
    doubt[np.searchsorted(array.offsets.to_numpy(), bad, side="right") - 1] = True
    return Settled(whole, t, doubt)


def _struct(array: pa.Array, guide: Type) -> Settled:
    known = dict(guide.fields) if guide.kind == "struct" else {}
    names = [field.name for field in array.type]
    parts = {name: settle(child, known.get(name, NULL)) for name, child in zip(names, array.flatten(), strict=True)}
    t = struct_of({name: part.type for name, part in parts.items()})
    empty = array.is_valid().to_numpy(zero_copy_only=False)  # {} is an object without fields, not one of nulls
    doubts = np.zeros(len(array), np.bool_)
    for child, part in zip(array.flatten(), parts.values(), strict=True):
        empty &= child.is_null().to_numpy(zero_copy_only=False)
        doubts |= part.doubt if part.doubt is not None else False
    doubts |= empty
    arrays = [_stored(parts[name], len(array)) for name, _ in t.fields]
    mask = array.is_null() if array.null_count else None
    whole = pa.StructArray.from_arrays(arrays, fields=list(arrow(t)), mask=mask)
    return Settled(whole, t, doubts if doubts.any() else None)


def _stored(part: Settled, length: int) -> pa.Array:
    return pa.nulls(length, pa.string()) if part.array is None else part.array


_DIGIT = np.zeros(256, np.bool_)
_DIGIT[48:58] = True
_TOKEN = re.compile(rb"[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
SAFE_DIGITS = 15  # so many significant digits survive in a double


def inexact_numbers(block: bytes) -> Indices:
    """Where the block spells a fraction that is not equal to its double's shortest spelling; perhaps inside text."""
    data = np.frombuffer(block, np.uint8)
    starts = [_long_fractions(data), _powers(data)]
    return np.array([at for at in np.concatenate(starts).tolist() if not _is_exact(block, at)], np.int64)


def _long_fractions(data: np.ndarray[Any, np.dtype[np.uint8]]) -> Indices:
    """Starts of numbers with a point and more digits than surely survive."""
    points = _inside(np.flatnonzero(data == ord(".")), len(data))
    points = points[_DIGIT[data[points - 1]] & _DIGIT[data[points + 1]]]
    left = _run(data, points, -1)
    digits = left + _run(data, points, 1)
    return (points - left)[digits > SAFE_DIGITS]


def _powers(data: np.ndarray[Any, np.dtype[np.uint8]]) -> Indices:
    """Starts of numbers with an exponent. A number stands behind a colon, a comma, a bracket, a sign or a space."""
    marks = _inside(np.flatnonzero((data | 32) == ord("e")), len(data))
    marks = marks[_DIGIT[data[marks - 1]] & (_DIGIT[data[marks + 1]] | np.isin(data[marks + 1], [43, 45]))]
    starts = marks - _run(data, marks, -1)
    pointed = data[np.maximum(starts - 1, 0)] == ord(".")
    starts[pointed] -= 1
    starts[pointed] -= _run(data, starts[pointed], -1)
    return starts[np.isin(data[np.maximum(starts - 1, 0)], list(b":,[- \t"))]


def _inside(positions: Indices, length: int) -> Indices:
    return positions[(positions > 0) & (positions < length - 1)]


def _run(data: np.ndarray[Any, np.dtype[np.uint8]], positions: Indices, step: int) -> Indices:
    """How many digits follow each position in that direction."""
    count = np.zeros(len(positions), np.int64)
    going = np.arange(len(positions))
    while len(going):
        at = positions[going] + step * (count[going] + 1)
        inside = (at >= 0) & (at < len(data))
        going = going[inside][_DIGIT[data[at[inside]]]]
        count[going] += 1
    return count


def _is_exact(block: bytes, at: int) -> bool:
    match = _TOKEN.match(block, at)
    assert match
    text = match[0].decode()
    value = float(text)
    number = number_in(text)
    return repr(value) == text or (number is not None and Decimal(text) == Decimal(repr(value)))
