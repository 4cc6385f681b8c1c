"""Small readers from landed bytes to blocks. Each adds one promise and holds a few blocks at most.

Where a block ends depends on the bytes alone, never on how they arrived: a repeat cuts the same blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain

from isal.igzip_lib import DECOMP_GZIP, IgzipDecompressor, IsalError

from syncd.errors import BadRun, StartOver

BLOCK = 4 << 20  # bytes: smaller ones cost more time, larger ones more memory
MAX_RECORD = 256 << 20  # bytes of one line: beyond, it is no export that we know
GZIP = b"\x1f\x8b"
BOM = b"\xef\xbb\xbf"


def plain(chunks: Iterable[bytes], depth: int = 4) -> Iterator[bytes]:
    """The bytes as the vendor meant them: gunzipped as often as they were gzipped. StartOver: damaged or cut."""
    start, rest = _peek(iter(chunks), len(GZIP))
    if start.startswith(GZIP) and depth:
        return plain(gunzip(chain([start], rest)), depth - 1)
    return chain([start], rest)


def without_bom(chunks: Iterable[bytes]) -> tuple[int, Iterator[bytes]]:
    """How many bytes of byte order mark there were, and the bytes behind."""
    start, rest = _peek(iter(chunks), len(BOM))
    return (len(BOM) if start.startswith(BOM) else 0), chain([start.removeprefix(BOM)], rest)


def _peek(chunks: Iterator[bytes], size: int) -> tuple[bytes, Iterator[bytes]]:
    start = b""
    for chunk in chunks:
        start += chunk
        if len(start) >= size:
            break
    return start, chunks


def gunzip(chunks: Iterable[bytes], most: int = 256 << 10) -> Iterator[bytes]:
    """The plain bytes of every member, at most `most` at a time. StartOver: damaged, or the last has no end."""
    member = IgzipDecompressor(flag=DECOMP_GZIP)
    try:
        for chunk in chunks:
            while chunk or not (member.needs_input or member.eof):
                if member.eof:  # vendors glue members together, and pad with zeros
                    chunk = chunk.lstrip(b"\0")
                    if not chunk:
                        break
                    member = IgzipDecompressor(flag=DECOMP_GZIP)
                if text := member.decompress(chunk, most):
                    yield text
                chunk = member.unused_data
    except IsalError as error:  # type: ignore[misc]  # isal's stub calls the class an instance
        raise StartOver(f"damaged gzip: {error}") from error
    if not member.eof:
        raise StartOver("gzip ends inside a member")


def whole(chunks: Iterable[bytes], last_end: Callable[[bytes, int, bool], int], size: int = BLOCK) -> Iterator[bytes]:
    """The same bytes in blocks of about `size` bytes that end where a record ends.

    `last_end(text, end, is_final)` says behind which byte of `text[:end]` the last whole record ends, 0 for nowhere.
    """
    held, length, wanted = [b""], 0, size
    for chunk in chunks:
        held.append(chunk)
        length += len(chunk)
        while length >= wanted:
            text = b"".join(held)
            if cut := last_end(text, wanted, False):
                yield text[:cut]
                wanted = size
            elif wanted >= MAX_RECORD:
                raise BadRun(f"a record of more than {MAX_RECORD >> 20} MB")
            else:
                wanted *= 2
            held = [text[cut:]]
            length -= cut
    text = b"".join(held)
    while text:
        cut = last_end(text, len(text), True)
        yield text[:cut]
        text = text[cut:]


def line_end(text: bytes, end: int, is_final: bool) -> int:
    """JSONL: behind the last newline; a raw newline never stands inside a record."""
    return end if is_final else text.rfind(b"\n", 0, end) + 1
