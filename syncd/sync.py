"""THE PROGRAM: one pass over one source. The order of the lines is the guarantee.

    ask      which runs are finished, and which of them are not closed; for exports that are made only when asked for
    land     every part of a run, byte for byte, before anything about it is judged
    stage    each part as Parquet that nobody sees yet; note each as a checkpoint
    judge    the conservation law, the rejected lines, the freeze
    commit   show the whole run in one step: the rename of the catalogue is THE commit point
    forget   only then write down that it is done

A stop before the commit costs a repeat; a stop after it is found in the catalogue. One bad or slow run
never holds up another: each is brought home in a lane of its own, and its trouble ends with it.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Protocol, TypeVar

import structlog

from syncd.asking import Answers, ask
from syncd.commits import Commits, since
from syncd.disk import trouble
from syncd.errors import BadRun, ConfigError, LinkExpired, StartOver, SyncdError, TryAgain
from syncd.inquiry import ask_why, is_due
from syncd.judge import Rules, judge
from syncd.landing import Landing
from syncd.model import Batch, Destination, ExportRequest, Landed, Part, Run, Scope, Staged
from syncd.readings import forget, put_behind, stand_in
from syncd.retry import Also, Patience, Patient
from syncd.stage import stage_part
from syncd.state import EXPIRED, FOUND, SET_ASIDE, STAGING, Noted, State, run_of
from syncd.underway import Underway

LANES = 16  # runs on their way at once: most of the time they wait, and those that are ready together share a commit
FETCHES = 3  # times that a part with damaged bytes is fetched before its run is set aside
GO_ON_WITHIN = timedelta(hours=12)  # of a walk that was cut; an older one is begun again
ASKED_IN_VAIN = 3  # runs found gone in a row, youngest first, before older ones are believed gone unasked

T = TypeVar("T")
log = structlog.get_logger()


class Stopped(Exception):
    """We were asked to stop: drop what is half done and go."""


class Gone(Exception):
    """The vendor has deleted the files of this run, when it says so."""

    def __init__(self, at: datetime) -> None:
        super().__init__(at)
        self.at = at


@dataclass(frozen=True)
class Load:
    """Bring this run home."""

    run: Run


@dataclass(frozen=True)
class Expire:
    """This run should be gone: ask once more, then write that down."""

    run: Run


def plan(on_offer: Iterable[Run], now: datetime) -> list[Load | Expire]:
    """What a pass will do: live runs before a backfill, nearest expiry first; then the doubtful, youngest first."""
    runs = sorted(on_offer, key=lambda run: (run.backfill, run.expires_at, run.id))
    doubtful = sorted((run for run in runs if run.expires_at <= now), key=lambda run: run.expires_at, reverse=True)
    return [Load(run) for run in runs if run.expires_at > now] + [Expire(run) for run in doubtful]


class Watch(Protocol):
    """Who looks on: a progress bar, a status page. Any thread; must return at once."""

    def begin(self, run: Run, parts: int, size: int) -> None: ...

    def landed(self, run: Run, size: int) -> None: ...

    def staged(self, run: Run, rows: int) -> None: ...

    def end(self, run: Run) -> None: ...


@dataclass(frozen=True)
class Mirror:
    """A source, and all that a pass over it needs."""

    source: Patient
    destination: Destination
    state: State
    landing: Landing
    rules: Rules
    patience: Patience  # for what a source can't repeat by itself: landing a part
    fetchers: Executor  # land parts: they wait
    workers: Executor  # stage parts: they compute
    commits: Commits
    watch: Watch
    stop: threading.Event
    share: int = 2  # of the fetchers that one run may hold: one with stalled parts must leave some to the others
    underway: Underway = field(default_factory=Underway)
    asking: threading.Lock = field(default_factory=threading.Lock)  # held by the one who asks for exports
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)


@dataclass(frozen=True)
class End:
    """What became of one run: loaded, unchanged, set_aside, waits (for the next pass), expired, underway with another;
    or asked, waiting (for a person's files): not delivered yet."""

    run: Run | ExportRequest
    what: str
    trouble: SyncdError | None = None


@dataclass
class Outcome:
    """How a pass ended: what became of each run, and what stopped the pass itself."""

    ends: list[End] = field(default_factory=list)
    trouble: SyncdError | None = None
    look_again_at: datetime | None = None  # when the vendor may have finished what it was asked for


def one_pass(mirror: Mirror, *, sweep: bool) -> Outcome:
    """Ask the source what is finished and bring home all that is not closed. Bugs and Stopped pass through."""
    outcome, began = Outcome(), time.monotonic()
    name = mirror.source.name
    log.debug("pass_began", source=name)
    try:
        jobs = mirror.source.jobs()
        log.info("jobs_listed", source=name, jobs=len(jobs))
        mirror.destination.record_jobs(name, jobs)
        mirror.state.record_listed(name, [job.id for job in jobs])
        answers = ask_for_exports(mirror)
        outcome.look_again_at = answers.look_again_at
        outcome.ends += map(not_delivered, answers.outstanding)
        todo = plan(open_runs(mirror, sweep=sweep), mirror.clock())
        with ThreadPoolExecutor(LANES, thread_name_prefix=name) as lanes:
            live = [each.run for each in todo if isinstance(each, Load)]
            outcome.ends += lanes.map(partial(bring_home, mirror), live)
        outcome.ends += give_up(mirror, [each.run for each in todo if isinstance(each, Expire)])
        with trouble("tidying up"):
            tidy(mirror)
        if sweep or is_due(mirror.state, name, mirror.clock()):
            with trouble("tidying up"):
                tidy_landing(mirror)
            ask_why(mirror.source, mirror.destination, mirror.state, jobs, mirror.clock())
    except (ConfigError, TryAgain) as error:
        outcome.trouble = error
    try:
        mirror.state.pass_ended(name, mirror.clock(), outcome.trouble, swept=sweep and not outcome.trouble)
    except TryAgain as error:  # a full disk takes not even this note: the next pass comes all the same
        outcome.trouble = outcome.trouble or error
    took = since(began)
    if failed := outcome.trouble:
        refused = isinstance(failed, ConfigError)
        log.error("pass_failed", source=name, error=str(failed), hint=failed.hint, refused=refused, seconds=took)
    else:
        log.info("pass_ended", source=name, **Counter(end.what for end in outcome.ends), seconds=took)
    return outcome


def ask_for_exports(mirror: Mirror) -> Answers:
    """Have the vendor make what is due; what it has finished is noted as found."""
    name, state = mirror.source.name, mirror.state
    known = Also(mirror.destination.loaded(name), {row["run"] for row in state.runs(name)})
    with mirror.asking:
        answers = ask(mirror.source, state.requests, known, mirror.clock(), partial(landed, mirror))
        state.found(answers.finished, mirror.clock())
        for run in answers.finished:
            state.requests.forget(name, run.id)
            log.info("run_found", run=run.name, scope=run.scope, period_start=run.start, period_end=run.end)
    return answers


def landed(mirror: Mirror, request: ExportRequest) -> Run | None:
    """The run that a request became, when all of it is on our disk already."""
    run = mirror.landing.run(request.source, request.id)
    return run if run and mirror.landing.parts(run) is not None else None


def not_delivered(noted: Noted) -> End:
    """A request's end for now: come back later."""
    said = noted.error or "the vendor works on it"
    hint = noted.hint or "it is kept in mind: syncd once --wait 1h, or leave it to syncd run"
    return End(noted.request, noted.state, TryAgain(f"{noted.request.name}: {said}", hint=hint))


def open_runs(mirror: Mirror, *, sweep: bool) -> list[Run]:
    """Runs on offer that are not closed, noted as found; then those in flight that are offered no more."""
    name, state = mirror.source.name, mirror.state
    loaded = mirror.destination.loaded(name)
    state.forget(name, [row["run"] for row in state.runs(name) if row["run"] in loaded])  # a stop kept us from it
    in_flight = {row["run"]: run_of(row) for row in state.runs(name) if row["state"] in (FOUND, STAGING)}
    closed = loaded | state.closed(name, mirror.clock())
    found: list[Run] = []
    noted = 0

    def note(position: str = "") -> None:
        nonlocal noted
        new, noted = found[noted:], len(found)
        state.found(new, mirror.clock(), (name, position) if position else None)
        for run in new:
            if run.id not in in_flight:
                log.info("run_found", run=run.name, scope=run.scope, period_start=run.start, period_end=run.end)

    mirror.source.go_on_at(state.position(name, mirror.clock() - GO_ON_WITHIN), note)
    for run in mirror.source.runs(closed, sweep=sweep):  # half a walk is no listing, but it need not be walked again
        found.append(run)
    if sweep:  # the state may have been lost, and with it what the vendor has no more
        found += landed_unknown(mirror, Also(closed, {*in_flight, *(run.id for run in found)}))
    note()
    state.walk_ended(name)
    here = {run.id for run in found}
    left = [run for id, run in in_flight.items() if id not in here]
    return [*found, *still_worth_it(mirror, left, {run.scope for run in found})]


def landed_unknown(mirror: Mirror, known: Container[str]) -> Iterator[Run]:
    """Runs that are whole on our disk, though nobody speaks of them."""
    for run in mirror.landing.runs(mirror.source.name, known):
        if mirror.landing.parts(run) is not None:
            yield run


def still_worth_it(mirror: Mirror, runs: Iterable[Run], found: Container[str]) -> Iterator[Run]:
    """Without those that have not landed, where a newer one was found that brings all they would, or all there is."""
    for run in runs:
        replaced = run.is_reading or mirror.source.scope(run.scope).snapshot
        if run.scope in found and replaced and mirror.landing.parts(run) is None:
            mirror.state.forget(run.source, [run.id])
        else:
            yield run


def bring_home(mirror: Mirror, run: Run) -> End:
    """Load one run; whatever trouble it has ends here, by what the error says to do."""
    if mirror.stop.is_set():
        raise Stopped
    with mirror.underway.only(run) as ours:
        return try_to_load(mirror, run) if ours else End(run, "underway")


def try_to_load(mirror: Mirror, run: Run) -> End:
    """`load`, and the answer to each error."""
    try:
        with trouble(run.name):
            return End(run, load(mirror, run))
    except BadRun as error:
        return set_aside(mirror, run, error)
    except TryAgain as error:
        mirror.state.record(run, state=FOUND, error=str(error), hint=error.hint)
        log.warning("run_waits", run=run.name, error=str(error), hint=error.hint)
        return End(run, "waits", error)
    except Gone as gone:
        return expire(mirror, replace(run, expires_at=gone.at))
    finally:
        mirror.watch.end(run)


def load(mirror: Mirror, run: Run) -> str:
    """Bring one run from the vendor to the readers. Repeating it is harmless at any point."""
    log.debug("run_began", **about(run))
    noted = mirror.state.begin(run)
    for fetch in range(1, FETCHES + 1):
        try:
            names = land(mirror, run)
            scope = mirror.destination.scope(run.source, mirror.source.scope(run.scope))
            staged = stage(mirror, run, scope, names)
            mirror.state.record(run, **tally(staged))
            judge(run, scope, staged, mirror.rules, accept_rejected=noted["accept_rejected"])
            if scope.snapshot and run.is_reading and mirror.destination.shows(run, staged):
                return drop(mirror, run)
            mirror.commits(run, staged)
            log.info("run_committed", run=run.name)
            break
        except StartOver as error:
            log.warning("run_started_over", run=run.name, error=str(error))
            mirror.state.forget_staged(run)
            if fetch == FETCHES:
                raise BadRun(f"{error} ({FETCHES} times)", hint=f"once it is mended: syncd retry {run.name}") from error
    put_behind(mirror.state, mirror.landing, run)
    mirror.state.forget(run.source, [run.id])
    if not mirror.rules.keep_landed:
        mirror.landing.forget(run)
    log.info("run_loaded", **about(run), **tally(staged))
    return "loaded"


def set_aside(mirror: Mirror, run: Run, error: BadRun) -> End:
    """Write down that a run needs a person; told once of readings that come to nothing one after the other."""
    noted = stand_in(mirror.state, mirror.landing, run)
    kept = run_of(noted)
    mirror.state.record(kept, state=SET_ASIDE, error=str(error), hint=error.hint)
    if noted["error"] != str(error):
        log.error("run_set_aside", run=kept.name, error=str(error), hint=error.hint)
    return End(kept, "set_aside", error)


def drop(mirror: Mirror, run: Run) -> str:
    """Forget a snapshot that is the very same as the last: it would make no version."""
    put_behind(mirror.state, mirror.landing, run)
    forget(mirror.state, mirror.landing, run)
    log.info("run_unchanged", run=run.name, scope=run.scope)
    return "unchanged"


def land(mirror: Mirror, run: Run) -> list[str]:
    """Have every part of the run on our disk; the names of the parts."""
    here = mirror.landing.parts(run)
    if here is not None:
        mirror.watch.begin(run, len(here), 0)
        return here
    try:
        return fetch(mirror, run)
    except (Gone, BadRun):
        if here := mirror.landing.take_back(run):  # what was doubted is more than what the vendor has
            return here
        raise


def fetch(mirror: Mirror, run: Run) -> list[str]:
    """Bring home the parts that aren't here; the names of all. Gone, BadRun: the vendor has them no more."""
    past_its_promise = mirror.clock() >= run.expires_at
    lacking: BadRun | None = None
    try:
        parts = mirror.source.parts(run)
        mirror.landing.note(run, parts)
    except BadRun as error:
        if past_its_promise:
            raise Gone(run.expires_at) from error
        parts, lacking = error.parts, error  # what there is comes home first, unlisted: the run is not whole
    mirror.watch.begin(run, len(parts), sum(part.size or 0 for part in parts))
    with ThreadPoolExecutor(mirror.share, thread_name_prefix=f"{run.source}-wait") as waiting:
        each_done(waiting, partial(land_part, mirror, run), parts)
    if lacking:
        raise lacking
    return [part.name for part in parts]


def land_part(mirror: Mirror, run: Run, part: Part) -> None:
    """Have one part on our disk; where its link is dead the parts are listed again. Gone: so is the file.

    A fetcher is held only while bytes come; what must be tried again goes behind all that wait for one.
    """

    def progress(size: int) -> None:
        if mirror.stop.is_set():
            raise Stopped
        mirror.watch.landed(run, size)

    def transfer() -> Landed:
        if mirror.stop.is_set():
            raise Stopped
        return mirror.landing.land(mirror.source, run, part, progress)

    def attempt() -> Landed:
        nonlocal part
        try:
            return mirror.fetchers.submit(transfer).result()
        except LinkExpired as error:
            part = next((one for one in mirror.source.parts(run) if one.name == part.name), part)
            if part.expires_at <= mirror.clock():  # even the fresh link is dead
                raise Gone(part.expires_at) from error
            raise TryAgain(str(error), hint=error.hint) from error

    landed = mirror.patience(attempt)
    log.info("part_landed", run=run.name, part=part.name, bytes=landed.bytes)


def stage(mirror: Mirror, run: Run, scope: Scope, names: Sequence[str]) -> list[Staged]:
    """Have every part durable and unseen, each with its checkpoint."""
    done = mirror.state.checkpoints(run)

    def one(name: str) -> None:
        landed = mirror.landing.landed(run, name)
        try:
            staged = stage_part(mirror.destination, scope, run, name, landed, partial(watched, mirror, run))
        except StartOver:
            mirror.landing.doubt(run, name)  # its bytes are damaged: fetch them again, throw nothing away
            raise
        mirror.state.checkpoint(run, staged)
        done[name] = staged
        log.info("part_staged", run=run.name, part=name, rows=staged.rows, rejected=staged.rejected)

    each_done(mirror.workers, one, [name for name in names if name not in done])
    return [done[name] for name in names]


def watched(mirror: Mirror, run: Run, batches: Iterable[Batch]) -> Iterator[Batch]:
    """The same batches, counted for who looks on; ends at a stop."""
    for batch in batches:
        if mirror.stop.is_set():
            raise Stopped
        mirror.watch.staged(run, batch.rows.num_rows)
        yield batch


def about(run: Run) -> dict[str, Any]:
    """What an event of a whole run tells of it."""
    period = {"period_start": run.start, "period_end": run.end}
    return {"run": run.name, "scope": run.scope, "job": run.job, **period}


def tally(staged: Sequence[Staged]) -> dict[str, int]:
    """What a run amounts to."""
    sums = {key: sum(getattr(part, key) for part in staged) for key in ("rows", "rejected", "bytes")}
    return {"parts": len(staged), **sums}


def give_up(mirror: Mirror, runs: Sequence[Run]) -> Iterator[End]:
    """Runs past their vendor's promise, youngest first: ask whether they live on, until several are gone in a row."""
    in_vain = 0
    for run in runs:
        if in_vain >= ASKED_IN_VAIN and mirror.landing.parts(run) is None:
            yield expire(mirror, run)
            continue
        end = bring_home(mirror, run)
        in_vain = in_vain + 1 if end.what == "expired" else 0
        yield end


def expire(mirror: Mirror, run: Run) -> End:
    """Write down that the vendor has deleted a run; a loss only when we had seen it alive."""
    error = BadRun(
        f"{run.name}: the vendor deleted its files on {run.expires_at:%Y-%m-%d %H:%M} UTC",
        hint=f"order the period again at the vendor: a once export of {run.scope} from {run.start:%Y-%m-%dT%H:%M:%SZ}"
        f" to {run.end:%Y-%m-%dT%H:%M:%SZ}",
    )
    noted = mirror.state.record(run, state=EXPIRED, expires_at=run.expires_at, error=str(error), hint=error.hint)
    seen_alive = noted["found_at"] < run.expires_at
    told = log.error if seen_alive else log.info
    told("run_expired", run=run.name, seen_alive=seen_alive, hint=error.hint)
    return End(run, "expired", error if seen_alive else None)


def tidy(mirror: Mirror) -> None:
    """Remove what no reader and no run needs of the lake: files of superseded runs, what torn stagings left."""
    name = mirror.source.name
    mirror.destination.sweep(name, mirror.clock(), mirror.state.staged(name))


def tidy_landing(mirror: Mirror) -> None:
    """Remove landed bytes that are old or too many, here and where the vendor put them for us."""
    name, now, rules = mirror.source.name, mirror.clock(), mirror.rules
    in_flight = [(row["source"], row["run"]) for row in mirror.state.runs() if row["state"] != EXPIRED]
    mirror.landing.sweep(name, rules.keep_landed, [run for source, run in in_flight if source == name], now)
    if rules.cap_landed is not None and (freed := mirror.landing.shrink(rules.cap_landed, in_flight, now)):
        log.info("landing_shrunk", source=name, bytes=freed)
    mirror.source.clear(mirror.destination.loaded(name), now - rules.keep_landed)


def each_done(executor: Executor, action: Callable[[T], None], over: Iterable[T]) -> None:
    """Do `action` for each, side by side; when all have ended, raise the first trouble there was."""
    futures = [executor.submit(action, one) for one in over]
    wait(futures)
    for future in futures:
        future.result()
