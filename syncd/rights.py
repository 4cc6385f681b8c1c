"""Whether data_dir can be used: what the disk refuses there, told as what to do about it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from syncd.errors import ConfigError
from syncd.fetch import room_for


def usable(root: Path, key: str = "data_dir") -> Path:
    """`root`, made where it is missing; ConfigError when syncd can't write there. `key`: which setting names it."""
    probe = root / ".syncd-probe"
    with ours(root, key):
        root.mkdir(parents=True, exist_ok=True)
        try:
            probe.write_bytes(bytes(4096))
        finally:
            probe.unlink(missing_ok=True)
    return root


@contextmanager
def ours(root: Path, key: str = "data_dir") -> Iterator[None]:
    """What the disk refuses inside, as what to do about it."""
    try:
        with room_for(f"{key} {root}", root):
            yield
    except (FileExistsError, NotADirectoryError) as error:
        raise ConfigError(f"{key} {root} is no folder", hint=f"name another one under {key}") from error
    except OSError as error:
        denied = isinstance(error, PermissionError)
        ownership = f"chown it, and all that is in it, to the user that runs syncd: {user()}"
        hint = ownership if denied else f"is its disk mounted, and writable? or name another folder under {key}"
        raise ConfigError(f"{key} {root} can't be used: {error.filename}: {error.strerror}", hint=hint) from error


def readable(root: Path) -> Path:
    """`root`, also where it is missing; ConfigError when we may not look into it."""
    with ours(root), suppress(FileNotFoundError):
        next(root.iterdir(), None)
    return root


def user() -> str:
    """Who runs syncd, for a hint."""
    return f"uid {os.getuid()}"
