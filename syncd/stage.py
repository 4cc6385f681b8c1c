"""The unit of work: landed bytes to durable rows that nobody sees yet.

It touches no state, pickles, may run anywhere and may be repeated. So that a process that only stages starts at once,
nothing is imported here that asks a vendor, keeps a state or writes a log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from hashlib import sha256
from pathlib import Path

from syncd.model import Batch, Destination, Landed, Run, Scope, Staged
from syncd.parse import parse

BLOCK = 1 << 20  # bytes


def stage_part(
    destination: Destination,
    scope: Scope,
    run: Run,
    part: str,
    landed: Landed,
    watched: Callable[[Iterable[Batch]], Iterable[Batch]] = iter,
    generation: int = 1,
) -> Staged:
    """Make one part durable, unseen. `watched` looks on and may end it by raising; errors of both pass through."""
    batches = parse(read(landed), scope, run.format, fields=run.fields)
    return destination.stage(run, scope, part, landed, watched(batches), generation)


def read(landed: Landed) -> Iterator[bytes]:
    """The bytes of a landed file, a block at a time; at their end `landed` says what was read."""
    digest, size = sha256(), 0
    with Path(landed.path).open("rb", buffering=0) as file:
        while block := file.read(BLOCK):
            digest.update(block)
            size += len(block)
            yield block
    landed.bytes, landed.sha256 = size, digest.hexdigest()
