"""Walks a paged list of which nothing is promised: neither the number of its first page nor its end nor a calm moment.

The course of a walk is a generator that says which page it wants next and is told the keys found there; it never
touches the network, so a page that fails is asked for again and the course doesn't notice.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

LIMIT = 100  # rows we ask for: the most there are (documented, May 2025)
DEFAULT_PAGE = 25  # rows the vendor gives unasked (documented, May 2025): no server should cap its pages below
LAPS = 3  # how often a list that moves is walked
SHORT_LAPS = 15  # the same while it has few pages: one that is shuffled at each request needs many looks
FEW_PAGES = 10
MOST_KEYS = 10_000  # keys remembered within a walk
NOTE_EVERY = 10  # pages, after which it is noted how far a walk has come
MOST_NEW = 50  # pages of rows that came while a walk was cut: more are worth another from the start

T = TypeVar("T")
Keys = Sequence[Hashable]
Asking = Generator[int | None, "Keys | None", T]  # yields page numbers (None: the first page), gets the keys there


@dataclass(frozen=True)
class Position:
    """How far a walk had come: every row up to here was passed on, and nothing had moved."""

    base: int  # the number of the first page
    size: int  # rows of each page so far
    rows: int  # each counted once
    first: Hashable  # key of the first row
    last: Hashable  # key of the last one so far


@dataclass
class Paging:
    """What walks have taught us of one list."""

    base: int | None = None  # the number of the first page, once that is certain
    pages: int = 0  # of the last walk
    held_still: bool = True  # the last walk saw nothing move
    position: Position | None = None  # of the walk under way, where it may be gone on with later


class Walk(Iterator[T], Generic[T]):
    """The rows of all pages as they arrive, each at least once; holds a page or two.

    Outlives what `fetch` raises: asked again, it goes on at the page that failed. `fetch` takes the number of a page
    (None: the first, by leaving the number out) and returns None where the far side refuses that number.
    """

    def __init__(
        self,
        fetch: Callable[[int | None], Sequence[T] | None],
        key: Callable[[T], Hashable],
        paging: Paging,
        *,
        short: int = 0,
        resume: Position | None = None,
        note: Callable[[Position], None] = lambda position: None,
    ) -> None:
        """`resume`: go on where an earlier walk was cut, if that is safe; `note` is told how far this one has come."""
        self._fetch, self._key, self._note, self._paging = fetch, key, note, paging
        self._fetched = 0
        self._course = course(paging, short, resume)
        self._wanted = next(self._course)
        self._over = False
        self._rows: deque[T] = deque()

    def __next__(self) -> T:
        while not self._rows:
            if self._over:
                raise StopIteration
            if self._fetched % NOTE_EVERY == NOTE_EVERY - 1 and self._paging.position:
                self._note(self._paging.position)  # the rows of every page so far have been taken
            rows = self._fetch(self._wanted)
            self._fetched += 1
            self._rows.extend(rows or ())
            try:
                self._wanted = self._course.send(None if rows is None else [self._key(row) for row in rows])
            except StopIteration:
                self._over = True
        return self._rows.popleft()


def course(paging: Paging, short: int = 0, resume: Position | None = None) -> Asking[None]:
    """Every page of a list, again and again while rows move. A first page of fewer than `short` rows is the only one.

    Rows that move down come twice; rows that move up are missed. So at the end of a lap the first page and the last
    but one are read again. A single row that hides from both is found by the next walk.
    """
    if resume and (yield from _gone_on(paging, resume)):
        return
    seen, rows_before = set[Hashable](), -1
    for lap in range(1, SHORT_LAPS + 1):
        now = _Lap(paging, seen, (yield None) or ())
        paging.pages, paging.held_still = 1, True
        if len(now.first) >= max(short, 1):
            base = yield from now.go_on()
            paging.held_still = yield from now.look_back()
            if paging.held_still:
                paging.base = base
        all_seen = now.rows == rows_before and len(seen) >= now.rows  # of a list that is merely shuffled
        if paging.held_still or all_seen or (lap >= LAPS and paging.pages > FEW_PAGES):
            return
        rows_before = now.rows


def _gone_on(paging: Paging, cut: Position) -> Asking[bool]:
    """The pages that came at the front meanwhile, then those behind the cut; whether that was all there is.

    Rows that moved down did so by as many as came at the front, else something moved in between and a walk from the
    start is due.
    """
    paging.position = None
    number, page = cut.base, (yield None) or ()
    lap, came = _Lap(paging, set(), page), 0
    while cut.first not in page:
        came, number = came + len(page), number + 1
        if len(page) < cut.size or number - cut.base > MOST_NEW:
            return False
        page = (yield number) or ()
    came += list(page).index(cut.first)
    ahead, at = divmod(cut.rows - 1 + came, cut.size)
    page = (yield cut.base + ahead) or ()
    if list(page[at : at + 1]) != [cut.last]:
        return False
    paging.base, paging.pages = cut.base, ahead + 1
    lap.number, lap.rows, lap.last, lap.last_but_one = cut.base + ahead, (ahead + 1) * cut.size, page, ()
    yield from lap.go_on()
    paging.held_still = yield from lap.look_back()
    return paging.held_still


@dataclass
class _Lap:
    """One time through the pages."""

    paging: Paging
    seen: set[Hashable]
    first: Keys
    rows: int = 0
    twice: int = 0  # rows that moved down from one page to the next
    spare: int = 2  # requests left for making sure: a calm walk may cost 5 more than the list has pages
    number: int = -1  # of the last page read
    last: Keys = ()
    last_but_one: Keys = ()

    def __post_init__(self) -> None:
        self.paging.position = None
        self._take(self.first)

    def _take(self, page: Keys) -> None:
        self.rows += len(page)
        self.last_but_one, self.last = self.last, page
        if len(self.seen) < MOST_KEYS:
            self.seen.update(page)

    def go_on(self) -> Asking[int | None]:
        """The pages after the first; the number of the first, where it is certain."""
        base = self.paging.base
        if base is None:
            page = yield from self._ask(1)
            if not page:
                return 0
            if self._is_first(page):
                self.number, self.spare = 1, self.spare - 1
            else:
                base, self.number = 0, 1
                self._add(page)
        else:
            self.number = max(self.number, base)
        while True:
            page = yield from self._ask(self.number + 1)
            if not page:
                return 1 if base is None else base
            if list(page) in (list(self.last), list(self.first)):
                return base  # it repeats itself past the end: page 1 may have been such a repeat
            base = 1 if base is None else base
            self.number += 1
            self._add(page)
            self._note(base)

    def look_back(self) -> Asking[bool]:
        """Whether the pages read before are still what they were."""
        again: list[tuple[int | None, Keys]] = [(None, self.first)] if self.paging.pages > 1 else []
        if self.paging.pages > 2 and self.spare > 1 and self.last_but_one:
            again.append((self.number - 1, self.last_but_one))
        for number, before in again:
            now = yield number
            if list(now or ()) != list(before):
                return False
        return True

    def _add(self, page: Keys) -> None:
        self.paging.pages += 1
        if page[0] in self.last:
            again = list(self.last[self.last.index(page[0]) :])
            self.twice += len(again) if list(page[: len(again)]) == again else 0
        self._take(page)

    def _note(self, base: int) -> None:
        """Note how far this is, while all pages are of one size: a row's number then tells its page."""
        size, pages = len(self.first), self.number - base + 1
        if self.rows == size * pages:
            self.paging.position = Position(base, size, self.rows - self.twice, self.first[0], self.last[-1])
        else:
            self.paging.position = None

    def _ask(self, number: int) -> Asking[Keys]:
        """A page; empty past the end. A refusal right behind a full page may be a hiccup: ask twice."""
        page = yield number
        if page is None and len(self.last) >= len(self.first) and self.spare > 1:
            self.spare -= 1
            page = yield number
        return page or ()

    def _is_first(self, page: Keys) -> bool:
        """Whether this is the first page once more, give or take what moved in between."""
        return 2 * len(set(self.first).intersection(page)) > max(len(self.first), len(page))
