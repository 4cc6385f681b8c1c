"""Reports and exports, read: experience by experience, and projects as files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial

from syncd.sources.convert import exports, reports
from syncd.sources.convert.answers import Json, dumps
from syncd.sources.convert.ground import Ground
from syncd.sources.convert.listing import Experience, project_id
from syncd.sources.convert.paths import E, P
from syncd.sources.convert.reading import Step
from syncd.sources.convert.redaction import redacted


class Figures:
    """How each report is read, and each export."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground

    def steps(self, scope: str, each: Experience) -> Iterator[Step]:
        """The requests for one experience."""
        of = self._ground.at({"project": each.project, "experience": each.id})
        step = partial(Step, may_be_refused=True)
        if scope == "aggregated_report":
            yield step(f"{each.id}", lambda: self._aggregated(of))
        elif scope == "report_settings":
            yield step(f"{each.id}", lambda: self._report_settings(of))
        elif scope == "daily_report":
            for goal in each.goals:
                for kind in reports.KINDS:
                    for metric in reports.METRICS:
                        yield step(f"{each.id}/{goal}/{kind}/{metric}", partial(self._daily, of, goal, metric, kind))
        else:
            for form, kind in exports.FORMS:
                for number, goals in enumerate(exports.chunks(each.goals, form)):
                    name = f"{each.id}/{form}/{kind}/{number}"
                    yield step(name, partial(self._export, of, form, kind, number, goals), calls=2)

    def _aggregated(self, of: Mapping[str, int]) -> Iterator[Json]:
        answer = self._ground.api.post(f"{E}/aggregated_report", {"utc_offset": reports.UTC_OFFSET}, **of)
        return map(redacted, reports.aggregated(answer, self._ground.row(of)))

    def _daily(self, of: Mapping[str, int], goal: int, metric: str, kind: str) -> Iterator[Json]:
        body = {"goal": goal, "report_type": kind, "metric": metric, "utc_offset": reports.UTC_OFFSET}
        answer = self._ground.api.post(f"{E}/daily_report", body, **of)
        return map(redacted, reports.daily(answer, self._ground.row(of), goal, metric, kind))

    def _report_settings(self, of: Mapping[str, int]) -> Iterator[Json]:
        return map(redacted, reports.settings(self._ground.api.get(f"{E}/report_settings", **of), self._ground.row(of)))

    def _export(self, of: Mapping[str, int], form: str, kind: str, number: int, goals: list[int]) -> Iterator[Json]:
        body = {"report_type": form, "data_type": kind, "utc_offset": reports.UTC_OFFSET}
        answer = self._ground.api.post(f"{E}/export_report", body | ({"goals": goals} if goals else {}), **of)
        row = self._ground.row(of) | {"report_type": form, "data_type": kind, "chunk": number, "goals": goals}
        return exports.report_rows(self._ground.api, answer, row)

    def project(self, project: int) -> Iterator[Json]:
        """A project as the vendor exports it."""
        listed = next((row for row in self._ground.listing.projects() if project_id(row) == project), {})
        answer = self._ground.api.post(f"{P}/export", {"includeProject": True}, **self._ground.at({"project": project}))
        yield from exports.project_rows(answer, {"account_id": self._ground.account, "project_id": project})
        self._ground.remembered.exported[project] = version(listed)

    def has_changed(self, listed: Json) -> bool:
        """Whether a project may have changed since this process exported it."""
        known = version(listed)
        return known == NO_VERSION or self._ground.remembered.exported.get(project_id(listed)) != known


def version(listed: Json) -> bytes:
    """What a project says of its last change."""
    settings = listed.get("settings")
    told = settings.get("version") if isinstance(settings, Mapping) else None
    return dumps([listed.get("modified_at"), told])


NO_VERSION = version({})
