"""What a column's values need, how two needs join, and how stored values are shown under a joined type.

A type is a frozen value that round-trips through text (`Type.parse(str(t)) == t`); the catalogue stores that
text. Beside its kind it carries the facts that later joins need, so joining is commutative, associative and
idempotent, and the order in which parts and runs arrive never changes a table. A declared type carries no
facts: nothing was seen of it yet.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce

import orjson
import pyarrow as pa

INTS = {f"{sign}int{bits}": (sign, bits) for sign in ("", "u") for bits in (8, 16, 32, 64)}
NUMBERS = {*INTS, "decimal", "double"}
KINDS = {"null", "bool", *NUMBERS, "string", "json", "date", "timestamp", "list", "struct"}
TEXTS = ("null", "string", "json")  # whose values are text
MAX_DIGITS = 38  # of a decimal128
MAX_EXACT = 2**53  # up to here every integer is a double
MAX_FIELDS = 200  # a struct with more is JSON text
ENOUGH = MAX_DIGITS + 1  # facts are counted up to here: more changes nothing


@dataclass(frozen=True, slots=True)
class Type:
    """A kind and the facts seen. Make one with `Type.parse` or the makers below."""

    kind: str
    digits: int = 0  # numbers: most digits seen before the point
    scale: int = 0  # decimal, double: most digits seen behind the point, in the shortest spelling
    wide: bool = False  # 64-bit integers, decimal: some value seen is no exact double
    fields: tuple[tuple[str, Type], ...] = ()  # struct: by name; list: its element under the name ""

    @property
    def element(self) -> Type:
        """What a list holds."""
        return self.fields[0][1]

    @property
    def plain(self) -> Type:
        """The same without the facts: equal for two types that an analyst can't tell apart."""
        scale = self.scale if self.kind == "decimal" else 0
        return Type(self.kind, scale=scale, fields=tuple((name, t.plain) for name, t in self.fields))

    def __str__(self) -> str:
        if self.kind == "list":
            return f"list<{self.element}>"
        if self.kind == "struct":
            return f"struct<{','.join(orjson.dumps(name).decode() + ':' + str(t) for name, t in self.fields)}>"
        if not (self.digits or self.scale or self.wide):
            return self.kind
        return f"{self.kind}({self.digits}.{self.scale}{'!' if self.wide else ''})"

    @staticmethod
    def parse(text: str) -> Type:
        """The type that `str` spelled. ValueError for any other text."""
        found, end = _read(text, 0)
        if end != len(text):
            raise ValueError(f"no type: {text!r}")
        return found


NULL, BOOL, STRING, JSON, DATE, TIMESTAMP = map(Type, ("null", "bool", "string", "json", "date", "timestamp"))


def list_of(element: Type) -> Type:
    return Type("list", fields=(("", element),))


def struct_of(fields: dict[str, Type]) -> Type:
    """A struct, or JSON text where its names are none, too many, or not apart for DuckDB."""
    unlike = {name.lower() for name in fields}
    if not 0 < len(fields) == len(unlike) <= MAX_FIELDS or "" in fields or any("\0" in name for name in fields):
        return JSON
    return Type("struct", fields=tuple(sorted(fields.items())))


def int_type(low: int, high: int, declared: str = "") -> Type:
    """The smallest learned type for integers from `low` to `high`, or `declared` where that holds them."""
    most = max(abs(low), abs(high))
    digits, wide = len(str(most)) if most else 0, most > MAX_EXACT
    for kind in filter(None, (declared, "int64", "uint64")):
        least, greatest = int_range(kind)
        if least <= low and high <= greatest:
            return Type(kind, digits, wide=wide)
    return Type("decimal", digits, wide=wide) if digits <= MAX_DIGITS else STRING


def fraction_type(digits: int, scale: int, exact: bool) -> Type:
    """Of a number spelled with a point or exponent; `exact`: its double's shortest spelling is equal."""
    if exact:
        return Type("double", min(digits, ENOUGH), min(scale, ENOUGH))
    return Type("decimal", digits, scale, wide=True) if digits + scale <= MAX_DIGITS else STRING


