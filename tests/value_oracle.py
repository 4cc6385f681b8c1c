"""What a sent value may be stored as, and what type values need, told from the rules' words without help of ours."""

from __future__ import annotations

import json  # noqa: TID251  # an oracle of its own, independent of ours
import math
import re
from collections.abc import Iterable
from contextlib import suppress
from datetime import date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from syncd.types import INTS, NULL, Type


class Digits(str):
    """A number as it was spelled."""


def no_constant(text: str) -> None:
    raise ValueError(text)


def fraction(text: str) -> Digits:
    if math.isinf(float(text)):
        raise ValueError(text)
    return Digits(text)


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({name for name, _ in pairs}) < len(pairs):
        raise ValueError("twice")
    return dict(pairs)


def same(sent: Any, stored: Any, guide: Type = NULL, *, own: bool = False) -> bool:
    """Whether a stored value is the sent one, allowing for a wider type but no other value.

    `guide` is the declared type, whose other spellings are taken too. `own`: a number shown as text has its own
    digits; else its shortest spelling will do.
    """
    if guide != NULL and sent is not None and _same(meant(sent, guide), stored, guide, own):
        return True
    return _same(sent, stored, guide, own)


def _same(sent: Any, stored: Any, guide: Type, own: bool) -> bool:
    if sent is None or stored is None:
        return sent is None and stored is None
    if isinstance(sent, Digits):
        if isinstance(stored, str):
            shortest = not own and re.fullmatch(NUMBER, stored) and not stored.endswith(".0")
            return stored == sent or (bool(shortest) and Decimal(stored) == Decimal(sent))
        return type(stored) in (int, float, Decimal) and _number(stored) == Decimal(sent)
    if isinstance(sent, bool):
        return stored is sent or stored == str(sent).lower()
    if isinstance(sent, date) and isinstance(stored, str) and not own:
        return _instant(stored) == sent or stored == str(sent)  # was an instant before its column became text
    if isinstance(sent, (str, date)):
        return type(stored) is type(sent) and stored == sent
    if isinstance(stored, str):
        try:
            return same_json(sent, json.loads(stored, parse_int=Digits, parse_float=Digits), own)
        except RecursionError:
            return True  # for others to judge
    if isinstance(sent, list):
        inner = guide.element if guide.kind == "list" else NULL
        return (
            isinstance(stored, list)
            and len(sent) == len(stored)
            and all(same(one, other, inner, own=own) for one, other in zip(sent, stored, strict=True))
        )
    fields = dict(guide.fields) if guide.kind == "struct" else {}
    return isinstance(stored, dict) and all(
        same(sent.get(name), stored.get(name), fields.get(name, NULL), own=own) for name in {*sent, *stored}
    )


def same_json(sent: Any, stored: Any, own: bool = False) -> bool:
    if not own and type(stored) is str and sent is not None and type(sent) is not str:
        return same(sent, stored)  # was text already, before its list or object became JSON text
    if isinstance(sent, Digits):
        return isinstance(stored, Digits) and (sent == stored if own else Decimal(sent) == Decimal(stored))
    if isinstance(sent, list):
        return (
            type(stored) is list
            and len(sent) == len(stored)
            and all(same_json(one, other, own) for one, other in zip(sent, stored, strict=True))
        )
    if isinstance(sent, dict):
        return type(stored) is dict and all(
            same_json(sent.get(name), stored.get(name), own) for name in {*sent, *stored}
        )
    if not own and type(sent) is type(stored) is str and isinstance(_instant(sent), datetime):
        return bool(_instant(sent) == _instant(stored))
    return bool(sent == stored) and type(sent) is type(stored)


def _number(value: int | float | Decimal) -> Decimal:
    return Decimal(repr(value)) if isinstance(value, float) else Decimal(value)


WHOLE, NUMBER = r"-?(0|[1-9][0-9]*)", r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?"
TIME = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})(?:[ T]([0-9]{2})(?::([0-9]{2})(?::([0-9]{2})(?:\.([0-9]{1,6})0*)?)?)?"
    r"(Z|[+-][0-9]{2}(?::?[0-9]{2})?)?)?"
)


