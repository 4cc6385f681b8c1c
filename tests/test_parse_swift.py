"""The reader in C takes what is plain, takes it exactly, and leaves everything else alone."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from syncd.model import Batch, Column, Scope
from syncd.parse import compiled, csv, jsonl, swift
from syncd.parse.columns import Found, Known, batch
from syncd.parse.lines import Lines
from syncd.parse.records import split
from syncd.sandbox.contentsquare.account import Account
from syncd.sandbox.contentsquare.trouble import Offer, Trouble
from syncd.sources.contentsquare.dictionary import declared as vendors
from syncd.types import Type
from tests.roads import reader

DAY = datetime(2026, 1, 5, tzinfo=UTC)
LINE = b'{"v":%s,"w":%s,"g":{"a":%s},"g.b":%s}'
TEXTS = [
    b'""', b'"x"', b'"\\u00e9\\/\\n"', b'"\\ud83d\\ude00"', b'"\xc3\xa9"', b'"\xf0\x9f\x98\x80"', b'"\\u0000"',
    b'"\x7f"',
    b'"a text that is longer than eight bytes, \\"quoted\\""', b"[1, 2.50]", b'{"v" : { "\\u0076":[ 1.0 , {} ] } }',
    b"-0", b"1.50",
]  # fmt: skip
PLAIN = {
    "int8": [b"0", b"-128", b"127"],
    "int64": [b"0", b"9223372036854775807", b"-9223372036854775808", b"9007199254740993"],
    "uint64": [b"0", b'"18446744073709551615"', b"18446744073709551615"],
    "uint8": [b"0", b"255", b"true", b"false", b'"7"'],
    "double": [b"0.5", b"-0.0", b"-0", b"7", b"1e5", b"123456789012.345", b"1e-22", b"0.30000000000000004",
    b"2.718281828459045", b"1234.5678901234568", b"0.25e2", b"100"],
    "bool": [b"true", b"false", b"1", b"0"],
    "date": [b'"2026-01-05"', b'"2024-02-29"', b'"0001-01-01"', b'"1899-12-31"'],
    "timestamp": [
        b'"2026-01-05 10:11:12"', b'"2024-02-29 23:59:59.999999"', b'"2026-01-05T10:11:12.1234560Z"', b'"2026-01-05"',
        b'"2026-01-05 10:11+02"', b'"1899-12-31 00:00:00.5"', b'"0001-01-01 00:00-01:00"', b'"9999-12-31 23:59:59"',
    ],
    "string": TEXTS,
    "json": [b'{"v":"x","w":[true]}', b"[1,2]", b'[{"v":[1],"w":2}]', b"[]", b'{"a":"\\u001f\\u0022\\t"}'],
    "list<uint64>": [b"[]", b"[1, 2,null]", b'["18446744073709551615"]'],
    "list<timestamp>": [b'["2026-01-05 10:11:12",null]', b"[]"],
    "list<list<double>>": [b"[[0.5],[]]", b"[null]"],
    "list<json>": [b'[{"a":1},[2.50]]', b"[]"],
    'struct<"v":int64,"w":list<bool>>': [b'{"v":1}', b'{"w":[true],"v":null}', b'{"v":2,"w":[]}'],
    'list<struct<"v":json,"w":double>>': [b'[{"v":[1]},{"w":0.5}]', b"[]", b'[{"v":{"x":[1.50]},"w":1}]'],
}  # fmt: skip
PLAIN["list<string>"] = [b"[%s,null]" % text for text in TEXTS]
EVERY = [value for found in PLAIN.values() for value in found]
ODD = [
    b"-0", b"256", b"-129", b"9223372036854775808", b"18446744073709551616", b"1" * 400, b"01", b"-", b"1E-400",
    b"1e400",
    b"1e999999999999", b"9007199254740993", b"1234567890123456", b"0.1234567890123456789", b"1e22", b"1e23",
    b"0.1000000000000000055", b"0.10000000000000001", b"0.30000000000000001", b"9007199254740993.5", b"1.",
    b".5",
    b"null", b"nul", b"truex", b'"-0"', b'"007"', b'"1.5"', b'"true"', b'"2026-02-29"', b'"2100-02-29"',
    b'"0000-01-01"',
    b'"2026-01-05 10:11:12.1234567"', b'"2026-01-05 24:00"', b'"9999-12-31 23:59:59-01:00"',
    b'"0001-01-01 00:00+01:00"',
    b'"2026-01-05 1"', b'"\\ud83d"', b'"\\ude00\\ud83d"', b'"\\x"', b'"\\', b'"\xc3"', b'"\xed\xa0\x80"',
    b'"\xf4\x90\x80\x80"',
    b'"\xe0\x80\xaf"', b'"\x1f"', b'"\0"', b"[1,]", b"[,1]", b"[1", b"[[1]", b"{}", b'{"v":1,"v":2}', b'{"w":1,}',
    b'{"a":1,"\\u0061":2}', b"[" * 70 + b"]" * 70, b'{"v":' * 200 + b"1" + b"}" * 200, b'{"' + b"k" * 300 + b'":1}',
]  # fmt: skip
kinds = st.sampled_from([*PLAIN, "decimal", "null"])
origins = st.sampled_from(["declared", "learned"])


@st.composite
def blocks(draw: st.DrawFn) -> tuple[Scope, list[bytes]]:
    """A scope, and lines of which most suit it."""
    types = [draw(kinds) for _ in range(4)]
    names = ["v", "w", *draw(st.sampled_from([("g.a", "g.b"), ("g", "g.b"), ("x", "y")]))]
    columns = [Column(name, Type.parse(t), name, draw(origins)) for name, t in zip(names, types, strict=True)]
    suits = [st.sampled_from(PLAIN.get(t, ODD)) for t in types]
    good = st.tuples(*suits).map(lambda found: LINE % found)
    odd = st.tuples(*(suit | st.sampled_from(ODD) | st.sampled_from(EVERY) for suit in suits))
    some = [draw(good) for _ in range(draw(st.integers(1, 8)))] * draw(st.integers(1, 8))
    for line in draw(st.lists(odd.map(lambda found: LINE % found) | good, max_size=3)):
        some.insert(draw(st.integers(0, len(some))), mutated(line, draw(mutations)))
    return Scope("t", tuple(columns[: draw(st.integers(0, 4))])), some


MARKS = [b"", b" ", *(bytes([byte]) for byte in b'{}[]:,"\\0-.e\x00\xff\r\n')]
mutations = st.lists(st.tuples(st.integers(0, 400), st.sampled_from(MARKS)), max_size=2)


def mutated(line: bytes, changes: list[tuple[int, bytes]]) -> bytes:
    for at, byte in changes:
        line = line[: at % (len(line) + 1)] + byte + line[at % (len(line) + 1) + 1 :]
    return line


def slowly(block: bytes, known: Known) -> Found:
    """Every line one by one."""
    lines, slow = Lines.of(block), jsonl.Slow()
    slow.read(lines, np.flatnonzero(~lines.blank).tolist(), known)
    return jsonl._found(lines, [], slow, jsonl._columns(lines, [], slow, known))


def same(found: Found, expected: Found) -> None:
    assert found.rejected == expected.rejected
    assert found.rows.tolist() == expected.rows.tolist()
    assert {name: t for name, (_, t) in found.columns.items()} == {name: t for name, (_, t) in expected.columns.items()}
    for name, (array, _) in expected.columns.items():
        ours = found.columns[name][0]
        if array is None or ours is None:
            assert array is ours, name
        else:
            ours.validate(full=True)
            assert ours.equals(array) and repr(ours.to_pylist()) == repr(array.to_pylist()), name  # -0.0 is not 0.0


@pytest.fixture(scope="module", autouse=True)
def in_use() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiled, "library", lambda: (reader(), ""))
        yield


@settings(deadline=None, max_examples=500)
@given(blocks(), st.booleans())
def test_a_block_is_what_the_slow_way_makes_of_it(sent: tuple[Scope, list[bytes]], ends: bool) -> None:
    known, block = Known.of(sent[0]), b"\n".join(sent[1]) + b"\n" * ends
    same(jsonl.parse_block(block, known), slowly(block, known))


def test_a_line_that_is_left_has_no_say_in_a_type() -> None:
    known = Known.of(Scope("t", (Column("v", Type("uint8"), "v", "declared"),)))
    block = b'{"v":true}}\n{"v":0}\n'
    same(jsonl.parse_block(block, known), slowly(block, known))


@settings(deadline=None, max_examples=150)
@given(blocks(), st.data())
def test_a_line_cut_anywhere_is_no_line(sent: tuple[Scope, list[bytes]], data: st.DataObject) -> None:
    scope, lines = sent
    cut = lines[0][: data.draw(st.integers(0, len(lines[0])))]
    known, block = Known.of(scope), b"\n".join([*lines, cut])
    same(jsonl.parse_block(block, known), slowly(block, known))


FIELDS = {
    "int8": [b"0", b"-128", b"127"],
    "uint64": [b"0", b'"18446744073709551615"', b"\\N", b""],
    "uint8": [b"0", b"255", b'"7"', b""],
    "double": [b"0.5", b"-0.0", b"7", b"1e5", b"0.30000000000000004", b'"0.25"', b'""'],
    "bool": [b"true", b"false", b"1", b"0", b""],
    "date": [b'"2026-01-05"', b"2024-02-29"],
    "timestamp": [b'"2026-01-05 10:11:12"', b"2026-01-05T10:11:12.5Z", b"\\N"],
    "string": [b"", b'""', b'"\\N"', b"\\N", b'"a ""b"" c"', b'"x\ny"', b"\xc3\xa9", b'x"y', b"\ra",
    b"\xef\xbb\xbf", b"'"],
    "list<string>": [
        b"\"['a','it\\'s','z''z','say \"\"hi\"\"','\\x41\\xe9\\n\\q\\0',NULL,'\xc3\xa9']\"", b"[]", b"['']",
        b'"[""j"", ""k""]"',
    ],
    "list<uint64>": [b'"[1,18446744073709551615]"', b"\"['1',NULL]\"", b"[]", b"[7]"],
    "list<timestamp>": [b"['2026-01-05 10:11:12']", b"[]", b"\\N"],
    "list<double>": [b"[0.5]", b'"[-1.5,7]"', b""],
    "list<bool>": [b'"[true,false]"', b"[1]"],
    "list<list<int64>>": [b'"[[1,2],[]]"'],
    'struct<"a":int64>': [b'"{""a"":1}"'],
    "decimal": [b"1.5", b"1"],
}  # fmt: skip
ODD_FIELDS = [
    b"-0", b"007", b"0x1f", b"1.", b"1e400", b"nan", b"yes", b"True", b"2026-1-5", b"2026-02-30", b"['a'", b"'a'",
    b"[1", b"abc",
    b"['a',]", b"['a']x", b"[NULL]", b"[null]", b"[ 1]", b"[2026-01-05]", b"['\\']", b"\xff", b'"open', b'"a"b',
    b'"a" ', b"[''']",
]  # fmt: skip


@st.composite
def records(draw: st.DrawFn) -> tuple[Scope, bytes, str]:
    """A scope, and records of which most suit it."""
    delimiter = draw(st.sampled_from(",;\t|"))
    names = ("v", "w", "x")
    types = [draw(st.sampled_from([*FIELDS])) for _ in names]
    columns = [Column(name, Type.parse(t), name, draw(origins)) for name, t in zip(names, types, strict=True)]
    suits = [st.sampled_from(FIELDS[t]) for t in types]
    between = delimiter.encode()
    good = st.tuples(*suits).map(lambda found: [between.join(found)] * 4)
    odd = st.lists(st.sampled_from(ODD_FIELDS + EVERY[:20]) | suits[0], min_size=1, max_size=4).map(between.join)
    some = [line for found in draw(st.lists(good, min_size=1, max_size=5)) for line in found]
    for line in draw(st.lists(odd, max_size=3)):
        some.insert(draw(st.integers(0, len(some))), mutated(line, draw(mutations)))
    made_text = frozenset(draw(st.sets(st.sampled_from(names))))
    ends = draw(st.sampled_from([b"\n", b"\r\n"]))
    return Scope("t", tuple(columns[: draw(st.integers(0, 3))]), made_text=made_text), ends.join(some), delimiter


EMPTY = Scope("t", (Column("v", Type.parse("list<string>"), "v", "declared"),))


@settings(deadline=None, max_examples=400)
@given(records(), st.booleans())
@example((Scope("t"), b'"1",0,0\n"open\n"1",0,0', ","), False)
@example((EMPTY, b"[],0,0\n" * 2, ","), True)
def test_records_are_what_pyarrow_makes_of_them(sent: tuple[Scope, bytes, str], is_final: bool) -> None:
    scope, block, delimiter = sent
    dialect = csv.Dialect(delimiter, ("v", "w", "x"), ())
    found = split(block, delimiter, is_final)
    found.lines.block = block[: found.end]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiled, "library", lambda: (None, ""))
        plain = split(block, delimiter, is_final)
        plain.lines.block = block[: plain.end]
        expected = csv.parse_block(plain, dialect, Known.of(scope))
    assert (found.end, found.lines.starts.tolist()) == (plain.end, plain.lines.starts.tolist())
    assert found.lines.ends.tolist() == plain.lines.ends.tolist()
    ours = csv.parse_block(found, dialect, Known.of(scope))
    assert ours.rejected == expected.rejected
    alike(*(batch(each, Known.of(scope), 1, 0) for each in (ours, expected)))


def alike(found: Batch, expected: Batch) -> None:
    """Under the types that are known then: a block's empty lists need none."""
    assert found.columns == expected.columns and found.nulls == expected.nulls
    assert found.rows.equals(expected.rows) and repr(found.rows.to_pylist()) == repr(expected.rows.to_pylist())
    found.rows.validate(full=True)


