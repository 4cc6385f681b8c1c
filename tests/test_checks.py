"""What `check` finds besides troubles of the disk and of the vendor."""

from __future__ import annotations

from syncd.checks import shadowed


def test_a_derived_view_that_is_not_made_is_told() -> None:
    def run(scope: str, job: str = "7") -> dict[str, str]:
        return {"source": "acme", "scope": scope, "job": job}

    other = {"source": "other", "scope": "views_latest", "job": "1"}
    told = shadowed([run("sessions"), run("Sessions_Latest"), run("views", "8"), run("views@7"), run("VIEWS@8"), other])
    assert [problem.text.split(" ")[0] for problem in told] == ['acme."sessions_latest"', 'acme."views@8"']
