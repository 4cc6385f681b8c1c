"""`syncd verify`: the conservation law proved anew from the files themselves; `--repair` mends what can be mended.

Plain verify takes no lock. It proves one generation of the catalogue, and what it misses is a flaw only if the
generation that is published at the end still names it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy.exc import DatabaseError

from syncd.assemble import LANDING, House
from syncd.commits import tell
from syncd.destinations.lake import Lake
from syncd.destinations.lake.catalogue import REPAIR
from syncd.destinations.lake.paths import CATALOGUE, LAKE
from syncd.destinations.lake.proof import Flaw, Key, Published, Row, damaged, digest_of, on_disk, published
from syncd.disk import trouble
from syncd.errors import ConfigError, SyncdError, exit_code_of
from syncd.landing import Landing
from syncd.model import Run, Staged
from syncd.orders import stage_again
from syncd.settings import Settings
from syncd.state import State, open_state, read_state
from syncd.sync import Gone, Mirror, Stopped, land

AT_ONCE = 1000  # landed runs that are looked up together
Read = Callable[[int], None]  # told how many bytes were read
log = structlog.get_logger()


@dataclass
class Verdict:
    """What a proof has shown, and what a repair has done about it."""

    counts: dict[str, int] = field(default_factory=dict)
    flaws: list[Flaw] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # worth knowing, and nothing wrong
    lost: list[Row] = field(default_factory=list)  # what was accepted as lost for good, a row a part
    mended: list[str] = field(default_factory=list)
    troubles: list[SyncdError] = field(default_factory=list)  # what kept us from mending

    @property
    def exit_code(self) -> int:
        """What kept us from mending, or else whether there are flaws."""
        return exit_code_of({trouble.exit_code for trouble in self.troubles} | ({1} if self.flaws else set()))


@trouble("proving the lake")
def prove(
    settings: Settings, read: Read = lambda size: None, *, which: Callable[[Key], bool] = lambda key: True
) -> Verdict:
    """Read the lake and the landed bytes of these runs, and hold them against the ledger. TryAgain: the disk is ill."""
    home, landing = settings.data_dir.absolute(), Landing(settings.data_dir.absolute() / LANDING)
    try:
        with published(home) as ledger:
            if ledger is None:
                return nothing_here(home)
            flaws = [*ledger.misfigured(), *damaged(home, ledger, which, read), *altered(landing, ledger, which, read)]
            runs = ledger.runs({(flaw.source, flaw.run) for flaw in flaws})
            verdict = Verdict(ledger.counts(), list(hinted(flaws, landing, runs)), lost=ledger.lost())
        here = sorted(on_disk(home))
        with published(home) as now:
            if now is None:
                return nothing_here(home)
            named = now.named()
            named_still = [one for one in verdict.flaws if not one.path.startswith(f"{LAKE}/") or one.path in named]
            verdict.flaws = [*named_still, *now.unbound()]
            verdict.notes += noted(settings, landing, now, [path for path in here if path not in named])
    except ConfigError as error:
        return Verdict(flaws=[Flaw("", "", "", CATALOGUE, str(error), error.hint)])
    verdict.lost = [row | {"accepted_at": row["accepted_at"].replace(tzinfo=UTC)} for row in verdict.lost]
    return verdict


def nothing_here(home: Path) -> Verdict:
    """There is no catalogue; is there anything that it should tell of?"""
    if next(on_disk(home), None):
        return Verdict(flaws=[Flaw("", "", "", CATALOGUE, "it is gone, but its lake is there", REPAIR)])
    return Verdict(notes=["nothing has been loaded yet"])


def altered(landing: Landing, ledger: Published, which: Callable[[Key], bool], read: Read) -> Iterator[Flaw]:
    """Landed bytes, where they are kept, that aren't those the ledger tells of; parts that it doesn't know."""
    for keys in batched(landing.ids(), AT_ONCE):
        runs, parts = ledger.runs(keys), ledger.parts(keys)
        for key, row in runs.items():
            run, known = run_of(row), parts[key]
            for part in known if which(key) else ():
                if wrong := altered_part(landing.path(run, part["part"]), part, read):
                    path = landing.path(run, part["part"]).relative_to(landing.root.parent)
                    yield Flaw(*key, part["part"], str(path), wrong)
            for name in set(landing.parts(run) or ()) - {part["part"] for part in known}:
                yield Flaw(*key, name, "", "it was landed, but the ledger doesn't know it")


def batched(keys: Iterable[Key], most: int) -> Iterator[list[Key]]:
    """The same, some at a time."""
    left = iter(keys)
    while some := list(islice(left, most)):
        yield some


def altered_part(path: Path, part: Row, read: Read) -> str:
    """What is wrong with landed bytes; "" where they are as they were, or are not kept."""
    try:
        size = path.stat().st_size
        if size != part["bytes"]:
            return f"{size} bytes, but {part['bytes']} were landed"
        return "" if digest_of(path, read) == part["sha256"] else "its bytes have changed"
    except FileNotFoundError:
        return ""


def noted(settings: Settings, landing: Landing, ledger: Published, unnamed: Iterable[str]) -> Iterator[str]:
    """Files and landed runs that nobody knows of."""
    state: State | None = None
    try:
        state = read_state(settings.state_path)
        underway = {path for source in settings.sources for path in paths(state.staged(source) if state else ())}
        in_flight = names_in_flight(state) if state else set()
    except DatabaseError as error:
        told = "it is put aside at the next start, and nothing is lost with it"
        yield f"state.sqlite can't be read ({error.orig}); {told}"
        underway, in_flight = set(), set()
    finally:
        if state:
            state.close()
    for path in unnamed:
        if path not in underway:
            yield f"orphan: nobody names {path}; a pass removes it when it is an hour old"
    for run in strangers(settings, landing, lambda keys: ledger.runs(keys).keys(), in_flight):
        yield f"{run.name} has landed, but is neither loaded nor in flight; syncd verify --repair brings it home"


def strangers(
    settings: Settings, landing: Landing, known: Callable[[Collection[Key]], Container[Key]], in_flight: set[str]
) -> Iterator[Run]:
    """Runs that are whole on our disk, and that neither the catalogue nor the state knows."""
    for keys in batched((key for key in landing.ids() if key[0] in settings.sources), AT_ONCE):
        loaded = known(keys)
        for run in (landing.run(*key) for key in keys if key not in loaded):
            if run and run.name not in in_flight and landing.parts(run) is not None:
                yield run


def hinted(flaws: Sequence[Flaw], landing: Landing, runs: Mapping[Key, Row]) -> Iterator[Flaw]:
    """The flaws, each with what the operator types next. `runs`: as the ledger has them."""
    spoiled = {(flaw.source, flaw.run) for flaw in flaws if is_landed(flaw)}
    for flaw in flaws:
        key = (flaw.source, flaw.run)
        if is_landed(flaw):
            hint = "syncd verify --repair puts these bytes aside"
        elif key not in runs:
            hint = REPAIR
        elif key not in spoiled and has_landed(landing, *key):
            hint = "syncd verify --repair stages the run again from its landed bytes"
        else:
            hint = f"its landed bytes are gone; {order_again(runs[key])}"
        yield replace(flaw, hint=hint)


def is_landed(flaw: Flaw) -> bool:
    """The vendor's bytes are wrong, not what was made of them."""
    return flaw.path.startswith(f"{LANDING}/")