def meant(sent: Any, guide: Type) -> Any:
    """What a sent value stands for under a declared type, where it is one of its accepted spellings; else itself."""
    if type(sent) is str:
        if guide.kind in (*INTS, "double", "decimal") and re.fullmatch(NUMBER, sent) and not math.isinf(float(sent)):
            return Digits(sent)
        if guide.kind == "date" and re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", sent):
            with suppress(ValueError):
                return date.fromisoformat(sent)
        if guide.kind == "timestamp":
            return _instant(sent)
    if guide.kind == "uint8" and isinstance(sent, bool):
        return Digits(int(sent))
    if guide.kind == "bool" and isinstance(sent, Digits) and sent in ("0", "1"):
        return sent == "1"
    return sent


def _instant(sent: str) -> Any:
    match = TIME.fullmatch(sent)
    if not match:
        return sent
    *clock, micros, zone = match.groups()
    shift = 0
    if zone and zone != "Z":
        hours, minutes = int(zone[1:3]), int(zone[-2:]) if len(zone) > 3 else 0
        if hours > 23 or minutes > 59:
            return sent
        shift = (hours * 60 + minutes) * (-1 if zone[0] == "-" else 1)
    with suppress(ValueError, OverflowError):
        year, month, day, hour, minute, second = (int(piece or 0) for piece in clock)
        instant = datetime(year, month, day, hour, minute, second)  # noqa: DTZ001  # naive UTC, as stored
        return instant + timedelta(microseconds=int((micros or "").ljust(6, "0")), minutes=-shift)
    return sent


def meant_text(sent: str | None, guide: Type) -> Any:
    """The same for a CSV field."""
    if sent is None or guide.kind in ("null", "string", "json"):
        return sent
    if sent == "":
        return None
    if guide.kind in ("bool", "uint8") and sent in ("true", "false"):
        return meant(sent == "true", guide)
    if guide.kind == "bool" and sent in ("0", "1"):
        return sent == "1"
    if guide.kind in ("list", "struct"):
        return array(sent)
    return meant(sent, guide)


def array(text: str) -> Any:
    """An array as JSON or as ClickHouse writes it; the text where it is neither."""
    try:
        return json.loads(
            text, parse_int=Digits, parse_float=fraction, parse_constant=no_constant, object_pairs_hook=once
        )
    except (ValueError, RecursionError):
        pass
    try:
        found, end = _array(text, 0)
        return found if not text[end:].strip() else text
    except (ValueError, IndexError, RecursionError):
        return text


def _array(text: str, at: int) -> tuple[Any, int]:
    if text[at] == "'":
        out, at = "", at + 1
        while text[at] != "'" or text[at + 1 : at + 2] == "'":
            if text[at] == "\\" and text[at + 1] == "x" and re.fullmatch("[0-9a-fA-F]{2}", text[at + 2 : at + 4]):
                out, at = out + chr(int(text[at + 2 : at + 4], 16)), at + 4
            elif text[at] == "\\":
                out, at = (
                    out + dict(zip("bfnrt0av", "\b\f\n\r\t\0\a\v", strict=True)).get(text[at + 1], text[at + 1]),
                    at + 2,
                )
            else:
                out, at = out + text[at], at + 1 + (text[at] == "'")
        return out, at + 1
    if text[at] != "[":
        match = re.compile(r"[^\s\[\],']+").match(text, at)
        if not match:
            raise ValueError(text)
        word = match[0]
        if word not in ("NULL", "true", "false") and not re.fullmatch(NUMBER, word):
            raise ValueError(text)
        known = {"NULL": None, "true": True, "false": False}
        return (known[word] if word in known else fraction(word)), match.end()
    found: list[Any] = []
    at = _spaces(text, at + 1)
    while text[at] != "]":
        value, at = _array(text, at)
        found.append(value)
        at = _spaces(text, at)
        if text[at] == ",":
            at = _spaces(text, at + 1)
            if text[at] == "]":
                raise ValueError(text)
        elif text[at] != "]":
            raise ValueError(text)
    return found, at + 1


