"""Both ways through the parser: with the reader in C, and without, as where there is no compiler."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from syncd.parse import compiled


@cache
def reader() -> Any:
    """Of these very sources, whatever was installed."""
    found, _ = compiled.opened(compiled.LIBRARY)
    if found is not None:
        return found
    with TemporaryDirectory() as folder:
        compiled.build(Path(folder, "swift.so"))
        found, why = compiled.opened(Path(folder, "swift.so"))
    assert found is not None, why
    return found


@pytest.fixture(scope="module", params=["compiled", "plain"], autouse=True)
def road(request: pytest.FixtureRequest) -> Iterator[str]:
    """Import it, and each test of the module goes both ways."""
    found = reader() if request.param == "compiled" else None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiled, "library", lambda: (found, ""))
        yield request.param
