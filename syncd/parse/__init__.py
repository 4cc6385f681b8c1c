"""Landed bytes into batches: nothing lost, nothing changed.

`parse` gunzips, cuts blocks where records end, and reads several blocks at once; batches come in the order of the
part, and the same bytes give the same batches each time. Memory holds a few blocks, whatever the part's size.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from syncd.errors import BadRun
from syncd.model import Batch, Scope
from syncd.parse.blocks import line_end, plain, whole, without_bom
from syncd.parse.columns import Found, Known, batch
from syncd.parse.jsonl import parse_block

__all__ = ["parse"]

AHEAD = 3  # blocks in the air; part of what a batch knows, so the same on every machine


def parse(
    chunks: Iterable[bytes],
    scope: Scope,
    format: str,
    *,
    fields: Sequence[str] = (),
    threads: int | None = None,
) -> Iterator[Batch]:
    """A part's batches from its landed bytes, gzipped or not. `format` is "jsonl" or "csv".

    `fields` are the columns that the job asks for, where known. TryAgain: the gzip is damaged or cut short.
    BadRun: a format that we don't know, or a record beyond all measure.
    """
    if format != "jsonl":
        raise BadRun(f"no reader for the format {format!r}", hint="jsonl and csv are read")
    known = Known.of(scope)
    offset, text = without_bom(plain(chunks))
    row = 1
    for size, found in _ahead(whole(text, line_end), known, threads or os.cpu_count() or 1):
        yield batch(found, known, row, offset)
        row += found.records
        offset += size


def _ahead(blocks: Iterator[bytes], known: Known, threads: int) -> Iterator[tuple[int, Found]]:
    """Blocks read by several threads, in order. Each knows what the blocks until AHEAD before it taught."""
    pending: deque[tuple[int, Future[Found]]] = deque()
    with ThreadPoolExecutor(min(threads, AHEAD), thread_name_prefix="parse") as pool:
        try:
            for block in blocks:
                if len(pending) == AHEAD:
                    size, future = pending.popleft()
                    yield size, future.result()
                pending.append((len(block), pool.submit(parse_block, block, known.snapshot())))
            while pending:
                size, future = pending.popleft()
                yield size, future.result()
        finally:
            for _, future in pending:
                future.cancel()