def int_range(kind: str) -> tuple[int, int]:
    """Least and greatest value of an integer kind."""
    sign, bits = INTS[kind]
    return (0, 2**bits - 1) if sign else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def join(a: Type, b: Type) -> Type:
    """The narrowest type that shows the values of both unchanged. Any order, any repetition, one result."""
    if a == b or b.kind == "null":
        return a
    if a.kind == "null":
        return b
    if a.kind in NUMBERS and b.kind in NUMBERS:
        return _join_numbers(a, b)
    nested = {"list", "struct", "json"}
    if a.kind in nested and b.kind in nested:
        if a.kind == b.kind == "list":
            return list_of(join(a.element, b.element))
        return _join_structs(a, b) if a.kind == b.kind == "struct" else JSON
    return a if a.kind == b.kind else STRING


def join_all(types: Iterable[Type]) -> Type:
    return reduce(join, types, NULL)


def _join_structs(a: Type, b: Type) -> Type:
    left, right = dict(a.fields), dict(b.fields)
    return struct_of({name: join(left.get(name, NULL), right.get(name, NULL)) for name in {**left, **right}})


def _join_numbers(a: Type, b: Type) -> Type:
    digits, scale, wide = max(a.digits, b.digits), max(a.scale, b.scale), a.wide or b.wide
    if a.kind in INTS and b.kind in INTS:
        kind = _join_ints(a.kind, b.kind)
    elif wide or "double" not in (a.kind, b.kind):
        kind = "decimal"
    else:
        kind = "double"
    if kind == "decimal" and digits + scale > MAX_DIGITS:
        return STRING
    return Type(kind, digits, scale, wide)


def _join_ints(a: str, b: str) -> str:
    (a_sign, a_bits), (b_sign, b_bits) = INTS[a], INTS[b]
    if a_sign == b_sign:
        return a if a_bits >= b_bits else b
    bits = max(a_bits * 2 if a_sign else a_bits, b_bits * 2 if b_sign else b_bits)
    return f"int{bits}" if bits <= 64 else "decimal"


def arrow(t: Type) -> pa.DataType:
    """What Parquet stores. A type without values is stored as text."""
    match t.kind:
        case "null" | "string" | "json":
            return pa.string()
        case "bool":
            return pa.bool_()
        case "decimal":
            return pa.decimal128(MAX_DIGITS, t.scale)
        case "double":
            return pa.float64()
        case "date":
            return pa.date32()
        case "timestamp":
            return pa.timestamp("us")
        case "list":
            return pa.list_(arrow(t.element))
        case "struct":
            return pa.struct([(name, arrow(field)) for name, field in t.fields])
    return pa.type_for_alias(t.kind)


_SQL = {
    **dict(int8="TINYINT", int16="SMALLINT", int32="INTEGER", int64="BIGINT"),
    **dict(uint8="UTINYINT", uint16="USMALLINT", uint32="UINTEGER", uint64="UBIGINT"),
    **dict(bool="BOOLEAN", double="DOUBLE", date="DATE", timestamp="TIMESTAMP"),
}


def sql(t: Type) -> str:
    """The DuckDB type that the view shows."""
    match t.kind:
        case "decimal":
            return f"DECIMAL({MAX_DIGITS},{t.scale})"
        case "list":
            return f"{sql(t.element)}[]"
        case "struct":
            return f"STRUCT({', '.join(f'{_name(name)} {sql(field)}' for name, field in t.fields)})"
    return _SQL.get(t.kind, "VARCHAR")


def cast_sql(expr: str, stored: Type, shown: Type) -> str:
    """SQL that turns a stored value into the shown type and changes none; `shown` is a join of `stored`.

    Any DuckDB from 1.1 on binds it, also inside a view that 2.0 stored: so structs are rebuilt field by
    field (1.1 can't cast between structs of different size) and lists by comprehension (no lambda syntax
    suits all).
    """
    if sql(stored) == sql(shown) and stored.kind != "null":
        return expr
    match stored.kind, shown.kind:
        case "null", _:
            return f"CAST(NULL AS {sql(shown)})"
        case "double", "decimal":  # by its shortest text: a binary fraction has digits that nobody sent
            return f"CAST(CAST({expr} AS VARCHAR) AS {sql(shown)})"
        case "decimal" | "double", "string":
            return _number_text(expr, stored)
        case "list", "list":
            return _cast_list(expr, stored.element, shown.element)
        case "struct", "struct":
            return _cast_struct(expr, dict(stored.fields), shown)
        case "list" | "struct", "string" | "json":
            return _json_text(expr, stored)
    return f"CAST({expr} AS {sql(shown)})"


