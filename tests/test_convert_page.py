"""docs/vendors/convert.md says what is: its queries run on a warehouse, its tables name every scope and every rule."""

from __future__ import annotations

import re
from pathlib import Path

import duckdb
import pytest

from syncd.settings import read
from syncd.sources.convert.paths import READS
from syncd.sources.convert.redaction import HASHED, HASHED_WHOLE, LEFT_OUT, LEFT_OUT_WORDS, OF_INTEGRATIONS
from syncd.sources.convert.scopes import SCOPES
from tests.convert_vendor import only, running
from tests.home import Home
from tests.sandbox_fixture import running as contentsquare

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs/vendors/convert.md").read_text()


def section(title: str) -> str:
    return PAGE.partition(f"## {title}\n")[2].partition("\n## ")[0]


def test_every_scope_and_its_default_is_told() -> None:
    told = {
        scope: not last.strip(" |").startswith(("no", "**no"))
        for names, last in re.findall(r"^\| (`.*?) \| .* \| (.*?) \|$", section("What is mirrored"), re.M)
        for scope in re.findall(r"`(\w+)`", names)
    }
    assert told == SCOPES


def test_the_redaction_list_is_told_whole() -> None:
    left_out, hashed = (
        {word.replace(" ", "") for word in re.findall(r"`([a-z ]+)`", row)}
        for row in re.findall(r"^\| (?:left out|hashed) \| (.*) \|$", PAGE, re.M)
    )
    assert left_out == {*LEFT_OUT, *LEFT_OUT_WORDS, *OF_INTEGRATIONS}
    assert hashed == {*HASHED, *HASHED_WHOLE}


def test_the_number_of_reads_is_told() -> None:
    assert f"a list of {len(READS)} templates" in PAGE


def test_the_ten_lines_are_a_configuration(tmp_path: Path) -> None:
    (tmp_path / "syncd.toml").write_text(re.findall(r"```toml\n(.*?)```", PAGE, re.S)[0])
    settings = read(tmp_path / "syncd.toml", environ={"SYNCD_SOURCES__AB__SECRET": "s"})
    assert settings.sources["ab"].pass_interval.total_seconds() == 900


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A month of sessions beside an account of experiments, mirrored by the real command."""
    folder = tmp_path_factory.mktemp("page")
    tables = only("experiences", "variations", "goals", "aggregated_report", "daily_report", raw_data="1w")
    with running(experiences=2, raw="download_url") as ab, contentsquare(days=4, jobs=1, today="2026-01-09") as acme:
        home = Home(folder, {"ab": ab.settings(scopes=tables), "acme": acme.settings()})
        home.once()
    return home.data_dir / "warehouse.duckdb"


@pytest.mark.parametrize("query", re.findall(r"```sql\n(.*?)```", PAGE, re.S), ids=lambda query: query[:30])
def test_each_query_finds_something(warehouse: Path, query: str) -> None:
    with duckdb.connect(str(warehouse), read_only=True) as connection:
        found = connection.execute(query).fetchall()
    assert found and not any(value is None for value in found[0])
