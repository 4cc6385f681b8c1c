"""The daemon's own HTTP: health, readiness, metrics, the status as JSON, a page for people, the tables. Read-only.

It runs in a thread beside the loop and shares nothing with a pass but what is made for being looked at. Whoever
comes through here sees no secret and no signed URL: neither ever gets into what is shown.
"""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import structlog
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from syncd.assemble import House
from syncd.errors import ConfigError, SyncdError
from syncd.http.guard import Guard
from syncd.http.metrics import Metrics
from syncd.http.page import STATIC, page
from syncd.http.warehouse import Warehouse
from syncd.outlook import Lookout, Outlook
from syncd.rights import usable
from syncd.settings import host_of
from syncd.show import jsoned
from syncd.vitals import STALE_S, Vitals

Answer = Callable[[Request], Response]
log = structlog.get_logger()


def app(house: House, vitals: Vitals, metrics: Metrics, outlook: Callable[[], Outlook]) -> Guard:
    """Everything that is answered."""

    def healthz(_request: Request) -> Response:
        if vitals.is_turning:
            return PlainTextResponse("ok\n")
        return PlainTextResponse(f"the loop last turned more than {STALE_S:.0f} s ago\n", 503)

    def readyz(_request: Request) -> Response:
        try:
            usable(house.settings.data_dir)
        except SyncdError:
            return PlainTextResponse("data_dir can't be written; see the log\n", 503)
        if not vitals.is_heard:
            return PlainTextResponse("no answer yet from some source; see the log\n", 503)
        return PlainTextResponse("ok\n") if vitals.is_turning else healthz(_request)

    def exposition(_request: Request) -> Response:
        return Response(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    def status(_request: Request) -> Response:
        return Response(jsoned(outlook().status), media_type="application/json")

    def front(_request: Request) -> Response:
        return Response(page(outlook(), vitals.carried(), house.settings.tell.expiring_within), media_type="text/html")

    def static(request: Request) -> Response:
        body, kind = STATIC[request.url.path]
        return Response(body, media_type=kind)

    warehouse = Warehouse(house.settings)
    answers: dict[str, Answer] = {
        "/": front,
        "/healthz": healthz,
        "/readyz": readyz,
        "/metrics": exposition,
        "/api/status": status,
    }
    answers |= {"/warehouse.duckdb": warehouse.catalogue, "/lake/{path:path}": warehouse.file}
    routes = [Route(path, answer) for path, answer in (answers | dict.fromkeys(STATIC, static)).items()]
    troubles: Any = {SyncdError: out_of_order, Exception: out_of_order}
    return Guard(Starlette(routes=routes, exception_handlers=troubles), house.settings.http)


def out_of_order(request: Request, error: Exception) -> Response:
    """A page that fails takes nothing with it; what is told is in the log, for its words may be anybody's."""
    log.error("page_failed", path=request.url.path, error=str(error), kind=type(error).__name__)
    return PlainTextResponse("this can't be shown now; see the log\n", 503 if isinstance(error, SyncdError) else 500)


@contextmanager
def serving(house: House, vitals: Vitals, outlook: Lookout) -> Iterator[Metrics]:
    """Serve on `[http] listen` until the end of the block; where that address can't be had, say so and go on."""
    metrics = Metrics(outlook, vitals, house.settings.sources)
    try:
        listening = bound(house.settings.http.listen)
    except ConfigError as error:  # a page can wait; files that the vendor deletes can't
        log.error("http_refused", error=str(error), hint=error.hint)
        yield metrics
        return
    with listening as wire:
        quiet = logging.getLogger("uvicorn")  # what it would print is not in our form; a failed page is logged by us
        quiet.addHandler(logging.NullHandler())
        quiet.propagate = False
        config = uvicorn.Config(
            app(house, vitals, metrics, outlook),
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="off",
            ws="none",
            limit_concurrency=64,
            timeout_graceful_shutdown=1,
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [wire]}, name="http", daemon=True)
        thread.start()
        host, port = wire.getsockname()[:2]
        vitals.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        log.info("http_listens", url=f"http://{vitals.address}/")
        try:
            yield metrics
        finally:
            server.should_exit = True
            thread.join(5)


def bound(listen: str) -> socket.socket:
    """A socket that listens there; port 0 is a free one."""
    host, port = host_of(listen), int(listen.rpartition(":")[2])
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, dualstack_ipv6=host == "::")
    except OSError as error:
        raise ConfigError(
            f"http.listen = {listen!r}: {error.strerror}",
            hint="choose another port (0 takes a free one), or end what listens there: ss -ltnp",
        ) from error
