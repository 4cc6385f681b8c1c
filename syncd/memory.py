"""How a process that stages holds its memory: used again while it works, given back when a pass is over.

Figures are in docs/decisions.md. Where the C library is no glibc, all stays as it is.
"""

from __future__ import annotations

import ctypes
from contextlib import suppress

import pyarrow as pa

TRIM_THRESHOLD, MMAP_THRESHOLD, ARENA_MAX = -1, -3, -8  # of mallopt(3)


def thrifty() -> None:
    """Have Arrow's memory where all other is, and pages kept from one block to the next: new ones are dear."""
    pa.set_memory_pool(pa.system_memory_pool())
    with suppress(OSError, AttributeError):
        glibc = ctypes.CDLL(None)
        glibc.mallopt(ARENA_MAX, 2)  # not one for each thread
        glibc.mallopt(MMAP_THRESHOLD, 32 << 20)  # bytes; smaller ones are not taken from the system one by one
        glibc.mallopt(TRIM_THRESHOLD, 256 << 20)


def give_back() -> None:
    """Have the memory that a pass has freed go back to the system, also what lies between things that stay."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
