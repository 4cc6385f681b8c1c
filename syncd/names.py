"""Names from outside, made safe for a file system; the same name always gives the same file."""

from __future__ import annotations

from hashlib import sha256
from urllib.parse import quote, unquote

LONGEST = 120  # bytes; two names, an ending and a temporary mark must fit into the 255 of most file systems


def file_name(text: str) -> str:
    """`text` with all but letters, digits, `_`, `-` and inner dots percent-encoded; never empty, never hidden.

    Two texts never share a name: a long one ends in a hash of the whole.
    """
    safe = quote(text, safe="", errors="surrogatepass").replace("~", "%7E") or "%"
    if safe.startswith("."):
        safe = "%2E" + safe[1:]
    if len(safe) <= LONGEST:
        return safe
    return f"{safe[: LONGEST - 17]}%{sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"


def text_of(name: str) -> str:
    """What `file_name` made this of; of a long text something that it was not."""
    return unquote(name, errors="surrogatepass")
