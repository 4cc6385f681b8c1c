"""Every promise of `model.Source`, as a test. A new vendor inherits this and adds a fixture and its own quirks."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from syncd.errors import Advanced, LinkExpired, TryAgain
from syncd.fetch import land
from syncd.model import Scope, Source


class SourceContract:
    """Give it a `source` with at least one finished run of at least one part."""

    @pytest.fixture
    def source(self) -> Source:
        raise NotImplementedError

    def test_a_listing_may_be_repeated_on_another_machine(self, source: Source) -> None:
        again = pickle.loads(pickle.dumps(source))
        assert set(source.runs((), sweep=True)) == set(again.runs((), sweep=True)) != set()

    def test_no_run_comes_twice(self, source: Source) -> None:
        ids = [run.id for run in source.runs((), sweep=True)]
        assert len(ids) == len(set(ids))

    def test_closed_runs_are_left_out(self, source: Source) -> None:
        one, *others = sorted(run.id for run in source.runs((), sweep=True))
        for sweep in (True, False):
            assert sorted(run.id for run in source.runs({one}, sweep=sweep)) == others

    def test_open_runs_come_again_also_without_a_sweep(self, source: Source) -> None:
        first = set(source.runs((), sweep=True))
        assert set(source.runs((), sweep=False)) == first

    def test_nothing_comes_when_all_is_closed(self, source: Source) -> None:
        ids = {run.id for run in source.runs((), sweep=True)}
        assert [*source.runs(ids, sweep=False), *source.runs(ids, sweep=True)] == []

    def test_runs_are_whole(self, source: Source) -> None:
        for run in source.runs((), sweep=True):
            assert run.source == source.name and run.id and run.scope and run.job
            assert run.format in ("jsonl", "csv")
            assert all(at.tzinfo for at in (run.start, run.end, run.completed_at, run.expires_at))
            assert run.start <= run.end

    def test_parts_keep_their_names_when_listed_again(self, source: Source) -> None:
        for run in source.runs((), sweep=True):
            names = [part.name for part in source.parts(run)]
            assert sorted(names) == sorted(part.name for part in source.parts(run))
            assert len(names) == len(set(names))

    def test_parts_are_found_by_another_machine(self, source: Source) -> None:
        run = next(iter(source.runs((), sweep=True)))
        again = pickle.loads(pickle.dumps(source))
        assert [part.name for part in again.parts(run)] == [part.name for part in source.parts(run)]

    def test_a_part_can_be_read_from_any_byte_on(self, source: Source) -> None:
        part = next(part for run in source.runs((), sweep=True) for part in source.parts(run))
        with source.open(part) as body:
            whole, tag = b"".join(body), body.tag
            assert body.start == 0 and body.total in (None, len(whole))
        half = len(whole) // 2
        with source.open(part, half, tag) as body:
            assert body.start in (0, half)
            assert b"".join(body) == whole[body.start :]

    def test_a_part_with_another_tag_comes_whole(self, source: Source) -> None:
        part = next(part for run in source.runs((), sweep=True) for part in source.parts(run))
        with source.open(part, 5, '"another"') as body:
            assert body.start == 0
            assert b"".join(body)

    def test_a_part_lands(self, source: Source, tmp_path: Path) -> None:
        part = next(part for run in source.runs((), sweep=True) for part in source.parts(run))
        landed = land(source.open, part, tmp_path / "part")
        assert Path(landed.path).stat().st_size == landed.bytes > 0

    def test_an_unknown_scope_has_no_columns(self, source: Source) -> None:
        assert source.scope("never heard of") == Scope("never heard of")

    def test_every_run_belongs_to_a_job(self, source: Source) -> None:
        assert {run.job for run in source.runs((), sweep=True)} <= {job.id for job in source.jobs()}

    def test_links_are_not_shown(self, source: Source) -> None:
        for run in source.runs((), sweep=True):
            for part in source.parts(run):
                assert part.url not in repr(part) + repr(run) + repr(source)

    def test_errors_survive_a_trip_between_processes(self) -> None:
        for error in (LinkExpired("a"), TryAgain("b", after=3.0), Advanced("c")):
            assert str(pickle.loads(pickle.dumps(error))) == str(error)