def _spaces(text: str, at: int) -> int:
    while text[at : at + 1].isspace():
        at += 1
    return at


def fits(sent: Any, guide: Type) -> bool:
    """Whether a declared type holds this value, in one of its spellings."""
    if sent is None:
        return True
    sent = meant(sent, guide)
    if guide.kind == "list":
        return isinstance(sent, list) and all(fits(one, guide.element) for one in sent)
    if guide.kind in INTS:
        bits = 2 ** int(guide.kind.removeprefix("u")[3:])
        low, high = (0, bits) if guide.kind.startswith("u") else (-bits // 2, bits // 2)
        return bool(isinstance(sent, Digits) and re.fullmatch(WHOLE, sent) and low <= int(sent) < high)
    if guide.kind == "double":
        return isinstance(sent, Digits) and _is_double(sent)
    wanted = {"bool": bool, "date": date, "timestamp": datetime, "string": str}
    return type(sent) is wanted.get(guide.kind)


def _is_double(sent: Digits) -> bool:
    if re.fullmatch(WHOLE, sent):
        return abs(int(sent)) <= 2**53
    try:
        return Decimal(repr(float(sent))) == Decimal(sent)
    except InvalidOperation:
        return False


def needs(sent: Iterable[Any]) -> str:
    """The type, as text, that undeclared values need together: told from all of them at once, by the rules' words."""
    found = [value for value in sent if value is not None]
    if any(_depth(value) > 32 for value in found):
        return "json" if all(isinstance(value, (list, dict)) for value in found) else "string"
    return _needs(found)


def _needs(found: list[Any]) -> str:
    found = [value for value in found if value is not None]
    kinds = {*map(type, found)}
    if not kinds:
        return "null"
    if kinds == {bool}:
        return "bool"
    if kinds == {Digits}:
        return _needs_number([*map(str, found)])
    if kinds == {list}:
        return f"list<{_needs([inner for value in found for inner in value])}>"
    if kinds == {dict}:
        names = sorted({name for value in found for name in value})
        apart = len({name.lower() for name in names}) == len(names) <= 200
        if not all(found) or not apart or "" in names or any("\0" in name for name in names):
            return "json"
        fields = [f"{json.dumps(n, ensure_ascii=False)}:{_needs([v.get(n) for v in found])}" for n in names]
        return f"struct<{','.join(fields)}>"
    return "json" if kinds == {list, dict} else "string"


def _needs_number(found: list[str]) -> str:
    whole = [int(text) for text in found if re.fullmatch(WHOLE, text) and len(text) < 50]
    if len(whole) == len(found) and max(map(abs, whole)) < 10**38:
        if all(-(2**63) <= n < 2**63 for n in whole):
            return "int64"
        return "uint64" if all(2**63 <= n < 2**64 for n in whole) else "decimal"
    if len([text for text in found if re.fullmatch(WHOLE, text)]) == len(found):
        return "string"
    try:
        numbers = [Decimal(text) for text in found]
    except InvalidOperation:
        return "string"
    if all(_is_double(Digits(text)) for text in found):
        return "double"
    if any(number and not -400 < number.adjusted() < 400 for number in numbers):
        return "string"
    digits = [f"{number.copy_abs():f}".partition(".") for number in numbers]
    before, behind = max(len(a.lstrip("0")) for a, _, _ in digits), max(len(c.rstrip("0")) for _, _, c in digits)
    if before + behind > 38:
        return "string"
    return f"decimal(0.{behind})" if behind else "decimal"


def _depth(value: Any) -> int:
    depth, level = 0, [value]
    while level := [inner for one in level if isinstance(one, (list, dict)) for inner in _inside(one)]:
        depth += 1
    return depth


def _inside(value: Any) -> list[Any]:
    return [*(value.values() if isinstance(value, dict) else value), None]  # an empty one is a level too
