"""What an analyst sees: superseded runs, latest rows, widened and clashing columns, names from outside, moves."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from syncd.destinations.lake import Lake
from syncd.destinations.lake.history import History
from syncd.errors import ConfigError
from syncd.model import Batch, Column, Job, Run, Scope
from syncd.types import Type
from tests.destination_contract import (
    COLUMNS,
    INT64,
    SESSIONS,
    TEXT,
    UINT64,
    batch,
    day,
    load,
    query,
    rows_of,
    run,
    staged,
    table,
)

NOW = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    lake = Lake(tmp_path / "home", keep_superseded=timedelta(days=7), clock=lambda: NOW)
    lake.start()
    return lake


def column(name: str, kind: str, source_name: str | None = None) -> Column:
    return Column(name, Type.parse(kind), source_name or name)


def just(lake: Lake, one: Run, *columns: Column, **row: object) -> None:
    """Load a run of one row with these columns only."""
    scope = Scope(one.scope)
    load(lake, one, batch([row], columns), scope=scope)


RIVALS = [("7-9", 4, 3), ("7-10", 4, 5), ("7-2", 3, 9)]  # id, hour of completion, rows: 7-10 stands


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("together", [True, False])
def test_the_same_run_stands_whatever_came_first(lake: Lake, order: tuple[int, ...], together: bool) -> None:
    ready = []
    for name, hour, count in (RIVALS[at] for at in order):
        one = run(name, done=day(6, hour))
        ready.append((one, [staged(lake, one, batch(rows_of(count)))]))
    lost = []
    for some in [ready] if together else [[one] for one in ready]:
        lost += lake.commit(some).superseded
    assert len(table(lake.home)) == 5
    assert query(lake.home, "SELECT run, status FROM _syncd.runs ORDER BY run") == [
        ("7-10", "loaded"),
        ("7-2", "superseded"),
        ("7-9", "superseded"),
    ]
    assert {one.run for one in lost} == {"7-2", "7-9"}
    assert lake.loaded("acme") == {"7-2", "7-9", "7-10"}
    assert table(lake.home, 'acme."sessions@7"') == table(lake.home)


def test_another_period_or_job_supersedes_nothing(lake: Lake) -> None:
    load(lake, run("7-1"), batch(rows_of(2)))
    load(lake, replace(run("7-2"), end=day(6, 1)), batch(rows_of(2)))
    load(lake, run("8-1", job="8"), batch(rows_of(2)))
    assert query(lake.home, "SELECT DISTINCT status FROM _syncd.runs") == [("loaded",)]
    assert len(table(lake.home)) == 6
    assert len(table(lake.home, 'acme."sessions@8"')) == 2
    assert len(table(lake.home, "acme.sessions_latest")) == 2


def test_a_run_without_rows_supersedes_and_says_so(lake: Lake) -> None:
    load(lake, run("7-1"), batch(rows_of(2)))
    done = lake.commit([(run("7-2"), [])])
    assert [(one.run, one.by, one.shrunk) for one in done.superseded] == [("7-1", "7-2", True)]
    assert table(lake.home) == []


def test_files_let_go_are_swept_after_the_grace_time(lake: Lake) -> None:
    old = load(lake, run("7-1"), batch(rows_of(2), rejected=1))
    load(lake, run("7-2"), batch(rows_of(2)))
    lake.sweep("acme", NOW + timedelta(days=6, hours=23), [])
    assert (lake.home / old.files[0].path).exists()
    lake.sweep("acme", NOW + timedelta(days=365), [])
    assert not (lake.home / old.files[0].path).exists()
    assert not (lake.home / old.rejects).exists()
    assert len(table(lake.home)) == 2
    assert query(lake.home, "SELECT count(*) FROM _syncd.rejected") == [(0,)]
    assert lake.loaded("acme") == {"7-1", "7-2"}


def test_the_fuller_copy_is_never_swept(lake: Lake) -> None:
    old = load(lake, run("7-1"), batch(rows_of(3), rejected=1))
    load(lake, run("7-2"), batch(rows_of(2)))
    lake.sweep("acme", NOW + timedelta(days=3650), [])
    assert (lake.home / old.files[0].path).exists()
    assert query(lake.home, "SELECT count(*) FROM _syncd.files WHERE run = '7-1'") == [(1,)]


def test_staged_files_that_are_kept_or_young_are_not_swept(lake: Lake) -> None:
    kept, orphan = (staged(lake, run(name), batch(rows_of(1), rejected=1)) for name in ("7-1", "7-2"))
    keep = [kept]
    lake.sweep("acme", datetime.now(UTC), keep)
    assert (lake.home / orphan.files[0].path).exists()
    lake.sweep("acme", datetime.now(UTC) + timedelta(hours=2), keep)
    assert not (lake.home / orphan.files[0].path).exists()
    assert not (lake.home / orphan.rejects).exists()
    lake.commit([(run("7-1"), [kept])])


def test_the_latest_row_of_a_key_wins(lake: Lake) -> None:
    rows = rows_of(3)
    load(lake, run("7-1", done=day(9)), batch([row | {"note": "late"} for row in rows]))
    load(lake, run("8-1", job="8", done=day(8)), batch([row | {"note": "early"} for row in rows]))
    once = batch([rows[0] | {"note": "first"}, rows[0] | {"note": "last"}])
    load(lake, run("9-1", job="9", done=day(10)), once)
    assert sorted(row["note"] for row in table(lake.home, "acme.sessions_latest")) == ["last", "late", "late"]


def test_rows_without_a_key_are_all_kept(lake: Lake) -> None:
    keyless = [{"session_id": None, "note": note} for note in ("one", "other")]
    load(lake, run("7-1"), batch([*keyless, *rows_of(2)]))
    load(lake, run("7-2", on=6), batch(rows_of(2)))
    assert len(table(lake.home, "acme.sessions_latest")) == 4


def test_latest_takes_the_best_key_that_every_live_file_has(lake: Lake) -> None:
    scope = replace(SESSIONS, merge_keys=(("project_id", "session_id"), ("session_id",)))
    both = (*COLUMNS, Column("project_id", INT64, "project_id", "declared"))
    rows = [row | {"project_id": at} for at in (1, 2) for row in rows_of(2)]
    load(lake, run("7-1"), batch(rows, both), scope=replace(scope, columns=both))
    assert len(table(lake.home, "acme.sessions_latest")) == 4
    load(lake, run("7-2", on=6), batch(rows_of(2)), scope=replace(scope, columns=both))
    assert len(table(lake.home, "acme.sessions_latest")) == 2
    load(lake, run("7-3", on=7), batch([{"note": "no key"}], COLUMNS[2:]), scope=replace(scope, columns=both))
    assert query(lake.home, "SELECT count(*) FROM duckdb_views() WHERE view_name = 'sessions_latest'") == [(0,)]


def test_the_day_prunes_files_and_latest_too_while_every_row_has_its_own(lake: Lake) -> None:
    for on in range(1, 5):
        load(lake, run(f"7-{on}", on=on), batch(rows_of(2, on=on)))
    for view in ("sessions", "sessions_latest"):
        plan = query(lake.home, f"EXPLAIN ANALYZE SELECT * FROM acme.{view} WHERE _syncd_date = '2026-01-03'")[0][1]
        assert "Total Files Read: 1" in plan, plan
    wild = batch([{"session_id": 1, "session_time": datetime(1999, 1, 1)}])  # noqa: DTZ001 - as Arrow has it
    load(lake, run("7-5", on=5), wild)
    again = batch([{"session_id": 1, "session_time": datetime(1999, 1, 1)}])  # noqa: DTZ001 - as Arrow has it
    load(lake, run("7-6", on=6), again)
    assert query(lake.home, "SELECT count(*) FROM acme.sessions_latest WHERE session_id = 1") == [(1,)]


def test_loaded_at_is_the_commit_of_the_run(tmp_path: Path) -> None:
    clock = iter(NOW + timedelta(microseconds=at) for at in range(10_000))
    lake = Lake(tmp_path, keep_superseded=timedelta(0), clock=lambda: next(clock))
    lake.start()
    names = [*(f"7-{at}" for at in range(1, 301)), "it's", 'a"b', "nul\0nul", "", "Ü\n", "7-1 "]
    for some in (names[:300:2], names[1:300:2], names[300:303], names[303:]):
        ready = [run(name, on=1 + names.index(name)) for name in some]
        lake.commit([(one, [staged(lake, one, batch(rows_of(1)))]) for one in ready])
    wrong = (
        "SELECT count(*) FROM acme.sessions JOIN _syncd.runs ON run = _syncd_run "
        "WHERE loaded_at IS DISTINCT FROM _syncd_loaded_at"
    )
    assert query(tmp_path, wrong) == [(0,)]
    assert query(
        tmp_path, "SELECT count(DISTINCT _syncd_run), count(DISTINCT _syncd_loaded_at) FROM acme.sessions"
    ) == [(len(names), 4)]


def test_a_conflict_widens_the_column_over_old_and_new_files(lake: Lake) -> None:
    just(lake, run("7-1", on=1), column("n", "int64(3.0)"), n=123)
    just(lake, run("7-2", on=2), column("n", "uint64(20.0!)"), n=2**64 - 1)
    assert [row["n"] for row in table(lake.home)] == [Decimal(123), Decimal(2**64 - 1)]
    just(lake, run("7-3", on=3), column("n", "string"), n="x")
    just(lake, run("7-4", on=4), column("n", "list<int64(1.0)>"), n=[1, 2])
    just(lake, run("7-5", on=5), column("other", "bool"), other=True)
    assert [row["n"] for row in table(lake.home)] == ["123", str(2**64 - 1), "x", "[1,2]", None]
    history = query(lake.home, "SELECT type, first_run FROM _syncd.columns WHERE source_name = 'n' ORDER BY rowid")
    assert history == [("int64", "7-1"), ("decimal", "7-2"), ("string", "7-3")]
    assert [str(one.type.plain) for one in lake.scope("acme", Scope("sessions")).columns] == ["string", "bool"]


def test_a_scope_tells_which_columns_only_a_conflict_made_text(lake: Lake) -> None:
    declared = Scope("sessions", (column("n", "int64"), column("m", "int64"), column("text", "string")))
    just(lake, run("7-1", on=1), column("n", "string"), n="odd")
    assert lake.scope("acme", declared).made_text == {"n"}


def test_facts_outlive_a_commit_without_a_change_of_type(lake: Lake) -> None:
    """A double after an integer that no double holds is a decimal, although the column was int64 all the time."""
    just(lake, run("7-1", on=1), column("n", "int64(1.0)"), n=1)
    just(lake, run("7-2", on=2), column("n", "int64(19.0!)"), n=2**62 + 1)
    just(lake, run("7-3", on=3), column("n", "double(0.1)"), n=0.5)
    assert [row["n"] for row in table(lake.home)] == [Decimal("1.0"), Decimal(2**62 + 1), Decimal("0.5")]


def test_a_column_that_was_only_null_is_text_until_a_value_decides(lake: Lake) -> None:
    good = batch([{"a": 1}], [column("a", "int64")])
    nulls = Batch(good.rows, good.columns, (), 1, 0, nulls=(column("b", "null"),))
    load(lake, run("7-1", on=1), nulls, scope=Scope("sessions"))
    assert query(lake.home, "SELECT typeof(b) FROM acme.sessions") == [("VARCHAR",)]
    just(lake, run("7-2", on=2), column("b", "int64"), b=5)
    assert [row["b"] for row in table(lake.home)] == [None, 5]


def test_names_that_differ_only_in_case_are_told_apart_for_good(lake: Lake) -> None:
    just(lake, run("7-1", on=1), column("Alias", "int64"), column("_SYNCD_Row", "int64"), Alias=1, _SYNCD_Row=7)
    just(lake, run("7-2", on=2), column("alias", "string"), alias="two")
    just(lake, run("7-3", on=3), column("alias", "string"), column("ALIAS_2", "bool"), alias="three", ALIAS_2=True)
    names = ("Alias", "_SYNCD_Row_2", "alias_2", "ALIAS_2_2")
    assert [tuple(row[name] for name in names) for row in table(lake.home)] == [
        (1, 7, None, None),
        (None, None, "two", None),
        (None, None, "three", True),
    ]
    given = {one.source_name: one.name for one in lake.scope("acme", Scope("sessions")).columns}
    assert given == dict(zip(("Alias", "_SYNCD_Row", "alias", "ALIAS_2"), names, strict=True))


NASTY = [
    "select",
    "../../x",
    "a\"b'c",
    "Sessions",
    "sessions",
    "x=1",
    "*",
    "~",
    ".hidden",
    "é" * 300,
    "a b",
    "%2F",
    "_rejected",
]


@pytest.mark.parametrize("name", [*NASTY, "nul\0nul", "", "x_latest", "x@7"])
def test_any_name_of_scope_job_run_part_and_column_works(lake: Lake, name: str) -> None:
    one = Run("acme", name, name, "jsonl", day(5), day(6), name, day(6))
    columns = (Column(name.replace("\0", "") or "c", TEXT, name), column("session_id", "uint64"))
    rows = [{columns[0].name: "é", "session_id": 2**64 - 1}]
    part = staged(lake, one, batch(rows, columns, rejected=1), part=name, scope=Scope(name, (), (("session_id",),)))
    done = lake.commit([(one, [part])])
    (view,) = query(lake.home, 'SELECT "view" FROM _syncd.scopes')[0]
    quoted = view.replace('"', '""')
    assert table(lake.home, f'acme."{quoted}"') == rows
    assert done.refused == []
    told = query(lake.home, f'SELECT _syncd_run, _syncd_job, _syncd_part FROM acme."{quoted}_latest"')
    assert told == [(name, name, name)]
    assert query(lake.home, "SELECT source, scope, run, part, raw FROM _syncd.rejected") == [
        ("acme", name, name, name, b"\xff\0{")
    ]
    assert all(path.is_relative_to(lake.home) for path in lake.home.rglob("*"))
    assert not (lake.home.parent / "x").exists()


def test_scopes_that_clash_with_each_other_or_with_derived_views_all_stand(lake: Lake) -> None:
    names = ["sessions", "Sessions", "sessions_latest", "sessions@7", "SESSIONS_2"]
    for at, name in enumerate(names):
        load(lake, run(f"7-{at}", scope=name), batch(rows_of(at + 1)), scope=replace(SESSIONS, name=name))
    views = dict(query(lake.home, 'SELECT scope, "view" FROM _syncd.scopes'))
    assert [views[name] for name in names] == [
        "sessions",
        "Sessions_2",
        "sessions_latest",
        "sessions@7",
        "SESSIONS_2_2",
    ]
    for at, name in enumerate(names):
        assert len(table(lake.home, f'acme."{views[name]}"')) == at + 1, name
    done = lake.commit([(run("7-9", on=9), [])])
    assert set(done.refused) == {"sessions_latest", "sessions@7"}


def test_every_column_name_that_duckdb_has_a_meaning_for_is_a_plain_column(lake: Lake) -> None:
    names = [
        "filename",
        "file_row_number",
        "file_index",
        "rowid",
        "select",
        "env",
        "home",
        'q"q',
        "a.b",
        "x'y",
    ]
    just(lake, run(), *(column(name, "string") for name in names), **{name: f"<{name}>" for name in names})
    assert table(lake.home) == [{name: f"<{name}>" for name in names}]


def test_a_folder_like_env_prod_adds_and_hides_no_column(tmp_path: Path) -> None:
    home = tmp_path / "env=prod"
    lake = Lake(home, keep_superseded=timedelta(0))
    lake.start()
    just(lake, run(), column("env", "string"), env="mine")
    assert table(home) == [{"env": "mine"}]
    home.rename(tmp_path / "env=prod,x=y")
    moved = Lake(tmp_path / "env=prod,x=y", keep_superseded=timedelta(0))
    moved.start()
    assert table(moved.home) == [{"env": "mine"}]


def test_a_moved_data_dir_is_published_again(lake: Lake, tmp_path: Path) -> None:
    load(lake, run(), batch(rows_of(2), rejected=1))
    (before,) = query(lake.home, "SELECT generation FROM _syncd.published")[0]
    lake.home.rename(tmp_path / "elsewhere")
    moved = Lake(tmp_path / "elsewhere", keep_superseded=timedelta(days=7))
    moved.start()
    assert table(moved.home) == rows_of(2)
    assert query(moved.home, "SELECT count(*) FROM _syncd.rejected") == [(1,)]
    assert query(moved.home, "SELECT generation FROM _syncd.published") == [(before + 1,)]
    moved.start()
    assert query(moved.home, "SELECT generation FROM _syncd.published") == [(before + 1,)]


def test_a_lake_without_its_catalogue_is_not_taken_for_an_empty_one(lake: Lake) -> None:
    load(lake, run(), batch(rows_of(2)))
    (lake.home / "warehouse.duckdb").unlink()
    with pytest.raises(ConfigError) as told:
        lake.start()
    assert "verify --repair" in told.value.hint


def test_a_corrupt_catalogue_is_told_with_its_remedy(lake: Lake) -> None:
    (lake.home / "warehouse.duckdb").write_bytes(b"no database" * 1000)
    with pytest.raises(ConfigError) as told:
        lake.loaded("acme")
    assert "verify --repair" in told.value.hint


def test_jobs_are_published_only_when_something_about_them_is_new(lake: Lake) -> None:
    job = Job("acme", "7", "Daily", "sessions", "JSONL", "daily", "{}", "[]", "ACTIVE")
    lake.record_jobs("acme", [job])
    before = lake.stamp()
    lake.record_jobs("acme", [job])
    assert lake.stamp() == before
    lake.record_jobs("acme", [replace(job, state="PAUSED"), Job("acme", "8")])
    assert {(one.id, one.state) for one in lake.jobs()} == {("7", "PAUSED"), ("8", "")}
    assert query(lake.home, "SELECT DISTINCT seen_at FROM _syncd.jobs") == [(NOW.replace(tzinfo=None),)]


def test_before_the_first_start_there_is_nothing(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "none", keep_superseded=timedelta(0))
    assert (lake.loaded("acme"), [*lake.runs()], lake.jobs(), lake.scope("acme", SESSIONS)) == (set(), [], [], SESSIONS)
    assert lake.history(NOW) == History()
    assert not (tmp_path / "none").exists()


def test_many_files_of_a_job_are_listed_in_chunks_and_lose_no_row(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("syncd.destinations.lake.commit.CHUNK", 2)
    for on in range(1, 8):
        load(lake, run(f"7-{on}", on=on), batch(rows_of(on, on=on)))
    load(lake, run("7-8", on=2), batch(rows_of(1, on=2)))
    assert len(table(lake.home)) == sum(range(1, 8)) - 2 + 1
    assert query(lake.home, "SELECT count(DISTINCT chunk) FROM _syncd_open.files") == [(4,)]
    assert UINT64 in {one.type for one in lake.scope("acme", SESSIONS).columns}


def views_of(lake: Lake) -> dict[str, str]:
    return dict(query(lake.home, "SELECT view_name, sql FROM duckdb_views() WHERE NOT internal"))


def test_a_commit_writes_only_the_view_that_lists_its_files(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each lists so many files of one schema, in the order in which they came: the older ones stay as they are."""
    monkeypatch.setattr("syncd.destinations.lake.commit.CHUNK", 3)
    for on in range(1, 8):
        load(lake, run(f"7-{on}", on=on), batch(rows_of(1, on=on)))
        load(lake, run(f"8-{on}", on=on, job="8"), batch([{"session_id": on}], COLUMNS[:1]))
        load(lake, replace(run(f"9-{on}", on=on), scope="views"), batch(rows_of(1, on=on)))
    before = views_of(lake)
    hidden = [name for name in before if name.startswith("acme.sessions#")]
    layouts = query(lake.home, "SELECT count(*) FROM _syncd_open.files WHERE scope = 'sessions' GROUP BY chunk, layout")
    assert len(hidden) == len(layouts) == 10, "of each schema its own"
    load(lake, run("7-99", on=9), batch(rows_of(1, on=9)))
    after = views_of(lake)
    changed = [name for name in after if before.get(name) != after[name]]
    assert len(changed) == 1
    assert changed[0] in hidden
    assert len(table(lake.home)) == 15


def test_the_stored_union_grows_to_the_left_only(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """DuckDB 1.1 loses rows of a UNION ALL on the right side of another, without a word."""
    monkeypatch.setattr("syncd.destinations.lake.commit.CHUNK", 1)
    for job in "1234":
        load(lake, run(f"{job}-1", job=job), batch(rows_of(2)))
    (stored,) = query(lake.home, "SELECT sql FROM duckdb_views() WHERE view_name = 'sessions'")[0]
    sides = stored.split("UNION ALL")
    assert len(sides) == 4
    assert all("_syncd_files" in side and side.count("SELECT") == 1 for side in sides[1:])
    assert sides[0].count("SELECT") == 3
    assert len(table(lake.home)) == 8
