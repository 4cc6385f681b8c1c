"""A large JSON document, entry by entry: one of them in memory at a time, never the whole."""

from __future__ import annotations

import re
from collections.abc import Iterator
from json import JSONDecodeError, JSONDecoder  # noqa: TID251  # orjson reads no document in pieces, and loses digits
from typing import Any, TextIO

from syncd.errors import TryAgain
from syncd.sources.convert.answers import EXACT

BLOCK = 1 << 20  # characters
SPACE = re.compile(r"[ \t\r\n]*")
DECODER = JSONDecoder(**EXACT)


class Document:
    """A place in a document. TryAgain: it ends early, or is no JSON."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._text, self._at = stream, "", 0

    def next(self) -> str:
        """The character that comes next, behind space."""
        while True:
            self._at = SPACE.match(self._text, self._at).end()  # type: ignore[union-attr]  # it matches nothing as well
            if self._at < len(self._text):
                return self._text[self._at]
            self._more()

    def take(self, wanted: str) -> str:
        """The same, passed over; one of those that are `wanted`."""
        found = self.next()
        if found not in wanted:
            raise no_json(f"{found} in the place of one of {wanted}")
        self._at += 1
        return found

    def value(self) -> Any:
        """The value that comes next, whole."""
        self.next()
        while True:
            try:
                value, end = DECODER.raw_decode(self._text, self._at)
            except JSONDecodeError as error:
                self._more(str(error))
                continue
            except RecursionError:
                raise no_json("it is nested too deep") from None
            if end == len(self._text) and isinstance(value, int | str) and self._text[-1] != '"':
                self._more()  # a number may go on
                continue
            self._at = end
            return value

    def _more(self, trouble: str = "it ends early") -> None:
        """Twice as much, so that a long entry is not begun too often."""
        fresh = self._stream.read(max(BLOCK, len(self._text) - self._at))
        if not fresh:
            raise no_json(trouble)
        self._text, self._at = self._text[self._at :] + fresh, 0


def entries(stream: TextIO) -> Iterator[tuple[str, int, Any]]:
    """Section, number and value of each entry of an object of lists; what is inside `data`, where all is in there.

    A value that is no list is the one entry of its section; a document that is a list is a section without a name.
    """
    document = Document(stream)
    if document.next() == "[":
        yield from _members(document, "")
        return
    document.take("{")
    while document.next() != "}":
        section = document.value()
        document.take(":")
        match document.next(), section:
            case "[", _:
                yield from _members(document, str(section))
            case "{", "data":
                document.take("{")
                continue
            case _:
                yield str(section), 0, document.value()
        if document.next() == ",":
            document.take(",")


def _members(document: Document, section: str) -> Iterator[tuple[str, int, Any]]:
    document.take("[")
    number = 0
    while document.next() != "]":
        yield section, number, document.value()
        number += 1
        if document.next() == ",":
            document.take(",")
    document.take("]")


def no_json(why: str) -> TryAgain:
    return TryAgain(f"the vendor's file is no whole JSON ({why})", hint="it is fetched again")
