"""Convert keeps the promises of a source, and bears every form that the vendor's pages leave open."""

from __future__ import annotations

import io
import pickle
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import httpx
import orjson
import pytest
from structlog.testing import capture_logs

from syncd.errors import BadRun, LinkExpired, TryAgain
from syncd.model import MustAsk, Source
from syncd.parse import parse
from syncd.retry import Patient
from syncd.settings.convert import SCOPES as CONFIGURED
from syncd.sources.convert.answers import Digits, dumps, ids, instant, loads
from syncd.sources.convert.answers import rows as rows_of
from syncd.sources.convert.api import NoRight
from syncd.sources.convert.dictionary import TABLES, declared
from syncd.sources.convert.dimensions import DIMENSIONS
from syncd.sources.convert.exports import project_rows
from syncd.sources.convert.logs import history
from syncd.sources.convert.scopes import SCOPES
from tests.convert_vendor import SOON, Clock, landed, one_scope, reader, rows, running, runs
from tests.source_contract import SourceContract


class TestContract(SourceContract):
    @pytest.fixture(params=["calm", "troubled"])
    def source(self, request: pytest.FixtureRequest) -> Iterator[Source]:
        trouble = {"refuse_every": 3, "refuse_with": "500-busy"} if request.param == "troubled" else {}
        with running(experiences=2, goals=1, entries=1, history=2, **trouble) as vendor:
            scopes = ("goals", "experiences", "aggregated_report", "change_history")
            source = reader(vendor, *scopes, clock=Clock())
            yield Patient(source, SOON) if trouble else source


def test_scopes_are_the_same_for_the_configuration_the_source_and_the_dictionary() -> None:
    assert set(CONFIGURED) == set(SCOPES) == set(TABLES)
    assert isinstance(reader_of_nothing(), MustAsk)


def reader_of_nothing() -> Any:
    with running() as vendor:
        return reader(vendor)


# ---- lists


OF_PROJECTS = [name for name, one in DIMENSIONS.items() if one.level == "project" and name != "variations"]


@pytest.mark.parametrize("kind", OF_PROJECTS)
def test_each_list_is_mirrored_entry_by_entry(kind: str) -> None:
    with running(experiences=60, entries=51, goals=50) as vendor:
        found = one_scope(vendor, kind)
        told = {
            (project, str(row.get("id", row.get("key"))))
            for (project, name), entries in vendor.api.account.lists.items()
            for row in entries
            if name.replace("-", "_") == kind
        } or {(project, "1") for project in (2001, 2002)}
    assert {(row["project_id"], str(row.get("id", row.get("key")))) for row in found} == told
    assert len(found) == len(told)
    assert {row["account_id"] for row in found} == {1001}


@pytest.mark.parametrize("kind", [name for name, one in DIMENSIONS.items() if one.level != "project"])
def test_lists_beyond_projects_are_mirrored(kind: str) -> None:
    with running() as vendor:
        found = one_scope(vendor, kind)
    count = {"projects": 2, "access_roles": 2, "sections": 2}.get(kind, 1)
    assert len(found) == count


def test_experiences_come_in_every_status_with_their_variations() -> None:
    with running(experiences=9) as vendor:
        found = one_scope(vendor, "experiences")
    assert len({row["status"] for row in found}) == 7
    assert {row["id"]: len(row["variations"]) for row in found}.keys() == {row["id"] for row in found}
    assert all([one["is_baseline"] for one in row["variations"]] == [True, False] for row in found)
    assert {row["type"] for row in found} > {"mvt", "a/b_fullstack"}


def test_variations_have_a_table_of_their_own_without_a_call_more() -> None:
    with running(experiences=3, references="objects") as vendor:
        source = reader(vendor, "experiences", "variations")
        found = runs(source)
        calls = vendor.log()["total"]["api"]
        variations, experiences = rows(source, found["variations"]), rows(source, found["experiences"])
        assert vendor.log()["total"]["api"] == calls
    assert {(row["experience_id"], row["id"]) for row in variations} == {
        (row["id"], one["id"]) for row in experiences for one in row["variations"]
    }
    assert {row["project_id"] for row in variations} == {2001, 2002}


@pytest.mark.parametrize("wide", ["takes", "refuses"])
def test_a_score_above_the_vendors_own_most_is_found_where_it_can_be(wide: str) -> None:
    with running(entries=4, scores=wide) as vendor:
        for number, row in enumerate(vendor.api.account.lists[2001, "hypotheses"]):
            row["prioritization_score"] = f"{number * 3}.0"
        found = one_scope(vendor, "hypotheses", projects=[2001])
    assert len(found) == (4 if wide == "takes" else 2)