def _cast_list(expr: str, stored: Type, shown: Type) -> str:
    each = _each(expr)
    cast = cast_sql(each, stored, shown)
    if cast == f"CAST({each} AS {sql(shown)})":
        return f"CAST({expr} AS {sql(shown)}[])"
    return f"[{cast} FOR {each} IN {expr}]"


def _cast_struct(expr: str, stored: dict[str, Type], shown: Type) -> str:
    fields = (
        f"{_text(name)}: {cast_sql(f'struct_extract({expr}, {_text(name)})', stored.get(name, NULL), field)}"
        for name, field in shown.fields
    )
    return f"CASE WHEN {expr} IS NULL THEN NULL ELSE {{{', '.join(fields)}}} END"


def _json_text(expr: str, t: Type) -> str:
    """JSON text of a stored list or struct. DuckDB 1.1's `to_json` rounds decimals and quotes JSON text."""
    if t.kind == "json":
        return expr
    if not _needs_spelling(t):
        return f"CAST(to_json({expr}) AS VARCHAR)"
    if t.kind in ("decimal", "double"):
        return _number_text(expr, t)
    if t.kind == "list":
        each = _each(expr)
        element = f"coalesce({_json_text(each, t.element)}, 'null')"
        whole = f"'[' || array_to_string([{element} FOR {each} IN {expr}], ',') || ']'"
        return f"CASE WHEN len({expr}) = 0 THEN '[]' ELSE {whole} END"  # 1.1 joins nothing to NULL
    fields = (
        f"{_text(orjson.dumps(name).decode() + ':')} || "
        f"coalesce({_json_text(f'struct_extract({expr}, {_text(name)})', field)}, 'null')"
        for name, field in t.fields
    )
    whole = " || ',' || ".join(fields)
    return f"CASE WHEN {expr} IS NULL THEN NULL ELSE '{{' || {whole} || '}}' END"


def _number_text(expr: str, t: Type) -> str:
    """The shortest spelling: a 5 that is stored beside 0.25 is 5, not 5.0 or 5.00."""
    text = f"CAST({expr} AS VARCHAR)"
    if t.kind == "double":
        return rf"regexp_replace({text}, '\.0$', '')"
    return f"rtrim(rtrim({text}, '0'), '.')" if t.scale else text


def _needs_spelling(t: Type) -> bool:
    return t.kind in ("decimal", "double", "json") or any(_needs_spelling(field) for _, field in t.fields)


def _each(expr: str) -> str:
    """A name for the element, deeper than any in `expr`; `_syncd` names can't be a vendor's."""
    return f"_syncd_e{expr.count('_syncd_e')}"


def _name(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


_NAME = re.compile(r'"(?:[^"\\]|\\.)*"')
_SCALAR = re.compile(r"([a-z]+\d*)(?:\((\d+)\.(\d+)(!?)\))?")


def _read(text: str, at: int) -> tuple[Type, int]:
    """The type spelled at `at`, and where it ends."""
    if text.startswith("list<", at):
        element, at = _read(text, at + 5)
        return list_of(element), _skip(text, at, ">")
    if text.startswith("struct<", at):
        fields: list[tuple[str, Type]] = []
        at += 6
        while not fields or text.startswith(",", at):
            name = _NAME.match(text, at + 1)
            if not name:
                break
            field, at = _read(text, _skip(text, name.end(), ":"))
            fields.append((orjson.loads(name[0]), field))
        return Type("struct", fields=tuple(fields)), _skip(text, at, ">")
    match = _SCALAR.match(text, at)
    if not match or match[1] not in KINDS - {"list", "struct"}:
        raise ValueError(f"no type: {text!r}")
    return Type(match[1], int(match[2] or 0), int(match[3] or 0), bool(match[4])), match.end()


def _skip(text: str, at: int, mark: str) -> int:
    if not text.startswith(mark, at):
        raise ValueError(f"no type: {text!r}")
    return at + len(mark)
