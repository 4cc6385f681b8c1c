"""The two exports that are there at once: a report's file behind a temporary link, and a whole project as JSON.

A report's link may be asked for as often as it has died: the vendor writes the file anew, sends no mail and counts no
job (documented: it answers with the link). It gets none of our credentials.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Any, TextIO

from syncd.errors import BadRun, TryAgain
from syncd.fetch.http import plain
from syncd.sources.convert.answers import Json, dumps, id_of, is_link, unwrapped
from syncd.sources.convert.api import IN_MEMORY, Api, Refused
from syncd.sources.convert.entries import entries
from syncd.sources.convert.files import records, unpacked
from syncd.sources.convert.redaction import redacted, without_mail

FORMS = (  # report_type, data_type; the tabular ones are in the newer edition only
    ("csv_aggregated", "non_cumulative"),
    ("csv_daily", "non_cumulative"),
    ("csv_daily", "cumulative"),
    ("csv_aggregated_tabular", "non_cumulative"),
    ("csv_daily_tabular", "non_cumulative"),
    ("csv_daily_tabular", "cumulative"),
)
MOST_GOALS = 10  # in a daily export (documented)


def chunks(goals: tuple[int, ...], report_type: str) -> list[list[int]]:
    """The goals of each export that is needed."""
    size = MOST_GOALS if report_type.startswith("csv_daily") else max(len(goals), 1)
    return [list(goals[at : at + size]) for at in range(0, len(goals), size)] or [[]]


def link_in(answer: Any) -> str:
    """`download_url`, or the one URL there is; "" when there is none, or more than one."""
    inner = unwrapped(answer)
    if isinstance(inner, Mapping) and is_link(inner.get("download_url")):
        return str(inner["download_url"])
    found = {text for text in _texts(inner) if is_link(text)}
    return found.pop() if len(found) == 1 else ""


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    for one in inner:
        yield from _texts(one)


def words(answer: Any) -> str:
    """An answer as it may be shown."""
    return without_mail(plain(dumps(redacted(answer)).decode()))


@contextmanager
def fetched(api: Api, url: str) -> Iterator[IO[bytes]]:
    """What lies behind a link, whole, to be read from its begin. LinkExpired, TryAgain, BadRun.

    What is damaged though all that was promised came is so at the vendor: BadRun, for each link that is asked for in
    the place of another makes the vendor work.
    """
    with tempfile.SpooledTemporaryFile(IN_MEMORY) as file:
        with api.download(url) as body:
            size = sum(map(file.write, body))
        if body.total not in (None, size):
            message = f"{size} bytes of an export came, but {body.total} were promised"
            raise TryAgain(message, hint="it goes on by itself")
        file.seek(0)
        try:
            yield file
        except TryAgain as error:
            if body.total is None:  # perhaps it was cut on its way
                raise
            raise BadRun(f"{error}, though all of it came", hint="look at it in the vendor's app") from error


def report_rows(api: Api, answer: Any, row: Json) -> Iterator[Json]:
    """The records of an exported report. Refused: the answer has no link."""
    url = link_in(answer)
    if not url:
        raise Refused(
            f"export_report answers without a link: {words(answer)}",
            hint='the vendor may have changed this export: turn it off with scopes.report_export = "off"',
        )

    def found(name: str, text: TextIO) -> Iterator[Json]:
        for number, (spelled, cells) in enumerate(records(text), 1):
            yield redacted({**row, "file": name, "row": number, "text": spelled, "cells": cells})

    with fetched(api, url) as file:
        yield from unpacked(file, found)


def project_rows(file: IO[bytes], at: Json) -> Iterator[Json]:
    """The entries of a project's export, section by section, one in memory at a time. TryAgain: it is no export."""

    def found(_: str, text: TextIO) -> Iterator[Json]:
        for section, position, entry in entries(text):
            for kept in redacted({section: entry}).values():  # none, where the section's name is one of a secret
                number = id_of(kept) if isinstance(kept, Mapping) else None
                key = f"#{position}" if number is None else str(number)
                yield {**at, "section": section, "entry": key, "document": kept}

    return unpacked(file, found)