def order_again(row: Row) -> str:
    """How the vendor is asked for a run again."""
    period = f"from {row['period_start']:%Y-%m-%dT%H:%M:%SZ} to {row['period_end']:%Y-%m-%dT%H:%M:%SZ}"
    return (
        "syncd verify --repair asks the vendor for them; where it has them no more, order the period again: "
        f"a once export of {row['scope']} {period}; or take it for lost: "
        f"syncd verify --accept-loss {row['source']}/{row['run']}"
    )


def rebuilt(settings: Settings, verdict: Verdict, read: Read = lambda size: None) -> Callable[[Lake], None]:
    """How a lake is opened that may have lost its catalogue: it is made again first."""

    def start(lake: Lake) -> None:
        try:
            with published(lake.home) as ledger:
                lost = "" if ledger or not next(on_disk(lake.home), None) else f"{CATALOGUE} was gone"
        except ConfigError as error:
            lost = str(error)
        if lost:
            landing, state = Landing(settings.data_dir / LANDING), open_state(settings.state_path)
            try:
                in_flight = {name for name in names_in_flight(state) if has_landed(landing, *name.split("/", 1))}
            finally:
                state.close()
            made = lake.rebuild(in_flight, read)
            log.warning(
                "catalogue_rebuilt", was=lost, runs=len(made.runs), doubtful=made.doubtful, unknown=made.unknown
            )
            verdict.mended.append(f"{lost}: built again from the lake, {len(made.runs)} runs")
            verdict.notes += made.doubtful
            verdict.notes += [f"{path} doesn't say what it is part of" for path in made.unknown]
        lake.start()

    return start


