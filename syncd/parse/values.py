"""What one value is, exactly: the rules of the slow way, which the fast way must agree with.

A JSON value is None, bool, str, list or dict as usual, and a number is its own spelling (`Whole`, `Fraction`), so no
digit is lost before the column's type is known. `type_of` says what type holds a value, `as_type` makes it one.
`guide` is the declared type of the column, or NULL: only a declared column accepts a vendor's other spellings.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, date, datetime
from decimal import Context, Decimal, InvalidOperation
from functools import lru_cache
from json import JSONDecoder  # noqa: TID251  # the one place: only its hooks see digits and keys given twice
from json.encoder import encode_basestring  # noqa: TID251
from typing import Any

from syncd.types import (
    BOOL,
    DATE,
    INTS,
    JSON,
    MAX_DIGITS,
    NULL,
    STRING,
    TIMESTAMP,
    Type,
    fraction_type,
    int_type,
    join,
    join_all,
    list_of,
    struct_of,
)

MAX_DEPTH = 32  # an object or list nested deeper is JSON text
CUT_DEPTH = 100  # deeper than this stays text while decoding: Python's recursion is bounded
REFUSED_DEPTH = 10_000


class Whole(str):
    """A number spelled as an integer."""


class Fraction(str):
    """A number spelled with a point or an exponent."""


class Deep(str):
    """JSON text of an object or list that is too deep to unfold."""


class Refused(ValueError):
    """This line is no record; the message is the reason."""


def record(line: bytes) -> dict[str, Any]:
    """The object that a line spells. Refused for anything else."""
    try:
        text = line.decode().removeprefix("\ufeff").strip(" \t\r\n")
    except UnicodeDecodeError as error:
        raise Refused(f"not UTF-8: {error.reason} at byte {error.start}") from None
    found = decode(text)
    if type(found) is not dict:
        raise Refused("not a JSON object")
    return found


def decode(text: str) -> Any:
    """Any JSON value, its numbers spelled as they are. Refused: broken, or something no column could hold."""
    if text.count("{") + text.count("[") <= CUT_DEPTH:
        return _decode(text, _DECODER)
    top, pieces = _cut(text)
    value = _decode(top, _decoder(iter(pieces)))
    for piece in pieces:  # grows while it is walked: pieces have pieces
        top, deeper = _cut(piece)
        _decode(top, _decoder(iter(deeper)))
        pieces += deeper
    return value


def _decode(text: str, decoder: JSONDecoder) -> Any:
    try:
        value = decoder.decode(text)
    except Refused:
        raise
    except ValueError as error:
        raise Refused(f"not JSON: {error}") from None
    if _SURROGATE.search(text):
        for found in _texts(value):
            if _LONE.search(found):
                raise Refused("a lone surrogate")
    return value


def _fraction(text: str) -> Fraction:
    if float(text) in (float("inf"), float("-inf")):
        raise Refused(f"a number too large for a double: {text[:40]}")
    return Fraction(text)


def _constant(text: str) -> None:
    raise Refused(f"{text} is no JSON number")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise Refused(f"a key given twice: {twice[:100]!r}")
    return found


def _decoder(pieces: Iterator[str] | None = None) -> JSONDecoder:
    constant = _constant if pieces is None else lambda _: Deep(next(pieces))
    return JSONDecoder(parse_int=Whole, parse_float=_fraction, parse_constant=constant, object_pairs_hook=_object)


_DECODER = _decoder()
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_LONE = re.compile("[\ud800-\udfff]")
_MARK = re.compile(r'"(?:[^"\\]|\\.)*"|[\[{\]}]|NaN|Infinity', re.DOTALL)


def _cut(text: str) -> tuple[str, list[str]]:
    """`text` with NaN in the place of all that lies deeper than CUT_DEPTH, and those pieces in order."""
    kept: list[str] = []
    pieces: list[str] = []
    depth, start, deepest = 0, 0, 0
    for mark in _MARK.finditer(text):
        match mark[0][0]:
            case "N" | "I":
                _constant(mark[0])
            case "[" | "{":
                depth += 1
                deepest = max(deepest, depth)
                if depth == CUT_DEPTH + 1:
                    kept.append(text[start : mark.start()])
                    start = mark.start()
            case "]" | "}":
                if depth == CUT_DEPTH + 1:
                    pieces.append(text[start : mark.end()])
                    kept.append("NaN")
                    start = mark.end()
                depth -= 1
    if deepest > REFUSED_DEPTH:
        raise Refused(f"nested deeper than {REFUSED_DEPTH}")
    if depth > CUT_DEPTH:
        raise Refused("not JSON: a bracket is not closed")
    return "".join([*kept, text[start:]]), pieces


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield name
            yield from _texts(inner)


def type_of_all(values: Iterable[Any], guide: Type = NULL) -> Type:
    """The type that holds all of them. What most columns are is told without looking at each value's type."""
    found = [value for value in values if value is not None]
    kinds = {*map(type, found)}
    if kinds == {str}:
        if guide.kind in ("null", "string", "json"):
            return STRING
        if guide.kind in INTS and all(map(WHOLE.fullmatch, found)):
            kinds = {Whole}
    if kinds == {Whole} and guide.kind in ("null", *INTS) and max(map(len, found)) <= MAX_DIGITS:
        numbers = [*map(int, found)]
        return join(_int_type(min(numbers), guide), _int_type(max(numbers), guide))
    if kinds == {list}:
        inner = [value for each in found for value in each]
        if {list, dict, Deep}.isdisjoint(map(type, inner)):
            return list_of(type_of_all(inner, guide.element if guide.kind == "list" else NULL))
    if len(kinds) == 1 and kinds <= {str, Fraction}:
        found = [*set(found)]
    return join_all({type_of(value, guide) for value in found})


