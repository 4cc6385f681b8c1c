"""The reader in C: compiled where syncd is built or installed, used where it is there and made from these sources.

Only the standard library is imported: the build runs this file alone, before anything is installed.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from ctypes import c_bool, c_char_p, c_int64, c_uint8, c_void_p
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

SOURCES = Path(__file__).parent / "c"
LIBRARY = SOURCES / "swift.so"
FLAGS = ("-std=c11", "-O3", "-fPIC", "-shared", "-fvisibility=hidden")
_TEXT, _PLACE, _SIZE, _BYTE, _BOOL = c_char_p, c_void_p, c_int64, c_uint8, c_bool
FUNCTIONS: dict[str, tuple[Any, ...]] = {  # what each gives, and takes
    "syncd_lines": (_SIZE, _TEXT, _SIZE, _PLACE, _SIZE),
    "syncd_records": (_SIZE, _TEXT, _SIZE, _PLACE, _SIZE, _BYTE, _PLACE),
    "syncd_json": (_BOOL, _TEXT, _PLACE, _PLACE, _SIZE, _PLACE, _PLACE),
    "syncd_csv": (_BOOL, _TEXT, _PLACE, _PLACE, _SIZE, _PLACE, _PLACE, _BYTE),
    "syncd_free": (None, _PLACE, _SIZE),
}


def mark() -> str:
    """What the sources are."""
    texts = [path.read_bytes() for path in sorted(SOURCES.glob("*.[ch]"))]
    return sha256(b"".join(texts)).hexdigest()


def build(library: Path = LIBRARY, *flags: str) -> None:
    """Compile the sources. OSError or CalledProcessError: there is no compiler, or it can't."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise FileNotFoundError("no C compiler (cc)")
    aside = library.with_suffix(".aside")  # a process that runs may have the old one mapped
    wanted = [*FLAGS, *flags, f'-DSYNCD_SOURCE="{mark()}"', "-o", str(aside)]
    sources = [*map(str, sorted(SOURCES.glob("*.c")))]
    command = [compiler, *wanted, *sources]
    subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603  # our own words
    aside.replace(library)


def opened(path: Path) -> tuple[ctypes.CDLL | None, str]:
    """The library, or why not."""
    try:
        library = ctypes.CDLL(str(path))
        made_from = ctypes.c_char.in_dll(library, "syncd_source")
    except (OSError, ValueError) as error:
        return None, f"no compiled reader here: {error}" if path.exists() else "no compiled reader here"
    if ctypes.string_at(ctypes.addressof(made_from)).decode(errors="replace") != mark():
        return None, "the compiled reader is of another version"
    for name, (result, *told) in FUNCTIONS.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, told
    return library, ""


@cache
def library() -> tuple[ctypes.CDLL | None, str]:
    """That of this installation."""
    return opened(LIBRARY)
