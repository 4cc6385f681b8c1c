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
    pending: deque[tuple[int, Future[Found]]] = deque()
    with ThreadPoolExecutor(min(threads, AHEAD), thread_name_prefix="parse") as pool:
        try:
            for size, read in blocks:
                if len(pending) == AHEAD:
                    yield from _each(*pending.popleft(), known)
                pending.append((size, pool.submit(read, known.snapshot())))
            while pending:
                yield from _each(*pending.popleft(), known)
        finally:
            for _, future in pending:
                future.cancel()


def _each(size: int, future: Future[Found], known: Known) -> Iterator[tuple[int, Found]]:
    """A block, or its pieces where it is too wide."""
    try:
        found = future.result()
    except TooWide as error:
        yield from _in_pieces(error.pieces, known)
    else:
        yield size, found


def _in_pieces(pieces: Iterable[bytes], known: Known) -> Iterator[tuple[int, Found]]:
    for piece in pieces:
        try:
            found = jsonl.parse_block(piece, known.snapshot())
        except TooWide as error:
            yield from _in_pieces(error.pieces, known)
        else:
            yield len(piece), found