def type_of(value: Any, guide: Type = NULL) -> Type:
    """The type that holds a value: `guide`, where one of its spellings does."""
    if value is None:
        return NULL
    if isinstance(value, bool):
        return Type("uint8", 1) if guide.kind == "uint8" else BOOL  # to ClickHouse a Bool is a UInt8
    if isinstance(value, Deep):
        return JSON
    if isinstance(value, (Whole, Fraction)):
        return _number_type(value, guide)
    if isinstance(value, str):
        return _text_type(value, guide)
    try:
        return _nested_type(value, guide, MAX_DEPTH)
    except _TooDeep:
        return JSON


def _number_type(text: str, guide: Type) -> Type:
    if guide.kind == "bool" and text in ("0", "1"):
        return BOOL
    if isinstance(text, Fraction):
        return _fraction_type(text)
    return _int_type(int(text), guide) if len(text) <= MAX_DIGITS + 1 else STRING


def _int_type(value: int, guide: Type) -> Type:
    return int_type(value, value, guide.kind if guide.kind in INTS else "")


def _fraction_type(text: str) -> Type:
    if "e" not in text and "E" not in text and repr(float(text)) == text:
        whole, _, behind = text.lstrip("-").partition(".")
        return fraction_type(len(whole.lstrip("0")), len(behind.rstrip("0")), True)
    try:
        value = Decimal(text)
    except InvalidOperation:  # an exponent of 20 digits
        return STRING
    _, digits, exponent = value.as_tuple()
    spelled = "".join(map(str, digits)).strip("0")
    assert isinstance(exponent, int)
    exponent += len(digits) - len("".join(map(str, digits)).rstrip("0"))
    exact = Decimal(repr(float(text))) == value
    if not spelled:
        return fraction_type(0, 0, exact)
    return fraction_type(max(0, len(spelled) + exponent), max(0, -exponent), exact)


def _text_type(text: str, guide: Type) -> Type:
    if guide.kind in (*INTS, "decimal", "double") and (number := number_in(text)):
        return _number_type(number, guide)
    if guide.kind == "timestamp" and time_in(text):
        return TIMESTAMP
    if guide.kind == "date" and date_in(text):
        return DATE
    return STRING


class _TooDeep(Exception):
    pass


