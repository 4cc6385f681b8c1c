"""What pyarrow read, under the type that the slow way would give it, and the rows that it can't vouch for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from syncd.parse.lines import Flags, Indices
from syncd.parse.values import WHOLE, date_in, time_in
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

Bytes = np.ndarray[Any, np.dtype[np.uint8]]


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
        return Settled(array, TIMESTAMP, _beyond(array))
    return _strings(array, guide)


FIRST = pa.scalar(datetime(1, 1, 1), pa.timestamp("us"))  # noqa: DTZ001  # naive UTC, as stored
LAST = pa.scalar(datetime(9999, 12, 31, 23, 59, 59, 999999), pa.timestamp("us"))  # noqa: DTZ001


def _beyond(times: pa.Array) -> Flags | None:
    """Years that only pyarrow knows."""
    return _some(pc.or_(pc.less(times, FIRST), pc.greater(times, LAST)))


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
    for scale in range(7):
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
    if guide.kind == "timestamp":
        return _spelled_times(array)
    if guide.kind == "double":
        return _spelled_doubles(array)
    if guide.kind in ("bool", "decimal"):  # a number in quotes, perhaps
        return Settled(array, STRING, _some(array.is_valid()))
    return Settled(array, STRING)


EXACT_LENGTH = 16  # characters: 15 digits and a point survive in a double


def _spelled_doubles(array: pa.Array) -> Settled:
    is_short = pc.less_equal(pc.binary_length(array), EXACT_LENGTH)
    plain = pc.and_(is_short, pc.match_substring_regex(array, r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?$"))
    if not pc.any(plain).as_py():
        return Settled(array, STRING, _some(array.is_valid()))
    if pc.all(plain).as_py():
        return _doubles(array.cast(pa.float64()))
    settled = _doubles(pc.if_else(plain, array, pa.scalar(None, pa.string())).cast(pa.float64()))
    others = pc.invert(plain) if settled.doubt is None else pc.or_(pc.invert(plain), pa.array(settled.doubt))
    return Settled(settled.array, settled.type, _some(others))


_USUAL_TIME = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[ T][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?$"


def _spelled_times(array: pa.Array) -> Settled:
    for zone in (None, "UTC"):
        try:
            times = array.cast(pa.timestamp("us", zone)).cast(pa.timestamp("us"))
            return Settled(times, TIMESTAMP, _beyond(times))
        except pa.ArrowInvalid:
            continue
    times = _times_one_by_one(array)
    return Settled(times, TIMESTAMP, _some(pc.and_(times.is_null(), array.is_valid())))


def _times_one_by_one(array: pa.Array) -> pa.Array:
    """The instants that the texts spell, NULL where they spell none; at once for those in the vendors' usual form."""
    usual = pc.match_substring_regex(array, _USUAL_TIME)
    try:
        times = pc.if_else(usual, array, pa.scalar(None, pa.string())).cast(pa.timestamp("us"))
    except pa.ArrowInvalid:  # 30 February
        usual = pc.and_(usual, False)
        times = pa.nulls(len(array), pa.timestamp("us"))
    others = pc.and_(array.is_valid(), pc.invert(usual)).fill_null(False)
    found = [time_in(text) for text in array.filter(others).to_pylist()]
    return pc.replace_with_mask(times, others, pa.array(found, pa.timestamp("us")))


def _spelled_integers(array: pa.Array, guide: Type) -> Settled:
    try:
        numbers = array.cast(arrow(guide))
    except pa.ArrowInvalid:
        low, high = int_range(guide.kind)
        return Settled(array, STRING, _unlike(array, lambda text: _is_whole(text, low, high)))
    settled = _integers(numbers, guide)
    if not _all_plain(array):
        settled.doubt = _some(pc.not_equal(numbers.cast(pa.string()), array))  # 007, 0x1f
    return settled


def _all_plain(array: pa.Array) -> bool:
    """Whether every text is digits without a leading zero, by one look at all bytes; False may mean: look closer."""
    if array.null_count:
        array = array.drop_null()
    _, offsets, text = array.buffers()
    at = np.frombuffer(offsets, np.int32)[array.offset : array.offset + len(array) + 1]
    digits = np.frombuffer(text or b"", np.uint8)[: at[-1]]
    zeros = digits[np.minimum(at[:-1], len(digits) - 1)] == ord("0")
    return bool((digits[at[0] :] - 48 < 10).all() and (np.diff(at)[zeros] == 1).all())


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


NEAR = 8  # a number of more than 15 digits with a point has so many on one side of it
STEP = 1 << 17  # bytes: what fits the processor's cache is compared 5 times as fast
_TOKEN = re.compile(rb"[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_MAY_STAND_BEFORE = np.zeros(256, np.bool_)
_MAY_STAND_BEFORE[list(b":,[ \t\r")] = True
LONGEST = 400  # digits before a point: more make a double infinite, which shows


def inexact_numbers(block: bytes) -> Indices:
    """Where the block spells a fraction that is not equal to its double's shortest spelling; perhaps inside text."""
    data = np.frombuffer(block, np.uint8)
    places = _suspects(data)
    starts = _starts(data, places)
    before = starts - 1 - (data[starts - 1] == ord("-"))
    are_values = _MAY_STAND_BEFORE[data[before]] & (before >= 0)
    found = zip(starts[are_values].tolist(), places[are_values].tolist(), strict=True)
    return np.array([at for start, at in found if not _is_exact(block, start, at)], np.int64)


def _starts(data: Bytes, places: Indices) -> Indices:
    """Where the digits and points begin that stand before these places."""
    starts, going = places.copy(), np.arange(len(places))
    for _ in range(LONGEST):
        before = data[starts[going] - 1]
        going = going[((before - 48 < 10) | (before == ord("."))) & (starts[going] > 0)]
        if not len(going):
            break
        starts[going] -= 1
    return starts


def _suspects(data: Bytes) -> Indices:
    """Points with many digits on one side, and where an e stands between a digit and a digit or sign."""
    found = [np.zeros(0, np.int64)]
    for at in range(1, len(data), STEP):
        here, before = data[at : at + STEP], data[at - 1 : at + STEP - 1][: len(data) - at]
        is_mark = (here == ord(".")) | ((here | 32) == ord("e"))
        found.append(np.flatnonzero(is_mark & (before - 48 < 10)) + at)  # unsigned: all but digits are beyond
    places: Indices = np.concatenate(found)
    places = places[places < len(data) - 1]
    is_point, after = data[places] == ord("."), data[places + 1]
    powers = places[~is_point & ((after - 48 < 10) | (after == ord("-")) | (after == ord("+")))]
    points = places[is_point & (after - 48 < 10)]
    return np.concatenate([powers, *(_beside_digits(data, points, side) for side in (1, -1))])


def _beside_digits(data: Bytes, places: Indices, side: int) -> Indices:
    places = places[(places + side * NEAR >= 0) & (places + side * NEAR < len(data))]
    for distance in range(NEAR, 1, -1):
        places = places[data[places + side * distance] - 48 < 10]
    return places


def _is_exact(block: bytes, start: int, at: int) -> bool:
    """Whether the number from `start` over this place is no fraction, or one that its double's shortest spelling
    equals."""
    match = _TOKEN.match(block, start)
    if not match or match.end() <= at:
        return True
    text = match[0].decode()
    value = repr(float(text))
    try:
        return value == text or Decimal(text) == Decimal(value)
    except InvalidOperation:  # an exponent of 20 digits
        return False
