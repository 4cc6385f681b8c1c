"""Which runs are loaded: 16 bytes for each closed one, read once, so that years of them fit beside a pass."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from hashlib import blake2b
from pathlib import Path
from struct import unpack
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from syncd.destinations.lake.catalogue import REPAIR
from syncd.errors import ConfigError

BATCH = 65_536  # rows of a segment held at once
Read = Callable[[], Iterable[str]]


class Digests:
    """The ids of one source in one segment, as sorted 128-bit digests: no two ids ever share one."""

    def __init__(self, ids: Iterable[str]) -> None:
        digests = bytearray()  # to join them, all would be here as objects first
        for id in ids:
            digests += _digest(id)
        pairs = np.frombuffer(digests, dtype="u8").reshape(-1, 2)
        order = np.lexsort((pairs[:, 1], pairs[:, 0]))
        # bisect asks an array ten times as fast as numpy
        self._first, self._second = (array("Q", pairs[order, at].tobytes()) for at in (0, 1))

    def __contains__(self, id: str) -> bool:
        first, second = unpack("=QQ", _digest(id))
        at = bisect_left(self._first, first)
        while at < len(self._first) and self._first[at] == first:
            if self._second[at] == second:
                return True
            at += 1
        return False


class LoadedRuns(Set[str]):
    """Ids of a source. Asking costs microseconds; only who counts or walks through them reads the ledger."""

    def __init__(self, listed: frozenset[str], closed: Sequence[Digests] = (), read: Read = tuple) -> None:
        self._listed, self._closed, self._read = listed, closed, read

    def __contains__(self, id: object) -> bool:
        return id in self._listed or (isinstance(id, str) and any(id in digests for digests in self._closed))

    def __iter__(self) -> Iterator[str]:
        yield from self._listed
        yield from (id for id in self._read() if id not in self._listed)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __or__(self, other: Iterable[Any]) -> LoadedRuns:
        return LoadedRuns(self._listed.union(other), self._closed, self._read)

    @classmethod
    def _from_iterable(cls, it: Iterable[Any]) -> Set[Any]:
        return frozenset(it)


def ids_of(path: Path, source: str) -> Iterator[str]:
    """The ids of a source's runs in a segment. ConfigError: it can't be read."""
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(BATCH, columns=["source", "run"]):
                pairs = zip(*(column.to_pylist() for column in batch.columns), strict=True)
                yield from (run for of, run in pairs if of == source)
    except (OSError, pa.ArrowException) as error:
        raise ConfigError(f"{path}: {str(error).splitlines()[0]}", hint=REPAIR) from error


def _digest(id: str) -> bytes:
    return blake2b(id.encode("utf-8", "surrogatepass"), digest_size=16).digest()
