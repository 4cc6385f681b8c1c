"""The reader in C under AddressSanitizer and UBSan: `just sanitize BLOCKS`.

It reads the nasty files of the tests, whole and cut anywhere, then generated and mutated blocks of JSON lines and CSV,
which must also come out as the slow way has them. The first error ends it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from syncd.errors import BadRun  # noqa: E402  # the path comes first
from syncd.model import Scope  # noqa: E402
from syncd.parse import compiled, parse  # noqa: E402
from syncd.sources.contentsquare.dictionary import declared  # noqa: E402
from tests import test_parse_swift as tests  # noqa: E402

FLAGS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer", "-g", "-O1")
LONGEST = 1 << 20  # bytes of a nasty file that is cut anywhere
CHECKS: dict[Callable[..., None], tuple[st.SearchStrategy[Any], ...]] = {
    tests.test_a_block_is_what_the_slow_way_makes_of_it: (tests.blocks(), st.booleans()),
    tests.test_a_line_cut_anywhere_is_no_line: (tests.blocks(), st.data()),
    tests.test_records_are_what_pyarrow_makes_of_them: (tests.records(), st.booleans()),
}


def nasty(cuts: int) -> int:
    """How many texts were read."""
    read, anywhere = 0, Random(7)  # the same each time
    for path in sorted((ROOT / "tests/data/nasty").glob("*.*")):
        text = path.read_bytes()
        ends = [anywhere.randrange(len(text)) for _ in range(cuts)] if 0 < len(text) < LONGEST else []
        for end in (len(text), *ends):
            for scope in (Scope("t"), declared("sessions")):
                for form in ("jsonl", "csv"):
                    read += 1
                    try:
                        list(parse([text[:end]], scope, form, threads=1))
                    except BadRun:
                        assert form == "csv", "only names of columns can be too broken"
    return read


def main() -> None:
    blocks = int(sys.argv[1]) if len(sys.argv) > 1 else 3000
    if "LD_PRELOAD" not in os.environ:  # before Python: the sanitizer replaces malloc
        runtime = subprocess.run(["cc", "-print-file-name=libasan.so"], check=True, capture_output=True, text=True)
        told = {"LD_PRELOAD": runtime.stdout.strip(), "ASAN_OPTIONS": "detect_leaks=0", "PYTHONMALLOC": "malloc"}
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **told})
    with tempfile.TemporaryDirectory() as folder:
        compiled.build(Path(folder, "swift.so"), *FLAGS)
        found, why = compiled.opened(Path(folder, "swift.so"))
    assert found is not None, why
    compiled.library = lambda: (found, "")  # type: ignore[assignment]
    began = time.monotonic()
    print(f"{nasty(blocks // 500)} nasty texts", flush=True)
    asked = settings(max_examples=blocks, deadline=None, database=None, suppress_health_check=[*HealthCheck])
    for check, strategies in CHECKS.items():
        inner = check.hypothesis.inner_test  # type: ignore[attr-defined]
        asked(given(*strategies)(inner))()
        print(f"{blocks} blocks: {check.__name__}, {time.monotonic() - began:.0f} s so far", flush=True)


if __name__ == "__main__":
    main()
