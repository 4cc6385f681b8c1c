"""Traces made of log events: a pass is a trace, in it each run, each request and each commit is a span."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, Status, StatusCode

from syncd.otel.sending import Spans

RUN_ENDS = {"run_loaded", "run_unchanged", "run_set_aside", "run_waits", "run_expired"}
WITHIN_RUN = {"part_landed", "part_staged", "run_started_over", "run_committed"}
ALIKE = {"event", "level", "at", "source", "refused"}  # not worth an attribute


class Traces:
    """Listens to the log. Any thread."""

    def __init__(self, exporter: Spans, resource: Resource) -> None:
        self._provider = TracerProvider(resource=resource)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("syncd")
        self._open: dict[str, Span] = {}  # passes by source, runs by name
        self._lock = threading.Lock()

    def hear(self, event: str, values: Mapping[str, Any]) -> None:
        """Take in a log event."""
        run = str(values.get("run", ""))
        source = str(values.get("source") or run.partition("/")[0])
        with self._lock:
            if event == "pass_began":
                self._open[source] = self._tracer.start_span("pass", attributes={"syncd.source": source})
            elif event in ("pass_ended", "pass_failed"):
                self._end(source, values, failed=event == "pass_failed")
            elif event == "run_began":
                self._open[run] = self._span("run", source, values)
            elif event in RUN_ENDS:
                self._end(run, dict(values, outcome=event.removeprefix("run_")), failed=event == "run_set_aside")
            elif event in WITHIN_RUN and run in self._open:
                self._open[run].add_event(event, attributes_of(values))
            elif event == "retry_planned" and source in self._open:
                self._open[source].add_event(event, attributes_of(values))
            elif event in ("request_ended", "catalogue_published"):
                name = "request" if event == "request_ended" else "commit"
                began = time.time_ns() - int(values["seconds"] * 1e9)
                self._span(name, source, values, began).end()

    def close(self) -> None:
        """End what is open, and send all that is left."""
        with self._lock:
            for span in self._open.values():
                span.end()
            self._open.clear()
        self._provider.shutdown()

    def _span(self, name: str, source: str, values: Mapping[str, Any], began: int | None = None) -> Span:
        """A span in the pass over its source, where one is under way."""
        above = trace.set_span_in_context(self._open[source]) if source in self._open else None
        attributes = {"syncd.source": source} | attributes_of(values)
        return self._tracer.start_span(name, above, attributes=attributes, start_time=began)

    def _end(self, key: str, values: Mapping[str, Any], *, failed: bool) -> None:
        span = self._open.pop(key, None)
        if span is None:
            return
        span.set_attributes(attributes_of(values))
        if failed:
            span.set_status(Status(StatusCode.ERROR, str(values.get("error", ""))))
        span.end()


def attributes_of(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of an event, in forms that OTLP has."""
    plain = {key: one for key, one in values.items() if key not in ALIKE and one is not None}
    return {f"syncd.{key}": one if isinstance(one, str | int | float) else str(one) for key, one in plain.items()}