@trouble("mending the lake")
def repair(house: House, verdict: Verdict, read: Read = lambda size: None, accepted: Collection[str] = ()) -> Verdict:
    """Prove, mend what can be mended, prove that again. Readers keep what they have open.

    `accepted`: runs of which the operator takes for lost what is lost by then. ConfigError: nothing is.
    """
    settings, root = house.settings, house.settings.data_dir.absolute()
    read = heeding(house.stop, read)
    landing, before = Landing(root / LANDING), prove(settings, read)
    broken: dict[Key, list[Flaw]] = {}
    with published(root) as ledger:
        assert ledger is not None, "an open lake has a catalogue"
        holders = ledger.holders({flaw.path for flaw in before.flaws})
        runs = ledger.runs({(flaw.source, flaw.run) for flaw in before.flaws}.union(*holders.values()))
    for flaw in before.flaws:
        for key in holders.get(flaw.path) or {(flaw.source, flaw.run)} & runs.keys():
            broken.setdefault(key, []).append(flaw)
    for key, flaws in broken.items():
        put_aside(landing, run_of(runs[key]), flaws, verdict)
    mend(house, [key for key, flaws in broken.items() if not all(map(is_landed, flaws))], before.flaws, verdict)
    for run in list(strangers(settings, landing, house.lake.known, names_in_flight(house.state))):
        if ready := staged_again(house, run, verdict, accept_rejected=False):
            tell(house.lake.mend([ready]))
            verdict.mended.append(f"{run.name}: had landed, but was neither loaded nor in flight; it is loaded now")
    for source in {*settings.sources, *(path.name for path in (root / LAKE).iterdir())}:
        house.lake.sweep(source, datetime.now(UTC), house.state.staged(source))
    if accepted:
        accept(house.lake, accepted)
    after = prove(settings, read, which=lambda key: key in broken)
    verdict.counts, verdict.flaws, verdict.lost = after.counts, after.flaws, after.lost
    verdict.notes += after.notes
    return verdict


def accept(lake: Lake, names: Collection[str]) -> None:
    """Write down what is lost of these runs, so that it is no flaw any more."""
    with published(lake.home) as ledger:
        lost = [row for row in ledger.losses() if f"{row['source']}/{row['run']}" in names] if ledger else []
    if whole := sorted(set(names) - {f"{row['source']}/{row['run']}" for row in lost}):
        raise ConfigError(f"nothing is lost of {', '.join(whole)}", hint="what is lost, and of which run: syncd verify")
    lake.accept(lost)


def spelled(row: Row) -> str:
    """What is lost of a part."""
    which = f"{row['source']}/{row['run']}, part {row['part']}"
    return f"lost for good: {row['rows']:,} rows and {row['rejected']:,} rejected lines of {which}"


def heeding(stop: threading.Event, read: Read) -> Read:
    """`read`, until we are asked to stop."""

    def told(size: int) -> None:
        if stop.is_set():
            raise Stopped
        read(size)

    return told


def put_aside(landing: Landing, run: Run, flaws: Iterable[Flaw], verdict: Verdict) -> None:
    """Keep landed bytes that are not what landed from ever being parsed."""
    for flaw in filter(is_landed, flaws):
        landing.doubt(run, flaw.part)
        verdict.mended.append(f"{run.name}, part {flaw.part}: its landed bytes had changed, they are put aside")


def mend(house: House, keys: Sequence[Key], flaws: Iterable[Flaw], verdict: Verdict) -> None:
    """Stage runs again, from their landed bytes or the vendor's; files that are lost for good leave the views."""
    ready = []
    for source in dict.fromkeys(source for source, _ in keys):
        ids = {run for of, run in keys if of == source}
        for run in [*landed_again(house, source, ids, verdict)]:
            if one := staged_again(house, run, verdict, accept_rejected=True):
                ready.append(one)
                verdict.mended.append(f"{run.name}: staged again from its landed bytes")
    done = {(run.source, run.id) for run, _ in ready}
    lost = [flaw.path for flaw in flaws if flaw.path and (flaw.source, flaw.run) not in done and not is_landed(flaw)]
    if ready or lost:
        tell(house.lake.mend(ready, lost))


