"""Exports that a vendor makes only when it is asked.

    note     what we are about to ask for, before we ask
    submit   ask, or adopt what a stop kept us from noting; keep the ticket
    poll     with growing pauses, until it is a finished run, must be asked for anew, or waits for a person

A stop anywhere costs a second look, never a second export: a source finds what it asked for by its derived name.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import islice

import structlog

from syncd.errors import BadRun, HandOver, StartOver, SyncdError, TryAgain, Unsent
from syncd.model import ExportRequest, MustAsk, Run, Source
from syncd.state import ASKED, SET_ASIDE, WAITING, Noted, Requests

ATTEMPTS = 3  # of one export that fails at the vendor, before it is set aside
LEAST_PAUSE = timedelta(seconds=5)  # before what could not be sent is sent again
LONGEST_PAUSE = timedelta(minutes=5)  # between two looks at an export

log = structlog.get_logger()


@dataclass
class Answers:
    """What asking came to."""

    finished: list[Run] = field(default_factory=list)
    outstanding: list[Noted] = field(default_factory=list)  # asked for, or waiting for a person
    look_again_at: datetime | None = None  # when the vendor may have more; None: nothing to look for

    @property
    def in_flight(self) -> int:
        """Exports that the vendor works on."""
        return sum(one.state == ASKED for one in self.outstanding)

    def take(self, seen: Run | Noted) -> None:
        """Add what a look has shown."""
        if isinstance(seen, Run):
            self.finished.append(seen)
        elif seen.state != SET_ASIDE:
            self.outstanding.append(seen)


def ask(source: Source, requests: Requests, known: Container[str], now: datetime) -> Answers:
    """Ask for what is due, as far as the vendor may work on it at once, and look at what was asked for.

    `known`: ids of runs that are loaded or in flight. ConfigError: the vendor refuses us. One caller at a time.
    """
    if not isinstance(source, MustAsk):
        return Answers()
    noted, answers = requests.of(source.name), Answers()
    for one in noted:
        answers.take(look(source, requests, one, now))
    asked_before = {one.request.id for one in noted}
    due = (request for request in source.due(now) if request.id not in asked_before and request.id not in known)
    for request in islice(due, max(0, source.in_flight - answers.in_flight)):
        fresh = Noted(replace(request, asked_at=now))
        requests.note(fresh)  # one by one: what is noted may have been asked for
        answers.take(look(source, requests, fresh, now))
    looks = [one.look_at or one.request.asked_at for one in answers.outstanding if one.state == ASKED]
    if answers.in_flight < source.in_flight and next(due, None):
        looks.append(now)
    answers.look_again_at = min(looks, default=None)
    return answers


def look(source: MustAsk, requests: Requests, noted: Noted, now: datetime) -> Run | Noted:
    """The finished run, or what is noted of the request now. Trouble with one request ends with it."""
    request = noted.request
    if noted.state == SET_ASIDE or now < (noted.look_at or request.asked_at):
        return noted
    seen = replace(noted, look_at=now + pause(source, request, now), error="", hint="")
    try:
        if not noted.ticket:
            seen = replace(seen, ticket=source.submit(request))
            requests.note(seen)
            log.info("run_asked", run=request.name, attempt=request.attempt, ticket=seen.ticket)
        if run := source.poll(request, seen.ticket):
            return run
        seen = replace(seen, state=ASKED)
    except StartOver as error:
        in_a_while = now + request.attempt**2 * timedelta(minutes=1)
        seen = anew(seen, in_a_while) if request.attempt < ATTEMPTS else replace(seen, state=SET_ASIDE)
        seen = told(seen, error, f"when the vendor has mended it: syncd retry {request.name}")
    except HandOver as error:
        seen = told(replace(seen, state=WAITING), error)
    except BadRun as error:
        seen = told(replace(seen, state=SET_ASIDE), error)
    except Unsent as error:
        seen = told(replace(seen, look_at=now + max(LEAST_PAUSE, timedelta(seconds=error.after or 0))), error)
        if request.attempt == 1:  # nobody has heard of it: another process may ask without a doubt
            requests.forget(request.source, request.id)
            tell(noted, seen)
            return seen
    except TryAgain as error:
        asked_for = timedelta(seconds=error.after or 0)
        seen = told(replace(seen, look_at=max(seen.look_at or now, now + asked_for)), error)
    requests.note(seen)
    tell(noted, seen)
    return seen


def pause(source: MustAsk, request: ExportRequest, now: datetime) -> timedelta:
    """Until the next look: short at first, then ever longer."""
    return min(max((now - request.asked_at) / 4, source.job_poll), LONGEST_PAUSE)


def anew(noted: Noted, at: datetime) -> Noted:
    """The next attempt at the same run, to be made then."""
    request = replace(noted.request, attempt=noted.request.attempt + 1, asked_at=at)
    return Noted(request)


def told(noted: Noted, error: SyncdError, hint: str = "") -> Noted:
    return replace(noted, error=str(error), hint=error.hint or hint)


def tell(before: Noted, now: Noted) -> None:
    """Log what became of a request, once."""
    if (before.state, before.error, before.request.attempt) == (now.state, now.error, now.request.attempt):
        return
    fields = {"run": now.request.name, "attempt": now.request.attempt, "error": now.error, "hint": now.hint}
    if now.state == SET_ASIDE:
        log.error("run_set_aside", **fields)
    elif now.state == WAITING:
        log.warning("run_awaits_files", **fields)
    elif now.error:
        log.warning("run_waits", **fields)
