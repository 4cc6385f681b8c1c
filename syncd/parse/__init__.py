"""Landed bytes into batches: nothing lost, nothing changed.

`parse` gunzips, cuts blocks where records end, and reads several blocks at once; batches come in the order of the
part, and the same bytes give the same batches each time. Memory holds a few blocks, whatever the part's size.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

from syncd.errors import BadRun
from syncd.model import Batch, Scope
from syncd.parse import csv, jsonl
from syncd.parse.blocks import line_end, plain, whole, without_bom
from syncd.parse.columns import Found, Known, batch
from syncd.parse.header import sniffed
from syncd.parse.width import TooWide

__all__ = ["parse"]

Block = tuple[int, Callable[[Known], Found]]  # its bytes, and what reads it
Pieces = list[bytes]  # in which a block that is too wide is read
AHEAD = 3  # blocks in the air; part of what a batch knows, so the same on every machine


def parse(
    chunks: Iterable[bytes],
    scope: Scope,
    format: str,
    *,
    fields: Sequence[str] = (),
    header: bool | None = None,
    threads: int | None = None,
) -> Iterator[Batch]:
    """A part's batches from its landed bytes, gzipped or not. `format` is "jsonl" or "csv".

    `fields` are the columns that the job asks for, where known; `header` says whether CSV starts with the names,
    None: look. StartOver: the gzip is damaged or cut short. BadRun: an unknown format, an endless record.
    """
    known = Known.of(scope)
    offset, text = without_bom(plain(chunks))
    blocks: Iterator[Block]
    if format == "csv":
        text, dialect = sniffed(text, (*fields,), [column.source_name for column in scope.columns], header)
        blocks = (
            (records.end, partial(csv.parse_block, records, dialect))
            for records in csv.record_blocks(text, dialect.delimiter)
        )
    elif format == "jsonl":
        blocks = ((len(block), partial(jsonl.parse_block, block)) for block in whole(text, line_end))
    else:
        raise BadRun(f"no reader for the format {format!r}", hint="jsonl and csv are read")
    row = 1
    for size, found in _ahead(blocks, known, threads or os.cpu_count() or 1):
        yield batch(found, known, row, offset)
        row += found.records
        offset += size


def _ahead(blocks: Iterator[Block], known: Known, threads: int) -> Iterator[tuple[int, Found]]:
    """Blocks read by several threads, in order. Each knows what the blocks until AHEAD before it taught."""
    pending: deque[Future[tuple[int, Found | Pieces]]] = deque()
    with ThreadPoolExecutor(min(threads, AHEAD), thread_name_prefix="parse") as pool:
        try:
            for block in blocks:
                if len(pending) == AHEAD:
                    yield from _each(*pending.popleft().result(), known)
                pending.append(pool.submit(_tried, block, known.snapshot()))
            while pending:
                yield from _each(*pending.popleft().result(), known)
        finally:
            for future in pending:
                future.cancel()


def _each(size: int, found: Found | Pieces, known: Known) -> Iterator[tuple[int, Found]]:
    """A block, or its pieces one after the other."""
    if isinstance(found, Found):
        yield size, found
        return
    for piece in found:
        yield from _each(*_tried((len(piece), partial(jsonl.parse_block, piece)), known.snapshot()), known)


def _tried(block: Block, known: Known) -> tuple[int, Found | Pieces]:
    """Its bytes and what became of it, or its pieces where it is too wide: nothing is kept of what was read in vain."""
    size, read = block
    try:
        return size, read(known)
    except TooWide as error:
        return size, error.pieces
