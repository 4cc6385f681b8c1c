"""What the API sends, as small frozen values. Missing, null and extra keys, numbers as text: all are read.

Field names are the vendor's, respelled; their meaning is on docs/vendors/contentsquare.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

Json = Mapping[str, Any]
YEARS = range(1970, 2200)  # others stand for "none": 0001 and 9999 are how some programs spell it


@dataclass(frozen=True, slots=True)
class Export:
    """A job, as the vendor lists it."""

    id: str
    name: str = ""
    state: str = ""  # upper case
    format: str = ""
    scope: str = ""
    frequency: str = ""  # lower case
    fields: tuple[str, ...] = ()  # column names in order: the alias, else the field
    fields_json: str = ""
    filters_json: str = ""
    next_from: datetime | None = None
    next_to: datetime | None = None
    last_run_at: datetime | None = None  # when its last execution began
    next_run_at: datetime | None = None
    updated_at: datetime | None = None

    @staticmethod
    def read(row: Json) -> Export:
        fields = list(mappings(row.get("fields")))
        return Export(
            id=name_of(row.get("jobId")),
            name=text(row.get("name")),
            state=text(row.get("state")).upper(),
            format=text(row.get("format")),
            scope=text(row.get("scope")),
            frequency=frequency(row.get("frequency")),
            fields=tuple(text(one.get("aliasName")) or text(one.get("fieldName")) for one in fields),
            fields_json=json_text(row.get("fields")),
            filters_json=json_text(row.get("filters")),
            next_from=instant(row.get("nextFrom")),
            next_to=instant(row.get("nextTo")),
            last_run_at=instant(row.get("lastRunTime")),
            next_run_at=instant(row.get("nextRunTime")),
            updated_at=instant(row.get("updatedAt")),
        )


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """A row of successful-runs: the one place where the period stands."""

    job: str
    id: str
    name: str = ""
    start: datetime | None = None
    end: datetime | None = None
    completed_at: datetime | None = None
    format: str = ""
    scope: str = ""
    frequency: str = ""
    files: int | None = None

    @staticmethod
    def read(row: Json) -> FinishedRun:
        return FinishedRun(
            job=name_of(row.get("jobId")),
            id=name_of(row.get("jobRunId")),
            name=text(row.get("name")),
            start=instant(row.get("from")),
            end=instant(row.get("to")),
            completed_at=instant(row.get("completionTime")),
            format=text(row.get("format")),
            scope=text(row.get("scope")),
            frequency=frequency(row.get("frequency")),
            files=number(row.get("nbOfFiles")),
        )


@dataclass(frozen=True, slots=True)
class JobRun:
    """One execution of a job; `files` only where one run was asked for."""

    id: str
    state: str = ""  # upper case; SUCCESS and FAILURE are the ends
    started_at: datetime | None = None
    ended_at: datetime | None = None
    files: tuple[RunFile, ...] = ()

    @staticmethod
    def read(row: Json) -> JobRun:
        return JobRun(
            id=name_of(row.get("jobRunId")),
            state=text(row.get("state")).upper(),
            started_at=instant(row.get("startDate")),
            ended_at=instant(row.get("endDate")),
            files=tuple(RunFile.read(one) for one in mappings(row.get("files"))),
        )


@dataclass(frozen=True, slots=True)
class RunFile:
    """One file of a run. Its URL is signed: as good as a secret."""

    id: str
    url: str
    size: int | None = None  # of what, the vendor doesn't say
    expires_at: datetime | None = None

    def __repr__(self) -> str:
        return f"RunFile({self.id!r})"

    @staticmethod
    def read(row: Json) -> RunFile:
        return RunFile(
            id=name_of(row.get("partId")),
            url=text(row.get("url")),
            size=number(row.get("fileSize")),
            expires_at=instant(row.get("expirationDate")),
        )


@dataclass(frozen=True, slots=True)
class ExportableField:
    name: str
    description: str = ""
    example: str = ""
    aliases: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()

    @staticmethod
    def read(row: Json) -> ExportableField:
        return ExportableField(
            name=text(row.get("name")),
            description=text(row.get("description")),
            example=text(row.get("example")),
            aliases=texts(row.get("aliases")),
            parameters=texts(row.get("parameters")),
        )


@dataclass(frozen=True, slots=True)
class CustomVar:
    position: int | None
    key: str = ""
    values: tuple[str, ...] = ()

    @staticmethod
    def read(row: Json) -> CustomVar:
        return CustomVar(number(row.get("position")), text(row.get("key")), texts(row.get("values")))


@dataclass(frozen=True, slots=True)
class DynamicVarKey:
    key: str
    type: str = ""

    @staticmethod
    def read(row: Json) -> DynamicVarKey:
        return DynamicVarKey(text(row.get("key")), text(row.get("type")))


def mappings(value: object) -> Iterator[Json]:
    """The objects of a list; nothing for anything else."""
    return (one for one in value if isinstance(one, Mapping)) if isinstance(value, list) else iter(())


def text(value: object) -> str:
    """Text as it is, a number as its digits, anything else as ''."""
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else ""


def texts(value: object) -> tuple[str, ...]:
    return tuple(map(text, value)) if isinstance(value, list) else ()


def name_of(value: object) -> str:
    """An id: 7, 7.0 and "7" are one; '' when there is none."""
    return text(int(value) if isinstance(value, float) and value.is_integer() else value).strip()


def number(value: object) -> int | None:
    """A count of something, also as text; None when it is none."""
    try:
        found = int(name_of(value))
    except ValueError:
        return None
    return found if found >= 0 else None


def frequency(value: object) -> str:
    """A word, or an object that holds it."""
    return text(value.get("value") if isinstance(value, Mapping) else value).lower()


def json_text(value: object) -> str:
    return orjson.dumps(value).decode() if value is not None else ""


def instant(value: object) -> datetime | None:
    """An ISO 8601 text (UTC when it names no zone), or seconds or milliseconds since 1970; None for anything else."""
    try:
        if isinstance(value, int | float) and not isinstance(value, bool):
            found = datetime.fromtimestamp(value / 1000 if value > 1e11 else value or -1, UTC)  # 0 is none
        else:
            found = datetime.fromisoformat(text(value).strip())
            found = found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return found if found.year in YEARS else None
