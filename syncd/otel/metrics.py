"""The metrics of `/metrics` as OTLP has them: the same names and figures, so one dashboard does for both."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import structlog
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from syncd.otel.sending import Points

CUMULATIVE = AggregationTemporality.CUMULATIVE

UNITS = {"seconds": "s", "bytes": "By"}

log = structlog.get_logger()


class Metrics:
    """Collects and sends."""

    def __init__(self, points: Points, resource: Resource, families: Callable[[], Iterable[Any]]) -> None:
        self._points, self._resource, self._families = points, resource, families
        self._began = time.time_ns()

    def keep_sending(self, every_s: float, done: threading.Event) -> None:
        """Until the end."""
        while not done.wait(every_s):
            self.send()

    def send(self) -> None:
        """Once, now."""
        try:
            metrics = list(converted(self._families(), self._began, time.time_ns()))
        except Exception as error:  # what can't be looked at now is no reason to end
            hint = "what the log says before this is why"
            log.warning("otel_failed", what="metrics", error=type(error).__name__, hint=hint)
            return
        scope = ScopeMetrics(InstrumentationScope("syncd"), metrics, "")
        self._points.export(MetricsData([ResourceMetrics(self._resource, [scope], "")]))


def converted(families: Iterable[Any], began: int, now: int) -> Iterator[Metric]:
    """Prometheus' families as OTLP's metrics."""
    for family in families:
        if not family.samples:
            continue
        unit = UNITS.get(family.name.rpartition("_")[2], "1")
        match family.type:
            case "counter":
                data: Sum | Gauge | Histogram = Sum(numbers(family, began, now), CUMULATIVE, is_monotonic=True)
            case "histogram":
                data = Histogram(list(histograms(family, began, now)), CUMULATIVE)
            case _:
                data = Gauge(numbers(family, began, now))
        yield Metric(family.name, family.documentation, unit, data)


def numbers(family: Any, began: int, now: int) -> list[NumberDataPoint]:
    return [NumberDataPoint(one.labels, began, now, one.value) for one in family.samples]


def histograms(family: Any, began: int, now: int) -> Iterator[HistogramDataPoint]:
    """One for each set of labels; Prometheus adds its buckets up, OTLP counts each by itself."""
    found: defaultdict[tuple[tuple[str, str], ...], dict[str, Any]] = defaultdict(lambda: {"buckets": {}})
    for one in family.samples:
        labels = {name: text for name, text in one.labels.items() if name != "le"}
        place = found[tuple(sorted(labels.items()))]
        if one.name.endswith("_bucket"):
            place["buckets"][float(one.labels["le"])] = int(one.value)
        else:
            place[one.name.rpartition("_")[2]] = one.value
    for key, seen in found.items():
        bounds, totals = zip(*sorted(seen["buckets"].items()), strict=True)
        counts = [total - before for total, before in zip(totals, (0, *totals), strict=False)]
        unknown: Any = None  # Prometheus keeps neither the least nor the greatest
        yield HistogramDataPoint(
            dict(key), began, now, int(seen["count"]), seen["sum"], counts, bounds[:-1], unknown, unknown
        )
