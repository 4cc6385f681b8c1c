"""Log lines on stderr: one event per fact, values as fields; JSON for machines, colours for people.

No secret and no signed URL may get out: what looks like one is cut even if a caller slips.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Literal

import structlog
from structlog.typing import EventDict, Processor

from syncd.errors import scrub

LogFormat = Literal["json", "console"]

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def set_up(log_format: LogFormat | None = None, *, least: int = logging.INFO) -> None:
    """Log to stderr what is at `least` so grave, in colours where a person watches, else in JSON.

    What is less grave is still heard by who is `listening`: a debug event is for counting.
    """

    def drop(_logger: Any, method: str, event: EventDict) -> EventDict:
        if LEVELS[method] < least:
            raise structlog.DropEvent
        return event

    chosen = log_format or ("console" if sys.stderr.isatty() else "json")
    last: list[Processor] = (
        [_plain_instants, structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), timestamp_key="at")]
        if chosen == "console"
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(serializer=_json)]
    )
    structlog.configure(
        processors=[
            drop,
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
            _scrub_values,
            *last,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )


@contextmanager
def listening(*hear: Callable[[str, Mapping[str, Any]], None]) -> Iterator[None]:
    """Tell each of `hear` every event (name, values) before it is printed. Any thread; must return at once."""

    def tell(_logger: Any, _method: str, event: EventDict) -> EventDict:
        event = _scrub_values(_logger, _method, event)
        for one in hear:
            one(str(event["event"]), event)
        return event

    before = structlog.get_config()["processors"]
    structlog.configure(processors=[tell, *before])
    try:
        yield
    finally:
        structlog.configure(processors=before)


def _scrub_values(_logger: Any, _method: str, event: EventDict) -> EventDict:
    return {key: scrub(value) if isinstance(value, str) else value for key, value in event.items()}


def _plain_instants(_logger: Any, _method: str, event: EventDict) -> EventDict:
    return {key: value.isoformat() if isinstance(value, datetime) else value for key, value in event.items()}


def _json(event: EventDict, **_: Any) -> str:
    import orjson

    return orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
