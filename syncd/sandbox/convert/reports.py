"""Reports and the files that are made of them, as the vendor would count: figures by seed, goal, variation and day."""

from __future__ import annotations

import csv
import gzip
import io
import zipfile
from typing import Any

import orjson

from syncd.sandbox.convert.account import DAY, MONDAY, Account, Json
from syncd.sandbox.convert.trouble import Trouble

METRICS = ("conversion_rate", "avg_revenue_visitor", "avg_products_ordered_visitor")
DAILY = ("conversion_rate", "avg_revenue_per_visitor", "avg_products_ordered_per_visitor")


def figure(trouble: Trouble, experience: Json, goal: int, variation: int, metric: str, call: int) -> tuple[int, Any]:
    """(visitors, total) of a value: what both reports, the files and the truth rest on."""
    if experience["id"] == trouble.zeroed or not experience["start_time"]:
        return 0, 0
    grown = call if trouble.moving else 0
    visitors = 1000 + variation % 97 + grown
    total: Any = 100 + goal % 13 + variation % 7 + grown
    return visitors, total + 0.25 if trouble.revenue and "revenue" in metric else total


def aggregated(trouble: Trouble, experience: Json, goals: list[int], call: int) -> Json:
    found = []
    for goal in goals:
        variations = []
        for variation in experience["variations"]:
            metrics = []
            for metric in METRICS:
                visitors, total = figure(trouble, experience, goal, variation["id"], metric, call)
                metrics.append({
                    "metric_type": metric, "metric_total": total, "metric_value": total / visitors if visitors else 0,
                    "metric_change": 0.2, "metric_interval": {"min": -0.1, "max": 0.5}, "confidence": 95.5,
                    "statistically_significant": True, "estimated_progress": 80, "srm": False, "srm_pvalue": 0.4,
                })  # fmt: skip
            row = {"id": variation["id"], "visitors": visitors, "metrics": metrics}
            if trouble.deprecated:
                row |= {"conversion_data": {"conversions": 7}, "revenue_data": None, "products_data": {}}
            variations.append(row)
        found.append({"goal_id": goal, "srm": False, "srm_pvalue": 0.5, "variations": listed(trouble, variations)})
    told = [{"id": one["id"], "name": one["name"]} for one in experience["variations"]]
    reported = {str(one.pop("goal_id")): one for one in found} if trouble.report_data == "object" else found
    return {"stats_methodology": "frequentist", "variations_data": told, "reportData": reported}


def listed(trouble: Trouble, variations: list[Json]) -> Any:
    return {str(one["id"]): one for one in variations} if trouble.report_data == "object" else variations


def daily(trouble: Trouble, experience: Json, body: Json, days: int, call: int) -> Json:
    variations = []
    for variation in experience["variations"]:
        visitors, total = figure(trouble, experience, body["goal"], variation["id"], body["metric"], call)
        points = []
        for day in range(days if total else 0):
            share = day + 1 if body["report_type"] == "cumulative" else 1
            points.append({
                "timestamp": MONDAY + day * DAY, "value": total * share / max(visitors, 1), "totals": total * share,
                "visitors": visitors * share,
            })  # fmt: skip
        variations.append({"id": variation["id"], "stats": points})
    extra = [{"type": "total_visitors", "stats": [{"timestamp": MONDAY, "value": 2000}]}]
    return {
        "variations_data": [{"id": one["id"], "name": one["name"]} for one in experience["variations"]],
        "reportData": {"variations": listed(trouble, variations), "extra": extra},
    }


def report_file(trouble: Trouble, experience: Json, body: Json) -> bytes:
    """A report as CSV: the tabular forms are one table, the others have sections of different width."""
    out = io.StringIO()
    rows = csv.writer(out, delimiter=";" if trouble.odd else ",")
    if not body["report_type"].endswith("tabular"):
        rows.writerow(["Report", experience["name"]])
        rows.writerow([])
    rows.writerow(["Variation", "Goal", "Visitors", "Conversions"])
    for variation in experience["variations"]:
        for goal in body.get("goals") or experience["goals"]:
            visitors, total = figure(trouble, experience, goal, variation["id"], METRICS[0], 0)
            rows.writerow([variation["name"] + ', "quoted"', goal, visitors, total])
    return packed(trouble, "report.csv", out.getvalue().encode())


def raw_file(trouble: Trouble, account: Account, experience: Json, body: Json) -> bytes:
    """Events, in the columns that they should have (inferred)."""
    rows = [
        {
            "visitor_id": f"v{number // 2}", "event_type": ("view_experience", "conversion", "transaction")[number % 3],
            "timestamp": str(MONDAY + number * 60), "experience_id": experience["id"],
            "variation_id": experience["variations"][number % 2]["id"],
            "revenue": f"{number}.50" if number % 3 == 2 else "",
            "email": account.plant("mail") if number == 0 else "",
        }
        for number in range(trouble.raw_rows)
    ]  # fmt: skip
    if trouble.raw_form == "jsonl":
        return packed(trouble, "raw.jsonl", b"".join(orjson.dumps(row) + b"\n" for row in rows))
    out = io.StringIO()
    table = csv.DictWriter(out, list(rows[0]) if rows else [])
    table.writeheader()
    table.writerows(rows)
    return packed(trouble, "raw.csv", out.getvalue().encode())


def packed(trouble: Trouble, name: str, text: bytes) -> bytes:
    if trouble.packing == "gzip":
        return gzip.compress(text, mtime=0)
    if trouble.packing == "zip":
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(name, text)
        return out.getvalue()
    return text