def test_projects_of_both_types_are_asked_for() -> None:
    with running() as vendor:
        assert {row["project_type"] for row in one_scope(vendor, "projects")} == {"web", "fullstack"}


@pytest.mark.parametrize("shift", [3, -3])
@pytest.mark.parametrize("page_cap", [50, 7])
def test_a_list_that_shifts_is_read_whole(shift: int, page_cap: int) -> None:
    with running(entries=60, shift=shift, page_cap=page_cap) as vendor:
        for kind in ("audiences", "tags", "knowledge_bases"):
            found = [row["id"] for row in one_scope(vendor, kind)]
            held = [
                row["id"]
                for project in (2001, 2002)
                for row in vendor.api.account.lists[project, kind.replace("_", "-")]
            ]
            assert sorted(found) == sorted(held)


@pytest.mark.parametrize(
    "trouble",
    [
        {"no_extra": True},
        {"no_extra": True, "page_cap": 30},
        {"references": "objects"},
        {"single": "data"},
        {"keys_reversed": True},
        {"zero_times": "null"},
        {"ok": 202},
        {"page_cap": 3},
        {"refuse_every": 3, "refuse_with": "429"},
    ],
    ids=str,
)
def test_every_form_of_a_list_is_landed_alike(trouble: dict[str, Any]) -> None:
    assert lists(**trouble) == calm_lists()


def lists(**trouble: Any) -> dict[str, bytes]:
    with running(experiences=50, goals=1, **trouble) as vendor:
        source = reader(vendor, "experiences", "goals", "hypotheses", "account_details", "observations")
        found = SOON(lambda: runs(source))
        return {scope: landed(source, run) for scope, run in found.items()}


calm_lists = cache(lists)


@pytest.mark.parametrize("images", ["inclusive", "exclusive"])
def test_images_page_by_key_either_way(images: str) -> None:
    with running(entries=120, images=images, page_cap=40) as vendor:
        keys = [row["key"] for row in one_scope(vendor, "images")]
    assert len(keys) == len(set(keys)) == 240


def test_paths_that_are_by_pattern_only_may_be_missing() -> None:
    with running(lack=True) as vendor:
        assert one_scope(vendor, "audiences_presets") == []
        assert one_scope(vendor, "sections") == []
        assert one_scope(vendor, "locations_presets") != []


def test_unknown_statuses_and_fields_are_kept() -> None:
    with running(odd=True) as vendor:
        found = one_scope(vendor, "experiences")
    assert "hibernating" in {row["status"] for row in found}
    assert found[0]["new_field"] == {"depth": 1} and found[1]["brand_new"] == 1.0


def test_ids_as_text_are_the_same_ids() -> None:
    with running(numbers_as_text=True) as vendor:
        source = reader(vendor, "experiences", "aggregated_report")
        found = runs(source)
        assert len(rows(source, found["aggregated_report"])) == 2 * 6 * 3 * 2 * 3 - 2 * 2 * 18  # drafts have none


def test_a_list_is_landed_byte_for_byte_alike_when_nothing_changed() -> None:
    clock = Clock()
    with running(keys_reversed=True) as vendor:
        source = reader(vendor, clock=clock)
        first = {scope: landed(source, run) for scope, run in runs(source).items() if declared(scope).snapshot}
        clock.go_on(hours=7)
        source = reader(vendor, clock=clock)
        again = {scope: landed(source, run) for scope, run in runs(source).items() if declared(scope).snapshot}
    assert len(first) > 14 and first == again


def test_declared_columns_hold_what_the_vendor_sends() -> None:
    """No declared column is widened by a calm vendor, and none of its fields stands nowhere."""
    with running() as vendor:
        source = reader(vendor)
        for scope, run in runs(source).items():
            known = {column.name: column.type.plain for column in declared(scope).columns}
            for batch in parse([landed(source, run)], declared(scope), "jsonl"):
                assert not batch.rejected
                seen = {column.name: column.type.plain for column in batch.columns}
                assert {name: seen[name] for name in seen if seen[name] != known.get(name)} == {}, scope


@pytest.mark.parametrize(
    "trouble",
    [
        {"no_project": 2002},
        {"refuse_every": 1, "refuse_with": "403", "refuse_path": "2002/goals"},
        {"refuse_every": 1, "refuse_with": "404", "refuse_path": "2002/goals"},
    ],
    ids=str,
)
def test_a_list_that_may_not_be_read_says_nothing_rather_than_that_all_is_gone(trouble: dict[str, Any]) -> None:
    with running(**trouble) as vendor:
        source = reader(vendor, "goals")
        run = runs(source)["goals"]
        told = {}
        for part in source.parts(run):
            with source.open(part) as body:
                told[part.name] = b"".join(body)
    assert told["2002"] == b"\n" and len(told["2001"].splitlines()) == 3


