"""The way to the collector. What fails there is told as an event of ours, once, and never with a URL."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import structlog
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics.export import MetricExportResult, MetricsData
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from syncd.settings.telling import OtelSettings

TIMEOUT_S = 10

log = structlog.get_logger()


def exporters(settings: OtelSettings) -> tuple[Spans, Points]:
    """For traces and for metrics."""
    quiet = logging.getLogger("opentelemetry")  # what it would print is not in our form, and may hold the URL
    quiet.addHandler(logging.NullHandler())
    quiet.propagate = False
    base = str(settings.endpoint).rstrip("/")
    headers = {"authorization": settings.authorization.get_secret_value()} if settings.authorization else {}
    more: dict[str, Any] = {"headers": headers, "timeout": TIMEOUT_S}
    health = Health()
    return (
        Spans(OTLPSpanExporter(endpoint=f"{base}/v1/traces", **more), health),
        Points(OTLPMetricExporter(endpoint=f"{base}/v1/metrics", **more), health),
    )


def resource() -> Resource:
    """Who we are; OTEL_RESOURCE_ATTRIBUTES adds to it."""
    return Resource.create({"service.name": "syncd", "service.version": version("syncd")})


class Health:
    """Tells when the collector stops taking things, not each time that it does not."""

    def __init__(self) -> None:
        self._failing: set[str] = set()

    def note(self, what: str, *, arrived: bool, error: str = "it refused them, or did not answer") -> None:
        if arrived:
            self._failing.discard(what)
        elif what not in self._failing:
            self._failing.add(what)
            hint = "does a collector listen at otel.endpoint? it is tried again"
            log.warning("otel_failed", what=what, error=error, hint=hint)


class Spans(SpanExporter):
    """Traces, with their arrival noted."""

    def __init__(self, inner: OTLPSpanExporter, health: Health) -> None:
        self._inner, self._health = inner, health

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        try:
            result = self._inner.export(spans)
        except Exception as error:  # a client of another library, whose errors may hold the URL
            self._health.note("traces", arrived=False, error=type(error).__name__)
            return SpanExportResult.FAILURE
        self._health.note("traces", arrived=result is SpanExportResult.SUCCESS)
        return result

    def shutdown(self) -> None:
        self._inner.shutdown()  # type: ignore[no-untyped-call]  # it has no annotations


class Points:
    """Metrics, with their arrival noted."""

    def __init__(self, inner: OTLPMetricExporter, health: Health) -> None:
        self._inner, self._health = inner, health

    def export(self, metrics: MetricsData) -> None:
        try:
            result = self._inner.export(metrics)
        except Exception as error:  # as above
            self._health.note("metrics", arrived=False, error=type(error).__name__)
        else:
            self._health.note("metrics", arrived=result is MetricExportResult.SUCCESS)