def landed_again(house: House, source: str, ids: set[str], verdict: Verdict) -> Iterator[Run]:
    """Those of the runs whose bytes are all here; what is not, is fetched where the vendor still has it."""
    landing, mirror = Landing(house.settings.data_dir / LANDING), house.mirrors.get(source)
    here = {id for id in ids if has_landed(landing, source, id)}
    yield from (run for id in sorted(here) if (run := landing.run(source, id)))
    if mirror is None or here == ids:
        return
    try:
        offered = [
            run for run in mirror.source.runs(house.lake.loaded(source) - ids, sweep=True) if run.id in ids - here
        ]
    except SyncdError as error:
        verdict.notes.append(f"{source}: the vendor can't be asked for what is lost: {error}")
        return
    for run in offered:
        try:
            land(mirror, run)
            yield run
        except (SyncdError, Gone) as error:
            verdict.notes.append(f"{run.name}: the vendor has its bytes no more: {error}")


def staged_again(
    house: House, run: Run, verdict: Verdict, *, accept_rejected: bool
) -> tuple[Run, Sequence[Staged]] | None:
    """A new generation of the run's files; None, and a note, where there can't be one."""
    mirror: Mirror | None = house.mirrors.get(run.source)
    if mirror is None:
        verdict.notes.append(f"{run.name}: its source isn't configured any more, so it can't be staged again")
        return None
    try:
        with trouble(run.name):
            return run, stage_again(mirror, run, accept_rejected=accept_rejected)
    except SyncdError as error:
        verdict.troubles.append(error)
        verdict.notes.append(f"{run.name}: {error}" + (f"\n  → {error.hint}" if error.hint else ""))
        return None


def has_landed(landing: Landing, source: str, id: str) -> bool:
    """Whether all bytes of a run are on our disk."""
    run = landing.run(source, id)
    return run is not None and landing.parts(run) is not None


def names_in_flight(state: State) -> set[str]:
    """The runs that the state keeps."""
    return {f"{row['source']}/{row['run']}" for row in state.runs()}


def paths(staged: Iterable[Staged]) -> Iterator[str]:
    """Every file of these parts."""
    for part in staged:
        yield from (file.path for file in part.files)
        yield part.rejects


def run_of(row: Row) -> Run:
    """The run behind a row of the ledger, as far as that tells."""
    start, end, completed_at = (
        row[name].replace(tzinfo=UTC) for name in ("period_start", "period_end", "completed_at")
    )
    return Run(row["source"], row["run"], row["scope"], row["format"], start, end, row["job"], completed_at)


def size_of(home: Path) -> int:
    """Bytes that a proof reads, for the progress."""
    return sum(path.stat().st_size for folder in ("lake", LANDING) for path in (home / folder).rglob("*.par*"))


def as_answer(verdict: Verdict) -> dict[str, Any]:
    """The verdict for scripts."""
    flaws = [asdict(flaw) for flaw in verdict.flaws]
    said = {"flaws": flaws, "notes": verdict.notes, "mended": verdict.mended, "lost": verdict.lost}
    return {"ok": verdict.exit_code == 0, **verdict.counts, **said}


def told(verdict: Verdict) -> Iterator[str]:
    """The verdict in lines for people."""
    yield from (f"mended: {text}" for text in verdict.mended)
    yield from (f"note: {text}" for text in verdict.notes)
    yield from map(spelled, verdict.lost)
    for flaw in verdict.flaws:
        where = f"{flaw.source}/{flaw.run}" if flaw.run else flaw.source
        where += f", part {flaw.part}" if flaw.part else ""
        yield ": ".join(filter(None, (where, flaw.path, flaw.text))) + (f"\n  → {flaw.hint}" if flaw.hint else "")
    read = ", ".join(f"{count:,} {name}" for name, count in verdict.counts.items())
    if verdict.flaws:
        yield f"{len(verdict.flaws)} flaw{'s' * (len(verdict.flaws) > 1)}" + (f" in {read}" if read else "")
    elif read:
        yield f"proved: {read}; nothing {'else ' * bool(verdict.lost)}is lost and nothing is doubled"
