"""Exports that a vendor makes only when it is asked.

    note     what we are about to ask for, before we ask
    submit   ask, or adopt what a stop kept us from noting; keep the ticket
    poll     with growing pauses, until it is a finished run, must be asked for anew, or waits for a person

A stop anywhere costs a second look, never a second export: a source finds what it asked for by its derived name.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import islice

import structlog

from syncd.errors import BadRun, Barred, HandOver, StartOver, SyncdError, TryAgain, Unsent
from syncd.model import ExportRequest, MustAsk, Run, Source
from syncd.state import ASKED, SET_ASIDE, WAITING, Noted, Requests

OVERDUE, OVERDUE_AFTER = "OVERDUE", timedelta(days=2)  # files that a person should have brought
ATTEMPTS = 3  # of one export that fails at the vendor, before it is set aside
LEAST_PAUSE = timedelta(seconds=5)  # before what could not be sent is sent again
LONGEST_PAUSE = timedelta(minutes=5)  # between two looks at an export
LONGEST_BARRED = timedelta(days=1)  # between two tries of what a right is missing for

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


def ask(
    source: Source,
    requests: Requests,
    known: Container[str],
    now: datetime,
    landed: Callable[[ExportRequest], Run | None] = lambda _: None,
) -> Answers:
    """Ask for what is due, as far as the vendor may work on it at once, and look at what was asked for.

    `known`: ids of runs that are loaded or in flight; `landed`: the run, when its bytes are all here nevertheless.
    ConfigError: the vendor refuses us. One caller at a time.
    """
    if not isinstance(source, MustAsk):
        return Answers()
    requests.remember(source.name, known)
    noted, answers = requests.of(source.name), Answers()
    seen = [look(source, requests, one, now) for one in noted]
    for one in seen:
        answers.take(one)
    covered = {same(one.request) for one in noted}  # the vendor is asked once for what two requests would bring
    barred = {one.request.scope for one in seen if isinstance(one, Noted) and is_barred(one)}
    due = (
        request
        for request in source.due(now)
        if request.id not in known and same(request) not in covered and request.scope not in barred
    )
    for request in islice(due, max(0, source.in_flight - answers.in_flight)):
        if here := landed(request):  # it had come home before the state was lost
            answers.take(here)
            continue
        fresh = Noted(replace(request, asked_at=now))
        requests.note(fresh)  # one by one: what is noted may have been asked for
        became = look(source, requests, fresh, now)
        if isinstance(became, Noted) and is_barred(became):
            barred.add(request.scope)
        answers.take(became)
    looks = [one.look_at or one.request.asked_at for one in answers.outstanding if one.state == ASKED]
    if answers.in_flight < source.in_flight and next(due, None):
        looks.append(now)
    answers.look_again_at = min(looks, default=None)
    return answers


def same(request: ExportRequest) -> tuple[object, ...]:
    """Equal for requests that bring the same, the later ones more of it."""
    return request.job, request.start, request.end


def is_barred(noted: Noted) -> bool:
    """Whether it was set aside for a right that is missing."""
    return noted.state == SET_ASIDE and noted.look_at is not None


def look(source: MustAsk, requests: Requests, noted: Noted, now: datetime) -> Run | Noted:
    """The finished run, or what is noted of the request now. Trouble with one request ends with it."""
    if now < (noted.look_at or noted.request.asked_at) or (noted.state == SET_ASIDE and not is_barred(noted)):
        return noted
    trying = anew(noted, now) if is_barred(noted) else noted
    if is_planned(trying):  # from here on a stop leaves a doubt whether the vendor has heard of it
        trying = Noted(replace(trying.request, asked_at=now))
        requests.note(trying)
    seen = looked(source, requests, trying, now)
    if isinstance(seen, Run):
        return seen
    if is_planned(seen) and seen.request.attempt == 1:  # nobody has heard of it: it is simply due again
        requests.forget(seen.request.source, seen.request.id)
    else:
        requests.note(seen)
    tell(noted, seen)
    return seen


def looked(source: MustAsk, requests: Requests, noted: Noted, now: datetime) -> Run | Noted:
    """Ask, if that was not done yet, and look: what the answer, or each error, makes of it."""
    request = noted.request
    seen = replace(noted, look_at=now + pause(source, request, now), error="", hint="")
    try:
        if not noted.ticket:
            seen = replace(seen, ticket=source.submit(request))
            requests.note(seen)
            log.info("run_asked", run=request.name, attempt=request.attempt, ticket=seen.ticket)
        return source.poll(request, seen.ticket) or replace(seen, state=ASKED)
    except StartOver as error:
        in_a_while = now + request.attempt**2 * timedelta(minutes=1)
        again = request.attempt < ATTEMPTS
        seen = anew(seen, in_a_while) if again else replace(seen, state=SET_ASIDE, look_at=None)
        return told(seen, error, f"when the vendor has mended it: syncd retry {request.name}")
    except HandOver as error:
        overdue = f"{OVERDUE}, asked for on {request.asked_at:%Y-%m-%d}: " if is_overdue(request.asked_at, now) else ""
        return replace(seen, state=WAITING, error=f"{overdue}{error}", hint=error.hint)
    except Barred as error:
        later = now + min(source.job_poll * 2.0 ** min(request.attempt, 30), LONGEST_BARRED)
        return told(replace(seen, state=SET_ASIDE, look_at=later), error)
    except BadRun as error:
        return told(replace(seen, state=SET_ASIDE, look_at=None), error)
    except Unsent as error:
        at = now + max(LEAST_PAUSE, timedelta(seconds=error.after or 0))
        return told(replace(seen, look_at=at, request=replace(request, asked_at=at)), error)
    except TryAgain as error:
        asked_for = timedelta(seconds=error.after or 0)
        return told(replace(seen, look_at=max(seen.look_at or now, now + asked_for)), error)


def is_planned(noted: Noted) -> bool:
    """Whether it is to be asked for at an instant, and surely was not yet."""
    return not noted.ticket and noted.look_at == noted.request.asked_at


def is_overdue(asked_at: datetime, now: datetime) -> bool:
    """Whether a person should have brought the files long since."""
    return now - asked_at > OVERDUE_AFTER


def pause(source: MustAsk, request: ExportRequest, now: datetime) -> timedelta:
    """Until the next look: short at first, then ever longer."""
    return min(max((now - request.asked_at) / 4, source.job_poll), LONGEST_PAUSE)


def anew(noted: Noted, at: datetime) -> Noted:
    """The next attempt at the same run, to be made then."""
    return Noted(replace(noted.request, attempt=noted.request.attempt + 1, asked_at=at), look_at=at)


def told(noted: Noted, error: SyncdError, hint: str = "") -> Noted:
    return replace(noted, error=str(error), hint=error.hint or hint)


def tell(before: Noted, now: Noted) -> None:
    """Log what became of a request, once."""
    attempts = before.request.attempt == now.request.attempt or is_barred(now)
    if (before.state, before.error) == (now.state, now.error) and attempts:
        return
    fields = {"run": now.request.name, "attempt": now.request.attempt, "error": now.error, "hint": now.hint}
    if now.state == SET_ASIDE:
        log.error("run_set_aside", **fields)
    elif now.state == WAITING and now.error.startswith(OVERDUE):
        log.error("run_overdue", **fields)
    elif now.state == WAITING:
        log.warning("run_awaits_files", **fields)
    elif now.error:
        log.warning("run_waits", **fields)