@pytest.mark.parametrize("answer", [b"<html>maintenance</html>", b'"ok"', b'{"status":"maintenance"}', b"", b"17"])
def test_what_is_no_list_is_no_empty_list(answer: bytes) -> None:
    def vendor(request: httpx.Request) -> httpx.Response:
        lists = {"projects": [{"id": 2001, "project_type": "web"}], "experiences": []}
        last = request.url.path.rpartition("/")[2]
        return httpx.Response(200, json={"data": lists[last]}) if last in lists else httpx.Response(200, content=answer)

    with running() as box:
        source = reader(box, "goals", transport=httpx.MockTransport(vendor))
        (part,) = source.parts(runs(source)["goals"])
        with pytest.raises(TryAgain), source.open(part) as body:
            list(body)


@pytest.mark.parametrize("status, answer", [(204, b""), (200, b'{"data":{}}'), (200, b'{"data":null}'), (200, b"[]")])
def test_every_spelling_of_an_empty_list_is_one(status: int, answer: bytes) -> None:
    def vendor(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/projects"):
            return httpx.Response(200, json=[{"id": "2001", "project_type": "web"}])
        return httpx.Response(status, content=answer)

    with running() as box:
        source = reader(box, "goals", transport=httpx.MockTransport(vendor))
        assert rows(source, runs(source)["goals"]) == []


# ---- which runs a pass has


def test_a_scope_is_read_at_its_interval_and_a_sweep_makes_no_difference() -> None:
    clock = Clock()
    with running() as vendor:
        scopes = {"goals": timedelta(hours=1), "tags": timedelta(hours=6)}
        source = reader(vendor, "goals", scopes=dict.fromkeys(SCOPES) | scopes, clock=clock)
        first = runs(source)
        assert first.keys() == scopes.keys()
        assert first["goals"].id == f"goals-{clock.now:%Y%m%dT%H%M%SZ}" and first["goals"].job == "goals"
        for run in first.values():
            source.parts(run)
        clock.go_on(minutes=30)
        assert runs(source, sweep=False) == {}
        clock.go_on(minutes=26)
        assert runs(source, sweep=False).keys() == {"goals"}, "a little early is on time"
        clock.go_on(hours=4)
        assert runs(source, sweep=True).keys() == {"goals"}
        clock.go_on(hours=1)
        assert runs(source, sweep=True).keys() == scopes.keys()


def test_a_clock_that_was_set_back_holds_up_no_scope() -> None:
    clock = Clock()
    with running() as vendor:
        source = reader(vendor, "goals", "change_history", clock=clock)
        ahead = runs(source)
        for run in ahead.values():
            source.parts(run)
        clock.go_on(days=-300)
        found = runs(source, closed=frozenset(run.id for run in ahead.values()))
        assert found.keys() == ahead.keys()
        assert found["change_history"].ref == "", "a reading of tomorrow says nothing of what was read by now"


def test_a_scope_that_is_refused_is_tried_ever_more_slowly_and_recovers() -> None:
    clock = Clock()
    with running(refuse_every=1, refuse_with="403", refuse_path="/goals") as vendor:
        source = reader(vendor, "goals", clock=clock)
        tried = []
        for hour in range(0, 120, 6):
            if run := runs(source).get("goals"):
                tried.append(hour)
                with pytest.raises(NoRight):
                    landed(source, run)
            clock.go_on(hours=6)
        assert tried == [0, 12, 36, 60, 84, 108]
        vendor.set_trouble(refuse_every=0)
        clock.go_on(hours=24)
        assert landed(source, runs(source)["goals"])
        clock.go_on(hours=6)
        assert runs(source), "its own interval again"


def test_a_run_whose_parts_were_never_listed_is_offered_again() -> None:
    clock = Clock()
    with running() as vendor:
        source = reader(vendor, "goals", clock=clock)
        first = runs(source)
        clock.go_on(hours=12)
        assert runs(source) == first


def test_calls_are_told_beforehand() -> None:
    with running(experiences=120, goals=1) as vendor:
        source = reader(
            vendor, *(scope for scope, on in SCOPES.items() if on and scope != "report_export"), projects=[2001]
        )
        with capture_logs() as events:
            found = runs(source)
        (told,) = [event for event in events if event["event"] == "calls_planned"]
        before = vendor.log()["total"]
        for run in found.values():
            landed(source, run)
        made = {kind: vendor.log()["total"].get(kind, 0) - before.get(kind, 0) for kind in ("api", "file")}
    assert told["calls"] == sum(told["by_scope"].values())
    assert 0 <= made["api"] + made["file"] - told["calls"] <= 20, "lists longer than a page are not known beforehand"


# ---- reports


def test_experiences_that_rest_are_read_once_a_day_and_those_that_run_each_time() -> None:
    clock = Clock(datetime(2026, 3, 3, 3, 3, 3, tzinfo=UTC))
    with running(experiences=70, goals=1) as vendor:
        source = reader(vendor, "aggregated_report", projects=[2001], clock=clock)
        closed: set[str] = set()
        seen: list[Counter[int]] = []
        for _ in range(5):
            run = runs(source, closed=frozenset(closed))["aggregated_report"]
            seen.append(Counter({row["experience_id"] for row in rows(source, run)}))
            closed.add(run.id)
            clock.go_on(hours=6)
        begun = {row["id"]: row["status"] for row in vendor.api.account.lists[2001, "experiences"] if row["start_time"]}
    busy = {number for number, status in begun.items() if status in ("active", "paused")}
    assert set(seen[0]) == set(begun), "the first reading has all that ever began"
    later = sum(seen[1:], Counter())
    assert {number for number in later if later[number] == 4} == busy
    assert {number: later[number] for number in begun.keys() - busy} == dict.fromkeys(begun.keys() - busy, 1)
    assert all(len(set(one) - busy) < 30 for one in seen[1:]), "the slow ones come in no burst"


def test_an_experience_that_rests_is_read_when_the_history_tells_that_it_was_changed() -> None:
    clock = Clock(datetime(2026, 1, 30, tzinfo=UTC))
    with running(experiences=30, goals=1, history=3) as vendor:
        source = reader(vendor, "aggregated_report", projects=[2001], clock=clock)
        first = runs(source)["aggregated_report"]
        source.parts(first)
        record = vendor.api.account.record(2001, 4000) | {"object": "report", "object_id": "200102"}
        assert record["timestamp"] > clock.now.timestamp()
        clock.go_on(seconds=1)
        seen = []
        for told in ([], [record]):
            vendor.api.account.history[2001] += told
            again = reader(vendor, "aggregated_report", projects=[2001], clock=clock)
            later = runs(again, closed=frozenset({first.id}))["aggregated_report"]
            seen.append({row["experience_id"] for row in rows(again, later)})
        assert seen[1] - seen[0] == {200102}


@pytest.mark.parametrize("report_data", ["array", "object"])
@pytest.mark.parametrize("more", [{}, {"deprecated": True, "revenue": True, "odd": True}])
def test_the_aggregated_report_has_a_row_for_each_value(report_data: str, more: dict[str, Any]) -> None:
    clock = Clock()
    with running(experiences=1, report_data=report_data, **more) as vendor:
        found = one_scope(vendor, "aggregated_report", projects=[2001], clock=clock)
    assert len(found) == 3 * 2 * 3
    assert len({(row["goal_id"], row["variation_id"], row["metric_type"]) for row in found}) == 18
    assert {row["fetched_at"] for row in found} == {clock.now.isoformat().replace("+00:00", "Z")}
    first = min(found, key=lambda row: (row["goal_id"], row["variation_id"], row["metric_type"]))
    assert (first["goal_id"], first["variation_id"]) == (200101, 2001010)
    total = {row["metric_type"]: row["metric_total"] for row in found if row["goal_id"] == 200101}
    assert total["avg_revenue_visitor"] == total["conversion_rate"] + (0.25 if more else 0)
    assert first["variation"] == {"id": 2001010, "name": "Original"} and first["goal_srm_pvalue"] == 0.5


@pytest.mark.parametrize("report_data", ["array", "object"])
def test_the_daily_report_has_both_kinds_of_every_goal_and_metric(report_data: str) -> None:
    with running(experiences=1, goals=2, days=4, report_data=report_data) as vendor:
        found = one_scope(vendor, "daily_report", projects=[2001])
    values = [row for row in found if row["series"] == "variation"]
    assert len(values) == 2 * 3 * 2 * 2 * 4
    key = ("goal_id", "metric", "report_type", "variation_id", "timestamp")
    assert len({tuple(row[name] for name in key) for row in values}) == len(values)
    assert min(row["timestamp"] for row in values) == "2026-01-05T00:00:00Z"
    over_all = [row for row in found if row["series"] == "total_visitors"]
    assert len(over_all) == 2 * 3 * 2 and {row["variation_id"] for row in over_all} == {None}


def test_figures_that_change_are_read_again_and_a_reset_shows_as_zero() -> None:
    clock = Clock()
    with running(experiences=1, moving=True) as vendor:
        source = reader(vendor, "aggregated_report", projects=[2001], clock=clock)
        first = rows(source, runs(source)["aggregated_report"])
        vendor.set_trouble(zeroed=200101)
        clock.go_on(hours=7)
        second = rows(source, runs(source)["aggregated_report"])
    assert {row["metric_total"] for row in second} == {0} != {row["metric_total"] for row in first}
    assert first[0]["fetched_at"] < second[0]["fetched_at"]


def test_a_throttled_report_goes_on_where_it_was() -> None:
    with running(
        experiences=4, goals=3, refuse_path="daily_report", refuse_every=5, refuse_times=6, refuse_with="500-busy"
    ) as vendor:
        found = one_scope(vendor, "daily_report", projects=[2001])
        asked = [one for one in vendor.log()["requests"] if one["path"].endswith("daily_report")]
    steps = {(row["experience_id"], row["goal_id"], row["metric"], row["report_type"]) for row in found}
    assert len(steps) == 3 * 18  # of four experiences one is a draft
    assert len([one for one in asked if one["status"] == 200]) == len(steps), "nothing was asked for twice"


@pytest.mark.parametrize("scope", ["aggregated_report", "daily_report", "report_settings", "report_export"])
def test_one_experience_that_is_refused_is_a_row_that_says_so_and_holds_up_no_other(scope: str) -> None:
    clock = Clock()
    with running(experiences=2, goals=1) as vendor:
        source = reader(vendor, scope, projects=[2001], clock=clock)
        run = runs(source)[scope]
        gone = vendor.api.account.lists[2001, "experiences"].pop()
        told = []
        for _ in range(2):
            with capture_logs() as events:
                found = rows(source, run)
            told += [event for event in events if event["event"] == "reads_refused"]
            clock.go_on(hours=7)
    refused = [row for row in found if row.get("refused")]
    assert {row["experience_id"] for row in refused} == {gone["id"]}
    assert all("404" in row["refused"] and row["fetched_at"] for row in refused)
    assert {row["experience_id"] for row in found if not row.get("refused")} == {200101}
    (event,) = told
    assert (event["scope"], event["refused"]) == (scope, len(refused)) and "404" in event["error"]


def test_shares_in_which_all_are_refused_hold_up_no_other_share() -> None:
    with running(experiences=40, goals=1) as vendor:
        source = reader(vendor, "aggregated_report", projects=[2001])
        run = runs(source)["aggregated_report"]
        experiences = vendor.api.account.lists[2001, "experiences"]
        experiences[:] = [row for row in experiences if row["id"] % 8 == 3]
        found = rows(source, run)
    assert len(source.parts(run)) == 8
    assert {row["experience_id"] for row in found if "refused" not in row} == {
        row["id"] for row in experiences if row["start_time"]
    }


def test_a_report_that_is_refused_for_all_is_refused_as_a_whole() -> None:
    with running(experiences=40, goals=1, refuse_every=1, refuse_with="403", refuse_path="_report") as vendor:
        source = reader(vendor, "aggregated_report", projects=[2001])
        run = runs(source)["aggregated_report"]
        with pytest.raises(NoRight):
            landed(source, run)


def test_one_report_that_fails_on_and_on_holds_up_no_other() -> None:
    with running(experiences=4, goals=1, refuse_every=1, refuse_with="500", refuse_path="200102/report_settings") as it:
        found = one_scope(it, "report_settings", projects=[2001])
    assert {row["experience_id"] for row in found if "refused" in row} == {200102}
    assert len({row["experience_id"] for row in found}) == 3


def test_report_settings_are_rows() -> None:
    with running(experiences=1) as vendor:
        found = one_scope(vendor, "report_settings", projects=[2001])
    assert sorted(row["setting"] for row in found) == ["campaigns", "custom_segments"]
    assert {row.get("visitors_count") for row in found} == {7, None}


def test_another_machine_lists_the_parts_of_a_run_alike() -> None:
    clock = Clock()
    with running(experiences=60, goals=1) as vendor:
        source = reader(vendor, "aggregated_report", clock=clock)
        run = runs(source)["aggregated_report"]
        again = pickle.loads(pickle.dumps(source))
        names = [part.name for part in source.parts(run)]
        assert [part.name for part in again.parts(run)] == names and len(names) == 8
        assert landed(again, run) == landed(source, run)


# ---- exports


@pytest.mark.parametrize("packing", ["plain", "gzip", "zip"])
@pytest.mark.parametrize("link", ["download_url", "string"])
def test_a_report_comes_by_its_link_in_every_packing(packing: str, link: str) -> None:
    with running(experiences=1, goals=12, packing=packing, link=link, odd=True) as vendor:
        found = one_scope(vendor, "report_export", projects=[2001])
    forms = Counter((row["report_type"], row["data_type"], row["chunk"]) for row in found)
    assert len(forms) == 2 + 4 * 2, "a daily export has at most ten goals"
    sections = [row for row in found if row["report_type"] == "csv_aggregated"]
    assert [len(row["cells"]) for row in sections[:2]] == [2, 4]
    assert sections[2]["cells"][0] == 'Original, "quoted"' and ";" in sections[2]["text"]


@pytest.mark.parametrize("trouble", [{"link_cut": 3}, {"link_life": 0.0}])
def test_a_dead_link_is_asked_for_anew(trouble: dict[str, Any]) -> None:
    with running(experiences=1, goals=1, **trouble) as vendor:
        source = Patient(reader(vendor, "report_export", projects=[2001]), SOON)
        run = runs(source)["report_export"]  # type: ignore[arg-type]
        (part,) = source.parts(run)
        found = b""
        for _ in range(20):
            try:
                with source.open(part) as body:
                    found = b"".join(body)
                break
            except LinkExpired:
                vendor.set_trouble(link_life=60.0)
            except TryAgain:
                pass
        asked = [one for one in vendor.log()["requests"] if one["path"].endswith("export_report")]
    assert len(found.splitlines()) == 21 and len(asked) > 6


def test_an_export_that_answers_without_a_link_is_told_word_for_word() -> None:
    with running(experiences=1, link="empty") as vendor, pytest.raises(BadRun, match=r'{"data":{}}'):
        one_scope(vendor, "report_export", projects=[2001])


def test_a_project_export_is_left_out_while_nothing_changed() -> None:
    clock = Clock()
    with running() as vendor:
        source = reader(vendor, "project_export", clock=clock)
        run = runs(source)["project_export"]
        found = rows(source, run)
        assert {row["section"] for row in found} == {"project", "experiences", "audiences", "locations", "goals"}
        assert len({(row["project_id"], row["section"], row["entry"]) for row in found}) == len(found)
        clock.go_on(hours=7)
        assert runs(source), "what was read was not loaded"
        again = reader(vendor, "project_export", clock=clock)
        assert runs(again, closed=frozenset({run.id})) == {}, "also for another process"
        vendor.api.account.lists[2001, "experiences"][1]["name"] = "of a draft, say"
        clock.go_on(hours=7)
        assert runs(again, closed=frozenset({run.id})).keys() == {"project_export"}


def test_a_project_without_a_version_is_exported_each_time() -> None:
    clock = Clock()
    with running() as vendor:
        del vendor.api.account.projects[1]["settings"]["version"]
        source = reader(vendor, "project_export", clock=clock)
        run = runs(source)["project_export"]
        source.parts(run)
        clock.go_on(hours=7)
        assert runs(source, closed=frozenset({run.id})).keys() == {"project_export"}


@pytest.mark.parametrize("wrapped", [b"%s", b'{"data": %s}'])
def test_a_project_export_is_read_entry_by_entry(wrapped: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = {
        "project": {"id": 7, "sdk_secret": "X"}, "goals": [{"id": 1, "n": 1.50}, {"name": "no id"}], "version": 12,
        "experiences": [{"id": n, "js": 'x"]}\\' * 40, "Ünï": None} for n in range(50)], "sdk_secret": "X", "tags": [],
    }  # fmt: skip
    monkeypatch.setattr("syncd.sources.convert.entries.BLOCK", 7)
    file = io.BytesIO(wrapped % orjson.dumps(whole))
    found = list(project_rows(file, {"project_id": 7}))
    assert [(row["section"], row["entry"]) for row in found[:4]] == [
        ("project", "7"), ("goals", "1"), ("goals", "#1"), ("version", "#0"),
    ]  # fmt: skip
    assert [row["document"] for row in found[4:]] == whole["experiences"] and "X" not in str(found)
    cut = wrapped % orjson.dumps(whole)
    for text in (b"", b"<html>", cut[:-90], cut[:50], b'{"a":[1,'):
        with pytest.raises(TryAgain):
            list(project_rows(io.BytesIO(text), {}))


# ---- logs


@pytest.mark.parametrize("trouble", [{}, {"history_shift": 3}, {"null_requests": True}, {"no_extra": True}], ids=str)
def test_each_record_of_the_history_is_one_row_whatever_its_level(trouble: dict[str, Any]) -> None:
    with running(history=130, **trouble) as vendor:
        found = one_scope(vendor, "change_history")
        told = sum(map(len, vendor.api.account.history.values())) - trouble.get("history_shift", 0)
    assert len({row["record_sha256"] for row in found}) == len(found)
    assert told <= len(found) <= told + trouble.get("history_shift", 0)
    assert {row["level"] for row in found} <= {"account", "project", "experience"}
    assert {row["project_id"] for row in found} == {2001, 2002}


def test_later_the_history_is_read_back_to_the_last_reading_and_an_hour_more() -> None:
    clock = Clock(datetime(2026, 1, 5, 20, 0, 0, tzinfo=UTC))
    with running(history=120, experiences=1) as vendor:
        source = reader(vendor, "change_history", projects=[2001], clock=clock)
        first = runs(source)["change_history"]
        whole = rows(source, first)
        for _ in range(4):
            vendor.api.add_record(2001)  # stamped a few seconds on
        clock.go_on(hours=7)
        later = rows(source, runs(source, closed=frozenset({first.id}))["change_history"])
    assert len(later) < len(whole) / 2
    fresh = {row["record_sha256"] for row in later} - {row["record_sha256"] for row in whole}
    assert len(fresh) == 4


def test_the_logs_of_an_account_are_kept_to_the_projects_that_were_configured() -> None:
    with running(experiences=1) as vendor:
        for scope in ("change_history", "live_data"):
            found = one_scope(vendor, scope, projects=[2002])
            assert {row["project_id"] for row in found if row["level"] != "account"} <= {2002}
            assert {row["project"] for row in found if row["level"] == "account"} <= {2002}, scope


def test_a_record_without_an_instant_ends_no_walk() -> None:
    clock = Clock(datetime(2026, 1, 5, 20, 0, 0, tzinfo=UTC))
    with running(history=160, experiences=1) as vendor:
        for record in vendor.api.account.history[2001][100:115]:
            record["timestamp"] = 0
        source = reader(vendor, "change_history", projects=[2001], clock=clock)
        found = rows(source, runs(source, closed=frozenset({"change_history-20260105T010000Z"}))["change_history"])
    assert len(found) == 160, "all are of that day, or of no day at all"
    assert sum(row["timestamp"] is None for row in found) == 15


def test_a_history_that_comes_oldest_first_is_read_to_its_end() -> None:
    pages = {number: [{"timestamp": number * 1000 + nth} for nth in range(3)] for number in range(1, 5)}
    for since in (0, 2500, 9999):
        found = list(history(lambda number: pages.get(number, []), since, set()))
        assert len(found) == 12
    newest_first = {5 - number: page[::-1] for number, page in pages.items()}
    assert len(list(history(lambda number: newest_first.get(number, []), 3001, set()))) == 6


def test_a_log_that_was_refused_for_a_while_lacks_nothing_afterwards() -> None:
    clock = Clock(datetime(2026, 1, 5, 20, 0, 0, tzinfo=UTC))
    closed: set[str] = set()
    with running(history=120, experiences=1) as vendor:
        source = reader(vendor, "change_history", projects=[2001], clock=clock)
        kept, counts = set(), []
        for trouble in ({"refuse_every": 1, "refuse_with": "403", "refuse_path": "1001/change-history"}, {}, {}):
            vendor.set_trouble(reset=True, **trouble)
            run = runs(source, closed=frozenset(closed))["change_history"]
            found = rows(source, run)
            kept |= {row["level"] for row in found}
            closed.add(run.id)
            clock.go_on(days=30)
            counts.append(len(found))
    assert kept == {"account", "project"}
    assert counts == [120, 120, 50], "a page, once what was missed is loaded"


def test_a_log_that_was_refused_when_we_began_is_read_whole_once_it_may_be() -> None:
    clock = Clock(datetime(2026, 1, 5, 20, 0, 0, tzinfo=UTC))
    with running(
        history=120, experiences=1, refuse_every=1, refuse_with="403", refuse_path="1001/change-history"
    ) as vendor:
        source = reader(vendor, "change_history", projects=[2001], clock=clock)
        closed = {"change_history-20260105T190000Z"}  # of a process before, which knew since when
        first = runs(source, closed=frozenset(closed))["change_history"]
        assert {row["level"] for row in rows(source, first)} <= {"project", "experience"}
        vendor.set_trouble(reset=True)
        clock.go_on(hours=7)
        later = runs(source, closed=frozenset(closed | {first.id}))["change_history"]
        found = [row for row in rows(source, later) if row["level"] == "account"]
        assert len(found) == len(vendor.api.account.history[2001])


def test_all_three_levels_are_asked() -> None:
    with running(experiences=2) as vendor:
        one_scope(vendor, "change_history")
        one_scope(vendor, "live_data")
        paths = {one["path"].removeprefix("/api/v2/accounts/1001") for one in vendor.log()["requests"]}
    for log in ("change-history", "livedata"):
        assert {f"/{log}", f"/projects/2001/{log}", f"/projects/2001/experiences/200101/{log}"} <= paths


@pytest.mark.parametrize(
    ("step", "gaps", "equal"), [(40, 0, False), (40, 0, True), (100, 1, False), (250, 1, False), (250, 1, True)]
)
def test_live_data_tells_where_events_may_be_missing(step: int, gaps: int, equal: bool) -> None:
    clock = Clock()
    with running(experiences=0, live_step=step, live_equal=equal) as vendor:
        source = reader(vendor, "live_data", projects=[2001], clock=clock)
        readings, closed = [], set()
        for _ in range(3):
            run = runs(source, closed=frozenset(closed))["live_data"]
            readings.append([row for row in rows(source, run) if row["level"] == "account"])
            closed.add(run.id)
            clock.go_on(hours=7)
    assert Counter(row["kind"] for row in readings[0]) == {"event": 100}
    for reading in readings[1:]:
        assert sum(row["kind"] == "gap" for row in reading) == gaps
        if not equal:
            assert sum(row["kind"] == "event" for row in reading) == min(step, 100)
    keys = [(row["place"], row["record_sha256"], row["occurrence"]) for reading in readings for row in reading]
    assert len(keys) == len(set(keys))
    if gaps:
        (gap,) = [row for row in readings[1] if row["kind"] == "gap"]
        assert gap["gap_from"] == readings[0][-1]["timestamp"] < gap["gap_to"] == readings[1][1]["timestamp"]


def test_a_window_whose_run_was_not_loaded_comes_again() -> None:
    clock = Clock()
    with running(experiences=0, live_step=0) as vendor:
        source = reader(vendor, "live_data", projects=[2001], clock=clock)
        first = rows(source, runs(source)["live_data"])
        clock.go_on(hours=7)
        assert rows(source, runs(source)["live_data"]) == first != []


def test_a_window_that_is_read_again_for_its_run_loses_nothing() -> None:
    clock = Clock()
    with running(experiences=0, live_step=0) as vendor:
        source = reader(vendor, "live_data", projects=[2001], clock=clock)
        run = runs(source)["live_data"]
        assert landed(source, run) == landed(source, run) != b""


# ---- answers


def test_numbers_keep_their_digits() -> None:
    text = b'{"a":12345678901234567890,"b":0.10000000000000000001,"c":1.50,"d":-7,"e":1e400}'
    assert dumps(loads(text)) == text
    assert isinstance(loads(b"1.50"), Digits)


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (1767571200, "2026-01-05T00:00:00Z"), ("1767571200", "2026-01-05T00:00:00Z"), (0, None), (None, None),
        (1767571200500, "2026-01-05T00:00:00.500000Z"), (Digits("1767571200.0"), "2026-01-05T00:00:00Z"),
        (Digits("1767571200.25"), "2026-01-05T00:00:00.250000Z"), (Digits("1e400"), "1e400"), (True, True), ("", ""),
       
        ("2026-01-05", "2026-01-05"), ("soon", "soon"), (10**30, 10**30),
    ],
)  # fmt: skip
def test_instants_are_read_in_every_form(sent: Any, kept: Any) -> None:
    assert instant(sent) == kept


