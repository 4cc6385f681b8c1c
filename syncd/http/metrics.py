"""What Prometheus reads: base units, a registry of our own. Counters live off log events, gauges off the outlook."""

from __future__ import annotations

import time
from collections import Counter as Counts
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.metadata import version
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from syncd.ledger import STATES
from syncd.outlook import Outlook
from syncd.vitals import Vitals

COMMIT_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
REQUEST_S = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
PASS_S = (1, 5, 15, 30, 60, 300, 900, 3600, 4 * 3600, 24 * 3600)
GAPS = ("missing", "late", "failed", "expired", "set_aside")


class Metrics:
    """All that is counted since the start, and what the outlook shows at a scrape."""

    def __init__(self, outlook: Callable[[], Outlook], vitals: Vitals, sources: Mapping[str, Any]) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # it has no annotations
        self._registry = own = CollectorRegistry()
        own.register(Shown(outlook, vitals))
        where = ["source", "scope"]
        self._runs = Counter("syncd_loaded_runs", "Runs loaded since the start.", where, registry=own)
        self._rows = Counter("syncd_loaded_rows", "Rows loaded since the start.", where, registry=own)
        self._bytes = Counter("syncd_loaded_bytes", "Bytes as they came, of loaded runs.", where, registry=own)
        self._rejected = Counter(
            "syncd_rejected_lines", "Lines of loaded runs that are no record.", where, registry=own
        )
        self._set_aside = Counter("syncd_set_aside_runs", "Runs set aside since the start.", ["source"], registry=own)
        self._lost = Counter("syncd_expired_runs", "Runs that died before they were home.", ["source"], registry=own)
        self._retries = Counter("syncd_retries", "Pauses before another try.", ["source"], registry=own)
        self._failures = Counter("syncd_failed_passes", "Passes that broke off.", ["source"], registry=own)
        self._passes = Histogram(
            "syncd_pass_duration_seconds", "How long passes took.", ["source"], buckets=PASS_S, registry=own
        )
        self._commits = Histogram(
            "syncd_commit_duration_seconds", "How long publishing the catalogue took.", buckets=COMMIT_S, registry=own
        )
        self._requests = Histogram(
            "syncd_request_duration_seconds",
            "How long vendors took to answer: the API, and files until their first byte.",
            ["source", "kind"],
            buckets=REQUEST_S,
            registry=own,
        )
        self._answers = Counter(
            "syncd_requests", "Answers of vendors by status; 0: none came.", ["source", "kind", "status"], registry=own
        )
        self._untold = Counter("syncd_failed_tellings", "Tellings that did not arrive.", ["to"], registry=own)
        self._success = Gauge(
            "syncd_last_success_timestamp_seconds", "When a pass last ended well.", ["source"], registry=own
        )
        interval = Gauge("syncd_poll_interval_seconds", "How often a pass is due.", ["source"], registry=own)
        Info("syncd_build", "Which syncd this is.", registry=own).info({"version": version("syncd")})
        ProcessCollector(namespace="syncd", registry=own)
        for source, settings in sources.items():  # a series that begins at 0 shows its first step
            for each in (self._set_aside, self._lost, self._retries, self._failures, self._passes):
                each.labels(source)
            interval.labels(source).set(settings.pass_interval.total_seconds())

    def hear(self, event: str, values: Mapping[str, Any]) -> None:
        """Take in a log event."""
        source = str(values.get("source") or str(values.get("run", "")).partition("/")[0])
        match event:
            case "run_loaded":
                where = source, values["scope"]
                self._runs.labels(*where).inc()
                for counter, key in ((self._rows, "rows"), (self._bytes, "bytes"), (self._rejected, "rejected")):
                    counter.labels(*where).inc(values[key])
            case "run_set_aside":
                self._set_aside.labels(source).inc()
            case "run_expired" if values["seen_alive"]:
                self._lost.labels(source).inc()
            case "request_ended":
                self._requests.labels(source, values["kind"]).observe(values["seconds"])
                self._answers.labels(source, values["kind"], str(values["status"])).inc()
            case "telling_failed" | "telling_given_up":
                self._untold.labels(values["to"]).inc()
            case "retry_planned":
                self._retries.labels(source).inc()
            case "catalogue_published":
                self._commits.observe(values["seconds"])
            case "pass_ended":
                self._passes.labels(source).observe(values["seconds"])
                self._success.labels(source).set(time.time())
            case "pass_failed":
                self._passes.labels(source).observe(values["seconds"])
                self._failures.labels(source).inc()

    def families(self) -> Iterable[Metric]:
        """The same for who sends them elsewhere."""
        return self._registry.collect()

    def text(self) -> bytes:
        """The exposition."""
        return generate_latest(self._registry)


class Shown(Collector):
    """Gauges made anew at each scrape. First what matters most: is what we have fresh, and is anything about to die."""

    def __init__(self, outlook: Callable[[], Outlook], vitals: Vitals) -> None:
        self._outlook, self._vitals = outlook, vitals

    def collect(self) -> Iterator[Metric]:
        seen = self._outlook()
        where = ["source", "scope"]
        newest = gauge("newest_period_age_seconds", "Since the end of the newest period that is loaded.", *where)
        complete = gauge("complete_up_to_age_seconds", "Since the end of the first stretch without a hole.", *where)
        slack = gauge("slack_seconds", "Until the next file that isn't home dies; +Inf when all are home.", "source")
        runs = gauge("runs", "Runs by what became of them.", "source", "state")
        gaps = gauge("gaps", "Expected periods that are not here.", *where, "state")
        missed = Counts((gap.source, gap.scope, gap.state) for gap in seen.gaps)
        for name, source in seen.status["sources"].items():
            left = source["slack_hours"]
            slack.add_metric([name], float("inf") if left is None else left * 3600)
            for state in STATES:
                runs.add_metric([name, state], source["runs"].get(state, 0))
            for scope, fresh in source["scopes"].items():
                if fresh["age"] is not None:
                    newest.add_metric([name, scope], fresh["age"])
                    complete.add_metric([name, scope], (seen.at - fresh["complete_up_to"]).total_seconds())
                for state in GAPS:
                    gaps.add_metric([name, scope, state], missed[name, scope, state])
        yield from (newest, complete, slack, runs, gaps)
        yield plain("ok", "1: no source is in trouble, no run set aside or lost.", float(seen.status["ok"]))
        yield plain("carried_runs", "Runs on their way at this moment.", len(self._vitals.carried()))
        yield plain("tick_age_seconds", "Since the loop last turned.", self._vitals.tick_age_s)
        yield plain("disk_free_bytes", "Free on the disk that holds data_dir.", seen.disk.free)
        yield plain("disk_size_bytes", "Size of the disk that holds data_dir.", seen.disk.total)
        used = gauge("disk_used_bytes", "What lies there, by what for; measured every ten minutes.", "folder")
        for folder, size in seen.disk.used.items():
            used.add_metric([folder], size)
        yield used


def gauge(name: str, told: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"syncd_{name}", told, labels=labels)


def plain(name: str, told: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"syncd_{name}", told, value=value)
