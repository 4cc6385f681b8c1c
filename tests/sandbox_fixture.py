"""A sandbox for a test: started on a free port, stopped behind it, and found without mistakes of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from syncd.sandbox.contentsquare import Sandbox


class Open(Protocol):
    def __call__(self, **chosen: Any) -> Sandbox: ...


@contextmanager
def running(**chosen: Any) -> Iterator[Sandbox]:
    """Contentsquare in a box, with these knobs."""
    with Sandbox(**chosen) as sandbox:
        yield sandbox
    assert sandbox.bugs == []
