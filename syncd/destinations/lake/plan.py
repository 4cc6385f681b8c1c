"""Which small files belong together in a large one. Pure: sees no clock, disk or catalogue."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from syncd.destinations.lake.layout import Layout
from syncd.model import Column

FULL = 256 << 20  # bytes that a packed file is about to have
SMALL = FULL // 2  # a smaller one may be packed again, with what has come late
QUIET = timedelta(hours=24)  # a day is over when it is past, and nothing came for it for so long
FEW = 4  # small files of a day that is over: fewer are not worth a rewrite
TOGETHER = 16  # days whose small files are packed for one publication: a commit waits for it
CROWD = 256  # files of a day that is not over yet; of those only what nobody packed before is packed
SETTLED = timedelta(hours=1)  # what is younger may be superseded or replayed at any moment


@dataclass(frozen=True)
class Stored:
    """A live file."""

    path: str
    source: str
    scope: str
    date: date
    rows: int
    bytes: int
    layout: str
    dated: bool
    packed: bool
    run: str  # "" of a packed one
    loaded_at: datetime  # of its youngest rows
    settled: str | None = None  # as the catalogue has it, see `settle`
    dead: tuple[str, ...] = ()  # runs whose rows in it are not shown
    keeps: bool = False  # rows that are not shown, and are the only copy: it stays as it is


@dataclass(frozen=True)
class Pack:
    """Files of one day whose rows go into one file of this layout."""

    files: tuple[Stored, ...]
    layout: tuple[Column, ...]

    @property
    def first(self) -> Stored:
        return self.files[0]

    @property
    def dated(self) -> bool:
        """Whether each row's day is its event's own."""
        return all(file.dated for file in self.files)

    @property
    def settled(self) -> str | None:
        """What is known of the merge keys of the day: the rows stay the same."""
        known = {file.settled for file in self.files}
        return known.pop() if len(known) == 1 else None


def plan(
    stored: Iterable[Stored],
    layouts: Mapping[str, tuple[Column, ...]],
    keyed: Mapping[tuple[str, str], Collection[str]],
    now: datetime,
    reserved: Collection[str] = (),
) -> Iterator[Pack]:
    """What is worth packing: days that are over first, oldest first; then the most crowded. `now` has no zone.

    `keyed`: the columns of a scope's merge keys; files that have them are never packed with files that lack them.
    """
    days = by_day(stored)
    over = {day for day, files in days.items() if is_over(files, now)}
    for day in sorted(days, key=lambda day: (day not in over, day[2] if day in over else -len(days[day]), day)):
        small = [file for file in days[day] if not file.keeps and (file.bytes < SMALL or file.dead)]
        enough = FEW
        if day not in over:
            small = [file for file in small if not file.packed and file.loaded_at <= now - SETTLED]
            enough = CROWD
        for layout, files in _alike(small, layouts, keyed.get(day[:2], ()), reserved):
            if len(files) >= enough or any(file.dead for file in files):
                yield from (Pack(tuple(some), layout) for some in _cut(files) if len(some) > 1 or some[0].dead)


def together(packs: Iterable[Pack]) -> list[Pack]:
    """Those that share a publication: of each day one, for names tell no more, until they come to a full file."""
    some: dict[tuple[str, str, date], Pack] = {}
    for pack in packs:
        day = (pack.first.source, pack.first.scope, pack.first.date)
        if day in some or len(some) == TOGETHER:
            break
        some[day] = pack
        if sum(file.bytes for one in some.values() for file in one.files) >= FULL:
            break
    return list(some.values())


def by_day(stored: Iterable[Stored]) -> dict[tuple[str, str, date], list[Stored]]:
    """The files of each day of each scope."""
    days: dict[tuple[str, str, date], list[Stored]] = defaultdict(list)
    for file in stored:
        days[file.source, file.scope, file.date].append(file)
    return days


def is_over(files: Sequence[Stored], now: datetime) -> bool:
    """Whether a day with these files is past, and nothing came for it lately."""
    return max(file.loaded_at for file in files) <= now - QUIET and files[0].date < (now - QUIET).date()


def _alike(
    files: Sequence[Stored],
    layouts: Mapping[str, tuple[Column, ...]],
    keyed: Collection[str],
    reserved: Collection[str],
) -> Iterator[tuple[tuple[Column, ...], list[Stored]]]:
    """Files whose columns one layout has, each as it is stored; a column that a file lacks is NULL in it either way."""
    kinds: list[tuple[Layout, set[str]]] = []
    for name in sorted({file.layout for file in files}, key=lambda name: (-len(layouts[name]), name)):
        columns = layouts[name]
        for at, (kind, names) in enumerate(kinds):
            if _fits(kind, columns) and _keys(kind.columns, keyed) == _keys(columns, keyed):
                kinds[at] = kind.grown(columns, reserved), names | {name}
                break
        else:
            kinds.append((Layout(columns), {name}))
    for kind, names in kinds:
        yield kind.columns, [file for file in files if file.layout in names]


def _fits(kind: Layout, columns: Iterable[Column]) -> bool:
    stored = {column.source_name: column.type for column in kind.columns}
    return all(stored.get(column.source_name, column.type) == column.type for column in columns)


def _keys(columns: Iterable[Column], keyed: Collection[str]) -> set[str]:
    return {column.source_name for column in columns} & set(keyed)


def _cut(files: Iterable[Stored]) -> Iterator[list[Stored]]:
    """As many at a time as make a full file, in the order in which they came."""
    some: list[Stored] = []
    for file in sorted(files, key=lambda file: (file.loaded_at, file.path)):
        some.append(file)
        if sum(one.bytes for one in some) >= FULL:
            yield some
            some = []
    if some:
        yield some
