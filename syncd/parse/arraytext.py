r"""ClickHouse's text for an array, `['it\'s',NULL,[1,2]]`, as JSON text."""

from __future__ import annotations

import re

from syncd.parse.values import Fraction, Whole, json_text, number_in

_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "0": "\0", "a": "\a", "v": "\v"}
_ESCAPE = re.compile(r"\\x([0-9a-fA-F]{2})|\\(.)|''", re.DOTALL)
_TOKEN = re.compile(r"'((?:[^'\\]|\\.|'')*+)'|([\[\],])|([^\s\[\],']+)", re.DOTALL)
_SPACE = re.compile(r"\s*+")


def json_of(text: str) -> str | None:
    """The array as JSON text; None for what is no array."""
    out: list[str] = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if not match:
            return None
        quoted, mark, bare = match.groups()
        piece = mark or (json_text(_unescape(quoted)) if quoted is not None else _bare(bare))
        if piece is None:
            return None
        out.append(piece)
        space = _SPACE.match(text, match.end())
        at = space.end() if space else match.end()
    return "".join(out) if text.startswith("[") else None


def _bare(text: str) -> str | None:
    number: Whole | Fraction | None = number_in(text)
    return str(number) if number is not None else {"NULL": "null", "true": "true", "false": "false"}.get(text)


def _unescape(text: str) -> str:
    return _ESCAPE.sub(_escaped, text) if "\\" in text or "''" in text else text


def _escaped(match: re.Match[str]) -> str:
    if match[1]:
        return chr(int(match[1], 16))
    return _ESCAPES.get(match[2], match[2]) if match[2] else "'"
