"""The pages fit the code, both ways: what is missing and what is left over are red."""

from __future__ import annotations

import ast
import re
import signal
from collections.abc import Iterator
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path

from syncd import ledger
from syncd.errors import SyncdError
from syncd.gaps import Gap
from syncd.reserve import Room
from syncd.volume import Volume
from tests.hints import Hints

ROOT = Path(__file__).parent.parent
LEVELS = {"info", "warning", "error"}


def events() -> Iterator[str]:
    """Every event that a line of syncd logs, also through `told = log.error if … else log.info`."""
    for path in (ROOT / "syncd").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and node.args and is_log(node.func):
                names = [leaf.value for leaf in ast.walk(node.args[0]) if isinstance(leaf, ast.Constant)]
                yield from (name for name in names if isinstance(name, str) and re.fullmatch("[a-z_]+", name))


def is_log(called: ast.expr) -> bool:
    match called:
        case ast.Attribute(value=ast.Name(id="log"), attr=level):
            return level in LEVELS
        case ast.Name(id=name):
            return name == "told"
    return False


def test_each_log_event_stands_in_the_docs() -> None:
    assert sorted(re.findall(r"^\| `(\w+)` \|", section("Log events"), re.M)) == sorted(set(events()))


def test_each_error_stands_in_the_runbook() -> None:
    headings = re.findall(r"^### `(\w+)`", section("Runbook"), re.M)
    assert sorted(headings) == sorted(
        one.__name__ for one in SyncdError.__subclasses__() if one.__module__ == SyncdError.__module__
    )


def test_each_hint_stands_in_the_runbook() -> None:
    cells = re.findall(r"^\| (`.*?`) \| ", section("Runbook"), re.M)
    told = [hint for cell in cells for hint in re.findall(r"`([^`]+)`", cell)]
    given = set(Hints())
    assert sorted(given - set(told)) == [], "docs/operating.md, Runbook: a row for each, under its error"
    assert sorted(set(told) - given) == [], "no line of syncd gives these any more"
    assert len(told) == len(set(told))


def test_each_exit_code_stands_in_the_docs() -> None:
    told = {
        int(code) for code in re.findall(r"`(\d+)`", "".join(re.findall(r"^\|(.*?)\|", section("Exit codes"), re.M)))
    }
    ours = {0, *(error.exit_code for error in [SyncdError, *SyncdError.__subclasses__()])}
    assert told == ours | {141, 128 + signal.SIGINT, 128 + signal.SIGTERM, 128 + signal.SIGKILL}


def section(title: str) -> str:
    """A section of the operator's page."""
    (found,) = re.findall(rf"^## {title}\n(.*?)(?=^## |\Z)", (ROOT / "docs/operating.md").read_text(), re.M | re.S)
    return str(found)


def test_each_room_stands_in_the_architecture() -> None:
    tree = (ROOT / "ARCHITECTURE.md").read_text().split("```")[1]
    drawn = re.findall(r"^  (\S+(?: {1,2}\S+)*) {3}", tree, re.M)
    rooms = {path.stem for path in (ROOT / "syncd").iterdir() if path.is_dir() or path.suffix == ".py"}
    assert {word.strip("/") for line in drawn for word in line.split()} == {one for one in rooms if one[0] != "_"}


def anchors(page: Path) -> set[str]:
    """What may stand behind a # to a page, as GitHub makes it of the headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_each_link_between_pages_leads_somewhere() -> None:
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("bench/*.md")]
    for page in pages:
        for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
            if "://" in link:
                continue
            name, _, anchor = link.partition("#")
            target = (page.parent / name) if name else page
            assert target.exists(), f"{page.name}: {link}"
            assert not anchor or anchor in anchors(target), f"{page.name}: {link}"


def test_each_key_of_an_answer_stands_in_the_docs() -> None:
    page = (ROOT / "docs/answers.md").read_text()
    sections = re.findall(r"^## `syncd (\w+).*?\n(.*?)(?=^## |\Z)", page, re.M | re.S)
    told = {command: re.findall(r"^\| `(\w+)` \|", text, re.M) for command, text in sections}
    disk = Room(1, 0)
    status = ledger.status(ledger.Seen([], {}, []), [], datetime.now(UTC), disk, Volume(0, 0, 0, 1), [])
    assert told["runs"] == list(ledger.KEYS)
    assert told["gaps"] == [each.name for each in fields(Gap)]
    assert sorted(told["status"]) == sorted(status)
