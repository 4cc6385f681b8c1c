"""What a probe sees of a vendor: every answer whole, and ways to tell of it without saying what was in it.

What a client smooths over (refusals, limits, odd forms) is what a probe wants to see. So it asks through that very
client and looks at the answers as they pass.
"""

from __future__ import annotations

import re
import statistics
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx

from syncd.errors import ConfigError, SyncdError, TryAgain
from syncd.fetch.http import Client, json_of
from syncd.model import Finding

TRIES = 6
LONGEST_PAUSE_S = 30.0
STORES = ("amazonaws.com", "cloudfront.net", "googleapis.com", "windows.net")  # where vendors keep files
FAR = 1_000_000  # a page that no list has
MANY = 12  # requests at once or without a pause: more than any vendor is known to allow
T = TypeVar("T")
Chapter = Callable[[], Iterable[Finding]]


@dataclass(frozen=True)
class Answer:
    """What came back from the API."""

    kind: str  # the endpoint, without any id
    status: int
    headers: Mapping[str, str]
    body: Any  # of the JSON; None when it is none
    seconds: float


class Witness(Client):
    """A client that remembers every answer but files. `kind_of`: the endpoint of a request, without any id."""

    def __init__(self, source: str, kind_of: Callable[[httpx.Request], str], **more: Any) -> None:
        super().__init__(source, **more)
        self._kind_of = kind_of
        self.answers: list[Answer] = []

    def send(self, request: httpx.Request, **more: Any) -> httpx.Response:
        began = time.monotonic()
        response = super().send(request, **more)
        if not more.get("stream"):
            seconds, kind = time.monotonic() - began, self._kind_of(request)
            self.answers.append(Answer(kind, response.status_code, response.headers, json_of(response), seconds))
        return response


def patiently(call: Callable[[], T]) -> T:
    """What `call` gives once the vendor is no longer busy. TryAgain: it stays so."""
    for left in reversed(range(TRIES)):
        try:
            return call()
        except TryAgain as error:
            if not left:
                raise
            time.sleep(min(error.after or 1.0, LONGEST_PAUSE_S))
    raise AssertionError


def by_chapters(chapters: Mapping[str, Chapter], answers: Sequence[Answer]) -> Iterator[Finding]:
    """All findings; a chapter that breaks off says so and holds up no other. ConfigError: the first one is refused."""
    for number, (name, chapter) in enumerate(chapters.items()):
        try:
            yield from chapter()
        except ConfigError:
            if not number:
                raise
            yield Finding(name, "", "refused to these credentials")
        except SyncdError:  # its words may name a customer
            last = f"behind HTTP {answers[-1].status}" if answers else "before any answer"
            yield Finding(name, "", f"broke off {last}")


# ---- telling


def word(text: object) -> str:
    """A word of the vendor's; anything else could be a customer's."""
    return text if isinstance(text, str) and re.fullmatch(r"[A-Za-z_][A-Za-z_.$-]{0,39}", text) else "another word"


def told(counts: Mapping[str, int]) -> str:
    """Counted forms, the most frequent first: `quoted` or `quoted, bare`."""
    return ", ".join(form for form, count in sorted(counts.items(), key=lambda one: -one[1]) if count)


def counted(counts: Mapping[str, int]) -> str:
    """The same with the counts."""
    return ", ".join(f"{count:,} {form}" for form, count in sorted(counts.items(), key=lambda one: -one[1]) if count)


def tally(unknown: str, forms: Iterable[str]) -> Finding:
    """A finding that is what forms there are."""
    counts = Counter(forms)
    return Finding(unknown, told(counts), counted(counts))


def json_kind(value: object) -> str:
    """What JSON has there."""
    names = {dict: "object", list: "list", str: "text", bool: "boolean", int: "number", float: "number"}
    return "null" if value is None else names.get(type(value), "?")


def store_of(host: str, *own: str) -> str:
    """The well-known store that a host belongs to; `own`: domains of the vendor itself."""
    return next((store for store in (*STORES, *own) if host.endswith(f".{store}")), "another one")


# ---- what every API has


def of_pages(
    path: str, keys: Sequence[Any], page: Callable[[int], Sequence[Any] | None], answers: Sequence[Answer]
) -> Generator[Finding, None, int]:
    """Page base and the page past the end; returns the base, 1 where it isn't settled.

    `keys`: of the list's head. `page`: the keys on a page of one row; None: refused.
    """
    seen = {number: page(number) for number in (0, 1, FAR)}
    head, base = list(keys), None
    if len(head) > 1:
        base = 1 if list(seen[1] or ()) == head[:1] else 0 if list(seen[1] or ()) == head[1:2] else None
    on = f"pages of one row of {path}"
    yield Finding("page base", "" if base is None else str(base), on if len(head) > 1 else f"{path} has too few rows")
    if base == 1:
        zero = "an error" if seen[0] is None else "another page" if seen[0] else "an empty page"
        yield Finding("page 0", "the first page again" if list(seen[0] or ()) == head[:1] else zero, on)
    if head:
        past = "an error" if seen[FAR] is None else "a page with rows" if seen[FAR] else "an empty page"
        yield Finding("a page past the end", f"{past} (HTTP {answers[-1].status})", on)
    return 1 if base is None else base


def refusals(answers: Iterable[Answer], code: Callable[[Any], str]) -> str:
    """Status, the vendor's code for it, and whether a pause is named."""
    forms = Counter(
        " ".join(filter(None, (f"HTTP {one.status}", code(one.body) and word(code(one.body)))))
        + (
            ", Retry-After " + ("in seconds" if one.headers["retry-after"].isdecimal() else "as a date or fraction")
            if "retry-after" in one.headers
            else ", without Retry-After"
        )
        for one in answers
    )
    return counted(forms)


def of_manners(answers: Sequence[Answer], busy: Sequence[Answer], code: Callable[[Any], str]) -> Iterator[Finding]:
    """Refusals, limits that headers tell, packing, and how long answers take. `busy`: those that mean "later"."""
    yield Finding("refusals seen", refusals(busy, code) or "none", f"in {len(answers)} requests")
    names = {name.lower() for one in answers for name in one.headers}
    limits = sorted(word(name) for name in names if "limit" in name or "quota" in name)
    yield Finding("headers that speak of limits", ", ".join(limits) or "none")
    yield tally("API answers come", (word(one.headers.get("content-encoding", "plain")) for one in answers))
    for kind in sorted({one.kind for one in answers}):
        times = sorted(answer.seconds for answer in answers if answer.kind == kind)
        within = f"{statistics.median(times):.2f} s, at most {times[-1]:.2f} s"
        yield Finding(f"{kind} answers within", within, f"{len(times)} requests")


class Keys:
    """Which keys objects have, against those that the vendor's pages name."""

    def __init__(self, documented: Mapping[str, Set[str]], always: Set[str] = frozenset()) -> None:
        self._documented, self._always = documented, always  # `always`: may lack everywhere
        self._seen: dict[str, Counter[str]] = {}

    def note(self, about: str, rows: Iterable[Mapping[str, Any]]) -> None:
        counts = self._seen.setdefault(about, Counter())
        for row in rows:
            counts.update(row.keys())

    def findings(self) -> Iterator[Finding]:
        for about, keys in self._seen.items():
            news = sorted({word(key) for key in keys.keys() - self._documented[about]})
            lacking = sorted(self._documented[about] - keys.keys() - self._always)
            seen = f"documented but absent: {', '.join(lacking)}" if lacking and keys else ""
            yield Finding(f"keys of {about}, beyond the documented", ", ".join(news) or "none", seen)
