"""In what form pyarrow should read each key, told from a few lines and from what is known of its column."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Sequence
from typing import Any

import pyarrow as pa

from syncd.parse.columns import Known
from syncd.parse.values import MAX_DEPTH, Fraction, Whole
from syncd.types import INTS, MAX_FIELDS, NULL, Type, arrow


class TooSlow(Exception):
    """The block as a whole is better read line by line."""


class Unspelled(TooSlow):
    """Columns need text where pyarrow read something else: to be read again, knowing these types.

    `mixed`: they have other values than strings."""

    def __init__(self, types: dict[str, Type], *, mixed: bool = True) -> None:
        super().__init__()
        self.types = types
        self.mixed = types.keys() if mixed else ()


def to_cut(samples: Sequence[dict[str, Any]], known: Known) -> list[str]:
    """Keys whose column is known to be text, and whose values are not all strings; integers pyarrow gives back."""
    kinds: dict[str, set[type]] = {}
    for row in samples:
        for name, value in row.items():
            if value is not None:
                kinds.setdefault(name, set()).add(type(value))
    wanted = {"string": ({str}, {Whole}), "json": ({str},)}
    names = dict.fromkeys(name for name, found in kinds.items() if found not in wanted.get(known.type(name).kind, ()))
    names |= dict.fromkeys(sorted(known.mixed))
    return [name for name in names if known.type(name).kind in wanted and name not in known.groups]


def forms_of(samples: Sequence[dict[str, Any]], known: Known, are_cut: Container[str] = ()) -> dict[str, pa.DataType]:
    """A form for each key of the samples and of the blocks before. TooSlow: only the slow way reads these."""
    names = dict.fromkeys([*known.forms, *(name for row in samples for name in row)])
    forms = {}
    for name in names:
        values = [row.get(name) for row in samples]
        if name in are_cut:
            forms[name] = pa.string()
            continue
        try:
            forms[name] = _top(name, values, known)
        except TooSlow:
            if 4 * sum(value is not None for value in values) > len(values):
                raise
            forms[name] = pa.string()  # unlike the few lines that have it, which are then read slowly
    return forms


def _top(name: str, values: list[Any], known: Known) -> pa.DataType:
    prior = known.forms.get(name)
    if name in known.groups and (dicts := [value for value in values if isinstance(value, dict)]):
        names = dict.fromkeys(inner for value in dicts for inner in value)
        if not names:
            return prior or pa.struct([])
        inner = {field: _top(f"{name}.{field}", [value.get(field) for value in dicts], known) for field in names}
        if prior is not None and pa.types.is_struct(prior):
            inner = {field.name: field.type for field in prior} | inner
        return pa.struct(list(inner.items()))
    guide = known.guide(name)
    return form(values, guide, known.type(name), prior)


def form(values: list[Any], guide: Type, known: Type, prior: pa.DataType | None, room: int = MAX_DEPTH) -> pa.DataType:
    """The form of most values: the few others' lines are read slowly."""
    most = [value for value in values if value is not None]
    if not most:
        return prior if prior is not None else _default(guide)
    kind = _kind(most[0])
    if len({*map(type, most)}) > 1:
        kind = Counter(map(_kind, most)).most_common(1)[0][0]
        most = [value for value in most if _kind(value) == kind]
    if kind in ("list", "dict") and (known.kind in ("string", "json") or not room):
        raise TooSlow  # only the slow way writes JSON text
    match kind:
        case "text":
            return arrow(guide) if guide.kind == "timestamp" else pa.string()
        case "bool":
            return pa.bool_()
        case "number":
            return _number(most, guide, known)
        case "list":
            return _list(most, guide, known, prior, room - 1)
        case "dict":
            return _dict(most, guide, known, prior, room - 1)
    raise TooSlow


def _kind(value: Any) -> str:
    if isinstance(value, (Whole, Fraction)):
        return "number"
    return {str: "text", bool: "bool", list: "list", dict: "dict"}.get(type(value), "deep")


def _number(values: Sequence[str], guide: Type, known: Type) -> pa.DataType:
    fractions = sum(isinstance(value, Fraction) for value in values)
    has_fraction = 2 * fractions > len(values) if guide.kind in INTS else fractions > 0
    if guide.kind == "bool":
        return pa.uint8()
    if known.kind == "double":
        return pa.float64()
    if has_fraction:
        if known.kind in ("string", "json"):
            raise TooSlow  # a double would lose the digits that are to be shown
        return pa.float64()
    if guide.kind in INTS:
        return arrow(guide)
    numbers = [int(value) for value in values if len(value) < 40]
    if len(numbers) < len(values) or max(numbers) >= 2**64 or (min(numbers) < 0 and max(numbers) >= 2**63):
        raise TooSlow
    return pa.uint64() if max(numbers) >= 2**63 else pa.int64()


def _list(values: list[Any], guide: Type, known: Type, prior: pa.DataType | None, room: int) -> pa.DataType:
    inner = [value for each in values for value in each]
    element = prior.value_type if prior is not None and pa.types.is_list(prior) else None
    of = guide.element if guide.kind == "list" else NULL
    return pa.list_(form(inner, of, known.element if known.kind == "list" else NULL, element, room))


def _dict(values: list[Any], guide: Type, known: Type, prior: pa.DataType | None, room: int) -> pa.DataType:
    before = {field.name: field.type for field in prior} if prior is not None and pa.types.is_struct(prior) else {}
    names = dict.fromkeys([*before, *(name for value in values for name in value)])
    alike = len({name.lower() for name in names}) < len(names)
    if not names or alike or "" in names or len(names) > MAX_FIELDS or any("\0" in name for name in names):
        raise TooSlow
    guides = dict(guide.fields) if guide.kind == "struct" else {}
    knowns = dict(known.fields) if known.kind == "struct" else {}
    fields = {
        name: form(
            [value.get(name) for value in values],
            guides.get(name, NULL),
            knowns.get(name, NULL),
            before.get(name),
            room,
        )
        for name in names
    }
    return pa.struct(list(fields.items()))


def _default(guide: Type) -> pa.DataType:
    """For a key that the samples have only as null."""
    match guide.kind:
        case "list":
            return pa.list_(_default(guide.element))
        case "null" | "date" | "json":
            return pa.string()  # pyarrow 26 makes broken arrays of list<null>
        case "decimal":
            return pa.int64()
    return arrow(guide)
