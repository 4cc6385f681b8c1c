"""The arrows of ARCHITECTURE.md: who may import whom."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "syncd"
WORDS = {"model", "errors", "names", "types", "disk"}
MAY_IMPORT = {  # room: the rooms it may know; a room that isn't here stands outside of the house
    "errors": set(),
    "disk": {"errors"},
    "names": set(),
    "types": set(),
    "model": {"types"},
    "fetch": WORDS,
    "parse": WORDS,
    "retry": WORDS,
    "log": WORDS,
    "notify": WORDS,
    "vitals": WORDS,
    "state": WORDS,
    "reserve": WORDS,
    "landing": WORDS | {"fetch", "reserve"},
    "gaps": WORDS,
    "readings": WORDS | {"state", "landing"},
    "inquiry": WORDS | {"state", "gaps"},
    "sources": WORDS | {"fetch"},
    "destinations": WORDS,
    "judge": WORDS,
    "asking": WORDS | {"state"},
    "commits": WORDS,
    "stage": WORDS | {"parse"},
    "underway": WORDS,
    "sync": WORDS
    | {"asking", "judge", "commits", "state", "landing", "readings", "retry", "inquiry", "stage", "underway"},
}


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """Rooms of syncd that a module names, wherever in the file."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module] if node.module != "syncd" else [f"syncd.{alias.name}" for alias in node.names]
        found |= {name.split(".")[1] for name in names if name.startswith("syncd.")}
    return found


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_one_way(path: Path) -> None:
    if room(path) in MAY_IMPORT:
        assert imports(path) - {room(path)} <= MAY_IMPORT[room(path)]


def test_the_vendors_in_a_box_share_nothing_with_what_they_test() -> None:
    for path in (PACKAGE / "sandbox").rglob("*.py"):
        assert imports(path) <= {"sandbox"}, path


def test_a_process_that_only_stages_imports_no_vendor_state_or_log() -> None:
    declared = [f"syncd.sources.{room.parent.name}.dictionary" for room in PACKAGE.glob("sources/*/dictionary.py")]
    rooms = ["syncd.stage", "syncd.fetch", "syncd.destinations.lake", *declared]
    told = f"import sys, {', '.join(rooms)}; print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", told], check=True, capture_output=True, text=True).stdout.split()
    assert "pyarrow" in found
    assert not {"httpx", "pydantic", "sqlalchemy", "structlog", "typer"} & {*found}  # each costs 0.1 s or more


def test_no_file_is_named_for_nothing() -> None:
    banned = {"utils", "util", "common", "helpers", "base", "manager"}
    assert not [path for path in PACKAGE.rglob("*.py") if path.stem in banned]
