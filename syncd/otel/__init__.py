"""OpenTelemetry, an extra, off by default: traces made of log events, metrics as Prometheus has them; OTLP over HTTP.

Nothing here may hold up or end the mirror. What the collector does not take is said once, until it takes it again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from syncd.errors import ConfigError
from syncd.log import listening
from syncd.settings import Settings

LEAVE_S = 2.0  # for what is still to be sent when we stop


def installed(settings: Settings) -> None:
    """ConfigError when `[otel]` is wanted and the extra is not there."""
    if not settings.otel.endpoint:
        return
    try:
        import opentelemetry.exporter.otlp.proto.http
        import opentelemetry.sdk  # noqa: F401  # only whether it is there
    except ImportError as error:
        hint = "pip install 'syncd[otel]' (an image: deploy/docker/build --extras), or take otel.endpoint out"
        raise ConfigError("otel.endpoint is set, but OpenTelemetry is not installed", hint=hint) from error


@contextmanager
def exporting(settings: Settings, families: Callable[[], Any] | None = None) -> Iterator[None]:
    """Send traces of what happens inside, and metrics now and then. `families`: as a Prometheus registry collects."""
    if not settings.otel.endpoint:
        yield
        return
    installed(settings)
    from syncd.otel.metrics import Metrics
    from syncd.otel.sending import exporters, resource
    from syncd.otel.traces import Traces

    spans, points = exporters(settings.otel)
    traces, done = Traces(spans, resource()), threading.Event()
    metrics = Metrics(points, resource(), families) if families else None
    every_s = settings.otel.metrics_every.total_seconds()
    if metrics:
        threading.Thread(target=metrics.keep_sending, args=[every_s, done], name="otel", daemon=True).start()
    try:
        with listening(traces.hear):
            yield
    finally:
        done.set()
        last = threading.Thread(target=leave, args=[traces, metrics], daemon=True)
        last.start()
        last.join(LEAVE_S)


def leave(traces: Any, metrics: Any) -> None:
    """Send what is left, unless it takes too long."""
    if metrics:
        metrics.send()
    traces.close()