def test_every_line_of_a_vendor_is_plain() -> None:
    trouble = Trouble(unknown_fields=2)
    for job in Account(Offer(rows=200, parts=1, days=1, jobs=4), trouble, DAY).jobs:
        for part in (part for run in job.runs[:1] for part in run.parts if part.form == "jsonl"):
            block = b"".join(part.lines())
            _, left = swift.read(Lines.of(block), Known.of(vendors(part.scope)))
            assert not left.any(), block.splitlines()[int(np.flatnonzero(left)[0])]


def test_lines_that_have_keys_of_their_own_are_plain() -> None:
    rows = [{f"column {row * each % 997}": each for each in range(1, 20)} for row in range(1, 2000)]
    lines = Lines.of(b"\n".join(map(orjson.dumps, rows)))
    _, left = swift.read(lines, Known.of(Scope("t")))
    assert swift.FEW * left.sum() <= len(lines)


def test_it_compiles_without_a_warning(tmp_path: Path) -> None:
    compiled.build(tmp_path / "swift.so", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror")
    found, why = compiled.opened(tmp_path / "swift.so")
    assert found is not None and not why


def test_a_library_of_other_sources_or_of_another_machine_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    foreign, stale = tmp_path / "foreign.so", tmp_path / "stale.so"
    foreign.write_bytes(b"\x7fELF of another machine")
    compiled.build(stale)
    monkeypatch.setattr(compiled, "mark", lambda: "of sources that were changed since")
    assert compiled.opened(foreign)[0] is None
    assert compiled.opened(stale) == (None, "the compiled reader is of another version")
    assert compiled.opened(tmp_path / "none.so") == (None, "no compiled reader here")


def test_without_a_compiler_the_build_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(OSError, match="no C compiler"):
        compiled.build(tmp_path / "swift.so")
