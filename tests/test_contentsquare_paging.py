"""A walk finds every row, wherever pages begin and however they end, in as few requests as may be."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from syncd.errors import TryAgain
from syncd.sources.contentsquare.paging import Paging, Position, Walk


class List:
    """A vendor's list of numbers; `before` happens ahead of each request, told how many there were."""

    def __init__(
        self,
        rows: int,
        base: int = 1,
        cap: int = 100,
        past_end: str = "empty",
        before: Callable[[List, int], None] = lambda this, asked: None,
    ) -> None:
        self.rows = list(range(rows))
        self.base, self.cap, self.past_end, self.before = base, cap, past_end, before
        self.asked: list[int | None] = []

    def __call__(self, number: int | None) -> Sequence[int] | None:
        self.before(self, len(self.asked))
        self.asked.append(number)
        page = 0 if number is None else max(number - self.base, 0)
        if page and page * self.cap >= len(self.rows):
            if self.past_end == "refused":
                return None
            page = {"empty": page, "last": (len(self.rows) - 1) // self.cap, "first": 0}[self.past_end]
        return self.rows[page * self.cap : (page + 1) * self.cap]

    def walked(self, paging: Paging | None = None, short: int = 0) -> set[int]:
        self.asked.clear()
        return set(Walk(self, lambda row: row, paging or Paging(), short=short))


@pytest.mark.parametrize("base", [0, 1])
@pytest.mark.parametrize("cap", [7, 100])
@pytest.mark.parametrize("past_end", ["empty", "refused", "last", "first"])
@pytest.mark.parametrize("rows", [0, 1, 6, 7, 8, 14, 15, 100, 101, 200, 250])
def test_every_row_is_found_in_few_requests(base: int, cap: int, past_end: str, rows: int) -> None:
    vendor, paging = List(rows, base, cap, past_end), Paging()
    for _ in range(2):  # the second time with what the first has taught
        assert vendor.walked(paging) == set(range(rows))
        pages = max(1, -(-rows // cap))
        assert len(vendor.asked) <= pages + 3
        assert paging.held_still and paging.pages == pages
    assert paging.base in (None, base)


@pytest.mark.parametrize("base", [0, 1])
@pytest.mark.parametrize("at", [1, 2, 3, 4])
def test_rows_that_come_while_we_read_hide_no_other(base: int, at: int) -> None:
    def insert(vendor: List, asked: int) -> None:
        if asked == at:
            vendor.rows[:0] = [1000, 1001, 1002]

    assert List(40, base, 10, before=insert).walked() >= set(range(40))


@pytest.mark.parametrize("base", [0, 1])
@pytest.mark.parametrize("at", [1, 2, 3, 4])
def test_rows_that_go_while_we_read_hide_no_other(base: int, at: int) -> None:
    def remove(vendor: List, asked: int) -> None:
        if asked == at:
            del vendor.rows[:3]

    assert List(40, base, 10, before=remove).walked() >= set(range(3, 40))


def test_a_page_that_moved_is_no_lesson() -> None:
    def insert(vendor: List, asked: int) -> None:
        vendor.rows.insert(0, 1000 + asked)

    paging = Paging()
    List(40, 0, 10, before=insert).walked(paging)
    assert paging.base is None and not paging.held_still


def test_a_list_that_is_shuffled_at_each_request_is_looked_at_until_all_is_seen() -> None:
    def shuffle(vendor: List, asked: int) -> None:
        vendor.rows = sorted(vendor.rows, key=lambda row: hash((row * 7919, asked)))

    assert List(30, 1, 10, before=shuffle).walked() == set(range(30))


def test_a_list_that_never_holds_still_is_left_after_a_while() -> None:
    def insert(vendor: List, asked: int) -> None:
        vendor.rows.insert(0, 1000 + asked)

    vendor = List(2000, 1, 100, before=insert)
    assert vendor.walked() >= set(range(2000))
    assert len(vendor.asked) < 3 * 30


def test_a_refusal_amid_the_list_is_asked_again() -> None:
    class Hiccup(List):
        def __call__(self, number: int | None) -> Sequence[int] | None:
            refused = number == 3 and number not in self.asked
            rows = super().__call__(number)
            return None if refused else rows

    paging = Paging(base=1)
    assert Hiccup(500).walked(paging) == set(range(500))


def test_a_walk_goes_on_at_the_page_that_failed() -> None:
    failed: set[int | None] = set()
    vendor = List(1000)

    def fetch(number: int | None) -> Sequence[int] | None:
        if number not in failed:
            failed.add(number)
            raise TryAgain("not now")
        return vendor(number)

    walk, rows = Walk(fetch, lambda row: row, Paging()), set()
    while True:
        try:
            rows.add(next(walk))
        except TryAgain:
            continue
        except StopIteration:
            break
    assert rows == set(range(1000))
    assert len(vendor.asked) <= 10 + 3


def test_a_first_page_below_the_default_size_is_all_where_that_is_said() -> None:
    vendor = List(24)
    assert vendor.walked(short=25) == set(range(24))
    assert vendor.asked == [None]


def test_a_walk_holds_a_page_and_not_the_list() -> None:
    vendor = List(1000)
    walk = Walk(vendor, lambda row: row, Paging())
    for _ in range(150):
        next(walk)
    assert len(vendor.asked) == 2


ROWS = 5_000  # on 50 pages


def cut(vendor: List, after: int) -> tuple[set[int], Position | None]:
    """What a walk had passed on that was killed after so many requests, up to where it had noted how far it was."""
    passed: set[int] = set()
    noted: list[tuple[Position, set[int]]] = []
    walk = Walk(vendor, lambda row: row, Paging(), note=lambda at: noted.append((at, set(passed))))
    vendor.asked.clear()
    for row in walk:
        if len(vendor.asked) > after:
            break
        passed.add(row)
    return (noted[-1][1], noted[-1][0]) if noted else (set(), None)


def gone_on(vendor: List, position: Position | None, paging: Paging | None = None) -> set[int]:
    vendor.asked.clear()
    return set(Walk(vendor, lambda row: row, paging or Paging(), resume=position))


@pytest.mark.parametrize("base", [0, 1])
@pytest.mark.parametrize("after", [5, 15, 25, 49, 52])
@pytest.mark.parametrize("came", [0, 1, 99, 100, 250])
def test_a_walk_that_was_cut_goes_on_where_it_was(base: int, after: int, came: int) -> None:
    vendor = List(ROWS, base)
    before, position = cut(vendor, after)
    vendor.rows[:0] = range(-came, 0)
    paging = Paging()
    assert before | gone_on(vendor, position, paging) == set(range(-came, ROWS))
    assert paging.held_still and paging.base == base
    if position:
        assert len(vendor.asked) <= (ROWS - position.rows) // 100 + came // 100 + 7
        assert len(before) == position.rows >= 100 * (min(after, 50) - 12)


def test_rows_that_come_during_the_walk_are_told_from_those_that_came_behind_its_back() -> None:
    def insert(vendor: List, asked: int) -> None:
        if asked in (6, 14):
            vendor.rows[:0] = [-asked]

    vendor = List(ROWS, before=insert)
    before, position = cut(vendor, 25)
    assert position and position.rows == len(before) == 18 * 100 - 2
    vendor.before = lambda this, asked: None
    vendor.rows[:0] = [-50]
    assert before | gone_on(vendor, position) == {-50, -14, -6, *range(ROWS)}
    assert len(vendor.asked) < 40


@pytest.mark.parametrize("at", [1, 50, 999, 1500, 1799])
@pytest.mark.parametrize("what", ["came", "went", "first went"])
def test_where_something_moved_in_between_the_walk_begins_again(at: int, what: str) -> None:
    vendor = List(ROWS)
    _, position = cut(vendor, 25)
    assert position and position.rows > at
    if what == "came":
        vendor.rows[at:at] = [-7]
    else:
        del vendor.rows[0 if what == "first went" else at]
    assert gone_on(vendor, position) == set(vendor.rows)
    assert len(vendor.asked) >= 50


def test_what_moved_behind_the_position_is_found_as_ever() -> None:
    vendor = List(ROWS)
    before, position = cut(vendor, 25)
    vendor.rows[3000:3000] = [-7]
    assert before | gone_on(vendor, position) == set(vendor.rows)
    assert len(vendor.asked) < 40


def test_a_list_that_shrank_or_is_another_is_walked_from_the_start() -> None:
    vendor = List(ROWS)
    _, position = cut(vendor, 45)
    for rows in ([], [1, 2], list(range(9000, 9900))):
        vendor.rows = rows
        assert gone_on(vendor, position) == set(rows)
