"""The tables of the catalogue: small whatever the history, for all that is closed lies in segments beside.

`_syncd` is what the contract names; `_syncd_open` is ours: rows that may still change, and which files there are.
"""

from __future__ import annotations

from syncd.destinations.lake.views import HIDDEN, rejected_sql

OPEN = "_syncd_open"  # the schema of what may still change
RUNS = {
    **dict.fromkeys(("source", "run", "job", "scope", "format"), "VARCHAR"),
    **dict.fromkeys(("period_start", "period_end", "completed_at", "loaded_at"), "TIMESTAMP"),
    **dict.fromkeys(("parts", "rows", "rejected", "bytes"), "BIGINT"),
    "status": "VARCHAR",
}
PARTS = {
    **dict(source="VARCHAR", run="VARCHAR", part="VARCHAR", bytes="BIGINT", sha256="VARCHAR"),
    **dict.fromkeys(("lines", "rows", "rejected", "blank"), "BIGINT"),
    **dict(rejects="VARCHAR", rejects_sha256="VARCHAR"),
}
FILES = dict(path="VARCHAR", source="VARCHAR", scope="VARCHAR", run="VARCHAR", part="VARCHAR")
FILES |= dict(date="DATE", rows="BIGINT", bytes="BIGINT", sha256="VARCHAR")
LOST = dict(source="VARCHAR", run="VARCHAR", part="VARCHAR", rows="BIGINT", rejected="BIGINT", accepted_at="TIMESTAMP")
MEMBERS = FILES | dict(was="VARCHAR", generation="BIGINT", number="BIGINT")


def spelled(columns: dict[str, str]) -> str:
    """Columns for CREATE TABLE."""
    return ", ".join(f'"{name}" {kind}' for name, kind in columns.items())


def nothing(columns: dict[str, str]) -> str:
    """A query with these columns and no row."""
    nulls = ", ".join(f'CAST(NULL AS {kind}) AS "{name}"' for name, kind in columns.items())
    return f"SELECT {nulls} WHERE false"


TABLES = f"""
CREATE SCHEMA _syncd;
CREATE SCHEMA {HIDDEN};
CREATE TABLE _syncd.jobs (
    source VARCHAR, job VARCHAR, name VARCHAR, scope VARCHAR, format VARCHAR, frequency VARCHAR, filters VARCHAR,
    fields VARCHAR, state VARCHAR, seen_at TIMESTAMP);
CREATE TABLE _syncd.published (generation BIGINT, published_at TIMESTAMP, root VARCHAR);
CREATE TABLE _syncd.layouts (layout VARCHAR, columns VARCHAR);
CREATE TABLE _syncd.columns (
    source VARCHAR, scope VARCHAR, name VARCHAR, source_name VARCHAR, type VARCHAR, origin VARCHAR, first_run VARCHAR,
    description VARCHAR, facts VARCHAR);
CREATE TABLE _syncd.scopes (
    source VARCHAR, scope VARCHAR, "view" VARCHAR, merge_keys VARCHAR, event_time VARCHAR, snapshot BOOLEAN);
CREATE TABLE _syncd.views (source VARCHAR, scope VARCHAR, "schema" VARCHAR, "view" VARCHAR, digest VARCHAR);
CREATE TABLE _syncd.let_go (path VARCHAR, source VARCHAR, run VARCHAR, let_go_at TIMESTAMP, keep BOOLEAN);
CREATE VIEW _syncd.rejected AS {rejected_sql([], "")};
CREATE SCHEMA {OPEN};
CREATE TABLE {OPEN}.runs ({spelled(RUNS)});
CREATE TABLE {OPEN}.parts ({spelled(PARTS)});
CREATE TABLE {OPEN}.files ({spelled(FILES)}, layout VARCHAR, dated BOOLEAN, chunk BIGINT, loaded_at TIMESTAMP,
    live BOOLEAN, packed BOOLEAN, settled VARCHAR);
CREATE TABLE {OPEN}.dead (path VARCHAR, source VARCHAR, run VARCHAR, keep BOOLEAN);
CREATE TABLE {OPEN}.rejects (path VARCHAR, source VARCHAR, run VARCHAR);
CREATE TABLE {OPEN}.deliveries (source VARCHAR, scope VARCHAR, job VARCHAR);
CREATE TABLE {OPEN}.segments (path VARCHAR, kind VARCHAR, number BIGINT, "rows" BIGINT, sha256 VARCHAR);
CREATE TABLE {OPEN}.recalled (kind VARCHAR, number BIGINT, source VARCHAR, run VARCHAR);
"""
