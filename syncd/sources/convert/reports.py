"""Reports as rows: one row per value, each with the instant at which it was read.

The vendor rewrites the past (late conversions, resets, outlier settings), so whole reports are read again, and every
reading is kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from syncd.sources.convert.answers import Json, id_of, instant, one, unwrapped, whole

METRICS = ("conversion_rate", "avg_revenue_per_visitor", "avg_products_ordered_per_visitor")  # of the daily report
KINDS = ("cumulative", "non_cumulative")
UTC_OFFSET = 0


def aggregated(answer: Any, at: Json) -> Iterator[Json]:
    """One row per goal, variation and metric; of a variation without metrics, one row with what it has."""
    report = one(answer)
    told = {id_of(each): each for each in members(report.get("variations_data"))}
    for goal in members(report.get("reportData"), "goal_id", inner="variations"):
        of_goal = {
            f"goal_{key}": value for key, value in goal.items() if key not in ("goal_id", "goal", "id", "variations")
        }
        goal_id = id_of(goal.get("goal_id", goal.get("goal", goal.get("id"))))
        for variation in members(goal.get("variations"), "id"):
            variation_id = id_of(variation.get("id", variation.get("variation_id")))
            row = {
                **{key: value for key, value in variation.items() if key not in ("id", "metrics")},
                **of_goal,
                **at,
                "goal_id": goal_id,
                "variation_id": variation_id,
                "variation": told.get(variation_id),
                "stats_methodology": report.get("stats_methodology"),
                "utc_offset": UTC_OFFSET,
            }
            for metric in members(variation.get("metrics"), "metric_type") or [{}]:
                yield {**row, **{_apart(key, row): value for key, value in metric.items()}}


def _apart(key: str, row: Json) -> str:
    """A metric's own key, where the row has not got one of that name already."""
    return f"metric_{key}" if key in row else key


def daily(answer: Any, at: Json, asked: Json) -> Iterator[Json]:
    """One row per variation and day, and one per day of each series over all variations."""
    row = {**at, "goal_id": asked["goal"], **{key: value for key, value in asked.items() if key != "goal"}}
    report = one(answer).get("reportData", unwrapped(answer))
    blocks = report if isinstance(report, list) else [report]
    for block in (block for block in blocks if isinstance(block, Mapping)):
        whole_block = "variations" in block or "extra" in block
        series = (
            [*members(block.get("variations"), "id"), *members(block.get("extra"), "type")]
            if whole_block
            else [dict(block)]
        )
        for each in series:
            named = "id" not in each and "type" in each
            of = (
                {"series": each["type"], "variation_id": None}
                if named
                else {"series": "variation", "variation_id": id_of(each.get("id"))}
            )
            for point in members(each.get("stats"), "timestamp"):
                yield {**point, **row, **of, "timestamp": instant(point.get("timestamp"))}


def settings(answer: Any, at: Json) -> Iterator[Json]:
    """One row per campaign, custom segment and whatever else the report can be cut by."""
    for setting, value in one(answer).items():
        found = members(value) if isinstance(value, list) else [{"value": value}]
        for entry in found:
            yield {**entry, **at, "setting": setting}


def members(value: Any, name: str = "id", *, inner: str = "") -> list[Json]:
    """The objects of a list; of an object, its values with their keys under `name`, unless it is such a one itself."""
    if isinstance(value, list):
        return [one if isinstance(one, dict) else {name: one} for one in value]
    if not isinstance(value, Mapping):
        return []
    if name in value or (inner and inner in value):
        return [dict(value)]
    number = {key: whole(key) for key in value}
    return [
        {name: key if number[key] is None else number[key], **one}
        for key, one in value.items()
        if isinstance(one, dict)
    ]
