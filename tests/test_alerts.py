"""The alert rules and the dashboard: promtool's own tests, and only metrics that there are."""

from __future__ import annotations

import json  # noqa: TID251  # a dashboard as Grafana reads it
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from syncd.http.metrics import Metrics
from syncd.outlook import Disk, Outlook
from syncd.reserve import Room
from syncd.vitals import Vitals

ROOT = Path(__file__).parent.parent
RULES = ROOT / "deploy/prometheus/syncd.rules.yml"
CASES = ROOT / "deploy/prometheus/syncd.rules.test.yml"
DASHBOARD = json.loads((ROOT / "deploy/grafana/syncd.json").read_text())
PAGE = (ROOT / "docs/operating.md").read_text()
promtool = pytest.mark.skipif(not shutil.which("promtool"), reason="no promtool here")


def told(*command: str) -> str:
    """What promtool says; it must be content."""
    ended = subprocess.run(["promtool", *command], capture_output=True, text=True, cwd=RULES.parent, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def alerts() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(RULES.read_text())["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def queries() -> Iterator[str]:
    """Every query of the dashboard."""
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            yield target["expr"]


def metrics(queries: Iterator[str] | list[str]) -> set[str]:
    """The metrics that they name, without what a histogram adds."""
    named = {name for query in queries for name in re.findall(r"\bsyncd_\w+", query)}
    return {re.sub(r"(_duration_seconds)_(bucket|count|sum)$", r"\1", name) for name in named}


@promtool
def test_the_rules_hold_what_their_cases_say() -> None:
    assert f"{len(alerts())} rules found" in told("check", "rules", RULES.name)
    told("test", "rules", CASES.name)


def test_each_alert_has_a_case_in_which_it_fires() -> None:
    cases = yaml.safe_load(CASES.read_text())["tests"]
    fired = {each["alertname"] for case in cases for each in case.get("alert_rule_test", ()) if each.get("exp_alerts")}
    assert fired == {alert["alert"] for alert in alerts()}


def test_each_alert_says_what_to_do_and_stands_in_the_docs() -> None:
    for alert in alerts():
        assert alert["labels"]["severity"] in ("critical", "warning")
        assert alert["annotations"].keys() == {"summary", "action"}
    named = re.findall(r"^\| `(Syncd\w+)` \|", PAGE, re.M)
    assert sorted(named) == sorted(alert["alert"] for alert in alerts())


@promtool
def test_each_query_of_the_dashboard_is_one(tmp_path: Path) -> None:
    asked = [re.sub(r"\$__rate_interval", "5m", query) for query in queries()]
    rules = [{"record": f"panel:{number}", "expr": query} for number, query in enumerate(asked)]
    path = tmp_path / "panels.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    assert f"{len(asked)} rules found" in told("check", "rules", "--lint=none", str(path))


def test_alerts_and_dashboard_name_metrics_that_there_are() -> None:
    documented = set(re.findall(r"^\| `(syncd_\w+)` \|", PAGE, re.M))  # test_http holds these to the code, both ways
    assert metrics([alert["expr"] for alert in alerts()]) <= documented
    assert metrics(queries()) <= documented


def test_panels_stand_side_by_side() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_a_run_counts_as_lost_when_it_had_been_seen_alive() -> None:
    nothing: Any = {each.name: [] for each in fields(Outlook)}
    nothing |= {"at": datetime.now(UTC), "status": {"ok": True, "sources": {}}, "disk": Disk(1, 2, {}, Room(1, 0))}
    seen = Outlook(**nothing)
    acme = SimpleNamespace(pass_interval=timedelta(hours=6))
    metrics = Metrics(lambda: seen, Vitals(["acme"]), {"acme": acme})
    for alive in (False, True, False):
        metrics.hear("run_expired", {"run": "acme/7-1", "seen_alive": alive, "hint": ""})
    assert b'\nsyncd_expired_runs_total{source="acme"} 1.0\n' in metrics.text()
