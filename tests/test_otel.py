"""OpenTelemetry against a real OTLP/HTTP receiver, which decodes what comes."""

from __future__ import annotations

import gzip
import json  # noqa: TID251  # log lines as any reader takes them
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.home import Home
from tests.sandbox_fixture import running
from tests.test_http import daemon, scraped, until

SECRET = "planted-0te1-77"
ERROR = 2


class Collector:
    """What came, and what is answered."""

    def __init__(self) -> None:
        self.url, self.status, self.slow_s = "", 200, 0.0
        self.spans: list[Any] = []
        self.metrics: dict[str, Any] = {}  # as last told
        self.resource: dict[str, str] = {}
        self.authorizations: set[str | None] = set()

    def take(self, path: str, body: bytes) -> None:
        match path.removeprefix(f"/{SECRET}"):
            case "/v1/traces":
                for each in ExportTraceServiceRequest.FromString(body).resource_spans:
                    self.resource = {one.key: one.value.string_value for one in each.resource.attributes}
                    self.spans += [span for scope in each.scope_spans for span in scope.spans]
            case "/v1/metrics":
                for each in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                    self.metrics |= {one.name: one for scope in each.scope_metrics for one in scope.metrics}
            case _:
                raise AssertionError(path)


@contextmanager
def collecting() -> Iterator[Collector]:
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            packed = self.headers.get("Content-Encoding") == "gzip"
            collector.authorizations.add(self.headers.get("Authorization"))
            time.sleep(collector.slow_s)
            if collector.status == 200:
                collector.take(self.path, gzip.decompress(body) if packed else body)
            try:
                self.send_response(collector.status)
                self.end_headers()
            except ConnectionError:
                self.close_connection = True

        def log_message(self, *_: Any) -> None:
            """Be quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        collector.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield collector
        finally:
            server.shutdown()
            thread.join()


def attributes(span: Any) -> dict[str, Any]:
    return {one.key: one.value.string_value or one.value.int_value or one.value.double_value for one in span.attributes}


def named(collector: Collector, name: str) -> list[Any]:
    return [span for span in collector.spans if span.name == name]


def test_a_pass_is_a_trace_of_its_runs_requests_and_commits(tmp_path: Path) -> None:
    with running(jobs=1, days=2, frequency="daily", rows=20) as vendor, collecting() as collector:
        otel = {"endpoint": collector.url, "authorization": f"Bearer {SECRET}"}
        home = Home(tmp_path, {"acme": vendor.settings()}, otel=otel)
        log = home.once().stderr
        asked = vendor.log()["requests"]
    (pass_,) = named(collector, "pass")
    assert not pass_.parent_span_id
    assert collector.resource["service.name"] == "syncd"
    runs = {attributes(span)["syncd.run"]: span for span in named(collector, "run")}
    assert set(runs) == {f"acme/{run['run']}" for run in home.json("runs")}
    for name, span in runs.items():
        assert (span.trace_id, span.parent_span_id) == (pass_.trace_id, pass_.span_id)
        assert attributes(span)["syncd.outcome"] == "loaded"
        ((rows,),) = home.query(f"SELECT rows FROM _syncd.runs WHERE 'acme/' || run = '{name}'")
        assert attributes(span)["syncd.rows"] == rows
        assert {event.name for event in span.events} == {"part_landed", "part_staged", "run_committed"}
        assert pass_.start_time_unix_nano <= span.start_time_unix_nano < span.end_time_unix_nano
    requests = named(collector, "request")
    assert len(requests) == len(asked)
    assert {span.trace_id for span in requests} == {pass_.trace_id}
    assert named(collector, "commit")
    assert collector.authorizations == {f"Bearer {SECRET}"}
    told = log + "".join(str(span) for span in collector.spans)
    for secret in (SECRET, vendor.client_secret, "signature"):
        assert secret not in told


def test_what_fails_is_an_error_in_the_trace(tmp_path: Path) -> None:
    with running(jobs=1, days=1, frequency="daily", rows=50, broken_lines=30) as vendor, collecting() as collector:
        wrong = vendor.settings() | {"client_secret": SECRET}
        home = Home(tmp_path, {"acme": vendor.settings(), "wrong": wrong}, otel={"endpoint": collector.url})
        home.once(expect=2)
    (run,) = named(collector, "run")
    assert (run.status.code, attributes(run)["syncd.outcome"]) == (ERROR, "set_aside")
    codes = {attributes(span)["syncd.source"]: span.status.code for span in named(collector, "pass")}
    assert codes == {"acme": 0, "wrong": ERROR}
    assert SECRET not in "".join(str(span) for span in collector.spans)


def test_the_metrics_are_those_that_prometheus_reads(tmp_path: Path) -> None:
    with running(jobs=1, days=2, frequency="daily", rows=20) as vendor, collecting() as collector:
        otel = {"endpoint": collector.url, "metrics_every": "500ms"}
        home = Home(tmp_path, {"acme": vendor.settings()}, otel=otel)
        with daemon(home) as syncd:
            until(lambda: syncd.told("pass_ended"))
            seen = scraped(syncd.client)
            rows = seen['syncd_loaded_rows_total{"scope": "sessions", "source": "acme"}']
            name = "syncd_loaded_rows"
            until(lambda: name in collector.metrics and value(collector.metrics[name].sum) == rows)
            until(lambda: "syncd_pass_duration_seconds" in collector.metrics)
            until(lambda: "syncd_newest_period_age_seconds" in collector.metrics)
    assert collector.metrics[name].sum.is_monotonic
    assert value(collector.metrics["syncd_ok"].gauge) == 1
    assert collector.metrics["syncd_newest_period_age_seconds"].unit == "s"
    (passes,) = collector.metrics["syncd_pass_duration_seconds"].histogram.data_points
    assert sum(passes.bucket_counts) == passes.count == 1
    assert len(passes.bucket_counts) == len(passes.explicit_bounds) + 1
    requests = collector.metrics["syncd_request_duration_seconds"].histogram.data_points
    kinds = {one.attributes[0].value.string_value: one for one in requests}
    labels = json.dumps({"kind": "api", "source": "acme"})
    assert kinds["api"].count == seen[f"syncd_request_duration_seconds_count{labels}"]


def value(points: Any) -> float:
    (point,) = points.data_points
    return float(point.as_double or point.as_int)


@pytest.mark.parametrize("mood", ["dead", "slow", "broken"])
def test_a_collector_in_trouble_holds_up_nothing_and_is_told_once(tmp_path: Path, mood: str) -> None:
    with running(jobs=1, days=2, rows=5) as vendor, collecting() as collector:
        collector.slow_s, collector.status = 60.0 if mood == "slow" else 0.0, 400 if mood == "broken" else 200
        endpoint = "http://127.0.0.1:9" if mood == "dead" else collector.url
        home = Home(
            tmp_path,
            {"acme": vendor.settings() | {"poll_interval": "1s"}},
            otel={"endpoint": f"{endpoint}/{SECRET}", "metrics_every": "200ms"},
        )
        with daemon(home) as syncd:
            until(lambda: len(syncd.told("pass_ended")) >= 2)
            if mood == "broken":
                until(lambda: syncd.told("otel_failed"))
                until(lambda: len(syncd.told("pass_ended")) >= 4)
                assert len({one["what"] for one in syncd.told("otel_failed")}) == len(syncd.told("otel_failed"))
            began = time.monotonic()
        assert time.monotonic() - began < 30, "it stops all the same"
        assert SECRET not in "".join(syncd.log)
        assert all(line.startswith("{") for line in syncd.log), "no line of another program"


def test_off_means_not_even_imported() -> None:
    code = "import sys, syncd.duty, syncd.cli; print([name for name in sys.modules if 'opentelemetry' in name])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


def test_without_the_extra_it_is_told_what_to_install(tmp_path: Path) -> None:
    home = Home(tmp_path, {}, otel={"endpoint": "http://127.0.0.1:9"})
    code = "import sys; sys.modules['opentelemetry'] = None; from syncd.cli import main; main()"
    command = [sys.executable, "-c", code, "--config", str(home.config), "check"]
    told = subprocess.run(command, capture_output=True, text=True)
    assert told.returncode == 2
    assert "pip install 'syncd[otel]'" in told.stdout
