"""What reports and their files settle of the vendor notes' unknowns: forms, never figures."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from syncd.fetch.seen import json_kind, store_of, tally, word
from syncd.fetch.shapes import unpacked
from syncd.model import Finding
from syncd.sources.convert.answers import Digits, Json, one, seconds, unwrapped
from syncd.sources.convert.reports import members


def of_aggregated(answer: Any) -> Iterator[Finding]:
    report = one(answer)
    yield Finding("reportData of the aggregated report", json_kind(report.get("reportData")))
    yield Finding("the statistics are", word(report.get("stats_methodology")))
    yield tally("variations of a report", (json_kind(goal.get("variations")) for goal in goals_of(answer)))
    blocks = {key for each in variations_of(answer) for key in each if key.endswith("_data")}
    yield Finding("deprecated blocks", ", ".join(sorted(map(word, blocks))) or "none")
    metrics = metrics_of(answer)
    yield tally("metrics", (word(metric.get("metric_type")) for metric in metrics))
    totals = [metric.get("metric_total") for metric in metrics]
    yield tally("metric_total is", ("a fraction" if isinstance(each, Digits) else json_kind(each) for each in totals))


def goals_of(answer: Any) -> list[Json]:
    return members(one(answer).get("reportData"), "goal_id", inner="variations")


def variations_of(answer: Any) -> list[Json]:
    return [each for goal in goals_of(answer) for each in members(goal.get("variations"), "id")]


def metrics_of(answer: Any) -> list[Json]:
    """The metrics of every goal and variation of an aggregated report."""
    return [metric for each in variations_of(answer) for metric in members(each.get("metrics"), "metric_type")]


def of_daily(answer: Any) -> Iterator[Finding]:
    found = one(answer).get("reportData")
    yield Finding("reportData of the daily report", json_kind(found))
    inside = found if isinstance(found, Mapping) else {}
    yield Finding("its variations", json_kind(inside.get("variations")) if "variations" in inside else "absent")


def of_link(answer: Any, link: str) -> Iterator[Finding]:
    """How a report's file is given out; `link`: the one that was found in the answer, or ""."""
    inner = unwrapped(answer)
    told = inner if isinstance(inner, Mapping) else {}
    form = "download_url" if "download_url" in told else "a link alone"
    yield Finding("export_report answers with", form if link else "no link", json_kind(inner))
    ends = seconds(told.get("expire_at"))
    yield Finding("a link lives", f"{(ends - time.time()) / 60:.0f} minutes" if ends else "", "as expire_at tells")
    yield Finding("the files' host", store_of(urlsplit(link).hostname or "", "convert.com") if link else "")


def of_file(held: bytes) -> Iterator[Finding]:
    """Packing and dialect of a report's file."""
    packed = unpacked(held)
    is_zip = held.startswith(b"PK")
    yield Finding("a report's file is packed", "zip" if is_zip else "gzip" if packed.is_gzip else "not")
    if is_zip or not packed.plain:
        return
    marks = {b"\xef\xbb\xbf": "UTF-8 with a mark", b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}
    try:
        packed.plain.decode()
        plain = "UTF-8"
    except UnicodeDecodeError:
        plain = "not UTF-8"
    yield Finding("its encoding", next((form for mark, form in marks.items() if packed.plain.startswith(mark)), plain))
    lines = packed.plain.split(b"\n")
    names = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a bar"}
    counts = {sign: max(line.count(sign.encode()) for line in lines) for sign in names}
    yield Finding("its delimiter", names[max(counts, key=lambda sign: counts[sign])] if any(counts.values()) else "")
    yield Finding("its lines end with", "CR LF" if b"\r\n" in packed.plain else "LF", f"{len(lines)} lines")
