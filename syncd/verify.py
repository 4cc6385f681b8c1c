"""`syncd verify`: the conservation law proved anew from the files themselves; `--repair` mends what can be mended.

Plain verify takes no lock. It proves one generation of the catalogue, and what it misses is a flaw only if the
generation that is published at the end still names it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy.exc import DatabaseError

from syncd.assemble import LANDING, STATE, House
from syncd.destinations.lake import Lake
from syncd.destinations.lake.catalogue import REPAIR
from syncd.destinations.lake.paths import CATALOGUE
from syncd.destinations.lake.proof import Flaw, Key, Published, damaged, digest_of, misfigured, on_disk, published
from syncd.errors import ConfigError, SyncdError
from syncd.landing import Landing
from syncd.model import Run, Staged
from syncd.orders import parse_again
from syncd.settings import Settings
from syncd.state import State, open_state, read_state
from syncd.sync import Mirror, Stopped

Read = Callable[[int], None]  # told how many bytes were read
log = structlog.get_logger()


@dataclass
class Verdict:
    """What a proof has shown, and what a repair has done about it."""

    counts: dict[str, int] = field(default_factory=dict)
    flaws: list[Flaw] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # worth knowing, and nothing wrong
    mended: list[str] = field(default_factory=list)
    troubles: list[SyncdError] = field(default_factory=list)  # what kept us from mending

    @property
    def exit_code(self) -> int:
        """The first that applies of 2, 75, 1."""
        codes = {trouble.exit_code for trouble in self.troubles} | ({1} if self.flaws else set())
        return next((code for code in (2, 75, 1) if code in codes), 0)


def prove(
    settings: Settings, read: Read = lambda size: None, *, which: Callable[[Key], bool] = lambda key: True
) -> Verdict:
    """Read the lake and the landed bytes of these runs, and hold them against the ledger. TryAgain: the disk is ill."""
    home, landing = settings.data_dir.absolute(), Landing(settings.data_dir.absolute() / LANDING)
    try:
        ledger = published(home)
    except ConfigError as error:
        return Verdict(flaws=[Flaw("", "", "", CATALOGUE, str(error), error.hint)])
    if ledger is None:
        if next(on_disk(home), None):
            return Verdict(flaws=[Flaw("", "", "", CATALOGUE, "it is gone, but its lake is there", REPAIR)])
        return Verdict(notes=["nothing has been loaded yet"])
    flaws = [*misfigured(ledger), *damaged(home, ledger, which, read), *altered(landing, ledger, which, read)]
    here = sorted(on_disk(home))
    now = published(home) or ledger
    named = now.named()
    flaws = [flaw for flaw in flaws if not flaw.path.startswith("lake/") or flaw.path in named]
    verdict = Verdict(counts_of(ledger), [*(hinted(flaw, landing, ledger) for flaw in flaws), *now.unbound])
    verdict.notes += noted(settings, landing, now, [path for path in here if path not in named])
    return verdict


def altered(landing: Landing, ledger: Published, which: Callable[[Key], bool], read: Read) -> Iterator[Flaw]:
    """Landed bytes, where they are kept, that aren't those the ledger tells of; parts that it doesn't know."""
    known: dict[Key, set[str]] = {}
    for row in ledger.parts:
        key = (row["source"], row["run"])
        known.setdefault(key, set()).add(row["part"])
        if key not in ledger.runs or not which(key):
            continue
        path = landing.path(run_of(ledger.runs[key]), row["part"])
        try:
            size = path.stat().st_size
            wrong = "" if size == row["bytes"] else f"{size} bytes, but {row['bytes']} were landed"
            if not wrong and digest_of(path, read) != row["sha256"]:
                wrong = "its bytes have changed"
        except FileNotFoundError:
            continue
        if wrong:
            yield Flaw(*key, row["part"], str(path.relative_to(landing.root.parent)), wrong)
    for key, row in ledger.runs.items():
        for part in set(landing.parts(run_of(row)) or ()) - known.get(key, set()):
            yield Flaw(*key, part, "", "it was landed, but the ledger doesn't know it")


def noted(settings: Settings, landing: Landing, ledger: Published, unnamed: Iterable[str]) -> Iterator[str]:
    """Files and landed runs that nobody knows of."""
    state: State | None = None
    try:
        state = read_state(settings.data_dir / STATE)
        underway = {path for source in settings.sources for path in paths(state.staged(source) if state else ())}
        in_flight = names_in_flight(state) if state else set()
    except DatabaseError as error:
        yield f"{STATE} can't be read ({error.orig}); it is put aside at the next start, and nothing is lost with it"
        underway, in_flight = set(), set()
    finally:
        if state:
            state.close()
    for path in unnamed:
        if path not in underway:
            yield f"orphan: nobody names {path}; a pass removes it when it is an hour old"
    for run in strangers(settings, landing, ledger, in_flight):
        yield f"{run.name} has landed, but is neither loaded nor in flight; syncd verify --repair brings it home"


def strangers(settings: Settings, landing: Landing, ledger: Published, in_flight: set[str]) -> Iterator[Run]:
    """Runs that are whole on our disk, and that neither the catalogue nor the state knows."""
    for source in settings.sources:
        for run in landing.runs(source):
            if (source, run.id) not in ledger.runs and run.name not in in_flight and landing.parts(run) is not None:
                yield run


def hinted(flaw: Flaw, landing: Landing, ledger: Published) -> Flaw:
    """The flaw, with what the operator types next."""
    row = ledger.runs.get((flaw.source, flaw.run))
    if flaw.path.startswith(f"{LANDING}/"):
        return replace(flaw, hint="syncd verify --repair puts these bytes aside; the rows are in the lake")
    if row is None or replayable(landing, run_of(row), ledger):
        return replace(flaw, hint="syncd verify --repair stages the run again from its landed bytes")
    again = f"a once export of {row['scope']} from {row['period_start']:%Y-%m-%dT%H:%M:%SZ}"
    return replace(
        flaw,
        hint=f"its landed bytes are gone; order the period again at the vendor: {again}"
        f" to {row['period_end']:%Y-%m-%dT%H:%M:%SZ}",
    )


def replayable(landing: Landing, run: Run, ledger: Published) -> bool:
    """Whether every byte of the run is on our disk, as it was when it landed."""
    names = landing.parts(run)
    if names is None or landing.run(run.source, run.id) is None:
        return False
    told = {row["part"]: row["sha256"] for row in ledger.parts if (row["source"], row["run"]) == (run.source, run.id)}
    return all(
        digest_of(landing.path(run, name)) == told.get(name, digest_of(landing.path(run, name))) for name in names
    )


def rebuilt(settings: Settings, verdict: Verdict, read: Read = lambda size: None) -> Callable[[Lake], None]:
    """How a lake is opened that may have lost its catalogue: it is made again first."""

    def start(lake: Lake) -> None:
        try:
            lost = "" if published(lake.home) or not next(on_disk(lake.home), None) else f"{CATALOGUE} was gone"
        except ConfigError as error:
            lost = str(error)
        if lost:
            landing, state = Landing(settings.data_dir / LANDING), open_state(settings.data_dir / STATE)
            try:
                in_flight = {
                    name
                    for name in names_in_flight(state)
                    if (run := landing.run(*name.split("/", 1))) and landing.parts(run)
                }
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


def repair(house: House, verdict: Verdict, read: Read = lambda size: None) -> Verdict:
    """Prove, mend what can be mended, prove that again. Readers keep what they have open."""
    settings, root = house.settings, house.settings.data_dir.absolute()
    read = heeding(house.stop, read)
    landing, before = Landing(root / LANDING), prove(house.settings, read)
    broken: dict[Key, list[Flaw]] = {}
    for flaw in before.flaws:
        broken.setdefault((flaw.source, flaw.run), []).append(flaw)
    ledger = published(root)
    assert ledger is not None, "an open lake has a catalogue"
    for key, flaws in broken.items():
        if key in ledger.runs:
            mend(house, run_of(ledger.runs[key]), flaws, ledger, verdict)
    for run in list(strangers(settings, landing, ledger, names_in_flight(house.state))):
        parse(house, run, verdict, "landed, but neither loaded nor in flight: loaded", accept_rejected=False)
    for source in {*settings.sources, *(path.name for path in (root / "lake").iterdir())}:
        house.lake.sweep(source, datetime.now(UTC), house.state.staged(source))
    after = prove(settings, read, which=lambda key: key in broken)
    verdict.counts, verdict.flaws = after.counts, after.flaws
    verdict.notes += after.notes
    return verdict


def heeding(stop: threading.Event, read: Read) -> Read:
    """`read`, until we are asked to stop."""

    def told(size: int) -> None:
        if stop.is_set():
            raise Stopped
        read(size)

    return told


def mend(house: House, run: Run, flaws: Iterable[Flaw], ledger: Published, verdict: Verdict) -> None:
    """Stage a run again where a file of it is lost; put landed bytes aside that are not what landed."""
    landing = Landing(house.settings.data_dir / LANDING)
    lost = [flaw for flaw in flaws if not flaw.path.startswith(f"{LANDING}/")]
    if lost and replayable(landing, run, ledger):
        parse(house, run, verdict, "staged again from its landed bytes", accept_rejected=True)
    for flaw in flaws:
        if flaw not in lost:
            landing.doubt(run, flaw.part)
            verdict.mended.append(f"{run.name}, part {flaw.part}: its landed bytes had changed, they are put aside")


def parse(house: House, run: Run, verdict: Verdict, done: str, *, accept_rejected: bool) -> None:
    """Show the run from its landed bytes; trouble is noted."""
    mirror: Mirror | None = house.mirrors.get(run.source)
    noted = mirror.landing.run(run.source, run.id) if mirror else None
    if mirror is None or noted is None:
        verdict.notes.append(f"{run.name}: its source isn't configured any more, so it can't be staged again")
        return
    try:
        parse_again(mirror, noted, accept_rejected=accept_rejected)
        verdict.mended.append(f"{run.name}: {done}")
    except SyncdError as error:
        verdict.troubles.append(error)
        verdict.notes.append(f"{run.name}: {error}" + (f"\n  → {error.hint}" if error.hint else ""))


def has_landed(landing: Landing, name: str) -> bool:
    """Whether a run in flight can be brought home from our disk: what of it is staged is then no business of ours."""
    run = landing.run(*name.split("/", 1))
    return run is not None and landing.parts(run) is not None


def names_in_flight(state: State) -> set[str]:
    """The runs that the state keeps."""
    return {f"{row['source']}/{row['run']}" for row in state.runs()}


def paths(staged: Iterable[Staged]) -> Iterator[str]:
    """Every file of these parts."""
    for part in staged:
        yield from (file.path for file in part.files)
        yield part.rejects


def run_of(row: dict[str, Any]) -> Run:
    """The run behind a row of the ledger, as far as that tells."""
    start, end, completed_at = (
        row[name].replace(tzinfo=UTC) for name in ("period_start", "period_end", "completed_at")
    )
    return Run(row["source"], row["run"], row["scope"], row["format"], start, end, row["job"], completed_at)


def counts_of(ledger: Published) -> dict[str, int]:
    """How much was proved."""
    counts = {"runs": len(ledger.runs), "parts": len(ledger.parts), "files": len(ledger.files)}
    return counts | {name: sum(row[name] for row in ledger.files) for name in ("rows", "bytes")}


def size_of(home: Path) -> int:
    """Bytes that a proof reads, for the progress."""
    return sum(path.stat().st_size for folder in ("lake", LANDING) for path in (home / folder).rglob("*.par*"))


def as_answer(verdict: Verdict) -> dict[str, Any]:
    """The verdict for scripts."""
    flaws = [asdict(flaw) for flaw in verdict.flaws]
    said = {"flaws": flaws, "notes": verdict.notes, "mended": verdict.mended}
    return {"ok": verdict.exit_code == 0, **verdict.counts, **said}


def told(verdict: Verdict) -> Iterator[str]:
    """The verdict in lines for people."""
    yield from (f"mended: {text}" for text in verdict.mended)
    yield from (f"note: {text}" for text in verdict.notes)
    for flaw in verdict.flaws:
        where = f"{flaw.source}/{flaw.run}" if flaw.run else flaw.source
        where += f", part {flaw.part}" if flaw.part else ""
        yield ": ".join(filter(None, (where, flaw.path, flaw.text))) + (f"\n  → {flaw.hint}" if flaw.hint else "")
    read = ", ".join(f"{count:,} {name}" for name, count in verdict.counts.items())
    if verdict.flaws:
        yield f"{len(verdict.flaws)} flaws" + (f" in {read}" if read else "")
    elif read:
        yield f"proved: {read}; nothing is lost and nothing is doubled"
