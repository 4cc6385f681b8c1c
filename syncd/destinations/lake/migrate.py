"""Catalogues that an earlier syncd has written, brought into today's shape in one publication."""

# ruff: noqa: S608 - names are ours
from __future__ import annotations

from syncd.destinations.lake.catalogue import Catalogue
from syncd.destinations.lake.commit import CHUNK
from syncd.destinations.lake.tables import FILES, OPEN, PARTS, RUNS
from syncd.destinations.lake.views import quoted

AS_THEY_WERE = ("jobs", "published", "layouts", "columns", "scopes", "let_go")


def is_grown(catalogue: Catalogue) -> bool:
    """Whether its tables have all columns: `settled` came in November 2026 too."""
    return bool(catalogue.execute(f"SELECT 1 FROM pragma_table_info('{OPEN}.files') WHERE name = 'settled'"))


def grow(catalogue: Catalogue) -> None:
    """Add what a catalogue with today's tables may lack."""
    catalogue.execute(f"ALTER TABLE {OPEN}.files ADD COLUMN settled VARCHAR")


def migrate(catalogue: Catalogue) -> None:
    """Fill an empty catalogue from the one beside, `before`. The views are left to the caller."""
    for table in AS_THEY_WERE:
        catalogue.execute(f"INSERT INTO _syncd.{table} BY NAME SELECT * FROM before._syncd.{table} ORDER BY rowid")
    for table, columns in {"runs": RUNS, "parts": PARTS}.items():
        names = ", ".join(map(quoted, columns))
        catalogue.execute(f"INSERT INTO {OPEN}.{table} ({names}) SELECT {names} FROM before._syncd.{table}")
    names = ", ".join(f"files.{quoted(name)}" for name in FILES)
    catalogue.execute(
        f"INSERT INTO {OPEN}.files SELECT {names}, layout, dated, "
        f"(row_number() OVER (PARTITION BY source, scope ORDER BY loaded_at, path) - 1) // {CHUNK}, "
        "loaded_at, status = 'loaded', false, NULL "
        "FROM before._syncd.files JOIN before._syncd.runs USING (source, scope, run)"
    )
    catalogue.execute(
        f"INSERT INTO {OPEN}.rejects SELECT rejects, source, run FROM before._syncd.parts WHERE rejects <> '';"
        f"INSERT INTO {OPEN}.deliveries SELECT DISTINCT source, scope, job FROM before._syncd.runs"
    )
