"""What the API sends, read without losing a digit: bare or inside `data`, a list or an object, ids or objects.

A fraction keeps the vendor's own digits until it is written again: a double would not.
"""

from __future__ import annotations

import json  # noqa: TID251  # orjson reads 2^64 and 0.10000000000000000001 as doubles; these answers become tables
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

import orjson

from syncd.errors import TryAgain

Json = dict[str, Any]
LINK = re.compile(r"https?://[^\s/?#]+[/?#]?\S*")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECONDS_FROM = 100_000_000_000  # seconds would be the year 5138


NAMES = {"id", "key", "name", "email", "timestamp"}  # an object that has one of these is an entry of a list


class Digits(str):
    """A number as the vendor spelled it, where Python's own would be another."""

    __slots__ = ()


def loads(text: bytes) -> Any:
    """JSON. ValueError: it is none."""
    return json.loads(text.decode("utf-8-sig"), **EXACT)


def _whole(digits: str) -> int | Digits:
    return int(digits) if len(digits) < 19 else Digits(digits)


EXACT: dict[str, Any] = {"parse_float": Digits, "parse_int": _whole, "parse_constant": Digits}


def dumps(value: Any) -> bytes:
    """Canonical JSON: keys sorted, no spaces, numbers as they were spelled."""
    return orjson.dumps(_writable(value), option=orjson.OPT_SORT_KEYS)


def _writable(value: Any) -> Any:
    if isinstance(value, Digits):
        return orjson.Fragment(value.encode())
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()  # a lone surrogate has no bytes
    if isinstance(value, Mapping):
        return {_writable(str(key)): _writable(inner) for key, inner in value.items()}
    return [_writable(inner) for inner in value] if isinstance(value, list) else value


def rows(answer: Any) -> list[Json]:
    """The objects of a list, however it is wrapped; one bare object is a list of one. TryAgain: it is no list.

    For nothing must look like an empty list that isn't one: each entry would look deleted.
    """
    inner = unwrapped(answer)
    if isinstance(inner, Mapping) and all(isinstance(one, Mapping) for one in inner.values()):
        inner = list(inner.values())
    if isinstance(inner, Mapping) and NAMES & inner.keys():
        inner = [inner]
    if not isinstance(inner, list | None):
        raise TryAgain("the vendor answers with something else than a list", hint="it goes on by itself")
    return [one for one in inner or () if isinstance(one, dict)]


def paging(answer: Any) -> Json:
    """What an answer tells of its pages; {} when it tells nothing."""
    extra = answer.get("extra") if isinstance(answer, Mapping) else None
    told = extra.get("pagination") if isinstance(extra, Mapping) else None
    return told if isinstance(told, dict) else {}


def one(answer: Any) -> Json:
    """The object that an endpoint for one thing answers with; {} when there is none."""
    inner = unwrapped(answer)
    inner = inner[0] if isinstance(inner, list) and len(inner) == 1 else inner
    return inner if isinstance(inner, dict) else {}


def unwrapped(answer: Any) -> Any:
    """What is inside `data`, or the answer itself."""
    return answer["data"] if isinstance(answer, Mapping) and "data" in answer else answer


def whole(value: Any) -> int | None:
    """An integer, also as text or with a fraction of nothing; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    try:
        return int(value) if isinstance(value, int) else int(value.strip().removesuffix(".0"))
    except ValueError:
        return None


def ids(value: Any) -> list[Any]:
    """A list of ids, whether the vendor sent ids or objects: in order, none twice."""
    members = list(value.values()) if isinstance(value, Mapping) else value if isinstance(value, list) else []
    found = dict.fromkeys(id_of(member) for member in members)
    return sorted((one for one in found if one is not None), key=lambda one: (not isinstance(one, int), one))


def id_of(value: Any) -> Any:
    """The id of an object, or of what is one already."""
    inner = value.get("id") if isinstance(value, Mapping) else value
    number = whole(inner)
    return number if number is not None else inner if isinstance(inner, str) else None


def instant(value: Any) -> Any:
    """Unix seconds as an ISO text; 0 is what the vendor sends for 'not yet', so None; anything else unchanged."""
    number = _number(value)
    if number is None:
        return value
    if number == 0:
        return None
    try:
        moment = EPOCH + timedelta(microseconds=int(number * (1000 if abs(number) >= MILLISECONDS_FROM else 10**6)))
    except OverflowError:
        return value
    return moment.isoformat().replace("+00:00", "Z")


def seconds(value: Any) -> int:
    """Unix seconds to reckon with; 0 where there are none."""
    number = _number(value) or Decimal(0)
    return int(number // 1000 if abs(number) >= MILLISECONDS_FROM else number)


def _number(value: Any) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    try:
        number = Decimal(value)
    except InvalidOperation:
        return None
    return number if number.is_finite() and abs(number) < 10**18 else None


def said(answer: Any) -> str:
    """What an error body tells: `message`, `fields`, `parameters`, `errors`, texts and lists alike."""
    if not isinstance(answer, Mapping):
        return ""
    keys = ("message", "error", "fields", "parameters", "errors")
    return "; ".join(
        ": ".join((key, text)) if key != "message" else text for key in keys for text in _texts(answer, key)
    )


def _texts(answer: Mapping[str, Any], key: str) -> Iterator[str]:
    value = answer.get(key)
    texts = (
        [str(one) if not isinstance(one, Mapping) else dumps(one).decode() for one in value]
        if isinstance(value, list)
        else [value if isinstance(value, str) else dumps(value).decode()]
        if value
        else []
    )
    if texts:
        yield ", ".join(texts)


def is_link(value: Any) -> bool:
    """Whether it is one URL and nothing else."""
    return isinstance(value, str) and bool(LINK.fullmatch(value))


def is_error(answer: Any) -> int:
    """The status that a body claims, whatever the answer's own: 0 when it claims none."""
    if not isinstance(answer, Mapping) or "data" in answer:
        return 0
    code = whole(answer.get("code")) or 0
    if answer.get("isError") is True:
        return code or 500
    return code if code >= 400 and "message" in answer else 0
