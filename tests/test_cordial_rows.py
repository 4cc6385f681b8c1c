"""What Cordial's files become: rows of the declared types, in any of the forms that nobody documents."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from syncd.sources.cordial.peek import fields_of, first_record, format_of
from tests.cordial_box import configured, delivered, export, mounted, parsed, running, today, yesterday

NAMES = ("_id", "action", "time", "email", "first", "message_name")


def rows_of(tmp_path: Path, knobs: dict[str, Any], **chosen: Any) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The rows that came, and the events that were."""
    with running(**knobs) as box:
        source = configured(tmp_path, mounted(box, activities=export(**chosen)))
        return parsed(source, delivered(source, box), tmp_path / "landed"), box.events(yesterday(), today())


def seen(rows: list[dict[str, Any]], **labels: str) -> list[tuple[Any, ...]]:
    def plain(value: Any) -> Any:
        return value.replace(tzinfo=None) if isinstance(value, datetime) else value

    return sorted(tuple(plain(row[labels.get(name, name)]) for name in NAMES) for row in rows)


@pytest.mark.parametrize(
    "knobs",
    [
        {},
        {"header": "first"},
        {"header": "none", "naming": "part"},
        {"bom": True, "crlf": True, "first": "int"},
        {"header": "first", "bom": True, "times": "ms", "naming": "number"},
        {"header": "first", "crlf": True, "times": "Z", "first": "mixed"},
    ],
    ids=str,
)
@pytest.mark.parametrize(("format", "labelled"), [("csv", False), ("txt", True)])
def test_csv_in_chunks_is_the_same_whatever_its_headers(
    tmp_path: Path, knobs: dict[str, Any], format: str, labelled: bool
) -> None:
    names = [*NAMES, {"name": "properties.amount", "label": "amount"}]
    chosen: dict[str, Any] = {"columns": names} if labelled or knobs.get("header") == "none" else {}
    chosen |= {"delimiter": "|"} if format == "txt" else {}
    rows, events = rows_of(tmp_path, {"keys": "dotted"} | knobs, format=format, records_per_file=15, **chosen)
    assert seen(rows) == seen(events)
    amount = "amount" if "columns" in chosen else "properties.amount"
    assert {row[amount] for row in rows} == {str(event["properties"]["amount"]) for event in events}


@pytest.mark.parametrize(
    "knobs",
    [
        {"times": "+0000"},
        {"times": "+00:00"},
        {"times": "Z"},
        {"times": "ms"},
        {"first": "int"},
        {"first": "mixed"},
        {"two_types": True},
        {"new_keys": True},
        {"keys": "dotted"},
    ],
    ids=str,
)
def test_json_in_any_spelling_is_the_same(tmp_path: Path, knobs: dict[str, Any]) -> None:
    rows, events = rows_of(tmp_path, knobs)
    assert seen(rows) == seen(events)


def test_raw_names_have_a_time_too(tmp_path: Path) -> None:
    rows, events = rows_of(tmp_path, {"keys": "raw"})
    assert seen(rows, time="ats", action="a", message_name="name") == seen(events)
    assert all(row["sp"].startswith("{") for row in rows)


def test_rows_without_an_id_are_rows_too(tmp_path: Path) -> None:
    rows, events = rows_of(tmp_path, {"no_ids": 2})
    assert len(rows) == len(events)
    assert sum(row["_id"] is None for row in rows) == 2


def test_labels_are_declared_as_what_they_name(tmp_path: Path) -> None:
    labels = {name: f"our_{name}" for name in NAMES}
    columns = [{"name": name, "label": label} for name, label in labels.items()]
    rows, events = rows_of(tmp_path, {}, columns=columns)
    assert seen(rows, **labels) == seen(events)
    with running() as box:
        scope = configured(tmp_path, mounted(box, activities=export(columns=columns))).scope("activities")
    assert (scope.merge_keys, scope.event_time[0]) == ((("our__id",),), "our_time")


def test_a_row_that_holds_the_name_of_a_column_is_no_header() -> None:
    chunk = b"email,sms\nx,y\n"
    assert fields_of([chunk], ["_id", "email", "time"]) == ()
    assert fields_of([chunk, b"_id,time,channel\n"], ["_id", "email", "time"]) == ("_id", "time", "channel")


def test_what_files_are_is_seen_from_their_beginning() -> None:
    assert format_of([b'\xef\xbb\xbf{"a":1}']) == "jsonl"
    assert format_of([b"a,b\n"]) == format_of([]) == "csv"
    assert first_record(b'"a|b";"c"\r\nd;e') == ("a|b", "c")
    assert fields_of([b"\x1f\x8bbroken", b"date,audience,size\n2026-01-01,vip,3\n"], []) == ("date", "audience", "size")