def _nested_type(value: Any, guide: Type, room: int) -> Type:
    if not isinstance(value, (list, dict)):
        if isinstance(value, Deep):
            raise _TooDeep
        return type_of(value, guide)
    if not room:
        raise _TooDeep
    if isinstance(value, list):
        element = guide.element if guide.kind == "list" else NULL
        return list_of(join_all({_nested_type(inner, element, room - 1) for inner in value}))
    known = dict(guide.fields) if guide.kind == "struct" else {}
    fields = {name: _nested_type(inner, known.get(name, NULL), room - 1) for name, inner in value.items()}
    return struct_of(fields)


def as_type(value: Any, t: Type) -> Any:
    """The value as Python spells it for Arrow; `t` is a join of its type with others."""
    if value is None:
        return None
    match t.kind:
        case "string" | "json":
            return value if type(value) is str else json_text(value)
        case "double":
            return float(value)
        case "decimal":
            return Decimal(value).quantize(Decimal(1).scaleb(-t.scale), context=_EXACT)
        case "bool":
            return value is True or value == "1"
        case "timestamp":
            return time_in(value)
        case "date":
            return date_in(value)
        case "list":
            return [as_type(inner, t.element) for inner in value]
        case "struct":
            return {name: as_type(value.get(name), field) for name, field in t.fields}
    return int(value)


_EXACT = Context(prec=2 * MAX_DIGITS, traps=[InvalidOperation])


def json_text(value: Any) -> str:
    """JSON without spaces; every number with its own digits."""
    if isinstance(value, (Whole, Fraction, Deep)):
        return str(value)
    if isinstance(value, str):
        return encode_basestring(value)
    if isinstance(value, list):
        return f"[{','.join(map(json_text, value))}]"
    if isinstance(value, dict):
        inner = (f"{encode_basestring(name)}:{json_text(field)}" for name, field in value.items())
        return f"{{{','.join(inner)}}}"
    return {None: "null", True: "true", False: "false"}[value]


WHOLE = re.compile(r"-?(?:0|[1-9][0-9]*)")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")


def number_in(text: str) -> Whole | Fraction | None:
    """The number that a text spells exactly as JSON would, or None."""
    if WHOLE.fullmatch(text):
        return Whole(text)
    if _NUMBER.fullmatch(text) and float(text) not in (float("inf"), float("-inf")):
        return Fraction(text)
    return None


_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[ T](\d\d)(?::(\d\d)(?::(\d\d)(?:\.(\d{1,6})0*)?)?)?(?:(Z)|([+-]\d\d)(?::?(\d\d))?)?)?",
    re.ASCII,
)


@lru_cache(1 << 14)
def time_in(text: str) -> datetime | None:
    """The instant a text spells, in UTC without zone; None for what is no time or finer than microseconds."""
    match = _TIME.fullmatch(text)
    if not match:
        return None
    day, hour, minute, second, micros, _, zone_hours, zone_minutes = match.groups()
    zone = f"{zone_hours}:{zone_minutes or '00'}" if zone_hours else "+00:00"
    clock = f"{hour or '00'}:{minute or '00'}:{second or '00'}.{(micros or '').ljust(6, '0')}"
    try:
        return datetime.fromisoformat(f"{day}T{clock}{zone}").astimezone(UTC).replace(tzinfo=None)
    except (ValueError, OverflowError):
        return None


_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)  # fromisoformat takes week dates too


def date_in(text: str) -> date | None:
    """The day that `YYYY-MM-DD` spells, or None."""
    try:
        return date.fromisoformat(text) if _DATE.fullmatch(text) else None
    except ValueError:
        return None


def as_column(values: Sequence[Any], t: Type) -> list[Any]:
    """`as_type` of each; quick for what most columns are."""
    if t.kind == "string" and {*map(type, values)} <= {str, type(None)}:
        return list(values)
    if t.kind in _QUICK:
        read = _QUICK[t.kind]
        return [None if value is None else read(value) for value in values]
    return [as_type(value, t) for value in values]


_QUICK: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(INTS, int),
    "double": float,
    "timestamp": time_in,
    "date": date_in,
}
