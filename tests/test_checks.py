"""What `check` finds besides troubles of the disk and of the vendor."""

from __future__ import annotations

from pathlib import Path

from syncd.checks import shadowed
from tests.home import Home
from tests.sandbox_fixture import running


def test_an_answer_is_an_answer_and_nothing_else(tmp_path: Path) -> None:
    with running(jobs=1, days=1, rows=5) as vendor:
        ended = Home(tmp_path, {"acme": vendor.settings()}).run("check")
    assert (ended.stdout, ended.stderr) == (f"ok: acme answers; data in {tmp_path / 'data'}\n", "")


def test_a_derived_view_that_is_not_made_is_told() -> None:
    def run(scope: str, job: str = "7") -> tuple[str, str, str]:
        return "acme", scope, job

    other = ("other", "views_latest", "1")
    told = shadowed([run("sessions"), run("Sessions_Latest"), run("views", "8"), run("views@7"), run("VIEWS@8"), other])
    assert [problem.text.split(" ")[0] for problem in told] == ['acme."sessions_latest"', 'acme."views@8"']
