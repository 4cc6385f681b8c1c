"""The warehouse from elsewhere: as a URL with another DuckDB's own httpfs, under another mount, and with DuckDB 1.1."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.home import Home, quoted
from tests.reader import answer
from tests.sandbox_fixture import running
from tests.test_http import TOKEN, at_home, daemon, until

ROWS = "SELECT count(*), CAST(sum(session_id) AS VARCHAR), count(DISTINCT _syncd_date) FROM {}.{}"
WHOLE = "SELECT (SELECT count(*) FROM w.acme.sessions) = (SELECT sum(rows) FROM w._syncd.runs WHERE scope = 'sessions')"


def attached(url: str) -> list[str]:
    secret = f"CREATE SECRET (TYPE http, BEARER_TOKEN '{TOKEN}')"
    return ["LOAD httpfs", secret, f"ATTACH '{url}warehouse.duckdb' AS w (READ_ONLY)"]


def plain(home: Home, sql: str) -> list[list[object]]:
    return [list(row) for row in home.query(sql)]


def test_another_duckdb_attaches_the_url_and_sees_the_same_rows(tmp_path: Path) -> None:
    with running(days=3) as vendor:
        home = at_home(tmp_path, vendor, token=TOKEN)
        home.once()
        with daemon(home, authorization=f"Bearer {TOKEN}") as syncd:
            url = str(syncd.client.base_url)
            for view in ("sessions", "sessions_latest"):
                told = answer("1.5", *attached(url), ROWS.format("w.acme", view))
                assert told == plain(home, ROWS.format("acme", view))
            assert answer("1.5", *attached(url), "SELECT count(*) FROM w._syncd.rejected") == [[0]]


def test_a_reader_elsewhere_sees_whole_generations_while_runs_are_loaded(tmp_path: Path) -> None:
    with running(days=8, format="jsonl", latency=0.5) as vendor:
        home = at_home(tmp_path, vendor, token=TOKEN)
        with daemon(home, authorization=f"Bearer {TOKEN}") as syncd:
            until(lambda: syncd.told("run_committed"))
            seen = []
            while not syncd.told("pass_ended"):
                seen.append(answer("1.5", *attached(str(syncd.client.base_url)), WHOLE))
    assert seen
    assert all(told == [[True]] for told in seen)


def test_one_attach_gets_one_generation_however_often_it_asks(tmp_path: Path) -> None:
    duckdb = {"user-agent": "duckdb/v2.0.0(linux_amd64)"}
    with running(days=1) as vendor:
        home = at_home(tmp_path, vendor, token=TOKEN)
        with daemon(home, authorization=f"Bearer {TOKEN}") as syncd:

            def bytes_for(**headers: str) -> bytes:
                assert syncd.client.head("/warehouse.duckdb", headers=headers).status_code == 200
                return syncd.client.get("/warehouse.duckdb", headers=headers).content

            until(lambda: syncd.told("pass_ended"))
            old, plain = bytes_for(**duckdb), bytes_for()
            loaded = len(syncd.told("run_committed"))
            vendor.add_run()
            until(lambda: len(syncd.told("run_committed")) > loaded)
            new = bytes_for()
            assert old == plain != new, "whoever asks once gets the newest"
            assert [bytes_for(**duckdb) for _ in range(3)] == [old, new, new]
            assert len(list((home.data_dir / "abroad").iterdir())) == 2


def test_the_catalogue_has_no_length_and_files_have_ranges(tmp_path: Path) -> None:
    with running(days=1) as vendor:
        home = at_home(tmp_path, vendor, token=TOKEN)
        with daemon(home, authorization=f"Bearer {TOKEN}") as syncd:
            until(lambda: syncd.told("pass_ended"))
            head = syncd.client.head("/warehouse.duckdb")
            assert head.status_code == 200
            assert "content-length" not in head.headers, "its ranges could be of two generations"
            assert syncd.client.get("/warehouse.duckdb.wal").status_code == 404
            ((path, size),) = home.query("SELECT path, bytes FROM _syncd.files ORDER BY path LIMIT 1")
            last = syncd.client.get(f"/{path}".replace("%", "%25"), headers={"range": "bytes=-4"})
            assert (last.status_code, last.content) == (206, b"PAR1")
            assert last.headers["content-range"] == f"bytes {size - 4}-{size - 1}/{size}"
            for other in (
                "/lake/../state.sqlite",
                "/lake/%2e%2e/state.sqlite",
                "/lake/acme",
                "/lake//etc/passwd",
                f"/lake/{0:0300}.parquet",
            ):
                assert syncd.client.get(other).status_code == 404, other
            assert syncd.client.get(f"/{path}", headers={"authorization": ""}).status_code == 401


@pytest.mark.parametrize("version", ["1.1", "1.5"])
def test_an_older_duckdb_reads_every_view(tmp_path: Path, version: str) -> None:
    with running(days=2) as vendor:
        home = at_home(tmp_path, vendor)
        home.once()
        attach = f"ATTACH '{home.data_dir / 'warehouse.duckdb'}' AS w (READ_ONLY); USE w"
        views = home.query("SELECT schema_name, view_name FROM duckdb_views() WHERE NOT internal")
        assert len(views) > 6
        for schema, view in views:
            count = f"SELECT count(*), count(COLUMNS(*)) FROM {quoted(schema)}.{quoted(view)}"
            assert answer(version, attach, count) == plain(home, count), view
