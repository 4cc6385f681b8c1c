"""Reports and exports, read: experience by experience, and projects as files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from hashlib import sha256
from typing import Any

from syncd.errors import BadRun
from syncd.sources.convert import exports, reports
from syncd.sources.convert.answers import Json, dumps
from syncd.sources.convert.ground import Ground
from syncd.sources.convert.listing import Experience, project_id
from syncd.sources.convert.paths import E, P
from syncd.sources.convert.reading import Step
from syncd.sources.convert.redaction import redacted

Read = Callable[[Mapping[str, int], Json], Iterable[Json]]


class Figures:
    """How each report is read, and each export."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground

    def steps(self, scope: str, each: Experience) -> Iterator[Step]:
        """The requests for one experience."""
        of = self._ground.at({"project": each.project, "experience": each.id})
        if scope == "aggregated_report":
            yield self._step(of, {"utc_offset": reports.UTC_OFFSET}, self._aggregated)
        elif scope == "report_settings":
            yield self._step(of, {}, self._report_settings)
        elif scope == "daily_report":
            for goal in each.goals:
                for kind in reports.KINDS:
                    for metric in reports.METRICS:
                        asked = {"goal": goal, "report_type": kind, "metric": metric, "utc_offset": reports.UTC_OFFSET}
                        yield self._step(of, asked, self._daily)
        else:
            for form, kind in exports.FORMS:
                for number, goals in enumerate(exports.chunks(each.goals, form)):
                    asked = {"report_type": form, "data_type": kind, "chunk": number, "goals": goals}
                    yield self._step(of, asked, self._export, calls=2)

    def _step(self, of: Mapping[str, int], asked: Json, read: Read, calls: int = 1) -> Step:
        """One read of a report; where it is refused, a row says so in the place of its figures."""

        def refused(error: BadRun) -> bytes:
            told = {"goal_id" if name == "goal" else name: value for name, value in asked.items()}
            return dumps(self._ground.row(of) | told | {"refused": str(error)}) + b"\n"

        name = "/".join(str(one) for one in (of["experience"], *asked.values()))
        return Step(name, partial(read, of, asked), calls=calls, in_its_place=refused, may_be_given_up=True)

    def _aggregated(self, of: Mapping[str, int], asked: Json) -> Iterator[Json]:
        answer = self._ground.api.post(f"{E}/aggregated_report", asked, **of)
        return map(redacted, reports.aggregated(answer, self._ground.row(of)))

    def _daily(self, of: Mapping[str, int], asked: Json) -> Iterator[Json]:
        answer = self._ground.api.post(f"{E}/daily_report", asked, **of)
        return map(redacted, reports.daily(answer, self._ground.row(of), asked))

    def _report_settings(self, of: Mapping[str, int], asked: Json) -> Iterator[Json]:
        return map(redacted, reports.settings(self._ground.api.get(f"{E}/report_settings", **of), self._ground.row(of)))

    def _export(self, of: Mapping[str, int], asked: Json) -> Iterator[Json]:
        body = {"report_type": asked["report_type"], "data_type": asked["data_type"], "utc_offset": reports.UTC_OFFSET}
        goals = {"goals": asked["goals"]} if asked["goals"] else {}
        answer = self._ground.api.post(f"{E}/export_report", body | goals, **of)
        return exports.report_rows(self._ground.api, answer, self._ground.row(of) | asked)

    def project(self, project: int) -> Iterator[Json]:
        """A project as the vendor exports it."""
        of = self._ground.at({"project": project})
        with self._ground.api.file(f"{P}/export", {"includeProject": True}, **of) as file:
            yield from exports.project_rows(file, {"account_id": self._ground.account, "project_id": project})

    def versions(self) -> str:
        """A mark that is another one when a project may have changed; "" when one doesn't tell."""
        told = [version(row) for row in self._ground.listing.open_projects()]
        seen = [each.digest for each in self._ground.listing.experiences(self._ground.clock())]
        return sha256(dumps([told, seen])).hexdigest()[:12] if all(told) else ""


def version(listed: Json) -> list[Any]:
    """What a project says of its last change; nothing when it lacks the version that every change of it moves."""
    settings = listed.get("settings")
    told = settings.get("version") if isinstance(settings, Mapping) else None
    return [project_id(listed), listed.get("modified_at"), told] if told else []