def test_lists_are_found_however_they_are_wrapped() -> None:
    one, two = {"id": 1}, {"id": 2}
    for answer in ([one, two], {"data": [one, two]}, {"data": {"1": one, "2": two}}, {"data": [one, None, two]}):
        assert rows_of(answer) == [one, two]
    assert rows_of(one) == rows_of({"data": one}) == [one]
    assert rows_of({"data": []}) == rows_of({"data": None}) == []
    assert ids([2, "1", {"id": 3}, {"id": "1"}, None]) == [1, 2, 3]


def test_a_lone_surrogate_does_not_stop_a_list() -> None:
    assert orjson.loads(dumps(loads(rb'{"name":"\ud800"}'))) == {"name": "\\ud800"}


@pytest.mark.parametrize("every", [2, 3])
@pytest.mark.parametrize("kind", ["audiences", "change_history", "images", "experiences"])
def test_a_long_walk_goes_on_at_the_page_that_failed(kind: str, every: int) -> None:
    with running(entries=170, experiences=170, history=400, page_cap=25) as vendor:
        source = reader(vendor, kind, projects=[2001])
        run = SOON(lambda: runs(source))[kind]
        expected = landed(source, run)
        calls = vendor.log()["statuses"]["200"]
        vendor.set_trouble(refuse_every=every, refuse_times=8, refuse_with="503", page_cap=25)
        again = reader(vendor, kind, projects=[2001], clock=lambda: run.start)
        assert landed(again, SOON(lambda: runs(again))[kind]) == expected
        assert vendor.log()["statuses"]["200"] <= 2 * calls + 8
